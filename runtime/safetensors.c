/* Data lie in the file by falling element size, so that each tensor starts at a multiple of its own: readers
 * that map the file need no copies. The header has them in the order given. */
#include "runtime/safetensors.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "runtime/failure.h"
#include "runtime/whole_file.h"

enum {
  LENGTH_BYTES = 8,
  MAX_HEADER = 100 << 20, /* what other readers take too */
  TENSOR_ALIGNMENT = 64   /* in memory */
};

static const char *const dtype_in_file[DTYPE_COUNT] = {
    [DTYPE_BOOL] = "BOOL", [DTYPE_U8] = "U8",     [DTYPE_I32] = "I32", [DTYPE_U32] = "U32",
    [DTYPE_I64] = "I64",   [DTYPE_BF16] = "BF16", [DTYPE_F32] = "F32", [DTYPE_F64] = "F64",
};

/* -- the tensors by name --------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b) {
  return strcmp((*(const stored_tensor *const *)a)->name, (*(const stored_tensor *const *)b)->name);
}

/* Pointers to the tensors sorted by name; NULL when memory is short. */
static const stored_tensor **sort_by_name(const stored_tensor *tensors, uint32_t n) {
  const stored_tensor **sorted = malloc((n + 1) * sizeof *sorted);
  for (uint32_t i = 0; sorted && i < n; i++) sorted[i] = &tensors[i];
  if (sorted) qsort(sorted, n, sizeof *sorted, compare_names);
  return sorted;
}

/* The first name that two tensors share, or NULL. */
static const char *find_duplicate(const stored_tensor **sorted, uint32_t n) {
  for (uint32_t i = 1; i < n; i++)
    if (!compare_names(&sorted[i - 1], &sorted[i])) return sorted[i]->name;
  return NULL;
}

/* -- writing --------------------------------------------------------------------------------------------- */

static bool check_names(const stored_tensor *tensors, uint32_t n, const char *path, char **error) {
  const stored_tensor **sorted = sort_by_name(tensors, n);
  if (!sorted) return failure(error, "no memory to write %s", path);
  const char *twice = find_duplicate(sorted, n);
  free(sorted);
  if (twice) return failure(error, "cannot write %s: two tensors are named %s; give each its own name", path, twice);
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(tensors[i].name, "__metadata__"))
      return failure(error, "cannot write %s: a tensor cannot be named __metadata__", path);
  return true;
}

/* Numbers of tensors by falling element size; equal sizes in the order given. */
static uint32_t *order_data(const stored_tensor *tensors, uint32_t n) {
  uint32_t *order = malloc((n + 1) * sizeof *order), filled = 0;
  for (size_t bytes = 8; order && bytes; bytes /= 2)
    for (uint32_t i = 0; i < n; i++)
      if (dtype_bytes(tensors[i].type.dtype) == bytes) order[filled++] = i;
  return order;
}

static bool add_numbers(cJSON *object, const char *key, const int64_t *values, uint32_t n) {
  double numbers[MAX_RANK];
  for (uint32_t i = 0; i < n; i++) numbers[i] = (double)values[i];
  return cJSON_AddItemToObject(object, key, cJSON_CreateDoubleArray(numbers, (int)n));
}

static bool add_tensor(cJSON *header, const stored_tensor *t, int64_t offset) {
  cJSON *entry = cJSON_AddObjectToObject(header, t->name);
  int64_t range[2] = {offset, offset + type_bytes(&t->type)};
  return entry && cJSON_AddStringToObject(entry, "dtype", dtype_in_file[t->type.dtype]) &&
         add_numbers(entry, "shape", t->type.dim, t->type.rank) && add_numbers(entry, "data_offsets", range, 2);
}

/* The header with its length in front, padded by spaces so that data begin at a multiple of 8; malloc'ed,
 * NULL when memory is short. */
