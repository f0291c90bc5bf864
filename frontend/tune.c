/* The update of one weight: the optimizer, with what `tune` sets differently for it. */
#include "frontend/elaborate.h"

/* One `tune selectors { fields }`. */
typedef struct tune {
  const ast_items *selectors;
  span where;
  struct tune_field {
    const char *name;
    object value;
    span where;
  } *fields;
  uint32_t n_fields, capacity;
  char **paths; /* of the selectors: a prefix of weight paths, or "" for norms_and_biases */
} tune;

/* -- reading the blocks -------------------------------------------------------------------------------------- */

static bool is_model_list(const object *o) {
  bool list = (o->kind == OBJECT_LIST || o->kind == OBJECT_TUPLE) && o->list.n;
  return list && (o->list.items[0].kind == OBJECT_MODEL || is_model_list(&o->list.items[0]));
}

static object named_object(elaborator *e, scope *s, const ast_expr *x) {
  binding *b = x->kind == AST_NAME ? scope_find(s, x->text) : NULL;
  return b ? binding_value(e, b, x->where) : object_poison();
}

/* f.conv_1 -> "f/conv_1"; f.block[2] -> "f/block_3", since paths count calls from 1; w[2] of a list of models -> "w[2]". NULL
 * after an error. */
static char *selector_path(elaborator *e, scope *s, const ast_expr *x) {
  if (x->kind == AST_NAME) {
    if (!strcmp(x->text, "norms_and_biases")) return arena_string(e->arena, "");
    object o = named_object(e, s, x);
    if (is_model_list(&o)) return arena_string(e->arena, x->text);
    if (o.kind == OBJECT_MODEL) return arena_string(e->arena, o.model->name);
    if (o.kind == OBJECT_CELL) return arena_string(e->arena, o.cell->name);
    diagnostic *d = complain(e, DIAG_BAD_TUNE, x->where, "tune selects no weights by %s", x->text);
    if (!scope_find(s, x->text)) help_nearest(e, d, scope_nearest(s, x->text, e->arena));
    return NULL;
  }
  if (x->kind == AST_FIELD) {
    char *path = selector_path(e, s, x->left);
    return path ? arena_printf(e->arena, "%s/%s", path, x->text) : NULL;
  }
  int64_t index;
  if (x->kind == AST_INDEX && x->items.n == 1) {
    char *path = selector_path(e, s, x->left);
    object at = evaluate(e, s, x->items.items[0].value);
    if (!path || is_poison(&at) || !want_integer(e, &at, "tune", x->where, &index)) return NULL;
    object of = named_object(e, s, x->left);
    return is_model_list(&of) ? arena_printf(e->arena, "%s[%lld]", path, (long long)index) : arena_printf(e->arena, "%s_%lld", path, (long long)index + 1);
  }
  complain(e, DIAG_BAD_TUNE, x->where, "tune selects by a model, a path such as f.conv_1, a weight, or norms_and_biases");
  return NULL;
}

/* Behind an ordinal (_3) or the indices of a list ([0]), which a selector may leave out to mean all of them. */
static const char *behind_numbers(const char *name) {
  while (*name == '[') name += strcspn(name, "]") + 1;
  size_t digits = *name == '_' ? strspn(name + 1, "0123456789") : 0;
  bool ordinal = digits && (name[digits + 1] == '/' || !name[digits + 1]);
  return ordinal ? name + digits + 1 : name;
}

/* Whether the weight lies on the path: part by part from its model on. */
static bool path_matches(const char *path, const cell *weight) {
  const char *name = weight->name;
  if (!*path) return weight->type.rank <= 1;
  while (true) {
    while (*path && *path != '/' && *path == *name) path++, name++;
    if (*path && *path != '/') return false;
    name = behind_numbers(name);
    if (*name && *name != '/') return false;
    if (!*path) return true;
    if (!*name) return false;
    path++, name++;
  }
}

