/* How training goes: phases by the clock, updates of several batches, an end that the pretext decides, rules for some weights. */
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

#include "frontend/session.h"

#define MUST(call)                                                             \
  do {                                                                         \
    sslc_status must = (call);                                                 \
    if (must) fail_msg("%s: status %d: %s", #call, must, sslc_message(p));     \
  } while (0)

static sslc_program *compile(const char *text) {
  sslc_program *p = NULL;
  MUST(sslc_compile_text(text, "p.ssl", &(sslc_options){.threads = 2, .cache = "", .real = SSLC_F64}, &p));
  return p;
}

static double number_of(sslc_program *p, const char *state) {
  double v;
  MUST(sslc_get(p, state, &v, sizeof v));
  return v;
}

/* -- phases ---------------------------------------------------------------------------------------------------- */

static const char counting[] =
    "state digits = 0.0\n"
    "pretext count() {\n"
    "  if step % 3 == 2 {\n"
    "    digits <- 10.0 * digits + 2.0\n"
    "    report third = 7.0\n"
    "  } else { digits <- 10.0 * digits + (if step == 4 { 5.0 } else { 1.0 }) }\n"
    "  report digits\n"
    "}\n"
    "train count { steps: 7 }\n";

static void each_step_is_that_of_its_phase(void **state) {
  (void)state;
  sslc_program *p = compile(counting);
  assert_int_equal(p->experiment->n_phases, 3);
  MUST(sslc_run(p, 2));
  assert_true(isnan(sslc_metric(p, "third")));
  MUST(sslc_run(p, 1));
  assert_true(sslc_metric(p, "third") == 7.0);
  MUST(sslc_run(p, 4));
  assert_true(number_of(p, "digits") == 1121521.0);
  MUST(sslc_run(p, 2)); /* behind the end: as its last step, the first phase */
  assert_true(number_of(p, "digits") == 112152111.0);
  sslc_free(p);
}

/* Shapes differ, and so do the models that are called; a condition asked twice, or against another, makes no further phase. */
static const char growing[] =
    "data toys = shapes(count: 64, size: 6, classes: 4)\n"
    "encoder head(n)(x) = x |> flatten |> linear(n)\n"
    "model f = head(3)\n"
    "model g = head(2)\n"
    "target f_ = ema(f, cosine(0.5, 1.0))\n"
    "queue keys: f32[8, 3] = unit_rows()\n"
    "fn late() = epoch >= 1\n"
    "optimizer slow(lr)(w, g, t) { w <- w - (if late() { 0.5 } else { 1.0 }) * lr * g }\n"
    "pretext grow(img) {\n"
    "  let z = f(img)\n"
    "  let all = if epoch >= 1 { concat([z, keys]) } else { z }\n"
    "  if late() { minimize mean(g(img) ** 2) wrt g }\n"
    "  if epoch < 1 { report early = 1.0 }\n"
    "  minimize mean((all @ all.T) ** 2) + mean((z - stop_grad(f_(img))) ** 2) wrt f\n"
    "  keys <- push(l2_normalize(z[:4]))\n"
    "  report rows = all.dim(0)\n"
    "}\n"
    "train grow { data: toys, batch: 16, epochs: 2, optimizer: slow(lr: cosine(0.1)) }\n"
    "eval grow { loss(data: toys, count: 1) }\n";

static double *states_of(sslc_program *p, size_t *n) {
  double *all = NULL;
  sslc_tensor t;
  *n = 0;
  for (size_t i = 0; sslc_describe(p, SSLC_STATE, i, &t); i++) {
    char *bytes = malloc(t.bytes);
    MUST(sslc_get(p, t.name, bytes, t.bytes));
    size_t count = t.bytes / (t.type == SSLC_F64 ? 8 : 4);
    all = realloc(all, (*n + count) * sizeof *all);
    for (size_t k = 0; k < count; k++) all[*n + k] = element_load((dtype)t.type, bytes, (int64_t)k).real;
    *n += count;
    free(bytes);
  }
  return all;
}

static void phases_share_states_and_resume(void **state) {
  (void)state;
  char path[] = "/tmp/sslc-settings-XXXXXX";
  size_t n, m;
  assert_true(close(mkstemp(path)) == 0);
  sslc_program *p = compile(growing);
  assert_int_equal(p->experiment->n_phases, 2);
  for (int64_t i = 0; i < 8; i++) assert_int_equal(experiment_phase_at(p->experiment, i), i >= 4);
  MUST(sslc_run(p, 3));
  assert_true(sslc_metric(p, "rows") == 16);
  MUST(sslc_save(p, path));
  MUST(sslc_run(p, 5));
  assert_true(sslc_metric(p, "rows") == 24 && isnan(sslc_metric(p, "early")));
  const sslc_score *scores; /* of the pretext as it ends */
  size_t n_scores, rows = 0;
  MUST(sslc_evaluate(p, NULL, &scores, &n_scores));
  while (rows < n_scores && strcmp(scores[rows].measure, "rows")) rows++;
  assert_true(rows < n_scores && scores[rows].value == 24);
  double *straight = states_of(p, &n);
  sslc_free(p);
  p = compile(growing);
  MUST(sslc_run(p, 7)); /* in the other phase when the states of the first come in */
  MUST(sslc_load(p, path));
  MUST(sslc_run(p, 5));
  double *resumed = states_of(p, &m);
  assert_int_equal(n, m);
  assert_memory_equal(straight, resumed, n * sizeof *straight);
  free(straight);
  free(resumed);
  sslc_free(p);
  unlink(path);
}

/* -- accumulate ------------------------------------------------------------------------------------------------- */

static const char summing[] =
    "option batch = 16\n"
    "data toys = shapes(count: 64, size: 6, classes: 4)\n"
    "encoder head(n)(x) = x |> flatten |> linear(n)\n"
    "model f = head(4)\n"
    "target f_ = ema(f, 0.75)\n"
    "pretext sum_up(img, label) { minimize cross_entropy(f(img), label) + mean((f(img) - stop_grad(f_(img))) ** 2) }\n"
    "train sum_up { data: toys, batch: batch, epochs: 2, optimizer: adam(lr: 0.01), clip_norm: 0.5%s }\n";

/* Two batches of 8 are one of 16. */
static void accumulated_batches_are_one(void **state) {
  (void)state;
  char texts[2][1024];
  snprintf(texts[0], sizeof texts[0], summing, "");
  snprintf(texts[1], sizeof texts[1], summing, ", accumulate: 2");
  char *eight = strstr(texts[1], "batch = 16");
  memcpy(eight, "batch =  8", 10);
  double *found[2];
  for (int i = 0; i < 2; i++) {
    sslc_program *p = compile(texts[i]);
    static const char *const names[] = {"f/linear_1/w", "f_/linear_1/w", "adam.v/f/linear_1/w"};
    MUST(sslc_run(p, i ? 16 : 8));
    found[i] = calloc(3 * 4 * 108, sizeof(double));
    for (int k = 0; k < 3; k++) MUST(sslc_get(p, names[k], found[i] + k * 4 * 108, 4 * 108 * sizeof(double)));
    int32_t count = 0;
    MUST(sslc_get(p, "optimizer.t/f", &count, sizeof count));
    assert_int_equal(count, 8);
    sslc_free(p);
  }
  for (int k = 0; k < 3 * 4 * 108; k++) assert_true(fabs(found[0][k] - found[1][k]) <= 1e-9 * fabs(found[0][k]) + 1e-12);
  free(found[0]);
  free(found[1]);
}

/* -- stop --------------------------------------------------------------------------------------------------------- */

static void a_reported_value_ends_training(void **state) {
  (void)state;
  sslc_program *p = compile("state n = 0.0\n"
                            "pretext wait() {\n  n <- n + 1.0\n  report left = 5.0 - n\n}\n"
                            "train wait { steps: 100, stop: left < 1.5 }\n");
  sslc_facts facts;
  MUST(sslc_train(p, NULL));
  MUST(sslc_get_facts(p, &facts));
  assert_int_equal(facts.step, 5);
  assert_true(sslc_metric(p, "left") == 1.0);
  sslc_free(p);
}

/* -- rules for some weights ---------------------------------------------------------------------------------------- */

static const char ruled[] =
    "data toys = shapes(count: 64, size: 6, classes: 4)\n"
    "encoder part(n)(x) = x |> linear(n) |> tanh\n"
    "encoder deep(n)(x) {\n  for i in 0..3 { x = x |> part(n) }\n  x |> linear(n)\n}\n"
    "encoder flat(n)(x) = x |> flatten |> deep(n)\n"
    "model f = flat(5)\n"
    "model w = [linear(2, bias: k > 0) for k in 0..3]\n"
    "weight scale = 1.0\n"
    "pretext rules(img) {\n"
    "  let z = f(img)\n"
    "  minimize scale * mean([mean((w[k](z) - 1.0) ** 2) for k in 0..3])\n"
    "  report losses = [mean(w[k](z)) for k in 0..3]\n"
    "}\n"
    "train rules {\n  data: toys, batch: 16, steps: 3, optimizer: sgd(lr: 0.1)\n  %s\n}\n";

/* Which of the states change under the rule, as letters: f's parts 1 2 3, its last layer l, w[0..2] a b c, the bias of w[1] B. */
static void expect_changed(const char *rule, const char *wanted) {
  static const struct {
    char letter;
    const char *name;
  } watched[] = {{'1', "f/deep_1/part_1/linear_1/w"}, {'2', "f/deep_1/part_2/linear_1/w"}, {'3', "f/deep_1/part_3/linear_1/w"}, {'l', "f/deep_1/linear_1/w"},
                 {'a', "w[0]/w"}, {'b', "w[1]/w"}, {'c', "w[2]/w"}, {'B', "w[1]/b"}, {'s', "scale"}};
  enum { N = sizeof watched / sizeof *watched };
  char text[2048], found[N + 1] = "";
  double before[N][540], after[540];
  snprintf(text, sizeof text, ruled, rule);
  sslc_program *p = compile(text);
  for (int run = 0; run < 2; run++) {
    MUST(run ? sslc_run(p, 3) : sslc_initialise(p));
    for (int i = 0; i < N; i++) {
      sslc_tensor t;
      size_t k = 0;
      while (sslc_describe(p, SSLC_STATE, k, &t) && strcmp(t.name, watched[i].name)) k++;
      MUST(sslc_get(p, watched[i].name, run ? after : before[i], t.bytes));
      if (run && memcmp(after, before[i], t.bytes)) found[strlen(found)] = watched[i].letter;
    }
  }
  assert_true(isfinite(sslc_metric(p, "losses[2]")));
  assert_string_equal(found, wanted);
  sslc_free(p);
}

static void rules_select_by_kind_model_list_and_path(void **state) {
  (void)state;
  expect_changed("", "123labcBs");
  expect_changed("tune norms_and_biases { freeze: true }", "123labc");
  expect_changed("tune w { freeze: true }", "123ls");
  expect_changed("tune w[1], scale { lr: 0.0 }", "123lac");
  expect_changed("tune f.deep.part { freeze: true }", "labcBs");
  expect_changed("tune f.deep_1.part_2, f.deep.linear { lr_scale: 0.0 }", "13abcBs");
  expect_changed("for i in 0..2 { tune f.deep.part[i], w[i] { grad_scale: 0.0 } }", "3lcs");
  expect_changed("tune f { freeze: true }\n  tune f.deep.part[2] { freeze: step < 1 }", "3abcBs");
  expect_changed("tune scale { clamp: (1.0, 1.0) }", "123labcB");
}

/* -- constants ------------------------------------------------------------------------------------------------------ */

static void constants_are_drawn_once(void **state) {
  (void)state;
  sslc_program *p = compile("const noise = normal([3])\n"
                            "const pair = [2.0 * noise, 1]\n"
                            "state last = zeros([3])\n"
                            "pretext keep() {\n"
                            "  report change = sum(abs(noise - last)), double = sum(abs(pair[pair[1] - 1] - 2.0 * noise))\n"
                            "  last <- noise\n"
                            "}\n"
                            "train keep { steps: 3 }\n");
  MUST(sslc_run(p, 1));
  assert_true(sslc_metric(p, "change") > 0.1);
  MUST(sslc_run(p, 1));
  assert_true(sslc_metric(p, "change") == 0 && sslc_metric(p, "double") == 0);
  sslc_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_step_is_that_of_its_phase),  cmocka_unit_test(phases_share_states_and_resume),
      cmocka_unit_test(accumulated_batches_are_one),     cmocka_unit_test(a_reported_value_ends_training),
      cmocka_unit_test(rules_select_by_kind_model_list_and_path), cmocka_unit_test(constants_are_drawn_once),
  };
  return cmocka_run_group_tests_name("whole/settings", tests, NULL, NULL);
}
