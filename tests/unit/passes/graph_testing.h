/* What tests of graph passes share: building small graphs, running passes, and the interpreter. */
#ifndef SSLC_TESTS_GRAPH_TESTING_H
#define SSLC_TESTS_GRAPH_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "passes/passes.h"

#define UNUSED_FUNCTION __attribute__((unused)) static

typedef struct {
  arena *arena;
  pass_context context;
  uint64_t random;
} bench;

UNUSED_FUNCTION int bench_setup(void **state) {
  bench *b = calloc(1, sizeof *b);
  if (!b) return -1;
  b->arena = arena_new();
  b->context = (pass_context){.arena = b->arena, .diagnostics = diagnostics_new(b->arena, sources_new(b->arena))};
  b->random = 0x9e3779b97f4a7c15u;
  *state = b;
  return 0;
}

UNUSED_FUNCTION int bench_teardown(void **state) {
  bench *b = *state;
  arena_free(b->arena);
  free(b);
  return 0;
}

/* splitmix64 (Steele et al., OOPSLA 2014), as a double in [0, 1). */
UNUSED_FUNCTION double bench_random(bench *b) {
  uint64_t z = (b->random += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* A shape by its dimensions, e.g. shaped(DTYPE_F64, 2, 3, 5). */
UNUSED_FUNCTION tensor_type shaped(dtype type, uint32_t rank, ...) {
  tensor_type t = scalar_type(type);
  t.rank = rank;
  va_list dims;
  va_start(dims, rank);
  for (uint32_t i = 0; i < rank; i++) t.dim[i] = va_arg(dims, int);
  va_end(dims);
  return t;
}

/* A place of one byte, so that a test can tell nodes by where they come from. */
UNUSED_FUNCTION span place(uint32_t at) { return (span){.file = 1, .start = at, .end = at + 1}; }

UNUSED_FUNCTION value sum_all(graph *g, value x, span where) {
  int64_t axes[MAX_RANK];
  for (uint32_t i = 0; i < MAX_RANK; i++) axes[i] = i;
  const uint32_t rank = graph_type(g, x)->rank;
  return rank ? graph_reduce(g, OP_REDUCE_SUM, x, axes, rank, where) : x;
}

/* The graph after the pass, which has to report nothing and give something sound. */
UNUSED_FUNCTION graph *after(bench *b, graph_pass *pass, const graph *g) {
  const char *wrong = graph_verify(g, b->arena);
  if (wrong) fail_msg("before the pass: %s", wrong);
  graph *changed = pass(g, &b->context);
  if (!changed) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  wrong = graph_verify(changed, b->arena);
  if (wrong) fail_msg("after the pass: %s", wrong);
  return changed;
}

UNUSED_FUNCTION uint32_t count_op(const graph *g, op_id op) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
  return n;
}

/* All values of the graph for these inputs. */
UNUSED_FUNCTION graph_run *interpret(bench *b, const graph *g, const graph_binding *bindings, uint32_t n) {
  const char *error = NULL;
  graph_run *run = graph_interpret(g, bindings, n, b->arena, &error);
  if (!run) fail_msg("%s", error);
  return run;
}

/* The data of a result. */
UNUSED_FUNCTION void *result_data(const graph *g, const graph_run *run, const char *name) {
  for (uint32_t i = 0; i < g->n_results; i++)
    if (strcmp(g->results[i].name, name) == 0) return run->data[g->results[i].value];
  fail_msg("no result %s", name);
  return NULL;
}

#endif
