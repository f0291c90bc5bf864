/* Builtins that move elements: shapes, axes, parts. Axes that a program names are those of one sample;
 * inside of an augmentation the graph has the batch in front of them. */
#include "frontend/builtins.h"

static int64_t graph_axis(const object *x, int64_t axis) { return axis + x->batched; }
static const tensor_type *full_type(elaborator *e, const object *x) { return graph_type(e->graph, x->tensor.value); }

object builtin_reshape(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where), *shape = &arguments[1];
  if (is_poison(&x)) return x;
  if (shape->kind != OBJECT_LIST && shape->kind != OBJECT_TUPLE) return wrong_kind(e, where, "reshape", "a shape such as [64, -1]", shape);
  if (shape->list.n + x.batched > MAX_RANK) return refuse(e, DIAG_SHAPE_MISMATCH, where, "a tensor of more than %d axes", MAX_RANK);
  int64_t dim[MAX_RANK], known = 1, open = -1;
  tensor_type from = logical_type(&x);
  int64_t total = type_elements(&from);
  for (uint32_t i = 0; i < shape->list.n; i++) {
    if (!want_integer(e, &shape->list.items[i], "reshape", where, &dim[i])) return object_poison();
    if (dim[i] == -1 && open < 0) open = i;
    else if (dim[i] < 0 || __builtin_mul_overflow(known, dim[i], &known)) return refuse(e, DIAG_BAD_VALUE, where, "reshape got %lld for axis %u", (long long)dim[i], i);
  }
  if (open >= 0 && known > 0 && total % known == 0) {
    dim[open] = total / known;
    known = total;
  }
  if (known == total && (open < 0 || dim[open] >= 0)) return reshape_tensor(e, x, shape->list.n, dim, where);
  const char *text = "";
  for (uint32_t i = 0; i < shape->list.n; i++) text = arena_printf(e->arena, "%s%s%lld", text, i ? ", " : "", (long long)dim[i]);
  diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "reshape cannot make [%s] of the %lld elements of %s", text, (long long)total, object_text(&x, e->arena));
  note_object(e, d, &arguments[0]);
  return object_poison();
}

static object permuted(elaborator *e, const object *x, const int64_t *axes, span where) {
  int64_t all[MAX_RANK] = {0};
  uint32_t rank = logical_type(x).rank;
  for (uint32_t i = 0; i < rank; i++) all[i + x->batched] = graph_axis(x, axes[i]);
  return unary_result(e, x, graph_transpose(e->graph, x->tensor.value, all, user_place(e, where)), where);
}

object builtin_transpose(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  int64_t a, b, axes[MAX_RANK];
  if (is_poison(&x)) return x;
  uint32_t rank = logical_type(&x).rank;
  if (!want_axis(e, &arguments[1], rank, self->name, where, &a) || !want_axis(e, &arguments[2], rank, self->name, where, &b)) return object_poison();
  for (uint32_t i = 0; i < rank; i++) axes[i] = i;
  axes[a] = b;
  axes[b] = a;
  return permuted(e, &x, axes, where);
}

object builtin_permute(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  int64_t axes[MAX_RANK];
  uint32_t n;
  if (is_poison(&x) || !want_axes(e, &arguments[1], logical_type(&x).rank, self->name, where, axes, &n)) return object_poison();
  if (n != logical_type(&x).rank) return refuse(e, DIAG_AXIS_RANGE, where, "permute wants each of the %u axes once, got %u", logical_type(&x).rank, n);
  return permuted(e, &x, axes, where);
}

object builtin_expand(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  tensor_type to;
  if (is_poison(&x) || !want_shape(e, &arguments[1], self->name, where, &to)) return object_poison();
  tensor_type from = logical_type(&x);
  bool fits = from.rank <= to.rank && to.rank + x.batched <= MAX_RANK;
  for (uint32_t i = 0; fits && i < from.rank; i++) fits = from.dim[i] == 1 || from.dim[i] == to.dim[to.rank - from.rank + i];
  if (fits) return stretch(e, x, to, x.batched, where);
  diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "expand cannot repeat %s to %s", object_text(&x, e->arena), type_text(&to, e->arena));
  note_object(e, d, &arguments[0]);
  return object_poison();
}

/* Axis of `rank`, counted as those of a result that has it. */
static bool joined(elaborator *e, const function *self, object *arguments, bool new_axis, object *out, span where) {
  object *parts = &arguments[0];
  int64_t axis;
  if (parts->kind != OBJECT_LIST && parts->kind != OBJECT_TUPLE) {
    wrong_kind(e, where, self->name, "a list of tensors", parts);
    return false;
  }
  uint32_t n = parts->list.n;
  if (n == 0) {
    complain(e, DIAG_BAD_VALUE, where, "%s got an empty list", self->name);
    return false;
  }
  object *items = arena_copy(e->arena, parts->list.items, n * sizeof *items);
  if (!promote(e, items, n, false, self->name, where)) return false;
  bool batched = false;
  for (uint32_t i = 0; i < n; i++) batched |= items[i].batched;
  tensor_type first = logical_type(&items[0]);
  if (!want_axis(e, &arguments[1], first.rank + new_axis, self->name, where, &axis)) return false;
  value *values = ARENA_ARRAY(e->arena, value, n);
  for (uint32_t i = 0; i < n; i++) {
    tensor_type type = logical_type(&items[i]);
    bool fits = type.rank == first.rank;
    for (uint32_t k = 0; fits && k < type.rank; k++) fits = type.dim[k] == first.dim[k] || (!new_axis && k == axis);
    if (!fits) {
      diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "%s along axis %lld: %s and %s do not fit together", self->name, (long long)axis,
                               object_text(&items[0], e->arena), object_text(&items[i], e->arena));
      note_object(e, d, &parts->list.items[0]);
      note_object(e, d, &parts->list.items[i]);
      return false;
    }
    object item = stretch(e, items[i], type, batched, where);
    if (new_axis) {
      int64_t dim[MAX_RANK + 1];
      for (uint32_t k = 0; k <= type.rank; k++) dim[k] = k < axis ? type.dim[k] : k == axis ? 1 : type.dim[k - 1];
      item = reshape_tensor(e, item, type.rank + 1, dim, where);
    }
    if (is_poison(&item)) return false;
    values[i] = item.tensor.value;
  }
  value v = n == 1 ? values[0] : graph_concat(e->graph, values, n, axis + batched, user_place(e, where));
  *out = tensor_object(e, v, batched, where);
  return true;
}

