/* Fusion: the plan computes what the graph does, in as few kernels as it should. */
#include "plan_testing.h"

static const span nowhere = {0};

static value data(graph *g, const char *name, tensor_type t) { return graph_parameter(g, "data", name, t, nowhere); }
static value unary(graph *g, op_id op, value x) { return graph_unary(g, op, x, nowhere); }
static value binary(graph *g, op_id op, value x, value y) { return graph_binary(g, op, x, y, nowhere); }
static value scaled(graph *g, value x, double by) {
  return binary(g, OP_MUL, x, graph_number(g, *graph_type(g, x), by, nowhere));
}
static value output(graph *g, const char *name, value v) {
  graph_add_result(g, "output", name, v, nowhere);
  return v;
}
static value along(graph *g, value x, tensor_type to, int64_t axis) {
  return graph_broadcast(g, x, to, &axis, nowhere);
}
static value relu(graph *g, value x) { return binary(g, OP_MAX, x, graph_number(g, *graph_type(g, x), 0, nowhere)); }

static const plan *check(bench *b, const graph *g, uint32_t launches) {
  const plan *p = fused(b, g);
  assert_plan_equals_graph(b, g, p, 1e-5);
  if (p->n_launches != launches) fail_msg("%u launches, should be %u\n%s", p->n_launches, launches, all_kernels(b, p));
  return p;
}

/* Which of each pair is larger is seen where the larger is taken, though neither reads the other. */
static void a_mask_goes_with_its_window(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  const value x = data(g, "x", shaped(DTYPE_F32, 2, 64, 128));
  value side[2];
  for (int64_t i = 0; i < 2; i++) side[i] = graph_slice(g, x, (int64_t[]){0, i}, (int64_t[]){64, 127 + i}, (int64_t[]){1, 2}, nowhere);
  output(g, "largest", binary(g, OP_MAX, side[0], side[1]));
  output(g, "mask", binary(g, OP_LT, side[0], side[1]));
  check(b, g, 1);
}

static void elementwise_chain_is_one_kernel(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 5, 7);
  value x = data(g, "x", t), bias = data(g, "b", shaped(DTYPE_F32, 1, 7));
  value y = binary(g, OP_ADD, x, along(g, bias, t, 1));
  output(g, "y", binary(g, OP_MUL, unary(g, OP_TANH, y), y));
  const plan *p = check(b, g, 1);
  assert_int_equal(p->launches[0].kernel->n_stages, 1);
}

static void convolution_takes_bias_and_relu(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type y_type = shaped(DTYPE_F32, 4, 2, 5, 6, 6);
  value x = data(g, "x", shaped(DTYPE_F32, 4, 2, 3, 6, 6)), w = data(g, "w", shaped(DTYPE_F32, 4, 5, 3, 3, 3));
  value bias = data(g, "b", shaped(DTYPE_F32, 1, 5));
  value y = graph_contract(g, x, w, "n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", &y_type, nowhere);
  output(g, "y", relu(g, binary(g, OP_ADD, y, along(g, bias, y_type, 1))));
  const kernel *k = check(b, g, 1)->launches[0].kernel;
  contraction_form form;
  assert_true(stage_contraction(k, 0, &form));
}

static void derivatives_of_strided_convolution(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type x_type = shaped(DTYPE_F32, 4, 2, 3, 7, 7), y_type = shaped(DTYPE_F32, 4, 2, 5, 4, 4);
  tensor_type w_type = shaped(DTYPE_F32, 4, 5, 3, 3, 3);
  value x = data(g, "x", x_type), w = data(g, "w", w_type), dy = data(g, "dy", y_type);
  const char *error = NULL;
  const contraction *c = contraction_parse("n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", b->arena, &error);
  output(g, "dx",
         graph_contract(g, dy, w, contraction_text(contraction_derivative(c, 0, b->arena), true, b->arena), &x_type,
                        nowhere));
  output(g, "dw",
         graph_contract(g, dy, x, contraction_text(contraction_derivative(c, 1, b->arena), true, b->arena), &w_type,
                        nowhere));
  check(b, g, 2);
}

static value row_max(graph *g, value x) { return graph_reduce(g, OP_REDUCE_MAX, x, (int64_t[]){1}, 1, nowhere); }
static value row_sum(graph *g, value x) { return graph_reduce(g, OP_REDUCE_SUM, x, (int64_t[]){1}, 1, nowhere); }

