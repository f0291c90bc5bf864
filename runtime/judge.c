#include <math.h>
#include <stdlib.h>

#include "runtime/failure.h"
#include "runtime/judge_internal.h"

static bool check_set(const judge_task *task, const feature_set *set, const char *name, char **error) {
  if (set->n < 1) return failure(error, "the %s set is empty: there is nothing to judge by", name);
  for (int64_t i = 0; i < set->n; i++)
    if (set->labels[i] < 0 || set->labels[i] >= task->classes)
      return failure(error, "label %d of %s sample %lld is outside 0 to %lld", set->labels[i], name, (long long)i,
                     (long long)task->classes - 1);
  for (int64_t i = 0; i < set->n * task->dims; i++)
    if (!isfinite(set->features[i]))
      return failure(error, "feature %lld of %s sample %lld is %s: the model has diverged; try a lower learning rate",
                     (long long)(i % task->dims), name, (long long)(i / task->dims), isnan(set->features[i]) ? "not a number" : "infinite");
  return true;
}

bool judge_check(const judge_task *task, char **error) {
  if (task->dims < 1) return failure(error, "features of %lld numbers cannot be judged; give a tensor of [samples, features]", (long long)task->dims);
  if (task->classes < 1) return failure(error, "there are %lld classes; labels must be of at least one", (long long)task->classes);
  return (!task->train || check_set(task, task->train, "train", error)) && check_set(task, task->test, "test", error);
}

bool judge_accuracy(const judge_task *task, judgement *out, char **error) {
  judge_tally tally = {0};
  double *logits = malloc((size_t)(task->classes > 0 ? task->classes : 1) * sizeof *logits);
  bool good = logits || failure(error, "no memory for %lld logits", (long long)task->classes);
  if (good && task->dims != task->classes)
    good = failure(error, "accuracy wants a logit for each of the %lld classes, got %lld numbers a sample", (long long)task->classes, (long long)task->dims);
  good = good && judge_check(task, error);
  for (int64_t i = 0; good && i < task->test->n; i++) {
    for (int64_t c = 0; c < task->classes; c++) logits[c] = task->test->features[i * task->dims + c];
    judge_count(&tally, judge_rank(logits, task->classes, task->test->labels[i]));
  }
  free(logits);
  if (good) *out = judge_fractions(&tally, task->test->n);
  return good;
}

int64_t judge_rank(const double *scores, int64_t classes, int32_t label) {
  int64_t ahead = 0;
  for (int64_t c = 0; c < classes; c++) ahead += scores[c] > scores[label] || (scores[c] == scores[label] && c < label);
  return ahead;
}

void judge_count(judge_tally *tally, int64_t rank) {
  tally->top1 += rank < 1;
  tally->top5 += rank < 5;
}

judgement judge_fractions(const judge_tally *tally, int64_t n) {
  return (judgement){(double)tally->top1 / (double)n, (double)tally->top5 / (double)n};
}
