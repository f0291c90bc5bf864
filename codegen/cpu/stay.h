/* Local memory that the straight-line code of a loop reads in every round at the same places: factors that each go to all lanes. LLVM
 * would read them in front of the loop, into more vectors than there are registers, and keep those on the stack, sixteen times as large
 * as what they hold. Where they are they cost nothing: they are operands in memory. */
#ifndef SSLC_CODEGEN_CPU_STAY_H
#define SSLC_CODEGEN_CPU_STAY_H

#include "ir/loops.h"

/* Marks the buffers of which that is so in a loop; whether there are any. */
bool find_staying(const loops *l, const statement *loop, bool *stays);

#endif
