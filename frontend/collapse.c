/* Collapse by construction: a loss whose minimum a constant output reaches.
 *
 * Take a loss that is a sum over samples of one and the same function r of that sample's embeddings, and of nothing else: no
 * data, draws, queue or other sample stands against them, and a gradient flows into each. Then whatever embeddings are best for
 * one sample are best for all, so constant ones are optimal. Contrast among samples, variance and correlation terms, labels,
 * pixels and standing targets all break the premise, and it is read off the graph (sample_use.c). What is left to ask is whether
 * one model can give these constants: a critic's loss wants different ones for real and made images. Views that are pulled
 * together want equal ones, which shows in numbers: dealing two values x and y out among the embeddings, and once more with x and
 * y swapped, costs more than giving x to all and y to all; for losses that judge each embedding alone it costs the same. r is
 * evaluated for a few x and y by the interpreter (one_sample.c), which takes some thousand operations. */
#include "frontend/dataflow.h"

#include <math.h>

enum { MOST_SLOTS = 64, TRIES = 4 };

/* One batch of rows of one leaf. Slots whose rows have one shape form a group and can hold the same values. */
typedef struct {
  const loss_leaf *leaf;
  uint32_t number; /* of the leaf in the graph for one sample */
  int64_t row;     /* of the leaf there */
  uint32_t group, place; /* in the group */
} slot;

typedef struct {
  const dataflow *flow;
  const loss_term *const *terms;
  uint32_t n_terms;
  slot slots[MOST_SLOTS];
  uint32_t n_slots, group_size[MOST_SLOTS], n_groups;
  const graph *graph; /* for one sample: leaves in, terms out */
  graph_binding *bindings;
  uint32_t n_bindings;
} probe;

/* -- terms that belong together: those that train a common weight ---------------------------------------------- */

static bool share_weights(const loss_term *a, const loss_term *b) {
  for (uint32_t i = 0; i < a->of->n; i++)
    for (uint32_t k = 0; a->reached[a->of->at[i]] && k < b->of->n; k++)
      if (a->of->cells[i] == b->of->cells[k] && b->reached[b->of->at[k]]) return true;
  return false;
}

/* -- the premise ---------------------------------------------------------------------------------------------------- */

static bool is_weight(const graph *g, value v) {
  const node *n = graph_node(g, v);
  while (n->op == OP_TRANSPOSE || n->op == OP_RESHAPE || n->op == OP_CAST) n = graph_node(g, n->operands[0]);
  return n->op == OP_PARAMETER && !strcmp(node_attribute(n, ATTR_ROLE)->as.text, "state");
}

/* Whether the model can give any rows: not when it ends, behind its last product with weights, in statistics of the batch,
 * such as a batch norm or a whitening, which keep outputs apart. */
static bool gives_any_rows(const dataflow *f, const loss_leaf *leaf) {
  const graph *g = f->graph;
  bool *tail = ARENA_ARRAY(f->scratch, bool, g->n_values);
  tail[leaf->value] = true;
  for (uint32_t i = g->values[leaf->value].node + 1; i-- > leaf->call->first_node;) {
    const node *n = &g->nodes[i];
    if (!tail[n->first_result]) continue;
    if (n->op == OP_CONTRACT && (is_weight(g, n->operands[0]) || is_weight(g, n->operands[1]))) continue;
    if (n->op == OP_CONTRACT) return false;
    if (n->op == OP_REDUCE_SUM && node_integers(n, ATTR_AXES)[0] == 0) return false;
    for (uint32_t k = 0; k < n->n_operands; k++) tail[n->operands[k]] = true;
  }
  return true;
}

static bool is_sum_over_samples(const dataflow *f, const loss_term *t) {
  if (t->reads_data || t->reads_draws || t->reads_queue || t->reads_state || t->has_grad) return false;
  for (uint32_t i = 0; i < t->n_leaves; i++)
    if (!t->leaves[i].moves || !gives_any_rows(f, &t->leaves[i])) return false;
  return find_sample_use(f, t)[t->value].kind == SAMPLES_TOTAL;
}

