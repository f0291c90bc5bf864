/* This machine's processor as LLVM's code generator. One per thread: LLVM's are not shared. */
#ifndef SSLC_CODEGEN_CPU_MACHINE_H
#define SSLC_CODEGEN_CPU_MACHINE_H

#include <llvm-c/TargetMachine.h>

#include "codegen/cpu/emit.h"

typedef struct {
  LLVMTargetMachineRef target;
  LLVMTargetDataRef data_layout;
  char *triple, *processor, *features;
} machine;

/* False and *error (static text) when LLVM has no generator for it. */
bool machine_open(machine *m, const char **error);
void machine_close(machine *m);

/* The loops as an optimised module in `context`; NULL and *error (in `scratch`). The caller disposes of it. */
LLVMModuleRef machine_module(const machine *m, LLVMContextRef context, const loops *l, const emit_options *o,
                             arena *scratch, const char **error);
/* Object code or assembly text of a module; NULL and *error (in `scratch`). */
LLVMMemoryBufferRef machine_code(const machine *m, LLVMModuleRef module, LLVMCodeGenFileType form, arena *scratch,
                                 const char **error);

#endif
