/* Every source on small files made here, and on files that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "runtime/dataset.h"

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/sslc-dataset-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char command[96];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static void write_file(const char *name, const void *bytes, size_t n) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

static dataset *open1(const char *source, const char *path, char **error) {
  return dataset_open(source, &(dataset_argument){"", path, 0}, path != NULL, folder, error);
}

static void expect_error(const char *source, const char *path, const char *part) {
  char *error;
  assert_null(open1(source, path, &error));
  assert_non_null(error);
  if (!strstr(error, part)) fail_msg("\"%s\" does not say \"%s\"", error, part);
  free(error);
}

static void cifar_reads_labels_and_planes(void **state) {
  (void)state;
  unsigned char records[3 * 3073];
  for (size_t i = 0; i < sizeof records; i++) records[i] = (unsigned char)(i * 7);
  for (int i = 0; i < 3; i++) records[i * 3073] = (unsigned char)(i + 4);
  write_file("data_batch_1.bin", records, 2 * 3073);
  write_file("data_batch_2.bin", records + 2 * 3073, 3073);
  expect_error("cifar10", ".", "no file test_batch*.bin");
  write_file("test_batch_first1.bin", records, 3072);
  expect_error("cifar10", ".", "no whole number of records");
  write_file("test_batch_first1.bin", records, 3073);
  char *error;
  dataset *d = open1("cifar10", ".", &error);
  assert_non_null(d);
  assert_int_equal(dataset_count(d, "train"), 3);
  assert_int_equal(dataset_count(d, "test"), 1);
  assert_int_equal(dataset_count(d, "other"), -1);
  int32_t labels[2];
  unsigned char image[2][3072];
  dataset_read(d, "train", 1, (int64_t[]){2, 0}, 2, labels);
  dataset_read(d, "train", 0, (int64_t[]){2, 0}, 2, image);
  assert_int_equal(labels[0], 6);
  assert_int_equal(labels[1], 4);
  assert_memory_equal(image[0], records + 2 * 3073 + 1, 3072);
  dataset_release(d);
  records[0] = 10;
  write_file("test_batch_first1.bin", records, 3073);
  expect_error("cifar10", ".", "the label of sample 0 is 10");
  expect_error("cifar10", "nowhere", "no file data_batch_*.bin");
  expect_error("cifar10", NULL, "wants the folder");
}

static void idx_reads_plain_and_packed(void **state) {
  (void)state;
  unsigned char images[16 + 2 * 6] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3}, labels[8 + 2] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 4};
  for (int i = 0; i < 12; i++) images[16 + i] = (unsigned char)(100 + i);
  char path[160];
  snprintf(path, sizeof path, "%s/train-images-idx3-ubyte.gz", folder);
  gzFile f = gzopen(path, "wb");
  gzwrite(f, images, sizeof images);
  gzclose(f);
  write_file("train-labels-idx1-ubyte", labels, sizeof labels);
  write_file("t10k-images-idx3-ubyte", images, sizeof images);
  write_file("t10k-labels-idx1-ubyte", labels, sizeof labels);
  char *error;
  dataset *d = open1("idx", ".", &error);
  assert_non_null(d);
  uint32_t n;
  const dataset_field *fields = dataset_fields(d, &n);
  assert_int_equal(n, 2);
  assert_int_equal(fields[0].type.dim[0], 1);
  assert_int_equal(fields[0].type.dim[2], 3);
  assert_int_equal(fields[1].classes, 5);
  unsigned char image[6];
  dataset_read(d, "train", 0, (int64_t[]){1}, 1, image);
  assert_memory_equal(image, images + 22, 6);
  dataset_release(d);
  write_file("t10k-images-idx3-ubyte", images, sizeof images - 1);
  expect_error("idx", ".", "announces 12 elements and holds 11");
  write_file("t10k-labels-idx1-ubyte", images, sizeof images);
  write_file("t10k-images-idx3-ubyte", images, sizeof images);
  expect_error("idx", ".", "no IDX file of bytes with 1 dimensions");
  snprintf(path, sizeof path, "%s/train-images-idx3-ubyte.gz", folder);
  struct stat size;
  assert_int_equal(stat(path, &size), 0);
  assert_int_equal(truncate(path, size.st_size - 9), 0);
  expect_error("idx", ".", "train-images");
}

static void npy_reads_arrays(void **state) {
  (void)state;
  char file[128 + 24] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
  memset(file + 10 + strlen(file + 10), ' ', 128 - 10 - strlen(file + 10));
  file[127] = '\n';
  for (int i = 0; i < 6; i++) memcpy(file + 128 + 4 * i, &(float){(float)i / 4}, 4);
  write_file("x.npy", file, sizeof file);
  char *error;
  dataset *d = open1("npy", "x.npy", &error);
  assert_non_null(d);
  float row[2];
  dataset_read(d, "train", 0, (int64_t[]){2}, 1, row);
  assert_true(row[0] == 1.0f && row[1] == 1.25f);
  dataset_release(d);
  write_file("x.npy", file, sizeof file - 4);
  expect_error("npy", "x.npy", "announces 24 bytes");
  file[20] = 'g';
  file[21] = 'g';
  write_file("x.npy", file, sizeof file);
  expect_error("npy", "x.npy", "no .npy file");
  write_file("x.npy", "short", 5);
  expect_error("npy", "x.npy", "no .npy file");
}

static void bytes_cut_windows_and_hold_back_a_tenth(void **state) {
  (void)state;
  unsigned char text[1000];
  for (int i = 0; i < 1000; i++) text[i] = (unsigned char)i;
  write_file("t.txt", text, sizeof text);
  char *error;
  dataset_argument arguments[] = {{"", "t.txt", 0}, {"window", NULL, 11}};
  dataset *d = dataset_open("bytes", arguments, 2, folder, &error);
  assert_non_null(d);
  assert_int_equal(dataset_count(d, "train"), 89); /* (900 - 11) / 10 + 1 */
  assert_int_equal(dataset_count(d, "test"), 9);
  unsigned char window[11];
  dataset_read(d, "train", 0, (int64_t[]){88}, 1, window);
  assert_memory_equal(window, text + 880, 11);
  dataset_read(d, "test", 0, (int64_t[]){0}, 1, window);
  assert_memory_equal(window, text + 900, 11);
  dataset_release(d);
  arguments[1].number = 2000;
  assert_null(dataset_open("bytes", arguments, 2, folder, &error));
  assert_non_null(strstr(error, "one window takes 2000"));
  free(error);
  arguments[1].number = 2.5;
  assert_null(dataset_open("bytes", arguments, 2, folder, &error));
  assert_non_null(strstr(error, "whole number"));
  free(error);
}

