/* From a program text to machine code: everything that can fail to compile does so here. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "codegen/cache.h"
#include "frontend/session.h"
#include "frontend/tuned.h"
#include "passes/passes.h"
#include "runtime/figures.h"

_Static_assert((int)SSLC_BOOL == (int)DTYPE_BOOL && (int)SSLC_U8 == (int)DTYPE_U8 && (int)SSLC_I32 == (int)DTYPE_I32 && (int)SSLC_U32 == (int)DTYPE_U32 &&
                   (int)SSLC_I64 == (int)DTYPE_I64 && (int)SSLC_BF16 == (int)DTYPE_BF16 && (int)SSLC_F32 == (int)DTYPE_F32 &&
                   (int)SSLC_F64 == (int)DTYPE_F64, "element types");

enum { MOST_PROGRAM_BYTES = 64 << 20 };

/* -- files --------------------------------------------------------------------------------------------------- */

/* For `use`, and for the program itself; NULL leaves the reason in errno. */
product_precision products_of(sslc_type asked, const experiment *x) {
  if (asked == 0) return x ? x->products : PRODUCTS_EXACT;
  return asked == SSLC_BF16 ? PRODUCTS_BF16 : asked == SSLC_TF32 ? PRODUCTS_TF32 : PRODUCTS_EXACT;
}

const char *session_read_text(void *context, const char *path, size_t *length, arena *a) {
  (void)context;
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  size_t capacity = 1 << 14, n = 0, got;
  char *text = arena_alloc(a, capacity + 1);
  while ((got = fread(text + n, 1, capacity - n, f)) > 0) {
    n += got;
    if (n < capacity) continue;
    if (n > MOST_PROGRAM_BYTES) break;
    char *larger = arena_alloc(a, 2 * capacity + 1);
    memcpy(larger, text, n);
    text = larger;
    capacity *= 2;
  }
  int failed = ferror(f) ? errno : n > MOST_PROGRAM_BYTES ? EFBIG : 0;
  fclose(f);
  errno = failed;
  text[n] = 0;
  *length = n;
  return failed ? NULL : text;
}

/* XDG Base Directory Specification. */
const char *session_default_cache(arena *a) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (cache && *cache == '/') return arena_printf(a, "%s/sslc", cache);
  return home && *home ? arena_printf(a, "%s/.cache/sslc", home) : NULL;
}

/* -- one graph ----------------------------------------------------------------------------------------------- */

static plan *make_plan(sslc_program *p, const graph *g, int64_t most_live_bytes) {
  pass_context c = {.arena = p->arena, .diagnostics = p->diagnostics, .target = &hardware_describe(p->hardware)->target, .records = p->records, .most_live_bytes = most_live_bytes, .products = p->products};
  return run_passes(g, &c, NULL, NULL);
}

/* A plan that takes no more than `most` beside what stands anyway, or NULL after a diagnostic. What is in use at once is bounded
 * first by what is over, and then tighter, as long as packing loses something. */
static plan *plan_within(sslc_program *p, const graph *g, int64_t beside) {
  enum { TRIES = 4 };
  plan *made = make_plan(p, g, 0);
  int64_t least = INT64_MAX, live = made ? made->arena_bytes : 0;
  for (int i = 0; made && p->memory && i < TRIES; i++) {
    const int64_t bytes = beside + session_plan_bytes(made), over = bytes - p->memory;
    if (over <= 0) return made;
    if (bytes < least) least = bytes;
    live = (live < made->arena_bytes ? live : made->arena_bytes) - over;
    made = make_plan(p, g, live > 0 ? live : 1);
  }
  if (!made || !p->memory || beside + session_plan_bytes(made) <= p->memory) return made;
  if (beside + session_plan_bytes(made) < least) least = beside + session_plan_bytes(made);
  diagnose(p->diagnostics, DIAG_MEMORY_LIMIT, (span){0}, "the least that was found is %s, %s are allowed: a smaller batch or --precision bf16 takes less",
           figure_bytes(least).text, figure_bytes(p->memory).text);
  return NULL;
}

