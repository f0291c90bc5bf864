/* What a program declares and makes no use of: warnings, since it runs all the same. */
#include "frontend/elaborate.h"

static bool has_weights(const elaborator *e, const model *m) {
  for (uint32_t i = 0; i < e->n_cells; i++)
    if (e->cells[i]->model == m && e->cells[i]->kind == STATE_WEIGHT) return true;
  return false;
}

static void check_model(elaborator *e, const model *m, bool any_trained) {
  const char *kind = m->target ? "target" : "model";
  if (!m->called && m->where.file != e->main_file) return; /* of a file that several programs use */
  if (!m->called) {
    diagnose_warning(e->diagnostics, DIAG_NEVER_CALLED, m->where, "the %s %s is never called", kind, m->name);
  } else if (any_trained && !m->target && !m->trained && has_weights(e, m)) {
    diagnostic *d = diagnose_warning(e->diagnostics, DIAG_NEVER_TRAINED, m->where, "the model %s gets no gradient: it keeps its first weights", m->name);
    diagnostic_set_help(e->diagnostics, d, "its ways to minimize pass through stop_grad, or wrt leaves it out");
  }
}

void warn_unused(elaborator *e) {
  bool any_trained = false;
  for (uint32_t i = 0; i < e->n_models; i++) any_trained |= e->models[i]->trained;
  for (uint32_t i = 0; i < e->n_models; i++) check_model(e, e->models[i], any_trained);
  for (uint32_t i = 0; i < e->n_cells; i++) {
    const cell *c = e->cells[i];
    if (!c->position || c->written.file) continue;
    diagnostic *d = diagnose_warning(e->diagnostics, DIAG_NEVER_PUSHED, c->where, "the queue %s is never pushed: it keeps its first rows", c->name);
    diagnostic_set_help(e->diagnostics, d, "write %s <- push(rows) in the pretext", c->name);
  }
}
