/* Merging kernels that share loops: a map into the kernel that makes what it reads (epilogue), rows of
 * reductions with the maps between them (softmax, layer norm), reductions over the same elements. What
 * may merge is seen from index expressions alone: axes of the two kernels are the same where one reads
 * the other's result, or both read one value, at plain axes. */
#include "passes/merge.h"
#include "passes/transfer.h"

/* A row that is walked again for each stage must stay in a near cache, and there must be rows enough to
 * hand out; where everything is small, neither matters. What is walked once, while sums are taken of it, may be longer: split.c
 * makes chunks of it. */
enum { LONGEST_ROW = 16384, LONGEST_SUM = 1 << 20, FEWEST_ROWS = 8, SMALL = 4096 };
uint32_t find(merging *m, uint32_t f) {
  while (m->into[f] != f) f = m->into[f] = m->into[m->into[f]];
  return f;
}

/* -- cycles ---------------------------------------------------------------------------------------------- */

/* Does a path lead from `from` to `to`? With `indirect` only one through a third fragment counts. */
static bool reaches(merging *m, uint32_t from, uint32_t to, bool indirect) {
  m->stamps[from] = m->stamp;
  const fragment *f = m->fragments[from];
  for (uint32_t b = 0; b < f->kernel->n_buffers; b++) {
    if (f->kernel->buffers[b].access != ACCESS_OUT) continue;
    const index_list *readers = &m->readers[f->values[b]];
    for (uint32_t i = 0; i < readers->n; i++) {
      uint32_t next = find(m, readers->items[i]);
      if (next == to && !indirect) return true;
      if (next == to || m->stamps[next] == m->stamp || (m->level && m->level[next] >= m->level[to])) continue;
      if (reaches(m, next, to, false)) return true;
    }
  }
  return false;
}

/* And those of all that read it, as far as they have to. */
static void raise_level(merging *m, uint32_t f, uint32_t level) {
  const fragment *x = m->fragments[f];
  if (m->level[f] >= level) return;
  m->level[f] = level;
  for (uint32_t b = 0; b < x->kernel->n_buffers; b++) {
    const index_list *readers = x->kernel->buffers[b].access == ACCESS_OUT ? &m->readers[x->values[b]] : NULL;
    for (uint32_t i = 0; readers && i < readers->n; i++)
      if (find(m, readers->items[i]) != f) raise_level(m, find(m, readers->items[i]), level + 1);
  }
}

bool has_path(merging *m, uint32_t from, uint32_t to, bool indirect) {
  m->stamp++;
  return reaches(m, from, to, indirect);
}

/* -- which axes are the same ------------------------------------------------------------------------------ */

bool match_axis(matching *m, uint32_t first, uint32_t second) {
  if (m->counterpart[second] != NO_AXIS || m->taken & axis_bit(first)) return m->counterpart[second] == first;
  if (m->first->kernel->axes[first].extent != m->second->kernel->axes[second].extent) return false;
  m->counterpart[second] = first;
  m->taken |= axis_bit(first);
  return true;
}

/* Equal plain indices: axes that correspond, or the same constant. */
static bool match_index(matching *m, const expr *first, const expr *second) {
  if (first->kind == EXPR_CONSTANT && second->kind == EXPR_CONSTANT)
    return first->constant.integer == second->constant.integer;
  return first->kind == EXPR_AXIS && second->kind == EXPR_AXIS && match_axis(m, first->number, second->number);
}

/* As above, and equal steps along one axis each: windows that do not overlap. */
static bool match_steps(matching *m, const expr *first, const expr *second) {
  int64_t x[MAX_AXES], y[MAX_AXES], x_offset, y_offset;
  if (match_index(m, first, second)) return true;
  if (first->axes & (first->axes - 1) || second->axes & (second->axes - 1) || !first->axes || !second->axes) return false;
  if (!expr_affine(m->first->kernel, first, x, &x_offset) || !expr_affine(m->second->kernel, second, y, &y_offset) || x_offset != y_offset) return false;
  const uint32_t a = (uint32_t)__builtin_ctzll(first->axes), b = (uint32_t)__builtin_ctzll(second->axes);
  return x[a] == y[b] && match_axis(m, a, b);
}

const stage *writer(const fragment *f, value v) {
  for (uint32_t i = 0; i < f->kernel->n_stages; i++) {
    const stage *s = &f->kernel->stages[i];
    if (s->output >= 0 && f->values[s->output] == v) return s;
  }
  return NULL;
}

