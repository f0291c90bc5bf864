/* The loop IR. A kernel is a definition (what is computed: typed buffers, axes, stages) and a schedule
 * (how: an ordered list of loops). The interpreter runs the definition and ignores the schedule; a
 * schedule may change the order of additions, never the meaning.
 *
 *   kernel conv_relu {
 *     in x : f32[64,64,16,16] {0 2 3 1}
 *     in w : f32[128,64,3,3] {0/64 2 3 1 0%64}
 *     in b : f32[128]
 *     out y : f32[64,128,16,16] {0 2 3 1}
 *     axes n:64 k:128 p:16 q:16 c:64 r:3 s:3
 *     acc[n,k,p,q] : f32 = sum c r s of x[n, c, p + r - 1, q + s - 1]
 *         where 0 <= p + r - 1 < 16, 0 <= q + s - 1 < 16 else 0 * w[k, c, r, s]
 *     z[n,k,p,q] : f32 = max(acc + b[k], 0) -> y[n, k, p, q]
 *   }
 *   schedule { for n parallel, k/64, p, q/6, r, s unroll, c/4, c unroll, q unroll, k/16 unroll, k vector }
 *
 * docs/ir_kernel.md has the grammar and the rules.
 * Reads of a stage are at the reader's own axes: a stage is visible to those that come later. */
#ifndef SSLC_IR_KERNEL_H
#define SSLC_IR_KERNEL_H

#include "ir/diagnostic.h"
#include "ir/layout.h"
#include "ir/op.h"

enum { MAX_AXES = 64 };
typedef uint64_t axis_set; /* bit i: axis i */

typedef enum {
  EXPR_CONSTANT, /* `constant`, of `type` */
  EXPR_AXIS,     /* the index along axis `number`; i64 */
  EXPR_READ,     /* buffer `number` at args (one i64 index per logical dimension), under `conditions` */
  EXPR_STAGE,    /* the value of stage `number` at the current axes */
  EXPR_APPLY     /* an elementwise op of args */
} expr_kind;

typedef struct expr expr;

typedef struct {
  int64_t low, high; /* inclusive */
} interval;

/* low <= subject < high, and subject divisible by divisor (1: always). */
typedef struct {
  const expr *subject;
  int64_t low, high, divisor;
} condition;

struct expr {
  expr_kind kind;
  dtype type;
  op_id op;         /* APPLY */
  uint32_t number;  /* AXIS, READ, STAGE */
  uint32_t n_args, n_conditions;
  const expr **args;
  const condition *conditions; /* READ: when one fails, nothing is read and the value is `constant` */
  scalar constant;
  axis_set axes;  /* that the value depends on (of a stage: its free axes) */
  interval range; /* of integers and bool, over the axes' extents */
  uint32_t id;    /* position in the order of making; arguments come first */
};

typedef enum { MONOID_NONE, MONOID_SUM, MONOID_MAX, MONOID_ARGMAX } monoid;

typedef struct {
  const char *name;
  dtype type;
  monoid monoid; /* NONE: a map */
  bool again;    /* a sum that another kernel of the step makes as well: no work of its own */
  axis_set free, reduced;
  const expr *body;
  /* Written to buffer `output` at `index` (one per logical dimension, over the free axes); -1: internal.
   * Stages write disjoint elements, and together all elements of an output. */
  int32_t output;
  const expr **index;
  span where;
} stage;

typedef enum { ACCESS_IN, ACCESS_OUT } buffer_access;
typedef struct {
  const char *name;
  tensor_type type;
  layout layout;
  buffer_access access;
  bool cold; /* an output that is read only when the caches have forgotten it */
} kernel_buffer;

typedef enum { LOOP_SERIAL, LOOP_UNROLL, LOOP_VECTOR, LOOP_PAIR, LOOP_TILE, LOOP_PARALLEL } loop_kind;

/* Walks what the enclosing loop over the same axis left (its step; the extent for the outermost) in
 * steps of `step`. The innermost loop of an axis has step 1; a vector loop's lanes are the step of the
 * loop around it, divided by its own, which is how many neighbours each lane takes, one by one in an unrolled loop inside. A pair loop takes two neighbours of a sum of products of bf16 at once, where they lie side by side. Behind a tile loop, over rows, a pair
 * loop and a vector loop are a tile of a matrix unit; the pair loop may be longer then. A remainder is a second, smaller body, never a test in the loop. */
typedef struct {
  uint32_t axis;
  int64_t step;
  loop_kind kind;
  bool peel; /* first and last iterations have bodies of their own, where conditions on edges are decided */
} schedule_loop;

/* A contraction by a team of warps that share memory on the chip. The axes of each operand alone are walked as one, the last
 * fastest, and so are those of the sum; a team makes `rows` by `lanes` results, each warp of it `warp_rows` by `warp_lanes`,
 * and takes in `sums` products at a time, of which `stages` are on their way. Takes the place of loops. Or four warps each are a
 * group, which makes what one warp would, by the unit that reads both operands from memory on the chip (sm_90a); with `boxes`, operands that are
 * rectangles of memory come as such, by a copy of one thread (TMA). */
typedef struct {
  int64_t rows, lanes, sums, warp_rows, warp_lanes, stages; /* rows == 0: no team */
  bool groups, boxes;
} team_tile;

