/* Kernels: text form, meaning, and what the verifier refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "ir/kernel.h"

static const char conv_relu[] =
    "kernel conv_relu {\n"
    "  in x : f32[2,3,5,6] {0 2 3 1}\n"
    "  in w : f32[4,3,3,3]\n"
    "  in b : f32[4]\n"
    "  out y : f32[2,4,5,6] {0 2 3 1}\n"
    "  axes n:2 k:4 p:5 q:6 c:3 r:3 s:3\n"
    "  acc[n,k,p,q] : f32 = sum c r s of x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 5, "
    "0 <= q + s - 1 < 6 else 0 * w[k, c, r, s]\n"
    "  z[n,k,p,q] : f32 = max(acc + b[k], 0) -> y[n, k, p, q]\n"
    "}\n"
    "schedule { for n parallel, k/4, p peel, q/6, r, s unroll, c, q unroll, k vector; chunks 2 }\n";

static const char *const texts[] = {
    conv_relu,
    /* every kind of literal and cast */
    "kernel literals {\n"
    "  in x : bf16[4]\n"
    "  in i : i32[4]\n"
    "  out y : f32[4]\n"
    "  out z : bool[4]\n"
    "  out u : u32[4]\n"
    "  axes a:4\n"
    "  s0[a] : f32 = select(lt(x[a], 0.5), f32(x[a]) / 3 - -inf, nan) -> y[a]\n"
    "  s1[a] : bool = or(lt(i[a], -3), eq(f32(1), f32(i[a]))) -> z[a]\n"
    "  s2[a] : u32 = random_bits(1, 2, u32(a), 4294967295, 0, bitcast.u32(i[a])) -> u[a]\n"
    "}\n",
    /* index arithmetic, a transposed convolution's conditions, a clamped gather */
    "kernel indices {\n"
    "  in x : f32[7,8]\n"
    "  in i : i32[35]\n"
    "  out y : f32[35]\n"
    "  axes a:35\n"
    "  s0[a] : f32 = x[a / 5, a % 5] + x[(a + 4) / 5 - 1, 3] where 0 <= a - 1 < 36, (a - 1) % 5 == 0 else -1.5 + "
    "x[min(max(i64(i[a]), 0), 6), 2*(a % 3) + 1] -> y[a]\n"
    "}\n",
    /* reductions, argmax of a literal type, a rank 0 buffer, two writers */
    "kernel reductions {\n"
    "  in x : f32[3,4]\n"
    "  in t : f32[]\n"
    "  out m : i32[3]\n"
    "  out y : f32[3,8]\n"
    "  axes i:3 j:4\n"
    "  top[i] : f32 = max j of x[i, j]\n"
    "  total[i] : f32 = again sum j of exp(x[i, j] - top)\n"
    "  where_[i] : i32 = argmax j of x[i, j] -> m[i]\n"
    "  low[i,j] : f32 = exp(x[i, j] - top) / total * t[] -> y[i, j]\n"
    "  high[i,j] : f32 = -x[i, j] -> y[i, j + 4]\n"
    "}\n",
};

static kernel *parse(arena *a, const char *text, const char **errors) {
  sources *s = sources_new(a);
  diagnostics *d = diagnostics_new(a, s);
  uint32_t offset = 0;
  kernel *k = kernel_parse(a, sources_add(s, "test", text, strlen(text)), &offset, d);
  if (errors) *errors = diagnostics_render(d, a, false);
  else if (!k) fail_msg("%s", diagnostics_render(d, a, false));
  return k;
}

static void texts_print_as_they_were(void **state) {
  (void)state;
  arena *a = arena_new();
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    kernel *k = parse(a, texts[i], NULL);
    assert_string_equal(kernel_print(k, a), texts[i]);
    char *canonical = kernel_canonical(k, a);
    assert_string_equal(kernel_canonical(parse(a, canonical, NULL), a), canonical);
  }
  arena_free(a);
}

static void shared_parts_have_lines(void **state) {
  (void)state;
  arena *a = arena_new();
  kernel *k = kernel_new(a, "deep", (span){0});
  const expr *axis = expr_axis(k, kernel_add_axis(k, "i", 4));
  tensor_type t = make_type(DTYPE_F32, 1, (int64_t[]){4});
  uint32_t x = kernel_add_buffer(k, "x", t, ACCESS_IN);
  uint32_t y = kernel_add_buffer(k, "x", t, ACCESS_OUT);
  assert_string_not_equal(k->buffers[x].name, k->buffers[y].name);
  const expr *e = expr_read(k, x, &axis, NULL, 0, (scalar){0});
  for (int i = 0; i < 300; i++) {
    const expr *root = expr_apply(k, OP_TANH, DTYPE_F32, &e, 1);
    e = expr_apply(k, OP_MUL, DTYPE_F32, (const expr *[]){e, root}, 2);
  }
  kernel_add_stage(k, (stage){.name = "s", .type = DTYPE_F32, .body = e, .output = (int32_t)y, .index = &axis});
  assert_null(kernel_verify(k, a));
  char *text = kernel_print(k, a);
  assert_true(strlen(text) < 30000);
  assert_string_equal(kernel_print(parse(a, text, NULL), a), text);
  arena_free(a);
}

