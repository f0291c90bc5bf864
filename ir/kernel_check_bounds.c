/* Proofs about places: every read inside its buffer, every element of an output written once. The
 * proofs make expressions of their own, so they work on a copy of the kernel. */
#include "ir/expr.h"
#include "ir/kernel_check.h"

/* Below this many points, what arithmetic does not prove is tried point by point. */
enum { MOST_POINTS_TRIED = 1 << 20, MAX_FACTS = 64 };

uint32_t expr_count(const kernel *k) { return k->exprs->count; }

static kernel *copy_definition(const kernel *k, arena *scratch) {
  static const expr_rewrite as_it_is = {0};
  kernel *copy = kernel_new(scratch, k->name, k->where);
  for (uint32_t i = 0; i < k->n_axes; i++) kernel_add_axis(copy, k->axes[i].name, k->axes[i].extent);
  for (uint32_t i = 0; i < k->n_buffers; i++)
    kernel_add_buffer(copy, k->buffers[i].name, k->buffers[i].type, k->buffers[i].access);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    stage s = k->stages[i];
    const expr *index[MAX_RANK];
    s.body = expr_rewrite_into(copy, k, s.body, &as_it_is);
    uint32_t rank = s.output < 0 ? 0 : k->buffers[s.output].type.rank;
    for (uint32_t d = 0; d < rank; d++) index[d] = expr_rewrite_into(copy, k, s.index[d], &as_it_is);
    s.index = index;
    uint32_t number = kernel_add_stage(copy, s);
    copy->stages[number].free = s.free;
  }
  return copy;
}

static bool inside(interval r, int64_t extent) { return r.low >= 0 && r.high < extent; }

/* -- reads ------------------------------------------------------------------------------------------------ */

static interval intersect(interval x, interval y) {
  return (interval){x.low > y.low ? x.low : y.low, x.high < y.high ? x.high : y.high};
}

/* How many times the sum e holds `part`, by their first terms; 0 when it does not. */
static int64_t multiplicity(const expr *e, const expr *part) {
  index_sum s = {.n = 0}, t = {.n = 0};
  if (!sum_accumulate(&s, e, 1) || !sum_accumulate(&t, part, 1) || !t.n) return 0;
  for (uint32_t i = 0; i < s.n; i++)
    if (s.term[i].atom == t.term[0].atom) {
      int64_t by = t.term[0].coefficient; /* -1 apart: the smallest number has no opposite */
      return by == -1 ? -s.term[i].coefficient : s.term[i].coefficient / by;
    }
  return 0;
}

/* The range of an index where a condition holds, when it is a multiple of the subject, or of its
 * quotient by the divisor, plus something with a range of its own. */
static interval narrowed(kernel *k, const expr *index, const condition *c) {
  int64_t divisors[] = {1, c->divisor};
  interval r = index->range, subject = intersect(c->subject->range, (interval){c->low, c->high - 1});
  if (interval_is_whole(subject, DTYPE_I64)) return r;
  for (int i = 0; i < 2; i++) {
    const expr *quotient = expr_divide(k, c->subject, divisors[i]);
    int64_t times = multiplicity(index, quotient);
    if (!times) continue;
    const expr *rest = expr_add(k, index, expr_scale(k, quotient, -times));
    interval q = {floor_quotient(subject.low, divisors[i]), floor_quotient(subject.high, divisors[i])};
    int64_t low, high;
    if (__builtin_mul_overflow(times, times > 0 ? q.low : q.high, &low) ||
        __builtin_mul_overflow(times, times > 0 ? q.high : q.low, &high) ||
        __builtin_add_overflow(low, rest->range.low, &low) || __builtin_add_overflow(high, rest->range.high, &high))
      continue;
    r = intersect(r, (interval){low, high});
  }
  return r;
}

static interval range_under(kernel *k, const expr *e, const expr *read);

/* By the rule of the op, from arguments whose ranges conditions narrow. */
static interval range_of_parts(kernel *k, const expr *e, const expr *read) {
  if (e->kind != EXPR_APPLY || e->n_args > 3) return e->range;
  expr parts[3], whole = *e;
  const expr *args[3];
  for (uint32_t i = 0; i < e->n_args; i++) {
    parts[i] = *e->args[i];
    if (parts[i].type == DTYPE_I64) parts[i].range = range_under(k, e->args[i], read);
    args[i] = &parts[i];
  }
  whole.args = args;
  return intersect(e->range, expr_range_of(k, &whole));
}

static interval range_under(kernel *k, const expr *e, const expr *read) {
  interval r = range_of_parts(k, e, read);
  for (uint32_t i = 0; i < read->n_conditions; i++) r = intersect(r, narrowed(k, e, &read->conditions[i]));
  return r;
}

