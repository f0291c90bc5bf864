/* Loops: their derivatives of first and second order against central differences in f64, whole and cut in chunks;
 * what dead code leaves of them; what they need of memory. */
#include "plan_testing.h"

#include "ir/region.h"

/* -- derivatives ------------------------------------------------------------------------------------------------- */

/* f64 parameters "a", "b", ... and the scalar that is differentiated, as text; the value of the scalar is `loss`. */
typedef struct {
  const char *name;
  uint32_t n_inputs;
  const char *body;
  value loss;
} subject;

static const char *input_name(bench *b, uint32_t i) { return arena_printf(b->arena, "%c", (int)('a' + i)); }

/* sum(v * v * weight), with weights that differ. */
static value weighted(graph *g, value v) {
  const tensor_type type = *graph_type(g, v);
  double *weights = ARENA_ARRAY(g->arena, double, type_elements(&type) + 1);
  for (int64_t i = 0; i < type_elements(&type); i++) weights[i] = 0.3 + 0.17 * (double)(i % 5);
  const value square = graph_binary(g, OP_MUL, v, v, place(3));
  return sum_all(g, graph_binary(g, OP_MUL, square, graph_literal(g, type, weights, place(3)), place(3)), place(3));
}

/* Results "loss", "slope" (of the weighted squares of its derivatives), and the derivatives of both by every input. */
static graph *derivatives_of(bench *b, const subject *s) {
  graph *g = parsed_graph(b, s->body);
  value x[8], slope = 0;
  for (uint32_t i = 0; i < s->n_inputs; i++) x[i] = i + 1;
  const value first = graph_grad(g, s->loss, x, s->n_inputs, place(4));
  for (uint32_t i = 0; i < s->n_inputs; i++) {
    const value part = weighted(g, first + i);
    slope = slope ? graph_binary(g, OP_ADD, slope, part, place(5)) : part;
  }
  const value second = graph_grad(g, slope, x, s->n_inputs, place(6));
  graph_add_result(g, "output", "loss", s->loss, place(7));
  graph_add_result(g, "output", "slope", slope, place(7));
  for (uint32_t i = 0; i < s->n_inputs; i++) {
    graph_add_result(g, "output", arena_printf(b->arena, "loss/%s", input_name(b, i)), first + i, place(7));
    graph_add_result(g, "output", arena_printf(b->arena, "slope/%s", input_name(b, i)), second + i, place(7));
  }
  return after(b, pass_dce, after(b, pass_autodiff, g));
}

static void compare(const char *name, const char *what, int64_t element, double found, double expected, double tolerance) {
  if (fabs(found - expected) <= tolerance * (1 + fabs(expected))) return;
  fail_msg("%s, %s[%lld]: %.12g, should be %.12g", name, what, (long long)element, found, expected);
}

static graph_binding *inputs_of(bench *b, const graph *g, uint32_t n) {
  graph_binding *bindings = ARENA_ARRAY(b->arena, graph_binding, n);
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *at = &g->nodes[i];
    if (at->op != OP_PARAMETER) continue;
    const char *name = node_attribute(at, ATTR_NAME)->as.text;
    const int64_t size = type_elements(graph_type(g, at->first_result));
    double *data = ARENA_ARRAY(b->arena, double, size);
    for (int64_t k = 0; k < size; k++) data[k] = 1.6 * bench_random(b) - 0.8;
    bindings[*name - 'a'] = (graph_binding){"data", name, data};
  }
  return bindings;
}

/* Every result of one graph equals that of another. */
static void assert_same_results(bench *b, const subject *s, const graph *g, const graph *other, const graph_binding *x) {
  const graph_run *run = interpret(b, g, x, s->n_inputs), *other_run = interpret(b, other, x, s->n_inputs);
  for (uint32_t i = 0; i < g->n_results; i++) {
    const double *expected = run->data[g->results[i].value], *found = result_data(other, other_run, g->results[i].name);
    for (int64_t k = 0; k < type_elements(graph_type(g, g->results[i].value)); k++) compare(s->name, g->results[i].name, k, found[k], expected[k], 1e-9);
  }
}

