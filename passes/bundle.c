/* Bundles: launches that know nothing of each other, next to each other, for a GPU, which carries them out as one. What a launch costs beside
 * its work is paid once, and small launches fill a GPU only together. Bundles begin as single launches and are joined, one pair after the
 * other: the later launch comes to the earlier bundle, or that bundle to it, where nobody waits in between, and where no more memory is in
 * use at once than a little. Launches of one kernel come first, then the bundle that is nearest. */
#include "ir/work.h"
#include "passes/ordering.h"
#include "passes/passes.h"

/* Bytes of a launch that is small; of memory on the chip that a warp may want for itself; that may be added to the memory in use: so many, or
 * a part of it. */
enum { SMALL_BYTES = 4 << 20, MOST_LOCAL_BYTES = 4 << 10, MORE_BYTES = 1 << 20, MORE_PART = 50 };

typedef struct {
  bool may;    /* be of a bundle, of launches of its own kernel at least */
  bool mixes;  /* with others: threads of blocks of equal size do it, without much memory on the chip */
  bool small;  /* then with whatever else is small: registers are those of the largest */
  bool update; /* a map that writes states */
} launch_kind;

typedef struct {
  ordering of;
  dependences bound;
  const target *target;
  launch_kind *kinds;
  uint32_t n, *order, *start; /* by position: launches; by launch: the position where its bundle begins */
  bool *beside;               /* by position */
  uint32_t *tried, *waiting;
  bool *tried_beside;
  int64_t most, left; /* bytes in use at once; launches that are looked at, in all */
} bundling;

/* -- what may be of a bundle ------------------------------------------------------------------------------------- */

static bool mixes(const kernel *k, arena *scratch) {
  const char *error = NULL;
  const loops *l = lower_kernel(k, scratch, &error);
  int64_t bytes = 0;
  for (uint32_t i = l ? l->n_arguments : 0; l && i < l->n_buffers; i++) bytes += l->buffers[i].elements * (int64_t)dtype_bytes(l->buffers[i].type);
  return l && bytes <= MOST_LOCAL_BYTES;
}

static bool is_update(const plan *p, const plan_launch *l) {
  bool writes = false, map = true;
  for (uint32_t i = 0; i < l->kernel->n_stages; i++) map &= l->kernel->stages[i].monoid == MONOID_NONE;
  for (uint32_t i = 0; i < l->kernel->n_buffers; i++) writes |= l->kernel->buffers[i].access == ACCESS_OUT && !strcmp(p->buffers[l->buffers[i]].role, "state");
  return writes && map;
}

static void find_kinds(bundling *b, arena *scratch) {
  const plan *p = b->of.plan;
  for (uint32_t i = 0; i < b->n; i++) {
    const plan_launch *l = &p->launches[i];
    uint32_t first = 0;
    if (l->repeat) continue;
    while (p->launches[first].kernel != l->kernel) first++;
    b->kinds[i] = b->kinds[first];
    if (first == i) {
      const kernel_work work = kernel_work_of(l->kernel);
      b->kinds[i].may = l->kernel->n_buffers <= b->target->bundle_arguments && !l->kernel->schedule.team.rows;
      b->kinds[i].mixes = b->kinds[i].may && work.flops <= 0 && mixes(l->kernel, scratch);
      b->kinds[i].small = work.bytes <= SMALL_BYTES;
    }
    b->kinds[i].update = is_update(p, l);
  }
}

/* The same but for extents and layouts. */
static bool alike(const kernel *x, const kernel *y) {
  bool same = x->n_buffers == y->n_buffers && x->n_stages == y->n_stages;
  for (uint32_t i = 0; same && i < x->n_buffers; i++) same = x->buffers[i].access == y->buffers[i].access && x->buffers[i].type.dtype == y->buffers[i].type.dtype;
  for (uint32_t i = 0; same && i < x->n_stages; i++) same = x->stages[i].monoid == y->stages[i].monoid && x->stages[i].type == y->stages[i].type;
  return same;
}

static bool agree(const bundling *b, uint32_t x, uint32_t y) {
  const launch_kind *k = &b->kinds[x], *l = &b->kinds[y];
  const kernel *own = b->of.plan->launches[x].kernel, *other = b->of.plan->launches[y].kernel;
  return own == other || (k->mixes && l->mixes && ((k->small && l->small) || (k->update && l->update) || alike(own, other)));
}

static uint32_t end_of(const bundling *b, uint32_t at) {
  do at++;
  while (at < b->n && b->beside[at]);
  return at;
}

static bool may_join(const bundling *b, uint32_t x, uint32_t y) {
  uint32_t arguments = 0;
  const uint32_t ends[] = {end_of(b, x), end_of(b, y)};
  for (uint32_t i = x; i < ends[0]; i++) arguments += b->of.plan->launches[b->order[i]].kernel->n_buffers;
  for (uint32_t j = y; j < ends[1]; j++) arguments += b->of.plan->launches[b->order[j]].kernel->n_buffers;
  bool join = arguments <= b->target->bundle_arguments;
  for (uint32_t i = x; i < ends[0]; i++)
    for (uint32_t j = y; join && j < ends[1]; j++) join = agree(b, b->order[i], b->order[j]);
  return join;
}

/* -- joining ------------------------------------------------------------------------------------------------------- */

/* All of a bundle is there at once. */
static int64_t peak(bundling *b, const uint32_t *order, const bool *beside) {
  const ordering *o = &b->of;
  int64_t used = 0, most = 0, made;
  for (uint32_t i = 0; i < o->plan->n_buffers; i++) b->waiting[i] = o->readers[i].n;
  for (uint32_t i = 0; i < b->n;) {
    int64_t here = 0, change = 0;
    do {
      change += ordering_growth(o, order[i], b->waiting, &made);
      here += made;
      ordering_run(o, order[i], b->waiting);
    } while (++i < b->n && beside[i]);
    if (used + here > most) most = used + here;
    used += change;
  }
  b->left -= b->n;
  return most;
}

