/* Long reductions with few results leave most of a machine idle, and one order of additions must serve
 * any number of threads. So the outermost reduced axis is cut in chunks, for a GPU as many axes as it takes: one kernel gives
 * a partial result for each, a second combines them in order and does what came after. The number of chunks depends on
 * extents alone, never on threads. */
#include "ir/expr.h"
#include "passes/passes.h"
#include "passes/register_tile.h"
#include "passes/team.h"
#include "passes/transfer.h"

/* In how many chunks each axis is cut; of those that stay whole 1. */
typedef struct {
  int64_t chunks[MAX_AXES];
  axis_set axes; /* that are cut */
} division;

enum { LEAST_CHUNKS = 4, ENOUGH_RESULTS = 2048, LEAST_REDUCED = 512, LEAST_POINTS = 1 << 15 };
/* Of a GPU: warps that keep it busy, the results of one (lanes, and of contractions a tile), and what each sums at least. */
enum { ENOUGH_WARPS = 2048, WARP_RESULTS = 32, TILE_RESULTS = 1024, LEAST_SUMMED = 128, LEAST_PRODUCTS = 256, MOST_PARTIALS = 1 << 22 };
enum { ENOUGH_PRODUCTS = 1 << 14 /* results whose sums, if there is not MUCH to do, need not be split */, MUCH = 1 << 26, WARP_POINTS = 1 << 13 };

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

/* Pieces of whole panels, where there can and should be some: parameters lie in those. */
static int64_t chunks_of(int64_t extent, int64_t most, bool of_panels) {
  for (int64_t n = most; of_panels && n >= LEAST_CHUNKS; n--)
    if (extent % (n * WIDEST_PANEL) == 0) return n;
  for (int64_t n = most; n > 1; n--)
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

typedef struct {
  axis_set reduced;
  int64_t results, summed; /* products or terms of each */
  bool is_contraction;
} reduction;

/* False where there are no chunks: all reductions must be over the same axes, none read another, and what follows them be at their
 * free axes. */
static bool find_reduction(const kernel *k, const bool *after, reduction *out) {
  axis_set kept = ~(axis_set)0;
  *out = (reduction){0};
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    bool reads = false;
    if (after[i]) kept &= s->free;
    if (s->monoid == MONOID_NONE) continue;
    mark_readers(s->body, after, &reads);
    if (reads || s->monoid == MONOID_ARGMAX || (out->reduced && s->reduced != out->reduced)) return false;
    out->reduced = s->reduced;
    out->is_contraction |= stage_is_product(k, i);
  }
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (after[i] && k->stages[i].free != kept) return false;
  out->results = points(k, kept);
  out->summed = points(k, out->reduced);
  return out->reduced != 0;
}

static void cut_axis(division *d, uint32_t axis, int64_t chunks) {
  d->chunks[axis] = chunks;
  if (chunks > 1) d->axes |= (axis_set)1 << axis;
}

/* One axis, in a few chunks. Contractions tile their results: these are split where they are few and much is summed. */
static void divide_for_threads(const kernel *k, const reduction *r, division *d) {
  enum { CHUNKS = 16, FEW_PRODUCTS = 4096, LEAST_PRODUCTS_SUMMED = 16384 };
  const bool pays = r->is_contraction ? r->results < FEW_PRODUCTS && r->summed > LEAST_PRODUCTS_SUMMED
                                      : r->results < ENOUGH_RESULTS && r->summed >= LEAST_REDUCED && r->results * r->summed >= LEAST_POINTS;
  int32_t best = -1;
  for (uint32_t i = 0; pays && i < k->n_axes; i++) {
    const int64_t chunks = r->reduced >> i & 1 ? chunks_of(k->axes[i].extent, CHUNKS, true) : 1;
    if (chunks > 1 && (best < 0 || (chunks_of(k->axes[best].extent, CHUNKS, true) < LEAST_CHUNKS && chunks > chunks_of(k->axes[best].extent, CHUNKS, true)))) best = (int32_t)i;
  }
  if (best >= 0) cut_axis(d, (uint32_t)best, chunks_of(k->axes[best].extent, CHUNKS, true));
}

/* As many axes as it takes, the outermost first. */
static void cut_axes(const kernel *k, const reduction *r, int64_t wanted, division *d) {
  for (uint32_t i = 0; i < k->n_axes && wanted > 1; i++) {
    if (!(r->reduced >> i & 1)) continue;
    cut_axis(d, i, chunks_of(k->axes[i].extent, wanted, r->reduced >> i == 1));
    wanted /= d->chunks[i];
  }
}

