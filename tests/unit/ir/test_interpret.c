/* The reference interpreter: every structural primitive by hand, and the corners of the types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "tests/random_graph.h"

static arena *a;
static sources *s;

static int set_up(void **state) {
  (void)state;
  a = arena_new();
  s = sources_new(a);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  arena_free(a);
  return 0;
}

static graph *parse(const char *text) {
  diagnostics *d = diagnostics_new(a, s);
  graph *g = graph_parse(a, sources_add(s, "t.ir", text, strlen(text)), d);
  if (!g) fail_msg("%s", diagnostics_render(d, a, false));
  return g;
}

static graph_run *run_with(const graph *g, const void *x) {
  const char *error = NULL;
  graph_run *run = graph_interpret(g, &(graph_binding){"data", "x", x}, 1, a, &error);
  if (!run) fail_msg("%s", error);
  return run;
}

#define EXPECT(run, v, type, ...)                                                                            \
  do {                                                                                                       \
    const type want[] = {__VA_ARGS__};                                                                       \
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {                                                \
      type got = ((const type *)(run)->data[v])[i];                                                          \
      if (!(got == want[i] || (got != got && want[i] != want[i])))                                           \
        fail_msg("%%%d[%d] is %g, not %g", v, (int)i, (double)got, (double)want[i]);                         \
    }                                                                                                        \
  } while (0)

static void loops_carry_slice_and_stack(void **state) {
  (void)state;
  for (int reverse = 0; reverse < 2; reverse++) {
    graph *g = parse(arena_printf(a,
                                  "graph g {\n"
                                  "  %%1 = parameter {role=data, name=\"x\"} : f64[3,2]\n"
                                  "  %%2 = constant {value=1} : f64[2]\n"
                                  "  %%3 = constant {literal=[10,20]} : f64[2]\n"
                                  "  %%4, %%5, %%6 = repeat(%%2, %%1, %%3) {times=3, carries=1, slices=1%s} : f64[2], f64[3,2], f64[3] {\n"
                                  "    %%1 = parameter {role=state, name=\"0\"} : f64[2]\n"
                                  "    %%2 = parameter {role=slice, name=\"0\"} : f64[2]\n"
                                  "    %%3 = parameter {role=invariant, name=\"0\"} : f64[2]\n"
                                  "    %%4 = parameter {role=index, name=\"i\"} : i32[]\n"
                                  "    %%5 = mul(%%1, %%2) : f64[2]\n"
                                  "    %%6 = add(%%5, %%3) : f64[2]\n"
                                  "    %%7 = cast(%%4) : f64[]\n"
                                  "    result state \"0\" %%5\n"
                                  "    result output \"0\" %%6\n"
                                  "    result output \"1\" %%7\n"
                                  "  }\n"
                                  "}\n",
                                  reverse ? ", reverse=1" : ""));
    graph_run *run = run_with(g, (double[]){1, 2, 3, 4, 5, 6});
    EXPECT(run, 4, double, 15, 48);
    if (!reverse) EXPECT(run, 5, double, 11, 22, 13, 28, 25, 68);
    else EXPECT(run, 5, double, 25, 68, 25, 44, 15, 26);
    EXPECT(run, 6, double, 0, 1, 2);
  }
}

static void views_move_elements(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f64[2,3]\n"
                   "  %2 = pad(%1) {low=[0,1], high=[0,-1], interior=[0,1], value=9} : f64[2,5]\n"
                   "  %3 = reverse(%2) {axes=[1]} : f64[2,5]\n"
                   "  %4 = transpose(%1) {axes=[1,0]} : f64[3,2]\n"
                   "  %5 = slice(%4) {start=[0,1], stop=[3,2], stride=[2,1]} : f64[2,1]\n"
                   "  %6 = concat(%5, %1) {axis=1} : f64[2,4]\n"
                   "  %7 = broadcast(%5) {axes=[0,2]} : f64[2,2,2]\n"
                   "  %8 = reshape(%1) : f64[3,1,2]\n"
                   "  %9 = pad(%1) {low=[-1,-1], high=[1,0], interior=[0,0], value=0} : f64[2,2]\n"
                   "  %10 = slice(%1) {start=[1,0], stop=[1,3], stride=[5,2]} : f64[0,2]\n"
                   "  %11 = concat(%10, %9) {axis=0} : f64[2,2]\n"
                   "  %12 = iota {axis=0} : i64[3,2]\n"
                   "  %13 = pad(%5) {low=[1,2], high=[0,1], interior=[0,0], value=7} : f64[3,4]\n"
                   "  %14 = broadcast(%5) {axes=[1,2]} : f64[3,2,1]\n"
                   "}\n");
  graph_run *run = run_with(g, (double[]){1, 2, 3, 4, 5, 6});
  EXPECT(run, 2, double, 9, 1, 9, 2, 9, 9, 4, 9, 5, 9);
  EXPECT(run, 3, double, 9, 2, 9, 1, 9, 9, 5, 9, 4, 9);
  EXPECT(run, 4, double, 1, 4, 2, 5, 3, 6);
  EXPECT(run, 5, double, 4, 6);
  EXPECT(run, 6, double, 4, 1, 2, 3, 6, 4, 5, 6);
  EXPECT(run, 7, double, 4, 4, 4, 4, 6, 6, 6, 6);
  EXPECT(run, 8, double, 1, 2, 3, 4, 5, 6);
  EXPECT(run, 9, double, 5, 6, 0, 0);
  EXPECT(run, 11, double, 5, 6, 0, 0);
  EXPECT(run, 12, int64_t, 0, 0, 1, 1, 2, 2);
  EXPECT(run, 13, double, 7, 7, 7, 7, 7, 7, 4, 7, 7, 7, 6, 7);
  EXPECT(run, 14, double, 4, 6, 4, 6, 4, 6);
}

static void reductions_find_nan_and_the_lowest_index(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f64[2,4]\n"
                   "  %2 = argmax(%1) {axis=1} : i32[2]\n"
                   "  %3 = argmax(%1) {axis=0} : i32[4]\n"
                   "  %4 = reduce_max(%1) {axes=[0]} : f64[4]\n"
                   "  %5 = reduce_max(%1) {axes=[1,0]} : f64[]\n"
                   "  %6 = reduce_sum(%1) {axes=[1]} : f64[2]\n"
                   "  %7 = reduce_sum(%1) {axes=[]} : f64[2,4]\n"
                   "  %8 = slice(%1) {start=[0,0], stop=[2,0], stride=[1,1]} : f64[2,0]\n"
                   "  %9 = reduce_sum(%8) {axes=[1]} : f64[2]\n"
                   "}\n");
  graph_run *run = run_with(g, (double[]){1, 7, 7, -INFINITY, 4, NAN, 6, NAN});
  EXPECT(run, 2, int32_t, 1, 1);
  EXPECT(run, 3, int32_t, 1, 1, 0, 1);
  EXPECT(run, 4, double, 4, NAN, 7, NAN);
  EXPECT(run, 5, double, NAN);
  EXPECT(run, 6, double, -INFINITY, NAN);
  EXPECT(run, 7, double, 1, 7, 7, -INFINITY, 4, NAN, 6, NAN);
  EXPECT(run, 9, double, 0, 0);
}

static void indices_are_clamped(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f64[2,3]\n"
                   "  %2 = constant {literal=[0,1,9,-1]} : i32[4]\n"
                   "  %3 = constant {literal=[2,-5,1,2147483647]} : i32[4]\n"
                   "  %4 = gather(%1, %2, %3) : f64[4]\n"
                   "  %5 = scatter_add(%4, %2) : f64[2]\n"
                   "  %6 = scatter_add(%4, %2, %3) : f64[2,3]\n"
                   "}\n");
  graph_run *run = run_with(g, (double[]){1, 2, 3, 4, 5, 6});
  EXPECT(run, 4, double, 3, 4, 5, 3);
  EXPECT(run, 5, double, 6, 9);
  EXPECT(run, 6, double, 0, 0, 6, 4, 5, 0);
}

static void contractions_read_zero_outside(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f64[4]\n"
                   "  %2 = constant {literal=[1,10,100]} : f64[3]\n"
                   "  %3 = contract(%1, %2) {spec=\"p+r-1; r -> p\"} : f64[4]\n"
                   "  %4 = contract(%1, %2) {spec=\"2*p+r-1; r -> p\"} : f64[2]\n"
                   "  %5 = contract(%1, %2) {spec=\"(h-r)/2; r -> h\"} : f64[5]\n"
                   "  %6 = contract(%1, %2) {spec=\"p; r ->\"} : f64[]\n"
                   "}\n");
  graph_run *run = run_with(g, (double[]){1, 2, 3, 4});
  EXPECT(run, 3, double, 210, 321, 432, 43);
  EXPECT(run, 4, double, 210, 432);
  EXPECT(run, 5, double, 1, 10, 102, 20, 203);
  EXPECT(run, 6, double, 1110);
}

static void integers_wrap_and_reals_round_once(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : u8[3]\n"
                   "  %2 = reduce_sum(%1) {axes=[0]} : u8[]\n"
                   "  %3 = contract(%1, %1) {spec=\"i; i ->\"} : u8[]\n"
                   "  %4 = neg(%1) : u8[3]\n"
                   "  %5 = reduce_max(%4) {axes=[0]} : u8[]\n"
                   "  %6 = constant {literal=[16777216,1,1]} : f32[3]\n"
                   "  %7 = reduce_sum(%6) {axes=[0]} : f32[]\n"
                   "  %8 = contract(%6, %6) {spec=\"i; j -> i,j\"} : f32[3,3]\n"
                   "  %9 = constant {literal=[256,1,1]} : bf16[3]\n"
                   "  %10 = reduce_sum(%9) {axes=[0]} : bf16[]\n"
                   "  %11 = cast(%10) : f32[]\n"
                   "  %12 = constant {literal=[-2147483648,-1]} : i32[2]\n"
                   "  %13 = reduce_sum(%12) {axes=[0]} : i32[]\n"
                   "  %14 = reduce_max(%12) {axes=[0]} : i32[]\n"
                   "}\n");
  graph_run *run = run_with(g, (uint8_t[]){200, 100, 3});
  EXPECT(run, 2, uint8_t, 47);
  EXPECT(run, 3, uint8_t, (200 * 200 + 100 * 100 + 9) & 255);
  EXPECT(run, 4, uint8_t, 56, 156, 253);
  EXPECT(run, 5, uint8_t, 253);
  EXPECT(run, 7, float, 16777218); /* added one by one in f32 it would stay 16777216 */
  EXPECT(run, 8, float, 281474976710656.0f, 16777216, 16777216, 16777216, 1, 1, 16777216, 1, 1);
  EXPECT(run, 11, float, 258);
  EXPECT(run, 13, int32_t, 2147483647);
  EXPECT(run, 14, int32_t, -1);
}

