/* Notices a run whose embeddings become the same for all samples, from the metrics "std/NAME" and "rank/NAME" of its steps. */
#ifndef SSLC_RUNTIME_COLLAPSE_H
#define SSLC_RUNTIME_COLLAPSE_H

#include "runtime/metrics.h"

enum { MOST_WATCHED = 16 };

typedef struct {
  const metric *metrics; /* of the latest step */
  struct watched {
    const char *name;    /* of the model */
    uint32_t std;        /* which metric */
    int32_t rank;        /* -1: there is none */
    double largest;      /* std so far */
    int64_t low;         /* steps in a row that it was low */
  } items[MOST_WATCHED];
  uint32_t n;
  bool told;
} collapse_watch;

typedef struct {
  const char *name;
  double std, largest, rank; /* rank: NaN when it is not measured */
} collapse_finding;

collapse_watch collapse_watch_begin(const metric *metrics, uint32_t n);
/* Looks at the metrics of a step. True once in the life of a watch. */
bool collapse_watch_step(collapse_watch *w, collapse_finding *out);

#endif
