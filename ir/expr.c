/* Making expressions: interning, so that equality is identity, and the constructors. */
#include "ir/expr.h"

#include <math.h>

/* -- order and identity ---------------------------------------------------------------------------- */

static int compare_numbers(int64_t x, int64_t y) { return (x > y) - (x < y); }

static int64_t scalar_bits(scalar s) {
  int64_t bits;
  memcpy(&bits, &s, sizeof bits);
  return bits;
}

static int kind_rank(expr_kind kind) {
  static const int rank[] = {[EXPR_AXIS] = 0, [EXPR_STAGE] = 1, [EXPR_READ] = 2, [EXPR_APPLY] = 3, [EXPR_CONSTANT] = 4};
  return rank[kind];
}

static int compare_condition(const condition *x, const condition *y) {
  int order = expr_order(x->subject, y->subject);
  if (!order) order = compare_numbers(x->low, y->low);
  if (!order) order = compare_numbers(x->high, y->high);
  return order ? order : compare_numbers(x->divisor, y->divisor);
}

int expr_order(const expr *x, const expr *y) {
  if (x == y) return 0;
  int order = compare_numbers(kind_rank(x->kind), kind_rank(y->kind));
  if (!order) order = compare_numbers(x->number, y->number);
  if (!order) order = compare_numbers(x->op, y->op);
  if (!order) order = compare_numbers(x->type, y->type);
  if (!order) order = compare_numbers(x->n_args, y->n_args);
  if (!order) order = compare_numbers(x->n_conditions, y->n_conditions);
  for (uint32_t i = 0; !order && i < x->n_args; i++) order = expr_order(x->args[i], y->args[i]);
  for (uint32_t i = 0; !order && i < x->n_conditions; i++)
    order = compare_condition(&x->conditions[i], &y->conditions[i]);
  return order ? order : compare_numbers(scalar_bits(x->constant), scalar_bits(y->constant));
}

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

static uint64_t expr_hash(const expr *e) {
  uint64_t hash = mix(e->kind, e->type);
  hash = mix(mix(hash, e->op), e->number);
  hash = mix(hash, (uint64_t)scalar_bits(e->constant));
  for (uint32_t i = 0; i < e->n_args; i++) hash = mix(hash, e->args[i]->id + 1);
  for (uint32_t i = 0; i < e->n_conditions; i++) {
    const condition *c = &e->conditions[i];
    hash = mix(mix(hash, c->subject->id), (uint64_t)c->low);
    hash = mix(mix(hash, (uint64_t)c->high), (uint64_t)c->divisor);
  }
  return hash;
}

/* Arguments are interned already, so one level decides. */
static bool expr_same(const expr *x, const expr *y) {
  if (x->kind != y->kind || x->type != y->type || x->op != y->op || x->number != y->number || x->n_args != y->n_args ||
      x->n_conditions != y->n_conditions || scalar_bits(x->constant) != scalar_bits(y->constant))
    return false;
  for (uint32_t i = 0; i < x->n_args; i++)
    if (x->args[i] != y->args[i]) return false;
  for (uint32_t i = 0; i < x->n_conditions; i++)
    if (compare_condition(&x->conditions[i], &y->conditions[i])) return false;
  return true;
}

static const expr **find_slot(const struct expr_table *t, const expr *e) {
  uint32_t i = (uint32_t)expr_hash(e) & (t->capacity - 1);
  while (t->slots[i] && !expr_same(t->slots[i], e)) i = (i + 1) & (t->capacity - 1);
  return &t->slots[i];
}

static void grow_table(kernel *k) {
  struct expr_table *t = k->exprs, old = *t;
  t->capacity = old.capacity ? old.capacity * 2 : 64;
  t->slots = ARENA_ARRAY(k->arena, const expr *, t->capacity);
  for (uint32_t i = 0; i < old.capacity; i++)
    if (old.slots[i]) *find_slot(t, old.slots[i]) = old.slots[i];
}

static axis_set axes_of(const kernel *k, const expr *e) {
  axis_set axes = 0;
  if (e->kind == EXPR_AXIS) axes = (axis_set)1 << e->number;
  if (e->kind == EXPR_STAGE) axes = k->stages[e->number].free;
  for (uint32_t i = 0; i < e->n_args; i++) axes |= e->args[i]->axes;
  for (uint32_t i = 0; i < e->n_conditions; i++) axes |= e->conditions[i].subject->axes;
  return axes;
}

const expr *expr_intern(kernel *k, const expr *candidate) {
  struct expr_table *t = k->exprs;
  if (2 * (t->count + 1) > t->capacity) grow_table(k);
  const expr **slot = find_slot(t, candidate);
  if (*slot) return *slot;
  expr *e = arena_copy(k->arena, candidate, sizeof *e);
  if (e->n_args) e->args = arena_copy(k->arena, e->args, e->n_args * sizeof *e->args);
  if (e->n_conditions) e->conditions = arena_copy(k->arena, e->conditions, e->n_conditions * sizeof *e->conditions);
  e->axes = axes_of(k, e);
  e->range = expr_range_of(k, e);
  e->id = t->count++;
  return *slot = e;
}

/* -- constructors ------------------------------------------------------------------------------------ */

