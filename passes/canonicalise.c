/* One form for equal things: algebraic identities, views composed, constants second. Each node is
 * rewritten once, when its operands are in their final form, so the pass is linear. */
#include "passes/canonicalise.h"

#include "passes/rebuild.h"

static canonical_rule *const structural_rules[OP_COUNT] = {
    [OP_RESHAPE] = canonical_reshape,
    [OP_TRANSPOSE] = canonical_transpose,
    [OP_BROADCAST] = canonical_broadcast,
    [OP_SLICE] = canonical_slice,
    [OP_PAD] = canonical_pad,
    [OP_REVERSE] = canonical_reverse,
    [OP_CONCAT] = canonical_concat,
    [OP_GATHER] = canonical_gather,
    [OP_CONTRACT] = canonical_contract,
    [OP_REDUCE_SUM] = canonical_reduce,
    [OP_REDUCE_MAX] = canonical_reduce,
    [OP_ARGMAX] = canonical_argmax,
};

value settle(canonical *c, value v) {
  if (!v) return 0;
  const op_id op = graph_node(c->graph, v)->op;
  canonical_rule *rule = op_table[op].elementwise ? canonical_elementwise : structural_rules[op];
  const value replacement = rule ? rule(c, v) : 0;
  return replacement ? replacement : v;
}

bool used_times(const canonical *c, value v, uint32_t n) { return v < c->uses_capacity && c->uses[v] == n; }

bool used_once(const canonical *c, value v) { return used_times(c, v, 1); }

const node *node_if(const canonical *c, value v, op_id op) {
  const node *n = graph_node(c->graph, v);
  return n->op == op ? n : NULL;
}

value splat_of(canonical *c, value v, scalar s) {
  return graph_splat(c->graph, *graph_type(c->graph, v), s, graph_span(c->graph, v));
}

value splat_through(canonical *c, value v) {
  scalar s;
  return graph_splat_value(c->graph, graph_node(c->graph, v)->operands[0], &s) ? splat_of(c, v, s) : 0;
}

/* Values that rules make have no entry and count as used often. */
static void count_uses(canonical *c, value v, uint32_t n) {
  if (v >= c->uses_capacity) {
    const uint32_t capacity = v * 2 + 64;
    uint32_t *grown = ARENA_ARRAY(c->graph->arena, uint32_t, capacity);
    if (c->uses_capacity) memcpy(grown, c->uses, c->uses_capacity * sizeof *grown);
    c->uses = grown;
    c->uses_capacity = capacity;
  }
  c->uses[v] += n;
}

static const uint32_t *uses_of_values(const graph *g) {
  uint32_t *uses = ARENA_ARRAY(g->arena, uint32_t, g->n_values);
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t k = 0; k < g->nodes[i].n_operands; k++) uses[g->nodes[i].operands[k]]++;
  for (uint32_t i = 0; i < g->n_results; i++) uses[g->results[i].value]++;
  return uses;
}

graph *pass_canonicalise(const graph *g, pass_context *context) {
  rebuild r = rebuild_begin(g, context, "canonicalise", pass_canonicalise);
  const bool keep = graph_has_grad(g);
  const uint32_t *uses = uses_of_values(g);
  canonical c = {.graph = r.into};
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const value copy = rebuild_copy(&r, i);
    if (!copy || keep) continue;
    const value old = g->nodes[i].first_result;
    r.map[old] = settle(&c, copy);
    count_uses(&c, r.map[old], uses[old]);
  }
  graph *done = rebuild_end(&r);
  /* What the rules left behind goes at once: cse would take it for the first of equals. */
  return done && !keep ? pass_dce(done, context) : done;
}
