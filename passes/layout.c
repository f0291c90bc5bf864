/* Layouts over the whole plan. Buffers that maps read and write with the same dimensions (also at strides, as
 * pooling does) share one order, so that no elementwise kernel ever walks two. Contractions vote, with their arithmetic as weight, for the
 * dimension of each operand that should be innermost; where the vote went against the operand that feeds
 * vectors, a conversion kernel makes a copy in the order that is wanted, which one can see and count. Parameters, and
 * with them their moments, averages and gradients, lie in panels from the start. */
#include "passes/passes.h"
#include "passes/compute_in_copy.h"
#include "passes/copy_beside.h"
#include "passes/register_tile.h"
#include "passes/squares.h"
#include "passes/team.h"

/* Uses of each element that pay for converting it first; values of rows are broadcast one by one either way. */
enum { WORTH_A_COPY = 32, WORTH_PACKED_ROWS = 128 };
/* Rows of a tile that do not lie together take a line of the cache for each product of a sum, and lines at equal
 * distances compete for few places: packed, they are one run of memory. */
enum { CACHE_LINE = 64 };

#define AXIS(i) ((axis_set)1 << (i))

typedef struct {
  plan *plan;
  arena *arena;
  const target *target;
  uint32_t *parent; /* classes of buffers that share a layout */
  double (*votes)[MAX_RANK]; /* by class: for each dimension, as the innermost one */
  bool *fixed;               /* by class: row-major, since a loop takes slices of it or copies it */
  layout *packed;            /* by class of a state: what the heaviest of its vector operands wants; n == 0: nothing */
  double *packed_weight;
  uint32_t *computed;        /* by class: dimensions that some access computes an index of */
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

/* Whether an index walks along one axis, with others in steps of whole panels (a head of attention beside others). */
static bool walks_along(const kernel *k, const expr *index, uint32_t axis) {
  int64_t coefficient[MAX_AXES], offset;
  if (index->kind == EXPR_AXIS) return index->number == axis;
  if (!(index->axes & AXIS(axis)) || !expr_affine(k, index, coefficient, &offset) || coefficient[axis] != 1 || offset % WIDEST_PANEL) return false;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (a != axis && coefficient[a] % WIDEST_PANEL) return false;
  return true;
}

/* The dimension of an index list that walks along this axis; -1 when there is none. */
static int32_t plain_dimension(const kernel *k, const expr *const *index, uint32_t rank, uint32_t axis) {
  for (uint32_t d = 0; d < rank; d++)
    if (walks_along(k, index[d], axis)) return (int32_t)d;
  return -1;
}

/* The read that an operand expression comes down to: itself, or behind casts and maps of one operand. */
static const expr *only_read(const expr *e) {
  while (e->kind == EXPR_APPLY && e->n_args == 1) e = e->args[0];
  return e->kind == EXPR_READ ? e : NULL;
}

typedef struct {
  const kernel *kernel;
  const expr *vector, *other; /* the operand that feeds vectors, and the one whose values are broadcast */
  int32_t axis;               /* that runs along vectors */
  int32_t inner;              /* innermost axis of the other operand: what it sums over, or what a tile has rows of;
                                 -1: none stands plain */
  bool sums_plainly;          /* the other operand has a dimension that is summed */
  int64_t summed;             /* products a result */
  double points;
} wish;

enum { WIDE_ENOUGH = 16 }; /* to fill vectors */

/* Axes that an operand keeps and walks plainly: one of channels, several of positions. */
static uint32_t plain_axes(const kernel *k, const expr *read, axis_set kept) {
  uint32_t n = 0;
  for (uint32_t a = 0; a < k->n_axes; a++) n += kept & AXIS(a) && k->axes[a].extent > 1 && plain_dimension(k, read->args, read->n_args, a) >= 0;
  return n;
}

/* `given`: the axis of the vectors, where what is written lies along it already; -1: to be chosen. */
static bool find_wish(const kernel *k, uint32_t number, int32_t given, wish *out) {
  contraction_form c;
  if (!stage_contraction(k, number, &c)) return false;
  const expr *left = only_read(c.left), *right = only_read(c.right);
  if (!left || !right) return false;
  *out = (wish){.kernel = k, .axis = -1, .inner = -1, .points = 1};
  const stage *s = &k->stages[number];
  const uint32_t places[] = {plain_axes(k, left, c.left_only), plain_axes(k, right, c.right_only)};
  const expr *matrix = places[0] == 1 && places[1] > 1 ? left : places[1] == 1 && places[0] > 1 ? right : NULL;
  int64_t best = -1;
  for (uint32_t a = 0, rank = 0; a < k->n_axes; a++) {
    if ((s->free | s->reduced) & AXIS(a)) out->points *= (double)k->axes[a].extent;
    /* Axes stand in the order of the result's dimensions: a later one is more of a channel than an earlier
     * one, which is the batch; the only one of its operand, which is a matrix then, more than the last of several, which is
     * a place; one too short for vectors is a last resort. */
    if (!((c.left_only | c.right_only) & AXIS(a))) continue;
    rank++;
    const expr *operand = c.left_only & AXIS(a) ? left : right;
    if (plain_dimension(k, operand->args, operand->n_args, a) < 0) continue;
    int64_t score = rank + (operand == matrix ? 2 * MAX_AXES : 0) + (k->axes[a].extent >= WIDE_ENOUGH ? 1000 : k->axes[a].extent >= WIDE_ENOUGH / 2 ? 500 : 0);
    if ((int32_t)a == given) score = INT64_MAX;
    if (score > best) best = score, out->axis = (int32_t)a;
  }
  if (out->axis < 0) return false;
  out->vector = c.left_only & AXIS(out->axis) ? left : right;
  out->other = out->vector == left ? right : left;
  const axis_set rows = (c.left_only | c.right_only) & ~AXIS(out->axis);
  uint32_t n_summed = 0;
  int32_t summed = -1, row = -1;
  int32_t summed_axis = -1, row_axis = -1;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    const int32_t d = plain_dimension(k, out->other->args, out->other->n_args, a);
    if (d < 0 || k->axes[a].extent < 2) continue;
    if (c.reduced & AXIS(a)) {
      n_summed++;
      if (d >= summed) summed = d, summed_axis = (int32_t)a;
    } else if (rows & AXIS(a) && d >= row) {
      row = d, row_axis = (int32_t)a;
    }
  }
  /* A later dimension is more of a channel here too, unless rows are places: over a batch of rows, or of images, tiles are of channels. */
  out->sums_plainly = n_summed > 0;
  out->inner = row >= 0 && (n_summed > 1 || (row > summed && out->vector != matrix)) ? row_axis : summed_axis;
  out->summed = 1;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (c.reduced & AXIS(a)) out->summed *= k->axes[a].extent;
  return true;
}

