#include "codegen/cpu/value.h"

#include <math.h>
#include <string.h>

static LLVMTypeRef widen(LLVMTypeRef element, uint32_t lanes) {
  return lanes > 1 ? LLVMVectorType(element, lanes) : element;
}

LLVMTypeRef value_memory_type(const value_builder *b, dtype t, uint32_t lanes) {
  LLVMTypeRef element = t == DTYPE_F32   ? LLVMFloatTypeInContext(b->context)
                        : t == DTYPE_F64 ? LLVMDoubleTypeInContext(b->context)
                                         : LLVMIntTypeInContext(b->context, 8 * (unsigned)dtype_bytes(t));
  return widen(element, lanes);
}

LLVMTypeRef value_register_type(const value_builder *b, dtype t, uint32_t lanes) {
  if (t == DTYPE_BOOL) return widen(LLVMInt1TypeInContext(b->context), lanes);
  return value_memory_type(b, t == DTYPE_BF16 ? DTYPE_F32 : t, lanes);
}

LLVMValueRef value_integer(const value_builder *b, int64_t v) {
  return LLVMConstInt(LLVMInt64TypeInContext(b->context), (unsigned long long)v, 1);
}

static LLVMValueRef constant_splat(LLVMValueRef element, uint32_t lanes) {
  LLVMValueRef all[MAX_LANES];
  if (lanes <= 1) return element;
  for (uint32_t i = 0; i < lanes; i++) all[i] = element;
  return LLVMConstVector(all, lanes);
}

LLVMValueRef value_constant(const value_builder *b, dtype t, uint32_t lanes, scalar v) {
  LLVMTypeRef type = value_register_type(b, t, 1);
  scalar rounded = scalar_round(t, v);
  return constant_splat(dtype_is_real(t) ? LLVMConstReal(type, rounded.real)
                                         : LLVMConstInt(type, (unsigned long long)rounded.integer, 1),
                        lanes);
}

LLVMValueRef value_splat(const value_builder *b, LLVMValueRef scalar_value, uint32_t lanes) {
  if (lanes <= 1) return scalar_value;
  if (LLVMIsConstant(scalar_value)) return constant_splat(scalar_value, lanes);
  LLVMTypeRef i32 = LLVMInt32TypeInContext(b->context), type = LLVMVectorType(LLVMTypeOf(scalar_value), lanes);
  LLVMValueRef one = LLVMBuildInsertElement(b->builder, LLVMGetPoison(type), scalar_value, LLVMConstInt(i32, 0, 0), "");
  return LLVMBuildShuffleVector(b->builder, one, LLVMGetPoison(type), LLVMConstNull(LLVMVectorType(i32, lanes)), "");
}

LLVMValueRef value_mask(const value_builder *b, uint32_t lanes, uint32_t active) {
  LLVMValueRef bits[MAX_LANES];
  for (uint32_t i = 0; i < lanes; i++) bits[i] = LLVMConstInt(LLVMInt1TypeInContext(b->context), i < active, 0);
  return LLVMConstVector(bits, lanes);
}

LLVMValueRef value_lanes(const value_builder *b, LLVMValueRef v, uint32_t first, uint32_t count) {
  LLVMTypeRef i32 = LLVMInt32TypeInContext(b->context);
  if (LLVMGetTypeKind(LLVMTypeOf(v)) != LLVMVectorTypeKind) return v;
  if (count == 1) return LLVMBuildExtractElement(b->builder, v, LLVMConstInt(i32, first, 0), "");
  LLVMValueRef index[MAX_LANES];
  for (uint32_t i = 0; i < count; i++) index[i] = LLVMConstInt(i32, first + i, 0);
  return LLVMBuildShuffleVector(b->builder, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(index, count), "");
}

