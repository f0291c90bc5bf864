/* What the files of merging share.
 *
 *   merge.c          kernels that share loops become one
 *   merge_squares.c  before that: kernels in which squares live on chip; see squares.h
 *   merge_joins.c    behind it: parts of a whole that one kernel makes, written where the whole has them */
#ifndef SSLC_PASSES_MERGE_H
#define SSLC_PASSES_MERGE_H

#include "passes/fuse.h"

enum { MOST_BUFFERS = 64, MOST_STAGES = 64, MOST_EXPRS = 2000 };
enum { NO_AXIS = UINT32_MAX };

typedef struct {
  uint32_t *items;
  uint32_t n, capacity;
} index_list;

typedef struct {
  const graph *graph;
  arena *arena;
  fragment **fragments; /* NULL: merged into another */
  uint32_t n;
  uint32_t *into;      /* per fragment: where it went, itself at first */
  uint32_t *changed, clock, tried; /* per fragment: when another came to it, by a clock of merges; pairs that are as they were at `tried` were tried since */
  uint32_t *producer;  /* per value: its fragment + 1; 0: from outside */
  index_list *readers; /* per value: fragments, some of which may have been merged since */
  bool *is_result;
  uint32_t *level;         /* per fragment: less than that of all that read it; NULL: not known yet */
  uint32_t *stamps, stamp; /* of a walk over fragments, or over expressions by id */
  uint32_t *expr_stamps, expr_capacity;
} merging;

static inline axis_set axis_bit(uint32_t axis) { return (axis_set)1 << axis; }

/* Where a fragment has gone. */
uint32_t find(merging *m, uint32_t f);
/* Does a path lead from one fragment to another? With `indirect` only one through a third counts. */
bool has_path(merging *m, uint32_t from, uint32_t to, bool indirect);

/* Per axis of the second kernel its counterpart in the first, or NO_AXIS. */
typedef struct {
  const fragment *first, *second;
  uint32_t counterpart[MAX_AXES];
  axis_set taken; /* axes of the first that have one */
} matching;

bool match_axis(matching *m, uint32_t first, uint32_t second);
/* Every read by the second of what the first writes must be at the place where it is written; how many are. */
bool match_results(matching *m, uint32_t *n_matched);
/* What is left may run over one axis wherever extents agree. */
void match_remaining(matching *m);
/* The stage that writes the value; NULL: none does. */
const stage *writer(const fragment *f, value v);
/* Puts the second fragment behind the first; its axes without a counterpart become new ones, in their order. */
void append(merging *g, uint32_t first, uint32_t second, const matching *m);

/* Makes the kernels of all that reads squares. The squares whose readers do not fit are refused, and nothing is merged. */
bool merge_squares(merging *m, squares *s, const bool *materialised);

/* Values that put side by side what one kernel makes: its stages write them, and nothing is copied. */
void merge_joins(merging *m, const bool *materialised);

#endif
