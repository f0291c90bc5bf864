/* One training step after another: the clock, the seed, the run, what it reports. */
#ifndef SSLC_RUNTIME_STEPPER_H
#define SSLC_RUNTIME_STEPPER_H

#include "runtime/metrics.h"
#include "runtime/states.h"

typedef struct {
  instance *instance;     /* of the step graph */
  states *states;
  metric *metrics;        /* the names are given; values are of the latest step */
  uint32_t n_metrics;
  uint64_t seed;
  int64_t steps_per_epoch;
  int64_t done;           /* steps; the next one has this number */
  bool finished;          /* the latest step said that training ends (stop:) */
  bool ahead;             /* the instance holds newer states than `states` */
} stepper;

typedef enum {
  STEP_DONE,
  STEP_NOT_FINITE, /* a loss or a gradient was not: the step graph kept all states, and `done` stays */
  STEP_FAILED      /* the device did, instance_failure says how; its states are lost */
} step_outcome;

/* Begins a step on the data that the instance was fed; a device may be at it until stepper_end, which says what came of it. */
void stepper_begin(stepper *s);
step_outcome stepper_end(stepper *s);
/* Both. */
step_outcome stepper_run(stepper *s);
/* The same, with a look behind each launch. */
step_outcome stepper_run_watched(stepper *s, instance_watch *seen, void *context);
/* Brings `states` up to date. False when the device failed: they are then nothing to keep. */
bool stepper_store(stepper *s);
/* Hands `states` to the instance: after they were made, set or loaded. */
void stepper_load(stepper *s);
/* A metric's value, NaN when there is none. */
double stepper_metric(const stepper *s, const char *name);
/* What an instance reads besides data and states: "step" and "epoch" of that step, and the seed. */
void set_clock(instance *i, int64_t step, int64_t steps_per_epoch, uint64_t seed);

#endif