static bool plan_graphs(sslc_program *p) {
  experiment *x = p->experiment;
  p->evals = ARENA_ARRAY(p->arena, compiled, x->n_evals + 1);
  p->phases = ARENA_ARRAY(p->arena, compiled, x->n_phases);
  p->step = p->phases;
  p->init = (compiled){.graph = x->init, .plan = make_plan(p, x->init, 0)};
  if (!p->init.plan) return false;
  for (; p->n_evals < x->n_evals; p->n_evals++) {
    const graph *g = x->evals[p->n_evals].graph;
    p->evals[p->n_evals] = (compiled){.graph = g, .plan = make_plan(p, g, 0)};
    if (!p->evals[p->n_evals].plan) return false;
  }
  const int64_t beside = session_bytes_beside(p);
  for (uint32_t i = 0; i < x->n_phases; i++) {
    p->phases[i] = (compiled){.graph = x->phases[i].graph, .plan = plan_within(p, x->phases[i].graph, beside)};
    if (!p->phases[i].plan) return false;
  }
  return true;
}

/* Before anything is compiled or launched. */
static bool fits_device(sslc_program *p) {
  const hardware_facts *on = hardware_describe(p->hardware);
  const int64_t needed = session_device_bytes(p);
  if (!on->is_gpu || needed <= on->free_bytes) return true;
  if (p->may_pass_over) {
    p->passed_over = arena_printf(p->arena, "%s: this program takes %s, and %s are free", p->device, figure_bytes(needed).text, figure_bytes(on->free_bytes).text);
    return false;
  }
  diagnostic *d = diagnose(p->diagnostics, DIAG_DEVICE_MEMORY, (span){0}, "this program takes %s on %s, which has %s, %s of them free", figure_bytes(needed).text, p->device,
                           figure_bytes(on->total_bytes).text, figure_bytes(on->free_bytes).text);
  diagnostic_set_help(p->diagnostics, d, "a smaller batch, --precision bf16, or --memory %lldM, with which the step makes values again instead of keeping them",
                      (long long)((on->free_bytes + session_state_bytes(p)) >> 20));
  return false;
}

static bool compile_graph(sslc_program *p, compiled *c, const char **error) {
  compile_options options = {.cache_directory = p->cache, .checked = p->checked, .threads = thread_pool_threads(p->pool)};
  compile_report report = {0};
  c->code = hardware_compile(p->hardware, c->plan, &options, &report, error);
  p->kernels += report.kernels;
  p->kernels_compiled += report.compiled;
  if (!c->code && report.failed.file) diagnose(p->diagnostics, DIAG_PASS_FAILED, report.failed, "no machine code for %s: %s", p->device, *error);
  return c->code;
}

static bool compile_graphs(sslc_program *p, const char **error) {
  if (!plan_graphs(p) || !fits_device(p) || !compile_graph(p, &p->init, error)) return false;
  for (uint32_t i = 0; i < p->n_evals; i++)
    if (!compile_graph(p, &p->evals[i], error)) return false;
  for (uint32_t i = 0; i < p->experiment->n_phases; i++)
    if (!compile_graph(p, &p->phases[i], error)) return false;
  return true;
}

/* -- the session of an experiment ----------------------------------------------------------------------------- */

static void name_states(sslc_program *p) {
  experiment *x = p->experiment;
  p->states.items = ARENA_ARRAY(p->arena, state_tensor, x->n_states + 1);
  p->states.n = x->n_states;
  for (uint32_t i = 0; i < x->n_states; i++) p->states.items[i] = (state_tensor){.name = x->states[i].name, .type = x->states[i].type};
}

static void name_metric(sslc_program *p, const graph_result *r) {
  stepper *s = &p->stepper;
  bool known = strcmp(r->role, "metric") || !strcmp(r->name, "finite") || !strcmp(r->name, "stop");
  for (uint32_t i = 0; i < s->n_metrics; i++) known |= !strcmp(s->metrics[i].name, r->name);
  if (!known) s->metrics[s->n_metrics++] = (metric){r->name, NAN};
}

static void name_metrics(sslc_program *p) {
  const experiment *x = p->experiment;
  uint32_t most = 1;
  for (uint32_t i = 0; i < x->n_phases; i++) most += x->phases[i].graph->n_results;
  p->stepper.metrics = ARENA_ARRAY(p->arena, metric, most);
  for (uint32_t i = 0; i < x->n_phases; i++)
    for (uint32_t r = 0; r < x->phases[i].graph->n_results; r++) name_metric(p, &x->phases[i].graph->results[r]);
}

