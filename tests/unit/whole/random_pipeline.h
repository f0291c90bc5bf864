/* Random legal ways from a graph to lowered loops: which passes run, in which order and how often, and how kernels are
 * scheduled. None may change what is computed. */
#ifndef SSLC_TESTS_UNIT_WHOLE_RANDOM_PIPELINE_H
#define SSLC_TESTS_UNIT_WHOLE_RANDOM_PIPELINE_H

#include <string.h>

#include "passes/passes.h"
#include "tests/random_schedule.h"

typedef struct {
  pass_context *context;
  random_source *random;
  arena *arena;
  char *told;        /* what was done, for messages */
  const char *wrong; /* NULL as long as all is well */
  uint32_t scheduled, refused; /* random schedules that were carried out, and that were not */
} pipeline;

static inline bool coin(pipeline *p) { return random_below(p->random, 2); }

static inline const pass_info *pass_named(const char *name) {
  const pass_info *at = pass_table;
  while (at->name && strcmp(at->name, name)) at++;
  return at;
}

static inline void tell(pipeline *p, const char *pass) { p->told = arena_printf(p->arena, "%s %s", p->told, pass); }

static inline void note(pipeline *p, const char *pass, const char *wrong) {
  if (wrong && !p->wrong) p->wrong = arena_printf(p->arena, "after %s: %s", pass, wrong);
}

static inline const graph *apply_to_graph(pipeline *p, const graph *g, const char *pass) {
  if (p->wrong) return g;
  tell(p, pass);
  const graph *made = pass_named(pass)->graph(g, p->context);
  note(p, pass, made ? graph_verify(made, p->arena) : "it gives up");
  return made;
}

static inline void verify_loops(pipeline *p, const plan *made) {
  for (uint32_t i = 0; i < made->n_launches && !p->wrong; i++) {
    if (made->launches[i].repeat) verify_loops(p, made->launches[i].repeat->plan);
    else note(p, "lower", loops_verify(made->launches[i].loops, p->arena));
  }
}

/* The arena is at most a twentieth larger than what is in use at once. */
static inline void check_packing(pipeline *p, const plan *made) {
  int64_t live = plan_live_bytes(made, p->arena);
  if (made->arena_bytes < live || made->arena_bytes > live + live / 20)
    note(p, "memory", arena_printf(p->arena, "an arena of %lld bytes for %lld", (long long)made->arena_bytes, (long long)live));
  for (uint32_t i = 0; i < made->n_launches; i++)
    if (made->launches[i].repeat) check_packing(p, made->launches[i].repeat->plan);
}

static inline void apply_to_plan(pipeline *p, plan *made, const char *pass) {
  if (p->wrong) return;
  tell(p, pass);
  bool done = pass_named(pass)->plan(made, p->context);
  note(p, pass, done ? plan_verify(made, p->arena) : "it gives up");
  if (!strcmp(pass, "memory")) check_packing(p, made);
  if (!strcmp(pass, "lower")) verify_loops(p, made);
}

static inline const graph *some_graph_passes(pipeline *p, const graph *g, uint32_t most) {
  static const char *const names[] = {"canonicalise", "fold", "cse", "dce"};
  for (uint32_t n = random_below(p->random, most + 1); n > 0; n--) g = apply_to_graph(p, g, names[random_below(p->random, 4)]);
  return g;
}

/* A schedule that can be carried out with little memory of its own; false when several were not. */
static inline bool schedule_feasibly(pipeline *p, kernel *k) {
  enum { TRIES = 4, MOST_LOCAL_BYTES = 64 << 10 };
  for (int i = 0; i < TRIES; i++) {
    schedule_at_random(k, p->random, p->arena);
    const char *error = kernel_verify(k, p->arena);
    note(p, "a random schedule", error);
    const loops *l = error ? NULL : lower_kernel(k, p->arena, &error);
    int64_t local = 0;
    for (uint32_t b = l ? l->n_arguments : 0; l && b < l->n_buffers; b++) local += l->buffers[b].elements * (int64_t)dtype_bytes(l->buffers[b].type);
    if (l && local <= MOST_LOCAL_BYTES) return true;
  }
  return false;
}

/* Of some kernels; the others get theirs by the pass. */
static inline void schedule_some(pipeline *p, plan *made) {
  for (uint32_t i = 0; i < made->n_launches && !p->wrong; i++) {
    kernel *k = made->launches[i].kernel;
    if (made->launches[i].repeat) schedule_some(p, made->launches[i].repeat->plan);
    if (made->launches[i].repeat || k->schedule.n || coin(p)) continue;
    bool done = schedule_feasibly(p, k);
    if (!done) k->schedule = (schedule){0};
    p->scheduled += done;
    p->refused += !done;
  }
}

/* NULL when something went wrong, which p->wrong says. */
static inline plan *random_pipeline(pipeline *p, const graph *g) {
  p->told = "";
  p->wrong = NULL;
  g = some_graph_passes(p, g, 2);
  g = apply_to_graph(p, g, "autodiff");
  g = some_graph_passes(p, g, 6);
  if (p->wrong) return NULL;
  tell(p, "fuse");
  plan *made = pass_fuse(g, p->context);
  note(p, "fuse", made ? plan_verify(made, p->arena) : "it gives up");
  if (!made) return NULL;
  if (coin(p)) apply_to_plan(p, made, "order");
  if (coin(p)) apply_to_plan(p, made, "split");
  if (coin(p)) apply_to_plan(p, made, "layout");
  if (coin(p)) apply_to_plan(p, made, "order");
  tell(p, "random-schedules");
  schedule_some(p, made);
  apply_to_plan(p, made, "schedule");
  if (coin(p)) apply_to_plan(p, made, "order");
  if (coin(p)) apply_to_plan(p, made, "bundle");
  apply_to_plan(p, made, "memory");
  apply_to_plan(p, made, "lower");
  return p->wrong ? NULL : made;
}

#endif
