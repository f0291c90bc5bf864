/* Reads the text form of kernels. Types of literals come from the text around them: see kernel_text.h. */
#include "ir/kernel_text.h"

enum { MAX_NESTING = 250, MAX_PARSED_CONDITIONS = 64 };

typedef struct {
  scanner *s;
  kernel *k;
  const expr **lines; /* $0, $1, ... */
  uint32_t n_lines, lines_capacity;
  uint32_t depth;
} parser;

/* The type that the text around gives, or NOT_IMPLIED. */
typedef dtype expected;
#define NOT_IMPLIED DTYPE_COUNT

static const expr *parse_sum(parser *p, expected t);

static const expr *fail(parser *p, const char *message) {
  scan_fail(p->s, "%s", message);
  return NULL;
}

static const expr *apply(parser *p, op_id op, dtype declared, const expr *const *args, uint32_t n) {
  dtype types[8], result;
  for (uint32_t i = 0; i < n; i++) types[i] = args[i]->type;
  if (n != (uint32_t)op_table[op].arity || !op_result_dtype(op, types, declared, &result)) {
    scan_fail(p->s, "%s does not take operands of these types", op_table[op].name);
    return NULL;
  }
  return expr_apply(p->k, op, result, args, n);
}

/* -- names ------------------------------------------------------------------------------------------- */

static int32_t find_axis(const kernel *k, const char *name) {
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (!strcmp(k->axes[i].name, name)) return (int32_t)i;
  return -1;
}

static int32_t find_buffer(const kernel *k, const char *name) {
  for (uint32_t i = 0; i < k->n_buffers; i++)
    if (!strcmp(k->buffers[i].name, name)) return (int32_t)i;
  return -1;
}

static int32_t find_stage(const kernel *k, const char *name) {
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (!strcmp(k->stages[i].name, name)) return (int32_t)i;
  return -1;
}

static bool parse_axis_name(parser *p, uint32_t *out) {
  const char *name;
  if (!scan_word(p->s, &name)) return false;
  int32_t axis = find_axis(p->k, name);
  if (axis < 0) return scan_fail(p->s, "%s is no axis", name);
  *out = (uint32_t)axis;
  return true;
}

static bool new_name(parser *p, const char **out) {
  if (!scan_word(p->s, out)) return false;
  return !kernel_has_name(p->k, *out) || scan_fail(p->s, "the name %s is taken", *out);
}

/* -- expressions --------------------------------------------------------------------------------------- */

static const expr *parse_literal(parser *p, expected t) {
  scalar v;
  if (t == NOT_IMPLIED) return fail(p, "the type of this number is not known here: write f32(1)");
  return scan_scalar(p->s, t, &v) ? expr_constant(p->k, t, v) : NULL;
}

static bool at_literal(parser *p) {
  scanner ahead = *p->s;
  scan_accept(&ahead, "-");
  if (scan_accept_word(&ahead, "inf") || scan_accept_word(&ahead, "nan")) return true;
  return !scan_at_end(&ahead) && ahead.text[ahead.at] >= '0' && ahead.text[ahead.at] <= '9';
}

static bool parse_index(parser *p, const tensor_type *type, const expr **index) {
  if (!scan_expect(p->s, "[")) return false;
  for (uint32_t d = 0; d < type->rank; d++) {
    if (d && !scan_expect(p->s, ",")) return false;
    if (!(index[d] = parse_sum(p, DTYPE_I64))) return false;
    if (index[d]->type != DTYPE_I64) return scan_fail(p->s, "an index is i64");
  }
  return scan_expect(p->s, "]");
}

static const expr *parse_primary(parser *p, expected t);

/* `0 <= p + r - 1 < 16` or `(h - r) % 2 == 0` */
static bool parse_condition(parser *p, condition *c) {
  *c = (condition){.low = INT64_MIN, .high = INT64_MAX, .divisor = 1};
  if (at_literal(p)) {
    if (!scan_integer(p->s, &c->low) || !scan_expect(p->s, "<=")) return false;
    if (!(c->subject = parse_sum(p, DTYPE_I64))) return false;
    if (!scan_expect(p->s, "<") || !scan_integer(p->s, &c->high)) return false;
  } else {
    int64_t zero;
    if (!(c->subject = parse_primary(p, DTYPE_I64))) return false;
    if (!scan_expect(p->s, "%") || !scan_integer(p->s, &c->divisor) || !scan_expect(p->s, "==")) return false;
    if (!scan_integer(p->s, &zero)) return false;
    if (zero || c->divisor < 1) return scan_fail(p->s, "expected a remainder of 0 by a positive number");
  }
  return c->subject->type == DTYPE_I64 || scan_fail(p->s, "a condition is on an i64 expression");
}

