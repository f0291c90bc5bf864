#include "codegen/cpu/turn.h"

/* What an offset adds to a register: one that it does not have is not found. */
static bool offset_from(const loops_expr *e, uint32_t *from, int64_t *constant) {
  const bool sum = e->kind == LOOPS_APPLY && e->op == OP_ADD && e->args[1]->kind == LOOPS_CONSTANT;
  const loops_expr *base = sum ? e->args[0] : e;
  *constant = sum ? e->args[1]->constant.integer : 0;
  *from = base->number;
  return base->kind == LOOPS_VARIABLE;
}

/* The next statement, from the i-th on, that neither fetches nor computes an offset. */
static uint32_t next_moving(const block *b, uint32_t i) {
  while (i < b->n && (b->items[i]->kind == STATEMENT_FETCH || (b->items[i]->kind == STATEMENT_SET && b->items[i]->value->type == DTYPE_I64 && b->items[i]->value->lanes == 1))) i++;
  return i;
}

/* From statement `i` on: a load that is stored as it is, by way of a register or not. */
static bool column_at(const loops *l, const block *b, uint32_t i, square_column *out) {
  if ((i = next_moving(b, i)) == b->n) return false;
  const statement *s = b->items[i];
  *out = (square_column){.load = s->value, .store = s, .into = -1};
  if (s->kind == STATEMENT_SET && s->value->lanes > 1) {
    out->into = (int32_t)s->number;
    if ((i = next_moving(b, i + 1)) == b->n) return false;
    s = out->store = b->items[i];
  }
  const loops_expr *x = out->load;
  out->end = i + 1;
  if (s->kind != STATEMENT_STORE || (out->into >= 0 && (s->value->kind != LOOPS_VARIABLE || (int32_t)s->value->number != out->into))) return false;
  return s->stride == 1 && x->kind == LOOPS_LOAD && x->type == DTYPE_F32 && l->buffers[x->number].type == DTYPE_F32 && l->buffers[s->number].type == DTYPE_F32 &&
         x->number != s->number && x->stride > 1 && x->active == x->lanes && s->active == x->lanes && x->lanes >= 4 && x->lanes <= LARGEST_SQUARE && !(x->lanes & (x->lanes - 1));
}

uint32_t square_at(const loops *l, const block *b, uint32_t i, square_column *columns) {
  uint32_t base, other;
  int64_t begin, at;
  if (!column_at(l, b, i, &columns[0]) || !offset_from(columns[0].load->args[0], &base, &begin)) return 0;
  const loops_expr *first = columns[0].load;
  for (uint32_t k = 1; k < first->lanes; k++) {
    const uint32_t next = columns[k - 1].end;
    if (next >= b->n || !column_at(l, b, next, &columns[k])) return 0;
    const loops_expr *x = columns[k].load;
    if (columns[k].store->number != columns[0].store->number || x->number != first->number || x->lanes != first->lanes || x->stride != first->stride) return 0;
    if (!offset_from(x->args[0], &other, &at) || other != base || at != begin + k) return 0;
  }
  return first->lanes;
}

/* Halves of blocks change places, from the largest blocks to pairs. */
void turn_square(const value_builder *b, LLVMValueRef *v, uint32_t n) {
  LLVMTypeRef i32 = LLVMInt32TypeInContext(b->context);
  for (uint32_t half = n / 2; half; half /= 2) {
    LLVMValueRef order[2][LARGEST_SQUARE];
    for (uint32_t lane = 0; lane < n; lane++) {
      order[0][lane] = LLVMConstInt(i32, lane & half ? n + lane - half : lane, 0);
      order[1][lane] = LLVMConstInt(i32, lane & half ? n + lane : lane + half, 0);
    }
    for (uint32_t i = 0; i < n; i++) {
      if (i & half) continue;
      LLVMValueRef x = v[i], y = v[i + half];
      for (int side = 0; side < 2; side++) v[i + (side ? half : 0)] = LLVMBuildShuffleVector(b->builder, x, y, LLVMConstVector(order[side], n), "");
    }
  }
}
