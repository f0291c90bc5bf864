/* Index arithmetic in normal form: a sum of constant multiples of atoms. Quotients and remainders by
 * constants split such sums and vanish where ranges allow; this is what makes reshapes dissolve. */
#include "ir/expr.h"

static int64_t wrapping_add(int64_t x, int64_t y) { return (int64_t)((uint64_t)x + (uint64_t)y); }
static int64_t wrapping_mul(int64_t x, int64_t y) { return (int64_t)((uint64_t)x * (uint64_t)y); }

static bool sum_add_term(index_sum *s, const expr *atom, int64_t coefficient) {
  uint32_t at = 0;
  while (at < s->n && expr_order(s->term[at].atom, atom) < 0) at++;
  if (at < s->n && s->term[at].atom == atom) {
    s->term[at].coefficient = wrapping_add(s->term[at].coefficient, coefficient);
    if (s->term[at].coefficient) return true;
    memmove(&s->term[at], &s->term[at + 1], (--s->n - at) * sizeof *s->term);
    return true;
  }
  if (!coefficient) return true;
  if (s->n == MAX_TERMS) return false;
  memmove(&s->term[at + 1], &s->term[at], (s->n++ - at) * sizeof *s->term);
  s->term[at].atom = atom;
  s->term[at].coefficient = coefficient;
  return true;
}

bool sum_accumulate(index_sum *s, const expr *e, int64_t factor) {
  if (e->kind == EXPR_CONSTANT) {
    s->offset = wrapping_add(s->offset, wrapping_mul(factor, e->constant.integer));
    return true;
  }
  if (is_apply(e, OP_ADD)) return sum_accumulate(s, e->args[0], factor) && sum_accumulate(s, e->args[1], factor);
  if (is_apply(e, OP_MUL) && e->args[1]->kind == EXPR_CONSTANT)
    return sum_accumulate(s, e->args[0], wrapping_mul(factor, e->args[1]->constant.integer));
  return sum_add_term(s, e, factor);
}

static const expr *apply_with_constant(kernel *k, op_id op, const expr *x, int64_t c) {
  const expr *args[] = {x, expr_integer(k, c)};
  return expr_intern_apply(k, op, DTYPE_I64, args, 2);
}

/* m * (y / m) + y mod m = y, in whatever multiple: the two meet again when an axis that was cut by a
 * reshape is put together. */
static bool recombine(kernel *k, index_sum *s) {
  for (uint32_t i = 0; i < s->n; i++) {
    const expr *rest = s->term[i].atom;
    if (!is_apply(rest, OP_MOD) || rest->args[1]->kind != EXPR_CONSTANT) continue;
    int64_t by = rest->args[1]->constant.integer, coefficient = s->term[i].coefficient;
    if (by <= 0) continue;
    const expr *quotient = expr_divide(k, rest->args[0], by);
    for (uint32_t j = 0; j < s->n; j++) {
      if (s->term[j].atom != quotient || s->term[j].coefficient != wrapping_mul(coefficient, by)) continue;
      index_sum t = *s;
      if (!sum_add_term(&t, quotient, -s->term[j].coefficient) || !sum_add_term(&t, rest, -coefficient) ||
          !sum_accumulate(&t, rest->args[0], coefficient))
        continue;
      *s = t;
      return true;
    }
  }
  return false;
}

const expr *expr_from_sum(kernel *k, index_sum *s) {
  while (recombine(k, s)) continue;
  const expr *e = NULL;
  for (uint32_t i = 0; i < s->n; i++) {
    const expr *term = s->term[i].atom;
    if (s->term[i].coefficient != 1) term = apply_with_constant(k, OP_MUL, term, s->term[i].coefficient);
    const expr *args[] = {e, term};
    e = e ? expr_intern_apply(k, OP_ADD, DTYPE_I64, args, 2) : term;
  }
  if (!e) return expr_integer(k, s->offset);
  return s->offset ? apply_with_constant(k, OP_ADD, e, s->offset) : e;
}

const expr *expr_add(kernel *k, const expr *x, const expr *y) {
  index_sum s = {.n = 0};
  if (sum_accumulate(&s, x, 1) && sum_accumulate(&s, y, 1)) return expr_from_sum(k, &s);
  const expr *args[] = {x, y};
  return expr_intern_apply(k, OP_ADD, DTYPE_I64, args, 2);
}

