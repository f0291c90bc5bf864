#include "runtime/instance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/failure.h"

/* What of a region's memory is given before each iteration, or taken behind it. */
typedef struct {
  void *inside;
  char *outside; /* of index 0; the next index lies `bytes` further */
  int64_t bytes;
  binding_kind kind;
} bound_part;

typedef struct {
  uint32_t number; /* of the kernel's launch on the device */
  uint32_t first, size; /* launches of the plan: more than one of a bundle */
  void **buffers;  /* of all of them */
  uint32_t n_buffers;
  const plan_repeat *repeat; /* of a loop; what follows is for loops only */
  instance *region;
  bound_part *parts;
  uint32_t n_parts;
} bound_launch;

/* One number that each run gives, in memory of the host. */
typedef struct {
  uint32_t buffer;
  char *at;
} answer;

struct instance {
  const plan *plan;
  device *device;
  void **memory; /* per plan buffer */
  void *temporaries; /* of a region: in the arena of the plan around */
  void *staging; /* of a device that has memory of its own: one buffer as it lies there */
  bound_launch *launches;
  uint32_t n_launches; /* a bundle is one */
  int64_t bytes;
  /* Of a device that has memory of its own, and of no region. */
  char *answers_memory;
  answer *answers; /* metrics of the latest run, where there are any: the device brings them behind it */
  uint32_t n_answers;
  bool answered;  /* they are there */
  void **ahead;   /* per plan buffer: memory for what is sent, NULL while nothing was */
  bool *is_ahead; /* something was, and nothing took it */
};

/* -- memory ---------------------------------------------------------------------------------------------- */

static bool has_arena(const plan *p) { return p->arena_bytes && !p->region; }

static void *allocate(instance *i, int64_t bytes) {
  i->bytes += bytes;
  return i->device->allocate(i->device, bytes);
}

static void release(instance *i, void *memory, int64_t bytes) {
  if (memory) i->device->release(i->device, memory, bytes);
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
  if (has_arena(p) && !(i->temporaries = allocate(i, p->arena_bytes))) return false;
  for (uint32_t b = 0; b < p->n_buffers; b++) {
    if (owns_allocation(p, b)) i->memory[b] = allocate(i, p->buffers[b].bytes);
    else if (plan_in_arena(p, &p->buffers[b])) i->memory[b] = (char *)i->temporaries + p->buffers[b].offset;
    if (p->buffers[b].alias < 0 && !i->memory[b]) return false;
  }
  for (uint32_t b = 0; b < p->n_buffers; b++) i->memory[b] = i->memory[plan_owner(p, b)];
  return true;
}

/* -- values ---------------------------------------------------------------------------------------------- */

/* Metrics that are one number. */
static bool make_answers(instance *i) {
  enum { APART = 8 };
  device *d = i->device;
  const plan *p = i->plan;
  if (d->is_host) return true;
  i->answers = calloc(p->n_buffers + 1, sizeof *i->answers);
  i->ahead = calloc(p->n_buffers + 1, sizeof *i->ahead);
  i->is_ahead = calloc(p->n_buffers + 1, sizeof *i->is_ahead);
  if (!i->answers || !i->ahead || !i->is_ahead || !(i->answers_memory = d->allocate_host(d, APART * ((int64_t)p->n_buffers + 1)))) return false;
  memset(i->answers_memory, 0, APART * ((size_t)p->n_buffers + 1));
  for (uint32_t b = 0; b < p->n_buffers; b++)
    if (!strcmp(p->buffers[b].role, "metric") && !p->buffers[b].type.rank) {
      i->answers[i->n_answers] = (answer){b, i->answers_memory + APART * i->n_answers};
      i->n_answers++;
    }
  return true;
}

static void release_answers(instance *i) {
  for (uint32_t b = 0; i->ahead && b < i->plan->n_buffers; b++) release(i, i->ahead[b], i->plan->buffers[b].bytes);
  if (i->answers_memory) i->device->release_host(i->device, i->answers_memory);
  free(i->answers);
  free(i->ahead);
  free(i->is_ahead);
}

static void ask(instance *i) {
  for (uint32_t k = 0; k < i->n_answers; k++) i->device->fetch(i->device, i->answers[k].at, i->memory[i->answers[k].buffer], i->plan->buffers[i->answers[k].buffer].bytes);
}

