/* Random legal schedules: the food of tests that a schedule changes no meaning. */
#ifndef SSLC_TESTS_RANDOM_SCHEDULE_H
#define SSLC_TESTS_RANDOM_SCHEDULE_H

#include "ir/kernel.h"
#include "tests/random_graph.h"

/* A legal schedule of any kernel: every axis is cut at random and the loops are shuffled, each axis keeping its own in order;
 * some loops are unrolled, peeled, or run in parallel or in lanes. Not every legal one can be carried out. */
void schedule_at_random(kernel *k, random_source *r, arena *a);

#endif
