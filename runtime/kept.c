#include "runtime/kept.h"

#include <stdlib.h>

enum { PART_BYTES = 8 << 20, WORD = 4 };

static bool copy_rows(device *store, dataset *data, const char *split, uint32_t field, int64_t samples, const kept_field *to) {
  const int64_t each = to->row_bytes < PART_BYTES ? PART_BYTES / to->row_bytes : 1;
  int64_t *index = malloc((size_t)each * sizeof *index);
  char *part = malloc((size_t)(each * to->row_bytes));
  for (int64_t at = 0; index && part && at < samples; at += each) {
    const int64_t n = samples - at < each ? samples - at : each;
    for (int64_t i = 0; i < n; i++) index[i] = at + i;
    dataset_read(data, split, field, index, n, part);
    store->write(store, (char *)to->rows + at * to->row_bytes, part, n * to->row_bytes);
  }
  const bool good = index && part;
  free(index);
  free(part);
  store->wait(store);
  return good && !store->failure(store);
}

bool keep_field(device *store, dataset *data, const char *split, uint32_t field, int64_t most, kept_field *out) {
  uint32_t n_fields;
  const int64_t samples = dataset_count(data, split), row = type_bytes(&dataset_fields(data, &n_fields)[field].type);
  if (!store || !store->gather || samples < 1 || samples > INT32_MAX || row % WORD || row / WORD > INT32_MAX || row > most / samples) return false;
  *out = (kept_field){.row_bytes = row, .bytes = samples * row};
  out->rows = store->allocate(store, out->bytes);
  if (out->rows && copy_rows(store, data, split, field, samples, out)) return true;
  kept_release(store, out);
  return false;
}

void kept_release(device *store, kept_field *kept) {
  if (kept->rows) store->release(store, kept->rows, kept->bytes);
  kept->rows = NULL;
}
