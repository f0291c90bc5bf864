/* A kernel with squares by teams of warps. A team has a block of their rows and sweeps over the columns, block by block: each warp
 * makes its part of the squares with the matrix unit, 16 rows of `warp_lanes` columns, in memory on the chip; goes through it row by
 * row, with lanes along the columns, to take it into what is reduced; and puts what is multiplied again, narrowed, beside it, from
 * where the matrix unit takes it once more. What one reduction needs of another is complete a sweep before: squares are made anew
 * in each sweep, which costs less than one pass of exponentials over them.
 *
 * Operands of a block of columns are brought while the one before is worked on. Warps side by side have the same rows and columns of
 * their own; what each of them has reduced and added up is put together at the end of a sweep. */
#include "passes/lower_team.h"

#include <math.h>

#include "ir/expr.h"
#include "passes/schedule.h"

typedef struct {
  const square_part *part;
  operand_block rows, columns; /* of a product: lanes in the place of columns, and no rows */
  uint32_t slab;               /* of a warp: a square in f32; of a product: its factor */
  uint32_t tile;               /* of a product: the first of its sums */
} part_state;

typedef struct {
  team_base base;
  lowering *l;
  team_squares form;
  team_tile tile;
  int64_t beside;             /* warps with the same rows */
  int64_t steps;              /* blocks of columns */
  affine warp_row, warp_lane; /* numbers */
  affine at;                  /* block of rows */
  part_state square[MOST_SQUARE_PARTS], product[MOST_SQUARE_PARTS];
  int64_t slab_stride, factor_stride;
  uint32_t square_tiles;
  int32_t lanes_of[64], value_of[64]; /* by stage: memory for what lanes have reduced, and for what is complete; -1: none */
  struct {
    const expr *is;
    int8_t after; /* the sweep that completes what it is made of; -1: it is there from the beginning */
    uint32_t local;
  } of_row[MOST_ROW_VALUES]; /* computed or read once a row */
  uint32_t n_of_row;
} squares_team;

static bool is_reduction(const squares_team *t, uint32_t number) {
  for (uint32_t i = 0; i < t->form.n_products; i++)
    if (t->form.product[i].stage == number) return false;
  return t->form.sweep[number] >= 0 && t->l->kernel->stages[number].monoid != MONOID_NONE;
}

static bool in_sweep(const square_part *p, uint32_t sweep) { return p->sweeps >> sweep & 1; }

static int64_t round_up_to(int64_t x, int64_t by) { return (x + by - 1) / by * by; }

static void plain_statement(lowering *l, statement_kind kind, uint32_t number) { emit(l, (statement){.kind = kind, .number = number}); }

static void close_for(lowering *l, const block *body, uint32_t index, int64_t end) {
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = index, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, end), .step = 1, .body = *body});
}

/* -- memory on the chip --------------------------------------------------------------------------------------------- */

static uint32_t add_local(squares_team *t, const char *name, dtype type, int64_t elements) {
  return loops_add_buffer(t->l->loops, (loops_buffer){.name = name, .type = type, .place = PLACE_LOCAL, .written = true, .elements = elements});
}

static void describe_square(squares_team *t, uint32_t i) {
  part_state *s = &t->square[i];
  const square_part *p = s->part = &t->form.square[i];
  s->rows = (operand_block){.factor = p->factor[0], .walk = &t->form.rows, .sums = &p->walk, .block = t->tile.rows, .depth = team_padded(t->form.type, p->walk.points), .stages = 1, .at = t->at};
  s->columns = (operand_block){.factor = p->factor[1], .walk = &t->form.columns, .sums = &p->walk, .block = t->tile.lanes, .depth = team_padded(t->form.type, p->walk.points), .stages = t->tile.stages};
  if (p->of_rows < i) s->rows = t->square[p->of_rows].rows;
  else describe_operand(&t->base, &s->rows, "rows");
  if (p->of_columns < i) s->columns = t->square[p->of_columns].columns;
  else describe_operand(&t->base, &s->columns, "columns");
  s->slab = add_local(t, "square", DTYPE_F32, t->base.warps * TILE * t->slab_stride);
}

