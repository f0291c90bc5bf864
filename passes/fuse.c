/* From a graph to a plan: kernels that definitions.c and merge.c have made, the buffers between them, and
 * one kernel for all launches that do the same. */
#include "passes/fuse.h"

#include "ir/region.h"

typedef struct {
  const graph *graph;
  pass_context *context;
  plan *plan;
  int32_t *buffer_of; /* per value: plan buffer + 1 */
  kernel **kernels;   /* of launches, each once: a hash table by their canonical text */
  const char **texts;
  uint32_t n_kernels, capacity;
  uint32_t *name_count; /* per slot of names: how often it was given */
  const char **names;
  uint32_t names_capacity;
} fusing;

static uint64_t hash_text(const char *text) {
  uint64_t h = 1469598103934665603u;
  for (; *text; text++) h = (h ^ (unsigned char)*text) * 1099511628211u;
  return h;
}

/* -- kernels ------------------------------------------------------------------------------------------------ */

/* The ops of a kernel in words, in the order of its stages, at most four. */
static const char *describe(const kernel *k, arena *a) {
  static const char *const monoid_names[] = {"map", "sum", "max", "argmax"};
  const char *words[4];
  uint32_t n = 0;
  for (uint32_t i = 0; i < k->n_stages && n < 4; i++) {
    const stage *s = &k->stages[i];
    const expr *e = s->body;
    const char *word = e->kind == EXPR_APPLY ? op_table[e->op].name : "copy";
    if (s->monoid != MONOID_NONE) word = monoid_names[s->monoid];
    if (stage_is_product(k, i)) word = "contract";
    if (n && !strcmp(words[n - 1], word)) continue;
    words[n++] = word;
  }
  return arena_printf(a, "%s%s%s%s%s%s%s", n > 0 ? words[0] : "empty", n > 1 ? "_" : "", n > 1 ? words[1] : "",
                      n > 2 ? "_" : "", n > 2 ? words[2] : "", n > 3 ? "_" : "", n > 3 ? words[3] : "");
}

static const char *unique_name(fusing *f, const char *name) {
  uint32_t at = (uint32_t)hash_text(name) & (f->names_capacity - 1);
  while (f->names[at] && strcmp(f->names[at], name)) at = (at + 1) & (f->names_capacity - 1);
  f->names[at] = name;
  return ++f->name_count[at] == 1 ? name : arena_printf(f->plan->arena, "%s_%u", name, f->name_count[at]);
}

/* Where a kernel comes from: its reduction, or else what it computes last. */
static span kernel_place(const kernel *k) {
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].monoid != MONOID_NONE) return k->stages[i].where;
  return k->n_stages ? k->stages[k->n_stages - 1].where : k->where;
}

/* The kernel that does the same and came first, or this one. */
static kernel *share_kernel(fusing *f, kernel *k) {
  const char *text = kernel_canonical(k, f->plan->arena);
  uint32_t at = (uint32_t)hash_text(text) & (f->capacity - 1);
  while (f->kernels[at] && strcmp(f->texts[at], text)) at = (at + 1) & (f->capacity - 1);
  if (f->kernels[at]) return f->kernels[at];
  k->name = unique_name(f, describe(k, f->plan->arena));
  k->where = kernel_place(k);
  f->texts[at] = text;
  return f->kernels[at] = k;
}

static uint32_t value_buffer(fusing *f, value v) {
  if (!f->buffer_of[v]) {
    plan_buffer b = {.name = "", .role = "", .storage = STORAGE_TEMPORARY, .alias = -1};
    b.type = *graph_type(f->graph, v);
    b.where = graph_span(f->graph, v);
    f->buffer_of[v] = (int32_t)plan_add_buffer(f->plan, b) + 1;
  }
  return (uint32_t)f->buffer_of[v] - 1;
}

static bool add_repeat(fusing *f, const node *n, const uint32_t *buffers) {
  const region_view r = node_region(n, f->context->arena);
  plan_repeat repeat = {r.times, r.reverse, r.n_carries, r.n_slices, n->n_operands, n->n_results, pass_fuse(n->region, f->context)};
  if (!repeat.plan) return false;
  repeat.plan->region = true;
  plan_add_repeat(f->plan, &repeat, buffers, n->where);
  return true;
}

