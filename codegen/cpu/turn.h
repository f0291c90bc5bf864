/* Squares that are turned over while they are copied: as many vectors as one has lanes, each read across rows that are far apart and
 * stored. Rows read along and exchanged in registers cost a fraction of that many single elements. */
#ifndef SSLC_CODEGEN_CPU_TURN_H
#define SSLC_CODEGEN_CPU_TURN_H

#include "codegen/cpu/value.h"
#include "ir/loops.h"

enum { LARGEST_SQUARE = 64 };

typedef struct {
  const loops_expr *load;
  const statement *store;
  int32_t into; /* the register by way of which it is stored; -1: none */
  uint32_t end; /* the number of the statement behind it */
} square_column;

/* How many columns such a square has whose first begins with the i-th statement; 0: none begins there. Between them stands nothing but
 * SETs of their offsets and FETCHes. */
uint32_t square_at(const loops *l, const block *b, uint32_t i, square_column *columns);
/* lane i of the j-th and lane j of the i-th of n vectors with n lanes change places; n is a power of two. */
void turn_square(const value_builder *b, LLVMValueRef *v, uint32_t n);

#endif
