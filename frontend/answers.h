/* Protocols of eval blocks, between reading them (evaluation.c) and their graphs (answers.c). */
#ifndef SSLC_FRONTEND_ANSWERS_H
#define SSLC_FRONTEND_ANSWERS_H

#include "frontend/elaborate.h"

/* A protocol: what it is called, what it takes in front, and the arguments with names besides `data`. */
typedef struct {
  const char *name;
  eval_kind kind;
  const char *of; /* NULL: nothing, it works on what the block evaluates */
  const char *arguments[8];
} protocol_row;

/* One as the program has it. */
typedef struct {
  const protocol_row *row;
  experiment_protocol made;
  object data; /* or none */
  const ast_expr *of;
  span where;
} asked_protocol;

/* The pretext that an expression names, or NULL. */
const ast_declaration *find_pretext(const elaborator *e, const ast_expr *x);
/* The graph of a protocol that judges no features. */
void lower_answer(elaborator *e, const ast_declaration *d, const char *site, asked_protocol *p);

#endif
