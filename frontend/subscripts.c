/* x[...] and x.name. Static indices out of range are errors; indices that a run computes are clamped. */
#include "frontend/elaborate.h"

/* -- lists ---------------------------------------------------------------------------------------------------- */

/* start:stop of `n` elements as Python counts; out of range is an error here. */
static bool slice_bounds(elaborator *e, scope *s, const ast_expr *x, int64_t n, int64_t *start, int64_t *stop) {
  *start = 0;
  *stop = n;
  const ast_expr *ends[2] = {x->left, x->right};
  for (int i = 0; i < 2; i++) {
    if (!ends[i]) continue;
    object o = evaluate(e, s, ends[i]);
    int64_t at;
    if (is_poison(&o) || !want_integer(e, &o, "a slice", ends[i]->where, &at)) return false;
    if (at < -n || at > n) {
      complain(e, DIAG_INDEX_RANGE, ends[i]->where, "%lld is outside of an axis of %lld", (long long)at, (long long)n);
      return false;
    }
    *(i ? stop : start) = at < 0 ? at + n : at;
  }
  if (*stop < *start) *stop = *start;
  return true;
}

static bool static_index(elaborator *e, const object *o, int64_t n, span where, int64_t *out) {
  if (!want_integer(e, o, "an index", where, out)) return false;
  if (*out >= -n && *out < n) {
    if (*out < 0) *out += n;
    return true;
  }
  complain(e, DIAG_INDEX_RANGE, where, "index %lld is outside of 0..%lld", (long long)*out, (long long)n);
  return false;
}

static object list_subscript(elaborator *e, scope *s, object list, const ast_expr *x) {
  if (x->items.n != 1) return refuse(e, DIAG_INDEX_RANGE, x->where, "a list has one axis, here are %u indices", x->items.n);
  const ast_expr *at = x->items.items[0].value;
  int64_t start, stop;
  if (at->kind == AST_SLICE) {
    if (!slice_bounds(e, s, at, list.list.n, &start, &stop)) return object_poison();
    return object_list(list.kind, list.list.items + start, (uint32_t)(stop - start), x->where);
  }
  object o = evaluate(e, s, at);
  if (is_poison(&o)) return o;
  if (o.kind == OBJECT_TENSOR) { /* an index that the run computes: the list becomes a tensor */
    object stacked = to_tensor(e, list, DTYPE_COUNT, "[]", x->where);
    return is_poison(&stacked) ? stacked : gather_axis(e, stacked, 0, cast_tensor(e, o, DTYPE_I32, x->where), x->where);
  }
  return static_index(e, &o, list.list.n, at->where, &start) ? list.list.items[start] : object_poison();
}

/* -- tensors ----------------------------------------------------------------------------------------------------- */

typedef struct {
  int64_t start[MAX_RANK + 1], stop[MAX_RANK + 1], stride[MAX_RANK + 1]; /* in the graph, batch axis included */
  int64_t dim[MAX_RANK];   /* after slicing, with axes dropped and added */
  object index[MAX_RANK];  /* of those axes: a tensor, or none */
  uint32_t rank, axis;     /* axes so far of the result and of the operand */
  bool gathers;
} subscripts;

static bool read_subscript(elaborator *e, scope *s, const object *x, const ast_expr *at, subscripts *out) {
  tensor_type type = logical_type(x);
  uint32_t shift = x->batched;
  if (out->rank + shift == MAX_RANK) {
    complain(e, DIAG_INDEX_RANGE, at->where, "a tensor of more than %d axes", MAX_RANK);
    return false;
  }
  object o = at->kind == AST_SLICE ? object_make(OBJECT_NONE, at->where) : evaluate(e, s, at);
  if (is_poison(&o)) return false;
  if (o.kind == OBJECT_NONE && at->kind != AST_SLICE) {
    out->index[out->rank] = o;
    out->dim[out->rank++] = 1;
    return true;
  }
  if (out->axis == type.rank) {
    diagnostic *d = complain(e, DIAG_INDEX_RANGE, at->where, "%s has no axis for this index", object_text(x, e->arena));
    note_object(e, d, x);
    return false;
  }
  uint32_t axis = out->axis++;
  if (at->kind == AST_SLICE) {
    if (!slice_bounds(e, s, at, type.dim[axis], &out->start[axis + shift], &out->stop[axis + shift])) return false;
    out->index[out->rank] = object_make(OBJECT_NONE, at->where);
    out->dim[out->rank++] = out->stop[axis + shift] - out->start[axis + shift];
    return true;
  }
  if (o.kind == OBJECT_NUMBER) {
    if (!static_index(e, &o, type.dim[axis], at->where, &out->start[axis + shift])) return false;
    out->stop[axis + shift] = out->start[axis + shift] + 1;
    return true;
  }
  o = to_tensor(e, o, DTYPE_COUNT, "[]", at->where);
  if (is_poison(&o)) return false;
  if (!dtype_is_integer(logical_type(&o).dtype)) {
    wrong_kind(e, at->where, "[]", "integers", &o);
    return false;
  }
  out->index[out->rank] = cast_tensor(e, o, DTYPE_I32, at->where);
  out->dim[out->rank++] = type.dim[axis];
  out->gathers = true;
  return true;
}

