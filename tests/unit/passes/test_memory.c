/* Plan passes behind fusion: split, order, memory. */
#include "plan_testing.h"

static const span nowhere = {0};

static value state_of(graph *g, const char *name, tensor_type t) {
  return graph_parameter(g, "state", name, t, nowhere);
}
static value sum_of(graph *g, value x) {
  int64_t axes[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
  return graph_reduce(g, OP_REDUCE_SUM, x, axes, graph_type(g, x)->rank, nowhere);
}

static plan *planned(bench *b, const graph *g) {
  plan *p = fused(b, g);
  apply_pass(b, p, pass_split, "split");
  apply_pass(b, p, pass_order, "order");
  apply_pass(b, p, pass_rematerialise, "rematerialise");
  apply_pass(b, p, pass_memory, "memory");
  return p;
}

static const plan_buffer *written_state(const plan *p, const char *name) {
  for (uint32_t i = 0; i < p->n_buffers; i++)
    if (p->buffers[i].storage == STORAGE_RESULT && !strcmp(p->buffers[i].name, name)) return &p->buffers[i];
  fail_msg("no next value of %s", name);
  return NULL;
}

static void full_sum_is_split(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = graph_parameter(g, "data", "x", shaped(DTYPE_F32, 2, 60, 1000), nowhere);
  value mean =
      graph_binary(g, OP_MUL, sum_of(g, x), graph_number(g, scalar_type(DTYPE_F32), 1.0 / 60000, nowhere), nowhere);
  graph_add_result(g, "output", "mean", mean, nowhere);
  plan *p = fused(b, g);
  assert_int_equal(p->n_launches, 1);
  apply_pass(b, p, pass_split, "split");
  assert_int_equal(p->n_launches, 2);
  assert_int_equal(p->launches[0].kernel->axes[0].extent, 15); /* the largest divisor of 60 up to 16 */
  assert_plan_equals_graph(b, g, p, 1e-5);
}

static void statistics_are_split_together(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 4, 8, 6, 32, 32);
  const int64_t axes[] = {0, 2, 3}, channel = 1;
  value x = graph_parameter(g, "data", "x", t, nowhere);
  value sum = graph_reduce(g, OP_REDUCE_SUM, x, axes, 3, nowhere);
  value square = graph_reduce(g, OP_REDUCE_SUM, graph_binary(g, OP_MUL, x, x, nowhere), axes, 3, nowhere);
  value largest = graph_reduce(g, OP_REDUCE_MAX, x, axes, 3, nowhere);
  value both = graph_binary(g, OP_SUB, graph_binary(g, OP_MUL, sum, sum, nowhere), square, nowhere);
  graph_add_result(g, "output", "both", both, nowhere);
  graph_add_result(g, "output", "largest", largest, nowhere);
  graph_add_result(g, "output", "y",
                   graph_binary(g, OP_ADD, x, graph_broadcast(g, both, t, &channel, nowhere), nowhere), nowhere);
  plan *p = fused(b, g);
  const uint32_t before = p->n_launches;
  apply_pass(b, p, pass_split, "split");
  assert_int_equal(p->n_launches, before + 1);
  assert_plan_equals_graph(b, g, p, 1e-4);
}

static void short_reductions_stay_whole(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = graph_parameter(g, "data", "x", shaped(DTYPE_F32, 2, 30, 100), nowhere);
  graph_add_result(g, "output", "sum", sum_of(g, x), nowhere);
  plan *p = planned(b, g);
  assert_int_equal(p->n_launches, 1);
}

static void weight_gradient_is_split(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = graph_parameter(g, "data", "x", shaped(DTYPE_F32, 2, 20000, 3), nowhere);
  value dy = graph_parameter(g, "data", "dy", shaped(DTYPE_F32, 2, 20000, 5), nowhere);
  graph_add_result(g, "output", "dw", graph_contract(g, x, dy, "n,i; n,j -> i,j", NULL, nowhere), nowhere);
  plan *p = planned(b, g);
  assert_int_equal(p->n_launches, 2);
  assert_plan_equals_graph(b, g, p, 1e-4);
}

