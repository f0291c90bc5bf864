/* Storage of the graph, and questions about it. */
#include "ir/graph_internal.h"
#include "ir/region.h"

graph *graph_new(arena *a, const char *name) {
  graph *g = ARENA_NEW(a, graph);
  g->arena = a;
  g->name = arena_string(a, name);
  ARENA_PUSH(a, g->values, g->n_values, g->values_capacity);
  return g;
}

static attribute copy_attribute(graph *g, const attribute *from, dtype element) {
  attribute to = *from;
  switch (attribute_kinds[from->key]) {
    case ATTR_KIND_INTEGER:
    case ATTR_KIND_INTEGERS: to.as.integers = arena_copy(g->arena, from->as.integers, from->n * sizeof(int64_t)); break;
    case ATTR_KIND_ELEMENTS: to.as.elements = arena_copy(g->arena, from->as.elements, from->n * dtype_bytes(element)); break;
    case ATTR_KIND_WORD:
    case ATTR_KIND_TEXT: to.as.text = arena_string(g->arena, from->as.text); break;
    case ATTR_KIND_SCALAR: break;
  }
  return to;
}

/* Checks the node, infers its types and adds it with copies of its operands and attributes. */
static value add_node(graph *g, node n, const tensor_type *declared, const char **error) {
  const value *operands = n.operands;
  const attribute *attributes = n.attributes;
  for (uint32_t i = 0; i < n.n_operands; i++)
    if (operands[i] == 0 || operands[i] >= g->n_values) {
      *error = "an operand is missing";
      return 0;
    }
  if ((*error = check_schema(&n, g->arena))) return 0;
  if (n.op == OP_CONTRACT && !(n.contraction = contraction_parse(node_attribute(&n, ATTR_SPEC)->as.text, g->arena, error))) return 0;
  tensor_type *types = ARENA_ARRAY(g->arena, tensor_type, n.n_results ? n.n_results : 1);
  if ((*error = infer_types(g, &n, declared, types, g->arena))) return 0;

  n.operands = arena_copy(g->arena, operands, n.n_operands * sizeof *operands);
  attribute *copies = ARENA_ARRAY(g->arena, attribute, n.n_attributes);
  for (uint32_t i = 0; i < n.n_attributes; i++) copies[i] = copy_attribute(g, &attributes[i], types[0].dtype);
  n.attributes = copies;
  n.first_result = g->n_values;
  uint32_t number = g->n_nodes;
  *ARENA_PUSH(g->arena, g->nodes, g->n_nodes, g->nodes_capacity) = n;
  for (uint32_t i = 0; i < n.n_results; i++) {
    ARENA_PUSH(g->arena, g->values, g->n_values, g->values_capacity);
    g->values[g->n_values - 1].type = types[i];
    g->values[g->n_values - 1].node = number;
    g->values[g->n_values - 1].result = i;
  }
  return n.first_result;
}

value graph_add(graph *g, op_id op, const value *operands, uint32_t n_operands, const attribute *attributes,
                uint32_t n_attributes, const tensor_type *declared, span where, const char **error) {
  node n = {.op = op, .n_operands = n_operands, .n_attributes = n_attributes, .n_results = 1, .operands = operands, .attributes = attributes, .where = where};
  if (op == OP_GRAD) n.n_results = n_operands ? n_operands - 1 : 0;
  return add_node(g, n, declared, error);
}

value graph_add_repeat(graph *g, const value *operands, uint32_t n_operands, const attribute *attributes, uint32_t n_attributes,
                       const graph *region, span where, const char **error) {
  node n = {.op = OP_REPEAT, .n_operands = n_operands, .n_attributes = n_attributes, .n_results = region->n_results, .operands = operands, .attributes = attributes,
            .where = where, .region = region};
  return add_node(g, n, NULL, error);
}

void graph_add_result(graph *g, const char *role, const char *name, value v, span where) {
  *ARENA_PUSH(g->arena, g->results, g->n_results, g->results_capacity) =
      (graph_result){arena_string(g->arena, role), arena_string(g->arena, name), v, where};
}

/* -- reading ----------------------------------------------------------------------------------------------- */

const attribute *node_attribute(const node *n, attribute_key key) {
  for (uint32_t i = 0; i < n->n_attributes; i++)
    if (n->attributes[i].key == key) return &n->attributes[i];
  return NULL;
}

const int64_t *node_integers(const node *n, attribute_key key) { return node_attribute(n, key)->as.integers; }
int64_t node_axis(const node *n) { return node_attribute(n, ATTR_AXIS)->as.integers[0]; }

int64_t node_integer(const node *n, attribute_key key) {
  const attribute *a = node_attribute(n, key);
  return a ? a->as.integers[0] : 0;
}

const void *attribute_content(const attribute *a, dtype type, size_t *bytes) {
  switch (attribute_kinds[a->key]) {
    case ATTR_KIND_INTEGER:
    case ATTR_KIND_INTEGERS: return *bytes = a->n * sizeof *a->as.integers, a->as.integers;
    case ATTR_KIND_SCALAR: return *bytes = sizeof a->as.scalar, &a->as.scalar;
    case ATTR_KIND_ELEMENTS: return *bytes = a->n * dtype_bytes(type), a->as.elements;
    default: return *bytes = strlen(a->as.text), a->as.text;
  }
}

