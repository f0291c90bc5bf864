/* canonicalise, fold, cse and dce: each rewrite by the text before and behind it, and by the interpreter,
 * which has to find the same results. */
#include "rewrite_testing.h"

static void rewrites(void **state, graph_pass *pass, const char *before, const char *expected) {
  bench *b = *state;
  const graph *g = parsed(b, before);
  const graph *behind = after(b, pass_dce, after(b, pass, g));
  assert_string_equal(graph_print(behind, b->context.diagnostics->sources, b->arena),
                      arena_printf(b->arena, "graph t {\n%s}\n", expected));
  assert_same_results(b, g, behind);
}

/* A parameter x, then lines; y is the result. */
#define X(type) "  %1 = parameter {role=data, name=\"x\"} : " type "\n"
#define LINE(text) "  " text "\n"
#define Y(number) "  result output \"y\" " number "\n"
#define CANONICAL(before, expected) rewrites(state, pass_canonicalise, before, expected)

static void neutral_elements_vanish(void **state) {
  bench *b = *state;
  static const char *const constants[][2] = {{"add", "0"}, {"sub", "0"}, {"mul", "1"}, {"div", "1"}, {"pow", "1"}};
  for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
    const char *before = arena_printf(
        b->arena, "%s" LINE("%%2 = constant {value=%s} : f64[3]") LINE("%%3 = %s(%%1, %%2) : f64[3]") Y("%%3"),
        X("f64[3]"), constants[i][1], constants[i][0]);
    CANONICAL(before, X("f64[3]") Y("%1"));
  }
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=0} : f64[3]") LINE("%3 = add(%2, %1) : f64[3]") Y("%3"),
            X("f64[3]") Y("%1"));
}

static void zero_times_an_unknown_stays(void **state) {
  bench *b = *state;
  const char *text = X("f64[1]") LINE("%2 = constant {value=0} : f64[1]") LINE("%3 = mul(%1, %2) : f64[1]") Y("%3");
  const graph *g = after(b, pass_canonicalise, parsed(b, text));
  const double nan = NAN;
  const graph_binding binding = {"data", "x", &nan};
  assert_true(isnan(*(double *)result_data(g, interpret(b, g, &binding, 1), "y")));
  CANONICAL(X("i32[3]") LINE("%2 = constant {value=0} : i32[3]") LINE("%3 = mul(%1, %2) : i32[3]") Y("%3"),
            LINE("%1 = constant {value=0} : i32[3]") Y("%1"));
}

static void signs_move_out(void **state) {
  CANONICAL(X("f64[3]") LINE("%2 = neg(%1) : f64[3]") LINE("%3 = neg(%2) : f64[3]") Y("%3"), X("f64[3]") Y("%1"));
  CANONICAL(X("f64[3]") LINE("%2 = exp(%1) : f64[3]") LINE("%3 = neg(%2) : f64[3]") LINE("%4 = add(%1, %3) : f64[3]")
                Y("%4"),
            X("f64[3]") LINE("%2 = exp(%1) : f64[3]") LINE("%3 = sub(%1, %2) : f64[3]") Y("%3"));
  CANONICAL(X("f64[3]") LINE("%2 = exp(%1) : f64[3]") LINE("%3 = neg(%2) : f64[3]") LINE("%4 = sub(%1, %3) : f64[3]")
                Y("%4"),
            X("f64[3]") LINE("%2 = exp(%1) : f64[3]") LINE("%3 = add(%1, %2) : f64[3]") Y("%3"));
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=3} : f64[3]") LINE("%3 = mul(%2, %1) : f64[3]")
                LINE("%4 = neg(%3) : f64[3]") Y("%4"),
            X("f64[3]") LINE("%2 = constant {value=-3} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") Y("%3"));
}

static void sign_of_a_sum_moves_out(void **state) {
  CANONICAL(X("f64[2,3]") LINE("%2 = neg(%1) : f64[2,3]") LINE("%3 = reduce_sum(%2) {axes=[0]} : f64[3]") Y("%3"),
            X("f64[2,3]") LINE("%2 = reduce_sum(%1) {axes=[0]} : f64[3]") LINE("%3 = neg(%2) : f64[3]") Y("%3"));
}

static void constants_stand_second(void **state) {
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=3} : f64[3]") LINE("%3 = max(%2, %1) : f64[3]") Y("%3"),
            X("f64[3]") LINE("%2 = constant {value=3} : f64[3]") LINE("%3 = max(%1, %2) : f64[3]") Y("%3"));
}

static void division_by_a_power_of_two_multiplies(void **state) {
  CANONICAL(X("f32[3]") LINE("%2 = constant {value=-8} : f32[3]") LINE("%3 = div(%1, %2) : f32[3]") Y("%3"),
            X("f32[3]") LINE("%2 = constant {value=-0.125} : f32[3]") LINE("%3 = mul(%1, %2) : f32[3]") Y("%3"));
  const char *third = X("f32[3]") LINE("%2 = constant {value=3} : f32[3]") LINE("%3 = div(%1, %2) : f32[3]") Y("%3");
  CANONICAL(third, third);
}

