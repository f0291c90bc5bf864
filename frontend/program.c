/* A program as a whole: its declarations, evaluated when first asked for, and the experiment that they
 * make. The standard library is a program of definitions below it. */
#include "frontend/elaborate.h"
#include "ir/scan.h"
#include "frontend/library.h"

/* -- declarations ------------------------------------------------------------------------------------------------ */

static object function_object(elaborator *e, const ast_declaration *d, function_kind kind, scope *around) {
  function *f = ARENA_NEW(e->arena, function);
  *f = (function){.name = d->name, .kind = kind, .where = d->name_where, .inner = &d->inner, .value = d->value, .block = d->block, .scope = around};
  if (d->has_outer) f->outer = &d->outer;
  object o = object_make(OBJECT_FUNCTION, d->name_where);
  o.function = f;
  return o;
}

/* augment view = solo(0.4): a configured one under a name of its own. */
static object named_augment(elaborator *e, scope *s, const ast_declaration *d) {
  object o = evaluate(e, s, d->value);
  if (is_poison(&o) || o.kind == OBJECT_FUNCTION) return o;
  return wrong_kind(e, d->value->where, "an augmentation", "a configured augmentation", &o);
}

static object cell_object(cell *c) {
  object o = object_make(OBJECT_CELL, c->where);
  o.cell = c;
  return o;
}

/* f32[4096, 128] of a declaration; false after an error. */
static bool declared_type(elaborator *e, scope *s, const ast_type *t, tensor_type *out) {
  if (!dtype_from_name(t->element, strlen(t->element), &out->dtype)) {
    complain(e, DIAG_UNKNOWN_NAME, t->where, "there is no element type %s: bool, u8, i32, u32, i64, bf16, f32, f64", t->element);
    return false;
  }
  dtype element = dtype_is_real(out->dtype) ? e->real : out->dtype;
  object *dims = ARENA_ARRAY(e->arena, object, t->dims.n);
  for (uint32_t i = 0; i < t->dims.n; i++) {
    dims[i] = evaluate(e, s, t->dims.items[i].value);
    if (is_poison(&dims[i])) return false;
  }
  object list = object_list(OBJECT_LIST, dims, t->dims.n, t->where);
  if (!want_shape(e, &list, "a declaration", t->where, out)) return false;
  out->dtype = element;
  return true;
}

static object declare_queue(elaborator *e, scope *s, const ast_declaration *d) {
  tensor_type type;
  if (!declared_type(e, s, &d->type, &type)) return object_poison();
  if (type.rank == 0 || type.dim[0] == 0) return refuse(e, DIAG_BAD_QUEUE, d->type.where, "a queue has rows: queue %s: f32[4096, 128] = ...", d->name);
  value initial = initial_of_expression(e, s, d->value, d->name, &type, d->value->where);
  if (!initial) return object_poison();
  cell *c = add_cell(e, d->name, type, STATE_QUEUE, initial, d->name_where);
  tensor_type count = scalar_type(DTYPE_I32);
  c->position = add_cell(e, arena_printf(e->arena, "%s.position", d->name), count, STATE_QUEUE, graph_number(e->init, count, 0, d->where), d->name_where);
  return cell_object(c);
}

static object declare_cell(elaborator *e, scope *s, const ast_declaration *d, state_kind kind) {
  value initial = initial_of_expression(e, s, d->value, d->name, NULL, d->value->where);
  if (initial && kind == STATE_WEIGHT) initial = graph_cast(e->init, initial, e->real, d->where);
  return initial ? cell_object(add_cell(e, d->name, *graph_type(e->init, initial), kind, initial, d->name_where)) : object_poison();
}

static object evaluate_in_place(elaborator *e, binding *b) {
  const ast_declaration *d = b->declaration;
  scope *s = b->home;
  switch (d->kind) {
    case DECLARE_OPTION: return s == e->program ? option_value(e, d, evaluate(e, s, d->value)) : evaluate(e, s, d->value);
    case DECLARE_DATA: return declare_data(e, s, d);
    case DECLARE_CONST: return declare_constant(e, s, d);
    case DECLARE_AUGMENT: return d->value && !d->inner.n ? named_augment(e, s, d) : function_object(e, d, FUNCTION_AUGMENT, s);
    case DECLARE_ENCODER: return function_object(e, d, FUNCTION_ENCODER, s);
    case DECLARE_FN: return function_object(e, d, FUNCTION_PLAIN, s);
    case DECLARE_OPTIMIZER: return function_object(e, d, FUNCTION_OPTIMIZER, s);
    case DECLARE_MODEL:
    case DECLARE_FROZEN: return declare_model(e, s, d, evaluate(e, s, d->value));
    case DECLARE_TARGET: return declare_target(e, d, evaluate(e, s, d->value), b->graph ? &b->value : NULL);
    case DECLARE_QUEUE: return declare_queue(e, s, d);
    case DECLARE_STATE: return declare_cell(e, s, d, STATE_OTHER);
    case DECLARE_WEIGHT: return declare_cell(e, s, d, STATE_WEIGHT);
    default: return refuse(e, DIAG_OUT_OF_PLACE, d->where, "this declaration has no value");
  }
}

