/* Identities of elementwise ops that hold exactly, NaN, infinities and the sign of zero included: one
 * row an op. What a rule gives is equal to the op of the arguments in every bit (payloads of NaN aside). */
#include "ir/expr.h"

typedef const expr *simplifier(kernel *k, dtype result, const expr *const *x);

static bool is_real(const expr *e) { return dtype_is_real(e->type); }
static bool is_index(const expr *e) { return e->type == DTYPE_I64; }
static bool is_constant(const expr *e) { return e->kind == EXPR_CONSTANT; }
static bool is_integer(const expr *e, int64_t v) { return is_constant(e) && !is_real(e) && e->constant.integer == v; }
static bool is_number(const expr *e, double v) { /* tells zeros apart */
  return is_constant(e) && is_real(e) && !memcmp(&e->constant.real, &v, sizeof v);
}

static const expr *truth(kernel *k, bool v) { return expr_constant(k, DTYPE_BOOL, (scalar){.integer = v}); }

/* Arguments of integer ops that commute stand in order, so that equal expressions meet. */
static const expr *in_order(kernel *k, op_id op, dtype result, const expr *const *x) {
  if (is_real(x[0]) || expr_order(x[0], x[1]) <= 0) return NULL;
  const expr *swapped[] = {x[1], x[0]};
  return expr_intern_apply(k, op, result, swapped, 2);
}

static const expr *simplify_add(kernel *k, dtype result, const expr *const *x) {
  if (is_index(x[0])) return expr_add(k, x[0], x[1]);
  if (is_integer(x[1], 0) || is_number(x[1], -0.0)) return x[0]; /* x + 0 turns -0 into 0 */
  if (is_integer(x[0], 0) || is_number(x[0], -0.0)) return x[1];
  return in_order(k, OP_ADD, result, x);
}

static const expr *simplify_sub(kernel *k, dtype result, const expr *const *x) {
  (void)result;
  if (is_index(x[0])) return expr_add(k, x[0], expr_scale(k, x[1], -1));
  return is_integer(x[1], 0) || is_number(x[1], 0.0) ? x[0] : NULL;
}

static const expr *simplify_mul(kernel *k, dtype result, const expr *const *x) {
  if (is_index(x[0]) && is_constant(x[1])) return expr_scale(k, x[0], x[1]->constant.integer);
  if (is_index(x[0]) && is_constant(x[0])) return expr_scale(k, x[1], x[0]->constant.integer);
  if (is_integer(x[1], 1) || is_number(x[1], 1.0) || is_integer(x[0], 0)) return x[0];
  if (is_integer(x[0], 1) || is_number(x[0], 1.0) || is_integer(x[1], 0)) return x[1];
  return in_order(k, OP_MUL, result, x);
}

static const expr *simplify_div(kernel *k, dtype result, const expr *const *x) {
  (void)k, (void)result;
  return is_number(x[1], 1.0) ? x[0] : NULL;
}

static const expr *simplify_neg(kernel *k, dtype result, const expr *const *x) {
  (void)result;
  if (is_index(x[0])) return expr_scale(k, x[0], -1);
  return is_apply(x[0], OP_NEG) ? x[0]->args[0] : NULL;
}

static const expr *simplify_abs(kernel *k, dtype result, const expr *const *x) {
  (void)k, (void)result;
  return is_apply(x[0], OP_ABS) || (!is_real(x[0]) && x[0]->range.low >= 0) ? x[0] : NULL;
}

static const expr *simplify_max(kernel *k, dtype result, const expr *const *x) {
  if (x[0] == x[1]) return x[0];
  if (!is_real(x[0]) && x[0]->range.low >= x[1]->range.high) return x[0];
  if (!is_real(x[0]) && x[1]->range.low >= x[0]->range.high) return x[1];
  return in_order(k, OP_MAX, result, x);
}

static const expr *simplify_min(kernel *k, dtype result, const expr *const *x) {
  if (x[0] == x[1]) return x[0];
  if (!is_real(x[0]) && x[0]->range.high <= x[1]->range.low) return x[0];
  if (!is_real(x[0]) && x[1]->range.high <= x[0]->range.low) return x[1];
  return in_order(k, OP_MIN, result, x);
}

static const expr *simplify_floor_div(kernel *k, dtype result, const expr *const *x) {
  (void)result;
  if (is_index(x[0]) && is_constant(x[1]) && x[1]->constant.integer > 0)
    return expr_divide(k, x[0], x[1]->constant.integer);
  return is_integer(x[1], 1) ? x[0] : NULL;
}

