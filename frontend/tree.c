#include "frontend/tree.h"

const char *ast_operator_text(ast_operator op) {
  static const char *const texts[] = {
      [AST_ADD] = "+", [AST_SUB] = "-",  [AST_MUL] = "*",  [AST_DIV] = "/", [AST_FLOOR_DIV] = "//", [AST_MOD] = "%",  [AST_POW] = "**",
      [AST_MATMUL] = "@", [AST_JOIN] = "++", [AST_EQ] = "==", [AST_NE] = "!=", [AST_LT] = "<", [AST_GT] = ">", [AST_LE] = "<=",
      [AST_GE] = ">=", [AST_AND] = "&", [AST_OR] = "|", [AST_NOT] = "!", [AST_NEG] = "-", [AST_RANGE] = "..", [AST_PIPE] = "|>"};
  return texts[op];
}

const char *ast_declaration_keyword(ast_declaration_kind kind) {
  static const char *const words[] = {
      [DECLARE_OPTION] = "option", [DECLARE_DATA] = "data", [DECLARE_CONST] = "const", [DECLARE_USE] = "use", [DECLARE_AUGMENT] = "augment",
      [DECLARE_ENCODER] = "encoder", [DECLARE_FN] = "fn", [DECLARE_MODEL] = "model", [DECLARE_FROZEN] = "frozen", [DECLARE_TARGET] = "target",
      [DECLARE_QUEUE] = "queue", [DECLARE_STATE] = "state", [DECLARE_WEIGHT] = "weight", [DECLARE_PRETEXT] = "pretext",
      [DECLARE_TRAIN] = "train", [DECLARE_EVAL] = "eval", [DECLARE_OPTIMIZER] = "optimizer"};
  return words[kind];
}

static ast_expr *make(parse_state *p, ast_kind kind, span where) {
  ast_expr *e = ARENA_NEW(p->arena, ast_expr);
  e->kind = kind;
  e->where = where;
  return e;
}

ast_expr *tree_text(parse_state *p, ast_kind kind, span where, const char *text) {
  ast_expr *e = make(p, kind, where);
  e->text = text;
  return e;
}

ast_expr *tree_number(parse_state *p, span where, const token *number) {
  ast_expr *e = tree_text(p, AST_NUMBER, where, number->text);
  e->number = number->number;
  e->is_real = number->is_real;
  return e;
}

ast_expr *tree_unary(parse_state *p, ast_operator op, span where, ast_expr *right) {
  ast_expr *e = make(p, AST_UNARY, where);
  e->op = op;
  e->right = right;
  return e;
}

ast_expr *tree_binary(parse_state *p, ast_operator op, ast_expr *left, ast_expr *right) {
  ast_expr *e = make(p, AST_BINARY, span_join(left->where, right->where));
  e->op = op;
  e->left = left;
  e->right = right;
  return e;
}

ast_expr *tree_apply(parse_state *p, ast_kind kind, span where, ast_expr *left, ast_items items) {
  ast_expr *e = make(p, kind, where);
  e->left = left;
  e->items = items;
  return e;
}

ast_expr *tree_field(parse_state *p, span where, ast_expr *left, const char *name) {
  ast_expr *e = tree_text(p, AST_FIELD, where, name);
  e->left = left;
  return e;
}

ast_expr *tree_slice(parse_state *p, span where, ast_expr *from, ast_expr *to) {
  ast_expr *e = make(p, AST_SLICE, where);
  e->left = from;
  e->right = to;
  return e;
}

ast_expr *tree_if(parse_state *p, span where, ast_expr *condition, ast_block *yes, ast_block *no) {
  ast_expr *e = make(p, AST_IF, where);
  e->left = condition;
  e->block = yes;
  e->otherwise = no;
  return e;
}

static void add_name(parse_state *p, ast_pattern *names, const char *name, span where) {
  uint32_t n = names->n;
  *ARENA_PUSH(p->arena, names->where, n, names->where_capacity) = where;
  *ARENA_PUSH(p->arena, names->names, names->n, names->names_capacity) = name;
}

