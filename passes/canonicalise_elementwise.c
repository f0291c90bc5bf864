#include <math.h>

#include "passes/canonicalise.h"

/* An elementwise node at hand, with what rules ask about first. */
typedef struct {
  canonical *c;
  graph *g;
  value v, x, y, z;
  dtype type; /* of x; of y for select */
  span where;
  bool x_known, y_known; /* a constant everywhere: */
  scalar x_splat, y_splat;
} candidate;

typedef value elementwise_rule(const candidate *n);

static value unary(const candidate *n, op_id op, value x) { return settle(n->c, graph_unary(n->g, op, x, n->where)); }

static value binary(const candidate *n, op_id op, value x, value y) {
  return settle(n->c, graph_binary(n->g, op, x, y, n->where));
}

static bool splat_is(const candidate *n, scalar s, double number) {
  return dtype_is_real(n->type) ? s.real == number : (double)s.integer == number;
}

static bool y_is(const candidate *n, double number) { return n->y_known && splat_is(n, n->y_splat, number); }
static bool x_is(const candidate *n, double number) { return n->x_known && splat_is(n, n->x_splat, number); }

/* x when v = -x, else 0. */
static value negated(const candidate *n, value v) {
  const node *neg = node_if(n->c, v, OP_NEG);
  return neg ? neg->operands[0] : 0;
}

static value negative_splat(const candidate *n, value like, scalar s) {
  return splat_of(n->c, like, op_evaluate(OP_NEG, n->type, n->type, &s));
}

/* Factors with which a product neither overflows nor vanishes that did not before, but at the ends of the range. */
static bool is_moderate(scalar s) { return fabs(s.real) >= 0x1p-24 && fabs(s.real) <= 0x1p24; }

/* (x op a) op b = x op (a op b): exact for integers, which wrap; of reals products with moderate factors. */
static value reassociate(const candidate *n, op_id op) {
  const node *inner = node_if(n->c, n->x, op);
  scalar s[2] = {{0}, n->y_splat};
  if (!inner || !n->y_known || !graph_splat_value(n->g, inner->operands[1], &s[0])) return 0;
  if (dtype_is_real(n->type) && !(op == OP_MUL && is_moderate(s[0]) && is_moderate(s[1]))) return 0;
  return binary(n, op, inner->operands[0], splat_of(n->c, n->v, op_evaluate(op, n->type, n->type, s)));
}

/* (x a) y = (x y) a and x (y a) = (x y) a of reals, where nothing else uses what is scaled, so that constants meet. */
static value scale_later(const candidate *n, bool second) {
  const value scaled = second ? n->y : n->x;
  const node *product = dtype_is_real(n->type) && used_once(n->c, scaled) ? node_if(n->c, scaled, OP_MUL) : NULL;
  scalar by;
  if (!product || !graph_splat_value(n->g, product->operands[1], &by) || !is_moderate(by)) return 0;
  const value of = product->operands[0];
  return binary(n, OP_MUL, binary(n, OP_MUL, second ? n->x : of, second ? of : n->y), splat_of(n->c, n->v, by));
}

static value swap_constant(const candidate *n) {
  return n->x_known && !n->y_known ? binary(n, graph_node(n->g, n->v)->op, n->y, n->x) : 0;
}

static value rule_add(const candidate *n) {
  if (y_is(n, 0)) return n->x;
  if (n->x_known && !n->y_known) return swap_constant(n);
  if (negated(n, n->y)) return binary(n, OP_SUB, n->x, negated(n, n->y));
  if (negated(n, n->x)) return binary(n, OP_SUB, n->y, negated(n, n->x));
  return reassociate(n, OP_ADD);
}

static value rule_sub(const candidate *n) {
  if (y_is(n, 0)) return n->x;
  if (x_is(n, 0)) return unary(n, OP_NEG, n->y);
  if (negated(n, n->y)) return binary(n, OP_ADD, n->x, negated(n, n->y));
  return 0;
}

