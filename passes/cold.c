/* Results that are read only when a processor's caches have forgotten them: activations that wait for the backward pass, gradients that
 * wait for the update. Their stores go past the caches (lower_access.c), which saves the read of each line before it is written, and
 * leaves what is in use where it is. Kernels whose launches differ in this become several. */
#include "passes/passes.h"
#include "passes/transfer.h"

enum {
  SMALLEST = 1 << 18,  /* bytes of a result, for which a kernel of its own is worth its compilation */
  FORGOTTEN = 16 << 20 /* bytes that others touch meanwhile: half of a last cache that two threads and more share */
};

static int64_t touched(const plan_launch *l) {
  int64_t bytes = 0;
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) bytes += layout_bytes(&l->kernel->buffers[b].layout, &l->kernel->buffers[b].type);
  return bytes;
}

/* The value of a state is written where the old one was just read. */
static bool is_cold(const plan *p, uint32_t launch, uint32_t argument) {
  const kernel_buffer *out = &p->launches[launch].kernel->buffers[argument];
  const uint32_t buffer = p->launches[launch].buffers[argument];
  int64_t meanwhile = 0;
  if (out->access != ACCESS_OUT || layout_bytes(&out->layout, &out->type) < SMALLEST || !strcmp(p->buffers[buffer].role, "state")) return false;
  for (uint32_t i = launch + 1; i < p->n_launches && meanwhile < FORGOTTEN; i++) {
    const plan_launch *l = &p->launches[i];
    for (uint32_t b = 0; b < l->kernel->n_buffers; b++)
      if (l->buffers[b] == buffer) return false;
    meanwhile += touched(l);
  }
  return meanwhile >= FORGOTTEN;
}

bool pass_cold(plan *p, pass_context *c) {
  made_kernels made = {0};
  for (uint32_t i = 0; i < p->n_launches && !c->target->warps; i++) {
    plan_launch *l = &p->launches[i];
    kernel *marked = NULL;
    for (uint32_t b = 0; b < l->kernel->n_buffers && !l->repeat; b++) {
      if (!is_cold(p, i, b)) continue;
      if (!marked) {
        marked = arena_copy(p->arena, l->kernel, sizeof *marked);
        marked->buffers = arena_copy(p->arena, l->kernel->buffers, l->kernel->n_buffers * sizeof *marked->buffers);
      }
      marked->buffers[b].cold = true;
    }
    if (marked) l->kernel = made_once(&made, marked, c->arena);
  }
  return true;
}
