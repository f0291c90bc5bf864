/* From nodes to kernel expressions. A value at an index (one expression per dimension) is defined by
 * its operands at other indices: views only rewrite indices, elementwise ops apply, and what stands in
 * memory is read. Each op has one function, define_ID. */
#include "passes/fuse.h"

#include "ir/expr.h"

/* -- what is being defined ------------------------------------------------------------------------------ */

/* Where an index may leave its dimension (padding), the definition below is wanted only where these
 * conditions hold. Reads take them along and give `otherwise` where they fail, so that nothing outside a
 * buffer is ever touched; whoever added the conditions decides between that value and another. Guards
 * are interned: equal ones are one pointer. */
typedef struct guard {
  struct guard *next;
  uint32_t n;
  condition *conditions;
  scalar otherwise;
} guard;

typedef struct {
  value value;
  const guard *guard;
  const expr *const *index;
  const expr *result;
} memo;

typedef struct {
  const graph *graph;
  const bool *materialised;
  fragment *fragment;
  kernel *kernel;
  guard *guards;
  memo *memos; /* open addressing, capacity a power of two */
  uint32_t n_memos, memos_capacity;
  /* Set by the anchor that is the root: the reduction at the head of its stage, over fresh axes. */
  monoid monoid;
  axis_set reduced;
  uint32_t n_reduced;
} definition;

typedef const expr *define_function(definition *d, value v, const expr *const *index, const guard *g);
static const expr *define(definition *d, value v, const expr *const *index, const guard *g);

static const expr *apply(definition *d, op_id op, dtype result, const expr *x, const expr *y) {
  const expr *args[] = {x, y};
  return expr_apply(d->kernel, op, result, args, y ? 2 : 1);
}

static const expr *cast_to(definition *d, const expr *x, dtype to) {
  return x->type == to ? x : apply(d, OP_CAST, to, x, NULL);
}

static const expr *shifted(definition *d, const expr *x, int64_t by) {
  return expr_add(d->kernel, x, expr_integer(d->kernel, by));
}

static const expr *zero(definition *d, dtype t) { return expr_constant(d->kernel, t, (scalar){.integer = 0}); }

static bool same_bits(scalar x, scalar y) { return !memcmp(&x, &y, sizeof x); }

/* -- guards ------------------------------------------------------------------------------------------------ */

static const guard *intern_guard(definition *d, const guard *outer, const condition *more, uint32_t n,
                                 scalar otherwise) {
  uint32_t total = 0;
  condition *all = ARENA_ARRAY(d->kernel->arena, condition, (outer ? outer->n : 0) + n);
  for (uint32_t i = 0; outer && i < outer->n; i++) all[total++] = outer->conditions[i];
  for (uint32_t i = 0; i < n; i++) {
    bool known = false;
    for (uint32_t j = 0; j < total; j++)
      known |= all[j].subject == more[i].subject && all[j].low == more[i].low && all[j].high == more[i].high &&
               all[j].divisor == more[i].divisor;
    if (!known) all[total++] = more[i];
  }
  if (!total) return NULL;
  for (guard *g = d->guards; g; g = g->next)
    if (g->n == total && same_bits(g->otherwise, otherwise) && !memcmp(g->conditions, all, total * sizeof *all))
      return g;
  guard *g = ARENA_NEW(d->kernel->arena, guard);
  *g = (guard){d->guards, total, all, otherwise};
  return d->guards = g;
}

static bool may_fail(const condition *c) {
  return c->subject->range.low < c->low || c->subject->range.high >= c->high || c->divisor > 1;
}

/* The conditions as a value: true where all of them hold. */
static const expr *conjunction(definition *d, const condition *c, uint32_t n) {
  kernel *k = d->kernel;
  const expr *all = expr_constant(k, DTYPE_BOOL, (scalar){.integer = 1});
  for (uint32_t i = 0; i < n; i++) {
    const expr *above = apply(d, OP_LE, DTYPE_BOOL, expr_integer(k, c[i].low), c[i].subject);
    const expr *below = apply(d, OP_LT, DTYPE_BOOL, c[i].subject, expr_integer(k, c[i].high));
    all = apply(d, OP_AND, DTYPE_BOOL, all, apply(d, OP_AND, DTYPE_BOOL, above, below));
    if (c[i].divisor <= 1) continue;
    const expr *even = apply(d, OP_EQ, DTYPE_BOOL, expr_modulo(k, c[i].subject, c[i].divisor), expr_integer(k, 0));
    all = apply(d, OP_AND, DTYPE_BOOL, all, even);
  }
  return all;
}

