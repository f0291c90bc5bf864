/* The native elementwise ops of ops.def as LLVM instructions, one function a row. */
#include <string.h>

#include "codegen/cpu/value.h"

typedef struct {
  dtype operand, result;
  uint32_t lanes;
  bool real; /* the operands are */
} application;

typedef LLVMValueRef native_rule(const value_builder *b, const application *a, const LLVMValueRef *args);

#define NATIVE(name) static LLVMValueRef name(const value_builder *b, const application *a, const LLVMValueRef *args)

NATIVE(native_add) {
  return a->real ? LLVMBuildFAdd(b->builder, args[0], args[1], "") : LLVMBuildAdd(b->builder, args[0], args[1], "");
}

NATIVE(native_sub) {
  return a->real ? LLVMBuildFSub(b->builder, args[0], args[1], "") : LLVMBuildSub(b->builder, args[0], args[1], "");
}

NATIVE(native_mul) {
  return a->real ? LLVMBuildFMul(b->builder, args[0], args[1], "") : LLVMBuildMul(b->builder, args[0], args[1], "");
}

NATIVE(native_div) {
  (void)a;
  return LLVMBuildFDiv(b->builder, args[0], args[1], "");
}

NATIVE(native_neg) { return a->real ? LLVMBuildFNeg(b->builder, args[0], "") : LLVMBuildNeg(b->builder, args[0], ""); }

NATIVE(native_abs) {
  LLVMTypeRef type = LLVMTypeOf(args[0]);
  if (!a->real && !dtype_is_signed(a->operand)) return args[0];
  LLVMValueRef with_flag[] = {args[0], LLVMConstInt(LLVMInt1TypeInContext(b->context), 0, 0)};
  return a->real ? value_intrinsic(b, "llvm.fabs", &type, 1, with_flag, 1)
                 : value_intrinsic(b, "llvm.abs", &type, 1, with_flag, 2);
}

static LLVMValueRef less(const value_builder *b, const application *a, LLVMValueRef x, LLVMValueRef y) {
  if (a->real) return LLVMBuildFCmp(b->builder, LLVMRealOLT, x, y, "");
  return LLVMBuildICmp(b->builder, dtype_is_signed(a->operand) ? LLVMIntSLT : LLVMIntULT, x, y, "");
}

/* `y` where `second` holds, else `x`; a NaN in y never satisfies a comparison, so it is chosen apart. A
 * NaN in x stays because the comparison fails. The first select is one instruction on x86 and arm. */
static LLVMValueRef choose(const value_builder *b, const application *a, LLVMValueRef second, LLVMValueRef x,
                           LLVMValueRef y) {
  LLVMValueRef chosen = LLVMBuildSelect(b->builder, second, y, x, "");
  if (!a->real) return chosen;
  return LLVMBuildSelect(b->builder, LLVMBuildFCmp(b->builder, LLVMRealUNO, y, y, ""), y, chosen, "");
}

NATIVE(native_max) { return choose(b, a, less(b, a, args[0], args[1]), args[0], args[1]); }
NATIVE(native_min) { return choose(b, a, less(b, a, args[1], args[0]), args[0], args[1]); }
NATIVE(native_lt) { return less(b, a, args[0], args[1]); }

NATIVE(native_le) {
  if (a->real) return LLVMBuildFCmp(b->builder, LLVMRealOLE, args[0], args[1], "");
  return LLVMBuildICmp(b->builder, dtype_is_signed(a->operand) ? LLVMIntSLE : LLVMIntULE, args[0], args[1], "");
}

NATIVE(native_eq) {
  return a->real ? LLVMBuildFCmp(b->builder, LLVMRealOEQ, args[0], args[1], "")
                 : LLVMBuildICmp(b->builder, LLVMIntEQ, args[0], args[1], "");
}

NATIVE(native_floor) {
  LLVMTypeRef type = LLVMTypeOf(args[0]);
  LLVMValueRef x = args[0];
  (void)a;
  return value_intrinsic(b, "llvm.floor", &type, 1, &x, 1);
}