static layout innermost(const tensor_type *t, uint32_t dim) {
  uint32_t order[MAX_RANK], n = 0;
  for (uint32_t d = 0; d < t->rank; d++)
    if (d != dim) order[n++] = d;
  order[n] = dim;
  return layout_permuted(t, order);
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

/* Of a register tile: as many vectors of sums as it has, which narrow operands are widened to. A GPU reads whole lines at any distance. */
static int64_t panel_width(const layouts *l, const tensor_type *t) {
  if (l->target->warps) return INT64_MAX;
  const size_t bytes = dtype_bytes(t->dtype);
  return TILE_VECTORS * (int64_t)(l->target->vector_bytes / (bytes < sizeof(float) ? sizeof(float) : bytes));
}

/* What the vector operand of a contraction is best read from; false when its vectors do not run along a dimension. */
static bool vector_panels(const layouts *l, const wish *w, const tensor_type *t, layout *out) {
  const int32_t dim = plain_dimension(w->kernel, w->vector->args, t->rank, (uint32_t)w->axis);
  if (dim < 0) return false;
  const int32_t along = w->inner < 0 ? -1 : plain_dimension(w->kernel, w->vector->args, t->rank, (uint32_t)w->inner);
  *out = panels(t, (uint32_t)dim, panel_width(l, t), along);
  return true;
}

/* Whether panels cost little padding and no access computes an index along them. */
static bool packs_well(const layouts *l, uint32_t class, const layout *packed, const tensor_type *t) {
  const uint32_t dim = packed->part[packed->n - 1].dim;
  return !(l->computed[class] >> dim & 1) && layout_elements(packed, t) <= type_elements(t) * 9 / 8;
}

/* The heaviest product has its way, unless its panels would be taken apart elsewhere: then the next one. */
static void wish_panels(layouts *l, const wish *w, uint32_t buffer) {
  const uint32_t class = class_of(l, buffer);
  const tensor_type *t = &l->plan->buffers[buffer].type;
  layout wanted;
  if (w->points <= l->packed_weight[class] || !vector_panels(l, w, t, &wanted) || !packs_well(l, class, &wanted, t)) return;
  l->packed[class] = wanted;
  l->packed_weight[class] = w->points;
}

static void vote(layouts *l, const kernel *k, uint32_t buffer, const expr *const *index, int32_t axis, double weight) {
  int32_t d = axis < 0 ? -1 : plain_dimension(k, index, l->plan->buffers[buffer].type.rank, (uint32_t)axis);
  if (d >= 0) l->votes[class_of(l, buffer)][d] += weight;
}

enum { SCATTERED = 16 }; /* a vector that is stored element by element, beside a row that is packed for its reader */

/* What products with squares give is written along vectors, and read so on the other side. */
static void vote_beside_squares(layouts *l, const plan_launch *launch, const squares_form *f) {
  const kernel *k = launch->kernel;
  for (uint32_t at = 0; at < k->n_stages; at++) {
    const stage *s = &k->stages[at];
    contraction_form c;
    double points = 1;
    if (s->output < 0 || !stage_contraction(k, at, &c)) continue;
    for (uint32_t a = 0; a < k->n_axes; a++)
      if ((s->free | s->reduced) & AXIS(a)) points *= (double)k->axes[a].extent;
    const axis_set along = s->free & ~f->batch & ~AXIS(f->row) & ~AXIS(f->column);
    if (!along) continue;
    const int32_t axis = (int32_t)__builtin_ctzll(along);
    vote(l, k, launch->buffers[s->output], s->index, axis, SCATTERED * points);
    const expr *reads[] = {only_read(c.left), only_read(c.right)};
    for (int side = 0; side < 2; side++)
      if (reads[side]) vote(l, k, launch->buffers[reads[side]->number], reads[side]->args, axis, points);
  }
}

static void collect_votes(layouts *l) {
  for (uint32_t i = 0; i < l->plan->n_launches; i++) {
    const plan_launch *launch = &l->plan->launches[i];
    const kernel *k = launch->kernel;
    squares_form form;
    if (kernel_squares(k, l->target, &form)) {
      vote_beside_squares(l, launch, &form);
      continue;
    }
    for (uint32_t at = 0; at < k->n_stages; at++) {
      wish w;
      if (!find_wish(k, at, -1, &w)) continue;
      vote(l, k, launch->buffers[w.vector->number], w.vector->args, w.axis, w.points);
      wish_panels(l, &w, launch->buffers[w.vector->number]);
      if (w.sums_plainly) vote(l, k, launch->buffers[w.other->number], w.other->args, w.inner, w.points / 2); /* patches of images lie as they are */
      for (uint32_t s = at; s < k->n_stages; s++)
        if (k->stages[s].output >= 0) vote(l, k, launch->buffers[k->stages[s].output], k->stages[s].index, w.axis, w.points / 2);
    }
  }
}

/* Whether vectors along an index stay inside panels. */
static bool walks_panels(const kernel *k, const expr *index) {
  if (index->kind == EXPR_CONSTANT) return true;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (walks_along(k, index, a)) return true;
  return false;
}

static void note_indices(layouts *l, const kernel *k, uint32_t buffer, const expr *const *index) {
  for (uint32_t d = 0; d < l->plan->buffers[buffer].type.rank; d++)
    if (!walks_panels(k, index[d])) l->computed[class_of(l, buffer)] |= 1u << d;
}

static void note_reads(layouts *l, const plan_launch *launch, const expr *e, bool *seen) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  for (uint32_t i = 0; i < e->n_args; i++) note_reads(l, launch, e->args[i], seen);
  if (e->kind == EXPR_READ) note_indices(l, launch->kernel, launch->buffers[e->number], e->args);
}

