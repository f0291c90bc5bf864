/* Weights from the file of another run: a frozen model, first weights, parts under other names, and what does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/sslc.h"

static char folder[] = "/tmp/sslc-loading-XXXXXX";

#define MUST(call)                                                           \
  do {                                                                       \
    sslc_status must = (call);                                               \
    if (must) fail_msg("%s: status %d: %s", #call, must, sslc_message(p));   \
  } while (0)

#define ENCODER "encoder tower(dim)(x: f32[N, C, H, W]) = x |> conv(width, 3) |> batch_norm() |> relu |> global_avg_pool |> linear(dim)\n"

/* `width` is an option and `classes` a number of the data, so that what the file says of the encoder needs both. */
static const char first[] =
    "option width = 4\n"
    "data toys = shapes(count: 64, size: 6, classes: 4)\n" ENCODER
    "model enc = tower(toys.classes)\n"
    "target slow = ema(enc, 0.9)\n"
    "pretext p(img, label) {\n"
    "  minimize cross_entropy(enc(img), label) + 0.1 * mse(enc(img), stop_grad(slow(img + 0.1)))\n"
    "}\n"
    "train p { data: toys.train, batch: 16, epochs: 8, optimizer: adam(lr: 1e-2) }\n"
    "eval enc(img) { knn(k: 3, data: toys) }\n"
    "eval slow(img) { knn(k: 3, data: toys) }\n";

static sslc_program *compile(const char *text, sslc_type real, sslc_status wanted) {
  sslc_program *p = NULL;
  char cache[64];
  snprintf(cache, sizeof cache, "%s/cache", folder);
  sslc_override five = {"width", "5"};
  sslc_status status = sslc_compile_text(text, "loading.ssl", &(sslc_options){.threads = 1, .cache = cache, .data_root = folder, .real = real, .overrides = &five, .n_overrides = text == first}, &p);
  if (status != wanted) fail_msg("status %d: %s", status, sslc_message(p));
  return p;
}

static void expect_error(const char *text, const char *part) {
  sslc_program *p = compile(text, SSLC_F32, SSLC_BAD_PROGRAM);
  if (!strstr(sslc_message(p), part)) fail_msg("\"%s\" does not say \"%s\"", sslc_message(p), part);
  sslc_free(p);
}

enum { SAMPLE = 3 * 6 * 6, DIM = 4 };
static unsigned char samples[8 * SAMPLE];
static float features[2][8 * DIM]; /* of enc and of slow in the first run */
static float weight[5 * 3 * 3 * 3];

