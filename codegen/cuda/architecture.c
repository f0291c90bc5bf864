#include "codegen/cuda/architecture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HAS_GROUPS = 90 };

/* A vector is a warp, whose lanes have 255 registers each; what is near them is their share of the memory on the chip. */
void cuda_target(unsigned capability, target *out) {
  enum { FIRST_WITH_BF16 = 80, POINTERS = 500 /* in the 4 KiB of a kernel's parameters */ };
  *out = (target){.warps = true, .tiles = capability >= FIRST_WITH_BF16, .vector_bytes = 128, .vector_registers = 32, .l1_bytes = 16 << 10, .l2_bytes = 64 << 10, .large_bytes = 16 << 20, .bundle_arguments = POINTERS};
  snprintf(out->name, sizeof out->name, "sm_%u", capability);
  const char *asked = getenv("SSLC_WGMMA"), *boxes = getenv("SSLC_TMA");
  out->groups = capability == HAS_GROUPS && asked && !strcmp(asked, "1");
  out->boxes = out->groups && !(boxes && !strcmp(boxes, "0"));
}
