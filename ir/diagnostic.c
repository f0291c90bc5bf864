#include "ir/diagnostic.h"

#include <stdarg.h>
#include <stdlib.h>

enum { MOST_SHOWN = 20, WIDEST_LINE = 160 };

static const struct {
  int number;
  const char *title, *explanation;
} table[] = {
#define DIAGNOSTIC(number, id, title, explanation) {number, title, explanation},
#include "ir/diagnostics.def"
#undef DIAGNOSTIC
};

diagnostics *diagnostics_new(arena *a, sources *s) {
  diagnostics *d = ARENA_NEW(a, diagnostics);
  d->arena = a;
  d->sources = s;
  return d;
}

static const char *format_text(arena *a, const char *format, va_list list) {
  va_list again;
  va_copy(again, list);
  int n = vsnprintf(NULL, 0, format, again);
  va_end(again);
  char *text = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
  if (n >= 0) vsnprintf(text, (size_t)n + 1, format, list);
  return text;
}

static diagnostic *report(diagnostics *d, diagnostic_code code, severity how, span where, const char *format,
                          va_list list) {
  diagnostic *x = ARENA_NEW(d->arena, diagnostic);
  *x = (diagnostic){.code = code, .severity = how, .where = where, .order = d->count};
  x->message = format_text(d->arena, format, list);
  *ARENA_PUSH(d->arena, d->items, d->count, d->capacity) = x;
  if (how == SEVERITY_ERROR) d->errors++;
  return x;
}

diagnostic *diagnose(diagnostics *d, diagnostic_code code, span where, const char *format, ...) {
  va_list list;
  va_start(list, format);
  diagnostic *x = report(d, code, SEVERITY_ERROR, where, format, list);
  va_end(list);
  return x;
}

diagnostic *diagnose_warning(diagnostics *d, diagnostic_code code, span where, const char *format, ...) {
  va_list list;
  va_start(list, format);
  diagnostic *x = report(d, code, SEVERITY_WARNING, where, format, list);
  va_end(list);
  return x;
}

void diagnostic_add_note(diagnostics *d, diagnostic *to, span where, const char *format, ...) {
  va_list list;
  va_start(list, format);
  diagnostic_note *n = ARENA_PUSH(d->arena, to->notes, to->n_notes, to->notes_capacity);
  *n = (diagnostic_note){where, format_text(d->arena, format, list)};
  va_end(list);
}

void diagnostic_set_help(diagnostics *d, diagnostic *to, const char *format, ...) {
  va_list list;
  va_start(list, format);
  to->help = format_text(d->arena, format, list);
  va_end(list);
}

/* -- showing ------------------------------------------------------------------------------------------ */

typedef struct {
  arena *arena;
  char *bytes;
  uint32_t n, capacity;
  const sources *sources;
  bool color;
} page;

static void put(page *p, const char *text) {
  for (; *text; text++) *ARENA_PUSH(p->arena, p->bytes, p->n, p->capacity) = *text;
}

static void paint(page *p, const char *code) {
  if (p->color) put(p, code);
}

static const char *const red = "\033[1;31m", *const yellow = "\033[1;33m", *const blue = "\033[1;34m",
                         *const bold = "\033[1m", *const plain = "\033[0m";

/* The line of a span with a caret under its first byte and tildes under the rest. Tabs become one
 * space and bytes that a terminal would obey become '?', so that columns stay aligned. */
