#include "codegen/cuda/module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ir/scan.h"

const char *cuda_module_text(const code_part *parts, uint32_t n, const char *symbol, arena *into, cuda_source *source, const char **error) {
  if (!cuda_kernel_of(parts, n, symbol, false, into, source, error)) return NULL;
  return arena_printf(into, "%s\n#line 1 \"%s\"\n%s", cuda_prelude, parts->loops->name, source->text);
}

/* As if no two arguments shared memory. Equal neighbours are one part. */
static code_part *parts_alone(const plan_launch *l, uint32_t n, uint32_t *n_parts, arena *into) {
  code_part *parts = ARENA_ARRAY(into, code_part, n);
  *n_parts = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t *groups = ARENA_ARRAY(into, uint32_t, l[i].loops->n_arguments + 1);
    for (uint32_t k = 0; k < l[i].loops->n_arguments; k++) groups[k] = k;
    if (i && l[i].loops == l[i - 1].loops) parts[*n_parts - 1].times++;
    else parts[(*n_parts)++] = (code_part){l[i].loops, groups, 1};
  }
  return parts;
}

static const char *text_alone(const plan_launch *l, uint32_t n, arena *into, cuda_source *source, const char **error) {
  uint32_t n_parts;
  const code_part *parts = parts_alone(l, n, &n_parts, into);
  return cuda_module_text(parts, n_parts, "kernel", into, source, error);
}

char *launches_cuda_text(const plan_launch *l, uint32_t n, arena *into, const char **error) {
  cuda_source source;
  if (!text_alone(l, n, into, &source, error)) return NULL;
  return arena_printf(into, "// %lld blocks of %u threads, %u bytes of shared memory\n%s", (long long)source.blocks, source.threads, source.shared_bytes, source.text);
}

/* The code is malloc'ed. */
static bool compile_alone(const plan_launch *l, uint32_t n, const nvrtc *with, unsigned capability, nvrtc_form form, arena *into, nvrtc_code *out, const char **error) {
  cuda_source source;
  nvrtc_target target;
  const char *text = text_alone(l, n, into, &source, error);
  if (!text) return false;
  bool good = nvrtc_target_of(with, capability, &target);
  if (!good || (form == NVRTC_CUBIN && target.form == NVRTC_PTX)) {
    *error = arena_printf(into, "NVRTC %d.%d makes no such code for sm_%u", nvrtc_describe(with)->major, nvrtc_describe(with)->minor, capability);
    good = false;
  }
  if (form == NVRTC_PTX && target.form == NVRTC_CUBIN) { /* of sm_90a compute_90a */
    const char *name = arena_printf(into, "compute_%s", target.name + strlen("sm_"));
    memcpy(target.name, name, strlen(name) + 1);
  }
  target.form = form;
  return good && nvrtc_compile(with, text, l->kernel->name, &target, into, out, error);
}

char *launches_ptx_text(const plan_launch *l, uint32_t n, const nvrtc *with, unsigned capability, arena *into, const char **error) {
  nvrtc_code code;
  if (!compile_alone(l, n, with, capability, NVRTC_PTX, into, &code, error)) return NULL;
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

char *launches_sass_text(const plan_launch *l, uint32_t n, const nvrtc *with, unsigned capability, arena *into, const char **error) {
  nvrtc_code code;
  const char *place = getenv("TMPDIR");
  char *path = arena_printf(into, "%s/sslc_XXXXXX", place && *place ? place : "/tmp"), *text = NULL;
  if (!compile_alone(l, n, with, capability, NVRTC_CUBIN, into, &code, error)) return NULL;
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