static void describe_product(squares_team *t, uint32_t i) {
  part_state *s = &t->product[i];
  const square_part *p = s->part = &t->form.product[i];
  s->columns = (operand_block){.factor = p->factor[1], .walk = &p->walk, .sums = &t->form.columns, .block = team_padded(t->form.type, p->walk.points), .depth = t->tile.lanes, .stages = t->tile.stages, .at = affine_constant(0)};
  if (p->of_columns < t->form.n_squares) { /* what was the result of a square is summed here */
    s->columns = t->square[p->of_columns].columns;
    s->columns.across = !s->columns.across;
  } else {
    describe_operand(&t->base, &s->columns, "lanes");
  }
  s->slab = add_local(t, "factor", t->form.type, t->base.warps * TILE * t->factor_stride);
  s->tile = t->l->loops->sum_tiles;
  t->l->loops->sum_tiles += (uint32_t)(round_up_to(p->walk.points, TILE) / TILE);
}

/* Reductions of different sweeps take turns in the memory of their lanes. */
static void describe_reductions(squares_team *t) {
  const kernel *k = t->l->kernel;
  int32_t lanes[64];
  uint32_t most = 0;
  for (uint32_t sweep = 0; sweep < t->form.n_sweeps; sweep++) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->n_stages; i++) {
      if (!is_reduction(t, i) || t->form.sweep[i] != (int8_t)sweep) continue;
      if (n == most) lanes[most++] = (int32_t)add_local(t, "reduced", DTYPE_F32, t->base.warps * TILE * WARP_LANES);
      t->lanes_of[i] = lanes[n++];
      t->value_of[i] = (int32_t)add_local(t, "values", DTYPE_F32, t->tile.rows);
    }
  }
}

static bool is_costly(const expr *e) {
  if (e->kind == EXPR_READ || (e->kind == EXPR_APPLY && (e->op == OP_DIV || !strcmp(op_table[e->op].lowering, "math")))) return true;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (is_costly(e->args[i])) return true;
  return false;
}

static int8_t completed_after(const squares_team *t, const expr *e) {
  const stage *s = e->kind == EXPR_STAGE ? &t->l->kernel->stages[e->number] : NULL;
  if (s) return s->monoid == MONOID_NONE ? completed_after(t, s->body) : t->form.sweep[e->number];
  int8_t after = -1;
  for (uint32_t i = 0; i < e->n_args; i++) {
    const int8_t of_part = completed_after(t, e->args[i]);
    if (of_part > after) after = of_part;
  }
  return after;
}

/* The largest parts of an expression that are the same for a whole row, where computing them again for each block of columns costs. */
static void collect_of_rows(squares_team *t, const expr *e, bool *seen) {
  const kernel *k = t->l->kernel;
  const uint32_t row = t->form.rows.axis[0];
  axis_set of_rows = AXIS(row);
  for (uint32_t i = 0; i < t->form.batch.n; i++) of_rows |= AXIS(t->form.batch.axis[i]);
  if (seen[e->id] || t->n_of_row == MOST_ROW_VALUES) return;
  seen[e->id] = true;
  if (e->kind == EXPR_STAGE) {
    if (k->stages[e->number].monoid == MONOID_NONE) collect_of_rows(t, k->stages[e->number].body, seen);
  } else if (e->kind != EXPR_CONSTANT && e->type == DTYPE_F32 && e->axes >> row & 1 && !(e->axes & ~of_rows)) {
    if (!is_costly(e)) return;
    t->of_row[t->n_of_row].is = e;
    t->of_row[t->n_of_row].after = completed_after(t, e);
    t->of_row[t->n_of_row++].local = add_local(t, "of_row", DTYPE_F32, t->tile.rows);
    t->l->uses[e->id] += 2; /* it is looked for */
  } else {
    for (uint32_t i = 0; i < e->n_args; i++) collect_of_rows(t, e->args[i], seen);
  }
}

static void describe_rows(squares_team *t) {
  const kernel *k = t->l->kernel;
  bool *seen = ARENA_ARRAY(t->l->arena, bool, k->exprs->count);
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (is_reduction(t, i)) collect_of_rows(t, k->stages[i].body, seen);
  for (uint32_t i = 0; i < t->form.n_products; i++) collect_of_rows(t, t->form.product[i].factor[0], seen);
}

/* -- rows ----------------------------------------------------------------------------------------------------------- */

typedef struct {
  block body, guarded;
  uint32_t index;
  affine row; /* of the warp's 16, or of the team's */
  operand test;
} row_loop;

