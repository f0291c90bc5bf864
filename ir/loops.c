#include "ir/loops.h"

loops *loops_new(arena *a, const char *name) {
  loops *l = ARENA_NEW(a, loops);
  l->arena = a;
  l->name = arena_string(a, name);
  l->iterations = 1;
  l->tile_type = DTYPE_BF16;
  l->sum_tiles = FIRST_ROW_TILE;
  l->row_tiles = FIRST_LANE_TILE - FIRST_ROW_TILE;
  l->lane_tiles = N_TILES - FIRST_LANE_TILE;
  loops_add_register(l, DTYPE_I64, 1); /* register 0: the number of the parallel iteration */
  return l;
}

uint32_t loops_add_register(loops *l, dtype type, uint32_t lanes) {
  void *registers = l->registers; /* the element type has no name */
  l->registers = arena_grow(l->arena, registers, l->n_registers, &l->registers_capacity, sizeof *l->registers);
  l->registers[l->n_registers].type = type;
  l->registers[l->n_registers].lanes = lanes;
  return l->n_registers++;
}

uint32_t loops_add_buffer(loops *l, loops_buffer b) {
  b.name = arena_string(l->arena, b.name);
  *ARENA_PUSH(l->arena, l->buffers, l->n_buffers, l->buffers_capacity) = b;
  if (b.place == PLACE_ARGUMENT) l->n_arguments = l->n_buffers;
  return l->n_buffers - 1;
}

/* What is behind the rank is 0 in all. */
uint32_t loops_add_box(loops *l, const loops_box *b) {
  for (uint32_t i = 0; i < l->n_boxes; i++)
    if (!memcmp(&l->boxes[i], b, sizeof *b)) return i;
  *ARENA_PUSH(l->arena, l->boxes, l->n_boxes, l->boxes_capacity) = *b;
  return l->n_boxes - 1;
}

int64_t loops_box_elements(const loops_box *b) {
  int64_t n = 1;
  for (uint32_t i = 0; i < b->rank; i++) n *= b->size[i];
  return n;
}

/* -- expressions ----------------------------------------------------------------------------------------- */

const loops_expr *loops_node(loops *l, loops_expr e) {
  loops_expr *made = ARENA_NEW(l->arena, loops_expr);
  *made = e;
  if (!made->active) made->active = made->lanes;
  made->args = arena_copy(l->arena, e.args, e.n_args * sizeof *e.args);
  return made;
}

const loops_expr *loops_constant(loops *l, dtype type, uint32_t lanes, scalar v) {
  return loops_node(l, (loops_expr){.kind = LOOPS_CONSTANT, .type = type, .lanes = lanes, .constant = v});
}

const loops_expr *loops_integer(loops *l, int64_t v) { return loops_constant(l, DTYPE_I64, 1, (scalar){.integer = v}); }

const loops_expr *loops_variable(loops *l, uint32_t number) {
  return loops_node(l, (loops_expr){.kind = LOOPS_VARIABLE, .type = l->registers[number].type, .lanes = l->registers[number].lanes, .number = number});
}

const loops_expr *loops_splat(loops *l, const loops_expr *e, uint32_t lanes) {
  if (e->lanes == lanes) return e;
  if (e->kind == LOOPS_CONSTANT) return loops_constant(l, e->type, lanes, e->constant);
  return loops_node(l, (loops_expr){.kind = LOOPS_SPLAT, .type = e->type, .lanes = lanes, .n_args = 1, .args = &e});
}

const loops_expr *loops_apply(loops *l, op_id op, dtype result, const loops_expr *const *args, uint32_t n) {
  const loops_expr *spread[6];
  scalar values[6];
  uint32_t lanes = 1;
  bool constant = true;
  for (uint32_t i = 0; i < n; i++)
    if (args[i]->lanes > lanes) lanes = args[i]->lanes;
  for (uint32_t i = 0; i < n; i++) {
    spread[i] = loops_splat(l, args[i], lanes);
    constant &= args[i]->kind == LOOPS_CONSTANT;
    values[i] = args[i]->constant;
  }
  if (constant && n) return loops_constant(l, result, lanes, op_evaluate(op, args[op == OP_SELECT ? 1 : 0]->type, result, values));
  return loops_node(l, (loops_expr){.kind = LOOPS_APPLY, .type = result, .lanes = lanes, .op = op, .n_args = n, .args = spread});
}

statement *loops_append(loops *l, block *to, statement s) {
  statement *made = ARENA_NEW(l->arena, statement);
  *made = s;
  *ARENA_PUSH(l->arena, to->items, to->n, to->capacity) = made;
  return made;
}

void loops_tile_shape(const loops *l, uint32_t tile, uint32_t *rows, uint32_t *columns) {
  const bool of_lanes = tile >= l->sum_tiles + l->row_tiles;
  *rows = of_lanes ? l->tile_pairs : l->tile_rows;
  *columns = of_lanes || tile < l->sum_tiles ? TILE_LANES : l->tile_pairs;
}

int64_t loops_panel_place(int64_t offset, int64_t row, int64_t column) { return offset + row * PANEL + (column ^ row % PANEL_CHUNK * PANEL_CHUNK); }

/* -- remainders ------------------------------------------------------------------------------------------ */

static const loops_expr *look_up(const loops_expr *e, loops_definition *of, const void *context) {
  for (const loops_expr *known; e->kind == LOOPS_VARIABLE && (known = of(context, e->number));) e = known;
  return e;
}

static bool is_same(const loops_expr *x, const loops_expr *y) {
  return x == y || (x->kind == LOOPS_VARIABLE && y->kind == LOOPS_VARIABLE && x->number == y->number);
}

bool loops_is_remainder(const loops_expr *e, loops_definition *of, const void *context, int64_t *by) {
  if (e->kind != LOOPS_APPLY || e->op != OP_SUB) return false;
  const loops_expr *product = look_up(e->args[1], of, context), *whole = look_up(e->args[0], of, context);
  if (product->kind != LOOPS_APPLY || product->op != OP_MUL) return false;
  for (int i = 0; i < 2; i++) {
    const loops_expr *quotient = look_up(product->args[i], of, context), *factor = product->args[1 - i];
    if (quotient->kind != LOOPS_APPLY || quotient->op != OP_FLOOR_DIV || factor->kind != LOOPS_CONSTANT) continue;
    const loops_expr *divisor = quotient->args[1];
    *by = factor->constant.integer;
    if (*by > 0 && divisor->kind == LOOPS_CONSTANT && divisor->constant.integer == *by && is_same(look_up(quotient->args[0], of, context), whole)) return true;
  }
  return false;
}
