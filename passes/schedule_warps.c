/* What schedules ask for a GPU, where a vector is a warp: how long it would take, by the rates of the machine. Counts alone decide, so
 * that one kernel has one order of additions everywhere. */
#include "passes/schedule.h"

/* A multiprocessor issues an instruction of four warps at a time, and hands a value to every lane of one: that is what a load takes, be it
 * of a vector or of one value for all; several neighbours are one instruction. A device has some hundred of them, which wait for memory
 * unless each has several warps. */
enum { ISSUED_AT_ONCE = 4, BUSY_WARPS = 1024, MOST_SUMS = 64, MOST_TILE_ROWS = 16, MOST_TILE_VECTORS = 8, VALUES_OF_A_LOAD = 4 };

static int64_t pieces(int64_t extent, int64_t step) { return (extent + step - 1) / step; }

/* Time of a neighbour of the sum in one tile: what the slower of instructions and values takes. */
static double step_time(int64_t rows, int64_t vectors, bool wide) {
  const double values = (double)(rows + vectors), least = 2;
  const double issued = ((double)(rows * vectors) + (double)rows / (wide ? VALUES_OF_A_LOAD : 1) + (double)vectors / VALUES_OF_A_LOAD) / ISSUED_AT_ONCE;
  const double slower = issued > values ? issued : values;
  return slower > least ? slower : least;
}

warp_tile tile_for_warps(const tile_question *q) {
  warp_tile best = {1, 1, 1};
  double best_time = 0;
  for (int64_t vectors = 1; vectors <= MOST_TILE_VECTORS; vectors *= 2)
    for (int64_t rows = 1; rows <= MOST_TILE_ROWS && rows <= q->rows; rows++)
      for (int64_t groups = 1; groups * rows <= MOST_TILE_ROWS && groups <= (rows == q->rows ? q->groups : 1); groups++) {
        if (groups * rows * vectors > MOST_SUMS || (vectors > 1 && (vectors / 2) * q->lanes >= q->vector)) continue;
        const double tiles = (double)pieces(q->rows, rows) * (double)pieces(q->groups, groups) * (double)pieces(q->vector, vectors * q->lanes) * (double)q->others;
        const bool whole = q->rows % rows == 0 && q->groups % groups == 0 && q->vector % (vectors * q->lanes) == 0;
        double time = (tiles < BUSY_WARPS ? BUSY_WARPS : tiles) * step_time(rows * groups, vectors, q->wide_sums || (q->wide_rows && rows % VALUES_OF_A_LOAD == 0));
        if (!whole) time *= 1.05; /* another body */
        if (best_time == 0 || time < best_time) best = (warp_tile){rows, groups, vectors}, best_time = time;
      }
  return best;
}

/* How many neighbours of the sum are spelled out: what is loaded for them should be in flight together. */
int64_t sums_spelled_for_warps(int64_t extent, int64_t sums_of_a_tile) {
  int64_t by = sums_of_a_tile <= 8 ? 16 : sums_of_a_tile <= 16 ? 8 : 4;
  while (extent % by && (by > 4 || extent < 4 * by)) by /= 2; /* of a long sum, four and a rest */
  return by;
}

/* -- rows -------------------------------------------------------------------------------------------------------- */

enum { SECTOR = 32, BYTES_AT_ONCE = 3000 /* a nanosecond */, STEP_LATENCY = 80 /* nanoseconds, with some loads in flight */, RESIDENT_WARPS = 4096 };

typedef struct {
  const scheduler *scheduler;
  uint32_t axis;
  double sectors;
} sector_count;

static double sectors_of(const scheduler *s, uint32_t buffer, const expr *const *index, uint32_t axis) {
  const int64_t stride = access_stride(s->kernel, buffer, index, axis), bytes = (int64_t)dtype_bytes(s->kernel->buffers[buffer].type.dtype);
  const double lanes = (double)(extent(s, axis) < s->lanes ? extent(s, axis) : s->lanes), apart = stride < 0 ? -(double)stride : (double)stride;
  const double all = stride == 0 ? 1 : lanes * apart * (double)bytes / SECTOR;
  return all > lanes ? lanes : all < 1 ? 1 : all;
}

