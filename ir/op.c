#include "ir/op.h"

#include <math.h>

const op_info op_table[OP_COUNT] = {
#define ELEMENTWISE(id, op_name, n, how, real, integer, rules, lower, range, text)                            \
  [OP_##id] = {.name = op_name, .doc = text, .arity = n, .elementwise = true, .rule = RULE_##how,             \
               .derivatives = rules, .lowering = lower, .domain = range},
#define STRUCTURAL(id, op_name, n, schema, text) \
  [OP_##id] = {.name = op_name, .doc = text, .arity = n, .rule = RULE_NONE, .attributes = schema},
#include "ir/ops.def"
};

const char *const attribute_names[ATTR_COUNT] = {
#define ATTRIBUTE(id, name, kind) [ATTR_##id] = name,
    ATTRIBUTES(ATTRIBUTE)
#undef ATTRIBUTE
};

const attribute_kind attribute_kinds[ATTR_COUNT] = {
#define ATTRIBUTE(id, name, kind) [ATTR_##id] = ATTR_KIND_##kind,
    ATTRIBUTES(ATTRIBUTE)
#undef ATTRIBUTE
};

op_id op_from_name(const char *name, size_t length) {
  for (int i = 0; i < OP_COUNT; i++)
    if (strlen(op_table[i].name) == length && !memcmp(op_table[i].name, name, length)) return (op_id)i;
  return OP_COUNT;
}

/* -- what the columns `real` and `integer` of ops.def call ------------------------------------------------ */

static double scalar_max(double x, double y) { return isnan(x) || isnan(y) ? NAN : x < y ? y : x; }
static double scalar_min(double x, double y) { return isnan(x) || isnan(y) ? NAN : y < x ? y : x; }
static double scalar_tf32(double x) {
  float narrow = (float)x;
  uint32_t bits;
  memcpy(&bits, &narrow, sizeof bits);
  bits = isnan(x) ? bits : (bits + 0x1000u) & 0xffffe000u;
  memcpy(&narrow, &bits, sizeof bits);
  return narrow;
}

static double scalar_mod(double x, double y) { return x - y * floor(x / y); }

static int64_t integer_floor_div(int64_t x, int64_t y) {
  if (y == 0) return 0;
  if (y == -1) return (int64_t)(0 - (uint64_t)x); /* INT64_MIN / -1 traps */
  return x / y - ((x % y != 0) && ((x < 0) != (y < 0)));
}

static int64_t integer_mod(int64_t x, int64_t y) {
  return (int64_t)((uint64_t)x - (uint64_t)y * (uint64_t)integer_floor_div(x, y));
}

static int64_t integer_shl(int64_t x, int64_t y) { return y < 0 || y > 63 ? 0 : (int64_t)((uint64_t)x << y); }
static int64_t integer_shr(int64_t x, int64_t y) { return x >> (y < 0 ? 0 : y > 63 ? 63 : y); }

/* Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
void random_words(uint32_t k0, uint32_t k1, uint32_t words[4]) {
  uint32_t c0 = words[0], c1 = words[1], c2 = words[2], c3 = words[3];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

static uint32_t random_word(const scalar *args) {
  uint32_t which = (uint32_t)args[2].integer & 3;
  uint32_t words[4] = {(uint32_t)args[2].integer >> 2, (uint32_t)args[3].integer, (uint32_t)args[4].integer, (uint32_t)args[5].integer};
  random_words((uint32_t)args[0].integer, (uint32_t)args[1].integer, words);
  return words[which];
}

/* -- meaning --------------------------------------------------------------------------------------------- */

static double evaluate_real(op_id op, double x, double y, double z) {
  switch (op) {
#define ELEMENTWISE(id, name, arity, rule, real, ...) \
  case OP_##id: return (double)(real);
#include "ir/ops.def"
    default: return 0;
  }
}

static int64_t evaluate_integer(op_id op, int64_t x, int64_t y, int64_t z) {
  switch (op) {
#define ELEMENTWISE(id, name, arity, rule, real, integer, ...) \
  case OP_##id: return (int64_t)(integer);
#include "ir/ops.def"
    default: return 0;
  }
}

static scalar evaluate_bits(dtype from, dtype to, scalar v) {
  _Alignas(8) unsigned char element[8];
  element_store(from, element, 0, v);
  return element_load(to, element, 0);
}

scalar op_evaluate(op_id op, dtype operand, dtype result, const scalar *args) {
  const op_info *info = &op_table[op];
  bool real = dtype_is_real(operand);
  scalar none = {.integer = 0}, x = args[0], y = info->arity > 1 ? args[1] : none, z = info->arity > 2 ? args[2] : none;
  switch (info->rule) {
    case RULE_CAST: return scalar_convert(operand, result, x);
    case RULE_BITCAST: return evaluate_bits(operand, result, x);
    case RULE_SELECT: return x.integer ? y : z;
    case RULE_RANDOM:
      return (scalar){.integer = random_word(args)};
    case RULE_COMPARE:
    case RULE_TEST: {
      bool holds = real ? evaluate_real(op, x.real, y.real, z.real) != 0 : evaluate_integer(op, x.integer, y.integer, 0) != 0;
      return (scalar){.integer = holds};
    }
    default: {
      scalar r;
      if (real) r.real = evaluate_real(op, x.real, y.real, z.real);
      else r.integer = evaluate_integer(op, x.integer, y.integer, z.integer);
      return scalar_round(result, r);
    }
  }
}

bool op_result_dtype(op_id op, const dtype *operands, dtype declared, dtype *out) {
  const op_info *info = &op_table[op];
  dtype t = operands[0];
  *out = t;
  for (int i = 1; i < info->arity && info->rule != RULE_SELECT; i++)
    if (operands[i] != t) return false;
  switch (info->rule) {
    case RULE_SAME: return true;
    case RULE_REAL: return dtype_is_real(t);
    case RULE_NUMBER: return dtype_is_real(t) || dtype_is_integer(t);
    case RULE_BITS: return dtype_is_integer(t) || t == DTYPE_BOOL;
    case RULE_COMPARE: *out = DTYPE_BOOL; return true;
    case RULE_TEST: *out = DTYPE_BOOL; return dtype_is_real(t);
    case RULE_SELECT: *out = operands[1]; return t == DTYPE_BOOL && operands[1] == operands[2];
    case RULE_CAST: *out = declared; return true;
    case RULE_BITCAST: *out = declared; return dtype_bytes(t) == dtype_bytes(declared) && t != DTYPE_BOOL && declared != DTYPE_BOOL;
    case RULE_RANDOM: return t == DTYPE_U32;
    default: return false;
  }
}
