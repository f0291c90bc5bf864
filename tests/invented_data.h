/* What the data sets of examples/ are like, without their files. */
#ifndef SSLC_TESTS_INVENTED_DATA_H
#define SSLC_TESTS_INVENTED_DATA_H

#include <string.h>

#include "frontend/session.h"

typedef struct {
  open_data *files; /* answer for sources that need none */
  int64_t train, test; /* samples */
  bool one_query; /* of each class in a task, whatever the program says */
} invented_data;

static inline int64_t invented_argument(const data_request *what, const char *name, int64_t otherwise) {
  for (uint32_t i = 0; i < what->n_arguments; i++)
    if (!strcmp(what->arguments[i].name, name)) return (int64_t)what->arguments[i].number;
  return otherwise;
}

/* Tasks as few_shot makes them. */
static inline void describe_tasks(const invented_data *d, const data_request *what, data_description *out, arena *a) {
  static const char *const names[] = {"xs", "ys", "xq", "yq"};
  const int64_t way = invented_argument(what, "way", 5), each[] = {invented_argument(what, "shot", 1), d->one_query ? 1 : invented_argument(what, "queries", 15)};
  data_field *fields = ARENA_ARRAY(a, data_field, 4);
  for (int i = 0; i < 4; i++) {
    const int64_t images[] = {way * each[i / 2], 1, 28, 28};
    fields[i] = i % 2 ? (data_field){names[i], FIELD_NUMBERS, make_type(DTYPE_I32, 1, images), way} : (data_field){names[i], FIELD_IMAGE, make_type(DTYPE_U8, 4, images), 0};
  }
  *out = (data_description){.fields = fields, .n_fields = 4};
}

static inline void describe_text(const data_request *what, data_description *out, arena *a) {
  const int64_t window = invented_argument(what, "window", 257);
  data_field *text = ARENA_NEW(a, data_field);
  *text = (data_field){"t", FIELD_TOKENS, make_type(DTYPE_U8, 1, &window), 0};
  *out = (data_description){.fields = text, .n_fields = 1};
}

static inline void describe_images(const int64_t *image, data_description *out, arena *a) {
  data_field *fields = ARENA_ARRAY(a, data_field, 2);
  fields[0] = (data_field){"img", FIELD_IMAGE, make_type(DTYPE_U8, 3, image), 0};
  fields[1] = (data_field){"label", FIELD_LABEL, make_type(DTYPE_I32, 0, NULL), 10};
  *out = (data_description){.fields = fields, .n_fields = 2};
}

/* For a data_catalog; `context` is an invented_data. */
static inline bool describe_invented(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  static const int64_t cifar[] = {3, 32, 32}, mnist[] = {1, 28, 28};
  const invented_data *d = context;
  if (!strcmp(what->source, "few_shot")) describe_tasks(d, what, out, a);
  else if (!strcmp(what->source, "bytes")) describe_text(what, out, a);
  else if (!strncmp(what->source, "cifar", 5)) describe_images(cifar, out, a);
  else if (!strcmp(what->source, "idx")) describe_images(mnist, out, a);
  else return open_data_describe(d->files, what, out, error, a);
  out->split[0].name = "train", out->split[0].count = d->train;
  out->split[1].name = "test", out->split[1].count = d->test;
  return true;
}

#endif
