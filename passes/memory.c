/* Where buffers lie. The next value of a state overwrites the state where nobody reads the old one any
 * more, and is copied over it at the end where somebody does. Temporaries share one arena: each at the place
 * that fits best for as long as it lives. */
#include "passes/passes.h"

#include <stdlib.h>

/* -- state ---------------------------------------------------------------------------------------------------- */

static bool uses(const plan_launch *l, uint32_t buffer, uint32_t *argument) {
  for (*argument = 0; *argument < l->kernel->n_buffers; ++*argument)
    if (l->buffers[*argument] == buffer) return true;
  return false;
}

/* May `next` lie where `state` does? Its writer comes behind all others that use the state, and reads it only
 * at the places that it writes. */
static bool may_overwrite(const plan *p, uint32_t next, uint32_t state, arena *scratch) {
  const plan_buffer *n = &p->buffers[next], *s = &p->buffers[state];
  uint32_t writer = n->first, from, to;
  if (!type_equal(&n->type, &s->type) || !layout_equal(&n->layout, &s->layout)) return false;
  while (writer < n->last && !uses(&p->launches[writer], next, &to)) writer++;
  for (uint32_t l = n->first; l <= s->last; l++) /* beside it, and behind */
    if (l != writer && uses(&p->launches[l], state, &from)) return false;
  const plan_launch *l = &p->launches[writer];
  if (!uses(l, state, &from)) return true;
  return !l->repeat && uses(l, next, &to) && kernel_updates_in_place(l->kernel, from, to, scratch);
}

static kernel *copy_kernel(plan *p, const plan_buffer *from, const plan_buffer *to) {
  kernel *k = kernel_new(p->arena, arena_printf(p->arena, "keep_%u", p->n_launches), to->where);
  const expr *index[MAX_RANK];
  uint32_t in = kernel_add_buffer(k, "x", from->type, ACCESS_IN), out = kernel_add_buffer(k, "y", to->type, ACCESS_OUT);
  k->buffers[in].layout = from->layout;
  k->buffers[out].layout = to->layout;
  stage s = {.name = "copy", .type = to->type.dtype, .output = (int32_t)out, .index = index, .where = to->where};
  for (uint32_t i = 0; i < to->type.rank; i++) {
    int64_t extent = to->type.dim[i];
    index[i] =
        extent == 1 ? expr_integer(k, 0) : expr_axis(k, kernel_add_axis(k, (char[]){(char)('i' + i), 0}, extent));
  }
  s.body = expr_read(k, in, index, NULL, 0, (scalar){.integer = 0});
  kernel_add_stage(k, s);
  return k;
}

/* A last launch that copies one buffer to another; `first_copy` is the first such. They are bundled where there are bundles. */
static void add_copy(plan *p, uint32_t from, uint32_t to, uint32_t first_copy, const target *t) {
  const plan_buffer *x = &p->buffers[from], *y = &p->buffers[to];
  kernel *k = NULL;
  for (uint32_t i = first_copy; i < p->n_launches && !k; i++) {
    kernel *known = p->launches[i].kernel;
    bool same = type_equal(&known->buffers[0].type, &x->type) && layout_equal(&known->buffers[0].layout, &x->layout) &&
                layout_equal(&known->buffers[1].layout, &y->layout);
    if (same) k = known;
  }
  const uint32_t others = p->n_launches - first_copy;
  plan_add_launch(p, k ? k : copy_kernel(p, x, y), (uint32_t[]){from, to});
  p->launches[p->n_launches - 1].beside = t->bundle_arguments && others % (t->bundle_arguments / 2);
}

static void place_states(plan *p, pass_context *c) {
  const uint32_t n = p->n_buffers, first_copy = p->n_launches;
  for (uint32_t i = 0; i < n; i++) {
    plan_buffer *b = &p->buffers[i];
    if (b->storage != STORAGE_RESULT || strcmp(b->role, "state")) continue;
    int32_t state = plan_find(p, "state", b->name);
    if (state < 0 || p->buffers[state].storage != STORAGE_STATE) continue; /* a first value, made here */
    if (may_overwrite(p, i, (uint32_t)state, c->arena)) {
      b->alias = state;
      continue;
    }
    plan_buffer kept = *b;
    kept.alias = state;
    kept.layout = p->buffers[state].layout;
    b->storage = STORAGE_TEMPORARY;
    b->name = b->role = "";
    add_copy(p, i, plan_add_buffer(p, kept), first_copy, c->target);
  }
}

