/* The training loop: batches in, steps, metrics, evaluations, checkpoints. It knows no syntax, only names. */
#ifndef SSLC_RUNTIME_TRAINER_H
#define SSLC_RUNTIME_TRAINER_H

#include "runtime/checkpoint.h"
#include "runtime/feed.h"
#include "runtime/loader.h"
#include "runtime/stepper.h"

typedef enum { TRAINER_STEPPED, TRAINER_EVALUATED, TRAINER_SAVED } trainer_event;

typedef struct {
  trainer_event event;
  int64_t done;              /* steps */
  double samples_per_second; /* 0: not known yet */
  double seconds_left;       /* negative: not known yet */
  const char *checkpoint;    /* of TRAINER_SAVED */
} trainer_news;

/* Scores of a moment; n 0 when no protocol is due. `epoch`: how many are done; `all`: before the first step and behind the last. */
typedef struct {
  const metric *items;
  uint32_t n;
} trainer_scores;
typedef bool trainer_evaluate(void *context, int64_t epoch, bool all, trainer_scores *out, char **error);
/* True: stop. */
typedef bool trainer_report(void *context, const trainer_news *news);

typedef struct {
  stepper *stepper;
  loader *loader;   /* its next batch is for step stepper->done, also when all steps were done; of a run that ended before, it may be one further.
                     * NULL when the program reads no data */
  feed_list feed;
  int64_t batch;
  int64_t steps;    /* go on until so many are done in all */
  /* Before each step: makes the stepper's instance the one that does it. False and *error. */
  bool (*enter)(void *context, char **error);
  trainer_evaluate *evaluate; /* or NULL */
  trainer_report *report;     /* or NULL */
  void *context;

  const char *directory; /* or NULL: metrics.jsonl, evaluation.jsonl, checkpoint.safetensors */
  run_origin origin;     /* for checkpoints */
  double checkpoint_seconds; /* between two within an epoch; 0 or less: none */
} training;

typedef enum { TRAINING_DONE, TRAINING_STOPPED, TRAINING_DIVERGED, TRAINING_FAILED /* *error says how */ } training_outcome;

training_outcome train(const training *t, char **error);

/* Before that: makes the directory ready. A new run wants one that holds no run, unless `overwrite` takes the old one away;
 * `resume` reads the last checkpoint, if there is one, into the states and sets stepper->done; *same_sums becomes false when
 * it was made by kernels that add in another order. False and *error. */
bool training_prepare(stepper *s, const char *directory, const run_origin *origin, bool resume, bool overwrite, bool *same_sums, char **error);

#endif
