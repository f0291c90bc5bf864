/* What codegen hands to a runtime that drives a GPU: images of machine code, and which launch of a plan takes which. */
#ifndef SSLC_CODEGEN_CUDA_EXECUTABLE_H
#define SSLC_CODEGEN_CUDA_EXECUTABLE_H

#include "codegen/cuda/nvrtc.h"
#include "codegen/executable.h"

/* A kernel takes the pointers of its launch's buffers, in their order; that of a bundle those of all its launches, as one structure. Maps of its
 * boxes, whose buffers are numbers of these, are one structure behind them. */
typedef struct {
  const void *image; /* cubin, or PTX that ends with a 0 */
  size_t bytes;
  const char *symbol; /* of its function */
  const char *name;   /* of a kernel of the plan, or several, that it was made of */
  int64_t blocks;
  uint32_t threads, shared_bytes; /* of a block; dynamic */
  uint32_t pointers; /* in the structure; 0: there is none */
  const loops_box *boxes;
  uint32_t n_boxes;
  uint32_t registers, spilled_bytes, local_bytes; /* of a thread, as nvrtc_code has them */
} cuda_kernel;

typedef struct {
  uint32_t kernel;     /* its number */
  const char *name;    /* of the plan's kernel, or several */
  uint32_t n_buffers;
} cuda_launch;

typedef struct cuda_executable cuda_executable;

/* For devices of a compute capability, as 10 * major + minor. NULL and *error (in the plan's arena or static) on failure, with its place
 * in the report. The plan may die before the executable. `checked` is for processors only. */
cuda_executable *executable_compile_cuda(const plan *p, const nvrtc *n, unsigned capability, const compile_options *o, compile_report *report, const char **error);
void cuda_executable_free(cuda_executable *e);
const cuda_kernel *cuda_executable_kernels(const cuda_executable *e, uint32_t *n);
const cuda_launch *cuda_executable_launches(const cuda_executable *e, uint32_t *n);

#endif
