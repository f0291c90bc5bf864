/* sslc.h on a GPU, whose driver and compiler stand-ins are: what a C program sees, also when the device fails under it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/sslc.h"

static const char text[] =
    "data shapes = shapes(count: 40, size: 4, classes: 4)\n"
    "model f = linear(3)\n"
    "pretext p(img) { minimize mean((f(flatten(img)) - 1) ** 2) }\n"
    "train p { data: shapes.train, batch: 8, steps: 20, optimizer: sgd(lr: 1e-1) }\n"
    "eval f(flatten(img)) { knn(k: 3, data: shapes) }\n";

static char folder[] = "/tmp/sslc-device-XXXXXX";
static const char *cache = folder;

static sslc_program *compiled(const char *device, sslc_status wanted) {
  sslc_program *p = NULL;
  const sslc_status status = sslc_compile_text(text, "p.ssl", &(sslc_options){.device = device, .cache = cache, .threads = 2}, &p);
  if (status != wanted) fail_msg("status %d: %s", status, sslc_message(p));
  return p;
}

#define MUST(call)                                                                         \
  do {                                                                                     \
    if (call) fail_msg("%s: %s", #call, sslc_message(p));                                  \
  } while (0)
#define REFUSED(call, part)                                                                \
  do {                                                                                     \
    assert_int_equal(call, SSLC_NO_RESOURCE);                                              \
    if (!strstr(sslc_message(p), part)) fail_msg("%s: message is %s", #call, sslc_message(p)); \
  } while (0)

static void a_device_is_named_and_used(void **state) {
  (void)state;
  float on_cpu[144], on_gpu[144], samples_features[2][15] = {{0}};
  unsigned char samples[5 * 48];
  const char *const devices[] = {"cpu", "cuda:1"};
  float *const weights[] = {on_cpu, on_gpu};
  sslc_facts facts;
  for (int i = 0; i < 5 * 48; i++) samples[i] = (unsigned char)(i * 37);
  for (int d = 0; d < 2; d++) {
    sslc_program *p = compiled(devices[d], SSLC_OK);
    MUST(sslc_get_facts(p, &facts));
    assert_int_equal(facts.device_bytes > 0, d);
    MUST(sslc_run(p, 7));
    MUST(sslc_get(p, "f/w", weights[d], sizeof on_cpu));
    MUST(sslc_features(p, 0, samples, 5, samples_features[d]));
    sslc_free(p);
  }
  for (int i = 0; i < 144; i++) assert_true(fabsf(on_cpu[i] - on_gpu[i]) < 1e-5F);
  for (int i = 0; i < 15; i++) assert_true(fabsf(samples_features[0][i] - samples_features[1][i]) < 1e-5F);
}

static int stop_at_third(void *context, const sslc_progress *progress) { return (void)context, progress->event == SSLC_AT_STEP && progress->step % 4 == 3; }

/* Steps of own data between those of the program's, which are stopped: what was copied ahead for a step that did not come is not taken for another. */
static void steps_of_both_kinds_mix(void **state) {
  (void)state;
  float losses[2][4];
  unsigned char batch[8 * 48];
  const char *const devices[] = {"cpu", "cuda"};
  for (int i = 0; i < 8 * 48; i++) batch[i] = (unsigned char)(i * 11);
  for (int d = 0; d < 2; d++) {
    sslc_program *p = compiled(devices[d], SSLC_OK);
    for (int k = 0; k < 4; k++) {
      if (k % 2) MUST(sslc_set(p, SSLC_INPUT, "img", batch, sizeof batch));
      if (k % 2) MUST(sslc_step(p));
      else assert_int_equal(sslc_train(p, &(sslc_training){.no_evaluation = 1, .callback = stop_at_third}), SSLC_STOPPED);
      losses[d][k] = (float)sslc_metric(p, "loss");
    }
    sslc_free(p);
  }
  for (int k = 0; k < 4; k++)
    if (fabsf(losses[0][k] - losses[1][k]) > 1e-5F) fail_msg("%d: %g and %g", k, (double)losses[0][k], (double)losses[1][k]);
}

/* What goes to the device for ten steps: numbers of rows where it holds the data, else the rows. */
static long long bytes_of_ten_steps(sslc_program *p) {
  void *driver = dlopen(STAND_IN, RTLD_NOW);
  const long long *bytes = dlsym(driver, "stand_in_bytes");
  MUST(sslc_run(p, 2));
  const long long before = *bytes;
  MUST(sslc_run(p, 10));
  const long long gone = *bytes - before;
  dlclose(driver);
  return gone;
}

