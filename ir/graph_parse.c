#include <stdlib.h>

#include "ir/graph.h"
#include "ir/scan.h"

enum { MOST_ITEMS = 1 << 24, DEEPEST_REGION = 16 };

typedef struct {
  scanner s;
  graph *graph;
  const char *file; /* of places without a name */
  uint32_t depth;   /* of regions */
} parser;

static graph *parse_region(parser *p);

/* Numbers in brackets. */
static bool parse_integers(parser *p, attribute *a) {
  int64_t *items = NULL;
  uint32_t n = 0, capacity = 0;
  if (!scan_expect(&p->s, "[")) return false;
  while (!scan_accept(&p->s, "]")) {
    int64_t v;
    if (n && !scan_expect(&p->s, ",")) return false;
    if (!scan_integer(&p->s, &v)) return false;
    if (n == MOST_ITEMS) return scan_fail(&p->s, "too many numbers");
    *ARENA_PUSH(p->graph->arena, items, n, capacity) = v;
  }
  a->n = n;
  a->as.integers = items;
  return true;
}

static bool parse_elements(parser *p, attribute *a, dtype element) {
  scalar *items = NULL;
  uint32_t n = 0, capacity = 0;
  if (!scan_expect(&p->s, "[")) return false;
  while (!scan_accept(&p->s, "]")) {
    scalar v;
    if (n && !scan_expect(&p->s, ",")) return false;
    if (!scan_scalar(&p->s, element, &v)) return false;
    if (n == MOST_ITEMS) return scan_fail(&p->s, "too many elements");
    *ARENA_PUSH(p->graph->arena, items, n, capacity) = v;
  }
  void *packed = arena_alloc(p->graph->arena, n * dtype_bytes(element));
  for (uint32_t i = 0; i < n; i++) element_store(element, packed, i, items[i]);
  a->n = n;
  a->as.elements = packed;
  return true;
}

static bool parse_attribute(parser *p, attribute *a, dtype element) {
  const char *name;
  if (!scan_word(&p->s, &name) || !scan_expect(&p->s, "=")) return false;
  int key = 0;
  while (key < ATTR_COUNT && strcmp(attribute_names[key], name)) key++;
  if (key == ATTR_COUNT) return scan_reject(&p->s, "%s is no attribute", name);
  a->key = (attribute_key)key;
  a->n = 1;
  switch (attribute_kinds[key]) {
    case ATTR_KIND_INTEGER: {
      int64_t *number = ARENA_NEW(p->graph->arena, int64_t);
      a->as.integers = number;
      return scan_integer(&p->s, number);
    }
    case ATTR_KIND_INTEGERS: return parse_integers(p, a);
    case ATTR_KIND_SCALAR: return scan_scalar(&p->s, element, &a->as.scalar);
    case ATTR_KIND_ELEMENTS: return parse_elements(p, a, element);
    case ATTR_KIND_WORD: return scan_word(&p->s, &a->as.text);
    default: return scan_string(&p->s, &a->as.text);
  }
}

static bool parse_place(parser *p, span *out) {
  *out = (span){0};
  if (!scan_accept(&p->s, "@")) return true;
  const char *file = p->file;
  int64_t line, column;
  if (scan_accept(&p->s, "\"")) {
    p->s.at--;
    if (!scan_string(&p->s, &file) || !scan_expect(&p->s, ":")) return false;
  }
  if (!scan_integer(&p->s, &line) || !scan_expect(&p->s, ":") || !scan_integer(&p->s, &column)) return false;
  if (!file || line < 1 || line >= 1 << 20 || column < 1 || column >= 1 << 20) return scan_fail(&p->s, "a place that is in no file");
  *out = source_place(p->s.d->sources, file, (uint32_t)line, (uint32_t)column);
  return true;
}

static bool parse_value(parser *p, value *out) {
  int64_t v;
  if (!scan_expect(&p->s, "%") || !scan_integer(&p->s, &v)) return false;
  if (v < 1 || v >= p->graph->n_values) return scan_fail(&p->s, "%%%lld is not defined above", (long long)v);
  *out = (value)v;
  return true;
}

/* The attribute list stands before the type that says how to read numbers: it is skipped, and read when
 * the type is known. */
static bool skip_attributes(parser *p) {
  bool quoted = false;
  for (; p->s.at < p->s.end; p->s.at++) {
    char c = p->s.text[p->s.at];
    if (quoted && c == '\\') p->s.at++;
    else if (c == '"') quoted = !quoted;
    else if (c == '}' && !quoted) {
      p->s.at++;
      return true;
    } else if (c == '\n') break;
  }
  return scan_fail(&p->s, "expected } behind the attributes");
}

