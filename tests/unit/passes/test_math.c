/* Expansions of elementary functions against the C library in double, over dense ranges. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/passes/lower_testing.h"

enum { POINTS = 20000 };

/* Evaluates `body` of x and y, elementwise, in lanes. */
static void run_expression(const char *body, const float *x, const float *y, float *out) {
  arena *a = arena_new();
  char text[1000];
  snprintf(text, sizeof text,
           "kernel f {\n  in x : f32[%d]\n  in y : f32[%d]\n  out z : f32[%d]\n  axes i:%d\n"
           "  s[i] : f32 = %s -> z[i]\n}\nschedule { for i/16, i vector }\n",
           POINTS, POINTS, POINTS, POINTS, body);
  const char *error = NULL;
  loops *l = lower_kernel(kernel_of_text(a, text), a, &error);
  if (!l) fail_msg("%s", error);
  if (loops_verify(l, a)) fail_msg("%s", loops_verify(l, a));
  loops_interpret(l, (void *const[]){(void *)(uintptr_t)x, (void *)(uintptr_t)y, out}, a);
  arena_free(a);
}

static double error_of(double got, double want) {
  if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
  if (isinf((float)want) || isinf(got)) return (float)want == (float)got ? 0 : INFINITY;
  double scale = fabs(want) > 0x1p-126 ? fabs(want) : 0x1p-126; /* denormal results: absolute */
  return fabs(got - want) / scale;
}

typedef struct {
  const char *body;
  double (*of)(double);
  double low, high, tolerance;
} range_test;

static void functions_are_accurate(void **state) {
  (void)state;
  const range_test tests[] = {
      {"exp(x[i])", exp, -110, 92, 2e-7},  {"exp(x[i])", exp, -1, 1, 2e-7},
      {"log(x[i])", log, 0, 3, 2e-7},      {"log(x[i])", log, 0.9, 1.1, 2e-7},
      {"log(x[i])", log, 0, 1e-37, 2e-7},  {"log(x[i])", log, 1, 1e38, 2e-7},
      {"tanh(x[i])", tanh, -12, 12, 3e-7}, {"tanh(x[i])", tanh, -1e-3, 1e-3, 2e-7},
      {"erf(x[i])", erf, -5, 5, 4e-7},     {"erf(x[i])", erf, -1e-3, 1e-3, 3e-7},
      {"sin(x[i])", sin, -3, 3, 3e-7},     {"cos(x[i])", cos, -3.5, 3.5, 4e-7},
  };
  static float x[POINTS], y[POINTS];
  for (size_t t = 0; t < sizeof tests / sizeof *tests; t++) {
    for (int i = 0; i < POINTS; i++) x[i] = (float)(tests[t].low + (tests[t].high - tests[t].low) * i / (POINTS - 1));
    run_expression(tests[t].body, x, x, y);
    double worst = 0;
    int at = 0;
    for (int i = 0; i < POINTS; i++) {
      double e = error_of((double)y[i], tests[t].of((double)x[i]));
      if (e > worst) worst = e, at = i;
    }
    if (getenv("SHOW_ERRORS")) printf("%s on %g..%g: %g\n", tests[t].body, tests[t].low, tests[t].high, worst);
    if (!(worst <= tests[t].tolerance))
      fail_msg("%s of %.9g is %.9g, error %g", tests[t].body, (double)x[at], (double)y[at], worst);
  }
}

static double gelu(double x) { return 0.5 * x * erfc(-x * sqrt(0.5)); }
static double gelu_slope(double x) { return 0.5 * erfc(-x * sqrt(0.5)) + x * exp(-0.5 * x * x) * 0.39894228040143268; }

