/* Kernels as CUDA C, run by the emulation, give the bits that the loops' interpreter gives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/cuda/architecture.h"
#include "tests/emulation/emulation.h"
#include "tests/unit/codegen/inputs.h"

static void check_emulated(const kernel *k, arena *a) {
  const char *error = NULL;
  const loops *l = lower_kernel(k, a, &error);
  if (!l) fail_msg("%s", error);
  emulation *e = emulation_of_loops(l, a, &error);
  if (!e) fail_msg("%s\n%s", error, loops_print(l, a));
  void **inputs = laid_out_inputs(k, a), **found = copy_buffers(a, l, inputs), **expected = copy_buffers(a, l, inputs);
  assert_int_equal(emulation_run(e, 0, found), 0);
  loops_interpret(l, expected, a);
  for (uint32_t i = 0; i < l->n_arguments; i++) assert_same(l, i, found[i], expected[i]);
  emulation_free(e);
}

static void check_text(const char *text) {
  for (int scheduled = 0; scheduled < 2; scheduled++) {
    arena *a = arena_new();
    kernel *k = kernel_of_text(a, text);
    target t;
    cuda_target(80, &t);
    if (scheduled) schedule_kernel(k, &t);
    const char *wrong = kernel_verify(k, a);
    if (wrong) fail_msg("%s", wrong);
    check_emulated(k, a);
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
  cuda_target(80, &t);
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
