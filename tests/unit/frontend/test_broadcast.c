/* Shapes that meet, and shapes that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frontend/broadcast.h"

static tensor_type shape(uint32_t rank, int64_t a, int64_t b, int64_t c) {
  return make_type(DTYPE_F32, rank, (int64_t[]){a, b, c});
}

static void meets(tensor_type x, tensor_type y, tensor_type expected) {
  tensor_type out;
  assert_true(broadcast_shape(&x, &y, &out) && type_equal(&out, &expected));
  assert_true(broadcast_shape(&y, &x, &out) && type_equal(&out, &expected));
}

static void never_meets(tensor_type x, tensor_type y) {
  tensor_type out;
  assert_false(broadcast_shape(&x, &y, &out));
  assert_false(broadcast_shape(&y, &x, &out));
}

static void test_shapes(void **state) {
  (void)state;
  meets(shape(0, 0, 0, 0), shape(2, 4, 3, 0), shape(2, 4, 3, 0));
  meets(shape(1, 3, 0, 0), shape(3, 2, 4, 3), shape(3, 2, 4, 3));
  meets(shape(2, 4, 1, 0), shape(2, 1, 3, 0), shape(2, 4, 3, 0));
  never_meets(shape(1, 4, 0, 0), shape(2, 4, 1, 0));
  never_meets(shape(1, 1, 0, 0), shape(2, 4, 3, 0));
  never_meets(shape(2, 4, 3, 0), shape(3, 2, 4, 3));
  never_meets(shape(2, 3, 4, 0), shape(3, 2, 4, 3));
  never_meets(shape(2, 4, 3, 0), shape(2, 4, 2, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
