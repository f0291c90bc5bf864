#include "runtime/cuda_driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/failure.h"

static bool take_functions(cuda_driver *d, const char *file, char **error) {
#define CUDA_CALL(field, name, parameters) {name, offsetof(cuda_driver, field)},
  static const struct {
    const char *name;
    size_t at;
  } calls[] = {CUDA_CALLS(CUDA_CALL)}, newer[] = {CUDA_NEWER_CALLS(CUDA_CALL)};
#undef CUDA_CALL
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    void *function = dlsym(d->library, calls[i].name);
    if (!function) return failure(error, "the driver %s lacks %s: one for CUDA 11.4 or newer is needed", file, calls[i].name);
    memcpy((char *)d + calls[i].at, &function, sizeof function);
  }
  for (size_t i = 0; i < sizeof newer / sizeof *newer; i++) {
    void *function = dlsym(d->library, newer[i].name);
    memcpy((char *)d + newer[i].at, &function, sizeof function);
  }
  return true;
}

bool cuda_driver_open(cuda_driver *out, char **error) {
  const char *named = getenv("SSLC_LIBCUDA"), *file = named && *named ? named : "libcuda.so.1";
  *out = (cuda_driver){.library = dlopen(file, RTLD_NOW | RTLD_LOCAL)};
  if (!out->library) return failure(error, "the driver was not found: %s. It comes with NVIDIA's driver for the GPU; SSLC_LIBCUDA may name its file", dlerror());
  if (take_functions(out, file, error)) {
    const cuda_result failed = out->init(0);
    if (!failed) return true;
    failure(error, "the driver %s does not start: %s", file, cuda_error_text(out, failed));
  }
  cuda_driver_close(out);
  return false;
}

void cuda_driver_close(cuda_driver *d) {
  if (d->library) dlclose(d->library);
  d->library = NULL;
}

const char *cuda_error_text(const cuda_driver *d, cuda_result error) {
  const char *text = NULL;
  return !d->error_text(error, &text) && text ? text : "an error that it has no text for";
}

/* What is asked with the device's context current. */
static cuda_result ask_memory(const cuda_driver *d, cuda_ordinal device, cuda_facts *out) {
  cuda_context context;
  size_t free_bytes = 0, total_bytes = 0;
  cuda_result failed = d->retain_context(&context, device);
  if (failed) return failed;
  failed = d->set_context(context);
  if (!failed) failed = d->free_memory(&free_bytes, &total_bytes);
  d->release_context(device);
  out->free_bytes = (int64_t)free_bytes;
  out->total_bytes = (int64_t)total_bytes;
  return failed;
}

bool cuda_describe(const cuda_driver *d, int number, cuda_facts *out, char **error) {
  int n = 0, major = 0, minor = 0;
  cuda_ordinal device;
  cuda_result failed = d->count_devices(&n);
  *out = (cuda_facts){0};
  if (!failed && number >= n) return failure(error, "there is no cuda:%d: the driver sees %d device%s", number, n, n == 1 ? "" : "s");
  if (!failed) failed = d->get_device(&device, number);
  if (!failed) failed = d->device_name(out->name, sizeof out->name, device);
  if (!failed) failed = d->device_attribute(&major, CUDA_DEVICE_MAJOR, device);
  if (!failed) failed = d->device_attribute(&minor, CUDA_DEVICE_MINOR, device);
  if (!failed) failed = ask_memory(d, device, out);
  out->capability = (unsigned)(10 * major + minor);
  return !failed || failure(error, "cuda:%d: %s", number, cuda_error_text(d, failed));
}

int cuda_count(const cuda_driver *d) {
  int n = 0;
  return d->count_devices(&n) ? 0 : n;
}

/* Lanes for f32 of one multiprocessor: the CUDA programming guide, arithmetic instructions. */
static int lanes_of(int major, int minor) { return (major == 7 || (major == 8 && minor == 0)) ? 64 : 128; }

void cuda_describe_speed(const cuda_driver *d, int number, cuda_speed *out) {
  enum { CLOCK, PROCESSORS, MEMORY_CLOCK, BUS, MAJOR, MINOR, N };
  static const int asked[N] = {CUDA_DEVICE_CLOCK, CUDA_DEVICE_PROCESSORS, CUDA_DEVICE_MEMORY_CLOCK, CUDA_DEVICE_BUS, CUDA_DEVICE_MAJOR, CUDA_DEVICE_MINOR};
  int found[N] = {0};
  cuda_ordinal device;
  *out = (cuda_speed){0};
  if (d->get_device(&device, number)) return;
  for (int i = 0; i < N; i++)
    if (d->device_attribute(&found[i], asked[i], device)) found[i] = 0;
  out->flops = 2e3 * found[CLOCK] * found[PROCESSORS] * lanes_of(found[MAJOR], found[MINOR]);
  out->bytes = 2e3 * found[MEMORY_CLOCK] * (found[BUS] / 8);
}
