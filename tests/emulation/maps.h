/* A map of a rectangle of memory as the emulation's own encoder writes it in the place of a CUtensorMap, and what cuTensorMapEncodeTiled asks of its
 * arguments (CUDA driver API, tensor maps), as far as bf16 in chunks swizzled in 128 bytes goes. */
#ifndef SSLC_TESTS_MAPS_H
#define SSLC_TESTS_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { EMULATED_RANK = 5, EMULATED_MAP = 128 /* bytes */, EMULATED_MARK = 0x6d617073 };

typedef struct {
  const unsigned char *memory;
  uint64_t extent[EMULATED_RANK], stride[EMULATED_RANK]; /* stride in bytes, of the first 2 */
  uint32_t size[EMULATED_RANK], rank, mark;
} emulated_map;
_Static_assert(sizeof(emulated_map) <= EMULATED_MAP, "a map is larger than the driver's");

/* `strides` are those of all dimensions but the first. False: the driver would refuse it. */
static inline bool emulated_encode(void *map, int type, uint32_t rank, const void *memory, const uint64_t *extents, const uint64_t *strides, const uint32_t *sizes, const uint32_t *steps,
                                   int interleave, int swizzle, int promotion, int fill) {
  enum { BF16 = 9, SWIZZLE_128 = 3, SPAN = 128, CHUNK = 16, MOST = 256, ALIGNMENT = 64 };
  emulated_map m = {.memory = memory, .rank = rank, .stride = {2}, .mark = EMULATED_MARK};
  if (type != BF16 || swizzle != SWIZZLE_128 || interleave || fill || promotion < 0 || promotion > 3) return false;
  if (rank < 1 || rank > EMULATED_RANK || (uintptr_t)map % ALIGNMENT || (uintptr_t)memory % CHUNK) return false;
  for (uint32_t i = 0; i < rank; i++) {
    if (!extents[i] || extents[i] > UINT64_C(1) << 32 || !sizes[i] || sizes[i] > MOST || steps[i] < 1 || steps[i] > 8 || steps[i] != 1) return false;
    m.extent[i] = extents[i];
    m.size[i] = sizes[i];
    if (!i) continue;
    m.stride[i] = strides[i - 1];
    if (m.stride[i] % CHUNK || m.stride[i] >= UINT64_C(1) << 40 || (i > 1 && m.stride[i] % m.stride[i - 1])) return false;
  }
  if (sizes[0] * 2 > SPAN || sizes[0] * 2 % CHUNK) return false;
  memset(map, 0, EMULATED_MAP);
  memcpy(map, &m, sizeof m);
  return true;
}

#endif
