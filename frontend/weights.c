/* The weights of a model as a value: `let fast = f` and arithmetic weight by weight, for programs that
 * differentiate through a step of training (Finn et al., 2017). The model itself is not changed, and what such
 * a copy would write to its buffers is dropped. */
#include "frontend/elaborate.h"

static object weights_object(weight_values *w, span where) {
  object o = object_make(OBJECT_WEIGHTS, where);
  o.weights = w;
  return o;
}

static weight_values *weights_new(elaborator *e, const weight_values *like) {
  weight_values *w = ARENA_NEW(e->arena, weight_values);
  *w = *like;
  w->items = ARENA_ARRAY(e->arena, object, like->n + 1);
  return w;
}

const weight_values *want_weights(elaborator *e, const object *o, const char *what, span where) {
  if (o->kind == OBJECT_WEIGHTS) return o->weights;
  if (o->kind != OBJECT_MODEL) {
    wrong_kind(e, where, what, "a model, or its weights as a value", o);
    return NULL;
  }
  weight_values *w = ARENA_NEW(e->arena, weight_values);
  uint32_t cells_capacity = 0;
  w->model = o->model;
  for (uint32_t i = 0; i < e->n_cells; i++) {
    cell *c = e->cells[i];
    if (c->model == o->model && (c->kind == STATE_WEIGHT || c->kind == STATE_TARGET || c->kind == STATE_FROZEN)) *ARENA_PUSH(e->arena, w->cells, w->n, cells_capacity) = c;
  }
  w->items = ARENA_ARRAY(e->arena, object, w->n + 1);
  for (uint32_t i = 0; i < w->n; i++) w->items[i] = read_cell(e, w->cells[i], where);
  if (w->n) return w;
  complain(e, DIAG_BAD_VALUE, where, "the weights of %s have no shapes before it is called the first time", o->model->name);
  return NULL;
}

bool is_weights(const object *o) { return o->kind == OBJECT_WEIGHTS || o->kind == OBJECT_MODEL; }

object weights_operation(elaborator *e, ast_operator op, object x, object y, span where) {
  const object *sides[2] = {&x, &y};
  const weight_values *w[2] = {NULL, NULL};
  if (op != AST_ADD && op != AST_SUB && op != AST_MUL && op != AST_DIV)
    return wrong_kind(e, where, ast_operator_text(op), "tensors; weights as a value have + - * /", is_weights(&x) ? &x : &y);
  for (int i = 0; i < 2; i++)
    if (is_weights(sides[i]) && !(w[i] = want_weights(e, sides[i], ast_operator_text(op), where))) return object_poison();
  if (w[0] && w[1] && w[0]->model != w[1]->model)
    return refuse(e, DIAG_SHAPE_MISMATCH, where, "weights of %s and of %s do not match one by one", w[0]->model->name, w[1]->model->name);
  weight_values *made = weights_new(e, w[0] ? w[0] : w[1]);
  for (uint32_t i = 0; i < made->n; i++) {
    made->items[i] = apply_binary(e, op, w[0] ? w[0]->items[i] : x, w[1] ? w[1]->items[i] : y, where);
    if (is_poison(&made->items[i])) return object_poison();
  }
  return weights_object(made, where);
}

object map_weights(elaborator *e, const weight_values *w, weight_map *map, void *context, span where) {
  weight_values *made = weights_new(e, w);
  for (uint32_t i = 0; i < w->n; i++) {
    made->items[i] = map(context, i, w->items[i]);
    if (is_poison(&made->items[i])) return object_poison();
  }
  return weights_object(made, where);
}

const object *substituted_weight(const frame *f, const cell *c) {
  for (uint32_t i = 0; f->substitute && i < f->substitute->n; i++)
    if (f->substitute->cells[i] == c) return &f->substitute->items[i];
  return NULL;
}