static void canonical_texts_forget_names(void **state) {
  (void)state;
  arena *a = arena_new();
  kernel *first = parse(a, "kernel one { in x : f32[4] out y : f32[4] axes i:4 s[i] : f32 = x[i] + 1 -> y[i] }", NULL);
  kernel *second = parse(a, "kernel two { in p : f32[4] out q : f32[4] axes j:4 t[j] : f32 = p[j] + 1 -> q[j] }", NULL);
  kernel *third = parse(a, "kernel two { in p : f32[4] out q : f32[4] axes j:4 t[j] : f32 = p[j] + 2 -> q[j] }", NULL);
  assert_string_equal(kernel_canonical(first, a), kernel_canonical(second, a));
  assert_string_not_equal(kernel_canonical(first, a), kernel_canonical(third, a));
  arena_free(a);
}

/* -- meaning -------------------------------------------------------------------------------------------- */

static void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
  }
}

static void convolution_is_one(void **state) {
  (void)state;
  arena *a = arena_new();
  static float x[2][3][5][6], w[4][3][3][3], b[4], y[2][4][5][6];
  fill(&x[0][0][0][0], 180, 1), fill(&w[0][0][0][0], 108, 2), fill(b, 4, 3);
  kernel_interpret(parse(a, conv_relu, NULL), (void *[]){x, w, b, y}, a);
  for (int n = 0; n < 2; n++)
    for (int k = 0; k < 4; k++)
      for (int p = 0; p < 5; p++)
        for (int q = 0; q < 6; q++) {
          double sum = 0;
          for (int c = 0; c < 3; c++)
            for (int r = 0; r < 3; r++)
              for (int s = 0; s < 3; s++) {
                int row = p + r - 1, column = q + s - 1;
                if (row < 0 || row >= 5 || column < 0 || column >= 6) continue;
                sum += (double)(x[n][c][row][column] * w[k][c][r][s]);
              }
          float expected = fmaxf((float)sum + b[k], 0);
          assert_memory_equal(&expected, &y[n][k][p][q], sizeof expected);
        }
  arena_free(a);
}

static void reductions_mind_nan_and_ties(void **state) {
  (void)state;
  arena *a = arena_new();
  float x[3][4] = {{1, 5, 5, 2}, {1, NAN, 3, NAN}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}};
  float t = 2, y[3][8];
  int32_t m[3];
  kernel_interpret(parse(a, texts[3], NULL), (void *[]){x, &t, m, y}, a);
  assert_int_equal(m[0], 1);
  assert_int_equal(m[1], 1);
  assert_int_equal(m[2], 0);
  double total = exp(-4) + 1 + 1 + exp(-3);
  assert_true(fabs(y[0][1] - 2 / total) < 1e-6);
  assert_true(isnan(y[1][0]));
  assert_true(y[0][4] == -1 && y[0][7] == -2);
  arena_free(a);
}

static void empty_reductions_have_identities(void **state) {
  (void)state;
  arena *a = arena_new();
  kernel *k = parse(a,
                    "kernel empty { in x : f32[2,0] out s : f32[2] out m : f32[2] axes i:2 j:0\n"
                    "total[i] : f32 = sum j of x[i, j] -> s[i] top[i] : f32 = max j of x[i, j] -> m[i] }",
                    NULL);
  float s[2] = {7, 7}, m[2] = {7, 7};
  kernel_interpret(k, (void *[]){NULL, s, m}, a);
  assert_true(s[0] == 0 && s[1] == 0);
  assert_true(m[0] == -INFINITY && m[1] == -INFINITY);
  arena_free(a);
}

static void integer_sums_wrap(void **state) {
  (void)state;
  arena *a = arena_new();
  kernel *k = parse(a, "kernel w { in x : u8[3] out y : u8[] axes i:3 s[] : u8 = sum i of x[i] -> y[] }", NULL);
  uint8_t x[3] = {200, 100, 5}, y;
  kernel_interpret(k, (void *[]){x, &y}, a);
  assert_int_equal(y, 49);
  arena_free(a);
}

/* -- what is refused --------------------------------------------------------------------------------------- */

