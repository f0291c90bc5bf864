/* What a piece of code is made of. */
#ifndef SSLC_CODEGEN_PART_H
#define SSLC_CODEGEN_PART_H

#include "ir/loops.h"

/* Loops, with which of their arguments may share memory, which the code may rely on; and how often one launch carries them out, on other
 * arguments each time. */
typedef struct {
  const loops *loops;
  const uint32_t *groups; /* per argument: those with equal numbers may share memory, others do not */
  uint32_t times;
} code_part;

#endif
