/* The derivative of a loop is a loop the other way round. Its carries are the cotangents of the carries, and for what
 * is the same in all iterations the sum of its cotangents so far; its body is the body again, from what the carries
 * were at the start of the iteration, and behind it the derivative of the body. So nothing of an iteration outlives
 * it but the carries. Where those are many and large, the loop is cut in chunks first: a loop over loops, of which
 * the outer keeps the starts of chunks and the inner those of one chunk at a time. */
#include <stdlib.h>

#include "ir/region.h"
#include "passes/autodiff.h"

/* A loop that is not in a graph yet. */
typedef struct {
  const graph *body;
  region_view form; /* times, carries, slices, reverse */
  value *operands;
  uint32_t n_operands;
  span where;
} loop;

static value add_loop(rebuild *r, graph *into, const loop *l) {
  const char *error = NULL;
  value made = r->failed ? 0 : graph_repeat(into, &l->form, l->body, l->operands, l->n_operands, l->where, &error);
  if (!made) rebuild_fail(r, l->where, error ? error : "a loop was refused");
  return made;
}

static const char *parameter_role(const node *n) { return n->op == OP_PARAMETER ? node_attribute(n, ATTR_ROLE)->as.text : ""; }

/* -- starts of iterations --------------------------------------------------------------------------------------- */

static const node *index_parameter(const graph *body) {
  for (uint32_t i = 0; i < body->n_nodes; i++)
    if (!strcmp(parameter_role(&body->nodes[i]), "index")) return &body->nodes[i];
  return NULL;
}

/* The region once more, to be added to. Its index counts from the invariant of that number when there is one. */
static graph *copy_region(rebuild *r, const graph *from, int64_t start) {
  graph *into = graph_new(from->arena, from->name);
  rebuild copy = {.from = from, .into = into, .map = ARENA_ARRAY(from->arena, value, from->n_values), .context = r->context, .pass = r->pass};
  for (uint32_t i = 0; i < from->n_nodes && !copy.failed; i++) {
    const node *n = &from->nodes[i];
    value made = rebuild_copy(&copy, i);
    if (start < 0 || strcmp(parameter_role(n), "index")) continue;
    value first = region_parameter(into, "invariant", (uint32_t)start, scalar_type(DTYPE_I32), n->where);
    copy.map[n->first_result] = graph_binary(into, OP_ADD, made, first, n->where);
  }
  r->failed |= !rebuild_end(&copy);
  return into;
}

/* Adds the loop with one more output for each carry: what it was at the start. */
static value add_with_starts(rebuild *r, graph *into, const loop *l) {
  loop larger = *l;
  graph *body = copy_region(r, l->body, -1);
  const uint32_t n_outputs = l->body->n_results - l->form.n_carries, n_nodes = body->n_nodes;
  for (uint32_t k = 0; k < l->form.n_carries; k++)
    for (uint32_t i = 0; i < n_nodes; i++) {
      const node *n = &body->nodes[i];
      if (strcmp(parameter_role(n), "state") || strtoul(node_attribute(n, ATTR_NAME)->as.text, NULL, 10) != k) continue;
      region_result(body, "output", n_outputs + k, n->first_result, l->where);
    }
  larger.body = body;
  return add_loop(r, into, &larger);
}

/* -- chunks -------------------------------------------------------------------------------------------------------- */

enum { MOST_START_BYTES = 1 << 26, FEWEST_TO_CUT = 16 };

static bool is_worth_cutting(const graph *g, const loop *l, int64_t limit) {
  int64_t bytes = 0;
  bool room = true; /* for one more axis */
  for (uint32_t k = 0; k < l->form.n_carries; k++) bytes += type_bytes(graph_type(g, l->operands[k]));
  for (uint32_t k = 0; k < l->form.n_slices; k++) room &= graph_type(g, l->operands[l->form.n_carries + k])->rank < MAX_RANK;
  for (uint32_t i = 0; i < l->body->n_results; i++) room &= graph_type(l->body, l->body->results[i].value)->rank + 2 <= MAX_RANK;
  return room && l->form.times >= FEWEST_TO_CUT && bytes > (limit ? limit : MOST_START_BYTES) / l->form.times;
}

/* [n, ...] as [outer, inner, ...], or back with inner = 0. */
static value regroup(graph *g, value x, int64_t outer, int64_t inner, span where) {
  const tensor_type *t = graph_type(g, x);
  int64_t dim[MAX_RANK + 1] = {outer, inner};
  uint32_t rank = 1 + (inner > 0), skipped = 2 - (inner > 0);
  for (uint32_t i = skipped; i < t->rank; i++) dim[rank++] = t->dim[i];
  return graph_reshape(g, x, rank, dim, where);
}

