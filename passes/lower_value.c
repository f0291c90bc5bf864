/* Expressions of a kernel at the current coordinates. */
#include "passes/lower.h"

#include <math.h>

#include "ir/expr.h"
#include "ir/rule.h"
#include "passes/math.h"

/* -- uses ------------------------------------------------------------------------------------------------- */

/* Uses of an expression, wherever its value is needed: maps are computed in place. */
static void count(lowering *l, const expr *e) {
  if (l->uses[e->id]++) return;
  for (uint32_t i = 0; i < e->n_args; i++) count(l, e->args[i]);
  for (uint32_t i = 0; i < e->n_conditions; i++) count(l, e->conditions[i].subject);
  if (e->kind == EXPR_STAGE) count(l, l->kernel->stages[e->number].body);
}

/* The expression of a stage is made once; all uses of the stage are uses of it. */
static void count_stage_uses(lowering *l, const expr *e, bool *seen) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  for (uint32_t i = 0; i < e->n_args; i++) count_stage_uses(l, e->args[i], seen);
  for (uint32_t i = 0; i < e->n_conditions; i++) count_stage_uses(l, e->conditions[i].subject, seen);
  if (e->kind != EXPR_STAGE) return;
  const expr *body = l->kernel->stages[e->number].body;
  l->stages[e->number].uses = l->uses[e->id];
  if (l->uses[e->id] > 1) l->uses[body->id]++;
  count_stage_uses(l, body, seen);
}

void count_uses(lowering *l) {
  const kernel *k = l->kernel;
  bool *seen = ARENA_ARRAY(l->arena, bool, k->exprs->count);
  l->uses = ARENA_ARRAY(l->arena, uint32_t, k->exprs->count);
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0 || reduces(&k->stages[i])) count(l, k->stages[i].body);
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0 || reduces(&k->stages[i])) count_stage_uses(l, k->stages[i].body, seen);
}

/* Whether an expression is evaluated more than once in straight-line code: it stands in several places,
 * or is the same for several of the unrolled coordinates. */
bool is_reused(const lowering *l, const expr *e) { return l->uses[e->id] > 1 || (l->unrolled & ~e->axes); }

/* -- ops -------------------------------------------------------------------------------------------------- */

typedef struct {
  lowering *l;
  uint32_t level;
  const operand *args;
} expansion;

static const loops_expr *share_expansion(void *context, const loops_expr *e) {
  expansion *x = context;
  return share(x->l, (operand){e, x->level}).expr;
}

static uint64_t rule_name(void *context, char name) {
  expansion *x = context;
  return (uint64_t)(uintptr_t)x->args[name - 'x'].expr;
}

static uint64_t rule_number(void *context, double number) {
  expansion *x = context;
  dtype t = x->args[0].expr->type;
  scalar v;
  if (dtype_is_real(t)) v.real = number;
  else v.integer = (int64_t)number;
  return (uint64_t)(uintptr_t)loops_constant(x->l->loops, t, 1, v);
}

static uint64_t rule_apply(void *context, op_id op, uint32_t n, const uint64_t *args) {
  expansion *x = context;
  operand values[3];
  dtype types[3], result;
  for (uint32_t i = 0; i < n; i++) {
    values[i] = (operand){(const loops_expr *)(uintptr_t)args[i], x->level};
    types[i] = values[i].expr->type;
  }
  if (!op_result_dtype(op, types, x->args[0].expr->type, &result)) {
    fail_lowering(x->l, "the lowering of an op does not fit its types");
    result = types[0];
  }
  return (uint64_t)(uintptr_t)apply_op(x->l, op, result, values, n).expr;
}

static const loops_expr *expand_rule(expansion *x, op_id op, uint32_t n) {
  operand shared[3];
  for (uint32_t i = 0; i < n; i++) shared[i] = share(x->l, (operand){x->args[i].expr, x->level});
  expansion inner = {x->l, x->level, shared};
  rule_builder b = {&inner, rule_name, rule_number, rule_apply};
  uint64_t result = 0;
  if (!rule_build(op_table[op].lowering, 0, &b, &result)) fail_lowering(x->l, "an op has no lowering");
  return result ? (const loops_expr *)(uintptr_t)result : x->args[0].expr;
}

