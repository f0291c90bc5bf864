/* Options of a program, and their values from the command line. */
#include "frontend/elaborate.h"

/* --set batch=128: the text is an expression of the language. */
static object parsed_override(elaborator *e, const option_override *o) {
  const char *text = arena_printf(e->arena, "option %s = %s", o->name, o->text);
  uint32_t file = sources_add(e->diagnostics->sources, "--set", text, strlen(text));
  ast_program *p = parse_program(file, e->diagnostics, e->arena);
  return p->n == 1 && p->items[0]->value ? evaluate(e, e->library, p->items[0]->value) : object_poison();
}

const char *option_override_text(const elaborator *e, const char *name) {
  for (uint32_t i = e->options->n_overrides; i-- > 0;)
    if (!strcmp(e->options->overrides[i].name, name)) return e->options->overrides[i].text;
  return NULL;
}

object option_value(elaborator *e, const ast_declaration *d, object otherwise) {
  for (uint32_t i = e->options->n_overrides; i-- > 0;) {
    const option_override *o = &e->options->overrides[i];
    if (strcmp(o->name, d->name)) continue;
    uint32_t errors = e->diagnostics->errors;
    object v = parsed_override(e, o);
    if (is_poison(&v)) {
      if (e->diagnostics->errors == errors) complain(e, DIAG_BAD_VALUE, d->name_where, "--set %s=%s is no value", o->name, o->text);
      return v;
    }
    bool fits = v.kind == otherwise.kind || otherwise.kind == OBJECT_NONE || is_poison(&otherwise);
    if (otherwise.kind == OBJECT_NUMBER && fits && !otherwise.is_real && v.is_real) fits = false;
    if (fits) {
      v.where = d->name_where;
      if (otherwise.kind == OBJECT_NUMBER && otherwise.is_real && !v.is_real) v = object_real((double)v.integer, v.where);
      return v;
    }
    return refuse(e, DIAG_BAD_VALUE, d->name_where, "--set %s=%s gives %s; this option is %s", o->name, o->text, object_text(&v, e->arena), object_text(&otherwise, e->arena));
  }
  return otherwise;
}

void check_overrides(elaborator *e, const ast_program *const *programs, uint32_t n) {
  for (uint32_t i = 0; i < e->options->n_overrides; i++) {
    const option_override *o = &e->options->overrides[i];
    uint32_t n_names = 0, capacity = 0;
    const char **names = NULL;
    bool found = false;
    for (uint32_t k = 0; k < n; k++)
      for (uint32_t m = 0; m < programs[k]->n; m++) {
        const ast_declaration *d = programs[k]->items[m];
        if (d->kind != DECLARE_OPTION) continue;
        found |= !strcmp(d->name, o->name);
        *ARENA_PUSH(e->arena, names, n_names, capacity) = d->name;
      }
    if (found) continue;
    const char *list = "";
    for (uint32_t k = 0; k < n_names; k++) list = arena_printf(e->arena, "%s%s%s", list, k ? ", " : "", names[k]);
    *ARENA_PUSH(e->arena, names, n_names, capacity) = NULL;
    diagnostic *d = complain(e, DIAG_UNKNOWN_OPTION, (span){0}, "--set %s=%s: this program has no option %s%s%s", o->name, o->text, o->name, *list ? "; it has " : "", list);
    help_nearest(e, d, nearest_text(o->name, names));
  }
}
