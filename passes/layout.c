/* Layouts over the whole plan. Buffers that maps read and write with the same dimensions (also at strides, as
 * pooling does) share one order, so that no elementwise kernel ever walks two. Contractions vote, with their arithmetic as weight, for the
 * dimension of each operand that should be innermost; where the vote went against the operand that feeds
 * vectors, a conversion kernel makes a copy in the order that is wanted, which one can see and count. */
#include "passes/passes.h"
#include "passes/register_tile.h"

enum { WORTH_A_COPY = 32 }; /* uses of each element that pay for converting it first */

#define AXIS(i) ((axis_set)1 << (i))

typedef struct {
  plan *plan;
  arena *arena;
  const target *target;
  uint32_t *parent; /* classes of buffers that share a layout */
  double (*votes)[MAX_RANK]; /* by class: for each dimension, as the innermost one */
  bool *fixed;               /* by class: row-major, since a loop takes slices of it or copies it */
  struct variant {
    const kernel *from;
    kernel *made;
    struct variant *next;
  } *variants;
  struct copy { /* that were made so far */
    uint32_t from, to;
    struct copy *next;
  } *copies;
  plan_launch *launches; /* the new list */
  uint32_t n_launches, launches_capacity;
} layouts;

static uint32_t class_of(layouts *l, uint32_t buffer) {
  while (l->parent[buffer] != buffer) buffer = l->parent[buffer] = l->parent[l->parent[buffer]];
  return buffer;
}

static void unite(layouts *l, uint32_t a, uint32_t b) {
  if (l->plan->buffers[a].type.rank == l->plan->buffers[b].type.rank) l->parent[class_of(l, a)] = class_of(l, b);
}

/* Whether an index runs with one axis only (or stands still). */
static bool runs_with(const expr *e, const expr *axis) {
  if (e->kind == EXPR_AXIS && e != axis) return false;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (!runs_with(e->args[i], axis)) return false;
  return true;
}

/* Unites the output of a map with what it reads dimension by dimension. */
static void unite_reads(layouts *l, const plan_launch *launch, const stage *s, const expr *e, bool *seen) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  for (uint32_t i = 0; i < e->n_args; i++) unite_reads(l, launch, s, e->args[i], seen);
  const kernel_buffer *out = &launch->kernel->buffers[s->output];
  if (e->kind != EXPR_READ || e->n_args != out->type.rank) return;
  for (uint32_t d = 0; d < e->n_args; d++)
    if (!runs_with(e->args[d], s->index[d])) return;
  unite(l, launch->buffers[e->number], launch->buffers[s->output]);
}

/* Unites what one kernel writes at the same place. */
static void unite_outputs(layouts *l, const plan_launch *launch, const stage *a, const stage *b) {
  uint32_t rank = launch->kernel->buffers[a->output].type.rank;
  if (rank != launch->kernel->buffers[b->output].type.rank) return;
  for (uint32_t d = 0; d < rank; d++)
    if (a->index[d] != b->index[d]) return;
  unite(l, launch->buffers[a->output], launch->buffers[b->output]);
}

static void find_classes(layouts *l) {
  for (uint32_t i = 0; i < l->plan->n_launches; i++) {
    const plan_launch *launch = &l->plan->launches[i];
    uint32_t ids = 1;
    for (uint32_t k = 0; k < launch->kernel->n_stages; k++)
      if (launch->kernel->stages[k].body->id >= ids) ids = launch->kernel->stages[k].body->id + 1;
    for (uint32_t k = 0; k < launch->kernel->n_stages; k++) {
      const stage *s = &launch->kernel->stages[k];
      if (s->output >= 0 && s->monoid == MONOID_NONE) unite_reads(l, launch, s, s->body, ARENA_ARRAY(l->arena, bool, ids));
      for (uint32_t m = 0; s->output >= 0 && m < k; m++)
        if (launch->kernel->stages[m].output >= 0) unite_outputs(l, launch, s, &launch->kernel->stages[m]);
    }
  }
  for (uint32_t i = 0; i < l->plan->n_buffers; i++) /* a state and its next value */
    for (uint32_t k = 0; k < i; k++)
      if (!strcmp(l->plan->buffers[i].role, "state") && !strcmp(l->plan->buffers[k].role, "state") && !strcmp(l->plan->buffers[i].name, l->plan->buffers[k].name))
        unite(l, i, k);
}

