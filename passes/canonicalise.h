/* The rules of canonicalise. A rule looks at a node that was just added to the new graph, whose operands
 * are in canonical form, and gives a value to use in its place, or 0. What it builds on the way goes
 * through `settle` again; the node itself stays behind, unused, and is dropped at the end.
 *
 * Rules keep every value, NaN and infinities included; only the sign of a zero, the last bits of a
 * sum, a power or a product with constants, and where the latter leaves the range may change. */
#ifndef SSLC_PASSES_CANONICALISE_H
#define SSLC_PASSES_CANONICALISE_H

#include "ir/graph.h"

typedef struct {
  graph *graph;
  uint32_t *uses; /* per value of the new graph: how often the old graph uses what it stands for */
  uint32_t uses_capacity;
} canonical;

typedef value canonical_rule(canonical *c, value v);

canonical_rule canonical_elementwise; /* of all elementwise ops */
canonical_rule canonical_mirror;      /* of select */
canonical_rule canonical_reshape, canonical_transpose, canonical_broadcast, canonical_slice, canonical_pad,
    canonical_reverse, canonical_concat, canonical_gather;
canonical_rule canonical_contract, canonical_reduce, canonical_argmax;

/* The canonical value for a node just added; 0 stays 0. */
value settle(canonical *c, value v);
/* The value at one place along an axis, which stays with an extent of 1. */
value slice_at(canonical *c, value x, int64_t axis, int64_t place, span where);
/* True when nothing but the node at hand uses v, so that rewriting v into it repeats no work. */
bool used_once(const canonical *c, value v);
bool used_times(const canonical *c, value v, uint32_t n);
/* The node of v when it is of that op, else NULL. */
const node *node_if(const canonical *c, value v, op_id op);
/* A constant of v's type and place. */
value splat_of(canonical *c, value v, scalar s);
/* For views: the operand's splat carried over to the result's type; else 0. */
value splat_through(canonical *c, value v);

#endif
