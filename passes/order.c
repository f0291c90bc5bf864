/* The order of launches, for low peak memory: list scheduling that takes, among the launches whose inputs
 * are ready, the one that leaves the least memory in use. The order that came is kept where it is much better: it does all
 * products for weights last, when little is left to make again (rematerialise.c). Then the peak is
 * lowered step by step: what waits there is used up in front of it, or made behind it. */
#include "passes/ordering.h"
#include "passes/passes.h"

#include <stdlib.h>

static int64_t peak(const ordering *o, const uint32_t *order) {
  uint32_t *waiting = ordering_waiting(o);
  int64_t used = 0, most = 0, made;
  for (uint32_t i = 0; i < o->plan->n_launches; i++) {
    int64_t change = ordering_growth(o, order[i], waiting, &made);
    if (used + made > most) most = used + made;
    used += change;
    ordering_run(o, order[i], waiting);
  }
  return most;
}

/* -- scheduling ------------------------------------------------------------------------------------------------- */

/* Others still have to read a state that this launch is to overwrite: then it waits, as long as there is
 * something else to do (where that never helps, the new value is copied at the end). */
static bool overwrites_too_early(const ordering *o, uint32_t launch, const uint32_t *waiting) {
  const plan_launch *l = &o->plan->launches[launch];
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) {
    int32_t state = l->kernel->buffers[b].access == ACCESS_OUT ? o->state[l->buffers[b]] : -1;
    if (state < 0) continue;
    uint32_t own = 0;
    for (uint32_t i = 0; i < l->kernel->n_buffers; i++)
      own |= l->kernel->buffers[i].access == ACCESS_IN && l->buffers[i] == (uint32_t)state;
    if (waiting[state] > own) return true;
  }
  return false;
}

static uint32_t choose(const ordering *o, const index_list *ready, const uint32_t *waiting) {
  uint32_t best = 0;
  int64_t least = 0;
  bool best_is_early = true;
  for (uint32_t i = 0; i < ready->n; i++) {
    int64_t made, change = ordering_growth(o, ready->items[i], waiting, &made);
    bool early = overwrites_too_early(o, ready->items[i], waiting);
    bool better = early != best_is_early ? best_is_early
                  : change != least      ? change < least
                                         : ready->items[i] < ready->items[best];
    if (i && !better) continue;
    best = i;
    least = change;
    best_is_early = early;
  }
  return best;
}

static void add_if_ready(const ordering *o, uint32_t launch, const uint32_t *missing, index_list *ready) {
  if (missing[launch] == 0) *ARENA_PUSH(o->arena, ready->items, ready->n, ready->capacity) = launch;
}

static uint32_t *schedule_launches(const ordering *o) {
  const plan *p = o->plan;
  uint32_t *order = ARENA_ARRAY(o->arena, uint32_t, p->n_launches),
           *missing = ARENA_ARRAY(o->arena, uint32_t, p->n_launches);
  uint32_t *waiting = ordering_waiting(o), n = 0;
  index_list ready = {0};
  for (uint32_t b = 0; b < p->n_buffers; b++)
    for (uint32_t i = 0; o->writer[b] >= 0 && i < o->readers[b].n; i++) missing[o->readers[b].items[i]]++;
  for (uint32_t l = 0; l < p->n_launches; l++) add_if_ready(o, l, missing, &ready);
  while (ready.n) {
    uint32_t at = choose(o, &ready, waiting), launch = ready.items[at];
    ready.items[at] = ready.items[--ready.n];
    order[n++] = launch;
    ordering_run(o, launch, waiting);
    const plan_launch *l = &p->launches[launch];
    for (uint32_t b = 0; b < l->kernel->n_buffers; b++) {
      if (l->kernel->buffers[b].access != ACCESS_OUT) continue;
      const index_list *readers = &o->readers[l->buffers[b]];
      for (uint32_t i = 0; i < readers->n; i++) {
        missing[readers->items[i]]--;
        add_if_ready(o, readers->items[i], missing, &ready);
      }
    }
  }
  return order;
}

/* -- lowering the peak -------------------------------------------------------------------------------------------- */

typedef struct {
  const ordering *o;
  dependences bound;
  uint32_t *order, *position, *tried; /* launches, where each stands, and another order */
  uint32_t *waiting;
  bool *moves; /* per launch */
} descent;