static void whole_powers_become_products(void **state) {
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=2} : f64[3]") LINE("%3 = pow(%1, %2) : f64[3]") Y("%3"),
            X("f64[3]") LINE("%2 = mul(%1, %1) : f64[3]") Y("%2"));
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=-3} : f64[3]") LINE("%3 = pow(%1, %2) : f64[3]") Y("%3"),
            X("f64[3]") LINE("%2 = mul(%1, %1) : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]")
                LINE("%4 = constant {value=1} : f64[3]") LINE("%5 = div(%4, %3) : f64[3]") Y("%5"));
  const char *root = X("f64[3]") LINE("%2 = constant {value=0.5} : f64[3]") LINE("%3 = pow(%1, %2) : f64[3]") Y("%3");
  CANONICAL(root, root);
}

static void casts_collapse_where_nothing_is_lost(void **state) {
  CANONICAL(X("f32[3]") LINE("%2 = cast(%1) : f64[3]") LINE("%3 = cast(%2) : f32[3]") Y("%3"), X("f32[3]") Y("%1"));
  CANONICAL(X("u8[3]") LINE("%2 = cast(%1) : f32[3]") LINE("%3 = cast(%2) : i32[3]") Y("%3"),
            X("u8[3]") LINE("%2 = cast(%1) : i32[3]") Y("%2"));
  const char *lossy = X("f64[3]") LINE("%2 = cast(%1) : f32[3]") LINE("%3 = cast(%2) : f64[3]") Y("%3");
  CANONICAL(lossy, lossy);
  const char *wraps = X("i32[3]") LINE("%2 = cast(%1) : u8[3]") LINE("%3 = cast(%2) : i32[3]") Y("%3");
  CANONICAL(wraps, wraps);
}

static void integer_constants_gather(void **state) {
  CANONICAL(X("i32[3]") LINE("%2 = constant {value=2} : i32[3]") LINE("%3 = add(%1, %2) : i32[3]")
                LINE("%4 = constant {value=-5} : i32[3]") LINE("%5 = add(%4, %3) : i32[3]") Y("%5"),
            X("i32[3]") LINE("%2 = constant {value=-3} : i32[3]") LINE("%3 = add(%1, %2) : i32[3]") Y("%3"));
}

/* Of products of reals, where nothing else uses them; not where they could leave the range in between. */
static void factors_gather(void **state) {
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=0.5} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") LINE("%4 = constant {value=3} : f64[3]") LINE("%5 = mul(%3, %4) : f64[3]") Y("%5"),
            X("f64[3]") LINE("%2 = constant {value=1.5} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") Y("%3"));
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=0.5} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") LINE("%4 = exp(%1) : f64[3]") LINE("%5 = mul(%3, %4) : f64[3]") Y("%5"),
            X("f64[3]") LINE("%2 = exp(%1) : f64[3]") LINE("%3 = constant {value=0.5} : f64[3]") LINE("%4 = mul(%1, %2) : f64[3]") LINE("%5 = mul(%4, %3) : f64[3]") Y("%5"));
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=0.5} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") LINE("%4 = exp(%3) : f64[3]") LINE("%5 = mul(%4, %3) : f64[3]") Y("%5"),
            X("f64[3]") LINE("%2 = constant {value=0.5} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") LINE("%4 = exp(%3) : f64[3]") LINE("%5 = mul(%4, %3) : f64[3]") Y("%5"));
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=1e+30} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") LINE("%4 = constant {value=1e-30} : f64[3]") LINE("%5 = mul(%3, %4) : f64[3]") Y("%5"),
            X("f64[3]") LINE("%2 = constant {value=1e+30} : f64[3]") LINE("%3 = mul(%1, %2) : f64[3]") LINE("%4 = constant {value=1e-30} : f64[3]") LINE("%5 = mul(%3, %4) : f64[3]") Y("%5"));
}

static void bits_and_choices(void **state) {
  CANONICAL(X("bool[3]") LINE("%2 = constant {value=true} : bool[3]") LINE("%3 = and(%2, %1) : bool[3]") Y("%3"),
            X("bool[3]") Y("%1"));
  CANONICAL(X("u8[3]") LINE("%2 = constant {value=255} : u8[3]") LINE("%3 = and(%1, %2) : u8[3]") Y("%3"),
            X("u8[3]") Y("%1"));
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=false} : bool[3]") LINE("%3 = exp(%1) : f64[3]")
                LINE("%4 = select(%2, %3, %1) : f64[3]") Y("%4"),
            X("f64[3]") Y("%1"));
  CANONICAL(X("bool[3]") LINE("%2 = constant {value=7} : f64[3]") LINE("%3 = select(%1, %2, %2) : f64[3]") Y("%3"),
            LINE("%1 = constant {value=7} : f64[3]") Y("%1"));
}

