/* Values as text. What is used twice in a statement, or grows long, gets a line and a name. */
#include <math.h>

#include "codegen/cuda/writer.h"

enum { LONG_TEXT = 100, MOST_ARGS = 6 };

/* -- what a statement uses twice ------------------------------------------------------------------------------ */

struct expr_uses {
  struct use {
    const loops_expr *expr; /* NULL: free */
    uint32_t count;
    const char *text;
  } * slots;
  uint32_t n, capacity; /* a power of two */
};

static struct use *use_of(const expr_uses *u, const loops_expr *e) {
  uint32_t i = (uint32_t)((uint64_t)(uintptr_t)e * 0x9E3779B97F4A7C15u >> 32) & (u->capacity - 1);
  while (u->slots[i].expr && u->slots[i].expr != e) i = (i + 1) & (u->capacity - 1);
  return &u->slots[i];
}

static void count_uses(writer *w, const loops_expr *e) {
  expr_uses *u = w->uses;
  if (2 * u->n >= u->capacity) {
    expr_uses larger = {ARENA_ARRAY(w->arena, struct use, 2 * u->capacity), u->n, 2 * u->capacity};
    for (uint32_t i = 0; i < u->capacity; i++)
      if (u->slots[i].expr) *use_of(&larger, u->slots[i].expr) = u->slots[i];
    *u = larger;
  }
  struct use *use = use_of(u, e);
  if (use->count++) return;
  use->expr = e;
  u->n++;
  for (uint32_t i = 0; i < e->n_args; i++) count_uses(w, e->args[i]);
}

void begin_values(writer *w, const loops_expr *const *roots, uint32_t n) {
  enum { FIRST = 64 };
  if (!w->uses) {
    w->uses = ARENA_NEW(w->arena, expr_uses);
    *w->uses = (expr_uses){ARENA_ARRAY(w->arena, struct use, FIRST), 0, FIRST};
  }
  memset(w->uses->slots, 0, w->uses->capacity * sizeof *w->uses->slots);
  w->uses->n = 0;
  for (uint32_t i = 0; i < n; i++)
    if (roots[i]) count_uses(w, roots[i]);
}

bool reads_exchanged(const writer *w, const loops_expr *e) {
  if ((e->kind == LOOPS_LOAD || e->kind == LOOPS_GATHER || e->kind == LOOPS_PAIRS) && w->exchanged[e->number]) return true;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (reads_exchanged(w, e->args[i])) return true;
  return false;
}

/* -- types ------------------------------------------------------------------------------------------------------ */

static const char *const register_types[DTYPE_COUNT] = {"bool", "u8", "i32", "u32", "i64", "f32", "f32", "f64"};
static const char *const memory_types[DTYPE_COUNT] = {"u8", "u8", "i32", "u32", "i64", "u16", "f32", "f64"};

const char *register_type(dtype t, bool narrow) { return narrow ? "i32" : register_types[t]; }
const char *memory_type(dtype t) { return memory_types[t]; }

static const char *type_of(const writer *w, const loops_expr *e) { return register_type(e->type, is_narrow(w, e)); }

/* -- constants -------------------------------------------------------------------------------------------------- */

static const char *real_text(writer *w, dtype t, double v) {
  const bool is_double = t == DTYPE_F64;
  const char *suffix = is_double ? "" : "f";
  if (isnan(v)) return is_double ? "f64_bits_i64(0x7ff8000000000000LL)" : "f32_bits_u32(0x7fc00000u)";
  if (isinf(v)) {
    const char *text = is_double ? "f64_bits_i64(0x7ff0000000000000LL)" : "f32_bits_u32(0x7f800000u)";
    return v < 0 ? arena_printf(w->arena, "(-%s)", text) : text;
  }
  const char *digits = arena_printf(w->arena, is_double ? "%.17g" : "%.9g", is_double ? v : (double)(float)v);
  return arena_printf(w->arena, signbit(v) ? "(%s%s%s)" : "%s%s%s", digits, strpbrk(digits, ".e") ? "" : ".0", suffix);
}

