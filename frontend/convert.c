/* What builtins want of their arguments, and what they say when they get something else. */
#include <math.h>

#include "frontend/elaborate.h"

bool want_integer(elaborator *e, const object *o, const char *what, span where, int64_t *out) {
  if (o->kind == OBJECT_NUMBER && !o->is_real) {
    *out = o->integer;
    return true;
  }
  if (o->kind == OBJECT_NUMBER) {
    diagnostic *d = complain(e, DIAG_REAL_DIMENSION, where, "%s wants an integer, got %s", what, object_text(o, e->arena));
    note_object(e, d, o);
    diagnostic_set_help(e->diagnostics, d, "/ always gives a real; // divides integers and floors");
  } else {
    wrong_kind(e, where, what, "an integer that is known at compile time", o);
  }
  return false;
}

bool want_real(elaborator *e, const object *o, const char *what, span where, double *out) {
  if (o->kind != OBJECT_NUMBER) {
    wrong_kind(e, where, what, "a number that is known at compile time", o);
    return false;
  }
  *out = number_value(o);
  return true;
}

bool want_truth(elaborator *e, const object *o, const char *what, span where, bool *out) {
  if (o->kind != OBJECT_BOOL) {
    wrong_kind(e, where, what, "true or false", o);
    return false;
  }
  *out = o->truth;
  return true;
}

bool want_shape(elaborator *e, const object *o, const char *what, span where, tensor_type *out) {
  *out = scalar_type(e->real);
  object one = *o;
  object list = o->kind == OBJECT_NUMBER ? object_list(OBJECT_LIST, &one, 1, o->where) : *o;
  if (list.kind != OBJECT_LIST && list.kind != OBJECT_TUPLE) {
    wrong_kind(e, where, what, "a shape such as [64, 3]", o);
    return false;
  }
  if (list.list.n > MAX_RANK) {
    complain(e, DIAG_BAD_VALUE, where, "%s got a shape of %u axes; there are at most %d", what, list.list.n, MAX_RANK);
    return false;
  }
  for (uint32_t i = 0; i < list.list.n; i++) {
    int64_t n;
    if (!want_integer(e, &list.list.items[i], what, where, &n)) return false;
    if (n < 0) {
      complain(e, DIAG_BAD_VALUE, where, "%s got %lld for axis %u of a shape", what, (long long)n, i);
      return false;
    }
    out->dim[out->rank++] = n;
  }
  if (type_elements(out) >= 0) return true;
  complain(e, DIAG_BAD_VALUE, where, "%s got a shape with more elements than can be counted", what);
  return false;
}

bool want_axis(elaborator *e, const object *o, uint32_t rank, const char *what, span where, int64_t *out) {
  if (!want_integer(e, o, what, where, out)) return false;
  if (*out < -(int64_t)rank || *out >= rank) {
    if (rank) complain(e, DIAG_AXIS_RANGE, where, "%s got axis %lld of a tensor with %u axes", what, (long long)*out, rank);
    else complain(e, DIAG_AXIS_RANGE, where, "%s got axis %lld of a scalar, which has none", what, (long long)*out);
    return false;
  }
  if (*out < 0) *out += rank;
  return true;
}

bool want_axes(elaborator *e, const object *o, uint32_t rank, const char *what, span where, int64_t *axes, uint32_t *n) {
  *n = 0;
  if (o->kind == OBJECT_NONE) {
    for (*n = 0; *n < rank; (*n)++) axes[*n] = *n;
    return true;
  }
  object one = *o;
  object list = o->kind == OBJECT_LIST || o->kind == OBJECT_TUPLE ? *o : object_list(OBJECT_LIST, &one, 1, o->where);
  for (uint32_t i = 0; i < list.list.n; i++) {
    int64_t axis;
    if (!want_axis(e, &list.list.items[i], rank, what, where, &axis)) return false;
    for (uint32_t k = 0; k < *n; k++)
      if (axes[k] == axis) {
        complain(e, DIAG_AXIS_RANGE, where, "%s got axis %lld twice", what, (long long)axis);
        return false;
      }
    axes[(*n)++] = axis;
  }
  return true;
}

object shape_object(elaborator *e, const tensor_type *t, span where) {
  object *items = ARENA_ARRAY(e->arena, object, t->rank);
  for (uint32_t i = 0; i < t->rank; i++) items[i] = object_integer(t->dim[i], where);
  return object_list(OBJECT_LIST, items, t->rank, where);
}