/* -- what a contraction wants -------------------------------------------------------------------------------- */

/* The dimension of an index list that is exactly this axis; -1 when there is none. */
static int32_t plain_dimension(const expr *const *index, uint32_t rank, uint32_t axis) {
  for (uint32_t d = 0; d < rank; d++)
    if (index[d]->kind == EXPR_AXIS && index[d]->number == axis) return (int32_t)d;
  return -1;
}

/* The read that an operand expression comes down to: itself, or behind casts and maps of one operand. */
static const expr *only_read(const expr *e) {
  while (e->kind == EXPR_APPLY && e->n_args == 1) e = e->args[0];
  return e->kind == EXPR_READ ? e : NULL;
}

typedef struct {
  const expr *vector, *other; /* the operand that feeds vectors, and the one whose values are broadcast */
  int32_t axis;               /* that runs along vectors */
  int32_t inner;              /* innermost axis of the other operand: what it sums over; when that is several (a
                                 batch of images), what a tile has rows of; -1: none stands plain */
  double points;
} wish;

static bool find_wish(const kernel *k, uint32_t number, wish *out) {
  contraction_form c;
  if (!stage_contraction(k, number, &c)) return false;
  const expr *left = only_read(c.left), *right = only_read(c.right);
  if (!left || !right) return false;
  *out = (wish){.axis = -1, .inner = -1, .points = 1};
  const stage *s = &k->stages[number];
  int64_t best = -1;
  for (uint32_t a = 0, rank = 0; a < k->n_axes; a++) {
    if ((s->free | s->reduced) & AXIS(a)) out->points *= (double)k->axes[a].extent;
    /* Axes stand in the order of the result's dimensions: a later one is more of a channel than an earlier
     * one, which is the batch; one too short for vectors is a last resort. */
    if (!((c.left_only | c.right_only) & AXIS(a))) continue;
    rank++;
    const expr *operand = c.left_only & AXIS(a) ? left : right;
    if (plain_dimension(operand->args, operand->n_args, a) < 0) continue;
    int64_t score = rank + (k->axes[a].extent >= 16 ? 1000 : k->axes[a].extent >= 8 ? 500 : 0);
    if (score > best) best = score, out->axis = (int32_t)a;
  }
  if (out->axis < 0) return false;
  out->vector = c.left_only & AXIS(out->axis) ? left : right;
  out->other = out->vector == left ? right : left;
  uint32_t n_reduced = 0;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(c.reduced & AXIS(a)) || plain_dimension(out->other->args, out->other->n_args, a) < 0) continue;
    out->inner = (int32_t)a;
    n_reduced++;
  }
  if (n_reduced <= 1) return true;
  axis_set rows = (c.left_only | c.right_only) & ~AXIS(out->axis);
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (rows & AXIS(a) && k->axes[a].extent > 1 && plain_dimension(out->other->args, out->other->n_args, a) >= 0) out->inner = (int32_t)a;
  return true;
}

static void vote(layouts *l, uint32_t buffer, const expr *const *index, int32_t axis, double weight) {
  int32_t d = axis < 0 ? -1 : plain_dimension(index, l->plan->buffers[buffer].type.rank, (uint32_t)axis);
  if (d >= 0) l->votes[class_of(l, buffer)][d] += weight;
}

static void collect_votes(layouts *l) {
  for (uint32_t i = 0; i < l->plan->n_launches; i++) {
    const plan_launch *launch = &l->plan->launches[i];
    const kernel *k = launch->kernel;
    for (uint32_t at = 0; at < k->n_stages; at++) {
      wish w;
      if (!find_wish(k, at, &w)) continue;
      vote(l, launch->buffers[w.vector->number], w.vector->args, w.axis, w.points);
      vote(l, launch->buffers[w.other->number], w.other->args, w.inner, w.points / 2);
      for (uint32_t s = at; s < k->n_stages; s++)
        if (k->stages[s].output >= 0) vote(l, launch->buffers[k->stages[s].output], k->stages[s].index, w.axis, w.points / 2);
    }
  }
}

