/* Rows before the work on them: which products become smaller and which do not, and by the interpreter that results and derivatives stay,
 * for indices that repeat and that lie outside. */
#include "rewrite_testing.h"

#include <stdio.h>

#define LINE(text) "  " text "\n"
#define FLOATS(number, name, type) "  %" number " = parameter {role=data, name=\"" name "\"} : " type "\n"
#define Y(number) "  result output \"y\" " number "\n"

/* What the product of this spec gives. */
static const char *product_type(bench *b, const graph *g, const char *spec) {
  for (uint32_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == OP_CONTRACT && !strcmp(node_attribute(&g->nodes[i], ATTR_SPEC)->as.text, spec)) return type_text(graph_type(g, g->nodes[i].first_result), b->arena);
  return "none";
}

/* Values numbered in the order in which they come, as the text form wants them. */
static const char *in_order(bench *b, const char *text) {
  uint32_t number[64] = {0}, n = 0;
  char *out = arena_alloc(b->arena, 2 * strlen(text) + 1), *end = out;
  while (*text) {
    *end++ = *text;
    if (*text++ != '%') continue;
    const unsigned long v = strtoul(text, (char **)&text, 10);
    assert_true(v < 64);
    if (!number[v]) number[v] = ++n;
    end += sprintf(end, "%u", (unsigned)number[v]);
  }
  return out;
}

static void gives(void **state, const char *text, const char *spec, const char *type) {
  bench *b = *state;
  const graph *g = parsed(b, in_order(b, text)), *behind = after(b, pass_dce, after(b, pass_rows_first, g));
  assert_string_equal(product_type(b, behind, spec), type);
  assert_same_results(b, after(b, pass_autodiff, g), after(b, pass_autodiff, behind));
}

#define LINEAR "b,i,k; k,j -> b,i,j"

/* Two batches of five rows; a bias for each column, and numbers for each row and column. */
#define EMBEDDED                                                                                                                         \
  FLOATS("1", "x", "f64[2,5,40]") FLOATS("2", "w", "f64[40,80]") FLOATS("3", "bias", "f64[80]") FLOATS("4", "places", "f64[1,5,80]")       \
  FLOATS("5", "rows", "i32[2,2]") LINE("%6 = contract(%1, %2) {spec=\"" LINEAR "\"} : f64[2,5,80]")                                       \
  LINE("%7 = broadcast(%3) {axes=[2]} : f64[2,5,80]") LINE("%8 = broadcast(%4) {axes=[0,1,2]} : f64[2,5,80]")                              \
  LINE("%9 = add(%6, %7) : f64[2,5,80]") LINE("%10 = add(%9, %8) : f64[2,5,80]")
/* x[n, rows[n, i]], as indexing writes it down. */
#define TAKEN(to, of, d)                                                                                                                 \
  LINE("%11 = iota {axis=0} : i32[2]") LINE("%12 = reshape(%11) : i32[2,1]") LINE("%13 = broadcast(%12) {axes=[0,1]} : i32[2,2," d "]")    \
  LINE("%14 = broadcast(%5) {axes=[0,1]} : i32[2,2," d "]") LINE("%15 = iota {axis=2} : i32[2,2," d "]")                                   \
  LINE("%" to " = gather(%" of ", %13, %14, %15) : f64[2,2," d "]")

static void a_product_is_of_the_rows_that_are_gathered(void **state) {
  gives(state, EMBEDDED TAKEN("16", "10", "80") Y("%16"), LINEAR, "f64[2,2,80]");
  /* rows in front of the batch */
  gives(state, FLOATS("1", "x", "f64[5,2,40]") FLOATS("2", "w", "f64[40,80]") FLOATS("5", "rows", "i32[2,2]") LINE("%10 = contract(%1, %2) {spec=\"i,b,k; k,j -> b,i,j\"} : f64[2,5,80]")
        TAKEN("16", "10", "80") Y("%16"), "i,b,k; k,j -> b,i,j", "f64[2,2,80]");
}

