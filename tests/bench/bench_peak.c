/* Prints the f32 peak of this machine on one thread and on as many as are given (2 by default), its clock,
 * and how much of what its cores could do at that clock the measuring loop reaches. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/peak.h"

static void report(unsigned threads) {
  double ghz = fma_clock_ghz(), gflops = fma_peak_gflops(threads), limit = ghz * fma_flops_per_cycle() * threads;
  printf("%2u thread%s  %8.1f GFLOP/s  at %.2f GHz  %5.1f %% of %.0f FLOP a cycle and core\n", threads,
         threads == 1 ? " " : "s", gflops, ghz, 100 * gflops / limit, fma_flops_per_cycle());
}

int main(int n, char **arguments) {
  int threads = n > 1 ? atoi(arguments[1]) : 2;
  report(1);
  if (threads > 1) report((unsigned)threads);
  return 0;
}
