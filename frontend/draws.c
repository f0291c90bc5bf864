/* Draws. The bits of a draw are Philox of a key and a counter: the key is the seed, the counter holds the
 * element (across the batch of an augmentation, so each sample has its own), the site and the step. So
 * they are the same on every device and after a resume, and a `report` more or less changes none. */
#include "frontend/elaborate.h"

enum { NO_STEP = -1 }; /* stands for the step in the graph of first values */

static uint64_t site_hash(const char *site) {
  uint64_t hash = 14695981039346656037u; /* FNV-1a */
  for (; *site; site++) hash = (hash ^ (unsigned char)*site) * 1099511628211u;
  return hash;
}

/* A scalar repeated n times. */
static value repeated(elaborator *e, value scalar_value, int64_t n, span user) {
  return graph_broadcast(e->graph, scalar_value, make_type(DTYPE_U32, 1, &n), NULL, user);
}

static value word(elaborator *e, uint32_t bits, int64_t n, span user) {
  return graph_splat(e->graph, make_type(DTYPE_U32, 1, &n), (scalar){.integer = bits}, user);
}

/* The number of each element among all that the site draws: iterations of loops come one behind the other. 0 when there are
 * more than can be told apart. */
static value elements(elaborator *e, int64_t n, span user) {
  graph *g = e->graph;
  int64_t times, all;
  value element = graph_cast(g, graph_iota(g, make_type(DTYPE_I32, 1, &n), 0, user), DTYPE_U32, user), iteration = iteration_number(e, &times, user);
  if (__builtin_mul_overflow(n, times, &all) || all > INT32_MAX) return 0;
  if (!iteration) return element;
  value first = graph_binary(g, OP_MUL, iteration, graph_number(g, scalar_type(DTYPE_I32), (double)n, user), user);
  return graph_binary(g, OP_ADD, element, repeated(e, graph_cast(g, first, DTYPE_U32, user), n, user), user);
}

/* u32[n] of fresh bits; `site` names the draw. */
static value draw_bits(elaborator *e, int64_t n, const char *site, span user) {
  graph *g = e->graph, *root = root_graph(e);
  int64_t two = 2;
  value seed = graph_input(e, "seed", "seed", make_type(DTYPE_U32, 1, &two), user);
  value key[2];
  for (int64_t i = 0; i < 2; i++) {
    value part = graph_slice(g, seed, (int64_t[]){i}, (int64_t[]){i + 1}, (int64_t[]){1}, user);
    key[i] = repeated(e, graph_reshape(g, part, 0, NULL, user), n, user);
  }
  const char *clock = root == e->step ? "step" : "round"; /* evaluations count their batches */
  value step = word(e, (uint32_t)NO_STEP, n, user);
  if (root != e->init) step = repeated(e, graph_cast(g, graph_input(e, "clock", clock, scalar_type(DTYPE_I32), user), DTYPE_U32, user), n, user);
  uint64_t hash = site_hash(site);
  value element = elements(e, n, user);
  if (!element) return 0;
  value operands[] = {key[0], key[1], element, word(e, (uint32_t)hash, n, user), step, word(e, (uint32_t)(hash >> 32), n, user)};
  const char *error = NULL;
  return graph_add(g, OP_RANDOM_BITS, operands, 6, NULL, 0, NULL, user, &error);
}

object draw_uniform(elaborator *e, const tensor_type *shape, span where) {
  span user = user_place(e, where);
  bool batched = batch_size(e) > 0;
  const char *site = next_path(e, e->frame->site, &e->frame->sites, "draw");
  tensor_type full = graph_side_type(e, make_type(e->real, shape->rank, shape->dim), batched);
  int64_t n = type_elements(&full);
  if (n > INT32_MAX) return refuse(e, DIAG_BAD_VALUE, where, "a draw of more than %d numbers", INT32_MAX);
  value bits = draw_bits(e, n, site, user);
  if (!bits) return refuse(e, DIAG_BAD_VALUE, where, "a draw of more than %d numbers in all iterations", INT32_MAX);
  value top = graph_binary(e->graph, OP_SHR, bits, word(e, 8, n, user), user);
  value real = graph_cast(e->graph, top, e->real, user);
  value unit = graph_binary(e->graph, OP_MUL, real, graph_number(e->graph, make_type(e->real, 1, &n), 0x1p-24, user), user);
  return tensor_object(e, graph_reshape(e->graph, unit, full.rank, full.dim, user), batched, where);
}