typedef struct {
  schedule_loop *loops; /* outermost first; parallel ones lead */
  uint32_t n;
  int64_t chunks; /* in how many pieces the parallel loops' iterations are handed out; 0: one each */
  team_tile team;
} schedule;

typedef struct kernel {
  arena *arena;
  const char *name;
  struct {
    const char *name;
    int64_t extent;
  } *axes;
  uint32_t n_axes, axes_capacity;
  kernel_buffer *buffers;
  uint32_t n_buffers, buffers_capacity;
  stage *stages;
  uint32_t n_stages, stages_capacity;
  schedule schedule;
  span where;
  struct expr_table *exprs; /* interned: equal expressions are one pointer */
} kernel;

kernel *kernel_new(arena *a, const char *name, span where);
uint32_t kernel_add_axis(kernel *k, const char *name, int64_t extent);
uint32_t kernel_add_buffer(kernel *k, const char *name, tensor_type type, buffer_access access);
uint32_t kernel_add_stage(kernel *k, stage s); /* arrays copied; `free` may be left 0 for a map: then derived */

/* Expressions are interned and simplified as they are made: constants fold, index arithmetic is
 * normalised (sums of products in axis order; floor_div and mod by constants dissolve where ranges of
 * axes allow), decided conditions vanish. */
const expr *expr_constant(kernel *k, dtype t, scalar v);
const expr *expr_integer(kernel *k, int64_t v); /* i64 */
const expr *expr_axis(kernel *k, uint32_t axis);
const expr *expr_read(kernel *k, uint32_t buffer, const expr *const *index, const condition *conditions,
                      uint32_t n_conditions, scalar otherwise);
const expr *expr_stage(kernel *k, uint32_t stage);
const expr *expr_apply(kernel *k, op_id op, dtype result, const expr *const *args, uint32_t n);
const expr *expr_add(kernel *k, const expr *x, const expr *y); /* i64 */
const expr *expr_scale(kernel *k, const expr *x, int64_t by);
const expr *expr_divide(kernel *k, const expr *x, int64_t by); /* floor */
const expr *expr_modulo(kernel *k, const expr *x, int64_t by); /* 0 <= r < by */

/* Replaces axes, buffers and stages by what the callbacks give (NULL callback or result: unchanged).
 * `into` may be another kernel: then every leaf must be mapped. */
typedef struct {
  void *context;
  const expr *(*axis)(void *context, kernel *into, uint32_t axis);
  const expr *(*read)(void *context, kernel *into, const expr *read, const expr *const *new_index,
                      const condition *new_conditions);
  const expr *(*stage)(void *context, kernel *into, uint32_t stage);
} expr_rewrite;
const expr *expr_rewrite_into(kernel *into, const kernel *from, const expr *e, const expr_rewrite *how);

/* Range of an integer expression over the axes' extents; reads from memory have their type's range, and
 * clamps (min, max with constants) narrow it. */
interval expr_interval(const kernel *k, const expr *e);
/* The expression as sum(coefficient[i] * axis i) + offset; false when it is not of that form. */
bool expr_affine(const kernel *k, const expr *e, int64_t coefficient[MAX_AXES], int64_t *offset);

/* A contraction by form: a sum stage whose body is the product of two expressions (each may hold casts
 * and maps), whose free axes split into batch (both), left only, right only. */
typedef struct {
  const expr *left, *right;
  axis_set batch, left_only, right_only, reduced;
} contraction_form;
bool stage_contraction(const kernel *k, uint32_t stage, contraction_form *out);
/* A contraction in which both sides have results of their own: elements of either are used again and again. */
bool stage_is_product(const kernel *k, uint32_t stage);
/* One map, which only puts a buffer in another layout. */
bool kernel_is_copy(const kernel *k);

/* May output `written` share the memory of input `read`? When every stage reads elements of the input
 * only where, and not after, they are overwritten. */
bool kernel_updates_in_place(const kernel *k, uint32_t read, uint32_t written, arena *scratch);

/* Reads inside their buffers (or under conditions that prove it); writes disjoint and complete; stages
 * read only earlier ones at axes they have; types of ops; every axis of every stage scheduled down to
 * step 1, exactly; vector loops innermost. NULL when sound, else what is wrong. */
const char *kernel_verify(const kernel *k, arena *scratch);

bool kernel_is_scheduled(const kernel *k);

/* Text form: prints and parses back to the same bytes. The canonical form names axes, buffers and
 * stages by position and leaves the name and spans out: equal kernels have equal canonical texts. */
char *kernel_print(const kernel *k, arena *into);
char *kernel_canonical(const kernel *k, arena *into);
/* Of a schedule that the kernel may have. */
char *schedule_text(const kernel *k, const schedule *s, arena *into);
/* Parses one kernel (and its schedule) at *offset of the file's text, and moves the offset behind it;
 * NULL with errors in `d`. */
kernel *kernel_parse(arena *a, uint32_t file, uint32_t *offset, diagnostics *d);

/* Runs the definition: buffers are packed row-major arrays, outputs are written. Stages over reals
 * compute in double and round to their type at each op; a sum accumulates in its stage's type
 * (bf16, f32: in f32 rounding each step would drown errors in order: it accumulates in double and
 * rounds once). */
void kernel_interpret(const kernel *k, void *const *buffers, arena *scratch);

#endif
