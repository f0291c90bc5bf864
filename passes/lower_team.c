/* A product of matrices by teams of warps. A team makes a block of the result: step by step along the sum, blocks of both
 * operands are brought to memory on the chip, a few steps ahead and asynchronously where 16 bytes of an operand lie together; each
 * warp multiplies its part of them with the matrix unit. Complete sums go through memory on the chip once more, so that what
 * follows the sum runs row by row with lanes side by side, as it does elsewhere.
 *
 * An operand's block lies there as it does in its buffer: rows of neighbours along the sum, or, `across`, rows of neighbours
 * along the result. The matrix unit takes both. Rows are 16 bytes longer than they need be, so that eight of them meet all banks. */
#include "ir/expr.h"
#include "passes/lower.h"
#include "passes/schedule.h"
#include "passes/team.h"

enum { WARP_LANES = 32, CHUNK_BYTES = 16, TILE = 16, SLAB_PADDING = 8 };

typedef struct {
  const expr *factor, *read; /* read: copied as it is */
  const walk *walk;          /* along the result */
  int64_t block;             /* along it */
  affine at;                 /* which block */
  bool across;
  uint32_t local;
  int64_t rows, columns, stride; /* of the block in memory on the chip */
  affine lane_row, lane_chunk;   /* of it that a lane copies */
} operand_block;

typedef struct {
  lowering *l;
  team_form form;
  team_tile tile;
  int64_t warps, steps; /* of the sum */
  int64_t chunk, depth; /* elements that are copied at once; neighbours of the sum in a tile */
  affine warp, warp_row, warp_lane; /* numbers */
  operand_block side[2];
  uint32_t slab;
} team;

/* -- forms ---------------------------------------------------------------------------------------------------- */

static affine times(const affine *a, int64_t factor) {
  affine out = affine_constant(0);
  affine_add(&out, a, factor);
  return out;
}

static affine plus(affine a, const affine *b) {
  affine_add(&a, b, 1);
  return a;
}

static void divide(lowering *l, const affine *a, int64_t by, affine *quotient, affine *rest) {
  affine of = *a;
  if (!affine_divide(l, &of, by, AFFINE_EMIT, quotient, rest)) fail_lowering(l, "lanes of a team meet a division");
}

static void place(lowering *l, uint32_t axis, const affine *at) { l->axis[axis] = (coordinate){*at, 1, affine_id(l, at)}; }

/* The point `outer` * size + `inner` of a walk. Where sizes divide the fastest axis, lanes stay within it. */
static void bind_walk(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner) {
  if (!w->n) return;
  const uint32_t fastest = w->axis[w->n - 1];
  const int64_t extent = l->kernel->axes[fastest].extent;
  affine rest, index;
  if (extent % size == 0) {
    divide(l, outer, extent / size, &index, &rest);
    rest = times(&rest, size);
  } else {
    index = plus(times(outer, size), inner);
    rest = index;
    if (w->n > 1) divide(l, &index, extent, &index, &rest);
  }
  if (extent % size == 0) rest = plus(rest, inner);
  place(l, fastest, &rest);
  for (uint32_t i = w->n - 1; i-- > 0;) {
    rest = index;
    if (i) divide(l, &index, l->kernel->axes[w->axis[i]].extent, &index, &rest);
    place(l, w->axis[i], &rest);
  }
}

static operand both(lowering *l, operand x, operand y) {
  if (!x.expr || !y.expr) return x.expr ? x : y;
  return apply_op(l, OP_AND, DTYPE_BOOL, (operand[]){x, y}, 2);
}

/* The number of a point, of `unit` neighbours each, and the test that it is one of the walk's. Whoever reads only where the test
 * holds may take the number as if it did. */
static operand number_inside(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner, int64_t unit, bool where_it_holds, affine *number) {
  const affine index = plus(times(outer, size / unit), inner);
  const operand at = value_of_index(l, &index), end = constant_value(l, DTYPE_I64, (scalar){.integer = w->points / unit});
  const interval r = affine_range(l, &index);
  const uint32_t pinned = new_register(l, DTYPE_I64, at.expr->lanes, r, l->depth - 1);
  emit(l, (statement){.kind = STATEMENT_SET, .number = pinned, .value = at.expr});
  const operand test = apply_op(l, OP_LT, DTYPE_BOOL, (operand[]){variable_value(l, pinned), end}, 2);
  if (where_it_holds && r.high >= w->points / unit) l->registers[pinned].range.high = w->points / unit - 1;
  *number = affine_register(pinned, 1);
  return test;
}

