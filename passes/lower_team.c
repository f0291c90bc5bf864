/* A product of matrices by teams of warps. A team makes a block of the result: step by step along the sum, blocks of both
 * operands are brought to memory on the chip, a few steps ahead and asynchronously where 16 bytes of an operand lie together; each
 * warp multiplies its part of them with the matrix unit. Complete sums go through memory on the chip once more, so that what
 * follows the sum runs row by row with lanes side by side, as it does elsewhere.
 *
 * Or groups of four warps multiply, by the unit that reads both operands from memory on the chip. It works in the background: while it
 * multiplies one step, the warps wait for the next, and the stage that is brought to is the one of two steps before. */
#include "passes/lower_team.h"

typedef struct {
  team_base base;
  lowering *l;
  team_form form;
  team_tile tile;
  int64_t steps; /* of the sum */
  int64_t ahead; /* how many steps before they are multiplied operands are brought */
  affine warp_row, warp_lane; /* numbers, of a warp or a group */
  affine first_row;           /* of the block, that the warp has */
  uint32_t lane_tiles;        /* side by side, of what a warp has; below each other they are `tile_step` rows apart */
  int64_t tile_step;
  operand_block side[2];
  uint32_t slab;
  int64_t slab_lanes; /* that results go through it at once */
} team;

enum { MOST_SLAB_LANES = 64 /* of a group, which may have 256 */ };

/* -- which block, which warp ------------------------------------------------------------------------------------ */

/* Teams that run at the same time share operands in the second cache: eight blocks of rows take their turns with all of lanes. */
static void find_block(team *t) {
  enum { MOST_TOGETHER = 8 };
  lowering *l = t->l;
  const int64_t rows = blocks_of(&t->form.rows, t->tile.rows), lanes = blocks_of(&t->form.lanes, t->tile.lanes);
  int64_t together = 1;
  while (together < MOST_TOGETHER && rows % (2 * together) == 0) together *= 2;
  affine index = affine_register(0, 1), batch, group, within, zero = affine_constant(0);
  l->loops->iterations = t->form.batch.points * rows * lanes;
  l->registers[0].range = (interval){0, l->loops->iterations - 1};
  divide(l, &index, rows * lanes, &batch, &index);
  divide(l, &index, together * lanes, &group, &index);
  divide(l, &index, together, &t->side[1].at, &within);
  t->side[0].at = plus(times(&group, together), &within);
  bind_walk(l, &t->form.batch, &batch, 1, &zero);
}

static void find_warp(team *t) {
  lowering *l = t->l;
  const int64_t across = t->tile.lanes / t->tile.warp_lanes, of_group = t->tile.groups ? GROUP_WARPS : 1;
  affine group, within;
  begin_team(&t->base, l, t->form.type, t->tile.rows / t->tile.warp_rows * across * of_group);
  t->base.panels = t->tile.groups;
  t->base.boxes = t->tile.boxes;
  divide(l, &t->base.warp, of_group, &group, &within);
  divide(l, &group, across, &t->warp_row, &t->warp_lane);
  t->first_row = times(&t->warp_row, t->tile.warp_rows);
  affine_add(&t->first_row, &within, TILE);
}

/* -- sums ------------------------------------------------------------------------------------------------------------ */

static bool has_boxes(const team *t) { return t->side[0].box_rows || t->side[1].box_rows; }
static bool has_copies(const team *t) { return !t->side[0].box_rows || !t->side[1].box_rows; }

/* Each stage has an arrival, which is told of all boxes of a step at once. */
static void bring_boxes(team *t, const affine *step, const affine *turn) {
  statement boxes[2 * MOST_BOXES];
  uint32_t n = 0;
  const int64_t bytes = boxes_bytes(&t->side[0]) + boxes_bytes(&t->side[1]);
  const loops_expr *arrival = emit_affine(t->l, turn).expr;
  for (int i = 0; i < 2; i++) n += list_boxes(&t->base, &t->side[i], step, turn, arrival, boxes + n);
  emit(t->l, (statement){.kind = STATEMENT_EXPECT, .offset = arrival, .number = (uint32_t)bytes});
  for (uint32_t i = 0; i < n; i++) emit(t->l, boxes[i]);
}

