#include "frontend/tokens.h"

#include "parser.h"

typedef void *yyscan_t;
int raw_lex_init_extra(scan_extra *extra, yyscan_t *scanner);
int raw_lex_destroy(yyscan_t scanner);
struct yy_buffer_state *raw__scan_bytes(const char *bytes, int n, yyscan_t scanner);
int raw_lex(token *out, yyscan_t scanner);

enum { DEEPEST = 200 };

struct token_stream {
  yyscan_t scanner;
  scan_extra extra;
  token ahead; /* read, not given yet; line ends before it are counted in `lines` */
  uint32_t lines;
  int last;              /* kind of the token given last */
  bool statement_start;  /* whether the next token begins a statement */
  char open[DEEPEST];    /* brackets around: line ends count where the innermost is a brace */
  span opened[DEEPEST];
  uint32_t depth, lost;  /* lost: brackets deeper than DEEPEST, reported once */
};

/* Words that begin a statement, and what makes them the name they also are. */
typedef enum {
  WANTS_NAME,  /* keyword when a name follows: `data cifar = ...`, but `data: ...` */
  WANTS_VALUE, /* keyword when a value follows: `minimize -x`, but `minimize = 3` */
  WANTS_STRING,
  WANTS_END    /* alone on its line */
} follow;

static const struct {
  const char *text;
  int kind;
  follow wants;
} statement_words[] = {
    {"option", OPTION, WANTS_NAME},   {"data", DATA, WANTS_NAME},       {"const", CONST, WANTS_NAME},     {"use", USE, WANTS_STRING},
    {"augment", AUGMENT, WANTS_NAME}, {"encoder", ENCODER, WANTS_NAME}, {"net", NET, WANTS_NAME},         {"fn", FN, WANTS_NAME},
    {"model", MODEL, WANTS_NAME},     {"frozen", FROZEN, WANTS_NAME},   {"target", TARGET, WANTS_NAME},   {"queue", QUEUE, WANTS_NAME},
    {"state", STATE, WANTS_NAME},     {"weight", WEIGHT, WANTS_NAME},   {"pretext", PRETEXT, WANTS_NAME}, {"train", TRAIN, WANTS_NAME},
    {"optimizer", OPTIMIZER, WANTS_NAME}, {"tune", TUNE, WANTS_NAME},   {"let", LET, WANTS_VALUE},        {"eval", EVAL, WANTS_VALUE},
    {"minimize", MINIMIZE, WANTS_VALUE},  {"report", REPORT, WANTS_VALUE}, {"then", THEN, WANTS_END},
};

static const struct {
  const char *text;
  int kind;
} reserved_words[] = {{"for", FOR}, {"in", IN}, {"if", IF}, {"else", ELSE}, {"true", TRUE}, {"false", FALSE}, {"none", NONE}};

static bool begins_value(int kind) {
  switch (kind) {
    case NAME: case NUMBER: case STRING: case '(': case '[': case '{': case '-': case '!': case IF: case NONE: case TRUE: case FALSE: return true;
    default: return false;
  }
}

static bool ends_value(int kind) {
  switch (kind) {
    case NAME: case NUMBER: case STRING: case ')': case ']': case '}': case NONE: case TRUE: case FALSE: case THEN: return true;
    default: return false;
  }
}

/* A line that begins with one of these goes on with the line before. */
static bool continues(int kind) {
  switch (kind) {
    case PIPE: case '+': case '-': case '*': case '/': case '%': case '@': case '<': case '>': case '&': case '|': case '=': case '.':
    case JOIN: case FLOOR_DIV: case POWER: case EQUAL: case UNEQUAL: case AT_MOST: case AT_LEAST: case DOTS: case GIVES: case ARROW: case ELSE: return true;
    default: return false;
  }
}

static void read_ahead(token_stream *s) {
  s->lines = 0;
  do {
    s->ahead = (token){0};
    s->ahead.kind = raw_lex(&s->ahead, s->scanner);
    s->lines += s->ahead.kind == NEWLINE;
  } while (s->ahead.kind == NEWLINE);
  if (s->ahead.kind == 0) s->ahead.where = (span){s->extra.file, s->extra.at, s->extra.at};
  for (size_t i = 0; s->ahead.kind == NAME && i < sizeof reserved_words / sizeof *reserved_words; i++)
    if (!strcmp(s->ahead.text, reserved_words[i].text)) s->ahead.kind = reserved_words[i].kind;
}

