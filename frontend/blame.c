/* Which operation first made a value that is not finite. The step's graph is replayed by the interpreter on what the step
 * saw: a value counts when its operands are finite and it is not, so that a mask of -inf is no suspect. A step that is too
 * large for the interpreter is run once more, with a look at memory behind every launch. */
#include <math.h>
#include <stdlib.h>

#include "frontend/session.h"
#include "passes/passes.h"

/* About a minute of the interpreter, in products and elements. */
static const double most_work = 2e9, most_bytes = 4e9;

typedef struct {
  const graph *graph;
  const graph_run *run;
  arena *arena;
} replay;

/* The graph as it was compiled, before fusion. */
static const graph *plain_graph(const sslc_program *p, const graph *g, diagnostics *d, arena *a) {
  pass_context c = {a, d, &hardware_describe(p->hardware)->target};
  for (const pass_info *pass = pass_table; g && pass->graph; pass++) g = pass->graph(g, &c);
  return g;
}

typedef struct {
  double work, bytes;
} effort;

static effort effort_of(const graph *g, arena *a) {
  effort all = {0};
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    const tensor_type *t = graph_type(g, n->first_result);
    double points = (double)type_elements(t);
    const char *error;
    if (n->op == OP_REPEAT) { /* an iteration leaves no bytes behind */
      const effort inside = effort_of(n->region, a);
      points = inside.work * (double)node_integer(n, ATTR_TIMES);
      all.bytes += inside.bytes;
    } else if (n->op == OP_CONTRACT) {
      int64_t extent[MAX_CONTRACTION_AXES];
      tensor_type types[2] = {*graph_type(g, n->operands[0]), *graph_type(g, n->operands[1])};
      if (!contraction_extents(n->contraction, types, t, extent, a, &error)) continue;
      points = 1;
      for (uint32_t k = 0; k < n->contraction->n_axes; k++) points *= (double)extent[k];
    } else if (n->n_operands && !op_table[n->op].elementwise) {
      points += (double)type_elements(graph_type(g, n->operands[0]));
    }
    all.work += points;
    for (uint32_t k = 0; k < n->n_results; k++) all.bytes += (double)type_bytes(graph_type(g, n->first_result + k));
  }
  return all;
}

static bool too_large(const graph *g, arena *a) {
  const effort e = effort_of(g, a);
  return e.work > most_work || e.bytes > most_bytes;
}

/* Everything that the step read is still in its instance: states too, since a step that is not finite keeps them. */
static graph_binding *bind_inputs(const graph *g, const instance *i, arena *a, uint32_t *n) {
  graph_binding *bindings = ARENA_ARRAY(a, graph_binding, g->n_nodes);
  *n = 0;
  for (uint32_t k = 0; k < g->n_nodes; k++) {
    const node *at = &g->nodes[k];
    if (at->op != OP_PARAMETER) continue;
    const char *role = node_attribute(at, ATTR_ROLE)->as.text, *name = node_attribute(at, ATTR_NAME)->as.text;
    void *data = arena_alloc(a, (size_t)type_bytes(graph_type(g, at->first_result)) + 1);
    instance_get(i, role, name, data);
    bindings[(*n)++] = (graph_binding){role, name, data};
  }
  return bindings;
}

/* The first element that is NaN or infinite; -1 when all are finite. */
static int64_t first_bad(const replay *r, value v) {
  const tensor_type *t = graph_type(r->graph, v);
  if (!dtype_is_real(t->dtype)) return -1;
  for (int64_t e = 0; e < type_elements(t); e++)
    if (!isfinite(element_load(t->dtype, r->run->data[v], e).real)) return e;
  return -1;
}

static bool operands_finite(const replay *r, const node *n) {
  for (uint32_t k = 0; k < n->n_operands; k++)
    if (first_bad(r, n->operands[k]) >= 0) return false;
  return true;
}

/* Whether the loss needs the node: what it does not need came by differentiation (or goes to a metric). */
static bool is_forward(const replay *r, uint32_t wanted) {
  const graph *g = r->graph;
  bool *needed = ARENA_ARRAY(r->arena, bool, g->n_nodes);
  for (uint32_t i = 0; i < g->n_results; i++)
    if (!strcmp(g->results[i].role, "metric") && !strcmp(g->results[i].name, "loss")) needed[g->values[g->results[i].value].node] = true;
  for (uint32_t i = g->n_nodes; i-- > 0;)
    for (uint32_t k = 0; needed[i] && k < g->nodes[i].n_operands; k++) needed[g->values[g->nodes[i].operands[k]].node] = true;
  return needed[wanted];
}

static const char *not_finite_text(double x) { return isnan(x) ? "NaN" : x > 0 ? "inf" : "-inf"; }

/* "log(0) gives -inf" for ops that work element by element; else what the first such element is. */
static const char *describe_element(const replay *r, const node *n, int64_t e) {
  scalar made = element_load(graph_type(r->graph, n->first_result)->dtype, r->run->data[n->first_result], e);
  if (!op_table[n->op].elementwise) return arena_printf(r->arena, "element %lld is %s", (long long)e, not_finite_text(made.real));
  const char *list = "";
  for (uint32_t k = 0; k < n->n_operands; k++) {
    dtype t = graph_type(r->graph, n->operands[k])->dtype;
    scalar x = element_load(t, r->run->data[n->operands[k]], e);
    list = arena_printf(r->arena, "%s%s%g", list, k ? ", " : "", dtype_is_real(t) ? x.real : (double)x.integer);
  }
  return arena_printf(r->arena, "%s(%s) is %s at element %lld", op_table[n->op].name, list, not_finite_text(made.real), (long long)e);
}

