/* The derivative of each primitive, in terms of primitives: reverse mode, one operand at a time. */
#ifndef SSLC_PASSES_DERIVATIVES_H
#define SSLC_PASSES_DERIVATIVES_H

#include "ir/graph.h"

/* The node of `result` asks what its operand number `operand` contributes, given the cotangent of the
 * result. *out gets a value of the operand's type, added to the graph with the span of the node. False
 * when the operation has no derivative by that operand; *out is 0 when building it failed. */
bool derive_operand(graph *g, value result, value cotangent, uint32_t operand, value *out);

#endif