/* The members of two bundles as one, those of one kernel side by side; returns behind the last. */
static uint32_t lay_joined(const bundling *b, uint32_t x, uint32_t y, uint32_t to) {
  const uint32_t from[] = {x, y}, ends[] = {end_of(b, x), end_of(b, y)}, first = to;
  for (uint32_t k = 0; k < 2; k++)
    for (uint32_t i = from[k]; i < ends[k]; i++) {
      uint32_t at = to;
      const kernel *own = b->of.plan->launches[b->order[i]].kernel;
      for (uint32_t j = first; j < to && at == to; j++)
        if (b->of.plan->launches[b->tried[j]].kernel == own && (j + 1 == to || b->of.plan->launches[b->tried[j + 1]].kernel != own)) at = j + 1;
      memmove(b->tried + at + 1, b->tried + at, (to - at) * sizeof *b->tried);
      b->tried[at] = b->order[i];
      b->tried_beside[to] = to > first;
      to++;
    }
  return to;
}

/* Two bundles as one in front of what stands at `place`, if there is memory for that. */
static bool join_at(bundling *b, uint32_t x, uint32_t y, uint32_t place) {
  uint32_t to = 0;
  for (uint32_t at = 0; at < b->n; at = end_of(b, at)) {
    if (at == place) to = lay_joined(b, x, y, to);
    for (uint32_t i = at; at != x && at != y && i < end_of(b, at); i++, to++) b->tried[to] = b->order[i], b->tried_beside[to] = b->beside[i];
  }
  if (peak(b, b->tried, b->tried_beside) > b->most) return false;
  memcpy(b->order, b->tried, b->n * sizeof *b->order);
  memcpy(b->beside, b->tried_beside, b->n * sizeof *b->beside);
  for (uint32_t i = 0, first = 0; i < b->n; i++) {
    if (!b->beside[i]) first = i;
    b->start[b->order[i]] = first;
  }
  return true;
}

/* Between the last that the later one waits for, and the first that waits for the earlier one. */
static bool join(bundling *b, uint32_t x, uint32_t y) {
  int64_t after = -1, before = b->n;
  for (uint32_t i = y; i < end_of(b, y); i++) {
    const index_list *l = &b->bound.before[b->order[i]];
    for (uint32_t k = 0; k < l->n; k++) {
      if (b->start[l->items[k]] == x) return false;
      if (b->start[l->items[k]] > after) after = b->start[l->items[k]];
    }
  }
  for (uint32_t i = x; i < end_of(b, x); i++) {
    const index_list *l = &b->bound.behind[b->order[i]];
    for (uint32_t k = 0; k < l->n; k++)
      if (b->start[l->items[k]] < before) before = b->start[l->items[k]];
  }
  if (after >= before) return false;
  const uint32_t place = after < x ? x : end_of(b, (uint32_t)after);
  return join_at(b, x, y, place) || (before > y && place != y && join_at(b, x, y, y));
}

/* A launch and an earlier bundle, the nearest that takes it: first of those that have a launch of its kernel. */
static void join_earlier(bundling *b, uint32_t launch) {
  const kernel *own = b->of.plan->launches[launch].kernel;
  for (int same = 1; same >= 0; same--)
    for (uint32_t i = b->start[launch]; i-- > 0 && b->left > 0;) {
      const uint32_t other = b->order[i];
      if (!b->kinds[other].may || (same ? b->of.plan->launches[other].kernel != own : b->beside[i])) continue;
      if (may_join(b, b->start[other], b->start[launch]) && join(b, b->start[other], b->start[launch])) return;
    }
}

/* Regions are bundled for themselves. */
bool pass_bundle(plan *p, pass_context *c) {
  if (!c->target->bundle_arguments) return true;
  if (!for_each_region(p, c, pass_bundle)) return false;
  bundling b = {.of = ordering_of(p, c->arena), .target = c->target, .n = p->n_launches, .left = 1 << 24};
  b.kinds = ARENA_ARRAY(c->arena, launch_kind, b.n + 1);
  b.order = ARENA_ARRAY(c->arena, uint32_t, b.n + 1);
  b.start = ARENA_ARRAY(c->arena, uint32_t, b.n + 1);
  b.tried = ARENA_ARRAY(c->arena, uint32_t, b.n + 1);
  b.beside = ARENA_ARRAY(c->arena, bool, b.n + 1);
  b.tried_beside = ARENA_ARRAY(c->arena, bool, b.n + 1);
  b.waiting = ARENA_ARRAY(c->arena, uint32_t, p->n_buffers + 1);
  for (uint32_t i = 0; i < b.n; i++) b.order[i] = b.start[i] = i;
  b.bound = ordering_dependences(&b.of, b.start);
  b.most = peak(&b, b.order, b.beside);
  b.most += b.most / MORE_PART > MORE_BYTES ? b.most / MORE_PART : MORE_BYTES;
  find_kinds(&b, c->arena);
  for (uint32_t i = 0; i < b.n; i++)
    if (b.kinds[i].may) join_earlier(&b, i);
  plan_launch *launches = ARENA_ARRAY(p->arena, plan_launch, b.n + 1);
  for (uint32_t i = 0; i < b.n; i++) {
    launches[i] = p->launches[b.order[i]];
    launches[i].beside = b.beside[i];
  }
  p->launches = launches;
  p->launches_capacity = b.n;
  return true;
}
