/* The canonical form. It works on lexemes, not on the tree, so that comments and a text with mistakes
 * survive: line breaks stay, everything between two lexemes of a line is decided by the two alone, and
 * indentation by the brackets around. That makes it idempotent by construction. */
#include <ctype.h>

#include "frontend/ast.h"
#include "ir/scan.h"

typedef enum { LEXEME_END, LEXEME_LINE, LEXEME_COMMENT, LEXEME_WORD, LEXEME_NUMBER, LEXEME_STRING, LEXEME_OPERATOR } lexeme_kind;

typedef struct {
  lexeme_kind kind;
  const char *text;
  size_t n;
} lexeme;

enum { DEEPEST = 1000 };

typedef struct {
  const char *at, *end;
  text_buffer out;
  lexeme before;     /* on this line or the one above; LEXEME_LINE at the beginning */
  bool before_unary; /* a minus or ! that belongs to what follows */
  char open[DEEPEST];
  uint32_t depth;
  bool goes_on; /* the line above ended in an operator */
} formatter;

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

static const char *const operators[] = {"...", "|>", "<-", "=>", "..", "++", "//", "**", "==", "!=", "<=", ">="};

static lexeme next_lexeme(formatter *f) {
  while (f->at < f->end && (*f->at == ' ' || *f->at == '\t' || *f->at == '\r')) f->at++;
  lexeme l = {LEXEME_OPERATOR, f->at, 1};
  size_t left = (size_t)(f->end - f->at);
  if (left == 0) return (lexeme){LEXEME_END, f->at, 0};
  char c = *f->at;
  if (c == '\n') l.kind = LEXEME_LINE;
  else if (c == '#') {
    l.kind = LEXEME_COMMENT;
    while (l.n < left && l.text[l.n] != '\n') l.n++;
  } else if (c == '"') {
    l.kind = LEXEME_STRING;
    while (l.n < left && l.text[l.n] != '"' && l.text[l.n] != '\n') l.n += l.text[l.n] == '\\' && l.n + 1 < left && l.text[l.n + 1] != '\n' ? 2 : 1;
    if (l.n < left && l.text[l.n] == '"') l.n++;
  } else if (isdigit((unsigned char)c)) {
    l.kind = LEXEME_NUMBER;
    while (l.n < left && (in_word(l.text[l.n]) || (l.text[l.n] == '.' && l.n + 1 < left && isdigit((unsigned char)l.text[l.n + 1])) ||
                          ((l.text[l.n] == '-' || l.text[l.n] == '+') && (l.text[l.n - 1] == 'e' || l.text[l.n - 1] == 'E'))))
      l.n++;
  } else if (in_word(c)) {
    l.kind = LEXEME_WORD;
    while (l.n < left && in_word(l.text[l.n])) l.n++;
  } else {
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
      size_t n = strlen(operators[i]);
      if (n <= left && !memcmp(f->at, operators[i], n)) {
        l.n = n;
        break;
      }
    }
  }
  f->at += l.n;
  return l;
}

static bool is(const lexeme *l, const char *text) { return l->n == strlen(text) && !memcmp(l->text, text, l->n); }
static bool one_of(const lexeme *l, const char *const *list) {
  for (; *list; list++)
    if (is(l, *list)) return true;
  return false;
}

static bool ends_value(const lexeme *l) {
  static const char *const words[] = {"in", "if", "else", "minimize", "wrt", "report", "let", "for", NULL}, *const closing[] = {")", "]", "}", NULL};
  if (l->kind == LEXEME_WORD) return !one_of(l, words);
  return l->kind == LEXEME_NUMBER || l->kind == LEXEME_STRING || (l->kind == LEXEME_OPERATOR && one_of(l, closing));
}

/* A line that begins, or ends, with one of these belongs to the same statement. */
static const char *const joining[] = {"|>", "+", "-", "*", "/", "//", "%", "@", "**", "++", "==", "!=", "<", ">", "<=", ">=", "&", "|", "=", "=>", "<-", "..", ".", NULL};

