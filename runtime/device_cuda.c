/* One stream, in which everything happens in order, and one beside it for what is copied ahead. What the host writes goes through pinned memory,
 * so that it need not wait; runs after the first are captured once as a graph of the driver, and replayed. */
#include "runtime/device_cuda.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/failure.h"

enum { SLOTS = 4, SLOT_BYTES = 4 << 20, WORD = 4, SHARED_WITHOUT_ASKING = 48 << 10 };

/* Pinned memory; the event is behind the last copy out of it. */
typedef struct {
  char *memory;
  cuda_event copied;
} slot;

typedef enum { FIRST_RUN, TO_CAPTURE, CAPTURING, CAPTURED } run_state;

typedef struct {
  device device;
  const cuda_driver *driver;
  const cuda_kernel *kernels;
  const cuda_launch *launches;
  uint32_t n_kernels;
  cuda_ordinal ordinal;
  int number;
  cuda_context context; /* NULL: not retained */
  cuda_stream stream, ahead;
  cuda_event arrived, taken; /* what was copied ahead is there; and was copied on, so that its place is free */
  cuda_module *modules; /* by kernel */
  cuda_function *functions;
  const cuda_kernel *gather;
  cuda_module gather_module; /* loaded when it is first needed, as what is here */
  cuda_function gather_function;
  cuda_pointer list; /* of numbers of rows */
  int64_t list_bytes;
  slot slots[SLOTS];
  unsigned next_slot;
  run_state state;
  cuda_graph_exec captured;
  char failure[512];
} cuda;

/* -- what goes wrong: the first of it is kept, and nothing is done behind it --------------------------------------- */

