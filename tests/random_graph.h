/* Random well-typed graphs over the whole table of primitives, on small tensors with odd and size-1
 * axes: the food of differential tests. The same seed gives the same graph. */
#ifndef SSLC_TESTS_RANDOM_GRAPH_H
#define SSLC_TESTS_RANDOM_GRAPH_H

#include "ir/graph.h"

typedef struct {
  uint64_t state;
} random_source;

uint64_t random_bits(random_source *r);
/* Uniform in 0..n-1. */
uint32_t random_below(random_source *r, uint32_t n);
double random_real(random_source *r, double low, double high);

/* About n_nodes nodes; reals are of type `real`, and finite. The last few values are its outputs "o0", "o1",
 * ... Only smooth ops with a derivative when `differentiable`: then there is one real scalar output. */
graph *random_graph(random_source *r, uint32_t n_nodes, dtype real, bool differentiable, arena *a);
/* Two scalar objectives over about n_nodes nodes, their derivatives by parameters, and derivatives of what is made of
 * these: the graph has grad nodes, one of which another goes through. */
graph *random_training_graph(random_source *r, uint32_t n_nodes, dtype real, arena *a);
/* Random elements for every parameter of the graph. */
graph_binding *random_bindings(random_source *r, const graph *g, arena *a, uint32_t *n);

#endif
