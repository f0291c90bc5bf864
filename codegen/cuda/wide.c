/* Neighbours read or written together, by one lane or each lane its own, in one access of up to 16 bytes. Lowered loops go element by
 * element; in straight-line code those whose places differ by a constant are found here. The first of several loads reads for all, the
 * last of several stores writes for all. */
#include <stdlib.h>

#include "codegen/cuda/writer.h"

enum { WIDEST = 16 /* bytes */ };

/* A load or store of the block at hand: element `constant` behind `base`, a register that keeps its value (0: none), and lane * stride. */
typedef struct {
  const void *what; /* the load's expression, the store's statement */
  uint32_t buffer, base, lanes, active;
  int64_t stride, constant;
  bool is_store, is_placed; /* not placed: anywhere in the buffer */
  uint32_t at, version;     /* its turn; of a load: that of the last store, + 1, which may have changed what it reads; 0: none */
  uint32_t group;           /* its number + 1; 0: alone */
  const char *value;        /* of a store that waits for others of its group */
} wide_access;

typedef struct {
  uint32_t first, width; /* in the order of places; elements */
  const char *name;      /* of loads, once they are read */
  uint32_t last;         /* of stores: the turn of the last one */
} wide_group;

struct wide_accesses {
  wide_accesses *outer; /* of the block around */
  wide_access *items;   /* in turn, then by place */
  uint32_t n, capacity;
  wide_access **of_what; /* ordered by `what` */
  wide_group *groups;
  uint32_t n_groups, groups_capacity;
};

/* -- what a block reads and writes ------------------------------------------------------------------------------ */

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

/* Whether no lane of one touches what a lane of the other does. */
static bool are_apart(const wide_access *a, const wide_access *b) {
  if (!a->is_placed || !b->is_placed || a->base != b->base || a->lanes != b->lanes || a->stride != b->stride) return false;
  const int64_t distance = a->constant < b->constant ? b->constant - a->constant : a->constant - b->constant, stride = a->stride < 0 ? -a->stride : a->stride;
  return distance && (a->lanes == 1 || distance < stride);
}

static void add_access(writer *w, wide_accesses *x, wide_access a, const loops_expr *offset) {
  a.is_placed = offset && place_of(w, offset, &a.base, &a.constant);
  a.at = x->n;
  for (uint32_t i = x->n; !a.is_store && !a.version && i-- > 0;)
    if (x->items[i].is_store && memory_of(w, x->items[i].buffer) == memory_of(w, a.buffer) && !are_apart(&a, &x->items[i])) a.version = i + 1;
  *ARENA_PUSH(w->arena, x->items, x->n, x->capacity) = a;
}

static bool is_narrow_element(const writer *w, uint32_t buffer) { return dtype_bytes(w->loops->buffers[buffer].type) <= sizeof(uint32_t); }

/* `inner`: of a block inside, at any time of it. */
static void collect_loads(writer *w, wide_accesses *x, const loops_expr *e, bool inner) {
  for (uint32_t i = 0; i < e->n_args; i++) collect_loads(w, x, e->args[i], inner);
  if (e->kind != LOOPS_LOAD && e->kind != LOOPS_GATHER && e->kind != LOOPS_PAIRS) return;
  const bool is_plain = !inner && e->kind == LOOPS_LOAD && is_narrow_element(w, e->number);
  if (!is_plain && !w->loops->buffers[e->number].written) return;
  const wide_access a = {.what = e, .buffer = e->number, .lanes = e->lanes, .active = e->active ? e->active : e->lanes, .stride = e->lanes > 1 ? e->stride : 0};
  add_access(w, x, a, is_plain ? e->args[0] : NULL);
}

static void collect_block(writer *w, wide_accesses *x, const block *b, bool inner) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    const loops_expr *const values[] = {s->begin, s->end, s->value, s->offset};
    for (int k = 0; k < 4; k++)
      if (values[k]) collect_loads(w, x, values[k], inner);
    if (s->kind == STATEMENT_FOR || s->kind == STATEMENT_IF) collect_block(w, x, &s->body, true);
    if (s->kind != STATEMENT_STORE) continue;
    const wide_access a = {.what = s, .buffer = s->number, .lanes = s->value->lanes, .active = s->active, .stride = s->value->lanes > 1 ? s->stride : 0, .is_store = true};
    add_access(w, x, a, !inner && is_narrow_element(w, s->number) ? s->offset : NULL);
  }
}

