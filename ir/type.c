#include "ir/type.h"

#include <math.h>
#include <stdio.h>

enum { CLASS_BOOL, CLASS_UNSIGNED, CLASS_SIGNED, CLASS_REAL };

static const struct {
  const char *name;
  size_t bytes;
  int class;
} table[DTYPE_COUNT] = {
#define DTYPE(id, name, bytes, class) [DTYPE_##id] = {name, bytes, CLASS_##class},
    DTYPES(DTYPE)
#undef DTYPE
};

const char *dtype_name(dtype t) { return table[t].name; }

bool dtype_from_name(const char *name, size_t length, dtype *out) {
  for (int t = 0; t < DTYPE_COUNT; t++)
    if (strlen(table[t].name) == length && !memcmp(table[t].name, name, length)) {
      *out = (dtype)t;
      return true;
    }
  return false;
}

size_t dtype_bytes(dtype t) { return table[t].bytes; }
bool dtype_is_real(dtype t) { return table[t].class == CLASS_REAL; }
bool dtype_is_integer(dtype t) { return table[t].class == CLASS_SIGNED || table[t].class == CLASS_UNSIGNED; }
bool dtype_is_signed(dtype t) { return table[t].class == CLASS_SIGNED || table[t].class == CLASS_REAL; }

tensor_type scalar_type(dtype t) { return (tensor_type){.dtype = t}; }

tensor_type make_type(dtype t, uint32_t rank, const int64_t *dim) {
  tensor_type r = {.dtype = t, .rank = rank};
  for (uint32_t i = 0; i < rank; i++) r.dim[i] = dim[i];
  return r;
}

bool shape_equal(const tensor_type *a, const tensor_type *b) {
  if (a->rank != b->rank) return false;
  for (uint32_t i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

bool type_equal(const tensor_type *a, const tensor_type *b) { return a->dtype == b->dtype && shape_equal(a, b); }

int64_t type_elements(const tensor_type *t) {
  int64_t n = 1;
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->dim[i] == 0) return 0;
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->dim[i] < 0 || __builtin_mul_overflow(n, t->dim[i], &n) || n > (int64_t)1 << 62) return -1;
  return n;
}

int64_t type_bytes(const tensor_type *t) {
  int64_t n = type_elements(t), bytes;
  return n < 0 || __builtin_mul_overflow(n, (int64_t)dtype_bytes(t->dtype), &bytes) ? -1 : bytes;
}

const char *type_text(const tensor_type *t, arena *a) {
  char text[16 + MAX_RANK * 24];
  int n = snprintf(text, sizeof text, "%s[", dtype_name(t->dtype));
  for (uint32_t i = 0; i < t->rank; i++)
    n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld", i ? "," : "", (long long)t->dim[i]);
  snprintf(text + n, sizeof text - (size_t)n, "]");
  return arena_string(a, text);
}

bool type_find_dims(const tensor_type *from, const tensor_type *to, int64_t at[MAX_RANK]) {
  uint32_t next = 0;
  for (uint32_t i = 0; i < to->rank; i++) {
    at[i] = -1;
    if (to->dim[i] == 1) continue;
    while (next < from->rank && from->dim[next] == 1) next++;
    if (next == from->rank || from->dim[next] != to->dim[i]) return false;
    at[i] = next++;
  }
  return true;
}

/* -- elements ------------------------------------------------------------------------------------------ */

static double from_bf16(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float f;
  memcpy(&f, &wide, sizeof f);
  return (double)f;
}

/* To nearest even, straight from double: a detour over float would round twice. */
static uint16_t to_bf16(double v) {
  float f = (float)v;
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if (isnan(v)) return (uint16_t)(bits >> 16 | 0x40);
  /* Rounding to odd keeps what float lost as a sticky bit (Boldo and Melquiond, 2008). */
  if (isfinite(f) && (double)f != v) {
    if (fabs((double)f) > fabs(v)) bits--;
    bits |= 1;
  }
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

scalar element_load(dtype t, const void *data, int64_t i) {
  switch (t) {
    case DTYPE_BOOL: return (scalar){.integer = ((const uint8_t *)data)[i] != 0};
    case DTYPE_U8: return (scalar){.integer = ((const uint8_t *)data)[i]};
    case DTYPE_I32: return (scalar){.integer = ((const int32_t *)data)[i]};
    case DTYPE_U32: return (scalar){.integer = ((const uint32_t *)data)[i]};
    case DTYPE_I64: return (scalar){.integer = ((const int64_t *)data)[i]};
    case DTYPE_BF16: return (scalar){.real = from_bf16(((const uint16_t *)data)[i])};
    case DTYPE_F32: return (scalar){.real = (double)((const float *)data)[i]};
    case DTYPE_F64: return (scalar){.real = ((const double *)data)[i]};
    default: return (scalar){.integer = 0};
  }
}

void element_store(dtype t, void *data, int64_t i, scalar v) {
  switch (t) {
    case DTYPE_BOOL: ((uint8_t *)data)[i] = v.integer != 0; break;
    case DTYPE_U8: ((uint8_t *)data)[i] = (uint8_t)v.integer; break;
    case DTYPE_I32: ((int32_t *)data)[i] = (int32_t)v.integer; break;
    case DTYPE_U32: ((uint32_t *)data)[i] = (uint32_t)v.integer; break;
    case DTYPE_I64: ((int64_t *)data)[i] = v.integer; break;
    case DTYPE_BF16: ((uint16_t *)data)[i] = to_bf16(v.real); break;
    case DTYPE_F32: ((float *)data)[i] = (float)v.real; break;
    case DTYPE_F64: ((double *)data)[i] = v.real; break;
    default: break;
  }
}

scalar scalar_round(dtype t, scalar v) {
  _Alignas(8) unsigned char element[8];
  element_store(t, element, 0, v);
  return element_load(t, element, 0);
}

/* Saturates, NaN gives 0: the same on every machine, unlike a C conversion. */
static int64_t real_to_integer(dtype to, double v) {
  int64_t low = to == DTYPE_I32 ? INT32_MIN : to == DTYPE_I64 ? INT64_MIN : 0;
  int64_t high = to == DTYPE_U8 ? UINT8_MAX : to == DTYPE_I32 ? INT32_MAX : to == DTYPE_U32 ? UINT32_MAX : INT64_MAX;
  if (isnan(v)) return 0;
  if (v <= (double)low) return low;
  if (v >= (double)high) return high;
  return (int64_t)v;
}

scalar scalar_convert(dtype from, dtype to, scalar v) {
  bool real = dtype_is_real(from);
  scalar r;
  if (to == DTYPE_BOOL) r.integer = real ? v.real != 0 : v.integer != 0;
  else if (dtype_is_real(to)) r.real = real ? v.real : (double)v.integer;
  else r.integer = real ? real_to_integer(to, v.real) : v.integer;
  return scalar_round(to, r);
}
