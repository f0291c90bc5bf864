/* What makes a kernel sound: forms and types first, then places (kernel_verify_bounds), then the schedule. */
#include "ir/expr.h"
#include "ir/kernel_check.h"

typedef struct {
  const kernel *k;
  arena *scratch;
  uint32_t stage; /* being looked at */
  axis_set axes;  /* that it has */
  bool *seen;     /* by id: expressions found sound within this stage */
} checker;

#define WRONG(...) return arena_printf(c->scratch, __VA_ARGS__)

/* -- expressions ------------------------------------------------------------------------------------------ */

static const char *check_expr(checker *c, const expr *e);

static const char *check_parts(checker *c, const expr *e) {
  const char *wrong = NULL;
  for (uint32_t i = 0; !wrong && i < e->n_args; i++) wrong = check_expr(c, e->args[i]);
  for (uint32_t i = 0; !wrong && i < e->n_conditions; i++) wrong = check_expr(c, e->conditions[i].subject);
  return wrong;
}

static const char *check_axis(checker *c, const expr *e) {
  if (e->number >= c->k->n_axes) WRONG("axis %u does not exist", e->number);
  if (!(c->axes >> e->number & 1))
    WRONG("stage %s uses axis %s, which it does not have", c->k->stages[c->stage].name, c->k->axes[e->number].name);
  return NULL;
}

static const char *check_stage_read(checker *c, const expr *e) {
  const char *reader = c->k->stages[c->stage].name;
  if (e->number >= c->stage) WRONG("stage %s reads a stage that does not come before it", reader);
  const stage *s = &c->k->stages[e->number];
  if (s->free & ~c->axes) WRONG("stage %s reads %s without having its axes", reader, s->name);
  if (s->type != e->type) WRONG("stage %s reads %s with another type", reader, s->name);
  return NULL;
}

static const char *check_read(checker *c, const expr *e) {
  if (e->number >= c->k->n_buffers) WRONG("buffer %u does not exist", e->number);
  const kernel_buffer *b = &c->k->buffers[e->number];
  if (b->access != ACCESS_IN) WRONG("%s is read, but is an output", b->name);
  if (e->type != b->type.dtype || e->n_args != b->type.rank) WRONG("a read of %s does not have its type", b->name);
  for (uint32_t i = 0; i < e->n_args; i++)
    if (e->args[i]->type != DTYPE_I64) WRONG("an index of %s is not i64", b->name);
  for (uint32_t i = 0; i < e->n_conditions; i++)
    if (e->conditions[i].subject->type != DTYPE_I64) WRONG("a condition on %s is not on an i64", b->name);
  return NULL;
}

static const char *check_apply(checker *c, const expr *e) {
  dtype types[8], result;
  const op_info *op = &op_table[e->op];
  if (!op->elementwise || e->n_args != (uint32_t)op->arity) WRONG("%s is not applied as an elementwise op", op->name);
  for (uint32_t i = 0; i < e->n_args; i++) types[i] = e->args[i]->type;
  if (!op_result_dtype(e->op, types, e->type, &result) || result != e->type)
    WRONG("types of operands and result do not fit %s", op->name);
  return NULL;
}

static const char *check_expr(checker *c, const expr *e) {
  if (c->seen[e->id]) return NULL;
  c->seen[e->id] = true;
  const char *wrong = check_parts(c, e);
  if (wrong) return wrong;
  switch (e->kind) {
  case EXPR_CONSTANT: return NULL;
  case EXPR_AXIS: return check_axis(c, e);
  case EXPR_READ: return check_read(c, e);
  case EXPR_STAGE: return check_stage_read(c, e);
  case EXPR_APPLY: return check_apply(c, e);
  }
  return NULL;
}

/* -- stages -------------------------------------------------------------------------------------------------- */

static const char *check_axes(checker *c, const stage *s) {
  axis_set known = c->k->n_axes < 64 ? ((axis_set)1 << c->k->n_axes) - 1 : ~(axis_set)0;
  if ((s->free | s->reduced) & ~known) WRONG("stage %s has an axis that does not exist", s->name);
  if (s->free & s->reduced) WRONG("stage %s has an axis both free and reduced", s->name);
  if (s->monoid == MONOID_NONE && s->reduced) WRONG("stage %s is a map and reduces axes", s->name);
  return NULL;
}

static const char *check_type(checker *c, const stage *s) {
  if (s->monoid == MONOID_ARGMAX && s->type != DTYPE_I32) WRONG("stage %s is an argmax and not i32", s->name);
  if (s->monoid != MONOID_ARGMAX && s->type != s->body->type)
    WRONG("stage %s is %s, its body %s", s->name, dtype_name(s->type), dtype_name(s->body->type));
  if (s->monoid != MONOID_NONE && s->body->type == DTYPE_BOOL) WRONG("stage %s reduces bool", s->name);
  return NULL;
}

