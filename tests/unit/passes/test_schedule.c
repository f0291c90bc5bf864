/* Default schedules, by their text, and carried out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "passes/team.h"
#include "tests/unit/passes/lower_testing.h"

static const target wide = {.name = "wide", .vector_bytes = 64, .vector_registers = 32, .l1_bytes = 48 << 10, .l2_bytes = 2 << 20};

static void assert_schedule_on(const target *t, const char *definition, const char *expected) {
  arena *a = arena_new();
  kernel *k = kernel_of_text(a, definition);
  schedule_kernel(k, t);
  const char *unsound = kernel_verify(k, a);
  if (unsound) fail_msg("%s\n%s", unsound, kernel_print(k, a));
  const char *found = strstr(kernel_print(k, a), "schedule");
  if (!found || strncmp(found, expected, strlen(expected))) fail_msg("%s\nshould be\n%s", found ? found : "none", expected);
  arena_free(a);
}

static void assert_schedule(const char *definition, const char *expected) { assert_schedule_on(&wide, definition, expected); }

#define PRODUCT(rest)                                                                                              \
  "kernel k {\n  in x : f32[32,128,256]\n  in w : f32[256,1024]\n  in g : f32[32,128,1024]\n  out y : f32[32,128,1024]\n" \
  "  axes i:32 j:128 k:1024 r:256\n  s[i,j,k] : f32 = sum r of x[i, j, r] * w[r, k]\n" rest "}\n"

/* Maps along other axes than those of an argmax go in vectors. */
static void an_argmax_is_alone_in_being_scalar(void **state) {
  (void)state;
  assert_schedule("kernel k {\n  in x : f32[64,10]\n  in z : f32[64,224]\n  out y : f32[64,224]\n  axes i:64 j:10 l:224\n  a[i] : i32 = argmax j of x[i, j]\n"
                  "  b[i,l] : f32 = z[i, l] * f32(a) -> y[i, l]\n}\n", "schedule { for i parallel, j, l/16");
  assert_schedule("kernel k {\n  in z : f32[64,224]\n  out y : i32[64]\n  axes i:64 l:224\n  a[i] : i32 = argmax l of z[i, l] -> y[i]\n}\n", "schedule { for i, l }");
}

/* A tile of g is 128 bytes of each of 8 rows: they are read along the row. */
static void epilogues_read_along_rows(void **state) {
  (void)state;
  assert_schedule(PRODUCT("  t[i,j,k] : f32 = s * g[i, j, k] -> y[i, j, k]\n"),
                  "schedule { for i parallel, k/512 parallel, j/8, k/32, r/4,");
  assert_schedule(PRODUCT("  t[i,j,k] : f32 = s + g[0, 0, k] -> y[i, j, k]\n"), "schedule { for i parallel, k/32 parallel, j/8, r/4,");
}

/* Images by N of 128 channels, SIZE x SIZE, and a 3x3 window to 256. */
#define CONVOLUTION(n, size)                                                                                                                          \
  "kernel k {\n  in x : f32[" n ",128," size "," size "] {0 2 3 1}\n  in w : f32[256,128,3,3] {0/32 2 3 1 0%32}\n  out y : f32[" n ",256," size "," size \
  "] {0 2 3 1}\n  axes i:" n " j:256 k:" size " l:" size " r:128 s:3 t:3\n  z[i,j,k,l] : f32 = sum r s t of x[i, r, k + s - 1, l + t - 1] where 0 <= k + s - 1 < " size \
  ", 0 <= l + t - 1 < " size " else 0 * w[j, r, s, t] -> y[i, j, k, l]\n}\n"

