/* What the files of fusion share. Three steps, each of its own file:
 *
 *   fusion_policy.c  which values stand in memory; all others dissolve into the expressions that use them
 *   definitions.c    one kernel for each of those values: its definition over what stands in memory
 *   merge.c          kernels that share loops become one, as long as no cycle arises
 *
 * and fuse.c makes a plan of what results. */
#ifndef SSLC_PASSES_FUSE_H
#define SSLC_PASSES_FUSE_H

#include "passes/passes.h"
#include "passes/squares.h"

/* What fusion may do with the result of an op. */
typedef enum {
  ROLE_MAP,   /* computed element by element: inlined, or materialised where that costs less */
  ROLE_LEAF,  /* in memory already: parameters, literals, and what loops give */
  ROLE_VIEW,  /* never computed: an index expression, or a number or index made from nothing */
  ROLE_ANCHOR /* a reduction: always a stage */
} fusion_role;
fusion_role value_role(const graph *g, value v);

/* Per value: does it stand in memory (leaves, anchors, results and what the costs decide)? In `a`. */
bool *choose_materialised(const graph *g, const squares *s, arena *a);

/* A kernel in the making, and the graph value that each of its buffers holds. */
typedef struct {
  kernel *kernel;
  value *values;
  uint32_t values_capacity;
  const expr **reads; /* all reads in its stages, each once */
  uint32_t n_reads, reads_capacity;
  uint32_t n_exprs; /* of its stages, as a measure of size */
  const node *repeat; /* a loop: its kernel has no stages, and it merges with nothing */
  bool contraction; /* holds one that has rows and columns: it gets register tiles, and few things beside it */
  bool has_squares; /* see squares.h; nothing more is merged into it */
} fragment;

/* The definition of a materialised value; reads are of materialised values only. */
fragment *define_value(const graph *g, const bool *materialised, value v, arena *a);
uint32_t fragment_buffer(fragment *f, value v, tensor_type type, const char *name, buffer_access access);
/* Where the element of `to` at `index` lies in a reshape of it. */
void reshaped_index(kernel *k, const tensor_type *to, const expr *const *index, const tensor_type *from, const expr **inner);
/* Collects the reads of stages from `first_stage` on. */
void fragment_collect_reads(fragment *f, uint32_t first_stage);

/* Merges fragments (in an order where producers come first) as far as it pays. Returns them in an order
 * where producers come first again, their kernels compact: only buffers and stages that somebody needs. NULL when squares
 * had to be refused: then values are to be chosen anew. */
fragment **merge_fragments(const graph *g, fragment **fragments, uint32_t *n, squares *s, const bool *materialised, arena *a);

#endif
