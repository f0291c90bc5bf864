/* Whole steps in bf16 and in tf32, made for a GPU and run by the emulation or a GPU that SSLC_TEST_DEVICE names. Of all examples: the
 * emulation gives the bits that the plan's loops give, and losses are those of the graph with the same values rounded. The first steps of
 * some are no measure of more: features of random pictures hardly differ, and what divides by their deviation makes much of a last
 * bit. Of programs whose products are whole blocks of teams, all results are the graph's. Sums are in f32 and in another order: where
 * that moves a value over the middle between two of bf16, it is off by 2^-8 of itself. SSLC_PROGRAM=mae.ssl: of one example alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/whole/compiled.h"
#include "tests/unit/whole/tiny_program.h"

/* Products are large enough for teams, where they are of convolutions. */
static const option_override options[] = {{"batch", "2"},  {"epochs", "2"},  {"dim", "32"},  {"decoder", "16"}, {"depth", "1"},  {"layers", "1"},    {"heads", "2"},      {"patch", "7"},
                                          {"window", "15"}, {"noise", "16"}, {"width", "2"}, {"classes", "16"}, {"code", "16"}, {"clusters", "16"}, {"hidden", "32"}, {"projection", "32"}};
static const tiny_sizes sizes = {options, sizeof options / sizeof *options, {4, 16, 16}, 32, 32}, wide = {options, sizeof options / sizeof *options, {16, 64, 64}, 64, 64};

typedef struct {
  product_precision products;
  double tolerance; /* of the norm of a result */
  bool all;         /* results, not losses alone */
  bool groups;      /* of warps, with boxes; of a real GPU what it is asked for */
  uint32_t teams, by_groups, boxes; /* launches of teams, in all programs; of groups; boxes of these */
} narrow_way;

static const char *fault_of(const graph *g, plan *p, expectation *e, const narrow_way *way, arena *a) {
  const char *error = NULL;
  char *failed = NULL;
  void **by_loops = gpu_is_real() ? NULL : plan_interpret(p, e->bindings, e->n_bindings, a, &error);
  device *d = error ? NULL : gpu_device_new(p, &error);
  if (!d) return error;
  instance *i = instance_on(p, d, &failed);
  if (!i) return failed;
  for (uint32_t k = 0; k < e->n_bindings; k++) instance_set(i, e->bindings[k].role, e->bindings[k].name, e->bindings[k].data);
  instance_run(i);
  if (d->failure(d)) error = arena_string(a, d->failure(d));
  for (uint32_t k = 0; k < e->graph->n_results && !error; k++) {
    const graph_result *result = &e->graph->results[k];
    const tensor_type *t = graph_type(e->graph, result->value);
    void *found = arena_alloc(a, (size_t)type_bytes(t) + 8);
    if (!instance_get(i, result->role, result->name, found)) error = arena_printf(a, "there is no %s", result->name);
    else if (by_loops && distance(t, found, by_loops[buffer_of_result(p, result)]) > 0) error = arena_printf(a, "%s is not what the loops give", result->name);
    else if ((way->all || !strcmp(result->name, "loss")) && distance(t, found, e->run->data[result->value]) > way->tolerance)
      error = arena_printf(a, "%s is off by %g", result->name, distance(t, found, e->run->data[result->value]));
  }
  instance_free(i);
  return error ? arena_printf(a, "graph %s, %s: %s", g->name, way->products == PRODUCTS_BF16 ? "bf16" : "tf32", error) : NULL;
}

static void check_graph(tiny_program *t, const graph *g, narrow_way *way) {
  arena *a = arena_new();
  target gpu;
  gpu_target(&gpu);
  if (way->groups && !gpu_is_real()) gpu.groups = gpu.boxes = true;
  pass_context c = {.arena = a, .diagnostics = t->diagnostics, .target = &gpu, .products = way->products};
  const char *error = NULL;
  expectation e = {.graph = pass_autodiff(g, &c)};
  e.bindings = tiny_bindings(t, g, &e.n_bindings);
  if (e.graph) e.graph = pass_precision(e.graph, &c);
  plan *p = e.graph ? run_passes(g, &c, NULL, NULL) : NULL;
  if (!p) fail_msg("%s: %s", t->name, diagnostics_render(t->diagnostics, a, false));
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const plan_launch *l = &p->launches[i];
    if (!l->kernel || !l->kernel->schedule.team.rows) continue;
    way->teams++;
    way->by_groups += l->kernel->schedule.team.groups;
    way->boxes += l->loops->n_boxes;
  }
  e.run = graph_interpret(e.graph, e.bindings, e.n_bindings, a, &error);
  if (!e.run) fail_msg("%s: %s", t->name, error);
  const char *fault = fault_of(g, p, &e, way, a);
  if (fault) fail_msg("%s, %s", t->name, fault);
  arena_free(a);
}

