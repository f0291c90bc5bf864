/* Graphs pass through random choices of passes and schedules; what they compute, by their loops or as machine code, stays what the
 * interpreter says; as machine code of this processor, and as that of a GPU, which is emulated, or the one that SSLC_TEST_DEVICE names: then nothing else is run. Graphs are random ones and those of every program of examples/ at a tiny size. SSLC_RANDOM_GRAPHS=N asks for
 * N random graphs, from number SSLC_FIRST_GRAPH on, and a hundredth as many ways for every program; SSLC_PROGRAM=mae.ssl for one
 * program alone. Asked for many, only one way in four is compiled.
 *   whole_test_metamorphic PROGRAM DATA [NAME=VALUE...]
 * does the same with one program, its data and its settings: those of tests/programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/whole/compiled.h"
#include "tests/unit/whole/random_pipeline.h"
#include "tests/unit/whole/tiny_program.h"

static int number_in(const char *variable) {
  const char *text = getenv(variable);
  return text ? atoi(text) : 0;
}

static int asked_for(void) { return number_in("SSLC_RANDOM_GRAPHS"); }

/* One random way of a graph, whose meaning `e` holds. `subject` and `seed` name it in a message. */
static void check_random_way(const graph *g, const expectation *e, const char *subject, uint64_t seed, bool compiles, uint32_t *scheduled,
                             uint32_t *refused) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  random_source random = {seed};
  const bool on_gpu = compiles && (random_below(&random, 2) || gpu_is_real());
  target host;
  if (on_gpu) gpu_target(&host);
  else host_target(&host);
  if (random_below(&random, 3) == 0) host.l1_bytes = 256, host.l2_bytes = 8 << 10; /* sums over a few elements are streamed */
  pass_context context = {.arena = a, .diagnostics = d, .target = &host, .most_start_bytes = random_below(&random, 2) ? 64 : 0};
  pipeline way = {.context = &context, .random = &random, .arena = a};
  plan *p = random_pipeline(&way, g);
  if (!p) fail_msg("%s, seed %llu,%s: %s\n%s", subject, (unsigned long long)seed, way.told, way.wrong, diagnostics_render(d, a, false));
  const char *fault = interpreted_fault(p, e, a);
  if (!fault && on_gpu) fault = gpu_fault(p, e, a);
  else if (!fault && compiles) fault = compiled_fault(p, e, &(compile_options){.threads = 2, .checked = random_below(&random, 2)}, a);
  if (fault) fail_msg("%s, seed %llu,%s: %s", subject, (unsigned long long)seed, way.told, fault);
  *scheduled += way.scheduled;
  *refused += way.refused;
  arena_free(a);
}

/* The way of every GPU. */
static void check_default_way_on_a_gpu(const graph *g, const expectation *e, const char *subject) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  target gpu;
  gpu_target(&gpu);
  pass_context context = {.arena = a, .diagnostics = d, .target = &gpu};
  plan *p = run_passes(g, &context, NULL, NULL);
  if (!p) fail_msg("%s: %s", subject, diagnostics_render(d, a, false));
  const char *fault = gpu_fault(p, e, a);
  if (fault) fail_msg("%s on a GPU: %s", subject, fault);
  arena_free(a);
}

static expectation expect(const graph *g, const graph_binding *bindings, uint32_t n, double tolerance, arena *a) {
  diagnostics *d = diagnostics_new(a, sources_new(a));
  pass_context context = {.arena = a, .diagnostics = d};
  const char *error = NULL;
  expectation e = {.graph = pass_autodiff(g, &context), .bindings = bindings, .n_bindings = n, .tolerance = tolerance, .runs = 1};
  if (!e.graph) fail_msg("%s", diagnostics_render(d, a, false));
  e.run = graph_interpret(e.graph, bindings, n, a, &error);
  if (!e.run) fail_msg("%s", error);
  return e;
}

/* -- random graphs -------------------------------------------------------------------------------------------------- */

