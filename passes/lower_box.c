/* Blocks of operands in panels that are rectangles of memory: one thread has them brought as such (boxes of ir/loops.h). See lower_team.h. */
#include "ir/expr.h"
#include "passes/lower_team.h"

/* What a box has of each axis, by axis: 1 where it stays at one place. */
typedef struct {
  const kernel *k;
  const expr *read;
  int64_t size[MAX_AXES];
} rectangle;

static layout lies_of(const kernel *k, const expr *read) {
  const kernel_buffer *b = &k->buffers[read->number];
  return b->layout.n ? b->layout : layout_row_major(&b->type);
}

/* So many neighbours of a walk, from multiples of that on, as a rectangle of its axes: the fastest ones whole, then a part of one. */
static bool cut_walk(rectangle *r, const walk *w, int64_t points) {
  for (uint32_t i = w->n; i-- > 0 && points > 1;) {
    const int64_t extent = r->k->axes[w->axis[i]].extent, size = i && points % extent == 0 ? extent : points;
    if (i && size == points && extent % points) return false;
    r->size[w->axis[i]] = size;
    points /= size;
  }
  return points == 1;
}

/* The axis of more than one place that an index walks over, alone in its box and by ones; -1: none. False: it is something else. */
static bool axis_of_index(const rectangle *r, const expr *index, int32_t *axis, bool *plain) {
  int64_t coefficient[MAX_AXES], offset;
  uint32_t met = 0;
  *axis = -1;
  if (!expr_affine(r->k, index, coefficient, &offset)) return false;
  for (uint32_t a = 0; a < r->k->n_axes; a++) {
    met += coefficient[a] != 0;
    if (!coefficient[a] || r->size[a] == 1) continue;
    if (coefficient[a] != 1 || *axis >= 0) return false;
    *axis = (int32_t)a;
  }
  *plain = met == 1 && offset == 0;
  return true;
}

static uint32_t parts_of(const layout *lies, uint32_t dim) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < lies->n; i++) n += lies->part[i].dim == dim;
  return n;
}

/* Outside of the buffer, and there alone, the read is 0: what a box has there. */
static bool is_zero_outside(const rectangle *r, const layout *lies) {
  const tensor_type *t = &r->k->buffers[r->read->number].type;
  for (uint32_t i = 0; i < r->read->n_conditions; i++) {
    const condition *c = &r->read->conditions[i];
    const interval range = expr_interval(r->k, c->subject);
    uint32_t d = 0;
    while (d < t->rank && r->read->args[d] != c->subject) d++;
    if (d == t->rank || c->divisor > 1 || parts_of(lies, d) != 1) return false;
    if ((c->low > 0 && c->low > range.low) || (c->high < t->dim[d] && c->high <= range.high)) return false;
  }
  return !r->read->n_conditions || r->read->constant.real == 0;
}

/* Neighbours behind the last one of a sum are zeros: they lie outside of the buffer. */
static bool ends_with_buffer(const rectangle *r, const walk *sums) {
  const tensor_type *t = &r->k->buffers[r->read->number].type;
  const uint32_t axis = sums->axis[0];
  for (uint32_t d = 0; d < t->rank; d++) {
    int32_t walked;
    bool plain;
    if (axis_of_index(r, r->read->args[d], &walked, &plain) && walked == (int32_t)axis) return plain && t->dim[d] == r->k->axes[axis].extent;
  }
  return false;
}

/* How many places of the index lie along one part of its dimension; 0: that is no rectangle. */
static int64_t size_of_part(const rectangle *r, const layout *lies, uint32_t part, int32_t *axis) {
  const uint32_t dim = lies->part[part].dim, parts = parts_of(lies, dim);
  bool plain;
  if (parts > 2 || !axis_of_index(r, r->read->args[dim], axis, &plain)) return 0;
  if (*axis < 0) return 1;
  const int64_t size = r->size[*axis];
  if (parts == 1) return size;
  if (!plain) return 0;
  if (lies->part[part].divisor == 1) return lies->part[part].extent % size ? 0 : size;
  *axis = -1;
  return 1; /* of the parts inside one is enough */
}