static void name_fields(sslc_program *p) {
  const experiment *x = p->experiment;
  if (x->train_data != NO_DATA) p->feed = data_feeds(open_data_find(&p->data, &x->data[x->train_data]), x->inputs, x->n_inputs, p->arena);
  p->eval_feeds = ARENA_ARRAY(p->arena, feed_list, x->n_evals + 1);
  for (uint32_t i = 0; i < x->n_evals; i++) {
    const experiment_eval *eval = &x->evals[i];
    uint32_t data = eval->protocols[0].data;
    if (data != NO_DATA) p->eval_feeds[i] = data_feeds(open_data_find(&p->data, &x->data[data]), eval->inputs, eval->n_inputs, p->arena);
  }
}

/* How data are made of others; not where they lie. */
static const char *data_text(const data_request *r, arena *a) {
  const char *text = arena_printf(a, "%s %s", r->source, r->split);
  for (uint32_t i = 0; i < r->n_arguments; i++) {
    const struct data_argument *x = &r->arguments[i];
    text = arena_printf(a, "%s %s:%.17g", text, x->name, x->number);
    for (uint32_t k = 0; k < x->n_list; k++) text = arena_printf(a, "%s,%.17g", text, x->list[k]);
    if (x->data) text = arena_printf(a, "%s(%s)", text, data_text(x->data, a));
  }
  return text;
}

static const char *hash_text(const sslc_program *p, content_hash h) {
  char *text = ARENA_ARRAY(p->arena, char, 33);
  content_hash_text(h, text);
  return text;
}

static void note_records(const sslc_program *p, const plan *of, schedule_records *used) {
  for (uint32_t i = 0; i < of->n_launches; i++) {
    if (of->launches[i].repeat) note_records(p, of->launches[i].repeat->plan, used);
    else if (schedule_is_recorded(of->launches[i].kernel, p->records, p->arena)) schedule_records_put(used, of->launches[i].kernel);
  }
}

/* The text of those schedules of the step that were recorded ones, or NULL. */
static const char *used_records(const sslc_program *p) {
  schedule_records used = {.arena = p->arena};
  for (uint32_t i = 0; i < p->experiment->n_phases; i++) note_records(p, p->phases[i].plan, &used);
  return used.n ? schedule_records_print(&used, p->arena) : NULL;
}

/* Kernels where they come first: what is made again by the same kernel, or lies elsewhere, has the same bits. */
static void add_kernels(const sslc_program *p, const plan *of, content_hash *h) {
  for (uint32_t i = 0; i < of->n_launches; i++) {
    bool known = false;
    for (uint32_t k = 0; k < i && !known; k++) known = of->launches[k].kernel == of->launches[i].kernel;
    if (known) continue;
    const char *text = of->launches[i].repeat ? "" : kernel_print(of->launches[i].kernel, p->arena);
    content_hash_add(h, text, strlen(text));
    if (of->launches[i].repeat) add_kernels(p, of->launches[i].repeat->plan, h);
  }
}

