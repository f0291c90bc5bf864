/* Loops made by hand: what they compute, what their text is, and what the verifier refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/loops.h"

typedef const loops_expr *term;

static uint32_t add_buffer(loops *l, const char *name, int64_t elements, bool written) {
  return loops_add_buffer(l, (loops_buffer){.name = name, .type = DTYPE_F32, .elements = elements, .written = written});
}

static term load(loops *l, uint32_t buffer, term offset, uint32_t lanes, uint32_t active, int64_t stride) {
  return loops_node(l, (loops_expr){.kind = LOOPS_LOAD,
                                    .type = DTYPE_F32,
                                    .lanes = lanes,
                                    .active = active,
                                    .stride = stride,
                                    .number = buffer,
                                    .n_args = 1,
                                    .args = &offset});
}

static term apply(loops *l, op_id op, dtype result, term x, term y) {
  return loops_apply(l, op, result, (term[]){x, y}, 2);
}

static statement *set(loops *l, block *b, uint32_t number, term v) {
  return loops_append(l, b, (statement){.kind = STATEMENT_SET, .number = number, .value = v});
}

static void store(loops *l, block *b, uint32_t buffer, term offset, term v, uint32_t active, int64_t stride) {
  loops_append(
      l, b,
      (statement){
          .kind = STATEMENT_STORE, .number = buffer, .offset = offset, .value = v, .active = active, .stride = stride});
}

static void add_for(loops *l, block *to, uint32_t index, int64_t begin, int64_t end, int64_t step, block body) {
  loops_append(l, to,
               (statement){.kind = STATEMENT_FOR,
                           .number = index,
                           .begin = loops_integer(l, begin),
                           .end = loops_integer(l, end),
                           .step = step,
                           .body = body});
}

/* y[i] = sum over j of x[3 i + j] for i in 0..4, with one iteration for each i. */
static loops *row_sums(arena *a, int64_t elements_of_x) {
  loops *l = loops_new(a, "rows");
  uint32_t x = add_buffer(l, "x", elements_of_x, false), y = add_buffer(l, "y", 4, true);
  uint32_t sum = loops_add_register(l, DTYPE_F32, 1), j = loops_add_register(l, DTYPE_I64, 1);
  term row = apply(l, OP_MUL, DTYPE_I64, loops_variable(l, 0), loops_integer(l, 3));
  block body = {0};
  l->iterations = 4;
  set(l, &l->body, sum, loops_constant(l, DTYPE_F32, 1, (scalar){.real = 0}));
  term element = load(l, x, apply(l, OP_ADD, DTYPE_I64, row, loops_variable(l, j)), 1, 1, 1);
  set(l, &body, sum, apply(l, OP_ADD, DTYPE_F32, loops_variable(l, sum), element));
  add_for(l, &l->body, j, 0, 3, 1, body);
  store(l, &l->body, y, loops_variable(l, 0), loops_variable(l, sum), 1, 1);
  return l;
}

static void loops_run_as_written(void **state) {
  (void)state;
  arena *a = arena_new();
  float x[12], y[4] = {0};
  for (int i = 0; i < 12; i++) x[i] = (float)i;
  loops *l = row_sums(a, 12);
  assert_null(loops_verify(l, a));
  loops_interpret(l, (void *[]){x, y}, a);
  for (int i = 0; i < 4; i++) assert_true(y[i] == (float)(9 * i + 3));
  arena_free(a);
}

static void accesses_beyond_the_end_are_found(void **state) {
  (void)state;
  arena *a = arena_new();
  const char *wrong = loops_verify(row_sums(a, 11), a);
  assert_non_null(wrong);
  assert_non_null(strstr(wrong, "x at 0..11"));
  arena_free(a);
}

static void lanes_beyond_the_active_ones_are_not_touched(void **state) {
  (void)state;
  arena *a = arena_new();
  loops *l = loops_new(a, "lanes");
  uint32_t x = add_buffer(l, "x", 5, false), y = add_buffer(l, "y", 5, true), z = add_buffer(l, "z", 1, true);
  uint32_t v = loops_add_register(l, DTYPE_F32, 4);
  float in[5] = {1, 2, 4, 8, 16}, out[5] = {0}, sum[1] = {0};
  set(l, &l->body, v, load(l, x, loops_integer(l, 0), 4, 3, 2));
  store(l, &l->body, y, loops_integer(l, 4), loops_variable(l, v), 3, -2);
  term all = loops_variable(l, v);
  term total = loops_node(
      l,
      (loops_expr){
          .kind = LOOPS_REDUCE, .op = OP_ADD, .type = DTYPE_F32, .lanes = 1, .active = 3, .n_args = 1, .args = &all});
  store(l, &l->body, z, loops_integer(l, 0), total, 1, 1);
  assert_null(loops_verify(l, a));
  loops_interpret(l, (void *[]){in, out, sum}, a);
  assert_true(out[4] == 1 && out[2] == 4 && out[0] == 16 && out[1] == 0 && out[3] == 0 && sum[0] == 21);
  arena_free(a);
}

