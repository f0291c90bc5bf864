/* Files written and read back, files as other programs write them, and files that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/safetensors.h"

static char folder[64], path[96];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/sslc-safetensors-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/x.safetensors", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  char command[96];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static void write_bytes(const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

static size_t read_bytes(unsigned char *bytes, size_t capacity) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  size_t n = fread(bytes, 1, capacity, f);
  fclose(f);
  return n;
}

/* A file with that header and data_bytes bytes 0, 1, 2, ... behind it. */
static size_t make_file(unsigned char *file, const char *header, size_t data_bytes) {
  size_t n = strlen(header);
  for (int i = 0; i < 8; i++) file[i] = (unsigned char)(n >> 8 * i);
  memcpy(file + 8, header, n);
  for (size_t i = 0; i < data_bytes; i++) file[8 + n + i] = (unsigned char)i;
  return 8 + n + data_bytes;
}

static void expect_refused(const char *part) {
  char *error;
  assert_null(safetensors_read(path, &error));
  assert_non_null(error);
  if (!strstr(error, part) || !strstr(error, path)) fail_msg("\"%s\" does not say \"%s\" of %s", error, part, path);
  free(error);
}

static void expect_header_refused(const char *header, size_t data_bytes, const char *part) {
  unsigned char file[1024];
  write_bytes(file, make_file(file, header, data_bytes));
  expect_refused(part);
}

