/* Where the time of a step goes, behind sslc.h. */
#include <stdlib.h>
#include <time.h>

#include "frontend/session.h"
#include "ir/work.h"
#include "runtime/peak.h"

enum { WARM_UP = 2 };

typedef struct {
  double *launches; /* [launch][steps]: seconds */
  int64_t step, steps;
  double latest; /* when the latest launch ended */
} stopwatch;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool stop(void *context, uint32_t launch) {
  stopwatch *w = context;
  double at = now();
  if (w->step >= 0) w->launches[launch * w->steps + w->step] = at - w->latest;
  w->latest = at;
  return true;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *x, int64_t n) {
  qsort(x, (size_t)n, sizeof *x, by_value);
  return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

/* Marks what an expression reads: stages of its kernel, buffers of the plan. */
static void need(const plan_launch *l, const expr *e, bool *stages, bool *buffers) {
  if (e->kind == EXPR_STAGE) stages[e->number] = true;
  if (e->kind == EXPR_READ) buffers[l->buffers[e->number]] = true;
  for (uint32_t i = 0; i < e->n_args; i++) need(l, e->args[i], stages, buffers);
}

/* Marks the launches that the loss needs a result of. Looks at stages, since a kernel may hold the loss beside what comes of
 * its derivatives. */
static bool *find_forward(const plan *p, arena *a) {
  bool *forward = ARENA_ARRAY(a, bool, p->n_launches + 1), *buffers = ARENA_ARRAY(a, bool, p->n_buffers + 1);
  int32_t loss = plan_find(p, "metric", "loss");
  if (loss >= 0) buffers[loss] = true;
  for (uint32_t l = p->n_launches; l-- > 0;) {
    const plan_launch *at = &p->launches[l];
    bool *stages = ARENA_ARRAY(a, bool, at->kernel->n_stages + 1);
    for (uint32_t s = at->kernel->n_stages; s-- > 0;) {
      const stage *made = &at->kernel->stages[s];
      if (made->output >= 0) stages[s] |= buffers[at->buffers[made->output]];
      if (stages[s]) need(at, made->body, stages, buffers);
      forward[l] |= stages[s];
    }
  }
  return forward;
}

static bool writes_state(const plan *p, const plan_launch *l) {
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++)
    if (l->kernel->buffers[b].access == ACCESS_OUT && !strcmp(p->buffers[l->buffers[b]].role, "state")) return true;
  return false;
}

static void describe(const sslc_program *p, uint32_t number, bool forward, sslc_launch *out) {
  const plan_launch *l = &p->step.plan->launches[number];
  const source_file *f = sources_get(p->sources, l->kernel->where.file);
  kernel_work work = kernel_work_of(l->kernel);
  *out = (sslc_launch){.kernel = l->kernel->name,
                       .file = f ? f->name : "",
                       .line = f ? source_position(p->sources, l->kernel->where.file, l->kernel->where.start).line : 0,
                       .part = forward ? "forward" : writes_state(p->step.plan, l) ? "update" : "backward",
                       .flops = work.flops,
                       .bytes = work.bytes};
}

/* The table of all launches, in the program's arena; NULL when there is no memory for it. */
static const sslc_launch *tabulate(const sslc_program *p, double *times, int64_t steps) {
  jmp_buf exhausted;
  const plan *step = p->step.plan;
  sslc_launch *volatile launches = NULL;
  arena_on_exhausted(p->arena, &exhausted);
  if (!setjmp(exhausted)) {
    const bool *forward = find_forward(step, p->arena);
    sslc_launch *all = ARENA_ARRAY(p->arena, sslc_launch, step->n_launches + 1);
    for (uint32_t l = 0; l < step->n_launches; l++) {
      describe(p, l, forward[l], &all[l]);
      all[l].seconds = median(times + l * steps, steps);
    }
    launches = all;
  }
  arena_on_exhausted(p->arena, NULL);
  return launches;
}

static sslc_status time_steps(sslc_program *p, int64_t steps, stopwatch *w, double *whole, double *data) {
  for (int64_t i = -WARM_UP; i < steps; i++) {
    double start = now();
    const loader_batch *batch = loader_next(p->loader);
    if (!batch) return session_fail(p, SSLC_BAD_FILE, "the data ended");
    feed(p->step.instance, &p->feed, batch->fields);
    w->step = i;
    w->latest = now();
    double fed = w->latest;
    if (!stepper_run_watched(&p->stepper, stop, w)) return session_take(p, SSLC_NOT_FINITE, blame_step(p));
    if (i >= 0) whole[i] = now() - start, data[i] = fed - start;
  }
  return SSLC_OK;
}

static void measure_machine(sslc_profile *out) {
  out->peak_flops = 1e9 * fma_peak_gflops(out->threads);
  out->peak_bytes = 1e9 * memory_peak_gbs(out->threads);
  for (size_t i = 0; i < out->n; i++) {
    const sslc_launch *l = &out->launches[i];
    double compute = l->flops / out->peak_flops, move = l->bytes / out->peak_bytes;
    if (l->flops > 0) out->floor_seconds += compute > move ? compute : move;
  }
}

sslc_status sslc_profile_steps(sslc_program *p, int64_t steps, sslc_profile *out) {
  sslc_status status = session_ready(p);
  char *error = NULL;
  if (status) return status;
  if (steps < 1) return session_fail(p, SSLC_BAD_CALL, "a profile takes at least one step");
  if (!session_open_loader(p, &error)) return session_take(p, SSLC_BAD_FILE, error);
  uint32_t n = p->step.plan->n_launches;
  double *times = malloc((size_t)(steps * (n + 2)) * sizeof *times);
  if (!times) return session_fail(p, SSLC_NO_RESOURCE, "no memory for the times of %lld steps", (long long)steps);
  stopwatch w = {.launches = times, .steps = steps};
  double *whole = times + n * steps, *data = whole + steps;
  status = time_steps(p, steps, &w, whole, data);
  p->loader_step = p->stepper.done;
  const sslc_launch *launches = status == SSLC_OK ? tabulate(p, times, steps) : NULL;
  if (launches) {
    *out = (sslc_profile){launches, n, steps, median(whole, steps), median(data, steps), thread_pool_threads(p->pool), 0, 0, 0};
    measure_machine(out);
  }
  free(times);
  return status || launches ? status : session_fail(p, SSLC_NO_RESOURCE, "no memory for the table of a profile");
}
