/* Builtins: the table, and those that compute for each element, convert, or look at what is known. */
#include <math.h>

#include "frontend/builtins.h"

static const struct {
  const char *signature, *doc;
  builtin_function *run;
} builtins[] = {
#define BUILTIN(function, signature, doc) {signature, doc, builtin_##function},
#include "frontend/builtins.def"
};
enum { N_BUILTINS = sizeof builtins / sizeof *builtins };

const char *builtin_signature(uint32_t i, const char **doc) {
  if (i >= N_BUILTINS) return NULL;
  *doc = builtins[i].doc;
  return builtins[i].signature;
}

/* Their parameters are written in the language, so its own parser reads them. */
void bind_builtins(elaborator *e, scope *into) {
  const char *text = "";
  for (uint32_t i = 0; i < N_BUILTINS; i++) text = arena_printf(e->arena, "%sfn %s = none\n", text, builtins[i].signature);
  const ast_program *p = parse_program(sources_add(e->diagnostics->sources, "<builtins>", text, strlen(text)), e->diagnostics, e->arena);
  for (uint32_t i = 0; i < p->n && i < N_BUILTINS; i++) {
    function *f = ARENA_NEW(e->arena, function);
    *f = (function){.name = p->items[i]->name, .kind = FUNCTION_BUILTIN, .inner = &p->items[i]->inner, .scope = into, .builtin = builtins[i].run};
    object o = object_make(OBJECT_FUNCTION, (span){0});
    o.function = f;
    scope_bind(into, f->name, o, e->arena);
  }
  static const char *const clocks[] = {"step", "steps", "epoch", "epochs", "steps_per_epoch"};
  for (uint32_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
    object o = object_make(OBJECT_CLOCK, (span){0});
    o.text = clocks[i];
    scope_bind(into, clocks[i], o, e->arena);
  }
  scope_bind(into, "pi", object_real(3.14159265358979323846, (span){0}), e->arena);
  scope_bind(into, "inf", object_real(INFINITY, (span){0}), e->arena);
}

object tensor_argument(elaborator *e, const function *self, object o, span where) { return to_tensor(e, o, DTYPE_COUNT, self->name, where); }

object unary_result(elaborator *e, const object *like, value v, span where) { return tensor_object(e, v, like->batched, where); }

/* -- for each element ------------------------------------------------------------------------------------------ */

/* The primitive of that name, which also computes what is known. */
object builtin_elementwise_unary(elaborator *e, const function *self, object *arguments, span where) {
  op_id op = op_from_name(self->name, strlen(self->name));
  object *x = arguments;
  if (x->kind != OBJECT_NUMBER) return elementwise(e, op, x, 1, op != OP_ABS, self->name, where);
  if (!x->is_real && (op == OP_ABS || op == OP_FLOOR)) return object_integer(op == OP_ABS && x->integer < 0 ? -x->integer : x->integer, where);
  dtype real = DTYPE_F64, result = DTYPE_F64;
  scalar known = {.real = number_value(x)};
  op_result_dtype(op, &real, real, &result);
  known = op_evaluate(op, real, result, &known);
  return result == DTYPE_BOOL ? object_bool(known.integer, where) : object_real(known.real, where);
}

typedef struct {
  elaborator *e;
  const function *self;
  span where;
} stopping;

static object stop_weight(void *context, uint32_t i, object weight) {
  (void)i;
  const stopping *s = context;
  return builtin_stop_grad(s->e, s->self, &weight, s->where);
}

object builtin_stop_grad(elaborator *e, const function *self, object *arguments, span where) {
  object *x = arguments;
  if (x->kind == OBJECT_WEIGHTS) return map_weights(e, x->weights, stop_weight, &(stopping){e, self, where}, where);
  if (x->kind == OBJECT_NUMBER) return *x;
  if (x->kind == OBJECT_LIST || x->kind == OBJECT_TUPLE) {
    object *items = ARENA_ARRAY(e->arena, object, x->list.n);
    for (uint32_t i = 0; i < x->list.n; i++) items[i] = builtin_stop_grad(e, self, &x->list.items[i], where);
    return object_list(x->kind, items, x->list.n, where);
  }
  object o = tensor_argument(e, self, *x, where);
  if (is_poison(&o)) return o;
  if (!dtype_is_real(logical_type(&o).dtype)) return o;
  return unary_result(e, &o, graph_unary(e->graph, OP_STOP_GRAD, o.tensor.value, user_place(e, where)), where);
}

