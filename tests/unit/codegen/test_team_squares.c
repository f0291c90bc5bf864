/* Squares by teams of warps: attention and a contrastive loss, forward and backward, in bf16 and tf32. The loops give what the
 * definition says, and the text, run by the emulation or a GPU that SSLC_TEST_DEVICE names, the bits that the loops give. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "passes/team.h"
#include "tests/unit/codegen/team_testing.h"

typedef struct {
  int batch, rows, columns, depth;
  const char *team, *of_two; /* squares, which take more memory */
} size;

/* Warps below each other, beside each other, and both; blocks that fit, are cut off, and are longer than what there is. */
static const size sizes[] = {
    {2, 64, 64, 32, "team 64 64 16 of 16 64, stages 2", "team 64 32 16 of 16 32, stages 2"},
    {2, 37, 53, 24, "team 32 64 16 of 16 32, stages 2", "team 32 64 16 of 16 32, stages 2"},
    {2, 40, 70, 40, "team 32 32 16 of 16 32, stages 2", "team 16 32 16 of 16 32, stages 3"},
    {2, 33, 20, 48, "team 16 64 16 of 16 32, stages 2", "team 16 64 16 of 16 32, stages 2"},
    {2, 19, 150, 16, "team 16 128 16 of 16 32, stages 2", "team 16 64 16 of 16 32, stages 2"},
    {2, 16, 32, 96, "team 16 32 16 of 16 32, stages 2", "team 16 32 16 of 16 32, stages 2"},
};

