/* Selects whose condition is one for all lanes (of pictures: whether this one is to be changed) become an IF around what one of their arms alone
 * needs, so that a picture pays for what is done to it and for nothing else. Selects of one condition, as those of the channels of a picture, share
 * the IF. */
#include "ir/expr.h"
#include "passes/lower.h"

enum { LEAST_SKIPPED = 10, MOST_MEMBERS = 8, MOST_FRONTIER = 64, MOST_STAGES = 64 /* whose reductions are bits */ };

/* What members give where the condition holds, or where it does not. */
typedef struct {
  const expr *frontier[MOST_FRONTIER]; /* what it reads that others need, too */
  uint32_t n_frontier;
  bool pays; /* to be skipped */
} arm;

typedef struct {
  const expr *members[MOST_MEMBERS];
  uint32_t n_members;
  uint64_t reductions; /* that members read */
  arm arms[2];
} branch;

struct branch_table {
  branch *items;
  uint32_t n, capacity;
  uint32_t *of; /* by expression: the branch of a select + 1 */
};

/* What is computed in place for a stage that is read; NULL: its value is there. */
static const expr *body_in_place(const lowering *l, const expr *e) {
  const stage *s = &l->kernel->stages[e->number];
  return s->monoid == MONOID_NONE && s->output < 0 ? s->body : NULL;
}

/* -- which selects go together ----------------------------------------------------------------------------- */

static bool reaches(const lowering *l, const expr *from, const expr *to, bool *seen) {
  if (from == to) return true;
  if (seen[from->id]) return false;
  seen[from->id] = true;
  const expr *body = from->kind == EXPR_STAGE ? l->kernel->stages[from->number].body : NULL;
  bool does = body && reaches(l, body, to, seen);
  for (uint32_t i = 0; i < from->n_args && !does; i++) does = reaches(l, from->args[i], to, seen);
  for (uint32_t i = 0; i < from->n_conditions && !does; i++) does = reaches(l, from->conditions[i].subject, to, seen);
  return does;
}

static bool depends(const lowering *l, const expr *x, const expr *y) { return reaches(l, x, y, ARENA_ARRAY(l->arena, bool, l->kernel->exprs->count)); }

static uint64_t reductions_of(const lowering *l, const expr *e, bool *seen) {
  uint64_t all = 0;
  if (seen[e->id]) return 0;
  seen[e->id] = true;
  if (e->kind == EXPR_STAGE && reduces(&l->kernel->stages[e->number])) all |= (uint64_t)1 << e->number;
  if (e->kind == EXPR_STAGE) all |= reductions_of(l, l->kernel->stages[e->number].body, seen);
  for (uint32_t i = 0; i < e->n_args; i++) all |= reductions_of(l, e->args[i], seen);
  for (uint32_t i = 0; i < e->n_conditions; i++) all |= reductions_of(l, e->conditions[i].subject, seen);
  return all;
}

static bool belongs(const lowering *l, const branch *b, const expr *e, uint64_t reductions) {
  const expr *first = b->members[0];
  bool same = b->n_members < MOST_MEMBERS && first->args[0] == e->args[0] && first->axes == e->axes && b->reductions == reductions;
  for (uint32_t i = 0; i < b->n_members && same; i++) same = !depends(l, e, b->members[i]) && !depends(l, b->members[i], e);
  return same;
}

static void add_select(lowering *l, struct branch_table *t, const expr *e) {
  const uint64_t reductions = reductions_of(l, e, ARENA_ARRAY(l->arena, bool, l->kernel->exprs->count));
  uint32_t at = 0;
  while (at < t->n && !belongs(l, &t->items[at], e, reductions)) at++;
  if (at == t->n) *ARENA_PUSH(l->arena, t->items, t->n, t->capacity) = (branch){.reductions = reductions};
  branch *b = &t->items[at];
  b->members[b->n_members++] = e;
  t->of[e->id] = at + 1;
}

static void find_selects(lowering *l, struct branch_table *t, const expr *e, bool *seen, const expr **all) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  all[e->id] = e;
  for (uint32_t i = 0; i < e->n_args; i++) find_selects(l, t, e->args[i], seen, all);
  for (uint32_t i = 0; i < e->n_conditions; i++) find_selects(l, t, e->conditions[i].subject, seen, all);
  if (e->kind == EXPR_STAGE) find_selects(l, t, l->kernel->stages[e->number].body, seen, all);
  if (e->kind == EXPR_APPLY && e->op == OP_SELECT && dtype_is_real(e->type) && e->args[0]->axes != e->axes) add_select(l, t, e);
}

/* -- what is skipped --------------------------------------------------------------------------------------- */

static uint32_t weight(const branch *b, const expr *e) {
  if (e->kind == EXPR_READ && e->axes == b->members[0]->axes) return LEAST_SKIPPED; /* memory */
  if (e->kind != EXPR_APPLY || dtype_is_integer(e->type)) return 0;
  return e->op == OP_DIV ? 4 : !strcmp(op_table[e->op].lowering, "native") ? 1 : LEAST_SKIPPED;
}