static void tests_narrow_what_they_guard(void **state) {
  (void)state;
  arena *a = arena_new();
  for (int guarded = 0; guarded < 2; guarded++) {
    loops *l = loops_new(a, "guard");
    uint32_t x = add_buffer(l, "x", 4, false), y = add_buffer(l, "y", 8, true),
             at = loops_add_register(l, DTYPE_I64, 1);
    l->iterations = 8;
    set(l, &l->body, at, apply(l, OP_SUB, DTYPE_I64, loops_variable(l, 0), loops_integer(l, 2)));
    term low = apply(l, OP_LE, DTYPE_BOOL, loops_integer(l, 0), loops_variable(l, at));
    term high = apply(l, OP_LT, DTYPE_BOOL, loops_variable(l, at), loops_integer(l, 4));
    block body = {0};
    store(l, guarded ? &body : &l->body, y, loops_variable(l, 0), load(l, x, loops_variable(l, at), 1, 1, 1), 1, 1);
    loops_append(l, &l->body,
                 (statement){.kind = STATEMENT_IF, .value = apply(l, OP_AND, DTYPE_BOOL, low, high), .body = body});
    assert_int_equal(loops_verify(l, a) == NULL, guarded);
    if (!guarded) continue;
    float in[4] = {1, 2, 3, 4}, out[8] = {0};
    loops_interpret(l, (void *[]){in, out}, a);
    for (int i = 0; i < 8; i++) assert_true(out[i] == (float)(i >= 2 && i < 6 ? i - 1 : 0));
  }
  arena_free(a);
}

/* An address that was computed outside of the IF is known as well as what it was computed from; what may have changed
 * since is not. */
static void tests_narrow_what_was_computed_before(void **state) {
  (void)state;
  arena *a = arena_new();
  for (int changed = 0; changed < 2; changed++) {
    loops *l = loops_new(a, "guard");
    uint32_t x = add_buffer(l, "x", 8, false), y = add_buffer(l, "y", 8, true), at = loops_add_register(l, DTYPE_I64, 1),
             twice = loops_add_register(l, DTYPE_I64, 1);
    l->iterations = 8;
    set(l, &l->body, at, apply(l, OP_ADD, DTYPE_I64, loops_variable(l, 0), loops_integer(l, 0)));
    set(l, &l->body, twice, apply(l, OP_MUL, DTYPE_I64, loops_variable(l, at), loops_integer(l, 2)));
    if (changed) set(l, &l->body, at, loops_integer(l, 0));
    block body = {0};
    store(l, &body, y, loops_variable(l, 0), load(l, x, loops_variable(l, twice), 1, 1, 1), 1, 1);
    loops_append(l, &l->body,
                 (statement){.kind = STATEMENT_IF, .value = apply(l, OP_LT, DTYPE_BOOL, loops_variable(l, at), loops_integer(l, 4)), .body = body});
    assert_int_equal(loops_verify(l, a) == NULL, !changed);
  }
  arena_free(a);
}

/* x - 5 * (x / 5) is in 0..4, although arithmetic on ranges alone would not know. */
static void remainders_have_their_range(void **state) {
  (void)state;
  arena *a = arena_new();
  for (int64_t elements = 4; elements <= 5; elements++) {
    loops *l = loops_new(a, "remainder");
    uint32_t x = add_buffer(l, "x", elements, false), y = add_buffer(l, "y", 20, true),
             q = loops_add_register(l, DTYPE_I64, 1);
    l->iterations = 20;
    set(l, &l->body, q, apply(l, OP_FLOOR_DIV, DTYPE_I64, loops_variable(l, 0), loops_integer(l, 5)));
    term back = apply(l, OP_MUL, DTYPE_I64, loops_variable(l, q), loops_integer(l, 5));
    term rest = apply(l, OP_SUB, DTYPE_I64, loops_variable(l, 0), back);
    store(l, &l->body, y, loops_variable(l, 0), load(l, x, rest, 1, 1, 1), 1, 1);
    assert_int_equal(loops_verify(l, a) == NULL, elements == 5);
  }
  arena_free(a);
}

