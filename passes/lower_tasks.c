/* The order in which stages run in the loops, and the loops themselves. */
#include "passes/lower.h"

static const stage *stage_of(const lowering *l, const task *t) { return &l->kernel->stages[t->stage]; }

bool reduces(const stage *s) { return s->monoid != MONOID_NONE; }

/* -- which stages read which ------------------------------------------------------------------------------ */

/* Marks stages whose values the expression needs, through maps that are computed in place. */
static void mark_reads(const lowering *l, const expr *e, bool *marks) {
  if (e->kind == EXPR_STAGE && !marks[e->number]) {
    const stage *s = &l->kernel->stages[e->number];
    marks[e->number] = true;
    if (!reduces(s)) mark_reads(l, s->body, marks);
  }
  for (uint32_t i = 0; i < e->n_args; i++) mark_reads(l, e->args[i], marks);
  for (uint32_t i = 0; i < e->n_conditions; i++) mark_reads(l, e->conditions[i].subject, marks);
}

const bool *reads_of(lowering *l, uint32_t number) {
  stage_state *state = &l->stages[number];
  if (!state->reads) {
    state->reads = ARENA_ARRAY(l->arena, bool, l->kernel->n_stages);
    mark_reads(l, l->kernel->stages[number].body, state->reads);
  }
  return state->reads;
}

/* -- order ------------------------------------------------------------------------------------------------ */

/* Whether `t` may join the tasks chosen for a loop over `axis`, while those that are neither chosen nor
 * done come later: nothing it reads may be among the latter, or be a reduction over the axis. */
static bool may_join(lowering *l, const task_list *pending, const bool *chosen, uint32_t candidate, uint32_t axis) {
  const task *t = &pending->items[candidate];
  if (t->action != TASK_EVALUATE) return true;
  const bool *reads = reads_of(l, t->stage);
  for (uint32_t i = 0; i < candidate; i++) {
    const task *other = &pending->items[i];
    if (!reads[other->stage] || other->stage == t->stage) continue;
    const stage *s = stage_of(l, other);
    if (!chosen[i] || (axis < MAX_AXES && reduces(s) && (s->reduced >> axis & 1))) return false;
    if (l->stages[other->stage].is_packed && axis < MAX_AXES && (stage_of(l, t)->reduced >> axis & 1)) return false; /* packed as a whole, long before it is read */
  }
  return true;
}

/* How a task takes part in a loop: tasks share it that take part in the same way. */
typedef enum { LEFT_OUT, IN_TURN, IN_LANES } participation;

static participation takes_part(const lowering *l, const task *t, uint32_t at) {
  if (!(t->axes >> l->schedule[at].axis & 1)) return LEFT_OUT;
  return l->stages[t->stage].vector_loop == (int32_t)at ? IN_LANES : IN_TURN;
}

/* Whether a loop over the mask's lower index stops where all points of a task are masked. */
static bool stops_at_mask(const lowering *l, const task *t, uint32_t at) {
  return l->has_mask && l->schedule[at].axis == l->mask.low && l->schedule[at].kind == LOOP_SERIAL && is_masked(&l->mask, t->axes) && !l->axis[l->mask.high].at.lane;
}

/* Whether all loops over the mask's lower index go through it in even steps. An odd end is lowered outside of its loop, whichever points are masked:
 * who walks the two axes in another order would then read what was never computed. */
static bool walks_evenly(const lowering *l) {
  bool even = true;
  for (uint32_t i = 0; i < l->n_loops; i++)
    if (l->schedule[i].axis == l->mask.low) even &= reach_of_loop(l, i) % l->schedule[i].step == 0 && !l->schedule[i].peel;
  return even;
}

/* Whether a loop over the mask's higher index begins there. */
static bool starts_at_mask(const lowering *l, const task *t, uint32_t at) {
  return l->has_mask && l->schedule[at].axis == l->mask.high && l->schedule[at].kind == LOOP_SERIAL && is_masked(&l->mask, t->axes) && !l->axis[l->mask.low].at.lane && walks_evenly(l);
}

