/* A contraction: a tile of the result that stays in registers, the loops around it, and the sums inside. */
#include "passes/register_tile.h"
#include "passes/schedule.h"

enum {
  MOST_ROWS = 64, /* of a streamed contraction, for one piece */
  ENOUGH_PIECES = 8
};

/* Whether an axis stands in some access only together with others (a window), so that tiles of it meet edges. */
typedef struct {
  uint32_t axis;
  bool window;
} window_test;

static void test_window(void *context, const expr *read) {
  window_test *t = context;
  for (uint32_t i = 0; i < read->n_args; i++)
    if (read->args[i]->axes & AXIS(t->axis) && read->args[i]->axes != AXIS(t->axis)) t->window = true;
}

/* Whether some condition depends on both axes: a tap and the tile that it slides over. */
typedef struct {
  axis_set both;
  bool found;
} meeting;

static void test_meeting(void *context, const expr *read) {
  meeting *m = context;
  for (uint32_t i = 0; i < read->n_conditions; i++) m->found |= (read->conditions[i].subject->axes & m->both) == m->both;
}

static bool meets(const scheduler *s, uint32_t a, uint32_t b) {
  meeting m = {AXIS(a) | AXIS(b), false};
  visit_all_reads(s->kernel, test_meeting, &m);
  return m.found;
}

typedef struct {
  uint32_t vector;
  int32_t row;   /* the axis of the rows; -1: the other operand has none */
  int32_t group; /* a second one, of whole tiles together, where the first is short; -1: none */
  int64_t vectors, rows, groups;
  int64_t panel; /* elements of the vector axis */
  int64_t unit;  /* rows of a tile of a matrix unit; 0: none is used */
  axis_set free, inner; /* of the sum: axes it keeps, and axes it reduces */
} register_tile;

enum { MOST_VECTORS = 4, FEW_ROWS = 4, FEW_TAPS = 3, LONGEST_SPELLED = 16, EDGE_BLOCK = 8 };

static void choose_group(const scheduler *s, axis_set among, register_tile *t) {
  const int64_t most = tile_most_rows(s->target) / t->rows;
  if (t->row < 0 || most < 2) return;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (among & s->shared & AXIS(a) && (int32_t)a != t->row && extent(s, a) >= 2 && (t->group < 0 || extent(s, a) > extent(s, (uint32_t)t->group))) t->group = (int32_t)a;
  if (t->group >= 0) t->groups = extent(s, (uint32_t)t->group) < most ? extent(s, (uint32_t)t->group) : most;
}

/* What the operand that feeds the vectors takes in memory. */
static int64_t vector_operand_bytes(const scheduler *s, const contraction_form *c, const register_tile *t) {
  const axis_set axes = (c->left_only & AXIS(t->vector) ? c->left_only : c->right_only) | c->reduced;
  int64_t bytes = s->target->vector_bytes / s->lanes;
  for (uint32_t a = 0; a < s->kernel->n_axes && bytes <= s->target->l2_bytes; a++)
    if (axes & AXIS(a)) bytes *= extent(s, a);
  return bytes;
}

/* Elements between values of an operand along an axis; INT64_MAX where it is no plain read. */
static int64_t operand_stride(const scheduler *s, const expr *e, uint32_t axis) {
  while (e->kind == EXPR_APPLY && e->n_args == 1) e = e->args[0];
  return e->kind == EXPR_READ ? access_stride(s->kernel, e->number, e->args, axis) : INT64_MAX;
}

