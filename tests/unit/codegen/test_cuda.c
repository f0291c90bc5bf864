/* Kernels as CUDA C, run by the emulation, or a GPU that SSLC_TEST_DEVICE names, give the bits that the loops' interpreter gives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/cuda/source.h"
#include "tests/unit/codegen/on_gpu.h"

/* The functions of a GPU's own library, which doubles go through, round differently from those of the processor's. */
static void assert_near(const loops *l, uint32_t buffer, const void *of_gpu, const void *of_interpreter) {
  const double *found = of_gpu, *expected = of_interpreter;
  if (l->buffers[buffer].type != DTYPE_F64) {
    assert_same(l, buffer, of_gpu, of_interpreter);
    return;
  }
  for (int64_t e = 0; e < l->buffers[buffer].elements; e++)
    if (!(fabs(found[e] - expected[e]) <= 1e-13 * fabs(expected[e]) || (isnan(found[e]) && isnan(expected[e]))))
      fail_msg("%s: %s element %lld: %.17g, should be %.17g", l->name, l->buffers[buffer].name, (long long)e, found[e], expected[e]);
}

static void check_lowered(const kernel *k, arena *a) {
  const char *error = NULL;
  const loops *l = lower_kernel(k, a, &error);
  if (!l) fail_msg("%s", error);
  check_on_gpu(k, l, assert_near, a);
}

static void check_text(const char *text) {
  for (int scheduled = 0; scheduled < 2; scheduled++) {
    arena *a = arena_new();
    kernel *k = kernel_of_text(a, text);
    target t;
    gpu_target(&t);
    if (scheduled) schedule_kernel(k, &t);
    const char *wrong = kernel_verify(k, a);
    if (wrong) fail_msg("%s", wrong);
    check_lowered(k, a);
    arena_free(a);
  }
}
#include "tests/unit/codegen/kernels.h"

/* Lanes that do not cross a block of the layout stay lanes. */
static void blocks_of_columns_keep_their_lanes(void **state) {
  arena *a = arena_new();
  const char *error = NULL;
  kernel *k = kernel_of_text(a, blocked_product);
  target t;
  uint32_t in_lanes = 0;
  (void)state;
  gpu_target(&t);
  schedule_kernel(k, &t);
  const loops *l = lower_kernel(k, a, &error);
  if (!l) fail_msg("%s", error);
  for (uint32_t i = 0; i < l->n_registers; i++) in_lanes += l->registers[i].lanes > 1;
  assert_true(in_lanes > 0);
  arena_free(a);
}

/* `expected` comes `times` times in the text of a kernel, which computes what its loops say. */
static void check_loads(const char *text, const char *expected, int times) {
  arena *a = arena_new();
  const char *error = NULL;
  const kernel *k = kernel_of_text(a, text);
  const loops *l = lower_kernel(k, a, &error);
  if (!l) fail_msg("%s", error);
  uint32_t groups[] = {0, 1, 2};
  cuda_source source;
  if (!cuda_source_of(l, &(source_options){.symbol = "k", .groups = groups}, a, &source, &error)) fail_msg("%s", error);
  int found = 0;
  for (const char *at = source.text; (at = strstr(at, expected)); at++) found++;
  if (found != times) fail_msg("%d of %s instead of %d\n%s", found, expected, times, source.text);
  check_on_gpu(k, l, assert_near, a);
  arena_free(a);
}

#define NEIGHBOURS(type, sum) \
  "kernel k {\n  in x : " type "[45,8]\n  out y : f32[45]\n  axes i:45\n  s[i] : f32 = " sum " -> y[i]\n}\nschedule { for i/32, i vector }\n"

/* Neighbours that all are read, at a multiple of their size, are one load: of a lane, or of all. */
static void neighbours_are_read_together(void **state) {
  (void)state;
  check_loads(NEIGHBOURS("f32", "x[i, 0] + x[i, 1] * x[i, 2] + x[i, 3]"), "load_4", 2); /* once in the loop, once in the rest */
  check_loads(NEIGHBOURS("f32", "x[i, 1] + x[i, 2] * x[i, 3]"), "load_4", 0);
  check_loads(NEIGHBOURS("f32", "x[i, 1] + x[i, 2] * x[i, 3]"), "load_2", 2);
  check_loads(NEIGHBOURS("f32", "x[i, 1] + x[i, 2]"), "load_", 0);
  check_loads(NEIGHBOURS("bf16", "f32(x[i, 0]) + f32(x[i, 1])"), "load_1", 2);
  check_loads(NEIGHBOURS("bf16", "f32(x[i, 4]) + f32(x[i, 5]) + f32(x[i, 6]) + f32(x[i, 7])"), "load_2", 2);
  check_loads(NEIGHBOURS("i32", "f32(x[i, 0]) + f32(x[i, 1])"), "load_2", 2);
  check_loads(NEIGHBOURS("u8", "f32(x[i, 0]) + f32(x[i, 1]) + f32(x[i, 2]) + f32(x[i, 3])"), "load_1", 2);
  check_loads(NEIGHBOURS("u8", "f32(x[i, 0]) + f32(x[i, 1])"), "load_", 0);
  check_loads(NEIGHBOURS("f64", "f32(x[i, 0]) + f32(x[i, 1])"), "load_", 0);
  check_loads("kernel k {\n  in x : f32[7,12]\n  in w : f32[12,64]\n  out y : f32[7,64]\n  axes i:7 j:64 k:12\n  s[i,j] : f32 = sum k of x[i, k] * w[k, j] -> y[i, j]\n}\n"
              "schedule { for i parallel, k/4, k unroll, j/32 unroll, j vector }\n",
              "load_4", 1);
}