static bool add_launch(fusing *f, const fragment *x) {
  uint32_t *buffers = ARENA_ARRAY(f->plan->arena, uint32_t, x->kernel->n_buffers);
  for (uint32_t i = 0; i < x->kernel->n_buffers; i++) buffers[i] = value_buffer(f, x->values[i]);
  if (x->repeat) return add_repeat(f, x->repeat, buffers);
  plan_add_launch(f->plan, share_kernel(f, x->kernel), buffers);
  return true;
}

/* -- buffers -------------------------------------------------------------------------------------------------- */

static void add_leaves(fusing *f) {
  for (uint32_t i = 0; i < f->graph->n_nodes; i++) {
    const node *n = &f->graph->nodes[i];
    const attribute *literal = node_attribute(n, ATTR_LITERAL);
    if (n->op != OP_PARAMETER && !literal) continue;
    plan_buffer b = {.name = "", .role = "", .storage = STORAGE_DATA, .alias = -1, .where = n->where};
    b.type = *graph_type(f->graph, n->first_result);
    if (literal) {
      b.literal = literal->as.elements;
    } else {
      b.name = node_attribute(n, ATTR_NAME)->as.text;
      b.role = node_attribute(n, ATTR_ROLE)->as.text;
      if (!strcmp(b.role, "state")) b.storage = STORAGE_STATE;
    }
    f->buffer_of[n->first_result] = (int32_t)plan_add_buffer(f->plan, b) + 1;
  }
}

/* A kernel that writes what it reads. */
static void add_copy(fusing *f, uint32_t from, uint32_t to, span where) {
  const plan_buffer *b = &f->plan->buffers[to];
  kernel *k = kernel_new(f->plan->arena, "copy", where);
  const expr *index[MAX_RANK];
  stage s = {.name = "copy", .type = b->type.dtype, .index = index, .where = where};
  uint32_t buffers[2] = {from, to};
  uint32_t in = kernel_add_buffer(k, "x", b->type, ACCESS_IN);
  s.output = (int32_t)kernel_add_buffer(k, "y", b->type, ACCESS_OUT);
  for (uint32_t i = 0; i < b->type.rank; i++)
    index[i] = b->type.dim[i] == 1 ? expr_integer(k, 0)
                                   : expr_axis(k, kernel_add_axis(k, (char[]){(char)('i' + i), 0}, b->type.dim[i]));
  s.body = expr_read(k, in, index, NULL, 0, (scalar){.integer = 0});
  kernel_add_stage(k, s);
  plan_add_launch(f->plan, share_kernel(f, k), buffers);
}

typedef enum { RESULT_COMPUTED, RESULT_GIVEN, RESULT_COPIED, RESULT_UNCHANGED } result_kind;

static bool has_state(const fusing *f, const graph_result *r) {
  return !strcmp(r->role, "state") && plan_find(f->plan, "state", r->name) >= 0;
}

/* `seen`: the value is already the result under another name. */
static result_kind kind_of_result(const fusing *f, const graph_result *r, bool seen) {
  const node *n = graph_node(f->graph, r->value);
  const attribute *name = node_attribute(n, ATTR_NAME), *role = node_attribute(n, ATTR_ROLE);
  if (has_state(f, r) && name && !strcmp(role->as.text, "state") && !strcmp(name->as.text, r->name))
    return RESULT_UNCHANGED;
  /* Contents that never change can be given by the host; a state's do. */
  if (n->op == OP_CONSTANT && !has_state(f, r)) return RESULT_GIVEN;
  bool copied = seen || (n->op != OP_REPEAT && value_role(f->graph, r->value) == ROLE_LEAF);
  return copied ? RESULT_COPIED : RESULT_COMPUTED;
}

static plan_buffer result_buffer(const fusing *f, const graph_result *r, result_kind kind) {
  plan_buffer b = {.name = r->name, .role = r->role, .storage = STORAGE_RESULT, .alias = -1, .where = r->where};
  b.type = *graph_type(f->graph, r->value);
  if (kind != RESULT_GIVEN) return b;
  const node *n = graph_node(f->graph, r->value);
  const attribute *number = node_attribute(n, ATTR_VALUE), *literal = node_attribute(n, ATTR_LITERAL);
  b.is_splat = number != NULL;
  if (number) b.splat = number->as.scalar;
  else b.literal = literal->as.elements;
  return b;
}