/* Every read by the second of what the first writes must be at the place where it is written. */
bool match_results(matching *m, uint32_t *n_matched) {
  for (uint32_t i = 0; i < m->second->n_reads; i++) {
    const expr *read = m->second->reads[i];
    const stage *s = writer(m->first, m->second->values[read->number]);
    if (!s) continue;
    if (read->n_conditions) return false;
    for (uint32_t d = 0; d < read->n_args; d++)
      if (!match_index(m, s->index[d], read->args[d])) return false;
    ++*n_matched;
  }
  return true;
}

/* A read of one value by both, at plain axes that fit what is matched already, matches the others. */
static bool match_read(matching *m, const expr *first, const expr *second) {
  matching trial = *m;
  for (uint32_t d = 0; d < first->n_args; d++)
    if (!match_steps(&trial, first->args[d], second->args[d])) return false;
  *m = trial;
  return true;
}

static double match_shared_reads(matching *m) {
  double bytes = 0;
  for (uint32_t j = 0; j < m->second->n_reads; j++)
    for (uint32_t i = 0; i < m->first->n_reads; i++) {
      const expr *x = m->first->reads[i], *y = m->second->reads[j];
      if (m->first->values[x->number] != m->second->values[y->number] || x->n_conditions || y->n_conditions) continue;
      if (match_read(m, x, y)) bytes += (double)type_bytes(&m->first->kernel->buffers[x->number].type);
    }
  return bytes;
}

/* What is left may run over one axis wherever extents agree. */
void match_remaining(matching *m) {
  for (uint32_t second = 0; second < m->second->kernel->n_axes; second++)
    for (uint32_t first = 0; first < m->first->kernel->n_axes && m->counterpart[second] == NO_AXIS; first++)
      if (!(m->taken & axis_bit(first))) match_axis(m, first, second);
}

/* -- the shape of what would result ------------------------------------------------------------------------- */

typedef struct {
  axis_set free, reduced;
  bool after_reduction; /* reads, at last, what a reduction of this kernel gives */
  bool at_more_axes;    /* and is at axes that the reduction has not */
  bool repeated;        /* read at axes that it has not */
} outline;

typedef struct {
  outline stages[MOST_STAGES];
  uint32_t n;
  int64_t extent[MAX_AXES];
  uint32_t n_axes;
  bool strangers; /* both halves reduce, and read nothing in common */
} shape;

static axis_set renamed(const matching *m, const uint32_t *number, axis_set s, bool second) {
  axis_set out = 0;
  for (uint32_t i = 0; second && i < m->second->kernel->n_axes; i++)
    if (s & axis_bit(i)) out |= axis_bit(number[i]);
  return second ? out : s;
}

/* Stages that an expression reads, as a bit set: of its own kernel (numbered from `base`), and of `from`
 * where it reads a value that those write. */
static uint64_t stages_read(merging *g, const expr *e, const fragment *reader, const fragment *from, uint32_t base) {
  if (g->expr_stamps[e->id] == g->stamp) return 0;
  g->expr_stamps[e->id] = g->stamp;
  uint64_t set = e->kind == EXPR_STAGE ? (uint64_t)1 << (base + e->number) : 0;
  if (e->kind == EXPR_READ && from) {
    const stage *s = writer(from, reader->values[e->number]);
    if (s) set |= (uint64_t)1 << (s - from->kernel->stages);
  }
  for (uint32_t i = 0; i < e->n_args; i++) set |= stages_read(g, e->args[i], reader, from, base);
  for (uint32_t i = 0; i < e->n_conditions; i++) set |= stages_read(g, e->conditions[i].subject, reader, from, base);
  return set;
}

static uint64_t stages_of_body(merging *g, const expr *body, const fragment *reader, const fragment *from,
                               uint32_t base) {
  if (body->id >= g->expr_capacity) {
    g->expr_capacity = 2 * body->id + 64;
    g->expr_stamps = ARENA_ARRAY(g->arena, uint32_t, g->expr_capacity);
  }
  g->stamp++;
  return stages_read(g, body, reader, from, base);
}