/* 1.2 MB of panels: a second cache of 2 MiB holds them, one of 1 MiB holds what a few images read, and one panel. */
static void images_stay_where_panels_pass_by(void **state) {
  (void)state;
  target small = wide;
  small.l1_bytes = 32 << 10;
  small.l2_bytes = 1 << 20;
  assert_schedule_on(&wide, CONVOLUTION("64", "16"), "schedule { for i parallel, j/32,");
  assert_schedule_on(&small, CONVOLUTION("64", "16"), "schedule { for i/2 parallel, j/32 parallel, i, k, l/8 peel,");
  assert_schedule_on(&small, CONVOLUTION("60", "8"), "schedule { for i/8 parallel, j/32 parallel, i, k,");
  assert_schedule_on(&small, CONVOLUTION("64", "32"), "schedule { for i parallel, j/32, k, l/8 peel,");
  assert_schedule_on(&small, CONVOLUTION("64", "64"), "schedule { for j/32 parallel, i parallel, k, l/8 peel,");
  assert_schedule_on(&small, CONVOLUTION("8", "8"), "schedule { for i/8 parallel, j/32 parallel,");
}

/* From panels of rows to panels of columns, and where rows are short. */
static void panels_are_turned_by_squares(void **state) {
  (void)state;
  assert_schedule("kernel k {\n  in x : f32[784,256] {1/32 0 1%32}\n  out y : f32[784,256] {0/32 1 0%32}\n  axes i:784 j:256\n  c[i,j] : f32 = x[i, j] -> y[i, j]\n}\n",
                  "schedule { for i/32 parallel, j/16 parallel, i/16, j unroll, i vector;");
  assert_schedule("kernel k {\n  in x : f32[784,16]\n  out y : f32[784,16] {0/32 1 0%32}\n  axes i:784 j:16\n  c[i,j] : f32 = x[i, j] -> y[i, j]\n}\n",
                  "schedule { for i/32, j, i/16, i vector }");
}

#define GRADIENT(rows, columns) \
  "kernel k {\n  in x : f32[4096," rows "]\n  in z : f32[4096," columns "]\n  out y : f32[" rows "," columns "]\n  axes i:" rows " j:" columns " r:4096\n" \
  "  s[i,j] : f32 = sum r of x[r, i] * z[r, j] -> y[i, j]\n}\n"

/* Long sums are streamed, the axis of the larger operand outermost; not where few rows find their panel in the second cache. */
static void long_sums_are_streamed(void **state) {
  (void)state;
  target small = wide;
  small.l2_bytes = 1 << 20;
  assert_schedule_on(&small, GRADIENT("256", "512"), "schedule { for j/32 parallel, i/64 parallel, r/");
  assert_schedule_on(&small, GRADIENT("512", "256"), "schedule { for i/64 parallel, j/32 parallel, r/");
  assert_schedule_on(&small, GRADIENT("64", "256"), "schedule { for j/32 parallel, i/8 parallel, r/4,");
}

/* Beside panels of twelve vectors have twelve lanes, whatever is summed there. */
static void vectors_end_with_panels(void **state) {
  (void)state;
#define SUMS_AND_PANELS(panels) \
  "kernel k {\n  in x : f32[1024,96]\n  out y : f32[16,96]\n  out z : f32[1024,96] " panels "\n  axes c:16 i:96 r:64\n" \
  "  s[c,i] : f32 = sum r of x[64*c + r, i] -> y[c, i]\n  t[c,i,r] : f32 = x[64*c + r, i] -> z[64*c + r, i]\n}\n"
  assert_schedule(SUMS_AND_PANELS("{1/12 0 1%12}"), "schedule { for c parallel, r, i/12, i vector }");
  assert_schedule(SUMS_AND_PANELS("{1/32 0 1%32}"), "schedule { for c parallel, r, i/16, i vector }");
}

/* Values of rows do not decide against reading along the rows. */
static void rows_are_read_along(void **state) {
  (void)state;
  assert_schedule("kernel k {\n  in x : f32[1024,192]\n  out y : f32[1024]\n  out z : f32[1024]\n  out w : f32[1024]\n  axes i:1024 r:192\n"
                  "  s[i] : f32 = sum r of x[i, r] -> y[i]\n  t[i] : f32 = s * 2 -> z[i]\n  u[i] : f32 = s + t -> w[i]\n}\n", "schedule { for i parallel, r/64, r/16 unroll, r vector");
}

