/* Embeddings that are compared by a temperature and have no length in common: products of rows of samples with rows of other
 * samples (or of a queue) that are scaled, go into an exponential, and grow with the length of the rows.
 *
 * Whether rows have a length of their own is asked by degrees of homogeneity: if the last product inside of the model gave
 * lambda times as much, a value of degree d would be lambda^d times as large. The output of a linear layer has degree 1, what
 * was divided by its length 0. Where a rule does not apply the degree is unknown, and nothing is said. */
#include "frontend/dataflow.h"

#include <math.h>

static const double unknown = NAN;
static const double tiny = 1e-3; /* constants below are there against divisions by zero */

typedef struct {
  const graph *graph;
  const node *node;
  const double *degree; /* per value */
} question;

static double degree(const question *q, uint32_t k) { return q->degree[q->node->operands[k]]; }

static bool is_constant(const question *q, uint32_t k, double largest) {
  scalar number;
  return graph_splat_value(q->graph, q->node->operands[k], &number) && dtype_is_real(graph_type(q->graph, q->node->operands[k])->dtype) &&
         fabs(number.real) <= largest;
}

/* Of values that are added up or chosen among: their common one. Constants up to `largest` do not count. */
static double common(const question *q, uint32_t first, double largest) {
  double found = unknown;
  bool any = false;
  for (uint32_t k = first; k < q->node->n_operands; k++) {
    if (is_constant(q, k, largest)) continue;
    if (any && !(degree(q, k) == found)) return unknown;
    found = degree(q, k);
    any = true;
  }
  return any ? found : 0;
}

static double unless_known(const question *q) {
  for (uint32_t k = 0; k < q->node->n_operands; k++)
    if (!(degree(q, k) == 0)) return unknown;
  return 0;
}

static double degree_of_node(const question *q) {
  scalar power;
  switch (q->node->op) {
    case OP_PARAMETER:
    case OP_CONSTANT: return 0;
    case OP_MUL:
    case OP_CONTRACT: return degree(q, 0) + degree(q, 1);
    case OP_DIV: return degree(q, 0) - degree(q, 1);
    case OP_SQRT: return degree(q, 0) / 2;
    case OP_RSQRT: return -degree(q, 0) / 2;
    case OP_POW: return graph_splat_value(q->graph, q->node->operands[1], &power) ? degree(q, 0) * power.real : unknown;
    case OP_ADD:
    case OP_SUB:
    case OP_MAX:
    case OP_MIN:
    case OP_CONCAT: return common(q, 0, tiny);
    case OP_SELECT: return common(q, 1, INFINITY);
    case OP_NEG:
    case OP_ABS:
    case OP_STOP_GRAD:
    case OP_CAST:
    case OP_RESHAPE:
    case OP_TRANSPOSE:
    case OP_BROADCAST:
    case OP_SLICE:
    case OP_PAD:
    case OP_REVERSE:
    case OP_REDUCE_SUM:
    case OP_REDUCE_MAX:
    case OP_GATHER: return degree(q, 0);
    default: return unless_known(q);
  }
}

/* Inside of a model: a product with weights begins anew at degree 1, and a bias does not change it. */
static double degree_in_model(const question *q) {
  if (q->node->op == OP_CONTRACT) return 1;
  double d = degree_of_node(q);
  if (q->node->op == OP_ADD && isnan(d) && (degree(q, 0) == 1 || degree(q, 1) == 1) && (degree(q, 0) == 0 || degree(q, 1) == 0)) return 1;
  return d;
}

static double *find_degrees(const dataflow *f, const loss_term *t) {
  const graph *g = f->graph;
  double *of = ARENA_ARRAY(f->scratch, double, g->n_values);
  bool *in_model = ARENA_ARRAY(f->scratch, bool, g->n_nodes);
  for (uint32_t i = 0; i < t->n_leaves; i++)
    for (uint32_t k = t->leaves[i].call->first_node; k < t->leaves[i].call->end_node; k++) in_model[k] = true;
  for (uint32_t i = 0; i <= g->values[t->value].node; i++) {
    const node *n = &g->nodes[i];
    question q = {g, n, of};
    double d = n->n_results > 1 ? unknown : in_model[i] ? degree_in_model(&q) : t->head[n->first_result] ? degree_of_node(&q) : 0;
    for (uint32_t k = 0; k < n->n_results; k++) of[n->first_result + k] = d;
  }
  return of;
}

/* -- rows against rows ------------------------------------------------------------------------------------------ */

static int64_t result_axis(const contraction *c, uint32_t operand, uint32_t axis) {
  const index_form *form = &c->operand[operand][axis];
  for (uint32_t i = 0; index_is_plain(form) && i < c->result_rank; i++)
    if (c->result[i] == form->term[0].axis) return i;
  return -1;
}

