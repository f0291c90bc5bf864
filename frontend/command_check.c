/* `sslc check`: compiles a program and says what it takes, without running it. */
#include "frontend/command_program.h"

int command_check(command *c) {
  const char *form = "check [options] FILE";
  program_arguments a = PROGRAM_DEFAULTS;
  const command_option options[] = {PROGRAM_OPTIONS(a), {NULL}};
  int status = EXIT_GOOD;
  if (!command_options(c, options, 1, form)) return c->status;
  sslc_free(program_compile(c, &a, c->args[0], form, &status));
  return status;
}
