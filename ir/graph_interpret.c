/* The meaning of graphs, written to be read: one loop over the elements of each result. */
#include <math.h>

#include "ir/region.h"

typedef struct {
  const graph *graph;
  const node *node;
  arena *arena;
  void **data; /* of all values */
  const tensor_type *type; /* of the first result */
  void *out;
  const char **error;
} interpretation;

static const tensor_type *operand_type(const interpretation *i, uint32_t k) { return graph_type(i->graph, i->node->operands[k]); }
static const void *operand(const interpretation *i, uint32_t k) { return i->data[i->node->operands[k]]; }

/* Row-major walk: false after the last index. */
static bool step(const tensor_type *t, int64_t *index) {
  for (uint32_t d = t->rank; d-- > 0;) {
    if (++index[d] < t->dim[d]) return true;
    index[d] = 0;
  }
  return false;
}

static int64_t offset(const tensor_type *t, const int64_t *index) {
  int64_t at = 0;
  for (uint32_t d = 0; d < t->rank; d++) at = at * t->dim[d] + index[d];
  return at;
}

static void copy_element(const interpretation *i, int64_t to, uint32_t k, int64_t from) {
  size_t size = dtype_bytes(i->type->dtype);
  memcpy((char *)i->out + (size_t)to * size, (const char *)operand(i, k) + (size_t)from * size, size);
}

static void interpret_elementwise(const interpretation *i) {
  int64_t n = type_elements(i->type);
  uint32_t arity = i->node->n_operands;
  /* The type that arithmetic happens in: of select it is that of the choices. */
  dtype inner = operand_type(i, i->node->op == OP_SELECT ? 1 : 0)->dtype;
  for (int64_t e = 0; e < n; e++) {
    scalar args[6];
    for (uint32_t k = 0; k < arity; k++) args[k] = element_load(operand_type(i, k)->dtype, operand(i, k), e);
    element_store(i->type->dtype, i->out, e, op_evaluate(i->node->op, inner, i->type->dtype, args));
  }
}

static void interpret_PARAMETER(const interpretation *i) { (void)i; /* bound before */ }

static void interpret_CONSTANT(const interpretation *i) {
  const attribute *number = node_attribute(i->node, ATTR_VALUE);
  int64_t n = type_elements(i->type);
  if (!number) memcpy(i->out, node_attribute(i->node, ATTR_LITERAL)->as.elements, (size_t)type_bytes(i->type));
  for (int64_t e = 0; number && e < n; e++) element_store(i->type->dtype, i->out, e, number->as.scalar);
}

static void interpret_IOTA(const interpretation *i) {
  int64_t index[MAX_RANK] = {0}, axis = node_axis(i->node), n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++, step(i->type, index)) element_store(i->type->dtype, i->out, e, (scalar){.integer = index[axis]});
}

static void interpret_RESHAPE(const interpretation *i) { memcpy(i->out, operand(i, 0), (size_t)type_bytes(i->type)); }

static void interpret_TRANSPOSE(const interpretation *i) {
  const int64_t *axes = node_integers(i->node, ATTR_AXES);
  int64_t index[MAX_RANK] = {0}, from[MAX_RANK], n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++, step(i->type, index)) {
    for (uint32_t d = 0; d < i->type->rank; d++) from[axes[d]] = index[d];
    copy_element(i, e, 0, offset(operand_type(i, 0), from));
  }
}

static void interpret_BROADCAST(const interpretation *i) {
  const int64_t *axes = node_integers(i->node, ATTR_AXES);
  const tensor_type *t = operand_type(i, 0);
  int64_t index[MAX_RANK] = {0}, from[MAX_RANK], n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++, step(i->type, index)) {
    for (uint32_t d = 0; d < t->rank; d++) from[d] = t->dim[d] == 1 ? 0 : index[axes[d]];
    copy_element(i, e, 0, offset(t, from));
  }
}

static void interpret_SLICE(const interpretation *i) {
  const int64_t *start = node_integers(i->node, ATTR_START), *stride = node_integers(i->node, ATTR_STRIDE);
  int64_t index[MAX_RANK] = {0}, from[MAX_RANK], n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++, step(i->type, index)) {
    for (uint32_t d = 0; d < i->type->rank; d++) from[d] = start[d] + index[d] * stride[d];
    copy_element(i, e, 0, offset(operand_type(i, 0), from));
  }
}

