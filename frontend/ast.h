/* The syntax tree: what was written, with a span on every node. It lives in the arena of the compilation. */
#ifndef SSLC_FRONTEND_AST_H
#define SSLC_FRONTEND_AST_H

#include "ir/diagnostic.h"

typedef struct ast_expr ast_expr;
typedef struct ast_statement ast_statement;

typedef struct {
  ast_statement **items;
  uint32_t n, capacity;
} ast_block; /* its value is that of its last statement, when that is an expression */

typedef enum {
  AST_NUMBER,        /* number; is_real when written with a point or an exponent */
  AST_STRING,        /* text */
  AST_NAME,          /* text */
  AST_NONE,
  AST_TRUE,
  AST_FALSE,
  AST_CALL,          /* left(items); named arguments have names */
  AST_INDEX,         /* left[items]; AST_SLICE among them */
  AST_SLICE,         /* left : right, either may be NULL; only in an index */
  AST_FIELD,         /* left.text */
  AST_UNARY,         /* op right */
  AST_BINARY,        /* left op right; `a |> f` is a binary operator too */
  AST_TUPLE,         /* items */
  AST_LIST,          /* items */
  AST_COMPREHENSION, /* left for ... ; clauses */
  AST_LAMBDA,        /* parameters => right */
  AST_BLOCK,         /* block */
  AST_IF             /* if left { block } else { otherwise } */
} ast_kind;

typedef enum {
  AST_ADD, AST_SUB, AST_MUL, AST_DIV, AST_FLOOR_DIV, AST_MOD, AST_POW, AST_MATMUL, AST_JOIN /* ++ */,
  AST_EQ, AST_NE, AST_LT, AST_GT, AST_LE, AST_GE, AST_AND, AST_OR, AST_NOT, AST_NEG, AST_RANGE /* .. */, AST_PIPE
} ast_operator;

/* As it is written: "+", "|>", ... */
const char *ast_operator_text(ast_operator op);

typedef struct {
  const char *name; /* NULL for a positional one */
  span where;       /* of the name, or of the value */
  ast_expr *value;
} ast_item;

typedef struct {
  ast_item *items;
  uint32_t n, capacity;
} ast_items;

/* One name, or several for a tuple taken apart. */
typedef struct {
  const char **names;
  span *where;
  uint32_t n, names_capacity, where_capacity;
  bool tuple;
} ast_pattern;

typedef struct {
  ast_pattern pattern;
  ast_expr *over, *condition; /* condition may be NULL */
} ast_clause;

struct ast_expr {
  ast_kind kind;
  span where;
  ast_operator op;
  double number;
  bool is_real;
  const char *text;
  ast_expr *left, *right;
  ast_items items;
  ast_pattern parameters;
  ast_clause *clauses;
  uint32_t n_clauses, clauses_capacity;
  ast_block *block, *otherwise;
};

/* f32[N, C, 32, 32]: dimensions are names, numbers, or "..." */
typedef struct {
  const char *element; /* NULL: no type was given */
  ast_items dims;
  span where;
} ast_type;

typedef struct {
  const char *name;
  span where;
  ast_type type;
  ast_expr *otherwise; /* the default, or NULL */
} ast_parameter;

typedef struct {
  ast_parameter *items;
  uint32_t n, capacity;
} ast_parameters;

typedef enum {
  AST_LET_STATEMENT,      /* let pattern = value */
  AST_FUNCTION_STATEMENT, /* let name(parameters) block */
  AST_ASSIGN_STATEMENT,   /* name = value */
  AST_WRITE_STATEMENT,    /* name <- value */
  AST_STATE_STATEMENT, /* state a = e, b = e: fields */
  AST_MINIMIZE_STATEMENT, /* minimize value wrt names */
  AST_REPORT_STATEMENT,   /* report a = e, b, ...: fields; a field without a name is named by its value */
  AST_THEN_STATEMENT,
  AST_IF_STATEMENT,       /* without else, or else-if chains, as a statement */
  AST_FOR_STATEMENT,      /* for pattern in value { block } */
  AST_TUNE_STATEMENT,     /* tune selectors { fields }: only in train */
  AST_FIELD_STATEMENT,    /* name: value; only in train */
  AST_EXPRESSION_STATEMENT,
  AST_ERROR_STATEMENT     /* what could not be read; reported already */
} ast_statement_kind;

struct ast_statement {
  ast_statement_kind kind;
  span where;
  const char *name;
  span name_where;
  ast_pattern pattern; /* LET, FOR; names of `wrt` */
  ast_parameters parameters;
  ast_expr *value;
  ast_items fields;    /* STATE_SLOTS, REPORT, TUNE */
  ast_items selectors; /* TUNE */
  ast_block *block, *otherwise;
};

typedef enum {
  DECLARE_OPTION,    /* option name = value */
  DECLARE_DATA,      /* data name = value */
  DECLARE_CONST,
  DECLARE_USE,       /* use "name" */
  DECLARE_AUGMENT,   /* augment name(outer)(inner) body, augment name(inner) body, augment name = value */
  DECLARE_ENCODER,   /* encoder or net: both parameter lists */
  DECLARE_FN,        /* fn name(inner) body */
  DECLARE_MODEL,     /* model name = value from file */
  DECLARE_FROZEN,
  DECLARE_TARGET,
  DECLARE_QUEUE,     /* queue name: type = value */
  DECLARE_STATE,
  DECLARE_WEIGHT,
  DECLARE_PRETEXT,   /* pretext name(inner) block */
  DECLARE_TRAIN,     /* train name block, of AST_FIELD_STATEMENT, TUNE, FOR */
  DECLARE_EVAL,      /* eval value block, of expressions */
  DECLARE_OPTIMIZER  /* optimizer name(outer)(inner) block */
} ast_declaration_kind;

const char *ast_declaration_keyword(ast_declaration_kind kind);

typedef struct {
  ast_declaration_kind kind;
  span where;
  const char *name;
  span name_where;
  ast_parameters outer, inner; /* f(outer)(inner); a function with one list has it in `inner` */
  bool has_outer;
  ast_type type;
  ast_expr *value; /* of `=`; NULL when there is a block */
  const ast_expr *from; /* where a model gets its weights, or NULL */
  ast_block *block;
} ast_declaration;

typedef struct {
  uint32_t file;
  ast_declaration **items;
  uint32_t n, capacity;
} ast_program;

/* Reads file number `file` of d->sources. Errors go to `d`; what could be read is returned in any case. */
ast_program *parse_program(uint32_t file, diagnostics *d, arena *a);

/* The tree, one node a line, as `sslc emit --stage ast` shows it. */
char *ast_print(const ast_program *p, arena *into);

/* The canonical form of a program text: spaces, indentation and blank lines; comments and line breaks
 * stay where they are. Formatting twice changes nothing. Never fails: what is no token stays as it is. A zero byte ends the text. */
char *format_program(const char *text, size_t length, arena *into);

#endif
