/* sslc: a compiler for self-supervised learning, as a library. This is its one header.
 *
 *   sslc_program *p;
 *   if (sslc_compile_file("simclr.ssl", NULL, &p) || sslc_train(p, NULL)) fprintf(stderr, "%s\n", sslc_message(p));
 *   sslc_free(p);
 *
 * A program is a handle: the compiled `.ssl` text, its states (weights, running statistics, moments of the optimiser) and
 * the step that it has come to. Use a handle from one thread at a time; different handles share nothing.
 *
 * Errors: functions that can fail return a status, SSLC_OK (0) or what was at fault; sslc_message then says what was
 * expected, what was found and what to do. A call that fails changes no state, unless it says so.
 *
 * Ownership: the caller owns what it passes in, and nothing of it is kept behind the call, but for the values of sslc_array.
 * What the library gives out as a pointer belongs to the handle; each function says for how long.
 *
 * Tensors pass as packed row-major arrays of the machine's byte order. Sizes are given in bytes, so that a wrong one is an
 * error and not a crash. Images are u8 [C,H,W], as files have them; the program sees them as reals in 0..1. */
#ifndef SSLC_H
#define SSLC_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SSLC_API __attribute__((visibility("default")))
#else
#define SSLC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sslc_program sslc_program;

typedef enum {
  SSLC_OK = 0,
  SSLC_BAD_PROGRAM, /* the text: sslc_place lists the places */
  SSLC_BAD_CALL,    /* an argument: an unknown name, a wrong size, a call out of order */
  SSLC_BAD_FILE,    /* a data set or a checkpoint is missing or is not what it should be */
  SSLC_NO_RESOURCE, /* the system refused: memory, disk, threads, a device; when a device failed in the middle, the handle is of no more use */
  SSLC_NOT_FINITE,  /* the loss or a gradient is NaN or infinite; the states are those before that step */
  SSLC_STOPPED      /* the callback asked for it */
} sslc_status;

/* "0.1.0". Static. */
SSLC_API const char *sslc_version(void);

/* -- compiling --------------------------------------------------------------------------------------------- */

typedef enum { SSLC_BOOL, SSLC_U8, SSLC_I32, SSLC_U32, SSLC_I64, SSLC_BF16, SSLC_F32, SSLC_F64, SSLC_TF32 /* in sslc_options alone */ } sslc_type;

/* A value for an `option` of the program, as text: {"batch", "64"}. */
typedef struct {
  const char *name, *text;
} sslc_override;

/* One field of one split of a data set that the caller holds. A program names it by `data mine = memory("mine")`; every split
 * has the same fields, and each field as many samples. The values are not copied: they live as long as the program. */
typedef struct {
  const char *data, *split, *field; /* "mine", "train" or "test", "img" */
  sslc_type type;   /* of one sample, with its shape; u8 [C,H,W] is an image, seen as reals in 0..1 */
  unsigned rank;
  int64_t shape[8];
  int64_t classes;  /* of labels, each one SSLC_I32 in 0..classes-1; else 0 */
  int64_t count;    /* samples */
  const void *values;
} sslc_array;