static void interpret_PAD(const interpretation *i) {
  const int64_t *low = node_integers(i->node, ATTR_LOW), *interior = node_integers(i->node, ATTR_INTERIOR);
  scalar fill = node_attribute(i->node, ATTR_VALUE)->as.scalar;
  const tensor_type *t = operand_type(i, 0);
  int64_t index[MAX_RANK] = {0}, from[MAX_RANK], n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++, step(i->type, index)) {
    bool inside = true;
    for (uint32_t d = 0; d < t->rank; d++) {
      int64_t at = index[d] - low[d];
      from[d] = at / (interior[d] + 1);
      inside &= at >= 0 && at % (interior[d] + 1) == 0 && from[d] < t->dim[d];
    }
    if (inside) copy_element(i, e, 0, offset(t, from));
    else element_store(i->type->dtype, i->out, e, fill);
  }
}

static void interpret_REVERSE(const interpretation *i) {
  const attribute *axes = node_attribute(i->node, ATTR_AXES);
  int64_t index[MAX_RANK] = {0}, from[MAX_RANK], n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++, step(i->type, index)) {
    memcpy(from, index, sizeof from);
    for (uint32_t k = 0; k < axes->n; k++) from[axes->as.integers[k]] = i->type->dim[axes->as.integers[k]] - 1 - from[axes->as.integers[k]];
    copy_element(i, e, 0, offset(i->type, from));
  }
}

static void interpret_CONCAT(const interpretation *i) {
  int64_t axis = node_axis(i->node), index[MAX_RANK] = {0}, from[MAX_RANK], n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++, step(i->type, index)) {
    uint32_t k = 0;
    memcpy(from, index, sizeof from);
    while (from[axis] >= operand_type(i, k)->dim[axis]) from[axis] -= operand_type(i, k++)->dim[axis];
    copy_element(i, e, k, offset(operand_type(i, k), from));
  }
}

/* The place in an array of type `t` that the index operands name at element e. */
static int64_t indexed(const interpretation *i, const tensor_type *t, int64_t e) {
  int64_t index[MAX_RANK];
  for (uint32_t d = 0; d < t->rank; d++) {
    int64_t at = ((const int32_t *)operand(i, d + 1))[e];
    index[d] = at < 0 ? 0 : at >= t->dim[d] ? t->dim[d] - 1 : at;
  }
  return offset(t, index);
}

static void interpret_GATHER(const interpretation *i) {
  int64_t n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++) copy_element(i, e, 0, indexed(i, operand_type(i, 0), e));
}

/* Sums in double (or int64) and one rounding at the end: order cannot matter much then. */
typedef struct {
  bool real;
  scalar *sum;
} accumulator;

static accumulator start(const interpretation *i, double identity) {
  int64_t n = type_elements(i->type);
  accumulator a = {dtype_is_real(i->type->dtype), ARENA_ARRAY(i->arena, scalar, n)};
  for (int64_t e = 0; a.real && e < n; e++) a.sum[e].real = identity;
  return a;
}

static void add(const accumulator *a, int64_t at, scalar v) {
  if (a->real) a->sum[at].real += v.real;
  else a->sum[at].integer = (int64_t)((uint64_t)a->sum[at].integer + (uint64_t)v.integer);
}

static void finish(const interpretation *i, const accumulator *a) {
  int64_t n = type_elements(i->type);
  for (int64_t e = 0; e < n; e++) element_store(i->type->dtype, i->out, e, a->sum[e]);
}

static void interpret_SCATTER_ADD(const interpretation *i) {
  accumulator a = start(i, 0);
  int64_t n = type_elements(operand_type(i, 0));
  for (int64_t e = 0; e < n; e++) add(&a, indexed(i, i->type, e), element_load(i->type->dtype, operand(i, 0), e));
  finish(i, &a);
}

/* The offset that an operand's indices name at a point of the axes; -1 when outside. */
static int64_t contraction_offset(const index_form *f, const tensor_type *t, const int64_t *point) {
  int64_t at = 0;
  for (uint32_t d = 0; d < t->rank; d++) {
    int64_t v = f[d].offset;
    for (uint32_t k = 0; k < f[d].n_terms; k++) v += f[d].term[k].coefficient * point[f[d].term[k].axis];
    if (f[d].divisor != 1) {
      if (v % f[d].divisor) return -1;
      v /= f[d].divisor;
    }
    if (v < 0 || v >= t->dim[d]) return -1;
    at = at * t->dim[d] + v;
  }
  return at;
}

