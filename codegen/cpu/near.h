/* Gathers of lanes that lie near each other, as along a row that is resized: one window of memory, and lanes picked out of it. */
#ifndef SSLC_CODEGEN_CPU_NEAR_H
#define SSLC_CODEGEN_CPU_NEAR_H

#include "codegen/cpu/value.h"

enum { NEAR_LANES = 16, NEAR_WINDOW = 2 * NEAR_LANES };

/* For processors with AVX-512. */
bool near_suits(dtype t, uint32_t lanes, uint32_t active, int64_t elements);

typedef struct {
  LLVMValueRef start;  /* i64: the window's first element; what several gathers add is `base` */
  LLVMValueRef places; /* i32, 16 lanes: from there on */
  LLVMValueRef holds;  /* i1: all are in the window, and the window is in the buffer */
} near_window;

/* Offsets are `base`, i64 or NULL, + `lanes`, 16 of i64. */
near_window near_begin(const value_builder *b, LLVMValueRef base, LLVMValueRef lanes, int64_t elements);
/* Those offsets again: the window keeps none of them alive. */
LLVMValueRef near_offsets(const value_builder *b, const near_window *w);
/* Bytes are picked as they are where the processor has AVX-512 VBMI, or else in 32 bits. */
LLVMValueRef near_pick_bytes(const value_builder *b, const near_window *w, LLVMValueRef loaded);
/* Lanes out of `loaded`, the window; small integers in 32 bits. */
LLVMValueRef near_pick(const value_builder *b, dtype t, const near_window *w, LLVMValueRef loaded);
/* What was gathered one by one, as near_pick has it, and what either has as it is in memory. */
LLVMValueRef near_widen(const value_builder *b, dtype t, LLVMValueRef gathered);
LLVMValueRef near_narrow(const value_builder *b, dtype t, LLVMValueRef picked);

#endif
