#include "runtime/product.h"

#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "ir/pages.h"

/* A tile is cut in blocks of `rows` by `vectors` vectors, whose sums stay in registers: enough of them to hide the latency of two
 * units. Blocks change no bit, since every sum goes its own way. */
#define BLOCKS(rows, vectors, lanes)                             \
  for (int64_t row = 0; row < TILE_ROWS; row += (rows))          \
    for (int64_t lane = 0; lane < TILE_LANES; lane += (vectors) * (lanes))

typedef void product(const float *left, const float *panel, int64_t n, float *out, int64_t out_stride);

#if defined(__x86_64__)
#define PRODUCT(name, machine, vector, lanes, rows, vectors, zero, load, broadcast, fused, store)                                   \
  __attribute__((target(machine))) static void name(const float *left, const float *panel, int64_t n, float *out,        \
                                                    int64_t out_stride) {                                                           \
    BLOCKS(rows, vectors, lanes) {                                                                                                  \
      const float *l = left + row, *p = panel + lane;                                                                               \
      float *o = out + row * out_stride + lane;                                                                                     \
      vector sums[rows][vectors];                                                                                                   \
      _Pragma("GCC unroll 8") for (int r = 0; r < (rows); r++)                                                                      \
        _Pragma("GCC unroll 8") for (int v = 0; v < (vectors); v++) sums[r][v] = zero(); \
      for (int64_t k = 0; k < n; k++, l += TILE_ROWS, p += TILE_LANES) {                                                            \
        vector b[vectors];                                                                                                          \
        _Pragma("GCC unroll 8") for (int v = 0; v < (vectors); v++) b[v] = load(p + v * (lanes));                                   \
        _Pragma("GCC unroll 8") for (int r = 0; r < (rows); r++) {                                                                  \
          vector a = broadcast(l[r]);                                                                                               \
          _Pragma("GCC unroll 8") for (int v = 0; v < (vectors); v++) sums[r][v] = fused(a, b[v], sums[r][v]);                      \
        }                                                                                                                           \
      }                                                                                                                             \
      _Pragma("GCC unroll 8") for (int r = 0; r < (rows); r++)                                                                      \
        _Pragma("GCC unroll 8") for (int v = 0; v < (vectors); v++) store(o + r * out_stride + v * (lanes), sums[r][v]);            \
    }                                                                                                                               \
  }
PRODUCT(product_512, "avx512f", __m512, 16, 8, 3, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps)
PRODUCT(product_256, "avx2,fma", __m256, 8, 4, 2, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps)
#endif

/* A compiler that knows a fused multiply-add of vectors uses it; others call fmaf, slowly. */
static void product_portable(const float *left, const float *panel, int64_t n, float *out, int64_t out_stride) {
  BLOCKS(4, 1, 8) {
    float *o = out + row * out_stride + lane, sums[4][8] = {{0}};
    for (int64_t k = 0; k < n; k++)
      for (int r = 0; r < 4; r++)
        for (int v = 0; v < 8; v++) sums[r][v] = fmaf(left[k * TILE_ROWS + row + r], panel[k * TILE_LANES + lane + v], sums[r][v]);
    for (int r = 0; r < 4; r++)
      for (int v = 0; v < 8; v++) o[r * out_stride + v] = sums[r][v];
  }
}

static product *widest(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return product_512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return product_256;
#endif
  return product_portable;
}

void product_tile(const float *left, const float *panel, int64_t n, float *out, int64_t out_stride) {
  widest()(left, panel, n, out, out_stride);
}

/* -- of bf16 ---------------------------------------------------------------------------------------------- */

typedef void product_narrow(const uint16_t *left, const uint16_t *panel, int64_t pairs, const float *first, float *out);

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16"))) static void narrow_512(const uint16_t *left, const uint16_t *panel, int64_t pairs, const float *first, float *out) {
  enum { VECTORS = 3, LANES = 16 };
  __m512 sums[TILE_ROWS][VECTORS];
  _Pragma("GCC unroll 8") for (int r = 0; r < TILE_ROWS; r++)
    _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sums[r][v] = _mm512_loadu_ps(first + v * LANES);
  for (int64_t k = 0; k < pairs; k++, left += 2 * TILE_ROWS, panel += 2 * TILE_LANES) {
    __m512bh b[VECTORS];
    _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) b[v] = (__m512bh)_mm512_loadu_si512(panel + 2 * v * LANES);
    _Pragma("GCC unroll 8") for (int r = 0; r < TILE_ROWS; r++) {
      int pair;
      memcpy(&pair, left + 2 * r, sizeof pair);
      const __m512bh a = (__m512bh)_mm512_set1_epi32(pair);
      _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], a, b[v]);
    }
  }
  _Pragma("GCC unroll 8") for (int r = 0; r < TILE_ROWS; r++)
    _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) _mm512_storeu_ps(out + r * TILE_LANES + v * LANES, sums[r][v]);
}
#endif

static void narrow_portable(const uint16_t *left, const uint16_t *panel, int64_t pairs, const float *first, float *out) {
  for (int64_t r = 0; r < TILE_ROWS; r++, out += TILE_LANES) {
    memcpy(out, first, TILE_LANES * sizeof *out);
    for (int64_t k = 0; k < pairs; k++)
      for (int64_t l = 0; l < TILE_LANES; l++)
        for (int64_t side = 0; side < 2; side++) out[l] += from_bf16(left[(k * TILE_ROWS + r) * 2 + side]) * from_bf16(panel[(k * TILE_LANES + l) * 2 + side]);
  }
}

bool product_narrow_is_faster(void) {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

void product_tile_narrow(const uint16_t *left, const uint16_t *panel, int64_t pairs, const float *first, float *out) {
  product_narrow *tile = narrow_portable;
#if defined(__x86_64__)
  if (product_narrow_is_faster()) tile = narrow_512;
#endif
  tile(left, panel, pairs, first, out);
}

float *product_memory(int64_t n) {
  size_t size;
  return pages_new((size_t)n * sizeof(float), &size);
}
