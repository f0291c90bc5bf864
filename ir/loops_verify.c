/* Structure, types, and every access inside its buffer by interval analysis over the ranges of loops. */
#include "ir/expr.h"
#include "ir/loops.h"

typedef struct {
  bool set;
  uint32_t settings;       /* how many statements set it */
  const loops_expr *value; /* of a register that one statement sets */
  interval range;          /* of integers, all lanes together */
} register_state;

typedef struct {
  const loops *loops;
  arena *arena;
  register_state *registers;
  struct {
    uint32_t number;
    register_state before;
  } * changes; /* since the start, for going back at the end of a body */
  uint32_t n_changes, changes_capacity;
  uint32_t depth; /* of definitions that ranges look through; 0: they do not */
  const char *error;
} checker;

static const interval whole = {INT64_MIN, INT64_MAX};

enum { MOST_LANES = 64, MOST_ARGS = 6, MOST_DEPTH = 16 };

static void fail(checker *c, const char *message) {
  if (!c->error) c->error = arena_printf(c->arena, "%s: %s", c->loops->name, message);
}

static register_state *change(checker *c, uint32_t number) {
  ARENA_PUSH(c->arena, c->changes, c->n_changes, c->changes_capacity);
  c->changes[c->n_changes - 1].number = number;
  c->changes[c->n_changes - 1].before = c->registers[number];
  return &c->registers[number];
}

static void go_back(checker *c, uint32_t to) {
  while (c->n_changes > to) {
    c->n_changes--;
    c->registers[c->changes[c->n_changes].number] = c->changes[c->n_changes].before;
  }
}

/* -- ranges ----------------------------------------------------------------------------------------------- */

static const loops_expr *definition_of(const void *context, uint32_t number) {
  const checker *c = context;
  return number < c->loops->n_registers ? c->registers[number].value : NULL;
}

static interval range(checker *c, const loops_expr *e, uint32_t active);

static interval apply_range(checker *c, const loops_expr *e, uint32_t active) {
  interval ranges[MOST_ARGS];
  dtype types[MOST_ARGS];
  int64_t by;
  for (uint32_t i = 0; i < e->n_args; i++) {
    types[i] = e->args[i]->type;
    ranges[i] = range(c, e->args[i], active);
  }
  interval all = op_range(e->op, e->type, types, ranges, e->n_args);
  if (e->n_args != 2 || !loops_is_remainder(e, definition_of, c, &by)) return all;
  return (interval){all.low > 0 ? all.low : 0, all.high < by - 1 ? all.high : by - 1};
}

static interval moved(interval r, int64_t reach) {
  interval out;
  if (__builtin_add_overflow(r.low, reach < 0 ? reach : 0, &out.low)) return whole;
  if (__builtin_add_overflow(r.high, reach > 0 ? reach : 0, &out.high)) return whole;
  return out;
}

/* What an enclosing IF says of a register bears on those that were computed from it outside. */
static interval looked_through(checker *c, const loops_expr *variable, uint32_t active) {
  const register_state *state = &c->registers[variable->number];
  if (state->settings > 1) return dtype_range(variable->type); /* it may have changed since */
  if (!state->value || c->depth == MOST_DEPTH) return state->range;
  c->depth++;
  const interval inner = range(c, state->value, active);
  c->depth--;
  return (interval){inner.low > state->range.low ? inner.low : state->range.low, inner.high < state->range.high ? inner.high : state->range.high};
}

/* Of the first `active` lanes. */
static interval range(checker *c, const loops_expr *e, uint32_t active) {
  if (dtype_is_real(e->type)) return whole;
  switch (e->kind) {
  case LOOPS_CONSTANT: return (interval){e->constant.integer, e->constant.integer};
  case LOOPS_VARIABLE:
    if (c->depth) return looked_through(c, e, active);
    if (active < e->lanes && c->registers[e->number].value) return range(c, c->registers[e->number].value, active);
    return c->registers[e->number].range;
  case LOOPS_SPLAT: return range(c, e->args[0], 1);
  case LOOPS_RAMP: return moved(range(c, e->args[0], 1), ((int64_t)active - 1) * e->stride);
  case LOOPS_APPLY: return apply_range(c, e, active);
  case LOOPS_REDUCE: return e->op == OP_ADD ? dtype_range(e->type) : range(c, e->args[0], e->active);
  default: return dtype_range(e->type);
  }
}

/* -- expressions ------------------------------------------------------------------------------------------ */