static void fix_bounds_of_loops(layouts *l) {
  const plan *p = l->plan;
  for (uint32_t i = 0; i < p->n_launches; i++)
    for (uint32_t b = 0; p->launches[i].repeat && b < p->launches[i].kernel->n_buffers; b++) l->fixed[class_of(l, p->launches[i].buffers[b])] = true;
  for (uint32_t i = 0; p->region && i < p->n_buffers; i++)
    if (p->buffers[i].storage != STORAGE_TEMPORARY) l->fixed[class_of(l, i)] = true;
}

static layout innermost(const tensor_type *t, uint32_t dim) {
  uint32_t order[MAX_RANK], n = 0;
  for (uint32_t d = 0; d < t->rank; d++)
    if (d != dim) order[n++] = d;
  order[n] = dim;
  return layout_permuted(t, order);
}

static void decide(layouts *l) {
  for (uint32_t i = 0; i < l->plan->n_buffers; i++) {
    plan_buffer *b = &l->plan->buffers[i];
    const double *votes = l->votes[class_of(l, i)];
    if (l->fixed[class_of(l, i)]) continue;
    uint32_t best = b->type.rank ? b->type.rank - 1 : 0;
    for (uint32_t d = 0; d < b->type.rank; d++)
      if (votes[d] > votes[best]) best = d;
    /* What the host gives for each run stays as the host has it. */
    if (b->type.rank > 1 && best != b->type.rank - 1 && b->storage != STORAGE_DATA) b->layout = innermost(&b->type, best);
  }
}

/* -- carrying it out ----------------------------------------------------------------------------------------- */

/* The kernel with the layouts of these buffers; launches that agree share it. */
static kernel *with_layouts(layouts *l, const kernel *k, const uint32_t *buffers) {
  for (struct variant *v = l->variants; v; v = v->next) {
    bool same = v->from == k;
    for (uint32_t i = 0; same && i < k->n_buffers; i++) same = layout_equal(&v->made->buffers[i].layout, &l->plan->buffers[buffers[i]].layout);
    if (same) return v->made;
  }
  struct variant *v = ARENA_NEW(l->arena, struct variant);
  v->from = k;
  v->made = arena_copy(l->arena, k, sizeof *k);
  v->made->buffers = arena_copy(l->arena, k->buffers, k->n_buffers * sizeof *k->buffers);
  v->made->buffers_capacity = k->n_buffers;
  for (uint32_t i = 0; i < k->n_buffers; i++) v->made->buffers[i].layout = l->plan->buffers[buffers[i]].layout;
  v->next = l->variants;
  l->variants = v;
  return v->made;
}

static void launch(layouts *l, const kernel *k, const uint32_t *buffers) {
  *ARENA_PUSH(l->arena, l->launches, l->n_launches, l->launches_capacity) =
      (plan_launch){.kernel = with_layouts(l, k, buffers), .buffers = arena_copy(l->arena, buffers, k->n_buffers * sizeof *buffers)};
}

static kernel *copy_kernel(layouts *l, const tensor_type *t, span where) {
  const expr *index[MAX_RANK];
  kernel *k = kernel_new(l->arena, "convert", where);
  stage s = {.name = "copy", .type = t->dtype, .output = 1, .index = index, .where = where};
  for (uint32_t d = 0; d < t->rank; d++) {
    uint32_t axis = kernel_add_axis(k, "i", t->dim[d]);
    index[d] = expr_axis(k, axis);
    s.free |= AXIS(axis);
  }
  kernel_add_buffer(k, "from", *t, ACCESS_IN);
  kernel_add_buffer(k, "to", *t, ACCESS_OUT);
  s.body = expr_read(k, 0, index, NULL, 0, (scalar){.integer = 0});
  kernel_add_stage(k, s);
  return k;
}

/* One dimension in panels as wide as a register tile, where it is wider, so that a panel is one run of memory and
 * its rows do not fall on the same lines of the cache; `along`, if any, is what the innermost sum walks. */
