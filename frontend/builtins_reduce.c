/* Builtins that sum and choose: reductions, products, convolution. */
#include "frontend/builtins.h"

/* The axes of a reduction in the graph, and the shape that `keep` leaves. False after an error. */
typedef struct {
  object x;
  int64_t axes[MAX_RANK], kept[MAX_RANK], count; /* count: elements that meet in one */
  uint32_t n;
  bool keep;
} reduction;

static bool read_reduction(elaborator *e, const function *self, const object *x, const object *axis, const object *keep, span where, reduction *out) {
  out->x = tensor_argument(e, self, *x, where);
  if (is_poison(&out->x) || !want_truth(e, keep, "keep", where, &out->keep)) return false;
  tensor_type type = logical_type(&out->x);
  if (!want_axes(e, axis, type.rank, self->name, where, out->axes, &out->n)) return false;
  out->count = 1;
  for (uint32_t i = 0; i < type.rank; i++) out->kept[i] = type.dim[i];
  for (uint32_t i = 0; i < out->n; i++) {
    out->count *= type.dim[out->axes[i]];
    out->kept[out->axes[i]] = 1;
  }
  for (uint32_t i = 0; i < out->n; i++) /* in order, as the graph wants them */
    for (uint32_t k = i; k > 0 && out->axes[k] < out->axes[k - 1]; k--) {
      int64_t swap = out->axes[k];
      out->axes[k] = out->axes[k - 1];
      out->axes[k - 1] = swap;
    }
  for (uint32_t i = 0; i < out->n; i++) out->axes[i] += out->x.batched;
  return true;
}

static object reduce(elaborator *e, const reduction *r, op_id op, span where) {
  if (r->n == 0) return r->x;
  uint32_t rank = logical_type(&r->x).rank;
  object o = unary_result(e, &r->x, graph_reduce(e->graph, op, r->x.tensor.value, r->axes, r->n, user_place(e, where)), where);
  return r->keep && !is_poison(&o) ? reshape_tensor(e, o, rank, r->kept, where) : o;
}

/* bool counts as 0 and 1 here. */
static bool counted(elaborator *e, reduction *r, bool real, span where) {
  dtype type = logical_type(&r->x).dtype;
  if (real && !dtype_is_real(type)) r->x = cast_tensor(e, r->x, e->real, where);
  else if (type == DTYPE_BOOL || type == DTYPE_U8) r->x = cast_tensor(e, r->x, DTYPE_I32, where);
  return !is_poison(&r->x);
}

object builtin_sum(elaborator *e, const function *self, object *arguments, span where) {
  reduction r;
  if (!read_reduction(e, self, &arguments[0], &arguments[1], &arguments[2], where, &r) || !counted(e, &r, false, where)) return object_poison();
  return reduce(e, &r, OP_REDUCE_SUM, where);
}

object builtin_mean(elaborator *e, const function *self, object *arguments, span where) {
  reduction r;
  if (!read_reduction(e, self, &arguments[0], &arguments[1], &arguments[2], where, &r) || !counted(e, &r, true, where)) return object_poison();
  object total = reduce(e, &r, OP_REDUCE_SUM, where);
  return apply_binary(e, AST_MUL, total, object_real(1.0 / (double)r.count, where), where);
}

static object negated(elaborator *e, object x, span where) { return apply_unary(e, AST_NEG, x, where); }

object builtin_extreme(elaborator *e, const function *self, object *arguments, span where) {
  bool smallest = !strcmp(self->name, "min");
  object *x = &arguments[0], *y = &arguments[1];
  if (y->kind != OBJECT_NONE) {
    if (x->kind == OBJECT_NUMBER && y->kind == OBJECT_NUMBER) return (number_value(x) <= number_value(y)) == smallest ? *x : *y;
    return elementwise(e, smallest ? OP_MIN : OP_MAX, arguments, 2, false, self->name, where);
  }
  reduction r;
  if (!read_reduction(e, self, x, &arguments[2], &arguments[3], where, &r)) return object_poison();
  if (logical_type(&r.x).dtype == DTYPE_BOOL) return wrong_kind(e, where, self->name, "numbers", x);
  if (r.count == 0) return refuse(e, DIAG_BAD_VALUE, where, "%s over no element", self->name);
  if (!smallest) return reduce(e, &r, OP_REDUCE_MAX, where);
  r.x = negated(e, r.x, where);
  return is_poison(&r.x) ? r.x : negated(e, reduce(e, &r, OP_REDUCE_MAX, where), where);
}