static void collect_one(elaborator *e, scope *s, const ast_statement *x) {
  training *t = e->training;
  tune made = {.selectors = &x->selectors, .where = x->where};
  made.paths = ARENA_ARRAY(e->arena, char *, x->selectors.n);
  for (uint32_t i = 0; i < x->selectors.n; i++)
    if (!(made.paths[i] = selector_path(e, s, x->selectors.items[i].value))) return;
  for (uint32_t i = 0; i < x->block->n; i++) {
    const ast_statement *field = x->block->items[i];
    if (field->kind != AST_FIELD_STATEMENT) continue;
    struct tune_field *f = ARENA_PUSH(e->arena, made.fields, made.n_fields, made.capacity);
    *f = (struct tune_field){field->name, evaluate(e, s, field->value), field->where};
    if (is_poison(&f->value)) return;
  }
  *ARENA_PUSH(e->arena, t->tunes, t->n_tunes, t->tunes_capacity) = made;
}

void collect_tunes(elaborator *e, scope *s, const ast_block *settings) {
  for (uint32_t i = 0; i < settings->n; i++) {
    const ast_statement *x = settings->items[i];
    if (x->kind == AST_TUNE_STATEMENT) collect_one(e, s, x);
    if (x->kind != AST_FOR_STATEMENT) continue;
    object *items;
    uint32_t n;
    if (!loop_items(e, evaluate(e, s, x->value), x->value->where, &items, &n)) continue;
    for (uint32_t k = 0; k < n && count_iteration(e, x->where); k++) {
      scope *inner = scope_new(s, true, e->arena);
      if (bind_pattern(e, inner, &x->pattern, items[k], x->value->where)) collect_tunes(e, inner, x->block);
    }
  }
}

/* The last rule that selects the weight and has that field; NULL when none does. */
static const struct tune_field *tuned(const training *t, const cell *weight, const char *name) {
  for (uint32_t i = t->n_tunes; i-- > 0;) {
    const tune *rule = &t->tunes[i];
    bool selects = false;
    for (uint32_t k = 0; k < rule->selectors->n; k++) selects |= path_matches(rule->paths[k], weight);
    for (uint32_t k = 0; selects && k < rule->n_fields; k++)
      if (!strcmp(rule->fields[k].name, name)) return &rule->fields[k];
  }
  return NULL;
}

static bool is_argument(const function *f, const char *name) {
  for (uint32_t i = 0; i < f->outer->n; i++)
    if (!strcmp(f->outer->items[i].name, name)) return true;
  return false;
}

void check_tunes(elaborator *e) {
  static const char *const general[] = {"lr_scale", "grad_scale", "freeze", "clamp", NULL};
  training *t = e->training;
  const function *optimizer = t->optimizer.function;
  for (uint32_t i = 0; i < t->n_tunes; i++) {
    const tune *rule = &t->tunes[i];
    for (uint32_t k = 0; k < rule->n_fields; k++) {
      bool known = is_argument(optimizer, rule->fields[k].name);
      for (uint32_t m = 0; general[m]; m++) known |= !strcmp(general[m], rule->fields[k].name);
      if (!known)
        complain(e, DIAG_BAD_TUNE, rule->fields[k].where, "%s has no argument %s; beside its arguments, tune sets lr_scale, grad_scale, freeze and clamp",
                 optimizer->name, rule->fields[k].name);
    }
    for (uint32_t k = 0; k < rule->selectors->n; k++) {
      bool any = false;
      for (uint32_t m = 0; m < e->n_cells; m++) any |= e->cells[m]->kind == STATE_WEIGHT && path_matches(rule->paths[k], e->cells[m]);
      if (!any) complain(e, DIAG_BAD_TUNE, rule->selectors->items[k].value->where, "no weight is selected by %s", source_text(e, rule->selectors->items[k].value->where));
    }
  }
}

/* -- the update ------------------------------------------------------------------------------------------------- */

/* The optimizer's scope with the arguments that are set differently for this weight. */
static scope *tuned_scope(elaborator *e, const function *f, const cell *weight) {
  scope *s = scope_new(f->scope, true, e->arena);
  for (uint32_t i = 0; i < f->outer->n; i++) {
    const char *name = f->outer->items[i].name;
    const struct tune_field *field = tuned(e->training, weight, name), *scale = NULL;
    if (!strcmp(name, "lr")) scale = tuned(e->training, weight, "lr_scale");
    if (!field && !scale) continue;
    object v = field ? field->value : scope_find(f->scope, name)->value;
    if (scale) v = apply_binary(e, AST_MUL, v, scale->value, scale->where);
    scope_bind(s, name, v, e->arena);
  }
  return s;
}

