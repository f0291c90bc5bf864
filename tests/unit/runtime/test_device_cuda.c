/* What the runtime does with a GPU's driver, on a stand-in for it that does its work as late as it may and fails when it is told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cuda/architecture.h"
#include "passes/passes.h"
#include "runtime/device_cuda.h"
#include "runtime/instance.h"

typedef struct {
  arena *arena;
  plan *plan;
  cuda_executable *code;
  cuda_driver driver;
} fixture;

static int *counter(const fixture *f, const char *name) { return dlsym(f->driver.library, name); }

static void fail_at(const char *what) {
  if (what) setenv("SSLC_STAND_IN_FAILS", what, 1);
  else unsetenv("SSLC_STAND_IN_FAILS");
}

/* A product and a map of it, which becomes the state. */
static const char text[] =
    "graph g {\n"
    "  %1 = parameter {role=state, name=\"x\"} : f32[40,40]\n"
    "  %2 = contract(%1, %1) {spec=\"i,k; k,j -> i,j\"} : f32[40,40]\n"
    "  %3 = tanh(%2) : f32[40,40]\n"
    "  %4 = reduce_sum(%3) {axes=[0,1]} : f32[]\n"
    "  result state \"x\" %3\n"
    "  result metric \"m\" %4\n"
    "}\n";

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  target gpu;
  char *failed = NULL;
  const char *error = NULL;
  f->arena = arena_new();
  setenv("SSLC_LIBCUDA", STAND_IN, 1);
  diagnostics *d = diagnostics_new(f->arena, sources_new(f->arena));
  cuda_target(80, &gpu);
  pass_context c = {.arena = f->arena, .diagnostics = d, .target = &gpu};
  graph *g = graph_parse(f->arena, sources_add(d->sources, "t.ir", text, strlen(text)), d);
  f->plan = g ? run_passes(g, &c, NULL, NULL) : NULL;
  if (!f->plan) fail_msg("%s", diagnostics_render(d, f->arena, false));
  nvrtc *n = nvrtc_open(f->arena, &error);
  f->code = n ? executable_compile_cuda(f->plan, n, 80, &(compile_options){.threads = 2}, NULL, &error) : NULL;
  nvrtc_close(n);
  if (!f->code) fail_msg("%s", error);
  if (!cuda_driver_open(&f->driver, &failed)) fail_msg("%s", failed);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  fail_at(NULL);
  assert_int_equal(*counter(f, "stand_in_live"), 0);
  cuda_driver_close(&f->driver);
  cuda_executable_free(f->code);
  arena_free(f->arena);
  free(f);
  return 0;
}

static device *opened(const fixture *f) {
  char *error = NULL;
  device *d = device_cuda_new(f->code, NULL, &f->driver, 1, &error);
  if (!d) fail_msg("%s", error);
  return d;
}

/* More than all the pinned memory, from memory that is used again at once. */
static void writes_are_read_back(void **state) {
  const fixture *f = *state;
  enum { BYTES = 21 << 20 };
  device *d = opened(f);
  unsigned char *from = malloc(BYTES), *back = malloc(BYTES);
  void *memory = d->allocate(d, BYTES), *other = d->allocate(d, BYTES);
  d->read(d, back, memory, BYTES);
  for (int i = 0; i < BYTES; i++) assert_int_equal(back[i], 0);
  for (int i = 0; i < BYTES; i++) from[i] = (unsigned char)(i * 7 + i / 4096);
  d->write(d, memory, from, BYTES);
  memset(from, 0, BYTES);
  const int32_t word = -5;
  d->write(d, (char *)memory + 8, &word, sizeof word);
  d->copy(d, other, memory, BYTES);
  d->read(d, back, other, BYTES);
  assert_memory_equal(back + 8, &word, sizeof word);
  for (int i = 12; i < BYTES; i++)
    if (back[i] != (unsigned char)(i * 7 + i / 4096)) fail_msg("byte %d", i);
  assert_null(d->failure(d));
  d->release(d, memory, BYTES);
  d->release(d, other, BYTES);
  free(from);
  free(back);
  d->free(d);
}