/* Opens a loop over `n` rows of the block from `first` on, and binds their axis; rows outside are left out. */
static void open_rows(squares_team *t, row_loop *r, const affine *first, int64_t n) {
  lowering *l = t->l;
  const walk *rows = &t->form.rows;
  *r = (row_loop){0};
  open_frame(l, &r->body, false);
  r->index = new_register(l, DTYPE_I64, 1, (interval){0, n - 1}, l->depth - 1);
  r->row = affine_register(r->index, 1);
  affine_add(&r->row, first, 1);
  if (rows->points % t->tile.rows == 0) {
    bind_walk(l, rows, &t->at, t->tile.rows, &r->row);
    return;
  }
  const affine zero = affine_constant(0);
  affine number;
  r->test = number_inside(l, rows, &t->at, t->tile.rows, &r->row, 1, true, &number);
  open_frame(l, &r->guarded, true);
  l->registers[number.term[0].number].level = l->depth - 1;
  bind_walk(l, rows, &number, 1, &zero);
}

static void close_rows(squares_team *t, row_loop *r, int64_t n) {
  lowering *l = t->l;
  if (r->test.expr) {
    close_frame(l);
    emit(l, (statement){.kind = STATEMENT_IF, .value = r->test.expr, .body = r->guarded});
  }
  close_for(l, &r->body, r->index, n);
}

static operand load_local(lowering *l, uint32_t buffer, const affine *at, uint32_t lanes) {
  const operand from = emit_affine(l, at);
  const loops_expr load = {.kind = LOOPS_LOAD, .type = l->loops->buffers[buffer].type, .lanes = lanes, .active = lanes, .number = buffer, .stride = 1, .n_args = 1, .args = (const loops_expr *[]){from.expr}};
  return share(l, (operand){loops_node(l->loops, load), l->depth - 1});
}

static void store_local(lowering *l, uint32_t buffer, const affine *at, operand v, uint32_t lanes) {
  const operand to = emit_affine(l, at);
  emit(l, (statement){.kind = STATEMENT_STORE, .number = buffer, .offset = to.expr, .active = lanes, .stride = 1, .value = loops_splat(l->loops, v.expr, lanes)});
}

/* What is there for the row that is bound, and for all blocks of columns. */
static void know_values(squares_team *t, const affine *row, uint32_t sweep) {
  lowering *l = t->l;
  for (uint32_t i = 0; i < t->n_of_row; i++)
    if (t->of_row[i].after < (int8_t)sweep) add_known(l, t->of_row[i].is, t->of_row[i].is->axes, load_local(l, t->of_row[i].local, row, 1));
  for (uint32_t i = 0; i < l->kernel->n_stages; i++)
    if (t->value_of[i] >= 0 && t->form.sweep[i] < (int8_t)sweep && l->stages[i].uses) add_known(l, &l->stages[i].value, l->kernel->stages[i].free, load_local(l, (uint32_t)t->value_of[i], row, 1));
}

/* -- squares -------------------------------------------------------------------------------------------------------- */

static void emit_dot(lowering *l, uint32_t sum, uint32_t lane) {
  emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_DOT, .tile = {sum, l->loops->sum_tiles, l->loops->sum_tiles + 1 + lane}});
}

static void store_tile(squares_team *t, uint32_t tile, uint32_t slab, int64_t at) {
  affine to = times(&t->base.warp, TILE * t->slab_stride);
  to.constant += at;
  emit(t->l, (statement){.kind = STATEMENT_TILE, .action = TILE_STORE, .tile = {tile}, .number = slab, .offset = emit_affine(t->l, &to).expr, .stride = t->slab_stride});
}

static void make_square(squares_team *t, const part_state *s, const affine *turn) {
  lowering *l = t->l;
  const uint32_t first_row = l->loops->sum_tiles, first_lane = first_row + 1;
  const affine zero = affine_constant(0), row = times(&t->warp_row, TILE), column = times(&t->warp_lane, t->tile.warp_lanes);
  for (uint32_t i = 0; i < t->square_tiles; i++) emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_ZERO, .tile = {i}});
  for (int64_t sum = 0; sum < s->part->walk.points; sum += t->base.depth) {
    const affine along = affine_constant(sum);
    load_tiles(&t->base, &s->rows, first_row, 1, &row, &zero, &along);
    load_tiles(&t->base, &s->columns, first_lane, t->square_tiles, &column, turn, &along);
    for (uint32_t i = 0; i < t->square_tiles; i++) emit_dot(l, i, i);
  }
  for (uint32_t i = 0; i < t->square_tiles; i++) store_tile(t, i, s->slab, i * TILE);
}

