/* Operators: exact arithmetic on numbers that are known, graph ops on tensors. */
#include <math.h>

#include "frontend/elaborate.h"

/* -- numbers that are known -------------------------------------------------------------------------------- */

static object overflow(elaborator *e, span where) {
  return refuse(e, DIAG_STATIC_ARITHMETIC, where, "the result does not fit into 64 bits");
}

static int64_t integer_power(int64_t base, int64_t exponent, bool *fits) {
  int64_t result = 1;
  *fits = true;
  for (int64_t i = 0; i < exponent && *fits && result != 0 && !(base == 1); i++) {
    if (base == -1) return exponent % 2 ? -1 : 1;
    *fits = !__builtin_mul_overflow(result, base, &result);
  }
  return result;
}

static object integer_arithmetic(elaborator *e, ast_operator op, int64_t x, int64_t y, span where) {
  int64_t result = 0;
  bool fits = true;
  switch (op) {
    case AST_ADD: fits = !__builtin_add_overflow(x, y, &result); break;
    case AST_SUB: fits = !__builtin_sub_overflow(x, y, &result); break;
    case AST_MUL: fits = !__builtin_mul_overflow(x, y, &result); break;
    case AST_POW: result = integer_power(x, y, &fits); break;
    case AST_FLOOR_DIV:
    case AST_MOD:
      if (y == 0) return refuse(e, DIAG_STATIC_ARITHMETIC, where, "integer division by zero");
      if (y == -1 && x == INT64_MIN) return overflow(e, where);
      result = x / y - (x % y != 0 && (x % y < 0) != (y < 0));
      if (op == AST_MOD) result = x - result * y;
      break;
    default: break;
  }
  return fits ? object_integer(result, where) : overflow(e, where);
}

static double real_arithmetic(ast_operator op, double x, double y) {
  switch (op) {
    case AST_ADD: return x + y;
    case AST_SUB: return x - y;
    case AST_MUL: return x * y;
    case AST_DIV: return x / y;
    case AST_FLOOR_DIV: return floor(x / y);
    case AST_MOD: return x - y * floor(x / y);
    case AST_POW: return pow(x, y);
    default: return NAN;
  }
}

static bool compare(ast_operator op, double x, double y) {
  switch (op) {
    case AST_EQ: return x == y;
    case AST_NE: return x != y;
    case AST_LT: return x < y;
    case AST_GT: return x > y;
    case AST_LE: return x <= y;
    default: return x >= y;
  }
}

static bool is_comparison(ast_operator op) { return op >= AST_EQ && op <= AST_GE; }
static bool is_logic(ast_operator op) { return op == AST_AND || op == AST_OR; }

static object number_operation(elaborator *e, ast_operator op, const object *x, const object *y, span where) {
  if (is_comparison(op)) return object_bool(compare(op, number_value(x), number_value(y)), where);
  bool real = x->is_real || y->is_real || op == AST_DIV || (op == AST_POW && y->integer < 0);
  if (real) return object_real(real_arithmetic(op, number_value(x), number_value(y)), where);
  return integer_arithmetic(e, op, x->integer, y->integer, where);
}

/* Equality of what is known; -1 when the two cannot be compared. */
static int static_equal(const object *x, const object *y) {
  if (x->kind == OBJECT_NUMBER && y->kind == OBJECT_NUMBER) return number_value(x) == number_value(y);
  if (x->kind == OBJECT_NONE || y->kind == OBJECT_NONE) return x->kind == y->kind;
  bool list = (x->kind == OBJECT_LIST || x->kind == OBJECT_TUPLE) && (y->kind == OBJECT_LIST || y->kind == OBJECT_TUPLE);
  if (!list && x->kind != y->kind) return -1;
  if (x->kind == OBJECT_BOOL) return x->truth == y->truth;
  if (x->kind == OBJECT_STRING) return !strcmp(x->text, y->text);
  if (!list) return -1;
  if (x->list.n != y->list.n) return 0;
  for (uint32_t i = 0; i < x->list.n; i++) {
    int same = static_equal(&x->list.items[i], &y->list.items[i]);
    if (same != 1) return same;
  }
  return 1;
}

/* -- tensors ------------------------------------------------------------------------------------------------- */

typedef struct {
  op_id op;
  bool swapped, negated, real;
} tensor_operator;

