/* The same view twice: a loss whose embeddings all come from one draw of one image, so that what it should make equal is equal
 * from the start. Said only where nothing else makes the two sides differ: one chain of models is the other one, followed by
 * more models or none (a target counts as the model that it follows), no model draws anything itself, the head reads no data,
 * and the loss trains the model in front. A teacher of another kind, a masked input, or dropout between the two is a method. */
#include "frontend/dataflow.h"

enum { LONGEST_CHAIN = 8 };

/* From the data to an embedding. */
typedef struct {
  const model *models[LONGEST_CHAIN]; /* the last one first; targets as what they follow */
  uint32_t n;
  const model_call *first; /* that sees the view */
} chain;

static const model *followed(const model *m) { return m->target ? m->follows : m; }

static bool draws(const graph *g, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; i++)
    if (g->nodes[i].op == OP_RANDOM_BITS || g->nodes[i].region) return true; /* of a loop it is not known */
  return false;
}

/* What a call's input is made of: one call of another model and nothing else, or data and no model. */
typedef struct {
  const model_call *call;
  uint32_t n_calls;
  bool reads_data, reads_seed;
} origin;

static origin find_origin(const dataflow *f, value v) {
  const graph *g = f->graph;
  origin made = {0};
  bool *reached = ARENA_ARRAY(f->scratch, bool, g->n_values);
  reached[v] = true;
  for (uint32_t i = g->values[v].node + 1; i-- > 0;) {
    const node *n = &g->nodes[i];
    if (!reached[n->first_result]) continue;
    if (f->call_of[n->first_result]) {
      made.call = f->call_of[n->first_result];
      made.n_calls++;
      continue;
    }
    if (n->op == OP_PARAMETER) {
      const char *role = node_attribute(n, ATTR_ROLE)->as.text;
      made.reads_data |= !strcmp(role, "data");
      made.reads_seed |= !strcmp(role, "seed");
    }
    for (uint32_t k = 0; k < n->n_operands; k++) reached[n->operands[k]] = true;
  }
  return made;
}

static bool trace(const dataflow *f, const model_call *last, chain *out) {
  *out = (chain){0};
  for (const model_call *at = last;;) {
    for (uint32_t i = 0; i < out->n; i++)
      if (out->models[i] == followed(at->model)) return false; /* around in a circle: the code of a drawing of a code */
    if (out->n == LONGEST_CHAIN || at->n_inputs != 1 || draws(f->graph, at->first_node, at->end_node)) return false;
    out->models[out->n++] = followed(at->model);
    out->first = at;
    origin from = find_origin(f, at->inputs[0]);
    if (from.n_calls == 0) return from.reads_data;
    if (from.n_calls > 1 || from.reads_data || from.reads_seed) return false;
    at = from.call;
  }
}

/* Whether the first models of the longer one are those of the shorter one. */
static bool continues(const chain *a, const chain *b) {
  for (uint32_t i = 1; i <= a->n && i <= b->n; i++)
    if (a->models[a->n - i] != b->models[b->n - i]) return false;
  return true;
}

/* The same value, or made in the same way of the same values; `budget` bounds the search. */
static bool same_value(const graph *g, value a, value b, uint32_t *budget) {
  if (a == b) return true;
  const node *x = graph_node(g, a), *y = graph_node(g, b);
  if (*budget == 0 || x->op != y->op || x->op == OP_PARAMETER || x->region || x->n_operands != y->n_operands) return false;
  if (!type_equal(graph_type(g, a), graph_type(g, b)) || !node_same_attributes(x, y, graph_type(g, a)->dtype)) return false;
  (*budget)--;
  for (uint32_t k = 0; k < x->n_operands; k++)
    if (!same_value(g, x->operands[k], y->operands[k], budget)) return false;
  return true;
}

static bool same_view(const dataflow *f, const chain *a, const chain *b) {
  uint32_t budget = 4096;
  return same_value(f->graph, a->first->inputs[0], b->first->inputs[0], &budget);
}

static bool trains(const loss_term *t, const model *m) {
  for (uint32_t i = 0; i < t->of->n; i++)
    if (t->of->cells[i]->model == m) return true;
  return false;
}

static void report(elaborator *e, const dataflow *f, const loss_term *t, const chain *view, const model_call *one, const model_call *other) {
  const char *text = source_text(e, view->first->input_where);
  bool random = find_origin(f, view->first->inputs[0]).reads_seed;
  diagnostic *d = diagnose_warning(e->diagnostics, DIAG_SAME_DRAW, t->of->where, "both sides of this loss see the same %s%s: positives are identical and nothing is learned",
                                   random ? "draw of " : "", text);
  diagnostic_add_note(e->diagnostics, d, view->first->input_where, "both sides come from here");
  diagnostic_add_note(e->diagnostics, d, one->where, "one side: an output of %s", one->model->name);
  diagnostic_add_note(e->diagnostics, d, other->where, "the other side: an output of %s", other->model->name);
  if (random) diagnostic_set_help(e->diagnostics, d, "call %s once for each side: every call is another draw", text);
  else diagnostic_set_help(e->diagnostics, d, "give each side a draw of its own by an augmentation with random parts");
}

static bool judge(elaborator *e, const dataflow *f, const loss_term *t) {
  chain *chains = ARENA_ARRAY(f->scratch, chain, t->n_leaves);
  const chain *longest = &chains[0];
  const model_call *other = NULL;
  bool any_moves = false;
  if (t->reads_data || t->reads_draws || t->has_grad || t->n_leaves < 2) return false;
  for (uint32_t i = 0; i < t->n_leaves; i++) {
    if (!trace(f, t->leaves[i].call, &chains[i])) return false;
    if (chains[i].n > longest->n) longest = &chains[i];
    any_moves |= t->leaves[i].moves;
    if (t->leaves[i].call != t->leaves[0].call) other = t->leaves[i].call;
  }
  for (uint32_t i = 0; i < t->n_leaves; i++)
    if (!continues(longest, &chains[i]) || !same_view(f, longest, &chains[i])) return false;
  if (!other || !any_moves || !trains(t, longest->models[longest->n - 1])) return false;
  report(e, f, t, &chains[0], other, t->leaves[0].call);
  return true;
}

void warn_same_draw(elaborator *e, const dataflow *f) {
  const trained_loss *said = NULL;
  for (uint32_t i = 0; i < f->n; i++)
    if (f->terms[i].of != said && judge(e, f, &f->terms[i])) said = f->terms[i].of;
}
