/* The processor at hand, as schedules want to know it. */
#ifndef SSLC_CODEGEN_CPU_HOST_H
#define SSLC_CODEGEN_CPU_HOST_H

#include "ir/target.h"

void host_target(target *out);

#endif