/* Bytes in use, at most, and how much of them is above `floor`, summed over launches. */
typedef struct {
  int64_t peak, above;
  uint32_t at; /* where the peak is first */
} height;

static height measure(descent *d, const uint32_t *order, int64_t floor) {
  const plan *p = d->o->plan;
  height h = {0};
  int64_t used = 0, made;
  for (uint32_t i = 0; i < p->n_buffers; i++) d->waiting[i] = d->o->readers[i].n;
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const int64_t change = ordering_growth(d->o, order[i], d->waiting, &made);
    if (used + made > h.peak) h.peak = used + made, h.at = i;
    if (used + made > floor) h.above += used + made - floor;
    used += change;
    ordering_run(d->o, order[i], d->waiting);
  }
  return h;
}

/* Marks the launch, and those between it and the one at `limit` that have to move over that with it. False where that one itself has to. */
static bool gather(descent *d, uint32_t launch, uint32_t limit, bool earlier) {
  if (d->position[launch] == limit) return false;
  if (d->moves[launch]) return true;
  d->moves[launch] = true;
  const index_list *bound = earlier ? &d->bound.before[launch] : &d->bound.behind[launch];
  for (uint32_t i = 0; i < bound->n; i++) {
    const uint32_t at = d->position[bound->items[i]];
    if ((earlier ? at >= limit : at <= limit) && !gather(d, bound->items[i], limit, earlier)) return false;
  }
  return true;
}

/* What moves: a launch, with all that wait for it, comes later; or all that still read a buffer come earlier. */
typedef struct {
  bool earlier;
  uint32_t which; /* launch or buffer */
  int64_t gain;
} candidate;

static bool gather_all(descent *d, const candidate *c, uint32_t limit) {
  memset(d->moves, 0, d->o->plan->n_launches * sizeof *d->moves);
  if (!c->earlier) return gather(d, c->which, limit, false);
  const index_list *readers = &d->o->readers[c->which];
  for (uint32_t i = 0; i < readers->n; i++)
    if (d->position[readers->items[i]] >= limit && !gather(d, readers->items[i], limit, true)) return false;
  return true;
}

/* Is a buffer read at `limit` or behind it by a launch that stays? */
static bool is_awaited(const descent *d, uint32_t b, uint32_t limit) {
  for (uint32_t i = 0; i < d->o->readers[b].n; i++)
    if (d->position[d->o->readers[b].items[i]] >= limit && !d->moves[d->o->readers[b].items[i]]) return true;
  return false;
}

/* By how much less is then in use at `limit`. What moves earlier uses inputs up and leaves outputs; what moves later leaves inputs. */
static int64_t gain_of(const descent *d, uint32_t limit, bool earlier) {
  const plan *p = d->o->plan;
  int64_t gain = 0;
  for (uint32_t l = 0; l < p->n_launches; l++) {
    for (uint32_t a = 0; d->moves[l] && a < p->launches[l].kernel->n_buffers; a++) {
      const uint32_t b = p->launches[l].buffers[a];
      const bool written = p->launches[l].kernel->buffers[a].access == ACCESS_OUT, stays = is_awaited(d, b, limit);
      if (!d->o->bytes[b] || (written ? !stays : d->o->writer[b] < 0 || d->moves[d->o->writer[b]] || stays)) continue;
      gain += written == earlier ? -d->o->bytes[b] : d->o->bytes[b];
    }
  }
  return gain;
}

/* Where to: next to the launch at `limit`, or as far from it as may be: the place in front of which what was gathered comes. */
static uint32_t place_of(const descent *d, uint32_t limit, bool earlier, bool far) {
  uint32_t place = far ? earlier ? 0 : d->o->plan->n_launches : limit + !earlier;
  for (uint32_t l = 0; far && l < d->o->plan->n_launches; l++) {
    const index_list *bound = earlier ? &d->bound.before[l] : &d->bound.behind[l];
    for (uint32_t i = 0; d->moves[l] && i < bound->n; i++) {
      const uint32_t at = d->position[bound->items[i]];
      if (d->moves[bound->items[i]]) continue;
      if (earlier ? at >= place : at < place) place = at + earlier;
    }
  }
  return place;
}

/* The order with what was gathered at that place. */
static void move(descent *d, uint32_t place) {
  const uint32_t n = d->o->plan->n_launches;
  uint32_t to = 0;
  for (uint32_t part = 0; part < 3; part++)
    for (uint32_t i = part == 2 ? place : 0; i < (part ? n : place); i++)
      if (d->moves[d->order[i]] == (part == 1)) d->tried[to++] = d->order[i];
}