#define DOUBLED(type, several) "kernel k {\n  in x : " type "[150]\n  out y : " type "[150]\n  axes i:150\n  s[i] : " type " = x[i] + x[i] -> y[i]\n}\nschedule { for i/128, i/" several " vector, i unroll }\n"

/* What lanes take several of is written together as well: in the loop, in the vectors behind it, and by the lane that has the rest. */
static void neighbours_are_written_together(void **state) {
  (void)state;
  check_loads(DOUBLED("f32", "4"), "store_4", 2); /* 128, then 20 */
  check_loads(DOUBLED("f32", "4"), "store_2", 1); /* and 2 */
  check_loads(DOUBLED("f32", "4"), "load_4", 2);
  check_loads(DOUBLED("bf16", "8"), "store_4", 2);
  check_loads(DOUBLED("bf16", "4"), "store_2", 2);
  check_loads(DOUBLED("u8", "4"), "store_1", 2);
  check_loads(DOUBLED("f64", "4"), "store_", 0);
}

/* Maps in lanes, rows with memory on the chip, and threads that work alone: one kernel, of which some come twice, on arguments of their own. */
static const char *const members[] = {
    "kernel doubled {\n  in x : f32[150]\n  out y : f32[150]\n  axes i:150\n  s[i] : f32 = x[i] + x[i] -> y[i]\n}\nschedule { for i/32 parallel, i vector }\n",
    "kernel softmax {\n  in x : f32[9,37]\n  out y : f32[9,37]\n  axes i:9 j:37\n  t[i] : f32 = max j of x[i, j]\n  e[i,j] : f32 = exp(x[i, j] - t)\n  n[i] : f32 = sum j of e\n"
    "  s[i,j] : f32 = e / n -> y[i, j]\n}\n",
    "kernel alone {\n  in x : i32[700]\n  out y : i32[700]\n  axes i:700\n  s[i] : i32 = x[i] * 3 -> y[i]\n}\nschedule { for i parallel }\n",
};

static void bundles_compute_what_their_kernels_do(void **state) {
  static const uint32_t of[] = {0, 0, 1, 2, 2, 2, 1};
  enum { N = sizeof of / sizeof *of };
  arena *a = arena_new();
  const char *error = NULL;
  const loops *known[3], *each[N];
  target t;
  void **found = ARENA_ARRAY(a, void *, 2 * N), **expected[N];
  (void)state;
  gpu_target(&t);
  for (uint32_t i = 0; i < N; i++) {
    kernel *k = kernel_of_text(a, members[of[i]]);
    if (!k->schedule.n) schedule_kernel(k, &t);
    if (i < 4) known[of[i]] = lower_kernel(k, a, &error);
    each[i] = known[of[i]];
    void **inputs = laid_out_inputs(k, a);
    for (int64_t e = 0; e < each[i]->buffers[0].elements; e++) { /* of each launch others */
      const scalar v = element_load(each[i]->buffers[0].type, inputs[0], e);
      element_store(each[i]->buffers[0].type, inputs[0], e, of[i] == 2 ? (scalar){.integer = v.integer % 1000 + i} : (scalar){.real = v.real / (1 + i)});
    }
    expected[i] = copy_buffers(a, each[i], inputs);
    memcpy(found + 2 * i, copy_buffers(a, each[i], inputs), 2 * sizeof *found);
    loops_interpret(each[i], expected[i], a);
  }
  plan *p = plan_of(a, each, N);
  for (uint32_t i = 1; i < N; i++) p->launches[i].beside = true;
  for (int times = 0; times < 2; times++) { /* the emulation runs blocks backwards every other time */
    const char *wrong = gpu_run(p, found);
    if (wrong) fail_msg("%s", wrong);
    for (uint32_t i = 0; i < N; i++) assert_near(each[i], 1, found[2 * i + 1], expected[i][1]);
  }
  arena_free(a);
}

static void bundles_are_divided_among_blocks(void **state) {
  arena *a = arena_new();
  const char *error = NULL;
  const loops *l[2];
  const uint32_t groups[] = {0, 1};
  cuda_source source;
  (void)state;
  for (int i = 0; i < 2; i++) l[i] = lower_kernel(kernel_of_text(a, members[2 * i]), a, &error);
  const code_part parts[] = {{l[0], groups, 3}, {l[1], groups, 1}};
  if (!cuda_kernel_of(parts, 2, "k", false, a, &source, &error)) fail_msg("%s", error);
  assert_int_equal(source.blocks, 3 * 2 + 6); /* 5 warps of lanes, 4 in a block; 700 threads */
  assert_int_equal(source.threads, 128);
  assert_int_equal(source.pointers, 8);
  assert_non_null(strstr(source.text, "#line 1 \"alone\""));
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {KERNEL_TESTS, cmocka_unit_test(blocks_of_columns_keep_their_lanes), cmocka_unit_test(neighbours_are_read_together), cmocka_unit_test(neighbours_are_written_together), cmocka_unit_test(bundles_compute_what_their_kernels_do), cmocka_unit_test(bundles_are_divided_among_blocks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
