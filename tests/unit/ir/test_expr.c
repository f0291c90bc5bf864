/* Index arithmetic dissolves where ranges allow, and never changes a value: every law is also checked
 * by evaluating random expressions at all points. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/kernel.h"

typedef struct {
  arena *arena;
  kernel *k;
  const expr *c, *h, *w, *merged; /* 0..2, 0..4, 0..6, 0..104 */
} fixture;

static int setup(void **state) {
  arena *a = arena_new();
  fixture *f = ARENA_NEW(a, fixture);
  f->arena = a;
  f->k = kernel_new(a, "test", (span){0});
  f->c = expr_axis(f->k, kernel_add_axis(f->k, "c", 3));
  f->h = expr_axis(f->k, kernel_add_axis(f->k, "h", 5));
  f->w = expr_axis(f->k, kernel_add_axis(f->k, "w", 7));
  f->merged = expr_axis(f->k, kernel_add_axis(f->k, "m", 105));
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  arena_free(f->arena);
  return 0;
}

static const expr *flat(fixture *f) { /* c * 35 + h * 7 + w */
  kernel *k = f->k;
  return expr_add(k, expr_add(k, expr_scale(k, f->c, 35), expr_scale(k, f->h, 7)), f->w);
}

static void equal_expressions_are_one(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  assert_ptr_equal(expr_add(k, f->h, f->w), expr_add(k, f->w, f->h));
  const expr *twice = expr_add(k, f->h, f->h);
  assert_ptr_equal(twice, expr_scale(k, f->h, 2));
  assert_ptr_equal(expr_add(k, twice, expr_scale(k, f->h, -1)), f->h);
  assert_ptr_equal(expr_add(k, f->h, expr_scale(k, f->h, -1)), expr_integer(k, 0));
  assert_ptr_not_equal(f->h, f->w);
}

static void split_indices_dissolve(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  const expr *e = flat(f);
  assert_ptr_equal(expr_divide(k, e, 35), f->c);
  assert_ptr_equal(expr_modulo(k, expr_divide(k, e, 7), 5), f->h);
  assert_ptr_equal(expr_modulo(k, e, 7), f->w);
  assert_ptr_equal(expr_divide(k, expr_modulo(k, e, 35), 7), f->h);
}

static void merged_axes_recombine(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  const expr *m = f->merged;
  const expr *outer = expr_divide(k, m, 35), *middle = expr_modulo(k, expr_divide(k, m, 7), 5);
  const expr *inner = expr_modulo(k, m, 7);
  const expr *again =
      expr_add(k, expr_add(k, expr_scale(k, inner, 1), expr_scale(k, outer, 35)), expr_scale(k, middle, 7));
  assert_ptr_equal(again, m);
}

static void quotients_of_quotients(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  assert_ptr_equal(expr_divide(k, expr_divide(k, f->merged, 4), 5), expr_divide(k, f->merged, 20));
  assert_ptr_equal(expr_modulo(k, expr_modulo(k, f->merged, 12), 4), expr_modulo(k, f->merged, 4));
  assert_ptr_equal(expr_divide(k, expr_modulo(k, f->merged, 12), 4), expr_modulo(k, expr_divide(k, f->merged, 4), 3));
  const expr *shifted = expr_add(k, expr_modulo(k, f->merged, 12), expr_integer(k, 1));
  assert_int_equal(expr_divide(k, shifted, 4)->range.high, 3); /* at 11, where no remainder of 3 gets */
}

static void casts_of_indices_are_transparent(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  const expr *narrow = expr_apply(k, OP_CAST, DTYPE_I32, &f->merged, 1);
  assert_int_equal(narrow->type, DTYPE_I32);
  assert_ptr_equal(expr_apply(k, OP_CAST, DTYPE_I64, &narrow, 1), f->merged);
  const expr *three = expr_constant(k, DTYPE_I32, (scalar){.integer = 3});
  const expr *sum = expr_apply(k, OP_ADD, DTYPE_I32, (const expr *[]){narrow, three}, 2);
  int64_t coefficient[MAX_AXES], offset;
  assert_true(expr_affine(k, expr_apply(k, OP_CAST, DTYPE_I64, &sum, 1), coefficient, &offset));
  assert_int_equal(coefficient[3], 1);
  assert_int_equal(offset, 3);
}

