/* Where gradients do not go, and where they should not: models that nothing trains, with the place that cuts them off, and
 * targets that a gradient passes through. */
#include "frontend/dataflow.h"

static uint32_t line_of(const elaborator *e, span where) { return source_position(e->diagnostics->sources, where.file, where.start).line; }

static bool has_weights(const elaborator *e, const model *m) {
  for (uint32_t i = 0; i < e->n_cells; i++)
    if (e->cells[i]->model == m && e->cells[i]->kind == STATE_WEIGHT) return true;
  return false;
}

/* -- a model without a gradient ---------------------------------------------------------------------------------- */

/* Per value of the step: is it computed from a weight of the model, with or without a derivative? */
static bool *made_of(const elaborator *e, const model *m, arena *scratch) {
  const graph *g = e->step;
  bool *made = ARENA_ARRAY(scratch, bool, g->n_values);
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    bool any = false;
    if (n->op == OP_PARAMETER && !strcmp(node_attribute(n, ATTR_ROLE)->as.text, "state")) {
      const cell *c = find_cell(e, node_attribute(n, ATTR_NAME)->as.text);
      any = c && c->model == m && c->kind == STATE_WEIGHT;
    }
    for (uint32_t k = 0; k < n->n_operands && !any; k++) any = made[n->operands[k]];
    for (uint32_t k = 0; k < n->n_results; k++) made[n->first_result + k] = any;
  }
  return made;
}

/* Why no gradient comes from a loss to the model that `made` belongs to. */
typedef struct {
  bool depends;               /* it is computed from the model */
  const trained_loss *leaves_out; /* a gradient would reach the model, and wrt leaves it out */
  const trained_loss *loss;   /* the first loss that depends on it */
  const node *cuts[3];        /* where stop_grad ends the way */
  uint32_t n_cuts;
} severance;

static void look_at_loss(const elaborator *e, const trained_loss *loss, const bool *made, severance *why, arena *scratch) {
  const graph *g = e->step;
  if (!made[loss->loss]) return;
  const bool *reached = graph_differentiable_to(g, loss->loss, scratch);
  why->depends = true;
  if (!why->loss) why->loss = loss;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    if (!reached[n->first_result] || !made[n->first_result]) continue;
    if (n->op == OP_PARAMETER) why->leaves_out = loss;
    if (n->op == OP_STOP_GRAD && why->n_cuts < 3) why->cuts[why->n_cuts++] = n;
  }
}

static void report_untrained(elaborator *e, const model *m, const severance *why) {
  const char *reason = "nothing that is minimized depends on it";
  if (why->leaves_out) reason = arena_printf(e->arena, "the wrt of minimize (line %u) leaves it out", line_of(e, why->leaves_out->where));
  else if (why->n_cuts == 1)
    reason = arena_printf(e->arena, "its only path to minimize (line %u) passes through stop_grad (line %u)", line_of(e, why->loss->where), line_of(e, why->cuts[0]->where));
  else if (why->n_cuts) reason = arena_printf(e->arena, "all its paths to minimize (line %u) pass through stop_grad", line_of(e, why->loss->where));
  else if (why->depends) reason = arena_printf(e->arena, "its paths to minimize (line %u) go through operations without a derivative", line_of(e, why->loss->where));
  diagnostic *d = diagnose_warning(e->diagnostics, DIAG_NEVER_TRAINED, m->where, "the model %s gets no gradient: %s", m->name, reason);
  for (uint32_t i = 0; i < why->n_cuts && !why->leaves_out; i++) diagnostic_add_note(e->diagnostics, d, why->cuts[i]->where, "stop_grad ends the way of the gradient here");
  if (why->loss) diagnostic_add_note(e->diagnostics, d, (why->leaves_out ? why->leaves_out : why->loss)->where, "this is minimized");
  for (uint32_t i = 0; i < e->n_models; i++)
    if (e->models[i]->follows == m) diagnostic_add_note(e->diagnostics, d, e->models[i]->where, "the target %s follows it, and stays as it began too", e->models[i]->name);
  diagnostic_set_help(e->diagnostics, d, "%s keeps its first weights; use its output in a loss that is to train it", m->name);
}

static void check_model(elaborator *e, const model *m, arena *scratch) {
  severance why = {0};
  if (m->target || m->trained || !m->called || !has_weights(e, m)) return;
  const bool *made = made_of(e, m, scratch);
  for (uint32_t i = 0; i < e->n_losses; i++) look_at_loss(e, &e->losses[i], made, &why, scratch);
  report_untrained(e, m, &why);
}

/* -- targets ------------------------------------------------------------------------------------------------------- */

static bool is_step(const elaborator *e, const graph *g) {
  for (uint32_t i = 0; i < e->experiment->n_phases; i++)
    if (e->experiment->phases[i].graph == g) return true;
  return false;
}

/* A target that eval alone calls is not part of a step, and does not move. */
static void check_target(elaborator *e, const model *m) {
  if (!m->target || !m->called) return;
  const model_call *judged = NULL;
  for (uint32_t i = 0; i < e->n_calls; i++) {
    if (e->calls[i].model != m) continue;
    if (is_step(e, e->calls[i].graph)) return;
    judged = &e->calls[i];
  }
  if (!judged) return;
  diagnostic *d = diagnose_warning(e->diagnostics, DIAG_NEVER_MOVED, m->where, "the target %s is called in eval alone: only a target that the pretext calls follows %s", m->name,
                                   m->follows->name);
  diagnostic_add_note(e->diagnostics, d, judged->where, "eval judges its first weights here");
  diagnostic_set_help(e->diagnostics, d, "judge %s, or use %s in the pretext", m->follows->name, m->name);
}

/* What a gradient passes through on its way to a weight of another model is no standing target. */
static bool check_passage(elaborator *e, const trained_loss *loss, const model_call *c, const bool *reached, arena *scratch) {
  for (uint32_t k = 0; k < c->n_outputs; k++) {
    if (!reached[c->outputs[k]]) continue;
    const bool *behind = graph_differentiable_to(e->step, c->outputs[k], scratch);
    for (uint32_t i = 0; i < loss->n; i++) {
      const model *trained = loss->cells[i]->model;
      if (!trained || !behind[loss->at[i]]) continue;
      diagnostic *d = diagnose_warning(e->diagnostics, DIAG_THROUGH_TARGET, c->where, "the gradient passes through the target %s and trains %s: what should stand still moves", c->model->name,
                                       trained->name);
      diagnostic_add_note(e->diagnostics, d, loss->where, "it comes from this loss");
      diagnostic_set_help(e->diagnostics, d, "put stop_grad around %s(...), and use the target of %s in front of it", c->model->name, trained->name);
      return true;
    }
  }
  return false;
}

static void check_passages(elaborator *e, const model *m, arena *scratch) {
  for (uint32_t i = 0; m->target && i < e->n_losses; i++) {
    const bool *reached = graph_differentiable_to(e->step, e->losses[i].loss, scratch);
    for (uint32_t k = 0; k < e->n_calls; k++)
      if (e->calls[k].model == m && e->calls[k].graph == e->step && check_passage(e, &e->losses[i], &e->calls[k], reached, scratch)) return;
  }
}

void warn_untrained(elaborator *e) {
  arena *scratch = e->n_losses ? arena_new() : NULL;
  for (uint32_t i = 0; i < e->n_models; i++) {
    check_target(e, e->models[i]);
    if (!scratch) continue;
    check_model(e, e->models[i], scratch);
    check_passages(e, e->models[i], scratch);
  }
  if (scratch) arena_free(scratch);
}