static void bring_operands(team *t, const affine *step) {
  affine round, turn;
  divide(t->l, step, t->tile.stages, &round, &turn);
  if (has_boxes(t)) bring_boxes(t, step, &turn);
  for (int i = 0; i < 2; i++)
    if (!t->side[i].box_rows) bring_operand(&t->base, &t->side[i], step, &turn);
}

static void await_boxes(team *t, const affine *step) {
  affine round, turn;
  divide(t->l, step, t->tile.stages, &round, &turn);
  emit(t->l, (statement){.kind = STATEMENT_ARRIVED, .offset = emit_affine(t->l, &turn).expr, .source = emit_affine(t->l, &round).expr});
}

static void multiply_panels(team *t, const affine *turn) {
  lowering *l = t->l;
  const operand_block *rows = &t->side[0], *lanes = &t->side[1];
  const affine of_lanes = panel_place(lanes, turn, &t->warp_lane, t->tile.warp_lanes);
  affine of_rows = panel_place(rows, turn, &t->warp_row, t->tile.warp_rows);
  for (uint32_t i = 0; i < t->tile.warp_rows / PANEL; i++, of_rows.constant += PANEL * PANEL)
    emit(l, (statement){.kind = STATEMENT_PRODUCT, .tile = {i * t->lane_tiles}, .active = t->lane_tiles, .number = rows->local, .offset = emit_affine(l, &of_rows).expr,
                        .across = rows->across, .from = lanes->local, .source = emit_affine(l, &of_lanes).expr, .across_lanes = lanes->across});
}

static void multiply(team *t, const affine *step) {
  lowering *l = t->l;
  const uint32_t rows = l->loops->row_tiles, lanes = l->loops->lane_tiles, first_row = l->loops->sum_tiles, first_lane = first_row + rows;
  const affine row = times(&t->warp_row, t->tile.warp_rows), lane = times(&t->warp_lane, t->tile.warp_lanes);
  affine round, turn;
  divide(l, step, t->tile.stages, &round, &turn);
  if (t->tile.groups) return multiply_panels(t, &turn);
  for (int64_t sum = 0; sum < t->tile.sums; sum += t->base.depth) {
    const affine along = affine_constant(sum);
    load_tiles(&t->base, &t->side[0], first_row, rows, &row, &turn, &along);
    load_tiles(&t->base, &t->side[1], first_lane, lanes, &lane, &turn, &along);
    for (uint32_t i = 0; i < rows; i++)
      for (uint32_t j = 0; j < lanes; j++) emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_DOT, .tile = {i * lanes + j, first_row + i, first_lane + j}});
  }
}

static void plain_statement(lowering *l, statement_kind kind, uint32_t number) { emit(l, (statement){.kind = kind, .number = number}); }

/* The step that is brought while this one is multiplied. */
static void bring_ahead(team *t, uint32_t index) {
  later_step later;
  const affine step = open_later_step(t->l, index, t->ahead, t->steps, &later);
  bring_operands(t, &step);
  close_later_step(t->l, &later);
}

/* One barrier a step: behind it what was brought is there for all, and the stage that the next step is brought to was multiplied. Groups
 * go on while their products of one step are under way, and wait for those of the step before. */
static void sum_up(team *t) {
  lowering *l = t->l;
  const int64_t ahead = t->ahead;
  for (uint32_t i = 0; i < l->loops->sum_tiles; i++) emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_ZERO, .tile = {i}});
  for (int64_t i = 0; i < ahead; i++) {
    const affine step = affine_constant(i);
    if (i < t->steps) bring_operands(t, &step);
    if (has_copies(t)) plain_statement(l, STATEMENT_COMMIT, 0);
  }
  block body = {0};
  open_frame(l, &body, false);
  const uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, t->steps - 1}, l->depth - 1);
  const affine step = affine_register(index, 1);
  if (has_copies(t)) plain_statement(l, STATEMENT_WAIT, (uint32_t)ahead - 1);
  plain_statement(l, STATEMENT_BARRIER, 0);
  if (t->steps > ahead) bring_ahead(t, index);
  if (has_copies(t)) plain_statement(l, STATEMENT_COMMIT, 0);
  if (has_boxes(t)) await_boxes(t, &step);
  multiply(t, &step);
  if (t->tile.groups) plain_statement(l, STATEMENT_SETTLE, (uint32_t)(t->tile.warp_rows / PANEL));
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = index, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, t->steps), .step = 1, .body = body});
  if (t->tile.groups) plain_statement(l, STATEMENT_SETTLE, 0);
}

