/* Lowering: a kernel and its schedule become loops. See lower.h for the files, kernel.h for what a
 * schedule means. */
#include "passes/lower.h"

#include "passes/passes.h"
#include "passes/team.h"

/* Without a schedule: all serial, axes that are never reduced outside of the others. */
static void schedule_serial(lowering *l) {
  const kernel *k = l->kernel;
  axis_set used = 0, reduced = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    used |= k->stages[i].free | k->stages[i].reduced;
    reduced |= k->stages[i].reduced;
  }
  l->schedule = ARENA_ARRAY(l->arena, schedule_loop, k->n_axes + 1);
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t a = 0; a < k->n_axes; a++)
      if ((used >> a & 1) && (int)(reduced >> a & 1) == pass)
        l->schedule[l->n_loops++] = (schedule_loop){.axis = a, .step = 1, .kind = LOOP_SERIAL};
}

enum { MAX_LANES = 64 };

/* A vector loop runs in lanes when every store along it keeps one distance between neighbours. */
static bool lanes_can_store(lowering *l, uint32_t loop) {
  uint32_t axis = l->schedule[loop].axis;
  int64_t lanes = lanes_of_loop(l, loop);
  bool can = lanes > 1 && lanes <= MAX_LANES;
  coordinate saved = l->axis[axis];
  l->axis[axis].at = affine_constant(0);
  for (uint32_t i = 0; i < loop; i++) { /* wherever the loops around it may stand */
    if (l->schedule[i].axis != axis) continue;
    interval trips = {0, (reach_of_loop(l, i) - 1) / l->schedule[i].step};
    affine tile = affine_register(new_register(l, DTYPE_I64, 1, trips, 0), l->schedule[i].step);
    affine_add(&l->axis[axis].at, &tile, 1);
  }
  l->axis[axis].at.lane = l->schedule[loop].step;
  l->axis[axis].left = l->schedule[loop].step;
  l->vector_axis = (int32_t)axis;
  l->lanes = l->active = (uint32_t)lanes;
  for (uint32_t i = 0; i < l->kernel->n_stages && can; i++) {
    const stage *s = &l->kernel->stages[i];
    if (s->output >= 0 && (s->free >> axis & 1)) can = can_store_in_lanes(l, s);
  }
  l->axis[axis] = saved;
  l->vector_axis = -1;
  l->lanes = l->active = 1;
  return can;
}

/* A register of a stage is found by the coordinates at which it was computed; a reader whose loops put
 * another axis in lanes asks for others. */
static void find_homes(lowering *l) {
  const kernel *k = l->kernel;
  for (uint32_t r = 0; r < k->n_stages; r++) {
    const stage *reader = &k->stages[r];
    if (!reduces(reader) && reader->output < 0) continue;
    const bool *reads = reads_of(l, r);
    for (uint32_t i = 0; i < r; i++) {
      int32_t x = l->stages[i].vector_loop, y = l->stages[r].vector_loop;
      if (!reads[i] || !reduces(&k->stages[i]) || x == y) continue;
      axis_set lanes =
          (x >= 0 ? (axis_set)1 << l->schedule[x].axis : 0) | (y >= 0 ? (axis_set)1 << l->schedule[y].axis : 0);
      if (k->stages[i].free & lanes) l->stages[i].needs_home = true;
    }
  }
}

/* Operands of contractions that are computed in the kernel are stored, rather than computed at each of their uses. */
static void find_packed(lowering *l) {
  const kernel *k = l->kernel;
  contraction_form c;
  for (uint32_t r = 0; r < k->n_stages; r++) {
    if (!stage_contraction(k, r, &c) || !c.left_only || !c.right_only) continue;
    for (int side = 0; side < 2; side++) {
      const expr *e = side ? c.right : c.left;
      while (e->kind == EXPR_APPLY && e->op == OP_CAST) e = e->args[0];
      if (e->kind != EXPR_STAGE || k->stages[e->number].monoid != MONOID_NONE || k->stages[e->number].output >= 0) continue;
      stage_state *packed = &l->stages[e->number];
      const int32_t lanes = l->stages[r].vector_loop;
      packed->is_packed = true;
      if (lanes >= 0 && k->stages[e->number].free >> l->schedule[lanes].axis & 1) packed->vector_loop = lanes; /* contiguous for its reader */
    }
  }
}

