/* Kernels all the way: definition, default schedule or none, loops, machine code, which must give the bits
 * that the loops' interpreter gives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/cpu/host.h"
#include "tests/unit/codegen/launch.h"
#include "tests/unit/passes/lower_testing.h"

static void **laid_out_inputs(const kernel *k, arena *a) {
  uint64_t seed = 7;
  void **laid = ARENA_ARRAY(a, void *, k->n_buffers);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    laid[i] = arena_alloc(a, (size_t)layout_elements(&b->layout, &b->type) * dtype_bytes(b->type.dtype) + 64);
    if (b->access == ACCESS_IN) layout_scatter(&b->layout, &b->type, random_elements(&b->type, a, &seed), laid[i]);
  }
  return laid;
}

/* Equal up to the payload of a NaN. */
static void assert_same(const loops *l, uint32_t buffer, const void *found, const void *expected) {
  dtype t = l->buffers[buffer].type;
  for (int64_t e = 0; e < l->buffers[buffer].elements; e++) {
    scalar x = element_load(t, found, e), y = element_load(t, expected, e);
    bool real = dtype_is_real(t);
    if (real ? x.real == y.real || (isnan(x.real) && isnan(y.real)) : x.integer == y.integer) continue;
    fail_msg("%s: %s element %lld: %.17g, should be %.17g", l->name, l->buffers[buffer].name, (long long)e,
             real ? x.real : (double)x.integer, real ? y.real : (double)y.integer);
  }
}

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

static void convolution_with_epilogue(void **state) {
  (void)state;
  check_text(
      "kernel conv {\n  in x : f32[2,5,9,7] {0 2 3 1}\n  in w : f32[40,5,3,3] {0/32 2 3 1 0%32}\n  in b : f32[40]\n"
      "  out y : f32[2,40,9,7] {0 2 3 1}\n  axes n:2 k:40 p:9 q:7 c:5 r:3 s:3\n"
      "  acc[n,k,p,q] : f32 = sum c r s of x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 9, "
      "0 <= q + s - 1 < 7 else 0 * w[k, c, r, s]\n"
      "  z[n,k,p,q] : f32 = max(0, acc + b[k]) -> y[n, k, p, q]\n}\n");
}

static void product_with_remainders(void **state) {
  static const char *const types[] = {"f32", "f64", "bf16", "i32"};
  (void)state;
  for (int i = 0; i < 4; i++) {
    char text[600];
    const char *t = types[i];
    snprintf(text, sizeof text,
             "kernel product {\n  in x : %s[29,31]\n  in w : %s[31,37]\n  out y : %s[29,37]\n  axes i:29 j:37 k:31\n"
             "  acc[i,j] : %s = sum k of x[i, k] * w[k, j] -> y[i, j]\n}\n",
             t, t, t, t);
    check_text(text);
  }
}

/* Stages meet in i alone. */
static void product_with_an_axis_of_its_own(void **state) {
  (void)state;
  check_text("kernel own {\n  in x : f64[19,3]\n  in m : f64[19,7,3]\n  in p : f64[3]\n  out s : f64[19]\n  out y : f64[19,7]\n"
             "  axes i:19 k:7 r:3\n  a[i] : f64 = sum r of x[i, r] -> s[i]\n"
             "  c[i,k] : f64 = sum r of (m[i, k, r] + a) * p[r] -> y[i, k]\n}\n");
}

static void softmax_rows(void **state) {
  static const char *const types[] = {"f32", "f64"};
  (void)state;
  for (int i = 0; i < 2; i++) {
    char text[800];
    const char *t = types[i];
    snprintf(
        text, sizeof text,
        "kernel softmax {\n  in x : %s[9,37]\n  out y : %s[9,37]\n  out m : i32[9]\n  axes i:9 j:37\n"
        "  top[i] : %s = max j of x[i, j]\n  total[i] : %s = sum j of exp(x[i, j] - top)\n"
        "  which[i] : i32 = argmax j of x[i, j] -> m[i]\n  low[i,j] : %s = exp(x[i, j] - top) / total -> y[i, j]\n}\n",
        t, t, t, t, t);
    check_text(text);
  }
}

static void transcendental_maps(void **state) {
  static const char *const functions[] = {"exp", "log", "sin", "cos", "tanh", "erf", "sqrt", "rsqrt"};
  (void)state;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    char text[300];
    snprintf(text, sizeof text,
             "kernel map {\n  in x : f32[67]\n  out y : f32[67]\n  axes i:67\n  s[i] : f32 = %s(x[i]) -> y[i]\n}\n",
             functions[i]);
    check_text(text);
  }
}

static void random_bits_and_gathers(void **state) {
  (void)state;
  check_text("kernel noise {\n  in k : u32[2]\n  out y : u32[5,33]\n  axes i:5 j:33\n"
             "  s[i,j] : u32 = random_bits(k[0], k[1], u32(j), u32(i), 0, 1) -> y[i, j]\n}\n");
  check_text("kernel pick {\n  in x : f32[7,8]\n  in n : i32[35]\n  out y : f32[35]\n  axes a:35\n"
             "  s0[a] : f32 = x[min(max(i64(n[a]), 0), 6), a % 8] -> y[a]\n}\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(convolution_with_epilogue),
      cmocka_unit_test(product_with_remainders),
      cmocka_unit_test(product_with_an_axis_of_its_own),
      cmocka_unit_test(softmax_rows),
      cmocka_unit_test(transcendental_maps),
      cmocka_unit_test(random_bits_and_gathers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
