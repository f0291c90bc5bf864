/* Products of narrower operands, where a run asks for that. tf32 rounds what they see, and nothing else.
 *
 * bf16 where it saves time and loses little: a value is rounded by a cast to bf16 and back, so that it stands in
 * memory in two bytes an element and products of two such values are exact in f32, in which they add up.
 *
 *   operands   of matrix products and convolutions between what is learned and data: always
 *   storage    what goes between those and maps, activations and their cotangents: everybody sees the rounded value
 *   never      states and what they are updated with, results, sums and other reductions as such, and the logarithms
 *              of probabilities: what an exponential minus its maximum is made of
 *
 * Contractions of data alone (augmentations) and of weights alone keep f32, as do those without rows and columns, and on processors those
 * without pairs. */
#include "passes/fuse.h"
#include "passes/rebuild.h"

enum { OF_STATE = 1, OF_DATA = 2 };

typedef struct {
  rebuild rebuild;
  const graph *graph;
  arena *arena;
  bool only_operands; /* to tf32, which nothing is stored in */
  bool needs_pairs;
  uint8_t *from;  /* per value: what it depends on */
  bool *kept;     /* a state, or a map of one element by element: its last bits count */
  bool *exact;    /* made into the exponent of a softmax */
  bool *is_result;
  bool *reaches;  /* an operand of a narrow contraction, by way of maps and pooling */
  bool *stored;   /* rounded for everybody */
  bool *passing;  /* seen by one map only, which is rounded or passing: it never stands in memory */
  uint32_t *uses;
  value *operand; /* of the new graph: what contractions see of it; 0: not made yet */
} narrowing;

static bool is_f32(const graph *g, value v) { return graph_type(g, v)->dtype == DTYPE_F32; }

/* Joined values stand in memory anew, and are rounded as they are. */
static bool is_view(const graph *g, value v) { return value_role(g, v) == ROLE_VIEW && graph_node(g, v)->n_operands && graph_node(g, v)->op != OP_CONCAT; }

static bool is_leaf(const graph *g, value v) { return graph_node(g, v)->op == OP_PARAMETER || !graph_node(g, v)->n_operands; }

/* -- what values are -------------------------------------------------------------------------------------------- */

static uint8_t source_of(const node *n, uint8_t around) {
  const char *role = node_attribute(n, ATTR_ROLE)->as.text;
  if (around) return around;
  return !strcmp(role, "state") ? OF_STATE : !strcmp(role, "clock") ? 0 : OF_DATA;
}

/* `around`: what the operands of the loop around depend on; 0: there is none. */
static void find_sources(narrowing *n, uint8_t around) {
  const graph *g = n->graph;
  for (value v = 1; v < g->n_values; v++) {
    const node *at = graph_node(g, v);
    fusion_role role = value_role(g, v);
    if (at->op == OP_PARAMETER) {
      n->from[v] = source_of(at, around);
      n->kept[v] = around || n->from[v] == OF_STATE;
    }
    for (uint32_t i = 0; i < at->n_operands; i++) {
      value x = at->operands[i];
      n->from[v] |= n->from[x];
      if (role == ROLE_MAP || role == ROLE_VIEW) n->kept[v] |= n->kept[x] && type_elements(graph_type(g, x)) == type_elements(graph_type(g, v));
    }
  }
  for (uint32_t i = 0; i < g->n_results; i++) n->is_result[g->results[i].value] = true;
}

static value behind_views(const graph *g, value v) {
  while (is_view(g, v) && graph_node(g, v)->n_operands == 1) v = graph_node(g, v)->operands[0];
  return v;
}

/* What one exponential takes through maps and views; when the maximum of some of that is among it, it is the exponential of
 * a softmax. */
static void mark_exponent(narrowing *n, value of, value *cone, uint32_t *stamp, uint32_t now) {
  const graph *g = n->graph;
  uint32_t count = 0;
  bool softmax = false;
  cone[count++] = of;
  stamp[of] = now;
  for (uint32_t at = 0; at < count; at++) {
    const node *x = graph_node(g, cone[at]);
    fusion_role role = value_role(g, cone[at]);
    for (uint32_t i = 0; (role == ROLE_MAP || role == ROLE_VIEW) && i < x->n_operands; i++) {
      value y = x->operands[i];
      if (stamp[y] == now || !is_f32(g, y)) continue;
      stamp[y] = now;
      cone[count++] = y;
    }
  }
  for (uint32_t at = 0; at < count && !softmax; at++) {
    const node *x = graph_node(g, cone[at]);
    softmax = x->op == OP_REDUCE_MAX && (stamp[x->operands[0]] == now || stamp[behind_views(g, x->operands[0])] == now);
  }
  for (uint32_t at = 0; at < count && softmax; at++) n->exact[cone[at]] = true;
}

