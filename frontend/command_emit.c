/* `sslc emit`: a stage of a program as text. */
#include "frontend/ast.h"
#include "frontend/command.h"

int command_emit(command *c) {
  const char *form = "emit --stage ast FILE", *stage = NULL;
  const command_option options[] = {{"--stage", OPTION_TEXT, &stage, "ast"}, {NULL}};
  if (!command_options(c, options, 1, form)) return EXIT_USAGE;
  if (!stage) return command_usage(form, "emit wants a stage");
  uint32_t file = command_load(c, c->args[0]);
  if (!file) return EXIT_FAILED;
  fputs(ast_print(parse_program(file, c->diagnostics, c->arena), c->arena), stdout);
  return command_finish(c);
}