object builtin_where(elaborator *e, const function *self, object *arguments, span where) {
  if (arguments[0].kind == OBJECT_BOOL) return arguments[arguments[0].truth ? 1 : 2];
  object condition = tensor_argument(e, self, arguments[0], where);
  if (is_poison(&condition)) return condition;
  if (logical_type(&condition).dtype != DTYPE_BOOL) return wrong_kind(e, where, "where", "a condition, as x > 0 is one", &arguments[0]);
  object sides[2] = {arguments[1], arguments[2]};
  if (!promote(e, sides, 2, false, "where", where)) return object_poison();
  object all[3] = {condition, sides[0], sides[1]};
  if (!broadcast(e, all, 3, "where", where)) return object_poison();
  return unary_result(e, &all[0], graph_select(e->graph, all[0].tensor.value, all[1].tensor.value, all[2].tensor.value, user_place(e, where)), where);
}

object builtin_convert(elaborator *e, const function *self, object *arguments, span where) {
  bool to_real = !strcmp(self->name, "real");
  object *x = arguments;
  if (x->kind == OBJECT_NUMBER) {
    if (to_real) return object_real(number_value(x), where);
    if (!x->is_real) return *x;
    if (!(fabs(x->real) < 9e18)) return refuse(e, DIAG_STATIC_ARITHMETIC, where, "%g is no integer of 64 bits", x->real);
    return object_integer((int64_t)x->real, where);
  }
  object o = tensor_argument(e, self, *x, where);
  if (is_poison(&o)) return o;
  dtype from = logical_type(&o).dtype;
  if (to_real ? dtype_is_real(from) : dtype_is_integer(from)) return o;
  return cast_tensor(e, o, to_real ? e->real : DTYPE_I32, where);
}

/* -- what is known at compile time ----------------------------------------------------------------------------- */

object builtin_kind_test(elaborator *e, const function *self, object *arguments, span where) {
  (void)e;
  object_kind kind = arguments[0].kind;
  bool list = kind == OBJECT_LIST || kind == OBJECT_TUPLE;
  return object_bool(!strcmp(self->name, "is_list") ? list : kind == OBJECT_NUMBER, where);
}

object builtin_length(elaborator *e, const function *self, object *arguments, span where) {
  (void)self;
  const object *of = &arguments[0];
  if (of->kind == OBJECT_LIST || of->kind == OBJECT_TUPLE) return object_integer(of->list.n, where);
  tensor_type type = of->kind == OBJECT_TENSOR ? logical_type(of) : scalar_type(DTYPE_F32);
  return type.rank ? object_integer(type.dim[0], where) : wrong_kind(e, where, "len", "a list, or a tensor with an axis", of);
}

object builtin_require(elaborator *e, const function *self, object *arguments, span where) {
  (void)self;
  bool holds;
  if (!static_condition(e, &arguments[0], where, &holds)) return object_poison();
  if (arguments[1].kind != OBJECT_STRING) return wrong_kind(e, where, "require", "a message", &arguments[1]);
  return holds ? object_make(OBJECT_NONE, where) : refuse(e, DIAG_REQUIREMENT, where, "%s", arguments[1].text);
}

object builtin_frame_test(elaborator *e, const function *self, object *arguments, span where) {
  (void)arguments;
  return object_bool(!strcmp(self->name, "is_training") ? e->frame->training : e->frame->dropping, where);
}

/* -- tensors from nothing ------------------------------------------------------------------------------------------ */

static object filled(elaborator *e, const object *shape, const object *number, const char *what, span where) {
  tensor_type type;
  if (!want_shape(e, shape, what, where, &type)) return object_poison();
  object o = to_tensor(e, *number, e->real, what, where);
  if (is_poison(&o)) return o;
  if (logical_type(&o).rank) return wrong_kind(e, where, what, "a number", number);
  return stretch(e, o, type, o.batched, where);
}

object builtin_zeros(elaborator *e, const function *self, object *arguments, span where) {
  object number = object_real(!strcmp(self->name, "ones"), where);
  return filled(e, &arguments[0], &number, self->name, where);
}

object builtin_fill(elaborator *e, const function *self, object *arguments, span where) {
  return filled(e, &arguments[0], &arguments[1], self->name, where);
}

object builtin_zeros_like(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  if (is_poison(&x)) return x;
  tensor_type type = logical_type(&x);
  return tensor_object(e, graph_number(e->graph, type, !strcmp(self->name, "ones_like"), user_place(e, where)), false, where);
}

