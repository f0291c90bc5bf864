/* Records of schedules: texts that come back, and what the schedule pass makes of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/passes/lower_testing.h"

#define PRODUCT                                                                                    \
  "kernel k {\n  in b0 : f32[16,32]\n  in b1 : f32[32,64]\n  out b2 : f32[16,64]\n"               \
  "  axes a0:16 a1:64 a2:32\n  s0[a0,a1] : f32 = sum a2 of b0[a0, a2] * b1[a2, a1] -> b2[a0, a1]\n}\n"
#define COPY "kernel k {\n  in b0 : f32[5]\n  out b1 : f32[5]\n  axes a0:5\n  s0[a0] : f32 = b0[a0] -> b1[a0]\n}\n"

static const char product[] = PRODUCT "schedule { for a1/16, a0/2, a2, a0 unroll, a1 vector }\n", copy[] = COPY "schedule { for a0 unroll }\n";

static const target host = {.name = "test", .vector_bytes = 32, .vector_registers = 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20};

typedef struct {
  arena *arena;
  diagnostics *diagnostics;
} bench;

static bench open_bench(void) {
  arena *a = arena_new();
  return (bench){a, diagnostics_new(a, sources_new(a))};
}

static schedule_records *records_of(const bench *b, const char *text) {
  return schedule_records_parse(sources_add(b->diagnostics->sources, "records", text, strlen(text)), b->diagnostics, b->arena);
}

static const char *join(const bench *b, const char *x, const char *y) { return arena_printf(b->arena, "%s%s", x, y); }

static void records_come_back_as_they_were_written(void **state) {
  (void)state;
  bench b = open_bench();
  const char *text = join(&b, product, copy);
  schedule_records *r = records_of(&b, text);
  assert_int_equal(r->n, 2);
  assert_string_equal(schedule_records_print(r, b.arena), text);
  assert_int_equal(b.diagnostics->count, 0);
  assert_int_equal(records_of(&b, "")->n, 0);
  arena_free(b.arena);
}

/* A record is for a kernel, whether or not its results wait long for their reader. */
static void cold_results_make_no_other_kernel(void **state) {
  (void)state;
  bench b = open_bench();
  schedule_records *r = records_of(&b, product);
  kernel *cold = kernel_of_text(b.arena, PRODUCT "schedule { for a0, a1, a2 }\n");
  cold->buffers[2].cold = true;
  assert_false(schedule_is_recorded(cold, r, b.arena));
  assert_true(schedule_from_records(cold, r, b.arena) && schedule_is_recorded(cold, r, b.arena));
  schedule_records_put(r, cold);
  assert_string_equal(schedule_records_print(r, b.arena), product);
  arena_free(b.arena);
}

static void a_kernel_has_one_record(void **state) {
  (void)state;
  bench b = open_bench();
  schedule_records *r = records_of(&b, join(&b, product, copy));
  kernel *other = kernel_of_text(b.arena, PRODUCT "schedule { for a0, a1, a2 }\n");
  schedule_records_put(r, other);
  assert_string_equal(schedule_records_print(r, b.arena), join(&b, PRODUCT "schedule { for a0, a1, a2 }\n", copy));
  other->schedule = (schedule){0};
  schedule_records_put(r, other);
  assert_string_equal(schedule_records_print(r, b.arena), copy);
  schedule_records_put(r, other); /* there is none to go */
  assert_int_equal(r->n, 1);
  arena_free(b.arena);
}

