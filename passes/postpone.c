/* max(c, x) behind the largest of windows instead of in front of it: max(max(c, a), max(c, b)) = max(c, max(a, b)), NaN included. relu
 * between a convolution and its pooling is then taken of what was pooled, a quarter of it, and its derivative asks that, so that what
 * the convolution made is not kept. Before autodiff, as the derivative stays what it was: what is not above c has none on either way,
 * and above c the same element of a window is the first of the largest. (With c second, max(x, c), an x equal to c has one.) */
#include "passes/rebuild.h"

/* max(floor, below), in the new graph; below 0: the value is none. */
typedef struct {
  scalar floor;
  value below;
} floored;

/* A pad that adds nothing, as a window without padding has it. */
static bool is_empty_pad(const node *n, uint32_t rank) {
  static const attribute_key sides[] = {ATTR_LOW, ATTR_HIGH, ATTR_INTERIOR};
  for (int s = 0; n->op == OP_PAD && s < 3; s++)
    for (uint32_t i = 0; i < rank; i++)
      if (node_integers(n, sides[s])[i]) return false;
  return n->op == OP_PAD;
}

static bool is_view(const graph *g, const node *n) { return n->op == OP_SLICE || is_empty_pad(n, graph_type(g, n->first_result)->rank); }

/* Per value: is it used by maxima only, through views? */
static bool *used_by_maxima(const graph *g, const uint32_t *uses, arena *a) {
  bool *only = ARENA_ARRAY(a, bool, g->n_values);
  for (value v = 0; v < g->n_values; v++) only[v] = uses[v] > 0;
  for (uint32_t i = 0; i < g->n_results; i++) only[g->results[i].value] = false;
  for (uint32_t i = g->n_nodes; i-- > 0;) {
    const node *n = &g->nodes[i];
    if (n->op == OP_MAX) continue;
    for (uint32_t k = 0; k < n->n_operands; k++) only[n->operands[k]] &= is_view(g, n) && only[n->first_result];
  }
  return only;
}

static uint32_t *count_uses(const graph *g, arena *a) {
  uint32_t *uses = ARENA_ARRAY(a, uint32_t, g->n_values);
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t k = 0; k < g->nodes[i].n_operands; k++) uses[g->nodes[i].operands[k]]++;
  for (uint32_t i = 0; i < g->n_results; i++) uses[g->results[i].value]++;
  return uses;
}

/* The node once more, of one operand, which has the type of its own. */
static value on(graph *into, const node *n, value operand) { return graph_add(into, n->op, &operand, 1, n->attributes, n->n_attributes, NULL, n->where, &(const char *){0}); }

/* What a node of the old graph is, `f` by old values. */
static floored floored_as(const rebuild *r, const node *n, const floored *f, const uint32_t *uses) {
  floored found = {.below = 0};
  const value *x = n->operands;
  if (is_view(r->from, n) && f[x[0]].below) return (floored){f[x[0]].floor, on(r->into, n, f[x[0]].below)};
  if (n->op != OP_MAX) return found;
  if (graph_splat_value(r->from, x[0], &found.floor)) return (floored){found.floor, r->map[x[1]]};
  const bool both = f[x[0]].below && f[x[1]].below && uses[x[0]] == 1 && uses[x[1]] == 1 && !memcmp(&f[x[0]].floor, &f[x[1]].floor, sizeof found.floor);
  return both ? (floored){f[x[0]].floor, graph_binary(r->into, OP_MAX, f[x[0]].below, f[x[1]].below, n->where)} : found;
}

graph *pass_postpone(const graph *g, pass_context *c) {
  rebuild r = rebuild_begin(g, c, "postpone", pass_postpone);
  const uint32_t *uses = count_uses(g, c->arena);
  const bool *only = used_by_maxima(g, uses, c->arena);
  floored *f = ARENA_ARRAY(c->arena, floored, g->n_values);
  for (uint32_t i = 0; i < g->n_nodes && !r.failed; i++) {
    const node *n = &g->nodes[i];
    const value v = n->first_result;
    const floored known = n->n_results == 1 ? floored_as(&r, n, f, uses) : (floored){.below = 0};
    if (only[v]) f[v] = known;
    if (n->op == OP_MAX && known.below && !graph_splat_value(g, n->operands[0], &(scalar){0}))
      r.map[v] = graph_binary(r.into, OP_MAX, graph_splat(r.into, *graph_type(g, v), known.floor, n->where), known.below, n->where);
    else rebuild_copy(&r, i);
  }
  return rebuild_end(&r);
}
