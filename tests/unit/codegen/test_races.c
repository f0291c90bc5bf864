/* The emulation of a GPU finds accesses to memory of the chip that nothing orders, whatever order it ran them in, and says whose they
 * are. Kernels by hand, each right and with a barrier or wait less. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/cuda/source.h"
#include "tests/emulation/emulation.h"
#include "tests/unit/codegen/inputs.h"

enum { THREADS = 64 };

/* What is wrong with a kernel of 64 threads, `body` of which sees its buffer b0 and 64 numbers on the chip; NULL: nothing. */
static const char *wrong_with(const char *body, arena *a) {
  float memory[THREADS] __attribute__((aligned(16))) = {0};
  void *buffers[] = {memory};
  const char *error = NULL;
  loops *l = loops_new(a, "by_hand");
  loops_add_buffer(l, (loops_buffer){.name = "b0", .type = DTYPE_F32, .place = PLACE_ARGUMENT, .written = true, .elements = THREADS});
  l->n_arguments = 1;
  const char *text = arena_printf(a,
                                  "KERNEL void by_hand(f32 *b0) {\n"
                                  "  const i32 t = (i32)threadIdx.x, lane = t %% 32;\n"
                                  "  f32 *const row = (f32 *)shared;\n"
                                  "  CALLED(\"row\", row, 64);\n"
                                  "  (void)lane;\n%s\n}\n",
                                  body);
  const emulated_kernel k = {.symbol = "by_hand", .loops = l, .source = {.text = text, .blocks = 2, .threads = THREADS, .synchronises = true}};
  emulation *e = emulation_of(&k, 1, a, &error);
  if (!e) fail_msg("%s", error);
  const char *wrong = emulation_run(e, 0, buffers);
  wrong = wrong ? arena_string(a, wrong) : NULL;
  emulation_free(e);
  return wrong;
}

/* `all`: right; without the first `less` in it: wrong, and the message has all of `says`. */
static void check_needs(const char *all, const char *less, const char *const *says) {
  arena *a = arena_new();
  const char *at = strstr(all, less), *wrong = wrong_with(all, a);
  if (wrong) fail_msg("%s\n%s", wrong, all);
  assert_non_null(at);
  const char *rest = arena_printf(a, "%.*s%s", (int)(at - all), all, at + strlen(less));
  wrong = wrong_with(rest, a);
  if (!wrong) fail_msg("not found:\n%s", rest);
  for (; *says; says++)
    if (!strstr(wrong, *says)) fail_msg("%s, instead of: %s\n%s", wrong, *says, rest);
  arena_free(a);
}

#define SAYS(...) (const char *const[]){__VA_ARGS__, NULL}
#define WRITE(at) "row[WRITES(row, " at ", 1, 64)] = 1.0f;"
#define READ(at) "b0[t] = row[READS(row, " at ", 1, 64)];"

static void warps_wait_at_barriers(void **state) {
  (void)state;
  check_needs(WRITE("t") "__syncthreads();" READ("63 - t"), "__syncthreads();", SAYS("a race in block 0: row[", "] is ", " by thread ", "nothing orders them"));
  check_needs(READ("63 - t") "__syncthreads();" WRITE("t"), "__syncthreads();", SAYS("read by thread", "written by thread"));
  check_needs("if (t == 0) " WRITE("5") "__syncthreads(); if (t == 63) " WRITE("5"), "__syncthreads();", SAYS("row[5]", "written by thread 0", "written by thread 63"));
}

/* Within a warp __syncwarp is enough; between warps it is not. Shuffles, in which lanes meet too, order nothing. */
static void lanes_wait_for_each_other(void **state) {
  (void)state;
  check_needs(WRITE("t") "__syncwarp();" READ("t ^ 1"), "__syncwarp();", SAYS("row["));
  check_needs(WRITE("t") "shuffle_f32(0, 0); __syncwarp();" READ("t ^ 1"), "__syncwarp();", SAYS("row["));
  check_needs("if (lane == 3) " WRITE("t") "__syncwarp();" "if (lane == 4) " READ("t - 1"), "__syncwarp();", SAYS("row[3]", "thread 3", "thread 4"));
  check_needs(WRITE("t") "__syncwarp(); __syncthreads();" READ("t ^ 32"), "__syncthreads();", SAYS("row["));
  /* What a lane knows of others it hands on: 0 to its warp, that to all. */
  check_needs("if (t == 0) " WRITE("7") "__syncwarp(); if (t == 1) " WRITE("7") "__syncthreads(); if (t == 40) " READ("7"), "__syncwarp();", SAYS("row[7]", "thread 0", "thread 1"));
}

