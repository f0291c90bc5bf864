/* Values of which each sample wants one: when they share a buffer, and when they must not. */
#include "plan_testing.h"

#define BUFFERS                                                                                                        \
  "buffer 0 : f32[3,8] data \"data\" \"a\" bytes 96\nbuffer 1 : f32[3] data \"data\" \"p\" bytes 12\nbuffer 2 : f32[3,1,8] temporary bytes 96\n" \
  "buffer 3 : f32[3,8] temporary bytes 96\nbuffer 4 : f32[3] temporary bytes 12\nbuffer 5 : bool[3] temporary bytes 3\n"                           \
  "buffer 6 : f32[3,8] result \"output\" \"z\" bytes 96\nbuffer 7 : f32[3,8] result \"output\" \"v\" bytes 96\n"
/* x, y and the sum of y; the condition; what chooses, `%s`; a second reader of y. */
#define KERNELS                                                                                                        \
  "kernel 0 is kernel make {\n  in a : f32[3,8]\n  out x : f32[3,1,8]\n  out y : f32[3,8]\n  out m : f32[3]\n  axes i:3 j:8\n"      \
  "  x_2[i,j] : f32 = exp(a[i, j]) -> x[i, 0, j]\n  y_2[i,j] : f32 = x_2 * a[i, j] -> y[i, j]\n  m_2[i] : f32 = sum j of y_2 -> m[i]\n}\n" \
  "kernel 1 is kernel condition {\n  in p : f32[3]\n  out c : bool[3]\n  axes i:3\n  c_2[i] : bool = lt(p[i], 0.5) -> c[i]\n}\n"   \
  "kernel 2 is kernel choose {\n  in c : bool[3]\n  in x : f32[3,1,8]\n  in y : f32[3,8]\n  in m : f32[3]\n  out z : f32[3,8]\n  axes i:3 j:8\n"   \
  "  t[i,j] : f32 = y[i, j] * 2\n  z_2[i,j] : f32 = %s -> z[i, j]\n}\n"                                                          \
  "kernel 3 is kernel twice {\n  in y : f32[3,8]\n  out v : f32[3,8]\n  axes i:3 j:8\n  v_2[i,j] : f32 = y[i, j] * 2 -> v[i, j]\n}\n"
#define LAUNCHES "launch 0 on 0 2 3 4\nlaunch 1 on 1 5\nlaunch 2 on 5 2 3 4 6\n"
#define READER_OF_A "launch 3 on 0 7\n"
#define READER_OF_Y "launch 3 on 3 7\n"

static plan *parsed(bench *b, const char *body, const char *launches) {
  const char *text = arena_printf(b->arena, "plan \"p\" arena 0 {\n" BUFFERS KERNELS "%s}\n", body, launches);
  plan *p = plan_parse(b->arena, sources_add(b->context.diagnostics->sources, "plan", text, strlen(text)), b->context.diagnostics);
  if (!p) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  return p;
}

static const float *result_of(bench *b, const plan *p) {
  static const float chance[] = {0.25f, 0.75f, 0.125f};
  const char *error = NULL;
  float a[24];
  for (int i = 0; i < 24; i++) a[i] = 0.25f * (float)(i - 9);
  const graph_binding bindings[] = {{"data", "a", a}, {"data", "p", chance}};
  void **data = plan_interpret(p, bindings, 2, b->arena, &error);
  if (!data) fail_msg("%s", error);
  return data[plan_find(p, "output", "z")];
}

/* The plan behind the pass, which gives the same. */
static plan *same_with_either(bench *b, const char *body, const char *launches) {
  plan *p = parsed(b, body, launches);
  const float *before = result_of(b, p);
  apply_pass(b, p, pass_either, "either");
  assert_reads_back(b, p);
  assert_memory_equal(result_of(b, p), before, 24 * sizeof *before);
  return p;
}

/* With the condition in front. `of_both`: the sum is of what stands in memory, and y is made nowhere else. */
static void joins(bench *b, const char *body, bool of_both) {
  const plan *p = same_with_either(b, body, LAUNCHES READER_OF_A);
  if (p->n_buffers != 7 || strcmp(p->launches[0].kernel->name, "condition")) fail_msg("not joined: %s\n%s", body, plan_print(p, b->arena));
  const kernel *k = p->launches[1].kernel;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].monoid == MONOID_SUM) assert_int_equal(k->stages[k->stages[i].body->number].output >= 0, of_both);
}

static void stays(bench *b, const char *body, const char *launches) {
  const plan *p = same_with_either(b, body, launches);
  if (p->n_buffers != 8) fail_msg("joined: %s\n%s", body, plan_print(p, b->arena));
}

static void what_one_of_them_is_read_of_is_one_buffer(void **state) {
  bench *b = *state;
  joins(b, "select(c[i], y[i, j] - m[i], x[i, 0, j] * 3)", true);
  joins(b, "select(c[i], t - m[i], x[i, 0, j] + x[i, 0, 0])", true);
  joins(b, "select(c[i], x[i, 0, j], t)", false); /* the other way round */
  joins(b, "sqrt(select(c[i], select(c[i], t, 0), x[i, 0, -1 * j + 7])) + m[i]", false);
  joins(b, "select(c[i], t, x[i, 0, j] - m[i])", false);
  joins(b, "select(c[i], t + m[0], x[i, 0, j])", false);
}

static void others_keep_their_own(void **state) {
  bench *b = *state;
  stays(b, "select(c[i], y[i, j], x[i, 0, j]) + x[i, 0, j]", LAUNCHES READER_OF_A);
  stays(b, "select(c[i], y[i, j], x[i, 0, j]) * t", LAUNCHES READER_OF_A);
  stays(b, "select(c[i], y[0, j], x[i, 0, j])", LAUNCHES READER_OF_A); /* of another sample */
  stays(b, "select(c[0], y[i, j], x[i, 0, j])", LAUNCHES READER_OF_A);
  stays(b, "select(c[i], y[i, j] + x[i, 0, j], m[i])", LAUNCHES READER_OF_A);
  stays(b, "select(c[i], y[i, j], x[i, 0, j])", LAUNCHES READER_OF_Y);
}

/* Launches of one kernel go on to share one. */
static void kernels_are_shared(void **state) {
  bench *b = *state;
  const char *more = "buffer 8 : f32[3,1,8] temporary bytes 96\nbuffer 9 : f32[3,8] temporary bytes 96\nbuffer 10 : f32[3] temporary bytes 12\nbuffer 11 : bool[3] temporary bytes 3\n";
  const char *launches = LAUNCHES "launch 0 on 0 8 9 10\nlaunch 1 on 1 11\nlaunch 2 on 11 8 9 10 7\n";
  const char *text = arena_printf(b->arena, "plan \"p\" arena 0 {\n" BUFFERS "%s" KERNELS "%s}\n", more, "select(c[i], y[i, j] - m[i], x[i, 0, j] * 3)", launches);
  plan *p = plan_parse(b->arena, sources_add(b->context.diagnostics->sources, "plan", text, strlen(text)), b->context.diagnostics);
  assert_non_null(p);
  apply_pass(b, p, pass_either, "either");
  assert_int_equal(p->n_buffers, 10);
  for (uint32_t i = 0; i < 3; i++) assert_ptr_equal(p->launches[i].kernel, p->launches[i + 3].kernel);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_one_of_them_is_read_of_is_one_buffer, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(others_keep_their_own, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(kernels_are_shared, bench_setup, bench_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
