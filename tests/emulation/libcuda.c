/* In the place of NVIDIA's driver: memory of the device is memory of the host, at other addresses than it says; streams do their work only
 * when somebody waits for them, as late as may be. Launches are counted; kernels of the stand-in for NVRTC are run, those of the real one are not.
 * SSLC_STAND_IN_FAILS=NAME:N lets the Nth call of a function fail with an error of its own; SSLC_STAND_IN_MIB: how much memory there is. What
 * is wrong with a call aborts. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "tests/emulation/maps.h"
#include "tests/emulation/stand_in.h"

/* What tests ask for. */
CALL long long stand_in_bytes; /* to the device */
CALL int stand_in_launches, stand_in_graph_launches, stand_in_live, stand_in_waits;
CALL unsigned stand_in_shared;

enum { FAILED = 719, NO_MEMORY = 2, DEFAULT_MIB = 64, OFFSET = 1 << 20, HEAD = 256, MOST_TASKS = 16384, STREAMS = 2 /* of a device */ };

typedef long long kernel_run(void **arguments, long long blocks, unsigned threads);

/* As a module has it; without `run` it is of a real compiler. */
typedef struct {
  void *library;
  kernel_run *run;
  int n, maps;
} kernel;

typedef struct stream stream;

/* The host's view runs ahead of what was done: `recorded` of a record that is asked for, `done` of the last that was reached. */
typedef struct {
  stream *in;
  unsigned recorded, done;
} event;

typedef struct {
  enum { FILL, TO_DEVICE, TO_HOST, COPY, LAUNCH, RECORD, WAIT } kind;
  char *to;
  const char *from;
  size_t bytes;
  unsigned value, width; /* of RECORD and WAIT: which record */
  const kernel *kernel;
  void **arguments; /* on the host; of a captured launch they stay until the library goes */
  long long blocks;
  unsigned threads;
  event *event;
} task;
typedef struct {
  unsigned n;
  task items[];
} task_list;

struct stream {
  task queue[MOST_TASKS];
  unsigned queued, begun;
  stream *next;
  bool is_late; /* works when somebody waits; a stream that is not does at once what it may */
};
static stream *streams;
static task graph[MOST_TASKS]; /* what is being captured */
static unsigned captured;
static int capturing, have_context;
static char context; /* its address */
static size_t used;

#define BEGIN                          \
  do {                                 \
    if (fails(__func__)) return FAILED; \
  } while (0)
#define IN_CONTEXT \
  do {             \
    BEGIN;         \
    if (!have_context) abort(); \
  } while (0)

static size_t total(void) {
  const char *asked = getenv("SSLC_STAND_IN_MIB");
  return (size_t)(asked ? atoi(asked) : DEFAULT_MIB) << 20;
}

static void perform(const task *t) {
  if (t->kind == LAUNCH) {
    stand_in_launches++;
    if (t->kernel->run && t->kernel->run(t->arguments, t->blocks, t->threads)) fprintf(stderr, "a kernel: %s\n", (const char *)dlsym(t->kernel->library, "emulated_wrong")), abort();
  } else if (t->kind == RECORD) {
    t->event->done = t->value;
  } else if (t->kind != FILL) {
    stand_in_bytes += t->kind == TO_DEVICE ? (long long)t->bytes : 0;
    memcpy(t->to, t->from, t->bytes);
  } else {
    for (size_t k = 0; k < t->bytes; k += t->width) memcpy(t->to + k, &t->value, t->width);
  }
}

/* Up to a record of an event, or all (NULL). What another stream must have done before is done there, or, unless `forced`, ends it here. */
static void work(stream *s, const event *e, unsigned record, bool forced) {
  while (s->begun < s->queued && !(e && e->done >= record)) {
    const task *t = &s->queue[s->begun];
    if (t->kind == WAIT && t->event->done < t->value) {
      if (!forced) return;
      work(t->event->in, t->event, t->value, true);
    }
    if (t->kind != WAIT) perform(t);
    s->begun++;
  }
  if (s->begun == s->queued) s->begun = s->queued = 0;
}

