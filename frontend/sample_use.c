/* How values between embeddings and loss depend on the samples of a batch: one rule for each operation that keeps samples
 * apart or adds them up. An operation without a rule mixes them, which is always safe to say. */
#include "frontend/dataflow.h"

enum { ANY_AXIS = (1u << MAX_RANK) - 1 };

static const sample_use mixed = {.kind = SAMPLES_MIXED}, total = {.kind = SAMPLES_TOTAL};

static sample_use each(uint32_t axis) { return (sample_use){.kind = SAMPLES_EACH, .axis = axis}; }
static sample_use alike(uint32_t varying) { return (sample_use){.kind = SAMPLES_ALIKE, .varying = varying}; }

typedef struct {
  const graph *graph;
  const node *node;
  const sample_use *of; /* per value */
  int64_t batch;
} question;

static sample_use operand(const question *q, uint32_t k) { return q->of[q->node->operands[k]]; }
static const tensor_type *type_of(const question *q, uint32_t k) { return graph_type(q->graph, q->node->operands[k]); }
static const tensor_type *result_type(const question *q) { return graph_type(q->graph, q->node->first_result); }

/* -- elementwise ---------------------------------------------------------------------------------------------- */

static bool keeps_sums(const question *q) {
  sample_use x = operand(q, 0), y = q->node->n_operands > 1 ? operand(q, 1) : x;
  switch (q->node->op) {
    case OP_ADD:
    case OP_SUB:
    case OP_NEG:
    case OP_CONCAT:
    case OP_STOP_GRAD: return true;
    case OP_CAST: return dtype_is_real(result_type(q)->dtype) && dtype_is_real(type_of(q, 0)->dtype);
    case OP_MUL: return x.kind == SAMPLES_ALIKE || y.kind == SAMPLES_ALIKE;
    case OP_DIV: return y.kind == SAMPLES_ALIKE;
    default: return false;
  }
}

static sample_use use_elementwise(const question *q) {
  bool any_each = false, any_total = false;
  uint32_t axis = 0, varying = 0;
  for (uint32_t k = 0; k < q->node->n_operands; k++) {
    sample_use u = operand(q, k);
    if (u.kind == SAMPLES_MIXED || (u.kind == SAMPLES_EACH && any_each && u.axis != axis)) return mixed;
    if (u.kind == SAMPLES_EACH) axis = u.axis, any_each = true;
    any_total |= u.kind == SAMPLES_TOTAL;
    varying |= u.varying;
  }
  if (any_total) return !any_each && keeps_sums(q) ? total : mixed;
  if (any_each) return varying >> axis & 1 ? mixed : each(axis);
  return alike(varying);
}

/* -- views ----------------------------------------------------------------------------------------------------- */

static int64_t product(const tensor_type *t, uint32_t n) {
  int64_t all = 1;
  for (uint32_t i = 0; i < n; i++) all *= t->dim[i];
  return all;
}

static sample_use use_RESHAPE(const question *q) {
  sample_use u = operand(q, 0);
  const tensor_type *from = type_of(q, 0), *to = result_type(q);
  if (u.kind == SAMPLES_ALIKE) return alike(u.varying ? ANY_AXIS : 0);
  if (u.kind != SAMPLES_EACH || from->dim[u.axis] == 1) return u.kind == SAMPLES_EACH ? mixed : u;
  for (uint32_t i = 0; i < to->rank; i++)
    if (to->dim[i] == from->dim[u.axis] && product(to, i) == product(from, u.axis)) return each(i);
  return mixed;
}

/* Axis `from` of the operand stands at `to` of the result, for i below `n`. */
static sample_use moved(sample_use u, const int64_t *from, const int64_t *to, uint32_t n) {
  uint32_t varying = 0, axis = 0;
  for (uint32_t i = 0; i < n; i++) {
    varying |= (u.varying >> from[i] & 1u) << to[i];
    if (from[i] == u.axis) axis = (uint32_t)to[i];
  }
  return (sample_use){u.kind, u.kind == SAMPLES_EACH ? axis : 0, varying};
}

