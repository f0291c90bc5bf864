/* The standard library against PyTorch and torchvision: the programs of tests/reference, lowered with reals
 * of 64 bits and interpreted, give what the .json files beside them say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cpu/host.h"
#include "frontend/experiment.h"
#include "passes/passes.h"

static char *read_text(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("cannot read %s", path);
  fseek(f, 0, SEEK_END);
  size_t n = (size_t)ftell(f);
  rewind(f);
  char *text = calloc(n + 1, 1);
  assert_int_equal(fread(text, 1, n, f), n);
  fclose(f);
  return text;
}

/* The programs make their inputs; the data set is there because training needs one. */
static bool describe(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  (void)context, (void)error, (void)a;
  int64_t samples = what->n_arguments ? (int64_t)what->arguments[0].number : 6;
  assert_string_equal(what->source, "reference");
  static const int64_t shape[] = {3, 2, 2};
  static data_field image = {.name = "img", .kind = FIELD_IMAGE};
  image.type = make_type(DTYPE_U8, 3, shape);
  *out = (data_description){.fields = &image, .n_fields = 1, .split = {{"train", samples}}};
  return true;
}

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

/* What `start` of generate.py gives weights and running statistics. */
static void start(const experiment_state *s, double *out) {
  double phase = 0, around = ends_with(s->name, "/scale") || ends_with(s->name, "/running_var");
  for (const char *c = s->name; *c; c++) phase += (unsigned char)*c;
  for (int64_t i = 0; i < type_elements(&s->type); i++) out[i] = around + 0.5 * sin(0.7 * (double)i + 0.01 * phase);
}

static double digest(const tensor_type *t, const double *x) {
  double sum = 0;
  for (int64_t i = 0; i < type_elements(t); i++) sum += x[i] * cos(0.3 * (double)i);
  return sum;
}

typedef struct {
  arena *arena;
  const char *program;
  int number;       /* of the case */
  double tolerance; /* relative to what is expected, or to `floor` where that is less */
  double floor;
  experiment *experiment;
  graph *step; /* without derivatives to take */
  graph_binding *bindings;
  uint32_t n_bindings, wrong, compared;
} comparison;

static void compare(comparison *c, const char *what, const char *name, int step, double found, double expected) {
  c->compared++;
  if (fabs(found - expected) <= c->tolerance * fmax(c->floor, fabs(expected))) return;
  print_error("%s, case %d: %s %s in step %d is %.15g, expected %.15g\n", c->program, c->number, what, name, step, found, expected);
  c->wrong++;
}

static void *binding_data(comparison *c, const char *role, const char *name) {
  for (uint32_t i = 0; i < c->n_bindings; i++)
    if (!strcmp(c->bindings[i].role, role) && !strcmp(c->bindings[i].name, name)) return (void *)(uintptr_t)c->bindings[i].data;
  fail_msg("%s: there is no %s %s", c->program, role, name);
  return NULL;
}

static void bind(comparison *c, const char *role, const char *name, const void *data) {
  c->bindings[c->n_bindings++] = (graph_binding){role, name, data};
}

/* `started`: weights begin as `start` has it, else as the program has it. */
static void bind_inputs(comparison *c, bool started) {
  const experiment *x = c->experiment;
  static const uint32_t seed[2] = {1, 2};
  const graph_binding seeded = {"seed", "seed", seed};
  const char *error = NULL;
  graph_run *init = graph_interpret(x->init, &seeded, 1, c->arena, &error);
  if (!init) fail_msg("%s: %s", c->program, error);
  c->bindings = ARENA_ARRAY(c->arena, graph_binding, x->n_states + x->n_inputs + 3);
  for (uint32_t i = 0; i < x->n_states; i++) {
    const experiment_state *s = &x->states[i];
    void *data = arena_alloc(c->arena, (size_t)type_bytes(&s->type) + 8);
    for (uint32_t r = 0; r < x->init->n_results; r++)
      if (!strcmp(x->init->results[r].name, s->name)) memcpy(data, init->data[x->init->results[r].value], (size_t)type_bytes(&s->type));
    if (started && (s->kind == STATE_WEIGHT || s->kind == STATE_BUFFER)) start(s, data);
    bind(c, "state", s->name, data);
  }
  for (uint32_t i = 0; i < x->n_inputs; i++)
    bind(c, "data", x->inputs[i].name, memset(arena_alloc(c->arena, (size_t)type_bytes(&x->inputs[i].type)), 7, (size_t)type_bytes(&x->inputs[i].type)));
  bind(c, "clock", "step", ARENA_NEW(c->arena, int32_t));
  bind(c, "clock", "epoch", ARENA_NEW(c->arena, int32_t));
  bind(c, "seed", "seed", seed);
}