static unsigned char *make_header(const stored_tensor *tensors, uint32_t n, const uint32_t *order, const stored_text *metadata,
                                  uint32_t n_metadata, size_t *length) {
  cJSON *header = cJSON_CreateObject();
  int64_t *offsets = malloc((n + 1) * sizeof *offsets), end = 0;
  bool good = header && offsets;
  if (good && n_metadata) {
    cJSON *texts = cJSON_AddObjectToObject(header, "__metadata__");
    for (uint32_t i = 0; i < n_metadata; i++) good = good && cJSON_AddStringToObject(texts, metadata[i].key, metadata[i].value);
  }
  for (uint32_t i = 0; good && i < n; i++) {
    offsets[order[i]] = end;
    end += type_bytes(&tensors[order[i]].type);
  }
  for (uint32_t i = 0; good && i < n; i++) good = add_tensor(header, &tensors[i], offsets[i]);
  char *text = good ? cJSON_PrintUnformatted(header) : NULL;
  cJSON_Delete(header);
  free(offsets);
  size_t used = text ? strlen(text) : 0, padded = (used + 7) / 8 * 8;
  unsigned char *bytes = text ? malloc(LENGTH_BYTES + padded) : NULL;
  if (bytes) {
    for (int i = 0; i < LENGTH_BYTES; i++) bytes[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    memset(bytes + LENGTH_BYTES, ' ', padded);
    memcpy(bytes + LENGTH_BYTES, text, used);
    *length = LENGTH_BYTES + padded;
  }
  free(text);
  return bytes;
}

bool safetensors_write(const char *path, const stored_tensor *tensors, uint32_t n_tensors, const stored_text *metadata,
                       uint32_t n_metadata, char **error) {
  *error = NULL;
  if (!check_names(tensors, n_tensors, path, error)) return false;
  uint32_t *order = order_data(tensors, n_tensors);
  file_part *parts = malloc((n_tensors + 1) * sizeof *parts);
  size_t header_bytes = 0;
  unsigned char *header = order && parts ? make_header(tensors, n_tensors, order, metadata, n_metadata, &header_bytes) : NULL;
  bool good = false;
  if (!header) failure(error, "no memory to write %s", path);
  else if (header_bytes > MAX_HEADER)
    failure(error, "cannot write %s: names and metadata take %zu bytes; %d are allowed", path, header_bytes, MAX_HEADER);
  else {
    parts[0] = (file_part){header, header_bytes};
    for (uint32_t i = 0; i < n_tensors; i++) parts[i + 1] = (file_part){tensors[order[i]].data, (size_t)type_bytes(&tensors[order[i]].type)};
    good = whole_file_write(path, parts, n_tensors + 1, error);
  }
  free(header);
  free(parts);
  free(order);
  return good;
}

/* -- reading --------------------------------------------------------------------------------------------- */

typedef struct {
  int64_t begin, end; /* in the data part of the file */
  uint32_t tensor;
} data_range;

struct safetensors {
  cJSON *header; /* owns names and metadata */
  stored_tensor *tensors;
  uint32_t n;
  const stored_tensor **by_name;
  unsigned char *data;
};

/* A file being read, and where to complain. */
typedef struct {
  const char *path;
  FILE *file;
  int64_t bytes; /* of the whole file */
  char **error;
} reading;

#define REFUSE(r, format, ...) failure((r)->error, "%s is no complete safetensors file: " format, (r)->path, ##__VA_ARGS__)
static const char fetch_again[] = "write or fetch the file again";

static bool read_header(safetensors *s, const reading *r, int64_t *data_start) {
  unsigned char prefix[LENGTH_BYTES];
  if (r->bytes < LENGTH_BYTES || fread(prefix, LENGTH_BYTES, 1, r->file) != 1)
    return REFUSE(r, "it has %lld bytes, too few for the length of a header; %s", (long long)r->bytes, fetch_again);
  uint64_t length = 0;
  for (int i = 0; i < LENGTH_BYTES; i++) length |= (uint64_t)prefix[i] << 8 * i;
  if (length > MAX_HEADER)
    return REFUSE(r, "its first 8 bytes announce a header of %llu bytes; %d are allowed", (unsigned long long)length, MAX_HEADER);
  if ((int64_t)length > r->bytes - LENGTH_BYTES)
    return REFUSE(r, "a header of %llu bytes is announced, %lld bytes follow; %s", (unsigned long long)length,
                  (long long)(r->bytes - LENGTH_BYTES), fetch_again);
  char *text = malloc(length + 1);
  if (!text) return failure(r->error, "no memory to read %s", r->path);
  const char *end = text;
  errno = 0;
  bool whole = fread(text, 1, length, r->file) == length;
  int number = errno;
  text[length] = 0;
  if (whole && *text == '{') s->header = cJSON_ParseWithLengthOpts(text, length, &end, false);
  /* What follows the closing brace may be padding, nothing else. */
  size_t parsed = (size_t)(end - text);
  bool good = s->header && parsed + strspn(end, " \t\r\n") == length;
  free(text);
  *data_start = LENGTH_BYTES + (int64_t)length;
  if (!whole) return failure_of_system(r->error, "read", r->path, number);
  return good || REFUSE(r, "its header is no JSON object from byte %zu on", LENGTH_BYTES + parsed);
}

/* A number of an array as a whole one in [0, 2^53], or -1. */
static int64_t whole_number(const cJSON *item) {
  bool good = cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= 9007199254740992.0 &&
              item->valuedouble == (double)(int64_t)item->valuedouble;
  return good ? (int64_t)item->valuedouble : -1;
}

static bool read_dtype(const reading *r, const cJSON *entry, dtype *out) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
  if (!cJSON_IsString(item)) return REFUSE(r, "tensor %s has no \"dtype\"", entry->string);
  for (dtype t = 0; t < DTYPE_COUNT; t++)
    if (!strcmp(dtype_in_file[t], item->valuestring)) {
      *out = t;
      return true;
    }
  return failure(r->error, "%s: tensor %s has elements of type %s; what can be read is BOOL, U8, I32, U32, I64, BF16, F32 and F64: "
                           "convert it to one of them", r->path, entry->string, item->valuestring);
}

