/* Evaluation on other inputs than training: black and white images are followed through what stands in front of a model, in
 * the pretext and in eval, and a model that is used to -1..1 and gets 0..1 is found.
 *
 * An image of one grey value is one number, and most operations keep it one: draws take their middle (0.5 in 0..1), views and
 * gathers move pixels about, a product with what does not depend on the data resamples them (its weights add up to 1), the
 * rest is arithmetic. Where that says nothing, or the number does not depend on the image, no warning is raised. */
#include "frontend/elaborate.h"

#include <math.h>

enum { BLACK, WHITE, SHADES };

/* Per value of a graph. */
typedef struct {
  const graph *graph;
  double *shade[SHADES];
  bool *of_data, *of_model;
} shades;

static double literal_mean(const graph *g, const node *n) {
  const tensor_type *t = graph_type(g, n->first_result);
  const attribute *number = node_attribute(n, ATTR_VALUE), *literal = node_attribute(n, ATTR_LITERAL);
  double sum = 0;
  int64_t count = literal ? type_elements(t) : 1;
  for (int64_t i = 0; i < count; i++) {
    scalar v = literal ? element_load(t->dtype, literal->as.elements, i) : number->as.scalar;
    sum += dtype_is_real(t->dtype) ? v.real : (double)v.integer;
  }
  return count ? sum / (double)count : NAN;
}

static double parameter_shade(const graph *g, const node *n, int shade) {
  const char *role = node_attribute(n, ATTR_ROLE)->as.text;
  if (!strcmp(role, "data")) return graph_type(g, n->first_result)->dtype == DTYPE_U8 ? 255.0 * shade : shade;
  return strcmp(role, "state") ? 0 : NAN;
}

static double elementwise_shade(const graph *g, const node *n, const double *of) {
  dtype result = graph_type(g, n->first_result)->dtype, operand = graph_type(g, n->operands[n->op == OP_SELECT ? 1 : 0])->dtype;
  scalar x[6];
  for (uint32_t k = 0; k < n->n_operands; k++) {
    double v = of[n->operands[k]];
    bool real = dtype_is_real(graph_type(g, n->operands[k])->dtype);
    if (isnan(v) && !(n->op == OP_SELECT && k > 0)) return NAN;
    x[k] = real ? (scalar){.real = v} : (scalar){.integer = isnan(v) ? 0 : (int64_t)v};
  }
  scalar y = op_evaluate(n->op, operand, result, x);
  return dtype_is_real(result) ? y.real : (double)y.integer;
}

static double shade_of(const shades *s, const node *n, int shade) {
  const graph *g = s->graph;
  const double *of = s->shade[shade];
  const tensor_type *t = graph_type(g, n->first_result);
  double sum = 0;
  switch (n->op) {
    case OP_PARAMETER: return parameter_shade(g, n, shade);
    case OP_CONSTANT: return literal_mean(g, n);
    case OP_IOTA: return floor((double)(t->dim[node_axis(n)] - 1) / 2);
    case OP_RANDOM_BITS: return 0x80000000;
    case OP_ARGMAX: return 0; /* of equal ones the first */
    case OP_RESHAPE:
    case OP_TRANSPOSE:
    case OP_BROADCAST:
    case OP_SLICE:
    case OP_PAD:
    case OP_REVERSE:
    case OP_GATHER:
    case OP_REDUCE_MAX: return of[n->operands[0]];
    case OP_REDUCE_SUM: return of[n->operands[0]] * (double)type_elements(graph_type(g, n->operands[0])) / (double)type_elements(t);
    case OP_CONCAT:
      for (uint32_t k = 0; k < n->n_operands; k++) sum += of[n->operands[k]];
      return sum / n->n_operands;
    case OP_CONTRACT:
      if (s->of_data[n->operands[0]] == s->of_data[n->operands[1]]) return NAN;
      return of[n->operands[s->of_data[n->operands[0]] ? 0 : 1]];
    default: return op_table[n->op].elementwise ? elementwise_shade(g, n, of) : NAN;
  }
}

static shades find_shades(const elaborator *e, const graph *g, arena *scratch) {
  shades s = {.graph = g, .of_data = ARENA_ARRAY(scratch, bool, g->n_values), .of_model = ARENA_ARRAY(scratch, bool, g->n_values)};
  bool *inside = ARENA_ARRAY(scratch, bool, g->n_nodes + 1);
  for (int i = 0; i < SHADES; i++) s.shade[i] = ARENA_ARRAY(scratch, double, g->n_values);
  for (uint32_t i = 0; i < e->n_calls; i++)
    for (uint32_t k = e->calls[i].first_node; e->calls[i].graph == g && k < e->calls[i].end_node; k++) inside[k] = true;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *n = &g->nodes[i];
    bool of_data = n->op == OP_PARAMETER && !strcmp(node_attribute(n, ATTR_ROLE)->as.text, "data"), of_model = inside[i];
    for (uint32_t k = 0; k < n->n_operands; k++) of_data |= s.of_data[n->operands[k]], of_model |= s.of_model[n->operands[k]];
    for (uint32_t k = 0; k < n->n_results; k++) {
      value v = n->first_result + k;
      s.of_data[v] = of_data;
      s.of_model[v] = of_model;
      for (int shade = 0; shade < SHADES; shade++) s.shade[shade][v] = of_model ? NAN : shade_of(&s, n, shade);
    }
  }
  return s;
}

