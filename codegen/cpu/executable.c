/* A plan's loops made into machine code: distinct ones once, on several threads, through the cache. */
#include "codegen/executable.h"

#include <llvm-c/Core.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "codegen/cache.h"
#include "codegen/cpu/jit.h"
#include "codegen/cpu/machine.h"

/* Part of every cache key: to be raised with any change of what is generated from the same loops. */
static const char codegen_version[] = "2";

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

/* -- what is distinct ------------------------------------------------------------------------------------ */

/* Loops together with which of their arguments may share memory, which the code may rely on. */
typedef struct {
  const loops *loops;
  const uint32_t *groups;
  content_hash key;
  char symbol[48];
  size_t weight; /* roughly, of compiling it */
  void *object;
  size_t bytes;
  cache_outcome cached;
  const char *error; /* malloc'ed or static; see `error_owned` */
  bool error_owned;
} unit;

static bool share_memory(const plan *p, uint32_t a, uint32_t b) {
  const plan_buffer *x = &p->buffers[plan_owner(p, a)], *y = &p->buffers[plan_owner(p, b)];
  if (x == y) return true;
  return plan_in_arena(p, x) && plan_in_arena(p, y) && x->offset < y->offset + y->bytes &&
         y->offset < x->offset + x->bytes;
}

static uint32_t *argument_groups(const plan *p, const plan_launch *launch, arena *a) {
  uint32_t n = launch->loops->n_arguments, *group = ARENA_ARRAY(a, uint32_t, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    group[i] = i;
    for (uint32_t j = 0; j < i; j++)
      if (group[j] != group[i] && share_memory(p, launch->buffers[i], launch->buffers[j])) {
        uint32_t from = group[i], to = group[j];
        for (uint32_t k = 0; k <= i; k++)
          if (group[k] == from) group[k] = to;
      }
  }
  return group;
}

/* Everything that decides the object's bytes. The kernel's name shows in checked code only. */
static void find_key(unit *u, const machine *m, const compile_options *o, arena *scratch) {
  unsigned major, minor, patch;
  LLVMGetVersion(&major, &minor, &patch);
  loops anonymous = *u->loops;
  if (!o->checked) anonymous.name = "kernel";
  const char *text = loops_print(&anonymous, scratch);
  const char *generator =
      arena_printf(scratch, "sslc %s, LLVM %u.%u.%u, %s, %s, %s, %s", codegen_version, major, minor, patch, m->triple,
                   m->processor, m->features, o->checked ? "checked" : "unchecked");
  u->weight = strlen(text);
  u->key = content_hash_start();
  content_hash_add(&u->key, text, u->weight);
  content_hash_add(&u->key, generator, strlen(generator));
  content_hash_add(&u->key, u->groups, u->loops->n_arguments * sizeof *u->groups);
  memcpy(u->symbol, "kernel_", 7);
  content_hash_text(u->key, u->symbol + 7);
}

/* -- compiling one --------------------------------------------------------------------------------------- */

static void compile_unit(unit *u, const machine *m, const compile_options *o, arena *scratch) {
  LLVMContextRef context = LLVMContextCreate();
  emit_options options = {u->symbol, u->groups, o->checked};
  const char *error = NULL;
  LLVMModuleRef module = machine_module(m, context, u->loops, &options, scratch, &error);
  LLVMMemoryBufferRef code = module ? machine_code(m, module, LLVMObjectFile, scratch, &error) : NULL;
  if (code) {
    u->bytes = LLVMGetBufferSize(code);
    u->object = malloc(u->bytes);
    if (u->object) memcpy(u->object, LLVMGetBufferStart(code), u->bytes);
    else error = "out of memory";
    LLVMDisposeMemoryBuffer(code);
  }
  if (error) {
    u->error = strdup(error);
    u->error_owned = u->error != NULL;
    if (!u->error) u->error = "out of memory";
  }
  if (module) LLVMDisposeModule(module);
  LLVMContextDispose(context);
}

static void make_object(unit *u, const machine *m, const compile_options *o, arena *scratch) {
  if (o->cache_directory) u->cached = cache_read(o->cache_directory, u->key, &u->object, &u->bytes);
  if (u->object) return;
  compile_unit(u, m, o, scratch);
  if (o->cache_directory && u->object) cache_write(o->cache_directory, u->key, u->object, u->bytes);
}

/* -- all of them, on several threads --------------------------------------------------------------------- */

typedef void unit_step(unit *u, const machine *m, const compile_options *o, arena *scratch);

typedef struct {
  unit *units;
  uint32_t n;
  unit_step *step;
  const compile_options *options;
  _Atomic uint32_t next;
  const char *_Atomic error; /* static text */
} batch;

