/* How shapes meet in an elementwise operation: scalars, axes of size 1, and a trailing [D] against
 * [...,D]. Any other extension of rank is an error, so that [N] never meets [N,1] by accident. */
#ifndef SSLC_FRONTEND_BROADCAST_H
#define SSLC_FRONTEND_BROADCAST_H

#include "ir/graph.h"

/* The shape in which both meet, with x's element type; false when they cannot. */
bool broadcast_shape(const tensor_type *x, const tensor_type *y, tensor_type *out);

/* Views of *x and *y with one shape; element types stay. False after a diagnostic, named after
 * `operation`, with notes on where both values were made; then *x and *y are unchanged. */
bool broadcast_together(graph *g, diagnostics *d, const char *operation, value *x, value *y, span where);

#endif