static void check(bench *b, const subject *s) {
  const graph *g = derivatives_of(b, s);
  graph_binding *x = inputs_of(b, g, s->n_inputs);
  const graph_run *exact = interpret(b, g, x, s->n_inputs);
  for (uint32_t i = 0; i < s->n_inputs; i++) {
    const char *names[] = {"loss", "slope"};
    double *data = (double *)(uintptr_t)x[i].data;
    for (int64_t k = 0; k < type_elements(graph_type(g, i + 1)); k++) {
      const double middle = data[k], h = 2e-5;
      double sides[2][2];
      for (int side = 0; side < 2; side++) {
        data[k] = side ? middle + h : middle - h;
        const graph_run *run = interpret(b, g, x, s->n_inputs);
        for (int order = 0; order < 2; order++) sides[order][side] = *(double *)result_data(g, run, names[order]);
      }
      data[k] = middle;
      for (int order = 0; order < 2; order++) {
        const char *name = arena_printf(b->arena, "%s/%s", names[order], input_name(b, i));
        const double *found = result_data(g, exact, name);
        compare(s->name, name, k, found[k], (sides[order][1] - sides[order][0]) / (2 * h), 2e-6);
      }
    }
  }
  const graph *small = after(b, pass_dce, after(b, pass_cse, after(b, pass_fold, after(b, pass_canonicalise, g))));
  assert_same_results(b, s, g, small, x);
  assert_plan_equals_graph(b, small, fused(b, small), 1e-9);
  bench cutting = *b;
  cutting.context.most_start_bytes = 1;
  assert_same_results(b, s, g, derivatives_of(&cutting, s), x);
}

/* h <- tanh(h w + x u), an invariant used twice; the outputs are the carries. `times` and the direction vary. */
static void a_recurrent_network(void **state) {
  bench *b = *state;
  for (int i = 0; i < 8; i++) {
    static const int times[] = {1, 2, 5, 18};
    const int n = times[i / 2];
    const char *body = arena_printf(b->arena,
                                    "  %%1 = parameter {role=data, name=\"a\"} : f64[%d,1,2]\n"
                                    "  %%2 = parameter {role=data, name=\"b\"} : f64[1,2]\n"
                                    "  %%3 = parameter {role=data, name=\"c\"} : f64[2,2]\n"
                                    "  %%4, %%5 = repeat(%%2, %%1, %%3) {times=%d, carries=1, slices=1%s} : f64[1,2], f64[%d,1,2] {\n"
                                    "    %%1 = parameter {role=state, name=\"0\"} : f64[1,2]\n"
                                    "    %%2 = parameter {role=slice, name=\"0\"} : f64[1,2]\n"
                                    "    %%3 = parameter {role=invariant, name=\"0\"} : f64[2,2]\n"
                                    "    %%4 = contract(%%1, %%3) {spec=\"i,k; k,j -> i,j\"} : f64[1,2]\n"
                                    "    %%5 = contract(%%2, %%3) {spec=\"i,k; j,k -> i,j\"} : f64[1,2]\n"
                                    "    %%6 = add(%%4, %%5) : f64[1,2]\n"
                                    "    %%7 = tanh(%%6) : f64[1,2]\n"
                                    "    result state \"0\" %%7\n"
                                    "    result output \"0\" %%7\n"
                                    "  }\n"
                                    "  %%6 = mul(%%5, %%5) : f64[%d,1,2]\n"
                                    "  %%7 = reduce_sum(%%6) {axes=[0]} : f64[1,2]\n"
                                    "  %%8 = mul(%%7, %%4) : f64[1,2]\n"
                                    "  %%9 = reduce_sum(%%8) {axes=[0,1]} : f64[]\n",
                                    n, n, i % 2 ? ", reverse=1" : "", n, n);
    check(b, &(subject){"recurrent network", 3, body, 9});
  }
}

