/* Kernels with squares of bf16 and tf32 on a GPU with matrix units: the block of rows that a team has, and of columns that it goes
 * through at a time. Warps take 16 rows each; where those would be too few teams for all processors, several have the same rows and
 * share out their columns. What suits is the first choice that leaves memory on the chip for a second team, or that there is memory
 * for at all. */
#include "passes/schedule.h"
#include "passes/team.h"

enum { WARPS = 4, TILE = 16, STAGES = 2, ENOUGH_TEAMS = 132 * 2, LEAST_ROWS = 16, LEAST_COLUMNS = 16, LEAST_SUMS = 8, SEVERAL_TEAMS = 48 << 10, ONE_TEAM = 96 << 10 };

static int64_t rows_of_team(const team_squares *f) {
  int64_t rows = WARPS * TILE;
  while (rows > TILE && (f->batch.points * ((f->rows.points + rows - 1) / rows) < ENOUGH_TEAMS || rows / 2 >= f->rows.points)) rows /= 2;
  return rows;
}

static team_tile tile_of(const team_squares *f, int64_t warp_lanes) {
  team_tile t = {.rows = rows_of_team(f), .warp_rows = TILE, .warp_lanes = warp_lanes, .stages = STAGES, .sums = TILE};
  int64_t beside = WARPS * TILE / t.rows;
  while (beside > 1 && beside / 2 * warp_lanes >= f->columns.points) beside /= 2;
  t.lanes = beside * warp_lanes;
  return t;
}

/* INT64_MAX: it cannot be carried out. */
static int64_t bytes_on_chip(kernel *k, const team_tile *t) {
  const char *error;
  int64_t bytes = 0;
  k->schedule = (schedule){.team = *t};
  const loops *l = lower_kernel(k, k->arena, &error);
  for (uint32_t i = l ? l->n_arguments : 0; l && i < l->n_buffers; i++) bytes += l->buffers[i].elements * (int64_t)dtype_bytes(l->buffers[i].type) + TILE;
  return l ? bytes : INT64_MAX;
}

bool schedule_team_squares(scheduler *s) {
  static const int64_t lanes[] = {64, 32};
  team_squares f;
  if (!s->target->warps || !s->target->tiles || !kernel_team_squares(s->kernel, &f)) return false;
  if (f.rows.points < LEAST_ROWS || f.columns.points < LEAST_COLUMNS) return false;
  for (int64_t most = SEVERAL_TEAMS; most <= ONE_TEAM; most += ONE_TEAM - SEVERAL_TEAMS)
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
      const team_tile t = tile_of(&f, lanes[i]);
      if (bytes_on_chip(s->kernel, &t) <= most) return true;
    }
  s->kernel->schedule = (schedule){0};
  return false;
}