static void *work(void *argument) {
  batch *b = argument;
  machine m;
  const char *error = NULL;
  jmp_buf exhausted;
  if (!machine_open(&m, &error)) {
    atomic_store(&b->error, error);
    return NULL;
  }
  arena *scratch = arena_new();
  if (!scratch || setjmp(exhausted)) {
    atomic_store(&b->error, "out of memory");
  } else {
    arena_on_exhausted(scratch, &exhausted);
    for (uint32_t i = atomic_fetch_add(&b->next, 1); i < b->n; i = atomic_fetch_add(&b->next, 1))
      b->step(&b->units[i], &m, b->options, scratch);
  }
  arena_free(scratch);
  machine_close(&m);
  return NULL;
}

static const char *run_batch(unit *units, uint32_t n, unit_step *step, const compile_options *o) {
  enum { MOST_THREADS = 64 };
  batch b = {.units = units, .n = n, .step = step, .options = o};
  pthread_t threads[MOST_THREADS];
  unsigned started = 0, wanted = o->threads < n ? o->threads : n;
  while (started + 1 < wanted && started < MOST_THREADS && !pthread_create(&threads[started], NULL, work, &b))
    started++;
  work(&b);
  for (unsigned i = 0; i < started; i++) pthread_join(threads[i], NULL);
  return atomic_load(&b.error);
}

/* -- the executable -------------------------------------------------------------------------------------- */

typedef struct {
  unit *units;
  uint32_t n, capacity;
  uint32_t *of_launch;
  const plan_launch **launches; /* of kernels, those of loops in the place of these */
  uint32_t n_launches, of_launch_capacity, launches_capacity;
} unit_list;

/* Launches that share loops and groups share a unit from the start; equal texts are found by key later. */
static bool collect(const plan *p, unit_list *list, arena *a, const char **error) {
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const plan_launch *launch = &p->launches[i];
    const loops *l = launch->loops;
    if (launch->repeat) {
      if (!collect(launch->repeat->plan, list, a, error)) return false;
      continue;
    }
    if (!l) {
      *error = arena_printf(a, "kernel %s is not lowered to loops", launch->kernel->name);
      return false;
    }
    const uint32_t *groups = argument_groups(p, launch, a);
    uint32_t u = 0, n = list->n_launches;
    while (u < list->n &&
           (list->units[u].loops != l || memcmp(list->units[u].groups, groups, l->n_arguments * sizeof *groups)))
      u++;
    if (u == list->n)
      *ARENA_PUSH(a, list->units, list->n, list->capacity) = (unit){.loops = l, .groups = groups, .cached = CACHE_MISSING};
    *ARENA_PUSH(a, list->of_launch, n, list->of_launch_capacity) = u;
    *ARENA_PUSH(a, list->launches, list->n_launches, list->launches_capacity) = launch;
  }
  return true;
}

static int by_weight(const void *a, const void *b) {
  size_t x = ((const unit *)a)->weight, y = ((const unit *)b)->weight;
  return x < y ? 1 : x > y ? -1 : 0;
}

/* One unit per key, the longest to compile first. */
static void merge(const plan *p, unit_list *list) {
  unit *all = list->units, *kept = ARENA_ARRAY(p->arena, unit, list->n + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; i < list->n; i++) {
    uint32_t u = 0;
    while (u < n && !content_hash_equal(kept[u].key, all[i].key)) u++;
    if (u == n) kept[n++] = all[i];
  }
  qsort(kept, n, sizeof *kept, by_weight);
  for (uint32_t i = 0; i < list->n_launches; i++) {
    const content_hash key = all[list->of_launch[i]].key;
    uint32_t u = 0;
    while (!content_hash_equal(kept[u].key, key)) u++;
    list->of_launch[i] = u;
  }
  list->units = kept;
  list->n = n;
}

static const char *compile_all(const plan *p, unit_list *list, const compile_options *o, compile_report *report) {
  const char *error = run_batch(list->units, list->n, find_key, o);
  if (error) return error;
  merge(p, list);
  error = run_batch(list->units, list->n, make_object, o);
  for (uint32_t i = 0; i < list->n; i++) {
    const unit *u = &list->units[i];
    if (u->error && !error) error = arena_string(p->arena, u->error);
    report->kernels++;
    report->compiled += u->cached != CACHE_FOUND;
    report->rebuilt += u->cached == CACHE_DAMAGED;
  }
  return error;
}

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

executable *executable_compile_cpu(const plan *p, const compile_options *o, compile_report *report,
                                   const char **error) {
  unit_list list = {0};
  compile_report counted = {0};
  *error = NULL;
  executable *e = calloc(1, sizeof *e);
  if (!e) {
    *error = "out of memory";
    return NULL;
  }
  bool done = collect(p, &list, p->arena, error);
  if (done) {
    *error = compile_all(p, &list, o, &counted);
    done = !*error && link_all(e, p, &list, error);
  }
  for (uint32_t i = 0; i < list.n; i++) {
    free(list.units[i].object);
    if (list.units[i].error_owned) free((void *)(uintptr_t)list.units[i].error);
  }
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