static void work_all(void) {
  for (stream *s = streams; s; s = s->next) work(s, NULL, 0, true);
}

static int add(void *to, task t) {
  stream *s = to;
  if (capturing && s->is_late) {
    if (captured == MOST_TASKS) abort();
    graph[captured++] = t;
    return 0;
  }
  if (s->queued == MOST_TASKS) abort();
  s->queue[s->queued++] = t;
  if (!s->is_late) work(s, NULL, 0, false);
  return 0;
}

/* Arguments of launches: all of them stay, since a graph may launch them again. */
static void **kept[1 << 20];
static unsigned n_kept;
static void **keep_arguments(void **arguments, int n, int maps) {
  const int all = abs(n); /* negative: in one structure */
  const size_t before = ((size_t)all * sizeof(void *) / EMULATED_MAP + 1) * EMULATED_MAP; /* maps are behind the pointers */
  void **out = aligned_alloc(EMULATED_MAP, before + (size_t)maps * EMULATED_MAP);
  if (maps) memcpy((char *)out + before, arguments[n], (size_t)maps * EMULATED_MAP);
  if (n_kept == sizeof kept / sizeof *kept) abort();
  kept[n_kept++] = out;
  for (int i = 0; i < all; i++) out[i] = (n < 0 ? ((char **)arguments[0])[i] : *(char **)arguments[i]) - OFFSET;
  return out;
}
__attribute__((destructor)) static void forget_arguments(void) {
  while (n_kept) free(kept[--n_kept]);
}

static char *host_of(uint64_t pointer) { return (char *)(uintptr_t)(pointer - OFFSET); }

CALL int cuInit(unsigned flags) { BEGIN; return (int)flags; }
CALL int cuDriverGetVersion(int *v) { return *v = 13000, 0; }
CALL int cuGetErrorString(int e, const char **text) { return *text = e == FAILED ? "made to fail" : e == NO_MEMORY ? "out of memory" : "other", 0; }
CALL int cuDeviceGetCount(int *n) { BEGIN; return *n = 2, 0; }
CALL int cuDeviceGet(int *d, int number) { BEGIN; return *d = number, number > 1; }
CALL int cuDeviceGetName(char *name, int bytes, int d) { BEGIN; return snprintf(name, (size_t)bytes, "stand-in %d", d), 0; }
CALL int cuDeviceGetAttribute(int *value, int which, int d) {
  static const struct {
    int which, value;
  } known[] = {{13, 1000000}, {16, 1}, {36, 1000000}, {37, 64}, {75, 8}, {76, 0}, {97, 166912}};
  BEGIN;
  (void)d;
  const char *capability = getenv("SSLC_STAND_IN_CAPABILITY"); /* 90 */
  if (capability && which == 75) return *value = atoi(capability) / 10, 0;
  if (capability && which == 97) return *value = 232448, 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].which == which) return *value = known[i].value, 0;
  return 1;
}
CALL int cuDevicePrimaryCtxRetain(void **c, int d) { BEGIN; (void)d; return *c = &context, stand_in_live++, 0; }
CALL int cuDevicePrimaryCtxRelease_v2(int d) { (void)d; return stand_in_live--, 0; }
CALL int cuCtxSetCurrent(void *c) { BEGIN; return have_context = c == &context, 0; }
CALL int cuMemGetInfo_v2(size_t *unused, size_t *all) { IN_CONTEXT; return *unused = total() - used, *all = total(), 0; }
CALL int cuMemAlloc_v2(uint64_t *memory, size_t bytes) {
  IN_CONTEXT;
  if (capturing || bytes > total() - used) return NO_MEMORY;
  char *p = aligned_alloc(HEAD, (bytes / HEAD + 2) * HEAD);
  memcpy(p, &bytes, sizeof bytes);
  used += bytes;
  memset(p + HEAD, 0xA5, bytes);
  stand_in_live++;
  return *memory = (uint64_t)(uintptr_t)p + HEAD + OFFSET, 0;
}
CALL int cuMemFree_v2(uint64_t memory) {
  size_t bytes;
  IN_CONTEXT;
  work_all();
  memcpy(&bytes, host_of(memory) - HEAD, sizeof bytes);
  used -= bytes;
  return free(host_of(memory) - HEAD), stand_in_live--, 0;
}
CALL int cuMemAllocHost_v2(void **memory, size_t bytes) { IN_CONTEXT; return *memory = malloc(bytes), stand_in_live++, 0; }
CALL int cuMemFreeHost(void *memory) { IN_CONTEXT; return free(memory), stand_in_live--, 0; }
CALL int cuMemsetD8Async(uint64_t to, unsigned char v, size_t n, void *s) { IN_CONTEXT; return add(s, (task){FILL, host_of(to), .bytes = n, .value = v, .width = 1}); }
CALL int cuMemsetD32Async(uint64_t to, unsigned v, size_t n, void *s) { IN_CONTEXT; return add(s, (task){FILL, host_of(to), .bytes = 4 * n, .value = v, .width = 4}); }
CALL int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *s) {
  IN_CONTEXT;
  if (capturing && ((stream *)s)->is_late) abort(); /* the graph would read memory of the host at every replay */
  return add(s, (task){TO_DEVICE, host_of(to), from, n});
}
CALL int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *s) { IN_CONTEXT; return add(s, (task){TO_HOST, to, host_of(from), n}); }
CALL int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *s) { IN_CONTEXT; return add(s, (task){COPY, host_of(to), host_of(from), n}); }

