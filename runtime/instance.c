#include "runtime/instance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BUFFER_ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

typedef struct {
  kernel_entry *entry;
  void **buffers;
  int64_t iterations, chunks;
} bound_launch;

struct instance {
  const plan *plan;
  thread_pool *pool;
  void **memory; /* per plan buffer */
  void *temporaries;
  size_t temporary_bytes; /* mapped */
  bound_launch *launches;
  uint32_t n_launches;
  int64_t bytes;
};

/* -- memory ---------------------------------------------------------------------------------------------- */

static size_t round_up(int64_t bytes, size_t to) { return ((size_t)bytes + to - 1) / to * to; }

/* A mapping of its own, so that large arenas come zeroed without being touched, on huge pages. */
static bool map_temporaries(instance *i) {
  if (!i->plan->arena_bytes) return true;
  i->temporary_bytes = round_up(i->plan->arena_bytes, i->plan->arena_bytes < HUGE_PAGE ? 4096 : HUGE_PAGE);
  i->temporaries = mmap(NULL, i->temporary_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (i->temporaries == MAP_FAILED) {
    i->temporaries = NULL;
    return false;
  }
#ifdef MADV_HUGEPAGE
  if (i->temporary_bytes >= HUGE_PAGE) madvise(i->temporaries, i->temporary_bytes, MADV_HUGEPAGE); /* advice only */
#endif
  i->bytes += (int64_t)i->temporary_bytes;
  return true;
}

static void *allocate(instance *i, int64_t bytes) {
  size_t size = round_up(bytes > 0 ? bytes : 1, BUFFER_ALIGNMENT);
  void *memory = aligned_alloc(BUFFER_ALIGNMENT, size);
  if (memory) memset(memory, 0, size);
  i->bytes += (int64_t)size;
  return memory;
}

static uint32_t owner_of(const plan *p, uint32_t buffer) {
  while (p->buffers[buffer].alias >= 0) buffer = (uint32_t)p->buffers[buffer].alias;
  return buffer;
}

static bool owns_allocation(const plan *p, uint32_t buffer) {
  return p->buffers[buffer].alias < 0 && p->buffers[buffer].storage != STORAGE_TEMPORARY;
}

static bool make_buffers(instance *i) {
  const plan *p = i->plan;
  if (!map_temporaries(i)) return false;
  for (uint32_t b = 0; b < p->n_buffers; b++) {
    if (owns_allocation(p, b)) i->memory[b] = allocate(i, p->buffers[b].bytes);
    else if (p->buffers[b].alias < 0) i->memory[b] = (char *)i->temporaries + p->buffers[b].offset;
    if (p->buffers[b].alias < 0 && !i->memory[b]) return false;
  }
  for (uint32_t b = 0; b < p->n_buffers; b++) i->memory[b] = i->memory[owner_of(p, b)];
  return true;
}

/* Constants are laid out like any value that the host gives. */
static bool fill_constants(instance *i) {
  for (uint32_t n = 0; n < i->plan->n_buffers; n++) {
    const plan_buffer *b = &i->plan->buffers[n];
    if (b->literal) layout_scatter(&b->layout, &b->type, b->literal, i->memory[n]);
    if (!b->is_splat) continue;
    int64_t elements = type_elements(&b->type);
    void *row_major = malloc((size_t)type_bytes(&b->type) + 1);
    if (!row_major) return false;
    for (int64_t e = 0; e < elements; e++) element_store(b->type.dtype, row_major, e, b->splat);
    layout_scatter(&b->layout, &b->type, row_major, i->memory[n]);
    free(row_major);
  }
  return true;
}

static bool bind_launches(instance *i, const executable *e) {
  const executable_launch *launches = executable_launches(e, &i->n_launches);
  i->launches = calloc(i->n_launches + 1, sizeof *i->launches);
  if (!i->launches) return false;
  for (uint32_t l = 0; l < i->n_launches; l++) {
    const plan_launch *planned = &i->plan->launches[l];
    uint32_t n = planned->kernel->n_buffers;
    bound_launch *bound = &i->launches[l];
    *bound = (bound_launch){launches[l].entry, calloc(n + 1, sizeof *bound->buffers), launches[l].iterations,
                            launches[l].chunks};
    if (!bound->buffers) return false;
    for (uint32_t b = 0; b < n; b++) bound->buffers[b] = i->memory[planned->buffers[b]];
  }
  return true;
}

instance *instance_new(const plan *p, const executable *e, thread_pool *pool) {
  instance *i = calloc(1, sizeof *i);
  if (!i) return NULL;
  *i = (instance){.plan = p, .pool = pool, .memory = calloc(p->n_buffers + 1, sizeof *i->memory)};
  if (i->memory && make_buffers(i) && fill_constants(i) && bind_launches(i, e)) return i;
  instance_free(i);
  return NULL;
}

void instance_free(instance *i) {
  if (!i) return;
  for (uint32_t b = 0; i->memory && b < i->plan->n_buffers; b++)
    if (owns_allocation(i->plan, b)) free(i->memory[b]);
  if (i->temporaries) munmap(i->temporaries, i->temporary_bytes);
  for (uint32_t l = 0; i->launches && l < i->n_launches; l++) free(i->launches[l].buffers);
  free(i->launches);
  free(i->memory);
  free(i);
}

/* -- use ------------------------------------------------------------------------------------------------- */

bool instance_set(instance *i, const char *role, const char *name, const void *data) {
  int32_t found = plan_find(i->plan, role, name);
  if (found < 0) return false;
  const plan_buffer *b = &i->plan->buffers[found];
  layout_scatter(&b->layout, &b->type, data, i->memory[found]);
  return true;
}

bool instance_get(const instance *i, const char *role, const char *name, void *data) {
  int32_t found = plan_find(i->plan, role, name);
  if (found < 0) return false;
  const plan_buffer *b = &i->plan->buffers[found];
  layout_gather(&b->layout, &b->type, i->memory[found], data);
  return true;
}

const tensor_type *instance_type(const instance *i, const char *role, const char *name) {
  int32_t found = plan_find(i->plan, role, name);
  return found < 0 ? NULL : &i->plan->buffers[found].type;
}

double instance_number(const instance *i, const char *role, const char *name) {
  const tensor_type *t = instance_type(i, role, name);
  char bytes[8];
  if (!t || t->rank) return NAN;
  instance_get(i, role, name, bytes);
  scalar v = element_load(t->dtype, bytes, 0);
  return dtype_is_real(t->dtype) ? v.real : (double)v.integer;
}

static void run_piece(void *context, int64_t begin, int64_t end) {
  const bound_launch *launch = context;
  launch->entry(launch->buffers, begin, end);
}

static void run_launch(instance *i, uint32_t number) {
  bound_launch *launch = &i->launches[number];
  thread_pool_run(i->pool, run_piece, launch, launch->iterations, launch->chunks);
}

void instance_run(instance *i) {
  for (uint32_t l = 0; l < i->n_launches; l++) run_launch(i, l);
}

void instance_run_watched(instance *i, bool (*seen)(void *context, uint32_t launch), void *context) {
  bool more = true;
  for (uint32_t l = 0; l < i->n_launches && more; l++) {
    run_launch(i, l);
    more = seen(context, l);
  }
}

void instance_read(const instance *i, uint32_t buffer, void *data) {
  const plan_buffer *b = &i->plan->buffers[buffer];
  layout_gather(&b->layout, &b->type, i->memory[buffer], data);
}

int64_t instance_bytes(const instance *i) { return i->bytes; }
