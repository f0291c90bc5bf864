#include "passes/derivatives.h"

#include "ir/rule.h"

/* What a rule sees. The node is a copy: building moves the graph's. */
typedef struct {
  graph *graph;
  node node;
  uint32_t operand;          /* number of the operand asked for */
  const tensor_type *wanted; /* its type, and that of the contribution */
  value result, cotangent;
} derivation;

typedef value derive_rule(const derivation *d);

static tensor_type type_of(const derivation *d, value v) { return *graph_type(d->graph, v); }

static value zeros(const derivation *d, tensor_type type) { return graph_number(d->graph, type, 0.0, d->node.where); }

static value reshape_to(const derivation *d, value v, const tensor_type *type) {
  if (shape_equal(graph_type(d->graph, v), type)) return v;
  return graph_reshape(d->graph, v, type->rank, type->dim, d->node.where);
}

/* Marks the members of a list of axes. */
static void mark_axes(const int64_t *axes, uint32_t n, bool marked[MAX_RANK]) {
  memset(marked, 0, MAX_RANK * sizeof *marked);
  for (uint32_t i = 0; i < n; i++) marked[axes[i]] = true;
}

static uint32_t list_axes(const bool marked[MAX_RANK], bool which, uint32_t rank, int64_t axes[MAX_RANK]) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < rank; i++)
    if (marked[i] == which) axes[n++] = i;
  return n;
}

/* -- views: the adjoint of a view is a view, or a sum over what it repeated ------------------------- */

static value derive_RESHAPE(const derivation *d) { return reshape_to(d, d->cotangent, d->wanted); }

static value derive_TRANSPOSE(const derivation *d) {
  const int64_t *axes = node_integers(&d->node, ATTR_AXES);
  int64_t inverse[MAX_RANK];
  for (uint32_t i = 0; i < d->wanted->rank; i++) inverse[axes[i]] = i;
  return graph_transpose(d->graph, d->cotangent, inverse, d->node.where);
}

static value derive_BROADCAST(const derivation *d) {
  const tensor_type to = type_of(d, d->cotangent);
  const int64_t *axes = node_integers(&d->node, ATTR_AXES);
  bool carried[MAX_RANK];
  mark_axes(axes, d->wanted->rank, carried);
  for (uint32_t i = 0; i < d->wanted->rank; i++)
    if (d->wanted->dim[i] == 1 && to.dim[axes[i]] != 1) carried[axes[i]] = false;
  int64_t repeated[MAX_RANK];
  const uint32_t n = list_axes(carried, false, to.rank, repeated);
  value sum = d->cotangent;
  if (n) sum = graph_reduce(d->graph, OP_REDUCE_SUM, sum, repeated, n, d->node.where);
  return sum ? reshape_to(d, sum, d->wanted) : 0;
}

static value derive_SLICE(const derivation *d) {
  const tensor_type taken = type_of(d, d->cotangent);
  const int64_t *start = node_integers(&d->node, ATTR_START), *stride = node_integers(&d->node, ATTR_STRIDE);
  int64_t high[MAX_RANK], interior[MAX_RANK];
  for (uint32_t i = 0; i < taken.rank; i++) {
    const int64_t n = taken.dim[i];
    interior[i] = stride[i] - 1;
    high[i] = d->wanted->dim[i] - start[i] - (n > 0 ? (n - 1) * stride[i] + 1 : 0);
  }
  return graph_pad(d->graph, d->cotangent, start, high, interior, 0.0, d->node.where);
}

/* Operand element i stands at low + i * (interior + 1) of the result. Elements that fell outside
 * (negative low or high) get zeros. */
