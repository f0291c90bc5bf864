/* What a program declares and makes no use of: warnings, since it runs all the same. */
#include "frontend/elaborate.h"

void warn_unused(elaborator *e) {
  for (uint32_t i = 0; i < e->n_models; i++) {
    const model *m = e->models[i];
    bool shared = m->where.file != e->main_file; /* of a file that several programs use */
    if (!m->called && !shared) diagnose_warning(e->diagnostics, DIAG_NEVER_CALLED, m->where, "the %s %s is never called", m->target ? "target" : "model", m->name);
  }
  for (uint32_t i = 0; i < e->n_cells; i++) {
    const cell *c = e->cells[i];
    if (!c->position || c->written.file) continue;
    diagnostic *d = diagnose_warning(e->diagnostics, DIAG_NEVER_PUSHED, c->where, "the queue %s is never pushed: it keeps its first rows", c->name);
    diagnostic_set_help(e->diagnostics, d, "write %s <- push(rows) in the pretext", c->name);
  }
}
