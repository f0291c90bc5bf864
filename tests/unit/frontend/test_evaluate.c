/* What expressions and statements of the language mean: programs are lowered, and the step that they make
 * is interpreted. Programs here have no `minimize`, so their step needs no derivative. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/experiment.h"

enum { BATCH = 4 };

/* img u8 [3,4,4], label of 10 classes, x: reals [2,3]. */
static bool describe(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  (void)context, (void)error, (void)what;
  data_field *fields = ARENA_ARRAY(a, data_field, 3);
  fields[0] = (data_field){"img", FIELD_IMAGE, make_type(DTYPE_U8, 3, (int64_t[]){3, 4, 4}), 0};
  fields[1] = (data_field){"label", FIELD_LABEL, scalar_type(DTYPE_I32), 10};
  fields[2] = (data_field){"x", FIELD_NUMBERS, make_type(DTYPE_F64, 2, (int64_t[]){2, 3}), 0};
  *out = (data_description){.fields = fields, .n_fields = 3, .split = {{"train", 10}, {"test", 5}}};
  return true;
}

typedef struct {
  arena *arena;
  diagnostics *diagnostics;
  experiment *experiment;
} lowered;

static lowered lower(const char *text) {
  lowered l = {.arena = arena_new()};
  sources *s = sources_new(l.arena);
  data_catalog catalog = {NULL, describe};
  lower_options options = {.real = DTYPE_F64, .catalog = &catalog};
  l.diagnostics = diagnostics_new(l.arena, s);
  l.experiment = lower_program(sources_add(s, "test.ssl", text, strlen(text)), &options, l.diagnostics, l.arena);
  return l;
}

static experiment *good(const lowered *l) {
  if (!l->experiment) fail_msg("%s", diagnostics_render(l->diagnostics, l->arena, false));
  assert_null(graph_verify(l->experiment->step, l->arena));
  assert_null(graph_verify(l->experiment->init, l->arena));
  return l->experiment;
}

/* Runs a graph: x is 0, 1, 2, ..., img all 51 (0.2), labels the sample's number, states what `init` made. */
static graph_run *run(const lowered *l, const graph *g, const graph_run *init, int32_t step, uint32_t seed) {
  graph_binding *bindings = ARENA_ARRAY(l->arena, graph_binding, g->n_nodes);
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *at = &g->nodes[i];
    if (at->op != OP_PARAMETER) continue;
    const char *role = node_attribute(at, ATTR_ROLE)->as.text, *name = node_attribute(at, ATTR_NAME)->as.text;
    const tensor_type *type = graph_type(g, at->first_result);
    void *data = arena_alloc(l->arena, (size_t)type_bytes(type) + 8);
    for (int64_t k = 0; k < type_elements(type); k++) {
      scalar v = dtype_is_real(type->dtype) ? (scalar){.real = (double)k} : (scalar){.integer = k};
      if (!strcmp(role, "clock")) v.integer = !strcmp(name, "step") ? step : step / 2;
      if (!strcmp(role, "seed")) v.integer = seed + k;
      if (!strcmp(name, "img")) v.integer = 51;
      element_store(type->dtype, data, k, v);
    }
    for (uint32_t k = 0; init && k < l->experiment->init->n_results; k++) {
      const graph_result *r = &l->experiment->init->results[k];
      if (!strcmp(role, "state") && !strcmp(r->name, name)) memcpy(data, init->data[r->value], (size_t)type_bytes(type));
    }
    bindings[n++] = (graph_binding){role, name, data};
  }
  const char *error = NULL;
  graph_run *r = graph_interpret(g, bindings, n, l->arena, &error);
  if (!r) fail_msg("%s", error);
  return r;
}

static double number(const graph *g, const graph_run *r, const char *role, const char *name, int64_t i) {
  for (uint32_t k = 0; k < g->n_results; k++)
    if (!strcmp(g->results[k].role, role) && !strcmp(g->results[k].name, name)) {
      dtype type = graph_type(g, g->results[k].value)->dtype;
      scalar v = element_load(type, r->data[g->results[k].value], i);
      return dtype_is_real(type) ? v.real : (double)v.integer;
    }
  fail_msg("no %s %s", role, name);
  return NAN;
}

