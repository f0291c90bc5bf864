/* From characters to tokens. The scanner (lexer.l) knows characters only; what depends on neighbours is
 * decided here, with one token of look-ahead: where a line ends a statement, and whether a word such as
 * `data` or `train` is a keyword or a name. */
#ifndef SSLC_FRONTEND_TOKENS_H
#define SSLC_FRONTEND_TOKENS_H

#include "frontend/ast.h"

typedef struct token_stream token_stream;

typedef struct {
  int kind; /* of the parser's token numbers */
  span where;
  const char *text; /* names and strings (without quotes and escapes); numbers as written */
  double number;
  bool is_real;
  bool doubtful; /* characters before it, or its own, were reported: what does not fit it need not be */
} token;

token_stream *tokens_open(uint32_t file, diagnostics *d, arena *a);
/* The next token; after the last one always the end of file. */
token tokens_next(token_stream *s);
void tokens_close(token_stream *s);

/* For messages about the token given last: the token before it, and the innermost bracket that was open
 * when it came (`open` 0 outside all). */
typedef struct {
  token before;
  char open;
  span opened;
} token_context;
const token_context *tokens_context(const token_stream *s);

/* For the scanner's actions. */
typedef struct {
  arena *arena;
  diagnostics *diagnostics;
  uint32_t file, at; /* bytes read so far */
  bool reported;     /* something is wrong with the characters since the last token */
} scan_extra;

#endif
