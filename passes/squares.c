#include "passes/squares.h"

#include "passes/fuse.h"

/* A product of more terms costs more to make again than the passes over memory that it saves. */
enum { MOST_SUMMED = 128, MOST_MAPS = 64, MOST_STEPS = 256 };
enum { ENOUGH_TASKS = 16 };
/* Of a batch that fills all threads, small squares stay in registers with all that is made of them: rows of 16 for heads of 64 are two
 * thirds of the time of the kernels that hand them to each other. */
enum { FEWEST_PRODUCTS = 8 };

typedef struct {
  const graph *graph;
  arena *arena;
  const bool *is_result;
  uint32_t *first_consumer, *consumers; /* of each value: nodes, in runs */
  uint32_t *stamp, now; /* by value: of the maps of one square */
  int64_t pays;         /* how many times as large as the square what it is made from may be, and what is made of it */
  value maps[MOST_MAPS];
  uint32_t n_maps;
  value *returning; /* between its reductions and its maps */
  uint32_t n_returning, returning_capacity;
} search;

static void find_consumers(search *s) {
  const graph *g = s->graph;
  s->first_consumer = ARENA_ARRAY(s->arena, uint32_t, g->n_values + 1);
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t j = 0; j < g->nodes[i].n_operands; j++) s->first_consumer[g->nodes[i].operands[j] + 1]++;
  for (uint32_t v = 0; v < g->n_values; v++) s->first_consumer[v + 1] += s->first_consumer[v];
  s->consumers = ARENA_ARRAY(s->arena, uint32_t, s->first_consumer[g->n_values] + 1);
  uint32_t *filled = ARENA_ARRAY(s->arena, uint32_t, g->n_values + 1);
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t j = 0; j < g->nodes[i].n_operands; j++) {
      const value v = g->nodes[i].operands[j];
      s->consumers[s->first_consumer[v] + filled[v]++] = i;
    }
}

/* Multiplied again: all of its dimensions are plain axes, of which some are summed, and not much more comes out. */
static bool takes_plainly(const search *s, const node *n, value v) {
  const contraction *c = n->contraction;
  const int which = n->operands[0] == v ? 0 : 1;
  if (n->operands[0] == n->operands[1]) return false;
  for (uint32_t d = 0; d < c->rank[which]; d++)
    if (!index_is_plain(&c->operand[which][d])) return false;
  return type_elements(graph_type(s->graph, n->first_result)) < s->pays * type_elements(graph_type(s->graph, v));
}

static bool add_map(search *s, value v) {
  if (s->stamp[v] == s->now) return true;
  if (s->n_maps == MOST_MAPS || s->is_result[v]) return false;
  s->stamp[v] = s->now;
  s->maps[s->n_maps++] = v;
  return true;
}

/* Whether maps of what a reduction gives come back into maps of the square: softmax does this. They are found on the way. */
static bool comes_back(search *s, value from, uint32_t *steps) {
  bool any = false;
  for (uint32_t i = s->first_consumer[from]; i < s->first_consumer[from + 1]; i++) {
    const node *n = &s->graph->nodes[s->consumers[i]];
    const fusion_role role = value_role(s->graph, n->first_result);
    if (n->n_results != 1 || (role != ROLE_MAP && role != ROLE_VIEW) || ++*steps > MOST_STEPS) continue;
    if (s->stamp[n->first_result] == s->now) any = true;
    else if (comes_back(s, n->first_result, steps)) any = true, *ARENA_PUSH(s->arena, s->returning, s->n_returning, s->returning_capacity) = n->first_result;
  }
  return any;
}

/* Follows maps of v, all of which must end in reductions along one axis or in products. */
static bool follow(search *s, value v) {
  const graph *g = s->graph;
  bool is_multiplied = false, returns = false;
  s->now++;
  s->n_maps = s->n_returning = 0;
  if (!add_map(s, v)) return false;
  for (uint32_t i = 0; i < s->n_maps; i++) {
    const value x = s->maps[i];
    for (uint32_t c = s->first_consumer[x]; c < s->first_consumer[x + 1]; c++) {
      const node *n = &g->nodes[s->consumers[c]];
      if (op_table[n->op].elementwise) {
        if (!add_map(s, n->first_result)) return false;
      } else if (n->op == OP_REDUCE_SUM || n->op == OP_REDUCE_MAX) {
        if (node_attribute(n, ATTR_AXES)->n != 1) return false;
      } else if (n->op == OP_CONTRACT && takes_plainly(s, n, x)) {
        is_multiplied = true;
      } else {
        return false;
      }
    }
  }
  for (uint32_t i = 0; i < s->n_maps; i++)
    for (uint32_t c = s->first_consumer[s->maps[i]]; c < s->first_consumer[s->maps[i] + 1]; c++) {
      const node *n = &g->nodes[s->consumers[c]];
      uint32_t steps = 0;
      if (n->op == OP_REDUCE_SUM || n->op == OP_REDUCE_MAX) returns |= comes_back(s, n->first_result, &steps);
    }
  return is_multiplied && returns;
}