/* From the newest expression to the oldest: one that is only read by what is skipped is skipped. */
static void find_skipped(lowering *l, branch *b, uint32_t side, const expr *const *all) {
  const uint32_t n = l->kernel->exprs->count;
  uint32_t *reads = ARENA_ARRAY(l->arena, uint32_t, n), skipped = 0;
  arm *at = &b->arms[side];
  for (uint32_t i = 0; i < b->n_members; i++) reads[b->members[i]->args[1 + side]->id]++;
  at->pays = true;
  for (uint32_t id = n; id-- > 0;) {
    const expr *e = all[id];
    if (!reads[id] || e->kind == EXPR_CONSTANT || e->kind == EXPR_AXIS) continue;
    const bool outer = e->kind == EXPR_READ && e->axes != b->members[0]->axes; /* read once for many points */
    if (outer && l->uses[id] == 1) l->uses[id]++;
    if (outer || reads[id] < l->uses[id]) {
      at->pays &= at->n_frontier < MOST_FRONTIER;
      if (at->pays && (outer || dtype_is_real(e->type))) at->frontier[at->n_frontier++] = e;
      continue;
    }
    skipped += weight(b, e);
    const expr *body = e->kind == EXPR_STAGE ? body_in_place(l, e) : NULL;
    if (body) reads[body->id] += l->uses[id] > 1 ? 2 : 1; /* as count_uses has it */
    for (uint32_t i = 0; i < e->n_args; i++) reads[e->args[i]->id]++;
  }
  at->pays &= skipped >= LEAST_SKIPPED;
}

void find_branches(lowering *l) {
  struct branch_table *t = ARENA_NEW(l->arena, struct branch_table);
  const uint32_t n = l->kernel->exprs->count;
  bool *seen = ARENA_ARRAY(l->arena, bool, n);
  const expr **all = ARENA_ARRAY(l->arena, const expr *, n);
  t->of = ARENA_ARRAY(l->arena, uint32_t, n);
  for (uint32_t i = 0; i < l->kernel->n_stages && l->kernel->n_stages <= MOST_STAGES; i++) find_selects(l, t, l->kernel->stages[i].body, seen, all);
  for (uint32_t i = 0; i < t->n; i++) find_skipped(l, &t->items[i], 0, all), find_skipped(l, &t->items[i], 1, all);
  l->branches = t;
}

/* -- the IF ------------------------------------------------------------------------------------------------ */

static void set_register(lowering *l, uint32_t number, operand v) {
  emit(l, (statement){.kind = STATEMENT_SET, .number = number, .value = loops_splat(l->loops, v.expr, l->loops->registers[number].lanes)});
}

static uint32_t register_here(lowering *l, dtype type, uint32_t lanes) {
  return new_register(l, type, lanes, (interval){INT64_MIN, INT64_MAX}, l->depth - 1);
}

/* Under a register of the IF's own, so that what is computed from it is set inside. */
static void bring_inside(lowering *l, const expr *e, operand v) {
  if (v.expr->kind == LOOPS_CONSTANT || v.level + 2 < l->depth || !dtype_is_real(e->type)) return;
  const uint32_t inside = register_here(l, v.expr->type, v.expr->lanes);
  set_register(l, inside, v);
  add_known(l, e, e->axes, variable_value(l, inside));
}

/* The values of members there, into their registers; in an IF where that pays. */
static void lower_arm(lowering *l, const branch *b, uint32_t side, operand test, const uint32_t *results) {
  const arm *at = &b->arms[side];
  operand frontier[MOST_FRONTIER];
  block body = {0};
  for (uint32_t i = 0; at->pays && i < at->n_frontier; i++) frontier[i] = lower_expr(l, at->frontier[i]);
  if (at->pays) open_frame(l, &body, true);
  for (uint32_t i = 0; at->pays && i < at->n_frontier; i++) bring_inside(l, at->frontier[i], frontier[i]);
  for (uint32_t i = 0; i < b->n_members; i++) set_register(l, results[i], lower_expr(l, b->members[i]->args[1 + side]));
  if (!at->pays) return;
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_IF, .value = test.expr, .body = body});
}

bool lower_branch(lowering *l, const expr *e, operand *out) {
  const branch *b = l->branches->of[e->id] ? &l->branches->items[l->branches->of[e->id] - 1] : NULL;
  const axis_set lanes = l->vector_axis < 0 ? 0 : (axis_set)1 << l->vector_axis;
  if (!b || !(b->arms[0].pays || b->arms[1].pays) || l->kernel->schedule.team.rows || !(e->axes & lanes) || e->args[0]->axes & lanes) return false;
  if (find_known(l, e, e->axes, out)) return true;
  const operand holds = lower_expr(l, e->args[0]), yes = constant_value(l, DTYPE_BOOL, (scalar){.integer = 1});
  if (holds.expr->lanes != 1 || holds.expr->kind == LOOPS_CONSTANT) return false;
  const operand tests[2] = {holds, share(l, apply_op(l, OP_XOR, DTYPE_BOOL, (operand[]){holds, yes}, 2))};
  const uint32_t first = b->arms[0].pays; /* an arm that is not skipped comes first, so that the other one has the last word */
  uint32_t results[MOST_MEMBERS];
  for (uint32_t i = 0; i < b->n_members; i++) {
    results[i] = register_here(l, e->type, l->lanes);
    if (b->arms[first].pays) set_register(l, results[i], constant_value(l, e->type, (scalar){.integer = 0}));
  }
  lower_arm(l, b, first, tests[first], results);
  lower_arm(l, b, !first, tests[!first], results);
  for (uint32_t i = 0; i < b->n_members; i++) add_known(l, b->members[i], e->axes, variable_value(l, results[i]));
  return find_known(l, e, e->axes, out);
}
