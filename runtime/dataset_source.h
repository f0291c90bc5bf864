/* What a reader of one data format gives: fields, and for each split and field an array of samples in
 * memory. A sample is `stride` bytes behind the one before, so that records with several fields and
 * overlapping windows need no copy. */
#ifndef SSLC_RUNTIME_DATASET_SOURCE_H
#define SSLC_RUNTIME_DATASET_SOURCE_H

#include <stdio.h>

#include "runtime/dataset.h"

enum { MAX_FIELDS = 4, MAX_SPLITS = 3, MAX_OWNED = 64 };

/* One sample of a column that is made when it is read first; from several threads at once. */
typedef void column_reader(void *recipe, int64_t sample, void *out);

typedef struct {
  const char *name;
  int64_t count;
  const int64_t *index; /* which sample of the columns each one is; NULL: the one of its own number */
  struct {
    const unsigned char *first;
    size_t stride;
    column_reader *read; /* in place of memory; or NULL */
    void *recipe;        /* for `read`; owned */
  } column[MAX_FIELDS];
} dataset_split_data;

/* One sample of a split that is made each time it is read. */
typedef void dataset_maker(const dataset *d, uint32_t split, uint32_t field, int64_t sample, void *out);

struct dataset {
  _Atomic int references;
  dataset *base;       /* whose memory the columns are in, retained; or NULL */
  dataset_maker *make; /* in place of columns; or NULL */
  const void *recipe;  /* for `make`; owned */
  dataset_field fields[MAX_FIELDS];
  uint32_t n_fields;
  dataset_split_data splits[MAX_SPLITS];
  uint32_t n_splits;
  void *owned[MAX_OWNED]; /* freed with the data set */
  uint32_t n_owned;
};

/* What a reader gets to see of the call. */
typedef struct {
  const char *source;
  const dataset_argument *arguments;
  uint32_t n_arguments;
  const char *root;
  char **error;
} dataset_call;

/* One row a source in dataset.c. True when `d` is complete; else *call->error is set. */
typedef bool dataset_reader(dataset *d, const dataset_call *call);
dataset_reader read_cifar10, read_cifar100, read_idx, read_npy, read_bytes, read_shapes, read_subset, read_parts, read_few_shot;

/* Sets *call->error and is false, to be returned. */
bool dataset_fail(const dataset_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Memory that dies with the data set; NULL after setting the error when there is none. */
void *dataset_own(dataset *d, const dataset_call *call, size_t bytes);
/* The argument of that name, or the position-th one without a name; NULL when absent. */
const dataset_argument *dataset_find_argument(const dataset_call *call, const char *name, uint32_t position);
/* A whole number argument within [low, high], or `otherwise` when absent; false after setting the error. */
bool dataset_integer_argument(const dataset_call *call, const char *name, uint32_t position, int64_t otherwise,
                              int64_t low, int64_t high, int64_t *out);
/* The same for a number within (above, most]. */
bool dataset_real_argument(const dataset_call *call, const char *name, uint32_t position, double otherwise, double above, double most,
                           double *out);
/* The data set that is the first argument, and its split of that name, or `otherwise` (NULL: the first) when it names none;
 * false after setting the error. */
bool dataset_data_argument(const dataset_call *call, dataset **data, const char **split);
/* NULL when there is none of that name. */
const dataset_split_data *dataset_find_split(const dataset *d, const char *name);
/* The number of the field of labels; -1 when there is none. */
int32_t dataset_label_field(const dataset *d);
/* `path` below the root unless it is absolute; malloc'ed. */
char *dataset_path(const dataset_call *call, const char *path);
/* A whole file (through zlib when it is gzip'ed), owned by the data set; NULL after setting the error. */
unsigned char *dataset_load(dataset *d, const dataset_call *call, const char *path, size_t *length);
/* Adds a split with no columns yet. */
dataset_split_data *dataset_add_split(dataset *d, const char *name, int64_t count);
/* An i32 label column from single bytes `stride` apart; false (error set) when one is not below classes. */
bool dataset_add_labels(dataset *d, const dataset_call *call, dataset_split_data *split, uint32_t field,
                        const unsigned char *first, size_t stride, const char *path);

#endif