/* Whether a task takes in products over the axis of a loop. */
static bool multiplies(const lowering *l, const task *t, uint32_t at) {
  return t->action == TASK_EVALUATE && stage_of(l, t)->reduced >> l->schedule[at].axis & 1 && stage_is_product(l->kernel, t->stage);
}

/* A sum with what another product has made in this kernel, which is in memory where the sum runs alone: then loops over its results stand better outside of
 * those over its terms, and what is summed stays in registers. The next loop, if it is of the former and the one here of the latter; else -1. */
static int32_t loop_over_results(lowering *l, const task *t, uint32_t at) {
  const schedule_loop *loop = &l->schedule[at];
  const stage_state *state = &l->stages[t->stage];
  if (loop->kind != LOOP_SERIAL || !multiplies(l, t, at) || state->in_registers || state->in_memory || state->in_tiles) return -1;
  const bool *reads = reads_of(l, t->stage);
  bool of_product = false;
  for (uint32_t i = 0; i < t->stage; i++) of_product |= reads[i] && stage_is_product(l->kernel, i);
  for (uint32_t i = at + 1; of_product && i < l->n_loops; i++) {
    const schedule_loop *next = &l->schedule[i];
    if (!(t->axes >> next->axis & 1)) continue;
    const bool hidden = l->has_mask && loop->axis == l->mask.high && next->axis == l->mask.low && !walks_evenly(l);
    return next->kind == LOOP_SERIAL && stage_of(l, t)->free >> next->axis & 1 && !hidden ? (int32_t)i : -1;
  }
  return -1;
}

/* Two products side by side in straight-line code want twice the accumulators, of which registers have room for one tile's. */
static bool crowds(lowering *l, const task *t, const task *other, uint32_t at) {
  if (t->stage == other->stage || !multiplies(l, t, at) || !multiplies(l, other, at)) return false;
  return l->schedule[at].kind == LOOP_UNROLL || (loop_over_results(l, t, at) >= 0 && loop_over_results(l, other, at) >= 0);
}

/* The first task and all later ones that can run with it. */
static task_list next_run(lowering *l, task_list *pending, uint32_t at) {
  participation how = takes_part(l, &pending->items[0], at);
  uint32_t axis = how == LEFT_OUT ? MAX_AXES : l->schedule[at].axis;
  const bool stops = stops_at_mask(l, &pending->items[0], at);
  bool *chosen = ARENA_ARRAY(l->arena, bool, pending->n);
  task_list run = {ARENA_ARRAY(l->arena, task, pending->n), 0}, rest = {pending->items, 0};
  for (uint32_t i = 0; i < pending->n; i++)
    chosen[i] = takes_part(l, &pending->items[i], at) == how && stops_at_mask(l, &pending->items[i], at) == stops && !crowds(l, &pending->items[0], &pending->items[i], at) && may_join(l, pending, chosen, i, axis);
  for (uint32_t i = 0; i < pending->n; i++) {
    if (chosen[i]) run.items[run.n++] = pending->items[i];
    else rest.items[rest.n++] = pending->items[i];
  }
  *pending = rest;
  return run;
}

/* Whether a stage's loops from `at` on over the axes are all in straight-line code, and into how many points. */
static bool unrolls(const lowering *l, uint32_t number, axis_set axes, uint32_t at, int64_t *points) {
  int64_t left[MAX_AXES];
  *points = 1;
  for (uint32_t i = 0; i < l->kernel->n_axes; i++) left[i] = l->axis[i].left;
  for (uint32_t i = at; i < l->n_loops; i++) {
    const schedule_loop *loop = &l->schedule[i];
    if (!(axes >> loop->axis & 1)) continue;
    if (loop->kind == LOOP_SERIAL && left[loop->axis] > loop->step) return false;
    if (l->stages[number].vector_loop != (int32_t)i) *points *= (left[loop->axis] + loop->step - 1) / loop->step;
    left[loop->axis] = loop->step < left[loop->axis] ? loop->step : left[loop->axis];
  }
  return true;
}

