/* Layouts of whole plans: what lies in panels, and which conversions are left. */
#include "plan_testing.h"

static const span nowhere = {0};

static const char *layout_of(bench *b, const plan *p, const char *name) {
  const int32_t at = plan_find(p, "state", name);
  if (at < 0) fail_msg("no state %s\n%s", name, plan_print(p, b->arena));
  const plan_buffer *buffer = &p->buffers[at];
  return layout_text(&buffer->layout, &buffer->type, b->arena);
}

static uint32_t conversions(const plan *p) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) n += !strcmp(p->launches[i].kernel->name, "convert");
  return n;
}

/* y = x w; the next w is w plus x' y; and the products of two batches by one w. `computed`: w is also read elsewhere at
 * indices that are no axis. */
static plan *training_step(bench *b, bool computed) {
  const tensor_type x = shaped(DTYPE_F32, 2, 256, 96), w = shaped(DTYPE_F32, 2, 96, 128), y = shaped(DTYPE_F32, 2, 256, 128);
  graph *g = graph_new(b->arena, "step");
  const value weight = graph_parameter(g, "state", "w", w, nowhere);
  value next = weight;
  for (int i = 0; i < 2; i++) {
    const value given = graph_parameter(g, "data", i ? "x2" : "x1", x, nowhere);
    const value product = graph_contract(g, given, weight, "n,c; c,k -> n,k", &y, nowhere);
    next = graph_binary(g, OP_ADD, next, graph_contract(g, given, product, "n,c; n,k -> c,k", &w, nowhere), nowhere);
    graph_add_result(g, "output", i ? "y2" : "y1", product, nowhere);
  }
  if (computed) {
    const value numbers = graph_reshape(g, weight, 1, (int64_t[]){96 * 128}, nowhere);
    graph_add_result(g, "output", "flat", graph_unary(g, OP_NEG, numbers, nowhere), nowhere);
  }
  graph_add_result(g, "state", "w", next, nowhere);
  plan *p = fused(b, g);
  apply_pass(b, p, pass_layout, "layout");
  assert_plan_equals_graph(b, g, p, 1e-4);
  return p;
}

/* Panels of two vectors of 8: nothing that reads or writes w converts it. */
static void parameters_lie_in_panels(void **state) {
  bench *b = *state;
  const plan *p = training_step(b, false);
  assert_string_equal(layout_of(b, p, "w"), "1/16 0 1%16");
  for (uint32_t i = 0; i < p->n_launches; i++)
    assert_false(!strcmp(p->launches[i].kernel->name, "convert") && p->launches[i].kernel->buffers[0].type.dim[0] == 96);
}

/* Rows at computed places would take panels apart: then there is a copy in panels, one for both products. */
static void one_copy_serves_all(void **state) {
  bench *b = *state;
  const plan *packed = training_step(b, false), *plain = training_step(b, true);
  assert_string_equal(layout_of(b, plain, "w"), "0 1");
  assert_int_equal(conversions(plain), conversions(packed) + 1);
}

/* y = x w and z = y w'; `cut`: columns of w are also read from the fourth on, which takes panels of columns apart. */
static const char *layout_of_both_ways(bench *b, bool cut) {
  const tensor_type x = shaped(DTYPE_F32, 2, 256, 96), w = shaped(DTYPE_F32, 2, 96, 128), y = shaped(DTYPE_F32, 2, 256, 128);
  graph *g = graph_new(b->arena, "ways");
  const value given = graph_parameter(g, "data", "x", x, nowhere), weight = graph_parameter(g, "state", "w", w, nowhere);
  const value there = graph_contract(g, given, weight, "n,c; c,k -> n,k", &y, nowhere);
  graph_add_result(g, "output", "z", graph_contract(g, there, weight, "n,k; c,k -> n,c", &x, nowhere), nowhere);
  if (cut) graph_add_result(g, "output", "cut", graph_unary(g, OP_NEG, graph_slice(g, weight, (int64_t[]){0, 3}, (int64_t[]){96, 128}, (int64_t[]){1, 1}, nowhere), nowhere), nowhere);
  graph_add_result(g, "state", "w", graph_unary(g, OP_NEG, weight, nowhere), nowhere);
  plan *p = fused(b, g);
  apply_pass(b, p, pass_layout, "layout");
  assert_plan_equals_graph(b, g, p, 1e-4);
  assert_int_equal(conversions(p), 1);
  return layout_of(b, p, "w");
}

/* What one product may not have, another may: one copy is left, not two. */
static void panels_serve_the_other_product(void **state) {
  assert_string_equal(layout_of_both_ways(*state, false), "1/16 0 1%16");
  assert_string_equal(layout_of_both_ways(*state, true), "0/16 1 0%16");
}

/* y = x * w at each place: vectors run along channels, though places are later dimensions. */
static void channels_lie_innermost(void **state) {
  bench *b = *state;
  const tensor_type x = shaped(DTYPE_F32, 4, 2, 16, 16, 16), w = shaped(DTYPE_F32, 2, 16, 16), y = shaped(DTYPE_F32, 4, 2, 16, 16, 16);
  graph *g = graph_new(b->arena, "pixels");
  const value given = graph_parameter(g, "state", "x", x, nowhere), weight = graph_parameter(g, "state", "w", w, nowhere);
  graph_add_result(g, "output", "y", graph_contract(g, given, weight, "n,c,p,q; k,c -> n,k,p,q", &y, nowhere), nowhere);
  graph_add_result(g, "state", "x", given, nowhere);
  plan *p = fused(b, g);
  apply_pass(b, p, pass_layout, "layout");
  assert_plan_equals_graph(b, g, p, 1e-4);
  assert_string_equal(layout_of(b, p, "x"), "0 2 3 1");
}

