/* What makes a plan sound: launches fit their buffers, order, places, and updates in place. */
#include <stdlib.h>

#include "ir/plan.h"

enum { NEVER = UINT32_MAX };

/* When a buffer is really used. */
typedef struct {
  uint32_t written, first, last; /* launches, the last two from and to ends of bundles; NEVER: not at all */
} use;

typedef struct {
  const plan *p;
  arena *scratch;
  use *uses;
  uint32_t bundle, bundle_end; /* of the launch at hand: its first, and behind its last */
} checker;

#define WRONG(...) return arena_printf(c->scratch, __VA_ARGS__)

static const char *label(const checker *c, uint32_t buffer) { /* takes time: for what is wrong */
  const plan_buffer *b = &c->p->buffers[buffer];
  return *b->name ? arena_printf(c->scratch, "buffer %u (%s)", buffer, b->name)
                  : arena_printf(c->scratch, "buffer %u", buffer);
}

/* -- launches -------------------------------------------------------------------------------------------- */

static bool same_layout(const layout *x, const layout *y, const tensor_type *t) {
  return layout_equal(x, y) || (layout_is_row_major(x, t) && layout_is_row_major(y, t));
}

static bool has_content(const plan_buffer *b) {
  if (b->is_splat || b->literal) return true;
  return (b->storage == STORAGE_STATE || b->storage == STORAGE_DATA) && b->alias < 0;
}

static const char *check_argument(checker *c, uint32_t launch, const kernel_buffer *k, uint32_t buffer) {
  const plan_buffer *b = &c->p->buffers[buffer];
  use *u = &c->uses[buffer];
  if (!type_equal(&k->type, &b->type)) WRONG("launch %u: %s does not have the type of %s", launch, label(c, buffer), k->name);
  if (!same_layout(&k->layout, &b->layout, &b->type))
    WRONG("launch %u: %s does not have the layout of %s", launch, label(c, buffer), k->name);
  if (u->first == NEVER) u->first = c->bundle;
  u->last = c->bundle_end - 1;
  if (k->access == ACCESS_IN) {
    bool ready = has_content(b) || (u->written != NEVER && u->written < c->bundle);
    if (!ready) WRONG("launch %u reads %s before it is written", launch, label(c, buffer));
    return NULL;
  }
  if (has_content(b)) WRONG("launch %u writes %s, which has its content from outside", launch, label(c, buffer));
  if (u->written != NEVER) WRONG("launch %u writes %s a second time", launch, label(c, buffer));
  u->written = launch;
  return NULL;
}

/* A buffer of a region and what the loop gives it or wants of it. */
static const char *check_binding(const checker *c, const plan_launch *l, const plan_buffer *b, bool *bound) {
  const plan_repeat *r = l->repeat;
  const plan_binding to = plan_bind(r, b);
  const uint32_t n = r->n_operands + r->n_results;
  const bool is_carry = to.kind == BOUND_CARRY, gives = is_carry || to.kind == BOUND_OUTPUT, takes = to.kind != BOUND_OUTPUT;
  if (to.kind == BOUND_NOT || to.kind == BOUND_INDEX) return NULL;
  const uint32_t operands = is_carry ? r->n_carries : to.kind == BOUND_SLICE ? r->n_carries + r->n_slices : r->n_operands;
  if ((takes && to.operand >= operands) || (gives && to.result >= n))
    WRONG("%s \"%s\" of a region is not in its loop", b->role, b->name);
  tensor_type whole = b->type;
  if (to.kind == BOUND_SLICE || to.kind == BOUND_OUTPUT) {
    whole = make_type(b->type.dtype, b->type.rank + 1, (int64_t[MAX_RANK + 1]){r->times});
    for (uint32_t i = 0; i < b->type.rank && i + 1 < MAX_RANK; i++) whole.dim[i + 1] = b->type.dim[i];
  }
  if (takes && !type_equal(&whole, &l->kernel->buffers[to.operand].type)) WRONG("%s \"%s\" of a region has not the type of what its loop gives", b->role, b->name);
  if (gives && !type_equal(&whole, &l->kernel->buffers[to.result].type)) WRONG("%s \"%s\" of a region has not the type of the loop's result", b->role, b->name);
  if (to.kind == BOUND_INVARIANT && !same_layout(&b->layout, &l->kernel->buffers[to.operand].layout, &b->type))
    WRONG("%s \"%s\" of a region has not the layout of what its loop gives", b->role, b->name);
  if (to.kind != BOUND_INVARIANT && !layout_is_row_major(&b->layout, &b->type)) WRONG("%s \"%s\" of a region is not in row-major order", b->role, b->name);
  if (gives) bound[to.result] = true;
  return NULL;
}

