#include "frontend/scores.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/failure.h"
#include "runtime/picture.h"

sslc_status feature_maker_open(sslc_program *p, uint32_t i, feature_maker *out) {
  const experiment_eval *x = &p->experiment->evals[i];
  sslc_status status = session_open(p, &p->evals[i]);
  if (status || (status = session_store(p))) return status;
  states_scatter(&p->states, p->evals[i].instance);
  set_clock(p->evals[i].instance, p->stepper.done, p->stepper.steps_per_epoch, p->seed);
  tensor_type result = *graph_type(x->graph, x->graph->results[0].value);
  *out = (feature_maker){p->evals[i].instance, p->eval_feeds[i], x->batch, result.rank ? type_elements(&result) / x->batch : 1};
  return SSLC_OK;
}

/* -- when ---------------------------------------------------------------------------------------------------------- */

static bool is_due(const experiment_protocol *x, int64_t epoch, bool all) { return all || (x->every > 0 && epoch > 0 && epoch % x->every == 0); }

static bool any_due(const experiment_eval *x, int64_t epoch, bool all) {
  for (uint32_t i = 0; i < x->n_protocols; i++)
    if (is_due(&x->protocols[i], epoch, all)) return true;
  return false;
}

static double argument(const experiment_protocol *x, const char *name) {
  for (uint32_t i = 0; i < 8 && x->argument[i].name; i++)
    if (!strcmp(x->argument[i].name, name)) return x->argument[i].value;
  return 0;
}

/* -- what came out ------------------------------------------------------------------------------------------------- */

static void add_score(sslc_program *p, const sslc_score *s) {
  p->scores[p->n_scores++] = *s;
  if (!s->text) p->score_metrics[p->n_score_metrics++] = (metric){arena_printf(p->scores_arena, "%s %s %s", s->features, s->protocol, s->measure), s->value};
}

/* One evaluation at hand. */
typedef struct {
  sslc_program *program;
  const char *directory;
  int64_t epoch;
  bool all;
  char **error;
} answering;

/* The path of a file: NAME.png, or NAME-0003.png of a protocol that comes again and again. */
static const char *file_path(const answering *a, const experiment_protocol *x, const char *ending) {
  arena *in = a->program->scores_arena;
  return x->every > 0 ? arena_printf(in, "%s/%s-%04lld.%s", a->directory, x->file, (long long)a->epoch, ending)
                      : arena_printf(in, "%s/%s.%s", a->directory, x->file, ending);
}

static dataset *data_of(const sslc_program *p, const experiment_protocol *x) { return x->data == NO_DATA ? NULL : open_data_find(&p->data, &p->experiment->data[x->data]); }
static const char *split_of(const sslc_program *p, const experiment_protocol *x) { return x->data == NO_DATA ? "" : p->experiment->data[x->data].split; }

/* -- the kinds of evals -------------------------------------------------------------------------------------------- */

static bool run_protocol(const answering *a, const experiment_eval *x, const experiment_protocol *protocol, const judge_task *task) {
  protocol_argument arguments[9] = {{0}};
  protocol_score found[MAX_SCORES];
  uint32_t n;
  for (uint32_t i = 0; i < 8 && protocol->argument[i].name; i++) arguments[i] = (protocol_argument){protocol->argument[i].name, protocol->argument[i].value};
  if (!protocol_run(protocol->protocol, arguments, a->program->pool, task, found, &n, a->error)) return false;
  for (uint32_t i = 0; i < n; i++) add_score(a->program, &(sslc_score){x->label, protocol->protocol, found[i].measure, found[i].value, 1});
  return true;
}

/* Features of a split, made once. */
typedef struct {
  const char *split;
  labelled_features made;
} split_features;

enum { MOST_SPLITS = 4 };

static const feature_set *features_in(const answering *a, const feature_maker *m, dataset *data, const char *split, split_features list[MOST_SPLITS]) {
  uint32_t i = 0;
  while (list[i].split && strcmp(list[i].split, split)) i++;
  if (!list[i].split && !features_of_split(m, data, split, data_field_number(data, NULL), 0, &list[i].made, a->error)) return NULL;
  list[i].split = split;
  return &list[i].made.set;
}

