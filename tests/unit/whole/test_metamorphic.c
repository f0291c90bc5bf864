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

#include "frontend/session.h"
#include "tests/invented_data.h"
#include "tests/unit/whole/compiled.h"
#include "tests/unit/whole/random_pipeline.h"

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
static const option_override sizes[] = {{"batch", "2"},  {"epochs", "2"},  {"dim", "8"},    {"decoder", "4"},  {"depth", "1"},   {"layers", "1"},
                                        {"heads", "2"},  {"patch", "7"},   {"window", "7"}, {"noise", "3"},    {"width", "2"},   {"classes", "6"},
                                        {"clusters", "5"}, {"code", "3"},  {"hidden", "9"}, {"projection", "6"}};

/* In place of the library's, whose products would take the interpreter minutes. */
static const char narrow_parts[] =
    "\nencoder small_cnn(dim = none, norm = false)(x: f32[N, C, H, W]) {\n"
    "  let widths = [2, 3, 4]\n"
    "  for i in 0..3 {\n"
    "    x = x |> conv(widths[i], 3)\n"
    "    if norm { x = x |> batch_norm() }\n"
    "    x = x |> relu\n"
    "    if i < 2 { x = x |> max_pool(2) }\n"
    "  }\n"
    "  let features = x |> global_avg_pool\n"
    "  if dim == none { features } else { features |> linear(5) }\n"
    "}\n"
    "encoder mlp(hidden, out, norm = false, layers = 2, act = relu)(x) {\n"
    "  for i in 0..layers - 1 {\n"
    "    x = x |> linear(7, bias: !norm)\n"
    "    if norm { x = x |> batch_norm() }\n"
    "    x = x |> act\n"
    "  }\n"
    "  x |> linear(out)\n"
    "}\n";

typedef struct {
  const char *path, *name;
  const char *root; /* of its data; NULL: it is made up, and the program is made small */
  option_override *settings;
  uint32_t n_settings;
  arena *arena;
  diagnostics *diagnostics;
  open_data data;
  experiment *experiment;
  random_source random;
  const graph_run *init;
} tiny_program;

/* Those of `sizes` that the text declares. */
static option_override *settings_of(const char *text, uint32_t *n, arena *a) {
  option_override *found = ARENA_ARRAY(a, option_override, sizeof sizes / sizeof *sizes);
  *n = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (strstr(text, arena_printf(a, "option %s ", sizes[i].name))) found[(*n)++] = sizes[i];
  return found;
}

static void lower(tiny_program *t) {
  size_t length;
  const char *text = session_read_text(NULL, t->path, &length, t->arena);
  if (!text) fail_msg("cannot read %s", t->path);
  t->data = (open_data){.root = t->root ? t->root : SOURCE_DIR "/examples", .arena = t->arena};
  invented_data tiny = {&t->data, 64, 16, true};
  data_catalog invented = {&tiny, describe_invented}, found = {&t->data, open_data_describe, open_data_read, open_data_weights};
  if (!t->root) {
    t->settings = settings_of(text, &t->n_settings, t->arena);
    text = arena_printf(t->arena, "%s%s", text, narrow_parts);
  }
  lower_options o = {.real = DTYPE_F64, .overrides = t->settings, .n_overrides = t->n_settings, .catalog = t->root ? &found : &invented, .read_file = session_read_text};
  t->experiment = lower_program(sources_add(t->diagnostics->sources, t->path, text, (uint32_t)strlen(text)), &o, t->diagnostics, t->arena);
  open_data_release(&t->data);
  if (!t->experiment) fail_msg("%s", diagnostics_render(t->diagnostics, t->arena, false));
}

/* States are first ones, but optimizers' moments are around 1: by those that begin at 0 Adam would make much of the rounding of a
 * gradient that is 0. Images and texts are drawn. */
static const void *data_of(tiny_program *t, const char *role, const char *name, const tensor_type *type) {
  const experiment *x = t->experiment;
  bool is_state = !strcmp(role, "state"), is_moment = false;
  for (uint32_t i = 0; is_state && i < x->n_states; i++)
    if (!strcmp(x->states[i].name, name)) is_moment = x->states[i].kind == STATE_OPTIMIZER && dtype_is_real(type->dtype);
  for (uint32_t i = 0; is_state && !is_moment && i < x->init->n_results; i++)
    if (!strcmp(x->init->results[i].name, name)) return t->init->data[x->init->results[i].value];
  void *data = arena_alloc(t->arena, (size_t)type_bytes(type) + 8);
  for (int64_t e = 0; e < type_elements(type); e++) {
    scalar v = {.integer = random_below(&t->random, type->dtype == DTYPE_U8 ? 256 : 5)};
    if (dtype_is_real(type->dtype)) v.real = is_moment ? random_real(&t->random, 0.5, 1.5) : random_real(&t->random, -1, 1);
    element_store(type->dtype, data, e, v);
  }
  return data;
}

static graph_binding *bindings_of(tiny_program *t, const graph *g, uint32_t *n) {
  graph_binding *all = ARENA_ARRAY(t->arena, graph_binding, g->n_nodes + 1);
  *n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *at = &g->nodes[i];
    if (at->op != OP_PARAMETER) continue;
    const char *role = node_attribute(at, ATTR_ROLE)->as.text, *name = node_attribute(at, ATTR_NAME)->as.text;
    all[(*n)++] = (graph_binding){role, name, data_of(t, role, name, graph_type(g, at->first_result))};
  }
  return all;
}

static void check_graph(tiny_program *t, const graph *g, int ways) {
  uint32_t n, scheduled = 0, refused = 0;
  const graph_binding *bindings = bindings_of(t, g, &n);
  expectation e = expect(g, bindings, n, 1e-9, t->arena);
  if (g == t->experiment->init) t->init = e.run;
  const char *subject = arena_printf(t->arena, "%s, graph %s", t->name, g->name);
  if (ways) check_default_way_on_a_gpu(g, &e, subject);
  for (int i = 0; i < ways && !gpu_is_real(); i++) check_random_way(g, &e, subject, (uint64_t)i, i % 4 == 3, &scheduled, &refused);
}

static void check_program(tiny_program *t, int ways) {
  t->name = strrchr(t->path, '/') + 1;
  t->diagnostics = diagnostics_new(t->arena, sources_new(t->arena));
  lower(t);
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
    tiny_program t = {.path = found.gl_pathv[i], .arena = arena_new(), .random = {i}};
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
  tiny_program t = {.path = given[1], .root = given[2], .arena = arena_new()};
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
