#include "ir/graph.h"
#include "ir/scan.h"

typedef struct {
  text_buffer out;
  const graph *graph;
  const sources *sources;
  const char *file; /* the one whose places need no name */
  uint32_t depth;   /* of regions */
} printer;

static void print_lines(printer *p, const graph *g);

static void print_attribute(printer *p, const attribute *a, dtype element) {
  text_add(&p->out, "%s=", attribute_names[a->key]);
  switch (attribute_kinds[a->key]) {
    case ATTR_KIND_INTEGER: text_add(&p->out, "%lld", (long long)a->as.integers[0]); break;
    case ATTR_KIND_INTEGERS:
      text_add(&p->out, "[");
      for (uint32_t i = 0; i < a->n; i++) text_add(&p->out, "%s%lld", i ? "," : "", (long long)a->as.integers[i]);
      text_add(&p->out, "]");
      break;
    case ATTR_KIND_SCALAR: text_add(&p->out, "%s", scalar_text(element, a->as.scalar, p->out.arena)); break;
    case ATTR_KIND_ELEMENTS:
      text_add(&p->out, "[");
      for (uint32_t i = 0; i < a->n; i++)
        text_add(&p->out, "%s%s", i ? "," : "", scalar_text(element, element_load(element, a->as.elements, i), p->out.arena));
      text_add(&p->out, "]");
      break;
    case ATTR_KIND_WORD: text_add(&p->out, "%s", a->as.text); break;
    case ATTR_KIND_TEXT: text_add(&p->out, "%s", quoted_text(a->as.text, p->out.arena)); break;
  }
}

static void print_place(printer *p, span where) {
  const source_file *f = p->sources ? sources_get(p->sources, where.file) : NULL;
  if (!f) return;
  position at = source_position(p->sources, where.file, where.start);
  text_add(&p->out, " @");
  if (strcmp(f->name, p->file)) text_add(&p->out, "%s:", quoted_text(f->name, p->out.arena));
  text_add(&p->out, "%u:%u", at.line, at.column);
}

static void print_node(printer *p, const node *n) {
  text_add(&p->out, "%*s", 2 + 2 * (int)p->depth, "");
  for (uint32_t i = 0; i < n->n_results; i++) text_add(&p->out, "%s%%%u", i ? ", " : "", n->first_result + i);
  text_add(&p->out, " = %s", op_table[n->op].name);
  if (n->n_operands) {
    text_add(&p->out, "(");
    for (uint32_t i = 0; i < n->n_operands; i++) text_add(&p->out, "%s%%%u", i ? ", " : "", n->operands[i]);
    text_add(&p->out, ")");
  }
  dtype element = graph_type(p->graph, n->first_result)->dtype;
  if (n->n_attributes) {
    text_add(&p->out, " {");
    for (uint32_t i = 0; i < n->n_attributes; i++) {
      if (i) text_add(&p->out, ", ");
      print_attribute(p, &n->attributes[i], element);
    }
    text_add(&p->out, "}");
  }
  text_add(&p->out, " :");
  for (uint32_t i = 0; i < n->n_results; i++)
    text_add(&p->out, "%s %s", i ? "," : "", type_text(graph_type(p->graph, n->first_result + i), p->out.arena));
  print_place(p, n->where);
  text_add(&p->out, n->region ? " {\n" : "\n");
  if (!n->region) return;
  p->depth++;
  print_lines(p, n->region);
  p->depth--;
  text_add(&p->out, "%*s}\n", 2 + 2 * (int)p->depth, "");
}

/* Nodes and results of a graph or a region. */
static void print_lines(printer *p, const graph *g) {
  const graph *around = p->graph;
  p->graph = g;
  for (uint32_t i = 0; i < g->n_nodes; i++) print_node(p, &g->nodes[i]);
  for (uint32_t i = 0; i < g->n_results; i++) {
    const graph_result *r = &g->results[i];
    text_add(&p->out, "%*sresult %s %s %%%u", 2 + 2 * (int)p->depth, "", r->role, quoted_text(r->name, p->out.arena), r->value);
    print_place(p, r->where);
    text_add(&p->out, "\n");
  }
  p->graph = around;
}

char *graph_print(const graph *g, const sources *s, arena *into) {
  printer p = {.out.arena = into, .sources = s, .file = ""};
  for (uint32_t i = 0; s && i < g->n_nodes && !*p.file; i++) {
    const source_file *f = sources_get(s, g->nodes[i].where.file);
    if (f) p.file = f->name;
  }
  text_add(&p.out, "graph %s", g->name);
  if (*p.file) text_add(&p.out, " from %s", quoted_text(p.file, into));
  text_add(&p.out, " {\n");
  print_lines(&p, g);
  text_add(&p.out, "}\n");
  return text_done(&p.out);
}