/* The quotient is floored before it is rounded to the operands' type, so it is taken in double. */
static LLVMValueRef real_floor_div(const value_builder *b, const application *a, const LLVMValueRef *args) {
  LLVMTypeRef wide = value_register_type(b, DTYPE_F64, a->lanes);
  LLVMValueRef x = value_cast(b, a->operand, DTYPE_F64, a->lanes, args[0]);
  LLVMValueRef y = value_cast(b, a->operand, DTYPE_F64, a->lanes, args[1]);
  LLVMValueRef quotient = LLVMBuildFDiv(b->builder, x, y, "");
  return value_cast(b, DTYPE_F64, a->operand, a->lanes, value_intrinsic(b, "llvm.floor", &wide, 1, &quotient, 1));
}

/* The number that every lane of a constant holds. */
static bool constant_of(LLVMValueRef v, int64_t *out) {
  if (!LLVMIsConstant(v)) return false;
  LLVMValueRef element = v;
  if (LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind) {
    unsigned lanes = LLVMGetVectorSize(LLVMTypeOf(v));
    element = LLVMGetAggregateElement(v, 0);
    for (unsigned i = 1; i < lanes; i++)
      if (LLVMGetAggregateElement(v, i) != element) return false;
  }
  if (!element || !LLVMIsAConstantInt(element)) return false;
  *out = LLVMConstIntGetSExtValue(element);
  return true;
}

static LLVMValueRef splat_integer(LLVMTypeRef type, int64_t v) {
  bool vector = LLVMGetTypeKind(type) == LLVMVectorTypeKind;
  LLVMValueRef element = LLVMConstInt(vector ? LLVMGetElementType(type) : type, (unsigned long long)v, 1),
               all[MAX_LANES];
  unsigned lanes = vector ? LLVMGetVectorSize(type) : 1;
  for (unsigned i = 0; i < lanes; i++) all[i] = element;
  return vector ? LLVMConstVector(all, lanes) : element;
}

/* Division by anything: 0 and, for signed types, -1 (whose quotient may overflow) are replaced by 1
 * before the instruction and their results put in behind it. */
static LLVMValueRef integer_floor_div_any(const value_builder *b, const application *a, LLVMValueRef x,
                                          LLVMValueRef y) {
  LLVMBuilderRef at = b->builder;
  LLVMTypeRef type = LLVMTypeOf(x);
  LLVMValueRef zero = LLVMConstNull(type), one = splat_integer(type, 1);
  LLVMValueRef by_zero = LLVMBuildICmp(at, LLVMIntEQ, y, zero, "");
  if (!dtype_is_signed(a->operand)) {
    LLVMValueRef quotient = LLVMBuildUDiv(at, x, LLVMBuildSelect(at, by_zero, one, y, ""), "");
    return LLVMBuildSelect(at, by_zero, zero, quotient, "");
  }
  LLVMValueRef by_minus_one = LLVMBuildICmp(at, LLVMIntEQ, y, splat_integer(type, -1), "");
  LLVMValueRef safe = LLVMBuildSelect(at, LLVMBuildOr(at, by_zero, by_minus_one, ""), one, y, "");
  LLVMValueRef quotient = LLVMBuildSDiv(at, x, safe, "");
  LLVMValueRef rest = LLVMBuildSub(at, x, LLVMBuildMul(at, quotient, safe, ""), "");
  LLVMValueRef inexact = LLVMBuildICmp(at, LLVMIntNE, rest, zero, "");
  LLVMValueRef opposite = LLVMBuildICmp(at, LLVMIntSLT, LLVMBuildXor(at, x, safe, ""), zero, "");
  LLVMValueRef down = LLVMBuildZExt(at, LLVMBuildAnd(at, inexact, opposite, ""), type, "");
  quotient = LLVMBuildSub(at, quotient, down, "");
  quotient = LLVMBuildSelect(at, by_minus_one, LLVMBuildNeg(at, x, ""), quotient, "");
  return LLVMBuildSelect(at, by_zero, zero, quotient, "");
}