static affine own_place(squares_team *t, const affine *row, int64_t stride) {
  affine at = times(&t->base.warp, TILE * stride);
  affine_add(&at, row, stride);
  return at;
}

static operand combined(lowering *l, const stage *s, operand x, operand y) { return apply_op(l, s->monoid == MONOID_MAX ? OP_MAX : OP_ADD, DTYPE_F32, (operand[]){x, y}, 2); }

static operand chosen(lowering *l, operand test, operand x, operand y) { return test.expr ? apply_op(l, OP_SELECT, x.expr->type, (operand[]){test, x, y}, 3) : x; }

/* In its own type: the matrix unit rounds to tf32 by itself. */
static operand narrow_value(lowering *l, const expr *factor, dtype type) {
  const expr *e = look_through(l, factor);
  if (e->kind == EXPR_APPLY && e->op == (type == DTYPE_BF16 ? OP_CAST : OP_TF32) && e->args[0]->type == type) return lower_expr(l, e->args[0]);
  return cast_value(l, lower_expr(l, factor), type);
}

/* Stores that wait until all of what is read beside them is computed. */
enum { MOST_WAITING = 64, MOST_VECTORS = 8, ROWS_AT_ONCE = 4 };
typedef struct {
  struct {
    uint32_t buffer;
    affine at;
    operand value;
  } store[MOST_WAITING];
  uint32_t n;
} waiting;

static void wait_to_store(lowering *l, waiting *w, uint32_t buffer, const affine *at, operand v) {
  if (w->n == MOST_WAITING) fail_lowering(l, "too many stages beside squares");
  else w->store[w->n].buffer = buffer, w->store[w->n].at = *at, w->store[w->n++].value = share(l, v);
}

/* Vectors of columns, and which of their lanes are columns. */
typedef struct {
  coordinate at[MOST_VECTORS];
  operand test[MOST_VECTORS];
  uint32_t n;
  bool whole;
} column_vectors;

/* Bound outside of the rows, whose loop they stay the same in. */
static column_vectors bind_columns(squares_team *t, const affine *step) {
  lowering *l = t->l;
  const walk *columns = &t->form.columns;
  column_vectors c = {.n = (uint32_t)(t->tile.warp_lanes / WARP_LANES), .whole = columns->points % t->tile.lanes == 0};
  if (c.n > MOST_VECTORS) fail_lowering(l, "a warp with too many columns");
  l->lanes = l->active = WARP_LANES;
  for (uint32_t i = 0; i < c.n && c.n <= MOST_VECTORS; i++) {
    affine column = times(&t->warp_lane, t->tile.warp_lanes);
    column.constant += i * WARP_LANES;
    column.lane = 1;
    if (!c.whole) column = register_form(l, value_of_index(l, &column), (interval){i * WARP_LANES, t->tile.lanes - t->tile.warp_lanes + (int64_t)(i + 1) * WARP_LANES - 1});
    c.test[i] = bind_inside(l, columns, step, t->tile.lanes, &column, 1, false);
    if (c.test[i].expr) c.test[i] = share(l, c.test[i]);
    c.at[i] = l->axis[columns->axis[0]];
  }
  l->lanes = l->active = 1;
  return c;
}

/* A vector of the bound row: into what the row has been reduced to so far, and into factors of products. */
static void take_in_vector(squares_team *t, uint32_t sweep, const affine *row, int64_t from, operand test, operand *reduced, waiting *w) {
  lowering *l = t->l;
  const kernel *k = l->kernel;
  for (uint32_t i = 0; i < t->form.n_squares; i++) {
    if (!in_sweep(&t->form.square[i], sweep)) continue;
    affine at = own_place(t, row, t->slab_stride);
    at.constant += from;
    add_known(l, &l->stages[t->form.square[i].stage].value, k->stages[t->form.square[i].stage].free, load_local(l, t->square[i].slab, &at, WARP_LANES));
  }
  for (uint32_t i = 0; i < k->n_stages; i++) {
    if (!is_reduction(t, i) || t->form.sweep[i] != (int8_t)sweep) continue;
    const operand v = cast_value(l, lower_expr(l, k->stages[i].body), DTYPE_F32);
    reduced[i] = share(l, chosen(l, test, combined(l, &k->stages[i], reduced[i], v), reduced[i]));
  }
  for (uint32_t i = 0; i < t->form.n_products; i++) {
    if (!in_sweep(&t->form.product[i], sweep)) continue;
    affine at = own_place(t, row, t->factor_stride);
    at.constant += from;
    const operand v = narrow_value(l, t->form.product[i].factor[0], t->form.type);
    wait_to_store(l, w, t->product[i].slab, &at, chosen(l, test, v, constant_value(l, t->form.type, (scalar){.real = 0})));
  }
}

