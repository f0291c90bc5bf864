/* Structure, types, and every access inside its buffer by interval analysis over the ranges of loops. */
#include "ir/loops.h"

typedef struct {
  int64_t low, high;
} range;

static const range whole = {INT64_MIN / 4, INT64_MAX / 4};

typedef struct {
  const loops *loops;
  arena *arena;
  bool *set;      /* registers that have a value here */
  range *ranges;  /* of i64 registers of one lane */
  const char *error;
} checker;

static void fail(checker *c, const char *message) {
  if (!c->error) c->error = arena_printf(c->arena, "%s: %s", c->loops->name, message);
}

static range limited(__int128 low, __int128 high) {
  range r = whole;
  if (low > r.low && low <= r.high) r.low = (int64_t)low;
  if (high < r.high && high >= r.low) r.high = (int64_t)high;
  return r;
}

static range check(checker *c, const loops_expr *e);

static range apply_range(op_id op, const range *a, const loops_expr *e) {
  __int128 p[4];
  switch (op) {
    case OP_ADD: return limited((__int128)a[0].low + a[1].low, (__int128)a[0].high + a[1].high);
    case OP_SUB: return limited((__int128)a[0].low - a[1].high, (__int128)a[0].high - a[1].low);
    case OP_MUL: {
      for (int i = 0; i < 4; i++) p[i] = (__int128)(i & 1 ? a[0].high : a[0].low) * (i & 2 ? a[1].high : a[1].low);
      __int128 low = p[0], high = p[0];
      for (int i = 1; i < 4; i++) {
        if (p[i] < low) low = p[i];
        if (p[i] > high) high = p[i];
      }
      return limited(low, high);
    }
    case OP_FLOOR_DIV:
      if (a[1].low != a[1].high || a[1].low < 1) return whole;
      return limited(op_evaluate(op, DTYPE_I64, DTYPE_I64, (scalar[]){{.integer = a[0].low}, {.integer = a[1].low}}).integer,
                     op_evaluate(op, DTYPE_I64, DTYPE_I64, (scalar[]){{.integer = a[0].high}, {.integer = a[1].low}}).integer);
    case OP_MOD: return a[1].low >= 1 ? limited(0, a[1].high - 1) : whole;
    case OP_MIN: return (range){a[0].low < a[1].low ? a[0].low : a[1].low, a[0].high < a[1].high ? a[0].high : a[1].high};
    case OP_MAX: return (range){a[0].low > a[1].low ? a[0].low : a[1].low, a[0].high > a[1].high ? a[0].high : a[1].high};
    case OP_SELECT: return (range){a[1].low < a[2].low ? a[1].low : a[2].low, a[1].high > a[2].high ? a[1].high : a[2].high};
    case OP_CAST: return dtype_is_real(e->args[0]->type) ? whole : a[0];
    default: return whole;
  }
}

static void check_access(checker *c, const loops_expr *e, uint32_t buffer, range at, uint32_t active, int64_t stride) {
  if (buffer >= c->loops->n_buffers) {
    fail(c, "an access to no buffer");
    return;
  }
  int64_t reach = ((int64_t)active - 1) * stride, low = at.low + (reach < 0 ? reach : 0), high = at.high + (reach > 0 ? reach : 0);
  if (low < 0 || high >= c->loops->buffers[buffer].elements)
    fail(c, arena_printf(c->arena, "%s of %s at %lld..%lld, it has %lld elements", e ? "a load" : "a store", c->loops->buffers[buffer].name,
                         (long long)low, (long long)high, (long long)c->loops->buffers[buffer].elements));
}