static value rows(graph *g, value x, int64_t from, int64_t to, span where) {
  int64_t start[MAX_RANK] = {from}, stop[MAX_RANK], stride[MAX_RANK];
  const tensor_type *t = graph_type(g, x);
  for (uint32_t i = 0; i < t->rank; i++) stop[i] = t->dim[i], stride[i] = 1;
  stop[0] = to;
  return graph_slice(g, x, start, stop, stride, where);
}

typedef struct {
  rebuild *rebuild;
  const loop *whole;
  const graph *counted; /* its body, with the index counted from one more invariant */
  bool indexed;
} cutting;

/* `times` iterations of the whole in a graph that has its operands, from index `start` on. */
static value add_part(const cutting *c, graph *into, value *operands, int64_t times, value start) {
  loop part = *c->whole;
  part.body = c->counted;
  part.form.times = times;
  part.operands = ARENA_ARRAY(into->arena, value, part.n_operands + 1);
  memcpy(part.operands, operands, part.n_operands * sizeof *operands);
  if (c->indexed) part.operands[part.n_operands++] = start;
  return add_with_starts(c->rebuild, into, &part);
}

/* A loop over `chunks` loops of `size` iterations each. */
static value add_chunks(const cutting *c, graph *into, const value *operands, int64_t chunks, int64_t size) {
  loop outer = *c->whole;
  graph *body = graph_new(into->arena, "region");
  const uint32_t slices = outer.form.n_carries, invariants = slices + outer.form.n_slices;
  value *inside = ARENA_ARRAY(into->arena, value, outer.n_operands + 1), start = 0;
  outer.operands = ARENA_ARRAY(into->arena, value, outer.n_operands + 1);
  for (uint32_t k = 0; k < outer.n_operands; k++) {
    bool is_slice = k >= slices && k < invariants;
    outer.operands[k] = is_slice ? regroup(into, rows(into, operands[k], 0, chunks * size, outer.where), chunks, size, outer.where) : operands[k];
    tensor_type type = *graph_type(into, outer.operands[k]);
    inside[k] = k < slices ? region_parameter(body, "state", k, type, outer.where)
                : is_slice ? region_parameter(body, "slice", k - slices, region_slice_type(&type), outer.where)
                           : region_parameter(body, "invariant", k - invariants, type, outer.where);
  }
  if (c->indexed) {
    value index = graph_parameter(body, "index", "i", scalar_type(DTYPE_I32), outer.where);
    start = graph_binary(body, OP_MUL, index, graph_number(body, scalar_type(DTYPE_I32), (double)size, outer.where), outer.where);
  }
  value inner = add_part(c, body, inside, size, start);
  for (uint32_t k = 0; inner && k < c->whole->body->n_results; k++)
    region_result(body, k < slices ? "state" : "output", k < slices ? k : k - slices, inner + k, outer.where);
  outer.body = body;
  outer.form.times = chunks;
  return add_with_starts(c->rebuild, into, &outer);
}

static int64_t root(int64_t n) {
  int64_t r = 1;
  while ((r + 1) * (r + 1) <= n) r++;
  return r;
}

/* Chunks of about sqrt(times) iterations, and what is left over as a loop of its own at the high end. */
static void add_cut(rebuild *r, const loop *l, value first_result) {
  graph *g = r->into;
  const node *index = index_parameter(l->body);
  const uint32_t carries = l->form.n_carries, n_results = l->body->n_results;
  const int64_t size = root(l->form.times), chunks = l->form.times / size, whole = chunks * size;
  cutting c = {r, l, l->body, index != NULL};
  if (index) c.counted = copy_region(r, l->body, (int64_t)l->n_operands - carries - l->form.n_slices);
  value *operands = arena_copy(g->arena, l->operands, l->n_operands * sizeof *operands), made[2] = {0};
  for (int step = 0; step < 2 && !r->failed; step++) {
    bool rest = (step == 0) == l->form.reverse;
    if (rest && whole == l->form.times) continue;
    value *own = arena_copy(g->arena, operands, l->n_operands * sizeof *operands);
    for (uint32_t k = 0; rest && k < l->form.n_slices; k++) own[carries + k] = rows(g, operands[carries + k], whole, l->form.times, l->where);
    value start = rest && index ? graph_number(g, scalar_type(DTYPE_I32), (double)whole, l->where) : 0;
    made[rest] = rest ? add_part(&c, g, own, l->form.times - whole, start) : add_chunks(&c, g, own, chunks, size);
    for (uint32_t k = 0; k < carries; k++) operands[k] = made[rest] + k;
  }
  for (uint32_t k = 0; k < n_results && !r->failed; k++) {
    value v = k < carries ? operands[k] : regroup(g, made[0] + k, whole, 0, l->where);
    if (k >= carries && made[1]) v = graph_concat(g, (value[]){v, made[1] + k}, 2, 0, l->where);
    r->map[first_result + k] = v;
  }
}

