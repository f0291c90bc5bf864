/* The head of a loss that is a sum over samples, as a graph of its own for one sample: what the interpreter can evaluate in
 * no time, whatever the batch. */
#include "frontend/dataflow.h"

typedef struct {
  const dataflow *flow;
  const sample_use *of; /* per value of the term at hand */
  graph *into;
  value *map; /* per value */
} shrinking;

static tensor_type shrunk_type(const shrinking *s, value v) {
  tensor_type t = *graph_type(s->flow->graph, v);
  if (s->of[v].kind == SAMPLES_EACH) t.dim[s->of[v].axis] /= s->flow->batch;
  return t;
}

/* What is alike for all samples meets values of one: its rows for one. */
static value matching_operand(const shrinking *s, value result, value operand) {
  sample_use u = s->of[result];
  value v = s->map[operand];
  if (u.kind != SAMPLES_EACH || s->of[operand].kind != SAMPLES_ALIKE) return v;
  const tensor_type *t = graph_type(s->into, v);
  int64_t start[MAX_RANK] = {0}, stop[MAX_RANK], stride[MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++) stop[i] = i == u.axis ? t->dim[i] / s->flow->batch : t->dim[i], stride[i] = 1;
  return graph_slice(s->into, v, start, stop, stride, graph_span(s->flow->graph, operand));
}

static attribute shrunk_attribute(const shrinking *s, const node *n, attribute a) {
  sample_use u = s->of[n->operands[0]];
  if (u.kind != SAMPLES_EACH || (a.key != ATTR_START && a.key != ATTR_STOP)) return a;
  int64_t *all = arena_copy(s->flow->scratch, a.as.integers, a.n * sizeof *all);
  all[u.axis] /= s->flow->batch;
  a.as.integers = all;
  return a;
}

static value copy_node(shrinking *s, const node *n) {
  arena *scratch = s->flow->scratch;
  bool meets = op_table[n->op].elementwise || n->op == OP_CONCAT;
  value *operands = ARENA_ARRAY(scratch, value, n->n_operands + 1);
  attribute *attributes = ARENA_ARRAY(scratch, attribute, n->n_attributes + 1);
  for (uint32_t k = 0; k < n->n_operands; k++) operands[k] = meets ? matching_operand(s, n->first_result, n->operands[k]) : s->map[n->operands[k]];
  for (uint32_t k = 0; k < n->n_attributes; k++) attributes[k] = n->op == OP_SLICE ? shrunk_attribute(s, n, n->attributes[k]) : n->attributes[k];
  tensor_type declared = shrunk_type(s, n->first_result);
  const char *error;
  return graph_add(s->into, n->op, operands, n->n_operands, attributes, n->n_attributes, &declared, n->where, &error);
}

static bool add_term(shrinking *s, const loss_term *t, uint32_t number) {
  const graph *g = s->flow->graph;
  s->of = find_sample_use(s->flow, t);
  for (uint32_t i = 0; i <= g->values[t->value].node; i++) {
    value v = g->nodes[i].first_result;
    if (t->head[v] && !s->map[v] && !(s->map[v] = copy_node(s, &g->nodes[i]))) return false;
  }
  graph_add_result(s->into, "output", arena_printf(s->flow->scratch, "%u", number), s->map[t->value], t->of->where);
  return true;
}

graph *one_sample(const dataflow *f, const loss_term *const *terms, uint32_t n, const value *leaves, uint32_t n_leaves) {
  shrinking s = {.flow = f, .into = graph_new(f->scratch, "one_sample"), .map = ARENA_ARRAY(f->scratch, value, f->graph->n_values)};
  for (uint32_t i = 0; i < n_leaves; i++) {
    tensor_type t = *graph_type(f->graph, leaves[i]);
    t.dim[0] /= f->batch;
    s.map[leaves[i]] = graph_parameter(s.into, "data", arena_printf(f->scratch, "%u", i), t, graph_span(f->graph, leaves[i]));
  }
  for (uint32_t i = 0; i < n; i++)
    if (!add_term(&s, terms[i], i)) return NULL;
  return s.into;
}
