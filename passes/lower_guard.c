/* Work that is skipped because a read lies outside its buffer (padding of a convolution adds zeros), or because an
 * address is another (what is scattered elsewhere adds zero here). */
#include <math.h>

#include "passes/lower.h"

static bool is_identity(const stage *s, const expr *read) {
  if (!dtype_is_real(read->type)) return s->monoid == MONOID_SUM && read->constant.integer == 0;
  return read->constant.real == (s->monoid == MONOID_SUM ? 0 : -INFINITY);
}

static bool is_equality(const expr *e) { return e->kind == EXPR_APPLY && e->op == OP_EQ && dtype_is_integer(e->args[0]->type); }

/* Reads that make the whole body the identity when their conditions fail: factors of a product for a
 * sum; as for NaN and infinity in the other factor, what is not read takes no part. */
static void collect(lowering *l, const stage *s, const expr *e, guard *g) {
  e = look_through(l, e);
  if (e->kind == EXPR_READ && is_identity(s, e)) {
    for (uint32_t i = 0; i < e->n_conditions && g->n < MAX_FACTS; i++) g->conditions[g->n++] = &e->conditions[i];
  } else if (e->kind == EXPR_APPLY && e->op == OP_CAST && s->monoid == MONOID_SUM) {
    collect(l, s, e->args[0], g);
  } else if (e->kind == EXPR_APPLY && e->op == OP_MUL && s->monoid == MONOID_SUM) {
    collect(l, s, e->args[0], g);
    collect(l, s, e->args[1], g);
  } else if (e->kind == EXPR_APPLY && e->op == OP_SELECT) {
    decision holds = decide_truth(l, e->args[0]);
    if (holds != UNDECIDED) collect(l, s, e->args[holds == ALWAYS ? 1 : 2], g);
    else if (is_equality(e->args[0]) && e->args[2]->kind == EXPR_CONSTANT && is_identity(s, e->args[2])) g->equality = e->args[0];
  } else if (e->kind == EXPR_CONSTANT && is_identity(s, e)) {
    g->nothing = true;
  }
}

static bool is_bound(const lowering *l, axis_set axes) {
  for (uint32_t i = 0; i < l->kernel->n_axes; i++)
    if ((axes >> i & 1) && (l->axis[i].left > 1 || (int32_t)i == l->vector_axis)) return false;
  return true;
}

guard find_guard(lowering *l, const stage *s, bool any_bound) {
  guard all = {0}, g = {0};
  if (s->monoid != MONOID_SUM && s->monoid != MONOID_MAX) return g;
  collect(l, s, s->body, &all);
  g.nothing = all.nothing;
  if (all.equality && l->n_equalities < MAX_FACTS && is_bound(l, all.equality->axes) && (any_bound || !(all.equality->axes & l->unrolled))) g.equality = all.equality;
  for (uint32_t i = 0; i < all.n; i++) {
    const condition *c = all.conditions[i];
    decision holds = decide_condition(l, c);
    bool repeated = false;
    for (uint32_t j = 0; j < g.n; j++) repeated = repeated || g.conditions[j]->subject == c->subject;
    if (holds == NEVER) g.nothing = true;
    if (holds != UNDECIDED || repeated || l->n_facts + g.n >= MAX_FACTS || !is_bound(l, c->subject->axes)) continue;
    if (any_bound || !(c->subject->axes & l->unrolled)) g.conditions[g.n++] = c;
  }
  return g;
}

/* The subject's register has the range that the test leaves, for as long as the IF is open; what is
 * computed from it meanwhile belongs inside. */
void open_guard(lowering *l, const guard *g, block *body, statement *s) {
  operand test = {0};
  uint32_t pinned[MAX_FACTS];
  for (uint32_t i = 0; i < g->n; i++) {
    const condition *c = g->conditions[i];
    operand subject = cast_value(l, lower_expr(l, c->subject), DTYPE_I64);
    /* A register of its own, even where the subject is a loop's index. */
    pinned[i] = new_register(l, DTYPE_I64, 1, range_of(l, c->subject), l->depth - 1);
    emit(l, (statement){.kind = STATEMENT_SET, .number = pinned[i], .value = subject.expr});
    operand one = condition_value(l, c, variable_value(l, pinned[i]));
    test = i ? apply_op(l, OP_AND, DTYPE_BOOL, (operand[]){test, one}, 2) : one;
  }
  if (g->equality) {
    const operand equal = lower_expr(l, g->equality);
    test = g->n ? apply_op(l, OP_AND, DTYPE_BOOL, (operand[]){test, equal}, 2) : equal;
  }
  *s = (statement){.kind = STATEMENT_IF, .value = test.expr};
  open_frame(l, body, true);
  if (g->equality) l->equalities[l->n_equalities++] = g->equality;
  for (uint32_t i = 0; i < g->n; i++) {
    interval *r = &l->registers[pinned[i]].range;
    l->registers[pinned[i]].level = l->depth - 1;
    if (g->conditions[i]->low > r->low) r->low = g->conditions[i]->low;
    if (g->conditions[i]->high - 1 < r->high) r->high = g->conditions[i]->high - 1;
    l->facts[l->n_facts++] = (fact){g->conditions[i], pinned[i]};
  }
}

void close_guard(lowering *l, const guard *g, block *body, statement *s) {
  close_frame(l);
  l->n_equalities -= g->equality != NULL;
  l->n_facts -= g->n;
  s->body = *body;
  if (body->n) emit(l, *s);
}
