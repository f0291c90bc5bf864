#include "runtime/lbfgs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HISTORY = 10 };

typedef struct {
  lbfgs_function *f;
  void *context;
  int64_t n, evaluations, most;
  double *memory;                                   /* of all vectors */
  double *x, *gradient, *direction;                 /* x is the caller's */
  double *trial, *trial_gradient;
  double *step[HISTORY], *change[HISTORY];          /* of x and of the gradient, oldest overwritten */
  double curvature[HISTORY];                        /* 1 / (step . change) */
  int64_t kept;                                     /* pairs ever stored */
  double value;
} descent;

static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/* y += a x */
static void add_scaled(double *y, double a, const double *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static double largest(const double *x, int64_t n) {
  double most = 0;
  for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
  return most;
}

/* Algorithm 7.4: minus the gradient times the inverse Hessian that the pairs imply. */
static void find_direction(descent *d) {
  int64_t n = d->n, oldest = d->kept > HISTORY ? d->kept - HISTORY : 0;
  double weight[HISTORY];
  for (int64_t i = 0; i < n; i++) d->direction[i] = -d->gradient[i];
  for (int64_t j = d->kept - 1; j >= oldest; j--) {
    int64_t slot = j % HISTORY;
    weight[slot] = d->curvature[slot] * dot(d->step[slot], d->direction, n);
    add_scaled(d->direction, -weight[slot], d->change[slot], n);
  }
  if (d->kept) {
    int64_t last = (d->kept - 1) % HISTORY;
    double scale = 1 / (d->curvature[last] * dot(d->change[last], d->change[last], n));
    for (int64_t i = 0; i < n; i++) d->direction[i] *= scale;
  }
  for (int64_t j = oldest; j < d->kept; j++) {
    int64_t slot = j % HISTORY;
    add_scaled(d->direction, weight[slot] - d->curvature[slot] * dot(d->change[slot], d->direction, n), d->step[slot], n);
  }
}

/* A step length that meets the weak Wolfe conditions, by bisection (Lewis & Overton 2013, algorithm 2.6).
 * On success trial, trial_gradient and *value are those of the new point. */
static bool search_line(descent *d, double length, double *value) {
  const double descend = 1e-4, flatten = 0.9;
  double slope = dot(d->gradient, d->direction, d->n), low = 0, high = INFINITY;
  if (!(slope < 0)) return false;
  for (int halvings = 0; halvings < 40 && d->evaluations < d->most; halvings++) {
    memcpy(d->trial, d->x, (size_t)d->n * sizeof *d->x);
    add_scaled(d->trial, length, d->direction, d->n);
    *value = d->f(d->context, d->trial, d->trial_gradient);
    d->evaluations++;
    if (!(*value <= d->value + descend * length * slope)) high = length;
    else if (dot(d->trial_gradient, d->direction, d->n) < flatten * slope) low = length;
    else return true;
    length = high < INFINITY ? (low + high) / 2 : 2 * low;
  }
  return false;
}

static void accept_trial(descent *d, double value) {
  int64_t slot = d->kept % HISTORY;
  for (int64_t i = 0; i < d->n; i++) {
    d->step[slot][i] = d->trial[i] - d->x[i];
    d->change[slot][i] = d->trial_gradient[i] - d->gradient[i];
  }
  double product = dot(d->step[slot], d->change[slot], d->n);
  if (product > 0) {
    d->curvature[slot] = 1 / product;
    d->kept++;
  }
  memcpy(d->x, d->trial, (size_t)d->n * sizeof *d->x);
  memcpy(d->gradient, d->trial_gradient, (size_t)d->n * sizeof *d->x);
  d->value = value;
}

bool lbfgs_minimise(lbfgs_function *f, void *context, int64_t n, double *x, int64_t most, double tolerance, lbfgs_result *out) {
  descent d = {.f = f, .context = context, .n = n, .most = most, .x = x};
  double *next = d.memory = malloc((size_t)(4 + 2 * HISTORY) * (size_t)n * sizeof *next);
  if (!next) return false;
  double **vectors[] = {&d.gradient, &d.direction, &d.trial, &d.trial_gradient};
  for (int i = 0; i < 4; i++, next += n) *vectors[i] = next;
  for (int i = 0; i < HISTORY; i++, next += 2 * n) {
    d.step[i] = next;
    d.change[i] = next + n;
  }
  d.value = f(context, x, d.gradient);
  d.evaluations = 1;
  while (d.evaluations < most && largest(d.gradient, n) > tolerance) {
    double value;
    find_direction(&d);
    /* The first direction has the gradient's length, which says nothing of how far to go. */
    if (!search_line(&d, d.kept ? 1 : 1 / sqrt(dot(d.gradient, d.gradient, n)), &value)) break;
    accept_trial(&d, value);
  }
  *out = (lbfgs_result){d.value, largest(d.gradient, n), d.evaluations};
  free(d.memory);
  return true;
}
