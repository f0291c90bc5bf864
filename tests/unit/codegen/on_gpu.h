/* Loops of a kernel on the GPU of the tests, compared with their interpreter. */
#ifndef SSLC_TESTS_UNIT_CODEGEN_ON_GPU_H
#define SSLC_TESTS_UNIT_CODEGEN_ON_GPU_H

#include "tests/emulation/gpu.h"
#include "tests/unit/codegen/inputs.h"

typedef void buffer_check(const loops *l, uint32_t buffer, const void *found, const void *expected);

/* The emulation gives the same bits; what a real GPU may differ in, `on_a_real_one` says. */
static inline void check_on_gpu(const kernel *k, const loops *l, buffer_check *on_a_real_one, arena *a) {
  void **inputs = laid_out_inputs(k, a), **found = copy_buffers(a, l, inputs), **expected = copy_buffers(a, l, inputs);
  const loops *each[] = {l};
  const char *error = gpu_run(plan_of(a, each, 1), found);
  if (error) fail_msg("%s\n%s", error, loops_print(l, a));
  loops_interpret(l, expected, a);
  for (uint32_t i = 0; i < l->n_arguments; i++) (gpu_is_real() ? on_a_real_one : assert_same)(l, i, found[i], expected[i]);
}

#endif
