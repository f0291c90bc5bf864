/* What a program means: the graphs and settings that the front end makes of a `.ssl` file. */
#ifndef SSLC_FRONTEND_EXPERIMENT_H
#define SSLC_FRONTEND_EXPERIMENT_H

#include "ir/graph.h"

/* -- what the front end asks about data; the facade answers through the runtime ------------------------ */

typedef enum {
  FIELD_IMAGE,  /* u8 [C,H,W], seen by the program as reals in 0..1 */
  FIELD_LABEL,  /* i32 scalar in 0..classes-1 */
  FIELD_TOKENS, /* u8 or i32 sequence, never scaled */
  FIELD_NUMBERS /* as stored */
} field_kind;

typedef struct {
  const char *name;
  field_kind kind;
  tensor_type type; /* of one sample, as stored */
  int64_t classes;  /* of a label; else 0 */
} data_field;

typedef struct data_request {
  const char *source; /* "cifar10", "idx", "subset", ...: the function the program called */
  struct data_argument {
    const char *name; /* "" for a positional one */
    const char *text; /* a string, or NULL */
    double number;    /* when all others are NULL */
    const double *list; /* n_list numbers, or NULL */
    uint32_t n_list;
    const struct data_request *data; /* another data set, or a split of it; or NULL */
  } *arguments;
  uint32_t n_arguments;
  const char *split; /* "train", "test", ... or "" */
} data_request;

typedef struct {
  const data_field *fields;
  uint32_t n_fields;
  struct { const char *name; int64_t count; } split[4]; /* "train" first; name NULL past the last */
} data_description;

typedef struct {
  const char *name; /* "f/conv_1/w" */
  tensor_type type;
} stored_weight;

typedef struct {
  const stored_weight *weights;
  uint32_t n;
  const char *definitions; /* of the program that wrote the file, or NULL */
} weights_description;

typedef struct {
  void *context;
  /* Opens a data set; false and *error (static or in the arena) when it cannot be. The result lives as
   * long as the catalog. Called once per data declaration, with split "". */
  bool (*describe)(void *context, const data_request *what, data_description *out, const char **error, arena *a);
  /* All samples of a source's first field as one array, in the arena. */
  bool (*read)(void *context, const data_request *what, tensor_type *type, const void **elements, const char **error, arena *a);
  /* Opens a file of weights in the same way; NULL: there are none. */
  bool (*weights)(void *context, const char *path, weights_description *out, const char **error, arena *a);
} data_catalog;

/* -- what it makes --------------------------------------------------------------------------------------- */

typedef enum { STATE_WEIGHT, STATE_BUFFER /* running statistics */, STATE_TARGET, STATE_QUEUE, STATE_OPTIMIZER, STATE_FROZEN, STATE_CONSTANT, STATE_OTHER } state_kind;

typedef struct {
  const char *name; /* "f/conv_1/w"; of an optimiser: "adam.m/f/conv_1/w"; unique */
  tensor_type type;
  state_kind kind;
  const char *model; /* "" for none */
} experiment_state;

typedef struct {
  const char *name;     /* parameter name in the graph, role "data" */
  uint32_t data;        /* index into experiment.data */
  const char *field;
  tensor_type type;     /* with the batch in front */
} experiment_input;

enum { NO_DATA = UINT32_MAX };

typedef struct {
  const char *protocol; /* "knn", "loss", ... */
  uint32_t data;        /* index into experiment.data, or NO_DATA */
  int64_t every;        /* epochs; 0: at the end only */
  struct { const char *name; double value; } argument[8]; /* k, temperature, epochs, ...; name NULL past the last */
  const char *file;     /* of what is written: its name without an ending, unique */
  const char *prompt;   /* of a text */
  span where;
} experiment_protocol;