static void choose_for_warps(const scheduler *s, const contraction_form *c, axis_set other_side, register_tile *t) {
  const expr *other = c->left_only & AXIS(t->vector) ? c->right : c->left;
  const int32_t sum = best_axis(s, c->reduced, contiguity);
  tile_question q = {.rows = 1, .groups = 1, .vector = extent(s, t->vector), .others = 1, .lanes = s->lanes};
  if (t->row >= 0) q.rows = extent(s, (uint32_t)t->row), q.wide_rows = operand_stride(s, other, (uint32_t)t->row) == 1;
  q.wide_sums = sum >= 0 && extent(s, (uint32_t)sum) % 4 == 0 && operand_stride(s, other, (uint32_t)sum) == 1;
  for (uint32_t a = 0; t->row >= 0 && a < s->kernel->n_axes; a++)
    if (other_side & ~s->edges & s->shared & AXIS(a) && (int32_t)a != t->row && (t->group < 0 || extent(s, a) > extent(s, (uint32_t)t->group))) t->group = (int32_t)a;
  if (t->group >= 0) q.groups = extent(s, (uint32_t)t->group);
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if ((t->free | c->batch) & AXIS(a) && a != t->vector && (int32_t)a != t->row && (int32_t)a != t->group) q.others *= extent(s, a);
  const warp_tile tile = tile_for_warps(&q);
  t->rows = tile.rows;
  t->groups = tile.groups;
  t->vectors = tile.vectors;
  t->panel = t->vectors * s->lanes;
  if (t->groups == 1) t->group = -1;
}

/* The widest panel that an axis lies in. */
typedef struct {
  const kernel *kernel;
  uint32_t axis;
  int64_t width;
} panel_test;

static void test_panel(void *context, const expr *read) {
  panel_test *t = context;
  const layout *l = &t->kernel->buffers[read->number].layout;
  for (uint32_t i = 0; i < l->n; i++)
    if (read->args[l->part[i].dim]->axes & AXIS(t->axis) && l->part[i].divisor > t->width) t->width = l->part[i].divisor;
}

static int64_t panel_of(const scheduler *s, uint32_t axis) {
  panel_test t = {s->kernel, axis, 1};
  visit_all_reads(s->kernel, test_panel, &t);
  return t.width;
}

static bool choose_registers(const scheduler *s, const contraction_form *c, register_tile *out) {
  const kernel *k = s->kernel;
  axis_set free = c->left_only | c->right_only;
  if (s->target->warps && (!c->left_only || !c->right_only)) return false; /* nothing is used twice */
  int32_t vector = best_axis(s, free & s->shared, vector_score);
  if (vector < 0 || extent(s, (uint32_t)vector) < s->lanes / 2) return false;
  axis_set other_side = c->left_only & AXIS(vector) ? c->right_only : c->left_only;
  *out = (register_tile){.vector = (uint32_t)vector, .row = -1, .group = -1, .rows = 1, .groups = 1, .free = free, .inner = s->used & ~free & ~c->batch};
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(other_side & s->shared & AXIS(a)) || extent(s, a) < 2) continue;
    if (out->row < 0 || extent(s, a) >= FEW_ROWS || extent(s, a) > extent(s, (uint32_t)out->row)) out->row = (int32_t)a;
  }
  if (s->target->warps) return choose_for_warps(s, c, other_side, out), true;
  if (out->row >= 0) out->rows = tile_rows(s->target, extent(s, (uint32_t)out->row));
  for (const int64_t panel = out->row >= 0 ? panel_of(s, (uint32_t)out->row) : 1; panel > 1 && panel % out->rows;) out->rows--; /* none across two panels */
  choose_group(s, other_side & ~s->edges, out);
  int64_t vectors = (extent(s, out->vector) + s->lanes - 1) / s->lanes, most = out->rows * out->groups <= FEW_ROWS ? MOST_VECTORS : TILE_VECTORS;
  out->vectors = vectors < most ? vectors : most;
  out->panel = out->vectors * s->lanes;
  return true;
}

/* The bf16 that an operand widens; NULL for other operands. */
static const expr *narrow_read(const expr *e) {
  bool widens = e->kind == EXPR_APPLY && e->op == OP_CAST && e->type == DTYPE_F32;
  return widens && e->args[0]->kind == EXPR_READ && e->args[0]->type == DTYPE_BF16 ? e->args[0] : NULL;
}

