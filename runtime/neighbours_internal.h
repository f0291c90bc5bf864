/* What the ways of finding neighbours share. */
#ifndef SSLC_RUNTIME_NEIGHBOURS_INTERNAL_H
#define SSLC_RUNTIME_NEIGHBOURS_INTERNAL_H

#include "runtime/neighbours.h"
#include "runtime/product.h"

/* Rows that share a panel while it is in the second cache, as they are themselves. Panels are made for all blocks of rows, so many that
 * they stay in the last cache. */
enum { BLOCK_GROUPS = 32, BLOCK_ROWS = BLOCK_GROUPS * TILE_ROWS, LINE = 16, SPAN_BYTES = 12 << 20 };

typedef struct {
  thread_pool *pool;
  const judge_task *task;
  int64_t k, blocks, panels;       /* blocks of test samples, panels of train samples */
  double *test_scale, *train_scale; /* 1 / norm */
  neighbour *heaps;                 /* k a test sample: the root is the worst of them */
} neighbour_search;

/* Rows of a block that are there. */
static inline int64_t rows_of(const neighbour_search *s, int64_t block) {
  const int64_t left = s->task->test->n - block * BLOCK_ROWS;
  return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}

/* Samples, normalised, as [dims][lanes]; `which` names them, or NULL those from `first` on. Zeros behind the n-th. */
void pack_samples(const feature_set *set, const double *scale, int64_t dims, const int64_t *which, int64_t first, int64_t n, int64_t lanes, float *out);

void heap_begin(neighbour *heap, int64_t k);
void heap_replace(neighbour *heap, int64_t k, neighbour root); /* its root */

/* Most lines hold no neighbour: a comparison without branches, which vectorises, says so. */
static inline bool any_above(const float *line, float limit) {
  int found = 0;
  for (int l = 0; l < LINE; l++) found |= line[l] > limit;
  return found;
}

/* Fills the heaps of all blocks but those in which too many samples are alike for bf16 to tell them apart, whose `left` stays set. False when memory is short. */
bool search_narrow(neighbour_search *s, bool *left);

#endif
