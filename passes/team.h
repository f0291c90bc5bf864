/* The one contraction of a kernel as a product of matrices: the axes of each operand alone walked as one, and those of the sum.
 * What a team of warps makes with a matrix unit; see schedule_team.c for when, lower_team.c for how. And squares, which never stand in memory. */
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

/* A kernel with squares (passes/squares.h) whose products are all of narrow factors. What is reduced along columns needs what was
 * reduced before: a team sweeps over all columns once for each such step, and makes the squares that a sweep reads anew. */
enum { MOST_SQUARE_PARTS = 4 };

typedef struct {
  uint32_t stage;
  const expr *factor[2]; /* of rows and of columns; of a product: of the square and of lanes */
  walk walk;             /* what is summed; of a product: the lanes, while columns are summed */
  uint64_t sweeps;       /* that read it; of a product: its own */
  uint32_t of_rows, of_columns; /* the first square with the same factor: keys are multiplied by queries, and by weights. Itself; n_squares: none */
} square_part;

typedef struct {
  dtype type;
  walk batch, rows, columns;
  square_part square[MOST_SQUARE_PARTS], product[MOST_SQUARE_PARTS];
  uint32_t n_squares, n_products, n_sweeps;
  uint32_t n_reductions, most_reductions; /* in all, and of one sweep */
  int8_t sweep[64]; /* by stage: in which it is complete; -1: it is none of rows alone */
} team_squares;

bool kernel_team_squares(const kernel *k, team_squares *out);
int64_t team_padded(dtype type, int64_t points); /* so many neighbours that a copy of all warps is a whole number of rows */
/* Of memory on the chip, at most. `tile` NULL: of the smallest that there is. */
int64_t team_squares_bytes(const team_squares *f, const team_tile *tile);
enum { MOST_ROW_VALUES = 8, TEAM_BYTES = 96 << 10 }; /* what is computed once a row; that every GPU with matrix units has for a team */

/* -- for both */
bool is_team_factor(const kernel *k, const expr *e, dtype type); /* a value in f32 that is always one that the type has */
walk walk_of(const kernel *k, axis_set axes, int32_t last);      /* `last` >= 0: the axis that is walked fastest */
int32_t contiguous_axis(const kernel *k, axis_set among, const expr *const *reads, uint32_t n);

#endif