static int larger_gain(const void *x, const void *y) {
  const candidate *a = x, *b = y;
  if (a->gain != b->gain) return a->gain < b->gain ? 1 : -1;
  if (a->earlier != b->earlier) return a->earlier ? 1 : -1;
  return (a->which > b->which) - (a->which < b->which);
}

static void consider(descent *d, candidate c, uint32_t limit, int64_t least, candidate *list, uint32_t *n) {
  if (!gather_all(d, &c, limit)) return;
  c.gain = gain_of(d, limit, c.earlier);
  if (c.gain > least) list[(*n)++] = c;
}

/* The best of the most promising moves at the peak; false when none lowers it, nor what is near it. */
static bool lower_once(descent *d, candidate *list, uint32_t *best_order, int64_t *left) {
  enum { NEAR = 16, LEAST = 1000, MOST_TRIED = 32 }; /* parts of the peak; moves */
  const plan *p = d->o->plan;
  height now = measure(d, d->order, INT64_MAX);
  const int64_t floor = now.peak - now.peak / NEAR;
  now = measure(d, d->order, floor);
  height best = now;
  uint32_t n = 0;
  for (uint32_t i = 0; i < now.at; i++) consider(d, (candidate){false, d->order[i], 0}, now.at, now.peak / LEAST, list, &n);
  for (uint32_t b = 0; b < p->n_buffers; b++) {
    if (!d->o->bytes[b] || d->o->writer[b] < 0 || d->position[d->o->writer[b]] >= now.at) continue;
    memset(d->moves, 0, p->n_launches * sizeof *d->moves);
    if (is_awaited(d, b, now.at)) consider(d, (candidate){true, b, 0}, now.at, now.peak / LEAST, list, &n);
  }
  qsort(list, n, sizeof *list, larger_gain);
  for (uint32_t i = 0; i < 2 * n && i < MOST_TRIED; i++) {
    const candidate *c = &list[i / 2];
    gather_all(d, c, now.at);
    move(d, place_of(d, now.at, c->earlier, i % 2));
    const height h = measure(d, d->tried, floor);
    *left -= p->n_launches;
    if (h.peak > best.peak || (h.peak == best.peak && h.above >= best.above)) continue;
    best = h;
    memcpy(best_order, d->tried, p->n_launches * sizeof *best_order);
  }
  if (best.peak == now.peak && best.above == now.above) return false;
  memcpy(d->order, best_order, p->n_launches * sizeof *best_order);
  for (uint32_t i = 0; i < p->n_launches; i++) d->position[d->order[i]] = i;
  return true;
}

static void lower_peak(const ordering *o, uint32_t *order) {
  const uint32_t n = o->plan->n_launches;
  int64_t left = 1 << 23; /* launches that are looked at, in all */
  descent d = {.o = o, .order = order, .position = ARENA_ARRAY(o->arena, uint32_t, n), .tried = ARENA_ARRAY(o->arena, uint32_t, n)};
  d.waiting = ARENA_ARRAY(o->arena, uint32_t, o->plan->n_buffers);
  d.moves = ARENA_ARRAY(o->arena, bool, n);
  for (uint32_t i = 0; i < n; i++) d.position[order[i]] = i;
  d.bound = ordering_dependences(o, d.position);
  uint32_t *best = ARENA_ARRAY(o->arena, uint32_t, n);
  candidate *list = ARENA_ARRAY(o->arena, candidate, n + o->plan->n_buffers);
  while (left > 0 && lower_once(&d, list, best, &left)) continue;
}

bool pass_order(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_order)) return false;
  ordering o = ordering_of(p, c->arena);
  uint32_t *order = schedule_launches(&o), *given = ARENA_ARRAY(c->arena, uint32_t, p->n_launches);
  for (uint32_t i = 0; i < p->n_launches; i++) given[i] = i;
  lower_peak(&o, order);
  lower_peak(&o, given);
  if (peak(&o, given) < peak(&o, order) * 7 / 8) order = given;
  plan_launch *launches = ARENA_ARRAY(p->arena, plan_launch, p->n_launches);
  for (uint32_t i = 0; i < p->n_launches; i++) launches[i] = p->launches[order[i]];
  p->launches = launches;
  p->launches_capacity = p->n_launches;
  return true;
}
