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
};

static char *with(arena *a, const char *text, const char *part, const char *instead) {
  const char *at = strstr(text, part);
  assert_non_null(at);
  return arena_printf(a, "%.*s%s%s", (int)(at - text), text, instead, at + strlen(part));
}

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
  for (size_t at = 0; at < strlen(step); at++) {
    arena *a = arena_new();
    const char *errors;
    char *text = arena_string(a, step);
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
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
