/* What eval blocks give besides scores of features, each against another way to the same numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/sslc.h"

static char folder[] = "/tmp/sslc-answers-XXXXXX";

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char command[96];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

#define MUST(call)                                                           \
  do {                                                                       \
    sslc_status must = (call);                                               \
    if (must) fail_msg("%s: status %d: %s", #call, must, sslc_message(p));   \
  } while (0)

/* 8 training and 4 test samples of the caller's. */
static float train_x[8][3], test_x[4][3];
static int32_t train_label[8], test_label[4];

static sslc_program *compile_with(const char *text, sslc_options o) {
  for (int i = 0; i < 8; i++) {
    for (int k = 0; k < 3; k++) {
      train_x[i][k] = (float)((i * 7 + k * 5) % 11) / 5 - 1;
      if (i < 4) test_x[i][k] = (float)((i * 3 + k * 4) % 7) / 3 - 1;
    }
    train_label[i] = i % 2;
    if (i < 4) test_label[i] = i / 2;
  }
  static char cache[64];
  snprintf(cache, sizeof cache, "%s/cache", folder);
  const sslc_array arrays[] = {
      {.data = "mine", .split = "train", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {3}, .count = 8, .values = train_x},
      {.data = "mine", .split = "train", .field = "label", .type = SSLC_I32, .classes = 2, .count = 8, .values = train_label},
      {.data = "mine", .split = "test", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {3}, .count = 4, .values = test_x},
      {.data = "mine", .split = "test", .field = "label", .type = SSLC_I32, .classes = 2, .count = 4, .values = test_label},
  };
  o.arrays = arrays;
  o.n_arrays = 4;
  o.cache = cache;
  o.data_root = SOURCE_DIR;
  sslc_program *p = NULL;
  sslc_status status = sslc_compile_text(text, "answers.ssl", &o, &p);
  if (status) fail_msg("status %d: %s", status, sslc_message(p));
  return p;
}

static sslc_program *compile(const char *text) { return compile_with(text, (sslc_options){.threads = 1}); }

static double score(sslc_program *p, const char *protocol, const char *measure) {
  const sslc_score *scores;
  size_t n;
  MUST(sslc_evaluate(p, folder, &scores, &n));
  for (size_t i = 0; i < n; i++)
    if (!strcmp(scores[i].protocol, protocol) && !strcmp(scores[i].measure, measure)) return scores[i].value;
  fail_msg("no %s %s", protocol, measure);
  return NAN;
}

static const char supervised[] =
    "option p = 0.0\n"
    "data mine = memory(\"mine\")\n"
    "encoder e(n)(x: f32[N, D]) = x |> linear(6) |> batch_norm() |> dropout(p) |> relu |> linear(n)\n"
    "model f = e(2)\n"
    "state seen = 0.0\n"
    "pretext learn(x, label) {\n"
    "  let logits = f(x)\n"
    "  minimize cross_entropy(logits, label)\n"
    "  report top1 = accuracy(logits, label), at = real(step), seen = seen\n"
    "  seen <- seen + 1.0\n"
    "}\n"
    "train learn { data: mine.train, batch: 8, epochs: 4, optimizer: sgd(lr: 0.3) }\n"
    "eval learn { loss(data: mine.train) }\n"
    "eval f(x) { accuracy(data: mine) }\n"
    "eval f(x) { accuracy(data: mine.train) }\n";

/* The loss of the training split in one batch is what the next step reports, before it changes anything. */
static void the_loss_is_that_of_a_step(void **state) {
  (void)state;
  sslc_program *p = compile(supervised);
  for (int i = 0; i < 3; i++) {
    double loss = score(p, "loss", "loss"), top1 = score(p, "loss", "top1"), at = score(p, "loss", "at"), seen = score(p, "loss", "seen");
    assert_true(fabs(at - i) < 1e-6 && fabs(seen - i) < 1e-6);
    MUST(sslc_run(p, 1));
    assert_true(fabs(loss - sslc_metric(p, "loss")) < 1e-6);
    assert_true(fabs(top1 - sslc_metric(p, "top1")) < 1e-6);
  }
  sslc_free(p);
}

static void nothing_is_dropped_in_a_loss(void **state) {
  (void)state;
  double loss[2];
  for (int dropping = 0; dropping < 2; dropping++) {
    sslc_override half = {"p", "0.5"};
    sslc_program *p = compile_with(supervised, (sslc_options){.threads = 1, .overrides = &half, .n_overrides = (size_t)dropping});
    loss[dropping] = score(p, "loss", "loss");
    MUST(sslc_run(p, 1));
    assert_int_equal(fabs(loss[dropping] - sslc_metric(p, "loss")) > 1e-4, dropping);
    sslc_free(p);
  }
  assert_true(fabs(loss[0] - loss[1]) < 1e-7);
}

