#include "runtime/product.h"

#include <string.h>

/* The vector that every 64-bit machine has; the compiler need not guess. */
typedef float vector __attribute__((vector_size(TILE_LANES / 2 * sizeof(float))));

/* Sums have names of their own because compilers keep arrays of them in memory; eight of them, two loads
 * and a factor fit in sixteen registers. */
void product_tile(const float *left, int64_t left_stride, const float *panel, int64_t n, float *out, int64_t out_stride) {
  const float *l0 = left, *l1 = l0 + left_stride, *l2 = l1 + left_stride, *l3 = l2 + left_stride;
  vector s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0}, s30 = {0}, s31 = {0}, b0, b1;
  for (int64_t k = 0; k < n; k++, panel += TILE_LANES) {
    memcpy(&b0, panel, sizeof b0);
    memcpy(&b1, panel + TILE_LANES / 2, sizeof b1);
    s00 += l0[k] * b0, s01 += l0[k] * b1;
    s10 += l1[k] * b0, s11 += l1[k] * b1;
    s20 += l2[k] * b0, s21 += l2[k] * b1;
    s30 += l3[k] * b0, s31 += l3[k] * b1;
  }
  const vector sums[TILE_ROWS][2] = {{s00, s01}, {s10, s11}, {s20, s21}, {s30, s31}};
  for (int r = 0; r < TILE_ROWS; r++) memcpy(out + r * out_stride, sums[r], sizeof sums[r]);
}
