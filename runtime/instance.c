#include "runtime/instance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/pages.h"

/* What of a region's memory is given before each iteration, or taken behind it. */
typedef struct {
  void *inside;
  char *outside; /* of index 0; the next index lies `bytes` further */
  int64_t bytes;
  binding_kind kind;
} bound_part;

typedef struct {
  kernel_entry *entry;
  void **buffers;
  int64_t iterations, chunks;
  const plan_repeat *repeat; /* of a loop; what follows is for loops only */
  instance *region;
  bound_part *parts;
  uint32_t n_parts;
} bound_launch;

struct instance {
  const plan *plan;
  thread_pool *pool;
  void **memory; /* per plan buffer */
  void *temporaries;
  size_t temporary_bytes; /* mapped; 0 in a region, whose arena lies in that of the plan around */
  bound_launch *launches;
  uint32_t n_launches;
  int64_t bytes;
};

/* -- memory ---------------------------------------------------------------------------------------------- */

static size_t round_up(int64_t bytes, size_t to) { return ((size_t)bytes + to - 1) / to * to; }

/* A mapping of its own, so that large arenas come zeroed without being touched, on huge pages. */
static bool map_temporaries(instance *i) {
  if (!i->plan->arena_bytes || i->plan->region) return true;
  i->temporary_bytes = round_up(i->plan->arena_bytes, i->plan->arena_bytes < HUGE_PAGE ? 4096 : HUGE_PAGE);
  i->temporaries = mmap(NULL, i->temporary_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (i->temporaries == MAP_FAILED) {
    i->temporaries = NULL;
    return false;
  }
  use_huge_pages(i->temporaries, i->temporary_bytes);
  i->bytes += (int64_t)i->temporary_bytes;
  return true;
}

static void *allocate(instance *i, int64_t bytes) {
  size_t size;
  void *memory = pages_new((size_t)bytes, &size);
  if (memory) memset(memory, 0, size);
  i->bytes += (int64_t)size;
  return memory;
}

/* A region's carries and invariants lie in the plan around it. */
static bool owns_allocation(const plan *p, uint32_t buffer) {
  const plan_buffer *b = &p->buffers[buffer];
  bool is_constant = b->is_splat || b->literal;
  return b->alias < 0 && !plan_in_arena(p, b) && (!p->region || is_constant);
}

/* What is in `memory` already stays. */
static bool make_buffers(instance *i) {
  const plan *p = i->plan;
  if (!map_temporaries(i)) return false;
  for (uint32_t b = 0; b < p->n_buffers; b++) {
    if (owns_allocation(p, b)) i->memory[b] = allocate(i, p->buffers[b].bytes);
    else if (plan_in_arena(p, &p->buffers[b])) i->memory[b] = (char *)i->temporaries + p->buffers[b].offset;
    if (p->buffers[b].alias < 0 && !i->memory[b]) return false;
  }
  for (uint32_t b = 0; b < p->n_buffers; b++) i->memory[b] = i->memory[plan_owner(p, b)];
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

/* The launches of a plan as an executable has them, and how far they are bound. */
typedef struct {
  const executable_launch *items;
  uint32_t next;
} launch_list;

static bool bind(instance *i, launch_list *launches);

/* Memory of the region that lies in the plan around it. */
static void share_memory(instance *region, const bound_launch *l) {
  const plan *p = region->plan;
  const uint32_t n = l->repeat->n_operands + l->repeat->n_results;
  region->temporaries = p->arena_bytes ? l->buffers[n] : NULL;
  for (uint32_t b = 0; b < p->n_buffers; b++) {
    const plan_binding bound = plan_bind(l->repeat, &p->buffers[b]);
    if (bound.kind == BOUND_CARRY) region->memory[b] = l->buffers[bound.result];
    if (bound.kind == BOUND_INVARIANT) region->memory[b] = l->buffers[bound.operand];
  }
}

static void list_parts(bound_launch *l) {
  const plan *p = l->region->plan;
  for (uint32_t b = 0; b < p->n_buffers; b++) {
    const plan_binding bound = plan_bind(l->repeat, &p->buffers[b]);
    bound_part part = {.inside = l->region->memory[b], .bytes = type_bytes(&p->buffers[b].type), .kind = bound.kind};
    if (bound.kind == BOUND_SLICE) part.outside = l->buffers[bound.operand];
    if (bound.kind == BOUND_OUTPUT) part.outside = l->buffers[bound.result];
    if (part.outside || bound.kind == BOUND_INDEX) l->parts[l->n_parts++] = part;
  }
}

static bool bind_repeat(instance *i, bound_launch *l, launch_list *launches) {
  const plan *p = l->repeat->plan;
  instance *region = l->region = calloc(1, sizeof *region);
  if (!region) return false;
  *region = (instance){.plan = p, .pool = i->pool, .memory = calloc(p->n_buffers + 1, sizeof *region->memory)};
  l->parts = calloc(p->n_buffers + 1, sizeof *l->parts);
  if (!region->memory || !l->parts) return false;
  share_memory(region, l);
  if (!bind(region, launches)) return false;
  list_parts(l);
  i->bytes += region->bytes;
  return true;
}

static bool bind_launches(instance *i, launch_list *launches) {
  i->launches = calloc(i->plan->n_launches + 1, sizeof *i->launches);
  if (!i->launches) return false;
  for (; i->n_launches < i->plan->n_launches; i->n_launches++) {
    const plan_launch *planned = &i->plan->launches[i->n_launches];
    uint32_t n = planned->kernel->n_buffers;
    bound_launch *bound = &i->launches[i->n_launches];
    *bound = (bound_launch){.buffers = calloc(n + 1, sizeof *bound->buffers), .repeat = planned->repeat};
    if (!bound->buffers) return false;
    for (uint32_t b = 0; b < n; b++) bound->buffers[b] = i->memory[planned->buffers[b]];
    if (planned->repeat && !bind_repeat(i, bound, launches)) return i->n_launches++, false; /* what there is of it is freed */
    if (planned->repeat) continue;
    const executable_launch *compiled = &launches->items[launches->next++];
    bound->entry = compiled->entry;
    bound->iterations = compiled->iterations;
    bound->chunks = compiled->chunks;
  }
  return true;
}

static bool bind(instance *i, launch_list *launches) { return make_buffers(i) && fill_constants(i) && bind_launches(i, launches); }

instance *instance_new(const plan *p, const executable *e, thread_pool *pool) {
  instance *i = calloc(1, sizeof *i);
  if (!i) return NULL;
  uint32_t n;
  launch_list launches = {executable_launches(e, &n), 0};
  *i = (instance){.plan = p, .pool = pool, .memory = calloc(p->n_buffers + 1, sizeof *i->memory)};
  if (i->memory && bind(i, &launches)) return i;
  instance_free(i);
  return NULL;
}

void instance_free(instance *i) {
  if (!i) return;
  for (uint32_t b = 0; i->memory && b < i->plan->n_buffers; b++)
    if (owns_allocation(i->plan, b)) free(i->memory[b]);
  if (i->temporary_bytes && i->temporaries) munmap(i->temporaries, i->temporary_bytes);
  for (uint32_t l = 0; i->launches && l < i->n_launches; l++) {
    free(i->launches[l].buffers);
    free(i->launches[l].parts);
    instance_free(i->launches[l].region);
  }
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

typedef struct {
  instance_watch *seen; /* NULL: nobody looks */
  void *context;
} look;

static bool run_plan(instance *i, const look *watch);

static void move_parts(const bound_launch *l, int32_t index, bool before) {
  for (uint32_t p = 0; p < l->n_parts; p++) {
    const bound_part *part = &l->parts[p];
    char *outside = part->outside ? part->outside + index * part->bytes : NULL;
    if (part->kind == BOUND_OUTPUT && !before) memcpy(outside, part->inside, (size_t)part->bytes);
    if (part->kind == BOUND_SLICE && before) memcpy(part->inside, outside, (size_t)part->bytes);
    if (part->kind == BOUND_INDEX && before) memcpy(part->inside, &index, sizeof index);
  }
}

/* Carries are updated in the place of their last values. */
static bool run_repeat(const bound_launch *l, const kernel *arguments, const look *watch) {
  const plan_repeat *r = l->repeat;
  bool more = true;
  for (uint32_t k = 0; k < r->n_carries; k++)
    memcpy(l->buffers[r->n_operands + k], l->buffers[k], (size_t)type_bytes(&arguments->buffers[k].type));
  for (int64_t n = 0; n < r->times && more; n++) {
    int32_t index = (int32_t)(r->reverse ? r->times - 1 - n : n);
    move_parts(l, index, true);
    more = run_plan(l->region, watch);
    move_parts(l, index, false);
  }
  return more;
}

static bool run_plan(instance *i, const look *watch) {
  bool more = true;
  for (uint32_t l = 0; l < i->n_launches && more; l++) {
    bound_launch *launch = &i->launches[l];
    if (launch->repeat) {
      more = run_repeat(launch, i->plan->launches[l].kernel, watch);
      continue;
    }
    thread_pool_run(i->pool, run_piece, launch, launch->iterations, launch->chunks);
    more = !watch->seen || watch->seen(watch->context, i, l);
  }
  return more;
}

void instance_run(instance *i) { run_plan(i, &(look){NULL, NULL}); }
void instance_run_watched(instance *i, instance_watch *seen, void *context) { run_plan(i, &(look){seen, context}); }

const plan *instance_plan(const instance *i) { return i->plan; }

void instance_read(const instance *i, uint32_t buffer, void *data) {
  const plan_buffer *b = &i->plan->buffers[buffer];
  layout_gather(&b->layout, &b->type, i->memory[buffer], data);
}

int64_t instance_bytes(const instance *i) { return i->bytes; }
