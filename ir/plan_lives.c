/* When buffers of a plan live, and what that needs at least. */
#include "ir/plan.h"

static void note_uses(plan *p) {
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    plan_buffer *b = &p->buffers[i];
    b->first = p->n_launches;
    b->last = 0;
    b->bytes = layout_bytes(&b->layout, &b->type);
  }
  for (uint32_t first = 0, end; first < p->n_launches; first = end) {
    end = plan_bundle_end(p, first);
    for (uint32_t l = first; l < end; l++)
      for (uint32_t b = 0; b < p->launches[l].kernel->n_buffers; b++) {
        plan_buffer *used = &p->buffers[p->launches[l].buffers[b]];
        if (first < used->first) used->first = first;
        used->last = end - 1;
      }
  }
}

void plan_note_lives(plan *p) {
  note_uses(p);
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    plan_buffer *b = &p->buffers[i];
    if (b->first == p->n_launches) b->first = 0; /* nobody uses it */
    if (!plan_in_arena(p, b)) continue;
    if (b->is_splat || b->literal) b->first = 0, b->last = p->n_launches; /* filled once, by the host */
    if (b->storage == STORAGE_DATA) b->first = 0;                         /* of a region: given at its start */
    if (b->storage == STORAGE_RESULT) b->last = p->n_launches;            /* and taken at its end */
  }
}

int64_t plan_place_bytes(int64_t bytes) { return (bytes + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT; }

static bool has_place(const plan_launch *l) { return l->kernel->n_buffers > l->repeat->n_operands + l->repeat->n_results; }

int64_t *plan_live(const plan *p, arena *into) {
  int64_t *live = ARENA_ARRAY(into, int64_t, p->n_launches + 2); /* first the change when a launch begins */
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const plan_buffer *b = &p->buffers[i];
    if (!plan_in_arena(p, b)) continue;
    live[b->first] += plan_place_bytes(b->bytes);
    live[b->last + 1] -= plan_place_bytes(b->bytes);
  }
  for (uint32_t l = 1; l <= p->n_launches; l++) live[l] += live[l - 1];
  for (uint32_t l = 0; l < p->n_launches; l++)
    if (p->launches[l].repeat && !has_place(&p->launches[l])) live[l] += plan_live_bytes(p->launches[l].repeat->plan, into);
  return live;
}

int64_t plan_live_bytes(const plan *p, arena *scratch) {
  const int64_t *live = plan_live(p, scratch);
  int64_t most = 0;
  for (uint32_t l = 0; l <= p->n_launches; l++)
    if (live[l] > most) most = live[l];
  return most;
}
