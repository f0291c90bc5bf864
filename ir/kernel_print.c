/* The text form of kernels. Expressions are graphs: what is used several times, or nests deep, gets a
 * line of its own (`$0 : f32 = ...`), so that texts stay in proportion to kernels. */
#include "ir/kernel_text.h"

enum { INLINE_SIZE = 8, INLINE_DEPTH = 40 };

typedef struct {
  const kernel *k;
  text_buffer *text;
  bool canonical;
  struct written {
    uint32_t uses, size, depth, line; /* size and depth of what is written in place; line from 1 */
    bool visited;
  } * of; /* by id */
  uint32_t n_lines;
} printer;

/* -- which expressions have lines of their own ---------------------------------------------------- */

static uint32_t count_exprs(const kernel *k) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    if (s->body->id >= n) n = s->body->id + 1;
    for (uint32_t d = 0; s->output >= 0 && d < k->buffers[s->output].type.rank; d++)
      if (s->index[d]->id >= n) n = s->index[d]->id + 1;
  }
  return n; /* arguments have lower ids */
}

static void count_uses(printer *p, const expr *e) {
  struct written *w = &p->of[e->id];
  if (w->uses++) return;
  for (uint32_t i = 0; i < e->n_args; i++) count_uses(p, e->args[i]);
  for (uint32_t i = 0; i < e->n_conditions; i++) count_uses(p, e->conditions[i].subject);
}

static void print_expr(printer *p, const expr *e, int strength, bool typed);

static void add_written(printer *p, struct written *w, const expr *part) {
  const struct written *of = &p->of[part->id];
  w->size += of->line ? 1 : of->size;
  if (!of->line && of->depth >= w->depth) w->depth = of->depth + 1;
}

/* Writes the lines that e needs and does not have, those of its arguments first. */
static void print_lines(printer *p, const expr *e) {
  struct written *w = &p->of[e->id];
  if (w->visited) return;
  w->visited = true;
  for (uint32_t i = 0; i < e->n_args; i++) print_lines(p, e->args[i]);
  for (uint32_t i = 0; i < e->n_conditions; i++) print_lines(p, e->conditions[i].subject);
  w->size = 1;
  for (uint32_t i = 0; i < e->n_args; i++) add_written(p, w, e->args[i]);
  for (uint32_t i = 0; i < e->n_conditions; i++) add_written(p, w, e->conditions[i].subject);
  bool repeated = w->uses > 1 && w->size >= INLINE_SIZE;
  if (!repeated && w->depth < INLINE_DEPTH) return;
  text_add(p->text, "  $%u : %s = ", p->n_lines, dtype_name(e->type));
  print_expr(p, e, 0, true);
  text_add(p->text, "\n");
  w->line = ++p->n_lines;
}

/* -- names ------------------------------------------------------------------------------------------- */

static void print_name(printer *p, char letter, uint32_t number, const char *name) {
  if (p->canonical) text_add(p->text, "%c%u", letter, number);
  else text_add(p->text, "%s", name);
}

static void print_axis(printer *p, uint32_t i) { print_name(p, 'a', i, p->k->axes[i].name); }
static void print_buffer(printer *p, uint32_t i) { print_name(p, 'b', i, p->k->buffers[i].name); }
static void print_stage_name(printer *p, uint32_t i) { print_name(p, 's', i, p->k->stages[i].name); }

/* -- expressions --------------------------------------------------------------------------------------- */

enum { SUM_STRENGTH = 1, PRODUCT_STRENGTH, UNARY_STRENGTH, PRIMARY_STRENGTH };

static void print_constant(printer *p, const expr *e, bool typed) {
  const char *text = scalar_text(e->type, e->constant, p->text->arena);
  if (typed || e->type == DTYPE_BOOL) text_add(p->text, "%s", text);
  else text_add(p->text, "%s(%s)", dtype_name(e->type), text);
}

static void print_index(printer *p, const expr *const *index, uint32_t n) {
  text_add(p->text, "[");
  for (uint32_t i = 0; i < n; i++) {
    if (i) text_add(p->text, ", ");
    print_expr(p, index[i], 0, true);
  }
  text_add(p->text, "]");
}

static void print_conditions(printer *p, const expr *e) {
  const char *between = " where ";
  for (uint32_t i = 0; i < e->n_conditions; i++) {
    const condition *c = &e->conditions[i];
    if (c->low != INT64_MIN || c->high != INT64_MAX) {
      text_add(p->text, "%s%lld <= ", between, (long long)c->low);
      print_expr(p, c->subject, 0, true);
      text_add(p->text, " < %lld", (long long)c->high);
      between = ", ";
    }
    if (c->divisor != 1) {
      text_add(p->text, "%s", between);
      print_expr(p, c->subject, PRIMARY_STRENGTH, true);
      text_add(p->text, " %% %lld == 0", (long long)c->divisor);
      between = ", ";
    }
  }
  if (e->n_conditions) text_add(p->text, " else %s", scalar_text(e->type, e->constant, p->text->arena));
}