static const char *check_repeat(const checker *c, uint32_t launch) {
  const plan_launch *l = &c->p->launches[launch];
  const plan_repeat *r = l->repeat;
  const uint32_t n = r->n_operands + r->n_results;
  if (!r->plan->region) WRONG("launch %u repeats what is no region", launch);
  if (r->times < 1 || r->times > INT32_MAX) WRONG("launch %u runs its region %lld times", launch, (long long)r->times);
  if (r->n_carries > r->n_operands || r->n_slices > r->n_operands - r->n_carries || r->n_carries > r->n_results)
    WRONG("launch %u has fewer operands or results than carries and slices", launch);
  const char *wrong = plan_verify(r->plan, c->scratch);
  bool *bound = ARENA_ARRAY(c->scratch, bool, n + 1);
  for (uint32_t i = 0; !wrong && i < r->plan->n_buffers; i++) wrong = check_binding(c, l, &r->plan->buffers[i], bound);
  if (wrong) return wrong;
  for (uint32_t i = r->n_operands; i < n; i++)
    if (!bound[i]) WRONG("launch %u: no iteration gives argument %u", launch, i);
  int64_t room = l->kernel->n_buffers > n ? c->p->buffers[l->buffers[n]].bytes : 0;
  if (c->p->arena_bytes && room < r->plan->arena_bytes) WRONG("launch %u: the arena of its region has no place", launch);
  return NULL;
}

static const char *check_launches(checker *c) {
  const char *wrong = NULL;
  for (uint32_t i = 0; i < c->p->n_launches; i++) {
    const plan_launch *l = &c->p->launches[i];
    if (l->beside && (!i || l->repeat || c->p->launches[i - 1].repeat)) WRONG("launch %u is beside none, or a loop beside others", i);
    if (!l->beside) c->bundle = i, c->bundle_end = plan_bundle_end(c->p, i);
    for (uint32_t b = 0; b < l->kernel->n_buffers; b++)
      if (l->buffers[b] >= c->p->n_buffers) WRONG("launch %u names a buffer that does not exist", i);
    if (l->repeat && !wrong) wrong = check_repeat(c, i);
    for (uint32_t b = 0; !wrong && b < l->kernel->n_buffers; b++) wrong = check_argument(c, i, &l->kernel->buffers[b], l->buffers[b]);
  }
  for (uint32_t i = 0; !wrong && i < c->p->n_buffers; i++)
    if (c->p->buffers[i].storage == STORAGE_RESULT && !has_content(&c->p->buffers[i]) && c->uses[i].written == NEVER)
      WRONG("%s is a result, but nothing writes it", label(c, i));
  return wrong;
}

/* -- updates in place --------------------------------------------------------------------------------------- */

static bool uses(const plan_launch *l, uint32_t buffer) {
  bool found = false;
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) found |= l->buffers[b] == buffer;
  return found;
}

static const char *check_alias(checker *c, uint32_t number) {
  const plan_buffer *b = &c->p->buffers[number];
  if (b->alias == (int32_t)number || (uint32_t)b->alias >= c->p->n_buffers) WRONG("%s has no such alias", label(c, number));
  uint32_t under = (uint32_t)b->alias;
  const plan_buffer *shared = &c->p->buffers[under];
  if (shared->alias >= 0) WRONG("%s is the alias of an alias", label(c, number));
  if (shared->storage != STORAGE_STATE && shared->storage != STORAGE_TEMPORARY)
    WRONG("%s would overwrite what is not the program's own", label(c, number));
  if (shared->is_splat || shared->literal) WRONG("%s would overwrite a constant", label(c, number));
  if (!type_equal(&b->type, &shared->type) ||
      layout_elements(&b->layout, &b->type) != layout_elements(&shared->layout, &shared->type))
    WRONG("%s does not have the type of the buffer it overwrites", label(c, number));
  for (uint32_t i = 0; i < number; i++)
    if (c->p->buffers[i].alias == b->alias) WRONG("%s and buffer %u overwrite the same buffer", label(c, number), i);
  uint32_t at = c->uses[number].written;
  if (at == NEVER) WRONG("%s is an alias, but nothing writes it", label(c, number));
  const uint32_t bundle = c->uses[number].first;
  for (uint32_t i = bundle; i < c->p->n_launches && c->uses[under].last != NEVER && c->uses[under].last >= bundle; i++)
    if (i != at && uses(&c->p->launches[i], under)) WRONG("launch %u uses buffer %u, which %s has overwritten", i, under, label(c, number));
  const plan_launch *l = &c->p->launches[at];
  if (!uses(l, under)) return NULL;
  if (l->repeat) WRONG("launch %u is a loop that overwrites buffer %u, which it reads", at, under);
  if (!same_layout(&b->layout, &shared->layout, &b->type)) WRONG("%s is updated in place with another layout", label(c, number));
  for (uint32_t r = 0; r < l->kernel->n_buffers; r++)
    for (uint32_t w = 0; w < l->kernel->n_buffers; w++)
      if (l->buffers[r] == under && l->buffers[w] == number && !kernel_updates_in_place(l->kernel, r, w, c->scratch))
        WRONG("launch %u reads buffer %u elsewhere than where it updates it in place", at, under);
  return NULL;
}

