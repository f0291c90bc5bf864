/* Contractions of bf16 and tf32 on a GPU with matrix units: the block that a team of warps makes, and in how many pieces the sum
 * is cut, by the time that a model of a large GPU says. Large blocks use what they fetch more often; small ones are more of them,
 * as are pieces, which cost memory twice. Counts alone decide. */
#include "passes/schedule.h"
#include "passes/team.h"

enum { LEAST_ROWS = 16, LEAST_LANES = 16, LEAST_SUMS = 16, LEAST_WORK = 1 << 18 };
enum { PROCESSORS = 132, MOST_PIECES = 256, LEAST_SUMMED = 256 };

/* What a processor of the GPU computes, in FLOP a nanosecond, with `resident` teams or more; with one of them nobody works while
 * it waits. */
typedef struct {
  team_tile tile;
  double rate;
  int64_t resident;
} team_choice;

static const team_choice choices[] = {
    {{128, 128, 32, 64, 64, 3}, 4500, 2}, {{256, 64, 32, 64, 64, 3}, 4200, 2}, {{128, 64, 32, 32, 64, 3}, 3800, 3}, {{64, 64, 32, 32, 32, 4}, 3000, 4}};
enum { N_CHOICES = sizeof choices / sizeof *choices };

static int64_t blocks(int64_t points, int64_t size) { return (points + size - 1) / size; }

/* Nanoseconds. */
static double team_time(const team_form *f, const team_choice *c, int64_t pieces) {
  enum { BYTES_AT_ONCE = 3000, LAUNCH = 3000 };
  const double results = (double)f->batch.points * (double)f->rows.points * (double)f->lanes.points;
  const int64_t teams = f->batch.points * blocks(f->rows.points, c->tile.rows) * blocks(f->lanes.points, c->tile.lanes) * pieces;
  const int64_t each = blocks(teams, PROCESSORS), steps = blocks(blocks(f->sums.points, pieces), c->tile.sums) + c->tile.stages;
  const double work = 2.0 * (double)c->tile.rows * (double)c->tile.lanes * (double)(c->tile.sums * steps);
  const double rate = each >= c->resident ? c->rate : c->rate * (0.5 + 0.5 * (double)each / (double)c->resident);
  return (double)each * work / rate + (pieces > 1 ? results * (double)pieces * 8 / BYTES_AT_ONCE + LAUNCH : 0);
}

static const team_choice *best_choice(const team_form *f, int64_t pieces, double *time) {
  const team_choice *best = NULL;
  for (uint32_t i = 0; i < N_CHOICES; i++) {
    const double t = team_time(f, &choices[i], pieces);
    if (!best || t < *time) best = &choices[i], *time = t;
  }
  return best;
}

static bool suits_team(const kernel *k, const target *t, team_form *f) {
  return t->warps && t->tiles && kernel_team(k, f) && f->rows.points >= LEAST_ROWS && f->lanes.points >= LEAST_LANES && f->sums.points >= LEAST_SUMS &&
         (double)f->batch.points * (double)f->rows.points * (double)f->lanes.points * (double)f->sums.points >= LEAST_WORK;
}

int64_t pieces_for_teams(const kernel *k, const target *t) {
  team_form f;
  double least, time;
  if (!suits_team(k, t, &f)) return 0;
  int64_t best = 1;
  best_choice(&f, 1, &least);
  for (int64_t pieces = 2; pieces <= MOST_PIECES && f.sums.points / pieces >= LEAST_SUMMED; pieces++) {
    if (f.sums.points % pieces) continue;
    best_choice(&f, pieces, &time);
    if (time < least) best = pieces, least = time;
  }
  return best;
}

bool schedule_team(scheduler *s) {
  team_form f;
  double time;
  if (!suits_team(s->kernel, s->target, &f)) return false;
  s->kernel->schedule.team = best_choice(&f, 1, &time)->tile;
  if (f.type == DTYPE_F32) s->kernel->schedule.team.sums /= 2; /* as many bytes */
  return true;
}
