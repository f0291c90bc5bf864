/* What kernels have to do: counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "ir/work.h"

static kernel_work work_of(const char *text) {
  arena *a = arena_new();
  sources *s = sources_new(a);
  diagnostics *d = diagnostics_new(a, s);
  uint32_t offset = 0;
  const kernel *k = kernel_parse(a, sources_add(s, "work", text, strlen(text)), &offset, d);
  if (!k) fail_msg("%s", diagnostics_render(d, a, false));
  kernel_work w = kernel_work_of(k);
  arena_free(a);
  return w;
}

static void padding_is_no_work(void **state) {
  (void)state;
  kernel_work w = work_of(
      "kernel conv_relu {\n"
      "  in x : f32[2,3,5,6]\n"
      "  in w : f32[4,3,3,3]\n"
      "  in b : f32[4]\n"
      "  out y : f32[2,4,5,6]\n"
      "  axes n:2 k:4 p:5 q:6 c:3 r:3 s:3\n"
      "  acc[n,k,p,q] : f32 = sum c r s of x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 5, 0 <= q + s - 1 < 6 else 0 "
      "* w[k, c, r, s]\n"
      "  z[n,k,p,q] : f32 = max(acc + b[k], 0) -> y[n, k, p, q]\n"
      "}\n");
  assert_true(w.flops == 2.0 * 2 * 4 * 3 * (5 * 3 - 2) * (6 * 3 - 2));
  assert_true(w.bytes == 4.0 * (2 * 3 * 5 * 6 + 4 * 3 * 3 * 3 + 4 + 2 * 4 * 5 * 6));
}

/* The derivative of a convolution with stride 2: half of the index tuples are between its steps. */
static void gaps_are_no_work(void **state) {
  (void)state;
  kernel_work w = work_of(
      "kernel data {\n"
      "  in g : f32[4,3]\n"
      "  in w : f32[5,4,2]\n"
      "  out x : f32[5,6]\n"
      "  axes c:5 h:6 k:4 r:2\n"
      "  s0[c,h] : f32 = sum k r of g[k, (h - r) / 2] where 0 <= h - r < 6, (h - r) % 2 == 0 else 0 * w[c, k, r] -> x[c, h]\n"
      "}\n");
  assert_true(w.flops == 2.0 * 5 * 4 * 6);
}

static void sums_of_maps_are_no_contractions(void **state) {
  (void)state;
  kernel_work w = work_of(
      "kernel squares {\n"
      "  in x : f64[100,8]\n"
      "  out y : f64[3]\n"
      "  axes i:3 j:8\n"
      "  s0[i] : f64 = sum j of x[i, j] * x[i, j] -> y[i]\n"
      "}\n");
  assert_true(w.flops == 0);
  assert_true(w.bytes == 8.0 * (3 * 8 + 3)); /* of x what is read, once */
}

static void what_is_made_again_is_no_work(void **state) {
  (void)state;
  static const char text[] =
      "kernel scores {\n"
      "  in x : f32[5,8]\n"
      "  in y : f32[7,8]\n"
      "  out z : f32[5]\n"
      "  axes i:5 j:7 k:8\n"
      "  s0[i,j] : f32 = %ssum k of x[i, k] * y[j, k]\n"
      "  s1[i] : f32 = max j of s0 -> z[i]\n"
      "}\n";
  char once[sizeof text], again[sizeof text + 8];
  snprintf(once, sizeof once, text, "");
  snprintf(again, sizeof again, text, "again ");
  assert_true(work_of(once).flops == 2.0 * 5 * 7 * 8 && work_of(again).flops == 0);
  assert_true(work_of(once).bytes == work_of(again).bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(padding_is_no_work), cmocka_unit_test(gaps_are_no_work),
                                     cmocka_unit_test(sums_of_maps_are_no_contractions),
                                     cmocka_unit_test(what_is_made_again_is_no_work)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