/* A picture that is sampled by tables, and turned round where the condition says so: the tables are. Rows and the picture itself stay. */
static void turned_pictures_turn_their_tables(void **state) {
#define PICTURE                                                                                                    \
  X("f64[2,40,32]") LINE("%2 = parameter {role=data, name=\"c\"} : bool[2]") LINE("%3 = parameter {role=data, name=\"t\"} : i32[2,32]")  \
      LINE("%4 = parameter {role=data, name=\"r\"} : f64[2,40]") LINE("%5 = iota {axis=0} : i32[2,40,32]") LINE("%6 = iota {axis=1} : i32[2,40,32]")
  CANONICAL(PICTURE LINE("%7 = broadcast(%3) {axes=[0,2]} : i32[2,40,32]") LINE("%8 = gather(%1, %5, %6, %7) : f64[2,40,32]")
                LINE("%9 = broadcast(%4) {axes=[0,1]} : f64[2,40,32]") LINE("%10 = mul(%9, %8) : f64[2,40,32]") LINE("%11 = reverse(%10) {axes=[2]} : f64[2,40,32]")
                LINE("%12 = broadcast(%2) {axes=[0]} : bool[2,40,32]") LINE("%13 = select(%12, %11, %10) : f64[2,40,32]") Y("%13"),
            PICTURE LINE("%7 = broadcast(%4) {axes=[0,1]} : f64[2,40,32]") LINE("%8 = broadcast(%2) {axes=[0]} : bool[2,32]")
                LINE("%9 = reverse(%3) {axes=[1]} : i32[2,32]") LINE("%10 = select(%8, %9, %3) : i32[2,32]") LINE("%11 = broadcast(%10) {axes=[0,2]} : i32[2,40,32]")
                LINE("%12 = gather(%1, %5, %6, %11) : f64[2,40,32]") LINE("%13 = mul(%7, %12) : f64[2,40,32]") Y("%13"));
  const char *as_it_is = PICTURE LINE("%7 = reverse(%1) {axes=[2]} : f64[2,40,32]") LINE("%8 = broadcast(%2) {axes=[0]} : bool[2,40,32]")
      LINE("%9 = select(%8, %7, %1) : f64[2,40,32]") Y("%9");
  CANONICAL(as_it_is, X("f64[2,40,32]") LINE("%2 = parameter {role=data, name=\"c\"} : bool[2]") LINE("%3 = reverse(%1) {axes=[2]} : f64[2,40,32]")
                          LINE("%4 = broadcast(%2) {axes=[0]} : bool[2,40,32]") LINE("%5 = select(%4, %3, %1) : f64[2,40,32]") Y("%5"));
}

/* By 255 every byte comes back as it was; by 49 it does not. */
static void bytes_come_back(void **state) {
#define BACK(by) X("u8[3]") LINE("%2 = cast(%1) : f64[3]") LINE("%3 = constant {value=" by "} : f64[3]") LINE("%4 = div(%2, %3) : f64[3]") LINE("%5 = mul(%4, %3) : f64[3]") Y("%5")
  CANONICAL(BACK("255"), X("u8[3]") LINE("%2 = cast(%1) : f64[3]") Y("%2"));
  CANONICAL(BACK("49"), BACK("49"));
}

static void nothing_unsigned_is_below_zero(void **state) {
  CANONICAL(X("u32[3]") LINE("%2 = cast(%1) : f32[3]") LINE("%3 = constant {value=0.25} : f32[3]")
                LINE("%4 = mul(%2, %3) : f32[3]") LINE("%5 = constant {value=0} : f32[3]") LINE("%6 = lt(%4, %5) : bool[3]") Y("%6"),
            LINE("%1 = constant {value=false} : bool[3]") Y("%1"));
  static const char *const may_be[][3] = {{"i32", "cast", "0"}, {"u32", "cast", "0.5"}, {"f32", "neg", "0"}};
  for (size_t i = 0; i < sizeof may_be / sizeof *may_be; i++) {
    bench *b = *state;
    const char *text = arena_printf(b->arena, "  %%1 = parameter {role=data, name=\"x\"} : %s[3]\n" LINE("%%2 = %s(%%1) : f32[3]") LINE("%%3 = constant {value=%s} : f32[3]")
                                                  LINE("%%4 = lt(%%2, %%3) : bool[3]") Y("%%4"),
                                    may_be[i][0], may_be[i][1], may_be[i][2]);
    CANONICAL(text, text);
  }
}

static void stop_grad_has_had_its_effect(void **state) {
  CANONICAL(X("f64[3]") LINE("%2 = stop_grad(%1) : f64[3]") Y("%2"), X("f64[3]") Y("%1"));
}