/* Twelve rows of a tile, eight where these lie in panels of 32. */
static void tiles_stay_in_panels_of_rows(void **state) {
  (void)state;
#define ROWS_IN(panels) \
  "kernel k {\n  in x : f32[256,96]" panels "\n  in z : f32[256,512]\n  out y : f32[96,512]\n  axes i:96 j:512 r:256\n" \
  "  s[i,j] : f32 = sum r of x[r, i] * z[r, j] -> y[i, j]\n}\n"
  assert_schedule(ROWS_IN(""), "schedule { for j/256 parallel, i/12 parallel,");
  assert_schedule(ROWS_IN(" {1/32 0 1%32}"), "schedule { for j/256 parallel, i/8 parallel,");
}

static const target gpu = {.name = "gpu", .warps = true, .vector_bytes = 128, .vector_registers = 32, .l1_bytes = 16 << 10, .l2_bytes = 64 << 10};

#define GPU_PRODUCT(i, j, r) \
  "kernel k {\n  in x : f32[" i "," r "]\n  in w : f32[" r "," j "]\n  out y : f32[" i "," j "]\n  axes i:" i " j:" j " r:" r "\n  s[i,j] : f32 = sum r of x[i, r] * w[r, j] -> y[i, j]\n}\n"

/* Large tiles multiply more for each load; where there is little to do, small ones keep more warps busy. */
static void tiles_leave_enough_warps(void **state) {
  (void)state;
  assert_schedule_on(&gpu, GPU_PRODUCT("8192", "8192", "512"), "schedule { for j/256 parallel, i/8 parallel, r/4, r unroll, i unroll, j/128 unroll, j/4 vector, j unroll");
  assert_schedule_on(&gpu, GPU_PRODUCT("512", "512", "128"), "schedule { for j/64 parallel, i/4 parallel, r/16, r unroll, i unroll, j/2 vector, j unroll");
  assert_schedule_on(&gpu, GPU_PRODUCT("64", "128", "32"), "schedule { for j/32 parallel, i parallel, r/16, r unroll, j vector");
}

#define COLUMN_SUMS(rows, columns) \
  "kernel k {\n  in x : f32[" rows "," columns "]\n  out y : f32[" columns "]\n  axes i:" rows " j:" columns "\n  s[j] : f32 = sum i of x[i, j] -> y[j]\n}\n"

/* Few results of long sums: lanes along the sum, though each reads a line of its own. */
static void lanes_follow_long_sums_of_few_results(void **state) {
  (void)state;
  assert_schedule_on(&gpu, COLUMN_SUMS("256", "64"), "schedule { for j parallel, i/128, i/32 unroll, i vector");
  assert_schedule_on(&gpu, COLUMN_SUMS("16", "65536"), "schedule { for j/64 parallel, i/4, i unroll, j/2 vector, j unroll");
}

#define NARROW_PRODUCT(i, j, r) \
  "kernel k {\n  in x : bf16[" i "," r "]\n  in w : bf16[" r "," j "]\n  out y : f32[" i "," j "]\n  axes i:" i " j:" j " r:" r "\n  s[i,j] : f32 = sum r of f32(x[i, r]) * f32(w[r, j]) -> y[i, j]\n}\n"

static int64_t pieces_of(const target *t, const char *text) {
  arena *a = arena_new();
  const int64_t pieces = pieces_for_teams(kernel_of_text(a, text), t);
  arena_free(a);
  return pieces;
}

/* Large blocks where there are enough of them; sums are cut where there are not, unless there is little to do. */
static void teams_leave_no_processor_idle(void **state) {
  (void)state;
  target with_unit = gpu;
  with_unit.tiles = true;
  assert_schedule_on(&with_unit, NARROW_PRODUCT("8192", "8192", "1024"), "schedule { team 128 128 ");
  assert_schedule_on(&with_unit, NARROW_PRODUCT("131072", "64", "576"), "schedule { team 256 64 ");
  assert_schedule_on(&with_unit, NARROW_PRODUCT("512", "512", "512"), "schedule { team 64 64 ");
  assert_int_equal(pieces_of(&with_unit, NARROW_PRODUCT("8192", "8192", "1024")), 1);
  assert_int_equal(pieces_of(&with_unit, NARROW_PRODUCT("512", "512", "512")), 1);
  assert_in_range(pieces_of(&with_unit, NARROW_PRODUCT("256", "2304", "65536")), 4, 16);
  assert_int_equal(pieces_of(&with_unit, NARROW_PRODUCT("512", "512", "8")), 0);
  assert_int_equal(pieces_of(&gpu, NARROW_PRODUCT("256", "2304", "65536")), 0);
}

