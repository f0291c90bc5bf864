/* Reads batches ahead of the step that wants them, on a thread of its own. */
#ifndef SSLC_RUNTIME_LOADER_H
#define SSLC_RUNTIME_LOADER_H

#include "runtime/dataset.h"

typedef struct {
  dataset *data; /* retained */
  const char *split;
  int64_t batch;
  bool in_order; /* once through from the first sample, for evaluation; else shuffled by `seed`, without end */
  int64_t count; /* in order: only the first `count` samples; 0: all */
  uint64_t seed;
  int64_t first_step; /* the step that the first batch is for */
  uint64_t unread;    /* bit i: field i is not read, the numbers of the samples are enough */
} loader_request;

typedef struct {
  int64_t step;
  int64_t valid;        /* rows that count: fewer than the batch only at the end in order, where the last sample is repeated */
  const int64_t *index; /* which samples */
  void **fields;        /* by number of the data set's field, each [batch, ...] in its stored type: memory of host_memory_new, which may change hands */
  const int64_t *bytes; /* of each */
} loader_batch;

typedef struct loader loader;

/* NULL and *error (malloc'ed) when there is no such split, it is smaller than a shuffled batch, or memory or
 * threads are short. */
loader *loader_new(const loader_request *request, char **error);
/* Stops the thread, wherever it is. */
void loader_free(loader *l);
/* Steps of one epoch, or of the one pass in order. */
int64_t loader_steps(const loader *l);
/* Waits for the next batch, in order of steps; valid until the next call. NULL past the end of a pass in order. */
const loader_batch *loader_next(loader *l);

#endif
