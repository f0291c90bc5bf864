/* What the files of differentiation share: reverse accumulation, of which loops are a part. */
#ifndef SSLC_PASSES_AUTODIFF_H
#define SSLC_PASSES_AUTODIFF_H

#include "passes/rebuild.h"

typedef struct {
  rebuild *rebuild;    /* of the pass, for errors */
  graph *graph;        /* that derivatives are added to */
  const bool *reached; /* per value: depends on what is differentiated by */
  value *cotangent;    /* per value: the sum so far; 0: none */
} accumulation;

/* Adds to the cotangent of a value; false when there is nothing to add. */
bool add_cotangent(accumulation *s, value to, value contribution);
/* Carries cotangents from the results of nodes `last` down to `first` to what they are made from; false after an error. */
bool pull_back(accumulation *s, uint32_t first, uint32_t last);

/* -- autodiff_repeat.c ----------------------------------------------------------------------------------------- */

/* Copies a loop that is going to be differentiated: its results are followed by a stack of what each carry was at the
 * start of each iteration, which derive_repeat relies on. A long loop with large carries becomes a loop of loops. */
void copy_with_starts(rebuild *r, uint32_t node_index);
/* The cotangents of a loop's results, carried to its operands by a loop the other way round. */
bool derive_repeat(accumulation *s, uint32_t node_index);
/* The pass inside of a region all of whose loops are going to be differentiated. */
graph *autodiff_region(const graph *g, pass_context *c);

#endif