static bool make_staging(instance *i) {
  int64_t most = 1;
  for (uint32_t b = 0; b < i->plan->n_buffers; b++)
    if (i->plan->buffers[b].bytes > most) most = i->plan->buffers[b].bytes;
  if (!i->device->is_host) i->staging = malloc((size_t)most);
  return i->device->is_host || i->staging;
}

/* Row-major elements laid out as the buffer has them, and back. */
static void put(instance *i, uint32_t buffer, const void *row_major) {
  const plan_buffer *b = &i->plan->buffers[buffer];
  void *laid = i->device->is_host ? i->memory[buffer] : i->staging;
  layout_scatter(&b->layout, &b->type, row_major, laid);
  if (!i->device->is_host) i->device->write(i->device, i->memory[buffer], laid, b->bytes);
}

static bool take(const instance *i, uint32_t buffer, void *row_major) {
  const plan_buffer *b = &i->plan->buffers[buffer];
  void *laid = i->device->is_host ? i->memory[buffer] : i->staging;
  if (!i->device->is_host) i->device->read(i->device, laid, i->memory[buffer], b->bytes);
  if (!i->device->is_host && i->device->failure(i->device)) return false;
  layout_gather(&b->layout, &b->type, laid, row_major);
  return true;
}

static bool fill_constants(instance *i) {
  for (uint32_t n = 0; n < i->plan->n_buffers; n++) {
    const plan_buffer *b = &i->plan->buffers[n];
    if (b->literal) put(i, n, b->literal);
    if (!b->is_splat) continue;
    int64_t elements = type_elements(&b->type);
    void *row_major = malloc((size_t)type_bytes(&b->type) + 1);
    if (!row_major) return false;
    for (int64_t e = 0; e < elements; e++) element_store(b->type.dtype, row_major, e, b->splat);
    put(i, n, row_major);
    free(row_major);
  }
  return true;
}

/* -- launches -------------------------------------------------------------------------------------------- */

static bool bind(instance *i, uint32_t *launches);

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

static bool bind_repeat(instance *i, bound_launch *l, uint32_t *launches) {
  const plan *p = l->repeat->plan;
  instance *region = l->region = calloc(1, sizeof *region);
  if (!region) return false;
  *region = (instance){.plan = p, .device = i->device, .memory = calloc(p->n_buffers + 1, sizeof *region->memory)};
  l->parts = calloc(p->n_buffers + 1, sizeof *l->parts);
  if (!region->memory || !l->parts) return false;
  share_memory(region, l);
  if (!bind(region, launches)) return false;
  list_parts(l);
  i->bytes += region->bytes;
  return true;
}

static bool bind_launches(instance *i, uint32_t *launches) {
  i->launches = calloc(i->plan->n_launches + 1, sizeof *i->launches);
  if (!i->launches) return false;
  for (uint32_t first = 0, end; first < i->plan->n_launches; first = end, i->n_launches++) {
    const plan_launch *planned = &i->plan->launches[first];
    uint32_t n = 0, at = 0;
    bound_launch *bound = &i->launches[i->n_launches];
    end = plan_bundle_end(i->plan, first);
    for (uint32_t l = first; l < end; l++) n += i->plan->launches[l].kernel->n_buffers;
    *bound = (bound_launch){.first = first, .size = end - first, .buffers = calloc(n + 1, sizeof *bound->buffers), .n_buffers = n, .repeat = planned->repeat};
    if (!bound->buffers) return false;
    for (uint32_t l = 0; l < bound->size; l++)
      for (uint32_t b = 0; b < planned[l].kernel->n_buffers; b++) bound->buffers[at++] = i->memory[planned[l].buffers[b]];
    if (planned->repeat && !bind_repeat(i, bound, launches)) return i->n_launches++, false; /* what there is of it is freed */
    if (planned->repeat) continue;
    bound->number = (*launches)++;
  }
  return true;
}

static bool bind(instance *i, uint32_t *launches) { return make_buffers(i) && make_staging(i) && fill_constants(i) && bind_launches(i, launches); }