static void a_damaged_record_is_told_and_left_out(void **state) {
  (void)state;
  static const char *const damages[] = {
      PRODUCT "schedule { for a1/16, a0/2, a2, a0 unr",             /* cut off */
      PRODUCT "schedule { for a1/16, a2, a0, a9 }\n",                /* no such axis */
      PRODUCT "schedule { for a1/16, a0, a2 }\n",                    /* not down to step 1 */
      PRODUCT,                                                      /* no schedule */
      "kernel k {\n  in b0 : f32[16,\n",
  };
  for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
    for (int first = 0; first < 2; first++) {
      bench b = open_bench();
      schedule_records *r = records_of(&b, first ? join(&b, join(&b, damages[i], "\n"), copy) : join(&b, copy, damages[i]));
      if (r->n != 1 || b.diagnostics->count != 1) fail_msg("%s: %u records, %u warnings", damages[i], r->n, b.diagnostics->count);
      assert_string_equal(schedule_records_print(r, b.arena), copy);
      assert_int_equal(b.diagnostics->errors, 0);
      assert_int_equal(b.diagnostics->items[0]->code, DIAG_SCHEDULE_RECORD);
      arena_free(b.arena);
    }
}

/* Names of a kernel and of its parts do not matter. */
static const char renamed[] = "kernel product {\n  in x : f32[16,32]\n  in w : f32[32,64]\n  out y : f32[16,64]\n  axes i:16 j:64 r:32\n"
                              "  t[i,j] : f32 = sum r of x[i, r] * w[r, j] -> y[i, j]\n}\n";

static char *scheduled(const bench *b, const schedule_records *r) {
  plan_launch launch = {.kernel = kernel_of_text(b->arena, renamed)};
  plan p = {.arena = b->arena, .launches = &launch, .n_launches = 1};
  assert_true(pass_schedule(&p, &(pass_context){.arena = b->arena, .diagnostics = b->diagnostics, .target = &host, .records = r}));
  return schedule_text(launch.kernel, &launch.kernel->schedule, b->arena);
}

static void the_pass_takes_what_is_recorded(void **state) {
  (void)state;
  bench b = open_bench();
  kernel *k = kernel_of_text(b.arena, renamed);
  schedule_kernel(k, &host);
  const char *own = schedule_text(k, &k->schedule, b.arena), *recorded = "schedule { for j/16, i/2, r, i unroll, j vector }\n";
  assert_string_not_equal(own, recorded);
  assert_string_equal(scheduled(&b, NULL), own);
  assert_string_equal(scheduled(&b, records_of(&b, copy)), own);
  assert_string_equal(scheduled(&b, records_of(&b, product)), recorded);
  assert_false(schedule_is_recorded(k, records_of(&b, product), b.arena));
  assert_true(schedule_from_records(k, records_of(&b, product), b.arena));
  assert_true(schedule_is_recorded(k, records_of(&b, product), b.arena));
  arena_free(b.arena);
}

/* A legal schedule that lowering refuses: the sum would be kept in more memory than a thread has for it. */
static void what_cannot_be_carried_out_is_not_taken(void **state) {
  (void)state;
  bench b = open_bench();
  const char *large = "kernel k {\n  in b0 : f32[2048,4]\n  in b1 : f32[4,2048]\n  out b2 : f32[2048,2048]\n  axes a0:2048 a1:2048 a2:4\n"
                      "  s0[a0,a1] : f32 = sum a2 of b0[a0, a2] * b1[a2, a1]\n  s1[a0,a1] : f32 = s0 * s0 -> b2[a0, a1]\n}\n";
  kernel *k = kernel_of_text(b.arena, large);
  schedule_records *r = records_of(&b, join(&b, large, "schedule { for a2, a0, a1 }\n"));
  assert_int_equal(r->n, 1);
  assert_false(schedule_from_records(k, r, b.arena));
  assert_int_equal(k->schedule.n, 0);
  arena_free(b.arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(records_come_back_as_they_were_written),
      cmocka_unit_test(a_kernel_has_one_record),
      cmocka_unit_test(cold_results_make_no_other_kernel),
      cmocka_unit_test(a_damaged_record_is_told_and_left_out),
      cmocka_unit_test(the_pass_takes_what_is_recorded),
      cmocka_unit_test(what_cannot_be_carried_out_is_not_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