/* -- values kept between loops ---------------------------------------------------------------------------- */

enum { MAX_KEPT_ELEMENTS = 1 << 14 };

static bool is_costly(const lowering *l, const expr *e) {
  if (e->kind == EXPR_APPLY && !strcmp(op_table[e->op].lowering, "math")) return true;
  if (e->kind == EXPR_STAGE && !reduces(&l->kernel->stages[e->number]))
    return is_costly(l, l->kernel->stages[e->number].body);
  for (uint32_t i = 0; i < e->n_args; i++)
    if (is_costly(l, e->args[i])) return true;
  return false;
}

static int64_t elements_left(const lowering *l, axis_set axes) {
  int64_t n = 1;
  for (uint32_t i = 0; i < l->kernel->n_axes; i++)
    if ((axes >> i & 1) && n <= MAX_KEPT_ELEMENTS) n *= l->axis[i].left;
  return n;
}

/* Of a stage whose value stays in memory while the runs of one list are lowered. */
typedef struct {
  int32_t complete_after; /* so many runs; 0: not kept */
  bool is_owner;          /* its home was made here */
} kept;

static bool run_reads(lowering *l, const task_list *run, uint32_t number) {
  for (uint32_t i = 0; i < run->n; i++)
    if (run->items[i].action == TASK_EVALUATE &&
        (run->items[i].stage == number || reads_of(l, run->items[i].stage)[number]))
      return true;
  return false;
}

/* The first run that computes or reads a stage, or -1 when fewer than two do. */
static int32_t first_of_two_runs(lowering *l, uint32_t number, const task_list *runs, uint32_t n_runs) {
  int32_t first = -1;
  for (uint32_t r = 0; r < n_runs; r++) {
    if (!run_reads(l, &runs[r], number)) continue;
    if (first >= 0) return first;
    first = (int32_t)r;
  }
  return -1;
}

static void insert_before_readers(lowering *l, task_list *run, uint32_t map) {
  task_list wider = {ARENA_ARRAY(l->arena, task, run->n + 1), 0};
  bool inserted = false;
  for (uint32_t i = 0; i < run->n; i++) {
    const task *t = &run->items[i];
    if (!inserted && t->action == TASK_EVALUATE && (t->stage == map || reads_of(l, t->stage)[map])) {
      wider.items[wider.n++] = (task){map, TASK_EVALUATE, l->kernel->stages[map].free};
      inserted = true;
    }
    if (t->stage != map) wider.items[wider.n++] = *t;
  }
  *run = wider;
}

/* Values that loops of their own compute here and later loops read are kept in memory: of reductions
 * whenever a register would not outlive its loop, of maps when they are costly and the row is short. */
static void keep_values(lowering *l, task_list *runs, uint32_t n_runs, uint32_t at, kept *keeps) {
  const kernel *k = l->kernel;
  for (uint32_t i = k->n_stages; i-- > 0;) {
    const stage *s = &k->stages[i];
    int64_t points;
    int32_t first = first_of_two_runs(l, i, runs, n_runs);
    bool is_map = !reduces(s);
    if (first < 0) continue;
    if (l->stages[i].is_kept) {
      keeps[i] = (kept){.complete_after = first + 1};
      continue;
    }
    bool computed = false;
    for (uint32_t t = 0; t < runs[first].n; t++) computed = computed || runs[first].items[t].stage == i;
    const bool is_packed = l->stages[i].is_packed && computed;
    if (is_map && !is_packed && (!(s->free >> l->schedule[at].axis & 1) || !is_costly(l, s->body) || elements_left(l, s->free) > MAX_KEPT_ELEMENTS)) continue;
    if (!is_map && (!computed || unrolls(l, i, s->free, at, &points))) continue;
    make_home(l, i, 0, is_map ? s->type : accumulator_type(k, s, 0));
    if (is_map && !is_packed) insert_before_readers(l, &runs[first], i);
    l->stages[i].is_kept = true;
    keeps[i] = (kept){first + 1, true};
  }
}

