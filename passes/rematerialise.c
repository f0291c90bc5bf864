/* Values made again instead of kept (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"; by launches, greedily, as Kirisame
 * et al. 2021, "Dynamic Tensor Rematerialization"): until what is in use at once is within the limit that a run asks for, and without a limit
 * as long as that takes next to no time, by maps alone, as relu of a norm from what the convolution made. At the peak some values only wait:
 * the cheapest of them for its bytes and its wait is made a second time in front of its next use, by the same kernel, so that the bits stay.
 * What a repetition reads must be there anyway or be small beside what it makes; a repetition may be what another value waits for, so that
 * whole chains are made again. What nobody reads before is made later, not again. A copy in another layout that waits can be made late, and
 * compute what it copies. */
#include "passes/passes.h"

#include <math.h>

#include "ir/expr.h"
#include "ir/work.h"
#include "passes/compute_in_copy.h"

/* A machine's products in the time of one byte, of an elementwise operation, of one that is expanded; repetitions, by launches at first; what
 * of a value its inputs may be to be kept for it; what of the peak a value is at least, and of the step's work all repetitions at most,
 * without a limit. */
enum { FLOPS_A_BYTE = 10, FLOPS_AN_OPERATION = 2, FLOPS_A_FUNCTION = 20, MOST_REPETITIONS = 8, SMALL = 64, WORTH = 256, NEARLY_FREE = 64 };

typedef struct {
  const kernel *kernel;
  double cost;
} kernel_cost;

typedef struct {
  plan *plan;
  arena *arena;
  const target *target;
  kernel_cost *costs;
  uint32_t n_costs, costs_capacity;
  double work; /* of a step, where maps alone are repeated */
  bool maps_only;
} repetition;

static double operations_of(const expr *e, bool *seen) {
  if (seen[e->id]) return 0;
  seen[e->id] = true;
  double n = e->kind != EXPR_APPLY ? 0 : !strcmp(op_table[e->op].lowering, "native") ? FLOPS_AN_OPERATION : FLOPS_A_FUNCTION;
  for (uint32_t i = 0; i < e->n_args; i++) n += operations_of(e->args[i], seen);
  return n;
}

static double work_of(const kernel *k, arena *scratch) {
  const kernel_work w = kernel_work_of(k);
  double all = w.flops + FLOPS_A_BYTE * w.bytes + 1;
  bool *seen = ARENA_ARRAY(scratch, bool, k->exprs->count + 1);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    double points = operations_of(k->stages[i].body, seen);
    for (uint32_t a = 0; a < k->n_axes; a++)
      if ((k->stages[i].free | k->stages[i].reduced) >> a & 1) points *= (double)k->axes[a].extent;
    contraction_form f;
    if (!stage_contraction(k, i, &f)) all += points;
  }
  return all;
}

static double cost_of(repetition *r, const kernel *k) {
  for (uint32_t i = 0; i < r->n_costs; i++)
    if (r->costs[i].kernel == k) return r->costs[i].cost;
  *ARENA_PUSH(r->arena, r->costs, r->n_costs, r->costs_capacity) = (kernel_cost){k, work_of(k, r->arena)};
  return r->costs[r->n_costs - 1].cost;
}

static double cost_of_plan(repetition *r, const plan *p) {
  double all = 0;
  for (uint32_t l = 0; l < p->n_launches; l++) {
    const plan_repeat *loop = p->launches[l].repeat;
    all += loop ? (double)loop->times * cost_of_plan(r, loop->plan) : cost_of(r, p->launches[l].kernel);
  }
  return all;
}

static bool is_map(const kernel *k) {
  bool map = true;
  for (uint32_t i = 0; i < k->n_stages; i++) map &= k->stages[i].monoid == MONOID_NONE;
  return map;
}

static bool uses(const plan_launch *l, uint32_t buffer) {
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++)
    if (l->buffers[b] == buffer) return true;
  return false;
}

/* The launch in front of which a state is no longer what it was. */
static uint32_t overwritten_at(const plan *p, const plan_buffer *state) {
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    if (b->storage == STORAGE_RESULT && !strcmp(b->role, "state") && !strcmp(b->name, state->name)) return b->first;
  }
  return p->n_launches;
}

static bool is_there(const plan *p, uint32_t buffer, uint32_t at) {
  const plan_buffer *b = &p->buffers[buffer];
  return b->storage == STORAGE_STATE ? overwritten_at(p, b) >= at : b->storage != STORAGE_TEMPORARY || b->last >= at;
}