static const char *check_read(kernel *k, const expr *e) {
  const kernel_buffer *b = &k->buffers[e->number];
  for (uint32_t d = 0; d < b->type.rank; d++) {
    if (inside(e->args[d]->range, b->type.dim[d])) continue;
    interval r = range_under(k, e->args[d], e);
    if (!inside(r, b->type.dim[d]) && r.low <= r.high)
      return arena_printf(k->arena, "dimension %u of a read of %s covers %lld to %lld, outside 0 to %lld", d, b->name,
                          (long long)r.low, (long long)r.high, (long long)b->type.dim[d] - 1);
  }
  return NULL;
}

static const char *check_reads(kernel *k, bool *seen, const expr *e) {
  if (seen[e->id]) return NULL;
  seen[e->id] = true;
  const char *wrong = NULL;
  for (uint32_t i = 0; !wrong && i < e->n_args; i++) wrong = check_reads(k, seen, e->args[i]);
  for (uint32_t i = 0; !wrong && i < e->n_conditions; i++) wrong = check_reads(k, seen, e->conditions[i].subject);
  return !wrong && e->kind == EXPR_READ ? check_read(k, e) : wrong;
}

/* -- writes ------------------------------------------------------------------------------------------------ */

static int64_t points_of(const kernel *k, axis_set axes) {
  int64_t n = 1;
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (axes >> i & 1) n *= k->axes[i].extent;
  return n;
}

/* The element offset of a stage's writes, row-major. */
static const expr *offset_of(kernel *k, const stage *s) {
  const tensor_type *t = &k->buffers[s->output].type;
  const expr *at = expr_integer(k, 0);
  for (uint32_t d = 0; d < t->rank; d++) at = expr_add(k, expr_scale(k, at, t->dim[d]), s->index[d]);
  return at;
}

typedef struct {
  const expr *of[MAX_FACTS];
  uint32_t n;
} facts;

static bool add_fact(facts *f, const expr *e) {
  for (uint32_t i = 0; i < f->n; i++)
    if (f->of[i] == e) return false;
  if (f->n == MAX_FACTS) return false;
  f->of[f->n++] = e;
  return true;
}

/* A sum tells its atoms when, sorted, each coefficient exceeds what all smaller terms span. */
static bool add_atoms(facts *f, const expr *e) {
  index_sum s = {.n = 0};
  if (!sum_accumulate(&s, e, 1)) return false;
  int64_t reach = 0;
  bool used[MAX_TERMS] = {false}, changed = false;
  for (uint32_t round = 0; round < s.n; round++) {
    int64_t least = INT64_MAX;
    uint32_t at = 0;
    for (uint32_t i = 0; i < s.n; i++) {
      int64_t size = s.term[i].coefficient < 0 ? -s.term[i].coefficient : s.term[i].coefficient;
      if (!used[i] && size < least) least = size, at = i;
    }
    used[at] = true;
    interval r = s.term[at].atom->range;
    if (least <= reach || interval_is_whole(r, DTYPE_I64)) return false;
    reach += least * (r.high - r.low);
  }
  for (uint32_t i = 0; i < s.n; i++) changed |= add_fact(f, s.term[i].atom);
  return changed;
}

static bool is_remainder(const expr *e) {
  return is_apply(e, OP_MOD) && e->args[1]->kind == EXPR_CONSTANT && e->args[1]->constant.integer > 0;
}

/* Does the value of e tell all axes of the set? Quotient and remainder together tell what they are of. */
static bool tells(kernel *k, const expr *e, axis_set axes) {
  facts f = {.n = 0};
  for (bool changed = add_atoms(&f, e); changed;) {
    changed = false;
    for (uint32_t i = 0; i < f.n; i++) {
      if (!is_remainder(f.of[i])) continue;
      const expr *quotient = expr_divide(k, f.of[i]->args[0], f.of[i]->args[1]->constant.integer);
      for (uint32_t j = 0; j < f.n; j++)
        if (f.of[j] == quotient) changed |= add_atoms(&f, f.of[i]->args[0]);
    }
  }
  axis_set told = 0;
  for (uint32_t i = 0; i < f.n; i++)
    if (f.of[i]->kind == EXPR_AXIS) told |= (axis_set)1 << f.of[i]->number;
  for (uint32_t i = 0; i < k->n_axes; i++)
    if ((axes >> i & 1) && k->axes[i].extent > 1 && !(told >> i & 1)) return false;
  return true;
}

