#include "codegen/cuda/module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ir/scan.h"

const char *cuda_module_text(const loops *l, const char *symbol, const uint32_t *groups, arena *into, cuda_source *source, const char **error) {
  const source_options options = {.symbol = symbol, .groups = groups};
  if (!cuda_source_of(l, &options, into, source, error)) return NULL;
  return arena_printf(into, "%s\n#line 1 \"%s\"\n%s", cuda_prelude, l->name, source->text);
}

static const char *text_alone(const loops *l, arena *into, cuda_source *source, const char **error) {
  uint32_t *groups = ARENA_ARRAY(into, uint32_t, l->n_arguments + 1);
  for (uint32_t i = 0; i < l->n_arguments; i++) groups[i] = i;
  return cuda_module_text(l, "kernel", groups, into, source, error);
}

char *loops_cuda_text(const loops *l, arena *into, const char **error) {
  cuda_source source;
  if (!text_alone(l, into, &source, error)) return NULL;
  return arena_printf(into, "// %lld blocks of %u threads, %u bytes of shared memory\n%s", (long long)source.blocks, source.threads, source.shared_bytes, source.text);
}

/* The code is malloc'ed. */
static bool compile_alone(const loops *l, const nvrtc *n, unsigned capability, nvrtc_form form, arena *into, nvrtc_code *out, const char **error) {
  cuda_source source;
  nvrtc_target target;
  const char *text = text_alone(l, into, &source, error);
  if (!text) return false;
  bool good = nvrtc_target_of(n, capability, &target);
  if (!good || (form == NVRTC_CUBIN && target.form == NVRTC_PTX)) {
    *error = arena_printf(into, "NVRTC %d.%d makes no such code for sm_%u", nvrtc_describe(n)->major, nvrtc_describe(n)->minor, capability);
    good = false;
  }
  if (form == NVRTC_PTX && target.form == NVRTC_CUBIN) { /* of sm_90a compute_90a */
    const char *name = arena_printf(into, "compute_%s", target.name + strlen("sm_"));
    memcpy(target.name, name, strlen(name) + 1);
  }
  target.form = form;
  return good && nvrtc_compile(n, text, l->name, &target, into, out, error);
}

char *loops_ptx_text(const loops *l, const nvrtc *n, unsigned capability, arena *into, const char **error) {
  nvrtc_code code;
  if (!compile_alone(l, n, capability, NVRTC_PTX, into, &code, error)) return NULL;
  char *text = arena_substring(into, code.code, strnlen(code.code, code.bytes));
  free(code.code);
  return text;
}

static bool write_code(const char *path, const nvrtc_code *code) {
  FILE *f = fopen(path, "wb");
  if (!f) return false;
  const bool whole = fwrite(code->code, 1, code->bytes, f) == code->bytes;
  return fclose(f) == 0 && whole;
}

/* What a command prints; NULL when it fails. */
static char *output_of(const char *command, arena *into) {
  text_buffer out = {.arena = into};
  char piece[4096];
  FILE *f = popen(command, "r");
  if (!f) return NULL;
  for (size_t got; (got = fread(piece, 1, sizeof piece, f)) > 0;) text_add(&out, "%.*s", (int)got, piece);
  char *text = text_done(&out);
  return pclose(f) == 0 ? text : NULL;
}

char *loops_sass_text(const loops *l, const nvrtc *n, unsigned capability, arena *into, const char **error) {
  nvrtc_code code;
  const char *place = getenv("TMPDIR");
  char *path = arena_printf(into, "%s/sslc_XXXXXX", place && *place ? place : "/tmp"), *text = NULL;
  if (!compile_alone(l, n, capability, NVRTC_CUBIN, into, &code, error)) return NULL;
  const int file = mkstemp(path);
  if (file < 0 || !write_code(path, &code)) *error = arena_printf(into, "cannot write %s: %s", path, strerror(errno));
  else if (!(text = output_of(arena_printf(into, "nvdisasm -c '%s' 2>/dev/null", path), into))) *error = "nvdisasm of the CUDA toolkit is needed to show machine code, and PATH has none that works";
  if (file >= 0) {
    close(file);
    unlink(path);
  }
  free(code.code);
  return text;
}
