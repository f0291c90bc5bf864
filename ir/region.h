/* Loops of the graph. The region of a repeat is a graph of its own that captures nothing: what it needs comes in
 * by parameters. Their names are numbers in decimal:
 *
 *   parameter state "k"      carry k at the start of the iteration; every carry has one
 *   parameter slice "k"      element [index] of sliced operand k
 *   parameter invariant "k"  what is the same in all iterations
 *   parameter index "i"      i32[]: the number of the iteration
 *   result state "k"         carry k for the next iteration
 *   result output "k"        element [index] of stacked result k
 *
 * so that a region is a program with states, which passes and plans treat like any other. A slice, an invariant or
 * the index that nobody needs may be left out. */
#ifndef SSLC_IR_REGION_H
#define SSLC_IR_REGION_H

#include "ir/graph.h"

/* A region as the repeat around it sees it. */
typedef struct {
  int64_t times;
  uint32_t n_carries, n_slices;
  bool reverse;
  value *parameters; /* per operand of the repeat: what stands for it in the region; 0: nothing */
  value *results;    /* per result of the repeat: what gives it */
  value index;       /* or 0 */
} region_view;

/* Of a sound node. */
region_view node_region(const node *n, arena *a);
/* The same for one that may be unsound: NULL, or what is wrong with the names. */
const char *read_region(const node *n, arena *a, region_view *out);
/* Whether types of operands, results and region agree; NULL or what is wrong. `types`: of the results. */
const char *check_region(const graph *g, const node *n, tensor_type *types, arena *a);

/* Values of the region that depend, with a derivative, on marked operands; carries that come to depend on them, since
 * what a carry depends on comes round, are marked as well. */
bool *region_depending_on(const node *n, const region_view *r, bool *operands, arena *scratch);
/* Values of the region that marked results depend on; likewise carries are marked. */
bool *region_leading_to(const node *n, const region_view *r, bool *results, arena *scratch);

/* Parameters and results of a region in the making. */
value region_parameter(graph *region, const char *role, uint32_t number, tensor_type type, span where);
void region_result(graph *region, const char *role, uint32_t number, value v, span where);
tensor_type region_slice_type(const tensor_type *whole);
tensor_type region_stacked_type(const tensor_type *slice, int64_t times);
/* The repeat of a finished region; 0 and *error as graph_add. */
value graph_repeat(graph *g, const region_view *form, const graph *body, const value *operands, uint32_t n_operands, span where, const char **error);

#endif