static const char *integer_text(writer *w, dtype t, bool narrow, int64_t v) {
  if (t == DTYPE_BOOL) return v ? "true" : "false";
  if (t == DTYPE_U32) return arena_printf(w->arena, "%lluu", (unsigned long long)v);
  if (t == DTYPE_I64 && !narrow) return v == INT64_MIN ? "LOW_I64" : arena_printf(w->arena, v < 0 ? "(%lldLL)" : "%lldLL", (long long)v);
  if (v == INT32_MIN) return "(-2147483647 - 1)";
  return arena_printf(w->arena, v < 0 ? "(%lld)" : "%lld", (long long)v);
}

/* -- operations ------------------------------------------------------------------------------------------------- */

/* One elementwise op: its operands as text, and of which type they and the result are; i64 may be narrow. */
typedef struct {
  op_id op;
  dtype operand, result;
  bool narrow; /* operands and result of i64 fit 32 bits, and so does what it computes */
  bool positive_divided; /* the first operand is never negative, the second a positive constant */
  uint32_t n;
  const char *args[MOST_ARGS];
} operation;

/* Ops of bf16 whose results are such values again: they only choose or convert. */
static bool rounds(const operation *o) {
  return o->result == DTYPE_BF16 && o->op != OP_CAST && o->op != OP_SELECT && o->op != OP_BITCAST && o->op != OP_STOP_GRAD && op_table[o->op].rule != RULE_COMPARE;
}

static const char *infix(writer *w, const operation *o, const char *sign) { return arena_printf(w->arena, "(%s %s %s)", o->args[0], sign, o->args[1]); }

static const char *call(writer *w, const operation *o) {
  const char *type = o->operand == DTYPE_I64 && o->narrow ? "i32" : register_types[o->operand];
  const char *text = arena_printf(w->arena, "%s_%s(%s", op_table[o->op].name, type, o->args[0]);
  for (uint32_t i = 1; i < o->n; i++) text = arena_printf(w->arena, "%s, %s", text, o->args[i]);
  return arena_printf(w->arena, "%s)", text);
}

static const char *cast_text(writer *w, const operation *o) {
  const dtype from = o->operand, to = o->result;
  const char *x = o->args[0];
  if (from == to && from != DTYPE_I64) return x;
  if (to == DTYPE_BOOL) return arena_printf(w->arena, "(%s != 0)", x);
  if (to == DTYPE_BF16 && (from == DTYPE_F32 || from == DTYPE_BF16)) return arena_printf(w->arena, "bf16_of_f32(%s)", x);
  if (to == DTYPE_BF16) return arena_printf(w->arena, "bf16_of_f64((f64)%s)", x);
  if (dtype_is_real(from) && dtype_is_real(to)) return from != DTYPE_F64 && to == DTYPE_F32 ? x : arena_printf(w->arena, "(%s)%s", register_types[to], x);
  if (dtype_is_real(to)) return arena_printf(w->arena, from == DTYPE_I64 && !o->narrow && to == DTYPE_F32 ? "(f32)(f64)%s" : "(%2$s)%1$s", x, register_types[to]);
  if (dtype_is_real(from)) return arena_printf(w->arena, "%s_of_%s(%s)", register_types[to], register_types[from], x);
  return arena_printf(w->arena, "(%s)%s", to == DTYPE_I64 && o->narrow ? "i32" : register_types[to], x);
}

static const char *bitcast_text(writer *w, const operation *o) {
  const char *x = o->args[0], *from = register_types[o->operand], *to = register_types[o->result];
  if (o->operand == o->result) return x;
  if (o->operand == DTYPE_F32) return arena_printf(w->arena, "(%s)u32_bits_f32(%s)", to, x);
  if (o->result == DTYPE_F32) return arena_printf(w->arena, "f32_bits_u32((u32)%s)", x);
  if (dtype_is_real(o->operand) || dtype_is_real(o->result)) return arena_printf(w->arena, "%s_bits_%s(%s)", to, from, x);
  return arena_printf(w->arena, "(%s)%s", to, x);
}