static void outline_stages(merging *g, shape *s, const matching *m, const uint32_t *number, bool second) {
  const fragment *f = second ? m->second : m->first;
  uint32_t base = s->n;
  for (uint32_t i = 0; i < f->kernel->n_stages; i++) {
    const stage *t = &f->kernel->stages[i];
    outline *o = &s->stages[s->n++];
    *o = (outline){renamed(m, number, t->free, second), renamed(m, number, t->reduced, second)};
    uint64_t read = stages_of_body(g, t->body, f, second ? m->first : NULL, base);
    for (uint32_t j = 0; j < s->n - 1; j++) {
      if (!(read >> j & 1)) continue;
      outline *r = &s->stages[j];
      bool extra = (o->free | o->reduced) & ~r->free;
      r->repeated |= extra;
      o->after_reduction |= r->reduced || r->after_reduction;
      o->at_more_axes |= r->at_more_axes || ((r->reduced || r->after_reduction) && extra);
    }
  }
}

static double points(const shape *s, axis_set axes) {
  double n = 1;
  for (uint32_t i = 0; i < s->n_axes; i++)
    if (axes & axis_bit(i)) n *= (double)s->extent[i];
  return n;
}

/* Rows lie together in memory: where a buffer is walked by both, the kept axes come first. */
static bool rows_trail(const fragment *f, const matching *m, const uint32_t *number, bool second, axis_set kept) {
  for (uint32_t i = 0; i < f->n_reads; i++) {
    axis_set seen = 0;
    for (uint32_t d = 0; d < f->reads[i]->n_args; d++) {
      const expr *e = f->reads[i]->args[d];
      axis_set axis = e->kind == EXPR_AXIS ? renamed(m, number, e->axes, second) : 0;
      if (axis & kept && seen & ~kept) return false;
      seen |= axis;
    }
  }
  return true;
}

/* Whether one nest of loops serves all stages. Either all are at the same axes (a reduction or
 * contraction with maps of its result, or several reductions over the same elements), or all share the
 * kept axes and walk a row each; or maps over all axes carry reductions that nobody here reads but maps at the kept axes. */
static bool is_shape_sound(const shape *s, const matching *m, const uint32_t *number) {
  axis_set kept = ~(axis_set)0, all = 0, reduced = 0;
  bool same_free = true, same_reduced = true, rows = false;
  uint32_t n_reductions = 0;
  for (uint32_t i = 0; i < s->n; i++) {
    const outline *o = &s->stages[i];
    kept &= o->free;
    all |= o->free | o->reduced;
    same_free &= o->free == s->stages[0].free;
    rows |= o->at_more_axes;
    if (!o->reduced) continue;
    same_reduced &= n_reductions++ == 0 || o->reduced == reduced;
    reduced = o->reduced;
  }
  if (m->first->contraction || m->second->contraction) return same_free && n_reductions == 1 && !rows;
  if (!rows && s->strangers) return false; /* one loop would only hold the inputs of both in memory */
  if (!rows && same_free) return same_reduced;
  for (uint32_t i = 0; !rows && i < s->n; i++) {
    const outline *o = &s->stages[i];
    if ((o->free | o->reduced) != all && (!n_reductions || o->free != kept || o->repeated)) return false;
  }
  if (!rows && !same_reduced) return false;
  if (points(s, all) <= SMALL) return true;
  const double row = points(s, all & ~kept);
  if ((rows || row > LONGEST_ROW) && points(s, kept) < FEWEST_ROWS) return false;
  return row <= (rows ? LONGEST_ROW : LONGEST_SUM) && rows_trail(m->first, m, number, false, kept) &&
         rows_trail(m->second, m, number, true, kept);
}

/* -- merging two --------------------------------------------------------------------------------------------- */

/* The second's axes in the first's kernel: matched ones, then new ones. False when there are too many. */
static bool number_axes(const matching *m, uint32_t *number, shape *s) {
  const kernel *first = m->first->kernel, *second = m->second->kernel;
  for (uint32_t i = 0; i < first->n_axes; i++) s->extent[i] = first->axes[i].extent;
  s->n_axes = first->n_axes;
  for (uint32_t i = 0; i < second->n_axes; i++) {
    number[i] = m->counterpart[i];
    if (number[i] != NO_AXIS) continue;
    if (s->n_axes == MAX_AXES) return false;
    s->extent[s->n_axes] = second->axes[i].extent;
    number[i] = s->n_axes++;
  }
  return true;
}

/* Values of the buffers that a transfer has added. */
static void name_values(fragment *into, const fragment *from, const transfer *t) {
  arena *a = into->kernel->arena;
  while (into->values_capacity < into->kernel->n_buffers)
    into->values = arena_grow(a, into->values, into->values_capacity, &into->values_capacity, sizeof *into->values);
  for (uint32_t i = 0; i < from->kernel->n_buffers; i++)
    if (t->buffers[i]) into->values[t->buffers[i] - 1] = from->values[i];
}

