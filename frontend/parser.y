/* The grammar. Actions build the tree and nothing else. It has no conflicts; a change that brings one is
 * mended in the grammar, not by a precedence that hides it. */
%define api.pure full
%define api.value.type {parse_value}
%define api.location.type {span}
%define parse.error custom
%define parse.lac full
%define api.prefix {sslc_yy}
%expect 0
%locations
%param {parse_state *p}

%code requires {
#include "frontend/tokens.h"

typedef struct {
  arena *arena;
  diagnostics *diagnostics;
  token_stream *tokens;
  ast_program *program;
  bool doubtful; /* something was reported about the token at hand */
} parse_state;

typedef struct {
  token token;
  ast_expr *expr;
  ast_statement *statement;
  ast_declaration *declaration;
  ast_block *block;
  ast_items items;
  ast_item item;
  ast_pattern pattern;
  ast_parameters parameters;
  ast_parameter parameter;
  ast_type type;
  ast_clause clause;
} parse_value;

#define YYLLOC_DEFAULT(joined, parts, n) \
  (joined) = (n) ? span_join(YYRHSLOC(parts, 1), YYRHSLOC(parts, n)) : (span){YYRHSLOC(parts, 0).file, YYRHSLOC(parts, 0).end, YYRHSLOC(parts, 0).end}
}

%code {
#include "frontend/tree.h"

static int sslc_yylex(parse_value *value, span *where, parse_state *p) {
  value->token = tokens_next(p->tokens);
  p->doubtful = value->token.doubtful;
  *where = value->token.where;
  return value->token.kind;
}

static void sslc_yyerror(span *where, parse_state *p, const char *message) {
  diagnose(p->diagnostics, DIAG_SYNTAX, *where, "%s", message);
}
}

%token NAME "a name" NUMBER "a number" STRING "a string" NEWLINE "the end of the line"
%token PIPE "'|>'" ARROW "'<-'" GIVES "'=>'" DOTS "'..'" ELLIPSIS "'...'" JOIN "'++'" FLOOR_DIV "'//'" POWER "'**'"
%token EQUAL "'=='" UNEQUAL "'!='" AT_MOST "'<='" AT_LEAST "'>='"
%token OPTION "option" DATA "data" CONST "const" USE "use" AUGMENT "augment" ENCODER "encoder" NET "net" FN "fn"
%token MODEL "model" FROZEN "frozen" TARGET "target" QUEUE "queue" STATE "state" WEIGHT "weight" PRETEXT "pretext"
%token TRAIN "train" EVAL "eval" OPTIMIZER "optimizer" LET "let" MINIMIZE "minimize" WRT "wrt" REPORT "report"
%token THEN "then" TUNE "tune" FROM "from" FOR "for" IN "in" IF "if" ELSE "else" TRUE "true" FALSE "false" NONE "none"

%%

/* The token stream gives one NEWLINE where a line ends a statement, however many follow, and none where a
 * block or a text begins. */
program: end | declarations end ;
declarations: declaration | declarations line declaration ;
line: NEWLINE { yyerrok; } ; /* mistakes behind a line end are new ones */
end: %empty | line ;

declaration
  : item          { tree_declare(p, $1.declaration); }
  | error         { $$.token = $1.token; }
  ;