static void interpret_CONTRACT(const interpretation *i) {
  const contraction *c = i->node->contraction;
  tensor_type types[2] = {*operand_type(i, 0), *operand_type(i, 1)};
  int64_t extent[MAX_CONTRACTION_AXES], point[MAX_CONTRACTION_AXES] = {0};
  const char *error;
  accumulator a = start(i, 0);
  if (!contraction_extents(c, types, i->type, extent, i->arena, &error)) return; /* verified before */
  bool empty = false;
  for (uint32_t k = 0; k < c->n_axes; k++) empty |= extent[k] == 0;
  for (bool more = !empty; more;) {
    int64_t left = contraction_offset(c->operand[0], &types[0], point), right = left < 0 ? -1 : contraction_offset(c->operand[1], &types[1], point);
    if (right >= 0) {
      scalar x = element_load(types[0].dtype, operand(i, 0), left), y = element_load(types[0].dtype, operand(i, 1), right), product;
      if (a.real) product.real = x.real * y.real;
      else product.integer = (int64_t)((uint64_t)x.integer * (uint64_t)y.integer);
      int64_t at = 0;
      for (uint32_t d = 0; d < c->result_rank; d++) at = at * i->type->dim[d] + point[c->result[d]];
      add(&a, at, product);
    }
    uint32_t k = c->n_axes;
    while (k > 0 && ++point[k - 1] == extent[k - 1]) point[--k] = 0;
    more = k > 0;
  }
  finish(i, &a);
}

/* The result's element that an operand element at `index` belongs to. */
static int64_t reduced_offset(const interpretation *i, uint32_t mask, const int64_t *index) {
  int64_t at = 0, d_out = 0;
  for (uint32_t d = 0; d < operand_type(i, 0)->rank; d++)
    if (!(mask >> d & 1)) at = at * i->type->dim[d_out++] + index[d];
  return at;
}

static uint32_t axes_mask(const node *n) {
  const attribute *axes = node_attribute(n, ATTR_AXES);
  uint32_t mask = 0;
  for (uint32_t k = 0; k < axes->n; k++) mask |= 1u << axes->as.integers[k];
  return mask;
}

static void interpret_REDUCE_SUM(const interpretation *i) {
  const tensor_type *t = operand_type(i, 0);
  accumulator a = start(i, 0);
  uint32_t mask = axes_mask(i->node);
  int64_t index[MAX_RANK] = {0}, n = type_elements(t);
  for (int64_t e = 0; e < n; e++, step(t, index)) add(&a, reduced_offset(i, mask, index), element_load(t->dtype, operand(i, 0), e));
  finish(i, &a);
}

static void interpret_REDUCE_MAX(const interpretation *i) {
  const tensor_type *t = operand_type(i, 0);
  accumulator a = start(i, -INFINITY);
  uint32_t mask = axes_mask(i->node);
  int64_t index[MAX_RANK] = {0}, n = type_elements(t), n_out = type_elements(i->type);
  for (int64_t e = 0; !a.real && e < n_out; e++) a.sum[e].integer = INT64_MIN;
  for (int64_t e = 0; e < n; e++, step(t, index)) {
    scalar *largest = &a.sum[reduced_offset(i, mask, index)];
    *largest = op_evaluate(OP_MAX, a.real ? DTYPE_F64 : DTYPE_I64, a.real ? DTYPE_F64 : DTYPE_I64,
                           (scalar[]){*largest, element_load(t->dtype, operand(i, 0), e)});
  }
  finish(i, &a);
}

static void interpret_ARGMAX(const interpretation *i) {
  const tensor_type *t = operand_type(i, 0);
  uint32_t mask = 1u << node_axis(i->node);
  int64_t index[MAX_RANK] = {0}, n = type_elements(t), n_out = type_elements(i->type);
  bool real = dtype_is_real(t->dtype);
  scalar *largest = ARENA_ARRAY(i->arena, scalar, n_out);
  bool *seen = ARENA_ARRAY(i->arena, bool, n_out);
  for (int64_t e = 0; e < n; e++, step(t, index)) {
    int64_t at = reduced_offset(i, mask, index);
    scalar v = element_load(t->dtype, operand(i, 0), e);
    bool larger = !seen[at] || (real ? v.real > largest[at].real || (isnan(v.real) && !isnan(largest[at].real)) : v.integer > largest[at].integer);
    if (!larger) continue;
    seen[at] = true;
    largest[at] = v;
    element_store(DTYPE_I32, i->out, at, (scalar){.integer = index[node_axis(i->node)]});
  }
}

/* -- loops --------------------------------------------------------------------------------------------------- */

static void *slice_of(const tensor_type *type, const void *whole, int64_t index) {
  return (char *)whole + (size_t)index * (size_t)type_bytes(type);
}

