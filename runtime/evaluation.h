/* From a compiled eval block to scores: features of a whole data set, and the protocols that judge them. */
#ifndef SSLC_RUNTIME_EVALUATION_H
#define SSLC_RUNTIME_EVALUATION_H

#include "runtime/dataset.h"
#include "runtime/feed.h"
#include "runtime/judge.h"

typedef struct {
  instance *instance; /* with states; result output "features" f32[batch, dims] */
  feed_list feed;
  int64_t batch, dims;
} feature_maker;

/* Features of n samples; field_data: per entry of `feed`, n samples packed. False when memory is short. */
bool features_of(const feature_maker *m, const void *const *field_data, const size_t *sample_bytes, int64_t n, float *out);

typedef struct {
  float *features;
  int32_t *labels;
  feature_set set; /* the two, as judges take them */
} labelled_features;

/* All samples of a split in their order, with the labels that field `label` holds. False and *error (malloc'ed) when there
 * is no such split or memory is short. */
bool features_of_split(const feature_maker *m, dataset *data, const char *split, uint32_t label, labelled_features *out, char **error);
void features_release(labelled_features *f);

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