static void put_line(page *p, span where, const char *colour) {
  const source_file *f = sources_get(p->sources, where.file);
  if (!f || where.start > f->length) return;
  position at = source_position(p->sources, where.file, where.start);
  const char *line = f->text + where.start - (at.column - 1);
  size_t length = strcspn(line, "\n");
  size_t first = 0; /* of what is shown: long lines are cut around the place */
  if (length > WIDEST_LINE && at.column > WIDEST_LINE / 2) first = at.column - WIDEST_LINE / 2;
  size_t shown = length - first < WIDEST_LINE ? length - first : WIDEST_LINE;
  paint(p, blue);
  put(p, arena_printf(p->arena, "%5u | ", at.line));
  paint(p, plain);
  for (size_t i = first; i < first + shown; i++) {
    unsigned char c = (unsigned char)line[i];
    char one[2] = {c == '\t' ? ' ' : c < 32 || c == 127 ? '?' : (char)c, 0};
    put(p, one);
  }
  put(p, "\n");
  paint(p, blue);
  put(p, "      | ");
  paint(p, colour);
  for (size_t i = first + 1; i < at.column; i++) put(p, " ");
  put(p, "^");
  size_t marked = where.end > where.start + 1 ? where.end - where.start - 1 : 0;
  size_t room = first + shown > at.column ? first + shown - at.column : 0;
  for (size_t i = 0; i < marked && i < room; i++) put(p, "~");
  paint(p, plain);
  put(p, "\n");
}

static void put_place(page *p, span where) {
  const char *place = span_text(p->sources, where, p->arena);
  if (!*place) return;
  paint(p, bold);
  put(p, place);
  put(p, ": ");
  paint(p, plain);
}

const char *diagnostic_name(diagnostic_code code, char buffer[8]) {
  snprintf(buffer, 8, "%c%04d", (int)code >= 900 ? 'W' : 'E', (int)code % 10000);
  return buffer;
}

static void put_diagnostic(page *p, const diagnostic *x) {
  char name[8];
  const char *colour = x->severity == SEVERITY_ERROR ? red : yellow;
  put_place(p, x->where);
  paint(p, colour);
  put(p, arena_printf(p->arena, "%s[%s]: ", x->severity == SEVERITY_ERROR ? "error" : "warning",
                      diagnostic_name(x->code, name)));
  paint(p, plain);
  put(p, x->message);
  put(p, "\n");
  put_line(p, x->where, colour);
  for (uint32_t i = 0; i < x->n_notes; i++) {
    put_place(p, x->notes[i].where);
    paint(p, blue);
    put(p, "note: ");
    paint(p, plain);
    put(p, x->notes[i].text);
    put(p, "\n");
    put_line(p, x->notes[i].where, blue);
  }
  if (x->help) {
    paint(p, bold);
    put(p, "help: ");
    paint(p, plain);
    put(p, x->help);
    put(p, "\n");
  }
}

static int by_place(const void *left, const void *right) {
  const diagnostic *a = *(diagnostic *const *)left, *b = *(diagnostic *const *)right;
  if (a->where.file != b->where.file) return a->where.file < b->where.file ? -1 : 1;
  if (a->where.start != b->where.start) return a->where.start < b->where.start ? -1 : 1;
  return a->order < b->order ? -1 : a->order > b->order;
}

static bool says_the_same(const diagnostic *a, const diagnostic *b) {
  return a->code == b->code && a->where.file == b->where.file && a->where.start == b->where.start && !strcmp(a->message, b->message);
}

char *diagnostics_render(const diagnostics *d, arena *into, bool color) {
  page p = {.arena = into, .sources = d->sources, .color = color};
  diagnostic **sorted = arena_copy(into, d->items, d->count * sizeof *sorted);
  uint32_t n = 0;
  if (d->count) qsort(sorted, d->count, sizeof *sorted, by_place);
  for (uint32_t i = 0; i < d->count; i++)
    if (n == 0 || !says_the_same(sorted[n - 1], sorted[i])) sorted[n++] = sorted[i];
  for (uint32_t i = 0; i < n && i < MOST_SHOWN; i++) put_diagnostic(&p, sorted[i]);
  if (n > MOST_SHOWN) put(&p, arena_printf(into, "and %u more\n", n - MOST_SHOWN));
  *ARENA_PUSH(into, p.bytes, p.n, p.capacity) = 0;
  return p.bytes;
}

const char *diagnostic_title(int number) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].number == number) return table[i].title;
  return NULL;
}

const char *diagnostic_explanation(int number) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].number == number) return table[i].explanation;
  return NULL;
}

int diagnostic_number(uint32_t i) { return i < sizeof table / sizeof *table ? table[i].number : 0; }
