/* Kernels with squares of bf16 and tf32 on a GPU with matrix units: the block of rows that a team has, and of columns that it goes
 * through at a time. Warps take 16 rows each; where those would be too few teams for all processors, several have the same rows and
 * share out their columns. Of many teams several should have room on a processor, where one waits while another goes on. */
#include "passes/schedule.h"
#include "passes/team.h"

enum { WARPS = 4, TILE = 16, STAGES = 2, ENOUGH_TEAMS = 132 * 2, MOST_LANES = 64, LEAST_LANES = 32 };

static int64_t teams(const team_squares *f, int64_t rows) { return f->batch.points * ((f->rows.points + rows - 1) / rows); }

static int64_t rows_of_team(const team_squares *f) {
  int64_t rows = WARPS * TILE;
  while (rows > TILE && (teams(f, rows) < ENOUGH_TEAMS || rows / 2 >= f->rows.points)) rows /= 2;
  return rows;
}

/* Of so many rows, within so many bytes. */
static bool choose_columns(const team_squares *f, int64_t rows, int64_t most, team_tile *out) {
  for (int64_t beside = WARPS * TILE / rows; beside; beside /= 2)
    for (int64_t lanes = MOST_LANES; lanes >= LEAST_LANES; lanes /= 2) {
      *out = (team_tile){.rows = rows, .lanes = beside * lanes, .sums = TILE, .warp_rows = TILE, .warp_lanes = lanes, .stages = STAGES};
      if ((beside == 1 || beside / 2 * lanes < f->columns.points) && team_squares_bytes(f, out) <= most) return true;
    }
  return false;
}

bool schedule_team_squares(scheduler *s) {
  team_squares f;
  if (!s->target->warps || !s->target->tiles || !kernel_team_squares(s->kernel, &f)) return false;
  const int64_t most_rows = rows_of_team(&f);
  for (int parts = 2; parts <= 3 && teams(&f, most_rows) >= ENOUGH_TEAMS; parts++)
    if (choose_columns(&f, most_rows, TEAM_BYTES / 4 * parts, &s->kernel->schedule.team)) return true;
  for (int64_t rows = most_rows; rows >= TILE; rows /= 2)
    if (choose_columns(&f, rows, TEAM_BYTES, &s->kernel->schedule.team)) return true;
  s->kernel->schedule.team.rows = 0;
  return false;
}