/* Two indices never meet: their ranges are apart, or their remainders by a step that both keep. */
static bool apart(const expr *x, const expr *y) {
  if (x->range.high < y->range.low || y->range.high < x->range.low) return true;
  index_sum s = {.n = 0}, t = {.n = 0};
  if (!sum_accumulate(&s, x, 1) || !sum_accumulate(&t, y, 1)) return false;
  int64_t step = 0;
  for (uint32_t i = 0; i < s.n; i++) step = common_divisor(step, s.term[i].coefficient);
  for (uint32_t i = 0; i < t.n; i++) step = common_divisor(step, t.term[i].coefficient);
  return step > 1 && (s.offset - t.offset) % step != 0;
}

static bool writes_apart(const kernel *k, const stage *x, const stage *y) {
  for (uint32_t d = 0; d < k->buffers[x->output].type.rank; d++)
    if (apart(x->index[d], y->index[d])) return true;
  return false;
}

/* Marks what a stage writes; false when it writes an element twice. Indices are over axes alone. */
static int64_t value_at(const expr *e, const int64_t *point) {
  if (e->kind == EXPR_CONSTANT) return e->constant.integer;
  if (e->kind == EXPR_AXIS) return point[e->number];
  scalar args[3];
  for (uint32_t i = 0; i < e->n_args; i++) args[i].integer = value_at(e->args[i], point);
  return op_evaluate(e->op, DTYPE_I64, DTYPE_I64, args).integer;
}

static bool mark_writes(kernel *k, const stage *s, bool *written) {
  int64_t point[MAX_AXES] = {0};
  const expr *offset = offset_of(k, s);
  for (int64_t left = points_of(k, s->free); left > 0; left--) {
    int64_t at = value_at(offset, point);
    if (written[at]) return false;
    written[at] = true;
    for (uint32_t i = k->n_axes; i > 0; i--) {
      if (!(s->free >> (i - 1) & 1)) continue;
      if (++point[i - 1] < k->axes[i - 1].extent) break;
      point[i - 1] = 0;
    }
  }
  return true;
}

static bool is_plain_index(const expr *e) {
  if (e->type != DTYPE_I64 || (e->kind == EXPR_APPLY && e->n_args > 2)) return false;
  if (e->kind == EXPR_READ || e->kind == EXPR_STAGE) return false;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (!is_plain_index(e->args[i])) return false;
  return true;
}

static bool proven_disjoint(kernel *k, uint32_t buffer) {
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    if (s->output != (int32_t)buffer) continue;
    if (!tells(k, offset_of(k, s), s->free)) return false;
    for (uint32_t j = 0; j < i; j++)
      if (k->stages[j].output == s->output && !writes_apart(k, s, &k->stages[j])) return false;
  }
  return true;
}

static bool tried_disjoint(kernel *k, uint32_t buffer, int64_t elements) {
  bool *written = ARENA_ARRAY(k->arena, bool, elements);
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output == (int32_t)buffer && !mark_writes(k, &k->stages[i], written)) return false;
  return true;
}

/* As many writes as elements, all inside and all different: then all elements are written. */
static const char *check_writes(kernel *k, uint32_t buffer) {
  const kernel_buffer *b = &k->buffers[buffer];
  int64_t points = 0, elements = type_elements(&b->type);
  for (uint32_t i = 0; i < k->n_stages; i++) {
    const stage *s = &k->stages[i];
    if (s->output != (int32_t)buffer) continue;
    int64_t own = points_of(k, s->free);
    points += own;
    for (uint32_t d = 0; own && d < b->type.rank; d++) {
      if (!is_plain_index(s->index[d]))
        return arena_printf(k->arena, "stage %s writes at places that it computes", s->name);
      if (!inside(s->index[d]->range, b->type.dim[d]))
        return arena_printf(k->arena, "stage %s writes outside %s", s->name, b->name);
    }
  }
  if (points != elements)
    return arena_printf(k->arena, "%lld elements of %s are written, of %lld", (long long)points, b->name,
                        (long long)elements);
  if (!elements || proven_disjoint(k, buffer)) return NULL;
  if (elements <= MOST_POINTS_TRIED && tried_disjoint(k, buffer, elements)) return NULL;
  return arena_printf(k->arena, "writes of %s are not proven to be disjoint", b->name);
}

const char *kernel_check_bounds(const kernel *original, arena *scratch) {
  kernel *k = copy_definition(original, scratch);
  bool *seen = ARENA_ARRAY(scratch, bool, k->exprs->count);
  const char *wrong = NULL;
  for (uint32_t i = 0; !wrong && i < k->n_stages; i++)
    if (points_of(k, k->stages[i].free | k->stages[i].reduced)) wrong = check_reads(k, seen, k->stages[i].body);
  for (uint32_t i = 0; !wrong && i < k->n_buffers; i++)
    if (k->buffers[i].access == ACCESS_OUT) wrong = check_writes(k, i);
  return wrong;
}
