/* Arena, sources, diagnostics, element types, the table of primitives, layouts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/diagnostic.h"
#include "ir/layout.h"
#include "ir/op.h"
#include "ir/scan.h"

static void arena_gives_zeroed_aligned_memory(void **state) {
  (void)state;
  arena *a = arena_new();
  for (size_t n = 1; n < 100000; n = n * 3 + 1) {
    unsigned char *p = arena_alloc(a, n);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
    memset(p, 0xff, n);
  }
  int *items = NULL;
  uint32_t count = 0, capacity = 0;
  for (int i = 0; i < 1000; i++) *ARENA_PUSH(a, items, count, capacity) = i;
  for (int i = 0; i < 1000; i++) assert_int_equal(items[i], i);
  assert_string_equal(arena_printf(a, "%s-%d", "x", 7), "x-7");
  arena_free(a);
}

static void arena_escapes_when_memory_is_short(void **state) {
  (void)state;
  arena *a = arena_new();
  jmp_buf escape;
  arena_on_exhausted(a, &escape);
  if (setjmp(escape) == 0) {
    arena_alloc(a, SIZE_MAX);
    fail_msg("an impossible request was granted");
  }
  arena_free(a);
}

/* One beside another escapes where that one does, and goes with it, or before it, in any order. */
static void arenas_beside_another_go_with_it(void **state) {
  (void)state;
  arena *a = arena_new(), *beside[4];
  jmp_buf escape;
  arena_on_exhausted(a, &escape);
  for (int i = 0; i < 4; i++) memset(arena_alloc(beside[i] = arena_beside(i == 3 ? beside[2] : a), 5000), 0xff, 5000);
  arena_free(beside[1]);
  if (setjmp(escape) == 0) {
    arena_alloc(beside[3], SIZE_MAX);
    fail_msg("an impossible request was granted");
  }
  arena_free(beside[0]);
  const unsigned char *p = arena_alloc(beside[2], 5000);
  for (int i = 0; i < 5000; i++) assert_int_equal(p[i], 0);
  arena_free(a);
}

/* What is not done by the library reads as if it were. */
static void texts_are_those_of_the_library(void **state) {
  (void)state;
  arena *a = arena_new();
  static const char *const words[] = {"", "x", "a name", "percent % and more"};
  static const long long numbers[] = {0, 7, -1, 10, -90, 4294967296, INT64_MAX, INT64_MIN};
  for (size_t w = 0; w < sizeof words / sizeof *words; w++)
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
      text_buffer t = {.arena = a};
      char expected[400];
      snprintf(expected, sizeof expected, "[%s|%u|%lld|%c|%*s|%%|%s|%02x|%s|%lld]", words[w], (unsigned)numbers[n], numbers[n], 'c', (int)(n * 3), words[w], "y", (unsigned)n, words[w], numbers[n]);
      text_add(&t, "[%s|%u|%lld|%c|%*s|%%|%s|%02x|%s|%lld]", words[w], (unsigned)numbers[n], numbers[n], 'c', (int)(n * 3), words[w], "y", (unsigned)n, words[w], numbers[n]);
      assert_string_equal(text_done(&t), expected);
      text_add(&t, "%s%u%*s%lld", words[w], (unsigned)n, 4, words[w], numbers[n]); /* and goes on */
      snprintf(expected + strlen(expected), 100, "%s%u%*s%lld", words[w], (unsigned)n, 4, words[w], numbers[n]);
      assert_string_equal(text_done(&t), expected);
    }
  const double reals[] = {0, -0.0, 3, -9, 10, 0.1, 1e-5, 0.003921569f, 1.0 / 3, 6.02214076e23};
  for (int round = 0; round < 2; round++) /* the second time they are known */
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
      for (dtype t = DTYPE_F32; t <= DTYPE_F64; t++) {
        const double v = scalar_round(t, (scalar){.real = reals[i]}).real;
        const char *text = scalar_text(t, (scalar){.real = v}, a);
        const double back = scalar_round(t, (scalar){.real = strtod(text, NULL)}).real;
        assert_true(back == v && signbit(back) == signbit(v));
      }
  assert_string_equal(scalar_text(DTYPE_F32, (scalar){.real = (float)0.1}, a), "0.1");
  assert_string_equal(scalar_text(DTYPE_F64, (scalar){.real = (float)0.1}, a), "0.10000000149011612");
  assert_string_equal(scalar_text(DTYPE_I64, (scalar){.integer = INT64_MIN}, a), "-9223372036854775808");
  arena_free(a);
}