static void data_stay_on_the_device(void **state) {
  (void)state;
  enum { LIST = 4 * (1 + 8), BATCH = 8 * 48 };
  float losses[2];
  for (int kept = 0; kept < 2; kept++) {
    cache = kept ? folder : ""; /* which has the kernel that gathers */
    sslc_program *p = compiled("cuda", SSLC_OK);
    if (!kept) setenv("SSLC_STAND_IN_FAILS", "nvrtcCompileProgram:1", 1); /* of that kernel: then it goes without */
    assert_int_equal(bytes_of_ten_steps(p), 10 * (kept ? LIST : BATCH));
    unsetenv("SSLC_STAND_IN_FAILS");
    losses[kept] = (float)sslc_metric(p, "loss");
    sslc_free(p);
  }
  assert_true(losses[0] == losses[1]);
}

/* Of all that a run needs nothing is compiled again. */
static void a_second_run_compiles_nothing(void **state) {
  (void)state;
  enum { LIST = 4 * (1 + 8) };
  sslc_program *p = compiled("cuda", SSLC_OK);
  MUST(sslc_run(p, 2));
  sslc_free(p);
  setenv("SSLC_STAND_IN_FAILS", "nvrtcCompileProgram:1", 1);
  p = compiled("cuda", SSLC_OK);
  assert_int_equal(bytes_of_ten_steps(p), 10 * LIST);
  unsetenv("SSLC_STAND_IN_FAILS");
  sslc_free(p);
}

/* A handle whose device failed says so at every call, and gives nothing of what was lost. */
static void a_lost_device_stays_lost(void **state) {
  (void)state;
  float w[144] = {42};
  sslc_program *p = compiled("cuda", SSLC_OK);
  MUST(sslc_run(p, 4));
  setenv("SSLC_STAND_IN_FAILS", "cuGraphLaunch:2", 1);
  REFUSED(sslc_run(p, 4), "step 5: cuda:0, replaying a run: made to fail");
  unsetenv("SSLC_STAND_IN_FAILS");
  REFUSED(sslc_run(p, 4), "replaying a run: made to fail");
  REFUSED(sslc_get(p, "f/w", w, sizeof w), "made to fail");
  REFUSED(sslc_set(p, SSLC_STATE, "f/w", w, sizeof w), "made to fail");
  REFUSED(sslc_save(p, "/nowhere/checkpoint"), "made to fail");
  REFUSED(sslc_load(p, "/nowhere/checkpoint"), "made to fail");
  REFUSED(sslc_initialise(p), "made to fail");
  assert_true(w[0] == 42);
  sslc_free(p);
}

/* States that cannot be read are not given, nor saved. */
static void states_that_cannot_be_read_are_not_given(void **state) {
  (void)state;
  float w[144] = {42};
  sslc_program *p = compiled("cuda", SSLC_OK);
  MUST(sslc_run(p, 4));
  setenv("SSLC_STAND_IN_FAILS", "cuMemcpyDtoHAsync_v2:1", 1);
  REFUSED(sslc_get(p, "f/w", w, sizeof w), "reading");
  unsetenv("SSLC_STAND_IN_FAILS");
  REFUSED(sslc_get(p, "f/w", w, sizeof w), "reading");
  assert_true(w[0] == 42);
  sslc_free(p);
}

static void wrong_devices_are_refused(void **state) {
  (void)state;
  sslc_program *p = compiled("gpu", SSLC_BAD_CALL);
  assert_non_null(strstr(sslc_message(p), "cuda:N, got gpu"));
  sslc_free(p);
  p = compiled("cuda:7", SSLC_NO_RESOURCE);
  assert_non_null(strstr(sslc_message(p), "there is no cuda:7"));
  sslc_diagnostic found;
  assert_true(sslc_place(p, 0, &found));
  assert_string_equal(found.code, "E0605");
  sslc_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_device_is_named_and_used), cmocka_unit_test(steps_of_both_kinds_mix), cmocka_unit_test(data_stay_on_the_device), cmocka_unit_test(a_second_run_compiles_nothing), cmocka_unit_test(a_lost_device_stays_lost),
                                     cmocka_unit_test(states_that_cannot_be_read_are_not_given), cmocka_unit_test(wrong_devices_are_refused)};
  setenv("SSLC_LIBCUDA", STAND_IN, 1);
  setenv("SSLC_NVRTC", STAND_IN_COMPILER, 1);
  if (!mkdtemp(folder)) return 1;
  const int failed = cmocka_run_group_tests_name("whole/device", tests, NULL, NULL);
  char command[64];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command) || failed;
}
