/* Tiles of a matrix product, for judging features: the models' own products are compiled. */
#ifndef SSLC_RUNTIME_PRODUCT_H
#define SSLC_RUNTIME_PRODUCT_H

#include <stdint.h>

enum { TILE_ROWS = 8, TILE_LANES = 48 };

/* out[r * out_stride + l] = sum over k < n of left[k * TILE_ROWS + r] * panel[k * TILE_LANES + l].
 * Each sum is taken in the order of k, each product fused into it: the same bits on every machine. */
void product_tile(const float *left, const float *panel, int64_t n, float *out, int64_t out_stride);

/* Room for n numbers in panels: none of their vectors lies in two cache lines. NULL when memory is short. */
float *product_memory(int64_t n);

#endif