void append(merging *g, uint32_t first, uint32_t second, const matching *m) {
  fragment *into = g->fragments[first];
  const fragment *from = g->fragments[second];
  const uint32_t old_stages = into->kernel->n_stages;
  transfer t = transfer_begin(from->kernel, into->kernel);
  for (uint32_t i = 0; i < from->kernel->n_axes; i++)
    if (m->counterpart[i] != NO_AXIS) t.axes[i] = expr_axis(into->kernel, m->counterpart[i]);
  transfer_axes(&t, ~(axis_set)0); /* in their order, as number_axes has them */
  for (uint32_t i = 0; i < from->kernel->n_buffers; i++) {
    const stage *s = writer(into, from->values[i]);
    if (s) t.buffer_stage[i] = (uint32_t)(s - into->kernel->stages) + 1;
    for (uint32_t j = 0; j < into->kernel->n_buffers && !s; j++)
      if (into->values[j] == from->values[i]) t.buffers[i] = j + 1;
  }
  for (uint32_t i = 0; i < from->kernel->n_stages; i++)
    transfer_add(&t, i, transfer_stage(&t, i, from->kernel->stages[i].output >= 0));
  name_values(into, from, &t);
  into->contraction |= from->contraction;
  fragment_collect_reads(into, old_stages);
  g->into[second] = first;
  g->fragments[second] = NULL;
  g->changed[first] = ++g->clock;
  if (!g->level) return;
  const uint32_t level = g->level[first] > g->level[second] ? g->level[first] : g->level[second];
  g->level[first] = 0;
  raise_level(g, first, level);
}

static bool reduces(const kernel *k) {
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].monoid != MONOID_NONE) return true;
  return false;
}

/* Puts the second fragment behind the first. Siblings read nothing of each other; for them sharing must
 * pay: half of what the second reads in its loops, or more. */
static bool try_merge(merging *g, uint32_t first, uint32_t second, bool siblings) {
  matching m = {.first = g->fragments[first], .second = g->fragments[second]};
  const kernel *a = m.first->kernel, *b = m.second->kernel;
  if (g->changed[first] < g->tried && g->changed[second] < g->tried) return false; /* nor does a path between them go away */
  if (m.first->repeat || m.second->repeat || m.first->has_squares || m.second->has_squares) return false;
  if (a->n_stages + b->n_stages > MOST_STAGES || a->n_buffers + b->n_buffers > 2 * MOST_BUFFERS ||
      m.first->n_exprs + m.second->n_exprs > MOST_EXPRS)
    return false;
  uint32_t number[MAX_AXES], n_matched = 0, buffers = a->n_buffers;
  for (uint32_t i = 0; i < b->n_buffers; i++) {
    bool known = false;
    for (uint32_t j = 0; j < a->n_buffers && !known; j++) known = m.first->values[j] == m.second->values[i];
    buffers += !known;
  }
  if (buffers > MOST_BUFFERS) return false;
  memset(m.counterpart, 0xff, sizeof m.counterpart);
  if (!match_results(&m, &n_matched)) return false;
  double shared = match_shared_reads(&m);
  if (siblings ? shared == 0 || m.first->contraction || m.second->contraction : n_matched == 0) return false;
  if (!siblings) match_remaining(&m);
  shape s = {.n = 0};
  if (!number_axes(&m, number, &s)) return false;
  for (uint32_t i = 0; siblings && i < b->n_stages; i++) {
    const double own = points(&s, renamed(&m, number, b->stages[i].free | b->stages[i].reduced, true));
    if (2 * shared < own && (own > SMALL || i + 1 == b->n_stages)) return false;
  }
  outline_stages(g, &s, &m, number, false);
  outline_stages(g, &s, &m, number, true);
  s.strangers = shared == 0 && reduces(a) && reduces(b);
  if (!is_shape_sound(&s, &m, number)) return false;
  if (siblings ? has_path(g, first, second, false) || has_path(g, second, first, false)
               : has_path(g, first, second, true))
    return false;
  append(g, first, second, &m);
  return true;
}

/* -- in which order ------------------------------------------------------------------------------------------- */

