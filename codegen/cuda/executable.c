/* A plan's loops made into images for a GPU by NVRTC. */
#include "codegen/cuda/executable.h"

#include <stdlib.h>

#include "codegen/cuda/module.h"
#include "codegen/units.h"

/* Part of every cache key: to be raised with any change of what is generated from the same loops. */
static const char codegen_version[] = "4";

/* What an object in the cache begins with; its boxes are behind it, then the image. */
typedef struct {
  int64_t blocks;
  uint32_t threads, shared_bytes, registers, spilled_bytes, local_bytes, pointers, n_boxes;
} object_head;

typedef struct {
  backend backend;
  const nvrtc *nvrtc;
  nvrtc_target target;
} cuda_backend;

struct cuda_executable {
  cuda_kernel *kernels;
  cuda_launch *launches;
  uint32_t n_kernels, n_launches;
  arena *arena;
};

/* -- the backend: a generator is the backend itself, which threads share --------------------------------------------- */

static void *open_backend(const backend *b, const char **error) { return (void)error, (void *)(uintptr_t)b; }
static void close_backend(void *generator) { (void)generator; }

static const char *describe_backend(void *generator, const compile_options *o, arena *scratch) {
  const cuda_backend *b = generator;
  const nvrtc_facts *facts = nvrtc_describe(b->nvrtc);
  char prelude[33];
  content_hash h = content_hash_start();
  (void)o;
  content_hash_add(&h, cuda_prelude, strlen(cuda_prelude));
  content_hash_text(h, prelude);
  return arena_printf(scratch, "sslc CUDA %s, NVRTC %d.%d, %s, %s", codegen_version, facts->major, facts->minor, b->target.name, prelude);
}

static void compile_unit(void *generator, unit *u, const compile_options *o, arena *scratch) {
  const cuda_backend *b = generator;
  cuda_source source;
  nvrtc_code code = {0};
  const char *error = NULL, *text = cuda_module_text(u->parts, u->n_parts, u->symbol, scratch, &source, &error);
  (void)o;
  const char *name = u->parts->loops->name;
  if (!text || !nvrtc_compile(b->nvrtc, text, name, &b->target, scratch, &code, &error)) return unit_fail(u, arena_printf(scratch, "kernel %s: %s", name, error));
  const object_head head = {source.blocks, source.threads, source.shared_bytes, code.registers, code.spilled_bytes, code.local_bytes, source.pointers, source.n_boxes};
  const size_t boxes = source.n_boxes * sizeof *source.boxes;
  u->bytes = sizeof head + boxes + code.bytes;
  u->object = malloc(u->bytes);
  if (u->object) {
    memcpy(u->object, &head, sizeof head);
    if (boxes) memcpy((char *)u->object + sizeof head, source.boxes, boxes);
    memcpy((char *)u->object + sizeof head + boxes, code.code, code.bytes);
  } else {
    unit_fail(u, "out of memory");
  }
  free(code.code);
}

/* -- the executable ---------------------------------------------------------------------------------------------------- */

static bool take_unit(cuda_executable *e, const unit_list *list, uint32_t which) {
  const unit *u = &list->units[which];
  object_head head;
  uint32_t size;
  const plan_launch *first = unit_launch(list, which, &size);
  if (u->bytes <= sizeof head) return false;
  memcpy(&head, u->object, sizeof head);
  const size_t before = sizeof head + head.n_boxes * sizeof(loops_box);
  if (u->bytes <= before) return false;
  e->kernels[which] = (cuda_kernel){.image = arena_copy(e->arena, (const char *)u->object + before, u->bytes - before), .bytes = u->bytes - before,
                                    .symbol = arena_string(e->arena, u->symbol), .name = plan_bundle_name(first, size, e->arena), .blocks = head.blocks,
                                    .threads = head.threads, .shared_bytes = head.shared_bytes, .registers = head.registers, .spilled_bytes = head.spilled_bytes,
                                    .local_bytes = head.local_bytes, .pointers = head.pointers,
                                    .boxes = arena_copy(e->arena, (const char *)u->object + sizeof head, before - sizeof head), .n_boxes = head.n_boxes};
  return true;
}

static bool take_units(cuda_executable *e, const unit_list *list) {
  e->kernels = ARENA_ARRAY(e->arena, cuda_kernel, list->n + 1);
  e->launches = ARENA_ARRAY(e->arena, cuda_launch, list->n_launches + 1);
  e->n_kernels = list->n;
  e->n_launches = list->n_launches;
  for (uint32_t i = 0; i < list->n; i++)
    if (!take_unit(e, list, i)) return false;
  for (uint32_t i = 0; i < list->n_launches; i++) {
    cuda_launch *l = &e->launches[i];
    *l = (cuda_launch){list->of_launch[i], plan_bundle_name(list->launches[i], list->sizes[i], e->arena), 0};
    for (uint32_t k = 0; k < list->sizes[i]; k++) l->n_buffers += list->launches[i][k].loops->n_arguments;
  }
  return true;
}

static bool take_guarded(cuda_executable *e, const unit_list *list) {
  jmp_buf exhausted;
  if (setjmp(exhausted)) return false;
  arena_on_exhausted(e->arena, &exhausted);
  const bool whole = take_units(e, list);
  arena_on_exhausted(e->arena, NULL);
  return whole;
}

static cuda_executable *executable_of(const unit_list *list, const char **error) {
  cuda_executable *e = calloc(1, sizeof *e);
  if (e && (e->arena = arena_new()) && take_guarded(e, list)) return e;
  *error = "out of memory";
  cuda_executable_free(e);
  return NULL;
}

cuda_executable *executable_compile_cuda(const plan *p, const nvrtc *n, unsigned capability, const compile_options *o, compile_report *report, const char **error) {
  cuda_backend b = {{open_backend, close_backend, describe_backend, compile_unit}, n, {{0}, NVRTC_CUBIN}};
  unit_list list = {0};
  compile_report counted = {0};
  cuda_executable *e = NULL;
  *error = NULL;
  if (!nvrtc_target_of(n, capability, &b.target))
    *error = arena_printf(p->arena, "NVRTC %d.%d makes no code for a device of compute capability %u.%u", nvrtc_describe(n)->major, nvrtc_describe(n)->minor, capability / 10, capability % 10);
  else if (units_of_plan(p, &list, error) && units_compile(p, &list, &b.backend, o, &counted, error)) e = executable_of(&list, error);
  units_release(&list);
  if (report) *report = counted;
  return e;
}

void cuda_executable_free(cuda_executable *e) {
  if (!e) return;
  if (e->arena) arena_free(e->arena);
  free(e);
}

const cuda_kernel *cuda_executable_kernels(const cuda_executable *e, uint32_t *n) {
  *n = e->n_kernels;
  return e->kernels;
}

const cuda_launch *cuda_executable_launches(const cuda_executable *e, uint32_t *n) {
  *n = e->n_launches;
  return e->launches;
}