static const tensor_operator tensor_operators[] = {
    [AST_ADD] = {OP_ADD},       [AST_SUB] = {OP_SUB},
    [AST_MUL] = {OP_MUL},       [AST_DIV] = {OP_DIV, .real = true},
    [AST_FLOOR_DIV] = {OP_FLOOR_DIV}, [AST_MOD] = {OP_MOD},
    [AST_POW] = {OP_POW, .real = true}, [AST_EQ] = {OP_EQ},
    [AST_NE] = {OP_EQ, .negated = true}, [AST_LT] = {OP_LT},
    [AST_GT] = {OP_LT, .swapped = true}, [AST_LE] = {OP_LE},
    [AST_GE] = {OP_LE, .swapped = true}, [AST_AND] = {OP_AND},
    [AST_OR] = {OP_OR},
};

/* Whole powers by multiplication: exact for negative bases too, and their derivative needs no logarithm. */
static bool power_by_multiplication(elaborator *e, object base, const object *exponent, span where, object *out) {
  enum { LARGEST = 8 };
  if (exponent->kind != OBJECT_NUMBER || base.kind != OBJECT_TENSOR) return false;
  double n = number_value(exponent);
  if (n == 0.5) {
    *out = elementwise(e, OP_SQRT, &base, 1, true, "**", where);
    return true;
  }
  if (n < 1 || n > LARGEST || n != floor(n)) return false;
  *out = base;
  for (int i = 1; i < (int)n; i++) *out = elementwise(e, OP_MUL, (object[]){*out, base}, 2, false, "**", where);
  return true;
}

static object tensor_not(elaborator *e, object x, span where) {
  object one = tensor_object(e, graph_splat(e->graph, scalar_type(DTYPE_BOOL), (scalar){.integer = 1}, user_place(e, where)), false, where);
  return elementwise(e, OP_XOR, (object[]){x, one}, 2, false, "!", where);
}

static bool is_bool_tensor(const object *o) { return o->kind == OBJECT_TENSOR && graph_type(o->tensor.graph, o->tensor.value)->dtype == DTYPE_BOOL; }

static object matrix_product(elaborator *e, object x, object y, span where);

static object tensor_operation(elaborator *e, ast_operator op, object x, object y, span where) {
  object power;
  if (op == AST_MATMUL) return matrix_product(e, x, y, where);
  if (op == AST_POW && power_by_multiplication(e, x, &y, where, &power)) return power;
  tensor_operator how = tensor_operators[op];
  object operands[2] = {how.swapped ? y : x, how.swapped ? x : y};
  if (is_logic(op) && ((!is_bool_tensor(&x) && x.kind != OBJECT_BOOL) || (!is_bool_tensor(&y) && y.kind != OBJECT_BOOL)))
    return wrong_kind(e, where, ast_operator_text(op), "truths on both sides", is_bool_tensor(&x) || x.kind == OBJECT_BOOL ? &y : &x);
  object result = elementwise(e, how.op, operands, 2, how.real, ast_operator_text(op), where);
  return how.negated && !is_poison(&result) ? tensor_not(e, result, where) : result;
}

/* [..., i, k] @ [..., k, j]; a vector on either side stands for its one row or column. */
static object matrix_product(elaborator *e, object x, object y, span where) {
  object side[2] = {x, y};
  if (!promote(e, side, 2, true, "@", where)) return object_poison();
  tensor_type left = logical_type(&side[0]), right = logical_type(&side[1]);
  const char *spec[2] = {side[0].batched ? "n," : "", side[1].batched ? "n," : ""}, *result = side[0].batched || side[1].batched ? "n," : "";
  uint32_t outer_left = left.rank > 2 ? left.rank - 2 : 0, outer_right = right.rank > 2 ? right.rank - 2 : 0;
  bool fits = left.rank && right.rank && (outer_left == 0 || outer_right == 0 || outer_left == outer_right) &&
              left.dim[left.rank - 1] == right.dim[right.rank > 1 ? right.rank - 2 : 0];
  for (uint32_t i = 0; fits && outer_right && i < outer_left; i++) fits = left.dim[i] == right.dim[i];
  if (!fits) {
    diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "@ wants [..., n, k] and [..., k, m], got %s and %s", object_text(&side[0], e->arena),
                             object_text(&side[1], e->arena));
    note_object(e, d, &x);
    note_object(e, d, &y);
    return object_poison();
  }
  uint32_t outer = outer_left > outer_right ? outer_left : outer_right;
  for (uint32_t i = 0; i < outer; i++) {
    if (outer_left) spec[0] = arena_printf(e->arena, "%sb%u,", spec[0], i);
    if (outer_right) spec[1] = arena_printf(e->arena, "%sb%u,", spec[1], i);
    result = arena_printf(e->arena, "%sb%u,", result, i);
  }
  const char *text = arena_printf(e->arena, "%s%sk; %sk%s -> %s%s%s", spec[0], left.rank > 1 ? "i," : "", spec[1], right.rank > 1 ? ",j" : "", result,
                                  left.rank > 1 ? "i," : "", right.rank > 1 ? "j," : "");
  size_t n = strlen(text);
  while (n && (text[n - 1] == ',' || text[n - 1] == ' ')) n--;
  text = arena_substring(e->arena, text, n);
  return tensor_object(e, graph_contract(e->graph, side[0].tensor.value, side[1].tensor.value, text, NULL, user_place(e, where)),
                       side[0].batched || side[1].batched, where);
}

