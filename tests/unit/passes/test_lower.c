#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/passes/lower_testing.h"

static void maps_run_in_lanes_with_remainders(void **state) {
  (void)state;
  const char *const schedules[] = {
      "",
      "schedule { for i, j }\n",
      "schedule { for i parallel, j/8, j vector }\n",
      "schedule { for i/2 parallel, j/16, i unroll, j/4 unroll, j vector }\n",
      "schedule { for j/4 parallel peel, i unroll, j vector }\n",
  };
  for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
    char text[1000];
    snprintf(text, sizeof text,
             "kernel map {\n  in x : f32[5,19]\n  in b : f32[19]\n  in c : f32[5]\n  out y : f32[5,19]\n  axes i:5 j:19\n"
             "  t[i,j] : f32 = x[i, j] * b[j]\n  s[i,j] : f32 = max(t + c[i], 0) - t -> y[i, j]\n}\n%s", schedules[i]);
    check_kernel(text);
  }
}

static void products_use_tiles_of_registers(void **state) {
  (void)state;
  const char *const schedules[] = {
      "",
      "schedule { for i, j, k }\n",
      "schedule { for k, i, j }\n",
      "schedule { for i/4 parallel, j/16, k/4, k unroll, i unroll, j/8 unroll, j vector }\n",
      "schedule { for k/5, i/4, j/16, k, i unroll, j/8 unroll, j vector }\n",
      "schedule { for i, j, k/16, k/4 unroll, k vector }\n",
      "schedule { for j parallel, i/3, k/4, k vector, i unroll }\n",
  };
  for (size_t i = 0; i < sizeof schedules / sizeof *schedules - 1; i++) {
    char text[1000];
    snprintf(text, sizeof text,
             "kernel product {\n  in x : f32[7,13]\n  in w : f32[13,21]\n  in b : f32[21]\n  out y : f32[7,21]\n"
             "  axes i:7 j:21 k:13\n  acc[i,j] : f32 = sum k of x[i, k] * w[k, j]\n"
             "  z[i,j] : f32 = acc + b[j] -> y[i, j]\n}\n%s", schedules[i]);
    check_kernel(text);
  }
}

#define CONVOLUTION                                                                                              \
  "kernel conv {\n  in x : f32[2,5,9,7] {0 2 3 1}\n  in w : f32[20,5,3,3] {0/8 2 3 1 0%%8}\n  in b : f32[20]\n"  \
  "  out y : f32[2,20,9,7] {0 2 3 1}\n  axes n:2 k:20 p:9 q:7 c:5 r:3 s:3\n"                                      \
  "  acc[n,k,p,q] : f32 = sum c r s of x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 9, 0 <= q + s - 1 < 7 else 0 * w[k, c, r, s]\n" \
  "  z[n,k,p,q] : f32 = max(0, acc + b[k]) -> y[n, k, p, q]\n}\n%s"

static void convolutions_skip_padding(void **state) {
  (void)state;
  const char *const schedules[] = {
      "",
      "schedule { for n parallel, k/8, p, q/6, r, s unroll, c/4, c unroll, q unroll, k/4 unroll, k vector }\n",
      "schedule { for n parallel, k/8, p peel, q/3 peel, r unroll, s unroll, c/2, c unroll, q unroll, k/4 unroll, k vector }\n",
      "schedule { for n, p, q, r, s, c, k/8, k vector }\n",
  };
  for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
    char text[2000];
    snprintf(text, sizeof text, CONVOLUTION, schedules[i]);
    check_kernel(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(maps_run_in_lanes_with_remainders),
      cmocka_unit_test(products_use_tiles_of_registers),
      cmocka_unit_test(convolutions_skip_padding),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
