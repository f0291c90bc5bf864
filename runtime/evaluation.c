#include "runtime/evaluation.h"

#include <stdlib.h>

#include "runtime/failure.h"
#include "runtime/loader.h"

/* -- features ----------------------------------------------------------------------------------------------- */

/* Draws of an evaluation depend on the number of its batch. */
static void run_round(instance *i, int64_t round) {
  int32_t number = (int32_t)round;
  instance_set(i, "clock", "round", &number);
  instance_run(i);
}

static bool works(const instance *i, char **error) {
  const char *failed = instance_failure(i);
  return !failed || failure(error, "%s", failed);
}

/* Takes the first `valid` rows of the batch that was run. */
static bool take_rows(const feature_maker *m, int64_t valid, float *rows, float *out, char **error) {
  instance_get(m->instance, "output", "features", rows);
  if (!works(m->instance, error)) return false;
  memcpy(out, rows, (size_t)(valid * m->dims) * sizeof *out);
  return true;
}

static bool short_of_memory(int64_t samples, char **error) { return failure(error, "no memory for the features of %lld samples", (long long)samples); }

bool features_of(const feature_maker *m, const void *const *field_data, const size_t *sample_bytes, int64_t n, float *out, char **error) {
  float *rows = malloc((size_t)(m->batch * m->dims) * sizeof *rows + 1);
  bool good = rows || short_of_memory(n, error);
  for (int64_t at = 0; good && at < n; at += m->batch) {
    int64_t valid = n - at < m->batch ? n - at : m->batch;
    for (uint32_t i = 0; good && i < m->feed.n; i++) {
      char *batch = calloc((size_t)m->batch, sample_bytes[i]); /* rows past the last sample stay zero: none looks at another */
      if (!(good = batch || short_of_memory(n, error))) break;
      memcpy(batch, (const char *)field_data[i] + (size_t)at * sample_bytes[i], (size_t)valid * sample_bytes[i]);
      instance_set(m->instance, "data", m->feed.items[i].input, batch);
      free(batch);
    }
    if (good) run_round(m->instance, at / m->batch);
    good = good && take_rows(m, valid, rows, out + at * m->dims, error);
  }
  free(rows);
  return good;
}

/* Takes its labels before it is handed over. */
static const loader_batch *next_batch(const feature_maker *m, loader *l, int32_t label, int32_t *labels) {
  const loader_batch *b = loader_next(l);
  if (b && labels) memcpy(labels + b->step * m->batch, b->fields[label], (size_t)b->valid * sizeof(int32_t));
  return b;
}

bool features_of_split(const feature_maker *m, dataset *data, const char *split, int32_t label, int64_t count, labelled_features *out, char **error) {
  int64_t all = data ? dataset_count(data, split) : m->batch, n = count > 0 && count < all ? count : all;
  if (n < 1) return failure(error, "judging wants samples in a split \"%s\", and this data set has none", split);
  float *rows = malloc((size_t)(m->batch * m->dims) * sizeof *rows + 1);
  *out = (labelled_features){malloc((size_t)(n * m->dims) * sizeof(float) + 1), label == NO_LABEL ? NULL : malloc((size_t)n * sizeof(int32_t))};
  out->set = (feature_set){out->features, out->labels, n};
  bool good = rows && out->features && (label == NO_LABEL || out->labels);
  if (!good) short_of_memory(n, error);
  if (good && !data) {
    run_round(m->instance, 0);
    good = take_rows(m, n, rows, out->features, error);
  }
  loader *l = good && data ? loader_new(&(loader_request){.data = data, .split = split, .batch = m->batch, .in_order = true, .count = n}, error) : NULL;
  good = good && (l || !data);
  const loader_batch *b = good && l ? next_batch(m, l, label, out->labels) : NULL;
  if (b) feed(m->instance, &m->feed, b);
  for (int64_t at = 0, valid; good && b; at += valid) {
    valid = b->valid;
    run_round(m->instance, b->step);
    if ((b = next_batch(m, l, label, out->labels))) feed_ahead(m->instance, &m->feed, b); /* while a device is at the one before */
    good = take_rows(m, valid, rows, out->features + at * m->dims, error);
    if (b) feed_sent(m->instance, &m->feed, b);
  }
  loader_free(l);
  free(rows);
  if (!good) features_release(out);
  return good;
}

void features_release(labelled_features *f) {
  free(f->features);
  free(f->labels);
  *f = (labelled_features){0};
}

/* -- what else an evaluation gives --------------------------------------------------------------------------- */