/* A box of 64 rows that a team brings, and one thing about it that is wrong. */
static void ill_formed_boxes_are_refused(void **state) {
  enum { RIGHT, BYTES, ARRIVAL, UNTOLD, SHAPE, BEHIND, REGISTER, FAULTS };
  (void)state;
  arena *a = arena_new();
  for (int fault = RIGHT; fault < FAULTS; fault++) {
    loops *l = loops_new(a, "boxes");
    loops_add_buffer(l, (loops_buffer){.name = "x", .type = DTYPE_BF16, .place = PLACE_ARGUMENT, .elements = 70 * 72});
    const uint32_t to = loops_add_buffer(l, (loops_buffer){.name = "rows", .type = DTYPE_BF16, .place = PLACE_LOCAL, .written = true, .elements = 64 * 64});
    const uint32_t unset = loops_add_register(l, DTYPE_I64, 1);
    term zero = loops_integer(l, 0), at = fault == REGISTER ? loops_variable(l, unset) : loops_integer(l, -3), offset = loops_integer(l, fault == BEHIND ? 8 : 0);
    l->team = 4;
    l->team_register = loops_add_register(l, DTYPE_I64, 1);
    l->arrivals = 1;
    const loops_box shape = {.buffer = 0, .rank = 2, .extent = {72, fault == SHAPE ? 71 : 70}, .stride = {1, 72}, .size = {64, 64}};
    const uint32_t box = loops_add_box(l, &shape);
    assert_int_equal(loops_add_box(l, &shape), box);
    term arrival = fault == ARRIVAL ? loops_integer(l, 1) : zero;
    if (fault != UNTOLD) loops_append(l, &l->body, (statement){.kind = STATEMENT_EXPECT, .offset = arrival, .number = fault == BYTES ? 64 * 64 : 2 * 64 * 64});
    loops_append(l, &l->body, (statement){.kind = STATEMENT_BOX, .number = to, .from = box, .offset = offset, .source = arrival, .at = {zero, at}});
    loops_append(l, &l->body, (statement){.kind = STATEMENT_ARRIVED, .offset = zero, .source = zero});
    const char *wrong = loops_verify(l, a);
    if (!wrong != (fault == RIGHT)) fail_msg("fault %d: %s\n%s", fault, wrong ? wrong : "taken", loops_print(l, a));
  }
  arena_free(a);
}

static void ill_formed_loops_are_refused(void **state) {
  (void)state;
  arena *a = arena_new();
  for (int fault = 0; fault < 5; fault++) {
    loops *l = loops_new(a, "fault");
    uint32_t x = add_buffer(l, "x", 4, false), y = add_buffer(l, "y", 4, true);
    uint32_t r = loops_add_register(l, DTYPE_F32, 1), wide = loops_add_register(l, DTYPE_F32, 4);
    term zero = loops_integer(l, 0), element = load(l, x, zero, 1, 1, 1);
    if (fault == 0) store(l, &l->body, y, zero, loops_variable(l, r), 1, 1);                        /* not set */
    if (fault == 1) set(l, &l->body, wide, element);                                                /* lanes */
    if (fault == 2) store(l, &l->body, x, zero, element, 1, 1);                                     /* only read */
    if (fault == 3) store(l, &l->body, y, zero, zero, 1, 1);                                        /* type */
    if (fault == 4) add_for(l, &l->body, loops_add_register(l, DTYPE_I64, 1), 0, 4, 0, (block){0}); /* no step */
    assert_non_null(loops_verify(l, a));
  }
  arena_free(a);
}

static void fused_multiplication_rounds_once(void **state) {
  (void)state;
  arena *a = arena_new();
  loops *l = loops_new(a, "fma");
  uint32_t y = add_buffer(l, "y", 1, true);
  double factor = 1 + 0x1p-12;
  term x = loops_constant(l, DTYPE_F32, 1, (scalar){.real = factor});
  term minus = loops_constant(l, DTYPE_F32, 1, (scalar){.real = -(1 + 0x1p-11)});
  term v = loops_node(
      l, (loops_expr){.kind = LOOPS_FMA, .type = DTYPE_F32, .lanes = 1, .n_args = 3, .args = (term[]){x, x, minus}});
  store(l, &l->body, y, loops_integer(l, 0), v, 1, 1);
  float out[1];
  loops_interpret(l, (void *[]){out}, a);
  assert_true(out[0] == 0x1p-24f);
  arena_free(a);
}

static void texts_show_statements_and_lanes(void **state) {
  (void)state;
  arena *a = arena_new();
  const char *text = loops_print(row_sums(a, 12), a);
  assert_non_null(strstr(text, "for r2 = 0 to 3 step 1 {"));
  assert_non_null(strstr(text, "x : f32[12]"));
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(loops_run_as_written),
      cmocka_unit_test(accesses_beyond_the_end_are_found),
      cmocka_unit_test(lanes_beyond_the_active_ones_are_not_touched),
      cmocka_unit_test(tests_narrow_what_they_guard),
      cmocka_unit_test(tests_narrow_what_was_computed_before),
      cmocka_unit_test(remainders_have_their_range),
      cmocka_unit_test(ill_formed_boxes_are_refused), cmocka_unit_test(ill_formed_loops_are_refused),
      cmocka_unit_test(fused_multiplication_rounds_once),
      cmocka_unit_test(texts_show_statements_and_lanes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
