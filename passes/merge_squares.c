/* Kernels in which squares live on chip. What reads squares is put together, as far as one nest of loops serves it; each of the
 * kernels makes the squares that it reads anew. */
#include "passes/merge.h"
#include "passes/team.h"
#include "passes/transfer.h"

#include "ir/expr.h"

enum { FEWEST_ROWS_AT_ONCE = 4 };

typedef struct {
  merging *m;
  squares *s;
  const bool *materialised;
  uint32_t *groups, n_groups, capacity;
} grouping;

/* -- the finished kernel ---------------------------------------------------------------------------------------- */

/* Expressions that become stages: operands of products that are made of squares, and costly parts of several stages. */
typedef struct {
  const expr *from, *as; /* in the kernel that is finished; the stage in the new one */
  uint64_t only;         /* a read put in another order: the squares that want it so */
} staged;

enum { MOST_STAGED = 24 };

typedef struct {
  const kernel *from;
  kernel *into;
  transfer t;
  staged items[MOST_STAGED];
  uint32_t n;
  squares_form form;
  bool by_team; /* which takes operands as they lie, and has memory for a block of columns at a time */
  uint32_t again[MOST_STAGED]; /* buffers that stand a second time, behind the others */
  uint32_t n_again;
} finishing;

static bool contains(const expr *e, const expr *part, bool *seen) {
  if (e == part) return true;
  if (seen[e->id]) return false;
  seen[e->id] = true;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (contains(e->args[i], part, seen)) return true;
  return false;
}

static bool has_part(const finishing *f, const expr *e, const expr *part) {
  return contains(e, part, ARENA_ARRAY(f->into->arena, bool, f->from->exprs->count));
}

static void add_staged(finishing *f, const expr *e, uint64_t only) {
  for (uint32_t i = 0; i < f->n; i++) {
    if (f->items[i].from != e) continue;
    f->items[i].only |= only;
    return;
  }
  if (f->n < MOST_STAGED) f->items[f->n++] = (staged){e, NULL, only};
}

static const expr *uncast(const expr *e) {
  while (e->kind == EXPR_APPLY && e->op == OP_CAST) e = e->args[0];
  return e;
}

static void collect_costly(finishing *f, const expr *e, uint32_t *last, uint32_t number) {
  if (last[e->id] == number + 1) return;
  const axis_set both = axis_bit(f->form.row) | axis_bit(f->form.column);
  if (e->kind == EXPR_APPLY && !strcmp(op_table[e->op].lowering, "math") && (e->axes & both) == both && last[e->id]) add_staged(f, e, 0);
  last[e->id] = number + 1;
  for (uint32_t i = 0; i < e->n_args; i++) collect_costly(f, e->args[i], last, number);
}

/* Whether the operand of a square that runs along vectors is to be put in another order: block by block of the batch; where rows run
 * in parallel as a whole, as a second buffer of which the layouts are chosen apart. */
static bool wants_packing(const finishing *f, uint32_t number, const expr *e) {
  const uint32_t along = f->form.rows_in_lanes ? f->form.row : f->form.column, other = f->form.rows_in_lanes ? f->form.column : f->form.row;
  if (f->by_team || !(f->form.stages >> number & 1) || e->kind != EXPR_READ || !(e->axes & axis_bit(along))) return false;
  const expr *last = e->args[e->n_args - 1];
  return !(last->axes & axis_bit(along)) && f->from->axes[other].extent > 1;
}

static void collect_staged(finishing *f) {
  const kernel *k = f->from;
  const axis_set both = axis_bit(f->form.row) | axis_bit(f->form.column);
  uint32_t *last = ARENA_ARRAY(f->into->arena, uint32_t, k->exprs->count);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    contraction_form c;
    collect_costly(f, k->stages[i].body, last, i);
    if (!stage_contraction(k, i, &c) || !c.left_only || !c.right_only) continue;
    const expr *sides[] = {uncast(c.left), uncast(c.right)};
    for (int side = 0; side < 2; side++) {
      const expr *e = sides[side];
      if (e->kind == EXPR_APPLY && (e->axes & both) == both) add_staged(f, e, 0);
      if (wants_packing(f, i, e)) add_staged(f, e, (uint64_t)1 << i);
    }
  }
}

