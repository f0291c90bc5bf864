/* Options and files of the `sslc` command. */
#include "frontend/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "frontend/objects.h"

static void say(const char *format, va_list list) {
  fputs("sslc: ", stderr);
  vfprintf(stderr, format, list);
  fputs("\n", stderr);
}

int command_usage(const char *form, const char *format, ...) {
  va_list list;
  va_start(list, format);
  say(format, list);
  va_end(list);
  fprintf(stderr, "usage: sslc %s\n", form);
  return EXIT_USAGE;
}

int command_fail(const char *format, ...) {
  va_list list;
  va_start(list, format);
  say(format, list);
  va_end(list);
  return EXIT_FAILED;
}

/* -- options ---------------------------------------------------------------------------------------------- */

/* The row whose name stands at the beginning of `text`, up to its end or a '='. */
static const command_option *find_option(const command_option *table, const char *text) {
  size_t n = strcspn(text, "=");
  for (; table->name; table++)
    if (strlen(table->name) == n && !strncmp(table->name, text, n)) return table;
  return NULL;
}

static bool unknown_option(const command *c, const command_option *table, const char *text, const char *form) {
  uint32_t n = 0, capacity = 0;
  const char **names = NULL;
  for (const command_option *o = table; o->name; o++) *ARENA_PUSH(c->arena, names, n, capacity) = o->name;
  *ARENA_PUSH(c->arena, names, n, capacity) = NULL;
  const char *given = arena_substring(c->arena, text, strcspn(text, "=")), *nearest = nearest_text(given, names);
  command_usage(form, "there is no option %s%s%s%s", given, nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
  return false;
}

static bool whole_number(const char *text, uint64_t least, uint64_t most, uint64_t *out) {
  char *end;
  errno = 0;
  if (*text < '0' || *text > '9') return false;
  *out = strtoull(text, &end, 10);
  return !*end && !errno && *out >= least && *out <= most;
}

/* Whether the text is among "a|b"; a word without | stands for any text. */
static bool is_choice(const char *choices, const char *text) {
  if (!choices || !strchr(choices, '|')) return true;
  for (size_t n = strlen(text); choices; choices = strchr(choices, '|') ? strchr(choices, '|') + 1 : NULL)
    if (strcspn(choices, "|") == n && !strncmp(choices, text, n)) return true;
  return false;
}

static bool set_option(const command *c, const command_option *o, const char *text, const char *form) {
  uint64_t number = 0;
  switch (o->kind) {
    case OPTION_FLAG: *(bool *)o->value = true; return true;
    case OPTION_LIST: {
      text_list *list = o->value;
      *ARENA_PUSH(c->arena, list->items, list->n, list->capacity) = text;
      return true;
    }
    case OPTION_TEXT:
      if (!is_choice(o->takes, text)) break;
      *(const char **)o->value = text;
      return true;
    case OPTION_COUNT:
      if (!whole_number(text, 1, INT64_MAX, &number)) break;
      *(int64_t *)o->value = (int64_t)number;
      return true;
    case OPTION_NUMBER:
      if (!whole_number(text, 0, UINT64_MAX, &number)) break;
      *(uint64_t *)o->value = number;
      return true;
  }
  command_usage(form, "%s takes %s, got %s", o->name,
                o->kind == OPTION_TEXT ? o->takes : o->kind == OPTION_COUNT ? "a whole number from 1" : "a whole number from 0", *text ? text : "nothing");
  return false;
}

static void show_help(const command_option *table, const char *form) {
  printf("usage: sslc %s\n", form);
  for (; table->name; table++) {
    int width = printf("  %s %s", table->name, table->takes ? table->takes : "");
    if (width > 28) printf("\n%28s", ""), width = 28;
    printf("%*s%s\n", 30 - width, "", table->doc);
  }
}

bool command_wants_help(const char *text) { return !strcmp(text, "--help") || !strcmp(text, "-h"); }

bool command_options(command *c, const command_option *table, int files, const char *form) {
  int kept = 0;
  c->status = EXIT_USAGE;
  bool open = true; /* until "--" */
  for (int i = 0; i < c->n; i++) {
    const char *text = c->args[i];
    if (open && !strcmp(text, "--")) {
      open = false;
      continue;
    }
    if (!open || *text != '-' || !text[1]) {
      c->args[kept++] = c->args[i];
      continue;
    }
    if (command_wants_help(text)) return show_help(table, form), c->status = EXIT_GOOD, false;
    const command_option *o = find_option(table, text);
    const char *given = strchr(text, '=');
    if (!o) return unknown_option(c, table, text, form);
    if (o->kind == OPTION_FLAG && given) return command_usage(form, "%s takes no value", o->name), false;
    if (given) given++;
    else if (o->kind != OPTION_FLAG && ++i == c->n) return command_usage(form, "%s wants a value behind it", o->name), false;
    else given = c->args[i];
    if (!set_option(c, o, given, form)) return false;
  }
  c->n = kept;
  if (files == ANY_FILES || kept == files) return true;
  command_usage(form, "%d file%s expected, got %d", files, files == 1 ? "" : "s", kept);
  return false;
}

/* -- files ------------------------------------------------------------------------------------------------ */

char *command_read(const command *c, const char *path, size_t *length) {
  FILE *f = fopen(path, "rb");
  if (!f) return command_fail("cannot read %s: %s", path, strerror(errno)), NULL;
  char *text = NULL;
  uint32_t n = 0, capacity = 0;
  char piece[4096];
  size_t got;
  while ((got = fread(piece, 1, sizeof piece, f)) > 0 && n < UINT32_MAX / 4)
    for (size_t i = 0; i < got; i++) *ARENA_PUSH(c->arena, text, n, capacity) = piece[i];
  int failed = ferror(f) ? errno : n >= UINT32_MAX / 4 ? EFBIG : 0;
  fclose(f);
  if (failed) return command_fail("cannot read %s: %s", path, strerror(failed)), NULL;
  *ARENA_PUSH(c->arena, text, n, capacity) = 0;
  *length = n - 1;
  return text;
}

uint32_t command_load(const command *c, const char *path) {
  size_t length;
  const char *text = command_read(c, path, &length);
  return text ? sources_add(c->sources, path, text, length) : 0;
}

int command_finish(const command *c) {
  fputs(diagnostics_render(c->diagnostics, c->arena, isatty(STDERR_FILENO)), stderr);
  return c->diagnostics->errors ? EXIT_FAILED : EXIT_GOOD;
}