/* Binds the axes of a walk at a point; an expr of NULL: it is one of the walk's. */
static operand bind_inside(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner, int64_t unit, bool where_it_holds) {
  const affine zero = affine_constant(0), within = times(inner, unit);
  affine number;
  if (w->points % size == 0) {
    bind_walk(l, w, outer, size, &within);
    return (operand){0};
  }
  const operand test = number_inside(l, w, outer, size, inner, unit, where_it_holds, &number);
  bind_walk(l, w, &number, unit, &zero);
  return test;
}

static affine register_form(lowering *l, operand v, interval range) {
  v = share(l, v);
  if (v.expr->kind == LOOPS_CONSTANT) return affine_constant(v.expr->constant.integer);
  l->registers[v.expr->number].range = range;
  return affine_register(v.expr->number, 1);
}

static operand integer_op(lowering *l, op_id op, operand x, int64_t y) {
  return apply_op(l, op, DTYPE_I64, (operand[]){x, constant_value(l, DTYPE_I64, (scalar){.integer = y})}, 2);
}

/* -- which block, which warp ------------------------------------------------------------------------------------ */

static int64_t blocks_of(const walk *w, int64_t size) { return (w->points + size - 1) / size; }

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
  const int64_t across = t->tile.lanes / t->tile.warp_lanes;
  t->warps = t->tile.rows / t->tile.warp_rows * across;
  l->loops->team = (uint32_t)t->warps;
  l->loops->team_register = new_register(l, DTYPE_I64, 1, (interval){0, t->warps - 1}, 0);
  t->warp = affine_register(l->loops->team_register, 1);
  divide(l, &t->warp, across, &t->warp_row, &t->warp_lane);
}

/* -- operands ----------------------------------------------------------------------------------------------------- */

/* Whether chunks along an axis lie together and begin at multiples of their size, and are inside or outside as a whole. */
static bool lies_in_chunks(const kernel *k, const expr *read, uint32_t along, int64_t chunk) {
  const kernel_buffer *b = &k->buffers[read->number];
  const layout lies = b->layout.n ? b->layout : layout_row_major(&b->type);
  if (!lies.n || k->axes[along].extent % chunk) return false;
  const int64_t inner = lies.part[lies.n - 1].extent;
  const uint32_t dim = lies.part[lies.n - 1].dim;
  int64_t coefficient[MAX_AXES], offset;
  if (lies.part[lies.n - 1].divisor != 1 || inner % chunk || !expr_affine(k, read->args[dim], coefficient, &offset) || offset % chunk) return false;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (a == along ? coefficient[a] != 1 : coefficient[a] % chunk) return false;
  for (uint32_t d = 0; d < read->n_args; d++)
    if (d != dim && read->args[d]->axes >> along & 1) return false;
  for (uint32_t i = 0; i < read->n_conditions; i++)
    if (read->conditions[i].subject->axes >> along & 1) return false;
  return true;
}

static void number_lanes(team *t, operand_block *o) {
  lowering *l = t->l;
  const int64_t wide = o->columns / t->chunk;
  const affine lanes = {.lane = 1};
  l->lanes = l->active = WARP_LANES;
  const operand lane = share(l, value_of_index(l, &lanes));
  o->lane_row = register_form(l, integer_op(l, OP_FLOOR_DIV, lane, wide), (interval){0, WARP_LANES / wide - 1});
  o->lane_chunk = register_form(l, integer_op(l, OP_MOD, lane, wide), (interval){0, wide - 1});
  l->lanes = l->active = 1;
}

