/* Type rules. Elementwise ops have theirs in op.c; each structural one has a function here. */
#include "ir/graph_internal.h"
#include "ir/region.h"

typedef struct {
  arena *arena;
  const graph *graph;
  const node *node;
  const tensor_type *operand; /* types of all operands */
  const tensor_type *declared;
} inference;

#define WRONG(in, ...) return arena_printf((in)->arena, __VA_ARGS__)

static const char *text(const inference *in, const tensor_type *t) { return type_text(t, in->arena); }

/* Integers of a key, of which there must be `n`. */
static const char *integers(const inference *in, attribute_key key, uint32_t n, const int64_t **out) {
  const attribute *a = node_attribute(in->node, key);
  *out = a->as.integers;
  if (a->n == n) return NULL;
  WRONG(in, "%s of %s wants %u numbers, got %u", attribute_names[key], op_table[in->node->op].name, n, a->n);
}

static const char *one_axis(const inference *in, uint32_t rank, int64_t *out) {
  const int64_t *axis;
  const char *error = integers(in, ATTR_AXIS, 1, &axis);
  if (error) return error;
  *out = axis[0];
  if (*out >= 0 && *out < rank) return NULL;
  WRONG(in, "axis %lld is outside 0..%d", (long long)*out, (int)rank - 1);
}

/* A set of different axes, as a mask. */
static const char *axis_mask(const inference *in, uint32_t rank, uint32_t *mask) {
  const attribute *a = node_attribute(in->node, ATTR_AXES);
  *mask = 0;
  for (uint32_t i = 0; i < a->n; i++) {
    int64_t axis = a->as.integers[i];
    if (axis < 0 || axis >= rank) WRONG(in, "axis %lld is outside 0..%d", (long long)axis, (int)rank - 1);
    if (*mask >> axis & 1) WRONG(in, "axis %lld stands twice", (long long)axis);
    *mask |= 1u << axis;
  }
  return NULL;
}

static const char *infer_declared(const inference *in, tensor_type *out) {
  if (!in->declared) WRONG(in, "%s needs a declared type", op_table[in->node->op].name);
  *out = *in->declared;
  return NULL;
}

static const char *infer_PARAMETER(const inference *in, tensor_type *out) {
  const char *role = node_attribute(in->node, ATTR_ROLE)->as.text;
  static const char *const roles[] = {"state", "data", "clock", "seed", "slice", "invariant", "index"};
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
    if (!strcmp(roles[i], role)) return infer_declared(in, out);
  WRONG(in, "role is state, data, clock or seed, not %s (in a region state, slice, invariant or index)", role);
}

static const char *infer_CONSTANT(const inference *in, tensor_type *out) {
  const attribute *literal = node_attribute(in->node, ATTR_LITERAL), *number = node_attribute(in->node, ATTR_VALUE);
  const char *error = infer_declared(in, out);
  if (error) return error;
  if (!literal == !number) WRONG(in, "a constant has a value or a literal");
  if (literal && literal->n != type_elements(out))
    WRONG(in, "%s has %lld elements, the literal %u", text(in, out), (long long)type_elements(out), literal->n);
  return NULL;
}

static const char *infer_IOTA(const inference *in, tensor_type *out) {
  int64_t axis;
  const char *error = infer_declared(in, out);
  if (error || (error = one_axis(in, out->rank, &axis))) return error;
  if (out->dtype != DTYPE_I32 && out->dtype != DTYPE_I64) WRONG(in, "iota is i32 or i64, not %s", dtype_name(out->dtype));
  return NULL;
}

static const char *infer_RESHAPE(const inference *in, tensor_type *out) {
  const char *error = infer_declared(in, out);
  if (error) return error;
  if (out->dtype == in->operand->dtype && type_elements(out) == type_elements(in->operand)) return NULL;
  WRONG(in, "%s does not reshape to %s", text(in, in->operand), text(in, out));
}

static const char *infer_TRANSPOSE(const inference *in, tensor_type *out) {
  const int64_t *axes;
  uint32_t mask;
  *out = *in->operand;
  const char *error = integers(in, ATTR_AXES, out->rank, &axes);
  if (error || (error = axis_mask(in, out->rank, &mask))) return error;
  for (uint32_t i = 0; i < out->rank; i++) out->dim[i] = in->operand->dim[axes[i]];
  return NULL;
}

