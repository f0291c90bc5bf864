/* Which values the precision pass rounds to bf16. */
#include "graph_testing.h"
#include "tests/random_graph.h"

static const graph *parsed(bench *b, const char *text) {
  const uint32_t file = sources_add(b->context.diagnostics->sources, "test", text, strlen(text));
  graph *g = graph_parse(b->arena, file, b->context.diagnostics);
  if (!g) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  return g;
}

static void becomes(bench *b, product_precision how, const char *before, const char *expected) {
  b->context.products = how;
  const graph *g = pass_precision(parsed(b, before), &b->context);
  assert_non_null(g);
  assert_null(graph_verify(g, b->arena));
  assert_string_equal(graph_print(g, NULL, b->arena), expected);
}

/* What goes between contractions is rounded, what states are updated with and losses are not. */
static const char between_contractions_and_maps_before[] =
    "graph t {\n"
    "  %1 = parameter {role=state, name=\"w\"} : f32[4,6]\n"
    "  %2 = parameter {role=state, name=\"u\"} : f32[5,4]\n"
    "  %3 = parameter {role=data, name=\"x\"} : f32[2,6]\n"
    "  %4 = contract(%3, %1) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
    "  %5 = tanh(%4) : f32[2,4]\n"
    "  %6 = mul(%4, %5) : f32[2,4]\n"
    "  %7 = contract(%6, %2) {spec=\"i,k; j,k -> i,j\"} : f32[2,5]\n"
    "  %8 = reduce_sum(%7) {axes=[0,1]} : f32[]\n"
    "  %9 = contract(%5, %3) {spec=\"i,j; i,k -> j,k\"} : f32[4,6]\n"
    "  %10 = sub(%1, %9) : f32[4,6]\n"
    "  result metric \"loss\" %8\n"
    "  result state \"w\" %10\n"
    "}\n";

static const char between_contractions_and_maps_behind[] =
    "graph t {\n"
    "  %1 = parameter {role=state, name=\"w\"} : f32[4,6]\n"
    "  %2 = parameter {role=state, name=\"u\"} : f32[5,4]\n"
    "  %3 = parameter {role=data, name=\"x\"} : f32[2,6]\n"
    "  %4 = cast(%3) : bf16[2,6]\n"
    "  %5 = cast(%4) : f32[2,6]\n"
    "  %6 = cast(%1) : bf16[4,6]\n"
    "  %7 = cast(%6) : f32[4,6]\n"
    "  %8 = contract(%5, %7) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
    "  %9 = cast(%8) : bf16[2,4]\n"
    "  %10 = cast(%9) : f32[2,4]\n"
    "  %11 = tanh(%10) : f32[2,4]\n"
    "  %12 = cast(%11) : bf16[2,4]\n"
    "  %13 = cast(%12) : f32[2,4]\n"
    "  %14 = mul(%10, %13) : f32[2,4]\n"
    "  %15 = cast(%14) : bf16[2,4]\n"
    "  %16 = cast(%15) : f32[2,4]\n"
    "  %17 = cast(%2) : bf16[5,4]\n"
    "  %18 = cast(%17) : f32[5,4]\n"
    "  %19 = contract(%16, %18) {spec=\"i,k; j,k -> i,j\"} : f32[2,5]\n"
    "  %20 = reduce_sum(%19) {axes=[0,1]} : f32[]\n"
    "  %21 = contract(%13, %5) {spec=\"i,j; i,k -> j,k\"} : f32[4,6]\n"
    "  %22 = sub(%1, %21) : f32[4,6]\n"
    "  result metric \"loss\" %20\n"
    "  result state \"w\" %22\n"
    "}\n";

/* Of a softmax the exponents stay; so do products of data alone, and sums of products without rows and columns. */
static const char softmax_and_vectors_before[] =
    "graph t {\n"
    "  %1 = parameter {role=state, name=\"w\"} : f32[4,6]\n"
    "  %2 = parameter {role=data, name=\"x\"} : f32[2,6]\n"
    "  %3 = contract(%2, %1) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
    "  %4 = reduce_max(%3) {axes=[1]} : f32[2]\n"
    "  %5 = broadcast(%4) {axes=[0]} : f32[2,4]\n"
    "  %6 = sub(%3, %5) : f32[2,4]\n"
    "  %7 = exp(%6) : f32[2,4]\n"
    "  %8 = contract(%7, %1) {spec=\"i,k; k,j -> i,j\"} : f32[2,6]\n"
    "  %9 = contract(%2, %2) {spec=\"i,k; j,k -> i,j\"} : f32[2,2]\n"
    "  %10 = contract(%2, %8) {spec=\"i,k; i,k -> i\"} : f32[2]\n"
    "  result output \"y\" %8\n"
    "  result output \"z\" %9\n"
    "  result output \"r\" %10\n"
    "}\n";