item
  : OPTION NAME '=' expr                        { $$.declaration = tree_value(p, DECLARE_OPTION, @$, &$2.token, NULL, $4.expr); }
  | DATA NAME '=' expr                          { $$.declaration = tree_value(p, DECLARE_DATA, @$, &$2.token, NULL, $4.expr); }
  | CONST NAME '=' expr                         { $$.declaration = tree_value(p, DECLARE_CONST, @$, &$2.token, NULL, $4.expr); }
  | MODEL NAME '=' expr                         { $$.declaration = tree_value(p, DECLARE_MODEL, @$, &$2.token, NULL, $4.expr); }
  | MODEL NAME '=' expr FROM expr               { $$.declaration = tree_value(p, DECLARE_MODEL, @$, &$2.token, NULL, $4.expr); $$.declaration->from = $6.expr; }
  | FROZEN NAME '=' expr                        { $$.declaration = tree_value(p, DECLARE_FROZEN, @$, &$2.token, NULL, $4.expr); }
  | FROZEN NAME '=' expr FROM expr              { $$.declaration = tree_value(p, DECLARE_FROZEN, @$, &$2.token, NULL, $4.expr); $$.declaration->from = $6.expr; }
  | TARGET NAME '=' expr                        { $$.declaration = tree_value(p, DECLARE_TARGET, @$, &$2.token, NULL, $4.expr); }
  | QUEUE NAME ':' type '=' expr                { $$.declaration = tree_value(p, DECLARE_QUEUE, @$, &$2.token, &$4.type, $6.expr); }
  | STATE NAME '=' expr                         { $$.declaration = tree_value(p, DECLARE_STATE, @$, &$2.token, NULL, $4.expr); }
  | WEIGHT NAME '=' expr                        { $$.declaration = tree_value(p, DECLARE_WEIGHT, @$, &$2.token, NULL, $4.expr); }
  | USE STRING                                  { $$.declaration = tree_value(p, DECLARE_USE, @$, &$2.token, NULL, NULL); }
  | AUGMENT NAME '=' expr                       { $$.declaration = tree_value(p, DECLARE_AUGMENT, @$, &$2.token, NULL, $4.expr); }
  | AUGMENT NAME parameters body                { $$.declaration = tree_function(p, DECLARE_AUGMENT, @$, &$2.token, NULL, &$3.parameters, &$4); }
  | AUGMENT NAME parameters parameters body     { $$.declaration = tree_function(p, DECLARE_AUGMENT, @$, &$2.token, &$3.parameters, &$4.parameters, &$5); }
  | ENCODER NAME parameters body                { $$.declaration = tree_function(p, DECLARE_ENCODER, @$, &$2.token, NULL, &$3.parameters, &$4); }
  | ENCODER NAME parameters parameters body     { $$.declaration = tree_function(p, DECLARE_ENCODER, @$, &$2.token, &$3.parameters, &$4.parameters, &$5); }
  | NET NAME parameters body                    { $$.declaration = tree_function(p, DECLARE_ENCODER, @$, &$2.token, NULL, &$3.parameters, &$4); }
  | NET NAME parameters parameters body         { $$.declaration = tree_function(p, DECLARE_ENCODER, @$, &$2.token, &$3.parameters, &$4.parameters, &$5); }
  | FN NAME parameters body                     { $$.declaration = tree_function(p, DECLARE_FN, @$, &$2.token, NULL, &$3.parameters, &$4); }
  | OPTIMIZER NAME parameters parameters block  { $$.declaration = tree_function(p, DECLARE_OPTIMIZER, @$, &$2.token, &$3.parameters, &$4.parameters, &$5); }
  | PRETEXT NAME parameters block               { $$.declaration = tree_function(p, DECLARE_PRETEXT, @$, &$2.token, NULL, &$3.parameters, &$4); }
  | TRAIN NAME fields                           { $$.declaration = tree_function(p, DECLARE_TRAIN, @$, &$2.token, NULL, NULL, &$3); }
  | EVAL expr protocols                         { $$.declaration = tree_function(p, DECLARE_EVAL, @$, NULL, NULL, NULL, &$3); $$.declaration->value = $2.expr; }
  ;

body: '=' expr { $$.block = NULL; $$.expr = $2.expr; } | block { $$.block = $1.block; $$.expr = NULL; } ;

parameters
  : '(' ')'                { $$.parameters = (ast_parameters){0}; }
  | '(' parameter_list comma ')' { $$.parameters = $2.parameters; }
  ;
comma: %empty | ',' ;
parameter_list
  : parameter                    { $$.parameters = tree_add_parameter(p, (ast_parameters){0}, $1.parameter); }
  | parameter_list ',' parameter { $$.parameters = tree_add_parameter(p, $1.parameters, $3.parameter); }
  ;
parameter
  : word                     { $$.parameter = (ast_parameter){$1.token.text, @1, {0}, NULL}; }
  | word '=' expr            { $$.parameter = (ast_parameter){$1.token.text, @1, {0}, $3.expr}; }
  | word ':' type            { $$.parameter = (ast_parameter){$1.token.text, @1, $3.type, NULL}; }
  | word ':' type '=' expr   { $$.parameter = (ast_parameter){$1.token.text, @1, $3.type, $5.expr}; }
  ;
