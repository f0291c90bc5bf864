#include "codegen/cpu/host.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <unistd.h>

/* Vector units by the feature that LLVM reports, best first. */
static const struct {
  const char *feature;
  uint32_t vector_bytes, vector_registers;
} vector_units[] = {{"+avx512f", 64, 32}, {"+avx2", 32, 16}, {"+avx", 32, 16}, {"+neon", 16, 32}, {"", 16, 16}};

static bool has_feature(const char *features, const char *wanted) {
  size_t length = strlen(wanted);
  if (!length) return true;
  for (const char *at = strstr(features, wanted); at; at = strstr(at + 1, wanted))
    if (at[length] == ',' || !at[length]) return true;
  return false;
}

/* A few machines answer sysconf with 0; the typical core of the last decade stands in. */
static int64_t cache_bytes(int name, int64_t otherwise) {
  long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

/* Linux hands the state of a matrix unit out to processes that ask; every thread has it then. */
static bool may_use_tiles(void) {
#if defined(__x86_64__) && defined(__linux__)
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return false;
#endif
}

void host_target(target *out) {
  char *name = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
  *out = (target){.l1_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10),
                  .l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 1 << 20)};
  snprintf(out->name, sizeof out->name, "%s", name);
  for (size_t i = 0; i < sizeof vector_units / sizeof *vector_units && !out->vector_bytes; i++)
    if (has_feature(features, vector_units[i].feature)) {
      out->vector_bytes = vector_units[i].vector_bytes;
      out->vector_registers = vector_units[i].vector_registers;
    }
  out->tiles = has_feature(features, "+amx-bf16") && has_feature(features, "+amx-tile") && may_use_tiles();
  LLVMDisposeMessage(name);
  LLVMDisposeMessage(features);
}

void host_llvm(char out[24]) {
  unsigned major, minor, patch;
  LLVMGetVersion(&major, &minor, &patch);
  snprintf(out, 24, "%u.%u.%u", major % 1000, minor % 1000, patch % 1000);
}
