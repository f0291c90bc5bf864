/* Plans: text form, meaning, and what the verifier refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/plan.h"

#define SCALE                                                                                                          \
  "kernel 0 is kernel scale {\n"                                                                                       \
  "  in w : f32[4]\n"                                                                                                  \
  "  in rate : f32[]\n"                                                                                                \
  "  out y : f32[4]\n"                                                                                                 \
  "  axes i:4\n"                                                                                                       \
  "  s[i] : f32 = w[i] - rate[] * w[i] -> y[i]\n"                                                                      \
  "}\n"

static const char step[] = "plan \"one \\\"step\\\"\" arena 128 {\n"
                           "buffer 0 : f32[4] state \"state\" \"w\" bytes 16\n"
                           "buffer 1 : f32[] data bytes 4 splat 0.5\n"
                           "buffer 2 : f32[4] temporary bytes 16 lives 0 1\n"
                           "buffer 3 : f32[4] temporary bytes 16 at 64 lives 1 2\n"
                           "buffer 4 : f32[4] result \"state\" \"w\" bytes 16 lives 3 3 alias 0\n"
                           "buffer 5 : f32[4] result \"output\" \"y\" bytes 16 lives 2 2\n"
                           "buffer 6 : f32[4] data bytes 16 literal 1 2 3 4\n" SCALE "kernel 1 is kernel add {\n"
                           "  in x : f32[4]\n"
                           "  in z : f32[4]\n"
                           "  out y : f32[4]\n"
                           "  axes i:4\n"
                           "  s[i] : f32 = x[i] + z[i] -> y[i]\n"
                           "}\n"
                           "schedule { for i/4, i vector }\n"
                           "launch 0 on 0 1 2\n"
                           "launch 0 on 2 1 3\n"
                           "launch 1 on 3 6 5\n"
                           "launch 0 on 0 1 4\n"
                           "}\n";

static plan *parse(arena *a, const char *text, const char **errors) {
  sources *s = sources_new(a);
  diagnostics *d = diagnostics_new(a, s);
  plan *p = plan_parse(a, sources_add(s, "test", text, strlen(text)), d);
  *errors = p ? "" : diagnostics_render(d, a, false);
  if (!p) assert_true(d->errors > 0);
  return p;
}

static plan *parse_sound(arena *a, const char *text) {
  const char *errors;
  plan *p = parse(a, text, &errors);
  if (!p) fail_msg("%s", errors);
  return p;
}

static char *with(arena *a, const char *text, const char *part, const char *instead) {
  const char *at = strstr(text, part);
  assert_non_null(at);
  return arena_printf(a, "%.*s%s%s", (int)(at - text), text, instead, at + strlen(part));
}

static void texts_print_as_they_were(void **state) {
  (void)state;
  arena *a = arena_new();
  plan *p = parse_sound(a, step);
  assert_string_equal(plan_print(p, a), step);
  assert_ptr_equal(p->launches[0].kernel, p->launches[3].kernel);
  assert_int_equal(plan_find(p, "output", "y"), 5);
  assert_int_equal(plan_find(p, "output", "x"), -1);
  arena_free(a);
}

static void bundles_print_as_they_were(void **state) {
  (void)state;
  arena *a = arena_new();
  char *text = with(a, with(a, step, "lives 1 2", "lives 1 3"), "launch 1 on 3 6 5\nlaunch 0 on", "launch 1 on 3 6 5\nlaunch 0 beside on");
  plan *p = parse_sound(a, text);
  assert_string_equal(plan_print(p, a), text);
  assert_int_equal(plan_bundle_end(p, 1), 2);
  assert_int_equal(plan_bundle_end(p, 2), 4);
  assert_string_equal(plan_bundle_name(&p->launches[0], 2, a), "scale x2");
  assert_string_equal(plan_bundle_name(&p->launches[2], 2, a), "add, scale");
  plan_note_lives(p); /* the bundle is one moment */
  assert_int_equal(p->buffers[3].last, 3);
  assert_int_equal(p->buffers[4].first, 2);
  arena_free(a);
}

static void plans_run(void **state) {
  (void)state;
  arena *a = arena_new();
  float w[4] = {8, 16, 24, 32};
  const char *error;
  void **data = plan_interpret(parse_sound(a, step), &(graph_binding){"state", "w", w}, 1, a, &error);
  assert_non_null(data);
  const float *updated = data[4], *output = data[5];
  for (int i = 0; i < 4; i++) {
    assert_true(updated[i] == w[i] / 2);
    assert_true(output[i] == w[i] / 4 + (float)(i + 1));
  }
  assert_null(plan_interpret(parse_sound(a, step), NULL, 0, a, &error));
  assert_non_null(strstr(error, "state w"));
  arena_free(a);
}

