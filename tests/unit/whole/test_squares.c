/* Squares stay on chip: attention without its scores in memory, a contrastive loss without its similarities; and what keeps them in
 * memory. By the interpreter and as machine code, on odd sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "ir/work.h"
#include "passes/squares.h"
#include "passes/team.h"
#include "tests/random_graph.h"
#include "tests/unit/whole/compiled.h"

static const span nowhere = {0};

typedef struct {
  dtype type;
  int batch, heads, queries, keys, depth;
  bool causal;
  bool keeps_weights; /* gives the weights, which then stand in memory */
  bool learned;       /* keys are, so that products are between what is learned and data */
  bool joined;        /* all three are parts of one value, as of a product with one matrix */
} attention;

static tensor_type shape(dtype type, uint32_t rank, ...) {
  tensor_type t = scalar_type(type);
  va_list dims;
  va_start(dims, rank);
  for (t.rank = 0; t.rank < rank; t.rank++) t.dim[t.rank] = va_arg(dims, int);
  va_end(dims);
  return t;
}

/* One third of a value that has queries, keys and values side by side. */
static value third(graph *g, value all, int64_t number, const tensor_type *t) {
  const int64_t width = t->dim[2] * t->dim[3];
  const value part = graph_slice(g, all, (int64_t[]){0, 0, number * width}, (int64_t[]){t->dim[0], t->dim[1], (number + 1) * width}, (int64_t[]){1, 1, 1}, nowhere);
  return graph_reshape(g, part, t->rank, t->dim, nowhere);
}

static value along_rows(graph *g, value x, tensor_type square) { return graph_broadcast(g, x, square, (int64_t[]){0, 1, 2}, nowhere); }

/* y = softmax(q k / 3) v, and the derivatives of the sum of its squares, weighed by numbers, with respect to q, k and v. */
static graph *attention_step(const attention *c, arena *a) {
  graph *g = graph_new(a, "attention");
  const tensor_type of_queries = shape(c->type, 4, c->batch, c->queries, c->heads, c->depth), of_keys = shape(c->type, 4, c->batch, c->keys, c->heads, c->depth);
  const tensor_type square = shape(c->type, 4, c->batch, c->heads, c->queries, c->keys);
  value x[3], all = 0;
  if (c->joined) all = graph_parameter(g, "data", "qkv", shape(c->type, 3, c->batch, c->queries, 3 * c->heads * c->depth), nowhere);
  for (int i = 0; i < 3; i++) x[i] = all ? third(g, all, i, &of_queries) : graph_parameter(g, i == 1 && c->learned ? "state" : "data", ((const char *[]){"q", "k", "v"})[i], i ? of_keys : of_queries, nowhere);
  value scores = graph_contract(g, x[0], x[1], "n,l,h,d; n,m,h,d -> n,h,l,m", &square, nowhere);
  scores = graph_binary(g, OP_MUL, scores, graph_number(g, square, 1.0 / 3, nowhere), nowhere);
  if (c->causal) {
    tensor_type index = square;
    index.dtype = DTYPE_I32;
    const value columns = graph_iota(g, shape(DTYPE_I32, 1, c->keys), 0, nowhere), rows = graph_iota(g, shape(DTYPE_I32, 1, c->queries), 0, nowhere);
    const value sees = graph_binary(g, OP_LE, graph_broadcast(g, columns, index, (int64_t[]){3}, nowhere), graph_broadcast(g, rows, index, (int64_t[]){2}, nowhere), nowhere);
    scores = graph_select(g, sees, scores, graph_number(g, square, -1e30, nowhere), nowhere);
  }
  const value largest = graph_unary(g, OP_STOP_GRAD, graph_reduce(g, OP_REDUCE_MAX, scores, (int64_t[]){3}, 1, nowhere), nowhere);
  const value e = graph_unary(g, OP_EXP, graph_binary(g, OP_SUB, scores, along_rows(g, largest, square), nowhere), nowhere);
  const value weights = graph_binary(g, OP_DIV, e, along_rows(g, graph_reduce(g, OP_REDUCE_SUM, e, (int64_t[]){3}, 1, nowhere), square), nowhere);
  const value y = graph_contract(g, weights, x[2], "n,h,l,m; n,m,h,d -> n,l,h,d", &of_queries, nowhere);
  const value weighed = graph_binary(g, OP_MUL, graph_binary(g, OP_MUL, y, y, nowhere), graph_parameter(g, "data", "weights", of_queries, nowhere), nowhere);
  const value loss = graph_reduce(g, OP_REDUCE_SUM, weighed, (int64_t[]){0, 1, 2, 3}, 4, nowhere), first = graph_grad(g, loss, all ? &all : x, all ? 1 : 3, nowhere);
  graph_add_result(g, "output", "y", y, nowhere);
  if (all) graph_add_result(g, "output", "dqkv", first, nowhere);
  for (value i = 0; i < 3 && !all; i++) graph_add_result(g, "output", ((const char *[]){"dq", "dk", "dv"})[i], first + i, nowhere);
  if (c->keeps_weights) graph_add_result(g, "output", "p", weights, nowhere);
  return g;
}

