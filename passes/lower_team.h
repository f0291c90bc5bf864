/* What the lowerings for teams of warps share: walks bound to axes, and blocks of operands in memory on the chip. A block lies there
 * as its operand does in its buffer: rows of neighbours along the sum, or, `across`, rows of neighbours along the result. The matrix
 * unit takes both. Rows are 16 bytes longer than they need be, so that eight of them meet all banks. */
#ifndef SSLC_PASSES_LOWER_TEAM_H
#define SSLC_PASSES_LOWER_TEAM_H

#include "passes/lower.h"
#include "passes/team.h"

enum { WARP_LANES = 32, CHUNK_BYTES = 16, TILE = 16, SLAB_PADDING = 8 };

typedef struct {
  lowering *l;
  dtype type; /* of operands on the chip */
  int64_t warps;
  int64_t chunk, depth; /* elements that are copied at once; neighbours of the sum in a tile */
  affine warp;          /* number */
  bool panels;          /* operands lie in them, for groups of warps (ir/loops.h) */
  bool boxes;           /* rectangles of memory are brought as such */
} team_base;

typedef struct {
  const expr *factor, *read; /* read: copied as it is */
  const walk *walk, *sums;   /* along the result, and along the sum */
  int64_t block, depth;      /* along each */
  int64_t stages;            /* blocks that are there at once */
  affine at;                 /* which block of the result */
  bool across;
  uint32_t local;
  int64_t rows, columns, stride; /* of the block in memory on the chip; panels stand one behind the other, without padding */
  affine lane_row, lane_chunk;   /* of it that a lane copies */
  affine lane_place;             /* in panels: that of the chunk in its row */
  int64_t box_rows;              /* of panels that one box brings; 0: they are brought another way */
  uint32_t box;
} operand_block;

affine times(const affine *a, int64_t factor);
affine plus(affine a, const affine *b);
/* Of what lanes do not differ in. */
void divide(lowering *l, const affine *a, int64_t by, affine *quotient, affine *rest);
void place(lowering *l, uint32_t axis, const affine *at);
int64_t blocks_of(const walk *w, int64_t size);
/* The point `outer` * size + `inner` of a walk. Where sizes divide the fastest axis, lanes stay within it. */
void bind_walk(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner);
/* The number of a point, of `unit` neighbours each, and the test that it is one of the walk's. Whoever reads only where the test
 * holds may take the number as if it did. */
operand number_inside(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner, int64_t unit, bool where_it_holds, affine *number);
/* Binds the axes of a walk at a point; an expr of NULL: it is one of the walk's. */
operand bind_inside(lowering *l, const walk *w, const affine *outer, int64_t size, const affine *inner, int64_t unit, bool where_it_holds);
affine register_form(lowering *l, operand v, interval range);

void begin_team(team_base *t, lowering *l, dtype type, int64_t warps);
/* From factor, walks and sizes: how it lies, with memory for it. */
void describe_operand(const team_base *t, operand_block *o, const char *name);
void bring_operand(const team_base *t, const operand_block *o, const affine *step, const affine *turn);
/* `n` tiles from number `first` on, beginning at neighbour `from` of the result and `sum` of the sum. */
void load_tiles(const team_base *t, const operand_block *o, uint32_t first, int64_t n, const affine *from, const affine *turn, const affine *sum);

/* The step that many behind the one that a loop is at, in an IF that there is one. */
typedef struct {
  block body;
  operand test;
} later_step;
affine open_later_step(lowering *l, uint32_t index, int64_t ahead, int64_t steps, later_step *s);
void close_later_step(lowering *l, const later_step *s);

/* Binds the axes of an operand at a row and a column of its block; columns are counted in units of what is copied at once. An expr of
 * NULL: they are the operand's. */
operand bind_operand(const team_base *t, const operand_block *o, const affine *step, const affine *row, const affine *column);
/* Emits a copy in each lane, of what bound axes say, where `test` holds; the value of the factor there, or 0. */
void copy_chunk(const team_base *t, const operand_block *o, const affine *to, operand test);
operand factor_value(const team_base *t, const operand_block *o, operand test);

/* -- lower_panel.c: the same for blocks in panels */

void describe_panels(const team_base *t, operand_block *o);
void copy_panels(const team_base *t, const operand_block *o, const affine *step, const affine *turn);
void compute_panels(const team_base *t, const operand_block *o, const affine *step, const affine *turn);
/* Where the results from `first` * `each` on begin. */
affine panel_place(const operand_block *o, const affine *turn, const affine *first, int64_t each);

/* -- lower_box.c: panels that are rectangles of memory */

enum { MOST_BOXES = 16 /* of an operand: a block has 1024 rows or lanes at most */ };
/* Finds out whether they are, with a box for that. */
void describe_boxes(const team_base *t, operand_block *o);
int64_t boxes_bytes(const operand_block *o); /* of a step; 0 where it has none */
/* The statements of a step, which nobody has emitted yet; how many. */
uint32_t list_boxes(const team_base *t, const operand_block *o, const affine *step, const affine *turn, const loops_expr *arrival, statement *out);

#endif
