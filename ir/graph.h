/* The tensor graph: SSA, typed, every node with the source span it came from. A graph is a value:
 * passes read one and build another, in the same arena or a new one. */
#ifndef SSLC_IR_GRAPH_H
#define SSLC_IR_GRAPH_H

#include "ir/contraction.h"
#include "ir/diagnostic.h"
#include "ir/op.h"

typedef uint32_t value; /* one result of one node; 0 is none */

typedef struct {
  attribute_key key;
  uint32_t n;
  union {
    const int64_t *integers; /* INTEGERS: n of them; INTEGER: one */
    scalar scalar;           /* SCALAR, of the node's element type */
    const void *elements;    /* ELEMENTS: n packed elements of the node's type */
    const char *text;        /* WORD, TEXT */
  } as;
} attribute;

typedef struct {
  op_id op;
  uint32_t n_operands, n_attributes, n_results;
  const value *operands;
  const attribute *attributes;
  value first_result; /* results are first_result, first_result + 1, ... */
  span where;
  const contraction *contraction; /* of OP_CONTRACT: its spec, parsed */
  const struct graph *region;     /* of OP_REPEAT */
} node;

typedef struct {
  const char *role; /* "state": the next value of that state; "metric"; "output" */
  const char *name;
  value value;
  span where;
} graph_result;

typedef struct graph {
  arena *arena;
  const char *name;
  node *nodes; /* in an order where operands come first */
  uint32_t n_nodes, nodes_capacity;
  struct {
    tensor_type type;
    uint32_t node;
    uint32_t result;
  } *values; /* values[0] is unused */
  uint32_t n_values, values_capacity;
  graph_result *results;
  uint32_t n_results, results_capacity;
} graph;

graph *graph_new(arena *a, const char *name);

/* -- building: the only way nodes come into being; types are inferred and checked here ------------- */

/* Adds a node. `declared` is needed by ops whose type the operands do not give (parameter, constant,
 * iota, reshape, broadcast, cast, bitcast, scatter_add; contract when an axis stands only in the
 * result), else NULL. On a type error: 0, and *error says expected and found (in the arena). */
value graph_add(graph *g, op_id op, const value *operands, uint32_t n_operands, const attribute *attributes,
                uint32_t n_attributes, const tensor_type *declared, span where, const char **error);

/* The same for a repeat; the region has to live as long as the graph. region.h has more. */
value graph_add_repeat(graph *g, const value *operands, uint32_t n_operands, const attribute *attributes, uint32_t n_attributes,
                       const graph *region, span where, const char **error);

/* Shorthands for builders that cannot err except by a bug (passes): they return 0 then, and the
 * verifier of the pass manager reports. All attributes are copied. */
value graph_parameter(graph *g, const char *role, const char *name, tensor_type type, span where);
value graph_splat(graph *g, tensor_type type, scalar v, span where);
value graph_number(graph *g, tensor_type type, double v, span where); /* converts to the type */
value graph_literal(graph *g, tensor_type type, const void *elements, span where);
value graph_iota(graph *g, tensor_type type, int64_t axis, span where);
value graph_unary(graph *g, op_id op, value x, span where);
value graph_binary(graph *g, op_id op, value x, value y, span where);
value graph_select(graph *g, value condition, value yes, value no, span where);
value graph_cast(graph *g, value x, dtype to, span where); /* x itself when it has that type */
value graph_reshape(graph *g, value x, uint32_t rank, const int64_t *dim, span where);
value graph_transpose(graph *g, value x, const int64_t *axes, span where);
value graph_broadcast(graph *g, value x, tensor_type to, const int64_t *axes, span where);
value graph_slice(graph *g, value x, const int64_t *start, const int64_t *stop, const int64_t *stride, span where);
value graph_pad(graph *g, value x, const int64_t *low, const int64_t *high, const int64_t *interior, double v, span where);
value graph_reverse(graph *g, value x, const int64_t *axes, uint32_t n, span where);
value graph_concat(graph *g, const value *x, uint32_t n, int64_t axis, span where);
value graph_gather(graph *g, value x, const value *indices, span where);
value graph_scatter_add(graph *g, value updates, const value *indices, tensor_type type, span where);
value graph_contract(graph *g, value x, value y, const char *spec, const tensor_type *declared, span where);
value graph_reduce(graph *g, op_id op, value x, const int64_t *axes, uint32_t n, span where);
value graph_argmax(graph *g, value x, int64_t axis, span where);
/* First of n results. */
value graph_grad(graph *g, value y, const value *x, uint32_t n, span where);
void graph_add_result(graph *g, const char *role, const char *name, value v, span where);

