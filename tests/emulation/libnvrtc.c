/* In the place of NVIDIA's run-time compiler: a text goes through the C compiler of this machine, under device.h, and the code is a shared
 * object, which the stand-in for the driver loads and runs. It exports what that needs of a kernel: run_NAME, which takes pointers of the host,
 * and how many. */
#include <errno.h>
#include <unistd.h>

#include "tests/emulation/stand_in.h"

enum { GOOD = 0, NO_MEMORY = 1, BAD_INPUT = 3, BAD_OPTION = 5, REFUSED = 6 };

typedef struct {
  char *text, *name, *log, *code;
  size_t code_bytes;
} program;

CALL int nvrtcVersion(int *major, int *minor) { return *major = 99, *minor = 0, GOOD; }
CALL int nvrtcGetNumSupportedArchs(int *n) { return *n = 3, GOOD; }
CALL int nvrtcGetSupportedArchs(int *out) { return out[0] = 75, out[1] = 80, out[2] = 90, GOOD; }
CALL const char *nvrtcGetErrorString(int e) { return e == REFUSED ? "NVRTC_ERROR_COMPILATION" : "another error"; }

CALL int nvrtcCreateProgram(program **out, const char *text, const char *name, int n_headers, const char *const *headers, const char *const *names) {
  if (n_headers || headers || names) return BAD_INPUT;
  program *p = *out = calloc(1, sizeof *p);
  if (!p) return NO_MEMORY;
  *p = (program){.text = strdup(text), .name = strdup(name), .log = strdup("")};
  return GOOD;
}

CALL int nvrtcDestroyProgram(program **p) {
  free((*p)->text);
  free((*p)->name);
  free((*p)->log);
  free((*p)->code);
  free(*p);
  return *p = NULL, GOOD;
}

/* malloc'ed, with a 0 behind it; NULL when it cannot be read. */
static char *whole_file(const char *path, size_t *bytes) {
  FILE *f = fopen(path, "rb");
  char *data = NULL;
  *bytes = 0;
  if (f && !fseek(f, 0, SEEK_END)) {
    const long n = ftell(f);
    rewind(f);
    data = calloc(1, (size_t)n + 1);
    if (data) *bytes = fread(data, 1, (size_t)n, f);
  }
  if (f) fclose(f);
  return data;
}

/* The name of the one kernel, and how many pointers it takes: parameters, or what the structure of a bundle holds, as a negative number; and how many maps of
 * boxes there are behind them. */
static int find_kernel(const char *text, char *name, size_t bytes, int *maps) {
  const char *at = strstr(text, "\nKERNEL void ");
  const char *open = at ? strchr(strchr(at, ')'), '(') : NULL; /* behind the launch bounds */
  if (!open) return 0;
  const char *first = open;
  while (first[-1] != ' ') first--;
  snprintf(name, bytes, "%.*s", (int)(open - first), first);
  int n = open[1] != ')';
  for (const char *c = open; *c != ')'; c++) n += *c == ',';
  const char *structure = strstr(text, "  void *at["), *boxes = strstr(text, "  box_map at[");
  *maps = boxes ? atoi(boxes + strlen("  box_map at[")) : 0;
  n -= *maps != 0;
  return structure ? -atoi(structure + strlen("  void *at[")) : n;
}

static int write_module(const program *p, const char *path) {
  char name[128];
  int maps = 0;
  const int n = find_kernel(p->text, name, sizeof name, &maps);
  FILE *f = n ? fopen(path, "w") : NULL;
  if (!f) return BAD_INPUT;
  const char *line = strstr(p->text, "\n#line"), *kernel = line ? line : strstr(p->text, "\nKERNEL"); /* functions of a bundle come first */
  const int synchronises = strstr(kernel, "shuffle_") || strstr(kernel, "sync") || strstr(kernel, "shared");
  fprintf(f, "#include \"" SOURCE_DIR "/tests/emulation/device.h\"\n%s\n", p->text);
  fprintf(f, "static void call_it(void **a) {\n  %s(", name);
  for (int i = 0; i < n; i++) fprintf(f, "%sa[%d]", i ? ", " : "", i);
  if (n < 0) fprintf(f, "*(%s_pointers *)a", name);
  if (maps) fprintf(f, ", *(%s_boxes *)((char *)a + (%d * sizeof *a / 128 + 1) * 128)", name, n);
  fprintf(f, ");\n}\nconst int arguments_%s = %d, boxes_%s = %d;\nlong long run_%s(void **a, long long blocks, unsigned threads) { return emulate(call_it, a, blocks, threads, %d); }\n", name, n,
          name, maps, name, synchronises);
  return fclose(f) ? NO_MEMORY : GOOD;
}

static int compile(program *p, const char *folder) {
  char source[512], object[512], log[512], command[2048];
  size_t bytes;
  snprintf(source, sizeof source, "%s/kernel.c", folder);
  snprintf(object, sizeof object, "%s/kernel.so", folder);
  snprintf(log, sizeof log, "%s/log", folder);
  snprintf(command, sizeof command, "cc -std=gnu17 -O1 -fwrapv -ffp-contract=off -march=native -fno-strict-aliasing -w -shared -fPIC -o %s %s -lm 2> %s", object, source, log);
  int failed = write_module(p, source);
  if (!failed && system(command)) failed = REFUSED;
  if (failed == REFUSED) {
    free(p->log);
    p->log = whole_file(log, &bytes);
  }
  if (!failed) p->code = whole_file(object, &p->code_bytes);
  unlink(source);
  unlink(object);
  unlink(log);
  return failed ? failed : p->code ? GOOD : NO_MEMORY;
}

CALL int nvrtcCompileProgram(program *p, int n, const char *const *options) {
  const char *place = getenv("TMPDIR");
  char folder[256];
  if (n < 1 || (strcmp(options[0], "--gpu-architecture=sm_80") && strcmp(options[0], "--gpu-architecture=sm_90a"))) return BAD_OPTION;
  if (fails(__func__)) {
    free(p->log);
    p->log = malloc(strlen(p->name) + 64);
    sprintf(p->log, "%s(1): error: made to fail\n", p->name);
    return REFUSED;
  }
  snprintf(folder, sizeof folder, "%s/sslc_stand_in_XXXXXX", place ? place : "/tmp");
  if (!mkdtemp(folder)) return NO_MEMORY;
  const int failed = compile(p, folder);
  rmdir(folder);
  return failed;
}

CALL int nvrtcGetProgramLogSize(const program *p, size_t *bytes) { return *bytes = strlen(p->log) + 1, GOOD; }
CALL int nvrtcGetProgramLog(const program *p, char *out) { return strcpy(out, p->log), GOOD; }
CALL int nvrtcGetCUBINSize(const program *p, size_t *bytes) { return *bytes = p->code_bytes, GOOD; }
CALL int nvrtcGetCUBIN(const program *p, char *out) { return memcpy(out, p->code, p->code_bytes), GOOD; }
CALL int nvrtcGetPTXSize(const program *p, size_t *bytes) { return (void)p, *bytes = 0, BAD_INPUT; }
CALL int nvrtcGetPTX(const program *p, char *out) { return (void)p, (void)out, BAD_INPUT; }