/* -- accumulators ----------------------------------------------------------------------------------------- */

int64_t reach_of_loop(const lowering *l, uint32_t loop) {
  for (uint32_t i = loop; i-- > 0;)
    if (l->schedule[i].axis == l->schedule[loop].axis) return l->schedule[i].step;
  return l->kernel->axes[l->schedule[loop].axis].extent;
}

int64_t lanes_of_loop(const lowering *l, uint32_t loop) { return reach_of_loop(l, loop) / l->schedule[loop].step; }

/* A chain of dependent additions waits for each; with few elements, several accumulators take turns
 * over an unrolled loop of the reduced axis that runs in lanes. */
static void choose_slots(lowering *l, uint32_t number, uint32_t at, int64_t points) {
  const stage *s = &l->kernel->stages[number];
  stage_state *state = &l->stages[number];
  state->slots = 1;
  for (uint32_t i = at; i < l->n_loops && points < 4 && s->monoid != MONOID_ARGMAX; i++) {
    const schedule_loop *loop = &l->schedule[i];
    if (!(s->reduced >> loop->axis & 1) || loop->kind != LOOP_UNROLL) continue;
    int64_t trips = reach_of_loop(l, i) / loop->step;
    state->slot_axis = loop->axis;
    state->slot_step = loop->step;
    state->slots = trips >= MAX_SLOTS ? MAX_SLOTS : trips < 1 ? 1 : (uint32_t)trips;
  }
}

static void open_registers(lowering *l, uint32_t number, uint32_t at, int64_t points) {
  const stage *s = &l->kernel->stages[number];
  stage_state *state = &l->stages[number];
  choose_slots(l, number, at, points);
  state->lanes = 1;
  state->in_tiles = find_tile_loop(l, number, at) >= 0;
  state->n_tiles = 0;
  state->needs_home |= state->in_tiles && state->uses;
  if (state->vector_loop >= 0 && (s->reduced >> l->schedule[state->vector_loop].axis & 1))
    state->lanes = (uint32_t)lanes_of_loop(l, (uint32_t)state->vector_loop);
  if (state->needs_home && !state->is_kept && !state->in_memory)
    make_home(l, number, 0, accumulator_type(l->kernel, s, 0));
  state->in_registers = true;
}

static void open_memory(lowering *l, uint32_t number) {
  const stage *s = &l->kernel->stages[number];
  for (uint32_t c = l->stages[number].is_kept; c < accumulator_components(s); c++)
    make_home(l, number, c, accumulator_type(l->kernel, s, c));
  l->stages[number].in_memory = true;
  l->stages[number].ready = false;
}

typedef struct {
  task_list before, after;
  bool *opened_registers, *opened_memory; /* by stage */
} accumulation;

/* Before the first loop over an axis that a stage reduces, its accumulators come into being. */
static accumulation open_accumulators(lowering *l, const task_list *run, uint32_t at) {
  uint32_t axis = l->schedule[at].axis;
  accumulation a = {{ARENA_ARRAY(l->arena, task, run->n), 0},
                    {ARENA_ARRAY(l->arena, task, run->n), 0},
                    ARENA_ARRAY(l->arena, bool, l->kernel->n_stages),
                    ARENA_ARRAY(l->arena, bool, l->kernel->n_stages)};
  for (uint32_t i = 0; i < run->n; i++) {
    uint32_t number = run->items[i].stage;
    const stage *s = &l->kernel->stages[number];
    stage_state *state = &l->stages[number];
    int64_t points;
    if (run->items[i].action != TASK_EVALUATE || !reduces(s) || !(s->reduced >> axis & 1) || state->in_registers)
      continue;
    bool in_registers = unrolls(l, number, s->free, at + 1, &points);
    if (!in_registers && state->in_memory) continue;
    if (in_registers) open_registers(l, number, at, points);
    else open_memory(l, number);
    a.opened_registers[number] = in_registers;
    a.opened_memory[number] = !in_registers;
    a.before.items[a.before.n++] = (task){number, in_registers ? TASK_PREPARE : TASK_CLEAR, s->free};
    a.after.items[a.after.n++] = (task){number, in_registers ? TASK_FINISH : TASK_COPY, s->free};
  }
  return a;
}

