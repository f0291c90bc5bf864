/* Default schedules, from the accesses of a kernel and a few figures of the target. Two forms cover all:
 * a contraction gets a register tile of vectors by broadcasts; everything else walks rows with one vector
 * axis. The choices depend on the kernel and the target only, never on the number of threads. */
#include "passes/passes.h"
#include "passes/register_tile.h"

enum {
  WORST = 1 << 20,
  SMALL_KERNEL = 1 << 14,  /* points below which handing out pieces costs more than it gains */
  MOST_CHUNKS = 64,
  MOST_ITERATIONS = 4096,  /* of the parallel loops: enough to balance, not so many that they cost */
  MOST_ROWS = 64,          /* of a streamed contraction, for one piece */
  ENOUGH_PIECES = 8,
  ROW_UNROLL = 4           /* independent accumulators hide the latency of a reduction */
};

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
  bool pair_is_inner;  /* both operands are contiguous along it beyond a pair */
  schedule_loop *loops;
  uint32_t n, capacity;
} scheduler;

#define AXIS(i) ((axis_set)1 << (i))

static int64_t extent(const scheduler *s, uint32_t axis) { return s->kernel->axes[axis].extent; }

static void add_loop(scheduler *s, uint32_t axis, int64_t step, loop_kind kind) {
  *ARENA_PUSH(s->kernel->arena, s->loops, s->n, s->capacity) = (schedule_loop){.axis = axis, .step = step, .kind = kind};
}

/* -- what the accesses say --------------------------------------------------------------------------------- */

enum { STRANGE = INT32_MAX };

/* How an index changes from one point of an axis to the next, inside blocks of at least BLOCK points; STRANGE when that is
 * no constant. */
static int64_t step_of(const kernel *k, const expr *e, uint32_t axis) {
  enum { BLOCK = 16 };
  int64_t coefficient[MAX_AXES], offset;
  if (!(e->axes & AXIS(axis))) return 0;
  if (expr_affine(k, e, coefficient, &offset)) return coefficient[axis];
  if (e->kind != EXPR_APPLY || e->n_args != 2) return STRANGE;
  const int64_t x = step_of(k, e->args[0], axis), y = step_of(k, e->args[1], axis);
  if (x == STRANGE || y == STRANGE) return STRANGE;
  if (e->op == OP_ADD) return x + y;
  if (e->op == OP_SUB) return x - y;
  const bool by_constant = e->args[1]->kind == EXPR_CONSTANT;
  if (e->op == OP_MUL && by_constant) return x * e->args[1]->constant.integer;
  if (x != 1 || !by_constant || e->args[1]->constant.integer % BLOCK) return STRANGE;
  return e->op == OP_FLOOR_DIV ? 0 : e->op == OP_MOD ? 1 : STRANGE;
}

/* Elements between neighbours along an axis, of an access to a buffer; INT64_MAX when that changes. */
static int64_t access_stride(const kernel *k, uint32_t buffer, const expr *const *index, uint32_t axis) {
  const kernel_buffer *b = &k->buffers[buffer];
  layout l = b->layout.n ? b->layout : layout_row_major(&b->type);
  int64_t stride = 0, size = 1;
  for (uint32_t i = l.n; i-- > 0; size *= l.part[i].extent) {
    const int64_t step = step_of(k, index[l.part[i].dim], axis);
    if (step == STRANGE) return INT64_MAX;
    if (l.part[i].divisor == 1) stride += step * size; /* inside one block of a blocked dimension */
  }
  return stride;
}

/* Whether pairs of another dimension lie innermost: neighbours are two elements apart then. */
static bool ends_in_pairs(const kernel_buffer *b) {
  const layout *l = &b->layout;
  return b->type.dtype == DTYPE_BF16 && l->n > b->type.rank && l->part[l->n - 1].extent == 2 && l->part[l->n - 1].divisor == 1;
}

typedef void access_visitor(void *context, const expr *read);

/* Every read below an expression, once. */
static void visit_reads(const expr *e, bool *seen, access_visitor *visit, void *context) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_READ) visit(context, e);
  for (uint32_t i = 0; i < e->n_args; i++) visit_reads(e->args[i], seen, visit, context);
}

static uint32_t largest_id(const kernel *k) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].body->id >= n) n = k->stages[i].body->id + 1;
  return n;
}

static void visit_all_reads(const kernel *k, access_visitor *visit, void *context) {
  bool *seen = ARENA_ARRAY(k->arena, bool, largest_id(k) + 1);
  for (uint32_t i = 0; i < k->n_stages; i++) visit_reads(k->stages[i].body, seen, visit, context);
}

static void note_edges(void *context, const expr *read) {
  scheduler *s = context;
  for (uint32_t i = 0; i < read->n_conditions; i++) s->edges |= read->conditions[i].subject->axes;
}

