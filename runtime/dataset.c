/* The table of sources, and what they share. */
#include "runtime/dataset_source.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "runtime/failure.h"

enum { MAX_ARGUMENTS = 8 };
#define ANY_NAME "*" /* further arguments have names that the caller chooses */

static const struct {
  const char *name;
  dataset_reader *read;
  const char *arguments[MAX_ARGUMENTS]; /* by position; "..." takes more numbers */
} source_table[] = {
    {"cifar10", read_cifar10, {"folder"}},
    {"cifar100", read_cifar100, {"folder"}},
    {"idx", read_idx, {"images", "labels"}},
    {"npy", read_npy, {"file", "labels", ANY_NAME}},
    {"bytes", read_bytes, {"file", "window", "step"}},
    {"shapes", read_shapes, {"count", "size", "classes"}},
    {"subset", read_subset, {"data", "fraction", "by", "seed"}},
    {"split", read_parts, {"data", "...", "by", "seed", "shuffle"}},
    {"few_shot", read_few_shot, {"data", "way", "shot", "queries", "held_out", "tasks", "test_tasks", "seed"}},
};
enum { N_SOURCES = sizeof source_table / sizeof *source_table };

/* Whether the source takes each argument of the call. */
static bool check_arguments(const dataset_call *call, const char *const *known) {
  uint32_t positional = 0, most = 0;
  bool open = false;
  char list[100] = "";
  for (; most < MAX_ARGUMENTS && known[most]; most++) {
    open |= !strcmp(known[most], "...");
    snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", most ? ", " : "", known[most]);
  }
  for (uint32_t i = 0; i < call->n_arguments; i++) {
    const char *name = call->arguments[i].name;
    uint32_t at = 0;
    while (*name && at < most && strcmp(known[at], name) && strcmp(known[at], ANY_NAME)) at++;
    if (*name ? at < most : positional++ < most || open) continue;
    if (*name) return dataset_fail(call, "%s has no argument %s: %s(%s)", call->source, name, call->source, list);
    return dataset_fail(call, "too many arguments: %s(%s)", call->source, list);
  }
  return true;
}

dataset *dataset_open(const char *source, const dataset_argument *arguments, uint32_t n, const char *root, char **error) {
  *error = NULL;
  dataset_call call = {source, arguments, n, root ? root : "", error};
  for (uint32_t i = 0; i < N_SOURCES; i++) {
    if (strcmp(source_table[i].name, source)) continue;
    dataset *d = calloc(1, sizeof *d);
    if (!d) {
      dataset_fail(&call, "no memory for a data set");
      return NULL;
    }
    d->references = 1;
    if (check_arguments(&call, source_table[i].arguments) && source_table[i].read(d, &call)) return d;
    dataset_release(d);
    return NULL;
  }
  char list[200] = "";
  for (uint32_t i = 0; i < N_SOURCES; i++)
    snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i == 0 ? "" : i + 1 == N_SOURCES ? " and " : ", ", source_table[i].name);
  dataset_fail(&call, "there is no data source %s; there are %s", source, list);
  return NULL;
}

dataset *dataset_retain(dataset *d) {
  d->references++;
  return d;
}

void dataset_release(dataset *d) {
  if (!d || --d->references > 0) return;
  for (uint32_t i = 0; i < d->n_owned; i++) free(d->owned[i]);
  dataset_release(d->base);
  free(d);
}

const dataset_field *dataset_fields(const dataset *d, uint32_t *n) {
  *n = d->n_fields;
  return d->fields;
}

const dataset_split_data *dataset_find_split(const dataset *d, const char *name) {
  for (uint32_t i = 0; i < d->n_splits; i++)
    if (!strcmp(d->splits[i].name, name)) return &d->splits[i];
  return NULL;
}

int64_t dataset_count(const dataset *d, const char *split) {
  const dataset_split_data *s = dataset_find_split(d, split);
  return s ? s->count : -1;
}

const char *dataset_split(const dataset *d, uint32_t i) { return i < d->n_splits ? d->splits[i].name : NULL; }

void dataset_read(const dataset *d, const char *split, uint32_t field, const int64_t *index, int64_t n, void *out) {
  const dataset_split_data *s = dataset_find_split(d, split);
  if (!s || field >= d->n_fields) return;
  size_t bytes = (size_t)type_bytes(&d->fields[field].type);
  unsigned char *to = out;
  for (int64_t i = 0; i < n; i++, to += bytes) {
    int64_t sample = s->index ? s->index[index[i]] : index[i];
    if (d->make) d->make(d, (uint32_t)(s - d->splits), field, sample, to);
    else if (s->column[field].read) s->column[field].read(s->column[field].recipe, sample, to);
    else memcpy(to, s->column[field].first + (size_t)sample * s->column[field].stride, bytes);
  }
}

/* -- for the readers -------------------------------------------------------------------------------------- */

bool dataset_fail(const dataset_call *call, const char *format, ...) {
  va_list list;
  va_start(list, format);
  failure_list(call->error, format, list);
  va_end(list);
  return false;
}