bool node_same_attributes(const node *a, const node *b, dtype type) {
  if (a->n_attributes != b->n_attributes) return false;
  for (uint32_t i = 0; i < a->n_attributes; i++) {
    size_t x_bytes, y_bytes;
    const void *x = attribute_content(&a->attributes[i], type, &x_bytes), *y = attribute_content(&b->attributes[i], type, &y_bytes);
    if (a->attributes[i].key != b->attributes[i].key || x_bytes != y_bytes || (x_bytes && memcmp(x, y, x_bytes))) return false;
  }
  return true;
}

bool graph_is_stack(const graph *g, value v, int64_t *axis) {
  const node *n = graph_node(g, v);
  if (n->op != OP_CONCAT || n->n_operands > MOST_STACKED) return false;
  *axis = node_axis(n);
  for (uint32_t i = 0; i < n->n_operands; i++)
    if (graph_type(g, n->operands[i])->dim[*axis] != 1) return false;
  return true;
}

bool graph_splat_value(const graph *g, value v, scalar *out) {
  for (;;) {
    const node *n = graph_node(g, v);
    switch (n->op) {
      case OP_CONSTANT: {
        const attribute *number = node_attribute(n, ATTR_VALUE);
        if (number) *out = number->as.scalar;
        return number != NULL;
      }
      case OP_RESHAPE:
      case OP_TRANSPOSE:
      case OP_BROADCAST:
      case OP_SLICE:
      case OP_REVERSE: v = n->operands[0]; break;
      default: return false;
    }
  }
}

/* Whether a derivative flows from a result of the node to its i-th operand. */
static bool carries_derivative(const graph *g, const node *n, uint32_t i) {
  if (!dtype_is_real(graph_type(g, n->operands[i])->dtype)) return false;
  if (!op_table[n->op].elementwise) return true;
  const char *text = op_table[n->op].derivatives;
  for (; i && *text; text++) i -= *text == ';';
  text += strspn(text, " ");
  return *text && *text != ';';
}

static bool is_real(const graph *g, value v) { return dtype_is_real(graph_type(g, v)->dtype); }

/* Marks the results of a repeat that depend on its marked operands. */
static void flow_out_of_repeat(const graph *g, const node *n, bool *reached, arena *scratch) {
  region_view r = node_region(n, scratch);
  bool *operands = ARENA_ARRAY(scratch, bool, n->n_operands + 1);
  for (uint32_t k = 0; k < n->n_operands; k++) operands[k] = reached[n->operands[k]] && is_real(g, n->operands[k]);
  const bool *inside = region_depending_on(n, &r, operands, scratch);
  for (uint32_t k = 0; k < n->n_results; k++) reached[n->first_result + k] |= inside[r.results[k]];
}

/* Marks the operands that marked results depend on. */
static void flow_into_repeat(const node *n, bool *reached, arena *scratch) {
  region_view r = node_region(n, scratch);
  bool *results = arena_copy(scratch, &reached[n->first_result], n->n_results * sizeof *results);
  const bool *inside = region_leading_to(n, &r, results, scratch);
  for (uint32_t k = 0; k < n->n_operands; k++) reached[n->operands[k]] |= r.parameters[k] && inside[r.parameters[k]];
}

bool *graph_differentiable_from(const graph *g, const value *x, uint32_t n, arena *scratch) {
  bool *reached = ARENA_ARRAY(scratch, bool, g->n_values);
  for (uint32_t i = 0; i < n; i++) reached[x[i]] = true;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *at = &g->nodes[i];
    bool any = false;
    for (uint32_t k = 0; k < at->n_operands && !any; k++) any = reached[at->operands[k]] && carries_derivative(g, at, k);
    if (any && at->op == OP_REPEAT) {
      flow_out_of_repeat(g, at, reached, scratch);
      continue;
    }
    for (uint32_t k = 0; any && k < at->n_results; k++)
      if (is_real(g, at->first_result + k)) reached[at->first_result + k] = true;
  }
  return reached;
}

bool *graph_differentiable_to(const graph *g, value y, arena *scratch) { return graph_differentiable_to_any(g, &y, 1, scratch); }

bool *graph_differentiable_to_any(const graph *g, const value *y, uint32_t n, arena *scratch) {
  bool *reached = ARENA_ARRAY(scratch, bool, g->n_values);
  for (uint32_t i = 0; i < n; i++) reached[y[i]] = true;
  for (uint32_t i = g->n_nodes; i-- > 0;) {
    const node *at = &g->nodes[i];
    bool any = false;
    for (uint32_t k = 0; k < at->n_results; k++) any |= reached[at->first_result + k];
    if (any && at->op == OP_REPEAT) {
      flow_into_repeat(at, reached, scratch);
      continue;
    }
    for (uint32_t k = 0; any && k < at->n_operands; k++)
      if (carries_derivative(g, at, k)) reached[at->operands[k]] = true;
  }
  return reached;
}
