/* A GPU, by way of NVIDIA's driver. */
#ifndef SSLC_RUNTIME_DEVICE_CUDA_H
#define SSLC_RUNTIME_DEVICE_CUDA_H

#include "codegen/cuda/executable.h"
#include "runtime/cuda_driver.h"
#include "runtime/device.h"

/* Number `number` of the driver's devices. Driver, executable and the kernel that gathers must outlive it. Without an executable (NULL) it has memory
 * and launches nothing. NULL and *error (malloc'ed). */
device *device_cuda_new(const cuda_executable *e, const cuda_kernel *gather, const cuda_driver *driver, int number, char **error);

#endif