/* A mean over columns goes along, as a normalisation has it, and a shape in between; a part of the columns; the order of axes. */
static void what_is_done_row_by_row_is_passed(void **state) {
  gives(state, EMBEDDED LINE("%20 = reduce_max(%10) {axes=[2]} : f64[2,5]") LINE("%21 = reshape(%20) : f64[2,5,1]") LINE("%22 = broadcast(%21) {axes=[0,1,2]} : f64[2,5,80]")
        LINE("%23 = sub(%10, %22) : f64[2,5,80]") LINE("%24 = reshape(%23) : f64[2,5,4,20]") LINE("%25 = transpose(%24) {axes=[2,0,1,3]} : f64[4,2,5,20]")
        LINE("%26 = exp(%25) : f64[4,2,5,20]") LINE("%27 = transpose(%26) {axes=[1,2,0,3]} : f64[2,5,4,20]") LINE("%28 = reshape(%27) : f64[2,5,80]")
        LINE("%29 = slice(%28) {start=[0,0,3], stop=[2,5,80], stride=[1,1,2]} : f64[2,5,39]") LINE("%30 = concat(%29, %29) {axis=2} : f64[2,5,78]") TAKEN("16", "30", "78") Y("%16"),
        LINEAR, "f64[2,2,80]");
}

static void rows_may_be_a_slice(void **state) {
  gives(state, EMBEDDED LINE("%11 = slice(%10) {start=[0,1,0], stop=[2,5,80], stride=[1,2,1]} : f64[2,2,80]") Y("%11"), LINEAR, "f64[2,2,80]");
}

/* The index may come behind what it is an index into, and the same for each batch. */
static void an_index_may_come_late(void **state) {
  gives(state, EMBEDDED FLOATS("30", "late", "i32[2]") LINE("%11 = iota {axis=0} : i32[2,2,80]") LINE("%12 = broadcast(%30) {axes=[1]} : i32[2,2,80]")
        LINE("%13 = iota {axis=2} : i32[2,2,80]") LINE("%14 = gather(%10, %11, %12, %13) : f64[2,2,80]") Y("%14"), LINEAR, "f64[2,2,80]");
}

/* Of attention, the queries; keys and values are of all rows. */
static void queries_are_taken_of_attention(void **state) {
#define SCORES "b,l,d; b,m,d -> b,l,m"
#define READ "b,l,m; b,m,d -> b,l,d"
  const char *text = FLOATS("1", "q", "f64[2,60,24]") FLOATS("2", "k", "f64[2,60,24]") FLOATS("5", "rows", "i32[2,2]")
      LINE("%3 = contract(%1, %2) {spec=\"" SCORES "\"} : f64[2,60,60]") LINE("%4 = tanh(%3) : f64[2,60,60]")
      LINE("%6 = contract(%4, %2) {spec=\"" READ "\"} : f64[2,60,24]") TAKEN("16", "6", "24") Y("%16");
  gives(state, text, SCORES, "f64[2,2,60]");
  gives(state, text, READ, "f64[2,2,24]");
#undef SCORES
#undef READ
}

static void derivatives_add_up_where_rows_repeat(void **state) {
  static const char *const by[] = {"%2", "%1", "%4"};
  bench *b = *state;
  for (size_t i = 0; i < sizeof by / sizeof *by; i++) {
    const char *type = i == 0 ? "f64[40,80]" : i == 1 ? "f64[2,5,40]" : "f64[1,5,80]";
    gives(state, arena_printf(b->arena, "%s  %%17 = tanh(%%16) : f64[2,2,80]\n  %%18 = reduce_sum(%%17) {axes=[0,1,2]} : f64[]\n  %%19 = grad(%%18, %s) : %s\n  result output \"y\" %%19\n",
          EMBEDDED TAKEN("16", "10", "80"), by[i], type), LINEAR, "f64[2,2,80]");
  }
}

