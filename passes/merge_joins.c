/* A join: a value that has others side by side along one axis, as a concatenation, or as padded parts that add up to it (the
 * derivative of cutting a value in parts). Where one kernel makes all parts, and nobody else reads them, its stages write to their places
 * in the whole, through the views that stand between. Otherwise the join copies part by part. */
#include "passes/merge.h"

#include "ir/expr.h"

enum { MOST_PARTS = 16 };

typedef struct {
  const graph *graph;
  const bool *materialised;
  tensor_type type;
  int64_t axis; /* -1: not known yet */
  struct {
    value value;
    int64_t start;
  } parts[MOST_PARTS];
  uint32_t n;
} join;

/* What stands between parts and whole in a wider type is exact: parts that are rounded already add up to what is rounded again. */
static bool is_wider(const join *j, value v) {
  const dtype t = graph_type(j->graph, v)->dtype;
  return !j->materialised[v] && dtype_is_real(t) && dtype_is_real(j->type.dtype) && dtype_bytes(t) > dtype_bytes(j->type.dtype);
}

static bool is_wider_cast(const join *j, const node *n) { return n->op == OP_CAST && is_wider(j, n->first_result); }

static bool add_part(join *j, value v, int64_t start) {
  if (j->n == MOST_PARTS) return false;
  j->parts[j->n].value = v;
  j->parts[j->n++].start = start;
  return true;
}

/* Zeros around it along one axis, the same for all parts. */
static bool add_padded(join *j, const node *n) {
  const int64_t *low = node_integers(n, ATTR_LOW), *high = node_integers(n, ATTR_HIGH), *interior = node_integers(n, ATTR_INTERIOR);
  const scalar around = node_attribute(n, ATTR_VALUE)->as.scalar;
  const tensor_type *t = graph_type(j->graph, n->first_result);
  if (dtype_is_real(t->dtype) ? around.real != 0 : around.integer != 0) return false;
  for (uint32_t d = 0; d < t->rank; d++) {
    if (low[d] < 0 || high[d] < 0 || interior[d]) return false;
    if ((low[d] || high[d]) && j->axis < 0) j->axis = d;
    if ((low[d] || high[d]) && j->axis != d) return false;
  }
  return j->axis >= 0 && add_part(j, n->operands[0], low[j->axis]);
}

static bool add_terms(join *j, const node *n) {
  if (is_wider_cast(j, n)) n = graph_node(j->graph, n->operands[0]);
  if (n->op == OP_PAD) return add_padded(j, n);
  if (n->op != OP_ADD) return false;
  for (uint32_t i = 0; i < 2; i++)
    if (j->materialised[n->operands[i]] || !add_terms(j, graph_node(j->graph, n->operands[i]))) return false;
  return true;
}

static bool add_joined(join *j, const node *n) {
  int64_t start = 0;
  j->axis = node_axis(n);
  for (uint32_t i = 0; i < n->n_operands; i++) {
    if (!add_part(j, n->operands[i], start)) return false;
    start += graph_type(j->graph, n->operands[i])->dim[j->axis];
  }
  return true;
}

/* The parts of v, which cover it and do not overlap. */
static bool find_parts(join *j, value v) {
  const node *n = graph_node(j->graph, v);
  if (!type_elements(&j->type)) return false;
  if (n->op == OP_CAST && is_wider(j, n->operands[0])) n = graph_node(j->graph, n->operands[0]);
  if (!(n->op == OP_CONCAT ? add_joined(j, n) : n->op == OP_ADD && add_terms(j, n))) return false;
  int64_t covered = 0;
  for (uint32_t i = 0; i < j->n; i++) {
    const int64_t own = graph_type(j->graph, j->parts[i].value)->dim[j->axis];
    covered += own;
    for (uint32_t k = 0; k < j->n; k++)
      if (k != i && j->parts[k].start >= j->parts[i].start && j->parts[k].start < j->parts[i].start + own) return false;
  }
  return covered == j->type.dim[j->axis];
}

/* What stands in memory, in the type of the whole, of which v is the same elements in another shape; 0: nothing does. */
static value source(const join *j, value v) {
  while (!j->materialised[v]) {
    const node *n = graph_node(j->graph, v);
    if (n->op != OP_RESHAPE && n->op != OP_TRANSPOSE && !is_wider_cast(j, n)) return 0;
    v = n->operands[0];
  }
  return graph_type(j->graph, v)->dtype == j->type.dtype ? v : 0;
}

/* Where v has the element that its source has at `place`. */
static void follow_views(const join *j, kernel *k, value v, const expr *const *place, const expr **index) {
  const node *n = graph_node(j->graph, v);
  const tensor_type *t = graph_type(j->graph, v);
  const expr *inner[MAX_RANK];
  if (j->materialised[v]) {
    memcpy(index, place, t->rank * sizeof *index);
    return;
  }
  follow_views(j, k, n->operands[0], place, inner);
  if (n->op == OP_RESHAPE) {
    reshaped_index(k, graph_type(j->graph, n->operands[0]), inner, t, index);
    return;
  }
  const int64_t *axes = n->op == OP_TRANSPOSE ? node_integers(n, ATTR_AXES) : NULL;
  for (uint32_t d = 0; d < t->rank; d++) index[d] = inner[axes ? axes[d] : d];
}