/* A sum of what an equality selects: ir/ops.def's scatter_add, by its form. */
static axis_set tested_axes(const kernel *k) {
  axis_set axes = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const expr *e = k->stages[i].body;
    if (k->stages[i].monoid != MONOID_SUM || e->kind != EXPR_APPLY || e->op != OP_SELECT) continue;
    const expr *test = e->args[0];
    if (test->kind == EXPR_APPLY && test->op == OP_EQ && e->args[2]->kind == EXPR_CONSTANT) axes |= test->axes;
  }
  return axes;
}

typedef struct {
  const kernel *kernel;
  uint32_t axis;
  int64_t score;
} axis_score;

static void score_access(axis_score *s, uint32_t buffer, const expr *const *index, int64_t weight) {
  int64_t stride = access_stride(s->kernel, buffer, index, s->axis);
  if (stride == 1 || (stride == 2 && ends_in_pairs(&s->kernel->buffers[buffer]))) s->score += 2 * weight;
  else if (stride != 0) s->score -= weight;
}

static void score_read(void *context, const expr *read) {
  score_access(context, read->number, read->args, 2);
}

/* How near neighbours along an axis lie: contiguous accesses count for it, strided ones against. */
static int64_t contiguity(const scheduler *s, uint32_t axis) {
  axis_score score = {s->kernel, axis, 0};
  visit_all_reads(s->kernel, score_read, &score);
  for (uint32_t i = 0; i < s->kernel->n_stages; i++)
    if (s->kernel->stages[i].output >= 0) score_access(&score, (uint32_t)s->kernel->stages[i].output, s->kernel->stages[i].index, 3);
  return score.score;
}

/* How well it runs along vectors, which a short axis would not fill. */
static int64_t vector_score(const scheduler *s, uint32_t axis) {
  int64_t score = 16 * contiguity(s, axis) - (s->tested & AXIS(axis) ? WORST : 0);
  return extent(s, axis) < s->lanes ? score - 16 * (s->lanes - extent(s, axis)) / s->lanes - 8 : score;
}

typedef int64_t axis_quality(const scheduler *s, uint32_t axis);

/* The best of several axes; of equals the last, which row-major order has innermost. */
static int32_t best_axis(const scheduler *s, axis_set among, axis_quality *quality) {
  int32_t best = -1;
  int64_t best_score = 0;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    if (!(among & AXIS(a)) || extent(s, a) < 2) continue;
    int64_t score = quality(s, a);
    if (best < 0 || score >= best_score) best = (int32_t)a, best_score = score;
  }
  return best;
}

/* An argmax keeps a pair, which no vector holds. */
static bool has_argmax(const kernel *k) {
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].monoid == MONOID_ARGMAX) return true;
  return false;
}

/* -- loops that both forms have ------------------------------------------------------------------------------ */

static int64_t points(const scheduler *s) {
  int64_t n = 1;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (s->used & AXIS(a) && n < SMALL_KERNEL) n *= extent(s, a);
  return n;
}

/* Outer loops over the axes of `order`, each with its step; as many of the leading ones run in parallel as
 * there is use for. */
static void add_outer_loops(scheduler *s, const schedule_loop *order, uint32_t n, bool large) {
  int64_t iterations = 1;
  bool leading = large;
  for (uint32_t i = 0; i < n; i++) {
    int64_t count = (extent(s, order[i].axis) + order[i].step - 1) / order[i].step;
    leading &= (s->shared & AXIS(order[i].axis)) != 0 && iterations < MOST_CHUNKS && iterations * count <= MOST_ITERATIONS * 16;
    add_loop(s, order[i].axis, order[i].step, leading ? LOOP_PARALLEL : LOOP_SERIAL);
    if (leading) iterations *= count;
  }
  s->kernel->schedule.chunks = iterations > MOST_CHUNKS ? MOST_CHUNKS : 0;
}

/* -- rows ------------------------------------------------------------------------------------------------------ */

/* The first stage that writes memory; NULL when none does. */
static const stage *first_writer(const kernel *k) {
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0) return &k->stages[i];
  return NULL;
}

/* Loops in the order of memory: the axis with the farthest neighbours in what is written outermost. */
static void sort_by_stride(const scheduler *s, schedule_loop *order, uint32_t n) {
  const stage *writer = first_writer(s->kernel);
  for (uint32_t i = 1; writer && i < n; i++)
    for (uint32_t j = i; j > 0; j--) {
      const int64_t outer = access_stride(s->kernel, (uint32_t)writer->output, writer->index, order[j - 1].axis),
                    inner = access_stride(s->kernel, (uint32_t)writer->output, writer->index, order[j].axis);
      if (!outer || outer >= inner) break;
      const schedule_loop swapped = order[j];
      order[j] = order[j - 1];
      order[j - 1] = swapped;
    }
}

