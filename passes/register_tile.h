/* The tile of a contraction that stays in registers: vectors of one operand's axis, against rows of values of the
 * other that are broadcast. Layouts put panels of these widths in one run of memory; schedules walk them. */
#ifndef SSLC_PASSES_REGISTER_TILE_H
#define SSLC_PASSES_REGISTER_TILE_H

#include "ir/target.h"

/* With two vectors a value loaded for either side serves many products, and the panel that feeds the vectors is
 * narrow enough for the caches to deliver it. Panels are this wide or a part of it. */
enum { TILE_VECTORS = 2, WIDEST_PANEL = 32 };

/* Accumulators leave room for the operands. */
int64_t tile_most_rows(const target *t);

/* How many rows of so many: as the registers allow, near it, dividing the extent if any such number does, else
 * wasting least. */
int64_t tile_rows(const target *t, int64_t extent);

#endif
