#include "frontend/command_program.h"

#include <stdlib.h>
#include <unistd.h>

#include "runtime/figures.h"
#include "runtime/hardware.h"

bool program_overrides(const command *c, const program_arguments *a, sslc_override *out) {
  for (uint32_t i = 0; i < a->set.n; i++) {
    const char *equals = strchr(a->set.items[i], '=');
    if (!equals || equals == a->set.items[i] || !equals[1]) return false;
    out[i] = (sslc_override){arena_substring(c->arena, a->set.items[i], (size_t)(equals - a->set.items[i])), equals + 1};
  }
  return true;
}

sslc_type program_precision(const program_arguments *a) {
  if (!a->precision) return 0;
  return !strcmp(a->precision, "f64") ? SSLC_F64 : !strcmp(a->precision, "bf16") ? SSLC_BF16 : !strcmp(a->precision, "tf32") ? SSLC_TF32 : SSLC_F32;
}

/* 512K, 300M, 2G or plain bytes; 0 where there is no limit, -1 when the text is none. */
static int64_t memory_limit(const char *text) {
  static const char units[] = "KMG";
  if (!text) return 0;
  char *end;
  const long long n = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : 0;
  if (n < 1) return -1;
  const char *unit = *end ? strchr(units, *end) : NULL;
  const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
  return (*end && (!unit || end[1])) || n > INT64_MAX >> shift ? -1 : (int64_t)n << shift;
}

/* Errors, or warnings of a program that compiled. */
static void show_places(sslc_program *p) { fputs(sslc_report(p, isatty(STDERR_FILENO)), stderr); }

static void show_facts(const char *path, sslc_program *p) {
  sslc_facts f;
  if (sslc_get_facts(p, &f)) return;
  printf("%s: %s parameters, %s of memory at most\n", path, figure_grouped(f.parameters).text, figure_bytes(f.peak_bytes).text);
  if (f.temporary_bytes)
    printf("a step's temporaries take %s; %s are in use at once (+%.1f %%)\n", figure_bytes(f.temporary_bytes).text, figure_bytes(f.live_bytes).text,
           100.0 * (double)(f.temporary_bytes - f.live_bytes) / (double)f.live_bytes);
  if (f.device_bytes) printf("%s: %s of %s that are free\n", f.device, figure_bytes(f.device_bytes).text, figure_bytes(f.device_free_bytes).text);
  if (f.passed_over) printf("on this processor; not on %s\n", f.passed_over);
  sslc_origin from;
  for (size_t i = 0; sslc_get_origin(p, i, &from); i++) {
    printf("%s: %u of %u weights from %s (%s)", from.model, from.taken, from.taken + from.missing, from.file, from.part);
    if (from.unused) printf(", %u there are not used", from.unused);
    putchar('\n');
  }
  printf("compiled in %.1f s: %u kernels, %u of them from the cache\n", f.compile_seconds, f.kernels, f.kernels - f.compiled);
  printf("%s steps in all, batches of %lld, %s steps an epoch\n", figure_grouped(f.steps).text, (long long)f.batch, figure_grouped(f.steps_per_epoch).text);
  fflush(stdout);
}

bool program_device(const program_arguments *a, const char *form, int *number) {
  return hardware_parse(a->device, number) || (command_usage(form, "--device takes auto, cpu, cuda or cuda:N, got %s", hardware_meant(a->device)), false);
}

sslc_program *program_compile(const command *c, const program_arguments *a, const char *path, const char *form, int *status) {
  sslc_override *overrides = ARENA_ARRAY(c->arena, sslc_override, a->set.n + 1);
  if (!program_overrides(c, a, overrides)) return *status = command_usage(form, "--set wants name=value"), NULL;
  const int64_t memory = memory_limit(a->memory);
  int number;
  if (!program_device(a, form, &number)) return *status = EXIT_USAGE, NULL;
  if (memory < 0) return *status = command_usage(form, "--memory takes bytes, as 300M or 2G, got %s", a->memory), NULL;
  sslc_options options = {.overrides = overrides, .n_overrides = a->set.n, .data_root = a->data_root, .seed = a->seed == NO_SEED ? NULL : &a->seed,
                          .threads = a->threads > 4096 ? 4096 : (unsigned)a->threads, .real = program_precision(a),
                          .cache = a->no_cache ? "" : NULL, .schedules = a->run, .memory = memory, .checked = a->checked, .device = a->device};
  sslc_program *p;
  sslc_status failed = sslc_compile_file(path, &options, &p);
  if (p && sslc_place(p, 0, &(sslc_diagnostic){0})) show_places(p);
  else if (failed) command_fail("%s", sslc_message(p));
  if (!failed && !a->quiet) show_facts(path, p);
  if (!failed) return p;
  *status = EXIT_FAILED;
  sslc_free(p);
  return NULL;
}
