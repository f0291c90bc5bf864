#include "passes/canonicalise.h"

/* -- contraction ---------------------------------------------------------------------------------------- */

/* A transposed operand permutes its list of indices: dimension j of the transpose is dimension axes[j] of
 * what lies below. */
value canonical_contract(canonical *c, value v) {
  const node n = *graph_node(c->graph, v);
  contraction spec = *n.contraction;
  value operands[2] = {n.operands[0], n.operands[1]};
  bool changed = false;
  for (uint32_t k = 0; k < 2; k++) {
    const node *view = node_if(c, operands[k], OP_TRANSPOSE);
    if (!view) continue;
    const int64_t *axes = node_integers(view, ATTR_AXES);
    for (uint32_t j = 0; j < spec.rank[k]; j++) spec.operand[k][axes[j]] = n.contraction->operand[k][j];
    operands[k] = view->operands[0];
    changed = true;
  }
  if (!changed) return 0;
  const tensor_type type = *graph_type(c->graph, v);
  return graph_contract(c->graph, operands[0], operands[1], contraction_text(&spec, false, c->graph->arena), &type,
                        n.where);
}

/* -- reductions ------------------------------------------------------------------------------------------ */

typedef struct {
  canonical *c;
  graph *g;
  value v, x;
  op_id op;
  span where;
  tensor_type from, to;
  bool reduced[MAX_RANK];
} reduction;

static value reshaped(const reduction *r, value x, const tensor_type *to) {
  if (shape_equal(graph_type(r->g, x), to)) return x;
  return settle(r->c, graph_reshape(r->g, x, to->rank, to->dim, r->where));
}

static value reduced_by(const reduction *r, value x, const bool marked[MAX_RANK]) {
  int64_t axes[MAX_RANK];
  uint32_t n = 0;
  for (uint32_t i = 0; i < graph_type(r->g, x)->rank; i++)
    if (marked[i]) axes[n++] = i;
  return n ? settle(r->c, graph_reduce(r->g, r->op, x, axes, n, r->where)) : x;
}

/* `count` equal values reduced: times count for a sum, 0 where the type cannot hold the count. */
static value repeated(const reduction *r, value x, int64_t count) {
  if (r->op == OP_REDUCE_MAX || count == 1) return x;
  const dtype type = r->from.dtype;
  const scalar factor = scalar_convert(DTYPE_I64, type, (scalar){.integer = count});
  if (scalar_convert(type, DTYPE_I64, factor).integer != count) return 0;
  const tensor_type shape = *graph_type(r->g, x);
  return settle(r->c, graph_binary(r->g, OP_MUL, x, graph_splat(r->g, shape, factor, r->where), r->where));
}

static value reduce_splat(const reduction *r) {
  scalar s;
  const int64_t before = type_elements(&r->from), after = type_elements(&r->to);
  if (before == 0 || !graph_splat_value(r->g, r->x, &s)) return 0;
  return repeated(r, graph_splat(r->g, r->to, s, r->where), before / after);
}

/* Axes of size 1 are dropped by a reshape. */
static value reduce_ones(const reduction *r) {
  tensor_type dense = {.dtype = r->from.dtype};
  bool rest[MAX_RANK];
  for (uint32_t i = 0; i < r->from.rank; i++) {
    if (r->reduced[i] && r->from.dim[i] == 1) continue;
    rest[dense.rank] = r->reduced[i];
    dense.dim[dense.rank++] = r->from.dim[i];
  }
  return dense.rank == r->from.rank ? 0 : reduced_by(r, reshaped(r, r->x, &dense), rest);
}

/* Two reductions behind each other are one, unless the first is wanted for itself as well. */
static value reduce_twice(const reduction *r) {
  const node *inner = node_if(r->c, r->x, r->op);
  if (!inner || !used_once(r->c, r->x)) return 0;
  const value x = inner->operands[0];
  const attribute *axes = node_attribute(inner, ATTR_AXES);
  bool both[MAX_RANK] = {false};
  for (uint32_t i = 0; i < axes->n; i++) both[axes->as.integers[i]] = true;
  uint32_t outer = 0;
  for (uint32_t i = 0; i < graph_type(r->g, x)->rank; i++)
    if (!both[i]) both[i] = r->reduced[outer++];
  return reduced_by(r, x, both);
}

/* What a broadcast repeats is multiplied instead of added up. */
static value reduce_broadcast(const reduction *r) {
  const node *view = node_if(r->c, r->x, OP_BROADCAST);
  if (!view) return 0;
  const value x = view->operands[0];
  const int64_t *axes = node_integers(view, ATTR_AXES);
  const uint32_t rank = graph_type(r->g, x)->rank;
  bool carried[MAX_RANK] = {false}, below[MAX_RANK] = {false}, repeats = false;
  int64_t count = 1, kept_axes[MAX_RANK];
  uint32_t n_kept = 0, place = 0;
  for (uint32_t i = 0; i < rank; i++) {
    carried[axes[i]] = true;
    below[i] = r->reduced[axes[i]];
    if (graph_type(r->g, x)->dim[i] != r->from.dim[axes[i]]) return 0;
  }
  for (uint32_t i = 0; i < r->from.rank; i++) {
    if (r->reduced[i] && !carried[i]) {
      repeats = true;
      count *= r->from.dim[i];
    }
    if (r->reduced[i]) continue;
    if (carried[i]) kept_axes[n_kept++] = place;
    place++;
  }
  if (!repeats || count == 0) return 0;
  const value sum = repeated(r, reduced_by(r, x, below), count);
  return sum ? settle(r->c, graph_broadcast(r->g, sum, r->to, kept_axes, r->where)) : 0;
}

/* The sign moves out, where it meets fewer elements. */
static value reduce_negated(const reduction *r) {
  const node *negative = r->op == OP_REDUCE_SUM ? node_if(r->c, r->x, OP_NEG) : NULL;
  if (!negative) return 0;
  const value sum = reduced_by(r, negative->operands[0], r->reduced);
  return settle(r->c, graph_unary(r->g, OP_NEG, sum, r->where));
}

value canonical_reduce(canonical *c, value v) {
  const node *n = graph_node(c->graph, v);
  reduction r = {.c = c, .g = c->graph, .v = v, .x = n->operands[0], .op = n->op, .where = n->where};
  r.from = *graph_type(c->graph, r.x);
  r.to = *graph_type(c->graph, v);
  const attribute *axes = node_attribute(n, ATTR_AXES);
  if (axes->n == 0) return r.x;
  for (uint32_t i = 0; i < axes->n; i++) r.reduced[axes->as.integers[i]] = true;
  value simpler = reduce_splat(&r);
  if (!simpler) simpler = reduce_ones(&r);
  if (!simpler) simpler = reduce_twice(&r);
  if (!simpler) simpler = reduce_negated(&r);
  return simpler ? simpler : reduce_broadcast(&r);
}

value canonical_argmax(canonical *c, value v) {
  const node *n = graph_node(c->graph, v);
  const bool single = graph_type(c->graph, n->operands[0])->dim[node_axis(n)] == 1;
  return single ? splat_of(c, v, (scalar){.integer = 0}) : 0;
}
