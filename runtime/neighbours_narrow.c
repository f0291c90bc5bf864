/* Neighbours by similarities in bf16, which cost half as much, with bounds on what rounding did. With a and b normalised, and m a mean of
 * train samples, a.b = (a - m).(b - m) + (b - m).m + a.m: the last is the same for all b; the second is summed in f32, one number a
 * train sample; the first is what is multiplied in bf16, and taking m away makes it, and so its rounding, as small as features differ.
 * A row keeps the k best lower bounds in its heap and whatever has an upper bound above the worst of these; in the end those alone
 * are compared in f32. The result is that of comparing all, bit by bit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/neighbours_internal.h"

enum { MEAN_SAMPLES = 4096, LISTED = 8 /* times k */, CROWDED = -1 };

typedef struct {
  float upper;
  uint32_t train;
} candidate;

/* Of samples less the mean, and of what bf16 leaves of them: the largest norms. */
typedef struct {
  double norm, rounding;
} spread;

typedef struct {
  neighbour_search *search;
  int64_t pairs;       /* of dimensions */
  int64_t first, span; /* the panels at hand */
  float *mean;
  double mean_norm, accumulation; /* relative rounding of a sum of dims products in f32, generously */
  uint16_t *train;                /* [span][pairs][TILE_LANES][2] */
  float *offsets;                 /* [span][TILE_LANES]: (b - m).m */
  spread *train_spread;           /* a panel each */
  uint16_t *test;                 /* [groups][pairs][TILE_ROWS][2] */
  spread *test_spread;            /* a row each */
  candidate *candidates;          /* [rows][LISTED * k] in the order of train samples */
  int64_t *listed;                /* how many; CROWDED: more than fit */
  _Atomic bool short_of_memory;
  bool *left;
} narrow_search;

/* A packed panel of n samples less the mean as [pairs][lanes][2], with the norms of each lane. `offsets` may be NULL. */
static void narrow_panel(const narrow_search *w, const float *panel, int64_t lanes, uint16_t *out, spread *spreads, float *offsets) {
  float norm[TILE_LANES] = {0}, rounding[TILE_LANES] = {0}, offset[TILE_LANES] = {0};
  const int64_t dims = w->search->task->dims;
  for (int64_t d = 0; d < 2 * w->pairs; d++) {
    const float m = d < dims ? w->mean[d] : 0;
    for (int64_t l = 0; l < lanes; l++) {
      const float x = d < dims ? panel[d * lanes + l] - m : 0;
      const uint16_t narrow = round_to_bf16(x);
      const float lost = x - from_bf16(narrow);
      out[(d / 2 * lanes + l) * 2 + d % 2] = narrow;
      norm[l] += x * x;
      rounding[l] += lost * lost;
      offset[l] += x * m;
    }
  }
  for (int64_t l = 0; l < lanes; l++) {
    spreads[l] = (spread){sqrt(norm[l]) * (1 + w->accumulation), sqrt(rounding[l]) * (1 + w->accumulation)};
    if (offsets) offsets[l] = offset[l];
  }
}

static void narrow_train(void *context, int64_t begin, int64_t end) {
  narrow_search *w = context;
  const neighbour_search *s = w->search;
  const int64_t dims = s->task->dims;
  float *panel = product_memory(dims * TILE_LANES);
  if (!panel) w->short_of_memory = true;
  for (int64_t p = begin; panel && p < end; p++) {
    spread lanes[TILE_LANES], all = {0};
    pack_samples(s->task->train, s->train_scale, dims, NULL, (w->first + p) * TILE_LANES, TILE_LANES, TILE_LANES, panel);
    narrow_panel(w, panel, TILE_LANES, w->train + p * w->pairs * TILE_LANES * 2, lanes, w->offsets + p * TILE_LANES);
    for (int l = 0; l < TILE_LANES; l++) all = (spread){fmax(all.norm, lanes[l].norm), fmax(all.rounding, lanes[l].rounding)};
    w->train_spread[p] = all;
  }
  free(panel);
}