/* What an expression is where every guarded read in it fails; false when that is no constant. */
static bool value_outside(const expr *e, uint32_t depth, scalar *out) {
  scalar args[6];
  if (e->kind == EXPR_CONSTANT || (e->kind == EXPR_READ && e->n_conditions)) {
    *out = e->constant;
    return true;
  }
  if (e->kind != EXPR_APPLY || depth == 0) return false;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (!value_outside(e->args[i], depth - 1, &args[i])) return false;
  *out = op_evaluate(e->op, e->args[e->op == OP_SELECT ? 1 : 0]->type, e->type, args);
  return true;
}

/* v at `index` where the conditions hold, and `outside` elsewhere. */
static const expr *define_guarded(definition *d, value v, const expr *const *index, const condition *c, uint32_t n,
                                  const guard *g, scalar outside) {
  condition needed[MAX_RANK];
  uint32_t n_needed = 0;
  dtype t = graph_type(d->graph, v)->dtype;
  for (uint32_t i = 0; i < n; i++)
    if (may_fail(&c[i])) needed[n_needed++] = c[i];
  if (!n_needed) return define(d, v, index, g);
  const guard *within = intern_guard(d, g, needed, n_needed, outside);
  const expr *inside = define(d, v, index, within), *holds;
  scalar fallback;
  if (inside->kind == EXPR_READ && !inside->n_conditions) /* safe everywhere, and chosen here */
    return expr_read(d->kernel, inside->number, inside->args, within->conditions, within->n, outside);
  if (value_outside(inside, 8, &fallback) && same_bits(fallback, scalar_round(t, outside))) return inside;
  holds = conjunction(d, needed, n_needed);
  const expr *args[] = {holds, inside, expr_constant(d->kernel, t, outside)};
  return expr_apply(d->kernel, OP_SELECT, t, args, 3);
}

/* Do the conditions keep the index inside already? They do for x / d where 0 <= x < high is among them. */
static bool is_implied(definition *d, const guard *g, const condition *inside) {
  for (uint32_t i = 0; g && i < g->n; i++) {
    const condition *c = &g->conditions[i];
    if (c->low >= 0 && (c->high - 1) / c->divisor < inside->high &&
        inside->subject == expr_divide(d->kernel, c->subject, c->divisor))
      return true;
  }
  return false;
}

/* -- reads --------------------------------------------------------------------------------------------------- */

static const char *value_name(const graph *g, value v) {
  const attribute *name = node_attribute(graph_node(g, v), ATTR_NAME);
  return name ? name->as.text : op_table[graph_node(g, v)->op].name;
}

static const expr *read_value(definition *d, value v, const expr *const *index, const guard *g) {
  const tensor_type *t = graph_type(d->graph, v);
  condition *conditions = ARENA_ARRAY(d->kernel->arena, condition, (g ? g->n : 0) + t->rank);
  uint32_t n = 0, leaving = 0;
  uint32_t buffer = fragment_buffer(d->fragment, v, *t, value_name(d->graph, v), ACCESS_IN);
  for (uint32_t i = 0; g && i < g->n; i++) conditions[n++] = g->conditions[i];
  for (uint32_t i = 0; i < t->rank; i++) {
    condition inside = {index[i], 0, t->dim[i], 1};
    if (!may_fail(&inside)) continue;
    leaving++;
    if (!is_implied(d, g, &inside)) conditions[n++] = inside; /* it is, but only this form proves it */
  }
  scalar otherwise = {.integer = 0};
  return expr_read(d->kernel, buffer, index, conditions, leaving ? n : 0, g ? g->otherwise : otherwise);
}

