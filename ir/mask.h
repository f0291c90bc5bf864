/* Masks that compare two indices of a kernel, as causal attention has them: behind the diagonal nothing counts. */
#ifndef SSLC_IR_MASK_H
#define SSLC_IR_MASK_H

#include "ir/kernel.h"

/* What hides a score from a softmax is no larger than this. */
#define MASKED (-1e30)

/* Points at which the index of `low` is above that of `high` take part in nothing. */
typedef struct {
  uint32_t low, high;
} kernel_mask;

/* False when there is none: some stage would notice if such points were left out. */
bool find_mask(const kernel *k, kernel_mask *out);
/* Whether a stage has both indices. */
static inline bool is_masked(const kernel_mask *m, axis_set axes) { return (axes >> m->low & 1) && (axes >> m->high & 1); }
/* The share of points that do take part. */
double mask_share(const kernel *k, const kernel_mask *m);

#endif
