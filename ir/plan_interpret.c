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
    laid[i] = arena_alloc(scratch, (size_t)layout_elements(&b->layout, &b->type) * dtype_bytes(b->type.dtype));
    if (b->access == ACCESS_IN) layout_scatter(&b->layout, &b->type, buffers[i], laid[i]);
  }
  loops_interpret(l->loops, laid, scratch);
  for (uint32_t i = 0; i < k->n_buffers; i++)
    if (k->buffers[i].access == ACCESS_OUT) layout_gather(&k->buffers[i].layout, &k->buffers[i].type, laid[i], buffers[i]);
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
