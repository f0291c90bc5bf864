/* Models and the targets that follow them. */
#include "frontend/elaborate.h"

static object model_object(model *m) {
  object o = object_make(OBJECT_MODEL, m->where);
  o.model = m;
  return o;
}

static model *add_model(elaborator *e, const ast_declaration *d, const char *name, function *f) {
  model *m = ARENA_NEW(e->arena, model);
  *ARENA_PUSH(e->arena, e->models, e->n_models, e->models_capacity) = m;
  m->name = name;
  m->where = d->name_where;
  m->function = f;
  return m;
}

/* What a declaration makes of each element of a list, under the list's name and the index. */
typedef object declare_one(elaborator *e, scope *s, const ast_declaration *d, const char *name, object made, const object *before);

static object declare_each(elaborator *e, scope *s, const ast_declaration *d, const char *name, object made, const object *before, declare_one *one) {
  if (made.kind != OBJECT_LIST && made.kind != OBJECT_TUPLE) return one(e, s, d, name, made, before);
  object *items = ARENA_ARRAY(e->arena, object, made.list.n + 1);
  for (uint32_t i = 0; i < made.list.n; i++) {
    items[i] = declare_each(e, s, d, arena_printf(e->arena, "%s[%u]", name, i), made.list.items[i], before ? &before->list.items[i] : NULL, one);
    if (is_poison(&items[i])) return items[i];
  }
  return object_list(OBJECT_LIST, items, made.list.n, d->name_where);
}

static object declare_one_model(elaborator *e, scope *s, const ast_declaration *d, const char *name, object made, const object *before) {
  (void)before;
  object file;
  if (is_poison(&made) || !model_source(e, s, d, name, &made, &file)) return object_poison();
  if (made.kind == OBJECT_FUNCTION && made.function->outer && !made.function->configured) {
    call_arguments none = {0};
    made = call_object(e, made, &none, d->value->where);
    if (is_poison(&made)) return made;
  }
  if (made.kind != OBJECT_FUNCTION || made.function->kind != FUNCTION_ENCODER)
    return wrong_kind(e, d->value->where, "a model", "an encoder or net, such as small_cnn(128)", &made);
  model *m = add_model(e, d, name, made.function);
  m->frozen = d->kind == DECLARE_FROZEN;
  if (file.kind == OBJECT_FILE) {
    m->file = file.file.of;
    m->part = file.file.part;
  } else if (m->frozen) {
    diagnostic *error = complain(e, DIAG_WEIGHTS_FILE, d->where, "a frozen model has its weights from a file");
    diagnostic_set_help(e->diagnostics, error, "write frozen %s = load(\"run.safetensors\").f, or ... from \"run.safetensors\"", d->name);
  }
  return model_object(m);
}

object declare_model(elaborator *e, scope *s, const ast_declaration *d, object made) { return declare_each(e, s, d, d->name, made, NULL, declare_one_model); }

static object declare_one_target(elaborator *e, scope *s, const ast_declaration *d, const char *name, object made, const object *before) {
  (void)s;
  if (is_poison(&made)) return made;
  if (made.kind != OBJECT_AVERAGE) {
    diagnostic *error = complain(e, DIAG_BAD_TARGET, d->value->where, "a target follows a model, and this is %s", object_text(&made, e->arena));
    diagnostic_set_help(e->diagnostics, error, "write target %s = ema(model, 0.99)", d->name);
    return object_poison();
  }
  model *follows = made.list.items[0].model;
  model *m = before ? before->model : add_model(e, d, name, follows->function);
  m->target = true;
  m->follows = follows;
  m->decay = made.list.items[1];
  return model_object(m);
}

object declare_target(elaborator *e, const ast_declaration *d, object made, const object *before) {
  return declare_each(e, NULL, d, d->name, made, before && !is_poison(before) ? before : NULL, declare_one_target);
}

