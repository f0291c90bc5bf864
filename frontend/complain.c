/* Errors with their places: what goes wrong inside the library is shown where the program called it. */
#include <stdarg.h>

#include "frontend/elaborate.h"

bool in_library(const elaborator *e, span where) {
  return where.file == 0 || (where.file >= e->first_library_file && where.file <= e->last_library_file);
}

span user_place(const elaborator *e, span where) { return in_library(e, where) && e->frame ? e->frame->user : where; }

/* Which call led into the function of the program that the error is in. */
static void note_call(elaborator *e, diagnostic *to) {
  const frame *f = e->frame;
  while (f && f->user.file == to->where.file && f->user.start == to->where.start) f = f->caller; /* calls of the library, shown already */
  if (f && f->caller && f->user.file) diagnostic_add_note(e->diagnostics, to, f->user, "%s is called here", f->name);
}

static diagnostic *complain_list(elaborator *e, diagnostic_code code, span where, const char *format, va_list list) {
  va_list again;
  va_copy(again, list);
  int n = vsnprintf(NULL, 0, format, again);
  va_end(again);
  char *text = arena_alloc(e->arena, (size_t)(n < 0 ? 0 : n) + 1);
  if (n >= 0) vsnprintf(text, (size_t)n + 1, format, list);
  diagnostic *d = diagnose(e->diagnostics, code, user_place(e, where), "%s", text);
  if (where.file && in_library(e, where))
    diagnostic_add_note(e->diagnostics, d, where, "inside %s of the library", e->frame ? e->frame->name : "a part");
  note_call(e, d);
  return d;
}

diagnostic *complain(elaborator *e, diagnostic_code code, span where, const char *format, ...) {
  va_list list;
  va_start(list, format);
  diagnostic *d = complain_list(e, code, where, format, list);
  va_end(list);
  return d;
}

object refuse(elaborator *e, diagnostic_code code, span where, const char *format, ...) {
  va_list list;
  va_start(list, format);
  complain_list(e, code, where, format, list);
  va_end(list);
  return object_poison();
}

void note_object(elaborator *e, diagnostic *to, const object *o) {
  bool same = o->where.file == to->where.file && o->where.start == to->where.start && o->where.end == to->where.end;
  if (o->where.file && !same && !in_library(e, o->where))
    diagnostic_add_note(e->diagnostics, to, o->where, "%s was made here", object_text(o, e->arena));
  if (o->kind == OBJECT_FUNCTION && o->function->configured && !to->help)
    diagnostic_set_help(e->diagnostics, to, "what it is applied to stands in a second list: %s(...)(x), or x |> %s(...)", o->function->name, o->function->name);
}

void help_nearest(elaborator *e, diagnostic *to, const char *nearest) {
  if (nearest) diagnostic_set_help(e->diagnostics, to, "did you mean %s?", nearest);
}

object wrong_kind(elaborator *e, span where, const char *what, const char *wanted, const object *got) {
  if (is_poison(got)) return object_poison();
  diagnostic *d = complain(e, DIAG_WRONG_KIND, where, "%s wants %s, got %s", what, wanted, object_text(got, e->arena));
  note_object(e, d, got);
  return object_poison();
}

const char *source_text(elaborator *e, span where) {
  if (!where.file) return "";
  return arena_substring(e->arena, sources_get(e->diagnostics->sources, where.file)->text + where.start, where.end - where.start);
}
