/* Elementary functions of f32 from native operations, in lanes and without branches. Ranges are reduced
 * as by Cody and Waite ("Software Manual for the Elementary Functions", 1980); the polynomials are
 * minimax fits (Remez) of the functions named beside them, with relative errors below 1e-8, so that
 * what remains is rounding: at most about 2 units in the last place, of erf 4. Arguments are spoken of as x, y;
 * NaN goes through. */
#include "passes/math.h"

#include <math.h>

typedef const loops_expr *term;

/* -- building --------------------------------------------------------------------------------------------- */

typedef struct {
  const math_builder *builder;
  uint32_t lanes;
  dtype real; /* that constants are of */
} maths;

static term number(const maths *m, double v) {
  return loops_constant(m->builder->loops, m->real, m->lanes, (scalar){.real = v});
}

static term integer(const maths *m, dtype t, int64_t v) {
  return loops_constant(m->builder->loops, t, m->lanes, (scalar){.integer = v});
}

static term keep(const maths *m, term x) { return m->builder->share(m->builder->context, x); }

static term apply(const maths *m, op_id op, term x, term y) {
  bool compares = op_table[op].rule == RULE_COMPARE;
  return loops_apply(m->builder->loops, op, compares ? DTYPE_BOOL : x->type, (term[]){x, y}, 2);
}

static term apply_one(const maths *m, op_id op, dtype result, term x) {
  return loops_apply(m->builder->loops, op, result, &x, 1);
}

static term add(const maths *m, term x, term y) { return apply(m, OP_ADD, x, y); }
static term sub(const maths *m, term x, term y) { return apply(m, OP_SUB, x, y); }
static term mul(const maths *m, term x, term y) { return apply(m, OP_MUL, x, y); }
static term divide(const maths *m, term x, term y) { return apply(m, OP_DIV, x, y); }
static term less(const maths *m, term x, term y) { return apply(m, OP_LT, x, y); }
static term equal(const maths *m, term x, term y) { return apply(m, OP_EQ, x, y); }
static term both(const maths *m, term x, term y) { return apply(m, OP_AND, x, y); }
static term not(const maths *m, term x) { return apply(m, OP_XOR, x, integer(m, DTYPE_BOOL, 1)); }
static term negate(const maths *m, term x) { return apply_one(m, OP_NEG, x->type, x); }
static term magnitude(const maths *m, term x) { return apply_one(m, OP_ABS, x->type, x); }
static term whole(const maths *m, term x) { return apply_one(m, OP_FLOOR, x->type, x); }
static term bits(const maths *m, term x) { return apply_one(m, OP_BITCAST, DTYPE_I32, x); }
static term from_bits(const maths *m, term x) { return apply_one(m, OP_BITCAST, DTYPE_F32, x); }

static term select(const maths *m, term test, term x, term y) {
  return loops_apply(m->builder->loops, OP_SELECT, x->type, (term[]){test, x, y}, 3);
}

static term fused(const maths *m, term x, term y, term z) {
  return loops_node(
      m->builder->loops,
      (loops_expr){.kind = LOOPS_FMA, .type = x->type, .lanes = x->lanes, .n_args = 3, .args = (term[]){x, y, z}});
}

/* x * 2^n of a whole n. */
static term scaled(const maths *m, term x, term n) {
  return loops_node(m->builder->loops, (loops_expr){.kind = LOOPS_SCALE, .type = x->type, .lanes = x->lanes, .n_args = 2, .args = (term[]){x, n}});
}

/* coefficients[0] + x * (coefficients[1] + ...); x is kept. */
static term polynomial(const maths *m, term x, const double *coefficients, uint32_t n) {
  term sum = number(m, coefficients[n - 1]);
  for (uint32_t i = n - 1; i-- > 0;) sum = fused(m, sum, x, number(m, coefficients[i]));
  return sum;
}