object builtin_concat(elaborator *e, const function *self, object *arguments, span where) {
  object o;
  return joined(e, self, arguments, false, &o, where) ? o : object_poison();
}

object builtin_stack(elaborator *e, const function *self, object *arguments, span where) {
  object o;
  return joined(e, self, arguments, true, &o, where) ? o : object_poison();
}

/* Elements start, start + step, ... of one axis; `count` of them. */
static object cut(elaborator *e, const object *x, int64_t axis, int64_t start, int64_t count, int64_t step, span where) {
  const tensor_type *type = full_type(e, x);
  int64_t from[MAX_RANK] = {0}, to[MAX_RANK], stride[MAX_RANK];
  for (uint32_t i = 0; i < type->rank; i++) {
    to[i] = type->dim[i];
    stride[i] = 1;
  }
  axis = graph_axis(x, axis);
  from[axis] = start;
  to[axis] = start + (count - 1) * step + 1;
  stride[axis] = step;
  return unary_result(e, x, graph_slice(e->graph, x->tensor.value, from, to, stride, user_place(e, where)), where);
}

object builtin_split(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  int64_t parts, axis;
  if (is_poison(&x)) return x;
  tensor_type type = logical_type(&x);
  if (!want_integer(e, &arguments[1], self->name, where, &parts) || !want_axis(e, &arguments[2], type.rank, self->name, where, &axis)) return object_poison();
  if (parts < 1 || type.dim[axis] % parts) {
    diagnostic *d = complain(e, DIAG_BAD_VALUE, where, "%lld elements do not split into %lld equal parts", (long long)type.dim[axis], (long long)parts);
    note_object(e, d, &x);
    return object_poison();
  }
  object *items = ARENA_ARRAY(e->arena, object, parts);
  int64_t size = type.dim[axis] / parts;
  for (int64_t i = 0; i < parts; i++) items[i] = cut(e, &x, axis, i * size, size, 1, where);
  return object_list(OBJECT_LIST, items, (uint32_t)parts, where);
}

object builtin_strided(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  int64_t axis, number[3];
  if (is_poison(&x)) return x;
  tensor_type type = logical_type(&x);
  if (!want_axis(e, &arguments[1], type.rank, self->name, where, &axis)) return object_poison();
  for (uint32_t i = 0; i < 3; i++)
    if (!want_integer(e, &arguments[2 + i], self->name, where, &number[i])) return object_poison();
  int64_t last;
  bool fits = number[0] >= 0 && number[1] >= 1 && number[2] >= 1 && !__builtin_mul_overflow(number[1] - 1, number[2], &last) && last + number[0] < type.dim[axis];
  if (fits) return cut(e, &x, axis, number[0], number[1], number[2], where);
  return refuse(e, DIAG_INDEX_RANGE, where, "%lld elements from %lld on, %lld apart, are outside of an axis of %lld", (long long)number[1], (long long)number[0],
                (long long)number[2], (long long)type.dim[axis]);
}

object builtin_pad(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  double number;
  if (is_poison(&x) || !want_real(e, &arguments[3], self->name, where, &number)) return object_poison();
  tensor_type type = logical_type(&x);
  int64_t amounts[2][MAX_RANK] = {{0}}, interior[MAX_RANK] = {0};
  for (uint32_t side = 0; side < 2; side++) {
    const object *list = &arguments[1 + side];
    if ((list->kind != OBJECT_LIST && list->kind != OBJECT_TUPLE) || list->list.n != type.rank)
      return wrong_kind(e, where, "pad", arena_printf(e->arena, "a list of %u integers, one for each axis", type.rank), list);
    for (uint32_t i = 0; i < type.rank; i++)
      if (!want_integer(e, &list->list.items[i], self->name, where, &amounts[side][graph_axis(&x, i)])) return object_poison();
  }
  for (uint32_t i = 0; i < type.rank; i++) {
    int64_t size = type.dim[i] + amounts[0][graph_axis(&x, i)] + amounts[1][graph_axis(&x, i)];
    if (size < 0 || size > INT32_MAX) return refuse(e, DIAG_BAD_VALUE, where, "pad makes axis %u %lld elements long", i, (long long)size);
  }
  return unary_result(e, &x, graph_pad(e->graph, x.tensor.value, amounts[0], amounts[1], interior, number, user_place(e, where)), where);
}

object builtin_flip(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  int64_t axis;
  if (is_poison(&x) || !want_axis(e, &arguments[1], logical_type(&x).rank, self->name, where, &axis)) return object_poison();
  axis = graph_axis(&x, axis);
  return unary_result(e, &x, graph_reverse(e->graph, x.tensor.value, &axis, 1, user_place(e, where)), where);
}
