/* A compiled program as data: kernels, the buffers they pass each other with their places in one arena,
 * and the order in which they run. What the plan says is what is allocated. */
#ifndef SSLC_IR_PLAN_H
#define SSLC_IR_PLAN_H

#include "ir/graph.h"
#include "ir/kernel.h"
#include "ir/loops.h"

typedef enum {
  STORAGE_STATE,    /* lives between runs; written in place when the graph has a result for it */
  STORAGE_DATA,     /* given by the host for each run: data, clock, seed parameters */
  STORAGE_RESULT,   /* read by the host after a run: metrics, outputs */
  STORAGE_TEMPORARY /* inside a run: [offset, offset + bytes) of the arena */
} storage;

typedef struct {
  const char *name; /* parameter's or result's; "" for temporaries */
  const char *role; /* as in the graph; "" for temporaries */
  tensor_type type;
  layout layout;
  storage storage;
  int64_t bytes;  /* with padding */
  int64_t offset; /* temporaries, multiple of 64 */
  uint32_t first, last; /* launches that write it first and use it last; of bundles the first and the last of these */
  int32_t alias;  /* shares the memory of that buffer (in-place update), or -1 */
  bool is_splat;  /* filled with `splat` by the host, once; no kernel writes it */
  const void *literal; /* row-major elements, given by the host once; or NULL */
  scalar splat;
  span where;
} plan_buffer;

/* A loop: the plan of one iteration, a region, is run `times` times on buffers of the plan around it. */
typedef struct {
  int64_t times;
  bool reverse;
  uint32_t n_carries, n_slices, n_operands, n_results;
  struct plan *plan;
} plan_repeat;

typedef struct {
  kernel *kernel;      /* launches of equal kernels share one; of a loop: no stages, only what it reads and writes */
  uint32_t *buffers;   /* plan buffer of each kernel buffer; of a loop: operands, results, and the place of its region's arena */
  const loops *loops;  /* the kernel lowered; NULL before that pass, and not part of the text */
  plan_repeat *repeat; /* NULL: a kernel */
  double flops;        /* of the contraction that is done here in fewer; 0: what the kernel has. Not part of the text */
  bool beside;         /* at the same time as the launch in front of it: they are of one bundle */
} plan_launch;

typedef struct plan {
  arena *arena;
  const char *name;
  plan_buffer *buffers;
  uint32_t n_buffers, buffers_capacity;
  plan_launch *launches; /* in the order they run */
  uint32_t n_launches, launches_capacity;
  int64_t arena_bytes; /* of all temporaries together */
  bool region; /* of a loop */
} plan;

enum { PLAN_ALIGNMENT = 64 };

plan *plan_new(arena *a, const char *name);
uint32_t plan_add_buffer(plan *p, plan_buffer b);
void plan_add_launch(plan *p, kernel *k, const uint32_t *buffers);
/* `buffers`: the operands and results of the loop. */
void plan_add_repeat(plan *p, const plan_repeat *r, const uint32_t *buffers, span where);
/* Launches that know nothing of each other, which a GPU carries out as one: behind the last of the bundle that begins with this one. */
uint32_t plan_bundle_end(const plan *p, uint32_t first);
/* The names of its kernels. */
const char *plan_bundle_name(const plan_launch *first, uint32_t n, arena *into);
/* The buffer of the plan around a loop that the arena of its region lies in. */
void plan_place_region(plan *p, plan_launch *l, uint32_t buffer);

/* What a buffer of a region is to the loop around it; by role and name, as in the graph (region.h). */
typedef enum { BOUND_NOT, BOUND_CARRY, BOUND_SLICE, BOUND_INVARIANT, BOUND_INDEX, BOUND_OUTPUT } binding_kind;
typedef struct {
  binding_kind kind;
  uint32_t operand, result; /* of the launch, as far as it has one */
} plan_binding;
plan_binding plan_bind(const plan_repeat *r, const plan_buffer *b);
/* Whether it lies in the arena of its plan: temporaries, and in a region also copies of what is for one iteration. */
bool plan_in_arena(const plan *p, const plan_buffer *b);
/* The buffer whose memory it shares, or itself. */
uint32_t plan_owner(const plan *p, uint32_t buffer);
/* Index of the buffer with that role and name, or -1. */
int32_t plan_find(const plan *p, const char *role, const char *name);
/* Sets bytes and lives of all buffers, from the launches; what the host or the loop around gives or takes lives longer. */
void plan_note_lives(plan *p);
/* Bytes of its arena that are in use at the same time, at most, in places of PLAN_ALIGNMENT: no packing can do with less. Of a plan whose
 * loops have no place for their region yet, what these need at least is counted where they run. Wants lives. */
int64_t plan_live_bytes(const plan *p, arena *scratch);
/* The same at each launch, and behind all. */
int64_t *plan_live(const plan *p, arena *into);
int64_t plan_place_bytes(int64_t bytes);
/* Types and layouts of launches agree with buffers; nothing is read before it is written; temporaries
 * that live at the same time do not overlap; an alias is legal. NULL when sound. */
const char *plan_verify(const plan *p, arena *scratch);
/* Prints and parses back to the same bytes; kernels follow the buffers, then the launches. */
char *plan_print(const plan *p, arena *into);
plan *plan_parse(arena *a, uint32_t file, diagnostics *d);
/* Runs the kernels' definitions in order, or their loops where they are lowered; bindings for every STATE and DATA buffer (row-major).
 * Returns per buffer a row-major array in `into`; NULL and *error when a binding is missing. */
void **plan_interpret(const plan *p, const graph_binding *bindings, uint32_t n, arena *into, const char **error);

#endif