/* -- what follows the sum ------------------------------------------------------------------------------------------- */

static void finish_vector(team *t, const affine *slab, uint32_t active) {
  lowering *l = t->l;
  const walk *lanes = &t->form.lanes;
  l->vector_axis = (int32_t)lanes->axis[lanes->n - 1];
  l->lanes = WARP_LANES;
  l->active = active;
  coordinate *c = &l->axis[l->vector_axis];
  affine at = c->at;
  at.lane = 1;
  place(l, (uint32_t)l->vector_axis, &at);
  const operand from = emit_affine(l, slab);
  loops_expr load = {.kind = LOOPS_LOAD, .type = DTYPE_F32, .lanes = WARP_LANES, .active = active, .number = t->slab, .stride = 1, .n_args = 1, .args = (const loops_expr *[]){from.expr}};
  operand v[COMPONENTS] = {share(l, (operand){loops_node(l->loops, load), l->depth - 1})};
  complete_sum(l, t->form.stage, v);
  for (uint32_t i = 0; i < l->kernel->n_stages; i++)
    if (l->kernel->stages[i].output >= 0 && !reduces(&l->kernel->stages[i])) store_output(l, i, lower_expr(l, l->kernel->stages[i].body));
  l->vector_axis = -1;
  l->lanes = l->active = 1;
}

/* Vectors of the last block end where the lanes do: some are whole, at most one is not. */
static void finish_guarded(team *t, const affine *vector, const affine *slab, bool whole) {
  lowering *l = t->l;
  const walk *lanes = &t->form.lanes;
  const int64_t vectors = lanes->points / WARP_LANES, rest = lanes->points % WARP_LANES;
  const affine zero = affine_constant(0);
  affine at = affine_constant(vectors);
  block body = {0};
  if (whole ? !vectors : !rest) return;
  const operand number = share(l, emit_affine(l, vector)), end = constant_value(l, DTYPE_I64, (scalar){.integer = vectors});
  const operand test = apply_op(l, whole ? OP_LT : OP_EQ, DTYPE_BOOL, (operand[]){number, end}, 2);
  if (test.expr->kind == LOOPS_CONSTANT && !test.expr->constant.integer) return;
  open_frame(l, &body, true);
  if (whole && number.expr->kind == LOOPS_VARIABLE) {
    const uint32_t pinned = new_register(l, DTYPE_I64, 1, (interval){0, vectors - 1}, l->depth - 1);
    emit(l, (statement){.kind = STATEMENT_SET, .number = pinned, .value = number.expr});
    at = affine_register(pinned, 1);
  } else if (whole) {
    at = *vector;
  }
  bind_walk(l, lanes, &at, WARP_LANES, &zero);
  finish_vector(t, slab, whole ? WARP_LANES : (uint32_t)rest);
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_IF, .value = test.expr, .body = body});
}

static void finish_row(team *t, const affine *row, int64_t first_lane) {
  lowering *l = t->l;
  const walk *lanes = &t->form.lanes;
  const affine zero = affine_constant(0);
  for (int64_t i = 0; i < t->slab_lanes / WARP_LANES; i++) {
    affine slab = *row, vector = times(&t->side[1].at, t->tile.lanes / WARP_LANES);
    slab.constant += i * WARP_LANES;
    affine_add(&vector, &t->warp_lane, t->tile.warp_lanes / WARP_LANES);
    vector.constant += first_lane / WARP_LANES + i;
    if (lanes->points % t->tile.lanes == 0) {
      bind_walk(l, lanes, &vector, WARP_LANES, &zero);
      finish_vector(t, &slab, WARP_LANES);
    } else {
      finish_guarded(t, &vector, &slab, true);
      finish_guarded(t, &vector, &slab, false);
    }
  }
}