static bool parse_node(parser *p) {
  int64_t first;
  uint32_t n_results = 0;
  span start = scan_place(&p->s), where;
  do {
    int64_t v;
    if (!scan_expect(&p->s, "%") || !scan_integer(&p->s, &v)) return false;
    if (v != (int64_t)p->graph->n_values + n_results) return scan_fail(&p->s, "values are numbered in order: expected %%%u", p->graph->n_values + n_results);
    first = v - n_results++;
  } while (scan_accept(&p->s, ","));
  const char *name;
  if (!scan_expect(&p->s, "=") || !scan_word(&p->s, &name)) return false;
  op_id op = op_from_name(name, strlen(name));
  if (op == OP_COUNT) return scan_reject(&p->s, "%s is no primitive", name);
  value *operands = NULL;
  uint32_t n_operands = 0, operands_capacity = 0;
  if (scan_accept(&p->s, "("))
    do {
      value v;
      if (!parse_value(p, &v)) return false;
      *ARENA_PUSH(p->graph->arena, operands, n_operands, operands_capacity) = v;
    } while (!scan_accept(&p->s, ")") && scan_expect(&p->s, ","));
  uint32_t attributes_at = 0;
  if (!p->s.failed && scan_accept(&p->s, "{")) {
    attributes_at = p->s.at;
    if (!skip_attributes(p)) return false;
  }
  tensor_type *types = ARENA_ARRAY(p->graph->arena, tensor_type, n_results);
  if (!scan_expect(&p->s, ":")) return false;
  for (uint32_t i = 0; i < n_results; i++)
    if ((i && !scan_expect(&p->s, ",")) || !scan_type(&p->s, &types[i])) return false;
  if (!parse_place(p, &where)) return false;

  attribute attributes[ATTR_COUNT];
  uint32_t n_attributes = 0;
  if (attributes_at) {
    uint32_t behind = p->s.at;
    p->s.at = attributes_at;
    do {
      if (n_attributes == ATTR_COUNT) return scan_fail(&p->s, "too many attributes");
      if (!parse_attribute(p, &attributes[n_attributes++], types[0].dtype)) return false;
    } while (scan_accept(&p->s, ","));
    if (!scan_expect(&p->s, "}")) return false;
    p->s.at = behind;
  }
  const char *error = NULL;
  const graph *region = op == OP_REPEAT ? parse_region(p) : NULL;
  if (p->s.failed) return false;
  value made = region ? graph_add_repeat(p->graph, operands, n_operands, attributes, n_attributes, region, where, &error)
                      : graph_add(p->graph, op, operands, n_operands, attributes, n_attributes, &types[0], where, &error);
  if (!made) {
    diagnose(p->s.d, DIAG_IR_INVALID, start, "%s", error);
    p->s.failed = true;
    return false;
  }
  const node *n = graph_node(p->graph, made);
  bool agree = made == (value)first && n->n_results == n_results;
  for (uint32_t i = 0; agree && i < n_results; i++) {
    agree = type_equal(&types[i], graph_type(p->graph, made + i));
    if (!agree)
      diagnose(p->s.d, DIAG_IR_INVALID, start, "the text says %s, the rule of %s gives %s", type_text(&types[i], p->graph->arena), name,
               type_text(graph_type(p->graph, made + i), p->graph->arena));
  }
  if (!agree && n->n_results != n_results) diagnose(p->s.d, DIAG_IR_INVALID, start, "%s has %u results here", name, n->n_results);
  p->s.failed |= !agree;
  return agree;
}

static bool parse_result(parser *p) {
  const char *role, *name;
  value v;
  span where;
  if (!scan_word(&p->s, &role) || !scan_string(&p->s, &name) || !parse_value(p, &v) || !parse_place(p, &where)) return false;
  graph_add_result(p->graph, role, name, v, where);
  return true;
}

/* Nodes and results up to the brace that closes the graph. */
static void parse_lines(parser *p) {
  while (!p->s.failed && !scan_accept(&p->s, "}")) {
    if (scan_accept_word(&p->s, "result")) parse_result(p);
    else parse_node(p);
  }
}

static graph *parse_region(parser *p) {
  graph *around = p->graph, *made = graph_new(around->arena, "region");
  if (!scan_expect(&p->s, "{")) return NULL;
  if (p->depth == DEEPEST_REGION) {
    scan_fail(&p->s, "regions within regions are at most %d deep", DEEPEST_REGION);
    return NULL;
  }
  p->graph = made;
  p->depth++;
  parse_lines(p);
  p->depth--;
  p->graph = around;
  return p->s.failed ? NULL : made;
}

graph *graph_parse(arena *a, uint32_t file, diagnostics *d) {
  parser p = {.s = scan_start(file, 0, d)};
  const char *name;
  if (!scan_expect_word(&p.s, "graph") || !scan_word(&p.s, &name)) return NULL;
  p.graph = graph_new(a, name);
  if (scan_accept_word(&p.s, "from") && !scan_string(&p.s, &p.file)) return NULL;
  if (!scan_expect(&p.s, "{")) return NULL;
  parse_lines(&p);
  if (!p.s.failed && !scan_at_end(&p.s)) scan_fail(&p.s, "expected nothing behind the graph");
  if (p.s.failed) return NULL;
  const char *error = graph_verify(p.graph, a);
  if (!error) return p.graph;
  diagnose(d, DIAG_IR_INVALID, (span){file, 0, 5}, "%s", error);
  return NULL;
}
