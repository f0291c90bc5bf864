#include "codegen/units.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* -- what is distinct ------------------------------------------------------------------------------------ */

static bool share_memory(const plan *p, uint32_t a, uint32_t b) {
  const plan_buffer *x = &p->buffers[plan_owner(p, a)], *y = &p->buffers[plan_owner(p, b)];
  if (x == y) return true;
  return plan_in_arena(p, x) && plan_in_arena(p, y) && x->offset < y->offset + y->bytes &&
         y->offset < x->offset + x->bytes;
}

static uint32_t *argument_groups(const plan *p, const plan_launch *launch, arena *a) {
  uint32_t n = launch->loops->n_arguments, *group = ARENA_ARRAY(a, uint32_t, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    group[i] = i;
    for (uint32_t j = 0; j < i; j++)
      if (group[j] != group[i] && share_memory(p, launch->buffers[i], launch->buffers[j])) {
        uint32_t from = group[i], to = group[j];
        for (uint32_t k = 0; k <= i; k++)
          if (group[k] == from) group[k] = to;
      }
  }
  return group;
}

static bool same_part(const code_part *x, const code_part *y) { return x->loops == y->loops && !memcmp(x->groups, y->groups, x->loops->n_arguments * sizeof *x->groups); }

/* Equal neighbours are one part. NULL and *error when one is not lowered. */
static const code_part *parts_of(const plan *p, uint32_t first, uint32_t end, uint32_t *n, arena *a, const char **error) {
  code_part *parts = ARENA_ARRAY(a, code_part, end - first);
  *n = 0;
  for (uint32_t i = first; i < end; i++) {
    const plan_launch *launch = &p->launches[i];
    if (!launch->loops) return *error = arena_printf(a, "kernel %s is not lowered to loops", launch->kernel->name), NULL;
    const code_part part = {launch->loops, argument_groups(p, launch, a), 1};
    if (*n && same_part(&part, &parts[*n - 1])) parts[*n - 1].times++;
    else parts[(*n)++] = part;
  }
  return parts;
}

static bool same_parts(const unit *u, const code_part *parts, uint32_t n) {
  bool same = u->n_parts == n;
  for (uint32_t i = 0; same && i < n; i++) same = u->parts[i].times == parts[i].times && same_part(&u->parts[i], &parts[i]);
  return same;
}

/* Launches that share loops and groups share a unit from the start; equal texts are found by key later. */
static bool collect(const plan *p, unit_list *list, arena *a, const char **error) {
  for (uint32_t i = 0, end; i < p->n_launches; i = end) {
    const plan_launch *launch = &p->launches[i];
    end = plan_bundle_end(p, i);
    if (launch->repeat) {
      if (!collect(launch->repeat->plan, list, a, error)) return false;
      continue;
    }
    uint32_t u = 0, n = list->n_launches, m = list->n_launches, n_parts;
    const code_part *parts = parts_of(p, i, end, &n_parts, a, error);
    if (!parts) return false;
    while (u < list->n && !same_parts(&list->units[u], parts, n_parts)) u++;
    if (u == list->n) *ARENA_PUSH(a, list->units, list->n, list->capacity) = (unit){.parts = parts, .n_parts = n_parts, .cached = CACHE_MISSING};
    *ARENA_PUSH(a, list->of_launch, n, list->of_launch_capacity) = u;
    *ARENA_PUSH(a, list->sizes, m, list->sizes_capacity) = end - i;
    *ARENA_PUSH(a, list->launches, list->n_launches, list->launches_capacity) = launch;
  }
  return true;
}

bool units_of_plan(const plan *p, unit_list *out, const char **error) {
  *out = (unit_list){0};
  return collect(p, out, p->arena, error);
}

static int by_weight(const void *a, const void *b) {
  size_t x = ((const unit *)a)->weight, y = ((const unit *)b)->weight;
  return x < y ? 1 : x > y ? -1 : 0;
}

/* One unit per key, the longest to compile first. */
static void merge(const plan *p, unit_list *list) {
  unit *all = list->units, *kept = ARENA_ARRAY(p->arena, unit, list->n + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; i < list->n; i++) {
    uint32_t u = 0;
    while (u < n && !content_hash_equal(kept[u].key, all[i].key)) u++;
    if (u == n) kept[n++] = all[i];
  }
  qsort(kept, n, sizeof *kept, by_weight);
  for (uint32_t i = 0; i < list->n_launches; i++) {
    const content_hash key = all[list->of_launch[i]].key;
    uint32_t u = 0;
    while (!content_hash_equal(kept[u].key, key)) u++;
    list->of_launch[i] = u;
  }
  list->units = kept;
  list->n = n;
}

/* -- one of them ------------------------------------------------------------------------------------------ */