static void shapes_need_no_file_and_repeat(void **state) {
  (void)state;
  dataset_argument arguments[] = {{"count", NULL, 40}, {"size", NULL, 16}, {"classes", NULL, 4}};
  char *error;
  dataset *a = dataset_open("shapes", arguments, 3, "", &error), *b = dataset_open("shapes", arguments, 3, "", &error);
  assert_int_equal(dataset_count(a, "test"), 10);
  unsigned char x[768], y[768], z[768];
  dataset_read(a, "train", 0, (int64_t[]){7}, 1, x);
  dataset_read(b, "train", 0, (int64_t[]){7}, 1, y);
  dataset_read(b, "test", 0, (int64_t[]){7}, 1, z);
  assert_memory_equal(x, y, sizeof x);
  assert_memory_not_equal(x, z, sizeof x);
  dataset_read(a, "train", 0, (int64_t[]){7}, 1, y); /* painted already, and kept */
  assert_memory_equal(x, y, sizeof x);
  dataset_read(a, "train", 0, (int64_t[]){6}, 1, y);
  dataset_read(a, "train", 0, (int64_t[]){6}, 1, z);
  assert_memory_equal(z, y, sizeof y);
  int32_t label;
  dataset_read(a, "train", 1, (int64_t[]){7}, 1, &label);
  assert_int_equal(label, 3);
  dataset_release(a);
  dataset_release(b);
}

static void *read_all(void *context) {
  unsigned char *out = malloc(40 * 768);
  for (int64_t i = 0; i < 40; i++) dataset_read(context, "train", 0, &i, 1, out + i * 768);
  return out;
}

static void threads_paint_the_same_shapes(void **state) {
  (void)state;
  enum { THREADS = 4 };
  dataset_argument arguments[] = {{"count", NULL, 40}, {"size", NULL, 16}, {"classes", NULL, 4}};
  char *error;
  dataset *shared = dataset_open("shapes", arguments, 3, "", &error), *own = dataset_open("shapes", arguments, 3, "", &error);
  pthread_t threads[THREADS];
  void *expected = read_all(own), *found;
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_all, shared), 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], &found);
    assert_memory_equal(found, expected, 40 * 768);
    free(found);
  }
  free(expected);
  dataset_release(shared);
  dataset_release(own);
}

static void unknown_sources_are_named(void **state) {
  (void)state;
  expect_error("imagenet", "x", "no data source imagenet; there are cifar10");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(cifar_reads_labels_and_planes, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(idx_reads_plain_and_packed, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(npy_reads_arrays, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(bytes_cut_windows_and_hold_back_a_tenth, make_folder, remove_folder),
      cmocka_unit_test(shapes_need_no_file_and_repeat),
      cmocka_unit_test(threads_paint_the_same_shapes),
      cmocka_unit_test(unknown_sources_are_named),
  };
  return cmocka_run_group_tests_name("runtime/dataset", tests, NULL, NULL);
}
