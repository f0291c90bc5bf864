/* Bundles: what comes together, and what must not. */
#include "plan_testing.h"

static const target gpu = {.name = "gpu", .warps = true, .vector_bytes = 128, .vector_registers = 32, .bundle_arguments = 12, .l1_bytes = 1 << 14, .l2_bytes = 1 << 16};

#define STATES "buffer 0 : f32[4] state \"state\" \"w\" bytes 16\nbuffer 1 : f32[4] data \"data\" \"x\" bytes 16\n"
#define TEMPORARY(number) "buffer " #number " : f32[4] temporary bytes 16\n"
#define OUTPUT(number) "buffer " #number " : f32[4] result \"output\" \"" #number "\" bytes 16\n"
/* Small ones, of one and of two inputs, and a product, which mixes with none. */
#define KERNELS                                                                                                    \
  "kernel 0 is kernel twice {\n  in x : f32[4]\n  out y : f32[4]\n  axes i:4\n  s[i] : f32 = x[i] * 2 -> y[i]\n}\n"      \
  "kernel 1 is kernel root {\n  in x : f32[4]\n  out y : f32[4]\n  axes i:4\n  s[i] : f32 = sqrt(x[i]) -> y[i]\n}\n"      \
  "kernel 2 is kernel add {\n  in x : f32[4]\n  in z : f32[4]\n  out y : f32[4]\n  axes i:4\n  s[i] : f32 = x[i] + z[i] -> y[i]\n}\n" \
  "kernel 3 is kernel product {\n  in x : f32[4]\n  out y : f32[4]\n  axes i:2 j:2 k:2\n  s[i,j] : f32 = sum k of x[2 * i + k] * x[2 * k + j] -> y[2 * i + j]\n}\n"

static plan *parsed(bench *b, const char *buffers, const char *kernels, const char *launches) {
  const char *text = arena_printf(b->arena, "plan \"p\" arena 0 {\n%s%s%s}\n", buffers, kernels, launches);
  const uint32_t file = sources_add(b->context.diagnostics->sources, "plan", text, strlen(text));
  plan *p = plan_parse(b->arena, file, b->context.diagnostics);
  if (!p) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  return p;
}

/* Launches in their order: the number that each has in the text, those of a bundle in brackets. */
static const char *order_of(bench *b, const plan *p, const plan *given) {
  text_buffer t = {.arena = b->arena};
  for (uint32_t first = 0, end; first < p->n_launches; first = end) {
    end = plan_bundle_end(p, first);
    text_add(&t, "%s%s", first ? " " : "", end > first + 1 ? "(" : "");
    for (uint32_t l = first; l < end; l++) {
      uint32_t number = 0;
      while (given->launches[number].buffers != p->launches[l].buffers) number++;
      text_add(&t, "%s%u", l > first ? " " : "", number);
    }
    if (end > first + 1) text_add(&t, ")");
  }
  return text_done(&t);
}

static plan *bundled(bench *b, plan *p, const target *t) {
  b->context.target = t;
  assert_true(pass_bundle(p, &b->context));
  assert_sound(b, p, "bundle");
  assert_reads_back(b, p);
  return p;
}

static void check(bench *b, plan *p, const target *t, const char *expected) {
  plan given = *p;
  given.launches = arena_copy(b->arena, p->launches, p->n_launches * sizeof *p->launches);
  assert_string_equal(order_of(b, bundled(b, p, t), &given), expected);
}

static void like_launches_come_together(void **state) {
  bench *b = *state;
  const char *buffers = STATES TEMPORARY(2) TEMPORARY(3) OUTPUT(4) OUTPUT(5), *launches = "launch 0 on 1 2\nlaunch 1 on 2 4\nlaunch 0 on 0 3\nlaunch 1 on 3 5\n";
  check(b, parsed(b, buffers, KERNELS, launches), &gpu, "(0 2) (1 3)");
  check(b, parsed(b, buffers, KERNELS, launches), &plain_target, "0 1 2 3"); /* a processor has none */
}

/* Small launches of other kernels too, those of one kernel side by side. A product comes to products of its kernel alone. */
static void small_launches_come_together(void **state) {
  bench *b = *state;
  const char *buffers = STATES OUTPUT(2) OUTPUT(3) OUTPUT(4) OUTPUT(5) OUTPUT(6) OUTPUT(7);
  check(b, parsed(b, buffers, KERNELS, "launch 0 on 1 2\nlaunch 3 on 1 3\nlaunch 1 on 1 4\nlaunch 0 on 0 5\nlaunch 3 on 0 6\nlaunch 2 on 0 1 7\n"), &gpu, "(0 3 2 5) (1 4)");
}

