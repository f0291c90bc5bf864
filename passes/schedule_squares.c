/* A kernel with squares: blocks of their rows, one after the other within a piece of the batch. Every product in it, of the square
 * and with it, runs in tiles of one vector by as many as there are places in registers; which axis runs in lanes is a matter of what
 * the product keeps: of the square itself, rows or columns. Where there is no batch and columns pass by in panels, tiles are as wide as those. */
#include "passes/register_tile.h"
#include "passes/schedule.h"
#include "passes/squares.h"

enum { LARGEST_PART = 2, LARGEST_PART_OF_WARPS = 3 }; /* of the second cache, for what is kept on chip for a block */

static int64_t column_bytes(const kernel *k, const squares_form *f) {
  int64_t bytes = 0;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output < 0 && (k->stages[i].free & (AXIS(f->row) | AXIS(f->column))) == (AXIS(f->row) | AXIS(f->column))) bytes += (int64_t)dtype_bytes(k->stages[i].type);
  return bytes * k->axes[f->column].extent;
}

bool schedule_squares(scheduler *s) {
  const kernel *k = s->kernel;
  squares_form f;
  if (!kernel_squares(k, s->target, &f) || argmax_axes(k)) return false;
  const int64_t vectors_wide = f.rows_in_parallel ? TILE_VECTORS : 1, width = vectors_wide * s->lanes;
  int64_t places = s->target->vector_registers / 2 / vectors_wide; /* accumulators; the rest are operands */
  const int64_t most = s->target->l2_bytes / (s->target->warps ? LARGEST_PART_OF_WARPS : LARGEST_PART);
  while (places > 4 && (f.rows_in_lanes ? s->lanes : places) * column_bytes(k, &f) > most) places /= 2;
  const uint32_t along = f.rows_in_lanes ? f.row : f.column, other = f.rows_in_lanes ? f.column : f.row; /* in lanes; in places */
  const int64_t rows = f.rows_in_lanes ? width : places, columns = f.rows_in_lanes ? places : width;
  schedule_loop outer[MAX_AXES];
  uint32_t n = 0;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (f.batch & AXIS(a)) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  const axis_set shared = s->shared;
  if (extent(s, f.row) > rows) outer[n++] = (schedule_loop){.axis = f.row, .step = rows};
  if (!f.rows_in_parallel) s->shared &= ~AXIS(f.row);
  add_outer_loops(s, outer, n, true);
  s->shared = shared;
  axis_set vectors = AXIS(along);
  for (int pass = 0; pass < 2; pass++) /* columns, then what products sum over or keep beside them */
    for (uint32_t a = 0; a < k->n_axes; a++) {
      if (!(s->used & AXIS(a)) || f.batch & AXIS(a) || a == f.row || (a == f.column) != (pass == 0)) continue;
      if (a != f.column) vectors |= AXIS(a);
      const int64_t step = pass == 0 ? columns : s->target->warps ? s->lanes : width; /* a warp spells out what its lanes have in turn */
      if (extent(s, a) > step) add_loop(s, a, step, LOOP_SERIAL);
    }
  add_loop(s, other, 1, LOOP_UNROLL);
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (vectors & AXIS(a) && vectors_wide > 1 && extent(s, a) > s->lanes && (a == along || !s->target->warps)) add_loop(s, a, s->lanes, LOOP_UNROLL);
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (vectors & AXIS(a) && a != along) add_loop(s, a, 1, LOOP_VECTOR);
  add_loop(s, along, 1, LOOP_VECTOR);
  return true;
}
