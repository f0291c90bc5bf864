/* Results that wait long for their reader are marked, and stored past the caches. */
#include "passes/transfer.h"
#include "plan_testing.h"

#define KERNEL "kernel 0 is kernel twice {\n  in x : f32[524288]\n  out y : f32[524288]\n  axes i:524288\n  s[i] : f32 = x[i] * 2 -> y[i]\n}\n"
#define BUFFER(number) "buffer " #number " : f32[524288] temporary bytes 2097152\n"
#define OUTPUT(number) "buffer " #number " : f32[524288] result \"output\" \"" #number "\" bytes 2097152\n"

/* Launches of 4 MiB each; whose results are cold. */
static const char *cold_of(bench *b, const target *t, const char *buffers, const char *launches) {
  const char *text = arena_printf(b->arena, "plan \"p\" arena 0 {\nbuffer 0 : f32[524288] state \"state\" \"w\" bytes 2097152\n%s%s%s}\n", buffers, KERNEL, launches);
  plan *p = plan_parse(b->arena, sources_add(b->context.diagnostics->sources, "plan", text, strlen(text)), b->context.diagnostics);
  if (!p) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  b->context.target = t;
  assert_true(pass_schedule(p, &b->context) && pass_cold(p, &b->context));
  assert_sound(b, p, "cold");
  assert_reads_back(b, p);
  text_buffer marks = {.arena = b->arena};
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const kernel *k = p->launches[i].kernel;
    const char *error;
    const loops *l = lower_kernel(k, b->arena, &error);
    assert_int_equal(strstr(loops_print(l, b->arena), " = stream ") != NULL, k->buffers[1].cold);
    text_add(&marks, "%s", k->buffers[1].cold ? "c" : ".");
  }
  return text_done(&marks);
}

static void those_that_wait_are_cold(void **state) {
  bench *b = *state;
  const char *chain = BUFFER(1) BUFFER(2) BUFFER(3) BUFFER(4) BUFFER(5) OUTPUT(6) OUTPUT(7);
  /* the first is read again behind four others; the sixth by nobody, the last at the end */
  const char *launches = "launch 0 on 0 1\nlaunch 0 on 0 2\nlaunch 0 on 2 3\nlaunch 0 on 3 4\nlaunch 0 on 4 5\nlaunch 0 on 1 6\nlaunch 0 on 5 7\n";
  assert_string_equal(cold_of(b, &plain_target, chain, launches), "c......");
  launches = "launch 0 on 0 2\nlaunch 0 on 0 1\nlaunch 0 on 2 3\nlaunch 0 on 3 4\nlaunch 0 on 4 5\nlaunch 0 on 1 6\nlaunch 0 on 5 7\n";
  assert_string_equal(cold_of(b, &plain_target, chain, launches), ".......");
}

static void states_are_written_where_they_were_read(void **state) {
  bench *b = *state;
  const char *launches = "launch 0 on 0 5\nlaunch 0 on 0 1\nlaunch 0 on 1 2\nlaunch 0 on 2 3\nlaunch 0 on 3 4\nlaunch 0 on 4 6\n";
  const char *buffers = BUFFER(1) BUFFER(2) BUFFER(3) BUFFER(4) "buffer 5 : f32[524288] result \"state\" \"w\" bytes 2097152\n" OUTPUT(6);
  assert_string_equal(cold_of(b, &plain_target, buffers, launches), "......");
  buffers = BUFFER(1) BUFFER(2) BUFFER(3) BUFFER(4) OUTPUT(5) OUTPUT(6);
  assert_string_equal(cold_of(b, &plain_target, buffers, launches), "c.....");
}

static void a_gpu_has_no_such_stores(void **state) {
  bench *b = *state;
  const target gpu = {.name = "gpu", .warps = true, .vector_bytes = 128, .vector_registers = 32, .bundle_arguments = 12, .l1_bytes = 1 << 14, .l2_bytes = 1 << 16};
  const char *launches = "launch 0 on 0 5\nlaunch 0 on 0 1\nlaunch 0 on 1 2\nlaunch 0 on 2 3\nlaunch 0 on 3 4\nlaunch 0 on 4 6\n";
  assert_string_equal(cold_of(b, &gpu, BUFFER(1) BUFFER(2) BUFFER(3) BUFFER(4) OUTPUT(5) OUTPUT(6), launches), "......");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(those_that_wait_are_cold, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(states_are_written_where_they_were_read, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(a_gpu_has_no_such_stores, bench_setup, bench_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
