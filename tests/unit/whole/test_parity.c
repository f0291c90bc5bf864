/* Whole training steps against PyTorch: the programs of tests/reference/steps begin where the .json files beside
 * them begin (or those of examples/, with settings that the .json files name), and their losses, gradients (which the optimizers' states hold), new weights, running statistics,
 * targets, queues and the features that an eval sees are those of the files; interpreted and compiled with reals
 * of 64 bits to 1e-9, made for a GPU and emulated to the same, and compiled with 32 bits to 1e-3, of the norm of each tensor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cpu/host.h"
#include "frontend/experiment.h"
#include "passes/passes.h"
#include "runtime/instance.h"
#include "tests/emulation/gpu.h"

typedef enum { INTERPRETED, COMPILED, EMULATED } means;

typedef struct {
  const char *program;
  means by;
  dtype real;
  double tolerance;
} way;

/* A graph that runs, by the interpreter or as machine code, of this processor or of a GPU. */
typedef struct {
  graph *plain; /* without derivatives to take: what is interpreted, and the types of results */
  graph_run *run;
  executable *executable;
  thread_pool *pool;
  instance *instance;
} runner;

typedef struct {
  const way *way;
  arena *arena;
  diagnostics *diagnostics;
  cJSON *reference;
  experiment *experiment;
  graph_binding *bindings; /* of all parameters of the graphs; their data is rewritten as steps go by */
  uint32_t n_bindings;
  uint32_t wrong;
} comparison;

/* -- the reference ------------------------------------------------------------------------------------------ */

static cJSON *read_json(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("cannot read %s", path);
  fseek(f, 0, SEEK_END);
  size_t n = (size_t)ftell(f);
  rewind(f);
  char *text = calloc(n + 1, 1);
  assert_int_equal(fread(text, 1, n, f), n);
  fclose(f);
  cJSON *json = cJSON_Parse(text);
  free(text);
  if (!json) fail_msg("%s is not JSON", path);
  return json;
}

/* Whatever the source: images are given as reals; `label` counts classes, `t` are symbols. */
static bool describe(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  (void)what;
  (void)error;
  const comparison *c = context;
  const cJSON *fields = cJSON_GetObjectItem(c->reference, "fields"), *shape, *extent;
  data_field *made = ARENA_ARRAY(a, data_field, cJSON_GetArraySize(fields));
  const int64_t samples = (int64_t)cJSON_GetObjectItem(c->reference, "samples")->valuedouble;
  *out = (data_description){.fields = made, .split = {{"train", samples}, {"test", samples}}};
  cJSON_ArrayForEach(shape, fields) {
    int64_t dim[MAX_RANK];
    uint32_t rank = 0;
    cJSON_ArrayForEach(extent, shape) dim[rank++] = (int64_t)extent->valuedouble;
    bool label = !strcmp(shape->string, "label"), symbols = !strcmp(shape->string, "t");
    int64_t classes = label ? (int64_t)cJSON_GetObjectItem(c->reference, "classes")->valuedouble : 0;
    dtype type = label ? DTYPE_I32 : symbols ? DTYPE_U8 : DTYPE_F64;
    made[out->n_fields++] = (data_field){shape->string, label ? FIELD_LABEL : symbols ? FIELD_TOKENS : FIELD_NUMBERS, make_type(type, rank, dim), classes};
  }
  return true;
}

static void fill(comparison *c, const char *name, const tensor_type *t, void *data, const cJSON *numbers) {
  if (cJSON_GetArraySize(numbers) != type_elements(t))
    fail_msg("%s: %s has %d numbers, expected %lld", c->way->program, name, cJSON_GetArraySize(numbers), (long long)type_elements(t));
  const cJSON *number;
  int64_t i = 0;
  cJSON_ArrayForEach(number, numbers) {
    scalar v = {0};
    if (dtype_is_real(t->dtype)) v.real = number->valuedouble;
    else v.integer = (int64_t)number->valuedouble;
    element_store(t->dtype, data, i++, v);
  }
}

/* -- running ---------------------------------------------------------------------------------------------------- */

