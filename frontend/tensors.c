/* Tensors as objects: the hidden batch axis of augmentations, element types and shapes that meet.
 *
 * The body of an augmentation sees one sample. Its tensors are built for the whole batch: a tensor that
 * differs between samples has a leading axis that the program does not see (`batched`); every function
 * here takes and gives logical shapes, which leave it out. */
#include "frontend/broadcast.h"
#include "frontend/elaborate.h"

object tensor_object(elaborator *e, value v, bool batched, span where) {
  if (v == 0) return refuse(e, DIAG_SHAPE_MISMATCH, where, "these operands do not fit together");
  if (e->graph->n_nodes > MOST_NODES && !e->stopped) {
    e->stopped = true;
    return refuse(e, DIAG_TOO_LONG, where, "the graph has more than %d operations; loops are unrolled at compile time", MOST_NODES);
  }
  object o = object_make(OBJECT_TENSOR, where);
  o.tensor.graph = e->graph;
  o.tensor.value = v;
  o.batched = batched;
  return o;
}

tensor_type logical_type(const object *o) {
  tensor_type t = *graph_type(o->tensor.graph, o->tensor.value);
  return o->batched ? make_type(t.dtype, t.rank - 1, t.dim + 1) : t;
}

int64_t batch_size(const elaborator *e) { return e->frame ? e->frame->batch : 0; }

tensor_type graph_side_type(const elaborator *e, tensor_type logical, bool batched) {
  if (!batched) return logical;
  int64_t dim[MAX_RANK + 1] = {batch_size(e)};
  for (uint32_t i = 0; i < logical.rank; i++) dim[i + 1] = logical.dim[i];
  return make_type(logical.dtype, logical.rank + 1 > MAX_RANK ? MAX_RANK : logical.rank + 1, dim);
}

object scalar_tensor(elaborator *e, double number, dtype type, span where) {
  return tensor_object(e, graph_number(e->graph, scalar_type(type), number, user_place(e, where)), false, where);
}

object cast_tensor(elaborator *e, object o, dtype to, span where) {
  if (is_poison(&o)) return o;
  return tensor_object(e, graph_cast(e->graph, o.tensor.value, to, user_place(e, where)), o.batched, o.where);
}

object reshape_tensor(elaborator *e, object o, uint32_t rank, const int64_t *dim, span where) {
  if (is_poison(&o)) return o;
  if (rank + o.batched > MAX_RANK) return refuse(e, DIAG_SHAPE_MISMATCH, where, "a tensor of more than %d axes", MAX_RANK);
  tensor_type to = graph_side_type(e, make_type(logical_type(&o).dtype, rank, dim), o.batched);
  return tensor_object(e, graph_reshape(e->graph, o.tensor.value, to.rank, to.dim, user_place(e, where)), o.batched, where);
}

object stretch(elaborator *e, object o, tensor_type logical, bool batched, span where) {
  tensor_type from = logical_type(&o), to = graph_side_type(e, logical, batched);
  to.dtype = from.dtype;
  if (shape_equal(graph_type(e->graph, o.tensor.value), &to)) return o;
  int64_t axes[MAX_RANK + 1] = {0};
  for (uint32_t i = 0; i < from.rank; i++) axes[o.batched + i] = batched + (logical.rank - from.rank) + i;
  return tensor_object(e, graph_broadcast(e->graph, o.tensor.value, to, axes, user_place(e, where)), batched, o.where);
}

/* -- what is no tensor yet ------------------------------------------------------------------------------------ */

object stack_tensors(elaborator *e, object *items, uint32_t n, const char *what, span where) {
  if (n == 0) return refuse(e, DIAG_BAD_VALUE, where, "%s got an empty list", what);
  object *parts = ARENA_ARRAY(e->arena, object, n);
  for (uint32_t i = 0; i < n; i++) parts[i] = items[i];
  if (!promote(e, parts, n, false, what, where)) return object_poison();
  tensor_type first = logical_type(&parts[0]);
  bool batched = false;
  for (uint32_t i = 0; i < n; i++) {
    tensor_type type = logical_type(&parts[i]);
    batched |= parts[i].batched;
    if (shape_equal(&type, &first)) continue;
    diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "%s puts tensors of one shape together: %s and %s", what,
                             object_text(&parts[0], e->arena), object_text(&parts[i], e->arena));
    note_object(e, d, &items[0]);
    note_object(e, d, &items[i]);
    return object_poison();
  }
  if (first.rank + 1 + batched > MAX_RANK) return refuse(e, DIAG_SHAPE_MISMATCH, where, "a tensor of more than %d axes", MAX_RANK);
  value *values = ARENA_ARRAY(e->arena, value, n);
  int64_t dim[MAX_RANK] = {1};
  for (uint32_t i = 0; i < first.rank; i++) dim[i + 1] = first.dim[i];
  for (uint32_t i = 0; i < n; i++) {
    object part = reshape_tensor(e, stretch(e, parts[i], first, batched, where), first.rank + 1, dim, where);
    if (is_poison(&part)) return part;
    values[i] = part.tensor.value;
  }
  return tensor_object(e, n == 1 ? values[0] : graph_concat(e->graph, values, n, batched, user_place(e, where)), batched, where);
}

