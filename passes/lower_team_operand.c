/* See lower_team.h. */
#include "passes/lower_team.h"

#include "ir/expr.h"
#include "passes/schedule.h"

/* -- walks ---------------------------------------------------------------------------------------------------- */

affine times(const affine *a, int64_t factor) {
  affine out = affine_constant(0);
  affine_add(&out, a, factor);
  return out;
}

affine plus(affine a, const affine *b) {
  affine_add(&a, b, 1);
  return a;
}

void divide(lowering *l, const affine *a, int64_t by, affine *quotient, affine *rest) {
  affine of = *a;
  if (!affine_divide(l, &of, by, AFFINE_EMIT, quotient, rest)) fail_lowering(l, "lanes of a team meet a division");
}

int64_t blocks_of(const walk *w, int64_t size) { return (w->points + size - 1) / size; }

void place(lowering *l, uint32_t axis, const affine *at) { l->axis[axis] = (coordinate){*at, 1, affine_id(l, at)}; }

void bind_walk(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner) {
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

operand number_inside(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner, int64_t unit, bool where_it_holds, affine *number) {
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

operand bind_inside(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner, int64_t unit, bool where_it_holds) {
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

affine register_form(lowering *l, operand v, interval range) {
  v = share(l, v);
  if (v.expr->kind == LOOPS_CONSTANT) return affine_constant(v.expr->constant.integer);
  l->registers[v.expr->number].range = range;
  return affine_register(v.expr->number, 1);
}

static operand integer_op(lowering *l, op_id op, operand x, int64_t y) {
  return apply_op(l, op, DTYPE_I64, (operand[]){x, constant_value(l, DTYPE_I64, (scalar){.integer = y})}, 2);
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

static void number_lanes(const team_base *t, operand_block *o) {
  lowering *l = t->l;
  const int64_t wide = (t->panels ? PANEL : o->columns) / t->chunk;
  const affine lanes = {.lane = 1};
  l->lanes = l->active = WARP_LANES;
  const operand lane = share(l, value_of_index(l, &lanes));
  o->lane_row = register_form(l, integer_op(l, OP_FLOOR_DIV, lane, wide), (interval){0, WARP_LANES / wide - 1});
  o->lane_chunk = register_form(l, integer_op(l, OP_MOD, lane, wide), (interval){0, wide - 1});
  l->lanes = l->active = 1;
}

void describe_operand(const team_base *t, operand_block *o, const char *name) {
  const kernel *k = t->l->kernel;
  const walk *sums = o->sums;
  const expr *read = team_read(k, o->factor, t->type);
  const int64_t chunks = t->warps * WARP_LANES * t->chunk;
  const bool along = read && lies_in_chunks(k, read, sums->axis[sums->n - 1], t->chunk), across = read && o->walk->n && lies_in_chunks(k, read, o->walk->axis[o->walk->n - 1], t->chunk);
  if ((along || across) && o->block * o->depth % chunks == 0) o->read = read;
  o->across = o->read ? !along : across || (read && o->walk->n && access_stride(k, read->number, read->args, o->walk->axis[o->walk->n - 1]) == 1);
  o->rows = o->across ? o->depth : o->block;
  o->columns = o->across ? o->block : o->depth;
  /* Words of f32 across are read one by one: rows of 8 banks each, four of which meet all 32. */
  o->stride = o->columns + (t->panels ? 0 : o->across ? 8 : t->chunk);
  if (o->read) number_lanes(t, o);
  if (t->panels) describe_panels(t, o);
  o->local = loops_add_buffer(t->l->loops, (loops_buffer){.name = name, .type = t->type, .place = PLACE_LOCAL, .written = true, .elements = o->stages * o->rows * o->stride});
}

operand bind_operand(const team_base *t, const operand_block *o, const affine *step, const affine *row, const affine *column) {
  lowering *l = t->l;
  const bool copied = o->read;
  const int64_t unit = copied ? t->chunk : 1;
  const operand x = bind_inside(l, o->walk, &o->at, o->block, o->across ? column : row, o->across ? unit : 1, copied);
  const operand y = bind_inside(l, o->sums, step, o->depth, o->across ? row : column, o->across ? 1 : unit, copied);
  return both(l, x, y);
}

static affine local_place(const operand_block *o, const affine *turn, const affine *row, const affine *column) {
  affine at = times(turn, o->rows * o->stride);
  affine_add(&at, row, o->stride);
  return plus(at, column);
}

void copy_chunk(const team_base *t, const operand_block *o, const affine *to, operand test) {
  lowering *l = t->l;
  operand edge;
  const operand from = copy_place(l, o->read, &edge), at = emit_affine(l, to);
  test = both(l, test, edge);
  emit(l, (statement){.kind = STATEMENT_COPY,
                      .number = o->local,
                      .from = o->read->number,
                      .active = (uint32_t)t->chunk,
                      .offset = loops_splat(l->loops, at.expr, WARP_LANES),
                      .source = loops_splat(l->loops, from.expr, WARP_LANES),
                      .value = test.expr ? loops_splat(l->loops, test.expr, WARP_LANES) : NULL});
}

/* A chunk a lane: neighbouring lanes copy neighbouring chunks. */
static void copy_chunks(const team_base *t, const operand_block *o, const affine *step, const affine *turn) {
  lowering *l = t->l;
  const int64_t high = WARP_LANES * t->chunk / o->columns, times_over = o->rows / (high * t->warps);
  const affine column = times(&o->lane_chunk, t->chunk);
  l->lanes = l->active = WARP_LANES;
  for (int64_t i = 0; i < times_over; i++) {
    affine row = plus(times(&t->warp, high), &o->lane_row);
    row.constant += i * high * t->warps;
    const affine to = local_place(o, turn, &row, &column);
    copy_chunk(t, o, &to, bind_operand(t, o, step, &row, &o->lane_chunk));
  }
  l->lanes = l->active = 1;
}

operand factor_value(const team_base *t, const operand_block *o, operand test) {
  lowering *l = t->l;
  const operand v = cast_value(l, lower_expr(l, o->factor), t->type);
  return test.expr ? apply_op(l, OP_SELECT, t->type, (operand[]){test, v, constant_value(l, t->type, (scalar){.real = 0})}, 3) : v;
}

/* Element by element, a lane each, computed on the way. */
static void compute_elements(const team_base *t, const operand_block *o, const affine *step, const affine *turn) {
  lowering *l = t->l;
  const int64_t vector_of = o->columns < WARP_LANES ? o->columns : WARP_LANES, wide = o->columns / vector_of, rounds = o->rows * wide / t->warps;
  const walk *along = o->across ? o->walk : o->sums;
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
  const operand v = factor_value(t, o, bind_operand(t, o, step, &row, &column)), at = emit_affine(l, &to);
  emit(l, (statement){.kind = STATEMENT_STORE, .number = o->local, .offset = at.expr, .active = (uint32_t)vector_of, .stride = 1, .value = loops_splat(l->loops, v.expr, WARP_LANES)});
  l->vector_axis = -1;
  l->lanes = l->active = 1;
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = round, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, rounds), .step = 1, .body = body});
}

void bring_operand(const team_base *t, const operand_block *o, const affine *step, const affine *turn) {
  if (t->panels) (o->read ? copy_panels : compute_panels)(t, o, step, turn);
  else (o->read ? copy_chunks : compute_elements)(t, o, step, turn);
}

void load_tiles(const team_base *t, const operand_block *o, uint32_t first, int64_t n, const affine *from, const affine *turn, const affine *sum) {
  lowering *l = t->l;
  for (int64_t i = 0; i < n; i++) {
    affine result = *from;
    result.constant += i * TILE;
    const affine at = o->across ? local_place(o, turn, sum, &result) : local_place(o, turn, &result, sum);
    const operand offset = emit_affine(l, &at);
    emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_LOAD, .tile = {first + (uint32_t)i}, .number = o->local, .offset = offset.expr, .stride = o->stride, .across = o->across});
  }
}