/* -- comparing -------------------------------------------------------------------------------------------------- */

static const model *family(const model *m) { return m->target ? m->follows : m; }

/* What the call sees of black and white; false when that is not known. */
static bool input_shades(const shades *s, const model_call *c, double out[SHADES]) {
  if (c->n_inputs != 1 || !dtype_is_real(graph_type(s->graph, c->inputs[0])->dtype) || !s->of_data[c->inputs[0]]) return false;
  for (int i = 0; i < SHADES; i++) out[i] = s->shade[i][c->inputs[0]];
  return isfinite(out[BLACK]) && isfinite(out[WHITE]) && fabs(out[WHITE] - out[BLACK]) > 1e-3;
}

static bool alike(const double x[SHADES], const double y[SHADES]) {
  double a = x[WHITE] - x[BLACK], b = y[WHITE] - y[BLACK], wide = fmax(fabs(a), fabs(b));
  return fabs(a - b) < 0.4 * wide && fabs(x[BLACK] - y[BLACK]) < 0.4 * wide && fabs(x[WHITE] - y[WHITE]) < 0.4 * wide;
}

static bool contains(span outer, span inner) { return outer.file == inner.file && outer.start <= inner.start && inner.end <= outer.end; }

/* The program's augmentation without draws that made the input, to be named; NULL when there is none. */
static const char *preparation(const elaborator *e, span where) {
  for (uint32_t i = 0; i < e->program->n; i++) {
    const ast_declaration *d = e->program->items[i]->declaration;
    bool plain = d && d->kind == DECLARE_AUGMENT && !d->has_outer && contains(d->where, where);
    for (uint32_t k = 0; plain && k < e->step->n_nodes; k++) plain = e->step->nodes[k].op != OP_RANDOM_BITS || !contains(d->where, e->step->nodes[k].where);
    if (plain) return d->name;
  }
  return NULL;
}

static void report(elaborator *e, const model_call *trained, const double usual[SHADES], const model_call *judged, const double here[SHADES]) {
  span made = graph_span(trained->graph, trained->inputs[0]);
  const char *name = preparation(e, made), *judged_name = judged->model->name;
  diagnostic *d = diagnose_warning(e->diagnostics, DIAG_OTHER_INPUTS, judged->where, "%s is trained on images from %.3g (black) to %.3g (white), but eval feeds %.3g to %.3g", judged_name,
                                   usual[BLACK], usual[WHITE], here[BLACK], here[WHITE]);
  diagnostic_add_note(e->diagnostics, d, made, "what training feeds is made here");
  diagnostic_add_note(e->diagnostics, d, trained->where, "%s is called here in training", trained->model->name);
  if (name) diagnostic_set_help(e->diagnostics, d, "write eval %s(%s(img))", judged_name, name);
  else diagnostic_set_help(e->diagnostics, d, "prepare images in eval as the pretext does");
}

static void judge_call(elaborator *e, const shades *taught, const shades *evaluation, const model_call *c) {
  double here[SHADES], there[SHADES], usual[SHADES];
  const model_call *trained = NULL;
  if (!input_shades(evaluation, c, here)) return;
  for (uint32_t i = 0; i < e->n_calls; i++) {
    const model_call *other = &e->calls[i];
    if (other->graph != e->step || family(other->model) != family(c->model) || !input_shades(taught, other, there)) continue;
    if (alike(here, there)) return;
    if (!trained) trained = other, memcpy(usual, there, sizeof usual);
  }
  if (trained) report(e, trained, usual, c, here);
}

void warn_inputs(elaborator *e) {
  arena *scratch = arena_new();
  if (!scratch) return;
  shades taught = find_shades(e, e->step, scratch);
  for (uint32_t i = 0; i < e->experiment->n_evals; i++) {
    const graph *g = e->experiment->evals[i].graph;
    shades evaluation = find_shades(e, g, scratch);
    for (uint32_t k = 0; k < e->n_calls; k++)
      if (e->calls[k].graph == g) judge_call(e, &taught, &evaluation, &e->calls[k]);
  }
  arena_free(scratch);
}