static void places_are_lines_and_columns(void **state) {
  (void)state;
  arena *a = arena_new();
  sources *s = sources_new(a);
  uint32_t f = sources_add(s, "a.ssl", "one\n\nthree", 10);
  position p = source_position(s, f, 7);
  assert_int_equal(p.line, 3);
  assert_int_equal(p.column, 3);
  assert_int_equal(source_offset(s, f, 3, 3), 7);
  assert_int_equal(source_offset(s, f, 1, 99), 4); /* never past the line */
  assert_string_equal(span_text(s, (span){f, 4, 4}, a), "a.ssl:2:1");
  assert_string_equal(span_text(s, (span){0, 0, 0}, a), "");
  span j = span_join((span){f, 2, 3}, (span){f, 5, 9});
  assert_int_equal(j.start, 2);
  assert_int_equal(j.end, 9);
  arena_free(a);
}

static void diagnostics_show_line_and_caret_in_order(void **state) {
  (void)state;
  arena *a = arena_new();
  sources *s = sources_new(a);
  uint32_t f = sources_add(s, "m.ssl", "let a = b\nlet c = d @ e\n", 24);
  diagnostics *d = diagnostics_new(a, s);
  diagnostic *x = diagnose(d, DIAG_SHAPE_MISMATCH, (span){f, 18, 23}, "sizes %d and %d differ", 3, 4);
  diagnostic_add_note(d, x, (span){f, 8, 9}, "b was made here");
  diagnostic_set_help(d, x, "use one size");
  diagnose(d, DIAG_UNKNOWN_NAME, (span){f, 8, 9}, "nothing is called b");
  assert_int_equal(d->errors, 2);
  assert_string_equal(diagnostics_render(d, a, false),
                      "m.ssl:1:9: error[E0301]: nothing is called b\n"
                      "    1 | let a = b\n"
                      "      |         ^\n"
                      "m.ssl:2:9: error[E0403]: sizes 3 and 4 differ\n"
                      "    2 | let c = d @ e\n"
                      "      |         ^~~~~\n"
                      "m.ssl:1:9: note: b was made here\n"
                      "    1 | let a = b\n"
                      "      |         ^\n"
                      "help: use one size\n");
  arena_free(a);
}

static void every_code_has_a_title_and_an_explanation(void **state) {
  (void)state;
  int last = 0;
  for (uint32_t i = 0; diagnostic_number(i); i++) {
    int n = diagnostic_number(i);
    assert_true(n > last); /* in order, hence unique */
    assert_true(strlen(diagnostic_title(n)) > 5);
    assert_true(strlen(diagnostic_explanation(n)) > 40);
    last = n;
  }
  assert_null(diagnostic_title(99999));
}

static void types_count_and_print(void **state) {
  (void)state;
  arena *a = arena_new();
  tensor_type t = make_type(DTYPE_F32, 2, (int64_t[]){256, 128});
  assert_string_equal(type_text(&t, a), "f32[256,128]");
  assert_int_equal(type_elements(&t), 32768);
  tensor_type one = scalar_type(DTYPE_I64);
  assert_string_equal(type_text(&one, a), "i64[]");
  assert_int_equal(type_bytes(&one), 8);
  tensor_type huge = make_type(DTYPE_F32, 3, (int64_t[]){1 << 30, 1 << 30, 1 << 30});
  assert_int_equal(type_elements(&huge), -1);
  tensor_type empty = make_type(DTYPE_F32, 3, (int64_t[]){1 << 30, 0, 1 << 30});
  assert_int_equal(type_elements(&empty), 0);
  arena_free(a);
}

