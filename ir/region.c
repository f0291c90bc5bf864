#include "ir/region.h"

#include <stdlib.h>

#include "ir/graph_internal.h"

/* -- reading ------------------------------------------------------------------------------------------------- */

/* Decimal without sign or leading zeros, below `limit`. */
static bool read_number(const char *text, uint32_t limit, uint32_t *out) {
  char *end;
  unsigned long v = strtoul(text, &end, 10);
  bool plain = *text >= '0' && *text <= '9' && (*text != '0' || !text[1]) && !*end;
  if (!plain || v >= limit) return false;
  *out = (uint32_t)v;
  return true;
}

/* Which operand a parameter stands for. */
static bool find_operand(const region_view *r, uint32_t n_operands, const char *role, const char *name, uint32_t *out) {
  const uint32_t before = r->n_carries + r->n_slices;
  if (!strcmp(role, "state")) return read_number(name, r->n_carries, out);
  if (!strcmp(role, "slice") && read_number(name, r->n_slices, out)) {
    *out += r->n_carries;
    return true;
  }
  if (strcmp(role, "invariant") || !read_number(name, n_operands - before, out)) return false;
  *out += before;
  return true;
}

static bool find_result(const region_view *r, uint32_t n_results, const char *role, const char *name, uint32_t *out) {
  if (!strcmp(role, "state")) return read_number(name, r->n_carries, out);
  if (strcmp(role, "output") || !read_number(name, n_results - r->n_carries, out)) return false;
  *out += r->n_carries;
  return true;
}

const char *read_region(const node *n, arena *a, region_view *out) {
  const int64_t carries = node_integer(n, ATTR_CARRIES), slices = node_integer(n, ATTR_SLICES);
  *out = (region_view){.times = node_integer(n, ATTR_TIMES), .reverse = node_integer(n, ATTR_REVERSE) != 0};
  if (!n->region) return "a repeat without a region";
  if (out->times < 1 || out->times > INT32_MAX) return arena_printf(a, "a repeat runs 1 to %d times, not %lld", INT32_MAX, (long long)out->times);
  if (carries < 0 || slices < 0 || carries > n->n_operands || slices > n->n_operands - carries)
    return arena_printf(a, "%u operands are fewer than carries and slices", n->n_operands);
  if (n->n_results == 0) return "a region without results";
  if (carries > n->n_results) return arena_printf(a, "%lld carries, and the region has %u results", (long long)carries, n->n_results);
  out->n_carries = (uint32_t)carries;
  out->n_slices = (uint32_t)slices;
  out->parameters = ARENA_ARRAY(a, value, n->n_operands + 1);
  out->results = ARENA_ARRAY(a, value, n->n_results + 1);
  for (uint32_t i = 0; i < n->region->n_nodes; i++) {
    const node *at = &n->region->nodes[i];
    uint32_t k;
    if (at->op != OP_PARAMETER) continue;
    const char *role = node_attribute(at, ATTR_ROLE)->as.text, *name = node_attribute(at, ATTR_NAME)->as.text;
    if (!strcmp(role, "index")) out->index = at->first_result;
    else if (find_operand(out, n->n_operands, role, name, &k)) out->parameters[k] = at->first_result;
    else return arena_printf(a, "no operand is %s \"%s\" of the region", role, name);
  }
  for (uint32_t i = 0; i < n->region->n_results; i++) {
    const graph_result *at = &n->region->results[i];
    uint32_t k;
    if (!find_result(out, n->n_results, at->role, at->name, &k)) return arena_printf(a, "no result is %s \"%s\" of the region", at->role, at->name);
    out->results[k] = at->value;
  }
  for (uint32_t k = 0; k < out->n_carries; k++)
    if (!out->parameters[k]) return arena_printf(a, "carry %u has no parameter in the region", k);
  for (uint32_t k = 0; k < n->n_results; k++)
    if (!out->results[k]) return arena_printf(a, "result %u is given by nothing in the region", k);
  return NULL;
}

region_view node_region(const node *n, arena *a) {
  region_view r;
  read_region(n, a, &r);
  return r;
}

/* -- types ---------------------------------------------------------------------------------------------------- */

tensor_type region_slice_type(const tensor_type *whole) { return make_type(whole->dtype, whole->rank - 1, whole->dim + 1); }

tensor_type region_stacked_type(const tensor_type *slice, int64_t times) {
  int64_t dim[MAX_RANK] = {times};
  for (uint32_t i = 0; i < slice->rank && i + 1 < MAX_RANK; i++) dim[i + 1] = slice->dim[i];
  return make_type(slice->dtype, slice->rank + 1, dim);
}