static bool read_shape(const reading *r, const cJSON *entry, tensor_type *type) {
  const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape"), *item;
  if (!cJSON_IsArray(shape)) return REFUSE(r, "tensor %s has no \"shape\"", entry->string);
  type->rank = 0;
  cJSON_ArrayForEach(item, shape) {
    if (type->rank == MAX_RANK) return failure(r->error, "%s: tensor %s has more than %d dimensions", r->path, entry->string, MAX_RANK);
    type->dim[type->rank] = whole_number(item);
    if (type->dim[type->rank++] < 0) return REFUSE(r, "the shape of tensor %s is no list of whole numbers", entry->string);
  }
  return type_bytes(type) >= 0 || REFUSE(r, "the shape of tensor %s is too large", entry->string);
}

static bool read_entry(const reading *r, const cJSON *entry, int64_t data_bytes, stored_tensor *t, data_range *range) {
  t->name = entry->string;
  if (!cJSON_IsObject(entry)) return REFUSE(r, "what it says of tensor %s is no object", entry->string);
  if (!read_dtype(r, entry, &t->type.dtype) || !read_shape(r, entry, &t->type)) return false;
  const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
  if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2) return REFUSE(r, "tensor %s has no two \"data_offsets\"", t->name);
  range->begin = whole_number(offsets->child);
  range->end = whole_number(offsets->child->next);
  if (range->begin < 0 || range->end < range->begin) return REFUSE(r, "the data offsets of tensor %s are no range", t->name);
  if (range->end > data_bytes)
    return REFUSE(r, "tensor %s should end at byte %lld of the data, which have %lld; %s", t->name, (long long)range->end,
                  (long long)data_bytes, fetch_again);
  if (range->end - range->begin != type_bytes(&t->type))
    return REFUSE(r, "tensor %s takes %lld bytes by its shape and %lld by its offsets", t->name, (long long)type_bytes(&t->type),
                  (long long)(range->end - range->begin));
  return true;
}

static bool check_metadata(const reading *r, const cJSON *metadata) {
  const cJSON *item;
  if (!cJSON_IsObject(metadata)) return REFUSE(r, "its __metadata__ is no object");
  cJSON_ArrayForEach(item, metadata) {
    if (!cJSON_IsString(item)) return REFUSE(r, "its __metadata__ has something other than text for %s", item->string);
  }
  return true;
}