/* Index tensors meet in one shape S, which stands where the first of them stood; the other axes stay. */
static object gather_axes(elaborator *e, object x, const subscripts *at, span where) {
  object index[MAX_RANK];
  uint32_t n = 0, first = MAX_RANK;
  for (uint32_t i = 0; i < at->rank; i++)
    if (at->index[i].kind == OBJECT_TENSOR) {
      if (first == MAX_RANK) first = i;
      index[n++] = at->index[i];
    }
  if (!broadcast(e, index, n, "[]", where)) return object_poison();
  tensor_type met = logical_type(&index[0]), result = logical_type(&x);
  bool batched = x.batched || index[0].batched;
  uint32_t rank = 0, place[MAX_RANK] = {0};
  if (at->rank - n + met.rank + batched > MAX_RANK) return refuse(e, DIAG_INDEX_RANGE, where, "a tensor of more than %d axes", MAX_RANK);
  for (uint32_t i = 0; i < at->rank; i++) {
    if (i == first)
      for (uint32_t k = 0; k < met.rank; k++) result.dim[rank++] = met.dim[k];
    if (at->index[i].kind == OBJECT_TENSOR) continue;
    place[i] = rank;
    result.dim[rank++] = at->dim[i];
  }
  result.rank = rank;
  tensor_type full = graph_side_type(e, result, batched);
  full.dtype = DTYPE_I32;
  value operands[MAX_RANK];
  span user = user_place(e, where);
  if (x.batched) operands[0] = graph_iota(e->graph, full, 0, user);
  for (uint32_t i = 0, k = 0; i < at->rank; i++) {
    value v;
    if (at->index[i].kind == OBJECT_TENSOR) {
      int64_t axes[MAX_RANK] = {0};
      for (uint32_t m = 0; m < met.rank; m++) axes[m + index[k].batched] = (int64_t)(first + m + batched);
      v = graph_broadcast(e->graph, index[k++].tensor.value, full, axes, user);
    } else {
      v = graph_iota(e->graph, full, place[i] + batched, user);
    }
    operands[i + x.batched] = v;
  }
  return tensor_object(e, graph_gather(e->graph, x.tensor.value, operands, user), batched, where);
}

object tensor_part(elaborator *e, object x, int64_t i, span where) {
  tensor_type type = logical_type(&x);
  int64_t start[MAX_RANK] = {0}, stop[MAX_RANK], stride[MAX_RANK];
  const tensor_type *full = graph_type(e->graph, x.tensor.value);
  for (uint32_t d = 0; d < full->rank; d++) {
    stop[d] = full->dim[d];
    stride[d] = 1;
  }
  start[x.batched] = i;
  stop[x.batched] = i + 1;
  object part = tensor_object(e, graph_slice(e->graph, x.tensor.value, start, stop, stride, user_place(e, where)), x.batched, where);
  return reshape_tensor(e, part, type.rank - 1, type.dim + 1, where);
}

object gather_axis(elaborator *e, object x, int64_t axis, object index, span where) {
  subscripts at = {.rank = 0};
  tensor_type type = logical_type(&x);
  for (; at.rank < type.rank; at.rank++) {
    at.index[at.rank] = object_make(OBJECT_NONE, where);
    at.dim[at.rank] = type.dim[at.rank];
  }
  at.index[axis] = index;
  return is_poison(&index) ? index : gather_axes(e, x, &at, where);
}