static const int64_t in_order[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};

static sample_use use_TRANSPOSE(const question *q) { return moved(operand(q, 0), node_integers(q->node, ATTR_AXES), in_order, result_type(q)->rank); }

static sample_use use_BROADCAST(const question *q) {
  sample_use u = operand(q, 0);
  const int64_t *axes = node_attribute(q->node, ATTR_AXES)->as.integers;
  if (u.kind == SAMPLES_EACH && type_of(q, 0)->dim[u.axis] != result_type(q)->dim[axes[u.axis]]) return mixed;
  return moved(u, in_order, axes, type_of(q, 0)->rank);
}

/* Whole batches may be taken apart, parts of one may not. */
static sample_use use_SLICE(const question *q) {
  sample_use u = operand(q, 0);
  if (u.kind != SAMPLES_EACH) return u;
  int64_t start = node_integers(q->node, ATTR_START)[u.axis], stop = node_integers(q->node, ATTR_STOP)[u.axis];
  return node_integers(q->node, ATTR_STRIDE)[u.axis] == 1 && start % q->batch == 0 && (stop - start) % q->batch == 0 ? u : mixed;
}

static sample_use use_PAD(const question *q) {
  sample_use u = operand(q, 0);
  if (u.kind == SAMPLES_ALIKE) return alike(ANY_AXIS);
  bool touched = u.kind == SAMPLES_EACH && (node_integers(q->node, ATTR_LOW)[u.axis] || node_integers(q->node, ATTR_HIGH)[u.axis] ||
                                            node_integers(q->node, ATTR_INTERIOR)[u.axis]);
  return touched ? mixed : u;
}

static bool has_axis(const question *q, uint32_t axis) {
  const attribute *axes = node_attribute(q->node, ATTR_AXES);
  for (uint32_t i = 0; i < axes->n; i++)
    if (axes->as.integers[i] == axis) return true;
  return false;
}

static sample_use use_REVERSE(const question *q) {
  sample_use u = operand(q, 0);
  return u.kind == SAMPLES_EACH && has_axis(q, u.axis) ? mixed : u;
}

static sample_use use_CONCAT(const question *q) {
  sample_use u = use_elementwise(q);
  uint32_t axis = (uint32_t)node_axis(q->node);
  if (u.kind == SAMPLES_ALIKE) return alike(u.varying | 1u << axis);
  for (uint32_t k = 0; k < q->node->n_operands; k++)
    if (u.kind == SAMPLES_EACH && u.axis == axis && operand(q, k).kind != SAMPLES_EACH) return mixed;
  return u;
}

/* -- reductions and products -------------------------------------------------------------------------------------- */

static sample_use without_axes(const question *q, sample_use u) {
  uint32_t rank = type_of(q, 0)->rank, at = 0;
  int64_t from[MAX_RANK], to[MAX_RANK];
  for (uint32_t i = 0; i < rank; i++)
    if (!has_axis(q, i)) from[at] = i, to[at] = at, at++;
  return moved(u, from, to, at);
}

static sample_use use_REDUCE_SUM(const question *q) {
  sample_use u = operand(q, 0);
  if (u.kind == SAMPLES_EACH && has_axis(q, u.axis)) return total;
  return u.kind == SAMPLES_EACH || u.kind == SAMPLES_ALIKE ? without_axes(q, u) : u;
}

static sample_use use_REDUCE_MAX(const question *q) {
  sample_use u = use_REDUCE_SUM(q);
  return u.kind == SAMPLES_TOTAL ? mixed : u;
}

/* The axis of a product along which operand k holds samples; -1 when its index is no plain axis. */
static int64_t sample_axis(const question *q, uint32_t k) {
  const index_form *form = &q->node->contraction->operand[k][operand(q, k).axis];
  return index_is_plain(form) ? (int64_t)form->term[0].axis : -1;
}