/* No carry: one iteration knows nothing of another. */
static void a_map(void **state) {
  check(*state, &(subject){"map", 2,
                           "  %1 = parameter {role=data, name=\"a\"} : f64[4,3]\n"
                           "  %2 = parameter {role=data, name=\"b\"} : f64[3]\n"
                           "  %3 = repeat(%1, %2) {times=4, carries=0, slices=1} : f64[4,3] {\n"
                           "    %1 = parameter {role=slice, name=\"0\"} : f64[3]\n"
                           "    %2 = parameter {role=invariant, name=\"0\"} : f64[3]\n"
                           "    %3 = exp(%2) : f64[3]\n"
                           "    %4 = mul(%1, %3) : f64[3]\n"
                           "    %5 = mul(%4, %1) : f64[3]\n"
                           "    result output \"0\" %5\n"
                           "  }\n"
                           "  %4 = mul(%3, %3) : f64[4,3]\n"
                           "  %5 = reduce_sum(%4) {axes=[0,1]} : f64[]\n",
                           5});
}

/* Two carries of which one is only counted, one goes into the other; the index; carries that swap; a dead output. */
static void several_carries(void **state) {
  check(*state, &(subject){"several carries", 3,
                           "  %1 = parameter {role=data, name=\"a\"} : f64[17,2]\n"
                           "  %2 = parameter {role=data, name=\"b\"} : f64[2]\n"
                           "  %3 = parameter {role=data, name=\"c\"} : f64[2]\n"
                           "  %4 = constant {value=3} : i32[]\n"
                           "  %5, %6, %7, %8 = repeat(%2, %3, %4, %1, %3) {times=17, carries=3, slices=1} : f64[2], f64[2], i32[], f64[17,2] {\n"
                           "    %1 = parameter {role=state, name=\"0\"} : f64[2]\n"
                           "    %2 = parameter {role=state, name=\"1\"} : f64[2]\n"
                           "    %3 = parameter {role=state, name=\"2\"} : i32[]\n"
                           "    %4 = parameter {role=slice, name=\"0\"} : f64[2]\n"
                           "    %5 = parameter {role=invariant, name=\"0\"} : f64[2]\n"
                           "    %6 = parameter {role=index, name=\"i\"} : i32[]\n"
                           "    %7 = add(%3, %6) : i32[]\n"
                           "    %8 = cast(%7) : f64[]\n"
                           "    %9 = broadcast(%8) {axes=[]} : f64[2]\n"
                           "    %10 = sin(%9) : f64[2]\n"
                           "    %11 = mul(%10, %4) : f64[2]\n"
                           "    %12 = add(%11, %2) : f64[2]\n"
                           "    %13 = tanh(%12) : f64[2]\n"
                           "    %14 = mul(%13, %5) : f64[2]\n"
                           "    %15 = mul(%4, %1) : f64[2]\n"
                           "    result state \"0\" %14\n"
                           "    result state \"1\" %1\n"
                           "    result state \"2\" %7\n"
                           "    result output \"0\" %15\n"
                           "  }\n"
                           "  %9 = mul(%5, %6) : f64[2]\n"
                           "  %10 = reduce_sum(%9) {axes=[0]} : f64[]\n",
                           10});
}

/* A step of training within each iteration, over a loop of its own: grad inside of what is differentiated. */
static void grad_within_loops(void **state) {
  check(*state, &(subject){"grad within loops", 2,
                           "  %1 = parameter {role=data, name=\"a\"} : f64[3,4]\n"
                           "  %2 = parameter {role=data, name=\"b\"} : f64[]\n"
                           "  %3 = constant {value=0} : f64[]\n"
                           "  %4 = repeat(%3, %1, %2) {times=3, carries=1, slices=1} : f64[] {\n"
                           "    %1 = parameter {role=state, name=\"0\"} : f64[]\n"
                           "    %2 = parameter {role=slice, name=\"0\"} : f64[4]\n"
                           "    %3 = parameter {role=invariant, name=\"0\"} : f64[]\n"
                           "    %4 = repeat(%3, %2) {times=4, carries=1, slices=1} : f64[] {\n"
                           "      %1 = parameter {role=state, name=\"0\"} : f64[]\n"
                           "      %2 = parameter {role=slice, name=\"0\"} : f64[]\n"
                           "      %3 = mul(%1, %2) : f64[]\n"
                           "      %4 = sin(%3) : f64[]\n"
                           "      result state \"0\" %4\n"
                           "    }\n"
                           "    %5 = mul(%4, %4) : f64[]\n"
                           "    %6 = grad(%5, %3) : f64[]\n"
                           "    %7 = sub(%3, %6) : f64[]\n"
                           "    %8 = mul(%7, %7) : f64[]\n"
                           "    %9 = mul(%8, %7) : f64[]\n"
                           "    %10 = add(%1, %9) : f64[]\n"
                           "    result state \"0\" %10\n"
                           "  }\n",
                           4});
}

