/* Memory is told before of what will be read where the processor does not foresee it: short rows far apart.
 * What follows a sum may read memory at the place of its result: the residual that it is added to, the values whose derivative it is
 * multiplied by. A tile of results lies in many such rows, and would be waited for when the sum is complete; told of before the sum
 * begins, it arrives meanwhile. A copy from rows into panels reads a piece of each row before the next piece of the first. */
#include "ir/expr.h"
#include "passes/lower.h"

enum {
  LONG_SUM = 64,            /* terms */
  LARGE_BUFFER = 1 << 18,   /* bytes, of which little is in a near cache by chance */
  MOST_LANES = 16           /* of a processor; while a warp waits, others run */
};

static bool is_large(const kernel_buffer *b) { return layout_elements(&b->layout, &b->type) * (int64_t)dtype_bytes(b->type.dtype) >= LARGE_BUFFER; }

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