/* What stands in memory behind an operand: itself, or what views of one value show of it. */
static value behind_views(const graph *g, value v) {
  for (;;) {
    const node *n = graph_node(g, v);
    if (n->op != OP_RESHAPE && n->op != OP_TRANSPOSE && n->op != OP_SLICE && n->op != OP_BROADCAST) return v;
    v = n->operands[0];
  }
}

/* What teams of warps bring to the chip is what others see of it widened, or rounded. */
static value behind_narrowing(const graph *g, const target *t, value v) {
  const node *n = graph_node(g, v);
  const bool is_widened = n->op == OP_CAST && graph_type(g, v)->dtype == DTYPE_F32 && graph_type(g, n->operands[0])->dtype == DTYPE_BF16;
  return t->warps && t->tiles && (is_widened || n->op == OP_TF32) ? n->operands[0] : v;
}

/* On the matrix unit of a GPU squares are made again for little, and what reads them is one launch instead of several. */
static int64_t largest_in_memory(const search *s, const target *t, const node *n) {
  enum { MADE_FOR_LITTLE = 16 };
  bool narrow = true;
  for (int i = 0; i < 2; i++) {
    const value behind = behind_views(s->graph, n->operands[i]);
    narrow &= behind_narrowing(s->graph, t, behind) != behind;
  }
  return !t->warps ? t->l1_bytes : narrow ? t->large_bytes / MADE_FOR_LITTLE : t->large_bytes;
}

static bool is_large_product(search *s, const target *t, value v) {
  const graph *g = s->graph;
  const node *n = graph_node(g, v);
  const tensor_type *type = graph_type(g, v);
  if (n->op != OP_CONTRACT || (type->dtype != DTYPE_F32 && type->dtype != DTYPE_F64)) return false;
  const tensor_type *left = graph_type(g, n->operands[0]), *right = graph_type(g, n->operands[1]);
  if (left->dtype != type->dtype || type_bytes(type) <= largest_in_memory(s, t, n)) return false;
  const int64_t size = type_elements(type), x = type_elements(left), y = type_elements(right);
  for (int which = 0; which < 2; which++)
    for (uint32_t d = 0; d < n->contraction->rank[which]; d++)
      if (!index_is_plain(&n->contraction->operand[which][d])) return false;
  /* x y / size = batch summed^2; the batch is what both and the result have */
  double batch = 1;
  for (uint32_t d = 0; d < n->contraction->result_rank; d++) {
    uint32_t in = 0;
    for (int which = 0; which < 2; which++)
      for (uint32_t e = 0; e < n->contraction->rank[which]; e++) in += n->contraction->operand[which][e].term[0].axis == n->contraction->result[d];
    if (in == 2) batch *= (double)type->dim[d];
  }
  s->pays = !t->warps && batch >= ENOUGH_TASKS ? FEWEST_PRODUCTS : 1;
  const double summed = (double)x * (double)y / ((double)size * batch);
  /* Or a little less: they would be written and read several times on the way there and back. */
  const bool is_large = 4 * size >= 3 * (x + y) || s->pays * size >= x + y;
  return is_large && summed <= (double)MOST_SUMMED * MOST_SUMMED;
}