/* Integers of 32 unsigned bits, and narrow indices, which do not overflow, have C's own operators. */
static const char *operation_text(writer *w, const operation *o) {
  const bool real = dtype_is_real(o->operand), plain = real || o->operand == DTYPE_U32 || (o->operand == DTYPE_I64 && o->narrow);
  switch (o->op) {
    case OP_ADD: return plain ? infix(w, o, "+") : call(w, o);
    case OP_SUB: return plain ? infix(w, o, "-") : call(w, o);
    case OP_MUL: return plain ? infix(w, o, "*") : call(w, o);
    case OP_DIV: return infix(w, o, "/");
    case OP_NEG: return plain && o->operand != DTYPE_U32 ? arena_printf(w->arena, "(-%s)", o->args[0]) : call(w, o);
    case OP_ABS: return real ? arena_printf(w->arena, o->operand == DTYPE_F64 ? "fabs(%s)" : "fabsf(%s)", o->args[0]) : call(w, o);
    case OP_FLOOR: return arena_printf(w->arena, o->operand == DTYPE_F64 ? "floor(%s)" : "floorf(%s)", o->args[0]);
    case OP_SQRT: return arena_printf(w->arena, o->operand == DTYPE_F64 ? "sqrt(%s)" : "sqrtf(%s)", o->args[0]);
    case OP_LT: return infix(w, o, "<");
    case OP_LE: return infix(w, o, "<=");
    case OP_EQ: return infix(w, o, "==");
    case OP_AND: return infix(w, o, "&");
    case OP_OR: return infix(w, o, "|");
    case OP_XOR: return infix(w, o, "^");
    case OP_FLOOR_DIV: return o->positive_divided ? infix(w, o, "/") : call(w, o);
    case OP_MOD: return o->positive_divided ? infix(w, o, "%") : call(w, o);
    case OP_MAX:
    case OP_MIN:
    case OP_SHL:
    case OP_SHR:
    case OP_TF32: return call(w, o);
    case OP_SELECT: return arena_printf(w->arena, "(%s ? %s : %s)", o->args[0], o->args[1], o->args[2]);
    case OP_CAST: return cast_text(w, o);
    case OP_BITCAST: return bitcast_text(w, o);
    case OP_STOP_GRAD: return o->args[0];
    default: break;
  }
  write_error(w, arena_printf(w->arena, "`%s` is not a native operation", op_table[o->op].name));
  return "0";
}

static const char *rounded_text(writer *w, const operation *o) {
  const char *text = operation_text(w, o);
  return rounds(o) ? arena_printf(w->arena, "bf16_of_f32(%s)", text) : text;
}

/* An i64 operand at the width of the operation. */
static const char *widened(writer *w, const loops_expr *e, bool narrow) {
  const bool is = is_narrow(w, e);
  if (e->kind == LOOPS_CONSTANT && e->type == DTYPE_I64) return integer_text(w, DTYPE_I64, narrow && is, e->constant.integer);
  const char *text = value_text(w, e);
  return e->type == DTYPE_I64 && is && !narrow ? arena_printf(w->arena, "(i64)%s", text) : text;
}

static const char *apply_text(writer *w, const loops_expr *e) {
  operation o = {.op = e->op, .operand = e->args[e->op == OP_SELECT ? 1 : 0]->type, .result = e->type, .n = e->n_args};
  const bool result_fits = e->type != DTYPE_I64 || is_narrow(w, e);
  o.narrow = result_fits && e->op != OP_BITCAST;
  for (uint32_t i = 0; i < e->n_args; i++) o.narrow &= e->args[i]->type != DTYPE_I64 || is_narrow(w, e->args[i]);
  for (uint32_t i = 0; i < e->n_args; i++) o.args[i] = widened(w, e->args[i], o.narrow);
  if (e->op == OP_FLOOR_DIV || e->op == OP_MOD)
    o.positive_divided = !dtype_is_real(o.operand) && e->args[1]->kind == LOOPS_CONSTANT && e->args[1]->constant.integer > 0 && range_of_value(w, e->args[0]).low >= 0;
  const char *text = rounded_text(w, &o);
  return e->type == DTYPE_I64 && result_fits && !o.narrow ? arena_printf(w->arena, "(i32)%s", text) : text;
}

/* -- memory ------------------------------------------------------------------------------------------------------- */

/* What threads of a block share is watched, so that accesses that nothing orders are found. */
const char *element_text(writer *w, uint32_t buffer, const char *offset, uint32_t width, memory_use use) {
  const long long elements = w->loops->buffers[buffer].elements;
  if (!w->options->checked) return arena_printf(w->arena, "b%u[%s]", buffer, offset);
  if (use != USE_POINTS && w->lanes > 1 && buffer >= w->loops->n_arguments)
    return arena_printf(w->arena, "b%u[%s(b%u, %s, %u, %lld)]", buffer, use == USE_READS ? "READS" : "WRITES", buffer, offset, width, elements);
  if (width == 1) return arena_printf(w->arena, "b%u[INSIDE(%s, %lld)]", buffer, offset, elements);
  return arena_printf(w->arena, "b%u[INSIDE_WIDE(%s, %u, %lld)]", buffer, offset, width, elements);
}