/* bf16 is computed in f32 and rounded once. */
static const loops_expr *expand_math(expansion *x, op_id op, dtype result, uint32_t n, uint32_t lanes) {
  math_builder b = {x->l->loops, x, share_expansion};
  const loops_expr *args[6];
  bool narrow = result == DTYPE_BF16;
  for (uint32_t i = 0; i < n; i++) {
    operand v = narrow ? cast_value(x->l, x->args[i], DTYPE_F32) : x->args[i];
    args[i] = loops_splat(x->l->loops, share(x->l, (operand){v.expr, x->level}).expr, lanes);
  }
  const loops_expr *r = math_expand(&b, op, args, n);
  if (!r) {
    fail_lowering(x->l, "an op has no expansion");
    return x->args[0].expr;
  }
  return narrow ? cast_value(x->l, (operand){r, x->level}, DTYPE_BF16).expr : r;
}

operand apply_op(lowering *l, op_id op, dtype result, const operand *args, uint32_t n) {
  const loops_expr *exprs[6];
  uint32_t lanes = 1, level = 0;
  bool constant = true;
  for (uint32_t i = 0; i < n; i++) {
    exprs[i] = args[i].expr;
    if (exprs[i]->lanes > lanes) lanes = exprs[i]->lanes;
    if (args[i].level > level) level = args[i].level;
    constant = constant && exprs[i]->kind == LOOPS_CONSTANT;
  }
  if (constant || !strcmp(op_table[op].lowering, "native"))
    return (operand){loops_apply(l->loops, op, result, exprs, n), level};
  expansion x = {l, level, args};
  bool math = !strcmp(op_table[op].lowering, "math");
  return (operand){math ? expand_math(&x, op, result, n, lanes) : expand_rule(&x, op, n), level};
}

operand cast_value(lowering *l, operand v, dtype to) {
  return v.expr->type == to ? v : apply_op(l, OP_CAST, to, &v, 1);
}

operand fuse_multiply_add(lowering *l, operand x, operand y, operand z) {
  uint32_t lanes = z.expr->lanes, level = x.level > y.level ? x.level : y.level;
  const loops_expr *args[] = {loops_splat(l->loops, x.expr, lanes), loops_splat(l->loops, y.expr, lanes), z.expr};
  loops_expr e = {.kind = LOOPS_FMA, .type = z.expr->type, .lanes = lanes, .n_args = 3, .args = args};
  return (operand){loops_node(l->loops, e), level > z.level ? level : z.level};
}

operand dot_pairs(lowering *l, operand x, operand y, operand z) {
  uint32_t lanes = z.expr->lanes, level = x.level > y.level ? x.level : y.level;
  const loops_expr *args[] = {loops_splat(l->loops, x.expr, lanes), loops_splat(l->loops, y.expr, lanes), z.expr};
  loops_expr e = {.kind = LOOPS_DOT, .type = DTYPE_F32, .lanes = lanes, .n_args = 3, .args = args};
  return (operand){loops_node(l->loops, e), level > z.level ? level : z.level};
}

/* -- expressions ------------------------------------------------------------------------------------------ */

const expr *look_through(const lowering *l, const expr *e) {
  while (e->kind == EXPR_STAGE) {
    const stage *s = &l->kernel->stages[e->number];
    const stage_state *state = &l->stages[e->number];
    if (s->monoid != MONOID_NONE || state->ready || state->uses > 1) return e;
    e = s->body;
  }
  return e;
}

static operand evaluate_stage(lowering *l, const expr *e) {
  const stage *s = &l->kernel->stages[e->number];
  stage_state *state = &l->stages[e->number];
  operand v;
  if (find_known(l, &state->value, s->free, &v)) return v;
  if (state->ready) return cast_value(l, load_home(l, e->number, 0), s->type);
  if (s->monoid == MONOID_NONE) return lower_expr(l, s->body);
  fail_lowering(l, "a reduction is read before it is complete");
  return constant_value(l, s->type, (scalar){0});
}

/* A byte by a constant, as pictures are brought to 0..1, without a division: by the inverse in two parts, where that is seen to round
 * all bytes as the division does. */
static bool divide_byte(lowering *l, const expr *e, operand *out) {
  const expr *x = look_through(l, e->args[0]), *by = e->args[1];
  if (e->type != DTYPE_F32 || by->kind != EXPR_CONSTANT || x->kind != EXPR_APPLY || x->op != OP_CAST || x->args[0]->type != DTYPE_U8) return false;
  const float divisor = (float)by->constant.real, high = 1 / divisor, low = (float)(1 / (double)divisor - (double)high);
  for (int i = 0; i < 256; i++) {
    const float found = fmaf((float)i, high, (float)i * low), wanted = (float)i / divisor;
    if (!(found == wanted)) return false;
  }
  const operand byte = lower_expr(l, x), parts[2] = {byte, constant_value(l, DTYPE_F32, (scalar){.real = low})};
  *out = fuse_multiply_add(l, byte, constant_value(l, DTYPE_F32, (scalar){.real = high}), apply_op(l, OP_MUL, DTYPE_F32, parts, 2));
  return true;
}