static void views_compose(void **state) {
  CANONICAL(X("f64[2,6]") LINE("%2 = reshape(%1) : f64[12]") LINE("%3 = reshape(%2) : f64[2,6]") Y("%3"),
            X("f64[2,6]") Y("%1"));
  CANONICAL(X("f64[2,3,4]") LINE("%2 = transpose(%1) {axes=[2,0,1]} : f64[4,2,3]")
                LINE("%3 = transpose(%2) {axes=[2,1,0]} : f64[3,2,4]") Y("%3"),
            X("f64[2,3,4]") LINE("%2 = transpose(%1) {axes=[1,0,2]} : f64[3,2,4]") Y("%2"));
  CANONICAL(X("f64[2,1,4]") LINE("%2 = transpose(%1) {axes=[1,0,2]} : f64[1,2,4]") Y("%2"),
            X("f64[2,1,4]") LINE("%2 = reshape(%1) : f64[1,2,4]") Y("%2"));
  CANONICAL(X("f64[3]") LINE("%2 = reshape(%1) : f64[3,1]") LINE("%3 = broadcast(%2) {axes=[0,1]} : f64[3,4]")
                LINE("%4 = broadcast(%3) {axes=[1,2]} : f64[2,3,4]") Y("%4"),
            X("f64[3]") LINE("%2 = broadcast(%1) {axes=[1]} : f64[2,3,4]") Y("%2"));
  CANONICAL(X("f64[9]") LINE("%2 = slice(%1) {start=[1], stop=[9], stride=[2]} : f64[4]")
                LINE("%3 = slice(%2) {start=[1], stop=[4], stride=[2]} : f64[2]") Y("%3"),
            X("f64[9]") LINE("%2 = slice(%1) {start=[3], stop=[8], stride=[4]} : f64[2]") Y("%2"));
  CANONICAL(X("f64[4]") LINE("%2 = reverse(%1) {axes=[0]} : f64[4]") LINE("%3 = reverse(%2) {axes=[0]} : f64[4]")
                Y("%3"),
            X("f64[4]") Y("%1"));
  CANONICAL(X("f64[4]") LINE("%2 = pad(%1) {low=[1], high=[0], interior=[1], value=0} : f64[8]")
                LINE("%3 = pad(%2) {low=[2], high=[3], interior=[0], value=0} : f64[13]") Y("%3"),
            X("f64[4]") LINE("%2 = pad(%1) {low=[3], high=[3], interior=[1], value=0} : f64[13]") Y("%2"));
}

static void slices_look_through(void **state) {
  CANONICAL(X("f64[2,3]") LINE("%2 = exp(%1) : f64[2,3]") LINE("%3 = concat(%1, %2) {axis=0} : f64[4,3]")
                LINE("%4 = slice(%3) {start=[2,0], stop=[4,3], stride=[1,1]} : f64[2,3]") Y("%4"),
            X("f64[2,3]") LINE("%2 = exp(%1) : f64[2,3]") Y("%2"));
  CANONICAL(X("f64[4]") LINE("%2 = pad(%1) {low=[2], high=[1], interior=[1], value=0} : f64[10]")
                LINE("%3 = slice(%2) {start=[4], stop=[10], stride=[4]} : f64[2]") Y("%3"),
            X("f64[4]") LINE("%2 = slice(%1) {start=[1], stop=[4], stride=[2]} : f64[2]") Y("%2"));
  CANONICAL(X("f64[3]") LINE("%2 = broadcast(%1) {axes=[1]} : f64[2,3]") LINE("%3 = slice(%2) {start=[1,0], stop=[2,3], stride=[1,1]} : f64[1,3]") Y("%3"),
            X("f64[3]") LINE("%2 = reshape(%1) : f64[1,3]") Y("%2"));
  const char *crosses = X("f64[4]") LINE("%2 = pad(%1) {low=[2], high=[1], interior=[0], value=0} : f64[7]")
      LINE("%3 = slice(%2) {start=[1], stop=[5], stride=[1]} : f64[4]") Y("%3");
  CANONICAL(crosses, crosses);
}

/* What is done to channels that were stacked is done to each. */
static void maps_of_stacks_are_maps_of_parts(void **state) {
  CANONICAL(X("f64[1,3]") LINE("%2 = exp(%1) : f64[1,3]") LINE("%3 = concat(%1, %2) {axis=0} : f64[2,3]") LINE("%4 = tanh(%3) : f64[2,3]")
                LINE("%5 = concat(%2, %1) {axis=0} : f64[2,3]") LINE("%6 = add(%4, %5) : f64[2,3]") Y("%6"),
            X("f64[1,3]") LINE("%2 = exp(%1) : f64[1,3]") LINE("%3 = tanh(%1) : f64[1,3]") LINE("%4 = tanh(%2) : f64[1,3]")
                LINE("%5 = add(%3, %2) : f64[1,3]") LINE("%6 = add(%4, %1) : f64[1,3]") LINE("%7 = concat(%5, %6) {axis=0} : f64[2,3]") Y("%7"));
  const char *longer = X("f64[2,3]") LINE("%2 = concat(%1, %1) {axis=0} : f64[4,3]") LINE("%3 = tanh(%2) : f64[4,3]") Y("%3");
  CANONICAL(longer, longer);
}

