/* Calls: arguments, configuration and application, frames. */
#include "frontend/builtins.h"

/* -- arguments --------------------------------------------------------------------------------------------------- */

static bool evaluate_arguments(elaborator *e, scope *s, const ast_items *items, call_arguments *out) {
  *out = (call_arguments){ARENA_ARRAY(e->arena, object, items->n + 1), ARENA_ARRAY(e->arena, const char *, items->n + 1),
                     ARENA_ARRAY(e->arena, span, items->n + 1), items->n};
  bool good = true;
  for (uint32_t i = 0; i < items->n; i++) {
    out->names[i] = items->items[i].name;
    out->where[i] = items->items[i].name ? items->items[i].where : items->items[i].value->where;
    out->values[i] = evaluate(e, s, items->items[i].value);
    good &= !is_poison(&out->values[i]);
  }
  return good;
}

static call_arguments in_front(elaborator *e, object first, const call_arguments *rest, span where) {
  call_arguments all = {ARENA_ARRAY(e->arena, object, rest->n + 1), ARENA_ARRAY(e->arena, const char *, rest->n + 1),
                   ARENA_ARRAY(e->arena, span, rest->n + 1), rest->n + 1};
  all.values[0] = first;
  all.where[0] = where;
  for (uint32_t i = 0; i < rest->n; i++) {
    all.values[i + 1] = rest->values[i];
    all.names[i + 1] = rest->names[i];
    all.where[i + 1] = rest->where[i];
  }
  return all;
}

static const char *parameter_list(elaborator *e, const ast_parameters *p) {
  const char *text = "";
  for (uint32_t i = 0; i < p->n; i++) text = arena_printf(e->arena, "%s%s%s%s", text, i ? ", " : "", p->items[i].name, p->items[i].otherwise ? " = ..." : "");
  return text;
}

static int64_t find_parameter(const ast_parameters *p, const char *name) {
  for (uint32_t i = 0; i < p->n; i++)
    if (!strcmp(p->items[i].name, name)) return i;
  return -1;
}

/* Which argument goes to which parameter; -1 for none. False after an error. */
static bool match_arguments(elaborator *e, const char *name, const ast_parameters *p, const call_arguments *given, int64_t *chosen) {
  bool named = false, good = true;
  for (uint32_t i = 0; i < p->n; i++) chosen[i] = -1;
  for (uint32_t i = 0; i < given->n; i++) {
    int64_t at = i;
    if (given->names[i]) {
      named = true;
      at = find_parameter(p, given->names[i]);
      if (at < 0) {
        const char **names = ARENA_ARRAY(e->arena, const char *, p->n + 1);
        for (uint32_t k = 0; k < p->n; k++) names[k] = p->items[k].name;
        diagnostic *d = complain(e, DIAG_UNKNOWN_ARGUMENT, given->where[i], "%s has no argument called %s: %s(%s)", name, given->names[i], name, parameter_list(e, p));
        help_nearest(e, d, nearest_text(given->names[i], names));
        good = false;
        continue;
      }
    } else if (named) {
      complain(e, DIAG_ARGUMENT_ORDER, given->where[i], "positional arguments come before named ones");
      return false;
    } else if (i >= p->n) {
      complain(e, DIAG_TOO_MANY_ARGUMENTS, given->where[i], "%s takes %u argument%s here, got %u: %s(%s)", name, p->n, p->n == 1 ? "" : "s", given->n, name, parameter_list(e, p));
      return false;
    }
    if (chosen[at] >= 0) {
      complain(e, DIAG_DUPLICATE_ARGUMENT, given->where[i], "%s got its argument %s twice", name, p->items[at].name);
      good = false;
    }
    chosen[at] = i;
  }
  return good;
}

