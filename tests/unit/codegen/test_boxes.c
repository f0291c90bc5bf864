/* Operands of groups of warps that are rectangles of memory come as boxes (TMA), and others do not; either way the loops give what the
 * definition says, and the emulation the same bits; NVRTC takes texts of every rank. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/codegen/team_testing.h"

static void assert_near(const loops *l, uint32_t buffer, const void *found, const void *expected) {
  const dtype t = l->buffers[buffer].type;
  for (int64_t e = 0; e < l->buffers[buffer].elements; e++)
    if (!close_enough(t, element_load(t, found, e), element_load(t, expected, e))) fail_msg("%s: %s element %lld", l->name, l->buffers[buffer].name, (long long)e);
}

/* `boxes`: of which operands, in the order of loops. */
static void check_boxes(const char *definition, const char *team, const char *boxes, bool compile) {
  arena *a = arena_new();
  loops *l = NULL;
  target gpu;
  gpu_target(&gpu);
  if (gpu_is_real() && !gpu.boxes) return arena_free(a);
  kernel *k = kernel_of_text(a, arena_printf(a, "%sschedule { team %s, groups, boxes }\n", definition, team));
  const char *fault = lowering_fault(k, a, 1, &l);
  if (fault) fail_msg("%s\n%s%s", fault, definition, l ? loops_print(l, a) : "");
  const char *found = "";
  for (uint32_t i = 0; i < l->n_boxes; i++) {
    found = arena_printf(a, "%s%s%s", found, i ? "; " : "", l->buffers[l->boxes[i].buffer].name);
    for (uint32_t d = 0; d < l->boxes[i].rank; d++) found = arena_printf(a, "%s %lld", found, (long long)l->boxes[i].size[d]);
  }
  if (strcmp(found, boxes)) fail_msg("boxes %s instead of %s\n%s%s", found, boxes, definition, loops_print(l, a));
  check_on_gpu(k, l, assert_near, a);
  if (compile) check_compiles(l, a);
  arena_free(a);
}

#define FORWARD(n, size, c, k) \
  "kernel forward {\n  in x : bf16[" #n "," #c "," #size "," #size "] {0 2 3 1}\n  in w : bf16[" #k "," #c ",3,3] {0/64 2 3 1 0%64}\n  in b : f32[" #k "]\n" \
  "  out y : bf16[" #n "," #k "," #size "," #size "] {0 2 3 1}\n  axes n:" #n " k:" #k " p:" #size " q:" #size " c:" #c " r:3 s:3\n" \
  "  acc[n,k,p,q] : f32 = sum c r s of f32(x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < " #size ", 0 <= q + s - 1 < " #size " else 0) * f32(w[k, c, r, s])\n" \
  "  z[n,k,p,q] : bf16 = bf16(max(f32(0), acc + b[k])) -> y[n, k, p, q]\n}\n"

/* Whole pictures, several at once, and a last one that is not there. */
static void convolutions(void **state) {
  (void)state;
  check_boxes(FORWARD(3, 8, 64, 64), "128 64 64 of 64 64, stages 4", "x 64 8 8 2; w 64 64 1 1 1", true);
  check_boxes(FORWARD(5, 4, 64, 128), "64 128 64 of 64 128, stages 3", "x 64 4 4 4; w 64 64 1 1 1", false);
}

/* Pictures that rows of panels do not end with, and few channels: pixels and weights are copied in chunks. */
static void other_convolutions(void **state) {
  (void)state;
  check_boxes(FORWARD(2, 7, 64, 64), "64 64 64 of 64 64, stages 4", "w 64 64 1 1 1", false);
  check_boxes(FORWARD(2, 8, 32, 64), "64 64 64 of 64 64, stages 4", "", false);
}

/* By weights: rows of pixels are a part of a picture. */
static void gradients(void **state) {
  (void)state;
  check_boxes("kernel by_weight {\n  in x : bf16[1,64,16,16] {0 2 3 1}\n  in g : bf16[1,64,16,16] {0 2 3 1}\n  out d : f32[64,64,3,3] {0/64 2 3 1 0%64}\n"
              "  axes k:64 c:64 r:3 s:3 n:1 p:16 q:16\n"
              "  acc[k,c,r,s] : f32 = sum n p q of f32(x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 16, 0 <= q + s - 1 < 16 else 0) * f32(g[n, k, p, q]) -> d[k, c, r, s]\n}\n",
              "64 64 64 of 64 64, stages 4", "x 64 16 4 1; g 64 16 4 1", false);
  check_boxes("kernel by_data {\n  in g : bf16[2,64,8,8] {0 2 3 1}\n  in w : bf16[64,64,3,3] {0/64 2 3 1 0%64}\n  out d : bf16[2,64,8,8] {0 2 3 1}\n"
              "  axes n:2 c:64 h:8 v:8 k:64 r:3 s:3\n"
              "  acc[n,c,h,v] : f32 = sum k r s of f32(g[n, k, h - r + 1, v - s + 1] where 0 <= h - r + 1 < 8, 0 <= v - s + 1 < 8 else 0) * f32(w[k, c, r, s])\n"
              "  z[n,c,h,v] : bf16 = bf16(acc) -> d[n, c, h, v]\n}\n",
              "128 64 64 of 64 64, stages 3", "g 64 8 8 2; w 64 64 1 1 1", false);
  /* Pictures of which a part ends a sum: what is behind them is zero in both. */
  check_boxes("kernel by_weight {\n  in x : bf16[5,64,4,4] {0 2 3 1}\n  in g : bf16[5,64,4,4] {0 2 3 1}\n  out d : f32[64,64] {0 1}\n  axes k:64 c:64 n:5 p:4 q:4\n"
              "  acc[k,c] : f32 = sum n p q of f32(x[n, c, p, q]) * f32(g[n, k, p, q]) -> d[k, c]\n}\n",
              "64 64 64 of 64 64, stages 3", "g 64 4 4 4; x 64 4 4 4", false);
}

/* A sum that ends before its buffer does reads on in a box, and rows that are no multiples of 16 bytes have none. */
static void products(void **state) {
  (void)state;
  check_boxes("kernel ragged {\n  in x : bf16[3,100,88]\n  in w : bf16[3,72,88]\n  out y : f32[3,100,72]\n  axes b:3 i:100 j:72 k:88\n"
              "  acc[b,i,j] : f32 = sum k of f32(x[b, i, k]) * f32(w[b, j, k]) -> y[b, i, j]\n}\n",
              "64 64 64 of 64 64, stages 4", "x 64 64 1; w 64 64 1", true);
  check_boxes("kernel part {\n  in x : bf16[64,104]\n  in w : bf16[96,64]\n  out y : f32[64,64]\n  axes i:64 j:64 k:96\n"
              "  acc[i,j] : f32 = sum k of f32(x[i, k + 8]) * f32(w[k, j]) -> y[i, j]\n}\n",
              "64 64 64 of 64 64, stages 3", "w 64 64", false);
  check_boxes("kernel odd {\n  in x : bf16[64,72]\n  in w : bf16[72,65]\n  out y : f32[64,65]\n  axes i:64 j:65 k:72\n"
              "  acc[i,j] : f32 = sum k of f32(x[i, k]) * f32(w[k, j]) -> y[i, j]\n}\n",
              "64 64 64 of 64 64, stages 3", "x 64 64", true);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(convolutions), cmocka_unit_test(other_convolutions), cmocka_unit_test(gradients), cmocka_unit_test(products)};
  return cmocka_run_group_tests_name("codegen/boxes", tests, find_compiler, close_compiler);
}
