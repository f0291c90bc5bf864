#include "passes/schedule_space.h"

#define AXIS(i) ((axis_set)1 << (i))

enum {
  FEW_TAPS = 4,
  SMALL_KERNEL = 1 << 14, /* points below which there are no pieces */
  MOST_CHUNKS = 64,
  MOST_SPELLED_OUT = 1024 /* points of a tile in straight-line code: more takes long to compile and leaves the first cache */
};

static int64_t extent(const schedule_space *s, uint32_t axis) { return s->kernel->axes[axis].extent; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t trips(int64_t n, int64_t step) { return (n + step - 1) / step; }

/* -- the space ------------------------------------------------------------------------------------------------ */

static void find_edges(const expr *e, bool *seen, axis_set *edges) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  for (uint32_t i = 0; i < e->n_conditions; i++) *edges |= e->conditions[i].subject->axes;
  for (uint32_t i = 0; i < e->n_args; i++) find_edges(e->args[i], seen, edges);
}

/* Whether an axis is walked among the sums of a tile: reduced, and not what the tile is cut from. */
static bool is_inside(const schedule_space *s, uint32_t a) { return (s->used & ~s->shared & AXIS(a)) && ((s->reduced & AXIS(a)) || (int32_t)a == s->vector); }

/* Loops that stand around the tiles: up to the last one over an axis that tiles are cut from which is not spelled out behind all sums. */
static uint32_t loops_around(const schedule_space *s, const schedule *given) {
  uint32_t n = 0, sums = 0;
  for (uint32_t i = 0; i < given->n; i++)
    if (is_inside(s, given->loops[i].axis)) sums = i;
  for (uint32_t i = 0; i < given->n; i++)
    if (!is_inside(s, given->loops[i].axis) && (given->loops[i].kind == LOOP_SERIAL || given->loops[i].kind == LOOP_PARALLEL || i < sums)) n = i + 1;
  return n;
}

static void read_axis(const schedule_space *s, const schedule *given, uint32_t a, axis_choice *x) {
  enum { APART = 8 }; /* places of neighbours: others fit in between */
  uint32_t around = loops_around(s, given), n = 0;
  int64_t left = extent(s, a);
  *x = (axis_choice){.held = 1, .unroll = 1};
  for (uint32_t i = 0; i < given->n; i++) {
    const schedule_loop *l = &given->loops[i];
    uint8_t place = (uint8_t)least(i * APART, 255);
    if (l->axis != a) continue;
    x->peel |= l->peel;
    x->spelled |= !is_inside(s, a) && i < around && l->kind == LOOP_UNROLL;
    if (is_inside(s, a) && i < around) x->stream = l->step, x->place = place;
    else if (is_inside(s, a) && (int32_t)a == s->vector && l->kind == LOOP_SERIAL) x->held = l->step;
    else if (is_inside(s, a)) x->block_place = place, x->unroll = l->kind == LOOP_UNROLL && l->step == 1 ? left : 1;
    else if (i < around && n++) x->block = left, x->block_place = x->place, x->place = place;
    else if (i < around) x->block_place = x->place = place;
    left = least(left, l->step);
    if (!is_inside(s, a) && i < around) x->held = left;
    else if (!is_inside(s, a) && !n && l->kind == LOOP_UNROLL && l->step == 1 && x->held == 1) x->held = extent(s, a);
  }
  if ((int32_t)a == s->vector && x->held < s->lanes) x->held = trips(extent(s, a), s->lanes) * s->lanes;
}