static int files_in_folder(void) {
  int n = 0;
  DIR *d = opendir(folder);
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static const uint8_t three[3] = {7, 8, 9};
static const float weights[6] = {1, -2, 3.5f, 0, 5, 1e-30f};
static const int64_t step = -5000000000;
static const stored_tensor some_tensors[] = {
    {"mask", {DTYPE_BOOL, 1, {3}}, "\1\0\1"},       {"w \"quoted\" \xC3\xA9", {DTYPE_F32, 2, {2, 3}}, weights},
    {"step", {DTYPE_I64, 0, {0}}, &step},           {"bytes", {DTYPE_U8, 1, {3}}, three},
    {"empty", {DTYPE_F64, 3, {4, 0, 2}}, ""},       {"half", {DTYPE_BF16, 1, {1}}, "\x80\x3f"},
    {"seed", {DTYPE_U32, 1, {2}}, "abcdefgh"},      {"label", {DTYPE_I32, 1, {1}}, "\xff\xff\xff\xff"},
};
enum { SOME = sizeof some_tensors / sizeof *some_tensors };
static const stored_text some_texts[] = {{"format", "pt"}, {"program", "let x = 1\n\"quoted\" \\"}};

static void write_some(void) {
  char *error;
  if (!safetensors_write(path, some_tensors, SOME, some_texts, 2, &error)) fail_msg("%s", error);
}

static void what_is_written_is_read(void **state) {
  (void)state;
  write_some();
  char *error;
  safetensors *s = safetensors_read(path, &error);
  assert_non_null(s);
  uint32_t n;
  const stored_tensor *read = safetensors_tensors(s, &n);
  assert_int_equal(n, SOME);
  for (uint32_t i = 0; i < n; i++) {
    assert_string_equal(read[i].name, some_tensors[i].name);
    assert_true(type_equal(&read[i].type, &some_tensors[i].type));
    assert_memory_equal(read[i].data, some_tensors[i].data, (size_t)type_bytes(&read[i].type));
    assert_int_equal((uintptr_t)read[i].data % 8, 0);
    assert_ptr_equal(safetensors_find(s, some_tensors[i].name), &read[i]);
  }
  assert_null(safetensors_find(s, "other"));
  assert_string_equal(safetensors_metadata(s, "program"), some_texts[1].value);
  assert_null(safetensors_metadata(s, "other"));
  safetensors_free(s);
  assert_int_equal(files_in_folder(), 1);
}

static void equal_tensors_give_equal_bytes(void **state) {
  (void)state;
  unsigned char first[2048], second[2048];
  write_some();
  size_t n = read_bytes(first, sizeof first);
  write_some();
  assert_int_equal(read_bytes(second, sizeof second), n);
  assert_memory_equal(first, second, n);
}

/* Nothing but the format's own rules: a header that other readers take, every tensor at a multiple of its element. */
static void the_bytes_are_those_of_the_format(void **state) {
  (void)state;
  static const char header[] = "{\"__metadata__\":{\"a\":\"b\"},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]},"
                               "\"f\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}      ";
  unsigned char expected[256], written[256];
  size_t n = make_file(expected, header, 0);
  assert_int_equal(n % 8, 0);
  memcpy(expected + n, "\0\0\x80\x3f\7\10\11", 7);
  float one = 1;
  stored_tensor tensors[] = {{"b", {DTYPE_U8, 1, {3}}, three}, {"f", {DTYPE_F32, 0, {0}}, &one}};
  char *error;
  assert_true(safetensors_write(path, tensors, 2, &(stored_text){"a", "b"}, 1, &error));
  assert_int_equal(read_bytes(written, sizeof written), n + 7);
  assert_memory_equal(written, expected, n + 7);
}

static void files_of_other_writers_are_read(void **state) {
  (void)state;
  unsigned char file[512];
  char *error;
  /* Keys in another order, no padding, tensors not at multiples of their size, data order unlike header order. */
  write_bytes(file, make_file(file, "{ \"w\" : {\"data_offsets\":[1,9],\"shape\":[2,1],\"dtype\":\"F32\"},\n"
                                    "\"b\":{\"shape\":[1],\"dtype\":\"U8\",\"data_offsets\":[0,1]}}   ", 9));
  safetensors *s = safetensors_read(path, &error);
  assert_non_null(s);
  assert_memory_equal(safetensors_find(s, "w")->data, "\1\2\3\4\5\6\7\10", 8);
  assert_int_equal((uintptr_t)safetensors_find(s, "w")->data % 8, 0);
  assert_memory_equal(safetensors_find(s, "b")->data, "\0", 1);
  assert_null(safetensors_metadata(s, "format"));
  safetensors_free(s);
  write_bytes(file, make_file(file, "{}", 0));
  s = safetensors_read(path, &error);
  assert_non_null(s);
  uint32_t n;
  safetensors_tensors(s, &n);
  assert_int_equal(n, 0);
  assert_null(safetensors_find(s, "w"));
  safetensors_free(s);
}

static void a_file_cut_anywhere_is_refused(void **state) {
  (void)state;
  unsigned char file[2048];
  write_some();
  size_t n = read_bytes(file, sizeof file);
  for (size_t cut = 0; cut < n; cut++) {
    write_bytes(file, cut);
    expect_refused("is no complete safetensors file");
  }
  write_bytes(file, n + 1);
  expect_refused("follow the header");
}

/* Whatever a byte turns into, the answer is an error or tensors that lie within the file (sanitizers see the rest). */
static void a_byte_changed_anywhere_does_no_harm(void **state) {
  (void)state;
  static const unsigned char turned_into[] = {0, '"', '9', ',', '}', 0xFF};
  unsigned char file[2048];
  write_some();
  size_t n = read_bytes(file, sizeof file);
  for (size_t at = 0; at < n; at++)
    for (size_t v = 0; v < sizeof turned_into; v++) {
      unsigned char was = file[at];
      file[at] = turned_into[v];
      write_bytes(file, n);
      file[at] = was;
      char *error;
      safetensors *s = safetensors_read(path, &error);
      if (!s && !strstr(error, path)) fail_msg("\"%s\" does not name the file", error);
      free(error);
      if (!s) continue;
      uint32_t tensors, sum = 0;
      const stored_tensor *t = safetensors_tensors(s, &tensors);
      for (uint32_t i = 0; i < tensors; i++)
        for (int64_t b = 0; b < type_bytes(&t[i].type); b++) sum += ((const unsigned char *)t[i].data)[b];
      assert_true(sum <= 255 * n);
      safetensors_free(s);
    }
}

static void wrong_headers_are_refused(void **state) {
  (void)state;
  expect_header_refused("[]", 0, "no JSON object");
  expect_header_refused("{} x", 0, "no JSON object from byte 10");
  expect_header_refused("{\"a\":", 0, "no JSON object");
  expect_header_refused("{\"a\":1}", 0, "tensor a is no object");
  expect_header_refused("{\"a\":{}}", 0, "no \"dtype\"");
  expect_header_refused("{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2, "type F16; what can be read is");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,2]}}", 2, "no \"shape\"");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[-2],\"data_offsets\":[0,2]}}", 2, "no list of whole numbers");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,2]}}", 2, "no list of whole numbers");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "more than 8");
  expect_header_refused("{\"a\":{\"dtype\":\"F64\",\"shape\":[9007199254740992,9007199254740992],\"data_offsets\":[0,8]}}", 8, "too large");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2]}}", 2, "no two \"data_offsets\"");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0]}}", 2, "no two \"data_offsets\"");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,0]}}", 2, "are no range");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1e300]}}", 2, "are no range");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,3]}}", 3, "takes 2 bytes by its shape and 3");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 2, "should end at byte 3 of the data, which have 2");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "should begin at byte 0");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                        "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "tensor b should begin at byte 2");
  expect_header_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                        "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "two tensors are named a");
  expect_header_refused("{\"__metadata__\":{\"a\":1}}", 0, "other than text for a");
  expect_header_refused("{\"__metadata__\":[]}", 0, "__metadata__ is no object");
  write_bytes("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
  expect_refused("announce a header of 9223372036854775807 bytes");
  char *error;
  assert_null(safetensors_read(folder, &error));
  assert_non_null(strstr(error, "no regular file"));
  free(error);
  unlink(path);
  expect_refused("check the path");
}

