/* Default schedules, by their text, and carried out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/passes/lower_testing.h"

static const target wide = {.name = "wide", .vector_bytes = 64, .vector_registers = 32, .l1_bytes = 48 << 10, .l2_bytes = 2 << 20};

static void assert_schedule(const char *definition, const char *expected) {
  arena *a = arena_new();
  kernel *k = kernel_of_text(a, definition);
  schedule_kernel(k, &wide);
  const char *found = strstr(kernel_print(k, a), "schedule");
  if (!found || strncmp(found, expected, strlen(expected))) fail_msg("%s\nshould be\n%s", found ? found : "none", expected);
  arena_free(a);
}

#define PRODUCT(rest)                                                                                              \
  "kernel k {\n  in x : f32[32,128,256]\n  in w : f32[256,1024]\n  in g : f32[32,128,1024]\n  out y : f32[32,128,1024]\n" \
  "  axes i:32 j:128 k:1024 r:256\n  s[i,j,k] : f32 = sum r of x[i, j, r] * w[r, k]\n" rest "}\n"

/* A tile of g is 128 bytes of each of 8 rows: they are read along the row. */
static void epilogues_read_along_rows(void **state) {
  (void)state;
  assert_schedule(PRODUCT("  t[i,j,k] : f32 = s * g[i, j, k] -> y[i, j, k]\n"),
                  "schedule { for i parallel, k/512 parallel, j/8, k/32, r/4,");
  assert_schedule(PRODUCT("  t[i,j,k] : f32 = s + g[0, 0, k] -> y[i, j, k]\n"), "schedule { for i parallel, k/32 parallel, j/8, r/4,");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(epilogues_read_along_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
