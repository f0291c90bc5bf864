#include "frontend/tokens.h"

#include <ctype.h>

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
  token last;            /* given last */
  token_context context; /* of the token given last */
  bool giving_up;        /* closing brackets that the text does not close */
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
  bool outside; /* stands outside all blocks only */
} statement_words[] = {
    {"option", OPTION, WANTS_NAME, true},   {"data", DATA, WANTS_NAME, true},       {"const", CONST, WANTS_NAME, true},
    {"use", USE, WANTS_STRING, true},       {"augment", AUGMENT, WANTS_NAME, true}, {"encoder", ENCODER, WANTS_NAME, true},
    {"net", NET, WANTS_NAME, true},         {"fn", FN, WANTS_NAME, true},           {"model", MODEL, WANTS_NAME, true},
    {"frozen", FROZEN, WANTS_NAME, true},   {"target", TARGET, WANTS_NAME, true},   {"queue", QUEUE, WANTS_NAME, true},
    {"state", STATE, WANTS_NAME, false},    {"weight", WEIGHT, WANTS_NAME, true},   {"pretext", PRETEXT, WANTS_NAME, true},
    {"train", TRAIN, WANTS_NAME, true},     {"optimizer", OPTIMIZER, WANTS_NAME, true}, {"tune", TUNE, WANTS_NAME, false},
    {"let", LET, WANTS_VALUE, false},       {"eval", EVAL, WANTS_VALUE, true},      {"minimize", MINIMIZE, WANTS_VALUE, false},
    {"report", REPORT, WANTS_VALUE, false}, {"then", THEN, WANTS_END, false},
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
  s->extra.reported = false;
  do {
    s->ahead = (token){0};
    s->ahead.kind = raw_lex(&s->ahead, s->scanner);
    s->lines += s->ahead.kind == NEWLINE;
  } while (s->ahead.kind == NEWLINE);
  s->ahead.doubtful = s->extra.reported;
  if (s->ahead.kind == 0) s->ahead.where = (span){s->extra.file, s->extra.at, s->extra.at};
  for (size_t i = 0; s->ahead.kind == NAME && i < sizeof reserved_words / sizeof *reserved_words; i++)
    if (!strcmp(s->ahead.text, reserved_words[i].text)) s->ahead.kind = reserved_words[i].kind;
}

token_stream *tokens_open(uint32_t file, diagnostics *d, arena *a) {
  token_stream *s = ARENA_NEW(a, token_stream);
  const source_file *f = sources_get(d->sources, file);
  s->extra = (scan_extra){a, d, file, 0, false};
  s->last.kind = NEWLINE;
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

/* Does the next token begin a declaration, at the left edge? Then whatever is open was forgotten. */
static bool declaration_ahead(const token_stream *s) {
  const char *text = sources_get(s->extra.diagnostics->sources, s->extra.file)->text, *behind = text + s->ahead.where.end;
  if (s->ahead.kind != NAME || s->lines == 0 || text[s->ahead.where.start - 1] != '\n') return false;
  size_t spaces = strspn(behind, " \t");
  bool name = isalpha((unsigned char)behind[spaces]) || behind[spaces] == '_', string = behind[spaces] == '"';
  for (size_t i = 0; spaces && i < sizeof statement_words / sizeof *statement_words; i++)
    if (statement_words[i].outside && !strcmp(s->ahead.text, statement_words[i].text)) return statement_words[i].wants == WANTS_STRING ? string : name;
  return false;
}

/* Closes what is still open, one bracket at a time, so that the parser goes on behind it. */
static token close_bracket(token_stream *s) {
  char open = s->open[--s->depth];
  if (!s->giving_up) {
    diagnostic *x = diagnose(s->extra.diagnostics, DIAG_OPEN_BRACKET, s->opened[s->depth], "this %c is never closed", open);
    if (s->ahead.kind) diagnostic_add_note(s->extra.diagnostics, x, s->ahead.where, "%s begins a declaration, which stands outside all brackets", s->ahead.text);
    else diagnostic_set_help(s->extra.diagnostics, x, "the text ends before its partner");
  }
  s->giving_up = true;
  return (token){.kind = open == '(' ? ')' : open == '[' ? ']' : '}', .where = {s->extra.file, s->last.where.end, s->last.where.end}, .doubtful = true};
}

static token choose_next(token_stream *s) {
  bool declaration = declaration_ahead(s), end = s->ahead.kind == 0;
  if (s->depth && (declaration || end)) return close_bracket(s);
  bool ends = (ends_value(s->last.kind) && !continues(s->ahead.kind)) || (declaration && s->last.kind != NEWLINE);
  if (s->lines && in_block(s) && ends) {
    s->lines = 0;
    s->statement_start = true;
    return (token){.kind = NEWLINE, .where = {s->extra.file, s->last.where.end, s->last.where.end}, .doubtful = s->giving_up};
  }
  token t = s->ahead;
  if (end) {
    t.doubtful |= s->giving_up;
    return t;
  }
  s->giving_up = false;
  read_ahead(s);
  if (t.kind == NAME && s->statement_start) t.kind = statement_word(s, &t);
  /* `minimize e wrt f`, `model f = vit() from "x"`: words between a value and a name or a string. */
  if (t.kind == NAME && s->lines == 0 && ends_value(s->last.kind)) {
    if (!strcmp(t.text, "wrt") && s->ahead.kind == NAME) t.kind = WRT;
    if (!strcmp(t.text, "from") && (s->ahead.kind == STRING || s->ahead.kind == NAME)) t.kind = FROM;
  }
  track_brackets(s, &t);
  s->statement_start = t.kind == '{' || (t.kind == ',' && in_block(s) && s->depth);
  return t;
}

token tokens_next(token_stream *s) {
  s->context = (token_context){.before = s->last};
  if (s->depth) s->context.open = s->open[s->depth - 1], s->context.opened = s->opened[s->depth - 1];
  return s->last = choose_next(s);
}

const token_context *tokens_context(const token_stream *s) { return &s->context; }