static void note_accesses(layouts *l) {
  for (uint32_t i = 0; i < l->plan->n_launches; i++) {
    const plan_launch *launch = &l->plan->launches[i];
    for (uint32_t n = 0; n < launch->kernel->n_stages; n++) {
      const stage *s = &launch->kernel->stages[n];
      note_reads(l, launch, s->body, ARENA_ARRAY(l->arena, bool, s->body->id + 1));
      if (s->output >= 0) note_indices(l, launch->kernel, launch->buffers[s->output], s->index);
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

static bool is_state(const plan_buffer *b) { return b->storage == STORAGE_STATE || !strcmp(b->role, "state"); }

static void decide(layouts *l) {
  const tensor_type **of_state = ARENA_ARRAY(l->arena, const tensor_type *, l->plan->n_buffers + 1);
  for (uint32_t i = 0; i < l->plan->n_buffers; i++)
    if (is_state(&l->plan->buffers[i])) of_state[class_of(l, i)] = &l->plan->buffers[i].type;
  for (uint32_t i = 0; i < l->plan->n_buffers; i++) {
    plan_buffer *b = &l->plan->buffers[i];
    const uint32_t class = class_of(l, i);
    const double *votes = l->votes[class];
    /* What the host gives for each run stays as the host has it. */
    if (l->fixed[class] || b->storage == STORAGE_DATA || b->type.rank < 2) continue;
    if (of_state[class] && l->packed[class].n && shape_equal(of_state[class], &b->type) && packs_well(l, class, &l->packed[class], &b->type)) {
      b->layout = l->packed[class];
      b->bytes = layout_bytes(&b->layout, &b->type);
      continue;
    }
    uint32_t best = b->type.rank - 1;
    for (uint32_t d = 0; d < b->type.rank; d++)
      if (votes[d] > votes[best]) best = d;
    if (best != b->type.rank - 1) b->layout = innermost(&b->type, best);
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
  b.bytes = layout_bytes(&b.layout, &b.type);
  uint32_t to = plan_add_buffer(l->plan, b);
  launch(l, copy_kernel(l->arena, &b.type, b.where), (uint32_t[]){from, to});
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

/* A product of bf16, whose operands a matrix unit of warps takes as they lie. */
static bool narrow_factors(const kernel *k, uint32_t number) {
  contraction_form c;
  return stage_contraction(k, number, &c) && narrow_read(c.left) && narrow_read(c.right);
}

/* Whether a read walks an axis by one dimension of its own, without edges. */
static bool walks_plainly(const kernel *k, const expr *read, uint32_t axis) {
  uint32_t dims = 0;
  for (uint32_t d = 0; d < read->n_args; d++) dims += read->args[d]->axes >> axis & 1;
  for (uint32_t i = 0; i < read->n_conditions; i++)
    if (read->conditions[i].subject->axes >> axis & 1) return false;
  return dims == 1 && plain_dimension(k, read->args, read->n_args, axis) >= 0;
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
    if (!(c.reduced & AXIS(a)) || k->axes[a].extent % 2 || !walks_plainly(k, w->vector, a) || !walks_plainly(k, w->other, a)) continue;
    if (ends_with(&has, (uint32_t)plain_dimension(k, w->other->args, w->other->n_args, a))) return (int32_t)a;
    if (best < 0) best = (int32_t)a;
  }
  return best >= 0 && w->points >= WORTH_A_COPY * (double)type_elements(&other->type) ? best : -1;
}

/* The dimension behind all others. */
static layout behind_others(const layout *has, const tensor_type *t, uint32_t dim) {
  layout l = has->n == t->rank ? *has : layout_row_major(t);
  uint32_t n = 0;
  if (ends_with(&l, dim)) return l;
  for (uint32_t i = 0; i < l.n; i++)
    if (l.part[i].dim != dim) l.part[n++] = l.part[i];
  l.part[n].dim = dim;
  l.part[n].divisor = 1;
  l.part[n].extent = t->dim[dim];
  return l;
}

/* Whether a matrix unit may take the product, so that rows are wanted contiguous along the sum; schedule.c looks closer. */
static bool suits_tiles(const layouts *l, const kernel *k, const wish *w, int32_t pair) {
  bool has_rows = false;
  for (uint32_t a = 0; a < k->n_axes; a++)
    for (int64_t rows = 8; rows <= 16; rows++) has_rows |= plain_dimension(k, w->other->args, w->other->n_args, a) >= 0 && (int32_t)a != pair && k->axes[a].extent % rows == 0;
  return l->target->tiles && pair >= 0 && has_rows && k->axes[pair].extent % 32 == 0 && k->axes[w->axis].extent % 16 == 0;
}

/* -- operands of contractions ---------------------------------------------------------------------------------- */

/* Puts a converted copy in place of an operand: in panels along `axis`, if any, and in pairs along another. */
static void convert_operand(layouts *l, const kernel *k, const expr *read, int32_t axis, int64_t width, int32_t along, int32_t pair, uint32_t *buffers) {
  const plan_buffer *b = &l->plan->buffers[buffers[read->number]];
  int32_t dim = axis < 0 ? -1 : plain_dimension(k, read->args, b->type.rank, (uint32_t)axis);
  if (axis >= 0 && dim < 0) return;
  layout wanted = dim < 0 ? b->layout : panels(&b->type, (uint32_t)dim, width, along);
  if (pair >= 0) wanted = in_pairs(wanted, &b->type, (uint32_t)plain_dimension(k, read->args, b->type.rank, (uint32_t)pair));
  if (wanted.n) buffers[read->number] = converted(l, buffers[read->number], &wanted);
}

/* The axis along which the result of a contraction is contiguous, if wide enough for vectors; -1: none. */
static int32_t axis_of_output(const layouts *l, const kernel *k, uint32_t number, const uint32_t *buffers) {
  for (uint32_t i = number; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    if (s->output < 0) continue;
    const plan_buffer *b = &l->plan->buffers[buffers[s->output]];
    if (!b->type.rank) return -1;
    const expr *index = s->index[b->layout.n ? b->layout.part[b->layout.n - 1].dim : b->type.rank - 1];
    return index->kind == EXPR_AXIS && k->axes[index->number].extent >= WIDE_ENOUGH ? (int32_t)index->number : -1;
  }
  return -1;
}

/* Copies of operands are made where their panels would not be contiguous, or pairs not side by side. */
static void convert_operands(layouts *l, const kernel *k, uint32_t number, uint32_t *buffers) {
  wish w;
  squares_form form;
  if (l->target->warps && l->target->tiles && kernel_team_squares(k, &(team_squares){0})) return; /* takes them as they lie */
  const bool beside_squares = kernel_squares(k, l->target, &form);
  if (beside_squares && !(form.stages >> number & 1)) return;
  if (!find_wish(k, number, beside_squares ? (int32_t)(form.rows_in_lanes ? form.row : form.column) : axis_of_output(l, k, number, buffers), &w)) return;
  const tensor_type *vector = &l->plan->buffers[buffers[w.vector->number]].type, *other = &l->plan->buffers[buffers[w.other->number]].type;
  const bool rows_inside = w.inner >= 0 && k->stages[number].free & AXIS(w.inner);
  const int32_t pair = find_pairs(l, k, number, &w, buffers);
  const bool many_lines = 2 * w.summed * CACHE_LINE > l->target->l1_bytes;
  const bool vector_pays = w.points >= WORTH_A_COPY * (double)type_elements(vector), other_pays = w.points >= WORTH_PACKED_ROWS * (double)type_elements(other);
  const int32_t inner = pair >= 0 ? pair : w.inner, along = inner < 0 ? -1 : plain_dimension(k, w.vector->args, w.vector->n_args, (uint32_t)inner);
  const int32_t row = rows_inside ? plain_dimension(k, w.other->args, w.other->n_args, (uint32_t)w.inner) : -1;
  const bool made_in_panels = row >= 0 && product_writes_along(l->plan, l->target, buffers[w.other->number], (uint32_t)row);
  const int64_t rows = !rows_inside ? 0 : made_in_panels ? panel_width(l, other) : l->target->warps ? INT64_MAX : tile_rows(l->target, k->axes[w.inner].extent);
  if (!vector_pays || (l->target->warps && l->target->tiles && narrow_factors(k, number))) return;
  convert_operand(l, k, w.vector, w.axis, panel_width(l, vector), along, pair, buffers);
  if (suits_tiles(l, k, &w, pair)) {
    const layout rows_along = behind_others(&l->plan->buffers[buffers[w.other->number]].layout, other, (uint32_t)plain_dimension(k, w.other->args, w.other->n_args, (uint32_t)pair));
    buffers[w.other->number] = converted(l, buffers[w.other->number], &rows_along);
    return;
  }
  if (rows_inside && many_lines && other_pays) convert_operand(l, k, w.other, w.inner, rows, -1, pair, buffers);
  else if (pair >= 0) convert_operand(l, k, w.other, -1, 0, -1, pair, buffers);
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
  l.packed = ARENA_ARRAY(p->arena, layout, p->n_buffers + 1);
  l.packed_weight = ARENA_ARRAY(p->arena, double, p->n_buffers + 1);
  l.computed = ARENA_ARRAY(p->arena, uint32_t, p->n_buffers + 1);
  note_accesses(&l);
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
