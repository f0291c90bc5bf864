/* The order of samples, and that reading ahead changes nothing of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/loader.h"
#include "runtime/sampler.h"

/* -- order ----------------------------------------------------------------------------------------------- */

static void every_sample_comes_once(void **state) {
  (void)state;
  for (int64_t n = 0; n < 70; n++) {
    int64_t order[70];
    int seen[70] = {0};
    sampler_permutation(7, n, n, order);
    for (int64_t i = 0; i < n; i++) {
      assert_in_range(order[i], 0, n - 1);
      seen[order[i]]++;
    }
    for (int64_t i = 0; i < n; i++) assert_int_equal(seen[i], 1);
  }
}

/* Written down once: no machine may see another order. */
static void order_is_the_same_everywhere(void **state) {
  (void)state;
  static const int64_t expected[2][8] = {{1, 0, 4, 5, 2, 3, 7, 6}, {2, 6, 0, 4, 3, 5, 1, 7}};
  int64_t order[8];
  for (int epoch = 0; epoch < 2; epoch++) {
    sampler_permutation(0x123456789ABCDEF0, epoch, 8, order);
    assert_memory_equal(order, expected[epoch], sizeof order);
  }
}

/* Each of the 24 orders of four in 4,800 epochs: 200 each, deviation 14. */
static void orders_are_uniform(void **state) {
  (void)state;
  int count[256] = {0}, kinds = 0;
  for (int64_t epoch = 0; epoch < 4800; epoch++) {
    int64_t order[4];
    sampler_permutation(3, epoch, 4, order);
    count[order[0] * 64 + order[1] * 16 + order[2] * 4 + order[3]]++;
  }
  for (int i = 0; i < 256; i++) {
    if (!count[i]) continue;
    kinds++;
    assert_in_range(count[i], 130, 270);
  }
  assert_int_equal(kinds, 24);
}

static void seeds_and_epochs_differ(void **state) {
  (void)state;
  enum { N = 50 };
  int64_t a[N], b[N];
  sampler_permutation(1, 0, N, a);
  sampler_permutation(1, 1, N, b);
  assert_memory_not_equal(a, b, sizeof a);
  sampler_permutation(2, 0, N, b);
  assert_memory_not_equal(a, b, sizeof a);
  sampler_permutation(1 | 1ull << 32, 0, N, b);
  assert_memory_not_equal(a, b, sizeof a);
  sampler_permutation(1, 1ll << 32, N, b);
  assert_memory_not_equal(a, b, sizeof a);
}

static void batches_drop_the_rest(void **state) {
  (void)state;
  char *error;
  int64_t order[10];
  sampler *s = sampler_new(5, 10, 3, &error);
  assert_int_equal(sampler_steps_per_epoch(s), 3);
  for (int64_t step = 6; step >= 0; step--) { /* backwards: any step at any time */
    sampler_permutation(5, step / 3, 10, order);
    assert_memory_equal(sampler_batch(s, step), order + step % 3 * 3, 3 * sizeof *order);
  }
  sampler_free(s);
  assert_null(sampler_new(5, 10, 11, &error));
  assert_non_null(strstr(error, "batch of 11 cannot be filled from 10 samples"));
  free(error);
  assert_null(sampler_new(5, 10, 0, &error));
  free(error);
}

/* -- reading ahead --------------------------------------------------------------------------------------- */

enum { SAMPLES = 37, SIZE = 5, PIXELS = 3 * SIZE * SIZE };

static dataset *data;
static int open_data(void **state) {
  (void)state;
  dataset_argument arguments[] = {{"count", NULL, SAMPLES}, {"size", NULL, SIZE}};
  char *error;
  return (data = dataset_open("shapes", arguments, 2, "", &error)) ? 0 : -1;
}
static int close_data(void **state) {
  (void)state;
  dataset_release(data);
  return 0;
}

static loader *start(loader_request r) {
  char *error;
  r.data = data;
  if (!r.split) r.split = "train";
  loader *l = loader_new(&r, &error);
  if (!l) fail_msg("%s", error);
  return l;
}

