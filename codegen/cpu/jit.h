/* Links objects into this process. */
#ifndef SSLC_CODEGEN_CPU_JIT_H
#define SSLC_CODEGEN_CPU_JIT_H

#include "codegen/executable.h"

typedef struct jit jit;

typedef struct {
  const char *symbol; /* the kernel's */
  const void *object;
  size_t bytes;
  kernel_entry *entry; /* filled in by jit_open */
} jit_object;

/* `reporter` and `record` are what checked objects call (emit.h). NULL and *error (in `scratch`). */
jit *jit_open(jit_object *objects, uint32_t n, void *reporter, void *record, arena *scratch, const char **error);
void jit_close(jit *j);

#endif
