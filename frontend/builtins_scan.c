/* scan: a loop over time, or over rows, as one operation of the graph. */
#include "ir/region.h"

#include "frontend/builtins.h"

/* -- trees ------------------------------------------------------------------------------------------------------- */

/* Tensors in lists, tuples, records and weights, in their order. */
typedef struct {
  object *items;
  uint32_t n, capacity;
} leaf_list;

typedef object leaf_map(void *context, object leaf);
typedef struct {
  leaf_map *map;
  void *context;
} weight_leaves;

static object map_weight(void *context, uint32_t i, object weight) {
  (void)i;
  const weight_leaves *w = context;
  return w->map(w->context, weight);
}

/* The tree with something else in the place of each leaf; models become their weights. */
static object map_tree(elaborator *e, object o, leaf_map *map, void *context, span where) {
  if (is_weights(&o)) {
    const weight_values *w = want_weights(e, &o, "scan", where);
    return w ? map_weights(e, w, map_weight, &(weight_leaves){map, context}, where) : object_poison();
  }
  if (o.kind != OBJECT_TUPLE && o.kind != OBJECT_LIST && o.kind != OBJECT_RECORD) return map(context, o);
  object *items = ARENA_ARRAY(e->arena, object, o.list.n + 1);
  bool poisoned = false;
  for (uint32_t i = 0; i < o.list.n; i++) {
    items[i] = map_tree(e, o.list.items[i], map, context, where);
    poisoned |= is_poison(&items[i]);
  }
  o.list.items = items;
  return poisoned ? object_poison() : o;
}

typedef struct {
  elaborator *e;
  span where;
  const char *what;
  leaf_list *list;
} collecting;

static object collect_leaf(void *context, object leaf) {
  const collecting *c = context;
  object o = to_tensor(c->e, leaf, DTYPE_COUNT, c->what, c->where);
  *ARENA_PUSH(c->e->arena, c->list->items, c->list->n, c->list->capacity) = o;
  return o;
}

/* The leaves as tensors of the graph at hand; false after an error. */
static bool leaves_of(elaborator *e, object o, const char *what, span where, leaf_list *list) {
  collecting c = {e, where, what, list};
  object tree = map_tree(e, o, collect_leaf, &c, where);
  return !is_poison(&tree);
}

static object next_leaf(void *context, object leaf) {
  (void)leaf;
  leaf_list *list = context;
  return list->items[list->n++];
}

/* The tree with these leaves. */
static object with_leaves(elaborator *e, object tree, const object *leaves, span where) {
  leaf_list list = {.items = (object *)(uintptr_t)leaves};
  return map_tree(e, tree, next_leaf, &list, where);
}

static bool same_tree(const object *x, const object *y) {
  if (is_weights(x) || is_weights(y)) return is_weights(x) && is_weights(y);
  bool parts[2] = {x->kind == OBJECT_TUPLE || x->kind == OBJECT_LIST || x->kind == OBJECT_RECORD, y->kind == OBJECT_TUPLE || y->kind == OBJECT_LIST || y->kind == OBJECT_RECORD};
  if (parts[0] != parts[1] || (parts[0] && x->list.n != y->list.n)) return false;
  for (uint32_t i = 0; parts[0] && i < x->list.n; i++)
    if (!same_tree(&x->list.items[i], &y->list.items[i])) return false;
  return true;
}

/* -- axes ---------------------------------------------------------------------------------------------------------- */

/* The value with its axis `from` at the place `to`; axes of the graph. */
static value move_axis(elaborator *e, value v, uint32_t from, uint32_t to, span user) {
  const uint32_t rank = graph_type(e->graph, v)->rank;
  int64_t axes[MAX_RANK];
  uint32_t next = 0;
  if (from == to) return v;
  for (uint32_t i = 0; i < rank; i++) {
    if (next == from) next++;
    axes[i] = i == to ? from : next++;
  }
  return graph_transpose(e->graph, v, axes, user);
}

/* -- the loop -------------------------------------------------------------------------------------------------------- */

