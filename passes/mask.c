/* Softmax of masked scores: where the mask says no, exp(lowest - max) is 0, and from here on says so: exp(x - m) with m = max of x and
 * x = select(c, y, lowest) becomes select(c, exp(x - m), 0). Kernels then see that what is multiplied with it takes no part, and skip
 * it (ir/mask.h). Right as long as every row keeps an element and scores stay above -1e30: the first is proven here, for masks that
 * compare the two indices of squares. Behind autodiff, which would multiply by what the mask hides. */
#include "ir/mask.h"

#include "passes/rebuild.h"

static const node *behind(const graph *g, value *v, op_id op) {
  const node *n = graph_node(g, *v);
  if (n->op != op) return NULL;
  *v = n->operands[0];
  return n;
}

/* The length of what an operand of a comparison counts; 0: it is no index. */
static int64_t counted(const graph *g, value v) {
  while (behind(g, &v, OP_BROADCAST) || behind(g, &v, OP_RESHAPE)) {}
  return graph_node(g, v)->op == OP_IOTA && graph_type(g, v)->rank == 1 ? graph_type(g, v)->dim[0] : 0;
}

/* Whether c is one index of a square against the other, `axis` being one of them: then no row along it is all hidden. */
static bool keeps_some(const graph *g, value c, int64_t axis) {
  const node *spread = behind(g, &c, OP_BROADCAST);
  const attribute *axes = spread ? node_attribute(spread, ATTR_AXES) : NULL;
  const tensor_type *t = graph_type(g, c);
  bool among = !axes;
  for (uint32_t i = 0; axes && i < axes->n; i++) among |= axes->as.integers[i] == axis && t->dim[i] > 1;
  if (!axes) among = t->dim[axis] > 1;
  while (behind(g, &c, OP_RESHAPE)) {}
  const node *n = graph_node(g, c);
  if (!among || n->op != OP_LE) return false;
  const int64_t left = counted(g, n->operands[0]), right = counted(g, n->operands[1]);
  return left == right && left > 1 && type_elements(graph_type(g, c)) == left * right;
}

/* The mask of exp(x - max of x); 0: it has none. */
static value mask_of(const graph *g, const node *n) {
  scalar hidden;
  if (n->op != OP_EXP) return 0;
  const node *difference = graph_node(g, n->operands[0]);
  if (difference->op != OP_SUB) return 0;
  const node *x = graph_node(g, difference->operands[0]);
  value most = difference->operands[1];
  while (behind(g, &most, OP_BROADCAST) || behind(g, &most, OP_RESHAPE)) {}
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