static void take_in_row(squares_team *t, uint32_t sweep, const affine *own, const column_vectors *c, waiting *w) {
  lowering *l = t->l;
  const uint32_t axis = t->form.columns.axis[0];
  const affine at = own_place(t, own, WARP_LANES);
  affine row = times(&t->warp_row, TILE);
  operand reduced[64];
  affine_add(&row, own, 1);
  /* One behind the last may be worked on, as if it were another: it is not stored. */
  bind_inside(l, &t->form.rows, &t->at, t->tile.rows, &row, 1, false);
  know_values(t, &row, sweep);
  for (uint32_t i = 0; i < l->kernel->n_stages; i++)
    if (is_reduction(t, i) && t->form.sweep[i] == (int8_t)sweep) reduced[i] = load_local(l, (uint32_t)t->lanes_of[i], &at, WARP_LANES);
  l->lanes = l->active = WARP_LANES;
  for (uint32_t i = 0; i < c->n; i++) {
    l->axis[axis] = c->at[i];
    l->vector_axis = c->whole ? (int32_t)axis : -1;
    take_in_vector(t, sweep, own, i * WARP_LANES, c->test[i], reduced, w);
  }
  l->lanes = l->active = 1;
  l->vector_axis = -1;
  for (uint32_t i = 0; i < l->kernel->n_stages; i++)
    if (is_reduction(t, i) && t->form.sweep[i] == (int8_t)sweep) wait_to_store(l, w, (uint32_t)t->lanes_of[i], &at, reduced[i]);
}

/* Several rows at once: while one waits the others go on. */
static void take_in_rows(squares_team *t, uint32_t sweep, const affine *step) {
  lowering *l = t->l;
  const column_vectors c = bind_columns(t, step);
  const int64_t at_once = c.n < ROWS_AT_ONCE ? ROWS_AT_ONCE / c.n : 1;
  block body = {0};
  waiting w = {.n = 0};
  open_frame(l, &body, false);
  const uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, TILE / at_once - 1}, l->depth - 1);
  for (int64_t i = 0; i < at_once; i++) {
    affine own = affine_register(index, at_once);
    own.constant = i;
    take_in_row(t, sweep, &own, &c, &w);
  }
  for (uint32_t i = 0; i < w.n; i++) store_local(l, w.store[i].buffer, &w.store[i].at, w.store[i].value, WARP_LANES);
  close_for(l, &body, index, TILE / at_once);
}

static void multiply_factor(squares_team *t, const part_state *s, const affine *turn) {
  lowering *l = t->l;
  const uint32_t first_row = l->loops->sum_tiles, first_lane = first_row + 1, tiles = (uint32_t)(round_up_to(s->part->walk.points, TILE) / TILE);
  for (int64_t sum = 0; sum < t->tile.warp_lanes; sum += t->base.depth) {
    affine from = times(&t->base.warp, TILE * t->factor_stride), along = times(&t->warp_lane, t->tile.warp_lanes);
    from.constant += sum;
    along.constant += sum;
    emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_LOAD, .tile = {first_row}, .number = s->slab, .offset = emit_affine(l, &from).expr, .stride = t->factor_stride});
    for (uint32_t i = 0; i < tiles; i++) {
      const affine result = affine_constant(i * TILE);
      load_tiles(&t->base, &s->columns, first_lane + i % l->loops->lane_tiles, 1, &result, turn, &along);
      emit_dot(l, s->tile + i, i % l->loops->lane_tiles);
    }
  }
}

/* -- sweeps --------------------------------------------------------------------------------------------------------- */