/* Where a value lies near the middle between two of bf16, it may be rounded to either: few are off by more than sums in another order. */
static double off(const kernel_buffer *b, const void *found, const void *expected) {
  double difference = 0, norm = 0;
  for (int64_t e = 0; e < type_elements(&b->type); e++) {
    const double x = element_load(b->type.dtype, found, e).real, y = element_load(b->type.dtype, expected, e).real;
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return difference == 0 ? 0 : sqrt(difference / norm);
}

/* The buffers of the loops, laid out, of what the definition gives. */
static void check_definition(const kernel *k, void **inputs, void *const *found, double tolerance, arena *a) {
  void **plain = ARENA_ARRAY(a, void *, k->n_buffers);
  for (int results = 0; results < 2; results++) {
    for (uint32_t i = 0; i < k->n_buffers; i++) {
      const kernel_buffer *b = &k->buffers[i];
      void *back = arena_alloc(a, (size_t)type_bytes(&b->type) + 64);
      if (!results) layout_gather(&b->layout, &b->type, inputs[i], plain[i] = back);
      if (!results || b->access == ACCESS_IN) continue;
      layout_gather(&b->layout, &b->type, found[i], back);
      const double by = off(b, back, plain[i]);
      if (!(by < tolerance)) fail_msg("%s is off by %g\n%s", b->name, by, kernel_print(k, a));
    }
    if (!results) kernel_interpret(k, plain, a);
  }
}

static void check_one(const char *text, bool compiles, double tolerance) {
  arena *a = arena_new();
  kernel *k = kernel_of_text(a, text);
  const char *error = NULL;
  const loops *l = lower_kernel(k, a, &error);
  if (!l) fail_msg("%s\n%s", error, text);
  error = loops_verify(l, a);
  if (error) fail_msg("%s\n%s\n%s", error, text, loops_print(l, a));
  team_squares form;
  int64_t bytes = 0;
  for (uint32_t i = l->n_arguments; i < l->n_buffers; i++) bytes += l->buffers[i].elements * (int64_t)dtype_bytes(l->buffers[i].type);
  if (!kernel_team_squares(k, &form) || bytes > team_squares_bytes(&form, &k->schedule.team)) fail_msg("%s takes %lld bytes of the chip, more than was thought", text, (long long)bytes);
  if (getenv("SHOW_LOOPS")) puts(loops_print(l, a));
  void **inputs = laid_out_inputs(k, a), **expected = copy_buffers(a, l, inputs), **found = copy_buffers(a, l, inputs);
  loops_interpret(l, expected, a);
  check_definition(k, inputs, expected, tolerance, a);
  error = gpu_run(plan_of(a, &l, 1), found);
  if (error) fail_msg("%s\n%s", error, loops_print(l, a));
  for (uint32_t i = 0; i < l->n_arguments && !gpu_is_real(); i++) assert_same(l, i, found[i], expected[i]);
  if (gpu_is_real()) check_definition(k, inputs, found, tolerance, a);
  if (compiles) check_compiles(l, a);
  arena_free(a);
}

/* NVRTC takes its time: not every size. */
static void check_both(const char *text, size_t number) {
  char *rounded = in_tf32(text);
  check_one(text, number % 3 == 0, 2e-3);
  check_one(rounded, number % 3 == 2, 1e-3);
  free(rounded);
}

/* softmax(q k / 4) v, with a mask or without; also its maxima and sums. Where all scores are far below 0, what lies beyond the columns
 * has exponentials that are infinite. */
static void attention(void **state) {
  static const char far_below[] = " + max(abs(s) * -1000, -200)";
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char text[2000];
    const size *s = &sizes[i];
    snprintf(text, sizeof text,
             "kernel forward {\n  in q : bf16[%d,%d,%d]\n  in k : bf16[%d,%d,%d]\n  in v : bf16[%d,%d,%d]\n  out m : f32[%d,%d]\n  out t : f32[%d,%d]\n  out y : %s[%d,%d,%d]\n"
             "  axes b:%d i:%d j:%d r:%d d:%d\n"
             "  s[b,i,j] : f32 = sum r of f32(q[b, i, r]) * f32(k[b, j, r])\n"
             "  scores[b,i,j] : f32 = %ss * 0.25%s%s\n"
             "  most[b,i] : f32 = max j of scores -> m[b, i]\n"
             "  part[b,i,j] : f32 = exp(scores - most)\n"
             "  total[b,i] : f32 = sum j of part -> t[b, i]\n"
             "  p[b,i,j] : f32 = part / total\n"
             "  acc[b,i,d] : f32 = sum j of f32(bf16(p)) * f32(v[b, j, d])%s\n%s}\nschedule { %s }\n",
             s->batch, s->rows, s->depth, s->batch, s->columns, s->depth, s->batch, s->columns, s->depth, s->batch, s->rows, s->batch, s->rows, i % 2 ? "bf16" : "f32", s->batch, s->rows, s->depth,
             s->batch, s->rows, s->columns, s->depth, s->depth, i % 2 ? "select(le(i32(j), i32(i)), " : "", i == 2 ? far_below : "", i % 2 ? ", -1e+30)" : "", i % 2 ? "" : " -> y[b, i, d]",
             i % 2 ? "  z[b,i,d] : bf16 = bf16(acc / total) -> y[b, i, d]\n" : "", s->team);
    check_both(text, i);
  }
}

/* Derivatives by rows, which need two squares and a sum of both of them. */
static void gradients_by_rows(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char text[2000];
    const size *s = &sizes[i];
    snprintf(text, sizeof text,
             "kernel by_rows {\n  in g : bf16[%d,%d,%d]\n  in q : bf16[%d,%d,%d]\n  in k : bf16[%d,%d,%d]\n  in v : bf16[%d,%d,%d]\n  in m : f32[%d,%d]\n  out t : f32[%d,%d]\n  out y : f32[%d,%d,%d]\n"
             "  axes b:%d i:%d j:%d r:%d c:%d d:%d\n"
             "  s[b,i,j] : f32 = sum r of f32(q[b, i, r]) * f32(k[b, j, r])\n"
             "  u[b,i,j] : f32 = sum c of f32(g[b, i, c]) * f32(v[b, j, c])\n"
             "  part[b,i,j] : f32 = exp(s * 0.1 - m[b, i])\n"
             "  total[b,i] : f32 = sum j of u * part -> t[b, i]\n"
             "  p[b,i,j] : f32 = select(le(i32(j), i32(i)), (u - total * 0.01) * part, 0)\n"
             "  acc[b,i,d] : f32 = sum j of f32(bf16(p)) * f32(k[b, j, d]) -> y[b, i, d]\n}\nschedule { %s }\n",
             s->batch, s->rows, s->depth, s->batch, s->rows, s->depth, s->batch, s->columns, s->depth, s->batch, s->columns, s->depth, s->batch, s->rows, s->batch, s->rows, s->batch, s->rows, s->depth,
             s->batch, s->rows, s->columns, s->depth, s->depth, s->depth, s->of_two);
    check_both(text, i);
  }
}