static const char frame_text[] = "data d = shapes()\nstate ticks = 0.0\n%s\npretext p(img, label, x) {\n%s\nticks <- ticks + 1.0\n}\n"
                                 "train p { data: d.train, batch: 4, epochs: 3 }\n";

/* The metric r after the statements. */
static double metric(const char *declarations, const char *statements, int32_t step, uint32_t seed) {
  char text[4000];
  snprintf(text, sizeof text, frame_text, declarations, statements);
  lowered l = lower(text);
  experiment *x = good(&l);
  graph_run *init = run(&l, x->init, NULL, 0, seed);
  double r = number(x->step, run(&l, x->step, init, step, seed), "metric", "r", 0);
  arena_free(l.arena);
  return r;
}

static void expressions_have_their_values(void **state) {
  (void)state;
  static const struct {
    const char *expression;
    double value;
  } rows[] = {
      /* numbers that are known are exact */
      {"7 // 2", 3}, {"-7 // 2", -4}, {"7 % -2", -1}, {"7 / 2", 3.5}, {"2 ** 10", 1024}, {"2 ** -1", 0.5}, {"-2 ** 2", -4},
      {"if 2 < 3 & !(1 == 2) { 5 } else { 6 }", 5}, {"len(0..4) + (1..3)[1]", 6}, {"len(zeros([5, 3]))", 5},
      /* tensors: x is [4,2,3] with elements 0, 1, 2, ... */
      {"sum(x)", 276}, {"mean(x)", 11.5}, {"x[1, 0, 2]", 8}, {"x[-1, -1, -1]", 23}, {"sum(x[1:3, 0])", 6 + 7 + 8 + 12 + 13 + 14},
      {"sum(x[:, :, none, 1].shape)", 4 + 2 + 1}, {"max(x, axis: 0)[1, 2]", 23}, {"min(x)", 0}, {"sum(max(x, 22.0)) - 22 * 24", 1},
      {"argmax(-x[0, 0]) + argmin(-x[0, 0])", 2}, {"sum(x > 20.5)", 3}, {"mean(label == 2)", 0.25}, {"x.size(-1) * x.rank", 9},
      {"(x[0] @ x[1].T)[1, 0]", 3 * 6 + 4 * 7 + 5 * 8}, {"(x[0, 0] @ x[1, 0])", 7 + 16}, {"einsum(\"bij,bkj->bik\", x, x)[0, 0, 1]", 4 + 10},
      {"sum(reshape(x, [6, -1])[0])", 6}, {"transpose(x, 0, 2)[2, 1, 3]", 23}, {"permute(x, [1, 2, 0])[1, 2, 3]", 23},
      {"concat([x, x], axis: 1)[0, 2, 1]", 1}, {"stack([x, 2.0 * x])[1, 0, 1, 2]", 10}, {"split(x, 3, axis: 2)[1][0, 0, 0]", 1},
      {"pad(x[0], [1, 0], [0, 1], 9.0)[0, 0] + pad(x[0], [1, 0], [0, 1])[1, 2]", 11}, {"flip(x, 2)[0, 0, 0]", 2},
      {"strided(x, 2, 0, 2, 2)[0, 0, 1]", 2}, {"take(x, label, axis: 0)[3, 0, 0]", 18}, {"x[label, 1, 2][2]", 17}, {"x[:, label, 0][0, 3]", 3},
      {"one_hot(label, 5)[3, 3] + one_hot(label, 5)[3, 2]", 1}, {"sum(where(x < 2.0, 1.0, 0.0))", 2}, {"sum(zeros([2]) + ones([2]))", 2},
      {"real(range(5))[4] / 8", 0.5}, {"int(2.7)", 2}, {"mean([1.0, 2.0, 6.0])", 3}, {"floor(-2.5)", -3}, {"img[0, 0, 0, 0]", 0.2},
      {"x[0, 0] ** 2 |> sum", 5}, {"x[0, 0] ** 0.5 |> max", 1.4142135623730951},
      /* functions */
      {"(y => y * 2)(3)", 6}, {"twice(3)", 6}, {"twice(b: 4, a: 3)", 12}, {"3 |> twice", 6}, {"3 |> twice(5)", 15}, {"counted(4)", 10},
      {"[a * b for a in 1..4 for b in 1..4 if a < b] |> sum", 2 + 3 + 6}, {"fact(5)", 120}, {"outer(2)", 7},
      {"{ let (a, b) = (1, 2)\n a - b }", -1}, {"shadow(1)", 12}, {"d.classes + d.train.count + d.test.count", 25}, {"sum(per_sample(x))", 276 + 4},
      {"sum([sum(row) * i for (i, row) in [(0, x[0]), (2, x[1])]])", 2 * (6 + 7 + 8 + 9 + 10 + 11)}, {"sum([sum(r) for r in x[0]])", 15},
      {"map(r => sum(r))(x)[3]", 18 + 19 + 20 + 21 + 22 + 23},
      /* loops: x[0] is [0 1 2; 3 4 5] */
      {"scan(x[0], carry: 0.0, body: (s, r) => s + sum(r))[1]", 15}, {"scan(x[0], axis: 1, carry: zeros([2]), body: (s, r) => s + r)[1, 2]", 12},
      {"scan(x[0], axis: -1, carry: zeros([2]), body: (s, r) => s + r).rank", 2}, {"scan(x[0], carry: 0.0, reverse: true, body: (s, r) => s + sum(r))[0]", 15},
      {"scan(x[0], carry: 0.0, reverse: true, body: (s, r) => s + sum(r))[1]", 12}, {"scan(x[0], carry: 1.0, body: (s, r) => (2.0 * s, s * r))[1, 2]", 10},
      {"scan(x[0], carry: (1.0, 0), body: (c, r) => { let (a, n) = c\n ((2.0 * a, n + 1), a + n) })[1]", 3},
      {"scan((x[0], range(2)), body: t => sum(t[0]) * t[1])[1]", 12}, {"scan(x, body: r => (sum(r), max(r)))[1][3]", 23}, {"scan(x[0], body: r => { let k = sum(x[1])\n r * k })[1, 0]", 3 * 51},
      {"sum(scan(x, body: r => scan(r, carry: 0.0, body: (s, q) => s + sum(q * x[0, 0]))))", 420},
      {"sum(running(x))", 84}, {"sum(sum_by_two(x[0, 0]))", 0 + 2 + 4},
  };
  static const char declarations[] = "fn twice(a, b = 2) = a * b\n"
                                     "fn counted(n) { let s = 0\n for i in 0..n + 1 { s = s + i }\n s }\n"
                                     "fn fact(n) = if n == 0 { 1 } else { n * fact(n - 1) }\n"
                                     "fn outer(n) { let inner(m) = m + n\n inner(5) }\n"
                                     "fn shadow(a) { let b = { let a = 10\n a + 1 }\n a + b }\n"
                                     "augment per_sample(v) = sum(v) + 1.0\n"
                                     "augment running(v) = scan(v, carry: 0.0, body: (s, r) => s + r[0])[1]\n"
                                     "fn sum_by_two(v) { let out = map(e => { let s = 0.0\n for i in 0..2 { s = s + e }\n s })(v)\n out }\n";
  for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char statement[400];
    snprintf(statement, sizeof statement, "report r = %s", rows[i].expression);
    double found = metric(declarations, statement, 0, 1);
    if (!(fabs(found - rows[i].value) < 1e-12)) fail_msg("%s gives %.17g, not %.17g", rows[i].expression, found, rows[i].value);
  }
}