/* Whether the two would be read as one, or otherwise, without a space: ".. ." or "1 .5". */
static bool glues(const lexeme *before, const lexeme *l) {
  if (l->kind != LEXEME_OPERATOR) return false;
  for (size_t i = 0; before->kind == LEXEME_OPERATOR && i < sizeof operators / sizeof *operators; i++)
    if (strlen(operators[i]) > before->n && !memcmp(operators[i], before->text, before->n) && operators[i][before->n] == *l->text) return true;
  return before->kind == LEXEME_NUMBER && is(l, ".");
}

static bool space_between(const formatter *f, const lexeme *l) {
  static const char *const tight_after[] = {"(", "[", ".", "..", NULL}, *const tight_before[] = {")", "]", ",", ".", "..", NULL};
  const lexeme *b = &f->before;
  if (glues(b, l)) return true;
  if (f->before_unary || one_of(b, tight_after)) return false;
  if (l->kind == LEXEME_OPERATOR) {
    if (one_of(l, tight_before)) return false;
    bool in_index = f->depth && f->open[f->depth - 1] == '[';
    if (is(l, ":")) return in_index && is(b, ",");
    if (is(l, "(") || is(l, "[")) return !ends_value(b) || is(b, "}");
    if (is(b, ":") && in_index) return false;
    if (is(l, "}") && is(b, "{")) return false;
  }
  if (is(b, ":") && f->depth && f->open[f->depth - 1] == '[') return false;
  return true;
}

static void put(formatter *f, const lexeme *l) {
  bool unary = l->kind == LEXEME_OPERATOR && (is(l, "!") || (is(l, "-") && !ends_value(&f->before)));
  text_add(&f->out, "%.*s", (int)l->n, l->text);
  if (l->kind == LEXEME_OPERATOR && l->n == 1 && strchr("([{", *l->text) && f->depth < DEEPEST) f->open[f->depth++] = *l->text;
  if (l->kind == LEXEME_OPERATOR && l->n == 1 && strchr(")]}", *l->text) && f->depth) f->depth--;
  f->before_unary = unary;
  if (l->kind != LEXEME_COMMENT) f->before = *l;
}

static void begin_line(formatter *f, const lexeme *l) {
  static const char *const closing[] = {")", "]", "}", NULL};
  bool closes = l->kind == LEXEME_OPERATOR && one_of(l, closing) && f->depth;
  bool joined = f->goes_on || (l->kind == LEXEME_OPERATOR && one_of(l, joining));
  text_add(&f->out, "%*s", (int)(2 * (f->depth - closes) + (joined && !closes ? 2 : 0)), "");
}

char *format_program(const char *text, size_t length, arena *into) {
  formatter f = {.at = text, .end = text + strnlen(text, length), .out.arena = into, .before.kind = LEXEME_LINE};
  uint32_t lines = 0;       /* line ends since the last lexeme */
  bool line_start = true;
  for (lexeme l = next_lexeme(&f); l.kind != LEXEME_END; l = next_lexeme(&f)) {
    if (l.kind == LEXEME_LINE) {
      lines++;
      continue;
    }
    if (lines && f.out.n) {
      bool opened = f.before.kind == LEXEME_OPERATOR && is(&f.before, "{");
      text_add(&f.out, lines > 1 && !opened && !is(&l, "}") ? "\n\n" : "\n");
      line_start = true;
      f.goes_on = f.before.kind == LEXEME_OPERATOR && one_of(&f.before, joining) && l.kind != LEXEME_COMMENT;
    }
    if (line_start) begin_line(&f, &l);
    else if (l.kind == LEXEME_COMMENT) text_add(&f.out, "  ");
    else if (space_between(&f, &l)) text_add(&f.out, " ");
    if (l.kind == LEXEME_COMMENT)
      while (l.n && (l.text[l.n - 1] == ' ' || l.text[l.n - 1] == '\r' || l.text[l.n - 1] == '\t')) l.n--;
    put(&f, &l);
    line_start = false;
    lines = 0;
  }
  if (f.out.n) text_add(&f.out, "\n");
  return text_done(&f.out);
}
