#include "runtime/draws.h"

#include "ir/op.h"

static uint64_t next_bits(draws *d) {
  uint64_t bits = 0;
  for (int half = 0; half < 2; half++) {
    scalar args[6] = {{.integer = (uint32_t)d->seed},
                      {.integer = (int64_t)(d->seed >> 32)},
                      {.integer = (uint32_t)(2 * d->next + half)},
                      {.integer = (uint32_t)(2 * d->next >> 32) ^ (uint32_t)d->stream},
                      {.integer = (uint32_t)d->position},
                      {.integer = (uint32_t)((uint64_t)d->position >> 32)}};
    bits = bits << 32 | (uint32_t)op_evaluate(OP_RANDOM_BITS, DTYPE_U32, DTYPE_U32, args).integer;
  }
  d->next++;
  return bits;
}

int64_t draw_below(draws *d, int64_t n) { return (int64_t)(((unsigned __int128)next_bits(d) * (uint64_t)n) >> 64); }
