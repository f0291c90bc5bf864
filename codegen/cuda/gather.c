#include "codegen/cuda/gather.h"

#include <stdlib.h>

#include "codegen/cache.h"
#include "codegen/cuda/source.h"
#include "ir/scan.h"

enum { THREADS = 256 };

/* Machine code from the cache or the compiler, malloc'ed. */
static void *code_of(const nvrtc *n, const char *text, const nvrtc_target *target, const char *cache, size_t *bytes, arena *into, const char **error) {
  const nvrtc_facts *facts = nvrtc_describe(n);
  const char *description = arena_printf(into, "NVRTC %d.%d, %s", facts->major, facts->minor, target->name);
  content_hash key = content_hash_start();
  void *found = NULL;
  nvrtc_code code;
  content_hash_add(&key, text, strlen(text));
  content_hash_add(&key, description, strlen(description));
  if (cache && cache_read(cache, key, &found, bytes) == CACHE_FOUND) return found;
  if (!nvrtc_compile(n, text, "gather", target, into, &code, error)) return NULL;
  if (cache) cache_write(cache, key, code.code, code.bytes);
  return *bytes = code.bytes, code.code;
}

const cuda_kernel *cuda_gather_kernel(const nvrtc *n, unsigned capability, const char *cache, arena *into, const char **error) {
  static const char symbol[] = "kernel_gather";
  nvrtc_target target;
  size_t bytes;
  const char *text = arena_printf(into,
                                  "%s\nKERNEL void __launch_bounds__(%d) %s(const u32 *__restrict__ table, const i32 *__restrict__ list, u32 *__restrict__ out) {\n"
                                  "  const i32 words = list[0];\n"
                                  "  const u32 *from = table + (i64)list[1 + blockIdx.x] * words;\n"
                                  "  u32 *to = out + (i64)blockIdx.x * words;\n"
                                  "  for (i32 w = (i32)threadIdx.x; w < words; w += %d) to[w] = from[w];\n"
                                  "}\n",
                                  cuda_prelude, THREADS, symbol, THREADS);
  if (!nvrtc_target_of(n, capability, &target)) return *error = "NVRTC makes no code for this device", NULL;
  void *code = code_of(n, text, &target, cache, &bytes, into, error);
  if (!code) return NULL;
  cuda_kernel *made = arena_alloc(into, sizeof *made);
  *made = (cuda_kernel){.image = arena_copy(into, code, bytes), .bytes = bytes, .symbol = symbol, .name = "gather", .threads = THREADS};
  free(code);
  return made;
}