NATIVE(native_floor_div) {
  int64_t by = 0;
  if (a->real) return real_floor_div(b, a, args);
  if (constant_of(args[1], &by) && by > 0 && (by & (by - 1)) == 0) {
    LLVMValueRef bits = splat_integer(LLVMTypeOf(args[0]), __builtin_ctzll((unsigned long long)by));
    return dtype_is_signed(a->operand) ? LLVMBuildAShr(b->builder, args[0], bits, "")
                                       : LLVMBuildLShr(b->builder, args[0], bits, "");
  }
  return integer_floor_div_any(b, a, args[0], args[1]);
}

NATIVE(native_mod) {
  int64_t by = 0;
  if (!a->real && constant_of(args[1], &by) && by > 0 && (by & (by - 1)) == 0)
    return LLVMBuildAnd(b->builder, args[0], splat_integer(LLVMTypeOf(args[0]), by - 1), "");
  if (!a->real) {
    LLVMValueRef whole = LLVMBuildMul(b->builder, args[1], integer_floor_div_any(b, a, args[0], args[1]), "");
    return LLVMBuildSub(b->builder, args[0], whole, "");
  }
  application wide = {DTYPE_F64, DTYPE_F64, a->lanes, true};
  LLVMValueRef at_width[2] = {value_cast(b, a->operand, DTYPE_F64, a->lanes, args[0]),
                              value_cast(b, a->operand, DTYPE_F64, a->lanes, args[1])};
  LLVMValueRef whole = LLVMBuildFMul(b->builder, at_width[1], real_floor_div(b, &wide, at_width), "");
  return value_cast(b, DTYPE_F64, a->operand, a->lanes, LLVMBuildFSub(b->builder, at_width[0], whole, ""));
}

NATIVE(native_sqrt) {
  LLVMTypeRef type = LLVMTypeOf(args[0]);
  LLVMValueRef x = args[0];
  (void)a;
  return value_intrinsic(b, "llvm.sqrt", &type, 1, &x, 1);
}

NATIVE(native_and) {
  (void)a;
  return LLVMBuildAnd(b->builder, args[0], args[1], "");
}

NATIVE(native_or) {
  (void)a;
  return LLVMBuildOr(b->builder, args[0], args[1], "");
}

NATIVE(native_xor) {
  (void)a;
  return LLVMBuildXor(b->builder, args[0], args[1], "");
}

/* LLVM leaves shifts by the width or more open; ops.def does not. */
static LLVMValueRef shift_in_range(const value_builder *b, const application *a, LLVMValueRef by,
                                   LLVMValueRef *clamped) {
  int64_t width = a->operand == DTYPE_BOOL ? 1 : 8 * (int64_t)dtype_bytes(a->operand);
  LLVMTypeRef type = LLVMTypeOf(by);
  LLVMValueRef within = LLVMBuildICmp(b->builder, LLVMIntULT, by, splat_integer(type, width), "");
  *clamped = LLVMBuildSelect(b->builder, within, by, splat_integer(type, width - 1), "");
  return within;
}

NATIVE(native_shl) {
  LLVMValueRef by, within = shift_in_range(b, a, args[1], &by);
  return LLVMBuildSelect(b->builder, within, LLVMBuildShl(b->builder, args[0], by, ""), LLVMConstNull(LLVMTypeOf(by)),
                         "");
}

NATIVE(native_shr) {
  LLVMValueRef by, within = shift_in_range(b, a, args[1], &by);
  if (dtype_is_signed(a->operand)) return LLVMBuildAShr(b->builder, args[0], by, "");
  return LLVMBuildSelect(b->builder, within, LLVMBuildLShr(b->builder, args[0], by, ""), LLVMConstNull(LLVMTypeOf(by)),
                         "");
}

NATIVE(native_select) {
  (void)a;
  return LLVMBuildSelect(b->builder, args[0], args[1], args[2], "");
}

NATIVE(native_cast) { return value_cast(b, a->operand, a->result, a->lanes, args[0]); }

NATIVE(native_bitcast) {
  if (a->operand == a->result) return args[0];
  return LLVMBuildBitCast(b->builder, args[0], value_register_type(b, a->result, a->lanes), "");
}

