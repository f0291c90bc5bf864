/* Judging against plain rewrites of the definitions, and on problems whose answers are known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/judge_internal.h"
#include "runtime/lbfgs.h"
#include "runtime/neighbours.h"
#include "runtime/product.h"

/* Uniform in [-1, 1). */
static uint64_t noise_state;
static float noise(void) {
  noise_state = noise_state * 6364136223846793005u + 1442695040888963407u;
  return (float)(int32_t)(noise_state >> 32) / 2147483648.0f;
}

/* n samples around one centre a class; distance 0: features know nothing of labels. */
static feature_set make_blobs(int64_t n, int64_t dims, int64_t classes, float distance) {
  float *features = malloc((size_t)(n * dims) * sizeof *features);
  int32_t *labels = malloc((size_t)n * sizeof *labels);
  for (int64_t i = 0; i < n; i++) {
    labels[i] = (int32_t)((noise() + 1) / 2 * (float)classes);
    for (int64_t d = 0; d < dims; d++) features[i * dims + d] = noise() + (d % classes == labels[i] ? distance : 0);
  }
  return (feature_set){features, labels, n};
}

static void free_set(feature_set s) {
  free((void *)s.features);
  free((void *)s.labels);
}

static thread_pool *pool;
static int make_pool(void **state) {
  (void)state;
  noise_state = 1;
  return (pool = thread_pool_new(2)) ? 0 : -1;
}
static int free_pool(void **state) {
  (void)state;
  thread_pool_free(pool);
  return 0;
}

/* -- tiles ----------------------------------------------------------------------------------------------- */

static void tiles_are_sums_in_order(void **state) {
  (void)state;
  enum { OUT = TILE_LANES + 3 };
  for (int64_t n = 0; n < 25; n++) {
    float left[25 * TILE_ROWS], panel[25 * TILE_LANES], out[TILE_ROWS * OUT];
    for (int i = 0; i < 25 * TILE_ROWS; i++) left[i] = noise();
    for (int i = 0; i < 25 * TILE_LANES; i++) panel[i] = noise();
    product_tile(left, panel, n, out, OUT);
    for (int r = 0; r < TILE_ROWS; r++)
      for (int l = 0; l < TILE_LANES; l++) {
        float sum = 0;
        for (int64_t k = 0; k < n; k++) sum = fmaf(left[k * TILE_ROWS + r], panel[k * TILE_LANES + l], sum);
        assert_true(out[r * OUT + l] == sum);
      }
  }
}

static void narrow_tiles_are_sums_of_bf16(void **state) {
  (void)state;
  for (int64_t pairs = 0; pairs < 25; pairs++) {
    uint16_t left[25 * TILE_ROWS * 2], panel[25 * TILE_LANES * 2];
    float first[TILE_LANES], out[TILE_ROWS * TILE_LANES];
    /* 1, -1, 2, -2, 0.5, 0 and so on: sums are exact in any order */
    static const uint16_t numbers[] = {0x3f80, 0xbf80, 0x4000, 0xc000, 0x3f00, 0, 0x3f80, 0x4040};
    for (int i = 0; i < TILE_LANES; i++) first[i] = (float)(int)(noise() * 8);
    for (int64_t i = 0; i < pairs * TILE_ROWS * 2; i++) left[i] = numbers[(int)((noise() + 1) * 3.99f)];
    for (int64_t i = 0; i < pairs * TILE_LANES * 2; i++) panel[i] = numbers[(int)((noise() + 1) * 3.99f)];
    product_tile_narrow(left, panel, pairs, first, out);
    for (int r = 0; r < TILE_ROWS; r++)
      for (int l = 0; l < TILE_LANES; l++) {
        float sum = first[l];
        for (int64_t k = 0; k < 2 * pairs; k++) {
          const uint32_t a = (uint32_t)left[(k / 2 * TILE_ROWS + r) * 2 + k % 2] << 16, b = (uint32_t)panel[(k / 2 * TILE_LANES + l) * 2 + k % 2] << 16;
          float x, y;
          memcpy(&x, &a, sizeof x);
          memcpy(&y, &b, sizeof y);
          sum += x * y;
        }
        assert_true(out[r * TILE_LANES + l] == sum);
      }
  }
}

