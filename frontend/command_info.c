/* `sslc info`: what this installation and this machine have to run programs with. */
#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codegen/cpu/host.h"
#include "codegen/cuda/nvrtc.h"
#include "frontend/command.h"
#include "frontend/session.h"
#include "ir/scan.h"
#include "runtime/cuda_driver.h"
#include "runtime/figures.h"

typedef struct {
  char llvm[24];
  target processor;
  long threads;
  const char *cache; /* NULL: none */
  int64_t cache_kernels, cache_bytes;
  cuda_driver driver;
  int driver_version; /* 1000 * major + 10 * minor of CUDA */
  const char *driver_error; /* or NULL */
  cuda_facts *gpus;
  const char **gpu_errors; /* of each, or NULL */
  int n_gpus;
  nvrtc *nvrtc;
  const char *nvrtc_error;
} findings;

/* -- looking ---------------------------------------------------------------------------------------------------------- */

/* Objects lie in folders by the first letters of their hashes. */
static void look_at_cache(findings *f, const char *path, int depth) {
  enum { DEEPEST = 1 };
  char below[4096];
  struct stat found;
  DIR *folder = path ? opendir(path) : NULL;
  for (const struct dirent *e; folder && (e = readdir(folder));) {
    const int n = snprintf(below, sizeof below, "%s/%s", path, e->d_name);
    if (*e->d_name == '.' || n >= (int)sizeof below || stat(below, &found)) continue;
    if (S_ISDIR(found.st_mode) && depth < DEEPEST) look_at_cache(f, below, depth + 1);
    if (!S_ISREG(found.st_mode) || n < 2 || strcmp(below + n - 2, ".o")) continue;
    f->cache_kernels++;
    f->cache_bytes += found.st_size;
  }
  if (folder) closedir(folder);
}

/* In the arena; what was malloc'ed is freed. */
static const char *kept(char *error, arena *a) {
  const char *text = arena_string(a, error ? error : "out of memory");
  free(error);
  return text;
}

static void look_at_gpus(findings *f, arena *a) {
  char *error = NULL;
  if (!cuda_driver_open(&f->driver, &error)) {
    f->driver_error = kept(error, a);
    return;
  }
  f->driver.driver_version(&f->driver_version);
  f->n_gpus = cuda_count(&f->driver);
  f->gpus = ARENA_ARRAY(a, cuda_facts, f->n_gpus + 1);
  f->gpu_errors = ARENA_ARRAY(a, const char *, f->n_gpus + 1);
  for (int i = 0; i < f->n_gpus; i++) {
    error = NULL;
    if (!cuda_describe(&f->driver, i, &f->gpus[i], &error)) f->gpu_errors[i] = kept(error, a);
  }
}

static void look(findings *f, arena *a) {
  *f = (findings){.threads = sysconf(_SC_NPROCESSORS_ONLN), .cache = session_default_cache(a)};
  host_llvm(f->llvm);
  host_target(&f->processor);
  look_at_cache(f, f->cache, 0);
  look_at_gpus(f, a);
  f->nvrtc = nvrtc_open(a, &f->nvrtc_error);
}

/* -- for people ------------------------------------------------------------------------------------------------------- */

enum { MARGIN = 11, COLUMNS = 80 };

/* Words behind a label, in lines that a terminal has room for. */
static void show(const char *label, const char *text) {
  int column = printf("%-*s", MARGIN, label);
  for (const char *word = text; *word; word += strspn(word, " ")) {
    const int n = (int)strcspn(word, " ");
    if (column > MARGIN && column + n >= COLUMNS) column = printf("\n%*s", MARGIN, "") - 1;
    column += printf("%s%.*s", column > MARGIN ? " " : "", n, word);
    word += n;
  }
  putchar('\n');
}

static const char *architectures_text(const nvrtc_facts *n, arena *a) {
  text_buffer out = {.arena = a};
  for (int i = 0; i < n->n_architectures; i++) text_add(&out, "%ssm_%d", i ? " " : "", n->architectures[i]);
  return text_done(&out);
}

static void show_compiler(const findings *f, arena *a) {
  if (!f->nvrtc) return show("compiler", f->nvrtc_error);
  const nvrtc_facts *n = nvrtc_describe(f->nvrtc);
  show("compiler", arena_printf(a, "NVRTC %d.%d, %s, for %s", n->major, n->minor, n->file, architectures_text(n, a)));
}