static void find_softmaxes(narrowing *n) {
  value *cone = ARENA_ARRAY(n->arena, value, n->graph->n_values);
  uint32_t *stamp = ARENA_ARRAY(n->arena, uint32_t, n->graph->n_values);
  for (value v = 1; v < n->graph->n_values; v++)
    if (graph_node(n->graph, v)->op == OP_EXP && is_f32(n->graph, v)) mark_exponent(n, graph_node(n->graph, v)->operands[0], cone, stamp, v);
}

/* -- which contractions, and what is stored ----------------------------------------------------------------------- */

static bool stands_in(const contraction *c, uint32_t which, uint32_t axis) {
  for (uint32_t d = 0; d < c->rank[which]; d++)
    for (uint32_t t = 0; t < c->operand[which][d].n_terms; t++)
      if (c->operand[which][d].term[t].axis == axis) return true;
  return false;
}

/* Axes of the result that one operand only has, for both: rows and columns. */
static bool has_rows_and_columns(const contraction *c) {
  bool only[2] = {false, false};
  for (uint32_t i = 0; i < c->result_rank; i++)
    for (uint32_t k = 0; k < 2; k++) only[k] |= stands_in(c, k, c->result[i]) && !stands_in(c, 1 - k, c->result[i]);
  return only[0] && only[1];
}

/* The dimension of an operand that is this axis alone; -1: none. */
static int32_t plain_dimension(const contraction *c, uint32_t which, uint32_t axis) {
  for (uint32_t d = 0; d < c->rank[which]; d++)
    if (index_is_plain(&c->operand[which][d]) && c->operand[which][d].term[0].axis == axis) return (int32_t)d;
  return -1;
}

/* Whether some sum has an even number of neighbours in both operands: without, as for three channels, bf16 is slower than f32 on a
 * processor. */
static bool has_pairs(const graph *g, const node *x) {
  const contraction *c = x->contraction;
  for (uint32_t axis = 0; axis < c->n_axes; axis++) {
    int32_t left = plain_dimension(c, 0, axis), right = plain_dimension(c, 1, axis);
    bool kept = false;
    for (uint32_t i = 0; i < c->result_rank; i++) kept |= c->result[i] == axis;
    if (!kept && left >= 0 && right >= 0 && graph_type(g, x->operands[0])->dim[left] % 2 == 0) return true;
  }
  return false;
}

static bool is_narrow(const narrowing *n, const node *x) {
  return x->op == OP_CONTRACT && is_f32(n->graph, x->first_result) && (n->from[x->operands[0]] | n->from[x->operands[1]]) == (OF_STATE | OF_DATA) &&
         has_rows_and_columns(x->contraction) && (!n->needs_pairs || has_pairs(n->graph, x));
}

/* May everybody see the rounded value? */
static bool may_be_stored(const narrowing *n, value v) {
  return !n->only_operands && is_f32(n->graph, v) && !is_leaf(n->graph, v) && graph_node(n->graph, v)->op != OP_REPEAT && !n->kept[v] && !n->exact[v] && !n->is_result[v];
}

static void store_operand(narrowing *n, value v) {
  if (is_view(n->graph, v)) {
    for (uint32_t i = 0; i < graph_node(n->graph, v)->n_operands; i++) store_operand(n, graph_node(n->graph, v)->operands[i]);
  } else if (may_be_stored(n, v)) {
    n->stored[v] = true;
  }
}

/* What goes into a map that is rounded itself need not be. */
static void pass_on(narrowing *n, const node *x) {
  for (uint32_t k = 0; k < x->n_operands; k++) n->passing[x->operands[k]] |= n->uses[x->operands[k]] == 1;
}

static void find_stored(narrowing *n) {
  const graph *g = n->graph;
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t k = 0; k < g->nodes[i].n_operands; k++) n->uses[g->nodes[i].operands[k]]++;
  for (uint32_t i = g->n_nodes; i-- > 0;) {
    const node *x = &g->nodes[i];
    value v = x->first_result;
    fusion_role role = value_role(g, v);
    bool narrow = is_narrow(n, x);
    bool reduces = x->op == OP_REDUCE_SUM || x->op == OP_REDUCE_MAX; /* pooling */
    bool passes = (role == ROLE_MAP || role == ROLE_VIEW || reduces) && n->reaches[v] && is_f32(g, v) && !n->kept[v];
    for (uint32_t k = 0; (narrow || passes) && k < x->n_operands; k++) n->reaches[x->operands[k]] |= is_f32(g, x->operands[k]);
    for (uint32_t k = 0; narrow && k < 2; k++) store_operand(n, x->operands[k]);
    if (narrow && n->reaches[v] && !n->passing[v] && may_be_stored(n, v)) n->stored[v] = true;
    if (role == ROLE_MAP && (n->stored[v] || n->passing[v])) pass_on(n, x);
  }
}

