/* Copying stages from one kernel into another, where axes, buffers and stages have counterparts or get
 * new ones: what merging, compacting and splitting of kernels have in common; and the kernels so made, each once. */
#ifndef SSLC_PASSES_TRANSFER_H
#define SSLC_PASSES_TRANSFER_H

#include "ir/kernel.h"

typedef struct {
  const kernel *from;
  kernel *into;
  const expr **axes;      /* per axis of `from`: what stands for it; NULL: a new axis when it is first met */
  uint32_t *buffers;      /* per buffer: its number in `into` + 1; 0: added when first met */
  uint32_t *buffer_stage; /* per buffer: the stage of `into` + 1 that is read in its place; 0: none */
  uint32_t *stages;       /* per stage: its number in `into` + 1; 0: its body stands in its place */
} transfer;

transfer transfer_begin(const kernel *from, kernel *into);
const expr *transfer_expr(transfer *t, const expr *e);
/* All axes that stand for these. */
axis_set transfer_axes(transfer *t, axis_set axes);
/* The stage in terms of `into`, not yet added; with its output when `written`. */
stage transfer_stage(transfer *t, uint32_t number, bool written);
/* Adds it, and lets those that come later read it. */
void transfer_add(transfer *t, uint32_t number, stage s);

/* Kernels that a pass has made, each once. */
typedef struct {
  struct made_kernel {
    kernel *kernel;
    const char *text;
  } *items;
  uint32_t n, capacity;
} made_kernels;

/* An earlier one that is equal, or this one, noted in the arena. */
kernel *made_once(made_kernels *made, kernel *k, arena *a);

#endif
