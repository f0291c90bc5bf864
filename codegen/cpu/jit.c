#include "codegen/cpu/jit.h"

#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codegen/cpu/emit.h"

struct jit {
  LLVMOrcLLJITRef session;
  char report[256]; /* the first that the session had to say; the error of a lookup names only the victim */
};

/* All that an object may call: the scalar library of LOOPS_CALL, and what LLVM itself falls back on
 * for copies and for processors without the instruction. Nothing is searched for in the process. */
static const struct {
  const char *name;
  void (*function)(void);
} library[] = {
#define SCALAR(name)                                                                                                   \
  { SCALAR_PREFIX #name, (void (*)(void))name }
#define FALLBACK(name)                                                                                                 \
  { #name, (void (*)(void))name }
    SCALAR(exp),   SCALAR(log),      SCALAR(sin),       SCALAR(cos),      SCALAR(tanh),    SCALAR(erf),
    SCALAR(pow),   FALLBACK(memcpy), FALLBACK(memmove), FALLBACK(memset), FALLBACK(floor), FALLBACK(floorf),
    FALLBACK(fma), FALLBACK(fmaf),   FALLBACK(sqrt),    FALLBACK(sqrtf),
#undef SCALAR
#undef FALLBACK
};

enum { LIBRARY_SIZE = sizeof library / sizeof *library };

/* In place of LLVM's own reporter, which prints. */
static void keep_report(void *context, LLVMErrorRef failure) {
  jit *j = context;
  char *text = LLVMGetErrorMessage(failure);
  if (!j->report[0]) snprintf(j->report, sizeof j->report, "%s", text);
  LLVMDisposeErrorMessage(text);
}

static bool succeeded(LLVMErrorRef failure, arena *scratch, const char **error) {
  if (!failure) return true;
  char *text = LLVMGetErrorMessage(failure);
  *error = arena_string(scratch, text);
  LLVMDisposeErrorMessage(text);
  return false;
}

static LLVMOrcCSymbolMapPair absolute(LLVMOrcLLJITRef session, const char *name, uint64_t where, bool callable) {
  LLVMJITSymbolFlags flags = {LLVMJITSymbolGenericFlagsExported, 0};
  if (callable) flags.GenericFlags |= LLVMJITSymbolGenericFlagsCallable;
  return (LLVMOrcCSymbolMapPair){LLVMOrcLLJITMangleAndIntern(session, name), {where, flags}};
}

static bool define_library(LLVMOrcLLJITRef session, void *reporter, void *record, arena *scratch, const char **error) {
  LLVMOrcCSymbolMapPair symbols[LIBRARY_SIZE + 2];
  for (int i = 0; i < LIBRARY_SIZE; i++)
    symbols[i] = absolute(session, library[i].name, (uint64_t)(uintptr_t)library[i].function, true);
  symbols[LIBRARY_SIZE] = absolute(session, VIOLATION_REPORTER, (uint64_t)(uintptr_t)reporter, true);
  symbols[LIBRARY_SIZE + 1] = absolute(session, VIOLATION_RECORD, (uint64_t)(uintptr_t)record, false);
  LLVMOrcMaterializationUnitRef unit = LLVMOrcAbsoluteSymbols(symbols, LIBRARY_SIZE + 2);
  return succeeded(LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(session), unit), scratch, error);
}

static bool link(LLVMOrcLLJITRef session, jit_object *objects, uint32_t n, arena *scratch, const char **error) {
  LLVMOrcJITDylibRef main = LLVMOrcLLJITGetMainJITDylib(session);
  for (uint32_t i = 0; i < n; i++) {
    LLVMMemoryBufferRef copy =
        LLVMCreateMemoryBufferWithMemoryRangeCopy(objects[i].object, objects[i].bytes, objects[i].symbol);
    if (!succeeded(LLVMOrcLLJITAddObjectFile(session, main, copy), scratch, error)) return false;
  }
  for (uint32_t i = 0; i < n; i++) {
    LLVMOrcExecutorAddress where = 0;
    if (!succeeded(LLVMOrcLLJITLookup(session, &where, objects[i].symbol), scratch, error)) return false;
    objects[i].entry = (kernel_entry *)(uintptr_t)where;
  }
  return true;
}

jit *jit_open(jit_object *objects, uint32_t n, void *reporter, void *record, arena *scratch, const char **error) {
  jit *j = calloc(1, sizeof *j);
  if (!j) {
    *error = "out of memory";
    return NULL;
  }
  if (succeeded(LLVMOrcCreateLLJIT(&j->session, LLVMOrcCreateLLJITBuilder()), scratch, error)) {
    LLVMOrcExecutionSessionSetErrorReporter(LLVMOrcLLJITGetExecutionSession(j->session), keep_report, j);
    if (define_library(j->session, reporter, record, scratch, error) && link(j->session, objects, n, scratch, error))
      return j;
    if (j->report[0]) *error = arena_printf(scratch, "%s: %s", *error, j->report);
  }
  jit_close(j);
  return NULL;
}

void jit_close(jit *j) {
  if (!j) return;
  if (j->session) LLVMConsumeError(LLVMOrcDisposeLLJIT(j->session));
  free(j);
}
