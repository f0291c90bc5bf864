/* Runs definitions as they stand: stage by stage, point by point. Every expression of a stage has a
 * slot; when an axis moves, the slots that depend on it or on an axis inside it are computed again. */
#include "ir/expr.h"

typedef struct {
  const kernel *k;
  void *const *buffers;
  arena *scratch;
  scalar **results; /* per stage that others read: over its free axes, row-major */
  bool *is_read;    /* per stage */
  int64_t *index;   /* per axis: where we are */
} machine;

typedef struct {
  const expr **nodes; /* ordered by level, arguments first within one */
  scalar *value;      /* by id of the expression */
  uint32_t n, capacity;
  uint32_t axes[MAX_AXES], n_axes; /* the loops, outermost first: free axes, then reduced ones */
  uint32_t start[MAX_AXES + 2];    /* of each level: level i depends on loop i - 1 and none inside it */
} program;

/* -- making a program ---------------------------------------------------------------------------------- */

static uint32_t level_of(const program *p, const expr *e) {
  for (uint32_t i = p->n_axes; i > 0; i--)
    if (e->axes >> p->axes[i - 1] & 1) return i;
  return 0;
}

static void collect(machine *m, program *p, bool *seen, const expr *e) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  for (uint32_t i = 0; i < e->n_args; i++) collect(m, p, seen, e->args[i]);
  for (uint32_t i = 0; i < e->n_conditions; i++) collect(m, p, seen, e->conditions[i].subject);
  *ARENA_PUSH(m->scratch, p->nodes, p->n, p->capacity) = e;
}

static uint32_t index_rank(const kernel *k, const stage *s) {
  return s->output < 0 ? 0 : k->buffers[s->output].type.rank;
}

static void order_by_level(machine *m, program *p) {
  const expr **ordered = ARENA_ARRAY(m->scratch, const expr *, p->n);
  uint32_t n = 0;
  for (uint32_t level = 0; level <= p->n_axes; level++) {
    p->start[level] = n;
    for (uint32_t i = 0; i < p->n; i++)
      if (level_of(p, p->nodes[i]) == level) ordered[n++] = p->nodes[i];
  }
  p->start[p->n_axes + 1] = n;
  p->nodes = ordered;
}

static program make_program(machine *m, const stage *s) {
  program p = {.value = ARENA_ARRAY(m->scratch, scalar, m->k->exprs->count)};
  bool *seen = ARENA_ARRAY(m->scratch, bool, m->k->exprs->count);
  for (uint32_t i = 0; i < m->k->n_axes; i++)
    if (s->free >> i & 1) p.axes[p.n_axes++] = i;
  for (uint32_t i = 0; i < m->k->n_axes; i++)
    if (s->reduced >> i & 1) p.axes[p.n_axes++] = i;
  collect(m, &p, seen, s->body);
  for (uint32_t d = 0; d < index_rank(m->k, s); d++) collect(m, &p, seen, s->index[d]);
  order_by_level(m, &p);
  return p;
}

/* -- evaluation ------------------------------------------------------------------------------------------ */

static int64_t place_in_stage(const machine *m, axis_set axes) {
  int64_t at = 0;
  for (uint32_t i = 0; i < m->k->n_axes; i++)
    if (axes >> i & 1) at = at * m->k->axes[i].extent + m->index[i];
  return at;
}

static int64_t place_in_buffer(const program *p, const tensor_type *t, const expr *const *index) {
  int64_t at = 0;
  for (uint32_t d = 0; d < t->rank; d++) at = at * t->dim[d] + p->value[index[d]->id].integer;
  return at;
}

static scalar read_buffer(const machine *m, const program *p, const expr *e) {
  for (uint32_t i = 0; i < e->n_conditions; i++) {
    const condition *c = &e->conditions[i];
    int64_t v = p->value[c->subject->id].integer;
    if (v < c->low || v >= c->high || v % c->divisor) return e->constant;
  }
  int64_t at = place_in_buffer(p, &m->k->buffers[e->number].type, e->args);
  return element_load(e->type, m->buffers[e->number], at);
}

static scalar apply(const program *p, const expr *e) {
  scalar args[8];
  for (uint32_t i = 0; i < e->n_args; i++) args[i] = p->value[e->args[i]->id];
  dtype operand = e->args[op_table[e->op].rule == RULE_SELECT ? 1 : 0]->type;
  return op_evaluate(e->op, operand, e->type, args);
}

static scalar evaluate(const machine *m, const program *p, const expr *e) {
  switch (e->kind) {
  case EXPR_CONSTANT: return e->constant;
  case EXPR_AXIS: return (scalar){.integer = m->index[e->number]};
  case EXPR_STAGE: return m->results[e->number][place_in_stage(m, m->k->stages[e->number].free)];
  case EXPR_READ: return read_buffer(m, p, e);
  case EXPR_APPLY: break;
  }
  return apply(p, e);
}