static void narrow_test(void *context, int64_t begin, int64_t end) {
  narrow_search *w = context;
  const neighbour_search *s = w->search;
  const int64_t dims = s->task->dims;
  float *panel = product_memory(dims * TILE_ROWS);
  if (!panel) w->short_of_memory = true;
  for (int64_t g = begin; panel && g < end; g++) {
    pack_samples(s->task->test, s->test_scale, dims, NULL, g * TILE_ROWS, TILE_ROWS, TILE_ROWS, panel);
    narrow_panel(w, panel, TILE_ROWS, w->test + g * w->pairs * TILE_ROWS * 2, w->test_spread + g * TILE_ROWS, NULL);
    for (int64_t r = g * TILE_ROWS; r < (g + 1) * TILE_ROWS; r++) w->listed[r] = 0;
    for (int64_t r = g * TILE_ROWS; r < (g + 1) * TILE_ROWS && r < s->task->test->n; r++) heap_begin(s->heaps + r * s->k, s->k);
  }
  free(panel);
}

/* How far a row's similarity in bf16 may be from that in f32, of which the row's constant is taken away. */
static double error_bound(const narrow_search *w, spread a, spread b) {
  const double products = (a.norm + a.rounding) * (b.norm + b.rounding);
  return a.rounding * b.norm + a.norm * b.rounding + a.rounding * b.rounding + w->accumulation * (1 + products + w->mean_norm * b.norm);
}

/* Drops what cannot be among the k best any more. */
static int64_t sift_candidates(candidate *list, int64_t n, float worst) {
  int64_t kept = 0;
  for (int64_t i = 0; i < n; i++)
    if (list[i].upper >= worst) list[kept++] = list[i];
  return kept;
}

static void list_candidate(const narrow_search *w, int64_t row, float similarity, float error, int64_t train) {
  const int64_t k = w->search->k, most = LISTED * k;
  neighbour *heap = w->search->heaps + row * k;
  candidate *list = w->candidates + row * most;
  if (similarity - error > heap->similarity) heap_replace(heap, k, (neighbour){similarity - error, train});
  if (w->listed[row] == most) w->listed[row] = sift_candidates(list, most, heap->similarity);
  if (w->listed[row] == most)
    w->listed[row] = CROWDED;
  else
    list[w->listed[row]++] = (candidate){similarity + error, (uint32_t)train};
}

static void search_blocks(void *context, int64_t begin, int64_t end) {
  narrow_search *w = context;
  const neighbour_search *s = w->search;
  for (int64_t block = begin; block < end; block++)
    for (int64_t panel = 0; panel < w->span; panel++)
      for (int64_t g = block * BLOCK_GROUPS; g < (block + 1) * BLOCK_GROUPS && g * TILE_ROWS < s->task->test->n; g++) {
        float tile[TILE_ROWS * TILE_LANES];
        product_tile_narrow(w->test + g * w->pairs * TILE_ROWS * 2, w->train + panel * w->pairs * TILE_LANES * 2, w->pairs, w->offsets + panel * TILE_LANES, tile);
        const int64_t first = (w->first + panel) * TILE_LANES, n = s->task->train->n - first;
        for (int64_t r = 0; r < TILE_ROWS; r++) {
          const int64_t row = g * TILE_ROWS + r;
          if (row >= s->task->test->n || w->listed[row] == CROWDED) continue;
          const float error = (float)(error_bound(w, w->test_spread[row], w->train_spread[panel]) * 1.0001), *line = tile + r * TILE_LANES;
          const neighbour *heap = s->heaps + row * s->k;
          for (int64_t from = 0; from < TILE_LANES; from += LINE)
            if (any_above(line + from, heap->similarity - error))
              for (int64_t l = from; l < from + LINE && l < n && w->listed[row] != CROWDED; l++)
                if (line[l] >= heap->similarity - error) list_candidate(w, row, line[l], error, first + l);
        }
      }
}