/* A GPU wants thousands of pieces: of the outermost axis, and of the next. */
static void sums_are_cut_for_many_warps(void **state) {
  static const target gpu = {.name = "gpu", .warps = true, .vector_bytes = 128, .vector_registers = 32, .l1_bytes = 1 << 14, .l2_bytes = 1 << 16};
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  const int64_t axes[] = {0, 2, 3};
  value x = graph_parameter(g, "data", "x", shaped(DTYPE_F32, 4, 10, 3, 32, 64), nowhere);
  value y = graph_parameter(g, "data", "y", shaped(DTYPE_F32, 2, 30, 40), nowhere);
  graph_add_result(g, "output", "sum", graph_reduce(g, OP_REDUCE_SUM, x, axes, 3, nowhere), nowhere);
  graph_add_result(g, "output", "whole", sum_of(g, y), nowhere);
  plan *p = fused(b, g);
  assert_int_equal(p->n_launches, 2);
  b->context.target = &gpu;
  assert_true(pass_split(p, &b->context));
  assert_sound(b, p, "split");
  assert_int_equal(p->n_launches, 3);
  const kernel *sum = p->launches[0].kernel->n_axes > 2 ? p->launches[0].kernel : p->launches[1].kernel;
  assert_int_equal(sum->axes[0].extent, 10);
  assert_int_equal(sum->axes[1].extent, 16); /* each of 2 rows of 64 */
  assert_plan_equals_graph(b, g, p, 1e-4);
}

static void state_is_updated_in_place(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 40, 50);
  value w = state_of(g, "w", t), x = graph_parameter(g, "data", "x", t, nowhere);
  value next = graph_binary(g, OP_SUB, w, x, nowhere);
  graph_add_result(g, "state", "w", next, nowhere);
  /* reads the old value elsewhere, so it has to come first */
  const int64_t turned[] = {1, 0};
  value other = graph_contract(g, x, graph_transpose(g, w, turned, nowhere), "i,k; k,j -> i,j", NULL, nowhere);
  graph_add_result(g, "output", "other", other, nowhere);
  plan *p = planned(b, g);
  assert_int_equal(p->n_launches, 2);
  const plan_buffer *result = written_state(p, "w");
  assert_int_equal(result->alias, plan_find(p, "state", "w"));
  assert_int_equal(result->first, 1);
  assert_plan_equals_graph(b, g, p, 1e-5);
}

static void state_read_later_is_copied_at_the_end(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  tensor_type t = shaped(DTYPE_F32, 2, 4, 5);
  value x = state_of(g, "x", t), y = state_of(g, "y", t);
  graph_add_result(g, "state", "x", y, nowhere);
  graph_add_result(g, "state", "y", x, nowhere);
  const int64_t axis = 0;
  value queue = state_of(g, "queue", t);
  graph_add_result(g, "state", "queue", graph_reverse(g, queue, &axis, 1, nowhere), nowhere);
  plan *p = planned(b, g);
  assert_int_equal(p->n_launches, 5); /* the last of the swap and the queue take a copy each */
  const char *const names[] = {"x", "y", "queue"};
  for (int i = 0; i < 3; i++) assert_int_equal(written_state(p, names[i])->alias, plan_find(p, "state", names[i]));
  assert_plan_equals_graph(b, g, p, 0);
}

/* A chain of products with one short-lived intermediate each: the arena holds two, not ten. */
static void temporaries_share_memory(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = graph_parameter(g, "data", "x", shaped(DTYPE_F32, 2, 16, 16), nowhere);
  value w = graph_parameter(g, "data", "w", shaped(DTYPE_F32, 2, 16, 16), nowhere);
  for (int i = 0; i < 10; i++) x = graph_contract(g, x, w, "i,k; k,j -> i,j", NULL, nowhere);
  graph_add_result(g, "output", "y", x, nowhere);
  plan *p = planned(b, g);
  assert_int_equal(p->n_launches, 10);
  assert_int_equal(p->arena_bytes, 2 * 16 * 16 * 4);
}

/* Wide branches, each reduced to a number: made one after the other, all of them would live together. */
static void order_lowers_the_peak(void **state) {
  bench *b = *state;
  graph *g = graph_new(b->arena, "t");
  value x = graph_parameter(g, "data", "x", shaped(DTYPE_F32, 2, 64, 64), nowhere), branch[6], sum = 0;
  for (int i = 0; i < 6; i++) {
    value w = graph_parameter(g, "data", arena_printf(b->arena, "w%d", i), shaped(DTYPE_F32, 2, 64, 64), nowhere);
    branch[i] = graph_contract(g, x, w, "i,k; k,j -> i,j", NULL, nowhere);
  }
  for (int i = 0; i < 6; i++) {
    value total = sum_of(g, graph_unary(g, OP_SIN, branch[i], nowhere));
    sum = sum ? graph_binary(g, OP_MUL, sum, total, nowhere) : total;
  }
  graph_add_result(g, "output", "sum", sum, nowhere);
  plan *p = fused(b, g);
  plan_launch *wide = ARENA_ARRAY(b->arena, plan_launch, p->n_launches);
  uint32_t n = 0;
  for (int sums = 0; sums < 2; sums++)
    for (uint32_t i = 0; i < p->n_launches; i++) {
      contraction_form form;
      if (stage_contraction(p->launches[i].kernel, 0, &form) != sums) wide[n++] = p->launches[i];
    }
  assert_int_equal(n, p->n_launches);
  p->launches = wide;
  apply_pass(b, p, pass_order, "order");
  apply_pass(b, p, pass_memory, "memory");
  assert_true(p->arena_bytes < 3 * 64 * 64 * 4);
  assert_plan_equals_graph(b, g, p, 1e-4);
}