object builtin_extreme_index(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where);
  int64_t axis;
  if (is_poison(&x) || !want_axis(e, &arguments[1], logical_type(&x).rank, self->name, where, &axis)) return object_poison();
  if (logical_type(&x).dtype == DTYPE_BOOL) x = cast_tensor(e, x, DTYPE_I32, where);
  if (!strcmp(self->name, "argmin")) x = negated(e, x, where);
  if (is_poison(&x)) return x;
  return unary_result(e, &x, graph_argmax(e->graph, x.tensor.value, axis + x.batched, user_place(e, where)), where);
}

object builtin_take(elaborator *e, const function *self, object *arguments, span where) {
  object x = tensor_argument(e, self, arguments[0], where), index = tensor_argument(e, self, arguments[1], where);
  int64_t axis;
  if (is_poison(&x) || is_poison(&index) || !want_axis(e, &arguments[2], logical_type(&x).rank, self->name, where, &axis)) return object_poison();
  if (!dtype_is_integer(logical_type(&index).dtype)) return wrong_kind(e, where, self->name, "integers as indices", &arguments[1]);
  return gather_axis(e, x, axis, cast_tensor(e, index, DTYPE_I32, where), where);
}

/* -- sums of products -------------------------------------------------------------------------------------------- */

/* "ij" -> "i,j"; false when something else than letters stands there. */
static bool spread(elaborator *e, const char *letters, size_t n, const char *batch, const char **out) {
  *out = batch;
  for (size_t i = 0; i < n; i++) {
    if (letters[i] == ' ') continue;
    if (letters[i] < 'a' || letters[i] > 'z') return false;
    *out = arena_printf(e->arena, "%s%s%c", *out, **out ? "," : "", letters[i]);
  }
  return true;
}

static object contracted(elaborator *e, const object *x, const object *y, const char *spec, const char *what, span where) {
  const char *error = NULL;
  attribute text = {.key = ATTR_SPEC, .n = 1, .as.text = spec};
  value operands[2] = {x->tensor.value, y->tensor.value};
  value v = graph_add(e->graph, OP_CONTRACT, operands, 2, &text, 1, NULL, user_place(e, where), &error);
  if (v) return tensor_object(e, v, x->batched || y->batched, where);
  diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "%s of %s and %s: %s", what, object_text(x, e->arena), object_text(y, e->arena), error);
  note_object(e, d, x);
  note_object(e, d, y);
  return object_poison();
}

object builtin_einsum(elaborator *e, const function *self, object *arguments, span where) {
  if (arguments[0].kind != OBJECT_STRING) return wrong_kind(e, where, "einsum", "a spec such as \"ij,jk->ik\"", &arguments[0]);
  object sides[2] = {arguments[1], arguments[2]};
  if (!promote(e, sides, 2, true, self->name, where)) return object_poison();
  const char *spec = arguments[0].text, *comma = strchr(spec, ','), *arrow = strstr(spec, "->"), *part[3];
  bool any = sides[0].batched || sides[1].batched;
  bool good = comma && arrow && comma < arrow && spread(e, spec, (size_t)(comma - spec), sides[0].batched ? "sample" : "", &part[0]) &&
              spread(e, comma + 1, (size_t)(arrow - comma - 1), sides[1].batched ? "sample" : "", &part[1]) &&
              spread(e, arrow + 2, strlen(arrow + 2), any ? "sample" : "", &part[2]);
  if (!good) return refuse(e, DIAG_BAD_VALUE, where, "einsum wants two operands and a result in letters, \"ij,jk->ik\", got \"%s\"", spec);
  return contracted(e, &sides[0], &sides[1], arena_printf(e->arena, "%s; %s -> %s", part[0], part[1], part[2]), "einsum", where);
}