/* Whether the sweep reads the columns that a square brings. */
static bool is_wanted(const squares_team *t, uint32_t square, uint32_t sweep) {
  bool wanted = false;
  for (uint32_t i = 0; i < t->form.n_squares; i++) wanted |= t->form.square[i].of_columns == square && in_sweep(&t->form.square[i], sweep);
  for (uint32_t i = 0; i < t->form.n_products; i++) wanted |= t->form.product[i].of_columns == square && in_sweep(&t->form.product[i], sweep);
  return wanted;
}

static void bring_columns(squares_team *t, uint32_t sweep, const affine *step) {
  const affine zero = affine_constant(0);
  affine round, turn;
  divide(t->l, step, t->tile.stages, &round, &turn);
  for (uint32_t i = 0; i < t->form.n_squares; i++) {
    if (t->form.square[i].of_columns != i || !is_wanted(t, i, sweep)) continue;
    operand_block columns = t->square[i].columns;
    columns.at = *step;
    bring_operand(&t->base, &columns, &zero, &turn);
  }
  for (uint32_t i = 0; i < t->form.n_products; i++)
    if (t->form.product[i].of_columns == t->form.n_squares && in_sweep(&t->form.product[i], sweep)) bring_operand(&t->base, &t->product[i].columns, step, &turn);
}

static void bring_ahead(squares_team *t, uint32_t sweep, uint32_t index) {
  later_step later;
  const affine step = open_later_step(t->l, index, t->tile.stages - 1, t->steps, &later);
  bring_columns(t, sweep, &step);
  close_later_step(t->l, &later);
}

static scalar identity(const stage *s) { return (scalar){.real = s->monoid == MONOID_MAX ? -INFINITY : 0}; }

static void clear_lanes(squares_team *t, uint32_t sweep) {
  lowering *l = t->l;
  block body = {0};
  open_frame(l, &body, false);
  const uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, TILE - 1}, l->depth - 1);
  const affine row = affine_register(index, 1), at = own_place(t, &row, WARP_LANES);
  for (uint32_t i = 0; i < l->kernel->n_stages; i++)
    if (is_reduction(t, i) && t->form.sweep[i] == (int8_t)sweep) store_local(l, (uint32_t)t->lanes_of[i], &at, constant_value(l, DTYPE_F32, identity(&l->kernel->stages[i])), WARP_LANES);
  close_for(l, &body, index, TILE);
}

/* Warps side by side share out their rows. */
static affine first_of_share(const squares_team *t) {
  affine first = times(&t->warp_row, TILE);
  affine_add(&first, &t->warp_lane, TILE / t->beside);
  return first;
}

static operand over_lanes(lowering *l, const stage *s, operand v) {
  return (operand){loops_node(l->loops, (loops_expr){.kind = LOOPS_REDUCE, .op = s->monoid == MONOID_MAX ? OP_MAX : OP_ADD, .type = DTYPE_F32, .lanes = 1, .active = WARP_LANES, .n_args = 1, .args = &v.expr}), v.level};
}

/* Where a row of the team lies among what the `i`th of the warps beside each other has. */
static affine share_place(const squares_team *t, const affine *own, int64_t i, int64_t stride) {
  affine at = times(&t->warp_row, t->beside * TILE * stride);
  at.constant += i * TILE * stride;
  affine_add(&at, &t->warp_lane, TILE / t->beside * stride);
  affine_add(&at, own, stride);
  return at;
}

/* Of the row that is bound, what has been completed by a sweep. */
static void keep_of_row(squares_team *t, const affine *row, int8_t after) {
  for (uint32_t i = 0; i < t->n_of_row; i++)
    if (t->of_row[i].after == after) store_local(t->l, t->of_row[i].local, row, lower_expr(t->l, t->of_row[i].is), 1);
}

static void keep_of_rows(squares_team *t) {
  row_loop r;
  const affine first = first_of_share(t);
  open_rows(t, &r, &first, TILE / t->beside);
  keep_of_row(t, &r.row, -1);
  close_rows(t, &r, TILE / t->beside);
}