static layout panels(const tensor_type *t, uint32_t dim, int64_t width, int32_t along) {
  uint32_t order[MAX_RANK], n = 0;
  if (t->dim[dim] <= width) return innermost(t, dim);
  order[n++] = dim;
  for (uint32_t d = 0; d < t->rank; d++)
    if (d != dim && (int32_t)d != along) order[n++] = d;
  if (along >= 0) order[n++] = (uint32_t)along;
  return layout_blocked(t, order, dim, width);
}

/* The buffer, or a copy of it in the order that is wanted. */
static uint32_t converted(layouts *l, uint32_t from, const layout *wanted) {
  plan_buffer b = l->plan->buffers[from];
  layout has = b.layout.n ? b.layout : layout_row_major(&b.type);
  if (layout_equal(wanted, &has)) return from;
  for (struct copy *c = l->copies; c; c = c->next)
    if (c->from == from && layout_equal(&l->plan->buffers[c->to].layout, wanted)) return c->to;
  b.name = b.role = "";
  b.layout = *wanted;
  b.storage = STORAGE_TEMPORARY;
  b.alias = -1;
  b.is_splat = false;
  b.literal = NULL;
  b.bytes = layout_elements(&b.layout, &b.type) * (int64_t)dtype_bytes(b.type.dtype);
  uint32_t to = plan_add_buffer(l->plan, b);
  launch(l, copy_kernel(l, &b.type, b.where), (uint32_t[]){from, to});
  struct copy *c = ARENA_NEW(l->arena, struct copy);
  *c = (struct copy){from, to, l->copies};
  l->copies = c;
  return to;
}

/* -- pairs ---------------------------------------------------------------------------------------------------- */

static const expr *narrow_read(const expr *e) {
  bool widens = e->kind == EXPR_APPLY && e->op == OP_CAST && e->type == DTYPE_F32;
  return widens && e->args[0]->kind == EXPR_READ && e->args[0]->type == DTYPE_BF16 ? e->args[0] : NULL;
}

/* Whether a read walks an axis by one dimension of its own, without edges. */
static bool walks_plainly(const expr *read, uint32_t axis) {
  uint32_t dims = 0;
  for (uint32_t d = 0; d < read->n_args; d++) dims += read->args[d]->axes >> axis & 1;
  for (uint32_t i = 0; i < read->n_conditions; i++)
    if (read->conditions[i].subject->axes >> axis & 1) return false;
  return dims == 1 && plain_dimension(read->args, read->n_args, axis) >= 0;
}

static bool ends_with(const layout *l, uint32_t dim) { return l->n && l->part[l->n - 1].dim == dim && l->part[l->n - 1].divisor == 1; }

/* Neighbours along a dimension that is whole are put side by side. */
static layout in_pairs(layout l, const tensor_type *t, uint32_t dim) {
  if (!l.n) l = layout_row_major(t);
  if (ends_with(&l, dim)) return l;
  for (uint32_t i = 0; i < l.n; i++) {
    if (l.part[i].dim != dim) continue;
    l.part[i].divisor = 2;
    l.part[i].extent = t->dim[dim] / 2;
  }
  l.part[l.n].dim = dim;
  l.part[l.n].divisor = 1;
  l.part[l.n++].extent = 2;
  return l;
}

/* The reduced axis of which two neighbours of bf16 are multiplied at once; -1: none. Best is one along which the
 * operand that is broadcast is contiguous already. */
static int32_t find_pairs(const layouts *l, const kernel *k, uint32_t number, const wish *w, const uint32_t *buffers) {
  contraction_form c;
  int32_t best = -1;
  if (!stage_contraction(k, number, &c) || !narrow_read(c.left) || !narrow_read(c.right)) return -1;
  if (w->vector->number == w->other->number) return -1;
  const plan_buffer *other = &l->plan->buffers[buffers[w->other->number]];
  layout has = other->layout.n ? other->layout : layout_row_major(&other->type);
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(c.reduced & AXIS(a)) || k->axes[a].extent % 2 || !walks_plainly(w->vector, a) || !walks_plainly(w->other, a)) continue;
    if (ends_with(&has, (uint32_t)plain_dimension(w->other->args, w->other->n_args, a))) return (int32_t)a;
    if (best < 0) best = (int32_t)a;
  }
  return best >= 0 && w->points >= WORTH_A_COPY * (double)type_elements(&other->type) ? best : -1;
}

