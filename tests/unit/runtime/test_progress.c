/* Figures, lines of progress, and the file of metrics. */
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
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/figures.h"
#include "runtime/metrics.h"
#include "runtime/progress.h"

static void bytes_are_readable(void **state) {
  (void)state;
  assert_string_equal(figure_bytes(0).text, "0 B");
  assert_string_equal(figure_bytes(1023).text, "1023 B");
  assert_string_equal(figure_bytes(1024).text, "1.0 KiB");
  assert_string_equal(figure_bytes(123 << 10).text, "123 KiB");
  assert_string_equal(figure_bytes((1 << 20) - 1).text, "1.0 MiB");
  assert_string_equal(figure_bytes(1288490189).text, "1.2 GiB");
  assert_string_equal(figure_bytes(INT64_MAX).text, "8.0 EiB");
  assert_string_equal(figure_bytes(-2048).text, "-2.0 KiB");
}

static void counts_are_readable(void **state) {
  (void)state;
  assert_string_equal(figure_count(0).text, "0");
  assert_string_equal(figure_count(999).text, "999");
  assert_string_equal(figure_count(1000).text, "1.00 k");
  assert_string_equal(figure_count(9996).text, "10.0 k");
  assert_string_equal(figure_count(999499).text, "999 k");
  assert_string_equal(figure_count(999500).text, "1.00 M");
  assert_string_equal(figure_count(1190000).text, "1.19 M");
  assert_string_equal(figure_count(7000000000).text, "7.00 B");
  assert_string_equal(figure_grouped(0).text, "0");
  assert_string_equal(figure_grouped(123).text, "123");
  assert_string_equal(figure_grouped(1234567).text, "1,234,567");
  assert_string_equal(figure_grouped(-123456).text, "-123,456");
  assert_string_equal(figure_grouped(INT64_MIN).text, "-9,223,372,036,854,775,808");
}

static void durations_are_readable(void **state) {
  (void)state;
  assert_string_equal(figure_duration(0).text, "0:00");
  assert_string_equal(figure_duration(59.6).text, "1:00");
  assert_string_equal(figure_duration(3599.5).text, "1:00:00");
  assert_string_equal(figure_duration(5025).text, "1:23:45");
  assert_string_equal(figure_duration(2 * 86400 + 3 * 3600 + 4 * 60 + 5).text, "2 d 3:04:05");
  assert_string_equal(figure_duration(-1).text, "?");
  assert_string_equal(figure_duration(NAN).text, "?");
  assert_string_equal(figure_duration(INFINITY).text, "?");
}

/* -- lines ----------------------------------------------------------------------------------------------- */

static const progress some = {3, 200, 39, 78, 5.12341, 1234.4, NULL, 5025};

static void expect_bar(const progress *p, int width, const char *expected) {
  char line[256];
  size_t n = progress_bar(p, width, line, sizeof line);
  assert_string_equal(line, expected);
  assert_int_equal(n, strlen(expected));
}

static void bars_fit_their_terminal(void **state) {
  (void)state;
  expect_bar(&some, 200, "epoch 4/200 [====================>                   ] 39/78 loss 5.1234 1,234 img/s 1:23:45 left");
  expect_bar(&some, 67, "epoch 4/200 [=====>    ] 39/78 loss 5.1234 1,234 img/s 1:23:45 left");
  expect_bar(&some, 66, "epoch 4/200 39/78 loss 5.1234 1,234 img/s 1:23:45 left");
  expect_bar(&some, 54, "epoch 4/200 39/78 loss 5.1234 1,234 img/s 1:23:45 left");
  expect_bar(&some, 53, "epoch 4/200 39/78 loss 5.1234 1:23:45 left");
  expect_bar(&some, 41, "epoch 4/200 39/78 loss 5.1234");
  expect_bar(&some, 24, "epoch 4/200 loss 5.1234");
  expect_bar(&some, 22, "epoch 4/200");
  expect_bar(&some, 5, "epoch");
  expect_bar(&some, 0, "");
  expect_bar(&some, -3, "");
  char line[600];
  for (int width = 0; width < 600; width++) assert_true(progress_bar(&some, width, line, sizeof line) <= (size_t)width);
  assert_int_equal(progress_bar(&some, 200, line, 8), 7);
  assert_string_equal(line, "epoch 4");
  assert_int_equal(progress_bar(&some, 200, line, 0), 0);
}

static void what_is_not_known_is_left_out(void **state) {
  (void)state;
  progress p = {0, 1, 0, 0, NAN, 0, NULL, -1};
  expect_bar(&p, 22, "epoch 1/1 0/0");
  p = (progress){0, 1, 5, 5, 1e-7, 2.25, "samples", INFINITY};
  expect_bar(&p, 55, "epoch 1/1 [==========] 5/5 loss 1.000e-07 2.2 samples/s");
  char line[128];
  assert_int_equal(progress_line(&p, line, sizeof line), strlen("epoch 1/1 step 5/5 loss 1.000e-07 2.2 samples/s"));
  assert_string_equal(line, "epoch 1/1 step 5/5 loss 1.000e-07 2.2 samples/s");
  progress_line(&some, line, sizeof line);
  assert_string_equal(line, "epoch 4/200 step 39/78 loss 5.1234 1,234 img/s 1:23:45 left");
  assert_int_equal(progress_line(&some, line, 14), 13);
  assert_string_equal(line, "epoch 4/200 s");
}