/* Ops that are written between or before their operands; the others as calls. */
static const struct infix {
  const char *sign;
  int strength; /* 0: a call */
} signs[OP_COUNT] = {[OP_ADD] = {" + ", SUM_STRENGTH},
                     [OP_SUB] = {" - ", SUM_STRENGTH},
                     [OP_MUL] = {" * ", PRODUCT_STRENGTH},
                     [OP_DIV] = {" / ", PRODUCT_STRENGTH},
                     [OP_FLOOR_DIV] = {" / ", PRODUCT_STRENGTH},
                     [OP_MOD] = {" % ", PRODUCT_STRENGTH},
                     [OP_NEG] = {"-", UNARY_STRENGTH}};

static bool is_infix(const expr *e) {
  bool quotient = e->op == OP_FLOOR_DIV || e->op == OP_MOD; /* of reals: `/` is DIV there */
  return signs[e->op].strength && !(quotient && dtype_is_real(e->type));
}

static void print_call(printer *p, const expr *e, bool typed) {
  type_rule rule = op_table[e->op].rule;
  if (rule == RULE_CAST) text_add(p->text, "%s(", dtype_name(e->type));
  else if (rule == RULE_BITCAST) text_add(p->text, BITCAST_PREFIX "%s(", dtype_name(e->type));
  else text_add(p->text, "%s(", op_table[e->op].name);
  for (uint32_t i = 0; i < e->n_args; i++) {
    if (i) text_add(p->text, ", ");
    print_expr(p, e->args[i], 0, type_is_implied(rule, i, typed));
  }
  text_add(p->text, ")");
}

static bool is_line(const printer *p, const expr *e) { return p->of[e->id].line != 0; }

/* A multiple in an index, `3*p`; its sign is written by the sum around it. */
static bool is_multiple(const printer *p, const expr *e) {
  return e->type == DTYPE_I64 && e->kind == EXPR_APPLY && e->op == OP_MUL && !is_line(p, e) &&
         e->args[1]->kind == EXPR_CONSTANT;
}

static void print_multiple(printer *p, const expr *e, int64_t factor) {
  if (factor == -1) text_add(p->text, "-");
  else if (factor != 1) text_add(p->text, "%lld*", (long long)factor);
  print_expr(p, e->args[0], UNARY_STRENGTH, true);
}

/* The second operand of an index sum, with its sign. */
static void print_addend(printer *p, const expr *e) {
  bool multiple = is_multiple(p, e), constant = e->kind == EXPR_CONSTANT;
  int64_t v = multiple ? e->args[1]->constant.integer : constant ? e->constant.integer : 1;
  bool negative = v < 0 && v != INT64_MIN;
  text_add(p->text, negative ? " - " : " + ");
  if (multiple) print_multiple(p, e, negative ? -v : v);
  else if (constant) text_add(p->text, "%lld", (long long)(negative ? -v : v));
  else print_expr(p, e, SUM_STRENGTH + 1, true);
}

static int strength_of(const printer *p, const expr *e) {
  if (is_multiple(p, e)) return PRODUCT_STRENGTH;
  return is_infix(e) ? signs[e->op].strength : PRIMARY_STRENGTH;
}

static void print_apply(printer *p, const expr *e, bool typed) {
  type_rule rule = op_table[e->op].rule;
  if (!is_infix(e)) {
    print_call(p, e, typed);
  } else if (typed && is_multiple(p, e)) { /* else the factor would be a number without a type */
    print_multiple(p, e, e->args[1]->constant.integer);
  } else if (e->n_args == 1) {
    text_add(p->text, "%s", signs[e->op].sign);
    print_expr(p, e->args[0], UNARY_STRENGTH + 1, typed);
  } else {
    int strength = signs[e->op].strength;
    print_expr(p, e->args[0], strength, type_is_implied(rule, 0, typed));
    if (e->type == DTYPE_I64 && e->op == OP_ADD) {
      print_addend(p, e->args[1]);
      return;
    }
    text_add(p->text, "%s", signs[e->op].sign);
    print_expr(p, e->args[1], strength + 1, type_is_implied(rule, 1, typed));
  }
}

static void print_expr(printer *p, const expr *e, int strength, bool typed) {
  if (is_line(p, e)) {
    text_add(p->text, "$%u", p->of[e->id].line - 1);
    return;
  }
  switch (e->kind) {
  case EXPR_CONSTANT: print_constant(p, e, typed); break;
  case EXPR_AXIS: print_axis(p, e->number); break;
  case EXPR_STAGE: print_stage_name(p, e->number); break;
  case EXPR_READ:
    print_buffer(p, e->number);
    print_index(p, e->args, e->n_args);
    print_conditions(p, e);
    break;
  case EXPR_APPLY: {
    bool parentheses = strength_of(p, e) < strength;
    if (parentheses) text_add(p->text, "(");
    print_apply(p, e, typed);
    if (parentheses) text_add(p->text, ")");
    break;
  }
  }
}

