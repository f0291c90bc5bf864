#include "ir/work.h"

#include "ir/expr.h"
#include "ir/mask.h"

enum { MOST_CONDITIONS = 32, MOST_TUPLES = 1 << 22 };

/* The conditions under which a product is no padding, as affine forms. */
typedef struct {
  const kernel *kernel;
  uint32_t n;
  struct {
    int64_t coefficient[MAX_AXES], offset, low, high, divisor;
    axis_set axes;
  } items[MOST_CONDITIONS];
} padding;

/* A condition that is not affine, or one too many, is taken to hold: products are then overcounted, never missed. */
static void collect(padding *p, const expr *e) {
  for (uint32_t i = 0; i < e->n_args; i++) collect(p, e->args[i]);
  for (uint32_t i = 0; i < e->n_conditions && p->n < MOST_CONDITIONS; i++) {
    const condition *c = &e->conditions[i];
    if (!expr_affine(p->kernel, c->subject, p->items[p->n].coefficient, &p->items[p->n].offset)) continue;
    p->items[p->n].low = c->low, p->items[p->n].high = c->high, p->items[p->n].divisor = c->divisor;
    p->items[p->n++].axes = c->subject->axes;
  }
}

static bool holds(const padding *p, uint32_t i, const int64_t *at) {
  int64_t v = p->items[i].offset;
  for (uint32_t a = 0; a < p->kernel->n_axes; a++) v += p->items[i].coefficient[a] * at[a];
  return v >= p->items[i].low && v < p->items[i].high && v % p->items[i].divisor == 0;
}

static double extent_of(const kernel *k, axis_set axes) {
  double n = 1;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (axes >> a & 1) n *= (double)k->axes[a].extent;
  return n;
}

/* How many index tuples of these axes fulfil all conditions over them. */
static double live_tuples(const padding *p, axis_set axes) {
  const kernel *k = p->kernel;
  double all = extent_of(k, axes), live = 0;
  if (all > MOST_TUPLES) return all;
  int64_t at[MAX_AXES] = {0};
  for (int64_t t = 0; t < (int64_t)all; t++) {
    int64_t rest = t;
    for (uint32_t a = 0; a < k->n_axes; a++)
      if (axes >> a & 1) at[a] = rest % k->axes[a].extent, rest /= k->axes[a].extent;
    bool is_live = true;
    for (uint32_t i = 0; i < p->n && is_live; i++) is_live = (p->items[i].axes & ~axes) || holds(p, i, at);
    live += is_live;
  }
  return live;
}

/* Axes that conditions tie together are counted together; the others are free of each other. */
static double live_points(const kernel *k, const stage *s) {
  padding p = {.kernel = k};
  collect(&p, s->body);
  axis_set left = s->free | s->reduced;
  double points = 1;
  for (uint32_t i = 0; i < p.n; i++) {
    if (!(p.items[i].axes & left)) continue;
    axis_set group = p.items[i].axes, before;
    do {
      before = group;
      for (uint32_t j = 0; j < p.n; j++)
        if (p.items[j].axes & group) group |= p.items[j].axes;
    } while (group != before);
    points *= live_tuples(&p, group);
    left &= ~group;
  }
  return points * extent_of(k, left);
}

/* Equal expressions are one, and are read once. */
static void add_reads(const kernel *k, const expr *e, bool *seen, double *elements) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_READ) elements[e->number] += extent_of(k, e->axes);
  for (uint32_t i = 0; i < e->n_args; i++) add_reads(k, e->args[i], seen, elements);
}

kernel_work kernel_work_of(const kernel *k) {
  kernel_work w = {0};
  double elements[k->n_buffers + 1];
  bool seen[k->exprs->count + 1];
  kernel_mask mask;
  const bool has_mask = find_mask(k, &mask);
  memset(elements, 0, sizeof elements);
  memset(seen, 0, sizeof seen);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    if (!s->again && stage_is_product(k, i)) w.flops += 2 * live_points(k, s) * (has_mask && is_masked(&mask, s->free | s->reduced) ? mask_share(k, &mask) : 1);
    add_reads(k, s->body, seen, elements);
    if (s->output >= 0) elements[s->output] += extent_of(k, s->free);
  }
  for (uint32_t b = 0; b < k->n_buffers; b++) {
    double all = (double)type_elements(&k->buffers[b].type);
    w.bytes += (double)dtype_bytes(k->buffers[b].type.dtype) * (elements[b] < all ? elements[b] : all);
  }
  return w;
}

kernel_work launch_work_of(const plan_launch *l) {
  kernel_work w = kernel_work_of(l->kernel);
  if (l->flops > 0) w.flops = l->flops;
  return w;
}