/* The block in which an axis lies in what is written, with all else inside of it; 1: none. */
static int64_t outermost_block(const scheduler *s, int32_t axis) {
  const stage *writer = first_writer(s->kernel);
  if (!writer || axis < 0) return 1;
  const layout *l = &s->kernel->buffers[writer->output].layout;
  if (l->n < 2 || l->part[0].divisor == 1) return 1;
  const expr *index = writer->index[l->part[0].dim];
  return index->kind == EXPR_AXIS && index->number == (uint32_t)axis ? l->part[0].divisor : 1;
}

typedef struct {
  const kernel_buffer *written, *buffers;
  bool other;
} order_test;

static void test_order(void *context, const expr *read) {
  order_test *t = context;
  const kernel_buffer *b = &t->buffers[read->number];
  t->other |= type_elements(&b->type) == type_elements(&t->written->type) && !layout_equal(&b->layout, &t->written->layout);
}

/* Whether something as large as the result is read in another order: what a conversion does. */
static bool lies_otherwise(const scheduler *s) {
  order_test t = {&s->kernel->buffers[first_writer(s->kernel)->output], s->kernel->buffers, false};
  visit_all_reads(s->kernel, test_order, &t);
  return t.other;
}

static void schedule_rows(scheduler *s) {
  const kernel *k = s->kernel;
  int32_t vector = has_argmax(k) ? -1 : best_axis(s, s->used, vector_score);
  axis_set along = vector < 0 ? 0 : AXIS(vector);
  bool reduces_along = (s->reduced & along) != 0;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  const int64_t width = outermost_block(s, vector);
  const bool blocked = width > 1 && (s->shared & along) && extent(s, (uint32_t)vector) > width;
  if (blocked) outer[n++] = (schedule_loop){.axis = (uint32_t)vector, .step = width};
  for (uint32_t a = 0; a < k->n_axes; a++) /* shared axes lead: stages meet inside them */
    if (s->shared & ~along & AXIS(a)) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  sort_by_stride(s, outer + blocked, n - blocked);
  if (blocked && n > 2 && lies_otherwise(s)) { /* each element of what is read is read once while it is in a cache */
    const schedule_loop panel = outer[0];
    outer[0] = outer[1];
    outer[1] = panel;
  }
  /* A vector axis that all stages keep is cut in tiles outside the reductions, so that these run over
   * registers; alone it also gives the threads their pieces. */
  int64_t tile = vector < 0 ? 1 : s->lanes * (s->reduced ? ROW_UNROLL : 1);
  bool tiled = along && (s->shared & along) && (blocked ? width : extent(s, (uint32_t)vector)) > tile;
  if (tiled) outer[n++] = (schedule_loop){.axis = (uint32_t)vector, .step = tile};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (s->used & ~s->shared & ~along & AXIS(a)) add_loop(s, a, 1, LOOP_SERIAL);
  if (vector < 0) return;
  int64_t left = tiled ? tile : blocked ? width : extent(s, (uint32_t)vector);
  if (left > s->lanes) {
    if (reduces_along && left > s->lanes * ROW_UNROLL) {
      add_loop(s, (uint32_t)vector, s->lanes * ROW_UNROLL, LOOP_SERIAL);
      left = s->lanes * ROW_UNROLL;
    }
    /* Tiles in registers are spelled out; a long row that a map walks is a loop. */
    add_loop(s, (uint32_t)vector, s->lanes, left <= s->lanes * ROW_UNROLL ? LOOP_UNROLL : LOOP_SERIAL);
  }
  add_loop(s, (uint32_t)vector, 1, LOOP_VECTOR);
}

/* -- copies ------------------------------------------------------------------------------------------------------ */

/* The block that a layout cuts a dimension in; 1: none. */
static int64_t block_of(const kernel_buffer *b, const expr *const *index, uint32_t axis) {
  int64_t width = 1;
  for (uint32_t i = 0; i < b->layout.n; i++)
    if (index[b->layout.part[i].dim]->axes & AXIS(axis) && b->layout.part[i].divisor > width) width = b->layout.part[i].divisor;
  return width;
}

/* bf16 put in another order: along vectors as it is written, and across them as it is read, so that lines of the cache are used
 * while they are there; pairs are written together. */
