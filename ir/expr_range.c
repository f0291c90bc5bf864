/* Ranges of integer expressions, by interval arithmetic from the extents of the axes. Whatever may
 * overflow has the whole range of its type. */
#include "ir/expr.h"

static bool fits(interval inner, interval outer) { return outer.low <= inner.low && inner.high <= outer.high; }

interval dtype_range(dtype t) {
  if (t == DTYPE_BOOL) return (interval){0, 1};
  if (!dtype_is_integer(t) || dtype_bytes(t) == 8) return (interval){INT64_MIN, INT64_MAX};
  int64_t values = (int64_t)1 << (8 * dtype_bytes(t));
  return dtype_is_signed(t) ? (interval){-values / 2, values / 2 - 1} : (interval){0, values - 1};
}

bool interval_is_whole(interval r, dtype t) { return fits(dtype_range(t), r); }

static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }
static int64_t larger(int64_t x, int64_t y) { return x > y ? x : y; }

static interval hull(interval x, interval y) { return (interval){smaller(x.low, y.low), larger(x.high, y.high)}; }

/* -- one rule an op: false when nothing is known ----------------------------------------------------- */

typedef bool range_rule(const expr *e, const interval *x, interval *out);

static bool range_add(const expr *e, const interval *x, interval *out) {
  (void)e;
  return !__builtin_add_overflow(x[0].low, x[1].low, &out->low) &&
         !__builtin_add_overflow(x[0].high, x[1].high, &out->high);
}

static bool range_sub(const expr *e, const interval *x, interval *out) {
  (void)e;
  return !__builtin_sub_overflow(x[0].low, x[1].high, &out->low) &&
         !__builtin_sub_overflow(x[0].high, x[1].low, &out->high);
}

static bool range_mul(const expr *e, const interval *x, interval *out) {
  (void)e;
  int64_t corner[4];
  if (__builtin_mul_overflow(x[0].low, x[1].low, &corner[0]) ||
      __builtin_mul_overflow(x[0].low, x[1].high, &corner[1]) ||
      __builtin_mul_overflow(x[0].high, x[1].low, &corner[2]) ||
      __builtin_mul_overflow(x[0].high, x[1].high, &corner[3]))
    return false;
  *out = hull(hull((interval){corner[0], corner[0]}, (interval){corner[1], corner[1]}),
              hull((interval){corner[2], corner[2]}, (interval){corner[3], corner[3]}));
  return true;
}

static bool range_neg(const expr *e, const interval *x, interval *out) {
  (void)e;
  if (x->low == INT64_MIN) return false;
  *out = (interval){-x->high, -x->low};
  return true;
}

static bool range_abs(const expr *e, const interval *x, interval *out) {
  interval negated;
  if (!range_neg(e, x, &negated)) return false;
  if (x->low >= 0) *out = *x;
  else if (x->high <= 0) *out = negated;
  else *out = (interval){0, larger(x->high, negated.high)};
  return true;
}

static bool range_max(const expr *e, const interval *x, interval *out) {
  (void)e;
  *out = (interval){larger(x[0].low, x[1].low), larger(x[0].high, x[1].high)};
  return true;
}

static bool range_min(const expr *e, const interval *x, interval *out) {
  (void)e;
  *out = (interval){smaller(x[0].low, x[1].low), smaller(x[0].high, x[1].high)};
  return true;
}

static bool range_floor_div(const expr *e, const interval *x, interval *out) {
  (void)e;
  if (x[1].low != x[1].high || x[1].low <= 0) return false;
  *out = (interval){floor_quotient(x[0].low, x[1].low), floor_quotient(x[0].high, x[1].low)};
  return true;
}

static bool range_mod(const expr *e, const interval *x, interval *out) {
  (void)e;
  int64_t by = x[1].low;
  if (x[1].low <= 0) return false;
  int64_t window = floor_quotient(x[0].low, by);
  if (x[1].high == by && floor_quotient(x[0].high, by) == window) {
    int64_t remainder = floor_remainder(x[0].low, by);
    *out = (interval){remainder, remainder + (x[0].high - x[0].low)};
  } else {
    *out = (interval){0, x[1].high - 1};
  }
  return true;
}