bool metrics_of_split(const feature_maker *m, dataset *data, const char *split, int64_t rounds, metric *metrics, uint32_t n, char **error) {
  int64_t whole = data ? dataset_count(data, split) / m->batch : rounds;
  if (rounds > 0 && rounds < whole) whole = rounds;
  if (whole < 1)
    return failure(error, "a loss is that of whole batches of %lld, and split \"%s\" has %lld samples", (long long)m->batch, split, (long long)dataset_count(data, split));
  loader *l = data ? loader_new(&(loader_request){.data = data, .split = split, .batch = m->batch, .in_order = true, .count = whole * m->batch}, error) : NULL;
  if (data && !l) return false;
  for (uint32_t k = 0; k < n; k++) metrics[k].value = 0;
  for (int64_t round = 0; round < whole; round++) {
    if (l) feed(m->instance, &m->feed, loader_next(l));
    run_round(m->instance, round);
    for (uint32_t k = 0; k < n; k++) metrics[k].value += instance_number(m->instance, "metric", metrics[k].name) / (double)whole;
  }
  loader_free(l);
  return works(m->instance, error);
}

bool generate_text(instance *maker, int64_t window, const char *prompt, int64_t length, char *out, char **error) {
  int32_t symbols[window], place = -1;
  memset(symbols, 0, sizeof symbols);
  size_t given = strlen(prompt);
  for (int64_t i = 0; i < (int64_t)given + length; i++) {
    int32_t next = i < (int64_t)given ? (unsigned char)prompt[i] : 0;
    if (i >= (int64_t)given) {
      instance_set(maker, "data", "symbols", symbols);
      instance_set(maker, "clock", "place", &place);
      run_round(maker, i - (int64_t)given);
      instance_get(maker, "output", "symbol", &next);
      *out++ = (char)next;
    }
    if (place + 1 == window) memmove(symbols, symbols + 1, (size_t)(window - 1) * sizeof *symbols);
    else place++;
    symbols[place] = next;
  }
  return works(maker, error);
}

/* -- protocols ---------------------------------------------------------------------------------------------- */

static double argument(const protocol_argument *list, const char *name) {
  for (; list->name; list++)
    if (!strcmp(list->name, name)) return list->value;
  return 0; /* which judges take for their default */
}

static bool run_knn(const protocol_argument *list, thread_pool *pool, const judge_task *task, protocol_score *out, uint32_t *n, char **error) {
  knn_options options = {(int64_t)argument(list, "k"), argument(list, "temperature")};
  judgement found;
  if (!judge_knn(pool, task, &options, &found, error)) return false;
  out[(*n)++] = (protocol_score){"top1", found.top1};
  out[(*n)++] = (protocol_score){"top5", found.top5};
  return true;
}

static bool run_linear_probe(const protocol_argument *list, thread_pool *pool, const judge_task *task, protocol_score *out, uint32_t *n,
                             char **error) {
  probe_options options = {(int64_t)argument(list, "epochs"), argument(list, "decay")};
  probe_result found;
  if (!judge_linear_probe(pool, task, &options, &found, error)) return false;
  out[(*n)++] = (protocol_score){"top1", found.test.top1};
  out[(*n)++] = (protocol_score){"top5", found.test.top5};
  out[(*n)++] = (protocol_score){"train top1", found.train_top1};
  return true;
}

static bool run_accuracy(const protocol_argument *list, thread_pool *pool, const judge_task *task, protocol_score *out, uint32_t *n, char **error) {
  judgement found;
  (void)list, (void)pool;
  if (!judge_accuracy(task, &found, error)) return false;
  out[(*n)++] = (protocol_score){"top1", found.top1};
  if (task->classes > 5) out[(*n)++] = (protocol_score){"top5", found.top5};
  return true;
}

static const struct {
  const char *name;
  bool (*run)(const protocol_argument *list, thread_pool *pool, const judge_task *task, protocol_score *out, uint32_t *n, char **error);
} protocols[] = {{"knn", run_knn}, {"linear_probe", run_linear_probe}, {"accuracy", run_accuracy}};

bool protocol_run(const char *protocol, const protocol_argument *arguments, thread_pool *pool, const judge_task *task,
                  protocol_score out[MAX_SCORES], uint32_t *n, char **error) {
  *n = 0;
  for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
    if (!strcmp(protocols[i].name, protocol)) return protocols[i].run(arguments, pool, task, out, n, error);
  return failure(error, "there is no protocol %s", protocol);
}
