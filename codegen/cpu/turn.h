/* Squares that are turned over while they are copied: as many vectors as one has lanes, each read across rows that are far apart and
 * stored. Rows read along and exchanged in registers cost a fraction of that many single elements. */
#ifndef SSLC_CODEGEN_CPU_TURN_H
#define SSLC_CODEGEN_CPU_TURN_H

#include "codegen/cpu/value.h"
#include "ir/loops.h"

/* How many statements from the i-th on are the stores of such a square; 0: none are. */
uint32_t square_at(const loops *l, const block *b, uint32_t i);
/* lane i of the j-th and lane j of the i-th of n vectors with n lanes change places; n is a power of two. */
void turn_square(const value_builder *b, LLVMValueRef *v, uint32_t n);

#endif
