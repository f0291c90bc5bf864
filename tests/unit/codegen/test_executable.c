/* From a plan to entries: what is compiled once, what may share memory, the cache, checks, errors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "codegen/cpu/host.h"
#include "tests/unit/codegen/launch.h"

static const loops_expr *load(loops *l, uint32_t buffer, const loops_expr *offset) {
  return loops_node(l, (loops_expr){.kind = LOOPS_LOAD,
                                    .type = DTYPE_F32,
                                    .lanes = 1,
                                    .number = buffer,
                                    .stride = 1,
                                    .n_args = 1,
                                    .args = (const loops_expr *[]){offset}});
}

static void store(loops *l, block *to, uint32_t buffer, const loops_expr *offset, const loops_expr *v) {
  loops_append(
      l, to,
      (statement){.kind = STATEMENT_STORE, .number = buffer, .value = v, .offset = offset, .active = 1, .stride = 1});
}

static const loops_expr *plus(loops *l, const loops_expr *x, double by) {
  scalar v = x->type == DTYPE_I64 ? (scalar){.integer = (int64_t)by} : (scalar){.real = by};
  const loops_expr *args[] = {x, loops_constant(l, x->type, 1, v)};
  return loops_apply(l, OP_ADD, x->type, args, 2);
}

static loops *new_loops(arena *a, const char *name, int64_t elements) {
  loops *l = loops_new(a, name);
  loops_add_buffer(l, (loops_buffer){.name = "x", .type = DTYPE_F32, .elements = elements});
  loops_add_buffer(l, (loops_buffer){.name = "y", .type = DTYPE_F32, .elements = elements, .written = true});
  return l;
}

/* y[i + shift] = x[i] + by for i in 0..iterations */
static loops *shifted_sum(arena *a, const char *name, int64_t elements, int64_t iterations, int64_t shift, double by) {
  loops *l = new_loops(a, name, elements);
  const loops_expr *i = loops_variable(l, 0);
  l->iterations = iterations;
  store(l, &l->body, 1, plus(l, i, (double)shift), plus(l, load(l, 0, i), by));
  return l;
}

static executable *compile(const plan *p, const compile_options *o, compile_report *report) {
  const char *error = NULL;
  executable *e = executable_compile_cpu(p, o, report, &error);
  if (!e) fail_msg("%s", error);
  return e;
}

/* -- memory that arguments share ------------------------------------------------------------------------- */

/* y[0] = x[0] + 1, eight times: 1 more with x and y apart, 8 more when they are one. */
static float count_up(plan *p, bool together) {
  float x[16] = {10}, y[16] = {0};
  executable *e = compile(p, &(compile_options){.threads = 1}, NULL);
  uint32_t n;
  executable_launches(e, &n)[0].entry((void *[]){x, together ? x : y}, 0, 1);
  executable_free(e);
  return together ? x[0] : y[0];
}

static const loops *counting_loops(arena *a) {
  loops *l = new_loops(a, "count", 16);
  uint32_t i = loops_add_register(l, DTYPE_I64, 1);
  statement *repeat = loops_append(
      l, &l->body,
      (statement){
          .kind = STATEMENT_FOR, .number = i, .begin = loops_integer(l, 0), .end = loops_integer(l, 8), .step = 1});
  store(l, &repeat->body, 1, loops_integer(l, 0), plus(l, load(l, 0, loops_integer(l, 0)), 1));
  return l;
}

static void memory_that_the_plan_shares_is_read_again(void **state) {
  (void)state;
  arena *a = arena_new();
  const loops *each[] = {counting_loops(a)};
  plan *p = plan_of(a, each, 1);
  assert_float_equal(count_up(p, false), 11, 0);
  p->buffers[1].alias = 0;
  assert_float_equal(count_up(p, true), 18, 0);
  p->buffers[1].alias = -1;
  p->launches[0].buffers[1] = 0;
  assert_float_equal(count_up(p, true), 18, 0);
  /* Temporaries whose places overlap share memory too. */
  p->launches[0].buffers[1] = 1;
  for (int i = 0; i < 2; i++)
    p->buffers[i] = (plan_buffer){.storage = STORAGE_TEMPORARY, .alias = -1, .bytes = 64, .offset = 32 * i};
  assert_float_equal(count_up(p, true), 18, 0);
  arena_free(a);
}

static void sharing_makes_other_code(void **state) {
  (void)state;
  arena *a = arena_new();
  const loops *l = counting_loops(a), *each[] = {l, l};
  compile_report report;
  plan *p = plan_of(a, each, 2);
  executable_free(compile(p, &(compile_options){.threads = 1}, &report));
  assert_int_equal(report.kernels, 1);
  p->buffers[3].alias = 2;
  executable_free(compile(p, &(compile_options){.threads = 1}, &report));
  assert_int_equal(report.kernels, 2);
  arena_free(a);
}

/* -- what is compiled once ------------------------------------------------------------------------------- */

enum { KERNELS = 12 };