static bool same_rows(const graph *g, value a, value b) {
  const tensor_type *x = graph_type(g, a), *y = graph_type(g, b);
  if (x->rank != y->rank || x->dtype != y->dtype) return false;
  for (uint32_t i = 1; i < x->rank; i++)
    if (x->dim[i] != y->dim[i]) return false;
  return true;
}

static bool add_slots(probe *p, const loss_leaf *leaf, uint32_t number) {
  const graph *g = p->flow->graph;
  for (int64_t row = 0; row < graph_type(g, leaf->value)->dim[0] / p->flow->batch; row++) {
    if (p->n_slots == MOST_SLOTS) return false;
    slot *s = &p->slots[p->n_slots];
    *s = (slot){leaf, number, row, p->n_groups, 0};
    for (uint32_t i = 0; i < p->n_slots; i++)
      if (same_rows(g, p->slots[i].leaf->value, leaf->value)) s->group = p->slots[i].group;
    if (s->group == p->n_groups) p->n_groups++;
    s->place = p->group_size[s->group]++;
    p->n_slots++;
  }
  return true;
}

/* -- numbers ----------------------------------------------------------------------------------------------------------- */

/* The j-th number of the i-th value: fixed, without a pattern, about as large as embeddings are. */
static double probe_number(uint32_t attempt, uint32_t group, uint32_t i, int64_t j) {
  double x = sin(12.9898 * (double)(j + 1) + 78.233 * (double)(i + 1) + 37.719 * (double)(group + 1) + 5.151 * (double)(attempt + 1)) * 43758.5453;
  return 2 * (x - floor(x)) - 1;
}

static const void *parameter_content(const graph *g, const node *n, int64_t halfway, arena *a) {
  const tensor_type *t = graph_type(g, n->first_result);
  bool clock = !strcmp(node_attribute(n, ATTR_ROLE)->as.text, "clock");
  char *bytes = arena_alloc(a, (size_t)type_bytes(t));
  /* The middle of training, so that what a schedule switches on is on; bare weights are 1. */
  scalar v = dtype_is_real(t->dtype) ? (scalar){.real = clock ? (double)halfway : 1} : (scalar){.integer = clock ? halfway : 1};
  for (int64_t i = 0; i < type_elements(t); i++) element_store(t->dtype, bytes, i, v);
  return bytes;
}

static void bind_parameters(elaborator *e, probe *p) {
  const graph *g = p->graph;
  p->bindings = ARENA_ARRAY(p->flow->scratch, graph_binding, g->n_nodes + 1);
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    if (n->op != OP_PARAMETER) continue;
    const char *role = node_attribute(n, ATTR_ROLE)->as.text, *name = node_attribute(n, ATTR_NAME)->as.text;
    int64_t halfway = !strcmp(name, "epoch") ? e->experiment->epochs / 2 : e->experiment->steps / 2;
    p->bindings[p->n_bindings++] = (graph_binding){role, name, parameter_content(g, n, halfway, p->flow->scratch)};
  }
}

/* The slot gets value number `i` of its group. */
static void fill_slot(const probe *p, const slot *s, uint32_t attempt, uint32_t i) {
  const tensor_type *t = graph_type(p->flow->graph, s->leaf->value);
  int64_t width = type_elements(t) / t->dim[0];
  char name[16];
  snprintf(name, sizeof name, "%u", s->number);
  for (uint32_t b = 0; b < p->n_bindings; b++) {
    if (strcmp(p->bindings[b].role, "data") || strcmp(p->bindings[b].name, name)) continue;
    for (int64_t j = 0; j < width; j++)
      element_store(t->dtype, (void *)p->bindings[b].data, s->row * width + j, (scalar){.real = probe_number(attempt, s->group, i, j)});
  }
}

/* How values are dealt out in a try: the same for all, or by a pattern of places. */
static uint32_t dealt_value(const probe *p, const slot *s, uint32_t attempt) {
  uint32_t patterns[TRIES] = {s->place, s->place >> 1, s->place >= p->group_size[s->group] / 2, (s->place * 2654435761u) >> 17};
  return patterns[attempt] & 1;
}