static void close_accumulators(lowering *l, const accumulation *a, uint32_t at) {
  for (uint32_t i = 0; i < l->kernel->n_stages; i++) {
    stage_state *state = &l->stages[i];
    if (a->opened_registers[i]) state->in_registers = false;
    if (a->opened_memory[i]) state->in_memory = false;
  }
  lower_tasks(l, a->after, at);
  for (uint32_t i = 0; i < l->kernel->n_stages; i++) {
    stage_state *state = &l->stages[i];
    if (a->opened_memory[i] || (a->opened_registers[i] && state->needs_home && !state->in_memory)) state->ready = true;
  }
}

/* -- loops ------------------------------------------------------------------------------------------------ */

static void bind_and_lower(lowering *l, task_list tasks, uint32_t at, const affine *step, int64_t left) {
  uint32_t axis = l->schedule[at].axis;
  coordinate saved = l->axis[axis];
  bind_axis(l, axis, step, left);
  lower_tasks(l, tasks, at + 1);
  l->axis[axis] = saved;
}

/* How many of the trips have a point that is not masked: those that begin no later than the higher index ends. */
static const loops_expr *trips_to_mask(lowering *l, uint32_t at, int64_t trips) {
  const int64_t step = l->schedule[at].step;
  affine last = l->axis[l->mask.high].at, quotient, rest;
  last.constant += l->axis[l->mask.high].left - 1;
  if (!affine_add(&last, &l->axis[l->mask.low].at, -1) || !affine_divide(l, &last, step, AFFINE_EMIT, &quotient, &rest)) return loops_integer(l->loops, trips);
  quotient.constant++;
  operand end = emit_affine(l, &quotient);
  if (affine_range(l, &quotient).high > trips) end = apply_op(l, OP_MIN, DTYPE_I64, (operand[]){end, constant_value(l, DTYPE_I64, (scalar){.integer = trips})}, 2);
  return share(l, end).expr;
}

/* The first of the trips that has one: it ends no earlier than the lower index begins. */
static const loops_expr *trips_from_mask(lowering *l, uint32_t at) {
  affine first = l->axis[l->mask.low].at, from, rest;
  if (!affine_add(&first, &l->axis[l->mask.high].at, -1) || affine_range(l, &first).low < 0 || !affine_divide(l, &first, l->schedule[at].step, AFFINE_EMIT, &from, &rest)) return loops_integer(l->loops, 0);
  return share(l, emit_affine(l, &from)).expr;
}

static void lower_trips(lowering *l, task_list tasks, uint32_t at, int64_t from, int64_t to) {
  int64_t step = l->schedule[at].step;
  affine constant = affine_constant(from * step);
  if (from >= to) return;
  if (to - from == 1) {
    bind_and_lower(l, tasks, at, &constant, step);
    return;
  }
  const loops_expr *end = stops_at_mask(l, &tasks.items[0], at) ? trips_to_mask(l, at, to) : loops_integer(l->loops, to);
  const loops_expr *begin = !from && starts_at_mask(l, &tasks.items[0], at) ? trips_from_mask(l, at) : loops_integer(l->loops, from);
  block body = {0};
  open_frame(l, &body, false);
  uint32_t index = new_register(l, DTYPE_I64, 1, (interval){from, to - 1}, l->depth - 1);
  affine iteration = affine_register(index, step);
  bind_and_lower(l, tasks, at, &iteration, step);
  close_frame(l);
  if (body.n)
    emit(l, (statement){.kind = STATEMENT_FOR,
                        .number = index,
                        .begin = begin,
                        .end = end,
                        .step = 1,
                        .body = body});
}

