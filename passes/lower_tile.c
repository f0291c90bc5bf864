/* Sums of products of bf16 in a matrix unit. A tile loop of the schedule is over rows of the result; behind it stand a pair loop
 * over what is summed and the vector loop, and all three together are one instruction: a tile of sums takes in the product of a
 * tile of rows, which lie contiguous along the sum, and one of lanes, in pairs. Sums stay in tiles while the loops around run, go
 * through memory of the thread when they are complete, and are there read by what follows. */
#include "ir/expr.h"
#include "passes/lower.h"

typedef struct {
  uint32_t row, pair, lane; /* axes */
} tile_axes;

int32_t find_tile_loop(const lowering *l, uint32_t number, uint32_t at) {
  for (uint32_t i = at; i < l->n_loops; i++)
    if (l->schedule[i].kind == LOOP_TILE && (l->kernel->stages[number].free >> l->schedule[i].axis & 1)) return (int32_t)i;
  return -1;
}

/* False, and the lowering has failed, where the loops behind the tile loop are not what it needs. */
static bool find_axes(lowering *l, uint32_t at, tile_axes *out) {
  bool good = at + 3 == l->n_loops && l->schedule[at + 1].kind == LOOP_PAIR && l->in_lanes[at + 2];
  *out = (tile_axes){l->schedule[at].axis, good ? l->schedule[at + 1].axis : 0, good ? l->schedule[at + 2].axis : 0};
  if (!good) fail_lowering(l, "a tile loop is not followed by a pair loop and a vector loop alone");
  return good;
}

static void emit_tile(lowering *l, tile_action action, uint32_t tile, uint32_t buffer, operand offset, int64_t stride) {
  emit(l, (statement){.kind = STATEMENT_TILE, .action = action, .tile = {tile}, .number = buffer, .offset = offset.expr, .stride = stride});
}

/* -- sums ----------------------------------------------------------------------------------------------------- */

static void prepare_tile(lowering *l, uint32_t number) {
  stage_state *state = &l->stages[number];
  if (state->n_tiles == FIRST_ROW_TILE) {
    fail_lowering(l, "more sums than the matrix unit holds");
    return;
  }
  uint32_t tile = state->n_tiles++;
  emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_ZERO, .tile = {tile}});
  add_known(l, &state->accumulator[0][0], l->kernel->stages[number].free, (operand){loops_integer(l->loops, tile), l->depth - 1});
}

static bool tile_of(lowering *l, uint32_t number, uint32_t *tile) {
  operand v;
  if (!find_known(l, &l->stages[number].accumulator[0][0], l->kernel->stages[number].free, &v)) {
    fail_lowering(l, "an element is accumulated at a place that has no accumulator");
    return false;
  }
  *tile = (uint32_t)v.expr->constant.integer;
  return true;
}

static uint32_t thread_buffer(lowering *l, int32_t *made, const char *name, dtype type) {
  if (*made < 0)
    *made = (int32_t)loops_add_buffer(l->loops, (loops_buffer){.name = name, .type = type, .place = PLACE_LOCAL, .written = true, .elements = TILE_LANES * TILE_LANES});
  return (uint32_t)*made;
}

/* Row by row, as sums in registers are. */
static void finish_tile(lowering *l, uint32_t number, const tile_axes *x) {
  uint32_t tile, sums = thread_buffer(l, &l->tile_sums, "sums", DTYPE_F32);
  coordinate row = l->axis[x->row], lane = l->axis[x->lane];
  block body = {0};
  if (!tile_of(l, number, &tile)) return;
  emit_tile(l, TILE_STORE, tile, sums, constant_value(l, DTYPE_I64, (scalar){.integer = 0}), TILE_LANES);
  open_frame(l, &body, false);
  uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, row.left - 1}, l->depth - 1);
  affine step = affine_register(index, 1), lanes = {.lane = 1}, place = affine_register(index, TILE_LANES);
  l->vector_axis = (int32_t)x->lane;
  l->lanes = l->active = TILE_LANES;
  bind_axis(l, x->row, &step, 1);
  bind_axis(l, x->lane, &lanes, 1);
  operand at = emit_affine(l, &place), v[COMPONENTS] = {{0}};
  loops_expr load = {.kind = LOOPS_LOAD, .type = DTYPE_F32, .lanes = TILE_LANES, .number = sums, .stride = 1, .n_args = 1, .args = &at.expr};
  v[0] = share(l, (operand){loops_node(l->loops, load), l->depth - 1});
  complete_sum(l, number, v);
  l->vector_axis = -1;
  l->lanes = l->active = 1;
  l->axis[x->row] = row;
  l->axis[x->lane] = lane;
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = index, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, row.left), .step = 1, .body = body});
}

