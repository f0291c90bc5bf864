/* `sslc tune`: searches for faster schedules of the heaviest kernels of a program's step, or of one kernel text, and keeps them in
 * the cache, where the next compilation finds them. */
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "codegen/cpu/host.h"
#include "frontend/command_program.h"
#include "frontend/kernel_trial.h"
#include "frontend/session.h"
#include "frontend/tuned.h"
#include "frontend/tuner.h"
#include "ir/work.h"
#include "passes/passes.h"

/* A kernel, and the part of a step that all its launches take. */
typedef struct {
  kernel *kernel;
  const sslc_launch *launch; /* the first; NULL of a kernel text */
  double share;
} subject;

typedef struct {
  const command *command;
  target target;
  tuner how;
  const char *cache; /* NULL: nothing is kept */
  cJSON *json;       /* an array, or NULL: for people */
} tuning_run;

/* -- what is found --------------------------------------------------------------------------------------------- */

/* A schedule that is hardly faster is not worth bits that change. */
static bool pays(const tuning *t) { return t->best_seconds < 0.98 * t->default_seconds; }

static void show(const tuning_run *r, const subject *s, const tuning *t) {
  const kernel *k = s->kernel;
  double flops = kernel_work_of(k).flops, unit = t->default_seconds < 1e-3 ? 1e-6 : 1e-3;
  printf("%s", k->name);
  if (s->launch) printf(", line %u, %s: %.1f %% of a step", s->launch->line, s->launch->part, 100 * s->share);
  printf("\n  %u schedules, %u others cannot be carried out\n", t->tried, t->failed);
  printf("  default %.1f %s, best %.1f (%.2f times as fast), median %.1f, worst %.1f", t->default_seconds / unit, unit == 1e-3 ? "ms" : "us", t->best_seconds / unit,
         t->default_seconds / t->best_seconds, t->median_seconds / unit, t->worst_seconds / unit);
  if (flops > 0) printf("; %.1f GFLOP/s, then %.1f", 1e-9 * flops / t->default_seconds, 1e-9 * flops / t->best_seconds);
  printf("\n  was  %s", schedule_text(k, &k->schedule, r->command->arena));
  if (pays(t)) printf("  now  %s", schedule_text(k, &t->best, r->command->arena));
  else printf("  and stays so\n");
  fflush(stdout);
}

static void add_row(const tuning_run *r, const subject *s, const tuning *t) {
  cJSON *row = cJSON_CreateObject();
  cJSON_AddStringToObject(row, "kernel", s->kernel->name);
  if (s->launch) {
    cJSON_AddStringToObject(row, "file", s->launch->file);
    cJSON_AddNumberToObject(row, "line", s->launch->line);
    cJSON_AddStringToObject(row, "part", s->launch->part);
    cJSON_AddNumberToObject(row, "share", s->share);
  }
  cJSON_AddNumberToObject(row, "flops", kernel_work_of(s->kernel).flops);
  cJSON_AddNumberToObject(row, "tried", t->tried);
  cJSON_AddNumberToObject(row, "failed", t->failed);
  cJSON_AddNumberToObject(row, "default_seconds", t->default_seconds);
  cJSON_AddNumberToObject(row, "best_seconds", t->best_seconds);
  cJSON_AddNumberToObject(row, "median_seconds", t->median_seconds);
  cJSON_AddNumberToObject(row, "worst_seconds", t->worst_seconds);
  cJSON_AddStringToObject(row, "default", schedule_text(s->kernel, &s->kernel->schedule, r->command->arena));
  cJSON_AddStringToObject(row, "best", schedule_text(s->kernel, &t->best, r->command->arena));
  cJSON_AddItemToArray(r->json, row);
}

static bool keep(const tuning_run *r, const subject *s, const tuning *t, char **error) {
  kernel tuned = *s->kernel;
  tuned.schedule = pays(t) ? t->best : (schedule){0};
  return !r->cache || tuned_write(r->cache, r->target.name, &tuned, r->command->arena, error);
}

/* -- the search ------------------------------------------------------------------------------------------------ */

static int tune(const tuning_run *r, const subject *s, double budget) {
  tuner how = r->how;
  tuning found;
  char *error = NULL;
  kernel_bench *bench = kernel_bench_new(s->kernel);
  if (!bench) return command_fail("no memory for the buffers of kernel %s", s->kernel->name);
  how.context = bench;
  how.budget = budget;
  schedule_kernel(s->kernel, &r->target);
  bool good = tune_kernel(s->kernel, &r->target, &how, r->command->arena, &found);
  kernel_bench_free(bench);
  if (!good) return command_fail("kernel %s does not run with its default schedule", s->kernel->name);
  if (r->json) add_row(r, s, &found);
  else show(r, s, &found);
  if (keep(r, s, &found, &error)) return EXIT_GOOD;
  int status = command_fail("%s", error);
  free(error);
  return status;
}

