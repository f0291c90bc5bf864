/* Tokens, grammar, errors, the canonical form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/ast.h"

static arena *a;
static sources *s;
static diagnostics *d;

static int set_up(void **state) {
  (void)state;
  a = arena_new();
  s = sources_new(a);
  d = diagnostics_new(a, s);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  arena_free(a);
  return 0;
}

static ast_program *parse(const char *text) { return parse_program(sources_add(s, "p.ssl", text, strlen(text)), d, a); }

static const char *tree_of(const char *text) {
  ast_program *p = parse(text);
  if (d->errors) fail_msg("%s", diagnostics_render(d, a, false));
  return ast_print(p, a);
}

static char *read_program(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/tests/programs/%s.ssl", SOURCE_DIR, name);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  char *text = arena_alloc(a, 1 << 16);
  assert_true(fread(text, 1, (1 << 16) - 1, f) > 100);
  fclose(f);
  return text;
}

static const char *const programs[] = {"simclr", "byol", "moco", "mae", "swav", "dcgan", "gpt"};

static void whole_programs_parse(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    ast_program *p = parse(read_program(programs[i]));
    if (d->errors) fail_msg("%s", diagnostics_render(d, a, false));
    assert_true(p->n > 4);
  }
}

static void operators_bind_as_documented(void **state) {
  (void)state;
  assert_string_equal(tree_of("const x = -a ** 2 + b @ c |> f(k: 1)\n"),
                      "const x\n  binary |>\n    binary +\n      unary -\n        binary **\n          name a\n          number 2\n"
                      "      binary @\n        name b\n        name c\n    call\n      name f\n      k:\n        number 1\n");
  assert_string_equal(tree_of("const x = a[:, 1:-1].T\n"),
                      "const x\n  field T\n    index\n      name a\n      slice\n        (nothing)\n        (nothing)\n      slice\n        number 1\n"
                      "        unary -\n          number 1\n");
  assert_string_equal(tree_of("const x = (h, t) => [i for i in 0..n if i != h]\n"),
                      "const x\n  lambda\n    name h\n    name t\n    comprehension\n      name i\n      for\n        name i\n        binary ..\n"
                      "          number 0\n          name n\n        binary !=\n          name i\n          name h\n");
}

static void line_ends_end_statements_unless_the_text_goes_on(void **state) {
  (void)state;
  const char *one = tree_of("fn f(x) {\n  let y = x\n    |> g\n    + 1\n  y *\n    2\n}\n");
  assert_string_equal(one, tree_of("fn f(x) { let y = x |> g + 1\n\n\n  y * 2 }"));
  assert_string_equal(tree_of("fn f(x) = g(\n  x,\n  2,\n)\n"), tree_of("fn f(x) = g(x, 2)"));
}

static void keywords_are_names_elsewhere(void **state) {
  (void)state;
  tree_of("data data = cifar10(\"x\")\n"
          "model state = f(data: data.train, model: 3, weight: weight([2]))\n"
          "pretext p(train) {\n  let eval = train\n  state <- push(eval)\n  then\n  minimize report(eval) wrt state\n  weight([1])\n}\n"
          "train p {\n  data: data.train, optimizer: adam()\n  tune data { freeze: 1 }\n}\n"
          "eval (x) { knn(data: data) }\n"
          "model g = f() from \"a.safetensors\"\n");
}

static void mistakes_are_reported_together(void **state) {
  (void)state;
  static const struct {
    const char *text, *message;
  } cases[] = {
      {"option a = \nmodel f = g()\n", "p.ssl:1:11: error[E0201]: found the end of the line, expected a value"},
      {"model f g\n", "p.ssl:1:9: error[E0201]: found g, expected '='"},
      {"frobnicate x\n", "p.ssl:1:1: error[E0201]: found frobnicate, expected a declaration: option, data"},
      {"fn f(x) { let 3 = x\n  x }\n", "error[E0201]: found 3, expected a name or '('"},
      {"const x = 3 +\n", "found the end of the text, expected a value"},
      {"const x = (1, 2\n", "p.ssl:1:11: error[E0202]: this ( is never closed"},
      {"const x = \"abc\n", "p.ssl:1:11: error[E0102]: this string has no end on its line"},
      {"const x = 3abc\n", "p.ssl:1:11: error[E0103]: 3abc is neither a number nor a name"},
      {"const x = 2 ^ 3\n", "p.ssl:1:13: error[E0104]: ^ is no operator"},
      {"const x = 2 $ 3\n", "p.ssl:1:13: error[E0101]: '$' begins nothing"},
      {"const x = \xc3\xa4\n", "names and operators are plain ASCII"},
      {"const x = \x01\n", "the byte 0x01 stands outside"},
      {"const f = (1, x) => x\n", "p.ssl:1:12: error[E0201]: what stands before => are names"},
      {"train p {\n  batch = 3\n}\n", "p.ssl:2:9: error[E0201]: found '=', expected ':'"},
      {"fn f(x) { x }}\n", "found '}'"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    d = diagnostics_new(a, s);
    parse(cases[i].text);
    assert_true(d->errors >= 1);
    const char *shown = diagnostics_render(d, a, false);
    if (!strstr(shown, cases[i].message)) fail_msg("\"%s\" is not in:\n%s", cases[i].message, shown);
  }
  d = diagnostics_new(a, s);
  ast_program *p = parse("option a = )\nmodel f = g()\nfn h(x) {\n  let 3 = 1\n  x\n  let y 2\n}\nconst = 4\nmodel k = g()\n");
  assert_int_equal(d->errors, 4);
  assert_int_equal(p->n, 3); /* both models and the function stay */
}