/* -- operands ------------------------------------------------------------------------------------------------- */

/* Offset of a read at a row, a neighbour of the sum, and a lane, from where the loops around are. */
static bool place_of(lowering *l, const expr *read, const tile_axes *x, int64_t row, int64_t pair, int64_t lane, affine *out) {
  const uint32_t axis[] = {x->row, x->pair, x->lane};
  const int64_t point[] = {row, pair, lane};
  coordinate saved[3];
  for (int i = 0; i < 3; i++) {
    affine step = affine_constant(point[i]);
    saved[i] = l->axis[axis[i]];
    bind_axis(l, axis[i], &step, 1);
  }
  bool is_form = read_place(l, read, out);
  for (int i = 0; i < 3; i++) l->axis[axis[i]] = saved[i];
  return is_form;
}

/* Elements from one form to another; -1 when that varies. */
static int64_t apart(const affine *from, const affine *to) {
  affine d = *to;
  return affine_add(&d, from, -1) && !d.n && !d.lane ? d.constant : -1;
}

/* The tile that holds what a read gives here, if the straight-line code so far has loaded it; else the one to load it into. */
static bool find_loaded(lowering *l, const expr *read, uint32_t first, uint32_t *tile) {
  uint32_t ids[MAX_AXES], n = 0;
  const block *here = l->frames[l->depth - 1].block;
  for (uint32_t i = 0; i < l->kernel->n_axes; i++)
    if (read->axes >> i & 1) ids[n++] = l->axis[i].id;
  for (uint32_t i = 0; i < 2; i++) {
    const loaded_tile *t = &l->loaded[first + i - FIRST_ROW_TILE];
    *tile = first + i;
    if (t->read == read && t->block == here && !memcmp(t->ids, ids, n * sizeof *ids)) return true;
  }
  uint32_t *turn = &l->tile_turn[first == FIRST_LANE_TILE];
  *tile = first + (*turn)++ % 2;
  loaded_tile *t = &l->loaded[*tile - FIRST_ROW_TILE];
  t->read = read;
  t->block = here;
  memcpy(t->ids, ids, n * sizeof *ids);
  return false;
}

static int64_t round_up(int64_t x, int64_t by) { return -floor_quotient(-x, by); }

/* Rows of which the read is inside its buffer; false when that is not a matter of the row alone. */
static bool live_rows(lowering *l, const expr *read, uint32_t axis, int64_t *from, int64_t *to) {
  *from = 0;
  *to = l->axis[axis].left;
  for (uint32_t i = 0; i < read->n_conditions; i++) {
    const condition *c = &read->conditions[i];
    affine a;
    decision holds = decide_condition(l, c);
    if (holds == NEVER) *to = 0;
    if (holds != UNDECIDED) continue;
    if (c->divisor != 1 || !affine_of(l, c->subject, AFFINE_ANALYSE, &a) || a.lane || a.n != 1) return false;
    if (a.term[0].number != (AXIS_TO_COME | axis) || a.term[0].coefficient < 1) return false;
    int64_t low = round_up(c->low - a.constant, a.term[0].coefficient), high = round_up(c->high - a.constant, a.term[0].coefficient);
    if (low > *from) *from = low;
    if (high < *to) *to = high;
  }
  return true;
}

/* Rows outside are zeros, put together in memory of the thread. */
static void load_edge(lowering *l, const expr *read, uint32_t tile, const affine *first, int64_t from, int64_t to, int64_t stride) {
  uint32_t pairs = l->loops->tile_pairs, edge = thread_buffer(l, &l->tile_edge[tile - FIRST_ROW_TILE], "edge", DTYPE_U32);
  for (int64_t r = 0; r < l->loops->tile_rows; r++) {
    const loops_expr *v = loops_constant(l->loops, DTYPE_U32, pairs, (scalar){.integer = 0});
    affine place = *first;
    place.constant += (r - from) * stride;
    if (r >= from && r < to) {
      operand at = emit_affine(l, &place);
      v = loops_node(l->loops, (loops_expr){.kind = LOOPS_PAIRS, .type = DTYPE_U32, .lanes = pairs, .number = read->number, .n_args = 1, .args = &at.expr});
    }
    emit(l, (statement){.kind = STATEMENT_STORE, .number = edge, .offset = loops_integer(l->loops, r * TILE_LANES), .active = pairs, .stride = 1, .value = v});
  }
  emit_tile(l, TILE_LOAD, tile, edge, constant_value(l, DTYPE_I64, (scalar){.integer = 0}), TILE_LANES);
}

