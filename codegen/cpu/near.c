#include "codegen/cpu/near.h"

bool near_suits(dtype t, uint32_t lanes, uint32_t active, int64_t elements) {
  return lanes == NEAR_LANES && active == lanes && dtype_bytes(t) <= 4 && elements >= NEAR_WINDOW && elements <= INT32_MAX;
}

static LLVMTypeRef integers(const value_builder *b, unsigned bits, unsigned lanes) {
  LLVMTypeRef type = LLVMIntTypeInContext(b->context, bits);
  return lanes == 1 ? type : LLVMVectorType(type, lanes);
}

static LLVMValueRef number(const value_builder *b, int64_t v) { return LLVMConstInt(integers(b, 32, 1), (unsigned long long)v, 1); }

/* Offsets fit in 32 bits as the buffer does. The first and the last lane are the ends of what rises or falls. Gathers that differ by their
 * base share all but the test that the window ends inside the buffer. */
near_window near_begin(const value_builder *b, LLVMValueRef base, LLVMValueRef lanes, int64_t elements) {
  LLVMBuilderRef at = b->builder;
  LLVMTypeRef i32 = integers(b, 32, 1);
  LLVMValueRef narrow = LLVMBuildTrunc(at, lanes, integers(b, 32, NEAR_LANES), "");
  LLVMValueRef ends[] = {LLVMBuildExtractElement(at, narrow, number(b, 0), ""), LLVMBuildExtractElement(at, narrow, number(b, NEAR_LANES - 1), "")};
  LLVMValueRef least = value_intrinsic(b, "llvm.smin", &i32, 1, ends, 2);
  LLVMValueRef places = LLVMBuildSub(at, narrow, value_splat(b, least, NEAR_LANES), "");
  LLVMValueRef near = LLVMBuildICmp(at, LLVMIntULT, places, value_splat(b, number(b, NEAR_WINDOW), NEAR_LANES), "");
  LLVMValueRef all = LLVMBuildICmp(at, LLVMIntEQ, LLVMBuildBitCast(at, near, integers(b, NEAR_LANES, 1), ""), LLVMConstAllOnes(integers(b, NEAR_LANES, 1)), "");
  LLVMValueRef start = LLVMBuildSExt(at, least, integers(b, 64, 1), "");
  if (base) start = LLVMBuildAdd(at, base, start, "");
  LLVMValueRef inside = LLVMBuildICmp(at, LLVMIntSLE, start, value_integer(b, elements - NEAR_WINDOW), "");
  return (near_window){start, places, LLVMBuildAnd(at, all, inside, "")};
}

LLVMValueRef near_offsets(const value_builder *b, const near_window *w) {
  LLVMValueRef wide = LLVMBuildSExt(b->builder, w->places, integers(b, 64, NEAR_LANES), "");
  return LLVMBuildAdd(b->builder, wide, value_splat(b, w->start, NEAR_LANES), "");
}

LLVMValueRef near_widen(const value_builder *b, dtype t, LLVMValueRef gathered) {
  LLVMValueRef bits = LLVMBuildBitCast(b->builder, gathered, integers(b, 8 * (unsigned)dtype_bytes(t), NEAR_LANES), "");
  return LLVMBuildZExt(b->builder, bits, integers(b, 32, NEAR_LANES), "");
}

LLVMValueRef near_narrow(const value_builder *b, dtype t, LLVMValueRef picked) {
  LLVMValueRef bits = LLVMBuildTrunc(b->builder, picked, integers(b, 8 * (unsigned)dtype_bytes(t), NEAR_LANES), "");
  return LLVMBuildBitCast(b->builder, bits, value_memory_type(b, t, NEAR_LANES), "");
}

LLVMValueRef near_pick(const value_builder *b, dtype t, const near_window *w, LLVMValueRef loaded) {
  LLVMValueRef words = LLVMBuildBitCast(b->builder, loaded, integers(b, 8 * (unsigned)dtype_bytes(t), NEAR_WINDOW), "");
  words = LLVMBuildZExt(b->builder, words, integers(b, 32, NEAR_WINDOW), "");
  LLVMValueRef args[] = {value_lanes(b, words, 0, NEAR_LANES), w->places, value_lanes(b, words, NEAR_LANES, NEAR_LANES)};
  return value_intrinsic(b, "llvm.x86.avx512.vpermi2var.d.512", NULL, 0, args, 3);
}

/* Twice as many lanes, of which the second half is anything. */
static LLVMValueRef widened(const value_builder *b, LLVMValueRef v) {
  LLVMValueRef order[NEAR_WINDOW];
  for (uint32_t i = 0; i < NEAR_WINDOW; i++) order[i] = number(b, i);
  return LLVMBuildShuffleVector(b->builder, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(order, NEAR_WINDOW), "");
}

LLVMValueRef near_pick_bytes(const value_builder *b, const near_window *w, LLVMValueRef loaded) {
  LLVMValueRef places = LLVMBuildTrunc(b->builder, w->places, integers(b, 8, NEAR_LANES), "");
  LLVMValueRef args[] = {LLVMBuildBitCast(b->builder, loaded, integers(b, 8, NEAR_WINDOW), ""), widened(b, places)};
  LLVMValueRef picked = value_intrinsic(b, "llvm.x86.avx512.permvar.qi.256", NULL, 0, args, 2);
  return LLVMBuildBitCast(b->builder, value_lanes(b, picked, 0, NEAR_LANES), LLVMTypeOf(places), "");
}
