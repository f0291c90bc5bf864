/* What the files of default schedules share: what the accesses of a kernel say, and how loops are added.
 *
 *   schedule.c              the choice, and what both forms need
 *   schedule_contraction.c  a register tile of vectors by broadcasts
 *   schedule_squares.c      products whose results are reduced and multiplied again, on chip
 *   schedule_team.c         a product of matrices by a team of warps
 *   schedule_group.c        the same by groups of four, where a target asks for them
 *   schedule_team_squares.c squares by teams of warps
 *   schedule_rows.c         everything else: rows with one vector axis, and copies
 *   schedule_warps.c        what is different for a GPU */
#ifndef SSLC_PASSES_SCHEDULE_H
#define SSLC_PASSES_SCHEDULE_H

#include "passes/passes.h"

enum { SMALL_KERNEL = 1 << 14 }; /* points below which handing out pieces costs more than it gains */

typedef struct {
  kernel *kernel;
  const target *target;
  axis_set used;       /* by any stage */
  axis_set shared;     /* free in every stage: what may run in parallel */
  axis_set reduced;    /* by any stage */
  axis_set edges;      /* that conditions of reads depend on */
  axis_set tested;     /* that decide where something is scattered: tested before a vector's worth of it is added */
  int64_t lanes;
  int32_t pair;        /* the reduced axis of which two neighbours are multiplied at once; -1: none */
  int64_t pair_step;   /* neighbours that one instruction takes in */
  int64_t little;      /* this part of the largest buffer need not be walked contiguously */
  bool pair_is_inner;  /* both operands are contiguous along it beyond a pair */
  schedule_loop *loops;
  uint32_t n, capacity;
} scheduler;

#define AXIS(i) ((axis_set)1 << (i))

int64_t extent(const scheduler *s, uint32_t axis);
void add_loop(scheduler *s, uint32_t axis, int64_t step, loop_kind kind);
/* The last loops over an axis that runs in lanes, of which so many points are left: vectors one beside the other, spelled out; on a GPU
 * each lane with neighbours of its own where that makes one access of several. */
void add_vectors(scheduler *s, uint32_t axis, int64_t left, loop_kind several);
/* Outer loops over the axes of `order`, each with its step; as many of the leading ones run in parallel as there is use for. */
void add_outer_loops(scheduler *s, const schedule_loop *order, uint32_t n, bool large);
int64_t points(const scheduler *s);

/* Elements between neighbours along an axis, of an access to a buffer; INT64_MAX when that changes. */
int64_t access_stride(const kernel *k, uint32_t buffer, const expr *const *index, uint32_t axis);
bool ends_in_pairs(const kernel_buffer *b);
typedef void access_visitor(void *context, const expr *read);
/* Every read of the kernel; one that stands in several stages may come more than once. */
void visit_all_reads(const kernel *k, access_visitor *visit, void *context);

typedef int64_t axis_quality(const scheduler *s, uint32_t axis);
axis_quality contiguity, vector_score;
/* The best of several axes; of equals the last, which row-major order has innermost. */
int32_t best_axis(const scheduler *s, axis_set among, axis_quality *quality);
axis_set argmax_axes(const kernel *k); /* of argmax stages: each keeps a pair, which no vector holds */

/* -- schedule_warps.c */
typedef struct {
  int64_t rows, groups, vector, others, lanes; /* extents of a tile's axes, of all others together, and of a vector */
  bool wide_sums, wide_rows; /* values of rows lie contiguous along the sum, or from row to row: several are one load */
} tile_question;
typedef struct {
  int64_t rows, groups, vectors;
} warp_tile;
warp_tile tile_for_warps(const tile_question *q);
int64_t sums_spelled_for_warps(int64_t extent, int64_t sums_of_a_tile);
/* The axis that runs in lanes, where that of best contiguity would leave a GPU waiting. */
int32_t lanes_for_warps(const scheduler *s, int32_t usual);
/* Whether lanes may take several neighbours each: all that depends on the axis has them together, so that they are one access. */
bool takes_neighbours(const scheduler *s, uint32_t axis, int64_t depth);
/* How many vectors a warp may have, so that there are enough of both. */
int64_t unroll_for_warps(const scheduler *s, uint32_t axis, int64_t most);

void schedule_rows(scheduler *s);
/* False when the kernel is none. */
bool schedule_copy(scheduler *s);
/* False when it has none. */
bool schedule_squares(scheduler *s);
/* False when it is none for a matrix unit that warps have. */
bool schedule_team(scheduler *s);
bool schedule_groups(scheduler *s);
bool schedule_team_squares(scheduler *s);
/* False when no axis fills vectors. */
bool schedule_contraction(scheduler *s, const contraction_form *c);

#endif