static bool reads_axis(const question *q, uint32_t k, int64_t axis) {
  const contraction *c = q->node->contraction;
  for (uint32_t i = 0; i < c->rank[k]; i++)
    for (uint32_t t = 0; t < c->operand[k][i].n_terms; t++)
      if (c->operand[k][i].term[t].axis == axis) return true;
  return false;
}

static sample_use use_CONTRACT(const question *q) {
  const contraction *c = q->node->contraction;
  sample_use x = operand(q, 0), y = operand(q, 1);
  if (x.kind == SAMPLES_MIXED || y.kind == SAMPLES_MIXED) return mixed;
  if (x.kind == SAMPLES_ALIKE && y.kind == SAMPLES_ALIKE) return alike(ANY_AXIS);
  if (x.kind == SAMPLES_TOTAL || y.kind == SAMPLES_TOTAL) return x.kind == SAMPLES_ALIKE || y.kind == SAMPLES_ALIKE ? total : mixed;
  int64_t axis = sample_axis(q, x.kind == SAMPLES_EACH ? 0 : 1);
  if (axis < 0) return mixed;
  for (uint32_t k = 0; k < 2; k++) {
    sample_use u = operand(q, k);
    if (u.kind == SAMPLES_EACH ? sample_axis(q, k) != axis : reads_axis(q, k, axis)) return mixed;
  }
  for (uint32_t i = 0; i < c->result_rank; i++)
    if (c->result[i] == axis) return each(i);
  return total;
}

/* -- leaves ----------------------------------------------------------------------------------------------------------- */

static sample_use use_CONSTANT(const question *q) { return alike(node_attribute(q->node, ATTR_VALUE) ? 0 : ANY_AXIS); }
static sample_use use_IOTA(const question *q) { return alike(1u << node_axis(q->node)); }
static sample_use use_PARAMETER(const question *q) {
  return strcmp(node_attribute(q->node, ATTR_ROLE)->as.text, "data") ? alike(result_type(q)->rank ? ANY_AXIS : 0) : mixed;
}

typedef sample_use rule(const question *q);
static rule *const rules[OP_COUNT] = {
    [OP_RESHAPE] = use_RESHAPE,       [OP_TRANSPOSE] = use_TRANSPOSE,   [OP_BROADCAST] = use_BROADCAST, [OP_SLICE] = use_SLICE,
    [OP_PAD] = use_PAD,               [OP_REVERSE] = use_REVERSE,       [OP_CONCAT] = use_CONCAT,       [OP_REDUCE_SUM] = use_REDUCE_SUM,
    [OP_REDUCE_MAX] = use_REDUCE_MAX, [OP_CONTRACT] = use_CONTRACT,     [OP_CONSTANT] = use_CONSTANT,   [OP_IOTA] = use_IOTA,
    [OP_PARAMETER] = use_PARAMETER,
};

static sample_use use_of_node(const question *q) {
  if (rules[q->node->op]) return rules[q->node->op](q);
  if (op_table[q->node->op].elementwise) return use_elementwise(q);
  for (uint32_t k = 0; k < q->node->n_operands; k++)
    if (operand(q, k).kind != SAMPLES_ALIKE) return mixed;
  return alike(ANY_AXIS);
}

sample_use *find_sample_use(const dataflow *f, const loss_term *t) {
  const graph *g = f->graph;
  sample_use *of = ARENA_ARRAY(f->scratch, sample_use, g->n_values);
  for (uint32_t i = 0; i <= g->values[t->value].node; i++) {
    const node *n = &g->nodes[i];
    value v = n->first_result;
    const tensor_type *type = graph_type(g, v);
    for (uint32_t k = 0; n->n_results > 1 && k < n->n_results; k++) of[v + k] = mixed;
    if (n->n_results > 1 || !t->head[v]) continue;
    if (f->call_of[v]) of[v] = type->rank && f->batch > 0 && type->dim[0] % f->batch == 0 && dtype_is_real(type->dtype) ? each(0) : mixed;
    else of[v] = use_of_node(&(question){g, n, of, f->batch});
  }
  return of;
}
