/* Matrix products and convolutions by shape, compiled from graphs with their default schedules, of bf16 and
 * of f32, against the measured FMA peak of f32: the best of 15 runs, by the clock and by the time that the threads had a processor, which says
 * more where other work runs beside. Usage: bench_contractions [threads [part of a name [type]]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codegen/cpu/host.h"
#include "runtime/instance.h"
#include "runtime/peak.h"
#include "tests/bench/contractions.h"

static double read_clock(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void) { return read_clock(CLOCK_MONOTONIC); }

static int measure(const workload *w, dtype operands, unsigned threads, double peak) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  graph *g = workload_graph(w, operands == DTYPE_BF16 ? PRODUCTS_BF16 : PRODUCTS_EXACT, a);
  target host;
  host_target(&host);
  pass_context c = {.arena = a, .diagnostics = d, .target = &host};
  const char *error = "a pass failed";
  compile_report report;
  double start = now();
  plan *p = run_passes(g, &c, NULL, NULL);
  executable *e = p ? executable_compile_cpu(p, &(compile_options){.threads = 1}, &report, &error) : NULL;
  double compiled = now() - start;
  if (!e) {
    printf("%-44s %s\n%s", w->name, error, diagnostics_render(d, a, false));
    arena_free(a);
    return 1;
  }
  if (getenv("SSLC_SHOW_PLAN")) puts(plan_print(p, a));
  thread_pool *pool = thread_pool_new(threads);
  instance *i = instance_new(p, e, pool);
  double flops = live_flops(p), best = INFINITY, busy = INFINITY;
  for (int r = 0; r < 15; r++) {
    start = now();
    double before = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    instance_run(i);
    best = fmin(best, now() - start);
    busy = fmin(busy, (read_clock(CLOCK_PROCESS_CPUTIME_ID) - before) / threads);
  }
  double rate = 1e-9 * flops / best;
  printf("%-44s %-4s %8.2f ms %8.1f GFLOP/s %5.1f %% of peak, %5.1f %% in processor time   compiled in %.0f ms\n", w->name, dtype_name(operands), best * 1e3, rate,
         100 * rate / peak, 1e-7 * flops / busy / peak, compiled * 1e3);
  instance_free(i);
  thread_pool_free(pool);
  executable_free(e);
  arena_free(a);
  return 0;
}

int main(int n, char **args) {
  static const workload workloads[] = {
      {"product 1024x1024x1024", "i,k; k,j -> i,j", T(1024, 1024), T(1024, 1024), T(1024, 1024)},
      SAME(64, 128, 256, 8), SAME(64, 128, 256, 16), SAME(64, 128, 256, 32),
      /* The layers of a small encoder, and what residual networks have beside them. */
      SAME(256, 3, 64, 32), SAME(256, 64, 128, 16), SAME(256, 128, 256, 8), SAME(64, 512, 512, 4),
      HALVED(64, 64, 128, 32, 16),
      HALVED_BY_ONE(64, 64, 128, 32, 16),
      CONVOLUTION(64, 64, 256, 1, 32, 32, "p+r,q+s", "h-r", "w-s"),
      {"linear 512->2048 batch 512", "n,c; k,c -> n,k", T(512, 512), T(2048, 512), T(512, 2048)},
      {"linear 512->2048 batch 512 data", "n,k; k,c -> n,c", T(512, 2048), T(2048, 512), T(512, 512)},
      {"linear 512->2048 batch 512 weight", "n,k; n,c -> k,c", T(512, 2048), T(512, 512), T(2048, 512)},
  };
  unsigned threads = n > 1 ? (unsigned)atoi(args[1]) : 1;
  double peak = fma_peak_gflops(threads);
  printf("%u thread%s, peak %.1f GFLOP/s\n", threads, threads == 1 ? "" : "s", peak);
  int failed = 0;
  for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
    for (dtype t = DTYPE_BF16; t <= DTYPE_F32; t++)
      if ((n < 3 || strstr(workloads[i].name, args[2])) && (n < 4 || !strcmp(dtype_name(t), args[3]))) failed |= measure(&workloads[i], t, threads, peak);
  return failed;
}