static void draws_are_functions_of_seed_step_and_site(void **state) {
  (void)state;
  static const char noise[] = "augment noise(v) = uniform()\nfn once() = uniform()";
  double first = metric(noise, "report r = mean(noise(x))", 0, 1);
  assert_true(metric(noise, "report r = mean(noise(x))", 0, 1) == first);
  assert_true(metric(noise, "report r = mean(noise(x))", 1, 1) != first);
  assert_true(metric(noise, "report r = mean(noise(x))", 0, 2) != first);
  /* another report, and other functions called before, change nothing */
  assert_true(metric(noise, "report other = mean(once() * x)\nlet y = once()\nreport r = mean(noise(x))", 0, 1) == first);
  /* the same call written twice draws twice; each sample has a draw of its own; elsewhere it is one */
  assert_true(metric(noise, "report r = mean(noise(x)) - mean(noise(x))", 0, 1) != 0);
  assert_true(metric(noise, "report r = max(noise(x)) - min(noise(x))", 0, 1) > 0);
  assert_true(metric(noise, "report r = sum([once() - once() for i in 0..3])", 0, 1) != 0);
  assert_true(metric(noise, "let u = once()\nreport r = max(u * ones([9])) - min(u * ones([9]))", 0, 1) == 0);
  /* iterations of loops draw differently, also of loops within loops and over samples; the same in every run */
  static const char each[] = "let u = scan(range(3), body: i => scan(range(2), body: j => uniform(shape: [2])))\nlet v = reshape(u, [12, 1])\n"
                             "report r = sum(abs(v - v.T) < 1.0e-9)";
  assert_true(metric("", each, 0, 1) == 12);
  static const char summed[] = "report r = sum(scan(x, body: v => noise(v)))";
  first = metric(noise, summed, 0, 1);
  assert_true(metric(noise, summed, 0, 1) == first && metric(noise, summed, 1, 1) != first);
  assert_true(metric(noise, "let u = reshape(scan(x, body: v => noise(v)), [8, 1])\nreport r = sum(abs(u - u.T) < 1.0e-9)", 0, 1) == 8);
}

