/* How shapes meet in an elementwise operation: scalars, axes of size 1, and a trailing [D] against
 * [...,D]. Any other extension of rank is an error, so that [N] never meets [N,1] by accident. */
#ifndef SSLC_FRONTEND_BROADCAST_H
#define SSLC_FRONTEND_BROADCAST_H

#include "ir/type.h"

/* The shape in which both meet, with x's element type; false when they cannot. */
bool broadcast_shape(const tensor_type *x, const tensor_type *y, tensor_type *out);
/* What a person can do about two shapes that do not meet. */
const char *broadcast_help(const tensor_type *x, const tensor_type *y, arena *a);

#endif
