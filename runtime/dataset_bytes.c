/* Text as bytes: windows of a fixed length. The last tenth is held back as the split "test"; windows of
 * one split never reach into the other. */
#include <stdlib.h>

#include "runtime/dataset_source.h"

bool read_bytes(dataset *d, const dataset_call *call) {
  const dataset_argument *file = dataset_find_argument(call, "file", 0);
  if (!file || !file->text) return dataset_fail(call, "bytes wants a file and a window: bytes(\"input.txt\", window: 257)");
  int64_t window, step;
  if (!dataset_integer_argument(call, "window", 1, 257, 1, 1 << 20, &window)) return false;
  /* One byte of overlap: as the next token, each byte is then predicted once. */
  if (!dataset_integer_argument(call, "step", 2, window > 1 ? window - 1 : 1, 1, 1 << 20, &step)) return false;
  size_t length;
  char *path = dataset_path(call, file->text);
  unsigned char *text = path ? dataset_load(d, call, path, &length) : NULL;
  free(path);
  if (!text) return path ? false : dataset_fail(call, "no memory to open %s", file->text);
  int64_t held_back = (int64_t)length / 10, begin[2] = {0, (int64_t)length - held_back}, size[2] = {begin[1], held_back};
  d->fields[0] = (dataset_field){"t", DATASET_TOKENS, make_type(DTYPE_U8, 1, &window), 0};
  d->n_fields = 1;
  for (int i = 0; i < 2; i++) {
    if (size[i] < window) {
      if (i == 1) break; /* too short to hold anything back */
      return dataset_fail(call, "%s has %zu bytes; one window takes %lld", file->text, length, (long long)window);
    }
    dataset_split_data *s = dataset_add_split(d, i ? "test" : "train", (size[i] - window) / step + 1);
    s->column[0].first = text + begin[i];
    s->column[0].stride = (size_t)step;
  }
  return true;
}