const char *lane_offset(writer *w, const char *offset, uint32_t lanes, int64_t stride) {
  if (lanes == 1 || stride == 0) return offset;
  if (stride == 1) return arena_printf(w->arena, "%s + lane", offset);
  return arena_printf(w->arena, "%s + %lld * lane", offset, (long long)stride);
}

const char *active_text(writer *w, uint32_t active) {
  if (w->lanes == 1 || active == WARP) return NULL;
  return active == 1 ? "lane == 0" : arena_printf(w->arena, "lane < %u", active);
}

static const char *loaded(writer *w, dtype t, const char *element) {
  if (t == DTYPE_BOOL) return arena_printf(w->arena, "(%s != 0)", element);
  return t == DTYPE_BF16 ? arena_printf(w->arena, "bf16_load(%s)", element) : element;
}

static const char *load_text(writer *w, const loops_expr *e) {
  const dtype t = w->loops->buffers[e->number].type;
  const char *wide = wide_load_text(w, e);
  if (wide) return loaded(w, t, wide);
  const char *offset = value_text(w, e->args[0]);
  const int64_t stride = e->kind == LOOPS_GATHER ? 0 : e->stride;
  const char *text = loaded(w, t, element_text(w, e->number, lane_offset(w, offset, e->lanes, stride), 1, USE_READS));
  const char *active = e->lanes == 1 ? NULL : active_text(w, e->active ? e->active : e->lanes);
  return active ? arena_printf(w->arena, "(%s ? %s : (%s)0)", active, text, register_types[t]) : text;
}

static const char *pairs_text(writer *w, const loops_expr *e) {
  const char *offset = lane_offset(w, value_text(w, e->args[0]), e->lanes, 2);
  const char *text = arena_printf(w->arena, "bf16_pair(&%s)", element_text(w, e->number, offset, 2, USE_READS));
  const char *active = e->lanes == 1 ? NULL : active_text(w, e->active ? e->active : e->lanes);
  return active ? arena_printf(w->arena, "(%s ? %s : 0u)", active, text) : text;
}

/* -- across lanes ---------------------------------------------------------------------------------------------------- */

/* The upper half of the active lanes joins the lower one until one is left, of an odd number the middle lane joins the first:
 * the order of loops.h. Then every lane has the first one's value. */
static const char *reduce_text(writer *w, const loops_expr *e) {
  const char *type = register_types[e->type], *value = value_text(w, e->args[0]);
  uint32_t n = e->active ? e->active : e->args[0]->lanes;
  if (n == 1 && e->args[0]->lanes == 1) return value;
  const char *name = arena_printf(w->arena, "v%u", w->n_values++);
  operation o = {.op = e->op, .operand = e->type, .result = e->type, .n = 2};
  w->synchronises = true;
  write_line(w, "%s %s = %s;", type, name, value);
  for (; n > 1; n /= 2) {
    const uint32_t half = n / 2, rest = n - half;
    const char *middle = arena_printf(w->arena, "v%u", w->n_values);
    if (rest > half) write_line(w, "const %s %s = shuffle_%s(%s, %u);", type, middle, type, name, half), w->n_values++;
    o.args[0] = name;
    o.args[1] = arena_printf(w->arena, "shuffle_%s(%s, lane + %u)", type, name, rest);
    write_line(w, "%s = %s;", name, rounded_text(w, &o));
    if (rest == half) continue;
    o.args[1] = middle;
    write_line(w, "%s = lane == 0 ? %s : %s;", name, rounded_text(w, &o), name);
  }
  write_line(w, "%s = shuffle_%s(%s, 0);", name, type, name);
  return name;
}

/* Those lanes that have a value give it to those that take it. */
static const char *interleave_text(writer *w, const loops_expr *e) {
  const char *type = register_types[e->type], *text = NULL;
  w->synchronises = true;
  for (uint32_t i = e->n_args; i-- > 0;) {
    const char *value = value_text(w, e->args[i]), *name = arena_printf(w->arena, "v%u", w->n_values++);
    write_line(w, "const %s %s = shuffle_%s(%s, lane / %u);", type, name, type, value, e->n_args);
    text = text ? arena_printf(w->arena, "lane %% %u == %u ? %s : %s", e->n_args, i, name, text) : name;
  }
  return arena_printf(w->arena, "(%s)", text);
}

