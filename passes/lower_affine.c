/* Coordinates as affine forms, what range they have, and which conditions that decides. */
#include "passes/lower.h"

#include "ir/expr.h"

affine affine_constant(int64_t v) { return (affine){.constant = v}; }

affine affine_register(uint32_t number, int64_t coefficient) {
  return (affine){.n = 1, .term[0] = {number, coefficient}};
}

bool affine_add(affine *a, const affine *b, int64_t factor) {
  affine sum = {.constant = a->constant + factor * b->constant, .lane = a->lane + factor * b->lane};
  uint32_t i = 0, j = 0;
  while (i < a->n || j < b->n) {
    uint32_t x = i < a->n ? a->term[i].number : UINT32_MAX, y = j < b->n ? b->term[j].number : UINT32_MAX;
    int64_t coefficient = x <= y ? a->term[i].coefficient : 0;
    if (y <= x) coefficient += factor * b->term[j].coefficient;
    uint32_t number = x < y ? x : y;
    i += x == number;
    j += y == number;
    if (!coefficient) continue;
    if (sum.n == AFFINE_TERMS) return false;
    sum.term[sum.n].number = number;
    sum.term[sum.n++].coefficient = coefficient;
  }
  *a = sum;
  return true;
}

static interval term_range(const lowering *l, uint32_t number) {
  if (number & AXIS_TO_COME) return (interval){0, l->axis[number & ~AXIS_TO_COME].left - 1};
  return l->registers[number].range;
}

static int64_t saturate(__int128 v) { return v < INT64_MIN ? INT64_MIN : v > INT64_MAX ? INT64_MAX : (int64_t)v; }

static void widen(__int128 *low, __int128 *high, interval r, int64_t factor) {
  __int128 x = (__int128)r.low * factor, y = (__int128)r.high * factor;
  *low += x < y ? x : y;
  *high += x < y ? y : x;
}

static interval terms_range(const lowering *l, const affine *a) {
  __int128 low = 0, high = 0;
  for (uint32_t i = 0; i < a->n; i++) widen(&low, &high, term_range(l, a->term[i].number), a->term[i].coefficient);
  widen(&low, &high, (interval){0, l->active ? l->active - 1 : 0}, a->lane);
  return (interval){saturate(low), saturate(high)};
}

interval affine_range(const lowering *l, const affine *a) {
  interval r = terms_range(l, a);
  return (interval){saturate((__int128)r.low + a->constant), saturate((__int128)r.high + a->constant)};
}

/* -- identity --------------------------------------------------------------------------------------------- */

typedef struct coordinate_entry {
  affine at;
  uint32_t active;
} coordinate_entry;

struct coordinate_table {
  coordinate_entry *entries;
  uint32_t n, capacity;
  uint32_t *slots; /* entry number + 1, open addressing */
  uint32_t n_slots;
};

static uint64_t affine_hash(const affine *a, uint32_t active) {
  uint64_t h = (uint64_t)a->constant * 0x9E3779B97F4A7C15u ^ (uint64_t)a->lane * 0xC2B2AE3D27D4EB4Fu ^ active;
  for (uint32_t i = 0; i < a->n; i++)
    h = (h ^ a->term[i].number ^ (uint64_t)a->term[i].coefficient << 32) * 0x100000001B3u;
  return h ^ h >> 29;
}

static bool affine_equal(const affine *a, const affine *b) {
  if (a->constant != b->constant || a->lane != b->lane || a->n != b->n) return false;
  for (uint32_t i = 0; i < a->n; i++)
    if (a->term[i].number != b->term[i].number || a->term[i].coefficient != b->term[i].coefficient) return false;
  return true;
}

static uint32_t *coordinate_slot(struct coordinate_table *t, const affine *a, uint32_t active) {
  uint32_t i = (uint32_t)affine_hash(a, active) & (t->n_slots - 1);
  while (t->slots[i]) {
    const coordinate_entry *e = &t->entries[t->slots[i] - 1];
    if (e->active == active && affine_equal(&e->at, a)) break;
    i = (i + 1) & (t->n_slots - 1);
  }
  return &t->slots[i];
}