/* An access `active` lanes wide, `stride` apart, at an offset of which `lanes` lanes count. */
static void check_access(checker *c, const char *what, uint32_t number, const loops_expr *offset, uint32_t lanes, uint32_t active, int64_t stride) {
  if (number >= c->loops->n_buffers) {
    fail(c, "an access to no buffer");
    return;
  }
  const loops_buffer *b = &c->loops->buffers[number];
  const int64_t width = ((int64_t)active - 1) * stride;
  interval reach = moved(range(c, offset, lanes), width);
  if (reach.low < 0 || reach.high >= b->elements) {
    c->depth = 1;
    reach = moved(range(c, offset, lanes), width);
    c->depth = 0;
  }
  if (reach.low < 0 || reach.high >= b->elements)
    fail(c, arena_printf(c->arena, "a %s of %s at %lld..%lld, it has %lld elements", what, b->name,
                         (long long)reach.low, (long long)reach.high, (long long)b->elements));
}

static void check_variable(checker *c, const loops_expr *e) {
  if (e->number >= c->loops->n_registers) fail(c, "a register that does not exist");
  else if (!c->registers[e->number].set) fail(c, arena_printf(c->arena, "r%u is read before it is set", e->number));
  else if (c->loops->registers[e->number].type != e->type || c->loops->registers[e->number].lanes != e->lanes)
    fail(c, "a register is read as another type");
}

static void check_apply(checker *c, const loops_expr *e) {
  dtype types[MOST_ARGS], result;
  if ((int)e->n_args != op_table[e->op].arity) {
    fail(c, arena_printf(c->arena, "%s of %u operands", op_table[e->op].name, e->n_args));
    return;
  }
  for (uint32_t i = 0; i < e->n_args; i++) {
    types[i] = e->args[i]->type;
    if (e->args[i]->lanes != e->lanes) fail(c, arena_printf(c->arena, "%s of unequal lanes", op_table[e->op].name));
  }
  if (!op_result_dtype(e->op, types, e->type, &result) || result != e->type)
    fail(c, arena_printf(c->arena, "%s of wrong types", op_table[e->op].name));
}

static void check(checker *c, const loops_expr *e) {
  if (c->error) return;
  uint32_t active = e->active ? e->active : e->lanes;
  if (e->lanes < 1 || e->lanes > MOST_LANES || e->n_args > MOST_ARGS ||
      (e->kind != LOOPS_REDUCE && active > e->lanes)) {
    fail(c, "a value of no possible width");
    return;
  }
  for (uint32_t i = 0; i < e->n_args; i++) check(c, e->args[i]);
  if (c->error) return;
  switch (e->kind) {
  case LOOPS_VARIABLE: check_variable(c, e); break;
  case LOOPS_LOAD:
    check_access(c, "load", e->number, e->args[0], 1, active, e->lanes == 1 ? 0 : e->stride);
    break;
  case LOOPS_GATHER:
    if (e->args[0]->lanes != e->lanes) fail(c, "a gather at offsets of other lanes");
    check_access(c, "gather", e->number, e->args[0], active, 1, 0);
    break;
  case LOOPS_SPLAT:
    if (e->args[0]->lanes != 1) fail(c, "a splat of a vector");
    break;
  case LOOPS_FMA:
    for (int i = 0; i < 3; i++)
      if (e->args[i]->type != e->type || e->args[i]->lanes != e->lanes) fail(c, "fma of unequal types");
    break;
  case LOOPS_SCALE:
    for (int i = 0; i < 2; i++)
      if (e->args[i]->type != e->type || e->args[i]->lanes != e->lanes || e->type != DTYPE_F32) fail(c, "a scale of wrong types");
    break;
  case LOOPS_PAIRS:
    if (e->type != DTYPE_U32 || e->number >= c->loops->n_buffers || c->loops->buffers[e->number].type != DTYPE_BF16) fail(c, "pairs of something else than bf16");
    else check_access(c, "load", e->number, e->args[0], 1, 2 * active, 1);
    break;
  case LOOPS_DOT:
    for (int i = 0; i < 3; i++)
      if (e->args[i]->type != (i < 2 ? DTYPE_U32 : DTYPE_F32) || e->args[i]->lanes != e->lanes || e->type != DTYPE_F32) fail(c, "dot of wrong types");
    break;
  case LOOPS_INTERLEAVE:
    if (e->n_args != 2 && e->n_args != 4) fail(c, "lanes are taken from two or four values");
    for (uint32_t i = 0; i < e->n_args; i++)
      if (e->args[i]->type != e->type || e->args[i]->lanes * e->n_args != e->lanes) fail(c, "lanes are taken from unlike values");
    break;
  case LOOPS_REDUCE:
    if (e->lanes != 1 || e->args[0]->type != e->type) fail(c, "a reduction to another type");
    break;
  case LOOPS_APPLY:
  case LOOPS_CALL: check_apply(c, e); break;
  case LOOPS_CONSTANT:
  case LOOPS_RAMP: break;
  }
}