static const char softmax_and_vectors_behind[] =
    "graph t {\n"
    "  %1 = parameter {role=state, name=\"w\"} : f32[4,6]\n"
    "  %2 = parameter {role=data, name=\"x\"} : f32[2,6]\n"
    "  %3 = cast(%2) : bf16[2,6]\n"
    "  %4 = cast(%3) : f32[2,6]\n"
    "  %5 = cast(%1) : bf16[4,6]\n"
    "  %6 = cast(%5) : f32[4,6]\n"
    "  %7 = contract(%4, %6) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
    "  %8 = reduce_max(%7) {axes=[1]} : f32[2]\n"
    "  %9 = broadcast(%8) {axes=[0]} : f32[2,4]\n"
    "  %10 = sub(%7, %9) : f32[2,4]\n"
    "  %11 = exp(%10) : f32[2,4]\n"
    "  %12 = cast(%11) : bf16[2,4]\n"
    "  %13 = cast(%12) : f32[2,4]\n"
    "  %14 = contract(%13, %6) {spec=\"i,k; k,j -> i,j\"} : f32[2,6]\n"
    "  %15 = contract(%2, %2) {spec=\"i,k; j,k -> i,j\"} : f32[2,2]\n"
    "  %16 = contract(%2, %14) {spec=\"i,k; i,k -> i\"} : f32[2]\n"
    "  result output \"y\" %14\n"
    "  result output \"z\" %15\n"
    "  result output \"r\" %16\n"
    "}\n";

/* Regions too, where something learned goes in. */
static const char regions_before[] =
    "graph t {\n"
    "  %1 = parameter {role=state, name=\"w\"} : f32[6,6]\n"
    "  %2 = parameter {role=data, name=\"x\"} : f32[2,6]\n"
    "  %3 = repeat(%2, %1) {times=5, carries=1, slices=0} : f32[2,6] {\n"
    "    %1 = parameter {role=state, name=\"0\"} : f32[2,6]\n"
    "    %2 = parameter {role=invariant, name=\"0\"} : f32[6,6]\n"
    "    %3 = transpose(%2) {axes=[1,0]} : f32[6,6]\n"
    "    %4 = contract(%1, %3) {spec=\"i,k; k,j -> i,j\"} : f32[2,6]\n"
    "    %5 = tanh(%4) : f32[2,6]\n"
    "    %6 = contract(%5, %3) {spec=\"i,k; k,j -> i,j\"} : f32[2,6]\n"
    "    result state \"0\" %6\n"
    "  }\n"
    "  result output \"y\" %3\n"
    "}\n";

static const char regions_behind[] =
    "graph t {\n"
    "  %1 = parameter {role=state, name=\"w\"} : f32[6,6]\n"
    "  %2 = parameter {role=data, name=\"x\"} : f32[2,6]\n"
    "  %3 = repeat(%2, %1) {times=5, carries=1, slices=0} : f32[2,6] {\n"
    "    %1 = parameter {role=state, name=\"0\"} : f32[2,6]\n"
    "    %2 = parameter {role=invariant, name=\"0\"} : f32[6,6]\n"
    "    %3 = transpose(%2) {axes=[1,0]} : f32[6,6]\n"
    "    %4 = cast(%1) : bf16[2,6]\n"
    "    %5 = cast(%4) : f32[2,6]\n"
    "    %6 = cast(%2) : bf16[6,6]\n"
    "    %7 = cast(%6) : f32[6,6]\n"
    "    %8 = transpose(%7) {axes=[1,0]} : f32[6,6]\n"
    "    %9 = contract(%5, %8) {spec=\"i,k; k,j -> i,j\"} : f32[2,6]\n"
    "    %10 = tanh(%9) : f32[2,6]\n"
    "    %11 = cast(%10) : bf16[2,6]\n"
    "    %12 = cast(%11) : f32[2,6]\n"
    "    %13 = contract(%12, %8) {spec=\"i,k; k,j -> i,j\"} : f32[2,6]\n"
    "    result state \"0\" %13\n"
    "  }\n"
    "  result output \"y\" %3\n"
    "}\n";

static void between_contractions_and_maps(void **state) { becomes(*state, PRODUCTS_BF16, between_contractions_and_maps_before, between_contractions_and_maps_behind); }
static void softmax_and_vectors(void **state) { becomes(*state, PRODUCTS_BF16, softmax_and_vectors_before, softmax_and_vectors_behind); }
static void regions(void **state) { becomes(*state, PRODUCTS_BF16, regions_before, regions_behind); }

