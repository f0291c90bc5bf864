/* Pictures and arrays as files that other programs open. */
#ifndef SSLC_RUNTIME_PICTURE_H
#define SSLC_RUNTIME_PICTURE_H

#include "ir/type.h"

/* n images [channels, height, width] behind each other, values in 0..1 (others are cut), as one PNG: `columns` (0: as square as it
 * gets) side by side, a pixel apart. One channel is grey, three are red, green, blue. False and *error (malloc'ed). */
bool picture_write_grid(const char *path, const float *images, int64_t n, int64_t channels, int64_t height, int64_t width, int64_t columns, char **error);
/* A row-major array as NumPy's .npy. */
bool array_write_npy(const char *path, const tensor_type *type, const void *data, char **error);

#endif