/* -- leaves and what is made from nothing -------------------------------------------------------------------- */

static const expr *define_CONSTANT(definition *d, value v, const expr *const *index, const guard *g) {
  const attribute *number = node_attribute(graph_node(d->graph, v), ATTR_VALUE);
  if (!number) return read_value(d, v, index, g);
  return expr_constant(d->kernel, graph_type(d->graph, v)->dtype, number->as.scalar);
}

static const expr *define_IOTA(definition *d, value v, const expr *const *index, const guard *g) {
  (void)g;
  return cast_to(d, index[node_axis(graph_node(d->graph, v))], graph_type(d->graph, v)->dtype);
}

static const expr *define_elementwise(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const expr *args[6];
  const guard *plain = g ? intern_guard(d, g, NULL, 0, (scalar){.integer = 0}) : NULL;
  for (uint32_t i = 0; i < n->n_operands; i++) args[i] = define(d, n->operands[i], index, plain);
  return expr_apply(d->kernel, n->op, graph_type(d->graph, v)->dtype, args, n->n_operands);
}

/* -- views ------------------------------------------------------------------------------------------------------ */

/* Dimensions of both shapes are matched in runs with equal products, left to right, so that index
 * arithmetic happens only where dimensions really join or part. */
void reshaped_index(kernel *k, const tensor_type *to, const expr *const *index, const tensor_type *from, const expr **inner) {
  for (uint32_t i = 0, j = 0; j < from->rank;) {
    uint32_t last = j + 1;
    int64_t product = from->dim[j], joined = 1;
    const expr *linear = expr_integer(k, 0);
    while (joined != product || (i < to->rank && to->dim[i] == 1)) {
      if (joined < product || (joined == product && i < to->rank && to->dim[i] == 1)) {
        linear = expr_add(k, expr_scale(k, linear, to->dim[i]), index[i]);
        joined *= to->dim[i++];
      } else {
        product *= from->dim[last++];
      }
    }
    int64_t stride = 1;
    for (uint32_t d = last; d-- > j;) {
      const expr *part = expr_divide(k, linear, stride);
      inner[d] = d == j ? part : expr_modulo(k, part, from->dim[d]);
      stride *= from->dim[d];
    }
    j = last;
  }
}

static const expr *define_RESHAPE(definition *d, value v, const expr *const *index, const guard *g) {
  value x = graph_node(d->graph, v)->operands[0];
  const tensor_type *to = graph_type(d->graph, v), *from = graph_type(d->graph, x);
  const expr *inner[MAX_RANK];
  if (type_elements(to) == 0) return zero(d, to->dtype);
  reshaped_index(d->kernel, to, index, from, inner);
  return define(d, x, inner, g);
}

static const expr *define_TRANSPOSE(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const int64_t *axes = node_integers(n, ATTR_AXES);
  const expr *inner[MAX_RANK];
  for (uint32_t i = 0; i < graph_type(d->graph, v)->rank; i++) inner[axes[i]] = index[i];
  return define(d, n->operands[0], inner, g);
}

static const expr *define_BROADCAST(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const int64_t *axes = node_integers(n, ATTR_AXES);
  const tensor_type *from = graph_type(d->graph, n->operands[0]);
  const expr *inner[MAX_RANK];
  for (uint32_t i = 0; i < from->rank; i++) inner[i] = from->dim[i] == 1 ? expr_integer(d->kernel, 0) : index[axes[i]];
  return define(d, n->operands[0], inner, g);
}

static const expr *define_SLICE(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const int64_t *start = node_integers(n, ATTR_START), *stride = node_integers(n, ATTR_STRIDE);
  const expr *inner[MAX_RANK];
  for (uint32_t i = 0; i < graph_type(d->graph, v)->rank; i++)
    inner[i] = shifted(d, expr_scale(d->kernel, index[i], stride[i]), start[i]);
  return define(d, n->operands[0], inner, g);
}