/* The last reads what the first and the second make; the second reads the first. */
static void what_waits_for_another_comes_behind_it(void **state) {
  bench *b = *state;
  check(b, parsed(b, STATES TEMPORARY(2) TEMPORARY(3) OUTPUT(4), KERNELS, "launch 0 on 1 2\nlaunch 3 on 2 3\nlaunch 2 on 2 3 4\n"), &gpu, "0 1 2");
  check(b, parsed(b, STATES TEMPORARY(2) TEMPORARY(3) OUTPUT(4), KERNELS, "launch 0 on 1 2\nlaunch 1 on 2 3\nlaunch 1 on 3 4\n"), &gpu, "0 1 2");
}

/* The earlier one comes to the later where that one has to wait: not up to what waits for the earlier. */
static void earlier_launches_wait(void **state) {
  bench *b = *state;
  const char *buffers = STATES TEMPORARY(2) OUTPUT(3) OUTPUT(4) OUTPUT(5);
  check(b, parsed(b, buffers, KERNELS, "launch 0 on 1 3\nlaunch 3 on 1 2\nlaunch 0 on 2 4\nlaunch 3 on 4 5\n"), &gpu, "1 (0 2) 3");
  check(b, parsed(b, STATES TEMPORARY(2) TEMPORARY(3) OUTPUT(4) OUTPUT(5), KERNELS, "launch 0 on 1 2\nlaunch 3 on 2 3\nlaunch 0 on 3 4\nlaunch 3 on 4 5\n"), &gpu, "0 1 2 3");
}

/* Who reads a state comes before it is overwritten, and not with that. */
static void states_are_read_before(void **state) {
  bench *b = *state;
  const char *buffers = STATES OUTPUT(2) "buffer 3 : f32[4] result \"state\" \"w\" bytes 16\n";
  plan *p = parsed(b, buffers, KERNELS, "launch 0 on 0 2\nlaunch 0 on 1 3\n");
  check(b, p, &gpu, "0 1");
  apply_pass(b, p, pass_memory, "memory");
  assert_int_equal(p->n_launches, 2);
  check(b, parsed(b, buffers, KERNELS, "launch 0 on 1 2\nlaunch 0 on 0 3\n"), &gpu, "(0 1)"); /* it may read it itself */
}

static void arguments_have_a_limit(void **state) {
  bench *b = *state;
  const char *buffers = STATES OUTPUT(2) OUTPUT(3) OUTPUT(4) OUTPUT(5) OUTPUT(6) OUTPUT(7) OUTPUT(8);
  check(b, parsed(b, buffers, KERNELS, "launch 0 on 1 2\nlaunch 0 on 1 3\nlaunch 0 on 1 4\nlaunch 0 on 1 5\nlaunch 0 on 1 6\nlaunch 0 on 1 7\nlaunch 0 on 1 8\n"), &gpu, "(0 1 2 3 4 5) 6");
}

#define LARGE                                                                                                          \
  "buffer 0 : f32[] data \"data\" \"x\" bytes 4\nbuffer 1 : f32[1000000] temporary bytes 4000000\nbuffer 2 : f32[] result \"output\" \"a\" bytes 4\n"          \
  "buffer 3 : f32[1000000] temporary bytes 4000000\nbuffer 4 : f32[] result \"output\" \"b\" bytes 4\n"

/* Both at once would take the memory of both. */
static void memory_has_a_limit(void **state) {
  bench *b = *state;
  const char *kernels = "kernel 0 is kernel spread {\n  in x : f32[]\n  out y : f32[1000000]\n  axes i:1000000\n  s[i] : f32 = x[] -> y[i]\n}\n"
                        "kernel 1 is kernel top {\n  in x : f32[1000000]\n  out y : f32[]\n  axes i:1000000\n  s[] : f32 = max i of x[i] -> y[]\n}\n";
  check(b, parsed(b, LARGE, kernels, "launch 0 on 0 1\nlaunch 1 on 1 2\nlaunch 0 on 0 3\nlaunch 1 on 3 4\n"), &gpu, "0 1 2 3");
  /* where something larger is in use anyway, they may */
  const char *more = LARGE "buffer 5 : f32[100000000] temporary bytes 400000000\nbuffer 6 : f32[] result \"output\" \"c\" bytes 4\n";
  kernels = arena_printf(b->arena, "%s%s", kernels,
                         "kernel 2 is kernel spread_2 {\n  in x : f32[]\n  out y : f32[100000000]\n  axes i:100000000\n  s[i] : f32 = x[] -> y[i]\n}\n"
                         "kernel 3 is kernel top_2 {\n  in x : f32[100000000]\n  out y : f32[]\n  axes i:100000000\n  s[] : f32 = max i of x[i] -> y[]\n}\n");
  check(b, parsed(b, more, kernels, "launch 2 on 0 5\nlaunch 3 on 5 6\nlaunch 0 on 0 1\nlaunch 1 on 1 2\nlaunch 0 on 0 3\nlaunch 1 on 3 4\n"), &gpu, "(0 2 4) (1 3 5)");
}