/* What is copied ahead is there when it is taken, and never before what it takes the place of was: whether the stream beside is late or early. */
static void copies_ahead_keep_their_order(void **state) {
  const fixture *f = *state;
  enum { BYTES = 9 << 20, TIMES = 6 };
  for (int eager = 0; eager < 2; eager++) {
    if (eager) setenv("SSLC_STAND_IN_EAGER", "1", 1);
    device *d = opened(f);
    unsigned char *from = malloc(BYTES), *back = malloc(BYTES);
    void *ahead = d->allocate(d, BYTES), *place = d->allocate(d, BYTES), *seen[TIMES];
    for (int i = 0; i < TIMES; i++) seen[i] = d->allocate(d, 256);
    memset(from, 7, BYTES);
    d->write_ahead(d, ahead, from, BYTES);
    for (int i = 0; i < TIMES; i++) { /* nobody waits */
      d->take_ahead(d, place, ahead, BYTES);
      d->copy(d, seen[i], (char *)place + BYTES - 256, 256);
      memset(from, 8 + i, BYTES);
      d->write_ahead(d, ahead, from, BYTES);
    }
    for (int i = 0; i < TIMES; i++) {
      d->read(d, back, seen[i], 256);
      for (int k = 0; k < 256; k++) assert_int_equal(back[k], 7 + i);
      d->release(d, seen[i], 256);
    }
    assert_null(d->failure(d));
    d->release(d, ahead, BYTES);
    d->release(d, place, BYTES);
    free(from);
    free(back);
    d->free(d);
    unsetenv("SSLC_STAND_IN_EAGER");
  }
}

/* However many numbers are asked for, the host waits once for a run, and not at all where it asks for none. */
static void a_run_is_waited_for_once(void **state) {
  const fixture *f = *state;
  char *error = NULL;
  float x[1600] = {0.25F};
  instance *i = instance_on(f->plan, opened(f), &error);
  assert_true(instance_set(i, "state", "x", x));
  for (int k = 0; k < 5; k++) {
    assert_true(instance_send(i, "state", "x", x));
    const int before = *counter(f, "stand_in_waits");
    instance_run(i);
    assert_true(instance_send(i, "state", "x", x));
    assert_true(instance_take(i, "state", "x"));
    assert_false(instance_take(i, "state", "x"));
    assert_int_equal(*counter(f, "stand_in_waits"), before);
    if (k % 2) continue;
    for (int n = 0; n < 3; n++) assert_true(instance_number(i, "metric", "m") == 0); /* kernels are not run */
    assert_int_equal(*counter(f, "stand_in_waits"), before + 1);
  }
  assert_null(instance_failure(i));
  instance_free(i);
}

static void later_runs_are_replayed(void **state) {
  const fixture *f = *state;
  uint32_t n;
  float x[1600] = {0};
  cuda_executable_launches(f->code, &n);
  char *error = NULL;
  instance *i = instance_on(f->plan, opened(f), &error);
  assert_non_null(i);
  const int before = *counter(f, "stand_in_launches"), graphs = *counter(f, "stand_in_graph_launches");
  for (int k = 0; k < 4; k++) {
    assert_true(instance_set(i, "state", "x", x));
    instance_run(i);
  }
  assert_true(instance_get(i, "state", "x", x));
  assert_null(instance_failure(i));
  assert_int_equal(*counter(f, "stand_in_launches") - before, 4 * (int)n);
  assert_int_equal(*counter(f, "stand_in_graph_launches") - graphs, 3);
  instance_free(i);
}

/* Each call that may fail does, wherever it is made first: nothing is lost, and the text says what was being done. */
static void failures_are_told_and_leave_nothing(void **state) {
  static const char *const calls[] = {"cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuStreamCreate", "cuMemAllocHost_v2", "cuEventCreate", "cuModuleLoadData",
                                      "cuModuleGetFunction", "cuDeviceGetAttribute"};
  const fixture *f = *state;
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    char *error = NULL, at[64];
    snprintf(at, sizeof at, "%s:1", calls[i]);
    fail_at(at);
    assert_null(device_cuda_new(f->code, NULL, &f->driver, 0, &error));
    assert_non_null(strstr(error, "cuda:0"));
    assert_non_null(strstr(error, "made to fail"));
    fail_at(NULL);
    free(error);
    assert_int_equal(*counter(f, "stand_in_live"), 0);
  }
}

