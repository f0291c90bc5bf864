#include "codegen/cpu/turn.h"

enum { MOST = 64 };

/* What an offset adds to a register: one that it does not have is not found. */
static bool offset_from(const loops_expr *e, uint32_t *from, int64_t *constant) {
  const bool sum = e->kind == LOOPS_APPLY && e->op == OP_ADD && e->args[1]->kind == LOOPS_CONSTANT;
  const loops_expr *base = sum ? e->args[0] : e;
  *constant = sum ? e->args[1]->constant.integer : 0;
  *from = base->number;
  return base->kind == LOOPS_VARIABLE;
}

static bool is_column(const loops *l, const statement *s) {
  const loops_expr *x = s->value;
  return s->kind == STATEMENT_STORE && s->stride == 1 && x->kind == LOOPS_LOAD && x->type == DTYPE_F32 && l->buffers[x->number].type == DTYPE_F32 && l->buffers[s->number].type == DTYPE_F32 &&
         x->number != s->number && x->stride > 1 && x->active == x->lanes && s->active == x->lanes && x->lanes >= 4 && x->lanes <= MOST && !(x->lanes & (x->lanes - 1));
}

uint32_t square_at(const loops *l, const block *b, uint32_t i) {
  const statement *first = b->items[i];
  uint32_t base, other;
  int64_t begin, at;
  if (!is_column(l, first) || b->n - i < first->value->lanes || !offset_from(first->value->args[0], &base, &begin)) return 0;
  const uint32_t n = first->value->lanes;
  for (uint32_t k = 1; k < n; k++) {
    const statement *s = b->items[i + k];
    if (!is_column(l, s) || s->number != first->number || s->value->number != first->value->number || s->value->lanes != n || s->value->stride != first->value->stride) return 0;
    if (!offset_from(s->value->args[0], &other, &at) || other != base || at != begin + k) return 0;
  }
  return n;
}

/* Halves of blocks change places, from the largest blocks to pairs. */
void turn_square(const value_builder *b, LLVMValueRef *v, uint32_t n) {
  LLVMTypeRef i32 = LLVMInt32TypeInContext(b->context);
  for (uint32_t half = n / 2; half; half /= 2) {
    LLVMValueRef order[2][MOST];
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