/* Squares of 4 x 4 pixels times w: no dimension of the image is summed as such, so that it stays as it is. */
static void images_in_patches_stay(void **state) {
  bench *b = *state;
  const tensor_type x = shaped(DTYPE_F32, 4, 32, 16, 8, 8), w = shaped(DTYPE_F32, 2, 256, 64), y = shaped(DTYPE_F32, 3, 32, 4, 64);
  graph *g = graph_new(b->arena, "patches");
  const value given = graph_parameter(g, "state", "x", x, nowhere), weight = graph_parameter(g, "state", "w", w, nowhere);
  const value tiles = graph_reshape(g, given, 6, (int64_t[]){32, 16, 2, 4, 2, 4}, nowhere);
  const value patches = graph_reshape(g, graph_transpose(g, tiles, (int64_t[]){0, 2, 4, 3, 5, 1}, nowhere), 3, (int64_t[]){32, 4, 256}, nowhere);
  graph_add_result(g, "output", "y", graph_contract(g, patches, weight, "b,i,k; k,j -> b,i,j", &y, nowhere), nowhere);
  graph_add_result(g, "state", "x", given, nowhere);
  plan *p = fused(b, g);
  apply_pass(b, p, pass_layout, "layout");
  assert_plan_equals_graph(b, g, p, 1e-4);
  assert_string_equal(layout_of(b, p, "x"), "0 1 2 3");
}

/* y = x w, dw = x' y, and the sum of y's rows: what puts y in panels for dw takes the sum as well. Where its columns are summed instead, nothing does. */
static void copies_take_sums_of_columns(void **state) {
  bench *b = *state;
  for (int64_t summed = 0; summed < 2; summed++) {
    const tensor_type x = shaped(DTYPE_F32, 2, 1024, 96), w = shaped(DTYPE_F32, 2, 96, 160), y = shaped(DTYPE_F32, 2, 1024, 160);
    graph *g = graph_new(b->arena, "step");
    const value given = graph_parameter(g, "data", "x", x, nowhere), weight = graph_parameter(g, "data", "w", w, nowhere);
    const value product = graph_contract(g, given, weight, "n,c; c,k -> n,k", &y, nowhere);
    graph_add_result(g, "output", "y", product, nowhere);
    graph_add_result(g, "output", "dw", graph_contract(g, given, product, "n,c; n,k -> c,k", &w, nowhere), nowhere);
    graph_add_result(g, "output", "sum", graph_reduce(g, OP_REDUCE_SUM, product, &summed, 1, nowhere), nowhere);
    plan *p = fused(b, g);
    apply_pass(b, p, pass_split, "split");
    apply_pass(b, p, pass_layout, "layout");
    const uint32_t before = p->n_launches;
    apply_pass(b, p, pass_sum_copied, "sum-copied");
    assert_int_equal(p->n_launches, before - (summed == 0));
    assert_int_equal(strstr(all_kernels(b, p), "_chunks_copy {") != NULL, summed == 0);
    assert_plan_equals_graph(b, g, p, 1e-4);
  }
}

/* y = tanh(x w), dw = x' y: the product writes y in panels, too. What only a sum makes, or a map alone, is copied. */
static void products_write_panels_beside(void **state) {
  bench *b = *state;
  for (int by = 0; by < 3; by++) {
    const tensor_type x = shaped(DTYPE_F32, 2, 1024, 96), w = shaped(DTYPE_F32, 2, 96, 160), y = shaped(DTYPE_F32, 2, 1024, 160);
    graph *g = graph_new(b->arena, "step");
    const value given = graph_parameter(g, "data", "x", x, nowhere), weight = graph_parameter(g, "data", "w", w, nowhere);
    const value plain = by == 2 ? graph_parameter(g, "data", "z", y, nowhere) : graph_contract(g, given, weight, "n,c; c,k -> n,k", &y, nowhere);
    const value made = by == 1 ? plain : graph_unary(g, OP_TANH, plain, nowhere);
    graph_add_result(g, "output", "y", made, nowhere);
    graph_add_result(g, "output", "dw", graph_contract(g, given, made, "n,c; n,k -> c,k", &w, nowhere), nowhere);
    plan *p = fused(b, g);
    apply_pass(b, p, pass_layout, "layout");
    const uint32_t before = p->n_launches;
    apply_pass(b, p, pass_copy_beside, "copy-beside");
    assert_int_equal(p->n_launches, before - (by == 0));
    assert_int_equal(strstr(all_kernels(b, p), "_copy {") != NULL, by == 0);
    assert_plan_equals_graph(b, g, p, 1e-4);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(parameters_lie_in_panels, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(one_copy_serves_all, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(panels_serve_the_other_product, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(channels_lie_innermost, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(images_in_patches_stay, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(copies_take_sums_of_columns, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(products_write_panels_beside, bench_setup, bench_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
