/* What is reduced and multiplied in a kernel with squares, and in which order. */
#include "ir/expr.h"
#include "passes/schedule.h"
#include "passes/squares.h"
#include "passes/team.h"

enum { LARGEST_WALK = 128 };

/* Stages that an expression reads, itself or through maps: reductions and products. */
static void add_sums_below(const kernel *k, const expr *e, bool *seen, uint64_t *sums) {
  if (seen[e->id]) return;
  seen[e->id] = true;
  if (e->kind == EXPR_STAGE && k->stages[e->number].monoid != MONOID_NONE) *sums |= AXIS(e->number);
  else if (e->kind == EXPR_STAGE) add_sums_below(k, k->stages[e->number].body, seen, sums);
  for (uint32_t i = 0; i < e->n_args; i++) add_sums_below(k, e->args[i], seen, sums);
  for (uint32_t i = 0; i < e->n_conditions; i++) add_sums_below(k, e->conditions[i].subject, seen, sums);
}

/* The axes that both factors have, one factor, and the other; turned so that the first has the row. */
static bool split_factors(const kernel *k, const squares_form *f, uint32_t number, square_part *out, axis_set *first, axis_set *second) {
  contraction_form c;
  if (!stage_contraction(k, number, &c) || k->stages[number].type != DTYPE_F32 || c.batch & ~f->batch) return false;
  const bool left = c.left_only >> f->row & 1;
  *out = (square_part){.stage = number, .factor = {left ? c.left : c.right, left ? c.right : c.left}};
  *first = left ? c.left_only : c.right_only;
  *second = left ? c.right_only : c.left_only;
  return true;
}

static bool agrees(const kernel *k, team_squares *t, const square_part *p) {
  const bool bf16 = is_team_factor(k, p->factor[0], DTYPE_BF16) && is_team_factor(k, p->factor[1], DTYPE_BF16);
  if (!bf16 && !(is_team_factor(k, p->factor[0], DTYPE_F32) && is_team_factor(k, p->factor[1], DTYPE_F32))) return false;
  const dtype type = bf16 ? DTYPE_BF16 : DTYPE_F32;
  if (!t->n_squares && !t->n_products) t->type = type;
  return t->type == type;
}

static bool add_square(const kernel *k, const squares_form *f, team_squares *t, uint32_t number) {
  square_part p;
  axis_set rows, columns;
  if (t->n_squares == MOST_SQUARE_PARTS || !split_factors(k, f, number, &p, &rows, &columns) || !agrees(k, t, &p)) return false;
  if (rows != AXIS(f->row) || columns != AXIS(f->column) || k->stages[number].reduced & (rows | columns | f->batch)) return false;
  const expr *const reads[] = {team_read(k, p.factor[0], t->type), team_read(k, p.factor[1], t->type)};
  p.walk = walk_of(k, k->stages[number].reduced, contiguous_axis(k, k->stages[number].reduced, reads, 2));
  t->square[t->n_squares++] = p;
  return p.walk.n && p.walk.points <= LARGEST_WALK;
}

static bool add_product(const kernel *k, const squares_form *f, team_squares *t, uint32_t number) {
  square_part p;
  axis_set rows, lanes;
  if (t->n_products == MOST_SQUARE_PARTS || !split_factors(k, f, number, &p, &rows, &lanes) || !agrees(k, t, &p)) return false;
  if (rows != AXIS(f->row) || __builtin_popcountll(lanes) != 1) return false;
  p.walk = walk_of(k, lanes, -1);
  t->product[t->n_products++] = p;
  return p.walk.points <= LARGEST_WALK;
}

/* The same, with one axis in the place of another. */
static bool same_elements(const expr *x, const expr *y, uint32_t x_axis, uint32_t y_axis) {
  if (x->kind != y->kind || x->type != y->type || x->n_args != y->n_args || x->n_conditions || y->n_conditions) return false;
  if (x->kind == EXPR_AXIS) return x->number == x_axis ? y->number == y_axis : x->number == y->number;
  if (x->kind == EXPR_CONSTANT) return x == y;
  if (x->kind == EXPR_APPLY ? x->op != y->op : x->number != y->number) return false;
  for (uint32_t i = 0; i < x->n_args; i++)
    if (!same_elements(x->args[i], y->args[i], x_axis, y_axis)) return false;
  return true;
}

/* The first square whose factor of rows, or of columns, is that of `p`; `otherwise`: none has. */
static uint32_t same_factor(const kernel *k, const team_squares *t, const square_part *p, int which, uint32_t otherwise) {
  const expr *own = team_read(k, p->factor[which], t->type);
  for (uint32_t i = 0; i < t->n_squares && own && p->walk.n == 1; i++) {
    const square_part *other = &t->square[i];
    const expr *read = team_read(k, other->factor[which], t->type);
    if (read && other->walk.n == 1 && other->walk.points == p->walk.points && same_elements(read, own, other->walk.axis[0], p->walk.axis[0])) return i;
  }
  return otherwise;
}

static void find_same_factors(const kernel *k, team_squares *t) {
  for (uint32_t i = 0; i < t->n_squares; i++) {
    t->square[i].of_rows = same_factor(k, t, &t->square[i], 0, i);
    t->square[i].of_columns = same_factor(k, t, &t->square[i], 1, i);
  }
  for (uint32_t i = 0; i < t->n_products; i++) t->product[i].of_columns = same_factor(k, t, &t->product[i], 1, t->n_squares);
}

