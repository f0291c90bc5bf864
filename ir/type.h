/* Element types and tensor types. Shapes are static; offsets are 64-bit. */
#ifndef SSLC_IR_TYPE_H
#define SSLC_IR_TYPE_H

#include <stdbool.h>

#include "ir/arena.h"

/* DTYPE(id, name, bytes, class) */
#define DTYPES(DTYPE)          \
  DTYPE(BOOL, "bool", 1, BOOL) \
  DTYPE(U8, "u8", 1, UNSIGNED) \
  DTYPE(I32, "i32", 4, SIGNED) \
  DTYPE(U32, "u32", 4, UNSIGNED) \
  DTYPE(I64, "i64", 8, SIGNED) \
  DTYPE(BF16, "bf16", 2, REAL) \
  DTYPE(F32, "f32", 4, REAL)   \
  DTYPE(F64, "f64", 8, REAL)

typedef enum {
#define DTYPE(id, name, bytes, class) DTYPE_##id,
  DTYPES(DTYPE)
#undef DTYPE
  DTYPE_COUNT
} dtype;

const char *dtype_name(dtype t);
/* False when no element type has that name. */
bool dtype_from_name(const char *name, size_t length, dtype *out);
/* What a run rounds the operands of its products to, which add up in f32. */
typedef enum { PRODUCTS_EXACT, PRODUCTS_BF16, PRODUCTS_TF32 } product_precision;

size_t dtype_bytes(dtype t);
bool dtype_is_real(dtype t);    /* bf16, f32, f64 */
bool dtype_is_integer(dtype t); /* u8, i32, u32, i64; not bool */
bool dtype_is_signed(dtype t);

enum { MAX_RANK = 8 };

typedef struct {
  dtype dtype;
  uint32_t rank;
  int64_t dim[MAX_RANK];
} tensor_type;

tensor_type scalar_type(dtype t);
tensor_type make_type(dtype t, uint32_t rank, const int64_t *dim);
bool type_equal(const tensor_type *a, const tensor_type *b);
bool shape_equal(const tensor_type *a, const tensor_type *b);
/* Number of elements; 1 for a scalar, 0 if a dimension is 0; -1 on overflow of 2^62. */
int64_t type_elements(const tensor_type *t);
int64_t type_bytes(const tensor_type *t);
/* Where dimensions of one type are in another that has the same ones, but for those of size 1: by dimension of `to`, or -1 for one of size 1.
 * False when there are others. */
bool type_find_dims(const tensor_type *from, const tensor_type *to, int64_t at[MAX_RANK]);
/* "f32[256,128]", "f32[]" for a scalar. */
const char *type_text(const tensor_type *t, arena *a);

/* One element as a double or an integer, whichever its type holds exactly: the currency of the
 * interpreters. Reals (rounded to their type on store) use `real`; bool and integers use `integer`. */
typedef union {
  double real;
  int64_t integer;
} scalar;
scalar element_load(dtype t, const void *data, int64_t i);
void element_store(dtype t, void *data, int64_t i, scalar v);
/* Rounds to the type (bf16 and f32: to nearest even; integers wrap). */
scalar scalar_round(dtype t, scalar v);
scalar scalar_convert(dtype from, dtype to, scalar v);

#endif