/* (b / s) * s of bytes: b, if that is what comes out for each of them. */
static value scaled_back(const candidate *n) {
  const node *ratio = node_if(n->c, n->x, OP_DIV), *bytes = ratio ? node_if(n->c, ratio->operands[0], OP_CAST) : NULL;
  scalar by[2];
  if (!bytes || !n->y_known || graph_type(n->g, bytes->operands[0])->dtype != DTYPE_U8 || !graph_splat_value(n->g, ratio->operands[1], &by[1])) return 0;
  for (int b = 0; b < 256; b++) {
    scalar back[2] = {{0}, n->y_splat};
    by[0] = scalar_convert(DTYPE_U8, n->type, (scalar){.integer = b});
    back[0] = op_evaluate(OP_DIV, n->type, n->type, by);
    if (op_evaluate(OP_MUL, n->type, n->type, back).real != by[0].real) return 0;
  }
  return ratio->operands[0];
}

static value rule_mul(const candidate *n) {
  if (y_is(n, 1)) return n->x;
  if (n->x_known && !n->y_known) return swap_constant(n);
  const value bytes = scaled_back(n);
  if (bytes) return bytes;
  if (y_is(n, -1)) return unary(n, OP_NEG, n->x);
  /* Of integers only: 0 * NaN is NaN. */
  if (y_is(n, 0) && !dtype_is_real(n->type)) return n->y;
  const value minus_x = negated(n, n->x), minus_y = negated(n, n->y);
  if (minus_x && minus_y) return binary(n, OP_MUL, minus_x, minus_y);
  if (minus_x && n->y_known) return binary(n, OP_MUL, minus_x, negative_splat(n, n->y, n->y_splat));
  if (n->y_known) return reassociate(n, OP_MUL);
  const value later = scale_later(n, false);
  return later ? later : scale_later(n, true);
}

static value rule_div(const candidate *n) {
  if (y_is(n, 1)) return n->x;
  if (y_is(n, -1)) return unary(n, OP_NEG, n->x);
  const value minus_x = negated(n, n->x), minus_y = negated(n, n->y);
  if (minus_x && minus_y) return binary(n, OP_DIV, minus_x, minus_y);
  if (!n->y_known) return 0;
  /* The reciprocal of a power of two is exact while both are normal numbers of every real type. */
  int exponent;
  if (fabs(frexp(n->y_splat.real, &exponent)) != 0.5 || exponent < -120 || exponent > 120) return 0;
  return binary(n, OP_MUL, n->x, splat_of(n->c, n->y, (scalar){.real = 1.0 / n->y_splat.real}));
}

static value rule_neg(const candidate *n) {
  if (negated(n, n->x)) return negated(n, n->x);
  const node *product = node_if(n->c, n->x, OP_MUL), *difference = node_if(n->c, n->x, OP_SUB);
  scalar s;
  if (product && graph_splat_value(n->g, product->operands[1], &s))
    return binary(n, OP_MUL, product->operands[0], negative_splat(n, n->v, s));
  return difference ? binary(n, OP_SUB, difference->operands[1], difference->operands[0]) : 0;
}

static value rule_abs(const candidate *n) {
  if (node_if(n->c, n->x, OP_ABS)) return n->x;
  return negated(n, n->x) ? unary(n, OP_ABS, negated(n, n->x)) : 0;
}

static value rule_extreme(const candidate *n) { return n->x == n->y ? n->x : swap_constant(n); }

static value rule_floor(const candidate *n) { return node_if(n->c, n->x, OP_FLOOR) ? n->x : 0; }

static value rule_floor_div(const candidate *n) { return y_is(n, 1) && !dtype_is_real(n->type) ? n->x : 0; }

static value rule_mod(const candidate *n) {
  return y_is(n, 1) && !dtype_is_real(n->type) ? splat_of(n->c, n->v, (scalar){.integer = 0}) : 0;
}

/* Whole powers become products: at most three of them for an exponent up to 8. */
static value rule_pow(const candidate *n) {
  if (!n->y_known) return 0;
  const double power = n->y_splat.real;
  if (power == 0.0) return splat_of(n->c, n->v, (scalar){.real = 1.0});
  if (power != floor(power) || fabs(power) > 8.0) return 0;
  value result = 0, square = n->x;
  for (int left = (int)fabs(power); left; left >>= 1) {
    if (left & 1) result = result ? binary(n, OP_MUL, result, square) : square;
    if (left > 1) square = binary(n, OP_MUL, square, square);
  }
  return power > 0 ? result : binary(n, OP_DIV, splat_of(n->c, n->v, (scalar){.real = 1.0}), result);
}