static int make_first_run(void **state) {
  (void)state;
  if (!mkdtemp(folder)) return -1;
  for (int i = 0; i < 8 * SAMPLE; i++) samples[i] = (unsigned char)(i * 89 % 253);
  sslc_program *p = compile(first, SSLC_F32, SSLC_OK);
  char path[64];
  snprintf(path, sizeof path, "%s/run.safetensors", folder);
  MUST(sslc_run(p, 12));
  for (size_t i = 0; i < 2; i++) MUST(sslc_features(p, i, samples, 8, features[i]));
  MUST(sslc_get(p, "enc/conv_1/w", weight, sizeof weight));
  MUST(sslc_save(p, path));
  sslc_free(p);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  char command[96];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

#define DATA "data toys = shapes(count: 64, size: 6, classes: 4)\n"
#define TRAIN "train q { data: toys.train, batch: 16, epochs: 8, optimizer: adam(lr: 1e-2) }\n"

static void expect_features(sslc_program *p, size_t eval, const float *wanted, double tolerance) {
  float found[8 * DIM];
  MUST(sslc_features(p, eval, samples, 8, found));
  for (int i = 0; i < 8 * DIM; i++)
    if (!(fabs(found[i] - wanted[i]) <= tolerance)) fail_msg("feature %d is %g, not %g", i, found[i], wanted[i]);
}

/* A frozen model is the one that was saved, in eval mode, and stays so; the file knows how it is made. */
static void a_frozen_model_stays_what_it_was(void **state) {
  (void)state;
  static const char text[] = DATA
      "frozen t = load(\"run.safetensors\").enc\n"
      "frozen s = load(\"run.safetensors\").slow\n"
      "model f = small_cnn(4)\n"
      "pretext q(img) { minimize mse(f(img), t(img) + s(img)) }\n" TRAIN
      "eval t(img) { knn(k: 3, data: toys) }\n"
      "eval s(img) { knn(k: 3, data: toys) }\n";
  for (int wide = 0; wide < 2; wide++) {
    sslc_program *p = compile(text, wide ? SSLC_F64 : SSLC_F32, SSLC_OK);
    sslc_origin from;
    double first_loss = 0;
    for (int step = 0; step < 10; step++) {
      for (size_t i = 0; i < 2; i++) expect_features(p, i, features[i], wide ? 1e-5 : 0);
      MUST(sslc_run(p, 1));
      if (!step) first_loss = sslc_metric(p, "loss");
    }
    assert_true(sslc_metric(p, "loss") < first_loss); /* f learns from it */
    assert_int_equal(sslc_get_origin(p, 0, &from), 1);
    assert_string_equal(from.model, "t");
    assert_string_equal(from.part, "enc");
    assert_int_equal(from.taken, 8); /* conv's bias among them, two of batch norm and its two statistics */
    assert_int_equal(from.missing + from.unused, 0);
    assert_int_equal(sslc_get_origin(p, 2, &from), 0);
    sslc_free(p);
  }
}

/* First weights: the model and its target begin there, and are trained. */
static void a_model_begins_with_weights_of_another_name(void **state) {
  (void)state;
  static const char text[] = "option width = 5\n" DATA ENCODER
      "model f = tower(4) from load(\"run.safetensors\").enc\n"
      "target f_ = ema(f, 0.5)\n"
      "pretext q(img) { minimize mean((f(img) - f_(img) + 1.0) ** 2) }\n" TRAIN
      "eval f(img) { knn(k: 3, data: toys) }\n"
      "eval f_(img) { knn(k: 3, data: toys) }\n";
  sslc_program *p = compile(text, SSLC_F32, SSLC_OK);
  float found[5 * 3 * 3 * 3];
  expect_features(p, 0, features[0], 0);
  expect_features(p, 1, features[0], 0);
  MUST(sslc_run(p, 1));
  MUST(sslc_get(p, "f/conv_1/w", found, sizeof found));
  assert_memory_not_equal(found, weight, sizeof weight);
  MUST(sslc_initialise(p));
  MUST(sslc_get(p, "f/conv_1/w", found, sizeof found));
  assert_memory_equal(found, weight, sizeof weight);
  sslc_free(p);
}

static void what_is_not_in_the_file_keeps_its_first_value(void **state) {
  (void)state;
  static const char text[] = "option width = 5\n" DATA
      "encoder longer()(x) = x |> conv(5, 3) |> relu |> global_avg_pool |> linear(4) |> relu |> linear(3)\n"
      "model f = longer() from load(\"run.safetensors\").enc\n"
      "pretext q(img) { minimize mean(f(img) ** 2) }\n" TRAIN;
  sslc_program *p = compile(text, SSLC_F32, SSLC_OK);
  sslc_origin from;
  sslc_diagnostic d;
  assert_int_equal(sslc_get_origin(p, 0, &from), 1);
  assert_int_equal(from.taken, 4);
  assert_int_equal(from.missing, 2);
  assert_int_equal(from.unused, 4); /* batch norm */
  assert_int_equal(sslc_place(p, 0, &d), 1);
  assert_true(d.is_warning);
  assert_string_equal(d.text, "2 of 6 weights of f are not in run.safetensors (enc) and keep their first values: f/linear_2/w, f/linear_2/b");
  sslc_free(p);
}

static void what_does_not_fit_is_said(void **state) {
  (void)state;
#define REST "pretext q(img) { minimize mean(f(img)) }\n" TRAIN
  expect_error("option width = 5\n" DATA ENCODER "model f = tower(7) from load(\"run.safetensors\").enc\n" REST,
               "f/linear_1/w is f32[7,5] here, and run.safetensors has f32[4,5] for it (enc/linear_1/w)");
  expect_error("option width = 5\n" DATA ENCODER "model f = tower(4) from \"run.safetensors\"\n" REST, "has no weights of a model f; it has enc, slow");
  expect_error(DATA "model f = load(\"run.safetensors\").other\n" REST, "has no weights of a model other; it has enc, slow");
  expect_error(DATA "model f = mlp(4, 4) from load(\"nowhere.safetensors\").enc\n" REST, "nowhere.safetensors: No such file");
  expect_error(DATA "encoder e()(x) = x |> flatten |> linear(2) |> linear(3)\nfrozen t = e() from load(\"run.safetensors\").enc\nmodel f = linear(2)\npretext q(img) { minimize mean(f(t(img))) }\n" TRAIN,
               "t/linear_1/w is f32[2,108] here, and run.safetensors has f32[4,5]");
  expect_error(DATA "encoder e()(x) = x |> layer_norm()\nfrozen t = e() from load(\"run.safetensors\").enc\nmodel f = linear(2)\npretext q(img) { minimize mean(f(t(img))) }\n" TRAIN,
               "run.safetensors has no enc/layer_norm_1/scale, which the frozen model t wants");
  expect_error(DATA "encoder e()(x) = x |> layer_norm()\nmodel f = e() from load(\"run.safetensors\").enc\n" REST, "no weight of f is in run.safetensors (enc)");
  char path[64];
  snprintf(path, sizeof path, "%s/cut.safetensors", folder);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  fwrite("\x40\0\0\0\0\0\0\0{\"a", 1, 11, f);
  fclose(f);
  expect_error(DATA "model f = mlp(4, 4) from load(\"cut.safetensors\").enc\n" REST, "no complete safetensors file");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_frozen_model_stays_what_it_was),
      cmocka_unit_test(a_model_begins_with_weights_of_another_name),
      cmocka_unit_test(what_is_not_in_the_file_keeps_its_first_value),
      cmocka_unit_test(what_does_not_fit_is_said),
  };
  return cmocka_run_group_tests_name("whole/loading", tests, make_first_run, remove_folder);
}
