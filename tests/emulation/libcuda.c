/* In the place of NVIDIA's driver: memory of the device is memory of the host, at other addresses than it says; streams do their work only
 * when somebody waits for them, as late as may be; kernels are not run, launches are counted. SSLC_STAND_IN_FAILS=NAME:N lets
 * the Nth call of a function fail with an error of its own. What is wrong with a call aborts. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL __attribute__((visibility("default"))) int

/* What tests ask for. */
__attribute__((visibility("default"))) int stand_in_launches, stand_in_graph_launches, stand_in_live, stand_in_waits;
__attribute__((visibility("default"))) unsigned stand_in_shared;

enum { FAILED = 719, NO_MEMORY = 2, TOTAL = 64 << 20, OFFSET = 1 << 20 };

typedef struct {
  enum { FILL, TO_DEVICE, TO_HOST, COPY, LAUNCH } kind;
  char *to;
  const char *from;
  size_t bytes;
  unsigned value, width;
} task;
typedef struct {
  task items[65536];
  unsigned n;
} task_list;
static task_list queue, graph; /* what waits, and what is being captured */
static int capturing, have_context;
static size_t used;

static int fails(const char *name) {
  static char counted[64];
  static int calls;
  const char *asked = getenv("SSLC_STAND_IN_FAILS"), *colon = asked ? strchr(asked, ':') : NULL;
  if (!colon) return counted[0] = 0;
  if (strcmp(counted, asked)) snprintf(counted, sizeof counted, "%s", asked), calls = 0;
  return strlen(name) == (size_t)(colon - asked) && !strncmp(name, asked, strlen(name)) && ++calls == atoi(colon + 1) ? FAILED : 0;
}
#define BEGIN                                  \
  do {                                         \
    const int failed_ = fails(__func__);       \
    if (failed_) return failed_;               \
  } while (0)
#define IN_CONTEXT \
  do {             \
    BEGIN;         \
    if (!have_context) abort(); \
  } while (0)

static void add(task t) {
  task_list *to = capturing ? &graph : &queue;
  if (to->n == 65536) abort();
  to->items[to->n++] = t;
}

static void work(void) {
  for (unsigned i = 0; i < queue.n; i++) {
    const task *t = &queue.items[i];
    if (t->kind == LAUNCH) stand_in_launches++;
    else if (t->kind != FILL) memcpy(t->to, t->from, t->bytes);
    else
      for (size_t k = 0; k < t->bytes; k += t->width) memcpy(t->to + k, &t->value, t->width);
  }
  queue.n = 0;
}

static char *host_of(uint64_t pointer) { return (char *)(uintptr_t)(pointer - OFFSET); }