static void describe_operand(team *t, int which) {
  const kernel *k = t->l->kernel;
  operand_block *o = &t->side[which];
  const walk *sums = &t->form.sums;
  o->factor = t->form.factor[which];
  o->walk = which ? &t->form.lanes : &t->form.rows;
  o->block = which ? t->tile.lanes : t->tile.rows;
  const expr *read = team_read(k, o->factor, t->form.type);
  const int64_t chunks = t->warps * WARP_LANES * t->chunk;
  const bool along = read && lies_in_chunks(k, read, sums->axis[sums->n - 1], t->chunk), across = read && o->walk->n && lies_in_chunks(k, read, o->walk->axis[o->walk->n - 1], t->chunk);
  if ((along || across) && o->block * t->tile.sums % chunks == 0) o->read = read;
  o->across = o->read ? !along : across || (read && o->walk->n && access_stride(k, read->number, read->args, o->walk->axis[o->walk->n - 1]) == 1);
  o->rows = o->across ? t->tile.sums : o->block;
  o->columns = o->across ? o->block : t->tile.sums;
  /* Words of f32 across are read one by one: rows of 8 banks each, four of which meet all 32. */
  o->stride = o->columns + (o->across ? 8 : t->chunk);
  if (o->read) number_lanes(t, o);
  o->local = loops_add_buffer(t->l->loops, (loops_buffer){.name = which ? "lanes" : "rows", .type = t->form.type, .place = PLACE_LOCAL, .written = true, .elements = t->tile.stages * o->rows * o->stride});
}

/* Binds the axes of an operand at a row and a column of its block; columns are counted in units of what is copied at once. */
static operand bind_operand(team *t, const operand_block *o, const affine *step, const affine *row, const affine *column) {
  lowering *l = t->l;
  const bool copied = o->read;
  const int64_t unit = copied ? t->chunk : 1;
  const operand x = bind_inside(l, o->walk, &o->at, o->block, o->across ? column : row, o->across ? unit : 1, copied);
  const operand y = bind_inside(l, &t->form.sums, step, t->tile.sums, o->across ? row : column, o->across ? 1 : unit, copied);
  return both(l, x, y);
}

static affine local_place(const operand_block *o, const affine *turn, const affine *row, const affine *column) {
  affine at = times(turn, o->rows * o->stride);
  affine_add(&at, row, o->stride);
  return plus(at, column);
}

/* A chunk a lane: neighbouring lanes copy neighbouring chunks. */
static void copy_chunks(team *t, const operand_block *o, const affine *step, const affine *turn) {
  lowering *l = t->l;
  const int64_t high = WARP_LANES * t->chunk / o->columns, times_over = o->rows / (high * t->warps);
  const affine column = times(&o->lane_chunk, t->chunk);
  l->lanes = l->active = WARP_LANES;
  for (int64_t i = 0; i < times_over; i++) {
    affine row = plus(times(&t->warp, high), &o->lane_row);
    row.constant += i * high * t->warps;
    const affine to = local_place(o, turn, &row, &column);
    operand test = bind_operand(t, o, step, &row, &o->lane_chunk), edge;
    const operand from = copy_place(l, o->read, &edge), at = emit_affine(l, &to);
    test = both(l, test, edge);
    emit(l, (statement){.kind = STATEMENT_COPY,
                        .number = o->local,
                        .from = o->read->number,
                        .active = (uint32_t)t->chunk,
                        .offset = loops_splat(l->loops, at.expr, WARP_LANES),
                        .source = loops_splat(l->loops, from.expr, WARP_LANES),
                        .value = test.expr ? loops_splat(l->loops, test.expr, WARP_LANES) : NULL});
  }
  l->lanes = l->active = 1;
}