object builtin_range(elaborator *e, const function *self, object *arguments, span where) {
  int64_t n;
  if (!want_integer(e, &arguments[0], self->name, where, &n)) return object_poison();
  if (n < 1 || n > INT32_MAX) return refuse(e, DIAG_BAD_VALUE, where, "range wants at least 1 and at most %d, got %lld", INT32_MAX, (long long)n);
  return tensor_object(e, graph_iota(e->graph, make_type(DTYPE_I32, 1, &n), 0, user_place(e, where)), false, where);
}

object builtin_one_hot(elaborator *e, const function *self, object *arguments, span where) {
  int64_t classes;
  object index = tensor_argument(e, self, arguments[0], where);
  if (is_poison(&index) || !want_integer(e, &arguments[1], self->name, where, &classes)) return object_poison();
  if (!dtype_is_integer(logical_type(&index).dtype)) return wrong_kind(e, where, "one_hot", "integers", &arguments[0]);
  if (classes < 1) return refuse(e, DIAG_BAD_VALUE, where, "one_hot wants at least one class, got %lld", (long long)classes);
  tensor_type type = logical_type(&index);
  if (type.rank + 1 + index.batched > MAX_RANK) return refuse(e, DIAG_SHAPE_MISMATCH, where, "a tensor of more than %d axes", MAX_RANK);
  type.dim[type.rank++] = 1;
  index = reshape_tensor(e, cast_tensor(e, index, DTYPE_I32, where), type.rank, type.dim, where);
  tensor_type axis = {.rank = type.rank, .dim = {1, 1, 1, 1, 1, 1, 1, 1}};
  axis.dim[axis.rank - 1] = classes;
  object each = reshape_tensor(e, builtin_range(e, self, &arguments[1], where), axis.rank, axis.dim, where);
  object same = elementwise(e, OP_EQ, (object[]){index, each}, 2, false, self->name, where);
  return cast_tensor(e, same, e->real, where);
}

/* -- draws ---------------------------------------------------------------------------------------------------------- */

/* low + (high - low) * u */
static object between(elaborator *e, object u, object low, object high, span where) {
  bool unit = low.kind == OBJECT_NUMBER && high.kind == OBJECT_NUMBER && number_value(&low) == 0 && number_value(&high) == 1;
  if (unit || is_poison(&u)) return u;
  object width = apply_binary(e, AST_SUB, high, low, where);
  return apply_binary(e, AST_ADD, low, apply_binary(e, AST_MUL, width, u, where), where);
}

object builtin_uniform(elaborator *e, const function *self, object *arguments, span where) {
  tensor_type shape;
  if (!want_shape(e, &arguments[2], self->name, where, &shape)) return object_poison();
  return between(e, draw_uniform(e, &shape, where), arguments[0], arguments[1], where);
}

/* Box and Muller: sqrt(-2 log(1 - u)) cos(2 pi v), with u and v in [0, 1). */
object builtin_normal(elaborator *e, const function *self, object *arguments, span where) {
  tensor_type shape;
  if (!want_shape(e, &arguments[0], self->name, where, &shape)) return object_poison();
  object u = draw_uniform(e, &shape, where), v = draw_uniform(e, &shape, where);
  if (is_poison(&u) || is_poison(&v)) return object_poison();
  object log_u = apply_binary(e, AST_SUB, object_real(1, where), u, where);
  log_u = elementwise(e, OP_LOG, &log_u, 1, true, self->name, where);
  object radius = apply_binary(e, AST_MUL, object_real(-2, where), log_u, where);
  radius = elementwise(e, OP_SQRT, &radius, 1, true, self->name, where);
  object angle = apply_binary(e, AST_MUL, object_real(6.283185307179586, where), v, where);
  angle = elementwise(e, OP_COS, &angle, 1, true, self->name, where);
  object z = apply_binary(e, AST_MUL, radius, angle, where);
  return apply_binary(e, AST_ADD, arguments[1], apply_binary(e, AST_MUL, arguments[2], z, where), where);
}

