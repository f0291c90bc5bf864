/* Products of matrices by teams of warps: the loops give what the definition says, and the text, run by the emulation or a GPU that
 * SSLC_TEST_DEVICE names, the bits that the loops give. NVRTC takes the text, and nothing of it is spilled. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/codegen/team_testing.h"

/* The matrix unit of a GPU adds up in an order of its own. */
static void assert_near(const loops *l, uint32_t buffer, const void *found, const void *expected) {
  const dtype t = l->buffers[buffer].type;
  for (int64_t e = 0; e < l->buffers[buffer].elements; e++) {
    const scalar x = element_load(t, found, e), y = element_load(t, expected, e);
    if (!close_enough(t, x, y)) fail_msg("%s: %s element %lld: %.9g, should be %.9g", l->name, l->buffers[buffer].name, (long long)e, x.real, y.real);
  }
}

static void check_one(const char *text) {
  arena *a = arena_new();
  loops *l = NULL;
  kernel *k = kernel_of_text(a, text);
  const char *fault = lowering_fault(k, a, 1, &l);
  if (getenv("SHOW_LOOPS") && l) puts(loops_print(l, a));
  if (fault) fail_msg("%s\n%s%s", fault, text, l ? loops_print(l, a) : "");
  check_on_gpu(k, l, assert_near, a);
  check_compiles(l, a);
  arena_free(a);
}

/* The same text by groups of warps, in blocks that its own schedule would not do for; in the larger ones operands come as boxes where they can. On a real GPU where they are asked for. */
static void check_groups(const char *text) {
  target gpu;
  gpu_target(&gpu);
  if (gpu_is_real() && !gpu.groups) return;
  static const char *const blocks[] = {"64 64 64 of 64 64, stages 3, groups", "128 128 64 of 64 128, stages 4, groups"};
  const char *chosen = strstr(text, "schedule {");
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    char *by_groups = malloc(strlen(text) + 100);
    sprintf(by_groups, "%.*sschedule { team %s%s }\n", (int)(chosen - text), text, blocks[i], i && (!gpu_is_real() || gpu.boxes) ? ", boxes" : "");
    check_one(by_groups);
    free(by_groups);
  }
}

static void check_team(const char *text) {
  char *rounded = in_tf32(text);
  check_one(text);
  check_one(rounded);
  check_groups(text);
  free(rounded);
}

/* Operands as they may lie: along the sum or across it, in whole blocks. */
static void whole_products(void **state) {
  (void)state;
  static const char *const rows[] = {"x[i, k]", "x[k, i]"}, *const lanes[] = {"w[k, j]", "w[j, k]"};
  for (int i = 0; i < 4; i++) {
    char text[600];
    snprintf(text, sizeof text,
             "kernel product {\n  in x : bf16[128,128]\n  in w : bf16[128,128]\n  out y : f32[128,128]\n  axes i:128 j:128 k:128\n"
             "  acc[i,j] : f32 = sum k of f32(%s) * f32(%s) -> y[i, j]\n}\nschedule { team 64 64 32 of 32 32, stages 3 }\n",
             rows[i % 2], lanes[i / 2]);
    check_team(text);
  }
}

static void product_with_remainders(void **state) {
  static const struct {
    int i, j, k;
  } sizes[] = {{100, 72, 56}, {33, 35, 37}, {17, 200, 16}, {16, 10, 8}};
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char text[600];
    const int m = sizes[i].i, n = sizes[i].j, k = sizes[i].k;
    snprintf(text, sizeof text,
             "kernel product {\n  in x : bf16[%d,%d]\n  in w : bf16[%d,%d]\n  in b : f32[%d]\n  out y : bf16[%d,%d]\n  axes i:%d j:%d k:%d\n"
             "  acc[i,j] : f32 = sum k of f32(x[i, k]) * f32(w[k, j])\n  z[i,j] : bf16 = bf16(max(acc + b[j], f32(0))) -> y[i, j]\n}\n"
             "schedule { team 64 64 32 of 32 32, stages 4 }\n",
             m, k, k, n, n, m, n, m, n, k);
    check_team(text);
  }
}

/* Of both blocks that schedules choose beside the smallest, exactly one block and a little more. */
static void large_blocks(void **state) {
  (void)state;
  check_team("kernel whole {\n  in x : bf16[128,64]\n  in w : bf16[64,128]\n  out y : f32[128,128]\n  axes i:128 j:128 k:64\n"
             "  acc[i,j] : f32 = sum k of f32(x[i, k]) * f32(w[k, j]) -> y[i, j]\n}\nschedule { team 128 128 32 of 64 64, stages 3 }\n");
  check_team("kernel more {\n  in x : bf16[136,72]\n  in w : bf16[72,72]\n  out y : f32[136,72]\n  axes i:136 j:72 k:72\n"
             "  acc[i,j] : f32 = sum k of f32(x[i, k]) * f32(w[k, j]) -> y[i, j]\n}\nschedule { team 128 64 32 of 32 64, stages 3 }\n");
  check_team("kernel tall {\n  in x : bf16[264,72]\n  in w : bf16[64,72]\n  out y : f32[264,64]\n  axes i:264 j:64 k:72\n"
             "  acc[i,j] : f32 = sum k of f32(x[i, k]) * f32(w[j, k]) -> y[i, j]\n}\nschedule { team 256 64 32 of 64 64, stages 3 }\n");
}