static value derive_PAD(const derivation *d) {
  const tensor_type padded = type_of(d, d->cotangent);
  const int64_t *low = node_integers(&d->node, ATTR_LOW), *interior = node_integers(&d->node, ATTR_INTERIOR);
  int64_t start[MAX_RANK], stop[MAX_RANK], stride[MAX_RANK], before[MAX_RANK], behind[MAX_RANK];
  int64_t none[MAX_RANK] = {0};
  bool cut = false;
  for (uint32_t i = 0; i < padded.rank; i++) {
    stride[i] = interior[i] + 1;
    const int64_t last_place = padded.dim[i] - 1 - low[i];
    const int64_t first = low[i] >= 0 ? 0 : (-low[i] + stride[i] - 1) / stride[i];
    int64_t last = last_place < 0 ? -1 : last_place / stride[i];
    if (last > d->wanted->dim[i] - 1) last = d->wanted->dim[i] - 1;
    if (last < first) return zeros(d, *d->wanted);
    start[i] = low[i] + first * stride[i];
    stop[i] = low[i] + last * stride[i] + 1;
    before[i] = first;
    behind[i] = d->wanted->dim[i] - 1 - last;
    cut = cut || before[i] || behind[i];
  }
  const value seen = graph_slice(d->graph, d->cotangent, start, stop, stride, d->node.where);
  return cut && seen ? graph_pad(d->graph, seen, before, behind, none, 0.0, d->node.where) : seen;
}

static value derive_REVERSE(const derivation *d) {
  const attribute *axes = node_attribute(&d->node, ATTR_AXES);
  return graph_reverse(d->graph, d->cotangent, axes->as.integers, axes->n, d->node.where);
}

static value derive_CONCAT(const derivation *d) {
  const int64_t axis = node_axis(&d->node);
  int64_t start[MAX_RANK] = {0}, stop[MAX_RANK], stride[MAX_RANK];
  for (uint32_t i = 0; i < d->wanted->rank; i++) {
    stop[i] = d->wanted->dim[i];
    stride[i] = 1;
  }
  for (uint32_t k = 0; k < d->operand; k++) start[axis] += graph_type(d->graph, d->node.operands[k])->dim[axis];
  stop[axis] += start[axis];
  return graph_slice(d->graph, d->cotangent, start, stop, stride, d->node.where);
}

/* -- indexed access: each is the adjoint of the other ------------------------------------------------ */

static value derive_GATHER(const derivation *d) {
  return graph_scatter_add(d->graph, d->cotangent, d->node.operands + 1, *d->wanted, d->node.where);
}

static value derive_SCATTER_ADD(const derivation *d) {
  return graph_gather(d->graph, d->cotangent, d->node.operands + 1, d->node.where);
}

/* -- contraction and reduction ------------------------------------------------------------------------ */

static value derive_CONTRACT(const derivation *d) {
  arena *a = d->graph->arena;
  const contraction *c = contraction_derivative(d->node.contraction, d->operand, a);
  if (!c) return 0;
  return graph_contract(d->graph, d->cotangent, d->node.operands[1 - d->operand], contraction_text(c, false, a),
                        d->wanted, d->node.where);
}

/* A value without the marked axes, repeated along them. */
static value spread(const derivation *d, value v, const bool marked[MAX_RANK], tensor_type to) {
  int64_t kept[MAX_RANK];
  list_axes(marked, false, to.rank, kept);
  return graph_broadcast(d->graph, v, to, kept, d->node.where);
}

static value derive_REDUCE_SUM(const derivation *d) {
  const attribute *axes = node_attribute(&d->node, ATTR_AXES);
  bool reduced[MAX_RANK];
  mark_axes(axes->as.integers, axes->n, reduced);
  return spread(d, d->cotangent, reduced, *d->wanted);
}

/* The cotangent goes to the element that argmax names: the lowest index among ties. Several axes are
 * first brought together as one, in their order, behind the others. */
