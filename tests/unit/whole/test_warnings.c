/* No warning where nothing is wrong: every example, and the programs of tests/golden/quiet, which come close to what warnings
 * look for. Programs that deserve one stand in tests/golden/check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>

#include "frontend/session.h"

/* A row a source: examples name data that need not be there. Other sources are asked as they are. */
static const struct {
  const char *source;
  const char *field;
  field_kind kind;
  uint32_t rank;
  int64_t dim[3], classes;
} kinds[] = {
    {"cifar10", "img", FIELD_IMAGE, 3, {3, 32, 32}, 10}, {"cifar100", "img", FIELD_IMAGE, 3, {3, 32, 32}, 100}, {"idx", "img", FIELD_IMAGE, 3, {1, 28, 28}, 10},
    {"bytes", "t", FIELD_TOKENS, 1, {129}, 0},           {"shapes", "img", FIELD_IMAGE, 3, {3, 8, 8}, 4},
    {"few_shot", "xs", FIELD_IMAGE, 3, {1, 28, 28}, 5}, /* of `idx`: five classes, an image and 15 questions of each */
};

static bool describe(void *context, const data_request *what, data_description *out, const char **error, arena *a) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].source, what->source)) continue;
    data_field *fields = ARENA_ARRAY(a, data_field, 4);
    for (int64_t asked = 0, n = 5; asked < 2 && !strcmp(what->source, "few_shot"); asked++, n = 75) {
      fields[2 * asked] = (data_field){asked ? "xq" : "xs", FIELD_IMAGE, make_type(DTYPE_U8, 4, (int64_t[]){n, 1, 28, 28}), 0};
      fields[2 * asked + 1] = (data_field){asked ? "yq" : "ys", FIELD_NUMBERS, make_type(DTYPE_I32, 1, &n), 5};
      *out = (data_description){.fields = fields, .n_fields = 4, .split = {{"train", 4096}, {"test", 512}}};
      if (asked) return true;
    }
    fields[0] = (data_field){kinds[i].field, kinds[i].kind, make_type(DTYPE_U8, kinds[i].rank, kinds[i].dim), 0};
    fields[1] = (data_field){"label", FIELD_LABEL, scalar_type(DTYPE_I32), kinds[i].classes};
    *out = (data_description){.fields = fields, .n_fields = kinds[i].classes ? 2 : 1, .split = {{"train", 4096}, {"test", 512}}};
    return true;
  }
  return open_data_describe(context, what, out, error, a);
}

static bool is_quiet(const char *path, const char *name) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  size_t length;
  const char *text = session_read_text(NULL, path, &length, a);
  open_data data = {.root = SOURCE_DIR "/examples", .arena = a};
  data_catalog catalog = {&data, describe};
  lower_options o = {.real = DTYPE_F32, .catalog = &catalog, .read_file = session_read_text};
  assert_non_null(text);
  lower_program(sources_add(d->sources, name, text, length), &o, d, a);
  bool quiet = d->count == 0;
  if (!quiet) print_error("%s", diagnostics_render(d, a, false));
  open_data_release(&data);
  arena_free(a);
  return quiet;
}

static void check_folder(const char *folder, uint32_t at_least) {
  DIR *all = opendir(folder);
  uint32_t n = 0, loud = 0;
  assert_non_null(all);
  for (struct dirent *entry; (entry = readdir(all));) {
    char path[512];
    const char *end = strrchr(entry->d_name, '.');
    if (!end || strcmp(end, ".ssl")) continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    loud += !is_quiet(path, entry->d_name);
    n++;
  }
  closedir(all);
  assert_int_equal(loud, 0);
  assert_true(n >= at_least);
}

static void examples_raise_no_warning(void **state) {
  (void)state;
  check_folder(SOURCE_DIR "/examples", 14);
}

static void close_calls_raise_no_warning(void **state) {
  (void)state;
  check_folder(SOURCE_DIR "/tests/golden/quiet", 12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(examples_raise_no_warning),
      cmocka_unit_test(close_calls_raise_no_warning),
  };
  return cmocka_run_group_tests_name("whole/warnings", tests, NULL, NULL);
}
