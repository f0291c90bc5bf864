#include "codegen/cpu/machine.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <string.h>

/* Loops come vectorised and unrolled: what is left is to turn registers into values, share and simplify
 * index arithmetic, and take it out of loops. The standard pipelines cost four times as much and give
 * the same code. */
static const char optimisations[] = "function(sroa,early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm))";

static void initialise_native_target(void) {
  LLVMInitializeNativeTarget();
  LLVMInitializeNativeAsmPrinter();
}

bool machine_open(machine *m, const char **error) {
  static pthread_once_t once = PTHREAD_ONCE_INIT; /* LLVM registers targets in a table of its own */
  pthread_once(&once, initialise_native_target);
  LLVMTargetRef target;
  char *message = NULL;
  *m = (machine){
      .triple = LLVMGetDefaultTargetTriple(), .processor = LLVMGetHostCPUName(), .features = LLVMGetHostCPUFeatures()};
  if (!LLVMGetTargetFromTriple(m->triple, &target, &message))
    m->target = LLVMCreateTargetMachine(target, m->triple, m->processor, m->features, LLVMCodeGenLevelDefault,
                                        LLVMRelocPIC, LLVMCodeModelSmall);
  LLVMDisposeMessage(message);
  if (m->target) {
    m->data_layout = LLVMCreateTargetDataLayout(m->target);
    return true;
  }
  machine_close(m);
  *error = "LLVM has no code generator for this machine";
  return false;
}

void machine_close(machine *m) {
  if (m->data_layout) LLVMDisposeTargetData(m->data_layout);
  if (m->target) LLVMDisposeTargetMachine(m->target);
  LLVMDisposeMessage(m->triple);
  LLVMDisposeMessage(m->processor);
  LLVMDisposeMessage(m->features);
  *m = (machine){0};
}

static bool optimise(const machine *m, LLVMModuleRef module, arena *scratch, const char **error) {
  char *message = NULL;
  if (LLVMVerifyModule(module, LLVMReturnStatusAction, &message)) *error = arena_string(scratch, message);
  LLVMDisposeMessage(message);
  if (*error) return false;
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMErrorRef failure = LLVMRunPasses(module, optimisations, m->target, options);
  LLVMDisposePassBuilderOptions(options);
  if (!failure) return true;
  char *text = LLVMGetErrorMessage(failure);
  *error = arena_string(scratch, text);
  LLVMDisposeErrorMessage(text);
  return false;
}

LLVMModuleRef machine_module(const machine *m, LLVMContextRef context, const loops *l, const emit_options *o,
                             arena *scratch, const char **error) {
  *error = NULL;
  emit_options options = *o;
  options.dots = strstr(m->features, "+avx512bf16") && strstr(m->features, "+avx512vl");
  options.scales = strstr(m->features, "+avx512vl") != NULL;
  options.picks = strstr(m->features, "+avx512f");
  options.picks_bytes = options.picks && strstr(m->features, "+avx512vbmi") && strstr(m->features, "+avx512vl");
  options.tiles = strstr(m->features, "+amx-bf16") && strstr(m->features, "+amx-tile");
  LLVMModuleRef module = emit_loops(context, l, &options, scratch, error);
  if (!module) return NULL;
  LLVMSetTarget(module, m->triple);
  LLVMSetModuleDataLayout(module, m->data_layout);
  if (optimise(m, module, scratch, error)) return module;
  LLVMDisposeModule(module);
  return NULL;
}

LLVMMemoryBufferRef machine_code(const machine *m, LLVMModuleRef module, LLVMCodeGenFileType form, arena *scratch,
                                 const char **error) {
  char *message = NULL;
  LLVMMemoryBufferRef code = NULL;
  if (!LLVMTargetMachineEmitToMemoryBuffer(m->target, module, form, &message, &code)) return code;
  *error = arena_string(scratch, message ? message : "code generation failed");
  LLVMDisposeMessage(message);
  return NULL;
}
