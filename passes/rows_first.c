/* Rows are taken before the work on them: what is computed row by row and then gathered, or sliced, is computed of the rows that are
 * wanted, f(x)[i] = f(x[i]). A masked autoencoder embeds the patches that it sees, and the last products of its decoder are those of the
 * patches that its loss asks for; where one token is read, behind the last mixing of tokens is work for one.
 *
 * Before autodiff, so that derivatives are those of fewer rows too: a row that is taken twice is computed twice, and its derivatives add
 * up where it was taken from. What else reads a value wants all of it, a grad that differentiates by it included. */
#include "passes/rebuild.h"

/* Rows out of those along an axis: by an index for each, or in equal steps. */
typedef struct {
  value index;                 /* 0: in steps */
  int64_t start, stop, stride; /* of steps */
  int64_t of, taken;           /* extents of the axis before and behind */
  double saved, moved;         /* operations, and elements that are taken of something else instead */
  uint32_t made;               /* nodes up to here are there by their rows */
} selection;

/* What the uses of a value want of it. */
typedef struct {
  enum { NOTHING, ROWS, ALL } want;
  uint32_t selection, axis;
  uint8_t along[MAX_RANK]; /* by dimension of the index: the axis of the value that it runs with */
} demand;

/* Rows that were taken of a value which is there as a whole. */
typedef struct taken {
  demand demand;
  value rows;
  struct taken *next;
} taken;

typedef struct {
  rebuild r;
  const graph *g;
  arena *arena;
  selection *selections;
  uint32_t n_selections, capacity;
  demand *demands; /* by value of the old graph, as the next two */
  value *rows;     /* in the new graph */
  taken **taken;
} rows_first;

/* Operations that taking an element costs, and adding up its derivatives where it was taken from; and steps back that an equal
 * selection is looked for. */
enum { TAKEN = 32, RECENT = 64 };

/* -- rows of a result by rows of its operands -------------------------------------------------------------------- */

enum { WITHOUT = -1, MIXED = -2 }; /* the operand has no such axis, and is the same for all rows; rows depend on others */

static int32_t axis_before_reshape(const tensor_type *from, const tensor_type *to, uint32_t axis) {
  int64_t before = 1, front = 1;
  for (uint32_t i = 0; i < axis; i++) before *= to->dim[i];
  for (uint32_t i = 0; i < from->rank; front *= from->dim[i++])
    if (front == before && from->dim[i] == to->dim[axis]) return (int32_t)i;
  return MIXED;
}

static int32_t axis_in_factor(const contraction *c, uint32_t which, uint32_t axis) {
  int32_t at = WITHOUT;
  for (uint32_t d = 0; d < c->rank[which]; d++) {
    const index_form *f = &c->operand[which][d];
    for (uint32_t t = 0; t < f->n_terms; t++)
      if (f->term[t].axis == c->result[axis]) at = at == WITHOUT && index_is_plain(f) ? (int32_t)d : MIXED;
  }
  return at;
}

static int32_t axis_before_reduction(const attribute *reduced, uint32_t axis) {
  uint32_t gone = 0, at = 0;
  for (uint32_t i = 0; i < reduced->n; i++) gone |= 1u << reduced->as.integers[i];
  for (; gone >> at & 1 || axis > 0; at++) axis -= !(gone >> at & 1);
  return (int32_t)at;
}

/* The axis of an operand that runs with an axis of the result. */
static int32_t axis_of_operand(const graph *g, const node *n, uint32_t k, uint32_t axis) {
  const tensor_type *from = graph_type(g, n->operands[k]), *to = graph_type(g, n->first_result);
  const int32_t same = (int32_t)axis;
  if (op_table[n->op].elementwise) return same;
  switch (n->op) {
  case OP_RESHAPE: return axis_before_reshape(from, to, axis);
  case OP_TRANSPOSE: return (int32_t)node_integers(n, ATTR_AXES)[axis];
  case OP_BROADCAST:
    for (uint32_t i = 0; i < from->rank; i++)
      if (node_integers(n, ATTR_AXES)[i] == axis) return from->dim[i] == to->dim[axis] ? (int32_t)i : WITHOUT;
    return WITHOUT;
  case OP_SLICE: return from->dim[axis] == to->dim[axis] ? same : MIXED;
  case OP_PAD: {
    const bool plain = !node_integers(n, ATTR_LOW)[axis] && !node_integers(n, ATTR_HIGH)[axis] && !node_integers(n, ATTR_INTERIOR)[axis];
    return plain ? same : MIXED;
  }
  case OP_CONCAT: return node_axis(n) == axis ? MIXED : same;
  case OP_GATHER: return k ? same : WITHOUT;
  case OP_CONTRACT: return axis_in_factor(n->contraction, k, axis);
  case OP_REDUCE_SUM:
  case OP_REDUCE_MAX: return axis_before_reduction(node_attribute(n, ATTR_AXES), axis);
  case OP_ARGMAX: return same + (node_axis(n) <= axis);
  default: return MIXED;
  }
}

