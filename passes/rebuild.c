#include "passes/rebuild.h"

rebuild rebuild_begin(const graph *from, pass_context *c, const char *pass) {
  return (rebuild){.from = from,
                   .into = graph_new(c->arena, from->name),
                   .map = ARENA_ARRAY(c->arena, value, from->n_values),
                   .context = c,
                   .pass = pass};
}

void rebuild_fail(rebuild *r, span where, const char *why) {
  if (!r->failed) diagnose(r->context->diagnostics, DIAG_PASS_FAILED, where, "pass %s: %s", r->pass, why);
  r->failed = true;
}

value rebuild_copy(rebuild *r, uint32_t node_index) {
  const node *n = &r->from->nodes[node_index];
  value *operands = ARENA_ARRAY(r->into->arena, value, n->n_operands);
  for (uint32_t i = 0; i < n->n_operands; i++) {
    operands[i] = r->map[n->operands[i]];
    if (!operands[i]) {
      rebuild_fail(r, n->where, "an operand was dropped although it is used");
      return 0;
    }
  }
  const tensor_type *declared = n->n_results == 1 ? graph_type(r->from, n->first_result) : NULL;
  const char *error = NULL;
  value first =
      graph_add(r->into, n->op, operands, n->n_operands, n->attributes, n->n_attributes, declared, n->where, &error);
  if (!first) {
    rebuild_fail(r, n->where, error ? error : "a node was refused");
    return 0;
  }
  for (uint32_t i = 0; i < n->n_results; i++) r->map[n->first_result + i] = first + i;
  return first;
}

graph *rebuild_end(rebuild *r) {
  for (uint32_t i = 0; i < r->from->n_results && !r->failed; i++) {
    const graph_result *result = &r->from->results[i];
    if (r->map[result->value])
      graph_add_result(r->into, result->role, result->name, r->map[result->value], result->where);
    else rebuild_fail(r, result->where, "a result was dropped");
  }
  return r->failed ? NULL : r->into;
}

static const char *parameter_text(const node *n, attribute_key key) {
  const attribute *a = node_attribute(n, key);
  return a ? a->as.text : "";
}

static bool has_state_result(const graph *g, const char *name) {
  for (uint32_t i = 0; i < g->n_results; i++)
    if (strcmp(g->results[i].role, "state") == 0 && strcmp(g->results[i].name, name) == 0) return true;
  return false;
}

bool *graph_live_nodes(const graph *g, arena *scratch) {
  bool *live = ARENA_ARRAY(scratch, bool, g->n_nodes);
  for (uint32_t i = 0; i < g->n_results; i++) live[g->values[g->results[i].value].node] = true;
  for (uint32_t i = g->n_nodes; i-- > 0;) {
    const node *n = &g->nodes[i];
    if (!live[i] && n->op == OP_PARAMETER && strcmp(parameter_text(n, ATTR_ROLE), "state") == 0)
      live[i] = has_state_result(g, parameter_text(n, ATTR_NAME));
    for (uint32_t k = 0; live[i] && k < n->n_operands; k++) live[g->values[n->operands[k]].node] = true;
  }
  return live;
}

bool graph_has_grad(const graph *g) {
  for (uint32_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == OP_GRAD) return true;
  return false;
}