/* Each elementwise primitive on whole tensors is op_evaluate on each element. */
static void elementwise_ops_are_their_row_of_the_table(void **state) {
  (void)state;
  random_source r = {9};
  const tensor_type shape = {.rank = 2, .dim = {3, 5}};
  for (int op = 0; op < OP_COUNT; op++) {
    const op_info *info = &op_table[op];
    for (int t = 0; info->elementwise && t < DTYPE_COUNT; t++) {
      graph *g = graph_new(a, "g");
      value x[6] = {0};
      tensor_type type = shape, declared = shape;
      type.dtype = (dtype)t;
      declared.dtype = info->rule == RULE_BITCAST ? DTYPE_F32 : DTYPE_I32;
      for (int k = 0; k < info->arity; k++) {
        tensor_type own = type;
        if (k == 0 && info->rule == RULE_SELECT) own.dtype = DTYPE_BOOL;
        x[k] = graph_parameter(g, "data", arena_printf(a, "x%d", k), own, (span){0});
      }
      const char *error = NULL;
      value made = graph_add(g, (op_id)op, x, (uint32_t)info->arity, NULL, 0, &declared, (span){0}, &error);
      if (!made) continue; /* not of that type: typing is a matter of test_graph */
      uint32_t n;
      graph_binding *bindings = random_bindings(&r, g, a, &n);
      graph_run *run = graph_interpret(g, bindings, n, a, &error);
      assert_non_null(run);
      dtype out = graph_type(g, made)->dtype;
      for (int64_t e = 0; e < type_elements(&shape); e++) {
        scalar args[6];
        for (int k = 0; k < info->arity; k++) args[k] = element_load(graph_type(g, x[k])->dtype, bindings[k].data, e);
        _Alignas(8) unsigned char want[8] = {0};
        element_store(out, want, 0, op_evaluate((op_id)op, type.dtype, out, args));
        if (memcmp(want, (char *)run->data[made] + (size_t)e * dtype_bytes(out), dtype_bytes(out)))
          fail_msg("%s of %s at element %d", info->name, dtype_name((dtype)t), (int)e);
      }
    }
  }
}

