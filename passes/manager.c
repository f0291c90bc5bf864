/* The pipeline: the rows of passes.def in their order, with the verifier after each. */
#include "passes/passes.h"

const pass_info pass_table[] = {
#define GRAPH_PASS(id, name, doc) {name, doc, pass_##id, NULL, NULL},
#include "passes/passes.def"
    {"fuse", "groups nodes into kernels; views dissolve into index expressions", NULL, pass_fuse, NULL},
#define PLAN_PASS(id, name, doc) {name, doc, NULL, NULL, pass_##id},
#include "passes/passes.def"
    {NULL, NULL, NULL, NULL, NULL},
};

static bool sound(pass_context *c, const char *pass, span where, const char *subject, const char *error) {
  if (error) diagnose(c->diagnostics, DIAG_IR_INVALID, where, "after %s, %s is wrong: %s", pass, subject, error);
  return !error;
}

/* Launches share kernels; each is checked where it comes first. */
static bool is_first_launch(const plan *p, uint32_t launch) {
  for (uint32_t i = 0; i < launch; i++)
    if (p->launches[i].kernel == p->launches[launch].kernel) return false;
  return true;
}

static bool kernels_are_sound(const plan *p, pass_context *c, const char *pass, arena *scratch) {
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const kernel *k = p->launches[i].kernel;
    const loops *lowered = p->launches[i].loops;
    if (p->launches[i].repeat && !kernels_are_sound(p->launches[i].repeat->plan, c, pass, scratch)) return false;
    if (p->launches[i].repeat || !is_first_launch(p, i)) continue;
    if (!sound(c, pass, k->where, k->name, kernel_verify(k, scratch))) return false;
    if (lowered && !sound(c, pass, k->where, k->name, loops_verify(lowered, scratch))) return false;
  }
  return true;
}

static bool plan_is_sound(const plan *p, pass_context *c, const char *pass) {
  arena *scratch = arena_beside(c->arena);
  const bool is = sound(c, pass, (span){0}, p->name, plan_verify(p, scratch)) && kernels_are_sound(p, c, pass, scratch);
  arena_free(scratch);
  return is;
}

static bool graph_is_sound(const graph *g, pass_context *c, const char *pass) {
  arena *scratch = arena_beside(c->arena);
  const bool is = sound(c, pass, (span){0}, g->name, graph_verify(g, scratch));
  arena_free(scratch);
  return is;
}

bool for_each_region(plan *p, pass_context *c, plan_pass *pass) {
  for (uint32_t i = 0; i < p->n_launches; i++)
    if (p->launches[i].repeat && !pass(p->launches[i].repeat->plan, c)) return false;
  return true;
}

plan *run_passes(const graph *g, pass_context *c, pass_observer *observer, void *observer_context) {
  plan *p = NULL;
  if (!graph_is_sound(g, c, "the front end")) return NULL;
  for (const pass_info *pass = pass_table; pass->name; pass++) {
    if (pass->graph) {
      g = pass->graph(g, c);
      if (!g || !graph_is_sound(g, c, pass->name)) return NULL;
    } else {
      if (pass->fuse) p = pass->fuse(g, c);
      if (!p || (pass->plan && !pass->plan(p, c)) || !plan_is_sound(p, c, pass->name)) return NULL;
    }
    if (observer && !observer(observer_context, pass->name, p ? NULL : g, p)) return NULL;
  }
  return p;
}
