/* Two values of which each sample wants one need one buffer. Where pictures are changed with some probability, as in
 * where(c, f(y), g(x)), both y and x are made, y is read where c holds and x where it does not; so z = where(c, y, x) takes their
 * place, to be read for both. Half of it is not written, and takes no memory. */
#include "ir/expr.h"
#include "passes/passes.h"
#include "passes/transfer.h"

enum { NONE = UINT32_MAX, MANY = UINT32_MAX - 1 };
enum { ANYWHERE = 1, HOLDS = 2, FAILS = 4 }; /* where a buffer is read, as far as the condition goes */

/* Per buffer of a plan: the launch that writes it, and the one that reads it. */
typedef struct {
  uint32_t *writer, *reader;
} buffer_uses;

/* What a kernel reads under a condition. */
typedef struct {
  const kernel *kernel;
  const expr *chooser;   /* the condition: an element of a list of bool */
  uint8_t *seen;         /* per expression: where */
  uint8_t *where;        /* per buffer */
  uint32_t *dims;        /* per buffer: bit d: dimension d is always read at the place of the condition */
} conditional;

typedef struct {
  uint32_t read[2];    /* y and x, by their numbers in the kernel that reads them */
  uint32_t written[2]; /* and in that which writes them */
  const expr *place;   /* of the condition there */
  bool instead;        /* z is what others there read in place of y, too */
} pair;

typedef struct {
  plan *plan;
  arena *arena;
  buffer_uses uses;
  uint32_t reader, writer, chooser; /* launches, and the buffer of the condition */
  pair *pairs;
  uint32_t n_pairs;
} joining;

/* -- what is read where --------------------------------------------------------------------------------------- */

static void note(uint32_t *at, uint32_t launch) { *at = *at == NONE || *at == launch ? launch : MANY; }

static buffer_uses find_uses(const plan *p, arena *a) {
  buffer_uses u = {ARENA_ARRAY(a, uint32_t, p->n_buffers + 1), ARENA_ARRAY(a, uint32_t, p->n_buffers + 1)};
  for (uint32_t b = 0; b < p->n_buffers; b++) u.writer[b] = u.reader[b] = NONE;
  for (uint32_t i = 0; i < p->n_launches; i++) {
    const plan_launch *l = &p->launches[i];
    for (uint32_t b = 0; b < l->kernel->n_buffers; b++) {
      const uint32_t buffer = l->buffers[b];
      note(l->kernel->buffers[b].access == ACCESS_OUT ? &u.writer[buffer] : &u.reader[buffer], l->repeat ? MANY : i);
    }
  }
  return u;
}

static void look(conditional *c, const expr *e, uint8_t where) {
  if (c->seen[e->id] & where) return;
  c->seen[e->id] |= where;
  if (e->kind == EXPR_READ) {
    c->where[e->number] |= where;
    for (uint32_t d = 0; d < e->n_args; d++)
      if (e->args[d] != c->chooser->args[0]) c->dims[e->number] &= ~(1u << d);
  }
  if (e->kind == EXPR_STAGE) {
    const stage *s = &c->kernel->stages[e->number];
    if (s->monoid == MONOID_NONE && s->output < 0) look(c, s->body, where);
  }
  const bool chooses = is_apply(e, OP_SELECT) && e->args[0] == c->chooser;
  for (uint32_t i = 0; i < e->n_args; i++) look(c, e->args[i], chooses && i == 1 ? HOLDS : chooses && i == 2 ? FAILS : where);
  for (uint32_t i = 0; i < e->n_conditions; i++) look(c, e->conditions[i].subject, where);
}

static conditional read_under(const kernel *k, const expr *chooser, arena *a) {
  conditional c = {k, chooser, ARENA_ARRAY(a, uint8_t, k->exprs->count + 1), ARENA_ARRAY(a, uint8_t, k->n_buffers + 1), ARENA_ARRAY(a, uint32_t, k->n_buffers + 1)};
  for (uint32_t b = 0; b < k->n_buffers; b++) c.dims[b] = ~0u;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0 || k->stages[i].monoid != MONOID_NONE) look(&c, k->stages[i].body, ANYWHERE);
  return c;
}