/* Adds the tensors of a value, those of lists and tuples in order. */
static void add_tensors(elaborator *e, const object *o, value **all, uint32_t *n, uint32_t *capacity) {
  if (o->kind == OBJECT_TENSOR && o->tensor.graph == e->graph) *ARENA_PUSH(e->arena, *all, *n, *capacity) = o->tensor.value;
  for (uint32_t i = 0; (o->kind == OBJECT_TUPLE || o->kind == OBJECT_LIST) && i < o->list.n; i++) add_tensors(e, &o->list.items[i], all, n, capacity);
}

/* Of one in a loop, nothing but that it was. */
static void note_call(elaborator *e, model *m, const call_arguments *given, const object *result, uint32_t first_node, span where) {
  model_call call = {.model = m, .graph = root_graph(e), .where = user_place(e, where)};
  uint32_t inputs_capacity = 0, outputs_capacity = 0;
  if (e->region) {
    *ARENA_PUSH(e->arena, e->calls, e->n_calls, e->calls_capacity) = call;
    return;
  }
  call.first_node = first_node;
  call.end_node = e->graph->n_nodes;
  for (uint32_t i = 0; i < given->n; i++) add_tensors(e, &given->values[i], &call.inputs, &call.n_inputs, &inputs_capacity);
  add_tensors(e, result, &call.outputs, &call.n_outputs, &outputs_capacity);
  if (given->n) call.input_where = given->values[0].where;
  *ARENA_PUSH(e->arena, e->calls, e->n_calls, e->calls_capacity) = call;
}

object call_model(elaborator *e, model *m, const weight_values *substitute, const call_arguments *given, span where) {
  if (batch_size(e)) return refuse(e, DIAG_OUT_OF_PLACE, where, "the model %s is called inside of an augmentation, which sees one sample", m->name);
  scope *s = bind_arguments(e, m->name, m->function->inner, m->function->scope, given, where);
  if (!s) return object_poison();
  frame *f = enter_frame(e, m->name, where);
  if (!f) return object_poison();
  bool trains = e->training != NULL && root_graph(e) != e->init;
  f->model = m;
  f->weights = m->name;
  f->substitute = substitute;
  f->training = trains && !m->frozen;
  f->dropping = trains && !m->target && !m->frozen && !e->training->judged;
  if (given->n) f->input = given->values[0];
  if (!m->called && f->input.kind == OBJECT_TENSOR) m->input = logical_type(&f->input);
  m->called = true;
  uint32_t first_node = e->graph->n_nodes;
  object result = run_body(e, m->function, s);
  leave_frame(e);
  if (is_poison(&result)) return result;
  note_call(e, m, given, &result, first_node, where);
  result.where = user_place(e, where);
  return result;
}

/* target <- decay * target + (1 - decay) * model, at the new weights of the model. */
static void move_cell(elaborator *e, model *m, cell *c) {
  const char *path = arena_printf(e->arena, "%s%s", m->follows->name, c->name + strlen(m->name));
  cell *source = find_cell(e, path);
  if (!source || source->graph != e->graph) {
    complain(e, DIAG_BAD_TARGET, m->where, "the target %s has a weight %s, but %s is not called in this pretext", m->name, c->name, m->follows->name);
    return;
  }
  object decay = m->decay, one = object_real(1, m->where);
  object old = tensor_object(e, c->now, false, m->where), new = tensor_object(e, source->now, false, m->where);
  object kept = apply_binary(e, AST_MUL, decay, old, m->where);
  object moved = apply_binary(e, AST_MUL, apply_binary(e, AST_SUB, one, decay, m->where), new, m->where);
  object next = apply_binary(e, AST_ADD, kept, moved, m->where);
  if (!is_poison(&next)) c->now = cast_tensor(e, next, c->type.dtype, m->where).tensor.value;
}

void move_targets(elaborator *e) {
  for (uint32_t i = 0; i < e->n_models; i++) {
    model *m = e->models[i];
    uint32_t errors = e->diagnostics->errors;
    for (uint32_t k = 0; m->target && k < e->n_cells && e->diagnostics->errors == errors; k++)
      if (e->cells[k]->model == m && e->cells[k]->kind == STATE_TARGET && e->cells[k]->graph == e->graph) move_cell(e, m, e->cells[k]);
  }
}