static value derive_REDUCE_MAX(const derivation *d) {
  graph *g = d->graph;
  const span where = d->node.where;
  const attribute *axes = node_attribute(&d->node, ATTR_AXES);
  const tensor_type x = *d->wanted;
  bool reduced[MAX_RANK];
  int64_t order[MAX_RANK], inverse[MAX_RANK];
  mark_axes(axes->as.integers, axes->n, reduced);
  const uint32_t n_kept = list_axes(reduced, false, x.rank, order);
  list_axes(reduced, true, x.rank, order + n_kept);
  tensor_type moved = x, joined = x;
  joined.rank = n_kept + 1;
  joined.dim[n_kept] = 1;
  for (uint32_t i = 0; i < x.rank; i++) {
    inverse[order[i]] = i;
    moved.dim[i] = x.dim[order[i]];
    if (i < n_kept) joined.dim[i] = moved.dim[i];
    else joined.dim[n_kept] *= moved.dim[i];
  }
  const value rows = reshape_to(d, graph_transpose(g, d->node.operands[0], order, where), &joined);
  bool last[MAX_RANK] = {false};
  last[n_kept] = true;
  tensor_type index = joined;
  index.dtype = DTYPE_I32;
  const value winner = spread(d, graph_argmax(g, rows, n_kept, where), last, index);
  const value chosen = graph_binary(g, OP_EQ, graph_iota(g, index, n_kept, where), winner, where);
  const value everywhere = spread(d, d->cotangent, last, joined);
  const value routed = graph_select(g, chosen, everywhere, zeros(d, joined), where);
  return graph_transpose(g, reshape_to(d, routed, &moved), inverse, where);
}

/* -- the table ---------------------------------------------------------------------------------------- */

/* Leaves have no operands; an index has no derivative; loops have a file of their own; grad is expanded before
 * anything is derived. */
#define derive_PARAMETER NULL
#define derive_CONSTANT NULL
#define derive_IOTA NULL
#define derive_ARGMAX NULL
#define derive_REPEAT NULL
#define derive_GRAD NULL

static derive_rule *const structural_rules[OP_COUNT] = {
#define STRUCTURAL(id, ...) [OP_##id] = derive_##id,
#include "ir/ops.def"
};

/* -- elementwise: the derivatives column, built as graph nodes ---------------------------------------- */

static uint64_t rule_name(void *context, char name) {
  const derivation *d = context;
  if (name == 'r') return d->result;
  if (name == 'g') return d->cotangent;
  return d->node.operands[name - 'x'];
}

static uint64_t rule_number(void *context, double v) {
  const derivation *d = context;
  return graph_number(d->graph, type_of(d, d->cotangent), v, d->node.where);
}

static uint64_t rule_apply(void *context, op_id op, uint32_t n, const uint64_t *args) {
  const derivation *d = context;
  const span where = d->node.where;
  for (uint32_t i = 0; i < n; i++)
    if (!args[i]) return 0;
  if (op == OP_CAST) return graph_cast(d->graph, (value)args[0], d->wanted->dtype, where);
  if (n == 1) return graph_unary(d->graph, op, (value)args[0], where);
  if (n == 2) return graph_binary(d->graph, op, (value)args[0], (value)args[1], where);
  return graph_select(d->graph, (value)args[0], (value)args[1], (value)args[2], where);
}

bool derive_operand(graph *g, value result, value cotangent, uint32_t operand, value *out) {
  const node n = *graph_node(g, result);
  const tensor_type wanted = *graph_type(g, n.operands[operand]);
  derivation d = {g, n, operand, &wanted, result, cotangent};
  *out = 0;
  if (!dtype_is_real(wanted.dtype) || !dtype_is_real(graph_type(g, result)->dtype)) return false;
  if (op_table[n.op].elementwise) {
    const rule_builder builder = {&d, rule_name, rule_number, rule_apply};
    uint64_t built = 0;
    if (!rule_build(op_table[n.op].derivatives, operand, &builder, &built)) return false;
    *out = (value)built;
    return true;
  }
  if (!structural_rules[n.op]) return false;
  *out = structural_rules[n.op](&d);
  return true;
}