static const char *infer_BROADCAST(const inference *in, tensor_type *out) {
  const int64_t *axes;
  const char *error = infer_declared(in, out);
  if (error || (error = integers(in, ATTR_AXES, in->operand->rank, &axes))) return error;
  if (out->dtype != in->operand->dtype) WRONG(in, "broadcast keeps the element type: %s to %s", text(in, in->operand), text(in, out));
  for (uint32_t i = 0; i < in->operand->rank; i++) {
    if (axes[i] < 0 || axes[i] >= out->rank || (i && axes[i] <= axes[i - 1])) WRONG(in, "broadcast wants increasing axes of %s", text(in, out));
    if (in->operand->dim[i] != 1 && in->operand->dim[i] != out->dim[axes[i]])
      WRONG(in, "%s does not broadcast to %s: its axis %u has neither 1 nor %lld elements", text(in, in->operand), text(in, out), i,
            (long long)out->dim[axes[i]]);
  }
  return NULL;
}

static const char *infer_SLICE(const inference *in, tensor_type *out) {
  const int64_t *start, *stop, *stride;
  const char *error;
  *out = *in->operand;
  if ((error = integers(in, ATTR_START, out->rank, &start)) || (error = integers(in, ATTR_STOP, out->rank, &stop)) ||
      (error = integers(in, ATTR_STRIDE, out->rank, &stride)))
    return error;
  for (uint32_t i = 0; i < out->rank; i++) {
    if (stride[i] < 1 || start[i] < 0 || stop[i] < start[i] || stop[i] > out->dim[i])
      WRONG(in, "slice %lld:%lld:%lld does not fit axis %u of %s", (long long)start[i], (long long)stop[i], (long long)stride[i], i,
            text(in, in->operand));
    out->dim[i] = stop[i] == start[i] ? 0 : (stop[i] - start[i] - 1) / stride[i] + 1;
  }
  return NULL;
}

static const char *infer_PAD(const inference *in, tensor_type *out) {
  const int64_t *low, *high, *interior;
  const char *error;
  *out = *in->operand;
  if ((error = integers(in, ATTR_LOW, out->rank, &low)) || (error = integers(in, ATTR_HIGH, out->rank, &high)) ||
      (error = integers(in, ATTR_INTERIOR, out->rank, &interior)))
    return error;
  const int64_t limit = (int64_t)1 << 40;
  for (uint32_t i = 0; i < out->rank; i++) {
    int64_t n = out->dim[i];
    if (interior[i] < 0 || interior[i] > limit || low[i] > limit || high[i] > limit || low[i] < -limit || high[i] < -limit || n > limit ||
        (n > 1 && interior[i] > limit / n))
      WRONG(in, "padding of axis %u is out of range", i);
    out->dim[i] = n + (n > 1 ? (n - 1) * interior[i] : 0) + low[i] + high[i];
    if (out->dim[i] < 0) WRONG(in, "padding removes more of axis %u than %s has", i, text(in, in->operand));
  }
  return NULL;
}

static const char *infer_REVERSE(const inference *in, tensor_type *out) {
  uint32_t mask;
  *out = *in->operand;
  return axis_mask(in, out->rank, &mask);
}

static const char *infer_CONCAT(const inference *in, tensor_type *out) {
  int64_t axis;
  if (in->node->n_operands == 0) WRONG(in, "concat of nothing");
  *out = in->operand[0];
  const char *error = one_axis(in, out->rank, &axis);
  for (uint32_t i = 1; !error && i < in->node->n_operands; i++) {
    tensor_type same = in->operand[i];
    if (same.rank == out->rank) same.dim[axis] = in->operand[0].dim[axis];
    if (!type_equal(&same, &in->operand[0]))
      WRONG(in, "concat along axis %lld wants equal other axes: %s and %s", (long long)axis, text(in, &in->operand[0]), text(in, &in->operand[i]));
    if (__builtin_add_overflow(out->dim[axis], in->operand[i].dim[axis], &out->dim[axis]))
      WRONG(in, "axis %lld of the whole is too long to be counted", (long long)axis);
  }
  return error;
}

