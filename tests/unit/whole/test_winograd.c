/* Convolutions as products of transformed tiles: which ones are, that they keep their meaning within the bounds that docs/benchmarks.md
 * states, and their bits on any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/cuda/architecture.h"
#include "ir/work.h"
#include "tests/random_graph.h"
#include "tests/unit/whole/compiled.h"

static const span nowhere = {0};

typedef struct {
  dtype type;
  int images, channels, kept, height, width, stride;
  bool padded;
  int products; /* that are made of convolutions: forward, by the image, by the taps */
  double tolerance;
} convolution;

static tensor_type shape(dtype type, int a, int b, int c, int d) { return (tensor_type){.dtype = type, .rank = 4, .dim = {a, b, c, d}}; }

/* y = relu(x * w) + z, and the derivatives of the sum of its squares with respect to x and w; w is used again. */
static graph *step(const convolution *c, arena *a) {
  graph *g = graph_new(a, "step");
  const int lost = c->padded ? 0 : 2, high = (c->height - lost + c->stride - 1) / c->stride, wide = (c->width - lost + c->stride - 1) / c->stride;
  const tensor_type y = shape(c->type, c->images, c->kept, high, wide);
  const value x[] = {graph_parameter(g, "data", "x", shape(c->type, c->images, c->channels, c->height, c->width), nowhere),
                     graph_parameter(g, "state", "w", shape(c->type, c->kept, c->channels, 3, 3), nowhere)};
  const char *spec = arena_printf(a, "n,c,%d*p+r-%d,%d*q+s-%d; k,c,r,s -> n,k,p,q", c->stride, c->padded, c->stride, c->padded);
  value out = graph_contract(g, x[0], x[1], spec, &y, nowhere);
  out = graph_binary(g, OP_ADD, graph_binary(g, OP_MAX, out, graph_number(g, y, 0, nowhere), nowhere), graph_parameter(g, "data", "z", y, nowhere), nowhere);
  const value loss = graph_reduce(g, OP_REDUCE_SUM, graph_binary(g, OP_MUL, out, out, nowhere), (int64_t[]){0, 1, 2, 3}, 4, nowhere);
  const value first = graph_grad(g, loss, x, 2, nowhere);
  graph_add_result(g, "output", "y", out, nowhere);
  graph_add_result(g, "output", "dx", first, nowhere);
  graph_add_result(g, "state", "w", graph_binary(g, OP_ADD, x[1], first + 1, nowhere), nowhere);
  return g;
}

static int transformed_products(const plan *p) {
  int n = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) n += strstr(p->launches[i].kernel->name, "_product") != NULL;
  return n;
}

static const plan *checked(const graph *g, uint32_t vector_bytes, double tolerance, arena *a) {
  diagnostics *d = diagnostics_new(a, sources_new(a));
  target t;
  host_target(&t);
  if (vector_bytes < t.vector_bytes) t.vector_bytes = vector_bytes, t.vector_registers = 16;
  pass_context context = {.arena = a, .diagnostics = d, .target = &t};
  random_source random = {7};
  uint32_t n;
  const char *error = NULL;
  graph_binding *bindings = random_bindings(&random, g, a, &n);
  expectation e = {.graph = pass_autodiff(g, &context), .bindings = bindings, .n_bindings = n, .tolerance = tolerance, .runs = 1};
  e.run = graph_interpret(e.graph, bindings, n, a, &error);
  if (!e.run) fail_msg("%s", error);
  plan *p = run_passes(g, &context, NULL, NULL);
  if (!p) fail_msg("%s", diagnostics_render(d, a, false));
  error = compiled_fault(p, &e, &(compile_options){.threads = 1}, a);
  if (error) fail_msg("%s\n%s", error, plan_print(p, a));
  return p;
}

static void sums_keep_their_meaning(void **state) {
  (void)state;
  static const convolution cases[] = {
      {DTYPE_F32, 4, 64, 64, 8, 8, 1, true, 3, 1e-5},    {DTYPE_F32, 4, 64, 96, 8, 4, 1, true, 3, 1e-6},
      {DTYPE_F32, 3, 96, 64, 6, 10, 1, true, 3, 1e-6},   {DTYPE_F32, 4, 64, 64, 10, 10, 1, false, 3, 1e-5}, /* tiles of four, and of two by the image */
      {DTYPE_F32, 2, 64, 64, 7, 8, 1, true, 0, 1e-6},    {DTYPE_F32, 2, 64, 64, 8, 8, 2, true, 0, 1e-6},
      {DTYPE_F32, 2, 32, 64, 8, 8, 1, true, 0, 1e-6},    {DTYPE_F64, 1, 64, 64, 8, 8, 1, true, 0, 1e-12},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (uint32_t vector_bytes = 32; vector_bytes <= 64; vector_bytes *= 2) {
      arena *a = arena_new();
      const convolution *c = &cases[i];
      const plan *p = checked(step(c, a), vector_bytes, c->tolerance, a);
      if (transformed_products(p) != c->products) fail_msg("case %zu: %d products\n%s", i, transformed_products(p), plan_print(p, a));
      arena_free(a);
    }
}

/* What the convolutions ask for counts as their work, though less is done. */
static void work_is_that_of_the_convolution(void **state) {
  (void)state;
  arena *a = arena_new();
  const convolution c = {DTYPE_F32, 4, 64, 64, 8, 8, 1, true, 3, 1e-5};
  const plan *p = checked(step(&c, a), 64, 1e-5, a);
  double flops = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) flops += launch_work_of(&p->launches[i]).flops;
  assert_true(flops == 3 * 4 * 2.0 * 64 * 64 * (8 * 3 - 2) * (8 * 3 - 2)); /* two rows and columns of taps lie outside */
  arena_free(a);
}

static int products_for(const target *t, bool bf16) {
  arena *a = arena_new();
  const convolution c = {DTYPE_F32, 4, 64, 64, 8, 8, 1, true, 0, 1e-5};
  pass_context context = {.arena = a, .diagnostics = diagnostics_new(a, sources_new(a)), .target = t, .products = bf16 ? PRODUCTS_BF16 : PRODUCTS_EXACT};
  const plan *p = run_passes(step(&c, a), &context, NULL, NULL);
  assert_non_null(p);
  const int n = transformed_products(p);
  arena_free(a);
  return n;
}

/* GPUs, and matrix units where operands are bf16. */
static void others_multiply_faster(void **state) {
  (void)state;
  target gpu, host;
  cuda_target(80, &gpu);
  host_target(&host);
  host.tiles = false;
  assert_int_equal(products_for(&gpu, false), 0);
  assert_int_equal(products_for(&host, true), 3);
  host.tiles = true;
  assert_int_equal(products_for(&host, true), 0);
  assert_int_equal(products_for(&host, false), 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_keep_their_meaning),
      cmocka_unit_test(work_is_that_of_the_convolution),
      cmocka_unit_test(others_multiply_faster),
  };
  return cmocka_run_group_tests_name("whole/winograd", tests, NULL, NULL);
}
