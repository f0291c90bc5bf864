#include "runtime/picture.h"

#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/failure.h"
#include "runtime/whole_file.h"

typedef struct {
  int64_t channels, height, width, columns, rows;
} grid;

static int64_t pixel_columns(const grid *g) { return g->columns * (g->width + 1) - 1; }
static int64_t pixel_rows(const grid *g) { return g->rows * (g->height + 1) - 1; }

static void paint(const grid *g, const float *image, int64_t number, unsigned char *pixels) {
  int64_t top = number / g->columns * (g->height + 1), left = number % g->columns * (g->width + 1);
  for (int64_t c = 0; c < g->channels; c++)
    for (int64_t y = 0; y < g->height; y++)
      for (int64_t x = 0; x < g->width; x++) {
        float v = *image++;
        pixels[((top + y) * pixel_columns(g) + left + x) * g->channels + c] = (unsigned char)(v > 0 ? v < 1 ? v * 255 + 0.5f : 255 : 0);
      }
}

static bool write_png(const char *path, const grid *g, const unsigned char *pixels, char **error) {
  png_image image = {.version = PNG_IMAGE_VERSION, .width = (png_uint_32)pixel_columns(g), .height = (png_uint_32)pixel_rows(g),
                     .format = g->channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
  png_alloc_size_t n = 0;
  if (!png_image_write_to_memory(&image, NULL, &n, 0, pixels, 0, NULL)) return failure(error, "cannot write %s: %s", path, image.message);
  void *bytes = malloc(n);
  bool good = bytes && png_image_write_to_memory(&image, bytes, &n, 0, pixels, 0, NULL);
  if (good) good = whole_file_write(path, &(file_part){bytes, n}, 1, error);
  else failure(error, "cannot write %s: %s", path, bytes ? image.message : "no memory");
  free(bytes);
  return good;
}

bool picture_write_grid(const char *path, const float *images, int64_t n, int64_t channels, int64_t height, int64_t width, int64_t columns, char **error) {
  enum { MOST = 1 << 16 };
  grid g = {channels, height, width, columns > 0 ? columns : (int64_t)ceil(sqrt((double)n)), 0};
  if (g.columns > n) g.columns = n;
  g.rows = (n + g.columns - 1) / g.columns;
  if (pixel_columns(&g) > MOST || pixel_rows(&g) > MOST)
    return failure(error, "cannot write %s: %lld x %lld pixels are too many; ask for fewer images", path, (long long)pixel_columns(&g), (long long)pixel_rows(&g));
  unsigned char *pixels = calloc((size_t)(pixel_columns(&g) * pixel_rows(&g)), (size_t)channels);
  if (!pixels) return failure(error, "no memory to write %s", path);
  for (int64_t i = 0; i < n; i++) paint(&g, images + i * channels * height * width, i, pixels);
  bool good = write_png(path, &g, pixels, error);
  free(pixels);
  return good;
}

bool array_write_npy(const char *path, const tensor_type *type, const void *data, char **error) {
  static const char *const names[DTYPE_COUNT] = {[DTYPE_BOOL] = "|b1", [DTYPE_U8] = "|u1",  [DTYPE_I32] = "<i4", [DTYPE_U32] = "<u4",
                                                 [DTYPE_I64] = "<i8",  [DTYPE_F32] = "<f4", [DTYPE_F64] = "<f8"};
  enum { PREFIX = 10, ALIGNED = 64, HEADER = 256 };
  char header[HEADER] = "\x93NUMPY\x01", *text = header + PREFIX;
  int used = snprintf(text, HEADER - PREFIX, "{'descr': '%s', 'fortran_order': False, 'shape': (", names[type->dtype]);
  for (uint32_t i = 0; i < type->rank; i++) used += snprintf(text + used, (size_t)(HEADER - PREFIX - used), "%lld,%s", (long long)type->dim[i], i + 1 < type->rank ? " " : "");
  used += snprintf(text + used, (size_t)(HEADER - PREFIX - used), "), }");
  int whole = (PREFIX + used + 1 + ALIGNED - 1) / ALIGNED * ALIGNED;
  memset(text + used, ' ', (size_t)(whole - PREFIX - used));
  header[whole - 1] = '\n';
  header[8] = (char)((whole - PREFIX) & 255);
  header[9] = (char)((whole - PREFIX) >> 8);
  return whole_file_write(path, (file_part[]){{header, (size_t)whole}, {data, (size_t)type_bytes(type)}}, 2, error);
}
