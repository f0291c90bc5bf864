/* Data sets as the program sees them: what the catalog says of them, their splits, and the fields of a
 * batch, which become inputs of a graph when they are read. */
#include "frontend/elaborate.h"

/* by: label names a field of the data that stand in front of it. */
static bool names_field(const data_request *r, uint32_t n, scope *s, const ast_expr *x, elaborator *e) {
  if (x->kind != AST_NAME || scope_find(s, x->text)) return false;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; r->arguments[i].data && k < e->n_data; k++)
      if (e->data[k]->request.arguments == r->arguments[i].data->arguments && find_data_field(e->data[k], x->text)) return true;
  return false;
}

static bool read_numbers(elaborator *e, const object *list, const char *source, span where, struct data_argument *out) {
  double *numbers = ARENA_ARRAY(e->arena, double, list->list.n + 1);
  for (uint32_t i = 0; i < list->list.n; i++)
    if (!want_real(e, &list->list.items[i], source, where, &numbers[i])) return false;
  out->list = numbers;
  out->n_list = list->list.n;
  return true;
}

static bool read_argument(elaborator *e, scope *s, const ast_item *item, data_request *r, uint32_t i) {
  struct data_argument *argument = &r->arguments[i];
  argument->name = item->name ? item->name : "";
  if (names_field(r, i, s, item->value, e)) {
    argument->text = item->value->text;
    return true;
  }
  object o = evaluate(e, s, item->value);
  switch (o.kind) {
    case OBJECT_POISON: return false;
    case OBJECT_STRING: argument->text = o.text; return true;
    case OBJECT_BOOL: argument->number = o.truth; return true;
    case OBJECT_LIST: return read_numbers(e, &o, r->source, item->value->where, argument);
    case OBJECT_DATA: {
      data_request *of = ARENA_NEW(e->arena, data_request);
      *of = o.data.source->request;
      of->split = o.data.split;
      argument->data = of;
      return true;
    }
    default: return want_real(e, &o, r->source, item->value->where, &argument->number);
  }
}

/* The call of a source, cifar10("data/cifar10"), as a request to the catalog; false after an error. */
static bool read_request(elaborator *e, scope *s, const ast_expr *x, data_request *out) {
  if (x->kind != AST_CALL || x->left->kind != AST_NAME) {
    complain(e, DIAG_WRONG_KIND, x->where, "data wants a source, such as cifar10(\"data/cifar10\")");
    return false;
  }
  *out = (data_request){.source = x->left->text, .n_arguments = x->items.n, .split = ""};
  out->arguments = ARENA_ARRAY(e->arena, struct data_argument, x->items.n + 1);
  for (uint32_t i = 0; i < x->items.n; i++)
    if (!read_argument(e, s, &x->items.items[i], out, i)) return false;
  return true;
}

static object data_object(data_source *source, const char *split, span where) {
  object o = object_make(OBJECT_DATA, where);
  o.data.source = source;
  o.data.split = split;
  return o;
}

object declare_data(elaborator *e, scope *s, const ast_declaration *d) {
  data_source *source = ARENA_NEW(e->arena, data_source);
  const char *error = NULL;
  source->name = d->name;
  source->where = d->name_where;
  if (!read_request(e, s, d->value, &source->request)) return object_poison();
  if (!e->options->catalog->describe(e->options->catalog->context, &source->request, &source->description, &error, e->arena))
    return refuse(e, DIAG_DATA, d->value->where, "%s", error);
  *ARENA_PUSH(e->arena, e->data, e->n_data, e->data_capacity) = source;
  return data_object(source, "", d->name_where);
}

int64_t data_count(const data_source *source, const char *split) {
  for (uint32_t i = 0; i < 4 && source->description.split[i].name; i++)
    if (!*split || !strcmp(source->description.split[i].name, split)) return source->description.split[i].count;
  return -1;
}

const data_field *find_data_field(const data_source *source, const char *name) {
  for (uint32_t i = 0; i < source->description.n_fields; i++)
    if (!strcmp(source->description.fields[i].name, name)) return &source->description.fields[i];
  return NULL;
}