/* Index operands behind the array: one per axis, i32, of one shape. */
static const char *check_indices(const inference *in, uint32_t rank, const tensor_type *shape) {
  if (in->node->n_operands != rank + 1) WRONG(in, "%s wants an index for each of %u axes, got %d", op_table[in->node->op].name, rank, (int)in->node->n_operands - 1);
  for (uint32_t i = 1; i <= rank; i++) {
    if (in->operand[i].dtype != DTYPE_I32) WRONG(in, "an index is i32, not %s", text(in, &in->operand[i]));
    if (!shape_equal(&in->operand[i], shape)) WRONG(in, "indices of one shape: %s and %s", text(in, shape), text(in, &in->operand[i]));
  }
  return NULL;
}

static const char *infer_GATHER(const inference *in, tensor_type *out) {
  if (in->node->n_operands < 2) WRONG(in, "gather wants an array with axes, and an index for each");
  *out = in->operand[1];
  out->dtype = in->operand[0].dtype;
  for (uint32_t i = 0; i < in->operand[0].rank; i++)
    if (in->operand[0].dim[i] == 0 && type_elements(out) > 0) WRONG(in, "%s has nothing to gather", text(in, in->operand));
  return check_indices(in, in->operand[0].rank, &in->operand[1]);
}

static const char *infer_SCATTER_ADD(const inference *in, tensor_type *out) {
  if (in->node->n_operands < 2) WRONG(in, "scatter_add wants updates, and an index for each axis of the result");
  const char *error = infer_declared(in, out);
  if (error) return error;
  if (out->dtype != in->operand[0].dtype || out->dtype == DTYPE_BOOL) WRONG(in, "updates %s do not add up to %s", text(in, in->operand), text(in, out));
  if (type_elements(out) == 0) WRONG(in, "%s has no elements to add to", text(in, out));
  return check_indices(in, out->rank, &in->operand[0]);
}

static const char *infer_CONTRACT(const inference *in, tensor_type *out) {
  const contraction *c = in->node->contraction;
  int64_t extent[MAX_CONTRACTION_AXES];
  const char *error = NULL;
  if (in->operand[0].dtype != in->operand[1].dtype || in->operand[0].dtype == DTYPE_BOOL)
    WRONG(in, "contract wants numbers of one type: %s and %s", text(in, &in->operand[0]), text(in, &in->operand[1]));
  if (!contraction_extents(c, in->operand, in->declared, extent, in->arena, &error)) return error;
  *out = scalar_type(in->operand[0].dtype);
  out->rank = c->result_rank;
  for (uint32_t i = 0; i < out->rank; i++) out->dim[i] = extent[c->result[i]];
  return NULL;
}

static const char *infer_reduction(const inference *in, tensor_type *out) {
  uint32_t mask, rank = 0;
  if (in->operand->dtype == DTYPE_BOOL) WRONG(in, "%s wants numbers, got %s", op_table[in->node->op].name, text(in, in->operand));
  const char *error = axis_mask(in, in->operand->rank, &mask);
  if (error) return error;
  *out = *in->operand;
  for (uint32_t i = 0; i < in->operand->rank; i++)
    if (!(mask >> i & 1)) out->dim[rank++] = in->operand->dim[i];
    else if (in->node->op == OP_REDUCE_MAX && in->operand->dim[i] == 0) WRONG(in, "nothing is largest in %s", text(in, in->operand));
  out->rank = rank;
  return NULL;
}

static const char *infer_REDUCE_SUM(const inference *in, tensor_type *out) { return infer_reduction(in, out); }
static const char *infer_REDUCE_MAX(const inference *in, tensor_type *out) { return infer_reduction(in, out); }

static const char *infer_ARGMAX(const inference *in, tensor_type *out) {
  int64_t axis;
  uint32_t rank = 0;
  const char *error = one_axis(in, in->operand->rank, &axis);
  if (error) return error;
  if (in->operand->dim[axis] == 0 || in->operand->dim[axis] > INT32_MAX) WRONG(in, "nothing is largest in %s", text(in, in->operand));
  *out = scalar_type(DTYPE_I32);
  for (uint32_t i = 0; i < in->operand->rank; i++)
    if (i != axis) out->dim[rank++] = in->operand->dim[i];
  out->rank = rank;
  return NULL;
}