static const expr *define_PAD(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const int64_t *low = node_integers(n, ATTR_LOW), *interior = node_integers(n, ATTR_INTERIOR);
  const tensor_type *from = graph_type(d->graph, n->operands[0]);
  scalar outside = node_attribute(n, ATTR_VALUE)->as.scalar;
  const expr *inner[MAX_RANK];
  condition conditions[MAX_RANK];
  if (type_elements(from) == 0) return expr_constant(d->kernel, from->dtype, outside);
  for (uint32_t i = 0; i < from->rank; i++) {
    const expr *at = shifted(d, index[i], -low[i]);
    int64_t step = interior[i] + 1;
    inner[i] = expr_divide(d->kernel, at, step);
    conditions[i] = (condition){at, 0, (from->dim[i] - 1) * step + 1, step};
  }
  return define_guarded(d, n->operands[0], inner, conditions, from->rank, g, outside);
}

static const expr *define_REVERSE(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const attribute *axes = node_attribute(n, ATTR_AXES);
  const tensor_type *t = graph_type(d->graph, v);
  const expr *inner[MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++) inner[i] = index[i];
  for (uint32_t i = 0; i < axes->n; i++) {
    int64_t axis = axes->as.integers[i];
    inner[axis] = shifted(d, expr_scale(d->kernel, index[axis], -1), t->dim[axis] - 1);
  }
  return define(d, n->operands[0], inner, g);
}

/* A choice by the index; operands that the index cannot reach are left out. */
static const expr *define_CONCAT(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const tensor_type *t = graph_type(d->graph, v);
  int64_t axis = node_axis(n), end = t->dim[axis];
  const expr *inner[MAX_RANK], *result = NULL;
  for (uint32_t i = 0; i < t->rank; i++) inner[i] = index[i];
  for (uint32_t k = n->n_operands; k-- > 0;) {
    int64_t start = end - graph_type(d->graph, n->operands[k])->dim[axis];
    condition within = {index[axis], start, end, 1};
    if (start < end && index[axis]->range.low < end && index[axis]->range.high >= start) {
      inner[axis] = shifted(d, index[axis], -start);
      const guard *inside = may_fail(&within) ? intern_guard(d, g, &within, 1, (scalar){.integer = 0}) : g;
      const expr *part = define(d, n->operands[k], inner, inside);
      const expr *below = apply(d, OP_LT, DTYPE_BOOL, index[axis], expr_integer(d->kernel, end));
      const expr *args[] = {below, part, result};
      result = result ? expr_apply(d->kernel, OP_SELECT, t->dtype, args, 3) : part;
    }
    end = start;
  }
  return result ? result : zero(d, t->dtype);
}

/* -- indexed access ---------------------------------------------------------------------------------------------- */

/* An index operand as i64, clamped into the dimension; the clamp vanishes where ranges prove it idle. */
static const expr *clamped_index(definition *d, value operand, const expr *const *index, int64_t dim, const guard *g) {
  const expr *i = cast_to(d, define(d, operand, index, g), DTYPE_I64);
  i = apply(d, OP_MAX, DTYPE_I64, i, expr_integer(d->kernel, 0));
  return apply(d, OP_MIN, DTYPE_I64, i, expr_integer(d->kernel, dim - 1));
}

static const expr *define_GATHER(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const tensor_type *from = graph_type(d->graph, n->operands[0]);
  const guard *plain = g ? intern_guard(d, g, NULL, 0, (scalar){.integer = 0}) : NULL;
  const expr *inner[MAX_RANK];
  for (uint32_t i = 0; i < from->rank; i++) inner[i] = clamped_index(d, n->operands[i + 1], index, from->dim[i], plain);
  return define(d, n->operands[0], inner, g);
}

/* -- reductions: the root of a definition ------------------------------------------------------------------------ */

static const expr *reduced_axis(definition *d, int64_t extent) {
  char name[2] = {(char)('r' + d->n_reduced % 8), 0};
  if (extent == 1) return expr_integer(d->kernel, 0);
  uint32_t axis = kernel_add_axis(d->kernel, name, extent);
  d->n_reduced++;
  d->reduced |= (axis_set)1 << axis;
  return expr_axis(d->kernel, axis);
}

/* Sums of bf16 add up in f32, as a product of two bf16 is exact there. */
static dtype sum_type(dtype t) { return t == DTYPE_BF16 ? DTYPE_F32 : t; }