/* In a frame of its own, so that it does not matter who asked first. */
object evaluate_declaration(elaborator *e, binding *b) {
  frame *before = e->frame, *f = ARENA_NEW(e->arena, frame);
  f->name = f->site = b->name;
  e->frame = f;
  object o = evaluate_in_place(e, b);
  e->frame = before;
  return o;
}

/* Whether what was declared for one graph has to be declared anew for the one at hand. A target's decay is asked for where it
 * moves, in steps. */
static bool is_stale(const elaborator *e, const binding *b) {
  if (!b->declaration || b->graph == root_graph(e) || is_poison(&b->value)) return false;
  ast_declaration_kind kind = b->declaration->kind;
  return kind == DECLARE_CONST || kind == DECLARE_AUGMENT || (kind == DECLARE_TARGET && root_graph(e) == e->step);
}

object binding_value(elaborator *e, binding *b, span where) {
  if (b->progress == BINDING_RUNNING) {
    diagnostic *d = complain(e, DIAG_CYCLE, where, "%s is needed to compute itself", b->name);
    diagnostic_add_note(e->diagnostics, d, b->where, "it is declared here");
    return object_poison();
  }
  if (b->progress == BINDING_READY && !is_stale(e, b)) return b->value;
  b->progress = BINDING_RUNNING;
  place_in_graphs before = leave_regions(e);
  b->value = evaluate_declaration(e, b);
  b->graph = e->graph;
  return_to(e, before);
  b->progress = BINDING_READY;
  return b->value;
}

void declare_all(elaborator *e) {
  for (uint32_t i = 0; i < e->program->n; i++)
    if (e->program->items[i]->declaration) binding_value(e, e->program->items[i], e->program->items[i]->where);
}

/* -- the texts ------------------------------------------------------------------------------------------------------ */

/* The program, the files that it uses, and what of it is no definition. */
typedef struct {
  elaborator *e;
  ast_program **programs;
  uint32_t n, capacity;
  ast_declaration **trains, **pretexts, **evals;
  uint32_t n_trains, n_pretexts, n_evals, trains_capacity, pretexts_capacity, evals_capacity;
} program_texts;

void declare_name(elaborator *e, scope *into, const ast_declaration *d) {
  binding *before = scope_own(into, d->name);
  if (before) {
    diagnostic *error = complain(e, DIAG_DUPLICATE_NAME, d->name_where, "%s is declared a second time", d->name);
    diagnostic_add_note(e->diagnostics, error, before->where, "the first time here");
    return;
  }
  binding *b = scope_bind(into, d->name, object_poison(), e->arena);
  b->where = d->name_where;
  b->declaration = d;
  b->home = into;
  b->progress = BINDING_WAITING;
}

static void add_program(program_texts *t, uint32_t file, scope *into, bool used);

static void add_used(program_texts *t, const ast_declaration *d, scope *into) {
  elaborator *e = t->e;
  const source_file *user = sources_get(e->diagnostics->sources, d->where.file);
  const char *slash = strrchr(user->name, '/'), *path = d->name;
  if (slash && *d->name != '/') path = arena_printf(e->arena, "%.*s/%s", (int)(slash - user->name), user->name, d->name);
  for (uint32_t i = 0; i < t->n; i++)
    if (!strcmp(sources_get(e->diagnostics->sources, t->programs[i]->file)->name, path)) return;
  size_t length;
  const char *text = e->options->read_file ? e->options->read_file(e->options->read_context, path, &length, e->arena) : NULL;
  if (!text) {
    complain(e, DIAG_USE_FILE, d->where, "cannot read %s", path);
    return;
  }
  add_program(t, sources_add(e->diagnostics->sources, path, text, length), into, true);
}

static void add_program(program_texts *t, uint32_t file, scope *into, bool used) {
  elaborator *e = t->e;
  ast_program *p = parse_program(file, e->diagnostics, e->arena);
  *ARENA_PUSH(e->arena, t->programs, t->n, t->capacity) = p;
  for (uint32_t i = 0; i < p->n; i++) {
    ast_declaration *d = p->items[i];
    switch (d->kind) {
      case DECLARE_USE: add_used(t, d, into); break;
      case DECLARE_TRAIN:
        if (!used) *ARENA_PUSH(e->arena, t->trains, t->n_trains, t->trains_capacity) = d;
        break;
      case DECLARE_EVAL:
        if (!used) *ARENA_PUSH(e->arena, t->evals, t->n_evals, t->evals_capacity) = d;
        break;
      case DECLARE_PRETEXT: *ARENA_PUSH(e->arena, t->pretexts, t->n_pretexts, t->pretexts_capacity) = d; break;
      default: declare_name(e, into, d);
    }
  }
}

