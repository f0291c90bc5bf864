/* A procedural image set that needs no file: one coloured figure of random place, size and tint on a
 * noisy background; its kind is the label. Pixel values are a pure function of the sample's number. */
#include <math.h>

#include "ir/op.h"
#include "runtime/dataset_source.h"

enum { KINDS = 8 };

/* Whether the point (x, y), relative to the figure's centre and radius, belongs to a figure. */
static bool inside(int kind, double x, double y) {
  double r = sqrt(x * x + y * y);
  switch (kind) {
    case 0: return r < 1;                                                /* disc */
    case 1: return fabs(x) < 0.85 && fabs(y) < 0.85;                     /* square */
    case 2: return y < 0.8 && y > 2 * fabs(x) - 0.9;                     /* triangle */
    case 3: return fabs(x) < 1 && fabs(y) < 1 && (fabs(x) < 0.3 || fabs(y) < 0.3); /* cross */
    case 4: return r < 1 && r > 0.6;                                     /* ring */
    case 5: return fabs(x) + fabs(y) < 1;                                /* diamond */
    case 6: return fabs(x) < 1 && fabs(fmod(y + 5, 0.8) - 0.4) < 0.2 && fabs(y) < 1; /* bars */
    default: return r < 1 && x < 0;                                      /* half disc */
  }
}

/* Uniform in [0, 1): draw `site` of element `element` of sample `sample`. */
static double draw(int64_t sample, int64_t site, int64_t element) {
  scalar args[6] = {{.integer = 20201}, {.integer = site}, {.integer = element}, {.integer = sample}, {.integer = 0}, {.integer = 0}};
  return (double)op_evaluate(OP_RANDOM_BITS, DTYPE_U32, DTYPE_U32, args).integer / 4294967296.0;
}

static void paint(int64_t sample, int kind, int64_t size, unsigned char *pixels) {
  double radius = (0.2 + 0.25 * draw(sample, 0, 0)) * (double)size;
  double cx = radius + draw(sample, 0, 1) * ((double)size - 2 * radius), cy = radius + draw(sample, 0, 2) * ((double)size - 2 * radius);
  for (int64_t c = 0; c < 3; c++) {
    double figure = 0.45 + 0.55 * draw(sample, 1, c), ground = 0.4 * draw(sample, 2, c);
    for (int64_t y = 0; y < size; y++)
      for (int64_t x = 0; x < size; x++) {
        double v = inside(kind, ((double)x + 0.5 - cx) / radius, ((double)y + 0.5 - cy) / radius) ? figure : ground;
        v += 0.1 * (draw(sample, 3 + c, y * size + x) - 0.5);
        *pixels++ = (unsigned char)(v < 0 ? 0 : v > 1 ? 255 : v * 255 + 0.5);
      }
  }
}

bool read_shapes(dataset *d, const dataset_call *call) {
  int64_t count, size, classes, first = 0;
  if (!dataset_integer_argument(call, "count", 0, 4096, 1, 1 << 20, &count) ||
      !dataset_integer_argument(call, "size", 1, 32, 4, 512, &size) ||
      !dataset_integer_argument(call, "classes", 2, KINDS, 1, KINDS, &classes))
    return false;
  d->fields[0] = (dataset_field){"img", DATASET_IMAGE, make_type(DTYPE_U8, 3, (int64_t[]){3, size, size}), 0};
  d->fields[1] = (dataset_field){"label", DATASET_LABEL, scalar_type(DTYPE_I32), classes};
  d->n_fields = 2;
  for (int i = 0; i < 2; i++) {
    int64_t n = i ? (count + 3) / 4 : count;
    size_t bytes = (size_t)(3 * size * size);
    unsigned char *pixels = dataset_own(d, call, (size_t)n * bytes), *kinds = dataset_own(d, call, (size_t)n);
    if (!pixels || !kinds) return false;
    for (int64_t k = 0; k < n; k++) {
      kinds[k] = (unsigned char)((first + k) % classes);
      paint(first + k, kinds[k], size, pixels + (size_t)k * bytes);
    }
    dataset_split_data *s = dataset_add_split(d, i ? "test" : "train", n);
    s->column[0].first = pixels;
    s->column[0].stride = bytes;
    if (!dataset_add_labels(d, call, s, 1, kinds, 1, "shapes")) return false;
    first += n;
  }
  return true;
}
