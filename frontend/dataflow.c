#include "frontend/dataflow.h"

enum { MOST_TERMS = 64 };

/* -- terms --------------------------------------------------------------------------------------------------- */

static const model_call **calls_by_value(const elaborator *e, const graph *g, arena *scratch) {
  const model_call **of = ARENA_ARRAY(scratch, const model_call *, g->n_values);
  for (uint32_t i = 0; i < e->n_calls; i++)
    for (uint32_t k = 0; e->calls[i].graph == g && k < e->calls[i].n_outputs; k++) of[e->calls[i].outputs[k]] = &e->calls[i];
  return of;
}

static void note_parameter(const elaborator *e, loss_term *t, const node *n) {
  const char *role = node_attribute(n, ATTR_ROLE)->as.text;
  t->reads_data |= !strcmp(role, "data");
  t->reads_draws |= !strcmp(role, "seed");
  if (strcmp(role, "state")) return;
  const cell *c = find_cell(e, node_attribute(n, ATTR_NAME)->as.text);
  if (c && c->kind == STATE_WEIGHT && !c->model) return;
  if (c && c->kind == STATE_QUEUE) t->reads_queue = true;
  else t->reads_state = true;
}

/* Walks the head from its result to its leaves. */
static void explore(const elaborator *e, const dataflow *f, loss_term *t, const bool *trained) {
  const graph *g = f->graph;
  t->reached = graph_differentiable_to(g, t->value, f->scratch);
  bool *head = ARENA_ARRAY(f->scratch, bool, g->n_values);
  uint32_t capacity = 0;
  head[t->value] = true;
  for (uint32_t i = g->values[t->value].node + 1; i-- > 0;) {
    const node *n = &g->nodes[i];
    bool inside = false;
    for (uint32_t k = 0; k < n->n_results; k++) inside |= head[n->first_result + k];
    if (!inside) continue;
    value v = n->first_result;
    if (f->call_of[v]) {
      *ARENA_PUSH(f->scratch, t->leaves, t->n_leaves, capacity) = (loss_leaf){f->call_of[v], v, trained[v] && t->reached[v]};
      continue;
    }
    t->has_grad |= n->op == OP_GRAD;
    if (n->op == OP_PARAMETER) note_parameter(e, t, n);
    for (uint32_t k = 0; k < n->n_operands; k++) head[n->operands[k]] = true;
  }
  t->head = head;
}

/* Takes sums, differences and known factors apart. */
static void add_terms(elaborator *e, dataflow *f, const trained_loss *of, const bool *trained, value v, double factor) {
  const graph *g = f->graph;
  const node *n = graph_node(g, v);
  scalar number;
  if (f->n == MOST_TERMS) f->too_many = true;
  if (f->too_many) return;
  switch (n->op) {
    case OP_ADD:
    case OP_SUB:
      add_terms(e, f, of, trained, n->operands[0], factor);
      add_terms(e, f, of, trained, n->operands[1], n->op == OP_SUB ? -factor : factor);
      return;
    case OP_NEG: add_terms(e, f, of, trained, n->operands[0], -factor); return;
    case OP_MUL:
    case OP_DIV:
      for (uint32_t k = 0; k < 2; k++)
        if ((k == 1 || n->op == OP_MUL) && graph_splat_value(g, n->operands[k], &number)) {
          add_terms(e, f, of, trained, n->operands[1 - k], n->op == OP_MUL ? factor * number.real : factor / number.real);
          return;
        }
      break;
    default: break;
  }
  loss_term t = {.of = of, .value = v, .factor = factor};
  explore(e, f, &t, trained);
  if (t.n_leaves) *ARENA_PUSH(f->scratch, f->terms, f->n, f->capacity) = t;
}

dataflow find_dataflow(elaborator *e, arena *scratch) {
  dataflow f = {.graph = e->step, .batch = e->experiment->batch, .scratch = scratch};
  f.call_of = calls_by_value(e, e->step, scratch);
  for (uint32_t i = 0; i < e->n_losses; i++) {
    const trained_loss *loss = &e->losses[i];
    add_terms(e, &f, loss, graph_differentiable_from(f.graph, loss->at, loss->n, scratch), loss->loss, 1);
  }
  if (f.too_many) f.n = 0; /* without all terms nothing can be said */
  return f;
}

void examine_objectives(elaborator *e) {
  arena *scratch = arena_new();
  if (!scratch) return;
  dataflow f = find_dataflow(e, scratch);
  warn_collapse(e, &f);
  warn_same_draw(e, &f);
  warn_raw_rows(e, &f);
  add_embedding_figures(e, &f);
  arena_free(scratch);
}