/* For the warps that a GPU wants. */
static void divide_for_warps(const kernel *k, const reduction *r, division *d) {
  int64_t wanted = ENOUGH_WARPS * (r->is_contraction ? TILE_RESULTS : WARP_RESULTS) / r->results;
  const int64_t pieces = r->summed / (r->is_contraction ? LEAST_PRODUCTS : LEAST_SUMMED), partials = MOST_PARTIALS / r->results;
  if (wanted > pieces) wanted = pieces;
  if (wanted > partials) wanted = partials;
  if (wanted < (r->is_contraction ? 2 : LEAST_CHUNKS) || r->summed < LEAST_REDUCED || r->results * r->summed < WARP_POINTS) return;
  if (r->is_contraction && r->results >= ENOUGH_PRODUCTS && r->results * r->summed < MUCH) return;
  cut_axes(k, r, wanted, d);
}

static void divide(const kernel *k, const target *t, const reduction *r, division *d) {
  const int64_t for_teams = pieces_for_teams(k, t);
  if (for_teams) cut_axes(k, r, for_teams, d);
  else (t->warps ? divide_for_warps : divide_for_threads)(k, r, d);
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

static bool has_axes(const stage *s, axis_set axes) { return ((s->free | s->reduced) & axes) != 0; }

static uint32_t partial_rank(const stage *s, const division *d) { return (uint32_t)(__builtin_popcountll(s->free) + __builtin_popcountll(d->axes)); }

/* Chunks, then the free axes of the reduction, each in their order. */
static tensor_type partial_type(const kernel *k, const stage *s, const division *d) {
  tensor_type t = {.dtype = s->type};
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (d->axes >> i & 1) t.dim[t.rank++] = d->chunks[i];
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (s->free >> i & 1) t.dim[t.rank++] = k->axes[i].extent;
  return t;
}

/* Indices of a partial result in a kernel where `t` has put the free axes, and chunks[i] stands for that of axis i. */
static void partial_index(transfer *t, const stage *s, const division *d, const expr *const *chunks, const expr **index) {
  uint32_t rank = 0;
  for (uint32_t i = 0; i < t->from->n_axes; i++)
    if (d->axes >> i & 1) index[rank++] = chunks[i];
  for (uint32_t i = 0; i < t->from->n_axes; i++)
    if (s->free >> i & 1) index[rank++] = t->axes[i];
}

static axis_set add_chunk_axes(kernel *into, const kernel *k, const division *d, const expr **chunks) {
  axis_set added = 0;
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (d->axes >> i & 1) added |= (chunks[i] = expr_axis(into, kernel_add_axis(into, "chunk", d->chunks[i])))->axes;
  return added;
}

static void mark_read(const expr *e, bool *seen, bool *read) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_STAGE) read[e->number] = true;
  for (uint32_t i = 0; i < e->n_args; i++) mark_read(e->args[i], seen, read);
  for (uint32_t i = 0; i < e->n_conditions; i++) mark_read(e->conditions[i].subject, seen, read);
}

/* Reductions, maps that run over what is cut and are written, and what those read. */
static bool *stages_of_chunks(const kernel *k, const bool *after, const division *d) {
  bool *seen = ARENA_ARRAY(k->arena, bool, k->exprs->count), *needed = ARENA_ARRAY(k->arena, bool, k->n_stages);
  for (uint32_t i = k->n_stages; i-- > 0;) {
    const stage *s = &k->stages[i];
    needed[i] = s->monoid != MONOID_NONE || (!after[i] && (needed[i] || (s->output >= 0 && has_axes(s, d->axes))));
    if (needed[i]) mark_read(s->body, seen, needed);
  }
  return needed;
}