static const expr *parse_read(parser *p, uint32_t buffer) {
  const tensor_type *type = &p->k->buffers[buffer].type;
  const expr *index[MAX_RANK];
  condition conditions[MAX_PARSED_CONDITIONS];
  uint32_t n = 0;
  scalar otherwise = {0};
  if (!parse_index(p, type, index)) return NULL;
  if (scan_accept_word(p->s, "where")) {
    do {
      if (n == MAX_PARSED_CONDITIONS) return fail(p, "too many conditions");
      if (!parse_condition(p, &conditions[n++])) return NULL;
    } while (scan_accept(p->s, ","));
    if (!scan_expect_word(p->s, "else") || !scan_scalar(p->s, type->dtype, &otherwise)) return NULL;
  }
  return expr_read(p->k, buffer, index, conditions, n, otherwise);
}

/* The type of argument i, as far as the text around and the arguments before give it. */
static expected argument_type(type_rule rule, uint32_t i, expected result, const expr *const *before) {
  if (!type_is_implied(rule, i, result != NOT_IMPLIED)) return NOT_IMPLIED;
  if (rule == RULE_RANDOM) return DTYPE_U32;
  if (rule == RULE_SELECT && i == 0) return DTYPE_BOOL;
  return i == 0 || (rule == RULE_SELECT && i == 1) ? result : before[i - 1]->type;
}

static const expr *parse_call(parser *p, const char *name, expected t) {
  const expr *args[8];
  dtype declared = DTYPE_COUNT;
  op_id op;
  if (dtype_from_name(name, strlen(name), &declared)) {
    op = OP_CAST;
    if (at_literal(p)) {
      const expr *e = parse_literal(p, declared);
      return e && scan_expect(p->s, ")") ? e : NULL;
    }
  } else if (!strncmp(name, BITCAST_PREFIX, strlen(BITCAST_PREFIX))) {
    const char *type = name + strlen(BITCAST_PREFIX);
    if (!dtype_from_name(type, strlen(type), &declared)) return fail(p, "no such element type");
    op = OP_BITCAST;
  } else {
    op = op_from_name(name, strlen(name));
  }
  if (op == OP_COUNT || !op_table[op].elementwise || (op_table[op].rule == RULE_CAST) != (op == OP_CAST)) {
    scan_fail(p->s, "%s is no elementwise op", name);
    return NULL;
  }
  for (uint32_t i = 0; i < (uint32_t)op_table[op].arity; i++) {
    if (i && !scan_expect(p->s, ",")) return NULL;
    if (!(args[i] = parse_sum(p, argument_type(op_table[op].rule, i, t, args)))) return NULL;
  }
  return scan_expect(p->s, ")") ? apply(p, op, declared, args, (uint32_t)op_table[op].arity) : NULL;
}

static const expr *parse_name(parser *p, expected t) {
  const char *name;
  if (!scan_word(p->s, &name)) return NULL;
  if (!strcmp(name, "true") || !strcmp(name, "false"))
    return expr_constant(p->k, DTYPE_BOOL, (scalar){.integer = *name == 't'});
  if (scan_accept(p->s, "(")) return parse_call(p, name, t);
  int32_t at = find_buffer(p->k, name);
  if (at >= 0) return parse_read(p, (uint32_t)at);
  at = find_axis(p->k, name);
  if (at >= 0) return expr_axis(p->k, (uint32_t)at);
  at = find_stage(p->k, name);
  if (at >= 0) return expr_stage(p->k, (uint32_t)at);
  scan_fail(p->s, "nothing here is named %s", name);
  return NULL;
}

static const expr *parse_primary(parser *p, expected t) {
  if (at_literal(p)) return parse_literal(p, t);
  if (scan_accept(p->s, "(")) {
    const expr *e = parse_sum(p, t);
    return e && scan_expect(p->s, ")") ? e : NULL;
  }
  if (scan_accept(p->s, "$")) {
    int64_t line;
    if (!scan_integer(p->s, &line)) return NULL;
    if (line < 0 || line >= p->n_lines) return fail(p, "no line above has this number");
    return p->lines[line];
  }
  return parse_name(p, t);
}

static const expr *parse_unary(parser *p, expected t) {
  if (at_literal(p) || !scan_accept(p->s, "-")) return parse_primary(p, t);
  const expr *e = parse_primary(p, t);
  return e ? apply(p, OP_NEG, DTYPE_COUNT, &e, 1) : NULL;
}

/* What stands on both sides of a sign has one type: a literal on the left takes it from around. */
static const expr *parse_binary(parser *p, op_id op, const expr *left, const expr *right) {
  if (!left || !right) return NULL;
  if (op == OP_DIV && !dtype_is_real(left->type)) op = OP_FLOOR_DIV;
  return apply(p, op, DTYPE_COUNT, (const expr *[]){left, right}, 2);
}