static const expr *simplify_mod(kernel *k, dtype result, const expr *const *x) {
  if (is_index(x[0]) && is_constant(x[1]) && x[1]->constant.integer > 0)
    return expr_modulo(k, x[0], x[1]->constant.integer);
  if (!is_real(x[0]) && x[0]->range.low >= 0 && x[0]->range.high < x[1]->range.low) return x[0];
  return is_integer(x[1], 1) ? expr_constant(k, result, (scalar){.integer = 0}) : NULL;
}

/* x - y, to compare better than by two ranges: false when it may overflow. */
static bool difference(kernel *k, const expr *const *x, interval *out) {
  const int64_t safe = (int64_t)1 << 61;
  if (!is_index(x[0])) return false;
  for (int i = 0; i < 2; i++)
    if (x[i]->range.low < -safe || x[i]->range.high > safe) return false;
  *out = expr_add(k, x[0], expr_scale(k, x[1], -1))->range;
  return !interval_is_whole(*out, DTYPE_I64);
}

/* The range of x - y, or of a stand-in with the same signs. */
static bool compared(kernel *k, const expr *const *x, interval *out) {
  if (is_real(x[0])) return false;
  if (x[0] == x[1]) *out = (interval){0, 0};
  else if (x[0]->range.high < x[1]->range.low) *out = (interval){-1, -1};
  else if (x[0]->range.low > x[1]->range.high) *out = (interval){1, 1};
  else if (x[0]->range.high <= x[1]->range.low) *out = (interval){-1, 0};
  else if (x[0]->range.low >= x[1]->range.high) *out = (interval){0, 1};
  else return difference(k, x, out);
  return true;
}

static const expr *simplify_lt(kernel *k, dtype result, const expr *const *x) {
  (void)result;
  interval sign;
  if (!compared(k, x, &sign) || (sign.low < 0 && sign.high >= 0)) return NULL;
  return truth(k, sign.high < 0);
}

static const expr *simplify_le(kernel *k, dtype result, const expr *const *x) {
  (void)result;
  interval sign;
  if (!compared(k, x, &sign) || (sign.low <= 0 && sign.high > 0)) return NULL;
  return truth(k, sign.high <= 0);
}

static const expr *simplify_eq(kernel *k, dtype result, const expr *const *x) {
  interval sign;
  if (compared(k, x, &sign)) {
    if (sign.high < 0 || sign.low > 0) return truth(k, false);
    if (sign.low == 0 && sign.high == 0) return truth(k, true);
  }
  return in_order(k, OP_EQ, result, x);
}

/* The value of a constant whose bits of that type are all ones. */
static bool is_all_ones(const expr *e) {
  if (e->type == DTYPE_BOOL) return is_integer(e, 1);
  return is_integer(e, dtype_is_signed(e->type) ? -1 : dtype_range(e->type).high);
}

static const expr *simplify_and(kernel *k, dtype result, const expr *const *x) {
  if (x[0] == x[1] || is_all_ones(x[1]) || is_integer(x[0], 0)) return x[0];
  if (is_all_ones(x[0]) || is_integer(x[1], 0)) return x[1];
  return in_order(k, OP_AND, result, x);
}

static const expr *simplify_or(kernel *k, dtype result, const expr *const *x) {
  if (x[0] == x[1] || is_all_ones(x[0]) || is_integer(x[1], 0)) return x[0];
  if (is_all_ones(x[1]) || is_integer(x[0], 0)) return x[1];
  return in_order(k, OP_OR, result, x);
}

static const expr *simplify_xor(kernel *k, dtype result, const expr *const *x) {
  if (x[0] == x[1]) return expr_constant(k, result, (scalar){.integer = 0});
  if (is_integer(x[1], 0)) return x[0];
  return is_integer(x[0], 0) ? x[1] : in_order(k, OP_XOR, result, x);
}

static const expr *simplify_shift(kernel *k, dtype result, const expr *const *x) {
  (void)k, (void)result;
  return is_integer(x[1], 0) ? x[0] : NULL;
}

static const expr *simplify_select(kernel *k, dtype result, const expr *const *x) {
  (void)k;
  if (is_constant(x[0])) return x[0]->constant.integer ? x[1] : x[2];
  if (x[1] == x[2]) return x[1];
  return result == DTYPE_BOOL && is_integer(x[1], 1) && is_integer(x[2], 0) ? x[0] : NULL;
}