static bool schedule_copy(scheduler *s) {
  const kernel *k = s->kernel;
  const stage *st = k->stages;
  if (k->n_stages != 1 || st->monoid != MONOID_NONE || st->output < 0 || st->body->kind != EXPR_READ || st->body->type != DTYPE_BF16) return false;
  const kernel_buffer *to = &k->buffers[st->output];
  const bool pairs = ends_in_pairs(to);
  int32_t vector = -1, across = -1;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    const int64_t written = access_stride(k, (uint32_t)st->output, st->index, a), read = access_stride(k, st->body->number, st->body->args, a);
    if (written == (pairs ? 2 : 1)) vector = (int32_t)a;
    if ((pairs ? written : read) == 1) across = (int32_t)a;
  }
  if (vector < 0 || across < 0 || vector == across || extent(s, (uint32_t)vector) < s->lanes) return false;
  const int64_t width = block_of(to, st->index, (uint32_t)vector), tile = width > 1 ? width : s->lanes;
  if (tile % s->lanes) return false;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if ((int32_t)a == vector || ((int32_t)a == across && (!pairs || extent(s, a) <= 2))) continue;
    outer[n++] = (schedule_loop){.axis = a, .step = (int32_t)a == across ? 2 : 1};
  }
  if (extent(s, (uint32_t)vector) > tile) outer[n++] = (schedule_loop){.axis = (uint32_t)vector, .step = tile};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  if (!pairs) add_loop(s, (uint32_t)across, 1, LOOP_SERIAL);
  if (tile > s->lanes) add_loop(s, (uint32_t)vector, s->lanes, LOOP_UNROLL);
  if (pairs) add_loop(s, (uint32_t)across, 1, LOOP_UNROLL);
  add_loop(s, (uint32_t)vector, 1, LOOP_VECTOR);
  return true;
}

/* -- contractions ------------------------------------------------------------------------------------------------ */

/* Whether an axis stands in some access only together with others (a window), so that tiles of it meet edges. */
typedef struct {
  uint32_t axis;
  bool window;
} window_test;

static void test_window(void *context, const expr *read) {
  window_test *t = context;
  for (uint32_t i = 0; i < read->n_args; i++)
    if (read->args[i]->axes & AXIS(t->axis) && read->args[i]->axes != AXIS(t->axis)) t->window = true;
}

/* Whether some condition depends on both axes: a tap and the tile that it slides over. */
typedef struct {
  axis_set both;
  bool found;
} meeting;

static void test_meeting(void *context, const expr *read) {
  meeting *m = context;
  for (uint32_t i = 0; i < read->n_conditions; i++) m->found |= (read->conditions[i].subject->axes & m->both) == m->both;
}

static bool meets(const scheduler *s, uint32_t a, uint32_t b) {
  meeting m = {AXIS(a) | AXIS(b), false};
  visit_all_reads(s->kernel, test_meeting, &m);
  return m.found;
}

typedef struct {
  uint32_t vector;
  int32_t row;   /* the axis of the rows; -1: the other operand has none */
  int32_t group; /* a second one, of whole tiles together, where the first is short; -1: none */
  int64_t vectors, rows, groups;
  int64_t panel; /* elements of the vector axis */
  int64_t unit;  /* rows of a tile of a matrix unit; 0: none is used */
  axis_set free, inner; /* of the sum: axes it keeps, and axes it reduces */
} register_tile;

enum { MOST_VECTORS = 4, FEW_ROWS = 4, FEW_TAPS = 3, LONGEST_SPELLED = 16, EDGE_BLOCK = 8 };

static void choose_group(const scheduler *s, axis_set among, register_tile *t) {
  const int64_t most = tile_most_rows(s->target) / t->rows;
  if (t->row < 0 || most < 2) return;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (among & s->shared & AXIS(a) && (int32_t)a != t->row && extent(s, a) >= 2 && (t->group < 0 || extent(s, a) > extent(s, (uint32_t)t->group))) t->group = (int32_t)a;
  if (t->group >= 0) t->groups = extent(s, (uint32_t)t->group) < most ? extent(s, (uint32_t)t->group) : most;
}

/* What the operand that feeds the vectors takes in memory. */
static int64_t vector_operand_bytes(const scheduler *s, const contraction_form *c, const register_tile *t) {
  const axis_set axes = (c->left_only & AXIS(t->vector) ? c->left_only : c->right_only) | c->reduced;
  int64_t bytes = s->target->vector_bytes / s->lanes;
  for (uint32_t a = 0; a < s->kernel->n_axes && bytes <= s->target->l2_bytes; a++)
    if (axes & AXIS(a)) bytes *= extent(s, a);
  return bytes;
}

