#include "runtime/sampler.h"

#include <stdlib.h>

#include "ir/op.h"
#include "runtime/failure.h"

/* 64 bits: draw `draw` of an epoch. The second counter word keeps them apart from the random numbers of
 * programs, which have 0 there. */
static uint64_t draw_bits(uint64_t seed, int64_t epoch, int64_t draw) {
  const uint32_t orders = 0x6F726472;
  uint64_t bits = 0;
  for (int half = 0; half < 2; half++) {
    scalar args[6] = {{.integer = (uint32_t)seed},
                      {.integer = (int64_t)(seed >> 32)},
                      {.integer = (uint32_t)(2 * draw + half)},
                      {.integer = (uint32_t)(2 * draw >> 32) ^ orders},
                      {.integer = (uint32_t)epoch},
                      {.integer = (uint32_t)((uint64_t)epoch >> 32)}};
    bits = bits << 32 | (uint32_t)op_evaluate(OP_RANDOM_BITS, DTYPE_U32, DTYPE_U32, args).integer;
  }
  return bits;
}

/* Fisher and Yates. Scaling 64 bits to a range below 2^32 is uneven by less than one in 2^32. */
void sampler_permutation(uint64_t seed, int64_t epoch, int64_t n, int64_t *order) {
  for (int64_t i = 0; i < n; i++) {
    int64_t other = (int64_t)(((unsigned __int128)draw_bits(seed, epoch, i) * (uint64_t)(i + 1)) >> 64);
    order[i] = order[other];
    order[other] = i;
  }
}

struct sampler {
  uint64_t seed;
  int64_t n, batch, epoch; /* of `order`; -1: none yet */
  int64_t *order;
};

sampler *sampler_new(uint64_t seed, int64_t n, int64_t batch, char **error) {
  *error = NULL;
  if (batch < 1 || n < batch) {
    failure(error, "a batch of %lld cannot be filled from %lld samples; choose a batch from 1 to %lld", (long long)batch, (long long)n,
            (long long)n);
    return NULL;
  }
  sampler *s = malloc(sizeof *s);
  if (s) *s = (sampler){seed, n, batch, -1, malloc((size_t)n * sizeof *s->order)};
  if (s && s->order) return s;
  failure(error, "no memory for the order of %lld samples", (long long)n);
  sampler_free(s);
  return NULL;
}

void sampler_free(sampler *s) {
  if (s) free(s->order);
  free(s);
}

int64_t sampler_steps_per_epoch(const sampler *s) { return s->n / s->batch; }

const int64_t *sampler_batch(sampler *s, int64_t step) {
  int64_t steps = sampler_steps_per_epoch(s), epoch = step / steps;
  if (epoch != s->epoch) sampler_permutation(s->seed, epoch, s->n, s->order);
  s->epoch = epoch;
  return s->order + step % steps * s->batch;
}