/* -- statements ------------------------------------------------------------------------------------------- */

static void narrow(checker *c, const loops_expr *variable, int64_t low, int64_t high) {
  interval *r = &change(c, variable->number)->range;
  if (low > r->low) r->low = low;
  if (high < r->high) r->high = high;
}

/* Inside an IF, its comparisons of registers with constants hold. */
static void assume(checker *c, const loops_expr *test) {
  if (test->kind == LOOPS_SPLAT) test = test->args[0];
  if (test->kind != LOOPS_APPLY || test->n_args != 2) return;
  const loops_expr *x = test->args[0], *y = test->args[1];
  int64_t strict = test->op == OP_LT;
  if (test->op == OP_AND) {
    assume(c, x);
    assume(c, y);
  } else if (test->op == OP_LT || test->op == OP_LE) {
    if (x->kind == LOOPS_VARIABLE && y->kind == LOOPS_CONSTANT) narrow(c, x, INT64_MIN, y->constant.integer - strict);
    if (y->kind == LOOPS_VARIABLE && x->kind == LOOPS_CONSTANT) narrow(c, y, x->constant.integer + strict, INT64_MAX);
  } else if (test->op == OP_EQ && x->kind == LOOPS_VARIABLE && y->kind == LOOPS_CONSTANT) {
    narrow(c, x, y->constant.integer, y->constant.integer);
  }
}

static void check_block(checker *c, const block *b);

static void check_block(checker *c, const block *b);

static void check_for(checker *c, const statement *s) {
  check(c, s->begin);
  check(c, s->end);
  if (s->step < 1 || s->number >= c->loops->n_registers) fail(c, "a loop that does not advance");
  if (c->error) return;
  interval begin = range(c, s->begin, 1), end = range(c, s->end, 1);
  if (end.high <= begin.low) return;
  uint32_t before = c->n_changes;
  register_state *index = change(c, s->number);
  index->set = true;
  index->range = (interval){begin.low, end.high - 1};
  if (begin.low == begin.high) index->range.high = begin.low + (end.high - 1 - begin.low) / s->step * s->step;
  check_block(c, &s->body);
  go_back(c, before); /* the body may not run: what it sets counts as unset behind it */
}

static void check_if(checker *c, const statement *s) {
  uint32_t before = c->n_changes;
  check(c, s->value);
  if (s->value->type != DTYPE_BOOL || s->value->lanes != 1) fail(c, "a test that is no truth value");
  if (c->error) return;
  assume(c, s->value);
  check_block(c, &s->body);
  go_back(c, before);
}

static void check_set(checker *c, const statement *s) {
  check(c, s->value);
  if (s->number >= c->loops->n_registers || c->loops->registers[s->number].type != s->value->type ||
      c->loops->registers[s->number].lanes != s->value->lanes) {
    fail(c, "a register is set to another type");
    return;
  }
  if (c->error) return;
  bool once = c->registers[s->number].settings == 1;
  interval r = once ? range(c, s->value, s->value->lanes) : dtype_range(s->value->type);
  register_state *state = change(c, s->number);
  state->set = true;
  state->value = once ? s->value : NULL;
  state->range = r;
}

static void check_store(checker *c, const statement *s) {
  check(c, s->offset);
  check(c, s->value);
  if (c->error) return;
  if (s->active < 1 || s->active > s->value->lanes) fail(c, "a store of no lanes");
  check_access(c, "store", s->number, s->offset, 1, s->active, s->stride);
  if (!c->error && s->value->type != c->loops->buffers[s->number].type) fail(c, "a store of another type");
  if (!c->error && !c->loops->buffers[s->number].written) fail(c, "a store to what is only read");
}

