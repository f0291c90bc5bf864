/* Accumulators. In registers, one for each element that unrolled loops walk over inside the reduction
 * (and several that take turns where those are few); in memory, where a loop over free axes stays a
 * loop inside the reduction. With both, registers sum the inner part and are added to memory. */
#include <math.h>

#include "passes/lower.h"

dtype accumulator_type(const kernel *k, const stage *s, uint32_t component) {
  (void)k;
  if (component == 1) return s->body->type;
  return s->monoid == MONOID_SUM && s->type == DTYPE_BF16 ? DTYPE_F32 : s->type;
}

uint32_t accumulator_components(const stage *s) { return s->monoid == MONOID_ARGMAX ? 2 : 1; }

static scalar lowest(dtype t) {
  scalar v;
  if (dtype_is_real(t)) v.real = -INFINITY;
  else v.integer = !dtype_is_signed(t) ? 0 : -((int64_t)1 << (8 * dtype_bytes(t) - 2)) * 2;
  return v;
}

/* The index of an argmax starts at 0: right where every element is the lowest. */
static scalar identity(const stage *s, uint32_t component, dtype t) {
  scalar zero = {0};
  if (dtype_is_real(t)) zero.real = 0;
  return s->monoid == MONOID_MAX || component == 1 ? lowest(t) : zero;
}

static operand apply_two(lowering *l, op_id op, dtype result, operand x, operand y) {
  return apply_op(l, op, result, (operand[]){x, y}, 2);
}

static operand choose(lowering *l, operand test, operand x, operand y) {
  return apply_op(l, OP_SELECT, x.expr->type, (operand[]){test, x, y}, 3);
}

static uint32_t slot_at(const lowering *l, const stage_state *state) {
  if (state->slots == 1) return 0;
  int64_t turn = l->axis[state->slot_axis].at.constant / state->slot_step;
  return (uint32_t)(turn % state->slots);
}

static void set(lowering *l, uint32_t number, operand v) {
  const loops_expr *e = loops_splat(l->loops, v.expr, l->loops->registers[number].lanes);
  emit(l, (statement){.kind = STATEMENT_SET, .number = number, .value = e});
}

static operand at_depth(lowering *l, const loops_expr *e) { return (operand){e, l->depth - 1}; }

/* -- combining -------------------------------------------------------------------------------------------- */

/* x takes in y, element by element. An argmax keeps the first of equal values and of NaNs. */
static void combine(lowering *l, const stage *s, operand x[COMPONENTS], const operand y[COMPONENTS]) {
  dtype t = x[0].expr->type;
  if (s->monoid == MONOID_SUM) {
    x[0] = apply_two(l, OP_ADD, t, x[0], y[0]);
  } else if (s->monoid == MONOID_MAX) {
    x[0] = apply_two(l, OP_MAX, t, x[0], y[0]);
  } else {
    operand better = apply_two(l, OP_LT, DTYPE_BOOL, x[1], y[1]);
    if (dtype_is_real(x[1].expr->type)) {
      operand is_number = apply_two(l, OP_EQ, DTYPE_BOOL, x[1], x[1]);
      operand no_worse = apply_two(l, OP_LE, DTYPE_BOOL, y[1], x[1]);
      operand worse = apply_two(l, OP_XOR, DTYPE_BOOL, no_worse, constant_value(l, DTYPE_BOOL, (scalar){.integer = 1}));
      better = apply_two(l, OP_AND, DTYPE_BOOL, is_number, worse);
    }
    better = share(l, better);
    x[0] = choose(l, better, y[0], x[0]);
    x[1] = choose(l, better, y[1], x[1]);
  }
}

static operand reduce(lowering *l, op_id op, operand v) {
  v.expr = loops_node(l->loops, (loops_expr){.kind = LOOPS_REDUCE,
                                             .op = op,
                                             .type = v.expr->type,
                                             .lanes = 1,
                                             .active = v.expr->lanes,
                                             .n_args = 1,
                                             .args = &v.expr});
  return v;
}

static void combine_lanes(lowering *l, const stage *s, operand x[COMPONENTS]) {
  if (s->monoid != MONOID_ARGMAX) {
    x[0] = reduce(l, s->monoid == MONOID_SUM ? OP_ADD : OP_MAX, x[0]);
    return;
  }
  operand lanes = x[1];
  x[1] = share(l, reduce(l, OP_MAX, lanes));
  operand largest = apply_two(l, OP_EQ, DTYPE_BOOL, lanes, x[1]);
  if (dtype_is_real(lanes.expr->type)) {
    operand is_number = apply_two(l, OP_EQ, DTYPE_BOOL, lanes, lanes),
            yes = constant_value(l, DTYPE_BOOL, (scalar){.integer = 1});
    largest = apply_two(l, OP_OR, DTYPE_BOOL, largest, apply_two(l, OP_XOR, DTYPE_BOOL, is_number, yes));
  }
  dtype t = x[0].expr->type;
  scalar past = {.integer = t == DTYPE_I64 ? INT64_MAX : INT32_MAX};
  x[0] = reduce(l, OP_MIN, choose(l, largest, x[0], constant_value(l, t, past)));
}

