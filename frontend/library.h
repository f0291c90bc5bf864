/* The standard library: the files of frontend/std, inside the binary. */
#ifndef SSLC_FRONTEND_LIBRARY_H
#define SSLC_FRONTEND_LIBRARY_H

#include <stddef.h>

typedef struct {
  const char *name; /* "std/losses.ssl": what messages call it */
  const char *text; /* with a zero behind it */
  size_t length;
} library_file;

extern const library_file library_files[]; /* name NULL behind the last */

#endif