static void count_sectors(void *context, const expr *read) {
  sector_count *c = context;
  c->sectors += sectors_of(c->scheduler, read->number, read->args, c->axis);
}

/* Of the whole kernel with an axis in lanes: what passes through memory, or the steps that each warp takes one after the other. */
static double rows_time(const scheduler *s, uint32_t axis) {
  double warps = 1, steps = 1;
  sector_count c = {s, axis, 0};
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    if (!(s->used & AXIS(a))) continue;
    const double n = (double)(a == axis ? pieces(extent(s, a), s->lanes) : extent(s, a));
    *(s->shared & AXIS(a) ? &warps : &steps) *= n;
  }
  visit_all_reads(s->kernel, count_sectors, &c);
  const double memory = warps * steps * c.sectors * SECTOR / BYTES_AT_ONCE, waiting = steps * STEP_LATENCY * (warps > RESIDENT_WARPS ? warps / RESIDENT_WARPS : 1);
  return memory > waiting ? memory : waiting;
}

int32_t lanes_for_warps(const scheduler *s, int32_t usual) {
  if (usual < 0) return usual;
  int32_t best = usual;
  double best_time = rows_time(s, (uint32_t)usual) * 0.7; /* another one has to pay */
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    if (!(s->used & AXIS(a)) || s->tested & AXIS(a) || extent(s, a) < 2) continue;
    const double time = rows_time(s, a);
    if (time < best_time) best = (int32_t)a, best_time = time;
  }
  return best;
}

/* Whether an access along an axis finds neighbours, so many, at multiples of that number, wherever the other axes are. */
static bool is_deep(const kernel *k, uint32_t buffer, const expr *const *index, uint32_t axis, int64_t depth) {
  const kernel_buffer *b = &k->buffers[buffer];
  const layout l = b->layout.n ? b->layout : layout_row_major(&b->type);
  int64_t size = 1, along = 0;
  bool depends = false, is_aligned = l.n == b->type.rank;
  for (uint32_t i = l.n; i-- > 0; size *= l.part[i].extent) {
    const expr *e = index[l.part[i].dim];
    int64_t coefficient[MAX_AXES], offset;
    depends |= (e->axes & AXIS(axis)) != 0;
    if (!expr_affine(k, e, coefficient, &offset)) {
      is_aligned &= !(e->axes & AXIS(axis)) && size % depth == 0;
      continue;
    }
    for (uint32_t a = 0; a < k->n_axes; a++)
      if (a == axis) along += coefficient[a] * size;
      else is_aligned &= coefficient[a] * size % depth == 0;
    is_aligned &= offset * size % depth == 0;
  }
  return !depends || (is_aligned && along == 1);
}

typedef struct {
  const scheduler *scheduler;
  uint32_t axis;
  int64_t depth;
  bool holds;
} depth_test;

static void test_depth(void *context, const expr *read) {
  depth_test *t = context;
  t->holds &= is_deep(t->scheduler->kernel, read->number, read->args, t->axis, t->depth);
  for (uint32_t i = 0; i < read->n_conditions; i++) t->holds &= !(read->conditions[i].subject->axes & AXIS(t->axis));
}

bool takes_neighbours(const scheduler *s, uint32_t axis, int64_t depth) {
  depth_test t = {s, axis, depth, depth > 1 && (depth & (depth - 1)) == 0};
  visit_all_reads(s->kernel, test_depth, &t);
  for (uint32_t i = 0; i < s->kernel->n_stages && t.holds; i++)
    if (s->kernel->stages[i].output >= 0) t.holds = is_deep(s->kernel, (uint32_t)s->kernel->stages[i].output, s->kernel->stages[i].index, axis, depth);
  return t.holds;
}

int64_t unroll_for_warps(const scheduler *s, uint32_t axis, int64_t most) {
  int64_t warps = 1;
  for (uint32_t a = 0; a < s->kernel->n_axes && warps < BUSY_WARPS * most; a++)
    if (s->shared & AXIS(a)) warps *= a == axis ? pieces(extent(s, a), s->lanes) : extent(s, a);
  while (most > 1 && warps / most < BUSY_WARPS) most /= 2;
  return most;
}
