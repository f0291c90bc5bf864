/* Parallel loops lead a schedule; their iterations together are numbered, and handed out by number. */
#include "passes/lower.h"

static int64_t iterations_of(const lowering *l, uint32_t loop) {
  return (reach_of_loop(l, loop) + l->schedule[loop].step - 1) / l->schedule[loop].step;
}

/* Digits of the iteration's number, one a parallel loop, the innermost changing fastest. */
static void decode_iteration(lowering *l, uint32_t n_parallel, uint32_t *digits) {
  operand number = variable_value(l, 0);
  interval whole = {0, l->loops->iterations - 1};
  l->registers[0].range = whole;
  for (uint32_t i = n_parallel; i-- > 0;) {
    int64_t n = iterations_of(l, i);
    affine of = affine_register(number.expr->number, 1), quotient, rest;
    affine_divide(l, &of, n, AFFINE_EMIT, &quotient, &rest);
    if (n == 1) rest = affine_constant(0);
    operand digit = share(l, emit_affine(l, &rest));
    if (digit.expr->kind == LOOPS_CONSTANT) {
      digits[i] = new_register(l, DTYPE_I64, 1, (interval){0, 0}, 0);
      emit(l, (statement){.kind = STATEMENT_SET, .number = digits[i], .value = digit.expr});
    } else {
      digits[i] = digit.expr->number;
    }
    if (i == 0) break;
    operand q = share(l, emit_affine(l, &quotient));
    if (q.expr->kind == LOOPS_CONSTANT) {
      number = variable_value(l, new_register(l, DTYPE_I64, 1, (interval){0, 0}, 0));
      emit(l, (statement){.kind = STATEMENT_SET, .number = number.expr->number, .value = q.expr});
    } else {
      number = q;
    }
  }
}

static void lower_parallel(lowering *l, task_list tasks, uint32_t at, uint32_t n_parallel, const uint32_t *digits);

/* One part of a parallel loop's iterations: those from `from` up to `to`. */
static void lower_part(lowering *l, task_list tasks, uint32_t at, uint32_t n_parallel, const uint32_t *digits,
                       int64_t from, int64_t to, int64_t left) {
  uint32_t axis = l->schedule[at].axis, digit = digits[at];
  coordinate saved = l->axis[axis];
  interval range = l->registers[digit].range;
  uint32_t level = l->registers[digit].level;
  block body = {0};
  if (from >= to || to <= range.low || from > range.high) return;
  bool is_part = from > range.low || to <= range.high;
  operand test = {0};
  if (is_part) {
    operand low = constant_value(l, DTYPE_I64, (scalar){.integer = from}),
            high = constant_value(l, DTYPE_I64, (scalar){.integer = to});
    operand above = apply_op(l, OP_LE, DTYPE_BOOL, (operand[]){low, variable_value(l, digit)}, 2);
    operand below = apply_op(l, OP_LT, DTYPE_BOOL, (operand[]){variable_value(l, digit), high}, 2);
    test = apply_op(l, OP_AND, DTYPE_BOOL, (operand[]){above, below}, 2);
    open_frame(l, &body, true);
    l->registers[digit].range = (interval){from, to - 1};
    l->registers[digit].level = l->depth - 1;
  }
  affine step =
      to - from == 1 ? affine_constant(from * l->schedule[at].step) : affine_register(digit, l->schedule[at].step);
  bind_axis(l, axis, &step, left);
  lower_parallel(l, tasks, at + 1, n_parallel, digits);
  l->axis[axis] = saved;
  if (!is_part) return;
  close_frame(l);
  l->registers[digit].range = range;
  l->registers[digit].level = level;
  if (body.n) emit(l, (statement){.kind = STATEMENT_IF, .value = test.expr, .body = body});
}

static void lower_parallel(lowering *l, task_list tasks, uint32_t at, uint32_t n_parallel, const uint32_t *digits) {
  if (at == n_parallel) {
    lower_tasks(l, tasks, at);
    return;
  }
  const schedule_loop *loop = &l->schedule[at];
  int64_t trips = l->axis[loop->axis].left / loop->step, rest = l->axis[loop->axis].left % loop->step;
  int64_t first = loop->peel && trips > 1, last = loop->peel && trips > 1 && !rest;
  lower_part(l, tasks, at, n_parallel, digits, 0, first, loop->step);
  lower_part(l, tasks, at, n_parallel, digits, first, trips - last, loop->step);
  lower_part(l, tasks, at, n_parallel, digits, trips - last, trips, loop->step);
  if (rest) lower_part(l, tasks, at, n_parallel, digits, trips, trips + 1, rest);
}

void lower_iterations(lowering *l, task_list tasks) {
  uint32_t n_parallel = 0, *digits = ARENA_ARRAY(l->arena, uint32_t, l->n_loops);
  while (n_parallel < l->n_loops && l->schedule[n_parallel].kind == LOOP_PARALLEL) n_parallel++;
  for (uint32_t i = 0; i < n_parallel; i++) l->loops->iterations *= iterations_of(l, i);
  decode_iteration(l, n_parallel, digits);
  if (n_parallel) look_ahead(l, digits[n_parallel - 1]);
  lower_parallel(l, tasks, 0, n_parallel, digits);
}
