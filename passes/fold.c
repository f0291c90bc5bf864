/* Computes what depends on small constants alone, by the reference interpreter, in one run for all.
 * Index ramps stay: as part of a kernel they cost less than reading a table of their values. */
#include "passes/rebuild.h"

enum { MAX_FOLDED_ELEMENTS = 4096 };

static bool is_small(const graph *g, value v) {
  const int64_t n = type_elements(graph_type(g, v));
  return n >= 0 && n <= MAX_FOLDED_ELEMENTS;
}

/* Per node: is its value known and small? */
static bool *known_nodes(const graph *g, arena *a, uint32_t *n_computed) {
  bool *known = ARENA_ARRAY(a, bool, g->n_nodes);
  *n_computed = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    if (n->n_results != 1 || n->op == OP_REPEAT || !is_small(g, n->first_result)) continue;
    known[i] = n->op == OP_CONSTANT || n->n_operands > 0;
    for (uint32_t k = 0; k < n->n_operands && known[i]; k++) known[i] = known[g->values[n->operands[k]].node];
    if (known[i] && n->op != OP_CONSTANT) (*n_computed)++;
  }
  return known;
}

static bool all_equal(const tensor_type *t, const void *elements) {
  const size_t bytes = dtype_bytes(t->dtype), n = (size_t)type_elements(t);
  const char *first = elements;
  return n > 0 && (n == 1 || memcmp(first, first + bytes, (n - 1) * bytes) == 0);
}

static value known_constant(graph *g, const tensor_type *type, const void *elements, span where) {
  if (!all_equal(type, elements)) return graph_literal(g, *type, elements, where);
  return graph_splat(g, *type, element_load(type->dtype, elements, 0), where);
}

graph *pass_fold(const graph *g, pass_context *c) {
  rebuild r = rebuild_begin(g, c, "fold", pass_fold);
  uint32_t n_computed;
  const bool *known = known_nodes(g, c->arena, &n_computed);
  rebuild constants = rebuild_begin(g, c, "fold", NULL);
  const graph_run *run = NULL;
  if (n_computed && !graph_has_grad(g)) {
    for (uint32_t i = 0; i < g->n_nodes; i++)
      if (known[i]) rebuild_copy(&constants, i);
    const char *error = NULL;
    run = graph_interpret(constants.into, NULL, 0, c->arena, &error);
    if (!run) rebuild_fail(&r, (span){0}, error ? error : "constants cannot be computed");
  }
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    if (run && known[i] && n->op != OP_CONSTANT) {
      const void *elements = run->data[constants.map[n->first_result]];
      r.map[n->first_result] = known_constant(r.into, graph_type(g, n->first_result), elements, n->where);
    } else {
      rebuild_copy(&r, i);
    }
  }
  return rebuild_end(&r);
}