static void what_is_one_number_stays_one_number(void **state) {
  CANONICAL(X("f64[3]") LINE("%2 = constant {value=2} : f64[2,1]") LINE("%3 = transpose(%2) {axes=[1,0]} : f64[1,2]")
                LINE("%4 = broadcast(%3) {axes=[0,1]} : f64[3,2]") LINE("%5 = reduce_sum(%4) {axes=[1]} : f64[3]")
                    LINE("%6 = exp(%5) : f64[3]") LINE("%7 = sub(%6, %6) : f64[3]") LINE("%8 = add(%1, %7) : f64[3]")
                        Y("%8"),
            X("f64[3]") Y("%1"));
  CANONICAL(LINE("%1 = constant {value=2} : f64[3]")
                LINE("%2 = pad(%1) {low=[1], high=[0], interior=[0], value=2} : f64[4]") Y("%2"),
            LINE("%1 = constant {value=2} : f64[4]") Y("%1"));
}

static void reductions_join(void **state) {
  CANONICAL(X("f64[2,3,4]") LINE("%2 = reduce_sum(%1) {axes=[1]} : f64[2,4]")
                LINE("%3 = reduce_sum(%2) {axes=[0]} : f64[4]") Y("%3"),
            X("f64[2,3,4]") LINE("%2 = reduce_sum(%1) {axes=[0,1]} : f64[4]") Y("%2"));
  CANONICAL(X("f64[2,1,4]") LINE("%2 = reduce_max(%1) {axes=[1,2]} : f64[2]") Y("%2"),
            X("f64[2,1,4]") LINE("%2 = reshape(%1) : f64[2,4]") LINE("%3 = reduce_max(%2) {axes=[1]} : f64[2]")
                Y("%3"));
  const char *used_twice = X("f64[2,3]") LINE("%2 = reduce_sum(%1) {axes=[1]} : f64[2]")
      LINE("%3 = reduce_sum(%2) {axes=[0]} : f64[]") Y("%3") "  result output \"z\" %2\n";
  CANONICAL(used_twice, used_twice);
}

static void what_is_repeated_is_multiplied(void **state) {
  CANONICAL(X("f64[3,5]") LINE("%2 = broadcast(%1) {axes=[0,2]} : f64[3,4,5]")
                LINE("%3 = reduce_sum(%2) {axes=[1,2]} : f64[3]") Y("%3"),
            X("f64[3,5]") LINE("%2 = reduce_sum(%1) {axes=[1]} : f64[3]") LINE("%3 = constant {value=4} : f64[3]")
                LINE("%4 = mul(%2, %3) : f64[3]") Y("%4"));
  CANONICAL(X("f64[3]") LINE("%2 = broadcast(%1) {axes=[1]} : f64[2,3,4]")
                LINE("%3 = reduce_max(%2) {axes=[2]} : f64[2,3]") Y("%3"),
            X("f64[3]") LINE("%2 = broadcast(%1) {axes=[1]} : f64[2,3]") Y("%2"));
  CANONICAL(X("f64[4]") LINE("%2 = broadcast(%1) {axes=[2]} : f64[2,3,4]")
                LINE("%3 = reduce_max(%2) {axes=[0]} : f64[3,4]") Y("%3"),
            X("f64[4]") LINE("%2 = broadcast(%1) {axes=[1]} : f64[3,4]") Y("%2"));
  /* 1001 is no bf16 */
  const char *inexact = X("bf16[3]") LINE("%2 = broadcast(%1) {axes=[1]} : bf16[1001,3]")
      LINE("%3 = reduce_sum(%2) {axes=[0]} : bf16[3]") Y("%3");
  CANONICAL(inexact, inexact);
}

/* relu and then the larger of two slices: the larger, and then relu. Not where somebody else reads relu, nor for unequal floors. */
static void relu_waits_for_its_pooling(void **state) {
#define RELU(c) X("f64[4]") LINE("%2 = constant {value=" c "} : f64[4]") LINE("%3 = max(%2, %1) : f64[4]")
#define SLICES(x, y) LINE("%4 = slice(" x ") {start=[0], stop=[3], stride=[2]} : f64[2]") LINE("%5 = slice(" y ") {start=[1], stop=[4], stride=[2]} : f64[2]")
  const char *pooled = RELU("0") SLICES("%3", "%3") LINE("%6 = max(%4, %5) : f64[2]") Y("%6");
  rewrites(state, pass_postpone, pooled,
           X("f64[4]") LINE("%2 = slice(%1) {start=[0], stop=[3], stride=[2]} : f64[2]") LINE("%3 = slice(%1) {start=[1], stop=[4], stride=[2]} : f64[2]")
           LINE("%4 = max(%2, %3) : f64[2]") LINE("%5 = constant {value=0} : f64[2]") LINE("%6 = max(%5, %4) : f64[2]") Y("%6"));
  const char *read_elsewhere = RELU("0") SLICES("%3", "%3") LINE("%6 = max(%4, %5) : f64[2]") Y("%6") "  result output \"z\" %3\n";
  rewrites(state, pass_postpone, read_elsewhere, read_elsewhere);
  const char *unequal = RELU("0") LINE("%4 = constant {value=1} : f64[4]") LINE("%5 = max(%4, %1) : f64[4]") LINE("%6 = max(%3, %5) : f64[4]") Y("%6");
  rewrites(state, pass_postpone, unequal, unequal);
#undef RELU
#undef SLICES
}

