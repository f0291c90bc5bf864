/* Blocks under construction, registers, and which values are already known where. */
#include "passes/lower.h"

void fail_lowering(lowering *l, const char *message) {
  if (!l->error) l->error = message;
}

/* -- known values ----------------------------------------------------------------------------------------- */

/* Values are found by a name (an address: of an expression, an accumulator) and the ids of the
 * coordinates they were computed at, from the block that sets them until it ends. */
struct known_value {
  const void *name;
  uint32_t *ids;
  uint32_t n;
  uint64_t hash;
  operand is;
  known_value *next_in_slot, *next_in_frame;
};

struct known_table {
  known_value **slots;
  uint32_t n_slots, n;
};

static uint64_t hash_of(const void *name, const uint32_t *ids, uint32_t n) {
  uint64_t h = (uint64_t)(uintptr_t)name * 0x9E3779B97F4A7C15u;
  for (uint32_t i = 0; i < n; i++) h = (h ^ h >> 32 ^ ids[i]) * 0xC2B2AE3D27D4EB4Fu;
  return h ^ h >> 31;
}

static known_value **slot_of(const struct known_table *t, uint64_t hash) { return &t->slots[hash & (t->n_slots - 1)]; }

static void grow(lowering *l, struct known_table *t) {
  known_value **old = t->slots;
  uint32_t n_old = t->n_slots;
  t->n_slots = n_old ? 2 * n_old : 256;
  t->slots = ARENA_ARRAY(l->arena, known_value *, t->n_slots);
  for (uint32_t i = 0; i < n_old; i++)
    for (known_value *v = old[i], *next; v; v = next) {
      next = v->next_in_slot;
      known_value **end = slot_of(t, v->hash); /* newer values stay before older ones */
      while (*end) end = &(*end)->next_in_slot;
      v->next_in_slot = NULL;
      *end = v;
    }
}

bool find_known_by(lowering *l, const void *name, const uint32_t *ids, uint32_t n, operand *out) {
  if (!l->known) return false;
  uint64_t hash = hash_of(name, ids, n);
  for (known_value *v = *slot_of(l->known, hash); v; v = v->next_in_slot)
    if (v->hash == hash && v->name == name && v->n == n && !memcmp(v->ids, ids, n * sizeof *ids)) {
      *out = v->is;
      return true;
    }
  return false;
}

void add_known_by(lowering *l, const void *name, const uint32_t *ids, uint32_t n, operand is) {
  if (!l->known) l->known = ARENA_NEW(l->arena, struct known_table);
  if (l->known->n >= l->known->n_slots) grow(l, l->known);
  known_value *v = ARENA_NEW(l->arena, known_value);
  frame *f = &l->frames[is.level];
  *v = (known_value){name, arena_copy(l->arena, ids, n * sizeof *ids), n, hash_of(name, ids, n), is};
  known_value **slot = slot_of(l->known, v->hash);
  v->next_in_slot = *slot;
  *slot = v;
  v->next_in_frame = f->values;
  f->values = v;
  l->known->n++;
}

static uint32_t ids_of(const lowering *l, axis_set axes, uint32_t ids[MAX_AXES]) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < l->kernel->n_axes; i++)
    if (axes >> i & 1) ids[n++] = l->axis[i].id;
  return n;
}

bool find_known(lowering *l, const void *name, axis_set axes, operand *out) {
  uint32_t ids[MAX_AXES], n = ids_of(l, axes, ids);
  return find_known_by(l, name, ids, n, out);
}

void add_known(lowering *l, const void *name, axis_set axes, operand v) {
  uint32_t ids[MAX_AXES], n = ids_of(l, axes, ids);
  add_known_by(l, name, ids, n, v);
}

/* -- blocks ----------------------------------------------------------------------------------------------- */

/* A statement joins its block only when its body is complete: what is added to an outer block
 * meanwhile stands before it. */
void open_frame(lowering *l, block *b, bool under_condition) {
  uint32_t outer = l->depth ? l->frames[l->depth - 1].guarded : 0;
  frame *f = l->depth == l->frames_capacity ? NULL : &l->frames[l->depth];
  if (!f) {
    uint32_t count = l->depth;
    f = ARENA_PUSH(l->arena, l->frames, count, l->frames_capacity);
  }
  *f = (frame){.block = b, .guarded = under_condition ? l->depth : outer};
  l->depth++;
}

