#include "tests/random_graph.h"

uint64_t random_bits(random_source *r) { /* splitmix64 (Steele, Lea, Flood, 2014) */
  uint64_t z = (r->state += 0x9E3779B97F4A7C15u);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

uint32_t random_below(random_source *r, uint32_t n) { return (uint32_t)(random_bits(r) >> 33) % n; }
double random_real(random_source *r, double low, double high) { return low + (high - low) * (double)(random_bits(r) >> 11) / 9007199254740992.0; }

typedef struct {
  random_source *random;
  graph *graph;
  dtype real;
  bool differentiable;
} maker;

static uint32_t below(maker *m, uint32_t n) { return random_below(m->random, n); }

static tensor_type random_type(maker *m, dtype t) {
  static const int64_t sizes[] = {1, 2, 3, 4, 5, 7};
  tensor_type type = {.dtype = t, .rank = 1 + below(m, 4)};
  for (uint32_t i = 0; i < type.rank; i++) type.dim[i] = sizes[below(m, 6)];
  return type;
}

static value parameter(maker *m, tensor_type type) {
  return graph_parameter(m->graph, "data", arena_printf(m->graph->arena, "p%u", m->graph->n_nodes), type, (span){0});
}

/* A value of that element type that is there already, or a new parameter. */
static value any_of(maker *m, dtype t) {
  for (int tries = 0; m->graph->n_values > 1 && tries < 20; tries++) {
    value v = 1 + below(m, m->graph->n_values - 1);
    if (graph_type(m->graph, v)->dtype == t && type_elements(graph_type(m->graph, v)) < 2000) return v;
  }
  return parameter(m, random_type(m, t));
}

static value any_like(maker *m, tensor_type type) {
  for (int tries = 0; tries < 20; tries++) {
    value v = 1 + below(m, m->graph->n_values - 1);
    if (type_equal(graph_type(m->graph, v), &type)) return v;
  }
  return parameter(m, type);
}

static const dtype integers[] = {DTYPE_I32, DTYPE_I64, DTYPE_U8, DTYPE_U32};

static value elementwise(maker *m) {
  op_id op = (op_id)below(m, OP_COUNT);
  const op_info *info = &op_table[op];
  if (!info->elementwise || op == OP_BITCAST) return 0;
  bool smooth = strspn(info->derivatives, "; ") < strlen(info->derivatives);
  if (m->differentiable && (!smooth || info->rule == RULE_SELECT || info->rule == RULE_CAST)) return 0;
  /* Of a random program only ops that stay finite on any input; poles are the business of unit tests. */
  if (op == OP_POW || op == OP_LOG || op == OP_SQRT || op == OP_RSQRT || op == OP_DIV || op == OP_EXP || op == OP_MOD || op == OP_FLOOR_DIV) return 0;
  if (m->differentiable && (op == OP_ABS || op == OP_MAX || op == OP_MIN)) return 0;
  dtype t = m->real;
  if (info->rule == RULE_BITS || (!m->differentiable && info->rule != RULE_REAL && info->rule != RULE_TEST && below(m, 3) == 0)) t = integers[below(m, 4)];
  if (info->rule == RULE_RANDOM) t = DTYPE_U32;
  value x = any_of(m, t);
  tensor_type type = *graph_type(m->graph, x);
  value operands[6] = {x};
  for (int i = 1; i < info->arity; i++) operands[i] = any_like(m, type);
  if (info->rule == RULE_SELECT) {
    tensor_type condition = type;
    condition.dtype = DTYPE_BOOL;
    operands[0] = any_like(m, condition);
  }
  tensor_type declared = type;
  declared.dtype = dtype_is_real(t) ? integers[below(m, 2)] : m->real;
  const char *error;
  return graph_add(m->graph, op, operands, (uint32_t)info->arity, NULL, 0, info->rule == RULE_CAST ? &declared : NULL, (span){0}, &error);
}

static value view(maker *m) {
  value x = any_of(m, m->real);
  tensor_type t = *graph_type(m->graph, x);
  int64_t a[MAX_RANK], b[MAX_RANK], c[MAX_RANK];
  switch (below(m, 7)) {
    case 0: { /* reshape: two neighbouring axes merge, or a size-1 axis appears */
      uint32_t n = 0, at = below(m, t.rank ? t.rank : 1);
      for (uint32_t i = 0; i < t.rank; i++)
        if (i && i == at) a[n - 1] *= t.dim[i];
        else a[n++] = t.dim[i];
      if (n < MAX_RANK - 2 && below(m, 2)) a[n++] = 1;
      return graph_reshape(m->graph, x, n, a, (span){0});
    }
    case 1:
      for (uint32_t i = 0; i < t.rank; i++) a[i] = i;
      for (uint32_t i = t.rank; i > 1; i--) {
        uint32_t k = below(m, i);
        int64_t swap = a[i - 1];
        a[i - 1] = a[k];
        a[k] = swap;
      }
      return graph_transpose(m->graph, x, a, (span){0});
    case 2: {
      if (t.rank + 1 > 5) return 0;
      tensor_type to = t;
      uint32_t at = below(m, t.rank + 1);
      for (uint32_t i = t.rank; i > at; i--) to.dim[i] = t.dim[i - 1];
      to.dim[at] = 1 + below(m, 4);
      to.rank++;
      for (uint32_t i = 0; i < t.rank; i++) {
        a[i] = i + (i >= at);
        if (t.dim[i] == 1 && below(m, 2)) to.dim[a[i]] = 3;
      }
      return type_elements(&to) < 4000 ? graph_broadcast(m->graph, x, to, a, (span){0}) : 0;
    }
    case 3:
      for (uint32_t i = 0; i < t.rank; i++) {
        if (t.dim[i] == 0) return 0;
        a[i] = below(m, (uint32_t)t.dim[i]);
        b[i] = a[i] + 1 + below(m, (uint32_t)(t.dim[i] - a[i]));
        c[i] = 1 + below(m, 2);
      }
      return graph_slice(m->graph, x, a, b, c, (span){0});
    case 4:
      for (uint32_t i = 0; i < t.rank; i++) {
        c[i] = below(m, 2);
        a[i] = (int64_t)below(m, 4) - (t.dim[i] > 1);
        b[i] = (int64_t)below(m, 3) - (t.dim[i] > 2);
      }
      return graph_pad(m->graph, x, a, b, c, 0.5, (span){0});
    case 5:
      a[0] = below(m, t.rank ? t.rank : 1);
      return graph_reverse(m->graph, x, a, t.rank ? 1 : 0, (span){0});
    default: {
      if (!t.rank) return 0;
      value both[3] = {x, any_like(m, t), x};
      return graph_concat(m->graph, both, 2 + below(m, 2), below(m, t.rank), (span){0});
    }
  }
}

static value index_for(maker *m, tensor_type shape, int64_t extent) {
  shape.dtype = DTYPE_I32;
  if (shape.rank && below(m, 3) == 0) return graph_iota(m->graph, shape, below(m, shape.rank), (span){0});
  int32_t *items = ARENA_ARRAY(m->graph->arena, int32_t, type_elements(&shape) + 1);
  for (int64_t i = 0; i < type_elements(&shape); i++) items[i] = (int32_t)below(m, (uint32_t)extent + 2) - 1;
  return graph_literal(m->graph, shape, items, (span){0});
}

static value indexed(maker *m) {
  value x = any_of(m, m->real), indices[MAX_RANK];
  tensor_type t = *graph_type(m->graph, x), shape = random_type(m, m->real);
  if (!t.rank || type_elements(&t) == 0) return 0;
  if (below(m, 2)) {
    for (uint32_t i = 0; i < t.rank; i++) indices[i] = index_for(m, shape, t.dim[i]);
    return graph_gather(m->graph, x, indices, (span){0});
  }
  for (uint32_t i = 0; i < shape.rank; i++) indices[i] = index_for(m, t, shape.dim[i]);
  return graph_scatter_add(m->graph, x, indices, shape, (span){0});
}

static value contract(maker *m) {
  static const struct {
    const char *spec;
    uint32_t rank[2];
    int64_t dim[2][5];
  } cases[] = {
      {"i,k; k,j -> i,j", {2, 2}, {{3, 5}, {5, 4}}},
      {"b,i,k; b,j,k -> b,i,j", {3, 3}, {{2, 3, 4}, {2, 5, 4}}},
      {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", {4, 4}, {{2, 3, 5, 4}, {4, 3, 3, 3}}},
      {"n,c,2*p+r-1; k,c,r -> n,k,p", {3, 3}, {{2, 3, 7}, {2, 3, 3}}},
      {"n,g,p+2*r-2; g,k,r -> n,g,k,p", {3, 3}, {{2, 3, 5}, {3, 2, 3}}},
      {"i; j -> i,j", {1, 1}, {{4}, {3}}},
      {"i; i -> ", {1, 1}, {{5}, {5}}},
  };
  uint32_t at = below(m, sizeof cases / sizeof *cases);
  tensor_type x = make_type(m->real, cases[at].rank[0], cases[at].dim[0]), y = make_type(m->real, cases[at].rank[1], cases[at].dim[1]), out;
  static const struct {
    uint32_t rank;
    int64_t dim[5];
  } results[] = {{2, {3, 4}}, {3, {2, 3, 5}}, {4, {2, 4, 5, 4}}, {3, {2, 2, 4}}, {4, {2, 3, 2, 5}}, {2, {4, 3}}, {0, {0}}};
  out = make_type(m->real, results[at].rank, results[at].dim);
  return graph_contract(m->graph, any_like(m, x), any_like(m, y), cases[at].spec, &out, (span){0});
}

static value reduction(maker *m) {
  value x = any_of(m, m->real);
  tensor_type t = *graph_type(m->graph, x);
  int64_t axes[MAX_RANK];
  uint32_t n = 0;
  if (!t.rank || type_elements(&t) == 0) return 0;
  if (!m->differentiable && below(m, 4) == 0) return graph_argmax(m->graph, x, below(m, t.rank), (span){0});
  for (uint32_t i = 0; i < t.rank; i++)
    if (below(m, 2)) axes[n++] = i;
  return graph_reduce(m->graph, !m->differentiable && below(m, 2) ? OP_REDUCE_MAX : OP_REDUCE_SUM, x, axes, n, (span){0});
}

graph *random_graph(random_source *r, uint32_t n_nodes, dtype real, bool differentiable, arena *a) {
  maker m = {r, graph_new(a, "random"), real, differentiable};
  parameter(&m, random_type(&m, real));
  for (uint32_t tries = 0; m.graph->n_nodes < n_nodes && tries < 20 * n_nodes; tries++) {
    uint32_t kind = below(&m, 10);
    if (kind < 4) elementwise(&m);
    else if (kind < 7) view(&m);
    else if (kind < 8) indexed(&m);
    else if (kind < 9) contract(&m);
    else reduction(&m);
  }
  uint32_t n_outputs = 0;
  if (!differentiable) {
    for (value v = m.graph->n_values - 1; v > 0 && n_outputs < 4; v--)
      if (type_elements(graph_type(m.graph, v)) > 0 && graph_node(m.graph, v)->op != OP_PARAMETER)
        graph_add_result(m.graph, "output", arena_printf(a, "o%u", n_outputs++), v, (span){0});
    return m.graph;
  }
  /* Everything that was made ends in one scalar, through tanh so that no term drowns the others. */
  value total = 0;
  uint32_t made = m.graph->n_values;
  for (value v = made - 1; v > 0 && n_outputs < 5; v--) {
    if (graph_type(m.graph, v)->dtype != real) continue;
    int64_t axes[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    value bounded = graph_unary(m.graph, OP_TANH, v, (span){0});
    value sum = graph_reduce(m.graph, OP_REDUCE_SUM, bounded, axes, graph_type(m.graph, v)->rank, (span){0});
    total = total ? graph_binary(m.graph, OP_ADD, total, sum, (span){0}) : sum;
    n_outputs++;
  }
  graph_add_result(m.graph, "output", "o0", total, (span){0});
  return m.graph;
}

graph_binding *random_bindings(random_source *r, const graph *g, arena *a, uint32_t *n) {
  graph_binding *items = NULL;
  uint32_t capacity = 0;
  *n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *at = &g->nodes[i];
    if (at->op != OP_PARAMETER) continue;
    const tensor_type *t = graph_type(g, at->first_result);
    char *data = arena_alloc(a, (size_t)type_bytes(t) + 1);
    for (int64_t e = 0; e < type_elements(t); e++) {
      scalar v;
      if (dtype_is_real(t->dtype)) v.real = random_real(r, -1.5, 1.5);
      else v.integer = t->dtype == DTYPE_BOOL ? random_below(r, 2) : (int64_t)random_below(r, 30) - (dtype_is_signed(t->dtype) ? 10 : 0);
      element_store(t->dtype, data, e, v);
    }
    *ARENA_PUSH(a, items, *n, capacity) =
        (graph_binding){node_attribute(at, ATTR_ROLE)->as.text, node_attribute(at, ATTR_NAME)->as.text, data};
  }
  return items;
}
