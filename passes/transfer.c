#include "passes/transfer.h"

transfer transfer_begin(const kernel *from, kernel *into) {
  transfer t = {.from = from, .into = into};
  t.axes = ARENA_ARRAY(into->arena, const expr *, from->n_axes);
  t.buffers = ARENA_ARRAY(into->arena, uint32_t, from->n_buffers);
  t.buffer_stage = ARENA_ARRAY(into->arena, uint32_t, from->n_buffers);
  t.stages = ARENA_ARRAY(into->arena, uint32_t, from->n_stages);
  return t;
}

static const expr *rewrite_axis(void *context, kernel *into, uint32_t axis) {
  transfer *t = context;
  if (!t->axes[axis])
    t->axes[axis] = expr_axis(into, kernel_add_axis(into, t->from->axes[axis].name, t->from->axes[axis].extent));
  return t->axes[axis];
}

static uint32_t counterpart(transfer *t, uint32_t buffer) {
  const kernel_buffer *b = &t->from->buffers[buffer];
  if (!t->buffers[buffer]) t->buffers[buffer] = kernel_add_buffer(t->into, b->name, b->type, b->access) + 1;
  return t->buffers[buffer] - 1;
}

static const expr *rewrite_read(void *context, kernel *into, const expr *read, const expr *const *index,
                                const condition *c) {
  transfer *t = context;
  if (t->buffer_stage[read->number]) return expr_stage(into, t->buffer_stage[read->number] - 1);
  return expr_read(into, counterpart(t, read->number), index, c, read->n_conditions, read->constant);
}

static const expr *rewrite_stage(void *context, kernel *into, uint32_t number) {
  transfer *t = context;
  if (t->stages[number]) return expr_stage(into, t->stages[number] - 1);
  return transfer_expr(t, t->from->stages[number].body);
}

const expr *transfer_expr(transfer *t, const expr *e) {
  const expr_rewrite how = {t, rewrite_axis, rewrite_read, rewrite_stage};
  return expr_rewrite_into(t->into, t->from, e, &how);
}

axis_set transfer_axes(transfer *t, axis_set axes) {
  axis_set all = 0;
  for (uint32_t i = 0; i < t->from->n_axes; i++)
    if (axes >> i & 1) all |= rewrite_axis(t, t->into, i)->axes;
  return all;
}

stage transfer_stage(transfer *t, uint32_t number, bool written) {
  stage s = t->from->stages[number];
  s.free = transfer_axes(t, s.free);
  s.reduced = transfer_axes(t, s.reduced);
  if (written) {
    uint32_t rank = t->from->buffers[s.output].type.rank;
    const expr **index = ARENA_ARRAY(t->into->arena, const expr *, rank);
    for (uint32_t d = 0; d < rank; d++) index[d] = transfer_expr(t, s.index[d]);
    s.index = index;
    s.output = (int32_t)counterpart(t, (uint32_t)s.output);
  } else {
    s.output = -1;
    s.index = NULL;
  }
  s.body = transfer_expr(t, s.body);
  return s;
}

void transfer_add(transfer *t, uint32_t number, stage s) { t->stages[number] = kernel_add_stage(t->into, s) + 1; }

kernel *made_once(made_kernels *made, kernel *k, arena *a) {
  const char *text = kernel_canonical(k, a);
  for (uint32_t i = 0; i < made->n; i++)
    if (!strcmp(made->items[i].text, text)) return made->items[i].kernel;
  *ARENA_PUSH(a, made->items, made->n, made->capacity) = (struct made_kernel){k, text};
  return k;
}
