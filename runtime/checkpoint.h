/* A run on disk: all states and where the run stands. Randomness is counted from the seed and the step, so these two are
 * the whole position of every random source. */
#ifndef SSLC_RUNTIME_CHECKPOINT_H
#define SSLC_RUNTIME_CHECKPOINT_H

#include "runtime/states.h"

typedef struct {
  const char *program;     /* what tells programs apart */
  const char *sums;        /* what tells apart in which order kernels add: their schedules, and the processor or GPU these are for */
  const char *device;      /* that processor or GPU: "znver4", "sm_90"; written only */
  const char *schedules;   /* of its kernels that were tuned, to be taken again when it is resumed; may be NULL */
  const char *definitions; /* of its models, for programs that read the file; written only, may be NULL */
} run_origin;

typedef struct {
  run_origin origin;
  uint64_t seed;
  int64_t step; /* done */
  int64_t epoch; /* that the next step belongs to */
  bool same_sums; /* of one that was read: from here on the bits are those that the run would have had */
} checkpoint_position;

/* One safetensors file, whole or not at all. False and *error (malloc'ed) when it cannot be written; the old one stands. */
bool checkpoint_write(const char *path, const states *s, const checkpoint_position *at, char **error);
/* Reads every state of `s` and the position; `origin` and `seed` of *at are what is expected, a NULL program there takes any
 * of both and then gives the file's seed. False and *error when something is missing, of another type or of another
 * program; `s` and *at are untouched then. */
bool checkpoint_read(const char *path, states *s, checkpoint_position *at, char **error);

#endif
