/* Matrix products and convolutions by shape, compiled from graphs with their default schedules, of bf16 and
 * of f32, against the measured FMA peak of f32: the best of 15 runs, by the clock and by the time that the threads had a processor, which says
 * more where other work runs beside. Usage: bench_contractions [threads [part of a name [type]]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codegen/cpu/host.h"
#include "ir/work.h"
#include "passes/passes.h"
#include "runtime/instance.h"
#include "runtime/peak.h"

typedef struct {
  const char *name, *spec;
  tensor_type x, y, out;
} workload;

static double read_clock(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void) { return read_clock(CLOCK_MONOTONIC); }

/* Two for each product that reads no padding. */
static double live_flops(const plan *p) {
  double flops = 0;
  for (uint32_t l = 0; l < p->n_launches; l++) flops += launch_work_of(&p->launches[l]).flops;
  return flops;
}

static int measure(const workload *w, dtype operands, unsigned threads, double peak) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  graph *g = graph_new(a, "bench");
  const char *roles[] = {"state", "state"}, *names[] = {"x", "y"};
  value in[2];
  for (int k = 0; k < 2; k++) {
    tensor_type t = k ? w->y : w->x;
    t.dtype = operands;
    in[k] = graph_cast(g, graph_parameter(g, roles[k], names[k], t, (span){0}), DTYPE_F32, (span){0});
  }
  graph_add_result(g, "output", "out", graph_contract(g, in[0], in[1], w->spec, &w->out, (span){0}), (span){0});
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
#define T(...) {.dtype = DTYPE_F32, .rank = sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t), .dim = {__VA_ARGS__}}
/* A convolution with padding that keeps the size, or halves it, and its two derivatives. */
#define CONVOLUTION(batch, c, k, taps, in, out, p, h, w)                                                                              \
  {"conv " #taps "x" #taps " " #c "->" #k " batch " #batch " " #in "->" #out " forward", "n,c," p "; k,c,r,s -> n,k,p,q",             \
   T(batch, c, in, in), T(k, c, taps, taps), T(batch, k, out, out)},                                                               \
  {"conv " #taps "x" #taps " " #c "->" #k " batch " #batch " " #in "->" #out " data", "n,k," h "," w "; k,c,r,s -> n,c,h,w",           \
   T(batch, k, out, out), T(k, c, taps, taps), T(batch, c, in, in)},                                                               \
  {"conv " #taps "x" #taps " " #c "->" #k " batch " #batch " " #in "->" #out " weight", "n,k,p,q; n,c," p " -> k,c,r,s",              \
   T(batch, k, out, out), T(batch, c, in, in), T(k, c, taps, taps)}
#define SAME(batch, c, k, size) CONVOLUTION(batch, c, k, 3, size, size, "p+r-1,q+s-1", "h-r+1", "w-s+1")
  static const workload workloads[] = {
      {"product 1024x1024x1024", "i,k; k,j -> i,j", T(1024, 1024), T(1024, 1024), T(1024, 1024)},
      SAME(64, 128, 256, 8), SAME(64, 128, 256, 16), SAME(64, 128, 256, 32),
      /* The layers of a small encoder, and what residual networks have beside them. */
      SAME(256, 3, 64, 32), SAME(256, 64, 128, 16), SAME(256, 128, 256, 8), SAME(64, 512, 512, 4),
      CONVOLUTION(64, 64, 128, 3, 32, 16, "2*p+r-1,2*q+s-1", "(h-r+1)/2", "(w-s+1)/2"),
      CONVOLUTION(64, 64, 128, 1, 32, 16, "2*p+r,2*q+s", "(h-r)/2", "(w-s)/2"),
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
