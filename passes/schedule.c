/* Default schedules, from the accesses of a kernel and a few figures of the target. Three forms cover all:
 * a contraction gets a register tile of vectors by broadcasts; squares stay on chip, block by block of their rows;
 * everything else walks rows with one vector axis. The choices depend on the kernel and the target only, never on the number of threads. */
#include "passes/schedule.h"

enum {
  WORST = 1 << 20,
  MOST_CHUNKS = 64,      /* pieces that are handed out: enough to balance, not so many that they cost */
  MOST_ITERATIONS = 1 << 16, /* of the parallel loops */
  ENOUGH_WARPS = 1 << 20 /* whose scheduler hands them out for nothing */
};

int64_t extent(const scheduler *s, uint32_t axis) { return s->kernel->axes[axis].extent; }

void add_loop(scheduler *s, uint32_t axis, int64_t step, loop_kind kind) {
  *ARENA_PUSH(s->kernel->arena, s->loops, s->n, s->capacity) = (schedule_loop){.axis = axis, .step = step, .kind = kind};
}

void add_vectors(scheduler *s, uint32_t axis, int64_t left, loop_kind several) {
  enum { MOST_NEIGHBOURS = 4 };
  const int64_t vectors = (left + s->lanes - 1) / s->lanes, depth = vectors < MOST_NEIGHBOURS ? vectors : MOST_NEIGHBOURS;
  const bool deep = s->target->warps && left % s->lanes == 0 && several == LOOP_UNROLL && takes_neighbours(s, axis, depth);
  if (vectors > (deep ? depth : 1)) add_loop(s, axis, deep ? depth * s->lanes : s->lanes, several);
  add_loop(s, axis, deep ? depth : 1, LOOP_VECTOR);
  if (deep) add_loop(s, axis, 1, LOOP_UNROLL);
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
int64_t access_stride(const kernel *k, uint32_t buffer, const expr *const *index, uint32_t axis) {
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
bool ends_in_pairs(const kernel_buffer *b) {
  const layout *l = &b->layout;
  return b->type.dtype == DTYPE_BF16 && l->n > b->type.rank && l->part[l->n - 1].extent == 2 && l->part[l->n - 1].divisor == 1;
}

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

void visit_all_reads(const kernel *k, access_visitor *visit, void *context) {
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
  int64_t little, score;
} axis_score;

/* Far smaller than the largest buffer: it stays in a near cache however it is walked. */
static bool is_little(const kernel *k, uint32_t buffer, int64_t little) {
  int64_t most = 0;
  for (uint32_t i = 0; i < k->n_buffers; i++)
    if (type_elements(&k->buffers[i].type) > most) most = type_elements(&k->buffers[i].type);
  return type_elements(&k->buffers[buffer].type) <= most / little;
}

static void score_access(axis_score *s, uint32_t buffer, const expr *const *index, int64_t weight) {
  if (is_little(s->kernel, buffer, s->little)) return;
  int64_t stride = access_stride(s->kernel, buffer, index, s->axis);
  if (stride == 1 || (stride == 2 && ends_in_pairs(&s->kernel->buffers[buffer]))) s->score += 2 * weight;
  else if (stride != 0) s->score -= weight;
}

static void score_read(void *context, const expr *read) {
  score_access(context, read->number, read->args, 2);
}

/* How near neighbours along an axis lie: contiguous accesses count for it, strided ones against. */
int64_t contiguity(const scheduler *s, uint32_t axis) {
  axis_score score = {s->kernel, axis, s->little, 0};
  visit_all_reads(s->kernel, score_read, &score);
  for (uint32_t i = 0; i < s->kernel->n_stages; i++)
    if (s->kernel->stages[i].output >= 0) score_access(&score, (uint32_t)s->kernel->stages[i].output, s->kernel->stages[i].index, 3);
  return score.score;
}

/* How well it runs along vectors, which a short axis would not fill. */
int64_t vector_score(const scheduler *s, uint32_t axis) {
  int64_t score = 16 * contiguity(s, axis) - (s->tested & AXIS(axis) ? WORST : 0);
  return extent(s, axis) < s->lanes ? score - 16 * (s->lanes - extent(s, axis)) / s->lanes - 8 : score;
}

/* The best of several axes; of equals the last, which row-major order has innermost. */
int32_t best_axis(const scheduler *s, axis_set among, axis_quality *quality) {
  int32_t best = -1;
  int64_t best_score = 0;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++) {
    if (!(among & AXIS(a)) || extent(s, a) < 2) continue;
    int64_t score = quality(s, a);
    if (best < 0 || score >= best_score) best = (int32_t)a, best_score = score;
  }
  return best;
}

axis_set argmax_axes(const kernel *k) {
  axis_set axes = 0;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].monoid == MONOID_ARGMAX) axes |= k->stages[i].free | k->stages[i].reduced;
  return axes;
}

/* -- loops that both forms have ------------------------------------------------------------------------------ */

int64_t points(const scheduler *s) {
  int64_t n = 1;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (s->used & AXIS(a) && n < SMALL_KERNEL) n *= extent(s, a);
  return n;
}

/* Outer loops over the axes of `order`, each with its step; as many of the leading ones run in parallel as
 * there is use for. */
void add_outer_loops(scheduler *s, const schedule_loop *order, uint32_t n, bool large) {
  const int64_t enough = s->target->warps ? ENOUGH_WARPS : MOST_CHUNKS, most = s->target->warps ? INT32_MAX : MOST_ITERATIONS;
  int64_t iterations = 1;
  bool leading = large || s->target->warps;
  for (uint32_t i = 0; i < n; i++) {
    int64_t count = (extent(s, order[i].axis) + order[i].step - 1) / order[i].step;
    for (uint32_t j = 0; j < i; j++) leading &= order[j].axis != order[i].axis || extent(s, order[i].axis) % order[j].step == 0; /* a remainder has other pieces */
    leading &= (s->shared & AXIS(order[i].axis)) != 0 && iterations < enough && iterations * count <= most;
    add_loop(s, order[i].axis, order[i].step, leading ? LOOP_PARALLEL : LOOP_SERIAL);
    if (leading) iterations *= count;
  }
  s->kernel->schedule.chunks = iterations > MOST_CHUNKS ? MOST_CHUNKS : 0;
}

/* -- the choice -------------------------------------------------------------------------------------------------- */

static void schedule_for(kernel *k, const target *t) {
  scheduler s = {.kernel = k, .target = t, .shared = ~(axis_set)0, .pair = -1, .little = 128};
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
  if (!schedule_copy(&s) && !schedule_team_squares(&s) && !schedule_squares(&s) && !schedule_groups(&s) && !schedule_team(&s) && (contraction_stage < 0 || !schedule_contraction(&s, &form))) schedule_rows(&s);
  k->schedule.loops = s.loops;
  k->schedule.n = s.n;
}

static bool has_tiles(const kernel *k) {
  if (k->schedule.team.rows) return true;
  for (uint32_t i = 0; i < k->schedule.n; i++)
    if (k->schedule.loops[i].kind == LOOP_TILE) return true;
  return false;
}

/* Whether rows of a tile end where its loops can tell, and lanes of a team are stored side by side, is seen best by carrying the
 * schedule out. */
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
    if (!p->launches[i].repeat && !kernel_is_scheduled(p->launches[i].kernel) && !schedule_from_records(p->launches[i].kernel, c->records, c->arena))
      schedule_kernel(p->launches[i].kernel, c->target);
  return true;
}
