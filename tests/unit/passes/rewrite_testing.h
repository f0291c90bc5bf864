/* What tests of rewrites share: graphs by their text, and the interpreter before and behind a pass. */
#ifndef SSLC_TESTS_REWRITE_TESTING_H
#define SSLC_TESTS_REWRITE_TESTING_H

#include "graph_testing.h"

UNUSED_FUNCTION graph *parsed(bench *b, const char *body) {
  const char *text = arena_printf(b->arena, "graph t {\n%s}\n", body);
  const uint32_t file = sources_add(b->context.diagnostics->sources, "test", text, strlen(text));
  graph *g = graph_parse(b->arena, file, b->context.diagnostics);
  if (!g) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  return g;
}

/* Numbers of mixed signs, some whole, some zero. */
UNUSED_FUNCTION void *random_data(bench *b, const tensor_type *t) {
  const int64_t n = type_elements(t);
  void *data = arena_alloc(b->arena, (size_t)type_bytes(t));
  for (int64_t i = 0; i < n; i++) {
    const double u = bench_random(b);
    const scalar v = {.real = u < 0.2 ? floor(u * 25) - 2 : 8 * u - 4.5};
    element_store(t->dtype, data, i, scalar_convert(DTYPE_F64, t->dtype, v));
  }
  return data;
}

UNUSED_FUNCTION uint32_t random_bindings(bench *b, const graph *g, graph_binding *out) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *p = &g->nodes[i];
    if (p->op != OP_PARAMETER) continue;
    out[n++] = (graph_binding){node_attribute(p, ATTR_ROLE)->as.text, node_attribute(p, ATTR_NAME)->as.text,
                               random_data(b, graph_type(g, p->first_result))};
  }
  return n;
}

UNUSED_FUNCTION double as_double(dtype t, const void *data, int64_t i) {
  return scalar_convert(t, DTYPE_F64, element_load(t, data, i)).real;
}

UNUSED_FUNCTION void assert_same_results(bench *b, const graph *before, const graph *behind) {
  graph_binding bindings[16];
  const uint32_t n = random_bindings(b, before, bindings);
  const graph_run *old = interpret(b, before, bindings, n), *new = interpret(b, behind, bindings, n);
  assert_int_equal(before->n_results, behind->n_results);
  for (uint32_t i = 0; i < before->n_results; i++) {
    const tensor_type *t = graph_type(before, before->results[i].value);
    assert_true(type_equal(t, graph_type(behind, behind->results[i].value)));
    for (int64_t k = 0; k < type_elements(t); k++) {
      const double x = as_double(t->dtype, old->data[before->results[i].value], k);
      const double y = as_double(t->dtype, new->data[behind->results[i].value], k);
      const bool same = (isnan(x) && isnan(y)) || x == y || fabs(x - y) <= 1e-9 * (1 + fabs(x));
      if (!same) fail_msg("element %lld was %.12g and is %.12g", (long long)k, x, y);
    }
  }
}

#endif
