/* Where a condition turns a picture round (select(c, reverse(x), x), as random flips are written) and x is sampled by small tables of places and
 * weights, the tables are turned instead: x is then made at one place only, by loops that run forwards, and can share them with what reads it. */
#include "passes/canonicalise.h"

/* A table is a part of what is turned, or less; so many values are looked at before giving up. */
enum { A_TABLE = 16, MOST_TURNED = 256 };

/* How the value at hand lies in what is turned: which of its axes are, and along which the condition goes. */
typedef struct {
  bool turned[MAX_RANK];
  int64_t condition[MAX_RANK]; /* per axis of the condition */
} posture;

typedef struct {
  value from, to;
  posture posture;
} turned_value;

typedef struct {
  canonical *c;
  value condition; /* without the axes over which it repeats */
  int64_t elements;
  turned_value done[MOST_TURNED];
  uint32_t n, n_visits;
} turning;

static value turned(turning *t, value x, const posture *p);

/* The table itself: select(c, reverse(x), x). */
static value turned_table(const turning *t, value x, const posture *p, span where) {
  canonical *c = t->c;
  const tensor_type type = *graph_type(c->graph, x);
  tensor_type chosen = type;
  int64_t axes[MAX_RANK];
  uint32_t n = 0;
  chosen.dtype = DTYPE_BOOL;
  for (uint32_t i = 0; i < type.rank; i++)
    if (p->turned[i]) axes[n++] = i;
  const value condition = settle(c, graph_broadcast(c->graph, t->condition, chosen, p->condition, where));
  const value reversed = settle(c, graph_reverse(c->graph, x, axes, n, where));
  return settle(c, graph_select(c->graph, condition, reversed, x, where));
}

/* Axes of the operand, by axis of the result, or -1. */
static value turned_view(turning *t, const node *n, const posture *p, const int64_t *operand_axis) {
  canonical *c = t->c;
  const tensor_type to = *graph_type(c->graph, n->first_result);
  posture inner = {.turned = {false}};
  for (uint32_t i = 0; i < to.rank; i++)
    if (operand_axis[i] >= 0) inner.turned[operand_axis[i]] = p->turned[i];
  bool any = false;
  for (uint32_t i = 0; i < MAX_RANK; i++) any |= inner.turned[i];
  if (!any) return n->first_result;
  for (uint32_t i = 0; i < graph_type(c->graph, t->condition)->rank; i++)
    if ((inner.condition[i] = operand_axis[p->condition[i]]) < 0) return 0;
  const value x = turned(t, n->operands[0], &inner);
  if (!x) return 0;
  return settle(c, n->op == OP_RESHAPE ? graph_reshape(c->graph, x, to.rank, to.dim, n->where)
                                       : graph_broadcast(c->graph, x, to, node_integers(n, ATTR_AXES), n->where));
}

static value turned_broadcast(turning *t, const node *n, const posture *p) {
  int64_t axis[MAX_RANK];
  const uint32_t rank = graph_type(t->c->graph, n->operands[0])->rank;
  for (uint32_t i = 0; i < MAX_RANK; i++) axis[i] = -1;
  for (uint32_t i = 0; i < rank; i++) axis[node_integers(n, ATTR_AXES)[i]] = i;
  return turned_view(t, n, p, axis);
}

/* One that puts in or takes out axes of size 1. */
static value turned_reshape(turning *t, const node *n, const posture *p) {
  const tensor_type *from = graph_type(t->c->graph, n->operands[0]), *to = graph_type(t->c->graph, n->first_result);
  int64_t axis[MAX_RANK];
  return type_find_dims(from, to, axis) ? turned_view(t, n, p, axis) : 0;
}

/* The same of turned operands, from the first one on. */
static value turned_operands(turning *t, const node *n, const posture *p, uint32_t first) {
  canonical *c = t->c;
  const tensor_type type = *graph_type(c->graph, n->first_result);
  value args[MAX_RANK + 1];
  const char *error;
  if (n->n_operands > MAX_RANK + 1) return 0;
  for (uint32_t i = 0; i < n->n_operands; i++)
    if (!(args[i] = i < first ? n->operands[i] : turned(t, n->operands[i], p))) return 0;
  return settle(c, graph_add(c->graph, n->op, args, n->n_operands, n->attributes, n->n_attributes, &type, n->where, &error));
}

static bool crosses(const turning *t, const posture *p, int64_t axis) {
  bool crossing = p->turned[axis];
  for (uint32_t i = 0; i < graph_type(t->c->graph, t->condition)->rank; i++) crossing |= p->condition[i] == axis;
  return crossing;
}

static value turn(turning *t, value x, const posture *p) {
  const node n = *graph_node(t->c->graph, x); /* building moves the graph's */
  const tensor_type *type = graph_type(t->c->graph, x);
  scalar ignored;
  if (graph_splat_value(t->c->graph, x, &ignored)) return x;
  if (n.op == OP_IOTA && !p->turned[node_axis(&n)]) return x;
  if (n.op == OP_IOTA || A_TABLE * type_elements(type) <= t->elements) return turned_table(t, x, p, n.where);
  if (n.op == OP_BROADCAST) return turned_broadcast(t, &n, p);
  if (n.op == OP_RESHAPE) return turned_reshape(t, &n, p);
  if (n.op == OP_GATHER) return turned_operands(t, &n, p, 1);
  if (op_table[n.op].elementwise || (n.op == OP_CONCAT && !crosses(t, p, node_axis(&n)))) return turned_operands(t, &n, p, 0);
  return 0;
}

/* x, turned where the condition holds; 0 where that does not come down to tables. */
static value turned(turning *t, value x, const posture *p) {
  for (uint32_t i = 0; i < t->n; i++)
    if (t->done[i].from == x && memcmp(&t->done[i].posture, p, sizeof *p) == 0) return t->done[i].to;
  if (t->n_visits++ >= MOST_TURNED) return 0;
  const value to = turn(t, x, p);
  if (to) t->done[t->n++] = (turned_value){x, to, *p};
  return to;
}

value canonical_mirror(canonical *c, value v) {
  const node *n = graph_node(c->graph, v);
  if (n->op != OP_SELECT) return 0;
  const value x = n->operands[2];
  const node *condition = node_if(c, n->operands[0], OP_BROADCAST), *reverse = node_if(c, n->operands[1], OP_REVERSE);
  if (!condition || !reverse || reverse->operands[0] != x || !used_times(c, n->operands[1], 1) || !used_times(c, x, 2)) return 0;
  turning *t = ARENA_NEW(c->graph->arena, turning);
  *t = (turning){.c = c, .condition = condition->operands[0], .elements = type_elements(graph_type(c->graph, x))};
  posture p = {.turned = {false}};
  const attribute *axes = node_attribute(reverse, ATTR_AXES);
  for (uint32_t i = 0; i < axes->n; i++) p.turned[axes->as.integers[i]] = true;
  for (uint32_t i = 0; i < graph_type(c->graph, t->condition)->rank; i++) p.condition[i] = node_integers(condition, ATTR_AXES)[i];
  return turned(t, x, &p);
}
