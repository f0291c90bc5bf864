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
  return out->n_squares;
}
