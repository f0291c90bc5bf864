/* Where buffers lie. The next value of a state overwrites the state where nobody reads the old one any
 * more, and is copied over it at the end where somebody does. Temporaries share one arena: largest first,
 * each at the lowest place that is free for as long as it lives. */
#include "passes/passes.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

static void note_uses(plan *p) {
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    plan_buffer *b = &p->buffers[i];
    b->first = p->n_launches;
    b->last = 0;
    b->bytes = layout_elements(&b->layout, &b->type) * (int64_t)dtype_bytes(b->type.dtype);
  }
  for (uint32_t l = 0; l < p->n_launches; l++)
    for (uint32_t b = 0; b < p->launches[l].kernel->n_buffers; b++) {
      plan_buffer *used = &p->buffers[p->launches[l].buffers[b]];
      if (l < used->first) used->first = l;
      used->last = l;
    }
  for (uint32_t i = 0; i < p->n_buffers; i++) /* nobody uses it */
    if (p->buffers[i].first == p->n_launches) p->buffers[i].first = 0;
}

/* -- state ---------------------------------------------------------------------------------------------------- */

static bool uses(const plan_launch *l, uint32_t buffer, uint32_t *argument) {
  for (*argument = 0; *argument < l->kernel->n_buffers; ++*argument)
    if (l->buffers[*argument] == buffer) return true;
  return false;
}

/* May `next` lie where `state` does? Its writer comes last of all that use the state, and reads it only
 * at the places that it writes. */
static bool may_overwrite(const plan *p, uint32_t next, uint32_t state, arena *scratch) {
  const plan_buffer *n = &p->buffers[next], *s = &p->buffers[state];
  const plan_launch *writer = &p->launches[n->first];
  uint32_t from, to;
  if (!type_equal(&n->type, &s->type) || !layout_equal(&n->layout, &s->layout)) return false;
  if (!uses(&p->launches[s->last], state, &from) || s->last < n->first) return true;
  if (s->last > n->first || writer->repeat) return false;
  return uses(writer, state, &from) && uses(writer, next, &to) &&
         kernel_updates_in_place(writer->kernel, from, to, scratch);
}

static kernel *copy_kernel(plan *p, const plan_buffer *from, const plan_buffer *to) {
  kernel *k = kernel_new(p->arena, arena_printf(p->arena, "keep_%u", p->n_launches), to->where);
  const expr *index[MAX_RANK];
  uint32_t in = kernel_add_buffer(k, "x", from->type, ACCESS_IN), out = kernel_add_buffer(k, "y", to->type, ACCESS_OUT);
  k->buffers[in].layout = from->layout;
  k->buffers[out].layout = to->layout;
  stage s = {.name = "copy", .type = to->type.dtype, .output = (int32_t)out, .index = index, .where = to->where};
  for (uint32_t i = 0; i < to->type.rank; i++) {
    int64_t extent = to->type.dim[i];
    index[i] =
        extent == 1 ? expr_integer(k, 0) : expr_axis(k, kernel_add_axis(k, (char[]){(char)('i' + i), 0}, extent));
  }
  s.body = expr_read(k, in, index, NULL, 0, (scalar){.integer = 0});
  kernel_add_stage(k, s);
  return k;
}

/* A last launch that copies one buffer to another; `first_copy` is the first such. */
static void add_copy(plan *p, uint32_t from, uint32_t to, uint32_t first_copy) {
  const plan_buffer *x = &p->buffers[from], *y = &p->buffers[to];
  kernel *k = NULL;
  for (uint32_t i = first_copy; i < p->n_launches && !k; i++) {
    kernel *known = p->launches[i].kernel;
    bool same = type_equal(&known->buffers[0].type, &x->type) && layout_equal(&known->buffers[0].layout, &x->layout) &&
                layout_equal(&known->buffers[1].layout, &y->layout);
    if (same) k = known;
  }
  plan_add_launch(p, k ? k : copy_kernel(p, x, y), (uint32_t[]){from, to});
}