/* What the parameters of a region are in an iteration; `carry` has the data of the carries. */
static graph_binding *bind_region(const node *n, const region_view *r, void *const *data, void *const *carry, const int32_t *index, arena *a, uint32_t *n_bindings) {
  graph_binding *bindings = ARENA_ARRAY(a, graph_binding, n->n_operands + 1);
  *n_bindings = 0;
  for (uint32_t k = 0; k < n->n_operands; k++) {
    if (!r->parameters[k]) continue;
    const node *parameter = graph_node(n->region, r->parameters[k]);
    const void *given = data[n->operands[k]];
    if (k < r->n_carries) given = carry[k];
    else if (k < r->n_carries + r->n_slices) given = slice_of(graph_type(n->region, r->parameters[k]), given, *index);
    bindings[(*n_bindings)++] = (graph_binding){node_attribute(parameter, ATTR_ROLE)->as.text, node_attribute(parameter, ATTR_NAME)->as.text, given};
  }
  if (r->index) bindings[(*n_bindings)++] = (graph_binding){"index", node_attribute(graph_node(n->region, r->index), ATTR_NAME)->as.text, index};
  return bindings;
}

/* The carries live where their last values are wanted. */
static bool run_iterations(const node *n, const region_view *r, void **data, iteration_watch *watch, void *context, const char **error) {
  for (int64_t i = 0; i < r->times; i++) {
    int32_t index = (int32_t)(r->reverse ? r->times - 1 - i : i);
    uint32_t n_bindings;
    arena *a = arena_new();
    if (!a) return *error = "out of memory", false;
    const graph_binding *bindings = bind_region(n, r, data, &data[n->first_result], &index, a, &n_bindings);
    const char *wrong = NULL;
    const graph_run *run = graph_interpret(n->region, bindings, n_bindings, a, &wrong);
    for (uint32_t k = 0; run && k < n->n_results; k++) {
      const tensor_type *type = graph_type(n->region, r->results[k]);
      void *to = data[n->first_result + k];
      memcpy(k < r->n_carries ? to : slice_of(type, to, index), run->data[r->results[k]], (size_t)type_bytes(type));
    }
    bool more = run && (!watch || watch(context, n->region, run, index));
    if (!run) *error = "a region has a grad node, or a parameter without an operand";
    arena_free(a);
    if (!more) return run != NULL;
  }
  return true;
}

bool graph_interpret_repeat(const graph *g, const node *n, void **data, iteration_watch *watch, void *context, const char **error) {
  arena *a = arena_new();
  if (!a) return *error = "out of memory", false;
  region_view r = node_region(n, a);
  for (uint32_t k = 0; k < r.n_carries; k++)
    memcpy(data[n->first_result + k], data[n->operands[k]], (size_t)type_bytes(graph_type(g, n->operands[k])));
  bool good = run_iterations(n, &r, data, watch, context, error);
  arena_free(a);
  return good;
}

static void interpret_REPEAT(const interpretation *i) { graph_interpret_repeat(i->graph, i->node, i->data, NULL, NULL, i->error); }

static void interpret_GRAD(const interpretation *i) { (void)i; /* refused before */ }

typedef void interpret_function(const interpretation *i);
static interpret_function *const table[OP_COUNT] = {
#define ELEMENTWISE(id, ...) [OP_##id] = interpret_elementwise,
#define STRUCTURAL(id, ...) [OP_##id] = interpret_##id,
#include "ir/ops.def"
};

graph_run *graph_interpret(const graph *g, const graph_binding *bindings, uint32_t n, arena *into, const char **error) {
  graph_run *run = ARENA_NEW(into, graph_run);
  run->data = ARENA_ARRAY(into, void *, g->n_values);
  for (uint32_t k = 0; k < g->n_nodes; k++) {
    const node *at = &g->nodes[k];
    const tensor_type *type = graph_type(g, at->first_result);
    for (uint32_t r = 0; r < at->n_results; r++)
      run->data[at->first_result + r] = arena_alloc(into, (size_t)type_bytes(graph_type(g, at->first_result + r)));
    void *out = run->data[at->first_result];
    if (at->op == OP_GRAD) {
      *error = "the graph still has a grad node: differentiate it first";
      return NULL;
    }
    if (at->op == OP_PARAMETER) {
      const char *role = node_attribute(at, ATTR_ROLE)->as.text, *name = node_attribute(at, ATTR_NAME)->as.text;
      uint32_t b = 0;
      while (b < n && (strcmp(bindings[b].role, role) || strcmp(bindings[b].name, name))) b++;
      if (b == n) {
        *error = arena_printf(into, "parameter %s \"%s\" has no binding", role, name);
        return NULL;
      }
      memcpy(out, bindings[b].data, (size_t)type_bytes(type));
    }
    const char *wrong = NULL;
    table[at->op](&(interpretation){g, at, into, run->data, type, out, &wrong});
    if (wrong) {
      *error = wrong;
      return NULL;
    }
  }
  return run;
}
