#include "tests/emulation/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cuda/architecture.h"
#include "runtime/device_cuda.h"
#include "runtime/hardware.h"
#include "tests/emulation/emulated_device.h"

enum { EMULATED_CAPABILITY = 80, NO_DEVICE = 77 };

/* Executables are kept to the end: devices and what runs on them come and go in any order. */
static struct {
  int number; /* PROCESSOR: the emulation */
  unsigned capability;
  cuda_driver driver;
  nvrtc *nvrtc;
  arena *arena;
  cuda_executable **made;
  uint32_t n, capacity;
} gpu;

static void close_gpu(void) {
  for (uint32_t i = 0; i < gpu.n; i++) cuda_executable_free(gpu.made[i]);
  if (gpu.number != PROCESSOR) {
    nvrtc_close(gpu.nvrtc);
    cuda_driver_close(&gpu.driver);
  }
  arena_free(gpu.arena);
}

static void open_gpu(void) {
  const char *asked = getenv("SSLC_TEST_DEVICE"), *lacking = NULL;
  char *error = NULL;
  cuda_facts facts;
  if (gpu.arena) return;
  gpu.arena = arena_new();
  gpu.number = PROCESSOR;
  gpu.capability = EMULATED_CAPABILITY;
  atexit(close_gpu);
  if (!asked || !*asked) return;
  if (!hardware_parse(asked, &gpu.number)) lacking = "is no device";
  else if (gpu.number < 0) return;
  else if (!cuda_driver_open(&gpu.driver, &error) || !cuda_describe(&gpu.driver, gpu.number, &facts, &error)) lacking = error;
  else if (!(gpu.nvrtc = nvrtc_open(gpu.arena, &lacking))) lacking = lacking ? lacking : "no NVRTC";
  if (lacking) {
    printf("NO DEVICE: %s: %s\n", asked, lacking);
    gpu.number = PROCESSOR;
    exit(NO_DEVICE);
  }
  gpu.capability = facts.capability;
}

bool gpu_is_real(void) { return open_gpu(), gpu.number != PROCESSOR; }
void gpu_target(target *out) { open_gpu(), cuda_target(gpu.capability, out); }

device *gpu_device_new(const plan *p, const char **error) {
  open_gpu();
  if (gpu.number == PROCESSOR) return emulated_device_new(p, error);
  cuda_executable *code = executable_compile_cuda(p, gpu.nvrtc, gpu.capability, &(compile_options){.threads = 2}, NULL, error);
  if (!code) return NULL;
  *ARENA_PUSH(gpu.arena, gpu.made, gpu.n, gpu.capacity) = code;
  char *failed = NULL;
  device *d = device_cuda_new(code, NULL, &gpu.driver, gpu.number, &failed);
  if (!d) *error = arena_string(p->arena, failed);
  free(failed);
  return d;
}

const char *gpu_run(const plan *p, void *const *buffers) {
  const char *wrong = NULL;
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->n_launches; i++) n += p->launches[i].loops->n_arguments;
  device *d = gpu_device_new(p, &wrong);
  if (!d) return wrong;
  void **memory = ARENA_ARRAY(p->arena, void *, n + 1);
  const loops_buffer **each = ARENA_ARRAY(p->arena, const loops_buffer *, n + 1);
  for (uint32_t i = 0, at = 0; i < p->n_launches; i++)
    for (uint32_t k = 0; k < p->launches[i].loops->n_arguments; k++) each[at++] = &p->launches[i].loops->buffers[k];
  for (uint32_t i = 0; i < n && !wrong; i++) {
    const int64_t bytes = each[i]->elements * (int64_t)dtype_bytes(each[i]->type);
    memory[i] = d->allocate(d, bytes);
    if (!memory[i]) wrong = "no memory";
    else d->write(d, memory[i], buffers[i], bytes);
  }
  if (!wrong) d->launch(d, 0, memory);
  for (uint32_t i = 0; i < n; i++) {
    const int64_t bytes = each[i]->elements * (int64_t)dtype_bytes(each[i]->type);
    if (!memory[i]) continue;
    if (each[i]->written && !wrong) d->read(d, buffers[i], memory[i], bytes);
    d->release(d, memory[i], bytes);
  }
  if (!wrong && d->failure(d)) wrong = arena_string(p->arena, d->failure(d));
  d->free(d);
  return wrong;
}