/* A library of the stand-in for NVRTC, from memory. NULL: it is none. */
static void *library_of(const void *image) {
  const uint64_t *elf = image; /* a shared object says 3 where a cubin says 2; its section headers are last */
  const unsigned char *bytes = image;
  if (bytes[16] != 3) return NULL;
  const size_t n = (size_t)elf[5] + (size_t)(bytes[58] | bytes[59] << 8) * (size_t)(bytes[60] | bytes[61] << 8);
  const char *place = getenv("TMPDIR");
  char path[256]; /* another for each: a loader takes equal names for one library */
  snprintf(path, sizeof path, "%s/sslc_module_XXXXXX", place ? place : "/tmp");
  const int file = mkstemp(path);
  if (file < 0 || write(file, image, n) != (ssize_t)n) abort();
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fprintf(stderr, "%s\n", dlerror()), abort();
  close(file);
  unlink(path);
  return library;
}

CALL int cuModuleLoadData(void **m, const void *image) {
  IN_CONTEXT;
  if (capturing || memcmp(image, "\177ELF", 4)) abort();
  kernel *k = *m = calloc(1, sizeof *k);
  k->library = library_of(image);
  return stand_in_live++, 0;
}
CALL int cuModuleUnload(void *m) {
  kernel *k = m;
  IN_CONTEXT;
  work_all();
  if (k->library) dlclose(k->library);
  return free(k), stand_in_live--, 0;
}
CALL int cuModuleGetFunction(void **f, void *m, const char *name) {
  char text[128];
  kernel *k = m;
  IN_CONTEXT;
  *f = k;
  if (!k->library) return strncmp(name, "kernel_", 7) != 0;
  snprintf(text, sizeof text, "run_%s", name);
  *(void **)&k->run = dlsym(k->library, text);
  snprintf(text, sizeof text, "arguments_%s", name);
  const int *n = dlsym(k->library, text);
  if (!k->run || !n) return 500;
  snprintf(text, sizeof text, "boxes_%s", name);
  const int *maps = dlsym(k->library, text);
  return k->n = *n, k->maps = maps ? *maps : 0, 0;
}
CALL int cuFuncSetAttribute(void *f, int which, int value) { IN_CONTEXT; (void)f; return stand_in_shared = (unsigned)value, which != 8; }
CALL int cuLaunchKernel(void *f, unsigned bx, unsigned by, unsigned bz, unsigned tx, unsigned ty, unsigned tz, unsigned shared, void *s, void **arguments, void **extra) {
  const kernel *k = f;
  IN_CONTEXT;
  if (!f || !bx || by != 1 || bz != 1 || !tx || tx > 1024 || ty != 1 || tz != 1 || extra) abort();
  if (shared > 49152 && shared > stand_in_shared) return 1;
  return add(s, (task){LAUNCH, .kernel = k, .arguments = keep_arguments(arguments, k->n, k->maps), .blocks = bx, .threads = tx});
}
static bool is_first(void) {
  unsigned n = 0;
  for (const stream *x = streams; x; x = x->next) n++;
  return n % STREAMS == 0;
}

