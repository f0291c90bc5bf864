#include "passes/register_tile.h"

int64_t tile_most_rows(const target *t) { return (t->vector_registers >= 32 ? 24 : 12) / TILE_VECTORS; }

int64_t tile_rows(const target *t, int64_t extent) {
  const int64_t most = tile_most_rows(t);
  if (extent <= most) return extent;
  for (int64_t rows = most; 2 * rows > most; rows--)
    if (extent % rows == 0) return rows;
  int64_t best = most, best_rest = 0;
  for (int64_t rows = most; 2 * rows > most; rows--) /* else the one with the largest remainder tile */
    if (extent % rows > best_rest) best = rows, best_rest = extent % rows;
  return best;
}
