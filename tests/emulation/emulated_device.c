#include "tests/emulation/emulated_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/units.h"
#include "tests/emulation/emulation.h"

typedef struct {
  device device;
  emulation *kernels;
  uint32_t *of_launch;
  const char **names;
  char failure[384];
} emulated;

static void *emulated_allocate(device *d, int64_t bytes) {
  enum { ALIGNMENT = 256 };
  const size_t size = ((size_t)(bytes > 0 ? bytes : 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  void *memory = aligned_alloc(ALIGNMENT, size);
  (void)d;
  return memory ? memset(memory, 0, size) : NULL;
}

static void emulated_release(device *d, void *memory, int64_t bytes) {
  (void)d, (void)bytes;
  free(memory);
}

static void emulated_release_host(device *d, void *memory) {
  (void)d;
  free(memory);
}

static void emulated_copy(device *d, void *to, const void *from, int64_t bytes) {
  (void)d;
  memcpy(to, from, (size_t)bytes);
}

static void emulated_launch(device *d, uint32_t number, void *const *buffers) {
  emulated *e = (emulated *)d;
  const char *wrong = emulation_run(e->kernels, e->of_launch[number], buffers);
  if (wrong && !*e->failure) snprintf(e->failure, sizeof e->failure, "kernel %s: %s", e->names[number], wrong);
}

static const char *emulated_failure(device *d) {
  const emulated *e = (const emulated *)d;
  return *e->failure ? e->failure : NULL;
}

static void emulated_free(device *d) {
  emulated *e = (emulated *)d;
  emulation_free(e->kernels);
  free(e->of_launch);
  free(e->names);
  free(e);
}

static emulation *kernels_of(const plan *p, const unit_list *list, const char **error) {
  emulated_kernel *each = ARENA_ARRAY(p->arena, emulated_kernel, list->n + 1);
  for (uint32_t u = 0; u < list->n; u++) {
    each[u] = (emulated_kernel){.symbol = arena_printf(p->arena, "kernel_%u", u), .loops = list->units[u].loops};
    const source_options options = {.symbol = each[u].symbol, .groups = list->units[u].groups, .checked = true};
    if (!cuda_source_of(each[u].loops, &options, p->arena, &each[u].source, error)) return NULL;
  }
  return emulation_of(each, list->n, p->arena, error);
}

device *emulated_device_new(const plan *p, const char **error) {
  static const device functions = {.allocate = emulated_allocate, .release = emulated_release, .write = emulated_copy, .read = emulated_copy, .copy = emulated_copy,
                                   .launch = emulated_launch, .allocate_host = emulated_allocate, .release_host = emulated_release_host, .fetch = emulated_copy,
                                   .write_ahead = emulated_copy, .take_ahead = emulated_copy, .failure = emulated_failure, .free = emulated_free};
  unit_list list;
  emulated *e = calloc(1, sizeof *e);
  if (!e || !units_of_plan(p, &list, error)) return free(e), NULL;
  e->device = functions;
  e->of_launch = calloc(list.n_launches + 1, sizeof *e->of_launch);
  e->names = calloc(list.n_launches + 1, sizeof *e->names);
  for (uint32_t i = 0; e->of_launch && e->names && i < list.n_launches; i++) {
    e->of_launch[i] = list.of_launch[i];
    e->names[i] = list.launches[i]->kernel->name;
  }
  if (e->of_launch && e->names) e->kernels = kernels_of(p, &list, error);
  if (e->kernels) return &e->device;
  emulated_free(&e->device);
  return NULL;
}