/* All zeros are the defaults. */
typedef struct {
  const sslc_override *overrides; /* n_overrides of them; a later one wins */
  size_t n_overrides;
  const char *data_root; /* relative paths of data sets start here; NULL: in the folder of the program */
  const sslc_array *arrays; /* n_arrays of them: data of the caller's own */
  size_t n_arrays;
  const uint64_t *seed;  /* NULL: 0 */
  unsigned threads;      /* 0: as many as the machine has; results are the same bits for any number */
  sslc_type real;        /* SSLC_F32 or SSLC_F64: what reals are; SSLC_BF16: they are f32, and contractions with what goes between
                          * them are in bf16; SSLC_TF32: they are f32, and operands of contractions are rounded to 11 significant
                          * bits, as a GPU's matrix unit takes them; 0: f32, or what the program asks for */
  const char *cache;     /* directory of compiled kernels; NULL: $XDG_CACHE_HOME/sslc or ~/.cache/sslc; "": none */
  const char *schedules; /* a checkpoint: kernels get the tuned schedules that its run had, which keeps its bits. NULL: those that
                          * `sslc tune` left in the cache directory */
  int64_t memory;        /* bytes that tensors may take at once, sslc_facts.peak_bytes; 0: no limit. Above it, values of a step are made
                          * again instead of kept, with the same bits, in more time; SSLC_BAD_PROGRAM when that is not enough */
  int checked;           /* not 0: every access is tested against its array; slow, to find a bug of the compiler; on processors only */
  const char *device;    /* "cpu", "cuda" (the first GPU), "cuda:1" (the second); NULL or "auto": what the environment's SSLC_DEVICE says, or else
                          * the first GPU, where there is one that can be used and that the program fits, and the processor elsewhere. A GPU
                          * gives the same draws and, within rounding, the same numbers; states go from one to the other.
                          * SSLC_NO_RESOURCE when the one that was named cannot be used */
} sslc_options;

/* Compiles a program, all of it: nothing is left that could fail to compile later. options may be NULL. *out is a handle in
 * any case, also of a failure, to ask for the message; it is NULL only when there is no memory even for that, and every
 * function takes NULL for a handle that failed. States are made when they are first needed. */
SSLC_API sslc_status sslc_compile_file(const char *path, const sslc_options *options, sslc_program **out);
/* The same from a text; `name` is what messages call it, and relative paths start in its folder. */
SSLC_API sslc_status sslc_compile_text(const char *text, const char *name, const sslc_options *options, sslc_program **out);
SSLC_API void sslc_free(sslc_program *p);

/* -- errors ------------------------------------------------------------------------------------------------ */

/* Of the latest call that failed, as a person wants to read it: of programs with places, lines and carets. "" when none
 * did. Valid until the next call with this handle. */
SSLC_API const char *sslc_message(const sslc_program *p);

typedef struct {
  char code[8]; /* "E0403": sslc explain E0403 */
  const char *file; /* "" when the error has no place */
  unsigned line, column; /* from 1; columns count bytes */
  const char *text;
  int is_warning;
} sslc_diagnostic;

/* The i-th error or warning of the compilation, in the order of the text; 0 past the last. Valid as long as the handle. */
SSLC_API int sslc_place(const sslc_program *p, size_t i, sslc_diagnostic *out);
/* All errors and warnings as one text with lines and carets, not 0: coloured for a terminal. Valid until the next call. */
SSLC_API const char *sslc_report(sslc_program *p, int color);

/* -- what a program is ------------------------------------------------------------------------------------- */

typedef struct {
  int64_t parameters;            /* trained numbers */
  int64_t peak_bytes;            /* all memory that tensors will take at once, known before anything runs */
  int64_t temporary_bytes;       /* of them for what a step computes on its way */
  int64_t live_bytes;            /* of those in use at the same time: what no plan can do without */
  int64_t batch, steps, steps_per_epoch, epochs; /* what the program's train block asks for */
  int64_t step;                  /* steps done since the states were made */
  unsigned kernels, compiled;    /* machine code in all, and what of it the cache did not have */
  double compile_seconds;
  const char *device;            /* "cuda:0, NVIDIA H200, sm_90" or "cpu, znver4"; valid as long as the handle */
  int64_t device_bytes, device_free_bytes; /* of a GPU's own memory: what of peak_bytes lies there, and what was free; else 0 */
  const char *passed_over;       /* a GPU that is there and that "auto" did not take, and why; else NULL */
} sslc_facts;

SSLC_API sslc_status sslc_get_facts(sslc_program *p, sslc_facts *out);

