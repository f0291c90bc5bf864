/* The GPU of the tests: the emulation of one, or, where SSLC_TEST_DEVICE names one ("cuda", "cuda:1"), that one. One source for both. */
#ifndef SSLC_TESTS_GPU_H
#define SSLC_TESTS_GPU_H

#include "ir/target.h"
#include "runtime/device.h"

bool gpu_is_real(void);
/* What plans are to be made for. Exits with a message when the device that was asked for cannot be had. */
void gpu_target(target *out);
/* For a plan that is made for it; the emulation tests every access. NULL and *error (in the plan's arena). */
device *gpu_device_new(const plan *p, const char **error);
/* Runs the only launch of a plan, or its only bundle, on copies of host memory, one for each buffer, and copies back what is written. What is
 * wrong (in the plan's arena), or NULL. */
const char *gpu_run(const plan *p, void *const *buffers);

#endif