object data_field_of(elaborator *e, const object *data, const char *name, span where) {
  const data_source *source = data->data.source;
  const char *known[8] = {"classes", "count"};
  for (uint32_t i = 0; i < 4 && source->description.split[i].name; i++) {
    if (!strcmp(source->description.split[i].name, name)) return data_object(data->data.source, source->description.split[i].name, where);
    known[2 + i] = source->description.split[i].name;
  }
  if (!strcmp(name, "count")) return object_integer(data_count(source, data->data.split), where);
  for (uint32_t i = 0; i < source->description.n_fields && !strcmp(name, "classes"); i++)
    if (source->description.fields[i].classes) return object_integer(source->description.fields[i].classes, where);
  diagnostic *d = complain(e, DIAG_UNKNOWN_FIELD, where, "the data set %s has nothing called %s", source->name, name);
  help_nearest(e, d, nearest_text(name, known));
  diagnostic_add_note(e->diagnostics, d, source->where, "it is declared here");
  return object_poison();
}

uint32_t data_use(elaborator *e, const object *data) {
  experiment *x = e->experiment;
  data_request wanted = data->data.source->request;
  wanted.split = data->data.split;
  for (uint32_t i = 0; i < x->n_data; i++)
    if (x->data[i].arguments == wanted.arguments && !strcmp(x->data[i].split, wanted.split)) return i;
  *ARENA_PUSH(e->arena, x->data, x->n_data, e->data_uses_capacity) = wanted;
  return x->n_data - 1;
}

void bind_fields(elaborator *e, scope *into, const data_source *source) {
  for (uint32_t i = 0; i < source->description.n_fields; i++) {
    object o = object_make(OBJECT_FIELD, source->where);
    o.field = source->description.fields[i].name;
    scope_bind(into, o.field, o, e->arena);
  }
}

/* Images of bytes are seen as reals in 0..1, reals with the precision of the program, tokens as indices. */
static value seen(elaborator *e, const data_field *field, value v, tensor_type type, span where) {
  graph *g = e->graph;
  if (field->kind == FIELD_IMAGE && type.dtype == DTYPE_U8) {
    type.dtype = e->real;
    return graph_binary(g, OP_DIV, graph_cast(g, v, e->real, where), graph_number(g, type, 255, where), where);
  }
  if (dtype_is_real(type.dtype)) return graph_cast(g, v, e->real, where);
  return field->kind == FIELD_TOKENS ? graph_cast(g, v, DTYPE_I32, where) : v;
}

static object read_field_at_root(elaborator *e, const char *name, span where) {
  data_feed *feed = e->feed;
  if (!feed) return refuse(e, DIAG_OUT_OF_PLACE, where, "%s is a field of the data, which is there in a pretext and in eval only", name);
  for (uint32_t i = 0; i < feed->n_inputs; i++)
    if (!strcmp(feed->inputs[i].name, name)) return tensor_object(e, feed->values[i], false, where);
  const data_field *field = find_data_field(feed->source, name);
  span user = user_place(e, where);
  int64_t dim[MAX_RANK] = {feed->batch};
  for (uint32_t i = 0; i < field->type.rank; i++) dim[i + 1] = field->type.dim[i];
  tensor_type type = make_type(field->type.dtype, field->type.rank + 1, dim);
  uint32_t n = feed->n_inputs;
  value v = seen(e, field, graph_input(e, "data", name, type, user), type, user);
  *ARENA_PUSH(e->arena, feed->values, n, feed->values_capacity) = v;
  *ARENA_PUSH(e->arena, feed->inputs, feed->n_inputs, feed->capacity) = (experiment_input){name, feed->use, name, type};
  return tensor_object(e, v, false, where);
}

static object read_record(elaborator *e, span where) {
  const data_description *d = &e->feed->source->description;
  object o = object_list(OBJECT_RECORD, ARENA_ARRAY(e->arena, object, d->n_fields), d->n_fields, where);
  const char **names = ARENA_ARRAY(e->arena, const char *, d->n_fields + 1);
  for (uint32_t i = 0; i < d->n_fields; i++) {
    names[i] = d->fields[i].name;
    o.list.items[i] = read_field(e, names[i], where);
    if (is_poison(&o.list.items[i])) return object_poison();
  }
  o.list.names = names;
  return o;
}

object read_field(elaborator *e, const char *name, span where) {
  if (e->feed && !name) return read_record(e, where);
  place_in_graphs before = leave_regions(e);
  object o = read_field_at_root(e, name, where);
  return_to(e, before);
  return o;
}