NATIVE(native_tf32) {
  LLVMTypeRef integers = value_register_type(b, DTYPE_U32, a->lanes), floats = value_register_type(b, DTYPE_F32, a->lanes);
  LLVMValueRef x = value_cast(b, a->operand, DTYPE_F32, a->lanes, args[0]), bits = LLVMBuildBitCast(b->builder, x, integers, "");
  bits = LLVMBuildAdd(b->builder, bits, value_constant(b, DTYPE_U32, a->lanes, (scalar){.integer = 0x1000}), "");
  bits = LLVMBuildAnd(b->builder, bits, value_constant(b, DTYPE_U32, a->lanes, (scalar){.integer = 0xffffe000}), "");
  x = LLVMBuildSelect(b->builder, LLVMBuildFCmp(b->builder, LLVMRealUNO, x, x, ""), x, LLVMBuildBitCast(b->builder, bits, floats, ""), "");
  return value_cast(b, DTYPE_F32, a->result, a->lanes, x);
}

NATIVE(native_same) {
  (void)b, (void)a;
  return args[0];
}

static native_rule *const natives[OP_COUNT] = {
    [OP_ADD] = native_add,   [OP_SUB] = native_sub,         [OP_MUL] = native_mul,
    [OP_DIV] = native_div,   [OP_NEG] = native_neg,         [OP_ABS] = native_abs,
    [OP_MAX] = native_max,   [OP_MIN] = native_min,         [OP_FLOOR_DIV] = native_floor_div,
    [OP_MOD] = native_mod,   [OP_FLOOR] = native_floor,     [OP_SQRT] = native_sqrt,
    [OP_LT] = native_lt,     [OP_LE] = native_le,           [OP_EQ] = native_eq,
    [OP_AND] = native_and,   [OP_OR] = native_or,           [OP_XOR] = native_xor,
    [OP_SHL] = native_shl,   [OP_SHR] = native_shr,         [OP_SELECT] = native_select,
    [OP_CAST] = native_cast, [OP_BITCAST] = native_bitcast, [OP_STOP_GRAD] = native_same,
    [OP_TF32] = native_tf32,
};

/* Ops whose results are bf16 values again without rounding: they only choose or convert. */
static bool rounds(op_id op) {
  return op != OP_CAST && op != OP_SELECT && op != OP_BITCAST && op_table[op].rule != RULE_COMPARE;
}

LLVMValueRef value_apply(const value_builder *b, op_id op, dtype operand, dtype result, uint32_t lanes,
                         const LLVMValueRef *args) {
  if (op >= OP_COUNT || !natives[op]) return NULL;
  application a = {operand, result, lanes, dtype_is_real(operand)};
  LLVMValueRef v = natives[op](b, &a, args);
  return rounds(op) ? value_round(b, result, lanes, v) : v;
}

static LLVMValueRef half_of_pair(const value_builder *b, uint32_t lanes, LLVMValueRef pair, bool high) {
  LLVMTypeRef f32 = value_register_type(b, DTYPE_F32, lanes);
  LLVMValueRef by = value_constant(b, DTYPE_U32, lanes, (scalar){.integer = high ? 0xffff0000 : 16});
  return LLVMBuildBitCast(b->builder, high ? LLVMBuildAnd(b->builder, pair, by, "") : LLVMBuildShl(b->builder, pair, by, ""), f32, "");
}

/* Of the forms of an instruction for 4, 8 and 16 lanes the one for so many; NULL: there is none. */
static const char *form_for(uint32_t lanes, const char *const forms[3]) { return lanes == 4 ? forms[0] : lanes == 8 ? forms[1] : lanes == 16 ? forms[2] : NULL; }