/* mean(logsumexp(z z')), without the diagonal, of rows that are put together from two halves; and its derivatives. */
static graph *contrastive_step(dtype type, int n, int depth, bool learned, arena *a) {
  graph *g = graph_new(a, "contrastive");
  const tensor_type half = shape(type, 2, n / 2, depth), square = shape(type, 2, n, n);
  tensor_type index = square;
  index.dtype = DTYPE_I32;
  const value x[] = {graph_parameter(g, "data", "a", half, nowhere), graph_parameter(g, learned ? "state" : "data", "b", half, nowhere)}, z = graph_concat(g, x, 2, 0, nowhere);
  const value diagonal = graph_binary(g, OP_EQ, graph_iota(g, index, 0, nowhere), graph_iota(g, index, 1, nowhere), nowhere);
  const value scores = graph_select(g, diagonal, graph_number(g, square, -1e30, nowhere), graph_contract(g, z, z, "i,k; j,k -> i,j", &square, nowhere), nowhere);
  const value largest = graph_unary(g, OP_STOP_GRAD, graph_reduce(g, OP_REDUCE_MAX, scores, (int64_t[]){1}, 1, nowhere), nowhere);
  const value e = graph_unary(g, OP_EXP, graph_binary(g, OP_SUB, scores, graph_broadcast(g, largest, square, (int64_t[]){0}, nowhere), nowhere), nowhere);
  const value sums = graph_reduce(g, OP_REDUCE_SUM, e, (int64_t[]){1}, 1, nowhere), rows = graph_binary(g, OP_ADD, largest, graph_unary(g, OP_LOG, sums, nowhere), nowhere);
  const value loss = graph_reduce(g, OP_REDUCE_SUM, rows, (int64_t[]){0}, 1, nowhere), first = graph_grad(g, loss, x, 2, nowhere);
  graph_add_result(g, "output", "loss", loss, nowhere);
  graph_add_result(g, "output", "da", first, nowhere);
  graph_add_result(g, "output", "db", first + 1, nowhere);
  return g;
}

static int64_t largest_buffer(const plan *p) {
  int64_t most = 0;
  for (uint32_t i = 0; i < p->n_buffers; i++)
    if (type_elements(&p->buffers[i].type) > most) most = type_elements(&p->buffers[i].type);
  return most;
}

static uint32_t kernels_with_squares(const plan *p) {
  const target processor = {.vector_bytes = 64};
  uint32_t n = 0;
  squares_form f;
  for (uint32_t i = 0; i < p->n_launches; i++) n += kernel_squares(p->launches[i].kernel, &processor, &f);
  return n;
}

/* Products that the step asks for: what is made again is none. */
static double products(const plan *p) {
  double flops = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) flops += kernel_work_of(p->launches[i].kernel).flops;
  return flops / 2;
}

