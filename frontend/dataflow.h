/* What losses are made of, on the graph of a step: the terms that a loss adds up, and for each the outputs of models that
 * it is computed from. Warnings about the method look at this, never at names of functions, so that a loss of the user's
 * own is judged like one of the library. What these questions cannot decide raises no warning. */
#ifndef SSLC_FRONTEND_DATAFLOW_H
#define SSLC_FRONTEND_DATAFLOW_H

#include "frontend/elaborate.h"

/* An output of a model that reaches the loss without going through another one: an embedding. */
typedef struct {
  const model_call *call;
  value value;
  bool moves; /* a gradient of the loss flows through it into weights that the loss trains */
} loss_leaf;

/* A loss is a sum of terms; the part of the graph between the leaves and a term is its head. */
typedef struct {
  const trained_loss *of;
  value value;
  double factor; /* of the term in the sum */
  const bool *head; /* per value; leaves included */
  const bool *reached; /* per value: a derivative of the term comes to it */
  loss_leaf *leaves;
  uint32_t n_leaves;
  /* What the head reads besides leaves, bare weights and the clock, also behind a stop_grad. */
  bool reads_data, reads_draws, reads_queue, reads_state;
  bool has_grad;
} loss_term;

typedef struct {
  const graph *graph;
  int64_t batch;
  const model_call **call_of; /* per value: the call that it is an output of, or NULL */
  loss_term *terms;
  uint32_t n, capacity;
  bool too_many;
  arena *scratch;
} dataflow;

dataflow find_dataflow(elaborator *e, arena *scratch);

/* How a value of a head depends on the samples of the batch. */
typedef enum {
  SAMPLES_ALIKE, /* not at all */
  SAMPLES_EACH,  /* element i along one axis depends on sample i alone */
  SAMPLES_TOTAL, /* a sum over samples of such values */
  SAMPLES_MIXED  /* anything else */
} sample_kind;

typedef struct {
  sample_kind kind;
  uint32_t axis;    /* of SAMPLES_EACH */
  uint32_t varying; /* of SAMPLES_ALIKE: a bit for each axis along which elements may differ */
} sample_use;

/* Per value, of those in the head; a leaf of k batches is k sets of rows behind each other. */
sample_use *find_sample_use(const dataflow *f, const loss_term *t);

/* Terms that are SAMPLES_TOTAL as a graph for one sample: parameters of role "data" named "0", "1", ... in the order of
 * `leaves`, with k rows where a leaf holds k batches; outputs so named, one per term. NULL when that fails. (one_sample.c) */
graph *one_sample(const dataflow *f, const loss_term *const *terms, uint32_t n, const value *leaves, uint32_t n_leaves);

/* -- the warnings that ask it ------------------------------------------------------------------------------ */

void warn_collapse(elaborator *e, const dataflow *f);   /* collapse.c */
void warn_same_draw(elaborator *e, const dataflow *f);  /* same_draw.c */
void warn_raw_rows(elaborator *e, const dataflow *f);   /* raw_rows.c */

/* -- and the metrics (embedding_figures.c): adds to the graph, so that what was found of it ends ------------- */

void add_embedding_figures(elaborator *e, const dataflow *f);

#endif
