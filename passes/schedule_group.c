/* Contractions of bf16 for the matrix unit of four warps (wgmma): the largest block of which there are enough for all processors of a
 * large GPU. A processor holds one or two such teams, whose operands are most of its memory on the chip. */
#include "passes/schedule.h"
#include "passes/team.h"

enum { ENOUGH_TEAMS = 132, LEAST_ROWS = 64, LEAST_LANES = 64, LEAST_SUMS = 64 };

static int64_t pieces(int64_t points, int64_t size) { return (points + size - 1) / size; }

bool schedule_groups(scheduler *s) {
  static const team_tile choices[] = {{128, 256, 64, 64, 256, 4, true}, {128, 128, 64, 64, 128, 4, true}, {128, 64, 64, 64, 64, 4, true}, {64, 64, 64, 64, 64, 4, true}};
  enum { N = sizeof choices / sizeof *choices };
  team_form f;
  if (!s->target->tiles || !s->target->groups || !kernel_team(s->kernel, &f) || f.type != DTYPE_BF16) return false;
  if (f.rows.points < LEAST_ROWS || f.lanes.points < LEAST_LANES || f.sums.points < LEAST_SUMS) return false;
  uint32_t i = 0;
  while (i + 1 < N && (choices[i].lanes > f.lanes.points || f.batch.points * pieces(f.rows.points, choices[i].rows) * pieces(f.lanes.points, choices[i].lanes) < ENOUGH_TEAMS)) i++;
  s->kernel->schedule.team = choices[i];
  s->kernel->schedule.team.boxes = s->target->boxes;
  return true;
}