static range check(checker *c, const loops_expr *e) {
  range args[6] = {whole, whole, whole, whole, whole, whole};
  if (e->lanes < 1 || e->lanes > 64 || e->n_args > 6 || e->active > e->lanes) {
    fail(c, "a value of no possible width");
    return whole;
  }
  for (uint32_t i = 0; i < e->n_args; i++) args[i] = check(c, e->args[i]);
  switch (e->kind) {
    case LOOPS_CONSTANT: return dtype_is_real(e->type) ? whole : (range){e->constant.integer, e->constant.integer};
    case LOOPS_VARIABLE:
      if (e->number >= c->loops->n_registers || !c->set[e->number]) fail(c, arena_printf(c->arena, "r%u is read before it is set", e->number));
      else if (c->loops->registers[e->number].type != e->type || c->loops->registers[e->number].lanes != e->lanes) fail(c, "a register is read as another type");
      else return c->ranges[e->number];
      return whole;
    case LOOPS_LOAD: check_access(c, e, e->number, args[0], e->active ? e->active : e->lanes, e->lanes == 1 ? 0 : e->stride); return whole;
    case LOOPS_GATHER: check_access(c, e, e->number, args[0], 1, 0); return whole;
    case LOOPS_SPLAT: return args[0];
    case LOOPS_RAMP: {
      int64_t reach = ((int64_t)e->lanes - 1) * e->stride;
      return limited((__int128)args[0].low + (reach < 0 ? reach : 0), (__int128)args[0].high + (reach > 0 ? reach : 0));
    }
    case LOOPS_FMA:
      for (int i = 0; i < 3; i++)
        if (e->args[i]->type != e->type || e->args[i]->lanes != e->lanes) fail(c, "fma of unequal types");
      return whole;
    case LOOPS_REDUCE: return whole;
    case LOOPS_CALL:
    case LOOPS_APPLY: {
      dtype types[6], result;
      if ((int)e->n_args != op_table[e->op].arity) {
        fail(c, "an operation with too few operands");
        return whole;
      }
      for (uint32_t i = 0; i < e->n_args; i++) {
        types[i] = e->args[i]->type;
        if (e->args[i]->lanes != e->lanes) fail(c, arena_printf(c->arena, "%s of unequal lanes", op_table[e->op].name));
      }
      if (!op_result_dtype(e->op, types, e->type, &result) || result != e->type) fail(c, arena_printf(c->arena, "%s of wrong types", op_table[e->op].name));
      return dtype_is_real(e->type) ? whole : apply_range(e->op, args, e);
    }
  }
  return whole;
}

static void check_block(checker *c, const block *b) {
  for (uint32_t i = 0; i < b->n && !c->error; i++) {
    const statement *s = b->items[i];
    switch (s->kind) {
      case STATEMENT_FOR: {
        range begin = check(c, s->begin), end = check(c, s->end);
        if (s->step < 1 || s->number >= c->loops->n_registers) fail(c, "a loop that does not advance");
        if (c->error || end.high <= begin.low) break; /* never runs */
        c->set[s->number] = true;
        c->ranges[s->number] = (range){begin.low, begin.low + (end.high - 1 - begin.low) / s->step * s->step};
        if (begin.low != begin.high) c->ranges[s->number].high = end.high - 1;
        check_block(c, &s->body);
        break;
      }
      case STATEMENT_IF:
        check(c, s->value);
        check_block(c, &s->body);
        break;
      case STATEMENT_SET: {
        range r = check(c, s->value);
        if (s->number >= c->loops->n_registers || c->loops->registers[s->number].type != s->value->type ||
            c->loops->registers[s->number].lanes != s->value->lanes) {
          fail(c, "a register is set to another type");
          break;
        }
        c->ranges[s->number] = c->set[s->number] ? whole : r; /* set again: what it was may flow around a loop */
        c->set[s->number] = true;
        break;
      }
      case STATEMENT_STORE: {
        range at = check(c, s->offset);
        check(c, s->value);
        if (s->active < 1 || s->active > s->value->lanes) fail(c, "a store of no lanes");
        check_access(c, NULL, s->number, at, s->active, s->stride);
        if (!c->error && s->value->type != c->loops->buffers[s->number].type) fail(c, "a store of another type");
        if (!c->error && !c->loops->buffers[s->number].written) fail(c, "a store to what is only read");
        break;
      }
    }
  }
}

const char *loops_verify(const loops *l, arena *scratch) {
  checker c = {l, scratch, ARENA_ARRAY(scratch, bool, l->n_registers), ARENA_ARRAY(scratch, range, l->n_registers), NULL};
  c.set[0] = true;
  c.ranges[0] = (range){0, l->iterations - 1};
  check_block(&c, &l->body);
  return c.error;
}