/* -- nearest neighbours ---------------------------------------------------------------------------------- */

static double cosine(const float *a, const float *b, int64_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < n; i++) {
    ab += (double)a[i] * b[i];
    aa += (double)a[i] * a[i];
    bb += (double)b[i] * b[i];
  }
  return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* The definition: k times the nearest that has not voted. */
static judgement vote_plainly(const judge_task *t, int64_t k, double temperature) {
  int64_t right1 = 0, right5 = 0;
  for (int64_t i = 0; i < t->test->n; i++) {
    double *votes = calloc((size_t)t->classes, sizeof *votes);
    bool *voted = calloc((size_t)t->train->n, sizeof *voted);
    for (int64_t turn = 0; turn < k && turn < t->train->n; turn++) {
      int64_t nearest = -1;
      double best = -2;
      for (int64_t j = 0; j < t->train->n; j++) {
        double s = cosine(t->test->features + i * t->dims, t->train->features + j * t->dims, t->dims);
        if (!voted[j] && s > best) best = s, nearest = j;
      }
      voted[nearest] = true;
      votes[t->train->labels[nearest]] += exp(best / temperature);
    }
    int64_t rank = judge_rank(votes, t->classes, t->test->labels[i]);
    right1 += rank < 1;
    right5 += rank < 5;
    free(votes);
    free(voted);
  }
  return (judgement){(double)right1 / (double)t->test->n, (double)right5 / (double)t->test->n};
}

static judgement knn(const judge_task *t, int64_t k, double temperature) {
  char *error;
  judgement j;
  if (!judge_knn(pool, t, &(knn_options){k, temperature}, &j, &error)) fail_msg("%s", error);
  return j;
}

static void neighbours_vote_as_defined(void **state) {
  (void)state;
  static const struct {
    int64_t train, test, dims, classes, k;
  } sizes[] = {{1, 1, 1, 1, 1}, {7, 3, 2, 3, 20}, {70, 37, 13, 5, 7}, {129, 65, 16, 7, 1}, {200, 130, 9, 11, 64}, {331, 300, 37, 11, 20}, {500, 5, 16384, 4, 3}}; /* the last: several spans of panels */
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    feature_set train = make_blobs(sizes[i].train, sizes[i].dims, sizes[i].classes, 0.5f),
                test = make_blobs(sizes[i].test, sizes[i].dims, sizes[i].classes, 0.5f);
    judge_task t = {&train, &test, sizes[i].dims, sizes[i].classes};
    judgement expected = vote_plainly(&t, sizes[i].k, 0.1), found = knn(&t, sizes[i].k, 0.1);
    assert_true(found.top1 == expected.top1 && found.top5 == expected.top5);
    assert_true(knn(&t, 0, 0).top1 == vote_plainly(&t, 20, 0.1).top1);
    free_set(train);
    free_set(test);
  }
}

/* So many neighbours that not all test samples are at hand together: as if parts had been judged one by one. */
static void rows_are_judged_in_any_company(void **state) {
  (void)state;
  enum { ROWS = 2000, PART = 250, K = 2100 };
  feature_set train = make_blobs(K, 4, 5, 0.5f), test = make_blobs(ROWS, 4, 5, 0.5f);
  judge_task t = {&train, &test, 4, 5};
  const judgement whole = knn(&t, K, 0.1);
  double right = 0;
  for (int64_t first = 0; first < ROWS; first += PART) {
    const feature_set part = {test.features + first * 4, test.labels + first, PART};
    right += knn(&(judge_task){&train, &part, 4, 5}, K, 0.1).top1 * PART;
  }
  assert_true(fabs(whole.top1 * ROWS - right) < 1e-6);
  free_set(train);
  free_set(test);
}

