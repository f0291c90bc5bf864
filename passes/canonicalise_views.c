#include "passes/canonicalise.h"

/* A view at hand. The node is a copy: building moves the graph's. */
typedef struct {
  node node;
  value x;
  tensor_type from, to; /* of the operand, of the result */
} view;

static view view_of(const canonical *c, value v) {
  const node *n = graph_node(c->graph, v);
  return (view){*n, n->operands[0], *graph_type(c->graph, n->operands[0]), *graph_type(c->graph, v)};
}

static value reshaped(canonical *c, value x, const tensor_type *to, span where) {
  if (shape_equal(graph_type(c->graph, x), to)) return x;
  return settle(c, graph_reshape(c->graph, x, to->rank, to->dim, where));
}

/* The splat's value when v is one and, of a padded or joined whole, the rest has the same. */
static bool splat_equals(const canonical *c, value v, scalar expected) {
  scalar s;
  if (!graph_splat_value(c->graph, v, &s)) return false;
  return memcmp(&s, &expected, sizeof s) == 0;
}

value canonical_reshape(canonical *c, value v) {
  const view w = view_of(c, v);
  if (shape_equal(&w.from, &w.to)) return w.x;
  const node *inner = node_if(c, w.x, OP_RESHAPE);
  if (inner) return reshaped(c, inner->operands[0], &w.to, w.node.where);
  return splat_through(c, v);
}

value canonical_transpose(canonical *c, value v) {
  const view w = view_of(c, v);
  const int64_t *axes = node_integers(&w.node, ATTR_AXES);
  bool identity = true, moves_ones_only = true;
  int64_t before = -1;
  for (uint32_t i = 0; i < w.to.rank; i++) {
    identity = identity && axes[i] == i;
    if (w.to.dim[i] == 1) continue;
    moves_ones_only = moves_ones_only && axes[i] > before;
    before = axes[i];
  }
  if (identity) return w.x;
  if (moves_ones_only) return reshaped(c, w.x, &w.to, w.node.where);
  const node *inner = node_if(c, w.x, OP_TRANSPOSE);
  if (inner) {
    const int64_t *first = node_integers(inner, ATTR_AXES);
    int64_t both[MAX_RANK];
    for (uint32_t i = 0; i < w.to.rank; i++) both[i] = first[axes[i]];
    return settle(c, graph_transpose(c->graph, inner->operands[0], both, w.node.where));
  }
  const node *product = node_if(c, w.x, OP_CONTRACT);
  if (product && used_once(c, w.x)) {
    contraction spec = *product->contraction;
    for (uint32_t i = 0; i < w.to.rank; i++) spec.result[i] = product->contraction->result[axes[i]];
    return graph_contract(c->graph, product->operands[0], product->operands[1],
                          contraction_text(&spec, false, c->graph->arena), &w.to, product->where);
  }
  return splat_through(c, v);
}

/* The operand of a broadcast has no axes of size 1: they repeat like those that it lacks. */
static value without_ones(canonical *c, const view *w, const int64_t *axes) {
  tensor_type dense = {.dtype = w->from.dtype};
  int64_t kept[MAX_RANK];
  for (uint32_t i = 0; i < w->from.rank; i++) {
    if (w->from.dim[i] == 1) continue;
    kept[dense.rank] = axes[i];
    dense.dim[dense.rank++] = w->from.dim[i];
  }
  if (dense.rank == w->from.rank) return 0;
  const value x = reshaped(c, w->x, &dense, w->node.where);
  return settle(c, graph_broadcast(c->graph, x, w->to, kept, w->node.where));
}

value canonical_broadcast(canonical *c, value v) {
  const view w = view_of(c, v);
  const int64_t *axes = node_integers(&w.node, ATTR_AXES);
  const value splat = splat_through(c, v);
  if (splat) return splat;
  if (type_elements(&w.from) == type_elements(&w.to)) return reshaped(c, w.x, &w.to, w.node.where);
  const value dense = without_ones(c, &w, axes);
  if (dense) return dense;
  const node *inner = node_if(c, w.x, OP_BROADCAST);
  if (!inner) return 0;
  const int64_t *first = node_integers(inner, ATTR_AXES);
  const uint32_t rank = graph_type(c->graph, inner->operands[0])->rank;
  int64_t both[MAX_RANK];
  for (uint32_t i = 0; i < rank; i++) both[i] = axes[first[i]];
  return settle(c, graph_broadcast(c->graph, inner->operands[0], w.to, both, w.node.where));
}

/* -- slice -------------------------------------------------------------------------------------------- */

typedef struct {
  int64_t start[MAX_RANK], stop[MAX_RANK], stride[MAX_RANK];
} cut;

static value sliced(canonical *c, value x, const cut *s, span where) {
  return settle(c, graph_slice(c->graph, x, s->start, s->stop, s->stride, where));
}

