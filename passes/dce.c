/* Drops every node that no result needs. A state that has a result keeps its parameter even when the
 * new value does not depend on the old one: the pair is one place in memory. */
#include "passes/rebuild.h"

graph *pass_dce(const graph *g, pass_context *c) {
  rebuild r = rebuild_begin(g, c, "dce");
  const bool *live = graph_live_nodes(g, c->arena);
  for (uint32_t i = 0; i < g->n_nodes; i++)
    if (live[i]) rebuild_copy(&r, i);
  return rebuild_end(&r);
}
