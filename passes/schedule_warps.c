/* What schedules ask for a GPU, where a vector is a warp: how long it would take, by the rates of the machine. Counts alone decide, so
 * that one kernel has one order of additions everywhere. */
#include "passes/schedule.h"

/* A multiprocessor multiplies and adds for four warps at a time, and reads one run of 128 bytes for one. A device has some hundred of them,
 * which wait for memory unless each has several warps. */
enum { FUSED_AT_ONCE = 4, BUSY_WARPS = 1024, MOST_SUMS = 64, MOST_TILE_ROWS = 16, MOST_TILE_VECTORS = 4, WORDS_OF_A_LOAD = 4 };

static int64_t pieces(int64_t extent, int64_t step) { return (extent + step - 1) / step; }

/* Time of a neighbour of the sum in one tile: what the slower of arithmetic and loads takes, and a little of the other. */
static double step_time(int64_t rows, int64_t vectors, bool wide) {
  const double fused = (double)(rows * vectors) / FUSED_AT_ONCE, loads = (double)rows / (wide ? WORDS_OF_A_LOAD : 1) + (double)vectors, least = 2;
  const double slower = fused > loads ? fused : loads;
  return (slower > least ? slower : least) + loads / 8;
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
        double time = (tiles < BUSY_WARPS ? BUSY_WARPS : tiles) * step_time(rows * groups, vectors, q->wide_sums || (q->wide_rows && rows % WORDS_OF_A_LOAD == 0));
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
  if (usual < 0 || !s->reduced) return usual;
  int32_t best = usual;
  double best_time = rows_time(s, (uint32_t)usual) * 0.7; /* another one has to pay */
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    if (!(s->used & AXIS(a)) || s->tested & AXIS(a) || extent(s, a) < 2) continue;
    const double time = rows_time(s, a);
    if (time < best_time) best = (int32_t)a, best_time = time;
  }
  return best;
}

int64_t unroll_for_warps(const scheduler *s, uint32_t axis, int64_t most) {
  int64_t warps = 1;
  for (uint32_t a = 0; a < s->kernel->n_axes && warps < BUSY_WARPS * most; a++)
    if (s->shared & AXIS(a)) warps *= a == axis ? pieces(extent(s, a), s->lanes) : extent(s, a);
  while (most > 1 && warps / most < BUSY_WARPS) most /= 2;
  return most;
}