static value rule_equal(const candidate *n) { return swap_constant(n); }

/* True when no element can lie below 0 (one may be NaN): what came from unsigned integers and was scaled, as uniform
 * numbers are made. */
static bool never_negative(const graph *g, value v) {
  for (;;) {
    const node *n = graph_node(g, v);
    const dtype t = graph_type(g, v)->dtype;
    scalar factor;
    if (!dtype_is_real(t)) return !dtype_is_signed(t);
    if (n->op == OP_ABS || n->op == OP_EXP) return true;
    if (n->op == OP_MUL && (!graph_splat_value(g, n->operands[1], &factor) || !(factor.real >= 0))) return false;
    const bool looks_through = n->op == OP_MUL || n->op == OP_CAST || n->op == OP_RESHAPE || n->op == OP_TRANSPOSE ||
                               n->op == OP_BROADCAST || n->op == OP_SLICE || n->op == OP_GATHER;
    if (!looks_through) return false;
    v = n->operands[0];
  }
}

/* Dropout of nothing: its random numbers are not drawn. */
static value rule_less(const candidate *n) {
  const bool is_false = n->y_known && (dtype_is_real(n->type) ? n->y_splat.real <= 0 : n->y_splat.integer <= 0) && never_negative(n->g, n->x);
  return is_false ? splat_of(n->c, n->v, (scalar){.integer = 0}) : 0;
}

/* All bits set: the neutral element of `and`. */
static bool y_is_ones(const candidate *n) {
  const scalar all = {.integer = n->type == DTYPE_BOOL ? 1 : -1};
  return n->y_known && n->y_splat.integer == scalar_round(n->type, all).integer;
}

static value rule_and(const candidate *n) {
  if (n->x == n->y || y_is_ones(n)) return n->x;
  return y_is(n, 0) ? n->y : swap_constant(n);
}

static value rule_or(const candidate *n) {
  if (n->x == n->y || y_is(n, 0)) return n->x;
  return y_is_ones(n) ? n->y : swap_constant(n);
}

static value rule_xor(const candidate *n) {
  if (y_is(n, 0)) return n->x;
  if (n->x_known && !n->y_known) return swap_constant(n);
  return reassociate(n, OP_XOR);
}

static value rule_shift(const candidate *n) { return y_is(n, 0) ? n->x : 0; }

static value rule_select(const candidate *n) {
  if (n->y == n->z) return n->y;
  return n->x_known ? (n->x_splat.integer ? n->y : n->z) : 0;
}

/* Does every value of `from` have an equal one in `to`? */
static bool cast_is_exact(dtype from, dtype to) {
  static const int integer_bits[DTYPE_COUNT] = {
      [DTYPE_BOOL] = 1, [DTYPE_U8] = 8, [DTYPE_I32] = 31, [DTYPE_U32] = 32, [DTYPE_I64] = 63};
  static const int mantissa_bits[DTYPE_COUNT] = {[DTYPE_BF16] = 8, [DTYPE_F32] = 24, [DTYPE_F64] = 53};
  if (from == to) return true;
  if (dtype_is_real(from)) return dtype_is_real(to) && mantissa_bits[from] <= mantissa_bits[to];
  if (to == DTYPE_BOOL) return false;
  if (dtype_is_real(to)) return integer_bits[from] <= mantissa_bits[to];
  return integer_bits[from] <= integer_bits[to] && (dtype_is_signed(to) || !dtype_is_signed(from));
}

static value rule_cast(const candidate *n) {
  const dtype to = graph_type(n->g, n->v)->dtype;
  if (n->type == to) return n->x;
  const node *inner = node_if(n->c, n->x, OP_CAST);
  if (!inner || !cast_is_exact(graph_type(n->g, inner->operands[0])->dtype, n->type)) return 0;
  return settle(n->c, graph_cast(n->g, inner->operands[0], to, n->where));
}

