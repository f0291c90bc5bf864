/* What every graph pass does: walk a graph in order and build another, mapping old values to new ones.
 * A pass decides about the nodes it cares for and copies the rest. */
#ifndef SSLC_PASSES_REBUILD_H
#define SSLC_PASSES_REBUILD_H

#include "passes/passes.h"

typedef struct {
  const graph *from;
  graph *into;
  value *map; /* per value of `from`: its counterpart in `into`; 0: none (yet) */
  pass_context *context;
  const char *pass;    /* named when something goes wrong */
  graph_pass *regions; /* what becomes of the regions of loops; NULL: nothing */
  bool failed;
} rebuild;

rebuild rebuild_begin(const graph *from, pass_context *c, const char *pass, graph_pass *regions);
/* Adds the node with its operands mapped, and maps its results. Gives the first new result; 0 after a
 * failure, which rebuild_end returns to the caller of the pass. */
value rebuild_copy(rebuild *r, uint32_t node_index);
/* Reports, once, that the pass cannot go on. */
void rebuild_fail(rebuild *r, span where, const char *why);
/* Adds the results of the graph; NULL after a failure. */
graph *rebuild_end(rebuild *r);

/* Rewriting may merge a value with the one that a grad node differentiates by, so the simplifying
 * passes leave a graph with such a node as it is. */
bool graph_has_grad(const graph *g);

#endif
