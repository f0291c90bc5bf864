/* The tensor graph: contractions, rules, building, text form, meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "ir/rule.h"
#include "tests/random_graph.h"

static arena *a;
static sources *s;
static diagnostics *d;

static int set_up(void **state) {
  (void)state;
  a = arena_new();
  s = sources_new(a);
  d = diagnostics_new(a, s);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  arena_free(a);
  return 0;
}

static graph *parse(const char *text) { return graph_parse(a, sources_add(s, "t.ir", text, strlen(text)), d); }

static void contractions_print_what_they_read(void **state) {
  (void)state;
  static const char *const texts[] = {"n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", "n,k,(h-r+1)/2; k,c,r -> n,c,h", "; k -> k",
                                      "i; i ->", "x-2*y+3; y -> x", "(-2*a+b-4)/3; a -> b"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    const char *error = NULL;
    const contraction *c = contraction_parse(texts[i], a, &error);
    if (!c) fail_msg("%s", error);
    assert_string_equal(contraction_text(c, false, a), texts[i]);
  }
  const char *error = NULL;
  assert_string_equal(contraction_text(contraction_parse("n , c, p + r; k,c,r->n,k,p", a, &error), true, a), "a,b,c+d; e,b,d -> a,e,c");
  static const char *const wrong[] = {"", "a,b", "a;b", "a,a; b -> b", "a; b -> c,c", "a,; b -> a", "a; b -> a b", "(a/2; b -> a", "a+b+c+d+e; a -> b",
                                      "(a)/0; a -> a", "a; b -> a,"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_null(contraction_parse(wrong[i], a, &error));
}

/* sum(g * contract(x, y)) is linear in x: its derivative by x, contracted with x again, gives it back; and
 * perturbing one element of x changes it by the derivative. */
static double linear_form(const char *spec, const tensor_type *x, const double *xs, const tensor_type *y, const double *ys,
                          const tensor_type *out, const double *g) {
  graph *f = graph_new(a, "f");
  value made = graph_contract(f, graph_parameter(f, "data", "x", *x, (span){0}), graph_parameter(f, "data", "y", *y, (span){0}), spec, out, (span){0});
  assert_true(made);
  const char *error = NULL;
  graph_run *run = graph_interpret(f, (graph_binding[]){{"data", "x", xs}, {"data", "y", ys}}, 2, a, &error);
  double total = 0;
  for (int64_t i = 0; i < type_elements(out); i++) total += g[i] * ((double *)run->data[made])[i];
  return total;
}

static void contraction_derivatives_are_contractions(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    tensor_type x, y, out;
  } cases[] = {
#define T(...) {.dtype = DTYPE_F64, .rank = sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t), .dim = {__VA_ARGS__}}
      {"i,k; k,j -> i,j", T(3, 5), T(5, 2), T(3, 2)},
      {"b,i,k; b,k,j -> b,i,j", T(2, 3, 4), T(2, 4, 1), T(2, 3, 1)},
      {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", T(2, 3, 4, 5), T(2, 3, 3, 3), T(2, 2, 4, 5)},
      {"n,c,2*p+r-1; k,c,r -> n,k,p", T(1, 2, 7), T(3, 2, 3), T(1, 3, 4)},
      {"n,c,3*p+2*r-2; k,c,r -> n,k,p", T(1, 2, 9), T(2, 2, 3), T(1, 2, 3)},
      {"n,c,2*p+2*r-1; k,c,r -> n,k,p", T(1, 1, 8), T(1, 1, 2), T(1, 1, 4)},
      {"n,k,(h-r+1)/2; k,c,r -> n,c,h", T(1, 3, 4), T(3, 2, 3), T(1, 2, 7)},
      {"n,g,c,p+r-1; g,k,c,r -> n,g,k,p", T(2, 2, 1, 4), T(2, 3, 1, 3), T(2, 2, 3, 4)},
      {"i,j; i -> i", T(3, 4), T(3), T(3)},
      {"n,c,2*p+r-1; n,k,p -> k,c,r", T(2, 2, 7), T(2, 3, 4), T(3, 2, 3)},
#undef T
  };
  random_source r = {7};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const tensor_type *type[2] = {&cases[i].x, &cases[i].y}, *out = &cases[i].out;
    double *data[2], *g = ARENA_ARRAY(a, double, type_elements(out));
    for (int o = 0; o < 2; o++) {
      data[o] = ARENA_ARRAY(a, double, type_elements(type[o]));
      for (int64_t e = 0; e < type_elements(type[o]); e++) data[o][e] = random_real(&r, -1, 1);
    }
    for (int64_t e = 0; e < type_elements(out); e++) g[e] = random_real(&r, -1, 1);
    const char *error = NULL;
    const contraction *c = contraction_parse(cases[i].spec, a, &error);
    assert_non_null(c);
    for (uint32_t which = 0; which < 2; which++) {
      const contraction *by = contraction_derivative(c, which, a);
      if (!by) fail_msg("%s has no derivative by operand %u", cases[i].spec, which);
      const char *text = contraction_text(by, false, a);
      graph *f = graph_new(a, "f");
      value made = graph_contract(f, graph_parameter(f, "data", "g", *out, (span){0}), graph_parameter(f, "data", "o", *type[1 - which], (span){0}), text,
                                  type[which], (span){0});
      if (!made) fail_msg("%s: %s does not type", cases[i].spec, text);
      graph_run *run = graph_interpret(f, (graph_binding[]){{"data", "g", g}, {"data", "o", data[1 - which]}}, 2, a, &error);
      const double *derivative = run->data[made];
      double before = linear_form(cases[i].spec, type[0], data[0], type[1], data[1], out, g);
      for (int64_t e = 0; e < type_elements(type[which]); e++) {
        data[which][e] += 1;
        double after = linear_form(cases[i].spec, type[0], data[0], type[1], data[1], out, g);
        data[which][e] -= 1;
        if (fabs(after - before - derivative[e]) > 1e-9) fail_msg("%s by %u as %s: element %d", cases[i].spec, which, text, (int)e);
      }
    }
  }
}