/* -- places --------------------------------------------------------------------------------------------------- */

typedef struct {
  uint32_t buffer, first, last;
  int64_t begin, end;
} place;

static int by_begin(const void *x, const void *y) {
  const place *a = x, *b = y;
  return (a->begin > b->begin) - (a->begin < b->begin);
}

static const char *check_place(checker *c, uint32_t number) {
  const plan_buffer *b = &c->p->buffers[number];
  const use *u = &c->uses[number];
  int64_t needed = layout_bytes(&b->layout, &b->type);
  if (b->bytes < needed) WRONG("%s has %lld bytes and needs %lld", label(c, number), (long long)b->bytes, (long long)needed);
  if (!plan_in_arena(c->p, b)) return NULL;
  if (b->offset < 0 || b->offset % 64) WRONG("%s is not at a multiple of 64", label(c, number));
  if (b->bytes > c->p->arena_bytes || b->offset > c->p->arena_bytes - b->bytes)
    WRONG("%s reaches beyond the arena", label(c, number));
  if (u->first != NEVER && (b->first > u->first || b->last < u->last))
    WRONG("%s is used outside launches %u to %u, where it lives", label(c, number), b->first, b->last);
  if (b->storage == STORAGE_DATA && b->first) WRONG("%s is given before launch %u, where its life begins", label(c, number), b->first);
  if (b->storage == STORAGE_RESULT && b->last < c->p->n_launches) WRONG("%s is wanted behind launch %u, where its life ends", label(c, number), b->last);
  return NULL;
}

/* Pairs that overlap in memory must not live at the same time. */
static const char *check_overlaps(checker *c) {
  const plan *p = c->p;
  place *places = ARENA_ARRAY(c->scratch, place, p->n_buffers);
  uint32_t n = 0, *at = ARENA_ARRAY(c->scratch, uint32_t, p->n_buffers);
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    if (!plan_in_arena(p, b) || !b->bytes) continue;
    at[i] = n + 1;
    places[n++] = (place){i, b->first, b->last, b->offset, b->offset + b->bytes};
  }
  for (uint32_t i = 0; i < p->n_buffers; i++) { /* what overwrites a buffer lives on in its place */
    const plan_buffer *b = &p->buffers[i];
    if (b->alias < 0 || !at[b->alias] || c->uses[i].last == NEVER) continue;
    place *under = &places[at[b->alias] - 1];
    if (c->uses[i].last > under->last) under->last = c->uses[i].last;
    if (b->storage != STORAGE_TEMPORARY) under->last = p->n_launches;
  }
  qsort(places, n, sizeof *places, by_begin);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = i + 1; j < n && places[j].begin < places[i].end; j++)
      if (places[i].first <= places[j].last && places[j].first <= places[i].last)
        WRONG("%s and %s live at the same time and overlap", label(c, places[i].buffer), label(c, places[j].buffer));
  return NULL;
}

const char *plan_verify(const plan *p, arena *scratch) {
  checker checking = {.p = p, .scratch = scratch}, *c = &checking;
  c->uses = ARENA_ARRAY(scratch, use, p->n_buffers);
  for (uint32_t i = 0; i < p->n_buffers; i++) c->uses[i] = (use){NEVER, NEVER, NEVER};
  const char *wrong = NULL;
  for (uint32_t i = 0; !wrong && i < p->n_launches; i++) {
    bool seen = false;
    for (uint32_t j = 0; j < i && !seen; j++) seen = p->launches[j].kernel == p->launches[i].kernel;
    if (!seen && !p->launches[i].repeat) wrong = kernel_verify(p->launches[i].kernel, scratch);
  }
  if (!wrong) wrong = check_launches(c);
  for (uint32_t i = 0; !wrong && i < p->n_buffers; i++)
    if (p->buffers[i].alias >= 0) wrong = check_alias(c, i);
  if (!p->arena_bytes) return wrong; /* nothing is to be placed, or places are given by a later pass */
  for (uint32_t i = 0; !wrong && i < p->n_buffers; i++) wrong = check_place(c, i);
  return wrong ? wrong : check_overlaps(c);
}
