/* Steps, training and features behind sslc.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/session.h"
#include "frontend/scores.h"
#include "runtime/collapse.h"
#include "runtime/failure.h"
#include "runtime/trainer.h"

/* -- own data -------------------------------------------------------------------------------------------------- */

static void drop_loader(sslc_program *p) {
  loader_free(p->loader);
  p->loader = NULL;
}

sslc_status sslc_step(sslc_program *p) {
  sslc_status status = session_ready(p);
  if (status) return status;
  for (uint32_t i = 0; i < p->experiment->n_inputs; i++)
    if (!p->was_set[i]) return session_fail(p, SSLC_BAD_CALL, "input %s was not set", p->experiment->inputs[i].name);
  const step_outcome outcome = stepper_run(&p->stepper);
  if (outcome == STEP_FAILED) return session_lose(p, p->stepper.instance);
  return outcome == STEP_NOT_FINITE ? session_take(p, SSLC_NOT_FINITE, blame_step(p)) : SSLC_OK;
}

sslc_status sslc_features(sslc_program *p, size_t i, const void *samples, int64_t n, float *out) {
  sslc_status status = session_ready(p);
  sslc_tensor sample;
  char *error = NULL;
  if (status) return status;
  uint32_t which = session_features(p, i);
  if (which >= p->n_evals) return session_fail(p, SSLC_BAD_CALL, "this program has no eval block number %zu that makes features", i);
  if (!sslc_describe(p, SSLC_SAMPLE, i, &sample)) return session_fail(p, SSLC_BAD_CALL, "features of own samples want an eval block that reads one field of the data");
  feature_maker m;
  if (n < 0 || (status = feature_maker_open(p, which, &m))) return n < 0 ? session_fail(p, SSLC_BAD_CALL, "n is negative") : status;
  const void *data[] = {samples};
  const size_t bytes[] = {sample.bytes};
  if (features_of(&m, data, bytes, n, out, &error)) return SSLC_OK;
  if (instance_failure(m.instance)) session_lose(p, m.instance);
  return session_take(p, SSLC_NO_RESOURCE, error);
}

/* -- the program's data ------------------------------------------------------------------------------------------ */

/* One session as the trainer calls it back. */
typedef struct {
  sslc_program *program;
  const sslc_training *asked;
  int64_t steps;
  collapse_watch watch;
} conversation;

/* What a person should know about a run that collapsed. */
static void describe_collapse(const sslc_program *p, const collapse_finding *found, char *out, size_t bytes) {
  char rank[64] = "";
  if (!isnan(found->rank)) snprintf(rank, sizeof rank, "; effective rank %.1f", found->rank);
  snprintf(out, bytes, "%s has collapsed at step %lld: it gives nearly the same for all samples (std %.2g, it was %.2g, 1 is spread out%s). "
           "Usually one side lacks a stop_grad, a predictor or a slow target, or the loss negatives or a variance term; a lower learning rate may also help.",
           found->name, (long long)p->stepper.done, found->std, found->largest, rank);
}

static bool report(void *context, const trainer_news *news) {
  conversation *c = context;
  const sslc_program *p = c->program;
  if (!c->asked || !c->asked->callback) return false;
  int64_t each = p->experiment->steps_per_epoch, latest = news->done > 0 ? news->done - 1 : 0;
  sslc_progress progress = {.event = news->event == TRAINER_STEPPED ? SSLC_AT_STEP : news->event == TRAINER_EVALUATED ? SSLC_AT_EVALUATION : SSLC_AT_CHECKPOINT,
                            .step = news->done, .steps = c->steps, .epoch = latest / each, .epochs = (c->steps + each - 1) / each, .steps_per_epoch = each,
                            .loss = stepper_metric(&p->stepper, "loss"), .samples_per_second = news->samples_per_second, .seconds_left = news->seconds_left,
                            .scores = p->scores, .n_scores = p->n_scores, .checkpoint = news->checkpoint};
  bool stop = c->asked->callback(c->asked->context, &progress) != 0;
  collapse_finding found;
  char text[512];
  if (news->event != TRAINER_STEPPED || !collapse_watch_step(&c->watch, &found)) return stop;
  describe_collapse(p, &found, text, sizeof text);
  progress.event = SSLC_AT_WARNING;
  progress.warning = text;
  return c->asked->callback(c->asked->context, &progress) != 0 || stop;
}

static bool evaluate(void *context, int64_t epoch, bool all, trainer_scores *out, char **error) {
  sslc_program *p = ((const conversation *)context)->program;
  if (!scores_make(p, ((const conversation *)context)->asked->directory, epoch, all, error)) return false;
  *out = (trainer_scores){p->score_metrics, p->n_score_metrics};
  return true;
}

static bool enter(void *context, char **error) {
  sslc_program *p = ((const conversation *)context)->program;
  return session_enter(p) == SSLC_OK || failure(error, "%s", sslc_message(p));
}

