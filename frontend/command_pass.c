/* `sslc pass`: one pass applied to a text of the IR. */
#include "codegen/cpu/host.h"
#include "frontend/command.h"
#include "passes/passes.h"

static const char form[] = "pass NAME FILE";

static int unknown_pass(const command *c) {
  const char *names = "";
  for (const pass_info *pass = pass_table; pass->name; pass++) names = arena_printf(c->arena, "%s %s", names, pass->name);
  return command_usage(form, "there is no pass %s; there are%s", c->args[0], names);
}

int command_pass(command *c) {
  const pass_info *pass = pass_table;
  if (!command_options(c, &(command_option){NULL}, ANY_FILES, form)) return c->status;
  if (c->n != 2) return command_usage(form, "pass takes the name of a pass and a text of the IR");
  while (pass->name && strcmp(pass->name, c->args[0])) pass++;
  if (!pass->name) return unknown_pass(c);
  uint32_t file = command_load(c, c->args[1]);
  if (!file) return EXIT_FAILED;
  target host;
  host_target(&host);
  pass_context context = {.arena = c->arena, .diagnostics = c->diagnostics, .target = &host, .products = PRODUCTS_BF16};
  graph *g = pass->plan ? NULL : graph_parse(c->arena, file, c->diagnostics);
  plan *p = pass->plan ? plan_parse(c->arena, file, c->diagnostics) : NULL;
  if (g && pass->graph) g = pass->graph(g, &context);
  else if (g) p = pass->fuse(g, &context);
  else if (p && !pass->plan(p, &context)) p = NULL;
  if (!c->diagnostics->errors && p) fputs(plan_print(p, c->arena), stdout);
  else if (!c->diagnostics->errors && g) fputs(graph_print(g, c->sources, c->arena), stdout);
  return command_finish(c);
}
