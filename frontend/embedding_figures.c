/* Figures of collapse as metrics of every step: how far apart the rows are that models give for the batch at hand, by
 * embedding_std and effective_rank of the library.
 *
 * Looked at are the models that a run is about: those that eval judges, and those whose outputs a loss compares with one
 * another (a loss that compares them with data or drawn labels, as those of classifiers and decoders do, holds them apart by itself). Of each the first
 * call in the pretext that sees data. */
#include "frontend/dataflow.h"

static bool depends_on_data(const graph *g, value v, arena *scratch) {
  bool *reached = ARENA_ARRAY(scratch, bool, g->n_values);
  reached[v] = true;
  for (uint32_t i = g->values[v].node + 1; i-- > 0;) {
    const node *n = &g->nodes[i];
    bool any = false;
    for (uint32_t k = 0; k < n->n_results; k++) any |= reached[n->first_result + k];
    if (any && n->op == OP_PARAMETER && !strcmp(node_attribute(n, ATTR_ROLE)->as.text, "data")) return true;
    for (uint32_t k = 0; any && k < n->n_operands; k++) reached[n->operands[k]] = true;
  }
  return false;
}

/* Two rows at least, of two features at least. */
static bool gives_rows(const model_call *c, int64_t batch) {
  const tensor_type *t = c->n_outputs == 1 ? graph_type(c->graph, c->outputs[0]) : NULL;
  if (!t || t->rank < 2 || t->rank > 4 || !dtype_is_real(t->dtype) || batch < 2 || t->dim[0] % batch) return false;
  return t->dim[t->rank == 4 ? 1 : t->rank - 1] > 1;
}

static const model_call *first_call(const elaborator *e, const graph *g, const model *m, arena *scratch) {
  for (uint32_t i = 0; i < e->n_calls; i++) {
    const model_call *c = &e->calls[i];
    if (c->model == m && c->graph == g && gives_rows(c, e->experiment->batch) && depends_on_data(g, c->outputs[0], scratch)) return c;
  }
  return NULL;
}

/* -- which models ------------------------------------------------------------------------------------------------- */

static void mark(const elaborator *e, bool *chosen, const model *m) {
  if (m->target) m = m->follows;
  for (uint32_t i = 0; i < e->n_models; i++) chosen[i] |= e->models[i] == m && m->trained;
}

/* Those of the last calls in front of the features. */
static void mark_judged(const elaborator *e, const graph *g, bool *chosen, arena *scratch) {
  bool *reached = ARENA_ARRAY(scratch, bool, g->n_values);
  for (uint32_t i = 0; i < g->n_results; i++) reached[g->results[i].value] = true;
  for (uint32_t i = g->n_nodes; i-- > 0;) {
    const node *n = &g->nodes[i];
    bool called = false;
    for (uint32_t k = 0; reached[n->first_result] && k < e->n_calls; k++) {
      const model_call *c = &e->calls[k];
      if (c->graph != g || !c->n_outputs || c->outputs[0] != n->first_result) continue;
      mark(e, chosen, c->model);
      called = true;
    }
    for (uint32_t k = 0; reached[n->first_result] && !called && k < n->n_operands; k++) reached[n->operands[k]] = true;
  }
}

/* -- the metrics ---------------------------------------------------------------------------------------------------- */

static void add_figure(elaborator *e, const char *measure, const char *name, const model_call *c) {
  binding *b = scope_find(e->library, measure);
  object rows = tensor_object(e, c->outputs[0], false, c->where), f = binding_value(e, b, c->where);
  object o = call_with(e, f, &rows, 1, c->where);
  if (!is_poison(&o)) graph_add_result(e->graph, "metric", arena_printf(e->arena, "%s/%s", name, c->model->name), o.tensor.value, c->where);
}

static void add_figures(elaborator *e, graph *g, const bool *chosen, arena *scratch) {
  const model_call **calls = ARENA_ARRAY(scratch, const model_call *, e->n_models + 1);
  for (uint32_t i = 0; i < e->n_models; i++) calls[i] = chosen[i] ? first_call(e, g, e->models[i], scratch) : NULL;
  e->graph = g;
  for (uint32_t i = 0; i < e->n_models; i++) {
    if (!calls[i] || !enter_frame(e, "figures", calls[i]->where)) continue;
    add_figure(e, "embedding_std", "std", calls[i]);
    add_figure(e, "effective_rank", "rank", calls[i]);
    leave_frame(e);
  }
}

void add_embedding_figures(elaborator *e, const dataflow *f) {
  const experiment *x = e->experiment;
  bool *chosen = ARENA_ARRAY(f->scratch, bool, e->n_models + 1);
  for (uint32_t i = 0; i < x->n_evals; i++)
    if (x->evals[i].kind == EVAL_FEATURES) mark_judged(e, x->evals[i].graph, chosen, f->scratch);
  for (uint32_t i = 0; i < f->n; i++)
    for (uint32_t k = 0; !f->terms[i].reads_data && !f->terms[i].reads_draws && k < f->terms[i].n_leaves; k++) mark(e, chosen, f->terms[i].leaves[k].call->model);
  for (uint32_t i = 0; i < x->n_phases; i++) add_figures(e, x->phases[i].graph, chosen, f->scratch);
}