static void add_library(elaborator *e) {
  program_texts texts = {.e = e};
  e->library = scope_new(NULL, false, e->arena);
  e->first_library_file = sources_count(e->diagnostics->sources) + 1;
  e->last_library_file = UINT32_MAX;
  bind_builtins(e, e->library);
  for (const library_file *f = library_files; f->name; f++)
    add_program(&texts, sources_add(e->diagnostics->sources, arena_printf(e->arena, "<%s>", f->name), f->text, f->length), e->library, true);
  e->last_library_file = sources_count(e->diagnostics->sources);
}

/* -- the experiment ------------------------------------------------------------------------------------------------- */

static const ast_declaration *find_pretext(const program_texts *t, const char *name) {
  for (uint32_t i = 0; i < t->n_pretexts; i++)
    if (!strcmp(t->pretexts[i]->name, name)) return t->pretexts[i];
  return NULL;
}

static bool find_training(program_texts *t, const ast_declaration **train, const ast_declaration **pretext) {
  elaborator *e = t->e;
  if (t->n_trains == 0) {
    diagnostic *d = complain(e, DIAG_NO_TRAIN, (span){t->programs[0]->file, 0, 0}, "the program trains nothing: it has no train block");
    if (t->n_pretexts) diagnostic_set_help(e->diagnostics, d, "add train %s { data: ..., batch: ..., epochs: ..., optimizer: ... }", t->pretexts[0]->name);
    return false;
  }
  if (t->n_trains > 1) {
    diagnostic *d = complain(e, DIAG_NO_TRAIN, t->trains[1]->where, "a program has one train block");
    diagnostic_add_note(e->diagnostics, d, t->trains[0]->where, "the first one");
    return false;
  }
  *train = t->trains[0];
  *pretext = find_pretext(t, (*train)->name);
  if (*pretext) return true;
  const char **names = ARENA_ARRAY(e->arena, const char *, t->n_pretexts + 1);
  for (uint32_t i = 0; i < t->n_pretexts; i++) names[i] = t->pretexts[i]->name;
  diagnostic *d = complain(e, DIAG_NO_TRAIN, (*train)->name_where, "there is no pretext %s to train", (*train)->name);
  help_nearest(e, d, nearest_text((*train)->name, names));
  return false;
}

/* What others need to make the models of this program again. */
static const char *definitions_text(const program_texts *t) {
  elaborator *e = t->e;
  static const bool kept[] = {[DECLARE_OPTION] = true, [DECLARE_DATA] = true, [DECLARE_CONST] = true, [DECLARE_AUGMENT] = true, [DECLARE_ENCODER] = true,
                              [DECLARE_FN] = true, [DECLARE_MODEL] = true, [DECLARE_FROZEN] = true, [DECLARE_TARGET] = true};
  text_buffer text = {.arena = e->arena};
  for (uint32_t i = 0; i < t->n; i++)
    for (uint32_t k = 0; k < t->programs[i]->n; k++) {
      const ast_declaration *d = t->programs[i]->items[k];
      if ((uint32_t)d->kind >= sizeof kept || !kept[d->kind]) continue;
      const char *given = d->kind == DECLARE_OPTION ? option_override_text(e, d->name) : NULL;
      if (given) text_add(&text, "option %s = %s\n", d->name, given);
      else text_add(&text, "%s\n", source_text(e, d->where));
    }
  return text_done(&text);
}

static void add_states(elaborator *e) {
  experiment *x = e->experiment;
  x->states = ARENA_ARRAY(e->arena, experiment_state, e->n_cells + 1);
  for (uint32_t i = 0; i < e->n_cells; i++) {
    const cell *c = e->cells[i];
    x->states[x->n_states++] = (experiment_state){c->name, c->type, c->kind, c->model ? c->model->name : ""};
    if (c->kind == STATE_WEIGHT) x->parameters += type_elements(&c->type);
    graph_add_result(e->init, "state", c->name, c->initial, c->where);
  }
}

experiment *lower_program(uint32_t file, const lower_options *o, diagnostics *d, arena *a) {
  experiment *x = ARENA_NEW(a, experiment);
  elaborator e = {.main_file = file, .arena = a, .diagnostics = d, .options = o, .experiment = x, .real = o->real, .train_data = object_make(OBJECT_NONE, (span){0})};
  program_texts texts = {.e = &e};
  const ast_declaration *train, *pretext;
  x->init = e.init = graph_new(a, "init");
  e.graph = e.init;
  add_library(&e);
  e.program = scope_new(e.library, false, a);
  add_program(&texts, file, e.program, false);
  e.pretexts = (const ast_declaration *const *)texts.pretexts;
  e.n_pretexts = texts.n_pretexts;
  if (d->errors) return NULL;
  check_overrides(&e, (const ast_program *const *)texts.programs, texts.n);
  if (!find_training(&texts, &train, &pretext)) return NULL;
  lower_training(&e, train, pretext);
  if (d->errors && e.stopped) return NULL;
  x->definitions = definitions_text(&texts);
  for (uint32_t i = 0; i < texts.n_evals; i++) lower_eval(&e, texts.evals[i], i);
  add_states(&e);
  finish_loading(&e);
  if (d->errors) return NULL;
  warn_unused(&e);
  warn_untrained(&e);
  warn_inputs(&e);
  examine_objectives(&e);
  return x;
}
