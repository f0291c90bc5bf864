#include "ir/plan.h"

#include <stdlib.h>

#include "ir/scan.h"

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

void plan_add_repeat(plan *p, const plan_repeat *r, const uint32_t *buffers, span where) {
  kernel *k = kernel_new(p->arena, "repeat", where);
  for (uint32_t i = 0; i < r->n_operands + r->n_results; i++) {
    const plan_buffer *b = &p->buffers[buffers[i]];
    kernel_add_buffer(k, arena_printf(p->arena, "x%u", i), b->type, i < r->n_operands ? ACCESS_IN : ACCESS_OUT);
    k->buffers[i].layout = b->layout;
  }
  plan_add_launch(p, k, buffers);
  p->launches[p->n_launches - 1].repeat = arena_copy(p->arena, r, sizeof *r);
}

uint32_t plan_bundle_end(const plan *p, uint32_t first) {
  do first++;
  while (first < p->n_launches && p->launches[first].beside);
  return first;
}

/* Neighbours of one kernel are named once. */
const char *plan_bundle_name(const plan_launch *first, uint32_t n, arena *into) {
  text_buffer name = {.arena = into};
  for (uint32_t i = 0, times; i < n; i += times) {
    const char *of = first[i].kernel->name;
    for (times = 1; i + times < n && !strcmp(first[i + times].kernel->name, of); times++) continue;
    text_add(&name, "%s%s", i ? ", " : "", of);
    if (times > 1) text_add(&name, " x%u", times);
  }
  return text_done(&name);
}

void plan_place_region(plan *p, plan_launch *l, uint32_t buffer) {
  const uint32_t n = l->repeat->n_operands + l->repeat->n_results;
  if (l->kernel->n_buffers == n) kernel_add_buffer(l->kernel, "block", p->buffers[buffer].type, ACCESS_OUT);
  l->kernel->buffers[n].type = p->buffers[buffer].type;
  uint32_t *buffers = ARENA_ARRAY(p->arena, uint32_t, n + 1);
  memcpy(buffers, l->buffers, n * sizeof *buffers);
  buffers[n] = buffer;
  l->buffers = buffers;
}

plan_binding plan_bind(const plan_repeat *r, const plan_buffer *b) {
  static const struct {
    const char *role;
    storage storage;
    binding_kind kind;
  } kinds[] = {{"state", STORAGE_STATE, BOUND_CARRY},        {"slice", STORAGE_DATA, BOUND_SLICE},
               {"invariant", STORAGE_DATA, BOUND_INVARIANT}, {"index", STORAGE_DATA, BOUND_INDEX},
               {"output", STORAGE_RESULT, BOUND_OUTPUT}};
  plan_binding bound = {.kind = BOUND_NOT};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (b->alias < 0 && b->storage == kinds[i].storage && !strcmp(b->role, kinds[i].role)) bound.kind = kinds[i].kind;
  uint32_t number = (uint32_t)strtoul(b->name, NULL, 10);
  if (bound.kind == BOUND_CARRY) bound.operand = number, bound.result = r->n_operands + number;
  if (bound.kind == BOUND_SLICE) bound.operand = r->n_carries + number;
  if (bound.kind == BOUND_INVARIANT) bound.operand = r->n_carries + r->n_slices + number;
  if (bound.kind == BOUND_OUTPUT) bound.result = r->n_operands + r->n_carries + number;
  return bound;
}

bool plan_in_arena(const plan *p, const plan_buffer *b) {
  if (b->alias >= 0) return false;
  if (b->storage == STORAGE_TEMPORARY) return true;
  return p->region && !b->is_splat && !b->literal && b->storage != STORAGE_STATE && strcmp(b->role, "invariant") != 0;
}

uint32_t plan_owner(const plan *p, uint32_t buffer) {
  for (uint32_t steps = 0; p->buffers[buffer].alias >= 0 && steps < p->n_buffers; steps++) buffer = (uint32_t)p->buffers[buffer].alias;
  return buffer;
}

int32_t plan_find(const plan *p, const char *role, const char *name) {
  for (uint32_t i = 0; i < p->n_buffers; i++)
    if (!strcmp(p->buffers[i].role, role) && !strcmp(p->buffers[i].name, name)) return (int32_t)i;
  return -1;
}