static value rule_bitcast(const candidate *n) { return n->type == graph_type(n->g, n->v)->dtype ? n->x : 0; }

/* The pass runs after autodiff, where stopping has had its effect. */
static value rule_identity(const candidate *n) { return n->x; }

static elementwise_rule *const elementwise_rules[OP_COUNT] = {
    [OP_ADD] = rule_add,
    [OP_SUB] = rule_sub,
    [OP_MUL] = rule_mul,
    [OP_DIV] = rule_div,
    [OP_NEG] = rule_neg,
    [OP_ABS] = rule_abs,
    [OP_MAX] = rule_extreme,
    [OP_MIN] = rule_extreme,
    [OP_FLOOR_DIV] = rule_floor_div,
    [OP_MOD] = rule_mod,
    [OP_FLOOR] = rule_floor,
    [OP_POW] = rule_pow,
    [OP_LT] = rule_less,
    [OP_EQ] = rule_equal,
    [OP_AND] = rule_and,
    [OP_OR] = rule_or,
    [OP_XOR] = rule_xor,
    [OP_SHL] = rule_shift,
    [OP_SHR] = rule_shift,
    [OP_CAST] = rule_cast,
    [OP_BITCAST] = rule_bitcast,
    [OP_SELECT] = rule_select,
    [OP_STOP_GRAD] = rule_identity,
};

/* One number everywhere in, one number everywhere out, however large the shape. */
static value evaluate_splats(canonical *c, value v) {
  const node *n = graph_node(c->graph, v);
  scalar args[6];
  for (uint32_t i = 0; i < n->n_operands; i++)
    if (!graph_splat_value(c->graph, n->operands[i], &args[i])) return 0;
  const uint32_t typed = n->op == OP_SELECT ? 1 : 0;
  return splat_of(
      c, v, op_evaluate(n->op, graph_type(c->graph, n->operands[typed])->dtype, graph_type(c->graph, v)->dtype, args));
}

/* Of what is stacked, part by part: so the parts stay what kernels compute, and only results are put together. */
static value map_of_stack(canonical *c, value v) {
  const node n = *graph_node(c->graph, v);
  const tensor_type whole = *graph_type(c->graph, v);
  int64_t axis = 0;
  bool stacked = false;
  for (uint32_t i = 0; i < n.n_operands && !stacked; i++) stacked = graph_is_stack(c->graph, n.operands[i], &axis);
  if (!stacked || n.op == OP_RANDOM_BITS) return 0;
  tensor_type part = whole;
  part.dim[axis] = 1;
  value parts[MOST_STACKED], args[6];
  for (int64_t p = 0; p < whole.dim[axis]; p++) {
    const char *error;
    for (uint32_t i = 0; i < n.n_operands; i++) args[i] = slice_at(c, n.operands[i], axis, p, n.where);
    parts[p] = settle(c, graph_add(c->graph, n.op, args, n.n_operands, n.attributes, n.n_attributes, &part, n.where, &error));
  }
  return settle(c, graph_concat(c->graph, parts, (uint32_t)whole.dim[axis], axis, n.where));
}

value canonical_elementwise(canonical *c, value v) {
  value simpler = evaluate_splats(c, v);
  if (!simpler) simpler = canonical_mirror(c, v);
  if (!simpler) simpler = map_of_stack(c, v);
  const node *n = graph_node(c->graph, v);
  if (simpler || !elementwise_rules[n->op]) return simpler;
  candidate at = {.c = c, .g = c->graph, .v = v, .x = n->operands[0], .where = n->where};
  if (n->n_operands > 1) at.y = n->operands[1];
  if (n->n_operands > 2) at.z = n->operands[2];
  at.type = graph_type(c->graph, n->op == OP_SELECT ? at.y : at.x)->dtype;
  at.x_known = graph_splat_value(c->graph, at.x, &at.x_splat);
  at.y_known = at.y && graph_splat_value(c->graph, at.y, &at.y_splat);
  return elementwise_rules[n->op](&at);
}
