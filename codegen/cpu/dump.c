#include "codegen/cpu/dump.h"

#include "codegen/cpu/machine.h"

typedef char *text_of_module(const machine *m, LLVMModuleRef module, arena *into, const char **error);

static char *llvm_text(const machine *m, LLVMModuleRef module, arena *into, const char **error) {
  (void)m, (void)error;
  char *text = LLVMPrintModuleToString(module), *copy = arena_string(into, text);
  LLVMDisposeMessage(text);
  return copy;
}

static char *assembly_text(const machine *m, LLVMModuleRef module, arena *into, const char **error) {
  LLVMMemoryBufferRef code = machine_code(m, module, LLVMAssemblyFile, into, error);
  if (!code) return NULL;
  char *copy = arena_substring(into, LLVMGetBufferStart(code), LLVMGetBufferSize(code));
  LLVMDisposeMemoryBuffer(code);
  return copy;
}

static char *compiled_text(const loops *l, text_of_module *text, arena *into, const char **error) {
  machine m;
  if (!machine_open(&m, error)) return NULL;
  uint32_t *groups = ARENA_ARRAY(into, uint32_t, l->n_arguments + 1);
  for (uint32_t i = 0; i < l->n_arguments; i++) groups[i] = i;
  emit_options options = {.symbol = "kernel", .groups = groups};
  LLVMContextRef context = LLVMContextCreate();
  LLVMModuleRef module = machine_module(&m, context, l, &options, into, error);
  char *result = module ? text(&m, module, into, error) : NULL;
  if (module) LLVMDisposeModule(module);
  LLVMContextDispose(context);
  machine_close(&m);
  return result;
}

char *loops_llvm_text(const loops *l, arena *into, const char **error) {
  return compiled_text(l, llvm_text, into, error);
}
char *loops_assembly_text(const loops *l, arena *into, const char **error) {
  return compiled_text(l, assembly_text, into, error);
}