/* Neighbours in a word are not the same memory. */
static void bytes_are_told_apart(void **state) {
  arena *a = arena_new();
  (void)state;
  const char *wrong = wrong_with("u16 *const half = (u16 *)shared; half[WRITES(half, t, 1, 128)] = 1; u8 *const byte = shared + 256; byte[WRITES(byte, t, 1, 64)] = 1;", a);
  if (wrong) fail_msg("%s", wrong);
  check_needs("u8 *const byte = shared; byte[WRITES(byte, t, 1, 64)] = 1; __syncthreads(); if (lane == 0) load_4(&row[READS(row, t / 4, 4, 64)]);", "__syncthreads();", SAYS("race"));
  arena_free(a);
}

#define COPY(to) "copy_16(on_chip(row + " to "), b0 + t % 16 * 4, true); COPIES_COMMIT();"

/* A copy writes from when it is started to when its own thread has waited for it, and others have met that one. */
static void copies_are_waited_for(void **state) {
  (void)state;
  check_needs("if (t < 16) {" COPY("4 * t") "COPIES_WAIT(0);" READ("4 * t") "}", "COPIES_WAIT(0);", SAYS("written by a copy of thread", "read by thread"));
  check_needs("if (t < 16) {" COPY("4 * t") "COPIES_WAIT(0); } __syncthreads();" READ("63 - t"), "COPIES_WAIT(0);", SAYS("a copy of thread"));
  check_needs("if (t < 16) {" COPY("4 * t") "COPIES_WAIT(0); } __syncthreads();" READ("63 - t"), "__syncthreads();", SAYS("a copy of thread"));
  check_needs("if (t < 16) {" COPY("4 * t") "COPIES_WAIT(0); } __syncthreads();" WRITE("63 - t"), "COPIES_WAIT(0);", SAYS("written by a copy of thread", "and written by thread"));
  /* Only the older of two groups is there behind COPIES_WAIT(1). */
  check_needs("if (t < 8) {" COPY("4 * t") COPY("32 + 4 * t") "COPIES_WAIT(1);" READ("4 * t") "COPIES_WAIT(0);" READ("32 + 4 * t") "}", "COPIES_WAIT(0);", SAYS("a copy of thread"));
  /* Two copies to one place are in no order. */
  check_needs("if (t < 8) {" COPY("4 * t") "COPIES_WAIT(0);" COPY("4 * t") "COPIES_WAIT(0); }", "COPIES_WAIT(0);", SAYS("written by a copy of thread", "and written by a copy of thread"));
}

/* A ring of two stages: the next copy goes where everyone must have read. */
static void stages_are_read_before_they_are_overwritten(void **state) {
  (void)state;
  check_needs("for (i32 step = 0; step < 6; step++) {"
              "  if (t < 8) copy_16(on_chip(row + step % 2 * 32 + 4 * t), b0 + 4 * t, true);"
              "  COPIES_COMMIT(); COPIES_WAIT(0); __syncthreads();"
              "  b0[t] = row[READS(row, step % 2 * 32 + 31 - lane, 1, 64)];"
              "}",
              "__syncthreads();", SAYS("a copy of thread"));
  check_needs("for (i32 step = 0; step < 6; step++) {"
              "  if (t < 16) copy_16(on_chip(row + 4 * t), b0 + 4 * t, true);"
              "  COPIES_COMMIT(); COPIES_WAIT(0); __syncthreads();"
              "  b0[t] = row[READS(row, 63 - t, 1, 64)];"
              "  __syncthreads(); }",
              "  __syncthreads(); ", SAYS("read by thread", "written by a copy of thread"));
}

/* The matrix unit reads for the lane that names a row, and for those that get parts of it. */
static void squares_are_there_before_they_are_read(void **state) {
  (void)state;
  check_needs("u32 r[4]; " WRITE("t") "__syncthreads(); if (t < 32) load_squares(r, on_chip(row + lane % 16 * 4));", "__syncthreads();", SAYS("written by thread", "read by thread"));
  check_needs("u32 r[4]; if (t < 32) load_squares(r, on_chip(row + lane % 16 * 4)); __syncthreads();" WRITE("t"), "__syncthreads();", SAYS("read by thread", "written by thread"));
  check_needs("u32 r[4] = {0}; f32 c[8] = {0}; if (t < 32) {" WRITE("t") " tile_dot(c, r, r); __syncwarp(); " READ("31 - t") "}", "__syncwarp(); ", SAYS("row["));
  check_needs("f32 c[8] = {0}; if (t < 32) tile_store(row, 16, c, lane); __syncthreads();" READ("63 - t"), "__syncthreads();", SAYS("written by thread", "read by thread"));
}