/* One block: features of each split once, then every protocol that is due. */
static bool answer_features(const answering *a, uint32_t i, const feature_maker *m) {
  sslc_program *p = a->program;
  const experiment_eval *x = &p->experiment->evals[i];
  dataset *data = data_of(p, &x->protocols[0]);
  uint32_t n_fields;
  split_features made[MOST_SPLITS] = {{0}};
  bool good = true;
  for (uint32_t k = 0; good && k < x->n_protocols; k++) {
    const experiment_protocol *protocol = &x->protocols[k];
    const char *split = split_of(p, protocol);
    if (!is_due(protocol, a->epoch, a->all)) continue;
    judge_task task = {.dims = m->dims, .classes = dataset_fields(data, &n_fields)[data_field_number(data, NULL)].classes};
    good = *split || (task.train = features_in(a, m, data, "train", made));
    good = good && (task.test = features_in(a, m, data, *split ? split : "test", made)) && run_protocol(a, x, protocol, &task);
  }
  for (uint32_t k = 0; k < MOST_SPLITS; k++) features_release(&made[k].made);
  return good;
}

static bool answer_loss(const answering *a, uint32_t i, const feature_maker *m) {
  sslc_program *p = a->program;
  const experiment_eval *x = &p->experiment->evals[i];
  uint32_t n = x->graph->n_results;
  int64_t rounds = (int64_t)argument(x->protocols, "count");
  metric *found = ARENA_ARRAY(p->scores_arena, metric, n);
  for (uint32_t k = 0; k < n; k++) found[k].name = x->graph->results[k].name;
  if (!metrics_of_split(m, data_of(p, x->protocols), split_of(p, x->protocols), rounds ? rounds : x->protocols->data == NO_DATA ? 100 : 0, found, n, a->error)) return false;
  for (uint32_t k = 0; k < n; k++) add_score(p, &(sslc_score){x->label, "loss", found[k].name, found[k].value});
  return true;
}

enum { PICTURES = 64 }; /* in a grid, where the program does not say */

/* Rows of a split as the type of the whole; false with *error. */
static bool make_rows(sslc_program *p, uint32_t i, const feature_maker *m, labelled_features *rows, tensor_type *type, char **error) {
  const experiment_eval *x = &p->experiment->evals[i];
  int64_t count = (int64_t)argument(x->protocols, "count");
  if (!count && x->kind == EVAL_IMAGES) count = PICTURES;
  if (!features_of_split(m, data_of(p, x->protocols), split_of(p, x->protocols), NO_LABEL, count, rows, error)) return false;
  *type = *graph_type(x->graph, x->graph->results[0].value);
  if (type->rank) type->dim[0] = rows->set.n;
  return true;
}

static bool answer_file(const answering *a, uint32_t i, const feature_maker *m) {
  sslc_program *p = a->program;
  const experiment_eval *x = &p->experiment->evals[i];
  bool images = x->kind == EVAL_IMAGES;
  const char *path = file_path(a, x->protocols, images ? "png" : "npy");
  labelled_features rows;
  tensor_type t;
  if (!make_rows(p, i, m, &rows, &t, a->error)) return false;
  bool good = images ? picture_write_grid(path, rows.features, t.dim[0], t.rank == 4 ? t.dim[1] : 1, t.dim[t.rank - 2], t.dim[t.rank - 1],
                                          (int64_t)argument(x->protocols, "columns"), a->error)
                     : array_write_npy(path, &t, rows.features, a->error);
  features_release(&rows);
  if (good) add_score(p, &(sslc_score){x->label, x->protocols->protocol, "file", NAN, 0, path});
  return good;
}

static bool answer_text(const answering *a, uint32_t i, const feature_maker *m) {
  sslc_program *p = a->program;
  const experiment_eval *x = &p->experiment->evals[i];
  int64_t length = (int64_t)argument(x->protocols, "length");
  if (!length) length = 200;
  size_t given = strlen(x->protocols->prompt);
  char *text = arena_alloc(p->scores_arena, given + (size_t)length + 1);
  memcpy(text, x->protocols->prompt, given);
  if (!generate_text(m->instance, x->batch, x->protocols->prompt, length, text + given, a->error)) return false;
  for (char *c = text; c < text + given + length; c++)
    if (!*c) *c = ' '; /* a text has no zeros */
  text[given + (size_t)length] = 0;
  add_score(p, &(sslc_score){x->label, "generate", "text", NAN, 0, text});
  return true;
}

