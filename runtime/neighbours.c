/* Similarities by tiles, a block of test rows a piece; each row keeps its best k in a heap whose root is the worst of them. */
#include "runtime/neighbours.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/neighbours_internal.h"

static double inverse_norm(const float *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
  return sum > 0 ? 1 / sqrt(sum) : 0;
}

/* A line of each sample at a time. */
void pack_samples(const feature_set *set, const double *scale, int64_t dims, const int64_t *which, int64_t first, int64_t n, int64_t lanes, float *out) {
  if (!which && n > set->n - first) n = set->n - first;
  for (int64_t line = 0; line < dims; line += LINE)
    for (int64_t l = 0; l < lanes; l++) {
      const int64_t i = l >= n ? 0 : which ? which[l] : first + l;
      const float *x = set->features + i * dims;
      for (int64_t d = line; d < dims && d < line + LINE; d++) out[d * lanes + l] = l < n ? (float)(x[d] * scale[i]) : 0;
    }
}

void heap_begin(neighbour *heap, int64_t k) {
  for (int64_t i = 0; i < k; i++) heap[i] = (neighbour){-INFINITY, INT64_MAX};
}

/* Of equal neighbours the later one is worse. */
static bool worse(neighbour a, neighbour b) { return a.similarity < b.similarity || (a.similarity == b.similarity && a.train > b.train); }

void heap_replace(neighbour *heap, int64_t k, neighbour v) {
  int64_t at = 0;
  for (int64_t child; (child = 2 * at + 1) < k; at = child) {
    child += child + 1 < k && worse(heap[child + 1], heap[child]);
    if (!worse(heap[child], v)) break;
    heap[at] = heap[child];
  }
  heap[at] = v;
}

static int nearest_first(const void *a, const void *b) { return worse(*(const neighbour *)a, *(const neighbour *)b) ? 1 : -1; }

/* -- in f32 ---------------------------------------------------------------------------------------------- */

typedef struct {
  neighbour_search *search;
  const int64_t *blocks; /* those to be searched */
  int64_t first, span;   /* the panels at hand: from which on, how many */
  float *train;          /* normalised, [span][dims][TILE_LANES] */
  float *test;           /* normalised, [blocks][groups][dims][TILE_ROWS] */
} wide_search;

static void pack_train(void *context, int64_t begin, int64_t end) {
  wide_search *w = context;
  const neighbour_search *s = w->search;
  for (int64_t p = begin; p < end; p++)
    pack_samples(s->task->train, s->train_scale, s->task->dims, NULL, (w->first + p) * TILE_LANES, TILE_LANES, TILE_LANES, w->train + p * s->task->dims * TILE_LANES);
}

static void begin_blocks(void *context, int64_t begin, int64_t end) {
  wide_search *w = context;
  const neighbour_search *s = w->search;
  for (int64_t b = begin; b < end; b++) {
    const int64_t first = w->blocks[b] * BLOCK_ROWS;
    for (int64_t r = 0; r < rows_of(s, w->blocks[b]); r++) heap_begin(s->heaps + (first + r) * s->k, s->k);
    for (int64_t g = 0; g < BLOCK_GROUPS; g++)
      pack_samples(s->task->test, s->test_scale, s->task->dims, NULL, first + g * TILE_ROWS, TILE_ROWS, TILE_ROWS, w->test + (b * BLOCK_GROUPS + g) * TILE_ROWS * s->task->dims);
  }
}

/* Train samples come in order, so that an equal one never replaces an earlier one. */
static void offer_tile(const neighbour_search *s, int64_t first_row, const float *tile, int64_t first_train) {
  const int64_t n = s->task->train->n - first_train, rows = s->task->test->n - first_row;
  neighbour *heap = s->heaps + first_row * s->k;
  for (int64_t r = 0; r < TILE_ROWS && r < rows; r++, heap += s->k, tile += TILE_LANES)
    for (int64_t line = 0; line < TILE_LANES; line += LINE)
      if (any_above(tile + line, heap->similarity))
        for (int64_t l = line; l < line + LINE && l < n; l++)
          if (tile[l] > heap->similarity) heap_replace(heap, s->k, (neighbour){tile[l], first_train + l});
}