static const expr *contraction_operand(definition *d, const node *n, uint32_t which, const expr *const *axis) {
  const contraction *c = n->contraction;
  const tensor_type *t = graph_type(d->graph, n->operands[which]);
  const expr *index[MAX_RANK];
  condition conditions[MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++) {
    const index_form *f = &c->operand[which][i];
    const expr *at = expr_integer(d->kernel, f->offset);
    for (uint32_t k = 0; k < f->n_terms; k++)
      at = expr_add(d->kernel, at, expr_scale(d->kernel, axis[f->term[k].axis], f->term[k].coefficient));
    index[i] = expr_divide(d->kernel, at, f->divisor);
    conditions[i] = (condition){at, 0, (t->dim[i] - 1) * f->divisor + 1, f->divisor};
  }
  const expr *x = define_guarded(d, n->operands[which], index, conditions, t->rank, NULL, (scalar){.integer = 0});
  return cast_to(d, x, sum_type(t->dtype));
}

static const expr *define_CONTRACT(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const contraction *c = n->contraction;
  const tensor_type *t = graph_type(d->graph, v);
  tensor_type types[2] = {*graph_type(d->graph, n->operands[0]), *graph_type(d->graph, n->operands[1])};
  int64_t extent[MAX_CONTRACTION_AXES];
  const expr *axis[MAX_CONTRACTION_AXES] = {NULL};
  const char *error;
  (void)g;
  if (!contraction_extents(c, types, t, extent, d->kernel->arena, &error))
    return zero(d, t->dtype); /* the verifier saw it */
  for (uint32_t i = 0; i < c->result_rank; i++) axis[c->result[i]] = index[i];
  bool empty = false;
  for (uint32_t i = 0; i < c->n_axes; i++) {
    empty |= extent[i] == 0;
    if (!axis[i]) axis[i] = reduced_axis(d, extent[i]);
  }
  d->monoid = MONOID_SUM;
  dtype type = sum_type(types[0].dtype);
  if (empty) return zero(d, type);
  const expr *left = contraction_operand(d, n, 0, axis), *right = contraction_operand(d, n, 1, axis);
  const axis_set both = left->axes & right->axes, free_axes = (left->axes | right->axes) & ~d->reduced;
  d->fragment->contraction = (left->axes & free_axes & ~both) && (right->axes & free_axes & ~both);
  return apply(d, OP_MUL, type, left, right);
}

static const expr *define_reduction(definition *d, value v, const expr *const *index, monoid m) {
  const node *n = graph_node(d->graph, v);
  const tensor_type *t = graph_type(d->graph, n->operands[0]);
  const attribute *axes = node_attribute(n, ATTR_AXES);
  uint32_t mask = 0;
  const expr *inner[MAX_RANK];
  for (uint32_t i = 0; axes && i < axes->n; i++) mask |= 1u << axes->as.integers[i];
  if (!axes) mask = 1u << node_axis(n);
  for (uint32_t i = 0, at = 0; i < t->rank; i++) inner[i] = mask >> i & 1 ? reduced_axis(d, t->dim[i]) : index[at++];
  d->monoid = m;
  return define(d, n->operands[0], inner, NULL);
}

static const expr *define_REDUCE_SUM(definition *d, value v, const expr *const *index, const guard *g) {
  (void)g;
  const expr *body = define_reduction(d, v, index, MONOID_SUM);
  return d->reduced ? cast_to(d, body, sum_type(body->type)) : body;
}

static const expr *define_REDUCE_MAX(definition *d, value v, const expr *const *index, const guard *g) {
  (void)g;
  return define_reduction(d, v, index, MONOID_MAX);
}

static const expr *define_ARGMAX(definition *d, value v, const expr *const *index, const guard *g) {
  (void)g;
  const expr *body = define_reduction(d, v, index, MONOID_ARGMAX);
  return d->reduced ? body : zero(d, DTYPE_I32);
}

/* Where an index is an affine form of the update's axes, adding at `to` over all updates is one equation:
 * it is solved for the axis that is longest, whose place in `from` then is an expression of the others
 * (with a condition that this lies inside), instead of a comparison at every point. */
