/* The one contraction of a kernel as a product of matrices: the axes of each operand alone walked as one, and those of the sum.
 * What a team of warps makes with a matrix unit; see schedule_team.c for when, lower_team.c for how. */
#ifndef SSLC_PASSES_TEAM_H
#define SSLC_PASSES_TEAM_H

#include "ir/kernel.h"
#include "ir/target.h"

/* Axes walked as one, the last fastest. */
typedef struct {
  uint32_t axis[MAX_AXES], n;
  int64_t points;
} walk;

typedef struct {
  uint32_t stage;
  dtype type;            /* of what lies on the chip: bf16, or f32 whose factors are rounded to tf32 */
  const expr *factor[2]; /* of rows and of lanes: values that the type has, in f32 */
  walk batch, rows, lanes, sums;
} team_form;

/* False when the kernel holds other sums, wider factors, or results that not all of the free axes have. */
bool kernel_team(const kernel *k, team_form *out);
/* In how many pieces the sum should be cut; 0: it is nothing for teams. */
int64_t pieces_for_teams(const kernel *k, const target *t);
/* The element in memory that a factor widens or rounds, without maps before; NULL: it is computed. */
const expr *team_read(const kernel *k, const expr *factor, dtype type);

#endif