/* Words that the stream takes for keywords only at the head of a statement are names here. */
word: NAME { $$.token = $1.token; } ;

type
  : NAME                   { $$.type = (ast_type){$1.token.text, {0}, @$}; }
  | NAME '[' ']'           { $$.type = (ast_type){$1.token.text, {0}, @$}; }
  | NAME '[' dims ']'      { $$.type = (ast_type){$1.token.text, $3.items, @$}; }
  ;
dims
  : dim                    { $$.items = tree_add(p, (ast_items){0}, NULL, @1, $1.expr); }
  | dims ',' dim           { $$.items = tree_add(p, $1.items, NULL, @3, $3.expr); }
  ;
dim
  : sum                    { $$.expr = $1.expr; }
  | ELLIPSIS               { $$.expr = tree_text(p, AST_NAME, @1, "..."); }
  ;

/* -- statements ------------------------------------------------------------------------------------------ */

block
  : '{' '}'                                { $$.block = tree_block(p, NULL, NULL); }
  | '{' statements end '}'                 { $$.block = $2.block; }
  ;
statements
  : statement                              { $$.block = tree_block(p, NULL, $1.statement); }
  | statements line statement              { $$.block = tree_block(p, $1.block, $3.statement); }
  ;
statement
  : expr                                   { $$.statement = tree_statement(p, AST_EXPRESSION_STATEMENT, @$, NULL, $1.expr); }
  | LET pattern '=' expr                   { $$.statement = tree_statement(p, AST_LET_STATEMENT, @$, NULL, $4.expr); $$.statement->pattern = $2.pattern; }
  | LET NAME parameters body               { $$.statement = tree_local_function(p, @$, &$2.token, $3.parameters, &$4); }
  | NAME '=' expr                          { $$.statement = tree_statement(p, AST_ASSIGN_STATEMENT, @$, &$1.token, $3.expr); }
  | NAME ARROW expr                        { $$.statement = tree_statement(p, AST_WRITE_STATEMENT, @$, &$1.token, $3.expr); }
  | STATE slots                            { $$.statement = tree_statement(p, AST_STATE_STATEMENT, @$, NULL, NULL); $$.statement->fields = $2.items; }
  | MINIMIZE expr                          { $$.statement = tree_statement(p, AST_MINIMIZE_STATEMENT, @$, NULL, $2.expr); }
  | MINIMIZE expr WRT names                { $$.statement = tree_statement(p, AST_MINIMIZE_STATEMENT, @$, NULL, $2.expr); $$.statement->pattern = $4.pattern; }
  | REPORT reports                         { $$.statement = tree_statement(p, AST_REPORT_STATEMENT, @$, NULL, NULL); $$.statement->fields = $2.items; }
  | THEN                                   { $$.statement = tree_statement(p, AST_THEN_STATEMENT, @$, NULL, NULL); }
  | IF expr block                          { $$.statement = tree_statement(p, AST_IF_STATEMENT, @$, NULL, $2.expr); $$.statement->block = $3.block; }
  | FOR pattern IN expr block              { $$.statement = tree_statement(p, AST_FOR_STATEMENT, @$, NULL, $4.expr); $$.statement->pattern = $2.pattern; $$.statement->block = $5.block; }
  | error                                  { $$.statement = tree_statement(p, AST_ERROR_STATEMENT, @$, NULL, NULL); }
  ;
slots
  : NAME '=' expr                          { $$.items = tree_add(p, (ast_items){0}, $1.token.text, @1, $3.expr); }
  | slots ',' NAME '=' expr                { $$.items = tree_add(p, $1.items, $3.token.text, @3, $5.expr); }
  ;
reports
  : report                                 { $$.items = tree_add(p, (ast_items){0}, $1.item.name, $1.item.where, $1.item.value); }
  | reports ',' report                     { $$.items = tree_add(p, $1.items, $3.item.name, $3.item.where, $3.item.value); }
  ;
report
  : expr                                   { $$.item = (ast_item){NULL, @1, $1.expr}; }
  | NAME '=' expr                          { $$.item = (ast_item){$1.token.text, @1, $3.expr}; }
  ;
