/* Lowered loops: what a backend sees of a scheduled kernel. Ranges, scalar and vector values, loads and
 * stores at element offsets of buffers, mutable registers; unrolling, tails, peeled edges and
 * accumulators are already spelled out. Both backends print this: nothing here knows an operation
 * beyond elementwise ones, and those are "native" (passes/math.c has expanded the rest).
 *
 * Every value has `lanes` (1: scalar). Registers are assigned by SET and read by VARIABLE; a loop's
 * index is a scalar i64 register. */
#ifndef SSLC_IR_LOOPS_H
#define SSLC_IR_LOOPS_H

#include "ir/op.h"
#include "ir/source.h"

typedef enum {
  LOOPS_CONSTANT, /* splat of `constant` over the lanes */
  LOOPS_VARIABLE, /* register `number` */
  LOOPS_LOAD,     /* `active` lanes from buffer `number` at element offset args[0], `stride` apart (1: contiguous);
                     inactive lanes are 0 */
  LOOPS_GATHER,   /* lanes from buffer `number` at element offsets args[0] (a vector of i64) */
  LOOPS_SPLAT,    /* args[0] (a scalar) in every lane */
  LOOPS_RAMP,     /* i64: args[0] + lane * stride */
  LOOPS_APPLY,    /* elementwise native op of args, all of the same lanes */
  LOOPS_FMA,      /* args[0] * args[1] + args[2], one rounding */
  LOOPS_SCALE,    /* f32: args[0] * 2^args[1], one rounding; args[1] is whole and between -250 and 250 */
  LOOPS_PAIRS,    /* u32: in each of `active` lanes two neighbours of bf16 buffer `number`, the first in the low half; contiguous
                     from element offset args[0]; inactive lanes are 0 */
  LOOPS_DOT,      /* f32: args[2] + the products of the high halves + those of the low halves of args[0] and args[1], which are
                     pairs; subnormals may count as 0 */
  LOOPS_INTERLEAVE, /* the first lanes of all two or four args, then their second ones, and so on */
  LOOPS_CALL,     /* f64 only: the backend's scalar library for op (exp, log, ...) */
  LOOPS_REDUCE    /* all `active` lanes of args[0] by op (ADD, MAX, MIN), halves added pairwise: a scalar */
} loops_kind;

typedef struct loops_expr loops_expr;
struct loops_expr {
  loops_kind kind;
  dtype type;
  uint32_t lanes, active;
  op_id op;
  uint32_t number;
  int64_t stride;
  uint32_t n_args;
  const loops_expr **args;
  scalar constant;
};

/* COPY, COMMIT, WAIT and BARRIER are for teams: warps that carry out one iteration together, each in its own registers and
 * tiles, and share local buffers. What one of them writes there the others see behind a barrier. Copies are asynchronous: what
 * they wrote is there behind a WAIT that their COMMIT is old enough for, for the warp that made them. */
typedef enum {
  STATEMENT_FOR, STATEMENT_IF, STATEMENT_SET, STATEMENT_STORE, STATEMENT_TILE,
  STATEMENT_FETCH,  /* what lies at `offset` of buffer `number` will be read, or is not there: changes nothing, but it may be in a cache by then */
  STATEMENT_COPY,   /* in each lane, `active` neighbours from offset `source` of buffer `from` to `offset` of local `number`; zeros where `value` is false */
  STATEMENT_COMMIT, /* ends a group of copies */
  STATEMENT_WAIT,   /* until at most the `number` latest groups are under way */
  STATEMENT_BARRIER,
  STATEMENT_PRODUCT, /* by four warps together, in the background: sums of 64 rows by 16 `active` lanes take in the products of 64 neighbours,
                        bf16 from `offset` of local `number` and from `source` of local `from`; a warp has 16 rows of sums, from tile[0] on */
  STATEMENT_SETTLE,  /* until at most the `number` latest products are under way; those read and write what they are given until then */
  STATEMENT_EXPECT,  /* by one thread of the team: arrival `offset` is to have `number` bytes more, which the BOXes behind this bring */
  STATEMENT_BOX,     /* by that thread, in the background: box number `from`, where it begins at coordinates `at`, to `offset` of local `number`, for arrival `source` */
  STATEMENT_ARRIVED  /* until arrival `offset` has all that it was told of for the time number `source`, from 0 on; behind a BARRIER, at which the others learn
                        that arrivals have begun */
} statement_kind;

/* What a PRODUCT reads are panels of 64 results by 64 neighbours of the sum, one behind the other. A panel has 64 rows in memory, a
 * result each or, `across`, a neighbour each, in chunks of 8; chunk c of row r lies in the place of chunk c ^ r % 8, so that neighbours
 * of both kinds meet all banks. */
enum { PANEL = 64, PANEL_CHUNK = 8, GROUP_WARPS = 4 };

/* A rectangle of an argument, which one copy brings to panels (TMA): of a tensor of so many dimensions, the fastest first, with extents and
 * strides in elements, `size` neighbours along each, of which 64 along the first are a row of a panel. Zeros are in the place of what lies
 * outside of the tensor. */
enum { BOX_RANK = 5, BOX_MOST = 256 /* along a dimension */ };
typedef struct {
  uint32_t buffer, rank;
  int64_t extent[BOX_RANK], stride[BOX_RANK], size[BOX_RANK];
} loops_box;

/* Tiles of a matrix unit. All of one kind have one shape: the first `sum_tiles` hold `tile_rows` rows of TILE_LANES sums in f32; then
 * `row_tiles` with as many rows of `tile_pairs` pairs of bf16; then `lane_tiles` with `tile_pairs` rows of TILE_LANES pairs.
 * AMX has 4, 2 and 2. */