static bool is_condition(const expr *e) {
  return e->kind == EXPR_READ && e->type == DTYPE_BOOL && e->n_args == 1 && !e->n_conditions && e->args[0]->kind == EXPR_AXIS;
}

/* Conditions of selects, each once, in the order in which they were made. */
static uint32_t find_conditions(const kernel *k, const expr ***out, arena *a) {
  const expr **by_id = ARENA_ARRAY(a, const expr *, k->exprs->count + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; i < k->exprs->capacity; i++) {
    const expr *e = k->exprs->slots[i];
    if (e && is_apply(e, OP_SELECT) && is_condition(e->args[0])) by_id[e->args[0]->id] = e->args[0];
  }
  for (uint32_t i = 0; i < k->exprs->count; i++)
    if (by_id[i]) by_id[n++] = by_id[i];
  *out = by_id;
  return n;
}

/* -- which belong together ------------------------------------------------------------------------------------ */

static const stage *map_into(const kernel *k, uint32_t buffer) {
  const stage *found = NULL;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    if (k->stages[i].output != (int32_t)buffer) continue;
    if (found || k->stages[i].monoid != MONOID_NONE) return NULL;
    found = &k->stages[i];
  }
  return found;
}

/* Written at the same places, up to dimensions of one element; `place` is one at which both are always read as the condition is. */
static bool alike(const kernel *k, const stage *const *stages, const uint32_t *dims, int64_t extent, const expr **place) {
  const tensor_type *t[] = {&k->buffers[stages[0]->output].type, &k->buffers[stages[1]->output].type};
  int64_t in_first[MAX_RANK];
  *place = NULL;
  if (t[0]->dtype != t[1]->dtype || stages[0]->type != stages[1]->type || stages[0]->type != t[0]->dtype) return false;
  if (type_elements(t[0]) != type_elements(t[1]) || !type_find_dims(t[0], t[1], in_first)) return false;
  for (uint32_t d = 0; d < t[1]->rank; d++) {
    if (in_first[d] < 0) continue;
    const expr *at = stages[1]->index[d];
    if (at != stages[0]->index[in_first[d]]) return false;
    if (!*place && t[1]->dim[d] == extent && dims[0] >> in_first[d] & 1 && dims[1] >> d & 1) *place = at;
  }
  return *place;
}

static uint32_t number_in(const plan_launch *l, uint32_t buffer) {
  uint32_t n = 0;
  while (n < l->kernel->n_buffers && l->buffers[n] != buffer) n++;
  return n;
}

static bool reads_stage(const expr *e, const bool *of, bool *seen) {
  if (seen[e->id]) return false;
  seen[e->id] = true;
  bool does = e->kind == EXPR_STAGE && of[e->number];
  for (uint32_t i = 0; i < e->n_args && !does; i++) does = reads_stage(e->args[i], of, seen);
  for (uint32_t i = 0; i < e->n_conditions && !does; i++) does = reads_stage(e->conditions[i].subject, of, seen);
  return does;
}

/* Whatever else is made of y, such as a mean, is wanted where the condition holds and nowhere else: then it may be made of z, and y not at all
 * where it does not hold. */