/* The stop right behind the last element, stride 1 where there is one element only. */
static cut tight_cut(const view *w) {
  cut s;
  memcpy(s.start, node_integers(&w->node, ATTR_START), w->to.rank * sizeof *s.start);
  memcpy(s.stride, node_integers(&w->node, ATTR_STRIDE), w->to.rank * sizeof *s.stride);
  for (uint32_t i = 0; i < w->to.rank; i++) {
    if (w->to.dim[i] <= 1) s.stride[i] = 1;
    s.stop[i] = s.start[i] + (w->to.dim[i] > 0 ? (w->to.dim[i] - 1) * s.stride[i] + 1 : 0);
  }
  return s;
}

static value slice_of_slice(canonical *c, const view *w, const cut *outer) {
  const node *inner = node_if(c, w->x, OP_SLICE);
  if (!inner) return 0;
  const int64_t *start = node_integers(inner, ATTR_START), *stride = node_integers(inner, ATTR_STRIDE);
  cut both;
  for (uint32_t i = 0; i < w->to.rank; i++) {
    both.start[i] = start[i] + outer->start[i] * stride[i];
    both.stride[i] = outer->stride[i] * stride[i];
    both.stop[i] = both.start[i] + (outer->stop[i] - outer->start[i] - 1) * stride[i] + 1;
  }
  return sliced(c, inner->operands[0], &both, w->node.where);
}

/* A slice that stays within one of the joined operands is a slice of that one. */
static value slice_of_concat(canonical *c, const view *w, const cut *s) {
  const node *inner = node_if(c, w->x, OP_CONCAT);
  if (!inner) return 0;
  const int64_t axis = node_axis(inner);
  int64_t begin = 0;
  for (uint32_t i = 0; i < inner->n_operands; i++) {
    const int64_t end = begin + graph_type(c->graph, inner->operands[i])->dim[axis];
    if (begin <= s->start[axis] && s->stop[axis] <= end) {
      cut moved = *s;
      moved.start[axis] -= begin;
      moved.stop[axis] -= begin;
      return sliced(c, inner->operands[i], &moved, w->node.where);
    }
    begin = end;
  }
  return 0;
}

value slice_at(canonical *c, value x, int64_t axis, int64_t place, span where) {
  const tensor_type *t = graph_type(c->graph, x);
  cut s;
  for (uint32_t i = 0; i < t->rank; i++) s.start[i] = 0, s.stop[i] = t->dim[i], s.stride[i] = 1;
  s.start[axis] = place;
  s.stop[axis] = place + 1;
  return sliced(c, x, &s, where);
}

/* Of one element along an axis over which it repeats. */
static value slice_of_broadcast(canonical *c, const view *w) {
  const node *inner = node_if(c, w->x, OP_BROADCAST);
  if (!inner) return 0;
  const int64_t *axes = node_integers(inner, ATTR_AXES);
  const tensor_type *source = graph_type(c->graph, inner->operands[0]);
  for (uint32_t i = 0; i < source->rank; i++)
    if (w->to.dim[axes[i]] != source->dim[i]) return 0;
  return settle(c, graph_broadcast(c->graph, inner->operands[0], w->to, axes, w->node.where));
}

/* A slice that sees nothing of the padding is a slice of what was padded. */
static value slice_of_pad(canonical *c, const view *w, const cut *s) {
  const node *inner = node_if(c, w->x, OP_PAD);
  if (!inner) return 0;
  const tensor_type *padded = graph_type(c->graph, inner->operands[0]);
  const int64_t *low = node_integers(inner, ATTR_LOW), *interior = node_integers(inner, ATTR_INTERIOR);
  cut moved = *s;
  for (uint32_t i = 0; i < w->to.rank; i++) {
    const int64_t step = interior[i] + 1;
    moved.start[i] -= low[i];
    moved.stop[i] -= low[i];
    if (moved.start[i] < 0 || moved.start[i] % step || (s->stride[i] % step && w->to.dim[i] > 1)) return 0;
    moved.start[i] /= step;
    moved.stride[i] = w->to.dim[i] > 1 ? s->stride[i] / step : 1;
    moved.stop[i] = moved.start[i] + (w->to.dim[i] - 1) * moved.stride[i] + 1;
    if (moved.stop[i] > padded->dim[i]) return 0;
  }
  return sliced(c, inner->operands[0], &moved, w->node.where);
}

value canonical_slice(canonical *c, value v) {
  const view w = view_of(c, v);
  if (shape_equal(&w.from, &w.to)) return w.x;
  const value splat = splat_through(c, v);
  if (splat || type_elements(&w.to) == 0) return splat;
  const cut s = tight_cut(&w);
  if (memcmp(s.stop, node_integers(&w.node, ATTR_STOP), w.to.rank * sizeof *s.stop) != 0 ||
      memcmp(s.stride, node_integers(&w.node, ATTR_STRIDE), w.to.rank * sizeof *s.stride) != 0)
    return sliced(c, w.x, &s, w.node.where);
  value shorter = slice_of_slice(c, &w, &s);
  if (!shorter) shorter = slice_of_concat(c, &w, &s);
  if (!shorter) shorter = slice_of_broadcast(c, &w);
  return shorter ? shorter : slice_of_pad(c, &w, &s);
}