/* f32[N, C, 32, 32]: checks the rank and the numbers, and binds the names to the dimensions. */
static bool bind_dimensions(elaborator *e, scope *s, const ast_parameter *p, const object *o, const char *name) {
  if (!p->type.element) return true;
  dtype type = DTYPE_F32;
  if (!dtype_from_name(p->type.element, strlen(p->type.element), &type)) {
    complain(e, DIAG_UNKNOWN_NAME, p->type.where, "there is no element type %s: bool, u8, i32, u32, i64, bf16, f32, f64", p->type.element);
    return false;
  }
  if (o->kind != OBJECT_TENSOR) {
    if (p->type.dims.n == 0 && o->kind == OBJECT_NUMBER) return true;
    wrong_kind(e, o->where, name, arena_printf(e->arena, "a tensor for %s", p->name), o);
    return false;
  }
  tensor_type found = logical_type(o);
  uint32_t n = p->type.dims.n;
  bool open = n && p->type.dims.items[0].value->kind == AST_NAME && !strcmp(p->type.dims.items[0].value->text, "...");
  bool fits = open ? found.rank + 1 >= n : found.rank == n;
  fits &= dtype_is_real(type) == dtype_is_real(found.dtype) && (type == DTYPE_BOOL) == (found.dtype == DTYPE_BOOL);
  for (uint32_t i = open; fits && i < n; i++) {
    const ast_expr *dim = p->type.dims.items[i].value;
    int64_t size = found.dim[found.rank - n + i], wanted = size;
    if (dim->kind == AST_NAME && (!scope_find(s, dim->text) || !scope_find(s, dim->text)->value.kind)) {
      scope_bind(s, dim->text, object_integer(size, dim->where), e->arena);
      continue;
    }
    object o2 = evaluate(e, s, dim);
    if (is_poison(&o2) || !want_integer(e, &o2, "a dimension", dim->where, &wanted)) return false;
    fits = wanted == size;
  }
  if (fits) return true;
  diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, user_place(e, o->where), "%s wants %s for %s, got %s", name, source_text(e, p->type.where), p->name, object_text(o, e->arena));
  note_object(e, d, o);
  diagnostic_add_note(e->diagnostics, d, p->where, "the parameter is declared here");
  return false;
}

/* What is a truth by default takes no number: linear(64, 10) would otherwise say something about its bias. */
static bool is_truth_where_wanted(elaborator *e, const char *name, const ast_parameters *p, uint32_t i, const object *v, span where) {
  const ast_expr *otherwise = p->items[i].otherwise;
  bool wants_truth = otherwise && (otherwise->kind == AST_TRUE || otherwise->kind == AST_FALSE);
  if (!wants_truth || v->kind != OBJECT_NUMBER) return true;
  diagnostic *d = complain(e, DIAG_WRONG_KIND, where, "%s wants true or false for %s, got %s", name, p->items[i].name, object_text(v, e->arena));
  diagnostic_add_note(e->diagnostics, d, p->items[i].where, "the parameter is declared here");
  diagnostic_set_help(e->diagnostics, d, "it is called as %s(%s); sizes of inputs are seen, not given", name, parameter_list(e, p));
  return false;
}

scope *bind_arguments(elaborator *e, const char *name, const ast_parameters *p, scope *around, const call_arguments *given, span where) {
  int64_t *chosen = ARENA_ARRAY(e->arena, int64_t, p->n + 1);
  scope *s = scope_new(around, true, e->arena);
  if (!match_arguments(e, name, p, given, chosen)) return NULL;
  bool good = true;
  for (uint32_t i = 0; i < p->n; i++) {
    object v = object_poison();
    if (chosen[i] >= 0) {
      v = given->values[chosen[i]];
    } else if (p->items[i].otherwise) {
      v = evaluate(e, s, p->items[i].otherwise);
    } else {
      complain(e, DIAG_MISSING_ARGUMENT, where, "%s needs its argument %s: %s(%s)", name, p->items[i].name, name, parameter_list(e, p));
      return NULL;
    }
    good &= !is_poison(&v);
    scope_bind(s, p->items[i].name, v, e->arena);
    if (good) good = bind_dimensions(e, s, &p->items[i], &v, name) && is_truth_where_wanted(e, name, p, i, &v, chosen[i] >= 0 ? given->where[chosen[i]] : where);
  }
  return good ? s : NULL;
}

