/* The distinct loops of a plan, and how a backend makes code of them: once each, on several threads, through the cache. */
#ifndef SSLC_CODEGEN_UNITS_H
#define SSLC_CODEGEN_UNITS_H

#include "codegen/cache.h"
#include "codegen/executable.h"
#include "codegen/part.h"

/* What one launch carries out: for most one part, once; of bundles more. */
typedef struct {
  const code_part *parts;
  uint32_t n_parts;
  content_hash key;
  char symbol[48];
  size_t weight; /* roughly, of compiling it */
  void *object;
  size_t bytes;
  cache_outcome cached;
  const char *error; /* malloc'ed or static; see `error_owned` */
  bool error_owned;
} unit;

typedef struct {
  unit *units;
  uint32_t n, capacity;
  uint32_t *of_launch; /* which unit */
  const plan_launch **launches; /* of kernels, those of loops in the place of these; of bundles the first */
  uint32_t *sizes;              /* of bundles; 1: none */
  uint32_t n_launches, of_launch_capacity, launches_capacity, sizes_capacity;
} unit_list;

/* A code generator. Each thread that compiles opens one; `open` is NULL on failure, with *error in static storage. */
typedef struct backend backend;
struct backend {
  void *(*open)(const backend *b, const char **error);
  void (*close)(void *generator);
  /* What decides the bytes of objects beside the loops, in `scratch`. */
  const char *(*describe)(void *generator, const compile_options *o, arena *scratch);
  /* Sets object and bytes (malloc'ed), or error. */
  void (*compile)(void *generator, unit *u, const compile_options *o, arena *scratch);
};

/* Of a plan, in its arena; false and *error when one is not lowered. Equal texts are still apart: units_compile joins them. */
bool units_of_plan(const plan *p, unit_list *out, const char **error);
/* An object for each. False and *error, in the plan's arena or static. */
bool units_compile(const plan *p, unit_list *list, const backend *b, const compile_options *o, compile_report *report, const char **error);
/* The first launch that a unit is for, and how many it is of. */
const plan_launch *unit_launch(const unit_list *list, uint32_t which, uint32_t *size);
/* Keeps a copy of what was wrong with one. */
void unit_fail(unit *u, const char *error);
/* What they hold beside the arena. */
void units_release(unit_list *list);

#endif