static runner runner_of(comparison *c, const graph *g) {
  runner r = {0};
  target machine;
  if (c->way->by == EMULATED) gpu_target(&machine);
  else host_target(&machine);
  pass_context context = {c->arena, c->diagnostics, &machine};
  r.plain = pass_autodiff(g, &context);
  if (!r.plain) fail_msg("%s", diagnostics_render(c->diagnostics, c->arena, false));
  if (c->way->by == INTERPRETED) return r;
  const char *error = NULL;
  compile_report report;
  plan *p = run_passes(g, &context, NULL, NULL);
  if (!p) fail_msg("%s", diagnostics_render(c->diagnostics, c->arena, false));
  if (c->way->by == EMULATED) {
    char *failed = NULL;
    r.instance = instance_on(p, gpu_device_new(p, &error), &failed);
    if (!r.instance) fail_msg("%s", error ? error : failed);
    return r;
  }
  r.executable = executable_compile_cpu(p, &(compile_options){.threads = 2}, &report, &error);
  if (!r.executable) fail_msg("%s", error);
  r.pool = thread_pool_new(2);
  r.instance = instance_new(p, r.executable, r.pool);
  assert_non_null(r.instance);
  return r;
}

static void runner_free(runner *r) {
  if (!r->instance) return;
  instance_free(r->instance);
  if (r->pool) thread_pool_free(r->pool);
  executable_free(r->executable);
}

/* The first run begins with the states that are bound; machine code keeps them by itself from then on. */
static void run_once(comparison *c, runner *r, bool first) {
  if (r->instance) {
    for (uint32_t i = 0; i < c->n_bindings; i++)
      if (first || strcmp(c->bindings[i].role, "state")) instance_set(r->instance, c->bindings[i].role, c->bindings[i].name, c->bindings[i].data);
    instance_run(r->instance);
    return;
  }
  const char *error = NULL;
  r->run = graph_interpret(r->plain, c->bindings, c->n_bindings, c->arena, &error);
  if (!r->run) fail_msg("%s: %s", c->way->program, error);
}

static void get_result(const runner *r, const graph_result *result, void *out) {
  if (r->instance) assert_true(instance_get(r->instance, result->role, result->name, out));
  else memcpy(out, r->run->data[result->value], (size_t)type_bytes(graph_type(r->plain, result->value)));
}

/* -- the step -------------------------------------------------------------------------------------------------- */

static void *bind(comparison *c, const char *role, const char *name, size_t bytes) {
  void *data = arena_alloc(c->arena, bytes + 8);
  memset(data, 0, bytes);
  c->bindings[c->n_bindings++] = (graph_binding){role, name, data};
  return data;
}

static void *bound(comparison *c, const char *role, const char *name) {
  for (uint32_t i = 0; i < c->n_bindings; i++)
    if (!strcmp(c->bindings[i].role, role) && !strcmp(c->bindings[i].name, name)) return (void *)(uintptr_t)c->bindings[i].data;
  fail_msg("%s: there is no %s %s", c->way->program, role, name);
  return NULL;
}

/* States as they are behind a step. */
static void keep_states(comparison *c, const runner *r) {
  for (uint32_t i = 0; i < r->plain->n_results; i++)
    if (!strcmp(r->plain->results[i].role, "state")) get_result(r, &r->plain->results[i], bound(c, "state", r->plain->results[i].name));
}

/* Every state begins as the reference says, or at 0, which the init graph has to agree to; constants are what it makes them. */
static void bind_states(comparison *c) {
  const experiment *x = c->experiment;
  const cJSON *start = cJSON_GetObjectItem(c->reference, "start");
  static const uint32_t seed[2] = {1, 2};
  const graph_binding seeded = {"seed", "seed", seed};
  const char *error = NULL;
  graph_run *init = graph_interpret(x->init, &seeded, 1, c->arena, &error);
  if (!init) fail_msg("%s: %s", c->way->program, error);
  int found = 0;
  for (uint32_t i = 0; i < x->n_states; i++) {
    const experiment_state *s = &x->states[i];
    void *data = bind(c, "state", s->name, (size_t)type_bytes(&s->type));
    const cJSON *numbers = cJSON_GetObjectItemCaseSensitive(start, s->name);
    if (numbers) fill(c, s->name, &s->type, data, numbers);
    found += numbers != NULL;
    for (uint32_t r = 0; !numbers && r < x->init->n_results; r++) {
      if (strcmp(x->init->results[r].name, s->name)) continue;
      const void *made = init->data[x->init->results[r].value];
      if (s->kind == STATE_CONSTANT) memcpy(data, made, (size_t)type_bytes(&s->type));
      else assert_memory_equal(made, data, (size_t)type_bytes(&s->type));
    }
  }
  assert_int_equal(found, cJSON_GetArraySize(start));
}

