#include "passes/team.h"

#include "passes/schedule.h"

static const expr *body_of(const kernel *k, const expr *e) {
  while (e->kind == EXPR_STAGE && k->stages[e->number].monoid == MONOID_NONE) e = k->stages[e->number].body;
  return e;
}

/* What makes a value one that the type has. */
static op_id narrowing_op(dtype type) { return type == DTYPE_BF16 ? OP_CAST : OP_TF32; }

const expr *team_read(const kernel *k, const expr *factor, dtype type) {
  const expr *e = body_of(k, factor);
  if (e->kind != EXPR_APPLY || e->op != narrowing_op(type) || e->type != DTYPE_F32) return NULL;
  e = body_of(k, e->args[0]);
  return e->kind == EXPR_READ && e->type == type ? e : NULL;
}

bool is_team_factor(const kernel *k, const expr *e, dtype type) {
  e = body_of(k, e);
  if (e->type != DTYPE_F32) return false;
  if (e->kind == EXPR_CONSTANT) return scalar_round(DTYPE_BF16, e->constant).real == e->constant.real;
  if (e->kind != EXPR_APPLY) return false;
  if (e->op == OP_SELECT) return is_team_factor(k, e->args[1], type) && is_team_factor(k, e->args[2], type);
  return e->op == narrowing_op(type) && (type == DTYPE_F32 || e->args[0]->type == DTYPE_BF16);
}

/* -- order of axes: what lies contiguous is walked fastest ------------------------------------------------------------ */

static bool runs_contiguous(const kernel *k, const expr *read, uint32_t axis) { return read && access_stride(k, read->number, read->args, axis) == 1; }

walk walk_of(const kernel *k, axis_set axes, int32_t last) {
  walk w = {.points = 1};
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(axes & AXIS(a))) continue;
    if ((int32_t)a != last) w.axis[w.n++] = a;
    w.points *= k->axes[a].extent;
  }
  if (last >= 0) w.axis[w.n++] = (uint32_t)last;
  return w;
}

/* The axis along which most of the results lie contiguous; -1: none. */
static int32_t axis_of_results(const kernel *k, axis_set among) {
  int32_t best = -1, most = 0;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    int32_t score = 0;
    for (uint32_t i = 0; i < k->n_stages && among & AXIS(a); i++)
      score += k->stages[i].output >= 0 && access_stride(k, (uint32_t)k->stages[i].output, k->stages[i].index, a) == 1;
    if (score && score >= most && k->axes[a].extent > 1) best = (int32_t)a, most = score;
  }
  return best;
}

int32_t contiguous_axis(const kernel *k, axis_set among, const expr *const *reads, uint32_t n) {
  int32_t best = -1, most = 0;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    int32_t score = 0;
    for (uint32_t i = 0; i < n && among & AXIS(a); i++) score += runs_contiguous(k, reads[i], a);
    if (score > most) best = (int32_t)a, most = score;
  }
  return best;
}

static bool find_stages(const kernel *k, uint32_t *sum, contraction_form *c) {
  uint32_t sums = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    if (k->stages[i].monoid == MONOID_NONE) continue;
    if (sums++ || !stage_contraction(k, i, c) || k->stages[i].type != DTYPE_F32) return false;
    *sum = i;
  }
  if (sums != 1) return false;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0 && k->stages[i].free != k->stages[*sum].free) return false;
  return true;
}

bool kernel_team(const kernel *k, team_form *out) {
  contraction_form c;
  if (!find_stages(k, &out->stage, &c)) return false;
  const bool bf16 = is_team_factor(k, c.left, DTYPE_BF16) && is_team_factor(k, c.right, DTYPE_BF16);
  if (!bf16 && !(is_team_factor(k, c.left, DTYPE_F32) && is_team_factor(k, c.right, DTYPE_F32))) return false;
  out->type = bf16 ? DTYPE_BF16 : DTYPE_F32;
  const int32_t vector = axis_of_results(k, c.left_only | c.right_only);
  if (vector < 0) return false;
  const bool left = c.left_only >> vector & 1;
  out->factor[0] = left ? c.right : c.left;
  out->factor[1] = left ? c.left : c.right;
  const expr *const reads[] = {team_read(k, out->factor[0], out->type), team_read(k, out->factor[1], out->type)};
  const axis_set rows = left ? c.right_only : c.left_only;
  out->batch = walk_of(k, c.batch, -1);
  out->rows = walk_of(k, rows, contiguous_axis(k, rows, reads, 1));
  out->lanes = walk_of(k, left ? c.left_only : c.right_only, vector);
  out->sums = walk_of(k, c.reduced, contiguous_axis(k, c.reduced, reads, 2));
  return true;
}
