/* The pass manager, with passes of this file in place of the real ones: each leaves its name in a list,
 * and one of them can be told to fail. */
#include "graph_testing.h"

static const char *ran[32];
static uint32_t n_ran;
static const char *refuses; /* the pass that gives up */
static const char *breaks;  /* the pass whose result is unsound */

static bool run_pass(const char *name, pass_context *c) {
  ran[n_ran++] = name;
  if (!refuses || strcmp(refuses, name) != 0) return true;
  diagnose(c->diagnostics, DIAG_PASS_FAILED, (span){0}, "%s gives up", name);
  return false;
}

static graph *run_graph_pass(const char *name, const graph *g, pass_context *c) {
  if (!run_pass(name, c)) return NULL;
  graph *copy = ARENA_NEW(c->arena, graph);
  *copy = *g;
  if (breaks && strcmp(breaks, name) == 0) graph_add_result(copy, "nowhere", "z", 1, place(1));
  return copy;
}

#define GRAPH_PASS(id, name, doc)                                                                                      \
  graph *pass_##id(const graph *g, pass_context *c) { return run_graph_pass(name, g, c); }
#define PLAN_PASS(id, name, doc)                                                                                       \
  bool pass_##id(plan *p, pass_context *c) {                                                                           \
    (void)p;                                                                                                           \
    return run_pass(name, c);                                                                                          \
  }
#include "passes/passes.def"

plan *pass_fuse(const graph *g, pass_context *c) { return run_pass("fuse", c) ? plan_new(c->arena, g->name) : NULL; }

static graph *small_graph(bench *b) {
  graph *g = graph_new(b->arena, "small");
  graph_add_result(g, "output", "y", graph_parameter(g, "data", "x", scalar_type(DTYPE_F32), place(1)), place(1));
  return g;
}

static int manager_setup(void **state) {
  n_ran = 0;
  refuses = breaks = NULL;
  return bench_setup(state);
}

typedef struct {
  const char *name[32];
  bool has_graph[32];
  uint32_t n;
  const char *last; /* where to stop */
} observed;

static bool observe(void *context, const char *pass, const graph *g, const plan *p) {
  observed *o = context;
  assert_true(!g != !p);
  o->name[o->n] = pass;
  o->has_graph[o->n++] = g != NULL;
  return !o->last || strcmp(o->last, pass) != 0;
}

static void passes_run_in_the_order_of_the_table(void **state) {
  bench *b = *state;
  observed seen = {.n = 0};
  assert_non_null(run_passes(small_graph(b), &b->context, observe, &seen));
  uint32_t n = 0;
  bool fused = false;
  for (const pass_info *pass = pass_table; pass->name; pass++, n++) {
    assert_string_equal(ran[n], pass->name);
    assert_string_equal(seen.name[n], pass->name);
    fused = fused || pass->fuse;
    assert_int_equal(seen.has_graph[n], !fused);
    assert_int_equal(!!pass->graph + !!pass->fuse + !!pass->plan, 1);
  }
  assert_int_equal(n, n_ran);
  assert_int_equal(n, seen.n);
  assert_int_equal(b->context.diagnostics->errors, 0);
}

static void the_observer_can_end_it(void **state) {
  bench *b = *state;
  observed seen = {.last = "cse"};
  assert_null(run_passes(small_graph(b), &b->context, observe, &seen));
  assert_string_equal(ran[n_ran - 1], "cse");
  assert_int_equal(b->context.diagnostics->errors, 0);
}

static void a_pass_that_gives_up_ends_the_pipeline(void **state) {
  bench *b = *state;
  static const char *const names[] = {"cse", "fuse", "order"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    refuses = names[i];
    n_ran = 0;
    assert_null(run_passes(small_graph(b), &b->context, NULL, NULL));
    assert_string_equal(ran[n_ran - 1], names[i]);
    assert_int_equal(b->context.diagnostics->errors, i + 1);
  }
}

static void the_verifier_names_the_pass(void **state) {
  bench *b = *state;
  breaks = "fold";
  assert_null(run_passes(small_graph(b), &b->context, NULL, NULL));
  assert_string_equal(ran[n_ran - 1], "fold");
  assert_int_equal(b->context.diagnostics->count, 1);
  assert_int_equal(b->context.diagnostics->items[0]->code, DIAG_IR_INVALID);
  assert_non_null(strstr(b->context.diagnostics->items[0]->message, "after fold"));
}

static void an_unsound_graph_never_starts(void **state) {
  bench *b = *state;
  graph *g = small_graph(b);
  graph_add_result(g, "nowhere", "z", 1, place(1));
  assert_null(run_passes(g, &b->context, NULL, NULL));
  assert_int_equal(n_ran, 0);
  assert_int_equal(b->context.diagnostics->items[0]->code, DIAG_IR_INVALID);
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, manager_setup, bench_teardown)
  const struct CMUnitTest tests[] = {
      TEST(passes_run_in_the_order_of_the_table),
      TEST(the_observer_can_end_it),
      TEST(a_pass_that_gives_up_ends_the_pipeline),
      TEST(the_verifier_names_the_pass),
      TEST(an_unsound_graph_never_starts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
