/* What an evaluation gives besides scores of features: the loss of a pretext on other data, pictures, arrays, generated text. */
#include "frontend/answers.h"

const ast_declaration *find_pretext(const elaborator *e, const ast_expr *x) {
  for (uint32_t i = 0; i < e->n_pretexts; i++)
    if (x->kind == AST_NAME && !strcmp(e->pretexts[i]->name, x->text)) return e->pretexts[i];
  return NULL;
}

/* A number among the arguments; `otherwise` when it is not given. */
static double number_argument(const experiment_protocol *p, const char *name, double otherwise) {
  for (uint32_t i = 0; i < 8 && p->argument[i].name; i++)
    if (!strcmp(p->argument[i].name, name)) return p->argument[i].value;
  return otherwise;
}

/* -- loss ------------------------------------------------------------------------------------------------------------ */

static void lower_loss(elaborator *e, const ast_declaration *d, const char *site, asked_protocol *p) {
  const ast_declaration *pretext = find_pretext(e, d->value);
  side_graph g;
  if (!pretext) {
    diagnostic *error = complain(e, DIAG_BAD_VALUE, d->value->where, "loss is that of a pretext, and this is none");
    if (e->n_pretexts) diagnostic_set_help(e->diagnostics, error, "write eval %s { loss(data: ...) }", e->pretexts[0]->name);
    return;
  }
  if (!enter_side_graph(e, site, &p->data, e->experiment->batch, &g)) return;
  if (lower_judged_pretext(e, pretext))
    add_eval(e, &g, (experiment_eval){.kind = EVAL_LOSS, .protocols = &p->made, .n_protocols = 1, .label = pretext->name, .where = d->value->where});
  leave_side_graph(e, &g);
}

/* -- pictures and arrays -------------------------------------------------------------------------------------------------- */

/* Files of a program have names of their own. */
static bool take_file_name(elaborator *e, asked_protocol *p, const char *otherwise) {
  experiment *x = e->experiment;
  if (!p->made.file) p->made.file = otherwise;
  for (uint32_t i = 0; i < x->n_evals; i++) {
    const experiment_protocol *other = &x->evals[i].protocols[0];
    if (x->evals[i].kind != p->row->kind || !other->file || strcmp(other->file, p->made.file)) continue;
    diagnostic *d = complain(e, DIAG_DUPLICATE_NAME, p->where, "two protocols write %s", p->made.file);
    diagnostic_add_note(e->diagnostics, d, other->where, "the other one");
    diagnostic_set_help(e->diagnostics, d, "give this one a name: %s(..., name: \"others\")", p->row->name);
    return false;
  }
  return true;
}

/* [N, C, H, W] with one or three channels, or [N, H, W]. */
static bool check_images(elaborator *e, const object *o, span where) {
  tensor_type t = logical_type(o);
  if (dtype_is_real(t.dtype) && t.dim[0] > 0 && (t.rank == 3 || (t.rank == 4 && (t.dim[1] == 1 || t.dim[1] == 3)))) return true;
  diagnostic *d = complain(e, DIAG_EVAL_SHAPE, where, "images wants reals in 0..1, [N,3,H,W], [N,1,H,W] or [N,H,W], got %s", object_text(o, e->arena));
  note_object(e, d, o);
  return false;
}

/* A tensor of a batch of samples, or of states alone. */
static void lower_rows(elaborator *e, const char *site, asked_protocol *p) {
  bool images = p->row->kind == EVAL_IMAGES;
  side_graph g;
  object data = p->data.kind == OBJECT_DATA ? named_split(&p->data, false) : p->data;
  int64_t count = (int64_t)number_argument(&p->made, "count", images ? 64 : 0);
  if (count < 1 && images) count = 64;
  int64_t all = data.kind == OBJECT_DATA ? data_count(data.data.source, data.data.split) : count;
  if (!take_file_name(e, p, p->row->name) || !enter_side_graph(e, site, &data, images ? count < all ? count : all : EVAL_BATCH, &g)) return;
  object o = evaluate(e, g.names, p->of);
  if (!is_poison(&o)) o = to_tensor(e, o, e->real, p->row->name, p->of->where);
  bool good = !is_poison(&o) && (!images || check_images(e, &o, p->of->where));
  tensor_type type = good ? logical_type(&o) : scalar_type(e->real);
  bool fed = g.feed.n_inputs > 0;
  if (good && fed && (!type.rank || type.dim[0] != g.feed.batch)) {
    diagnostic *d = complain(e, DIAG_EVAL_SHAPE, p->of->where, "%s wants a row for each of %lld samples, got %s", p->row->name, (long long)g.feed.batch, object_text(&o, e->arena));
    note_object(e, d, &o);
    good = false;
  }
  if (good) {
    if (fed) p->made.data = g.feed.use;
    else g.feed.batch = type.rank ? type.dim[0] : 1;
    graph_add_result(e->graph, "output", "features", graph_cast(e->graph, o.tensor.value, DTYPE_F32, p->where), p->where);
    add_eval(e, &g, (experiment_eval){.kind = p->row->kind, .protocols = &p->made, .n_protocols = 1, .label = source_text(e, p->of->where), .where = p->where});
  }
  leave_side_graph(e, &g);
}