void *dataset_own(dataset *d, const dataset_call *call, size_t bytes) {
  void *p = d->n_owned < MAX_OWNED ? malloc(bytes ? bytes : 1) : NULL;
  if (p) d->owned[d->n_owned++] = p;
  else dataset_fail(call, "no memory for %zu bytes of data", bytes);
  return p;
}

const dataset_argument *dataset_find_argument(const dataset_call *call, const char *name, uint32_t position) {
  uint32_t at = 0;
  for (uint32_t i = 0; i < call->n_arguments; i++) {
    const dataset_argument *a = &call->arguments[i];
    if (*a->name ? !strcmp(a->name, name) : at++ == position) return a;
  }
  return NULL;
}

bool dataset_integer_argument(const dataset_call *call, const char *name, uint32_t position, int64_t otherwise,
                              int64_t low, int64_t high, int64_t *out) {
  const dataset_argument *a = dataset_find_argument(call, name, position);
  *out = otherwise;
  if (!a) return true;
  if (a->text || !(a->number >= (double)low && a->number <= (double)high) || a->number != (double)(int64_t)a->number)
    return dataset_fail(call, "%s(%s: ...) wants a whole number from %lld to %lld", call->source, name, (long long)low,
                        (long long)high);
  *out = (int64_t)a->number;
  return true;
}

bool dataset_real_argument(const dataset_call *call, const char *name, uint32_t position, double otherwise, double above, double most,
                           double *out) {
  const dataset_argument *a = dataset_find_argument(call, name, position);
  *out = a ? a->number : otherwise;
  if (!a || (!a->text && !a->list && !a->data && *out > above && *out <= most)) return true;
  return dataset_fail(call, "%s(%s: ...) wants a number above %g, at most %g", call->source, name, above, most);
}

bool dataset_data_argument(const dataset_call *call, dataset **data, const char **split) {
  const dataset_argument *a = dataset_find_argument(call, "data", 0);
  if (!a || !a->data) return dataset_fail(call, "%s wants a data set first: %s(cifar.train, ...)", call->source, call->source);
  *data = a->data;
  if (*a->split) *split = a->split;
  else if (!*split) *split = a->data->splits[0].name;
  return true;
}

int32_t dataset_label_field(const dataset *d) {
  for (uint32_t i = 0; i < d->n_fields; i++)
    if (d->fields[i].kind == DATASET_LABEL) return (int32_t)i;
  return -1;
}

char *dataset_path(const dataset_call *call, const char *path) {
  bool below = path[0] != '/' && *call->root;
  size_t n = strlen(call->root) + strlen(path) + 2;
  char *full = malloc(n);
  if (full) snprintf(full, n, "%s%s%s", below ? call->root : "", below ? "/" : "", path);
  return full;
}

unsigned char *dataset_load(dataset *d, const dataset_call *call, const char *path, size_t *length) {
  gzFile f = gzopen(path, "rb");
  if (!f) {
    dataset_fail(call, "cannot open %s: %s", path, errno ? strerror(errno) : "no memory");
    return NULL;
  }
  size_t capacity = 1 << 20, n = 0;
  unsigned char *bytes = malloc(capacity);
  int got = 0;
  while (bytes && (got = gzread(f, bytes + n, (unsigned)(capacity - n < 1u << 30 ? capacity - n : 1u << 30))) > 0) {
    n += (size_t)got;
    if (n < capacity) continue;
    unsigned char *larger = realloc(bytes, capacity *= 2);
    if (!larger) free(bytes);
    bytes = larger;
  }
  int status = Z_OK;
  const char *message = gzerror(f, &status);
  bool broken = got < 0 || (status != Z_OK && status != Z_STREAM_END);
  if (!bytes) dataset_fail(call, "no memory to read %s", path);
  else if (broken || d->n_owned == MAX_OWNED)
    dataset_fail(call, "cannot read %s: %s", path, broken ? status == Z_BUF_ERROR ? "the file is cut short" : message : "too many files");
  bool good = bytes && !broken && d->n_owned < MAX_OWNED;
  gzclose(f);
  if (!good) {
    free(bytes);
    return NULL;
  }
  d->owned[d->n_owned++] = bytes;
  *length = n;
  return bytes;
}

dataset_split_data *dataset_add_split(dataset *d, const char *name, int64_t count) {
  dataset_split_data *s = &d->splits[d->n_splits++];
  *s = (dataset_split_data){.name = name, .count = count};
  return s;
}

bool dataset_add_labels(dataset *d, const dataset_call *call, dataset_split_data *split, uint32_t field,
                        const unsigned char *first, size_t stride, const char *path) {
  int32_t *labels = dataset_own(d, call, (size_t)split->count * sizeof *labels);
  if (!labels) return false;
  for (int64_t i = 0; i < split->count; i++) {
    labels[i] = first[(size_t)i * stride];
    if (labels[i] >= d->fields[field].classes)
      return dataset_fail(call, "%s: the label of sample %lld is %d, but there are %lld classes", path, (long long)i, labels[i],
                          (long long)d->fields[field].classes);
  }
  split->column[field].first = (const unsigned char *)labels;
  split->column[field].stride = sizeof *labels;
  return true;
}