static void deep_nesting_is_an_error_not_a_crash(void **state) {
  (void)state;
  enum { N = 100000 };
  char *text = arena_alloc(a, 2 * N + 20);
  strcpy(text, "const x = ");
  memset(text + 10, '(', N);
  parse(text);
  assert_true(d->errors >= 1);
  memset(text + 10, '-', N);
  d = diagnostics_new(a, s);
  parse(text);
  assert_true(d->errors >= 1);
}

static void formatting_is_canonical_and_keeps_comments(void **state) {
  (void)state;
  const char *ugly = "\n\noption   a=3   # three\n\n\n\nfn f( x,y = 1 ){\n# inside\nlet z=-x**2+y [ : , 1 : ]\n\n\nz|>g( k :2 )\n|> h\n}\n"
                     "const t = [ 1,2 ,3 ]  ";
  const char *pretty = "option a = 3  # three\n\nfn f(x, y = 1) {\n  # inside\n  let z = -x ** 2 + y[:, 1:]\n\n  z |> g(k: 2)\n    |> h\n}\n"
                       "const t = [1, 2, 3]\n";
  assert_string_equal(format_program(ugly, strlen(ugly), a), pretty);
  assert_string_equal(format_program(pretty, strlen(pretty), a), pretty);
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    const char *text = read_program(programs[i]), *once = format_program(text, strlen(text), a);
    assert_string_equal(format_program(once, strlen(once), a), once);
    assert_string_equal(tree_of(once), tree_of(text));
    size_t comments = 0;
    for (const char *c = text; *c; c++) comments += *c == '#';
    for (const char *c = once; *c; c++) comments -= *c == '#';
    assert_int_equal(comments, 0);
  }
}

/* Whatever is typed: errors, never a crash, and formatting twice changes nothing. */
static void damaged_programs_do_no_harm(void **state) {
  (void)state;
  uint64_t random = 5;
  const char *text = read_program("mae");
  size_t n = strlen(text);
  for (int i = 0; i < 400; i++) {
    char *broken = arena_string(a, text);
    for (int k = 0; k < 4; k++) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      broken[(random >> 33) % n] = "(){}[]\"#\n=:,.|<-+ aZ9^"[(random >> 20) % 22];
    }
    d = diagnostics_new(a, s);
    parse(broken);
    const char *once = format_program(broken, n, a);
    assert_string_equal(format_program(once, strlen(once), a), once);
  }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(whole_programs_parse),
      TEST(operators_bind_as_documented),
      TEST(line_ends_end_statements_unless_the_text_goes_on),
      TEST(keywords_are_names_elsewhere),
      TEST(mistakes_are_reported_together),
      TEST(deep_nesting_is_an_error_not_a_crash),
      TEST(formatting_is_canonical_and_keeps_comments),
      TEST(damaged_programs_do_no_harm),
  };
  return cmocka_run_group_tests_name("frontend/syntax", tests, NULL, NULL);
}
