#include <math.h>

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
  return check_set(task, task->train, "train", error) && check_set(task, task->test, "test", error);
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
