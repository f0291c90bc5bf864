/* `eval`: a block of protocols. Those that judge features share a graph, which makes them of a batch; each of the others has a
 * graph of its own (answers.c). */
#include "frontend/answers.h"

static const protocol_row protocols[] = {
    {"knn", EVAL_FEATURES, NULL, {"k", "temperature", "every"}},
    {"linear_probe", EVAL_FEATURES, NULL, {"epochs", "decay", "every"}},
    {"accuracy", EVAL_FEATURES, NULL, {"every"}},
    {"loss", EVAL_LOSS, NULL, {"count", "every"}},
    {"images", EVAL_IMAGES, "an image", {"count", "columns", "name", "every"}},
    {"npy", EVAL_ARRAY, "a tensor", {"count", "name", "every"}},
    {"generate", EVAL_TEXT, "a model", {"prompt", "length", "temperature", "window", "name", "every"}},
};
enum { N_PROTOCOLS = sizeof protocols / sizeof *protocols };

/* -- one protocol as it is written -------------------------------------------------------------------------------- */

static bool is_text(const char *name) { return !strcmp(name, "name") || !strcmp(name, "prompt"); }

/* What becomes the name of a file stays in its folder. */
static bool is_file_name(const char *text) { return *text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == strlen(text); }

static bool read_text(elaborator *e, const ast_item *item, const object *o, asked_protocol *out) {
  if (o->kind != OBJECT_STRING) return wrong_kind(e, item->value->where, item->name, "a string", o), false;
  if (!strcmp(item->name, "prompt")) {
    out->made.prompt = o->text;
    if (*o->text) return true;
    return complain(e, DIAG_BAD_VALUE, item->value->where, "a prompt has one symbol at least, such as \"\\n\""), false;
  }
  out->made.file = o->text;
  if (is_file_name(o->text)) return true;
  return complain(e, DIAG_BAD_VALUE, item->value->where, "the name of a file is made of letters, digits, _ and -; its folder is that of the run"), false;
}

static bool read_argument(elaborator *e, const ast_item *item, asked_protocol *out, uint32_t *n) {
  const char *const *names = out->row->arguments;
  double number;
  uint32_t i = 0;
  while (i < 8 && names[i] && item->name && strcmp(names[i], item->name)) i++;
  if (!item->name || i == 8 || !names[i]) {
    const char *list = out->row->of ? arena_printf(e->arena, "%s, data", out->row->of) : "data";
    for (uint32_t k = 0; k < 8 && names[k]; k++) list = arena_printf(e->arena, "%s, %s", list, names[k]);
    diagnostic *d = complain(e, DIAG_UNKNOWN_ARGUMENT, item->where, "%s takes named arguments: %s", out->made.protocol, list);
    if (item->name) help_nearest(e, d, nearest_text(item->name, names));
    return false;
  }
  object o = evaluate(e, e->program, item->value);
  if (is_poison(&o)) return false;
  if (is_text(item->name)) return read_text(e, item, &o, out);
  if (!want_real(e, &o, item->name, item->value->where, &number)) return false;
  if (!(number >= 0)) {
    complain(e, DIAG_BAD_VALUE, item->value->where, "%s of %s cannot be %g", item->name, out->made.protocol, number);
    return false;
  }
  if (!strcmp(item->name, "every")) {
    out->made.every = (int64_t)number;
    return true;
  }
  out->made.argument[*n].name = item->name;
  out->made.argument[(*n)++].value = number;
  return true;
}

static const protocol_row *find_protocol(elaborator *e, const ast_expr *x) {
  bool call = x->kind == AST_CALL && x->left->kind == AST_NAME;
  const char *names[N_PROTOCOLS + 1] = {0}, *list = "";
  for (uint32_t i = 0; i < N_PROTOCOLS; i++) {
    if (call && !strcmp(protocols[i].name, x->left->text)) return &protocols[i];
    names[i] = protocols[i].name;
    list = arena_printf(e->arena, "%s%s%s", list, i == 0 ? "" : i + 1 == N_PROTOCOLS ? " and " : ", ", names[i]);
  }
  diagnostic *d = complain(e, DIAG_UNKNOWN_PROTOCOL, x->where, "there is no protocol %s; eval takes %s", source_text(e, x->kind == AST_CALL ? x->left->where : x->where), list);
  if (call) help_nearest(e, d, nearest_text(x->left->text, names));
  return NULL;
}

/* knn(k: 20, data: cifar) */
static bool read_protocol(elaborator *e, const ast_expr *x, asked_protocol *out) {
  uint32_t n = 0;
  *out = (asked_protocol){.row = find_protocol(e, x), .where = x->where, .data = object_make(OBJECT_NONE, x->where)};
  if (!out->row) return false;
  out->made = (experiment_protocol){.protocol = out->row->name, .data = NO_DATA, .where = x->where};
  for (uint32_t i = 0; i < x->items.n; i++) {
    const ast_item *item = &x->items.items[i];
    if (!item->name && i == 0 && out->row->of) {
      out->of = item->value;
      continue;
    }
    if (!item->name || strcmp(item->name, "data")) {
      if (!read_argument(e, item, out, &n)) return false;
      continue;
    }
    out->data = evaluate(e, e->program, item->value);
    if (is_poison(&out->data)) return false;
    if (out->data.kind != OBJECT_DATA) {
      wrong_kind(e, item->value->where, "data", "a data set", &out->data);
      return false;
    }
  }
  if (!out->row->of || out->of) return true;
  diagnostic *d = complain(e, DIAG_MISSING_ARGUMENT, x->where, "%s does not say of what", out->row->name);
  diagnostic_set_help(e->diagnostics, d, "write %s(...) with %s in front of its settings", out->row->name, out->row->of);
  return false;
}

