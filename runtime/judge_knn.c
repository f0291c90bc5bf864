/* Nearest neighbours vote, those of some test rows at a time. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/failure.h"
#include "runtime/judge_internal.h"
#include "runtime/neighbours.h"

/* Rows at hand: few enough not to take much memory, and enough to be worth their neighbours' panels. */
enum { NEIGHBOUR_BYTES = 4 << 20, LEAST_ROWS = 512 };

typedef struct {
  const judge_task *task; /* of the rows at hand */
  int64_t k;
  double temperature;
  neighbour *neighbours; /* [rows][k], nearest first */
  judge_tally tally;
  atomic_bool short_of_memory;
} election;

/* Weights are relative to the nearest neighbour's: no temperature makes them overflow. */
static void vote(const election *e, const neighbour *neighbours, double *votes) {
  memset(votes, 0, (size_t)e->task->classes * sizeof *votes);
  for (int64_t i = 0; i < e->k; i++)
    votes[e->task->train->labels[neighbours[i].train]] += exp(((double)neighbours[i].similarity - neighbours[0].similarity) / e->temperature);
}

static void vote_rows(void *context, int64_t begin, int64_t end) {
  election *e = context;
  const judge_task *t = e->task;
  double *votes = malloc((size_t)t->classes * sizeof *votes);
  if (!votes) atomic_store(&e->short_of_memory, true);
  for (int64_t r = begin; votes && r < end; r++) {
    vote(e, e->neighbours + r * e->k, votes);
    judge_count(&e->tally, judge_rank(votes, t->classes, t->test->labels[r]));
  }
  free(votes);
}

bool judge_knn(thread_pool *pool, const judge_task *task, const knn_options *options, judgement *out, char **error) {
  *error = NULL;
  if (!judge_check(task, error)) return false;
  election e = {.k = options && options->k ? options->k : 20, .temperature = options && options->temperature != 0 ? options->temperature : 0.1};
  if (e.k < 1) return failure(error, "k is %lld; at least one neighbour must vote", (long long)e.k);
  if (!(e.temperature > 0)) return failure(error, "the temperature is %g; it must be above 0", e.temperature);
  if (e.k > task->train->n) e.k = task->train->n;
  int64_t rows = NEIGHBOUR_BYTES / (e.k * (int64_t)sizeof(neighbour));
  if (rows < LEAST_ROWS) rows = LEAST_ROWS;
  if (rows > task->test->n) rows = task->test->n;
  e.neighbours = malloc((size_t)(rows * e.k) * sizeof *e.neighbours);
  bool good = e.neighbours;
  for (int64_t first = 0; good && first < task->test->n; first += rows) {
    const int64_t left = task->test->n - first, n = left < rows ? left : rows;
    const feature_set part = {task->test->features + first * task->dims, task->test->labels + first, n};
    const judge_task at_hand = {task->train, &part, task->dims, task->classes};
    e.task = &at_hand;
    good = neighbours_find(pool, &at_hand, e.k, neighbours_faster(task, e.k), e.neighbours);
    if (good) thread_pool_run(pool, vote_rows, &e, n, 16);
  }
  if (good) *out = judge_fractions(&e.tally, task->test->n);
  good = good && !e.short_of_memory;
  free(e.neighbours);
  return good || failure(error, "no memory to compare %lld with %lld features; judge fewer samples", (long long)task->test->n,
                         (long long)task->train->n);
}
