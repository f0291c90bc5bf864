/* Expressions. */
#include "frontend/elaborate.h"

typedef object evaluator(elaborator *e, scope *s, const ast_expr *x);

static object evaluate_number(elaborator *e, scope *s, const ast_expr *x) {
  (void)s;
  if (x->is_real) return object_real(x->number, x->where);
  if (x->number > 9007199254740992.0) return refuse(e, DIAG_STATIC_ARITHMETIC, x->where, "this integer is too large; write it as a real, with a point");
  return object_integer((int64_t)x->number, x->where);
}

static object evaluate_string(elaborator *e, scope *s, const ast_expr *x) {
  (void)e, (void)s;
  return object_string(x->text, x->where);
}

static object evaluate_none(elaborator *e, scope *s, const ast_expr *x) {
  (void)e, (void)s;
  return object_make(OBJECT_NONE, x->where);
}

static object evaluate_truth(elaborator *e, scope *s, const ast_expr *x) {
  (void)e, (void)s;
  return object_bool(x->kind == AST_TRUE, x->where);
}

object read_object(elaborator *e, object o, span where) {
  if (o.kind == OBJECT_CELL) return read_cell(e, o.cell, where);
  if (o.kind == OBJECT_FIELD) return read_field(e, o.field, where);
  if (o.kind == OBJECT_CLOCK) {
    bool counts = !strcmp(o.text, "step") || !strcmp(o.text, "epoch"); /* the others are numbers once train is read */
    const graph *g = root_graph(e);
    bool trained = g == e->step || (e->training && g != e->init);
    if (!trained || !counts) return refuse(e, DIAG_CLOCK_OUTSIDE, where, "%s counts training; here there is none", o.text);
    return tensor_object(e, graph_input(e, "clock", o.text, scalar_type(DTYPE_I32), user_place(e, where)), false, where);
  }
  return o;
}

static object evaluate_name(elaborator *e, scope *s, const ast_expr *x) {
  binding *b = scope_find(s, x->text);
  if (!b) {
    diagnostic *d = complain(e, DIAG_UNKNOWN_NAME, x->where, "nothing is called %s here", x->text);
    const char *help = word_help(x->text);
    if (help) diagnostic_set_help(e->diagnostics, d, "%s", help);
    else help_nearest(e, d, scope_nearest(s, x->text, e->arena));
    return object_poison();
  }
  return read_object(e, binding_value(e, b, x->where), x->where);
}

static object evaluate_items(elaborator *e, scope *s, const ast_expr *x) {
  object *items = ARENA_ARRAY(e->arena, object, x->items.n);
  bool poisoned = false;
  for (uint32_t i = 0; i < x->items.n; i++) {
    items[i] = evaluate(e, s, x->items.items[i].value);
    poisoned |= is_poison(&items[i]);
  }
  return poisoned ? object_poison() : object_list(x->kind == AST_TUPLE ? OBJECT_TUPLE : OBJECT_LIST, items, x->items.n, x->where);
}

typedef struct {
  object *items;
  uint32_t n, capacity;
} collection;

static bool run_clauses(elaborator *e, scope *s, const ast_expr *x, uint32_t clause, collection *into) {
  if (clause == x->n_clauses) {
    object item = evaluate(e, s, x->left);
    *ARENA_PUSH(e->arena, into->items, into->n, into->capacity) = item;
    return !is_poison(&item);
  }
  const ast_clause *c = &x->clauses[clause];
  object *items;
  uint32_t n;
  if (!loop_items(e, evaluate(e, s, c->over), c->over->where, &items, &n)) return false;
  for (uint32_t i = 0; i < n; i++) {
    scope *inner = scope_new(s, true, e->arena);
    bool wanted = true;
    if (!count_iteration(e, x->where) || !bind_pattern(e, inner, &c->pattern, items[i], c->over->where)) return false;
    if (c->condition) {
      object condition = evaluate(e, inner, c->condition);
      if (!static_condition(e, &condition, c->condition->where, &wanted)) return false;
    }
    if (wanted && !run_clauses(e, inner, x, clause + 1, into)) return false;
  }
  return true;
}