/* Where they are asked for, and the product is one for them. What a group cannot make is made in another way. */
static void groups_are_asked_for(void **state) {
  (void)state;
  target with_unit = gpu;
  with_unit.tiles = with_unit.groups = true;
  assert_schedule_on(&with_unit, NARROW_PRODUCT("8192", "8192", "1024"), "schedule { team 128 256 64 of 64 256, stages 4, groups }");
  assert_schedule_on(&with_unit, NARROW_PRODUCT("131072", "64", "576"), "schedule { team 128 64 64 of 64 64, stages 4, groups }");
  assert_schedule_on(&with_unit, NARROW_PRODUCT("512", "512", "512"), "schedule { team 64 64 64 of 64 64, stages 4, groups }");
  with_unit.boxes = true;
  assert_schedule_on(&with_unit, NARROW_PRODUCT("512", "512", "512"), "schedule { team 64 64 64 of 64 64, stages 4, groups, boxes }");
  assert_schedule_on(&with_unit, NARROW_PRODUCT("8192", "8192", "32"), "schedule { team 128 128 32 of 64 64, stages 3 }");
  assert_schedule_on(&with_unit,
                     "kernel k {\n  in x : bf16[8192,1024]\n  in w : bf16[1024,64,8]\n  out y : f32[8192,64,8]\n  axes i:8192 j:64 l:8 r:1024\n"
                     "  s[i,j,l] : f32 = sum r of f32(x[i, r]) * f32(w[r, j, l]) -> y[i, j, l]\n}\n",
                     "schedule { for ");
}

/* The pixels of a patch are told apart when code is made. */
static void short_runs_are_spelled_out(void **state) {
  (void)state;
  assert_schedule("kernel k {\n  in x : u8[64,3,32,32]\n  out y : f32[64,64,48]\n  axes i:64 j:64 k:48\n"
                  "  p[i,j,k] : f32 = f32(x[i, k % 3, k / 12 + 4*(j / 8), 4*(j % 8) + k / 3 % 4]) -> y[i, j, k]\n}\n",
                  "schedule { for i parallel, j, k/16 unroll, k vector }");
  assert_schedule("kernel k {\n  in x : f32[64,64,48]\n  out y : f32[64,64,48]\n  axes i:64 j:64 k:48\n  p[i,j,k] : f32 = exp(x[i, j, k]) -> y[i, j, k]\n}\n",
                  "schedule { for i parallel, j, k/16, k vector }");
}

static void sums_of_rows_walk_along_them(void **state) {
  (void)state;
  assert_schedule("kernel k {\n  in x : f32[256,128]\n  out y : f32[256]\n  out z : f32[256]\n  axes i:256 r:128\n  s[i] : f32 = sum r of x[i, r] -> y[i]\n"
                  "  t[i] : f32 = sum r of x[i, r] * x[i, r] -> z[i]\n}\n",
                  "schedule { for i parallel, r/64, r/16 unroll, r vector");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_argmax_is_alone_in_being_scalar),
      cmocka_unit_test(tiles_leave_enough_warps),
      cmocka_unit_test(teams_leave_no_processor_idle),
      cmocka_unit_test(groups_are_asked_for),
      cmocka_unit_test(lanes_follow_long_sums_of_few_results),
      cmocka_unit_test(epilogues_read_along_rows),
      cmocka_unit_test(images_stay_where_panels_pass_by),
      cmocka_unit_test(panels_are_turned_by_squares),
      cmocka_unit_test(short_runs_are_spelled_out),
      cmocka_unit_test(sums_of_rows_walk_along_them),
      cmocka_unit_test(long_sums_are_streamed),
      cmocka_unit_test(tiles_stay_in_panels_of_rows),
      cmocka_unit_test(vectors_end_with_panels),
      cmocka_unit_test(rows_are_read_along),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
