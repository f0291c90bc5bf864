/* `sslc profile`: where the time of a training step goes, by line of the program and by kernel. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <unistd.h>

#include "frontend/command_program.h"
#include "runtime/figures.h"

/* Launches that are shown as one: of a line and part, or of a kernel. */
typedef struct {
  sslc_launch total; /* seconds, flops and bytes added up */
  int n;
} group;

typedef bool same_group(const sslc_launch *a, const sslc_launch *b);

static bool same_line(const sslc_launch *a, const sslc_launch *b) { return a->line == b->line && !strcmp(a->file, b->file) && !strcmp(a->part, b->part); }
static bool same_kernel(const sslc_launch *a, const sslc_launch *b) { return same_line(a, b) && !strcmp(a->kernel, b->kernel); }

static int slowest_first(const void *a, const void *b) {
  const group *x = a, *y = b;
  return (x->total.seconds < y->total.seconds) - (x->total.seconds > y->total.seconds);
}

static group *make_groups(const command *c, const sslc_profile *p, same_group *same, uint32_t *n) {
  group *groups = ARENA_ARRAY(c->arena, group, p->n + 1);
  *n = 0;
  for (size_t i = 0; i < p->n; i++) {
    const sslc_launch *l = &p->launches[i];
    uint32_t g = 0;
    while (g < *n && !same(&groups[g].total, l)) g++;
    if (g == *n) groups[(*n)++].total = (sslc_launch){l->kernel, l->file, l->line, l->part, 0, 0, 0};
    groups[g].total.seconds += l->seconds;
    groups[g].total.flops += l->flops;
    groups[g].total.bytes += l->bytes;
    groups[g].n++;
  }
  qsort(groups, *n, sizeof *groups, slowest_first);
  return groups;
}

/* -- the table ------------------------------------------------------------------------------------------------- */

enum { MOST_ROWS = 24 };

static const char *file_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* The text of a line without what stands in front of it; "" when the file cannot be read. */
static const char *line_text(const command *c, const sslc_launch *l) {
  static const char none[] = "";
  size_t length = 0;
  if (!l->line || access(l->file, R_OK)) return none;
  const char *at = command_read(c, l->file, &length);
  for (unsigned line = 1; at && line < l->line; line++) {
    at = strchr(at, '\n');
    if (at) at++;
  }
  return at ? arena_substring(c->arena, at + strspn(at, " "), strcspn(at, "\n") - strspn(at, " ")) : none;
}

/* Milliseconds, or microseconds where steps are short. */
static double unit_of(const sslc_profile *p) { return p->step_seconds < 0.02 ? 1e-6 : 1e-3; }
static const char *unit_name(const sslc_profile *p) { return p->step_seconds < 0.02 ? "us" : "ms"; }

static void show_figures(const sslc_profile *p, const sslc_launch *t) {
  printf("%8.2f %5.1f", t->seconds / unit_of(p), 100 * t->seconds / p->step_seconds);
  if (t->flops > 0 && p->peak_flops > 0) printf(" %8.1f %5.1f", 1e-9 * t->flops / t->seconds, 100 * t->flops / t->seconds / p->peak_flops);
  else printf(" %8s %5s", "", "");
  printf(" %8.1f %6.1f", 1e-6 * t->bytes, 1e-9 * t->bytes / t->seconds);
}

static void show_table(const command *c, const sslc_profile *p, const char *title, same_group *same) {
  uint32_t n;
  const group *groups = make_groups(c, p, same, &n);
  printf("\n%-30s%8s %5s %8s %5s %8s %6s\n", title, unit_name(p), "%", "GFLOP/s", "peak%", "MB", "GB/s");
  for (uint32_t i = 0; i < n && i < MOST_ROWS; i++) {
    const sslc_launch *t = &groups[i].total;
    const char *name = same == same_kernel ? t->kernel : line_text(c, t);
    char place[16] = "-";
    if (t->line) snprintf(place, sizeof place, "%u", t->line);
    printf("%5s %-8s %-14.14s ", place, t->part, *name ? name : file_name(t->file));
    show_figures(p, t);
    if (groups[i].n > 1) printf(" x%d", groups[i].n);
    printf("\n");
    if (same == same_kernel && strstr(name, ", ")) printf("%8s%.68s%s\n", "", name, strlen(name) > 68 ? "..." : ""); /* of a bundle */
  }
  if (n > MOST_ROWS) printf("%5s %u more\n", "", n - MOST_ROWS);
}

