/* The space of schedules of a kernel that a tuner searches. A choice says for every axis how it is cut, in what order
 * loops stand, and what is spelled out; any choice can be turned into loops, though not all of these can be carried out. */
#ifndef SSLC_PASSES_SCHEDULE_SPACE_H
#define SSLC_PASSES_SCHEDULE_SPACE_H

#include "ir/kernel.h"
#include "ir/target.h"

/* Of one axis. The loops of a schedule stand in three parts: around tiles, the sums of a tile, the tile in registers. */
typedef struct {
  int64_t held;      /* indices that a tile in registers has of it: 1 but for the vector axis and the rows */
  int64_t block;     /* a larger tile around that one; 0: none */
  uint8_t place, block_place; /* of the loops over tiles and blocks among those around the tile: lower is further out */
  int64_t stream;    /* of a reduced axis: it is walked around the tiles, so many indices at a time; 0: inside them */
  int64_t unroll;    /* of a reduced axis inside: so many steps are spelled out */
  bool spelled;      /* the loop over tiles is spelled out: taps of a window */
  bool peel;         /* the ends of the loop are */
} axis_choice;

typedef struct {
  int32_t vector; /* the axis in lanes, or -1 */
  axis_choice axis[MAX_AXES];
} schedule_choice;

typedef struct {
  const kernel *kernel;
  axis_set used, shared, reduced, edges; /* as in schedule.c */
  axis_set rows; /* what may stand in registers beside the vector axis */
  int32_t vector, row; /* of the default schedule, or -1 */
  bool contracts; /* a tile in registers is of vectors of one operand against rows of the other */
  int64_t lanes, accumulators;
  schedule_choice given; /* the default schedule, as nearly as a choice can say it */
} schedule_space;

/* The space of a kernel that has its default schedule. */
schedule_space schedule_space_of(const kernel *k, const target *t, arena *scratch);
/* A choice at random, or one that differs from another in a few places. The same *random gives the same. */
schedule_choice schedule_draw(const schedule_space *s, uint64_t *random);
schedule_choice schedule_vary(const schedule_space *s, const schedule_choice *from, uint64_t *random);
/* Its loops, in the arena. */
schedule schedule_of_choice(const schedule_space *s, const schedule_choice *c, arena *a);

#endif
