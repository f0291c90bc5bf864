#include "runtime/product.h"

#include <string.h>

typedef float vector __attribute__((vector_size(TILE_LANES * sizeof(float))));

/* One body for the vector units that x86-64 has had over the years; the widest that the machine has runs. Products and
 * sums stay apart (no FMA), so each of them gives the same bits. */
#ifdef __x86_64__
#define FOR_EACH_MACHINE __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define FOR_EACH_MACHINE
#endif

/* Sums have names of their own because compilers keep arrays of them in memory. */
FOR_EACH_MACHINE
void product_tile(const float *left, int64_t left_stride, const float *panel, int64_t n, float *out, int64_t out_stride) {
  const float *l0 = left, *l1 = l0 + left_stride, *l2 = l1 + left_stride, *l3 = l2 + left_stride;
  vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, b;
  for (int64_t k = 0; k < n; k++, panel += TILE_LANES) {
    memcpy(&b, panel, sizeof b);
    s0 += l0[k] * b;
    s1 += l1[k] * b;
    s2 += l2[k] * b;
    s3 += l3[k] * b;
  }
  const vector sums[TILE_ROWS] = {s0, s1, s2, s3};
  for (int r = 0; r < TILE_ROWS; r++) memcpy(out + r * out_stride, &sums[r], sizeof sums[r]);
}
