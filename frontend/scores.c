#include "frontend/scores.h"

#include <stdlib.h>

#include "runtime/failure.h"

sslc_status feature_maker_open(sslc_program *p, uint32_t i, feature_maker *out) {
  const experiment_eval *x = &p->experiment->evals[i];
  sslc_status status = session_open(p, &p->evals[i]);
  if (status) return status;
  stepper_store(&p->stepper);
  states_scatter(&p->states, p->evals[i].instance);
  set_clock(p->evals[i].instance, p->stepper.done, p->stepper.steps_per_epoch, p->seed);
  *out = (feature_maker){p->evals[i].instance, p->eval_feeds[i], x->batch, graph_type(x->graph, x->graph->results[0].value)->dim[1]};
  return SSLC_OK;
}

static bool is_due(const experiment_protocol *x, int64_t epoch, bool all) { return all || (x->every > 0 && epoch > 0 && epoch % x->every == 0); }

static bool any_due(const experiment_eval *x, int64_t epoch, bool all) {
  for (uint32_t i = 0; i < x->n_protocols; i++)
    if (is_due(&x->protocols[i], epoch, all)) return true;
  return false;
}

static void add_score(sslc_program *p, const sslc_score *s) {
  p->scores[p->n_scores] = *s;
  p->score_metrics[p->n_scores++] = (metric){arena_printf(p->scores_arena, "%s %s %s", s->features, s->protocol, s->measure), s->value};
}

static bool run_protocol(sslc_program *p, const experiment_eval *x, const experiment_protocol *protocol, const judge_task *task, char **error) {
  protocol_argument arguments[9] = {{0}};
  protocol_score found[MAX_SCORES];
  uint32_t n;
  for (uint32_t i = 0; i < 8 && protocol->argument[i].name; i++) arguments[i] = (protocol_argument){protocol->argument[i].name, protocol->argument[i].value};
  if (!protocol_run(protocol->protocol, arguments, p->pool, task, found, &n, error)) return false;
  for (uint32_t i = 0; i < n; i++) add_score(p, &(sslc_score){x->label, protocol->protocol, found[i].measure, found[i].value});
  return true;
}

/* One block: features of both splits once, then every protocol that is due. */
static bool run_block(sslc_program *p, uint32_t i, int64_t epoch, bool all, char **error) {
  const experiment_eval *x = &p->experiment->evals[i];
  dataset *data = open_data_find(&p->data, &p->experiment->data[x->protocols[0].data]);
  uint32_t label = (uint32_t)data_field_number(data, NULL), n_fields;
  feature_maker m;
  labelled_features train = {0}, test = {0};
  if (feature_maker_open(p, i, &m)) return failure(error, "%s", sslc_message(p));
  bool good = features_of_split(&m, data, "train", label, &train, error) && features_of_split(&m, data, "test", label, &test, error);
  compiled_close(&p->evals[i]);
  judge_task task = {&train.set, &test.set, m.dims, dataset_fields(data, &n_fields)[label].classes};
  for (uint32_t k = 0; good && k < x->n_protocols; k++)
    if (is_due(&x->protocols[k], epoch, all)) good = run_protocol(p, x, &x->protocols[k], &task, error);
  features_release(&train);
  features_release(&test);
  return good;
}

/* Room for every score of this time, in an arena of its own: old ones go. */
static bool make_room(sslc_program *p, char **error) {
  uint32_t most = 1;
  p->n_scores = 0;
  if (p->scores_arena) arena_free(p->scores_arena);
  p->scores_arena = arena_new();
  if (!p->scores_arena) return failure(error, "out of memory");
  for (uint32_t i = 0; i < p->n_evals; i++) most += MAX_SCORES * p->experiment->evals[i].n_protocols;
  p->scores = ARENA_ARRAY(p->scores_arena, sslc_score, most);
  p->score_metrics = ARENA_ARRAY(p->scores_arena, metric, most);
  return true;
}

bool scores_make(sslc_program *p, int64_t epoch, bool all, char **error) {
  if (!make_room(p, error)) return false;
  for (uint32_t i = 0; i < p->n_evals; i++)
    if (any_due(&p->experiment->evals[i], epoch, all) && !run_block(p, i, epoch, all, error)) return false;
  return true;
}

sslc_status sslc_evaluate(sslc_program *p, const sslc_score **out, size_t *n) {
  char *error = NULL;
  sslc_status status = session_ready(p);
  if (status) return status;
  if (!scores_make(p, 0, true, &error)) return session_take(p, SSLC_BAD_FILE, error);
  *out = p->scores;
  *n = p->n_scores;
  return SSLC_OK;
}
