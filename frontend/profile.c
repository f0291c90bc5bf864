/* Where the time of a step goes, behind sslc.h. */
#include <stdlib.h>
#include <time.h>

#include "frontend/session.h"
#include "ir/work.h"
#include "runtime/peak.h"

enum { WARM_UP = 2 };

/* The plan of the step, and behind it those of the loops in it: their launches are numbered on. */
typedef struct {
  const plan *plan;
  uint32_t first; /* number of its first launch */
  double times;   /* that it runs in a step */
  bool forward;   /* it is of a loop that the loss needs */
} survey_place;

typedef struct {
  arena *arena; /* of all that is made here */
  survey_place *places;
  uint32_t n_places, capacity;
  uint32_t n_launches;
} survey;

typedef struct {
  const survey *survey;
  double *launches; /* [launch][steps]: seconds */
  int64_t step, steps;
  double latest; /* when the latest launch ended */
} stopwatch;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool stop(void *context, const instance *at, uint32_t launch) {
  stopwatch *w = context;
  instance_wait(at);
  double moment = now();
  const survey_place *p = w->survey->places;
  while (p->plan != instance_plan(at)) p++;
  if (w->step >= 0) w->launches[(p->first + launch) * w->steps + w->step] += moment - w->latest;
  w->latest = moment;
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

static void visit(survey *s, const plan *p, double times, bool forward) {
  *ARENA_PUSH(s->arena, s->places, s->n_places, s->capacity) = (survey_place){p, s->n_launches, times, forward};
  s->n_launches += p->n_launches;
  const bool *needed = find_forward(p, s->arena);
  for (uint32_t l = 0; l < p->n_launches; l++)
    if (p->launches[l].repeat) visit(s, p->launches[l].repeat->plan, times * (double)p->launches[l].repeat->times, needed[l]);
}

static bool writes_state(const plan *p, const plan_launch *l) {
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++)
    if (l->kernel->buffers[b].access == ACCESS_OUT && !strcmp(p->buffers[l->buffers[b]].role, "state")) return true;
  return false;
}

static sslc_launch describe(const sslc_program *p, const survey_place *at, const plan_launch *l, bool forward) {
  const source_file *f = sources_get(p->sources, l->kernel->where.file);
  kernel_work work = launch_work_of(l);
  return (sslc_launch){.kernel = l->kernel->name,
                       .file = f ? f->name : "",
                       .line = f ? source_position(p->sources, l->kernel->where.file, l->kernel->where.start).line : 0,
                       .part = forward || at->forward ? "forward" : writes_state(at->plan, l) ? "update" : "backward",
                       .flops = at->times * work.flops,
                       .bytes = at->times * work.bytes};
}

/* The table of all kernels. */
static void tabulate(const sslc_program *p, const survey *s, stopwatch *w, sslc_profile *out) {
  sslc_launch *all = ARENA_ARRAY(s->arena, sslc_launch, s->n_launches + 1);
  for (uint32_t i = 0; i < s->n_places; i++) {
    const survey_place *at = &s->places[i];
    const bool *forward = find_forward(at->plan, s->arena);
    for (uint32_t l = 0; l < at->plan->n_launches; l++) {
      const plan_launch *launch = &at->plan->launches[l];
      if (launch->repeat) continue; /* its kernels stand for it */
      const sslc_launch made = describe(p, at, launch, forward[l]);
      if (launch->beside) { /* it was waited for with the first of its bundle */
        all[out->n - 1].flops += made.flops;
        all[out->n - 1].bytes += made.bytes;
        continue;
      }
      all[out->n] = made;
      all[out->n].kernel = plan_bundle_name(launch, plan_bundle_end(at->plan, l) - l, s->arena);
      all[out->n++].seconds = median(w->launches + (at->first + l) * w->steps, w->steps);
    }
  }
  out->launches = all;
}

static sslc_status time_steps(sslc_program *p, stopwatch *w, double *whole, double *data) {
  for (int64_t i = -WARM_UP; i < w->steps; i++) {
    double start = now();
    const loader_batch *batch = p->loader ? loader_next(p->loader) : NULL;
    if (p->loader && !batch) return session_fail(p, SSLC_BAD_FILE, "the data ended");
    if (batch) feed(p->step->instance, &p->feed, batch);
    w->step = i;
    w->latest = now();
    double fed = w->latest;
    const step_outcome outcome = stepper_run_watched(&p->stepper, stop, w);
    if (outcome == STEP_FAILED) return session_lose(p, p->stepper.instance);
    if (outcome == STEP_NOT_FINITE) return session_take(p, SSLC_NOT_FINITE, blame_step(p));
    if (i >= 0) whole[i] = now() - start, data[i] = fed - start;
  }
  return SSLC_OK;
}

/* What the machine could do: a processor is measured, a GPU says it. */
static void find_floor(const hardware_facts *on, sslc_profile *out) {
  out->peak_flops = on->is_gpu ? on->peak_flops : 1e9 * fma_peak_gflops(out->threads);
  out->peak_bytes = on->is_gpu ? on->peak_bytes : 1e9 * memory_peak_gbs(out->threads);
  if (out->peak_flops <= 0 || out->peak_bytes <= 0) return;
  for (size_t i = 0; i < out->n; i++) {
    const sslc_launch *l = &out->launches[i];
    double compute = l->flops / out->peak_flops, move = l->bytes / out->peak_bytes;
    if (l->flops > 0) out->floor_seconds += compute > move ? compute : move;
  }
}

static sslc_status make_profile(sslc_program *p, int64_t steps, sslc_profile *out) {
  arena *a = p->profile_arena;
  survey s = {.arena = a};
  visit(&s, p->step->plan, 1, false);
  double *whole = ARENA_ARRAY(a, double, steps), *data = ARENA_ARRAY(a, double, steps);
  stopwatch w = {.survey = &s, .launches = ARENA_ARRAY(a, double, (size_t)steps * (s.n_launches + 1)), .steps = steps};
  sslc_status status = time_steps(p, &w, whole, data);
  p->loader_step = p->stepper.done;
  if (status) return status;
  *out = (sslc_profile){.steps = steps, .step_seconds = median(whole, steps), .data_seconds = median(data, steps), .threads = thread_pool_threads(p->pool), .device = p->device};
  tabulate(p, &s, &w, out);
  find_floor(hardware_describe(p->hardware), out);
  return SSLC_OK;
}

sslc_status sslc_profile_steps(sslc_program *p, int64_t steps, sslc_profile *out) {
  volatile sslc_status status = session_ready(p);
  char *error = NULL;
  jmp_buf exhausted;
  if (status) return status;
  if (steps < 1) return session_fail(p, SSLC_BAD_CALL, "a profile takes at least one step");
  if (!session_open_loader(p, &error)) return session_take(p, SSLC_BAD_FILE, error);
  if (p->profile_arena) arena_free(p->profile_arena);
  p->profile_arena = arena_new();
  if (!p->profile_arena) return session_fail(p, SSLC_NO_RESOURCE, "out of memory");
  arena_on_exhausted(p->profile_arena, &exhausted);
  status = setjmp(exhausted) ? session_fail(p, SSLC_NO_RESOURCE, "no memory for the times of %lld steps", (long long)steps) : make_profile(p, steps, out);
  arena_on_exhausted(p->profile_arena, NULL);
  return status;
}