/* The kernel's name shows in checked code only. */
static void find_key(const backend *b, void *generator, unit *u, const compile_options *o, arena *scratch) {
  const char *description = b->describe(generator, o, scratch);
  u->weight = 0;
  u->key = content_hash_start();
  for (uint32_t i = 0; i < u->n_parts; i++) {
    loops anonymous = *u->parts[i].loops;
    if (!o->checked) anonymous.name = "kernel";
    const char *text = loops_print(&anonymous, scratch);
    u->weight += strlen(text);
    content_hash_add(&u->key, text, strlen(text));
    content_hash_add(&u->key, u->parts[i].groups, anonymous.n_arguments * sizeof *u->parts[i].groups);
    content_hash_add(&u->key, &u->parts[i].times, sizeof u->parts[i].times);
  }
  content_hash_add(&u->key, description, strlen(description));
  memcpy(u->symbol, "kernel_", 7);
  content_hash_text(u->key, u->symbol + 7);
}

static void make_object(const backend *b, void *generator, unit *u, const compile_options *o, arena *scratch) {
  if (o->cache_directory) u->cached = cache_read(o->cache_directory, u->key, &u->object, &u->bytes);
  if (u->object) return;
  b->compile(generator, u, o, scratch);
  if (o->cache_directory && u->object) cache_write(o->cache_directory, u->key, u->object, u->bytes);
}

/* -- all of them, on several threads --------------------------------------------------------------------- */

typedef void unit_step(const backend *b, void *generator, unit *u, const compile_options *o, arena *scratch);

typedef struct {
  unit *units;
  uint32_t n;
  unit_step *step;
  const backend *backend;
  const compile_options *options;
  _Atomic uint32_t next;
  const char *_Atomic error; /* static text */
} batch;

static void *work(void *argument) {
  batch *b = argument;
  const char *error = NULL;
  jmp_buf exhausted;
  void *generator = b->backend->open(b->backend, &error);
  if (!generator) {
    atomic_store(&b->error, error);
    return NULL;
  }
  arena *scratch = arena_new();
  if (!scratch || setjmp(exhausted)) {
    atomic_store(&b->error, "out of memory");
  } else {
    arena_on_exhausted(scratch, &exhausted);
    for (uint32_t i = atomic_fetch_add(&b->next, 1); i < b->n; i = atomic_fetch_add(&b->next, 1))
      b->step(b->backend, generator, &b->units[i], b->options, scratch);
  }
  arena_free(scratch);
  b->backend->close(generator);
  return NULL;
}

static const char *run_batch(unit *units, uint32_t n, unit_step *step, const backend *by, const compile_options *o) {
  enum { MOST_THREADS = 64 };
  batch b = {.units = units, .n = n, .step = step, .backend = by, .options = o};
  pthread_t threads[MOST_THREADS];
  unsigned started = 0, wanted = o->threads < n ? o->threads : n;
  while (started + 1 < wanted && started < MOST_THREADS && !pthread_create(&threads[started], NULL, work, &b))
    started++;
  work(&b);
  for (unsigned i = 0; i < started; i++) pthread_join(threads[i], NULL);
  return atomic_load(&b.error);
}

const plan_launch *unit_launch(const unit_list *list, uint32_t which, uint32_t *size) {
  uint32_t i = 0;
  while (list->of_launch[i] != which) i++;
  *size = list->sizes[i];
  return list->launches[i];
}

/* Of a bundle the one whose kernel the compiler names. */
static span place_of_error(const unit_list *list, uint32_t which, const char *error, arena *a) {
  uint32_t n;
  const plan_launch *l = unit_launch(list, which, &n);
  for (uint32_t i = 0; n > 1 && i < n; i++)
    if (strstr(error, arena_printf(a, "%s(", l[i].kernel->name))) return l[i].kernel->where;
  return l->kernel->where;
}

void unit_fail(unit *u, const char *error) {
  u->error = strdup(error);
  u->error_owned = u->error != NULL;
  if (!u->error) u->error = "out of memory";
}

bool units_compile(const plan *p, unit_list *list, const backend *b, const compile_options *o, compile_report *report, const char **error) {
  *error = run_batch(list->units, list->n, find_key, b, o);
  if (*error) return false;
  merge(p, list);
  *error = run_batch(list->units, list->n, make_object, b, o);
  for (uint32_t i = 0; i < list->n; i++) {
    const unit *u = &list->units[i];
    if (u->error && !*error) {
      *error = arena_string(p->arena, u->error);
      report->failed = place_of_error(list, i, *error, p->arena);
    }
    report->kernels++;
    report->compiled += u->cached != CACHE_FOUND;
    report->rebuilt += u->cached == CACHE_DAMAGED;
  }
  return !*error;
}

void units_release(unit_list *list) {
  for (uint32_t i = 0; i < list->n; i++) {
    free(list->units[i].object);
    if (list->units[i].error_owned) free((void *)(uintptr_t)list->units[i].error);
  }
}
