#include "passes/compute_in_copy.h"

typedef struct {
  const plan *plan;
  const plan_launch *maker;
  uint32_t buffer, at;
  buffer_test *is_there;
  kernel *into;
  const expr **axes;         /* per axis of the maker: what stands for it; NULL: nothing does */
  uint32_t *counterparts;    /* per buffer of the maker: its number in `into` + 1 */
  uint32_t *buffers;         /* per buffer of `into`: of the plan */
  bool failed;
} computation;

static uint32_t add_buffer(computation *c, const kernel_buffer *b, uint32_t of_plan, buffer_access access) {
  const uint32_t number = kernel_add_buffer(c->into, b->name, b->type, access);
  c->into->buffers[number].layout = b->layout;
  c->buffers[number] = of_plan;
  return number;
}

static uint32_t counterpart(computation *c, uint32_t buffer) {
  if (!c->counterparts[buffer]) {
    c->failed |= !c->is_there(c->plan, c->maker->buffers[buffer], c->at);
    c->counterparts[buffer] = add_buffer(c, &c->maker->kernel->buffers[buffer], c->maker->buffers[buffer], ACCESS_IN) + 1;
  }
  return c->counterparts[buffer] - 1;
}

static const expr *axis_of(void *context, kernel *into, uint32_t axis) {
  computation *c = context;
  c->failed |= !c->axes[axis];
  return c->axes[axis] ? c->axes[axis] : expr_integer(into, 0);
}

static const expr *read_of(void *context, kernel *into, const expr *read, const expr *const *index, const condition *conditions) {
  return expr_read(into, counterpart(context, read->number), index, conditions, read->n_conditions, read->constant);
}

static const expr *value_of(computation *c, const expr *e);

/* What was written is read, maps are computed, and sums would be too much. */
static const expr *stage_of(void *context, kernel *into, uint32_t number) {
  computation *c = context;
  const stage *s = &c->maker->kernel->stages[number];
  const bool written = s->output >= 0 && c->maker->buffers[s->output] != c->buffer && c->maker->kernel->buffers[s->output].type.dtype == s->type;
  if (written && c->is_there(c->plan, c->maker->buffers[s->output], c->at)) {
    const expr *index[MAX_RANK];
    const uint32_t rank = c->maker->kernel->buffers[s->output].type.rank;
    for (uint32_t d = 0; d < rank; d++) index[d] = value_of(c, s->index[d]);
    return expr_read(into, counterpart(c, (uint32_t)s->output), index, NULL, 0, (scalar){0});
  }
  c->failed |= s->monoid != MONOID_NONE;
  return c->failed ? expr_integer(into, 0) : value_of(c, s->body);
}

static const expr *value_of(computation *c, const expr *e) {
  const expr_rewrite how = {c, axis_of, read_of, stage_of};
  return expr_rewrite_into(c->into, c->maker->kernel, e, &how);
}

/* The stage that writes all of a buffer, element by element; NULL: there is none. */
static const stage *writer_of(const plan_launch *l, uint32_t buffer) {
  const stage *found = NULL;
  for (uint32_t i = 0; i < l->kernel->n_stages; i++) {
    const stage *s = &l->kernel->stages[i];
    if (s->output < 0 || l->buffers[s->output] != buffer) continue;
    if (found || s->monoid != MONOID_NONE) return NULL;
    found = s;
  }
  return found;
}

bool compute_in_copy(const plan *p, const plan_launch *copy, uint32_t at, buffer_test *is_there, plan_launch *out) {
  if (!kernel_is_copy(copy->kernel)) return false;
  const stage *copied = copy->kernel->stages;
  const uint32_t buffer = copy->buffers[copied->body->number];
  if (p->buffers[buffer].storage != STORAGE_TEMPORARY) return false;
  const plan_launch *maker = &p->launches[p->buffers[buffer].first];
  if (maker->repeat) return false;
  const stage *s = writer_of(maker, buffer);
  if (!s) return false;
  arena *a = p->arena;
  computation c = {p, maker, buffer, at, is_there, kernel_new(a, maker->kernel->name, maker->kernel->where), NULL, NULL, NULL, false};
  c.axes = ARENA_ARRAY(a, const expr *, maker->kernel->n_axes + 1);
  c.counterparts = ARENA_ARRAY(a, uint32_t, maker->kernel->n_buffers + 1);
  c.buffers = ARENA_ARRAY(a, uint32_t, maker->kernel->n_buffers + 2);
  stage made = {.name = s->name, .type = copied->type, .where = s->where};
  const uint32_t rank = p->buffers[buffer].type.rank;
  const expr **index = ARENA_ARRAY(a, const expr *, rank + 1);
  for (uint32_t d = 0; d < rank; d++) {
    const expr *from = s->index[d], *to = copied->body->args[d];
    if (from->kind != EXPR_AXIS || c.axes[from->number]) return false;
    c.axes[from->number] = index[d] = expr_axis(c.into, kernel_add_axis(c.into, copy->kernel->axes[to->number].name, copy->kernel->axes[to->number].extent));
    made.free |= index[d]->axes;
  }
  made.output = (int32_t)add_buffer(&c, &copy->kernel->buffers[copied->output], copy->buffers[copied->output], ACCESS_OUT);
  made.index = index;
  made.body = value_of(&c, s->body);
  if (c.failed) return false;
  kernel_add_stage(c.into, made);
  *out = (plan_launch){.kernel = c.into, .buffers = c.buffers};
  return true;
}

kernel *copy_kernel(arena *a, const tensor_type *t, span where) {
  const expr *index[MAX_RANK];
  kernel *k = kernel_new(a, "convert", where);
  stage s = {.name = "copy", .type = t->dtype, .output = 1, .index = index, .where = where};
  for (uint32_t d = 0; d < t->rank; d++) {
    const uint32_t axis = kernel_add_axis(k, "i", t->dim[d]);
    index[d] = expr_axis(k, axis);
    s.free |= (axis_set)1 << axis;
  }
  kernel_add_buffer(k, "from", *t, ACCESS_IN);
  kernel_add_buffer(k, "to", *t, ACCESS_OUT);
  s.body = expr_read(k, 0, index, NULL, 0, (scalar){.integer = 0});
  kernel_add_stage(k, s);
  return k;
}