/* -- reading ----------------------------------------------------------------------------------------- */

static inline const tensor_type *graph_type(const graph *g, value v) { return &g->values[v].type; }
static inline const node *graph_node(const graph *g, value v) { return &g->nodes[g->values[v].node]; }
static inline span graph_span(const graph *g, value v) { return graph_node(g, v)->where; }
/* NULL when the node lacks that key. */
const attribute *node_attribute(const node *n, attribute_key key);
/* Integers of a key that the schema guarantees. */
const int64_t *node_integers(const node *n, attribute_key key);
int64_t node_axis(const node *n);
/* Of a key with one integer; 0 when the node lacks it. */
int64_t node_integer(const node *n, attribute_key key);
/* The same keys with the same content; `type` is what literals hold. */
bool node_same_attributes(const node *a, const node *b, dtype type);
/* The bytes of an attribute's content. */
const void *attribute_content(const attribute *a, dtype type, size_t *bytes);
/* True and the number when v is a constant with one value everywhere (also under views that keep it). */
bool graph_splat_value(const graph *g, value v, scalar *out);
/* Is v at most so many parts of extent 1, one behind the other along *axis? As channels of pictures are put together. */
enum { MOST_STACKED = 4 };
bool graph_is_stack(const graph *g, value v, int64_t *axis);
/* For each value: does it depend, through operands with a derivative, on `x`? (stop_grad, comparisons
 * and integer values cut.) The result has n_values entries, in `scratch`. */
bool *graph_differentiable_from(const graph *g, const value *x, uint32_t n, arena *scratch);
/* The other way: does `y`, or one of several, depend on it? */
bool *graph_differentiable_to(const graph *g, value y, arena *scratch);
bool *graph_differentiable_to_any(const graph *g, const value *y, uint32_t n, arena *scratch);

/* -- checking ---------------------------------------------------------------------------------------- */

/* Operands before uses, schemas, types re-inferred and equal, names of parameters and of results in a
 * role unique, every state result having a state parameter of the same type. NULL when sound, else
 * what is wrong. */
const char *graph_verify(const graph *g, arena *scratch);

/* -- text form ---------------------------------------------------------------------------------------- */

/* A line a node: `%7 = add(%5, %6) : f32[256,64] @12:3` (place optional; only for the one file
 * named in the head: `graph step from "simclr.ssl" {`; other files: @"name":12:3); behind that of a
 * repeat the lines of its region in braces, with values numbered on their own. Printing what was parsed gives the
 * same bytes; values are numbered in order when printed. */
char *graph_print(const graph *g, const sources *s, arena *into);
/* For Graphviz: values as boxes, grouped by the line of the program that they come from. Not read back. */
char *graph_dot(const graph *g, const sources *s, arena *into);
/* NULL when the text has errors, which are then in `d`. `file` is the text's number in d->sources. */
graph *graph_parse(arena *a, uint32_t file, diagnostics *d);

/* -- meaning ------------------------------------------------------------------------------------------- */

/* The reference interpreter: slow, plain, right. Reals are computed in double and rounded to their
 * type after every op. */
typedef struct {
  const char *role, *name;
  const void *data; /* packed, row-major */
} graph_binding;
typedef struct {
  void **data; /* per value: packed elements, in the arena given */
} graph_run;
/* Called behind each iteration of a repeat with what it computed, which does not outlive the call; false ends the
 * loop there. */
typedef bool iteration_watch(void *context, const graph *region, const graph_run *run, int64_t index);
/* Runs a repeat on the data of its operands (per value of its graph), and writes that of its results. False when its
 * region cannot be run. `watch` may be NULL. */
bool graph_interpret_repeat(const graph *g, const node *n, void **data, iteration_watch *watch, void *context, const char **error);
/* Every parameter needs a binding (matched by role and name). Returns NULL when one is missing or the
 * graph still has a grad node; then *error says which. */
graph_run *graph_interpret(const graph *g, const graph_binding *bindings, uint32_t n, arena *into, const char **error);

#endif
