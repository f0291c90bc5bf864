/* Minimises a smooth function of many variables: limited-memory BFGS (Nocedal & Wright, Numerical
 * Optimization, 2nd ed., algorithm 7.5). */
#ifndef SSLC_RUNTIME_LBFGS_H
#define SSLC_RUNTIME_LBFGS_H

#include <stdbool.h>
#include <stdint.h>

/* The value at `at`, and the gradient there. */
typedef double lbfgs_function(void *context, const double *at, double *gradient);

typedef struct {
  double value;
  double gradient; /* its largest magnitude at the end */
  int64_t evaluations;
} lbfgs_result;

/* From x, in place, until the gradient's largest magnitude is at most `tolerance`, the function has been
 * evaluated `most` times, or rounding hides any further descent. False when memory is short. */
bool lbfgs_minimise(lbfgs_function *f, void *context, int64_t n, double *x, int64_t most, double tolerance, lbfgs_result *out);

#endif