/* Derivatives by columns of a square: two products in one sweep; what softmax reduced is read for each column. */
static void gradients_by_columns(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char text[2400];
    const size *s = &sizes[i];
    snprintf(text, sizeof text,
             "kernel by_columns {\n  in g : bf16[%d,%d,%d]\n  in q : bf16[%d,%d,%d]\n  in k : bf16[%d,%d,%d]\n  in v : bf16[%d,%d,%d]\n  in m : f32[%d,%d]\n  in t : f32[%d,%d]\n"
             "  out x : f32[%d,%d,%d]\n  out y : f32[%d,%d,%d]\n  axes b:%d j:%d i:%d r:%d c:%d d:%d e:%d\n"
             "  s[b,j,i] : f32 = sum r of f32(q[b, j, r]) * f32(k[b, i, r])\n"
             "  u[b,j,i] : f32 = sum c of f32(g[b, j, c]) * f32(v[b, i, c])\n"
             "  part[b,j,i] : f32 = exp(s * 0.1 - m[b, j])\n"
             "  p[b,j,i] : f32 = select(le(i32(i), i32(j)), (u - t[b, j]) * part, 0)\n"
             "  by_value[b,i,d] : f32 = sum j of f32(bf16(part)) * f32(g[b, j, d]) -> x[b, i, d]\n"
             "  by_key[b,i,e] : f32 = sum j of f32(bf16(p)) * f32(q[b, j, e]) -> y[b, i, e]\n}\nschedule { %s }\n",
             s->batch, s->columns, s->depth, s->batch, s->columns, s->depth, s->batch, s->rows, s->depth, s->batch, s->rows, s->depth, s->batch, s->columns, s->batch, s->columns, s->batch, s->rows, s->depth,
             s->batch, s->rows, s->depth, s->batch, s->columns, s->rows, s->depth, s->depth, s->depth, s->depth, s->of_two);
    check_both(text, i);
  }
}

/* No batch, both sides of one buffer; a result of rows that is a map, and operands that are computed. */
static void contrastive_loss(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char text[2000];
    const size *s = &sizes[i];
    const int n = s->columns, half = s->columns / 2;
    snprintf(text, sizeof text,
             "kernel loss {\n  in x : bf16[%d,%d]\n  in y : bf16[%d,%d]\n  in z : bf16[%d,%d]\n  out l : f32[%d]\n  out e : f32[%d,%d]\n  axes i:%d j:%d r:%d d:%d\n"
             "  s[i,j] : f32 = sum r of f32(z[i, r]) * select(lt(j, %d), f32(x[j, r] where 0 <= j < %d else 0), f32(y[j - %d, r] where %d <= j < %d else 0))\n"
             "  scores[i,j] : f32 = select(eq(i32(i), i32(j)), -1e+30, s * 0.2)\n"
             "  most[i] : f32 = max j of scores\n"
             "  total[i] : f32 = sum j of exp(scores - most)\n"
             "  rows[i] : f32 = most + log(total) -> l[i]\n"
             "  weight[i] : f32 = 0.125 / total\n"
             "  p[i,j] : f32 = select(eq(i32(i), i32(j)), f32(0), weight * exp(scores - most))\n"
             "  acc[i,d] : f32 = sum j of f32(bf16(p)) * f32(z[j, d]) -> e[i, d]\n}\nschedule { %s }\n",
             half, s->depth, n - half, s->depth, n, s->depth, n, n, s->depth, n, n, s->depth, s->depth, half, half, half, half, n, s->team);
    check_both(text, i);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(attention), cmocka_unit_test(gradients_by_rows), cmocka_unit_test(gradients_by_columns), cmocka_unit_test(contrastive_loss)};
  return cmocka_run_group_tests(tests, find_compiler, close_compiler);
}
