#include "tests/emulation/emulation.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ir/scan.h"

typedef long long emulated_run(void **arguments);

struct emulation {
  void *library;
  emulated_run **run;
  const char *wrong;
};

/* What encodes the maps of a kernel's boxes. */
static const char *maps_text(const char *symbol, const cuda_source *source, arena *a) {
  text_buffer out = {.arena = a};
  if (source->n_boxes) text_add(&out, " %s_boxes all;", symbol);
  for (uint32_t i = 0; i < source->n_boxes; i++) {
    const loops_box *b = &source->boxes[i];
    text_add(&out, " emulated_violations += !emulated_encode(&all.at[%u], 9, %u, a[%u], (const uint64_t[]){", i, b->rank, b->buffer);
    for (uint32_t d = 0; d < b->rank; d++) text_add(&out, "%lld, ", (long long)b->extent[d]);
    text_add(&out, "}, (const uint64_t[]){");
    for (uint32_t d = 1; d < b->rank; d++) text_add(&out, "%lld, ", (long long)(b->stride[d] * (int64_t)sizeof(uint16_t)));
    text_add(&out, "}, (const uint32_t[]){");
    for (uint32_t d = 0; d < b->rank; d++) text_add(&out, "%lld, ", (long long)b->size[d]);
    text_add(&out, "}, (const uint32_t[]){1, 1, 1, 1, 1}, 0, 3, 3, 0);");
  }
  return text_done(&out);
}

/* The kernels, and for each a function that hands it its arguments. */
static const char *module_text(const emulated_kernel *kernels, uint32_t n, arena *a) {
  text_buffer out = {.arena = a};
  text_add(&out, "#include \"" SOURCE_DIR "/tests/emulation/device.h\"\n%s", cuda_prelude);
  for (uint32_t i = 0; i < n; i++) {
    const char *symbol = kernels[i].symbol;
    const cuda_source *source = &kernels[i].source;
    text_add(&out, "%s", source->text);
    text_add(&out, "static void call_%s(void **a) {%s %s(", symbol, maps_text(kernels[i].symbol, source, a), symbol);
    if (source->pointers) text_add(&out, "*(%s_pointers *)a", symbol);
    for (uint32_t k = 0; k < kernels[i].loops->n_arguments && !source->pointers; k++) text_add(&out, "%sa[%u]", k ? ", " : "", k);
    if (source->n_boxes) text_add(&out, ", all");
    text_add(&out, "); }\nlong long run_%s(void **a) { return emulate(call_%s, a, %lld, %u, %d); }\n", symbol, symbol, (long long)source->blocks, source->threads,
             source->synchronises);
  }
  return text_done(&out);
}

static bool write_text(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  if (!f) return false;
  const bool whole = fputs(text, f) >= 0;
  return fclose(f) == 0 && whole;
}

/* The names of a new folder's files; the folder is gone when it is done. */
static bool compile(const char *folder, const char *text, arena *a, const char **error) {
  const char *source = arena_printf(a, "%s/kernels.c", folder), *library = arena_printf(a, "%s/kernels.so", folder), *log = arena_printf(a, "%s/log", folder);
  const char *command = arena_printf(a, "cc -std=gnu17 -O1 -fwrapv -ffp-contract=off -march=native -fno-strict-aliasing -w -shared -fPIC -o %s %s -lm 2> %s", library, source, log);
  if (!write_text(source, text)) return *error = arena_printf(a, "cannot write %s: %s", source, strerror(errno)), false;
  const int status = system(command);
  if (status == 0) return true;
  char bytes[2048] = {0};
  FILE *f = fopen(log, "r");
  if (f) (void)!fread(bytes, 1, sizeof bytes - 1, f), fclose(f);
  *error = arena_printf(a, "the C compiler refuses the text of kernels:\n%s", bytes);
  return false;
}

static void remove_folder(const char *folder, arena *a) {
  static const char *const files[] = {"kernels.c", "kernels.so", "log"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) unlink(arena_printf(a, "%s/%s", folder, files[i]));
  rmdir(folder);
}

emulation *emulation_of(const emulated_kernel *kernels, uint32_t n, arena *into, const char **error) {
  const char *place = getenv("TMPDIR");
  char *folder = arena_printf(into, "%s/sslc_emulation_XXXXXX", place ? place : "/tmp");
  if (!mkdtemp(folder)) return *error = arena_printf(into, "cannot make %s: %s", folder, strerror(errno)), NULL;
  emulation *e = calloc(1, sizeof *e);
  if (e) e->run = calloc(n + 1, sizeof *e->run);
  if (e && e->run && compile(folder, module_text(kernels, n, into), into, error)) {
    e->library = dlopen(arena_printf(into, "%s/kernels.so", folder), RTLD_NOW | RTLD_LOCAL);
    if (!e->library) *error = arena_string(into, dlerror());
  }
  if (e && e->library) e->wrong = dlsym(e->library, "emulated_wrong");
  for (uint32_t i = 0; e && e->library && i < n; i++) *(void **)&e->run[i] = dlsym(e->library, arena_printf(into, "run_%s", kernels[i].symbol));
  if (!getenv("SSLC_KEEP_EMULATION")) remove_folder(folder, into);
  if (e && e->library) return e;
  emulation_free(e);
  return NULL;
}

const char *emulation_run(const emulation *e, uint32_t kernel, void *const *arguments) { return e->run[kernel]((void **)(uintptr_t)arguments) ? e->wrong : NULL; }

void emulation_free(emulation *e) {
  if (!e) return;
  if (e->library) dlclose(e->library);
  free(e->run);
  free(e);
}