const expr *expr_constant(kernel *k, dtype t, scalar v) {
  expr e = {.kind = EXPR_CONSTANT, .type = t, .constant = scalar_round(t, v)};
  if (dtype_is_real(t) && isnan(v.real)) e.constant.real = NAN; /* one NaN: texts do not tell payloads apart */
  return expr_intern(k, &e);
}

const expr *expr_integer(kernel *k, int64_t v) { return expr_constant(k, DTYPE_I64, (scalar){.integer = v}); }

const expr *expr_axis(kernel *k, uint32_t axis) {
  if (k->axes[axis].extent == 1) return expr_integer(k, 0);
  expr e = {.kind = EXPR_AXIS, .type = DTYPE_I64, .number = axis};
  return expr_intern(k, &e);
}

const expr *expr_stage(kernel *k, uint32_t number) {
  expr e = {.kind = EXPR_STAGE, .type = k->stages[number].type, .number = number};
  return expr_intern(k, &e);
}

const expr *expr_read(kernel *k, uint32_t buffer, const expr *const *index, const condition *conditions,
                      uint32_t n_conditions, scalar otherwise) {
  const tensor_type *type = &k->buffers[buffer].type;
  condition *kept = n_conditions ? arena_copy(k->arena, conditions, n_conditions * sizeof *kept) : NULL;
  if (!conditions_simplify(kept, &n_conditions)) return expr_constant(k, type->dtype, otherwise);
  expr e = {.kind = EXPR_READ,
            .type = type->dtype,
            .number = buffer,
            .n_args = type->rank,
            .n_conditions = n_conditions,
            .args = (const expr **)index,
            .conditions = kept};
  if (n_conditions) e.constant = scalar_round(type->dtype, otherwise);
  return expr_intern(k, &e);
}

const expr *expr_intern_apply(kernel *k, op_id op, dtype result, const expr *const *args, uint32_t n) {
  expr e = {.kind = EXPR_APPLY, .type = result, .op = op, .n_args = n, .args = (const expr **)args};
  return expr_intern(k, &e);
}

enum { MAX_ARITY = 8 };

static const expr *fold(kernel *k, op_id op, dtype result, const expr *const *args, uint32_t n) {
  scalar values[MAX_ARITY];
  for (uint32_t i = 0; i < n; i++) {
    if (args[i]->kind != EXPR_CONSTANT) return NULL;
    values[i] = args[i]->constant;
  }
  dtype operand = args[op_table[op].rule == RULE_SELECT ? 1 : 0]->type;
  return expr_constant(k, result, op_evaluate(op, operand, result, values));
}

const expr *expr_apply(kernel *k, op_id op, dtype result, const expr *const *args, uint32_t n) {
  const expr *simple = fold(k, op, result, args, n);
  if (!simple) simple = expr_simplify(k, op, result, args, n);
  return simple ? simple : expr_intern_apply(k, op, result, args, n);
}

/* -- rewriting ----------------------------------------------------------------------------------------- */

typedef struct {
  kernel *into;
  const kernel *from;
  const expr_rewrite *how;
  const expr **done; /* by id: expressions are graphs, and sharing must survive */
} rewriting;

static const expr *rewrite(rewriting *r, const expr *e);

static const expr *rewrite_read(rewriting *r, const expr *e) {
  const expr *index[MAX_RANK];
  condition *conditions = NULL;
  if (e->n_conditions) conditions = ARENA_ARRAY(r->into->arena, condition, e->n_conditions);
  for (uint32_t i = 0; i < e->n_args; i++) index[i] = rewrite(r, e->args[i]);
  for (uint32_t i = 0; i < e->n_conditions; i++) {
    conditions[i] = e->conditions[i];
    conditions[i].subject = rewrite(r, e->conditions[i].subject);
  }
  const expr *result = NULL;
  if (r->how->read) result = r->how->read(r->how->context, r->into, e, index, conditions);
  return result ? result : expr_read(r->into, e->number, index, conditions, e->n_conditions, e->constant);
}

static const expr *rewrite_new(rewriting *r, const expr *e) {
  const expr *result = NULL, *args[MAX_ARITY];
  switch (e->kind) {
  case EXPR_CONSTANT: return expr_constant(r->into, e->type, e->constant);
  case EXPR_AXIS:
    if (r->how->axis) result = r->how->axis(r->how->context, r->into, e->number);
    return result ? result : expr_axis(r->into, e->number);
  case EXPR_STAGE:
    if (r->how->stage) result = r->how->stage(r->how->context, r->into, e->number);
    return result ? result : expr_stage(r->into, e->number);
  case EXPR_READ: return rewrite_read(r, e);
  case EXPR_APPLY:
    for (uint32_t i = 0; i < e->n_args; i++) args[i] = rewrite(r, e->args[i]);
    return expr_apply(r->into, e->op, e->type, args, e->n_args);
  }
  return NULL;
}

static const expr *rewrite(rewriting *r, const expr *e) {
  if (!r->done[e->id]) r->done[e->id] = rewrite_new(r, e);
  return r->done[e->id];
}

const expr *expr_rewrite_into(kernel *into, const kernel *from, const expr *e, const expr_rewrite *how) {
  rewriting r = {into, from, how, ARENA_ARRAY(into->arena, const expr *, from->exprs->count)};
  return rewrite(&r, e);
}
