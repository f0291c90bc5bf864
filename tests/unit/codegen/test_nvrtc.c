/* NVRTC where it is installed, and where it is not: what it makes, what it counts, what errors say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <elf.h>
#include <stdlib.h>

#include "codegen/cuda/gather.h"
#include "codegen/cuda/source.h"

static const nvrtc_target hopper = {"sm_90a", NVRTC_CUBIN}, ampere = {"sm_80", NVRTC_CUBIN}, any = {"compute_80", NVRTC_PTX};

static const char text[] = "extern \"C\" __global__ void kernel(float *x) { x[threadIdx.x] = fmaf(x[0], 2.0f, 1.0f); }\n";

static nvrtc *opened(arena *a) {
  const char *error = NULL;
  nvrtc *n = nvrtc_open(a, &error);
  if (!n) fail_msg("%s", error);
  return n;
}

static void compiles_without_a_device(void **state) {
  arena *a = arena_new();
  const nvrtc_target *const targets[] = {&hopper, &ampere};
  const char *error = NULL;
  nvrtc_code code;
  nvrtc *n = opened(a);
  (void)state;
  assert_true(nvrtc_describe(n)->major >= 12);
  assert_true(nvrtc_describe(n)->n_architectures > 0);
  for (int i = 0; i < 2; i++) {
    if (!nvrtc_compile(n, text, "k", targets[i], a, &code, &error)) fail_msg("%s", error);
    assert_memory_equal(code.code, ELFMAG, SELFMAG);
    assert_true(code.registers > 0);
    assert_int_equal(code.spilled_bytes, 0);
    free(code.code);
  }
  if (!nvrtc_compile(n, text, "k", &any, a, &code, &error)) fail_msg("%s", error);
  assert_non_null(strstr(code.code, ".target sm_80"));
  free(code.code);
  nvrtc_close(n);
  arena_free(a);
}

/* What nobody would miss: without it batches come from the host. */
static void the_kernel_that_gathers_compiles(void **state) {
  static const unsigned capabilities[] = {75, 80, 90};
  arena *a = arena_new();
  const char *error = NULL;
  nvrtc *n = opened(a);
  (void)state;
  for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++) {
    const cuda_kernel *k = cuda_gather_kernel(n, capabilities[i], NULL, a, &error);
    if (!k) fail_msg("sm_%u: %s", capabilities[i], error);
    assert_memory_equal(k->image, ELFMAG, SELFMAG);
    assert_int_equal(k->spilled_bytes, 0);
  }
  nvrtc_close(n);
  arena_free(a);
}

/* More values at once than a thread of a block this large may have. */
static void spills_are_counted(void **state) {
  arena *a = arena_new();
  const char *error = NULL;
  nvrtc_code code;
  nvrtc *n = opened(a);
  (void)state;
  const char *greedy = "extern \"C\" __global__ void __launch_bounds__(1024, 2) kernel(float *x) { float v[64];\n"
                       "#pragma unroll\nfor (int i = 0; i < 64; i++) v[i] = x[i * 1024 + threadIdx.x]; __syncthreads();\n"
                       "#pragma unroll\nfor (int i = 0; i < 64; i++) x[(63 - i) * 999 + threadIdx.x] = v[i] * v[(i * 7 + 3) % 64]; }\n";
  if (!nvrtc_compile(n, greedy, "greedy", &ampere, a, &code, &error)) fail_msg("%s", error);
  assert_true(code.spilled_bytes > 0);
  assert_true(code.local_bytes > 0);
  assert_in_range(code.registers, 1, 32);
  free(code.code);
  nvrtc_close(n);
  arena_free(a);
}

static void errors_name_the_kernel_and_its_line(void **state) {
  arena *a = arena_new();
  const char *error = NULL;
  nvrtc_code code;
  nvrtc *n = opened(a);
  (void)state;
  const char *wrong = arena_printf(a, "%s\n#line 1 \"attend_3\"\n\nKERNEL void k(f32 *x) { x[0] = missing; }\n", cuda_prelude);
  assert_false(nvrtc_compile(n, wrong, "attend_3", &ampere, a, &code, &error));
  assert_non_null(strstr(error, "attend_3(2): error"));
  assert_non_null(strstr(error, "missing"));
  const nvrtc_target unknown = {"sm_12", NVRTC_CUBIN};
  assert_false(nvrtc_compile(n, text, "k", &unknown, a, &code, &error));
  assert_non_null(strstr(error, "sm_12"));
  nvrtc_close(n);
  arena_free(a);
}

static void devices_get_code_that_they_can_run(void **state) {
  static const struct {
    unsigned capability;
    const char *name;
    nvrtc_form form;
  } cases[] = {{80, "sm_80", NVRTC_CUBIN}, {90, "sm_90a", NVRTC_CUBIN}, {91, "sm_90", NVRTC_CUBIN}, {86, "sm_86", NVRTC_CUBIN}};
  arena *a = arena_new();
  nvrtc_target t;
  nvrtc *n = opened(a);
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_true(nvrtc_target_of(n, cases[i].capability, &t));
    assert_string_equal(t.name, cases[i].name);
    assert_int_equal(t.form, cases[i].form);
  }
  assert_true(nvrtc_target_of(n, 990, &t)); /* newer than the compiler: the driver translates */
  assert_int_equal(t.form, NVRTC_PTX);
  assert_false(nvrtc_target_of(n, 20, &t));
  nvrtc_close(n);
  arena_free(a);
}

static void a_file_that_is_named_is_the_only_one(void **state) {
  arena *a = arena_new();
  const char *error = NULL, *before = getenv("SSLC_NVRTC"), *kept = before ? arena_string(a, before) : NULL;
  (void)state;
  setenv("SSLC_NVRTC", "/nowhere/libnvrtc.so", 1);
  assert_null(nvrtc_open(a, &error));
  assert_non_null(strstr(error, "/nowhere/libnvrtc.so"));
  assert_non_null(strstr(error, "SSLC_NVRTC"));
  setenv("SSLC_NVRTC", "libm.so.6", 1); /* a library, but another */
  assert_null(nvrtc_open(a, &error));
  assert_non_null(strstr(error, "nvrtc"));
  if (kept) setenv("SSLC_NVRTC", kept, 1);
  else unsetenv("SSLC_NVRTC");
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(compiles_without_a_device), cmocka_unit_test(the_kernel_that_gathers_compiles), cmocka_unit_test(spills_are_counted), cmocka_unit_test(errors_name_the_kernel_and_its_line),
                                     cmocka_unit_test(devices_get_code_that_they_can_run), cmocka_unit_test(a_file_that_is_named_is_the_only_one)};
  return cmocka_run_group_tests_name("codegen/nvrtc", tests, NULL, NULL);
}
