/* A procedural image set that needs no file: one coloured figure of random place, size and tint on a
 * noisy background; its kind is the label. Pixel values are a pure function of the sample's number, so a picture is painted when it is
 * first read, and kept. */
#include <math.h>
#include <stdatomic.h>

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

/* Four elements, uniform in [0, 1): from 4 `block` on, of draw `site` of sample `sample`. */
static void draw(int64_t sample, uint32_t site, int64_t block, double out[4]) {
  uint32_t words[4] = {(uint32_t)block, (uint32_t)sample, 0, 0};
  random_words(20201, site, words);
  for (int i = 0; i < 4; i++) out[i] = words[i] / 4294967296.0;
}

static void paint(int64_t sample, int kind, int64_t size, unsigned char *pixels) {
  double place[4], figure[4], ground[4], noise[3][4];
  draw(sample, 0, 0, place);
  draw(sample, 1, 0, figure);
  draw(sample, 2, 0, ground);
  double radius = (0.2 + 0.25 * place[0]) * (double)size;
  double cx = radius + place[1] * ((double)size - 2 * radius), cy = radius + place[2] * ((double)size - 2 * radius);
  for (int64_t i = 0, y = 0; y < size; y++)
    for (int64_t x = 0; x < size; x++, i++) {
      bool in = inside(kind, ((double)x + 0.5 - cx) / radius, ((double)y + 0.5 - cy) / radius);
      for (uint32_t c = 0; c < 3; c++) {
        if (i % 4 == 0) draw(sample, 3 + c, i / 4, noise[c]);
        double v = (in ? 0.45 + 0.55 * figure[c] : 0.4 * ground[c]) + 0.1 * (noise[c][i % 4] - 0.5);
        pixels[c * size * size + i] = (unsigned char)(v < 0 ? 0 : v > 1 ? 255 : v * 255 + 0.5);
      }
    }
}

/* The pictures of a split. */
typedef struct {
  int64_t first, size, classes; /* first: of all samples, those of both splits */
  unsigned char *pixels;
  _Atomic unsigned char *states; /* of each picture */
} gallery;

enum { BLANK, BEGUN, PAINTED };

/* Who comes while another thread paints the picture paints one for himself: nobody waits. */
static void read_picture(void *recipe, int64_t sample, void *out) {
  gallery *g = recipe;
  const size_t bytes = (size_t)(3 * g->size * g->size);
  unsigned char *kept = g->pixels + (size_t)sample * bytes, blank = BLANK;
  const int64_t number = g->first + sample;
  if (atomic_load_explicit(&g->states[sample], memory_order_acquire) != PAINTED) {
    paint(number, (int)(number % g->classes), g->size, out);
    if (!atomic_compare_exchange_strong(&g->states[sample], &blank, BEGUN)) return;
    memcpy(kept, out, bytes);
    atomic_store_explicit(&g->states[sample], PAINTED, memory_order_release);
  } else {
    memcpy(out, kept, bytes);
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
    gallery *g = dataset_own(d, call, sizeof *g);
    unsigned char *kinds = dataset_own(d, call, (size_t)n);
    if (!g || !kinds) return false;
    *g = (gallery){first, size, classes, dataset_own(d, call, (size_t)(n * 3 * size * size)), dataset_own(d, call, (size_t)n)};
    if (!g->pixels || !g->states) return false;
    for (int64_t k = 0; k < n; k++) {
      kinds[k] = (unsigned char)((first + k) % classes);
      atomic_init(&g->states[k], BLANK);
    }
    dataset_split_data *s = dataset_add_split(d, i ? "test" : "train", n);
    s->column[0].read = read_picture;
    s->column[0].recipe = g;
    if (!dataset_add_labels(d, call, s, 1, kinds, 1, "shapes")) return false;
    first += n;
  }
  return true;
}