/* One step: compares its metrics, and puts its states where the next one finds them. */
static void take_step(comparison *c, const cJSON *metrics, int number) {
  int32_t step = number, epoch = (int32_t)(number / c->experiment->steps_per_epoch);
  memcpy(binding_data(c, "clock", "step"), &step, sizeof step);
  memcpy(binding_data(c, "clock", "epoch"), &epoch, sizeof epoch);
  const char *error = NULL;
  graph_run *run = graph_interpret(c->step, c->bindings, c->n_bindings, c->arena, &error);
  if (!run) fail_msg("%s: %s", c->program, error);
  for (uint32_t r = 0; r < c->step->n_results; r++) {
    const graph_result *result = &c->step->results[r];
    const tensor_type *type = graph_type(c->step, result->value);
    const void *data = run->data[result->value];
    if (!strcmp(result->role, "state")) memcpy(binding_data(c, "state", result->name), data, (size_t)type_bytes(type));
    const cJSON *expected = strcmp(result->role, "metric") ? NULL : cJSON_GetArrayItem(cJSON_GetObjectItem(metrics, result->name), number);
    if (expected) compare(c, "metric", result->name, number, element_load(type->dtype, data, 0).real, expected->valuedouble);
  }
}

static void check_case(const char *program, const char *text, const cJSON *expected, int number, bool several) {
  arena *a = arena_new();
  sources *s = sources_new(a);
  diagnostics *d = diagnostics_new(a, s);
  uint32_t file = sources_add(s, program, text, strlen(text));
  const option_override override = {"case", arena_printf(a, "%d", number)};
  const data_catalog catalog = {.describe = describe};
  const lower_options options = {.real = DTYPE_F64, .overrides = &override, .n_overrides = several, .catalog = &catalog};
  comparison c = {.arena = a, .program = program, .number = number, .experiment = lower_program(file, &options, d, a)};
  if (!c.experiment) fail_msg("%s", diagnostics_render(d, a, false));
  target host;
  host_target(&host);
  pass_context context = {a, d, &host};
  c.step = pass_autodiff(c.experiment->step, &context);
  if (!c.step) fail_msg("%s", diagnostics_render(d, a, false));
  int steps = (int)cJSON_GetObjectItem(expected, "steps")->valuedouble;
  const cJSON *moments = cJSON_GetObjectItem(expected, "tolerance");
  c.tolerance = moments ? moments->valuedouble : 1e-9;
  c.floor = moments ? 1e-3 : 1;
  const cJSON *metrics = cJSON_GetObjectItem(expected, "metrics"), *states = cJSON_GetObjectItem(expected, "states"), *state;
  bind_inputs(&c, cJSON_GetArraySize(states) > 0);
  for (int i = 0; i < steps; i++) take_step(&c, metrics, i);
  cJSON_ArrayForEach(state, states) {
    const tensor_type *type = NULL;
    for (uint32_t i = 0; i < c.experiment->n_states; i++)
      if (!strcmp(c.experiment->states[i].name, state->string)) type = &c.experiment->states[i].type;
    if (!type) fail_msg("%s has no state %s", program, state->string);
    compare(&c, "state", state->string, steps, digest(type, binding_data(&c, "state", state->string)), state->valuedouble);
  }
  uint32_t wanted = (uint32_t)cJSON_GetArraySize(states);
  const cJSON *metric;
  cJSON_ArrayForEach(metric, metrics) wanted += (uint32_t)cJSON_GetArraySize(metric);
  if (c.compared != wanted) fail_msg("%s, case %d: %u values of %u are there", program, number, c.compared, wanted);
  if (c.wrong) fail_msg("%s, case %d: %u of %u values are wrong", program, number, c.wrong, wanted);
  arena_free(a);
}

static void check_program(const char *name) {
  char path[512];
  snprintf(path, sizeof path, SOURCE_DIR "/tests/reference/%s.json", name);
  char *expected = read_text(path);
  snprintf(path, sizeof path, SOURCE_DIR "/tests/reference/%s.ssl", name);
  char *text = read_text(path);
  cJSON *cases = cJSON_Parse(expected);
  assert_non_null(cases);
  int n = cJSON_GetArraySize(cases);
  assert_true(n > 0);
  for (int i = 0; i < n; i++) check_case(name, text, cJSON_GetArrayItem(cases, i), i, n > 1);
  cJSON_Delete(cases);
  free(expected);
  free(text);
}

static void functions_and_losses(void **state) { (void)state; check_program("functions"); }
static void image_operations(void **state) { (void)state; check_program("augmentations"); }
static void layers_and_encoders(void **state) { (void)state; check_program("layers"); }
static void recurrent_cells(void **state) { (void)state; check_program("recurrent"); }
static void transformers_and_tokens(void **state) { (void)state; check_program("transformers"); }
static void optimizer_steps(void **state) { (void)state; check_program("optimizers"); }
static void clock_schedules(void **state) { (void)state; check_program("schedules"); }
static void distributions(void **state) { (void)state; check_program("draws"); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(functions_and_losses), cmocka_unit_test(image_operations), cmocka_unit_test(layers_and_encoders),
      cmocka_unit_test(transformers_and_tokens), cmocka_unit_test(recurrent_cells), cmocka_unit_test(optimizer_steps),      cmocka_unit_test(clock_schedules), cmocka_unit_test(distributions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
