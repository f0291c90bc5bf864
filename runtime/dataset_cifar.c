/* CIFAR-10 and CIFAR-100, binary version (Krizhevsky, 2009): records of one or two label bytes, then
 * 3072 bytes, a 32x32 plane each of red, green and blue. */
#include <glob.h>
#include <stdlib.h>

#include "runtime/dataset_source.h"

enum { PIXELS = 3 * 32 * 32 };

typedef struct {
  size_t label_bytes; /* the last one is the label */
  int64_t classes;
  const char *train, *test; /* patterns of file names */
} cifar_format;

/* All files of a split, one behind the other. */
static bool read_split(dataset *d, const dataset_call *call, const cifar_format *format, const char *folder,
                       const char *split, const char *pattern) {
  size_t record = format->label_bytes + PIXELS, n = strlen(folder) + strlen(pattern) + 2, total = 0;
  char *path = malloc(n);
  if (!path) return dataset_fail(call, "no memory to list %s", folder);
  snprintf(path, n, "%s/%s", folder, pattern);
  glob_t found;
  int status = glob(path, 0, NULL, &found);
  free(path);
  if (status) return dataset_fail(call, "%s has no file %s; unpack the binary version of the data set there", folder, pattern);
  unsigned char *part[MAX_OWNED], *all = NULL;
  size_t length[MAX_OWNED];
  bool good = found.gl_pathc <= 16 || dataset_fail(call, "%s has more than 16 files %s", folder, pattern);
  for (size_t i = 0; good && i < found.gl_pathc; i++) {
    part[i] = dataset_load(d, call, found.gl_pathv[i], &length[i]);
    good = part[i] != NULL;
    if (good && (length[i] == 0 || length[i] % record))
      good = dataset_fail(call, "%s has %zu bytes, which is no whole number of records of %zu: cut short, or not the binary version",
                          found.gl_pathv[i], length[i], record);
    if (good) total += length[i];
  }
  good = good && (all = dataset_own(d, call, total));
  for (size_t i = 0, at = 0; good && i < found.gl_pathc; at += length[i++]) memcpy(all + at, part[i], length[i]);
  if (good) {
    dataset_split_data *s = dataset_add_split(d, split, (int64_t)(total / record));
    s->column[0].first = all + format->label_bytes;
    s->column[0].stride = record;
    good = dataset_add_labels(d, call, s, 1, all + format->label_bytes - 1, record, folder);
  }
  globfree(&found);
  return good;
}

static bool read_cifar(dataset *d, const dataset_call *call, const cifar_format *format) {
  const dataset_argument *where = dataset_find_argument(call, "folder", 0);
  if (!where || !where->text) return dataset_fail(call, "%s wants the folder of the data: %s(\"data/%s\")", call->source, call->source, call->source);
  d->n_fields = 2;
  d->fields[0] = (dataset_field){"img", DATASET_IMAGE, make_type(DTYPE_U8, 3, (int64_t[]){3, 32, 32}), 0};
  d->fields[1] = (dataset_field){"label", DATASET_LABEL, scalar_type(DTYPE_I32), format->classes};
  char *folder = dataset_path(call, where->text);
  if (!folder) return dataset_fail(call, "no memory to open %s", where->text);
  bool good = read_split(d, call, format, folder, "train", format->train) && read_split(d, call, format, folder, "test", format->test);
  free(folder);
  return good;
}

bool read_cifar10(dataset *d, const dataset_call *call) {
  return read_cifar(d, call, &(cifar_format){1, 10, "data_batch_*.bin", "test_batch*.bin"});
}

bool read_cifar100(dataset *d, const dataset_call *call) {
  return read_cifar(d, call, &(cifar_format){2, 100, "train.bin", "test.bin"});
}