const expr *expr_scale(kernel *k, const expr *x, int64_t by) {
  index_sum s = {.n = 0};
  if (sum_accumulate(&s, x, by)) return expr_from_sum(k, &s);
  return apply_with_constant(k, OP_MUL, x, by);
}

/* x = by * whole + rest, where the rest keeps what `by` does not divide. */
static bool split(const expr *x, int64_t by, index_sum *whole, index_sum *rest) {
  index_sum s = {.n = 0};
  *whole = *rest = s;
  if (!sum_accumulate(&s, x, 1)) return false;
  for (uint32_t i = 0; i < s.n; i++) {
    sum_add_term(whole, s.term[i].atom, s.term[i].coefficient / by);
    sum_add_term(rest, s.term[i].atom, s.term[i].coefficient % by);
  }
  whole->offset = floor_quotient(s.offset, by);
  rest->offset = floor_remainder(s.offset, by);
  return true;
}

static int64_t divisor_of_terms(const index_sum *s, int64_t with) {
  int64_t divisor = with;
  for (uint32_t i = 0; i < s->n; i++) divisor = common_divisor(divisor, s->term[i].coefficient);
  return divisor;
}

/* Divides terms by a common divisor of theirs, and the offset, rounding down; gives what that leaves. */
static int64_t sum_divide_exactly(index_sum *s, int64_t by) {
  int64_t left = floor_remainder(s->offset, by);
  for (uint32_t i = 0; i < s->n; i++) s->term[i].coefficient /= by;
  s->offset = floor_quotient(s->offset, by);
  return left;
}

/* The atom when the sum is atom + offset and the atom is `op` by a positive constant. */
static const expr *single_atom(const index_sum *s, op_id op) {
  if (s->n != 1 || s->term[0].coefficient != 1 || !is_apply(s->term[0].atom, op)) return NULL;
  const expr *by = s->term[0].atom->args[1];
  return by->kind == EXPR_CONSTANT && by->constant.integer > 0 ? s->term[0].atom : NULL;
}

/* The quotient of a sum with nothing left to take out of it. */
static const expr *divide_rest(kernel *k, index_sum *rest, int64_t by) {
  int64_t common = divisor_of_terms(rest, by);
  sum_divide_exactly(rest, common); /* floor((g r + c) / (g b)) = floor((r + floor(c / g)) / b) */
  by /= common;
  int64_t product;
  const expr *inner = single_atom(rest, OP_FLOOR_DIV);
  if (inner && !__builtin_mul_overflow(inner->args[1]->constant.integer, by, &product)) {
    int64_t first = inner->args[1]->constant.integer; /* floor((floor(y / a) + c) / b) = floor((y + a c) / (a b)) */
    const expr *shifted = expr_add(k, inner->args[0], expr_integer(k, wrapping_mul(first, rest->offset)));
    return expr_divide(k, shifted, product);
  }
  inner = single_atom(rest, OP_MOD);
  if (inner && !rest->offset && inner->args[1]->constant.integer % by == 0) {
    int64_t period = inner->args[1]->constant.integer; /* floor((y mod a b) / b) = floor(y / b) mod a */
    return expr_modulo(k, expr_divide(k, inner->args[0], by), period / by);
  }
  const expr *x = expr_from_sum(k, rest);
  return by == 1 ? x : apply_with_constant(k, OP_FLOOR_DIV, x, by);
}

/* In which window [w * by, (w + 1) * by) all of x lies. */
static bool single_window(const expr *x, int64_t by, int64_t *window) {
  *window = floor_quotient(x->range.low, by);
  return floor_quotient(x->range.high, by) == *window;
}

const expr *expr_divide(kernel *k, const expr *x, int64_t by) {
  if (by == 1) return x;
  index_sum whole, rest;
  if (by <= 0 || interval_is_whole(x->range, DTYPE_I64) || !split(x, by, &whole, &rest)) {
    if (x->kind == EXPR_CONSTANT && by > 0) return expr_integer(k, floor_quotient(x->constant.integer, by));
    return apply_with_constant(k, OP_FLOOR_DIV, x, by);
  }
  int64_t window;
  if (single_window(expr_from_sum(k, &rest), by, &window)) {
    whole.offset += window;
    return expr_from_sum(k, &whole);
  }
  return expr_add(k, expr_from_sum(k, &whole), divide_rest(k, &rest, by));
}

