/* Which features are most similar to given ones. */
#ifndef SSLC_RUNTIME_NEIGHBOURS_H
#define SSLC_RUNTIME_NEIGHBOURS_H

#include "runtime/judge.h"

typedef struct {
  float similarity; /* the cosine, summed in f32 in the order of features: the same bits on every machine */
  int64_t train;
} neighbour;

/* How neighbours are found says nothing about which: similarities of all pairs in f32, or of all pairs in bf16 first, and in f32 of those
 * alone that bounds on the rounding leave. The latter has half the products where the machine multiplies bf16. */
typedef enum { NEIGHBOURS_WIDE, NEIGHBOURS_NARROW } neighbours_way;
neighbours_way neighbours_faster(const judge_task *task, int64_t k);

/* out[test.n][k], nearest first; of equal ones the earlier is nearer. k is at most train.n. False when memory is short. */
bool neighbours_find(thread_pool *pool, const judge_task *task, int64_t k, neighbours_way way, neighbour *out);

#endif