token_stream *tokens_open(uint32_t file, diagnostics *d, arena *a) {
  token_stream *s = ARENA_NEW(a, token_stream);
  const source_file *f = sources_get(d->sources, file);
  s->extra = (scan_extra){a, d, file, 0};
  s->last = NEWLINE;
  s->statement_start = true;
  if (raw_lex_init_extra(&s->extra, &s->scanner)) return NULL;
  if (!raw__scan_bytes(f->text, (int)f->length, s->scanner)) {
    raw_lex_destroy(s->scanner);
    return NULL;
  }
  read_ahead(s);
  return s;
}

void tokens_close(token_stream *s) { raw_lex_destroy(s->scanner); }

static bool in_block(const token_stream *s) { return s->depth == 0 || s->open[s->depth - 1] == '{'; }

static void track_brackets(token_stream *s, const token *t) {
  if (t->kind == '(' || t->kind == '[' || t->kind == '{') {
    if (s->depth == DEEPEST) {
      if (!s->lost++) diagnose(s->extra.diagnostics, DIAG_TOO_DEEP, t->where, "brackets are nested more than %d deep", DEEPEST);
      return;
    }
    s->opened[s->depth] = t->where;
    s->open[s->depth++] = (char)t->kind;
  } else if (t->kind == ')' || t->kind == ']' || t->kind == '}') {
    if (s->lost) s->lost--;
    else if (s->depth) s->depth--;
  }
}

static int statement_word(const token_stream *s, const token *t) {
  for (size_t i = 0; i < sizeof statement_words / sizeof *statement_words; i++) {
    if (strcmp(t->text, statement_words[i].text)) continue;
    bool same_line = s->lines == 0;
    int next = s->ahead.kind;
    switch (statement_words[i].wants) {
      case WANTS_NAME: return same_line && next == NAME ? statement_words[i].kind : NAME;
      case WANTS_VALUE: return same_line && begins_value(next) && (next != '(' || t->text[0] == 'l' || t->text[0] == 'm' || t->text[0] == 'e') ? statement_words[i].kind : NAME;
      case WANTS_STRING: return same_line && next == STRING ? statement_words[i].kind : NAME;
      case WANTS_END: return !same_line || next == '}' || next == 0 ? statement_words[i].kind : NAME;
    }
  }
  return NAME;
}

token tokens_next(token_stream *s) {
  if (s->lines && in_block(s) && ends_value(s->last) && !continues(s->ahead.kind)) {
    s->lines = 0;
    s->last = NEWLINE;
    s->statement_start = true;
    return (token){.kind = NEWLINE, .where = {s->extra.file, s->ahead.where.start, s->ahead.where.start}};
  }
  token t = s->ahead;
  if (t.kind == 0) {
    if (s->depth && s->last != 0) {
      diagnostic *x = diagnose(s->extra.diagnostics, DIAG_OPEN_BRACKET, s->opened[s->depth - 1], "this %c is never closed", s->open[s->depth - 1]);
      diagnostic_set_help(s->extra.diagnostics, x, "the text ends before its partner");
    }
    s->last = 0;
    return t;
  }
  read_ahead(s);
  if (t.kind == NAME && s->statement_start) t.kind = statement_word(s, &t);
  /* `minimize e wrt f`, `model f = vit() from "x"`: words between a value and a name or a string. */
  if (t.kind == NAME && s->lines == 0 && ends_value(s->last) && s->last != NEWLINE) {
    if (!strcmp(t.text, "wrt") && s->ahead.kind == NAME) t.kind = WRT;
    if (!strcmp(t.text, "from") && s->ahead.kind == STRING) t.kind = FROM;
  }
  track_brackets(s, &t);
  s->statement_start = t.kind == '{' || (t.kind == ',' && in_block(s) && s->depth);
  s->last = t.kind;
  return t;
}
