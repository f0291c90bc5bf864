/* What codegen makes of loops, as text for `sslc emit`. */
#ifndef SSLC_CODEGEN_CPU_DUMP_H
#define SSLC_CODEGEN_CPU_DUMP_H

#include "ir/loops.h"

/* The optimised LLVM module and the assembly of this machine; NULL and *error, both in the arena. */
char *loops_llvm_text(const loops *l, arena *into, const char **error);
char *loops_assembly_text(const loops *l, arena *into, const char **error);

#endif