object builtin_randint(elaborator *e, const function *self, object *arguments, span where) {
  tensor_type shape;
  int64_t low, high;
  if (!want_integer(e, &arguments[0], self->name, where, &low) || !want_integer(e, &arguments[1], self->name, where, &high) ||
      !want_shape(e, &arguments[2], self->name, where, &shape))
    return object_poison();
  enum { LARGEST = 1 << 24 }; /* so that each of 24 bits of a draw counts */
  if (high <= low || high - low > LARGEST || low < INT32_MIN || high > INT32_MAX)
    return refuse(e, DIAG_BAD_VALUE, where, "randint wants low < high with at most %d numbers between, got %lld and %lld", LARGEST, (long long)low, (long long)high);
  object u = draw_uniform(e, &shape, where);
  object scaled = apply_binary(e, AST_MUL, object_real((double)(high - low), where), u, where);
  return apply_binary(e, AST_ADD, object_integer(low, where), cast_tensor(e, scaled, DTYPE_I32, where), where);
}

/* -- models, gradients, queues ---------------------------------------------------------------------------------------- */

object builtin_ema(elaborator *e, const function *self, object *arguments, span where) {
  if (arguments[0].kind == OBJECT_LIST || arguments[0].kind == OBJECT_TUPLE) {
    object *each = ARENA_ARRAY(e->arena, object, arguments[0].list.n + 1);
    for (uint32_t i = 0; i < arguments[0].list.n; i++) {
      object pair[2] = {arguments[0].list.items[i], arguments[1]};
      each[i] = builtin_ema(e, self, pair, where);
      if (is_poison(&each[i])) return each[i];
    }
    return object_list(OBJECT_LIST, each, arguments[0].list.n, where);
  }
  if (arguments[0].kind != OBJECT_MODEL) return wrong_kind(e, where, "ema", "a model", &arguments[0]);
  if (arguments[0].model->target) return refuse(e, DIAG_BAD_TARGET, where, "%s is a target itself; follow the model %s", arguments[0].model->name, arguments[0].model->follows->name);
  if (arguments[1].kind != OBJECT_NUMBER && arguments[1].kind != OBJECT_TENSOR) return wrong_kind(e, where, "ema", "a decay, as 0.99", &arguments[1]);
  object *items = arena_copy(e->arena, arguments, 2 * sizeof *items);
  return object_list(OBJECT_AVERAGE, items, 2, where);
}

object builtin_push(elaborator *e, const function *self, object *arguments, span where) {
  (void)self;
  return object_list(OBJECT_PUSH, arena_copy(e->arena, arguments, sizeof *arguments), 1, where);
}

/* The derivatives by n values, which then stand in place of `items`. */
static bool gradients(elaborator *e, const object *loss, object *items, uint32_t n, span where) {
  value *at = ARENA_ARRAY(e->arena, value, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    if (items[i].kind != OBJECT_TENSOR || !bring_here(e, &items[i], where) || !dtype_is_real(logical_type(&items[i]).dtype)) {
      wrong_kind(e, where, "grad", "a tensor of reals that the loss was computed from, a model, or its weights", &items[i]);
      return false;
    }
    at[i] = items[i].tensor.value;
  }
  value first = graph_grad(e->graph, loss->tensor.value, at, n, user_place(e, where));
  for (uint32_t i = 0; i < n; i++) items[i] = unary_result(e, &items[i], first ? first + i : 0, where);
  return first != 0;
}

static object chosen_gradient(void *context, uint32_t i, object weight) {
  (void)weight;
  return ((const object *)context)[i];
}

object builtin_grad(elaborator *e, const function *self, object *arguments, span where) {
  object loss = tensor_argument(e, self, arguments[0], where), by = arguments[1];
  if (is_poison(&loss)) return loss;
  tensor_type type = logical_type(&loss);
  if (type.rank || !dtype_is_real(type.dtype) || loss.batched) {
    diagnostic *d = complain(e, DIAG_LOSS_NOT_SCALAR, where, "grad wants one real number, got %s", object_text(&loss, e->arena));
    note_object(e, d, &loss);
    return object_poison();
  }
  if (is_weights(&by)) {
    const weight_values *w = want_weights(e, &by, self->name, where);
    object *items = w ? arena_copy(e->arena, w->items, w->n * sizeof *items) : NULL;
    return w && gradients(e, &loss, items, w->n, where) ? map_weights(e, w, chosen_gradient, items, where) : object_poison();
  }
  bool list = by.kind == OBJECT_LIST || by.kind == OBJECT_TUPLE;
  uint32_t n = list ? by.list.n : 1;
  object *items = arena_copy(e->arena, list ? by.list.items : &by, n * sizeof *items);
  if (!gradients(e, &loss, items, n, where)) return object_poison();
  return list ? object_list(OBJECT_LIST, items, n, where) : items[0];
}
