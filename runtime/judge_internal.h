/* What the ways of judging features share. */
#ifndef SSLC_RUNTIME_JUDGE_INTERNAL_H
#define SSLC_RUNTIME_JUDGE_INTERNAL_H

#include "runtime/judge.h"

/* False, with *error, when sizes, labels or features make no sense. */
bool judge_check(const judge_task *task, char **error);

/* How many classes are ahead of `label`: those of higher score, and lower ones of equal score. */
int64_t judge_rank(const double *scores, int64_t classes, int32_t label);

/* Counts of ranks below 1 and below 5; whole numbers, so that threads may add in any order. */
typedef struct {
  _Atomic int64_t top1, top5;
} judge_tally;
void judge_count(judge_tally *tally, int64_t rank);
judgement judge_fractions(const judge_tally *tally, int64_t n);

/* The objective of the linear probe. Features are kept twice, cut in panels of rows for the logits and in
 * panels of columns for the gradient; the last column before the padding is 1 and stands for the bias. */
typedef struct {
  thread_pool *pool;
  int64_t n, columns, classes;                   /* columns: features and the bias */
  int64_t padded_n, padded_columns, padded_classes; /* to whole tiles */
  double decay;
  const int32_t *labels;
  float *row_panels;    /* [padded_n / lanes][padded_columns][lanes] */
  float *column_panels; /* [padded_columns / lanes][padded_n][lanes] */
  float *weights;       /* [padded_classes / rows][padded_columns][rows], rounded from the minimiser's */
  float *residuals;     /* [padded_classes / rows][padded_n][rows]: logits, then probabilities less targets */
  double *losses;       /* one a row panel */
  double *gradient;     /* [classes][columns] of the caller */
} probe_problem;

/* Standardises by `mean` and `scale` [dims] while packing. False when memory is short. Free in any case. */
bool probe_problem_make(probe_problem *p, thread_pool *pool, const feature_set *set, int64_t dims, int64_t classes,
                        double decay, const double *mean, const double *scale);
void probe_problem_free(probe_problem *p);
/* Mean cross-entropy + decay / 2 * |W|^2 at weights [classes][columns], and its gradient unless NULL. An
 * lbfgs_function of a probe_problem. */
double probe_loss(void *problem, const double *weights, double *gradient);
void probe_logits(probe_problem *p, const double *weights); /* into residuals */

#endif
