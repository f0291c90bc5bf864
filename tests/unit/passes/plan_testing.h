/* What tests of plan passes share: graphs from text, and plans against the interpreter of graphs. */
#ifndef SSLC_TESTS_PLAN_TESTING_H
#define SSLC_TESTS_PLAN_TESTING_H

#include "graph_testing.h"

#include "ir/scan.h"
#include "tests/random_graph.h"

UNUSED_FUNCTION graph *parsed_graph(bench *b, const char *body) {
  const char *text = arena_printf(b->arena, "graph t {\n%s}\n", body);
  const uint32_t file = sources_add(b->context.diagnostics->sources, "test", text, strlen(text));
  graph *g = graph_parse(b->arena, file, b->context.diagnostics);
  if (!g) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  return g;
}

UNUSED_FUNCTION void assert_sound(bench *b, const plan *p, const char *pass) {
  const char *wrong = plan_verify(p, b->arena);
  if (wrong) fail_msg("after %s: %s", pass, wrong);
  for (uint32_t i = 0; i < p->n_launches; i++) {
    if (p->launches[i].repeat) continue; /* plan_verify has looked into it */
    wrong = kernel_verify(p->launches[i].kernel, b->arena);
    if (wrong) fail_msg("after %s: %s\n%s", pass, wrong, kernel_print(p->launches[i].kernel, b->arena));
  }
}

static const target plain_target = {
    .name = "plain", .vector_bytes = 32, .vector_registers = 16, .l1_bytes = 1 << 15, .l2_bytes = 1 << 20};

/* The pass, which has to report nothing and leave a sound plan. */
UNUSED_FUNCTION void apply_pass(bench *b, plan *p, plan_pass *pass, const char *name) {
  b->context.target = &plain_target;
  if (!pass(p, &b->context)) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  assert_sound(b, p, name);
}

UNUSED_FUNCTION plan *fused(bench *b, const graph *g) {
  const char *wrong = graph_verify(g, b->arena);
  if (wrong) fail_msg("before fuse: %s", wrong);
  plan *p = pass_fuse(g, &b->context);
  if (!p) fail_msg("%s", diagnostics_render(b->context.diagnostics, b->arena, false));
  assert_sound(b, p, "fuse");
  return p;
}

UNUSED_FUNCTION char *all_kernels(bench *b, const plan *p) {
  text_buffer t = {.arena = b->arena};
  for (uint32_t i = 0; i < p->n_launches; i++) text_add(&t, "%s", p->launches[i].repeat ? all_kernels(b, p->launches[i].repeat->plan) : kernel_print(p->launches[i].kernel, b->arena));
  return text_done(&t);
}

/* The plan's text reads back to a plan with the same text. */
UNUSED_FUNCTION void assert_reads_back(bench *b, const plan *p) {
  const char *text = plan_print(p, b->arena);
  const uint32_t file = sources_add(b->context.diagnostics->sources, "plan", text, strlen(text));
  const plan *again = plan_parse(b->arena, file, b->context.diagnostics);
  if (!again) fail_msg("%s\n%s", diagnostics_render(b->context.diagnostics, b->arena, false), text);
  assert_string_equal(plan_print(again, b->arena), text);
}

/* Results of the plan equal those of the graph, for random inputs. */
UNUSED_FUNCTION void assert_plan_equals_graph(bench *b, const graph *g, const plan *p, double tolerance) {
  random_source random = {b->random};
  uint32_t n = 0;
  const char *error = NULL;
  graph_binding *bindings = random_bindings(&random, g, b->arena, &n);
  graph_run *run = interpret(b, g, bindings, n);
  void **data = plan_interpret(p, bindings, n, b->arena, &error);
  if (!data) fail_msg("%s", error);
  for (uint32_t i = 0; i < g->n_results; i++) {
    const graph_result *r = &g->results[i];
    const tensor_type *t = graph_type(g, r->value);
    int32_t at = plan_find(p, r->role, r->name);
    if (at < 0) fail_msg("the plan has no %s %s", r->role, r->name);
    for (uint32_t j = 0; j < p->n_buffers; j++) /* of a state not yet written in place: its next value */
      if (p->buffers[j].storage == STORAGE_RESULT && !strcmp(p->buffers[j].role, r->role) &&
          !strcmp(p->buffers[j].name, r->name))
        at = (int32_t)j;
    for (int64_t e = 0; e < type_elements(t); e++) {
      double x = scalar_convert(t->dtype, DTYPE_F64, element_load(t->dtype, run->data[r->value], e)).real;
      double y = scalar_convert(t->dtype, DTYPE_F64, element_load(t->dtype, data[at], e)).real;
      if (x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= tolerance * (1 + fabs(x))) continue;
      fail_msg("%s %s[%lld] is %.17g, should be %.17g\n%s\n%s", r->role, r->name, (long long)e, y, x,
               graph_print(g, b->context.diagnostics->sources, b->arena), all_kernels(b, p));
    }
  }
}

#endif