uint32_t affine_id(lowering *l, const affine *a) {
  if (!l->coordinates) l->coordinates = ARENA_NEW(l->arena, struct coordinate_table);
  struct coordinate_table *t = l->coordinates;
  uint32_t active = a->lane ? l->active : 0;
  if (2 * t->n >= t->n_slots) {
    t->n_slots = t->n_slots ? 2 * t->n_slots : 256;
    t->slots = ARENA_ARRAY(l->arena, uint32_t, t->n_slots);
    for (uint32_t i = 0; i < t->n; i++) *coordinate_slot(t, &t->entries[i].at, t->entries[i].active) = i + 1;
  }
  uint32_t *slot = coordinate_slot(t, a, active);
  if (!*slot) {
    *ARENA_PUSH(l->arena, t->entries, t->n, t->capacity) = (coordinate_entry){*a, active};
    *slot = t->n;
  }
  return *slot;
}

/* -- division --------------------------------------------------------------------------------------------- */

static void divide_into_registers(lowering *l, const affine *a, int64_t by, affine *quotient, affine *rest) {
  operand known[2];
  const uint32_t ids[2][3] = {{affine_id(l, a), (uint32_t)by, 0}, {affine_id(l, a), (uint32_t)by, 1}};
  const void *name = &l->coordinates;
  if (!find_known_by(l, name, ids[0], 3, &known[0]) || !find_known_by(l, name, ids[1], 3, &known[1])) {
    interval r = affine_range(l, a);
    operand whole = share(l, emit_affine(l, a)), divisor = constant_value(l, DTYPE_I64, (scalar){.integer = by});
    known[0] = share(l, apply_op(l, OP_FLOOR_DIV, DTYPE_I64, (operand[]){whole, divisor}, 2));
    operand product = apply_op(l, OP_MUL, DTYPE_I64, (operand[]){known[0], divisor}, 2);
    known[1] = share(l, apply_op(l, OP_SUB, DTYPE_I64, (operand[]){whole, product}, 2));
    l->registers[known[0].expr->number].range = (interval){floor_quotient(r.low, by), floor_quotient(r.high, by)};
    l->registers[known[1].expr->number].range = (interval){0, by - 1};
    for (int i = 0; i < 2; i++) add_known_by(l, name, ids[i], 3, known[i]);
  }
  *quotient = affine_register(known[0].expr->number, 1);
  *rest = affine_register(known[1].expr->number, 1);
}

static int64_t greatest_common_divisor(int64_t x, int64_t y) {
  while (y) {
    const int64_t rest = x % y;
    x = y;
    y = rest;
  }
  return x < 0 ? -x : x;
}

/* Lanes that end between the same two multiples of `by`, wherever the terms are: these move them by multiples of a common divisor,
 * `step`, and lanes do not cross one of those. So the terms are divided, in steps, and the lanes are part of the rest. */
static bool divide_beside_lanes(lowering *l, const affine *a, int64_t by, affine_mode mode, affine *quotient, affine *rest) {
  affine steps = *a, left;
  int64_t step = by;
  for (uint32_t i = 0; i < a->n; i++) step = greatest_common_divisor(step, a->term[i].coefficient);
  steps.constant = floor_quotient(a->constant, step);
  steps.lane = 0;
  *rest = affine_constant(a->constant - steps.constant * step);
  const int64_t last = rest->constant + a->lane * ((int64_t)l->lanes - 1);
  if (last < 0 || last >= step) return false;
  rest->lane = a->lane;
  for (uint32_t i = 0; i < a->n; i++) steps.term[i].coefficient /= step;
  return affine_divide(l, &steps, by / step, mode, quotient, &left) && affine_add(rest, &left, step);
}

/* What all terms and the divisor have in common. */
static int64_t common_factor(const affine *a, int64_t by) {
  int64_t common = by;
  for (uint32_t i = 0; i < a->n; i++) common = greatest_common_divisor(common, a->term[i].coefficient);
  return common;
}

static affine over(const affine *a, int64_t factor) {
  affine out = *a;
  out.constant = floor_quotient(a->constant, factor);
  for (uint32_t i = 0; i < out.n; i++) out.term[i].coefficient /= factor;
  return out;
}

/* Terms that `by` divides leave the division; when the others together stay between two multiples of
 * `by`, their part of the quotient is a constant. */