static void show_all(const findings *f, arena *a) {
  const target *t = &f->processor;
  show("sslc", arena_printf(a, "%s, LLVM %s", sslc_version(), f->llvm));
  show("cpu", arena_printf(a, "%s, %ld thread%s, %u vectors of %u bytes%s, caches of a core %s and %s", t->name, f->threads, f->threads == 1 ? "" : "s", t->vector_registers, t->vector_bytes,
                           t->tiles ? ", a matrix unit" : "", figure_bytes(t->l1_bytes).text, figure_bytes(t->l2_bytes).text));
  show("cache", f->cache ? arena_printf(a, "%s, %lld kernels, %s", f->cache, (long long)f->cache_kernels, figure_bytes(f->cache_bytes).text) : "none: neither XDG_CACHE_HOME nor HOME is set");
  show("driver", f->driver_error ? f->driver_error
                                 : arena_printf(a, "for CUDA %d.%d, %d GPU%s", f->driver_version / 1000, f->driver_version % 1000 / 10, f->n_gpus, f->n_gpus == 1 ? "" : "s"));
  show_compiler(f, a);
  for (int i = 0; i < f->n_gpus; i++) {
    const cuda_facts *g = &f->gpus[i];
    show(arena_printf(a, "cuda:%d", i), f->gpu_errors[i] ? f->gpu_errors[i]
                                                          : arena_printf(a, "%s, sm_%u, %s, %s of them free", g->name, g->capability, figure_bytes(g->total_bytes).text,
                                                                         figure_bytes(g->free_bytes).text));
  }
}

/* -- for programs ------------------------------------------------------------------------------------------------------ */

static void add_compiler(const findings *f, cJSON *to, arena *a) {
  if (!f->nvrtc) {
    cJSON_AddStringToObject(to, "error", f->nvrtc_error);
    return;
  }
  const nvrtc_facts *n = nvrtc_describe(f->nvrtc);
  cJSON_AddStringToObject(to, "version", arena_printf(a, "%d.%d", n->major, n->minor));
  cJSON_AddStringToObject(to, "file", n->file);
  cJSON_AddItemToObject(to, "architectures", cJSON_CreateIntArray(n->architectures, n->n_architectures));
}

static void add_gpu(const cuda_facts *g, const char *error, cJSON *all) {
  cJSON *row = cJSON_CreateObject();
  cJSON_AddItemToArray(all, row);
  if (error) {
    cJSON_AddStringToObject(row, "error", error);
    return;
  }
  cJSON_AddStringToObject(row, "model", g->name);
  cJSON_AddNumberToObject(row, "capability", g->capability);
  cJSON_AddNumberToObject(row, "total_bytes", (double)g->total_bytes);
  cJSON_AddNumberToObject(row, "free_bytes", (double)g->free_bytes);
}

static int show_json(const findings *f, arena *a) {
  cJSON *all = cJSON_CreateObject(), *cpu = cJSON_AddObjectToObject(all, "cpu"), *cache = cJSON_AddObjectToObject(all, "cache");
  cJSON *driver = cJSON_AddObjectToObject(all, "driver"), *compiler = cJSON_AddObjectToObject(all, "compiler"), *gpus = cJSON_AddArrayToObject(all, "gpus");
  cJSON_AddStringToObject(all, "version", sslc_version());
  cJSON_AddStringToObject(all, "llvm", f->llvm);
  cJSON_AddStringToObject(cpu, "model", f->processor.name);
  cJSON_AddNumberToObject(cpu, "threads", (double)f->threads);
  cJSON_AddNumberToObject(cpu, "vector_bytes", f->processor.vector_bytes);
  cJSON_AddNumberToObject(cpu, "vector_registers", f->processor.vector_registers);
  cJSON_AddBoolToObject(cpu, "matrix_unit", f->processor.tiles);
  cJSON_AddNumberToObject(cpu, "l1_bytes", (double)f->processor.l1_bytes);
  cJSON_AddNumberToObject(cpu, "l2_bytes", (double)f->processor.l2_bytes);
  cJSON_AddStringToObject(cache, "directory", f->cache ? f->cache : "");
  cJSON_AddNumberToObject(cache, "kernels", (double)f->cache_kernels);
  cJSON_AddNumberToObject(cache, "bytes", (double)f->cache_bytes);
  if (f->driver_error) cJSON_AddStringToObject(driver, "error", f->driver_error);
  else cJSON_AddNumberToObject(driver, "cuda_version", f->driver_version);
  add_compiler(f, compiler, a);
  for (int i = 0; i < f->n_gpus; i++) add_gpu(&f->gpus[i], f->gpu_errors[i], gpus);
  char *text = cJSON_Print(all);
  if (text) puts(text);
  cJSON_free(text);
  cJSON_Delete(all);
  return text ? EXIT_GOOD : command_fail("out of memory");
}

int command_info(command *c) {
  const char *form = "info [--json]";
  bool json = false;
  int status = EXIT_GOOD;
  findings f;
  const command_option options[] = {{"--json", OPTION_FLAG, &json, NULL, "for programs"}, {NULL}};
  if (!command_options(c, options, 0, form)) return c->status;
  look(&f, c->arena);
  if (json) status = show_json(&f, c->arena);
  else show_all(&f, c->arena);
  nvrtc_close(f.nvrtc);
  cuda_driver_close(&f.driver);
  return status;
}
