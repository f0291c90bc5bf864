/* Data sets made of data sets: parts that are drawn, and tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/dataset.h"

enum { TRAIN = 300, TEST = 90, CLASSES = 6 };
static int32_t numbers[TRAIN + TEST], labels[TRAIN + TEST];

/* Sample i holds its own number and has class i % 6, but for class 5, which has a tenth of its samples: the others are of class 0. */
static dataset *numbered(void) {
  for (int32_t i = 0; i < TRAIN + TEST; i++) {
    numbers[i] = i;
    labels[i] = i % CLASSES;
    if (labels[i] == 5 && i % 60 != 5) labels[i] = 0;
  }
  tensor_type one = make_type(DTYPE_I32, 1, (int64_t[]){1}), label = scalar_type(DTYPE_I32);
  const dataset_array arrays[] = {{"mine", "train", "x", one, TRAIN, 0, numbers},        {"mine", "train", "label", label, TRAIN, CLASSES, labels},
                                  {"mine", "test", "x", one, TEST, 0, numbers + TRAIN}, {"mine", "test", "label", label, TEST, CLASSES, labels + TRAIN}};
  char *error;
  dataset *d = dataset_from_arrays("mine", arrays, 4, &error);
  assert_non_null(d);
  return d;
}

/* `arguments`: the data set is put in front. */
static dataset *derived(const char *source, dataset *of, const char *split, const dataset_argument *arguments, uint32_t n, char **error) {
  dataset_argument all[10] = {{.name = "", .data = of, .split = split}};
  for (uint32_t i = 0; i < n; i++) all[i + 1] = arguments[i];
  return dataset_open(source, all, n + 1, "", error);
}

#define DERIVE(source, of, split, ...) \
  derived(source, of, split, (const dataset_argument[]){__VA_ARGS__}, sizeof((const dataset_argument[]){__VA_ARGS__}) / sizeof(dataset_argument), &(char *){NULL})

#define EXPECT_ERROR(part, source, of, split, ...) \
  expect_error(part, source, of, split, (const dataset_argument[]){__VA_ARGS__}, sizeof((const dataset_argument[]){__VA_ARGS__}) / sizeof(dataset_argument))
static void expect_error(const char *part, const char *source, dataset *of, const char *split, const dataset_argument *arguments, uint32_t n) {
  char *error = NULL;
  assert_null(derived(source, of, split, arguments, n, &error));
  assert_non_null(error);
  if (!strstr(error, part)) fail_msg("\"%s\" does not say \"%s\"", error, part);
  free(error);
}

static int32_t number_of(const dataset *d, const char *split, int64_t i) {
  int32_t x;
  dataset_read(d, split, 0, &i, 1, &x);
  return x;
}

/* Marks the numbers of a split, which must rise; gives how many of each class there are. */
static void collect(const dataset *d, const char *split, uint8_t *seen, int64_t of_class[CLASSES]) {
  int32_t before = -1;
  for (int64_t i = 0; i < dataset_count(d, split); i++) {
    int32_t x = number_of(d, split, i), label;
    dataset_read(d, split, 1, &i, 1, &label);
    assert_true(x > before && x < TRAIN + TEST);
    assert_int_equal(label, labels[x]);
    seen[x]++;
    of_class[label]++;
    before = x;
  }
}

static void a_subset_has_its_share_of_every_class(void **state) {
  (void)state;
  dataset *all = numbered();
  dataset *d = DERIVE("subset", all, "", {"fraction", NULL, 0.05}, {"by", "label"}, {"seed", NULL, 3});
  uint8_t seen[TRAIN + TEST] = {0};
  int64_t of_class[CLASSES] = {0};
  collect(d, "train", seen, of_class);
  const int64_t wanted[] = {5, 3, 3, 3, 3, 1}; /* of 95, 50, 50, 50, 50, 5: of the last one, not a quarter of a sample */
  for (int c = 0; c < CLASSES; c++) assert_int_equal(of_class[c], wanted[c]);
  assert_int_equal(dataset_count(d, "test"), TEST);
  assert_int_equal(number_of(d, "test", 7), TRAIN + 7);
  dataset *again = DERIVE("subset", all, "", {"fraction", NULL, 0.05}, {"by", "label"}, {"seed", NULL, 3});
  dataset *other = DERIVE("subset", all, "", {"fraction", NULL, 0.05}, {"by", "label"}, {"seed", NULL, 4});
  int64_t same = 0, n = dataset_count(d, "train");
  for (int64_t i = 0; i < n; i++) {
    assert_int_equal(number_of(d, "train", i), number_of(again, "train", i));
    same += number_of(d, "train", i) == number_of(other, "train", i);
  }
  assert_true(same < n / 2);
  /* A part of a part, after the whole is given back. */
  dataset *half = DERIVE("subset", d, "train", {"", NULL, 0.5});
  dataset_release(all);
  dataset_release(d);
  memset(of_class, 0, sizeof of_class);
  uint8_t in_half[TRAIN + TEST] = {0};
  collect(half, "train", in_half, of_class);
  assert_int_equal(dataset_count(half, "train"), 9); /* of 18 */
  assert_int_equal(dataset_count(half, "test"), -1);
  for (int i = 0; i < TRAIN + TEST; i++) assert_true(in_half[i] <= seen[i]);
  dataset_release(half);
  dataset_release(again);
  dataset_release(other);
}