static void decided_choices_vanish(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  const expr *low = expr_apply(k, OP_MAX, DTYPE_I64, (const expr *[]){f->h, expr_integer(k, 0)}, 2);
  assert_ptr_equal(low, f->h);
  const expr *clamped = expr_apply(k, OP_MIN, DTYPE_I64, (const expr *[]){low, expr_integer(k, 4)}, 2);
  assert_ptr_equal(clamped, f->h);
  const expr *next = expr_add(k, f->h, expr_integer(k, 1));
  const expr *less = expr_apply(k, OP_LT, DTYPE_BOOL, (const expr *[]){f->h, next}, 2);
  assert_int_equal(less->kind, EXPR_CONSTANT);
  assert_int_equal(less->constant.integer, 1);
}

static void conditions_are_decided(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  uint32_t x = kernel_add_buffer(k, "x", make_type(DTYPE_F32, 1, (int64_t[]){5}), ACCESS_IN);
  scalar zero = {.real = 0};
  condition always = {f->h, 0, 5, 1}, never = {f->h, 5, 9, 1};
  const expr *shifted = expr_add(k, f->h, expr_integer(k, -1));
  condition sometimes = {shifted, 0, 5, 1};
  assert_int_equal(expr_read(k, x, &f->h, &always, 1, zero)->n_conditions, 0);
  assert_int_equal(expr_read(k, x, &f->h, &never, 1, zero)->kind, EXPR_CONSTANT);
  assert_int_equal(expr_read(k, x, &shifted, &sometimes, 1, zero)->n_conditions, 1);
  condition some = {f->h, 0, 5, 2};
  assert_int_equal(expr_read(k, x, &f->h, &some, 1, zero)->n_conditions, 1);
  condition even = {expr_scale(k, f->h, 4), 0, 17, 2};
  condition odd = {expr_add(k, expr_scale(k, f->h, 4), expr_integer(k, 1)), 0, 18, 2};
  assert_int_equal(expr_read(k, x, &f->h, &even, 1, zero)->n_conditions, 0);
  assert_int_equal(expr_read(k, x, &f->h, &odd, 1, zero)->kind, EXPR_CONSTANT);
}

static void reals_keep_every_bit(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  uint32_t x = kernel_add_buffer(k, "x", make_type(DTYPE_F32, 1, (int64_t[]){5}), ACCESS_IN);
  const expr *e = expr_read(k, x, &f->h, NULL, 0, (scalar){0});
  const expr *one = expr_constant(k, DTYPE_F32, (scalar){.real = 1});
  const expr *zero = expr_constant(k, DTYPE_F32, (scalar){.real = 0});
  assert_ptr_equal(expr_apply(k, OP_MUL, DTYPE_F32, (const expr *[]){e, one}, 2), e);
  assert_ptr_not_equal(expr_apply(k, OP_ADD, DTYPE_F32, (const expr *[]){e, zero}, 2), e);
  assert_ptr_not_equal(expr_apply(k, OP_MUL, DTYPE_F32, (const expr *[]){e, zero}, 2), zero);
  const expr *wide = expr_apply(k, OP_CAST, DTYPE_F64, &e, 1);
  assert_ptr_equal(expr_apply(k, OP_CAST, DTYPE_F32, &wide, 1), e);
  const expr *narrow = expr_apply(k, OP_CAST, DTYPE_BF16, &e, 1);
  assert_ptr_not_equal(expr_apply(k, OP_CAST, DTYPE_F32, &narrow, 1), e);
}

static const expr *shift_axis(void *context, kernel *into, uint32_t axis) {
  (void)context;
  return expr_add(into, expr_axis(into, axis), expr_integer(into, 100));
}

