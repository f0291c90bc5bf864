/* Forms of kernels that passes look for. */
#include "ir/expr.h"

bool stage_contraction(const kernel *k, uint32_t number, contraction_form *out) {
  const stage *s = &k->stages[number];
  if (s->monoid != MONOID_SUM || s->body->kind != EXPR_APPLY || s->body->op != OP_MUL) return false;
  const expr *left = s->body->args[0], *right = s->body->args[1];
  if (s->free & ~(left->axes | right->axes)) return false; /* the same product again along an axis */
  *out = (contraction_form){.left = left,
                            .right = right,
                            .batch = s->free & left->axes & right->axes,
                            .left_only = s->free & left->axes & ~right->axes,
                            .right_only = s->free & right->axes & ~left->axes,
                            .reduced = s->reduced};
  return true;
}

bool stage_is_product(const kernel *k, uint32_t number) {
  contraction_form c;
  return stage_contraction(k, number, &c) && c.left_only && c.right_only;
}

bool kernel_is_copy(const kernel *k) {
  const stage *s = k->stages;
  if (k->n_stages != 1 || s->monoid != MONOID_NONE || s->body->kind != EXPR_READ || s->output < 0 || s->body->n_conditions) return false;
  if (s->body->n_args != k->buffers[s->output].type.rank) return false;
  for (uint32_t d = 0; d < s->body->n_args; d++)
    if (s->body->args[d] != s->index[d] || s->index[d]->kind != EXPR_AXIS) return false;
  return true;
}

/* -- updates in place -------------------------------------------------------------------------------- */

typedef struct {
  const kernel *k;
  uint32_t buffer;     /* the one that is overwritten */
  const stage *writer; /* by this stage */
  const stage *reader;
  bool late;  /* the reader comes behind the writer */
  bool *seen; /* by id */
} overwriting;

static bool reads_in_place(overwriting *o, const expr *e);

/* A read of the overwritten buffer is at the element that the writer overwrites, and before it does. */
static bool is_in_place(const overwriting *o, const expr *read) {
  if (o->late || read->n_conditions || o->reader->monoid != MONOID_NONE) return false;
  if (o->reader->free != o->writer->free) return false;
  for (uint32_t d = 0; d < read->n_args; d++)
    if (read->args[d] != o->writer->index[d]) return false;
  return true;
}

/* A map may be computed again where a later stage needs it, except at the very point at which the
 * writer has it at hand. */
static bool stage_in_place(overwriting *o, const expr *e) {
  const stage *s = &o->k->stages[e->number];
  bool shares_point =
      o->reader->monoid == MONOID_NONE && o->reader->free == o->writer->free && s->free == o->writer->free;
  return !o->late || shares_point || s->monoid != MONOID_NONE || reads_in_place(o, s->body);
}

static bool reads_in_place(overwriting *o, const expr *e) {
  if (o->seen[e->id]) return true;
  o->seen[e->id] = true;
  if (e->kind == EXPR_READ && e->number == o->buffer && !is_in_place(o, e)) return false;
  if (e->kind == EXPR_STAGE && !stage_in_place(o, e)) return false;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (!reads_in_place(o, e->args[i])) return false;
  for (uint32_t i = 0; i < e->n_conditions; i++)
    if (!reads_in_place(o, e->conditions[i].subject)) return false;
  return true;
}

bool kernel_updates_in_place(const kernel *k, uint32_t read, uint32_t written, arena *scratch) {
  for (uint32_t w = 0; w < k->n_stages; w++) {
    if (k->stages[w].output != (int32_t)written) continue;
    for (uint32_t r = 0; r < k->n_stages; r++) {
      overwriting o = {k, read, &k->stages[w], &k->stages[r], r > w, ARENA_ARRAY(scratch, bool, k->exprs->count)};
      if (!reads_in_place(&o, k->stages[r].body)) return false;
    }
  }
  return true;
}

bool kernel_is_scheduled(const kernel *k) { return k->schedule.n || k->schedule.team.rows; }
