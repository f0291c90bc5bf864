/* Errors are values with a span: code, message, notes, help. Nothing here prints. */
#ifndef SSLC_IR_DIAGNOSTIC_H
#define SSLC_IR_DIAGNOSTIC_H

#include <stdbool.h>
#include <stdio.h>

#include "ir/source.h"

/* Every code is a row of diagnostics.def: DIAGNOSTIC(code number, identifier, title, explanation). */
typedef enum {
#define DIAGNOSTIC(number, id, title, explanation) DIAG_##id = number,
#include "ir/diagnostics.def"
#undef DIAGNOSTIC
} diagnostic_code;

typedef enum { SEVERITY_ERROR, SEVERITY_WARNING } severity;

typedef struct diagnostic diagnostic;
typedef struct {
  span where;
  const char *text;
} diagnostic_note;

struct diagnostic {
  diagnostic_code code;
  severity severity;
  span where;
  const char *message;     /* what was expected and what was found */
  const char *help;        /* what to do; may be NULL */
  diagnostic_note *notes;  /* where the offending values came from */
  uint32_t n_notes, notes_capacity;
  uint32_t order; /* of reporting */
};

typedef struct diagnostics {
  arena *arena;
  sources *sources;
  diagnostic **items;
  uint32_t count, capacity;
  uint32_t errors;
} diagnostics;

diagnostics *diagnostics_new(arena *a, sources *s);
/* The returned diagnostic may be given notes and help; it stays in the list. */
diagnostic *diagnose(diagnostics *d, diagnostic_code code, span where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
diagnostic *diagnose_warning(diagnostics *d, diagnostic_code code, span where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void diagnostic_add_note(diagnostics *d, diagnostic *to, span where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void diagnostic_set_help(diagnostics *d, diagnostic *to, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* All of them by position, repeated ones once (at most 20, then a count), as the command shows them: place, message,
 * source line, caret, notes, help. `color` adds terminal colours. */
char *diagnostics_render(const diagnostics *d, arena *into, bool color);

/* "E0403" or "W0901"; the title and explanation of a code; NULL for an unknown one. */
const char *diagnostic_name(diagnostic_code code, char buffer[8]);
const char *diagnostic_title(int number);
const char *diagnostic_explanation(int number);
/* The i-th row of the table, for listings; 0 past the end. */
int diagnostic_number(uint32_t i);

#endif
