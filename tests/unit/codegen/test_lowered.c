/* Kernels all the way: definition, default schedule or none, loops, machine code, which must give the bits
 * that the loops' interpreter gives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/cpu/host.h"
#include "tests/unit/codegen/inputs.h"

static void check_compiled(const kernel *k, bool checked, arena *a) {
  const char *error = NULL;
  const loops *l = lower_kernel(k, a, &error), *each[] = {l};
  if (!l) fail_msg("%s", error);
  executable *e =
      executable_compile_cpu(plan_of(a, each, 1), &(compile_options){.threads = 1, .checked = checked}, NULL, &error);
  if (!e) fail_msg("%s: %s", k->name, error);
  void **inputs = laid_out_inputs(k, a), **found = copy_buffers(a, l, inputs), **expected = copy_buffers(a, l, inputs);
  uint32_t n;
  const executable_launch *launch = executable_launches(e, &n);
  for (int64_t i = l->iterations - 1; i >= 0; i--) launch->entry(found, i, i + 1);
  loops_interpret(l, expected, a);
  for (uint32_t i = 0; i < l->n_arguments; i++) assert_same(l, i, found[i], expected[i]);
  const char *violation = executable_violation(e);
  if (violation) fail_msg("%s", violation);
  executable_free(e);
}

static void check_text(const char *text) {
  for (int variant = 0; variant < 4; variant++) {
    arena *a = arena_new();
    kernel *k = kernel_of_text(a, text);
    target t;
    host_target(&t);
    if (variant & 1) schedule_kernel(k, &t);
    const char *wrong = kernel_verify(k, a);
    if (wrong) fail_msg("%s", wrong);
    check_compiled(k, variant & 2, a);
    arena_free(a);
  }
}

#include "tests/unit/codegen/kernels.h"

/* Read across rows and written along them, in squares of 16, 8 and 4, with what is left over; and pieces that only look like squares. */
static void squares_are_turned_over(void **state) {
  (void)state;
  static const char *const schedules[] = {
      "for j/16, i/16, i unroll, j vector", "for j/8, i/8, i unroll, j vector", "for j/4, i/8, i unroll, j vector", "for j/16, i/8, i unroll, j vector", "for j/16, i/32, i unroll, j vector"};
  static const char *const reads[] = {"x[j, i]", "x[j, i] + 1", "x[j, 40 - i]", "x[j, i / 2]"};
  for (size_t s = 0; s < sizeof schedules / sizeof *schedules; s++)
    for (size_t r = 0; r < sizeof reads / sizeof *reads; r++) {
      char text[500];
      arena *a = arena_new();
      snprintf(text, sizeof text, "kernel turn {\n  in x : f32[37,41]\n  out y : f32[41,37]\n  axes i:41 j:37\n  t[i,j] : f32 = %s -> y[i, j]\n}\nschedule { %s }\n", reads[r], schedules[s]);
      check_compiled(kernel_of_text(a, text), false, a);
      arena_free(a);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {KERNEL_TESTS, cmocka_unit_test(squares_are_turned_over)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