CALL cuInit(unsigned flags) { BEGIN; return (int)flags; }
CALL cuDriverGetVersion(int *v) { return *v = 13000, 0; }
CALL cuGetErrorString(int e, const char **text) { return *text = e == FAILED ? "made to fail" : e == NO_MEMORY ? "out of memory" : "other", 0; }
CALL cuDeviceGetCount(int *n) { BEGIN; return *n = 2, 0; }
CALL cuDeviceGet(int *d, int number) { BEGIN; return *d = number, number > 1; }
CALL cuDeviceGetName(char *name, int bytes, int d) { BEGIN; return snprintf(name, (size_t)bytes, "stand-in %d", d), 0; }
CALL cuDeviceGetAttribute(int *value, int which, int d) {
  BEGIN;
  (void)d;
  *value = which == 75 ? 8 : which == 76 ? 0 : which == 97 ? 166912 : -1;
  return *value < 0;
}
CALL cuDevicePrimaryCtxRetain(void **c, int d) { BEGIN; (void)d; return *c = &queue, stand_in_live++, 0; }
CALL cuDevicePrimaryCtxRelease_v2(int d) { (void)d; return stand_in_live--, 0; }
CALL cuCtxSetCurrent(void *c) { BEGIN; return have_context = c == &queue, 0; }
CALL cuMemGetInfo_v2(size_t *unused, size_t *total) { IN_CONTEXT; return *unused = TOTAL - used, *total = TOTAL, 0; }
CALL cuMemAlloc_v2(uint64_t *memory, size_t bytes) {
  IN_CONTEXT;
  if (capturing || bytes > TOTAL - used) return NO_MEMORY;
  size_t *p = malloc(bytes + 256);
  *p = bytes;
  used += bytes;
  memset((char *)p + 256, 0xA5, bytes);
  stand_in_live++;
  return *memory = (uint64_t)(uintptr_t)p + 256 + OFFSET, 0;
}
CALL cuMemFree_v2(uint64_t memory) {
  IN_CONTEXT;
  work();
  used -= *(size_t *)(void *)(host_of(memory) - 256);
  return free(host_of(memory) - 256), stand_in_live--, 0;
}
CALL cuMemAllocHost_v2(void **memory, size_t bytes) { IN_CONTEXT; return *memory = malloc(bytes), stand_in_live++, 0; }
CALL cuMemFreeHost(void *memory) { IN_CONTEXT; return free(memory), stand_in_live--, 0; }
CALL cuMemsetD8Async(uint64_t to, unsigned char v, size_t n, void *s) { IN_CONTEXT; (void)s; return add((task){FILL, host_of(to), NULL, n, v, 1}), 0; }
CALL cuMemsetD32Async(uint64_t to, unsigned v, size_t n, void *s) { IN_CONTEXT; (void)s; return add((task){FILL, host_of(to), NULL, 4 * n, v, 4}), 0; }
CALL cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *s) {
  IN_CONTEXT;
  (void)s;
  if (capturing) abort(); /* the graph would read memory of the host at every replay */
  return add((task){TO_DEVICE, host_of(to), from, n, 0, 0}), 0;
}
CALL cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *s) { IN_CONTEXT; (void)s; return add((task){TO_HOST, to, host_of(from), n, 0, 0}), 0; }
CALL cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *s) { IN_CONTEXT; (void)s; return add((task){COPY, host_of(to), host_of(from), n, 0, 0}), 0; }
CALL cuModuleLoadData(void **m, const void *image) {
  IN_CONTEXT;
  if (capturing || memcmp(image, "\177ELF", 4)) abort();
  return *m = malloc(1), stand_in_live++, 0;
}
CALL cuModuleUnload(void *m) { IN_CONTEXT; return free(m), stand_in_live--, 0; }
CALL cuModuleGetFunction(void **f, void *m, const char *name) { IN_CONTEXT; return *f = m, strncmp(name, "kernel_", 7) != 0; }
CALL cuFuncSetAttribute(void *f, int which, int value) { IN_CONTEXT; (void)f; return stand_in_shared = (unsigned)value, which != 8; }
CALL cuLaunchKernel(void *f, unsigned bx, unsigned by, unsigned bz, unsigned tx, unsigned ty, unsigned tz, unsigned shared, void *s, void **arguments, void **extra) {
  IN_CONTEXT;
  (void)s, (void)arguments;
  if (!f || !bx || by != 1 || bz != 1 || !tx || tx > 1024 || ty != 1 || tz != 1 || extra) abort();
  if (shared > 49152 && shared > stand_in_shared) return 1;
  return add((task){LAUNCH, NULL, NULL, 0, 0, 0}), 0;
}
CALL cuStreamCreate(void **s, unsigned flags) { IN_CONTEXT; return *s = malloc(1), stand_in_live++, flags != 1; }
CALL cuStreamDestroy_v2(void *s) { IN_CONTEXT; return free(s), stand_in_live--, 0; }
CALL cuStreamSynchronize(void *s) { IN_CONTEXT; (void)s; if (capturing) abort(); return work(), stand_in_waits++, 0; }
CALL cuEventCreate(void **e, unsigned flags) { IN_CONTEXT; return *e = calloc(1, 1), stand_in_live++, flags != 2; }
CALL cuEventDestroy_v2(void *e) { IN_CONTEXT; return free(e), stand_in_live--, 0; }
CALL cuEventRecord(void *e, void *s) { IN_CONTEXT; (void)s; return *(char *)e = 1, 0; }
CALL cuEventSynchronize(void *e) { IN_CONTEXT; if (*(char *)e) work(); return *(char *)e = 0, 0; }
CALL cuStreamBeginCapture_v2(void *s, int mode) { IN_CONTEXT; (void)s; return graph.n = 0, capturing = 1, mode != 1; }
CALL cuStreamEndCapture(void *s, void **g) { capturing = 0; IN_CONTEXT; (void)s; *g = malloc(sizeof graph); memcpy(*g, &graph, sizeof graph); return stand_in_live++, 0; }
CALL cuGraphInstantiateWithFlags(void **out, void *g, unsigned long long flags) { IN_CONTEXT; *out = malloc(sizeof graph); memcpy(*out, g, sizeof graph); return stand_in_live++, flags != 0; }
CALL cuGraphLaunch(void *g, void *s) {
  IN_CONTEXT;
  (void)s;
  const task_list *list = g;
  for (unsigned i = 0; i < list->n; i++) add(list->items[i]);
  return stand_in_graph_launches++, 0;
}
CALL cuGraphDestroy(void *g) { IN_CONTEXT; return free(g), stand_in_live--, 0; }
#ifndef WITHOUT_GRAPHS
CALL cuGraphExecDestroy(void *g) { IN_CONTEXT; return free(g), stand_in_live--, 0; }
#endif
