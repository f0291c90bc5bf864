/* Tiles of a matrix product, for judging features: the models' own products are compiled. */
#ifndef SSLC_RUNTIME_PRODUCT_H
#define SSLC_RUNTIME_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { TILE_ROWS = 8, TILE_LANES = 48 };

/* out[r * out_stride + l] = sum over k < n of left[k * TILE_ROWS + r] * panel[k * TILE_LANES + l].
 * Each sum is taken in the order of k, each product fused into it: the same bits on every machine. */
void product_tile(const float *left, const float *panel, int64_t n, float *out, int64_t out_stride);

/* Of a finite number the nearest of bf16, even ones between two; and back. */
static inline uint16_t round_to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static inline float from_bf16(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

/* out[r * TILE_LANES + l] = first[l] + sum over k < 2 * pairs of left[k / 2][r][k % 2] * panel[k / 2][l][k % 2], numbers of bf16, summed in f32:
 * in which order, and how often rounded, is the machine's affair. */
void product_tile_narrow(const uint16_t *left, const uint16_t *panel, int64_t pairs, const float *first, float *out);
bool product_narrow_is_faster(void);

/* Room for n numbers in panels: none of their vectors lies in two cache lines. NULL when memory is short. */
float *product_memory(int64_t n);

#endif
