/* Loops as an LLVM module with one function: void symbol(ptr buffers, i64 begin, i64 end). */
#ifndef SSLC_CODEGEN_CPU_EMIT_H
#define SSLC_CODEGEN_CPU_EMIT_H

#include <llvm-c/Core.h>

#include "ir/loops.h"

typedef struct {
  const char *symbol;
  const uint32_t *groups; /* per argument: those with equal numbers may share memory, others do not */
  bool checked;
  bool dots, scales, tiles; /* the processor has instructions for LOOPS_DOT and LOOPS_SCALE, and a matrix unit */
  bool picks, picks_bytes; /* it has AVX-512, with which lanes near each other are picked (near.h), bytes too */
} emit_options;

/* What checked code calls instead of an access outside its buffer; `record` is the address that the
 * symbol VIOLATION_RECORD stands for, kernel and buffer are texts in the object. */
typedef void violation_reporter(void *record, const char *kernel, const char *buffer, int64_t offset);
#define VIOLATION_REPORTER "report_violation"
#define VIOLATION_RECORD "violation_record"
/* Scalar functions that LOOPS_CALL needs are called by this and the op's name. */
#define SCALAR_PREFIX "scalar_"

/* NULL and *error (in `scratch`) when the loops hold something that has no machine code. The caller
 * sets triple and data layout, and disposes of the module. */
LLVMModuleRef emit_loops(LLVMContextRef context, const loops *l, const emit_options *o, arena *scratch,
                         const char **error);

#endif