static object tensor_subscript(elaborator *e, scope *s, object x, const ast_expr *how) {
  subscripts at = {.rank = 0};
  const tensor_type *full = graph_type(e->graph, x.tensor.value);
  for (uint32_t i = 0; i < full->rank; i++) {
    at.stop[i] = full->dim[i];
    at.stride[i] = 1;
  }
  for (uint32_t i = 0; i < how->items.n; i++)
    if (!read_subscript(e, s, &x, how->items.items[i].value, &at)) return object_poison();
  tensor_type type = logical_type(&x);
  if (at.rank + type.rank - at.axis + x.batched > MAX_RANK) return refuse(e, DIAG_INDEX_RANGE, how->where, "a tensor of more than %d axes", MAX_RANK);
  while (at.axis < type.rank) {
    at.index[at.rank] = object_make(OBJECT_NONE, how->where);
    at.dim[at.rank++] = type.dim[at.axis++];
  }
  full = graph_type(e->graph, x.tensor.value);
  bool whole = true;
  for (uint32_t i = 0; i < full->rank; i++) whole &= at.start[i] == 0 && at.stop[i] == full->dim[i];
  object part = whole ? x : tensor_object(e, graph_slice(e->graph, x.tensor.value, at.start, at.stop, at.stride, user_place(e, how->where)), x.batched, how->where);
  if (at.rank != logical_type(&part).rank || !whole) part = reshape_tensor(e, part, at.rank, at.dim, how->where);
  else if (at.rank) {
    tensor_type now = logical_type(&part);
    for (uint32_t i = 0; i < at.rank; i++)
      if (now.dim[i] != at.dim[i]) {
        part = reshape_tensor(e, part, at.rank, at.dim, how->where);
        break;
      }
  }
  if (!at.gathers || is_poison(&part)) return part;
  return gather_axes(e, part, &at, how->where);
}

object evaluate_subscript(elaborator *e, scope *s, const ast_expr *x) {
  object from = evaluate(e, s, x->left);
  if (is_poison(&from)) return from;
  if (from.kind == OBJECT_LIST || from.kind == OBJECT_TUPLE) return list_subscript(e, s, from, x);
  if (from.kind != OBJECT_TENSOR) return wrong_kind(e, x->left->where, "[]", "a tensor or a list", &from);
  from = to_tensor(e, from, DTYPE_COUNT, "[]", x->where);
  return is_poison(&from) ? from : tensor_subscript(e, s, from, x);
}

/* -- fields --------------------------------------------------------------------------------------------------------- */

static object unknown_field(elaborator *e, const object *of, const ast_expr *x, const char *const *known) {
  diagnostic *d = complain(e, DIAG_UNKNOWN_FIELD, x->where, "%s has nothing called %s", object_text(of, e->arena), x->text);
  const char *help = of->kind == OBJECT_TENSOR ? method_help(e, x->text) : NULL;
  if (help) diagnostic_set_help(e->diagnostics, d, "%s", help);
  else help_nearest(e, d, nearest_text(x->text, known));
  note_object(e, d, of);
  return object_poison();
}

static object transposed(elaborator *e, object x, span where) {
  x = to_tensor(e, x, DTYPE_COUNT, ".T", where);
  if (is_poison(&x)) return x;
  tensor_type type = logical_type(&x);
  if (type.rank < 2) {
    diagnostic *d = complain(e, DIAG_AXIS_RANGE, where, ".T swaps the last two axes, and %s has fewer", object_text(&x, e->arena));
    note_object(e, d, &x);
    return object_poison();
  }
  int64_t axes[MAX_RANK];
  uint32_t rank = type.rank + x.batched;
  for (uint32_t i = 0; i < rank; i++) axes[i] = i;
  axes[rank - 1] = rank - 2;
  axes[rank - 2] = rank - 1;
  return tensor_object(e, graph_transpose(e->graph, x.tensor.value, axes, user_place(e, where)), x.batched, where);
}

static object tensor_field(elaborator *e, object x, const ast_expr *at) {
  static const char *const known[] = {"T", "shape", "rank", "size", "dim", NULL};
  tensor_type type = logical_type(&x);
  if (!strcmp(at->text, "T")) return transposed(e, x, at->where);
  if (!strcmp(at->text, "shape")) return shape_object(e, &type, at->where);
  if (!strcmp(at->text, "rank")) return object_integer(type.rank, at->where);
  return unknown_field(e, &x, at, known);
}

object evaluate_field(elaborator *e, scope *s, const ast_expr *x) {
  object from = evaluate(e, s, x->left);
  switch (from.kind) {
    case OBJECT_POISON: return from;
    case OBJECT_TENSOR: return tensor_field(e, from, x);
    case OBJECT_DATA: return data_field_of(e, &from, x->text, x->where);
    case OBJECT_FILE: return file_part(e, &from, x->text, x->where);
    case OBJECT_RECORD:
      for (uint32_t i = 0; i < from.list.n; i++)
        if (!strcmp(from.list.names[i], x->text)) return from.list.items[i];
      return unknown_field(e, &from, x, from.list.names);
    default: return unknown_field(e, &from, x, (const char *const[]){NULL});
  }
}
