#include "runtime/stepper.h"

#include <math.h>

void set_clock(instance *i, int64_t step, int64_t steps_per_epoch, uint64_t seed) {
  int32_t now = (int32_t)step, epoch = (int32_t)(step / (steps_per_epoch > 0 ? steps_per_epoch : 1));
  uint32_t words[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  instance_set(i, "clock", "step", &now); /* false when the program does not look at it */
  instance_set(i, "clock", "epoch", &epoch);
  instance_set(i, "seed", "seed", words);
}

void stepper_begin(stepper *s) {
  set_clock(s->instance, s->done, s->steps_per_epoch, s->seed);
  instance_run(s->instance);
}

step_outcome stepper_end(stepper *s) {
  for (uint32_t i = 0; i < s->n_metrics; i++) s->metrics[i].value = instance_number(s->instance, "metric", s->metrics[i].name);
  const bool finite = instance_number(s->instance, "metric", "finite") != 0; /* a program without objective has no such metric */
  s->finished = instance_number(s->instance, "metric", "stop") == 1;
  if (instance_failure(s->instance)) return STEP_FAILED;
  if (!finite) return STEP_NOT_FINITE;
  s->done++;
  s->ahead = true;
  return STEP_DONE;
}

step_outcome stepper_run(stepper *s) {
  stepper_begin(s);
  return stepper_end(s);
}

step_outcome stepper_run_watched(stepper *s, instance_watch *seen, void *context) {
  set_clock(s->instance, s->done, s->steps_per_epoch, s->seed);
  instance_run_watched(s->instance, seen, context);
  return stepper_end(s);
}

bool stepper_store(stepper *s) {
  if (s->ahead && !states_gather(s->states, s->instance)) return false;
  s->ahead = false;
  return true;
}

void stepper_load(stepper *s) {
  states_scatter(s->states, s->instance);
  s->ahead = false;
}

double stepper_metric(const stepper *s, const char *name) {
  for (uint32_t i = 0; i < s->n_metrics; i++)
    if (!strcmp(s->metrics[i].name, name)) return s->metrics[i].value;
  return NAN;
}
