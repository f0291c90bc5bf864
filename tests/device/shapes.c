/* Products and convolutions by shape on a GPU: a line of JSON for each.
 *   shapes f32|bf16 SECONDS [PART OF A NAME] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/instance.h"
#include "tests/bench/contractions.h"
#include "tests/emulation/gpu.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Zeros would be faster than they should be: a GPU at rest keeps its clocks up. */
static void fill(instance *i, const char *name, arena *a) {
  const tensor_type *t = instance_type(i, "state", name);
  void *data = arena_alloc(a, (size_t)type_bytes(t));
  uint32_t x = 12345;
  for (int64_t e = 0; e < type_elements(t); e++) {
    x = x * 1664525u + 1013904223u; /* Knuth's */
    element_store(t->dtype, data, e, (scalar){.real = (double)(x >> 8) / (1 << 23) - 1});
  }
  instance_set(i, "state", name, data);
}

/* Seconds of a run: of as many as fill the time that there is for it, behind the first two, which load code and capture a graph. */
static double time_runs(instance *i, double seconds) {
  int runs = 0;
  double start = now(), took;
  for (int k = 0; k < 2; k++) instance_run(i);
  instance_wait(i);
  const double first = (now() - start) / 2;
  const int most = first > seconds / 3 ? 2 : 200;
  start = now();
  do {
    for (int k = 0; k < (most > 2 ? 10 : 1); k++, runs++) instance_run(i);
    instance_wait(i);
    took = now() - start;
  } while (runs < most && took < seconds);
  return took / runs;
}

static int measure(const workload *w, product_precision operands, double seconds) {
  static const char *const names[] = {[PRODUCTS_EXACT] = "f32", [PRODUCTS_BF16] = "bf16", [PRODUCTS_TF32] = "tf32"};
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  target gpu;
  char *failed = NULL;
  const char *error = NULL;
  gpu_target(&gpu);
  pass_context c = {.arena = a, .diagnostics = d, .target = &gpu};
  plan *p = run_passes(workload_graph(w, operands, a), &c, NULL, NULL);
  device *on = p ? gpu_device_new(p, &error) : NULL;
  instance *i = on ? instance_on(p, on, &failed) : NULL;
  double took = 0;
  if (i) {
    fill(i, "x", a);
    fill(i, "y", a);
    took = time_runs(i, seconds);
    error = instance_failure(i);
  }
  const bool good = i && !error;
  if (good) printf("{\"name\": \"%s\", \"precision\": \"%s\", \"seconds\": %.9g, \"flops\": %.9g}\n", w->name, names[operands], took, live_flops(p));
  else printf("{\"name\": \"%s\", \"precision\": \"%s\"}\n", w->name, names[operands]);
  if (!good) fprintf(stderr, "%s: %s\n", w->name, failed ? failed : error ? error : diagnostics_render(d, a, false));
  fflush(stdout);
  instance_free(i);
  free(failed);
  arena_free(a);
  return !good;
}

int main(int argc, char **argv) {
  /* Of ResNet-18 with its small stem at batch 512, and of ViT-S at 224 pixels. */
  static const workload workloads[] = {
      {"product 8192x8192x8192", "i,k; k,j -> i,j", T(8192, 8192), T(8192, 8192), T(8192, 8192)},
      {"product 4096x4096x4096", "i,k; k,j -> i,j", T(4096, 4096), T(4096, 4096), T(4096, 4096)},
      {"product 50432x1536x384", "i,k; k,j -> i,j", T(50432, 384), T(384, 1536), T(50432, 1536)},
      {"product 50432x384x1536", "i,k; k,j -> i,j", T(50432, 1536), T(1536, 384), T(50432, 384)},
      CONVOLUTION_FORWARD(512, 3, 64, 3, 32, 32, "p+r-1,q+s-1"), CONVOLUTION_WEIGHT(512, 3, 64, 3, 32, 32, "p+r-1,q+s-1"),
      SAME(512, 64, 64, 32), HALVED(512, 64, 128, 32, 16), SAME(512, 128, 128, 16), HALVED(512, 128, 256, 16, 8), SAME(512, 256, 256, 8),
      HALVED(512, 256, 512, 8, 4), SAME(512, 512, 512, 4), HALVED_BY_ONE(512, 64, 128, 32, 16), HALVED_BY_ONE(512, 128, 256, 16, 8),
      HALVED_BY_ONE(512, 256, 512, 8, 4), {"product 64x64x64", "i,k; k,j -> i,j", T(64, 64), T(64, 64), T(64, 64)}, /* what a launch costs */
  };
  if (argc < 3) return fprintf(stderr, "usage: shapes f32|bf16|tf32 SECONDS [PART OF A NAME]\n"), 2;
  const product_precision operands = !strcmp(argv[1], "bf16") ? PRODUCTS_BF16 : !strcmp(argv[1], "tf32") ? PRODUCTS_TF32 : PRODUCTS_EXACT;
  int failed = 0;
  for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
    if (argc < 4 || strstr(workloads[i].name, argv[3])) failed |= measure(&workloads[i], operands, atof(argv[2]));
  return failed;
}
