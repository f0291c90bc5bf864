/* Shapes that meet, shapes that do not, and the values of the views. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frontend/broadcast.h"

static tensor_type shape(uint32_t rank, int64_t a, int64_t b, int64_t c) {
  return make_type(DTYPE_F32, rank, (int64_t[]){a, b, c});
}

static void meets(tensor_type x, tensor_type y, tensor_type expected) {
  tensor_type out;
  assert_true(broadcast_shape(&x, &y, &out) && type_equal(&out, &expected));
  assert_true(broadcast_shape(&y, &x, &out) && type_equal(&out, &expected));
}

static void never_meets(tensor_type x, tensor_type y) {
  tensor_type out;
  assert_false(broadcast_shape(&x, &y, &out));
  assert_false(broadcast_shape(&y, &x, &out));
}

static void test_shapes(void **state) {
  (void)state;
  meets(shape(0, 0, 0, 0), shape(2, 4, 3, 0), shape(2, 4, 3, 0));
  meets(shape(1, 3, 0, 0), shape(3, 2, 4, 3), shape(3, 2, 4, 3));
  meets(shape(2, 4, 1, 0), shape(2, 1, 3, 0), shape(2, 4, 3, 0));
  never_meets(shape(1, 4, 0, 0), shape(2, 4, 1, 0));
  never_meets(shape(1, 1, 0, 0), shape(2, 4, 3, 0));
  never_meets(shape(2, 4, 3, 0), shape(3, 2, 4, 3));
  never_meets(shape(2, 3, 4, 0), shape(3, 2, 4, 3));
  never_meets(shape(2, 4, 3, 0), shape(2, 4, 2, 0));
}

static void test_values(void **state) {
  (void)state;
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  graph *g = graph_new(a, "meeting");
  value column = graph_parameter(g, "data", "column", shape(2, 2, 1, 0), (span){0});
  value row = graph_parameter(g, "data", "row", shape(1, 3, 0, 0), (span){0});
  value grid = graph_parameter(g, "data", "grid", shape(2, 1, 3, 0), (span){0});
  value wide = row;
  assert_true(broadcast_together(g, d, "add", &grid, &wide, (span){0}));
  value sum = graph_binary(g, OP_ADD, grid, wide, (span){0});
  assert_true(broadcast_together(g, d, "add", &column, &sum, (span){0}));
  sum = graph_binary(g, OP_ADD, column, sum, (span){0});
  graph_add_result(g, "output", "sum", sum, (span){0});
  assert_null(graph_verify(g, a));
  const float columns[] = {100, 200}, rows[] = {1, 2, 3}, grids[] = {10, 20, 30};
  const graph_binding bindings[] = {
      {"data", "column", columns}, {"data", "row", rows}, {"data", "grid", grids}};
  const char *error = NULL;
  graph_run *run = graph_interpret(g, bindings, 3, a, &error);
  assert_non_null(run);
  const float expected[] = {111, 122, 133, 211, 222, 233};
  assert_memory_equal(run->data[sum], expected, sizeof expected);
  arena_free(a);
}

static void test_message(void **state) {
  (void)state;
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  graph *g = graph_new(a, "classic");
  value x = graph_parameter(g, "data", "x", shape(1, 4, 0, 0), (span){0});
  value y = graph_parameter(g, "data", "y", shape(2, 4, 1, 0), (span){0});
  value left = x, right = y;
  assert_false(broadcast_together(g, d, "sub", &left, &right, (span){0}));
  assert_true(left == x && right == y && d->errors == 1);
  assert_int_equal(d->items[0]->code, DIAG_SHAPE_MISMATCH);
  assert_string_equal(d->items[0]->message, "sub got f32[4] and f32[4,1], whose shapes do not meet");
  assert_int_equal(d->items[0]->n_notes, 2);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_values),
                                     cmocka_unit_test(test_message)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
