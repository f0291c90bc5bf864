#include "graph_testing.h"

/* A graph with one f64 parameter "x" of n elements, and a grad of what `body` makes of it as output "dx". */
static graph *gradient_of(bench *b, uint32_t n, value (*body)(graph *g, value x)) {
  graph *g = graph_new(b->arena, "test");
  const value x = graph_parameter(g, "data", "x", shaped(DTYPE_F64, 1, n), place(1));
  graph_add_result(g, "output", "dx", graph_grad(g, body(g, x), &x, 1, place(9)), place(9));
  return after(b, pass_autodiff, g);
}

static const double *gradient_at(bench *b, const graph *g, const double *x) {
  const graph_binding binding = {"data", "x", x};
  return result_data(g, interpret(b, g, &binding, 1), "dx");
}

static value sum_of_squares(graph *g, value x) { return sum_all(g, graph_binary(g, OP_MUL, x, x, place(2)), place(3)); }

static void derives_a_sum_of_squares(void **state) {
  bench *b = *state;
  const graph *g = gradient_of(b, 3, sum_of_squares);
  const double x[] = {1, -2, 3}, *dx = gradient_at(b, g, x);
  assert_int_equal(count_op(g, OP_GRAD), 0);
  for (int i = 0; i < 3; i++) assert_true(dx[i] == 2 * x[i]);
}

static void derivative_nodes_stand_where_the_forward_nodes_do(void **state) {
  bench *b = *state;
  const graph *g = gradient_of(b, 3, sum_of_squares);
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    assert_int_equal(n->where.file, 1);
    if (n->op == OP_MUL) assert_int_equal(n->where.start, 2);
    if (n->op == OP_BROADCAST) assert_int_equal(n->where.start, 3); /* of the sum */
    if (n->op == OP_ADD) assert_int_equal(n->where.start, 1);       /* both uses of the parameter */
  }
}

static value other_parameter(graph *g, value x) {
  (void)x;
  return graph_parameter(g, "data", "unrelated", scalar_type(DTYPE_F64), place(2));
}

static void what_is_not_reached_has_a_zero_gradient(void **state) {
  bench *b = *state;
  const graph *g = gradient_of(b, 3, other_parameter);
  scalar s;
  assert_true(graph_splat_value(g, g->results[0].value, &s));
  assert_true(s.real == 0.0);
  assert_int_equal(graph_type(g, g->results[0].value)->dim[0], 3);
}

static value stopped(graph *g, value x) {
  const value stop = graph_unary(g, OP_STOP_GRAD, x, place(2));
  return sum_all(g, graph_binary(g, OP_MUL, x, stop, place(2)), place(3));
}

static void stop_grad_stops(void **state) {
  bench *b = *state;
  const double x[] = {4, 5}, *dx = gradient_at(b, gradient_of(b, 2, stopped), x);
  assert_true(dx[0] == 4 && dx[1] == 5);
}

static value rounded(graph *g, value x) {
  const value narrow = graph_cast(g, graph_binary(g, OP_MUL, x, x, place(2)), DTYPE_F32, place(2));
  return sum_all(g, graph_cast(g, narrow, DTYPE_F64, place(2)), place(3));
}

static void casts_between_reals_pass_the_cotangent(void **state) {
  bench *b = *state;
  const double x[] = {0.5, 3}, *dx = gradient_at(b, gradient_of(b, 2, rounded), x);
  assert_true(dx[0] == 1 && dx[1] == 6);
}

static value through_integers(graph *g, value x) {
  const value whole = graph_cast(g, x, DTYPE_I32, place(2));
  const value back = graph_cast(g, whole, DTYPE_F64, place(2));
  return sum_all(g, graph_binary(g, OP_MUL, x, back, place(2)), place(3));
}

static void integers_cut(void **state) {
  bench *b = *state;
  const double x[] = {2.5, -1.5}, *dx = gradient_at(b, gradient_of(b, 2, through_integers), x);
  assert_true(dx[0] == 2 && dx[1] == -1);
}

static value largest(graph *g, value x) {
  const int64_t axis = 0;
  return graph_reduce(g, OP_REDUCE_MAX, x, &axis, 1, place(2));
}

static void ties_of_a_maximum_go_to_the_lowest_index(void **state) {
  bench *b = *state;
  const double x[] = {1, 7, 7, 2}, *dx = gradient_at(b, gradient_of(b, 4, largest), x);
  const double expected[] = {0, 1, 0, 0};
  assert_memory_equal(dx, expected, sizeof expected);
}

