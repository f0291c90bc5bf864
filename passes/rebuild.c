#include "passes/rebuild.h"

rebuild rebuild_begin(const graph *from, pass_context *c, const char *pass, graph_pass *regions) {
  return (rebuild){.from = from,
                   .into = graph_new(c->arena, from->name),
                   .map = ARENA_ARRAY(c->arena, value, from->n_values),
                   .context = c,
                   .pass = pass,
                   .regions = regions};
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
  const graph *region = n->region && r->regions ? r->regions(n->region, r->context) : n->region;
  if (n->region && !region) {
    r->failed = true; /* reported inside */
    return 0;
  }
  value first = region ? graph_add_repeat(r->into, operands, n->n_operands, n->attributes, n->n_attributes, region, n->where, &error)
                       : graph_add(r->into, n->op, operands, n->n_operands, n->attributes, n->n_attributes, declared, n->where, &error);
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

bool graph_has_grad(const graph *g) {
  for (uint32_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == OP_GRAD) return true;
  return false;
}
