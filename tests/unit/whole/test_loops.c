/* Programs with loops, as a stranger compiles them: a loop gives what its unrolled twin gives, derivatives of second order and
 * running statistics included; the same bits for any number of threads; memory that does not grow with the tasks of MAML;
 * and a line for the first value that is not finite. */
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

/* A cell with weights, a norm whose statistics go on from time to time, and a loss with a gradient in it; `%s` is the loop. */
static const char recurrent[] =
    "data toys = shapes(count: 64, size: 6, classes: 4)\n"
    "encoder cell(hidden)(x) {\n"
    "  let norm = batch_norm()\n"
    "  let w = weight([hidden, hidden + x.size(-1)], init: fan_in_uniform)\n"
    "  let next(h, v) = tanh(norm(concat([h, v], axis: 1) @ w.T)) + 0.1 * h\n"
    "  let start = zeros([x.dim(0), hidden])\n"
    "  %s\n"
    "}\n"
    "model f = cell(5)\n"
    "pretext p(img) {\n"
    "  let x = reshape(mean(img, axis: 1), [img.dim(0), 6, 6])\n"
    "  let y = f(x)\n"
    "  let slope = grad(sum(y * y), x)\n"
    "  minimize mean((y - 0.3) ** 2) + mean(slope ** 2)\n"
    "}\n"
    "train p { data: toys.train, batch: 8, steps: 4, optimizer: sgd(lr: 0.001) }\n";
static const char as_scan[] = "scan(x, axis: 1, carry: start, body: next)[:, -1]";
static const char unrolled[] = "let h = start\n  for t in 0..6 { h = next(h, x[:, t]) }\n  h";

static const char maml[] =
    "option tasks = 2\n"
    "data toys = shapes(count: 640, size: 6, classes: 4)\n"
    "net wide()(x) = x |> linear(300) |> tanh |> linear(300) |> tanh |> linear(1)\n"
    "model f = wide()\n"
    "pretext p(img) {\n"
    "  let x = reshape(img, [tasks, 4, -1])\n"
    "  let adapted(t) {\n"
    "    let fast = f\n"
    "    for i in 0..2 { fast = fast - 0.01 * grad(mse(fast(t), t[:, 0:1]), fast) }\n"
    "    mse(fast(t), t[:, 0:1])\n"
    "  }\n"
    "  report before = mse(f(x[0]), x[0][:, 0:1])\n"
    "  minimize mean(map(adapted)(x))\n"
    "}\n"
    "train p { data: toys.train, batch: 4 * tasks, steps: 2, optimizer: sgd(lr: 0.1) }\n";

static sslc_program *compile(const char *text, sslc_options o) {
  sslc_program *p = NULL;
  o.cache = "";
  if (sslc_compile_text(text, "loop.ssl", &o, &p)) fail_msg("%s", sslc_message(p));
  return p;
}

static sslc_program *trained(const char *text, sslc_options o) {
  sslc_program *p = compile(text, o);
  if (sslc_train(p, NULL)) fail_msg("%s", sslc_message(p));
  return p;
}

static void *state_of(sslc_program *p, const sslc_tensor *t) {
  void *data = malloc(t->bytes + 1);
  if (sslc_get(p, t->name, data, t->bytes)) fail_msg("%s", sslc_message(p));
  return data;
}

static void loops_are_their_unrolled_twins(void **state) {
  (void)state;
  char texts[2][4000];
  sslc_program *p[2];
  for (int i = 0; i < 2; i++) {
    snprintf(texts[i], sizeof texts[i], recurrent, i ? unrolled : as_scan);
    p[i] = trained(texts[i], (sslc_options){.real = SSLC_F64, .threads = 2, .checked = i == 0});
  }
  const double loss = sslc_metric(p[1], "loss"), found = sslc_metric(p[0], "loss");
  if (!(fabs(found - loss) < 1e-10 * loss)) fail_msg("loss is %.17g in a loop, %.17g without", found, loss);
  sslc_tensor t;
  size_t n = 0;
  for (; sslc_describe(p[0], SSLC_STATE, n, &t); n++) {
    double *x = state_of(p[0], &t), *y = state_of(p[1], &t);
    for (size_t k = 0; t.type == SSLC_F64 && k < t.bytes / sizeof *x; k++)
      if (!(fabs(x[k] - y[k]) < 1e-10 * (1 + fabs(y[k])))) fail_msg("%s[%zu] is %.17g in a loop, %.17g without", t.name, k, x[k], y[k]);
    free(x);
    free(y);
  }
  assert_true(n >= 5);
  sslc_free(p[0]);
  sslc_free(p[1]);
}

static void threads_change_no_bit(void **state) {
  (void)state;
  sslc_program *one = trained(maml, (sslc_options){.threads = 1}), *two = trained(maml, (sslc_options){.threads = 2});
  sslc_tensor t;
  for (size_t i = 0; sslc_describe(one, SSLC_STATE, i, &t); i++) {
    void *x = state_of(one, &t), *y = state_of(two, &t);
    assert_memory_equal(x, y, t.bytes);
    free(x);
    free(y);
  }
  sslc_free(one);
  sslc_free(two);
}