/* Element by element, a lane each, computed on the way. */
static void compute_elements(team *t, const operand_block *o, const affine *step, const affine *turn) {
  lowering *l = t->l;
  const int64_t vector_of = o->columns < WARP_LANES ? o->columns : WARP_LANES, wide = o->columns / vector_of, rounds = o->rows * wide / t->warps;
  const walk *along = o->across ? o->walk : &t->form.sums;
  block body = {0};
  open_frame(l, &body, false);
  const uint32_t round = new_register(l, DTYPE_I64, 1, (interval){0, rounds - 1}, l->depth - 1);
  affine index = plus(times(&(affine){.n = 1, .term[0] = {round, 1}}, t->warps), &t->warp), row, vector, column;
  divide(l, &index, wide, &row, &vector);
  column = times(&vector, vector_of);
  const affine to = local_place(o, turn, &row, &column);
  l->lanes = WARP_LANES;
  l->active = (uint32_t)vector_of;
  column.lane = 1;
  const uint32_t fastest = along->n ? along->axis[along->n - 1] : 0;
  if (o->rows * wide % t->warps) fail_lowering(l, "a team has more warps than its operands have vectors");
  if (along->n && l->kernel->axes[fastest].extent % o->columns == 0) l->vector_axis = (int32_t)fastest;
  else column = register_form(l, value_of_index(l, &column), (interval){0, o->columns - 1 + WARP_LANES - vector_of});
  const operand test = bind_operand(t, o, step, &row, &column);
  operand v = cast_value(l, lower_expr(l, o->factor), t->form.type);
  if (test.expr) v = apply_op(l, OP_SELECT, t->form.type, (operand[]){test, v, constant_value(l, t->form.type, (scalar){.real = 0})}, 3);
  const operand at = emit_affine(l, &to);
  emit(l, (statement){.kind = STATEMENT_STORE, .number = o->local, .offset = at.expr, .active = (uint32_t)vector_of, .stride = 1, .value = loops_splat(l->loops, v.expr, WARP_LANES)});
  l->vector_axis = -1;
  l->lanes = l->active = 1;
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = round, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, rounds), .step = 1, .body = body});
}

static void bring_operands(team *t, const affine *step) {
  affine round, turn;
  divide(t->l, step, t->tile.stages, &round, &turn);
  for (int i = 0; i < 2; i++) (t->side[i].read ? copy_chunks : compute_elements)(t, &t->side[i], step, &turn);
}

/* -- sums ------------------------------------------------------------------------------------------------------------ */

static void load_tiles(team *t, const operand_block *o, uint32_t first, int64_t n, const affine *from, const affine *turn, int64_t sum) {
  lowering *l = t->l;
  for (int64_t i = 0; i < n; i++) {
    affine result = *from, along = affine_constant(sum);
    result.constant += i * TILE;
    const affine at = o->across ? local_place(o, turn, &along, &result) : local_place(o, turn, &result, &along);
    const operand offset = emit_affine(l, &at);
    emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_LOAD, .tile = {first + (uint32_t)i}, .number = o->local, .offset = offset.expr, .stride = o->stride, .across = o->across});
  }
}

static void multiply(team *t, const affine *step) {
  lowering *l = t->l;
  const uint32_t rows = l->loops->row_tiles, lanes = l->loops->lane_tiles, first_row = l->loops->sum_tiles, first_lane = first_row + rows;
  const affine row = times(&t->warp_row, t->tile.warp_rows), lane = times(&t->warp_lane, t->tile.warp_lanes);
  affine round, turn;
  divide(l, step, t->tile.stages, &round, &turn);
  for (int64_t sum = 0; sum < t->tile.sums; sum += t->depth) {
    load_tiles(t, &t->side[0], first_row, rows, &row, &turn, sum);
    load_tiles(t, &t->side[1], first_lane, lanes, &lane, &turn, sum);
    for (uint32_t i = 0; i < rows; i++)
      for (uint32_t j = 0; j < lanes; j++) emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_DOT, .tile = {i * lanes + j, first_row + i, first_lane + j}});
  }
}

static void plain_statement(lowering *l, statement_kind kind, uint32_t number) { emit(l, (statement){.kind = kind, .number = number}); }

/* The step that is brought while this one is multiplied. */
static void bring_ahead(team *t, uint32_t index) {
  lowering *l = t->l;
  const int64_t ahead = t->tile.stages - 1;
  affine form = affine_register(index, 1);
  form.constant = ahead;
  const operand later = share(l, emit_affine(l, &form)), end = constant_value(l, DTYPE_I64, (scalar){.integer = t->steps});
  const operand test = apply_op(l, OP_LT, DTYPE_BOOL, (operand[]){later, end}, 2);
  block body = {0};
  open_frame(l, &body, true);
  l->registers[later.expr->number].range = (interval){ahead, t->steps - 1};
  l->registers[later.expr->number].level = l->depth - 1;
  const affine step = affine_register(later.expr->number, 1);
  bring_operands(t, &step);
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_IF, .value = test.expr, .body = body});
}

