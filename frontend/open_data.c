/* The data sets of a program: opened when the front end first asks about them, and used by training and evaluation. */
#include <stdlib.h>

#include "frontend/session.h"

_Static_assert((int)FIELD_IMAGE == (int)DATASET_IMAGE && (int)FIELD_LABEL == (int)DATASET_LABEL && (int)FIELD_TOKENS == (int)DATASET_TOKENS &&
                   (int)FIELD_NUMBERS == (int)DATASET_NUMBERS, "kinds of fields");

dataset *open_data_find(const open_data *d, const data_request *what) {
  for (uint32_t i = 0; i < d->n; i++)
    if (d->items[i].arguments == what->arguments) return d->items[i].data;
  return NULL;
}

static dataset *open_request(open_data *d, const data_request *what, const char **error, arena *a) {
  dataset_argument *arguments = ARENA_ARRAY(a, dataset_argument, what->n_arguments + 1);
  char *failure = NULL;
  for (uint32_t i = 0; i < what->n_arguments; i++) {
    const struct data_argument *x = &what->arguments[i];
    arguments[i] = (dataset_argument){x->name, x->text, x->number, x->list, x->n_list, x->data ? open_data_find(d, x->data) : NULL, x->data ? x->data->split : NULL};
  }
  bool memory = !strcmp(what->source, "memory") && what->n_arguments == 1 && arguments[0].text;
  dataset *data = memory ? dataset_from_arrays(arguments[0].text, d->arrays, d->n_arrays, &failure)
                         : dataset_open(what->source, arguments, what->n_arguments, d->root, &failure);
  if (!data) *error = failure ? arena_string(a, failure) : "out of memory";
  free(failure);
  return data;
}

bool open_data_describe(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  open_data *d = context;
  struct opened *slot = ARENA_PUSH(d->arena, d->items, d->n, d->capacity); /* first: what is opened must have an owner */
  slot->arguments = what->arguments;
  slot->data = open_request(d, what, error, a);
  if (!slot->data) return false;
  const dataset_field *fields = dataset_fields(slot->data, &out->n_fields);
  data_field *described = ARENA_ARRAY(a, data_field, out->n_fields);
  for (uint32_t i = 0; i < out->n_fields; i++) described[i] = (data_field){fields[i].name, (field_kind)fields[i].kind, fields[i].type, fields[i].classes};
  out->fields = described;
  for (uint32_t i = 0; i < 4 && dataset_split(slot->data, i); i++) {
    out->split[i].name = dataset_split(slot->data, i);
    out->split[i].count = dataset_count(slot->data, out->split[i].name);
  }
  return true;
}

bool open_data_read(void *context, const data_request *what, tensor_type *type, const void **elements, const char **error, arena *a) {
  open_data *d = context;
  dataset *data = open_request(d, what, error, a);
  uint32_t n_fields;
  if (!data) return false;
  const dataset_field *field = dataset_fields(data, &n_fields);
  int64_t count = dataset_count(data, dataset_split(data, 0)), dim[MAX_RANK] = {count}, *index = ARENA_ARRAY(a, int64_t, count + 1);
  for (uint32_t i = 0; i < field->type.rank; i++) dim[i + 1] = field->type.dim[i];
  *type = make_type(field->type.dtype, field->type.rank + 1, dim);
  void *all = arena_alloc(a, (size_t)type_bytes(type) + 1);
  for (int64_t i = 0; i < count; i++) index[i] = i;
  dataset_read(data, dataset_split(data, 0), 0, index, count, all);
  dataset_release(data);
  *elements = all;
  return true;
}

/* -- files of weights ---------------------------------------------------------------------------------------------- */

bool open_data_weights(void *context, const char *path, weights_description *out, const char **error, arena *a) {
  open_data *d = context;
  bool below = *path != '/' && d->root && *d->root;
  const char *full = below ? arena_printf(a, "%s/%s", d->root, path) : path;
  struct opened_file *slot = ARENA_PUSH(d->arena, d->files, d->n_files, d->files_capacity);
  char *failure = NULL;
  *slot = (struct opened_file){path, safetensors_read(full, &failure)};
  if (!slot->holds) {
    *error = failure ? arena_string(a, failure) : "out of memory";
    free(failure);
    return false;
  }
  const stored_tensor *tensors = safetensors_tensors(slot->holds, &out->n);
  stored_weight *weights = ARENA_ARRAY(a, stored_weight, out->n + 1);
  for (uint32_t i = 0; i < out->n; i++) weights[i] = (stored_weight){tensors[i].name, tensors[i].type};
  out->weights = weights;
  out->definitions = safetensors_metadata(slot->holds, "definitions");
  return true;
}

const safetensors *open_data_file(const open_data *d, const char *path) {
  for (uint32_t i = 0; i < d->n_files; i++)
    if (!strcmp(d->files[i].path, path)) return d->files[i].holds;
  return NULL;
}

void open_data_release(open_data *d) {
  for (uint32_t i = 0; i < d->n; i++)
    if (d->items[i].data) dataset_release(d->items[i].data);
  for (uint32_t i = 0; i < d->n_files; i++)
    if (d->files[i].holds) safetensors_free(d->files[i].holds);
  d->n = d->n_files = 0;
}

int32_t data_field_number(const dataset *d, const char *name) {
  uint32_t n;
  const dataset_field *fields = dataset_fields(d, &n);
  for (uint32_t i = 0; i < n; i++)
    if (name ? !strcmp(fields[i].name, name) : fields[i].kind == DATASET_LABEL) return (int32_t)i;
  return -1;
}

feed_list data_feeds(const dataset *d, const experiment_input *inputs, uint32_t n, arena *a) {
  fed_field *items = ARENA_ARRAY(a, fed_field, n + 1);
  for (uint32_t i = 0; i < n; i++) items[i] = (fed_field){inputs[i].name, (uint32_t)data_field_number(d, inputs[i].field)};
  return (feed_list){items, n};
}