/* -- all together ---------------------------------------------------------------------------------------------- */

static object join(elaborator *e, const object *x, const object *y, span where) {
  bool lists = (x->kind == OBJECT_LIST || x->kind == OBJECT_TUPLE) && (y->kind == OBJECT_LIST || y->kind == OBJECT_TUPLE);
  if (lists) {
    object *items = ARENA_ARRAY(e->arena, object, x->list.n + y->list.n);
    for (uint32_t i = 0; i < x->list.n + y->list.n; i++) items[i] = i < x->list.n ? x->list.items[i] : y->list.items[i - x->list.n];
    return object_list(OBJECT_LIST, items, x->list.n + y->list.n, where);
  }
  const object *sides[2] = {x, y};
  const char *texts[2];
  for (int i = 0; i < 2; i++) {
    if (sides[i]->kind == OBJECT_STRING) texts[i] = sides[i]->text;
    else if (sides[i]->kind == OBJECT_NUMBER && !sides[i]->is_real) texts[i] = arena_printf(e->arena, "%lld", (long long)sides[i]->integer);
    else return wrong_kind(e, where, "++", "two lists, or strings and integers", sides[i]);
  }
  return object_string(arena_printf(e->arena, "%s%s", texts[0], texts[1]), where);
}

static object range(elaborator *e, const object *x, const object *y, span where) {
  int64_t from, to;
  if (!want_integer(e, x, "..", where, &from) || !want_integer(e, y, "..", where, &to)) return object_poison();
  if (to - from > MOST_ITERATIONS) return refuse(e, DIAG_TOO_LONG, where, "a range of %lld numbers, and loops are unrolled at compile time: %d at most", (long long)(to - from), MOST_ITERATIONS);
  uint32_t n = to > from ? (uint32_t)(to - from) : 0;
  object *items = ARENA_ARRAY(e->arena, object, n);
  for (uint32_t i = 0; i < n; i++) items[i] = object_integer(from + i, where);
  return object_list(OBJECT_LIST, items, n, where);
}

object apply_binary(elaborator *e, ast_operator op, object x, object y, span where) {
  if (is_poison(&x) || is_poison(&y)) return object_poison();
  if (op == AST_RANGE) return range(e, &x, &y, where);
  if (op == AST_JOIN) return join(e, &x, &y, where);
  if (x.kind == OBJECT_NUMBER && y.kind == OBJECT_NUMBER && op != AST_MATMUL && !is_logic(op)) return number_operation(e, op, &x, &y, where);
  if (x.kind == OBJECT_BOOL && y.kind == OBJECT_BOOL && is_logic(op)) return object_bool(op == AST_AND ? x.truth && y.truth : x.truth || y.truth, where);
  if (op == AST_EQ || op == AST_NE) {
    int same = static_equal(&x, &y);
    if (same >= 0) return object_bool(same == (op == AST_EQ), where);
  }
  if (is_weights(&x) || is_weights(&y)) return weights_operation(e, op, x, y, where);
  if (x.kind == OBJECT_TENSOR || y.kind == OBJECT_TENSOR) return tensor_operation(e, op, x, y, where);
  const object *odd = x.kind == OBJECT_NUMBER ? &y : &x;
  return wrong_kind(e, where, ast_operator_text(op), is_logic(op) ? "truths on both sides" : "numbers or tensors on both sides", odd);
}

object apply_unary(elaborator *e, ast_operator op, object x, span where) {
  if (is_poison(&x)) return x;
  if (op == AST_NOT) {
    if (x.kind == OBJECT_BOOL) return object_bool(!x.truth, where);
    return is_bool_tensor(&x) ? tensor_not(e, x, where) : wrong_kind(e, where, "!", "a truth", &x);
  }
  if (x.kind == OBJECT_NUMBER) {
    if (x.is_real) return object_real(-x.real, where);
    return x.integer == INT64_MIN ? overflow(e, where) : object_integer(-x.integer, where);
  }
  return elementwise(e, OP_NEG, &x, 1, false, "-", where);
}