static uint32_t index_rank(const rows_first *f, const demand *d) {
  const value index = f->selections[d->selection].index;
  return index ? graph_type(f->g, index)->rank : 0;
}

/* What rows of a result want of an operand. */
static demand demand_of_operand(const rows_first *f, const node *n, uint32_t k, const demand *d) {
  const int32_t axis = axis_of_operand(f->g, n, k, d->axis);
  demand of = {.want = axis == WITHOUT ? ALL : ROWS, .selection = d->selection, .axis = (uint32_t)axis};
  if (axis == MIXED) of.want = NOTHING;
  for (uint32_t i = 0; of.want == ROWS && i < index_rank(f, d); i++) {
    const int32_t along = axis_of_operand(f->g, n, k, d->along[i]);
    if (along < 0) of.want = NOTHING; /* other rows for each place along an axis that it lacks */
    of.along[i] = (uint8_t)along;
  }
  return of;
}

/* Can the rows be made of rows? */
static bool works_by_rows(const rows_first *f, const node *n, const demand *d) {
  if (n->op == OP_IOTA) return node_axis(n) != d->axis;
  if (n->op == OP_CONSTANT) return node_attribute(n, ATTR_VALUE);
  for (uint32_t k = 0; k < n->n_operands; k++)
    if (demand_of_operand(f, n, k, d).want == NOTHING) return false;
  return n->n_operands > 0;
}

/* -- selections ------------------------------------------------------------------------------------------------------ */

/* Whether v counts the places along one of its axes. */
static bool counts_along(const graph *g, value v, uint32_t axis) {
  for (;;) {
    const node *n = graph_node(g, v);
    if (graph_type(g, v)->dim[axis] == 1) return true; /* clamped to the only place */
    if (n->op == OP_IOTA) return node_axis(n) == axis;
    if (n->op != OP_RESHAPE && n->op != OP_BROADCAST) return false;
    const int32_t before = axis_of_operand(g, n, 0, axis);
    if (before < 0) return false;
    v = n->operands[0];
    axis = (uint32_t)before;
  }
}

/* The only axis along which a gather or slice does not take all; -1: there are several, or none. */
static int32_t axis_of_choice(const graph *g, const node *n) {
  const tensor_type *from = graph_type(g, n->operands[0]), *to = graph_type(g, n->first_result);
  int32_t chosen = -1;
  if (from->rank != to->rank) return -1;
  for (uint32_t i = 0; i < to->rank; i++) {
    if (from->dim[i] == to->dim[i] && (n->op == OP_SLICE || counts_along(g, n->operands[i + 1], i))) continue;
    if (chosen >= 0) return -1;
    chosen = (int32_t)i;
  }
  return chosen;
}

/* What stands behind repetitions of an index, and the axes that it runs with. */
static value without_repetition(const graph *g, value index, uint8_t along[MAX_RANK]) {
  for (uint8_t i = 0; i < MAX_RANK; i++) along[i] = i;
  for (const node *n; (n = graph_node(g, index))->op == OP_BROADCAST; index = n->operands[0])
    for (uint32_t i = 0; i < graph_type(g, n->operands[0])->rank; i++) along[i] = along[node_integers(n, ATTR_AXES)[i]];
  return index;
}

static uint32_t selection_number(rows_first *f, const selection *wanted) {
  for (uint32_t i = f->n_selections; i-- > 0 && i + RECENT >= f->n_selections;) {
    const selection *s = &f->selections[i];
    if (s->index == wanted->index && s->start == wanted->start && s->stop == wanted->stop && s->stride == wanted->stride && s->of == wanted->of && s->taken == wanted->taken) return i;
  }
  *ARENA_PUSH(f->arena, f->selections, f->n_selections, f->capacity) = *wanted;
  return f->n_selections - 1;
}

/* What a gather or slice that takes much less than all wants of its operand. */
static bool selects_rows(rows_first *f, const node *n, demand *out) {
  const int32_t axis = n->op == OP_GATHER || n->op == OP_SLICE ? axis_of_choice(f->g, n) : -1;
  if (axis < 0) return false;
  selection s = {.of = graph_type(f->g, n->operands[0])->dim[axis], .taken = graph_type(f->g, n->first_result)->dim[axis]};
  if (8 * s.taken > 7 * s.of) return false;
  *out = (demand){.want = ROWS, .axis = (uint32_t)axis};
  if (n->op == OP_GATHER) {
    s.index = without_repetition(f->g, n->operands[axis + 1], out->along);
  } else {
    s.start = node_integers(n, ATTR_START)[axis];
    s.stop = node_integers(n, ATTR_STOP)[axis];
    s.stride = node_integers(n, ATTR_STRIDE)[axis];
  }
  out->selection = selection_number(f, &s);
  return true;
}

