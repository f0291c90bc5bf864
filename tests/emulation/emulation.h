/* Kernels for a GPU, run without one: their text goes through the C compiler of this machine, under device.h. */
#ifndef SSLC_TESTS_EMULATION_H
#define SSLC_TESTS_EMULATION_H

#include "codegen/cuda/source.h"

typedef struct emulation emulation;

typedef struct {
  const char *symbol;
  const loops *loops; /* that it was made of */
  cuda_source source;
} emulated_kernel;

/* Several kernels in one module. NULL and *error (in `into`) when it cannot be compiled. */
emulation *emulation_of(const emulated_kernel *kernels, uint32_t n, arena *into, const char **error);
/* Runs kernel number `kernel`. What was wrong with its accesses, until the next run, as far as the text was made to be watched; or NULL. */
const char *emulation_run(const emulation *e, uint32_t kernel, void *const *arguments);
void emulation_free(emulation *e);

#endif
