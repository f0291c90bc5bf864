/* Squares: products of two short factors that are larger than both together, or nearly (scores of attention, similarities of a
 * contrastive loss), or many that are a good deal smaller. Where rows of them are reduced, mapped and multiplied again, they never stand in memory: every kernel
 * that reads one makes it anew, a block of rows at a time. */
#ifndef SSLC_PASSES_SQUARES_H
#define SSLC_PASSES_SQUARES_H

#include "ir/graph.h"
#include "ir/kernel.h"
#include "ir/target.h"

/* By value of a graph. */
typedef struct {
  bool *is_square;
  bool *inside;  /* maps of squares: computed where they are used */
  bool *operand; /* what squares are made from: stands in memory */
  bool *refused; /* squares whose readers did not fit into kernels */
  bool any;
  const target *target;
} squares;

/* All but the refused ones (NULL: none is). */
squares *find_squares(const graph *g, const target *t, bool *refused, arena *a);

/* A kernel with squares, by form: they have the axes `batch`, `row` and `column`. Blocks of rows run one after the other, or in
 * parallel where all stages keep them and the batch is small; on GPUs always in parallel. */
typedef struct {
  axis_set batch;
  uint32_t row, column;
  bool rows_in_parallel;
  bool rows_in_lanes; /* of a processor: what is reduced over columns stays in lanes, and is nowhere put together across them */
  uint64_t stages; /* which are squares */
} squares_form;

/* False when it is none. */
bool kernel_squares(const kernel *k, const target *t, squares_form *out);

#endif