typedef struct {
  const expr *from[MAX_RANK]; /* where in the updates, in terms of what is left of their axes */
  condition conditions[MAX_RANK];
  uint32_t n_conditions;
  uint32_t axis; /* that is being replaced */
  const expr *by;
} solution;

static const expr *solved_axis(void *context, kernel *into, uint32_t axis) {
  (void)into;
  const solution *s = context;
  return axis == s->axis ? s->by : NULL;
}

static bool solve_axis(definition *d, solution *s, const tensor_type *updates, const expr *at, const expr *to) {
  int64_t coefficient[MAX_AXES], offset;
  if (!expr_affine(d->kernel, at, coefficient, &offset)) return false;
  uint32_t best = updates->rank;
  for (uint32_t i = 0; i < updates->rank; i++)
    if (s->from[i]->kind == EXPR_AXIS && (d->reduced >> s->from[i]->number & 1) && coefficient[s->from[i]->number] &&
        (best == updates->rank || updates->dim[i] > updates->dim[best]))
      best = i;
  if (best == updates->rank) return false;
  const expr *axis = s->from[best];
  int64_t by = coefficient[axis->number];
  const expr *rest = expr_add(d->kernel, at, expr_scale(d->kernel, axis, -by));
  const expr *left = expr_scale(d->kernel, expr_add(d->kernel, to, expr_scale(d->kernel, rest, -1)), by < 0 ? -1 : 1);
  if (by < 0) by = -by;
  s->axis = axis->number;
  s->by = expr_divide(d->kernel, left, by);
  d->reduced &= ~((axis_set)1 << axis->number);
  expr_rewrite replace = {.context = s, .axis = solved_axis};
  for (uint32_t i = 0; i < updates->rank; i++)
    s->from[i] = expr_rewrite_into(d->kernel, d->kernel, s->from[i], &replace);
  for (uint32_t i = 0; i < s->n_conditions; i++)
    s->conditions[i].subject = expr_rewrite_into(d->kernel, d->kernel, s->conditions[i].subject, &replace);
  condition inside = {left, 0, (updates->dim[best] - 1) * by + 1, by};
  if (may_fail(&inside)) s->conditions[s->n_conditions++] = inside;
  return true;
}

static const expr *define_SCATTER_ADD(definition *d, value v, const expr *const *index, const guard *g) {
  const node *n = graph_node(d->graph, v);
  const tensor_type *to = graph_type(d->graph, v), *t = graph_type(d->graph, n->operands[0]);
  const expr *equal = expr_constant(d->kernel, DTYPE_BOOL, (scalar){.integer = 1});
  const scalar none = {.integer = 0};
  solution s = {.n_conditions = 0};
  bool solved[MAX_RANK] = {false};
  (void)g;
  if (type_elements(t) == 0) return zero(d, to->dtype);
  d->monoid = MONOID_SUM;
  for (uint32_t i = 0; i < t->rank; i++) s.from[i] = reduced_axis(d, t->dim[i]);
  for (uint32_t i = 0; i < to->rank; i++) { /* under guard: axes that were replaced may leave their dimension */
    const guard *inside = intern_guard(d, NULL, s.conditions, s.n_conditions, none);
    solved[i] = solve_axis(d, &s, t, clamped_index(d, n->operands[i + 1], s.from, to->dim[i], inside), index[i]);
  }
  const guard *inside = intern_guard(d, NULL, s.conditions, s.n_conditions, none);
  for (uint32_t i = 0; i < to->rank; i++) {
    if (solved[i]) continue;
    const expr *at = clamped_index(d, n->operands[i + 1], s.from, to->dim[i], inside);
    equal = apply(d, OP_AND, DTYPE_BOOL, equal, apply(d, OP_EQ, DTYPE_BOOL, at, index[i]));
  }
  const expr *update = define_guarded(d, n->operands[0], s.from, s.conditions, s.n_conditions, NULL, none);
  const expr *args[] = {equal, update, zero(d, t->dtype)};
  const expr *body = expr_apply(d->kernel, OP_SELECT, t->dtype, args, 3);
  return d->reduced ? cast_to(d, body, sum_type(t->dtype)) : body;
}

