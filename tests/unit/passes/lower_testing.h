/* Runs a kernel's definition and its lowered loops on the same random inputs and compares. */
#ifndef SSLC_TESTS_LOWER_TESTING_H
#define SSLC_TESTS_LOWER_TESTING_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/kernel.h"
#include "ir/loops.h"
#include "passes/passes.h"

static inline uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

static inline kernel *kernel_of_text(arena *a, const char *text) {
  sources *s = sources_new(a);
  diagnostics *d = diagnostics_new(a, s);
  uint32_t offset = 0;
  kernel *k = kernel_parse(a, sources_add(s, "test", text, strlen(text)), &offset, d);
  if (!k) fail_msg("%s\n%s", text, diagnostics_render(d, a, false));
  const char *wrong = kernel_verify(k, a);
  if (wrong) fail_msg("%s\n%s", text, wrong);
  return k;
}

static inline void *random_elements(const tensor_type *t, arena *a, uint64_t *seed) {
  int64_t n = type_elements(t);
  void *data = arena_alloc(a, (size_t)n * dtype_bytes(t->dtype) + 64);
  for (int64_t i = 0; i < n; i++) {
    double r = (double)next_random(seed) / (double)(1u << 31) * 4 - 2;
    scalar v;
    if (dtype_is_real(t->dtype)) v.real = r;
    else v.integer = (int64_t)next_random(seed) % (t->dtype == DTYPE_BOOL ? 2 : 37);
    element_store(t->dtype, data, i, v);
  }
  return data;
}

static inline bool close_enough(dtype t, scalar x, scalar y) {
  if (!dtype_is_real(t)) return x.integer == y.integer;
  if (isnan(x.real) || isnan(y.real)) return isnan(x.real) && isnan(y.real);
  double tolerance = t == DTYPE_F64 ? 1e-10 : t == DTYPE_F32 ? 2e-5 : 4e-2;
  return x.real == y.real || fabs(x.real - y.real) <= tolerance * (1 + fabs(x.real) + fabs(y.real));
}

/* What is wrong with the loops of a kernel, or NULL. */
static inline const char *lowering_fault(const kernel *k, arena *a, uint64_t seed, loops **out) {
  const char *error = NULL;
  loops *l = lower_kernel(k, a, &error);
  *out = l;
  if (!l) return error;
  const char *wrong = loops_verify(l, a);
  if (wrong) return wrong;
  void **plain = ARENA_ARRAY(a, void *, k->n_buffers), **laid = ARENA_ARRAY(a, void *, k->n_buffers);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    plain[i] = random_elements(&b->type, a, &seed);
    laid[i] = arena_alloc(a, (size_t)layout_bytes(&b->layout, &b->type));
    if (b->access == ACCESS_IN) layout_scatter(&b->layout, &b->type, plain[i], laid[i]);
  }
  kernel_interpret(k, plain, a);
  loops_interpret(l, laid, a);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    if (b->access == ACCESS_IN) continue;
    void *back = arena_alloc(a, (size_t)type_bytes(&b->type) + 16);
    layout_gather(&b->layout, &b->type, laid[i], back);
    for (int64_t e = 0; e < type_elements(&b->type); e++) {
      scalar want = element_load(b->type.dtype, plain[i], e), got = element_load(b->type.dtype, back, e);
      if (close_enough(b->type.dtype, want, got)) continue;
      if (dtype_is_real(b->type.dtype))
        return arena_printf(a, "%s element %lld: %.9g, should be %.9g", b->name, (long long)e, got.real, want.real);
      return arena_printf(a, "%s element %lld: %lld, should be %lld", b->name, (long long)e, (long long)got.integer,
                          (long long)want.integer);
    }
  }
  return NULL;
}

static inline void check_kernel(const char *text) {
  arena *a = arena_new();
  loops *l = NULL;
  const char *fault = lowering_fault(kernel_of_text(a, text), a, 1, &l);
  if (getenv("SHOW_LOOPS") && l) puts(loops_print(l, a));
  if (fault) fail_msg("%s\n%s%s", fault, text, l ? loops_print(l, a) : "");
  arena_free(a);
}

#endif