static void softmax_is_one_kernel(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 16, 33);
  value x = data(g, "x", t);
  value e = unary(g, OP_EXP, binary(g, OP_SUB, x, along(g, row_max(g, x), t, 0)));
  output(g, "y", binary(g, OP_DIV, e, along(g, row_sum(g, e), t, 0)));
  check(b, g, 1);
}

/* The row is too long to walk again and again from a near cache. */
static void long_rows_end_their_kernel(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 2, 20000);
  value x = data(g, "x", t);
  output(g, "y", binary(g, OP_SUB, x, along(g, row_max(g, x), t, 0)));
  check(b, g, 2);
}

static value layer_norm(graph *g, value x, tensor_type t) {
  value mean = along(g, scaled(g, row_sum(g, x), 1.0 / (double)t.dim[1]), t, 0);
  value centered = binary(g, OP_SUB, x, mean);
  value variance = scaled(g, row_sum(g, binary(g, OP_MUL, centered, centered)), 1.0 / (double)t.dim[1]);
  value epsilon = graph_number(g, *graph_type(g, variance), 1e-6, nowhere);
  return binary(g, OP_MUL, centered, along(g, unary(g, OP_RSQRT, binary(g, OP_ADD, variance, epsilon)), t, 0));
}

/* Rows of x by an index for each batch. */
static value rows_of(graph *g, value x, value index) {
  tensor_type t = *graph_type(g, x);
  t.dim[1] = graph_type(g, index)->dim[1];
  t.dtype = DTYPE_I32;
  const value at[] = {graph_iota(g, t, 0, nowhere), graph_broadcast(g, index, t, (int64_t[]){0, 1}, nowhere), graph_iota(g, t, 2, nowhere)};
  return graph_gather(g, x, at, nowhere);
}

/* Patches of images are put together once, where rows of them are taken, and not by each that takes some. */
static void patches_that_are_gathered_stand_in_memory(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  const value tiles = graph_reshape(g, scaled(g, data(g, "x", shaped(DTYPE_F32, 4, 4, 3, 8, 12)), 2), 6, (int64_t[]){4, 3, 2, 4, 3, 4}, nowhere);
  const value patches = graph_reshape(g, graph_transpose(g, tiles, (int64_t[]){0, 2, 4, 3, 5, 1}, nowhere), 3, (int64_t[]){4, 6, 48}, nowhere);
  output(g, "some", rows_of(g, patches, data(g, "these", shaped(DTYPE_I32, 2, 4, 2))));
  output(g, "others", rows_of(g, patches, data(g, "those", shaped(DTYPE_I32, 2, 4, 3))));
  const plan *p = check(b, g, 3);
  assert_string_equal(type_text(&p->launches[0].kernel->buffers[0].type, b->arena), "f32[4,6,48]");
}

/* An index that both read is no reason: rows of one would be walked along the other's. */
static void little_that_is_shared_merges_nothing(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  const value index = data(g, "index", shaped(DTYPE_I32, 2, 64, 16));
  output(g, "rows", rows_of(g, data(g, "x", shaped(DTYPE_F32, 3, 64, 20, 96)), index));
  const value y = rows_of(g, data(g, "y", shaped(DTYPE_F32, 3, 64, 20, 40)), index), sum = graph_reduce(g, OP_REDUCE_SUM, y, (int64_t[]){2}, 1, nowhere);
  const value far = binary(g, OP_SUB, y, graph_broadcast(g, sum, *graph_type(g, y), (int64_t[]){0, 1}, nowhere));
  output(g, "how far", scaled(g, graph_reduce(g, OP_REDUCE_SUM, binary(g, OP_MUL, far, far), (int64_t[]){2}, 1, nowhere), 2));
  check(b, g, 2);
}

static void layer_norm_is_one_kernel(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 40, 192);
  value y = layer_norm(g, data(g, "x", t), t);
  output(g, "y", binary(g, OP_MUL, y, along(g, data(g, "gain", shaped(DTYPE_F32, 1, 192)), t, 1)));
  check(b, g, 1);
}

