/* Declared state: weights, running statistics, moments, queues. A cell is one state of the experiment; in
 * each graph that uses it, it is a parameter and, by now, some later value. Its first value is a value of
 * the init graph. */
#include "frontend/builtins.h"

static value root_input(elaborator *e, const char *role, const char *name, tensor_type type, span where) {
  for (uint32_t i = 0; i < e->n_inputs; i++)
    if (e->inputs[i].graph == e->graph && !strcmp(e->inputs[i].name, name)) return e->inputs[i].value;
  value v = graph_parameter(e->graph, role, name, type, where);
  ARENA_PUSH(e->arena, e->inputs, e->n_inputs, e->inputs_capacity);
  e->inputs[e->n_inputs - 1].graph = e->graph;
  e->inputs[e->n_inputs - 1].name = name;
  e->inputs[e->n_inputs - 1].value = v;
  return v;
}

value graph_input(elaborator *e, const char *role, const char *name, tensor_type type, span where) {
  place_in_graphs before = leave_regions(e);
  value v = root_input(e, role, name, type, where);
  return_to(e, before);
  return value_of_root(e, v, where);
}

cell *find_cell(const elaborator *e, const char *name) {
  uint32_t hash = text_hash(name);
  for (uint32_t i = 0; i < e->n_cells; i++)
    if (e->cells[i]->hash == hash && !strcmp(e->cells[i]->name, name)) return e->cells[i];
  return NULL;
}

cell *add_cell(elaborator *e, const char *name, tensor_type type, state_kind kind, value initial, span where) {
  cell *c = ARENA_NEW(e->arena, cell);
  *ARENA_PUSH(e->arena, e->cells, e->n_cells, e->cells_capacity) = c;
  c->name = arena_string(e->arena, name);
  c->hash = text_hash(name);
  c->type = type;
  c->kind = kind;
  c->initial = initial;
  c->where = user_place(e, where);
  c->model = e->frame ? e->frame->model : NULL;
  c->input = object_make(OBJECT_NONE, where);
  return c;
}

/* In a loop, weights and first values stay the same, and other state is carried. */
static bool is_carried(const elaborator *e, const cell *c) {
  return e->region && root_graph(e) != e->init && c->kind != STATE_WEIGHT && c->kind != STATE_TARGET && c->kind != STATE_FROZEN && c->kind != STATE_CONSTANT;
}

void set_cell_now(elaborator *e, cell *c, value now) {
  if (is_carried(e, c)) *carried_cell(e, c) = now;
  else c->now = now;
}

value cell_now(elaborator *e, cell *c) {
  if (is_carried(e, c)) return *carried_cell(e, c);
  if (e->region) {
    place_in_graphs before = leave_regions(e);
    value v = cell_now(e, c);
    return_to(e, before);
    return value_of_root(e, v, c->where);
  }
  if (e->graph == e->init) return c->initial;
  if (c->graph != e->graph) {
    c->graph = e->graph;
    c->start = c->now = graph_parameter(e->graph, "state", c->name, c->type, c->where);
    c->next = 0;
  }
  return c->now;
}

object read_cell(elaborator *e, cell *c, span where) {
  object o = tensor_object(e, cell_now(e, c), false, where);
  if (!is_poison(&o)) o.where = c->where;
  return o;
}

/* The rows of a queue after `rows` went in at its row; the oldest rows make place. */
static value pushed(elaborator *e, cell *queue, object rows, span where) {
  span user = user_place(e, where);
  graph *g = e->graph;
  tensor_type type = logical_type(&rows), all = queue->type;
  int64_t capacity = all.dim[0], n = type.dim[0];
  value row = cell_now(e, queue->position);
  tensor_type index = make_type(DTYPE_I32, all.rank, all.dim);
  value whole = graph_number(g, index, (double)capacity, user);
  value age = graph_binary(g, OP_SUB, graph_iota(g, index, 0, user), graph_broadcast(g, row, index, NULL, user), user);
  age = graph_binary(g, OP_MOD, age, whole, user);
  value indices[MAX_RANK] = {age};
  for (uint32_t i = 1; i < all.rank; i++) indices[i] = graph_iota(g, index, i, user);
  value fresh = graph_gather(g, rows.tensor.value, indices, user);
  value is_fresh = graph_binary(g, OP_LT, age, graph_number(g, index, (double)n, user), user);
  value next = graph_binary(g, OP_ADD, row, graph_number(g, scalar_type(DTYPE_I32), (double)n, user), user);
  queue->position->next = graph_binary(g, OP_MOD, next, graph_number(g, scalar_type(DTYPE_I32), (double)capacity, user), user);
  return graph_select(g, is_fresh, fresh, cell_now(e, queue), user);
}

