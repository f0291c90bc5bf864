#include "codegen/cpu/stay.h"

enum { VECTOR_REGISTERS = 32 };

/* The local buffer of which a number is read at a constant place; -1: it is another value. */
static int32_t read_in_place(const loops *l, const loops_expr *e) {
  const bool is_read = e->kind == LOOPS_LOAD && e->lanes == 1 && e->args[0]->kind == LOOPS_CONSTANT;
  return is_read && l->buffers[e->number].place == PLACE_LOCAL ? (int32_t)e->number : -1;
}

bool find_staying(const loops *l, const statement *loop, bool *stays) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < loop->body.n; i++) {
    const statement *s = loop->body.items[i];
    if (s->kind == STATEMENT_FOR) return false;
    if (s->kind != STATEMENT_SET) continue;
    const bool multiplies = s->value->kind == LOOPS_FMA;
    for (uint32_t j = 0; j < (multiplies ? 2 : 1); j++) {
      const loops_expr *e = multiplies ? s->value->args[j] : s->value;
      const int32_t buffer = read_in_place(l, e->kind == LOOPS_SPLAT ? e->args[0] : e);
      if (buffer < 0) continue;
      stays[buffer] = true;
      n++;
    }
  }
  return n > VECTOR_REGISTERS;
}