/* Lane i of the result is lane order(i) of both values, one behind the other. */
static LLVMValueRef shuffle(const value_builder *b, LLVMValueRef x, LLVMValueRef y, const uint32_t *order, uint32_t lanes) {
  LLVMValueRef index[MAX_LANES];
  for (uint32_t i = 0; i < lanes; i++) index[i] = LLVMConstInt(LLVMInt32TypeInContext(b->context), order[i], 0);
  return LLVMBuildShuffleVector(b->builder, x, y, LLVMConstVector(index, lanes), "");
}

LLVMValueRef value_interleave(const value_builder *b, const LLVMValueRef *values, uint32_t n, uint32_t lanes) {
  LLVMTypeRef i32 = LLVMInt32TypeInContext(b->context);
  uint32_t order[MAX_LANES];
  if (lanes == 1) {
    LLVMValueRef v = LLVMGetPoison(LLVMVectorType(LLVMTypeOf(values[0]), n));
    for (uint32_t i = 0; i < n; i++) v = LLVMBuildInsertElement(b->builder, v, values[i], LLVMConstInt(i32, i, 0), "");
    return v;
  }
  LLVMValueRef half[2] = {values[0], values[1]};
  for (uint32_t i = 0; i < 2 * lanes; i++) order[i] = i;
  for (uint32_t i = 0; n == 4 && i < 2; i++) half[i] = shuffle(b, values[2 * i], values[2 * i + 1], order, 2 * lanes);
  for (uint32_t i = 0; i < n * lanes; i++) order[i] = i % n * lanes + i / n;
  return shuffle(b, half[0], half[1], order, n * lanes);
}

LLVMValueRef value_intrinsic(const value_builder *b, const char *name, LLVMTypeRef *types, unsigned n_types,
                             LLVMValueRef *args, unsigned n_args) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  LLVMValueRef function = LLVMGetIntrinsicDeclaration(b->module, id, types, n_types);
  return LLVMBuildCall2(b->builder, LLVMIntrinsicGetType(b->context, id, types, n_types), function, args, n_args, "");
}

/* -- bf16 ------------------------------------------------------------------------------------------------ */

static LLVMValueRef splat_bits(const value_builder *b, uint32_t lanes, uint32_t bits) {
  return constant_splat(LLVMConstInt(LLVMInt32TypeInContext(b->context), bits, 0), lanes);
}

/* The high halves of float bits, rounded to nearest even: adding 0x7fff plus the lowest kept bit
 * carries exactly when the rest is above half, or half with an odd kept bit. The machine's own
 * conversion would flush denormals. */
static LLVMValueRef round_bits(const value_builder *b, uint32_t lanes, LLVMValueRef v) {
  LLVMBuilderRef at = b->builder;
  LLVMTypeRef i32 = widen(LLVMInt32TypeInContext(b->context), lanes);
  LLVMValueRef bits = LLVMBuildBitCast(at, v, i32, ""), sixteen = splat_bits(b, lanes, 16);
  LLVMValueRef lowest = LLVMBuildAnd(at, LLVMBuildLShr(at, bits, sixteen, ""), splat_bits(b, lanes, 1), "");
  LLVMValueRef up = LLVMBuildAdd(at, bits, LLVMBuildAdd(at, lowest, splat_bits(b, lanes, 0x7fff), ""), "");
  LLVMValueRef quiet = LLVMBuildOr(at, bits, splat_bits(b, lanes, 0x400000), "");
  LLVMValueRef is_nan = LLVMBuildFCmp(at, LLVMRealUNO, v, v, "");
  LLVMValueRef chosen = LLVMBuildSelect(at, is_nan, quiet, up, "");
  return LLVMBuildAnd(at, chosen, splat_bits(b, lanes, 0xffff0000u), "");
}

LLVMValueRef value_round(const value_builder *b, dtype t, uint32_t lanes, LLVMValueRef v) {
  if (t != DTYPE_BF16) return v;
  return LLVMBuildBitCast(b->builder, round_bits(b, lanes, v), value_register_type(b, DTYPE_F32, lanes), "");
}

/* Double to float, rounding to odd: what is lost stays as a sticky bit, so that the second rounding to
 * bf16 is as good as one (Boldo and Melquiond, 2008). */