static void parts_share_all_samples(void **state) {
  (void)state;
  dataset *all = numbered();
  dataset *d = DERIVE("split", all, "train", {"", NULL, 0.8}, {"", NULL, 0.1}, {"", NULL, 0.1}, {"by", "label"});
  uint8_t seen[TRAIN + TEST] = {0};
  int64_t of_class[CLASSES] = {0}, before;
  collect(d, "train", seen, of_class);
  assert_int_equal(of_class[1], 40);
  before = of_class[1];
  collect(d, "validation", seen, of_class);
  assert_int_equal(of_class[1] - before, 5);
  collect(d, "test", seen, of_class);
  for (int i = 0; i < TRAIN; i++) assert_int_equal(seen[i], 1);
  dataset_release(d);
  d = DERIVE("split", all, "train", {"", NULL, 0.9}, {"", NULL, 0.1}, {"shuffle", NULL, 0});
  assert_int_equal(dataset_count(d, "train"), 270);
  assert_int_equal(number_of(d, "train", 269), 269);
  assert_int_equal(number_of(d, "test", 0), 270);
  dataset_release(d);
  d = DERIVE("split", all, "test", {"", NULL, 0.5});
  assert_int_equal(dataset_count(d, "train"), 45);
  assert_int_equal(dataset_count(d, "test"), -1);
  dataset_release(d);
  dataset_release(all);
}

/* Fields: xs 0, ys 1, xq 2, yq 3. */
static void check_task(const dataset *d, const char *split, int64_t task, int64_t way, int64_t shot, int64_t queries, uint32_t allowed, uint32_t *seen) {
  int32_t xs[way * shot], ys[way * shot], xq[way * queries], yq[way * queries], class_of[way];
  dataset_read(d, split, 0, &task, 1, xs);
  dataset_read(d, split, 1, &task, 1, ys);
  dataset_read(d, split, 2, &task, 1, xq);
  dataset_read(d, split, 3, &task, 1, yq);
  uint8_t used[TRAIN + TEST] = {0};
  uint32_t classes = 0;
  for (int64_t i = 0; i < way * (shot + queries); i++) {
    int32_t x = i < way * shot ? xs[i] : xq[i - way * shot], y = i < way * shot ? ys[i] : yq[i - way * shot];
    assert_in_range(y, 0, way - 1);
    if (i < way * shot) class_of[y] = labels[x];
    assert_int_equal(labels[x], class_of[y]); /* one class for each of the task's labels, in questions too */
    assert_int_equal(x >= TRAIN, !strcmp(split, "test"));
    assert_false(used[x]++);
    classes |= 1u << labels[x];
  }
  assert_int_equal(__builtin_popcount(classes), way);
  assert_int_equal(classes & ~allowed, 0);
  *seen |= classes;
}