/* What the graph of an eval gives, and what is done with it. */
typedef enum {
  EVAL_FEATURES, /* output "features" f32[batch, D], judged by labels */
  EVAL_LOSS,     /* metrics, "loss" among them: a pretext without updates, averaged over batches */
  EVAL_IMAGES,   /* output "features" f32[batch, C, H, W], written as a picture */
  EVAL_ARRAY,    /* output "features" f32[batch, ...], written as an array */
  EVAL_STATE,    /* output "features" f32[batch, ...] for the state `file`, before training */
  EVAL_TEXT      /* output "symbol" i32 of data "symbols" i32[1, window]: the next one, drawn */
} eval_kind;

/* Graphs that are run beside the step. Parameters: state; data (inputs below); clock "round": the number of the batch, which draws
 * depend on; of a loss the clock of training too; seed. */
typedef struct {
  eval_kind kind;
  graph *graph;
  int64_t batch;
  experiment_input *inputs;
  uint32_t n_inputs;
  experiment_protocol *protocols; /* one or more that judge features; one of any other kind */
  uint32_t n_protocols;
  const char *label; /* source text of the evaluated expression, for tables: "f(plain(img))" */
  span where;
} experiment_eval;

/* A truth that the clock alone decides, by scalars of a step's graph. */
typedef struct {
  const graph *graph;
  value *values; /* in the order in which they are computed; the last one is the truth */
  uint32_t n;
  bool holds; /* what it is in this phase */
} clock_condition;

/* A step of the program. It has several where `if` asks the clock. */
typedef struct {
  /* Parameters: state; data (`inputs` of the experiment); clock "step" i32[], "epoch" i32[]; seed. Results: state;
   * metrics, "loss" among them (sum of all objectives), "finite" bool[] (false: states were kept) and "stop" bool[]
   * (true: training ends here). */
  graph *graph;
  const clock_condition *when; /* all of them have to be as they say */
  uint32_t n_when;
} experiment_phase;

/* A state whose first value is in a file: the graph of first values has it as a parameter, role "data", with the state's name. */
typedef struct {
  const char *state, *file, *weight;
} experiment_load;

/* Where a model has its first weights from, and how many: taken, missing in the file, and there for nothing. */
typedef struct {
  const char *model, *file, *part;
  uint32_t taken, missing, unused;
} experiment_origin;

typedef struct experiment {
  data_request *data; /* every data set the program uses, split included: cifar.train and cifar.test are two */
  uint32_t n_data;
  experiment_state *states;
  uint32_t n_states;
  graph *init; /* parameters: seed (role seed, "seed": u32[2]), data (what is known of states before); results: role state, one per state */
  experiment_phase *phases;
  uint32_t n_phases;
  graph *step; /* the first of them, and of most programs the only one */
  experiment_input *inputs; /* of all of them */
  uint32_t n_inputs;
  uint32_t train_data; /* index into data, or NO_DATA */
  const char *pretext; /* its name */
  int64_t batch, epochs, steps, steps_per_epoch; /* steps: in all */
  uint64_t seed;
  product_precision products; /* as train says */
  experiment_eval *evals;
  uint32_t n_evals;
  int64_t parameters; /* elements of all weights */
  experiment_load *loads;
  uint32_t n_loads;
  experiment_origin *origins;
  uint32_t n_origins;
  const char *definitions; /* what the program declares but for training and evaluation, with the values that options have */
} experiment;

/* Which of the phases that step is; behind the last step, that of the last one. */
uint32_t experiment_phase_at(const experiment *x, int64_t step);

typedef struct {
  const char *name, *text; /* --set name=text */
} option_override;

typedef struct {
  dtype real; /* DTYPE_F32 or DTYPE_F64: what reals are */
  const option_override *overrides;
  uint32_t n_overrides;
  const data_catalog *catalog;
  /* Reads the file of `use "name"` relative to the program; NULL when missing. */
  const char *(*read_file)(void *context, const char *path, size_t *length, arena *a);
  void *read_context;
} lower_options;

/* Parses and lowers file number `file` of d->sources (the standard library is added behind the scenes).
 * NULL when errors were reported. Warnings may be reported with a result. */
experiment *lower_program(uint32_t file, const lower_options *o, diagnostics *d, arena *a);

#endif