/* A reduced axis along which both operands have neighbours side by side, the one that feeds vectors pair by pair. */
static void find_pairs(scheduler *s, const contraction_form *c, const register_tile *t) {
  const kernel *k = s->kernel;
  const expr *left = narrow_read(c->left), *right = narrow_read(c->right);
  if (!left || !right) return;
  const expr *vector = c->left_only & AXIS(t->vector) ? left : right, *other = vector == left ? right : left;
  if (!ends_in_pairs(&k->buffers[vector->number]) || access_stride(k, vector->number, vector->args, t->vector) != 2) return;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(c->reduced & AXIS(a)) || extent(s, a) % 2) continue;
    if (access_stride(k, vector->number, vector->args, a) != 1 || access_stride(k, other->number, other->args, a) != 1) continue;
    s->pair = (int32_t)a;
    s->pair_step = 2;
    s->pair_is_inner = !ends_in_pairs(&k->buffers[other->number]);
  }
}

/* Rows of a tile of a matrix unit: they divide the extent; 0 when too few would. */
static int64_t unit_rows(int64_t extent) {
  enum { MOST = 16, LEAST = 8 };
  for (int64_t rows = MOST; rows >= LEAST; rows--)
    if (extent % rows == 0) return rows;
  return 0;
}

/* Whether conditions of the operand that has rows can be told row by row, and others by the loops around. */
static bool edges_by_row(const scheduler *s, const expr *read, uint32_t row, axis_set inside) {
  for (uint32_t i = 0; i < read->n_conditions; i++) {
    const condition *c = &read->conditions[i];
    int64_t coefficient[MAX_AXES], offset;
    if (c->subject->axes & inside) return false;
    if (!(c->subject->axes & AXIS(row))) continue;
    if (c->divisor != 1 || !expr_affine(s->kernel, c->subject, coefficient, &offset) || coefficient[row] < 1) return false;
  }
  return true;
}

/* Four tiles of sums, of which each takes in UNIT_SUMS neighbours of the sum at once. */
static void choose_unit(scheduler *s, const contraction_form *c, register_tile *t) {
  enum { UNIT_LANES = 16, UNIT_SUMS = 32, MOST_TILES = 4 };
  if (!s->target->tiles || s->lanes != UNIT_LANES || s->pair < 0 || !s->pair_is_inner || t->row < 0) return;
  const uint32_t row = (uint32_t)t->row, pair = (uint32_t)s->pair;
  const expr *left = narrow_read(c->left), *right = narrow_read(c->right);
  const expr *vector = c->left_only & AXIS(t->vector) ? left : right, *other = vector == left ? right : left;
  const int64_t rows = unit_rows(extent(s, row)), stride = access_stride(s->kernel, other->number, other->args, row);
  if (!rows || extent(s, pair) % UNIT_SUMS || extent(s, t->vector) % UNIT_LANES || stride == INT64_MAX || stride < 1) return;
  if (!edges_by_row(s, other, row, AXIS(pair) | AXIS(t->vector)) || !edges_by_row(s, vector, row, AXIS(row) | AXIS(pair) | AXIS(t->vector))) return;
  const int64_t together = extent(s, row) % (2 * rows) == 0 ? 2 : 1;
  int64_t vectors = MOST_TILES / together;
  while (extent(s, t->vector) % (vectors * UNIT_LANES)) vectors /= 2;
  if (vectors % TILE_VECTORS && extent(s, t->vector) > TILE_VECTORS * UNIT_LANES) return; /* it would cut panels of the layout */
  t->unit = rows;
  t->rows = rows * together;
  t->vectors = vectors;
  t->panel = t->vectors * UNIT_LANES;
  t->group = -1;
  t->groups = 1;
  s->pair_step = UNIT_SUMS;
}

/* What one panel of the vectors takes. */
static int64_t panel_bytes(const scheduler *s, const contraction_form *c, const register_tile *t) {
  int64_t bytes = t->panel * s->target->vector_bytes / s->lanes;
  for (uint32_t a = 0; a < s->kernel->n_axes && bytes <= s->target->l2_bytes; a++)
    if (c->reduced & AXIS(a)) bytes *= extent(s, a);
  return bytes;
}

