/* Similarities by tiles, a block of test rows a piece; each row keeps its best k in a heap whose root is
 * the worst of them. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/failure.h"
#include "runtime/judge_internal.h"
#include "runtime/product.h"

/* Rows that share a panel while it is in the second cache, as they are themselves. Panels are made for all blocks of rows, so many that
 * they stay in the last cache, and blocks so many that their neighbours take little. */
enum { BLOCK_GROUPS = 32, BLOCK_ROWS = BLOCK_GROUPS * TILE_ROWS, LINE = 16, SPAN_BYTES = 12 << 20, HEAP_BYTES = 16 << 20 };

typedef struct {
  float similarity;
  int64_t train;
} neighbour;

typedef struct {
  const judge_task *task;
  int64_t k, panels; /* of train samples */
  int64_t first, span; /* the panels at hand: from which on, how many */
  int64_t first_row;   /* of the test samples at hand */
  double temperature;
  float *train; /* normalised, [span][dims][TILE_LANES] */
  float *test;  /* those at hand: normalised, [groups][dims][TILE_ROWS] */
  neighbour *heaps; /* k of each of them */
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
  for (int64_t p = begin; p < end; p++) pack(s->task->train, s->task->dims, (s->first + p) * TILE_LANES, TILE_LANES, s->train + p * s->task->dims * TILE_LANES);
}

static void begin_blocks(void *context, int64_t begin, int64_t end) {
  knn_search *s = context;
  for (int64_t i = begin * BLOCK_ROWS * s->k; i < end * BLOCK_ROWS * s->k; i++) s->heaps[i] = (neighbour){-INFINITY, INT64_MAX};
  for (int64_t g = begin * BLOCK_GROUPS; g < end * BLOCK_GROUPS; g++) pack(s->task->test, s->task->dims, s->first_row + g * TILE_ROWS, TILE_ROWS, s->test + g * TILE_ROWS * s->task->dims);
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
  const int64_t dims = s->task->dims;
  for (int64_t block = begin; block < end; block++)
    for (int64_t panel = 0; panel < s->span; panel++)
      for (int64_t g = block * BLOCK_GROUPS; g < (block + 1) * BLOCK_GROUPS; g++) {
        float tile[TILE_ROWS * TILE_LANES];
        product_tile(s->test + g * TILE_ROWS * dims, s->train + panel * dims * TILE_LANES, dims, tile, TILE_LANES);
        offer_tile(s, s->heaps + g * TILE_ROWS * s->k, tile, (s->first + panel) * TILE_LANES);
      }
}

static void vote_blocks(void *context, int64_t begin, int64_t end) {
  knn_search *s = context;
  const judge_task *t = s->task;
  double *votes = malloc((size_t)t->classes * sizeof *votes);
  if (!votes) atomic_store(&s->short_of_memory, true);
  for (int64_t r = begin * BLOCK_ROWS; votes && r < end * BLOCK_ROWS && s->first_row + r < t->test->n; r++) {
    vote(s, s->heaps + r * s->k, votes);
    judge_count(&s->tally, judge_rank(votes, t->classes, t->test->labels[s->first_row + r]));
  }
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
  const int64_t all = (task->test->n + BLOCK_ROWS - 1) / BLOCK_ROWS, threads = thread_pool_threads(pool);
  int64_t most = SPAN_BYTES / (TILE_LANES * task->dims * (int64_t)sizeof(float)) + 1, blocks = HEAP_BYTES / (BLOCK_ROWS * s.k * (int64_t)sizeof(neighbour));
  if (blocks < threads) blocks = threads;
  if (blocks > all) blocks = all;
  s.panels = (task->train->n + TILE_LANES - 1) / TILE_LANES;
  if (most > s.panels) most = s.panels;
  s.train = product_memory(most * TILE_LANES * task->dims);
  s.test = product_memory(blocks * BLOCK_ROWS * task->dims);
  s.heaps = malloc((size_t)(blocks * BLOCK_ROWS * s.k) * sizeof *s.heaps);
  bool good = s.train && s.test && s.heaps;
  for (; good && s.first_row < task->test->n; s.first_row += blocks * BLOCK_ROWS) {
    const int64_t left = all - s.first_row / BLOCK_ROWS, n = left < blocks ? left : blocks;
    thread_pool_run(pool, begin_blocks, &s, n, n);
    for (s.first = 0; s.first < s.panels; s.first += most) {
      s.span = s.panels - s.first < most ? s.panels - s.first : most;
      thread_pool_run(pool, pack_train, &s, s.span, 16);
      thread_pool_run(pool, search_blocks, &s, n, n);
    }
    thread_pool_run(pool, vote_blocks, &s, n, n);
  }
  if (good) *out = judge_fractions(&s.tally, task->test->n);
  good = good && !s.short_of_memory;
  free(s.train);
  free(s.test);
  free(s.heaps);
  return good || failure(error, "no memory to compare %lld with %lld features; judge fewer samples", (long long)task->test->n,
                         (long long)task->train->n);
}