static void updates_keep_their_pace(void **state) {
  (void)state;
  progress_pace pace = {.interval = 0.1};
  assert_true(progress_due(&pace, 0));
  assert_false(progress_due(&pace, 0.0625));
  assert_true(progress_due(&pace, 0.125));
  assert_false(progress_due(&pace, 0.1875));
  assert_true(progress_due(&pace, 7));
}

/* -- metrics --------------------------------------------------------------------------------------------- */

static char folder[64], path[96];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/sslc-metrics-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  char command[96];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static void write_text(const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void expect_text(const char *expected) {
  char text[1024] = "";
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  assert_string_equal(text, expected);
}

static metrics_log *open_log(int64_t step) {
  char *error;
  metrics_log *m = metrics_open(path, step, &error);
  if (!m) fail_msg("%s", error);
  return m;
}

static void write_loss(metrics_log *m, int64_t step, double loss) {
  char *error;
  if (!metrics_write(m, step, step / 10, &(metric){"loss", loss}, 1, &error)) fail_msg("%s", error);
}

static void close_log(metrics_log *m) {
  char *error;
  assert_true(metrics_close(m, &error));
}

#define LINE(step) "{\"step\":" #step ",\"epoch\":0,\"loss\":" #step ".5}\n"

static void lines_are_json(void **state) {
  (void)state;
  metrics_log *m = open_log(0);
  char *error;
  metric values[] = {{"loss", (double)0.1f}, {"a \"b\"", -INFINITY}, {"images_per_second", 1e9}};
  assert_true(metrics_write(m, 4000000000, 12, values, 3, &error));
  expect_text("{\"step\":4000000000,\"epoch\":12,\"loss\":0.100000001,\"a \\\"b\\\"\":null,\"images_per_second\":1000000000}\n");
  close_log(m);
}

static void resuming_cuts_what_comes_again(void **state) {
  (void)state;
  metrics_log *m = open_log(0);
  for (int step = 1; step <= 4; step++) write_loss(m, step, step + 0.5);
  close_log(m);
  m = open_log(4);
  expect_text(LINE(1) LINE(2) LINE(3) LINE(4));
  close_log(m);
  m = open_log(2);
  expect_text(LINE(1) LINE(2));
  write_loss(m, 3, 3.5);
  close_log(m);
  expect_text(LINE(1) LINE(2) LINE(3));
  write_text(LINE(1) LINE(2) "{\"step\":3,\"ep");
  m = open_log(9);
  write_loss(m, 3, 3.5);
  close_log(m);
  expect_text(LINE(1) LINE(2) LINE(3));
  write_text(LINE(1) "{\"st");
  close_log(open_log(9));
  expect_text(LINE(1));
  write_text(LINE(0) LINE(1)); /* a new run measures at step 0 itself */
  close_log(open_log(0));
  expect_text("");
}

static void expect_open_error(const char *at, const char *part) {
  char *error;
  assert_null(metrics_open(at, 0, &error));
  if (!error || !strstr(error, part) || !strstr(error, at)) fail_msg("\"%s\" does not say \"%s\"", error, part);
  free(error);
}

static void other_files_are_left_alone(void **state) {
  (void)state;
  write_text("dear diary\n");
  expect_open_error(path, "something other than metrics");
  expect_text("dear diary\n");
  write_text(LINE(1) "dear diary\n");
  char *error;
  assert_null(metrics_open(path, 7, &error));
  free(error);
  expect_text(LINE(1) "dear diary\n");
  expect_open_error("/dev/null", "no regular file");
  expect_open_error(folder, "choose the path of a file");
  char nowhere[128];
  snprintf(nowhere, sizeof nowhere, "%s/none/metrics.jsonl", folder);
  expect_open_error(nowhere, "its folder exists");
}

/* A limit on file sizes fails the second write halfway, as a full disk does. */
static void a_failed_write_leaves_whole_lines(void **state) {
  (void)state;
  struct rlimit old, low;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  metrics_log *m = open_log(0);
  write_loss(m, 1, 1.5);
  low = (struct rlimit){strlen(LINE(1)) + 10, old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  char *error;
  assert_false(metrics_write(m, 2, 0, &(metric){"loss", 2.5}, 1, &error));
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_DFL);
  assert_non_null(strstr(error, path));
  free(error);
  expect_text(LINE(1));
  write_loss(m, 2, 2.5);
  expect_text(LINE(1) LINE(2));
  close_log(m);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_are_readable),
      cmocka_unit_test(counts_are_readable),
      cmocka_unit_test(durations_are_readable),
      cmocka_unit_test(bars_fit_their_terminal),
      cmocka_unit_test(what_is_not_known_is_left_out),
      cmocka_unit_test(updates_keep_their_pace),
      IN_FOLDER(lines_are_json),
      IN_FOLDER(resuming_cuts_what_comes_again),
      IN_FOLDER(other_files_are_left_alone),
      IN_FOLDER(a_failed_write_leaves_whole_lines),
  };
  return cmocka_run_group_tests_name("runtime/progress", tests, NULL, NULL);
}
