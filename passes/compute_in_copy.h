/* A copy of a value that computes the value on its way, so that the value need not wait for it. */
#ifndef SSLC_PASSES_COMPUTE_IN_COPY_H
#define SSLC_PASSES_COMPUTE_IN_COPY_H

#include "ir/plan.h"

/* Whether a buffer can be read at launch number `at`. */
typedef bool buffer_test(const plan *p, uint32_t buffer, uint32_t at);

/* In the place of a launch that puts a buffer in another layout, as launch number `at`: one that computes it from what its maker read, or
 * wrote beside it, as far as that can be read there. False where there is none. */
bool compute_in_copy(const plan *p, const plan_launch *copy, uint32_t at, buffer_test *is_there, plan_launch *out);

/* What copies a buffer of this type, its first, to its second. */
kernel *copy_kernel(arena *a, const tensor_type *t, span where);

#endif