/* -- who wants what -------------------------------------------------------------------------------------------------- */

static bool same_demand(const rows_first *f, const demand *a, const demand *b) {
  return a->want == b->want && a->selection == b->selection && a->axis == b->axis && !memcmp(a->along, b->along, index_rank(f, a) * sizeof *a->along);
}

static double rows_of(const rows_first *f, value v, const demand *d) {
  return (double)type_elements(graph_type(f->g, v)) * (double)f->selections[d->selection].taken / (double)f->selections[d->selection].of;
}

static void ask(rows_first *f, value v, demand d) {
  demand *known = &f->demands[v];
  if (known->want == NOTHING) *known = d;
  else if (known->want == ROWS && !same_demand(f, known, &d)) known->want = ALL;
}

/* Operations of a node: products of a contraction, elements of what is computed; views are free. */
static double work_of(const rows_first *f, const node *n) {
  const tensor_type *to = graph_type(f->g, n->first_result);
  double work = (double)type_elements(to);
  int64_t extent[MAX_CONTRACTION_AXES];
  if (op_table[n->op].elementwise) return work;
  if (n->op == OP_REDUCE_SUM || n->op == OP_REDUCE_MAX || n->op == OP_ARGMAX) return (double)type_elements(graph_type(f->g, n->operands[0]));
  if (n->op != OP_CONTRACT) return 0;
  const tensor_type factors[] = {*graph_type(f->g, n->operands[0]), *graph_type(f->g, n->operands[1])};
  if (!contraction_extents(n->contraction, factors, to, extent, f->arena, &(const char *){0})) return 0;
  work = 1;
  for (uint32_t a = 0; a < n->contraction->n_axes; a++) work *= (double)extent[a];
  return work;
}

static void ask_for_operands(rows_first *f, const node *n) {
  demand *own = &f->demands[n->first_result], chosen;
  if (own->want == ROWS && !works_by_rows(f, n, own)) own->want = ALL;
  const bool selects = own->want != ROWS && n->n_results == 1 && selects_rows(f, n, &chosen);
  for (uint32_t k = 0; k < n->n_operands; k++)
    ask(f, n->operands[k], own->want == ROWS ? demand_of_operand(f, n, k, own) : selects && k == 0 ? chosen : (demand){.want = ALL});
}

/* What rows save, and where they are taken instead: behind a slice rather than of what it leaves out. */
static void weigh(rows_first *f, const node *n) {
  demand *own = &f->demands[n->first_result];
  if (own->want != ROWS) return;
  selection *s = &f->selections[own->selection];
  const double work = work_of(f, n);
  s->saved += work * (1 - (double)s->taken / (double)s->of);
  for (uint32_t k = 0; k < n->n_operands; k++) {
    const demand of = demand_of_operand(f, n, k, own);
    if (of.want != ROWS || f->demands[n->operands[k]].want == ROWS) continue;
    if (n->op == OP_SLICE) own->want = ALL;
    else s->moved += rows_of(f, n->operands[k], &of);
  }
}

/* Whether a value is there by its rows alone. */
static bool is_by_rows(const rows_first *f, value v) {
  if (f->demands[v].want != ROWS) return false;
  const selection *s = &f->selections[f->demands[v].selection];
  return s->saved > TAKEN * s->moved;
}

/* -- carried out ------------------------------------------------------------------------------------------------------- */

static tensor_type type_of_rows(const rows_first *f, value v, const demand *d) {
  tensor_type t = *graph_type(f->g, v);
  t.dim[d->axis] = f->selections[d->selection].taken;
  return t;
}

/* The index of each element's row, for elements of a type. */
static value spread_index(rows_first *f, const demand *d, const tensor_type *t, span where) {
  const uint32_t rank = index_rank(f, d);
  value index = f->r.map[f->selections[d->selection].index];
  int64_t order[MAX_RANK], axes[MAX_RANK];
  for (uint32_t i = 0; i < rank; i++) {
    uint32_t at = i;
    for (; at > 0 && axes[at - 1] > d->along[i]; at--) axes[at] = axes[at - 1], order[at] = order[at - 1];
    axes[at] = d->along[i];
    order[at] = i;
  }
  index = graph_transpose(f->r.into, index, order, where);
  return graph_broadcast(f->r.into, index, *t, axes, where);
}

