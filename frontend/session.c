/* The handle of sslc.h: errors, instances, states, and what a program is. */
#include "frontend/scores.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include "runtime/checkpoint.h"

const char *sslc_version(void) { return SSLC_VERSION; }

/* -- errors -------------------------------------------------------------------------------------------------- */

sslc_status session_take(sslc_program *p, sslc_status status, char *text) {
  free(p->message);
  p->message = text;
  return status;
}

sslc_status session_fail(sslc_program *p, sslc_status status, const char *format, ...) {
  va_list list, again;
  va_start(list, format);
  va_copy(again, list);
  int n = vsnprintf(NULL, 0, format, list);
  char *text = n < 0 ? NULL : malloc((size_t)n + 1);
  if (text) vsnprintf(text, (size_t)n + 1, format, again);
  va_end(again);
  va_end(list);
  return session_take(p, status, text);
}

sslc_status session_check(sslc_program *p) {
  if (!p) return SSLC_NO_RESOURCE;
  if (p->lost) return session_fail(p, SSLC_NO_RESOURCE, "%s", p->lost);
  return p->experiment ? SSLC_OK : session_fail(p, SSLC_BAD_CALL, "this program did not compile; sslc_report says why");
}

sslc_status session_lose(sslc_program *p, const instance *i) {
  if (!p->lost) p->lost = strdup(instance_failure(i));
  return session_fail(p, SSLC_NO_RESOURCE, "%s", p->lost ? p->lost : "out of memory");
}

const char *sslc_message(const sslc_program *p) { return !p ? "out of memory" : p->message ? p->message : ""; }

int sslc_place(const sslc_program *p, size_t i, sslc_diagnostic *out) {
  if (!p || !p->diagnostics || i >= p->diagnostics->count) return 0;
  const diagnostic *d = p->diagnostics->items[i];
  const source_file *f = sources_get(p->sources, d->where.file);
  position at = f ? source_position(p->sources, d->where.file, d->where.start) : (position){0, 0};
  *out = (sslc_diagnostic){.file = f ? f->name : "", at.line, at.column, d->message, d->severity == SEVERITY_WARNING};
  diagnostic_name(d->code, out->code);
  return 1;
}

const char *sslc_report(sslc_program *p, int color) {
  arena *a = p && p->diagnostics ? arena_new() : NULL;
  if (!a) return "";
  jmp_buf exhausted;
  arena_on_exhausted(a, &exhausted);
  free(p->report);
  p->report = NULL;
  if (!setjmp(exhausted)) p->report = strdup(diagnostics_render(p->diagnostics, a, color));
  arena_free(a);
  return p->report ? p->report : "";
}

/* -- instances ------------------------------------------------------------------------------------------------ */

void compiled_close(compiled *c) {
  instance_free(c->instance);
  c->instance = NULL;
}

sslc_status session_open(sslc_program *p, compiled *c) {
  char *error = NULL;
  if (!c->instance) c->instance = hardware_instance(p->hardware, c->plan, c->code, p->pool, &error);
  if (c->instance) return SSLC_OK;
  session_fail(p, SSLC_NO_RESOURCE, "no memory for the tensors of %s: %s", c->graph->name, error ? error : "out of memory");
  free(error);
  return SSLC_NO_RESOURCE;
}

static void compiled_free(compiled *c) {
  compiled_close(c);
  device_code_free(c->code);
}

void sslc_free(sslc_program *p) {
  if (!p) return;
  loader_free(p->loader);
  compiled_free(&p->init);
  for (uint32_t i = 0; p->experiment && i < p->experiment->n_phases; i++) compiled_free(&p->phases[i]);
  for (uint32_t i = 0; i < p->n_evals; i++) compiled_free(&p->evals[i]);
  states_release(&p->states);
  open_data_release(&p->data);
  for (uint32_t i = 0; i < p->feed.n; i++)
    if (p->feed.items[i].kept.rows) kept_release(hardware_store(p->hardware), &p->feed.items[i].kept);
  hardware_close(p->hardware);
  if (p->pool) thread_pool_free(p->pool);
  free((void *)(uintptr_t)p->lost);
  arena_free(p->arena);
  if (p->scores_arena) arena_free(p->scores_arena);
  if (p->profile_arena) arena_free(p->profile_arena);
  free(p->message);
  free(p->report);
  free(p);
}