/* Three buffers of which two live at a time: by hand. */
static void bytes_in_use_are_counted_by_life(void **state) {
  bench *b = *state;
  plan *p = plan_new(b->arena, "p");
  const int64_t bytes[] = {100, 1000, 64};
  const uint32_t lives[][2] = {{0, 1}, {1, 2}, {2, 3}};
  for (int i = 0; i < 3; i++)
    plan_add_buffer(p, (plan_buffer){.type = make_type(DTYPE_U8, 1, &bytes[i]), .storage = STORAGE_TEMPORARY, .alias = -1, .bytes = bytes[i], .first = lives[i][0], .last = lives[i][1]});
  for (int i = 0; i < 4; i++) plan_add_launch(p, kernel_new(b->arena, "k", nowhere), NULL);
  assert_int_equal(plan_live_bytes(p, b->arena), 128 + 1024);
  p->buffers[0].last = 2;
  assert_int_equal(plan_live_bytes(p, b->arena), 128 + 1024 + 64);
  p->buffers[1].alias = 0; /* lies elsewhere */
  assert_int_equal(plan_live_bytes(p, b->arena), 128 + 64);
}

/* Not again: nobody reads it before, however little of the step's work may be done twice. */
static void what_only_waits_is_made_later(void **state) {
  bench *b = *state;
  const char *text =
      "plan \"p\" arena 0 {\n"
      "buffer 0 : f32[64,64] data \"data\" \"x\"\n"
      "buffer 1 : f32[64,64] temporary\n"
      "buffer 2 : f32[64,64] temporary\n"
      "buffer 3 : f32[64] temporary\n"
      "buffer 4 : f32[64] result \"output\" \"y\"\n"
      "kernel 0 is kernel twice {\n  in x : f32[64,64]\n  out y : f32[64,64]\n  axes i:64 j:64\n  s[i,j] : f32 = x[i, j] + x[i, j] -> y[i, j]\n}\n"
      "kernel 1 is kernel rows {\n  in x : f32[64,64]\n  out y : f32[64]\n  axes i:64 r:64\n  s[i] : f32 = sum r of x[i, r] -> y[i]\n}\n"
      "kernel 2 is kernel both {\n  in x : f32[64,64]\n  in z : f32[64]\n  out y : f32[64]\n  axes i:64 r:64\n  s[i] : f32 = sum r of x[i, r] * z[i] -> y[i]\n}\n"
      "launch 0 on 0 1\nlaunch 0 on 0 2\nlaunch 1 on 2 3\nlaunch 2 on 1 3 4\n}\n";
  plan *p = plan_parse(b->arena, sources_add(b->context.diagnostics->sources, "plan", text, strlen(text)), b->context.diagnostics);
  if (!p) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  apply_pass(b, p, pass_rematerialise, "rematerialise");
  assert_int_equal(p->n_launches, 4);
  assert_int_equal(p->launches[2].buffers[1], 1);
}

/* A chain whose values are all needed again, in the opposite order: as a derivative does. */
static void values_are_made_again_under_a_limit(void **state) {
  bench *b = *state;
  enum { LINKS = 12, SIDE = 32 };
  graph *g = graph_new(b->arena, "t");
  const tensor_type t = shaped(DTYPE_F64, 2, SIDE, SIDE);
  value x = graph_parameter(g, "data", "x", t, nowhere), link[LINKS + 1] = {x}, w = state_of(g, "w", t);
  for (int i = 0; i < LINKS; i++) link[i + 1] = graph_unary(g, OP_TANH, graph_contract(g, link[i], w, "i,k; k,j -> i,j", NULL, nowhere), nowhere);
  value back = link[LINKS];
  for (int i = LINKS; i-- > 0;) back = graph_binary(g, OP_MUL, graph_contract(g, back, w, "i,k; k,j -> i,j", NULL, nowhere), link[i], nowhere);
  graph_add_result(g, "output", "y", back, nowhere);
  const int64_t bytes = SIDE * SIDE * 8, kept = plan_live_bytes(planned(b, g), b->arena);
  assert_true(kept >= (LINKS - 1) * bytes);
  b->context.most_live_bytes = 9 * bytes;
  plan *p = planned(b, g);
  b->context.most_live_bytes = 0;
  assert_true(plan_live_bytes(p, b->arena) <= 9 * bytes);
  assert_plan_equals_graph(b, g, p, 1e-7);
}

