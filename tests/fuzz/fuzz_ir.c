/* Any text as a graph, a kernel and a plan: what parses is verified without harm, and prints back to the
 * same bytes. */
#include "ir/plan.h"
#include "tests/fuzz/fuzz.h"

static uint32_t add_text(const fuzz_input *in, const char *text) { return sources_add(in->diagnostics->sources, "again", text, strlen(text)); }

static void try_graph(const fuzz_input *in) {
  graph *g = graph_parse(in->arena, in->file, in->diagnostics);
  if (!g || graph_verify(g, in->arena)) return;
  const char *printed = graph_print(g, in->diagnostics->sources, in->arena);
  graph *again = graph_parse(in->arena, add_text(in, printed), in->diagnostics);
  fuzz_expect_same("the graphs", printed, again ? graph_print(again, in->diagnostics->sources, in->arena) : "(does not parse)");
  graph_dot(g, in->diagnostics->sources, in->arena);
}

static void try_kernel(const fuzz_input *in) {
  uint32_t offset = 0;
  kernel *k = kernel_parse(in->arena, in->file, &offset, in->diagnostics);
  if (!k || kernel_verify(k, in->arena)) return;
  const char *printed = kernel_print(k, in->arena);
  offset = 0;
  kernel *again = kernel_parse(in->arena, add_text(in, printed), &offset, in->diagnostics);
  fuzz_expect_same("the kernels", printed, again ? kernel_print(again, in->arena) : "(does not parse)");
  kernel_canonical(k, in->arena);
}

static void try_plan(const fuzz_input *in) {
  plan *p = plan_parse(in->arena, in->file, in->diagnostics);
  if (!p || plan_verify(p, in->arena)) return;
  const char *printed = plan_print(p, in->arena);
  plan *again = plan_parse(in->arena, add_text(in, printed), in->diagnostics);
  fuzz_expect_same("the plans", printed, again ? plan_print(again, in->arena) : "(does not parse)");
}

static void try_ir(const fuzz_input *in, const char *text, size_t length) {
  (void)text, (void)length;
  try_graph(in);
  try_kernel(in);
  try_plan(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_run(data, size, try_ir); }