/* In the new kernel, with stages in the place of what became one. */
static const expr *restage(finishing *f, const expr *e, uint32_t number, const expr **known) {
  if (known[e->id]) return known[e->id];
  const expr *out = NULL;
  for (uint32_t i = 0; i < f->n; i++)
    if (f->items[i].from == e && f->items[i].as && (!f->items[i].only || f->items[i].only >> number & 1)) out = f->items[i].as;
  if (!out && e->kind == EXPR_APPLY) {
    const expr *args[6];
    for (uint32_t i = 0; i < e->n_args; i++) args[i] = restage(f, e->args[i], number, known);
    out = expr_apply(f->into, e->op, e->type, args, e->n_args);
  }
  if (!out) out = transfer_expr(&f->t, e);
  return known[e->id] = out;
}

static const expr *restaged(finishing *f, const expr *e, uint32_t number) {
  return restage(f, e, number, ARENA_ARRAY(f->into->arena, const expr *, f->from->exprs->count));
}

static const expr *read_again(finishing *f, const expr *read) {
  const kernel_buffer *b = &f->from->buffers[read->number];
  const expr *plain = transfer_expr(&f->t, read);
  f->again[f->n_again++] = read->number;
  return expr_read(f->into, kernel_add_buffer(f->into, b->name, b->type, ACCESS_IN), plain->args, plain->conditions, plain->n_conditions, plain->constant);
}

/* Stages for the parts of an expression, the inner ones first. */
static void add_parts(finishing *f, const expr *e, uint32_t number) {
  for (;;) {
    uint32_t inner = f->n;
    for (uint32_t i = 0; i < f->n; i++) {
      if (f->items[i].as || (f->items[i].only && !(f->items[i].only >> number & 1)) || !has_part(f, e, f->items[i].from)) continue;
      if (inner == f->n || has_part(f, f->items[inner].from, f->items[i].from)) inner = i;
    }
    if (inner == f->n) return;
    const expr *from = f->items[inner].from;
    if (from->kind == EXPR_READ && f->form.rows_in_parallel) {
      f->items[inner].as = read_again(f, from);
      continue;
    }
    stage s = {.name = "part", .type = from->type, .output = -1, .where = f->from->where};
    s.body = restaged(f, from, number);
    s.free = s.body->axes;
    f->items[inner].as = expr_stage(f->into, kernel_add_stage(f->into, s));
  }
}

static fragment *new_fragment(merging *m, const fragment *like) {
  fragment *out = ARENA_NEW(m->arena, fragment);
  out->kernel = kernel_new(m->arena, like->kernel->name, like->kernel->where);
  out->contraction = out->has_squares = true;
  return out;
}

static void take_values(fragment *into, const fragment *from, const transfer *t) {
  while (into->values_capacity < into->kernel->n_buffers)
    into->values = arena_grow(into->kernel->arena, into->values, into->values_capacity, &into->values_capacity, sizeof *into->values);
  for (uint32_t i = 0; i < from->kernel->n_buffers; i++)
    if (t->buffers[i]) into->values[t->buffers[i] - 1] = from->values[i];
}

static fragment *copied(merging *m, const fragment *from, const squares *s) {
  fragment *out = new_fragment(m, from);
  transfer t = transfer_begin(from->kernel, out->kernel);
  transfer_axes(&t, ~(axis_set)0);
  for (uint32_t i = 0; i < from->kernel->n_stages; i++) {
    const stage *at = &from->kernel->stages[i];
    transfer_add(&t, i, transfer_stage(&t, i, at->output >= 0 && !(s && s->is_square[from->values[at->output]])));
  }
  take_values(out, from, &t);
  fragment_collect_reads(out, 0);
  return out;
}

/* With squares inside, and what is to be stored on chip as stages; NULL when its form does not suit. `again`: stages of the group that
 * an earlier one has too. */