static bool computes(const expr *e, op_id op) {
  bool found = e->kind == EXPR_APPLY && e->op == op;
  for (uint32_t i = 0; i < e->n_args && !found; i++) found = computes(e->args[i], op);
  return found;
}

/* A value in panels for a late product is computed by the copy, from what its maker wrote beside it, which stays for another reason; under a
 * limit also where the maker wrote the panels itself. */
static void copies_that_wait_compute_what_they_copy(void **state) {
  bench *b = *state;
  enum { ROWS = 1024, WIDTH = 48, WIDE = 160, LINKS = 4 };
  graph *g = graph_new(b->arena, "t");
  value x = graph_parameter(g, "data", "x", shaped(DTYPE_F64, 2, ROWS, 64), nowhere), w = graph_parameter(g, "data", "w", shaped(DTYPE_F64, 2, WIDTH, 64), nowhere);
  value u = graph_parameter(g, "data", "u", shaped(DTYPE_F64, 2, WIDE, WIDTH), nowhere), v = graph_parameter(g, "data", "v", shaped(DTYPE_F64, 2, WIDE, WIDE), nowhere);
  value h = graph_contract(g, x, w, "n,k; i,k -> n,i", NULL, nowhere), y = graph_binary(g, OP_MUL, graph_unary(g, OP_TANH, h, nowhere), h, nowhere);
  value out = graph_contract(g, y, u, "n,i; j,i -> n,j", NULL, nowhere);
  for (int i = 0; i < LINKS; i++) out = graph_unary(g, OP_TANH, graph_contract(g, out, v, "n,i; j,i -> n,j", NULL, nowhere), nowhere);
  graph_add_result(g, "output", "product", graph_contract(g, y, out, "n,i; n,j -> i,j", NULL, nowhere), nowhere);
  graph_add_result(g, "output", "back", graph_binary(g, OP_MUL, h, graph_contract(g, out, u, "n,j; j,i -> n,i", NULL, nowhere), nowhere), nowhere);
  for (int beside = 0; beside < 2; beside++) {
    plan *p = fused(b, g);
    apply_pass(b, p, pass_layout, "layout");
    if (beside) apply_pass(b, p, pass_copy_beside, "copy-beside");
    apply_pass(b, p, pass_order, "order");
    b->context.most_live_bytes = beside;
    apply_pass(b, p, pass_rematerialise, "rematerialise");
    b->context.most_live_bytes = 0;
    apply_pass(b, p, pass_memory, "memory");
    uint32_t late = 0;
    for (uint32_t l = 0; l < p->n_launches; l++) {
      const kernel *k = p->launches[l].kernel;
      for (uint32_t s = 0; s < k->n_stages; s++)
        if (k->n_stages == 1 && k->stages[s].output >= 0 && computes(k->stages[s].body, OP_TANH) && k->buffers[k->stages[s].output].layout.n > 2) late = l;
    }
    if (late < LINKS) fail_msg("nothing is computed late\n%s", plan_print(p, b->arena));
    assert_plan_equals_graph(b, g, p, 1e-6);
  }
}

static void random_graphs_keep_their_values(void **state) {
  bench *b = *state;
  const char *wanted = getenv("SSLC_RANDOM_GRAPHS");
  const int n = wanted ? atoi(wanted) : 200;
  for (int i = 0; i < n; i++) {
    bench one = {.arena = arena_new(), .random = b->random + (uint64_t)i};
    one.context = (pass_context){.arena = one.arena, .diagnostics = diagnostics_new(one.arena, sources_new(one.arena))};
    random_source random = {(uint64_t)i + 1000000};
    graph *g = random_graph(&random, 10 + random_below(&random, 50), DTYPE_F64, false, one.arena);
    one.context.most_live_bytes = i % 2; /* half of them with as little memory as can be */
    const plan *p = planned(&one, g);
    assert_plan_equals_graph(&one, g, p, 1e-9);
    assert_reads_back(&one, p);
    arena_free(one.arena);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(full_sum_is_split),        TEST(statistics_are_split_together), TEST(short_reductions_stay_whole),
      TEST(weight_gradient_is_split), TEST(sums_are_cut_for_many_warps),   TEST(state_is_updated_in_place),     TEST(state_read_later_is_copied_at_the_end),
      TEST(bytes_in_use_are_counted_by_life), TEST(values_are_made_again_under_a_limit), TEST(copies_that_wait_compute_what_they_copy),
      TEST(what_only_waits_is_made_later),
      TEST(temporaries_share_memory), TEST(order_lowers_the_peak),         TEST(random_graphs_keep_their_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
