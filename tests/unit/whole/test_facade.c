/* sslc.h as a stranger uses it: nothing else is included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/sslc.h"

/* 80 training samples, 5 steps of 16 an epoch; 6 noisy views and weights enough for an optimiser's moments. */
static const char program[] =
    "option epochs = 3\n"
    "option rate = 1e-2\n"
    "option bias = 1.0\n"
    "data shapes = shapes(count: 80, size: 6, classes: 4)\n"
    "encoder tiny(dim)(x: f32[N, C, H, W]) = x |> conv(6, 3) |> relu |> global_avg_pool |> linear(dim)\n"
    "model f = tiny(5)\n"
    "pretext p(img) {\n"
    "  let a = f(img + 0.1 * normal())\n"
    "  let b = f(img + 0.1 * normal())\n"
    "  minimize mean((a - b) ** 2) - log(mean(a * a) * 0 + bias)\n"
    "  report size = mean(a * a)\n"
    "}\n"
    "train p { data: shapes.train, batch: 16, epochs: epochs, optimizer: adam(lr: rate) }\n"
    "eval f(img) { knn(k: 3, data: shapes, every: 2) }\n";

static char folder[] = "/tmp/sslc-facade-XXXXXX";

static const char *in_folder(const char *name) {
  static char path[8][256];
  static int next;
  char *out = path[next++ % 8];
  snprintf(out, sizeof path[0], "%s/%s", folder, name);
  return out;
}

static sslc_program *compile_with(sslc_options o, sslc_status wanted) {
  sslc_program *p = NULL;
  o.cache = in_folder("cache");
  sslc_status status = sslc_compile_text(program, "p.ssl", &o, &p);
  if (status != wanted) fail_msg("status %d: %s", status, sslc_message(p));
  return p;
}

static sslc_program *compile(void) { return compile_with((sslc_options){.threads = 1}, SSLC_OK); }