/* Statistics per channel: both sums in one kernel, what follows in another. */
static void batch_norm_reads_its_input_twice(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 4, 8, 6, 16, 16);
  const int64_t axes[] = {0, 2, 3};
  value x = data(g, "x", t);
  value sum = graph_reduce(g, OP_REDUCE_SUM, x, axes, 3, nowhere);
  value square = graph_reduce(g, OP_REDUCE_SUM, binary(g, OP_MUL, x, x), axes, 3, nowhere);
  value mean = scaled(g, sum, 1.0 / 2048),
        variance = binary(g, OP_SUB, scaled(g, square, 1.0 / 2048), binary(g, OP_MUL, mean, mean));
  value scale =
      unary(g, OP_RSQRT, binary(g, OP_ADD, variance, graph_number(g, *graph_type(g, variance), 1e-5, nowhere)));
  value y = binary(g, OP_MUL, binary(g, OP_SUB, x, along(g, mean, t, 1)), along(g, scale, t, 1));
  output(g, "y", relu(g, y));
  check(b, g, 2);
}

/* Max pooling by a window made of gathers of a padded input, and its derivative by scatter_add. */
static void pooling_has_affine_indices(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 1, 9), window = shaped(DTYPE_I32, 2, 5, 3), back = shaped(DTYPE_F32, 1, 11);
  const int64_t one = 1, none = 0;
  value x = graph_pad(g, relu(g, data(g, "x", t)), &one, &one, &none, -INFINITY, nowhere);
  value at = binary(g, OP_ADD, scaled(g, graph_iota(g, window, 0, nowhere), 2), graph_iota(g, window, 1, nowhere));
  output(g, "y", row_max(g, graph_gather(g, x, &at, nowhere)));
  value dy = data(g, "dy", shaped(DTYPE_F32, 2, 5, 3));
  output(g, "dx", graph_scatter_add(g, dy, &at, back, nowhere));
  const plan *p = check(b, g, 2);
  for (uint32_t i = 0; i < 2; i++) { /* the scatter sums over the window alone */
    const kernel *k = p->launches[i].kernel;
    for (uint32_t s = 0; s < k->n_stages; s++)
      for (uint32_t axis = 0; axis < k->n_axes; axis++)
        if (k->stages[s].reduced >> axis & 1) assert_int_equal(k->axes[axis].extent, 3);
  }
}

/* A row chosen by a label, and back: no reduction is left of the scatter. */
static void label_gather_and_scatter(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 6, 5), row = shaped(DTYPE_I32, 1, 6);
  value indices[] = {graph_iota(g, row, 0, nowhere), data(g, "label", row)};
  output(g, "y", graph_gather(g, data(g, "x", t), indices, nowhere));
  output(g, "dx", graph_scatter_add(g, data(g, "dy", shaped(DTYPE_F32, 1, 6)), indices, t, nowhere));
  const plan *p = check(b, g, 2);
  for (uint32_t i = 0; i < 2; i++) assert_int_equal(p->launches[i].kernel->stages[0].monoid, MONOID_NONE);
}

static void views_dissolve(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = data(g, "x", shaped(DTYPE_F32, 2, 4, 6)), y = data(g, "y", shaped(DTYPE_F32, 2, 3, 6));
  value both = graph_concat(g, (value[]){x, y}, 2, 0, nowhere);
  value turned = graph_transpose(g, graph_reverse(g, both, (int64_t[]){1}, 1, nowhere), (int64_t[]){1, 0}, nowhere);
  value flat = graph_reshape(g, turned, 3, (int64_t[]){2, 7, 3}, nowhere);
  value part = graph_slice(g, flat, (int64_t[]){0, 1, 0}, (int64_t[]){2, 7, 3}, (int64_t[]){1, 2, 1}, nowhere);
  value padded = graph_pad(g, part, (int64_t[]){0, 1, -1}, (int64_t[]){0, 0, 2}, (int64_t[]){0, 1, 0}, 0.5, nowhere);
  value twice = graph_pad(g, padded, (int64_t[]){1, 0, 0}, (int64_t[]){0, 0, 1}, (int64_t[]){0, 0, 0}, -1, nowhere);
  output(g, "z", unary(g, OP_SIN, twice));
  check(b, g, 1);
}

/* Channels are put together where they are written, each by a stage of the one kernel that makes them. */
static void stacks_are_written_part_by_part(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type plane = shaped(DTYPE_F32, 3, 4, 1, 6);
  value x = data(g, "x", plane), y = unary(g, OP_TANH, x), z = binary(g, OP_ADD, x, y);
  output(g, "rgb", graph_concat(g, (value[]){x, y, z}, 3, 1, nowhere));
  const plan *p = check(b, g, 1);
  const kernel *k = p->launches[0].kernel;
  uint32_t writers = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) writers += k->stages[i].output >= 0;
  assert_int_equal(writers, 3);
}

