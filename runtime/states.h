/* The states of a run, by name: what steps change, evaluations read and checkpoints keep. */
#ifndef SSLC_RUNTIME_STATES_H
#define SSLC_RUNTIME_STATES_H

#include "runtime/instance.h"

typedef struct {
  const char *name; /* outlives the states */
  tensor_type type;
  void *data; /* packed, row-major */
} state_tensor;

typedef struct {
  state_tensor *items; /* the caller's, with names and types */
  uint32_t n;
} states;

/* Gives every item memory of zeros; false when there is not enough. */
bool states_allocate(states *s);
void states_release(states *s);
/* NULL when there is none of that name. */
state_tensor *states_find(const states *s, const char *name);
/* Copies the states that an instance has; one of another name stays as it is. False when its device failed: some are then copied, others not. */
bool states_gather(states *s, const instance *from);
void states_scatter(const states *s, instance *to);

#endif
