/* The `sslc` command: a table of verbs. It alone prints and exits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "codegen/cpu/host.h"
#include "frontend/ast.h"
#include "passes/passes.h"

enum { EXIT_GOOD = 0, EXIT_DIAGNOSTICS = 1, EXIT_USAGE = 2, EXIT_ENVIRONMENT = 3 };

/* What every verb works with. */
typedef struct {
  arena *arena;
  sources *sources;
  diagnostics *diagnostics;
  int n;
  char **args; /* behind the verb */
} command;

static int usage(const char *message, const char *form) {
  fprintf(stderr, "sslc: %s\nusage: sslc %s\n", message, form);
  return EXIT_USAGE;
}

/* Shows what was reported; the exit code that goes with it. */
static int finish(const command *c) {
  fputs(diagnostics_render(c->diagnostics, c->arena, isatty(STDERR_FILENO)), stderr);
  return c->diagnostics->errors ? EXIT_DIAGNOSTICS : EXIT_GOOD;
}

/* The file's number among the sources; 0 after saying why not. */
static uint32_t load(const command *c, const char *path) {
  FILE *f = fopen(path, "rb");
  char *text = NULL;
  size_t n = 0, got, capacity = 0;
  if (f) {
    do {
      if (n + 1 >= capacity) {
        char *larger = realloc(text, capacity = capacity ? 2 * capacity : 1 << 16);
        if (!larger) break;
        text = larger;
      }
      got = fread(text + n, 1, capacity - n - 1, f);
      n += got;
    } while (got > 0);
  }
  bool good = f && text && !ferror(f) && n < UINT32_MAX / 2;
  if (!good) fprintf(stderr, "sslc: cannot read %s: %s\n", path, errno ? strerror(errno) : "too large");
  uint32_t file = good ? sources_add(c->sources, path, text, n) : 0;
  if (f) fclose(f);
  free(text);
  return file;
}

/* Replaces a file by way of a temporary one beside it, so that a full disk loses nothing. */
static int replace_file(const command *c, const char *path, const char *text) {
  const char *beside = arena_printf(c->arena, "%s.sslc-%ld", path, (long)getpid());
  FILE *f = fopen(beside, "wb");
  bool good = f && fputs(text, f) >= 0;
  if (f && fclose(f)) good = false;
  if (good && rename(beside, path) == 0) return EXIT_GOOD;
  fprintf(stderr, "sslc: cannot write %s: %s\n", path, strerror(errno));
  if (f) unlink(beside);
  return EXIT_ENVIRONMENT;
}

static int verb_fmt(const command *c) {
  bool check = c->n > 1 && !strcmp(c->args[0], "--check"), in_place = c->n > 1 && !strcmp(c->args[0], "--write");
  if (c->n != 1 + check + in_place) return usage("fmt takes one file", "fmt [--check | --write] FILE");
  uint32_t file = load(c, c->args[c->n - 1]);
  if (!file) return EXIT_ENVIRONMENT;
  const source_file *f = sources_get(c->sources, file);
  const char *formatted = format_program(f->text, f->length, c->arena);
  if (check) return strcmp(formatted, f->text) ? EXIT_DIAGNOSTICS : EXIT_GOOD;
  if (in_place) return strcmp(formatted, f->text) ? replace_file(c, f->name, formatted) : EXIT_GOOD;
  fputs(formatted, stdout);
  return EXIT_GOOD;
}

static int verb_explain(const command *c) {
  if (c->n == 0) {
    char name[8];
    for (uint32_t i = 0; diagnostic_number(i); i++)
      printf("%s  %s\n", diagnostic_name((diagnostic_code)diagnostic_number(i), name), diagnostic_title(diagnostic_number(i)));
    return EXIT_GOOD;
  }
  const char *text = c->args[0] + strspn(c->args[0], "EW");
  char *end;
  long number = strtol(text, &end, 10);
  const char *title = c->n == 1 && end != text && !*end ? diagnostic_title((int)number) : NULL;
  if (!title) return usage("there is no such code; `sslc explain` lists them", "explain [E0403]");
  printf("%s: %s\n\n%s\n", c->args[0], title, diagnostic_explanation((int)number));
  return EXIT_GOOD;
}

