/* Steps go round a ring of slots. Two numbers say everything: the thread fills slots of steps below
 * `given` + SLOTS - 1 (the slot of step `given` - 1 is in the consumer's hands), the consumer takes steps
 * below `filled`. */
#include "runtime/loader.h"

#include <pthread.h>
#include <stdlib.h>

#include "runtime/device.h"
#include "runtime/failure.h"
#include "runtime/sampler.h"

enum { SLOTS = 3 };

typedef struct {
  loader_batch batch;
  int64_t *index;
  void **fields;
} slot;

struct loader {
  dataset *data;
  char *split;
  uint32_t n_fields;
  uint64_t unread;
  int64_t *bytes; /* of each field of a slot */
  int64_t batch, samples, last_step; /* the first step that there is no batch for */
  sampler *sampler;                  /* NULL in order */
  slot slots[SLOTS];

  pthread_mutex_t lock;
  pthread_cond_t changed;
  int64_t given, filled; /* steps handed out, and ready, up to here */
  bool stopping;

  pthread_t thread;
  bool running;
};

/* -- filling --------------------------------------------------------------------------------------------- */

static int64_t choose_in_order(const loader *l, int64_t step, int64_t *index) {
  int64_t valid = l->samples - step * l->batch;
  if (valid > l->batch) valid = l->batch;
  for (int64_t i = 0; i < l->batch; i++) index[i] = step * l->batch + (i < valid ? i : valid - 1);
  return valid;
}

static void fill_slot(loader *l, int64_t step) {
  slot *s = &l->slots[step % SLOTS];
  int64_t valid = l->batch;
  if (l->sampler) memcpy(s->index, sampler_batch(l->sampler, step), (size_t)l->batch * sizeof *s->index);
  else valid = choose_in_order(l, step, s->index);
  for (uint32_t f = 0; f < l->n_fields; f++)
    if (f >= 64 || !(l->unread >> f & 1)) dataset_read(l->data, l->split, f, s->index, l->batch, s->fields[f]);
  s->batch = (loader_batch){step, valid, s->index, s->fields, l->bytes};
}

static void *read_ahead(void *context) {
  loader *l = context;
  pthread_mutex_lock(&l->lock);
  while (l->filled < l->last_step) {
    while (!l->stopping && l->filled >= l->given + SLOTS - 1) pthread_cond_wait(&l->changed, &l->lock);
    if (l->stopping) break;
    int64_t step = l->filled;
    pthread_mutex_unlock(&l->lock);
    fill_slot(l, step);
    pthread_mutex_lock(&l->lock);
    l->filled = step + 1;
    pthread_cond_broadcast(&l->changed);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

/* -- use ------------------------------------------------------------------------------------------------- */

static bool make_slot(const loader *l, slot *s) {
  s->index = malloc((size_t)l->batch * sizeof *s->index);
  s->fields = calloc(l->n_fields + 1, sizeof *s->fields);
  for (uint32_t f = 0; s->fields && f < l->n_fields; f++)
    if (!(s->fields[f] = host_memory_new(l->bytes[f]))) return false;
  return s->index && s->fields;
}

static bool make_slots(loader *l, const dataset_field *fields) {
  bool good = (l->bytes = calloc(l->n_fields + 1, sizeof *l->bytes));
  for (uint32_t f = 0; good && f < l->n_fields; f++) l->bytes[f] = l->batch * type_bytes(&fields[f].type);
  for (int i = 0; good && i < SLOTS; i++) good = make_slot(l, &l->slots[i]);
  return good;
}

/* False with *error. */
static bool plan_steps(loader *l, const loader_request *r, char **error) {
  l->samples = dataset_count(r->data, r->split);
  if (l->samples < 0) return failure(error, "the data set has no split \"%s\"", r->split);
  if (r->in_order && r->count > 0 && r->count < l->samples) l->samples = r->count;
  if (r->batch < 1 || r->first_step < 0)
    return failure(error, "batches of %lld from step %lld on make no sense", (long long)r->batch, (long long)r->first_step);
  l->last_step = r->in_order ? (l->samples + r->batch - 1) / r->batch : INT64_MAX;
  return r->in_order || (l->sampler = sampler_new(r->seed, l->samples, r->batch, error));
}

loader *loader_new(const loader_request *request, char **error) {
  *error = NULL;
  loader *l = calloc(1, sizeof *l);
  if (!l) {
    failure(error, "no memory to read batches ahead");
    return NULL;
  }
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->changed, NULL);
  l->data = dataset_retain(request->data);
  l->batch = request->batch;
  l->unread = request->unread;
  l->given = l->filled = request->first_step;
  const dataset_field *fields = dataset_fields(l->data, &l->n_fields);
  bool good = plan_steps(l, request, error), memory = good && (l->split = strdup(request->split)) && make_slots(l, fields);
  if (good && !memory) failure(error, "no memory for %d batches of %lld samples; choose a smaller batch", SLOTS, (long long)l->batch);
  l->running = memory && !pthread_create(&l->thread, NULL, read_ahead, l);
  if (l->running) return l;
  if (memory) failure(error, "cannot start a thread to read batches ahead; raise the limit on threads (ulimit -u)");
  loader_free(l);
  return NULL;
}

void loader_free(loader *l) {
  if (!l) return;
  pthread_mutex_lock(&l->lock);
  l->stopping = true;
  pthread_cond_broadcast(&l->changed);
  pthread_mutex_unlock(&l->lock);
  if (l->running) pthread_join(l->thread, NULL);
  for (int i = 0; i < SLOTS; i++) {
    for (uint32_t f = 0; l->slots[i].fields && f < l->n_fields; f++) host_memory_free(l->slots[i].fields[f], l->bytes[f]);
    free(l->slots[i].fields);
    free(l->slots[i].index);
  }
  pthread_mutex_destroy(&l->lock);
  pthread_cond_destroy(&l->changed);
  sampler_free(l->sampler);
  dataset_release(l->data);
  free(l->bytes);
  free(l->split);
  free(l);
}

int64_t loader_steps(const loader *l) { return l->sampler ? sampler_steps_per_epoch(l->sampler) : l->last_step; }

const loader_batch *loader_next(loader *l) {
  if (l->given >= l->last_step) return NULL;
  pthread_mutex_lock(&l->lock);
  int64_t step = l->given++; /* which also gives back the slot before */
  pthread_cond_broadcast(&l->changed);
  while (l->filled <= step) pthread_cond_wait(&l->changed, &l->lock);
  pthread_mutex_unlock(&l->lock);
  return &l->slots[step % SLOTS].batch;
}