/* Sums and largest of the same rows, which one kernel makes, side by side: it writes both where the whole has them. Where somebody else
 * reads a part, it is copied, without a choice at every point. */
static void joins_are_written_by_their_parts(void **state) {
  bench *b = *state;
  enum { CONCATENATED, ADDED, OUT_OF_ORDER, SEEN, ROUNDED, OVERLAPPING, TURNED, CASES };
  for (int how = 0; how < CASES; how++) {
    graph *g = graph_new(b->arena, "t");
    const value x = data(g, "x", shaped(DTYPE_F32, 3, 5, 7, 33));
    value part[2];
    for (int i = 0; i < 2; i++) {
      value rows = graph_reduce(g, i ? OP_REDUCE_MAX : OP_REDUCE_SUM, x, (int64_t[]){2}, 1, nowhere);
      if (how == ROUNDED) rows = graph_cast(g, rows, DTYPE_BF16, nowhere);
      if ((how == SEEN && i) || how == ROUNDED) output(g, i ? "largest" : "sum", rows);
      if (how == ROUNDED) rows = graph_cast(g, rows, DTYPE_F32, nowhere);
      part[i] = how == TURNED ? graph_transpose(g, rows, (int64_t[]){1, 0}, nowhere) : graph_reshape(g, rows, 3, (int64_t[]){5, 1, 7}, nowhere);
    }
    if (how == CONCATENATED || how == SEEN || how == TURNED) {
      output(g, "y", graph_concat(g, part, 2, how == TURNED ? 1 : 2, nowhere));
    } else {
      const int64_t before[2] = {how == OUT_OF_ORDER ? 7 : 0, how == OUT_OF_ORDER ? 0 : how == OVERLAPPING ? 6 : 7};
      for (int i = 0; i < 2; i++) part[i] = graph_pad(g, part[i], (int64_t[]){0, 0, before[i]}, (int64_t[]){0, 0, 7 - before[i]}, (int64_t[]){0, 0, 0}, 0, nowhere);
      const value sum = binary(g, OP_ADD, part[0], part[1]);
      output(g, "y", how == ROUNDED ? graph_cast(g, sum, DTYPE_BF16, nowhere) : sum);
    }
    const plan *p = check(b, g, how < SEEN ? 1 : 2);
    const kernel *last = p->launches[p->n_launches - 1].kernel;
    uint32_t writers = 0;
    for (uint32_t i = 0; i < last->n_stages; i++) writers += last->stages[i].output >= 0;
    assert_int_equal(writers, how <= ROUNDED ? 2 : 1); /* turned, vectors would be scattered */
    assert_int_equal(p->n_buffers, how < SEEN ? 2 : 4);
  }
}

static void optimiser_step_is_one_kernel(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 64, 65);
  value w = graph_parameter(g, "state", "w", t, nowhere), m = graph_parameter(g, "state", "m", t, nowhere);
  value v = graph_parameter(g, "state", "v", t, nowhere), dw = data(g, "dw", t);
  value rate =
      graph_broadcast(g, graph_parameter(g, "state", "rate", scalar_type(DTYPE_F32), nowhere), t, NULL, nowhere);
  value next_m = binary(g, OP_ADD, scaled(g, m, 0.9), scaled(g, dw, 0.1));
  value next_v = binary(g, OP_ADD, scaled(g, v, 0.99), scaled(g, binary(g, OP_MUL, dw, dw), 0.01));
  value root = binary(g, OP_ADD, unary(g, OP_SQRT, unary(g, OP_ABS, next_v)), graph_number(g, t, 1e-3, nowhere));
  value next_w = binary(g, OP_SUB, w, binary(g, OP_MUL, rate, binary(g, OP_DIV, next_m, root)));
  graph_add_result(g, "state", "w", next_w, nowhere);
  graph_add_result(g, "state", "m", next_m, nowhere);
  graph_add_result(g, "state", "v", next_v, nowhere);
  const plan *p = check(b, g, 1);
  int32_t at = plan_find(p, "state", "w");
  assert_int_equal(p->buffers[at].storage, STORAGE_STATE);
}

static void equal_kernels_are_shared(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = data(g, "x", shaped(DTYPE_F32, 2, 8, 8));
  for (int i = 0; i < 3; i++) {
    value w = data(g, arena_printf(b->arena, "w%d", i), shaped(DTYPE_F32, 2, 8, 8));
    x = relu(g, graph_contract(g, x, w, "i,k; k,j -> i,j", NULL, nowhere));
  }
  output(g, "y", x);
  const plan *p = check(b, g, 3);
  assert_ptr_equal(p->launches[0].kernel, p->launches[1].kernel);
  assert_ptr_equal(p->launches[0].kernel, p->launches[2].kernel);
}