static int64_t panels_together(const scheduler *s, const contraction_form *c, const register_tile *t) {
  const int64_t bytes = panel_bytes(s, c, t);
  int64_t together = 1;
  while (!s->target->warps && t->row >= 0 && 2 * together * t->panel < extent(s, t->vector) && 2 * together * bytes <= s->target->l2_bytes / 4) together *= 2;
  return together;
}

/* Whether what follows the sum reads memory of the result's shape. */
typedef struct {
  axis_set tile;
  bool found;
} epilogue_test;

static void test_epilogue(void *context, const expr *read) {
  epilogue_test *t = context;
  t->found |= (read->axes & t->tile) == t->tile;
}

static bool epilogue_reads(const scheduler *s, const register_tile *t) {
  epilogue_test test = {.tile = AXIS(t->vector) | (t->row < 0 ? 0 : AXIS(t->row))};
  visit_all_reads(s->kernel, test_epilogue, &test); /* an operand of the product has one of both axes */
  return test.found && t->row >= 0;
}

/* The axis of the sum that lies contiguous, outside of those that are streamed; -1: none. */
static int32_t innermost_sum(const scheduler *s, const register_tile *t, axis_set streamed) {
  axis_set pair = s->pair >= 0 && !s->pair_is_inner ? AXIS(s->pair) : 0;
  int32_t best = best_axis(s, t->inner & s->reduced & ~streamed & ~pair, contiguity);
  return best >= 0 || pair & streamed ? best : best_axis(s, pair, contiguity);
}

/* Results of a window's taps, of which there are few and which move over what is summed: a weight gradient. */
static axis_set few_taps(const scheduler *s, const contraction_form *c, axis_set among) {
  axis_set taps = 0;
  for (uint32_t a = 0; !s->target->warps && a < s->kernel->n_axes; a++) /* warps are too many to take turns */
    for (uint32_t r = 0; among & AXIS(a) && extent(s, a) <= FEW_TAPS && r < s->kernel->n_axes; r++)
      if (c->reduced & AXIS(r) && meets(s, a, r)) taps |= AXIS(a);
  return taps;
}

/* Loops over them; what decides the ends of the innermost sum is spelled out. */
static void add_taps(scheduler *s, const register_tile *t, axis_set taps, axis_set streamed) {
  const int32_t last = innermost_sum(s, t, streamed);
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (taps & AXIS(a)) add_loop(s, a, 1, last >= 0 && extent(s, a) <= FEW_TAPS && meets(s, a, (uint32_t)last) ? LOOP_UNROLL : LOOP_SERIAL);
}

/* What the buffer takes that an operand comes from; 0: it is none. */
static int64_t buffer_bytes(const scheduler *s, const expr *e) {
  while (e->kind == EXPR_APPLY && e->n_args == 1) e = e->args[0];
  const kernel_buffer *b = e->kind == EXPR_READ ? &s->kernel->buffers[e->number] : NULL;
  return b ? layout_bytes(&b->layout, &b->type) : 0;
}

/* Indices of the first axis (images) for which all panels pass by before the next ones come, where the panels would not stay
 * in the second cache from one image to the next: what the images read stays there instead, beside one panel. Read panel by
 * panel from farther away, they arrive line by line and late. 0 where too little is done for each panel that is fetched. */
static int64_t images_together(const scheduler *s, const contraction_form *c, const register_tile *t, uint32_t first, axis_set others) {
  enum { ENOUGH_USES = 128 }; /* of what is fetched of a panel */
  const int64_t panel = panel_bytes(s, c, t), all = buffer_bytes(s, c->left_only & AXIS(t->vector) ? c->right : c->left), image = all / extent(s, first);
  int64_t uses = t->row < 0 ? 1 : extent(s, (uint32_t)t->row), together = (int32_t)first == t->group ? t->groups : 1;
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (others & AXIS(a) && a != first) uses *= extent(s, a);
  while (together * 2 <= extent(s, first) && panel + together * 2 * image <= s->target->l2_bytes / 2) together *= 2;
  return image && uses * together >= ENOUGH_USES && panel + together * image <= s->target->l2_bytes * 3 / 4 ? together : 0;
}