/* Of a maximum over two axes that are not neighbours, among equal elements. */
static void ties_over_several_axes_go_to_the_first_in_row_major_order(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "test");
  const value x = graph_parameter(g, "data", "x", shaped(DTYPE_F64, 3, 2, 2, 2), place(1));
  const int64_t axes[] = {0, 2};
  const value y = sum_all(g, graph_reduce(g, OP_REDUCE_MAX, x, axes, 2, place(2)), place(3));
  graph_add_result(g, "output", "dx", graph_grad(g, y, &x, 1, place(4)), place(4));
  const double data[] = {1, 5, 3, 2, 5, 5, 3, 1};
  const double expected[] = {0, 1, 1, 0, 0, 0, 0, 0};
  assert_memory_equal(gradient_at(b, after(b, pass_autodiff, g), data), expected, sizeof expected);
}

static value sum_of_maxima(graph *g, value x) {
  const value one = graph_number(g, *graph_type(g, x), 1, place(2));
  return sum_all(g, graph_binary(g, OP_MAX, x, one, place(2)), place(3));
}

static void a_tie_of_max_goes_to_the_first_operand(void **state) {
  bench *b = *state;
  const double x[] = {0, 1, 2}, *dx = gradient_at(b, gradient_of(b, 3, sum_of_maxima), x);
  assert_true(dx[0] == 0 && dx[1] == 1 && dx[2] == 1);
}

/* The largest of pairs of max(0, x), over numbers with ties, below 0, at it and above. */
static void relu_behind_its_pooling_has_the_same_derivative(void **state) {
  bench *b = *state;
  enum { PAIRS = 25 };
  graph *g = graph_new(b->arena, "test");
  const value x = graph_parameter(g, "data", "x", shaped(DTYPE_F64, 2, PAIRS, 2), place(1));
  const value relu = graph_binary(g, OP_MAX, graph_number(g, *graph_type(g, x), 0, place(2)), x, place(2));
  const int64_t start[][2] = {{0, 0}, {0, 1}}, stop[][2] = {{PAIRS, 1}, {PAIRS, 2}}, stride[] = {1, 1};
  value tap[2];
  for (int i = 0; i < 2; i++) tap[i] = graph_slice(g, relu, start[i], stop[i], stride, place(3));
  const value pooled = graph_binary(g, OP_MAX, tap[0], tap[1], place(4));
  graph_add_result(g, "output", "dx", graph_grad(g, sum_all(g, graph_binary(g, OP_MUL, pooled, pooled, place(5)), place(5)), &x, 1, place(6)), place(6));
  double data[2 * PAIRS], expected[2 * PAIRS];
  for (int i = 0; i < PAIRS; i++) data[2 * i] = i / 5 - 2, data[2 * i + 1] = i % 5 - 2;
  memcpy(expected, gradient_at(b, after(b, pass_autodiff, g), data), sizeof expected);
  const graph *behind = after(b, pass_postpone, g);
  assert_int_equal(count_op(after(b, pass_dce, behind), OP_MAX), 2); /* one of pairs, one of 0 */
  assert_memory_equal(gradient_at(b, after(b, pass_autodiff, behind), data), expected, sizeof expected);
}

static void derives_by_an_intermediate_value(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "test");
  const value x = graph_parameter(g, "data", "x", scalar_type(DTYPE_F64), place(1));
  const value square = graph_binary(g, OP_MUL, x, x, place(2));
  const value y = graph_binary(g, OP_MUL, square, graph_binary(g, OP_MUL, square, x, place(3)), place(4));
  graph_add_result(g, "output", "dx", graph_grad(g, y, &square, 1, place(5)), place(5));
  const double at = 3; /* y = s * s * x, dy/ds = 2 s x with s = 9 */
  assert_true(gradient_at(b, after(b, pass_autodiff, g), &at)[0] == 54);
}

static void derives_a_value_by_itself(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "test");
  const value x = graph_parameter(g, "data", "x", scalar_type(DTYPE_F64), place(1));
  graph_add_result(g, "output", "dx", graph_grad(g, x, &x, 1, place(5)), place(5));
  const double at = 3;
  assert_true(gradient_at(b, after(b, pass_autodiff, g), &at)[0] == 1);
}

/* d/dx of a scalar, with further operators around it. */
static value fifth_power(graph *g, value x) {
  value y = x;
  for (int i = 0; i < 4; i++) y = graph_binary(g, OP_MUL, y, x, place(2));
  return y;
}