static void lower(comparison *c) {
  const cJSON *example = cJSON_GetObjectItem(c->reference, "example"), *settings = cJSON_GetObjectItem(c->reference, "options"), *setting;
  option_override *overrides = ARENA_ARRAY(c->arena, option_override, cJSON_GetArraySize(settings) + 1);
  uint32_t n_overrides = 0;
  cJSON_ArrayForEach(setting, settings) overrides[n_overrides++] = (option_override){setting->string, setting->valuestring};
  const char *folder = example ? "examples" : "tests/reference/steps", *name = example ? example->valuestring : c->way->program;
  char *path = arena_printf(c->arena, "%s/%s/%s.ssl", SOURCE_DIR, folder, name);
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("cannot read %s", path);
  char text[8192];
  size_t length = fread(text, 1, sizeof text, f);
  fclose(f);
  const data_catalog catalog = {c, describe};
  const lower_options options = {.real = c->way->real, .catalog = &catalog, .overrides = overrides, .n_overrides = n_overrides};
  uint32_t file = sources_add(c->diagnostics->sources, path, arena_substring(c->arena, text, length), length);
  c->experiment = lower_program(file, &options, c->diagnostics, c->arena);
  if (!c->experiment || c->diagnostics->count) fail_msg("%s", diagnostics_render(c->diagnostics, c->arena, false)); /* no warnings either */
}

/* -- the comparison -------------------------------------------------------------------------------------------- */

static void compare_tensor(comparison *c, const char *what, int step, const tensor_type *t, const void *found, const cJSON *numbers, double tolerance) {
  double *wanted = ARENA_ARRAY(c->arena, double, type_elements(t) + 1), difference = 0, norm = 0;
  tensor_type wide = make_type(DTYPE_F64, t->rank, t->dim);
  fill(c, what, &wide, wanted, numbers);
  for (int64_t i = 0; i < type_elements(t); i++) {
    scalar v = element_load(t->dtype, found, i);
    difference += pow((dtype_is_real(t->dtype) ? v.real : (double)v.integer) - wanted[i], 2);
    norm += wanted[i] * wanted[i];
  }
  /* What is 0 by symmetry, as the derivative by a bias in front of a batch norm, is rounding of numbers around 1. */
  double rounding = c->way->real == DTYPE_F64 ? DBL_EPSILON : FLT_EPSILON;
  if (sqrt(difference) <= tolerance * sqrt(norm) + rounding) return; /* false for NaN */
  print_error("%s, step %d: %s of norm %g is off by %g\n", c->way->program, step, what, sqrt(norm), sqrt(difference));
  c->wrong++;
}

/* Of all results of the role; each has to be in the reference, except for the metric "finite" and figures of collapse, std/f and
 * rank/f, whose functions test_library compares. */
static void compare(comparison *c, const runner *r, const char *role, const cJSON *expected, int step) {
  int compared = 0;
  for (uint32_t i = 0; i < r->plain->n_results; i++) {
    const graph_result *result = &r->plain->results[i];
    if (strcmp(result->role, role)) continue;
    const tensor_type *t = graph_type(r->plain, result->value);
    void *found = arena_alloc(c->arena, (size_t)type_bytes(t) + 8);
    get_result(r, result, found);
    if (!strcmp(result->name, "finite")) {
      assert_true(element_load(t->dtype, found, 0).integer);
      continue;
    }
    if (!strcmp(role, "metric") && (!strncmp(result->name, "std/", 4) || !strncmp(result->name, "rank/", 5))) continue;
    const cJSON *numbers = cJSON_GetObjectItemCaseSensitive(expected, result->name);
    if (!numbers) fail_msg("%s: the reference has no %s %s", c->way->program, role, result->name);
    compare_tensor(c, result->name, step, t, found, numbers, c->way->tolerance);
    compared++;
  }
  assert_int_equal(compared, cJSON_GetArraySize(expected));
}

