/* The ops whose lowering is "math" as expressions of native ones, over vectors of any width. */
#ifndef SSLC_PASSES_MATH_H
#define SSLC_PASSES_MATH_H

#include "ir/loops.h"

typedef struct math_builder {
  loops *loops;
  void *context;
  /* Puts a value that is used several times into a register; what it returns stands for it. */
  const loops_expr *(*share)(void *context, const loops_expr *e);
} math_builder;

/* `args` have equal lanes and the type of the op's operands; reals are f32 or f64, which becomes
 * calls of the backend's library. NULL when the op has no expansion. */
const loops_expr *math_expand(const math_builder *b, op_id op, const loops_expr *const *args, uint32_t n);

/* The four words of random bits of each four counters that differ in the lowest two bits of the first: args[2] is a quarter of it. */
void math_random_words(const math_builder *b, const loops_expr *const *args, const loops_expr *words[4]);

#endif
