/* Statements. One that fails is skipped: what it would have bound is poison, and the next one runs, so
 * that several mistakes are found in one go. */
#include "frontend/elaborate.h"

bool count_iteration(elaborator *e, span where) {
  if (e->stopped) return false;
  if (++e->iterations <= MOST_ITERATIONS) return true;
  e->stopped = true;
  complain(e, DIAG_TOO_LONG, where, "loops of this program run more than %d times in all; they are unrolled at compile time", MOST_ITERATIONS);
  return false;
}

/* Rows of a record of tensors are records of their rows. */
static bool record_rows(elaborator *e, object over, span where, object **items, uint32_t *n) {
  for (uint32_t k = 0; k < over.list.n; k++) {
    object *rows;
    uint32_t found;
    if (!loop_items(e, over.list.items[k], where, &rows, &found)) return false;
    if (k && found != *n) return complain(e, DIAG_SHAPE_MISMATCH, where, "%s of this record has %u rows, %s has %u", over.list.names[k], found, over.list.names[0], *n), false;
    for (uint32_t i = 0; !k && i < found; i++) {
      if (!i) *items = ARENA_ARRAY(e->arena, object, found);
      (*items)[i] = object_list(OBJECT_RECORD, ARENA_ARRAY(e->arena, object, over.list.n), over.list.n, where);
      (*items)[i].list.names = over.list.names;
    }
    *n = found;
    for (uint32_t i = 0; i < found; i++) (*items)[i].list.items[k] = rows[i];
  }
  return true;
}

bool loop_items(elaborator *e, object over, span where, object **items, uint32_t *n) {
  if (is_poison(&over)) return false;
  if (over.kind == OBJECT_RECORD) return record_rows(e, over, where, items, n);
  if (over.kind == OBJECT_LIST || over.kind == OBJECT_TUPLE) {
    *items = over.list.items;
    *n = over.list.n;
    return true;
  }
  if (over.kind == OBJECT_TENSOR && bring_here(e, &over, where) && logical_type(&over).rank) {
    *n = (uint32_t)logical_type(&over).dim[0];
    *items = ARENA_ARRAY(e->arena, object, *n + 1);
    for (uint32_t i = 0; i < *n; i++) (*items)[i] = tensor_part(e, over, i, where);
    return true;
  }
  wrong_kind(e, where, "a loop", "a range such as 0..n, a list, or a tensor with a first axis", &over);
  return false;
}

bool bind_pattern(elaborator *e, scope *s, const ast_pattern *p, object v, span where) {
  if (!p->tuple) {
    scope_bind(s, p->names[0], v, e->arena);
    return true;
  }
  bool parts = v.kind == OBJECT_TUPLE || v.kind == OBJECT_LIST;
  if (!is_poison(&v) && (!parts || v.list.n != p->n)) {
    diagnostic *d = complain(e, DIAG_UNPACK, where, "%u names are bound here to %s", p->n, object_text(&v, e->arena));
    note_object(e, d, &v);
    parts = false;
  }
  for (uint32_t i = 0; i < p->n; i++) scope_bind(s, p->names[i], parts ? v.list.items[i] : object_poison(), e->arena);
  return parts;
}

typedef object statement_runner(elaborator *e, scope *s, const ast_statement *x);

static object nothing(void) { return object_make(OBJECT_NONE, (span){0}); }

static object run_let(elaborator *e, scope *s, const ast_statement *x) {
  const ast_expr *made = x->value;
  if (e->frame) e->frame->named = !x->pattern.tuple && made->kind == AST_CALL && made->left->kind == AST_NAME ? x->pattern.names[0] : NULL;
  object v = evaluate(e, s, x->value);
  if (e->frame) e->frame->named = NULL;
  bind_pattern(e, s, &x->pattern, v, x->value->where);
  return nothing();
}

static object run_local_function(elaborator *e, scope *s, const ast_statement *x) {
  function *f = ARENA_NEW(e->arena, function);
  *f = (function){.name = x->name, .kind = FUNCTION_PLAIN, .where = x->name_where, .inner = &x->parameters, .value = x->value, .block = x->block, .scope = s};
  object o = object_make(OBJECT_FUNCTION, x->name_where);
  o.function = f;
  scope_bind(s, x->name, o, e->arena);
  return nothing();
}

static object run_assign(elaborator *e, scope *s, const ast_statement *x) {
  scope *owner = s;
  while (owner && owner->local && !scope_own(owner, x->name)) owner = owner->parent;
  object v = evaluate(e, s, x->value);
  if (owner && owner->local) {
    scope_bind(owner, x->name, v, e->arena);
  } else {
    diagnostic *d = complain(e, DIAG_NOT_ASSIGNABLE, x->name_where, "%s is no local name, so it cannot be bound anew", x->name);
    diagnostic_set_help(e->diagnostics, d, "write let %s = ... for a new name, or %s <- ... for declared state", x->name, x->name);
    scope_bind(s, x->name, object_poison(), e->arena);
  }
  return nothing();
}

