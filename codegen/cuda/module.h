/* What NVRTC is given, and what it makes of that as text for `sslc emit`. */
#ifndef SSLC_CODEGEN_CUDA_MODULE_H
#define SSLC_CODEGEN_CUDA_MODULE_H

#include "codegen/cuda/nvrtc.h"
#include "codegen/cuda/source.h"
#include "ir/plan.h"

/* The prelude and one kernel, whose lines errors count from 1. NULL and *error, both in the arena, as of all below. */
const char *cuda_module_text(const code_part *parts, uint32_t n, const char *symbol, arena *into, cuda_source *source, const char **error);

/* A kernel, which does the work of so many launches, with its launch in a comment, without the prelude; its PTX; and its machine code, by the
 * nvdisasm that PATH has. */
char *launches_cuda_text(const plan_launch *l, uint32_t n, arena *into, const char **error);
char *launches_ptx_text(const plan_launch *l, uint32_t n, const nvrtc *with, unsigned capability, arena *into, const char **error);
char *launches_sass_text(const plan_launch *l, uint32_t n, const nvrtc *with, unsigned capability, arena *into, const char **error);

#endif
