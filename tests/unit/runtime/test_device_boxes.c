/* Operands that come as boxes (TMA), the whole way: maps are described in the executable and in the cache, encoded by the driver, handed to launches
 * and kept by graphs. On stand-ins for driver and compiler, which say that they are for sm_90. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/cuda/architecture.h"
#include "passes/passes.h"
#include "runtime/device_cuda.h"
#include "runtime/instance.h"

/* Pictures convolved, as channels last, and their features multiplied; both again and again. */
static const char text[] =
    "graph g {\n"
    "  %1 = parameter {role=state, name=\"x\"} : f32[3,64,8,8]\n"
    "  %2 = parameter {role=data, name=\"w\"} : f32[64,64,3,3]\n"
    "  %3 = parameter {role=data, name=\"v\"} : f32[64,64]\n"
    "  %4 = contract(%1, %2) {spec=\"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q\"} : f32[3,64,8,8]\n"
    "  %5 = tanh(%4) : f32[3,64,8,8]\n"
    "  %6 = contract(%5, %3) {spec=\"n,c,p,q; c,k -> n,k,p,q\"} : f32[3,64,8,8]\n"
    "  %7 = tanh(%6) : f32[3,64,8,8]\n"
    "  result state \"x\" %7\n"
    "}\n";
enum { PICTURES = 3 * 64 * 8 * 8, WEIGHTS = 64 * 64 * 9, RUNS = 4 };

static float pictures[PICTURES], weights[WEIGHTS];
static char folder[] = "/tmp/sslc-boxes-XXXXXX";

typedef struct {
  arena *arena;
  plan *plan;
  nvrtc *nvrtc;
  cuda_driver driver;
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  target gpu;
  char *failed = NULL;
  const char *error = NULL;
  setenv("SSLC_LIBCUDA", STAND_IN, 1);
  setenv("SSLC_NVRTC", STAND_IN_COMPILER, 1);
  setenv("SSLC_STAND_IN_CAPABILITY", "90", 1);
  setenv("SSLC_WGMMA", "1", 1);
  f->arena = arena_new();
  diagnostics *d = diagnostics_new(f->arena, sources_new(f->arena));
  cuda_target(90, &gpu);
  pass_context c = {.arena = f->arena, .diagnostics = d, .target = &gpu, .products = PRODUCTS_BF16};
  graph *g = graph_parse(f->arena, sources_add(d->sources, "t.ir", text, strlen(text)), d);
  f->plan = g ? run_passes(g, &c, NULL, NULL) : NULL;
  if (!f->plan) fail_msg("%s", diagnostics_render(d, f->arena, false));
  f->nvrtc = nvrtc_open(f->arena, &error);
  if (!f->nvrtc) fail_msg("%s", error);
  if (!cuda_driver_open(&f->driver, &failed)) fail_msg("%s", failed);
  for (int i = 0; i < PICTURES; i++) pictures[i] = (float)(i * 37 % 101 - 50) / 64;
  for (int i = 0; i < WEIGHTS; i++) weights[i] = (float)(i * 53 % 97 - 48) / 512;
  if (!mkdtemp(folder)) fail_msg("no folder for the cache");
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  char command[128];
  unsetenv("SSLC_STAND_IN_FAILS");
  cuda_driver_close(&f->driver);
  nvrtc_close(f->nvrtc);
  arena_free(f->arena);
  free(f);
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static cuda_executable *compiled(const fixture *f, uint32_t *made) {
  compile_report report;
  const char *error = NULL;
  cuda_executable *e = executable_compile_cuda(f->plan, f->nvrtc, 90, &(compile_options){.threads = 2, .cache_directory = folder}, &report, &error);
  if (!e) fail_msg("%s", error);
  *made = report.compiled;
  return e;
}

static uint32_t boxes_of(const cuda_executable *e) {
  uint32_t n, boxes = 0;
  const cuda_kernel *k = cuda_executable_kernels(e, &n);
  for (uint32_t i = 0; i < n; i++) boxes += k[i].n_boxes;
  return boxes;
}

/* What the plan's loops give, run after run. */
static void *expected(const fixture *f) {
  float *x = pictures;
  for (int run = 0; run < RUNS; run++) {
    const graph_binding bindings[] = {{"state", "x", x}, {"data", "w", weights}, {"data", "v", weights}};
    const char *error = NULL;
    void **found = plan_interpret(f->plan, bindings, 3, f->arena, &error);
    if (!found) fail_msg("%s", error);
    for (uint32_t b = 0; b < f->plan->n_buffers; b++)
      if (f->plan->buffers[b].role && !strcmp(f->plan->buffers[b].role, "state")) x = found[b];
  }
  return x;
}

/* Not from the cache, then from it; a first run, a captured one, and replays. */
static void boxes_come_from_the_cache_and_stay_in_graphs(void **state) {
  const fixture *f = *state;
  const float *wanted = expected(f);
  for (int cached = 0; cached < 2; cached++) {
    char *error = NULL;
    uint32_t made;
    float x[PICTURES];
    cuda_executable *e = compiled(f, &made);
    assert_int_equal(made > 0, !cached);
    assert_int_equal(boxes_of(e), 4);
    device *d = device_cuda_new(e, NULL, &f->driver, 0, &error);
    instance *i = d ? instance_on(f->plan, d, &error) : NULL;
    if (!i) fail_msg("%s", error);
    instance_set(i, "state", "x", pictures);
    instance_set(i, "data", "w", weights);
    instance_set(i, "data", "v", weights);
    for (int run = 0; run < RUNS; run++) instance_run(i);
    assert_true(instance_get(i, "state", "x", x));
    if (instance_failure(i)) fail_msg("%s", instance_failure(i));
    assert_memory_equal(x, wanted, sizeof x);
    instance_free(i);
    cuda_executable_free(e);
  }
}

static void drivers_without_boxes_are_told(void **state) {
  fixture *f = *state;
  char *error = NULL;
  uint32_t made;
  cuda_executable *e = compiled(f, &made);
  device *d = device_cuda_new(e, NULL, &f->driver, 0, &error);
  instance *i = d ? instance_on(f->plan, d, &error) : NULL;
  if (!i) fail_msg("%s", error);
  setenv("SSLC_STAND_IN_FAILS", "cuTensorMapEncodeTiled:1", 1);
  instance_run(i);
  assert_non_null(instance_failure(i));
  assert_non_null(strstr(instance_failure(i), "describing an operand of kernel"));
  unsetenv("SSLC_STAND_IN_FAILS");
  instance_free(i);
  f->driver.encode_map = NULL;
  assert_null(device_cuda_new(e, NULL, &f->driver, 0, &error));
  assert_non_null(strstr(error, "lacks cuTensorMapEncodeTiled"));
  assert_non_null(strstr(error, "SSLC_TMA=0"));
  free(error);
  cuda_executable_free(e);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(boxes_come_from_the_cache_and_stay_in_graphs), cmocka_unit_test(drivers_without_boxes_are_told)};
  return cmocka_run_group_tests_name("runtime/device_boxes", tests, set_up, tear_down);
}