void copy_with_starts(rebuild *r, uint32_t node_index) {
  const node *n = &r->from->nodes[node_index];
  loop l = {.body = autodiff_region(n->region, r->context), .form = node_region(n, r->context->arena), .n_operands = n->n_operands, .where = n->where};
  l.operands = ARENA_ARRAY(r->into->arena, value, n->n_operands + 1);
  for (uint32_t k = 0; k < n->n_operands; k++) l.operands[k] = r->map[n->operands[k]];
  r->failed |= !l.body;
  if (r->failed) return;
  if (is_worth_cutting(r->into, &l, r->context->most_start_bytes)) {
    add_cut(r, &l, n->first_result);
    return;
  }
  value first = add_with_starts(r, r->into, &l);
  for (uint32_t k = 0; k < n->n_results; k++) r->map[n->first_result + k] = first + k;
}

/* -- backwards ----------------------------------------------------------------------------------------------------- */

/* The loop in the other direction, as far as it is made. Its operands are, in this order:
 *   carries     cotangents of the carries that have one, sums of cotangents of invariants
 *   slices      those of the loop, the carries at the starts of iterations, cotangents of stacked results
 *   invariants  those of the loop */
typedef struct {
  accumulation *around;
  node forward;
  region_view r;
  uint32_t n_outputs;            /* of the loop, the starts of its carries being the last */
  bool *operands, *results;      /* of the loop: depend on what is sought; lead to what is derived */
  const bool *leading;           /* per value of the region */
  loop loop;
  graph *body;
  value *map;                    /* per value of the region: its copy in `body` */
  value *state;                  /* per operand of the loop: the parameter that has its cotangent so far */
  uint32_t *number;              /* and the number of that carry */
  uint32_t n_slices, capacity;
} backward;

static value add_state(backward *b, uint32_t operand, value first) {
  graph *g = b->around->graph;
  if (!first) first = graph_number(g, *graph_type(g, b->forward.operands[operand]), 0, b->forward.where);
  b->number[operand] = b->loop.form.n_carries++;
  *ARENA_PUSH(g->arena, b->loop.operands, b->loop.n_operands, b->capacity) = first;
  return b->state[operand] = region_parameter(b->body, "state", b->number[operand], *graph_type(g, first), b->forward.where);
}

static value add_slice(backward *b, value whole) {
  graph *g = b->around->graph;
  *ARENA_PUSH(g->arena, b->loop.operands, b->loop.n_operands, b->capacity) = whole;
  return region_parameter(b->body, "slice", b->loop.form.n_slices++, region_slice_type(graph_type(g, whole)), b->forward.where);
}

static bool is_invariant(const backward *b, uint32_t operand) { return operand >= b->r.n_carries + b->r.n_slices; }

/* Does the operand get a cotangent from this loop? */
static bool is_sought(const backward *b, uint32_t operand) {
  if (operand < b->r.n_carries) return b->operands[operand] && b->results[operand];
  return b->operands[operand] && b->r.parameters[operand] && b->leading[b->r.parameters[operand]];
}

static void add_operands(backward *b, value *seeds) {
  const uint32_t carries = b->r.n_carries;
  const value first = b->forward.first_result;
  const value *cotangent = b->around->cotangent;
  for (uint32_t k = 0; k < carries; k++)
    if (is_sought(b, k)) seeds[k] = add_state(b, k, cotangent[first + k]);
  for (uint32_t k = carries + b->r.n_slices; k < b->forward.n_operands; k++)
    if (is_sought(b, k)) add_state(b, k, 0);
  for (uint32_t k = 0; k < b->r.n_slices; k++) {
    value slice = add_slice(b, b->forward.operands[carries + k]);
    if (b->r.parameters[carries + k]) b->map[b->r.parameters[carries + k]] = slice;
  }
  for (uint32_t k = 0; k < carries; k++) b->map[b->r.parameters[k]] = add_slice(b, first + b->forward.n_results - carries + k);
  for (uint32_t k = carries; k < b->forward.n_results; k++)
    if (cotangent[first + k] && b->around->reached[first + k]) seeds[k] = add_slice(b, cotangent[first + k]);
  for (uint32_t k = carries + b->r.n_slices; k < b->forward.n_operands; k++) {
    graph *g = b->around->graph;
    *ARENA_PUSH(g->arena, b->loop.operands, b->loop.n_operands, b->capacity) = b->forward.operands[k];
    value parameter = region_parameter(b->body, "invariant", k - carries - b->r.n_slices, *graph_type(g, b->forward.operands[k]), b->forward.where);
    if (b->r.parameters[k]) b->map[b->r.parameters[k]] = parameter;
  }
  if (b->r.index) b->map[b->r.index] = graph_parameter(b->body, "index", "i", scalar_type(DTYPE_I32), b->forward.where);
}