static fragment *finish(grouping *x, const fragment *group, uint64_t again) {
  const fragment *from = copied(x->m, group, x->s);
  finishing f = {.from = from->kernel};
  if (!kernel_squares(from->kernel, x->s->target, &f.form)) return NULL;
  team_squares by_team;
  f.by_team = x->s->target->warps && x->s->target->tiles && kernel_team_squares(from->kernel, &by_team) && team_squares_bytes(&by_team, NULL) <= TEAM_BYTES;
  fragment *out = new_fragment(x->m, from);
  f.into = out->kernel;
  f.t = transfer_begin(from->kernel, out->kernel);
  collect_staged(&f);
  int64_t columns = 0; /* on chip, for each row */
  for (uint32_t i = 0; i < from->kernel->n_stages; i++)
    if (f.form.stages >> i & 1) columns += from->kernel->axes[f.form.column].extent * (int64_t)dtype_bytes(from->kernel->stages[i].type);
  for (uint32_t i = 0; i < f.n; i++)
    if (f.items[i].from->axes >> f.form.row & 1) columns += from->kernel->axes[f.form.column].extent * (int64_t)dtype_bytes(f.items[i].from->type);
  if (!f.by_team && FEWEST_ROWS_AT_ONCE * columns > x->s->target->l2_bytes / 2) return NULL;
  for (uint32_t i = 0; i < from->kernel->n_stages; i++) {
    add_parts(&f, from->kernel->stages[i].body, i);
    stage s = transfer_stage(&f.t, i, from->kernel->stages[i].output >= 0);
    s.body = restaged(&f, from->kernel->stages[i].body, i);
    s.again = again >> i & 1;
    transfer_add(&f.t, i, s);
  }
  take_values(out, from, &f.t);
  for (uint32_t i = 0, b = 0; i < f.n_again; i++) { /* those that no buffer of the old kernel became */
    for (bool is_new = false; !is_new; b++) {
      is_new = true;
      for (uint32_t j = 0; j < from->kernel->n_buffers; j++) is_new &= f.t.buffers[j] != b + 1;
      if (is_new) out->values[b] = from->values[f.again[i]];
    }
  }
  fragment_collect_reads(out, 0);
  return out;
}

/* -- groups --------------------------------------------------------------------------------------------------------- */

static const expr *read_of(const fragment *f, value v) {
  for (uint32_t i = 0; i < f->n_reads; i++)
    if (f->values[f->reads[i]->number] == v) return f->reads[i];
  return NULL;
}

/* Makes a square that `reader` needs behind what the group has, on axes that the reader's will be matched with. */
static bool add_square(grouping *x, uint32_t group, value v, const expr *read, matching *reader) {
  merging *m = x->m;
  fragment *q = define_value(m->graph, x->materialised, v, m->arena), *into = m->fragments[group];
  const kernel *k = q->kernel;
  matching own = {.first = into, .second = q};
  memset(own.counterpart, 0xff, sizeof own.counterpart);
  if (k->n_stages != 1 || into->kernel->n_axes + k->n_axes > MAX_AXES) return false;
  for (uint32_t d = 0; d < read->n_args; d++) {
    const expr *at = k->stages[0].index[d];
    if (at->kind != read->args[d]->kind || (at->kind == EXPR_AXIS) != (read->args[d]->kind == EXPR_AXIS)) return false;
    if (at->kind != EXPR_AXIS) continue;
    const uint32_t counterpart = reader->counterpart[read->args[d]->number];
    if (counterpart != NO_AXIS && !match_axis(&own, counterpart, at->number)) return false;
  }
  uint32_t number[MAX_AXES], next = into->kernel->n_axes;
  for (uint32_t a = 0; a < k->n_axes; a++) number[a] = own.counterpart[a] != NO_AXIS ? own.counterpart[a] : next++;
  const uint32_t slot = m->n++;
  m->fragments[slot] = q;
  append(m, group, slot, &own);
  for (uint32_t d = 0; d < read->n_args; d++) {
    if (read->args[d]->kind != EXPR_AXIS || reader->counterpart[read->args[d]->number] != NO_AXIS) continue;
    if (!match_axis(reader, number[k->stages[0].index[d]->number], read->args[d]->number)) return false;
  }
  return true;
}

static bool try_join(grouping *x, uint32_t group, uint32_t f) {
  merging *m = x->m;
  fragment *reader = m->fragments[f], *into = m->fragments[group];
  matching with = {.first = into, .second = reader};
  uint32_t n = 0;
  memset(with.counterpart, 0xff, sizeof with.counterpart);
  if (into->kernel->n_stages && (!match_results(&with, &n) || !n)) return false;
  for (uint32_t b = 0; b < reader->kernel->n_buffers; b++) {
    const value v = reader->values[b];
    if (reader->kernel->buffers[b].access == ACCESS_OUT || !x->s->is_square[v] || writer(into, v)) continue;
    if (!add_square(x, group, v, read_of(reader, v), &with)) return false;
  }
  if (!match_results(&with, &n)) return false;
  match_remaining(&with);
  const kernel *k = into->kernel;
  if (k->n_axes + reader->kernel->n_axes > MAX_AXES || k->n_stages + reader->kernel->n_stages > MOST_STAGES / 2 || k->n_buffers + reader->kernel->n_buffers > MOST_BUFFERS || into->n_exprs + reader->n_exprs > MOST_EXPRS)
    return false;
  append(m, group, f, &with);
  return finish(x, into, 0) != NULL;
}