static bool choose_registers(const scheduler *s, const contraction_form *c, register_tile *out) {
  const kernel *k = s->kernel;
  axis_set free = c->left_only | c->right_only;
  int32_t vector = best_axis(s, free & s->shared, vector_score);
  if (vector < 0 || extent(s, (uint32_t)vector) < s->lanes / 2) return false;
  axis_set other_side = c->left_only & AXIS(vector) ? c->right_only : c->left_only;
  *out = (register_tile){.vector = (uint32_t)vector, .row = -1, .group = -1, .rows = 1, .groups = 1, .free = free, .inner = s->used & ~free & ~c->batch};
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(other_side & s->shared & AXIS(a)) || extent(s, a) < 2) continue;
    if (out->row < 0 || extent(s, a) >= FEW_ROWS || extent(s, a) > extent(s, (uint32_t)out->row)) out->row = (int32_t)a;
  }
  if (out->row >= 0) out->rows = tile_rows(s->target, extent(s, (uint32_t)out->row));
  choose_group(s, other_side & ~s->edges, out);
  int64_t vectors = (extent(s, out->vector) + s->lanes - 1) / s->lanes, most = out->rows * out->groups <= FEW_ROWS ? MOST_VECTORS : TILE_VECTORS;
  out->vectors = vectors < most ? vectors : most;
  out->panel = out->vectors * s->lanes;
  return true;
}

/* The bf16 that an operand widens; NULL for other operands. */
static const expr *narrow_read(const expr *e) {
  bool widens = e->kind == EXPR_APPLY && e->op == OP_CAST && e->type == DTYPE_F32;
  return widens && e->args[0]->kind == EXPR_READ && e->args[0]->type == DTYPE_BF16 ? e->args[0] : NULL;
}

/* A reduced axis along which both operands have neighbours side by side, the one that feeds vectors pair by pair. */
static void find_pairs(scheduler *s, const contraction_form *c, const register_tile *t) {
  const kernel *k = s->kernel;
  const expr *left = narrow_read(c->left), *right = narrow_read(c->right);
  if (!left || !right) return;
  const expr *vector = c->left_only & AXIS(t->vector) ? left : right, *other = vector == left ? right : left;
  if (!ends_in_pairs(&k->buffers[vector->number]) || access_stride(k, vector->number, vector->args, t->vector) != 2) return;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(c->reduced & AXIS(a)) || extent(s, a) % 2) continue;
    if (access_stride(k, vector->number, vector->args, a) != 1 || access_stride(k, other->number, other->args, a) != 1) continue;
    s->pair = (int32_t)a;
    s->pair_step = 2;
    s->pair_is_inner = !ends_in_pairs(&k->buffers[other->number]);
  }
}

/* Rows of a tile of a matrix unit: they divide the extent; 0 when too few would. */
static int64_t unit_rows(int64_t extent) {
  enum { MOST = 16, LEAST = 8 };
  for (int64_t rows = MOST; rows >= LEAST; rows--)
    if (extent % rows == 0) return rows;
  return 0;
}

/* Whether conditions of the operand that has rows can be told row by row, and others by the loops around. */
static bool edges_by_row(const scheduler *s, const expr *read, uint32_t row, axis_set inside) {
  for (uint32_t i = 0; i < read->n_conditions; i++) {
    const condition *c = &read->conditions[i];
    int64_t coefficient[MAX_AXES], offset;
    if (c->subject->axes & inside) return false;
    if (!(c->subject->axes & AXIS(row))) continue;
    if (c->divisor != 1 || !expr_affine(s->kernel, c->subject, coefficient, &offset) || coefficient[row] < 1) return false;
  }
  return true;
}

/* Four tiles of sums, of which each takes in UNIT_SUMS neighbours of the sum at once. */
static void choose_unit(scheduler *s, const contraction_form *c, register_tile *t) {
  enum { UNIT_LANES = 16, UNIT_SUMS = 32, MOST_TILES = 4 };
  if (!s->target->tiles || s->lanes != UNIT_LANES || s->pair < 0 || !s->pair_is_inner || t->row < 0) return;
  const uint32_t row = (uint32_t)t->row, pair = (uint32_t)s->pair;
  const expr *left = narrow_read(c->left), *right = narrow_read(c->right);
  const expr *vector = c->left_only & AXIS(t->vector) ? left : right, *other = vector == left ? right : left;
  const int64_t rows = unit_rows(extent(s, row)), stride = access_stride(s->kernel, other->number, other->args, row);
  if (!rows || extent(s, pair) % UNIT_SUMS || extent(s, t->vector) % UNIT_LANES || stride == INT64_MAX || stride < 1) return;
  if (!edges_by_row(s, other, row, AXIS(pair) | AXIS(t->vector)) || !edges_by_row(s, vector, row, AXIS(row) | AXIS(pair) | AXIS(t->vector))) return;
  const int64_t together = extent(s, row) % (2 * rows) == 0 ? 2 : 1;
  int64_t vectors = MOST_TILES / together;
  while (extent(s, t->vector) % (vectors * UNIT_LANES)) vectors /= 2;
  if (vectors % TILE_VECTORS && extent(s, t->vector) > TILE_VECTORS * UNIT_LANES) return; /* it would cut panels of the layout */
  t->unit = rows;
  t->rows = rows * together;
  t->vectors = vectors;
  t->panel = t->vectors * UNIT_LANES;
  t->group = -1;
  t->groups = 1;
  s->pair_step = UNIT_SUMS;
}