#define POLYNOMIAL(m, x, ...)                                                                                          \
  polynomial(m, x, (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

/* x with the sign of another; x is not negative. */
static term with_sign(const maths *m, term x, term sign) {
  term bit = both(m, bits(m, sign), integer(m, DTYPE_I32, INT32_MIN));
  return from_bits(m, apply(m, OP_OR, bits(m, x), bit));
}

/* -- exponential ------------------------------------------------------------------------------------------ */

/* ln 2 in two parts; n times the first is exact for the n that occur. */
static const double ln2_high = 0.693359375, ln2_low = -2.12194440054690583e-4;

/* Added to a small number it leaves no place for a fraction. */
static const double integral = 0x1.8p23;

/* e^(x + tail), the tail much smaller: x = n ln 2 + r, and e^r = 1 + r + r^2 q(r). Beyond the ends of the range the result is 0 or
 * infinite already. */
static term exponential(const maths *m, term x, term tail) {
  x = select(m, less(m, x, number(m, -105)), number(m, -105), x);
  x = keep(m, select(m, less(m, number(m, 89.5), x), number(m, 89.5), x));
  term n = keep(m, sub(m, fused(m, x, number(m, 1.44269504088896341), number(m, integral)), number(m, integral)));
  term r = fused(m, n, number(m, -ln2_low), fused(m, n, number(m, -ln2_high), x));
  r = keep(m, tail ? add(m, r, tail) : r);
  term q = POLYNOMIAL(m, r, 0.499999935, 0.166665207, 0.0416683869, 0.0083687097, 0.0013814643);
  return scaled(m, add(m, fused(m, mul(m, r, r), q, r), number(m, 1)), n);
}

/* -- logarithm -------------------------------------------------------------------------------------------- */

typedef struct {
  term exponent; /* a whole number, f32 */
  term mantissa; /* in [sqrt(1/2), sqrt(2)) */
} parts;

/* x = mantissa * 2^exponent, for positive finite x; denormal ones are scaled up first. */
static parts split(const maths *m, term x) {
  term tiny = keep(m, less(m, x, number(m, 0x1p-126)));
  term scaled = keep(m, bits(m, select(m, tiny, mul(m, x, number(m, 0x1p23)), x)));
  term above = sub(m, scaled, integer(m, DTYPE_I32, 0x3f3504f3)); /* of sqrt(1/2) */
  term exponent = keep(m, apply(m, OP_SHR, above, integer(m, DTYPE_I32, 23)));
  term mantissa = from_bits(m, sub(m, scaled, apply(m, OP_SHL, exponent, integer(m, DTYPE_I32, 23))));
  term unscaled = select(m, tiny, number(m, -23), number(m, 0));
  return (parts){keep(m, add(m, apply_one(m, OP_CAST, DTYPE_F32, exponent), unscaled)), keep(m, mantissa)};
}

/* log(1 + f) = f - f^2/2 + f^3 P(f). */
static term expand_log(const maths *m, const term *args) {
  term x = args[0];
  parts p = split(m, x);
  term f = keep(m, sub(m, p.mantissa, number(m, 1))), square = keep(m, mul(m, f, f));
  term tail = POLYNOMIAL(m, f, 0.333333317, -0.250008209, 0.20001226, -0.166233613, 0.142017812, -0.13160169,
                         0.127614139, -0.0763432956);
  term y = fused(m, p.exponent, number(m, ln2_low), mul(m, mul(m, square, f), tail));
  y = add(m, f, fused(m, square, number(m, -0.5), y));
  y = fused(m, p.exponent, number(m, ln2_high), y);
  y = select(m, equal(m, x, number(m, INFINITY)), x, y);
  y = select(m, equal(m, x, number(m, 0)), number(m, -INFINITY), y);
  return select(m, apply(m, OP_LE, number(m, 0), x), y, number(m, NAN));
}

static term expand_exp(const maths *m, const term *args) { return exponential(m, args[0], NULL); }

/* -- power ------------------------------------------------------------------------------------------------ */

typedef struct {
  term high, low;
} pair;

/* log x as a sum of two, good to about 2^-31: with s = (f - 1) / (f + 1) of the mantissa f,
 * log f = 2 (s + s^3/3 + s^5/5 + ...), where 2 s is carried to two parts and the rest is small. */
static pair precise_log(const maths *m, term x) {
  parts p = split(m, x);
  term f = keep(m, sub(m, p.mantissa, number(m, 1))), g = keep(m, add(m, p.mantissa, number(m, 1)));
  term g_low = sub(m, p.mantissa, sub(m, g, number(m, 1)));
  term s = keep(m, divide(m, f, g)), minus_s = keep(m, negate(m, s));
  term s_low = divide(m, fused(m, minus_s, g_low, fused(m, minus_s, g, f)), g);
  term z = keep(m, mul(m, s, s)), leading = keep(m, add(m, s, s));
  /* atanh: the series' own coefficients; z < 0.03 */
  term series = mul(m, z, POLYNOMIAL(m, z, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11));
  term whole_part = keep(m, mul(m, p.exponent, number(m, ln2_high))); /* exact */
  term high = keep(m, add(m, whole_part, leading));
  term low = sub(m, leading, sub(m, high, whole_part)); /* exact: whole_part is 0 or the larger */
  low = add(m, low, fused(m, leading, series, add(m, s_low, s_low)));
  low = keep(m, fused(m, p.exponent, number(m, ln2_low), low));
  term sum = keep(m, add(m, high, low));
  return (pair){sum, keep(m, sub(m, low, sub(m, sum, high)))};
}

/* x^y = e^(y log |x|), then the special cases of IEEE 754 (pow, 9.2.1). */
static term expand_pow(const maths *m, const term *args) {
  term x = args[0], y = args[1], a = keep(m, magnitude(m, x)), one = number(m, 1), infinite = number(m, INFINITY);
  pair l = precise_log(m, a);
  term high =
      select(m, equal(m, a, infinite), infinite, select(m, equal(m, a, number(m, 0)), number(m, -INFINITY), l.high));
  high = keep(m, select(m, equal(m, x, x), high, x));
  term product = keep(m, mul(m, y, high));
  term tail = fused(m, y, l.low, fused(m, y, high, negate(m, product)));
  tail = select(m, less(m, magnitude(m, product), number(m, 200)), tail, number(m, 0));
  term r = keep(m, exponential(m, product, tail)), half = keep(m, mul(m, y, number(m, 0.5)));
  term is_whole = keep(m, equal(m, whole(m, y), y));
  term is_odd = both(m, is_whole, not(m, equal(m, whole(m, half), half)));
  r = keep(m, select(m, is_odd, with_sign(m, r, x), r));
  term no_root = both(m, both(m, less(m, x, number(m, 0)), less(m, number(m, -INFINITY), x)), not(m, is_whole));
  r = select(m, no_root, number(m, NAN), r);
  r = select(m, both(m, equal(m, a, one), equal(m, magnitude(m, y), infinite)), one, r);
  return select(m, apply(m, OP_OR, equal(m, x, one), equal(m, y, number(m, 0))), one, r);
}

/* -- sine and cosine -------------------------------------------------------------------------------------- */

/* x = n pi/2 + r with pi/2 in three parts; good while n has no more than 16 bits. Quadrants turn sine
 * into cosine and back. */
static term circular(const maths *m, term x, int64_t quadrants_ahead) {
  term n = keep(m, whole(m, fused(m, x, number(m, 0.636619772367581343), number(m, 0.5))));
  term r = fused(m, n, number(m, -0x1.921fb6p0), x);
  r = fused(m, n, number(m, 0x1.777a5cp-25), r);
  r = keep(m, fused(m, n, number(m, 0x1.ee59dap-50), r));
  term z = keep(m, mul(m, r, r));
  term sine = fused(m, mul(m, r, z), POLYNOMIAL(m, z, -0.166666549, 0.00833217815, -0.00019517299), r);
  term cosine = mul(m, mul(m, z, z), POLYNOMIAL(m, z, 0.0416666469, -0.00138873675, 2.44384518e-05));
  cosine = add(m, number(m, 1), fused(m, z, number(m, -0.5), cosine));
  term quadrant = keep(m, add(m, apply_one(m, OP_CAST, DTYPE_I32, n), integer(m, DTYPE_I32, quadrants_ahead)));
  term odd = equal(m, both(m, quadrant, integer(m, DTYPE_I32, 1)), integer(m, DTYPE_I32, 1));
  term low = equal(m, both(m, quadrant, integer(m, DTYPE_I32, 2)), integer(m, DTYPE_I32, 0));
  term v = keep(m, select(m, odd, cosine, sine));
  return select(m, low, v, negate(m, v));
}

static term expand_sin(const maths *m, const term *args) { return circular(m, args[0], 0); }
static term expand_cos(const maths *m, const term *args) { return circular(m, args[0], 1); }

/* -- tanh, erf and gelu ----------------------------------------------------------------------------------------- */

/* x + x^3 P(x^2) near 0; else 1 - 2 / (e^2|x| + 1), which rounds to 1 before 10. */
static term expand_tanh(const maths *m, const term *args) {
  term x = args[0], a = keep(m, magnitude(m, x)), z = keep(m, mul(m, x, x));
  term p = POLYNOMIAL(m, z, -0.333332677, 0.133309879, -0.0536984383, 0.0204972824, -0.00554124598);
  term near = fused(m, mul(m, x, z), p, x);
  term clamped = keep(m, select(m, less(m, number(m, 10), a), number(m, 10), a)), e = exponential(m, add(m, clamped, clamped), NULL);
  term far = sub(m, number(m, 1), divide(m, number(m, 2), add(m, e, number(m, 1))));
  return select(m, less(m, a, number(m, 0.625)), near, with_sign(m, far, x));
}

static term between(const maths *m, term x, double end) {
  const term high = number(m, end), low = number(m, -end);
  x = keep(m, select(m, less(m, high, x), high, x));
  return select(m, less(m, x, low), low, x);
}

/* An odd function: x P(x^2) / Q(x^2) up to an end behind which it is constant to rounding: two short chains side by side, and a division
 * that other work hides. Weighted least squares fits, reweighted until the largest error was least. */
typedef struct {
  double end;
  uint32_t n_p, n_q;
  double p[7], q[8];
} odd_fit;

static term odd_quotient(const maths *m, term x, const odd_fit *fit) {
  x = keep(m, between(m, x, fit->end));
  term t = keep(m, mul(m, x, x));
  return divide(m, mul(m, x, polynomial(m, t, fit->p, fit->n_p)), polynomial(m, t, fit->q, fit->n_q));
}

/* Relative error 2e-8; rounding adds up to 4 units in the last place. */
static const odd_fit error_function = {3.93, 6, 6,
                                       {1.1283791455355558, 0.19076446876491, 0.05278776258398045, 0.0037788007905545707, 0.00028479395497025807, 2.0421556272712324e-06},
                                       {1, 0.5023933309844163, 0.11424955578529915, 0.014995800579523983, 0.0011650243053911984, 3.800525053620402e-05}};
/* The normal distribution function, less a half: absolute error 1e-8, and 2e-7 with rounding. */
static const odd_fit normal = {5.5, 6, 6,
                               {0.39894223472280105, 0.03385066366212428, 0.004677132916280486, 0.000168804976023805, 6.351929423176299e-06, 2.275061571225038e-08},
                               {1, 0.2515169504003804, 0.028644721019474396, 0.0018843271153353629, 7.364065143445222e-05, 1.197526911304939e-06}};
/* That and x times the density, as good. */
static const odd_fit gelu_slope = {6.1, 7, 8,
                                   {0.7978845233438661, -0.02037917960281611, 0.013780523805422294, 0.00023876472589804177, 3.412113032139422e-05, 1.0194224895742573e-06, 1.782308136057254e-08},
                                   {1, 0.3077913528450973, 0.04486978250816007, 0.004074482530877644, 0.0002544370684363646, 1.0783706197116206e-05, 3.6609949360296823e-07, 1.3409524037747409e-09}};

static term expand_erf(const maths *m, const term *args) { return between(m, odd_quotient(m, args[0], &error_function), 1); }

static term expand_gelu(const maths *m, const term *args) { return mul(m, args[0], add(m, odd_quotient(m, args[0], &normal), number(m, 0.5))); }

static term expand_gelu_slope(const maths *m, const term *args) { return add(m, odd_quotient(m, args[0], &gelu_slope), number(m, 0.5)); }

/* -- f64 --------------------------------------------------------------------------------------------------- */

static term call(const maths *m, op_id op, const term *args, uint32_t n) {
  return loops_node(m->builder->loops, (loops_expr){.kind = LOOPS_CALL, .op = op, .type = args[0]->type, .lanes = args[0]->lanes, .n_args = n, .args = (const loops_expr **)args});
}

static term normal_in_f64(const maths *m, term x) {
  return fused(m, call(m, OP_ERF, (term[]){mul(m, x, number(m, 0.70710678118654752))}, 1), number(m, 0.5), number(m, 0.5));
}

static term gelu_in_f64(const maths *m, const term *args) { return mul(m, args[0], normal_in_f64(m, args[0])); }

static term gelu_slope_in_f64(const maths *m, const term *args) {
  term x = args[0], density = call(m, OP_EXP, (term[]){mul(m, mul(m, x, x), number(m, -0.5))}, 1);
  return fused(m, mul(m, x, number(m, 0.39894228040143268)), density, normal_in_f64(m, x));
}

/* -- random bits ------------------------------------------------------------------------------------------ */

enum { ROUNDS = 10 };
static const int64_t low_word = 0xffffffff;

static pair wide_product(const maths *m, term x, int64_t factor) {
  term p = keep(m, mul(m, apply_one(m, OP_CAST, DTYPE_I64, x), integer(m, DTYPE_I64, factor)));
  term high = apply(m, OP_SHR, p, integer(m, DTYPE_I64, 32));
  if (x->type == DTYPE_I64) return (pair){both(m, high, integer(m, DTYPE_I64, low_word)), both(m, p, integer(m, DTYPE_I64, low_word))};
  return (pair){apply_one(m, OP_CAST, DTYPE_U32, high), apply_one(m, OP_CAST, DTYPE_U32, p)};
}

/* Philox4x32-10 (Salmon et al., SC 2011), as ops.def describes the operands. The counter's words are of u32, or of i64, as a processor's
 * vectors multiply them. */
static void philox(const maths *m, const term key[2], term c[4]) {
  static const int64_t step[2] = {0x9E3779B9, 0xBB67AE85};
  const dtype t = c[0]->type;
  term k[2] = {key[0], key[1]};
  for (int round = 0; round < ROUNDS; round++) {
    pair p = wide_product(m, c[0], 0xD2511F53), q = wide_product(m, c[2], 0xCD9E8D57);
    term mine[2];
    for (int i = 0; i < 2; i++) mine[i] = t == DTYPE_I64 ? apply_one(m, OP_CAST, t, k[i]) : k[i];
    term first = apply(m, OP_XOR, apply(m, OP_XOR, q.high, c[1]), mine[0]);
    term third = apply(m, OP_XOR, apply(m, OP_XOR, p.high, c[3]), mine[1]);
    c[0] = keep(m, first);
    c[1] = keep(m, q.low);
    c[2] = keep(m, third);
    c[3] = keep(m, p.low);
    for (int i = 0; i < 2; i++) k[i] = keep(m, add(m, k[i], integer(m, DTYPE_U32, step[i])));
  }
}

static term expand_random_bits(const maths *m, const term *args) {
  term c[4] = {keep(m, apply(m, OP_SHR, args[2], integer(m, DTYPE_U32, 2))), args[3], args[4], args[5]};
  philox(m, args, c);
  term word = keep(m, both(m, args[2], integer(m, DTYPE_U32, 3))), result = c[3];
  for (int i = 2; i >= 0; i--) result = select(m, equal(m, word, integer(m, DTYPE_U32, i)), c[i], result);
  return result;
}

void math_random_words(const math_builder *b, const loops_expr *const *args, const loops_expr *words[4]) {
  const maths m = {b, args[2]->lanes, DTYPE_F32};
  term c[4] = {args[2], args[3], args[4], args[5]};
  for (int i = 0; i < 4; i++) c[i] = apply_one(&m, OP_CAST, DTYPE_I64, c[i]);
  philox(&m, args, c);
  for (int i = 0; i < 4; i++) words[i] = apply_one(&m, OP_CAST, DTYPE_U32, c[i]);
}

/* --------------------------------------------------------------------------------------------------------- */

typedef term expansion(const maths *m, const term *args);

static expansion *const expansions[OP_COUNT] = {
    [OP_EXP] = expand_exp,   [OP_LOG] = expand_log, [OP_SIN] = expand_sin, [OP_COS] = expand_cos,
    [OP_TANH] = expand_tanh, [OP_ERF] = expand_erf, [OP_POW] = expand_pow, [OP_RANDOM_BITS] = expand_random_bits,
    [OP_EXACT_GELU] = expand_gelu, [OP_EXACT_GELU_SLOPE] = expand_gelu_slope,
};

/* Of what its library has not. */
static expansion *const expansions_in_f64[OP_COUNT] = {[OP_EXACT_GELU] = gelu_in_f64, [OP_EXACT_GELU_SLOPE] = gelu_slope_in_f64};

const loops_expr *math_expand(const math_builder *b, op_id op, const loops_expr *const *args, uint32_t n) {
  const bool is_f64 = args[0]->type == DTYPE_F64;
  const maths m = {b, args[0]->lanes, is_f64 ? DTYPE_F64 : DTYPE_F32};
  expansion *expand = is_f64 ? expansions_in_f64[op] : expansions[op];
  if (expand) return expand(&m, args);
  return is_f64 ? call(&m, op, args, n) : NULL;
}