sslc_status scores_fill_state(sslc_program *p, uint32_t i, instance *init) {
  const experiment_eval *x = &p->experiment->evals[i];
  labelled_features rows;
  tensor_type t;
  feature_maker m;
  char *error = NULL;
  sslc_status status = feature_maker_open(p, i, &m);
  if (status) return status;
  bool good = make_rows(p, i, &m, &rows, &t, &error);
  if (!good && instance_failure(m.instance)) session_lose(p, m.instance);
  compiled_close(&p->evals[i]);
  if (!good) return session_take(p, SSLC_BAD_FILE, error);
  int64_t n = type_elements(&t);
  double *wide = p->real == DTYPE_F64 ? malloc((size_t)n * sizeof *wide + 1) : NULL;
  for (int64_t k = 0; wide && k < n; k++) wide[k] = rows.features[k];
  if (p->real == DTYPE_F32 || wide) instance_set(init, "data", x->protocols->file, wide ? (const void *)wide : rows.features);
  else status = session_fail(p, SSLC_NO_RESOURCE, "no memory for %s", x->protocols->file);
  free(wide);
  features_release(&rows);
  return status;
}

static bool answer(const answering *a, uint32_t i) {
  static bool (*const kinds[])(const answering *a, uint32_t i, const feature_maker *m) = {
      [EVAL_FEATURES] = answer_features, [EVAL_LOSS] = answer_loss, [EVAL_IMAGES] = answer_file, [EVAL_ARRAY] = answer_file, [EVAL_TEXT] = answer_text};
  sslc_program *p = a->program;
  const experiment_eval *x = &p->experiment->evals[i];
  feature_maker m;
  if (x->kind == EVAL_STATE || !any_due(x, a->epoch, a->all)) return true;
  if (feature_maker_open(p, i, &m)) return failure(a->error, "%s", sslc_message(p));
  bool good = kinds[x->kind](a, i, &m);
  if (!good && instance_failure(m.instance)) session_lose(p, m.instance);
  compiled_close(&p->evals[i]);
  return good;
}

/* -- all of them ------------------------------------------------------------------------------------------------------ */

sslc_status scores_want_directory(sslc_program *p) {
  for (uint32_t i = 0; i < p->n_evals; i++) {
    const experiment_eval *x = &p->experiment->evals[i];
    if (x->kind != EVAL_IMAGES && x->kind != EVAL_ARRAY) continue;
    position at = source_position(p->sources, x->where.file, x->where.start);
    return session_fail(p, SSLC_BAD_CALL, "%s:%u: %s(%s) writes a file, and there is no directory for it; give one with --out DIR", sources_get(p->sources, x->where.file)->name,
                        at.line, x->protocols->protocol, x->label);
  }
  return SSLC_OK;
}

/* Room for every score of this time, in an arena of its own: old ones go. */
static bool make_room(sslc_program *p, char **error) {
  uint32_t most = 1;
  p->n_scores = p->n_score_metrics = 0;
  if (p->scores_arena) arena_free(p->scores_arena);
  p->scores_arena = arena_new();
  if (!p->scores_arena) return failure(error, "out of memory");
  for (uint32_t i = 0; i < p->n_evals; i++) most += MAX_SCORES * p->experiment->evals[i].n_protocols + p->experiment->evals[i].graph->n_results;
  p->scores = ARENA_ARRAY(p->scores_arena, sslc_score, most);
  p->score_metrics = ARENA_ARRAY(p->scores_arena, metric, most);
  return true;
}

bool scores_make(sslc_program *p, const char *directory, int64_t epoch, bool all, char **error) {
  const answering a = {p, directory, epoch, all, error};
  if (!make_room(p, error)) return false;
  for (uint32_t i = 0; i < p->n_evals; i++)
    if (!answer(&a, i)) return false;
  return true;
}

sslc_status sslc_evaluate(sslc_program *p, const char *directory, const sslc_score **out, size_t *n) {
  char *error = NULL;
  sslc_status status = session_ready(p);
  if (status || (!directory && (status = scores_want_directory(p)))) return status;
  if (!scores_make(p, directory, p->stepper.done / p->stepper.steps_per_epoch, true, &error)) return session_take(p, SSLC_BAD_FILE, error);
  *out = p->scores;
  *n = p->n_scores;
  return SSLC_OK;
}