static const char *infer_REPEAT(const inference *in, tensor_type *out) { return check_region(in->graph, in->node, out, in->arena); }

static const char *infer_GRAD(const inference *in, tensor_type *out) {
  if (in->node->n_operands < 2) WRONG(in, "grad wants a scalar and what to differentiate by");
  if (in->operand[0].rank || !dtype_is_real(in->operand[0].dtype)) WRONG(in, "grad differentiates a real scalar, not %s", text(in, in->operand));
  for (uint32_t i = 1; i < in->node->n_operands; i++) {
    if (in->operand[i].dtype != in->operand[0].dtype)
      WRONG(in, "grad of %s by %s: element types differ", text(in, in->operand), text(in, &in->operand[i]));
    out[i - 1] = in->operand[i];
  }
  return NULL;
}

static const char *infer_elementwise(const inference *in, tensor_type *out) {
  const node *n = in->node;
  const op_info *info = &op_table[n->op];
  dtype operands[8];
  for (uint32_t i = 0; i < n->n_operands; i++) {
    operands[i] = in->operand[i].dtype;
    if (!shape_equal(&in->operand[i], &in->operand[0])) WRONG(in, "%s wants equal shapes: %s and %s", info->name, text(in, &in->operand[0]), text(in, &in->operand[i]));
  }
  bool declared = info->rule == RULE_CAST || info->rule == RULE_BITCAST;
  if (declared && !in->declared) WRONG(in, "%s needs a declared type", info->name);
  *out = in->operand[0];
  if (declared && !shape_equal(in->declared, out)) WRONG(in, "%s keeps the shape: %s to %s", info->name, text(in, out), text(in, in->declared));
  if (op_result_dtype(n->op, operands, declared ? in->declared->dtype : DTYPE_F32, &out->dtype)) return NULL;
  char *list = arena_string(in->arena, "");
  for (uint32_t i = 0; i < n->n_operands; i++) list = arena_printf(in->arena, "%s%s%s", list, i ? ", " : "", text(in, &in->operand[i]));
  WRONG(in, "%s does not take %s", info->name, list);
}

typedef const char *infer_function(const inference *in, tensor_type *out);
static infer_function *const rules[OP_COUNT] = {
#define ELEMENTWISE(id, ...) [OP_##id] = infer_elementwise,
#define STRUCTURAL(id, ...) [OP_##id] = infer_##id,
#include "ir/ops.def"
};

const char *infer_types(const graph *g, const node *n, const tensor_type *declared, tensor_type *types, arena *a) {
  tensor_type few[8], *operand = n->n_operands <= 8 ? few : ARENA_ARRAY(a, tensor_type, n->n_operands);
  for (uint32_t i = 0; i < n->n_operands; i++) operand[i] = *graph_type(g, n->operands[i]);
  if (declared && declared->rank > MAX_RANK) return "too many dimensions";
  const char *error = rules[n->op](&(inference){a, g, n, operand, declared}, types);
  for (uint32_t i = 0; !error && i < n->n_results; i++)
    if (type_bytes(&types[i]) < 0) error = arena_printf(a, "%s has more elements than can be counted", type_text(&types[i], a));
  return error;
}

const char *check_schema(const node *n, arena *a) {
  const op_info *info = &op_table[n->op];
  if (info->arity >= 0 && n->n_operands != (uint32_t)info->arity)
    return arena_printf(a, "%s takes %d operands, got %u", info->name, info->arity, n->n_operands);
  uint32_t known = 0;
  for (const char *p = info->attributes ? info->attributes : ""; *p;) {
    size_t length = strcspn(p, " ?");
    int key = -1;
    for (int i = 0; i < ATTR_COUNT; i++)
      if (strlen(attribute_names[i]) == length && !strncmp(attribute_names[i], p, length)) key = i;
    bool present = node_attribute(n, (attribute_key)key) != NULL;
    known += present;
    if (!present && p[length] != '?') return arena_printf(a, "%s lacks its attribute %s", info->name, attribute_names[key]);
    p += length + strspn(p + length, " ?");
  }
  return known == n->n_attributes ? NULL : arena_printf(a, "%s has an attribute that it does not know, or one twice", info->name);
}