/* A loop that runs down: h <- h * x[i] + b, with h after each iteration stacked. */
static const char loop[] = "plan \"loop\" arena 192 {\n"
                           "buffer 0 : f32[3,2] data \"data\" \"x\" bytes 24\n"
                           "buffer 1 : f32[2] data \"data\" \"h\" bytes 8\n"
                           "buffer 2 : f32[2] data \"data\" \"b\" bytes 8\n"
                           "buffer 3 : f32[2] result \"output\" \"last\" bytes 8\n"
                           "buffer 4 : f32[3,2] result \"output\" \"all\" bytes 24\n"
                           "buffer 5 : u8[192] temporary bytes 192\n"
                           "repeat 3 reverse carries 1 slices 1 block 5 on 1 0 2 gives 3 4 of region \"region\" arena 192 {\n"
                           "buffer 0 : f32[2] state \"state\" \"0\" bytes 8\n"
                           "buffer 1 : f32[2] data \"slice\" \"0\" bytes 8\n"
                           "buffer 2 : f32[2] data \"invariant\" \"0\" bytes 8\n"
                           "buffer 3 : i32[] data \"index\" \"i\" bytes 4 at 64\n"
                           "buffer 4 : f32[2] result \"state\" \"0\" bytes 8 alias 0\n"
                           "buffer 5 : f32[2] result \"output\" \"0\" bytes 8 at 128 lives 0 1\n"
                           "kernel 0 is kernel step {\n"
                           "  in h : f32[2]\n"
                           "  in x : f32[2]\n"
                           "  in b : f32[2]\n"
                           "  out next : f32[2]\n"
                           "  out y : f32[2]\n"
                           "  axes i:2\n"
                           "  s[i] : f32 = h[i] * x[i] + b[i] -> next[i]\n"
                           "  t[i] : f32 = s -> y[i]\n"
                           "}\n"
                           "launch 0 on 0 1 2 4 5\n"
                           "}\n"
                           "}\n";

static void loops_print_as_they_were_and_run(void **state) {
  (void)state;
  arena *a = arena_new();
  const plan *p = parse_sound(a, loop);
  assert_string_equal(plan_print(p, a), loop);
  const float x[] = {1, 2, 3, 4, 5, 6}, h[] = {1, 1}, b[] = {10, 20}, all[] = {65, 268, 55, 124, 15, 26};
  graph_binding bindings[] = {{"data", "x", x}, {"data", "h", h}, {"data", "b", b}};
  const char *error = "";
  void **data = plan_interpret(p, bindings, 3, a, &error);
  if (!data) fail_msg("%s", error);
  assert_memory_equal(data[4], all, sizeof all);
  assert_memory_equal(data[3], all, 2 * sizeof *all);
  arena_free(a);
}

static const struct {
  const char *part, *instead, *message;
} refused_loops[] = {
    {"repeat 3 reverse", "repeat 0", "runs its region 0 times"},
    {"repeat 3 reverse", "repeat 4", "has not the type of what its loop gives"},
    {"carries 1 slices 1", "carries 2 slices 2", "fewer operands or results than carries and slices"},
    {"carries 1 slices 1", "carries 1 slices 0", "slice \"0\" of a region is not in its loop"},
    {"on 1 0 2", "on 1 0", "invariant \"0\" of a region is not in its loop"},
    {"on 1 0 2", "on 1 0 9", "expected a number from 0 to below 6"},
    {"gives 3 4", "gives 3", "output \"0\" of a region is not in its loop"},
    {"gives 3 4", "gives 3 3", "has not the type of the loop's result"},
    {" block 5", "", "the arena of its region has no place"},
    {"buffer 5 : u8[192] temporary bytes 192", "buffer 5 : u8[64] temporary bytes 64", "the arena of its region has no place"},
    {"\"slice\" \"0\" bytes 8", "\"slice\" \"0\" bytes 8 at 64", "live at the same time"},
    {"at 128 lives 0 1", "at 128", "is wanted behind launch 0"},
    {"of region \"region\"", "of plan \"region\"", "expected region"},
    {"result \"output\" \"0\"", "result \"output\" \"1\"", "is not in its loop"},
};

