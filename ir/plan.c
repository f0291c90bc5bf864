#include "ir/plan.h"

plan *plan_new(arena *a, const char *name) {
  plan *p = ARENA_NEW(a, plan);
  p->arena = a;
  p->name = arena_string(a, name);
  return p;
}

uint32_t plan_add_buffer(plan *p, plan_buffer b) {
  b.name = arena_string(p->arena, b.name ? b.name : "");
  b.role = arena_string(p->arena, b.role ? b.role : "");
  *ARENA_PUSH(p->arena, p->buffers, p->n_buffers, p->buffers_capacity) = b;
  return p->n_buffers - 1;
}

void plan_add_launch(plan *p, kernel *k, const uint32_t *buffers) {
  plan_launch *l = ARENA_PUSH(p->arena, p->launches, p->n_launches, p->launches_capacity);
  l->kernel = k;
  l->buffers = arena_copy(p->arena, buffers, k->n_buffers * sizeof *buffers);
}

int32_t plan_find(const plan *p, const char *role, const char *name) {
  for (uint32_t i = 0; i < p->n_buffers; i++)
    if (!strcmp(p->buffers[i].role, role) && !strcmp(p->buffers[i].name, name)) return (int32_t)i;
  return -1;
}