/* What a checkpoint must agree on to be continued: the meaning of the program, not its spelling. And what decides its bits. */
static void identify(sslc_program *p) {
  const experiment *x = p->experiment;
  content_hash h = content_hash_start();
  for (uint32_t i = 0; i <= x->n_phases; i++) {
    const char *text = graph_print(i ? x->phases[i - 1].graph : x->init, NULL, p->arena);
    content_hash_add(&h, text, strlen(text));
  }
  const char *feed = arena_printf(p->arena, "%s %lld %lld", x->train_data == NO_DATA ? "" : data_text(&x->data[x->train_data], p->arena), (long long)x->batch,
                                  (long long)x->steps_per_epoch);
  content_hash_add(&h, feed, strlen(feed));
  p->origin.program = hash_text(p, h);
  p->origin.definitions = x->definitions;

  p->origin.device = hardware_describe(p->hardware)->target.name;
  h = content_hash_start();
  content_hash_add(&h, p->origin.device, strlen(p->origin.device));
  for (uint32_t i = 0; i < x->n_phases; i++) add_kernels(p, p->phases[i].plan, &h);
  p->origin.sums = hash_text(p, h);
  p->origin.schedules = used_records(p);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sslc_status refuse(sslc_program *p, sslc_status status) {
  p->experiment = NULL;
  return session_fail(p, status, "%s", diagnostics_render(p->diagnostics, p->arena, false));
}

static sslc_status compile_file(sslc_program *p, uint32_t file, const sslc_options *o) {
  double start = now();
  const char *error = NULL;
  data_catalog catalog = {&p->data, open_data_describe, open_data_read, open_data_weights};
  option_override *overrides = ARENA_ARRAY(p->arena, option_override, o->n_overrides + 1);
  for (size_t i = 0; i < o->n_overrides; i++)
    overrides[i] = (option_override){arena_string(p->arena, o->overrides[i].name), arena_string(p->arena, o->overrides[i].text)};
  lower_options lowering = {p->real, overrides, (uint32_t)o->n_overrides, &catalog, session_read_text, NULL};
  p->experiment = lower_program(file, &lowering, p->diagnostics, p->arena);
  if (!p->experiment) return refuse(p, SSLC_BAD_PROGRAM);
  p->products = products_of(o->real, p->experiment);
  if (!compile_graphs(p, &error)) {
    if (p->diagnostics->errors) return refuse(p, SSLC_BAD_PROGRAM);
    p->experiment = NULL;
    return session_fail(p, SSLC_NO_RESOURCE, "the compiler failed: %s", error ? error : "out of memory");
  }
  name_states(p);
  name_metrics(p);
  name_fields(p);
  identify(p);
  if (!o->seed) p->seed = p->experiment->seed;
  p->was_set = ARENA_ARRAY(p->arena, uint8_t, p->experiment->n_inputs + 1);
  p->stepper.states = &p->states;
  p->stepper.seed = p->seed;
  p->stepper.steps_per_epoch = p->experiment->steps_per_epoch;
  p->compile_seconds = now() - start;
  return SSLC_OK;
}

/* -- the way in ------------------------------------------------------------------------------------------------ */

static sslc_status take_arrays(sslc_program *p, const sslc_options *o) {
  dataset_array *arrays = ARENA_ARRAY(p->arena, dataset_array, o->n_arrays + 1);
  for (size_t i = 0; i < o->n_arrays; i++) {
    const sslc_array *x = &o->arrays[i];
    if (!x->data || !x->split || !x->field || !x->values) return session_fail(p, SSLC_BAD_CALL, "array %zu lacks a name or values", i);
    if (x->rank >= MAX_RANK || (unsigned)x->type >= DTYPE_COUNT)
      return session_fail(p, SSLC_BAD_CALL, "array %zu, %s: a sample has a type of sslc.h and at most %d dimensions", i, x->field, MAX_RANK - 1);
    for (unsigned d = 0; d < x->rank; d++)
      if (x->shape[d] < 1) return session_fail(p, SSLC_BAD_CALL, "array %zu, %s: dimension %u is %lld", i, x->field, d, (long long)x->shape[d]);
    arrays[i] = (dataset_array){x->data, x->split, x->field, make_type((dtype)x->type, x->rank, x->shape), x->count, x->classes, x->values};
  }
  p->data.arrays = arrays;
  p->data.n_arrays = (uint32_t)o->n_arrays;
  return SSLC_OK;
}

const char *session_data_root(const char *given, const char *program, arena *a) {
  if (given) return arena_string(a, given);
  const char *slash = strrchr(program, '/');
  return slash ? arena_substring(a, program, (size_t)(slash - program) + 1) : "";
}

static bool read_records(sslc_program *p, const sslc_options *o, char **error) {
  const char *name = hardware_describe(p->hardware)->target.name;
  p->records = o->schedules ? tuned_of_run(o->schedules, name, p->diagnostics, p->arena, error) : tuned_read(p->cache, name, p->diagnostics, p->arena);
  return p->records;
}

static void note_lack(sslc_program *p, diagnostic *d, const char *what) {
  if (what) diagnostic_add_note(p->diagnostics, d, (span){0}, "%s", what);
}

static sslc_status open_hardware(sslc_program *p, const sslc_options *o) {
  int number;
  hardware_lack lack;
  if (!hardware_parse(o->device, &number)) return session_fail(p, SSLC_BAD_CALL, "a device is auto, cpu, cuda or cuda:N, got %s", hardware_meant(o->device));
  if (number >= 0 && o->checked) return session_fail(p, SSLC_BAD_CALL, "accesses are tested on processors only; --checked goes with --device cpu");
  p->hardware = hardware_open(o->checked ? PROCESSOR : number, p->arena, &lack);
  if (!p->hardware) {
    diagnostic *d = diagnose(p->diagnostics, DIAG_NO_DEVICE, (span){0}, "the device %s cannot be used", hardware_meant(o->device));
    note_lack(p, d, lack.device);
    note_lack(p, d, lack.compiler);
    diagnostic_set_help(p->diagnostics, d, "--device cpu runs the same program on this processor; sslc info says what was found");
    return refuse(p, SSLC_NO_RESOURCE);
  }
  const hardware_facts *f = hardware_describe(p->hardware);
  p->may_pass_over = f->is_gpu && number == BEST;
  if (lack.device || lack.compiler) p->passed_over = lack.device ? lack.device : arena_printf(p->arena, "cuda:0: %s", lack.compiler);
  p->device = f->is_gpu ? arena_printf(p->arena, "%s, %s, %s", f->name, f->model, f->target.name) : arena_printf(p->arena, "%s, %s", f->name, f->model);
  return SSLC_OK;
}

static sslc_status begin(sslc_program *p, const char *name, const sslc_options *o) {
  p->sources = sources_new(p->arena);
  p->diagnostics = diagnostics_new(p->arena, p->sources);
  p->seed = o->seed ? *o->seed : 0;
  p->real = o->real == SSLC_F64 ? DTYPE_F64 : DTYPE_F32;
  p->checked = o->checked;
  p->memory = o->memory;
  p->cache = o->cache ? *o->cache ? arena_string(p->arena, o->cache) : NULL : session_default_cache(p->arena);
  p->data = (open_data){.root = session_data_root(o->data_root, name, p->arena), .arena = p->arena};
  sslc_status status = take_arrays(p, o);
  char *error = NULL;
  if (status || (status = open_hardware(p, o))) return status;
  if (!read_records(p, o, &error)) return session_take(p, SSLC_BAD_FILE, error);
  p->pool = thread_pool_new(o->threads);
  if (!p->pool) return session_fail(p, SSLC_NO_RESOURCE, "cannot make %u threads", o->threads);
  if (o->real != SSLC_F64 && o->real != SSLC_F32 && o->real != SSLC_BF16 && o->real != SSLC_TF32 && o->real != 0)
    return session_fail(p, SSLC_BAD_CALL, "precision is f32, bf16, tf32 or f64");
  return SSLC_OK;
}

static sslc_status begin_and_compile(sslc_program *p, const char *path, const char *text, const char *name, const sslc_options *o) {
  sslc_status status = begin(p, name, o);
  size_t length = text ? strlen(text) : 0;
  if (status == SSLC_OK && path && !(text = session_read_text(NULL, path, &length, p->arena)))
    status = session_fail(p, SSLC_BAD_FILE, "cannot read %s: %s", path, strerror(errno));
  return status ? status : compile_file(p, sources_add(p->sources, name, text, length), o);
}

/* Memory that runs out anywhere in a compilation ends here. */
static sslc_status compile_guarded(sslc_program *p, const char *path, const char *text, const char *name, const sslc_options *o) {
  jmp_buf exhausted;
  arena_on_exhausted(p->arena, &exhausted);
  bool good = setjmp(exhausted) == 0;
  sslc_status status = good ? begin_and_compile(p, path, text, name, o) : SSLC_NO_RESOURCE;
  arena_on_exhausted(p->arena, NULL);
  if (good) return status;
  p->experiment = NULL;
  return session_fail(p, status, "out of memory while compiling");
}

static sslc_status compile_once(const char *path, const char *text, const char *name, const sslc_options *o, sslc_program **out) {
  sslc_program *p = *out = calloc(1, sizeof *p);
  if (p && !(p->arena = arena_new())) {
    free(p);
    *out = NULL;
  }
  return *out ? compile_guarded(p, path, text, name, o) : SSLC_NO_RESOURCE;
}

/* What does not fit the GPU that "auto" took is compiled for the processor. */
static sslc_status compile(const char *path, const char *text, const char *name, const sslc_options *o, sslc_program **out) {
  sslc_options here = o ? *o : (sslc_options){0};
  sslc_program *of_gpu;
  sslc_status status = compile_once(path, text, name, &here, out);
  if (!status || !*out || !(*out)->may_pass_over || !(*out)->passed_over) return status;
  of_gpu = *out;
  here.device = "cpu";
  status = compile_once(path, text, name, &here, out);
  if (*out) (*out)->passed_over = arena_string((*out)->arena, of_gpu->passed_over);
  sslc_free(of_gpu);
  return status;
}

sslc_status sslc_compile_file(const char *path, const sslc_options *options, sslc_program **out) { return compile(path, NULL, path, options, out); }

sslc_status sslc_compile_text(const char *text, const char *name, const sslc_options *options, sslc_program **out) {
  return compile(NULL, text, name ? name : "<text>", options, out);
}