/* What lay side by side still does, so that vectors are stored as vectors. */
static bool keeps_neighbours(const kernel *k, const expr *before, const expr *after) {
  int64_t coefficient[MAX_AXES], offset;
  return before->kind != EXPR_AXIS || (expr_affine(k, after, coefficient, &offset) && coefficient[before->number] == 1);
}

/* The stage that makes a part, if it is one and can put that into the whole: `index` is where. */
static stage *maker(const join *j, fragment *f, uint32_t part, const expr **index) {
  kernel *k = f->kernel;
  const value v = j->parts[part].value, from = source(j, v);
  const uint32_t rank = graph_type(j->graph, from)->rank;
  stage *s = NULL;
  uint32_t n = 0;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0 && f->values[k->stages[i].output] == from) s = &k->stages[i], n++;
  if (n != 1) return NULL;
  follow_views(j, k, v, s->index, index);
  index[j->axis] = expr_add(k, index[j->axis], expr_integer(k, j->parts[part].start));
  return !rank || keeps_neighbours(k, s->index[rank - 1], index[j->type.rank - 1]) ? s : NULL;
}

/* The fragment that makes all parts, which only the join reads, each once. */
static fragment *only_maker(merging *m, const join *j, uint32_t reader, uint32_t *number) {
  fragment *f = NULL;
  for (uint32_t i = 0; i < j->n; i++) {
    const value from = source(j, j->parts[i].value);
    if (!from || !m->producer[from] || m->is_result[from]) return NULL;
    *number = find(m, m->producer[from] - 1);
    if (f && f != m->fragments[*number]) return NULL;
    f = m->fragments[*number];
    for (uint32_t r = 0; r < m->readers[from].n; r++)
      if (find(m, m->readers[from].items[r]) != reader) return NULL;
    for (uint32_t k = 0; k < i; k++)
      if (source(j, j->parts[k].value) == from) return NULL;
  }
  return f && !f->repeat && *number != reader ? f : NULL;
}

/* Where several kernels make the parts, a stage for each copies it, where a choice at every point would be: when all have one shape. */
static fragment *copying(const merging *m, const join *j, value v) {
  fragment *f = ARENA_NEW(m->arena, fragment);
  kernel *k = f->kernel = kernel_new(m->arena, "join", graph_span(m->graph, v));
  const expr *place[MAX_RANK], *index[MAX_RANK];
  const value first = source(j, j->parts[0].value);
  if (!first || !graph_type(m->graph, first)->rank) return NULL;
  const tensor_type *t = graph_type(m->graph, first);
  const int32_t whole = (int32_t)fragment_buffer(f, v, j->type, "join", ACCESS_OUT);
  for (uint32_t d = 0; d < t->rank; d++)
    place[d] = t->dim[d] == 1 ? expr_integer(k, 0) : expr_axis(k, kernel_add_axis(k, (char[]){(char)('i' + d), 0}, t->dim[d]));
  for (uint32_t i = 0; i < j->n; i++) {
    const value from = source(j, j->parts[i].value);
    if (!from || !type_equal(graph_type(m->graph, from), t)) return NULL;
    follow_views(j, k, j->parts[i].value, place, index);
    index[j->axis] = expr_add(k, index[j->axis], expr_integer(k, j->parts[i].start));
    if (!keeps_neighbours(k, place[t->rank - 1], index[j->type.rank - 1])) return NULL;
    const uint32_t buffer = fragment_buffer(f, from, *t, "part", ACCESS_IN);
    const expr *read = expr_read(k, buffer, place, NULL, 0, (scalar){.integer = 0});
    kernel_add_stage(k, (stage){.name = "copy", .type = t->dtype, .body = read, .output = whole, .index = index, .where = k->where, .free = read->axes});
  }
  return f;
}

void merge_joins(merging *m, const bool *materialised) {
  const expr *index[MOST_PARTS][MAX_RANK];
  stage *makers[MOST_PARTS];
  for (value v = 1; v < m->graph->n_values; v++) {
    join j = {.graph = m->graph, .materialised = materialised, .type = *graph_type(m->graph, v), .axis = -1};
    if (!m->producer[v] || !find_parts(&j, v)) continue;
    const uint32_t reader = find(m, m->producer[v] - 1);
    uint32_t number;
    if (m->fragments[reader]->kernel->n_stages != 1) continue;
    fragment *f = only_maker(m, &j, reader, &number);
    bool can = f != NULL;
    for (uint32_t i = 0; i < j.n && can; i++) can = (makers[i] = maker(&j, f, i, index[i])) != NULL;
    if (!can) {
      fragment *copies = copying(m, &j, v);
      if (copies) m->fragments[reader] = copies;
      continue;
    }
    const uint32_t whole = fragment_buffer(f, v, j.type, op_table[graph_node(m->graph, v)->op].name, ACCESS_OUT);
    for (uint32_t i = 0; i < j.n; i++) {
      makers[i]->output = (int32_t)whole;
      makers[i]->index = arena_copy(f->kernel->arena, index[i], j.type.rank * sizeof **index);
    }
    m->fragments[reader] = NULL;
    m->into[reader] = number;
    m->producer[v] = number + 1;
  }
}
