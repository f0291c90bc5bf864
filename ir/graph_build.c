/* Shorthands for builders whose operands are known to fit. */
#include "ir/graph.h"

static value build(graph *g, op_id op, const value *operands, uint32_t n, const attribute *attributes, uint32_t n_attributes,
                   const tensor_type *declared, span where) {
  const char *error;
  return graph_add(g, op, operands, n, attributes, n_attributes, declared, where, &error);
}

static attribute integers(attribute_key key, const int64_t *items, uint32_t n) {
  return (attribute){.key = key, .n = n, .as.integers = items};
}

static attribute words(attribute_key key, const char *text) { return (attribute){.key = key, .n = 1, .as.text = text}; }

value graph_parameter(graph *g, const char *role, const char *name, tensor_type type, span where) {
  attribute a[] = {words(ATTR_ROLE, role), words(ATTR_NAME, name)};
  return build(g, OP_PARAMETER, NULL, 0, a, 2, &type, where);
}

value graph_splat(graph *g, tensor_type type, scalar v, span where) {
  attribute a = {.key = ATTR_VALUE, .n = 1, .as.scalar = scalar_round(type.dtype, v)};
  return build(g, OP_CONSTANT, NULL, 0, &a, 1, &type, where);
}

value graph_number(graph *g, tensor_type type, double v, span where) {
  return graph_splat(g, type, scalar_convert(DTYPE_F64, type.dtype, (scalar){.real = v}), where);
}

value graph_literal(graph *g, tensor_type type, const void *elements, span where) {
  attribute a = {.key = ATTR_LITERAL, .n = (uint32_t)type_elements(&type), .as.elements = elements};
  return build(g, OP_CONSTANT, NULL, 0, &a, 1, &type, where);
}

value graph_iota(graph *g, tensor_type type, int64_t axis, span where) {
  attribute a = integers(ATTR_AXIS, &axis, 1);
  return build(g, OP_IOTA, NULL, 0, &a, 1, &type, where);
}

value graph_unary(graph *g, op_id op, value x, span where) { return build(g, op, &x, 1, NULL, 0, NULL, where); }

value graph_binary(graph *g, op_id op, value x, value y, span where) {
  return build(g, op, (value[]){x, y}, 2, NULL, 0, NULL, where);
}

value graph_select(graph *g, value condition, value yes, value no, span where) {
  return build(g, OP_SELECT, (value[]){condition, yes, no}, 3, NULL, 0, NULL, where);
}

value graph_cast(graph *g, value x, dtype to, span where) {
  tensor_type type = *graph_type(g, x);
  if (type.dtype == to) return x;
  type.dtype = to;
  return build(g, OP_CAST, &x, 1, NULL, 0, &type, where);
}

value graph_reshape(graph *g, value x, uint32_t rank, const int64_t *dim, span where) {
  tensor_type type = make_type(graph_type(g, x)->dtype, rank, dim);
  return build(g, OP_RESHAPE, &x, 1, NULL, 0, &type, where);
}

value graph_transpose(graph *g, value x, const int64_t *axes, span where) {
  attribute a = integers(ATTR_AXES, axes, graph_type(g, x)->rank);
  return build(g, OP_TRANSPOSE, &x, 1, &a, 1, NULL, where);
}

value graph_broadcast(graph *g, value x, tensor_type to, const int64_t *axes, span where) {
  attribute a = integers(ATTR_AXES, axes, graph_type(g, x)->rank);
  return build(g, OP_BROADCAST, &x, 1, &a, 1, &to, where);
}

value graph_slice(graph *g, value x, const int64_t *start, const int64_t *stop, const int64_t *stride, span where) {
  uint32_t rank = graph_type(g, x)->rank;
  attribute a[] = {integers(ATTR_START, start, rank), integers(ATTR_STOP, stop, rank), integers(ATTR_STRIDE, stride, rank)};
  return build(g, OP_SLICE, &x, 1, a, 3, NULL, where);
}

value graph_pad(graph *g, value x, const int64_t *low, const int64_t *high, const int64_t *interior, double v, span where) {
  const tensor_type *t = graph_type(g, x);
  attribute a[] = {integers(ATTR_LOW, low, t->rank), integers(ATTR_HIGH, high, t->rank), integers(ATTR_INTERIOR, interior, t->rank),
                   {.key = ATTR_VALUE, .n = 1, .as.scalar = scalar_convert(DTYPE_F64, t->dtype, (scalar){.real = v})}};
  return build(g, OP_PAD, &x, 1, a, 4, NULL, where);
}

value graph_reverse(graph *g, value x, const int64_t *axes, uint32_t n, span where) {
  attribute a = integers(ATTR_AXES, axes, n);
  return build(g, OP_REVERSE, &x, 1, &a, 1, NULL, where);
}

value graph_concat(graph *g, const value *x, uint32_t n, int64_t axis, span where) {
  attribute a = integers(ATTR_AXIS, &axis, 1);
  return build(g, OP_CONCAT, x, n, &a, 1, NULL, where);
}

value graph_gather(graph *g, value x, const value *indices, span where) {
  uint32_t rank = graph_type(g, x)->rank;
  value operands[MAX_RANK + 1] = {x};
  for (uint32_t i = 0; i < rank; i++) operands[i + 1] = indices[i];
  return build(g, OP_GATHER, operands, rank + 1, NULL, 0, NULL, where);
}

value graph_scatter_add(graph *g, value updates, const value *indices, tensor_type type, span where) {
  value operands[MAX_RANK + 1] = {updates};
  for (uint32_t i = 0; i < type.rank; i++) operands[i + 1] = indices[i];
  return build(g, OP_SCATTER_ADD, operands, type.rank + 1, NULL, 0, &type, where);
}

value graph_contract(graph *g, value x, value y, const char *spec, const tensor_type *declared, span where) {
  attribute a = words(ATTR_SPEC, spec);
  return build(g, OP_CONTRACT, (value[]){x, y}, 2, &a, 1, declared, where);
}

value graph_reduce(graph *g, op_id op, value x, const int64_t *axes, uint32_t n, span where) {
  attribute a = integers(ATTR_AXES, axes, n);
  return build(g, op, &x, 1, &a, 1, NULL, where);
}

value graph_argmax(graph *g, value x, int64_t axis, span where) {
  attribute a = integers(ATTR_AXIS, &axis, 1);
  return build(g, OP_ARGMAX, &x, 1, &a, 1, NULL, where);
}

value graph_grad(graph *g, value y, const value *x, uint32_t n, span where) {
  value *operands = ARENA_ARRAY(g->arena, value, n + 1);
  operands[0] = y;
  for (uint32_t i = 0; i < n; i++) operands[i + 1] = x[i];
  return build(g, OP_GRAD, operands, n + 1, NULL, 0, NULL, where);
}
