/* NumPy's .npy (format 1 to 3, row-major, little-endian): the first axis counts samples. npy("x.npy", labels: "y.npy"), or
 * several arrays with the names of their fields: npy(img: "a.npy", t: "b.npy"). */
#include <stdlib.h>

#include "runtime/dataset_source.h"

typedef struct {
  tensor_type type; /* the whole array */
  const unsigned char *elements;
} npy_array;

static bool dtype_from_npy(const char *text, dtype *out) {
  static const struct {
    const char *text;
    dtype type;
  } names[] = {{"'|u1'", DTYPE_U8},  {"'|b1'", DTYPE_BOOL}, {"'<i4'", DTYPE_I32}, {"'<u4'", DTYPE_U32},
               {"'<i8'", DTYPE_I64}, {"'<f4'", DTYPE_F32},  {"'<f8'", DTYPE_F64}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strncmp(text, names[i].text, 5)) {
      *out = names[i].type;
      return true;
    }
  return false;
}

/* What follows `key:` in the header, a Python dictionary; NULL when it is not there. */
static const char *find_value(const char *header, const char *key) {
  const char *p = strstr(header, key);
  return p ? p + strlen(key) + strspn(p + strlen(key), ": ") : NULL;
}

static bool parse_header(const char *header, npy_array *out) {
  const char *descr = find_value(header, "'descr'"), *order = find_value(header, "'fortran_order'"),
             *shape = find_value(header, "'shape'");
  dtype element;
  if (!descr || !order || !shape || *shape != '(' || strncmp(order, "False", 5) || !dtype_from_npy(descr, &element)) return false;
  out->type = scalar_type(element);
  for (shape++; *shape && *shape != ')';) {
    char *end;
    long long dim = strtoll(shape, &end, 10);
    if (end == shape || dim < 0 || out->type.rank == MAX_RANK) return false;
    out->type.dim[out->type.rank++] = dim;
    shape = end + strspn(end, ", ");
  }
  return out->type.rank >= 1;
}

static bool load_npy(dataset *d, const dataset_call *call, const char *name, npy_array *out) {
  size_t length, start = 0, header = 0;
  char *path = dataset_path(call, name), text[1024] = {0};
  unsigned char *bytes = path ? dataset_load(d, call, path, &length) : NULL;
  free(path);
  if (!bytes) return path ? false : dataset_fail(call, "no memory to open %s", name);
  if (length >= 12 && !memcmp(bytes, "\x93NUMPY", 6)) {
    start = bytes[6] == 1 ? 10 : 12;
    header = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1) header |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
  }
  bool fits = start && header < sizeof text && header <= length - start;
  if (fits) memcpy(text, bytes + start, header);
  if (!fits || !parse_header(text, out))
    return dataset_fail(call, "%s is no .npy file of u1, b1, i4, u4, i8, f4 or f8 in row-major order", name);
  if (type_bytes(&out->type) <= 0 || (size_t)type_bytes(&out->type) != length - start - header)
    return dataset_fail(call, "%s announces %lld bytes of elements and holds %zu", name, (long long)type_bytes(&out->type),
                        length - start - header);
  /* Behind the header elements may be unaligned; samples are copied byte by byte anyway. */
  out->elements = bytes + start + header;
  return true;
}

static bool add_label_column(dataset *d, const dataset_call *call, dataset_split_data *s, const char *name) {
  npy_array labels;
  if (!load_npy(d, call, name, &labels)) return false;
  if (labels.type.rank != 1 || labels.type.dim[0] != s->count || !dtype_is_integer(labels.type.dtype))
    return dataset_fail(call, "%s should hold %lld whole numbers, one label a sample", name, (long long)s->count);
  int32_t *column = dataset_own(d, call, (size_t)s->count * sizeof *column), largest = 0;
  if (!column) return false;
  for (int64_t i = 0; i < s->count; i++) {
    unsigned char one[8];
    size_t size = dtype_bytes(labels.type.dtype);
    memcpy(one, labels.elements + (size_t)i * size, size);
    int64_t v = element_load(labels.type.dtype, one, 0).integer;
    if (v < 0 || v > 1000000) return dataset_fail(call, "%s: label %lld of sample %lld is out of range", name, (long long)v, (long long)i);
    column[i] = (int32_t)v;
    if (column[i] > largest) largest = column[i];
  }
  d->fields[d->n_fields] = (dataset_field){"label", DATASET_LABEL, scalar_type(DTYPE_I32), largest + 1};
  s->column[d->n_fields].first = (const unsigned char *)column;
  s->column[d->n_fields++].stride = sizeof *column;
  return true;
}

/* An array with one element a sample; its kind is what it looks like. */
static bool add_array(dataset *d, const dataset_call *call, const char *name, const char *file) {
  npy_array array;
  if (!load_npy(d, call, file, &array)) return false;
  bool image = array.type.dtype == DTYPE_U8 && array.type.rank == 4, tokens = array.type.rank == 2 && dtype_is_integer(array.type.dtype);
  int64_t count = array.type.dim[0];
  tensor_type sample = make_type(array.type.dtype, array.type.rank - 1, array.type.dim + 1);
  dataset_split_data *s = d->n_splits ? &d->splits[0] : dataset_add_split(d, "train", count);
  if (s->count != count) return dataset_fail(call, "%s has %lld samples, the array before it %lld", file, (long long)count, (long long)s->count);
  if (d->n_fields == MAX_FIELDS) return dataset_fail(call, "npy makes at most %d fields", MAX_FIELDS);
  d->fields[d->n_fields] = (dataset_field){name ? name : image ? "img" : "x", image ? DATASET_IMAGE : tokens && name ? DATASET_TOKENS : DATASET_NUMBERS, sample, 0};
  s->column[d->n_fields].first = array.elements;
  s->column[d->n_fields++].stride = (size_t)type_bytes(&sample);
  return true;
}

/* The name lives as long as the data set. */
static const char *own_name(dataset *d, const dataset_call *call, const char *name) {
  char *copy = dataset_own(d, call, strlen(name) + 1);
  return copy ? strcpy(copy, name) : NULL;
}

bool read_npy(dataset *d, const dataset_call *call) {
  const dataset_argument *labels = dataset_find_argument(call, "labels", 1);
  for (uint32_t i = 0; i < call->n_arguments; i++) {
    const dataset_argument *a = &call->arguments[i];
    if (!a->text) return dataset_fail(call, "npy wants names of files, got %g", a->number);
    if (a == labels) continue;
    bool named = *a->name && strcmp(a->name, "file");
    const char *name = named ? own_name(d, call, a->name) : NULL;
    if ((named && !name) || !add_array(d, call, name, a->text)) return false;
  }
  if (!d->n_fields) return dataset_fail(call, "npy wants a file, and labels if there are any: npy(\"x.npy\", labels: \"y.npy\"), or files by the names of fields");
  return !labels || add_label_column(d, call, &d->splits[0], labels->text);
}
