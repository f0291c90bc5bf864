/* When a run counts as collapsed: spread that is small, has fallen, and stays so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "runtime/collapse.h"

/* The step at which a run with these values of std/f and std/g tells it, from 1; 0 when it never does. */
static int told_at(double (*f)(int), double (*g)(int), int steps, collapse_finding *found) {
  metric metrics[] = {{"loss", 1}, {"std/f", 0}, {"rank/g", 1.5}, {"std/g", 0}};
  collapse_watch w = collapse_watch_begin(metrics, 4);
  int told = 0;
  for (int i = 1; i <= steps; i++) {
    metrics[1].value = f(i);
    metrics[3].value = g(i);
    if (!collapse_watch_step(&w, found)) continue;
    assert_int_equal(told, 0); /* once */
    told = i;
  }
  return told;
}

static double healthy(int i) { return 0.6 + 0.2 * sin(i); }
static double falling(int i) { return i <= 10 ? 0.8 : 0.02; }
static double dipping(int i) { return i % 49 ? 0.02 : 0.5; }
static double rising(int i) { return i < 60 ? 0.05 : 0.5; }
static double always_low(int i) { return 0.06 + 0.02 * sin(i); }
static double undefined(int i) { return i < 5 ? 0.5 : NAN; }

static void a_run_that_fell_and_stays_is_told(void **state) {
  (void)state;
  collapse_finding found;
  assert_int_equal(told_at(healthy, falling, 200, &found), 60);
  assert_string_equal(found.name, "g");
  assert_true(found.std == 0.02 && found.largest == 0.8 && found.rank == 1.5);
  assert_int_equal(told_at(falling, healthy, 200, &found), 60);
  assert_string_equal(found.name, "f");
  assert_true(isnan(found.rank));
}

static void others_are_left_in_peace(void **state) {
  (void)state;
  collapse_finding found;
  assert_int_equal(told_at(healthy, healthy, 200, &found), 0);
  assert_int_equal(told_at(healthy, dipping, 200, &found), 0);
  assert_int_equal(told_at(rising, always_low, 200, &found), 0);
  assert_int_equal(told_at(undefined, healthy, 200, &found), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_run_that_fell_and_stays_is_told),
      cmocka_unit_test(others_are_left_in_peace),
  };
  return cmocka_run_group_tests_name("runtime/collapse", tests, NULL, NULL);
}
