/* Rows with one vector axis, and copies from one layout into another. */
#include "ir/expr.h"
#include "passes/register_tile.h"
#include "passes/schedule.h"

enum { ROW_UNROLL = 4 }; /* independent accumulators hide the latency of a reduction */
enum { MOST_SPELLED = 128 }; /* expressions of a kernel whose sums are spelled out several times */

/* The first stage that writes memory; NULL when none does. */
static const stage *first_writer(const kernel *k) {
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0) return &k->stages[i];
  return NULL;
}

/* Loops in the order of memory: the axis with the farthest neighbours in what is written outermost. */
static void sort_by_stride(const scheduler *s, schedule_loop *order, uint32_t n) {
  const stage *writer = first_writer(s->kernel);
  for (uint32_t i = 1; writer && i < n; i++)
    for (uint32_t j = i; j > 0; j--) {
      const int64_t outer = access_stride(s->kernel, (uint32_t)writer->output, writer->index, order[j - 1].axis),
                    inner = access_stride(s->kernel, (uint32_t)writer->output, writer->index, order[j].axis);
      if (!outer || outer >= inner) break;
      const schedule_loop swapped = order[j];
      order[j] = order[j - 1];
      order[j - 1] = swapped;
    }
}

/* The block in which an axis lies in what is written, with all else inside of it; 1: none. */
static int64_t outermost_block(const scheduler *s, int32_t axis) {
  const stage *writer = first_writer(s->kernel);
  if (!writer || axis < 0) return 1;
  const layout *l = &s->kernel->buffers[writer->output].layout;
  if (l->n < 2 || l->part[0].divisor == 1) return 1;
  const expr *index = writer->index[l->part[0].dim];
  return index->kind == EXPR_AXIS && index->number == (uint32_t)axis ? l->part[0].divisor : 1;
}

typedef struct {
  const kernel_buffer *written, *buffers;
  bool other;
} order_test;

static void test_order(void *context, const expr *read) {
  order_test *t = context;
  const kernel_buffer *b = &t->buffers[read->number];
  t->other |= type_elements(&b->type) == type_elements(&t->written->type) && !layout_equal(&b->layout, &t->written->layout);
}

/* Whether something as large as the result is read in another order: what a conversion does. */
static bool lies_otherwise(const scheduler *s) {
  order_test t = {&s->kernel->buffers[first_writer(s->kernel)->output], s->kernel->buffers, false};
  visit_all_reads(s->kernel, test_order, &t);
  return t.other;
}

/* Panels that are written side by side, so that what is read from rows are several lines each, which are fetched together. */
static int64_t panels_together(const scheduler *s, uint32_t axis, int64_t width) {
  enum { TOGETHER = 64 };
  if (s->target->warps || !lies_otherwise(s)) return width;
  int64_t group = width;
  while (group * 2 <= TOGETHER && extent(s, axis) % (group * 2) == 0) group *= 2;
  return group;
}

enum { FEW_SUMS = 2 }; /* beside which not much else is computed */

/* Vectors of columns that are summed side by side in registers. */
static int64_t columns_together(const scheduler *s, int64_t sums) {
  const int64_t most = s->target->vector_registers / 2;
  return !sums ? 1 : sums <= FEW_SUMS && most / sums > ROW_UNROLL ? most / sums : ROW_UNROLL;
}

/* Whether long rows are read whole, one after the other, and added to sums in the first cache: what memory delivers best, where the
 * other axes are pieces enough for all threads. */
static bool rows_pass_whole(const scheduler *s, uint32_t vector, int64_t sums, int64_t columns) {
  enum { ENOUGH_PIECES = 8 };
  int64_t others = 1;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (s->shared & AXIS(a) && a != vector) others *= extent(s, a);
  return sums && sums <= FEW_SUMS && extent(s, vector) > columns && others >= ENOUGH_PIECES && sums * extent(s, vector) * (int64_t)sizeof(float) <= s->target->l1_bytes / 2;
}

typedef struct {
  const kernel *kernel;
  uint32_t axis;
  bool found;
} jump_test;

static bool cuts(const expr *e, uint32_t axis) {
  if (e->kind == EXPR_APPLY && (e->op == OP_FLOOR_DIV || e->op == OP_MOD) && e->args[0]->kind == EXPR_AXIS && e->args[0]->number == axis && e->args[1]->kind == EXPR_CONSTANT) return true;
  for (uint32_t i = 0; e->kind == EXPR_APPLY && i < e->n_args; i++)
    if (cuts(e->args[i], axis)) return true;
  return false;
}

static void test_jumps(void *context, const expr *read) {
  jump_test *t = context;
  if (access_stride(t->kernel, read->number, read->args, t->axis) != INT64_MAX) return;
  for (uint32_t i = 0; i < read->n_args; i++) t->found |= cuts(read->args[i], t->axis);
}