/* What a softmax hides is 0: where indices of a square are compared, a row keeps something, and less than -1e30 hides it. */
static void what_a_softmax_hides_is_nothing(void **state) {
#define MASKED_SOFTMAX(n, lowest, of, axis, along)                                                                                  \
  X("f64[2,3,3]") LINE("%2 = iota {axis=0} : i32[" n "]") LINE("%3 = broadcast(%2) {axes=[1]} : i32[3,3]")                             \
  LINE("%4 = broadcast(%2) {axes=[0]} : i32[3,3]") LINE("%5 = le(%3, %4) : bool[3,3]") LINE("%6 = broadcast(%5) {axes=[1,2]} : bool[2,3,3]") \
  LINE("%7 = constant {value=" lowest "} : f64[2,3,3]") LINE("%8 = select(%6, %1, %7) : f64[2,3,3]")                                  \
  LINE("%9 = reduce_max(" of ") {axes=[" axis "]} : f64[" along "]")
#define EXPONENTIAL(axes) LINE("%10 = broadcast(%9) {axes=[" axes "]} : f64[2,3,3]") LINE("%11 = sub(%8, %10) : f64[2,3,3]") LINE("%12 = exp(%11) : f64[2,3,3]")
  rewrites(state, pass_mask, MASKED_SOFTMAX("3", "-1e+30", "%8", "2", "2,3") EXPONENTIAL("0,1") Y("%12"),
           MASKED_SOFTMAX("3", "-1e+30", "%8", "2", "2,3") EXPONENTIAL("0,1")
           LINE("%13 = constant {value=0} : f64[2,3,3]") LINE("%14 = select(%6, %12, %13) : f64[2,3,3]") Y("%14"));
  static const char *const others[] = {
      MASKED_SOFTMAX("3", "-1e+03", "%8", "2", "2,3") EXPONENTIAL("0,1") Y("%12"), /* might not be hidden */
      MASKED_SOFTMAX("3", "-1e+30", "%1", "2", "2,3") EXPONENTIAL("0,1") Y("%12"), /* the largest of something else */
      MASKED_SOFTMAX("3", "-1e+30", "%8", "0", "3,3") EXPONENTIAL("1,2") Y("%12"), /* along an axis that the mask does not know: all of it may be hidden */
  };
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) rewrites(state, pass_mask, others[i], others[i]);
#undef MASKED_SOFTMAX
#undef EXPONENTIAL
}

static void transposes_enter_contractions(void **state) {
  CANONICAL(X("f64[2,3]") LINE("%2 = transpose(%1) {axes=[1,0]} : f64[3,2]")
                LINE("%3 = contract(%1, %2) {spec=\"i,k; k,j -> i,j\"} : f64[2,2]") Y("%3"),
            X("f64[2,3]") LINE("%2 = contract(%1, %1) {spec=\"i,k; j,k -> i,j\"} : f64[2,2]") Y("%2"));
  CANONICAL(X("f64[2,3]") LINE("%2 = contract(%1, %1) {spec=\"i,k; i,j -> k,j\"} : f64[3,3]")
                LINE("%3 = transpose(%2) {axes=[1,0]} : f64[3,3]") Y("%3"),
            X("f64[2,3]") LINE("%2 = contract(%1, %1) {spec=\"i,k; i,j -> j,k\"} : f64[3,3]") Y("%2"));
  CANONICAL(X("f64[2,3]") LINE("%2 = contract(%1, %1) {spec=\"i,k; j,l -> i,k,l\"} : f64[2,3,3]")
                LINE("%3 = transpose(%2) {axes=[2,0,1]} : f64[3,2,3]") Y("%3"),
            X("f64[2,3]") LINE("%2 = contract(%1, %1) {spec=\"i,k; j,l -> l,i,k\"} : f64[3,2,3]") Y("%2"));
}

static void constants_are_computed(void **state) {
  rewrites(state, pass_fold,
           X("f64[3]") LINE("%2 = constant {literal=[1,2,3]} : f64[3]") LINE("%3 = mul(%2, %2) : f64[3]")
               LINE("%4 = reverse(%3) {axes=[0]} : f64[3]") LINE("%5 = add(%1, %4) : f64[3]") Y("%5"),
           X("f64[3]") LINE("%2 = constant {literal=[9,4,1]} : f64[3]") LINE("%3 = add(%1, %2) : f64[3]") Y("%3"));
  rewrites(state, pass_fold, LINE("%1 = constant {literal=[1,2,3]} : f64[3]") LINE("%2 = sub(%1, %1) : f64[3]") Y("%2"),
           LINE("%1 = constant {value=0} : f64[3]") Y("%1"));
  const char *ramp = LINE("%1 = iota {axis=0} : i32[3]") LINE("%2 = mul(%1, %1) : i32[3]") Y("%2");
  rewrites(state, pass_fold, ramp, ramp);
  const char *large = LINE("%1 = constant {value=2} : f64[4097]") LINE("%2 = exp(%1) : f64[4097]") Y("%2");
  rewrites(state, pass_fold, large, large);
}