static void complete_reductions(squares_team *t, uint32_t sweep) {
  lowering *l = t->l;
  const kernel *k = l->kernel;
  row_loop r;
  if (t->beside > 1) plain_statement(l, STATEMENT_BARRIER, 0);
  const affine first = first_of_share(t);
  open_rows(t, &r, &first, TILE / t->beside);
  know_values(t, &r.row, sweep);
  const affine own = affine_register(r.index, 1);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    if (t->form.sweep[i] != (int8_t)sweep) continue;
    if (s->monoid == MONOID_NONE) {
      if (s->output >= 0) store_output(l, i, lower_expr(l, s->body));
    } else if (is_reduction(t, i)) {
      operand v = {0};
      for (int64_t j = 0; j < t->beside; j++) {
        const affine at = share_place(t, &own, j, WARP_LANES);
        const operand lanes = load_local(l, (uint32_t)t->lanes_of[i], &at, WARP_LANES);
        v = j ? combined(l, s, v, lanes) : lanes;
      }
      operand x[COMPONENTS] = {share(l, over_lanes(l, s, v))};
      complete_sum(l, i, x);
      store_local(l, (uint32_t)t->value_of[i], &r.row, x[0], 1);
    }
  }
  keep_of_row(t, &r.row, (int8_t)sweep);
  close_rows(t, &r, TILE / t->beside);
}

static bool reduces_in(const squares_team *t, uint32_t sweep) {
  for (uint32_t i = 0; i < t->l->kernel->n_stages; i++)
    if (t->form.sweep[i] == (int8_t)sweep && (is_reduction(t, i) || (t->l->kernel->stages[i].monoid == MONOID_NONE && t->l->kernel->stages[i].output >= 0))) return true;
  return false;
}

/* One barrier a block of columns: behind it what was brought is there for all, and the stage that the next one is brought to is no
 * longer read. */
static void sweep_over(squares_team *t, uint32_t sweep) {
  lowering *l = t->l;
  const affine zero = affine_constant(0);
  block body = {0};
  if (sweep) plain_statement(l, STATEMENT_BARRIER, 0);
  for (uint32_t i = 0; i < t->form.n_squares && !sweep; i++)
    if (t->form.square[i].of_rows == i) bring_operand(&t->base, &t->square[i].rows, &zero, &zero);
  for (int64_t i = 0; i < t->tile.stages - 1; i++) {
    const affine step = affine_constant(i);
    if (i < t->steps) bring_columns(t, sweep, &step);
    plain_statement(l, STATEMENT_COMMIT, 0);
  }
  if (reduces_in(t, sweep)) clear_lanes(t, sweep);
  if (!sweep && t->n_of_row) keep_of_rows(t);
  open_frame(l, &body, false);
  const uint32_t index = new_register(l, DTYPE_I64, 1, (interval){0, t->steps - 1}, l->depth - 1);
  const affine step = affine_register(index, 1);
  affine round, turn;
  plain_statement(l, STATEMENT_WAIT, (uint32_t)t->tile.stages - 2);
  plain_statement(l, STATEMENT_BARRIER, 0);
  if (t->steps > t->tile.stages - 1) bring_ahead(t, sweep, index);
  plain_statement(l, STATEMENT_COMMIT, 0);
  divide(l, &step, t->tile.stages, &round, &turn);
  for (uint32_t i = 0; i < t->form.n_squares; i++)
    if (in_sweep(&t->form.square[i], sweep)) make_square(t, &t->square[i], &turn);
  take_in_rows(t, sweep, &step);
  for (uint32_t i = 0; i < t->form.n_products; i++)
    if (in_sweep(&t->form.product[i], sweep)) multiply_factor(t, &t->product[i], &turn);
  close_for(l, &body, index, t->steps);
  if (reduces_in(t, sweep)) complete_reductions(t, sweep);
}

/* -- products ------------------------------------------------------------------------------------------------------- */

static void finish_vector(squares_team *t, const part_state *s, const affine *own, int64_t lane, int64_t from) {
  lowering *l = t->l;
  const uint32_t axis = s->part->walk.axis[0], number = s->part->stage;
  const int64_t left = s->part->walk.points - lane;
  affine at = affine_constant(lane);
  l->lanes = WARP_LANES;
  l->active = left < WARP_LANES ? (uint32_t)left : WARP_LANES;
  l->vector_axis = (int32_t)axis;
  at.lane = 1;
  place(l, axis, &at);
  operand v[COMPONENTS] = {{0}};
  for (int64_t i = 0; i < t->beside; i++) {
    affine slab = share_place(t, own, i, t->slab_stride);
    slab.constant += from;
    const operand sums = load_local(l, t->square[0].slab, &slab, WARP_LANES);
    v[0] = i ? apply_op(l, OP_ADD, DTYPE_F32, (operand[]){v[0], sums}, 2) : sums;
  }
  v[0] = share(l, v[0]);
  complete_sum(l, number, v);
  for (uint32_t i = 0; i < l->kernel->n_stages; i++) {
    const stage *map = &l->kernel->stages[i];
    if (map->output >= 0 && map->monoid == MONOID_NONE && map->free == l->kernel->stages[number].free) store_output(l, i, lower_expr(l, map->body));
  }
  l->lanes = l->active = 1;
  l->vector_axis = -1;
}

