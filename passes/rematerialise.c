/* Values made again instead of kept, until what is in use at once is within the limit that a run asks for (Chen et al. 2016,
 * "Training Deep Nets with Sublinear Memory Cost"; by launches, greedily, as Kirisame et al. 2021, "Dynamic Tensor
 * Rematerialization"). At the peak some values only wait: the cheapest of them for its bytes and its wait is made a second time in
 * front of its next use, by the same kernel, so that the bits stay. What a repetition reads must be there anyway, so that it
 * lengthens no life; a repetition may be what another value waits for, so that whole chains are made again. */
#include "passes/passes.h"

#include "ir/work.h"

enum { FLOPS_A_BYTE = 10, MOST_REPETITIONS = 8 }; /* a machine's products in the time of one byte; repetitions, by launches at first */

typedef struct {
  const kernel *kernel;
  double cost;
} kernel_cost;

typedef struct {
  plan *plan;
  arena *arena;
  kernel_cost *costs;
  uint32_t n_costs, costs_capacity;
} repetition;

static double cost_of(repetition *r, const kernel *k) {
  for (uint32_t i = 0; i < r->n_costs; i++)
    if (r->costs[i].kernel == k) return r->costs[i].cost;
  kernel_work w = kernel_work_of(k);
  *ARENA_PUSH(r->arena, r->costs, r->n_costs, r->costs_capacity) = (kernel_cost){k, w.flops + FLOPS_A_BYTE * w.bytes + 1};
  return r->costs[r->n_costs - 1].cost;
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

static bool can_repeat(const plan *p, const plan_launch *l, uint32_t at) {
  if (l->repeat) return false;
  for (uint32_t i = 0; i < l->kernel->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[l->buffers[i]];
    if (l->kernel->buffers[i].access == ACCESS_OUT ? b->storage != STORAGE_TEMPORARY
        : b->storage == STORAGE_STATE              ? overwritten_at(p, b) < at
                                                   : b->storage == STORAGE_TEMPORARY && b->last < at)
      return false;
  }
  return true;
}

/* A value that waits at a launch: which, for which launch, and what making it again is worth. */
typedef struct {
  uint32_t buffer, use;
  double score;
} candidate;

static candidate best_at(repetition *r, uint32_t peak) {
  const plan *p = r->plan;
  candidate best = {.score = 0};
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    if (b->storage != STORAGE_TEMPORARY || b->is_splat || b->literal || b->first >= peak || b->last <= peak || uses(&p->launches[peak], i)) continue;
    uint32_t before = peak, use = peak;
    while (!uses(&p->launches[before], i)) before--;
    while (!uses(&p->launches[use], i)) use++;
    const plan_launch *maker = &p->launches[b->first];
    if (!can_repeat(p, maker, use)) continue;
    double score = (double)b->bytes * (use - before) / cost_of(r, maker->kernel);
    if (score > best.score) best = (candidate){i, use, score};
  }
  return best;
}

/* The maker once more in front of `use`; who reads its outputs from there on reads the new ones. */
static void repeat_maker(repetition *r, uint32_t buffer, uint32_t use) {
  plan *p = r->plan;
  plan_launch again = p->launches[p->buffers[buffer].first];
  again.buffers = arena_copy(p->arena, again.buffers, again.kernel->n_buffers * sizeof *again.buffers);
  for (uint32_t o = 0; o < again.kernel->n_buffers; o++) {
    if (again.kernel->buffers[o].access != ACCESS_OUT) continue;
    const uint32_t old = again.buffers[o], made = plan_add_buffer(p, p->buffers[old]);
    again.buffers[o] = made;
    for (uint32_t l = use; l < p->n_launches; l++)
      for (uint32_t b = 0; b < p->launches[l].kernel->n_buffers; b++)
        if (p->launches[l].buffers[b] == old) p->launches[l].buffers[b] = made;
  }
  ARENA_PUSH(p->arena, p->launches, p->n_launches, p->launches_capacity);
  memmove(p->launches + use + 1, p->launches + use, (p->n_launches - 1 - use) * sizeof again);
  p->launches[use] = again;
  plan_note_lives(p);
}

/* What is in use at once, at most, and the launch at which it is so. */
static int64_t peak_of(const plan *p, uint32_t *launch, arena *scratch) {
  const int64_t *live = plan_live(p, scratch);
  *launch = 0;
  for (uint32_t l = 1; l <= p->n_launches; l++)
    if (live[l] > live[*launch]) *launch = l;
  return live[*launch];
}

bool pass_rematerialise(plan *p, pass_context *c) {
  if (!c->most_live_bytes) return true;
  repetition r = {.plan = p, .arena = c->arena};
  plan_note_lives(p);
  for (uint32_t left = MOST_REPETITIONS * p->n_launches, peak; left > 0 && peak_of(p, &peak, c->arena) > c->most_live_bytes; left--) {
    candidate best = peak < p->n_launches ? best_at(&r, peak) : (candidate){.score = 0};
    if (best.score <= 0) break;
    repeat_maker(&r, best.buffer, best.use);
  }
  return true;
}
