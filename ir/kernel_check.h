/* The parts of kernel_verify. */
#ifndef SSLC_IR_KERNEL_CHECK_H
#define SSLC_IR_KERNEL_CHECK_H

#include "ir/kernel.h"

/* How many expressions the kernel has; ids are below. */
uint32_t expr_count(const kernel *k);
/* Reads inside their buffers, writes inside, disjoint and complete. The kernel's forms and types are
 * sound already. */
const char *kernel_check_bounds(const kernel *k, arena *scratch);

#endif
