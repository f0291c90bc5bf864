/* Which values stand in memory. A value that does not is computed again wherever it is used; that costs
 * its operations and the reads of its inputs at every point of every use. One that does costs a write,
 * and a read at every use. The cheaper of the two is taken, from the last value to the first, so that the
 * uses of a value are decided before the value is. */
#include "passes/fuse.h"

/* Time in units of one simple vectorised operation on one element. Memory moves about as many bytes as
 * four such operations process elements; what lies in a cache costs one. A launch stands for the tasks
 * handed to the pool; and a contraction reads an element often, but packs it, so its reuse is bounded. */
enum { BYTE_COST = 4, LAUNCH_COST = 20000, CONTRACTION_REUSE = 64, SCALAR_POINTS = 64 };
enum { LARGEST_INLINED = 100, MOST_LEAVES = 10, MOST_USES = 12, FEW_OPERATIONS = 4, SCATTERED = 16 };

/* A kernel (by its root) that computes the value at `points` points, by way of the views whose hash is
 * `path`: equal roots and paths mean equal indices, so the value is computed once for all of them. */
typedef struct {
  value root;
  uint64_t path;
  int64_t points;
} use;

typedef struct {
  use *items;
  uint32_t n, capacity;
  int64_t further_points; /* of uses beyond MOST_USES */
} use_list;

typedef struct {
  value value;
  uint64_t path;
  uint32_t stamp;
} visit;

/* What computing a value anew takes, at one point. */
typedef struct {
  double operations;
  uint32_t n_nodes, n_leaves;
  value leaves[MOST_LEAVES];
  bool too_large;
} effort;

enum { VISITS = 1024 };
typedef struct {
  const graph *graph;
  const squares *squares;
  arena *arena;
  bool *materialised, *is_result, *gathered;
  uint32_t *n_consumers; /* nodes that name the value */
  use_list *uses;
  visit visits[VISITS];
  uint32_t stamp;
} policy;

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 31;
}

/* Through a view: the same for equal views, whatever their operand. */
static uint64_t path_through(const policy *p, value v, uint32_t operand, uint64_t path) {
  const node *n = graph_node(p->graph, v);
  if (n->op == OP_GATHER) return operand == 0 ? mix(path, v) : path;
  if (value_role(p->graph, v) != ROLE_VIEW) return path;
  const tensor_type *t[2] = {graph_type(p->graph, v), graph_type(p->graph, n->operands[operand])};
  path = mix(mix(path, n->op), n->op == OP_CONCAT ? operand : 0);
  for (uint32_t i = 0; i < n->n_attributes; i++)
    for (uint32_t j = 0; attribute_kinds[n->attributes[i].key] <= ATTR_KIND_INTEGERS && j < n->attributes[i].n; j++)
      path = mix(path, (uint64_t)n->attributes[i].as.integers[j]);
  for (uint32_t i = 0; i < 2; i++)
    for (uint32_t j = 0; j < t[i]->rank; j++) path = mix(path, (uint64_t)t[i]->dim[j]);
  return path;
}

/* -- effort ---------------------------------------------------------------------------------------------- */

static bool is_number(const graph *g, value v) {
  scalar ignored;
  return graph_splat_value(g, v, &ignored);
}

/* A wider cast of a real: as good as what it is made from, which takes fewer bytes. And what a matrix unit does itself. */
static bool widens(const graph *g, value v) {
  const node *n = graph_node(g, v);
  if (n->op == OP_TF32) return true;
  if (n->op != OP_CAST) return false;
  dtype from = graph_type(g, n->operands[0])->dtype, to = graph_type(g, v)->dtype;
  return dtype_is_real(from) && dtype_is_real(to) && dtype_bytes(from) < dtype_bytes(to);
}

/* A row of such a view is put together from short runs of what it shows, one element at a time: patches of an image. */
static bool scatters(const graph *g, value v) {
  enum { SHORT_RUN = 16 };
  const node *n = graph_node(g, v), *inner = n->op == OP_RESHAPE ? graph_node(g, n->operands[0]) : n;
  if (inner == n || inner->op != OP_TRANSPOSE) return false;
  const tensor_type *parts = graph_type(g, inner->first_result), *joined = graph_type(g, v);
  return joined->rank && parts->dim[parts->rank - 1] < SHORT_RUN && parts->dim[parts->rank - 1] < joined->dim[joined->rank - 1];
}