static void draws_have_their_distributions(void **state) {
  (void)state;
  static const struct {
    const char *draw;
    double mean, deviation;
  } rows[] = {{"uniform(shape: [4000])", 0.5, 0.288675}, {"uniform(-1.0, 3.0, [4000])", 1, 1.1547}, {"normal([4000])", 0, 1},
              {"normal([4000], mean: 2.0, std: 0.1)", 2, 0.1}, {"real(randint(3, 7, [4000]))", 4.5, 1.118}};
  for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char text[200];
    snprintf(text, sizeof text, "report r = mean(%s)", rows[i].draw);
    assert_true(fabs(metric("", text, 3, 5) - rows[i].mean) < 5 * rows[i].deviation / sqrt(4000));
    snprintf(text, sizeof text, "report r = mean((%s - %g) ** 2)", rows[i].draw, rows[i].mean);
    assert_true(fabs(sqrt(metric("", text, 3, 5)) / rows[i].deviation - 1) < 0.05);
  }
}

/* -- models, states, objectives ------------------------------------------------------------------------------ */

static uint32_t count_states(const experiment *x, state_kind kind) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < x->n_states; i++) n += x->states[i].kind == kind;
  return n;
}

static const experiment_state *find_state(const experiment *x, const char *name) {
  for (uint32_t i = 0; i < x->n_states; i++)
    if (!strcmp(x->states[i].name, name)) return &x->states[i];
  fail_msg("no state %s", name);
  return NULL;
}

static void weights_are_known_by_their_path(void **state) {
  (void)state;
  lowered l = lower("data d = shapes()\n"
                    "encoder twin(n)(x) { let shared = linear(n)\n let y = x |> shared |> shared\n for i in 0..2 { y = y |> linear(n) }\n y }\n"
                    "model f = twin(3)\nmodel g = twin(3)\ntarget t = ema(f, 0.9)\n"
                    "pretext p(x) {\n let y = f(x[:, 0]) + f(x[:, 1])\n minimize mean((y - stop_grad(t(x[:, 0])) + g(x[:, 0])) ** 2)\n}\n"
                    "train p { data: d.train, batch: 4, epochs: 1, optimizer: adam(lr: 0.1) }\n");
  experiment *x = good(&l);
  assert_int_equal(count_states(x, STATE_WEIGHT), 12);
  assert_int_equal(count_states(x, STATE_TARGET), 6);
  assert_int_equal(count_states(x, STATE_OPTIMIZER), 12 * 2 + 2);
  find_state(x, "f/linear_1/w");
  find_state(x, "f/linear_3/b");
  find_state(x, "adam.m/f/linear_2/w");
  find_state(x, "optimizer.t/g");
  /* a target begins as its model, and another model does not */
  graph_run *init = run(&l, x->init, NULL, 0, 1);
  double w = number(x->init, init, "state", "f/linear_2/w", 4);
  assert_true(number(x->init, init, "state", "t/linear_2/w", 4) == w);
  assert_true(number(x->init, init, "state", "g/linear_2/w", 4) != w);
  assert_int_equal(x->parameters, 2 * 3 * (9 + 3));
  arena_free(l.arena);
}