static void lower_serial(lowering *l, task_list tasks, uint32_t at) {
  const schedule_loop *loop = &l->schedule[at];
  int64_t trips = l->axis[loop->axis].left / loop->step, rest = l->axis[loop->axis].left % loop->step;
  int64_t first = loop->peel && trips > 1, last = loop->peel && trips > 1 && !rest;
  affine behind = affine_constant(trips * loop->step);
  lower_trips(l, tasks, at, 0, first);
  lower_trips(l, tasks, at, first, trips - last);
  lower_trips(l, tasks, at, trips - last, trips);
  if (rest) bind_and_lower(l, tasks, at, &behind, rest);
}

static void lower_unrolled(lowering *l, task_list tasks, uint32_t at) {
  const schedule_loop *loop = &l->schedule[at];
  int64_t left = l->axis[loop->axis].left, step = loop->step;
  axis_set saved = l->unrolled;
  if (left > step) l->unrolled |= (axis_set)1 << loop->axis;
  for (int64_t i = 0; i < left; i += step) {
    affine constant = affine_constant(i);
    bind_and_lower(l, tasks, at, &constant, left - i < step ? left - i : step);
  }
  l->unrolled = saved;
}

/* Each lane has as many neighbours as the loop has a step; of a rest, which is no multiple of it, one lane has all. */
static void lower_lanes(lowering *l, task_list tasks, uint32_t at) {
  const schedule_loop *loop = &l->schedule[at];
  const int64_t left = l->axis[loop->axis].left, whole = left / loop->step, rest = left % loop->step;
  affine lane = {.lane = loop->step};
  l->vector_axis = (int32_t)loop->axis;
  l->lanes = (uint32_t)lanes_of_loop(l, at);
  l->active = (uint32_t)whole;
  if (whole) bind_and_lower(l, tasks, at, &lane, loop->step);
  l->active = 1;
  lane.constant = whole * loop->step;
  if (rest) bind_and_lower(l, tasks, at, &lane, rest);
  l->vector_axis = -1;
  l->lanes = l->active = 1;
}

/* Two neighbours of one sum; how they are taken in is decided where the sum is. Inside of others the loop is one like others. */
static bool lower_pair(lowering *l, task_list tasks, uint32_t at) {
  uint32_t axis = l->schedule[at].axis;
  const task *t = tasks.items;
  if (l->pair_axis >= 0 || l->axis[axis].left != 2 || tasks.n != 1 || t->action != TASK_EVALUATE || !(stage_of(l, t)->reduced >> axis & 1)) return false;
  if (!l->stages[t->stage].in_registers && !l->stages[t->stage].in_memory) return false;
  l->pair_axis = (int32_t)axis;
  lower_tasks(l, tasks, at + 1);
  l->pair_axis = -1;
  return true;
}

static void lower_loop(lowering *l, task_list tasks, uint32_t at) {
  loop_kind kind = l->schedule[at].kind;
  if (takes_part(l, &tasks.items[0], at) == IN_LANES) lower_lanes(l, tasks, at);
  else if (kind == LOOP_PAIR && lower_pair(l, tasks, at)) return;
  else if (kind == LOOP_TILE && tasks.n == 1 && lower_tile(l, tasks.items, at)) return;
  else if (kind == LOOP_SERIAL || kind == LOOP_TILE) lower_serial(l, tasks, at);
  else lower_unrolled(l, tasks, at);
}

/* -- tasks ------------------------------------------------------------------------------------------------ */

