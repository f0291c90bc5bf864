/* Constants: values that depend on nothing of a run. Tensors among them are computed once, in the graph of first values,
 * and kept as states that nothing writes; numbers, texts and functions are what they are. */
#include "frontend/builtins.h"

/* The value in the graph at hand of what was computed in the init graph. */
static object kept(elaborator *e, const char *name, object o) {
  if (o.kind == OBJECT_LIST || o.kind == OBJECT_TUPLE) {
    object *items = ARENA_ARRAY(e->arena, object, o.list.n + 1);
    for (uint32_t i = 0; i < o.list.n; i++) items[i] = kept(e, arena_printf(e->arena, "%s[%u]", name, i), o.list.items[i]);
    return object_list(o.kind, items, o.list.n, o.where);
  }
  if (o.kind != OBJECT_TENSOR || e->graph == e->init) return o;
  cell *c = find_cell(e, name);
  for (uint32_t i = 0; i < e->n_cells && !c; i++) /* what is a state already needs no other */
    if (e->cells[i]->initial == o.tensor.value) c = e->cells[i];
  if (!c) c = add_cell(e, name, *graph_type(e->init, o.tensor.value), STATE_CONSTANT, o.tensor.value, o.where);
  return read_cell(e, c, o.where);
}

object declare_constant(elaborator *e, scope *s, const ast_declaration *d) {
  elsewhere before = enter_init(e, d->name);
  object o = evaluate(e, s, d->value);
  leave_init(e, before);
  return kept(e, d->name, o);
}

/* npy("table.npy"): the array of a file. */
object builtin_npy(elaborator *e, const function *self, object *arguments, span where) {
  const data_catalog *catalog = e->options->catalog;
  if (arguments[0].kind != OBJECT_STRING) return wrong_kind(e, where, self->name, "the name of a file", &arguments[0]);
  struct data_argument *file = ARENA_NEW(e->arena, struct data_argument);
  *file = (struct data_argument){.name = "", .text = arguments[0].text};
  data_request request = {.source = self->name, .arguments = file, .n_arguments = 1, .split = ""};
  tensor_type type;
  const void *elements;
  const char *error = "arrays are not read here";
  if (!catalog->read || !catalog->read(catalog->context, &request, &type, &elements, &error, e->arena)) return refuse(e, DIAG_DATA, where, "%s", error);
  object o = tensor_object(e, graph_literal(e->graph, type, elements, user_place(e, where)), false, where);
  return dtype_is_real(type.dtype) ? cast_tensor(e, o, e->real, where) : o;
}