static const char *check_output(checker *c, const stage *s) {
  if (s->output < 0) return NULL;
  if ((uint32_t)s->output >= c->k->n_buffers) WRONG("stage %s writes a buffer that does not exist", s->name);
  const kernel_buffer *b = &c->k->buffers[s->output];
  if (b->access != ACCESS_OUT) WRONG("%s is written, but is an input", b->name);
  if (b->type.dtype != s->type) WRONG("stage %s does not have the type of %s", s->name, b->name);
  for (uint32_t d = 0; d < b->type.rank; d++) {
    const expr *e = s->index[d];
    if (e->type != DTYPE_I64) WRONG("an index of %s is not i64", b->name);
    if (e->axes & ~s->free) WRONG("stage %s writes at axes that are not free", s->name);
    const char *wrong = check_expr(c, e);
    if (wrong) return wrong;
  }
  return NULL;
}

static const char *check_stage(checker *c, uint32_t number) {
  const stage *s = &c->k->stages[number];
  c->stage = number;
  c->axes = s->free | s->reduced;
  memset(c->seen, 0, expr_count(c->k) * sizeof *c->seen);
  const char *wrong = check_axes(c, s);
  if (!wrong) wrong = check_expr(c, s->body);
  if (!wrong) wrong = check_type(c, s);
  return wrong ? wrong : check_output(c, s);
}

/* -- schedules ------------------------------------------------------------------------------------------------- */

/* Inside of vector loops stand others, and the neighbours that each lane takes. */
static bool stands_in_vector(const schedule *s, uint32_t i) {
  bool inside = false, of_lane = false;
  for (uint32_t k = 0; k < i; k++)
    if (s->loops[k].kind == LOOP_VECTOR) inside = true, of_lane |= s->loops[k].axis == s->loops[i].axis;
  return !inside || s->loops[i].kind == LOOP_VECTOR || (s->loops[i].kind == LOOP_UNROLL && of_lane);
}

static const char *check_loop(checker *c, const schedule *s, uint32_t i, const int64_t *left) {
  const schedule_loop *l = &s->loops[i];
  if (l->axis >= c->k->n_axes) WRONG("loop %u is over an axis that does not exist", i);
  const char *name = c->k->axes[l->axis].name;
  bool outermost = left[l->axis] == 0;
  if (l->step < 1 || (!outermost && l->step >= left[l->axis]))
    WRONG("steps of loops over %s do not decrease to 1", name);
  loop_kind before = i ? s->loops[i - 1].kind : LOOP_PARALLEL;
  if (l->kind == LOOP_PARALLEL && before != LOOP_PARALLEL) WRONG("the parallel loop over %s does not lead", name);
  if (!stands_in_vector(s, i)) WRONG("the loop over %s is inside a vector loop", name);
  int64_t walked = outermost ? c->k->axes[l->axis].extent : left[l->axis];
  if (l->kind == LOOP_PAIR && (l->step != 1 || walked % 2)) WRONG("the pair loop over %s does not walk pairs", name);
  if (l->kind == LOOP_TILE && l->step != 1) WRONG("the tile loop over %s has a step", name);
  if (l->kind == LOOP_VECTOR && walked % l->step) WRONG("the vector loop over %s leaves a rest", name);
  return NULL;
}

/* Iterations of a parallel loop run in any order and at the same time. */
static const char *check_parallel(checker *c, uint32_t axis) {
  for (uint32_t i = 0; i < c->k->n_stages; i++) {
    const stage *s = &c->k->stages[i];
    if (s->reduced >> axis & 1) WRONG("stage %s reduces %s, which runs in parallel", s->name, c->k->axes[axis].name);
    if (s->output >= 0 && !(s->free >> axis & 1))
      WRONG("stage %s writes the same place in all parallel iterations of %s", s->name, c->k->axes[axis].name);
  }
  return NULL;
}