static const char odd_sum[] =
    "graph t {\n"
    "  %1 = parameter {role=state, name=\"w\"} : f32[4,3]\n"
    "  %2 = parameter {role=data, name=\"x\"} : f32[2,3]\n"
    "  %3 = contract(%2, %1) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
    "  result output \"y\" %3\n"
    "}\n";

static void sums_over_an_odd_number_stay(void **state) { becomes(*state, PRODUCTS_BF16, odd_sum, odd_sum); }

/* But not those of a GPU. */
static void a_gpu_needs_no_pairs(void **state) {
  static const target gpu = {.warps = true, .tiles = true};
  bench *b = *state;
  b->context.target = &gpu;
  becomes(b, PRODUCTS_BF16, odd_sum,
          "graph t {\n"
          "  %1 = parameter {role=state, name=\"w\"} : f32[4,3]\n"
          "  %2 = parameter {role=data, name=\"x\"} : f32[2,3]\n"
          "  %3 = cast(%2) : bf16[2,3]\n"
          "  %4 = cast(%3) : f32[2,3]\n"
          "  %5 = cast(%1) : bf16[4,3]\n"
          "  %6 = cast(%5) : f32[4,3]\n"
          "  %7 = contract(%4, %6) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
          "  result output \"y\" %7\n"
          "}\n");
}

/* What is joined stands in memory as it is rounded, in two bytes an element. */
static void joined_values_are_rounded_as_one(void **state) {
  becomes(*state, PRODUCTS_BF16,
          "graph t {\n"
          "  %1 = parameter {role=state, name=\"w\"} : f32[4,6]\n"
          "  %2 = parameter {role=data, name=\"x\"} : f32[2,3]\n"
          "  %3 = concat(%2, %2) {axis=1} : f32[2,6]\n"
          "  %4 = contract(%3, %1) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
          "  result output \"y\" %4\n"
          "}\n",
          "graph t {\n"
          "  %1 = parameter {role=state, name=\"w\"} : f32[4,6]\n"
          "  %2 = parameter {role=data, name=\"x\"} : f32[2,3]\n"
          "  %3 = concat(%2, %2) {axis=1} : f32[2,6]\n"
          "  %4 = cast(%3) : bf16[2,6]\n"
          "  %5 = cast(%4) : f32[2,6]\n"
          "  %6 = cast(%1) : bf16[4,6]\n"
          "  %7 = cast(%6) : f32[4,6]\n"
          "  %8 = contract(%5, %7) {spec=\"i,k; j,k -> i,j\"} : f32[2,4]\n"
          "  result output \"y\" %8\n"
          "}\n");
}

static void nothing_is_rounded_unless_asked_for(void **state) {
  becomes(*state, PRODUCTS_EXACT, between_contractions_and_maps_before, between_contractions_and_maps_before);
}

/* Every second parameter becomes something that is learned. */
static graph *with_states(graph *g) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == OP_PARAMETER && n++ % 2) ((attribute *)(uintptr_t)node_attribute(&g->nodes[i], ATTR_ROLE))->as.text = "state";
  return g;
}

/* Graphs of every primitive stay sound, with all their results; at least some are rounded somewhere. */
static void random_graphs_stay_sound(void **state) {
  bench *b = *state;
  uint32_t rounded = 0;
  b->context.products = PRODUCTS_BF16;
  for (uint64_t seed = 1; seed <= 200; seed++) {
    random_source r = {seed};
    const graph *g = pass_autodiff(with_states(random_training_graph(&r, 20, DTYPE_F32, b->arena)), &b->context);
    const graph *behind = pass_precision(g, &b->context);
    assert_non_null(behind);
    const char *wrong = graph_verify(behind, b->arena);
    if (wrong) fail_msg("seed %u: %s", (unsigned)seed, wrong);
    assert_int_equal(behind->n_results, g->n_results);
    for (uint32_t i = 0; i < g->n_results; i++)
      assert_true(type_equal(graph_type(g, g->results[i].value), graph_type(behind, behind->results[i].value)));
    rounded += behind->n_nodes > g->n_nodes;
  }
  assert_true(rounded > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(between_contractions_and_maps, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(softmax_and_vectors, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(regions, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(random_graphs_stay_sound, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(sums_over_an_odd_number_stay, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(a_gpu_needs_no_pairs, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(joined_values_are_rounded_as_one, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(nothing_is_rounded_unless_asked_for, bench_setup, bench_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