/* For a value of so many bytes. */
static bool can_repeat(const plan *p, const plan_launch *l, uint32_t at, int64_t bytes) {
  if (l->repeat) return false;
  for (uint32_t i = 0; i < l->kernel->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[l->buffers[i]];
    const bool written = l->kernel->buffers[i].access == ACCESS_OUT;
    if (written ? b->storage != STORAGE_TEMPORARY : !is_there(p, l->buffers[i], at) && (b->storage == STORAGE_STATE || SMALL * b->bytes > bytes)) return false;
  }
  return true;
}

/* The latest launch, up to `use`, at which all is there that another reads. */
static uint32_t as_late_as(const plan *p, const plan_launch *l, uint32_t use) {
  for (uint32_t i = 0; i < l->kernel->n_buffers; i++)
    while (l->kernel->buffers[i].access == ACCESS_IN && !is_there(p, l->buffers[i], use)) use--;
  return use;
}

/* Whether nobody reads what a launch makes before another one: then that one needs it later, not twice. */
static bool only_waits(const plan *p, const plan_launch *l, uint32_t first, uint32_t use) {
  for (uint32_t o = 0; o < l->kernel->n_buffers; o++)
    for (uint32_t i = first + 1; l->kernel->buffers[o].access == ACCESS_OUT && i < use; i++)
      if (uses(&p->launches[i], l->buffers[o])) return false;
  return true;
}

/* A value that waits at a launch: which, for which launch, and what making it again is worth; by a map of its own where that has a kernel:
 * instead of the copy that made it, or beside the product that did. */
typedef struct {
  uint32_t buffer, use;
  double score, cost;
  plan_launch copy;
} candidate;

/* The map that makes a buffer again, from what its maker wrote beside it. */
static bool map_of(const plan *p, uint32_t buffer, uint32_t at, plan_launch *out) {
  const plan_buffer *b = &p->buffers[buffer];
  const plan_launch again = {.kernel = copy_kernel(p->arena, &b->type, b->where), .buffers = (uint32_t[]){buffer, p->n_buffers}};
  for (uint32_t i = 0; i < 2; i++) again.kernel->buffers[i].layout = b->layout;
  return compute_in_copy(p, &again, at, is_there, out);
}

static void offer(candidate *best, candidate one, double bytes_waiting) {
  one.score = bytes_waiting / one.cost;
  if (one.score > best->score) *best = one;
}

static candidate best_at(repetition *r, uint32_t peak, int64_t least) {
  const plan *p = r->plan;
  candidate best = {.score = 0};
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    if (b->bytes < least || b->storage != STORAGE_TEMPORARY || b->is_splat || b->literal || b->first >= peak || b->last <= peak || uses(&p->launches[peak], i)) continue;
    uint32_t before = peak, use = peak;
    while (!uses(&p->launches[before], i)) before--;
    while (!uses(&p->launches[use], i)) use++;
    const plan_launch *maker = &p->launches[b->first];
    candidate one = {.buffer = i, .use = use};
    if ((!r->maps_only || is_map(maker->kernel)) && can_repeat(p, maker, use, b->bytes)) {
      one.cost = only_waits(p, maker, b->first, use) ? 1 : cost_of(r, maker->kernel);
      offer(&best, one, (double)b->bytes * (use - before));
    }
    const bool copied = kernel_is_copy(maker->kernel), again = !r->maps_only && !maker->repeat && !is_map(maker->kernel);
    if (before == b->first && (copied ? compute_in_copy(p, maker, peak + 1, is_there, &one.copy) : again && map_of(p, i, peak + 1, &one.copy))) {
      one.use = as_late_as(p, &one.copy, use);
      one.cost = fmax(cost_of(r, one.copy.kernel) - (copied ? cost_of(r, maker->kernel) : 0), 1);
      offer(&best, one, (double)b->bytes * (one.use - before));
    }
  }
  return best;
}

/* A launch more in front of `use`. */
static void insert(plan *p, uint32_t use, const plan_launch *l) {
  ARENA_PUSH(p->arena, p->launches, p->n_launches, p->launches_capacity);
  memmove(p->launches + use + 1, p->launches + use, (p->n_launches - 1 - use) * sizeof *l);
  p->launches[use] = *l;
  plan_note_lives(p);
}

/* A launch in place of one that comes earlier, just in front of `use`. */
static void move_to(plan *p, uint32_t first, uint32_t use, plan_launch l) {
  memmove(p->launches + first, p->launches + first + 1, (use - 1 - first) * sizeof l);
  p->launches[use - 1] = l;
  plan_note_lives(p);
}