/* The fragment into whose kernel `f` best goes: the one that gives it the largest value. */
static bool merge_with_producers(merging *m, uint32_t f) {
  index_list tried = {0};
  for (;;) {
    const fragment *second = m->fragments[f];
    uint32_t best = NO_AXIS;
    int64_t most = -1;
    for (uint32_t b = 0; b < second->kernel->n_buffers; b++) {
      uint32_t producer = m->producer[second->values[b]];
      if (second->kernel->buffers[b].access == ACCESS_OUT || !producer) continue;
      producer = find(m, producer - 1);
      bool again = false;
      for (uint32_t i = 0; i < tried.n; i++) again |= tried.items[i] == producer;
      if (again || type_bytes(&second->kernel->buffers[b].type) <= most) continue;
      best = producer;
      most = type_bytes(&second->kernel->buffers[b].type);
    }
    if (best == NO_AXIS) return false;
    if (try_merge(m, best, f, false)) return true;
    *ARENA_PUSH(m->arena, tried.items, tried.n, tried.capacity) = best;
  }
}

static bool merge_siblings(merging *m, value v) {
  const index_list *readers = &m->readers[v];
  bool merged = false;
  enum { MOST_SIBLINGS = 16 }; /* a value with more readers is a constant of the step */
  if (readers->n > MOST_SIBLINGS) return false;
  for (uint32_t i = 0; i < readers->n; i++)
    for (uint32_t j = 0; j < i; j++) {
      uint32_t x = find(m, readers->items[j]), y = find(m, readers->items[i]);
      if (x != y) merged |= x < y ? try_merge(m, x, y, true) : try_merge(m, y, x, true);
    }
  return merged;
}

static int64_t bytes_written(const kernel *k) {
  int64_t bytes = 0;
  for (uint32_t b = 0; b < k->n_buffers; b++)
    if (k->buffers[b].access == ACCESS_OUT) bytes += type_bytes(&k->buffers[b].type);
  return bytes;
}

/* Maps of one large value into which another is folded small (a mask of the largest in a window beside what pooling keeps
 * of it): computed where the value is read first, though it may be long before they are used, since they are small. */
static void merge_small_siblings(merging *m, value v) {
  enum { A_PART = 4 };
  const int64_t bytes = type_bytes(graph_type(m->graph, v));
  const index_list readers = m->readers[v];
  for (uint32_t i = 0; i < readers.n; i++)
    for (uint32_t j = 0; j < i; j++) {
      const uint32_t x = find(m, readers.items[j]), y = find(m, readers.items[i]);
      const kernel *first = m->fragments[x < y ? x : y]->kernel, *second = m->fragments[x < y ? y : x]->kernel;
      if (x == y || reduces(first) || reduces(second) || A_PART * bytes_written(second) > bytes) continue;
      try_merge(m, x < y ? x : y, x < y ? y : x, true);
    }
}

/* -- what is left ---------------------------------------------------------------------------------------------- */

/* The kernel again with only what somebody needs: values that were results of merged kernels and are read
 * by nobody else are not written, and maps with one reader dissolve into it. */
typedef struct {
  const kernel *from;
  uint32_t *n_readers, *reader; /* how many stages read it, and the first of them */
  bool *written;
} compaction;

static void count_readers(compaction *c, uint32_t reader, const expr *e, bool *seen) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_STAGE) {
    c->n_readers[e->number]++;
    c->reader[e->number] = reader;
  }
  for (uint32_t i = 0; i < e->n_args; i++) count_readers(c, reader, e->args[i], seen);
  for (uint32_t i = 0; i < e->n_conditions; i++) count_readers(c, reader, e->conditions[i].subject, seen);
}

/* A map that one stage reads, at the same axes, is part of that stage. */
static bool dissolves(const compaction *c, uint32_t number) {
  const stage *s = &c->from->stages[number];
  if (c->written[number] || s->monoid != MONOID_NONE || c->n_readers[number] != 1) return false;
  const stage *reader = &c->from->stages[c->reader[number]];
  return (reader->free | reader->reduced) == s->free;
}

static bool is_needed(merging *m, uint32_t f, value v) {
  if (m->is_result[v]) return true;
  for (uint32_t i = 0; i < m->readers[v].n; i++)
    if (find(m, m->readers[v].items[i]) != f) return true;
  return false;
}