static void equal_nodes_are_one(void **state) {
  rewrites(state, pass_cse,
           X("f64[3]") LINE("%2 = parameter {role=data, name=\"z\"} : f64[3]") LINE("%3 = add(%1, %2) : f64[3]")
               LINE("%4 = add(%2, %1) : f64[3]") LINE("%5 = mul(%3, %4) : f64[3]") Y("%5"),
           X("f64[3]") LINE("%2 = parameter {role=data, name=\"z\"} : f64[3]") LINE("%3 = add(%1, %2) : f64[3]")
               LINE("%4 = mul(%3, %3) : f64[3]") Y("%4"));
  rewrites(state, pass_cse,
           X("f64[2,3]") LINE("%2 = contract(%1, %1) {spec=\"i,k; j,k -> i,j\"} : f64[2,2]")
               LINE("%3 = contract(%1, %1) {spec=\"row,c; column,c -> row,column\"} : f64[2,2]")
                   LINE("%4 = sub(%2, %3) : f64[2,2]") Y("%4"),
           X("f64[2,3]") LINE("%2 = contract(%1, %1) {spec=\"i,k; j,k -> i,j\"} : f64[2,2]")
               LINE("%3 = sub(%2, %2) : f64[2,2]") Y("%3"));
}

static void different_nodes_stay_two(void **state) {
  const char *attributes = X("f64[2,2]") LINE("%2 = reduce_sum(%1) {axes=[0]} : f64[2]")
      LINE("%3 = reduce_sum(%1) {axes=[1]} : f64[2]") LINE("%4 = sub(%2, %3) : f64[2]") Y("%4");
  rewrites(state, pass_cse, attributes, attributes);
  const char *order = X("f64[2]") LINE("%2 = exp(%1) : f64[2]") LINE("%3 = sub(%1, %2) : f64[2]")
      LINE("%4 = sub(%2, %1) : f64[2]") LINE("%5 = mul(%3, %4) : f64[2]") Y("%5");
  rewrites(state, pass_cse, order, order);
  const char *types = X("f64[6]") LINE("%2 = reshape(%1) : f64[2,3]") LINE("%3 = reshape(%1) : f64[3,2]")
      LINE("%4 = transpose(%3) {axes=[1,0]} : f64[2,3]") LINE("%5 = sub(%2, %4) : f64[2,3]") Y("%5");
  rewrites(state, pass_cse, types, types);
}

static void what_no_result_needs_goes(void **state) {
  bench *b = *state;
  const graph *g =
      parsed(b, LINE("%1 = parameter {role=state, name=\"w\"} : f64[3]")
                    LINE("%2 = parameter {role=state, name=\"unused\"} : f64[3]")
                        LINE("%3 = parameter {role=data, name=\"x\"} : f64[3]") LINE("%4 = exp(%2) : f64[3]")
                            LINE("%5 = constant {value=0} : f64[3]") "  result state \"w\" %5\n");
  const char *lean = LINE("%1 = parameter {role=state, name=\"w\"} : f64[3]")
      LINE("%2 = constant {value=0} : f64[3]") "  result state \"w\" %2\n";
  assert_string_equal(graph_print(after(b, pass_dce, g), b->context.diagnostics->sources, b->arena),
                      arena_printf(b->arena, "graph t {\n%s}\n", lean));
}

/* Two equal values, of which one is differentiated by: merging them would change the derivative. */
static void nothing_merges_before_differentiation(void **state) {
  bench *b = *state;
  const graph *g = parsed(b, X("f64[]") LINE("%2 = exp(%1) : f64[]") LINE("%3 = exp(%1) : f64[]")
                                 LINE("%4 = mul(%2, %3) : f64[]") LINE("%5 = grad(%4, %2) : f64[]") Y("%5"));
  graph_pass *const passes[] = {pass_canonicalise, pass_fold, pass_cse};
  for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
    assert_int_equal(count_op(after(b, passes[i], g), OP_EXP), 2);
}

/* -- random graphs -------------------------------------------------------------------------------------------- */

/* A value that there is already, of that type; without one, any matrix. */
static value pick(bench *b, const graph *g, const tensor_type *type) {
  for (;;) {
    const value v = 1 + (value)(bench_random(b) * (g->n_values - 1));
    if (type ? type_equal(graph_type(g, v), type) : graph_type(g, v)->rank == 2) return v;
  }
}

static value random_elementwise(bench *b, graph *g) {
  static const op_id ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_NEG, OP_ABS, OP_MAX, OP_MIN, OP_STOP_GRAD};
  const op_id op = ops[(int)(bench_random(b) * (sizeof ops / sizeof *ops))];
  const value x = pick(b, g, NULL);
  if (op_table[op].arity == 1) return graph_unary(g, op, x, place(2));
  return graph_binary(g, op, x, pick(b, g, graph_type(g, x)), place(2));
}

