/* IDX, the format of MNIST (LeCun, Cortes, Burges): a big-endian magic number 0x00000800 + rank, the
 * dimensions, then bytes. Plain or gzip'ed. */
#include <stdlib.h>
#include <unistd.h>

#include "runtime/dataset_source.h"

static uint32_t big_endian(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* The bytes behind the header, after checking it against the file's length. */
static const unsigned char *read_array(dataset *d, const dataset_call *call, const char *path, uint32_t rank, int64_t dim[3]) {
  size_t length, header = 4 + 4 * (size_t)rank;
  const unsigned char *bytes = dataset_load(d, call, path, &length);
  if (!bytes) return NULL;
  if (length < header || big_endian(bytes) != 0x800 + rank) {
    dataset_fail(call, "%s is no IDX file of bytes with %u dimensions", path, rank);
    return NULL;
  }
  uint64_t expected = 1;
  for (uint32_t i = 0; i < rank; i++) {
    dim[i] = big_endian(bytes + 4 + 4 * i);
    if (__builtin_mul_overflow(expected, (uint64_t)dim[i], &expected)) expected = UINT64_MAX;
  }
  if (expected == 0 || expected != length - header) {
    dataset_fail(call, "%s announces %llu elements and holds %zu", path, (unsigned long long)expected, length - header);
    return NULL;
  }
  return bytes + header;
}

static bool read_pair(dataset *d, const dataset_call *call, const char *split, const char *images, const char *labels) {
  int64_t dim[3], count[3];
  const unsigned char *pixels = read_array(d, call, images, 3, dim);
  if (!pixels) return false;
  tensor_type type = make_type(DTYPE_U8, 3, (int64_t[]){1, dim[1], dim[2]});
  if (d->n_splits && !type_equal(&type, &d->fields[0].type))
    return dataset_fail(call, "%s has images of %lldx%lld, the training images are %lldx%lld", images, (long long)dim[1],
                        (long long)dim[2], (long long)d->fields[0].type.dim[1], (long long)d->fields[0].type.dim[2]);
  d->fields[0] = (dataset_field){"img", DATASET_IMAGE, type, 0};
  d->n_fields = 1;
  dataset_split_data *s = dataset_add_split(d, split, dim[0]);
  s->column[0].first = pixels;
  s->column[0].stride = (size_t)(dim[1] * dim[2]);
  if (!labels) return true;
  const unsigned char *label = read_array(d, call, labels, 1, count);
  if (!label) return false;
  if (count[0] != dim[0])
    return dataset_fail(call, "%s has %lld labels for the %lld images of %s", labels, (long long)count[0], (long long)dim[0], images);
  d->n_fields = 2;
  int64_t classes = d->n_splits > 1 ? d->fields[1].classes : 0;
  for (int64_t i = 0; i < count[0]; i++)
    if (label[i] >= classes) classes = label[i] + 1;
  d->fields[1] = (dataset_field){"label", DATASET_LABEL, scalar_type(DTYPE_I32), classes};
  return dataset_add_labels(d, call, s, 1, label, 1, labels);
}

/* folder/NAME or folder/NAME.gz, whichever is there; malloc'ed, NULL when neither is. */
static char *find_file(const char *folder, const char *name) {
  size_t n = strlen(folder) + strlen(name) + 5;
  char *path = malloc(n);
  for (int packed = 0; path && packed < 2; packed++) {
    snprintf(path, n, "%s/%s%s", folder, name, packed ? ".gz" : "");
    if (!access(path, R_OK)) return path;
  }
  free(path);
  return NULL;
}

static bool read_folder(dataset *d, const dataset_call *call, const char *folder) {
  static const char *const names[2][3] = {{"train", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
                                          {"test", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}};
  for (int i = 0; i < 2; i++) {
    char *images = find_file(folder, names[i][1]), *labels = find_file(folder, names[i][2]);
    bool good = images ? read_pair(d, call, names[i][0], images, labels)
                       : dataset_fail(call, "%s has no %s and no %s.gz", folder, names[i][1], names[i][1]);
    free(images);
    free(labels);
    if (!good) return false;
  }
  return true;
}

bool read_idx(dataset *d, const dataset_call *call) {
  const dataset_argument *first = dataset_find_argument(call, "images", 0), *second = dataset_find_argument(call, "labels", 1);
  if (!first || !first->text || (second && !second->text))
    return dataset_fail(call, "idx wants a folder with MNIST's file names, idx(\"data/mnist\"), or two files, idx(\"images\", \"labels\")");
  char *path = dataset_path(call, first->text), *labels = second ? dataset_path(call, second->text) : NULL;
  bool good = path && (labels || !second);
  if (!good) dataset_fail(call, "no memory to open %s", first->text);
  size_t n = good ? strlen(path) : 0;
  bool file = good && (second || (n > 3 && !strcmp(path + n - 3, ".gz")) || (n > 6 && !strcmp(path + n - 6, "-ubyte")));
  good = good && (file ? read_pair(d, call, "train", path, labels) : read_folder(d, call, path));
  free(path);
  free(labels);
  return good;
}