static void take_steps(comparison *c) {
  const experiment *x = c->experiment;
  for (uint32_t i = 0; i < x->n_inputs; i++) bind(c, "data", x->inputs[i].name, (size_t)type_bytes(&x->inputs[i].type));
  int32_t *step = bind(c, "clock", "step", sizeof *step), *epoch = bind(c, "clock", "epoch", sizeof *epoch);
  bind(c, "seed", "seed", 2 * sizeof(uint32_t));
  runner r = runner_of(c, x->step);
  const cJSON *steps = cJSON_GetObjectItem(c->reference, "steps");
  for (int i = 0; i < cJSON_GetArraySize(steps); i++) {
    const cJSON *now = cJSON_GetArrayItem(steps, i), *data = cJSON_GetObjectItem(now, "data"), *states = cJSON_GetObjectItem(now, "states");
    for (uint32_t k = 0; k < x->n_inputs; k++)
      fill(c, x->inputs[k].name, &x->inputs[k].type, bound(c, "data", x->inputs[k].name), cJSON_GetObjectItem(data, x->inputs[k].name));
    *step = i;
    *epoch = (int32_t)(i / x->steps_per_epoch);
    run_once(c, &r, i == 0);
    compare(c, &r, "metric", cJSON_GetObjectItem(now, "metrics"), i);
    if (states) compare(c, &r, "state", states, i);
    keep_states(c, &r);
  }
  runner_free(&r);
}

/* Features of the images of the last step, first in a batch that is otherwise 0. They have 32 bits in any case. */
static void evaluate(comparison *c) {
  const cJSON *features = cJSON_GetObjectItem(c->reference, "features"), *steps = cJSON_GetObjectItem(c->reference, "steps");
  if (!features) return;
  const experiment_eval *eval = &c->experiment->evals[0];
  const cJSON *data = cJSON_GetObjectItem(cJSON_GetArrayItem(steps, cJSON_GetArraySize(steps) - 1), "data");
  c->n_bindings = c->experiment->n_states; /* batches are others here */
  for (uint32_t i = 0; i < eval->n_inputs; i++) {
    tensor_type some = eval->inputs[i].type;
    some.dim[0] = c->experiment->batch;
    fill(c, eval->inputs[i].name, &some, bind(c, "data", eval->inputs[i].name, (size_t)type_bytes(&eval->inputs[i].type)),
         cJSON_GetObjectItem(data, eval->inputs[i].name));
  }
  runner r = runner_of(c, eval->graph);
  tensor_type t = *graph_type(r.plain, r.plain->results[0].value);
  void *found = arena_alloc(c->arena, (size_t)type_bytes(&t));
  run_once(c, &r, true);
  get_result(&r, &r.plain->results[0], found);
  t.dim[0] = c->experiment->batch;
  compare_tensor(c, "features", cJSON_GetArraySize(steps), &t, found, features, fmax(c->way->tolerance, 1e-6));
  runner_free(&r);
}

static comparison begin(const way *w) {
  comparison c = {.way = w, .arena = arena_new()};
  c.diagnostics = diagnostics_new(c.arena, sources_new(c.arena));
  c.reference = read_json(arena_printf(c.arena, "%s/tests/reference/steps/%s.json", SOURCE_DIR, w->program));
  lower(&c);
  c.bindings = ARENA_ARRAY(c.arena, graph_binding, c.experiment->n_states + c.experiment->n_inputs + 3);
  bind_states(&c);
  return c;
}

static void end(comparison *c) {
  cJSON_Delete(c->reference);
  arena_free(c->arena);
}

static void steps_agree(void **state) {
  comparison c = begin(*state);
  take_steps(&c);
  evaluate(&c);
  if (c.wrong) fail_msg("%s: %u tensors differ", c.way->program, c.wrong);
  end(&c);
}

/* -- finite differences ------------------------------------------------------------------------------------- */

static double read_number(const runner *r, const char *role, const char *name, int64_t element) {
  for (uint32_t i = 0; i < r->plain->n_results; i++) {
    const graph_result *result = &r->plain->results[i];
    if (!strcmp(result->role, role) && !strcmp(result->name, name)) return element_load(DTYPE_F64, r->run->data[result->value], element).real;
  }
  fail_msg("there is no %s %s", role, name);
  return 0;
}