/* The gradient by a value that reaches the loop through one carry only, and stops inside. */
static void what_is_not_reached_is_not_carried(void **state) {
  bench *b = *state;
  graph *g = parsed_graph(b, "  %1 = parameter {role=data, name=\"a\"} : f64[2]\n"
                             "  %2 = parameter {role=data, name=\"b\"} : f64[2]\n"
                             "  %3, %4 = repeat(%1, %2) {times=4, carries=2, slices=0} : f64[2], f64[2] {\n"
                             "    %1 = parameter {role=state, name=\"0\"} : f64[2]\n"
                             "    %2 = parameter {role=state, name=\"1\"} : f64[2]\n"
                             "    %3 = sin(%1) : f64[2]\n"
                             "    %4 = stop_grad(%3) : f64[2]\n"
                             "    %5 = mul(%4, %2) : f64[2]\n"
                             "    result state \"0\" %3\n"
                             "    result state \"1\" %5\n"
                             "  }\n"
                             "  %5 = reduce_sum(%4) {axes=[0]} : f64[]\n"
                             "  %6, %7 = grad(%5, %1, %2) : f64[2], f64[2]\n"
                             "  result output \"da\" %6\n"
                             "  result output \"db\" %7\n");
  g = after(b, pass_dce, after(b, pass_autodiff, g));
  scalar zero;
  assert_true(graph_splat_value(g, g->results[0].value, &zero) && zero.real == 0);
  const node *backwards = graph_node(g, g->results[1].value);
  assert_int_equal(backwards->op, OP_REPEAT);
  assert_int_equal(node_integer(backwards, ATTR_CARRIES), 1);
  assert_int_equal(node_integer(backwards, ATTR_SLICES), 1); /* the first carry at the starts; the second is not looked at */
  assert_int_equal(node_integer(backwards, ATTR_REVERSE), 1);
}

/* -- random graphs ------------------------------------------------------------------------------------------------- */

/* sum over the parameters of sum(derivative * direction): the slope of y along the directions, which are literals. */
static value slope_along(graph *g, value y, const value *x, const double *const *direction, uint32_t n) {
  const value first = graph_grad(g, y, x, n, place(4));
  value slope = 0;
  for (uint32_t i = 0; i < n; i++) {
    const value along = graph_literal(g, *graph_type(g, x[i]), direction[i], place(5));
    const value part = sum_all(g, graph_binary(g, OP_MUL, first + i, along, place(5)), place(5));
    slope = slope ? graph_binary(g, OP_ADD, slope, part, place(5)) : part;
  }
  return slope;
}

enum { MOST_INPUTS = 40, ORDERS = 3 };