schedule_space schedule_space_of(const kernel *k, const target *t, arena *scratch) {
  schedule_space s = {.kernel = k, .shared = ~(axis_set)0, .vector = -1, .row = -1};
  size_t widest = 4;
  bool has_form = false;
  contraction_form form = {0};
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *at = &k->stages[i];
    s.used |= at->free | at->reduced;
    s.shared &= at->free;
    s.reduced |= at->reduced;
    find_edges(at->body, ARENA_ARRAY(scratch, bool, at->body->id + 1), &s.edges); /* arguments have lower ids */
    if (dtype_bytes(at->type) > widest) widest = dtype_bytes(at->type);
    if (!has_form) has_form = stage_contraction(k, i, &form);
  }
  s.shared &= s.used;
  s.lanes = (int64_t)(t->vector_bytes / widest);
  s.accumulators = t->vector_registers >= 32 ? 28 : 12;
  const schedule *given = &k->schedule;
  for (uint32_t i = 0; i < given->n; i++) {
    if (given->loops[i].kind == LOOP_VECTOR) s.vector = (int32_t)given->loops[i].axis;
    if (given->loops[i].kind == LOOP_UNROLL && given->loops[i].step == 1 && (s.shared & AXIS(given->loops[i].axis))) s.row = (int32_t)given->loops[i].axis;
  }
  s.rows = s.shared & ~(s.vector < 0 ? 0 : AXIS(s.vector));
  s.contracts = has_form && s.vector >= 0 && ((form.left_only | form.right_only) & AXIS(s.vector));
  if (s.contracts) s.rows &= form.left_only & AXIS(s.vector) ? form.right_only : form.left_only;
  s.given.vector = s.vector;
  for (uint32_t a = 0; a < k->n_axes; a++) read_axis(&s, given, a, &s.given.axis[a]);
  return s;
}

/* -- drawing --------------------------------------------------------------------------------------------------- */

static uint32_t below(uint64_t *random, uint32_t n) {
  *random = *random * 6364136223846793005u + 1442695040888963407u; /* Knuth's generator of 64 bits */
  return (uint32_t)((*random >> 33) * n >> 31);
}

static bool one_in(uint64_t *random, uint32_t n) { return below(random, n) == 0; }

/* A tile of at most `most` indices; mostly one that divides the extent. */
static int64_t draw_tile(int64_t n, int64_t most, uint64_t *random) {
  int64_t tile = 1 + below(random, (uint32_t)least(n, most));
  if (one_in(random, 4)) return tile;
  while (n % tile) tile--;
  return tile;
}

/* A tile around one of `held` indices: a few times as large, or none. */
static int64_t draw_block(int64_t n, int64_t held, uint64_t *random) {
  int64_t block = held << (1 + below(random, 5));
  return block < n && !one_in(random, 2) ? block : 0;
}

static void draw_registers(const schedule_space *s, schedule_choice *c, uint64_t *random) {
  static const uint8_t vectors[] = {1, 2, 2, 2, 3, 4, 4};
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) c->axis[a].held = 1;
  if (c->vector < 0) return;
  int64_t most = trips(extent(s, (uint32_t)c->vector), s->lanes);
  int64_t n = least(s->contracts ? vectors[below(random, sizeof vectors)] : 1 + below(random, below(random, 2) ? 4 : 16), most);
  c->axis[c->vector].held = n * s->lanes;
  int64_t left = s->accumulators / n;
  for (int tile = s->contracts ? 0 : below(random, 3); tile < 2 && left > 1; tile++) { /* mostly one axis of rows, now and then two */
    uint32_t a = s->row >= 0 && !tile && !one_in(random, 4) ? (uint32_t)s->row : below(random, s->kernel->n_axes);
    if (!(s->rows & AXIS(a)) || c->axis[a].held > 1) continue;
    c->axis[a].held = draw_tile(extent(s, a), left, random);
    if (!tile && c->axis[a].held * 3 < least(left, extent(s, a))) c->axis[a].held = draw_tile(extent(s, a), left, random);
    left /= c->axis[a].held;
  }
}

static void draw_around(const schedule_space *s, schedule_choice *c, uint32_t a, uint64_t *random) {
  axis_choice *x = &c->axis[a];
  x->block = (s->shared & AXIS(a)) ? draw_block(extent(s, a), x->held, random) : 0;
  x->peel = (s->edges & AXIS(a)) && !one_in(random, 3);
  x->spelled = extent(s, a) <= FEW_TAPS && one_in(random, 3);
}

