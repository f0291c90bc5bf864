/* Kernels all the way: definition, default schedule or none, loops, machine code, which must give the bits
 * that the loops' interpreter gives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/cpu/dump.h"
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

/* Sums with a product of the same kernel read its elements where they are, in every round; iterations tell of what the next one reads. */
static void products_are_multiplied_in_place(void **state) {
  (void)state;
  for (int rows = 16; rows <= 35; rows += 19) {
    char text[1500];
    arena *a = arena_new();
    const char *error = NULL;
    snprintf(text, sizeof text,
             "kernel twice {\n  in x : f32[70,%d,64]\n  out y : f32[70,%d,64]\n  out z : f32[70,%d,64]\n  axes n:70 k:%d l:%d r:64\n"
             "  turned[n,l,r] : f32 = x[n, l, r]\n  s[n,k,l] : f32 = sum r of x[n, k, r] * turned\n  m[n,k] : f32 = max l of s\n  p[n,k,l] : f32 = exp(s - m)\n"
             "  a[n,k,r] : f32 = sum l of p * x[n, l, r] -> y[n, k, r]\n  b[n,l,r] : f32 = sum k of p * x[n, k, r] -> z[n, l, r]\n}\n"
             "schedule { for n parallel, k/16, l/16, r/16, k unroll, r vector, l vector }\n",
             rows, rows, rows, rows, rows);
    kernel *k = kernel_of_text(a, text);
    check_compiled(k, false, a);
    const loops *l = lower_kernel(k, a, &error);
    assert_non_null(strstr(loops_print(l, a), "] far\n"));
    assert_int_equal(strstr(loops_llvm_text(l, a, &error), "load volatile") != NULL, rows == 16);
    arena_free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {KERNEL_TESTS, cmocka_unit_test(squares_are_turned_over), cmocka_unit_test(products_are_multiplied_in_place)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
