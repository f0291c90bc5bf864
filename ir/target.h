/* What the default schedules need to know of a processor. Codegen describes the host; tests make others. */
#ifndef SSLC_IR_TARGET_H
#define SSLC_IR_TARGET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  char name[64];            /* the processor as LLVM names it: "znver4", "sapphirerapids" */
  uint32_t vector_bytes;    /* 64 with AVX-512, 32 with AVX2, 16 else */
  uint32_t vector_registers; /* 32 with AVX-512 and NEON, 16 with AVX2 */
  bool tiles; /* a matrix unit multiplies tiles of bf16: AMX, or that of warps */
  bool boxes;  /* rectangles of memory come to the chip by a copy of one thread: TMA; with groups alone */
  bool groups; /* of four warps, whose matrix unit reads both operands from memory on the chip: wgmma */
  bool warps; /* a GPU: vectors are warps, of which thousands run at once and none waits long for its turn */
  uint32_t bundle_arguments; /* that one launch of several kernels takes; 0: there is none such */
  int64_t l1_bytes, l2_bytes; /* data caches of one core; of a GPU what a warp has of the memory on the chip */
  int64_t large_bytes;        /* of a GPU: products up to this size cost little in memory, whose second cache holds several; of narrow factors, which a
                                 matrix unit has, a sixteenth of it */
} target;

#endif