/* Row by row of one tile's rows, or a part of their lanes, of which each warp has memory for its own. */
static void finish_rows(team *t, uint32_t tile, int64_t first_lane) {
  lowering *l = t->l;
  const int64_t stride = t->slab_lanes + SLAB_PADDING;
  const uint32_t first = tile * t->lane_tiles + (uint32_t)first_lane / TILE;
  affine slab = times(&t->base.warp, TILE * stride), inner = t->first_row;
  for (uint32_t j = 0; j < t->slab_lanes / TILE; j++) {
    affine at = slab;
    at.constant += j * TILE;
    emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_STORE, .tile = {first + j}, .number = t->slab, .offset = emit_affine(l, &at).expr, .stride = stride});
  }
  block body = {0}, guarded = {0};
  open_frame(l, &body, false);
  const uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, TILE - 1}, l->depth - 1);
  const affine row = affine_register(index, 1);
  affine_add(&slab, &row, stride);
  affine_add(&inner, &row, 1);
  inner.constant += tile * t->tile_step;
  const walk *rows = &t->form.rows;
  const bool whole = rows->points % t->tile.rows == 0;
  affine number = inner;
  operand test = {0};
  if (whole) {
    bind_walk(l, rows, &t->side[0].at, t->tile.rows, &inner);
  } else {
    const affine zero = affine_constant(0);
    test = number_inside(l, rows, &t->side[0].at, t->tile.rows, &inner, 1, true, &number);
    open_frame(l, &guarded, true);
    l->registers[number.term[0].number].level = l->depth - 1;
    bind_walk(l, rows, &number, 1, &zero);
  }
  finish_row(t, &slab, first_lane);
  if (!whole) {
    close_frame(l);
    emit(l, (statement){.kind = STATEMENT_IF, .value = test.expr, .body = guarded});
  }
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = index, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, TILE), .step = 1, .body = body});
}

void lower_team(lowering *l) {
  team t = {.l = l, .tile = l->kernel->schedule.team};
  if (!kernel_team(l->kernel, &t.form)) {
    fail_lowering(l, "a team's schedule of a kernel that is no product of matrices");
    return;
  }
  if (t.tile.groups && t.form.type != DTYPE_BF16) fail_lowering(l, "groups of warps multiply bf16 alone");
  const walk *lanes = &t.form.lanes;
  if (lanes->n > 1 && l->kernel->axes[lanes->axis[lanes->n - 1]].extent % WARP_LANES) fail_lowering(l, "lanes of a team run over several axes");
  open_frame(l, &l->loops->body, false);
  find_warp(&t);
  find_block(&t);
  t.steps = blocks_of(&t.form.sums, t.tile.sums);
  for (int i = 0; i < 2; i++) {
    operand_block *o = &t.side[i];
    o->factor = t.form.factor[i];
    o->walk = i ? lanes : &t.form.rows;
    o->sums = &t.form.sums;
    o->block = i ? t.tile.lanes : t.tile.rows;
    o->depth = t.tile.sums;
    o->stages = t.tile.stages;
    describe_operand(&t.base, o, i ? "lanes" : "rows");
  }
  l->loops->arrivals = has_boxes(&t) ? (uint32_t)t.tile.stages : 0;
  t.ahead = t.tile.stages - (t.tile.groups ? 2 : 1);
  t.tile_step = t.tile.groups ? PANEL : TILE;
  t.lane_tiles = (uint32_t)(t.tile.warp_lanes / TILE);
  t.slab_lanes = !t.tile.groups ? t.tile.warp_lanes : t.tile.warp_lanes > 2 * MOST_SLAB_LANES ? WARP_LANES : MOST_SLAB_LANES;
  const uint32_t row_tiles = (uint32_t)(t.tile.warp_rows / t.tile_step);
  l->loops->row_tiles = t.tile.groups ? 0 : row_tiles;
  l->loops->lane_tiles = t.tile.groups ? 0 : t.lane_tiles;
  l->loops->sum_tiles = row_tiles * t.lane_tiles;
  t.slab = loops_add_buffer(l->loops, (loops_buffer){.name = "sums", .type = DTYPE_F32, .place = PLACE_LOCAL, .written = true, .elements = t.base.warps * TILE * (t.slab_lanes + SLAB_PADDING)});
  sum_up(&t);
  for (uint32_t i = 0; i < row_tiles; i++)
    for (int64_t j = 0; j < t.tile.warp_lanes; j += t.slab_lanes) finish_rows(&t, i, j);
  close_frame(l);
}
