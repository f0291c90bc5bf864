/* One kernel run alone: as a plan of one launch, on random inputs, compared by element. */
#ifndef SSLC_FRONTEND_KERNEL_TRIAL_H
#define SSLC_FRONTEND_KERNEL_TRIAL_H

#include "codegen/executable.h"

/* Inputs are data and outputs are results, by the names of the kernel's buffers. */
extern const char *const trial_in_role, *const trial_out_role;
plan *trial_plan(kernel *k, const loops *lowered, arena *a);

/* Random elements; one in `rarity` is odd: zeros of both signs, the smallest, the largest and, unless `finite`, what is no number.
 * 0: none is. */
void trial_fill(const tensor_type *t, void *data, uint64_t rarity, bool finite, uint64_t *seed);
/* What rounding may do to elements of the kernel: it grows with the root of the number of terms. */
double trial_tolerance(const kernel *k, dtype t);
/* The number of the first element that is off, or -1. Finite reals may be off in proportion to the size of the element and of the
 * whole; what is not finite must agree. */
int64_t trial_difference(const tensor_type *t, const void *found, const void *expected, double tolerance);

/* The points that axes span. */
double trial_points(const kernel *k, axis_set axes);
double trial_longest_reduction(const kernel *k);

/* -- timing schedules of one kernel --------------------------------------------------------------------------- */

/* The buffers of a kernel, and what its first schedule made of them. */
typedef struct kernel_bench kernel_bench;
/* NULL when there is no memory. */
kernel_bench *kernel_bench_new(const kernel *k);
void kernel_bench_free(kernel_bench *b);
/* A tuner_measure with a bench as its context: processor time of one thread, so that other work on the machine counts little; the
 * median of a few runs. NAN also when outputs are not those of the schedule that was measured first. */
double kernel_bench_measure(void *context, const kernel *k, double enough);
/* A tuner_clock. */
double kernel_bench_clock(void *context);

#endif