/* -- text --------------------------------------------------------------------------------------------------------------- */

enum { WIDEST_WINDOW = 1 << 16 };

/* How many symbols the model sees: as it was called in the pretext, unless the protocol says. 0 after an error. */
static int64_t window_of(elaborator *e, const asked_protocol *p, const object *lm) {
  double given = number_argument(&p->made, "window", 0);
  const tensor_type *t = lm->kind == OBJECT_MODEL && lm->model->called ? &lm->model->input : NULL;
  int64_t window = given > 0 ? (int64_t)given : t && t->rank ? t->dim[t->rank - 1] : 0;
  if (window >= 1 && window <= WIDEST_WINDOW) return window;
  diagnostic *d = complain(e, DIAG_BAD_VALUE, p->where, "generate does not know how many symbols %s sees", object_text(lm, e->arena));
  diagnostic_set_help(e->diagnostics, d, "say it: generate(..., window: 128), from 1 to %d", WIDEST_WINDOW);
  return 0;
}

/* The logits behind the last symbol that there is; poison after an error. */
static object last_logits(elaborator *e, const asked_protocol *p, const object *lm, int64_t window) {
  span where = p->of->where;
  object symbols = tensor_object(e, graph_input(e, "data", "symbols", make_type(DTYPE_I32, 2, (int64_t[]){1, window}), where), false, where);
  object logits = call_with(e, *lm, &symbols, 1, where);
  if (!is_poison(&logits)) logits = to_tensor(e, logits, e->real, "generate", where);
  if (is_poison(&logits)) return logits;
  tensor_type t = logical_type(&logits);
  if (t.rank == 3 && t.dim[0] == 1 && t.dim[1] == window && t.dim[2] <= 256 && dtype_is_real(t.dtype)) {
    object place = tensor_object(e, graph_input(e, "clock", "place", scalar_type(DTYPE_I32), where), false, where);
    return gather_axis(e, tensor_part(e, logits, 0, where), 0, place, where);
  }
  diagnostic *d = complain(e, DIAG_EVAL_SHAPE, where, "generate wants logits of bytes for each symbol, [1,%lld,256], got %s", (long long)window, object_text(&logits, e->arena));
  note_object(e, d, &logits);
  return object_poison();
}

static void lower_text(elaborator *e, const char *site, asked_protocol *p) {
  side_graph g;
  if (!p->made.prompt) p->made.prompt = "\n";
  if (!take_file_name(e, p, p->row->name) || !enter_side_graph(e, site, NULL, 1, &g)) return;
  object lm = evaluate(e, e->program, p->of);
  int64_t window = is_poison(&lm) ? 0 : window_of(e, p, &lm);
  object logits = window ? last_logits(e, p, &lm, window) : object_poison();
  binding *draw = scope_find(e->library, "drawn");
  if (!is_poison(&logits)) {
    object arguments[] = {logits, object_real(number_argument(&p->made, "temperature", 1), p->where)};
    object next = call_with(e, binding_value(e, draw, p->where), arguments, 2, p->where);
    if (!is_poison(&next)) {
      graph_add_result(e->graph, "output", "symbol", next.tensor.value, p->where);
      g.feed.batch = window;
      add_eval(e, &g, (experiment_eval){.kind = EVAL_TEXT, .protocols = &p->made, .n_protocols = 1, .label = source_text(e, p->of->where), .where = p->where});
    }
  }
  leave_side_graph(e, &g);
}

void lower_answer(elaborator *e, const ast_declaration *d, const char *site, asked_protocol *p) {
  switch (p->row->kind) {
    case EVAL_LOSS: {
      if (p->data.kind == OBJECT_DATA) {
        p->data = named_split(&p->data, false);
        p->made.data = data_use(e, &p->data);
      }
      return lower_loss(e, d, site, p);
    }
    case EVAL_IMAGES:
    case EVAL_ARRAY: return lower_rows(e, site, p);
    case EVAL_TEXT: return lower_text(e, site, p);
    case EVAL_FEATURES:
    case EVAL_STATE: return;
  }
}
