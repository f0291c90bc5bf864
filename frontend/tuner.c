#include "frontend/tuner.h"

#include <math.h>
#include <stdlib.h>

#include "passes/schedule_space.h"

enum {
  PARENTS = 8,       /* the fastest so far, of which the next ones are varied */
  FINALISTS = 4,     /* are measured again at the end, in turn with the default */
  ROUNDS = 5,
  FEWEST_PIECES = 8, /* for the threads, unless the default has fewer */
  MOST_DRAWS = 50    /* in vain, for each schedule that is wanted: small kernels have small spaces */
};

typedef struct {
  schedule_choice choice;
  schedule loops;
  bool is_default;
  double seconds;
} candidate;

typedef struct {
  kernel *kernel;
  const target *target;
  const tuner *how;
  arena *arena;
  schedule_space space;
  candidate *items; /* that ran, the fastest first */
  uint32_t n, capacity;
  const char **seen; /* texts of schedules */
  uint32_t n_seen, seen_capacity, proposed, failed;
  uint64_t random;
  double end;
  int64_t pieces; /* that a schedule must have at least */
} search;

static int64_t pieces_of(const kernel *k, const schedule *s) {
  int64_t left[MAX_AXES], n = 1;
  for (uint32_t a = 0; a < k->n_axes; a++) left[a] = k->axes[a].extent;
  for (uint32_t i = 0; i < s->n && s->loops[i].kind == LOOP_PARALLEL; i++) {
    const schedule_loop *l = &s->loops[i];
    n *= (left[l->axis] + l->step - 1) / l->step;
    left[l->axis] = l->step;
  }
  return n;
}

static bool is_new(search *s, const char *text) {
  for (uint32_t i = 0; i < s->n_seen; i++)
    if (!strcmp(s->seen[i], text)) return false;
  *ARENA_PUSH(s->arena, s->seen, s->n_seen, s->seen_capacity) = text;
  return true;
}

static double measure(search *s, const schedule *loops, double enough) {
  schedule given = s->kernel->schedule;
  s->kernel->schedule = *loops;
  double seconds = s->how->measure(s->how->context, s->kernel, enough);
  s->kernel->schedule = given;
  return seconds;
}

static bool is_sound(search *s, const schedule *loops) {
  schedule given = s->kernel->schedule;
  s->kernel->schedule = *loops;
  bool sound = !kernel_verify(s->kernel, s->arena);
  s->kernel->schedule = given;
  return sound;
}

/* Keeps the candidates in order. */
static void insert(search *s, candidate c) {
  ARENA_PUSH(s->arena, s->items, s->n, s->capacity);
  uint32_t at = s->n - 1;
  for (; at > 0 && s->items[at - 1].seconds > c.seconds; at--) s->items[at] = s->items[at - 1];
  s->items[at] = c;
}

static void attempt(search *s, candidate c) {
  c.seconds = measure(s, &c.loops, s->n ? 1.3 * s->items[0].seconds : INFINITY);
  if (isnan(c.seconds)) s->failed++;
  else insert(s, c);
}

/* Three are drawn at random, then five are varied of the fastest, and so on. */
static schedule_choice next_choice(search *s) {
  if (s->proposed++ % 8 < 3) return schedule_draw(&s->space, &s->random);
  return schedule_vary(&s->space, &s->items[(s->random >> 40) % (s->n < PARENTS ? s->n : PARENTS)].choice, &s->random);
}

static void explore(search *s) {
  uint32_t vain = 0;
  while (s->n < s->how->schedules && vain < MOST_DRAWS * s->how->schedules && s->how->clock(s->how->context) < s->end) {
    candidate c = {.choice = next_choice(s)};
    c.loops = schedule_of_choice(&s->space, &c.choice, s->arena);
    uint32_t before = s->n;
    if (pieces_of(s->kernel, &c.loops) >= s->pieces && is_new(s, schedule_text(s->kernel, &c.loops, s->arena)) && is_sound(s, &c.loops)) attempt(s, c);
    vain += s->n == before;
  }
}

static int by_seconds(const void *x, const void *y) {
  double a = ((const candidate *)x)->seconds, b = ((const candidate *)y)->seconds;
  return (a > b) - (a < b);
}

static double median(double *x, uint32_t n) {
  for (uint32_t i = 1; i < n; i++)
    for (uint32_t j = i; j > 0 && x[j - 1] > x[j]; j--) {
      double swap = x[j];
      x[j] = x[j - 1];
      x[j - 1] = swap;
    }
  return x[n / 2];
}

/* What a machine does beside changes measurements: the fastest and the default once more, in turn. */
static void decide(search *s, tuning *out) {
  double times[FINALISTS + 1][ROUNDS];
  candidate finalists[FINALISTS + 1];
  uint32_t n = 0;
  for (uint32_t i = 0; i < s->n; i++)
    if (i < FINALISTS || s->items[i].is_default) finalists[n++] = s->items[i];
  for (uint32_t r = 0; r < ROUNDS; r++)
    for (uint32_t i = 0; i < n; i++) times[i][r] = measure(s, &finalists[i].loops, INFINITY);
  for (uint32_t i = 0; i < n; i++) {
    finalists[i].seconds = median(times[i], ROUNDS);
    if (finalists[i].is_default) out->default_seconds = finalists[i].seconds;
  }
  qsort(finalists, n, sizeof *finalists, by_seconds);
  out->best = finalists[0].loops;
  out->best_seconds = finalists[0].seconds;
}

bool tune_kernel(kernel *k, const target *t, const tuner *how, arena *a, tuning *out) {
  search s = {.kernel = k, .target = t, .how = how, .arena = a, .random = how->seed, .end = how->clock(how->context) + how->budget};
  s.space = schedule_space_of(k, t, a);
  int64_t given = pieces_of(k, &k->schedule);
  s.pieces = given < FEWEST_PIECES ? given : FEWEST_PIECES;
  is_new(&s, schedule_text(k, &k->schedule, a));
  attempt(&s, (candidate){.choice = s.space.given, .loops = k->schedule, .is_default = true});
  *out = (tuning){0};
  if (!s.n) return false;
  explore(&s);
  *out = (tuning){.tried = s.n, .failed = s.failed, .median_seconds = s.items[s.n / 2].seconds, .worst_seconds = s.items[s.n - 1].seconds};
  decide(&s, out);
  return true;
}