/* What is left of the time is for the kernels that are left. */
static int tune_all(const tuning_run *r, const subject *subjects, uint32_t n) {
  int status = EXIT_GOOD;
  double begun = kernel_bench_clock(NULL);
  for (uint32_t i = 0; i < n && status == EXIT_GOOD; i++) status = tune(r, &subjects[i], (begun + r->how.budget - kernel_bench_clock(NULL)) / (n - i));
  char *text = r->json ? cJSON_Print(r->json) : NULL;
  if (text) puts(text);
  cJSON_free(text);
  if (!r->json && r->cache && status == EXIT_GOOD) printf("kept in %s\n", tuned_path(r->cache, r->target.name, r->command->arena));
  return status;
}

/* -- the kernels of a step ------------------------------------------------------------------------------------- */

/* In the order of a profile: the plan's, and behind it those of its loops. */
static const sslc_launch *add_subjects(const command *c, const plan *p, const sslc_launch *at, double step, subject *subjects, uint32_t *n) {
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const plan_launch *l = &p->launches[i];
    uint32_t s = 0;
    if (l->repeat) continue;
    while (s < *n && (kernel_work_of(subjects[s].kernel).bytes != kernel_work_of(l->kernel).bytes ||
                      strcmp(kernel_canonical(subjects[s].kernel, c->arena), kernel_canonical(l->kernel, c->arena))))
      s++;
    if (s == *n) subjects[(*n)++] = (subject){l->kernel, at, 0};
    subjects[s].share += at++->seconds / step;
  }
  for (uint32_t i = 0; i < p->n_launches; i++)
    if (p->launches[i].repeat) at = add_subjects(c, p->launches[i].repeat->plan, at, step, subjects, n);
  return at;
}

static int heaviest_first(const void *x, const void *y) {
  const subject *a = x, *b = y;
  return (a->share < b->share) - (a->share > b->share);
}

static int tune_program(tuning_run *r, sslc_program *p, int64_t kernels) {
  sslc_profile found;
  uint32_t n = 0;
  if (sslc_profile_steps(p, 5, &found)) return command_fail("%s", sslc_message(p));
  subject *subjects = ARENA_ARRAY(r->command->arena, subject, found.n + 1);
  add_subjects(r->command, p->step->plan, found.launches, found.step_seconds, subjects, &n);
  qsort(subjects, n, sizeof *subjects, heaviest_first);
  r->cache = p->cache;
  return tune_all(r, subjects, kernels < n ? (uint32_t)kernels : n);
}

static int tune_text(const tuning_run *r, const char *path) {
  uint32_t offset = 0, file = command_load(r->command, path);
  kernel *k = file ? kernel_parse(r->command->arena, file, &offset, r->command->diagnostics) : NULL;
  if (!k) return file ? command_finish(r->command) : EXIT_FAILED;
  return tune_all(r, &(subject){.kernel = k}, 1);
}

static bool is_kernel(const char *path) {
  size_t n = strlen(path);
  return n > 7 && !strcmp(path + n - 7, ".kernel");
}

int command_tune(command *c) {
  const char *form = "tune [options] FILE";
  program_arguments a = PROGRAM_DEFAULTS;
  bool json = false;
  int status = EXIT_GOOD;
  int64_t schedules = 200, seconds = 600, kernels = 5;
  const command_option options[] = {PROGRAM_OPTIONS(a),
                                    {"--kernels", OPTION_COUNT, &kernels, "N", "that take most of a step (5)"},
                                    {"--schedules", OPTION_COUNT, &schedules, "N", "different ones that are tried for each (200)"},
                                    {"--budget", OPTION_COUNT, &seconds, "SECONDS", "in all at most (600)"},
                                    {"--json", OPTION_FLAG, &json, NULL, "what was found, for programs"},
                                    {NULL}};
  if (!command_options(c, options, 1, form)) return c->status;
  tuning_run r = {.command = c, .how = {kernel_bench_measure, kernel_bench_clock, NULL, (uint32_t)schedules, (double)seconds, 1}};
  host_target(&r.target);
  a.quiet |= json;
  int number;
  if (!program_device(&a, form, &number)) return EXIT_USAGE;
  if (number >= 0) return command_fail("schedules of GPUs are not searched yet: tune works on this processor");
  a.device = "cpu";
  bool text = is_kernel(c->args[0]);
  sslc_program *p = text ? NULL : program_compile(c, &a, c->args[0], form, &status);
  if (!text && !p) return status;
  r.json = json ? cJSON_CreateArray() : NULL;
  status = text ? tune_text(&r, c->args[0]) : tune_program(&r, p, kernels);
  cJSON_Delete(r.json);
  sslc_free(p);
  return status;
}