static value checked_push(elaborator *e, cell *c, const object *v, span where) {
  object rows = to_tensor(e, v->list.items[0], c->type.dtype, "push", where);
  if (is_poison(&rows)) return 0;
  if (!c->position) {
    complain(e, DIAG_BAD_QUEUE, where, "push(rows) is written to a queue; %s is a state", c->name);
    return 0;
  }
  rows = cast_tensor(e, rows, c->type.dtype, where);
  tensor_type type = logical_type(&rows);
  bool fits = type.rank == c->type.rank && type.dim[0] <= c->type.dim[0];
  for (uint32_t i = 1; fits && i < type.rank; i++) fits = type.dim[i] == c->type.dim[i];
  if (fits) return pushed(e, c, rows, where);
  diagnostic *d = complain(e, DIAG_STATE_SHAPE, where, "the queue %s is %s; it cannot take rows of %s", c->name, type_text(&c->type, e->arena), object_text(&rows, e->arena));
  diagnostic_add_note(e->diagnostics, d, c->where, "the queue is declared here");
  note_object(e, d, &v->list.items[0]);
  return 0;
}

/* What is written, in the type of the state; 0 after an error. */
static value written_value(elaborator *e, cell *c, object v, span where) {
  if (is_poison(&v)) return 0;
  if (v.kind == OBJECT_PUSH) return checked_push(e, c, &v, where);
  object o = to_tensor(e, v, c->type.dtype, "<-", where);
  if (is_poison(&o)) return 0;
  o = cast_tensor(e, o, c->type.dtype, where);
  tensor_type type = logical_type(&o);
  if (type.rank == 0 && c->type.rank) o = stretch(e, o, c->type, false, where);
  if (!is_poison(&o) && (type.rank == 0 || shape_equal(&type, &c->type))) return o.tensor.value;
  diagnostic *d = complain(e, DIAG_STATE_SHAPE, where, "the state %s is %s; it cannot take %s", c->name, type_text(&c->type, e->arena), object_text(&o, e->arena));
  diagnostic_add_note(e->diagnostics, d, c->where, "the state is declared here");
  note_object(e, d, &v);
  return 0;
}

void write_cell(elaborator *e, cell *c, object v, span where) {
  if (e->frame && e->frame->substitute && c->kind == STATE_BUFFER) return; /* of a copy: dropped */
  cell_now(e, c);
  value to = written_value(e, c, v, where);
  if (!to) return;
  if (!e->frame || !e->frame->pretext) {
    set_cell_now(e, c, to);
    return;
  }
  if (c->next) {
    diagnostic *d = complain(e, DIAG_WRITTEN_TWICE, where, "%s is written a second time in one step", c->name);
    diagnostic_add_note(e->diagnostics, d, c->written, "the first time here");
    return;
  }
  c->next = to;
  c->written = user_place(e, where);
}

/* -- first values -------------------------------------------------------------------------------------------- */

elsewhere enter_init(elaborator *e, const char *site) {
  elsewhere before = {leave_regions(e), e->frame};
  frame *f = ARENA_NEW(e->arena, frame);
  f->caller = e->frame;
  f->name = e->frame ? e->frame->name : "";
  f->user = e->frame ? e->frame->user : (span){0};
  f->site = site;
  e->frame = f;
  e->graph = e->init;
  return before;
}

void leave_init(elaborator *e, elsewhere before) {
  return_to(e, before.place);
  e->frame = before.frame;
}

/* In the init graph: the object as a tensor of the type, or of its own where there is none. */
static value initial_tensor(elaborator *e, object init, const tensor_type *type, span where) {
  if (init.kind == OBJECT_FUNCTION) {
    if (!type) {
      complain(e, DIAG_WRONG_KIND, where, "a first value of a function needs a shape: give the type, or call the function");
      return 0;
    }
    object shape = shape_object(e, type, where);
    init = call_with(e, init, &shape, 1, where);
  }
  if (is_poison(&init)) return 0;
  object o = to_tensor(e, init, type ? type->dtype : DTYPE_COUNT, "a first value", where);
  if (is_poison(&o)) return 0;
  if (type) o = cast_tensor(e, o, type->dtype, where);
  tensor_type found = logical_type(&o);
  if (type && found.rank == 0) o = stretch(e, o, *type, false, where);
  if (is_poison(&o)) return 0;
  if (!type || found.rank == 0 || shape_equal(&found, type)) return o.tensor.value;
  diagnostic *d = complain(e, DIAG_STATE_SHAPE, where, "this is declared as %s, and its first value is %s", type_text(type, e->arena), object_text(&o, e->arena));
  note_object(e, d, &init);
  return 0;
}

value initial_value(elaborator *e, object init, const tensor_type *type, const char *site, span where) {
  elsewhere before = enter_init(e, site);
  value v = initial_tensor(e, init, type, where);
  leave_init(e, before);
  return v;
}

value initial_of_expression(elaborator *e, scope *s, const ast_expr *x, const char *site, const tensor_type *type, span where) {
  elsewhere before = enter_init(e, site);
  value v = initial_tensor(e, evaluate(e, s, x), type, where);
  leave_init(e, before);
  return v;
}

/* -- states of layers and optimizers ---------------------------------------------------------------------------- */