/* Random bits of neighbours: one counter gives four words, which as many lanes take. A warp's lanes each make their own. */
static bool random_neighbours(lowering *l, const expr *e, operand *out) {
  enum { WORDS = 4, MOST_LANES = 16, COUNTER = 2 };
  const axis_set along = l->vector_axis < 0 ? 0 : (axis_set)1 << l->vector_axis;
  affine index;
  operand args[6];
  if (l->lanes % WORDS || l->lanes > MOST_LANES || !(e->args[COUNTER]->axes & along) || !affine_of(l, e->args[COUNTER], AFFINE_ANALYSE, &index)) return false;
  const interval range = affine_range(l, &index);
  bool fours = index.lane == 1 && index.constant % WORDS == 0 && range.low >= 0 && range.high <= UINT32_MAX;
  for (uint32_t i = 0; i < index.n; i++) fours &= index.term[i].coefficient % WORDS == 0, index.term[i].coefficient /= WORDS;
  for (uint32_t i = 0; i < e->n_args; i++) fours &= i == COUNTER || !(e->args[i]->axes & along);
  if (!fours) return false;
  index.constant /= WORDS;
  const uint32_t lanes = l->lanes, active = l->active;
  l->lanes = l->active = lanes / WORDS;
  const loops_expr *exprs[6], *words[WORDS];
  uint32_t level = 0;
  for (uint32_t i = 0; i < e->n_args; i++) {
    args[i] = i == COUNTER ? cast_value(l, value_of_index(l, &index), DTYPE_U32) : lower_expr(l, e->args[i]);
    exprs[i] = loops_splat(l->loops, share(l, args[i]).expr, l->lanes);
    if (args[i].level > level) level = args[i].level;
  }
  l->lanes = lanes;
  l->active = active;
  expansion x = {l, level, args};
  math_random_words(&(math_builder){l->loops, &x, share_expansion}, exprs, words);
  *out = (operand){loops_node(l->loops, (loops_expr){.kind = LOOPS_INTERLEAVE, .type = DTYPE_U32, .lanes = lanes, .n_args = WORDS, .args = words}), level};
  return true;
}

static operand evaluate_apply(lowering *l, const expr *e) {
  operand args[6];
  if (e->op == OP_RANDOM_BITS && random_neighbours(l, e, &args[0])) return args[0];
  if (e->op == OP_DIV && divide_byte(l, e, &args[0])) return args[0];
  decision holds = decide_truth(l, e->op == OP_SELECT ? e->args[0] : e);
  if (holds != UNDECIDED && e->op == OP_SELECT) return lower_expr(l, e->args[holds == ALWAYS ? 1 : 2]);
  if (e->op == OP_SELECT && lower_branch(l, e, &args[0])) return args[0];
  if (holds != UNDECIDED) return constant_value(l, DTYPE_BOOL, (scalar){.integer = holds == ALWAYS});
  for (uint32_t i = 0; i < e->n_args; i++) args[i] = lower_expr(l, e->args[i]);
  return apply_op(l, e->op, e->type, args, e->n_args);
}

static operand evaluate_anew(lowering *l, const expr *e) {
  affine index;
  if (dtype_is_integer(e->type) && (e->kind == EXPR_AXIS || e->kind == EXPR_APPLY) &&
      affine_of(l, e, AFFINE_ANALYSE, &index))
    return cast_value(l, value_of_index(l, &index), e->type);
  switch (e->kind) {
  case EXPR_CONSTANT: return constant_value(l, e->type, e->constant);
  case EXPR_READ: return read_buffer(l, e);
  case EXPR_STAGE: return evaluate_stage(l, e);
  case EXPR_APPLY: return evaluate_apply(l, e);
  case EXPR_AXIS: break;
  }
  fail_lowering(l, "an axis has no coordinate");
  return constant_value(l, e->type, (scalar){0});
}

operand lower_expr(lowering *l, const expr *e) {
  operand v;
  if (e->kind == EXPR_CONSTANT) return constant_value(l, e->type, e->constant);
  bool reused = is_reused(l, e);
  if (reused && find_known(l, e, e->axes, &v)) return v;
  v = evaluate_anew(l, e);
  if (reused || v.level + 1 < l->depth) v = share(l, v);
  if (reused) add_known(l, e, e->axes, v);
  return v;
}
