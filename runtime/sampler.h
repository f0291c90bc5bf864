/* The order in which training sees its samples: a pure function of seed and epoch, on any machine. */
#ifndef SSLC_RUNTIME_SAMPLER_H
#define SSLC_RUNTIME_SAMPLER_H

#include <stdint.h>

/* order[0..n): a permutation of 0..n-1, uniform over seeds and epochs. */
void sampler_permutation(uint64_t seed, int64_t epoch, int64_t n, int64_t *order);

typedef struct sampler sampler;

/* Batches of `batch` of the n samples; each epoch drops the samples that fill no batch. NULL and *error
 * (malloc'ed) when there are fewer samples than one batch takes. */
sampler *sampler_new(uint64_t seed, int64_t n, int64_t batch, char **error);
void sampler_free(sampler *s);
int64_t sampler_steps_per_epoch(const sampler *s);
/* The samples of a step, counted from the start of training; valid until the next call. One caller at a time. */
const int64_t *sampler_batch(sampler *s, int64_t step);

#endif