/* Far from each other, nearly or wholly alike, many times the same, all zeros among them. */
static void ways_find_the_same_neighbours(void **state) {
  (void)state;
  static const struct {
    int64_t train, test, dims, k;
    float distance, common, noise; /* between classes; what all share; of its own */
    int64_t distinct;              /* 0: all */
  } cases[] = {{3000, 301, 64, 20, 0.5f, 0, 1, 0},  {3000, 100, 513, 5, 0, 0, 1, 0},   {1500, 70, 33, 1, 0.5f, 100, 1, 0},  {2000, 300, 48, 20, 0, 1, 1e-4f, 0},
               {2000, 270, 16, 20, 0.5f, 0, 1, 60}, {700, 30, 8, 20, 0, 1, 0, 0},      {700, 290, 1, 7, 0, 0, 1, 0},        {1000, 260, 24, 10, 0.5f, 0, 1, 999}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const int64_t dims = cases[i].dims, k = cases[i].k, rows = cases[i].test, n = cases[i].train;
    feature_set train = make_blobs(n, dims, 10, cases[i].distance), test = make_blobs(rows, dims, 10, cases[i].distance);
    for (int64_t j = 0; j < n * dims; j++) ((float *)train.features)[j] = cases[i].common + cases[i].noise * train.features[j];
    for (int64_t j = 0; j < rows * dims; j++) ((float *)test.features)[j] = cases[i].common + cases[i].noise * test.features[j];
    if (cases[i].distinct)
      for (int64_t j = cases[i].distinct; j < n; j++) memcpy((float *)train.features + j * dims, train.features + j % cases[i].distinct * dims, (size_t)dims * sizeof(float));
    if (cases[i].distinct) memset((float *)train.features, 0, (size_t)dims * sizeof(float)), memset((float *)test.features, 0, (size_t)dims * sizeof(float));
    judge_task t = {&train, &test, dims, 10};
    neighbour *wide = calloc((size_t)(rows * k), sizeof *wide), *narrow = calloc((size_t)(rows * k), sizeof *narrow);
    assert_true(neighbours_find(pool, &t, k, NEIGHBOURS_WIDE, wide));
    assert_true(neighbours_find(pool, &t, k, NEIGHBOURS_NARROW, narrow));
    for (int64_t j = 0; j < rows * k; j++)
      if (wide[j].train != narrow[j].train || wide[j].similarity != narrow[j].similarity)
        fail_msg("case %zu, row %lld, neighbour %lld: %lld of %.9g, and %lld of %.9g", i, (long long)(j / k), (long long)(j % k), (long long)wide[j].train, wide[j].similarity,
                 (long long)narrow[j].train, narrow[j].similarity);
    free(wide);
    free(narrow);
    free_set(train);
    free_set(test);
  }
}

static void random_features_give_chance(void **state) {
  (void)state;
  feature_set train = make_blobs(2000, 16, 10, 0), test = make_blobs(1000, 16, 10, 0);
  judge_task t = {&train, &test, 16, 10};
  judgement j = knn(&t, 20, 0.1);
  assert_true(j.top1 > 0.06 && j.top1 < 0.14);
  assert_true(j.top5 > 0.42 && j.top5 < 0.58);
  probe_result r;
  char *error;
  assert_true(judge_linear_probe(pool, &t, NULL, &r, &error));
  assert_true(r.test.top1 > 0.06 && r.test.top1 < 0.14);
  free_set(train);
  free_set(test);
}

