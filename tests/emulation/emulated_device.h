/* A device whose launches are run by the emulation, on memory of its own. */
#ifndef SSLC_TESTS_EMULATED_DEVICE_H
#define SSLC_TESTS_EMULATED_DEVICE_H

#include "runtime/device.h"

/* For a plan that is lowered for a GPU; every access is tested. NULL and *error (in the plan's arena). */
device *emulated_device_new(const plan *p, const char **error);

#endif