/* VDPBF16PS; else the same two fused steps, which keep subnormals. */
LLVMValueRef value_dot(const value_builder *b, uint32_t lanes, const LLVMValueRef *args) {
  static const char *const forms[] = {"llvm.x86.avx512bf16.dpbf16ps.128", "llvm.x86.avx512bf16.dpbf16ps.256", "llvm.x86.avx512bf16.dpbf16ps.512"};
  const char *instruction = b->dots ? form_for(lanes, forms) : NULL;
  if (instruction) {
    LLVMTypeRef halves = LLVMVectorType(LLVMBFloatTypeInContext(b->context), 2 * lanes);
    LLVMValueRef operands[] = {args[2], LLVMBuildBitCast(b->builder, args[0], halves, ""), LLVMBuildBitCast(b->builder, args[1], halves, "")};
    return value_intrinsic(b, instruction, NULL, 0, operands, 3);
  }
  LLVMTypeRef type = value_register_type(b, DTYPE_F32, lanes);
  LLVMValueRef sum = args[2];
  for (int high = 1; high >= 0; high--) {
    LLVMValueRef operands[] = {half_of_pair(b, lanes, args[0], high), half_of_pair(b, lanes, args[1], high), sum};
    sum = value_intrinsic(b, "llvm.fma", &type, 1, operands, 3);
  }
  return sum;
}

/* 2^n, n between -126 and 127. */
static LLVMValueRef power_of_two(const value_builder *b, uint32_t lanes, LLVMValueRef n) {
  LLVMValueRef biased = LLVMBuildAdd(b->builder, n, value_constant(b, DTYPE_I32, lanes, (scalar){.integer = 127}), "");
  LLVMValueRef bits = LLVMBuildShl(b->builder, biased, value_constant(b, DTYPE_I32, lanes, (scalar){.integer = 23}), "");
  return LLVMBuildBitCast(b->builder, bits, value_register_type(b, DTYPE_F32, lanes), "");
}

/* VSCALEFPS; else in two factors, which reach the denormal numbers with one rounding. */
LLVMValueRef value_scale(const value_builder *b, uint32_t lanes, LLVMValueRef of, LLVMValueRef power) {
  static const char *const forms[] = {"llvm.x86.avx512.mask.scalef.ps.128", "llvm.x86.avx512.mask.scalef.ps.256", "llvm.x86.avx512.mask.scalef.ps.512"};
  const char *instruction = b->scales ? form_for(lanes, forms) : NULL;
  if (instruction) {
    LLVMTypeRef bits = LLVMIntTypeInContext(b->context, lanes < 8 ? 8 : lanes), i32 = LLVMInt32TypeInContext(b->context);
    LLVMValueRef operands[] = {of, power, of, LLVMConstAllOnes(bits), LLVMConstInt(i32, 4, 0)}; /* rounded as the processor does now */
    return value_intrinsic(b, instruction, NULL, 0, operands, lanes == 16 ? 5 : 4);
  }
  /* so large a sum leaves no place for a fraction: its lowest bits are the whole number */
  LLVMValueRef sum = LLVMBuildFAdd(b->builder, power, value_constant(b, DTYPE_F32, lanes, (scalar){.real = 0x1.8p23}), "");
  LLVMValueRef n = LLVMBuildSub(b->builder, LLVMBuildBitCast(b->builder, sum, value_register_type(b, DTYPE_I32, lanes), ""), value_constant(b, DTYPE_I32, lanes, (scalar){.integer = 0x4b400000}), "");
  LLVMValueRef half = LLVMBuildAShr(b->builder, n, value_constant(b, DTYPE_I32, lanes, (scalar){.integer = 1}), "");
  LLVMValueRef scaled = LLVMBuildFMul(b->builder, of, power_of_two(b, lanes, half), "");
  return LLVMBuildFMul(b->builder, scaled, power_of_two(b, lanes, LLVMBuildSub(b->builder, n, half, "")), "");
}

/* bf16 goes through double, where the product is exact and the sum is rounded far below bf16. */
LLVMValueRef value_fma(const value_builder *b, dtype t, uint32_t lanes, const LLVMValueRef *args) {
  if (!dtype_is_real(t)) return LLVMBuildAdd(b->builder, LLVMBuildMul(b->builder, args[0], args[1], ""), args[2], "");
  dtype at = t == DTYPE_BF16 ? DTYPE_F64 : t;
  LLVMTypeRef type = value_register_type(b, at, lanes);
  LLVMValueRef operands[3];
  for (int i = 0; i < 3; i++) operands[i] = value_cast(b, t, at, lanes, args[i]);
  return value_cast(b, at, t, lanes, value_intrinsic(b, "llvm.fma", &type, 1, operands, 3));
}