/* Leaves everything as it was when it does not fit. */
static bool join(grouping *x, uint32_t group, uint32_t f) {
  merging *m = x->m;
  fragment *before = m->fragments[group], *reader = m->fragments[f];
  const uint32_t n = m->n;
  if (has_path(m, group, f, true) || has_path(m, f, group, false)) return false;
  m->fragments[group] = copied(m, before, NULL);
  if (try_join(x, group, f)) return true;
  m->fragments[group] = before;
  m->fragments[f] = reader;
  m->into[f] = f;
  for (; m->n > n; m->n--) m->into[m->n - 1] = m->n - 1;
  return false;
}

static bool start(grouping *x, uint32_t f) {
  merging *m = x->m;
  const uint32_t group = m->n++;
  m->fragments[group] = new_fragment(m, m->fragments[f]);
  if (!join(x, group, f)) return false;
  *ARENA_PUSH(m->arena, x->groups, x->n_groups, x->capacity) = group;
  return true;
}

static bool reads_squares(const grouping *x, const fragment *f) {
  for (uint32_t b = 0; b < f->kernel->n_buffers; b++)
    if (f->kernel->buffers[b].access == ACCESS_IN && x->s->is_square[f->values[b]]) return true;
  return false;
}

/* What reads squares depends on what they are made from instead; their own fragments go. */
static bool dissolve(grouping *x) {
  merging *m = x->m;
  bool good = true;
  for (value v = 1; v < m->graph->n_values; v++) {
    if (!x->s->is_square[v]) continue;
    const uint32_t maker = m->producer[v] - 1;
    const fragment *f = m->fragments[maker];
    if (reads_squares(x, f) || !m->readers[v].n || f->kernel->n_stages != 1) {
      x->s->refused[v] = true;
      good = false;
      continue;
    }
    for (uint32_t b = 0; b < f->kernel->n_buffers; b++) {
      index_list *readers = &m->readers[f->values[b]];
      for (uint32_t i = 0; f->kernel->buffers[b].access == ACCESS_IN && i < m->readers[v].n; i++) *ARENA_PUSH(m->arena, readers->items, readers->n, readers->capacity) = m->readers[v].items[i];
    }
    m->into[maker] = m->readers[v].items[0];
    m->fragments[maker] = NULL;
    m->producer[v] = 0;
    m->readers[v].n = 0;
  }
  return good;
}

bool merge_squares(merging *m, squares *s, const bool *materialised) {
  grouping x = {.m = m, .s = s, .materialised = materialised};
  const uint32_t n = m->n;
  bool good = dissolve(&x);
  for (uint32_t f = 0; f < n && good; f++) {
    const fragment *reader = m->fragments[f];
    if (!reader || !reads_squares(&x, reader)) continue;
    bool joined = false;
    for (uint32_t g = x.n_groups; g-- > 0 && !joined;) joined = join(&x, x.groups[g], f);
    if (joined || start(&x, f)) continue;
    good = false;
    for (uint32_t b = 0; b < reader->kernel->n_buffers; b++) s->refused[reader->values[b]] |= s->is_square[reader->values[b]];
  }
  bool *made = ARENA_ARRAY(m->arena, bool, m->graph->n_values);
  for (uint32_t g = 0; g < x.n_groups && good; g++) {
    fragment *group = m->fragments[x.groups[g]];
    uint64_t again = 0;
    for (uint32_t i = 0; i < group->kernel->n_stages; i++) {
      const int32_t output = group->kernel->stages[i].output;
      if (output < 0 || !s->is_square[group->values[output]]) continue;
      again |= (uint64_t)made[group->values[output]] << i;
      made[group->values[output]] = true;
    }
    m->fragments[x.groups[g]] = finish(&x, group, again);
  }
  return good;
}