static void what_cannot_run_says_why(void **state) {
  (void)state;
  const char *error = NULL;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f64[]\n"
                   "  %2 = grad(%1, %1) : f64[]\n"
                   "}\n");
  assert_null(graph_interpret(g, NULL, 0, a, &error));
  assert_string_equal(error, "parameter data \"x\" has no binding");
  assert_null(graph_interpret(g, &(graph_binding){"state", "x", (double[]){1}}, 1, a, &error));
  assert_null(graph_interpret(g, &(graph_binding){"data", "x", (double[]){1}}, 1, a, &error));
  assert_string_equal(error, "the graph still has a grad node: differentiate it first");
}

static void long_graphs_run(void **state) {
  (void)state;
  graph *g = graph_new(a, "long");
  tensor_type type = {.dtype = DTYPE_I64, .rank = 1, .dim = {3}};
  value x = graph_parameter(g, "data", "x", type, (span){0}), sum = x;
  for (int i = 0; i < 10000; i++) sum = graph_binary(g, OP_ADD, sum, x, (span){0});
  assert_null(graph_verify(g, a));
  graph_run *run = run_with(g, (int64_t[]){1, 2, -3});
  EXPECT(run, sum, int64_t, 10001, 20002, -30003);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(loops_carry_slice_and_stack),
      TEST(views_move_elements),
      TEST(reductions_find_nan_and_the_lowest_index),
      TEST(indices_are_clamped),
      TEST(contractions_read_zero_outside),
      TEST(integers_wrap_and_reals_round_once),
      TEST(elementwise_ops_are_their_row_of_the_table),
      TEST(what_cannot_run_says_why),
      TEST(long_graphs_run),
  };
  return cmocka_run_group_tests_name("ir/interpret", tests, NULL, NULL);
}