static int compare_ranges(const void *a, const void *b) {
  const data_range *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

/* Data must be covered without gaps and overlaps, as the format demands. Sorts the ranges. */
static bool check_coverage(const safetensors *s, const reading *r, data_range *ranges, int64_t data_bytes) {
  qsort(ranges, s->n, sizeof *ranges, compare_ranges);
  int64_t end = 0;
  for (uint32_t i = 0; i < s->n; i++) {
    if (ranges[i].begin != end)
      return REFUSE(r, "tensor %s should begin at byte %lld of the data and begins at %lld", s->tensors[ranges[i].tensor].name,
                    (long long)end, (long long)ranges[i].begin);
    end = ranges[i].end;
  }
  return end == data_bytes || REFUSE(r, "its tensors take %lld bytes and %lld follow the header", (long long)end, (long long)data_bytes);
}

static size_t aligned_size(const data_range *range) {
  return ((size_t)(range->end - range->begin) + TENSOR_ALIGNMENT - 1) / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT;
}

static bool read_data(safetensors *s, const reading *r, const data_range *ranges) {
  size_t total = TENSOR_ALIGNMENT, at = 0;
  for (uint32_t i = 0; i < s->n; i++) total += aligned_size(&ranges[i]);
  s->data = aligned_alloc(TENSOR_ALIGNMENT, total);
  if (!s->data) return failure(r->error, "no memory for the %zu bytes of %s", total, r->path);
  for (uint32_t i = 0; i < s->n; i++) {
    size_t bytes = (size_t)(ranges[i].end - ranges[i].begin);
    s->tensors[ranges[i].tensor].data = s->data + at;
    errno = 0;
    if (fread(s->data + at, 1, bytes, r->file) != bytes) return failure_of_system(r->error, "read", r->path, errno);
    at += aligned_size(&ranges[i]);
  }
  return true;
}

static bool read_tensors(safetensors *s, const reading *r, int64_t data_bytes, data_range *ranges) {
  const cJSON *entry;
  cJSON_ArrayForEach(entry, s->header) {
    if (!strcmp(entry->string, "__metadata__")) {
      if (!check_metadata(r, entry)) return false;
      continue;
    }
    ranges[s->n].tensor = s->n;
    if (!read_entry(r, entry, data_bytes, &s->tensors[s->n], &ranges[s->n])) return false;
    s->n++;
  }
  s->by_name = sort_by_name(s->tensors, s->n);
  if (!s->by_name) return failure(r->error, "no memory to read %s", r->path);
  const char *twice = find_duplicate(s->by_name, s->n);
  if (twice) return REFUSE(r, "two tensors are named %s", twice);
  return check_coverage(s, r, ranges, data_bytes) && read_data(s, r, ranges);
}

static bool read_file(safetensors *s, const reading *r) {
  int64_t data_start = 0;
  if (!read_header(s, r, &data_start)) return false;
  size_t entries = (size_t)cJSON_GetArraySize(s->header) + 1;
  s->tensors = calloc(entries, sizeof *s->tensors);
  data_range *ranges = calloc(entries, sizeof *ranges);
  bool good = s->tensors && ranges ? read_tensors(s, r, r->bytes - data_start, ranges) : failure(r->error, "no memory to read %s", r->path);
  free(ranges);
  return good;
}

safetensors *safetensors_read(const char *path, char **error) {
  *error = NULL;
  struct stat status;
  FILE *file = fopen(path, "rb");
  if (!file || fstat(fileno(file), &status)) {
    failure_of_system(error, "read", path, errno);
    if (file) fclose(file);
    return NULL;
  }
  safetensors *s = calloc(1, sizeof *s);
  reading r = {path, file, status.st_size, error};
  bool good = s && S_ISREG(status.st_mode) && read_file(s, &r);
  if (!s) failure(error, "no memory to read %s", path);
  else if (!S_ISREG(status.st_mode)) failure(error, "%s is no regular file; give the path of a .safetensors file", path);
  fclose(file);
  if (good) return s;
  safetensors_free(s);
  return NULL;
}

void safetensors_free(safetensors *s) {
  if (!s) return;
  cJSON_Delete(s->header);
  free(s->tensors);
  free(s->by_name);
  free(s->data);
  free(s);
}

const stored_tensor *safetensors_tensors(const safetensors *s, uint32_t *n) {
  *n = s->n;
  return s->tensors;
}

const stored_tensor *safetensors_find(const safetensors *s, const char *name) {
  const stored_tensor wanted = {.name = name}, *key = &wanted;
  const stored_tensor **found = bsearch(&key, s->by_name, s->n, sizeof *s->by_name, compare_names);
  return found ? *found : NULL;
}

const char *safetensors_metadata(const safetensors *s, const char *key) {
  return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(s->header, "__metadata__"), key));
}
