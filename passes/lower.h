/* What the files of lowering share. One lowering walks the schedule's loops once, outermost first, with
 * the set of stages that run there; loops become statements, coordinates become affine forms over index
 * registers, and values become expressions that are set in the outermost block where they can be known.
 *
 *   lower.c           the pass; what is decided once for a kernel
 *   lower_parallel.c  iterations that are handed out to threads
 *   lower_tasks.c     the order in which stages run, loops, tiles, peeling
 *   lower_branch.c    what is skipped because a condition that is one for all lanes does not hold
 *   lower_guard.c     what is skipped because a read lies outside its buffer
 *   lower_affine.c    coordinates, ranges, decided conditions
 *   lower_emit.c      blocks, registers, and which values are known where
 *   lower_value.c     expressions of a kernel at the current coordinates
 *   lower_access.c    reads and writes: offsets, layouts, masks
 *   lower_reduce.c    accumulators, in registers and in memory
 *   lower_fetch.c     what will be read is told to memory before: by what follows a sum, of rows that are read piece by piece
 *   lower_tile.c      accumulators in a matrix unit
 *   lower_team.c      a product of matrices by warps that share memory on the chip
 *   lower_team_squares.c
 *                     squares, and what is reduced and multiplied of them, by such warps
 *   lower_team_operand.c
 *                     walks and blocks of operands, for that and its kin: see lower_team.h
 *   lower_panel.c     such blocks for the matrix unit of groups of warps
 *   lower_box.c       and those that are rectangles of memory */
#ifndef SSLC_PASSES_LOWER_H
#define SSLC_PASSES_LOWER_H

#include "ir/kernel.h"
#include "ir/loops.h"
#include "ir/mask.h"

/* Index = constant + lane * (number of the lane) + sum of coefficient * register. Registers count
 * iterations, not elements, so that blocks of a layout divide out of the coefficients. */
enum { AFFINE_TERMS = 32 };
typedef struct {
  int64_t constant, lane;
  uint32_t n;
  struct {
    uint32_t number; /* in order, all different */
    int64_t coefficient;
  } term[AFFINE_TERMS];
} affine;

/* Stands in a form for what loops still to come will add to an axis; never emitted. */
enum { AXIS_TO_COME = 1u << 31 };

typedef struct {
  affine at;    /* of the first index that the loops still to come walk over */
  int64_t left; /* how many they walk over; 1 once the axis is bound */
  uint32_t id;  /* equal coordinates have equal ids */
} coordinate;

/* An expression and the depth of the outermost block in which it can be computed. */
typedef struct {
  const loops_expr *expr;
  uint32_t level;
} operand;

typedef struct known_value known_value;
typedef struct {
  block *block;
  known_value *values;
  uint32_t guarded; /* level of the innermost enclosing block under an IF */
} frame;

/* Where a stage's value lies in memory. */
typedef struct {
  bool is_output;
  uint32_t buffer;
  affine *origin;  /* by axis: coordinates of its first element */
  int64_t *stride; /* by axis */
} home;

enum { COMPONENTS = 2, MAX_SLOTS = 8 };
typedef struct {
  uint32_t uses;                /* by later stages */
  bool *reads;                  /* by stage: whether its value is read; NULL until asked */
  int32_t vector_loop;          /* the loop that runs in lanes, or -1 */
  bool needs_home;              /* a reader walks its axes in another way, so a register will not do */
  bool in_registers, in_memory; /* accumulating there */
  bool is_packed;               /* a map, stored for the contraction that reads each element again and again */
  bool is_kept;                 /* the home was made by the loops around those that compute the value */
  bool ready;                   /* the home holds the value */
  home home[COMPONENTS];        /* of an argmax: the index, and the largest value so far */
  int32_t local[COMPONENTS];    /* the local buffer it has had, or -1 */
  uint32_t lanes;               /* of accumulators whose reduced axis runs in lanes; else 1 */
  bool in_tiles;                /* of a matrix unit, where it is said to be in registers */
  uint32_t n_tiles;
  uint32_t slots;               /* accumulators that take turns, to hide the latency of the chain */
  uint32_t slot_axis;
  int64_t slot_step;
  char accumulator[COMPONENTS][MAX_SLOTS], value; /* their addresses name registers among the known values */
} stage_state;

/* What a tile of an operand holds, as long as straight-line code goes on. */
typedef struct {
  const expr *read;
  const block *block;
  uint32_t ids[MAX_AXES];
} loaded_tile;

/* A condition that an enclosing IF has tested; `pinned` is the register that holds its subject. */
typedef struct {
  const condition *condition;
  uint32_t pinned;
} fact;