/* -- the table ---------------------------------------------------------------------------------------------------- */

#define define_PARAMETER read_value
#define define_REPEAT read_value
#define define_GRAD NULL /* gone since autodiff */
static define_function *const definitions[OP_COUNT] = {
#define ELEMENTWISE(id, ...) [OP_##id] = define_elementwise,
#define STRUCTURAL(id, ...) [OP_##id] = define_##id,
#include "ir/ops.def"
};

static const fusion_role roles[OP_COUNT] = {
#define ELEMENTWISE(id, ...) [OP_##id] = ROLE_MAP,
#include "ir/ops.def"
    [OP_GATHER] = ROLE_MAP,      [OP_PARAMETER] = ROLE_LEAF,    [OP_CONSTANT] = ROLE_VIEW,
    [OP_IOTA] = ROLE_VIEW,       [OP_RESHAPE] = ROLE_VIEW,      [OP_TRANSPOSE] = ROLE_VIEW,
    [OP_BROADCAST] = ROLE_VIEW,  [OP_SLICE] = ROLE_VIEW,        [OP_PAD] = ROLE_VIEW,
    [OP_REVERSE] = ROLE_VIEW,    [OP_CONCAT] = ROLE_VIEW,       [OP_SCATTER_ADD] = ROLE_ANCHOR,
    [OP_CONTRACT] = ROLE_ANCHOR, [OP_REDUCE_SUM] = ROLE_ANCHOR, [OP_REDUCE_MAX] = ROLE_ANCHOR,
    [OP_ARGMAX] = ROLE_ANCHOR,   [OP_REPEAT] = ROLE_LEAF,    [OP_GRAD] = ROLE_LEAF,
};

fusion_role value_role(const graph *g, value v) {
  const node *n = graph_node(g, v);
  return node_attribute(n, ATTR_LITERAL) ? ROLE_LEAF : roles[n->op];
}

/* -- memory of what is defined: sharing in the graph survives ------------------------------------------------------ */

static memo *find_memo(definition *d, value v, const expr *const *index, uint32_t rank, const guard *g) {
  uint64_t hash = v * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)g >> 4;
  for (uint32_t i = 0; i < rank; i++) hash = (hash ^ index[i]->id) * 0x9e3779b97f4a7c15u;
  for (uint32_t at = (uint32_t)(hash >> 32);; at++) {
    memo *m = &d->memos[at & (d->memos_capacity - 1)];
    if (!m->value || (m->value == v && m->guard == g && !memcmp(m->index, index, rank * sizeof *index))) return m;
  }
}

static void grow_memos(definition *d) {
  memo *old = d->memos;
  uint32_t n = d->memos_capacity;
  d->memos_capacity = n ? 2 * n : 32;
  d->memos = ARENA_ARRAY(d->kernel->arena, memo, d->memos_capacity);
  for (uint32_t i = 0; i < n; i++)
    if (old[i].value)
      *find_memo(d, old[i].value, old[i].index, graph_type(d->graph, old[i].value)->rank, old[i].guard) = old[i];
}

static const expr *define(definition *d, value v, const expr *const *index, const guard *g) {
  uint32_t rank = graph_type(d->graph, v)->rank;
  if (d->materialised[v]) return read_value(d, v, index, g);
  if (2 * (d->n_memos + 1) > d->memos_capacity) grow_memos(d);
  const memo *known = find_memo(d, v, index, rank, g);
  if (known->value) return known->result;
  const expr *result = definitions[graph_node(d->graph, v)->op](d, v, index, g);
  if (2 * (d->n_memos + 1) > d->memos_capacity) grow_memos(d);
  d->n_memos++;
  *find_memo(d, v, index, rank, g) = (memo){v, g, arena_copy(d->kernel->arena, index, rank * sizeof *index), result};
  return result;
}

/* -- fragments ------------------------------------------------------------------------------------------------------
 */