static value random_view(bench *b, graph *g) {
  const value x = pick(b, g, NULL);
  const tensor_type t = *graph_type(g, x);
  const int64_t swapped[] = {1, 0}, axes[] = {bench_random(b) < 0.5 ? 0 : 1}, none[] = {0, 0}, ones[] = {1, 1};
  const int64_t low[] = {(int64_t)(bench_random(b) * 3) - 1, 0}, high[] = {0, 1};
  tensor_type taller = t;
  switch ((int)(bench_random(b) * 8)) {
  case 0: return graph_transpose(g, x, swapped, place(2));
  case 1: return graph_reverse(g, x, axes, 1, place(2));
  case 2: return graph_pad(g, x, low, high, none, bench_random(b) < 0.5 ? 0 : 1, place(2));
  case 3: return graph_slice(g, x, none, (int64_t[]){t.dim[0], (t.dim[1] + 1) / 2}, ones, place(2));
  case 4: return graph_slice(g, x, none, t.dim, (int64_t[]){2, 1}, place(2));
  case 5: return graph_concat(g, (value[]){x, x}, 2, axes[0], place(2));
  case 6: return graph_reshape(g, x, 2, (int64_t[]){t.dim[1], t.dim[0]}, place(2));
  default:
    taller.dim[0] = t.dim[0] == 1 ? 3 : t.dim[0];
    return graph_broadcast(g, x, taller, (int64_t[]){0, 1}, place(2));
  }
}

static value random_reduction(bench *b, graph *g) {
  const value x = pick(b, g, NULL);
  tensor_type t = *graph_type(g, x);
  const int64_t axis = bench_random(b) < 0.5 ? 0 : 1;
  t.dim[axis] = 1;
  const op_id op = bench_random(b) < 0.5 ? OP_REDUCE_SUM : OP_REDUCE_MAX;
  if (bench_random(b) < 0.7) return graph_reshape(g, graph_reduce(g, op, x, &axis, 1, place(2)), 2, t.dim, place(2));
  return graph_contract(g, x, x, "i,k; j,k -> j,i", NULL, place(2));
}

static graph *random_graph(bench *b) {
  graph *g = graph_new(b->arena, "random");
  for (int i = 0; i < 3; i++) {
    const tensor_type t = shaped(DTYPE_F64, 2, 1 + (int)(bench_random(b) * 3), 1 + (int)(bench_random(b) * 3));
    graph_parameter(g, "data", arena_printf(b->arena, "p%d", i), t, place(1));
    graph_number(g, t, floor(bench_random(b) * 4) - 1, place(1));
    graph_literal(g, t, random_data(b, &t), place(1));
  }
  while (g->n_nodes < 40) {
    const double u = bench_random(b);
    const value v = u < 0.45 ? random_elementwise(b, g) : u < 0.85 ? random_view(b, g) : random_reduction(b, g);
    if (!v) fail_msg("the generator made a node that is refused");
    if (type_elements(graph_type(g, v)) > 200 || type_elements(graph_type(g, v)) == 0) break;
  }
  for (uint32_t i = 0; i < 4; i++)
    graph_add_result(g, "output", arena_printf(b->arena, "y%u", i), g->n_values - 1 - i, place(3));
  return g;
}

static void random_graphs_keep_their_values(void **state) {
  bench *b = *state;
  uint64_t before = 0, behind = 0;
  for (int i = 0; i < 300; i++) {
    const graph *g = random_graph(b);
    const graph *lean = after(b, pass_dce, g);
    const graph *small = after(b, pass_dce, after(b, pass_cse, after(b, pass_fold, after(b, pass_canonicalise, lean))));
    assert_same_results(b, g, small);
    before += lean->n_nodes;
    behind += small->n_nodes;
  }
  assert_true(behind < before);
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)
  const struct CMUnitTest tests[] = {
      TEST(neutral_elements_vanish),
      TEST(zero_times_an_unknown_stays),
      TEST(signs_move_out),
      TEST(sign_of_a_sum_moves_out),
      TEST(constants_stand_second),
      TEST(division_by_a_power_of_two_multiplies),
      TEST(whole_powers_become_products),
      TEST(casts_collapse_where_nothing_is_lost),
      TEST(integer_constants_gather),
      TEST(factors_gather),
      TEST(bits_and_choices),
      TEST(turned_pictures_turn_their_tables),
      TEST(bytes_come_back),
      TEST(nothing_unsigned_is_below_zero),
      TEST(stop_grad_has_had_its_effect),
      TEST(views_compose),
      TEST(slices_look_through),
      TEST(maps_of_stacks_are_maps_of_parts),
      TEST(what_is_one_number_stays_one_number),
      TEST(reductions_join),
      TEST(what_is_repeated_is_multiplied),
      TEST(relu_waits_for_its_pooling),
      TEST(what_a_softmax_hides_is_nothing),
      TEST(transposes_enter_contractions),
      TEST(constants_are_computed),
      TEST(equal_nodes_are_one),
      TEST(different_nodes_stay_two),
      TEST(what_no_result_needs_goes),
      TEST(nothing_merges_before_differentiation),
      TEST(random_graphs_keep_their_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