/* What follows is added to numbers near 1, or to x. */
static void gelus_are_as_good_as_their_factors(void **state) {
  (void)state;
  static float x[POINTS], y[POINTS], slope[POINTS];
  for (int i = 0; i < POINTS; i++) x[i] = (float)(-8 + 16.0 * i / (POINTS - 1));
  run_expression("exact_gelu(x[i])", x, x, y);
  run_expression("exact_gelu_slope(x[i])", x, x, slope);
  for (int i = 0; i < POINTS; i++) {
    assert_true(fabs((double)y[i] - gelu((double)x[i])) < 2e-7 * (1 + fabs((double)x[i])));
    assert_true(fabs((double)slope[i] - gelu_slope((double)x[i])) < 2.5e-7);
  }
  const float ends[] = {-1e30f, -50, -6.1f, 6.1f, 50, 1e30f, NAN, 0};
  memcpy(x, ends, sizeof ends);
  run_expression("exact_gelu(x[i])", x, x, y);
  run_expression("exact_gelu_slope(x[i])", x, x, slope);
  for (int i = 0; i < 6; i++) assert_true(y[i] == (i < 3 ? 0 : x[i]) && slope[i] == (i < 3 ? 0 : 1));
  assert_true(isnan(y[6]) && isnan(slope[6]) && y[7] == 0 && slope[7] == 0.5f);
}

/* Near its zeros the error of a sine is judged against 1. */
static void large_angles_are_reduced(void **state) {
  (void)state;
  static float x[POINTS], s[POINTS], c[POINTS];
  for (int i = 0; i < POINTS; i++) x[i] = (float)((i - POINTS / 2) * 9.87654321);
  run_expression("sin(x[i])", x, x, s);
  run_expression("cos(x[i])", x, x, c);
  for (int i = 0; i < POINTS; i++) {
    assert_true(fabs((double)s[i] - sin((double)x[i])) < 2e-7);
    assert_true(fabs((double)c[i] - cos((double)x[i])) < 2e-7);
  }
}

static void special_values_are_exact(void **state) {
  (void)state;
  static float x[POINTS], y[POINTS];
  const float inf = INFINITY, nan = NAN;
  x[0] = inf, x[1] = -inf, x[2] = nan, x[3] = 0, x[4] = -0.0f, x[5] = -1, x[6] = 1, x[7] = 1e-40f;
  run_expression("exp(x[i])", x, x, y);
  assert_true(y[0] == inf && y[1] == 0 && isnan(y[2]) && y[3] == 1 && y[4] == 1);
  run_expression("log(x[i])", x, x, y);
  assert_true(y[0] == inf && isnan(y[1]) && isnan(y[2]) && y[3] == -inf && y[4] == -inf && isnan(y[5]) && y[6] == 0);
  assert_true(fabs((double)y[7] - log((double)x[7])) < 1e-5);
  run_expression("tanh(x[i])", x, x, y);
  assert_true(y[0] == 1 && y[1] == -1 && isnan(y[2]) && y[3] == 0);
  run_expression("erf(x[i])", x, x, y);
  assert_true(y[0] == 1 && y[1] == -1 && isnan(y[2]) && y[3] == 0);
  run_expression("sin(x[i])", x, x, y);
  assert_true(isnan(y[0]) && isnan(y[1]) && isnan(y[2]) && y[3] == 0);
  run_expression("cos(x[i])", x, x, y);
  assert_true(isnan(y[0]) && isnan(y[2]) && y[3] == 1);
}