static void check_tile(checker *c, const statement *s) {
  const loops *l = c->loops;
  const uint32_t first_row = l->sum_tiles, first_lane = first_row + l->row_tiles;
  uint32_t rows, columns;
  for (int i = 0; i < (s->action == TILE_DOT ? 3 : 1); i++)
    if (s->tile[i] >= first_lane + l->lane_tiles) fail(c, "a tile that does not exist");
  if (!l->tile_rows || l->tile_rows > TILE_LANES || !l->tile_pairs || l->tile_pairs > TILE_LANES) fail(c, "tiles of no possible shape");
  if (s->action == TILE_DOT && (s->tile[0] >= first_row || s->tile[1] < first_row || s->tile[1] >= first_lane || s->tile[2] < first_lane)) fail(c, "a product of other tiles");
  if (c->error || (s->action != TILE_LOAD && s->action != TILE_STORE)) return;
  check(c, s->offset);
  loops_tile_shape(c->loops, s->tile[0], &rows, &columns);
  if (s->number >= c->loops->n_buffers || s->stride < 0) fail(c, "a tile of no buffer");
  if (c->error) return;
  const loops_buffer *b = &c->loops->buffers[s->number];
  if (l->team && s->action == TILE_LOAD) {
    const uint32_t along = l->tile_pairs * (l->tile_type == DTYPE_BF16 ? 2 : 1);
    rows = s->across ? along : TILE_LANES;
    columns = (s->across ? TILE_LANES : along) * (uint32_t)dtype_bytes(b->type) / 4;
  }
  const int64_t wide = columns * 4 / (int64_t)dtype_bytes(b->type), last = (rows - 1) * s->stride;
  if (l->team && b->type != (s->action == TILE_STORE ? DTYPE_F32 : l->tile_type)) fail(c, "a tile of another type");
  check_access(c, "tile", s->number, s->offset, 1, (uint32_t)(last + wide), 1);
  if (!c->error && s->action == TILE_STORE && !b->written) fail(c, "a store to what is only read");
}

static void check_copy(checker *c, const statement *s) {
  const loops *l = c->loops;
  check(c, s->offset);
  check(c, s->source);
  if (s->value) check(c, s->value);
  if (c->error) return;
  const uint32_t lanes = s->offset->lanes;
  if (!l->team || s->number >= l->n_buffers || s->from >= l->n_buffers || s->source->lanes != lanes || (s->value && (s->value->lanes != lanes || s->value->type != DTYPE_BOOL))) {
    fail(c, "a copy of unequal lanes, of no buffer, or not by a team");
    return;
  }
  if (l->buffers[s->number].place != PLACE_LOCAL || l->buffers[s->number].type != l->buffers[s->from].type) fail(c, "a copy that does not go to a local buffer of its type");
  check_access(c, "copy", s->number, s->offset, lanes, s->active, 1);
  const uint32_t before = c->n_changes;
  if (s->value) assume(c, s->value);
  check_access(c, "copy", s->from, s->source, lanes, s->active, 1);
  go_back(c, before);
}

/* Panels from an offset on, each at a multiple of the size of eight rows. */
static void check_panels(checker *c, uint32_t buffer, const loops_expr *offset, int64_t n) {
  const loops *l = c->loops;
  if (buffer >= l->n_buffers || l->buffers[buffer].place != PLACE_LOCAL || l->buffers[buffer].type != DTYPE_BF16 || offset->lanes != 1) fail(c, "a product of what are no local buffers of bf16");
  else check_access(c, "product", buffer, offset, 1, (uint32_t)(n * PANEL * PANEL), 1);
}

static void check_product(checker *c, const statement *s) {
  enum { MOST_TILES = 16, PANEL_TILES = PANEL / TILE_LANES };
  check(c, s->offset);
  check(c, s->source);
  if (c->error) return;
  if (c->loops->team % GROUP_WARPS || !c->loops->team) fail(c, "a product by less than a group");
  if (!s->active || s->active % PANEL_TILES || s->active > MOST_TILES || s->tile[0] + s->active > c->loops->sum_tiles) fail(c, "a product into tiles that do not exist");
  check_panels(c, s->number, s->offset, 1);
  check_panels(c, s->from, s->source, s->active / PANEL_TILES);
}

/* What a copy of boxes can be told of: everything outside of a row is at a multiple of 16 bytes. */
static void check_shape(checker *c, const loops_box *b) {
  enum { CHUNK = 8 };
  const loops *l = c->loops;
  int64_t last = 0;
  bool good = b->buffer < l->n_arguments && l->buffers[b->buffer].type == DTYPE_BF16 && !l->buffers[b->buffer].written;
  good = good && b->rank >= 2 && b->rank <= BOX_RANK && b->size[0] == PANEL && b->stride[0] == 1 && loops_box_elements(b) % (PANEL_CHUNK * PANEL) == 0;
  for (uint32_t i = 0; good && i < b->rank; i++) {
    good = b->size[i] >= 1 && b->size[i] <= BOX_MOST && b->extent[i] >= 1 && b->extent[i] <= INT32_MAX && b->stride[i] >= 1 && (!i || b->stride[i] % CHUNK == 0);
    last += (b->extent[i] - 1) * b->stride[i];
  }
  if (!good || last >= l->buffers[b->buffer].elements) fail(c, "a box that is none of its buffer");
}

