/* `eval`: the graph that makes features of a batch, and the protocols that judge them. */
#include "frontend/elaborate.h"

enum { EVAL_BATCH = 256 };

/* A row a protocol: what it is called and the numbers that it takes. */
static const struct {
  const char *name;
  const char *arguments[8];
} protocols[] = {
    {"knn", {"k", "temperature", "every"}},
    {"linear_probe", {"epochs", "decay", "every"}},
};
enum { N_PROTOCOLS = sizeof protocols / sizeof *protocols };

static bool read_argument(elaborator *e, uint32_t row, const ast_item *item, experiment_protocol *out, uint32_t *n) {
  const char *const *names = protocols[row].arguments;
  double number;
  uint32_t i = 0;
  while (i < 8 && names[i] && item->name && strcmp(names[i], item->name)) i++;
  if (!item->name || i == 8 || !names[i]) {
    const char *list = "data";
    for (uint32_t k = 0; k < 8 && names[k]; k++) list = arena_printf(e->arena, "%s, %s", list, names[k]);
    diagnostic *d = complain(e, DIAG_UNKNOWN_ARGUMENT, item->where, "%s takes named arguments: %s", out->protocol, list);
    if (item->name) help_nearest(e, d, nearest_text(item->name, names));
    return false;
  }
  object o = evaluate(e, e->program, item->value);
  if (is_poison(&o) || !want_real(e, &o, item->name, item->value->where, &number)) return false;
  if (!(number >= 0)) {
    complain(e, DIAG_BAD_VALUE, item->value->where, "%s of %s cannot be %g", item->name, out->protocol, number);
    return false;
  }
  if (!strcmp(item->name, "every")) {
    out->every = (int64_t)number;
    return true;
  }
  out->argument[*n].name = item->name;
  out->argument[(*n)++].value = number;
  return true;
}

/* knn(k: 20, data: cifar); *data is set when it is given. */
static bool read_protocol(elaborator *e, const ast_expr *x, experiment_protocol *out, object *data) {
  uint32_t row = 0, n = 0;
  if (x->kind == AST_CALL && x->left->kind == AST_NAME)
    while (row < N_PROTOCOLS && strcmp(protocols[row].name, x->left->text)) row++;
  else row = N_PROTOCOLS;
  if (row == N_PROTOCOLS) {
    const char *names[N_PROTOCOLS + 1] = {0};
    for (uint32_t i = 0; i < N_PROTOCOLS; i++) names[i] = protocols[i].name;
    diagnostic *d = complain(e, DIAG_UNKNOWN_PROTOCOL, x->where, "there is no protocol %s; eval takes knn(data: d) and linear_probe(data: d)",
                             source_text(e, x->kind == AST_CALL ? x->left->where : x->where));
    if (x->kind == AST_CALL && x->left->kind == AST_NAME) help_nearest(e, d, nearest_text(x->left->text, names));
    return false;
  }
  *out = (experiment_protocol){.protocol = protocols[row].name, .where = x->where};
  for (uint32_t i = 0; i < x->items.n; i++) {
    const ast_item *item = &x->items.items[i];
    if (!item->name || strcmp(item->name, "data")) {
      if (!read_argument(e, row, item, out, &n)) return false;
      continue;
    }
    *data = evaluate(e, e->program, item->value);
    if (is_poison(data)) return false;
    if (data->kind != OBJECT_DATA) {
      wrong_kind(e, item->value->where, "data", "a data set", data);
      return false;
    }
  }
  return true;
}

static bool has_label(const data_source *source) {
  for (uint32_t i = 0; i < source->description.n_fields; i++)
    if (source->description.fields[i].kind == FIELD_LABEL) return true;
  return false;
}

/* The protocols of a block; the data of the first is what the features are made of. */
static bool read_protocols(elaborator *e, const ast_declaration *d, experiment_eval *out, object *features_of) {
  uint32_t capacity = 0;
  *features_of = object_make(OBJECT_NONE, d->where);
  for (uint32_t i = 0; i < d->block->n; i++) {
    const ast_statement *x = d->block->items[i];
    object data = object_make(OBJECT_NONE, x->where);
    experiment_protocol made;
    if (x->kind != AST_EXPRESSION_STATEMENT || !read_protocol(e, x->value, &made, &data)) return false;
    if (data.kind == OBJECT_NONE) {
      diagnostic *error = complain(e, DIAG_MISSING_ARGUMENT, x->where, "%s does not say on which data", made.protocol);
      diagnostic_set_help(e->diagnostics, error, "write %s(data: ...)", made.protocol);
      return false;
    }
    if (!has_label(data.data.source)) {
      complain(e, DIAG_BAD_VALUE, x->where, "%s judges by labels, and the data set %s has none", made.protocol, data.data.source->name);
      return false;
    }
    data.data.split = "";
    made.data = data_use(e, &data);
    if (features_of->kind == OBJECT_NONE) *features_of = data;
    else if (features_of->data.source != data.data.source) {
      complain(e, DIAG_BAD_VALUE, x->where, "all protocols of one eval use one data set; write a second eval for another");
      return false;
    }
    *ARENA_PUSH(e->arena, out->protocols, out->n_protocols, capacity) = made;
  }
  if (d->block->n) return true;
  complain(e, DIAG_UNKNOWN_PROTOCOL, d->where, "this eval names no protocol, such as knn(data: d)");
  return false;
}

void lower_eval(elaborator *e, const ast_declaration *d, uint32_t number) {
  experiment *x = e->experiment;
  experiment_eval made = {.where = d->value->where, .label = source_text(e, d->value->where)};
  object data;
  if (!read_protocols(e, d, &made, &data)) return;
  const char *name = arena_printf(e->arena, "eval_%u", number + 1);
  frame *f = enter_frame(e, name, (span){0});
  if (!f) return;
  f->site = name;
  e->graph = made.graph = graph_new(e->arena, name);
  data_feed feed = {.source = data.data.source, .use = data_use(e, &data), .batch = EVAL_BATCH};
  e->feed = &feed;
  scope *s = scope_new(e->program, true, e->arena);
  bind_fields(e, s, feed.source);
  object o = evaluate(e, s, d->value);
  if (!is_poison(&o)) o = to_tensor(e, o, e->real, "eval", d->value->where);
  leave_frame(e);
  e->feed = NULL;
  if (is_poison(&o)) return;
  tensor_type type = logical_type(&o);
  if (type.rank != 2 || type.dim[0] != EVAL_BATCH || !dtype_is_real(type.dtype)) {
    type.dim[0] = type.rank && type.dim[0] == EVAL_BATCH ? EVAL_BATCH : type.dim[0];
    diagnostic *error = complain(e, DIAG_EVAL_SHAPE, d->value->where, "eval wants a row of reals for each sample, f32[%d,D] for a batch of %d, got %s", EVAL_BATCH,
                                 EVAL_BATCH, object_text(&o, e->arena));
    note_object(e, error, &o);
    return;
  }
  graph_add_result(made.graph, "output", "features", graph_cast(made.graph, o.tensor.value, DTYPE_F32, d->value->where), d->value->where);
  made.batch = EVAL_BATCH;
  made.inputs = feed.inputs;
  made.n_inputs = feed.n_inputs;
  x->evals[x->n_evals++] = made;
}
