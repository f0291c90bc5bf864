/* A plan's loops made into machine code by LLVM, and linked. */
#include <llvm-c/Core.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "codegen/cpu/jit.h"
#include "codegen/cpu/machine.h"
#include "codegen/units.h"

/* Part of every cache key: to be raised with any change of what is generated from the same loops. */
static const char codegen_version[] = "6";

typedef struct {
  atomic_int state; /* 0: none, 1: being written, 2: whole */
  char kernel[64], buffer[64];
  int64_t offset;
} violation;

struct executable {
  jit *code;
  executable_launch *launches;
  uint32_t n_launches;
  violation violation;
  char violation_text[256];
};

/* -- violations -------------------------------------------------------------------------------------------- */

static void record_violation(void *record, const char *kernel_name, const char *buffer_name, int64_t offset) {
  violation *v = record;
  int none = 0;
  if (!atomic_compare_exchange_strong(&v->state, &none, 1)) return;
  snprintf(v->kernel, sizeof v->kernel, "%s", kernel_name);
  snprintf(v->buffer, sizeof v->buffer, "%s", buffer_name);
  v->offset = offset;
  atomic_store(&v->state, 2);
}

const char *executable_violation(executable *e) {
  violation *v = &e->violation;
  if (atomic_load(&v->state) != 2) return NULL;
  snprintf(e->violation_text, sizeof e->violation_text, "kernel %s: access outside buffer %s at element %lld",
           v->kernel, v->buffer, (long long)v->offset);
  atomic_store(&v->state, 0);
  return e->violation_text;
}

/* -- compiling one --------------------------------------------------------------------------------------- */

static void compile_unit(void *generator, unit *u, const compile_options *o, arena *scratch) {
  const machine *m = generator;
  if (u->n_parts > 1 || u->parts->times > 1) return unit_fail(u, "bundles of launches are for GPUs");
  LLVMContextRef context = LLVMContextCreate();
  emit_options options = {u->symbol, u->parts->groups, o->checked};
  const char *error = NULL;
  LLVMModuleRef module = machine_module(m, context, u->parts->loops, &options, scratch, &error);
  LLVMMemoryBufferRef code = module ? machine_code(m, module, LLVMObjectFile, scratch, &error) : NULL;
  if (code) {
    u->bytes = LLVMGetBufferSize(code);
    u->object = malloc(u->bytes);
    if (u->object) memcpy(u->object, LLVMGetBufferStart(code), u->bytes);
    else error = "out of memory";
    LLVMDisposeMemoryBuffer(code);
  }
  if (error) unit_fail(u, error);
  if (module) LLVMDisposeModule(module);
  LLVMContextDispose(context);
}

static void *open_machine(const backend *b, const char **error) {
  machine *m = malloc(sizeof *m);
  (void)b;
  if (!m) *error = "out of memory";
  if (m && machine_open(m, error)) return m;
  free(m);
  return NULL;
}

static void close_machine(void *generator) {
  machine_close(generator);
  free(generator);
}

static const char *describe_machine(void *generator, const compile_options *o, arena *scratch) {
  const machine *m = generator;
  unsigned major, minor, patch;
  LLVMGetVersion(&major, &minor, &patch);
  return arena_printf(scratch, "sslc %s, LLVM %u.%u.%u, %s, %s, %s, %s", codegen_version, major, minor, patch, m->triple, m->processor, m->features,
                      o->checked ? "checked" : "unchecked");
}

/* -- the executable -------------------------------------------------------------------------------------- */

static bool link_all(executable *e, const plan *p, const unit_list *list, const char **error) {
  jit_object *objects = ARENA_ARRAY(p->arena, jit_object, list->n + 1);
  for (uint32_t i = 0; i < list->n; i++) {
    const unit *u = &list->units[i];
    objects[i] = (jit_object){.symbol = u->symbol, .object = u->object, .bytes = u->bytes};
  }
  e->code = jit_open(objects, list->n, (void *)(uintptr_t)record_violation, &e->violation, p->arena, error);
  if (!e->code) return false;
  e->launches = calloc(list->n_launches + 1, sizeof *e->launches);
  if (!e->launches) {
    *error = "out of memory";
    return false;
  }
  e->n_launches = list->n_launches;
  for (uint32_t i = 0; i < list->n_launches; i++) {
    int64_t iterations = list->launches[i]->loops->iterations, chunks = list->launches[i]->kernel->schedule.chunks;
    e->launches[i].entry = objects[list->of_launch[i]].entry;
    e->launches[i].iterations = iterations;
    e->launches[i].chunks = chunks > 0 && chunks < iterations ? chunks : iterations;
  }
  return true;
}

executable *executable_compile_cpu(const plan *p, const compile_options *o, compile_report *report, const char **error) {
  static const backend cpu = {open_machine, close_machine, describe_machine, compile_unit};
  unit_list list = {0};
  compile_report counted = {0};
  *error = NULL;
  executable *e = calloc(1, sizeof *e);
  if (!e) {
    *error = "out of memory";
    return NULL;
  }
  const bool done = units_of_plan(p, &list, error) && units_compile(p, &list, &cpu, o, &counted, error) && link_all(e, p, &list, error);
  units_release(&list);
  if (report) *report = counted;
  if (done) return e;
  executable_free(e);
  return NULL;
}

void executable_free(executable *e) {
  if (!e) return;
  jit_close(e->code);
  free(e->launches);
  free(e);
}

const executable_launch *executable_launches(const executable *e, uint32_t *n) {
  *n = e->n_launches;
  return e->launches;
}
