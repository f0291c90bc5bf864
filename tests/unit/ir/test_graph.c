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
    "  %15, %16 = repeat(%10, %2, %10) {times=2, carries=1, slices=1, reverse=1} : f32[], f32[2,3] @7:3 {\n"
    "    %1 = parameter {role=state, name=\"0\"} : f32[]\n"
    "    %2 = parameter {role=slice, name=\"0\"} : f32[3] @8:5\n"
    "    %3 = parameter {role=index, name=\"i\"} : i32[]\n"
    "    %4 = repeat(%2) {times=3, carries=0, slices=1} : f32[3] {\n"
    "      %1 = parameter {role=slice, name=\"0\"} : f32[]\n"
    "      %2 = constant {value=0.5} : f32[]\n"
    "      %3 = mul(%1, %2) : f32[] @\"std/layers.ssl\":12:3\n"
    "      result output \"0\" %3 @8:9\n"
    "    }\n"
    "    result state \"0\" %1\n"
    "    result output \"0\" %4\n"
    "  }\n"
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
      {"graph g {\n  %1 = iota {axis=0} : i32[3]\n  %2 = repeat(%1) {times=3, carries=0, slices=1} : i32[3]\n}", "expected { here"},
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

/* One line that breaks a rule, behind values of several types. */
static void types_that_do_not_fit_are_refused(void **state) {
  (void)state;
  static const char *const prelude = "graph g {\n"
                                     "  %1 = parameter {role=data, name=\"x\"} : f32[2,3]\n"
                                     "  %2 = parameter {role=data, name=\"i\"} : i32[4]\n"
                                     "  %3 = parameter {role=data, name=\"b\"} : bool[2,3]\n"
                                     "  %4 = parameter {role=data, name=\"n\"} : f32[0,3]\n"
                                     "  %5 = parameter {role=data, name=\"w\"} : f64[2,3]\n"
                                     "  %6 = parameter {role=data, name=\"l\"} : f32[0,4611686018427387904]\n"
                                     "  %7 = parameter {role=data, name=\"s\"} : f32[]\n"
                                     "  %8 = parameter {role=data, name=\"v\"} : f32[1000000000]\n";
  static const struct {
    const char *line, *message;
  } cases[] = {
      {"add(%1) : f32[2,3]", "add takes 2 operands, got 1"},
      {"add(%1, %2) : f32[2,3]", "add wants equal shapes: f32[2,3] and i32[4]"},
      {"add(%1, %5) : f32[2,3]", "add does not take f32[2,3], f64[2,3]"},
      {"and(%1, %1) : f32[2,3]", "and does not take"},
      {"select(%1, %1, %1) : f32[2,3]", "select does not take"},
      {"cast(%1) : f64[3,2]", "cast keeps the shape"},
      {"bitcast(%1) : f64[2,3]", "bitcast does not take"},
      {"random_bits(%2, %2, %2, %2, %2, %2) : u32[4]", "random_bits does not take"},
      {"parameter {role=king, name=\"k\"} : f32[]", "role is state, data, clock or seed, not king"},
      {"constant : f32[]", "a constant has a value or a literal"},
      {"constant {value=1, literal=[1]} : f32[]", "a constant has a value or a literal"},
      {"reshape(%1) : f32[5]", "f32[2,3] does not reshape to f32[5]"},
      {"reshape(%1) : f64[6]", "does not reshape"},
      {"transpose(%1) {axes=[0]} : f32[2,3]", "axes of transpose wants 2 numbers, got 1"},
      {"transpose(%1) {axes=[1,1]} : f32[3,3]", "axis 1 stands twice"},
      {"broadcast(%1) {axes=[1,0]} : f32[3,2]", "broadcast wants increasing axes"},
      {"broadcast(%1) {axes=[0,2]} : f32[2,3]", "broadcast wants increasing axes"},
      {"broadcast(%1) {axes=[0,1]} : f32[2,6]", "its axis 1 has neither 1 nor 6 elements"},
      {"broadcast(%1) {axes=[0,1]} : f64[2,3]", "broadcast keeps the element type"},
      {"slice(%1) {start=[0,0], stop=[2,4], stride=[1,1]} : f32[2,4]", "slice 0:4:1 does not fit axis 1"},
      {"slice(%1) {start=[0,0], stop=[2,3], stride=[1,0]} : f32[2,3]", "slice 0:3:0 does not fit axis 1"},
      {"slice(%1) {start=[1,0], stop=[0,3], stride=[1,1]} : f32[1,3]", "slice 1:0:1 does not fit axis 0"},
      {"pad(%1) {low=[-1,0], high=[-2,0], interior=[0,0], value=0} : f32[1,3]", "padding removes more of axis 0"},
      {"pad(%1) {low=[0,0], high=[0,0], interior=[0,-1], value=0} : f32[2,1]", "padding of axis 1 is out of range"},
      {"pad(%1) {low=[9223372036854775807,0], high=[0,0], interior=[0,0], value=0} : f32[2,1]", "padding of axis 0 is out of range"},
      {"concat(%1, %5) {axis=0} : f32[4,3]", "concat along axis 0 wants equal other axes"},
      {"concat {axis=0} : f32[4,3]", "concat of nothing"},
      {"concat(%7, %7) {axis=0} : f32[2]", "axis 0 is outside 0..-1"},
      {"concat(%6, %6) {axis=1} : f32[0,3]", "axis 1 of the whole is too long"},
      {"gather(%1, %2) : f32[4]", "gather wants an index for each of 2 axes, got 1"},
      {"gather(%1, %1, %1) : f32[2,3]", "an index is i32"},
      {"gather(%4, %2, %2) : f32[4]", "f32[0,3] has nothing to gather"},
      {"scatter_add(%1, %2) : f32[7]", "indices of one shape"},
      {"scatter_add(%2, %2) : i32[0]", "has no elements to add to"},
      {"contract(%3, %3) {spec=\"a,b; a,b ->\"} : bool[]", "contract wants numbers of one type"},
      {"contract(%1, %5) {spec=\"a,b; a,b ->\"} : f32[]", "contract wants numbers of one type"},
      {"contract(%1, %1) {spec=\"a; a,b -> b\"} : f32[3]", "the spec gives operand 1 1 dimensions, it has 2"},
      {"contract(%1, %1) {spec=\"a,b; b,a ->\"} : f32[]", "axis b has 3 elements in one place and 2 in another"},
      {"contract(%1, %1) {spec=\"a,b; a,b -> ,\"} : f32[]", "an axis is a short name"},
      {"contract(%8, %8) {spec=\"a; b -> a,b,c,d\"} : f32[1,1,1,1]", "elements in one place"},
      {"reduce_max(%4) {axes=[0]} : f32[3]", "nothing is largest in f32[0,3]"},
      {"reduce_sum(%3) {axes=[0]} : bool[3]", "reduce_sum wants numbers"},
      {"reduce_sum(%1) {axes=[0]} : f32[2]", "the text says f32[2], the rule of reduce_sum gives f32[3]"},
      {"argmax(%4) {axis=0} : i32[3]", "nothing is largest in f32[0,3]"},
      {"grad(%1, %1) : f32[2,3]", "grad differentiates a real scalar, not f32[2,3]"},
      {"grad(%7, %5) : f64[2,3]", "element types differ"},
      {"grad(%7) : f32[]", "grad wants a scalar and what to differentiate by"},
#define SLICE "%1 = parameter {role=slice, name=\"0\"} : f32[3] "
#define GIVE "result output \"0\" %1 }"
      {"repeat(%1) {times=2, carries=0} : f32[2,3] {" SLICE GIVE, "repeat lacks its attribute slices"},
      {"repeat(%1) {times=2, carries=0, slices=1} : f32[2,3] { }", "a region without results"},
      {"repeat(%1) {times=0, carries=0, slices=1} : f32[0,3] {" SLICE GIVE, "a repeat runs 1 to 2147483647 times, not 0"},
      {"repeat(%1) {times=2, carries=1, slices=1} : f32[2,3] {" SLICE GIVE, "1 operands are fewer than carries and slices"},
      {"repeat(%1) {times=3, carries=0, slices=1} : f32[3,3] {" SLICE GIVE, "f32[2,3] has no slice for each of 3 iterations"},
      {"repeat(%5) {times=2, carries=0, slices=1} : f64[2,3] {" SLICE GIVE, "operand 0 gives f64[3], the region wants f32[3]"},
      {"repeat(%1) {times=2, carries=0, slices=1} : f32[2,3] {" SLICE "result output \"1\" %1 }", "no result is output \"1\" of the region"},
      {"repeat(%1) {times=2, carries=0, slices=1} : f32[2,3] {" SLICE "result metric \"0\" %1 }", "no result is metric \"0\" of the region"},
      {"repeat(%1) {times=2, carries=0, slices=1} : f32[2,3] {%1 = parameter {role=slice, name=\"1\"} : f32[3] " GIVE, "no operand is slice \"1\" of the region"},
      {"repeat(%1) {times=2, carries=0, slices=0} : f32[2,3] {%1 = parameter {role=data, name=\"0\"} : f32[3] " GIVE, "no operand is data \"0\" of the region"},
      {"repeat(%7) {times=2, carries=1, slices=0} : f32[] {%1 = constant {value=1} : f32[] result state \"0\" %1 }", "carry 0 has no parameter in the region"},
      {"repeat(%7) {times=2, carries=1, slices=0} : f32[] {%1 = parameter {role=state, name=\"0\"} : f32[] " GIVE, "no result is output \"0\" of the region"},
      {"repeat(%7) {times=2, carries=1, slices=0} : f32[] {%1 = parameter {role=state, name=\"0\"} : f32[] %2 = constant {value=1} : f64[] result state \"0\" %2 }", "carry 0 is f32[], and next f64[]"},
      {"repeat(%1) {times=2, carries=0, slices=1} : f32[2,3] {%1 = parameter {role=index, name=\"i\"} : i64[] " GIVE, "the index of a region is i32[]"},
      {"repeat(%1) {times=2, carries=0, slices=1} : f32[2,3] {%1 = neg(%8) : f32[3] " GIVE, "%8 is not defined above"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    d = diagnostics_new(a, s);
    if (parse(arena_printf(a, "%s  %%9 = %s\n}\n", prelude, cases[i].line))) fail_msg("accepted: %s", cases[i].line);
    const char *shown = diagnostics_render(d, a, false);
    if (!strstr(shown, "t.ir:10:") || !strstr(shown, cases[i].message)) fail_msg("\"%s\" at line 10 is not in:\n%s", cases[i].message, shown);
  }
  d = diagnostics_new(a, s);
  graph *g = parse(arena_printf(a, "%s  %%9 = slice(%%1) {start=[0,0], stop=[2,3], stride=[9223372036854775807,2]} : f32[1,2]\n}\n", prelude));
  if (!g) fail_msg("%s", diagnostics_render(d, a, false));
  /* What the text cannot say, builders can: results that no one can count. */
  assert_int_equal(graph_contract(g, 8, 8, "a; b -> a,b,c,d", &(tensor_type){.dtype = DTYPE_F32, .rank = 4, .dim = {1000000000, 1000000000, 1000000000, 1}}, (span){0}), 0);
  assert_int_equal(graph_binary(g, OP_ADD, 1, 0, (span){0}), 0);
  assert_int_equal(graph_binary(g, OP_ADD, 1, 99, (span){0}), 0);
}

/* The verifier trusts no one: graphs are changed behind the back of graph_add. */
static void the_verifier_sees_damage(void **state) {
  (void)state;
  for (int damage = 0; damage < 10; damage++) {
    graph *g = parse("graph g {\n"
                     "  %1 = parameter {role=state, name=\"w\"} : f32[2]\n"
                     "  %2 = parameter {role=state, name=\"v\"} : f32[2]\n"
                     "  %3 = add(%1, %2) : f32[2]\n"
                     "  %4 = contract(%3, %1) {spec=\"i; i ->\"} : f32[]\n"
                     "  %5 = repeat(%4) {times=3, carries=1, slices=0} : f32[] {\n"
                     "    %1 = parameter {role=state, name=\"0\"} : f32[]\n"
                     "    %2 = neg(%1) : f32[]\n"
                     "    result state \"0\" %2\n"
                     "  }\n"
                     "  result state \"w\" %3\n"
                     "  result metric \"m\" %4\n"
                     "}\n");
    assert_non_null(g);
    switch (damage) {
      case 0: g->values[3].type.dim[0] = 3; break;
      case 1: ((value *)(uintptr_t)g->nodes[2].operands)[1] = 4; break;
      case 2: g->nodes[2].op = OP_AND; break;
      case 3: g->nodes[3].contraction = NULL; break;
      case 4: g->results[0].value = 4; break;
      case 5: g->results[1].value = 9; break;
      case 6: g->results[0].name = "u"; break;
      case 7: g->nodes[3].first_result = 3; break;
      case 8: g->nodes[4].region = NULL; break;
      case 9: ((graph *)(uintptr_t)g->nodes[4].region)->results[0].value = 7; break;
    }
    if (!graph_verify(g, a)) fail_msg("damage %d", damage);
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

/* Through a carry it comes round: the first carry reaches the second, the third stops. */
static void dependence_goes_round_in_loops(void **state) {
  (void)state;
  graph *g = parse("graph g {\n"
                   "  %1 = parameter {role=data, name=\"x\"} : f32[2]\n"
                   "  %2 = parameter {role=data, name=\"y\"} : f32[2]\n"
                   "  %3, %4, %5, %6 = repeat(%1, %2, %2) {times=3, carries=3, slices=0} : f32[2], f32[2], f32[2], f32[3,2] {\n"
                   "    %1 = parameter {role=state, name=\"0\"} : f32[2]\n"
                   "    %2 = parameter {role=state, name=\"1\"} : f32[2]\n"
                   "    %3 = parameter {role=state, name=\"2\"} : f32[2]\n"
                   "    %4 = exp(%1) : f32[2]\n"
                   "    %5 = mul(%2, %4) : f32[2]\n"
                   "    %6 = stop_grad(%5) : f32[2]\n"
                   "    result state \"0\" %4\n"
                   "    result state \"1\" %5\n"
                   "    result state \"2\" %6\n"
                   "    result output \"0\" %3\n"
                   "  }\n"
                   "}\n");
  assert_non_null(g);
  const bool *from_x = graph_differentiable_from(g, (value[]){1}, 1, a), *from_y = graph_differentiable_from(g, (value[]){2}, 1, a);
  assert_true(from_x[3] && from_x[4] && !from_x[5] && !from_x[6]);
  assert_true(!from_y[3] && from_y[4] && !from_y[5] && from_y[6]);
  assert_true(graph_differentiable_to(g, 4, a)[1] && !graph_differentiable_to(g, 5, a)[2]);
  assert_true(!graph_differentiable_to(g, 3, a)[2] && graph_differentiable_to_any(g, (value[]){3, 6}, 2, a)[2]);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(graphs_print_what_they_read),
      TEST(wrong_texts_are_refused_with_a_place),
      TEST(types_that_do_not_fit_are_refused),
      TEST(the_verifier_sees_damage),
      TEST(damaged_texts_do_no_harm),
      TEST(dependence_stops_where_derivatives_do),
      TEST(dependence_goes_round_in_loops),
  };
  return cmocka_run_group_tests_name("ir/graph", tests, NULL, NULL);
}
