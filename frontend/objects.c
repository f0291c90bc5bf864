/* How messages name objects. */
#include "frontend/objects.h"

const char *object_kind_text(object_kind kind) {
  static const char *const texts[] = {
      [OBJECT_POISON] = "nothing",      [OBJECT_NONE] = "none",           [OBJECT_BOOL] = "true or false",
      [OBJECT_NUMBER] = "a number",     [OBJECT_STRING] = "a string",     [OBJECT_TENSOR] = "a tensor",
      [OBJECT_TUPLE] = "a tuple",       [OBJECT_LIST] = "a list",         [OBJECT_FUNCTION] = "a function",
      [OBJECT_MODEL] = "a model",       [OBJECT_CELL] = "a state",        [OBJECT_CLOCK] = "a clock",
      [OBJECT_DATA] = "a data set",     [OBJECT_RECORD] = "a record",     [OBJECT_FILE] = "weights in a file",     [OBJECT_AVERAGE] = "an ema",    [OBJECT_FIELD] = "a field of the data", [OBJECT_WEIGHTS] = "weights",      [OBJECT_PUSH] = "a push",
  };
  return texts[kind];
}

static const char *tensor_text(const object *o, arena *a) {
  tensor_type type = *graph_type(o->tensor.graph, o->tensor.value);
  if (!o->batched) return type_text(&type, a);
  type = make_type(type.dtype, type.rank - 1, type.dim + 1);
  return arena_printf(a, "%s of each sample", type_text(&type, a));
}

const char *object_text(const object *o, arena *a) {
  switch (o->kind) {
    case OBJECT_BOOL: return o->truth ? "true" : "false";
    case OBJECT_NUMBER:
      if (!o->is_real) return arena_printf(a, "the number %lld", (long long)o->integer);
      return arena_printf(a, o->real == (double)(int32_t)o->real ? "the number %.1f" : "the number %g", o->real);
    case OBJECT_STRING: return arena_printf(a, "the string \"%s\"", o->text);
    case OBJECT_TENSOR: return tensor_text(o, a);
    case OBJECT_RECORD: {
      const char *names = "";
      for (uint32_t i = 0; i < o->list.n; i++) names = arena_printf(a, "%s%s%s", names, i ? ", " : "", o->list.names[i]);
      return arena_printf(a, "a record of %s", names);
    }
    case OBJECT_TUPLE:
    case OBJECT_LIST: return arena_printf(a, "%s of %u", object_kind_text(o->kind), o->list.n);
    case OBJECT_FUNCTION: return arena_printf(a, o->function->configured ? "%s without its second list" : "the function %s", o->function->name);
    case OBJECT_MODEL: return arena_printf(a, "the %s %s", o->model->target ? "target" : "model", o->model->name);
    case OBJECT_WEIGHTS: return arena_printf(a, "weights of the model %s", o->weights->model->name);
    case OBJECT_CELL: return arena_printf(a, "the state %s, %s", o->cell->name, type_text(&o->cell->type, a));
    default: return object_kind_text(o->kind);
  }
}