/* KERNELS different sums, each launched twice: by another name, from another copy of the loops. */
static plan *many_kernels(arena *a) {
  const loops **each = ARENA_ARRAY(a, const loops *, 2 * KERNELS);
  for (int i = 0; i < 2 * KERNELS; i++)
    each[i] = shifted_sum(a, i < KERNELS ? "first" : "second", 16, 15, 1, i % KERNELS);
  return plan_of(a, each, 2 * KERNELS);
}

static void check_many(const executable *e) {
  uint32_t n;
  const executable_launch *launches = executable_launches(e, &n);
  assert_int_equal(n, 2 * KERNELS);
  for (int i = 0; i < 2 * KERNELS; i++) {
    float x[16], y[16] = {0};
    for (int k = 0; k < 16; k++) x[k] = (float)(k * k);
    assert_int_equal(launches[i].iterations, 15);
    launches[i].entry((void *[]){x, y}, 0, 15);
    for (int k = 0; k < 15; k++) assert_float_equal(y[k + 1], k * k + i % KERNELS, 0);
    assert_float_equal(y[0], 0, 0);
  }
}

static void equal_loops_are_compiled_once(void **state) {
  (void)state;
  for (unsigned threads = 0; threads < 4; threads++) {
    arena *a = arena_new();
    compile_report report;
    executable *e = compile(many_kernels(a), &(compile_options){.threads = threads}, &report);
    arena_free(a); /* the plan may die first */
    assert_int_equal(report.kernels, KERNELS);
    assert_int_equal(report.compiled, KERNELS);
    assert_int_equal(report.rebuilt, 0);
    check_many(e);
    executable_free(e);
  }
}

/* A violation names its kernel, so kernels of different names are different code. */
static void checked_kernels_keep_their_names(void **state) {
  (void)state;
  arena *a = arena_new();
  compile_report report;
  executable_free(compile(many_kernels(a), &(compile_options){.threads = 2, .checked = true}, &report));
  assert_int_equal(report.kernels, 2 * KERNELS);
  arena_free(a);
}

static void chunks_come_from_the_schedule(void **state) {
  (void)state;
  static const int64_t asked[] = {0, 4, 100}, given[] = {15, 4, 15};
  for (int i = 0; i < 3; i++) {
    arena *a = arena_new();
    const loops *each[] = {shifted_sum(a, "sum", 16, 15, 1, 1)};
    plan *p = plan_of(a, each, 1);
    p->launches[0].kernel->schedule.chunks = asked[i];
    executable *e = compile(p, &(compile_options){.threads = 1}, NULL);
    uint32_t n;
    assert_int_equal(executable_launches(e, &n)->chunks, given[i]);
    executable_free(e);
    arena_free(a);
  }
}

/* -- the cache ------------------------------------------------------------------------------------------- */

static compile_report compile_many(const char *cache_directory) {
  arena *a = arena_new();
  compile_report report;
  executable *e =
      compile(many_kernels(a), &(compile_options){.cache_directory = cache_directory, .threads = 2}, &report);
  check_many(e);
  executable_free(e);
  arena_free(a);
  return report;
}

static void shell(const char *format, const char *directory) {
  char command[256];
  snprintf(command, sizeof command, format, directory, directory);
  assert_int_equal(system(command), 0);
}

static void the_cache_spares_compiling(void **state) {
  (void)state;
  char directory[] = "/tmp/test_executable_XXXXXX";
  assert_non_null(mkdtemp(directory));
  compile_report cold = compile_many(directory), warm = compile_many(directory);
  assert_int_equal(cold.compiled, KERNELS);
  assert_int_equal(warm.kernels, KERNELS);
  assert_int_equal(warm.compiled, 0);

  shell("for f in %s/*/*.o; do printf x | dd of=$f bs=1 seek=100 conv=notrunc 2>/dev/null; done", directory);
  compile_report corrupted = compile_many(directory);
  assert_int_equal(corrupted.compiled, KERNELS);
  assert_int_equal(corrupted.rebuilt, KERNELS);
  assert_int_equal(compile_many(directory).compiled, 0);

  shell("truncate -s 90 $(ls %s/*/*.o | head -1)", directory);
  compile_report truncated = compile_many(directory);
  assert_int_equal(truncated.compiled, 1);
  assert_int_equal(truncated.rebuilt, 1);
  shell("test -z \"$(find %s -name '*.o.*' -o -name '*.XXXXXX')\"", directory);
  shell("rm -r %s", directory);
}

/* Checked code must never be found where unchecked code is wanted, nor the reverse. */
static void checked_code_is_cached_apart(void **state) {
  (void)state;
  char directory[] = "/tmp/test_executable_XXXXXX";
  assert_non_null(mkdtemp(directory));
  for (int round = 0; round < 2; round++)
    for (int checked = 0; checked < 2; checked++) {
      arena *a = arena_new();
      const loops *each[] = {shifted_sum(a, "kernel", 16, 15, 1, 1)};
      compile_report report;
      executable_free(compile(plan_of(a, each, 1),
                              &(compile_options){.cache_directory = directory, .threads = 1, .checked = checked},
                              &report));
      assert_int_equal(report.compiled, !round);
      arena_free(a);
    }
  shell("rm -r %s", directory);
}