/* -- frames -------------------------------------------------------------------------------------------------------- */

const char *next_path(elaborator *e, const char *path, ordinals *counts, const char *name) {
  for (uint32_t i = 0; i < counts->n; i++)
    if (!strcmp(counts->items[i].name, name)) return arena_printf(e->arena, "%s/%s_%u", path, name, ++counts->items[i].count);
  uint32_t n = counts->n;
  ARENA_PUSH(e->arena, counts->items, counts->n, counts->capacity);
  counts->items[n].name = name;
  counts->items[n].count = 1;
  return arena_printf(e->arena, "%s/%s_1", path, name);
}

frame *enter_frame(elaborator *e, const char *name, span where) {
  if (e->depth >= DEEPEST_CALL) {
    if (!e->stopped) complain(e, DIAG_RECURSION, where, "%s is called %d calls deep: a recursion without an end", name, DEEPEST_CALL);
    e->stopped = true;
    return NULL;
  }
  frame *f = ARENA_NEW(e->arena, frame), *caller = e->frame;
  if (caller) *f = *caller;
  f->caller = caller;
  f->name = name;
  f->user = user_place(e, where);
  f->sites = f->layers = (ordinals){0};
  f->input = object_make(OBJECT_NONE, where);
  f->named = NULL;
  f->updates = NULL;
  f->pretext = false;
  f->site = caller ? next_path(e, caller->site, &caller->sites, name) : name;
  e->frame = f;
  e->depth++;
  return f;
}

void leave_frame(elaborator *e) {
  e->frame = e->frame->caller;
  e->depth--;
}

object run_body(elaborator *e, const function *f, scope *s) { return f->value ? evaluate(e, s, f->value) : run_block(e, s, f->block); }

/* -- the kinds of functions ------------------------------------------------------------------------------------------- */

static object apply_builtin(elaborator *e, function *f, const call_arguments *given, span where) {
  scope *s = bind_arguments(e, f->name, f->inner, f->scope, given, where);
  if (!s) return object_poison();
  object *values = ARENA_ARRAY(e->arena, object, f->inner->n + 1);
  for (uint32_t i = 0; i < f->inner->n; i++) values[i] = s->items[i]->value;
  return f->builtin(e, f, values, where);
}

static object apply_plain(elaborator *e, function *f, const call_arguments *given, span where) {
  scope *s = bind_arguments(e, f->name, f->inner, f->scope, given, where);
  if (!s) return object_poison();
  frame *caller = e->frame, *inner = enter_frame(e, f->name, where);
  if (!inner) return object_poison();
  if (caller && caller->weights) inner->weights = next_path(e, caller->weights, &caller->layers, f->name);
  object result = run_body(e, f, s);
  leave_frame(e);
  return result;
}

static object apply_encoder(elaborator *e, function *f, const call_arguments *given, span where) {
  frame *caller = e->frame;
  if (!caller || !caller->model) {
    diagnostic *d = complain(e, DIAG_LAYER_OUTSIDE, where, "%s is a layer: it is called in the body of an encoder or a net", f->name);
    diagnostic_set_help(e->diagnostics, d, "declare it as a model: model m = %s(...)", f->name);
    return object_poison();
  }
  scope *s = bind_arguments(e, f->name, f->inner, f->scope, given, where);
  if (!s) return object_poison();
  frame *inner = enter_frame(e, f->name, where);
  if (!inner) return object_poison();
  inner->weights = f->weights ? f->weights : next_path(e, caller->weights, &caller->layers, f->name);
  if (given->n) inner->input = given->values[0];
  object result = run_body(e, f, s);
  leave_frame(e);
  return result;
}