static void rewriting_keeps_sharing(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  const expr *e = expr_apply(k, OP_CAST, DTYPE_F64, &f->h, 1);
  for (int i = 0; i < 60; i++) e = expr_apply(k, OP_ADD, DTYPE_F64, (const expr *[]){e, e}, 2); /* 2^60 paths */
  expr_rewrite how = {.axis = shift_axis};
  const expr *shifted = expr_rewrite_into(k, k, e, &how);
  assert_ptr_not_equal(shifted, e);
  assert_ptr_equal(shifted->args[0], shifted->args[1]);
}

/* -- random expressions ------------------------------------------------------------------------------ */

static uint64_t next_random(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return *seed >> 33;
}

enum { SAMPLES = 12 };
typedef struct {
  const expr *e;
  int64_t value[SAMPLES]; /* at random points */
} sampled;

static int64_t evaluate(const expr *e, const int64_t *point) {
  if (e->kind == EXPR_CONSTANT) return e->constant.integer;
  if (e->kind == EXPR_AXIS) return point[e->number];
  scalar args[3];
  for (uint32_t i = 0; i < e->n_args; i++) args[i].integer = evaluate(e->args[i], point);
  return op_evaluate(e->op, DTYPE_I64, DTYPE_I64, args).integer;
}

static void normal_forms_keep_values(void **state) {
  fixture *f = *state;
  kernel *k = f->k;
  uint64_t seed = 20;
  static const op_id ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_FLOOR_DIV, OP_MOD, OP_MIN, OP_MAX, OP_NEG};
  static const int64_t extent[] = {3, 5, 7, 105};
  static const int64_t constants[] = {1, 2, 3, 4, 6, 12}; /* that divide each other, so that rules meet */
  int64_t point[SAMPLES][4];
  for (int s = 0; s < SAMPLES; s++)
    for (int i = 0; i < 4; i++) point[s][i] = (int64_t)(next_random(&seed) % (uint64_t)extent[i]);
  for (int round = 0; round < 2000; round++) {
    sampled pool[20];
    for (int i = 0; i < 4; i++) {
      pool[i].e = expr_axis(k, (uint32_t)i);
      for (int s = 0; s < SAMPLES; s++) pool[i].value[s] = point[s][i];
    }
    for (int i = 4; i < 20; i++) {
      op_id op = ops[next_random(&seed) % 8];
      const sampled *x = &pool[next_random(&seed) % (uint64_t)i];
      const sampled *y = &pool[next_random(&seed) % (uint64_t)i];
      bool constant = op == OP_FLOOR_DIV || op == OP_MOD || op == OP_MUL || next_random(&seed) % 2;
      int64_t c = constants[next_random(&seed) % 6];
      const expr *args[] = {x->e, constant ? expr_integer(k, c) : y->e};
      pool[i].e = expr_apply(k, op, DTYPE_I64, args, op == OP_NEG ? 1 : 2);
      for (int s = 0; s < SAMPLES; s++) {
        scalar v[] = {{.integer = x->value[s]}, {.integer = constant ? c : y->value[s]}};
        pool[i].value[s] = op_evaluate(op, DTYPE_I64, DTYPE_I64, v).integer;
        assert_int_equal(evaluate(pool[i].e, point[s]), pool[i].value[s]);
        assert_true(pool[i].e->range.low <= pool[i].value[s] && pool[i].value[s] <= pool[i].e->range.high);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(equal_expressions_are_one, setup, teardown),
      cmocka_unit_test_setup_teardown(split_indices_dissolve, setup, teardown),
      cmocka_unit_test_setup_teardown(merged_axes_recombine, setup, teardown),
      cmocka_unit_test_setup_teardown(quotients_of_quotients, setup, teardown),
      cmocka_unit_test_setup_teardown(casts_of_indices_are_transparent, setup, teardown),
      cmocka_unit_test_setup_teardown(decided_choices_vanish, setup, teardown),
      cmocka_unit_test_setup_teardown(conditions_are_decided, setup, teardown),
      cmocka_unit_test_setup_teardown(reals_keep_every_bit, setup, teardown),
      cmocka_unit_test_setup_teardown(rewriting_keeps_sharing, setup, teardown),
      cmocka_unit_test_setup_teardown(normal_forms_keep_values, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
