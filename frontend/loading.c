/* Weights from files: load("run.safetensors").f, for `frozen` and for the first weights of a model. A checkpoint holds the definitions
 * of the program that wrote it, so that a model can be made again from the file alone. */
#include "frontend/builtins.h"

/* -- files --------------------------------------------------------------------------------------------------------- */

static object file_object(weights_file *f, const char *part, span where) {
  object o = object_make(OBJECT_FILE, where);
  o.file.of = f;
  o.file.part = part;
  return o;
}

static object load_file(elaborator *e, const char *path, span where) {
  const char *error = "files of weights cannot be read here";
  for (uint32_t i = 0; i < e->n_files; i++)
    if (!strcmp(e->files[i]->path, path)) return file_object(e->files[i], NULL, where);
  weights_file *f = ARENA_NEW(e->arena, weights_file);
  f->path = path;
  const data_catalog *c = e->options->catalog;
  if (!c->weights || !c->weights(c->context, path, &f->holds, &error, e->arena)) return refuse(e, DIAG_WEIGHTS_FILE, where, "%s", error);
  *ARENA_PUSH(e->arena, e->files, e->n_files, e->files_capacity) = f;
  return file_object(f, NULL, where);
}

object builtin_load(elaborator *e, const function *self, object *arguments, span where) {
  if (arguments[0].kind != OBJECT_STRING) return wrong_kind(e, where, self->name, "the path of a file", &arguments[0]);
  return load_file(e, arguments[0].text, where);
}

object file_part(elaborator *e, const object *file, const char *name, span where) {
  return file_object(file->file.of, file->file.part ? arena_printf(e->arena, "%s/%s", file->file.part, name) : name, where);
}

/* The rest of a name behind a part, "conv_1/w" of "f/conv_1/w"; NULL when it is of another part. */
static const char *behind(const char *name, const char *part) {
  size_t n = strlen(part);
  return !strncmp(name, part, n) && name[n] == '/' ? name + n + 1 : NULL;
}

/* The models that a file has: what stands in front of the first / in names, but for states of optimizers. */
static const char *parts_of(elaborator *e, const weights_file *f) {
  const char *list = "", *last = "";
  for (uint32_t i = 0; i < f->holds.n; i++) {
    const char *name = f->holds.weights[i].name, *slash = strchr(name, '/'), *dot = strchr(name, '.');
    if (!slash || (dot && dot < slash)) continue;
    const char *part = arena_substring(e->arena, name, (size_t)(slash - name));
    if (!strcmp(part, last)) continue;
    list = arena_printf(e->arena, "%s%s%s", list, *list ? ", " : "", part);
    last = part;
  }
  return list;
}

static bool has_part(const weights_file *f, const char *part) {
  for (uint32_t i = 0; i < f->holds.n; i++)
    if (behind(f->holds.weights[i].name, part)) return true;
  return false;
}

/* -- models that are made again ------------------------------------------------------------------------------------- */

/* The definitions that a file holds, with the library behind them; NULL after an error. */
static scope *stored_scope(elaborator *e, weights_file *f, span where) {
  if (!f->scope && f->holds.definitions) {
    uint32_t file = sources_add(e->diagnostics->sources, f->path, f->holds.definitions, strlen(f->holds.definitions)), errors = e->diagnostics->errors;
    ast_program *p = parse_program(file, e->diagnostics, e->arena);
    if (e->diagnostics->errors > errors) return NULL;
    f->scope = scope_new(e->library, false, e->arena);
    for (uint32_t i = 0; i < p->n; i++) declare_name(e, f->scope, p->items[i]);
  }
  if (f->scope) return f->scope;
  diagnostic *d = complain(e, DIAG_WEIGHTS_FILE, where, "%s does not say how its models are made", f->path);
  diagnostic_set_help(e->diagnostics, d, "write the encoder in front: resnet18() from load(\"%s\").f", f->path);
  return NULL;
}

static object stored_encoder(elaborator *e, weights_file *f, const char *part, span where) {
  scope *s = stored_scope(e, f, where);
  if (!s) return object_poison();
  const binding *b = scope_own(s, part);
  const ast_declaration *d = b ? b->declaration : NULL;
  if (d && d->kind == DECLARE_TARGET && d->value->kind == AST_CALL && d->value->items.n && d->value->items.items[0].value->kind == AST_NAME)
    return stored_encoder(e, f, d->value->items.items[0].value->text, where); /* ema(f, ...) is made like f */
  if (!d || (d->kind != DECLARE_MODEL && d->kind != DECLARE_FROZEN))
    return refuse(e, DIAG_WEIGHTS_FILE, where, "the program of %s declares no model %s; it has %s", f->path, part, parts_of(e, f));
  object made = evaluate(e, s, d->value);
  return made.kind == OBJECT_FILE ? stored_encoder(e, made.file.of, made.file.part ? made.file.part : part, where) : made;
}

/* -- what a model gets ------------------------------------------------------------------------------------------------ */