/* The count t of the weight's model: one more than it was, moved once a step. */
static object step_count(elaborator *e, cell *weight, span where) {
  const char *name = weight->model ? arena_printf(e->arena, "optimizer.t/%s", weight->model->name) : "optimizer.t";
  cell *c = find_cell(e, name);
  if (!c) c = add_cell(e, name, scalar_type(DTYPE_I32), STATE_OPTIMIZER, graph_number(e->init, scalar_type(DTYPE_I32), 0, where), where);
  value now = cell_now(e, c);
  if (now == c->start) c->now = graph_binary(e->graph, OP_ADD, now, graph_number(e->graph, scalar_type(DTYPE_I32), 1, where), where);
  return tensor_object(e, c->now, false, where);
}

/* Keeps what the weight's cells held before where `freeze` holds. */
static void freeze_cell(elaborator *e, cell *c, value before, object freeze, span where) {
  object all = stretch(e, freeze, c->type, false, where);
  if (!is_poison(&all)) c->now = graph_select(e->graph, all.tensor.value, before, c->now, where);
}

static void freeze_update(elaborator *e, cell *weight, value before, const struct tune_field *f) {
  object freeze = to_tensor(e, f->value, DTYPE_BOOL, "freeze", f->where);
  if (is_poison(&freeze)) return;
  if (logical_type(&freeze).dtype != DTYPE_BOOL) {
    wrong_kind(e, f->where, "freeze", "a condition", &f->value);
    return;
  }
  span user = user_place(e, f->where);
  freeze_cell(e, weight, before, freeze, user);
  for (uint32_t i = 0; i < e->n_cells; i++) {
    cell *c = e->cells[i];
    const char *slash = strchr(c->name, '/');
    if (c->kind == STATE_OPTIMIZER && c->graph == e->graph && slash && !strcmp(slash + 1, weight->name)) freeze_cell(e, c, c->start, freeze, user);
  }
}

static void clamp_update(elaborator *e, cell *weight, const struct tune_field *f) {
  if (f->value.kind != OBJECT_TUPLE && f->value.kind != OBJECT_LIST) {
    wrong_kind(e, f->where, "clamp", "a pair (low, high)", &f->value);
    return;
  }
  object v = tensor_object(e, weight->now, false, f->where);
  for (uint32_t i = 0; i < 2 && i < f->value.list.n; i++)
    v = elementwise(e, i ? OP_MIN : OP_MAX, (object[]){v, f->value.list.items[i]}, 2, false, "clamp", f->where);
  if (!is_poison(&v)) weight->now = v.tensor.value;
}

void update_weight(elaborator *e, cell *weight, value gradient) {
  training *t = e->training;
  span where = t->optimizer.where;
  if (weight->model) weight->model->trained = true;
  const struct tune_field *freeze = tuned(t, weight, "freeze"), *clamp = tuned(t, weight, "clamp"), *grad_scale = tuned(t, weight, "grad_scale");
  if (freeze && freeze->value.kind == OBJECT_BOOL && freeze->value.truth) return;
  function f = *t->optimizer.function;
  f.scope = tuned_scope(e, &f, weight);
  object g = tensor_object(e, gradient, false, where);
  if (grad_scale) g = apply_binary(e, AST_MUL, g, grad_scale->value, grad_scale->where);
  object w = object_make(OBJECT_CELL, weight->where);
  w.cell = weight;
  object values[3] = {w, g, step_count(e, weight, where)};
  call_arguments given = {values, ARENA_ARRAY(e->arena, const char *, 3), ARENA_ARRAY(e->arena, span, 3), 3};
  for (uint32_t i = 0; i < 3; i++) given.where[i] = where;
  scope *s = bind_arguments(e, f.name, f.inner, f.scope, &given, where);
  frame *inner = s ? enter_frame(e, f.name, where) : NULL;
  if (!inner) return;
  inner->updates = weight;
  inner->model = NULL;
  inner->weights = NULL;
  value before = weight->now;
  run_body(e, &f, s);
  leave_frame(e);
  if (clamp) clamp_update(e, weight, clamp);
  if (freeze && freeze->value.kind != OBJECT_BOOL) freeze_update(e, weight, before, freeze);
}