/* Remainders by multiples of `by` may stay out: (y mod a b) mod b = y mod b. */
static const expr *without_inner_remainders(kernel *k, const index_sum *s, int64_t by) {
  index_sum flat = {.offset = s->offset};
  bool changed = false;
  for (uint32_t i = 0; i < s->n; i++) {
    const expr *atom = s->term[i].atom;
    if (is_apply(atom, OP_MOD) && atom->args[1]->kind == EXPR_CONSTANT && atom->args[1]->constant.integer > 0 &&
        atom->args[1]->constant.integer % by == 0) {
      atom = atom->args[0];
      changed = true;
    }
    if (!sum_accumulate(&flat, atom, s->term[i].coefficient)) return NULL;
  }
  return changed ? expr_from_sum(k, &flat) : NULL;
}

const expr *expr_modulo(kernel *k, const expr *x, int64_t by) {
  if (by == 1) return expr_integer(k, 0);
  index_sum whole, rest;
  if (by <= 0 || interval_is_whole(x->range, DTYPE_I64) || !split(x, by, &whole, &rest)) {
    if (x->kind == EXPR_CONSTANT && by > 0) return expr_integer(k, floor_remainder(x->constant.integer, by));
    return apply_with_constant(k, OP_MOD, x, by);
  }
  int64_t window;
  const expr *flat = expr_from_sum(k, &rest);
  if (single_window(flat, by, &window)) return expr_add(k, flat, expr_integer(k, -window * by));
  flat = without_inner_remainders(k, &rest, by);
  if (flat && !interval_is_whole(flat->range, DTYPE_I64)) return expr_modulo(k, flat, by);
  int64_t common = divisor_of_terms(&rest, by); /* (g r + c) mod (g b) = g ((r + c / g) mod b) + c mod g */
  int64_t left = sum_divide_exactly(&rest, common);
  if (common > 1) {
    const expr *outer = expr_scale(k, expr_modulo(k, expr_from_sum(k, &rest), by / common), common);
    return expr_add(k, outer, expr_integer(k, left));
  }
  return apply_with_constant(k, OP_MOD, expr_from_sum(k, &rest), by);
}

/* -- conditions ----------------------------------------------------------------------------------------- */

typedef enum { HOLDS_ALWAYS, HOLDS_SOMETIMES, HOLDS_NEVER } verdict;

static verdict divisibility(const condition *c) {
  if (c->divisor <= 1) return HOLDS_ALWAYS;
  index_sum s = {.n = 0};
  if (!sum_accumulate(&s, c->subject, 1)) return HOLDS_SOMETIMES;
  int64_t common = divisor_of_terms(&s, c->divisor);
  if (s.offset % common) return HOLDS_NEVER;
  return common == c->divisor ? HOLDS_ALWAYS : HOLDS_SOMETIMES;
}

static verdict decide(const condition *c) {
  interval r = c->subject->range;
  verdict exact = divisibility(c);
  if (r.high < c->low || r.low >= c->high || c->low >= c->high || exact == HOLDS_NEVER) return HOLDS_NEVER;
  return exact == HOLDS_ALWAYS && r.low >= c->low && r.high < c->high ? HOLDS_ALWAYS : HOLDS_SOMETIMES;
}

static void intersect(condition *into, const condition *c) {
  if (c->low > into->low) into->low = c->low;
  if (c->high < into->high) into->high = c->high;
  into->divisor = into->divisor / common_divisor(into->divisor, c->divisor) * c->divisor;
}

bool conditions_simplify(condition *conditions, uint32_t *n) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < *n; i++) {
    condition c = conditions[i];
    if (c.divisor < 1) c.divisor = 1;
    uint32_t at = 0;
    while (at < kept && expr_order(conditions[at].subject, c.subject) < 0) at++;
    if (at < kept && conditions[at].subject == c.subject) {
      intersect(&conditions[at], &c);
      continue;
    }
    memmove(&conditions[at + 1], &conditions[at], (kept++ - at) * sizeof c);
    conditions[at] = c;
  }
  *n = 0;
  for (uint32_t i = 0; i < kept; i++) {
    verdict v = decide(&conditions[i]);
    if (v == HOLDS_NEVER) return false;
    if (v == HOLDS_SOMETIMES) conditions[(*n)++] = conditions[i];
  }
  return true;
}
