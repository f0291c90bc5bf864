/* What follows a sum may read memory at the place of its result: the residual that it is added to, the values whose derivative it is
 * multiplied by. A tile of results lies in many short rows, of which the processor foresees none, and would be waited for when the
 * sum is complete; told of before the sum begins, it arrives meanwhile. */
#include "ir/expr.h"
#include "passes/lower.h"

enum {
  LONG_SUM = 64,            /* terms */
  LARGE_BUFFER = 1 << 18,   /* bytes, of which little is in a near cache by chance */
  MOST_LANES = 16           /* of a processor; while a warp waits, others run */
};

static void fetch_reads(lowering *l, const expr *e, axis_set of, bool *seen) {
  const kernel *k = l->kernel;
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_STAGE && !reduces(&k->stages[e->number])) fetch_reads(l, k->stages[e->number].body, of, seen);
  if (e->kind == EXPR_READ && !e->n_conditions && (e->axes & of) == of) {
    const kernel_buffer *b = &k->buffers[e->number];
    if (layout_elements(&b->layout, &b->type) * (int64_t)dtype_bytes(b->type.dtype) >= LARGE_BUFFER) fetch_read(l, e);
  }
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