/* The plan, with its results as they should be; for this processor, or one with caches so small that all squares are large. */
static const plan *checked(const graph *g, bool small_caches, double tolerance, arena *a) {
  diagnostics *d = diagnostics_new(a, sources_new(a));
  target t;
  host_target(&t);
  if (small_caches) t.l1_bytes = 256, t.l2_bytes = 64 << 10;
  pass_context context = {.arena = a, .diagnostics = d, .target = &t};
  random_source random = {7};
  uint32_t n;
  const char *error = NULL;
  graph_binding *bindings = random_bindings(&random, g, a, &n);
  expectation e = {.graph = pass_autodiff(g, &context), .bindings = bindings, .n_bindings = n, .tolerance = tolerance, .runs = 2};
  e.run = graph_interpret(e.graph, bindings, n, a, &error);
  if (!e.run) fail_msg("%s", error);
  plan *p = run_passes(g, &context, NULL, NULL);
  if (!p) fail_msg("%s", diagnostics_render(d, a, false));
  error = interpreted_fault(p, &e, a);
  if (!error) error = compiled_fault(p, &e, &(compile_options){.threads = 1}, a);
  if (error) fail_msg("%s\n%s", error, plan_print(p, a));
  return p;
}

static void attention_keeps_no_scores(void **state) {
  (void)state;
  static const attention cases[] = {
      {DTYPE_F64, 2, 8, 37, 37, 10, true, false},  {DTYPE_F32, 4, 4, 37, 37, 18, false, false}, {DTYPE_F32, 3, 6, 37, 53, 20, false, false},
      {DTYPE_F64, 4, 4, 50, 23, 7, false, false},  {DTYPE_F32, 16, 1, 64, 64, 32, true, false}, {DTYPE_F32, 1, 1, 130, 130, 12, false, false},
      {DTYPE_F64, 1, 2, 90, 85, 9, true, false},       {DTYPE_F32, 1, 1, 130, 130, 12, true, false}, {DTYPE_F32, 26, 4, 37, 37, 18, false, false},
      {DTYPE_F32, 4, 4, 24, 32, 18, false, false}, /* somewhat less than what it is made of */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const attention *c = &cases[i];
    const plan *p = checked(attention_step(c, a), true, c->type == DTYPE_F64 ? 1e-12 : 1e-5, a);
    if (largest_buffer(p) >= c->batch * c->heads * c->queries * c->keys) fail_msg("case %zu: %s", i, plan_print(p, a));
    /* Of a batch that fills all threads, all derivatives are made in one kernel; else rows and columns each have one. */
    if (kernels_with_squares(p) != (c->batch * c->heads >= 16 ? 2 : 3)) fail_msg("case %zu: %u kernels\n%s", i, kernels_with_squares(p), plan_print(p, a));
    const double seen = c->causal && c->queries == c->keys ? (c->keys + 1) / 2.0 : c->keys; /* of a row; what is hidden is no work */
    if (fabs(products(p) - 6 * seen * c->batch * c->heads * c->queries * c->depth) > 0.5) fail_msg("case %zu: %g products\n%s", i, products(p), plan_print(p, a));
    assert_non_null(strstr(plan_print(p, a), " = again sum "));
    arena_free(a);
  }
}

/* The derivatives of what is cut out of one value go to their places in its own, by the one kernel that makes them. */
static void derivatives_of_parts_are_not_copied(void **state) {
  (void)state;
  static const attention cases[] = {
      {DTYPE_F64, 3, 6, 27, 27, 10, .causal = true, .joined = true},
      {DTYPE_F32, 4, 4, 37, 37, 18, .joined = true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const plan *p = checked(attention_step(&cases[i], a), true, cases[i].type == DTYPE_F64 ? 1e-12 : 1e-5, a);
    const int32_t all = plan_find(p, "output", "dqkv");
    squares_form f;
    uint32_t writers = 0;
    for (uint32_t l = 0; l < p->n_launches; l++)
      for (uint32_t s = 0; s < p->launches[l].kernel->n_stages; s++) {
        const kernel *k = p->launches[l].kernel;
        if (k->stages[s].output < 0 || p->launches[l].buffers[k->stages[s].output] != (uint32_t)all) continue;
        writers++;
        assert_true(kernel_squares(k, &(target){.vector_bytes = 64}, &f));
      }
    if (writers != 3) fail_msg("case %zu: %u parts\n%s", i, writers, plan_print(p, a));
    arena_free(a);
  }
}

static void losses_keep_no_similarities(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    arena *a = arena_new();
    const int n = ((int[]){74, 128, 402})[i];
    const dtype type = i == 0 ? DTYPE_F64 : DTYPE_F32;
    const plan *p = checked(contrastive_step(type, n, ((int[]){5, 32, 20})[i], false, a), i < 2, type == DTYPE_F64 ? 1e-12 : 1e-5, a);
    if (largest_buffer(p) >= n * n) fail_msg("%d rows: %s", n, plan_print(p, a));
    assert_int_equal(kernels_with_squares(p), 2);
    assert_true(products(p) == 3.0 * n * n * ((int[]){5, 32, 20})[i]);
    arena_free(a);
  }
}

