/* What tests of kernels by teams share: NVRTC takes their text and spills nothing; and the same text in tf32. */
#ifndef SSLC_TESTS_UNIT_CODEGEN_TEAM_TESTING_H
#define SSLC_TESTS_UNIT_CODEGEN_TEAM_TESTING_H

#include "codegen/cuda/module.h"
#include "codegen/cuda/nvrtc.h"
#include "tests/unit/codegen/on_gpu.h"

static nvrtc *compiler;

static inline void check_compiles(const loops *l, arena *a) {
  enum { FIRST_WITH_GROUPS = 90 };
  static const unsigned capabilities[] = {80, 90};
  const bool by_groups = !l->row_tiles;
  uint32_t *groups = ARENA_ARRAY(a, uint32_t, l->n_arguments + 1);
  for (uint32_t i = 0; i < l->n_arguments; i++) groups[i] = i;
  for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++) {
    const char *error = NULL;
    if (by_groups && capabilities[i] < FIRST_WITH_GROUPS) continue;
    cuda_source source;
    nvrtc_code code;
    nvrtc_target chosen;
    const char *text = cuda_module_text(&(code_part){l, groups, 1}, 1, "kernel", a, &source, &error);
    if (!text || !nvrtc_target_of(compiler, capabilities[i], &chosen) || !nvrtc_compile(compiler, text, l->name, &chosen, a, &code, &error)) fail_msg("%s", error);
    if (getenv("SHOW_CUDA")) printf("%s: sm_%u: %u registers, %u bytes spilled, %u of arrays, %u on the chip\n", l->name, capabilities[i], code.registers, code.spilled_bytes, code.local_bytes, source.shared_bytes);
    assert_int_equal(code.spilled_bytes, 0);
    assert_int_equal(code.local_bytes, 0);
    free(code.code);
  }
}

/* The same text in tf32: all of bf16 is f32, and factors are rounded. Half as many neighbours of the sum take as many bytes. */
static inline char *in_tf32(const char *text) {
  char *out = calloc(1, 2 * strlen(text) + 1), *to = out;
  bool in_sum = false;
  for (const char *from = text; *from;) {
    if (!strncmp(from, "= sum", 5)) in_sum = true;
    if (*from == '\n') in_sum = false;
    const bool narrow = !strncmp(from, "bf16", 4);
    if (narrow || !strncmp(from, "f32", 3)) {
      from += narrow ? 4 : 3;
      to += sprintf(to, "%s", in_sum && *from == '(' ? "tf32" : "f32");
    } else if (!strncmp(from, " 32 of", 6)) {
      to += sprintf(to, " 16 of");
      from += 6;
    } else {
      *to++ = *from++;
    }
  }
  return out;
}

static inline int find_compiler(void **state) {
  (void)state;
  const char *error = NULL;
  arena *a = arena_new();
  compiler = nvrtc_open(a, &error);
  if (!compiler) print_error("%s\n", error);
  arena_free(a);
  return compiler ? 0 : -1;
}

static inline int close_compiler(void **state) {
  (void)state;
  nvrtc_close(compiler);
  return 0;
}

#endif
