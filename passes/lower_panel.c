/* Blocks of operands in panels (ir/loops.h), as the matrix unit of groups of warps reads them. See lower_team.h. */
#include "passes/lower_team.h"

/* Where in its row a lane's chunk goes. Rows of a warp begin at multiples of four, and follow each other at multiples of eight. */
void describe_panels(const team_base *t, operand_block *o) {
  lowering *l = t->l;
  affine rest, odd;
  if (!o->read) return;
  describe_boxes(t, o);
  divide(l, &t->warp, PANEL_CHUNK * PANEL_CHUNK / WARP_LANES, &rest, &odd);
  affine row = times(&odd, WARP_LANES / PANEL_CHUNK);
  l->lanes = l->active = WARP_LANES;
  row = plus(row, &o->lane_row);
  const operand x = share(l, value_of_index(l, &row)), chunk = share(l, value_of_index(l, &o->lane_chunk));
  o->lane_place = register_form(l, apply_op(l, OP_XOR, DTYPE_I64, (operand[]){x, chunk}, 2), (interval){0, PANEL_CHUNK - 1});
  l->lanes = l->active = 1;
}

/* Rows of all panels of the block follow each other. */
void copy_panels(const team_base *t, const operand_block *o, const affine *step, const affine *turn) {
  lowering *l = t->l;
  const int64_t high = WARP_LANES / PANEL_CHUNK, at_once = high * t->warps;
  l->lanes = l->active = WARP_LANES;
  for (int64_t i = 0; i < o->rows * o->columns / PANEL / at_once; i++) {
    const int64_t first = i * at_once;
    affine row = plus(times(&t->warp, high), &o->lane_row), column = o->lane_chunk, to = times(turn, o->rows * o->columns);
    affine_add(&to, &row, PANEL);
    affine_add(&to, &o->lane_place, PANEL_CHUNK);
    to.constant += first * PANEL;
    row.constant += first % o->rows;
    column.constant += first / o->rows * PANEL_CHUNK;
    copy_chunk(t, o, &to, bind_operand(t, o, step, &row, &column));
  }
  l->lanes = l->active = 1;
}

/* Lanes store side by side; which column that is for each of them follows from the row. */
void compute_panels(const team_base *t, const operand_block *o, const affine *step, const affine *turn) {
  lowering *l = t->l;
  const int64_t wide = PANEL / WARP_LANES, rounds = o->rows * o->columns / WARP_LANES / t->warps;
  block body = {0};
  open_frame(l, &body, false);
  const uint32_t round = new_register(l, DTYPE_I64, 1, (interval){0, rounds - 1}, l->depth - 1);
  affine index = plus(times(&(affine){.n = 1, .term[0] = {round, 1}}, t->warps), &t->warp), panel, row, vector, ignored, among;
  affine to = times(turn, o->rows * o->columns);
  affine_add(&to, &index, WARP_LANES);
  divide(l, &index, o->rows * wide, &panel, &row);
  divide(l, &row, wide, &row, &vector);
  divide(l, &row, PANEL_CHUNK, &ignored, &among);
  affine column = times(&vector, WARP_LANES);
  const affine moved = times(&among, PANEL_CHUNK);
  l->lanes = l->active = WARP_LANES;
  column.lane = 1;
  const operand x = value_of_index(l, &column), y = value_of_index(l, &moved);
  column = register_form(l, apply_op(l, OP_XOR, DTYPE_I64, (operand[]){x, y}, 2), (interval){0, PANEL - 1});
  affine_add(&column, &panel, PANEL);
  const operand v = factor_value(t, o, bind_operand(t, o, step, &row, &column)), at = emit_affine(l, &to);
  emit(l, (statement){.kind = STATEMENT_STORE, .number = o->local, .offset = at.expr, .active = WARP_LANES, .stride = 1, .value = loops_splat(l->loops, v.expr, WARP_LANES)});
  l->lanes = l->active = 1;
  close_frame(l);
  emit(l, (statement){.kind = STATEMENT_FOR, .number = round, .begin = loops_integer(l->loops, 0), .end = loops_integer(l->loops, rounds), .step = 1, .body = body});
}

affine panel_place(const operand_block *o, const affine *turn, const affine *first, int64_t each) {
  affine at = times(turn, o->rows * o->columns);
  affine_add(&at, first, each * PANEL);
  return at;
}