/* Fields hold what the data set has at `index`. */
static void check_batch(const loader_batch *b, int64_t n, const int64_t *index) {
  unsigned char *pixels = malloc((size_t)(n * PIXELS));
  int32_t *labels = malloc((size_t)n * sizeof *labels);
  assert_memory_equal(b->index, index, (size_t)n * sizeof *index);
  dataset_read(data, "train", 0, index, n, pixels);
  dataset_read(data, "train", 1, index, n, labels);
  assert_memory_equal(b->fields[0], pixels, (size_t)(n * PIXELS));
  assert_memory_equal(b->fields[1], labels, (size_t)n * sizeof *labels);
  free(pixels);
  free(labels);
}

static void steps_come_in_the_samplers_order(void **state) {
  (void)state;
  char *error;
  sampler *s = sampler_new(11, SAMPLES, 4, &error);
  for (int64_t first = 0; first < 25; first += 8) { /* resumed anywhere */
    loader *l = start((loader_request){.batch = 4, .seed = 11, .first_step = first});
    assert_int_equal(loader_steps(l), 9);
    for (int64_t step = first; step < first + 30; step++) {
      const loader_batch *b = loader_next(l);
      assert_int_equal(b->step, step);
      assert_int_equal(b->valid, 4);
      check_batch(b, 4, sampler_batch(s, step));
    }
    loader_free(l);
  }
  sampler_free(s);
}

static void a_batch_stays_while_it_is_used(void **state) {
  (void)state;
  char *error;
  sampler *s = sampler_new(1, SAMPLES, 8, &error);
  loader *l = start((loader_request){.batch = 8, .seed = 1});
  for (int64_t step = 0; step < 6; step++) {
    const loader_batch *b = loader_next(l);
    usleep(3000); /* the thread reads ahead as far as it may */
    check_batch(b, 8, sampler_batch(s, step));
  }
  loader_free(l);
  sampler_free(s);
}

static void a_pass_in_order_pads_its_end(void **state) {
  (void)state;
  for (int64_t count = 0; count <= 40; count += 10)
    for (int64_t batch = 1; batch < 41; batch += 3) {
      int64_t n = count && count < SAMPLES ? count : SAMPLES, steps = (n + batch - 1) / batch, index[41];
      loader *l = start((loader_request){.batch = batch, .in_order = true, .count = count});
      assert_int_equal(loader_steps(l), steps);
      for (int64_t step = 0; step < steps; step++) {
        const loader_batch *b = loader_next(l);
        assert_int_equal(b->step, step);
        assert_int_equal(b->valid, n - step * batch < batch ? n - step * batch : batch);
        for (int64_t i = 0; i < batch; i++) index[i] = step * batch + i < n ? step * batch + i : n - 1;
        check_batch(b, batch, index);
      }
      assert_null(loader_next(l));
      assert_null(loader_next(l));
      loader_free(l);
    }
}

static void it_can_be_stopped_anywhere(void **state) {
  (void)state;
  for (int i = 0; i < 300; i++) {
    loader *l = start((loader_request){.batch = 1 + i % 7, .seed = (uint64_t)i, .in_order = i % 2});
    for (int taken = 0; taken < i % 5; taken++) loader_next(l);
    if (i % 50 == 0) usleep(2000);
    loader_free(l);
  }
}

static void expect_error(loader_request r, const char *part) {
  char *error;
  r.data = data;
  assert_null(loader_new(&r, &error));
  if (!error || !strstr(error, part)) fail_msg("\"%s\" does not say \"%s\"", error, part);
  free(error);
}

static void what_cannot_be_read_is_refused(void **state) {
  (void)state;
  expect_error((loader_request){.split = "other", .batch = 4}, "no split \"other\"");
  expect_error((loader_request){.split = "train", .batch = 38}, "choose a batch from 1 to 37");
  expect_error((loader_request){.split = "train", .batch = 0, .in_order = true}, "make no sense");
  expect_error((loader_request){.split = "train", .batch = 4, .first_step = -1}, "make no sense");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_sample_comes_once),
      cmocka_unit_test(order_is_the_same_everywhere),
      cmocka_unit_test(orders_are_uniform),
      cmocka_unit_test(seeds_and_epochs_differ),
      cmocka_unit_test(batches_drop_the_rest),
      cmocka_unit_test(steps_come_in_the_samplers_order),
      cmocka_unit_test(a_batch_stays_while_it_is_used),
      cmocka_unit_test(a_pass_in_order_pads_its_end),
      cmocka_unit_test(it_can_be_stopped_anywhere),
      cmocka_unit_test(what_cannot_be_read_is_refused),
  };
  return cmocka_run_group_tests_name("runtime/loader", tests, open_data, close_data);
}