/* Many that are smaller than what they are made from, down to an eighth; others of that size in memory. */
static void small_ones_stay_in_registers(void **state) {
  (void)state;
  static const attention cases[] = {
      {DTYPE_F32, 23, 3, 16, 16, 64, .joined = true}, {DTYPE_F32, 9, 2, 16, 16, 20, true, false}, {DTYPE_F64, 5, 4, 8, 8, 13, .joined = true}, {DTYPE_F32, 9, 2, 19, 12, 40, false, false},
      {DTYPE_F32, 9, 2, 9, 9, 40, false, false}, {DTYPE_F32, 3, 5, 19, 19, 40, false, false},
  };
  enum { N_SMALL = 4 };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const attention *c = &cases[i];
    const plan *p = checked(attention_step(c, a), true, c->type == DTYPE_F64 ? 1e-12 : 1e-5, a);
    bool scores = false;
    for (uint32_t b = 0; b < p->n_buffers; b++) scores |= type_elements(&p->buffers[b].type) == c->batch * c->heads * c->queries * c->keys;
    if (kernels_with_squares(p) != (i < N_SMALL ? 2 : 0) || scores == (i < N_SMALL)) fail_msg("case %zu: %u kernels\n%s", i, kernels_with_squares(p), plan_print(p, a));
    arena_free(a);
  }
}

/* What a caller sees (its derivative does not), what stays in the first cache, and what has many terms to a sum. */
static void others_stand_in_memory(void **state) {
  (void)state;
  static const attention cases[] = {
      {DTYPE_F32, 4, 4, 37, 37, 10, false, true},
      {DTYPE_F32, 1, 2, 37, 37, 10, false, false},
      {DTYPE_F32, 1, 1, 200, 200, 140, false, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const plan *p = checked(attention_step(&cases[i], a), i == 0, 1e-5, a);
    assert_int_equal(kernels_with_squares(p), i == 0);
    arena_free(a);
  }
}

/* The plan for a GPU, to which products beyond so many bytes are large; run by the emulation. */
static const plan *checked_on_gpu(const graph *g, product_precision how, int64_t large_bytes, double tolerance, arena *a) {
  diagnostics *d = diagnostics_new(a, sources_new(a));
  target gpu;
  gpu_target(&gpu);
  gpu.large_bytes = large_bytes;
  pass_context c = {.arena = a, .diagnostics = d, .target = &gpu, .products = how};
  plan *p = run_passes(g, &c, NULL, NULL);
  if (!p) fail_msg("%s", diagnostics_render(d, a, false));
  random_source r = {3};
  expectation e = {.graph = pass_precision(pass_autodiff(g, &c), &c), .tolerance = tolerance, .runs = 1};
  const char *error = NULL;
  e.bindings = random_bindings(&r, g, a, &e.n_bindings);
  e.run = graph_interpret(e.graph, e.bindings, e.n_bindings, a, &error);
  if (!e.run) fail_msg("%s", error);
  error = gpu_fault(p, &e, a);
  if (error) fail_msg("%s\n%s", error, plan_print(p, a));
  return p;
}

/* On a GPU rows always run in parallel, however many there are in the batch. */
static void a_gpu_keeps_large_ones_on_its_chip(void **state) {
  (void)state;
  static const attention cases[] = {{DTYPE_F32, 2, 3, 64, 64, 16, false, false}, {DTYPE_F32, 3, 6, 37, 53, 20, true, false}, {DTYPE_F64, 1, 2, 45, 70, 20, false, false}, {DTYPE_F32, 1, 1, 33, 200, 24, false, false}, {DTYPE_F32, 1, 2, 37, 37, 12, .joined = true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const attention *c = &cases[i];
    const double tolerance = c->type == DTYPE_F64 ? 1e-12 : 1e-5;
    arena *a = arena_new();
    const plan *p = checked_on_gpu(attention_step(c, a), PRODUCTS_EXACT, 1 << 12, tolerance, a);
    if (largest_buffer(p) >= c->batch * c->heads * c->queries * c->keys) fail_msg("case %zu: %s", i, plan_print(p, a));
    if (kernels_with_squares(p) != 3) fail_msg("case %zu: %u kernels\n%s", i, kernels_with_squares(p), plan_print(p, a));
    p = checked_on_gpu(attention_step(c, a), PRODUCTS_EXACT, 1 << 24, tolerance, a);
    assert_int_equal(kernels_with_squares(p), 0);
    arena_free(a);
  }
}

/* What is kept for the columns of four rows has to fit. */
static void a_gpu_keeps_rows_that_are_too_long_in_memory(void **state) {
  (void)state;
  arena *a = arena_new();
  const plan *p = checked_on_gpu(attention_step(&(attention){DTYPE_F32, 1, 1, 40, 2500, 4, false, false, false}, a), PRODUCTS_EXACT, 1 << 12, 1e-5, a);
  assert_int_equal(kernels_with_squares(p), 0);
  arena_free(a);
}

static uint32_t teams_with_squares(const plan *p) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) n += p->launches[i].kernel->schedule.team.rows && kernel_team_squares(p->launches[i].kernel, &(team_squares){0});
  return n;
}