object to_tensor(elaborator *e, object o, dtype literal, const char *what, span where) {
  switch (o.kind) {
    case OBJECT_TENSOR:
      if (bring_here(e, &o, where)) return o;
      note_object(e, complain(e, DIAG_OUT_OF_PLACE, where, "%s uses a value that is computed elsewhere: in training, in evaluation, in the body of a loop, or as a first value", what), &o);
      return object_poison();
    case OBJECT_NUMBER: {
      dtype type = literal == DTYPE_COUNT ? o.is_real ? e->real : DTYPE_I32 : literal;
      return scalar_tensor(e, number_value(&o), type, o.where.file ? o.where : where);
    }
    case OBJECT_BOOL:
      return tensor_object(e, graph_splat(e->graph, scalar_type(DTYPE_BOOL), (scalar){.integer = o.truth}, user_place(e, where)), false, where);
    case OBJECT_LIST:
    case OBJECT_TUPLE: return stack_tensors(e, o.list.items, o.list.n, what, where);
    default: return wrong_kind(e, where, what, "a tensor", &o);
  }
}

/* -- element types that meet ------------------------------------------------------------------------------------- */

static dtype met_dtype(const elaborator *e, dtype x, dtype y) {
  if (dtype_is_real(x) || dtype_is_real(y)) {
    if (!dtype_is_real(x)) return y;
    return !dtype_is_real(y) || x > y ? x : y; /* the list of types is in order of width */
  }
  if (x == DTYPE_I64 || y == DTYPE_I64) return DTYPE_I64;
  if (x == DTYPE_U8) return y;
  if (y == DTYPE_U8) return x;
  (void)e;
  return x == y ? x : DTYPE_I64;
}

bool promote(elaborator *e, object *operands, uint32_t n, bool to_real, const char *what, span where) {
  dtype common = DTYPE_COUNT;
  bool truths = false, numbers = false, real_literal = false;
  const object *odd[2] = {NULL, NULL};
  for (uint32_t i = 0; i < n; i++) {
    if (operands[i].kind == OBJECT_LIST || operands[i].kind == OBJECT_TUPLE) operands[i] = to_tensor(e, operands[i], DTYPE_COUNT, what, where);
    if (is_poison(&operands[i])) return false;
    if (operands[i].kind == OBJECT_NUMBER) {
      real_literal |= operands[i].is_real;
      numbers = true;
      odd[1] = &operands[i];
      continue;
    }
    operands[i] = to_tensor(e, operands[i], DTYPE_COUNT, what, where);
    if (is_poison(&operands[i])) return false;
    dtype type = logical_type(&operands[i]).dtype;
    odd[type != DTYPE_BOOL] = &operands[i];
    truths |= type == DTYPE_BOOL;
    numbers |= type != DTYPE_BOOL;
    if (type != DTYPE_BOOL) common = common == DTYPE_COUNT ? type : met_dtype(e, common, type);
  }
  if (truths && (numbers || to_real)) {
    diagnostic *d = complain(e, DIAG_MIXED_TYPES, where, "%s wants numbers, got %s", what, object_text(odd[0], e->arena));
    note_object(e, d, odd[0]);
    diagnostic_set_help(e->diagnostics, d, "truths become numbers in sum and mean only; write where(condition, 1.0, 0.0)");
    return false;
  }
  if (truths) common = DTYPE_BOOL;
  if (common == DTYPE_COUNT) common = real_literal || to_real ? e->real : DTYPE_I32;
  if ((real_literal || to_real) && !dtype_is_real(common)) common = e->real;
  for (uint32_t i = 0; i < n; i++) {
    operands[i] = to_tensor(e, operands[i], common, what, where);
    operands[i] = cast_tensor(e, operands[i], common, where);
    if (is_poison(&operands[i])) return false;
  }
  return true;
}

/* -- shapes that meet ----------------------------------------------------------------------------------------------- */

bool broadcast(elaborator *e, object *operands, uint32_t n, const char *what, span where) {
  tensor_type met = logical_type(&operands[0]);
  bool batched = operands[0].batched;
  for (uint32_t i = 1; i < n; i++) {
    tensor_type type = logical_type(&operands[i]);
    batched |= operands[i].batched;
    if (broadcast_shape(&met, &type, &met)) continue;
    uint32_t other = 0;
    for (uint32_t k = 1; k < i; k++) {
      tensor_type candidate = logical_type(&operands[k]), ignored;
      if (!broadcast_shape(&candidate, &type, &ignored)) other = k;
    }
    diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "%s got %s and %s, whose shapes do not meet", what,
                             object_text(&operands[other], e->arena), object_text(&operands[i], e->arena));
    note_object(e, d, &operands[other]);
    note_object(e, d, &operands[i]);
    tensor_type wanted = logical_type(&operands[other]);
    diagnostic_set_help(e->diagnostics, d, "%s", broadcast_help(&wanted, &type, e->arena));
    return false;
  }
  for (uint32_t i = 0; i < n; i++) {
    operands[i] = stretch(e, operands[i], met, batched, where);
    if (is_poison(&operands[i])) return false;
  }
  return true;
}

object elementwise(elaborator *e, op_id op, object *operands, uint32_t n, bool to_real, const char *what, span where) {
  object list[3];
  for (uint32_t i = 0; i < n; i++) list[i] = operands[i];
  if (!promote(e, list, n, to_real, what, where) || !broadcast(e, list, n, what, where)) return object_poison();
  value values[3];
  for (uint32_t i = 0; i < n; i++) values[i] = list[i].tensor.value;
  const char *error = NULL;
  value v = graph_add(e->graph, op, values, n, NULL, 0, NULL, user_place(e, where), &error);
  if (v) return tensor_object(e, v, list[0].batched, where);
  return refuse(e, DIAG_WRONG_KIND, where, "%s: %s", what, error);
}