/* -- the new graph -------------------------------------------------------------------------------------------------- */

static value rounded(const narrowing *n, value v, span where) {
  graph *into = n->rebuild.into;
  if (n->only_operands) return graph_unary(into, OP_TF32, v, where);
  return graph_cast(into, graph_cast(into, v, DTYPE_BF16, where), DTYPE_F32, where);
}

/* What a contraction sees of a value: rounded below views, so that all views of a value are of the same bytes. */
static value operand_of(narrowing *n, value v) {
  graph *into = n->rebuild.into;
  const node *x = graph_node(n->graph, v);
  if (!is_f32(n->graph, v) || n->stored[v]) return n->rebuild.map[v];
  if (n->operand[v]) return n->operand[v];
  if (!is_view(n->graph, v)) return n->operand[v] = rounded(n, n->rebuild.map[v], x->where);
  value *operands = ARENA_ARRAY(n->arena, value, x->n_operands);
  for (uint32_t i = 0; i < x->n_operands; i++) operands[i] = operand_of(n, x->operands[i]);
  const char *error;
  return n->operand[v] = graph_add(into, x->op, operands, x->n_operands, x->attributes, x->n_attributes, graph_type(n->graph, v), x->where, &error);
}

static graph *narrowed(const graph *g, pass_context *c, uint8_t around);

static void copy_node(narrowing *n, uint32_t number) {
  const node *x = &n->graph->nodes[number];
  rebuild *r = &n->rebuild;
  if (is_narrow(n, x)) {
    value operands[2] = {operand_of(n, x->operands[0]), operand_of(n, x->operands[1])};
    const char *error;
    r->map[x->first_result] = graph_add(r->into, x->op, operands, 2, x->attributes, x->n_attributes, graph_type(n->graph, x->first_result), x->where, &error);
    if (!r->map[x->first_result]) rebuild_fail(r, x->where, error);
  } else if (!rebuild_copy(r, number)) {
    return;
  }
  for (uint32_t i = 0; i < x->n_results; i++)
    if (n->stored[x->first_result + i]) r->map[x->first_result + i] = rounded(n, r->map[x->first_result + i], x->where);
}

/* A loop, with the region in its place: what its parameters stand for may depend on anything that goes in. */
static void copy_loop(narrowing *n, uint32_t number) {
  node loop = n->graph->nodes[number];
  rebuild *r = &n->rebuild;
  uint8_t inside = 0;
  value *operands = ARENA_ARRAY(n->arena, value, loop.n_operands);
  for (uint32_t i = 0; i < loop.n_operands; i++) {
    inside |= n->from[loop.operands[i]];
    operands[i] = r->map[loop.operands[i]];
  }
  const graph *region = inside ? narrowed(loop.region, r->context, inside) : loop.region;
  const char *error = "its region was refused";
  value first = region ? graph_add_repeat(r->into, operands, loop.n_operands, loop.attributes, loop.n_attributes, region, loop.where, &error) : 0;
  if (!first) rebuild_fail(r, loop.where, error);
  for (uint32_t i = 0; first && i < loop.n_results; i++) r->map[loop.first_result + i] = first + i;
}

static graph *narrowed(const graph *g, pass_context *c, uint8_t around) {
  arena *a = c->arena;
  narrowing n = {.rebuild = rebuild_begin(g, c, "precision", NULL), .graph = g, .arena = a, .only_operands = c->products == PRODUCTS_TF32};
  n.needs_pairs = !n.only_operands && !(c->target && c->target->warps);
  n.from = ARENA_ARRAY(a, uint8_t, g->n_values);
  n.uses = ARENA_ARRAY(a, uint32_t, g->n_values);
  n.operand = ARENA_ARRAY(a, value, g->n_values);
  bool **flags[] = {&n.kept, &n.exact, &n.is_result, &n.reaches, &n.stored, &n.passing};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) *flags[i] = ARENA_ARRAY(a, bool, g->n_values);
  find_sources(&n, around);
  find_softmaxes(&n);
  find_stored(&n);
  for (uint32_t i = 0; i < g->n_nodes && !n.rebuild.failed; i++)
    if (g->nodes[i].op == OP_REPEAT) copy_loop(&n, i);
    else copy_node(&n, i);
  return rebuild_end(&n.rebuild);
}

graph *pass_precision(const graph *g, pass_context *c) { return c->products == PRODUCTS_EXACT ? arena_copy(c->arena, g, sizeof *g) : narrowed(g, c, 0); }
