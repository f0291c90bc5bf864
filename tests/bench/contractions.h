/* Products and convolutions by shape, as graphs of one contraction: what contractions.c and tests/device/shapes.c measure. */
#ifndef SSLC_TESTS_BENCH_CONTRACTIONS_H
#define SSLC_TESTS_BENCH_CONTRACTIONS_H

#include "ir/work.h"
#include "passes/passes.h"

typedef struct {
  const char *name, *spec;
  tensor_type x, y, out;
} workload;

#define T(...) {.dtype = DTYPE_F32, .rank = sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t), .dim = {__VA_ARGS__}}
#define CONVOLUTION_FORWARD(batch, c, k, taps, in, out, p)                                                                            \
  {"conv " #taps "x" #taps " " #c "->" #k " batch " #batch " " #in "->" #out " forward", "n,c," p "; k,c,r,s -> n,k,p,q",             \
   T(batch, c, in, in), T(k, c, taps, taps), T(batch, k, out, out)}
#define CONVOLUTION_WEIGHT(batch, c, k, taps, in, out, p)                                                                             \
  {"conv " #taps "x" #taps " " #c "->" #k " batch " #batch " " #in "->" #out " weight", "n,k,p,q; n,c," p " -> k,c,r,s",              \
   T(batch, k, out, out), T(batch, c, in, in), T(k, c, taps, taps)}
/* A convolution with padding that keeps the size, or halves it, and its two derivatives. */
#define CONVOLUTION(batch, c, k, taps, in, out, p, h, w)                                                                              \
  CONVOLUTION_FORWARD(batch, c, k, taps, in, out, p),                                                                                 \
  {"conv " #taps "x" #taps " " #c "->" #k " batch " #batch " " #in "->" #out " data", "n,k," h "," w "; k,c,r,s -> n,c,h,w",           \
   T(batch, k, out, out), T(k, c, taps, taps), T(batch, c, in, in)},                                                               \
  CONVOLUTION_WEIGHT(batch, c, k, taps, in, out, p)
#define SAME(batch, c, k, size) CONVOLUTION(batch, c, k, 3, size, size, "p+r-1,q+s-1", "h-r+1", "w-s+1")
#define HALVED(batch, c, k, in, out) CONVOLUTION(batch, c, k, 3, in, out, "2*p+r-1,2*q+s-1", "(h-r+1)/2", "(w-s+1)/2")
#define HALVED_BY_ONE(batch, c, k, in, out) CONVOLUTION(batch, c, k, 1, in, out, "2*p+r,2*q+s", "(h-r)/2", "(w-s)/2")

/* Operands are states "x" and "y", which lie as the passes want them: in bf16, or in f32 that is rounded on the way or not. */
static inline graph *workload_graph(const workload *w, product_precision operands, arena *a) {
  static const char *const names[] = {"x", "y"};
  graph *g = graph_new(a, "bench");
  value in[2];
  for (int k = 0; k < 2; k++) {
    tensor_type t = k ? w->y : w->x;
    t.dtype = operands == PRODUCTS_BF16 ? DTYPE_BF16 : DTYPE_F32;
    in[k] = graph_cast(g, graph_parameter(g, "state", names[k], t, (span){0}), DTYPE_F32, (span){0});
    if (operands == PRODUCTS_TF32) in[k] = graph_unary(g, OP_TF32, in[k], (span){0});
  }
  graph_add_result(g, "output", "out", graph_contract(g, in[0], in[1], w->spec, &w->out, (span){0}), (span){0});
  return g;
}

/* Two for each product that reads no padding. */
static inline double live_flops(const plan *p) {
  double flops = 0;
  for (uint32_t l = 0; l < p->n_launches; l++) flops += launch_work_of(&p->launches[l]).flops;
  return flops;
}

#endif
