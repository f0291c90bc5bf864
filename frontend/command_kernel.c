/* `sslc kernel FILE`: one kernel text, run alone. --check compares the machine code with the interpreter of
 * definitions, --time measures it against what this machine can do. A text that fails is its own bug
 * report. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "codegen/cpu/host.h"
#include "frontend/command.h"
#include "frontend/kernel_trial.h"
#include "ir/scan.h"
#include "passes/passes.h"
#include "runtime/instance.h"
#include "runtime/peak.h"

typedef struct {
  executable *code;
  thread_pool *pool;
  instance *instance;
} trial;

static void trial_close(trial *t) {
  instance_free(t->instance);
  thread_pool_free(t->pool);
  executable_free(t->code);
}

static bool trial_open(trial *t, const plan *p, bool checked, unsigned threads, const char **error) {
  *t = (trial){.code = executable_compile_cpu(p, &(compile_options){.checked = checked, .threads = 1}, NULL, error)};
  if (!t->code) return false;
  t->pool = thread_pool_new(threads);
  t->instance = t->pool ? instance_new(p, t->code, t->pool) : NULL;
  if (t->instance) return true;
  *error = "no memory or no threads to run the kernel with";
  trial_close(t);
  return false;
}

/* -- the kernel's size --------------------------------------------------------------------------------------- */

static double interpreted_points(const kernel *k) {
  double all = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) all += trial_points(k, k->stages[i].free | k->stages[i].reduced);
  return all;
}

/* What part of a condition's points hold, by trying them: padding is not work. */
static double live_part(const kernel *k, const condition *c) {
  int64_t coefficient[MAX_AXES], offset, at[MAX_AXES] = {0}, live = 0, all = 0;
  if (!expr_affine(k, c->subject, coefficient, &offset) || trial_points(k, c->subject->axes) > 1e7) return 1;
  for (bool more = true; more; all++) {
    int64_t v = offset;
    for (uint32_t i = 0; i < k->n_axes; i++) v += coefficient[i] * at[i];
    live += v >= c->low && v < c->high && v % c->divisor == 0;
    more = false;
    for (uint32_t i = 0; i < k->n_axes && !more; i++) {
      if (!(c->subject->axes >> i & 1)) continue;
      more = ++at[i] < k->axes[i].extent;
      if (!more) at[i] = 0;
    }
  }
  return (double)live / (double)all;
}

typedef struct {
  double operations, live;
  bool padded; /* reads are under conditions */
} work;

/* Arithmetic on reals in an expression, shared parts once; and the part of the points that it is done at. */
static void count_work(const kernel *k, const expr *e, bool *seen, work *w) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_APPLY && dtype_is_real(e->type) && e->op != OP_CAST) w->operations++;
  for (uint32_t i = 0; i < e->n_conditions; i++) w->live *= live_part(k, &e->conditions[i]);
  w->padded |= e->n_conditions > 0;
  for (uint32_t i = 0; e->kind == EXPR_APPLY && i < e->n_args; i++) count_work(k, e->args[i], seen, w);
}

/* Of all stages together. */
static work work_of(const kernel *k, arena *a) {
  work all = {0, 1, false};
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    work w = {dtype_is_real(s->type) && s->monoid != MONOID_NONE ? 1 : 0, 1, false};
    count_work(k, s->body, ARENA_ARRAY(a, bool, s->body->id + 1), &w); /* arguments have lower ids */
    all.operations += w.operations * w.live * trial_points(k, s->free | s->reduced);
    all.padded |= w.padded;
  }
  return all;
}

/* -- --check --------------------------------------------------------------------------------------------------- */

static const char *element_name(const kernel_buffer *b, int64_t at, arena *a) {
  const char *index = "";
  for (uint32_t d = b->type.rank; d > 0; at /= b->type.dim[--d])
    index = arena_printf(a, "%lld%s%s", (long long)(at % b->type.dim[d - 1]), *index ? "," : "", index);
  return arena_printf(a, "%s[%s]", b->name, index);
}

typedef struct {
  const char *what;
  bool odd, checked;
} check_round;

static const char *differences(const plan *p, const trial *t, void *const *expected, arena *a) {
  const kernel *k = p->launches[0].kernel;
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    if (b->access == ACCESS_IN) continue;
    void *found = arena_alloc(a, (size_t)type_bytes(&b->type) + 1);
    instance_get(t->instance, trial_out_role, b->name, found);
    int64_t at = trial_difference(&b->type, found, expected[i], trial_tolerance(k, b->type.dtype));
    if (at < 0) continue;
    dtype e = b->type.dtype;
    return arena_printf(a, "%s is %s, the definition says %s", element_name(b, at, a), scalar_text(e, element_load(e, found, at), a),
                        scalar_text(e, element_load(e, expected[i], at), a));
  }
  return NULL;
}

/* What is wrong with the machine code of a round, or NULL. */
static const char *check(const plan *p, check_round round, unsigned threads, arena *a) {
  const kernel *k = p->launches[0].kernel;
  const char *error = NULL;
  trial t;
  if (!trial_open(&t, p, round.checked, threads, &error)) return error;
  bool padded = work_of(k, a).padded;
  uint64_t seed = 1, rarity = round.odd ? 8 + 4 * (uint64_t)trial_longest_reduction(k) : 0;
  void **buffers = ARENA_ARRAY(a, void *, k->n_buffers);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    buffers[i] = arena_alloc(a, (size_t)type_bytes(&b->type) + 1);
    if (b->access == ACCESS_OUT) continue;
    trial_fill(&b->type, buffers[i], rarity, padded, &seed); /* what padding excludes takes no part, so 0 times infinity neither */
    instance_set(t.instance, trial_in_role, b->name, buffers[i]);
  }
  kernel_interpret(k, buffers, a);
  instance_run(t.instance);
  const char *violation = executable_violation(t.code);
  error = violation ? arena_string(a, violation) : differences(p, &t, buffers, a);
  trial_close(&t);
  return error;
}