static void count_reductions(const kernel *k, team_squares *t) {
  uint32_t of_sweep[64] = {0};
  for (uint32_t i = 0; i < k->n_stages; i++) {
    bool is_product = false;
    for (uint32_t p = 0; p < t->n_products; p++) is_product |= t->product[p].stage == i;
    if (t->sweep[i] < 0 || is_product || k->stages[i].monoid == MONOID_NONE) continue;
    const uint32_t n = ++of_sweep[t->sweep[i]];
    t->n_reductions++;
    if (n > t->most_reductions) t->most_reductions = n;
  }
}

/* Reductions are of the sweep behind all that they read. */
static bool place_stage(const kernel *k, const squares_form *f, team_squares *t, uint32_t number) {
  const stage *s = &k->stages[number];
  const axis_set of_rows = f->batch | AXIS(f->row);
  uint64_t below = 0;
  int8_t after = -1;
  add_sums_below(k, s->body, ARENA_ARRAY(k->arena, bool, k->exprs->count), &below);
  t->sweep[number] = -1;
  if (f->stages >> number & 1) return s->output < 0 && add_square(k, f, t, number);
  for (uint32_t i = 0; i < number; i++)
    if (below >> i & 1 && t->sweep[i] > after) after = t->sweep[i];
  contraction_form c;
  const bool is_product = s->monoid == MONOID_SUM && stage_contraction(k, number, &c) && c.left_only && c.right_only;
  if (s->monoid == MONOID_NONE) {
    bool of_product = false;
    for (uint32_t i = 0; i < t->n_products; i++) of_product |= k->stages[t->product[i].stage].free == s->free;
    if (!(s->free & ~of_rows)) t->sweep[number] = after < 0 ? 0 : after;
    return s->output < 0 || of_product || s->free == of_rows;
  }
  if (s->monoid == MONOID_ARGMAX || s->reduced != AXIS(f->column) || s->type != DTYPE_F32) return false;
  t->sweep[number] = (int8_t)(after + 1);
  if ((uint32_t)after + 2 > t->n_sweeps) t->n_sweeps = (uint32_t)after + 2;
  for (uint32_t i = 0; i < t->n_squares; i++)
    if (below >> t->square[i].stage & 1) t->square[i].sweeps |= (uint64_t)1 << (after + 1);
  if (!is_product) return s->free == of_rows;
  if (!add_product(k, f, t, number)) return false;
  t->product[t->n_products - 1].sweeps = (uint64_t)1 << (after + 1);
  return true;
}

bool kernel_team_squares(const kernel *k, team_squares *out) {
  const target gpu = {.warps = true};
  squares_form f;
  if (k->n_stages > 64 || !kernel_squares(k, &gpu, &f)) return false;
  *out = (team_squares){0};
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (!place_stage(k, &f, out, i)) return false;
  out->batch = walk_of(k, f.batch, -1);
  out->rows = walk_of(k, AXIS(f.row), -1);
  out->columns = walk_of(k, AXIS(f.column), -1);
  find_same_factors(k, out);
  count_reductions(k, out);
  return out->n_squares;
}

/* -- memory --------------------------------------------------------------------------------------------------------- */

int64_t team_padded(dtype type, int64_t points) {
  int64_t n = type == DTYPE_BF16 ? 32 : 16;
  while (n < points) n *= 2;
  return n;
}

/* Rows of one or of the other, with room behind each. */
static int64_t block_bytes(dtype type, int64_t x, int64_t y) {
  enum { PADDING = 8 };
  return (x * y + PADDING * (x > y ? x : y)) * (int64_t)dtype_bytes(type);
}

int64_t team_squares_bytes(const team_squares *f, const team_tile *tile) {
  enum { TILE = 16, VECTOR = 32, PADDING = 8, WORD = 4, ALIGNMENT = 16, BUFFERS = 4 * MOST_SQUARE_PARTS };
  const team_tile smallest = {.rows = TILE, .lanes = VECTOR, .warp_lanes = VECTOR, .stages = 2};
  const team_tile *t = tile ? tile : &smallest;
  const int64_t warp_rows = t->rows * (t->lanes / t->warp_lanes), slab = warp_rows * (t->warp_lanes + PADDING);
  int64_t bytes = (f->most_reductions * warp_rows * VECTOR + (f->n_reductions + MOST_ROW_VALUES) * t->rows) * WORD + (BUFFERS + f->n_reductions + MOST_ROW_VALUES) * ALIGNMENT;
  for (uint32_t i = 0; i < f->n_squares; i++) {
    const int64_t sums = team_padded(f->type, f->square[i].walk.points);
    bytes += slab * WORD;
    if (f->square[i].of_rows == i) bytes += block_bytes(f->type, t->rows, sums);
    if (f->square[i].of_columns == i) bytes += t->stages * block_bytes(f->type, t->lanes, sums);
  }
  for (uint32_t i = 0; i < f->n_products; i++) {
    bytes += slab * (int64_t)dtype_bytes(f->type);
    if (f->product[i].of_columns == f->n_squares) bytes += t->stages * block_bytes(f->type, t->lanes, team_padded(f->type, f->product[i].walk.points));
  }
  return bytes;
}
