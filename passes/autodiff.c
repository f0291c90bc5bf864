/* Replaces grad nodes by derivatives made of primitives: reverse accumulation. Nodes are taken in order,
 * so an inner grad is expanded before an outer one differentiates what it became; every rule emits
 * primitives, so derivatives of any order need nothing more. */
#include "passes/autodiff.h"

#include "passes/derivatives.h"

/* Contributions are added in the order of the walk, which the graph alone determines: the same program
 * always rounds the same way. */
bool add_cotangent(accumulation *s, value to, value contribution) {
  if (!contribution) return false;
  value *sum = &s->cotangent[to];
  *sum = *sum ? graph_binary(s->graph, OP_ADD, *sum, contribution, graph_span(s->graph, to)) : contribution;
  return *sum != 0;
}

/* Carries the cotangent of a node's result to those of its operands that lead to something sought. */
static bool propagate(accumulation *s, uint32_t node_index) {
  const node n = s->graph->nodes[node_index];
  const value result = n.first_result;
  if (n.op == OP_REPEAT) return derive_repeat(s, node_index);
  if (!s->cotangent[result] || !s->reached[result]) return true;
  for (uint32_t k = 0; k < n.n_operands; k++) {
    if (!s->reached[n.operands[k]]) continue;
    value contribution;
    if (!derive_operand(s->graph, result, s->cotangent[result], k, &contribution)) continue;
    if (!add_cotangent(s, n.operands[k], contribution)) {
      rebuild_fail(s->rebuild, n.where,
                   arena_printf(s->graph->arena, "cannot derive %s by operand %u", op_table[n.op].name, k));
      return false;
    }
  }
  return true;
}

bool pull_back(accumulation *s, uint32_t first, uint32_t last) {
  for (uint32_t i = last + 1; i-- > first;)
    if (!propagate(s, i)) return false;
  return true;
}

/* Replaces one grad node of the old graph; its operands are mapped and hold no grad any more. */
static void expand(rebuild *r, const node *grad) {
  graph *g = r->into;
  const uint32_t n = grad->n_results;
  const value y = r->map[grad->operands[0]];
  value *x = ARENA_ARRAY(g->arena, value, n);
  uint32_t first = g->n_nodes;
  for (uint32_t i = 0; i < n; i++) {
    x[i] = r->map[grad->operands[1 + i]];
    if (!x[i] || !y) return; /* a failure was reported where it happened */
    if (g->values[x[i]].node < first) first = g->values[x[i]].node;
  }
  const tensor_type seed = *graph_type(g, y);
  if (seed.rank != 0 || !dtype_is_real(seed.dtype)) {
    rebuild_fail(r, grad->where,
                 arena_printf(g->arena, "grad expected a real scalar and found %s", type_text(&seed, g->arena)));
    return;
  }
  accumulation s = {.rebuild = r, .graph = g, .cotangent = ARENA_ARRAY(g->arena, value, g->n_values)};
  s.reached = graph_differentiable_from(g, x, n, g->arena);
  if (s.reached[y]) s.cotangent[y] = graph_number(g, seed, 1.0, grad->where);
  /* A node before every x has no operand that depends on one. */
  if (!pull_back(&s, first, g->values[y].node)) return;
  for (uint32_t i = 0; i < n; i++) {
    value derivative = s.cotangent[x[i]];
    if (!derivative) derivative = graph_number(g, *graph_type(g, x[i]), 0.0, grad->where);
    r->map[grad->first_result + i] = derivative;
  }
}

/* Per value: does a grad node of this graph differentiate it? */
static const bool *differentiated_values(const graph *g, arena *a) {
  value *y = ARENA_ARRAY(a, value, g->n_nodes + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == OP_GRAD) y[n++] = g->nodes[i].operands[0];
  return graph_differentiable_to_any(g, y, n, a);
}

static graph *differentiate(const graph *g, pass_context *c, bool inside) {
  rebuild r = rebuild_begin(g, c, "autodiff", pass_autodiff);
  const bool *differentiated = differentiated_values(g, c->arena);
  for (uint32_t i = 0; i < g->n_nodes && !r.failed; i++) {
    const node *n = &g->nodes[i];
    bool any = inside;
    for (uint32_t k = 0; k < n->n_results; k++) any |= differentiated[n->first_result + k];
    if (n->op == OP_GRAD) expand(&r, n);
    else if (n->op == OP_REPEAT && any) copy_with_starts(&r, i);
    else rebuild_copy(&r, i);
  }
  return rebuild_end(&r);
}

graph *pass_autodiff(const graph *g, pass_context *c) { return differentiate(g, c, false); }
graph *autodiff_region(const graph *g, pass_context *c) { return differentiate(g, c, true); }