enum { MAX_FACTS = 16 };
typedef struct {
  const kernel *kernel;
  loops *loops;
  arena *arena;
  const char *error;

  schedule_loop *schedule;
  uint32_t n_loops;
  bool *in_lanes; /* by loop: a vector loop that the stores of all stages allow */

  coordinate axis[MAX_AXES];
  axis_set unrolled; /* axes whose coordinate is one of several in straight-line code */
  int32_t vector_axis;
  int32_t pair_axis; /* whose two points are taken in at once; -1: none */
  uint32_t lanes, active;

  stage_state *stages;
  frame *frames;
  uint32_t depth, frames_capacity;
  struct {
    interval range;
    uint32_t level;
  } * registers; /* beside those of the loops */
  uint32_t n_registers, registers_capacity;

  fact facts[MAX_FACTS];
  uint32_t n_facts;
  const expr *equalities[MAX_FACTS]; /* that enclosing IFs have tested */
  uint32_t n_equalities;
  loaded_tile loaded[N_TILES - FIRST_ROW_TILE];
  uint32_t tile_turn[2];
  int32_t tile_sums, tile_edge[2]; /* memory of the thread; -1: none yet */
  struct known_table *known;
  struct coordinate_table *coordinates;
  kernel_mask mask;
  bool has_mask;
  uint32_t *uses; /* by expression: how often it stands in what is computed */
  struct branch_table *branches;
} lowering;

/* -- lower_affine.c --------------------------------------------------------------------------------------- */

affine affine_constant(int64_t v);
affine affine_register(uint32_t number, int64_t coefficient);
/* a += factor * b; false when there are too many terms. */
bool affine_add(affine *a, const affine *b, int64_t factor);
interval affine_range(const lowering *l, const affine *a);
uint32_t affine_id(lowering *l, const affine *a);

typedef enum {
  AFFINE_ANALYSE, /* emits nothing; loops still to come may stand in the form */
  AFFINE_PROBE,   /* as above, and parts that would be computed count as 0 */
  AFFINE_EMIT     /* parts of other forms are computed into registers */
} affine_mode;
bool affine_of(lowering *l, const expr *e, affine_mode mode, affine *out);
bool affine_divide(lowering *l, const affine *a, int64_t by, affine_mode mode, affine *quotient, affine *rest);
interval range_of(lowering *l, const expr *e);

typedef enum { NEVER, ALWAYS, UNDECIDED } decision;
decision decide_condition(lowering *l, const condition *c);
decision decide_truth(lowering *l, const expr *e);
void bind_axis(lowering *l, uint32_t axis, const affine *step, int64_t left);

/* -- lower_emit.c ----------------------------------------------------------------------------------------- */

void fail_lowering(lowering *l, const char *message);
void open_frame(lowering *l, block *b, bool under_condition);
void close_frame(lowering *l);
void emit(lowering *l, statement s); /* in the current block */
uint32_t new_register(lowering *l, dtype type, uint32_t lanes, interval range, uint32_t level);
/* Sets a register in the block at the value's level, unless the value is one or a constant. */
operand share(lowering *l, operand v);
operand emit_affine(lowering *l, const affine *a);    /* without lanes */
operand value_of_index(lowering *l, const affine *a); /* a ramp when it has lanes */
operand constant_value(lowering *l, dtype type, scalar v);
operand variable_value(lowering *l, uint32_t number);
/* What is known under `name` at the current coordinates of `axes`. */
bool find_known(lowering *l, const void *name, axis_set axes, operand *out);
void add_known(lowering *l, const void *name, axis_set axes, operand v);
bool find_known_by(lowering *l, const void *name, const uint32_t *ids, uint32_t n, operand *out);
void add_known_by(lowering *l, const void *name, const uint32_t *ids, uint32_t n, operand v);

/* -- lower_value.c ---------------------------------------------------------------------------------------- */

void count_uses(lowering *l);
operand lower_expr(lowering *l, const expr *e);
bool is_reused(const lowering *l, const expr *e);
operand apply_op(lowering *l, op_id op, dtype result, const operand *args, uint32_t n);
operand cast_value(lowering *l, operand v, dtype to);
operand fuse_multiply_add(lowering *l, operand x, operand y, operand z);
operand dot_pairs(lowering *l, operand x, operand y, operand z);
/* The body that an internal map stands for, while nothing else needs its value. */
const expr *look_through(const lowering *l, const expr *e);

/* -- lower_branch.c --------------------------------------------------------------------------------------- */

void find_branches(lowering *l);
/* A select as an IF, with others of its condition; false where it stays one. */
bool lower_branch(lowering *l, const expr *e, operand *out);

/* -- lower_access.c --------------------------------------------------------------------------------------- */