/* Draws of an evaluation are those of its batches, whatever the step. */
static void each_batch_of_a_loss_draws_anew(void **state) {
  (void)state;
  static const char text[] =
      "data mine = memory(\"mine\")\n"
      "model f = linear(2)\n"
      "pretext learn(x) {\n"
      "  minimize mean(f(x) ** 2)\n"
      "  report drawn = uniform()\n"
      "}\n"
      "train learn { data: mine.train, batch: 4, epochs: 4, optimizer: sgd(lr: 0.3) }\n"
      "eval learn { loss(data: mine.train, count: 1) }\n";
  double one, two, later;
  sslc_program *p = compile(text);
  one = score(p, "loss", "drawn");
  MUST(sslc_run(p, 1));
  later = score(p, "loss", "drawn");
  sslc_free(p);
  char longer[sizeof text];
  memcpy(longer, text, sizeof text);
  strstr(longer, "count: 1")[7] = '2';
  p = compile(longer);
  two = score(p, "loss", "drawn");
  sslc_free(p);
  assert_true(one == later);
  assert_true(fabs(one - two) > 1e-3);
}

static void accuracy_counts_the_largest_logit(void **state) {
  (void)state;
  sslc_program *p = compile(supervised);
  MUST(sslc_run(p, 4));
  const sslc_score *scores;
  size_t n;
  MUST(sslc_evaluate(p, NULL, &scores, &n));
  for (int split = 0; split < 2; split++) { /* 0: test, which is meant where none is named */
    int samples = split ? 8 : 4, right = 0;
    float logits[8][2];
    MUST(sslc_features(p, (size_t)split, split ? train_x : test_x, samples, logits[0]));
    for (int i = 0; i < samples; i++) right += (logits[i][1] > logits[i][0]) == (split ? train_label : test_label)[i];
    size_t at = 0;
    for (int before = split; at < n && (strcmp(scores[at].protocol, "accuracy") || before-- > 0); at++) {}
    assert_true(at < n && scores[at].is_fraction);
    assert_true(fabs(scores[at].value - (double)right / samples) < 1e-12);
  }
  sslc_free(p);
}

static void features_are_of_the_first_weights(void **state) {
  (void)state;
  static const char text[] =
      "data mine = memory(\"mine\")\n"
      "model f = linear(2)\n"
      "const offset = mean(f(zeros([1, 3])))\n" /* of the step, before the graph beside it */
      "const X = features(f(x), data: mine, count: 5) * 2.0\n"
      "state centres = X[1:3]\n"
      "pretext learn(x) {\n"
      "  minimize mean(f(x) ** 2) + offset ** 2\n"
      "  report size = mean(X)\n"
      "  centres <- centres + 0.0 * mean(X)\n"
      "}\n"
      "train learn { data: mine.train, batch: 4, epochs: 4, optimizer: sgd(lr: 0.3) }\n"
      "eval f(x) { knn(data: mine) }\n";
  for (int wide = 0; wide < 2; wide++) {
    sslc_program *p = compile_with(text, (sslc_options){.threads = 1, .real = wide ? SSLC_F64 : SSLC_F32});
    float rows[5][2], now[5][2];
    double X[5][2], centres[2][2], sum = 0;
    MUST(sslc_features(p, 0, train_x, 5, rows[0]));
    for (int step = 0; step < 3; step++) {
      if (wide) {
        MUST(sslc_get(p, "X/features_1", X, sizeof X));
        MUST(sslc_get(p, "centres", centres, sizeof centres));
      } else {
        float x[5][2], c[2][2];
        MUST(sslc_get(p, "X/features_1", x, sizeof x));
        MUST(sslc_get(p, "centres", c, sizeof c));
        for (int i = 0; i < 10; i++) X[i / 2][i % 2] = x[i / 2][i % 2];
        for (int i = 0; i < 4; i++) centres[i / 2][i % 2] = c[i / 2][i % 2];
      }
      for (int i = 0; i < 10; i++) assert_true(fabs(X[i / 2][i % 2] - rows[i / 2][i % 2]) < 1e-6);
      for (int i = 0; i < 4; i++) assert_true(fabs(centres[i / 2][i % 2] - 2 * rows[1 + i / 2][i % 2]) < 1e-6);
      MUST(sslc_run(p, 1));
    }
    for (int i = 0; i < 10; i++) sum += rows[i / 2][i % 2] / 5;
    assert_true(fabs(sum - sslc_metric(p, "size")) < 1e-5);
    MUST(sslc_features(p, 0, train_x, 5, now[0]));
    assert_memory_not_equal(now, rows, sizeof rows);
    sslc_free(p);
  }
}

