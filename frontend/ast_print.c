#include "frontend/ast.h"
#include "ir/scan.h"

typedef struct {
  text_buffer out;
  int depth;
} printer;

static void print_expr(printer *p, const ast_expr *e);
static void print_block(printer *p, const ast_block *b);

/* `pattern` with the text in place of its %s. */
static void line(printer *p, const char *pattern, const char *text) {
  const char *hole = strstr(pattern, "%s");
  size_t before = hole ? (size_t)(hole - pattern) : strlen(pattern);
  text_add(&p->out, "%*s%.*s%s%s\n", 2 * p->depth, "", (int)before, pattern, hole && text ? text : "", hole ? hole + 2 : "");
}

static void print_pattern(printer *p, const ast_pattern *names) {
  for (uint32_t i = 0; i < names->n; i++) line(p, "name %s", names->names[i]);
}

static void print_items(printer *p, const ast_items *items) {
  for (uint32_t i = 0; i < items->n; i++) {
    if (items->items[i].name) {
      line(p, "%s:", items->items[i].name);
      p->depth++;
    }
    print_expr(p, items->items[i].value);
    p->depth -= items->items[i].name != NULL;
  }
}

static const char *const kind_names[] = {
    [AST_NUMBER] = "number %s", [AST_STRING] = "string \"%s\"", [AST_NAME] = "name %s", [AST_NONE] = "none", [AST_TRUE] = "true",
    [AST_FALSE] = "false", [AST_CALL] = "call", [AST_INDEX] = "index", [AST_SLICE] = "slice", [AST_FIELD] = "field %s", [AST_UNARY] = "unary %s",
    [AST_BINARY] = "binary %s", [AST_TUPLE] = "tuple", [AST_LIST] = "list", [AST_COMPREHENSION] = "comprehension", [AST_LAMBDA] = "lambda",
    [AST_BLOCK] = "block", [AST_IF] = "if"};

static void print_expr(printer *p, const ast_expr *e) {
  if (!e) {
    line(p, "(nothing)", NULL);
    return;
  }
  bool has_operator = e->kind == AST_UNARY || e->kind == AST_BINARY;
  line(p, kind_names[e->kind], has_operator ? ast_operator_text(e->op) : e->text);
  p->depth++;
  print_pattern(p, &e->parameters);
  if (e->left || e->kind == AST_SLICE) print_expr(p, e->left);
  if (e->right || e->kind == AST_SLICE) print_expr(p, e->right);
  print_items(p, &e->items);
  for (uint32_t i = 0; i < e->n_clauses; i++) {
    line(p, "for", NULL);
    p->depth++;
    print_pattern(p, &e->clauses[i].pattern);
    print_expr(p, e->clauses[i].over);
    if (e->clauses[i].condition) print_expr(p, e->clauses[i].condition);
    p->depth--;
  }
  if (e->block) print_block(p, e->block);
  if (e->otherwise) print_block(p, e->otherwise);
  p->depth--;
}

static void print_parameters(printer *p, const char *label, const ast_parameters *list) {
  line(p, "%s", label);
  p->depth++;
  for (uint32_t i = 0; i < list->n; i++) {
    const ast_parameter *one = &list->items[i];
    line(p, "parameter %s", one->name);
    p->depth++;
    if (one->type.element) {
      line(p, "type %s", one->type.element);
      p->depth++;
      print_items(p, &one->type.dims);
      p->depth--;
    }
    if (one->otherwise) print_expr(p, one->otherwise);
    p->depth--;
  }
  p->depth--;
}

static void print_statement(printer *p, const ast_statement *s) {
  static const char *const names[] = {
      [AST_LET_STATEMENT] = "let", [AST_FUNCTION_STATEMENT] = "function %s", [AST_ASSIGN_STATEMENT] = "assign %s", [AST_WRITE_STATEMENT] = "write %s",
      [AST_STATE_STATEMENT] = "state", [AST_MINIMIZE_STATEMENT] = "minimize", [AST_REPORT_STATEMENT] = "report", [AST_THEN_STATEMENT] = "then",
      [AST_IF_STATEMENT] = "if", [AST_FOR_STATEMENT] = "for", [AST_TUNE_STATEMENT] = "tune", [AST_FIELD_STATEMENT] = "setting %s",
      [AST_EXPRESSION_STATEMENT] = "value", [AST_ERROR_STATEMENT] = "(unreadable)"};
  line(p, names[s->kind], s->name);
  p->depth++;
  print_pattern(p, &s->pattern);
  if (s->kind == AST_FUNCTION_STATEMENT) print_parameters(p, "parameters", &s->parameters);
  if (s->value) print_expr(p, s->value);
  print_items(p, &s->selectors);
  print_items(p, &s->fields);
  if (s->block) print_block(p, s->block);
  p->depth--;
}

static void print_block(printer *p, const ast_block *b) {
  line(p, "block", NULL);
  p->depth++;
  for (uint32_t i = 0; i < b->n; i++) print_statement(p, b->items[i]);
  p->depth--;
}

char *ast_print(const ast_program *program, arena *into) {
  printer p = {.out.arena = into};
  for (uint32_t i = 0; i < program->n; i++) {
    const ast_declaration *d = program->items[i];
    line(&p, arena_printf(into, "%s %%s", ast_declaration_keyword(d->kind)), d->name);
    p.depth++;
    if (d->type.element) {
      line(&p, "type %s", d->type.element);
      p.depth++;
      print_items(&p, &d->type.dims);
      p.depth--;
    }
    if (d->has_outer) print_parameters(&p, "configured by", &d->outer);
    if (d->inner.n) print_parameters(&p, "applied to", &d->inner);
    if (d->value) print_expr(&p, d->value);
    if (d->from) {
      line(&p, "from %s", "");
      p.depth++;
      print_expr(&p, d->from);
      p.depth--;
    }
    if (d->block) print_block(&p, d->block);
    p.depth--;
  }
  return text_done(&p.out);
}