/* In bf16 and tf32 by teams of warps, which have no need to keep whole rows: of any length. */
static void a_gpu_has_a_matrix_unit_for_them(void **state) {
  (void)state;
  static const attention cases[] = {{DTYPE_F32, 2, 3, 64, 64, 16, false, false, true}, {DTYPE_F32, 3, 2, 37, 53, 20, true, false, true}, {DTYPE_F32, 1, 2, 99, 99, 40, true, false, true}, {DTYPE_F32, 1, 1, 40, 300, 24, false, false, true}};
  for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
    const attention *c = &cases[i / 2];
    arena *a = arena_new();
    const plan *p = checked_on_gpu(attention_step(c, a), i % 2 ? PRODUCTS_TF32 : PRODUCTS_BF16, 1 << 12, i % 2 ? 1e-3 : 1e-2, a);
    if (largest_buffer(p) >= c->batch * c->heads * c->queries * c->keys) fail_msg("case %zu: %s", i, plan_print(p, a));
    if (kernels_with_squares(p) != teams_with_squares(p) || !teams_with_squares(p)) fail_msg("case %zu: %u kernels, %u by teams\n%s", i, kernels_with_squares(p), teams_with_squares(p), plan_print(p, a));
    arena_free(a);
  }
}

static void a_gpu_has_it_for_losses_too(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    arena *a = arena_new();
    const int n = i / 2 ? 170 : 96;
    const plan *p = checked_on_gpu(contrastive_step(DTYPE_F32, n, i / 2 ? 24 : 32, true, a), i % 2 ? PRODUCTS_TF32 : PRODUCTS_BF16, 1 << 12, i % 2 ? 1e-3 : 1e-2, a);
    if (largest_buffer(p) >= n * n) fail_msg("%d rows: %s", n, plan_print(p, a));
    if (teams_with_squares(p) != 2) fail_msg("%d: %u kernels by teams\n%s", i, teams_with_squares(p), plan_print(p, a));
    arena_free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attention_keeps_no_scores),
      cmocka_unit_test(derivatives_of_parts_are_not_copied),
      cmocka_unit_test(losses_keep_no_similarities),
      cmocka_unit_test(small_ones_stay_in_registers),
      cmocka_unit_test(others_stand_in_memory),
      cmocka_unit_test(a_gpu_keeps_large_ones_on_its_chip),
      cmocka_unit_test(a_gpu_keeps_rows_that_are_too_long_in_memory),
      cmocka_unit_test(a_gpu_has_a_matrix_unit_for_them),
      cmocka_unit_test(a_gpu_has_it_for_losses_too),
  };
  return cmocka_run_group_tests_name("whole/squares", tests, NULL, NULL);
}
