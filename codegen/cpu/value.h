/* Element types in LLVM. In a register a bool is i1, a bf16 is a float that holds a bf16 value, the
 * others are themselves; in memory a bool is a byte of 0 or 1 and a bf16 its 16 bits. */
#ifndef SSLC_CODEGEN_CPU_VALUE_H
#define SSLC_CODEGEN_CPU_VALUE_H

#include <llvm-c/Core.h>

#include "ir/op.h"

enum { MAX_LANES = 256 };

typedef struct {
  LLVMContextRef context;
  LLVMModuleRef module;
  LLVMBuilderRef builder;
  bool dots; /* AVX512_BF16 */
  bool scales; /* AVX-512: VSCALEFPS */
} value_builder;

LLVMTypeRef value_register_type(const value_builder *b, dtype t, uint32_t lanes);
LLVMTypeRef value_memory_type(const value_builder *b, dtype t, uint32_t lanes);
LLVMValueRef value_constant(const value_builder *b, dtype t, uint32_t lanes, scalar v);
LLVMValueRef value_integer(const value_builder *b, int64_t v); /* i64 */
LLVMValueRef value_splat(const value_builder *b, LLVMValueRef scalar_value, uint32_t lanes);
/* i1 per lane, set in the first `active`. */
LLVMValueRef value_mask(const value_builder *b, uint32_t lanes, uint32_t active);
/* Lanes first .. first + count - 1 as a vector, or as a scalar when count is 1. */
LLVMValueRef value_lanes(const value_builder *b, LLVMValueRef v, uint32_t first, uint32_t count);

LLVMValueRef value_from_memory(const value_builder *b, dtype t, uint32_t lanes, LLVMValueRef stored);
LLVMValueRef value_to_memory(const value_builder *b, dtype t, uint32_t lanes, LLVMValueRef v);
/* Rounds what float arithmetic made to the nearest bf16, ties to even; other types pass unchanged. */
LLVMValueRef value_round(const value_builder *b, dtype t, uint32_t lanes, LLVMValueRef v);
LLVMValueRef value_cast(const value_builder *b, dtype from, dtype to, uint32_t lanes, LLVMValueRef v);

/* Calls the intrinsic `name`, overloaded on `types`. */
/* The first lanes of two or four values, then their second ones, and so on. */
LLVMValueRef value_interleave(const value_builder *b, const LLVMValueRef *values, uint32_t n, uint32_t lanes);

LLVMValueRef value_intrinsic(const value_builder *b, const char *name, LLVMTypeRef *types, unsigned n_types,
                             LLVMValueRef *args, unsigned n_args);

/* One native elementwise op; NULL when the op is not native (a pass should have expanded it). */
LLVMValueRef value_apply(const value_builder *b, op_id op, dtype operand, dtype result, uint32_t lanes,
                         const LLVMValueRef *args);
/* args[2] + both products of the pairs args[0] and args[1]. */
LLVMValueRef value_dot(const value_builder *b, uint32_t lanes, const LLVMValueRef *args);
LLVMValueRef value_scale(const value_builder *b, uint32_t lanes, LLVMValueRef of, LLVMValueRef power);
LLVMValueRef value_fma(const value_builder *b, dtype t, uint32_t lanes, const LLVMValueRef *args);

#endif