/* -- pad, reverse, concat, gather ---------------------------------------------------------------------- */

typedef struct {
  int64_t low[MAX_RANK], high[MAX_RANK], interior[MAX_RANK];
} margins;

static margins margins_of(const node *n, uint32_t rank) {
  margins m;
  memcpy(m.low, node_integers(n, ATTR_LOW), rank * sizeof *m.low);
  memcpy(m.high, node_integers(n, ATTR_HIGH), rank * sizeof *m.high);
  memcpy(m.interior, node_integers(n, ATTR_INTERIOR), rank * sizeof *m.interior);
  return m;
}

static scalar pad_value(const node *n) { return node_attribute(n, ATTR_VALUE)->as.scalar; }

/* Pads with the same value around each other add up, if the outer one cuts nothing and puts nothing
 * between elements. */
static value pad_of_pad(canonical *c, const view *w, const margins *outer) {
  const node *inner = node_if(c, w->x, OP_PAD);
  if (!inner) return 0;
  const scalar fill = pad_value(&w->node), inner_fill = pad_value(inner);
  if (memcmp(&fill, &inner_fill, sizeof fill) != 0) return 0;
  margins both = margins_of(inner, w->to.rank);
  for (uint32_t i = 0; i < w->to.rank; i++) {
    if (outer->low[i] < 0 || outer->high[i] < 0 || outer->interior[i]) return 0;
    if (both.low[i] < 0 || both.high[i] < 0) return 0;
    both.low[i] += outer->low[i];
    both.high[i] += outer->high[i];
  }
  attribute attributes[4];
  const attribute_key keys[] = {ATTR_LOW, ATTR_HIGH, ATTR_INTERIOR};
  const int64_t *const lists[] = {both.low, both.high, both.interior};
  for (uint32_t i = 0; i < 3; i++)
    attributes[i] = (attribute){.key = keys[i], .n = w->to.rank, .as.integers = lists[i]};
  attributes[3] = (attribute){.key = ATTR_VALUE, .n = 1, .as.scalar = fill};
  const char *error;
  const value padded = graph_add(c->graph, OP_PAD, inner->operands, 1, attributes, 4, &w->to, w->node.where, &error);
  return settle(c, padded);
}

value canonical_pad(canonical *c, value v) {
  const view w = view_of(c, v);
  const margins m = margins_of(&w.node, w.to.rank);
  bool nothing = true;
  for (uint32_t i = 0; i < w.to.rank; i++)
    nothing = nothing && !m.low[i] && !m.high[i] && (!m.interior[i] || w.from.dim[i] <= 1);
  if (nothing) return w.x;
  if (splat_equals(c, w.x, pad_value(&w.node))) return splat_through(c, v);
  return pad_of_pad(c, &w, &m);
}

value canonical_reverse(canonical *c, value v) {
  const view w = view_of(c, v);
  const value splat = splat_through(c, v);
  if (splat) return splat;
  const node *inner = node_if(c, w.x, OP_REVERSE);
  bool turned[MAX_RANK] = {false};
  const attribute *lists[] = {node_attribute(&w.node, ATTR_AXES), NULL};
  if (inner) lists[1] = node_attribute(inner, ATTR_AXES);
  for (uint32_t k = 0; k < 2 && lists[k]; k++)
    for (uint32_t i = 0; i < lists[k]->n; i++) turned[lists[k]->as.integers[i]] ^= true;
  int64_t axes[MAX_RANK];
  uint32_t n = 0;
  for (uint32_t i = 0; i < w.to.rank; i++)
    if (turned[i] && w.to.dim[i] > 1) axes[n++] = i;
  const value x = inner ? inner->operands[0] : w.x;
  if (n == 0) return x;
  if (!inner && n == lists[0]->n) return 0;
  return settle(c, graph_reverse(c->graph, x, axes, n, w.node.where));
}

value canonical_concat(canonical *c, value v) {
  const node *n = graph_node(c->graph, v);
  if (n->n_operands == 1) return n->operands[0];
  scalar s;
  if (!graph_splat_value(c->graph, n->operands[0], &s)) return 0;
  for (uint32_t i = 1; i < n->n_operands; i++)
    if (!splat_equals(c, n->operands[i], s)) return 0;
  return splat_of(c, v, s);
}

/* Indices are clamped into range, so whatever they are they read the one value. */
value canonical_gather(canonical *c, value v) { return splat_through(c, v); }
