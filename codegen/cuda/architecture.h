/* GPUs as schedules want to know them. */
#ifndef SSLC_CODEGEN_CUDA_ARCHITECTURE_H
#define SSLC_CODEGEN_CUDA_ARCHITECTURE_H

#include "ir/target.h"

/* Of compute capability MAJOR.MINOR, as 10 * MAJOR + MINOR. With SSLC_WGMMA=1 products of bf16 on sm_90 are those of groups of warps, whose
 * operands come as boxes where they can, unless SSLC_TMA=0. */
void cuda_target(unsigned capability, target *out);

#endif
