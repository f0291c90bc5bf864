#define _GNU_SOURCE /* dladdr */
#include "codegen/cuda/nvrtc.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>

#include "ir/scan.h"

/* -- what the library has: types and signatures as its manual gives them ---------------------------------------- */

typedef int result; /* 0: good */
typedef void *program;

struct nvrtc {
  void *library;
  result (*version)(int *major, int *minor);
  result (*count_architectures)(int *n);
  result (*list_architectures)(int *out);
  result (*create)(program *out, const char *text, const char *name, int n_headers, const char *const *headers, const char *const *names);
  result (*destroy)(program *p);
  result (*compile)(program p, int n_options, const char *const *options);
  result (*log_bytes)(program p, size_t *out);
  result (*log)(program p, char *out);
  result (*cubin_bytes)(program p, size_t *out);
  result (*cubin)(program p, char *out);
  result (*ptx_bytes)(program p, size_t *out);
  result (*ptx)(program p, char *out);
  const char *(*error_text)(result r);
  nvrtc_facts facts;
  char file[PATH_MAX];
  int architectures[64];
};

static const struct {
  const char *name;
  size_t at;
} functions[] = {
    {"nvrtcVersion", offsetof(nvrtc, version)},
    {"nvrtcGetNumSupportedArchs", offsetof(nvrtc, count_architectures)},
    {"nvrtcGetSupportedArchs", offsetof(nvrtc, list_architectures)},
    {"nvrtcCreateProgram", offsetof(nvrtc, create)},
    {"nvrtcDestroyProgram", offsetof(nvrtc, destroy)},
    {"nvrtcCompileProgram", offsetof(nvrtc, compile)},
    {"nvrtcGetProgramLogSize", offsetof(nvrtc, log_bytes)},
    {"nvrtcGetProgramLog", offsetof(nvrtc, log)},
    {"nvrtcGetCUBINSize", offsetof(nvrtc, cubin_bytes)},
    {"nvrtcGetCUBIN", offsetof(nvrtc, cubin)},
    {"nvrtcGetPTXSize", offsetof(nvrtc, ptx_bytes)},
    {"nvrtcGetPTX", offsetof(nvrtc, ptx)},
    {"nvrtcGetErrorString", offsetof(nvrtc, error_text)},
};

/* -- where it is ------------------------------------------------------------------------------------------------ */

typedef struct {
  nvrtc *found;
  text_buffer looked;
  const char *unfit; /* what was found and is no use */
  arena *arena;
} search;

static bool take_functions(nvrtc *n, search *s, const char *path) {
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *function = dlsym(n->library, functions[i].name);
    if (!function) return s->unfit = arena_printf(s->arena, "%s lacks %s: version 11.2 or newer is needed", path, functions[i].name), false;
    memcpy((char *)n + functions[i].at, &function, sizeof function);
  }
  return true;
}

static void describe(nvrtc *n, const char *path) {
  Dl_info from;
  const bool known = dladdr((void *)(uintptr_t)n->version, &from) && from.dli_fname;
  snprintf(n->file, sizeof n->file, "%s", known ? from.dli_fname : path);
  n->facts = (nvrtc_facts){.file = n->file, .architectures = n->architectures};
  n->version(&n->facts.major, &n->facts.minor);
  enum { MOST = sizeof n->architectures / sizeof *n->architectures };
  if (!n->count_architectures(&n->facts.n_architectures) && n->facts.n_architectures <= MOST && !n->list_architectures(n->architectures)) return;
  n->facts.n_architectures = 0;
}

static bool try_file(search *s, const char *path) {
  text_add(&s->looked, "%s%s", s->looked.n ? ", " : "", path);
  /* It stays until the process ends: its C++ runtime takes memory at the first load that it gives back to nobody. */
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    if (strchr(path, '/')) s->unfit = arena_string(s->arena, dlerror());
    return false;
  }
  nvrtc *n = calloc(1, sizeof *n);
  if (n) n->library = library;
  if (n && take_functions(n, s, path)) return describe(n, path), s->found = n, true;
  free(n);
  dlclose(library);
  return false;
}

/* Files of a pattern, those with higher numbers first. */
static bool try_pattern(search *s, const char *pattern) {
  glob_t all;
  if (glob(pattern, 0, NULL, &all)) {
    text_add(&s->looked, "%s%s", s->looked.n ? ", " : "", pattern);
    return false;
  }
  for (size_t i = all.gl_pathc; i-- > 0 && !s->found;) try_file(s, all.gl_pathv[i]);
  globfree(&all);
  return s->found;
}

static bool try_under(search *s, const char *variable, const char *behind) {
  const char *folder = getenv(variable);
  return folder && *folder && try_pattern(s, arena_printf(s->arena, "%s/%s", folder, behind));
}