static uint64_t note_name(void *context, char name) { return (uint64_t)(uintptr_t)arena_printf(context, "%c", name); }
static uint64_t note_number(void *context, double v) { return (uint64_t)(uintptr_t)arena_printf(context, "%g", v); }
static uint64_t note_apply(void *context, op_id op, uint32_t n, const uint64_t *args) {
  char *text = arena_printf(context, "%s(", op_table[op].name);
  for (uint32_t i = 0; i < n; i++) text = arena_printf(context, "%s%s%s", text, i ? "," : "", (char *)(uintptr_t)args[i]);
  return (uint64_t)(uintptr_t)arena_printf(context, "%s)", text);
}

static void every_rule_of_the_table_reads(void **state) {
  (void)state;
  rule_builder b = {a, note_name, note_number, note_apply};
  uint64_t out;
  assert_true(rule_build("g; -(g * r / y)", 1, &b, &out));
  assert_string_equal((char *)(uintptr_t)out, "neg(div(mul(g,r),y))");
  assert_true(rule_build("select(x < 0, -g, 2 - x - y)", 0, &b, &out));
  assert_string_equal((char *)(uintptr_t)out, "select(lt(x,0),neg(g),sub(sub(2,x),y))");
  assert_false(rule_build("; g", 0, &b, &out));
  assert_false(rule_build("g +", 0, &b, &out));
  assert_false(rule_build("frobnicate(x)", 0, &b, &out));
  for (int i = 0; i < OP_COUNT; i++) {
    if (!op_table[i].elementwise) continue;
    for (int k = 0; k < op_table[i].arity; k++) {
      const char *text = op_table[i].derivatives;
      for (int skip = k; skip && *text; text++) skip -= *text == ';';
      text += strspn(text, " ");
      bool empty = !*text || *text == ';';
      if (rule_build(op_table[i].derivatives, (uint32_t)k, &b, &out) == empty) fail_msg("derivative %d of %s", k, op_table[i].name);
    }
    const char *lowering = op_table[i].lowering;
    if (strcmp(lowering, "native") && strcmp(lowering, "math") && !rule_build(lowering, 0, &b, &out)) fail_msg("lowering of %s", op_table[i].name);
  }
}

