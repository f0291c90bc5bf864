#include "tests/random_graph.h"

#include "ir/region.h"

uint64_t random_bits(random_source *r) { /* splitmix64 (Steele, Lea, Flood, 2014) */
  uint64_t z = (r->state += 0x9E3779B97F4A7C15u);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

uint32_t random_below(random_source *r, uint32_t n) { return (uint32_t)(random_bits(r) >> 33) % n; }

double random_real(random_source *r, double low, double high) {
  return low + (high - low) * (double)(random_bits(r) >> 11) / 9007199254740992.0;
}

typedef struct {
  random_source *random;
  graph *graph;
  dtype real;
  bool differentiable;
  uint32_t depth; /* of regions */
} maker;

static const span nowhere = {0};
enum { MOST_ELEMENTS = 2000, DEEPEST_REGION = 2 };

static uint32_t below(maker *m, uint32_t n) { return random_below(m->random, n); }

static int64_t random_size(maker *m) {
  static const int64_t sizes[] = {1, 2, 3, 4, 5, 7};
  return sizes[below(m, 6)];
}

static tensor_type random_type(maker *m, dtype t) {
  tensor_type type = {.dtype = t, .rank = 1 + below(m, 4)};
  for (uint32_t i = 0; i < type.rank; i++) type.dim[i] = random_size(m);
  return type;
}

static scalar random_element(random_source *r, dtype t) {
  if (dtype_is_real(t)) return scalar_round(t, (scalar){.real = random_real(r, -1.5, 1.5)});
  if (t == DTYPE_BOOL) return (scalar){.integer = random_below(r, 2)};
  return (scalar){.integer = (int64_t)random_below(r, 30) - (dtype_is_signed(t) ? 10 : 0)};
}

static void *random_elements(random_source *r, const tensor_type *t, arena *a) {
  void *data = arena_alloc(a, (size_t)type_bytes(t));
  for (int64_t e = 0; e < type_elements(t); e++) element_store(t->dtype, data, e, random_element(r, t->dtype));
  return data;
}

/* -- operands ------------------------------------------------------------------------------------------------ */

/* The element types of everything that is no real; none of them has a derivative. */
static const dtype whole[] = {DTYPE_I32, DTYPE_I64, DTYPE_U8, DTYPE_U32, DTYPE_BOOL};
enum { N_INTEGERS = 4, N_WHOLE = 5 };

/* Mostly the real type; of the others `most` are allowed. */
static dtype random_dtype(maker *m, uint32_t most) { return m->differentiable || below(m, 3) ? m->real : whole[below(m, most)]; }

static value leaf(maker *m, tensor_type type) {
  uint32_t kind = below(m, 8);
  if (kind == 0) return graph_splat(m->graph, type, random_element(m->random, type.dtype), nowhere);
  if (kind == 1) return graph_literal(m->graph, type, random_elements(m->random, &type, m->graph->arena), nowhere);
  if (kind == 2 && type.rank && (type.dtype == DTYPE_I32 || type.dtype == DTYPE_I64))
    return graph_iota(m->graph, type, below(m, type.rank), nowhere);
  if (m->depth) return graph_splat(m->graph, type, random_element(m->random, type.dtype), nowhere);
  return graph_parameter(m->graph, "data", arena_printf(m->graph->arena, "p%u", m->graph->n_nodes), type, nowhere);
}

static bool fits(const tensor_type *have, const tensor_type *wanted, bool any_rank, bool any_size) {
  if (have->dtype != wanted->dtype || (!any_rank && have->rank != wanted->rank)) return false;
  return any_rank || any_size ? type_elements(have) < MOST_ELEMENTS : shape_equal(have, wanted);
}

/* A value like `wanted` that is there already, or a new leaf. */
static value any_fitting(maker *m, tensor_type wanted, bool any_rank, bool any_size) {
  for (int tries = 0; m->graph->n_values > 1 && tries < 20; tries++) {
    value v = 1 + below(m, m->graph->n_values - 1);
    if (fits(graph_type(m->graph, v), &wanted, any_rank, any_size)) return v;
  }
  return leaf(m, wanted);
}

static value any_of(maker *m, dtype t) { return any_fitting(m, random_type(m, t), true, true); }
static value any_like(maker *m, tensor_type type) { return any_fitting(m, type, false, false); }

/* -- kinds of nodes, each 0 when it does not come about -------------------------------------------------------- */

/* Reals into the domain that the op is meant for, smoothly and away from its poles. */
static value in_domain(maker *m, value x, const char *domain) {
  tensor_type type = *graph_type(m->graph, x);
  if (!dtype_is_real(type.dtype) || !strcmp(domain, "any")) return x;
  value bounded = graph_unary(m->graph, OP_TANH, x, nowhere);
  if (!strcmp(domain, "unit") || !strcmp(domain, "small")) return bounded;
  return graph_binary(m->graph, OP_ADD, bounded, graph_number(m->graph, type, 1.5, nowhere), nowhere);
}

/* Whether finite differences see what the rule says: rules with a case distinction have kinks. */
static bool is_smooth(const op_info *info) {
  const char *rule = info->derivatives;
  return rule[strspn(rule, "; ")] && !strchr(rule, '<') && !strstr(rule, "floor") && info->rule != RULE_CAST && info != &op_table[OP_TF32];
}

/* Shifts mean something only by fewer bits than the narrowest type has. */
static bool is_shift(op_id op) { return op == OP_SHL || op == OP_SHR; }

static value elementwise(maker *m) {
  op_id op = (op_id)below(m, OP_COUNT);
  const op_info *info = &op_table[op];
  if (!info->elementwise || (m->differentiable && !is_smooth(info))) return 0;
  dtype t = m->real, declared_type = m->real;
  if (info->rule == RULE_RANDOM) t = DTYPE_U32;
  else if (is_shift(op)) t = whole[below(m, N_INTEGERS)];
  else if (info->rule == RULE_BITS) t = whole[below(m, N_WHOLE)];
  else if (info->rule == RULE_BITCAST) { /* of reals it would make much of the last bit */
    t = below(m, 2) ? DTYPE_I32 : DTYPE_U32;
    declared_type = t == DTYPE_I32 ? DTYPE_U32 : DTYPE_I32;
  } else if (info->rule == RULE_CAST) {
    t = random_dtype(m, N_WHOLE);
    if (dtype_is_real(t) || below(m, 2)) declared_type = whole[below(m, N_WHOLE)];
  } else if (info->rule == RULE_NUMBER) t = random_dtype(m, N_INTEGERS);
  else if (info->rule != RULE_REAL && info->rule != RULE_TEST) t = random_dtype(m, N_WHOLE);
  value x = any_of(m, t), operands[6] = {x};
  tensor_type type = *graph_type(m->graph, x), declared = type, condition = type;
  declared.dtype = declared_type;
  condition.dtype = DTYPE_BOOL;
  for (int i = 1; i < info->arity; i++) operands[i] = any_like(m, type);
  if (info->rule == RULE_SELECT) operands[0] = any_like(m, condition);
  for (int i = 0; i < info->arity; i++) operands[i] = in_domain(m, operands[i], info->domain);
  if (is_shift(op)) operands[1] = graph_binary(m->graph, OP_AND, operands[1], graph_number(m->graph, type, 7, nowhere), nowhere);
  const char *error;
  return graph_add(m->graph, op, operands, (uint32_t)info->arity, NULL, 0, &declared, nowhere, &error);
}

/* Two neighbouring axes merge, or one of size 1 appears. */
static value reshaped(maker *m, value x, const tensor_type *t) {
  int64_t dim[MAX_RANK];
  uint32_t n = 0, at = below(m, t->rank ? t->rank : 1);
  for (uint32_t i = 0; i < t->rank; i++)
    if (i && i == at) dim[n - 1] *= t->dim[i];
    else dim[n++] = t->dim[i];
  if (n < MAX_RANK - 2 && below(m, 2)) dim[n++] = 1;
  return graph_reshape(m->graph, x, n, dim, nowhere);
}

static value transposed(maker *m, value x, const tensor_type *t) {
  int64_t axes[MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++) axes[i] = i;
  for (uint32_t i = t->rank; i > 1; i--) {
    uint32_t k = below(m, i);
    int64_t last = axes[i - 1];
    axes[i - 1] = axes[k];
    axes[k] = last;
  }
  return graph_transpose(m->graph, x, axes, nowhere);
}

static value broadcasted(maker *m, value x, const tensor_type *t) {
  if (t->rank + 1 > 5) return 0;
  int64_t axes[MAX_RANK];
  tensor_type to = {.dtype = t->dtype, .rank = t->rank + 1};
  uint32_t at = below(m, to.rank);
  to.dim[at] = 1 + below(m, 4);
  for (uint32_t i = 0; i < t->rank; i++) {
    axes[i] = i + (i >= at);
    to.dim[axes[i]] = t->dim[i] == 1 && below(m, 2) ? 3 : t->dim[i];
  }
  return type_elements(&to) < 2 * MOST_ELEMENTS ? graph_broadcast(m->graph, x, to, axes, nowhere) : 0;
}

static value sliced(maker *m, value x, const tensor_type *t) {
  int64_t start[MAX_RANK], stop[MAX_RANK], stride[MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++) {
    if (t->dim[i] == 0) return 0;
    start[i] = below(m, (uint32_t)t->dim[i]);
    stop[i] = start[i] + 1 + below(m, (uint32_t)(t->dim[i] - start[i]));
    stride[i] = 1 + below(m, 2);
  }
  return graph_slice(m->graph, x, start, stop, stride, nowhere);
}

static value padded(maker *m, value x, const tensor_type *t) {
  int64_t low[MAX_RANK], high[MAX_RANK], interior[MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++) {
    interior[i] = below(m, 2);
    low[i] = (int64_t)below(m, 4) - (t->dim[i] > 1);
    high[i] = (int64_t)below(m, 3) - (t->dim[i] > 2);
  }
  return graph_pad(m->graph, x, low, high, interior, 0.5, nowhere);
}

static value reversed(maker *m, value x, const tensor_type *t) {
  int64_t axis = below(m, t->rank ? t->rank : 1);
  return graph_reverse(m->graph, x, &axis, t->rank != 0, nowhere);
}

static value concatenated(maker *m, value x, const tensor_type *t) {
  if (!t->rank) return 0;
  value parts[3] = {x, any_like(m, *t), x};
  return graph_concat(m->graph, parts, 2 + below(m, 2), below(m, t->rank), nowhere);
}

static value view(maker *m) {
  static value (*const views[])(maker *, value, const tensor_type *) = {reshaped, transposed, broadcasted, sliced,
                                                                         padded,   reversed,   concatenated};
  value x = any_of(m, random_dtype(m, N_WHOLE));
  tensor_type t = *graph_type(m->graph, x);
  return views[below(m, sizeof views / sizeof *views)](m, x, &t);
}

static value index_for(maker *m, tensor_type shape, int64_t extent) {
  shape.dtype = DTYPE_I32;
  if (shape.rank && below(m, 3) == 0) return graph_iota(m->graph, shape, below(m, shape.rank), nowhere);
  int32_t *items = ARENA_ARRAY(m->graph->arena, int32_t, type_elements(&shape) + 1);
  for (int64_t i = 0; i < type_elements(&shape); i++) items[i] = (int32_t)below(m, (uint32_t)extent + 2) - 1;
  return graph_literal(m->graph, shape, items, nowhere);
}

static value indexed(maker *m) {
  bool gathers = below(m, 2);
  dtype element = random_dtype(m, gathers ? N_WHOLE : N_INTEGERS);
  value x = any_of(m, element), indices[MAX_RANK];
  tensor_type t = *graph_type(m->graph, x), shape = random_type(m, element);
  if (!t.rank || type_elements(&t) == 0) return 0;
  if (gathers) {
    for (uint32_t i = 0; i < t.rank; i++) indices[i] = index_for(m, shape, t.dim[i]);
    return graph_gather(m->graph, x, indices, nowhere);
  }
  for (uint32_t i = 0; i < shape.rank; i++) indices[i] = index_for(m, t, shape.dim[i]);
  return graph_scatter_add(m->graph, x, indices, shape, nowhere);
}

static value contract(maker *m) {
  static const char *const specs[] = {
      "i,k; k,j -> i,j",
      "b,i,k; b,j,k -> b,i,j",
      "i; j -> i,j",
      "i; i ->",
      "i,j; i -> i",
      "; i -> i",
      "i; i -> i,j",
      "n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q",
      "n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q",
      "n,g,c,p+r-1; g,k,c,r -> n,g,k,p",
      "n,g,p+2*r-2; g,k,r -> n,g,k,p",
      "n,g,p+r-1,q+s-1; g,r,s -> n,g,p,q",
      "n,c,3*p+2*r-2; k,c,r -> n,k,p",
      "n,c,p-r+1; k,c,r -> n,k,p",
      "n,k,(h-r+1)/2; k,c,r -> n,c,h",
      "n,k,(h-2*r+1)/3; k,c,r -> n,c,h",
      "n,c,2*p+r-1; n,k,p -> k,c,r",
      "p+r,p+s; r,s -> p",
  };
  const char *spec = specs[below(m, sizeof specs / sizeof *specs)], *error = NULL;
  const contraction *c = contraction_parse(spec, m->graph->arena, &error);
  tensor_type x = {.dtype = random_dtype(m, N_INTEGERS), .rank = c->rank[0]}, y = {.dtype = x.dtype, .rank = c->rank[1]};
  tensor_type out = {.dtype = x.dtype, .rank = c->result_rank};
  int64_t extent[MAX_CONTRACTION_AXES];
  for (uint32_t i = 0; i < c->n_axes; i++) extent[i] = 1 + below(m, c->n_axes > 6 ? 3 : 5);
  for (uint32_t d = 0; d < x.rank; d++) x.dim[d] = random_size(m);
  value left = any_fitting(m, x, false, true);
  x = *graph_type(m->graph, left);
  for (uint32_t d = 0; d < x.rank; d++)
    if (index_is_plain(&c->operand[0][d])) extent[c->operand[0][d].term[0].axis] = x.dim[d];
  for (uint32_t d = 0; d < y.rank; d++)
    y.dim[d] = index_is_plain(&c->operand[1][d]) ? extent[c->operand[1][d].term[0].axis] : random_size(m);
  for (uint32_t d = 0; d < out.rank; d++) out.dim[d] = extent[c->result[d]];
  double terms = 1;
  for (uint32_t i = 0; i < c->n_axes; i++) terms *= (double)extent[i];
  if (terms > 1e5 || type_elements(&out) > 2 * MOST_ELEMENTS) return 0;
  return graph_contract(m->graph, left, any_like(m, y), spec, &out, nowhere);
}

static value reduction(maker *m) {
  value x = any_of(m, random_dtype(m, N_INTEGERS));
  tensor_type t = *graph_type(m->graph, x);
  int64_t axes[MAX_RANK];
  uint32_t n = 0;
  if (!t.rank || type_elements(&t) == 0) return 0;
  if (!m->differentiable && below(m, 4) == 0) return graph_argmax(m->graph, x, below(m, t.rank), nowhere);
  for (uint32_t i = 0; i < t.rank; i++)
    if (below(m, 2)) axes[n++] = i;
  return graph_reduce(m->graph, !m->differentiable && below(m, 2) ? OP_REDUCE_MAX : OP_REDUCE_SUM, x, axes, n, nowhere);
}

/* -- loops ------------------------------------------------------------------------------------------------------ */

static void add_nodes(maker *m, uint32_t n_nodes);

enum { MOST_OPERANDS = 6 };

/* Bounded, so that iterations do not let it grow. */
static value next_carry(maker *m, tensor_type type) {
  value v = any_like(m, type);
  return dtype_is_real(type.dtype) ? graph_unary(m->graph, OP_TANH, v, nowhere) : v;
}

/* Values at hand as carries, slices and invariants of a region of a few nodes. */
static value looped(maker *m) {
  maker inside = {m->random, graph_new(m->graph->arena, "region"), m->real, m->differentiable, m->depth + 1};
  region_view form = {.times = 1 + below(m, 4), .n_carries = below(m, 3), .n_slices = below(m, 3), .reverse = below(m, 2)};
  value operands[MOST_OPERANDS];
  tensor_type carry[2];
  uint32_t n = 0, n_invariants = below(m, 3), n_outputs = 0;
  const char *error = NULL;
  for (uint32_t k = 0; k < form.n_carries; k++) {
    operands[n++] = any_of(m, random_dtype(m, N_WHOLE));
    carry[k] = *graph_type(m->graph, operands[k]);
    region_parameter(inside.graph, "state", k, carry[k], nowhere);
  }
  for (uint32_t k = 0; k < form.n_slices; k++) {
    tensor_type slice = random_type(m, random_dtype(m, N_WHOLE));
    operands[n++] = any_like(m, region_stacked_type(&slice, form.times));
    region_parameter(inside.graph, "slice", k, slice, nowhere);
  }
  for (uint32_t k = 0; k < n_invariants; k++) {
    operands[n] = any_of(m, random_dtype(m, N_WHOLE));
    region_parameter(inside.graph, "invariant", k, *graph_type(m->graph, operands[n++]), nowhere);
  }
  if (below(m, 2)) graph_parameter(inside.graph, "index", "i", scalar_type(DTYPE_I32), nowhere);
  add_nodes(&inside, inside.graph->n_nodes + 2 + below(m, 6));
  for (uint32_t k = 0; k < form.n_carries; k++) region_result(inside.graph, "state", k, next_carry(&inside, carry[k]), nowhere);
  for (value v = inside.graph->n_values - 1; v > 0 && n_outputs < 2; v--) {
    const tensor_type *t = graph_type(inside.graph, v);
    if (t->rank < 5 && type_elements(t) * form.times < MOST_ELEMENTS) region_result(inside.graph, "output", n_outputs++, v, nowhere);
  }
  return inside.graph->n_results ? graph_repeat(m->graph, &form, inside.graph, operands, n, nowhere, &error) : 0;
}

/* -- whole graphs --------------------------------------------------------------------------------------------------- */

/* Up to 5 reals from value `last` down end in one scalar, through tanh so that no term drowns the others. */
static value one_scalar(maker *m, value last) {
  static const int64_t axes[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
  value total = 0;
  uint32_t n = 0;
  for (value v = last; v > 0 && n < 5; v--) {
    tensor_type type = *graph_type(m->graph, v);
    if (type.dtype != m->real) continue;
    value sum = graph_reduce(m->graph, OP_REDUCE_SUM, graph_unary(m->graph, OP_TANH, v, nowhere), axes, type.rank, nowhere);
    total = total ? graph_binary(m->graph, OP_ADD, total, sum, nowhere) : sum;
    n++;
  }
  return total;
}

static void add_nodes(maker *m, uint32_t n_nodes) {
  for (uint32_t tries = 0; m->graph->n_nodes < n_nodes && tries < 20 * n_nodes; tries++) {
    uint32_t kind = below(m, 21);
    if (kind < 8) elementwise(m);
    else if (kind < 14) view(m);
    else if (kind < 16) indexed(m);
    else if (kind < 18) contract(m);
    else if (kind < 20) reduction(m);
    else if (m->depth < DEEPEST_REGION) looped(m);
  }
}

static maker random_nodes(random_source *r, uint32_t n_nodes, dtype real, bool differentiable, arena *a) {
  maker m = {r, graph_new(a, "random"), real, differentiable, 0};
  graph_parameter(m.graph, "data", "p0", random_type(&m, real), nowhere);
  add_nodes(&m, n_nodes);
  return m;
}

graph *random_graph(random_source *r, uint32_t n_nodes, dtype real, bool differentiable, arena *a) {
  maker m = random_nodes(r, n_nodes, real, differentiable, a);
  if (differentiable) {
    graph_add_result(m.graph, "output", "o0", one_scalar(&m, m.graph->n_values - 1), nowhere);
    return m.graph;
  }
  uint32_t n_outputs = 0;
  for (value v = m.graph->n_values - 1; v > 0 && n_outputs < 4; v--)
    if (type_elements(graph_type(m.graph, v)) > 0 && graph_node(m.graph, v)->op != OP_PARAMETER)
      graph_add_result(m.graph, "output", arena_printf(a, "o%u", n_outputs++), v, nowhere);
  return m.graph;
}

graph *random_training_graph(random_source *r, uint32_t n_nodes, dtype real, arena *a) {
  enum { MOST_PARAMETERS = 3 };
  maker m = random_nodes(r, n_nodes, real, true, a);
  value by[MOST_PARAMETERS], made = m.graph->n_values;
  uint32_t n = 0;
  for (value v = 1; v < made && n < MOST_PARAMETERS; v++)
    if (graph_node(m.graph, v)->op == OP_PARAMETER && graph_type(m.graph, v)->dtype == real) by[n++] = v;
  value first = one_scalar(&m, made - 1), second = one_scalar(&m, made - 1 - below(&m, (made - 1) / 2 + 1));
  value slopes = graph_grad(m.graph, first, by, n, nowhere);
  value bent = graph_binary(m.graph, OP_ADD, one_scalar(&m, slopes + n - 1), second, nowhere);
  value again = graph_grad(m.graph, bent, by, n, nowhere);
  graph_add_result(m.graph, "metric", "first", first, nowhere);
  graph_add_result(m.graph, "metric", "second", second, nowhere);
  for (uint32_t i = 0; i < n; i++) {
    graph_add_result(m.graph, "output", arena_printf(a, "slope%u", i), slopes + i, nowhere);
    graph_add_result(m.graph, "output", arena_printf(a, "again%u", i), again + i, nowhere);
  }
  return m.graph;
}

graph_binding *random_bindings(random_source *r, const graph *g, arena *a, uint32_t *n) {
  graph_binding *items = NULL;
  uint32_t capacity = 0;
  *n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *at = &g->nodes[i];
    if (at->op != OP_PARAMETER) continue;
    const void *data = random_elements(r, graph_type(g, at->first_result), a);
    *ARENA_PUSH(a, items, *n, capacity) =
        (graph_binding){node_attribute(at, ATTR_ROLE)->as.text, node_attribute(at, ATTR_NAME)->as.text, data};
  }
  return items;
}