/* All similar alike: the first k vote, and of equal votes the lower class wins. */
static void equal_features_are_decided_by_order(void **state) {
  (void)state;
  float same[12] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2}, zero[12] = {0};
  int32_t labels[6] = {3, 2, 3, 2, 1, 1}, wanted2[1] = {2}, wanted3[1] = {3};
  for (int z = 0; z < 2; z++) {
    feature_set train = {z ? zero : same, labels, 6}, test2 = {z ? zero : same, wanted2, 1}, test3 = {z ? zero : same, wanted3, 1};
    judge_task two = {&train, &test2, 2, 4}, three = {&train, &test3, 2, 4};
    assert_true(knn(&two, 4, 0.1).top1 == 1);   /* 3 2 3 2 */
    assert_true(knn(&three, 3, 0.1).top1 == 1); /* 3 2 3 */
    assert_true(knn(&three, 4, 0.1).top1 == 0);
    assert_true(knn(&three, 4, 1e-9).top5 == 1);
    probe_result r;
    char *error;
    assert_true(judge_linear_probe(pool, &two, &(probe_options){.decay = 5}, &r, &error));
    assert_true(fabs(r.loss - log(3)) < 1e-5); /* nothing but the classes' frequencies to learn, and biases do not decay */
  }
}

/* All are opposite: what fills up the last tile is nearer, but nobody's. */
static void padding_does_not_vote(void **state) {
  (void)state;
  float opposite[6] = {-1, -1, -2, -2, -3, -3}, one[2] = {1, 1};
  int32_t labels[8] = {1, 1, 1, 0, 0, 0, 0, 0}, wanted[1] = {1};
  feature_set train = {opposite, labels, 3}, test = {one, wanted, 1};
  assert_true(knn(&(judge_task){&train, &test, 2, 2}, 3, 0.1).top1 == 1);
}

static void threads_change_no_bit(void **state) {
  (void)state;
  feature_set train = make_blobs(1500, 19, 6, 0.5f), test = make_blobs(301, 19, 6, 0.5f);
  judge_task t = {&train, &test, 19, 6};
  judgement first = {0};
  probe_result first_probe = {0};
  for (unsigned threads = 1; threads <= 4; threads++) {
    thread_pool *p = thread_pool_new(threads);
    char *error;
    judgement j;
    probe_result r;
    memset(&r, 0, sizeof r);
    assert_true(judge_knn(p, &t, NULL, &j, &error));
    assert_true(judge_linear_probe(p, &t, NULL, &r, &error));
    if (threads == 1) first = j, first_probe = r;
    assert_memory_equal(&j, &first, sizeof j);
    assert_memory_equal(&r, &first_probe, sizeof r);
    thread_pool_free(p);
  }
  assert_true(first.top1 > 0.3);
  free_set(train);
  free_set(test);
}

static void expect_error(const judge_task *t, const char *part) {
  judgement j;
  probe_result r;
  char *error;
  assert_false(judge_knn(pool, t, NULL, &j, &error));
  if (!error || !strstr(error, part)) fail_msg("\"%s\" does not say \"%s\"", error, part);
  free(error);
  assert_false(judge_linear_probe(pool, t, NULL, &r, &error));
  if (!error || !strstr(error, part)) fail_msg("\"%s\" does not say \"%s\"", error, part);
  free(error);
}