bool affine_divide(lowering *l, const affine *a, int64_t by, affine_mode mode, affine *quotient, affine *rest) {
  affine divided = {0}, others = {.constant = a->constant};
  if (by == 1) {
    *quotient = *a;
    *rest = affine_constant(0);
    return true;
  }
  for (uint32_t i = 0; i < a->n; i++) {
    bool divides = a->term[i].coefficient % by == 0;
    affine *to = divides ? &divided : &others;
    to->term[to->n] = a->term[i];
    to->term[to->n++].coefficient /= divides ? by : 1;
  }
  if (a->lane % by == 0) divided.lane = a->lane / by;
  else others.lane = a->lane;
  interval r = affine_range(l, &others);
  int64_t window = floor_quotient(r.low, by);
  affine q, remainder;
  if (window == floor_quotient(r.high, by)) {
    q = affine_constant(window);
    remainder = others;
    remainder.constant -= window * by;
  } else if (others.lane) {
    if (!divide_beside_lanes(l, &others, by, mode, &q, &remainder)) return false;
  } else if (mode == AFFINE_ANALYSE) {
    return false;
  } else if (mode == AFFINE_PROBE) {
    q = remainder = affine_constant(0);
  } else {
    /* What all terms and `by` have in common is known of the rest, to which the constant gives what it has below that. */
    const int64_t common = common_factor(&others, by);
    const affine smaller = over(&others, common);
    affine part;
    divide_into_registers(l, &smaller, by / common, &q, &part);
    remainder = affine_constant(others.constant - smaller.constant * common);
    affine_add(&remainder, &part, common);
  }
  *quotient = divided;
  *rest = remainder;
  return affine_add(quotient, &q, 1);
}

/* -- expressions ------------------------------------------------------------------------------------------ */

static bool opaque(lowering *l, const expr *e, affine_mode mode, affine *out) {
  if (mode == AFFINE_ANALYSE) return false;
  *out = affine_constant(0);
  if (mode == AFFINE_PROBE) return l->vector_axis < 0 || !(e->axes >> l->vector_axis & 1);
  operand v = lower_expr(l, e);
  if (v.expr->lanes > 1 || l->error) return false;
  interval r = range_of(l, e);
  if (v.expr->kind == LOOPS_CONSTANT) {
    *out = affine_constant(v.expr->constant.integer);
    return true;
  }
  v = share(l, cast_value(l, v, DTYPE_I64));
  interval *known = &l->registers[v.expr->number].range;
  if (r.low > known->low) known->low = r.low;
  if (r.high < known->high) known->high = r.high;
  *out = affine_register(v.expr->number, 1);
  return true;
}

static bool is_constant(const expr *e) { return e->kind == EXPR_CONSTANT; }

static bool affine_of_apply(lowering *l, const expr *e, affine_mode mode, affine *out) {
  affine y, rest;
  switch (e->op) {
  case OP_ADD:
  case OP_SUB:
    return affine_of(l, e->args[0], mode, out) && affine_of(l, e->args[1], mode, &y) &&
           affine_add(out, &y, e->op == OP_ADD ? 1 : -1);
  case OP_NEG: *out = affine_constant(0); return affine_of(l, e->args[0], mode, &y) && affine_add(out, &y, -1);
  case OP_MUL: {
    const expr *factor = is_constant(e->args[0]) ? e->args[0] : e->args[1];
    const expr *other = factor == e->args[0] ? e->args[1] : e->args[0];
    *out = affine_constant(0);
    return is_constant(factor) && affine_of(l, other, mode, &y) && affine_add(out, &y, factor->constant.integer);
  }
  case OP_FLOOR_DIV:
  case OP_MOD: {
    const expr *by = e->args[1];
    if (!is_constant(by) || by->constant.integer <= 0 || by->constant.integer > INT32_MAX) return false;
    if (!affine_of(l, e->args[0], mode, &y)) return false;
    return e->op == OP_MOD ? affine_divide(l, &y, by->constant.integer, mode, &rest, out)
                           : affine_divide(l, &y, by->constant.integer, mode, out, &rest);
  }
  case OP_CAST: return dtype_is_integer(e->args[0]->type) && affine_of(l, e->args[0], mode, out);
  default: return false;
  }
}

/* What does not fit its type wraps, and is no affine form. */
static bool in_type(const lowering *l, const affine *a, dtype t) {
  interval r = affine_range(l, a), whole = dtype_range(t);
  return whole.low <= r.low && r.high <= whole.high;
}