/* Does `wide` hold every value of x exactly? */
static bool holds(dtype wide, const expr *x) {
  if (wide == x->type) return true;
  if (is_real(x)) return dtype_is_real(wide) && dtype_bytes(wide) > dtype_bytes(x->type);
  interval r = x->range, w = dtype_range(wide);
  if (!dtype_is_real(wide)) return wide != DTYPE_BOOL && w.low <= r.low && r.high <= w.high;
  static const int significand[DTYPE_COUNT] = {[DTYPE_BF16] = 8, [DTYPE_F32] = 24, [DTYPE_F64] = 53};
  int64_t exact = (int64_t)1 << significand[wide];
  return -exact <= r.low && r.high <= exact;
}

/* An i32 expression over axes and constants, computed in i64; NULL when it reads memory or could wrap.
 * Graphs compute indices in i32: with this, those that come from iota are affine again. */
static const expr *widened(kernel *k, const expr *e) {
  if (is_constant(e)) return expr_integer(k, e->constant.integer);
  if (e->kind != EXPR_APPLY || is_real(e) || interval_is_whole(e->range, e->type)) return NULL;
  if (e->op == OP_CAST) return is_index(e->args[0]) && holds(e->type, e->args[0]) ? e->args[0] : NULL;
  static const bool widens[OP_COUNT] = {[OP_ADD] = true, [OP_SUB] = true, [OP_MUL] = true,       [OP_NEG] = true,
                                        [OP_MAX] = true, [OP_MIN] = true, [OP_FLOOR_DIV] = true, [OP_MOD] = true};
  if (!widens[e->op]) return NULL;
  const expr *args[2];
  for (uint32_t i = 0; i < e->n_args; i++)
    if (!(args[i] = widened(k, e->args[i]))) return NULL;
  const expr *wide = expr_apply(k, e->op, DTYPE_I64, args, e->n_args);
  return holds(e->type, wide) ? wide : NULL;
}

static const expr *simplify_cast(kernel *k, dtype result, const expr *const *x) {
  if (x[0]->type == result) return x[0];
  if (is_apply(x[0], OP_CAST) && holds(x[0]->type, x[0]->args[0])) {
    const expr *inner = x[0]->args[0];
    /* a narrow integer is the cheaper source for a conversion to real */
    bool narrowed = dtype_is_real(result) && dtype_bytes(x[0]->type) < dtype_bytes(inner->type);
    if (!narrowed) return expr_apply(k, OP_CAST, result, &inner, 1);
  }
  return result == DTYPE_I64 && !is_real(x[0]) ? widened(k, x[0]) : NULL;
}

static const expr *simplify_bitcast(kernel *k, dtype result, const expr *const *x) {
  if (x[0]->type == result) return x[0];
  return is_apply(x[0], OP_BITCAST) ? expr_apply(k, OP_BITCAST, result, x[0]->args, 1) : NULL;
}

static const expr *simplify_stop_grad(kernel *k, dtype result, const expr *const *x) {
  (void)k, (void)result;
  return x[0]; /* nothing is differentiated at this level */
}

static simplifier *const simplifiers[OP_COUNT] = {[OP_ADD] = simplify_add,
                                                  [OP_SUB] = simplify_sub,
                                                  [OP_MUL] = simplify_mul,
                                                  [OP_DIV] = simplify_div,
                                                  [OP_NEG] = simplify_neg,
                                                  [OP_ABS] = simplify_abs,
                                                  [OP_MAX] = simplify_max,
                                                  [OP_MIN] = simplify_min,
                                                  [OP_FLOOR_DIV] = simplify_floor_div,
                                                  [OP_MOD] = simplify_mod,
                                                  [OP_LT] = simplify_lt,
                                                  [OP_LE] = simplify_le,
                                                  [OP_EQ] = simplify_eq,
                                                  [OP_AND] = simplify_and,
                                                  [OP_OR] = simplify_or,
                                                  [OP_XOR] = simplify_xor,
                                                  [OP_SHL] = simplify_shift,
                                                  [OP_SHR] = simplify_shift,
                                                  [OP_SELECT] = simplify_select,
                                                  [OP_CAST] = simplify_cast,
                                                  [OP_BITCAST] = simplify_bitcast,
                                                  [OP_STOP_GRAD] = simplify_stop_grad};

const expr *expr_simplify(kernel *k, op_id op, dtype result, const expr *const *args, uint32_t n) {
  (void)n;
  return simplifiers[op] ? simplifiers[op](k, result, args) : NULL;
}
