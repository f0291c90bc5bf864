/* `sslc explain`: what an error code means. */
#include <stdlib.h>

#include "frontend/command.h"

static int list_codes(void) {
  char name[8];
  for (uint32_t i = 0; diagnostic_number(i); i++)
    printf("%s  %s\n", diagnostic_name((diagnostic_code)diagnostic_number(i), name), diagnostic_title(diagnostic_number(i)));
  return EXIT_GOOD;
}

int command_explain(command *c) {
  const char *form = "explain [CODE]";
  if (!command_options(c, &(command_option){NULL}, ANY_FILES, form)) return c->status;
  if (c->n == 0) return list_codes();
  const char *text = c->args[0] + strspn(c->args[0], "EW");
  char *end;
  long number = strtol(text, &end, 10);
  const char *title = c->n == 1 && end != text && !*end ? diagnostic_title((int)number) : NULL;
  if (!title) return command_usage(form, "there is no code %s; `sslc explain` lists them", c->args[0]);
  printf("%s: %s\n\n%s\n", c->args[0], title, diagnostic_explanation((int)number));
  return EXIT_GOOD;
}