/* False where there is nothing inside. */
static bool load_rows(lowering *l, const expr *read, const tile_axes *x, uint32_t *tile) {
  int64_t from, to, stride = 0;
  affine first, next, neighbour;
  if (!live_rows(l, read, x->row, &from, &to)) return fail_lowering(l, "rows of a tile end where other loops decide"), false;
  if (from >= to) return false;
  if (find_loaded(l, read, FIRST_ROW_TILE, tile)) return true;
  bool good = place_of(l, read, x, from, 0, 0, &first) && place_of(l, read, x, from, 1, 0, &neighbour) && apart(&first, &neighbour) == 1;
  if (good && to - from > 1) good = place_of(l, read, x, from + 1, 0, 0, &next) && (stride = apart(&first, &next)) > 0;
  if (!good) return fail_lowering(l, "rows of a tile do not lie contiguous"), false;
  if (to - from < l->axis[x->row].left) load_edge(l, read, *tile, &first, from, to, stride);
  else emit_tile(l, TILE_LOAD, *tile, read->number, emit_affine(l, &first), stride);
  return true;
}

static bool load_lanes(lowering *l, const expr *read, const tile_axes *x, uint32_t *tile) {
  int64_t stride = 0;
  affine first, neighbour, lane, next;
  for (uint32_t i = 0; i < read->n_conditions; i++)
    if (decide_condition(l, &read->conditions[i]) != ALWAYS) return fail_lowering(l, "lanes of a tile run over an edge"), false;
  if (find_loaded(l, read, FIRST_LANE_TILE, tile)) return true;
  bool good = place_of(l, read, x, 0, 0, 0, &first) && place_of(l, read, x, 0, 1, 0, &neighbour) && apart(&first, &neighbour) == 1;
  good = good && place_of(l, read, x, 0, 0, 1, &lane) && apart(&first, &lane) == 2;
  if (good && l->loops->tile_pairs > 1) good = place_of(l, read, x, 0, 2, 0, &next) && (stride = apart(&first, &next)) > 0;
  if (!good) return fail_lowering(l, "lanes of a tile do not lie in pairs"), false;
  emit_tile(l, TILE_LOAD, *tile, read->number, emit_affine(l, &first), stride);
  return true;
}

/* All tiles of a kernel have one shape. */
static bool agree_on_shape(lowering *l, const tile_axes *x) {
  int64_t rows = l->axis[x->row].left, sums = l->axis[x->pair].left;
  loops *to = l->loops;
  if (!to->tile_rows) to->tile_rows = (uint32_t)rows, to->tile_pairs = (uint32_t)(sums / 2);
  bool fits = rows <= TILE_LANES && sums % 2 == 0 && sums <= 2 * TILE_LANES && l->axis[x->lane].left == TILE_LANES;
  if (fits && to->tile_rows == rows && to->tile_pairs == sums / 2) return true;
  fail_lowering(l, "tiles have different shapes, or one that no matrix unit has");
  return false;
}

static void accumulate_tile(lowering *l, uint32_t number, const tile_axes *x) {
  const stage *s = &l->kernel->stages[number];
  const expr *reads[2];
  uint32_t sum, rows, lanes;
  if (!narrow_factors(l, s, reads)) {
    fail_lowering(l, "a tile loop of something else than a sum of products of bf16");
    return;
  }
  int left = reads[0]->axes >> x->row & 1 ? 0 : 1;
  bool apart_from = !(reads[left]->axes >> x->lane & 1) && !(reads[1 - left]->axes >> x->row & 1);
  if (!apart_from) fail_lowering(l, "rows and lanes of a tile are not of two operands");
  if (!apart_from || !agree_on_shape(l, x) || !tile_of(l, number, &sum)) return;
  if (!load_rows(l, reads[left], x, &rows) || !load_lanes(l, reads[1 - left], x, &lanes)) return;
  emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_DOT, .tile = {sum, rows, lanes}});
}

bool lower_tile(lowering *l, const task *t, uint32_t at) {
  tile_axes x;
  if (!l->stages[t->stage].in_tiles || !reduces(&l->kernel->stages[t->stage])) return false;
  if (!find_axes(l, at, &x)) return true;
  switch (t->action) {
  case TASK_PREPARE: prepare_tile(l, t->stage); return true;
  case TASK_EVALUATE: accumulate_tile(l, t->stage, &x); return true;
  case TASK_FINISH: finish_tile(l, t->stage, &x); return true;
  default: return false; /* sums in memory, element by element */
  }
}