int64_t session_plan_bytes(const plan *p) {
  int64_t bytes = p->arena_bytes;
  for (uint32_t i = 0; i < p->n_buffers; i++)
    if (p->buffers[i].alias < 0 && p->buffers[i].storage != STORAGE_TEMPORARY) bytes += p->buffers[i].bytes;
  for (uint32_t l = 0; l < p->n_launches; l++) { /* of loops: what their arenas, which are in this one, do not hold */
    const plan *region = p->launches[l].repeat ? p->launches[l].repeat->plan : NULL;
    for (uint32_t i = 0; region && i < region->n_buffers; i++)
      if (region->buffers[i].is_splat || region->buffers[i].literal) bytes += region->buffers[i].bytes;
  }
  return bytes;
}

int64_t session_state_bytes(const sslc_program *p) {
  int64_t bytes = 0;
  for (uint32_t i = 0; i < p->experiment->n_states; i++) bytes += type_bytes(&p->experiment->states[i].type);
  return bytes;
}

int64_t session_bytes_beside(const sslc_program *p) {
  const experiment *x = p->experiment;
  int64_t beside = session_plan_bytes(p->init.plan);
  for (uint32_t i = 0; i < x->n_evals; i++) {
    int64_t eval = session_plan_bytes(p->evals[i].plan);
    if (eval > beside) beside = eval;
  }
  return session_state_bytes(p) + beside;
}

static int64_t peak_bytes(const sslc_program *p) {
  int64_t bytes = 0;
  for (uint32_t i = 0; i < p->experiment->n_phases; i++) {
    int64_t phase = session_plan_bytes(p->phases[i].plan);
    if (phase > bytes) bytes = phase;
  }
  return bytes + session_bytes_beside(p);
}

int64_t session_device_bytes(const sslc_program *p) {
  int64_t ahead = 0; /* of the batch to come */
  for (uint32_t i = 0; i < p->experiment->n_inputs; i++) ahead += type_bytes(&p->experiment->inputs[i].type);
  return peak_bytes(p) - session_state_bytes(p) + ahead;
}

/* Of the phase with the largest arena. */
static const plan *largest_step(const sslc_program *p) {
  const plan *largest = p->phases[0].plan;
  for (uint32_t i = 1; i < p->experiment->n_phases; i++)
    if (p->phases[i].plan->arena_bytes > largest->arena_bytes) largest = p->phases[i].plan;
  return largest;
}

sslc_status sslc_get_facts(sslc_program *p, sslc_facts *out) {
  if (session_check(p)) return p ? SSLC_BAD_CALL : SSLC_NO_RESOURCE;
  const experiment *x = p->experiment;
  const plan *step = largest_step(p);
  const hardware_facts *on = hardware_describe(p->hardware);
  *out = (sslc_facts){.parameters = x->parameters, .peak_bytes = peak_bytes(p), .temporary_bytes = step->arena_bytes, .live_bytes = plan_live_bytes(step, p->arena), .batch = x->batch, .steps = x->steps, .epochs = x->epochs,
                      .steps_per_epoch = x->steps_per_epoch, .step = p->stepper.done, .kernels = p->kernels, .compiled = p->kernels_compiled,
                      .compile_seconds = p->compile_seconds, .device = p->device, .device_bytes = on->is_gpu ? session_device_bytes(p) : 0, .device_free_bytes = on->free_bytes, .passed_over = p->passed_over};
  return SSLC_OK;
}

int sslc_get_origin(const sslc_program *p, size_t i, sslc_origin *out) {
  if (!p || !p->experiment || i >= p->experiment->n_origins) return 0;
  const experiment_origin *x = &p->experiment->origins[i];
  *out = (sslc_origin){x->model, x->file, x->part, x->taken, x->missing, x->unused};
  return 1;
}

/* -- what there is ---------------------------------------------------------------------------------------------- */

static int describe(const char *name, const tensor_type *t, sslc_tensor *out) {
  *out = (sslc_tensor){.name = name, .type = (sslc_type)t->dtype, .rank = t->rank, .bytes = (size_t)type_bytes(t)};
  for (uint32_t i = 0; i < t->rank; i++) out->shape[i] = t->dim[i];
  return 1;
}