static void look_around(search *s) {
  static const char *const names[] = {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"};
  static const char *const toolkits[] = {"CUDA_HOME", "CUDA_PATH"}, *const environments[] = {"VIRTUAL_ENV", "CONDA_PREFIX"};
  static const char *const places[] = {"/usr/local/cuda/lib64/libnvrtc.so*", "/usr/local/cuda-*/lib64/libnvrtc.so*", "/opt/cuda/lib64/libnvrtc.so*"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (try_file(s, names[i])) return;
  for (size_t i = 0; i < sizeof toolkits / sizeof *toolkits; i++)
    if (try_under(s, toolkits[i], "lib64/libnvrtc.so*")) return;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (try_pattern(s, places[i])) return;
  for (size_t i = 0; i < sizeof environments / sizeof *environments; i++)
    if (try_under(s, environments[i], "lib/python3*/site-packages/nvidia/*/lib/libnvrtc.so*") || try_under(s, environments[i], "lib/libnvrtc.so*")) return;
}

nvrtc *nvrtc_open(arena *into, const char **error) {
  search s = {.looked.arena = into, .arena = into};
  const char *named = getenv("SSLC_NVRTC");
  if (named && *named) try_file(&s, named);
  else look_around(&s);
  if (!s.found)
    *error = arena_printf(into, "NVRTC, the compiler of the CUDA toolkit, was not found. Looked for: %s%s%s%s. Install it, or name its file in SSLC_NVRTC", text_done(&s.looked),
                          s.unfit ? " (" : "", s.unfit ? s.unfit : "", s.unfit ? ")" : "");
  return s.found;
}

void nvrtc_close(nvrtc *n) {
  if (!n) return;
  dlclose(n->library);
  free(n);
}

const nvrtc_facts *nvrtc_describe(const nvrtc *n) { return &n->facts; }

/* -- for which device ---------------------------------------------------------------------------------------------- */

bool nvrtc_target_of(const nvrtc *n, unsigned capability, nvrtc_target *out) {
  int best = 0;
  for (int i = 0; i < n->facts.n_architectures; i++)
    if (n->architectures[i] <= (int)capability && n->architectures[i] > best) best = n->architectures[i];
  const bool same_family = best / 10 == (int)capability / 10;
  *out = (nvrtc_target){.form = same_family ? NVRTC_CUBIN : NVRTC_PTX};
  if (best > 0) snprintf(out->name, sizeof out->name, "%s_%d%s", same_family ? "sm" : "compute", best, best == 90 && best == (int)capability ? "a" : "");
  return best > 0;
}

/* -- compiling -------------------------------------------------------------------------------------------------------- */

static const char *log_of(const nvrtc *n, program p, arena *into) {
  size_t bytes = 0;
  if (n->log_bytes(p, &bytes) || bytes < 2) return "";
  char *text = arena_alloc(into, bytes + 1);
  text[bytes] = 0;
  return n->log(p, text) ? "" : text;
}

/* The number that stands before `word`, wherever one does. */
static unsigned number_before(const char *log, const char *word) {
  for (const char *at = strstr(log, word); at; at = strstr(at + 1, word)) {
    const char *from = at;
    while (from > log && from[-1] >= '0' && from[-1] <= '9') from--;
    if (from < at) return (unsigned)strtoul(from, NULL, 10);
  }
  return 0;
}

static bool take_code(const nvrtc *n, program p, nvrtc_form form, nvrtc_code *out) {
  const bool cubin = form == NVRTC_CUBIN;
  if ((cubin ? n->cubin_bytes : n->ptx_bytes)(p, &out->bytes) || !out->bytes) return false;
  out->code = malloc(out->bytes);
  if (out->code && !(cubin ? n->cubin : n->ptx)(p, out->code)) return true;
  free(out->code);
  out->code = NULL;
  return false;
}

static bool compile_once(const nvrtc *n, const char *text, const char *name, const nvrtc_target *target, const char *resident, arena *into, nvrtc_code *out, const char **error) {
  /* The loops say where a product and a sum are one; the report is what --ptxas-options=-v makes part of the log. */
  const char *options[6] = {arena_printf(into, "--gpu-architecture=%s", target->name), "--fmad=false", "--std=c++17", "-w"};
  int n_options = 4;
  if (target->form == NVRTC_CUBIN) options[n_options++] = "--ptxas-options=-v";
  if (resident) options[n_options++] = resident;
  program p = NULL;
  *out = (nvrtc_code){0};
  result failed = n->create(&p, text, name, 0, NULL, NULL);
  if (failed) return *error = arena_printf(into, "NVRTC: %s", n->error_text(failed)), false;
  failed = n->compile(p, n_options, options);
  const char *log = log_of(n, p, into);
  if (failed) *error = arena_printf(into, "NVRTC %d.%d refuses it for %s: %s\n%s", n->facts.major, n->facts.minor, target->name, n->error_text(failed), log);
  else if (!take_code(n, p, target->form, out)) *error = "NVRTC gave no code";
  out->registers = number_before(log, " registers");
  out->local_bytes = number_before(log, " bytes stack frame");
  out->spilled_bytes = number_before(log, " bytes spill stores") + number_before(log, " bytes spill loads");
  n->destroy(&p);
  return out->code;
}

/* The compiler has few registers in mind, so that many blocks are resident, and would rather spill a little than take more. That
 * is no good bargain: what spills is compiled again for one resident block. */
bool nvrtc_compile(const nvrtc *n, const char *text, const char *name, const nvrtc_target *target, arena *into, nvrtc_code *out, const char **error) {
  nvrtc_code roomy;
  if (!compile_once(n, text, name, target, NULL, into, out, error)) return false;
  if (!out->spilled_bytes || !compile_once(n, text, name, target, "-DRESIDENT=1", into, &roomy, error)) return true;
  const bool better = roomy.spilled_bytes < out->spilled_bytes;
  free(better ? out->code : roomy.code);
  if (better) *out = roomy;
  return true;
}
