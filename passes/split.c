/* Long reductions with few results leave most of a machine idle, and one order of additions must serve
 * any number of threads. So the outermost reduced axis is cut in chunks: one kernel gives a partial result
 * for each, a second combines them in order and does what came after. The number of chunks depends on
 * extents alone, never on threads. */
#include "passes/passes.h"
#include "passes/register_tile.h"
#include "passes/transfer.h"

enum { LEAST_CHUNKS = 4, ENOUGH_RESULTS = 2048, LEAST_REDUCED = 512, LEAST_POINTS = 1 << 15 };
enum { NO_AXIS = UINT32_MAX };

/* How many chunks there may be; and of contractions, which tile their results, how few these are and how much is summed where
 * chunks pay. A GPU wants more pieces than a processor. */
typedef struct {
  int64_t most_chunks, most_partials, enough_products, least_summed;
} limits;

static limits limits_for(const target *t) { return t->warps ? (limits){256, 1 << 22, 1 << 18, 2048} : (limits){16, INT64_MAX, 4096, 16384}; }

/* What the two kernels of a split read and write: buffers of the whole kernel, or partial results. */
typedef struct {
  kernel *kernel;
  uint32_t *buffers; /* of the whole kernel; beyond n_whole: partial result number - n_whole */
} half;

typedef struct {
  const kernel *whole;
  bool is_split;
  half partial, combine;
  tensor_type *types; /* of partial results, one per stage of `whole` that reduces */
  uint32_t n_types;
} cut;

/* -- what to cut ------------------------------------------------------------------------------------------- */

static int64_t points(const kernel *k, axis_set axes) {
  int64_t n = 1;
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (axes >> i & 1) n *= k->axes[i].extent;
  return n;
}

/* Pieces of whole panels, where there can be some: parameters lie in those. */
static int64_t chunks_of(int64_t extent, const limits *l) {
  for (int64_t n = l->most_chunks; n >= LEAST_CHUNKS; n--)
    if (extent % (n * WIDEST_PANEL) == 0) return n;
  for (int64_t n = l->most_chunks; n > 1; n--)
    if (extent % n == 0) return n;
  return 1;
}

static void mark_readers(const expr *e, const bool *after, bool *reads) {
  if (e->kind == EXPR_STAGE && after[e->number]) *reads = true;
  for (uint32_t i = 0; i < e->n_args && !*reads; i++) mark_readers(e->args[i], after, reads);
}

/* after[i]: stage i reduces, or is computed from one that does. */
static bool *stages_after_reduction(const kernel *k, arena *a) {
  bool *after = ARENA_ARRAY(a, bool, k->n_stages);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    after[i] = k->stages[i].monoid != MONOID_NONE;
    mark_readers(k->stages[i].body, after, &after[i]);
  }
  return after;
}

/* The axis to cut, in no more chunks than `l` then says, or NO_AXIS: all reductions are over the same axes, none reads another, and what
 * follows them is at their free axes. */
static uint32_t axis_to_cut(const kernel *k, const bool *after, limits *l) {
  axis_set reduced = 0, kept = ~(axis_set)0;
  bool is_contraction = false;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    contraction_form form;
    bool reads = false;
    if (after[i]) kept &= s->free;
    if (s->monoid == MONOID_NONE) continue;
    mark_readers(s->body, after, &reads);
    if (reads || s->monoid == MONOID_ARGMAX || (reduced && s->reduced != reduced)) return NO_AXIS;
    reduced = s->reduced;
    is_contraction |= stage_contraction(k, i, &form) && form.left_only && form.right_only;
  }
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (after[i] && k->stages[i].free != kept) return NO_AXIS;
  if (!reduced) return NO_AXIS;
  int64_t results = points(k, kept), summed = points(k, reduced);
  bool enough = is_contraction
                    ? results < l->enough_products && summed > l->least_summed
                    : results < ENOUGH_RESULTS && summed >= LEAST_REDUCED && results * summed >= LEAST_POINTS;
  uint32_t best = NO_AXIS;
  if (l->most_chunks > l->most_partials / results) l->most_chunks = l->most_partials / results;
  for (uint32_t i = 0; enough && i < k->n_axes; i++) {
    if (!(reduced >> i & 1) || chunks_of(k->axes[i].extent, l) < 2) continue;
    if (best == NO_AXIS ||
        (chunks_of(k->axes[best].extent, l) < 4 && chunks_of(k->axes[i].extent, l) > chunks_of(k->axes[best].extent, l)))
      best = i;
  }
  return best;
}

