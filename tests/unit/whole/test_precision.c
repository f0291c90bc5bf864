/* Runs in bf16: whole steps against the interpreter of the rounded graph, equal bits on any number of threads, and learning
 * as in f32. Runs under a memory limit: the same bits as without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/session.h"
#include "tests/unit/whole/compiled.h"

#define MUST(call)                                                         \
  do {                                                                     \
    sslc_status must = (call);                                             \
    if (must) fail_msg("%s: status %d: %s", #call, must, sslc_message(p)); \
  } while (0)

static const char simclr[] =
    "data toys = shapes(count: 64, size: 12, classes: 4)\n"
    "augment view(img) = img |> random_hflip() |> normalize(mean: 0.5, std: 0.5)\n"
    "encoder body()(x) = x |> conv(20, 3, bias: false) |> batch_norm |> relu |> max_pool(2) |> conv(36, 3, bias: false) |> batch_norm |> relu |> global_avg_pool\n"
    "model f = body()\n"
    "model g = mlp(40, 24)\n"
    "pretext simclr(img) {\n"
    "  let a = f(view(img)) |> g |> l2_normalize\n"
    "  let b = f(view(img)) |> g |> l2_normalize\n"
    "  minimize nt_xent(a, b, 0.5)\n"
    "}\n"
    "train simclr { data: toys, batch: 16, steps: 20, optimizer: adam(lr: 2e-3), clip_norm: 5.0 }\n";

/* Values of convolutions that wait for their derivative, which a limit alone makes again. */
static const char deep[] =
    "data toys = shapes(count: 64, size: 12, classes: 4)\n"
    "encoder net()(x) = x |> conv(8, 3) |> silu |> conv(8, 3) |> silu |> conv(8, 3) |> silu |> conv(8, 3) |> silu |> conv(8, 3) |> silu |> conv(3, 3)\n"
    "model f = net()\n"
    "pretext fill(img) { minimize mean((f(img * 0.5) - img) ** 2) }\n"
    "train fill { data: toys, batch: 16, steps: 20, optimizer: adam(lr: 2e-3) }\n";

static const char autoencoder[] =
    "data toys = shapes(count: 64, size: 6, classes: 4)\n"
    "encoder net()(x) = x |> flatten |> linear(50) |> gelu |> linear(33) |> layer_norm |> linear(50) |> silu |> linear(108)\n"
    "model f = net()\n"
    "pretext fill(img) { minimize mean((f(img) - flatten(img)) ** 2) }\n"
    "train fill { data: toys, batch: 32, steps: 80, optimizer: sgd(lr: 0.3, momentum: 0.9), precision: \"bf16\" }\n";

static const char attention[] =
    "data toys = shapes(count: 64, size: 8, classes: 4)\n"
    "encoder net()(x) = x |> patchify(2) |> linear(32) |> block(2) |> block(2) |> linear(12)\n"
    "model f = net()\n"
    "pretext fill(img) { minimize mean((f(img * 0.5) - patchify(img, 2)) ** 2) }\n"
    "train fill { data: toys, batch: 8, steps: 16, optimizer: adamw(lr: 2e-3) }\n";

static sslc_program *compile(const char *text, sslc_type real, unsigned threads) {
  sslc_program *p = NULL;
  MUST(sslc_compile_text(text, "p.ssl", &(sslc_options){.threads = threads, .cache = "", .real = real}, &p));
  return p;
}

static sslc_program *trained_within(int64_t memory, sslc_facts *facts) {
  sslc_program *p = NULL;
  MUST(sslc_compile_text(deep, "p.ssl", &(sslc_options){.threads = 2, .cache = "", .memory = memory}, &p));
  MUST(sslc_run(p, 4));
  MUST(sslc_get_facts(p, facts));
  return p;
}

/* A limit on memory costs time, not bits. */
static void memory_limit_keeps_bits(void **state) {
  (void)state;
  sslc_facts free_facts, facts;
  sslc_program *p = trained_within(0, &free_facts);
  const int64_t limit = free_facts.peak_bytes - free_facts.temporary_bytes / 40;
  sslc_program *limited = trained_within(limit, &facts);
  assert_true(facts.peak_bytes <= limit);
  sslc_tensor t;
  for (size_t i = 0; sslc_describe(p, SSLC_STATE, i, &t); i++) {
    void *x = malloc(t.bytes), *y = malloc(t.bytes);
    MUST(sslc_get(p, t.name, x, t.bytes));
    MUST(sslc_get(limited, t.name, y, t.bytes));
    assert_memory_equal(x, y, t.bytes);
    free(x);
    free(y);
  }
  sslc_free(limited);
  sslc_free(p);
}

static const graph *rounded_graph(sslc_program *p) {
  target host;
  host_target(&host);
  pass_context c = {.arena = p->arena, .diagnostics = p->diagnostics, .target = &host, .products = PRODUCTS_BF16};
  const graph *g = p->phases->graph;
  for (const pass_info *pass = pass_table; pass->graph; pass++) g = pass->graph(g, &c);
  return g;
}