typedef struct {
  elaborator *e;
  span where;
  object x, carry, body; /* carry: none when nothing is carried */
  int64_t axis, times;
  bool reverse, carries;
  leaf_list slices, first; /* of x; of the carry */
} scan;

/* Every tensor of x has as many slices. */
static bool read_slices(scan *s, const object *axis) {
  if (!leaves_of(s->e, s->x, "scan", s->where, &s->slices)) return false;
  if (s->slices.n == 0) return wrong_kind(s->e, s->where, "scan", "a tensor with an axis to run along", &s->x), false;
  for (uint32_t i = 0; i < s->slices.n; i++) {
    const tensor_type t = logical_type(&s->slices.items[i]);
    const object same = object_integer(s->axis, s->where);
    int64_t at;
    if (!want_axis(s->e, i ? &same : axis, t.rank, "scan", s->where, &at)) return false;
    if (i && t.dim[at] != s->times) {
      diagnostic *d = complain(s->e, DIAG_SHAPE_MISMATCH, s->where, "scan runs along one length: %s and %s", object_text(&s->slices.items[0], s->e->arena), object_text(&s->slices.items[i], s->e->arena));
      note_object(s->e, d, &s->slices.items[i]);
      return false;
    }
    s->axis = at;
    s->times = t.dim[at];
  }
  if (s->times >= 1 && s->times <= INT32_MAX) return true;
  return refuse(s->e, DIAG_BAD_VALUE, s->where, "scan runs along an axis of 1 to %d elements, and this one has %lld", INT32_MAX, (long long)s->times), false;
}

/* Inside of an augmentation a carry is one of each sample. */
static bool read_carry(scan *s) {
  if (!s->carries) return true;
  if (!leaves_of(s->e, s->carry, "carry", s->where, &s->first)) return false;
  for (uint32_t i = 0; i < s->first.n && batch_size(s->e); i++)
    if (!s->first.items[i].batched) s->first.items[i] = stretch(s->e, s->first.items[i], logical_type(&s->first.items[i]), true, s->where);
  return true;
}

/* The leaves of the carry as they come out of an iteration have the types that they went in with. */
static bool give_carries(scan *s, const loop_region *r, object next) {
  elaborator *e = s->e;
  leaf_list leaves = {0};
  if (!leaves_of(e, next, "scan", s->where, &leaves)) return false;
  for (uint32_t i = 0; i < leaves.n; i++) {
    const object *first = &s->first.items[i];
    object *o = &leaves.items[i];
    const tensor_type wanted = logical_type(first);
    tensor_type found = logical_type(o);
    if (found.dtype != wanted.dtype && dtype_is_real(found.dtype) == dtype_is_real(wanted.dtype)) *o = cast_tensor(e, *o, wanted.dtype, s->where);
    if (first->batched && !o->batched) *o = stretch(e, *o, found, true, s->where);
    found = logical_type(o);
    if (!type_equal(&found, &wanted)) {
      diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, s->where, "the carry begins as %s, and the body of the loop makes %s of it", type_text(&wanted, e->arena), type_text(&found, e->arena));
      note_object(e, d, &s->first.items[i]);
      note_object(e, d, o);
      return false;
    }
    region_result(r->graph, "state", i, o->tensor.value, user_place(e, s->where));
  }
  return true;
}

/* What the body gave: the next carry, which is stacked itself, or a pair of it and of what is stacked. */
static bool take_apart(scan *s, object given, object *next, object *stacked) {
  *next = *stacked = given;
  if (!s->carries || same_tree(&given, &s->carry)) return true;
  if ((given.kind == OBJECT_TUPLE || given.kind == OBJECT_LIST) && given.list.n == 2 && same_tree(&given.list.items[0], &s->carry)) {
    *next = given.list.items[0];
    *stacked = given.list.items[1];
    return true;
  }
  diagnostic *d = complain(s->e, DIAG_SHAPE_MISMATCH, s->where, "the body of the loop gives %s, and the carry begins as %s", object_text(&given, s->e->arena), object_text(&s->carry, s->e->arena));
  diagnostic_set_help(s->e->diagnostics, d, "it gives the next carry, or (next carry, what is stacked)");
  return false;
}