/* How far the gradients of the first step, which Adam's first moments are a tenth of, are from the slopes of the loss, as a share
 * of the latter's norm. */
static double distance_from_slopes(const char *program) {
  comparison c = begin(&(way){.program = program, .real = DTYPE_F64});
  const experiment *x = c.experiment;
  const cJSON *data = cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(c.reference, "steps"), 0), "data");
  for (uint32_t i = 0; i < x->n_inputs; i++) {
    const experiment_input *input = &x->inputs[i];
    fill(&c, input->name, &input->type, bind(&c, "data", input->name, (size_t)type_bytes(&input->type)), cJSON_GetObjectItem(data, input->name));
  }
  bind(&c, "clock", "step", sizeof(int32_t));
  bind(&c, "clock", "epoch", sizeof(int32_t));
  bind(&c, "seed", "seed", 2 * sizeof(uint32_t));
  runner r = runner_of(&c, x->step);
  double difference = 0, norm = 0;
  uint32_t weights = 0;
  for (uint32_t i = 0; i < x->n_states; i++) {
    const experiment_state *s = &x->states[i];
    if (strncmp(s->name, "f/", 2)) continue;
    double *w = bound(&c, "state", s->name);
    weights++;
    for (int64_t e = 0; e < type_elements(&s->type); e++) {
      const double before = w[e], step = 1e-5;
      double side[2];
      for (int k = 0; k < 2; k++) {
        w[e] = before + (k ? step : -step);
        run_once(&c, &r, true);
        side[k] = read_number(&r, "metric", "loss", 0);
      }
      w[e] = before;
      run_once(&c, &r, true);
      double slope = (side[1] - side[0]) / (2 * step);
      difference += pow(slope - 10 * read_number(&r, "state", arena_printf(c.arena, "adam.m/%s", s->name), e), 2);
      norm += slope * slope;
    }
  }
  assert_int_equal(weights, 6);
  end(&c);
  return sqrt(difference / norm);
}

/* MAML's gradient goes through the inner steps; without them it is another one, of the same loss. */
static void second_order_is_the_slope_and_first_order_is_not(void **state) {
  (void)state;
  double second = distance_from_slopes("maml"), first = distance_from_slopes("first_order");
  if (!(second < 1e-7)) fail_msg("of second order: off by %g", second);
  if (!(first > 0.05 && first < 1)) fail_msg("of first order: off by %g", first);
}

int main(void) {
  static const char *const programs[] = {"convolution", "simclr", "byol",        "moco", "resnet", "mae",
                                         "gan",         "dcgan",  "maml", "first_order", "gpt"};
  static const way ways[] = {{.real = DTYPE_F64, .tolerance = 1e-9}, {.by = COMPILED, .real = DTYPE_F64, .tolerance = 1e-9},
                             {.by = COMPILED, .real = DTYPE_F32, .tolerance = 1e-3}, {.by = EMULATED, .real = DTYPE_F64, .tolerance = 1e-9}};
  static const char *const names[] = {"interpreted", "compiled", "compiled with 32 bits", "emulated"};
  enum { PROGRAMS = sizeof programs / sizeof *programs, WAYS = sizeof ways / sizeof *ways };
  static way all[PROGRAMS * WAYS];
  static char name[PROGRAMS * WAYS][64];
  static struct CMUnitTest tests[PROGRAMS * WAYS + 1];
  for (int i = 0; i < PROGRAMS * WAYS; i++) {
    all[i] = ways[i % WAYS];
    all[i].program = programs[i / WAYS];
    snprintf(name[i], sizeof name[i], "%s, %s", programs[i / WAYS], names[i % WAYS]);
    tests[i] = (struct CMUnitTest){.name = name[i], .test_func = steps_agree, .initial_state = &all[i]};
  }
  tests[PROGRAMS * WAYS] = (struct CMUnitTest)cmocka_unit_test(second_order_is_the_slope_and_first_order_is_not);
  return cmocka_run_group_tests_name("whole/parity", tests, NULL, NULL);
}
