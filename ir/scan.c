#include "ir/scan.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

scanner scan_start(uint32_t file, uint32_t offset, diagnostics *d) {
  const source_file *f = sources_get(d->sources, file);
  return (scanner){d, file, f->text, offset, (uint32_t)f->length, offset, false};
}

static void skip(scanner *s) {
  while (s->at < s->end) {
    char c = s->text[s->at];
    if (c == '#')
      while (s->at < s->end && s->text[s->at] != '\n') s->at++;
    else if (c == ' ' || c == '\n' || c == '\t' || c == '\r') s->at++;
    else return;
  }
}

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.'; }

span scan_place(scanner *s) {
  skip(s);
  uint32_t end = s->at;
  while (end < s->end && in_word(s->text[end])) end++;
  return (span){s->file, s->at, end > s->at ? end : s->at + (s->at < s->end)};
}

static bool fail_at(scanner *s, span where, const char *format, va_list list) {
  if (s->failed) return false;
  s->failed = true;
  char message[512];
  vsnprintf(message, sizeof message, format, list);
  diagnose(s->d, DIAG_IR_TEXT, where, "%s", message);
  return false;
}

bool scan_fail(scanner *s, const char *format, ...) {
  va_list list;
  va_start(list, format);
  fail_at(s, scan_place(s), format, list);
  va_end(list);
  return false;
}

bool scan_reject(scanner *s, const char *format, ...) {
  va_list list;
  va_start(list, format);
  fail_at(s, (span){s->file, s->word, s->at}, format, list);
  va_end(list);
  return false;
}

bool scan_at_end(scanner *s) {
  skip(s);
  return s->at >= s->end;
}

bool scan_accept(scanner *s, const char *token) {
  skip(s);
  size_t n = strlen(token);
  if (s->failed || n > s->end - s->at || memcmp(s->text + s->at, token, n)) return false;
  s->at += (uint32_t)n;
  return true;
}

bool scan_expect(scanner *s, const char *token) { return scan_accept(s, token) || scan_fail(s, "expected %s here", token); }

bool scan_word(scanner *s, const char **out) {
  skip(s);
  uint32_t n = 0;
  while (s->at + n < s->end && in_word(s->text[s->at + n])) n++;
  if (s->failed || n == 0 || n > 200 || isdigit((unsigned char)s->text[s->at])) return scan_fail(s, "expected a name here");
  *out = arena_substring(s->d->arena, s->text + s->at, n);
  s->word = s->at;
  s->at += n;
  return true;
}

bool scan_accept_word(scanner *s, const char *word) {
  skip(s);
  size_t n = strlen(word);
  if (s->failed || n > s->end - s->at || memcmp(s->text + s->at, word, n)) return false;
  if (s->at + n < s->end && in_word(s->text[s->at + n])) return false;
  s->at += (uint32_t)n;
  return true;
}

bool scan_expect_word(scanner *s, const char *word) { return scan_accept_word(s, word) || scan_fail(s, "expected %s here", word); }

bool scan_string(scanner *s, const char **out) {
  if (!scan_expect(s, "\"")) return false;
  text_buffer t = {.arena = s->d->arena};
  while (s->at < s->end && s->text[s->at] != '"' && s->text[s->at] != '\n') {
    char c = s->text[s->at++];
    if (c == '\\' && s->at < s->end) {
      c = s->text[s->at++];
      if (c == 'n') c = '\n';
      else if (c != '"' && c != '\\') return scan_fail(s, "unknown escape in a string");
    }
    if (c == 0) return scan_fail(s, "a NUL in a string");
    text_add(&t, "%c", c);
  }
  *out = text_done(&t);
  return scan_expect(s, "\"");
}

bool scan_integer(scanner *s, int64_t *out) {
  skip(s);
  if (s->failed) return false;
  const char *p = s->text + s->at;
  if (!isdigit((unsigned char)p[p[0] == '-'])) return scan_fail(s, "expected a whole number here");
  char *end;
  errno = 0;
  *out = strtoll(p, &end, 10);
  if (errno) return scan_fail(s, "the number is too large");
  s->at += (uint32_t)(end - p);
  return true;
}

bool scan_scalar(scanner *s, dtype t, scalar *out) {
  if (t == DTYPE_BOOL) {
    out->integer = scan_accept_word(s, "true");
    return out->integer || scan_accept_word(s, "false") || scan_fail(s, "expected true or false");
  }
  if (!dtype_is_real(t)) {
    if (!scan_integer(s, &out->integer)) return false;
    return scalar_round(t, *out).integer == out->integer || scan_fail(s, "the number does not fit %s", dtype_name(t));
  }
  skip(s);
  bool negative = scan_accept(s, "-");
  if (scan_accept_word(s, "inf")) out->real = negative ? -INFINITY : INFINITY;
  else if (scan_accept_word(s, "nan")) out->real = NAN;
  else {
    skip(s);
    char *end;
    if (s->failed || !isdigit((unsigned char)s->text[s->at])) return scan_fail(s, "expected a number here");
    out->real = strtod(s->text + s->at, &end);
    s->at = (uint32_t)(end - s->text);
    if (negative) out->real = -out->real;
  }
  *out = scalar_round(t, *out);
  return true;
}