static bool good(cuda *c, cuda_result result, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool good(cuda *c, cuda_result result, const char *format, ...) {
  if (!result || *c->failure) return !result;
  char doing[256];
  va_list list;
  va_start(list, format);
  vsnprintf(doing, sizeof doing, format, list);
  va_end(list);
  snprintf(c->failure, sizeof c->failure, "cuda:%d, %s: %s", c->number, doing, cuda_error_text(c->driver, result));
  return false;
}

/* The host may have made another context current since. */
static bool ready(cuda *c) { return !*c->failure && good(c, c->driver->set_context(c->context), "using its context"); }

static cuda_pointer at(const void *memory) { return (cuda_pointer)(uintptr_t)memory; }

/* -- memory ----------------------------------------------------------------------------------------------------------- */

static void *cuda_allocate(device *d, int64_t bytes) {
  cuda *c = (cuda *)d;
  const size_t size = (size_t)(bytes > 0 ? bytes : 1);
  cuda_pointer memory = 0;
  if (!ready(c) || !good(c, c->driver->allocate(&memory, size), "allocating %zu bytes", size)) return NULL;
  /* What is copied ahead comes behind the zeros. */
  if (good(c, c->driver->fill_bytes(memory, 0, size, c->stream), "clearing memory") && good(c, c->driver->record_event(c->taken, c->stream), "noting a copy"))
    return (void *)(uintptr_t)memory;
  c->driver->release(memory);
  return NULL;
}

static void cuda_release(device *d, void *memory, int64_t bytes) {
  cuda *c = (cuda *)d;
  (void)bytes;
  if (!c->driver->set_context(c->context)) c->driver->release(at(memory));
}

static bool write_piece(cuda *c, cuda_pointer to, const char *from, size_t bytes, cuda_stream stream) {
  slot *s = &c->slots[c->next_slot++ % SLOTS];
  if (!good(c, c->driver->wait_event(s->copied), "waiting for a copy")) return false;
  memcpy(s->memory, from, bytes);
  return good(c, c->driver->to_device(to, s->memory, bytes, stream), "writing %zu bytes", bytes) && good(c, c->driver->record_event(s->copied, stream), "noting a copy");
}

static void write_pieces(cuda *c, cuda_pointer to, const char *from, int64_t bytes, cuda_stream stream) {
  for (int64_t done = 0; done < bytes; done += SLOT_BYTES)
    if (!write_piece(c, to + (cuda_pointer)done, from + done, (size_t)(bytes - done < SLOT_BYTES ? bytes - done : SLOT_BYTES), stream)) return;
}

/* A word is part of the command: no memory of the host is read later, and a graph can hold it. */
static void cuda_write(device *d, void *to, const void *from, int64_t bytes) {
  cuda *c = (cuda *)d;
  uint32_t word;
  if (!ready(c)) return;
  if (bytes == WORD) {
    memcpy(&word, from, sizeof word);
    good(c, c->driver->fill_words(at(to), word, 1, c->stream), "writing a word");
    return;
  }
  write_pieces(c, at(to), from, bytes, c->stream);
}

/* Zeros where nothing can be read: nobody sees memory that was never written. */
static void cuda_read(device *d, void *to, const void *from, int64_t bytes) {
  cuda *c = (cuda *)d;
  if (ready(c) && good(c, c->driver->to_host(to, at(from), (size_t)bytes, c->stream), "reading %lld bytes", (long long)bytes) &&
      good(c, c->driver->wait_stream(c->stream), "running kernels"))
    return;
  memset(to, 0, (size_t)bytes);
}

static void cuda_copy(device *d, void *to, const void *from, int64_t bytes) {
  cuda *c = (cuda *)d;
  if (ready(c)) good(c, c->driver->copy(at(to), at(from), (size_t)bytes, c->stream), "copying %lld bytes", (long long)bytes);
}

static void *cuda_allocate_host(device *d, int64_t bytes) {
  cuda *c = (cuda *)d;
  void *memory = NULL;
  return ready(c) && good(c, c->driver->allocate_host(&memory, (size_t)bytes), "allocating pinned memory") ? memory : NULL;
}

static void cuda_release_host(device *d, void *memory) {
  cuda *c = (cuda *)d;
  if (!c->driver->set_context(c->context)) c->driver->release_host(memory);
}

static void cuda_fetch(device *d, void *to, const void *from, int64_t bytes) {
  cuda *c = (cuda *)d;
  if (ready(c)) good(c, c->driver->to_host(to, at(from), (size_t)bytes, c->stream), "reading %lld bytes", (long long)bytes);
}

/* The place is free when what was there before was taken. */
static void cuda_write_ahead(device *d, void *ahead, const void *from, int64_t bytes) {
  cuda *c = (cuda *)d;
  if (ready(c) && good(c, c->driver->stream_waits(c->ahead, c->taken, 0), "ordering copies")) write_pieces(c, at(ahead), from, bytes, c->ahead);
}

static void cuda_take_ahead(device *d, void *to, const void *ahead, int64_t bytes) {
  cuda *c = (cuda *)d;
  if (ready(c) && good(c, c->driver->record_event(c->arrived, c->ahead), "noting a copy") && good(c, c->driver->stream_waits(c->stream, c->arrived, 0), "ordering copies") &&
      good(c, c->driver->copy(at(to), at(ahead), (size_t)bytes, c->stream), "copying %lld bytes", (long long)bytes))
    good(c, c->driver->record_event(c->taken, c->stream), "noting a copy");
}

/* -- launches --------------------------------------------------------------------------------------------------------- */

/* A launch holds the maps as they are then: addresses of a plan's memory are the same in all runs. */
static bool encode_box(cuda *c, const loops_box *b, void *memory, const char *name, cuda_map *out) {
  uint64_t extents[BOX_RANK], strides[BOX_RANK];
  uint32_t sizes[BOX_RANK], steps[BOX_RANK];
  for (uint32_t i = 0; i < b->rank; i++) {
    extents[i] = (uint64_t)b->extent[i];
    strides[i] = (uint64_t)b->stride[i] * sizeof(uint16_t);
    sizes[i] = (uint32_t)b->size[i];
    steps[i] = 1;
  }
  return good(c, c->driver->encode_map(out, CUDA_MAP_BF16, b->rank, memory, extents, strides + 1, sizes, steps, 0, CUDA_MAP_SWIZZLE_128, CUDA_MAP_PROMOTE_256, 0),
              "describing an operand of kernel %s", name);
}

/* The parameters are pointers to pointers, or to the first of the structure that holds them; the driver copies what these hold. */
static void cuda_launch_kernel(device *d, uint32_t number, void *const *buffers) {
  enum { MOST_BUFFERS = 1024, MOST_BOXES = 8 };
  cuda *c = (cuda *)d;
  const cuda_launch *l = &c->launches[number];
  const cuda_kernel *k = &c->kernels[l->kernel];
  void *arguments[MOST_BUFFERS + 1];
  cuda_map maps[MOST_BOXES];
  if (!ready(c)) return;
  const uint32_t n = k->pointers ? 1 : l->n_buffers;
  for (uint32_t i = 0; i < n && i < MOST_BUFFERS; i++) arguments[i] = (void *)(uintptr_t)&buffers[i];
  for (uint32_t i = 0; i < k->n_boxes && i < MOST_BOXES; i++)
    if (!encode_box(c, &k->boxes[i], buffers[k->boxes[i].buffer], l->name, &maps[i])) return;
  if (k->n_boxes) arguments[n < MOST_BUFFERS ? n : MOST_BUFFERS] = maps;
  good(c, c->driver->launch(c->functions[l->kernel], (unsigned)k->blocks, 1, 1, k->threads, 1, 1, k->shared_bytes, c->stream, arguments, NULL), "kernel %s (%lld blocks of %u threads)",
       l->name, (long long)k->blocks, k->threads);
}

/* -- rows of a table --------------------------------------------------------------------------------------------------- */

static bool ready_to_gather(cuda *c, int64_t bytes) {
  if (!c->gather_function && (!good(c, c->driver->load_module(&c->gather_module, c->gather->image), "loading kernel %s", c->gather->name) ||
                              !good(c, c->driver->get_function(&c->gather_function, c->gather_module, c->gather->symbol), "finding kernel %s", c->gather->name)))
    return false;
  if (bytes <= c->list_bytes) return true;
  if (c->list) c->driver->release(c->list);
  c->list = 0;
  c->list_bytes = bytes;
  return good(c, c->driver->allocate(&c->list, (size_t)bytes), "allocating %lld bytes", (long long)bytes);
}

static void cuda_gather(device *d, void *to, const void *table, const int64_t *numbers, int64_t rows, int64_t row_bytes) {
  cuda *c = (cuda *)d;
  const int64_t bytes = (rows + 1) * WORD;
  int32_t *list = malloc((size_t)bytes);
  if (!list) good(c, CUDA_OUT_OF_MEMORY, "listing %lld rows", (long long)rows);
  if (list && ready(c) && ready_to_gather(c, bytes)) {
    void *out = to;
    const void *from = table;
    void *arguments[] = {&from, &c->list, &out};
    list[0] = (int32_t)(row_bytes / WORD);
    for (int64_t i = 0; i < rows; i++) list[1 + i] = (int32_t)numbers[i];
    write_pieces(c, c->list, (const char *)list, bytes, c->stream);
    if (!*c->failure) good(c, c->driver->launch(c->gather_function, (unsigned)rows, 1, 1, c->gather->threads, 1, 1, 0, c->stream, arguments, NULL), "kernel gather (%lld rows)", (long long)rows);
  }
  free(list);
}

/* -- runs ------------------------------------------------------------------------------------------------------------------ */

static bool cuda_begin(device *d) {
  cuda *c = (cuda *)d;
  if (!ready(c)) return false;
  if (c->state == CAPTURED) return good(c, c->driver->launch_graph(c->captured, c->stream), "replaying a run"), false;
  if (c->state == TO_CAPTURE && good(c, c->driver->begin_capture(c->stream, CUDA_CAPTURE_THREAD), "beginning to capture a run")) c->state = CAPTURING;
  return true;
}

static void cuda_end(device *d) {
  cuda *c = (cuda *)d;
  cuda_graph captured = NULL;
  if (c->state == FIRST_RUN) c->state = TO_CAPTURE;
  if (c->state != CAPTURING) return;
  c->state = FIRST_RUN;
  const bool whole = good(c, c->driver->end_capture(c->stream, &captured), "capturing a run") && !*c->failure;
  if (whole && good(c, c->driver->instantiate(&c->captured, captured, 0), "making a graph of a run") && good(c, c->driver->launch_graph(c->captured, c->stream), "replaying a run")) c->state = CAPTURED;
  if (captured) c->driver->destroy_graph(captured);
}

static void cuda_wait(device *d) {
  cuda *c = (cuda *)d;
  if (ready(c)) good(c, c->driver->wait_stream(c->stream), "running kernels");
}

/* -- beginning and end ---------------------------------------------------------------------------------------------------- */

static const char *cuda_failure(device *d) {
  const cuda *c = (const cuda *)d;
  return *c->failure ? c->failure : NULL;
}

static void release_slots(cuda *c) {
  for (int i = 0; i < SLOTS; i++) {
    if (c->slots[i].copied) c->driver->destroy_event(c->slots[i].copied);
    if (c->slots[i].memory) c->driver->release_host(c->slots[i].memory);
  }
}

static void cuda_free(device *d) {
  cuda *c = (cuda *)d;
  if (c->context && !c->driver->set_context(c->context)) {
    if (c->stream) c->driver->wait_stream(c->stream);
    if (c->ahead) c->driver->wait_stream(c->ahead);
    if (c->captured) c->driver->destroy_graph_exec(c->captured);
    release_slots(c);
    for (uint32_t i = 0; c->modules && i < c->n_kernels; i++)
      if (c->modules[i]) c->driver->unload_module(c->modules[i]);
    if (c->list) c->driver->release(c->list);
    if (c->gather_module) c->driver->unload_module(c->gather_module);
    if (c->arrived) c->driver->destroy_event(c->arrived);
    if (c->taken) c->driver->destroy_event(c->taken);
    if (c->ahead) c->driver->destroy_stream(c->ahead);
    if (c->stream) c->driver->destroy_stream(c->stream);
  }
  if (c->context) c->driver->release_context(c->ordinal);
  free(c->modules);
  free(c->functions);
  free(c);
}

/* All of it before anything runs: a capture must not load code. */
static bool load_kernels(cuda *c) {
  int most_shared = 0;
  if (!good(c, c->driver->device_attribute(&most_shared, CUDA_DEVICE_MOST_SHARED, c->ordinal), "asking what it has")) return false;
  for (uint32_t i = 0; i < c->n_kernels; i++) {
    const cuda_kernel *k = &c->kernels[i];
    if (k->shared_bytes > (unsigned)most_shared || k->blocks > INT32_MAX) {
      snprintf(c->failure, sizeof c->failure, "cuda:%d, kernel %s wants %lld blocks with %u bytes of shared memory; a block has %d at most", c->number, k->name, (long long)k->blocks,
               k->shared_bytes, most_shared);
      return false;
    }
    if (k->n_boxes && !c->driver->encode_map) {
      snprintf(c->failure, sizeof c->failure, "cuda:%d, kernel %s: the driver lacks cuTensorMapEncodeTiled: one for CUDA 12.0 or newer is needed, or SSLC_TMA=0", c->number, k->name);
      return false;
    }
    if (!good(c, c->driver->load_module(&c->modules[i], k->image), "loading kernel %s", k->name) ||
        !good(c, c->driver->get_function(&c->functions[i], c->modules[i], k->symbol), "finding kernel %s", k->name))
      return false;
    if (k->shared_bytes > SHARED_WITHOUT_ASKING &&
        !good(c, c->driver->set_function(c->functions[i], CUDA_FUNCTION_MOST_SHARED, (int)k->shared_bytes), "kernel %s with %u bytes of shared memory", k->name, k->shared_bytes))
      return false;
  }
  return true;
}

static bool make_slots(cuda *c) {
  for (int i = 0; i < SLOTS; i++)
    if (!good(c, c->driver->allocate_host((void **)&c->slots[i].memory, SLOT_BYTES), "allocating pinned memory") ||
        !good(c, c->driver->create_event(&c->slots[i].copied, CUDA_EVENT_WITHOUT_TIME), "making an event"))
      return false;
  return true;
}

static bool start(cuda *c) {
  const cuda_driver *d = c->driver;
  return good(c, d->get_device(&c->ordinal, c->number), "finding it") && good(c, d->retain_context(&c->context, c->ordinal), "its context") &&
         good(c, d->set_context(c->context), "using its context") && good(c, d->create_stream(&c->stream, CUDA_STREAM_NON_BLOCKING), "making a stream") &&
         good(c, d->create_stream(&c->ahead, CUDA_STREAM_NON_BLOCKING), "making a stream") && good(c, d->create_event(&c->arrived, CUDA_EVENT_WITHOUT_TIME), "making an event") &&
         good(c, d->create_event(&c->taken, CUDA_EVENT_WITHOUT_TIME), "making an event") && make_slots(c) && load_kernels(c);
}

device *device_cuda_new(const cuda_executable *e, const cuda_kernel *gather, const cuda_driver *driver, int number, char **error) {
  static const device functions = {.allocate = cuda_allocate, .release = cuda_release, .write = cuda_write, .read = cuda_read, .copy = cuda_copy, .launch = cuda_launch_kernel,
                                   .allocate_host = cuda_allocate_host, .release_host = cuda_release_host, .fetch = cuda_fetch, .write_ahead = cuda_write_ahead,
                                   .take_ahead = cuda_take_ahead, .gather = cuda_gather, .begin = cuda_begin, .end = cuda_end, .wait = cuda_wait, .failure = cuda_failure, .free = cuda_free};
  uint32_t n_launches;
  cuda *c = calloc(1, sizeof *c);
  if (!c) return failure(error, "out of memory"), NULL;
  *c = (cuda){.device = functions, .driver = driver, .number = number, .gather = gather};
  if (!gather) c->device.gather = NULL;
  if (e) {
    c->kernels = cuda_executable_kernels(e, &c->n_kernels);
    c->launches = cuda_executable_launches(e, &n_launches);
  }
  c->modules = calloc(c->n_kernels + 1, sizeof(cuda_module));
  c->functions = calloc(c->n_kernels + 1, sizeof(cuda_function));
  if (c->modules && c->functions && start(c)) return &c->device;
  failure(error, "%s", *c->failure ? c->failure : "out of memory");
  cuda_free(&c->device);
  return NULL;
}
