/* One node for equal nodes. Values are numbered by their definition: operation, operands (already
 * numbered), attributes and type. Every primitive is a pure function, random bits included, so equal
 * definitions are equal values. */
#include "passes/rebuild.h"

typedef struct {
  uint64_t hash;
  uint32_t node; /* of the new graph, plus one; 0: empty */
} slot;

typedef struct {
  slot *slots;
  uint64_t mask;
  const char **text; /* per node of the new graph: canonical text of a contraction or a region */
} node_table;

/* FNV-1a. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t n) {
  const unsigned char *bytes = data;
  for (size_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

static bool is_commutative(op_id op) {
  static const bool commutative[OP_COUNT] = {
      [OP_ADD] = true, [OP_MUL] = true, [OP_EQ] = true, [OP_AND] = true, [OP_OR] = true, [OP_XOR] = true};
  return commutative[op];
}

/* Operands of a commutative operation compare as a set. */
static void ordered_operands(const node *n, value out[2]) {
  out[0] = n->operands[0] < n->operands[1] ? n->operands[0] : n->operands[1];
  out[1] = n->operands[0] < n->operands[1] ? n->operands[1] : n->operands[0];
}

/* What else must be equal, as text: two contractions whose specs differ in the names of axes only are equal, so their
 * canonical texts are compared instead of the texts that they carry; two loops do the same when their regions read
 * the same. */
static const char *canonical_text(const node *n, arena *a) {
  if (n->region) return graph_print(n->region, NULL, a);
  return n->contraction ? contraction_text(n->contraction, true, a) : NULL;
}

static uint64_t node_hash(const graph *g, const node *n, const char *text) {
  uint64_t hash = hash_bytes(0xcbf29ce484222325u, &n->op, sizeof n->op);
  if (is_commutative(n->op)) {
    value pair[2];
    ordered_operands(n, pair);
    hash = hash_bytes(hash, pair, sizeof pair);
  } else {
    hash = hash_bytes(hash, n->operands, n->n_operands * sizeof *n->operands);
  }
  const tensor_type *type = graph_type(g, n->first_result);
  hash = hash_bytes(hash, &type->dtype, sizeof type->dtype);
  hash = hash_bytes(hash, type->dim, type->rank * sizeof *type->dim);
  if (text) hash = hash_bytes(hash, text, strlen(text));
  if (n->contraction) return hash;
  for (uint32_t i = 0; i < n->n_attributes; i++) {
    size_t bytes;
    const void *data = attribute_content(&n->attributes[i], type->dtype, &bytes);
    hash = hash_bytes(hash, data, bytes);
  }
  return hash;
}

static bool same_operands(const node *a, const node *b) {
  if (a->n_operands != b->n_operands) return false;
  if (is_commutative(a->op)) {
    value left[2], right[2];
    ordered_operands(a, left);
    ordered_operands(b, right);
    return left[0] == right[0] && left[1] == right[1];
  }
  for (uint32_t i = 0; i < a->n_operands; i++)
    if (a->operands[i] != b->operands[i]) return false;
  return true;
}

static bool same_node(const graph *g, const node *a, const char *text_a, const node *b, const char *text_b) {
  if (a->op != b->op || a->n_results != b->n_results) return false;
  const tensor_type *type = graph_type(g, a->first_result);
  if (!type_equal(type, graph_type(g, b->first_result)) || !same_operands(a, b)) return false;
  if (text_a && text_b && strcmp(text_a, text_b) != 0) return false;
  return a->contraction || node_same_attributes(a, b, type->dtype);
}

static node_table table_new(uint32_t n_nodes, arena *a) {
  uint64_t size = 16;
  while (size < 2u * (uint64_t)n_nodes) size *= 2;
  return (node_table){
      .slots = ARENA_ARRAY(a, slot, size), .mask = size - 1, .text = ARENA_ARRAY(a, const char *, n_nodes)};
}

/* The earlier equal node, or the given one, which is then entered. */
static uint32_t table_find(node_table *t, const graph *g, uint32_t index) {
  const node *n = &g->nodes[index];
  t->text[index] = canonical_text(n, g->arena);
  const uint64_t hash = node_hash(g, n, t->text[index]);
  for (uint64_t at = hash & t->mask;; at = (at + 1) & t->mask) {
    slot *s = &t->slots[at];
    if (!s->node) {
      *s = (slot){hash, index + 1};
      return index;
    }
    const uint32_t other = s->node - 1;
    if (s->hash == hash && same_node(g, n, t->text[index], &g->nodes[other], t->text[other])) return other;
  }
}

graph *pass_cse(const graph *g, pass_context *c) {
  rebuild r = rebuild_begin(g, c, "cse", pass_cse);
  const bool keep = graph_has_grad(g);
  node_table table = table_new(g->n_nodes, c->arena);
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const value copy = rebuild_copy(&r, i);
    if (!copy || keep) continue;
    const uint32_t mine = r.into->values[copy].node;
    const uint32_t first = table_find(&table, r.into, mine);
    for (uint32_t k = 0; k < g->nodes[i].n_results; k++) r.map[g->nodes[i].first_result + k] = r.into->nodes[first].first_result + k;
  }
  return rebuild_end(&r);
}
