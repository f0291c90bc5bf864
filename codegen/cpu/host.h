/* The processor at hand, as schedules want to know it. */
#ifndef SSLC_CODEGEN_CPU_HOST_H
#define SSLC_CODEGEN_CPU_HOST_H

#include "ir/target.h"

void host_target(target *out);
/* The version of LLVM that makes its code: "19.1.7". */
void host_llvm(char out[24]);

#endif