static void tasks_are_of_classes_of_their_split(void **state) {
  (void)state;
  dataset *all = numbered();
  EXPECT_ERROR("class 5 has 5 samples in split train; a task takes 7", "few_shot", all, "", {"way", NULL, 2}, {"shot", NULL, 3}, {"queries", NULL, 4},
               {.name = "held_out", .list = (double[]){0, 4}, .n_list = 2});
  const dataset_argument arguments[] = {{"way", NULL, 2}, {"shot", NULL, 3}, {"queries", NULL, 1}, {.name = "held_out", .list = (double[]){0, 4, 2}, .n_list = 3},
                                        {"tasks", NULL, 50}, {"test_tasks", NULL, 20}, {"seed", NULL, 9}};
  char *error;
  dataset *d = derived("few_shot", all, "", arguments, 7, &error);
  if (!d) fail_msg("%s", error);
  assert_int_equal(dataset_count(d, "train"), 50);
  assert_int_equal(dataset_count(d, "test"), 20);
  uint32_t n, seen[2] = {0};
  const dataset_field *fields = dataset_fields(d, &n);
  assert_int_equal(n, 4);
  assert_int_equal(fields[1].classes, 2);
  assert_int_equal(type_elements(&fields[0].type), 6);
  for (int64_t i = 0; i < 50; i++) check_task(d, "train", i, 2, 3, 1, 1u << 1 | 1u << 3 | 1u << 5, &seen[0]);
  for (int64_t i = 0; i < 20; i++) check_task(d, "test", i, 2, 3, 1, 1u << 0 | 1u << 2 | 1u << 4, &seen[1]);
  assert_int_equal(seen[0] | seen[1], 63);
  /* The same task whenever and by whomever it is read; another one beside it. */
  dataset *again = derived("few_shot", all, "", arguments, 7, &error);
  int32_t a[3][6];
  dataset_read(d, "train", 0, (int64_t[]){7, 31}, 2, a);
  dataset_read(again, "train", 0, (int64_t[]){31}, 1, a[2]);
  assert_memory_equal(a[1], a[2], sizeof a[1]);
  assert_memory_not_equal(a[0], a[1], sizeof a[1]);
  dataset_release(all);
  dataset_release(d);
  dataset_release(again);
}

/* All samples of a class, in an order that is as likely as any other: each is in front about equally often. */
static void a_draw_takes_every_sample(void **state) {
  (void)state;
  dataset *all = numbered(), *d = DERIVE("few_shot", all, "train", {"way", NULL, 1}, {"shot", NULL, 1}, {"queries", NULL, 4}, {.name = "held_out", .list = (double[]){0, 1, 2, 3, 4}, .n_list = 5},
                                         {"tasks", NULL, 1000});
  int64_t first[5] = {0};
  assert_non_null(d);
  for (int64_t i = 0; i < 1000; i++) first[number_of(d, "train", i) / 60]++; /* class 5 has the numbers 5, 65, 125, 185, 245 */
  for (int k = 0; k < 5; k++) assert_in_range(first[k], 150, 250);
  dataset_release(d);
  dataset_release(all);
}

static void what_cannot_be_is_said(void **state) {
  (void)state;
  dataset *all = numbered();
  EXPECT_ERROR("subset wants a fraction", "subset", all, "train", {"seed", NULL, 1});
  EXPECT_ERROR("a number above 0, at most 1", "subset", all, "train", {"fraction", NULL, 1.5});
  EXPECT_ERROR("wants the field of labels: by: label", "subset", all, "train", {"fraction", NULL, 0.5}, {"by", "x"});
  EXPECT_ERROR("say which one to divide, as in split(d.train", "split", all, "", {"", NULL, 0.5});
  EXPECT_ERROR("add up to 1.2", "split", all, "train", {"", NULL, 0.9}, {"", NULL, 0.3});
  EXPECT_ERROR("one to 3 fractions", "split", all, "train", {"shuffle", NULL, 0});
  EXPECT_ERROR("leaves no sample for test", "split", all, "train", {"", NULL, 0.9999}, {"", NULL, 0.0001});
  EXPECT_ERROR("training tasks have 3 of the 6 classes; way: 5", "few_shot", all, "", {"queries", NULL, 1});
  EXPECT_ERROR("lists classes from 0 to 5, each once; got 6", "few_shot", all, "", {.name = "held_out", .list = (double[]){6}, .n_list = 1});
  EXPECT_ERROR("whole number from 1 to 5", "few_shot", all, "", {"held_out", NULL, 6});
  char *error = NULL;
  assert_null(dataset_open("subset", (dataset_argument[]){{"", "mine", 0}, {"fraction", NULL, 0.5}}, 2, "", &error));
  assert_non_null(strstr(error, "subset wants a data set first"));
  free(error);
  dataset_release(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_subset_has_its_share_of_every_class), cmocka_unit_test(parts_share_all_samples), cmocka_unit_test(tasks_are_of_classes_of_their_split),
      cmocka_unit_test(a_draw_takes_every_sample),             cmocka_unit_test(what_cannot_be_is_said),
  };
  return cmocka_run_group_tests_name("runtime/derived_data", tests, NULL, NULL);
}
