/* The tuner's search with made-up times: it finds the fastest of what it tried, whatever fails on the way. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "frontend/tuner.h"
#include "passes/passes.h"

static const target host = {.name = "test", .vector_bytes = 32, .vector_registers = 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20};

static const char product[] = "kernel product {\n  in x : f32[96,64]\n  in w : f32[64,128]\n  out y : f32[96,128]\n  axes i:96 j:128 r:64\n"
                              "  t[i,j] : f32 = sum r of x[i, r] * w[r, j] -> y[i, j]\n}\n";
static const char rows[] = "kernel rows {\n  in x : f32[96,8,640]\n  out y : f32[96,8,640]\n  axes i:96 h:8 j:640\n"
                           "  m[i,h] : f32 = sum j of x[i, h, j]\n  z[i,h,j] : f32 = x[i, h, j] - m -> y[i, h, j]\n}\n";

/* A machine that takes a time by the text of the schedule, and refuses one in `refuses`. */
typedef struct {
  arena *arena;
  uint32_t refuses, runs, failures;
  double fastest, slowest, moment, hour; /* `hour` passes with each measurement */
  const char *given, *best;
  bool refuses_default;
} machine;

static double measure(void *context, const kernel *k, double enough) {
  machine *m = context;
  const char *text = schedule_text(k, &k->schedule, m->arena);
  uint32_t h = 2166136261u; /* FNV-1a */
  (void)enough;
  assert_null(kernel_verify(k, m->arena));
  for (const char *c = text; *c; c++) h = (h ^ (uint8_t)*c) * 16777619u;
  m->moment += m->hour;
  bool first = m->runs++ == 0;
  if (first) m->given = text;
  if (strcmp(text, m->given) ? m->refuses && (h >> 8) % m->refuses == 0 : m->refuses_default) return m->failures++, NAN;
  double seconds = 1e-3 * (1 + h / 4294967296.0) /* hardly two alike */;
  if (first || seconds < m->fastest) m->fastest = seconds, m->best = text;
  if (seconds > m->slowest) m->slowest = seconds;
  return seconds;
}

static double read_clock(void *context) { return ((machine *)context)->moment; }

static kernel *kernel_of_text(arena *a, const char *text) {
  sources *s = sources_new(a);
  uint32_t offset = 0;
  kernel *k = kernel_parse(a, sources_add(s, "test", text, strlen(text)), &offset, diagnostics_new(a, s));
  assert_non_null(k);
  schedule_kernel(k, &host);
  return k;
}

static bool search(machine *m, const char *text, double budget, tuning *out, const char **best) {
  kernel *k = kernel_of_text(m->arena, text);
  const char *given = schedule_text(k, &k->schedule, m->arena);
  tuner how = {measure, read_clock, m, 200, budget, 7};
  bool good = tune_kernel(k, &host, &how, m->arena, out);
  assert_string_equal(schedule_text(k, &k->schedule, m->arena), given);
  *best = good ? schedule_text(k, &out->best, m->arena) : NULL;
  return good;
}

static void the_fastest_is_found(void **state) {
  (void)state;
  const char *const texts[] = {product, rows};
  for (int i = 0; i < 2; i++)
    for (uint32_t refuses = 0; refuses < 8; refuses += 3) {
      machine m = {.arena = arena_new(), .refuses = refuses};
      tuning found, again;
      const char *best, *second;
      assert_true(search(&m, texts[i], 1e9, &found, &best));
      assert_int_equal(found.tried, 200);
      assert_true(refuses ? found.failed > 0 && found.failed <= m.failures : found.failed == 0);
      assert_true(found.best_seconds == m.fastest);
      assert_true(found.best_seconds <= found.default_seconds && found.best_seconds < found.median_seconds && found.median_seconds < found.worst_seconds);
      assert_true(found.worst_seconds == m.slowest);
      assert_string_equal(best, m.best);
      machine other = {.arena = m.arena, .refuses = refuses};
      assert_true(search(&other, texts[i], 1e9, &again, &second));
      assert_string_equal(best, second);
      arena_free(m.arena);
    }
}

static void the_search_ends_with_its_budget(void **state) {
  (void)state;
  machine m = {.arena = arena_new(), .hour = 1};
  tuning found;
  const char *best;
  assert_true(search(&m, product, 20, &found, &best));
  assert_true(found.tried <= 21 && found.tried >= 19);
  arena_free(m.arena);
}

static void a_small_space_ends_the_search(void **state) {
  (void)state;
  machine m = {.arena = arena_new()};
  tuning found;
  const char *best;
  assert_true(search(&m, "kernel copy {\n  in x : f32[3]\n  out y : f32[3]\n  axes i:3\n  t[i] : f32 = x[i] -> y[i]\n}\n", 1e9, &found, &best));
  assert_true(found.tried < 200 && found.tried > 0);
  arena_free(m.arena);
}

static void a_default_that_fails_is_told(void **state) {
  (void)state;
  machine m = {.arena = arena_new(), .refuses_default = true};
  tuning found;
  const char *best;
  assert_false(search(&m, product, 1e9, &found, &best));
  arena_free(m.arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_fastest_is_found),
      cmocka_unit_test(the_search_ends_with_its_budget),
      cmocka_unit_test(a_small_space_ends_the_search),
      cmocka_unit_test(a_default_that_fails_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