static half partial_kernel(cut *c, const bool *after, const division *d) {
  const kernel *k = c->whole;
  kernel *into = kernel_new(k->arena, arena_printf(k->arena, "%s_chunks", k->name), k->where);
  transfer t = transfer_begin(k, into);
  uint32_t *partials = ARENA_ARRAY(k->arena, uint32_t, k->n_stages), n = 0;
  const bool *needed = stages_of_chunks(k, after, d);
  const expr *chunks[MAX_AXES];
  const axis_set chunk_axes = add_chunk_axes(into, k, d, chunks);
  for (uint32_t i = 0; i < k->n_axes; i++) {
    if (!(d->axes >> i & 1)) continue;
    const int64_t length = k->axes[i].extent / d->chunks[i];
    const expr *within = length > 1 ? expr_axis(into, kernel_add_axis(into, k->axes[i].name, length)) : expr_integer(into, 0);
    t.axes[i] = expr_add(into, expr_scale(into, chunks[i], length), within);
  }
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *old = &k->stages[i];
    const expr *index[MAX_RANK];
    if (!needed[i]) continue;
    stage s = transfer_stage(&t, i, old->monoid == MONOID_NONE && old->output >= 0 && has_axes(old, d->axes));
    if (old->monoid != MONOID_NONE) {
      s.reduced &= ~chunk_axes;
      s.free |= chunk_axes;
      if (!s.reduced) s.monoid = MONOID_NONE;
      partials[n] = kernel_add_buffer(into, old->name, partial_type(k, old, d), ACCESS_OUT);
      s.output = (int32_t)partials[n++];
      transfer_axes(&t, old->free);
      partial_index(&t, old, d, chunks, index);
      s.index = index;
    }
    transfer_add(&t, i, s);
  }
  return name_buffers(&t, partials, n);
}

static half combining_kernel(cut *c, const bool *after, const division *d) {
  const kernel *k = c->whole;
  kernel *into = kernel_new(k->arena, arena_printf(k->arena, "%s_combine", k->name), k->where);
  transfer t = transfer_begin(k, into);
  uint32_t *partials = ARENA_ARRAY(k->arena, uint32_t, k->n_stages), n = 0;
  const expr *chunks[MAX_AXES];
  axis_set chunk_axes = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *old = &k->stages[i];
    const expr *index[MAX_RANK];
    if (!after[i] && has_axes(old, d->axes)) continue; /* maps over all points stay with the chunks */
    if (old->monoid == MONOID_NONE) {
      transfer_add(&t, i, transfer_stage(&t, i, old->output >= 0));
      continue;
    }
    stage s = {.name = old->name, .type = old->type, .monoid = old->monoid, .output = -1, .where = old->where};
    s.free = transfer_axes(&t, old->free);
    if (!chunk_axes) chunk_axes = add_chunk_axes(into, k, d, chunks);
    s.reduced = chunk_axes;
    partials[n] = kernel_add_buffer(into, old->name, c->types[n], ACCESS_IN);
    partial_index(&t, old, d, chunks, index);
    s.body = expr_read(into, partials[n++], index, NULL, 0, (scalar){.integer = 0});
    if (old->output >= 0) {
      uint32_t rank = k->buffers[old->output].type.rank;
      for (uint32_t at = 0; at < rank; at++) index[at] = transfer_expr(&t, old->index[at]);
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
  reduction r;
  division d = {{0}, 0};
  const bool *after = stages_after_reduction(k, a);
  if (find_reduction(k, after, &r)) divide(k, t, &r, &d);
  if (!d.axes) return c;
  c.types = ARENA_ARRAY(a, tensor_type, k->n_stages);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    if (k->stages[i].monoid == MONOID_NONE) continue;
    if (partial_rank(&k->stages[i], &d) > MAX_RANK) return c;
    c.types[c.n_types++] = partial_type(k, &k->stages[i], &d);
  }
  c.is_split = true;
  c.partial = partial_kernel(&c, after, &d);
  c.combine = combining_kernel(&c, after, &d);
  return c;
}

/* Kernels that differ in what comes behind their sums alone have equal chunks. */
static void share_chunks(cut *cuts, uint32_t n, arena *a) {
  kernel *own = cuts[n].partial.kernel;
  for (uint32_t i = 0; cuts[n].is_split && i < n; i++) {
    kernel *other = cuts[i].partial.kernel;
    if (!cuts[i].is_split || other->n_stages != own->n_stages || other->n_buffers != own->n_buffers || strcmp(kernel_canonical(other, a), kernel_canonical(own, a))) continue;
    cuts[n].partial.kernel = other;
    return;
  }
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
    if (at == n_cuts) {
      cuts[at] = cut_kernel(old[i].kernel, context->target, p->arena);
      share_chunks(cuts, n_cuts++, context->arena);
    }
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