static void a_run_that_fails_is_told(void **state) {
  static const struct {
    const char *at, *says;
  } cases[] = {{"cuLaunchKernel:1", "kernel "}, {"cuStreamBeginCapture_v2:1", "capture"}, {"cuStreamEndCapture:1", "capturing"}, {"cuGraphInstantiateWithFlags:1", "graph"},
               {"cuGraphLaunch:1", "replaying"}, {"cuGraphLaunch:2", "replaying"}, {"cuStreamSynchronize:1", "running kernels"}, {"cuMemcpyHtoDAsync_v2:2", "writing"}};
  const fixture *f = *state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    float x[1600] = {1};
    char *error = NULL;
    instance *n = instance_on(f->plan, opened(f), &error);
    fail_at(cases[i].at);
    for (int k = 0; k < 4; k++) {
      instance_set(n, "state", "x", x);
      instance_run(n);
    }
    assert_false(instance_get(n, "state", "x", x));
    assert_true(isnan(instance_number(n, "metric", "loss")));
    assert_non_null(instance_failure(n));
    assert_non_null(strstr(instance_failure(n), cases[i].says));
    assert_non_null(strstr(instance_failure(n), "made to fail"));
    assert_true(x[0] == 1);
    fail_at("none:1");
    instance_free(n);
    fail_at(NULL);
  }
}

static void memory_that_is_short_gives_no_instance(void **state) {
  const fixture *f = *state;
  fail_at("cuMemAlloc_v2:1");
  char *error = NULL;
  assert_null(instance_on(f->plan, opened(f), &error));
  assert_non_null(strstr(error, "cuda:1, allocating"));
  fail_at(NULL);
  cuda_facts facts;
  assert_true(cuda_describe(&f->driver, 1, &facts, &error));
  assert_string_equal(facts.name, "stand-in 1");
  assert_int_equal(facts.capability, 80);
  assert_true(facts.free_bytes == 64 << 20 && facts.total_bytes == 64 << 20);
  assert_false(cuda_describe(&f->driver, 2, &facts, &error));
  assert_non_null(strstr(error, "sees 2 devices"));
  free(error);
}

static void a_driver_that_is_missing_or_old_is_told(void **state) {
  (void)state;
  cuda_driver d;
  char *error = NULL;
  setenv("SSLC_LIBCUDA", "/nowhere/libcuda.so.1", 1);
  assert_false(cuda_driver_open(&d, &error));
  assert_non_null(strstr(error, "/nowhere/libcuda.so.1"));
  setenv("SSLC_LIBCUDA", OLD_STAND_IN, 1);
  assert_false(cuda_driver_open(&d, &error));
  assert_non_null(strstr(error, "lacks cuGraphExecDestroy"));
  setenv("SSLC_LIBCUDA", STAND_IN, 1);
  fail_at("cuInit:1");
  assert_false(cuda_driver_open(&d, &error));
  assert_non_null(strstr(error, "does not start: made to fail"));
  fail_at(NULL);
  free(error);
}

int main(void) {
#define ON_A_DEVICE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
  const struct CMUnitTest tests[] = {ON_A_DEVICE(writes_are_read_back), ON_A_DEVICE(copies_ahead_keep_their_order), ON_A_DEVICE(a_run_is_waited_for_once), ON_A_DEVICE(later_runs_are_replayed), ON_A_DEVICE(failures_are_told_and_leave_nothing),
                                     ON_A_DEVICE(a_run_that_fails_is_told), ON_A_DEVICE(memory_that_is_short_gives_no_instance),
                                     cmocka_unit_test(a_driver_that_is_missing_or_old_is_told)};
  return cmocka_run_group_tests_name("runtime/device_cuda", tests, NULL, NULL);
}
