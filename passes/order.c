/* The order of launches, for low peak memory: list scheduling that takes, among the launches whose inputs
 * are ready, the one that leaves the least memory in use. The order that came is kept where it is better. */
#include "passes/passes.h"

typedef struct {
  uint32_t *items;
  uint32_t n, capacity;
} index_list;

typedef struct {
  plan *plan;
  arena *arena;
  index_list *readers; /* per buffer: launches, each once */
  int32_t *writer;     /* per buffer: its launch, or -1 */
  int32_t *state;      /* per buffer that is the next value of a state: the state's buffer, or -1 */
  int64_t *bytes;      /* per buffer: 0 where it is not a temporary */
  int64_t *inside;     /* per launch: what a loop needs beside, as long as it runs */
} ordering;

static bool is_read_before(const plan_launch *l, uint32_t at) { /* the same buffer as an earlier argument */
  for (uint32_t i = 0; i < at; i++)
    if (l->buffers[i] == l->buffers[at]) return true;
  return false;
}

static ordering analyse(plan *p, arena *a) {
  ordering o = {.plan = p, .arena = a};
  o.readers = ARENA_ARRAY(a, index_list, p->n_buffers);
  o.writer = ARENA_ARRAY(a, int32_t, p->n_buffers);
  o.state = ARENA_ARRAY(a, int32_t, p->n_buffers);
  o.bytes = ARENA_ARRAY(a, int64_t, p->n_buffers);
  o.inside = ARENA_ARRAY(a, int64_t, p->n_launches);
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    o.writer[i] = o.state[i] = -1;
    if (b->storage == STORAGE_TEMPORARY)
      o.bytes[i] = layout_elements(&b->layout, &b->type) * (int64_t)dtype_bytes(b->type.dtype);
    if (b->storage != STORAGE_RESULT || strcmp(b->role, "state")) continue;
    int32_t state = plan_find(p, "state", b->name);
    if (state >= 0 && p->buffers[state].storage == STORAGE_STATE) o.state[i] = state;
  }
  for (uint32_t l = 0; l < p->n_launches; l++) {
    const plan_launch *launch = &p->launches[l];
    if (launch->repeat) {
      plan_note_lives(launch->repeat->plan);
      o.inside[l] = plan_live_bytes(launch->repeat->plan, a);
    }
    for (uint32_t b = 0; b < launch->kernel->n_buffers; b++) {
      index_list *readers = &o.readers[launch->buffers[b]];
      if (launch->kernel->buffers[b].access == ACCESS_OUT) o.writer[launch->buffers[b]] = (int32_t)l;
      else if (!is_read_before(launch, b)) *ARENA_PUSH(a, readers->items, readers->n, readers->capacity) = l;
    }
  }
  return o;
}

/* -- measuring ------------------------------------------------------------------------------------------------ */

/* What changes in use when a launch runs: its outputs come (`made`, together with what it needs beside), and inputs go that nobody else
 * waits for. */
static int64_t growth(const ordering *o, uint32_t launch, const uint32_t *waiting, int64_t *made) {
  const plan_launch *l = &o->plan->launches[launch];
  int64_t freed = 0, kept = 0;
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) {
    uint32_t buffer = l->buffers[b];
    if (l->kernel->buffers[b].access == ACCESS_OUT) kept += o->bytes[buffer];
    else if (waiting[buffer] == 1 && !is_read_before(l, b)) freed += o->bytes[buffer];
  }
  *made = kept + o->inside[launch];
  return kept - freed;
}

static void run(const ordering *o, uint32_t launch, uint32_t *waiting) {
  const plan_launch *l = &o->plan->launches[launch];
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++)
    if (l->kernel->buffers[b].access == ACCESS_IN && !is_read_before(l, b)) waiting[l->buffers[b]]--;
}

/* Per buffer: how many launches have yet to read it. */
static uint32_t *count_waiting(const ordering *o) {
  uint32_t *waiting = ARENA_ARRAY(o->arena, uint32_t, o->plan->n_buffers);
  for (uint32_t i = 0; i < o->plan->n_buffers; i++) waiting[i] = o->readers[i].n;
  return waiting;
}

static int64_t peak(const ordering *o, const uint32_t *order) {
  uint32_t *waiting = count_waiting(o);
  int64_t used = 0, most = 0, made;
  for (uint32_t i = 0; i < o->plan->n_launches; i++) {
    int64_t change = growth(o, order[i], waiting, &made);
    if (used + made > most) most = used + made;
    used += change;
    run(o, order[i], waiting);
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
    int64_t made, change = growth(o, ready->items[i], waiting, &made);
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
  uint32_t *waiting = count_waiting(o), n = 0;
  index_list ready = {0};
  for (uint32_t b = 0; b < p->n_buffers; b++)
    for (uint32_t i = 0; o->writer[b] >= 0 && i < o->readers[b].n; i++) missing[o->readers[b].items[i]]++;
  for (uint32_t l = 0; l < p->n_launches; l++) add_if_ready(o, l, missing, &ready);
  while (ready.n) {
    uint32_t at = choose(o, &ready, waiting), launch = ready.items[at];
    ready.items[at] = ready.items[--ready.n];
    order[n++] = launch;
    run(o, launch, waiting);
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

bool pass_order(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_order)) return false;
  ordering o = analyse(p, c->arena);
  uint32_t *order = schedule_launches(&o), *given = ARENA_ARRAY(c->arena, uint32_t, p->n_launches);
  for (uint32_t i = 0; i < p->n_launches; i++) given[i] = i;
  if (peak(&o, given) < peak(&o, order)) order = given;
  plan_launch *launches = ARENA_ARRAY(p->arena, plan_launch, p->n_launches);
  for (uint32_t i = 0; i < p->n_launches; i++) launches[i] = p->launches[order[i]];
  p->launches = launches;
  p->launches_capacity = p->n_launches;
  return true;
}