/* -- registers -------------------------------------------------------------------------------------------- */

static uint32_t register_of(lowering *l, uint32_t number, uint32_t component, uint32_t slot) {
  operand v;
  stage_state *state = &l->stages[number];
  if (find_known(l, &state->accumulator[component][slot], l->kernel->stages[number].free, &v)) return v.expr->number;
  fail_lowering(l, "an element is accumulated at a place that has no accumulator");
  return 0;
}

void prepare_registers(lowering *l, uint32_t number) {
  const stage *s = &l->kernel->stages[number];
  stage_state *state = &l->stages[number];
  bool free_lanes = l->vector_axis >= 0 && (s->free >> l->vector_axis & 1);
  uint32_t lanes = free_lanes ? l->lanes : state->lanes;
  for (uint32_t c = 0; c < accumulator_components(s); c++) {
    dtype t = accumulator_type(l->kernel, s, c);
    for (uint32_t slot = 0; slot < state->slots; slot++) {
      uint32_t r = new_register(l, t, lanes, (interval){INT64_MIN, INT64_MAX}, l->depth - 1);
      set(l, r, constant_value(l, t, identity(s, c, t)));
      add_known(l, &state->accumulator[c][slot], s->free, variable_value(l, r));
    }
  }
  fetch_for_readers(l, number);
}

/* The elements that the innermost loops are at, as values to be combined. */
static void element(lowering *l, uint32_t number, operand x[COMPONENTS]) {
  const stage *s = &l->kernel->stages[number];
  dtype t = accumulator_type(l->kernel, s, 0);
  if (s->monoid != MONOID_ARGMAX) {
    x[0] = cast_value(l, lower_expr(l, s->body), t);
    return;
  }
  uint32_t axis = (uint32_t)__builtin_ctzll(s->reduced);
  if (s->reduced & (s->reduced - 1)) fail_lowering(l, "an argmax over several axes");
  x[0] = cast_value(l, value_of_index(l, &l->axis[axis].at), t);
  x[1] = share(l, lower_expr(l, s->body));
}

static bool fuses(const lowering *l, const stage *s) {
  const expr *body = look_through(l, s->body);
  return s->monoid == MONOID_SUM && dtype_is_real(s->type) && body->kind == EXPR_APPLY && body->op == OP_MUL &&
         body->type == accumulator_type(l->kernel, s, 0);
}

/* The bf16 that a factor widens; NULL for other factors. */
static const expr *narrow_factor(const lowering *l, const expr *e) {
  e = look_through(l, e);
  if (e->kind != EXPR_APPLY || e->op != OP_CAST || e->type != DTYPE_F32) return NULL;
  e = look_through(l, e->args[0]);
  return e->kind == EXPR_READ && e->type == DTYPE_BF16 ? e : NULL;
}

bool narrow_factors(const lowering *l, const stage *s, const expr *reads[2]) {
  if (!fuses(l, s) || accumulator_type(l->kernel, s, 0) != DTYPE_F32) return false;
  const expr *product = look_through(l, s->body);
  for (int i = 0; i < 2; i++)
    if (!(reads[i] = narrow_factor(l, product->args[i]))) return false;
  return true;
}

static bool take_in_pair(lowering *l, const stage *s, operand *x) {
  operand pairs[2];
  const expr *reads[2];
  if (l->axis[l->pair_axis].left != 2 || !narrow_factors(l, s, reads)) return false;
  for (int i = 0; i < 2; i++)
    if (!read_pairs(l, reads[i], (uint32_t)l->pair_axis, &pairs[i])) return false;
  *x = dot_pairs(l, pairs[0], pairs[1], *x);
  return true;
}

/* Takes the current elements into x; lanes beyond the end of a reduced axis leave it as it was. */
static void take_in_point(lowering *l, uint32_t number, operand x[COMPONENTS]) {
  const stage *s = &l->kernel->stages[number];
  operand before[COMPONENTS] = {x[0], x[1]}, y[COMPONENTS] = {{0}};
  if (fuses(l, s)) {
    const expr *product = look_through(l, s->body);
    operand left = lower_expr(l, product->args[0]), right = lower_expr(l, product->args[1]);
    x[0] = fuse_multiply_add(l, left, right, x[0]);
  } else {
    element(l, number, y);
    combine(l, s, x, y);
  }
  if (l->vector_axis < 0 || !(s->reduced >> l->vector_axis & 1) || l->active == l->lanes) return;
  affine lane = {.lane = 1};
  operand ramp = value_of_index(l, &lane), end = constant_value(l, DTYPE_I64, (scalar){.integer = l->active});
  operand inside = share(l, apply_two(l, OP_LT, DTYPE_BOOL, ramp, end));
  for (uint32_t c = 0; c < accumulator_components(s); c++) x[c] = choose(l, inside, x[c], before[c]);
}

