/* Drops every node that no result needs, and of loops the carries, slices, invariants and outputs that none does. A
 * state that has a result keeps its parameter even when the new value does not depend on the old one: the pair is
 * one place in memory. */
#include "ir/region.h"
#include "passes/rebuild.h"

/* -- what is needed --------------------------------------------------------------------------------------------- */

static bool *needed_values(const graph *g, const bool *results, arena *a);

/* Which results of a loop's region are needed, given which of its own are: a carry is needed too when the needed part
 * of the region reads it. `inside`: the values of the region that those need. */
static bool *needed_results(const node *n, const region_view *r, const bool *wanted, const bool **inside, arena *a) {
  bool *needed = arena_copy(a, wanted, n->n_results * sizeof *needed);
  for (bool changed = true; changed;) {
    bool *of_region = ARENA_ARRAY(a, bool, n->region->n_results + 1);
    for (uint32_t i = 0; i < n->region->n_results; i++)
      for (uint32_t k = 0; k < n->n_results; k++) /* several results may be one value: each is wanted on its own */
        of_region[i] |= needed[k] && r->results[k] == n->region->results[i].value;
    *inside = needed_values(n->region, of_region, a);
    changed = false;
    for (uint32_t k = 0; k < r->n_carries; k++) {
      changed |= (*inside)[r->parameters[k]] && !needed[k];
      needed[k] |= (*inside)[r->parameters[k]];
    }
  }
  return needed;
}

static void need_operands(const node *n, bool *needed, arena *a) {
  if (n->op != OP_REPEAT) {
    for (uint32_t k = 0; k < n->n_operands; k++) needed[n->operands[k]] = true;
    return;
  }
  const bool *inside;
  region_view r = node_region(n, a);
  const bool *results = needed_results(n, &r, &needed[n->first_result], &inside, a);
  for (uint32_t k = 0; k < n->n_operands; k++) needed[n->operands[k]] |= k < r.n_carries ? results[k] : r.parameters[k] && inside[r.parameters[k]];
}

/* Per value: do the marked results need it? */
static bool *needed_values(const graph *g, const bool *results, arena *a) {
  bool *needed = ARENA_ARRAY(a, bool, g->n_values);
  for (uint32_t i = 0; i < g->n_results; i++) needed[g->results[i].value] |= results[i];
  for (uint32_t i = g->n_nodes; i-- > 0;) {
    const node *n = &g->nodes[i];
    bool any = false;
    for (uint32_t k = 0; k < n->n_results; k++) any |= needed[n->first_result + k];
    if (any) need_operands(n, needed, a);
  }
  return needed;
}

static bool is_state_with_result(const graph *g, const node *n) {
  if (n->op != OP_PARAMETER || strcmp(node_attribute(n, ATTR_ROLE)->as.text, "state")) return false;
  for (uint32_t i = 0; i < g->n_results; i++)
    if (!strcmp(g->results[i].role, "state") && !strcmp(g->results[i].name, node_attribute(n, ATTR_NAME)->as.text)) return true;
  return false;
}

/* -- what is left ------------------------------------------------------------------------------------------------- */

static void copy_needed(rebuild *r, const node *n, uint32_t number, const bool *needed);

/* The region with what is needed of it, under new numbers; `parameters` and `results` say what is kept. */
static const graph *smaller_region(rebuild *around, const node *n, const region_view *r, const bool *inside, const bool *parameters, const bool *results) {
  rebuild body = rebuild_begin(n->region, around->context, around->pass, NULL);
  uint32_t next[3] = {0}; /* carries, slices, invariants */
  for (uint32_t k = 0; k < n->n_operands; k++) {
    if (!parameters[k]) continue;
    static const char *const roles[] = {"state", "slice", "invariant"};
    uint32_t kind = k < r->n_carries ? 0 : k < r->n_carries + r->n_slices ? 1 : 2;
    body.map[r->parameters[k]] = region_parameter(body.into, roles[kind], next[kind]++, *graph_type(n->region, r->parameters[k]),
                                                  graph_span(n->region, r->parameters[k]));
  }
  for (uint32_t i = 0; i < n->region->n_nodes && !body.failed; i++) {
    const node *at = &n->region->nodes[i];
    if (at->op != OP_PARAMETER || at->first_result == r->index) copy_needed(&body, at, i, inside);
  }
  uint32_t kept[2] = {0}; /* carries, outputs */
  for (uint32_t k = 0; k < n->n_results && !body.failed; k++)
    if (results[k]) region_result(body.into, k < r->n_carries ? "state" : "output", kept[k >= r->n_carries]++, body.map[r->results[k]], n->where);
  around->failed |= body.failed;
  return body.into;
}

static void copy_repeat(rebuild *into, const node *n, const bool *needed) {
  arena *a = into->context->arena;
  const bool *inside;
  region_view r = node_region(n, a), kept = {.times = r.times, .reverse = r.reverse};
  const bool *results = needed_results(n, &r, &needed[n->first_result], &inside, a);
  bool *parameters = ARENA_ARRAY(a, bool, n->n_operands + 1);
  value *operands = ARENA_ARRAY(a, value, n->n_operands + 1);
  uint32_t n_operands = 0;
  for (uint32_t k = 0; k < n->n_operands; k++) {
    parameters[k] = k < r.n_carries ? results[k] : r.parameters[k] && inside[r.parameters[k]];
    if (!parameters[k]) continue;
    kept.n_carries += k < r.n_carries;
    kept.n_slices += k >= r.n_carries && k < r.n_carries + r.n_slices;
    operands[n_operands++] = into->map[n->operands[k]];
  }
  const graph *body = smaller_region(into, n, &r, inside, parameters, results);
  const char *error = NULL;
  value made = into->failed ? 0 : graph_repeat(into->into, &kept, body, operands, n_operands, n->where, &error);
  if (!made) {
    rebuild_fail(into, n->where, error ? error : "a loop was refused");
    return;
  }
  for (uint32_t k = 0; k < n->n_results; k++)
    if (results[k]) into->map[n->first_result + k] = made++;
}

static void copy_needed(rebuild *r, const node *n, uint32_t number, const bool *needed) {
  bool any = is_state_with_result(r->from, n);
  for (uint32_t k = 0; k < n->n_results; k++) any |= needed[n->first_result + k];
  if (any && n->op == OP_REPEAT) copy_repeat(r, n, needed);
  else if (any) rebuild_copy(r, number);
}

graph *pass_dce(const graph *g, pass_context *c) {
  rebuild r = rebuild_begin(g, c, "dce", NULL);
  bool *all = ARENA_ARRAY(c->arena, bool, g->n_results + 1);
  memset(all, true, g->n_results);
  const bool *needed = needed_values(g, all, c->arena);
  for (uint32_t i = 0; i < g->n_nodes && !r.failed; i++) copy_needed(&r, &g->nodes[i], i, needed);
  return rebuild_end(&r);
}