static object mark_batched(elaborator *e, object o, bool batched, span where) {
  if (o.kind == OBJECT_TUPLE || o.kind == OBJECT_LIST) {
    object *items = ARENA_ARRAY(e->arena, object, o.list.n);
    for (uint32_t i = 0; i < o.list.n; i++) items[i] = mark_batched(e, o.list.items[i], batched, where);
    o.list.items = items;
  } else if (o.kind == OBJECT_TENSOR) {
    if (!batched && !o.batched) o = stretch(e, o, logical_type(&o), true, where);
    o.batched = batched;
    o.where = batched ? o.where : where;
  }
  return o;
}

/* Maps the body over the batch: outside, its arguments have a leading axis; inside, they are one sample. */
static object apply_augment(elaborator *e, function *f, const call_arguments *given, span where) {
  bool mapped = batch_size(e) == 0;
  call_arguments inside = *given;
  int64_t batch = 0;
  if (mapped) {
    inside.values = ARENA_ARRAY(e->arena, object, given->n + 1);
    for (uint32_t i = 0; i < given->n; i++) {
      object o = inside.values[i] = given->values[i];
      if (o.kind != OBJECT_TENSOR) continue;
      tensor_type type = logical_type(&o);
      if (type.rank == 0 || (batch && type.dim[0] != batch)) {
        diagnostic *d = complain(e, DIAG_SHAPE_MISMATCH, given->where[i], "%s is mapped over a batch%s, got %s", f->name,
                                 batch ? arena_printf(e->arena, " of %lld", (long long)batch) : "", object_text(&o, e->arena));
        note_object(e, d, &o);
        return object_poison();
      }
      batch = type.dim[0];
      inside.values[i] = to_tensor(e, o, DTYPE_COUNT, f->name, where);
      if (is_poison(&inside.values[i])) return object_poison();
      inside.values[i].batched = true;
    }
    if (batch == 0) return refuse(e, DIAG_WRONG_KIND, where, "%s is mapped over a batch, and none of its arguments is one", f->name);
  }
  frame *inner = enter_frame(e, f->name, where);
  if (!inner) return object_poison();
  if (mapped) inner->batch = batch;
  scope *s = bind_arguments(e, f->name, f->inner, f->scope, &inside, where);
  object result = s ? run_body(e, f, s) : object_poison();
  if (mapped && !is_poison(&result)) result = mark_batched(e, result, false, where);
  leave_frame(e);
  return result;
}

static object configure(elaborator *e, function *f, const call_arguments *given, span where) {
  scope *s = bind_arguments(e, f->name, f->outer, f->scope, given, where);
  if (!s) return object_poison();
  function *made = ARENA_NEW(e->arena, function);
  *made = *f;
  made->configured = true;
  made->scope = s;
  if (f->kind == FUNCTION_ENCODER && e->frame && e->frame->model)
    made->weights = next_path(e, e->frame->weights, &e->frame->layers, f->name);
  object o = object_make(OBJECT_FUNCTION, where);
  o.function = made;
  return o;
}

static object call_function(elaborator *e, function *f, const call_arguments *given, span where) {
  if (f->outer && !f->configured) return configure(e, f, given, where);
  switch (f->kind) {
    case FUNCTION_PLAIN: return apply_plain(e, f, given, where);
    case FUNCTION_AUGMENT: return apply_augment(e, f, given, where);
    case FUNCTION_ENCODER: return apply_encoder(e, f, given, where);
    case FUNCTION_BUILTIN: return apply_builtin(e, f, given, where);
    case FUNCTION_OPTIMIZER: break;
  }
  return refuse(e, DIAG_OUT_OF_PLACE, where, "the optimizer %s is applied by train: optimizer: %s(...)", f->name, f->name);
}

