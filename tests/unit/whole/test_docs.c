/* The pages under docs/: their programs compile, and the reference of the language names every function.
 *
 * A fenced block `ssl` is a program, or definitions; `ssl body` is the body of a pretext. Other blocks are no
 * programs of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "frontend/library.h"
#include "frontend/session.h"

static const char *const pages[] = {"language.md", "extending.md"};

static const char *read_page(const char *name, arena *a) {
  size_t length;
  const char *text = session_read_text(NULL, arena_printf(a, SOURCE_DIR "/docs/%s", name), &length, a);
  if (!text) fail_msg("docs/%s cannot be read", name);
  return text;
}

static const char *whole_program(const char *part, bool body, arena *a) {
  static const char *const train = "train docs { data: docs_data, batch: 8, steps: 1, optimizer: sgd(lr: 0.1) }\n";
  static const char *const data = "data docs_data = shapes(count: 16, size: 8, classes: 4)\n";
  if (body) return arena_printf(a, "%smodel f = small_cnn(16)\npretext docs(img, label) {\n%sminimize mean(f(img))\n}\n%s", data, part, train);
  if (strstr(part, "\ntrain ")) return part;
  return arena_printf(a, "%s%smodel docs_model = small_cnn(4)\npretext docs(img) { minimize mean(docs_model(img)) }\n%s", part, data, train);
}

static void check_block(const char *page, const char *part, bool body) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  const char *text = whole_program(part, body, a);
  open_data data = {.root = SOURCE_DIR, .arena = a};
  data_catalog catalog = {&data, open_data_describe, open_data_read, open_data_weights};
  lower_options o = {.real = DTYPE_F32, .catalog = &catalog};
  experiment *x = lower_program(sources_add(d->sources, page, text, strlen(text)), &o, d, a);
  open_data_release(&data);
  if (!x) fail_msg("a block of docs/%s does not compile:\n%s\n%s", page, text, diagnostics_render(d, a, false));
  arena_free(a);
}

static void programs_on_the_pages_compile(void **state) {
  (void)state;
  arena *a = arena_new();
  uint32_t blocks = 0;
  for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
    const char *at = read_page(pages[i], a);
    while ((at = strstr(at, "\n```ssl"))) {
      const char *begin = strchr(at + 1, '\n') + 1, *end = strstr(begin, "```");
      bool body = !strncmp(at, "\n```ssl body\n", 13);
      assert_non_null(end);
      if (body || !strncmp(at, "\n```ssl\n", 8)) {
        check_block(pages[i], arena_substring(a, begin, (size_t)(end - begin)), body);
        blocks++;
      }
      at = end + 3;
    }
  }
  assert_true(blocks >= 5);
  arena_free(a);
}

static void expect_on_page(const char *page, const char *what, const char *from) {
  if (!strstr(page, what)) fail_msg("docs/language.md does not have %s, which %s defines", what, from);
}

static void every_builtin_is_in_the_reference(void **state) {
  (void)state;
  arena *a = arena_new();
  const char *page = read_page("language.md", a);
#define BUILTIN(function, signature, doc) expect_on_page(page, "`" signature "`", "builtins.def");
#include "frontend/builtins.def"
  arena_free(a);
}

static void every_library_function_is_in_the_reference(void **state) {
  (void)state;
  arena *a = arena_new();
  const char *page = read_page("language.md", a);
  for (const library_file *f = library_files; f->name; f++) {
    for (const char *line = f->text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
      char kind[16], name[64];
      if (sscanf(line, "%15[a-z] %63[a-z0-9_](", kind, name) != 2) continue;
      if (strcmp(kind, "fn") && strcmp(kind, "encoder") && strcmp(kind, "net") && strcmp(kind, "augment") && strcmp(kind, "optimizer")) continue;
      const char *called = arena_printf(a, "`%s(", name), *alone = arena_printf(a, "`%s`", name);
      if (!strstr(page, alone)) expect_on_page(page, called, f->name);
    }
  }
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(programs_on_the_pages_compile),
      cmocka_unit_test(every_builtin_is_in_the_reference),
      cmocka_unit_test(every_library_function_is_in_the_reference),
  };
  return cmocka_run_group_tests_name("whole/docs", tests, NULL, NULL);
}
