#include "runtime/trainer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/failure.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- the directory of a run ---------------------------------------------------------------------------------- */

static const char *const run_files[] = {"checkpoint.safetensors", "metrics.jsonl", "evaluation.jsonl"};
enum { CHECKPOINT, METRICS, EVALUATION, N_RUN_FILES };

/* malloc'ed; NULL after setting the error. */
static char *run_path(const char *directory, int file, char **error) {
  size_t n = strlen(directory) + strlen(run_files[file]) + 2;
  char *path = malloc(n);
  if (path) snprintf(path, n, "%s/%s", directory, run_files[file]);
  else failure(error, "out of memory");
  return path;
}

/* The directory and those above it. */
static bool make_directory(const char *path, char **error) {
  char *part = strdup(path);
  if (!part) return failure(error, "out of memory");
  for (char *c = part + 1; *c; c++) {
    if (*c != '/') continue;
    *c = 0;
    mkdir(part, 0777); /* what is wrong shows at the last one */
    *c = '/';
  }
  struct stat found;
  bool good = mkdir(part, 0777) == 0 || errno == EEXIST;
  int number = errno;
  free(part);
  if (!good) return failure_of_system(error, "make directory", path, number);
  if (stat(path, &found) != 0) return failure_of_system(error, "look at", path, errno);
  if (!S_ISDIR(found.st_mode)) return failure(error, "%s is a file; a run wants a directory", path);
  return access(path, W_OK | X_OK) == 0 || failure_of_system(error, "write to directory", path, errno);
}

/* What to do with each file of a run; false and *error to end there. */
typedef bool file_action(const char *path, void *context, char **error);

static bool for_run_files(const char *directory, file_action *action, void *context, char **error) {
  for (int i = 0; i < N_RUN_FILES; i++) {
    char *path = run_path(directory, i, error);
    bool good = path && action(path, context, error);
    free(path);
    if (!good) return false;
  }
  return true;
}

static bool note_presence(const char *path, void *found, char **error) {
  (void)error;
  *(bool *)found |= access(path, F_OK) == 0;
  return true;
}

static bool take_away(const char *path, void *context, char **error) {
  (void)context;
  return unlink(path) == 0 || errno == ENOENT || failure_of_system(error, "remove", path, errno);
}

static bool resume_from(stepper *s, const char *directory, const run_origin *origin, bool *same_sums, char **error) {
  char *path = run_path(directory, CHECKPOINT, error);
  if (!path) return false;
  checkpoint_position at = {.origin = *origin, .seed = s->seed};
  bool there = access(path, F_OK) == 0, good = !there || checkpoint_read(path, s->states, &at, error);
  if (there && good) {
    s->done = at.step;
    *same_sums = at.same_sums;
    stepper_load(s);
  }
  free(path);
  return good;
}

bool training_prepare(stepper *s, const char *directory, const run_origin *origin, bool resume, bool overwrite, bool *same_sums, char **error) {
  *same_sums = true;
  bool holds_run = false;
  if (!make_directory(directory, error) || !for_run_files(directory, note_presence, &holds_run, error)) return false;
  if (!holds_run) return true;
  if (resume) return resume_from(s, directory, origin, same_sums, error);
  if (overwrite) return for_run_files(directory, take_away, NULL, error);
  return failure(error, "%s already holds a run; go on with it (--resume), replace it (--force), or choose another directory", directory);
}

/* -- the loop ------------------------------------------------------------------------------------------------ */

typedef struct {
  const training *training;
  stepper *stepper;
  metrics_log *metrics, *evaluations; /* NULL without a directory */
  char *checkpoint;                   /* its path, or NULL */
  int64_t saved;                      /* step of the last checkpoint, -1: none */
  double saved_at;
  int64_t timed_steps;
  double timed_seconds; /* of steps alone */
  const loader_batch *next; /* of the step to come, read while the one before ran; NULL: not yet */
  char **error;
} training_run;

static int64_t epoch_of(const training_run *r, int64_t step) { return step / r->stepper->steps_per_epoch; }

static bool open_files(training_run *r) {
  const char *directory = r->training->directory;
  if (!directory) return true;
  metrics_log **const logs[N_RUN_FILES] = {[METRICS] = &r->metrics, [EVALUATION] = &r->evaluations};
  for (int i = METRICS; i <= EVALUATION; i++) {
    char *path = run_path(directory, i, r->error);
    if (path) *logs[i] = metrics_open(path, r->stepper->done, r->error);
    free(path);
    if (!*logs[i]) return false;
  }
  r->checkpoint = run_path(directory, CHECKPOINT, r->error);
  return r->checkpoint;
}

/* An earlier failure counts more than one in closing. */
static bool close_files(training_run *r, bool good) {
  char *ignored = NULL, **error = good ? r->error : &ignored;
  if (r->metrics && !metrics_close(r->metrics, error)) good = false;
  if (r->evaluations && !metrics_close(r->evaluations, good ? r->error : &ignored)) good = false;
  free(ignored);
  free(r->checkpoint);
  return good;
}

