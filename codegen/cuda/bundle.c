/* A kernel that does the work of several: a function for each of their loops, and blocks of the grid divided among them. */
#include "codegen/cuda/writer.h"

static uint32_t arguments_of(const code_part *parts, uint32_t n) {
  uint32_t all = 0;
  for (uint32_t i = 0; i < n; i++) all += parts[i].times * parts[i].loops->n_arguments;
  return all;
}

/* The blocks of one part: as many for each time, with the pointers from `first` on. */
static void write_calls(text_buffer *out, const code_part *p, const char *symbol, int64_t blocks, uint32_t first) {
  const uint32_t n = p->loops->n_arguments;
  text_add(out, "  if (block < %lldu) {\n    const u32 at = %uu + block / %lldu * %uu;\n    %s(block %% %lldu", (long long)(blocks * p->times), first, (long long)blocks, n, symbol, (long long)blocks);
  for (uint32_t i = 0; i < n; i++) text_add(out, ", (%s%s *)all.at[at + %u]", p->loops->buffers[i].written ? "" : "const ", memory_type(p->loops->buffers[i].type), i);
  text_add(out, ");\n    return;\n  }\n  block -= %lldu;\n", (long long)(blocks * p->times));
}

static bool write_bundle(const code_part *parts, uint32_t n, const char *symbol, bool checked, arena *into, cuda_source *out, const char **error) {
  text_buffer text = {.arena = into}, calls = {.arena = into};
  *out = (cuda_source){.pointers = arguments_of(parts, n)};
  for (uint32_t i = 0, first = 0; i < n; first += parts[i].times * parts[i].loops->n_arguments, i++) {
    const char *name = arena_printf(into, "%s_%u", symbol, i);
    const source_options options = {.symbol = name, .groups = parts[i].groups, .checked = checked, .part = true};
    cuda_source part;
    if (!cuda_source_of(parts[i].loops, &options, into, &part, error)) return false;
    if (i && part.threads != out->threads) return *error = arena_printf(into, "kernels with blocks of %u and %u threads in one launch", out->threads, part.threads), false;
    if (i) text_add(&text, "#line 1 \"%s\"\n", parts[i].loops->name);
    text_add(&text, "%s", part.text);
    write_calls(&calls, &parts[i], name, part.blocks, first);
    out->threads = part.threads;
    out->blocks += parts[i].times * part.blocks;
    out->synchronises |= part.synchronises;
    if (part.shared_bytes > out->shared_bytes) out->shared_bytes = part.shared_bytes;
  }
  if (out->blocks > INT32_MAX) return *error = arena_printf(into, "%lld blocks in one launch", (long long)out->blocks), false;
  out->text = arena_printf(into,
                           "%stypedef struct {\n  void *at[%u];\n} %s_pointers;\nKERNEL void LAUNCHED_BY(%u) %s(PARAMETER %s_pointers all) {\n  u32 block = (u32)blockIdx.x;\n%s}\n",
                           text_done(&text), out->pointers, symbol, out->threads, symbol, symbol, text_done(&calls));
  return true;
}

bool cuda_kernel_of(const code_part *parts, uint32_t n, const char *symbol, bool checked, arena *into, cuda_source *out, const char **error) {
  const source_options alone = {.symbol = symbol, .groups = parts->groups, .checked = checked};
  if (n > 1 || parts->times > 1) return write_bundle(parts, n, symbol, checked, into, out, error);
  return cuda_source_of(parts->loops, &alone, into, out, error);
}