static void conversions_saturate_and_round(void **state) {
  (void)state;
  assert_int_equal(scalar_convert(DTYPE_F64, DTYPE_U8, (scalar){.real = 300.5}).integer, 255);
  assert_int_equal(scalar_convert(DTYPE_F64, DTYPE_I32, (scalar){.real = -2.9}).integer, -2);
  assert_int_equal(scalar_convert(DTYPE_F32, DTYPE_I64, (scalar){.real = NAN}).integer, 0);
  assert_int_equal(scalar_convert(DTYPE_I64, DTYPE_U8, (scalar){.integer = 257}).integer, 1);
  assert_int_equal(scalar_convert(DTYPE_F32, DTYPE_BOOL, (scalar){.real = 0.25}).integer, 1);
  /* bf16 has 8 significant bits: 257 lies halfway between 256 and 258 and goes to the even one; a
   * double just above halfway must go up, though rounding over float would call it a tie. */
  assert_true(scalar_round(DTYPE_BF16, (scalar){.real = 257}).real == 256);
  assert_true(scalar_round(DTYPE_BF16, (scalar){.real = 259}).real == 260);
  assert_true(scalar_round(DTYPE_BF16, (scalar){.real = 257 + 1e-9}).real == 258);
  assert_true(scalar_round(DTYPE_BF16, (scalar){.real = 257 - 1e-9}).real == 256);
  assert_true(isnan(scalar_round(DTYPE_BF16, (scalar){.real = NAN}).real));
  assert_true(isinf(scalar_round(DTYPE_BF16, (scalar){.real = 1e300}).real));
}

static scalar real2(op_id op, double x, double y) {
  return op_evaluate(op, DTYPE_F64, DTYPE_F64, (scalar[]){{.real = x}, {.real = y}});
}

static int64_t integer2(op_id op, dtype t, int64_t x, int64_t y) {
  return op_evaluate(op, t, t, (scalar[]){{.integer = x}, {.integer = y}}).integer;
}

static void primitives_mean_what_the_table_says(void **state) {
  (void)state;
  assert_true(isnan(real2(OP_MAX, NAN, 1).real) && isnan(real2(OP_MAX, 1, NAN).real));
  assert_true(real2(OP_MOD, -1, 3).real == 2);
  assert_int_equal(integer2(OP_FLOOR_DIV, DTYPE_I32, -7, 2), -4);
  assert_int_equal(integer2(OP_MOD, DTYPE_I32, -7, 2), 1);
  assert_int_equal(integer2(OP_FLOOR_DIV, DTYPE_I64, 5, 0), 0);
  assert_int_equal(integer2(OP_FLOOR_DIV, DTYPE_I64, INT64_MIN, -1), INT64_MIN);
  assert_int_equal(integer2(OP_ADD, DTYPE_U8, 250, 10), 4);
  assert_int_equal(integer2(OP_SHR, DTYPE_I32, -8, 1), -4);
  assert_int_equal(integer2(OP_SHR, DTYPE_U32, 0xfffffff8u, 1), 0x7ffffffc);
  scalar bits = op_evaluate(OP_BITCAST, DTYPE_F32, DTYPE_U32, (scalar[]){{.real = 1.0}});
  assert_int_equal(bits.integer, 0x3f800000);
  assert_int_equal(op_evaluate(OP_LT, DTYPE_F32, DTYPE_BOOL, (scalar[]){{.real = NAN}, {.real = 1}}).integer, 0);
  dtype result;
  assert_true(op_result_dtype(OP_EQ, (dtype[]){DTYPE_I32, DTYPE_I32}, DTYPE_F32, &result) && result == DTYPE_BOOL);
  assert_false(op_result_dtype(OP_EXP, (dtype[]){DTYPE_I32}, DTYPE_F32, &result));
  assert_false(op_result_dtype(OP_ADD, (dtype[]){DTYPE_F32, DTYPE_F64}, DTYPE_F32, &result));
}

