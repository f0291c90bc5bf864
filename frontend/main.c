/* The `sslc` command: a table of verbs. */
#include <stdlib.h>

#include "codegen/cpu/host.h"
#include "frontend/command.h"
#include "frontend/objects.h"
#include "frontend/sslc.h"

int command_version(command *c) {
  if (!command_options(c, &(command_option){NULL}, 0, "version")) return c->status;
  target host;
  host_target(&host);
  printf("sslc %s\nprocessor %s, vectors of %u bytes\n", sslc_version(), host.name, host.vector_bytes);
  return EXIT_GOOD;
}

static const struct {
  const char *name;
  command_verb *run;
  const char *doc;
} verbs[] = {
    {"run", command_run, "trains a program and judges what it has learned"},
    {"check", command_check, "compiles a program and says what it takes"},
    {"profile", command_profile, "where the time of a training step goes"},
    {"tune", command_tune, "searches for faster schedules of the kernels that take most time"},
    {"fmt", command_fmt, "the canonical form of a program"},
    {"explain", command_explain, "what an error code means"},
    {"emit", command_emit, "a stage of a program as text"},
    {"kernel", command_kernel, "one kernel run alone: checked, and timed"},
    {"pass", command_pass, "one pass applied to a text of the IR"},
    {"info", command_info, "processor, GPUs, compilers and caches that were found"},
    {"version", command_version, "this program and this processor"},
};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void list_verbs(FILE *to) {
  for (size_t i = 0; i < N_VERBS; i++) fprintf(to, "  sslc %-8s %s\n", verbs[i].name, verbs[i].doc);
  fprintf(to, "sslc VERB --help has the options of each\n");
}

static int unknown_verb(const char *given) {
  const char *names[N_VERBS + 1] = {0};
  for (size_t i = 0; i < N_VERBS; i++) names[i] = verbs[i].name;
  const char *nearest = given ? nearest_text(given, names) : NULL;
  fprintf(stderr, "sslc: %s%s%s%s%s\n", given ? "there is no verb " : "give a verb", given ? given : "", nearest ? "; did you mean " : "",
          nearest ? nearest : "", nearest ? "?" : "");
  list_verbs(stderr);
  return EXIT_USAGE;
}

/* A compilation owns an arena; running out of memory ends here, wherever it happened. */
static int run_verb(command_verb *verb, int n, char **args) {
  arena *a = arena_new();
  if (!a) return command_fail("out of memory");
  jmp_buf exhausted;
  arena_on_exhausted(a, &exhausted);
  volatile int status = EXIT_FAILED;
  if (setjmp(exhausted) == 0) {
    sources *s = sources_new(a);
    command c = {a, s, diagnostics_new(a, s), n, args};
    status = verb(&c);
  } else {
    command_fail("out of memory");
  }
  arena_free(a);
  return fflush(stdout) ? EXIT_FAILED : status;
}

int main(int n, char **args) {
  if (n == 2 && (!strcmp(args[1], "help") || command_wants_help(args[1]))) {
    list_verbs(stdout);
    return EXIT_GOOD;
  }
  for (size_t i = 0; n > 1 && i < N_VERBS; i++)
    if (!strcmp(args[1], verbs[i].name)) return run_verb(verbs[i].run, n - 2, args + 2);
  return unknown_verb(n > 1 ? args[1] : NULL);
}
