#include "frontend/broadcast.h"

bool broadcast_shape(const tensor_type *x, const tensor_type *y, tensor_type *out) {
  const tensor_type *longer = x->rank >= y->rank ? x : y, *shorter = longer == x ? y : x;
  tensor_type met = make_type(x->dtype, longer->rank, longer->dim);
  if (shorter->rank == longer->rank) {
    for (uint32_t i = 0; i < met.rank; i++) {
      if (met.dim[i] == 1) met.dim[i] = shorter->dim[i];
      else if (shorter->dim[i] != 1 && shorter->dim[i] != met.dim[i]) return false;
    }
  } else if (shorter->rank != 0 && (shorter->rank != 1 || shorter->dim[0] != longer->dim[longer->rank - 1])) {
    return false;
  }
  *out = met;
  return true;
}

/* The shape that puts the axes of `shorter` in the place of those of `longer` that have their sizes; NULL when none do. */
static const char *aligned_shape(const tensor_type *shorter, const tensor_type *longer, uint32_t *first, arena *a) {
  for (*first = 0; *first + shorter->rank <= longer->rank; ++*first) {
    uint32_t i = 0;
    while (i < shorter->rank && shorter->dim[i] == longer->dim[*first + i]) i++;
    if (i < shorter->rank) continue;
    const char *text = "";
    for (i = 0; i < longer->rank; i++)
      text = arena_printf(a, "%s%s%lld", text, i ? ", " : "", i < *first || i >= *first + shorter->rank ? 1 : (long long)longer->dim[i]);
    return text;
  }
  return NULL;
}

const char *broadcast_help(const tensor_type *x, const tensor_type *y, arena *a) {
  const tensor_type *longer = x->rank >= y->rank ? x : y, *shorter = longer == x ? y : x;
  uint32_t axis = 0;
  if (shorter->rank < longer->rank) {
    const char *shape = aligned_shape(shorter, longer, &axis, a);
    if (!shape) return "only a scalar, or [D] against [..., D], may have fewer axes; x[:, none] adds one";
    return arena_printf(a, "only [D] against [..., D] meets by itself; along axis %u of the other, write reshape(..., [%s])", axis, shape);
  }
  while (axis + 1 < x->rank && (x->dim[axis] == y->dim[axis] || x->dim[axis] == 1 || y->dim[axis] == 1)) axis++;
  return arena_printf(a, "axis %u has %lld elements in one and %lld in the other; they must be equal, or one of them 1", axis,
                      (long long)x->dim[axis], (long long)y->dim[axis]);
}