pattern
  : NAME                                   { $$.pattern = tree_pattern(p, (ast_pattern){0}, &$1.token); }
  | '(' names ')'                          { $$.pattern = $2.pattern; $$.pattern.tuple = true; }
  ;
names
  : NAME                                   { $$.pattern = tree_pattern(p, (ast_pattern){0}, &$1.token); }
  | names ',' NAME                         { $$.pattern = tree_pattern(p, $1.pattern, &$3.token); }
  ;

/* -- train and eval -------------------------------------------------------------------------------------- */

fields
  : '{' '}'                                { $$.block = tree_block(p, NULL, NULL); }
  | '{' field_list trailing '}'            { $$.block = $2.block; }
  ;
separator: line | ',' ;
trailing: %empty | separator ;
field_list
  : field                                  { $$.block = tree_block(p, NULL, $1.statement); }
  | field_list separator field             { $$.block = tree_block(p, $1.block, $3.statement); }
  ;
field
  : NAME ':' expr                          { $$.statement = tree_statement(p, AST_FIELD_STATEMENT, @$, &$1.token, $3.expr); }
  | TUNE selectors fields                  { $$.statement = tree_statement(p, AST_TUNE_STATEMENT, @$, NULL, NULL); $$.statement->selectors = $2.items; $$.statement->block = $3.block; }
  | FOR pattern IN expr fields             { $$.statement = tree_statement(p, AST_FOR_STATEMENT, @$, NULL, $4.expr); $$.statement->pattern = $2.pattern; $$.statement->block = $5.block; }
  | error                                  { $$.statement = tree_statement(p, AST_ERROR_STATEMENT, @$, NULL, NULL); }
  ;
selectors
  : postfix                                { $$.items = tree_add(p, (ast_items){0}, NULL, @1, $1.expr); }
  | selectors ',' postfix                  { $$.items = tree_add(p, $1.items, NULL, @3, $3.expr); }
  ;
protocols
  : '{' '}'                                { $$.block = tree_block(p, NULL, NULL); }
  | '{' protocol_list trailing '}'         { $$.block = $2.block; }
  ;
protocol_list
  : protocol                               { $$.block = tree_block(p, NULL, $1.statement); }
  | protocol_list separator protocol       { $$.block = tree_block(p, $1.block, $3.statement); }
  ;
protocol
  : expr                                   { $$.statement = tree_statement(p, AST_EXPRESSION_STATEMENT, @$, NULL, $1.expr); }
  | error                                  { $$.statement = tree_statement(p, AST_ERROR_STATEMENT, @$, NULL, NULL); }
  ;

/* -- expressions, loosest first --------------------------------------------------------------------------- */

expr
  : pipe                                   { $$.expr = $1.expr; }
  | NAME GIVES expr                        { $$.expr = tree_lambda(p, @$, tree_text(p, AST_NAME, @1, $1.token.text), $3.expr); }
  | '(' ')' GIVES expr                     { $$.expr = tree_lambda(p, @$, NULL, $4.expr); }
  | tuple GIVES expr                       { $$.expr = tree_lambda(p, @$, $1.expr, $3.expr); }
  ;
pipe: range { $$ = $1; } | pipe PIPE range { $$.expr = tree_binary(p, AST_PIPE, $1.expr, $3.expr); } ;
range: either { $$ = $1; } | either DOTS either { $$.expr = tree_binary(p, AST_RANGE, $1.expr, $3.expr); } ;
either: both { $$ = $1; } | either '|' both { $$.expr = tree_binary(p, AST_OR, $1.expr, $3.expr); } ;
both: comparison { $$ = $1; } | both '&' comparison { $$.expr = tree_binary(p, AST_AND, $1.expr, $3.expr); } ;
comparison
  : join                     { $$ = $1; }
  | join EQUAL join          { $$.expr = tree_binary(p, AST_EQ, $1.expr, $3.expr); }
  | join UNEQUAL join        { $$.expr = tree_binary(p, AST_NE, $1.expr, $3.expr); }
  | join '<' join            { $$.expr = tree_binary(p, AST_LT, $1.expr, $3.expr); }
  | join '>' join            { $$.expr = tree_binary(p, AST_GT, $1.expr, $3.expr); }
  | join AT_MOST join        { $$.expr = tree_binary(p, AST_LE, $1.expr, $3.expr); }
  | join AT_LEAST join       { $$.expr = tree_binary(p, AST_GE, $1.expr, $3.expr); }
  ;
