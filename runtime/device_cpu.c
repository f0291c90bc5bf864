/* The processor: memory of the process, launches in pieces for the threads of a pool. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/device.h"
#include "ir/pages.h"

typedef struct {
  device device;
  const executable_launch *launches;
  executable *code;
  thread_pool *pool;
  char failure[320];
} cpu;

static size_t whole_pages(int64_t bytes) { return ((size_t)bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE; }
static bool is_mapped(int64_t bytes) { return bytes >= HUGE_PAGE; }

/* Large ones are mappings of their own, on huge pages, which come zeroed without being touched. */
void *host_memory_new(int64_t bytes) {
  size_t size = whole_pages(bytes);
  if (!is_mapped(bytes)) {
    void *memory = pages_new((size_t)bytes, &size);
    return memory ? memset(memory, 0, size) : NULL;
  }
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  use_huge_pages(memory, size);
  return memory;
}

void host_memory_free(void *memory, int64_t bytes) {
  if (!is_mapped(bytes)) free(memory);
  else if (memory) munmap(memory, whole_pages(bytes));
}

static void *cpu_allocate(device *d, int64_t bytes) {
  (void)d;
  return host_memory_new(bytes);
}

static void cpu_release(device *d, void *memory, int64_t bytes) {
  (void)d;
  host_memory_free(memory, bytes);
}

static void cpu_copy(device *d, void *to, const void *from, int64_t bytes) {
  (void)d;
  memcpy(to, from, (size_t)bytes);
}

typedef struct {
  kernel_entry *entry;
  void *const *buffers;
} call;

static void run_piece(void *context, int64_t begin, int64_t end) {
  const call *c = context;
  c->entry(c->buffers, begin, end);
}

static void cpu_launch(device *d, uint32_t number, void *const *buffers) {
  const cpu *c = (const cpu *)d;
  const executable_launch *l = &c->launches[number];
  thread_pool_run(c->pool, run_piece, &(call){l->entry, buffers}, l->iterations, l->chunks);
}

static const char *cpu_failure(device *d) {
  cpu *c = (cpu *)d;
  const char *violation = *c->failure ? NULL : executable_violation(c->code);
  if (violation) snprintf(c->failure, sizeof c->failure, "a bug of the compiler: %s", violation);
  return *c->failure ? c->failure : NULL;
}

static void cpu_free(device *d) { free(d); }

device *device_cpu_new(executable *e, thread_pool *pool) {
  static const device functions = {.is_host = true, .allocate = cpu_allocate, .release = cpu_release, .write = cpu_copy, .read = cpu_copy, .copy = cpu_copy, .launch = cpu_launch,
                                   .failure = cpu_failure, .free = cpu_free};
  uint32_t n;
  cpu *c = malloc(sizeof *c);
  if (!c) return NULL;
  *c = (cpu){.device = functions, .launches = executable_launches(e, &n), .code = e, .pool = pool};
  return &c->device;
}
