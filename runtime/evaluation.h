/* From a compiled eval block to scores: features of a whole data set, and the protocols that judge them. */
#ifndef SSLC_RUNTIME_EVALUATION_H
#define SSLC_RUNTIME_EVALUATION_H

#include "runtime/dataset.h"
#include "runtime/feed.h"
#include "runtime/judge.h"
#include "runtime/metrics.h"

typedef struct {
  instance *instance; /* with states; result output "features" f32[batch, ...] */
  feed_list feed;
  int64_t batch, dims; /* dims: numbers a sample */
} feature_maker;

/* Features of n samples; field_data: per entry of `feed`, n samples packed. False and *error (malloc'ed) when memory is short or the device
 * fails, as of all below. */
bool features_of(const feature_maker *m, const void *const *field_data, const size_t *sample_bytes, int64_t n, float *out, char **error);

typedef struct {
  float *features;
  int32_t *labels; /* NULL: none were asked for */
  feature_set set; /* the two, as judges take them */
} labelled_features;

enum { NO_LABEL = -1 };

/* The first `count` (0: all) samples of a split in their order, with the labels that field `label` holds. Without data (NULL) the
 * one batch that the graph makes of states alone. False and *error also when there is no such split. */
bool features_of_split(const feature_maker *m, dataset *data, const char *split, int32_t label, int64_t count, labelled_features *out, char **error);
void features_release(labelled_features *f);

/* A pretext run for what it reports: the values of `metrics`, by their names the mean over the whole batches of a split, or over
 * `rounds` of them (0: all). Without data that many rounds. False and *error. */
bool metrics_of_split(const feature_maker *m, dataset *data, const char *split, int64_t rounds, metric *metrics, uint32_t n, char **error);

/* Symbols one after another: the graph takes data "symbols" i32[1, window] and clocks "place" (of the last symbol in the window) and
 * "round" (drawn so far), and gives output "symbol" i32. Writes `length` bytes behind the prompt into `out`. */
bool generate_text(instance *maker, int64_t window, const char *prompt, int64_t length, char *out, char **error);

typedef struct {
  const char *name;
  double value;
} protocol_argument;

typedef struct {
  const char *measure; /* "top1"; static */
  double value;
} protocol_score;

enum { MAX_SCORES = 4 };

/* Judges by the protocol of that name; arguments end with a NULL name. False and *error when it cannot, or there is none. */
bool protocol_run(const char *protocol, const protocol_argument *arguments, thread_pool *pool, const judge_task *task,
                  protocol_score out[MAX_SCORES], uint32_t *n, char **error);

#endif