static fragment *compact(merging *m, uint32_t f) {
  const fragment *from = m->fragments[f];
  if (from->repeat) return m->fragments[f];
  const kernel *k = from->kernel;
  fragment *into = ARENA_NEW(m->arena, fragment);
  compaction c = {.from = k};
  c.n_readers = ARENA_ARRAY(m->arena, uint32_t, k->n_stages);
  c.reader = ARENA_ARRAY(m->arena, uint32_t, k->n_stages);
  c.written = ARENA_ARRAY(m->arena, bool, k->n_stages);
  uint32_t n_exprs = 0; /* ids are below the largest of the bodies */
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].body->id >= n_exprs) n_exprs = k->stages[i].body->id + 1;
  for (uint32_t i = k->n_stages; i-- > 0;) { /* readers come later */
    const stage *s = &k->stages[i];
    c.written[i] = s->output >= 0 && is_needed(m, f, from->values[s->output]);
    if (c.written[i] || c.n_readers[i]) count_readers(&c, i, s->body, ARENA_ARRAY(m->arena, bool, n_exprs));
  }
  into->kernel = kernel_new(m->arena, k->name, k->where);
  transfer t = transfer_begin(k, into->kernel);
  for (uint32_t i = 0; i < k->n_stages; i++)
    if ((c.written[i] || c.n_readers[i]) && !dissolves(&c, i)) transfer_add(&t, i, transfer_stage(&t, i, c.written[i]));
  name_values(into, from, &t);
  return into;
}

static void place(merging *m, uint32_t f, fragment **out, uint32_t *n, bool *placed) {
  if (placed[f]) return;
  placed[f] = true;
  const fragment *x = m->fragments[f];
  for (uint32_t b = 0; b < x->kernel->n_buffers; b++) {
    uint32_t producer = m->producer[x->values[b]];
    if (x->kernel->buffers[b].access == ACCESS_IN && producer) place(m, find(m, producer - 1), out, n, placed);
  }
  out[(*n)++] = compact(m, f);
}

static void note_values(merging *m) {
  for (uint32_t f = 0; f < m->n; f++) {
    const fragment *x = m->fragments[f];
    for (uint32_t b = 0; b < x->kernel->n_buffers; b++) {
      index_list *readers = &m->readers[x->values[b]];
      if (x->kernel->buffers[b].access == ACCESS_OUT) m->producer[x->values[b]] = f + 1;
      else *ARENA_PUSH(m->arena, readers->items, readers->n, readers->capacity) = f;
    }
  }
}

fragment **merge_fragments(const graph *g, fragment **fragments, uint32_t *n, squares *s, const bool *materialised, arena *a) {
  const uint32_t most = s->any ? 8 * *n + 64 : *n; /* squares are made several times */
  merging m = {.graph = g, .arena = a, .fragments = ARENA_ARRAY(a, fragment *, most), .n = *n};
  memcpy(m.fragments, fragments, *n * sizeof *fragments);
  m.into = ARENA_ARRAY(a, uint32_t, most);
  m.changed = ARENA_ARRAY(a, uint32_t, most);
  m.stamps = ARENA_ARRAY(a, uint32_t, most);
  m.producer = ARENA_ARRAY(a, uint32_t, g->n_values);
  m.readers = ARENA_ARRAY(a, index_list, g->n_values);
  m.is_result = ARENA_ARRAY(a, bool, g->n_values);
  for (uint32_t i = 0; i < g->n_results; i++) m.is_result[g->results[i].value] = true;
  for (uint32_t i = 0; i < *n; i++) { /* what a loop reads stands in memory */
    const fragment *f = fragments[i];
    for (uint32_t b = 0; f->repeat && b < f->repeat->n_operands; b++) m.is_result[f->values[b]] = true;
  }
  for (uint32_t i = 0; i < most; i++) m.into[i] = i;
  note_values(&m);
  if (s->any && !merge_squares(&m, s, materialised)) return NULL;
  *n = m.n;
  for (value v = 1; v < g->n_values; v++) merge_small_siblings(&m, v);
  m.level = ARENA_ARRAY(a, uint32_t, m.n);
  for (uint32_t f = 0; f < m.n; f++)
    if (m.fragments[f]) raise_level(&m, f, 1);
  bool changed = true;
  for (int round = 0; changed && round < 3; round++) { /* siblings make room for more of the first kind */
    const uint32_t begun = ++m.clock;
    changed = false;
    for (uint32_t f = 0; f < *n; f++)
      if (m.fragments[f]) changed |= merge_with_producers(&m, f);
    for (value v = 1; v < g->n_values; v++) changed |= merge_siblings(&m, v);
    m.tried = begun;
  }
  merge_joins(&m, materialised);
  fragment **out = ARENA_ARRAY(a, fragment *, *n);
  bool *placed = ARENA_ARRAY(a, bool, *n);
  uint32_t n_out = 0;
  for (uint32_t f = 0; f < *n; f++)
    if (m.fragments[f]) place(&m, f, out, &n_out, placed);
  *n = n_out;
  return out;
}