static void free_region(instance *i) {
  if (!i) return;
  for (uint32_t b = 0; i->memory && b < i->plan->n_buffers; b++)
    if (owns_allocation(i->plan, b)) release(i, i->memory[b], i->plan->buffers[b].bytes);
  if (has_arena(i->plan)) release(i, i->temporaries, i->plan->arena_bytes);
  for (uint32_t l = 0; i->launches && l < i->n_launches; l++) {
    free(i->launches[l].buffers);
    free(i->launches[l].parts);
    free_region(i->launches[l].region);
  }
  release_answers(i);
  free(i->launches);
  free(i->memory);
  free(i->staging);
  free(i);
}

void instance_free(instance *i) {
  device *d = i ? i->device : NULL;
  free_region(i);
  if (d) d->free(d);
}

instance *instance_on(const plan *p, device *d, char **error) {
  instance *i = d ? calloc(1, sizeof *i) : NULL;
  uint32_t launches = 0;
  if (!d) return NULL;
  if (i) *i = (instance){.plan = p, .device = d, .memory = calloc(p->n_buffers + 1, sizeof *i->memory)};
  if (i && i->memory && bind(i, &launches) && make_answers(i) && !d->failure(d)) return i;
  const char *failed = d->failure(d);
  failure(error, "%s", failed ? failed : "out of memory");
  if (i) instance_free(i);
  else d->free(d);
  return NULL;
}

instance *instance_new(const plan *p, executable *e, thread_pool *pool) {
  char *error = NULL;
  instance *i = instance_on(p, device_cpu_new(e, pool), &error);
  free(error);
  return i;
}

/* -- use ------------------------------------------------------------------------------------------------- */

bool instance_set(instance *i, const char *role, const char *name, const void *data) {
  int32_t found = plan_find(i->plan, role, name);
  if (found < 0) return false;
  put(i, (uint32_t)found, data);
  if (i->is_ahead) i->is_ahead[found] = false;
  return true;
}

/* Wherever a plan or the regions of its loops have that memory. */
static void replace_memory(instance *i, const void *old, void *new) {
  for (uint32_t b = 0; b < i->plan->n_buffers; b++)
    if (i->memory[b] == old) i->memory[b] = new;
  for (uint32_t k = 0; k < i->n_launches; k++) {
    bound_launch *l = &i->launches[k];
    for (uint32_t b = 0; b < l->n_buffers; b++)
      if (l->buffers[b] == old) l->buffers[b] = new;
    for (uint32_t p = 0; p < l->n_parts; p++)
      if (l->parts[p].outside == old) l->parts[p].outside = new;
    if (l->region) replace_memory(l->region, old, new);
  }
}

bool instance_exchange(instance *i, const char *role, const char *name, void **memory, int64_t bytes) {
  const int32_t found = i->device->is_host ? plan_find(i->plan, role, name) : -1;
  const plan_buffer *b = found < 0 ? NULL : &i->plan->buffers[found];
  if (!b || b->bytes != bytes || !owns_allocation(i->plan, (uint32_t)found) || !layout_is_row_major(&b->layout, &b->type)) return false;
  void *old = i->memory[found];
  replace_memory(i, old, *memory);
  *memory = old;
  return true;
}

bool instance_get(const instance *i, const char *role, const char *name, void *data) {
  int32_t found = plan_find(i->plan, role, name);
  return found >= 0 && take(i, (uint32_t)found, data);
}

const tensor_type *instance_type(const instance *i, const char *role, const char *name) {
  int32_t found = plan_find(i->plan, role, name);
  return found < 0 ? NULL : &i->plan->buffers[found].type;
}

/* What the latest run gave for a buffer, or NULL: to be read. */
static const char *answered(instance *i, uint32_t buffer) {
  uint32_t k = 0;
  while (k < i->n_answers && i->answers[k].buffer != buffer) k++;
  if (k == i->n_answers) return NULL;
  if (!i->answered) i->device->wait(i->device);
  i->answered = true;
  return i->answers[k].at;
}

double instance_number(instance *i, const char *role, const char *name) {
  const int32_t found = plan_find(i->plan, role, name);
  const tensor_type *t = found < 0 ? NULL : &i->plan->buffers[found].type;
  char bytes[8];
  if (!t || t->rank) return NAN;
  const char *answer_bytes = answered(i, (uint32_t)found);
  if (answer_bytes ? i->device->failure(i->device) != NULL : !take(i, (uint32_t)found, bytes)) return NAN;
  if (answer_bytes) memcpy(bytes, answer_bytes, sizeof bytes);
  scalar v = element_load(t->dtype, bytes, 0);
  return dtype_is_real(t->dtype) ? v.real : (double)v.integer;
}