static const expr *parse_product(parser *p, expected t) {
  const expr *left = parse_unary(p, t);
  while (left) {
    op_id op = scan_accept(p->s, "*") ? OP_MUL : scan_accept(p->s, "/") ? OP_DIV : OP_MOD;
    if (op == OP_MOD && !scan_accept(p->s, "%")) return left;
    left = parse_binary(p, op, left, parse_unary(p, left->type));
  }
  return NULL;
}

static bool at_arrow(parser *p) {
  scanner ahead = *p->s;
  return scan_accept(&ahead, "->");
}

static const expr *parse_sum(parser *p, expected t) {
  if (p->depth++ >= MAX_NESTING) return fail(p, "expressions are nested too deep");
  const expr *left = parse_product(p, t);
  while (left && !at_arrow(p)) {
    op_id op = scan_accept(p->s, "+") ? OP_ADD : OP_SUB;
    if (op == OP_SUB && !scan_accept(p->s, "-")) break;
    left = parse_binary(p, op, left, parse_product(p, left->type));
  }
  p->depth--;
  return left;
}

/* -- kernels --------------------------------------------------------------------------------------------- */

bool scan_layout(scanner *s, const tensor_type *type, layout *out) {
  *out = (layout){0};
  if (!scan_accept(s, "{")) return true;
  uint32_t start = s->at;
  while (!scan_at_end(s) && s->text[s->at] != '}') s->at++;
  const char *text = arena_substring(s->d->arena, s->text + start, s->at - start);
  if (!layout_parse(text, type, out)) return scan_fail(s, "this is no layout of the type");
  return scan_expect(s, "}");
}

static bool parse_buffer(parser *p, buffer_access access) {
  const char *name;
  tensor_type type;
  layout places;
  if (!new_name(p, &name) || !scan_expect(p->s, ":") || !scan_type(p->s, &type)) return false;
  if (!scan_layout(p->s, &type, &places)) return false;
  uint32_t number = kernel_add_buffer(p->k, name, type, access);
  p->k->buffers[number].layout = places;
  p->k->buffers[number].cold = access == ACCESS_OUT && scan_accept_word(p->s, "cold");
  return true;
}

static bool parse_axis(parser *p) {
  const char *name;
  int64_t extent;
  if (!new_name(p, &name) || !scan_expect(p->s, ":") || !scan_integer(p->s, &extent)) return false;
  if (extent < 0 || extent > (int64_t)1 << 40) return scan_fail(p->s, "an extent is from 0 to 2^40");
  if (p->k->n_axes == MAX_AXES) return scan_fail(p->s, "at most %d axes", MAX_AXES);
  kernel_add_axis(p->k, name, extent);
  return true;
}

/* At the first token behind the axes: a line, a stage, or the end. */
static bool behind_axes(parser *p) {
  scanner ahead = *p->s;
  const char *word;
  if (scan_accept(&ahead, "$") || scan_accept(&ahead, "}") || scan_at_end(&ahead)) return true;
  return scan_word(&ahead, &word) && scan_accept(&ahead, "[");
}

static bool parse_dtype(parser *p, dtype *out) {
  const char *name;
  if (!scan_expect(p->s, ":") || !scan_word(p->s, &name)) return false;
  return dtype_from_name(name, strlen(name), out) || scan_fail(p->s, "%s is no element type", name);
}

static bool parse_line(parser *p) {
  int64_t number;
  dtype t;
  if (!scan_integer(p->s, &number)) return false;
  if (number != p->n_lines) return scan_fail(p->s, "expected $%u here", p->n_lines);
  if (!parse_dtype(p, &t) || !scan_expect(p->s, "=")) return false;
  const expr *e = parse_sum(p, t);
  if (!e) return false;
  *ARENA_PUSH(p->k->arena, p->lines, p->n_lines, p->lines_capacity) = e;
  return e->type == t || scan_fail(p->s, "the expression is %s", dtype_name(e->type));
}

static bool parse_reduction(parser *p, stage *s) {
  scanner ahead = *p->s;
  const bool again = scan_accept_word(&ahead, "again");
  for (monoid m = MONOID_SUM; m <= MONOID_ARGMAX; m++) {
    if (!scan_accept_word(&ahead, monoid_words[m])) continue;
    if (scan_accept(&ahead, "(")) return true; /* the op of that name */
    s->monoid = m;
    s->again = again && scan_accept_word(p->s, "again");
    scan_accept_word(p->s, monoid_words[m]);
    while (!scan_accept_word(p->s, "of")) {
      uint32_t axis;
      if (!parse_axis_name(p, &axis)) return false;
      s->reduced |= (axis_set)1 << axis;
    }
  }
  return true;
}

static bool parse_output(parser *p, stage *s) {
  const char *name;
  if (!scan_word(p->s, &name)) return false;
  s->output = find_buffer(p->k, name);
  if (s->output < 0) return scan_fail(p->s, "%s is no buffer", name);
  const tensor_type *type = &p->k->buffers[s->output].type;
  s->index = ARENA_ARRAY(p->k->arena, const expr *, MAX_RANK);
  return parse_index(p, type, s->index);
}