/* -- kernels --------------------------------------------------------------------------------------------- */

static void print_axes(printer *p, axis_set axes, const char *before, const char *between) {
  for (uint32_t i = 0; i < p->k->n_axes; i++) {
    if (!(axes >> i & 1)) continue;
    text_add(p->text, "%s", before);
    print_axis(p, i);
    before = between;
  }
}

static void print_stage(printer *p, uint32_t number) {
  const stage *s = &p->k->stages[number];
  uint32_t rank = s->output < 0 ? 0 : p->k->buffers[s->output].type.rank;
  print_lines(p, s->body);
  for (uint32_t d = 0; d < rank; d++) print_lines(p, s->index[d]);
  text_add(p->text, "  ");
  print_stage_name(p, number);
  text_add(p->text, "[");
  print_axes(p, s->free, "", ",");
  text_add(p->text, "] : %s = ", dtype_name(s->type));
  if (s->monoid != MONOID_NONE) {
    text_add(p->text, "%s%s", s->again ? "again " : "", monoid_words[s->monoid]);
    print_axes(p, s->reduced, " ", " ");
    text_add(p->text, " of ");
  }
  print_expr(p, s->body, 0, s->monoid != MONOID_ARGMAX); /* whose stage does not have the body's type */
  if (s->output >= 0) {
    text_add(p->text, " -> ");
    print_buffer(p, (uint32_t)s->output);
    print_index(p, s->index, rank);
  }
  text_add(p->text, "\n");
}

static void print_schedule(printer *p, const schedule *s) {
  const team_tile *t = &s->team;
  if (t->rows)
    text_add(p->text, "schedule { team %lld %lld %lld of %lld %lld, stages %lld%s%s }\n", (long long)t->rows, (long long)t->lanes, (long long)t->sums, (long long)t->warp_rows,
             (long long)t->warp_lanes, (long long)t->stages, t->groups ? ", groups" : "", t->boxes ? ", boxes" : "");
  if (!s->n) return;
  text_add(p->text, "schedule { for ");
  for (uint32_t i = 0; i < s->n; i++) {
    const schedule_loop *l = &s->loops[i];
    if (i) text_add(p->text, ", ");
    print_axis(p, l->axis);
    if (l->step != 1) text_add(p->text, "/%lld", (long long)l->step);
    if (l->kind != LOOP_SERIAL) text_add(p->text, " %s", loop_words[l->kind]);
    if (l->peel) text_add(p->text, " peel");
  }
  if (s->chunks) text_add(p->text, "; chunks %lld", (long long)s->chunks);
  text_add(p->text, " }\n");
}

char *schedule_text(const kernel *k, const schedule *s, arena *into) {
  text_buffer t = {.arena = into};
  printer p = {.k = k, .text = &t};
  print_schedule(&p, s);
  return text_done(&t);
}

static void print_kernel(printer *p) {
  const kernel *k = p->k;
  p->of = ARENA_ARRAY(p->text->arena, struct written, count_exprs(k));
  text_add(p->text, "kernel %s {\n", p->canonical ? "k" : k->name);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    text_add(p->text, "  %s ", b->access == ACCESS_IN ? "in" : "out");
    print_buffer(p, i);
    text_add(p->text, " : %s", type_text(&b->type, p->text->arena));
    if (!layout_is_row_major(&b->layout, &b->type))
      text_add(p->text, " {%s}", layout_text(&b->layout, &b->type, p->text->arena));
    text_add(p->text, "%s\n", b->cold ? " cold" : "");
  }
  if (k->n_axes) text_add(p->text, "  axes");
  for (uint32_t i = 0; i < k->n_axes; i++) {
    text_add(p->text, " ");
    print_axis(p, i);
    text_add(p->text, ":%lld", (long long)k->axes[i].extent);
  }
  if (k->n_axes) text_add(p->text, "\n");
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    count_uses(p, s->body);
    for (uint32_t d = 0; s->output >= 0 && d < k->buffers[s->output].type.rank; d++) count_uses(p, s->index[d]);
  }
  for (uint32_t i = 0; i < k->n_stages; i++) print_stage(p, i);
  text_add(p->text, "}\n");
  print_schedule(p, &p->k->schedule);
}

void kernel_print_to(text_buffer *t, const kernel *k) {
  printer p = {.k = k, .text = t};
  print_kernel(&p);
}

char *kernel_print(const kernel *k, arena *into) {
  text_buffer t = {.arena = into};
  kernel_print_to(&t, k);
  return text_done(&t);
}

char *kernel_canonical(const kernel *k, arena *into) {
  text_buffer t = {.arena = into};
  printer p = {.k = k, .text = &t, .canonical = true};
  print_kernel(&p);
  return text_done(&t);
}