uint32_t session_features(const sslc_program *p, size_t i) {
  uint32_t at = 0;
  while (at < p->n_evals && (p->experiment->evals[at].kind != EVAL_FEATURES || i-- > 0)) at++;
  return at;
}

static tensor_type without_batch(const tensor_type *t) { return make_type(t->dtype, t->rank - 1, t->dim + 1); }

int sslc_describe(const sslc_program *p, sslc_kind kind, size_t i, sslc_tensor *out) {
  const experiment *x = p ? p->experiment : NULL;
  if (!x) return 0;
  tensor_type type;
  switch (kind) {
    case SSLC_INPUT: return i < x->n_inputs && describe(x->inputs[i].name, &x->inputs[i].type, out);
    case SSLC_STATE: return i < x->n_states && describe(x->states[i].name, &x->states[i].type, out);
    case SSLC_METRIC:
      type = scalar_type(p->real);
      return i < p->stepper.n_metrics && describe(p->stepper.metrics[i].name, &type, out);
    case SSLC_SAMPLE:
      if ((i = session_features(p, i)) >= x->n_evals || x->evals[i].n_inputs != 1) return 0;
      type = without_batch(&x->evals[i].inputs[0].type);
      return describe(x->evals[i].inputs[0].name, &type, out);
    case SSLC_FEATURES:
      if ((i = session_features(p, i)) >= x->n_evals) return 0;
      type = without_batch(graph_type(x->evals[i].graph, x->evals[i].graph->results[0].value));
      return describe(x->evals[i].label, &type, out);
  }
  return 0;
}

/* -- states ------------------------------------------------------------------------------------------------------ */

static sslc_status run_init(sslc_program *p) {
  set_clock(p->init.instance, 0, 1, p->seed);
  instance_run(p->init.instance);
  return states_gather(&p->states, p->init.instance) ? SSLC_OK : session_lose(p, p->init.instance);
}

/* A weight of a file, with the precision of the program. */
static bool give_stored(sslc_program *p, const experiment_load *l) {
  const stored_tensor *from = safetensors_find(open_data_file(&p->data, l->file), l->weight);
  const tensor_type *t = instance_type(p->init.instance, "data", l->state);
  if (!t) return true; /* nothing depends on it */
  char *converted = malloc((size_t)type_bytes(t) + 1);
  if (!converted) return false;
  for (int64_t i = 0; i < type_elements(t); i++) element_store(t->dtype, converted, i, element_load(from->type.dtype, from->data, i));
  instance_set(p->init.instance, "data", l->state, converted);
  free(converted);
  return true;
}

/* First values; then those that features(...) makes with them, and once more what depends on these. */
static sslc_status make_states(sslc_program *p) {
  const experiment *x = p->experiment;
  sslc_status status = SSLC_OK;
  for (uint32_t i = 0; i < x->n_loads; i++)
    if (!give_stored(p, &x->loads[i])) return session_fail(p, SSLC_NO_RESOURCE, "no memory for the weights of %s", x->loads[i].file);
  status = run_init(p);
  for (uint32_t i = 0; i < x->n_evals && !status; i++) {
    if (x->evals[i].kind != EVAL_STATE) continue;
    status = scores_fill_state(p, i, p->init.instance);
    if (!status) status = run_init(p);
  }
  compiled_close(&p->init);
  return status;
}

sslc_status sslc_initialise(sslc_program *p) {
  sslc_status status = session_check(p);
  if (status || (status = session_open(p, &p->init))) return status;
  bool allocated = p->states.n && p->states.items[0].data;
  if (!allocated && !states_allocate(&p->states)) {
    states_release(&p->states);
    return session_fail(p, SSLC_NO_RESOURCE, "no memory for the states");
  }
  p->stepper.done = 0;
  p->stepper.ahead = false;
  if ((status = make_states(p))) return status;
  p->has_states = true;
  status = session_enter(p);
  if (status == SSLC_OK) stepper_load(&p->stepper);
  return status;
}