static void convolution(void **state) {
  (void)state;
  check_team("kernel forward {\n  in x : bf16[3,32,7,6] {0 2 3 1}\n  in w : bf16[128,32,3,3] {0/64 2 3 1 0%64}\n  in b : f32[128]\n"
             "  out y : bf16[3,128,7,6] {0 2 3 1}\n  axes n:3 k:128 p:7 q:6 c:32 r:3 s:3\n"
             "  acc[n,k,p,q] : f32 = sum c r s of f32(x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 7, 0 <= q + s - 1 < 6 else 0) * f32(w[k, c, r, s])\n"
             "  z[n,k,p,q] : bf16 = bf16(max(f32(0), acc + b[k])) -> y[n, k, p, q]\n}\nschedule { team 64 64 32 of 32 32, stages 3 }\n");
  check_team("kernel stem {\n  in x : bf16[2,3,8,8] {0 2 3 1}\n  in w : bf16[64,3,3,3] {1 2 3 0}\n"
             "  out y : bf16[2,64,8,8] {0 2 3 1}\n  axes n:2 k:64 p:8 q:8 c:3 r:3 s:3\n"
             "  acc[n,k,p,q] : f32 = sum c r s of f32(x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 8, 0 <= q + s - 1 < 8 else 0) * f32(w[k, c, r, s])\n"
             "  z[n,k,p,q] : bf16 = bf16(acc) -> y[n, k, p, q]\n}\nschedule { team 64 64 32 of 32 32, stages 3 }\n");
}

static void gradients_of_a_convolution(void **state) {
  (void)state;
  check_team("kernel by_weight {\n  in x : bf16[3,32,7,6] {0 2 3 1}\n  in g : bf16[3,64,7,6] {0 2 3 1}\n  out d : f32[64,32,3,3] {0/64 2 3 1 0%64}\n"
             "  axes k:64 c:32 r:3 s:3 n:3 p:7 q:6\n"
             "  acc[k,c,r,s] : f32 = sum n p q of f32(x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 7, 0 <= q + s - 1 < 6 else 0) * f32(g[n, k, p, q]) -> d[k, c, r, s]\n}\n"
             "schedule { team 64 64 32 of 32 32, stages 3 }\n");
  check_team("kernel by_data {\n  in g : bf16[2,64,4,4] {0 2 3 1}\n  in w : bf16[64,32,3,3] {0/64 2 3 1 0%64}\n  out d : bf16[2,32,8,8] {0 2 3 1}\n"
             "  axes n:2 c:32 h:8 v:8 k:64 r:3 s:3\n"
             "  acc[n,c,h,v] : f32 = sum k r s of f32(g[n, k, (h - r + 1) / 2, (v - s + 1) / 2] where 0 <= h - r + 1 < 8, (h - r + 1) % 2 == 0, 0 <= v - s + 1 < 8, (v - s + 1) % 2 == 0 else 0) * f32(w[k, c, r, s])\n"
             "  z[n,c,h,v] : bf16 = bf16(acc) -> d[n, c, h, v]\n}\nschedule { team 64 64 32 of 32 32, stages 3 }\n");
}

static void batches(void **state) {
  (void)state;
  check_team("kernel scores {\n  in q : bf16[3,2,40,32]\n  in k : bf16[3,2,40,32]\n  out s : f32[3,2,40,40]\n  axes b:3 h:2 i:40 j:40 d:32\n"
             "  acc[b,h,i,j] : f32 = sum d of f32(q[b, h, i, d]) * f32(k[b, h, j, d])\n  z[b,h,i,j] : f32 = acc * 0.25 -> s[b, h, i, j]\n}\n"
             "schedule { team 64 64 32 of 32 32, stages 2 }\n");
}

/* Rows of two buffers one behind the other, and a factor that is computed. */
static void computed_factors(void **state) {
  (void)state;
  check_team("kernel both {\n  in x : bf16[40,64]\n  in y : bf16[24,64]\n  in s : f32[64]\n  in w : bf16[64,64]\n  out z : f32[64,64]\n  axes i:64 j:64 k:64\n"
             "  acc[i,j] : f32 = sum k of select(lt(i, 40), f32(x[i, k] where 0 <= i < 40 else 0), f32(y[i - 40, k] where 40 <= i < 64 else 0)) * f32(bf16(f32(w[k, j]) * s[j])) -> z[i, j]\n}\n"
             "schedule { team 64 64 32 of 32 32, stages 3 }\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(whole_products),    cmocka_unit_test(product_with_remainders),      cmocka_unit_test(large_blocks),
                                     cmocka_unit_test(convolution), cmocka_unit_test(gradients_of_a_convolution), cmocka_unit_test(batches),
                                     cmocka_unit_test(computed_factors)};
  return cmocka_run_group_tests(tests, find_compiler, close_compiler);
}