/* The rows of a value that is there as a whole. */
static value taken_rows(rows_first *f, value v, const demand *d, span where) {
  for (const taken *t = f->taken[v]; t; t = t->next)
    if (same_demand(f, &t->demand, d)) return t->rows;
  const selection *s = &f->selections[d->selection];
  tensor_type type = type_of_rows(f, v, d);
  taken *t = ARENA_NEW(f->arena, taken);
  if (s->index) {
    value indices[MAX_RANK];
    type.dtype = DTYPE_I32;
    for (uint32_t i = 0; i < type.rank; i++) indices[i] = i == d->axis ? spread_index(f, d, &type, where) : graph_iota(f->r.into, type, i, where);
    t->rows = graph_gather(f->r.into, f->r.map[v], indices, where);
  } else {
    int64_t start[MAX_RANK] = {0}, stop[MAX_RANK], stride[MAX_RANK];
    for (uint32_t i = 0; i < type.rank; i++) stop[i] = type.dim[i], stride[i] = 1;
    start[d->axis] = s->start;
    stop[d->axis] = s->stop;
    stride[d->axis] = s->stride;
    t->rows = graph_slice(f->r.into, f->r.map[v], start, stop, stride, where);
  }
  t->demand = *d;
  t->next = f->taken[v];
  f->taken[v] = t;
  return t->rows;
}

/* The node once more, of rows. */
static void make_by_rows(rows_first *f, const node *n) {
  const value v = n->first_result;
  const demand *d = &f->demands[v];
  const tensor_type type = type_of_rows(f, v, d);
  value *operands = ARENA_ARRAY(f->arena, value, n->n_operands + 1);
  attribute *attributes = arena_copy(f->arena, n->attributes, n->n_attributes * sizeof *attributes);
  const char *error = "rows of a value are missing";
  for (uint32_t k = 0; k < n->n_operands; k++) {
    const value x = n->operands[k];
    const demand of = demand_of_operand(f, n, k, d);
    operands[k] = of.want == ALL ? f->r.map[x] : is_by_rows(f, x) ? f->rows[x] : taken_rows(f, x, &of, n->where);
  }
  if (n->op == OP_SLICE) {
    int64_t *stop = arena_copy(f->arena, node_integers(n, ATTR_STOP), type.rank * sizeof *stop);
    stop[d->axis] = type.dim[d->axis];
    for (uint32_t i = 0; i < n->n_attributes; i++)
      if (attributes[i].key == ATTR_STOP) attributes[i].as.integers = stop;
  }
  f->rows[v] = graph_add(f->r.into, n->op, operands, n->n_operands, attributes, n->n_attributes, &type, n->where, &error);
  if (!f->rows[v]) rebuild_fail(&f->r, n->where, error);
}

/* The rows of a selection that were wanted of nodes in front of this one: its index is there by now. */
static void make_rows(rows_first *f, uint32_t number, uint32_t end) {
  selection *s = &f->selections[number];
  for (; s->made < end && !f->r.failed; s->made++) {
    const node *n = &f->g->nodes[s->made];
    if (n->n_results == 1 && is_by_rows(f, n->first_result) && f->demands[n->first_result].selection == number) make_by_rows(f, n);
  }
}

graph *pass_rows_first(const graph *g, pass_context *c) {
  rows_first f = {.r = rebuild_begin(g, c, "rows-first", pass_rows_first), .g = g, .arena = c->arena};
  f.demands = ARENA_ARRAY(c->arena, demand, g->n_values);
  f.rows = ARENA_ARRAY(c->arena, value, g->n_values);
  f.taken = ARENA_ARRAY(c->arena, taken *, g->n_values);
  for (uint32_t i = 0; i < g->n_results; i++) f.demands[g->results[i].value].want = ALL;
  for (uint32_t i = g->n_nodes; i-- > 0;) ask_for_operands(&f, &g->nodes[i]);
  for (uint32_t i = 0; i < g->n_nodes; i++) weigh(&f, &g->nodes[i]);
  for (uint32_t i = 0; i < g->n_nodes && !f.r.failed; i++) {
    const node *n = &g->nodes[i];
    if (n->n_results == 1 && is_by_rows(&f, n->first_result)) continue;
    if (n->n_operands && is_by_rows(&f, n->operands[0])) { /* which takes the rows */
      make_rows(&f, f.demands[n->operands[0]].selection, i);
      f.r.map[n->first_result] = f.rows[n->operands[0]];
    } else {
      rebuild_copy(&f.r, i);
    }
  }
  return rebuild_end(&f.r);
}