ast_expr *tree_lambda(parse_state *p, span where, ast_expr *parameters, ast_expr *body) {
  ast_expr *e = make(p, AST_LAMBDA, where);
  e->right = body;
  if (!parameters) return e;
  ast_items one = {.items = &(ast_item){NULL, parameters->where, parameters}, .n = 1};
  ast_items list = parameters->kind == AST_TUPLE ? parameters->items : one;
  for (uint32_t i = 0; i < list.n; i++) {
    const ast_expr *name = list.items[i].value;
    if (name->kind == AST_NAME) add_name(p, &e->parameters, name->text, name->where);
    else diagnose(p->diagnostics, DIAG_SYNTAX, name->where, "what stands before => are names of parameters");
  }
  return e;
}

ast_expr *tree_parenthesised(ast_expr *tuple) {
  if (tuple->items.n != 1) return tuple;
  ast_expr *inside = tuple->items.items[0].value;
  inside->where = tuple->where;
  return inside;
}

ast_expr *tree_clause(parse_state *p, ast_expr *so_far, ast_clause clause) {
  ast_expr *e = so_far ? so_far : make(p, AST_COMPREHENSION, clause.over->where);
  *ARENA_PUSH(p->arena, e->clauses, e->n_clauses, e->clauses_capacity) = clause;
  return e;
}

ast_items tree_add(parse_state *p, ast_items items, const char *name, span where, ast_expr *value) {
  *ARENA_PUSH(p->arena, items.items, items.n, items.capacity) = (ast_item){name, where, value};
  return items;
}

ast_pattern tree_pattern(parse_state *p, ast_pattern names, const token *name) {
  add_name(p, &names, name->text, name->where);
  return names;
}

ast_parameters tree_add_parameter(parse_state *p, ast_parameters list, ast_parameter one) {
  *ARENA_PUSH(p->arena, list.items, list.n, list.capacity) = one;
  return list;
}

ast_statement *tree_statement(parse_state *p, ast_statement_kind kind, span where, const token *name, ast_expr *value) {
  ast_statement *s = ARENA_NEW(p->arena, ast_statement);
  s->kind = kind;
  s->where = where;
  s->value = value;
  if (name) {
    s->name = name->text;
    s->name_where = name->where;
  }
  return s;
}

ast_statement *tree_local_function(parse_state *p, span where, const token *name, ast_parameters parameters, const parse_value *body) {
  ast_statement *s = tree_statement(p, AST_FUNCTION_STATEMENT, where, name, body->expr);
  s->parameters = parameters;
  s->block = body->block;
  return s;
}

ast_block *tree_block(parse_state *p, ast_block *block, ast_statement *statement) {
  if (!block) block = ARENA_NEW(p->arena, ast_block);
  if (statement) *ARENA_PUSH(p->arena, block->items, block->n, block->capacity) = statement;
  return block;
}

static ast_declaration *declaration(parse_state *p, ast_declaration_kind kind, span where, const token *name) {
  ast_declaration *d = ARENA_NEW(p->arena, ast_declaration);
  d->kind = kind;
  d->where = where;
  if (name) {
    d->name = name->text;
    d->name_where = name->where;
  }
  return d;
}

ast_declaration *tree_value(parse_state *p, ast_declaration_kind kind, span where, const token *name, const ast_type *type, ast_expr *value) {
  ast_declaration *d = declaration(p, kind, where, name);
  if (type) d->type = *type;
  d->value = value;
  return d;
}

ast_declaration *tree_function(parse_state *p, ast_declaration_kind kind, span where, const token *name, const ast_parameters *outer,
                               const ast_parameters *inner, const parse_value *body) {
  ast_declaration *d = declaration(p, kind, where, name);
  d->has_outer = outer != NULL;
  if (outer) d->outer = *outer;
  if (inner) d->inner = *inner;
  d->block = body->block;
  d->value = body->block ? NULL : body->expr;
  return d;
}

void tree_declare(parse_state *p, ast_declaration *d) {
  *ARENA_PUSH(p->arena, p->program->items, p->program->n, p->program->capacity) = d;
}