static bool only_where_it_holds(const joining *j, const conditional *c, const pair *p) {
  const plan_launch *r = &j->plan->launches[j->reader], *w = &j->plan->launches[j->uses.writer[r->buffers[p->read[0]]]];
  bool *of = ARENA_ARRAY(j->arena, bool, w->kernel->n_stages + 1);
  for (uint32_t i = 0; i < w->kernel->n_stages; i++) {
    const stage *s = &w->kernel->stages[i];
    of[i] = s->output == (int32_t)p->written[0] || reads_stage(s->body, of, ARENA_ARRAY(j->arena, bool, w->kernel->exprs->count));
    if (!of[i] || s->output < 0 || s->output == (int32_t)p->written[0]) continue;
    const uint32_t buffer = w->buffers[s->output], read = number_in(r, buffer);
    const bool sole = j->plan->buffers[buffer].storage == STORAGE_TEMPORARY && j->uses.writer[buffer] != MANY && j->uses.reader[buffer] == j->reader;
    bool at_place = false;
    for (uint32_t d = 0; sole && d < w->kernel->buffers[s->output].type.rank; d++) at_place |= s->index[d] == p->place && c->dims[read] >> d & 1;
    if (!sole || c->where[read] != HOLDS || !at_place) return false;
  }
  return true;
}

/* Before the launch that would read it, as things are or when it is made earlier. */
static bool is_there(const joining *j, uint32_t buffer, uint32_t launch) {
  const uint32_t writer = j->uses.writer[buffer];
  if (writer == NONE || writer < launch) return true;
  if (writer == MANY || writer == launch) return false;
  const plan_launch *l = &j->plan->launches[writer];
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) {
    const uint32_t earlier = j->uses.writer[l->buffers[b]];
    if (l->kernel->buffers[b].access == ACCESS_IN && earlier != NONE && earlier >= launch) return false;
  }
  return true;
}

static bool is_free(const joining *j, const pair *p) {
  for (uint32_t i = 0; i < j->n_pairs; i++)
    if (j->pairs[i].read[0] == p->read[0] || j->pairs[i].read[1] == p->read[1]) return false;
  return true;
}

/* All pairs that one kernel writes. */
static void try_pair(joining *j, const conditional *c, uint32_t y, uint32_t x) {
  const plan_launch *r = &j->plan->launches[j->reader];
  const uint32_t numbers[] = {y, x};
  pair made = {.read = {y, x}};
  const uint32_t writer = j->uses.writer[r->buffers[y]];
  if (writer >= j->plan->n_launches || writer >= j->reader || (j->n_pairs && writer != j->writer) || !is_free(j, &made)) return;
  const plan_launch *w = &j->plan->launches[writer];
  const stage *stages[2];
  uint32_t dims[2];
  for (int i = 0; i < 2; i++) {
    const uint32_t buffer = r->buffers[numbers[i]];
    if (j->plan->buffers[buffer].storage != STORAGE_TEMPORARY || j->uses.writer[buffer] != writer || j->uses.reader[buffer] != j->reader) return;
    made.written[i] = number_in(w, buffer);
    if (!(stages[i] = map_into(w->kernel, made.written[i]))) return;
    dims[i] = c->dims[numbers[i]];
  }
  const uint32_t chooser = r->buffers[c->chooser->number];
  if (!alike(w->kernel, stages, dims, c->kernel->buffers[c->chooser->number].type.dim[0], &made.place) || !is_there(j, chooser, writer)) return;
  j->writer = writer;
  j->chooser = chooser;
  made.instead = only_where_it_holds(j, c, &made);
  j->pairs[j->n_pairs++] = made;
}

static bool find_pairs(joining *j, const expr *chooser) {
  const kernel *k = j->plan->launches[j->reader].kernel;
  const conditional c = read_under(k, chooser, j->arena);
  j->pairs = ARENA_ARRAY(j->arena, pair, k->n_buffers + 1);
  j->n_pairs = 0;
  for (uint32_t y = 0; y < k->n_buffers; y++)
    for (uint32_t x = 0; x < k->n_buffers && c.where[y] == HOLDS; x++)
      if (c.where[x] == FAILS) try_pair(j, &c, y, x);
  return j->n_pairs;
}

/* -- the kernels ---------------------------------------------------------------------------------------------- */