static int64_t panels_together(const scheduler *s, const contraction_form *c, const register_tile *t) {
  int64_t bytes = t->panel * s->target->vector_bytes / s->lanes, together = 1;
  for (uint32_t a = 0; a < s->kernel->n_axes && bytes <= s->target->l2_bytes; a++)
    if (c->reduced & AXIS(a)) bytes *= extent(s, a);
  while (t->row >= 0 && 2 * together * t->panel < extent(s, t->vector) && 2 * together * bytes <= s->target->l2_bytes / 4) together *= 2;
  return together;
}

/* Whether what follows the sum reads memory of the result's shape. */
typedef struct {
  axis_set tile;
  bool found;
} epilogue_test;

static void test_epilogue(void *context, const expr *read) {
  epilogue_test *t = context;
  t->found |= (read->axes & t->tile) == t->tile;
}

static bool epilogue_reads(const scheduler *s, const register_tile *t) {
  epilogue_test test = {.tile = AXIS(t->vector) | (t->row < 0 ? 0 : AXIS(t->row))};
  visit_all_reads(s->kernel, test_epilogue, &test); /* an operand of the product has one of both axes */
  return test.found && t->row >= 0;
}

/* The axis of the sum that lies contiguous, outside of those that are streamed; -1: none. */
static int32_t innermost_sum(const scheduler *s, const register_tile *t, axis_set streamed) {
  axis_set pair = s->pair >= 0 && !s->pair_is_inner ? AXIS(s->pair) : 0;
  int32_t best = best_axis(s, t->inner & s->reduced & ~streamed & ~pair, contiguity);
  return best >= 0 || pair & streamed ? best : best_axis(s, pair, contiguity);
}

/* Results of a window's taps, of which there are few and which move over what is summed: a weight gradient. */
static axis_set few_taps(const scheduler *s, const contraction_form *c, axis_set among) {
  axis_set taps = 0;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    for (uint32_t r = 0; among & AXIS(a) && extent(s, a) <= FEW_TAPS && r < s->kernel->n_axes; r++)
      if (c->reduced & AXIS(r) && meets(s, a, r)) taps |= AXIS(a);
  return taps;
}

/* Loops over them; what decides the ends of the innermost sum is spelled out. */
static void add_taps(scheduler *s, const register_tile *t, axis_set taps, axis_set streamed) {
  const int32_t last = innermost_sum(s, t, streamed);
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (taps & AXIS(a)) add_loop(s, a, 1, last >= 0 && extent(s, a) <= FEW_TAPS && meets(s, a, (uint32_t)last) ? LOOP_UNROLL : LOOP_SERIAL);
}

/* Loops around the tiles when sums are short enough to be completed tile by tile. */
static void add_tiles(scheduler *s, const contraction_form *c, const register_tile *t) {
  const kernel *k = s->kernel;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  const bool cut_vector = extent(s, t->vector) > t->panel;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (c->batch & s->shared & AXIS(a)) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  axis_set others = t->free & s->shared & ~AXIS(t->vector);
  if (t->row >= 0) others &= ~AXIS(t->row);
  const axis_set taps = few_taps(s, c, others);
  others &= ~taps;
  /* Panels of the vector operand are used again by everything inside: they stand behind the first axis, and outside of
   * all when the operand would not stay in the second cache from one round to the next. Of a product, the rows stay in
   * the first cache while the panels that the second holds pass by. */
  const int64_t together = others && !epilogue_reads(s, t) ? 1 : panels_together(s, c, t);
  const bool panel_first = !others || vector_operand_bytes(s, c, t) > s->target->l2_bytes;
  const schedule_loop panels = {.axis = t->vector, .step = t->panel * together};
  if (cut_vector && panel_first) outer[n++] = panels;
  for (uint32_t a = 0, first = n; a < k->n_axes; a++) {
    if (!(others & AXIS(a))) continue;
    outer[n++] = (schedule_loop){.axis = a, .step = (int32_t)a == t->group ? t->groups : 1};
    if (cut_vector && !panel_first && n == first + 1) outer[n++] = panels;
  }
  if (t->row >= 0 && extent(s, (uint32_t)t->row) > t->rows) outer[n++] = (schedule_loop){.axis = (uint32_t)t->row, .step = t->rows};
  if (cut_vector && together > 1) outer[n++] = (schedule_loop){.axis = t->vector, .step = t->panel};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  for (uint32_t a = 0; a < k->n_axes; a++) /* what other stages do not have */
    if ((c->batch | t->free) & ~s->shared & AXIS(a)) add_loop(s, a, 1, LOOP_SERIAL);
  add_taps(s, t, taps, 0); /* they read the same panels */
}