static LLVMValueRef narrow_to_odd(const value_builder *b, uint32_t lanes, LLVMValueRef v) {
  LLVMBuilderRef at = b->builder;
  LLVMTypeRef f32 = value_register_type(b, DTYPE_F32, lanes), f64 = value_register_type(b, DTYPE_F64, lanes);
  LLVMTypeRef i32 = widen(LLVMInt32TypeInContext(b->context), lanes);
  LLVMValueRef narrow = LLVMBuildFPTrunc(at, v, f32, ""), back = LLVMBuildFPExt(at, narrow, f64, "");
  LLVMValueRef inexact = LLVMBuildFCmp(at, LLVMRealONE, back, v, "");
  LLVMValueRef above = LLVMBuildFCmp(at, LLVMRealOGT, value_intrinsic(b, "llvm.fabs", &f64, 1, &back, 1),
                                     value_intrinsic(b, "llvm.fabs", &f64, 1, &v, 1), "");
  LLVMValueRef infinite =
      LLVMBuildFCmp(at, LLVMRealOEQ, value_intrinsic(b, "llvm.fabs", &f32, 1, &narrow, 1),
                    constant_splat(LLVMConstReal(LLVMFloatTypeInContext(b->context), __builtin_inf()), lanes), "");
  LLVMValueRef bits = LLVMBuildBitCast(at, narrow, i32, "");
  LLVMValueRef toward_zero = LLVMBuildSub(at, bits, LLVMBuildZExt(at, above, i32, ""), "");
  LLVMValueRef odd = LLVMBuildOr(at, toward_zero, splat_bits(b, lanes, 1), "");
  LLVMValueRef sticky = LLVMBuildAnd(at, inexact, LLVMBuildNot(at, infinite, ""), "");
  return LLVMBuildBitCast(at, LLVMBuildSelect(at, sticky, odd, bits, ""), f32, "");
}

/* -- memory ---------------------------------------------------------------------------------------------- */

LLVMValueRef value_from_memory(const value_builder *b, dtype t, uint32_t lanes, LLVMValueRef stored) {
  if (t == DTYPE_BOOL) return LLVMBuildICmp(b->builder, LLVMIntNE, stored, LLVMConstNull(LLVMTypeOf(stored)), "");
  if (t != DTYPE_BF16) return stored;
  LLVMTypeRef i32 = widen(LLVMInt32TypeInContext(b->context), lanes);
  LLVMValueRef high =
      LLVMBuildShl(b->builder, LLVMBuildZExt(b->builder, stored, i32, ""), splat_bits(b, lanes, 16), "");
  return LLVMBuildBitCast(b->builder, high, value_register_type(b, DTYPE_F32, lanes), "");
}

LLVMValueRef value_to_memory(const value_builder *b, dtype t, uint32_t lanes, LLVMValueRef v) {
  LLVMTypeRef type = value_memory_type(b, t, lanes);
  if (t == DTYPE_BOOL) return LLVMBuildZExt(b->builder, v, type, "");
  if (t != DTYPE_BF16) return v;
  LLVMTypeRef i32 = widen(LLVMInt32TypeInContext(b->context), lanes);
  LLVMValueRef bits = LLVMBuildBitCast(b->builder, v, i32, "");
  return LLVMBuildTrunc(b->builder, LLVMBuildLShr(b->builder, bits, splat_bits(b, lanes, 16), ""), type, "");
}

/* -- conversion ------------------------------------------------------------------------------------------ */

static LLVMValueRef cast_real_to_real(const value_builder *b, dtype from, dtype to, uint32_t lanes, LLVMValueRef v) {
  LLVMTypeRef type = value_register_type(b, to, lanes);
  if (to == DTYPE_F64) return LLVMBuildFPExt(b->builder, v, type, "");
  if (from != DTYPE_F64) return value_round(b, to, lanes, v);
  return to == DTYPE_BF16 ? value_round(b, to, lanes, narrow_to_odd(b, lanes, v))
                          : LLVMBuildFPTrunc(b->builder, v, type, "");
}

