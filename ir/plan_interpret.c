#include "ir/plan.h"

static const void *binding_of(const plan_buffer *b, const graph_binding *bindings, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(bindings[i].role, b->role) && !strcmp(bindings[i].name, b->name)) return bindings[i].data;
  return NULL;
}

/* State and data that the host gives; those of a role without binding are results of in-place updates. */
static bool given_by_host(const plan_buffer *b) {
  return (b->storage == STORAGE_STATE || b->storage == STORAGE_DATA) && b->alias < 0 && !b->is_splat && !b->literal;
}

static void fill(const plan_buffer *b, void *data, const void *binding) {
  int64_t n = type_elements(&b->type);
  const void *from = binding ? binding : b->literal;
  if (from) memcpy(data, from, (size_t)type_bytes(&b->type));
  for (int64_t i = 0; b->is_splat && i < n; i++) element_store(b->type.dtype, data, i, b->splat);
}

/* A lowered launch runs its loops, on buffers that lie as they say. */
static void run_loops(const plan_launch *l, void *const *buffers, arena *scratch) {
  const kernel *k = l->kernel;
  void **laid = ARENA_ARRAY(scratch, void *, k->n_buffers);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    laid[i] = arena_alloc(scratch, (size_t)layout_bytes(&b->layout, &b->type));
    if (b->access == ACCESS_IN) layout_scatter(&b->layout, &b->type, buffers[i], laid[i]);
  }
  loops_interpret(l->loops, laid, scratch);
  for (uint32_t i = 0; i < k->n_buffers; i++)
    if (k->buffers[i].access == ACCESS_OUT) layout_gather(&k->buffers[i].layout, &k->buffers[i].type, laid[i], buffers[i]);
}

/* -- loops -------------------------------------------------------------------------------------------------- */

static void *part_of(const plan_buffer *b, void *whole, int64_t index) { return (char *)whole + (size_t)index * (size_t)type_bytes(&b->type); }

/* What a buffer of the region is given in an iteration; the carries live where their last values are wanted. */
static void *given_to(const plan_launch *l, const plan_buffer *b, void *const *data, int32_t *index) {
  plan_binding bound = plan_bind(l->repeat, b);
  switch (bound.kind) {
  case BOUND_CARRY: return data[l->buffers[bound.result]];
  case BOUND_SLICE: return part_of(b, data[l->buffers[bound.operand]], *index);
  case BOUND_INVARIANT: return data[l->buffers[bound.operand]];
  case BOUND_INDEX: return index;
  default: return NULL;
  }
}

static bool run_iteration(const plan_launch *l, void *const *data, int32_t index, arena *scratch, const char **error) {
  const plan *p = l->repeat->plan;
  graph_binding *bindings = ARENA_ARRAY(scratch, graph_binding, p->n_buffers);
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    void *given = given_to(l, &p->buffers[i], data, &index);
    if (given) bindings[n++] = (graph_binding){p->buffers[i].role, p->buffers[i].name, given};
  }
  void **inside = plan_interpret(p, bindings, n, scratch, error);
  for (uint32_t i = 0; inside && i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    plan_binding bound = plan_bind(l->repeat, b);
    if (bound.kind == BOUND_OUTPUT) memcpy(part_of(b, data[l->buffers[bound.result]], index), inside[i], (size_t)type_bytes(&b->type));
    if (strcmp(b->role, "state")) continue; /* the last of that name is the newest */
    plan_buffer state = *b;
    state.storage = STORAGE_STATE;
    state.alias = -1;
    memcpy(data[l->buffers[plan_bind(l->repeat, &state).result]], inside[i], (size_t)type_bytes(&b->type));
  }
  return inside != NULL;
}

static bool run_repeat(const plan_launch *l, void *const *data, const char **error) {
  const plan_repeat *r = l->repeat;
  for (uint32_t k = 0; k < r->n_carries; k++)
    memcpy(data[l->buffers[r->n_operands + k]], data[l->buffers[k]], (size_t)type_bytes(&l->kernel->buffers[k].type));
  for (int64_t i = 0; i < r->times; i++) {
    arena *scratch = arena_new();
    if (!scratch) return *error = "out of memory", false;
    bool good = run_iteration(l, data, (int32_t)(r->reverse ? r->times - 1 - i : i), scratch, error);
    arena_free(scratch);
    if (!good) return *error = "a region of a loop cannot be run", false;
  }
  return true;
}

/* Every buffer has an array of its own here, also where the plan shares memory: sharing must not
 * change what is computed. */
void **plan_interpret(const plan *p, const graph_binding *bindings, uint32_t n, arena *into, const char **error) {
  void **data = ARENA_ARRAY(into, void *, p->n_buffers);
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    const void *binding = given_by_host(b) ? binding_of(b, bindings, n) : NULL;
    if (given_by_host(b) && !binding) {
      *error = arena_printf(into, "%s %s has no binding", b->role, b->name);
      return NULL;
    }
    data[i] = arena_alloc(into, (size_t)type_bytes(&b->type));
    fill(b, data[i], binding);
  }
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const plan_launch *l = &p->launches[i];
    if (l->repeat && !run_repeat(l, data, error)) return NULL;
    if (l->repeat) continue;
    arena *scratch = arena_new();
    if (!scratch) {
      *error = "out of memory";
      return NULL;
    }
    void **buffers = ARENA_ARRAY(scratch, void *, l->kernel->n_buffers);
    for (uint32_t b = 0; b < l->kernel->n_buffers; b++) buffers[b] = data[l->buffers[b]];
    if (l->loops) run_loops(l, buffers, scratch);
    else kernel_interpret(l->kernel, buffers, scratch);
    arena_free(scratch);
  }
  return data;
}