/* -- temporaries ------------------------------------------------------------------------------------------------ */

/* What packing looks at of a buffer, many times. */
typedef struct {
  uint32_t first, last;
  int64_t bytes, offset;
} place;

/* Buffers of the arena, in the order in which they get their places. */
typedef struct {
  plan *plan;
  place *places; /* by buffer */
  uint32_t *order, *placed; /* placed: by offset */
  uint32_t n;
  int64_t *live; /* bytes in use at each launch */
  bool tight;    /* the smallest gap that holds a buffer, not the lowest */
  int64_t bytes; /* of the arena */
  uint32_t top;  /* the buffer that ends last */
  uint32_t *best; /* the order of the smallest arena so far */
  int64_t best_bytes, enough; /* enough: an arena that need not get smaller */
  bool best_tight;
} packing;

/* A gap that holds the buffer among those that live with it. `placed` is in order of offsets. */
static int64_t find_gap(const packing *k, const place *b, uint32_t n) {
  int64_t at = 0, best = -1, smallest = 0;
  for (uint32_t i = 0; i < n; i++) {
    const place *other = &k->places[k->placed[i]];
    if (other->first > b->last || b->first > other->last) continue;
    const int64_t gap = other->offset - at, end = other->offset + other->bytes;
    if (gap >= b->bytes && !k->tight) return at;
    if (gap >= b->bytes && (best < 0 || gap < smallest)) best = at, smallest = gap;
    if (end > at) at = end;
  }
  return best < 0 ? at : best;
}

/* Places the first n, or those up to the first that reaches `limit`. */
static void pack(packing *k, uint32_t n, int64_t limit) {
  k->bytes = 0;
  for (uint32_t i = 0; i < n && k->bytes < limit; i++) {
    place *b = &k->places[k->order[i]];
    uint32_t at = i;
    b->offset = find_gap(k, b, i);
    if (b->offset + b->bytes > k->bytes) k->bytes = b->offset + b->bytes, k->top = i;
    for (; at > 0 && k->places[k->placed[at - 1]].offset > b->offset; at--) k->placed[at] = k->placed[at - 1];
    k->placed[at] = k->order[i];
  }
}

/* What comes first lies lowest: the largest, the largest by bytes times launches that they live for, those that live longest, those that
 * are made first, those that live when most is in use, where nothing may be lost (Pisarchyk and Lee 2020, "Efficient Memory Management
 * for Deep Neural Net Inference": by breadth). */
typedef double priority(const packing *k, const plan_buffer *b);
static double by_bytes(const packing *k, const plan_buffer *b) { return (void)k, (double)b->bytes; }
static double by_area(const packing *k, const plan_buffer *b) { return (void)k, (double)b->bytes * (b->last - b->first + 1); }
static double by_life(const packing *k, const plan_buffer *b) { return (void)k, b->last - b->first; }
static double by_time(const packing *k, const plan_buffer *b) { return (void)k, -(double)b->first; }
static double by_breadth(const packing *k, const plan_buffer *b) {
  int64_t most = 0;
  for (uint32_t l = b->first; l <= b->last; l++)
    if (k->live[l] > most) most = k->live[l];
  return (double)most;
}
static priority *const priorities[][2] = {{by_bytes, by_bytes}, {by_area, by_bytes}, {by_life, by_bytes}, {by_time, by_bytes}, {by_breadth, by_bytes}, {by_breadth, by_life}};
enum { N_PRIORITIES = sizeof priorities / sizeof *priorities };

typedef struct {
  uint32_t buffer;
  double priority[2]; /* the second among equals */
} request;

static int first_of_two(const void *x, const void *y) {
  const request *a = x, *b = y;
  for (int i = 0; i < 2; i++)
    if (a->priority[i] != b->priority[i]) return a->priority[i] < b->priority[i] ? 1 : -1;
  return (a->buffer > b->buffer) - (a->buffer < b->buffer);
}

/* The first n of the order. */
static void sort(packing *k, uint32_t n, request *requests, priority *const *of) {
  for (uint32_t i = 0; i < n; i++) {
    const plan_buffer *b = &k->plan->buffers[k->order[i]];
    requests[i] = (request){k->order[i], {of[0](k, b), of[1](k, b)}};
  }
  qsort(requests, n, sizeof *requests, first_of_two);
  for (uint32_t i = 0; i < n; i++) k->order[i] = requests[i].buffer;
}

