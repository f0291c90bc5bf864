/* One set of hand-built loops as a plan with one launch, compiled and run. */
#ifndef SSLC_TESTS_UNIT_CODEGEN_LAUNCH_H
#define SSLC_TESTS_UNIT_CODEGEN_LAUNCH_H

#include <stdlib.h>

#include "codegen/executable.h"

/* Every argument in memory of its own; `kernel` and buffers are what codegen looks at, no more. */
static inline plan *plan_of(arena *a, const loops *const *each, uint32_t n) {
  plan *p = ARENA_NEW(a, plan);
  p->arena = a;
  p->name = "test";
  p->n_launches = n;
  p->launches = ARENA_ARRAY(a, plan_launch, n);
  for (uint32_t i = 0; i < n; i++) p->n_buffers += each[i] ? each[i]->n_arguments : 0;
  p->buffers = ARENA_ARRAY(a, plan_buffer, p->n_buffers + 1);
  for (uint32_t b = 0; b < p->n_buffers; b++) p->buffers[b] = (plan_buffer){.storage = STORAGE_DATA, .alias = -1};
  for (uint32_t i = 0, next = 0; i < n; i++) {
    kernel *k = ARENA_NEW(a, kernel);
    k->name = each[i] ? each[i]->name : "unlowered";
    p->launches[i] = (plan_launch){.kernel = k, .loops = each[i], .buffers = ARENA_ARRAY(a, uint32_t, MAX_AXES)};
    for (uint32_t b = 0; each[i] && b < each[i]->n_arguments; b++) p->launches[i].buffers[b] = next++;
  }
  return p;
}

static inline size_t buffer_bytes(const loops_buffer *b) { return (size_t)b->elements * dtype_bytes(b->type); }

static inline void **copy_buffers(arena *a, const loops *l, void *const *from) {
  void **copies = ARENA_ARRAY(a, void *, l->n_arguments + 1);
  for (uint32_t i = 0; i < l->n_arguments; i++) copies[i] = arena_copy(a, from[i], buffer_bytes(&l->buffers[i]));
  return copies;
}

#endif