static void check_program(tiny_program t, narrow_way *way) {
  static const uint32_t first[2] = {1, 2};
  const graph_binding seeded = {"seed", "seed", first};
  const char *error = NULL;
  if (!t.sizes) t.sizes = &sizes;
  t.real = DTYPE_F32;
  t.arena = arena_new();
  t.diagnostics = diagnostics_new(t.arena, sources_new(t.arena));
  tiny_lower(&t);
  t.init = graph_interpret(t.experiment->init, &seeded, 1, t.arena, &error);
  if (!t.init) fail_msg("%s: %s", t.name, error);
  for (uint32_t i = 0; i < t.experiment->n_phases; i++) check_graph(&t, t.experiment->phases[i].graph, way);
  arena_free(t.arena);
}

static void check_examples(narrow_way way) {
  const char *only = getenv("SSLC_PROGRAM");
  glob_t found;
  assert_int_equal(glob(SOURCE_DIR "/examples/*.ssl", 0, NULL, &found), 0);
  for (size_t i = 0; i < found.gl_pathc; i++) {
    const char *path = found.gl_pathv[i], *name = strrchr(path, '/') + 1;
    if (!only || !strcmp(only, name)) check_program((tiny_program){.path = path, .name = name, .random = {i}}, &way);
  }
  globfree(&found);
  if (!only && way.teams < 40) fail_msg("only %u launches of teams", way.teams);
}

static void examples_in_bf16(void **state) { (void)state, check_examples((narrow_way){.products = PRODUCTS_BF16, .tolerance = 0.1}); }
static void examples_in_tf32(void **state) { (void)state, check_examples((narrow_way){.products = PRODUCTS_TF32, .tolerance = 1e-2}); }

/* Of 8 pictures the 16 parts are 128 rows; 2 pictures of 8 by 8 are as many. */
static const char parts[] =
    "data toys = shapes(count: 64, size: 8, classes: 4)\n"
    "encoder net()(x) = x |> patchify(2) |> linear(64) |> gelu |> linear(128) |> gelu |> linear(64) |> gelu |> linear(12)\n"
    "model f = net()\n"
    "pretext fill(img) { minimize mean((f(img) - patchify(img, 2)) ** 2) }\n"
    "train fill { data: toys, batch: 8, steps: 4, optimizer: adamw(lr: 2e-3) }\n";
static const char convolutions[] =
    "data toys = shapes(count: 64, size: 8, classes: 4)\n"
    "encoder net()(x) = x |> conv(64, 3) |> silu |> conv(64, 3, bias: false) |> silu |> conv(64, 3) |> silu |> conv(3, 3)\n"
    "model f = net()\n"
    "pretext fill(img) { minimize mean((f(img) - img) ** 2) }\n"
    "train fill { data: toys, batch: 2, steps: 4, optimizer: sgd(lr: 0.1, momentum: 0.9) }\n";

static void check_whole(narrow_way way) {
  check_program((tiny_program){.path = "parts", .name = "parts", .text = parts}, &way);
  check_program((tiny_program){.path = "convolutions", .name = "convolutions", .text = convolutions}, &way);
  if (way.teams < 12) fail_msg("only %u launches of teams", way.teams);
  if (way.groups && !gpu_is_real() && (way.by_groups < 12 || way.boxes < 12)) fail_msg("only %u launches of groups, with %u boxes", way.by_groups, way.boxes);
}

static void whole_blocks_in_bf16(void **state) { (void)state, check_whole((narrow_way){.products = PRODUCTS_BF16, .tolerance = 1e-2, .all = true}); }
static void whole_blocks_in_tf32(void **state) { (void)state, check_whole((narrow_way){.products = PRODUCTS_TF32, .tolerance = 1e-3, .all = true}); }
static void whole_blocks_by_groups(void **state) { (void)state, check_whole((narrow_way){.products = PRODUCTS_BF16, .tolerance = 1e-2, .all = true, .groups = true}); }

/* Of the examples one, as wide as panels are. */
static void example_by_groups(void **state) {
  narrow_way way = {.products = PRODUCTS_BF16, .tolerance = 0.1, .groups = true};
  (void)state;
  check_program((tiny_program){.path = SOURCE_DIR "/examples/simclr.ssl", .name = "simclr.ssl", .sizes = &wide}, &way);
  if (!gpu_is_real() && (!way.by_groups || !way.boxes)) fail_msg("only %u launches of groups, with %u boxes", way.by_groups, way.boxes);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(whole_blocks_in_bf16), cmocka_unit_test(whole_blocks_in_tf32), cmocka_unit_test(whole_blocks_by_groups), cmocka_unit_test(example_by_groups), cmocka_unit_test(examples_in_bf16), cmocka_unit_test(examples_in_tf32)};
  return cmocka_run_group_tests_name("whole/steps", tests, NULL, NULL);
}