static object evaluate_comprehension(elaborator *e, scope *s, const ast_expr *x) {
  collection all = {0};
  if (!run_clauses(e, s, x, 0, &all)) return object_poison();
  return object_list(OBJECT_LIST, all.items, all.n, x->where);
}

static object evaluate_lambda(elaborator *e, scope *s, const ast_expr *x) {
  ast_parameters *parameters = ARENA_NEW(e->arena, ast_parameters);
  for (uint32_t i = 0; i < x->parameters.n; i++)
    *ARENA_PUSH(e->arena, parameters->items, parameters->n, parameters->capacity) =
        (ast_parameter){.name = x->parameters.names[i], .where = x->parameters.where[i]};
  function *f = ARENA_NEW(e->arena, function);
  *f = (function){.name = "function", .kind = FUNCTION_PLAIN, .where = x->where, .inner = parameters, .value = x->right, .scope = s};
  object o = object_make(OBJECT_FUNCTION, x->where);
  o.function = f;
  return o;
}

static object evaluate_unary(elaborator *e, scope *s, const ast_expr *x) {
  return apply_unary(e, x->op, evaluate(e, s, x->right), x->where);
}

static object evaluate_binary(elaborator *e, scope *s, const ast_expr *x) {
  if (x->op == AST_PIPE) return evaluate_pipe(e, s, x);
  object left = evaluate(e, s, x->left);
  return apply_binary(e, x->op, left, evaluate(e, s, x->right), x->where);
}

static object evaluate_block(elaborator *e, scope *s, const ast_expr *x) { return run_block(e, s, x->block); }

bool static_condition(elaborator *e, const object *o, span where, bool *known) {
  *known = false;
  if (o->kind == OBJECT_BOOL) {
    *known = o->truth;
    return true;
  }
  if (o->kind == OBJECT_TENSOR) {
    if (decide_by_clock(e, o, known)) return true;
    diagnostic *d = complain(e, DIAG_TENSOR_CONDITION, where, "this condition is %s, which is not known before the program runs", object_text(o, e->arena));
    note_object(e, d, o);
    diagnostic_set_help(e->diagnostics, d, "write where(condition, a, b), which computes both and chooses for each element");
  } else {
    wrong_kind(e, where, "a condition", "true or false", o);
  }
  return false;
}

static object evaluate_if(elaborator *e, scope *s, const ast_expr *x) {
  bool holds;
  object condition = evaluate(e, s, x->left);
  if (!static_condition(e, &condition, x->left->where, &holds)) return object_poison();
  return run_block(e, s, holds ? x->block : x->otherwise);
}

static object evaluate_stray_slice(elaborator *e, scope *s, const ast_expr *x) {
  (void)s;
  return refuse(e, DIAG_OUT_OF_PLACE, x->where, "a slice stands between [ and ] only");
}

object evaluate(elaborator *e, scope *s, const ast_expr *x) {
  static evaluator *const evaluators[] = {
      [AST_NUMBER] = evaluate_number, [AST_STRING] = evaluate_string, [AST_NAME] = evaluate_name,
      [AST_NONE] = evaluate_none,     [AST_TRUE] = evaluate_truth,    [AST_FALSE] = evaluate_truth,
      [AST_CALL] = evaluate_call,     [AST_INDEX] = evaluate_subscript, [AST_SLICE] = evaluate_stray_slice,
      [AST_FIELD] = evaluate_field,   [AST_UNARY] = evaluate_unary,   [AST_BINARY] = evaluate_binary,
      [AST_TUPLE] = evaluate_items,   [AST_LIST] = evaluate_items,    [AST_COMPREHENSION] = evaluate_comprehension,
      [AST_LAMBDA] = evaluate_lambda, [AST_BLOCK] = evaluate_block,   [AST_IF] = evaluate_if,
  };
  return e->stopped ? object_poison() : evaluators[x->kind](e, s, x);
}