/* What is wrong with a generated kernel that has `instead` of the `which`th `less`; NULL: nothing. *found: there is one. */
static const char *wrong_with_other(const loops *l, const char *less, const char *instead, int which, bool *found, arena *a) {
  uint32_t groups[] = {0, 1, 2};
  const char *error = NULL;
  void **buffers = ARENA_ARRAY(a, void *, l->n_arguments);
  emulated_kernel k = {.symbol = "kernel", .loops = l};
  if (!cuda_source_of(l, &(source_options){.symbol = "kernel", .groups = groups, .checked = true}, a, &k.source, &error)) fail_msg("%s", error);
  const char *at = k.source.text;
  for (int i = 0; at && i <= which; i++) at = strstr(at + (i > 0), less);
  *found = at;
  if (at) k.source.text = arena_printf(a, "%.*s%s%s", (int)(at - k.source.text), k.source.text, instead, at + strlen(less));
  for (uint32_t i = 0; i < l->n_arguments; i++) buffers[i] = memset(aligned_alloc(64, buffer_bytes(&l->buffers[i])), 0, buffer_bytes(&l->buffers[i]));
  emulation *e = emulation_of(&k, 1, a, &error);
  if (!e) fail_msg("%s", error);
  const char *wrong = emulation_run(e, 0, buffers);
  wrong = wrong ? arena_string(a, wrong) : NULL;
  emulation_free(e);
  for (uint32_t i = 0; i < l->n_arguments; i++) free(buffers[i]);
  return wrong;
}

typedef struct {
  const char *line, *instead;
  int needed;
} needed_line;

/* How many of each are needed; as it is, nothing is wrong. */
static void check_needed(const char *text, const needed_line *lines, size_t n) {
  arena *a = arena_new();
  loops *l = NULL;
  const char *fault = lowering_fault(kernel_of_text(a, text), a, 1, &l);
  if (fault) fail_msg("%s", fault);
  for (size_t i = 0; i < n; i++) {
    bool found = true;
    int needed = 0;
    for (int which = 0; found; which++) {
      const char *wrong = wrong_with_other(l, lines[i].line, lines[i].instead, which, &found, a);
      if (wrong && !found) fail_msg("%s", wrong);
      needed += wrong != NULL;
    }
    if (needed != lines[i].needed) fail_msg("%d of %s are needed instead of %d", needed, lines[i].line, lines[i].needed);
  }
  arena_free(a);
}

/* A product by a team has no barrier of the block, and no wait, too many; of its warps' it has one where nothing was written yet. */
static void barriers_of_a_team_are_needed(void **state) {
  static const needed_line lines[] = {{"__syncthreads();", "", 1}, {"COPIES_WAIT(1);", "", 1}, {"__syncwarp();", "", 3}};
  (void)state;
  check_needed("kernel product {\n  in x : bf16[64,160]\n  in w : bf16[160,64]\n  out y : f32[64,64]\n  axes i:64 j:64 k:160\n"
               "  acc[i,j] : f32 = sum k of f32(x[i, k]) * f32(w[k, j]) -> y[i, j]\n}\nschedule { team 64 64 32 of 32 32, stages 3 }\n",
               lines, sizeof lines / sizeof *lines);
}

/* Five steps through three stages: the barrier in a step; the beginning of arrivals; what arrivals are told of, and both boxes, before
 * the loop and in it; the wait for them; the wait for products in the loop; and the right number of bytes. */
static void waits_for_boxes_are_needed(void **state) {
  static const needed_line lines[] = {{"__syncthreads();", "", 1},           {"arrivals_begin(", "(void)(", 1}, {"arrival_expect(", "(void)(", 2}, {"box_2(", "(void)(", 4},
                                      {"arrival_wait(", "(void)(", 1},       {"PRODUCTS_WAIT(1)", "(void)0", 1}, {"_expect(arrivals + 8u * (u32)0, 16384", "_expect(arrivals + 8u * (u32)0, 8192", 1}};
  (void)state;
  check_needed("kernel product {\n  in x : bf16[64,320]\n  in w : bf16[320,64]\n  out y : f32[64,64]\n  axes i:64 j:64 k:320\n"
               "  acc[i,j] : f32 = sum k of f32(x[i, k]) * f32(w[k, j]) -> y[i, j]\n}\nschedule { team 64 64 64 of 64 64, stages 3, groups, boxes }\n",
               lines, sizeof lines / sizeof *lines);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(warps_wait_at_barriers),  cmocka_unit_test(lanes_wait_for_each_other),
                                     cmocka_unit_test(bytes_are_told_apart),    cmocka_unit_test(copies_are_waited_for),
                                     cmocka_unit_test(stages_are_read_before_they_are_overwritten), cmocka_unit_test(squares_are_there_before_they_are_read),
                                     cmocka_unit_test(barriers_of_a_team_are_needed), cmocka_unit_test(waits_for_boxes_are_needed)};
  return cmocka_run_group_tests_name("codegen/races", tests, NULL, NULL);
}