void begin_team(team_base *t, lowering *l, dtype type, int64_t warps) {
  *t = (team_base){.l = l, .type = type, .warps = warps, .chunk = CHUNK_BYTES / (int64_t)dtype_bytes(type), .depth = type == DTYPE_BF16 ? TILE : TILE / 2};
  l->loops->team = (uint32_t)warps;
  l->loops->team_register = new_register(l, DTYPE_I64, 1, (interval){0, warps - 1}, 0);
  t->warp = affine_register(l->loops->team_register, 1);
  l->loops->tile_rows = TILE;
  l->loops->tile_type = type;
  l->loops->tile_pairs = TILE / 2;
}

affine open_later_step(lowering *l, uint32_t index, int64_t ahead, int64_t steps, later_step *s) {
  affine form = affine_register(index, 1);
  form.constant = ahead;
  const operand later = share(l, emit_affine(l, &form)), end = constant_value(l, DTYPE_I64, (scalar){.integer = steps});
  *s = (later_step){.test = apply_op(l, OP_LT, DTYPE_BOOL, (operand[]){later, end}, 2)};
  open_frame(l, &s->body, true);
  l->registers[later.expr->number].range = (interval){ahead, steps - 1};
  l->registers[later.expr->number].level = l->depth - 1;
  return affine_register(later.expr->number, 1);
}

void close_later_step(lowering *l, const later_step *s) {
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_IF, .value = s->test.expr, .body = s->body});
}
