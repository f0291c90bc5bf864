/* Loops as CUDA C. A vector is a group of threads: what has lanes is one value in each thread of a warp, what has none is the
 * same in all of them, and an iteration of the parallel loops is a warp's. So branches and loops are taken by whole warps, and
 * loads of neighbouring lanes are one access to memory. Kernels without vectors give each thread an iteration of its own. */
#ifndef SSLC_CODEGEN_CUDA_SOURCE_H
#define SSLC_CODEGEN_CUDA_SOURCE_H

#include "codegen/part.h"

/* Every module begins with it: types and native ops (prelude.cuh). */
extern const char cuda_prelude[];

typedef struct {
  const char *symbol;
  const uint32_t *groups; /* per argument: those with equal numbers may share memory, others do not */
  bool part;    /* a function that takes the number of its block before the arguments, for kernels to call */
  bool checked; /* every access goes through INSIDE and its kin, which whoever compiles the text defines: tests/emulation/device.h */
} source_options;

/* How a kernel is launched: `blocks` of `threads` with `shared_bytes` of dynamic shared memory; its parameters are the pointers
 * of the arguments, in their order, or one structure, SYMBOL_pointers, that holds all of them. */
typedef struct {
  const char *text; /* without the prelude */
  int64_t blocks;
  uint32_t threads, shared_bytes;
  uint32_t pointers; /* in the structure; 0: there is none */
  const loops_box *boxes; /* that it takes maps of, behind the pointers, as one structure, SYMBOL_boxes */
  uint32_t n_boxes;
  bool synchronises; /* threads wait for each other, or exchange values */
} cuda_source;

/* False and *error (in `into`) when the loops hold something that has no text. */
bool cuda_source_of(const loops *l, const source_options *o, arena *into, cuda_source *out, const char **error);
/* A kernel that carries out all parts, as often as each says: with the arguments of the first time of the first part, and so on. Lines of the
 * others count from 1, in files of their names. */
bool cuda_kernel_of(const code_part *parts, uint32_t n, const char *symbol, bool checked, arena *into, cuda_source *out, const char **error);

#endif