static const struct {
  const char *part, *instead, *message;
} refused[] = {
    {"launch 0 on 2 1 3", "launch 0 on 3 1 2", "before it is written"},
    {"launch 0 on 2 1 3", "launch 0 on 2 0 3", "does not have the type"},
    {"launch 0 on 2 1 3", "launch 0 on 2 1 2", "a second time"},
    {"launch 0 on 2 1 3", "launch 0 on 2 1 6", "content from outside"},
    {"launch 0 on 2 1 3", "launch 0 on 2 1 9", "expected a number from 0 to below 7"},
    {"at 64 lives 1 2", "lives 1 2", "overlap"},
    {"at 64 lives 1 2", "at 32 lives 1 2", "multiple of 64"},
    {"at 64 lives 1 2", "at 128 lives 1 2", "beyond the arena"},
    {"at 64 lives 1 2", "at 64 lives 1 1", "used outside"},
    {"temporary bytes 16 at 64", "temporary bytes 12 at 64", "needs 16"},
    {"launch 1 on 3 6 5\nlaunch 0 on 0 1 4", "launch 0 on 0 1 4\nlaunch 1 on 0 6 5", "has overwritten"},
    {"launch 0 on 0 1 4\n", "", "nothing writes it"},
    {"launch 1 on 3 6 5\n", "", "nothing writes it"},
    {"alias 0", "alias 1", "would overwrite"},
    {"lives 2 2", "lives 2 2 alias 0", "overwrite the same buffer"},
    {"w[i] - rate", "w[3 - i] - rate", "elsewhere"},
    {"launch 0 on 0 1 2", "launch 0 beside on 0 1 2", "launch 0 is beside none"},
    {"launch 0 on 2 1 3", "launch 0 beside on 2 1 3", "launch 1 reads buffer 2 before it is written"},
    {"launch 1 on 3 6 5\nlaunch 0 on", "launch 1 on 3 0 5\nlaunch 0 beside on", "launch 2 uses buffer 0, which buffer 4 (w) has overwritten"},
    {"launch 1 on 3 6 5\nlaunch 0 on", "launch 1 on 3 6 5\nlaunch 0 beside on", "used outside launches 1 to 2"},
};

static void unsound_plans_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    arena *a = arena_new();
    const char *errors;
    plan *p = parse(a, with(a, step, refused[i].part, refused[i].instead), &errors);
    if (p || !strstr(errors, refused[i].message)) fail_msg("%s: %s", refused[i].instead, errors);
    arena_free(a);
  }
}

static void unsound_loops_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused_loops / sizeof *refused_loops; i++) {
    arena *a = arena_new();
    const char *errors;
    plan *p = parse(a, with(a, loop, refused_loops[i].part, refused_loops[i].instead), &errors);
    if (p || !strstr(errors, refused_loops[i].message)) fail_msg("%s: %s", refused_loops[i].instead, errors);
    arena_free(a);
  }
}

static void memory_is_used_again(void **state) {
  (void)state;
  arena *a = arena_new();
  char *text = with(a, step, "kernel 0 is", "buffer 7 : f32[4] temporary bytes 128 lives 4 4\nkernel 0 is");
  text = with(a, text, "launch 0 on 0 1 4\n", "launch 0 on 0 1 4\nlaunch 0 on 6 1 7\n");
  parse_sound(a, text);
  arena_free(a);
}

/* m is updated in place and its new value used behind: allowed at the same point, not in a sum. */
static void optimisers_update_in_place(void **state) {
  (void)state;
  arena *a = arena_new();
  sources *s = sources_new(a);
  diagnostics *d = diagnostics_new(a, s);
#define HEAD "kernel k { in m : f32[4] in w : f32[4] out n : f32[4] out v : f32[4] out t : f32[] axes i:4\n"
  const char *texts[] = {
      HEAD "x[i] : f32 = m[i] * 0.5 -> n[i] y[i] : f32 = w[i] - x -> v[i] z[] : f32 = sum i of w[i] -> t[] }",
      HEAD "x[i] : f32 = m[i] * 0.5 -> n[i] y[i] : f32 = w[i] - m[i] -> v[i] z[] : f32 = sum i of w[i] -> t[] }",
      HEAD "x[i] : f32 = m[i] * 0.5 -> n[i] z[] : f32 = sum i of x -> t[] y[i] : f32 = w[i] - x -> v[i] }"};
  bool m_in_place[] = {true, false, false}, w_in_place[] = {false, false, true};
  for (int i = 0; i < 3; i++) {
    uint32_t offset = 0;
    kernel *k = kernel_parse(a, sources_add(s, "test", texts[i], strlen(texts[i])), &offset, d);
    if (!k) fail_msg("%s", diagnostics_render(d, a, false));
    assert_int_equal(kernel_updates_in_place(k, 0, 2, a), m_in_place[i]);
    assert_int_equal(kernel_updates_in_place(k, 1, 3, a), w_in_place[i]);
  }
  arena_free(a);
}

static void damaged_texts_do_no_harm(void **state) {
  (void)state;
  static const char *const texts[] = {step, loop};
  for (size_t i = 0; i < 2; i++)
    for (size_t at = 0; at < strlen(texts[i]); at++) {
      arena *a = arena_new();
      const char *errors;
      char *text = arena_string(a, texts[i]);
      text[at] = "0:}9\" "[at % 6];
      parse(a, text, &errors);
      text[at] = 0;
      parse(a, text, &errors);
      arena_free(a);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(texts_print_as_they_were),  cmocka_unit_test(plans_run),
      cmocka_unit_test(unsound_plans_are_refused), cmocka_unit_test(optimisers_update_in_place),
      cmocka_unit_test(damaged_texts_do_no_harm),  cmocka_unit_test(memory_is_used_again),
      cmocka_unit_test(bundles_print_as_they_were), cmocka_unit_test(loops_print_as_they_were_and_run), cmocka_unit_test(unsound_loops_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