join: sum { $$ = $1; } | join JOIN sum { $$.expr = tree_binary(p, AST_JOIN, $1.expr, $3.expr); } ;
sum
  : product                  { $$ = $1; }
  | sum '+' product          { $$.expr = tree_binary(p, AST_ADD, $1.expr, $3.expr); }
  | sum '-' product          { $$.expr = tree_binary(p, AST_SUB, $1.expr, $3.expr); }
  ;
product
  : unary                    { $$ = $1; }
  | product '*' unary        { $$.expr = tree_binary(p, AST_MUL, $1.expr, $3.expr); }
  | product '/' unary        { $$.expr = tree_binary(p, AST_DIV, $1.expr, $3.expr); }
  | product FLOOR_DIV unary  { $$.expr = tree_binary(p, AST_FLOOR_DIV, $1.expr, $3.expr); }
  | product '%' unary        { $$.expr = tree_binary(p, AST_MOD, $1.expr, $3.expr); }
  | product '@' unary        { $$.expr = tree_binary(p, AST_MATMUL, $1.expr, $3.expr); }
  ;
unary
  : power                    { $$ = $1; }
  | '-' unary                { $$.expr = tree_unary(p, AST_NEG, @$, $2.expr); }
  | '!' unary                { $$.expr = tree_unary(p, AST_NOT, @$, $2.expr); }
  ;
power: postfix { $$ = $1; } | postfix POWER unary { $$.expr = tree_binary(p, AST_POW, $1.expr, $3.expr); } ;

postfix
  : primary                  { $$ = $1; }
  | postfix '(' ')'          { $$.expr = tree_apply(p, AST_CALL, @$, $1.expr, (ast_items){0}); }
  | postfix '(' arguments comma ')' { $$.expr = tree_apply(p, AST_CALL, @$, $1.expr, $3.items); }
  | postfix '[' subscripts comma ']' { $$.expr = tree_apply(p, AST_INDEX, @$, $1.expr, $3.items); }
  | postfix '.' NAME         { $$.expr = tree_field(p, @$, $1.expr, $3.token.text); }
  ;
arguments
  : argument                 { $$.items = tree_add(p, (ast_items){0}, $1.item.name, $1.item.where, $1.item.value); }
  | arguments ',' argument   { $$.items = tree_add(p, $1.items, $3.item.name, $3.item.where, $3.item.value); }
  ;
argument
  : expr                     { $$.item = (ast_item){NULL, @1, $1.expr}; }
  | NAME ':' expr            { $$.item = (ast_item){$1.token.text, @1, $3.expr}; }
  ;
subscripts
  : subscript                { $$.items = tree_add(p, (ast_items){0}, NULL, @1, $1.expr); }
  | subscripts ',' subscript { $$.items = tree_add(p, $1.items, NULL, @3, $3.expr); }
  ;
subscript
  : expr                     { $$.expr = $1.expr; }
  | ':'                      { $$.expr = tree_slice(p, @$, NULL, NULL); }
  | expr ':'                 { $$.expr = tree_slice(p, @$, $1.expr, NULL); }
  | ':' expr                 { $$.expr = tree_slice(p, @$, NULL, $2.expr); }
  | expr ':' expr            { $$.expr = tree_slice(p, @$, $1.expr, $3.expr); }
  ;
