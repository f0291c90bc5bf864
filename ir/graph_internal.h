/* Shared between the files of the graph, and by nobody else. */
#ifndef SSLC_IR_GRAPH_INTERNAL_H
#define SSLC_IR_GRAPH_INTERNAL_H

#include "ir/graph.h"

/* Result types of a node whose operands, attributes and contraction are set; `declared` may be NULL.
 * NULL when sound (types has n_results entries), else what was expected and found. */
const char *infer_types(const graph *g, const node *n, const tensor_type *declared, tensor_type *types, arena *a);
/* Whether the attributes are those of the op's schema, in number and kind; NULL or what is wrong. */
const char *check_schema(const node *n, arena *a);

#endif