static void take_in(lowering *l, uint32_t number, operand x[COMPONENTS]) {
  const stage *s = &l->kernel->stages[number];
  int32_t axis = l->pair_axis;
  if (axis < 0 || !(s->reduced >> axis & 1)) {
    take_in_point(l, number, x);
    return;
  }
  if (take_in_pair(l, s, x)) return;
  coordinate unbound = l->axis[axis];
  for (int i = 0; i < 2; i++) {
    affine point = affine_constant(i);
    l->axis[axis] = unbound;
    bind_axis(l, (uint32_t)axis, &point, 1);
    guard g = find_guard(l, s, false);
    if (!g.nothing) take_in_point(l, number, x);
  }
  l->axis[axis] = unbound;
}

void accumulate(lowering *l, uint32_t number) {
  const stage *s = &l->kernel->stages[number];
  stage_state *state = &l->stages[number];
  uint32_t n = accumulator_components(s), registers[COMPONENTS];
  operand x[COMPONENTS] = {{0}};
  for (uint32_t c = 0; c < n; c++) {
    if (state->in_registers) {
      registers[c] = register_of(l, number, c, slot_at(l, state));
      x[c] = at_depth(l, loops_variable(l->loops, registers[c]));
    } else {
      x[c] = share(l, load_home(l, number, c));
    }
  }
  if (l->error) return;
  take_in(l, number, x);
  for (uint32_t c = 0; c < n; c++) {
    if (state->in_registers) set(l, registers[c], x[c]);
    else store_home(l, number, c, x[c]);
  }
}

/* The value of a complete reduction, for the stages that read it and for memory. */
static void publish(lowering *l, uint32_t number, operand v) {
  const stage *s = &l->kernel->stages[number];
  stage_state *state = &l->stages[number];
  v = cast_value(l, v, s->type);
  if (state->uses) {
    v = share(l, v);
    add_known(l, &state->value, s->free, v);
  }
  if (s->output >= 0) store_output(l, number, v);
}

void finish_registers(lowering *l, uint32_t number) {
  const stage *s = &l->kernel->stages[number];
  stage_state *state = &l->stages[number];
  uint32_t n = accumulator_components(s);
  operand x[MAX_SLOTS][COMPONENTS] = {{{0}}};
  for (uint32_t slot = 0; slot < state->slots; slot++)
    for (uint32_t c = 0; c < n; c++)
      x[slot][c] = at_depth(l, loops_variable(l->loops, register_of(l, number, c, slot)));
  for (uint32_t apart = 1; apart < state->slots; apart *= 2)
    for (uint32_t slot = 0; slot + apart < state->slots; slot += 2 * apart) combine(l, s, x[slot], x[slot + apart]);
  if (state->lanes > 1) combine_lanes(l, s, x[0]);
  complete_sum(l, number, x[0]);
}

void complete_sum(lowering *l, uint32_t number, operand x[COMPONENTS]) {
  const stage *s = &l->kernel->stages[number];
  stage_state *state = &l->stages[number];
  uint32_t n = accumulator_components(s);
  if (state->in_memory) {
    operand kept[COMPONENTS] = {{0}};
    for (uint32_t c = 0; c < n; c++) kept[c] = share(l, load_home(l, number, c));
    for (uint32_t c = 0; c < n; c++) x[c] = share(l, x[c]);
    combine(l, s, kept, x);
    for (uint32_t c = 0; c < n; c++) store_home(l, number, c, kept[c]);
    return;
  }
  operand complete = share(l, x[0]);
  publish(l, number, complete);
  if ((state->needs_home || state->is_kept) && !state->home[0].is_output) store_home(l, number, 0, complete);
}

/* -- memory ----------------------------------------------------------------------------------------------- */

void clear_memory(lowering *l, uint32_t number) {
  const stage *s = &l->kernel->stages[number];
  for (uint32_t c = 0; c < accumulator_components(s); c++) {
    dtype t = accumulator_type(l->kernel, s, c);
    store_home(l, number, c, constant_value(l, t, identity(s, c, t)));
  }
}

void finish_memory(lowering *l, uint32_t number) {
  const stage *s = &l->kernel->stages[number];
  if (s->output >= 0 && !l->stages[number].home[0].is_output)
    store_output(l, number, cast_value(l, load_home(l, number, 0), s->type));
}