enum { TILE_LANES = 16, FIRST_ROW_TILE = 4, FIRST_LANE_TILE = 6, N_TILES = 8 };
typedef enum {
  TILE_ZERO,
  TILE_LOAD,  /* from a buffer: its first row at element `offset`, the others `stride` elements apart. In a team, rows in memory are
                 the tile's rows or lanes, or, `across`, neighbours of the sum */
  TILE_STORE, /* to one */
  TILE_DOT    /* tile[0] of sums takes in the products of tile[1], rows, and tile[2], lanes, as LOOPS_DOT does */
} tile_action;

typedef struct statement statement;
typedef struct {
  statement **items;
  uint32_t n, capacity;
} block;

struct statement {
  statement_kind kind;
  uint32_t number;                /* FOR: index register; SET: register; STORE, FETCH, TILE, COPY, BOX: buffer; WAIT; EXPECT */
  const loops_expr *begin, *end;  /* FOR: scalar i64, counts up by `step` while below end */
  int64_t step;
  const loops_expr *value;        /* IF: scalar bool; SET; STORE; COPY: bool of the lanes of `offset`, or NULL: everywhere */
  const loops_expr *offset;       /* STORE, FETCH, TILE, PRODUCT, BOX: scalar i64 element offset; COPY: a vector of them; EXPECT, ARRIVED: scalar i64 */
  uint32_t active;                /* STORE: how many lanes, from lane 0, contiguous unless stride != 1 */
  int64_t stride;                 /* STORE: elements between lanes; TILE: between rows */
  tile_action action;             /* TILE */
  uint32_t tile[3];               /* TILE */
  bool across;                    /* TILE; PRODUCT: rows */
  bool across_lanes;              /* PRODUCT */
  uint32_t from;                  /* COPY, PRODUCT: buffer; BOX */
  const loops_expr *source;       /* COPY: i64, of the lanes of `offset`; PRODUCT, BOX, ARRIVED: as offset */
  const loops_expr *at[BOX_RANK]; /* BOX: scalar i64 */
  bool streams;                   /* STORE: of a whole aligned vector that nobody reads soon, past the caches */
  block body;                     /* FOR, IF */
};

typedef enum { PLACE_ARGUMENT, PLACE_LOCAL } buffer_place;

typedef struct {
  const char *name;
  dtype type;
  int64_t elements;
  buffer_place place; /* LOCAL: on chip (a thread's own), zeroed by nobody */
  bool written;
} loops_buffer;

typedef struct loops {
  arena *arena;
  const char *name;
  loops_buffer *buffers; /* the kernel's, in its order, then local ones */
  uint32_t n_buffers, buffers_capacity, n_arguments;
  struct {
    dtype type;
    uint32_t lanes;
  } *registers;
  uint32_t n_registers, registers_capacity;
  int64_t iterations; /* of the parallel loops together; register 0 is the number of the iteration */
  block body;         /* for one iteration */
  uint32_t tile_rows, tile_pairs; /* 0: no tiles */
  dtype tile_type; /* bf16; in teams also f32, of which a word takes the place of a pair, rounded to tf32 as it is loaded */
  uint32_t sum_tiles, row_tiles, lane_tiles;
  loops_box *boxes;
  uint32_t n_boxes, boxes_capacity, arrivals; /* arrivals: how many there are, of one iteration */
  uint32_t team, team_register; /* warps of a team, and the register that holds the number of one; 0: each iteration by itself */
  span where;
} loops;

loops *loops_new(arena *a, const char *name);
uint32_t loops_add_register(loops *l, dtype type, uint32_t lanes);
uint32_t loops_add_buffer(loops *l, loops_buffer b);
uint32_t loops_add_box(loops *l, const loops_box *b); /* the number of an equal one where there is one */
int64_t loops_box_elements(const loops_box *b);
/* Expressions live in the arena of `l`; arguments are copied. `active` 0 stands for all lanes. */
const loops_expr *loops_node(loops *l, loops_expr e);
const loops_expr *loops_constant(loops *l, dtype type, uint32_t lanes, scalar v);
const loops_expr *loops_integer(loops *l, int64_t v); /* scalar i64 */
const loops_expr *loops_variable(loops *l, uint32_t number);
/* Scalar arguments are spread over the lanes of the others; what is constant is computed. */
const loops_expr *loops_apply(loops *l, op_id op, dtype result, const loops_expr *const *args, uint32_t n);
const loops_expr *loops_splat(loops *l, const loops_expr *e, uint32_t lanes); /* `e` if it has them already */
statement *loops_append(loops *l, block *to, statement s);
/* x - by * floor_div(x, by), which arithmetic on ranges alone would not see to be in [0, by). `of` gives what a register stands
 * for, NULL where that is not one value. */
typedef const loops_expr *loops_definition(const void *context, uint32_t number);
bool loops_is_remainder(const loops_expr *e, loops_definition *of, const void *context, int64_t *by);
/* Where the element at a row and a column of panels from `offset` on lies. */
int64_t loops_panel_place(int64_t offset, int64_t row, int64_t column);
/* Rows of a tile, and columns of four bytes each. */
void loops_tile_shape(const loops *l, uint32_t tile, uint32_t *rows, uint32_t *columns);
char *loops_print(const loops *l, arena *into);
/* Registers set before they are read, lanes and types agreeing, every access inside its buffer by
 * interval analysis (gathers are clamped by construction and proven likewise). NULL when sound. */
const char *loops_verify(const loops *l, arena *scratch);
/* Runs all iterations in order. Buffers lie as their layouts say. */
void loops_interpret(const loops *l, void *const *buffers, arena *scratch);

#endif
