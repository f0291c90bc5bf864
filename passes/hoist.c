/* What gives the same in every iteration of a loop is launched once, in front of it: kernels that read nothing but what
 * stays the same, conversions of layouts among them. What they give becomes an operand of the loop. */
#include "passes/passes.h"

/* Does the launch depend on nothing that changes, and give nothing but temporaries? */
static bool stays_the_same(const plan_repeat *r, const plan_launch *l) {
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) {
    const plan_buffer *x = &r->plan->buffers[l->buffers[b]];
    bool is_input = l->kernel->buffers[b].access == ACCESS_IN;
    if (is_input ? plan_bind(r, x).kind != BOUND_INVARIANT : x->storage != STORAGE_TEMPORARY || x->alias >= 0) return false;
  }
  return !l->repeat;
}

/* A buffer of the region becomes the last operand of the loop. */
static void give_from_outside(plan *p, plan_launch *loop, plan_buffer *inside, uint32_t outside) {
  plan_repeat *r = loop->repeat;
  const uint32_t at = r->n_operands++, n = r->n_operands + r->n_results;
  inside->storage = STORAGE_DATA;
  inside->role = "invariant";
  inside->name = arena_printf(p->arena, "%u", at - r->n_carries - r->n_slices);
  uint32_t *buffers = ARENA_ARRAY(p->arena, uint32_t, n);
  for (uint32_t i = 0; i < n; i++) buffers[i] = i < at ? loop->buffers[i] : i == at ? outside : loop->buffers[i - 1];
  loop->buffers = buffers;
  kernel *k = loop->kernel;
  kernel_add_buffer(k, "invariant", inside->type, ACCESS_IN);
  const kernel_buffer added = k->buffers[n - 1];
  for (uint32_t i = n - 1; i > at; i--) k->buffers[i] = k->buffers[i - 1];
  k->buffers[at] = added;
  k->buffers[at].layout = inside->layout;
}

/* The launch in terms of the plan around. */
static plan_launch hoisted(plan *p, plan_launch *loop, const plan_launch *l) {
  plan *region = loop->repeat->plan;
  plan_launch made = {.kernel = l->kernel, .buffers = ARENA_ARRAY(p->arena, uint32_t, l->kernel->n_buffers)};
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) {
    plan_buffer *inside = &region->buffers[l->buffers[b]];
    if (l->kernel->buffers[b].access == ACCESS_IN) {
      made.buffers[b] = loop->buffers[plan_bind(loop->repeat, inside).operand];
      continue;
    }
    made.buffers[b] = plan_add_buffer(p, *inside);
    give_from_outside(p, loop, inside, made.buffers[b]);
  }
  return made;
}

bool pass_hoist(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_hoist)) return false;
  const plan_launch *old = p->launches;
  const uint32_t n = p->n_launches;
  p->launches = NULL;
  p->n_launches = p->launches_capacity = 0;
  for (uint32_t i = 0; i < n; i++) {
    plan_launch at = old[i];
    plan_repeat *r = at.repeat;
    bool placed = r && at.kernel->n_buffers > r->n_operands + r->n_results; /* too late: its arena has a place */
    uint32_t kept = 0;
    for (uint32_t l = 0; r && !placed && l < r->plan->n_launches; l++) {
      const plan_launch inner = r->plan->launches[l];
      if (stays_the_same(r, &inner)) {
        const plan_launch made = hoisted(p, &at, &inner);
        *ARENA_PUSH(p->arena, p->launches, p->n_launches, p->launches_capacity) = made;
      } else {
        r->plan->launches[kept++] = inner;
      }
    }
    if (r && !placed) r->plan->n_launches = kept;
    *ARENA_PUSH(p->arena, p->launches, p->n_launches, p->launches_capacity) = at;
  }
  return true;
}
