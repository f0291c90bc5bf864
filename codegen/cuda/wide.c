/* Loads of neighbours, by one lane or each lane its own, as one access of up to 16 bytes. Lowered loops read element by element; in
 * straight-line code those whose places differ by a constant are found here, and the first of them reads for all. */
#include <stdlib.h>

#include "codegen/cuda/writer.h"

enum { WIDEST = 16 /* bytes */, LEAST_CAPACITY = 64 };

/* A load of the block at hand: element `constant` behind `base`, a register that keeps its value (0: none), and lane * stride. */
typedef struct {
  const loops_expr *expr;
  uint32_t buffer, base, lanes, active, version;
  int64_t stride, constant;
  uint32_t group; /* its number + 1; 0: alone */
} placed_load;

typedef struct {
  uint32_t first, width; /* in the order of places; elements */
  const char *name;      /* once it is read */
} load_group;

struct wide_loads {
  wide_loads *outer; /* of the block around */
  placed_load *loads, *by_expr;
  uint32_t n_loads, capacity;
  load_group *groups;
  uint32_t n_groups, groups_capacity;
  uint32_t *version; /* by buffer: how often what it stands for was written so far in the block */
};

/* -- what a block loads --------------------------------------------------------------------------------------- */

static bool place_of(const writer *w, const loops_expr *offset, uint32_t *base, int64_t *constant) {
  const loops_expr *e = offset;
  *base = 0;
  *constant = 0;
  if (e->kind == LOOPS_CONSTANT) return *constant = e->constant.integer, true;
  if (e->kind == LOOPS_APPLY && e->op == OP_ADD && e->args[1]->kind == LOOPS_CONSTANT) {
    *constant = e->args[1]->constant.integer;
    e = e->args[0];
  }
  *base = e->kind == LOOPS_VARIABLE ? e->number : 0;
  return *base && w->settings[*base] == 1;
}

static void collect_loads(writer *w, wide_loads *x, const loops_expr *e) {
  for (uint32_t i = 0; i < e->n_args; i++) collect_loads(w, x, e->args[i]);
  placed_load load = {.expr = e, .buffer = e->number, .lanes = e->lanes, .active = e->active, .stride = e->lanes > 1 ? e->stride : 0};
  if (e->kind != LOOPS_LOAD || dtype_bytes(w->loops->buffers[e->number].type) > sizeof(uint32_t) || !place_of(w, e->args[0], &load.base, &load.constant)) return;
  load.version = x->version[e->number];
  *ARENA_PUSH(w->arena, x->loads, x->n_loads, x->capacity) = load;
}

static void note_writes(const writer *w, wide_loads *x, const block *b) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    if (s->kind == STATEMENT_FOR || s->kind == STATEMENT_IF) note_writes(w, x, &s->body);
    for (uint32_t k = 0; s->kind == STATEMENT_STORE && k < w->loops->n_buffers; k++) x->version[k] += memory_of(w, k) == memory_of(w, s->number);
  }
}

static void collect_block(writer *w, wide_loads *x, const block *b) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    const loops_expr *const values[] = {s->begin, s->end, s->value, s->offset};
    for (int k = 0; k < 4; k++)
      if (values[k]) collect_loads(w, x, values[k]);
    note_writes(w, x, &(block){b->items + i, 1, 1});
  }
}

/* -- groups --------------------------------------------------------------------------------------------------- */