/* Gives the launch what was made of its kernel, or an earlier kernel that is equal. */
static void take_kernel(joining *j, plan_launch *l, const transfer *t, const uint32_t *buffers, made_kernels *made) {
  *l = (plan_launch){.kernel = made_once(made, t->into, j->arena), .buffers = arena_copy(j->plan->arena, buffers, t->into->n_buffers * sizeof *buffers)};
}

/* Which buffer of the plan each buffer of the new kernel is. */
static uint32_t *buffers_of(const joining *j, const plan_launch *l, const transfer *t) {
  uint32_t *buffers = ARENA_ARRAY(j->arena, uint32_t, t->into->n_buffers + 1);
  for (uint32_t b = 0; b < t->from->n_buffers; b++)
    if (t->buffers[b]) buffers[t->buffers[b] - 1] = l->buffers[b];
  return buffers;
}

/* Behind the later of both: where(c, y, x), written where y was. */
static void add_choice(joining *j, transfer *t, const pair *p, uint32_t chooser) {
  const stage *y = map_into(t->from, p->written[0]), *x = map_into(t->from, p->written[1]);
  const stage *old = t->from->stages;
  const uint32_t rank = t->from->buffers[p->written[0]].type.rank;
  const expr **index = ARENA_ARRAY(j->arena, const expr *, rank + 1), *place = transfer_expr(t, p->place);
  for (uint32_t d = 0; d < rank; d++) index[d] = transfer_expr(t, y->index[d]);
  const expr *chosen[] = {expr_read(t->into, chooser, &place, NULL, 0, (scalar){0}), expr_stage(t->into, t->stages[y - old] - 1), expr_stage(t->into, t->stages[x - old] - 1)};
  const kernel_buffer *b = &t->from->buffers[p->written[0]];
  stage s = {.name = y->name, .type = y->type, .index = index, .where = y->where};
  s.body = expr_apply(t->into, OP_SELECT, y->type, chosen, 3);
  s.output = (int32_t)kernel_add_buffer(t->into, b->name, b->type, ACCESS_OUT);
  t->buffers[p->written[0]] = (uint32_t)s.output + 1;
  const uint32_t z = kernel_add_stage(t->into, s);
  if (p->instead) t->stages[y - old] = z + 1;
}

static void write_choices(joining *j, made_kernels *made) {
  plan_launch *l = &j->plan->launches[j->writer];
  const kernel *k = l->kernel;
  const uint32_t known = number_in(l, j->chooser);
  kernel *into = kernel_new(j->plan->arena, k->name, k->where);
  transfer t = transfer_begin(k, into);
  uint32_t chooser = NONE;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    bool written = k->stages[i].output >= 0;
    for (uint32_t p = 0; p < j->n_pairs; p++)
      for (int side = 0; side < 2; side++) written &= k->stages[i].output != (int32_t)j->pairs[p].written[side];
    transfer_add(&t, i, transfer_stage(&t, i, written));
    for (uint32_t p = 0; p < j->n_pairs; p++) {
      const pair *at = &j->pairs[p];
      const uint32_t y = (uint32_t)(map_into(k, at->written[0]) - k->stages), x = (uint32_t)(map_into(k, at->written[1]) - k->stages);
      if (i != (y > x ? y : x)) continue;
      if (chooser == NONE && known < k->n_buffers && t.buffers[known]) chooser = t.buffers[known] - 1;
      if (chooser == NONE) chooser = kernel_add_buffer(into, "either", j->plan->buffers[j->chooser].type, ACCESS_IN);
      if (known < k->n_buffers) t.buffers[known] = chooser + 1;
      add_choice(j, &t, at, chooser);
    }
  }
  uint32_t *buffers = buffers_of(j, l, &t);
  buffers[chooser] = j->chooser;
  take_kernel(j, l, &t, buffers, made);
}