bool affine_of(lowering *l, const expr *e, affine_mode mode, affine *out) {
  if (!dtype_is_integer(e->type)) return false;
  for (uint32_t i = 0; i < l->n_facts; i++)
    if (l->facts[i].condition->subject == e) {
      *out = affine_register(l->facts[i].pinned, 1);
      return true;
    }
  if (e->kind == EXPR_CONSTANT) {
    *out = affine_constant(e->constant.integer);
    return true;
  }
  if (e->kind == EXPR_AXIS) {
    affine to_come = affine_register(AXIS_TO_COME | e->number, 1);
    *out = l->axis[e->number].at;
    if (l->axis[e->number].left <= 1) return true;
    if (mode == AFFINE_EMIT) fail_lowering(l, "an axis is not scheduled down to step 1");
    return affine_add(out, &to_come, 1);
  }
  if (e->kind == EXPR_APPLY && affine_of_apply(l, e, mode, out)) return in_type(l, out, e->type);
  return opaque(l, e, mode, out);
}

interval range_of(lowering *l, const expr *e) {
  affine a;
  interval r = expr_interval(l->kernel, e), inner = r;
  if (affine_of(l, e, AFFINE_ANALYSE, &a)) {
    inner = affine_range(l, &a);
  } else if (e->kind == EXPR_APPLY && e->n_args <= 3) {
    interval ranges[3];
    dtype types[3];
    for (uint32_t i = 0; i < e->n_args; i++) {
      types[i] = e->args[i]->type;
      ranges[i] = range_of(l, e->args[i]);
    }
    inner = op_range(e->op, e->type, types, ranges, e->n_args);
  }
  return (interval){inner.low > r.low ? inner.low : r.low, inner.high < r.high ? inner.high : r.high};
}

/* -- decisions -------------------------------------------------------------------------------------------- */

static decision decide_divisible(lowering *l, const condition *c) {
  affine a;
  if (c->divisor == 1) return ALWAYS;
  if (!affine_of(l, c->subject, AFFINE_ANALYSE, &a)) return UNDECIDED;
  if (a.lane % c->divisor) return UNDECIDED;
  for (uint32_t i = 0; i < a.n; i++)
    if (a.term[i].coefficient % c->divisor) return UNDECIDED;
  return a.constant % c->divisor ? NEVER : ALWAYS;
}

decision decide_condition(lowering *l, const condition *c) {
  for (uint32_t i = 0; i < l->n_facts; i++) {
    const condition *tested = l->facts[i].condition;
    if (tested->subject == c->subject && tested->low >= c->low && tested->high <= c->high &&
        tested->divisor == c->divisor)
      return ALWAYS;
  }
  interval r = range_of(l, c->subject);
  decision divisible = decide_divisible(l, c);
  if (divisible == NEVER || r.high < c->low || r.low >= c->high) return NEVER;
  return divisible == ALWAYS && c->low <= r.low && r.high < c->high ? ALWAYS : UNDECIDED;
}

static decision decide_conjunction(lowering *l, const expr *e, decision deciding) {
  decision x = decide_truth(l, e->args[0]), y = decide_truth(l, e->args[1]);
  decision other = deciding == NEVER ? ALWAYS : NEVER;
  if (x == deciding || y == deciding) return deciding;
  return x == other && y == other ? other : UNDECIDED;
}

decision decide_truth(lowering *l, const expr *e) {
  for (uint32_t i = 0; i < l->n_equalities; i++)
    if (e == l->equalities[i]) return ALWAYS;
  if (e->kind == EXPR_CONSTANT) return e->constant.integer ? ALWAYS : NEVER;
  if (e->kind != EXPR_APPLY || e->type != DTYPE_BOOL) return UNDECIDED;
  if (e->op == OP_AND) return decide_conjunction(l, e, NEVER);
  if (e->op == OP_OR) return decide_conjunction(l, e, ALWAYS);
  if (op_table[e->op].rule != RULE_COMPARE || !dtype_is_integer(e->args[0]->type)) return UNDECIDED;
  interval x = range_of(l, e->args[0]), y = range_of(l, e->args[1]);
  switch (e->op) {
  case OP_LT: return x.high < y.low ? ALWAYS : x.low >= y.high ? NEVER : UNDECIDED;
  case OP_LE: return x.high <= y.low ? ALWAYS : x.low > y.high ? NEVER : UNDECIDED;
  default:
    if (x.high < y.low || y.high < x.low) return NEVER;
    return x.low == x.high && y.low == y.high && x.low == y.low ? ALWAYS : UNDECIDED;
  }
}

void bind_axis(lowering *l, uint32_t axis, const affine *step, int64_t left) {
  coordinate *c = &l->axis[axis];
  if (!affine_add(&c->at, step, 1)) fail_lowering(l, "too many loops over one axis");
  c->left = left;
  c->id = affine_id(l, &c->at);
}