/* The buffer on top had to go there because others were before it: now it is the first. */
static void raise(packing *k) {
  uint32_t top = k->order[k->top];
  memmove(k->order + 1, k->order, k->top * sizeof *k->order);
  k->order[0] = top;
}

static void note_order(packing *k) {
  const uint32_t top = k->top;
  pack(k, k->n, INT64_MAX);
  k->top = top;
  if (k->bytes >= k->best_bytes) return;
  memcpy(k->best, k->order, k->n * sizeof *k->best);
  k->best_bytes = k->bytes;
  k->best_tight = k->tight;
}

/* Several orders and both kinds of gaps are tried, each with its worst buffers raised many times (a plan of thousands of buffers: a few),
 * until an arena is small enough. Buffers of less than `least` bytes keep out of that: they come last and fill what is left. */
static void search(packing *k, int64_t least, request *requests) {
  enum { FEWEST_RAISES = 8, MOST_RAISES = 60, COMPARISONS = 1 << 22 };
  uint32_t n = 0;
  sort(k, k->n, requests, priorities[0]);
  while (n < k->n && k->places[k->order[n]].bytes >= least) n++;
  int64_t raises = n ? COMPARISONS / ((int64_t)n * n) : 0, limit = INT64_MAX;
  if (raises < FEWEST_RAISES) raises = FEWEST_RAISES;
  if (raises > MOST_RAISES) raises = MOST_RAISES;
  for (size_t way = 0; n && way < 2 * N_PRIORITIES; way++) {
    k->tight = way % 2;
    sort(k, n, requests, priorities[way / 2]);
    for (int64_t i = 0; i < raises && k->best_bytes > k->enough; i++) {
      pack(k, n, limit);
      if (k->bytes < limit) {
        limit = k->bytes;
        note_order(k);
      }
      raise(k);
    }
  }
}

static void place_temporaries(plan *p, pass_context *c) {
  enum { NEAR = 128, SMALL = 1024 }; /* parts of the bound */
  packing k = {.plan = p, .places = ARENA_ARRAY(c->arena, place, p->n_buffers), .live = plan_live(p, c->arena), .order = ARENA_ARRAY(c->arena, uint32_t, p->n_buffers), .placed = ARENA_ARRAY(c->arena, uint32_t, p->n_buffers), .best = ARENA_ARRAY(c->arena, uint32_t, p->n_buffers)};
  request *requests = ARENA_ARRAY(c->arena, request, p->n_buffers);
  const int64_t bound = plan_live_bytes(p, c->arena);
  for (uint32_t i = 0; i < p->n_buffers; i++)
    if (plan_in_arena(p, &p->buffers[i])) {
      const plan_buffer *b = &p->buffers[i];
      k.places[i] = (place){b->first, b->last, plan_place_bytes(b->bytes), 0};
      k.order[k.n++] = i;
    }
  k.best_bytes = k.n ? INT64_MAX : 0;
  k.enough = bound + bound / NEAR;
  search(&k, bound / SMALL, requests);
  if (k.best_bytes > k.enough) search(&k, 0, requests);
  memcpy(k.order, k.best, k.n * sizeof *k.order);
  k.tight = k.best_tight;
  pack(&k, k.n, INT64_MAX);
  p->arena_bytes = k.bytes;
  for (uint32_t i = 0; i < k.n; i++) p->buffers[k.order[i]].offset = k.places[k.order[i]].offset;
}

/* A place for the arenas of loops, as long as they run. */
static void place_regions(plan *p) {
  for (uint32_t i = 0; i < p->n_launches; i++) {
    plan_launch *l = &p->launches[i];
    if (!l->repeat || !l->repeat->plan->arena_bytes) continue;
    plan_buffer b = {.storage = STORAGE_TEMPORARY, .alias = -1, .where = l->kernel->where};
    b.type = make_type(DTYPE_U8, 1, &l->repeat->plan->arena_bytes);
    if (l->kernel->n_buffers == l->repeat->n_operands + l->repeat->n_results) plan_place_region(p, l, plan_add_buffer(p, b));
  }
}

bool pass_memory(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_memory)) return false;
  place_regions(p);
  plan_note_lives(p);
  place_states(p, c);
  plan_note_lives(p); /* with the copies */
  place_temporaries(p, c);
  return pass_schedule(p, c); /* the copies: all other kernels have their schedules */
}
