/* What codegen hands to the runtime: one entry per kernel launch of a plan; in the place of a loop stand the launches
 * of its region. */
#ifndef SSLC_CODEGEN_EXECUTABLE_H
#define SSLC_CODEGEN_EXECUTABLE_H

#include "ir/loops.h"
#include "ir/plan.h"

/* Runs iterations [begin, end) of a kernel's parallel loops. `buffers` are the kernel's arguments,
 * aligned to 64 bytes. Entries are reentrant; different iterations may run on different threads. */
typedef void kernel_entry(void *const *buffers, int64_t begin, int64_t end);

typedef struct executable executable;

typedef struct {
  kernel_entry *entry;
  int64_t iterations; /* of the parallel loops */
  int64_t chunks;     /* handed out in this many equal pieces (fewer when iterations are fewer) */
} executable_launch;

typedef struct {
  const char *cache_directory; /* NULL: no cache on disk */
  bool checked;  /* every access tested against its buffer; a violation is recorded, not performed */
  unsigned threads; /* that compile; at least 1 */
} compile_options;

typedef struct {
  uint32_t kernels;   /* distinct ones */
  uint32_t compiled;  /* not found in the cache */
  uint32_t rebuilt;   /* found in the cache but damaged */
  span failed;        /* the place of a kernel that could not be compiled */
} compile_report;

/* Compiles the lowered loops of every launch of the plan for this machine's processor. NULL and *error (in the plan's arena)
 * on failure. The executable owns the machine code; the plan may die before it. */
executable *executable_compile_cpu(const plan *p, const compile_options *o, compile_report *report, const char **error);
void executable_free(executable *e);
const executable_launch *executable_launches(const executable *e, uint32_t *n);
/* Of a checked executable: the first violation since the last call (text in static storage of e), or NULL. */
const char *executable_violation(executable *e);

#endif