typedef struct {
  instance_watch *seen; /* NULL: nobody looks */
  void *context;
} look;

static bool run_plan(instance *i, const look *watch);

static void move_parts(device *d, const bound_launch *l, int32_t index, bool before) {
  for (uint32_t p = 0; p < l->n_parts; p++) {
    const bound_part *part = &l->parts[p];
    char *outside = part->outside ? part->outside + index * part->bytes : NULL;
    if (part->kind == BOUND_OUTPUT && !before) d->copy(d, outside, part->inside, part->bytes);
    if (part->kind == BOUND_SLICE && before) d->copy(d, part->inside, outside, part->bytes);
    if (part->kind == BOUND_INDEX && before) d->write(d, part->inside, &index, sizeof index);
  }
}

/* Carries are updated in the place of their last values. */
static bool run_repeat(device *d, const bound_launch *l, const kernel *arguments, const look *watch) {
  const plan_repeat *r = l->repeat;
  bool more = true;
  for (uint32_t k = 0; k < r->n_carries; k++)
    d->copy(d, l->buffers[r->n_operands + k], l->buffers[k], type_bytes(&arguments->buffers[k].type));
  for (int64_t n = 0; n < r->times && more; n++) {
    int32_t index = (int32_t)(r->reverse ? r->times - 1 - n : n);
    move_parts(d, l, index, true);
    more = run_plan(l->region, watch);
    move_parts(d, l, index, false);
  }
  return more;
}

static bool run_plan(instance *i, const look *watch) {
  bool more = true;
  for (uint32_t l = 0; l < i->n_launches && more; l++) {
    bound_launch *launch = &i->launches[l];
    if (launch->repeat) {
      more = run_repeat(i->device, launch, i->plan->launches[launch->first].kernel, watch);
      continue;
    }
    i->device->launch(i->device, launch->number, launch->buffers);
    for (uint32_t k = 0; k < launch->size && more; k++) more = !watch->seen || watch->seen(watch->context, i, launch->first + k);
  }
  return more;
}

void instance_run(instance *i) {
  device *d = i->device;
  i->answered = false;
  if (d->begin && !d->begin(d)) return;
  run_plan(i, &(look){NULL, NULL});
  ask(i);
  if (d->end) d->end(d);
}

void instance_run_watched(instance *i, instance_watch *seen, void *context) {
  i->answered = false;
  run_plan(i, &(look){seen, context});
  ask(i);
}

bool instance_send(instance *i, const char *role, const char *name, const void *data) {
  const int32_t b = i->ahead ? plan_find(i->plan, role, name) : -1;
  if (b < 0 || (!i->ahead[b] && !(i->ahead[b] = allocate(i, i->plan->buffers[b].bytes)))) return false;
  layout_scatter(&i->plan->buffers[b].layout, &i->plan->buffers[b].type, data, i->staging);
  i->device->write_ahead(i->device, i->ahead[b], i->staging, i->plan->buffers[b].bytes);
  return i->is_ahead[b] = true;
}

void instance_gather(instance *i, const char *role, const char *name, const void *table, const int64_t *numbers, int64_t row_bytes) {
  const int32_t b = plan_find(i->plan, role, name);
  if (b >= 0) i->device->gather(i->device, i->memory[b], table, numbers, i->plan->buffers[b].type.dim[0], row_bytes);
}

bool instance_take(instance *i, const char *role, const char *name) {
  const int32_t b = i->ahead ? plan_find(i->plan, role, name) : -1;
  if (b < 0 || !i->is_ahead[b]) return false;
  i->device->take_ahead(i->device, i->memory[b], i->ahead[b], i->plan->buffers[b].bytes);
  i->is_ahead[b] = false;
  return true;
}

void instance_wait(const instance *i) {
  if (i->device->wait) i->device->wait(i->device);
}

const char *instance_failure(const instance *i) { return i->device->failure(i->device); }

const plan *instance_plan(const instance *i) { return i->plan; }

bool instance_read(const instance *i, uint32_t buffer, void *data) { return take(i, buffer, data); }

int64_t instance_bytes(const instance *i) { return i->bytes; }