void close_frame(lowering *l) {
  frame *f = &l->frames[--l->depth];
  for (known_value *v = f->values; v; v = v->next_in_frame) {
    known_value **at = slot_of(l->known, v->hash);
    while (*at != v) at = &(*at)->next_in_slot;
    *at = v->next_in_slot;
    l->known->n--;
  }
}

void emit(lowering *l, statement s) { loops_append(l->loops, l->frames[l->depth - 1].block, s); }

/* -- registers -------------------------------------------------------------------------------------------- */

uint32_t new_register(lowering *l, dtype type, uint32_t lanes, interval range, uint32_t level) {
  uint32_t number = loops_add_register(l->loops, type, lanes);
  while (l->n_registers <= number) ARENA_PUSH(l->arena, l->registers, l->n_registers, l->registers_capacity);
  l->registers[number].range = range;
  l->registers[number].level = level;
  return number;
}

static const interval anything = {INT64_MIN, INT64_MAX};

operand share(lowering *l, operand v) {
  if (v.expr->kind == LOOPS_VARIABLE || v.expr->kind == LOOPS_CONSTANT) return v;
  uint32_t number = new_register(l, v.expr->type, v.expr->lanes, anything, v.level);
  loops_append(l->loops, l->frames[v.level].block,
               (statement){.kind = STATEMENT_SET, .number = number, .value = v.expr});
  return (operand){loops_variable(l->loops, number), v.level};
}

operand constant_value(lowering *l, dtype type, scalar v) { return (operand){loops_constant(l->loops, type, 1, v), 0}; }

operand variable_value(lowering *l, uint32_t number) {
  return (operand){loops_variable(l->loops, number), l->registers[number].level};
}

/* -- forms as values -------------------------------------------------------------------------------------- */

static operand scaled(lowering *l, uint32_t number, int64_t coefficient) {
  operand v = variable_value(l, number);
  if (coefficient == 1) return v;
  return apply_op(l, OP_MUL, DTYPE_I64, (operand[]){v, constant_value(l, DTYPE_I64, (scalar){.integer = coefficient})},
                  2);
}

/* Sums are set level by level, each in the block where its last register appears: in an inner loop,
 * an address is a register plus a constant. */
static operand emit_terms(lowering *l, const affine *a) {
  affine inner = {0}, outer = {0};
  uint32_t deepest = 0;
  operand sum;
  for (uint32_t i = 0; i < a->n; i++)
    if (l->registers[a->term[i].number].level > deepest) deepest = l->registers[a->term[i].number].level;
  for (uint32_t i = 0; i < a->n; i++) {
    affine *to = l->registers[a->term[i].number].level == deepest ? &inner : &outer;
    to->term[to->n++] = a->term[i];
  }
  if (inner.n == 1 && !outer.n && inner.term[0].coefficient == 1) return variable_value(l, inner.term[0].number);
  uint32_t id = affine_id(l, a);
  if (find_known_by(l, &l->axis, &id, 1, &sum)) return sum;
  sum = outer.n ? emit_terms(l, &outer) : scaled(l, inner.term[0].number, inner.term[0].coefficient);
  for (uint32_t i = outer.n ? 0 : 1; i < inner.n; i++) {
    operand v = scaled(l, inner.term[i].number, inner.term[i].coefficient);
    sum = apply_op(l, OP_ADD, DTYPE_I64, (operand[]){sum, v}, 2);
  }
  sum = share(l, sum);
  add_known_by(l, &l->axis, &id, 1, sum);
  return sum;
}

operand emit_affine(lowering *l, const affine *a) {
  affine terms = *a;
  operand constant = constant_value(l, DTYPE_I64, (scalar){.integer = a->constant});
  for (uint32_t i = 0; i < a->n; i++)
    if (a->term[i].number & AXIS_TO_COME) {
      fail_lowering(l, "a value is needed before its axes are bound");
      return constant;
    }
  terms.constant = terms.lane = 0;
  if (!a->n) return constant;
  operand sum = emit_terms(l, &terms);
  return a->constant ? apply_op(l, OP_ADD, DTYPE_I64, (operand[]){sum, constant}, 2) : sum;
}

operand value_of_index(lowering *l, const affine *a) {
  operand v = emit_affine(l, a);
  if (a->lane)
    v.expr = loops_node(l->loops, (loops_expr){.kind = LOOPS_RAMP,
                                               .type = DTYPE_I64,
                                               .lanes = l->lanes,
                                               .active = l->active,
                                               .stride = a->lane,
                                               .n_args = 1,
                                               .args = &v.expr});
  return v;
}