/* A sum over so much that the panel of vectors leaves the first cache within a tile (weight gradients, which sum
 * over a batch of images) is streamed: its outer axes run outside of the tiles, `step` at a time of the last, so
 * that a panel stays in the first cache, and tiles add to partial sums that stay in the second. Only where results
 * are few enough for that; `piece` rows of them at a time, so that the threads have their pieces. */
typedef struct {
  axis_set axes;
  int32_t last; /* of them; what a step leaves is summed inside */
  int64_t step, piece;
} streaming;

static streaming choose_stream(const scheduler *s, const contraction_form *c, const register_tile *t) {
  const kernel *k = s->kernel;
  streaming out = {.last = -1, .step = 1, .piece = t->rows};
  int64_t bytes = t->panel * (s->pair >= 0 ? 2 : 4), partial = t->panel * 4;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (c->reduced & AXIS(a)) bytes *= extent(s, a);
  if (t->row < 0 || (bytes <= s->target->l2_bytes / 4 && bytes / t->panel * t->rows <= 2 * s->target->l1_bytes)) return out;
  int64_t rows = extent(s, (uint32_t)t->row), panels = (extent(s, t->vector) + t->panel - 1) / t->panel;
  while (out.piece * 2 <= MOST_ROWS && (rows + 2 * out.piece - 1) / (2 * out.piece) * panels >= ENOUGH_PIECES) out.piece *= 2;
  partial *= out.piece;
  for (uint32_t a = 0; a < k->n_axes && partial <= s->target->l2_bytes; a++)
    if (t->free & AXIS(a) && a != t->vector && (int32_t)a != t->row) partial *= extent(s, a);
  if (partial > s->target->l2_bytes / 4) return out;
  for (uint32_t a = 0; a < k->n_axes && bytes > s->target->l1_bytes; a++) {
    if (!(c->reduced & AXIS(a))) continue;
    out.axes |= AXIS(a);
    out.last = (int32_t)a;
    bytes /= extent(s, a);
  }
  if (out.last == s->pair) out.step = s->pair_step;
  while (out.step * 2 <= extent(s, (uint32_t)out.last) && out.step * 2 * bytes <= s->target->l1_bytes) out.step *= 2;
  return out;
}

static void add_streams(scheduler *s, const contraction_form *c, const register_tile *t, const streaming *stream) {
  const kernel *k = s->kernel;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (c->batch & s->shared & AXIS(a)) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  if (extent(s, (uint32_t)t->row) > stream->piece) outer[n++] = (schedule_loop){.axis = (uint32_t)t->row, .step = stream->piece};
  if (extent(s, t->vector) > t->panel) outer[n++] = (schedule_loop){.axis = t->vector, .step = t->panel};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (stream->axes & AXIS(a)) add_loop(s, a, (int32_t)a == stream->last ? stream->step : (int32_t)a == s->pair ? s->pair_step : 1, LOOP_SERIAL);
  /* The rows' values are read again by what follows: the other free axes, taps of a window. */
  if (stream->piece > t->rows && extent(s, (uint32_t)t->row) > t->rows) add_loop(s, (uint32_t)t->row, t->rows, LOOP_SERIAL);
  add_taps(s, t, (t->free | (c->batch & ~s->shared)) & ~AXIS(t->vector) & ~AXIS(t->row), stream->axes);
}

/* The innermost sum. A short one is spelled out: its end would be mispredicted again and again; so are its ends where it
 * runs over an edge. */
static void add_innermost_sum(scheduler *s, uint32_t axis) {
  if ((int32_t)axis == s->pair && s->pair_step > 2) {
    if (extent(s, axis) > s->pair_step) add_loop(s, axis, s->pair_step, LOOP_SERIAL);
    return;
  }
  if ((int32_t)axis == s->pair) {
    const int64_t several = extent(s, axis) % 8 == 0 ? 8 : extent(s, axis) % 4 == 0 ? 4 : 2;
    if (extent(s, axis) > several) add_loop(s, axis, several, LOOP_SERIAL);
    if (several > 2) add_loop(s, axis, 2, LOOP_UNROLL);
    return;
  }
  const int64_t length = extent(s, axis);
  const bool edges = (s->edges & AXIS(axis)) != 0;
  int64_t by = length % 4 == 0 ? 4 : length % 2 == 0 ? 2 : 1;
  if (edges) by = length <= LONGEST_SPELLED ? length : length % EDGE_BLOCK == 0 ? EDGE_BLOCK : 1;
  if (by > 1 && length > by) add_loop(s, axis, by, LOOP_SERIAL), s->loops[s->n - 1].peel = edges;
  add_loop(s, axis, 1, by > 1 ? LOOP_UNROLL : LOOP_SERIAL);
  s->loops[s->n - 1].peel = edges && by == 1;
}