/* What is looked for in the iterations of a loop. */
typedef struct {
  const sources *sources;
  arena *arena;
  const char *direction, *found;
} search_in_loop;

static bool look_into_iteration(void *context, const graph *region, const graph_run *run, int64_t index);

/* The first operation that made a value that is not finite of finite ones. `direction`: that of the loop around, or NULL. */
static const char *find_operation(const replay *r, const sources *s, const char *direction) {
  const graph *g = r->graph;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    int64_t e = -1;
    for (uint32_t k = 0; n->op != OP_PARAMETER && n->op != OP_CONSTANT && k < n->n_results && e < 0; k++) e = first_bad(r, n->first_result + k);
    if (e < 0 || !operands_finite(r, n)) continue;
    const char *way = direction ? direction : is_forward(r, i) ? "forward" : "backward", *error;
    search_in_loop inside = {s, r->arena, way, NULL};
    if (n->op == OP_REPEAT) graph_interpret_repeat(g, n, r->run->data, look_into_iteration, &inside, &error);
    if (inside.found) return inside.found;
    const char *place = span_text(s, n->where, r->arena);
    return arena_printf(r->arena, "%s%s%s, %s, %s", op_table[n->op].name, *place ? " at " : "", place, way, describe_element(r, n, e));
  }
  return NULL;
}

static bool look_into_iteration(void *context, const graph *region, const graph_run *run, int64_t index) {
  search_in_loop *search = context;
  const replay r = {region, run, search->arena};
  const char *found = find_operation(&r, search->sources, search->direction);
  if (found) search->found = arena_printf(search->arena, "%s, in iteration %lld of a loop", found, (long long)index);
  return !found;
}

static const char *find_culprit(const replay *r, const sources *s) {
  const graph *g = r->graph;
  const char *found = find_operation(r, s, NULL);
  if (found) return found;
  for (uint32_t i = 0; i < g->n_nodes; i++) /* nothing but inputs can have brought it in */
    if (g->nodes[i].op == OP_PARAMETER && first_bad(r, g->nodes[i].first_result) >= 0)
      return arena_printf(r->arena, "%s \"%s\" was given so", node_attribute(&g->nodes[i], ATTR_ROLE)->as.text, node_attribute(&g->nodes[i], ATTR_NAME)->as.text);
  return "the replay in exact order stays finite: the numbers are at the edge of what their type holds";
}

/* -- large steps ----------------------------------------------------------------------------------------------- */

typedef struct {
  span infinite, nan; /* of what made the first of each; file 0: none yet */
} watch;

static void look(watch *w, const instance *at, uint32_t buffer, span made) {
  const tensor_type *t = &instance_plan(at)->buffers[buffer].type;
  void *data = dtype_is_real(t->dtype) ? malloc((size_t)type_bytes(t) + 1) : NULL;
  if (!data) return;
  if (!instance_read(at, buffer, data)) return free(data);
  for (int64_t e = 0; e < type_elements(t) && !w->nan.file; e++) {
    double v = element_load(t->dtype, data, e).real;
    if (isnan(v)) w->nan = made;
    else if (isinf(v) && !w->infinite.file) w->infinite = made;
  }
  free(data);
}

/* Goes on behind an infinity, which may be meant (a mask), until there is a NaN. */
static bool look_behind_launch(void *context, const instance *at, uint32_t launch) {
  watch *w = context;
  const plan_launch *l = &instance_plan(at)->launches[launch];
  for (uint32_t s = 0; s < l->kernel->n_stages; s++)
    if (l->kernel->stages[s].output >= 0) look(w, at, l->buffers[l->kernel->stages[s].output], l->kernel->stages[s].where);
  return !w->nan.file;
}

/* The step keeps its states, so running it again changes nothing. */
static const char *search_memory(const sslc_program *p, arena *a) {
  watch w = {0};
  instance_run_watched(p->step->instance, look_behind_launch, &w);
  const char *infinite = span_text(p->sources, w.infinite, a), *nan = span_text(p->sources, w.nan, a);
  if (!w.infinite.file && !w.nan.file) return "none in memory";
  return arena_printf(a, "%s%s%s%s%s", w.infinite.file ? "an infinity at " : "", infinite, w.infinite.file && w.nan.file ? ", then " : "",
                      w.nan.file ? "NaN at " : "", nan);
}

static const char *search(const sslc_program *p, arena *a) {
  const char *error = NULL;
  uint32_t n;
  diagnostics *d = diagnostics_new(a, p->sources);
  const graph *g = plain_graph(p, p->step->graph, d, a);
  if (!g) return "unknown";
  if (too_large(g, a)) return search_memory(p, a);
  graph_binding *bindings = bind_inputs(g, p->step->instance, a, &n);
  if (instance_failure(p->step->instance)) return arena_string(a, instance_failure(p->step->instance));
  replay r = {g, graph_interpret(g, bindings, n, a, &error), a};
  return r.run ? find_culprit(&r, p->sources) : error;
}

char *blame_step(sslc_program *p) {
  arena *a = arena_new();
  if (!a) return NULL;
  const char *volatile culprit = "not found for lack of memory";
  char *volatile text = NULL;
  jmp_buf exhausted;
  arena_on_exhausted(a, &exhausted);
  if (!setjmp(exhausted)) culprit = search(p, a);
  double loss = stepper_metric(&p->stepper, "loss");
  size_t n = strlen(culprit) + 160;
  text = malloc(n);
  if (text)
    snprintf(text, n, "%s at step %lld; first non-finite value: %s",
             isnan(loss) ? "loss is NaN" : isinf(loss) ? "loss is infinite" : "a gradient is not finite", (long long)p->stepper.done, culprit);
  arena_free(a);
  return text;
}