static const char *check_team(checker *c, const team_tile *t) {
  enum { TILE = 16, VECTOR = 32, MOST_WARPS = 32, MOST = 1024, PANEL = 64, MOST_GROUP_LANES = 256, MOST_GROUPS = 4 };
  const int64_t sizes[] = {t->rows, t->lanes, t->sums, t->warp_rows, t->warp_lanes, t->stages};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (sizes[i] < 1 || sizes[i] > MOST) WRONG("a team of a size that there is none of");
  if (t->rows % t->warp_rows || t->lanes % t->warp_lanes || t->warp_rows % TILE || t->warp_lanes % VECTOR || t->sums % (TILE / 2)) WRONG("the blocks of a team's warps are not made of tiles");
  if (t->groups && (t->warp_rows % PANEL || t->warp_lanes % PANEL || t->warp_lanes > MOST_GROUP_LANES || t->sums != PANEL || t->stages < 3)) WRONG("the blocks of a team's groups are not made of panels of 64, or there are too few stages");
  if (t->boxes && !t->groups) WRONG("boxes of a team without groups");
  if (t->rows / t->warp_rows * (t->lanes / t->warp_lanes) > (t->groups ? MOST_GROUPS : MOST_WARPS) || t->stages < 2) WRONG("a team of too many warps, or too few stages");
  return NULL;
}

static const char *check_schedule(checker *c) {
  const schedule *s = &c->k->schedule;
  if (s->team.rows) return s->n || s->chunks ? arena_string(c->scratch, "a team beside loops") : check_team(c, &s->team);
  int64_t left[MAX_AXES] = {0}; /* step of the innermost loop so far; 0: none yet */
  axis_set used = 0;
  const char *wrong;
  for (uint32_t i = 0; i < s->n; i++) {
    const schedule_loop *l = &s->loops[i];
    if ((wrong = check_loop(c, s, i, left))) return wrong;
    if (l->kind == LOOP_PARALLEL && c->k->axes[l->axis].extent > 1 && (wrong = check_parallel(c, l->axis)))
      return wrong;
    left[l->axis] = l->step;
  }
  for (uint32_t i = 0; i < c->k->n_stages; i++) used |= c->k->stages[i].free | c->k->stages[i].reduced;
  for (uint32_t i = 0; s->n && i < c->k->n_axes; i++) {
    if ((used >> i & 1) && left[i] != 1) WRONG("axis %s is not scheduled down to step 1", c->k->axes[i].name);
    if (!(used >> i & 1) && left[i]) WRONG("axis %s is scheduled, but no stage has it", c->k->axes[i].name);
  }
  if (s->chunks < 0 || (s->chunks && (!s->n || s->loops[0].kind != LOOP_PARALLEL)))
    WRONG("chunks without a parallel loop");
  return NULL;
}

/* -- all of it ------------------------------------------------------------------------------------------------- */

static const char *check_definition(checker *c) {
  const char *wrong = NULL;
  c->seen = ARENA_ARRAY(c->scratch, bool, expr_count(c->k));
  for (uint32_t i = 0; !wrong && i < c->k->n_stages; i++) wrong = check_stage(c, i);
  return wrong ? wrong : kernel_check_bounds(c->k, c->scratch);
}

static void mix(uint64_t *h, uint64_t word) {
  *h = (*h ^ word) * 0x9E3779B97F4A7C15u;
  *h ^= *h >> 32;
}

/* Of what the checks of a definition look at. Expressions are interned and stay what they are. */
static uint64_t definition_fingerprint(const kernel *k) {
  uint64_t h = k->n_axes;
  for (uint32_t i = 0; i < k->n_axes; i++) mix(&h, (uint64_t)k->axes[i].extent);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    mix(&h, (uint64_t)b->access << 32 | (uint64_t)b->type.dtype << 8 | b->type.rank);
    for (uint32_t d = 0; d < b->type.rank; d++) mix(&h, (uint64_t)b->type.dim[d]);
  }
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    mix(&h, (uint64_t)s->type << 40 | (uint64_t)s->monoid << 32 | (uint32_t)s->output);
    mix(&h, s->free);
    mix(&h, s->reduced);
    mix(&h, (uintptr_t)s->body);
    const uint32_t rank = s->output >= 0 && (uint32_t)s->output < k->n_buffers ? k->buffers[s->output].type.rank : 0;
    for (uint32_t d = 0; d < rank; d++) mix(&h, (uintptr_t)s->index[d]);
  }
  return h ? h : 1;
}

/* A compilation asks after each pass, and most leave most kernels as they were. */
const char *kernel_verify(const kernel *k, arena *scratch) {
  checker checking = {.k = k, .scratch = scratch}, *c = &checking;
  if (k->n_axes > MAX_AXES) WRONG("kernel %s has more than %d axes", k->name, MAX_AXES);
  const uint64_t now = definition_fingerprint(k);
  const char *wrong = k->exprs->sound == now ? NULL : check_definition(c);
  if (!wrong) k->exprs->sound = now;
  if (!wrong) wrong = check_schedule(c);
  return wrong ? arena_printf(scratch, "kernel %s: %s", k->name, wrong) : NULL;
}
