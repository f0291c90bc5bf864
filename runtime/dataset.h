/* Data sets as people have them, behind one interface: fields of fixed type, samples by index. */
#ifndef SSLC_RUNTIME_DATASET_H
#define SSLC_RUNTIME_DATASET_H

#include "ir/type.h"

typedef struct dataset dataset;

typedef struct {
  const char *name; /* "img", "label", "text" */
  enum { DATASET_IMAGE, DATASET_LABEL, DATASET_TOKENS, DATASET_NUMBERS } kind;
  tensor_type type; /* of one sample */
  int64_t classes;  /* of a label */
} dataset_field;

typedef struct {
  const char *name;  /* "" for a positional argument */
  const char *text;  /* or NULL */
  double number;
  const double *list; /* n_list numbers, or NULL */
  uint32_t n_list;
  dataset *data;      /* or NULL; a split of it, "" for all */
  const char *split;
} dataset_argument;

/* Opens a source: cifar10(dir), cifar100(dir), idx(images, labels) or idx(dir) (MNIST names, plain or
 * .gz), npy(file[, labels file]), bytes(file, window: n), shapes(count: n, size: s, classes: k) (procedural).
 * Of other data: subset(d, fraction: x), split(d, x, y, ...), few_shot(d, way: n, shot: k) (tasks as samples).
 * Relative paths are taken from `root`. NULL and *error (malloc'ed: path, what was expected, found,
 * what to do) on failure. */
dataset *dataset_open(const char *source, const dataset_argument *arguments, uint32_t n, const char *root, char **error);

/* One field of one split as an array that the caller keeps. */
typedef struct {
  const char *data, *split, *field;
  tensor_type type; /* of one sample; u8 [C,H,W] is an image */
  int64_t count, classes; /* classes: of a label, else 0 */
  const void *values;
} dataset_array;
/* The data set that the arrays with that name in `data` make; its training split is the first. */
dataset *dataset_from_arrays(const char *data, const dataset_array *arrays, uint32_t n, char **error);

dataset *dataset_retain(dataset *d);
void dataset_release(dataset *d);
const dataset_field *dataset_fields(const dataset *d, uint32_t *n);
/* Number of samples in a split; -1 when there is no such split. */
int64_t dataset_count(const dataset *d, const char *split);
/* Names of splits, NULL past the last. */
const char *dataset_split(const dataset *d, uint32_t i);
/* Copies field `field` of the n samples at `index` behind each other. Thread-safe. */
void dataset_read(const dataset *d, const char *split, uint32_t field, const int64_t *index, int64_t n, void *out);

#endif