/* Loops around the tiles when sums are short enough to be completed tile by tile. */
static void add_tiles(scheduler *s, const contraction_form *c, const register_tile *t) {
  const kernel *k = s->kernel;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  const bool cut_vector = extent(s, t->vector) > t->panel;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (c->batch & s->shared & AXIS(a)) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  axis_set others = t->free & s->shared & ~AXIS(t->vector);
  if (t->row >= 0) others &= ~AXIS(t->row);
  const axis_set taps = few_taps(s, c, others);
  others &= ~taps;
  /* Panels of the vector operand are used again by everything inside: they stand behind the first axis, and outside of
   * all when the operand would not stay in the second cache from one round to the next, or behind so many of the first
   * axis as stay there. Of a product, the rows stay in the first cache while the panels that the second holds pass by. */
  const int64_t together = others && !epilogue_reads(s, t) ? 1 : panels_together(s, c, t);
  bool panel_first = !others || s->target->warps || vector_operand_bytes(s, c, t) > s->target->l2_bytes;
  if (cut_vector && panel_first && others && !s->target->warps) {
    const uint32_t a = (uint32_t)__builtin_ctzll(others);
    const int64_t images = images_together(s, c, t, a, others), step = (int32_t)a == t->group ? t->groups : 1;
    if (images > step) outer[n++] = (schedule_loop){.axis = a, .step = images};
    panel_first = images != step;
  }
  const schedule_loop panels = {.axis = t->vector, .step = t->panel * together};
  if (cut_vector && panel_first) outer[n++] = panels;
  for (uint32_t a = 0, first = n; a < k->n_axes; a++) {
    if (!(others & AXIS(a))) continue;
    outer[n++] = (schedule_loop){.axis = a, .step = (int32_t)a == t->group ? t->groups : 1};
    if (cut_vector && !panel_first && n == first + 1) outer[n++] = panels;
  }
  if (t->row >= 0 && extent(s, (uint32_t)t->row) > t->rows) outer[n++] = (schedule_loop){.axis = (uint32_t)t->row, .step = t->rows};
  if (cut_vector && together > 1) outer[n++] = (schedule_loop){.axis = t->vector, .step = t->panel};
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  for (uint32_t a = 0; a < k->n_axes; a++) /* what other stages do not have */
    if ((c->batch | t->free) & ~s->shared & AXIS(a)) add_loop(s, a, 1, LOOP_SERIAL);
  add_taps(s, t, taps, 0); /* they read the same panels */
}

/* A sum over so much that the panel of vectors leaves the first cache within a tile (weight gradients, which sum
 * over a batch of images) is streamed: its outer axes run outside of the tiles, `step` at a time of the last, so
 * that a panel stays in the first cache, and tiles add to partial sums that stay in the second. Only where results
 * are few enough for that; `piece` rows of them at a time, so that the threads have their pieces. */
typedef struct {
  axis_set axes;
  int32_t last; /* of them; what a step leaves is summed inside */
  int64_t step, piece;
} streaming;

