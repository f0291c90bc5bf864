/* NVIDIA's run-time compiler, opened where it is installed when it is needed: it makes machine code of CUDA C, and needs no GPU for that. */
#ifndef SSLC_CODEGEN_CUDA_NVRTC_H
#define SSLC_CODEGEN_CUDA_NVRTC_H

#include <stdbool.h>

#include "ir/arena.h"

typedef struct nvrtc nvrtc;

/* The file that SSLC_NVRTC names and no other, or else what the system's loader finds, then the toolkits of CUDA_HOME, CUDA_PATH and the
 * usual folders, then the packages of the Python or Conda environment that is active. NULL and *error (in `into`), which says where it looked. */
nvrtc *nvrtc_open(arena *into, const char **error);
void nvrtc_close(nvrtc *n);

/* Until it is closed. */
typedef struct {
  const char *file;
  int major, minor;
  const int *architectures; /* that it makes code for, as 10 * major + minor, in rising order */
  int n_architectures;
} nvrtc_facts;
const nvrtc_facts *nvrtc_describe(const nvrtc *n);

typedef enum { NVRTC_CUBIN, NVRTC_PTX } nvrtc_form;

/* What a device of a compute capability is given. Code for it alone where there can be (sm_90a), else code for an older one of the same
 * major number, else the newest PTX, which the driver translates. False when the compiler knows nothing old enough. */
typedef struct {
  char name[32]; /* "sm_90a", "compute_90" */
  nvrtc_form form;
} nvrtc_target;
bool nvrtc_target_of(const nvrtc *n, unsigned capability, nvrtc_target *out);

typedef struct {
  void *code; /* malloc'ed */
  size_t bytes;
  unsigned registers, spilled_bytes, local_bytes; /* of its one kernel; 0 for PTX. Spilled: read and written; local: of the stack of a thread */
} nvrtc_code;

/* A text with one kernel; `name` is what errors call it. It may be compiled twice, the second time with RESIDENT defined: blocks that
 * are to be resident at least (prelude.cuh). Several threads may compile at once. False and *error (in `into`). */
bool nvrtc_compile(const nvrtc *n, const char *text, const char *name, const nvrtc_target *target, arena *into, nvrtc_code *out, const char **error);

#endif