static bool is_queue(const elaborator *e, const graph *g, value v) {
  const node *n = graph_node(g, v);
  while (n->op == OP_TRANSPOSE || n->op == OP_STOP_GRAD || n->op == OP_CAST) n = graph_node(g, n->operands[0]);
  if (n->op != OP_PARAMETER || strcmp(node_attribute(n, ATTR_ROLE)->as.text, "state")) return false;
  const cell *c = find_cell(e, node_attribute(n, ATTR_NAME)->as.text);
  return c && c->kind == STATE_QUEUE;
}

/* Samples against other samples, or against a queue. */
static bool compares_rows(const elaborator *e, const graph *g, const node *n, const sample_use *use) {
  sample_use x = use[n->operands[0]], y = use[n->operands[1]];
  if (x.kind == SAMPLES_EACH && y.kind == SAMPLES_EACH) {
    int64_t a = result_axis(n->contraction, 0, x.axis), b = result_axis(n->contraction, 1, y.axis);
    return a >= 0 && b >= 0 && a != b;
  }
  return (x.kind == SAMPLES_EACH && is_queue(e, g, n->operands[1])) || (y.kind == SAMPLES_EACH && is_queue(e, g, n->operands[0]));
}

static bool is_scale(const sample_use *use, const graph *g, value v) { return use[v].kind == SAMPLES_ALIKE && use[v].varying == 0 && dtype_is_real(graph_type(g, v)->dtype); }

/* Whether what `from` gives is scaled by a number and then exponentiated. */
static bool has_temperature(const dataflow *f, const loss_term *t, const sample_use *use, const node *from) {
  enum { NO, AS_IT_IS, SCALED };
  const graph *g = f->graph;
  unsigned char *flow = ARENA_ARRAY(f->scratch, unsigned char, g->n_values);
  flow[from->first_result] = AS_IT_IS;
  for (uint32_t i = g->values[from->first_result].node + 1; i <= g->values[t->value].node; i++) {
    const node *n = &g->nodes[i];
    unsigned char most = NO;
    bool scales = n->op == OP_MUL || n->op == OP_DIV, by_number = false;
    if (!t->head[n->first_result]) continue;
    for (uint32_t k = 0; k < n->n_operands; k++) {
      if (flow[n->operands[k]] > most) most = flow[n->operands[k]];
      by_number |= is_scale(use, g, n->operands[k]);
    }
    if (n->op == OP_EXP && most == SCALED) return true;
    bool passes = n->op == OP_ADD || n->op == OP_SUB || n->op == OP_SELECT || n->op == OP_CONCAT || n->op == OP_CAST || n->op == OP_RESHAPE ||
                  n->op == OP_TRANSPOSE || n->op == OP_BROADCAST || n->op == OP_SLICE || n->op == OP_NEG;
    if (passes) flow[n->first_result] = most;
    else if (scales && by_number && most) flow[n->first_result] = SCALED;
  }
  return false;
}

/* -- the warning ---------------------------------------------------------------------------------------------------- */

static void report(elaborator *e, const loss_term *t, const double *degrees) {
  const loss_leaf *raw = NULL;
  for (uint32_t i = 0; i < t->n_leaves; i++)
    if (degrees[t->leaves[i].value] == 1) raw = &t->leaves[i];
  if (!raw) return;
  diagnostic *d = diagnose_warning(e->diagnostics, DIAG_RAW_ROWS, t->of->where,
                                   "this loss divides similarities by a temperature, and the rows that it compares have no common length");
  diagnostic_add_note(e->diagnostics, d, raw->call->where, "the rows are this output of %s", raw->call->model->name);
  diagnostic_set_help(e->diagnostics, d, "make them unit vectors: ... |> %s |> l2_normalize", raw->call->model->name);
}

static bool judge(elaborator *e, const dataflow *f, const loss_term *t) {
  const graph *g = f->graph;
  const sample_use *use = find_sample_use(f, t);
  const double *degrees = NULL;
  for (uint32_t i = 0; i <= g->values[t->value].node; i++) {
    const node *n = &g->nodes[i];
    if (n->op != OP_CONTRACT || !t->head[n->first_result] || f->call_of[n->first_result] || !compares_rows(e, g, n, use)) continue;
    if (!degrees) degrees = find_degrees(f, t);
    double x = degrees[n->operands[0]], y = degrees[n->operands[1]];
    if (!(x == 1 || y == 1) || isnan(x) || isnan(y) || !has_temperature(f, t, use, n)) continue;
    report(e, t, degrees);
    return true;
  }
  return false;
}

void warn_raw_rows(elaborator *e, const dataflow *f) {
  const trained_loss *said = NULL;
  for (uint32_t i = 0; i < f->n; i++)
    if (f->terms[i].of != said && judge(e, f, &f->terms[i])) said = f->terms[i].of;
}