static bool parse_stage(parser *p) {
  stage s = {.output = -1, .where = scan_place(p->s)};
  if (!new_name(p, &s.name) || !scan_expect(p->s, "[")) return false;
  while (!scan_accept(p->s, "]")) {
    uint32_t axis;
    if (s.free && !scan_expect(p->s, ",")) return false;
    if (!parse_axis_name(p, &axis)) return false;
    s.free |= (axis_set)1 << axis;
  }
  if (!parse_dtype(p, &s.type) || !scan_expect(p->s, "=") || !parse_reduction(p, &s)) return false;
  axis_set written = s.free;
  s.body = parse_sum(p, s.monoid == MONOID_ARGMAX ? NOT_IMPLIED : s.type);
  if (!s.body) return false;
  if (scan_accept(p->s, "->") && !parse_output(p, &s)) return false;
  uint32_t number = kernel_add_stage(p->k, s);
  p->k->stages[number].free = written; /* as written, for the verifier to judge */
  return true;
}

static bool parse_loop(parser *p, schedule_loop *l) {
  *l = (schedule_loop){.step = 1};
  if (!parse_axis_name(p, &l->axis)) return false;
  if (scan_accept(p->s, "/") && !scan_integer(p->s, &l->step)) return false;
  for (loop_kind kind = LOOP_UNROLL; kind <= LOOP_PARALLEL; kind++)
    if (scan_accept_word(p->s, loop_words[kind])) l->kind = kind;
  l->peel = scan_accept_word(p->s, "peel");
  return true;
}

static bool parse_team(parser *p, team_tile *t) {
  bool good = scan_integer(p->s, &t->rows) && scan_integer(p->s, &t->lanes) && scan_integer(p->s, &t->sums) && scan_expect_word(p->s, "of");
  good = good && scan_integer(p->s, &t->warp_rows) && scan_integer(p->s, &t->warp_lanes) && scan_expect(p->s, ",") && scan_expect_word(p->s, "stages");
  good = good && scan_integer(p->s, &t->stages);
  t->groups = good && scan_accept(p->s, ",");
  good = good && (!t->groups || scan_expect_word(p->s, "groups"));
  t->boxes = good && t->groups && scan_accept(p->s, ",");
  return good && (!t->boxes || scan_expect_word(p->s, "boxes")) && scan_expect(p->s, "}");
}

static bool parse_schedule(parser *p) {
  schedule *s = &p->k->schedule;
  uint32_t capacity = 0;
  if (!scan_expect(p->s, "{")) return false;
  if (scan_accept_word(p->s, "team")) return parse_team(p, &s->team);
  if (!scan_expect_word(p->s, "for")) return false;
  do {
    schedule_loop l;
    if (!parse_loop(p, &l)) return false;
    *ARENA_PUSH(p->k->arena, s->loops, s->n, capacity) = l;
  } while (scan_accept(p->s, ","));
  if (scan_accept(p->s, ";") && (!scan_expect_word(p->s, "chunks") || !scan_integer(p->s, &s->chunks))) return false;
  return scan_expect(p->s, "}");
}

static bool parse_parts(parser *p) {
  if (!scan_expect(p->s, "{")) return false;
  for (;;) {
    bool in = scan_accept_word(p->s, "in");
    if (!in && !scan_accept_word(p->s, "out")) break;
    if (!parse_buffer(p, in ? ACCESS_IN : ACCESS_OUT)) return false;
  }
  if (scan_accept_word(p->s, "axes"))
    while (!behind_axes(p))
      if (!parse_axis(p)) return false;
  while (!scan_accept(p->s, "}"))
    if (!(scan_accept(p->s, "$") ? parse_line(p) : parse_stage(p))) return false;
  return !scan_accept_word(p->s, "schedule") || parse_schedule(p);
}

kernel *kernel_parse_from(scanner *s, arena *a) {
  const char *name;
  if (!scan_expect_word(s, "kernel")) return NULL;
  span where = scan_place(s);
  if (!scan_word(s, &name)) return NULL;
  parser p = {.s = s, .k = kernel_new(a, name, where)};
  if (!parse_parts(&p)) return NULL;
  const char *wrong = kernel_verify(p.k, a);
  if (!wrong) return p.k;
  s->failed = true;
  diagnose(s->d, DIAG_IR_INVALID, where, "%s", wrong);
  return NULL;
}

kernel *kernel_parse(arena *a, uint32_t file, uint32_t *offset, diagnostics *d) {
  scanner s = scan_start(file, *offset, d);
  kernel *k = kernel_parse_from(&s, a);
  *offset = s.at;
  return k;
}
