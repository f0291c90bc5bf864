/* What is behind the handle of sslc.h: one compiled program, its data and its states. */
#ifndef SSLC_FRONTEND_SESSION_H
#define SSLC_FRONTEND_SESSION_H

#include "frontend/experiment.h"
#include "frontend/sslc.h"
#include "passes/records.h"
#include "runtime/checkpoint.h"
#include "runtime/evaluation.h"
#include "runtime/hardware.h"
#include "runtime/loader.h"
#include "runtime/safetensors.h"
#include "runtime/stepper.h"

/* A graph on its way to the machine; the instance is made when it is first run. */
typedef struct {
  const graph *graph;
  plan *plan;
  device_code *code;
  instance *instance;
} compiled;

/* The data sets that the program declares, opened. */
typedef struct {
  const char *root;
  const dataset_array *arrays; /* of the caller */
  uint32_t n_arrays;
  struct opened {
    const struct data_argument *arguments; /* which declaration: its list of arguments */
    dataset *data;
  } *items;
  uint32_t n, capacity;
  struct opened_file {
    const char *path; /* as the program has it */
    safetensors *holds;
  } *files; /* of weights */
  uint32_t n_files, files_capacity;
  arena *arena;
} open_data;

struct sslc_program {
  /* How it was compiled; all of it lives in the arena. */
  arena *arena;
  sources *sources;
  diagnostics *diagnostics;
  experiment *experiment; /* NULL when it did not compile */
  uint64_t seed;
  dtype real;
  product_precision products; /* of contractions of reals */
  int64_t memory; /* bytes that tensors may take, or 0 */
  bool checked;
  hardware *hardware; /* that it runs on */
  const char *device; /* what it is, for people */
  bool may_pass_over; /* a GPU that nobody asked for by name: what does not fit it goes to the processor */
  const char *passed_over; /* such a GPU, and why it is not used; or NULL */
  const char *lost;  /* its device failed: how, and the handle is of no more use; malloc'ed */
  const char *cache; /* directory, NULL for none */
  run_origin origin;
  schedule_records *records; /* of schedules */
  unsigned kernels, kernels_compiled;
  double compile_seconds;
  open_data data;

  thread_pool *pool;
  compiled init, *phases, *evals; /* phases: of the step; evals: one per eval block */
  compiled *step;                 /* the phase that has an instance: that of the next step */
  uint32_t n_evals;
  feed_list feed, *eval_feeds; /* which fields of the data each of them reads */

  states states;
  bool has_states;
  stepper stepper;
  loader *loader;      /* of the training data, or NULL */
  int64_t loader_step; /* that its next batch is for */
  uint8_t *was_set;    /* per input: the caller gave a value */

  /* Answers that the caller may still hold. */
  char *message, *report;
  arena *scores_arena, *profile_arena;
  sslc_score *scores;
  metric *score_metrics;
  uint32_t n_scores, n_score_metrics;
};

/* -- errors (session.c) -------------------------------------------------------------------------------------- */

/* Keep the text for sslc_message and return `status`; of the second the text is malloc'ed and taken over. */
sslc_status session_fail(sslc_program *p, sslc_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
sslc_status session_take(sslc_program *p, sslc_status status, char *text);
/* SSLC_OK when there is a compiled program behind the handle, and its device works. */
sslc_status session_check(sslc_program *p);
/* What went wrong on the device of an instance ends all use of the handle. */
sslc_status session_lose(sslc_program *p, const instance *i);

/* A program's file, or one that it uses; NULL leaves the reason in errno. (compile.c) */
/* What a run asked for, else what the program says; NULL: no program. */
product_precision products_of(sslc_type asked, const experiment *x);
const char *session_read_text(void *context, const char *path, size_t *length, arena *a);

/* $XDG_CACHE_HOME/sslc or ~/.cache/sslc; NULL when neither is set. (compile.c) */
const char *session_default_cache(arena *a);

/* Where relative paths of data sets start: as the caller says, else beside the program. (compile.c) */
const char *session_data_root(const char *given, const char *program, arena *a);

/* -- data (open_data.c) -------------------------------------------------------------------------------------- */

/* The answer to the front end's questions; `context` of the catalog is an open_data. */
bool open_data_describe(void *context, const data_request *what, data_description *out, const char **error, arena *a);
bool open_data_read(void *context, const data_request *what, tensor_type *type, const void **elements, const char **error, arena *a);
bool open_data_weights(void *context, const char *path, weights_description *out, const char **error, arena *a);
const safetensors *open_data_file(const open_data *d, const char *path);
dataset *open_data_find(const open_data *d, const data_request *what);
void open_data_release(open_data *d);
/* Number of the field of that name; of kind DATASET_LABEL when name is NULL. -1 when there is none. */
int32_t data_field_number(const dataset *d, const char *name);
/* Which fields the inputs of a graph read, in the arena. */
feed_list data_feeds(const dataset *d, const experiment_input *inputs, uint32_t n, arena *a);

/* A loader whose next batch is for the next step, as p->loader; false and *error (malloc'ed). (running.c) */
bool session_open_loader(sslc_program *p, char **error);

/* -- running (session.c) ------------------------------------------------------------------------------------- */

/* Makes the instance if there is none yet. */
sslc_status session_open(sslc_program *p, compiled *c);
void compiled_close(compiled *c);
/* Makes the phase of the next step ready, with its states; inputs that were set are gone when it is another one than before. */
sslc_status session_enter(sslc_program *p);
/* Everything that a step needs: the instance, with states in it. */
sslc_status session_ready(sslc_program *p);
/* The states as they are now. */
sslc_status session_store(sslc_program *p);
/* What a plan allocates. */
int64_t session_plan_bytes(const plan *p);
/* What there is beside the plan of a step: states, and the larger of first values and evaluations, which come and go. */
int64_t session_bytes_beside(const sslc_program *p);
/* What of it all stays on the host, where a device has memory of its own: a copy of the states. And what does not,
 * with a batch that is copied ahead. */
int64_t session_state_bytes(const sslc_program *p);
int64_t session_device_bytes(const sslc_program *p);
/* The number among all evals of the i-th one that makes features; n_evals when there are fewer. */
uint32_t session_features(const sslc_program *p, size_t i);

/* The text for the person when a step was not finite: which step, and which operation made the first such value. malloc'ed,
 * NULL when there is no memory. The step instance still holds what the step saw. (blame.c) */
char *blame_step(sslc_program *p);

#endif