static int verb_emit(const command *c) {
  if (c->n != 3 || strcmp(c->args[0], "--stage") || strcmp(c->args[1], "ast")) return usage("emit takes a stage and a file", "emit --stage ast FILE");
  uint32_t file = load(c, c->args[2]);
  if (!file) return EXIT_ENVIRONMENT;
  fputs(ast_print(parse_program(file, c->diagnostics, c->arena), c->arena), stdout);
  return finish(c);
}

static int verb_pass(const command *c) {
  const pass_info *pass = pass_table;
  if (c->n != 2) return usage("pass takes the name of a pass and a text of the IR", "pass NAME FILE");
  while (pass->name && strcmp(pass->name, c->args[0])) pass++;
  if (!pass->name) {
    fprintf(stderr, "sslc: there is no pass %s; there are", c->args[0]);
    for (pass = pass_table; pass->name; pass++) fprintf(stderr, " %s", pass->name);
    fputs("\n", stderr);
    return EXIT_USAGE;
  }
  uint32_t file = load(c, c->args[1]);
  if (!file) return EXIT_ENVIRONMENT;
  target host;
  host_target(&host);
  pass_context context = {c->arena, c->diagnostics, &host};
  graph *g = pass->plan ? NULL : graph_parse(c->arena, file, c->diagnostics);
  plan *p = pass->plan ? plan_parse(c->arena, file, c->diagnostics) : NULL;
  if (g && pass->graph) g = pass->graph(g, &context);
  else if (g) p = pass->fuse(g, &context);
  else if (p && !pass->plan(p, &context)) p = NULL;
  if (!c->diagnostics->errors && p) fputs(plan_print(p, c->arena), stdout);
  else if (!c->diagnostics->errors && g) fputs(graph_print(g, c->sources, c->arena), stdout);
  return finish(c);
}

static int verb_version(const command *c) {
  (void)c;
  target host;
  host_target(&host);
  printf("sslc " SSLC_VERSION "\nprocessor %s, vectors of %u bytes\n", host.name, host.vector_bytes);
  return EXIT_GOOD;
}

static const struct {
  const char *name;
  int (*run)(const command *c);
  const char *doc;
} verbs[] = {
    {"fmt", verb_fmt, "the canonical form of a program"},
    {"explain", verb_explain, "what an error code means"},
    {"emit", verb_emit, "a stage of a program as text"},
    {"pass", verb_pass, "one pass applied to a text of the IR"},
    {"version", verb_version, "this program and this processor"},
};

/* A compilation owns an arena; running out of memory ends here, wherever it happened. */
static int run_verb(int (*verb)(const command *c), int n, char **args) {
  arena *a = arena_new();
  if (!a) return EXIT_ENVIRONMENT;
  jmp_buf exhausted;
  arena_on_exhausted(a, &exhausted);
  volatile int status = EXIT_ENVIRONMENT;
  if (setjmp(exhausted) == 0) {
    sources *s = sources_new(a);
    command c = {a, s, diagnostics_new(a, s), n, args};
    status = verb(&c);
  } else {
    fputs("sslc: out of memory\n", stderr);
  }
  arena_free(a);
  return fflush(stdout) ? EXIT_ENVIRONMENT : status;
}

int main(int n, char **args) {
  for (size_t i = 0; n > 1 && i < sizeof verbs / sizeof *verbs; i++)
    if (!strcmp(args[1], verbs[i].name)) return run_verb(verbs[i].run, n - 2, args + 2);
  fprintf(stderr, "sslc: %s%s\n", n > 1 ? "there is no verb " : "give a verb", n > 1 ? args[1] : "");
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) fprintf(stderr, "  sslc %-8s %s\n", verbs[i].name, verbs[i].doc);
  return EXIT_USAGE;
}