bool scan_type(scanner *s, tensor_type *out) {
  const char *name;
  skip(s);
  if (!scan_word(s, &name)) return false;
  if (!dtype_from_name(name, strlen(name), &out->dtype)) return scan_reject(s, "%s is no element type", name);
  out->rank = 0;
  if (!scan_expect(s, "[")) return false;
  while (!scan_accept(s, "]")) {
    if (out->rank == MAX_RANK) return scan_fail(s, "at most %d dimensions", MAX_RANK);
    if (out->rank && !scan_expect(s, ",")) return false;
    if (!scan_integer(s, &out->dim[out->rank])) return false;
    if (out->dim[out->rank++] < 0) return scan_fail(s, "a dimension is not negative");
  }
  int64_t n = type_elements(out);
  return (n >= 0 && n <= (int64_t)1 << 40) || scan_fail(s, "too many elements");
}

const char *integer_digits(int64_t v, char room[MOST_DIGITS]) {
  char *at = room + MOST_DIGITS - 1;
  uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
  *at = 0;
  do *--at = (char)('0' + rest % 10);
  while (rest /= 10);
  if (v < 0) *--at = '-';
  return at;
}

/* The shortest that reads back. */
static void write_real(dtype t, double v, char text[40]) {
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, 40, "%.*g", digits, v);
    if (scalar_round(t, (scalar){.real = strtod(text, NULL)}).real == v) break;
  }
}

/* A text has the same few numbers again and again. */
static const char *real_text(dtype t, double v) {
  enum { KNOWN = 64 };
  static _Thread_local struct {
    double v;
    dtype t;
    char text[40];
  } known[KNOWN];
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  const size_t at = (bits * 0x9e3779b97f4a7c15u) >> 58;
  if (!*known[at].text || known[at].t != t || memcmp(&known[at].v, &v, sizeof v)) {
    known[at].v = v;
    known[at].t = t;
    write_real(t, v, known[at].text);
  }
  return known[at].text;
}

const char *scalar_text(dtype t, scalar v, arena *a) {
  char room[MOST_DIGITS];
  if (t == DTYPE_BOOL) return v.integer ? "true" : "false";
  if (!dtype_is_real(t)) return arena_string(a, integer_digits(v.integer, room));
  if (isnan(v.real)) return "nan";
  if (isinf(v.real)) return v.real < 0 ? "-inf" : "inf";
  return arena_string(a, real_text(t, v.real));
}

const char *quoted_text(const char *text, arena *a) {
  text_buffer t = {.arena = a};
  text_add(&t, "\"");
  for (; *text; text++) {
    if (*text == '\n') text_add(&t, "\\n");
    else text_add(&t, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
  }
  text_add(&t, "\"");
  return text_done(&t);
}

static void add_character(text_buffer *t, char c) {
  if (t->n == t->capacity) { /* grows by doubling */
    const uint32_t full = t->capacity;
    t->bytes = arena_grow(t->arena, t->bytes, full, &t->capacity, 1);
  }
  t->bytes[t->n++] = c;
}

/* Nearly all are a few characters. */
static void add_text(text_buffer *t, const char *text) {
  while (*text) add_character(t, *text++);
}

static void add_formatted(text_buffer *t, const char *format, va_list list) {
  char small[256], *text = small;
  va_list again;
  va_copy(again, list);
  int n = vsnprintf(small, sizeof small, format, list);
  if (n >= (int)sizeof small) {
    text = arena_alloc(t->arena, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, again);
  }
  va_end(again);
  if (n > 0) add_text(t, text);
}

/* Strings and whole numbers, of which texts of kernels consist, at once; the rest from another directive on as the library does it. */
void text_add_list(text_buffer *t, const char *format, va_list list) {
  char room[MOST_DIGITS];
  va_list rest;
  va_copy(rest, list);
  for (; *format; format++) {
    if (*format != '%') add_character(t, *format);
    else if (format[1] == 's') add_text(t, va_arg(rest, const char *)), format++;
    else if (format[1] == 'u') add_text(t, integer_digits(va_arg(rest, unsigned), room)), format++;
    else if (format[1] == 'c') add_character(t, (char)va_arg(rest, int)), format++;
    else if (!strncmp(format, "%lld", 4)) add_text(t, integer_digits(va_arg(rest, long long), room)), format += 3;
    else if (!strncmp(format, "%*s", 3)) {
      const int width = va_arg(rest, int);
      const char *text = va_arg(rest, const char *);
      for (int64_t i = (int64_t)strlen(text); i < width; i++) add_character(t, ' ');
      add_text(t, text);
      format += 2;
    } else {
      add_formatted(t, format, rest);
      break;
    }
  }
  va_end(rest);
}

void text_add(text_buffer *t, const char *format, ...) {
  va_list list;
  va_start(list, format);
  text_add_list(t, format, list);
  va_end(list);
}

char *text_done(text_buffer *t) {
  *ARENA_PUSH(t->arena, t->bytes, t->n, t->capacity) = 0;
  t->n--;
  return t->bytes;
}
