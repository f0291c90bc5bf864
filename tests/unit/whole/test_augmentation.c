/* The augmentation of a view: how many launches it takes and how many of them touch pixels, that its pictures are the graph's, on a
 * processor and on a GPU, and that a flip costs nothing but tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/unit/whole/compiled.h"
#include "tests/unit/whole/tiny_program.h"

#define RECIPE SOURCE_DIR "/tests/bench/workloads/g.ssl"

/* The recipe as it is written, from views of side by side pixels to size by size. */
static const graph *step_of(tiny_program *t, const char *path, const char *views, const char *side, const char *size) {
  size_t length;
  option_override settings[] = {{"views", views}, {"side", side}, {"size", size}};
  t->arena = arena_new();
  t->diagnostics = diagnostics_new(t->arena, sources_new(t->arena));
  t->data = (open_data){.root = SOURCE_DIR "/examples", .arena = t->arena};
  const data_catalog found = {&t->data, open_data_describe, open_data_read, open_data_weights};
  const char *text = session_read_text(NULL, path, &length, t->arena);
  const lower_options o = {.real = DTYPE_F32, .overrides = settings, .n_overrides = 3, .catalog = &found, .read_file = session_read_text};
  t->experiment = lower_program(sources_add(t->diagnostics->sources, path, text, (uint32_t)length), &o, t->diagnostics, t->arena);
  open_data_release(&t->data);
  if (!t->experiment) fail_msg("%s", diagnostics_render(t->diagnostics, t->arena, false));
  for (uint32_t i = 0; i < t->experiment->n_phases; i++)
    if (!strcmp(t->experiment->phases[i].graph->name, "step")) return t->experiment->phases[i].graph;
  fail_msg("no step");
  return NULL;
}

static plan *planned(tiny_program *t, const graph *g, const target *on) {
  pass_context c = {.arena = t->arena, .diagnostics = t->diagnostics, .target = on};
  plan *p = run_passes(g, &c, NULL, NULL);
  if (!p) fail_msg("%s", diagnostics_render(t->diagnostics, t->arena, false));
  return p;
}

static bool touches(const plan *p, const plan_launch *l, int64_t elements) {
  bool does = false;
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) does |= type_elements(&p->buffers[l->buffers[b]].type) >= elements;
  return does;
}

/* One that draws what is needed, one that crops, changes colours and sums, one that finishes the sums, one that does the rest. */
static void two_of_four_launches_touch_pixels(void **state) {
  (void)state;
  static const struct {
    const char *views, *side, *size;
    int64_t pixels; /* of one channel of all views */
  } cases[] = {{"512", "32", "32", 512 * 32 * 32}, {"64", "256", "224", 64 * 224 * 224}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tiny_program t = {0};
    const graph *g = step_of(&t, RECIPE, cases[i].views, cases[i].side, cases[i].size);
    target gpu;
    gpu_target(&gpu);
    const plan *p = planned(&t, g, &gpu);
    uint32_t launches = 0, touching = 0;
    for (uint32_t l = 0; l < p->n_launches; l = plan_bundle_end(p, l), launches++)
      for (uint32_t k = l; k < plan_bundle_end(p, l); k++) touching += touches(p, &p->launches[k], cases[i].pixels);
    if (launches != 4 || touching != 2) fail_msg("%s pixels: %u launches, %u touch pixels\n%s", cases[i].size, launches, touching, plan_print(p, t.arena));
    arena_free(t.arena);
  }
}

/* Pictures of made up bytes, by the graph, by machine code with every access tested, and by the GPU that the tests have. */
static void pictures_are_the_graphs(void **state) {
  (void)state;
  static const uint32_t seeds[][2] = {{1, 2}, {3, 4}, {5, 6}};
  for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
    tiny_program t = {.random = {i}, .real = DTYPE_F32};
    const graph *g = step_of(&t, RECIPE, "6", i ? "40" : "24", i ? "36" : "24");
    const graph_binding seeded = {"seed", "seed", seeds[i]};
    const char *error = NULL, *fault;
    target host, gpu;
    host_target(&host);
    gpu_target(&gpu);
    t.init = graph_interpret(t.experiment->init, &seeded, 1, t.arena, &error);
    expectation e = {.graph = g, .tolerance = 1e-6, .runs = 1};
    e.bindings = tiny_bindings(&t, g, &e.n_bindings);
    e.run = graph_interpret(g, e.bindings, e.n_bindings, t.arena, &error);
    if (!e.run) fail_msg("%s", error);
    if ((fault = compiled_fault(planned(&t, g, &host), &e, &(compile_options){.checked = true}, t.arena))) fail_msg("machine code: %s", fault);
    if ((fault = gpu_fault(planned(&t, g, &gpu), &e, t.arena))) fail_msg("GPU: %s", fault);
    arena_free(t.arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(two_of_four_launches_touch_pixels), cmocka_unit_test(pictures_are_the_graphs)};
  return cmocka_run_group_tests_name("whole/augmentation", tests, NULL, NULL);
}
