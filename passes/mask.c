/* Softmax of masked scores: where the mask says no, exp(lowest - max) is 0, and from here on says so: exp(x - m) with m = max of x and
 * x = select(c, y, lowest) becomes select(c, exp(x - m), 0). Kernels then see that what is multiplied with it takes no part, and skip
 * it (ir/mask.h). Right as long as every row keeps an element and scores stay above -1e30: the first is proven here, for masks that
 * compare the two indices of squares. Behind autodiff, which would multiply by what the mask hides. */
#include "ir/mask.h"

#include "passes/rebuild.h"

/* Where dimension `axis` of a view's operand is in the view; -1: it is none any more. */
static int64_t seen_at(const graph *g, const node *view, int64_t axis) {
  int64_t at[MAX_RANK];
  if (axis < 0 || view->op == OP_BROADCAST) return axis < 0 ? -1 : node_integers(view, ATTR_AXES)[axis];
  if (!type_find_dims(graph_type(g, view->first_result), graph_type(g, view->operands[0]), at)) return -1;
  return at[axis];
}

static bool is_view(const node *n) { return n->op == OP_BROADCAST || n->op == OP_RESHAPE; }

/* The dimension whose index v is; -1: it is none. */
static int64_t index_of(const graph *g, value v) {
  const node *n = graph_node(g, v);
  return n->op == OP_IOTA ? node_integers(n, ATTR_AXIS)[0] : is_view(n) ? seen_at(g, n, index_of(g, n->operands[0])) : -1;
}

/* The dimensions whose indices v compares: the lower, and the higher one. */
static bool compares(const graph *g, value v, int64_t axes[2]) {
  const node *n = graph_node(g, v);
  if (is_view(n) && !compares(g, n->operands[0], axes)) return false;
  for (int i = 0; i < 2; i++) axes[i] = n->op == OP_LE ? index_of(g, n->operands[i]) : is_view(n) ? seen_at(g, n, axes[i]) : -1;
  return axes[0] >= 0 && axes[1] >= 0 && axes[0] != axes[1];
}

/* Whether c is one index of a square against the other, `axis` being one of them: then no row along it is all hidden. */
static bool keeps_some(const graph *g, value c, int64_t axis) {
  int64_t axes[2];
  const tensor_type *t = graph_type(g, c);
  return compares(g, c, axes) && (axis == axes[0] || axis == axes[1]) && t->dim[axes[0]] == t->dim[axes[1]];
}

/* The mask of exp(x - max of x); 0: it has none. */
static value mask_of(const graph *g, const node *n) {
  scalar hidden;
  if (n->op != OP_EXP) return 0;
  const node *difference = graph_node(g, n->operands[0]);
  if (difference->op != OP_SUB) return 0;
  const node *x = graph_node(g, difference->operands[0]);
  value most = difference->operands[1];
  while (is_view(graph_node(g, most))) most = graph_node(g, most)->operands[0];
  const node *m = graph_node(g, most);
  if (x->op != OP_SELECT || !graph_splat_value(g, x->operands[2], &hidden) || !(hidden.real <= MASKED)) return 0;
  if (m->op != OP_REDUCE_MAX || m->operands[0] != difference->operands[0] || node_attribute(m, ATTR_AXES)->n != 1) return 0;
  return keeps_some(g, x->operands[0], node_integers(m, ATTR_AXES)[0]) ? x->operands[0] : 0;
}

graph *pass_mask(const graph *g, pass_context *c) {
  rebuild r = rebuild_begin(g, c, "mask", pass_mask);
  for (uint32_t i = 0; i < g->n_nodes && !r.failed; i++) {
    const node *n = &g->nodes[i];
    const value result = rebuild_copy(&r, i), mask = n->n_results == 1 ? mask_of(g, n) : 0;
    if (!mask) continue;
    const value zero = graph_splat(r.into, *graph_type(g, n->first_result), (scalar){.real = 0}, n->where);
    r.map[n->first_result] = graph_select(r.into, r.map[mask], result, zero, n->where);
  }
  return rebuild_end(&r);
}