/* n,g,c,stride*p+r-pad,...; g,k,c,r,... -> n,g,k,p,... */
object builtin_convolve(elaborator *e, const function *self, object *arguments, span where) {
  object x = arguments[0], w = arguments[1], sides[2] = {x, w};
  int64_t stride, pad, groups;
  if (!want_integer(e, &arguments[2], "stride", where, &stride) || !want_integer(e, &arguments[3], "pad", where, &pad) ||
      !want_integer(e, &arguments[4], "groups", where, &groups) || !promote(e, sides, 2, true, self->name, where))
    return object_poison();
  tensor_type image = logical_type(&sides[0]), kernel = logical_type(&sides[1]);
  uint32_t spatial = image.rank > 2 ? image.rank - 2 : 0;
  if (sides[0].batched || sides[1].batched) return refuse(e, DIAG_UNSUPPORTED, where, "convolve inside of an augmentation; shift and sum, or use einsum");
  if (stride < 1 || pad < 0 || groups < 1) return refuse(e, DIAG_BAD_VALUE, where, "convolve wants stride >= 1, pad >= 0, groups >= 1, got %lld, %lld, %lld", (long long)stride, (long long)pad, (long long)groups);
  bool fits = (spatial == 1 || spatial == 2) && kernel.rank == image.rank && image.dim[1] % groups == 0 && kernel.dim[0] % groups == 0 && kernel.dim[1] == image.dim[1] / groups;
  for (uint32_t i = 0; fits && i < spatial; i++) fits = image.dim[2 + i] + 2 * pad >= kernel.dim[2 + i];
  if (!fits) {
    diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, where, "%s cannot take %s with the kernel %s%s", in_library(e, where) ? e->frame->name : self->name,
                             object_text(&sides[0], e->arena), type_text(&kernel, e->arena),
                             groups > 1 ? arena_printf(e->arena, " in %lld groups", (long long)groups) : "");
    note_object(e, d, &arguments[0]);
    bool ranks = (spatial == 1 || spatial == 2) && kernel.rank == image.rank;
    if (ranks && kernel.dim[1] * groups != image.dim[1])
      diagnostic_set_help(e->diagnostics, d, "the input has %lld channels (axis 1), the kernel takes %lld", (long long)image.dim[1], (long long)(kernel.dim[1] * groups));
    else if (ranks && image.dim[1] % groups == 0 && kernel.dim[0] % groups == 0)
      diagnostic_set_help(e->diagnostics, d, "the kernel is larger than the input with its padding");
    else
      diagnostic_set_help(e->diagnostics, d, "it takes [N, C, H, W] with [K, C / groups, R, S], or [N, C, L] with [K, C / groups, R]; groups divide C and K");
    return object_poison();
  }
  int64_t out[MAX_RANK] = {image.dim[0], groups, kernel.dim[0] / groups}, flat[MAX_RANK] = {image.dim[0], kernel.dim[0]};
  for (uint32_t i = 0; i < spatial; i++) flat[2 + i] = out[3 + i] = (image.dim[2 + i] + 2 * pad - kernel.dim[2 + i]) / stride + 1;
  const char *window[2], *name[2] = {"p", "q"}, *tap[2] = {"r", "s"};
  for (uint32_t i = 0; i < spatial; i++) {
    const char *index = stride > 1 ? arena_printf(e->arena, "%lld*%s+%s", (long long)stride, name[i], tap[i]) : arena_printf(e->arena, "%s+%s", name[i], tap[i]);
    window[i] = pad ? arena_printf(e->arena, "%s-%lld", index, (long long)pad) : index;
  }
  const char *g = groups > 1 ? "g," : "", *both = spatial == 2 ? "," : "";
  const char *spec = arena_printf(e->arena, "n,%sc,%s%s%s; %sk,c,r%s -> n,%sk,p%s", g, window[0], both, spatial == 2 ? window[1] : "", g, spatial == 2 ? ",s" : "", g, spatial == 2 ? ",q" : "");
  if (groups > 1) {
    int64_t image_dim[MAX_RANK] = {image.dim[0], groups, image.dim[1] / groups}, kernel_dim[MAX_RANK] = {groups, kernel.dim[0] / groups, kernel.dim[1]};
    for (uint32_t i = 0; i < spatial; i++) {
      image_dim[3 + i] = image.dim[2 + i];
      kernel_dim[3 + i] = kernel.dim[2 + i];
    }
    sides[0] = reshape_tensor(e, sides[0], image.rank + 1, image_dim, where);
    sides[1] = reshape_tensor(e, sides[1], kernel.rank + 1, kernel_dim, where);
  }
  /* the extents of p and q stand only in the result's type */
  tensor_type declared = make_type(logical_type(&sides[0]).dtype, (groups > 1 ? 3 : 2) + spatial, groups > 1 ? out : flat);
  value v = graph_contract(e->graph, sides[0].tensor.value, sides[1].tensor.value, spec, &declared, user_place(e, where));
  object o = tensor_object(e, v, false, where);
  return groups > 1 && !is_poison(&o) ? reshape_tensor(e, o, 2 + spatial, flat, where) : o;
}
