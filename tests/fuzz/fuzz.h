/* What fuzz targets share. Each is one function that must survive any bytes; libFuzzer calls it
 * (SSLC_FUZZ), and replay.c with the files of a corpus, as a test. */
#ifndef SSLC_TESTS_FUZZ_H
#define SSLC_TESTS_FUZZ_H

#include <setjmp.h>
#include <stdlib.h>

#include "ir/diagnostic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
  arena *arena;
  diagnostics *diagnostics;
  uint32_t file; /* the input's number among the sources */
} fuzz_input;

typedef void fuzz_body(const fuzz_input *in, const char *text, size_t length);

/* Runs the body with an arena of its own; an exhausted one is no fault of the input. */
static inline int fuzz_run(const uint8_t *data, size_t size, fuzz_body *body) {
  arena *a = arena_new();
  jmp_buf exhausted;
  if (!a) return 0;
  arena_on_exhausted(a, &exhausted);
  if (setjmp(exhausted) == 0) {
    diagnostics *d = diagnostics_new(a, sources_new(a));
    const char *text = arena_substring(a, (const char *)data, size);
    fuzz_input in = {a, d, sources_add(d->sources, "input", text, size)};
    body(&in, text, size);
    diagnostics_render(d, a, true);
  }
  arena_free(a);
  return 0;
}

/* Stops with the two texts when they differ. */
static inline void fuzz_expect_same(const char *what, const char *first, const char *second) {
  if (!strcmp(first, second)) return;
  fprintf(stderr, "%s differ:\n%s\n---\n%s\n", what, first, second);
  abort();
}

#endif