/* One barrier a step: behind it what was brought is there for all, and the stage that the next step is brought to was multiplied. */
static void sum_up(team *t) {
  lowering *l = t->l;
  const int64_t ahead = t->tile.stages - 1;
  for (uint32_t i = 0; i < l->loops->sum_tiles; i++) emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_ZERO, .tile = {i}});
  for (int64_t i = 0; i < ahead; i++) {
    const affine step = affine_constant(i);
    if (i < t->steps) bring_operands(t, &step);
    plain_statement(l, STATEMENT_COMMIT, 0);
  }
  block body = {0};
  open_frame(l, &body, false);
  const uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, t->steps - 1}, l->depth - 1);
  const affine step = affine_register(index, 1);
  plain_statement(l, STATEMENT_WAIT, (uint32_t)ahead - 1);
  plain_statement(l, STATEMENT_BARRIER, 0);
  if (t->steps > ahead) bring_ahead(t, index);
  plain_statement(l, STATEMENT_COMMIT, 0);
  multiply(t, &step);
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = index, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, t->steps), .step = 1, .body = body});
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

static void finish_row(team *t, const affine *row) {
  lowering *l = t->l;
  const walk *lanes = &t->form.lanes;
  const affine zero = affine_constant(0);
  for (int64_t i = 0; i < t->tile.warp_lanes / WARP_LANES; i++) {
    affine slab = *row, vector = times(&t->side[1].at, t->tile.lanes / WARP_LANES);
    slab.constant += i * WARP_LANES;
    affine_add(&vector, &t->warp_lane, t->tile.warp_lanes / WARP_LANES);
    vector.constant += i;
    if (lanes->points % t->tile.lanes == 0) {
      bind_walk(l, lanes, &vector, WARP_LANES, &zero);
      finish_vector(t, &slab, WARP_LANES);
    } else {
      finish_guarded(t, &vector, &slab, true);
      finish_guarded(t, &vector, &slab, false);
    }
  }
}

/* Row by row of one tile's rows, of which each warp has memory for its own. */
static void finish_rows(team *t, int64_t tile) {
  lowering *l = t->l;
  const int64_t stride = t->tile.warp_lanes + SLAB_PADDING;
  const uint32_t lanes = l->loops->lane_tiles;
  affine slab = times(&t->warp, TILE * stride), inner = times(&t->warp_row, t->tile.warp_rows);
  for (uint32_t j = 0; j < lanes; j++) {
    affine at = slab;
    at.constant += j * TILE;
    emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_STORE, .tile = {(uint32_t)tile * lanes + j}, .number = t->slab, .offset = emit_affine(l, &at).expr, .stride = stride});
  }
  block body = {0}, guarded = {0};
  open_frame(l, &body, false);
  const uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, TILE - 1}, l->depth - 1);
  const affine row = affine_register(index, 1);
  affine_add(&slab, &row, stride);
  affine_add(&inner, &row, 1);
  inner.constant += tile * TILE;
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
  finish_row(t, &slab);
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
  const walk *lanes = &t.form.lanes;
  if (lanes->n > 1 && l->kernel->axes[lanes->axis[lanes->n - 1]].extent % WARP_LANES) fail_lowering(l, "lanes of a team run over several axes");
  open_frame(l, &l->loops->body, false);
  find_warp(&t);
  find_block(&t);
  t.chunk = CHUNK_BYTES / (int64_t)dtype_bytes(t.form.type);
  t.depth = t.form.type == DTYPE_BF16 ? TILE : TILE / 2;
  t.steps = blocks_of(&t.form.sums, t.tile.sums);
  for (int i = 0; i < 2; i++) describe_operand(&t, i);
  l->loops->tile_rows = TILE;
  l->loops->tile_type = t.form.type;
  l->loops->tile_pairs = TILE / 2;
  l->loops->row_tiles = (uint32_t)(t.tile.warp_rows / TILE);
  l->loops->lane_tiles = (uint32_t)(t.tile.warp_lanes / TILE);
  l->loops->sum_tiles = l->loops->row_tiles * l->loops->lane_tiles;
  t.slab = loops_add_buffer(l->loops, (loops_buffer){.name = "sums", .type = DTYPE_F32, .place = PLACE_LOCAL, .written = true, .elements = t.warps * TILE * (t.tile.warp_lanes + SLAB_PADDING)});
  sum_up(&t);
  for (int64_t i = 0; i < l->loops->row_tiles; i++) finish_rows(&t, i);
  close_frame(l);
}