#define MUST(call)                                                                       \
  do {                                                                                   \
    sslc_status must = (call);                                                           \
    if (must) fail_msg("%s: status %d: %s", #call, must, sslc_message(p));               \
  } while (0)
#define REFUSED(call, status, part)                                                      \
  do {                                                                                   \
    assert_int_equal(call, status);                                                      \
    if (!strstr(sslc_message(p), part)) fail_msg("%s: message is %s", #call, sslc_message(p)); \
  } while (0)

/* All states behind each other; malloc'ed. */
static char *all_states(sslc_program *p, size_t *bytes) {
  char *out = NULL;
  sslc_tensor t;
  *bytes = 0;
  for (size_t i = 0; sslc_describe(p, SSLC_STATE, i, &t); i++) {
    out = realloc(out, *bytes + t.bytes);
    MUST(sslc_get(p, t.name, out + *bytes, t.bytes));
    *bytes += t.bytes;
  }
  return out;
}

static void same_states(sslc_program *p, const char *expected, size_t n) {
  size_t bytes;
  char *found = all_states(p, &bytes);
  assert_int_equal(bytes, n);
  assert_memory_equal(found, expected, n);
  free(found);
}

static char *whole_file(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("no %s", path);
  char *bytes = malloc(1 << 20);
  *n = fread(bytes, 1, 1 << 20, f);
  fclose(f);
  return bytes;
}

static void same_files(const char *left, const char *right) {
  size_t n, m;
  char *a = whole_file(left, &n), *b = whole_file(right, &m);
  assert_int_equal(n, m);
  assert_memory_equal(a, b, n);
  free(a);
  free(b);
}

/* -- compiling ----------------------------------------------------------------------------------------------- */

static void a_wrong_program_names_its_places(void **state) {
  (void)state;
  sslc_program *p;
  sslc_diagnostic d;
  assert_int_equal(sslc_compile_text("let x = 1\nmodel f = nothing_like_this(3)\n", "wrong.ssl", NULL, &p), SSLC_BAD_PROGRAM);
  assert_true(sslc_place(p, 0, &d));
  assert_string_equal(d.file, "wrong.ssl");
  assert_true(d.line >= 1 && d.column >= 1 && d.code[0] == 'E' && *d.text);
  assert_non_null(strstr(sslc_message(p), "wrong.ssl:"));
  assert_non_null(strstr(sslc_report(p, 1), "\033["));
  assert_null(strstr(sslc_report(p, 0), "\033["));
  assert_int_equal(sslc_run(p, 1), SSLC_BAD_CALL);
  assert_int_equal(sslc_initialise(p), SSLC_BAD_CALL);
  assert_true(isnan(sslc_metric(p, "loss")));
  sslc_free(p);
}

static void options_that_make_no_sense_are_refused(void **state) {
  (void)state;
  const sslc_override unknown = {"epoch", "3"}, wrong = {"epochs", "\"many\""};
  sslc_program *p = compile_with((sslc_options){.overrides = &unknown, .n_overrides = 1}, SSLC_BAD_PROGRAM);
  assert_non_null(strstr(sslc_message(p), "epochs"));
  sslc_free(p);
  sslc_free(compile_with((sslc_options){.overrides = &wrong, .n_overrides = 1}, SSLC_BAD_PROGRAM));
  sslc_free(compile_with((sslc_options){.real = SSLC_I32}, SSLC_BAD_CALL));
  assert_int_equal(sslc_compile_file(in_folder("missing.ssl"), NULL, &p), SSLC_BAD_FILE);
  assert_non_null(strstr(sslc_message(p), "missing.ssl"));
  sslc_free(p);
  sslc_free(NULL);
  assert_string_equal(sslc_message(NULL), "out of memory");
}

static void a_program_says_what_it_is(void **state) {
  (void)state;
  sslc_program *p = compile();
  sslc_facts f;
  sslc_tensor t;
  MUST(sslc_get_facts(p, &f));
  assert_int_equal(f.parameters, 3 * 3 * 3 * 6 + 6 + 6 * 5 + 5);
  assert_int_equal(f.batch, 16);
  assert_int_equal(f.steps, 15);
  assert_int_equal(f.steps_per_epoch, 5);
  assert_int_equal(f.step, 0);
  assert_true(f.peak_bytes > f.parameters * 4);
  assert_true(sslc_describe(p, SSLC_INPUT, 0, &t));
  assert_string_equal(t.name, "img");
  assert_int_equal(t.type, SSLC_U8);
  assert_int_equal(t.rank, 4);
  assert_int_equal(t.bytes, 16 * 3 * 6 * 6);
  assert_false(sslc_describe(p, SSLC_INPUT, 1, &t));
  assert_true(sslc_describe(p, SSLC_SAMPLE, 0, &t));
  assert_int_equal(t.bytes, 3 * 6 * 6);
  assert_true(sslc_describe(p, SSLC_FEATURES, 0, &t));
  assert_int_equal(t.shape[0], 5);
  assert_string_equal(t.name, "f(img)");
  assert_false(sslc_describe(p, SSLC_FEATURES, 1, &t));
  int has_loss = 0, has_size = 0;
  for (size_t i = 0; sslc_describe(p, SSLC_METRIC, i, &t); i++) has_loss |= !strcmp(t.name, "loss"), has_size |= !strcmp(t.name, "size");
  assert_true(has_loss && has_size);
  sslc_free(p);
}

/* -- steps and states ------------------------------------------------------------------------------------------ */

static void own_inputs_train(void **state) {
  (void)state;
  sslc_program *p = compile();
  unsigned char images[16 * 3 * 6 * 6];
  for (size_t i = 0; i < sizeof images; i++) images[i] = (unsigned char)(i * 37 % 251);
  REFUSED(sslc_step(p), SSLC_BAD_CALL, "img");
  REFUSED(sslc_set(p, SSLC_INPUT, "image", images, sizeof images), SSLC_BAD_CALL, "image");
  REFUSED(sslc_set(p, SSLC_INPUT, "img", images, sizeof images - 1), SSLC_BAD_CALL, "1728");
  REFUSED(sslc_set(p, SSLC_METRIC, "loss", images, 4), SSLC_BAD_CALL, "inputs and states");
  MUST(sslc_set(p, SSLC_INPUT, "img", images, sizeof images));
  assert_true(isnan(sslc_metric(p, "loss")));
  MUST(sslc_step(p));
  double first = sslc_metric(p, "loss");
  for (int i = 0; i < 30; i++) MUST(sslc_step(p));
  assert_true(sslc_metric(p, "loss") < first);
  assert_true(isnan(sslc_metric(p, "no such metric")));
  sslc_free(p);
}

static void states_can_be_set_and_made_anew(void **state) {
  (void)state;
  sslc_program *p = compile();
  size_t n;
  sslc_facts f;
  char *start = all_states(p, &n), byte = 0;
  sslc_tensor t;
  MUST(sslc_run(p, 7));
  MUST(sslc_get_facts(p, &f));
  assert_int_equal(f.step, 7);
  assert_true(sslc_describe(p, SSLC_STATE, 0, &t));
  float *values = calloc(1, t.bytes), *back = calloc(1, t.bytes);
  for (size_t i = 0; i < t.bytes / 4; i++) values[i] = (float)i / 64;
  MUST(sslc_set(p, SSLC_STATE, t.name, values, t.bytes));
  MUST(sslc_get(p, t.name, back, t.bytes));
  assert_memory_equal(values, back, t.bytes);
  REFUSED(sslc_get(p, "f/nothing", &byte, 1), SSLC_BAD_CALL, "f/nothing");
  REFUSED(sslc_get(p, t.name, &byte, 1), SSLC_BAD_CALL, "bytes");
  MUST(sslc_initialise(p));
  same_states(p, start, n);
  free(start);
  free(values);
  free(back);
  sslc_free(p);
}

static void threads_change_no_bit_and_seeds_do(void **state) {
  (void)state;
  const uint64_t seed = 5;
  sslc_program *p = compile(), *two = compile_with((sslc_options){.threads = 2}, SSLC_OK),
               *other = compile_with((sslc_options){.threads = 1, .seed = &seed}, SSLC_OK);
  size_t n;
  MUST(sslc_run(p, 8));
  MUST(sslc_run(two, 3));
  MUST(sslc_run(two, 5));
  MUST(sslc_run(other, 8));
  char *expected = all_states(p, &n);
  same_states(two, expected, n);
  assert_true(sslc_metric(p, "loss") == sslc_metric(two, "loss"));
  assert_false(sslc_metric(p, "loss") == sslc_metric(other, "loss"));
  free(expected);
  sslc_free(p);
  sslc_free(two);
  sslc_free(other);
}

static void a_checkpoint_continues_as_if_nothing_was(void **state) {
  (void)state;
  sslc_program *p = compile(), *q = compile();
  size_t n;
  MUST(sslc_run(p, 4));
  MUST(sslc_save(p, in_folder("saved.safetensors")));
  MUST(sslc_run(p, 4));
  char *expected = all_states(p, &n);
  assert_int_equal(sslc_load(q, in_folder("saved.safetensors")), SSLC_OK);
  assert_int_equal(sslc_run(q, 4), SSLC_OK);
  same_states(q, expected, n);
  REFUSED(sslc_load(p, in_folder("nothing.safetensors")), SSLC_BAD_FILE, "nothing.safetensors");
  REFUSED(sslc_save(p, in_folder("no/folder.safetensors")), SSLC_NO_RESOURCE, "folder.safetensors");
  same_states(p, expected, n);
  free(expected);
  sslc_free(p);
  sslc_free(q);
}

static void a_loss_that_is_not_finite_stops_before_it_spoils_states(void **state) {
  (void)state;
  const sslc_override zero = {"bias", "0.0"};
  sslc_program *p = compile_with((sslc_options){.overrides = &zero, .n_overrides = 1}, SSLC_OK);
  size_t n;
  char *before = all_states(p, &n);
  REFUSED(sslc_train(p, NULL), SSLC_NOT_FINITE, "step 0");
  assert_non_null(strstr(sslc_message(p), "log at p.ssl:10:"));
  assert_non_null(strstr(sslc_message(p), "log(0)"));
  same_states(p, before, n);
  free(before);
  sslc_free(p);
}

static void a_large_step_is_searched_in_memory(void **state) {
  (void)state;
  static const char text[] = "data shapes = shapes(count: 64, size: 32)\n"
                             "encoder e(n)(x: f32[N, C, H, W]) = x |> conv(64, 3) |> relu |> conv(64, 3) |> relu |> global_avg_pool |> linear(n)\n"
                             "model f = e(4)\n"
                             "pretext p(img) {\n"
                             "  let y = f(img)\n"
                             "  minimize mean(log(y * 0 - 1))\n"
                             "}\n"
                             "train p { data: shapes.train, batch: 64, epochs: 1, optimizer: sgd(lr: 0.1) }\n";
  sslc_program *p;
  MUST(sslc_compile_text(text, "large.ssl", &(sslc_options){.cache = in_folder("cache")}, &p));
  REFUSED(sslc_train(p, NULL), SSLC_NOT_FINITE, "loss is NaN at step 0");
  assert_non_null(strstr(sslc_message(p), "NaN at large.ssl:6:"));
  sslc_free(p);
}

/* -- training --------------------------------------------------------------------------------------------------- */

typedef struct {
  int64_t stop_at, kill_at;
  int steps, evaluations, checkpoints;
} watch;

static int on_progress(void *context, const sslc_progress *x) {
  watch *w = context;
  w->steps += x->event == SSLC_AT_STEP;
  w->evaluations += x->event == SSLC_AT_EVALUATION;
  w->checkpoints += x->event == SSLC_AT_CHECKPOINT;
  if (x->event == SSLC_AT_STEP && x->step == w->kill_at) kill(getpid(), SIGKILL);
  return x->event == SSLC_AT_STEP && x->step == w->stop_at;
}

static void training_reports_and_keeps_files(void **state) {
  (void)state;
  sslc_program *p = compile();
  watch w = {0};
  sslc_training t = {.directory = in_folder("whole/run"), .callback = on_progress, .context = &w};
  MUST(sslc_train(p, &t));
  assert_int_equal(w.steps, 15);
  assert_int_equal(w.evaluations, 3); /* before, after 2 of 3 epochs, at the end */
  assert_int_equal(w.checkpoints, 3);
  assert_int_equal(access(in_folder("whole/run/metrics.jsonl"), F_OK), 0);
  assert_int_equal(access(in_folder("whole/run/evaluation.jsonl"), F_OK), 0);
  MUST(sslc_initialise(p));
  REFUSED(sslc_train(p, &t), SSLC_BAD_FILE, "already holds a run");
  t.overwrite = 1;
  MUST(sslc_train(p, &t));
  sslc_free(p);
}

static int on_collapse(void *context, const sslc_progress *x) {
  int *told = context;
  if (x->event != SSLC_AT_COLLAPSE) return 0;
  (*told)++;
  assert_non_null(strstr(x->warning, "f has collapsed at step"));
  assert_true(x->step > 30 && x->step < 120);
  return 1;
}

static void a_collapse_is_an_event_that_may_stop_the_run(void **state) {
  (void)state;
  static const char *const values[] = {"0", "1"};
  for (int healthy = 0; healthy < 2; healthy++) {
    sslc_program *p;
    int told = 0;
    sslc_options o = {.cache = in_folder("cache"), .overrides = &(sslc_override){"healthy", values[healthy]}, .n_overrides = 1};
    MUST(sslc_compile_file(SOURCE_DIR "/tests/command/collapse.ssl", &o, &p));
    assert_int_equal(sslc_train(p, &(sslc_training){.callback = on_collapse, .context = &told}), healthy ? SSLC_OK : SSLC_STOPPED);
    assert_int_equal(told, !healthy);
    sslc_free(p);
  }
}

static void a_killed_run_resumes_to_the_same_bits(void **state) {
  (void)state;
  sslc_program *p = compile();
  int status;
  pid_t child = fork();
  if (child == 0) { /* killed in the middle of the second epoch, with one checkpoint behind it */
    watch w = {.kill_at = 8};
    sslc_program *q = NULL;
    sslc_options o = {.threads = 1, .cache = in_folder("cache")};
    if (!sslc_compile_text(program, "p.ssl", &o, &q)) sslc_train(q, &(sslc_training){.directory = in_folder("killed"), .callback = on_progress, .context = &w});
    _exit(1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  MUST(sslc_train(p, &(sslc_training){.directory = in_folder("killed"), .resume = 1}));
  same_files(in_folder("killed/checkpoint.safetensors"), in_folder("whole/run/checkpoint.safetensors"));
  same_files(in_folder("killed/metrics.jsonl"), in_folder("whole/run/metrics.jsonl"));
  same_files(in_folder("killed/evaluation.jsonl"), in_folder("whole/run/evaluation.jsonl"));
  sslc_free(p);
}

static void a_callback_stops_after_a_checkpoint(void **state) {
  (void)state;
  sslc_program *p = compile(), *q = compile();
  watch w = {.stop_at = 7};
  sslc_training t = {.directory = in_folder("stopped"), .callback = on_progress, .context = &w};
  REFUSED(sslc_train(p, &t), SSLC_STOPPED, "step 7");
  t = (sslc_training){.directory = in_folder("stopped"), .resume = 1};
  assert_int_equal(sslc_train(q, &t), SSLC_OK);
  same_files(in_folder("stopped/checkpoint.safetensors"), in_folder("whole/run/checkpoint.safetensors"));
  sslc_free(p);
  sslc_free(q);
}

static void another_program_cannot_resume(void **state) {
  (void)state;
  const sslc_override rate = {"rate", "0.5"};
  const uint64_t seed = 9;
  sslc_training t = {.directory = in_folder("stopped"), .resume = 1};
  sslc_program *p = compile_with((sslc_options){.overrides = &rate, .n_overrides = 1}, SSLC_OK);
  REFUSED(sslc_train(p, &t), SSLC_BAD_FILE, "another program");
  sslc_free(p);
  p = compile_with((sslc_options){.seed = &seed}, SSLC_OK);
  REFUSED(sslc_train(p, &t), SSLC_BAD_FILE, "seed");
  sslc_free(p);
}

static void folders_that_cannot_be_written_are_refused(void **state) {
  (void)state;
  sslc_program *p = compile();
  FILE *f = fopen(in_folder("file"), "w");
  fclose(f);
  REFUSED(sslc_train(p, &(sslc_training){.directory = in_folder("file")}), SSLC_BAD_FILE, "is a file");
  REFUSED(sslc_train(p, &(sslc_training){.directory = in_folder("file/below")}), SSLC_BAD_FILE, "file/below");
  sslc_free(p);
}

/* -- representations -------------------------------------------------------------------------------------------- */

static void features_do_not_depend_on_their_neighbours(void **state) {
  (void)state;
  sslc_program *p = compile();
  enum { N = 259, SAMPLE = 3 * 6 * 6 };
  unsigned char *images = malloc(N * SAMPLE);
  float *all = calloc(N * 5, sizeof *all), one[5];
  for (int i = 0; i < N * SAMPLE; i++) images[i] = (unsigned char)(i * 89 % 253);
  MUST(sslc_features(p, 0, images, N, all));
  for (int i = 0; i < N; i += 43) {
    MUST(sslc_features(p, 0, images + i * SAMPLE, 1, one));
    assert_memory_equal(one, all + i * 5, sizeof one);
  }
  MUST(sslc_run(p, 1));
  MUST(sslc_features(p, 0, images, 1, one)); /* of the new weights */
  assert_memory_not_equal(one, all, sizeof one);
  REFUSED(sslc_features(p, 1, images, 1, one), SSLC_BAD_CALL, "number 1");
  free(images);
  free(all);
  sslc_free(p);
}

static void evaluation_gives_scores_and_changes_nothing(void **state) {
  (void)state;
  sslc_program *p = compile();
  size_t n, bytes;
  const sslc_score *scores;
  char *before = all_states(p, &bytes);
  MUST(sslc_evaluate(p, NULL, &scores, &n));
  assert_int_equal(n, 2);
  assert_string_equal(scores[0].features, "f(img)");
  assert_string_equal(scores[0].protocol, "knn");
  assert_string_equal(scores[0].measure, "top1");
  for (size_t i = 0; i < n; i++) assert_true(scores[i].value >= 0 && scores[i].value <= 1);
  same_states(p, before, bytes);
  free(before);
  sslc_free(p);
}

static void data_may_be_the_callers(void **state) {
  (void)state;
  static const char text[] = "data mine = memory(\"mine\")\nencoder e(n)(x: f32[N, D]) = x |> linear(n)\nmodel f = e(3)\n"
                             "pretext p(x) { minimize mean(f(x) ** 2) }\n"
                             "train p { data: mine.train, batch: 3, epochs: 2, optimizer: sgd(lr: 0.1) }\n";
  static const float values[7][2] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 1}, {2, 3}, {4, 5}};
  sslc_array x = {.data = "mine", .split = "train", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {2}, .count = 7, .values = values};
  sslc_options o = {.arrays = &x, .n_arrays = 1, .cache = in_folder("cache")};
  sslc_program *p;
  sslc_facts f;
  MUST(sslc_compile_text(text, "mine.ssl", &o, &p));
  MUST(sslc_train(p, NULL));
  MUST(sslc_get_facts(p, &f));
  assert_int_equal(f.step, 4);
  sslc_free(p);
  x.data = "yours";
  REFUSED(sslc_compile_text(text, "mine.ssl", &o, &p), SSLC_BAD_PROGRAM, "no array of that name");
  sslc_free(p);
  x = (sslc_array){.data = "mine", .split = "train", .field = "x", .type = SSLC_I32, .classes = 4, .count = 2, .values = (int32_t[]){3, 4}};
  REFUSED(sslc_compile_text(text, "mine.ssl", &o, &p), SSLC_BAD_PROGRAM, "label 1 is 4");
  sslc_free(p);
  x.rank = 8;
  REFUSED(sslc_compile_text(text, "mine.ssl", &o, &p), SSLC_BAD_CALL, "dimensions");
  sslc_free(p);
  x.values = NULL;
  REFUSED(sslc_compile_text(text, "mine.ssl", &o, &p), SSLC_BAD_CALL, "lacks");
  sslc_free(p);
}

static void doubles_and_checked_code_train_too(void **state) {
  (void)state;
  sslc_program *p = compile_with((sslc_options){.real = SSLC_F64, .checked = 1, .threads = 2}, SSLC_OK), *q = compile();
  sslc_tensor t;
  assert_true(sslc_describe(p, SSLC_STATE, 0, &t));
  assert_int_equal(t.type, SSLC_F64);
  MUST(sslc_run(p, 2));
  assert_int_equal(sslc_run(q, 2), SSLC_OK);
  assert_true(fabs(sslc_metric(p, "loss") - sslc_metric(q, "loss")) < 1e-4);
  sslc_free(p);
  sslc_free(q);
}

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char text[64];
  snprintf(text, sizeof text, "rm -r %s", folder);
  return system(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_wrong_program_names_its_places),
      cmocka_unit_test(options_that_make_no_sense_are_refused),
      cmocka_unit_test(a_program_says_what_it_is),
      cmocka_unit_test(own_inputs_train),
      cmocka_unit_test(states_can_be_set_and_made_anew),
      cmocka_unit_test(threads_change_no_bit_and_seeds_do),
      cmocka_unit_test(a_checkpoint_continues_as_if_nothing_was),
      cmocka_unit_test(a_loss_that_is_not_finite_stops_before_it_spoils_states),
      cmocka_unit_test(a_large_step_is_searched_in_memory),
      cmocka_unit_test(training_reports_and_keeps_files),
      cmocka_unit_test(a_collapse_is_an_event_that_may_stop_the_run),
      cmocka_unit_test(a_killed_run_resumes_to_the_same_bits),
      cmocka_unit_test(a_callback_stops_after_a_checkpoint),
      cmocka_unit_test(another_program_cannot_resume),
      cmocka_unit_test(folders_that_cannot_be_written_are_refused),
      cmocka_unit_test(features_do_not_depend_on_their_neighbours),
      cmocka_unit_test(evaluation_gives_scores_and_changes_nothing),
      cmocka_unit_test(data_may_be_the_callers),
      cmocka_unit_test(doubles_and_checked_code_train_too),
  };
  return cmocka_run_group_tests_name("whole/facade", tests, make_folder, remove_folder);
}