uint32_t fragment_buffer(fragment *f, value v, tensor_type type, const char *name, buffer_access access) {
  for (uint32_t i = 0; i < f->kernel->n_buffers; i++)
    if (f->values[i] == v) return i;
  uint32_t n = kernel_add_buffer(f->kernel, name, type, access);
  *ARENA_PUSH(f->kernel->arena, f->values, n, f->values_capacity) = v;
  return f->kernel->n_buffers - 1;
}

static void collect(fragment *f, const expr *e, bool *seen) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  f->n_exprs++;
  if (e->kind == EXPR_READ) *ARENA_PUSH(f->kernel->arena, f->reads, f->n_reads, f->reads_capacity) = e;
  for (uint32_t i = 0; i < e->n_args; i++) collect(f, e->args[i], seen);
  for (uint32_t i = 0; i < e->n_conditions; i++) collect(f, e->conditions[i].subject, seen);
}

void fragment_collect_reads(fragment *f, uint32_t first_stage) {
  bool *seen = ARENA_ARRAY(f->kernel->arena, bool, f->kernel->exprs->count);
  for (uint32_t i = 0; i < f->n_reads; i++) seen[f->reads[i]->id] = true;
  for (uint32_t i = first_stage; i < f->kernel->n_stages; i++) collect(f, f->kernel->stages[i].body, seen);
}

/* A stage for each part, where a choice at every point would be. */
static bool define_stack(definition *d, value v, const expr *const *index, stage s) {
  const node *n = graph_node(d->graph, v);
  const expr *inside[MAX_RANK], *outside[MAX_RANK];
  const uint32_t rank = graph_type(d->graph, v)->rank;
  int64_t axis;
  if (!graph_is_stack(d->graph, v, &axis)) return false;
  memcpy(inside, index, rank * sizeof *index);
  memcpy(outside, index, rank * sizeof *index);
  s.free &= ~index[axis]->axes;
  s.index = outside;
  s.type = graph_type(d->graph, v)->dtype;
  inside[axis] = expr_integer(d->kernel, 0);
  for (uint32_t i = 0; i < n->n_operands; i++) {
    outside[axis] = expr_integer(d->kernel, i);
    s.body = define(d, n->operands[i], inside, NULL);
    kernel_add_stage(d->kernel, s);
  }
  return true;
}

fragment *define_value(const graph *g, const bool *materialised, value v, arena *a) {
  const node *n = graph_node(g, v);
  const tensor_type *t = graph_type(g, v);
  fragment *f = ARENA_NEW(a, fragment);
  f->kernel = kernel_new(a, op_table[n->op].name, n->where);
  definition d = {.graph = g, .materialised = materialised, .fragment = f, .kernel = f->kernel};
  const expr *index[MAX_RANK];
  stage s = {.name = op_table[n->op].name, .index = index, .where = n->where};
  s.output = (int32_t)fragment_buffer(f, v, *t, value_name(g, v), ACCESS_OUT);
  for (uint32_t i = 0; i < t->rank; i++) {
    char name[2] = {(char)('i' + i), 0};
    index[i] =
        t->dim[i] == 1 ? expr_integer(f->kernel, 0) : expr_axis(f->kernel, kernel_add_axis(f->kernel, name, t->dim[i]));
    s.free |= index[i]->axes;
  }
  if (define_stack(&d, v, index, s)) {
    fragment_collect_reads(f, 0);
    return f;
  }
  s.body = definitions[n->op](&d, v, index, NULL);
  s.monoid = d.reduced ? d.monoid : MONOID_NONE;
  s.reduced = d.reduced;
  s.type = s.monoid == MONOID_ARGMAX ? t->dtype : s.body->type;
  if (s.type != t->dtype) { /* summed in a wider type */
    stage sum = s;
    sum.output = -1;
    const expr *total = expr_stage(f->kernel, kernel_add_stage(f->kernel, sum));
    s.body = cast_to(&d, total, t->dtype);
    s.type = t->dtype;
    s.monoid = MONOID_NONE;
    s.reduced = 0;
  }
  kernel_add_stage(f->kernel, s);
  fragment_collect_reads(f, 0);
  return f;
}