static streaming choose_stream(const scheduler *s, const contraction_form *c, const register_tile *t) {
  const kernel *k = s->kernel;
  streaming out = {.last = -1, .step = 1, .piece = t->rows};
  int64_t bytes = t->panel * (s->pair >= 0 ? 2 : 4), partial = t->panel * 4;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (c->reduced & AXIS(a)) bytes *= extent(s, a);
  if (t->row < 0 || s->target->warps || (bytes <= s->target->l2_bytes / 4 && bytes / t->panel * t->rows <= 2 * s->target->l1_bytes)) return out;
  const int64_t rows = extent(s, (uint32_t)t->row);
  if (rows <= MOST_ROWS && bytes <= s->target->l2_bytes / 2) return out; /* the few tiles of a panel find it in the second cache */
  const int64_t panels = (extent(s, t->vector) + t->panel - 1) / t->panel;
  while (out.piece * 2 <= MOST_ROWS && (rows + 2 * out.piece - 1) / (2 * out.piece) * panels >= ENOUGH_PIECES) out.piece *= 2;
  partial *= out.piece;
  for (uint32_t a = 0; a < k->n_axes && partial <= s->target->l2_bytes; a++)
    if (t->free & AXIS(a) && a != t->vector && (int32_t)a != t->row) partial *= extent(s, a);
  if (partial > s->target->l2_bytes / 4) return out;
  for (uint32_t a = 0; a < k->n_axes && bytes > s->target->l1_bytes; a++) {
    if (!(c->reduced & AXIS(a))) continue;
    out.axes |= AXIS(a);
    out.last = (int32_t)a;
    bytes /= extent(s, a);
  }
  if (out.last == s->pair) out.step = s->pair_step;
  while (out.step * 2 <= extent(s, (uint32_t)out.last) && out.step * 2 * bytes <= s->target->l1_bytes) out.step *= 2;
  return out;
}

static void add_streams(scheduler *s, const contraction_form *c, const register_tile *t, const streaming *stream) {
  const kernel *k = s->kernel;
  schedule_loop outer[MAX_AXES] = {{0}};
  uint32_t n = 0;
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (c->batch & s->shared & AXIS(a)) outer[n++] = (schedule_loop){.axis = a, .step = 1};
  /* The larger operand is read once: its axis is the outer one. */
  const schedule_loop pieces = {.axis = (uint32_t)t->row, .step = stream->piece}, panels = {.axis = t->vector, .step = t->panel};
  const bool vector_left = (c->left_only & AXIS(t->vector)) != 0, panels_first = buffer_bytes(s, vector_left ? c->left : c->right) > buffer_bytes(s, vector_left ? c->right : c->left);
  if (extent(s, t->vector) > t->panel && panels_first) outer[n++] = panels;
  if (extent(s, (uint32_t)t->row) > stream->piece) outer[n++] = pieces;
  if (extent(s, t->vector) > t->panel && !panels_first) outer[n++] = panels;
  add_outer_loops(s, outer, n, points(s) >= SMALL_KERNEL);
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (stream->axes & AXIS(a)) add_loop(s, a, (int32_t)a == stream->last ? stream->step : (int32_t)a == s->pair ? s->pair_step : 1, LOOP_SERIAL);
  /* The rows' values are read again by what follows: the other free axes, taps of a window. */
  if (stream->piece > t->rows && extent(s, (uint32_t)t->row) > t->rows) add_loop(s, (uint32_t)t->row, t->rows, LOOP_SERIAL);
  add_taps(s, t, (t->free | (c->batch & ~s->shared)) & ~AXIS(t->vector) & ~AXIS(t->row), stream->axes);
}

/* The innermost sum. A short one is spelled out: its end would be mispredicted again and again; so are its ends where it
 * runs over an edge. */
static void add_innermost_sum(scheduler *s, uint32_t axis, int64_t sums_of_a_tile) {
  if ((int32_t)axis == s->pair && s->pair_step > 2) {
    if (extent(s, axis) > s->pair_step) add_loop(s, axis, s->pair_step, LOOP_SERIAL);
    return;
  }
  if ((int32_t)axis == s->pair) {
    const int64_t several = extent(s, axis) % 8 == 0 ? 8 : extent(s, axis) % 4 == 0 ? 4 : 2;
    if (extent(s, axis) > several) add_loop(s, axis, several, LOOP_SERIAL);
    if (several > 2) add_loop(s, axis, 2, LOOP_UNROLL);
    return;
  }
  const int64_t length = extent(s, axis);
  const bool edges = (s->edges & AXIS(axis)) != 0;
  int64_t by = length % 4 == 0 ? 4 : length % 2 == 0 ? 2 : 1;
  if (s->target->warps) by = sums_spelled_for_warps(length, sums_of_a_tile);
  if (edges) by = length <= LONGEST_SPELLED ? length : length % EDGE_BLOCK == 0 ? EDGE_BLOCK : 1;
  const int64_t panel = panel_of(s, axis);
  if (!edges && length > panel && length % panel == 0 && panel > by && panel % by == 0) add_loop(s, axis, panel, LOOP_SERIAL);
  if (by > 1 && length > by) add_loop(s, axis, by, LOOP_SERIAL), s->loops[s->n - 1].peel = edges;
  add_loop(s, axis, 1, by > 1 ? LOOP_UNROLL : LOOP_SERIAL);
  s->loops[s->n - 1].peel = edges && by == 1;
}

