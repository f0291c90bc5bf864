#include "codegen/cuda/gather.h"

#include <stdlib.h>

#include "codegen/cuda/source.h"
#include "ir/scan.h"

enum { THREADS = 256 };

const cuda_kernel *cuda_gather_kernel(const nvrtc *n, unsigned capability, arena *into, const char **error) {
  static const char symbol[] = "kernel_gather";
  nvrtc_target target;
  nvrtc_code code;
  const char *text = arena_printf(into,
                                  "%s\nKERNEL void __launch_bounds__(%d) %s(const u32 *__restrict__ table, const i32 *__restrict__ list, u32 *__restrict__ out) {\n"
                                  "  const i32 words = list[0];\n"
                                  "  const u32 *from = table + (i64)list[1 + blockIdx.x] * words;\n"
                                  "  u32 *to = out + (i64)blockIdx.x * words;\n"
                                  "  for (i32 w = (i32)threadIdx.x; w < words; w += %d) to[w] = from[w];\n"
                                  "}\n",
                                  cuda_prelude, THREADS, symbol, THREADS);
  if (!nvrtc_target_of(n, capability, &target)) return *error = "NVRTC makes no code for this device", NULL;
  if (!nvrtc_compile(n, text, "gather", &target, into, &code, error)) return NULL;
  cuda_kernel *made = arena_alloc(into, sizeof *made);
  *made = (cuda_kernel){.image = arena_copy(into, code.code, code.bytes), .bytes = code.bytes, .symbol = symbol, .name = "gather", .threads = THREADS, .registers = code.registers,
                        .spilled_bytes = code.spilled_bytes, .local_bytes = code.local_bytes};
  free(code.code);
  return made;
}