static const char *const sample =
    "graph step from \"m.ssl\" {\n"
    "  %1 = parameter {role=state, name=\"f/w\"} : f32[4,3] @3:7\n"
    "  %2 = parameter {role=data, name=\"x \\\"quoted\\\"\"} : f32[2,3]\n"
    "  %3 = contract(%2, %1) {spec=\"i,k; j,k -> i,j\"} : f32[2,4] @4:11\n"
    "  %4 = constant {value=0.1} : f32[2,4] @\"std/layers.ssl\":12:3\n"
    "  %5 = constant {literal=[1,-2.5,inf,nan,0.3333333,0,0,-0]} : f32[2,4]\n"
    "  %6 = max(%3, %4) : f32[2,4]\n"
    "  %7 = lt(%6, %5) : bool[2,4]\n"
    "  %8 = select(%7, %6, %4) : f32[2,4]\n"
    "  %9 = pad(%8) {low=[1,-1], high=[0,2], interior=[0,1], value=-1} : f32[3,8]\n"
    "  %10 = reduce_sum(%9) {axes=[0,1]} : f32[] @5:3\n"
    "  %11, %12 = grad(%10, %1, %2) : f32[4,3], f32[2,3] @5:3\n"
    "  %13 = iota {axis=1} : i32[2,3]\n"
    "  %14 = cast(%13) : bf16[2,3]\n"
    "  result state \"f/w\" %11 @6:1\n"
    "  result metric \"loss\" %10\n"
    "}\n";

static void graphs_print_what_they_read(void **state) {
  (void)state;
  graph *g = parse(sample);
  if (!g) fail_msg("%s", diagnostics_render(d, a, false));
  assert_string_equal(graph_print(g, s, a), sample);
  random_source r = {3};
  for (int i = 0; i < 200; i++) {
    graph *made = random_graph(&r, 20, i % 2 ? DTYPE_F64 : DTYPE_F32, i % 3 == 0, a);
    assert_null(graph_verify(made, a));
    const char *text = graph_print(made, s, a);
    graph *again = parse(text);
    if (!again) fail_msg("%s\n%s", text, diagnostics_render(d, a, false));
    assert_string_equal(graph_print(again, s, a), text);
  }
}