static void evaluate_stage(lowering *l, uint32_t number) {
  const stage *s = &l->kernel->stages[number];
  const stage_state *state = &l->stages[number];
  fetch_next_piece(l, number);
  if (reduces(s)) {
    accumulate(l, number);
    return;
  }
  bool is_kept = state->is_kept && !state->home[0].is_output;
  operand v = lower_expr(l, s->body);
  if (is_kept && s->output >= 0) v = share(l, v);
  if (s->output >= 0) store_output(l, number, v);
  if (is_kept) store_home(l, number, 0, v);
}

static void perform(lowering *l, const task *t) {
  guard g;
  switch (t->action) {
  case TASK_EVALUATE:
    if (reduces(stage_of(l, t))) {
      g = find_guard(l, stage_of(l, t), false);
      if (g.nothing) return;
    }
    evaluate_stage(l, t->stage);
    break;
  case TASK_PREPARE: prepare_registers(l, t->stage); break;
  case TASK_FINISH: finish_registers(l, t->stage); break;
  case TASK_CLEAR: clear_memory(l, t->stage); break;
  case TASK_COPY: finish_memory(l, t->stage); break;
  }
}

/* A reduction that reads nothing inside its buffers here is not run, or runs under a test. */
static bool lower_guarded(lowering *l, task_list tasks, uint32_t at) {
  const task *t = tasks.items;
  if (tasks.n != 1 || t->action != TASK_EVALUATE || !reduces(stage_of(l, t))) return false;
  const stage_state *state = &l->stages[t->stage];
  if (!state->in_registers && !state->in_memory) return false;
  int64_t points;
  guard g = find_guard(l, stage_of(l, t), !unrolls(l, t->stage, t->axes, at, &points));
  if (g.nothing) return true;
  if (!g.n && !g.equality) return false;
  block body = {0};
  statement s;
  open_guard(l, &g, &body, &s);
  lower_tasks(l, tasks, at);
  close_guard(l, &g, &body, &s);
  return true;
}

static void lower_run(lowering *l, task_list run, uint32_t at) {
  if (!(run.items[0].axes >> l->schedule[at].axis & 1)) {
    lower_tasks(l, run, at + 1);
    return;
  }
  const int32_t results = run.n == 1 ? loop_over_results(l, run.items, at) : -1;
  if (results >= 0) {
    const schedule_loop terms = l->schedule[at];
    l->schedule[at] = l->schedule[results];
    l->schedule[results] = terms;
    lower_run(l, run, at);
    l->schedule[results] = l->schedule[at];
    l->schedule[at] = terms;
    return;
  }
  accumulation a = open_accumulators(l, &run, at);
  lower_tasks(l, a.before, at + 1);
  lower_loop(l, run, at);
  close_accumulators(l, &a, at + 1);
}

void lower_tasks(lowering *l, task_list tasks, uint32_t at) {
  if (!tasks.n || l->error || lower_guarded(l, tasks, at)) return;
  if (at == l->n_loops) {
    for (uint32_t i = 0; i < tasks.n; i++) perform(l, &tasks.items[i]);
    return;
  }
  uint32_t n_runs = 0;
  task_list *runs = ARENA_ARRAY(l->arena, task_list, tasks.n),
            pending = {ARENA_ARRAY(l->arena, task, tasks.n), tasks.n};
  memcpy(pending.items, tasks.items, tasks.n * sizeof *tasks.items);
  while (pending.n) runs[n_runs++] = next_run(l, &pending, at);
  kept *keeps = ARENA_ARRAY(l->arena, kept, l->kernel->n_stages);
  if (n_runs > 1) keep_values(l, runs, n_runs, at, keeps);
  for (uint32_t r = 0; r < n_runs; r++) {
    lower_run(l, runs[r], at);
    for (uint32_t i = 0; i < l->kernel->n_stages; i++)
      if (keeps[i].complete_after == (int32_t)r + 1) l->stages[i].ready = true;
  }
  for (uint32_t i = 0; i < l->kernel->n_stages; i++)
    if (keeps[i].is_owner) l->stages[i].ready = l->stages[i].is_kept = false;
}