static void derivatives_nest(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "test");
  const value x = graph_parameter(g, "data", "x", scalar_type(DTYPE_F64), place(1));
  value y = fifth_power(g, x);
  for (int i = 0; i < 4; i++) y = graph_grad(g, y, &x, 1, place(3));
  graph_add_result(g, "output", "dx", y, place(3));
  const double at = 2;
  assert_true(gradient_at(b, after(b, pass_autodiff, g), &at)[0] == 240); /* 5 4 3 2 x */
}

/* One step of MAML: grad of the loss after an inner step of gradient descent, w' = w - 0.1 * 2 w. */
static void a_gradient_step_can_be_differentiated(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "test");
  const tensor_type scalar_f64 = scalar_type(DTYPE_F64);
  const value w = graph_parameter(g, "data", "x", scalar_f64, place(1));
  const value slope = graph_grad(g, graph_binary(g, OP_MUL, w, w, place(2)), &w, 1, place(2));
  const value step = graph_binary(g, OP_MUL, slope, graph_number(g, scalar_f64, 0.1, place(3)), place(3));
  const value fast = graph_binary(g, OP_SUB, w, step, place(4));
  const value outer = graph_binary(g, OP_MUL, fast, fast, place(5));
  graph_add_result(g, "output", "dx", graph_grad(g, outer, &w, 1, place(6)), place(6));
  const double at = 3;
  assert_true(fabs(gradient_at(b, after(b, pass_autodiff, g), &at)[0] - 2 * 3 * 0.64) < 1e-12);
}

static void several_results_of_one_grad(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "test");
  value x[3];
  const char *const names[] = {"a", "b", "c"};
  for (int i = 0; i < 3; i++) x[i] = graph_parameter(g, "data", names[i], scalar_type(DTYPE_F64), place(1));
  const value y = graph_binary(g, OP_MUL, x[0], x[1], place(2));
  const value first = graph_grad(g, y, x, 3, place(3));
  for (uint32_t i = 0; i < 3; i++) graph_add_result(g, "output", names[i], first + i, place(4));
  const double data[] = {3, 4, 5};
  graph_binding bindings[3];
  for (int i = 0; i < 3; i++) bindings[i] = (graph_binding){"data", names[i], &data[i]};
  const graph *d = after(b, pass_autodiff, g);
  const graph_run *run = interpret(b, d, bindings, 3);
  assert_true(*(double *)result_data(d, run, "a") == 4);
  assert_true(*(double *)result_data(d, run, "b") == 3);
  assert_true(*(double *)result_data(d, run, "c") == 0);
}

/* Only what leads from y to x is derived: a branch that x does not enter costs nothing. */
static void nothing_is_derived_beside_the_way(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "test");
  const value x = graph_parameter(g, "data", "x", scalar_type(DTYPE_F64), place(1));
  const value other = graph_parameter(g, "data", "other", scalar_type(DTYPE_F64), place(1));
  const value branch = graph_unary(g, OP_EXP, graph_unary(g, OP_SIN, other, place(2)), place(2));
  const value y = graph_binary(g, OP_MUL, x, branch, place(3));
  graph_add_result(g, "output", "dx", graph_grad(g, y, &x, 1, place(4)), place(4));
  const graph *d = after(b, pass_autodiff, g);
  assert_int_equal(count_op(d, OP_COS), 0);
  assert_int_equal(count_op(d, OP_EXP), 1);
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)
  const struct CMUnitTest tests[] = {
      TEST(derives_a_sum_of_squares),
      TEST(derivative_nodes_stand_where_the_forward_nodes_do),
      TEST(what_is_not_reached_has_a_zero_gradient),
      TEST(stop_grad_stops),
      TEST(casts_between_reals_pass_the_cotangent),
      TEST(integers_cut),
      TEST(ties_of_a_maximum_go_to_the_lowest_index),
      TEST(ties_over_several_axes_go_to_the_first_in_row_major_order),
      TEST(a_tie_of_max_goes_to_the_first_operand),
      TEST(relu_behind_its_pooling_has_the_same_derivative),
      TEST(derives_by_an_intermediate_value),
      TEST(derives_a_value_by_itself),
      TEST(derivatives_nest),
      TEST(a_gradient_step_can_be_differentiated),
      TEST(several_results_of_one_grad),
      TEST(nothing_is_derived_beside_the_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
