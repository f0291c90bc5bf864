/* Loops as CUDA C. A vector is a group of threads: what has lanes is one value in each thread of a warp, what has none is the
 * same in all of them, and an iteration of the parallel loops is a warp's. So branches and loops are taken by whole warps, and
 * loads of neighbouring lanes are one access to memory. Kernels without vectors give each thread an iteration of its own. */
#ifndef SSLC_CODEGEN_CUDA_SOURCE_H
#define SSLC_CODEGEN_CUDA_SOURCE_H

#include "ir/loops.h"

/* Every module begins with it: types and native ops (prelude.cuh). */
extern const char cuda_prelude[];

typedef struct {
  const char *symbol;
  const uint32_t *groups; /* per argument: those with equal numbers may share memory, others do not */
  bool checked; /* every access goes through INSIDE and its kin, which whoever compiles the text defines: tests/emulation/device.h */
} source_options;

/* How a kernel is launched: `blocks` of `threads` with `shared_bytes` of dynamic shared memory; its parameters are the pointers
 * of the arguments, in their order. */
typedef struct {
  const char *text; /* of one function, without the prelude */
  int64_t blocks;
  uint32_t threads, shared_bytes;
  bool synchronises; /* threads wait for each other, or exchange values */
} cuda_source;

/* False and *error (in `into`) when the loops hold something that has no text. */
bool cuda_source_of(const loops *l, const source_options *o, arena *into, cuda_source *out, const char **error);

#endif
