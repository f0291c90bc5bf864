/* A plan with its machine code and its memory: what runs. */
#ifndef SSLC_RUNTIME_INSTANCE_H
#define SSLC_RUNTIME_INSTANCE_H

#include "runtime/device.h"

typedef struct instance instance;

/* Allocates the plan's arena and every state, data and result buffer, fills literals and splats. The plan and what the device
 * was made of must outlive it; the device becomes its own. NULL when memory is short, or `d` is NULL. */
instance *instance_on(const plan *p, device *d);
/* On the processor. */
instance *instance_new(const plan *p, const executable *e, thread_pool *pool);
void instance_free(instance *i);
/* Row-major copies in and out of a buffer found by role and name; false when there is none. */
bool instance_set(instance *i, const char *role, const char *name, const void *data);
bool instance_get(const instance *i, const char *role, const char *name, void *data);
/* A buffer of one number; NaN when there is none. */
double instance_number(const instance *i, const char *role, const char *name);
const tensor_type *instance_type(const instance *i, const char *role, const char *name);
/* One run. Results are the same bits for any number of threads. */
void instance_run(instance *i);
/* The same, with a look behind each kernel launch, by its number in the plan of `at`, which is the instance or the
 * region of one of its loops; ends early when `seen` says false. */
typedef bool instance_watch(void *context, const instance *at, uint32_t launch);
void instance_run_watched(instance *i, instance_watch *seen, void *context);
const plan *instance_plan(const instance *i);
/* Row-major copy of any buffer of the plan as it is now, also of one that lives for a few launches only. */
void instance_read(const instance *i, uint32_t buffer, void *data);
int64_t instance_bytes(const instance *i);

#endif