/* -- cutting ------------------------------------------------------------------------------------------------- */

/* The buffers of a half, from those of the whole that its transfer has used and its partial results. */
static half name_buffers(const transfer *t, const uint32_t *partials, uint32_t n_partials) {
  half h = {t->into, ARENA_ARRAY(t->into->arena, uint32_t, t->into->n_buffers)};
  for (uint32_t i = 0; i < t->from->n_buffers; i++)
    if (t->buffers[i]) h.buffers[t->buffers[i] - 1] = i;
  for (uint32_t i = 0; i < n_partials; i++) h.buffers[partials[i]] = t->from->n_buffers + i;
  return h;
}

static bool has_axis(const stage *s, uint32_t axis) { return (s->free | s->reduced) >> axis & 1; }

/* Chunk, then the free axes of the reduction in their order. */
static tensor_type partial_type(const kernel *k, const stage *s, int64_t chunks) {
  tensor_type t = {.dtype = s->type, .rank = 1, .dim = {chunks}};
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (s->free >> i & 1) t.dim[t.rank++] = k->axes[i].extent;
  return t;
}

/* Indices of a partial result in a kernel where `t` has put the free axes. */
static void partial_index(transfer *t, const stage *s, const expr *chunk, const expr **index) {
  uint32_t rank = 0;
  index[rank++] = chunk;
  for (uint32_t i = 0; i < t->from->n_axes; i++)
    if (s->free >> i & 1) index[rank++] = t->axes[i];
}

static half partial_kernel(cut *c, const bool *after, uint32_t axis, int64_t chunks) {
  const kernel *k = c->whole;
  kernel *into = kernel_new(k->arena, arena_printf(k->arena, "%s_chunks", k->name), k->where);
  transfer t = transfer_begin(k, into);
  uint32_t chunk_axis = kernel_add_axis(into, "chunk", chunks),
           *partials = ARENA_ARRAY(k->arena, uint32_t, k->n_stages), n = 0;
  const expr *chunk = expr_axis(into, chunk_axis);
  int64_t length = k->axes[axis].extent / chunks;
  const expr *within = expr_integer(into, 0);
  if (length > 1) within = expr_axis(into, kernel_add_axis(into, k->axes[axis].name, length));
  t.axes[axis] = expr_add(into, expr_scale(into, chunk, length), within);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *old = &k->stages[i];
    const expr *index[MAX_RANK];
    if (old->monoid == MONOID_NONE && after[i]) continue;
    stage s = transfer_stage(&t, i, old->monoid == MONOID_NONE && old->output >= 0 && has_axis(old, axis));
    if (old->monoid != MONOID_NONE) {
      s.reduced &= ~chunk->axes;
      s.free |= chunk->axes;
      if (!s.reduced) s.monoid = MONOID_NONE;
      partials[n] = kernel_add_buffer(into, old->name, partial_type(k, old, chunks), ACCESS_OUT);
      s.output = (int32_t)partials[n++];
      transfer_axes(&t, old->free);
      partial_index(&t, old, chunk, index);
      s.index = index;
    }
    transfer_add(&t, i, s);
  }
  return name_buffers(&t, partials, n);
}