/* By way of double, which holds all but i64 exactly: the meaning of `cast` rounds i64 there too. */
static LLVMValueRef cast_integer_to_real(const value_builder *b, dtype from, dtype to, uint32_t lanes, LLVMValueRef v) {
  bool direct = to == DTYPE_F64 || (to == DTYPE_F32 && from != DTYPE_I64);
  LLVMTypeRef type = value_register_type(b, direct ? to : DTYPE_F64, lanes);
  LLVMValueRef real =
      dtype_is_signed(from) ? LLVMBuildSIToFP(b->builder, v, type, "") : LLVMBuildUIToFP(b->builder, v, type, "");
  return direct ? real : cast_real_to_real(b, DTYPE_F64, to, lanes, real);
}

/* The largest value of an integer type that a real type of `digits` binary digits holds. */
static double largest_integer(dtype to, int digits) {
  int bits = (int)(8 * dtype_bytes(to)) - dtype_is_signed(to);
  return ldexp(1, bits) - (bits > digits ? ldexp(1, bits - digits) : 1);
}

/* Truncated and saturated, NaN to 0. LLVM's own saturating conversion takes vectors apart. */
static LLVMValueRef cast_real_to_integer(const value_builder *b, dtype from, dtype to, uint32_t lanes, LLVMValueRef v) {
  LLVMBuilderRef at = b->builder;
  LLVMTypeRef type = value_register_type(b, to, lanes), real = LLVMTypeOf(v);
  bool is_signed = dtype_is_signed(to);
  if (lanes == 1) {
    LLVMTypeRef types[] = {type, real};
    return value_intrinsic(b, is_signed ? "llvm.fptosi.sat" : "llvm.fptoui.sat", types, 2, &v, 1);
  }
  unsigned long long bits = 8 * dtype_bytes(to) - is_signed;
  LLVMValueRef most = constant_splat(LLVMConstInt(LLVMIntTypeInContext(b->context, 8 * (unsigned)dtype_bytes(to)), bits == 64 ? ~0ull : (1ull << bits) - 1, 0), lanes);
  LLVMTypeRef element = value_register_type(b, from, 1);
  LLVMValueRef high = constant_splat(LLVMConstReal(element, largest_integer(to, from == DTYPE_F64 ? 53 : 24)), lanes);
  LLVMValueRef low = constant_splat(LLVMConstReal(element, is_signed ? -ldexp(1, (int)bits) : 0), lanes);
  LLVMValueRef above = LLVMBuildSelect(at, LLVMBuildFCmp(at, LLVMRealOLT, v, low, ""), low, v, "");
  LLVMValueRef inside = LLVMBuildSelect(at, LLVMBuildFCmp(at, LLVMRealOLE, v, high, ""), above, LLVMConstNull(real), "");
  LLVMValueRef whole = is_signed ? LLVMBuildFPToSI(at, inside, type, "") : LLVMBuildFPToUI(at, inside, type, "");
  return LLVMBuildSelect(at, LLVMBuildFCmp(at, LLVMRealOGT, v, high, ""), most, whole, "");
}

LLVMValueRef value_cast(const value_builder *b, dtype from, dtype to, uint32_t lanes, LLVMValueRef v) {
  LLVMTypeRef type = value_register_type(b, to, lanes);
  if (from == to) return v;
  if (to == DTYPE_BOOL)
    return dtype_is_real(from) ? LLVMBuildFCmp(b->builder, LLVMRealUNE, v, LLVMConstNull(LLVMTypeOf(v)), "")
                               : LLVMBuildICmp(b->builder, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
  if (dtype_is_real(from) && dtype_is_real(to)) return cast_real_to_real(b, from, to, lanes, v);
  if (dtype_is_real(to)) return cast_integer_to_real(b, from, to, lanes, v);
  if (dtype_is_real(from)) return cast_real_to_integer(b, from, to, lanes, v);
  return LLVMBuildIntCast2(b->builder, v, type, dtype_is_signed(from), "");
}