/* The body again, and its derivative from the seeds of its results. */
static bool add_body(backward *b, const value *seeds, accumulation *inside) {
  const graph *from = b->forward.region;
  graph *body = b->body;
  rebuild copy = {.from = from, .into = body, .map = b->map, .context = b->around->rebuild->context, .pass = b->around->rebuild->pass};
  for (uint32_t i = 0; i < from->n_nodes && !copy.failed; i++)
    if (from->nodes[i].op != OP_PARAMETER) rebuild_copy(&copy, i);
  if (copy.failed) return !(b->around->rebuild->failed = true);
  value *x = ARENA_ARRAY(body->arena, value, b->forward.n_operands + 1);
  uint32_t n = 0;
  for (uint32_t k = 0; k < b->forward.n_operands; k++)
    if (b->operands[k] && b->r.parameters[k]) x[n++] = b->map[b->r.parameters[k]];
  *inside = (accumulation){.rebuild = b->around->rebuild, .graph = body, .cotangent = ARENA_ARRAY(body->arena, value, body->n_values)};
  inside->reached = graph_differentiable_from(body, x, n, body->arena);
  const uint32_t last = body->n_nodes - 1; /* of the body; seeds that meet add up behind it */
  for (uint32_t k = 0; k < b->forward.n_results; k++)
    if (seeds[k]) add_cotangent(inside, b->map[b->r.results[k]], seeds[k]);
  return pull_back(inside, 0, last);
}

/* What the iteration gives to operand k; 0: nothing. */
static value contribution(const backward *b, const accumulation *inside, uint32_t k) {
  return b->r.parameters[k] ? inside->cotangent[b->map[b->r.parameters[k]]] : 0;
}

/* Results of the body: next carries, cotangents of slices, and the carries at the start for derivatives of this loop. */
static void add_results(backward *b, const accumulation *inside, uint32_t *output) {
  graph *body = b->body;
  const span where = b->forward.where;
  uint32_t n = 0;
  for (uint32_t k = 0; k < b->forward.n_operands; k++) {
    value given = contribution(b, inside, k);
    if (!is_sought(b, k)) continue;
    if (is_invariant(b, k)) {
      value sum = given ? graph_binary(body, OP_ADD, b->state[k], given, where) : b->state[k];
      region_result(body, "state", b->number[k], sum, where);
      continue;
    }
    if (!given) given = graph_number(body, *graph_type(b->forward.region, b->r.parameters[k]), 0, where);
    if (k < b->r.n_carries) region_result(body, "state", b->number[k], given, where);
    else region_result(body, "output", output[k] = n++, given, where);
  }
  for (uint32_t k = 0; k < b->forward.n_operands; k++)
    if (b->state[k]) region_result(body, "output", n + b->number[k], b->state[k], where);
}

bool derive_repeat(accumulation *s, uint32_t node_index) {
  graph *g = s->graph;
  arena *a = g->arena;
  backward b = {.around = s, .forward = g->nodes[node_index]};
  const node *n = &b.forward;
  b.r = node_region(n, a);
  b.operands = ARENA_ARRAY(a, bool, n->n_operands + 1);
  b.results = ARENA_ARRAY(a, bool, n->n_results + 1);
  bool any = false;
  for (uint32_t k = 0; k < n->n_results; k++) any |= b.results[k] = s->cotangent[n->first_result + k] && s->reached[n->first_result + k];
  if (!any) return true;
  for (uint32_t k = 0; k < n->n_operands; k++) b.operands[k] = s->reached[n->operands[k]] && dtype_is_real(graph_type(g, n->operands[k])->dtype);
  region_depending_on(n, &b.r, b.operands, a);
  b.leading = region_leading_to(n, &b.r, b.results, a);
  b.body = graph_new(a, "region");
  b.map = ARENA_ARRAY(a, value, n->region->n_values);
  b.state = ARENA_ARRAY(a, value, n->n_operands + 1);
  b.number = ARENA_ARRAY(a, uint32_t, n->n_operands + 1);
  b.loop = (loop){.body = b.body, .form = {.times = b.r.times, .reverse = !b.r.reverse}, .where = n->where};
  value *seeds = ARENA_ARRAY(a, value, n->n_results + 1);
  uint32_t *output = ARENA_ARRAY(a, uint32_t, n->n_operands + 1);
  accumulation inside;
  add_operands(&b, seeds);
  if (!add_body(&b, seeds, &inside)) return false;
  add_results(&b, &inside, output);
  value made = add_loop(s->rebuild, g, &b.loop);
  for (uint32_t k = 0; made && k < n->n_operands; k++) {
    if (!is_sought(&b, k) || !s->reached[n->operands[k]]) continue;
    add_cotangent(s, n->operands[k], made + (b.state[k] ? b.number[k] : b.loop.form.n_carries + output[k]));
  }
  return made != 0;
}
