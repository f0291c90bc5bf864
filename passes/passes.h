/* IR in, IR out: one file a pass, one row a pass in passes.def. The order of the rows is the order of
 * the pipeline. */
#ifndef SSLC_PASSES_PASSES_H
#define SSLC_PASSES_PASSES_H

#include "ir/plan.h"
#include "ir/target.h"
#include "passes/records.h"

typedef struct {
  arena *arena; /* results live here */
  diagnostics *diagnostics;
  const target *target;
  const schedule_records *records; /* that take the place of default schedules, or NULL */
  int64_t most_start_bytes; /* of carries that the derivative of one loop keeps, before it is cut in chunks; 0: as autodiff_repeat.c has it */
  int64_t most_live_bytes;  /* of temporaries at once, above which values are made again; 0: no limit; see rematerialise.c */
  product_precision products; /* of contractions; see precision.c */
} pass_context;

/* Graph to graph. NULL after reporting an error. */
typedef graph *graph_pass(const graph *g, pass_context *c);
/* Plan to plan, in place. False after reporting an error. */
typedef bool plan_pass(plan *p, pass_context *c);

#define GRAPH_PASS(id, name, doc) graph_pass pass_##id;
#define PLAN_PASS(id, name, doc) plan_pass pass_##id;
#include "passes/passes.def"
#undef GRAPH_PASS
#undef PLAN_PASS

/* Between the two levels: one kernel for each group of nodes that fusion puts together; views are gone,
 * equal kernels are shared, every buffer is row-major, nothing is scheduled. */
plan *pass_fuse(const graph *g, pass_context *c);

/* One scheduled kernel as loops; NULL and *error when the schedule cannot be carried out. */
loops *lower_kernel(const kernel *k, arena *a, const char **error);
/* The default schedule of one kernel, from a model of the target; replaces what it had. */
void schedule_kernel(kernel *k, const target *t);

typedef struct {
  const char *name, *doc;
  graph_pass *graph; /* one of graph, fuse, plan */
  plan *(*fuse)(const graph *g, pass_context *c);
  plan_pass *plan;
} pass_info;
/* In the order of the pipeline; ends with a NULL name. */
extern const pass_info pass_table[];

/* Called after each pass with its result (the other is NULL); for `sslc emit` and dumps. False ends the
 * pipeline there. */
typedef bool pass_observer(void *context, const char *pass, const graph *g, const plan *p);

/* Runs a pass on the regions of the plan's loops; false after an error. */
bool for_each_region(plan *p, pass_context *c, plan_pass *pass);

/* The whole pipeline with the verifier after every pass. NULL after reporting an error, or when the
 * observer ended it. */
plan *run_passes(const graph *g, pass_context *c, pass_observer *observer, void *observer_context);

#endif