/* The outermost loop over one of the axes that runs in lanes; -1: none does. */
static int32_t outermost_lanes(const lowering *l, axis_set among) {
  for (uint32_t i = 0; i < l->n_loops; i++)
    if (l->in_lanes[i] && (among >> l->schedule[i].axis & 1)) return (int32_t)i;
  return -1;
}

static void prepare(lowering *l) {
  const kernel *k = l->kernel;
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    loops_add_buffer(l->loops, (loops_buffer){.name = b->name,
                                              .type = b->type.dtype,
                                              .place = PLACE_ARGUMENT,
                                              .elements = layout_elements(&b->layout, &b->type),
                                              .written = b->access == ACCESS_OUT});
  }
  ARENA_PUSH(l->arena, l->registers, l->n_registers, l->registers_capacity);
  affine zero = affine_constant(0);
  for (uint32_t a = 0; a < k->n_axes; a++) l->axis[a] = (coordinate){zero, k->axes[a].extent, affine_id(l, &zero)};
  l->stages = ARENA_ARRAY(l->arena, stage_state, k->n_stages);
  l->in_lanes = ARENA_ARRAY(l->arena, bool, l->n_loops);
  count_uses(l);
  l->has_mask = find_mask(k, &l->mask);
  find_branches(l);
  for (uint32_t i = 0; i < l->n_loops; i++)
    l->in_lanes[i] = l->schedule[i].kind == LOOP_VECTOR && lanes_can_store(l, i);
  for (uint32_t s = 0; s < k->n_stages; s++) {
    stage_state *state = &l->stages[s];
    state->local[0] = state->local[1] = -1;
    state->slots = state->lanes = 1;
    state->vector_loop = outermost_lanes(l, k->stages[s].free);
    if (state->vector_loop < 0) state->vector_loop = outermost_lanes(l, k->stages[s].reduced);
  }
  find_packed(l);
  find_homes(l);
}

static void lower_all(lowering *l) {
  const kernel *k = l->kernel;
  task_list tasks = {ARENA_ARRAY(l->arena, task, k->n_stages), 0};
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    for (uint32_t j = 0; j < l->n_loops && l->schedule[j].kind == LOOP_PARALLEL; j++)
      if (s->reduced >> l->schedule[j].axis & 1) fail_lowering(l, "a stage reduces over a parallel axis");
    if (s->output >= 0 || ((reduces(s) || l->stages[i].is_packed) && l->stages[i].uses))
      tasks.items[tasks.n++] = (task){i, TASK_EVALUATE, s->free | s->reduced};
  }
  open_frame(l, &l->loops->body, false);
  lower_iterations(l, tasks);
  close_frame(l);
}

loops *lower_kernel(const kernel *k, arena *a, const char **error) {
  lowering l = {.kernel = k,
                .arena = arena_beside(a),
                .loops = loops_new(a, k->name),
                .schedule = k->schedule.loops,
                .n_loops = k->schedule.n,
                .vector_axis = -1,
                .pair_axis = -1,
                .tile_sums = -1,
                .iteration = -1,
                .tile_edge = {-1, -1},
                .lanes = 1,
                .active = 1};
  l.loops->where = k->where;
  const bool by_team = k->schedule.team.rows;
  if (!l.n_loops && !by_team) schedule_serial(&l);
  prepare(&l);
  team_form product;
  if (by_team) (kernel_team(k, &product) ? lower_team : lower_team_squares)(&l);
  else lower_all(&l);
  *error = l.error;
  arena_free(l.arena);
  return l.error ? NULL : l.loops;
}

/* Launches of equal kernels share their loops. */
bool pass_lower(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_lower)) return false;
  for (uint32_t i = 0; i < p->n_launches; i++) {
    plan_launch *launch = &p->launches[i];
    if (launch->repeat) continue;
    const char *error = NULL;
    launch->loops = NULL;
    for (uint32_t j = 0; j < i && !launch->loops; j++)
      if (p->launches[j].kernel == launch->kernel) launch->loops = p->launches[j].loops;
    if (!launch->loops) launch->loops = lower_kernel(launch->kernel, c->arena, &error);
    if (launch->loops) continue;
    diagnose(c->diagnostics, DIAG_PASS_FAILED, launch->kernel->where,
             "the schedule of kernel %s cannot be carried out: %s", launch->kernel->name, error);
    return false;
  }
  return true;
}
