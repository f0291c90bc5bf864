/* The search for a fast schedule of one kernel: draws from the space of schedules, measures, and varies what was fast. */
#ifndef SSLC_FRONTEND_TUNER_H
#define SSLC_FRONTEND_TUNER_H

#include "ir/kernel.h"
#include "ir/target.h"

/* Seconds that the kernel takes with the schedule that it has; NAN when that cannot be carried out, or computes something else.
 * It may stop early, and give what it has found so far, once it sees that it will be more than `enough`. */
typedef double tuner_measure(void *context, const kernel *k, double enough);
/* Seconds since some moment, for the budget. */
typedef double tuner_clock(void *context);

typedef struct {
  tuner_measure *measure;
  tuner_clock *clock;
  void *context;
  uint32_t schedules; /* different ones that are to be measured */
  double budget;      /* seconds; the search ends behind them */
  uint64_t seed;
} tuner;

typedef struct {
  schedule best; /* in the kernel's arena */
  double default_seconds, best_seconds, median_seconds, worst_seconds; /* worst: as far as it was measured */
  uint32_t tried;  /* different schedules that ran, the default one among them */
  uint32_t failed; /* that could not be carried out */
} tuning;

/* Searches for a kernel that has its default schedule, and leaves it with that. False when the default itself fails. */
bool tune_kernel(kernel *k, const target *t, const tuner *how, arena *a, tuning *out);

#endif