static int check_kernel(const plan *p, unsigned threads, arena *a) {
  static const check_round rounds[] = {{"random inputs", false, false}, {"odd values", true, false}, {"checked accesses", true, true}};
  enum { INTERPRETED_A_SECOND = 20000000 };
  double seconds = 3 * interpreted_points(p->launches[0].kernel) / INTERPRETED_A_SECOND;
  if (seconds > 30) fprintf(stderr, "sslc: the interpreter will take some %.0f minutes; smaller extents check the same code\n", ceil(seconds / 60));
  bool good = true;
  for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
    const char *wrong = check(p, rounds[i], threads, a);
    printf("check   %-17s %s\n", rounds[i].what, wrong ? wrong : "agrees with the definition");
    good &= !wrong;
  }
  return good ? EXIT_GOOD : EXIT_FAILED;
}

/* -- --time ---------------------------------------------------------------------------------------------------- */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static int time_kernel(const plan *p, unsigned threads, arena *a) {
  enum { MOST = 1000, LEAST = 5 };
  const double enough = 0.5;
  const kernel *k = p->launches[0].kernel;
  const char *error = NULL;
  trial t;
  if (!trial_open(&t, p, false, threads, &error)) return command_fail("%s", error);
  uint64_t seed = 1;
  double bytes = 0, times[MOST], begun = now();
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    bytes += (double)p->buffers[i].bytes;
    if (b->access == ACCESS_OUT) continue;
    void *data = arena_alloc(a, (size_t)type_bytes(&b->type) + 1);
    trial_fill(&b->type, data, 0, true, &seed);
    instance_set(t.instance, trial_in_role, b->name, data);
  }
  instance_run(t.instance);
  size_t n = 0;
  for (begun = now(); n < MOST && (n < LEAST || now() - begun < enough); n++) {
    double start = now();
    instance_run(t.instance);
    times[n] = now() - start;
  }
  qsort(times, n, sizeof *times, by_size);
  trial_close(&t);
  double median = times[n / 2], gflops = 1e-9 * work_of(k, a).operations / median, gbs = 1e-9 * bytes / median;
  double most_gflops = fma_peak_gflops(threads), most_gbs = memory_peak_gbs(threads);
  printf("time    %.4g ms, the median of %zu runs on %u thread%s\n", 1e3 * median, n, threads, threads == 1 ? "" : "s");
  printf("compute %.1f GFLOP/s, %.1f %% of the %.0f that these threads reach in f32\n", gflops, 100 * gflops / most_gflops, most_gflops);
  printf("memory  %.1f GB/s, %.1f %% of the %.1f that they read%s\n", gbs, 100 * gbs / most_gbs, most_gbs,
         gbs > most_gbs ? " (the buffers stay in a cache)" : "");
  return EXIT_GOOD;
}

/* -- the verb -------------------------------------------------------------------------------------------------- */

/* The kernel of the file, scheduled, lowered and sound; NULL after reporting what is wrong. */
static plan *load_kernel(const command *c, uint32_t file) {
  uint32_t offset = 0;
  kernel *k = kernel_parse(c->arena, file, &offset, c->diagnostics);
  if (!k) return NULL;
  const char *wrong = kernel_verify(k, c->arena);
  target host;
  host_target(&host);
  if (!wrong && !kernel_is_scheduled(k)) schedule_kernel(k, &host);
  loops *lowered = wrong ? NULL : lower_kernel(k, c->arena, &wrong);
  if (lowered) wrong = loops_verify(lowered, c->arena);
  if (!wrong) return trial_plan(k, lowered, c->arena);
  diagnose(c->diagnostics, DIAG_IR_INVALID, k->where, "kernel %s: %s", k->name, wrong);
  return NULL;
}

int command_kernel(command *c) {
  const char *form = "kernel [options] FILE";
  bool check = false, time = false;
  int64_t threads = 1;
  const command_option options[] = {{"--check", OPTION_FLAG, &check, NULL, "compares machine code with the interpreter on random inputs"},
                                    {"--time", OPTION_FLAG, &time, NULL, "times it"},
                                    {"--threads", OPTION_COUNT, &threads, "N", "(1)"},
                                    {NULL}};
  if (!command_options(c, options, 1, form)) return c->status;
  if (threads > 1024) return command_usage(form, "--threads takes up to 1024");
  uint32_t file = command_load(c, c->args[0]);
  plan *p = file ? load_kernel(c, file) : NULL;
  if (!p) return file ? command_finish(c) : EXIT_FAILED;
  if (!check && !time) fputs(kernel_print(p->launches[0].kernel, c->arena), stdout);
  int status = check ? check_kernel(p, (unsigned)threads, c->arena) : EXIT_GOOD;
  if (time && status == EXIT_GOOD) status = time_kernel(p, (unsigned)threads, c->arena);
  return status;
}
