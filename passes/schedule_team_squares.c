/* Kernels with squares of bf16 and tf32 on a GPU with matrix units: the block of rows that a team has, and of columns that it goes
 * through at a time. Warps take 16 rows each; where those would be too few teams for all processors, several have the same rows and
 * share out their columns. Of many teams several should have room on a processor, where one waits while another goes on. */
#include "passes/schedule.h"
#include "passes/team.h"

enum { WARPS = 4, TILE = 16, STAGES = 2, ENOUGH_TEAMS = 132 * 2, LEAST_ROWS = 16, LEAST_COLUMNS = 16, MOST_LANES = 64, LEAST_LANES = 32, SEVERAL_TEAMS = 48 << 10, ONE_TEAM = 96 << 10 };

static int64_t teams(const team_squares *f, int64_t rows) { return f->batch.points * ((f->rows.points + rows - 1) / rows); }

static int64_t rows_of_team(const team_squares *f) {
  int64_t rows = WARPS * TILE;
  while (rows > TILE && (teams(f, rows) < ENOUGH_TEAMS || rows / 2 >= f->rows.points)) rows /= 2;
  return rows;
}

/* INT64_MAX: it cannot be carried out. */
static int64_t bytes_on_chip(kernel *k, int64_t rows, int64_t beside, int64_t lanes) {
  const char *error;
  int64_t bytes = 0;
  k->schedule = (schedule){.team = {.rows = rows, .lanes = beside * lanes, .sums = TILE, .warp_rows = TILE, .warp_lanes = lanes, .stages = STAGES}};
  const loops *l = lower_kernel(k, k->arena, &error);
  for (uint32_t i = l ? l->n_arguments : 0; l && i < l->n_buffers; i++) bytes += l->buffers[i].elements * (int64_t)dtype_bytes(l->buffers[i].type) + TILE;
  return l ? bytes : INT64_MAX;
}

bool schedule_team_squares(scheduler *s) {
  team_squares f;
  if (!s->target->warps || !s->target->tiles || !kernel_team_squares(s->kernel, &f)) return false;
  if (f.rows.points < LEAST_ROWS || f.columns.points < LEAST_COLUMNS) return false;
  const int64_t rows = rows_of_team(&f);
  for (int64_t most = teams(&f, rows) < ENOUGH_TEAMS ? ONE_TEAM : SEVERAL_TEAMS; most <= ONE_TEAM; most += ONE_TEAM - SEVERAL_TEAMS)
    for (int64_t beside = WARPS * TILE / rows; beside; beside /= 2)
      for (int64_t lanes = MOST_LANES; lanes >= LEAST_LANES; lanes /= 2)
        if ((beside == 1 || beside / 2 * lanes < f.columns.points) && bytes_on_chip(s->kernel, rows, beside, lanes) <= most) return true;
  s->kernel->schedule = (schedule){0};
  return false;
}