/* Casts, signs and constant factors vanish in what surrounds them; rounding to bf16 does not. */
static double operation_cost(const graph *g, const node *n) {
  const op_info *info = &op_table[n->op];
  if (!info->elementwise) return n->op == OP_GATHER ? 4 : scatters(g, n->first_result) ? SCATTERED : 0;
  if (n->op == OP_CAST && graph_type(g, n->first_result)->dtype == DTYPE_BF16) return 4;
  if (info->arity == 1 &&
      (info->rule == RULE_CAST || info->rule == RULE_BITCAST || info->rule == RULE_SAME || n->op == OP_NEG))
    return 0.25;
  if (n->op == OP_MUL && (is_number(g, n->operands[0]) || is_number(g, n->operands[1]))) return 0.25;
  return !strcmp(info->lowering, "native") ? 1 : !strcmp(info->lowering, "math") ? 20 : 4;
}

static bool visit_first(policy *p, value v, uint64_t path) {
  for (uint64_t at = mix(path, v);; at++) {
    visit *slot = &p->visits[at % VISITS];
    if (slot->stamp == p->stamp && slot->value == v && slot->path == path) return false;
    if (slot->stamp == p->stamp) continue;
    *slot = (visit){v, path, p->stamp};
    return true;
  }
}

static void add_effort(policy *p, value v, uint64_t path, effort *e) {
  if (e->too_large || !visit_first(p, v, path)) return;
  const node *n = graph_node(p->graph, v);
  for (uint32_t i = 0; i < n->n_operands; i++) {
    value x = n->operands[i];
    uint64_t inner = path_through(p, v, i, path);
    if (!p->materialised[x]) {
      add_effort(p, x, inner, e);
      continue;
    }
    uint32_t at = 0;
    while (at < e->n_leaves && e->leaves[at] != x) at++;
    if (at < e->n_leaves) continue;
    if (at == MOST_LEAVES) e->too_large = true;
    else e->leaves[e->n_leaves++] = x;
  }
  e->operations += operation_cost(p->graph, n);
  if (++e->n_nodes > LARGEST_INLINED) e->too_large = true;
}

static effort effort_of(policy *p, value v) {
  effort e = {.operations = 0};
  p->stamp++;
  add_effort(p, v, 0, &e);
  return e;
}

/* -- decision ---------------------------------------------------------------------------------------------- */

static double elements(const policy *p, value v) { return (double)type_elements(graph_type(p->graph, v)); }
static double element_bytes(const policy *p, value v) { return (double)dtype_bytes(graph_type(p->graph, v)->dtype); }

static double read_time(const policy *p, value v, double points) {
  double size = elements(p, v);
  return (points < size ? points : size) * element_bytes(p, v) * BYTE_COST + points;
}

static double compute_time(const policy *p, const effort *e, double points) {
  double time = points * e->operations;
  for (uint32_t i = 0; i < e->n_leaves; i++) time += read_time(p, e->leaves[i], points);
  return time;
}

/* A map of what a reduction gives is computed in its kernel, and written instead of that when nobody else
 * wants it. */
static bool follows_reduction(const policy *p, const effort *e, double size) {
  for (uint32_t i = 0; i < e->n_leaves; i++) {
    value leaf = e->leaves[i];
    if (value_role(p->graph, leaf) == ROLE_ANCHOR && p->n_consumers[leaf] == 1 && elements(p, leaf) == size)
      return true;
  }
  return false;
}

static bool is_cheaper_in_memory(policy *p, value v) {
  const use_list *uses = &p->uses[v];
  effort e = effort_of(p, v);
  if (e.too_large) return true;
  if (!e.n_leaves && e.operations <= FEW_OPERATIONS) return false; /* numbers of places */
  double size = elements(p, v), inlined = 0;
  double stored = size * e.operations;
  if (!follows_reduction(p, &e, size))
    stored = compute_time(p, &e, size) + size * element_bytes(p, v) * BYTE_COST + LAUNCH_COST;
  for (uint32_t i = 0; i <= uses->n; i++) {
    double points = (double)(i < uses->n ? uses->items[i].points : uses->further_points);
    double computed = size == 1 && points > SCALAR_POINTS ? SCALAR_POINTS : points; /* leaves the loops */
    inlined += compute_time(p, &e, computed);
    stored += read_time(p, v, points);
  }
  return stored < inlined;
}

static bool decide(policy *p, value v) {
  bool used = p->uses[v].n > 0;
  int64_t axis;
  if (p->squares->inside[v]) return false;
  if (p->squares->operand[v]) return true;
  switch (value_role(p->graph, v)) {
  case ROLE_LEAF: return true;
  case ROLE_ANCHOR: return used || p->is_result[v];
  case ROLE_VIEW:
    if (used && scatters(p->graph, v)) return p->gathered[v] || is_cheaper_in_memory(p, v);
    return graph_is_stack(p->graph, v, &axis) && used && is_cheaper_in_memory(p, v); /* as a result it is a copy, and others look through it */
  case ROLE_MAP: return p->is_result[v] || (used && !widens(p->graph, v) && is_cheaper_in_memory(p, v));
  }
  return false;
}

