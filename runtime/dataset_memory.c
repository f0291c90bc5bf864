/* Data that the caller holds as arrays: memory("name") of a program that is embedded. Nothing is copied but names. */
#include <stdlib.h>

#include "runtime/dataset_source.h"

/* The name with the data set's lifetime. */
static const char *own_name(dataset *d, const dataset_call *call, const char *name) {
  char *copy = dataset_own(d, call, strlen(name) + 1);
  return copy ? strcpy(copy, name) : NULL;
}

static int32_t find_field(const dataset *d, const char *name) {
  for (uint32_t i = 0; i < d->n_fields; i++)
    if (!strcmp(d->fields[i].name, name)) return (int32_t)i;
  return -1;
}

static dataset_split_data *find_split(dataset *d, const char *name) {
  for (uint32_t i = 0; i < d->n_splits; i++)
    if (!strcmp(d->splits[i].name, name)) return &d->splits[i];
  return NULL;
}

static bool check_array(const dataset_array *x, const dataset_call *call) {
  if (x->count < 1 || type_bytes(&x->type) < 1) return dataset_fail(call, "the array %s of %s holds nothing", x->field, x->data);
  if (!x->classes) return true;
  if (x->type.dtype != DTYPE_I32 || x->type.rank) return dataset_fail(call, "%s of %s has classes, so a sample is one i32", x->field, x->data);
  for (int64_t i = 0; i < x->count; i++) {
    int32_t label = ((const int32_t *)x->values)[i];
    if (label < 0 || label >= x->classes)
      return dataset_fail(call, "%s of %s: label %lld is %d, but there are %lld classes", x->field, x->data, (long long)i, label, (long long)x->classes);
  }
  return true;
}

static int32_t add_field(dataset *d, const dataset_array *x, const dataset_call *call) {
  if (d->n_fields == MAX_FIELDS) return dataset_fail(call, "%s has more than %d fields", x->data, MAX_FIELDS), -1;
  const char *name = own_name(d, call, x->field);
  bool image = x->type.dtype == DTYPE_U8 && x->type.rank == 3;
  if (!name) return -1;
  d->fields[d->n_fields] = (dataset_field){name, x->classes ? DATASET_LABEL : image ? DATASET_IMAGE : DATASET_NUMBERS, x->type, x->classes};
  return (int32_t)d->n_fields++;
}

static bool add_array(dataset *d, const dataset_array *x, const dataset_call *call) {
  int32_t field = find_field(d, x->field);
  dataset_split_data *split = find_split(d, x->split);
  if (!check_array(x, call) || (field < 0 && (field = add_field(d, x, call)) < 0)) return false;
  if (!split) {
    const char *name = d->n_splits < MAX_SPLITS ? own_name(d, call, x->split) : NULL;
    if (!name) return d->n_splits < MAX_SPLITS ? false : dataset_fail(call, "%s has more than %d splits", x->data, MAX_SPLITS);
    split = dataset_add_split(d, name, x->count);
  }
  if (!type_equal(&d->fields[field].type, &x->type)) return dataset_fail(call, "%s of %s has another type in split %s", x->field, x->data, x->split);
  if (split->count != x->count)
    return dataset_fail(call, "split %s of %s has %lld samples, but %lld of %s", x->split, x->data, (long long)split->count, (long long)x->count, x->field);
  split->column[field].first = x->values;
  split->column[field].stride = (size_t)type_bytes(&x->type);
  return true;
}

/* Every split must have every field. */
static bool is_complete(const dataset *d, const char *data, const dataset_call *call) {
  for (uint32_t s = 0; s < d->n_splits; s++)
    for (uint32_t f = 0; f < d->n_fields; f++)
      if (!d->splits[s].column[f].first) return dataset_fail(call, "split %s of %s lacks field %s", d->splits[s].name, data, d->fields[f].name);
  return d->n_splits || dataset_fail(call, "memory(\"%s\"): the caller gave no array of that name", data);
}

dataset *dataset_from_arrays(const char *data, const dataset_array *arrays, uint32_t n, char **error) {
  *error = NULL;
  dataset_call call = {.source = "memory", .error = error};
  dataset *d = calloc(1, sizeof *d);
  if (!d) return dataset_fail(&call, "no memory for a data set"), NULL;
  d->references = 1;
  bool good = true;
  for (int train = 1; train >= 0; train--) /* the training split comes first */
    for (uint32_t i = 0; good && i < n; i++)
      if (!strcmp(arrays[i].data, data) && (strcmp(arrays[i].split, "train") == 0) == train) good = add_array(d, &arrays[i], &call);
  if (good && is_complete(d, data, &call)) return d;
  dataset_release(d);
  return NULL;
}