/* Greedy text is what the logits say that the model gives as features, window by window. */
static void text_follows_the_logits(void **state) {
  (void)state;
  static const char text[] =
      "data text = bytes(\"README.md\", window: 9)\n"
      "net chain()(t) {\n" /* every symbol of the window counts */
      "  let table = weight([256, 16], init: normal_of(1.0))\n"
      "  let along = weight([t.size(1), t.size(1)], init: normal_of(1.0))\n"
      "  let out = weight([256, 16], init: normal_of(1.0))\n"
      "  einsum(\"nid,kd->nik\", einsum(\"ij,njd->nid\", along, table[t]), out)\n"
      "}\n"
      "model lm = chain()\n"
      "pretext next_byte(t) { minimize cross_entropy(lm(t[:, :-1]), t[:, 1:]) }\n"
      "train next_byte { data: text.train, batch: 16, steps: 20, optimizer: adamw(lr: 1e-2) }\n"
      "data mine = memory(\"mine\")\n"
      "eval lm(int(x))[:, -1] { knn(data: mine) }\n"
      "eval next_byte { generate(lm, prompt: \"A longer prompt\", length: 12, temperature: 0.0), generate(lm, length: 40, name: \"drawn\") }\n";
  enum { WINDOW = 8, PROMPT = 15, LENGTH = 12 };
  float window[4][WINDOW];
  int32_t label[4] = {0};
  const sslc_array arrays[] = {{.data = "mine", .split = "train", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {WINDOW}, .count = 4, .values = window},
                               {.data = "mine", .split = "train", .field = "label", .type = SSLC_I32, .classes = 2, .count = 4, .values = label},
                               {.data = "mine", .split = "test", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {WINDOW}, .count = 4, .values = window},
                               {.data = "mine", .split = "test", .field = "label", .type = SSLC_I32, .classes = 2, .count = 4, .values = label}};
  char drawn[3][64];
  for (uint64_t run = 0; run < 3; run++) {
    uint64_t seed = run / 2;
    sslc_program *p = NULL;
    MUST(sslc_compile_text(text, "text.ssl", &(sslc_options){.threads = 1, .data_root = SOURCE_DIR, .arrays = arrays, .n_arrays = 4, .cache = "", .seed = &seed}, &p));
    MUST(sslc_run(p, 2));
    memset(window, 0, sizeof window);
    const sslc_score *scores;
    size_t n;
    MUST(sslc_evaluate(p, NULL, &scores, &n));
    const char *greedy = scores[n - 2].text;
    assert_string_equal(scores[n - 1].protocol, "generate");
    snprintf(drawn[run], sizeof drawn[run], "%s", scores[n - 1].text);
    assert_int_equal(strlen(greedy), PROMPT + LENGTH);
    assert_memory_equal(greedy, "A longer prompt", PROMPT);
    for (int i = PROMPT; i < PROMPT + LENGTH; i++) {
      float logits[256];
      int best = 0;
      for (int k = 0; k < WINDOW; k++) window[0][k] = (float)(unsigned char)greedy[i - WINDOW + k];
      MUST(sslc_features(p, 0, window, 1, logits));
      for (int c = 1; c < 256; c++)
        if (logits[c] > logits[best]) best = c;
      assert_int_equal((unsigned char)greedy[i], best);
    }
    sslc_free(p);
  }
  assert_string_equal(drawn[0], drawn[1]);
  assert_string_not_equal(drawn[0], drawn[2]);
}

static void arrays_hold_the_features(void **state) {
  (void)state;
  static const char text[] =
      "data mine = memory(\"mine\")\n"
      "model f = linear(2)\n"
      "weight table = normal([3, 2])\n"
      "pretext learn(x) { minimize mean(f(x) ** 2) + mean(table) }\n"
      "train learn { data: mine.train, batch: 4, epochs: 4, optimizer: sgd(lr: 0.3) }\n"
      "eval f(x) { knn(data: mine), npy(f(x), name: \"rows\"), npy(table, name: \"table\", every: 2), images(uniform(shape: [4, 3, 3])) }\n";
  sslc_program *p = compile(text);
  const sslc_score *scores;
  size_t n;
  char path[128];
  float rows[4][2], table[3][2], found[4][2];
  assert_int_equal(sslc_evaluate(p, NULL, &scores, &n), SSLC_BAD_CALL);
  assert_non_null(strstr(sslc_message(p), "answers.ssl:6: npy(f(x)) writes a file"));
  assert_int_equal(sslc_train(p, NULL), SSLC_BAD_CALL);
  MUST(sslc_evaluate(p, folder, &scores, &n));
  MUST(sslc_features(p, 0, test_x, 4, rows[0]));
  MUST(sslc_get(p, "table", table, sizeof table));
  for (int k = 0; k < 2; k++) {
    size_t bytes = k ? sizeof table : sizeof rows;
    snprintf(path, sizeof path, k ? "%s/table-0000.npy" : "%s/rows.npy", folder);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 128, SEEK_SET);
    assert_int_equal(fread(found, 1, sizeof found, f), bytes);
    fclose(f);
    assert_memory_equal(found, k ? (void *)table : (void *)rows, bytes);
  }
  snprintf(path, sizeof path, "%s/images.png", folder);
  assert_string_equal(scores[n - 1].text, path);
  assert_int_equal(access(path, R_OK), 0);
  sslc_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_loss_is_that_of_a_step),        cmocka_unit_test(nothing_is_dropped_in_a_loss), cmocka_unit_test(accuracy_counts_the_largest_logit),
      cmocka_unit_test(each_batch_of_a_loss_draws_anew),
      cmocka_unit_test(features_are_of_the_first_weights), cmocka_unit_test(text_follows_the_logits),      cmocka_unit_test(arrays_hold_the_features),
  };
  return cmocka_run_group_tests_name("whole/answers", tests, make_folder, remove_folder);
}
