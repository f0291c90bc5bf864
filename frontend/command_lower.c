/* From a program's file to its experiment, for the verbs that look at its graphs. Data sets are opened for
 * what they say of themselves. */
#include <stdlib.h>

#include "frontend/command.h"
#include "frontend/experiment.h"
#include "runtime/dataset.h"

static bool describe(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  const command *c = context;
  dataset_argument *arguments = ARENA_ARRAY(a, dataset_argument, what->n_arguments + 1);
  for (uint32_t i = 0; i < what->n_arguments; i++)
    arguments[i] = (dataset_argument){what->arguments[i].name, what->arguments[i].text, what->arguments[i].number};
  (void)c;
  char *problem = NULL;
  dataset *d = dataset_open(what->source, arguments, what->n_arguments, ".", &problem);
  if (!d) {
    *error = arena_string(a, problem ? problem : "the data set cannot be opened");
    free(problem);
    return false;
  }
  uint32_t n;
  const dataset_field *fields = dataset_fields(d, &n);
  data_field *copies = ARENA_ARRAY(a, data_field, n + 1);
  static const field_kind kinds[] = {[DATASET_IMAGE] = FIELD_IMAGE, [DATASET_LABEL] = FIELD_LABEL, [DATASET_TOKENS] = FIELD_TOKENS, [DATASET_NUMBERS] = FIELD_NUMBERS};
  for (uint32_t i = 0; i < n; i++)
    copies[i] = (data_field){arena_string(a, fields[i].name), kinds[fields[i].kind], fields[i].type, fields[i].classes};
  *out = (data_description){.fields = copies, .n_fields = n};
  for (uint32_t i = 0; i < 4 && dataset_split(d, i); i++) {
    out->split[i].name = arena_string(a, dataset_split(d, i));
    out->split[i].count = dataset_count(d, dataset_split(d, i));
  }
  dataset_release(d);
  return true;
}

static const char *read_file(void *context, const char *path, size_t *length, arena *a) {
  (void)a;
  return command_read(context, path, length);
}

experiment *command_lower(command *c, uint32_t file) {
  data_catalog catalog = {c, describe};
  lower_options o = {.real = DTYPE_F32, .catalog = &catalog, .read_file = read_file, .read_context = c};
  return lower_program(file, &o, c->diagnostics, c->arena);
}