/* Who reads a buffer from `use` on reads one like it, which is new. */
static uint32_t replace(plan *p, uint32_t old, uint32_t use) {
  const uint32_t made = plan_add_buffer(p, p->buffers[old]);
  for (uint32_t l = use; l < p->n_launches; l++)
    for (uint32_t b = 0; b < p->launches[l].kernel->n_buffers; b++)
      if (p->launches[l].buffers[b] == old) p->launches[l].buffers[b] = made;
  return made;
}

/* The maker once more in front of `use`, or there instead; who reads its outputs from there on reads the new ones. */
static void repeat_maker(repetition *r, uint32_t buffer, uint32_t use) {
  plan *p = r->plan;
  const uint32_t first = p->buffers[buffer].first;
  plan_launch again = p->launches[first];
  if (only_waits(p, &again, first, use)) {
    move_to(p, first, use, again);
    return;
  }
  again.buffers = arena_copy(p->arena, again.buffers, again.kernel->n_buffers * sizeof *again.buffers);
  for (uint32_t o = 0; o < again.kernel->n_buffers; o++)
    if (again.kernel->buffers[o].access == ACCESS_OUT) again.buffers[o] = replace(p, again.buffers[o], use);
  insert(p, use, &again);
}

/* What is in use at once, at most, and the launch at which it is so. */
static int64_t peak_of(const plan *p, uint32_t *launch, arena *scratch) {
  const int64_t *live = plan_live(p, scratch);
  *launch = 0;
  for (uint32_t l = 1; l <= p->n_launches; l++)
    if (live[l] > live[*launch]) *launch = l;
  return live[*launch];
}

static plan copy_of(const plan *p) {
  plan kept = *p;
  kept.buffers = arena_copy(p->arena, p->buffers, p->n_buffers * sizeof *p->buffers);
  kept.launches = arena_copy(p->arena, p->launches, p->n_launches * sizeof *p->launches);
  for (uint32_t l = 0; l < p->n_launches; l++)
    kept.launches[l].buffers = arena_copy(p->arena, p->launches[l].buffers, p->launches[l].kernel->n_buffers * sizeof *p->launches[l].buffers);
  kept.buffers_capacity = p->n_buffers;
  kept.launches_capacity = p->n_launches;
  return kept;
}

/* The copy goes to where it is read; what a product wrote is made there again. */
static void compute_late(repetition *r, const candidate *c) {
  plan *p = r->plan;
  const uint32_t first = p->buffers[c->buffer].first;
  schedule_kernel((kernel *)(uintptr_t)c->copy.kernel, r->target);
  if (kernel_is_copy(p->launches[first].kernel)) {
    move_to(p, first, c->use, c->copy);
  } else {
    replace(p, c->buffer, c->use);
    insert(p, c->use, &c->copy);
  }
}

/* At most so many repetitions, of values of `worth` bytes; returns how many brought what is in use to its least, of so many. */
static uint32_t repeat_makers(repetition *r, uint32_t most, int64_t enough, int64_t worth, uint32_t *made) {
  plan *p = r->plan;
  double left = r->maps_only ? r->work / NEARLY_FREE : INFINITY;
  uint32_t peak, useful = 0;
  int64_t live = peak_of(p, &peak, r->arena), least = live;
  *made = 0;
  for (uint32_t n = 1; n <= most && live > enough && peak < p->n_launches; n++) {
    const candidate best = best_at(r, peak, worth);
    if (best.score <= 0 || best.cost > left) break;
    left -= best.cost;
    if (best.copy.kernel) compute_late(r, &best);
    else repeat_maker(r, best.buffer, best.use);
    *made = n;
    live = peak_of(p, &peak, r->arena);
    if (live < least) least = live, useful = n;
  }
  return useful;
}

/* Twice: the second time without those that lowered nothing any more. */
bool pass_rematerialise(plan *p, pass_context *c) {
  repetition r = {.plan = p, .arena = c->arena, .target = c->target, .maps_only = !c->most_live_bytes};
  plan_note_lives(p);
  r.work = r.maps_only ? cost_of_plan(&r, p) : 0;
  const plan given = copy_of(p);
  const int64_t worth = r.maps_only ? plan_live_bytes(p, c->arena) / WORTH : 0;
  uint32_t made;
  const uint32_t useful = repeat_makers(&r, MOST_REPETITIONS * p->n_launches, c->most_live_bytes, worth, &made);
  if (made == useful) return true;
  *p = given;
  repeat_makers(&r, useful, c->most_live_bytes, worth, &made);
  return true;
}
