/* Similarities by tiles, a block of test rows a piece; each row keeps its best k in a heap whose root is
 * the worst of them. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/failure.h"
#include "runtime/judge_internal.h"
#include "runtime/product.h"

/* Rows that share a panel while it is in the second cache, as they are themselves. */
enum { BLOCK_GROUPS = 32, BLOCK_ROWS = BLOCK_GROUPS * TILE_ROWS, LINE = 16 };

typedef struct {
  float similarity;
  int64_t train;
} neighbour;

typedef struct {
  const judge_task *task;
  int64_t k, panels; /* of train samples */
  double temperature;
  float *train; /* normalised, [panels][dims][TILE_LANES] */
  judge_tally tally;
  atomic_bool short_of_memory;
} knn_search;

static double inverse_norm(const float *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
  return sum > 0 ? 1 / sqrt(sum) : 0;
}

/* Samples from `first` on, normalised, as [dims][lanes], a line of each at a time; zeros behind the last one. */
static void pack(const feature_set *set, int64_t dims, int64_t first, int64_t lanes, float *out) {
  int64_t n = set->n - first < lanes ? set->n - first : lanes;
  double scale[TILE_LANES];
  const float *x = set->features + first * dims;
  for (int64_t l = 0; l < n; l++) scale[l] = inverse_norm(x + l * dims, dims);
  for (int64_t line = 0; line < dims; line += LINE)
    for (int64_t l = 0; l < lanes; l++)
      for (int64_t d = line; d < dims && d < line + LINE; d++) out[d * lanes + l] = l < n ? (float)(x[l * dims + d] * scale[l]) : 0;
}

static void pack_train(void *context, int64_t begin, int64_t end) {
  knn_search *s = context;
  for (int64_t p = begin; p < end; p++) pack(s->task->train, s->task->dims, p * TILE_LANES, TILE_LANES, s->train + p * s->task->dims * TILE_LANES);
}

/* Of equal neighbours the later one is worse. */
static bool worse(neighbour a, neighbour b) { return a.similarity < b.similarity || (a.similarity == b.similarity && a.train > b.train); }

static void sift_down(neighbour *heap, int64_t k, neighbour v) {
  int64_t at = 0;
  for (int64_t child; (child = 2 * at + 1) < k; at = child) {
    child += child + 1 < k && worse(heap[child + 1], heap[child]);
    if (!worse(heap[child], v)) break;
    heap[at] = heap[child];
  }
  heap[at] = v;
}

/* Most lines hold no neighbour: a comparison without branches, which vectorises, says so. */
static bool any_above(const float *line, float limit) {
  int found = 0;
  for (int l = 0; l < LINE; l++) found |= line[l] > limit;
  return found;
}

/* Train samples come in order, so that an equal one never replaces an earlier one. */
static void offer_tile(const knn_search *s, neighbour *heaps, const float *tile, int64_t first_train) {
  int64_t n = s->task->train->n - first_train;
  for (int64_t r = 0; r < TILE_ROWS; r++, heaps += s->k, tile += TILE_LANES)
    for (int64_t line = 0; line < TILE_LANES; line += LINE)
      if (any_above(tile + line, heaps->similarity))
        for (int64_t l = line; l < line + LINE && l < n; l++)
          if (tile[l] > heaps->similarity) sift_down(heaps, s->k, (neighbour){tile[l], first_train + l});
}

static int nearest_first(const void *a, const void *b) { return worse(*(const neighbour *)a, *(const neighbour *)b) ? 1 : -1; }

/* Weights are relative to the nearest neighbour's: no temperature makes them overflow. */
static void vote(const knn_search *s, neighbour *neighbours, double *votes) {
  qsort(neighbours, (size_t)s->k, sizeof *neighbours, nearest_first);
  memset(votes, 0, (size_t)s->task->classes * sizeof *votes);
  for (int64_t i = 0; i < s->k; i++)
    votes[s->task->train->labels[neighbours[i].train]] +=
        exp(((double)neighbours[i].similarity - neighbours[0].similarity) / s->temperature);
}

static void search_blocks(void *context, int64_t begin, int64_t end) {
  knn_search *s = context;
  const judge_task *t = s->task;
  neighbour *heaps = malloc((size_t)(BLOCK_ROWS * s->k) * sizeof *heaps);
  float *rows = product_memory(BLOCK_ROWS * t->dims); /* normalised, [BLOCK_GROUPS][dims][TILE_ROWS] */
  double *votes = malloc((size_t)t->classes * sizeof *votes);
  if (!heaps || !rows || !votes) atomic_store(&s->short_of_memory, true);
  for (int64_t block = begin; heaps && rows && votes && block < end; block++) {
    for (int64_t i = 0; i < BLOCK_ROWS * s->k; i++) heaps[i] = (neighbour){-INFINITY, INT64_MAX};
    for (int64_t g = 0; g < BLOCK_GROUPS; g++) pack(t->test, t->dims, block * BLOCK_ROWS + g * TILE_ROWS, TILE_ROWS, rows + g * TILE_ROWS * t->dims);
    for (int64_t panel = 0; panel < s->panels; panel++)
      for (int64_t g = 0; g < BLOCK_GROUPS; g++) {
        float tile[TILE_ROWS * TILE_LANES];
        product_tile(rows + g * TILE_ROWS * t->dims, s->train + panel * t->dims * TILE_LANES, t->dims, tile, TILE_LANES);
        offer_tile(s, heaps + g * TILE_ROWS * s->k, tile, panel * TILE_LANES);
      }
    for (int64_t r = 0; r < BLOCK_ROWS && block * BLOCK_ROWS + r < t->test->n; r++) {
      vote(s, heaps + r * s->k, votes);
      judge_count(&s->tally, judge_rank(votes, t->classes, t->test->labels[block * BLOCK_ROWS + r]));
    }
  }
  free(heaps);
  free(rows);
  free(votes);
}

bool judge_knn(thread_pool *pool, const judge_task *task, const knn_options *options, judgement *out, char **error) {
  *error = NULL;
  if (!judge_check(task, error)) return false;
  knn_search s = {.task = task, .k = options && options->k ? options->k : 20,
                  .temperature = options && options->temperature != 0 ? options->temperature : 0.1};
  if (s.k < 1) return failure(error, "k is %lld; at least one neighbour must vote", (long long)s.k);
  if (!(s.temperature > 0)) return failure(error, "the temperature is %g; it must be above 0", s.temperature);
  if (s.k > task->train->n) s.k = task->train->n;
  int64_t blocks = (task->test->n + BLOCK_ROWS - 1) / BLOCK_ROWS;
  s.panels = (task->train->n + TILE_LANES - 1) / TILE_LANES;
  s.train = product_memory(s.panels * TILE_LANES * task->dims);
  if (s.train) {
    thread_pool_run(pool, pack_train, &s, s.panels, 16);
    thread_pool_run(pool, search_blocks, &s, blocks, blocks);
    *out = judge_fractions(&s.tally, task->test->n);
  }
  bool good = s.train && !s.short_of_memory;
  free(s.train);
  return good || failure(error, "no memory to compare %lld with %lld features; judge fewer samples", (long long)task->test->n,
                         (long long)task->train->n);
}