/* The heaps of a block in f32, from its candidates; or nothing where one of its rows is crowded. */
static void compare_block(narrow_search *w, int64_t block, float *rows, float *panel) {
  const neighbour_search *s = w->search;
  const int64_t dims = s->task->dims, first = block * BLOCK_ROWS, n = rows_of(s, block);
  w->left[block] = false;
  for (int64_t r = 0; r < n; r++) w->left[block] |= w->listed[first + r] == CROWDED;
  for (int64_t r = 0; r < n && !w->left[block]; r++) {
    neighbour *heap = s->heaps + (first + r) * s->k;
    candidate *list = w->candidates + (first + r) * LISTED * s->k;
    const int64_t listed = sift_candidates(list, w->listed[first + r], heap->similarity);
    if (r % TILE_ROWS == 0) pack_samples(s->task->test, s->test_scale, dims, NULL, first + r, TILE_ROWS, TILE_ROWS, rows);
    heap_begin(heap, s->k);
    for (int64_t from = 0; from < listed; from += TILE_LANES) {
      int64_t which[TILE_LANES], lanes = listed - from < TILE_LANES ? listed - from : TILE_LANES;
      float tile[TILE_ROWS * TILE_LANES];
      for (int64_t l = 0; l < lanes; l++) which[l] = list[from + l].train;
      pack_samples(s->task->train, s->train_scale, dims, which, 0, lanes, TILE_LANES, panel);
      product_tile(rows, panel, dims, tile, TILE_LANES);
      const float *line = tile + r % TILE_ROWS * TILE_LANES;
      for (int64_t l = 0; l < lanes; l++)
        if (line[l] > heap->similarity) heap_replace(heap, s->k, (neighbour){line[l], which[l]});
    }
  }
}

static void compare_blocks(void *context, int64_t begin, int64_t end) {
  narrow_search *w = context;
  const int64_t dims = w->search->task->dims;
  float *rows = product_memory(dims * TILE_ROWS), *panel = product_memory(dims * TILE_LANES);
  if (!rows || !panel) w->short_of_memory = true;
  for (int64_t b = begin; rows && panel && b < end; b++) compare_block(w, b, rows, panel);
  free(rows);
  free(panel);
}

/* Any vector will do; the nearer it is to train samples the less is left to compare. */
static void take_mean(narrow_search *w) {
  const neighbour_search *s = w->search;
  const int64_t dims = s->task->dims, n = s->task->train->n, step = (n + MEAN_SAMPLES - 1) / MEAN_SAMPLES;
  double square = 0;
  memset(w->mean, 0, (size_t)dims * sizeof *w->mean);
  for (int64_t i = 0; i < n; i += step)
    for (int64_t d = 0; d < dims; d++) w->mean[d] += (float)(s->task->train->features[i * dims + d] * s->train_scale[i]);
  for (int64_t d = 0; d < dims; d++) w->mean[d] /= (float)((n + step - 1) / step), square += (double)w->mean[d] * w->mean[d];
  w->mean_norm = sqrt(square);
}

bool search_narrow(neighbour_search *s, bool *left) {
  const int64_t dims = s->task->dims, groups = s->blocks * BLOCK_GROUPS;
  narrow_search w = {.search = s, .pairs = (dims + 1) / 2, .left = left, .accumulation = (double)(dims + 8) * 0x1p-22};
  int64_t most = SPAN_BYTES / (TILE_LANES * 2 * w.pairs * (int64_t)sizeof *w.train) + 1;
  if (most > s->panels) most = s->panels;
  w.mean = malloc((size_t)dims * sizeof *w.mean);
  w.train = (uint16_t *)product_memory(most * TILE_LANES * w.pairs); /* pairs take the room of numbers */
  w.test = (uint16_t *)product_memory(groups * TILE_ROWS * w.pairs);
  w.offsets = malloc((size_t)(most * TILE_LANES) * sizeof *w.offsets);
  w.train_spread = malloc((size_t)most * sizeof *w.train_spread);
  w.test_spread = malloc((size_t)(groups * TILE_ROWS) * sizeof *w.test_spread);
  w.listed = malloc((size_t)(groups * TILE_ROWS) * sizeof *w.listed);
  w.candidates = malloc((size_t)(s->task->test->n * LISTED * s->k) * sizeof *w.candidates);
  bool good = w.mean && w.train && w.test && w.offsets && w.train_spread && w.test_spread && w.listed && w.candidates;
  if (good) {
    take_mean(&w);
    thread_pool_run(s->pool, narrow_test, &w, groups, s->blocks);
    for (; w.first < s->panels; w.first += most) {
      w.span = s->panels - w.first < most ? s->panels - w.first : most;
      thread_pool_run(s->pool, narrow_train, &w, w.span, 16);
      thread_pool_run(s->pool, search_blocks, &w, s->blocks, s->blocks);
    }
    thread_pool_run(s->pool, compare_blocks, &w, s->blocks, s->blocks);
  }
  good = good && !w.short_of_memory;
  free(w.mean);
  free(w.train);
  free(w.test);
  free(w.offsets);
  free(w.train_spread);
  free(w.test_spread);
  free(w.listed);
  free(w.candidates);
  return good;
}