squares *find_squares(const graph *g, const target *t, bool *refused, arena *a) {
  squares *out = ARENA_NEW(a, squares);
  *out = (squares){.refused = refused ? refused : ARENA_ARRAY(a, bool, g->n_values), .target = t};
  out->is_square = ARENA_ARRAY(a, bool, g->n_values);
  out->inside = ARENA_ARRAY(a, bool, g->n_values);
  out->operand = ARENA_ARRAY(a, bool, g->n_values);
  search *s = ARENA_NEW(a, search);
  bool *is_result = ARENA_ARRAY(a, bool, g->n_values);
  *s = (search){.graph = g, .arena = a, .is_result = is_result};
  for (uint32_t i = 0; i < g->n_results; i++) is_result[g->results[i].value] = true;
  for (value v = 1; v < g->n_values; v++) {
    if (!t || out->refused[v] || !is_large_product(s, t, v)) continue;
    if (!s->stamp) {
      s->stamp = ARENA_ARRAY(a, uint32_t, g->n_values);
      find_consumers(s);
    }
    if (!follow(s, v)) continue;
    out->any = out->is_square[v] = true;
    for (uint32_t i = 1; i < s->n_maps; i++) out->inside[s->maps[i]] = true;
    for (uint32_t i = 0; i < s->n_returning; i++) /* as long as one kernel has both */
      out->inside[s->returning[i]] = value_role(g, s->returning[i]) == ROLE_MAP && !is_result[s->returning[i]];
    for (int i = 0; i < 2; i++) {
      const value seen = graph_node(g, v)->operands[i], behind = behind_views(g, seen), x = behind_narrowing(g, t, behind);
      out->operand[x != behind || value_role(g, x) == ROLE_MAP ? x : seen] |= value_role(g, x) == ROLE_MAP || value_role(g, x) == ROLE_VIEW;
    }
  }
  return out;
}

/* -- kernels -------------------------------------------------------------------------------------------------- */

/* How much of the vectors along so many places is filled. */
static double filled(int64_t extent, int64_t lanes) { return (double)extent / (double)((extent + lanes - 1) / lanes * lanes); }

/* Where rows are reduced, as many as a vector has lanes are kept on chip at a time, if they are not too long for that. */
static bool rows_run_in_lanes(const kernel *k, const target *t, const squares_form *f) {
  enum { MOST_KEPT = 8 }; /* values for each row and column */
  const int64_t bytes = (int64_t)dtype_bytes(k->stages[__builtin_ctzll(f->stages)].type), lanes = t->vector_bytes / bytes;
  const int64_t rows = k->axes[f->row].extent, columns = k->axes[f->column].extent;
  return !t->warps && !f->rows_in_parallel && filled(rows, lanes) >= filled(columns, lanes) && MOST_KEPT * lanes * columns * bytes <= t->l2_bytes / 2;
}

static bool reads_stage(const kernel *k, const expr *e, uint32_t number) {
  if (e->kind == EXPR_STAGE) return e->number == number || (k->stages[e->number].monoid == MONOID_NONE && reads_stage(k, k->stages[e->number].body, number));
  for (uint32_t i = 0; i < e->n_args; i++)
    if (reads_stage(k, e->args[i], number)) return true;
  return false;
}

bool kernel_squares(const kernel *k, const target *t, squares_form *out) {
  axis_set shared = ~(axis_set)0, square = 0, reduced = 0;
  uint64_t stages = 0;
  for (uint32_t i = 0; i < k->n_stages && k->n_stages <= 64; i++) {
    shared &= k->stages[i].free;
    if (k->stages[i].output >= 0 || !stage_is_product(k, i)) continue;
    for (uint32_t r = i + 1; r < k->n_stages; r++)
      if (k->stages[r].reduced & k->stages[i].free && reads_stage(k, k->stages[r].body, i)) stages |= (uint64_t)1 << i;
    if (!(stages >> i & 1)) continue;
    if (square && k->stages[i].free != square) return false;
    square = k->stages[i].free;
  }
  if (!stages) return false;
  axis_set others = square & ~shared;
  if (__builtin_popcountll(others) == 1 && shared & square) { /* rows are kept by all: the last of those, in which the squares are not batched */
    contraction_form c;
    stage_contraction(k, (uint32_t)__builtin_ctzll(stages), &c);
    others |= c.left_only & others ? c.right_only & square : c.left_only & square;
  }
  if (__builtin_popcountll(others) != 2) return false;
  const axis_set first = others & -others, second = others & ~first;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].monoid != MONOID_NONE && !stage_is_product(k, i)) reduced |= k->stages[i].reduced & others;
  const axis_set row = shared & others ? shared & others : reduced == first ? second : first;
  *out = (squares_form){.batch = square & ~others, .row = (uint32_t)__builtin_ctzll(row), .column = (uint32_t)__builtin_ctzll(others & ~row), .stages = stages};
  if (out->batch & ~shared || k->axes[out->row].extent < 2 || k->axes[out->column].extent < 2) return false;
  int64_t tasks = 1;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (out->batch >> a & 1 && tasks < ENOUGH_TASKS) tasks *= k->axes[a].extent;
  const bool enough = tasks >= ENOUGH_TASKS && !t->warps;
  out->rows_in_parallel = !enough && shared & row;
  out->rows_in_lanes = rows_run_in_lanes(k, t, out);
  return enough || out->rows_in_parallel;
}
