#include "codegen/cuda/writer.h"
#include "ir/expr.h"

static const interval whole = {INT64_MIN, INT64_MAX};

static interval moved(interval r, int64_t reach) {
  interval out;
  if (__builtin_add_overflow(r.low, reach < 0 ? reach : 0, &out.low)) return whole;
  if (__builtin_add_overflow(r.high, reach > 0 ? reach : 0, &out.high)) return whole;
  return out;
}

static const loops_expr *definition_of(const void *context, uint32_t number) { return ((const writer *)context)->definitions[number]; }

static interval apply_range(const writer *w, const loops_expr *e, const dtype *types, const interval *ranges) {
  int64_t by;
  interval r = op_range(e->op, e->type, types, ranges, e->n_args);
  if (!loops_is_remainder(e, definition_of, w, &by)) return r;
  return (interval){r.low > 0 ? r.low : 0, r.high < by - 1 ? r.high : by - 1};
}

interval range_of_value(const writer *w, const loops_expr *e) {
  enum { MOST_ARGS = 6 };
  interval ranges[MOST_ARGS];
  dtype types[MOST_ARGS];
  if (dtype_is_real(e->type)) return whole;
  switch (e->kind) {
    case LOOPS_CONSTANT: return (interval){e->constant.integer, e->constant.integer};
    case LOOPS_VARIABLE: return w->ranges[e->number];
    case LOOPS_SPLAT: return range_of_value(w, e->args[0]);
    case LOOPS_RAMP: return moved(range_of_value(w, e->args[0]), ((int64_t)e->lanes - 1) * e->stride);
    case LOOPS_APPLY:
      for (uint32_t i = 0; i < e->n_args; i++) {
        types[i] = e->args[i]->type;
        ranges[i] = range_of_value(w, e->args[i]);
      }
      return apply_range(w, e, types, ranges);
    case LOOPS_REDUCE: return e->op == OP_ADD ? dtype_range(e->type) : range_of_value(w, e->args[0]);
    default: return dtype_range(e->type);
  }
}

static bool fits(interval r) { return r.low >= INT32_MIN && r.high <= INT32_MAX; }

bool is_narrow_register(const writer *w, uint32_t number) { return w->loops->registers[number].type == DTYPE_I64 && fits(w->ranges[number]); }
bool is_narrow(const writer *w, const loops_expr *e) { return e->type == DTYPE_I64 && fits(range_of_value(w, e)); }

static void count_settings(const block *b, uint32_t *settings) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    if (s->kind == STATEMENT_SET || s->kind == STATEMENT_FOR) settings[s->number]++;
    if (s->kind == STATEMENT_FOR || s->kind == STATEMENT_IF) count_settings(&s->body, settings);
  }
}

/* Lowest bits of an integer that are 0 whatever else it is. */
static uint32_t zeros_of(const writer *w, const loops_expr *e) {
  enum { ALL = 63 };
  uint32_t x, y;
  switch (e->kind) {
    case LOOPS_CONSTANT: return e->constant.integer ? (uint32_t)__builtin_ctzll((unsigned long long)e->constant.integer) : ALL;
    case LOOPS_VARIABLE: return w->zeros[e->number];
    case LOOPS_SPLAT: return zeros_of(w, e->args[0]);
    case LOOPS_APPLY:
      if (e->n_args != 2 || e->type != DTYPE_I64 || e->args[0]->type != DTYPE_I64) return 0;
      x = zeros_of(w, e->args[0]), y = zeros_of(w, e->args[1]);
      if (e->op == OP_MUL) return x + y < ALL ? x + y : ALL;
      return e->op == OP_ADD || e->op == OP_SUB || e->op == OP_MAX || e->op == OP_MIN ? x < y ? x : y : 0;
    default: return 0;
  }
}

/* In the order of the text, in which registers are set before they are read. One that is set in several places has the range of
 * its type, but for indices, whose loops bound them. */
static void range_block(writer *w, const block *b, const uint32_t *settings) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    if (s->kind == STATEMENT_SET && settings[s->number] == 1) {
      w->definitions[s->number] = s->value;
      w->ranges[s->number] = range_of_value(w, s->value);
      if (s->value->type == DTYPE_I64) w->zeros[s->number] = zeros_of(w, s->value);
    }
    if (s->kind == STATEMENT_FOR && settings[s->number] == 1) {
      const interval begin = range_of_value(w, s->begin), end = range_of_value(w, s->end);
      /* The step behind the last round must not leave the type either. */
      w->ranges[s->number] = (interval){begin.low, end.high > INT64_MAX - s->step ? INT64_MAX : end.high - 1 + s->step};
    }
    if (s->kind == STATEMENT_FOR || s->kind == STATEMENT_IF) range_block(w, &s->body, settings);
  }
}

void find_ranges(writer *w) {
  const loops *l = w->loops;
  w->settings = ARENA_ARRAY(w->arena, uint32_t, l->n_registers + 1);
  w->zeros = ARENA_ARRAY(w->arena, uint32_t, l->n_registers + 1);
  w->ranges = ARENA_ARRAY(w->arena, interval, l->n_registers + 1);
  w->definitions = ARENA_ARRAY(w->arena, const loops_expr *, l->n_registers + 1);
  for (uint32_t i = 0; i < l->n_registers; i++) w->ranges[i] = dtype_is_real(l->registers[i].type) ? whole : dtype_range(l->registers[i].type);
  w->ranges[0] = (interval){0, l->iterations + MOST_TOGETHER};
  if (l->team) w->ranges[l->team_register] = (interval){0, l->team - 1};
  count_settings(&l->body, w->settings);
  range_block(w, &l->body, w->settings);
}
