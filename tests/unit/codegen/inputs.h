/* Random inputs of a kernel as its buffers lie, and results compared bit by bit. */
#ifndef SSLC_TESTS_UNIT_CODEGEN_INPUTS_H
#define SSLC_TESTS_UNIT_CODEGEN_INPUTS_H

#include "tests/unit/codegen/launch.h"
#include "tests/unit/passes/lower_testing.h"

static inline void **laid_out_inputs(const kernel *k, arena *a) {
  uint64_t seed = 7;
  void **laid = ARENA_ARRAY(a, void *, k->n_buffers);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    laid[i] = arena_alloc(a, (size_t)layout_bytes(&b->layout, &b->type) + 64);
    if (b->access == ACCESS_IN) layout_scatter(&b->layout, &b->type, random_elements(&b->type, a, &seed), laid[i]);
  }
  return laid;
}

/* Equal up to the payload of a NaN. */
static inline void assert_same(const loops *l, uint32_t buffer, const void *found, const void *expected) {
  dtype t = l->buffers[buffer].type;
  for (int64_t e = 0; e < l->buffers[buffer].elements; e++) {
    scalar x = element_load(t, found, e), y = element_load(t, expected, e);
    bool real = dtype_is_real(t);
    if (real ? x.real == y.real || (isnan(x.real) && isnan(y.real)) : x.integer == y.integer) continue;
    fail_msg("%s: %s element %lld: %.17g, should be %.17g", l->name, l->buffers[buffer].name, (long long)e,
             real ? x.real : (double)x.integer, real ? y.real : (double)y.integer);
  }
}

#endif
