/* The tensor graph: building, text form, verifier, dependence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
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
      TEST(graphs_print_what_they_read),
      TEST(wrong_texts_are_refused_with_a_place),
      TEST(damaged_texts_do_no_harm),
      TEST(dependence_stops_where_derivatives_do),
  };
  return cmocka_run_group_tests_name("ir/graph", tests, NULL, NULL);
}
