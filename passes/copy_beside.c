/* A product that makes what another one wants in panels writes both: its stores wait for nothing, where a copy waits for memory, and what
 * a copy would be made of need not be kept, or be made again, until then. Behind layout, which makes the copies. */
#include "passes/copy_beside.h"

#include "ir/expr.h"
#include "passes/passes.h"
#include "passes/schedule.h"
#include "passes/squares.h"
#include "passes/transfer.h"

static int32_t maker_of(const plan *p, uint32_t buffer) {
  for (uint32_t i = 0; i < p->n_launches; i++)
    for (uint32_t b = 0; b < p->launches[i].kernel->n_buffers; b++)
      if (p->launches[i].buffers[b] == buffer && p->launches[i].kernel->buffers[b].access == ACCESS_OUT) return p->launches[i].repeat ? -1 : (int32_t)i;
  return -1;
}

static void note_conditions(void *context, const expr *read) { *(bool *)context |= read->n_conditions > 0; }

/* The map behind the sum of a product of matrices that writes a buffer at its own axes; -1: there is none. Convolutions have other forms to come. */
static int32_t writer_of(const plan_launch *l, const target *t, uint32_t buffer) {
  const kernel *k = l->kernel;
  squares_form form;
  bool is_product = false, slides = false;
  visit_all_reads(k, note_conditions, &slides);
  if (slides || kernel_squares(k, t, &form)) return -1;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    is_product |= stage_is_product(k, i);
    if (s->output < 0 || l->buffers[s->output] != buffer) continue;
    bool plain = is_product && s->monoid == MONOID_NONE && s->type == k->buffers[s->output].type.dtype;
    for (uint32_t d = 0; d < k->buffers[s->output].type.rank; d++) plain &= s->index[d]->kind == EXPR_AXIS;
    return plain ? (int32_t)i : -1;
  }
  return -1;
}

static uint32_t innermost_dimension(const layout *l, const tensor_type *t) { return l->n ? l->part[l->n - 1].dim : t->rank - 1; }

/* The launch of a product that makes a buffer in vectors along a dimension, and the map that writes it; -1: there is none. */
static int32_t product_along(const plan *p, const target *t, uint32_t buffer, uint32_t dim, uint32_t *writer) {
  const plan_buffer *b = &p->buffers[buffer];
  const int32_t maker = t->warps || innermost_dimension(&b->layout, &b->type) != dim ? -1 : maker_of(p, buffer), map = maker < 0 ? -1 : writer_of(&p->launches[maker], t, buffer);
  *writer = (uint32_t)map;
  return map < 0 ? -1 : maker;
}

bool product_writes_along(const plan *p, const target *t, uint32_t buffer, uint32_t dim) { return product_along(p, t, buffer, dim, &(uint32_t){0}) >= 0; }

/* Whether a layout has panels of whole vectors. */
static bool in_panels(const layout *l, const target *t) {
  const int64_t width = l->n ? l->part[l->n - 1].extent : 1;
  bool panels = false;
  for (uint32_t i = 0; i + 1 < l->n; i++) panels |= l->part[i].dim == l->part[l->n - 1].dim && l->part[i].divisor == width;
  return panels && width % (int64_t)(t->vector_bytes / sizeof(float)) == 0;
}

/* The product, which writes the value of one of its stages once more. */
static plan_launch with_copy(plan *p, const plan_launch *product, uint32_t writer, const plan_launch *copy, made_kernels *made, arena *scratch) {
  const kernel *k = product->kernel;
  const kernel_buffer *to = &copy->kernel->buffers[copy->kernel->stages->output];
  kernel *into = kernel_new(k->arena, arena_printf(k->arena, "%s_copy", k->name), k->where);
  transfer t = transfer_begin(k, into);
  stage again = {.name = "copy"};
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage s = transfer_stage(&t, i, k->stages[i].output >= 0);
    transfer_add(&t, i, s);
    if (i == writer) again = (stage){.name = "copy", .type = s.type, .free = s.free, .index = s.index, .body = expr_stage(into, t.stages[i] - 1), .where = copy->kernel->where};
  }
  again.output = (int32_t)kernel_add_buffer(into, to->name, to->type, ACCESS_OUT);
  into->buffers[again.output].layout = to->layout;
  kernel_add_stage(into, again);
  uint32_t *buffers = ARENA_ARRAY(p->arena, uint32_t, into->n_buffers);
  for (uint32_t b = 0; b < k->n_buffers; b++) {
    into->buffers[t.buffers[b] - 1].layout = k->buffers[b].layout;
    buffers[t.buffers[b] - 1] = product->buffers[b];
  }
  buffers[again.output] = copy->buffers[copy->kernel->stages->output];
  return (plan_launch){.kernel = made_once(made, into, scratch), .buffers = buffers};
}

bool pass_copy_beside(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_copy_beside)) return false;
  made_kernels made = {0};
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const plan_launch *l = &p->launches[i];
    const stage *s = l->kernel->stages;
    const layout *to = kernel_is_copy(l->kernel) ? &l->kernel->buffers[s->output].layout : NULL;
    uint32_t writer;
    const int32_t product = to && in_panels(to, c->target) ? product_along(p, c->target, l->buffers[s->body->number], to->part[to->n - 1].dim, &writer) : -1;
    if (product >= 0) {
      p->launches[product] = with_copy(p, &p->launches[product], writer, l, &made, c->arena);
      continue;
    }
    p->launches[n++] = *l;
  }
  p->n_launches = n;
  return true;
}