static int64_t peak_bytes(const char *tasks) {
  const sslc_override override = {"tasks", tasks};
  sslc_program *p = compile(maml, (sslc_options){.overrides = &override, .n_overrides = 1, .threads = 2});
  sslc_facts facts;
  if (sslc_get_facts(p, &facts)) fail_msg("%s", sslc_message(p));
  sslc_free(p);
  return facts.peak_bytes;
}

static void memory_does_not_grow_with_tasks(void **state) {
  (void)state;
  const int64_t images = 30 * 4 * 3 * 6 * 6 * 4 * 4; /* of 30 more tasks: as they come, as reals, and twice more on the way */
  const int64_t few = peak_bytes("2"), many = peak_bytes("32");
  if (many > few + images) fail_msg("%lld bytes with 2 tasks, %lld with 32", (long long)few, (long long)many);
}

static void the_first_value_that_is_not_finite_is_in_a_line_of_the_loop(void **state) {
  (void)state;
  static const char text[] = "data toys = shapes(count: 64, size: 6, classes: 4)\n"
                             "model f = linear(3)\n"
                             "pretext p(img) {\n"
                             "  let y = f(mean(mean(img, axis: -1), axis: -1))\n"
                             "  let z = scan(range(4), carry: y, body: (h, i) =>\n"
                             "    log(h + 1.0 - real(i)))\n"
                             "  minimize mean(z)\n"
                             "}\n"
                             "train p { data: toys.train, batch: 8, steps: 1, optimizer: sgd(lr: 0.1) }\n";
  sslc_program *p = compile(text, (sslc_options){.threads = 1});
  assert_int_equal(sslc_train(p, NULL), SSLC_NOT_FINITE);
  if (!strstr(sslc_message(p), "log at loop.ssl:6:") || !strstr(sslc_message(p), "of a loop")) fail_msg("%s", sslc_message(p));
  sslc_free(p);
}

/* A loop has the batch of this step as its samples and as a whole, though what reads data and what runs exchange their memory. */
static void loops_read_the_batch_of_their_step(void **state) {
  (void)state;
  enum { SAMPLES = 96, WIDTH = 600 };
  static const char text[] = "data mine = memory(\"mine\")\n"
                             "model f = linear(1)\n"
                             "pretext p(x) {\n"
                             "  report looped = mean(map(t => max(abs(x - t)))(x))\n"
                             "  report straight = mean(max(abs(reshape(x, [1, 32, 600]) - reshape(x, [32, 1, 600])), axis: [1, 2]))\n"
                             "  minimize mean(f(x) ** 2)\n"
                             "}\n"
                             "train p { data: mine.train, batch: 32, epochs: 2, optimizer: sgd(lr: 0.001) }\n";
  float *values = malloc(SAMPLES * WIDTH * sizeof *values);
  for (int i = 0; i < SAMPLES * WIDTH; i++) values[i] = sinf((float)i * (float)i);
  const sslc_array array = {.data = "mine", .split = "train", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {WIDTH}, .count = SAMPLES, .values = values};
  sslc_program *p = compile(text, (sslc_options){.threads = 2, .arrays = &array, .n_arrays = 1});
  double before = 0;
  for (int step = 0; step < 5; step++) {
    if (sslc_run(p, 1)) fail_msg("%s", sslc_message(p));
    const double looped = sslc_metric(p, "looped"), straight = sslc_metric(p, "straight");
    if (!(fabs(looped - straight) < 1e-5 * straight) || straight == before) fail_msg("step %d: %.9g in a loop, %.9g without", step, looped, straight);
    before = straight;
  }
  sslc_free(p);
  free(values);
}

/* Constants, first values, layers, optimizers, augmentations, targets, weights as carries; every access tested. */
static void loops_stand_everywhere(void **state) {
  (void)state;
  sslc_program *p = NULL;
  const sslc_options o = {.cache = "", .threads = 2, .checked = 1};
  if (sslc_compile_file(SOURCE_DIR "/tests/fuzz/corpus/program/loops.ssl", &o, &p) || sslc_train(p, NULL)) fail_msg("%s", sslc_message(p));
  assert_true(isfinite(sslc_metric(p, "loss")));
  sslc_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(loops_are_their_unrolled_twins),
      cmocka_unit_test(threads_change_no_bit),
      cmocka_unit_test(memory_does_not_grow_with_tasks),
      cmocka_unit_test(loops_read_the_batch_of_their_step),
      cmocka_unit_test(loops_stand_everywhere),
      cmocka_unit_test(the_first_value_that_is_not_finite_is_in_a_line_of_the_loop),
  };
  return cmocka_run_group_tests_name("whole/loops", tests, NULL, NULL);
}
