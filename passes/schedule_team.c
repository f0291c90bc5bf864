/* Contractions of bf16 and tf32 on a GPU with matrix units: the block that a team of warps makes. Large blocks use what they fetch more
 * often, small ones are more of them; there should be enough of them for all processors of a large GPU. */
#include "passes/schedule.h"
#include "passes/team.h"

enum { ENOUGH_TEAMS = 132 * 2, LEAST_ROWS = 16, LEAST_LANES = 16, LEAST_SUMS = 16, LEAST_WORK = 1 << 18 };

static int64_t teams(const team_form *f, const team_tile *t) {
  return f->batch.points * ((f->rows.points + t->rows - 1) / t->rows) * ((f->lanes.points + t->lanes - 1) / t->lanes);
}

bool schedule_team(scheduler *s) {
  static const team_tile choices[] = {{128, 128, 32, 64, 64, 3}, {128, 64, 32, 32, 64, 3}, {64, 64, 32, 32, 32, 4}};
  enum { N = sizeof choices / sizeof *choices };
  team_form f;
  if (!s->target->warps || !s->target->tiles || !kernel_team(s->kernel, &f)) return false;
  if (f.rows.points < LEAST_ROWS || f.lanes.points < LEAST_LANES || f.sums.points < LEAST_SUMS) return false;
  if (f.batch.points * f.rows.points * f.lanes.points * f.sums.points < LEAST_WORK) return false;
  uint32_t i = 0;
  while (i + 1 < N && (choices[i].lanes > f.lanes.points || teams(&f, &choices[i]) < ENOUGH_TEAMS)) i++;
  s->kernel->schedule.team = choices[i];
  if (f.type == DTYPE_F32) s->kernel->schedule.team.sums /= 2; /* as many bytes */
  return true;
}