object call_object(elaborator *e, object f, const call_arguments *given, span where) {
  if (e->stopped) return object_poison();
  switch (f.kind) {
    case OBJECT_POISON: return f;
    case OBJECT_FUNCTION: return call_function(e, f.function, given, where);
    case OBJECT_MODEL: return call_model(e, f.model, NULL, given, where);
    case OBJECT_WEIGHTS: return call_model(e, f.weights->model, f.weights, given, where);
    default: {
      diagnostic *d = complain(e, DIAG_NOT_CALLABLE, where, "%s cannot be called", object_text(&f, e->arena));
      note_object(e, d, &f);
      if (f.kind == OBJECT_TENSOR || f.kind == OBJECT_LIST || f.kind == OBJECT_TUPLE) diagnostic_set_help(e->diagnostics, d, "elements are taken with brackets: x[0]");
      return object_poison();
    }
  }
}

object call_with(elaborator *e, object f, object *values, uint32_t n, span where) {
  call_arguments given = {values, ARENA_ARRAY(e->arena, const char *, n + 1), ARENA_ARRAY(e->arena, span, n + 1), n};
  for (uint32_t i = 0; i < n; i++) given.where[i] = where;
  return call_object(e, f, &given, where);
}

/* x.size(i): the methods of tensors. */
static bool evaluate_method(elaborator *e, scope *s, const ast_expr *x, object *out) {
  const ast_expr *callee = x->left;
  if (callee->kind != AST_FIELD || (strcmp(callee->text, "size") && strcmp(callee->text, "dim"))) return false;
  object of = evaluate(e, s, callee->left);
  call_arguments given;
  if (!evaluate_arguments(e, s, &x->items, &given) || is_poison(&of)) {
    *out = object_poison();
    return true;
  }
  if (of.kind != OBJECT_TENSOR) {
    *out = wrong_kind(e, callee->where, arena_printf(e->arena, ".%s", callee->text), "a tensor", &of);
    return true;
  }
  tensor_type type = logical_type(&of);
  int64_t axis = 0;
  if (given.n != 1) *out = refuse(e, DIAG_MISSING_ARGUMENT, x->where, ".%s wants an axis: x.%s(-1)", callee->text, callee->text);
  else *out = want_axis(e, &given.values[0], type.rank, ".size", x->where, &axis) ? object_integer(type.dim[axis], x->where) : object_poison();
  return true;
}

object evaluate_call(elaborator *e, scope *s, const ast_expr *x) {
  object result;
  if (evaluate_method(e, s, x, &result)) return result;
  object f = evaluate(e, s, x->left);
  call_arguments given;
  if (f.kind == OBJECT_FUNCTION && f.function->builtin == builtin_features) return evaluate_features(e, s, x); /* what it computes is of other data */
  if (!evaluate_arguments(e, s, &x->items, &given)) return object_poison();
  return call_object(e, f, &given, x->where);
}

object evaluate_pipe(elaborator *e, scope *s, const ast_expr *x) {
  object from = evaluate(e, s, x->left);
  const ast_expr *right = x->right;
  if (is_poison(&from)) { /* a mistake in the name behind is found as well */
    evaluate(e, s, right->kind == AST_CALL && right->left->kind == AST_NAME ? right->left : right);
    return from;
  }
  call_arguments none = {0};
  if (right->kind == AST_CALL && right->left->kind != AST_FIELD) {
    object f = evaluate(e, s, right->left);
    call_arguments given;
    if (!evaluate_arguments(e, s, &right->items, &given) || is_poison(&f)) return object_poison();
    /* a function with one list takes x in front: x |> reshape([2, 3]) */
    bool one_list = f.kind == OBJECT_FUNCTION && (!f.function->outer || f.function->configured);
    if (one_list) {
      call_arguments all = in_front(e, from, &given, x->left->where);
      return call_object(e, f, &all, x->where);
    }
    object configured = call_object(e, f, &given, right->where);
    return is_poison(&configured) ? configured : call_with(e, configured, &from, 1, x->where);
  }
  object f = evaluate(e, s, right);
  if (f.kind == OBJECT_FUNCTION && f.function->outer && !f.function->configured) f = call_object(e, f, &none, right->where);
  return is_poison(&f) ? f : call_with(e, f, &from, 1, x->where);
}