static void expect_unwritable(const char *to, const stored_tensor *tensors, uint32_t n, const char *part) {
  char *error;
  assert_false(safetensors_write(to, tensors, n, NULL, 0, &error));
  assert_non_null(error);
  if (!strstr(error, part) || !strstr(error, to)) fail_msg("\"%s\" does not say \"%s\" of %s", error, part, to);
  free(error);
}

static void names_must_differ(void **state) {
  (void)state;
  stored_tensor twice[] = {some_tensors[0], some_tensors[1], some_tensors[0]}, reserved = some_tensors[0];
  reserved.name = "__metadata__";
  expect_unwritable(path, twice, 3, "two tensors are named mask");
  expect_unwritable(path, &reserved, 1, "cannot be named __metadata__");
  assert_int_equal(files_in_folder(), 0);
}

/* A limit on file sizes fails a write halfway, as a full disk does. */
static void a_failed_write_leaves_the_old_file(void **state) {
  (void)state;
  unsigned char before[2048], after[2048];
  write_some();
  size_t n = read_bytes(before, sizeof before), large = 1 << 20;
  stored_tensor tensor = {"large", {DTYPE_U8, 1, {(int64_t)large}}, calloc(1, large)};
  struct rlimit old, low;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  low = (struct rlimit){1 << 16, old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  expect_unwritable(path, &tensor, 1, "choose a disk");
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_DFL);
  free((void *)tensor.data);
  assert_int_equal(read_bytes(after, sizeof after), n);
  assert_memory_equal(before, after, n);
  assert_int_equal(files_in_folder(), 1);
}

static void places_that_cannot_be_written_are_named(void **state) {
  (void)state;
  char nowhere[160];
  snprintf(nowhere, sizeof nowhere, "%s/none/x.safetensors", folder);
  expect_unwritable(nowhere, some_tensors, SOME, "its folder exists");
  snprintf(nowhere, sizeof nowhere, "%s/sub", folder);
  assert_int_equal(mkdir(nowhere, 0777), 0);
  expect_unwritable(nowhere, some_tensors, SOME, "choose the path of a file");
  assert_int_equal(files_in_folder(), 1);
}

static void a_link_keeps_pointing(void **state) {
  (void)state;
  write_some();
  char name[128], *error;
  snprintf(name, sizeof name, "%s/link", folder);
  assert_int_equal(symlink("x.safetensors", name), 0);
  assert_true(safetensors_write(name, some_tensors, 1, NULL, 0, &error));
  struct stat status;
  assert_int_equal(lstat(name, &status), 0);
  assert_true(S_ISLNK(status.st_mode));
  safetensors *s = safetensors_read(path, &error);
  uint32_t n;
  safetensors_tensors(s, &n);
  assert_int_equal(n, 1);
  safetensors_free(s);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(what_is_written_is_read),           IN_FOLDER(equal_tensors_give_equal_bytes),
      IN_FOLDER(the_bytes_are_those_of_the_format), IN_FOLDER(files_of_other_writers_are_read),
      IN_FOLDER(a_file_cut_anywhere_is_refused),    IN_FOLDER(wrong_headers_are_refused),
      IN_FOLDER(a_byte_changed_anywhere_does_no_harm),
      IN_FOLDER(names_must_differ),                 IN_FOLDER(a_failed_write_leaves_the_old_file),
      IN_FOLDER(places_that_cannot_be_written_are_named), IN_FOLDER(a_link_keeps_pointing),
  };
  return cmocka_run_group_tests_name("runtime/safetensors", tests, NULL, NULL);
}
