/* Any text as a program: it has errors or graphs, and the graphs are sound. */
#include "frontend/experiment.h"
#include "tests/fuzz/fuzz.h"

/* Every source has these fields. */
static bool describe(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  (void)context, (void)what, (void)error;
  data_field *fields = ARENA_ARRAY(a, data_field, 3);
  fields[0] = (data_field){"img", FIELD_IMAGE, make_type(DTYPE_U8, 3, (int64_t[]){3, 8, 8}), 0};
  fields[1] = (data_field){"label", FIELD_LABEL, scalar_type(DTYPE_I32), 4};
  fields[2] = (data_field){"text", FIELD_TOKENS, make_type(DTYPE_U8, 1, (int64_t[]){9}), 0};
  *out = (data_description){.fields = fields, .n_fields = 3, .split = {{"train", 64}, {"test", 16}}};
  return true;
}

static void expect_sound(const graph *g, arena *a) {
  const char *wrong = graph_verify(g, a);
  if (!wrong) return;
  fprintf(stderr, "graph %s: %s\n", g->name, wrong);
  abort();
}

static void try_program(const fuzz_input *in, const char *text, size_t length) {
  (void)text, (void)length;
  data_catalog catalog = {NULL, describe};
  lower_options o = {.real = DTYPE_F32, .catalog = &catalog};
  experiment *x = lower_program(in->file, &o, in->diagnostics, in->arena);
  if (!x) return;
  expect_sound(x->init, in->arena);
  expect_sound(x->step, in->arena);
  for (uint32_t i = 0; i < x->n_evals; i++) expect_sound(x->evals[i].graph, in->arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_run(data, size, try_program); }