/* The first stream of a device is late; the others are too, or, with SSLC_STAND_IN_EAGER, early: what is not ordered shows in one or the other. */
CALL int cuStreamCreate(void **s, unsigned flags) {
  IN_CONTEXT;
  stream *made = *s = malloc(sizeof *made);
  made->queued = made->begun = 0;
  made->is_late = is_first() || !getenv("SSLC_STAND_IN_EAGER");
  made->next = streams;
  streams = made;
  return stand_in_live++, flags != 1;
}
CALL int cuStreamDestroy_v2(void *s) {
  IN_CONTEXT;
  work(s, NULL, 0, true);
  stream **at = &streams;
  while (*at != s) at = &(*at)->next;
  *at = (*at)->next;
  return free(s), stand_in_live--, 0;
}
CALL int cuStreamSynchronize(void *s) { IN_CONTEXT; if (capturing) abort(); return work(s, NULL, 0, true), stand_in_waits++, 0; }
CALL int cuStreamWaitEvent(void *s, void *e, unsigned flags) {
  event *on = e;
  IN_CONTEXT;
  return on->recorded ? add(s, (task){WAIT, .event = on, .value = on->recorded}) : 0, flags != 0;
}
CALL int cuEventCreate(void **e, unsigned flags) { IN_CONTEXT; return *e = calloc(1, sizeof(event)), stand_in_live++, flags != 2; }
CALL int cuEventDestroy_v2(void *e) { IN_CONTEXT; work_all(); return free(e), stand_in_live--, 0; }
CALL int cuEventRecord(void *e, void *s) { event *on = e; IN_CONTEXT; return on->in = s, add(s, (task){RECORD, .event = on, .value = ++on->recorded}); }
CALL int cuEventSynchronize(void *e) { const event *on = e; IN_CONTEXT; if (on->recorded) work(on->in, on, on->recorded, true); return 0; }
CALL int cuStreamBeginCapture_v2(void *s, int mode) { IN_CONTEXT; (void)s; return captured = 0, capturing = 1, mode != 1; }
CALL int cuStreamEndCapture(void *s, void **g) {
  capturing = 0;
  IN_CONTEXT;
  (void)s;
  task_list *list = *g = malloc(sizeof *list + captured * sizeof *graph);
  list->n = captured;
  memcpy(list->items, graph, captured * sizeof *graph);
  return stand_in_live++, 0;
}
CALL int cuGraphInstantiateWithFlags(void **out, void *g, unsigned long long flags) {
  IN_CONTEXT;
  const task_list *from = g;
  const size_t bytes = sizeof *from + from->n * sizeof *graph;
  *out = malloc(bytes);
  memcpy(*out, g, bytes);
  return stand_in_live++, flags != 0;
}
CALL int cuGraphLaunch(void *g, void *s) {
  IN_CONTEXT;
  const task_list *list = g;
  for (unsigned i = 0; i < list->n; i++) add(s, list->items[i]);
  return stand_in_graph_launches++, 0;
}
CALL int cuGraphDestroy(void *g) { IN_CONTEXT; return free(g), stand_in_live--, 0; }
CALL int cuTensorMapEncodeTiled(void *map, int type, uint32_t rank, void *memory, const uint64_t *extents, const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave,
                                int swizzle, int promotion, int fill) {
  BEGIN;
  return !emulated_encode(map, type, rank, host_of((uint64_t)(uintptr_t)memory), extents, strides, box, steps, interleave, swizzle, promotion, fill);
}
#ifndef WITHOUT_GRAPHS
CALL int cuGraphExecDestroy(void *g) { IN_CONTEXT; return free(g), stand_in_live--, 0; }
#endif