/* Computes this level and those inside it; 0: everything, also constants. */
static void update(const machine *m, program *p, uint32_t level) {
  for (uint32_t i = p->start[level]; i < p->n; i++) {
    const expr *e = p->nodes[i];
    p->value[e->id] = evaluate(m, p, e);
  }
}

static bool any_empty(const kernel *k, axis_set axes) {
  for (uint32_t i = 0; i < k->n_axes; i++)
    if ((axes >> i & 1) && k->axes[i].extent == 0) return true;
  return false;
}

/* Moves the loops from `first` to `end` to their next point; false when they are back at the first. */
static bool advance(machine *m, program *p, uint32_t first, uint32_t end) {
  for (uint32_t i = end; i > first; i--) {
    uint32_t axis = p->axes[i - 1];
    if (++m->index[axis] < m->k->axes[axis].extent) {
      update(m, p, i);
      return true;
    }
    m->index[axis] = 0; /* values follow when a loop further out moves */
  }
  return false;
}

/* -- reductions ------------------------------------------------------------------------------------------ */

typedef struct {
  double real;
  uint64_t integer;
  scalar largest;
  int64_t at, count; /* of the largest; of all */
} accumulator;

static bool exceeds(dtype t, scalar x, scalar y) {
  if (!dtype_is_real(t)) return x.integer > y.integer;
  return x.real > y.real || (x.real != x.real && y.real == y.real); /* NaN is the largest */
}

static void accumulate(accumulator *a, const stage *s, scalar v) {
  if (s->monoid == MONOID_SUM) {
    if (dtype_is_real(s->type)) a->real += v.real;
    else a->integer += (uint64_t)v.integer;
  } else if (a->count == 0 || exceeds(s->body->type, v, a->largest)) {
    a->largest = v;
    a->at = a->count;
  }
  a->count++;
}

static scalar finish(const accumulator *a, const stage *s) {
  scalar v = {.integer = a->at};
  if (s->monoid == MONOID_SUM && dtype_is_real(s->type)) v.real = a->real;
  else if (s->monoid == MONOID_SUM) v.integer = (int64_t)a->integer;
  else if (s->monoid == MONOID_MAX && a->count) v = a->largest;
  else if (s->monoid == MONOID_MAX && dtype_is_real(s->type)) v.real = -__builtin_inf();
  else if (s->monoid == MONOID_MAX) v.integer = dtype_range(s->type).low;
  return scalar_round(s->type, v);
}

static scalar value_at_point(machine *m, program *p, const stage *s, uint32_t n_free, bool empty) {
  if (s->monoid == MONOID_NONE) return p->value[s->body->id];
  accumulator a = {0};
  if (empty) return finish(&a, s);
  do accumulate(&a, s, p->value[s->body->id]);
  while (advance(m, p, n_free, p->n_axes));
  return finish(&a, s);
}

static void run_stage(machine *m, uint32_t number) {
  const stage *s = &m->k->stages[number];
  if (any_empty(m->k, s->free)) return;
  program p = make_program(m, s);
  uint32_t n_free = (uint32_t)__builtin_popcountll(s->free);
  int64_t points = 1, at = 0;
  for (uint32_t i = 0; i < n_free; i++) points *= m->k->axes[p.axes[i]].extent;
  if (m->is_read[number]) m->results[number] = ARENA_ARRAY(m->scratch, scalar, points);
  memset(m->index, 0, m->k->n_axes * sizeof *m->index);
  bool empty = any_empty(m->k, s->reduced);
  if (empty) p.n = p.start[n_free + 1]; /* nothing inside can be read */
  update(m, &p, 0);
  do {
    scalar v = value_at_point(m, &p, s, n_free, empty);
    if (m->is_read[number]) m->results[number][at++] = v;
    if (s->output < 0) continue;
    const kernel_buffer *b = &m->k->buffers[s->output];
    element_store(b->type.dtype, m->buffers[s->output], place_in_buffer(&p, &b->type, s->index), v);
  } while (advance(m, &p, 0, n_free));
}

void kernel_interpret(const kernel *k, void *const *buffers, arena *scratch) {
  machine m = {.k = k, .buffers = buffers, .scratch = scratch};
  m.results = ARENA_ARRAY(scratch, scalar *, k->n_stages);
  m.is_read = ARENA_ARRAY(scratch, bool, k->n_stages);
  m.index = ARENA_ARRAY(scratch, int64_t, k->n_axes);
  for (uint32_t i = 0; i < k->exprs->capacity; i++) {
    const expr *e = k->exprs->slots[i];
    if (e && e->kind == EXPR_STAGE) m.is_read[e->number] = true;
  }
  for (uint32_t i = 0; i < k->n_stages; i++) run_stage(&m, i);
}
