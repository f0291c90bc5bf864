/* What the files of kernel expressions share; everybody else sees kernel.h. */
#ifndef SSLC_IR_EXPR_H
#define SSLC_IR_EXPR_H

#include "ir/kernel.h"

struct expr_table {
  const expr **slots; /* open addressing; capacity is a power of two */
  uint32_t capacity, count;
  uint64_t sound; /* the fingerprint of the definition that was found sound last; 0: none */
};

/* The one expression equal to `candidate`; when it is new, arguments and conditions are copied. */
const expr *expr_intern(kernel *k, const expr *candidate);
const expr *expr_intern_apply(kernel *k, op_id op, dtype result, const expr *const *args, uint32_t n);

/* A total order by structure, not by time of making, so that equal kernels built in different orders
 * have equal texts. Axes come first, constants last. */
int expr_order(const expr *x, const expr *y);

/* An i64 expression as sum(coefficient * atom) + offset; atoms in order, all different, none of them a
 * sum. Arithmetic wraps, so this is exact also where it overflows. */
enum { MAX_TERMS = 64 };
typedef struct {
  uint32_t n;
  struct {
    const expr *atom;
    int64_t coefficient;
  } term[MAX_TERMS];
  int64_t offset;
} index_sum;

/* Adds factor * e; false when the terms are too many. */
bool sum_accumulate(index_sum *s, const expr *e, int64_t factor);
const expr *expr_from_sum(kernel *k, index_sum *s);

static inline bool is_apply(const expr *e, op_id op) { return e->kind == EXPR_APPLY && e->op == op; }
static inline int64_t floor_quotient(int64_t x, int64_t y) { return x / y - (x % y < 0); } /* y > 0 */
static inline int64_t floor_remainder(int64_t x, int64_t y) { return x % y + (x % y < 0 ? y : 0); }
static inline int64_t common_divisor(int64_t x, int64_t y) {
  while (y) {
    int64_t rest = x % y;
    x = y;
    y = rest;
  }
  return x < 0 ? -x : x;
}

/* The range of a candidate, from those of its arguments. */
interval expr_range_of(const kernel *k, const expr *candidate);
interval dtype_range(dtype t); /* of integers and bool */
/* The range of what an op makes of operands with these types and ranges. */
interval op_range(op_id op, dtype result, const dtype *types, const interval *ranges, uint32_t n);
bool interval_is_whole(interval r, dtype t);

/* An equal and simpler expression, or NULL; arguments are not all constant. */
const expr *expr_simplify(kernel *k, op_id op, dtype result, const expr *const *args, uint32_t n);

/* Conditions without those that always hold, one a subject, in order; false when one never holds. */
bool conditions_simplify(condition *conditions, uint32_t *n);

#endif
