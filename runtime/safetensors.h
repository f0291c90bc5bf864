/* The safetensors file format (huggingface.co/docs/safetensors): an 8-byte little-endian length, that many
 * bytes of JSON, then the tensors' bytes. Any language reads it and reading runs no code. */
#ifndef SSLC_RUNTIME_SAFETENSORS_H
#define SSLC_RUNTIME_SAFETENSORS_H

#include "ir/type.h"

typedef struct {
  const char *name;
  tensor_type type;
  const void *data; /* row-major */
} stored_tensor;

typedef struct {
  const char *key, *value;
} stored_text;

/* Writes a file that is either whole or not there: to a temporary file beside `path`, to the disk, renamed.
 * Equal arguments give equal bytes; order is as given. On failure the old file stands, and *error
 * (malloc'ed) says which path, what failed and what to do. */
bool safetensors_write(const char *path, const stored_tensor *tensors, uint32_t n_tensors, const stored_text *metadata,
                       uint32_t n_metadata, char **error);

typedef struct safetensors safetensors;

/* Reads and checks a whole file. NULL and *error (malloc'ed) when anything is wrong with it. */
safetensors *safetensors_read(const char *path, char **error);
void safetensors_free(safetensors *s);
/* In the order of the file. Names, types and data (aligned to 8 bytes at least) live as long as the handle. */
const stored_tensor *safetensors_tensors(const safetensors *s, uint32_t *n);
/* NULL when there is none of that name. */
const stored_tensor *safetensors_find(const safetensors *s, const char *name);
const char *safetensors_metadata(const safetensors *s, const char *key);

#endif
