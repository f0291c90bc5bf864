#include "runtime/hardware.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cpu/host.h"
#include "codegen/cuda/architecture.h"
#include "codegen/cuda/gather.h"
#include "runtime/device_cuda.h"
#include "runtime/failure.h"

struct hardware {
  hardware_facts facts;
  int number;
  char name[16];
  /* Of a GPU. */
  cuda_facts gpu;
  cuda_driver driver;
  cuda_ordinal ordinal;
  bool holds_context; /* else every instance would make it anew */
  nvrtc *compiler;
  arena *arena;
  const char *cache; /* of kernels; NULL: none */
  const cuda_kernel *gather; /* made for the first instance; NULL: every batch comes from the host */
  bool asked_gather;
  device *store;
};

/* One of the two, by where it runs. */
struct device_code {
  executable *processor;
  cuda_executable *gpu;
};

const char *hardware_meant(const char *text) {
  const char *said = getenv("SSLC_DEVICE");
  if (text && strcmp(text, "auto")) return text;
  return said && *said ? said : "auto";
}

bool hardware_parse(const char *text, int *number) {
  int read = 0;
  text = hardware_meant(text);
  *number = strcmp(text, "auto") ? PROCESSOR : BEST;
  if (*number == BEST || !strcmp(text, "cpu")) return true;
  *number = 0;
  if (!strcmp(text, "cuda")) return true;
  return sscanf(text, "cuda:%3d%n", number, &read) == 1 && !text[read] && *number >= 0 && text[5] >= '0' && text[5] <= '9';
}

/* -- opening ---------------------------------------------------------------------------------------------------------- */

static const char *taken(char *error, arena *into) {
  const char *text = arena_string(into, error ? error : "out of memory");
  free(error);
  return text;
}

static void open_driver(hardware *h, arena *into, hardware_lack *lack) {
  char *error = NULL;
  cuda_context context;
  const bool open = cuda_driver_open(&h->driver, &error);
  h->holds_context = open && !h->driver.get_device(&h->ordinal, h->number) && !h->driver.retain_context(&context, h->ordinal);
  if (!open || !cuda_describe(&h->driver, h->number, &h->gpu, &error)) lack->device = taken(error, into);
}

static void open_compiler(hardware *h, arena *into, hardware_lack *lack) {
  nvrtc_target made;
  h->compiler = nvrtc_open(into, &lack->compiler);
  if (!h->compiler || lack->device || nvrtc_target_of(h->compiler, h->gpu.capability, &made)) return;
  const nvrtc_facts *n = nvrtc_describe(h->compiler);
  lack->compiler = arena_printf(into, "NVRTC %d.%d (%s) makes no code for %s, %s of compute capability %u.%u", n->major, n->minor, n->file, h->name, h->gpu.name, h->gpu.capability / 10,
                                h->gpu.capability % 10);
}

static void describe_gpu(hardware *h) {
  cuda_speed speed = {0};
  cuda_target(h->gpu.capability, &h->facts.target);
  cuda_describe_speed(&h->driver, h->number, &speed);
  h->facts = (hardware_facts){.name = h->name, .model = h->gpu.name, .target = h->facts.target, .is_gpu = true, .free_bytes = h->gpu.free_bytes, .total_bytes = h->gpu.total_bytes,
                              .peak_flops = speed.flops, .peak_bytes = speed.bytes};
}

static hardware *open_best(arena *into, hardware_lack *lack) {
  cuda_driver probe;
  char *error = NULL;
  const bool has_driver = cuda_driver_open(&probe, &error), is_there = has_driver && cuda_count(&probe) > 0;
  hardware_lack of_gpu = {0};
  free(error);
  hardware *h = is_there ? hardware_open(0, into, &of_gpu) : NULL;
  if (has_driver) cuda_driver_close(&probe);
  if (!h) h = hardware_open(PROCESSOR, into, lack);
  if (h) *lack = of_gpu;
  return h;
}

hardware *hardware_open(int number, arena *into, hardware_lack *lack) {
  if (number == BEST) return open_best(into, lack);
  hardware *h = calloc(1, sizeof *h);
  *lack = (hardware_lack){h ? NULL : "out of memory", NULL};
  if (!h) return NULL;
  h->number = number;
  h->arena = into;
  snprintf(h->name, sizeof h->name, number == PROCESSOR ? "cpu" : "cuda:%d", number);
  if (number == PROCESSOR) {
    h->facts.name = h->name;
    host_target(&h->facts.target);
    h->facts.model = h->facts.target.name;
    return h;
  }
  open_driver(h, into, lack);
  open_compiler(h, into, lack);
  if (!lack->device && !lack->compiler) return describe_gpu(h), h;
  hardware_close(h);
  return NULL;
}

void hardware_close(hardware *h) {
  if (!h) return;
  if (h->store) h->store->free(h->store);
  nvrtc_close(h->compiler);
  if (h->holds_context) h->driver.release_context(h->ordinal);
  if (h->driver.library) cuda_driver_close(&h->driver);
  free(h);
}

const hardware_facts *hardware_describe(const hardware *h) { return &h->facts; }

/* -- code and what runs it ---------------------------------------------------------------------------------------------- */

device_code *hardware_compile(hardware *h, const plan *p, const compile_options *o, compile_report *report, const char **error) {
  device_code *c = calloc(1, sizeof *c);
  *error = "out of memory";
  if (!c) return NULL;
  h->cache = o->cache_directory;
  if (h->facts.is_gpu) c->gpu = executable_compile_cuda(p, h->compiler, h->gpu.capability, o, report, error);
  else c->processor = executable_compile_cpu(p, o, report, error);
  if (c->gpu || c->processor) return c;
  free(c);
  return NULL;
}

void device_code_free(device_code *c) {
  if (!c) return;
  cuda_executable_free(c->gpu);
  executable_free(c->processor);
  free(c);
}

device *hardware_store(hardware *h) {
  char *failed = NULL;
  if (h->gather && !h->store) h->store = device_cuda_new(NULL, h->gather, &h->driver, h->number, &failed);
  free(failed);
  return h->store;
}

instance *hardware_instance(hardware *h, const plan *p, device_code *c, thread_pool *pool, char **error) {
  const char *none = NULL;
  if (h->facts.is_gpu && !h->asked_gather) h->gather = cuda_gather_kernel(h->compiler, h->gpu.capability, h->cache, h->arena, &none);
  h->asked_gather = true;
  if (h->facts.is_gpu) return instance_on(p, device_cuda_new(c->gpu, h->gather, &h->driver, h->number, error), error);
  device *d = device_cpu_new(c->processor, pool);
  if (!d) failure(error, "out of memory");
  return instance_on(p, d, error);
}
