/* Kernels as CUDA C, run by the emulation, or a GPU that SSLC_TEST_DEVICE names, give the bits that the loops' interpreter gives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/emulation/gpu.h"
#include "tests/unit/codegen/inputs.h"

/* The functions of a GPU's own library, which doubles go through, round differently from those of the processor's. */
static void assert_near(const loops *l, uint32_t buffer, const double *found, const double *expected) {
  for (int64_t e = 0; e < l->buffers[buffer].elements; e++)
    if (!(fabs(found[e] - expected[e]) <= 1e-13 * fabs(expected[e]) || (isnan(found[e]) && isnan(expected[e]))))
      fail_msg("%s: %s element %lld: %.17g, should be %.17g", l->name, l->buffers[buffer].name, (long long)e, found[e], expected[e]);
}

static void check_on_gpu(const kernel *k, arena *a) {
  const char *error = NULL;
  const loops *l = lower_kernel(k, a, &error);
  if (!l) fail_msg("%s", error);
  void **inputs = laid_out_inputs(k, a), **found = copy_buffers(a, l, inputs), **expected = copy_buffers(a, l, inputs);
  const loops *each[] = {l};
  error = gpu_run(plan_of(a, each, 1), found);
  if (error) fail_msg("%s\n%s", error, loops_print(l, a));
  loops_interpret(l, expected, a);
  for (uint32_t i = 0; i < l->n_arguments; i++) {
    if (gpu_is_real() && l->buffers[i].type == DTYPE_F64) assert_near(l, i, found[i], expected[i]);
    else assert_same(l, i, found[i], expected[i]);
  }
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
    check_on_gpu(k, a);
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

int main(void) {
  const struct CMUnitTest tests[] = {KERNEL_TESTS, cmocka_unit_test(blocks_of_columns_keep_their_lanes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