/* Where a model has its first weights from: load("run/checkpoint.safetensors").f. */
typedef struct {
  const char *model, *file;
  const char *part;  /* what the model is called in the file */
  unsigned taken;    /* weights that were in the file */
  unsigned missing;  /* that were not, and begin as without a file; a warning names them */
  unsigned unused;   /* of that part of the file, that the model does not have */
} sslc_origin;

/* The i-th of them; 0 past the last. Valid as long as the handle. */
SSLC_API int sslc_get_origin(const sslc_program *p, size_t i, sslc_origin *out);

typedef enum {
  SSLC_INPUT,   /* of a training step, its batch in front: "img" u8[256,3,32,32] */
  SSLC_STATE,   /* "f/conv_1/w" f32[64,3,3,3]; of an optimiser "adam.m/f/conv_1/w" */
  SSLC_METRIC,  /* what a step reports: "loss" and others, one number each */
  SSLC_SAMPLE,  /* what the i-th eval block that judges features makes them of, one sample: "img" u8[3,32,32] */
  SSLC_FEATURES /* what it makes, of one sample: its expression as the name, f32[128] */
} sslc_kind;

typedef struct {
  const char *name;
  sslc_type type;
  unsigned rank;    /* 0: one number */
  int64_t shape[8]; /* rank of them */
  size_t bytes;     /* of the packed array */
} sslc_tensor;

/* The i-th tensor of a kind; 0 past the last. The name is valid as long as the handle. */
SSLC_API int sslc_describe(const sslc_program *p, sslc_kind kind, size_t i, sslc_tensor *out);

/* -- states, inputs, metrics -------------------------------------------------------------------------------- */

/* Makes all states anew from the seed and goes back to step 0. */
SSLC_API sslc_status sslc_initialise(sslc_program *p);
/* Copies a state (SSLC_STATE) or an input of the next sslc_step (SSLC_INPUT) in; `bytes` as described. */
SSLC_API sslc_status sslc_set(sslc_program *p, sslc_kind kind, const char *name, const void *data, size_t bytes);
/* Copies a state out. */
SSLC_API sslc_status sslc_get(sslc_program *p, const char *name, void *out, size_t bytes);
/* A metric of the latest step; NaN when there is none of that name, or no step was done. */
SSLC_API double sslc_metric(const sslc_program *p, const char *name);
/* Writes all states and the step as one safetensors file, whole or not at all. */
SSLC_API sslc_status sslc_save(sslc_program *p, const char *path);
/* Reads them back: the file must have every state of the program with its type. Continuing from there gives the same bits
 * as not having stopped. */
SSLC_API sslc_status sslc_load(sslc_program *p, const char *path);

/* -- training ----------------------------------------------------------------------------------------------- */

/* One step on the inputs that sslc_set was given; inputs keep their values until they are set again, or until
 * the step becomes another one, in a program that asks the clock with `if`. */
SSLC_API sslc_status sslc_step(sslc_program *p);
/* `steps` steps on the program's own data, going on in its shuffled order from the step that was reached. */
SSLC_API sslc_status sslc_run(sslc_program *p, int64_t steps);

/* One line of an evaluation. */
typedef struct {
  const char *features; /* the eval block's expression: "f(plain(img))" */
  const char *protocol; /* "knn", "loss", "images", ... */
  const char *measure;  /* "top1", "loss", the name of a report, ... */
  double value;         /* NaN where the answer is no number */
  int is_fraction;      /* not 0: an accuracy, a fraction of the samples */
  const char *text;     /* what was generated, or the path of a file that was written; else NULL */
} sslc_score;

/* Runs the protocols of all eval blocks on the states as they are. *out: *n lines, valid until the next evaluation. Pictures and
 * arrays are written into the directory, which is there; a program that writes some wants one, others take NULL. */
SSLC_API sslc_status sslc_evaluate(sslc_program *p, const char *directory, const sslc_score **out, size_t *n);
/* Features by the i-th eval block that judges features, of n samples, packed behind each other (SSLC_SAMPLE says how); out: n times what
 * SSLC_FEATURES says. The block must read one field of the data. */