static void draw_sum(const schedule_space *s, schedule_choice *c, uint32_t a, uint64_t *random) {
  int64_t n = extent(s, a), part = (int64_t)1 << below(random, 9);
  c->axis[a].stream = !one_in(random, 4) ? 0 : one_in(random, 2) || part >= n ? n > 4 ? 1 : 0 : part;
  c->axis[a].unroll = n <= FEW_TAPS && one_in(random, 2) ? n : (int64_t)1 << below(random, 5);
  while (c->axis[a].unroll > 1 && n % c->axis[a].unroll) c->axis[a].unroll /= 2;
}

static void draw_places(schedule_choice *c, uint32_t a, uint64_t *random) {
  uint8_t x = (uint8_t)below(random, 256), y = (uint8_t)below(random, 256);
  c->axis[a].block_place = x < y ? x : y;
  c->axis[a].place = x < y ? y : x;
}

schedule_choice schedule_draw(const schedule_space *s, uint64_t *random) {
  schedule_choice c = {.vector = s->vector};
  draw_registers(s, &c, random);
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    if (!(s->used & AXIS(a))) continue;
    draw_around(s, &c, a, random);
    draw_sum(s, &c, a, random);
    draw_places(&c, a, random);
  }
  return c;
}

static void swap_places(schedule_choice *c, uint32_t a, uint32_t b) {
  axis_choice x = c->axis[a], *y = &c->axis[b];
  c->axis[a].place = y->place, c->axis[a].block_place = y->block_place;
  y->place = x.place, y->block_place = x.block_place;
}

schedule_choice schedule_vary(const schedule_space *s, const schedule_choice *from, uint64_t *random) {
  schedule_choice c = *from, fresh = schedule_draw(s, random);
  for (uint32_t changes = 1 + below(random, 3); changes > 0; changes--) {
    uint32_t a = below(random, s->kernel->n_axes), other = below(random, s->kernel->n_axes);
    if (!(s->used & AXIS(a))) continue;
    switch (below(random, 6)) {
    case 0: /* another tile in registers, with its blocks */
      for (a = 0; a < s->kernel->n_axes; a++) c.axis[a].held = fresh.axis[a].held, c.axis[a].block = fresh.axis[a].block;
      break;
    case 1:
      if (s->rows & AXIS(a)) c.axis[a].held = fresh.axis[a].held;
      draw_around(s, &c, a, random);
      break;
    case 2: draw_sum(s, &c, a, random); break;
    case 3: c.axis[a].stream = fresh.axis[a].stream; break;
    case 4: swap_places(&c, a, other); break;
    default: draw_places(&c, a, random);
    }
  }
  return c;
}

/* -- loops ----------------------------------------------------------------------------------------------------- */

typedef struct {
  const schedule_space *space;
  const schedule_choice *choice;
  schedule_loop *loops;
  uint8_t *places;
  uint32_t n;
  int64_t spelled_out; /* points of the tile in straight-line code so far */
} builder;

static void add(builder *b, uint32_t axis, int64_t step, loop_kind kind, bool peel) {
  b->loops[b->n++] = (schedule_loop){axis, step, kind, peel && kind == LOOP_SERIAL};
}

/* In the order of places; equal ones in the order of coming. */
static void add_placed(builder *b, uint32_t axis, int64_t step, uint8_t place, loop_kind kind, bool peel) {
  uint32_t at = b->n++;
  for (; at > 0 && b->places[at - 1] > place; at--) b->loops[at] = b->loops[at - 1], b->places[at] = b->places[at - 1];
  b->loops[at] = (schedule_loop){axis, step, kind, peel && kind == LOOP_SERIAL};
  b->places[at] = place;
}

static bool is_vector(const builder *b, uint32_t a) { return (int32_t)a == b->choice->vector; }

static loop_kind spelled_out(builder *b, int64_t n) {
  if (n > MOST_SPELLED_OUT / b->spelled_out) return LOOP_SERIAL;
  b->spelled_out *= n;
  return LOOP_UNROLL;
}