#define MAP "in x : f32[4] out y : f32[4] axes i:4 j:4 "
static const struct {
  const char *text, *message;
} refused[] = {
    {"kernel k { " MAP "s[i] : f32 = x[i + 1] -> y[i] }", "outside 0 to 3"},
    {"kernel k { " MAP "s[i] : f32 = x[i - 1] where 0 <= i - 1 < 5, i % 2 == 0 else 0 -> y[i] }", "\0"},
    {"kernel k { " MAP "s[i] : f32 = x[i + 1] where 0 <= i < 4 else 0 -> y[i] }", "outside 0 to 3"},
    {"kernel k { " MAP "s[i] : f32 = x[i + j] -> y[i] }", "does not have"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> y[j] }", "not free"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> y[i / 2] }", "not proven to be disjoint"},
    {"kernel k { in x : f32[4] out y : f32[4] axes i:2 j:2 s[i,j] : f32 = x[i] -> y[i + j] }", "disjoint"},
    {"kernel k { in x : f32[4] out y : f32[8] axes i:4 s[i] : f32 = x[i] -> y[i] }",
     "4 elements of y are written, of 8"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> y[i] t[j] : f32 = x[j] -> y[j] }", "8 elements"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> x[i] }", "is an input"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> y[i] t[j] : f32 = s }", "without having its axes"},
    {"kernel k { " MAP "s[i] : f64 = f64(x[i]) -> y[i] }", "type of y"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> y[i] } schedule { for i/2 }", "down to step 1"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> y[i] } schedule { for i, i }", "decrease"},
    {"kernel k { " MAP "s[i] : f32 = x[i] -> y[i] } schedule { for j, i }", "no stage has it"},
    {"kernel k { " MAP "s[i] : f32 = sum j of x[j] -> y[i] } schedule { for i, j parallel }", "does not lead"},
    {"kernel k { " MAP "s[i] : f32 = sum j of x[j] -> y[i] } schedule { for j parallel, i }", "in parallel"},
    {"kernel k { " MAP "s[i] : f32 = sum j of x[j] -> y[i] } schedule { for i vector, j }", "inside a vector loop"},
    {"kernel k { " MAP "s[i] : f32 = x[i] + q -> y[i] }", "nothing here is named q"},
    {"kernel k { " MAP "s[i] : f32 = exp(1, 2) -> y[i] }", "expected )"},
    {"kernel k { " MAP "s[i] : f32 = x[i] + i -> y[i] }", "does not take operands"},
    {"kernel k { " MAP "s[i] : bool = lt(1, 2) -> y[i] }", "type of this number"},
    {"kernel k { " MAP "i[i] : f32 = x[i] -> y[i] }", "taken"},
};

static void unsound_kernels_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    arena *a = arena_new();
    const char *errors;
    kernel *k = parse(a, refused[i].text, &errors);
    bool sound = !*refused[i].message;
    if ((k != NULL) != sound || (!sound && !strstr(errors, refused[i].message)))
      fail_msg("%s\ngave %s", refused[i].text, errors);
    arena_free(a);
  }
}

/* Truncated and altered texts end in an error or in a sound kernel. */
static void damaged_texts_do_no_harm(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    size_t n = strlen(texts[i]);
    for (size_t at = 0; at < n; at++) {
      arena *a = arena_new();
      const char *errors;
      char *text = arena_substring(a, texts[i], at);
      parse(a, text, &errors);
      text = arena_string(a, texts[i]);
      text[at] = "0[)%x,"[at % 6];
      parse(a, text, &errors);
      arena_free(a);
    }
  }
}

static void writes_through_reshapes_are_proven(void **state) {
  (void)state;
  arena *a = arena_new();
  parse(a,
        "kernel k { in x : f32[2000000] out y : f32[1000,2000] axes m:2000000 "
        "s[m] : f32 = x[m] -> y[m % 1000, m / 1000] }",
        NULL);
  parse(a,
        "kernel k { in x : f32[30] out y : f32[5,3,2] axes m:30 "
        "s[m] : f32 = x[m] -> y[m / 2 % 5, m / 10, m % 2] }",
        NULL);
  arena_free(a);
}

static void contractions_have_a_form(void **state) {
  (void)state;
  arena *a = arena_new();
  contraction_form form;
  assert_true(stage_contraction(parse(a, conv_relu, NULL), 0, &form));
  assert_int_equal(form.batch, 0);
  assert_int_equal(form.left_only, 1 | 4 | 8);
  assert_int_equal(form.right_only, 2);
  assert_int_equal(form.reduced, 16 | 32 | 64);
  assert_false(stage_contraction(parse(a, conv_relu, NULL), 1, &form));
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(texts_print_as_they_were),
      cmocka_unit_test(shared_parts_have_lines),
      cmocka_unit_test(canonical_texts_forget_names),
      cmocka_unit_test(convolution_is_one),
      cmocka_unit_test(reductions_mind_nan_and_ties),
      cmocka_unit_test(empty_reductions_have_identities),
      cmocka_unit_test(integer_sums_wrap),
      cmocka_unit_test(unsound_kernels_are_refused),
      cmocka_unit_test(damaged_texts_do_no_harm),
      cmocka_unit_test(writes_through_reshapes_are_proven),
      cmocka_unit_test(contractions_have_a_form),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
