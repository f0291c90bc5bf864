#include "ir/mask.h"

#include "ir/expr.h"

static bool index_of(const expr *e, uint32_t *axis) {
  while (is_apply(e, OP_CAST)) e = e->args[0];
  if (e->kind == EXPR_AXIS) *axis = e->number;
  return e->kind == EXPR_AXIS;
}

static bool compares(const expr *e, kernel_mask *m) { return is_apply(e, OP_LE) && index_of(e->args[0], &m->low) && index_of(e->args[1], &m->high) && m->low != m->high; }

static bool is_by(const kernel_mask *m, const expr *e) {
  kernel_mask other;
  return compares(e, &other) && other.low == m->low && other.high == m->high;
}

static const expr *look_through_maps(const kernel *k, const expr *e) {
  while (e->kind == EXPR_STAGE && k->stages[e->number].monoid == MONOID_NONE) e = k->stages[e->number].body;
  return e;
}

static bool is_zero(const expr *e) { return e->kind == EXPR_CONSTANT && dtype_is_real(e->type) && e->constant.real == 0; }

/* Whether it is 0 where points are masked. What stands beside a 0 in a product or under it takes no part there, NaN and infinity included. */
static bool vanishes(const kernel *k, const kernel_mask *m, const expr *e) {
  e = look_through_maps(k, e);
  if (is_apply(e, OP_SELECT)) return (is_by(m, e->args[0]) || vanishes(k, m, e->args[1])) && (is_zero(e->args[2]) || vanishes(k, m, e->args[2]));
  if (is_apply(e, OP_MUL)) return vanishes(k, m, e->args[0]) || vanishes(k, m, e->args[1]);
  if (is_apply(e, OP_CAST) || is_apply(e, OP_NEG) || is_apply(e, OP_DIV)) return vanishes(k, m, e->args[0]);
  return false;
}

/* Whether a maximum has only what hides a score there, of which there are better ones in every row. */
static bool is_hidden(const kernel *k, const kernel_mask *m, const expr *e) {
  e = look_through_maps(k, e);
  return is_apply(e, OP_SELECT) && is_by(m, e->args[0]) && e->args[2]->kind == EXPR_CONSTANT && dtype_is_real(e->type) && e->args[2]->constant.real <= MASKED;
}

static bool is_deaf(const kernel *k, const kernel_mask *m, const stage *s) {
  const axis_set both = (axis_set)1 << m->low | (axis_set)1 << m->high;
  if (!is_masked(m, s->free | s->reduced)) return true;
  if (!(s->reduced & both)) return s->output < 0; /* read at masked points by those alone that are asked here */
  if (s->monoid == MONOID_SUM) return vanishes(k, m, s->body);
  return s->monoid == MONOID_MAX && is_hidden(k, m, s->body);
}

static bool all_are_deaf(const kernel *k, const kernel_mask *m) {
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (!is_deaf(k, m, &k->stages[i])) return false;
  return true;
}

bool find_mask(const kernel *k, kernel_mask *out) {
  uint32_t first = UINT32_MAX;
  for (uint32_t i = 0; i < k->exprs->capacity; i++) {
    const expr *e = k->exprs->slots[i];
    kernel_mask m;
    if (!e || e->id >= first || !is_apply(e, OP_SELECT) || !compares(e->args[0], &m) || k->axes[m.low].extent != k->axes[m.high].extent) continue;
    if (all_are_deaf(k, &m)) *out = m, first = e->id;
  }
  return first != UINT32_MAX;
}

double mask_share(const kernel *k, const kernel_mask *m) { return ((double)k->axes[m->low].extent + 1) / (2 * (double)k->axes[m->low].extent); }
