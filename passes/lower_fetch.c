/* Memory is told before of what will be read where the processor does not foresee it: short rows far apart.
 * What follows a sum may read memory at the place of its result: the residual that it is added to, the values whose derivative it is
 * multiplied by. A tile of results lies in many such rows, and would be waited for when the sum is complete; told of before the sum
 * begins, it arrives meanwhile. A copy from rows into panels reads a piece of each row before the next piece of the first. Products
 * that are multiplied again within a kernel, scores of attention, are made of short rows that are read for the first time; each
 * iteration tells of what the next one will read, as it reads its own. */
#include "ir/expr.h"
#include "passes/lower.h"

enum {
  LONG_SUM = 64,            /* terms */
  LARGE_BUFFER = 1 << 18,   /* bytes, of which little is in a near cache by chance */
  MOST_LANES = 16           /* of a processor; while a warp waits, others run */
};

static bool is_large(const kernel_buffer *b) { return layout_bytes(&b->layout, &b->type) >= LARGE_BUFFER; }

/* Says that the lanes of a read, contiguous, will be wanted, or what lies so many elements behind them. */
static void fetch_read(lowering *l, const expr *read, int64_t ahead) {
  affine at;
  if (!place_in_lanes(l, read, &at) || at.lane != 1) return;
  at.lane = 0;
  at.constant += ahead;
  emit(l, (statement){.kind = STATEMENT_FETCH, .number = read->number, .offset = emit_affine(l, &at).expr});
}

static void fetch_reads(lowering *l, const expr *e, axis_set of, bool *seen) {
  const kernel *k = l->kernel;
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_STAGE && !reduces(&k->stages[e->number])) fetch_reads(l, k->stages[e->number].body, of, seen);
  if (e->kind == EXPR_READ && !e->n_conditions && (e->axes & of) == of && is_large(&k->buffers[e->number])) fetch_read(l, e, 0);
  for (uint32_t i = 0; i < e->n_args; i++) fetch_reads(l, e->args[i], of, seen);
}

void fetch_for_readers(lowering *l, uint32_t sum) {
  const kernel *k = l->kernel;
  const stage *s = &k->stages[sum];
  int64_t terms = 1;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (s->reduced >> a & 1) terms *= k->axes[a].extent;
  if (l->vector_axis < 0 || l->lanes > MOST_LANES || l->stages[sum].in_memory || terms < LONG_SUM || !stage_is_product(k, sum)) return;
  bool *seen = ARENA_ARRAY(l->arena, bool, k->exprs->count);
  for (uint32_t r = sum + 1; r < k->n_stages; r++)
    if (k->stages[r].output >= 0 && k->stages[r].free == s->free && !reduces(&k->stages[r]) && reads_of(l, r)[sum]) fetch_reads(l, k->stages[r].body, s->free, seen);
}

/* How much of the vector axis is walked for other axes before the next piece of it; 0: all. */
static int64_t piece_of_rows(const lowering *l) {
  for (uint32_t i = 0; i + 1 < l->n_loops; i++)
    if ((int32_t)l->schedule[i].axis == l->vector_axis) return (int32_t)l->schedule[i + 1].axis == l->vector_axis ? 0 : l->schedule[i].step;
  return 0;
}

static void fetch_next(lowering *l, const expr *e, int64_t piece, bool *seen) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_READ && !e->n_conditions) {
    const kernel_buffer *b = &l->kernel->buffers[e->number];
    const expr *last = b->type.rank ? e->args[b->type.rank - 1] : NULL;
    if (last && last->kind == EXPR_AXIS && (int32_t)last->number == l->vector_axis && layout_is_row_major(&b->layout, &b->type) && is_large(b)) fetch_read(l, e, piece);
  }
  for (uint32_t i = 0; i < e->n_args; i++) fetch_next(l, e->args[i], piece, seen);
}

void fetch_next_piece(lowering *l, uint32_t number) {
  const kernel *k = l->kernel;
  const int64_t piece = l->vector_axis < 0 || l->lanes > MOST_LANES ? 0 : piece_of_rows(l);
  if (!piece) return;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (stage_is_product(k, i)) return;
  fetch_next(l, k->stages[number].body, piece, ARENA_ARRAY(l->arena, bool, k->exprs->count));
}

static bool multiplies_products(lowering *l) {
  const kernel *k = l->kernel;
  bool found = false;
  for (uint32_t i = 0; i < k->n_stages; i++)
    for (uint32_t j = 0; j < i && stage_is_product(k, i); j++) found |= stage_is_product(k, j) && reads_of(l, i)[j];
  return found;
}

void look_ahead(lowering *l, uint32_t iteration) {
  bool is_processor = true;
  for (uint32_t i = 0; i < l->n_loops; i++) is_processor &= l->schedule[i].kind != LOOP_VECTOR || lanes_of_loop(l, i) <= MOST_LANES;
  if (!is_processor || !multiplies_products(l)) return;
  l->iteration = (int32_t)iteration;
  l->fetching = ARENA_ARRAY(l->arena, uint32_t, l->kernel->exprs->count);
}

/* The first stage that reads something fetches it. Numbers that go to all lanes lie side by side: one of them does so for a line; and
 * of columns each fetches one of their rows. */
void fetch_next_iteration(lowering *l, const expr *read) {
  enum { LINE = 64 };
  affine at;
  if (l->iteration < 0 || read->n_conditions || !is_large(&l->kernel->buffers[read->number])) return;
  uint32_t *stage_there = &l->fetching[read->id];
  if (!*stage_there) *stage_there = l->stage + 1;
  if (*stage_there != l->stage + 1 || !place_in_lanes(l, read, &at)) return;
  if (!at.lane && at.constant % (LINE / (int64_t)dtype_bytes(read->type))) return;
  int64_t ahead = 0;
  for (uint32_t i = 0; i < at.n; i++)
    if (at.term[i].number == (uint32_t)l->iteration) ahead = at.term[i].coefficient;
  if (!ahead) return;
  at.constant += ahead + (at.lane > 1 ? l->n_columns++ % l->active * at.lane : 0);
  at.lane = 0;
  emit(l, (statement){.kind = STATEMENT_FETCH, .number = read->number, .offset = emit_affine(l, &at).expr, .far = true});
}
