/* Pictures and arrays as other programs read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/picture.h"

static char path[] = "/tmp/sslc-picture-XXXXXX";

static int make_file(void **state) {
  (void)state;
  int file = mkstemp(path);
  return file < 0 ? -1 : close(file);
}

static int remove_file(void **state) {
  (void)state;
  return unlink(path);
}

/* Three images of 2x1 pixels, two columns: a grid of 5x3 with a black line between. */
static void a_grid_has_its_pixels(void **state) {
  (void)state;
  const float images[3][3][2] = {{{0, 1}, {0.5f, 0}, {2, -1}}, {{0.2f, 0.4f}, {0.6f, 0.8f}, {1, 1}}, {{1, 1}, {1, 1}, {0, 0}}};
  char *error = NULL;
  assert_true(picture_write_grid(path, &images[0][0][0], 3, 3, 1, 2, 2, &error));
  png_image image = {.version = PNG_IMAGE_VERSION};
  assert_true(png_image_begin_read_from_file(&image, path));
  assert_int_equal(image.width, 5);
  assert_int_equal(image.height, 3);
  assert_int_equal(image.format, PNG_FORMAT_RGB);
  unsigned char pixels[3][5][3];
  assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
  const unsigned char wanted[3][5][3] = {{{0, 128, 255}, {255, 0, 0}, {0}, {51, 153, 255}, {102, 204, 255}}, {{0}}, {{255, 255, 0}, {255, 255, 0}}};
  assert_memory_equal(pixels, wanted, sizeof wanted);
}

/* Without columns as square as it gets; one channel is grey; NaN is black. */
static void five_grey_images_stand_in_two_rows(void **state) {
  (void)state;
  float images[5] = {0, 1, 0.5f, __builtin_nanf(""), 0.25f};
  char *error = NULL;
  assert_true(picture_write_grid(path, images, 5, 1, 1, 1, 0, &error));
  png_image image = {.version = PNG_IMAGE_VERSION};
  assert_true(png_image_begin_read_from_file(&image, path));
  assert_int_equal(image.width, 5);
  assert_int_equal(image.height, 3);
  assert_int_equal(image.format, PNG_FORMAT_GRAY);
  unsigned char pixels[3][5];
  assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
  const unsigned char wanted[3][5] = {{0, 0, 255, 0, 128}, {0}, {0, 0, 64}};
  assert_memory_equal(pixels, wanted, sizeof wanted);
}

static void failures_are_said(void **state) {
  (void)state;
  char *error = NULL;
  float one = 0;
  assert_false(picture_write_grid("/nowhere/at/all.png", &one, 1, 1, 1, 1, 0, &error));
  assert_non_null(strstr(error, "/nowhere/at/all.png"));
  assert_false(picture_write_grid(path, &one, 1 << 20, 1, 1, 1, 1 << 20, &error));
  assert_non_null(strstr(error, "too many"));
  free(error);
}

/* Format 1.0 of numpy.lib.format: header of a multiple of 64 bytes, then elements. */
static void an_array_has_its_header(void **state) {
  (void)state;
  const int32_t values[6] = {1, 2, 3, 4, 5, -6};
  unsigned char bytes[256];
  char *error = NULL;
  tensor_type t = make_type(DTYPE_I32, 2, (int64_t[]){2, 3});
  assert_true(array_write_npy(path, &t, values, &error));
  FILE *f = fopen(path, "rb");
  size_t n = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  assert_int_equal(n, 128 + sizeof values);
  assert_memory_equal(bytes, "\x93NUMPY\x01\x00\x76\x00", 10);
  assert_memory_equal(bytes + 10, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3,), } ", 61);
  assert_int_equal(bytes[127], '\n');
  assert_memory_equal(bytes + 128, values, sizeof values);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_grid_has_its_pixels),
      cmocka_unit_test(five_grey_images_stand_in_two_rows),
      cmocka_unit_test(failures_are_said),
      cmocka_unit_test(an_array_has_its_header),
  };
  return cmocka_run_group_tests_name("runtime/picture", tests, make_file, remove_file);
}