static half combining_kernel(cut *c, const bool *after, uint32_t axis, int64_t chunks) {
  const kernel *k = c->whole;
  kernel *into = kernel_new(k->arena, arena_printf(k->arena, "%s_combine", k->name), k->where);
  transfer t = transfer_begin(k, into);
  uint32_t *partials = ARENA_ARRAY(k->arena, uint32_t, k->n_stages), n = 0, chunk_axis = NO_AXIS;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *old = &k->stages[i];
    const expr *index[MAX_RANK];
    if (!after[i] && has_axis(old, axis)) continue; /* maps over all points stay with the chunks */
    if (old->monoid == MONOID_NONE) {
      transfer_add(&t, i, transfer_stage(&t, i, old->output >= 0));
      continue;
    }
    stage s = {.name = old->name, .type = old->type, .monoid = old->monoid, .output = -1, .where = old->where};
    s.free = transfer_axes(&t, old->free);
    if (chunk_axis == NO_AXIS) chunk_axis = kernel_add_axis(into, "chunk", chunks);
    s.reduced = (axis_set)1 << chunk_axis;
    partials[n] = kernel_add_buffer(into, old->name, c->types[n], ACCESS_IN);
    partial_index(&t, old, expr_axis(into, chunk_axis), index);
    s.body = expr_read(into, partials[n++], index, NULL, 0, (scalar){.integer = 0});
    if (old->output >= 0) {
      uint32_t rank = k->buffers[old->output].type.rank;
      for (uint32_t d = 0; d < rank; d++) index[d] = transfer_expr(&t, old->index[d]);
      s.index = index;
      if (!t.buffers[old->output])
        t.buffers[old->output] =
            kernel_add_buffer(into, k->buffers[old->output].name, k->buffers[old->output].type, ACCESS_OUT) + 1;
      s.output = (int32_t)t.buffers[old->output] - 1;
    }
    transfer_add(&t, i, s);
  }
  return name_buffers(&t, partials, n);
}

/* Maps that do not run over the cut axis and come before the reductions are computed in both kernels, and
 * written by the second. */
static cut cut_kernel(const kernel *k, const target *t, arena *a) {
  cut c = {.whole = k};
  limits l = limits_for(t);
  const bool *after = stages_after_reduction(k, a);
  uint32_t axis = axis_to_cut(k, after, &l);
  if (axis == NO_AXIS) return c;
  int64_t chunks = chunks_of(k->axes[axis].extent, &l);
  c.types = ARENA_ARRAY(a, tensor_type, k->n_stages);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    if (k->stages[i].monoid == MONOID_NONE) continue;
    c.types[c.n_types] = partial_type(k, &k->stages[i], chunks);
    if (c.types[c.n_types++].rank > MAX_RANK) return c;
  }
  c.is_split = true;
  c.partial = partial_kernel(&c, after, axis, chunks);
  c.combine = combining_kernel(&c, after, axis, chunks);
  return c;
}

/* -- the plan --------------------------------------------------------------------------------------------------- */

static void add_half(plan *p, const cut *c, const half *h, const uint32_t *whole, const uint32_t *partials) {
  uint32_t *buffers = ARENA_ARRAY(p->arena, uint32_t, h->kernel->n_buffers);
  for (uint32_t i = 0; i < h->kernel->n_buffers; i++)
    buffers[i] =
        h->buffers[i] < c->whole->n_buffers ? whole[h->buffers[i]] : partials[h->buffers[i] - c->whole->n_buffers];
  plan_add_launch(p, h->kernel, buffers);
}

bool pass_split(plan *p, pass_context *context) {
  if (!for_each_region(p, context, pass_split)) return false;
  const plan_launch *old = p->launches;
  const uint32_t n = p->n_launches;
  cut *cuts = ARENA_ARRAY(context->arena, cut, n);
  uint32_t n_cuts = 0;
  p->launches = NULL;
  p->n_launches = p->launches_capacity = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t at = 0;
    if (old[i].repeat) {
      *ARENA_PUSH(p->arena, p->launches, p->n_launches, p->launches_capacity) = old[i];
      continue;
    }
    while (at < n_cuts && cuts[at].whole != old[i].kernel) at++;
    if (at == n_cuts) cuts[n_cuts++] = cut_kernel(old[i].kernel, context->target, p->arena);
    const cut *c = &cuts[at];
    if (!c->is_split) {
      plan_add_launch(p, old[i].kernel, old[i].buffers);
      continue;
    }
    uint32_t *partials = ARENA_ARRAY(p->arena, uint32_t, c->n_types);
    for (uint32_t j = 0; j < c->n_types; j++) {
      plan_buffer b = {.name = "",
                       .role = "",
                       .type = c->types[j],
                       .storage = STORAGE_TEMPORARY,
                       .alias = -1,
                       .where = c->whole->where};
      partials[j] = plan_add_buffer(p, b);
    }
    add_half(p, c, &c->partial, old[i].buffers, partials);
    add_half(p, c, &c->combine, old[i].buffers, partials);
  }
  return true;
}
