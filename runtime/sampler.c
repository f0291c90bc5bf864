#include "runtime/sampler.h"

#include <stdlib.h>

#include "runtime/draws.h"
#include "runtime/failure.h"

/* Fisher and Yates. */
void sampler_permutation(uint64_t seed, int64_t epoch, int64_t n, int64_t *order) {
  draws d = {seed, DRAWS_OF_ORDER, epoch, 0};
  for (int64_t i = 0; i < n; i++) {
    int64_t other = draw_below(&d, i + 1);
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
