#include "tests/random_schedule.h"

/* What straight-line code a kernel may become. */
enum { MOST_UNROLLED = 64, MOST_CUTS = 2 };

typedef struct {
  random_source *random;
  const kernel *kernel;
  axis_set used, may_be_parallel;
  int64_t unrolled; /* points of all unrolled loops so far */
  bool has_vector;
  schedule_loop vector[2]; /* and what each lane takes, if it takes several */
} chooser;

static bool one_in(chooser *c, uint32_t n) { return random_below(c->random, n) == 0; }

static void look_at_stages(chooser *c) {
  const kernel *k = c->kernel;
  axis_set reduced = 0;
  c->may_be_parallel = ~(axis_set)0;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    c->used |= k->stages[i].free | k->stages[i].reduced;
    reduced |= k->stages[i].reduced;
    if (k->stages[i].output >= 0) c->may_be_parallel &= k->stages[i].free;
  }
  c->may_be_parallel &= ~reduced;
}

/* Of a loop that makes `trips` steps. */
static loop_kind serial_or_unrolled(chooser *c, int64_t trips, uint32_t one_of) {
  if (trips > MOST_UNROLLED / c->unrolled || !one_in(c, one_of)) return LOOP_SERIAL;
  c->unrolled *= trips;
  return LOOP_UNROLL;
}

/* The loops of one axis, outermost first; its innermost may become the vector loop, which stands behind all others. */
static uint32_t cut(chooser *c, uint32_t axis, schedule_loop *out) {
  uint32_t n = 0;
  int64_t step = c->kernel->axes[axis].extent;
  for (int depth = 0; depth < MOST_CUTS && step > 1 && !one_in(c, 3); depth++) {
    int64_t next = 1 + random_below(c->random, (uint32_t)(step - 1));
    if (next == 1) break;
    out[n++] = (schedule_loop){axis, next, serial_or_unrolled(c, (step + next - 1) / next, 4), false};
    step = next;
  }
  if (!c->has_vector && n && one_in(c, 2)) {
    c->has_vector = true;
    const int64_t several = step % 4 == 0 && step > 4 && one_in(c, 2) ? 4 : step % 2 == 0 && step > 2 && one_in(c, 2) ? 2 : 1;
    c->vector[0] = (schedule_loop){axis, several, LOOP_VECTOR, false};
    c->vector[1] = (schedule_loop){axis, 1, LOOP_UNROLL, false};
  } else {
    out[n++] = (schedule_loop){axis, 1, step == 2 && one_in(c, 2) ? LOOP_PAIR : serial_or_unrolled(c, step, 2), false};
  }
  for (uint32_t i = 0; i < n; i++) out[i].peel = out[i].kind == LOOP_SERIAL && one_in(c, 4);
  return n;
}

void schedule_at_random(kernel *k, random_source *r, arena *a) {
  chooser c = {.random = r, .kernel = k, .unrolled = 1};
  schedule_loop *chosen = ARENA_ARRAY(a, schedule_loop, (MOST_CUTS + 2) * k->n_axes + 2), *queue[MAX_AXES];
  uint32_t left[MAX_AXES] = {0}, n = 0, waiting = 0;
  look_at_stages(&c);
  for (uint32_t axis = 0; axis < k->n_axes; axis++) {
    queue[axis] = ARENA_ARRAY(a, schedule_loop, MOST_CUTS + 1);
    if (!(c.used >> axis & 1)) continue;
    left[axis] = cut(&c, axis, queue[axis]);
    if ((c.may_be_parallel >> axis & 1) && left[axis] && one_in(&c, 2)) {
      queue[axis][0].kind = LOOP_PARALLEL;
      chosen[n++] = *queue[axis]++;
      left[axis]--;
    }
    waiting += left[axis];
  }
  const bool is_parallel = n > 0;
  while (waiting) {
    uint32_t axis = random_below(r, k->n_axes);
    if (!left[axis]) continue;
    chosen[n++] = *queue[axis]++;
    left[axis]--;
    waiting--;
  }
  if (c.has_vector) chosen[n++] = c.vector[0];
  if (c.has_vector && c.vector[0].step > 1) chosen[n++] = c.vector[1];
  k->schedule = (schedule){chosen, n, is_parallel && one_in(&c, 3) ? 1 + random_below(r, 5) : 0};
}