static void what_makes_no_sense_is_refused(void **state) {
  (void)state;
  float good[4] = {1, 2, 3, 4}, nan[4] = {1, 2, 3, NAN}, infinite[4] = {-INFINITY, 2, 3, 4};
  int32_t labels[2] = {0, 1}, wrong[2] = {0, 2}, negative[2] = {-1, 0};
  feature_set sound = {good, labels, 2}, with_nan = {nan, labels, 2}, with_infinity = {infinite, labels, 2}, empty = {good, labels, 0},
              with_wrong = {good, wrong, 2}, with_negative = {good, negative, 2};
  expect_error(&(judge_task){&sound, &with_nan, 2, 2}, "feature 1 of test sample 1 is not a number");
  expect_error(&(judge_task){&with_infinity, &sound, 2, 2}, "feature 0 of train sample 0 is infinite");
  expect_error(&(judge_task){&with_wrong, &sound, 2, 2}, "label 2 of train sample 1 is outside 0 to 1");
  expect_error(&(judge_task){&sound, &with_negative, 2, 2}, "label -1 of test sample 0");
  expect_error(&(judge_task){&empty, &sound, 2, 2}, "train set is empty");
  expect_error(&(judge_task){&sound, &sound, 0, 2}, "cannot be judged");
  expect_error(&(judge_task){&sound, &sound, 2, 0}, "0 classes");
  judge_task t = {&sound, &sound, 2, 2};
  judgement j;
  probe_result r;
  char *error;
  assert_false(judge_knn(pool, &t, &(knn_options){.k = -1}, &j, &error));
  free(error);
  assert_false(judge_knn(pool, &t, &(knn_options){.temperature = NAN}, &j, &error));
  free(error);
  assert_false(judge_linear_probe(pool, &t, &(probe_options){.epochs = -1}, &r, &error));
  free(error);
}

/* -- minimising ------------------------------------------------------------------------------------------ */

static double rosenbrock(void *context, const double *x, double *gradient) {
  double a = 1 - x[0], b = x[1] - x[0] * x[0];
  ++*(int *)context;
  gradient[0] = -2 * a - 400 * x[0] * b;
  gradient[1] = 200 * b;
  return a * a + 100 * b * b;
}

static void minima_are_found(void **state) {
  (void)state;
  double x[2] = {-1.2, 1};
  int calls = 0;
  lbfgs_result r;
  assert_true(lbfgs_minimise(rosenbrock, &calls, 2, x, 200, 1e-9, &r));
  assert_true(fabs(x[0] - 1) < 1e-8 && fabs(x[1] - 1) < 1e-8 && r.gradient <= 1e-9);
  assert_int_equal(r.evaluations, calls);
  assert_true(calls < 55); /* 45; without the right scale of the first guess at the Hessian, many more */
  double y[2] = {-1.2, 1};
  calls = 0;
  assert_true(lbfgs_minimise(rosenbrock, &calls, 2, y, 7, 1e-9, &r));
  assert_int_equal(calls, 7);
  double found[2];
  assert_true(r.value == rosenbrock(&calls, y, found) && r.value < 24.2);
}

/* -- linear probe ---------------------------------------------------------------------------------------- */

static void gradient_is_the_slope(void **state) {
  (void)state;
  enum { N = 1100, DIMS = 11, CLASSES = 6, UNKNOWNS = (DIMS + 1) * CLASSES };
  feature_set set = make_blobs(N, DIMS, CLASSES, 0.5f);
  double mean[DIMS] = {0}, scale[DIMS], w[UNKNOWNS], gradient[UNKNOWNS];
  for (int i = 0; i < DIMS; i++) scale[i] = 1;
  for (int i = 0; i < UNKNOWNS; i++) w[i] = (float)noise();
  probe_problem p;
  assert_true(probe_problem_make(&p, pool, &set, DIMS, CLASSES, 0.3, mean, scale));
  probe_loss(&p, w, gradient);
  for (int i = 0; i < UNKNOWNS; i++) {
    const double h = 1.0 / 64;
    double at = w[i];
    w[i] = at + h;
    double above = probe_loss(&p, w, NULL);
    w[i] = at - h;
    double below = probe_loss(&p, w, NULL);
    w[i] = at;
    assert_true(fabs((above - below) / (2 * h) - gradient[i]) < 1e-5 + 1e-4 * fabs(gradient[i]));
  }
  probe_problem_free(&p);
  free_set(set);
}