static bool range_and(const expr *e, const interval *x, interval *out) {
  (void)e;
  if (x[0].low < 0 && x[1].low < 0) return false;
  int64_t bound = x[0].low < 0 ? x[1].high : x[1].low < 0 ? x[0].high : smaller(x[0].high, x[1].high);
  *out = (interval){0, bound};
  return true;
}

/* No bit beyond the highest of both. */
static bool range_xor(const expr *e, const interval *x, interval *out) {
  (void)e;
  const int64_t bits = x[0].high | x[1].high;
  if (x[0].low < 0 || x[1].low < 0) return false;
  *out = (interval){0, bits ? (int64_t)(UINT64_MAX >> __builtin_clzll((uint64_t)bits)) : 0};
  return true;
}

static bool range_shr(const expr *e, const interval *x, interval *out) {
  (void)e;
  if (x[0].low < 0 || x[1].low != x[1].high || x[1].low < 0 || x[1].low > 62) return false;
  *out = (interval){x[0].low >> x[1].low, x[0].high >> x[1].low};
  return true;
}

static bool range_select(const expr *e, const interval *x, interval *out) {
  (void)e;
  *out = hull(x[1], x[2]);
  return true;
}

static bool range_cast(const expr *e, const interval *x, interval *out) {
  *out = *x;
  return !dtype_is_real(e->args[0]->type);
}

static range_rule *const range_rules[OP_COUNT] = {
    [OP_ADD] = range_add,  [OP_SUB] = range_sub, [OP_MUL] = range_mul, [OP_NEG] = range_neg,
    [OP_ABS] = range_abs,  [OP_MAX] = range_max, [OP_MIN] = range_min, [OP_FLOOR_DIV] = range_floor_div,
    [OP_MOD] = range_mod,  [OP_AND] = range_and, [OP_SHR] = range_shr, [OP_SELECT] = range_select,
    [OP_CAST] = range_cast, [OP_XOR] = range_xor};

static interval range_of_apply(const expr *e, interval whole) {
  interval x[3], out;
  range_rule *rule = range_rules[e->op];
  if (!rule) return whole;
  for (uint32_t i = 0; i < e->n_args; i++) x[i] = e->args[i]->range;
  return rule(e, x, &out) && fits(out, whole) ? out : whole;
}

/* What a reduction carries from one round of its loop to the next has the range of its type: loops that are verified later
 * know no more of it. */
static interval range_of_stage(const stage *s, interval whole) { return s->monoid == MONOID_NONE ? s->body->range : whole; }

interval expr_range_of(const kernel *k, const expr *e) {
  interval whole = dtype_range(e->type);
  if (dtype_is_real(e->type)) return whole;
  switch (e->kind) {
  case EXPR_CONSTANT: return (interval){e->constant.integer, e->constant.integer};
  case EXPR_AXIS: return (interval){0, larger(k->axes[e->number].extent - 1, 0)};
  case EXPR_STAGE: return range_of_stage(&k->stages[e->number], whole);
  case EXPR_APPLY: return range_of_apply(e, whole);
  case EXPR_READ: break;
  }
  return whole;
}

interval expr_interval(const kernel *k, const expr *e) {
  (void)k;
  return e->range;
}

bool expr_affine(const kernel *k, const expr *e, int64_t coefficient[MAX_AXES], int64_t *offset) {
  index_sum s = {.n = 0};
  if (e->type != DTYPE_I64 || !sum_accumulate(&s, e, 1)) return false;
  for (uint32_t i = 0; i < k->n_axes; i++) coefficient[i] = 0;
  for (uint32_t i = 0; i < s.n; i++) {
    if (s.term[i].atom->kind != EXPR_AXIS) return false;
    coefficient[s.term[i].atom->number] = s.term[i].coefficient;
  }
  *offset = s.offset;
  return true;
}

interval op_range(op_id op, dtype result, const dtype *types, const interval *ranges, uint32_t n) {
  expr stand_ins[3], e = {.kind = EXPR_APPLY, .op = op, .type = result, .n_args = n};
  const expr *args[3];
  if (n > 3) return dtype_range(result);
  for (uint32_t i = 0; i < n; i++) {
    stand_ins[i] = (expr){.kind = EXPR_AXIS, .type = types[i], .range = ranges[i]};
    args[i] = &stand_ins[i];
  }
  e.args = args;
  return expr_range_of(NULL, &e);
}
