/* A plan with its machine code and its memory: what runs. */
#ifndef SSLC_RUNTIME_INSTANCE_H
#define SSLC_RUNTIME_INSTANCE_H

#include "runtime/device.h"

typedef struct instance instance;

/* Allocates the plan's arena and every state, data and result buffer, fills literals and splats. The plan and what the device
 * was made of must outlive it; the device becomes its own. NULL and *error (malloc'ed) when memory is short or the device fails; where `d`
 * is NULL, *error is left to who could not make it. */
instance *instance_on(const plan *p, device *d, char **error);
/* On the processor; NULL when memory is short. */
instance *instance_new(const plan *p, executable *e, thread_pool *pool);
void instance_free(instance *i);
/* Row-major copies in and out of a buffer found by role and name; false when there is none, or nothing came from a device that failed. */
bool instance_set(instance *i, const char *role, const char *name, const void *data);
bool instance_get(const instance *i, const char *role, const char *name, void *data);
/* As instance_set, without copying: memory changes hands. The buffer has `*memory` then, of host_memory_new(bytes), and `*memory` is what it had.
 * False, and nothing is done, where that is not possible: on a device with memory of its own, or with another layout. */
bool instance_exchange(instance *i, const char *role, const char *name, void **memory, int64_t bytes);
/* A buffer of one number; NaN when there is none to be had. */
double instance_number(instance *i, const char *role, const char *name);
const tensor_type *instance_type(const instance *i, const char *role, const char *name);
/* As instance_set, but beside a run that is not over: for the next. instance_take brings what was sent to where the next run looks. False: send nothing,
 * set it between the runs. */
bool instance_send(instance *i, const char *role, const char *name, const void *data);
bool instance_take(instance *i, const char *role, const char *name);
/* Rows of a table on the device as the value, by their numbers: of a buffer that is row-major. */
void instance_gather(instance *i, const char *role, const char *name, const void *table, const int64_t *numbers, int64_t row_bytes);
/* One run, which a device may still be at when this returns. Results are the same bits for any number of threads. */
void instance_run(instance *i);
/* The same, with a look behind each kernel launch, by its number in the plan of `at`, which is the instance or the
 * region of one of its loops; ends early when `seen` says false. */
typedef bool instance_watch(void *context, const instance *at, uint32_t launch);
void instance_run_watched(instance *i, instance_watch *seen, void *context);
/* Until everything is done that was asked for: launches and copies may be behind the host. */
void instance_wait(const instance *i);
/* What went wrong on the device since it was made, or NULL; values that were read since mean nothing. */
const char *instance_failure(const instance *i);
const plan *instance_plan(const instance *i);
/* Row-major copy of any buffer of the plan as it is now, also of one that lives for a few launches only; false as instance_get. */
bool instance_read(const instance *i, uint32_t buffer, void *data);
int64_t instance_bytes(const instance *i);

#endif