static void add_around(builder *b) {
  const schedule_space *s = b->space;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    const axis_choice *x = &b->choice->axis[a];
    int64_t left = extent(s, a);
    if (!(s->used & AXIS(a))) continue;
    if (is_inside(s, a)) {
      if (x->stream && x->stream < left && !is_vector(b, a)) add_placed(b, a, x->stream, x->place, LOOP_SERIAL, false);
      continue;
    }
    if (x->block && x->block < left) {
      add_placed(b, a, x->block, x->block_place, LOOP_SERIAL, false);
      left = x->block;
    }
    if (left > x->held || (left == 1 && !is_vector(b, a)))
      add_placed(b, a, x->held, x->place, x->spelled ? spelled_out(b, trips(left, x->held)) : LOOP_SERIAL, x->peel);
  }
}

/* As many of the leading loops in parallel as there is use for. */
static void hand_out(builder *b, schedule *out) {
  const schedule_space *s = b->space;
  int64_t iterations = 1, points = 1;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if ((s->used & AXIS(a)) && points < SMALL_KERNEL) points *= extent(s, a);
  for (uint32_t i = 0; i < b->n && points >= SMALL_KERNEL && iterations < MOST_CHUNKS; i++) {
    schedule_loop *l = &b->loops[i];
    if (!(s->shared & AXIS(l->axis)) || l->kind != LOOP_SERIAL) break;
    int64_t left = extent(s, l->axis);
    bool whole = true; /* no remainder of a tile is cut up again */
    for (uint32_t j = 0; j < i; j++)
      if (b->loops[j].axis == l->axis) whole = left % b->loops[j].step == 0, left = b->loops[j].step;
    if (!whole) break;
    l->kind = LOOP_PARALLEL;
    iterations *= trips(left, l->step);
  }
  out->chunks = iterations > MOST_CHUNKS ? MOST_CHUNKS : 0;
}

/* The sums, in the order of their places too. */
static void add_sums(builder *b) {
  const schedule_space *s = b->space;
  uint32_t order[MAX_AXES], n = 0;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    const axis_choice *x = &b->choice->axis[a];
    if (!is_inside(s, a) || is_vector(b, a) || x->stream == 1) continue;
    uint32_t at = n++;
    for (; at > 0 && b->choice->axis[order[at - 1]].block_place > x->block_place; at--) order[at] = order[at - 1];
    order[at] = a;
  }
  for (uint32_t i = 0; i < n; i++) {
    const axis_choice *x = &b->choice->axis[order[i]];
    int64_t left = x->stream ? least(x->stream, extent(s, order[i])) : extent(s, order[i]), by = least(x->unroll, left);
    bool peel = !x->stream && x->peel;
    if (by > 1 && left > by) add(b, order[i], by, LOOP_SERIAL, peel);
    add(b, order[i], 1, by > 1 ? spelled_out(b, by) : LOOP_SERIAL, peel && by == 1);
  }
}

static void add_registers(builder *b) {
  const schedule_space *s = b->space;
  int32_t v = b->choice->vector;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (b->choice->axis[a].held > 1 && !is_vector(b, a)) add(b, a, 1, LOOP_UNROLL, false);
  if (v < 0) return;
  int64_t left = least(b->choice->axis[v].held, extent(s, (uint32_t)v));
  if (is_inside(s, (uint32_t)v)) {
    left = extent(s, (uint32_t)v);
    if (left > b->choice->axis[v].held) add(b, (uint32_t)v, left = b->choice->axis[v].held, LOOP_SERIAL, false);
  }
  if (left > s->lanes) add(b, (uint32_t)v, s->lanes, LOOP_UNROLL, false);
  add(b, (uint32_t)v, 1, LOOP_VECTOR, false);
}

schedule schedule_of_choice(const schedule_space *s, const schedule_choice *c, arena *a) {
  uint32_t most = 4 * s->kernel->n_axes + 4;
  builder b = {s, c, ARENA_ARRAY(a, schedule_loop, most), ARENA_ARRAY(a, uint8_t, most), 0, 1};
  schedule out = {0};
  for (uint32_t i = 0; i < s->kernel->n_axes; i++)
    if (s->used & AXIS(i)) b.spelled_out *= is_vector(&b, i) ? trips(c->axis[i].held, s->lanes) : c->axis[i].held;
  add_around(&b);
  hand_out(&b, &out);
  add_sums(&b);
  add_registers(&b);
  out.loops = b.loops;
  out.n = b.n;
  return out;
}