static void powers_follow_the_library(void **state) {
  (void)state;
  static float x[POINTS], y[POINTS], z[POINTS];
  const float bases[] = {0,    -0.0f, 1,        -1,        2,   -2,     0.5f,  -0.5f,
                         3.3f, -3.3f, INFINITY, -INFINITY, NAN, 1e-40f, 1e30f, 1.0001f};
  const float exponents[] = {0,        1,         -1,  2,    3,   -2,   -3,   0.5f, -0.5f,
                             INFINITY, -INFINITY, NAN, 1.5f, 100, -100, 2001, 1e10f};
  enum { BASES = sizeof bases / sizeof *bases, EXPONENTS = sizeof exponents / sizeof *exponents };
  int n = 0;
  for (int i = 0; i < BASES; i++)
    for (int j = 0; j < EXPONENTS; j++, n++) x[n] = bases[i], y[n] = exponents[j];
  uint64_t seed = 7;
  for (int i = n; i < POINTS; i++) {
    double lx = (double)next_random(&seed) / (double)(1u << 31) * 20 - 10;
    double ly = (double)next_random(&seed) / (double)(1u << 31) * 2 - 1;
    x[i] = (float)exp(lx);
    y[i] = (float)(ly * 80 / (fabs(lx) + 0.1));
  }
  run_expression("pow(x[i], y[i])", x, y, z);
  for (int i = 0; i < POINTS; i++) {
    double want = pow((double)x[i], (double)y[i]), e = error_of((double)z[i], want);
    if (!(e <= 4e-7) || (want == 0 && !signbit(want) != !signbit(z[i])))
      fail_msg("pow(%.9g, %.9g) is %.9g, should be %.9g", (double)x[i], (double)y[i], (double)z[i], want);
  }
}

/* Neighbours share a counter where lanes begin at a multiple of four of the words; not where they go in twos. */
static void random_bits_are_those_of_the_definition(void **state) {
  (void)state;
  static const struct {
    const char *counter, *others, *schedule;
    bool shared;
  } cases[] = {
      {"u32(j)", "u32(i), 5", "i, j/16, j vector", true},        {"u32(j)", "u32(i), 5", "i, j/4, j vector", true},
      {"u32(i * 40 + j)", "7, 5", "i, j/8, j vector", true},     {"u32(i * 37 + j)", "7, 5", "i, j/8, j vector", false},
      {"u32(j * 2)", "u32(i), 5", "i, j/16, j vector", false},   {"u32(i)", "u32(j), 5", "i, j/16, j vector", false},
      {"u32(j)", "u32(i), u32(j)", "i, j/16, j vector", false},  {"u32(j)", "u32(i), 5", "i, j/32, j vector", false},
      {"u32(j) + 3", "u32(i), 5", "i, j/16, j vector", false},   {"u32(j)", "u32(i), 5", "i, j/2, j vector", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const char *error = NULL, *text = arena_printf(a, "kernel random {\n  in k : u32[2]\n  out y : u32[3,37]\n  axes i:3 j:37\n"
                                                      "  s[i,j] : u32 = random_bits(k[0], k[1], %s, %s, 4294967295) -> y[i, j]\n}\nschedule { for %s }\n",
                                                   cases[i].counter, cases[i].others, cases[i].schedule);
    check_kernel(text);
    if (!strstr(loops_print(lower_kernel(kernel_of_text(a, text), a, &error), a), "interleave(") == cases[i].shared) fail_msg("%s", text);
    arena_free(a);
  }
}

static void doubles_and_bf16_are_lowered_too(void **state) {
  (void)state;
  check_kernel("kernel wide {\n  in x : f64[37]\n  out y : f64[37]\n  axes i:37\n"
               "  s[i] : f64 = exp(x[i]) + tanh(x[i]) * rsqrt(exp(x[i])) -> y[i]\n}\nschedule { for i/8, i vector }\n");
  check_kernel("kernel narrow {\n  in x : bf16[37]\n  out y : bf16[37]\n  axes i:37\n"
               "  s[i] : bf16 = exp(x[i]) -> y[i]\n}\nschedule { for i/8, i vector }\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(functions_are_accurate),
      cmocka_unit_test(gelus_are_as_good_as_their_factors),
      cmocka_unit_test(large_angles_are_reduced),
      cmocka_unit_test(special_values_are_exact),
      cmocka_unit_test(powers_follow_the_library),
      cmocka_unit_test(random_bits_are_those_of_the_definition),
      cmocka_unit_test(doubles_and_bf16_are_lowered_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