/* The loss when every slot holds x, or x and y are dealt out; `swapped` exchanges them. */
static double cost(const probe *p, uint32_t attempt, bool dealt, uint32_t swapped) {
  const char *error;
  double sum = 0;
  for (uint32_t i = 0; i < p->n_slots; i++) fill_slot(p, &p->slots[i], attempt, (dealt ? dealt_value(p, &p->slots[i], attempt) : 0) ^ swapped);
  arena *a = arena_new();
  if (!a) return NAN;
  const graph_run *run = graph_interpret(p->graph, p->bindings, p->n_bindings, a, &error);
  for (uint32_t i = 0; i < p->n_terms; i++)
    sum += run ? p->terms[i]->factor * element_load(graph_type(p->graph, p->graph->results[i].value)->dtype, run->data[p->graph->results[i].value], 0).real : NAN;
  arena_free(a);
  return sum;
}

static bool pulls_together(const probe *p) {
  bool pulls = false;
  for (uint32_t attempt = 0; attempt < TRIES; attempt++) {
    double all_x = cost(p, attempt, false, 0), all_y = cost(p, attempt, false, 1), one_way = cost(p, attempt, true, 0), other_way = cost(p, attempt, true, 1);
    double more = one_way + other_way - all_x - all_y, margin = 1e-4 * (fabs(all_x) + fabs(all_y) + fabs(one_way) + fabs(other_way)) + 1e-12;
    if (!(more > -margin && fmin(one_way, other_way) > fmin(all_x, all_y) - margin)) return false;
    pulls |= more > margin;
  }
  return pulls;
}

/* -- the warning ------------------------------------------------------------------------------------------------------------ */

static void report(elaborator *e, const probe *p) {
  const slot *first = NULL, *second = NULL;
  for (uint32_t i = 0; i < p->n_slots && !second; i++)
    for (uint32_t k = i + 1; k < p->n_slots && !second; k++)
      if (p->slots[i].group == p->slots[k].group) first = &p->slots[k], second = &p->slots[i]; /* leaves were found from the end on */
  diagnostic *d = diagnose_warning(e->diagnostics, DIAG_COLLAPSES, p->terms[0]->of->where,
                                   "this loss only pulls its two sides together, and gradients flow into both: a constant output is optimal");
  diagnostic_add_note(e->diagnostics, d, first->leaf->call->where, "one side: an output of %s", first->leaf->call->model->name);
  diagnostic_add_note(e->diagnostics, d, second->leaf->call->where, "the other side: an output of %s", second->leaf->call->model->name);
  diagnostic_set_help(e->diagnostics, d, "use stop_grad with a predictor or an ema target, negatives, or a variance term");
}

static void judge(elaborator *e, const dataflow *f, const loss_term *const *terms, uint32_t n) {
  probe p = {.flow = f, .terms = terms, .n_terms = n};
  value *leaves = NULL;
  uint32_t n_leaves = 0, capacity = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (!is_sum_over_samples(f, terms[i])) return;
    for (uint32_t k = 0; k < terms[i]->n_leaves; k++) {
      const loss_leaf *leaf = &terms[i]->leaves[k];
      bool known = false;
      for (uint32_t m = 0; m < n_leaves; m++) known |= leaves[m] == leaf->value;
      if (known) continue;
      *ARENA_PUSH(f->scratch, leaves, n_leaves, capacity) = leaf->value;
      if (!add_slots(&p, leaf, n_leaves - 1)) return;
    }
  }
  p.graph = one_sample(f, terms, n, leaves, n_leaves);
  if (!p.graph) return;
  bind_parameters(e, &p);
  if (pulls_together(&p)) report(e, &p);
}

void warn_collapse(elaborator *e, const dataflow *f) {
  bool *done = ARENA_ARRAY(f->scratch, bool, f->n + 1);
  const loss_term **together = ARENA_ARRAY(f->scratch, const loss_term *, f->n + 1);
  for (uint32_t i = 0; i < f->n; i++) {
    uint32_t n = 0;
    if (done[i]) continue;
    together[n++] = &f->terms[i];
    done[i] = true;
    for (uint32_t at = 0; at < n; at++)
      for (uint32_t k = 0; k < f->n; k++)
        if (!done[k] && share_weights(together[at], &f->terms[k])) {
          done[k] = true;
          together[n++] = &f->terms[k];
        }
    judge(e, f, together, n);
  }
}