static void place_states(plan *p, pass_context *c) {
  const uint32_t n = p->n_buffers, first_copy = p->n_launches;
  for (uint32_t i = 0; i < n; i++) {
    plan_buffer *b = &p->buffers[i];
    if (b->storage != STORAGE_RESULT || strcmp(b->role, "state")) continue;
    int32_t state = plan_find(p, "state", b->name);
    if (state < 0 || p->buffers[state].storage != STORAGE_STATE) continue; /* a first value, made here */
    if (may_overwrite(p, i, (uint32_t)state, c->arena)) {
      b->alias = state;
      continue;
    }
    plan_buffer kept = *b;
    kept.alias = state;
    kept.layout = p->buffers[state].layout;
    b->storage = STORAGE_TEMPORARY;
    b->name = b->role = "";
    add_copy(p, i, plan_add_buffer(p, kept), first_copy);
  }
}

/* -- temporaries ------------------------------------------------------------------------------------------------ */

typedef struct {
  uint32_t buffer;
  int64_t bytes;
} request;

static int larger_first(const void *x, const void *y) {
  const request *a = x, *b = y;
  if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
  return (a->buffer > b->buffer) - (a->buffer < b->buffer);
}

static bool live_together(const plan_buffer *x, const plan_buffer *y) {
  return x->first <= y->last && y->first <= x->last;
}

static int64_t aligned(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* `placed` is in order of offsets. */
static int64_t lowest_gap(const plan *p, const plan_buffer *b, const uint32_t *placed, uint32_t n) {
  int64_t at = 0;
  for (uint32_t i = 0; i < n; i++) {
    const plan_buffer *other = &p->buffers[placed[i]];
    if (!live_together(b, other)) continue;
    if (other->offset >= at + aligned(b->bytes)) break;
    if (other->offset + aligned(other->bytes) > at) at = other->offset + aligned(other->bytes);
  }
  return at;
}

static void place_temporaries(plan *p, pass_context *c) {
  request *requests = ARENA_ARRAY(c->arena, request, p->n_buffers);
  uint32_t *placed = ARENA_ARRAY(c->arena, uint32_t, p->n_buffers), n = 0;
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    plan_buffer *b = &p->buffers[i];
    if (!plan_in_arena(p, b)) continue;
    if (b->is_splat || b->literal) b->first = 0, b->last = p->n_launches; /* filled once, by the host */
    if (b->storage == STORAGE_DATA) b->first = 0;                         /* of a region: given at its start */
    if (b->storage == STORAGE_RESULT) b->last = p->n_launches;            /* and taken at its end */
    requests[n++] = (request){i, aligned(b->bytes)};
  }
  p->arena_bytes = 0;
  qsort(requests, n, sizeof *requests, larger_first);
  for (uint32_t i = 0; i < n; i++) {
    plan_buffer *b = &p->buffers[requests[i].buffer];
    uint32_t at = i;
    b->offset = lowest_gap(p, b, placed, i);
    if (b->offset + requests[i].bytes > p->arena_bytes) p->arena_bytes = b->offset + requests[i].bytes;
    for (; at > 0 && p->buffers[placed[at - 1]].offset > b->offset; at--) placed[at] = placed[at - 1];
    placed[at] = requests[i].buffer;
  }
}

/* A place for the arenas of loops, as long as they run. */
static void place_regions(plan *p) {
  for (uint32_t i = 0; i < p->n_launches; i++) {
    plan_launch *l = &p->launches[i];
    if (!l->repeat || !l->repeat->plan->arena_bytes) continue;
    plan_buffer b = {.storage = STORAGE_TEMPORARY, .alias = -1, .where = l->kernel->where};
    b.type = make_type(DTYPE_U8, 1, &l->repeat->plan->arena_bytes);
    if (l->kernel->n_buffers == l->repeat->n_operands + l->repeat->n_results) plan_place_region(p, l, plan_add_buffer(p, b));
  }
}

bool pass_memory(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_memory)) return false;
  place_regions(p);
  note_uses(p);
  place_states(p, c);
  note_uses(p); /* with the copies */
  place_temporaries(p, c);
  return pass_schedule(p, c); /* the copies: all other kernels have their schedules */
}