static void wrong_texts_are_refused_with_a_place(void **state) {
  (void)state;
  static const struct {
    const char *text, *message;
  } cases[] = {
      {"graph g {\n  %1 = frob : f32[]\n}", "t.ir:2:8: error[E0601]: frob is no primitive"},
      {"graph g {\n  %2 = iota {axis=0} : i32[3]\n}", "expected %1"},
      {"graph g {\n  %1 = neg(%1) : i32[3]\n}", "%1 is not defined above"},
      {"graph g {\n  %1 = iota {axis=3} : i32[3]\n}", "axis 3 is outside 0..0"},
      {"graph g {\n  %1 = iota : i32[3]\n}", "iota lacks its attribute axis"},
      {"graph g {\n  %1 = iota {axis=0} : f32[3]\n}", "iota is i32 or i64"},
      {"graph g {\n  %1 = iota {axis=0} : i32[3]\n  %2 = neg(%1) : i32[4]\n}", "the text says i32[4], the rule of neg gives i32[3]"},
      {"graph g {\n  %1 = iota {axis=0} : i32[3]\n  %2 = exp(%1) : i32[3]\n}", "exp does not take i32[3]"},
      {"graph g {\n  %1 = constant {value=1, value=2} : f32[]\n}", "one twice"},
      {"graph g {\n  %1 = constant {literal=[1,2]} : f32[3]\n}", "the literal 2"},
      {"graph g {\n  result output \"x\" %1\n}", "not defined above"},
      {"graph g {\n  %1 = iota {axis=0} : i32[99999999999,99999999999]\n}", "too many elements"},
      {"graph g {", "expected"},
      {"graph g { } x", "nothing behind"},
      {"", "expected graph"},
      {"graph g {\n  %1 = parameter {role=data, name=\"x\"} : f32[2]\n  %2 = parameter {role=data, name=\"x\"} : f32[2]\n}", "two parameters are data"},
      {"graph g {\n  %1 = parameter {role=state, name=\"x\"} : f32[2]\n  %2 = constant {value=0} : f32[3]\n  result state \"x\" %2\n}", "no parameter of that type"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    d = diagnostics_new(a, s);
    assert_null(parse(cases[i].text));
    assert_true(d->errors >= 1);
    const char *shown = diagnostics_render(d, a, false);
    if (!strstr(shown, cases[i].message)) fail_msg("\"%s\" is not in:\n%s", cases[i].message, shown);
  }
}

/* Cutting and changing a good text anywhere must never crash the reader. */
static void damaged_texts_do_no_harm(void **state) {
  (void)state;
  size_t n = strlen(sample);
  random_source r = {11};
  for (int i = 0; i < 1500; i++) {
    char *text = arena_string(a, sample);
    for (uint32_t k = random_below(&r, 3); k > 0; k--) text[random_below(&r, (uint32_t)n)] = (char)(32 + random_below(&r, 95));
    if (i % 3 == 0) text[random_below(&r, (uint32_t)n)] = 0;
    d = diagnostics_new(a, s);
    graph *g = parse(text);
    assert_true(g || d->errors);
  }
}

static void interpretation_is_arithmetic(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f64[2,3]\n"
                   "  %2 = pad(%1) {low=[0,1], high=[0,-1], interior=[0,1], value=9} : f64[2,5]\n"
                   "  %3 = reverse(%2) {axes=[1]} : f64[2,5]\n"
                   "  %4 = transpose(%1) {axes=[1,0]} : f64[3,2]\n"
                   "  %5 = slice(%4) {start=[0,1], stop=[3,2], stride=[2,1]} : f64[2,1]\n"
                   "  %6 = argmax(%1) {axis=1} : i32[2]\n"
                   "  %7 = reduce_max(%1) {axes=[0]} : f64[3]\n"
                   "  %8 = concat(%5, %1) {axis=1} : f64[2,4]\n"
                   "  %9 = constant {literal=[5,0,-3]} : i32[3]\n"
                   "  %10 = gather(%7, %9) : f64[3]\n"
                   "  %11 = scatter_add(%7, %9) : f64[2]\n"
                   "  %12 = broadcast(%5) {axes=[0,2]} : f64[2,2,2]\n"
                   "}\n");
  if (!g) fail_msg("%s", diagnostics_render(d, a, false));
  const char *error = NULL;
  assert_null(graph_interpret(g, NULL, 0, a, &error));
  assert_string_equal(error, "parameter data \"x\" has no binding");
  double x[6] = {1, 7, 7, 4, NAN, 6};
  graph_run *run = graph_interpret(g, &(graph_binding){"data", "x", x}, 1, a, &error);
  assert_non_null(run);
#define EXPECT(v, type, ...)                                                   \
  do {                                                                         \
    const type want[] = {__VA_ARGS__};                                         \
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {                  \
      type got = ((const type *)run->data[v])[i];                              \
      if (!(got == want[i] || (got != got && want[i] != want[i]))) fail_msg("%%%d[%d] is %g", v, (int)i, (double)got); \
    }                                                                          \
  } while (0)
  EXPECT(2, double, 9, 1, 9, 7, 9, 9, 4, 9, NAN, 9);
  EXPECT(3, double, 9, 7, 9, 1, 9);
  EXPECT(5, double, 4, 6);
  EXPECT(6, int32_t, 1, 1);
  EXPECT(7, double, 4, NAN, 7);
  EXPECT(8, double, 4, 1, 7, 7, 6, 4);
  EXPECT(10, double, 7, 4, 4);
  EXPECT(11, double, NAN, 4); /* 5 is clamped to 1, -3 to 0: NaN + 7 and 4 */
  EXPECT(12, double, 4, 4, 4, 4, 6, 6, 6, 6);
}

static void dependence_stops_where_derivatives_do(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f32[2]\n"
                   "  %2 = exp(%1) : f32[2]\n"
                   "  %3 = stop_grad(%2) : f32[2]\n"
                   "  %4 = lt(%2, %3) : bool[2]\n"
                   "  %5 = select(%4, %3, %3) : f32[2]\n"
                   "  %6 = mul(%2, %3) : f32[2]\n"
                   "  %7 = floor(%6) : f32[2]\n"
                   "}\n");
  assert_non_null(g);
  bool *reached = graph_differentiable_from(g, (value[]){1}, 1, a);
  static const bool want[] = {false, true, true, false, false, false, true, false};
  for (int i = 1; i < 8; i++) assert_int_equal(reached[i], want[i]);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(contractions_print_what_they_read),
      TEST(contraction_derivatives_are_contractions),
      TEST(every_rule_of_the_table_reads),
      TEST(graphs_print_what_they_read),
      TEST(wrong_texts_are_refused_with_a_place),
      TEST(damaged_texts_do_no_harm),
      TEST(interpretation_is_arithmetic),
      TEST(dependence_stops_where_derivatives_do),
  };
  return cmocka_run_group_tests_name("ir/graph", tests, NULL, NULL);
}