static void a_cache_that_cannot_be_written_is_done_without(void **state) {
  (void)state;
  assert_int_equal(compile_many("/dev/null/cache").compiled, KERNELS);
}

/* -- checks ---------------------------------------------------------------------------------------------- */

static void violations_are_recorded_and_not_performed(void **state) {
  (void)state;
  arena *a = arena_new();
  /* Reads x[15] and writes y[16], of 15 elements each. */
  const loops *each[] = {shifted_sum(a, "outside", 15, 16, 1, 1)};
  executable *e = compile(plan_of(a, each, 1), &(compile_options){.threads = 1, .checked = true}, NULL);
  uint32_t n;
  const executable_launch *launch = executable_launches(e, &n);
  float x[20] = {0}, y[20];
  for (int i = 0; i < 20; i++) y[i] = -1;
  launch->entry((void *[]){x, y}, 0, 14);
  assert_null(executable_violation(e));
  launch->entry((void *[]){x, y}, 14, 15);
  const char *text = executable_violation(e);
  assert_non_null(text);
  assert_string_equal(text, "kernel outside: access outside buffer y at element 15");
  assert_null(executable_violation(e));
  launch->entry((void *[]){x, y}, 15, 16);
  text = executable_violation(e); /* of two, the first */
  assert_true(text && (strstr(text, "buffer x at element 15") || strstr(text, "buffer y at element 16")));
  launch->entry((void *[]){x, y}, -1, 0);
  text = executable_violation(e);
  assert_true(text && strstr(text, "buffer x at element -1"));
  assert_float_equal(y[0], 1, 0); /* what could not be read counts as 0 */
  for (int i = 15; i < 20; i++) assert_float_equal(y[i], -1, 0);
  executable_free(e);
  arena_free(a);
}

/* -- errors ---------------------------------------------------------------------------------------------- */

static void assert_refused(arena *a, const loops *l, const char *why) {
  const loops *each[] = {l};
  const char *error = NULL;
  assert_null(executable_compile_cpu(plan_of(a, each, 1), &(compile_options){.threads = 1}, NULL, &error));
  assert_non_null(error);
  if (!strstr(error, why)) fail_msg("%s", error);
}

static void what_cannot_be_compiled_is_refused(void **state) {
  (void)state;
  arena *a = arena_new();
  assert_refused(a, NULL, "not lowered");
  loops *l = new_loops(a, "unexpanded", 4);
  const loops_expr *zero = loops_integer(l, 0), *args[] = {load(l, 0, zero)};
  store(l, &l->body, 1, zero, loops_apply(l, OP_EXP, DTYPE_F32, args, 1));
  assert_refused(a, l, "unexpanded: `exp` is not a native operation");
  l = new_loops(a, "large", 4);
  loops_add_buffer(
      l, (loops_buffer){.name = "kept", .type = DTYPE_F32, .elements = 1 << 20, .place = PLACE_LOCAL, .written = true});
  l->n_arguments = 2;
  assert_refused(a, l, "do not fit on a stack");
  l = new_loops(a, "no_such_function", 4);
  args[0] = load(l, 0, loops_integer(l, 0));
  store(l, &l->body, 1, loops_integer(l, 0),
        loops_node(l,
                   (loops_expr){
                       .kind = LOOPS_CALL, .op = OP_GATHER, .type = DTYPE_F32, .lanes = 1, .n_args = 1, .args = args}));
  assert_refused(a, l, "scalar_gather");
  arena_free(a);
}

static void the_host_is_described(void **state) {
  target t;
  (void)state;
  host_target(&t);
  assert_true(t.name[0] != 0);
  assert_true(t.vector_bytes == 16 || t.vector_bytes == 32 || t.vector_bytes == 64);
  assert_true(t.vector_registers == 16 || t.vector_registers == 32);
  assert_in_range(t.l1_bytes, 8 << 10, 1 << 20);
  assert_in_range(t.l2_bytes, 64 << 10, 1 << 28);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_that_the_plan_shares_is_read_again),
      cmocka_unit_test(sharing_makes_other_code),
      cmocka_unit_test(equal_loops_are_compiled_once),
      cmocka_unit_test(checked_kernels_keep_their_names),
      cmocka_unit_test(chunks_come_from_the_schedule),
      cmocka_unit_test(the_cache_spares_compiling),
      cmocka_unit_test(checked_code_is_cached_apart),
      cmocka_unit_test(a_cache_that_cannot_be_written_is_done_without),
      cmocka_unit_test(violations_are_recorded_and_not_performed),
      cmocka_unit_test(what_cannot_be_compiled_is_refused),
      cmocka_unit_test(the_host_is_described),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