/* What is read in the place of x: y at the same place, up to dimensions of one element. */
static const expr *read_chosen(void *context, kernel *into, const expr *read, const expr *const *index, const condition *conditions) {
  const joining *j = context;
  for (uint32_t p = 0; p < j->n_pairs; p++) {
    if (j->pairs[p].read[1] != read->number) continue;
    const tensor_type *from = &into->buffers[read->number].type, *to = &into->buffers[j->pairs[p].read[0]].type;
    const expr *at[MAX_RANK];
    int64_t in_from[MAX_RANK];
    type_find_dims(from, to, in_from); /* they are alike */
    for (uint32_t d = 0; d < to->rank; d++) at[d] = in_from[d] < 0 ? expr_integer(into, 0) : index[in_from[d]];
    return expr_read(into, j->pairs[p].read[0], at, conditions, read->n_conditions, read->constant);
  }
  return NULL;
}

static void read_choices(joining *j, made_kernels *made) {
  plan_launch *l = &j->plan->launches[j->reader];
  kernel chosen = *l->kernel;
  chosen.stages = arena_copy(j->arena, chosen.stages, chosen.n_stages * sizeof *chosen.stages);
  const expr_rewrite how = {.context = j, .read = read_chosen};
  for (uint32_t i = 0; i < chosen.n_stages; i++) chosen.stages[i].body = expr_rewrite_into(&chosen, l->kernel, chosen.stages[i].body, &how);
  transfer t = transfer_begin(&chosen, kernel_new(j->plan->arena, chosen.name, chosen.where));
  for (uint32_t i = 0; i < chosen.n_stages; i++) transfer_add(&t, i, transfer_stage(&t, i, chosen.stages[i].output >= 0));
  take_kernel(j, l, &t, buffers_of(j, l, &t), made);
}

/* -- the plan ------------------------------------------------------------------------------------------------- */

/* The condition is there before both are. */
static void make_condition_early(joining *j) {
  plan_launch *all = j->plan->launches;
  const uint32_t maker = j->uses.writer[j->chooser];
  if (maker == NONE || maker < j->writer) return;
  const plan_launch moved = all[maker];
  memmove(all + j->writer + 1, all + j->writer, (maker - j->writer) * sizeof *all);
  all[j->writer++] = moved;
}

static void drop_buffer(plan *p, uint32_t buffer) {
  p->n_buffers--;
  memmove(p->buffers + buffer, p->buffers + buffer + 1, (p->n_buffers - buffer) * sizeof *p->buffers);
  for (uint32_t i = 0; i < p->n_launches; i++)
    for (uint32_t b = 0; b < p->launches[i].kernel->n_buffers; b++) p->launches[i].buffers[b] -= p->launches[i].buffers[b] > buffer;
}

static void join(joining *j, made_kernels *made) {
  uint32_t *dropped = ARENA_ARRAY(j->arena, uint32_t, j->n_pairs);
  for (uint32_t i = 0; i < j->n_pairs; i++) dropped[i] = j->plan->launches[j->reader].buffers[j->pairs[i].read[1]];
  make_condition_early(j);
  write_choices(j, made);
  read_choices(j, made);
  for (uint32_t i = 0; i < j->n_pairs; i++) {
    drop_buffer(j->plan, dropped[i]);
    for (uint32_t k = i + 1; k < j->n_pairs; k++) dropped[k] -= dropped[k] > dropped[i];
  }
}

/* Of one condition of the launch. */
static bool join_some(joining *j, made_kernels *made) {
  const expr **conditions;
  bool found = false;
  const uint32_t n = find_conditions(j->plan->launches[j->reader].kernel, &conditions, j->arena);
  for (uint32_t i = 0; i < n && !found; i++) found = find_pairs(j, conditions[i]);
  if (found) join(j, made);
  if (found) j->uses = find_uses(j->plan, j->arena);
  return found;
}

bool pass_either(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_either)) return false;
  joining j = {.plan = p, .arena = c->arena, .uses = find_uses(p, c->arena)};
  made_kernels made = {0};
  for (j.reader = 0; j.reader < p->n_launches; j.reader++)
    while (join_some(&j, &made)) {}
  return true;
}
