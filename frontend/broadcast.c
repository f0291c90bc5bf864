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

static value stretched(graph *g, value x, const tensor_type *shape, span where) {
  const tensor_type *from = graph_type(g, x);
  if (shape_equal(from, shape)) return x;
  int64_t axes[MAX_RANK];
  for (uint32_t i = 0; i < from->rank; i++) axes[i] = shape->rank - from->rank + i;
  return graph_broadcast(g, x, make_type(from->dtype, shape->rank, shape->dim), axes, where);
}

bool broadcast_together(graph *g, diagnostics *d, const char *operation, value *x, value *y, span where) {
  const tensor_type *left = graph_type(g, *x), *right = graph_type(g, *y);
  tensor_type met;
  if (broadcast_shape(left, right, &met)) {
    *x = stretched(g, *x, &met, where);
    *y = stretched(g, *y, &met, where);
    return true;
  }
  const char *left_text = type_text(left, d->arena), *right_text = type_text(right, d->arena);
  diagnostic *error = diagnose(d, DIAG_SHAPE_MISMATCH, where, "%s got %s and %s, whose shapes do not meet",
                               operation, left_text, right_text);
  diagnostic_add_note(d, error, graph_span(g, *x), "%s was made here", left_text);
  diagnostic_add_note(d, error, graph_span(g, *y), "%s was made here", right_text);
  diagnostic_set_help(d, error, "Axes must be equal or 1; only a scalar, or [D] against [...,D], may have "
                                "a lower rank.");
  return false;
}