/* Results "0", "1", "2": a random scalar, its slope along random directions, and the slope of that. */
static void check_random(bench *b, random_source *random, int number) {
  static const char *const names[ORDERS] = {"0", "1", "2"};
  graph *g = random_graph(random, 8 + random_below(random, 16), DTYPE_F64, true, b->arena);
  const char *made = graph_print(g, NULL, b->arena);
  value x[MOST_INPUTS], y = g->results[0].value;
  const double *direction[MOST_INPUTS];
  uint32_t n = 0, n_seen = 0, n_bindings, binding_of[MOST_INPUTS];
  graph_binding *bindings = random_bindings(random, g, b->arena, &n_bindings);
  for (uint32_t i = 0; i < g->n_nodes; i++) { /* bindings are in the order of parameters */
    const tensor_type *t = graph_type(g, g->nodes[i].first_result);
    if (g->nodes[i].op != OP_PARAMETER || n == MOST_INPUTS) continue;
    const uint32_t at = n_seen++;
    if (t->dtype != DTYPE_F64) continue;
    double *d = ARENA_ARRAY(b->arena, double, type_elements(t) + 1);
    for (int64_t k = 0; k < type_elements(t); k++) d[k] = random_real(random, -1, 1);
    direction[n] = d;
    binding_of[n] = at;
    x[n++] = g->nodes[i].first_result;
  }
  g->n_results = 0;
  for (int order = 0; order < ORDERS; order++) {
    graph_add_result(g, "output", names[order], y, place(6));
    if (order + 1 < ORDERS) y = slope_along(g, y, x, direction, n);
  }
  const graph *plain = after(b, pass_autodiff, g);
  double values[3][ORDERS];
  for (int side = -1; side <= 1; side++) {
    const double h = 1e-5 * side;
    graph_binding *moved = arena_copy(b->arena, bindings, n_bindings * sizeof *moved);
    for (uint32_t i = 0; i < n; i++) {
      const int64_t size = type_elements(graph_type(g, x[i]));
      double *data = arena_copy(b->arena, bindings[binding_of[i]].data, (size_t)size * sizeof *data);
      for (int64_t k = 0; k < size; k++) data[k] += h * direction[i][k];
      moved[binding_of[i]].data = data;
    }
    const graph_run *run = interpret(b, plain, moved, n_bindings);
    for (int order = 0; order < ORDERS; order++) values[side + 1][order] = *(double *)result_data(plain, run, names[order]);
  }
  for (int order = 1; order < ORDERS; order++) {
    const double expected = (values[2][order - 1] - values[0][order - 1]) / 2e-5, found = values[1][order];
    const double size = 1 + fabs(expected) + fabs(values[1][0]) + fabs(values[1][1]);
    if (!(fabs(found - expected) <= 1e-4 * size)) fail_msg("graph %d, order %d: %.12g, by differences %.12g\n%s", number, order, found, expected, made);
  }
  const graph *lean = after(b, pass_dce, after(b, pass_cse, after(b, pass_canonicalise, plain)));
  assert_plan_equals_graph(b, lean, fused(b, lean), 1e-7);
}

static void random_graphs_have_derivatives(void **state) {
  bench *b = *state;
  const char *wanted = getenv("SSLC_RANDOM_GRAPHS");
  const int n = wanted ? atoi(wanted) : 100;
  for (int i = 0; i < n; i++) {
    bench one = {.arena = arena_new(), .random = b->random + (uint64_t)i};
    one.context = (pass_context){.arena = one.arena, .diagnostics = diagnostics_new(one.arena, sources_new(one.arena))};
    random_source random = {(uint64_t)i + 77};
    check_random(&one, &random, i);
    arena_free(one.arena);
  }
}

/* -- dead code ----------------------------------------------------------------------------------------------------- */

static void dead_parts_of_loops_go(void **state) {
  bench *b = *state;
  graph *g = parsed_graph(b, "  %1 = parameter {role=data, name=\"a\"} : f64[3,2]\n"
                             "  %2 = parameter {role=data, name=\"b\"} : f64[2]\n"
                             "  %3, %4, %5, %6, %7 = repeat(%2, %2, %2, %1, %1, %2, %2) {times=3, carries=3, slices=2} : f64[2], f64[2], f64[2], f64[3,2], f64[3,2] {\n"
                             "    %1 = parameter {role=state, name=\"0\"} : f64[2]\n"
                             "    %2 = parameter {role=state, name=\"1\"} : f64[2]\n"
                             "    %3 = parameter {role=state, name=\"2\"} : f64[2]\n"
                             "    %4 = parameter {role=slice, name=\"1\"} : f64[2]\n"
                             "    %5 = parameter {role=invariant, name=\"0\"} : f64[2]\n"
                             "    %6 = parameter {role=invariant, name=\"1\"} : f64[2]\n"
                             "    %7 = mul(%1, %5) : f64[2]\n"
                             "    %8 = add(%2, %3) : f64[2]\n"
                             "    %9 = mul(%2, %4) : f64[2]\n"
                             "    %10 = add(%9, %6) : f64[2]\n"
                             "    result state \"0\" %7\n"
                             "    result state \"1\" %10\n"
                             "    result state \"2\" %8\n"
                             "    result output \"0\" %7\n"
                             "    result output \"1\" %8\n"
                             "  }\n"
                             "  result output \"y\" %7\n");
  const char *expected = "graph t {\n"
                         "  %1 = parameter {role=data, name=\"a\"} : f64[3,2]\n"
                         "  %2 = parameter {role=data, name=\"b\"} : f64[2]\n"
                         "  %3, %4, %5 = repeat(%2, %2, %1, %2) {times=3, carries=2, slices=1} : f64[2], f64[2], f64[3,2] {\n"
                         "    %1 = parameter {role=state, name=\"0\"} : f64[2]\n"
                         "    %2 = parameter {role=state, name=\"1\"} : f64[2]\n"
                         "    %3 = parameter {role=slice, name=\"0\"} : f64[2]\n"
                         "    %4 = parameter {role=invariant, name=\"0\"} : f64[2]\n"
                         "    %5 = add(%1, %2) : f64[2]\n"
                         "    %6 = mul(%1, %3) : f64[2]\n"
                         "    %7 = add(%6, %4) : f64[2]\n"
                         "    result state \"0\" %7\n"
                         "    result state \"1\" %5\n"
                         "    result output \"0\" %5\n"
                         "  }\n"
                         "  result output \"y\" %5\n"
                         "}\n";
  assert_string_equal(graph_print(after(b, pass_dce, g), NULL, b->arena), expected);
}