/* What the step that was run saw. */
static graph_binding *seen_inputs(sslc_program *p, const graph *g, void **weights, uint32_t *n) {
  graph_binding *bindings = ARENA_ARRAY(p->arena, graph_binding, g->n_nodes);
  *n = 0;
  for (uint32_t k = 0; k < g->n_nodes; k++) {
    const node *at = &g->nodes[k];
    if (at->op != OP_PARAMETER) continue;
    const char *role = node_attribute(at, ATTR_ROLE)->as.text, *name = node_attribute(at, ATTR_NAME)->as.text;
    void *data = arena_alloc(p->arena, (size_t)type_bytes(graph_type(g, at->first_result)) + 8);
    if (strcmp(role, "state")) assert_true(instance_get(p->step->instance, role, name, data));
    for (uint32_t i = 0; i < p->experiment->n_states && !strcmp(role, "state"); i++)
      if (!strcmp(p->experiment->states[i].name, name)) data = weights[i];
    bindings[(*n)++] = (graph_binding){role, name, data};
  }
  return bindings;
}

static void **take_states(sslc_program *p) {
  void **out = ARENA_ARRAY(p->arena, void *, p->experiment->n_states + 1);
  for (uint32_t i = 0; i < p->experiment->n_states; i++) {
    size_t bytes = (size_t)type_bytes(&p->experiment->states[i].type);
    out[i] = arena_alloc(p->arena, bytes + 8);
    MUST(sslc_get(p, p->experiment->states[i].name, out[i], bytes));
  }
  return out;
}

/* Sums add up in another order, so that some roundings to bf16 go the other way: what is compared is the norm of what the step
 * changed. */
static void steps_as_interpreted(const char *text) {
  sslc_program *p = compile(text, SSLC_BF16, 2);
  MUST(sslc_initialise(p));
  MUST(sslc_run(p, 3));
  void **before = take_states(p);
  MUST(sslc_run(p, 1));
  void **behind = take_states(p);
  const graph *g = rounded_graph(p);
  uint32_t n, compared = 0;
  const char *error = NULL;
  graph_binding *bindings = seen_inputs(p, g, before, &n);
  graph_run *run = graph_interpret(g, bindings, n, p->arena, &error);
  if (!run) fail_msg("%s", error);
  for (uint32_t r = 0; r < g->n_results; r++) {
    const graph_result *result = &g->results[r];
    const tensor_type *t = graph_type(g, result->value);
    for (uint32_t i = 0; i < p->experiment->n_states && !strcmp(result->role, "state"); i++) {
      if (strcmp(p->experiment->states[i].name, result->name)) continue;
      double off = distance(t, behind[i], run->data[result->value]);
      if (off > 2e-2) fail_msg("%s is off by %g", result->name, off);
      compared++;
    }
    if (strcmp(result->role, "metric") || strcmp(result->name, "loss")) continue;
    double found = sslc_metric(p, "loss"), expected = element_load(t->dtype, run->data[result->value], 0).real;
    if (fabs(found - expected) > 2e-3 * fabs(expected)) fail_msg("the loss is %g, expected %g", found, expected);
  }
  assert_true(compared > 3);
  sslc_free(p);
}

static void simclr_steps_as_interpreted(void **state) { (void)state, steps_as_interpreted(simclr); }
static void an_autoencoder_steps_as_interpreted(void **state) { (void)state, steps_as_interpreted(autoencoder); }
static void attention_steps_as_interpreted(void **state) { (void)state, steps_as_interpreted(attention); }

static double last_loss(const char *text, sslc_type real, unsigned threads, void **first_state) {
  sslc_program *p = compile(text, real, threads);
  MUST(sslc_initialise(p));
  double sum = 0;
  for (int64_t step = 0; step < p->experiment->steps; step++) {
    MUST(sslc_run(p, 1));
    if (step >= p->experiment->steps - 8) sum += sslc_metric(p, "loss") / 8;
  }
  size_t bytes = (size_t)type_bytes(&p->experiment->states[0].type);
  *first_state = calloc(1, bytes);
  MUST(sslc_get(p, p->experiment->states[0].name, *first_state, bytes));
  if (real == SSLC_BF16) assert_int_equal(p->experiment->states[0].type.dtype, DTYPE_F32); /* the weights of a run are */
  sslc_free(p);
  return sum;
}

static void losses_fall_as_in_f32_and_threads_agree(void **state) {
  (void)state;
  static const char *const texts[] = {simclr, autoencoder, attention};
  for (size_t i = 0; i < 3; i++) {
    void *weights[3];
    double wide = last_loss(texts[i], SSLC_F32, 2, &weights[0]), narrow = last_loss(texts[i], SSLC_BF16, 2, &weights[1]),
           alone = last_loss(texts[i], SSLC_BF16, 1, &weights[2]);
    if (fabs(narrow - wide) > 0.05 * wide) fail_msg("program %zu ends at %g in f32, at %g in bf16", i, wide, narrow);
    assert_true(narrow == alone);
    assert_memory_equal(weights[1], weights[2], 64);
    assert_memory_not_equal(weights[0], weights[1], 64);
    for (int k = 0; k < 3; k++) free(weights[k]);
  }
}

/* A program asks for it, and whoever compiles it has the last word. */
static void programs_ask_for_it(void **state) {
  (void)state;
  void *weights[3];
  double asked = last_loss(autoencoder, 0, 2, &weights[0]), told = last_loss(autoencoder, SSLC_BF16, 2, &weights[1]),
         refused = last_loss(autoencoder, SSLC_F32, 2, &weights[2]);
  assert_true(asked == told);
  assert_true(asked != refused);
  for (int k = 0; k < 3; k++) free(weights[k]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(simclr_steps_as_interpreted),
      cmocka_unit_test(an_autoencoder_steps_as_interpreted),
      cmocka_unit_test(attention_steps_as_interpreted),
      cmocka_unit_test(losses_fall_as_in_f32_and_threads_agree),
      cmocka_unit_test(programs_ask_for_it),
      cmocka_unit_test(memory_limit_keeps_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