/* Whether an axis is cut in short runs where something is read, as the pixels of a patch are: spelled out, they are known when code is made. */
static bool jumps_along(const scheduler *s, uint32_t axis) {
  jump_test t = {s->kernel, axis, false};
  visit_all_reads(s->kernel, test_jumps, &t);
  return t.found;
}

/* The panel that a vector axis is written in, where vectors would run across its end; 0: none. */
static int64_t narrow_panel(const scheduler *s, uint32_t vector) {
  for (uint32_t i = 0; i < s->kernel->n_stages && !s->target->warps; i++) {
    const stage *at = &s->kernel->stages[i];
    const layout *l = at->output < 0 ? NULL : &s->kernel->buffers[at->output].layout;
    if (!l || l->n < 2) continue;
    const int64_t width = l->part[l->n - 1].extent;
    const expr *index = at->index[l->part[l->n - 1].dim];
    if (index->kind == EXPR_AXIS && index->number == vector && width < extent(s, vector) && width % s->lanes) return width;
  }
  return 0;
}

void schedule_rows(scheduler *s) {
  enum { LITTLE_BESIDE_ROWS = 32 }; /* what sums of rows give: rows are read as they lie, though results then come one by one */
  const kernel *k = s->kernel;
  if (!s->target->warps) s->little = LITTLE_BESIDE_ROWS;
  int32_t vector = best_axis(s, s->target->warps ? s->used : s->used & ~argmax_axes(k), vector_score);
  if (s->target->warps) vector = lanes_for_warps(s, vector);
  axis_set along = vector < 0 ? 0 : AXIS(vector);
  bool reduces_along = (s->reduced & along) != 0;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  const int64_t width = outermost_block(s, vector);
  const bool blocked = width > 1 && (s->shared & along) && extent(s, (uint32_t)vector) > width;
  const int64_t group = blocked ? panels_together(s, (uint32_t)vector, width) : width;
  if (blocked) outer[n++] = (schedule_loop){.axis = (uint32_t)vector, .step = group};
  for (uint32_t a = 0; a < k->n_axes; a++) /* shared axes lead: stages meet inside them */
    if (s->shared & ~along & AXIS(a)) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  sort_by_stride(s, outer + blocked, n - blocked);
  if (blocked && n > 2 && lies_otherwise(s)) { /* each element of what is read is read once while it is in a cache */
    const schedule_loop panel = outer[0];
    outer[0] = outer[1];
    outer[1] = panel;
  }
  /* A vector axis that all stages keep is cut in tiles outside the reductions, so that these run over
   * registers; alone it also gives the threads their pieces. */
  int64_t sums = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) sums += k->stages[i].monoid != MONOID_NONE;
  int64_t tile = vector < 0 ? 1 : s->lanes * (s->target->warps ? unroll_for_warps(s, (uint32_t)vector, ROW_UNROLL) : columns_together(s, sums));
  if (vector >= 0 && !s->target->warps && extent(s, (uint32_t)vector) <= s->lanes * ROW_UNROLL && jumps_along(s, (uint32_t)vector)) tile = extent(s, (uint32_t)vector);
  const bool columns = along && (s->shared & along), whole = columns && !s->target->warps && !blocked && rows_pass_whole(s, (uint32_t)vector, sums, tile);
  bool tiled = columns && !whole && (blocked ? width : extent(s, (uint32_t)vector)) > tile;
  if (group > width) outer[n++] = (schedule_loop){.axis = (uint32_t)vector, .step = width};
  if (tiled) outer[n++] = (schedule_loop){.axis = (uint32_t)vector, .step = tile};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  const axis_set inner = s->used & ~s->shared & ~along;
  axis_set kept = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) kept |= k->stages[i].free;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(inner & AXIS(a))) continue;
    /* Loads in flight together; of a loop around other sums that would be whole sums. */
    const bool spelled = s->target->warps && inner >> a == 1 && !(kept & AXIS(a)) && vector >= 0 && k->exprs->count <= MOST_SPELLED;
    if (spelled && extent(s, a) > ROW_UNROLL) add_loop(s, a, ROW_UNROLL, LOOP_SERIAL);
    add_loop(s, a, 1, spelled ? LOOP_UNROLL : LOOP_SERIAL);
  }
  if (vector < 0) return;
  int64_t left = tiled ? tile : blocked ? width : extent(s, (uint32_t)vector);
  const int64_t panel = tiled || blocked ? 0 : narrow_panel(s, (uint32_t)vector);
  if (panel) {
    add_loop(s, (uint32_t)vector, panel, LOOP_SERIAL);
    left = panel;
  }
  if ((reduces_along || whole) && left > s->lanes * ROW_UNROLL) {
    add_loop(s, (uint32_t)vector, s->lanes * ROW_UNROLL, LOOP_SERIAL);
    left = s->lanes * ROW_UNROLL;
  }
  /* Tiles in registers are spelled out; a long row that a map walks is a loop. */
  add_vectors(s, (uint32_t)vector, left, left <= (tiled ? tile : s->lanes * ROW_UNROLL) ? LOOP_UNROLL : LOOP_SERIAL);
}