SSLC_API sslc_status sslc_features(sslc_program *p, size_t i, const void *samples, int64_t n, float *out);

typedef enum {
  SSLC_AT_STEP,       /* a step is done */
  SSLC_AT_EVALUATION, /* `scores` are new: before the first step, as often as protocols say `every`, and at the end */
  SSLC_AT_CHECKPOINT, /* `checkpoint` was written */
  SSLC_AT_WARNING     /* `warning` says what a person should know: embeddings became the same for all samples, once in a call of
                       * sslc_train; or a run that is resumed began on another processor */
} sslc_event;

typedef struct {
  sslc_event event;
  int64_t step, steps;   /* steps done, of so many in all */
  int64_t epoch, epochs; /* the epoch of the latest step, from 0 */
  int64_t steps_per_epoch;
  double loss;
  double samples_per_second; /* 0: not known yet */
  double seconds_left;       /* of training; negative: not known yet */
  const sslc_score *scores;
  size_t n_scores;
  const char *checkpoint;
  const char *warning; /* a sentence or two */
} sslc_progress;

/* What it points to is valid during the call. Not 0: stop, after a checkpoint where there is a directory. It may read
 * metrics of the handle, and nothing else. */
typedef int sslc_callback(void *context, const sslc_progress *progress);

/* All zeros are the defaults. */
typedef struct {
  const char *directory; /* gets metrics.jsonl, evaluation.jsonl and checkpoint.safetensors; NULL: nothing is written */
  int resume;            /* not 0: go on from the directory's checkpoint */
  int overwrite;         /* not 0: a directory that holds a run starts anew; else that is an error */
  int64_t steps;         /* stop when so many steps are done in all; 0: as the program says */
  double checkpoint_minutes; /* a checkpoint this often besides one at each end of an epoch; 0: 10; negative: never */
  int no_evaluation;     /* not 0: leaves the eval blocks alone */
  sslc_callback *callback;
  void *context;
} sslc_training;

/* Trains as the program says, from the step that was reached. `training` may be NULL. SSLC_NOT_FINITE: the message names
 * the step, and the first operation that made a value that is not finite. The states stay, so that the caller can look. */
SSLC_API sslc_status sslc_train(sslc_program *p, const sslc_training *training);

/* -- where the time goes ------------------------------------------------------------------------------------ */

/* One kernel of the step; on a GPU also several that are launched as one: then the line and the part are those of the first. */
typedef struct {
  const char *kernel;
  const char *file;  /* the line that it computes for, most of all; "" and 0 when it has none */
  unsigned line;
  const char *part;  /* "forward": the loss needs it; "update": it writes states; "backward": the rest */
  double seconds;    /* in a step, median over the steps; of a kernel in a loop all its launches */
  double flops;      /* of its contractions, two for each product that reads no padding */
  double bytes;      /* that it must read and write, each element once */
} sslc_launch;

typedef struct {
  const sslc_launch *launches; /* n of them, in the order they run, loops last; valid until the next profile */
  size_t n;
  int64_t steps;         /* that were timed */
  double step_seconds;   /* median of whole steps */
  double data_seconds;   /* of that, until the batch was in place */
  unsigned threads;
  double peak_flops, peak_bytes; /* a second, of so many threads of this machine, measured; of a GPU by its clocks, 0: not known */
  double floor_seconds;  /* contractions at the peak, or what they must move where that takes longer, and nothing else */
  const char *device;    /* as in sslc_facts */
} sslc_profile;

/* Trains `steps` steps (at least 1) on the program's own data, behind two that are not counted, and times every launch. All of
 * them are of the phase that the next step belongs to. */
SSLC_API sslc_status sslc_profile_steps(sslc_program *p, int64_t steps, sslc_profile *out);

#ifdef __cplusplus
}
#endif

#endif