/* -- operands of contractions ---------------------------------------------------------------------------------- */

/* Puts a converted copy in place of an operand: in panels along `axis`, if any, and in pairs along another. */
static void convert_operand(layouts *l, const expr *read, int32_t axis, int64_t width, int32_t along, int32_t pair, uint32_t *buffers) {
  const plan_buffer *b = &l->plan->buffers[buffers[read->number]];
  int32_t dim = axis < 0 ? -1 : plain_dimension(read->args, b->type.rank, (uint32_t)axis);
  if (axis >= 0 && dim < 0) return;
  layout wanted = dim < 0 ? b->layout : panels(&b->type, (uint32_t)dim, width, along);
  if (pair >= 0) wanted = in_pairs(wanted, &b->type, (uint32_t)plain_dimension(read->args, b->type.rank, (uint32_t)pair));
  if (wanted.n) buffers[read->number] = converted(l, buffers[read->number], &wanted);
}

/* Copies of operands are made where their panels would not be contiguous, or pairs not side by side. */
static void convert_operands(layouts *l, const kernel *k, uint32_t number, uint32_t *buffers) {
  wish w;
  if (!find_wish(k, number, &w)) return;
  const tensor_type *vector = &l->plan->buffers[buffers[w.vector->number]].type, *other = &l->plan->buffers[buffers[w.other->number]].type;
  const size_t bytes = dtype_bytes(vector->dtype) < 4 ? 4 : dtype_bytes(vector->dtype); /* of the sums */
  const int64_t lanes = (int64_t)(l->target->vector_bytes / bytes);
  const bool rows_inside = w.inner >= 0 && k->stages[number].free & AXIS(w.inner);
  const int32_t pair = find_pairs(l, k, number, &w, buffers);
  const bool vector_pays = w.points >= WORTH_A_COPY * (double)type_elements(vector), other_pays = w.points >= WORTH_A_COPY * (double)type_elements(other);
  const int32_t inner = pair >= 0 ? pair : w.inner, along = inner < 0 ? -1 : plain_dimension(w.vector->args, w.vector->n_args, (uint32_t)inner);
  const int64_t rows = rows_inside ? tile_rows(l->target, k->axes[w.inner].extent) : 0;
  if (!vector_pays) return;
  convert_operand(l, w.vector, w.axis, TILE_VECTORS * lanes, along, pair, buffers);
  if (rows_inside && other_pays) convert_operand(l, w.other, w.inner, rows, -1, pair, buffers);
  else if (pair >= 0) convert_operand(l, w.other, -1, 0, -1, pair, buffers);
}

bool pass_layout(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_layout)) return false;
  layouts l = {.plan = p, .arena = p->arena, .target = c->target};
  l.parent = ARENA_ARRAY(p->arena, uint32_t, p->n_buffers);
  for (uint32_t i = 0; i < p->n_buffers; i++) l.parent[i] = i;
  l.fixed = ARENA_ARRAY(p->arena, bool, p->n_buffers + 1);
  l.votes = arena_alloc(p->arena, (p->n_buffers + 1) * sizeof *l.votes);
  find_classes(&l);
  fix_bounds_of_loops(&l);
  collect_votes(&l);
  decide(&l);
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const plan_launch *at = &p->launches[i];
    uint32_t *buffers = arena_copy(p->arena, at->buffers, at->kernel->n_buffers * sizeof *at->buffers);
    for (uint32_t s = 0; s < at->kernel->n_stages; s++) convert_operands(&l, at->kernel, s, buffers);
    launch(&l, at->kernel, buffers);
    l.launches[l.n_launches - 1].repeat = at->repeat;
  }
  p->launches = l.launches;
  p->n_launches = l.n_launches;
  p->launches_capacity = l.launches_capacity;
  return true;
}
