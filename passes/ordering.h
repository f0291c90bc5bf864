/* Launches of a plan and what they wait for: what passes look at that move them. */
#ifndef SSLC_PASSES_ORDERING_H
#define SSLC_PASSES_ORDERING_H

#include "ir/plan.h"

typedef struct {
  uint32_t *items;
  uint32_t n, capacity;
} index_list;

typedef struct {
  plan *plan;
  arena *arena;
  index_list *readers; /* per buffer: launches, each once */
  index_list *reads;   /* per launch: buffers, each once */
  int64_t *made;       /* per launch: bytes of what it writes */
  int32_t *writer;     /* per buffer: its launch, or -1 */
  int32_t *state;      /* per buffer that is the next value of a state: the state's buffer, or -1 */
  int64_t *bytes;      /* per buffer: 0 where it is not a temporary */
  int64_t *inside;     /* per launch: what a loop needs beside, as long as it runs */
} ordering;

ordering ordering_of(plan *p, arena *a);

/* Per buffer: how many launches have yet to read it. */
uint32_t *ordering_waiting(const ordering *o);
/* What changes in use when a launch runs: its outputs come (`made`, together with what it needs beside), and inputs go that nobody else
 * waits for. */
int64_t ordering_growth(const ordering *o, uint32_t launch, const uint32_t *waiting, int64_t *made);
void ordering_run(const ordering *o, uint32_t launch, uint32_t *waiting);

/* Per launch: those that have to come before it, and behind it. Readers come behind writers; and a state is overwritten behind those that
 * read it, as far as it is with launches at these positions. */
typedef struct {
  index_list *before, *behind;
} dependences;
dependences ordering_dependences(const ordering *o, const uint32_t *positions);

#endif