/* As many lanes at once as a square has columns, in whose memory they go from tiles to rows. */
static void finish_product(squares_team *t, const part_state *s) {
  lowering *l = t->l;
  const int64_t points = s->part->walk.points;
  for (int64_t first = 0; first < points; first += t->tile.warp_lanes) {
    row_loop r;
    if (t->beside > 1) plain_statement(l, STATEMENT_BARRIER, 0);
    for (int64_t i = 0; i < t->tile.warp_lanes && first + i < points; i += TILE) store_tile(t, s->tile + (uint32_t)((first + i) / TILE), t->square[0].slab, i);
    if (t->beside > 1) plain_statement(l, STATEMENT_BARRIER, 0);
    const affine first_row = first_of_share(t);
    open_rows(t, &r, &first_row, TILE / t->beside);
    know_values(t, &r.row, t->form.n_sweeps);
    const affine own = affine_register(r.index, 1);
    for (int64_t i = 0; i < t->tile.warp_lanes && first + i < points; i += WARP_LANES) finish_vector(t, s, &own, first + i, i);
    close_rows(t, &r, TILE / t->beside);
  }
}

/* -- the kernel ----------------------------------------------------------------------------------------------------- */

static void find_block(squares_team *t) {
  lowering *l = t->l;
  const int64_t rows = blocks_of(&t->form.rows, t->tile.rows);
  const affine index = affine_register(0, 1), zero = affine_constant(0);
  affine batch;
  l->loops->iterations = t->form.batch.points * rows;
  l->registers[0].range = (interval){0, l->loops->iterations - 1};
  divide(l, &index, rows, &batch, &t->at);
  bind_walk(l, &t->form.batch, &batch, 1, &zero);
}

void lower_team_squares(lowering *l) {
  squares_team t = {.l = l, .tile = l->kernel->schedule.team};
  if (!kernel_team_squares(l->kernel, &t.form) || t.tile.warp_rows != TILE || TILE % (t.tile.lanes / t.tile.warp_lanes)) {
    fail_lowering(l, "a team's schedule of a kernel whose squares are not made for it");
    return;
  }
  open_frame(l, &l->loops->body, false);
  t.beside = t.tile.lanes / t.tile.warp_lanes;
  t.steps = blocks_of(&t.form.columns, t.tile.lanes);
  begin_team(&t.base, l, t.form.type, t.tile.rows / t.tile.warp_rows * t.beside);
  divide(l, &t.base.warp, t.beside, &t.warp_row, &t.warp_lane);
  find_block(&t);
  t.slab_stride = t.tile.warp_lanes + SLAB_PADDING;
  t.factor_stride = t.tile.warp_lanes + t.base.chunk;
  t.square_tiles = (uint32_t)(t.tile.warp_lanes / TILE);
  l->loops->row_tiles = 1;
  l->loops->lane_tiles = l->loops->sum_tiles = t.square_tiles;
  memset(t.lanes_of, 0xff, sizeof t.lanes_of);
  memset(t.value_of, 0xff, sizeof t.value_of);
  for (uint32_t i = 0; i < t.form.n_squares; i++) describe_square(&t, i);
  for (uint32_t i = 0; i < t.form.n_products; i++) describe_product(&t, i);
  describe_reductions(&t);
  describe_rows(&t);
  for (uint32_t i = t.square_tiles; i < l->loops->sum_tiles; i++) emit(l, (statement){.kind = STATEMENT_TILE, .action = TILE_ZERO, .tile = {i}});
  for (uint32_t i = 0; i < t.form.n_sweeps; i++) sweep_over(&t, i);
  for (uint32_t i = 0; i < t.form.n_products; i++) finish_product(&t, &t.product[i]);
  close_frame(l);
}