/* -- uses -------------------------------------------------------------------------------------------------- */

static void add_use(policy *p, value v, use u) {
  use_list *l = &p->uses[v];
  for (uint32_t i = 0; i < l->n; i++)
    if (l->items[i].root == u.root && l->items[i].path == u.path) return;
  if (l->n == MOST_USES) l->further_points += u.points;
  else *ARENA_PUSH(p->arena, l->items, l->n, l->capacity) = u;
}

static int64_t points_of_operand(const policy *p, value v, uint32_t operand) {
  const node *n = graph_node(p->graph, v);
  int64_t own = type_elements(graph_type(p->graph, v)),
          size = type_elements(graph_type(p->graph, n->operands[operand]));
  if (value_role(p->graph, v) != ROLE_ANCHOR) return own;
  if (n->op != OP_CONTRACT) return size;
  int64_t other = type_elements(graph_type(p->graph, n->operands[1 - operand]));
  /* work = own * reduced, and own * other * size = work^2 / batch: the root of it, for one operand */
  double reuse = size > 0 ? (double)own * (double)other / (double)size : 1;
  double bounded = reuse < 1                                       ? 1
                   : reuse > CONTRACTION_REUSE * CONTRACTION_REUSE ? CONTRACTION_REUSE
                                                                   : __builtin_sqrt(reuse);
  return (int64_t)((double)size * bounded);
}

static void use_operands(policy *p, value v) {
  const node *n = graph_node(p->graph, v);
  const use_list *uses = &p->uses[v];
  bool split = n->op == OP_CONTRACT; /* its operands have indices of their own */
  if (n->op == OP_REPEAT) return;
  for (uint32_t i = 0; i < n->n_operands; i++) {
    value x = n->operands[i];
    if (value_role(p->graph, x) == ROLE_LEAF) continue;
    if (p->materialised[v] || p->is_result[v])
      add_use(p, x, (use){v, path_through(p, v, i, split ? i + 1 : 0), points_of_operand(p, v, i)});
    if (p->materialised[v]) continue;
    for (uint32_t j = 0; j < uses->n; j++)
      add_use(p, x, (use){uses->items[j].root, path_through(p, v, i, uses->items[j].path), uses->items[j].points});
    p->uses[x].further_points += uses->further_points;
  }
}

/* A first guess, so that the effort of a value is known before the values it is made from are decided. */
static void guess(policy *p) {
  for (value v = 1; v < p->graph->n_values; v++) {
    fusion_role role = value_role(p->graph, v);
    bool shared = p->n_consumers[v] > 1 && operation_cost(p->graph, graph_node(p->graph, v)) >= 1;
    p->materialised[v] = p->squares->operand[v] || role == ROLE_LEAF || role == ROLE_ANCHOR || (role == ROLE_MAP && (shared || p->is_result[v]) && !p->squares->inside[v]);
  }
}

bool *choose_materialised(const graph *g, const squares *s, arena *a) {
  policy *p = ARENA_NEW(a, policy);
  p->graph = g;
  p->squares = s;
  p->arena = a;
  p->materialised = ARENA_ARRAY(a, bool, g->n_values);
  p->is_result = ARENA_ARRAY(a, bool, g->n_values);
  for (uint32_t i = 0; i < g->n_results; i++) p->is_result[g->results[i].value] = true;
  for (uint32_t i = 0; i < g->n_nodes; i++) /* what a loop reads stands in memory like a result */
    for (uint32_t k = 0; g->nodes[i].op == OP_REPEAT && k < g->nodes[i].n_operands; k++) p->is_result[g->nodes[i].operands[k]] = true;
  p->gathered = ARENA_ARRAY(a, bool, g->n_values);
  for (uint32_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == OP_GATHER) p->gathered[g->nodes[i].operands[0]] = true;
  p->n_consumers = ARENA_ARRAY(a, uint32_t, g->n_values);
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t j = 0; j < g->nodes[i].n_operands; j++) p->n_consumers[g->nodes[i].operands[j]]++;
  guess(p);
  for (int round = 0; round < 2; round++) { /* the second knows better what its inputs take */
    p->uses = ARENA_ARRAY(a, use_list, g->n_values);
    for (value v = g->n_values; v-- > 1;) {
      p->materialised[v] = decide(p, v);
      if (p->is_result[v] || p->uses[v].n) use_operands(p, v);
    }
  }
  for (value v = 1; v < g->n_values; v++) /* decisions upstream may have made an expression too long */
    if (value_role(g, v) == ROLE_MAP && !p->materialised[v] && p->uses[v].n && !s->inside[v])
      p->materialised[v] = effort_of(p, v).too_large;
  return p->materialised;
}