/* -- groups --------------------------------------------------------------------------------------------------- */

static int compare(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

static int compare_runs(const wide_access *a, const wide_access *b) {
  int order = compare(a->is_placed, b->is_placed);
  if (!order) order = compare(a->is_store, b->is_store);
  if (!order) order = compare(a->buffer, b->buffer);
  if (!order) order = compare(a->base, b->base);
  if (!order) order = compare(a->version, b->version);
  if (!order) order = compare(a->lanes, b->lanes);
  if (!order) order = compare(a->active, b->active);
  return order ? order : compare(a->stride, b->stride);
}

static int compare_places(const void *x, const void *y) {
  const wide_access *a = x, *b = y;
  int order = compare_runs(a, b);
  if (!order) order = compare(a->constant, b->constant);
  return order ? order : compare(a->at, b->at);
}

/* Whether the elements from an access's on, so many, are all there and lie at a multiple of their size together. */
static bool is_run(const writer *w, const wide_accesses *x, uint32_t first, uint32_t width) {
  const wide_access *a = &x->items[first];
  if (!a->is_placed || a->constant % width || a->stride % width || (a->base && w->zeros[a->base] < (uint32_t)__builtin_ctz(width))) return false;
  int64_t found = 1;
  for (uint32_t i = first + 1; i < x->n && found < width && !compare_runs(a, &x->items[i]); i++) {
    const int64_t next = x->items[i].constant - a->constant;
    if (next > found || (a->is_store && next < found)) return false;
    found += next == found;
  }
  return found == width;
}

/* Whether stores may wait for the last of them: what is done meanwhile in their memory is done elsewhere. */
static bool may_wait(const writer *w, const wide_accesses *x, const wide_access *in_turn, uint32_t first, uint32_t width) {
  uint32_t from = UINT32_MAX, to = 0;
  for (uint32_t i = first; i < first + width; i++) {
    if (x->items[i].at < from) from = x->items[i].at;
    if (x->items[i].at > to) to = x->items[i].at;
  }
  for (uint32_t t = from; t <= to; t++) {
    if (memory_of(w, in_turn[t].buffer) != memory_of(w, x->items[first].buffer)) continue;
    for (uint32_t i = first; i < first + width; i++)
      if (x->items[i].at < t && !are_apart(&x->items[i], &in_turn[t])) return false;
  }
  return true;
}

static void find_groups(writer *w, wide_accesses *x) {
  const wide_access *in_turn = arena_copy(w->arena, x->items, x->n * sizeof *x->items);
  qsort(x->items, x->n, sizeof *x->items, compare_places);
  for (uint32_t i = 0, next; i < x->n; i = next) {
    const wide_access *a = &x->items[i];
    const size_t bytes = dtype_bytes(w->loops->buffers[a->buffer].type);
    uint32_t width = (uint32_t)(WIDEST / bytes);
    while (width > 1 && !(is_run(w, x, i, width) && (!a->is_store || may_wait(w, x, in_turn, i, width)))) width /= 2;
    next = i + 1;
    if (width <= 1 || width * bytes < sizeof(uint32_t)) continue;
    wide_group *g = ARENA_PUSH(w->arena, x->groups, x->n_groups, x->groups_capacity);
    *g = (wide_group){.first = i, .width = width};
    for (next = i; next < x->n && !compare_runs(a, &x->items[next]) && x->items[next].constant < a->constant + width; next++) {
      x->items[next].group = x->n_groups;
      if (x->items[next].at > g->last) g->last = x->items[next].at;
    }
  }
}

static int compare_what(const void *x, const void *y) {
  const wide_access *a = *(wide_access *const *)x, *b = *(wide_access *const *)y;
  return compare((int64_t)(uintptr_t)a->what, (int64_t)(uintptr_t)b->what);
}

void begin_wide_accesses(writer *w, const block *b) {
  wide_accesses *x = ARENA_NEW(w->arena, wide_accesses);
  *x = (wide_accesses){.outer = w->wide};
  w->wide = x;
  collect_block(w, x, b, false);
  if (!x->n) return;
  find_groups(w, x);
  x->of_what = ARENA_ARRAY(w->arena, wide_access *, x->n);
  for (uint32_t i = 0; i < x->n; i++) x->of_what[i] = &x->items[i];
  qsort(x->of_what, x->n, sizeof *x->of_what, compare_what);
}

void end_wide_accesses(writer *w) { w->wide = w->wide->outer; }

/* NULL where it is alone, or what is read at one time and another. */
static wide_access *find_access(const wide_accesses *x, const void *what) {
  const wide_access key = {.what = what}, *k = &key;
  wide_access **found = x->n ? bsearch(&k, x->of_what, x->n, sizeof k, compare_what) : NULL;
  if (!found || !(*found)->group) return NULL;
  for (int step = -1; step <= 1; step += 2)
    for (wide_access **same = found + step; same >= x->of_what && same < x->of_what + x->n && (*same)->what == what; same += step)
      if ((*same)->group != (*found)->group) return NULL;
  return *found;
}

/* -- text ----------------------------------------------------------------------------------------------------- */

static const char *place_text(writer *w, const wide_group *g) {
  const wide_access *first = &w->wide->items[g->first];
  const char *offset = first->base ? arena_printf(w->arena, "r%u + %lld", first->base, (long long)first->constant) : arena_printf(w->arena, "%lld", (long long)first->constant);
  return element_text(w, first->buffer, lane_offset(w, offset, first->lanes, first->stride), g->width, first->is_store ? USE_WRITES : USE_READS);
}

static uint32_t words_of(const writer *w, const wide_group *g) { return (uint32_t)(g->width * dtype_bytes(w->loops->buffers[w->wide->items[g->first].buffer].type) / sizeof(uint32_t)); }

static const char *read_group(writer *w, const wide_access *a, wide_group *g) {
  const uint32_t words = words_of(w, g);
  const char *active = a->lanes == 1 ? NULL : active_text(w, a->active), *place = place_text(w, g);
  g->name = arena_printf(w->arena, "w%u", w->n_values++);
  if (active) write_line(w, "const words_%u %s = %s ? load_%u(&%s) : zero_%u();", words, g->name, active, words, place, words);
  else write_line(w, "const words_%u %s = load_%u(&%s);", words, g->name, words, place);
  return g->name;
}

const char *wide_load_text(writer *w, const loops_expr *e) {
  static const char *const parts[] = {"x", "y", "z", "w"};
  const wide_access *a = w->wide ? find_access(w->wide, e) : NULL;
  if (!a) return NULL;
  wide_group *g = &w->wide->groups[a->group - 1];
  const dtype t = w->loops->buffers[a->buffer].type;
  const size_t at = (size_t)(a->constant - w->wide->items[g->first].constant) * dtype_bytes(t);
  const char *name = g->name ? g->name : read_group(w, a, g);
  const char *word = arena_printf(w->arena, "%s.%s", name, parts[at / sizeof(uint32_t)]);
  const unsigned shift = 8 * (unsigned)(at % sizeof(uint32_t));
  if (t == DTYPE_F32) return arena_printf(w->arena, "f32_bits_u32(%s)", word);
  return arena_printf(w->arena, shift ? "(%s)(%s >> %u)" : "(%s)%s", memory_type(t), word, shift);
}

static const char *word_text(writer *w, const wide_access *first, dtype t) {
  if (t == DTYPE_F32) return arena_printf(w->arena, "u32_bits_f32(%s)", first->value);
  const char *text = arena_printf(w->arena, "(u32)%s", first->value);
  for (unsigned i = 1; i < sizeof(uint32_t) / dtype_bytes(t); i++) text = arena_printf(w->arena, "%s | (u32)%s << %u", text, first[i].value, i * 8 * (unsigned)dtype_bytes(t));
  return text;
}

const char *wide_store_text(writer *w, const statement *s, const char *value) {
  wide_access *a = find_access(w->wide, s);
  if (!a) return NULL;
  const dtype t = w->loops->buffers[s->number].type;
  const wide_group *g = &w->wide->groups[a->group - 1];
  a->value = arena_printf(w->arena, "w%u", w->n_values++);
  write_line(w, "const %s %s = %s;", memory_type(t), a->value, value);
  if (a->at != g->last) return "";
  const uint32_t words = words_of(w, g);
  const char *text = place_text(w, g);
  for (uint32_t i = 0; i < words; i++) text = arena_printf(w->arena, "%s, %s", text, word_text(w, &w->wide->items[g->first + i * (g->width / words)], t));
  return arena_printf(w->arena, "store_%u(&%s)", words, text);
}
