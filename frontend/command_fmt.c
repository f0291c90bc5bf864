/* `sslc fmt`: the canonical form of a program. */
#include <errno.h>
#include <unistd.h>

#include "frontend/ast.h"
#include "frontend/command.h"

/* Replaces a file by way of a temporary one beside it, so that a full disk loses nothing. */
static int replace_file(const command *c, const char *path, const char *text) {
  const char *beside = arena_printf(c->arena, "%s.sslc-%ld", path, (long)getpid());
  FILE *f = fopen(beside, "wb");
  bool good = f && fputs(text, f) >= 0;
  if (f && fclose(f)) good = false;
  if (good && rename(beside, path) == 0) return EXIT_GOOD;
  int status = command_fail("cannot write %s: %s", path, strerror(errno));
  if (f) unlink(beside);
  return status;
}

int command_fmt(command *c) {
  const char *form = "fmt [options] FILE";
  bool check = false, in_place = false;
  const command_option options[] = {{"--check", OPTION_FLAG, &check, NULL, "says by its exit code whether the file has that form"},
                                    {"--write", OPTION_FLAG, &in_place, NULL, "changes the file"},
                                    {NULL}};
  if (!command_options(c, options, 1, form)) return c->status;
  if (check && in_place) return command_usage(form, "--check changes no file and --write does; choose one");
  uint32_t file = command_load(c, c->args[0]);
  if (!file) return EXIT_FAILED;
  const source_file *f = sources_get(c->sources, file);
  if (strlen(f->text) != f->length) return command_fail("%s holds zero bytes: it is no program text", f->name);
  const char *formatted = format_program(f->text, f->length, c->arena);
  if (check) return strcmp(formatted, f->text) ? EXIT_FAILED : EXIT_GOOD;
  if (in_place) return strcmp(formatted, f->text) ? replace_file(c, f->name, formatted) : EXIT_GOOD;
  fputs(formatted, stdout);
  return EXIT_GOOD;
}