static const char *check_operand(const graph *g, const node *n, const region_view *r, uint32_t k, arena *a) {
  tensor_type given = *graph_type(g, n->operands[k]);
  bool is_slice = k >= r->n_carries && k < r->n_carries + r->n_slices;
  if (is_slice && (given.rank == 0 || given.dim[0] != r->times))
    return arena_printf(a, "%s has no slice for each of %lld iterations", type_text(&given, a), (long long)r->times);
  if (is_slice) given = region_slice_type(&given);
  const tensor_type *wanted = r->parameters[k] ? graph_type(n->region, r->parameters[k]) : &given;
  if (type_equal(wanted, &given)) return NULL;
  return arena_printf(a, "operand %u gives %s, the region wants %s", k, type_text(&given, a), type_text(wanted, a));
}

const char *check_region(const graph *g, const node *n, tensor_type *types, arena *a) {
  region_view r;
  const char *error = read_region(n, a, &r);
  for (uint32_t k = 0; !error && k < n->n_operands; k++) error = check_operand(g, n, &r, k, a);
  if (error) return error;
  tensor_type number = scalar_type(DTYPE_I32);
  if (r.index && !type_equal(graph_type(n->region, r.index), &number)) return "the index of a region is i32[]";
  for (uint32_t k = 0; k < n->n_results; k++) {
    const tensor_type *inside = graph_type(n->region, r.results[k]);
    if (k < r.n_carries) {
      types[k] = *graph_type(g, n->operands[k]);
      if (!type_equal(inside, &types[k])) return arena_printf(a, "carry %u is %s, and next %s", k, type_text(&types[k], a), type_text(inside, a));
      continue;
    }
    if (inside->rank == MAX_RANK) return arena_printf(a, "%s has no room for another axis", type_text(inside, a));
    types[k] = region_stacked_type(inside, r.times);
  }
  return NULL;
}

/* -- dependence ------------------------------------------------------------------------------------------------- */

bool *region_depending_on(const node *n, const region_view *r, bool *operands, arena *scratch) {
  value *from = ARENA_ARRAY(scratch, value, n->n_operands + 1);
  for (;;) {
    uint32_t n_from = 0;
    bool changed = false;
    for (uint32_t k = 0; k < n->n_operands; k++)
      if (operands[k] && r->parameters[k]) from[n_from++] = r->parameters[k];
    bool *inside = graph_differentiable_from(n->region, from, n_from, scratch);
    for (uint32_t k = 0; k < r->n_carries; k++) {
      changed |= inside[r->results[k]] && !operands[k];
      operands[k] |= inside[r->results[k]];
    }
    if (!changed) return inside;
  }
}

bool *region_leading_to(const node *n, const region_view *r, bool *results, arena *scratch) {
  value *to = ARENA_ARRAY(scratch, value, n->n_results + 1);
  for (;;) {
    uint32_t n_to = 0;
    bool changed = false;
    for (uint32_t k = 0; k < n->n_results; k++)
      if (results[k]) to[n_to++] = r->results[k];
    bool *inside = graph_differentiable_to_any(n->region, to, n_to, scratch);
    for (uint32_t k = 0; k < r->n_carries; k++) {
      changed |= inside[r->parameters[k]] && !results[k];
      results[k] |= inside[r->parameters[k]];
    }
    if (!changed) return inside;
  }
}

/* -- building --------------------------------------------------------------------------------------------------- */

value region_parameter(graph *region, const char *role, uint32_t number, tensor_type type, span where) {
  return graph_parameter(region, role, arena_printf(region->arena, "%u", number), type, where);
}

void region_result(graph *region, const char *role, uint32_t number, value v, span where) {
  graph_add_result(region, role, arena_printf(region->arena, "%u", number), v, where);
}

value graph_repeat(graph *g, const region_view *form, const graph *body, const value *operands, uint32_t n_operands, span where, const char **error) {
  const int64_t numbers[] = {form->times, form->n_carries, form->n_slices, 1};
  static const attribute_key keys[] = {ATTR_TIMES, ATTR_CARRIES, ATTR_SLICES, ATTR_REVERSE};
  attribute attributes[4];
  for (uint32_t i = 0; i < 4; i++) attributes[i] = (attribute){.key = keys[i], .n = 1, .as.integers = &numbers[i]};
  return graph_add_repeat(g, operands, n_operands, attributes, form->reverse ? 4 : 3, body, where, error);
}