primary
  : NAME                     { $$.expr = tree_text(p, AST_NAME, @1, $1.token.text); }
  | STRING                   { $$.expr = tree_text(p, AST_STRING, @1, $1.token.text); }
  | NUMBER                   { $$.expr = tree_number(p, @1, &$1.token); }
  | TRUE                     { $$.expr = tree_text(p, AST_TRUE, @1, NULL); }
  | FALSE                    { $$.expr = tree_text(p, AST_FALSE, @1, NULL); }
  | NONE                     { $$.expr = tree_text(p, AST_NONE, @1, NULL); }
  | tuple                    { $$.expr = tree_parenthesised($1.expr); }
  | '[' ']'                  { $$.expr = tree_apply(p, AST_LIST, @$, NULL, (ast_items){0}); }
  | '[' list comma ']'       { $$.expr = tree_apply(p, AST_LIST, @$, NULL, $2.items); }
  | '[' expr clauses ']'     { $$.expr = $3.expr; $$.expr->left = $2.expr; $$.expr->where = @$; }
  | block                    { $$.expr = tree_text(p, AST_BLOCK, @1, NULL); $$.expr->block = $1.block; }
  | IF expr block ELSE block { $$.expr = tree_if(p, @$, $2.expr, $3.block, $5.block); }
  | IF expr block ELSE chain { $$.expr = tree_if(p, @$, $2.expr, $3.block, tree_block(p, NULL, tree_statement(p, AST_EXPRESSION_STATEMENT, @5, NULL, $5.expr))); }
  ;
chain
  : IF expr block ELSE block { $$.expr = tree_if(p, @$, $2.expr, $3.block, $5.block); }
  | IF expr block ELSE chain { $$.expr = tree_if(p, @$, $2.expr, $3.block, tree_block(p, NULL, tree_statement(p, AST_EXPRESSION_STATEMENT, @5, NULL, $5.expr))); }
  ;
tuple: '(' list comma ')'    { $$.expr = tree_apply(p, AST_TUPLE, @$, NULL, $2.items); } ;
list
  : expr                     { $$.items = tree_add(p, (ast_items){0}, NULL, @1, $1.expr); }
  | list ',' expr            { $$.items = tree_add(p, $1.items, NULL, @3, $3.expr); }
  ;
clauses
  : clause                   { $$.expr = tree_clause(p, NULL, $1.clause); }
  | clauses clause           { $$.expr = tree_clause(p, $1.expr, $2.clause); }
  ;
clause
  : FOR pattern IN expr          { $$.clause = (ast_clause){$2.pattern, $4.expr, NULL}; }
  | FOR pattern IN expr IF expr  { $$.clause = (ast_clause){$2.pattern, $4.expr, $6.expr}; }
  ;

%%

/* Long lists of what may stand there say less than their kind does. */
static const char *expected_kind(const yysymbol_kind_t *expected, int n, char bracket) {
  bool value = false, declaration = false, statement = false, end = false;
  for (int i = 0; i < n; i++) {
    value |= expected[i] == YYSYMBOL_NUMBER;
    declaration |= expected[i] == YYSYMBOL_PRETEXT;
    statement |= expected[i] == YYSYMBOL_MINIMIZE;
    end |= expected[i] == YYSYMBOL_NEWLINE;
  }
  if (declaration) return "a declaration: option, data, const, use, augment, encoder, fn, model, target, pretext, train, eval, ...";
  if (statement) return "a statement: let, minimize, report, for, if, a value, ...";
  if (value) return "a value";
  if (bracket == '(') return "an operator, ',' or ')'";
  if (bracket == '[') return "an operator, ',' or ']'";
  return end ? "an operator or the end of the statement" : "an operator or '{'";
}

static const char *source_text(const parse_state *p, const token *t) {
  const source_file *f = sources_get(p->diagnostics->sources, t->where.file);
  return f ? arena_substring(p->arena, f->text + t->where.start, t->where.end - t->where.start) : "";
}

/* What people write who come from other languages: by the word or sign that does not fit, or the one before
 * it. `inside` is the innermost bracket, where it matters. */
