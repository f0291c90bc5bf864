/* How good a representation is: what a simple classifier on frozen features gets right. */
#ifndef SSLC_RUNTIME_JUDGE_H
#define SSLC_RUNTIME_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/pool.h"

typedef struct {
  const float *features; /* [n, dims] */
  const int32_t *labels; /* [n], each in [0, classes) */
  int64_t n;
} feature_set;

typedef struct {
  const feature_set *train, *test;
  int64_t dims, classes;
} judge_task;

/* Fractions of the test set whose class is the first, or among the first five, of the answer. */
typedef struct {
  double top1, top5;
} judgement;

/* Nearest neighbours (Wu et al. 2018, arXiv:1805.01978, section 3.4): a test feature's k most similar
 * train features by cosine vote for their class with weight exp(similarity / temperature). Of equal
 * neighbours the earlier one is taken; of equal classes the lower one wins. A feature of all zeros has
 * similarity 0 to everything. */
typedef struct {
  int64_t k;          /* 0: 20; more than there are: all */
  double temperature; /* 0: 0.1 */
} knn_options;

/* Logistic regression: minimises mean cross-entropy + decay / 2 * |W|^2 over weights W and biases on
 * features standardised by the training set, by L-BFGS from zero: convex, so that neither a learning
 * rate nor a seed has a say. */
typedef struct {
  int64_t epochs; /* the most passes over the training set; 0: 300 */
  double decay;   /* 0: 1e-4; negative: none */
} probe_options;

typedef struct {
  judgement test;
  double train_top1;
  double loss;         /* the minimised sum */
  double gradient;     /* its gradient's largest magnitude at the end */
  int64_t epochs;      /* passes taken */
} probe_result;

/* Both: options may be NULL for defaults. Results are the same bits for any number of threads. False and *error
 * (malloc'ed) when sizes, labels or features (NaN, infinity) make no sense. */
bool judge_knn(thread_pool *pool, const judge_task *task, const knn_options *options, judgement *out, char **error);
bool judge_linear_probe(thread_pool *pool, const judge_task *task, const probe_options *options, probe_result *out, char **error);

/* What the features say themselves, as logits of the classes; `train` is not looked at. */
bool judge_accuracy(const judge_task *task, judgement *out, char **error);

#endif