static void separable_blobs_are_separated(void **state) {
  (void)state;
  feature_set train = make_blobs(999, 20, 10, 4), test = make_blobs(333, 20, 10, 4);
  judge_task t = {&train, &test, 20, 10};
  probe_result r;
  char *error;
  assert_true(judge_linear_probe(pool, &t, NULL, &r, &error));
  assert_true(r.test.top1 == 1 && r.test.top5 == 1 && r.train_top1 == 1);
  assert_true(r.gradient <= 1e-5 && r.epochs < 300);
  assert_true(knn(&t, 20, 0.1).top1 == 1);
  free_set(train);
  free_set(test);
}

/* One feature of two values, three labels of four agree with it: the optimum is the entropy of 1/4, wherever
 * the feature's zero is and whatever its unit. */
static void optimum_of_a_closed_problem(void **state) {
  (void)state;
  float x[2 * 8];
  int32_t labels[8];
  for (int i = 0; i < 8; i++) {
    x[2 * i] = i < 4 ? 1000.25f : 1000.75f;
    x[2 * i + 1] = 7.1f; /* says nothing */
    labels[i] = i % 4 ? i < 4 : i >= 4;
  }
  feature_set set = {x, labels, 8};
  judge_task t = {&set, &set, 2, 2};
  probe_result r;
  char *error;
  assert_true(judge_linear_probe(pool, &t, &(probe_options){.decay = -1}, &r, &error));
  assert_true(fabs(r.loss + 0.25 * log(0.25) + 0.75 * log(0.75)) < 1e-7);
  assert_true(r.test.top1 == 0.75 && r.test.top5 == 1);
  /* With decay, weights w and -w at x = +1 and -1: stationary where sigmoid(2 w) - 3/4 + decay w = 0. */
  double w = 0, decay = 0.1;
  for (int i = 0; i < 100; i++) w -= 0.5 * (1 / (1 + exp(-2 * w)) - 0.75 + decay * w);
  double expected = -0.75 * log(1 / (1 + exp(-2 * w))) - 0.25 * log(1 / (1 + exp(2 * w))) + decay * w * w;
  assert_true(judge_linear_probe(pool, &t, &(probe_options){.decay = decay}, &r, &error));
  assert_true(fabs(r.loss - expected) < 1e-7);
}

/* Rounding gives 7.1 a deviation among the train samples; a test sample elsewhere must not be thrown far off by it. */
static void a_constant_feature_says_nothing(void **state) {
  (void)state;
  enum { N = 49 };
  float train[2 * N], test[2 * N];
  int32_t labels[N];
  for (int i = 0; i < N; i++) {
    train[2 * i] = test[2 * i] = (float)i;
    train[2 * i + 1] = 7.1f;
    test[2 * i + 1] = i % 2 ? 9 : 5;
    labels[i] = i > 9;
  }
  feature_set a = {train, labels, N}, b = {test, labels, N};
  probe_result r;
  char *error;
  assert_true(judge_linear_probe(pool, &(judge_task){&a, &b, 2, 2}, NULL, &r, &error));
  assert_true(r.train_top1 > 0.9 && r.test.top1 == r.train_top1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tiles_are_sums_in_order), cmocka_unit_test(narrow_tiles_are_sums_of_bf16), cmocka_unit_test(ways_find_the_same_neighbours),       cmocka_unit_test(neighbours_vote_as_defined),
      cmocka_unit_test(rows_are_judged_in_any_company),
      cmocka_unit_test(random_features_give_chance),   cmocka_unit_test(equal_features_are_decided_by_order),
      cmocka_unit_test(threads_change_no_bit),         cmocka_unit_test(what_makes_no_sense_is_refused),
      cmocka_unit_test(padding_does_not_vote),         cmocka_unit_test(a_constant_feature_says_nothing),
      cmocka_unit_test(minima_are_found),              cmocka_unit_test(gradient_is_the_slope),
      cmocka_unit_test(separable_blobs_are_separated), cmocka_unit_test(optimum_of_a_closed_problem),
  };
  return cmocka_run_group_tests_name("runtime/judge", tests, make_pool, free_pool);
}