/* In every phase that reads it. */
static bool lies_in_rows(const sslc_program *p, const char *input) {
  for (uint32_t i = 0; i < p->experiment->n_phases; i++) {
    const plan *phase = p->phases[i].plan;
    const int32_t b = plan_find(phase, "data", input);
    if (b >= 0 && !layout_is_row_major(&phase->buffers[b].layout, &phase->buffers[b].type)) return false;
  }
  return true;
}

/* Fields that a GPU holds itself, as long as they fit in half of what the plan leaves it: it wants room to breathe. Bits of those. */
static uint64_t keep_data(sslc_program *p, dataset *data, const char *split) {
  enum { SPARE = 2, MOST_FIELDS = 64 };
  const hardware_facts *on = hardware_describe(p->hardware);
  device *store = on->is_gpu ? hardware_store(p->hardware) : NULL;
  int64_t left = (on->free_bytes - session_device_bytes(p)) / SPARE;
  uint64_t kept = 0, read = 0;
  for (uint32_t i = 0; store && i < p->feed.n; i++) {
    fed_field *f = &p->feed.items[i];
    const bool may = f->field < MOST_FIELDS && lies_in_rows(p, f->input);
    const bool is = may && (f->kept.rows || keep_field(store, data, split, f->field, left, &f->kept));
    left -= is ? f->kept.bytes : 0;
    if (f->field < MOST_FIELDS) *(is ? &kept : &read) |= (uint64_t)1 << f->field;
  }
  return kept & ~read;
}

/* The one there is, or a new one. */
bool session_open_loader(sslc_program *p, char **error) {
  const experiment *x = p->experiment;
  if (x->train_data == NO_DATA) return true;
  const data_request *data = &x->data[x->train_data];
  if (p->loader && p->loader_step == p->stepper.done) return true;
  drop_loader(p);
  p->loader = loader_new(&(loader_request){.data = open_data_find(&p->data, data), .split = data->split, .batch = x->batch, .seed = p->seed,
                                           .first_step = p->stepper.done, .unread = keep_data(p, open_data_find(&p->data, data), data->split)}, error);
  return p->loader;
}

static sslc_status run_training(sslc_program *p, const sslc_training *asked, int64_t steps, bool evaluates) {
  const experiment *x = p->experiment;
  char *error = NULL;
  conversation c = {p, asked, steps, collapse_watch_begin(p->stepper.metrics, p->stepper.n_metrics)};
  if (!session_open_loader(p, &error)) return session_take(p, SSLC_BAD_FILE, error);
  training t = {.stepper = &p->stepper, .loader = p->loader, .enter = enter, .feed = p->feed, .batch = x->batch, .steps = steps, .evaluate = evaluates ? evaluate : NULL,
                .report = report, .context = &c, .directory = asked ? asked->directory : NULL, .origin = p->origin,
                .checkpoint_seconds = asked && asked->checkpoint_minutes ? 60 * asked->checkpoint_minutes : 600};
  training_outcome outcome = train(&t, &error);
  p->loader_step = p->stepper.done;
  if (p->stepper.done < steps) drop_loader(p); /* it may be further */
  switch (outcome) {
    case TRAINING_DONE: return SSLC_OK;
    case TRAINING_STOPPED: return session_fail(p, SSLC_STOPPED, "stopped after step %lld", (long long)p->stepper.done);
    case TRAINING_DIVERGED: return session_take(p, SSLC_NOT_FINITE, blame_step(p));
    case TRAINING_FAILED: break;
  }
  if (instance_failure(p->stepper.instance)) session_lose(p, p->stepper.instance);
  return session_take(p, SSLC_NO_RESOURCE, error);
}

sslc_status sslc_run(sslc_program *p, int64_t steps) {
  sslc_status status = session_ready(p);
  if (status) return status;
  if (steps < 0) return session_fail(p, SSLC_BAD_CALL, "the number of steps is negative");
  return run_training(p, NULL, p->stepper.done + steps, false);
}

sslc_status sslc_train(sslc_program *p, const sslc_training *asked) {
  static const sslc_training defaults;
  sslc_status status = session_ready(p);
  char *error = NULL;
  if (status) return status;
  if (!asked) asked = &defaults;
  if (asked->steps < 0) return session_fail(p, SSLC_BAD_CALL, "the number of steps is negative");
  if (!asked->no_evaluation && !asked->directory && (status = scores_want_directory(p))) return status;
  bool same_sums = true;
  if (asked->directory && !training_prepare(&p->stepper, asked->directory, &p->origin, asked->resume, asked->overwrite, &same_sums, &error))
    return session_take(p, SSLC_BAD_FILE, error);
  if (!same_sums && asked->callback)
    asked->callback(asked->context, &(sslc_progress){.event = SSLC_AT_WARNING, .step = p->stepper.done, .steps = p->experiment->steps,
                                                     .warning = "the run began on another processor or device, or with other schedules, which add in another order; "
                                                                "it goes on, and its last bits are not those of a run that stayed"});
  return run_training(p, asked, asked->steps ? asked->steps : p->experiment->steps, !asked->no_evaluation);
}
