/* Phases: `if` over the clock alone. The pretext is run once for each combination of answers that occurs among the
 * steps of the run, and each time it writes down a step of its own; so shapes may differ between them. What is decided
 * on the way is a path of conditions and answers, and the next path differs in its last answer that has another side. */
#include "frontend/elaborate.h"

enum { MOST_PHASES = 16, MOST_SCALARS = 1000 };

/* -- conditions ---------------------------------------------------------------------------------------------- */

static bool is_clock(const node *n) { return n->op == OP_PARAMETER && !strcmp(node_attribute(n, ATTR_ROLE)->as.text, "clock"); }

static bool is_known(const graph *g, value v) {
  const node *n = graph_node(g, v);
  return is_clock(n) || (n->op == OP_CONSTANT && node_attribute(n, ATTR_VALUE));
}

/* Collects what the scalar is computed from, operands first. False when that is more than numbers and the clock. */
static bool collect_scalars(const graph *g, value v, clock_condition *c, uint32_t *capacity, arena *a) {
  const node *n = graph_node(g, v);
  for (uint32_t i = 0; i < c->n; i++)
    if (c->values[i] == v) return true;
  if (graph_type(g, v)->rank || c->n == MOST_SCALARS || (!is_known(g, v) && !op_table[n->op].elementwise)) return false;
  for (uint32_t k = 0; k < n->n_operands; k++)
    if (!collect_scalars(g, n->operands[k], c, capacity, a)) return false;
  *ARENA_PUSH(a, c->values, c->n, *capacity) = v;
  return true;
}

static uint32_t place_of(const clock_condition *c, value v) {
  uint32_t i = 0;
  while (c->values[i] != v) i++;
  return i;
}

static bool holds_at(const clock_condition *c, int64_t step, int64_t steps_per_epoch) {
  scalar known[MOST_SCALARS];
  const graph *g = c->graph;
  for (uint32_t i = 0; i < c->n; i++) {
    const node *n = graph_node(g, c->values[i]);
    dtype type = graph_type(g, c->values[i])->dtype;
    scalar operands[8];
    for (uint32_t k = 0; k < n->n_operands; k++) operands[k] = known[place_of(c, n->operands[k])];
    if (n->op == OP_CONSTANT) known[i] = node_attribute(n, ATTR_VALUE)->as.scalar;
    else if (is_clock(n)) known[i].integer = strcmp(node_attribute(n, ATTR_NAME)->as.text, "step") ? step / steps_per_epoch : step;
    else known[i] = op_evaluate(n->op, graph_type(g, n->operands[n->n_operands - 1])->dtype, type, operands);
  }
  return known[c->n - 1].integer != 0;
}

static bool on_path(const clock_condition *path, uint32_t n, int64_t step, int64_t steps_per_epoch) {
  for (uint32_t i = 0; i < n; i++)
    if (holds_at(&path[i], step, steps_per_epoch) != path[i].holds) return false;
  return true;
}

uint32_t experiment_phase_at(const experiment *x, int64_t step) {
  int64_t at = step < x->steps ? step : x->steps - 1;
  for (uint32_t i = 1; i < x->n_phases; i++)
    if (on_path(x->phases[i].when, x->phases[i].n_when, at, x->steps_per_epoch)) return i;
  return 0;
}

/* -- deciding -------------------------------------------------------------------------------------------------- */

static bool same_scalar(const clock_condition *x, uint32_t i, const clock_condition *y, uint32_t k) {
  const node *n = graph_node(x->graph, x->values[i]), *m = graph_node(y->graph, y->values[k]);
  if (n->op != m->op || n->n_operands != m->n_operands || graph_type(x->graph, x->values[i])->dtype != graph_type(y->graph, y->values[k])->dtype) return false;
  if (n->op == OP_CONSTANT) return !memcmp(&node_attribute(n, ATTR_VALUE)->as.scalar, &node_attribute(m, ATTR_VALUE)->as.scalar, sizeof(scalar));
  if (is_clock(n)) return !strcmp(node_attribute(n, ATTR_NAME)->as.text, node_attribute(m, ATTR_NAME)->as.text);
  for (uint32_t o = 0; o < n->n_operands; o++)
    if (!same_scalar(x, place_of(x, n->operands[o]), y, place_of(y, m->operands[o]))) return false;
  return true;
}

/* Which answers occur on the path so far; the first to occur in *first. */
static void find_answers(elaborator *e, const clock_condition *c, bool occurs[2], bool *first) {
  const phase_path *p = &e->path;
  int64_t each = e->experiment->steps_per_epoch;
  for (int64_t step = 0; step < e->experiment->steps && !(occurs[0] && occurs[1]); step++) {
    if (!on_path(p->decided, p->at, step, each)) continue;
    bool holds = holds_at(c, step, each);
    if (!occurs[0] && !occurs[1]) *first = holds;
    occurs[holds] = true;
  }
}

bool decide_by_clock(elaborator *e, const object *condition, bool *holds) {
  phase_path *p = &e->path;
  uint32_t capacity = 0;
  clock_condition c = {.graph = e->graph};
  if (!p->open || condition->tensor.graph != e->graph || logical_type(condition).dtype != DTYPE_BOOL || !collect_scalars(e->graph, condition->tensor.value, &c, &capacity, e->arena)) return false;
  for (uint32_t i = 0; i < p->at; i++) /* asked before */
    if (p->decided[i].n == c.n && same_scalar(&p->decided[i], c.n - 1, &c, c.n - 1)) return *holds = p->decided[i].holds, true;
  bool occurs[2] = {false, false};
  if (p->at < p->n) { /* on a path that was walked before, as far as here */
    c.holds = p->decided[p->at].holds;
    p->decided[p->at++] = c;
    return *holds = c.holds, true;
  }
  find_answers(e, &c, occurs, &c.holds);
  if (occurs[0] && occurs[1]) {
    *ARENA_PUSH(e->arena, p->decided, p->n, p->decided_capacity) = c;
    *ARENA_PUSH(e->arena, p->has_other, p->n_has_other, p->has_other_capacity) = true;
    p->at++;
  }
  return *holds = c.holds, true;
}

/* -- all paths --------------------------------------------------------------------------------------------------- */

void begin_phase(elaborator *e) {
  experiment *x = e->experiment;
  const char *name = x->n_phases ? arena_printf(e->arena, "step_%u", x->n_phases + 1) : "step";
  e->path.at = 0;
  e->losses = NULL;
  e->n_losses = e->losses_capacity = 0;
  e->graph = e->step = graph_new(e->arena, name);
}

bool next_phase(elaborator *e, span where) {
  experiment *x = e->experiment;
  phase_path *p = &e->path;
  *ARENA_PUSH(e->arena, x->phases, x->n_phases, e->phases_capacity) =
      (experiment_phase){e->step, arena_copy(e->arena, p->decided, p->at * sizeof *p->decided), p->at};
  p->n = p->n_has_other = p->at;
  while (p->n && !p->has_other[p->n - 1]) p->n = --p->n_has_other;
  if (!p->n) return false;
  p->decided[p->n - 1].holds = !p->decided[p->n - 1].holds;
  p->has_other[p->n - 1] = false;
  if (x->n_phases < MOST_PHASES) return true;
  diagnostic *d = complain(e, DIAG_TOO_LONG, where, "conditions over the clock make more than %d different steps, and each is compiled", MOST_PHASES);
  diagnostic_set_help(e->diagnostics, d, "where(condition, a, b) chooses between values within one step");
  return false;
}
