/* GPUs as schedules want to know them. */
#ifndef SSLC_CODEGEN_CUDA_ARCHITECTURE_H
#define SSLC_CODEGEN_CUDA_ARCHITECTURE_H

#include "ir/target.h"

/* Of compute capability MAJOR.MINOR, as 10 * MAJOR + MINOR. */
void cuda_target(unsigned capability, target *out);

#endif