/* The names that an optimizer's first values may use: the weight as it begins, its gradient's shape. */
static scope *optimizer_beginning(elaborator *e, scope *s, cell *weight, span where) {
  scope *inner = scope_new(s, true, e->arena);
  graph *g = e->graph;
  e->graph = e->init;
  scope_bind(inner, "w", tensor_object(e, weight->initial, false, where), e->arena);
  scope_bind(inner, "g", tensor_object(e, graph_number(e->init, weight->type, 0, where), false, where), e->arena);
  e->graph = g;
  return inner;
}

void run_state_statement(elaborator *e, scope *s, const ast_statement *x) {
  frame *f = e->frame;
  bool layer = f && f->weights && f->model;
  if (!layer && !(f && f->updates)) {
    complain(e, DIAG_OUT_OF_PLACE, x->where, "state stands in encoders, nets and optimizers, or at the top of the program");
    return;
  }
  for (uint32_t i = 0; i < x->fields.n; i++) {
    const ast_item *slot = &x->fields.items[i];
    const char *name = f->updates ? arena_printf(e->arena, "%s.%s/%s", f->name, slot->name, f->updates->name)
                                  : arena_printf(e->arena, "%s/%s", f->weights, slot->name);
    cell *c = find_cell(e, name);
    if (!c) {
      value initial = 0;
      if (layer && !stored_value(e, f->model, name, NULL, slot->where, &initial)) {
        scope_bind(s, slot->name, object_poison(), e->arena);
        continue;
      }
      scope *around = f->updates ? optimizer_beginning(e, s, f->updates, slot->where) : s;
      if (!initial) initial = initial_of_expression(e, around, slot->value, name, NULL, slot->where);
      if (initial) c = add_cell(e, name, *graph_type(e->init, initial), f->updates ? STATE_OPTIMIZER : STATE_BUFFER, initial, slot->where);
    }
    object o = object_poison();
    if (c) {
      o = object_make(OBJECT_CELL, slot->where);
      o.cell = c;
    }
    scope_bind(s, slot->name, o, e->arena);
  }
}

/* -- weights ------------------------------------------------------------------------------------------------------- */

/* Weights of one name in one call are told apart by ordinals: w, w_2, ... */
static const char *weight_path(elaborator *e, frame *f) {
  const char *name = f->named ? f->named : "weight";
  const char *path = next_path(e, f->weights, &f->layers, name);
  size_t n = strlen(path);
  return n > 2 && !strcmp(path + n - 2, "_1") ? arena_substring(e->arena, path, n - 2) : path;
}

/* A target begins as the model that it follows: its draws have the site of that model's weight. */
static const char *initial_site(elaborator *e, const model *m, const char *path) {
  return m->target ? arena_printf(e->arena, "%s%s", m->follows->name, path + strlen(m->name)) : path;
}

static object disagreement(elaborator *e, const cell *c, const tensor_type *wanted, span where) {
  const frame *f = e->frame;
  bool both = c->input.kind == OBJECT_TENSOR && f->input.kind == OBJECT_TENSOR;
  diagnostic *d = both ? complain(e, DIAG_MODEL_SHAPE, where, "%s was first called with %s, here with %s; one model has one input width", f->name,
                                  object_text(&c->input, e->arena), object_text(&f->input, e->arena))
                       : complain(e, DIAG_MODEL_SHAPE, where, "the weight %s was %s when %s was first called, here it would be %s", c->name,
                                  type_text(&c->type, e->arena), f->name, type_text(wanted, e->arena));
  diagnostic_add_note(e->diagnostics, d, c->where, "the first call");
  if (both) note_object(e, d, &f->input);
  return object_poison();
}

object builtin_weight(elaborator *e, const function *self, object *arguments, span where) {
  (void)self;
  frame *f = e->frame;
  tensor_type type;
  if (!f || !f->model || !f->weights) {
    diagnostic *d = complain(e, DIAG_LAYER_OUTSIDE, where, "weight(...) stands in the body of an encoder or a net");
    diagnostic_set_help(e->diagnostics, d, "a weight of its own is declared: weight scale = 1.0");
    return object_poison();
  }
  if (!want_shape(e, &arguments[0], "weight", where, &type)) return object_poison();
  const char *path = weight_path(e, f);
  cell *c = find_cell(e, path);
  if (c && !type_equal(&c->type, &type)) return disagreement(e, c, &type, where);
  if (!c) {
    value initial;
    if (!stored_value(e, f->model, path, &type, where, &initial)) return object_poison();
    if (!initial) initial = initial_value(e, arguments[1], &type, initial_site(e, f->model, path), where);
    if (!initial) return object_poison();
    c = add_cell(e, path, type, f->model->target ? STATE_TARGET : f->model->frozen ? STATE_FROZEN : STATE_WEIGHT, initial, where);
    c->input = f->input;
  }
  const object *given = substituted_weight(f, c);
  return given ? *given : read_cell(e, c, where);
}