static void search_blocks(void *context, int64_t begin, int64_t end) {
  wide_search *w = context;
  const int64_t dims = w->search->task->dims;
  for (int64_t block = begin; block < end; block++)
    for (int64_t panel = 0; panel < w->span; panel++)
      for (int64_t g = 0; g < BLOCK_GROUPS; g++) {
        float tile[TILE_ROWS * TILE_LANES];
        product_tile(w->test + (block * BLOCK_GROUPS + g) * TILE_ROWS * dims, w->train + panel * dims * TILE_LANES, dims, tile, TILE_LANES);
        offer_tile(w->search, w->blocks[block] * BLOCK_ROWS + g * TILE_ROWS, tile, (w->first + panel) * TILE_LANES);
      }
}

static bool search_wide(neighbour_search *s, const int64_t *blocks, int64_t n) {
  const int64_t dims = s->task->dims;
  int64_t most = SPAN_BYTES / (TILE_LANES * dims * (int64_t)sizeof(float)) + 1;
  if (most > s->panels) most = s->panels;
  wide_search w = {.search = s, .blocks = blocks, .train = product_memory(most * TILE_LANES * dims), .test = product_memory(n * BLOCK_ROWS * dims)};
  const bool good = w.train && w.test;
  if (good) thread_pool_run(s->pool, begin_blocks, &w, n, n);
  for (; good && w.first < s->panels; w.first += most) {
    w.span = s->panels - w.first < most ? s->panels - w.first : most;
    thread_pool_run(s->pool, pack_train, &w, w.span, 16);
    thread_pool_run(s->pool, search_blocks, &w, n, n);
  }
  free(w.train);
  free(w.test);
  return good;
}

/* -- both ------------------------------------------------------------------------------------------------ */

typedef struct {
  const feature_set *set;
  int64_t dims;
  double *scale;
} scaling;

static void scale_samples(void *context, int64_t begin, int64_t end) {
  const scaling *s = context;
  for (int64_t i = begin; i < end; i++) s->scale[i] = inverse_norm(s->set->features + i * s->dims, s->dims);
}

static void sort_rows(void *context, int64_t begin, int64_t end) {
  const neighbour_search *s = context;
  for (int64_t r = begin; r < end; r++) qsort(s->heaps + r * s->k, (size_t)s->k, sizeof *s->heaps, nearest_first);
}

/* A narrow search keeps eight times k candidates a row: where these are most of all, it would have left nothing out. */
neighbours_way neighbours_faster(const judge_task *task, int64_t k) {
  return product_narrow_is_faster() && k * 32 <= task->train->n ? NEIGHBOURS_NARROW : NEIGHBOURS_WIDE;
}

bool neighbours_find(thread_pool *pool, const judge_task *task, int64_t k, neighbours_way way, neighbour *out) {
  neighbour_search s = {.pool = pool, .task = task, .k = k, .heaps = out, .blocks = (task->test->n + BLOCK_ROWS - 1) / BLOCK_ROWS,
                        .panels = (task->train->n + TILE_LANES - 1) / TILE_LANES};
  s.train_scale = malloc((size_t)task->train->n * sizeof *s.train_scale);
  s.test_scale = malloc((size_t)task->test->n * sizeof *s.test_scale);
  int64_t *blocks = malloc((size_t)s.blocks * sizeof *blocks);
  bool *left = malloc((size_t)s.blocks * sizeof *left), good = s.train_scale && s.test_scale && blocks && left;
  if (good) {
    thread_pool_run(pool, scale_samples, &(scaling){task->train, task->dims, s.train_scale}, task->train->n, 16);
    thread_pool_run(pool, scale_samples, &(scaling){task->test, task->dims, s.test_scale}, task->test->n, 16);
    for (int64_t b = 0; b < s.blocks; b++) left[b] = true;
    good = way == NEIGHBOURS_WIDE || search_narrow(&s, left);
    int64_t n = 0;
    for (int64_t b = 0; b < s.blocks; b++)
      if (left[b]) blocks[n++] = b;
    good = good && (!n || search_wide(&s, blocks, n));
    if (good) thread_pool_run(pool, sort_rows, &s, task->test->n, s.blocks);
  }
  free(s.train_scale);
  free(s.test_scale);
  free(blocks);
  free(left);
  return good;
}
