/* The graph as a picture: a box a node, an edge an operand, and a cluster around what one line of the
 * program became. */
#include <stdlib.h>

#include "ir/graph.h"
#include "ir/scan.h"

typedef struct {
  uint32_t node;
  uint32_t file, line; /* 0: from no line */
} placed;

static int by_line(const void *left, const void *right) {
  const placed *a = left, *b = right;
  if (a->file != b->file) return a->file < b->file ? -1 : 1;
  if (a->line != b->line) return a->line < b->line ? -1 : 1;
  return a->node < b->node ? -1 : 1;
}

/* Quoted by the rules of Graphviz: escapes of its own stand for line ends. */
static const char *label(const char *text, arena *a) {
  text_buffer out = {.arena = a};
  for (; *text; text++) text_add(&out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  return text_done(&out);
}

static const char *name_of(const node *n, arena *a) {
  const attribute *name = node_attribute(n, ATTR_NAME), *spec = node_attribute(n, ATTR_SPEC);
  const char *text = name ? name->as.text : spec ? spec->as.text : n->region ? arena_printf(a, "%lld times", (long long)node_integer(n, ATTR_TIMES)) : "";
  return *text ? arena_printf(a, "%s %s", op_table[n->op].name, label(text, a)) : op_table[n->op].name;
}

static void add_node(text_buffer *out, const graph *g, uint32_t number, arena *a) {
  const node *n = &g->nodes[number];
  text_add(out, "    n%u [label=\"%s\\n%s\"%s];\n", number, name_of(n, a), type_text(graph_type(g, n->first_result), a),
           n->op == OP_PARAMETER ? " style=filled fillcolor=lightgrey" : "");
}

static const char *line_text(const sources *s, placed at, arena *a) {
  const source_file *f = sources_get(s, at.file);
  uint32_t start = source_offset(s, at.file, at.line, 1);
  const char *line = start < f->length ? f->text + start : "";
  line += strspn(line, " \t");
  size_t length = strcspn(line, "\n");
  return arena_printf(a, "%s:%u%s%s", f->name, at.line, length ? "  " : "", arena_substring(a, line, length));
}

char *graph_dot(const graph *g, const sources *s, arena *into) {
  text_buffer out = {.arena = into};
  placed *order = ARENA_ARRAY(into, placed, g->n_nodes);
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    span where = g->nodes[i].where;
    bool known = s && sources_get(s, where.file);
    order[i] = (placed){i, known ? where.file : 0, known ? source_position(s, where.file, where.start).line : 0};
  }
  if (g->n_nodes) qsort(order, g->n_nodes, sizeof *order, by_line);
  text_add(&out, "digraph \"%s\" {\n  node [shape=box fontname=monospace];\n", label(g->name, into));
  for (uint32_t i = 0, end; i < g->n_nodes; i = end) {
    for (end = i; end < g->n_nodes && order[end].file == order[i].file && order[end].line == order[i].line;) end++;
    if (order[i].file) text_add(&out, "  subgraph cluster_%u {\n    label=\"%s\";\n", i, label(line_text(s, order[i], into), into));
    for (uint32_t k = i; k < end; k++) add_node(&out, g, order[k].node, into);
    if (order[i].file) text_add(&out, "  }\n");
  }
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t k = 0; k < g->nodes[i].n_operands; k++) text_add(&out, "  n%u -> n%u;\n", g->values[g->nodes[i].operands[k]].node, i);
  for (uint32_t i = 0; i < g->n_results; i++) {
    text_add(&out, "  r%u [label=\"%s %s\" shape=ellipse];\n", i, g->results[i].role, label(g->results[i].name, into));
    text_add(&out, "  n%u -> r%u;\n", g->values[g->results[i].value].node, i);
  }
  text_add(&out, "}\n");
  return text_done(&out);
}