static void show(const command *c, const char *path, const sslc_profile *p) {
  double unit = unit_of(p);
  printf("%s\n%.1f %s a step (median of %lld), %.1f of them for data; %u thread%s\n%s", path, p->step_seconds / unit, unit_name(p), (long long)p->steps,
         p->data_seconds / unit, p->threads, p->threads == 1 ? "" : "s", p->device);
  if (p->peak_flops > 0)
    printf(": %.0f GFLOP/s, %.1f GB/s;\nits contractions alone: %.1f %s (1 / %.3g)", 1e-9 * p->peak_flops, 1e-9 * p->peak_bytes, p->floor_seconds / unit, unit_name(p),
           p->floor_seconds > 0 ? p->step_seconds / p->floor_seconds : 0);
  printf("\n");
  show_table(c, p, " line part", same_line);
  show_table(c, p, " line part     kernel", same_kernel);
}

/* -- for programs ---------------------------------------------------------------------------------------------- */

static int show_json(const sslc_profile *p) {
  cJSON *all = cJSON_CreateObject(), *launches = cJSON_AddArrayToObject(all, "launches");
  cJSON_AddNumberToObject(all, "steps", (double)p->steps);
  cJSON_AddNumberToObject(all, "threads", p->threads);
  cJSON_AddStringToObject(all, "device", p->device);
  cJSON_AddNumberToObject(all, "step_seconds", p->step_seconds);
  cJSON_AddNumberToObject(all, "data_seconds", p->data_seconds);
  cJSON_AddNumberToObject(all, "floor_seconds", p->floor_seconds);
  cJSON_AddNumberToObject(all, "peak_flops", p->peak_flops);
  cJSON_AddNumberToObject(all, "peak_bytes", p->peak_bytes);
  for (size_t i = 0; launches && i < p->n; i++) {
    const sslc_launch *l = &p->launches[i];
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "kernel", l->kernel);
    cJSON_AddStringToObject(row, "file", l->file);
    cJSON_AddNumberToObject(row, "line", l->line);
    cJSON_AddStringToObject(row, "part", l->part);
    cJSON_AddNumberToObject(row, "seconds", l->seconds);
    cJSON_AddNumberToObject(row, "flops", l->flops);
    cJSON_AddNumberToObject(row, "bytes", l->bytes);
    cJSON_AddItemToArray(launches, row);
  }
  char *text = cJSON_Print(all);
  if (text) puts(text);
  cJSON_free(text);
  cJSON_Delete(all);
  return text ? EXIT_GOOD : command_fail("no memory for the table");
}

int command_profile(command *c) {
  const char *form = "profile [options] FILE";
  program_arguments a = PROGRAM_DEFAULTS;
  bool json = false;
  int64_t steps = 10;
  const command_option options[] = {PROGRAM_OPTIONS(a),
                                    {"--steps", OPTION_COUNT, &steps, "N", "that are timed, behind two that are not (10)"},
                                    {"--json", OPTION_FLAG, &json, NULL, "every launch, for programs"},
                                    {NULL}};
  int status = EXIT_GOOD;
  if (!command_options(c, options, 1, form)) return c->status;
  a.quiet |= json;
  sslc_program *p = program_compile(c, &a, c->args[0], form, &status);
  if (!p) return status;
  sslc_profile found;
  if (sslc_profile_steps(p, steps, &found)) status = command_fail("%s", sslc_message(p));
  else if (json) status = show_json(&found);
  else show(c, c->args[0], &found);
  sslc_free(p);
  return status;
}
