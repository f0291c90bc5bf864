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
