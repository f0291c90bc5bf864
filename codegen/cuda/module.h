/* What NVRTC is given, and what it makes of that as text for `sslc emit`. */
#ifndef SSLC_CODEGEN_CUDA_MODULE_H
#define SSLC_CODEGEN_CUDA_MODULE_H

#include "codegen/cuda/nvrtc.h"
#include "codegen/cuda/source.h"

/* The prelude and one kernel, whose lines errors count from 1. NULL and *error, both in the arena, as of all below. */
const char *cuda_module_text(const loops *l, const char *symbol, const uint32_t *groups, arena *into, cuda_source *source, const char **error);

/* A kernel with its launch in a comment, without the prelude; its PTX; and its machine code, by the nvdisasm that PATH has. */
char *loops_cuda_text(const loops *l, arena *into, const char **error);
char *loops_ptx_text(const loops *l, const nvrtc *n, unsigned capability, arena *into, const char **error);
char *loops_sass_text(const loops *l, const nvrtc *n, unsigned capability, arena *into, const char **error);

#endif
