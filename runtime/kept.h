/* A split of a data set as a device with memory of its own holds it: all rows of a field, from which it gathers batches itself. */
#ifndef SSLC_RUNTIME_KEPT_H
#define SSLC_RUNTIME_KEPT_H

#include "runtime/dataset.h"
#include "runtime/device.h"

typedef struct {
  void *rows; /* on the device */
  int64_t row_bytes, bytes;
} kept_field;

/* False where it would take more than `most` bytes, rows are no whole words, or the device has no room or no way to gather; that is no error. */
bool keep_field(device *store, dataset *data, const char *split, uint32_t field, int64_t most, kept_field *out);
void kept_release(device *store, kept_field *kept);

#endif
