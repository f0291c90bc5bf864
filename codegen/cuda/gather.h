/* A kernel of the runtime's own: rows of a table, by a list of their numbers. */
#ifndef SSLC_CODEGEN_CUDA_GATHER_H
#define SSLC_CODEGEN_CUDA_GATHER_H

#include "codegen/cuda/executable.h"

/* Takes (table, list, out), a block for each row: list[0] is how many words of 4 bytes a row has, list[1 + i] the number of row i. `cache`: a directory
 * of compiled kernels, or NULL. NULL and *error, in the arena as the kernel is. */
const cuda_kernel *cuda_gather_kernel(const nvrtc *n, unsigned capability, const char *cache, arena *into, const char **error);

#endif