static const char *help_for(const char *before, const char *found, const char *expected, char inside) {
  static const struct {
    const char *before, *found; /* NULL: any */
    char inside;
    const char *help, *expected; /* NULL: anything */
  } habits[] = {
      {NULL, "def", 0, "a function is written fn name(parameters) = value"},
      {"def", NULL, 0, "a function inside a body is written let name(parameters) = value"},
      {NULL, "class", 0, "what has weights is an encoder: encoder name(settings)(x) { ... }"},
      {NULL, "import", 0, "another file is read with use \"file.ssl\""},
      {"import", NULL, 0, "another file is read with use \"file.ssl\", outside all bodies"},
      {"let", NULL, 0, "let is followed by a name; for, in, if, else, true, false and none are words of the language"},
      {"return", NULL, 0, "a block has the value of its last expression: write the value alone"},
      {"lambda", NULL, 0, "a function as a value is written x => value, or (x, y) => value"},
      {NULL, "and", 0, "and is written &"},
      {NULL, "or", 0, "or is written |"},
      {"not", NULL, 0, "not is written !"},
      {"&", "&", 0, "and is written with one &"},
      {"|", "|", 0, "or is written with one |"},
      {NULL, "elif", 0, "write else if"},
      {"elif", NULL, 0, "write else if"},
      {NULL, "let", 0, "let stands in bodies; outside, write const name = value, or option name = value for a setting"},
      {NULL, "minimize", 0, "minimize stands in the body of a pretext"},
      {NULL, "report", 0, "report stands in the body of a pretext"},
      {"+", "=", 0, "a name is given a new value by y = y + ..."},
      {"-", "=", 0, "a name is given a new value by y = y - ..."},
      {"*", "=", 0, "a name is given a new value by y = y * ..."},
      {"/", "=", 0, "a name is given a new value by y = y / ..."},
      {NULL, "=", '{', "settings of train are written name: value", "':'"},
      {NULL, "=", 0, "the type stands before it: queue keys: f32[4096, 128] = ...", "':'"},
      {NULL, "=", '(', "arguments are named with a colon: name: value"},
      {"]", "=", '{', "tensors do not change; make a new one with where, concat or pad"},
      {NULL, "if", 0, "a choice is written if condition { value } else { value }"},
      {NULL, "else", 0, "a choice is written if condition { value } else { value }"},
      {NULL, ":", '{', "a body stands in braces: { ... }"},
  };
  for (size_t i = 0; i < sizeof habits / sizeof *habits; i++)
    if ((!habits[i].before || !strcmp(habits[i].before, before)) && (!habits[i].found || !strcmp(habits[i].found, found)) &&
        (!habits[i].inside || habits[i].inside == inside) && (!habits[i].expected || !strcmp(habits[i].expected, expected)))
      return habits[i].help;
  return NULL;
}

static int yyreport_syntax_error(const yypcontext_t *context, parse_state *p) {
  enum { FEW = 5, ALL = 100 };
  yysymbol_kind_t expected[ALL], found = yypcontext_token(context);
  const token_context *around = tokens_context(p->tokens);
  token here = {.where = *yypcontext_location(context)};
  if (found == YYSYMBOL_YYEMPTY || p->doubtful) return 0;
  int n = yypcontext_expected_tokens(context, expected, ALL);
  const char *text = "";
  for (int i = 0; i < n && n <= FEW; i++)
    text = arena_printf(p->arena, "%s%s%s", text, i == 0 ? "" : i + 1 == n ? " or " : ", ",
                        expected[i] == YYSYMBOL_YYEOF ? "the end of the text" : yysymbol_name(expected[i]));
  if (n == 0 || n > FEW) text = expected_kind(expected, n, around->open);
  const char *name = yysymbol_name(found), *word = source_text(p, &here);
  if (found == YYSYMBOL_YYEOF) name = "the end of the text";
  else if (found == YYSYMBOL_NAME || found == YYSYMBOL_NUMBER) name = word;
  diagnostic *x = diagnose(p->diagnostics, DIAG_SYNTAX, here.where, "found %s, expected %s", name, text);
  const char *help = help_for(source_text(p, &around->before), word, text, around->open);
  if (help) diagnostic_set_help(p->diagnostics, x, "%s", help);
  if (around->open && around->open != '{') diagnostic_add_note(p->diagnostics, x, around->opened, "this %c is open here", around->open);
  return 0;
}

ast_program *parse_program(uint32_t file, diagnostics *d, arena *a) {
  ast_program *program = ARENA_NEW(a, ast_program);
  program->file = file;
  parse_state p = {.arena = a, .diagnostics = d, .program = program, .tokens = tokens_open(file, d, a)};
  if (!p.tokens) return program;
  sslc_yyparse(&p);
  tokens_close(p.tokens);
  return program;
}