/* s = x + f(x) and the sum of both paths: merging the ends of a fork would close a cycle. */
static void merging_closes_no_cycle(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 96, 96);
  value x = unary(g, OP_EXP, data(g, "x", t)), w = data(g, "w", t);
  value y = unary(g, OP_TANH, graph_contract(g, x, w, "i,k; k,j -> i,j", NULL, nowhere));
  value z = graph_contract(g, y, x, "i,k; k,j -> i,j", NULL, nowhere);
  output(g, "z", binary(g, OP_ADD, binary(g, OP_ADD, z, x), y));
  check(b, g, 3);
}

static void results_of_every_kind(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 3, 1);
  const float numbers[] = {1, 2, 3};
  value x = graph_parameter(g, "state", "x", t, nowhere), y = graph_parameter(g, "state", "y", t, nowhere);
  value literal = graph_literal(g, t, numbers, nowhere), zero = graph_number(g, t, 0, nowhere);
  value sum = binary(g, OP_ADD, x, literal);
  graph_parameter(g, "state", "kept", t, nowhere);
  graph_add_result(g, "state", "x", y, nowhere);
  graph_add_result(g, "state", "y", zero, nowhere);
  graph_add_result(g, "state", "kept", graph_parameter(g, "state", "other", t, nowhere), nowhere);
  graph_add_result(g, "metric", "sum", sum, nowhere);
  output(g, "sum", sum);
  output(g, "literal", literal);
  output(g, "zero", zero);
  output(g, "x", x);
  output(g, "index", graph_iota(g, shaped(DTYPE_I32, 1, 4), 0, nowhere));
  output(g, "flat", graph_reshape(g, sum, 1, (int64_t[]){3}, nowhere));
  const plan *p = fused(b, g);
  assert_plan_equals_graph(b, g, p, 0);
  assert_true(p->buffers[plan_find(p, "output", "zero")].is_splat);
}

static void bf16_adds_up_in_f32(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = data(g, "x", shaped(DTYPE_BF16, 2, 4, 50)), y = data(g, "y", shaped(DTYPE_BF16, 2, 50, 3));
  output(g, "xy", graph_contract(g, x, y, "i,k; k,j -> i,j", NULL, nowhere));
  output(g, "sum", row_sum(g, x));
  const plan *p = fused(b, g);
  assert_plan_equals_graph(b, g, p, 1e-2);
  assert_int_equal(p->launches[0].kernel->stages[0].type, DTYPE_F32);
}

static void random_graphs_keep_their_values(void **state) {
  bench *b = *state;
  const char *wanted = getenv("SSLC_RANDOM_GRAPHS");
  const int n = wanted ? atoi(wanted) : 300;
  for (int i = 0; i < n; i++) {
    bench one = {.arena = arena_new(), .random = b->random + (uint64_t)i};
    one.context = (pass_context){.arena = one.arena, .diagnostics = diagnostics_new(one.arena, sources_new(one.arena))};
    random_source random = {(uint64_t)i};
    graph *g = random_graph(&random, 4 + random_below(&random, 40), DTYPE_F64, false, one.arena);
    const plan *p = fused(&one, g);
    assert_plan_equals_graph(&one, g, p, 1e-9);
    assert_reads_back(&one, p);
    arena_free(one.arena);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_mask_goes_with_its_window),
      TEST(elementwise_chain_is_one_kernel),
      TEST(convolution_takes_bias_and_relu),
      TEST(derivatives_of_strided_convolution),
      TEST(softmax_is_one_kernel),
      TEST(long_rows_end_their_kernel),
      TEST(layer_norm_is_one_kernel),
      TEST(patches_that_are_gathered_stand_in_memory),
      TEST(little_that_is_shared_merges_nothing),
      TEST(batch_norm_reads_its_input_twice),
      TEST(pooling_has_affine_indices),
      TEST(label_gather_and_scatter),
      TEST(views_dissolve),
      TEST(stacks_are_written_part_by_part),
      TEST(joins_are_written_by_their_parts),
      TEST(optimiser_step_is_one_kernel),
      TEST(equal_kernels_are_shared),
      TEST(merging_closes_no_cycle),
      TEST(results_of_every_kind),
      TEST(bf16_adds_up_in_f32),
      TEST(random_graphs_keep_their_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