/* -- features that are judged -------------------------------------------------------------------------------------- */

static const data_field *find_label(const data_source *source) {
  for (uint32_t i = 0; i < source->description.n_fields; i++)
    if (source->description.fields[i].kind == FIELD_LABEL) return &source->description.fields[i];
  return NULL;
}

/* That one graph can serve all protocols. */
static bool check_judged(elaborator *e, const asked_protocol *first, const asked_protocol *p) {
  if (p->data.kind == OBJECT_NONE) {
    diagnostic *d = complain(e, DIAG_MISSING_ARGUMENT, p->where, "%s does not say on which data", p->row->name);
    diagnostic_set_help(e->diagnostics, d, "write %s(data: ...)", p->row->name);
    return false;
  }
  if (!find_label(p->data.data.source)) return complain(e, DIAG_BAD_VALUE, p->where, "%s judges by labels, and the data set %s has none", p->row->name, p->data.data.source->name), false;
  if (first->data.data.source == p->data.data.source) return true;
  return complain(e, DIAG_BAD_VALUE, p->where, "all protocols that judge features in one eval use one data set; write a second eval for another"), false;
}

static bool check_features(elaborator *e, const ast_expr *of, const object *o, const asked_protocol *list, uint32_t n) {
  tensor_type type = logical_type(o);
  if (type.rank != 2 || type.dim[0] != EVAL_BATCH || !dtype_is_real(type.dtype)) {
    diagnostic *d = complain(e, DIAG_EVAL_SHAPE, of->where, "eval wants a row of reals for each sample, f32[%d,D] for a batch of %d, got %s", EVAL_BATCH, EVAL_BATCH,
                             object_text(o, e->arena));
    note_object(e, d, o);
    return false;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (list[i].row->kind != EVAL_FEATURES || strcmp(list[i].row->name, "accuracy")) continue;
    int64_t classes = find_label(list[i].data.data.source)->classes;
    if (type.dim[1] == classes) continue;
    diagnostic *d = complain(e, DIAG_EVAL_SHAPE, list[i].where, "accuracy wants a logit for each of the %lld classes of %s, got %s", (long long)classes,
                             list[i].data.data.source->name, object_text(o, e->arena));
    note_object(e, d, o);
    return false;
  }
  return true;
}

static void lower_judged(elaborator *e, const ast_declaration *d, const char *site, const asked_protocol *list, uint32_t n) {
  const asked_protocol *first = NULL;
  experiment_eval made = {.kind = EVAL_FEATURES, .where = d->value->where, .label = source_text(e, d->value->where)};
  uint32_t capacity = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (list[i].row->kind != EVAL_FEATURES) continue;
    if (!first) first = &list[i];
    if (!check_judged(e, first, &list[i])) return;
    object data = list[i].data;
    if (strcmp(list[i].row->name, "accuracy")) data.data.split = ""; /* these two use the training split and the test split */
    else data = named_split(&data, false);
    experiment_protocol *p = ARENA_PUSH(e->arena, made.protocols, made.n_protocols, capacity);
    *p = list[i].made;
    p->data = data_use(e, &data);
  }
  if (!first) return;
  if (find_pretext(e, d->value)) {
    diagnostic *error = complain(e, DIAG_EVAL_SHAPE, d->value->where, "%s is a pretext, and %s judges features", d->value->text, first->row->name);
    diagnostic_set_help(e->diagnostics, error, "write eval f(img) { %s(...) }; a pretext has loss(data: ...)", first->row->name);
    return;
  }
  side_graph g;
  if (!enter_side_graph(e, site, &first->data, EVAL_BATCH, &g)) return;
  object o = evaluate(e, g.names, d->value);
  if (!is_poison(&o)) o = to_tensor(e, o, e->real, "eval", d->value->where);
  if (!is_poison(&o) && check_features(e, d->value, &o, list, n)) {
    graph_add_result(e->graph, "output", "features", graph_cast(e->graph, o.tensor.value, DTYPE_F32, d->value->where), d->value->where);
    add_eval(e, &g, made);
  }
  leave_side_graph(e, &g);
}

/* -- the block ----------------------------------------------------------------------------------------------------- */

/* The data of a protocol that names none: that of the block, else that of training. */
static void give_data(elaborator *e, asked_protocol *list, uint32_t n) {
  object block = e->train_data;
  for (uint32_t i = n; i-- > 0;)
    if (list[i].data.kind == OBJECT_DATA) block = list[i].data;
  for (uint32_t i = 0; i < n; i++)
    if (list[i].data.kind == OBJECT_NONE && list[i].row->kind != EVAL_FEATURES) list[i].data = block;
}

void lower_eval(elaborator *e, const ast_declaration *d, uint32_t number) {
  asked_protocol *list = ARENA_ARRAY(e->arena, asked_protocol, d->block->n + 1);
  uint32_t n = 0;
  for (; n < d->block->n; n++) {
    const ast_statement *x = d->block->items[n];
    if (x->kind != AST_EXPRESSION_STATEMENT || !read_protocol(e, x->value, &list[n])) return;
  }
  if (!n) {
    complain(e, DIAG_UNKNOWN_PROTOCOL, d->where, "this eval names no protocol, such as knn(data: d)");
    return;
  }
  const char *site = arena_printf(e->arena, "eval_%u", number + 1);
  lower_judged(e, d, site, list, n);
  give_data(e, list, n);
  for (uint32_t i = 0; i < n; i++)
    if (list[i].row->kind != EVAL_FEATURES) lower_answer(e, d, arena_printf(e->arena, "%s/%u", site, i + 1), &list[i]);
}
