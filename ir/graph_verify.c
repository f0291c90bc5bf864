#include "ir/graph_internal.h"

/* A set of names in one role, as an open hash table. */
typedef struct {
  const char **role, **name;
  uint32_t size;
} name_set;

static name_set new_set(arena *a, uint32_t n) {
  name_set s = {.size = 16};
  while (s.size < 2 * n) s.size *= 2;
  s.role = ARENA_ARRAY(a, const char *, s.size);
  s.name = ARENA_ARRAY(a, const char *, s.size);
  return s;
}

/* False when it was there already. */
static bool insert(name_set *s, const char *role, const char *name) {
  uint64_t h = 1469598103934665603u;
  for (const char *p = role; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
  for (const char *p = name; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
  uint32_t i = (uint32_t)h & (s->size - 1);
  for (; s->name[i]; i = (i + 1) & (s->size - 1))
    if (!strcmp(s->role[i], role) && !strcmp(s->name[i], name)) return false;
  s->role[i] = role;
  s->name[i] = name;
  return true;
}

static const char *verify_node(const graph *g, const node *n, name_set *parameters, arena *scratch) {
  if (n->op >= OP_COUNT) return "a node of no known op";
  for (uint32_t i = 0; i < n->n_operands; i++)
    if (n->operands[i] == 0 || n->operands[i] >= n->first_result) return arena_printf(scratch, "%%%u uses a value that comes later", n->first_result);
  const char *error = check_schema(n, scratch);
  if (error) return error;
  if ((n->op == OP_CONTRACT) != (n->contraction != NULL)) return "a contraction without its parsed spec";
  if ((n->op == OP_REPEAT) != (n->region != NULL)) return "a repeat without a region";
  if (n->region && (error = graph_verify(n->region, scratch))) return arena_printf(scratch, "in its region %s", error);
  tensor_type *types = ARENA_ARRAY(scratch, tensor_type, n->n_results ? n->n_results : 1);
  if ((error = infer_types(g, n, &g->values[n->first_result].type, types, scratch))) return error;
  for (uint32_t i = 0; i < n->n_results; i++)
    if (!type_equal(&types[i], graph_type(g, n->first_result + i)))
      return arena_printf(scratch, "%%%u has type %s, its rule gives %s", n->first_result + i,
                          type_text(graph_type(g, n->first_result + i), scratch), type_text(&types[i], scratch));
  if (n->op == OP_PARAMETER && !insert(parameters, node_attribute(n, ATTR_ROLE)->as.text, node_attribute(n, ATTR_NAME)->as.text))
    return arena_printf(scratch, "two parameters are %s \"%s\"", node_attribute(n, ATTR_ROLE)->as.text, node_attribute(n, ATTR_NAME)->as.text);
  return NULL;
}

const char *graph_verify(const graph *g, arena *scratch) {
  name_set parameters = new_set(scratch, g->n_nodes), results = new_set(scratch, g->n_results);
  value next = 1;
  bool has_states = false;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    if (n->first_result != next) return arena_printf(scratch, "results of node %u are out of order", i);
    next += n->n_results;
    const char *error = verify_node(g, n, &parameters, scratch);
    if (error) return arena_printf(scratch, "%%%u = %s: %s", n->first_result, op_table[n->op].name, error);
    has_states |= n->op == OP_PARAMETER && !strcmp(node_attribute(n, ATTR_ROLE)->as.text, "state");
  }
  if (next != g->n_values) return "values without a node";
  for (uint32_t i = 0; i < g->n_results; i++) {
    const graph_result *r = &g->results[i];
    if (r->value == 0 || r->value >= g->n_values) return arena_printf(scratch, "result %s \"%s\" is no value", r->role, r->name);
    if (strcmp(r->role, "state") && strcmp(r->role, "metric") && strcmp(r->role, "output"))
      return arena_printf(scratch, "a result is state, metric or output, not %s", r->role);
    if (!insert(&results, r->role, r->name)) return arena_printf(scratch, "two results are %s \"%s\"", r->role, r->name);
  }
  if (!has_states) return NULL; /* a graph that makes the first states has results only */
  name_set state = new_set(scratch, g->n_nodes);
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    if (n->op != OP_PARAMETER || strcmp(node_attribute(n, ATTR_ROLE)->as.text, "state")) continue;
    const char *name = node_attribute(n, ATTR_NAME)->as.text;
    const char *typed = arena_printf(scratch, "%s : %s", name, type_text(graph_type(g, n->first_result), scratch));
    insert(&state, "state", typed);
  }
  for (uint32_t i = 0; i < g->n_results; i++) {
    const graph_result *r = &g->results[i];
    if (strcmp(r->role, "state")) continue;
    const char *typed = arena_printf(scratch, "%s : %s", r->name, type_text(graph_type(g, r->value), scratch));
    if (insert(&state, "state", typed)) return arena_printf(scratch, "state \"%s\" is written but no parameter of that type is read", typed);
  }
  return NULL;
}