static bool tell(const training_run *r, trainer_event event) {
  const training *t = r->training;
  double rate = r->timed_seconds > 0 ? (double)r->timed_steps / r->timed_seconds : 0;
  trainer_news news = {event, r->stepper->done, rate * (double)t->batch, rate > 0 ? (double)(t->steps - r->stepper->done) / rate : -1,
                       r->checkpoint};
  return t->report && t->report(t->context, &news);
}

static bool device_failed(training_run *r, int64_t step) { return failure(r->error, "step %lld: %s", (long long)step, instance_failure(r->stepper->instance)); }

static bool store(training_run *r) { return stepper_store(r->stepper) || device_failed(r, r->stepper->done - 1); }

static bool evaluate(training_run *r, bool all) {
  const training *t = r->training;
  trainer_scores scores = {0};
  int64_t done = r->stepper->done;
  if (!t->evaluate) return true;
  if (!store(r)) return false;
  if (!t->evaluate(t->context, epoch_of(r, done), all, &scores, r->error)) return false;
  if (scores.n) tell(r, TRAINER_EVALUATED);
  return !scores.n || !r->evaluations || metrics_write(r->evaluations, done, epoch_of(r, done), scores.items, scores.n, r->error);
}

static bool save(training_run *r) {
  stepper *s = r->stepper;
  if (!r->checkpoint || r->saved == s->done) return true;
  if (!store(r)) return false;
  checkpoint_position at = {r->training->origin, s->seed, s->done, epoch_of(r, s->done), false};
  if (!checkpoint_write(r->checkpoint, s->states, &at, r->error)) return false;
  r->saved = s->done;
  r->saved_at = now();
  tell(r, TRAINER_SAVED);
  return true;
}

static bool feed_first(training_run *r) {
  const loader_batch *batch = loader_next(r->training->loader);
  if (!batch) return failure(r->error, "the data ended at step %lld", (long long)r->stepper->done);
  feed(r->stepper->instance, &r->training->feed, batch);
  return true;
}

/* While a device is at the step. The batch may be for another phase of the program: then it was sent for nothing. */
static void read_ahead(training_run *r) {
  const training *t = r->training;
  r->next = t->loader && r->stepper->done + 1 < t->steps ? loader_next(t->loader) : NULL;
  if (r->next) feed_ahead(r->stepper->instance, &t->feed, r->next);
}

static training_outcome one_step(training_run *r) {
  const training *t = r->training;
  stepper *s = r->stepper;
  double start = now();
  if (!t->enter(t->context, r->error)) return TRAINING_FAILED;
  if (r->next) feed_sent(s->instance, &t->feed, r->next);
  else if (t->loader && !feed_first(r)) return TRAINING_FAILED;
  stepper_begin(s);
  read_ahead(r);
  const step_outcome outcome = stepper_end(s);
  if (outcome == STEP_FAILED) return device_failed(r, s->done), TRAINING_FAILED;
  if (outcome == STEP_NOT_FINITE) return TRAINING_DIVERGED;
  r->timed_seconds += now() - start;
  r->timed_steps++;
  bool good = !r->metrics || metrics_write(r->metrics, s->done, epoch_of(r, s->done - 1), s->metrics, s->n_metrics, r->error);
  return good ? TRAINING_DONE : TRAINING_FAILED;
}

static training_outcome run_steps(training_run *r) {
  const training *t = r->training;
  stepper *s = r->stepper;
  if (s->done >= t->steps) return TRAINING_DONE;
  if (s->done == 0 && !evaluate(r, true)) return TRAINING_FAILED;
  while (s->done < t->steps) {
    training_outcome outcome = one_step(r);
    if (outcome != TRAINING_DONE) return outcome;
    bool stop = tell(r, TRAINER_STEPPED), last = s->done == t->steps || s->finished, epoch_ends = s->done % s->steps_per_epoch == 0;
    bool due = t->checkpoint_seconds > 0 && now() - r->saved_at >= t->checkpoint_seconds;
    if ((last || epoch_ends) && !evaluate(r, last)) return TRAINING_FAILED; /* first, so that a checkpoint never lacks it */
    if ((last || epoch_ends || due || stop) && !save(r)) return TRAINING_FAILED;
    if (stop && !last) return TRAINING_STOPPED;
    if (s->finished) break;
  }
  return TRAINING_DONE;
}

training_outcome train(const training *t, char **error) {
  training_run r = {.training = t, .stepper = t->stepper, .saved = -1, .saved_at = now(), .error = error};
  training_outcome outcome = open_files(&r) ? run_steps(&r) : TRAINING_FAILED;
  if (outcome == TRAINING_DIVERGED && !store(&r)) outcome = TRAINING_FAILED; /* who explains it computes from them; others ask for what they read */
  return close_files(&r, outcome != TRAINING_FAILED) ? outcome : TRAINING_FAILED;
}
