#include "ir/kernel.h"

bool stage_contraction(const kernel *k, uint32_t number, contraction_form *out) {
  const stage *s = &k->stages[number];
  if (s->monoid != MONOID_SUM || s->body->kind != EXPR_APPLY || s->body->op != OP_MUL) return false;
  const expr *left = s->body->args[0], *right = s->body->args[1];
  if (s->free & ~(left->axes | right->axes)) return false; /* the same product again along an axis */
  *out = (contraction_form){.left = left,
                            .right = right,
                            .batch = s->free & left->axes & right->axes,
                            .left_only = s->free & left->axes & ~right->axes,
                            .right_only = s->free & right->axes & ~left->axes,
                            .reduced = s->reduced};
  return true;
}