static void equal_loops_are_one(void **state) {
  bench *b = *state;
  const char *loop = "repeat(%1) {times=3, carries=0, slices=1} : f64[3,2] {\n"
                     "    %1 = parameter {role=slice, name=\"0\"} : f64[2]\n"
                     "    %2 = sin(%1) : f64[2]\n"
                     "    result output \"0\" %2\n"
                     "  }\n";
  graph *g = parsed_graph(b, arena_printf(b->arena, "  %%1 = parameter {role=data, name=\"a\"} : f64[3,2]\n  %%2 = %s  %%3 = %s  %%4 = mul(%%2, %%3) : f64[3,2]\n  result output \"y\" %%4\n", loop, loop));
  assert_int_equal(count_op(after(b, pass_dce, after(b, pass_cse, g)), OP_REPEAT), 1);
}

/* -- memory -------------------------------------------------------------------------------------------------------- */

static plan *planned(bench *b, const graph *g) {
  b->context.target = &plain_target;
  plan *p = run_passes(g, &b->context, NULL, NULL);
  if (!p) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  return p;
}

/* Bytes of the arena for the gradient of a long loop with a large carry by where it starts. */
static int64_t bytes_of_long_loop(bench *b, int times, int64_t most_start_bytes) {
  bench own = *b;
  own.context.most_start_bytes = most_start_bytes;
  graph *g = parsed_graph(b, arena_printf(b->arena, "  %%1 = parameter {role=data, name=\"a\"} : f32[4096]\n"
                                                    "  %%2 = repeat(%%1) {times=%d, carries=1, slices=0} : f32[4096] {\n"
                                                    "    %%1 = parameter {role=state, name=\"0\"} : f32[4096]\n"
                                                    "    %%2 = sin(%%1) : f32[4096]\n"
                                                    "    result state \"0\" %%2\n"
                                                    "  }\n"
                                                    "  %%3 = reduce_sum(%%2) {axes=[0]} : f32[]\n"
                                                    "  %%4 = grad(%%3, %%1) : f32[4096]\n"
                                                    "  result output \"dx\" %%4\n", times));
  return planned(&own, g)->arena_bytes;
}

static void long_loops_keep_few_starts(void **state) {
  bench *b = *state;
  const int64_t carry = 4096 * 4, all = bytes_of_long_loop(b, 1024, INT64_MAX), cut = bytes_of_long_loop(b, 1024, 1 << 20);
  assert_true(all >= 1024 * carry);
  assert_true(cut >= 2 * 32 * carry && cut < 80 * carry); /* 2 sqrt(1024), and a few */
  assert_true(bytes_of_long_loop(b, 1000, 1 << 20) < 110 * carry); /* 31 chunks of 31, and 39 left over */
}

/* What a loop needs inside is in use together with what was made before it: so the loop comes first, though its result is larger than
 * that of the launch beside it. */