/* What a member writes has a place of its own even where another member is the last that reads. */
static void members_share_no_memory(void **state) {
  bench *b = *state;
  plan *p = parsed(b, STATES TEMPORARY(2) TEMPORARY(3) OUTPUT(4) OUTPUT(5), KERNELS, "launch 0 on 1 2\nlaunch 1 on 2 4\nlaunch 1 on 1 3\nlaunch 0 on 3 5\n");
  check(b, p, &gpu, "0 (1 2) 3");
  apply_pass(b, p, pass_memory, "memory");
  assert_int_equal(p->buffers[2].first, 0);
  assert_int_equal(p->buffers[2].last, 2);
  assert_int_equal(p->buffers[3].first, 1);
  assert_int_not_equal(p->buffers[2].offset, p->buffers[3].offset);
}

/* Two copies at the end are one launch. */
static void copies_of_states_are_bundled(void **state) {
  bench *b = *state;
  const char *buffers = STATES OUTPUT(2) OUTPUT(3) "buffer 4 : f32[4] result \"state\" \"w\" bytes 16\nbuffer 5 : f32[4] state \"state\" \"v\" bytes 16\nbuffer 6 : f32[4] result \"state\" \"v\" bytes 16\n";
  const char *launches = "launch 0 on 1 4\nlaunch 0 on 1 6\nlaunch 1 on 0 2\nlaunch 1 on 5 3\n";
  for (int on_gpu = 0; on_gpu < 2; on_gpu++) {
    plan *p = parsed(b, buffers, KERNELS, launches);
    b->context.target = on_gpu ? &gpu : &plain_target;
    assert_true(pass_memory(p, &b->context));
    assert_sound(b, p, "memory");
    assert_int_equal(p->n_launches, 6);
    assert_false(p->launches[4].beside);
    assert_int_equal(p->launches[5].beside, on_gpu);
  }
}

/* A loop stays alone; what is in it is bundled. */
static void loops_stay_alone(void **state) {
  bench *b = *state;
  graph *g = parsed_graph(b,
                          "  %1 = parameter {role=data, name=\"x\"} : f32[4]\n"
                          "  %2 = parameter {role=data, name=\"z\"} : f32[6]\n"
                          "  %3, %4 = repeat(%1, %2) {times=3, carries=2, slices=0} : f32[4], f32[6] {\n"
                          "    %1 = parameter {role=state, name=\"0\"} : f32[4]\n"
                          "    %2 = parameter {role=state, name=\"1\"} : f32[6]\n"
                          "    %3 = exp(%1) : f32[4]\n"
                          "    %4 = sin(%2) : f32[6]\n"
                          "    result state \"0\" %3\n"
                          "    result state \"1\" %4\n"
                          "  }\n"
                          "  %5 = exp(%1) : f32[4]\n"
                          "  result output \"y\" %3\n"
                          "  result output \"v\" %4\n"
                          "  result output \"z\" %5\n");
  plan *p = fused(b, g);
  b->context.target = &gpu;
  assert_true(pass_schedule(p, &b->context));
  bundled(b, p, &gpu);
  uint32_t inside = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) {
    assert_false(p->launches[i].beside);
    for (uint32_t k = 0; p->launches[i].repeat && k < p->launches[i].repeat->plan->n_launches; k++) inside += p->launches[i].repeat->plan->launches[k].beside;
  }
  assert_int_equal(inside, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(like_launches_come_together, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(small_launches_come_together, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(what_waits_for_another_comes_behind_it, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(earlier_launches_wait, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(states_are_read_before, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(arguments_have_a_limit, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(memory_has_a_limit, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(members_share_no_memory, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(copies_of_states_are_bundled, bench_setup, bench_teardown),
      cmocka_unit_test_setup_teardown(loops_stay_alone, bench_setup, bench_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