/* One iteration, in the region: parameters, the body, results. `stacked`: leaves of what is stacked. */
static bool run_body_once(scan *s, const loop_region *r, object *tree, leaf_list *stacked) {
  elaborator *e = s->e;
  const span user = user_place(e, s->where);
  object *carry = ARENA_ARRAY(e->arena, object, s->first.n + 1), *slice = ARENA_ARRAY(e->arena, object, s->slices.n + 1), arguments[2];
  for (uint32_t i = 0; i < s->first.n; i++) {
    const object *o = &s->first.items[i];
    carry[i] = tensor_object(e, region_parameter(r->graph, "state", i, *graph_type(r->outer, o->tensor.value), user), o->batched, o->where);
  }
  for (uint32_t i = 0; i < s->slices.n; i++) {
    const object *o = &s->slices.items[i];
    tensor_type t = *graph_type(r->outer, o->tensor.value);
    slice[i] = tensor_object(e, region_parameter(r->graph, "slice", i, region_slice_type(&t), user), o->batched, o->where);
  }
  uint32_t n = 0;
  if (s->carries) arguments[n++] = with_leaves(e, s->carry, carry, s->where);
  arguments[n++] = with_leaves(e, s->x, slice, s->where);
  object given = call_with(e, s->body, arguments, n, s->where), next;
  if (is_poison(&given) || !take_apart(s, given, &next, tree)) return false;
  if (s->carries && !give_carries(s, r, next)) return false;
  if (!leaves_of(e, *tree, "scan", s->where, stacked)) return false;
  for (uint32_t i = 0; i < stacked->n; i++) {
    const object *o = &stacked->items[i];
    tensor_type t = logical_type(o);
    if (s->axis > t.rank || t.rank + 1 + o->batched > MAX_RANK) {
      wrong_kind(e, s->where, "scan", arena_printf(e->arena, "at least %lld axes in what it stacks along axis %lld", (long long)s->axis, (long long)s->axis), o);
      return false;
    }
    region_result(r->graph, "output", i, o->tensor.value, user);
  }
  return stacked->n > 0 || (wrong_kind(e, s->where, "scan", "a tensor from the body of its loop", tree), false);
}

static object run_scan(scan *s) {
  elaborator *e = s->e;
  const span user = user_place(e, s->where);
  value *carries = ARENA_ARRAY(e->arena, value, s->first.n + 1), *slices = ARENA_ARRAY(e->arena, value, s->slices.n + 1);
  for (uint32_t i = 0; i < s->first.n; i++) carries[i] = s->first.items[i].tensor.value;
  for (uint32_t i = 0; i < s->slices.n; i++) {
    object *o = &s->slices.items[i];
    slices[i] = o->tensor.value = move_axis(e, o->tensor.value, (uint32_t)s->axis + o->batched, 0, user);
  }
  loop_region r;
  object tree;
  leaf_list stacked = {0};
  if (!count_iteration(e, s->where) || !enter_region(e, s->times, s->reverse, s->first.n, s->slices.n, &r, s->where)) return object_poison();
  if (!run_body_once(s, &r, &tree, &stacked)) {
    leave_failed_region(e, &r);
    return object_poison();
  }
  value made = finish_region(e, &r, carries, slices, s->where);
  if (!made) return object_poison();
  for (uint32_t i = 0; i < stacked.n; i++) {
    object *o = &stacked.items[i];
    value v = move_axis(e, made + r.n_carries + r.n_cells + i, 0, (uint32_t)s->axis + o->batched, user);
    *o = tensor_object(e, v, o->batched, s->where);
  }
  return with_leaves(e, tree, stacked.items, s->where);
}

object builtin_scan(elaborator *e, const function *self, object *arguments, span where) {
  (void)self;
  scan s = {.e = e, .where = where, .x = arguments[0], .body = arguments[1], .carry = arguments[2], .carries = arguments[2].kind != OBJECT_NONE};
  if (!want_truth(e, &arguments[4], "reverse", where, &s.reverse)) return object_poison();
  return read_slices(&s, &arguments[3]) && read_carry(&s) ? run_scan(&s) : object_poison();
}