operand read_buffer(lowering *l, const expr *read);
/* Two neighbours along an axis that is still to be bound, as pairs; false when they do not lie side by side. */
bool read_pairs(lowering *l, const expr *read, uint32_t axis, operand *out);
/* Where a read lies, in each of the lanes, as if it were inside its buffer, and the test that says so (an expr of NULL: always). */
operand copy_place(lowering *l, const expr *read, operand *test);
/* The offset of a read as a form; false when it is none. */
bool read_place(lowering *l, const expr *read, affine *out);
/* Says that the lanes of a read, contiguous, will be wanted, or what lies so many elements behind them. */
void fetch_read(lowering *l, const expr *read, int64_t ahead);
/* The test of an undecided condition on the value of its subject. */
operand condition_value(lowering *l, const condition *c, operand subject);
bool can_store_in_lanes(lowering *l, const stage *s);
void store_output(lowering *l, uint32_t stage, operand v);
void make_home(lowering *l, uint32_t stage, uint32_t component, dtype type);
operand load_home(lowering *l, uint32_t stage, uint32_t component);
void store_home(lowering *l, uint32_t stage, uint32_t component, operand v);

/* -- lower_reduce.c --------------------------------------------------------------------------------------- */

dtype accumulator_type(const kernel *k, const stage *s, uint32_t component);
uint32_t accumulator_components(const stage *s);
void prepare_registers(lowering *l, uint32_t stage); /* identities */
void clear_memory(lowering *l, uint32_t stage);
void accumulate(lowering *l, uint32_t stage);
void finish_registers(lowering *l, uint32_t stage);
void complete_sum(lowering *l, uint32_t stage, operand x[COMPONENTS]); /* goes where the stage's value goes */
/* The reads of bf16 whose product a sum takes in; false when it is another sum. */
bool narrow_factors(const lowering *l, const stage *s, const expr *reads[2]);
void finish_memory(lowering *l, uint32_t stage);

/* -- lower_guard.c ---------------------------------------------------------------------------------------- */

/* Conditions under which a stage's body is the identity of its monoid when they fail. */
typedef struct {
  const condition *conditions[MAX_FACTS];
  uint32_t n;
  const expr *equality; /* what selects the body where few of many points do (a scatter's address); or NULL */
  bool nothing; /* one of them always fails here */
} guard;
/* `any_bound`: also conditions that differ between unrolled coordinates. */
guard find_guard(lowering *l, const stage *s, bool any_bound);
/* Opens an IF on the conditions; close_guard appends it. */
void open_guard(lowering *l, const guard *g, block *body, statement *s);
void close_guard(lowering *l, const guard *g, block *body, statement *s);

/* -- lower_tasks.c ---------------------------------------------------------------------------------------- */

/* What a stage still has to do in the loops from some position on. */
typedef enum {
  TASK_EVALUATE, /* a map: compute and store; a reduction: take in one element */
  TASK_PREPARE,  /* accumulators in registers: set to the identity */
  TASK_FINISH,   /* accumulators in registers are complete */
  TASK_CLEAR,    /* accumulators in memory: set to the identity */
  TASK_COPY      /* accumulators in memory are complete */
} task_action;

typedef struct {
  uint32_t stage;
  task_action action;
  axis_set axes; /* that its loops walk over */
} task;

typedef struct {
  task *items;
  uint32_t n;
} task_list;

bool reduces(const stage *s);
/* Marks the stages that one reads, itself or through maps that are computed in place. */
const bool *reads_of(lowering *l, uint32_t number);
/* How far a loop walks at most: the step of the loop around it over the same axis, or the extent. */
int64_t reach_of_loop(const lowering *l, uint32_t loop);
/* Of a vector loop. */
int64_t lanes_of_loop(const lowering *l, uint32_t loop);
/* Tasks in the schedule's loops from number `at` on. */
void lower_tasks(lowering *l, task_list tasks, uint32_t at);

/* -- lower_fetch.c ---------------------------------------------------------------------------------------- */

/* Before a long sum begins: what those who read it read of memory at the same place. */
void fetch_for_readers(lowering *l, uint32_t sum);
/* While a stage reads a piece of rows that lie far apart: the next one. */
void fetch_next_piece(lowering *l, uint32_t number);

/* -- lower_tile.c ----------------------------------------------------------------------------------------- */

/* The tile loop over an axis that the stage keeps, from loop `at` on; -1: none. */
int32_t find_tile_loop(const lowering *l, uint32_t stage, uint32_t at);
/* Carries a task out at its tile loop; false when that is a loop like others to it. */
bool lower_tile(lowering *l, const task *t, uint32_t at);

/* -- lower_team.c, lower_team_squares.c ------------------------------------------------------------------- */

/* Everything, as schedule.team says. */
void lower_team(lowering *l);
void lower_team_squares(lowering *l);

/* -- lower_parallel.c ------------------------------------------------------------------------------------- */

/* Everything, with the leading parallel loops around it. */
void lower_iterations(lowering *l, task_list tasks);

#endif
