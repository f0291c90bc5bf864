/* The body of a loop while it is elaborated: a graph of its own. Tensors of the graphs around come in as invariants when they
 * are used, state as a carry, and what the step reads (fields, clock, seed, weights) is read in the outermost graph. */
#include "ir/region.h"

#include "frontend/elaborate.h"

/* -- where we are ------------------------------------------------------------------------------------------------ */

graph *root_graph(const elaborator *e) {
  const loop_region *r = e->region;
  while (r && r->around) r = r->around;
  return r ? r->outer : e->graph;
}

place_in_graphs leave_regions(elaborator *e) {
  place_in_graphs before = {e->graph, e->region};
  e->graph = root_graph(e);
  e->region = NULL;
  return before;
}

static place_in_graphs leave_region(elaborator *e) {
  place_in_graphs before = {e->graph, e->region};
  e->graph = e->region->outer;
  e->region = e->region->around;
  return before;
}

void return_to(elaborator *e, place_in_graphs before) {
  e->graph = before.graph;
  e->region = before.region;
}

/* -- what comes in ----------------------------------------------------------------------------------------------- */

/* A value of the graph around, as an invariant. */
static value captured(elaborator *e, loop_region *r, value outside, span where) {
  for (uint32_t i = 0; i < r->n_captures; i++)
    if (r->captures[i].outside == outside) return r->captures[i].inside;
  const tensor_type type = *graph_type(r->outer, outside);
  const value inside = region_parameter(r->graph, "invariant", r->n_captures, type, user_place(e, where));
  ARENA_PUSH(e->arena, r->captures, r->n_captures, r->captures_capacity);
  r->captures[r->n_captures - 1].outside = outside;
  r->captures[r->n_captures - 1].inside = inside;
  return inside;
}

/* The value in the graph of region r (or the outermost one), when it comes from one of the graphs around; 0 when not. */
static value value_in(elaborator *e, loop_region *r, const graph *from, value v, span where) {
  if (!r) return 0;
  if (from == r->graph) return v;
  value outside = from == r->outer ? v : value_in(e, r->around, from, v, where);
  return outside ? captured(e, r, outside, where) : 0;
}

bool bring_here(elaborator *e, object *o, span where) {
  if (o->tensor.graph == e->graph) return true;
  value v = value_in(e, e->region, o->tensor.graph, o->tensor.value, where);
  if (!v) return false;
  o->tensor.graph = e->graph;
  o->tensor.value = v;
  return true;
}

value value_of_root(elaborator *e, value v, span where) { return e->region ? value_in(e, e->region, root_graph(e), v, where) : v; }

/* -- state --------------------------------------------------------------------------------------------------------- */

static region_cell *add_carried_cell(elaborator *e, loop_region *r, cell *c) {
  place_in_graphs before = leave_region(e);
  value first = cell_now(e, c);
  return_to(e, before);
  region_cell *at = ARENA_PUSH(e->arena, r->cells, r->n_cells, r->cells_capacity);
  *at = (region_cell){.cell = c, .first = first};
  at->now = region_parameter(r->graph, "state", r->n_carries + r->n_cells - 1, c->type, c->where);
  return at;
}

value *carried_cell(elaborator *e, cell *c) {
  loop_region *r = e->region;
  for (uint32_t i = 0; i < r->n_cells; i++)
    if (r->cells[i].cell == c) return &r->cells[i].now;
  return &add_carried_cell(e, r, c)->now;
}

/* -- iterations -------------------------------------------------------------------------------------------------------- */

value iteration_number(elaborator *e, int64_t *times, span where) {
  loop_region *r = e->region;
  *times = 1;
  if (!r) return 0;
  const span user = user_place(e, where);
  if (!r->index) r->index = graph_parameter(r->graph, "index", "i", scalar_type(DTYPE_I32), user);
  place_in_graphs before = leave_region(e);
  value around = iteration_number(e, times, where);
  return_to(e, before);
  if (__builtin_mul_overflow(*times, r->times, times)) *times = INT64_MAX;
  if (!around) return r->index;
  value whole = graph_number(r->graph, scalar_type(DTYPE_I32), (double)r->times, user);
  value earlier = graph_binary(r->graph, OP_MUL, captured(e, r, around, where), whole, user);
  return graph_binary(r->graph, OP_ADD, earlier, r->index, user);
}

/* -- begin and end ------------------------------------------------------------------------------------------------------ */

bool enter_region(elaborator *e, int64_t times, bool reverse, uint32_t n_carries, uint32_t n_slices, loop_region *r, span where) {
  *r = (loop_region){.around = e->region, .outer = e->graph, .times = times, .reverse = reverse, .n_carries = n_carries, .n_slices = n_slices};
  uint32_t depth = 0;
  for (const loop_region *at = e->region; at; at = at->around) depth++;
  if (depth >= DEEPEST_LOOP) {
    refuse(e, DIAG_TOO_LONG, where, "loops over time stand within each other %d deep", DEEPEST_LOOP);
    return false;
  }
  r->graph = graph_new(e->arena, "region");
  e->graph = r->graph;
  e->region = r;
  return true;
}

void leave_failed_region(elaborator *e, const loop_region *r) {
  e->graph = r->outer;
  e->region = r->around;
}

value finish_region(elaborator *e, loop_region *r, const value *carries, const value *slices, span where) {
  const uint32_t n = r->n_carries + r->n_cells + r->n_slices + r->n_captures;
  value *operands = ARENA_ARRAY(e->arena, value, n + 1);
  uint32_t at = 0;
  for (uint32_t k = 0; k < r->n_carries; k++) operands[at++] = carries[k];
  for (uint32_t k = 0; k < r->n_cells; k++) operands[at++] = r->cells[k].first;
  for (uint32_t k = 0; k < r->n_slices; k++) operands[at++] = slices[k];
  for (uint32_t k = 0; k < r->n_captures; k++) operands[at++] = r->captures[k].outside;
  for (uint32_t k = 0; k < r->n_cells; k++) region_result(r->graph, "state", r->n_carries + k, r->cells[k].now, where);
  leave_failed_region(e, r);
  const region_view form = {.times = r->times, .reverse = r->reverse, .n_carries = r->n_carries + r->n_cells, .n_slices = r->n_slices};
  const char *error = "";
  value made = graph_repeat(e->graph, &form, r->graph, operands, n, user_place(e, where), &error);
  if (!made) refuse(e, DIAG_SHAPE_MISMATCH, where, "this loop cannot be built: %s", error);
  for (uint32_t k = 0; made && k < r->n_cells; k++) set_cell_now(e, r->cells[k].cell, made + r->n_carries + k);
  return made;
}