static int compare(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

static int compare_runs(const placed_load *a, const placed_load *b) {
  int order = compare(a->buffer, b->buffer);
  if (!order) order = compare(a->base, b->base);
  if (!order) order = compare(a->version, b->version);
  if (!order) order = compare(a->lanes, b->lanes);
  if (!order) order = compare(a->active, b->active);
  return order ? order : compare(a->stride, b->stride);
}

static int compare_places(const void *x, const void *y) {
  const int order = compare_runs(x, y);
  return order ? order : compare(((const placed_load *)x)->constant, ((const placed_load *)y)->constant);
}

static int compare_exprs(const void *x, const void *y) {
  return compare((int64_t)(uintptr_t)((const placed_load *)x)->expr, (int64_t)(uintptr_t)((const placed_load *)y)->expr);
}

/* Whether the elements from a load's on, so many, are all read and lie at a multiple of their size together. */
static bool is_group(const writer *w, const wide_loads *x, uint32_t first, uint32_t width) {
  const placed_load *a = &x->loads[first];
  const uint32_t base_zeros = a->base ? w->zeros[a->base] : 63, least = (uint32_t)__builtin_ctz(width);
  if (base_zeros < least || a->constant % width || a->stride % width) return false;
  int64_t found = 1;
  for (uint32_t i = first + 1; i < x->n_loads && found < width && !compare_runs(a, &x->loads[i]); i++)
    if (x->loads[i].constant == a->constant + found) found++;
    else if (x->loads[i].constant != a->constant + found - 1) break;
  return found == width;
}

static void find_groups(writer *w, wide_loads *x) {
  qsort(x->loads, x->n_loads, sizeof *x->loads, compare_places);
  for (uint32_t i = 0, next; i < x->n_loads; i = next) {
    uint32_t width = (uint32_t)(WIDEST / dtype_bytes(w->loops->buffers[x->loads[i].buffer].type));
    while (width > 1 && !is_group(w, x, i, width)) width /= 2;
    next = i + 1;
    if (width == 1 || width * dtype_bytes(w->loops->buffers[x->loads[i].buffer].type) < sizeof(uint32_t)) continue;
    *ARENA_PUSH(w->arena, x->groups, x->n_groups, x->groups_capacity) = (load_group){.first = i, .width = width};
    for (next = i; next < x->n_loads && !compare_runs(&x->loads[i], &x->loads[next]) && x->loads[next].constant < x->loads[i].constant + width; next++) x->loads[next].group = x->n_groups;
  }
  x->by_expr = arena_copy(w->arena, x->loads, x->n_loads * sizeof *x->loads);
  qsort(x->by_expr, x->n_loads, sizeof *x->by_expr, compare_exprs);
}

void begin_wide_loads(writer *w, const block *b) {
  wide_loads *x = ARENA_NEW(w->arena, wide_loads);
  *x = (wide_loads){.outer = w->wide, .version = ARENA_ARRAY(w->arena, uint32_t, w->loops->n_buffers + 1)};
  w->wide = x;
  collect_block(w, x, b);
  if (x->n_loads) find_groups(w, x);
}

void end_wide_loads(writer *w) { w->wide = w->wide->outer; }

/* -- text ----------------------------------------------------------------------------------------------------- */

static const placed_load *find_load(const wide_loads *x, const loops_expr *e) {
  const placed_load key = {.expr = e};
  const placed_load *found = x->n_loads ? bsearch(&key, x->by_expr, x->n_loads, sizeof key, compare_exprs) : NULL;
  if (!found) return NULL;
  for (const placed_load *same = found + 1; same < x->by_expr + x->n_loads && same->expr == e; same++) /* read again behind a store */
    if (same->version != found->version) return NULL;
  for (const placed_load *same = found; same > x->by_expr && (--same)->expr == e;)
    if (same->version != found->version) return NULL;
  return found;
}

static const char *read_group(writer *w, const placed_load *l, load_group *g, size_t bytes) {
  const uint32_t words = (uint32_t)(g->width * bytes / sizeof(uint32_t));
  const placed_load *first = &w->wide->loads[g->first];
  const char *offset = first->base ? arena_printf(w->arena, "r%u + %lld", first->base, (long long)first->constant) : arena_printf(w->arena, "%lld", (long long)first->constant);
  const char *active = l->lanes == 1 ? NULL : active_text(w, l->active ? l->active : l->lanes);
  const char *place = wide_element_text(w, l->buffer, lane_offset(w, offset, l->lanes, l->stride), g->width);
  g->name = arena_printf(w->arena, "w%u", w->n_values++);
  write_line(w, "const words_%u %s = %s%sload_%u(&%s)%s;", words, g->name, active ? active : "", active ? " ? " : "", words, place, active ? arena_printf(w->arena, " : zero_%u()", words) : "");
  return g->name;
}

const char *wide_load_text(writer *w, const loops_expr *e) {
  static const char *const parts[] = {"x", "y", "z", "w"};
  const placed_load *l = w->wide ? find_load(w->wide, e) : NULL;
  if (!l || !l->group) return NULL;
  load_group *g = &w->wide->groups[l->group - 1];
  const dtype t = w->loops->buffers[l->buffer].type;
  const size_t bytes = dtype_bytes(t), at = (size_t)(l->constant - w->wide->loads[g->first].constant) * bytes;
  const char *name = g->name ? g->name : read_group(w, l, g, bytes);
  const char *word = arena_printf(w->arena, "%s.%s", name, parts[at / sizeof(uint32_t)]);
  const unsigned shift = 8 * (unsigned)(at % sizeof(uint32_t));
  if (t == DTYPE_F32) return arena_printf(w->arena, "f32_bits_u32(%s)", word);
  return arena_printf(w->arena, shift ? "(%s)(%s >> %u)" : "(%s)%s", memory_type(t), word, shift);
}