/* The reduced axes, the one with neighbours in memory innermost. Taps that meet the edge of a tile are spelled
 * out, so that a tap outside costs nothing. */
static void add_reductions(scheduler *s, const register_tile *t, axis_set inner, axis_set streamed, bool edges) {
  const int32_t last = innermost_sum(s, t, streamed);
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (inner & AXIS(a) && (int32_t)a != last && (int32_t)a == s->pair) add_loop(s, a, s->pair_step, LOOP_SERIAL);
    else if (inner & AXIS(a) && (int32_t)a != last)
      add_loop(s, a, 1, edges && meets(s, a, (uint32_t)t->row) && extent(s, a) <= FEW_TAPS ? LOOP_UNROLL : LOOP_SERIAL);
  if (last >= 0) add_innermost_sum(s, (uint32_t)last);
}

static bool schedule_contraction(scheduler *s, const contraction_form *c) {
  register_tile t;
  if (!choose_registers(s, c, &t)) return false;
  find_pairs(s, c, &t);
  choose_unit(s, c, &t);
  streaming stream = choose_stream(s, c, &t);
  if (stream.axes) t.group = -1;
  if (stream.axes) add_streams(s, c, &t, &stream);
  else add_tiles(s, c, &t);
  window_test window = {(uint32_t)(t.row < 0 ? 0 : t.row), false};
  if (t.row >= 0) visit_all_reads(s->kernel, test_window, &window);
  bool edges = window.window && (s->edges & AXIS(t.row));
  for (uint32_t i = 0; edges && i < s->n; i++)
    if (s->loops[i].axis == (uint32_t)t.row) s->loops[i].peel = s->loops[i].kind == LOOP_SERIAL || (t.unit && s->loops[i].kind == LOOP_PARALLEL);
  const int64_t smallest = stream.axes && stream.last == s->pair ? s->pair_step : 1; /* that a step of the last streamed axis may be */
  add_reductions(s, &t, t.inner & ~(stream.step > smallest ? stream.axes & ~AXIS(stream.last) : stream.axes), stream.axes, edges);
  if (t.group >= 0) add_loop(s, (uint32_t)t.group, 1, LOOP_UNROLL);
  if (t.row >= 0 && t.unit < t.rows) add_loop(s, (uint32_t)t.row, t.unit ? t.unit : 1, LOOP_UNROLL);
  if (t.vectors > 1) add_loop(s, t.vector, s->lanes, LOOP_UNROLL);
  if (t.unit) add_loop(s, (uint32_t)t.row, 1, LOOP_TILE);
  if (s->pair >= 0) add_loop(s, (uint32_t)s->pair, 1, LOOP_PAIR);
  add_loop(s, t.vector, 1, LOOP_VECTOR);
  return true;
}

/* -- the choice -------------------------------------------------------------------------------------------------- */

static void schedule_for(kernel *k, const target *t) {
  scheduler s = {.kernel = k, .target = t, .shared = ~(axis_set)0, .pair = -1};
  size_t widest = 4;
  contraction_form form;
  int32_t contraction_stage = -1;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *at = &k->stages[i];
    s.used |= at->free | at->reduced;
    s.shared &= at->free;
    s.reduced |= at->reduced;
    if (dtype_bytes(at->type) > widest) widest = dtype_bytes(at->type);
    if (contraction_stage < 0 && stage_contraction(k, i, &form)) contraction_stage = (int32_t)i;
  }
  s.shared &= s.used;
  s.lanes = (int64_t)(t->vector_bytes / widest);
  visit_all_reads(k, note_edges, &s);
  s.tested = tested_axes(k);
  k->schedule = (schedule){0};
  if (!schedule_copy(&s) && (contraction_stage < 0 || !schedule_contraction(&s, &form))) schedule_rows(&s);
  k->schedule.loops = s.loops;
  k->schedule.n = s.n;
}

static bool has_tiles(const kernel *k) {
  for (uint32_t i = 0; i < k->schedule.n; i++)
    if (k->schedule.loops[i].kind == LOOP_TILE) return true;
  return false;
}

/* Whether rows of a tile end where its loops can tell is seen best by carrying the schedule out. */
void schedule_kernel(kernel *k, const target *t) {
  const char *error;
  schedule_for(k, t);
  if (!has_tiles(k) || lower_kernel(k, k->arena, &error)) return;
  target without = *t;
  without.tiles = false;
  schedule_for(k, &without);
}

bool pass_schedule(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_schedule)) return false;
  for (uint32_t i = 0; i < p->n_launches; i++)
    if (!p->launches[i].repeat && p->launches[i].kernel->schedule.n == 0 && !schedule_from_records(p->launches[i].kernel, c->records, c->arena))
      schedule_kernel(p->launches[i].kernel, c->target);
  return true;
}