static void check_arrival(checker *c, const loops_expr *number) {
  check(c, number);
  if (c->error) return;
  const interval r = range(c, number, 1);
  if (number->lanes != 1 || number->type != DTYPE_I64 || r.low < 0 || r.high >= c->loops->arrivals) fail(c, "an arrival that does not exist");
}

static void check_box(checker *c, const statement *s) {
  const loops *l = c->loops;
  check(c, s->offset);
  check_arrival(c, s->source);
  if (!c->error && (s->from >= l->n_boxes || s->number >= l->n_buffers || l->buffers[s->number].place != PLACE_LOCAL || l->buffers[s->number].type != DTYPE_BF16)) fail(c, "a box that goes to no local buffer of bf16");
  for (uint32_t i = 0; !c->error && i < l->boxes[s->from].rank; i++) {
    check(c, s->at[i]);
    if (c->error) return;
    const interval r = range(c, s->at[i], 1);
    if (s->at[i]->lanes != 1 || s->at[i]->type != DTYPE_I64 || r.low < INT32_MIN || r.high > INT32_MAX) fail(c, "a box at no possible place");
  }
  if (!c->error) check_access(c, "box", s->number, s->offset, 1, (uint32_t)loops_box_elements(&l->boxes[s->from]), 1);
}

/* Boxes follow what says how many bytes they are, all for one arrival. */
static void check_expected(checker *c, const block *b, uint32_t at) {
  const statement *s = b->items[at];
  int64_t bytes = 0;
  check_arrival(c, s->offset);
  for (uint32_t i = at + 1; !c->error && i < b->n && b->items[i]->kind == STATEMENT_BOX; i++) {
    if (b->items[i]->from >= c->loops->n_boxes) return;
    bytes += loops_box_elements(&c->loops->boxes[b->items[i]->from]) * (int64_t)sizeof(uint16_t);
    if (b->items[i]->source != s->offset) fail(c, "a box for another arrival than is told of it");
  }
  if (!c->error && (!bytes || bytes != s->number)) fail(c, "an arrival is told of other bytes than its boxes have");
}

static void check_block(checker *c, const block *b) {
  for (uint32_t i = 0; i < b->n && !c->error; i++) {
    const statement *s = b->items[i];
    switch (s->kind) {
    case STATEMENT_FOR: check_for(c, s); break;
    case STATEMENT_IF: check_if(c, s); break;
    case STATEMENT_SET: check_set(c, s); break;
    case STATEMENT_STORE: check_store(c, s); break;
    case STATEMENT_TILE: check_tile(c, s); break;
    case STATEMENT_FETCH:
      check(c, s->offset);
      if (!c->error && (s->offset->type != DTYPE_I64 || s->offset->lanes != 1)) fail(c, "a fetch wants a scalar offset");
      break;
    case STATEMENT_COPY: check_copy(c, s); break;
    case STATEMENT_PRODUCT: check_product(c, s); break;
    case STATEMENT_EXPECT: check_expected(c, b, i); break;
    case STATEMENT_BOX:
      if (!i || (b->items[i - 1]->kind != STATEMENT_EXPECT && b->items[i - 1]->kind != STATEMENT_BOX)) fail(c, "a box that no arrival is told of");
      if (!c->error) check_box(c, s);
      break;
    case STATEMENT_ARRIVED:
      check_arrival(c, s->offset);
      check(c, s->source);
      break;
    case STATEMENT_COMMIT:
    case STATEMENT_WAIT:
    case STATEMENT_BARRIER:
    case STATEMENT_SETTLE:
      if (!c->loops->team) fail(c, "a barrier without a team");
      break;
    }
  }
}

static void count_settings(checker *c, const block *b) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    if (s->kind == STATEMENT_SET && s->number < c->loops->n_registers) c->registers[s->number].settings++;
    count_settings(c, &s->body);
  }
}

const char *loops_verify(const loops *l, arena *scratch) {
  checker c = {.loops = l, .arena = scratch};
  c.registers = ARENA_ARRAY(scratch, register_state, l->n_registers);
  count_settings(&c, &l->body);
  c.registers[0].set = true;
  c.registers[0].range = (interval){0, l->iterations - 1};
  if (l->team) {
    c.registers[l->team_register].set = true;
    c.registers[l->team_register].range = (interval){0, l->team - 1};
  }
  for (uint32_t i = 0; i < l->n_boxes; i++) check_shape(&c, &l->boxes[i]);
  if (l->arrivals && !l->team) fail(&c, "arrivals without a team");
  check_block(&c, &l->body);
  return c.error;
}