static void a_queue_takes_rows_around_its_end(void **state) {
  (void)state;
  lowered l = lower("data d = shapes()\nqueue q: f32[6, 3] = 0.0\npretext p(x) { q <- push(x[:, 1]) }\ntrain p { data: d.train, batch: 4, steps: 2 }\n");
  experiment *x = good(&l);
  graph_run *init = run(&l, x->init, NULL, 0, 1), *first = run(&l, x->step, init, 0, 1);
  assert_true(number(x->step, first, "state", "q", 0) == 3 && number(x->step, first, "state", "q", 3 * 3 + 2) == 23);
  assert_true(number(x->step, first, "state", "q", 4 * 3) == 0 && number(x->step, first, "state", "q.position", 0) == 4);
  int32_t *row = init->data[x->init->results[1].value];
  *row = 4; /* the next push begins there: two rows at the end, two at the beginning */
  graph_run *second = run(&l, x->step, init, 1, 1);
  assert_true(number(x->step, second, "state", "q", 4 * 3) == 3 && number(x->step, second, "state", "q", 5 * 3) == 9);
  assert_true(number(x->step, second, "state", "q", 0) == 15 && number(x->step, second, "state", "q", 1 * 3) == 21);
  assert_true(number(x->step, second, "state", "q", 2 * 3) == 0 && number(x->step, second, "state", "q.position", 0) == 2);
  arena_free(l.arena);
}

/* Reads of declared state see the start of the step; each is written at its end. */
static void states_change_at_the_end_of_a_step(void **state) {
  (void)state;
  lowered l = lower("data d = shapes()\nstate a = 1.0\nstate b = 2.0\npretext p(x) {\n a <- b\n b <- a\n report r = a\n}\ntrain p { data: d.train, batch: 4, steps: 2 }\n");
  experiment *x = good(&l);
  graph_run *init = run(&l, x->init, NULL, 0, 1), *step = run(&l, x->step, init, 0, 1);
  assert_true(number(x->step, step, "state", "a", 0) == 2 && number(x->step, step, "state", "b", 0) == 1 && number(x->step, step, "metric", "r", 0) == 1);
  arena_free(l.arena);
}

static void objectives_train_what_they_reach(void **state) {
  (void)state;
  lowered l = lower("data d = shapes()\nmodel f = linear(3)\nmodel g = linear(3)\nmodel h = linear(3)\nweight s = 1.0\n"
                    "pretext p(x) {\n let y = f(x[:, 0])\n minimize mean(y * s)\n minimize mean(g(stop_grad(y)) + h(x[:, 0])) wrt g\n report r = mean(h(x[:, 0]))\n}\n"
                    "train p { data: d.train, batch: 4, steps: 2, optimizer: sgd(lr: 0.1) }\n");
  experiment *x = good(&l);
  bool written[4] = {false};
  static const char *const names[] = {"f/w", "g/w", "s", "h/w"};
  for (uint32_t i = 0; i < x->step->n_results; i++)
    for (uint32_t k = 0; k < 4; k++) written[k] |= !strcmp(x->step->results[i].role, "state") && !strcmp(x->step->results[i].name, names[k]);
  assert_true(written[0] && written[1] && written[2] && !written[3]);
  arena_free(l.arena);
}

static void settings_count_steps(void **state) {
  (void)state;
  lowered l = lower("data d = shapes()\nstate a = 0.0\npretext p(x) {\n a <- real(steps) + steps_per_epoch }\ntrain p { data: d.train, batch: 4, epochs: 3 }\n");
  experiment *x = good(&l);
  assert_int_equal(x->steps_per_epoch, 2); /* the last partial batch is dropped */
  assert_int_equal(x->steps, 6);
  assert_true(number(x->step, run(&l, x->step, NULL, 0, 1), "state", "a", 0) == 8);
  arena_free(l.arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(expressions_have_their_values),
      cmocka_unit_test(draws_are_functions_of_seed_step_and_site),
      cmocka_unit_test(draws_have_their_distributions),
      cmocka_unit_test(weights_are_known_by_their_path),
      cmocka_unit_test(a_queue_takes_rows_around_its_end),
      cmocka_unit_test(states_change_at_the_end_of_a_step),
      cmocka_unit_test(objectives_train_what_they_reach),
      cmocka_unit_test(settings_count_steps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