static void others_stay(void **state) {
  /* somebody wants it all, the derivative by it does */
  gives(state, EMBEDDED TAKEN("16", "10", "80") Y("%16") "  result output \"z\" %9\n", LINEAR, "f64[2,5,80]");
  gives(state, EMBEDDED TAKEN("16", "10", "80") LINE("%17 = reduce_sum(%16) {axes=[0,1,2]} : f64[]") LINE("%18 = grad(%17, %9) : f64[2,5,80]") Y("%18"), LINEAR, "f64[2,5,80]");
  /* rows depend on each other: a running window, a sum over rows, their order */
  gives(state, EMBEDDED LINE("%20 = reduce_sum(%10) {axes=[1]} : f64[2,80]") LINE("%21 = broadcast(%20) {axes=[0,2]} : f64[2,5,80]") LINE("%22 = div(%10, %21) : f64[2,5,80]")
        TAKEN("16", "22", "80") Y("%16"), LINEAR, "f64[2,5,80]");
  gives(state, EMBEDDED LINE("%20 = reverse(%10) {axes=[1]} : f64[2,5,80]") TAKEN("16", "20", "80") Y("%16"), LINEAR, "f64[2,5,80]");
  gives(state, EMBEDDED LINE("%20 = pad(%10) {low=[0,1,0], high=[0,0,0], interior=[0,0,0], value=0} : f64[2,6,80]") TAKEN("16", "20", "80") Y("%16"), LINEAR, "f64[2,5,80]");
  gives(state, FLOATS("1", "x", "f64[2,5,40]") FLOATS("2", "w", "f64[3,40,80]") FLOATS("5", "rows", "i32[2,2]") LINE("%10 = contract(%1, %2) {spec=\"b,i+r-1,k; r,k,j -> b,i,j\"} : f64[2,5,80]")
        TAKEN("16", "10", "80") Y("%16"), "b,i+r-1,k; r,k,j -> b,i,j", "f64[2,5,80]");
  /* other rows elsewhere; more than rows are chosen */
  gives(state, EMBEDDED TAKEN("16", "10", "80") FLOATS("20", "others", "i32[2,2]") LINE("%21 = broadcast(%20) {axes=[0,1]} : i32[2,2,80]") LINE("%22 = gather(%10, %13, %21, %15) : f64[2,2,80]")
        LINE("%23 = sub(%16, %22) : f64[2,2,80]") Y("%23"), LINEAR, "f64[2,5,80]");
  gives(state, EMBEDDED TAKEN("16", "10", "80") FLOATS("20", "batches", "i32[2,2]") LINE("%21 = broadcast(%20) {axes=[0,1]} : i32[2,2,80]") LINE("%22 = gather(%10, %21, %14, %15) : f64[2,2,80]")
        Y("%22"), LINEAR, "f64[2,5,80]");
  /* other rows for each batch, of what has no batch */
  gives(state, FLOATS("1", "x", "f64[5,40]") FLOATS("2", "w", "f64[40,80]") FLOATS("5", "rows", "i32[2,2]") LINE("%3 = contract(%1, %2) {spec=\"i,k; k,j -> i,j\"} : f64[5,80]")
        LINE("%10 = broadcast(%3) {axes=[1,2]} : f64[2,5,80]") TAKEN("16", "10", "80") Y("%16"), "i,k; k,j -> i,j", "f64[5,80]");
  /* too little work for what is taken twice */
  gives(state, FLOATS("1", "x", "f64[2,5,4]") FLOATS("2", "w", "f64[4,80]") FLOATS("5", "rows", "i32[2,2]") FLOATS("6", "y", "f64[2,5,80]") LINE("%7 = contract(%1, %2) {spec=\"" LINEAR "\"} : f64[2,5,80]")
        LINE("%10 = add(%7, %6) : f64[2,5,80]") TAKEN("16", "10", "80") Y("%16"), LINEAR, "f64[2,5,80]");
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_product_is_of_the_rows_that_are_gathered),
      TEST(what_is_done_row_by_row_is_passed),
      TEST(rows_may_be_a_slice),
      TEST(an_index_may_come_late),
      TEST(queries_are_taken_of_attention),
      TEST(derivatives_add_up_where_rows_repeat),
      TEST(others_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