/* -- all of them ------------------------------------------------------------------------------------------------------ */

static const char *library_text(writer *w, const loops_expr *e) {
  const char *text = arena_printf(w->arena, "%s((f64)%s", op_table[e->op].name, value_text(w, e->args[0]));
  for (uint32_t i = 1; i < e->n_args; i++) text = arena_printf(w->arena, "%s, (f64)%s", text, value_text(w, e->args[i]));
  const operation cast = {.op = OP_CAST, .operand = DTYPE_F64, .result = e->type, .n = 1, .args = {arena_printf(w->arena, "%s)", text)}};
  return cast_text(w, &cast);
}

/* bf16 goes through double, where the product is exact and the sum is rounded far below bf16. */
static const char *fma_text(writer *w, const loops_expr *e) {
  const char *x = value_text(w, e->args[0]), *y = value_text(w, e->args[1]), *z = value_text(w, e->args[2]);
  if (e->type == DTYPE_F32) return arena_printf(w->arena, "fmaf(%s, %s, %s)", x, y, z);
  if (e->type == DTYPE_F64) return arena_printf(w->arena, "fma(%s, %s, %s)", x, y, z);
  if (e->type == DTYPE_BF16) return arena_printf(w->arena, "bf16_of_f64(fma((f64)%s, (f64)%s, (f64)%s))", x, y, z);
  const char *t = register_types[e->type];
  return arena_printf(w->arena, "add_%s(mul_%s(%s, %s), %s)", t, t, x, y, z);
}

static const char *ramp_text(writer *w, const loops_expr *e) {
  const char *base = widened(w, e->args[0], is_narrow(w, e));
  return e->lanes == 1 ? base : arena_printf(w->arena, "(%s)", lane_offset(w, base, e->lanes, e->stride));
}

static const char *plain_text(writer *w, const loops_expr *e) {
  switch (e->kind) {
    case LOOPS_CONSTANT: return dtype_is_real(e->type) ? real_text(w, e->type, scalar_round(e->type, e->constant).real) : integer_text(w, e->type, is_narrow(w, e), e->constant.integer);
    case LOOPS_VARIABLE: return arena_printf(w->arena, "r%u", e->number);
    case LOOPS_LOAD:
    case LOOPS_GATHER: return load_text(w, e);
    case LOOPS_SPLAT: return value_text(w, e->args[0]);
    case LOOPS_RAMP: return ramp_text(w, e);
    case LOOPS_APPLY: return apply_text(w, e);
    case LOOPS_FMA: return fma_text(w, e);
    case LOOPS_SCALE: return arena_printf(w->arena, "scale_f32(%s, %s)", value_text(w, e->args[0]), value_text(w, e->args[1]));
    case LOOPS_PAIRS: return pairs_text(w, e);
    case LOOPS_DOT: return arena_printf(w->arena, "bf16_dot(%s, %s, %s)", value_text(w, e->args[0]), value_text(w, e->args[1]), value_text(w, e->args[2]));
    case LOOPS_INTERLEAVE: return interleave_text(w, e);
    case LOOPS_CALL: return library_text(w, e);
    case LOOPS_REDUCE: return reduce_text(w, e);
  }
  return "0";
}

const char *value_text(writer *w, const loops_expr *e) {
  struct use *use = use_of(w->uses, e);
  if (use->expr && use->text) return use->text;
  const bool twice = use->expr && use->count > 1;
  const char *text = w->error ? "0" : plain_text(w, e);
  const bool is_name = e->kind == LOOPS_CONSTANT || e->kind == LOOPS_VARIABLE || e->kind == LOOPS_SPLAT || e->kind == LOOPS_REDUCE;
  if (!is_name && (twice || strlen(text) > LONG_TEXT)) {
    const char *name = arena_printf(w->arena, "v%u", w->n_values++);
    write_line(w, "const %s %s = %s;", type_of(w, e), name, text);
    text = name;
  }
  use = use_of(w->uses, e);
  if (use->expr) use->text = text;
  return text;
}