/* -- the pass --------------------------------------------------------------------------------------------------- */

static fragment *define_repeat(const graph *g, const node *n, arena *a) {
  fragment *f = ARENA_NEW(a, fragment);
  f->repeat = n;
  f->kernel = kernel_new(a, "repeat", n->where);
  for (uint32_t i = 0; i < n->n_operands + n->n_results; i++) {
    const bool is_operand = i < n->n_operands;
    const value v = is_operand ? n->operands[i] : n->first_result + i - n->n_operands;
    kernel_add_buffer(f->kernel, "x", *graph_type(g, v), is_operand ? ACCESS_IN : ACCESS_OUT);
    uint32_t count = i;
    *ARENA_PUSH(a, f->values, count, f->values_capacity) = v;
  }
  return f;
}

/* The values that get a definition: what was chosen and is no leaf, and views that are results or what a loop reads. */
static fragment **define_all(const graph *g, const bool *materialised, const bool *computed, uint32_t *n, arena *a) {
  fragment **fragments = ARENA_ARRAY(a, fragment *, g->n_values);
  *n = 0;
  for (value v = 1; v < g->n_values; v++) {
    const bool is_leaf = value_role(g, v) == ROLE_LEAF;
    if (graph_node(g, v)->op == OP_REPEAT && g->values[v].result == 0) fragments[(*n)++] = define_repeat(g, graph_node(g, v), a);
    else if (!is_leaf && (computed[v] || materialised[v])) fragments[(*n)++] = define_value(g, materialised, v, a);
  }
  return fragments;
}

plan *pass_fuse(const graph *g, pass_context *c) {
  arena *a = c->arena;
  fusing f = {.graph = g, .context = c, .plan = plan_new(a, g->name), .capacity = 64, .names_capacity = 64};
  f.buffer_of = ARENA_ARRAY(a, int32_t, g->n_values);
  add_leaves(&f);
  bool *computed = ARENA_ARRAY(a, bool, g->n_values);
  struct copy {
    value value;
    uint32_t to;
  } *copies = ARENA_ARRAY(a, struct copy, g->n_results);
  uint32_t n_copies = 0, n = 0;
  for (uint32_t i = 0; i < g->n_results; i++) {
    const graph_result *r = &g->results[i];
    result_kind kind = kind_of_result(&f, r, computed[r->value]);
    if (kind == RESULT_UNCHANGED) continue;
    uint32_t buffer = plan_add_buffer(f.plan, result_buffer(&f, r, kind));
    if (kind == RESULT_COMPUTED) f.buffer_of[r->value] = (int32_t)buffer + 1;
    if (kind == RESULT_COMPUTED) computed[r->value] = true;
    if (kind == RESULT_COPIED) copies[n_copies++] = (struct copy){r->value, buffer};
  }
  for (uint32_t i = 0; i < g->n_nodes; i++)
    for (uint32_t k = 0; g->nodes[i].op == OP_REPEAT && k < g->nodes[i].n_operands; k++) computed[g->nodes[i].operands[k]] = true;
  fragment **fragments = NULL;
  for (bool *refused = NULL; !fragments;) {
    squares *s = find_squares(g, c->target, refused, a);
    const bool *materialised = choose_materialised(g, s, a);
    fragments = define_all(g, materialised, computed, &n, a);
    fragments = merge_fragments(g, fragments, &n, s, materialised, a);
    refused = s->refused;
  }
  while (f.capacity < 4 * (n + n_copies)) f.capacity *= 2;
  f.names_capacity = f.capacity;
  f.kernels = ARENA_ARRAY(a, kernel *, f.capacity);
  f.texts = ARENA_ARRAY(a, const char *, f.capacity);
  f.names = ARENA_ARRAY(a, const char *, f.names_capacity);
  f.name_count = ARENA_ARRAY(a, uint32_t, f.names_capacity);
  for (uint32_t i = 0; i < n; i++)
    if (!add_launch(&f, fragments[i])) return NULL;
  for (uint32_t i = 0; i < n_copies; i++)
    add_copy(&f, value_buffer(&f, copies[i].value), copies[i].to, f.plan->buffers[copies[i].to].where);
  return f.plan;
}
