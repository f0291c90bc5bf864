/* Random numbers of data and its order: Philox of a seed and a place, so that each is the same whenever it is asked for. */
#ifndef SSLC_RUNTIME_DRAWS_H
#define SSLC_RUNTIME_DRAWS_H

#include <stdint.h>

/* A stream for each use, apart from the random numbers of programs, which have 0 there. */
typedef enum { DRAWS_OF_ORDER = 0x6F726472, DRAWS_OF_TASKS = 0x7461736B, DRAWS_OF_PARTS = 0x70617274 } draw_stream;

typedef struct {
  uint64_t seed;
  draw_stream stream;
  int64_t position; /* of an epoch, of a task, ... */
  int64_t next;     /* draw at this position */
} draws;

/* The next number from 0 to n - 1, uneven by less than one in 2^32 for n below 2^32. */
int64_t draw_below(draws *d, int64_t n);

#endif
