#include "passes/ordering.h"

static bool is_read_before(const plan_launch *l, uint32_t at) { /* the same buffer as an earlier argument */
  for (uint32_t i = 0; i < at; i++)
    if (l->buffers[i] == l->buffers[at]) return true;
  return false;
}

ordering ordering_of(plan *p, arena *a) {
  ordering o = {.plan = p, .arena = a};
  o.readers = ARENA_ARRAY(a, index_list, p->n_buffers);
  o.writer = ARENA_ARRAY(a, int32_t, p->n_buffers);
  o.state = ARENA_ARRAY(a, int32_t, p->n_buffers);
  o.bytes = ARENA_ARRAY(a, int64_t, p->n_buffers);
  o.inside = ARENA_ARRAY(a, int64_t, p->n_launches);
  o.reads = ARENA_ARRAY(a, index_list, p->n_launches);
  o.made = ARENA_ARRAY(a, int64_t, p->n_launches);
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    o.writer[i] = o.state[i] = -1;
    if (b->storage == STORAGE_TEMPORARY)
      o.bytes[i] = layout_bytes(&b->layout, &b->type);
    if (b->storage != STORAGE_RESULT || strcmp(b->role, "state")) continue;
    int32_t state = plan_find(p, "state", b->name);
    if (state >= 0 && p->buffers[state].storage == STORAGE_STATE) o.state[i] = state;
  }
  for (uint32_t l = 0; l < p->n_launches; l++) {
    const plan_launch *launch = &p->launches[l];
    if (launch->repeat) {
      plan_note_lives(launch->repeat->plan);
      o.inside[l] = plan_live_bytes(launch->repeat->plan, a);
    }
    for (uint32_t b = 0; b < launch->kernel->n_buffers; b++) {
      const uint32_t buffer = launch->buffers[b];
      index_list *readers = &o.readers[buffer], *reads = &o.reads[l];
      if (launch->kernel->buffers[b].access == ACCESS_OUT) {
        o.writer[buffer] = (int32_t)l;
        o.made[l] += o.bytes[buffer];
      } else if (!is_read_before(launch, b)) {
        *ARENA_PUSH(a, readers->items, readers->n, readers->capacity) = l;
        *ARENA_PUSH(a, reads->items, reads->n, reads->capacity) = buffer;
      }
    }
  }
  return o;
}

int64_t ordering_growth(const ordering *o, uint32_t launch, const uint32_t *waiting, int64_t *made) {
  const index_list *reads = &o->reads[launch];
  int64_t freed = 0;
  for (uint32_t i = 0; i < reads->n; i++)
    if (waiting[reads->items[i]] == 1) freed += o->bytes[reads->items[i]];
  *made = o->made[launch] + o->inside[launch];
  return o->made[launch] - freed;
}

void ordering_run(const ordering *o, uint32_t launch, uint32_t *waiting) {
  const index_list *reads = &o->reads[launch];
  for (uint32_t i = 0; i < reads->n; i++) waiting[reads->items[i]]--;
}

uint32_t *ordering_waiting(const ordering *o) {
  uint32_t *waiting = ARENA_ARRAY(o->arena, uint32_t, o->plan->n_buffers);
  for (uint32_t i = 0; i < o->plan->n_buffers; i++) waiting[i] = o->readers[i].n;
  return waiting;
}

static void depend(const ordering *o, dependences *d, uint32_t first, uint32_t second) {
  *ARENA_PUSH(o->arena, d->before[second].items, d->before[second].n, d->before[second].capacity) = first;
  *ARENA_PUSH(o->arena, d->behind[first].items, d->behind[first].n, d->behind[first].capacity) = second;
}

dependences ordering_dependences(const ordering *o, const uint32_t *positions) {
  const uint32_t n = o->plan->n_launches;
  dependences d = {ARENA_ARRAY(o->arena, index_list, n + 1), ARENA_ARRAY(o->arena, index_list, n + 1)};
  for (uint32_t b = 0; b < o->plan->n_buffers; b++) {
    if (o->writer[b] < 0) continue;
    const uint32_t writer = (uint32_t)o->writer[b];
    for (uint32_t i = 0; i < o->readers[b].n; i++) depend(o, &d, writer, o->readers[b].items[i]);
    const index_list *old = o->state[b] < 0 ? NULL : &o->readers[o->state[b]];
    for (uint32_t i = 0; old && i < old->n; i++)
      if (positions[old->items[i]] < positions[writer]) depend(o, &d, old->items[i], writer);
  }
  return d;
}