static object run_write(elaborator *e, scope *s, const ast_statement *x) {
  binding *b = scope_find(s, x->name);
  object v = evaluate(e, s, x->value);
  if (!b) {
    diagnostic *d = complain(e, DIAG_UNKNOWN_NAME, x->name_where, "nothing is called %s here", x->name);
    help_nearest(e, d, scope_nearest(s, x->name, e->arena));
    return nothing();
  }
  object to = binding_value(e, b, x->name_where);
  if (to.kind == OBJECT_CELL) write_cell(e, to.cell, v, x->where);
  else if (!is_poison(&to)) {
    diagnostic *d = complain(e, DIAG_WRONG_KIND, x->name_where, "<- writes declared state; %s is %s", x->name, object_text(&to, e->arena));
    diagnostic_set_help(e->diagnostics, d, "a local name is bound anew with =");
  }
  return nothing();
}

static object run_state(elaborator *e, scope *s, const ast_statement *x) {
  run_state_statement(e, s, x);
  return nothing();
}

/* Statements that ask for training, which stand in the pretext itself. */
static bool in_pretext(elaborator *e, const ast_statement *x, const char *what) {
  if (e->training && e->frame && e->frame->pretext) return true;
  complain(e, DIAG_OUT_OF_PLACE, x->where, "%s stands in the body of a pretext only", what);
  return false;
}

static object run_minimize(elaborator *e, scope *s, const ast_statement *x) {
  if (in_pretext(e, x, "minimize")) add_objective(e, s, x);
  return nothing();
}

static object run_report(elaborator *e, scope *s, const ast_statement *x) {
  if (in_pretext(e, x, "report")) add_report(e, s, x);
  return nothing();
}

static object run_then(elaborator *e, scope *s, const ast_statement *x) {
  (void)s;
  if (in_pretext(e, x, "then")) finish_round(e, x->where);
  return nothing();
}

static object run_if(elaborator *e, scope *s, const ast_statement *x) {
  bool holds;
  object condition = evaluate(e, s, x->value);
  if (!static_condition(e, &condition, x->value->where, &holds)) return object_poison();
  if (holds) return run_block(e, s, x->block);
  return x->otherwise ? run_block(e, s, x->otherwise) : nothing();
}

static object run_for(elaborator *e, scope *s, const ast_statement *x) {
  object *items;
  uint32_t n;
  if (!loop_items(e, evaluate(e, s, x->value), x->value->where, &items, &n)) return nothing();
  for (uint32_t i = 0; i < n && count_iteration(e, x->where); i++) {
    uint32_t errors = e->diagnostics->errors;
    scope *inner = scope_new(s, true, e->arena);
    if (bind_pattern(e, inner, &x->pattern, items[i], x->value->where)) run_block(e, inner, x->block);
    if (e->diagnostics->errors > errors) break; /* the next round would say the same */
  }
  return nothing();
}

static object run_misplaced(elaborator *e, scope *s, const ast_statement *x) {
  (void)s;
  return refuse(e, DIAG_OUT_OF_PLACE, x->where, "settings stand in train only");
}

static object run_expression(elaborator *e, scope *s, const ast_statement *x) { return evaluate(e, s, x->value); }

static object run_error(elaborator *e, scope *s, const ast_statement *x) {
  (void)e, (void)s, (void)x;
  return object_poison();
}

object run_block(elaborator *e, scope *s, const ast_block *block) {
  static statement_runner *const runners[] = {
      [AST_LET_STATEMENT] = run_let,     [AST_FUNCTION_STATEMENT] = run_local_function, [AST_ASSIGN_STATEMENT] = run_assign,
      [AST_WRITE_STATEMENT] = run_write, [AST_STATE_STATEMENT] = run_state,             [AST_MINIMIZE_STATEMENT] = run_minimize,
      [AST_REPORT_STATEMENT] = run_report, [AST_THEN_STATEMENT] = run_then,             [AST_IF_STATEMENT] = run_if,
      [AST_FOR_STATEMENT] = run_for,     [AST_TUNE_STATEMENT] = run_misplaced,          [AST_FIELD_STATEMENT] = run_misplaced,
      [AST_EXPRESSION_STATEMENT] = run_expression, [AST_ERROR_STATEMENT] = run_error,
  };
  scope *inner = scope_new(s, true, e->arena);
  object last = nothing();
  for (uint32_t i = 0; i < block->n && !e->stopped; i++) {
    uint32_t errors = e->diagnostics->errors;
    last = runners[block->items[i]->kind](e, inner, block->items[i]);
    bool failed = e->diagnostics->errors > errors;
    bool refused = failed && e->diagnostics->items[e->diagnostics->count - 1]->code == DIAG_REQUIREMENT;
    if (refused || (failed && in_library(e, block->items[i]->where))) return object_poison(); /* more would only confuse */
  }
  return e->stopped ? object_poison() : last;
}
