/* Files that are whole or not there. */
#ifndef SSLC_RUNTIME_WHOLE_FILE_H
#define SSLC_RUNTIME_WHOLE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const void *bytes;
  size_t n;
} file_part;

/* The parts behind each other: to a temporary file beside `path`, to the disk, renamed. On failure the old file stands, and
 * *error (malloc'ed) says which path, what failed and what to do. */
bool whole_file_write(const char *path, const file_part *parts, uint32_t n, char **error);

#endif
