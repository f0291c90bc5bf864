/* Plans, as machine code and by their own interpreter, compared with the interpreter of graphs. */
#ifndef SSLC_TESTS_UNIT_WHOLE_COMPILED_H
#define SSLC_TESTS_UNIT_WHOLE_COMPILED_H

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cpu/host.h"
#include "passes/passes.h"
#include "runtime/instance.h"
#include "tests/emulation/gpu.h"

/* What a plan has to compute, and how near it has to come. */
typedef struct {
  const graph *graph; /* without derivatives to take */
  const graph_binding *bindings;
  uint32_t n_bindings;
  const graph_run *run;
  double tolerance; /* of the norm of each result */
  int runs;         /* on each number of threads; the first is compared with the interpreter */
} expectation;

/* Largest difference, relative to the norm of what is expected; what is 0 by symmetry may be rounding of numbers around 1. */
static inline double distance(const tensor_type *t, const void *found, const void *expected) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < type_elements(t); i++) {
    scalar x = element_load(t->dtype, found, i), y = element_load(t->dtype, expected, i);
    if (!dtype_is_real(t->dtype)) {
      difference += x.integer != y.integer;
      continue;
    }
    if ((isnan(x.real) && isnan(y.real)) || x.real == y.real) continue;
    difference += (x.real - y.real) * (x.real - y.real);
    norm += y.real * y.real;
  }
  if (isnan(difference)) return INFINITY;
  double rounding = 16 * (t->dtype == DTYPE_F64 ? DBL_EPSILON : t->dtype == DTYPE_F32 ? FLT_EPSILON : 0);
  return sqrt(difference) <= rounding ? 0 : norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

/* What is wrong with one instance's results, or NULL; its last ones are in `kept`. */
static inline const char *run_and_compare(instance *i, const expectation *e, void **kept, arena *a) {
  for (uint32_t k = 0; k < e->n_bindings; k++) instance_set(i, e->bindings[k].role, e->bindings[k].name, e->bindings[k].data);
  for (int run = 0; run < e->runs; run++) {
    instance_run(i);
    for (uint32_t k = 0; k < e->graph->n_results; k++) {
      const graph_result *result = &e->graph->results[k];
      const tensor_type *t = graph_type(e->graph, result->value);
      if (!kept[k]) kept[k] = arena_alloc(a, (size_t)type_bytes(t) + 1);
      if (!instance_get(i, result->role, result->name, kept[k])) return arena_printf(a, "there is no result %s \"%s\"", result->role, result->name);
      double off = run == 0 ? distance(t, kept[k], e->run->data[result->value]) : 0;
      if (off > e->tolerance) return arena_printf(a, "result %s \"%s\" is off by %g", result->role, result->name, off);
    }
  }
  return NULL;
}

/* Runs the plan on one thread and on two: results as expected, and the same bits on both. What is wrong, or NULL. */
static inline const char *compiled_fault(const plan *p, const expectation *e, const compile_options *options, arena *a) {
  const char *wrong = NULL;
  compile_report report;
  executable *code = executable_compile_cpu(p, options, &report, &wrong);
  if (!code) return wrong;
  void ***kept = ARENA_ARRAY(a, void **, 2);
  for (unsigned threads = 1; threads <= 2 && !wrong; threads++) {
    kept[threads - 1] = ARENA_ARRAY(a, void *, e->graph->n_results + 1);
    thread_pool *pool = thread_pool_new(threads);
    instance *i = instance_new(p, code, pool);
    wrong = i ? run_and_compare(i, e, kept[threads - 1], a) : "no memory";
    instance_free(i);
    thread_pool_free(pool);
  }
  for (uint32_t k = 0; k < e->graph->n_results && !wrong; k++)
    if (memcmp(kept[0][k], kept[1][k], (size_t)type_bytes(graph_type(e->graph, e->graph->results[k].value))))
      wrong = arena_printf(a, "result \"%s\" has other bits on two threads", e->graph->results[k].name);
  if (!wrong && options->checked) wrong = executable_violation(code);
  if (wrong) wrong = arena_printf(a, "%s", wrong);
  executable_free(code);
  return wrong;
}

/* The plan, made for a GPU, on the one that the tests have. What is wrong, or NULL. */
static inline const char *gpu_fault(const plan *p, const expectation *e, arena *a) {
  const char *wrong = NULL;
  device *d = gpu_device_new(p, &wrong);
  if (!d) return wrong;
  char *failed = NULL;
  instance *i = instance_on(p, d, &failed);
  wrong = i ? run_and_compare(i, e, ARENA_ARRAY(a, void *, e->graph->n_results + 1), a) : arena_string(a, failed);
  free(failed);
  if (i && !wrong && d->failure(d)) wrong = arena_printf(a, "%s", d->failure(d));
  instance_free(i);
  return wrong;
}

/* The buffer in which a result ends: that of the name, or what takes the place of a state. */
static inline uint32_t buffer_of_result(const plan *p, const graph_result *result) {
  uint32_t found = (uint32_t)plan_find(p, result->role, result->name);
  for (uint32_t b = 0; b < p->n_buffers; b++)
    if (p->buffers[b].alias == (int32_t)found) return b;
  return found;
}

/* Interprets the loops of a plan. What is wrong, or NULL. */
static inline const char *interpreted_fault(const plan *p, const expectation *e, arena *a) {
  const char *error = NULL;
  void **data = plan_interpret(p, e->bindings, e->n_bindings, a, &error);
  for (uint32_t k = 0; data && k < e->graph->n_results; k++) {
    const graph_result *result = &e->graph->results[k];
    const tensor_type *t = graph_type(e->graph, result->value);
    if (plan_find(p, result->role, result->name) < 0) return arena_printf(a, "there is no result %s \"%s\"", result->role, result->name);
    double off = distance(t, data[buffer_of_result(p, result)], e->run->data[result->value]);
    if (off > e->tolerance) return arena_printf(a, "result %s \"%s\" is off by %g when its loops are interpreted", result->role, result->name, off);
  }
  return error;
}

#endif