bool model_source(elaborator *e, scope *s, const ast_declaration *d, const char *name, object *made, object *file) {
  *file = object_make(OBJECT_NONE, d->where);
  if (made->kind == OBJECT_FILE) *file = *made;
  span where = d->from ? d->from->where : d->value->where;
  if (d->from) {
    *file = evaluate(e, s, d->from);
    if (file->kind == OBJECT_STRING) *file = load_file(e, file->text, where);
  }
  if (is_poison(file) || file->kind == OBJECT_NONE) return !is_poison(file);
  if (file->kind != OBJECT_FILE) return wrong_kind(e, where, "from", "a file, as \"run.safetensors\" or load(\"run.safetensors\").f", file), false;
  if (!file->file.part) file->file.part = name;
  weights_file *f = file->file.of;
  if (!has_part(f, file->file.part)) {
    diagnostic *error = complain(e, DIAG_WEIGHTS_FILE, where, "%s has no weights of a model %s; it has %s", f->path, file->file.part, parts_of(e, f));
    diagnostic_set_help(e->diagnostics, error, "another name in the file is written load(\"%s\").name", f->path);
    return false;
  }
  if (made->kind == OBJECT_FILE) *made = stored_encoder(e, f, file->file.part, where);
  return !is_poison(made);
}

static bool agrees(elaborator *e, const model *m, const char *path, const tensor_type *type, const stored_weight *found, span where) {
  if (shape_equal(type, &found->type) && (type->dtype == found->type.dtype || (dtype_is_real(type->dtype) && dtype_is_real(found->type.dtype)))) return true;
  diagnostic *d = complain(e, DIAG_WEIGHTS_FILE, where, "the weight %s is %s here, and %s has %s for it (%s)", path, type_text(type, e->arena), m->file->path,
                           type_text(&found->type, e->arena), found->name);
  diagnostic_add_note(e->diagnostics, d, m->where, "the model is declared here");
  return false;
}

static void miss(elaborator *e, model *m, const char *path, const char *name, span where) {
  if (m->frozen) {
    diagnostic *d = complain(e, DIAG_WEIGHTS_FILE, where, "%s has no %s, which the frozen model %s wants for %s", m->file->path, name, m->name, path);
    diagnostic_add_note(e->diagnostics, d, m->where, "the model is declared here");
  } else if (m->missing++ < 4) {
    m->missing_names = arena_printf(e->arena, "%s%s%s", m->missing_names ? m->missing_names : "", m->missing_names ? ", " : "", path);
  }
}

bool stored_value(elaborator *e, model *m, const char *path, const tensor_type *type, span where, value *out) {
  model *from = m && m->target ? m->follows : m; /* a target begins as its model */
  *out = 0;
  if (!from || !from->file) return true;
  const char *name = arena_printf(e->arena, "%s%s", from->part, path + strlen(m->name));
  const stored_weight *found = NULL;
  for (uint32_t i = 0; i < from->file->holds.n && !found; i++)
    if (!strcmp(from->file->holds.weights[i].name, name)) found = &from->file->holds.weights[i];
  if (!found) {
    if (from == m) miss(e, from, path, name, where);
    return !from->frozen;
  }
  if (type && !agrees(e, from, path, type, found, where)) return false;
  tensor_type t = found->type;
  if (dtype_is_real(t.dtype)) t.dtype = e->real;
  experiment *x = e->experiment;
  *ARENA_PUSH(e->arena, x->loads, x->n_loads, e->loads_capacity) = (experiment_load){path, from->file->path, name};
  *out = graph_parameter(e->init, "data", path, t, user_place(e, where));
  from->taken += from == m;
  return true;
}

void finish_loading(elaborator *e) {
  experiment *x = e->experiment;
  x->origins = ARENA_ARRAY(e->arena, experiment_origin, e->n_models + 1);
  for (uint32_t i = 0; i < e->n_models; i++) {
    const model *m = e->models[i];
    if (!m->file || !m->called) continue;
    uint32_t there = 0;
    for (uint32_t k = 0; k < m->file->holds.n; k++) there += behind(m->file->holds.weights[k].name, m->part) != NULL;
    x->origins[x->n_origins++] = (experiment_origin){m->name, m->file->path, m->part, m->taken, m->missing, there - m->taken};
    if (!m->missing) continue;
    diagnostic *d = m->taken ? diagnose_warning(e->diagnostics, DIAG_NOT_LOADED, m->where, "%u of %u weights of %s are not in %s (%s) and keep their first values: %s%s", m->missing,
                                                m->missing + m->taken, m->name, m->file->path, m->part, m->missing_names, m->missing > 4 ? ", ..." : "")
                             : complain(e, DIAG_WEIGHTS_FILE, m->where, "no weight of %s is in %s (%s): it lacks %s%s", m->name, m->file->path, m->part, m->missing_names,
                                        m->missing > 4 ? ", ..." : "");
    if (there) {
      uint32_t k = 0;
      while (!behind(m->file->holds.weights[k].name, m->part)) k++;
      diagnostic_set_help(e->diagnostics, d, "the file has %s %s", m->file->holds.weights[k].name, type_text(&m->file->holds.weights[k].type, e->arena));
    }
  }
}
