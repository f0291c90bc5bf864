/* The scanner that the readers of all text forms share: tokens of one line-oriented language with names,
 * numbers, strings and punctuation, '#' comments, and errors with a place. The first error sticks. */
#ifndef SSLC_IR_SCAN_H
#define SSLC_IR_SCAN_H

#include <stdarg.h>

#include "ir/diagnostic.h"
#include "ir/type.h"

typedef struct {
  diagnostics *d;
  uint32_t file;
  const char *text;
  uint32_t at, end;
  uint32_t word; /* where the last word began */
  bool failed;
} scanner;

scanner scan_start(uint32_t file, uint32_t offset, diagnostics *d);
/* Reports DIAG_IR_TEXT at the current token, once; always false. */
bool scan_fail(scanner *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same at the word that was read last. */
bool scan_reject(scanner *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
span scan_place(scanner *s);
bool scan_at_end(scanner *s);
/* Consumes the punctuation when it comes next; nothing else may be glued to a word. */
bool scan_accept(scanner *s, const char *token);
bool scan_expect(scanner *s, const char *token);
/* A word: letters, digits, '_' and '.', not beginning with a digit. */
bool scan_word(scanner *s, const char **out);
bool scan_accept_word(scanner *s, const char *word);
bool scan_expect_word(scanner *s, const char *word);
bool scan_string(scanner *s, const char **out);
bool scan_integer(scanner *s, int64_t *out);
/* A number as an element of type `t` : integers exactly, reals with inf, -inf and nan, bool as true, false. */
bool scan_scalar(scanner *s, dtype t, scalar *out);
/* f32[256,128] */
bool scan_type(scanner *s, tensor_type *out);

/* The text that scan_scalar reads back to the same element. */
const char *scalar_text(dtype t, scalar v, arena *a);
/* A string in quotes with escapes. */
const char *quoted_text(const char *text, arena *a);

/* A growing text. */
typedef struct {
  arena *arena;
  char *bytes;
  uint32_t n, capacity;
} text_buffer;
void text_add(text_buffer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_list(text_buffer *t, const char *format, va_list list) __attribute__((format(printf, 2, 0)));
char *text_done(text_buffer *t);

enum { MOST_DIGITS = 24 };
/* In decimal, at the end of `room`: its first character. */
const char *integer_digits(int64_t v, char room[MOST_DIGITS]);

#endif