/* -- copies ------------------------------------------------------------------------------------------------------ */

/* The block that a layout cuts a dimension in; 1: none. */
static int64_t block_of(const kernel_buffer *b, const expr *const *index, uint32_t axis) {
  int64_t width = 1;
  for (uint32_t i = 0; i < b->layout.n; i++)
    if (index[b->layout.part[i].dim]->axes & AXIS(axis) && b->layout.part[i].divisor > width) width = b->layout.part[i].divisor;
  return width;
}

/* A tile that a warp turns over: each lane reads neighbours, which are one load, and they are written one after the other. */
static void add_turning_tiles(scheduler *s, uint32_t vector, uint32_t across) {
  enum { NEIGHBOURS = 8 };
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (a != vector && a != across) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  if (extent(s, across) > NEIGHBOURS) outer[n++] = (schedule_loop){.axis = across, .step = NEIGHBOURS};
  if (extent(s, vector) > s->lanes) outer[n++] = (schedule_loop){.axis = vector, .step = s->lanes};
  add_outer_loops(s, outer, n, true);
  add_loop(s, across, 1, LOOP_UNROLL);
  add_loop(s, vector, 1, LOOP_VECTOR);
}

/* Squares of f32 that are turned over, as many vectors as one has lanes, which code generation exchanges in registers: where what is read
 * lies in panels or longer rows. Between shorter ones memory brings whole lines in time for single elements. */
static bool add_squares(scheduler *s, uint32_t vector, uint32_t across, int64_t tile) {
  enum { LONG_ROW = WIDEST_PANEL };
  const stage *st = s->kernel->stages;
  if (access_stride(s->kernel, st->body->number, st->body->args, vector) < LONG_ROW) return false;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  if (extent(s, across) < s->lanes) return false;
  if (extent(s, vector) > tile) outer[n++] = (schedule_loop){.axis = vector, .step = tile};
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (a != vector && a != across) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  if (extent(s, across) > s->lanes) outer[n++] = (schedule_loop){.axis = across, .step = s->lanes};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  if (tile > s->lanes) add_loop(s, vector, s->lanes, LOOP_SERIAL);
  add_loop(s, across, 1, LOOP_UNROLL);
  add_loop(s, vector, 1, LOOP_VECTOR);
  return true;
}

/* bf16, and on GPUs all, put in another order: along vectors as it is written, and across them as it is read, so that lines of the
 * cache are used while they are there; pairs are written together. */
bool schedule_copy(scheduler *s) {
  const kernel *k = s->kernel;
  const stage *st = k->stages;
  if (k->n_stages != 1 || st->monoid != MONOID_NONE || st->output < 0 || st->body->kind != EXPR_READ) return false;
  if (st->body->type != DTYPE_BF16 && st->body->type != DTYPE_F32 && !s->target->warps) return false;
  const kernel_buffer *to = &k->buffers[st->output];
  const bool pairs = ends_in_pairs(to);
  int32_t vector = -1, across = -1;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    const int64_t written = access_stride(k, (uint32_t)st->output, st->index, a), read = access_stride(k, st->body->number, st->body->args, a);
    if (written == (pairs ? 2 : 1)) vector = (int32_t)a;
    if ((pairs ? written : read) == 1) across = (int32_t)a;
  }
  if (vector < 0 || across < 0 || vector == across || extent(s, (uint32_t)vector) < s->lanes) return false;
  if (s->target->warps && !pairs) return add_turning_tiles(s, (uint32_t)vector, (uint32_t)across), true;
  const int64_t width = block_of(to, st->index, (uint32_t)vector), tile = width > 1 ? width : s->lanes;
  if (tile % s->lanes) return false;
  if (st->body->type == DTYPE_F32) return add_squares(s, (uint32_t)vector, (uint32_t)across, tile);
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if ((int32_t)a == vector || ((int32_t)a == across && (!pairs || extent(s, a) <= 2))) continue;
    outer[n++] = (schedule_loop){.axis = a, .step = (int32_t)a == across ? 2 : 1};
  }
  if (extent(s, (uint32_t)vector) > tile) outer[n++] = (schedule_loop){.axis = (uint32_t)vector, .step = tile};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  if (!pairs) add_loop(s, (uint32_t)across, 1, LOOP_SERIAL);
  if (tile > s->lanes) add_loop(s, (uint32_t)vector, s->lanes, LOOP_UNROLL);
  if (pairs) add_loop(s, (uint32_t)across, 1, LOOP_UNROLL);
  add_loop(s, (uint32_t)vector, 1, LOOP_VECTOR);
  return true;
}