static void order_sees_what_a_loop_needs(void **state) {
  bench *b = *state;
  const plan *p = planned(b, parsed_graph(b, "  %1 = parameter {role=data, name=\"a\"} : f32[64]\n"
                                             "  %2 = parameter {role=data, name=\"x\"} : f32[32,64]\n"
                                             "  %3 = repeat(%1) {times=9, carries=1, slices=0} : f32[64] {\n"
                                             "    %1 = parameter {role=state, name=\"0\"} : f32[64]\n"
                                             "    %2 = contract(%1, %1) {spec=\"i; j -> i,j\"} : f32[64,64]\n"
                                             "    %3 = contract(%2, %2) {spec=\"i,k; k,j -> i,j\"} : f32[64,64]\n"
                                             "    %4 = contract(%3, %1) {spec=\"i,k; k -> i\"} : f32[64]\n"
                                             "    %5 = sin(%4) : f32[64]\n"
                                             "    result state \"0\" %5\n"
                                             "  }\n"
                                             "  %4 = contract(%2, %1) {spec=\"i,k; k -> i\"} : f32[32]\n"
                                             "  %5 = contract(%4, %3) {spec=\"i; j -> i,j\"} : f32[32,64]\n"
                                             "  result output \"y\" %5\n"));
  assert_non_null(p->launches[0].repeat);
  assert_true(p->launches[0].repeat->plan->arena_bytes >= 64 * 64 * 4);
  assert_true(p->n_launches > 1);
}

/* -- launches in front of loops ------------------------------------------------------------------------------------- */

static const plan_launch *find_loop(const plan *p) {
  for (uint32_t i = 0; i < p->n_launches; i++)
    if (p->launches[i].repeat) return &p->launches[i];
  fail_msg("no loop");
  return NULL;
}

/* Two sums of products of what stays the same, one behind the other, and one that changes; a loop within a loop. */
static void what_stays_the_same_runs_once(void **state) {
  bench *b = *state;
  const graph *g = parsed_graph(b, "  %1 = parameter {role=data, name=\"a\"} : f64[3,4,4]\n"
                                   "  %2 = parameter {role=data, name=\"b\"} : f64[4,4]\n"
                                   "  %3 = repeat(%1, %2) {times=3, carries=0, slices=1} : f64[3,4,4] {\n"
                                   "    %1 = parameter {role=slice, name=\"0\"} : f64[4,4]\n"
                                   "    %2 = parameter {role=invariant, name=\"0\"} : f64[4,4]\n"
                                   "    %3 = repeat(%1, %2) {times=2, carries=1, slices=0} : f64[4,4] {\n"
                                   "      %1 = parameter {role=state, name=\"0\"} : f64[4,4]\n"
                                   "      %2 = parameter {role=invariant, name=\"0\"} : f64[4,4]\n"
                                   "      %3 = contract(%2, %2) {spec=\"i,k; k,j -> i,j\"} : f64[4,4]\n"
                                   "      %4 = contract(%3, %3) {spec=\"i,k; k,j -> i,j\"} : f64[4,4]\n"
                                   "      %5 = contract(%4, %1) {spec=\"i,k; k,j -> i,j\"} : f64[4,4]\n"
                                   "      %6 = tanh(%5) : f64[4,4]\n"
                                   "      result state \"0\" %6\n"
                                   "    }\n"
                                   "    result output \"0\" %3\n"
                                   "  }\n"
                                   "  result output \"y\" %3\n");
  plan *p = fused(b, g);
  assert_int_equal(p->n_launches, 1);
  assert_int_equal(find_loop(find_loop(p)->repeat->plan)->repeat->plan->n_launches, 3);
  apply_pass(b, p, pass_layout, "layout");
  apply_pass(b, p, pass_hoist, "hoist");
  assert_int_equal(p->n_launches, 3);
  assert_int_equal(find_loop(p)->repeat->plan->n_launches, 1);
  assert_int_equal(find_loop(find_loop(p)->repeat->plan)->repeat->plan->n_launches, 1);
  assert_plan_equals_graph(b, g, p, 1e-12);
  assert_reads_back(b, p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_recurrent_network),
      TEST(a_map),
      TEST(several_carries),
      TEST(grad_within_loops),
      TEST(what_is_not_reached_is_not_carried),
      TEST(random_graphs_have_derivatives),
      TEST(dead_parts_of_loops_go),
      TEST(equal_loops_are_one),
      TEST(long_loops_keep_few_starts), TEST(order_sees_what_a_loop_needs),
      TEST(what_stays_the_same_runs_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
