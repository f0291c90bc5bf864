/* Graphs beside the step: what evaluations compute of batches, and features(...), a state that is computed once, before training. */
#include "frontend/builtins.h"

bool enter_side_graph(elaborator *e, const char *name, const object *data, int64_t batch, side_graph *out) {
  *out = (side_graph){.feed_before = e->feed, .place_before = leave_regions(e), .training_before = e->training};
  if (!enter_frame(e, name, (span){0})) return return_to(e, out->place_before), false;
  e->frame->site = name; /* draws do not depend on what is around */
  out->cells = ARENA_ARRAY(e->arena, cell, e->n_cells + 1);
  out->n_cells = e->n_cells;
  for (uint32_t i = 0; i < e->n_cells; i++) out->cells[i] = *e->cells[i];
  out->names = scope_new(e->program, true, e->arena);
  if (data && data->kind == OBJECT_DATA) {
    out->feed = (data_feed){.source = data->data.source, .use = data_use(e, data), .batch = batch};
    e->feed = &out->feed;
    bind_fields(e, out->names, data->data.source);
  } else e->feed = NULL;
  e->graph = graph_new(e->arena, name);
  e->training = NULL;
  return true;
}

void leave_side_graph(elaborator *e, const side_graph *g) {
  for (uint32_t i = 0; i < g->n_cells; i++) *e->cells[i] = g->cells[i];
  e->feed = g->feed_before;
  return_to(e, g->place_before);
  e->training = g->training_before;
  leave_frame(e);
}

experiment_eval *add_eval(elaborator *e, const side_graph *g, experiment_eval made) {
  made.graph = e->graph;
  made.batch = g->feed.batch;
  made.inputs = g->feed.inputs;
  made.n_inputs = g->feed.n_inputs;
  experiment_eval *slot = ARENA_PUSH(e->arena, e->experiment->evals, e->experiment->n_evals, e->evals_capacity);
  *slot = made;
  return slot;
}

object named_split(const object *data, bool for_training) {
  object o = *data;
  const data_description *d = &o.data.source->description;
  for (uint32_t i = 0; i < 4 && d->split[i].name && !*o.data.split; i++)
    if (for_training || !strcmp(d->split[i].name, "test")) o.data.split = d->split[i].name;
  if (!*o.data.split) o.data.split = d->split[0].name;
  return o;
}

/* -- features(value, data: d, count: n) -------------------------------------------------------------------------- */

/* The argument of that name, or the first one without. */
static const ast_expr *find_argument(const ast_items *items, const char *name, bool first) {
  for (uint32_t i = 0; i < items->n; i++)
    if (items->items[i].name ? !strcmp(items->items[i].name, name) : first && i == 0) return items->items[i].value;
  return NULL;
}

/* How many samples; 0 after an error. */
static int64_t sample_count(elaborator *e, scope *s, const ast_expr *x, const object *data) {
  int64_t all = data_count(data->data.source, data->data.split), n = all;
  object o = x ? evaluate(e, s, x) : object_make(OBJECT_NONE, (span){0});
  if (is_poison(&o) || (o.kind != OBJECT_NONE && !want_integer(e, &o, "count", x->where, &n))) return 0;
  if (n >= 1 && n <= all) return n;
  complain(e, DIAG_BAD_VALUE, x ? x->where : data->where, "count is from 1 to the %lld samples of %s, got %lld", (long long)all, data->data.source->name, (long long)n);
  return 0;
}

/* The rows of a batch as the last value of the graph: [batch, ...]; false after an error. */
static bool row_type(elaborator *e, const object *o, int64_t batch, span where, tensor_type *out) {
  *out = logical_type(o);
  if (out->rank >= 1 && out->dim[0] == batch) return true;
  diagnostic *d = complain(e, DIAG_EVAL_SHAPE, where, "features wants a row for each sample, [%lld, ...] for a batch of %lld, got %s", (long long)batch, (long long)batch,
                           object_text(o, e->arena));
  note_object(e, d, o);
  return false;
}

static object make_features(elaborator *e, const char *name, const ast_expr *row, const object *data, int64_t n, span where) {
  side_graph g;
  tensor_type type;
  if (!enter_side_graph(e, name, data, EVAL_BATCH, &g)) return object_poison();
  object o = evaluate(e, g.names, row);
  if (!is_poison(&o)) o = to_tensor(e, o, e->real, "features", row->where);
  bool good = !is_poison(&o) && row_type(e, &o, EVAL_BATCH, row->where, &type);
  if (good) {
    experiment_protocol *p = ARENA_NEW(e->arena, experiment_protocol);
    *p = (experiment_protocol){.protocol = "features", .data = data_use(e, data), .file = name, .argument = {{"count", (double)n}}, .where = where};
    graph_add_result(e->graph, "output", "features", graph_cast(e->graph, o.tensor.value, DTYPE_F32, where), where);
    add_eval(e, &g, (experiment_eval){.kind = EVAL_STATE, .protocols = p, .n_protocols = 1, .label = source_text(e, row->where), .where = where});
  }
  leave_side_graph(e, &g);
  if (!good) return object_poison();
  type.dim[0] = n;
  type.dtype = e->real;
  object made = object_make(OBJECT_CELL, where);
  made.cell = add_cell(e, name, type, STATE_OTHER, graph_parameter(e->init, "data", name, type, where), where);
  return made;
}

object evaluate_features(elaborator *e, scope *s, const ast_expr *x) {
  const ast_expr *row = find_argument(&x->items, "value", true), *of = find_argument(&x->items, "data", false);
  const char *name = e->frame ? next_path(e, e->frame->site, &e->frame->layers, "features") : "features";
  cell *known = find_cell(e, name);
  if (known) return read_cell(e, known, x->where);
  if (!row || !of) {
    diagnostic *d = complain(e, DIAG_MISSING_ARGUMENT, x->where, "features needs a value of each sample and its data");
    diagnostic_set_help(e->diagnostics, d, "write features(f(img), data: cifar.test, count: 1000)");
    return object_poison();
  }
  for (uint32_t i = 0; i < x->items.n; i++) {
    const char *given = x->items.items[i].name;
    if (given && strcmp(given, "value") && strcmp(given, "data") && strcmp(given, "count"))
      return refuse(e, DIAG_UNKNOWN_ARGUMENT, x->items.items[i].where, "features has no argument called %s: features(value, data, count = none)", given);
  }
  object data = evaluate(e, s, of);
  if (is_poison(&data)) return data;
  if (data.kind != OBJECT_DATA) return wrong_kind(e, of->where, "data", "a data set", &data);
  data = named_split(&data, true);
  int64_t n = sample_count(e, s, find_argument(&x->items, "count", false), &data);
  object made = n ? make_features(e, name, row, &data, n, x->where) : object_poison();
  return read_object(e, made, x->where);
}

object builtin_features(elaborator *e, const function *self, object *arguments, span where) {
  (void)self, (void)arguments;
  return refuse(e, DIAG_OUT_OF_PLACE, where, "features takes what it computes as it is written: features(f(img), data: d), not a value that is piped in");
}