sslc_status session_store(sslc_program *p) { return stepper_store(&p->stepper) ? SSLC_OK : session_lose(p, p->stepper.instance); }

sslc_status session_enter(sslc_program *p) {
  compiled *next = &p->phases[experiment_phase_at(p->experiment, p->stepper.done)];
  if (next == p->step && next->instance) return SSLC_OK;
  sslc_status status = session_store(p);
  if (status) return status;
  compiled_close(p->step);
  p->step = next;
  status = session_open(p, next);
  p->stepper.instance = next->instance;
  memset(p->was_set, 0, p->experiment->n_inputs);
  if (status == SSLC_OK) stepper_load(&p->stepper);
  return status;
}

sslc_status session_ready(sslc_program *p) {
  sslc_status status = session_check(p);
  return status ? status : p->has_states ? session_enter(p) : sslc_initialise(p);
}

static sslc_status wrong_size(sslc_program *p, const char *name, const tensor_type *t, size_t bytes) {
  return session_fail(p, SSLC_BAD_CALL, "%s takes %lld bytes, got %zu", name, (long long)type_bytes(t), bytes);
}

static sslc_status set_input(sslc_program *p, const char *name, const void *data, size_t bytes) {
  const experiment *x = p->experiment;
  for (uint32_t i = 0; i < x->n_inputs; i++) {
    if (strcmp(x->inputs[i].name, name)) continue;
    if (bytes != (size_t)type_bytes(&x->inputs[i].type)) return wrong_size(p, name, &x->inputs[i].type, bytes);
    instance_set(p->step->instance, "data", name, data); /* false in a phase that does not look at it */
    p->was_set[i] = 1;
    return SSLC_OK;
  }
  return session_fail(p, SSLC_BAD_CALL, "a step of this program has no input %s", name);
}

static state_tensor *find_state(sslc_program *p, const char *name, size_t bytes, sslc_status *status) {
  if ((*status = session_ready(p))) return NULL;
  state_tensor *s = states_find(&p->states, name);
  if (!s) *status = session_fail(p, SSLC_BAD_CALL, "this program has no state %s", name);
  else if (bytes != (size_t)type_bytes(&s->type)) *status = wrong_size(p, name, &s->type, bytes);
  else *status = session_store(p);
  return *status ? NULL : s;
}

sslc_status sslc_set(sslc_program *p, sslc_kind kind, const char *name, const void *data, size_t bytes) {
  sslc_status status = session_ready(p);
  if (status) return status;
  if (kind == SSLC_INPUT) return set_input(p, name, data, bytes);
  if (kind != SSLC_STATE) return session_fail(p, SSLC_BAD_CALL, "only inputs and states can be set");
  state_tensor *s = find_state(p, name, bytes, &status);
  if (!s) return status;
  memcpy(s->data, data, bytes);
  instance_set(p->step->instance, "state", name, data);
  return SSLC_OK;
}

sslc_status sslc_get(sslc_program *p, const char *name, void *out, size_t bytes) {
  sslc_status status;
  const state_tensor *s = find_state(p, name, bytes, &status);
  if (s) memcpy(out, s->data, bytes);
  return status;
}

double sslc_metric(const sslc_program *p, const char *name) { return p && p->experiment ? stepper_metric(&p->stepper, name) : NAN; }

sslc_status sslc_save(sslc_program *p, const char *path) {
  char *error = NULL;
  sslc_status status = session_ready(p);
  if (status || (status = session_store(p))) return status;
  checkpoint_position at = {p->origin, p->seed, p->stepper.done, p->stepper.done / p->stepper.steps_per_epoch, false};
  return checkpoint_write(path, &p->states, &at, &error) ? SSLC_OK : session_take(p, SSLC_NO_RESOURCE, error);
}

sslc_status sslc_load(sslc_program *p, const char *path) {
  char *error = NULL;
  sslc_status status = session_ready(p);
  if (status) return status;
  checkpoint_position at = {0};
  if (!checkpoint_read(path, &p->states, &at, &error)) return session_take(p, SSLC_BAD_FILE, error);
  p->stepper.done = at.step;
  p->stepper.seed = p->seed = at.seed;
  stepper_load(&p->stepper);
  return SSLC_OK;
}