static void random_graphs_in_random_ways(void **state) {
  (void)state;
  int first = number_in("SSLC_FIRST_GRAPH"), count = asked_for() ? asked_for() : 30;
  uint32_t scheduled = 0, refused = 0;
  for (int i = first; i < first + count; i++) {
    arena *a = arena_new();
    random_source r = {(uint64_t)i + 5000};
    graph *g = i % 2 ? random_training_graph(&r, 10, DTYPE_F64, a) : random_graph(&r, 16, DTYPE_F64, false, a);
    uint32_t n;
    graph_binding *bindings = random_bindings(&r, g, a, &n);
    expectation e = expect(g, bindings, n, 1e-9, a);
    check_random_way(g, &e, arena_printf(a, "random graph %d", i), (uint64_t)i, !asked_for() || i % 4 == 0, &scheduled, &refused);
    arena_free(a);
  }
  assert_true(scheduled > 10 * refused);
}

/* -- programs --------------------------------------------------------------------------------------------------------- */

/* Settings that make a program small, where it has them. */
static const option_override tiny_options[] = {{"batch", "2"},  {"epochs", "2"},  {"dim", "8"},    {"decoder", "4"},  {"depth", "1"},   {"layers", "1"},
                                               {"heads", "2"},  {"patch", "7"},   {"window", "7"}, {"noise", "3"},    {"width", "2"},   {"classes", "6"},
                                               {"clusters", "5"}, {"code", "3"},  {"hidden", "9"}, {"projection", "6"}};
static const tiny_sizes tiny = {tiny_options, sizeof tiny_options / sizeof *tiny_options, {2, 3, 4}, 5, 7};

static void check_graph(tiny_program *t, const graph *g, int ways) {
  uint32_t n, scheduled = 0, refused = 0;
  const graph_binding *bindings = tiny_bindings(t, g, &n);
  expectation e = expect(g, bindings, n, 1e-9, t->arena);
  if (g == t->experiment->init) t->init = e.run;
  const char *subject = arena_printf(t->arena, "%s, graph %s", t->name, g->name);
  if (ways) check_default_way_on_a_gpu(g, &e, subject);
  for (int i = 0; i < ways && !gpu_is_real(); i++) check_random_way(g, &e, subject, (uint64_t)i, i % 4 == 3, &scheduled, &refused);
}

static void check_program(tiny_program *t, int ways) {
  t->name = strrchr(t->path, '/') + 1;
  t->diagnostics = diagnostics_new(t->arena, sources_new(t->arena));
  tiny_lower(t);
  const experiment *x = t->experiment;
  check_graph(t, x->init, 0);
  for (uint32_t i = 0; i < x->n_phases; i++) check_graph(t, x->phases[i].graph, ways);
  for (uint32_t i = 0; asked_for() && i < x->n_evals; i++) check_graph(t, x->evals[i].graph, ways); /* their batches are large */
}

static int ways_asked_for(void) { return asked_for() >= 100 ? asked_for() / 100 : 1; }

static void examples_in_random_ways(void **state) {
  (void)state;
  const char *only = getenv("SSLC_PROGRAM");
  glob_t found;
  assert_int_equal(glob(SOURCE_DIR "/examples/*.ssl", 0, NULL, &found), 0);
  for (size_t i = 0; i < found.gl_pathc; i++) {
    tiny_program t = {.path = found.gl_pathv[i], .sizes = &tiny, .real = DTYPE_F64, .arena = arena_new(), .random = {i}};
    if (!only || !strcmp(only, strrchr(t.path, '/') + 1)) check_program(&t, ways_asked_for());
    arena_free(t.arena);
  }
  globfree(&found);
}

/* The arguments of the command. */
static char **given;
static int n_given;

static void given_program_in_random_ways(void **state) {
  (void)state;
  tiny_program t = {.path = given[1], .root = given[2], .real = DTYPE_F64, .arena = arena_new()};
  t.settings = ARENA_ARRAY(t.arena, option_override, n_given);
  for (int i = 3; i < n_given; i++) {
    const char *equals = strchr(given[i], '=');
    if (!equals) fail_msg("%s is no setting", given[i]);
    t.settings[t.n_settings++] = (option_override){arena_substring(t.arena, given[i], (size_t)(equals - given[i])), equals + 1};
  }
  check_program(&t, ways_asked_for());
  arena_free(t.arena);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_graphs_in_random_ways), cmocka_unit_test(examples_in_random_ways)};
  const struct CMUnitTest one[] = {cmocka_unit_test(given_program_in_random_ways)};
  given = argv;
  n_given = argc;
  if (argc > 2) return cmocka_run_group_tests_name("whole/metamorphic", one, NULL, NULL);
  return cmocka_run_group_tests_name("whole/metamorphic", tests, NULL, NULL);
}