/* Memory's order is that of the rows of panels: `rows` of the walk that they are. */
static bool shape_box(const team_base *t, const operand_block *o, int64_t rows, loops_box *out) {
  const kernel *k = t->l->kernel;
  const walk *wide = o->across ? o->walk : o->sums, *tall = o->across ? o->sums : o->walk;
  const uint32_t column = wide->axis[wide->n - 1];
  const layout lies = lies_of(k, o->read);
  rectangle r = {.k = k, .read = o->read};
  int64_t elements = 1;
  uint32_t next = tall->n;
  for (uint32_t a = 0; a < k->n_axes; a++) r.size[a] = 1;
  if (lies.n < 2 || lies.n > BOX_RANK || rows > BOX_MOST || (wide->n > 1 && k->axes[column].extent % PANEL) || !cut_walk(&r, tall, rows)) return false;
  r.size[column] = PANEL;
  if (!is_zero_outside(&r, &lies) || (o->sums->points % PANEL && !ends_with_buffer(&r, o->sums))) return false;
  *out = (loops_box){.buffer = o->read->number, .rank = lies.n};
  for (uint32_t i = 0; i < lies.n; i++) {
    const uint32_t part = lies.n - 1 - i;
    int32_t axis;
    out->extent[i] = lies.part[part].extent;
    out->stride[i] = elements;
    out->size[i] = size_of_part(&r, &lies, part, &axis);
    elements *= out->extent[i];
    if (!out->size[i] || (i && out->stride[i] % PANEL_CHUNK) || (i == 0 && axis != (int32_t)column)) return false;
    if (!i || axis < 0) continue;
    do
      if (next-- == 0) return false;
    while (r.size[tall->axis[next]] == 1);
    if (tall->axis[next] != (uint32_t)axis) return false;
  }
  return loops_box_elements(out) == rows * PANEL; /* every axis was met */
}

void describe_boxes(const team_base *t, operand_block *o) {
  loops_box b;
  int64_t rows = o->rows;
  if (!t->boxes || !o->read) return;
  while (rows > PANEL && !shape_box(t, o, rows, &b)) rows /= 2;
  if (o->rows % rows || rows % PANEL || !shape_box(t, o, rows, &b)) return;
  o->box_rows = rows;
  o->box = loops_add_box(t->l->loops, &b);
}

int64_t boxes_bytes(const operand_block *o) { return o->box_rows ? o->rows * o->columns * (int64_t)sizeof(uint16_t) : 0; }

/* Along each part of the layout, where all axes are bound. */
static void place_box(const team_base *t, const operand_block *o, statement *s) {
  lowering *l = t->l;
  const layout lies = lies_of(l->kernel, o->read);
  for (uint32_t i = 0; i < lies.n; i++) {
    const uint32_t part = lies.n - 1 - i, dim = lies.part[part].dim;
    affine index, rest;
    if (!affine_of(l, o->read->args[dim], AFFINE_EMIT, &index)) fail_lowering(l, "a box whose place is no form");
    if (lies.part[part].divisor > 1) divide(l, &index, lies.part[part].divisor, &index, &rest);
    else if (parts_of(&lies, dim) > 1) divide(l, &index, lies.part[part].extent, &rest, &index);
    s->at[i] = emit_affine(l, &index).expr;
  }
}

uint32_t list_boxes(const team_base *t, const operand_block *o, const affine *step, const affine *turn, const loops_expr *arrival, statement *out) {
  lowering *l = t->l;
  const uint32_t n = o->box_rows ? (uint32_t)(o->rows * o->columns / PANEL / o->box_rows) : 0;
  for (uint32_t i = 0; i < n; i++) {
    const int64_t first = i * o->box_rows;
    const affine row = affine_constant(first % o->rows), column = affine_constant(first / o->rows * PANEL);
    affine to = times(turn, o->rows * o->columns);
    to.constant += first * PANEL;
    bind_walk(l, o->walk, &o->at, o->block, o->across ? &column : &row);
    bind_walk(l, o->sums, step, o->depth, o->across ? &row : &column);
    out[i] = (statement){.kind = STATEMENT_BOX, .number = o->local, .from = o->box, .offset = emit_affine(l, &to).expr, .source = arrival};
    place_box(t, o, &out[i]);
  }
  return n;
}