/* Known answers of Philox4x32-10 from the authors' distribution (Random123, kat_vectors). */
static void random_bits_are_philox(void **state) {
  (void)state;
  static const uint32_t zero[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  for (int64_t word = 0; word < 4; word++) {
    scalar args[6] = {{.integer = 0}, {.integer = 0}, {.integer = word}, {.integer = 0}, {.integer = 0}, {.integer = 0}};
    assert_int_equal((uint32_t)op_evaluate(OP_RANDOM_BITS, DTYPE_U32, DTYPE_U32, args).integer, zero[word]);
  }
}

static void table_rows_are_complete(void **state) {
  (void)state;
  for (int i = 0; i < OP_COUNT; i++) {
    const op_info *op = &op_table[i];
    assert_non_null(op->name);
    assert_int_equal(op_from_name(op->name, strlen(op->name)), i);
    assert_true(strlen(op->doc) > 1);
    if (!op->elementwise) continue;
    int separators = 0;
    for (const char *c = op->derivatives; *c; c++) separators += *c == ';';
    assert_true(separators == op->arity - 1 || !*op->derivatives);
  }
  assert_int_equal(op_from_name("nonesuch", 8), OP_COUNT);
}

static void layouts_place_elements(void **state) {
  (void)state;
  arena *a = arena_new();
  tensor_type image = make_type(DTYPE_F32, 4, (int64_t[]){2, 3, 4, 5});
  layout last = layout_permuted(&image, (uint32_t[]){0, 2, 3, 1});
  assert_string_equal(layout_text(&last, &image, a), "0 2 3 1");
  assert_int_equal(layout_offset(&last, &image, (int64_t[]){1, 2, 3, 4}), 1 * 60 + 3 * 15 + 4 * 3 + 2);

  tensor_type weight = make_type(DTYPE_F32, 4, (int64_t[]){100, 3, 2, 2});
  layout panels = layout_blocked(&weight, (uint32_t[]){0, 2, 3, 1}, 0, 64);
  assert_string_equal(layout_text(&panels, &weight, a), "0/64 2 3 1 0%64");
  assert_int_equal(layout_elements(&panels, &weight), 128 * 12);
  layout again;
  assert_true(layout_parse("0/64 2 3 1 0%64", &weight, &again) && layout_equal(&panels, &again));
  const char *const wrong[] = {"", "0 1 2", "0 1 2 3 3", "0/64 1 2 3", "0%64 1 2 3", "0/64 1 2 3 0%32", "0 1 2 9", "x", "0/0 1 2 3 0%0"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(layout_parse(wrong[i], &weight, &again));

  float *plain = ARENA_ARRAY(a, float, 1200), *packed = ARENA_ARRAY(a, float, 128 * 12), *back = ARENA_ARRAY(a, float, 1200);
  for (int i = 0; i < 1200; i++) plain[i] = (float)i + 1;
  for (int i = 0; i < 128 * 12; i++) packed[i] = -1;
  layout_scatter(&panels, &weight, plain, packed);
  layout_gather(&panels, &weight, packed, back);
  assert_memory_equal(plain, back, 1200 * sizeof(float));
  int zeros = 0;
  for (int i = 0; i < 128 * 12; i++) zeros += packed[i] == 0;
  assert_int_equal(zeros, 28 * 12); /* padding lanes */
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arena_gives_zeroed_aligned_memory),
      cmocka_unit_test(arena_escapes_when_memory_is_short),
      cmocka_unit_test(arenas_beside_another_go_with_it),
      cmocka_unit_test(texts_are_those_of_the_library),
      cmocka_unit_test(places_are_lines_and_columns),
      cmocka_unit_test(diagnostics_show_line_and_caret_in_order),
      cmocka_unit_test(every_code_has_a_title_and_an_explanation),
      cmocka_unit_test(types_count_and_print),
      cmocka_unit_test(conversions_saturate_and_round),
      cmocka_unit_test(primitives_mean_what_the_table_says),
      cmocka_unit_test(random_bits_are_philox),
      cmocka_unit_test(table_rows_are_complete),
      cmocka_unit_test(layouts_place_elements),
  };
  return cmocka_run_group_tests_name("ir/foundation", tests, NULL, NULL);
}