/* The reduced axes, the one with neighbours in memory innermost. Taps that meet the edge of a tile are spelled
 * out, so that a tap outside costs nothing. */
static void add_reductions(scheduler *s, const register_tile *t, axis_set inner, axis_set streamed, bool edges) {
  const int32_t last = innermost_sum(s, t, streamed);
  for (uint32_t a = 0; a < s->kernel->n_axes; a++)
    if (inner & AXIS(a) && (int32_t)a != last && (int32_t)a == s->pair) add_loop(s, a, s->pair_step, LOOP_SERIAL);
    else if (inner & AXIS(a) && (int32_t)a != last)
      add_loop(s, a, 1, edges && meets(s, a, (uint32_t)t->row) && extent(s, a) <= FEW_TAPS ? LOOP_UNROLL : LOOP_SERIAL);
  if (last >= 0) add_innermost_sum(s, (uint32_t)last, t->rows * t->groups * t->vectors);
}

bool schedule_contraction(scheduler *s, const contraction_form *c) {
  register_tile t;
  if (!choose_registers(s, c, &t)) return false;
  find_pairs(s, c, &t);
  choose_unit(s, c, &t);
  streaming stream = choose_stream(s, c, &t);
  if (stream.axes) t.group = -1;
  if (stream.axes) add_streams(s, c, &t, &stream);
  else add_tiles(s, c, &t);
  window_test window = {(uint32_t)(t.row < 0 ? 0 : t.row), false};
  if (t.row >= 0) visit_all_reads(s->kernel, test_window, &window);
  bool edges = window.window && (s->edges & AXIS(t.row));
  for (uint32_t i = 0; edges && i < s->n; i++)
    if (s->loops[i].axis == (uint32_t)t.row) s->loops[i].peel = s->loops[i].kind == LOOP_SERIAL || (t.unit && s->loops[i].kind == LOOP_PARALLEL);
  const int64_t smallest = stream.axes && stream.last == s->pair ? s->pair_step : 1; /* that a step of the last streamed axis may be */
  add_reductions(s, &t, t.inner & ~(stream.step > smallest ? stream.axes & ~AXIS(stream.last) : stream.axes), stream.axes, edges);
  if (t.group >= 0) add_loop(s, (uint32_t)t.group, 1, LOOP_UNROLL);
  if (t.row >= 0 && t.unit < t.rows && (t.rows > 1 || extent(s, (uint32_t)t.row) == 1)) add_loop(s, (uint32_t)t.row, t.unit ? t.unit : 1, LOOP_UNROLL);
  if (s->target->warps && s->pair < 0) return add_vectors(s, t.vector, t.panel < extent(s, t.vector) ? t.panel : extent(s, t.vector), LOOP_UNROLL), true;
  if (t.vectors > 1) add_loop(s, t.vector, s->lanes, LOOP_UNROLL);
  if (t.unit) add_loop(s, (uint32_t)t.row, 1, LOOP_TILE);
  if (s->pair >= 0) add_loop(s, (uint32_t)s->pair, 1, LOOP_PAIR);
  add_loop(s, t.vector, 1, LOOP_VECTOR);
  return true;
}
