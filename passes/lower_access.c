/* Reads and writes of buffers at the current coordinates: layouts, masks, and what lies in lanes. */
#include "passes/lower.h"

static operand integer_value(lowering *l, int64_t v) { return constant_value(l, DTYPE_I64, (scalar){.integer = v}); }

static operand apply_two(lowering *l, op_id op, dtype result, operand x, operand y) {
  return apply_op(l, op, result, (operand[]){x, y}, 2);
}

/* -- offsets ---------------------------------------------------------------------------------------------- */

/* An index or an offset: an affine form, plus lanes that follow no form. */
typedef struct {
  affine form;
  bool has_lanes;
  operand lanes; /* i64 */
} location;

static void add_location(lowering *l, location *to, const location *p, int64_t factor) {
  if (!affine_add(&to->form, &p->form, factor)) fail_lowering(l, "an index has too many terms");
  if (!p->has_lanes) return;
  operand scaled = apply_two(l, OP_MUL, DTYPE_I64, p->lanes, integer_value(l, factor));
  to->lanes = to->has_lanes ? apply_two(l, OP_ADD, DTYPE_I64, to->lanes, scaled) : scaled;
  to->has_lanes = true;
}

static operand location_value(lowering *l, const location *p) {
  operand v = value_of_index(l, &p->form);
  return p->has_lanes ? apply_two(l, OP_ADD, DTYPE_I64, v, p->lanes) : v;
}

static location location_in_lanes(operand v) { return (location){.has_lanes = true, .lanes = v}; }

/* The index, brought into [0, extent) where nothing proves that it is there. */
static location index_location(lowering *l, const expr *e, int64_t extent) {
  location p = {0};
  operand v;
  bool is_form = affine_of(l, e, AFFINE_EMIT, &p.form);
  interval r = is_form ? affine_range(l, &p.form) : range_of(l, e);
  if (is_form && r.low >= 0 && r.high < extent) return p;
  const uint32_t ids[] = {is_form ? affine_id(l, &p.form) : 0, (uint32_t)extent, (uint32_t)(extent >> 32)};
  if (!is_form || !find_known_by(l, &l->frames, ids, 3, &v)) {
    v = is_form ? value_of_index(l, &p.form) : cast_value(l, lower_expr(l, e), DTYPE_I64);
    if (r.low < 0) v = apply_two(l, OP_MAX, DTYPE_I64, v, integer_value(l, 0));
    if (r.high >= extent) v = apply_two(l, OP_MIN, DTYPE_I64, v, integer_value(l, extent - 1));
    v = share(l, v);
    if (is_form) add_known_by(l, &l->frames, ids, 3, v);
  }
  if (v.expr->lanes > 1) return location_in_lanes(v);
  if (v.expr->kind == LOOPS_CONSTANT) return (location){.form = affine_constant(v.expr->constant.integer)};
  interval clamped = {r.low < 0 ? 0 : r.low, r.high >= extent ? extent - 1 : r.high};
  l->registers[v.expr->number].range = clamped;
  return (location){.form = affine_register(v.expr->number, 1)};
}

/* (index / divisor) % extent, as a physical dimension of a layout takes it; `whole`: nothing wraps. */
static location part_location(lowering *l, const location *index, int64_t divisor, int64_t extent, bool wraps) {
  location part = *index;
  affine rest;
  if (divisor == 1 && !wraps) return part;
  if (!index->has_lanes && affine_divide(l, &index->form, divisor, AFFINE_EMIT, &part.form, &rest)) {
    affine quotient = part.form;
    if (!wraps || affine_divide(l, &quotient, extent, AFFINE_EMIT, &rest, &part.form)) return part;
  }
  operand v = share(l, location_value(l, index));
  if (divisor != 1) v = apply_two(l, OP_FLOOR_DIV, DTYPE_I64, v, integer_value(l, divisor));
  if (wraps) v = apply_two(l, OP_MOD, DTYPE_I64, share(l, v), integer_value(l, extent));
  return location_in_lanes(v);
}

static layout spelled(const kernel_buffer *b) { return b->layout.n ? b->layout : layout_row_major(&b->type); }

/* x of x / n and x % n: of two dimensions that lie together, the second n long, it is the place in both. NULL: something else. */
static const expr *joined_index(const expr *quotient, const expr *rest, int64_t n) {
  const bool both = quotient->kind == EXPR_APPLY && quotient->op == OP_FLOOR_DIV && rest->kind == EXPR_APPLY && rest->op == OP_MOD;
  if (!both || quotient->args[0] != rest->args[0] || quotient->args[1] != rest->args[1]) return NULL;
  return rest->args[1]->kind == EXPR_CONSTANT && rest->args[1]->constant.integer == n ? rest->args[0] : NULL;
}

static location buffer_offset(lowering *l, uint32_t buffer, const expr *const *index) {
  const kernel_buffer *b = &l->kernel->buffers[buffer];
  layout order = spelled(b);
  location dims[MAX_RANK], offset = {0};
  int64_t stride = 1;
  bool done[MAX_RANK] = {false};
  for (uint32_t i = order.n; order.n == b->type.rank && i-- > 1;) {
    const uint32_t outer = order.part[i - 1].dim, inner = order.part[i].dim;
    const expr *joined = joined_index(index[outer], index[inner], b->type.dim[inner]);
    if (!joined || done[inner]) continue;
    dims[inner] = index_location(l, joined, b->type.dim[outer] * b->type.dim[inner]);
    dims[outer] = (location){.form = affine_constant(0)};
    done[outer] = done[inner] = true;
  }
  for (uint32_t i = 0; i < b->type.rank; i++)
    if (!done[i]) dims[i] = index_location(l, index[i], b->type.dim[i]);
  for (uint32_t i = order.n; i-- > 0; stride *= order.part[i].extent) {
    uint32_t dim = order.part[i].dim;
    int64_t divisor = order.part[i].divisor, extent = order.part[i].extent;
    bool wraps = (b->type.dim[dim] - 1) / divisor >= extent;
    location part = part_location(l, &dims[dim], divisor, extent, wraps);
    add_location(l, &offset, &part, stride);
  }
  return offset;
}

/* -- loads ------------------------------------------------------------------------------------------------ */

/* Memory is read inside the IFs that protect it, and as far out as its address is known otherwise. */
static operand load(lowering *l, uint32_t buffer, const location *at, uint32_t lowest_level) {
  dtype t = l->loops->buffers[buffer].type;
  operand v;
  loops_expr e = {.kind = LOOPS_LOAD, .type = t, .lanes = 1, .number = buffer, .stride = 1, .n_args = 1};
  if (at->has_lanes) {
    v = location_value(l, at);
    v.expr = loops_splat(l->loops, v.expr, l->lanes);
    e.kind = LOOPS_GATHER;
  } else {
    affine base = at->form;
    e.stride = base.lane ? base.lane : 1;
    base.lane = 0;
    v = emit_affine(l, &base);
  }
  if (v.expr->lanes > 1) e.kind = LOOPS_GATHER;
  if (e.kind == LOOPS_GATHER || at->form.lane) {
    e.lanes = l->lanes;
    e.active = l->active;
  }
  e.args = &v.expr;
  return (operand){loops_node(l->loops, e), v.level > lowest_level ? v.level : lowest_level};
}

operand condition_value(lowering *l, const condition *c, operand subject) {
  interval r = range_of(l, c->subject);
  operand tests[3], all;
  uint32_t n = 0;
  if (r.low < c->low) tests[n++] = apply_two(l, OP_LE, DTYPE_BOOL, integer_value(l, c->low), subject);
  if (r.high >= c->high) tests[n++] = apply_two(l, OP_LT, DTYPE_BOOL, subject, integer_value(l, c->high));
  if (c->divisor != 1) {
    operand rest = apply_two(l, OP_MOD, DTYPE_I64, subject, integer_value(l, c->divisor));
    tests[n++] = apply_two(l, OP_EQ, DTYPE_BOOL, rest, integer_value(l, 0));
  }
  all = n ? tests[0] : constant_value(l, DTYPE_BOOL, (scalar){.integer = 1});
  for (uint32_t i = 1; i < n; i++) all = apply_two(l, OP_AND, DTYPE_BOOL, all, tests[i]);
  return all;
}

operand read_buffer(lowering *l, const expr *read) {
  bool holds = true, has_test = false;
  operand test = {0};
  for (uint32_t i = 0; i < read->n_conditions && holds; i++) holds = decide_condition(l, &read->conditions[i]) != NEVER;
  operand otherwise = constant_value(l, read->type, read->constant);
  if (!holds) return otherwise;
  for (uint32_t i = 0; i < read->n_conditions; i++) {
    if (decide_condition(l, &read->conditions[i]) == ALWAYS) continue;
    operand subject = share(l, cast_value(l, lower_expr(l, read->conditions[i].subject), DTYPE_I64));
    operand one = condition_value(l, &read->conditions[i], subject);
    test = has_test ? apply_two(l, OP_AND, DTYPE_BOOL, test, one) : one;
    has_test = true;
  }
  location at = buffer_offset(l, read->number, read->args);
  operand v = load(l, read->number, &at, l->frames[l->depth - 1].guarded);
  return has_test ? apply_op(l, OP_SELECT, read->type, (operand[]){test, v, otherwise}, 3) : v;
}

operand copy_place(lowering *l, const expr *read, operand *test) {
  const uint32_t n_facts = l->n_facts;
  test->expr = NULL;
  for (uint32_t i = 0; i < read->n_conditions; i++) {
    const condition *c = &read->conditions[i];
    const decision holds = decide_condition(l, c);
    if (holds == ALWAYS) continue;
    if (l->n_facts == MAX_FACTS) fail_lowering(l, "a read under too many conditions");
    const operand subject = cast_value(l, lower_expr(l, c->subject), DTYPE_I64);
    const interval r = range_of(l, c->subject);
    const uint32_t pinned = new_register(l, DTYPE_I64, subject.expr->lanes, r, l->depth - 1);
    emit(l, (statement){.kind = STATEMENT_SET, .number = pinned, .value = subject.expr});
    operand one = condition_value(l, c, variable_value(l, pinned));
    *test = test->expr ? apply_two(l, OP_AND, DTYPE_BOOL, *test, one) : one;
    if (l->error || holds == NEVER) continue;
    l->registers[pinned].range = (interval){c->low > r.low ? c->low : r.low, c->high - 1 < r.high ? c->high - 1 : r.high};
    l->facts[l->n_facts++] = (fact){c, pinned};
  }
  location at = buffer_offset(l, read->number, read->args);
  l->n_facts = n_facts;
  return location_value(l, &at);
}

bool read_place(lowering *l, const expr *read, affine *out) {
  location at = buffer_offset(l, read->number, read->args);
  *out = at.form;
  return !at.has_lanes && !at.form.lane;
}

void fetch_read(lowering *l, const expr *read, int64_t ahead) {
  location at = buffer_offset(l, read->number, read->args);
  if (at.has_lanes || at.form.lane != 1) return;
  at.form.lane = 0;
  at.form.constant += ahead;
  emit(l, (statement){.kind = STATEMENT_FETCH, .number = read->number, .offset = emit_affine(l, &at.form).expr});
}

/* What is known of a read of pairs; its name among known values differs from that of the read itself. */
static bool pairs_at(lowering *l, const expr *read, const location at[2], operand *out) {
  affine apart = at[1].form;
  if (at[0].has_lanes || at[1].has_lanes || !affine_add(&apart, &at[0].form, -1)) return false;
  if (apart.n || apart.lane || apart.constant != 1 || (at[0].form.lane != 0 && at[0].form.lane != 2)) return false;
  affine base = at[0].form;
  base.lane = 0;
  operand offset = emit_affine(l, &base);
  loops_expr e = {.kind = LOOPS_PAIRS, .type = DTYPE_U32, .lanes = 1, .number = read->number, .n_args = 1, .args = &offset.expr};
  if (at[0].form.lane) e.lanes = l->lanes, e.active = l->active;
  uint32_t lowest = l->frames[l->depth - 1].guarded;
  *out = (operand){loops_node(l->loops, e), offset.level > lowest ? offset.level : lowest};
  bool reused = is_reused(l, read);
  if (reused || out->level + 1 < l->depth) *out = share(l, *out);
  if (reused) add_known(l, (const char *)read + 1, read->axes, *out);
  return true;
}

bool read_pairs(lowering *l, const expr *read, uint32_t axis, operand *out) {
  coordinate unbound = l->axis[axis];
  location at[2];
  for (uint32_t i = 0; i < read->n_conditions; i++)
    if (decide_condition(l, &read->conditions[i]) != ALWAYS) return false;
  for (int i = 1; i >= 0; i--) {
    affine point = affine_constant(i);
    l->axis[axis] = unbound;
    bind_axis(l, axis, &point, 1);
    if (i == 0 && find_known(l, (const char *)read + 1, read->axes, out)) break;
    at[i] = buffer_offset(l, read->number, read->args);
    if (i == 0 && !pairs_at(l, read, at, out)) out->expr = NULL;
  }
  l->axis[axis] = unbound;
  return out->expr;
}

/* -- stores ----------------------------------------------------------------------------------------------- */

/* What is larger than a core's own caches is hardly read from one, and what is cold from none: a store past them saves the read of the
 * line that a store into them begins with. */
enum { LEAVES_CACHES = 3 << 20, LARGEST_ALIGNMENT = 64 };

/* Whether a whole vector lies at a multiple of its size, as buffers themselves do. */
static bool is_aligned(const affine *a, int64_t elements) {
  bool aligned = a->constant % elements == 0;
  for (uint32_t i = 0; i < a->n; i++) aligned &= a->term[i].coefficient % elements == 0;
  return aligned;
}

static bool can_stream(const lowering *l, uint32_t buffer, const location *at) {
  const loops_buffer *b = &l->loops->buffers[buffer];
  const int64_t bytes = (int64_t)dtype_bytes(b->type);
  affine base = at->form;
  base.lane = 0;
  return b->place == PLACE_ARGUMENT && (b->elements * bytes >= LEAVES_CACHES || l->kernel->buffers[buffer].cold) && !at->has_lanes && at->form.lane == 1 && l->active == l->lanes &&
         LARGEST_ALIGNMENT % (l->lanes * bytes) == 0 && l->lanes * bytes >= 16 && is_aligned(&base, l->lanes);
}

static void store(lowering *l, uint32_t buffer, const location *at, operand v, bool streams) {
  affine base = at->form;
  if (at->has_lanes) {
    fail_lowering(l, "the vector axis is stored to places that are no equal distance apart");
    return;
  }
  int64_t stride = base.lane ? base.lane : 1;
  uint32_t active = base.lane ? l->active : 1;
  base.lane = 0;
  operand offset = emit_affine(l, &base);
  if (active > 1 || at->form.lane) v.expr = loops_splat(l->loops, v.expr, l->lanes);
  emit(l, (statement){.kind = STATEMENT_STORE,
                      .number = buffer,
                      .offset = offset.expr,
                      .active = active,
                      .stride = stride,
                      .streams = streams,
                      .value = v.expr});
}

bool can_store_in_lanes(lowering *l, const stage *s) {
  const kernel_buffer *b = &l->kernel->buffers[s->output];
  layout order = spelled(b);
  affine dims[MAX_RANK], quotient, rest;
  for (uint32_t i = 0; i < b->type.rank; i++)
    if (!affine_of(l, s->index[i], AFFINE_PROBE, &dims[i])) return false;
  for (uint32_t i = 0; i < order.n; i++) {
    const affine *index = &dims[order.part[i].dim];
    int64_t divisor = order.part[i].divisor, extent = order.part[i].extent;
    if (!affine_divide(l, index, divisor, AFFINE_PROBE, &quotient, &rest)) return false;
    bool wraps = (b->type.dim[order.part[i].dim] - 1) / divisor >= extent;
    if (wraps && !affine_divide(l, &quotient, extent, AFFINE_PROBE, &rest, &rest)) return false;
  }
  return true;
}

void store_output(lowering *l, uint32_t number, operand v) {
  const stage *s = &l->kernel->stages[number];
  location at = buffer_offset(l, (uint32_t)s->output, s->index);
  const bool read_again = l->stages[number].home[0].is_output;
  store(l, (uint32_t)s->output, &at, v, !read_again && can_stream(l, (uint32_t)s->output, &at));
}

/* -- homes ------------------------------------------------------------------------------------------------ */

/* Longest array of a thread's own. */
enum { MAX_LOCAL_ELEMENTS = 1 << 18 };
/* Rows at such a distance would compete for few places in the first cache: one line more sets them apart. */
enum { ALIAS_BYTES = 1 << 10, CACHE_LINE = 64 };

void make_home(lowering *l, uint32_t number, uint32_t component, dtype type) {
  const kernel *k = l->kernel;
  const stage *s = &k->stages[number];
  stage_state *state = &l->stages[number];
  home *h = &state->home[component];
  *h = (home){.is_output = component == 0 && s->output >= 0 && k->buffers[s->output].type.dtype == type};
  if (h->is_output) {
    h->buffer = (uint32_t)s->output;
    return;
  }
  h->origin = ARENA_ARRAY(l->arena, affine, k->n_axes);
  h->stride = ARENA_ARRAY(l->arena, int64_t, k->n_axes);
  int64_t elements = 1;
  int32_t lane_axis = state->vector_loop >= 0 ? (int32_t)l->schedule[state->vector_loop].axis : -1;
  /* The axis that runs in lanes is the innermost, the others keep their order. */
  for (uint32_t i = k->n_axes + 1; i-- > 0;) {
    uint32_t axis = i == k->n_axes ? (uint32_t)lane_axis : i;
    if ((i == k->n_axes && lane_axis < 0) || (i < k->n_axes && (int32_t)i == lane_axis)) continue;
    if (!(s->free >> axis & 1)) continue;
    h->origin[axis] = l->axis[axis].at;
    if (elements * (int64_t)dtype_bytes(type) % ALIAS_BYTES == 0) elements += CACHE_LINE / (int64_t)dtype_bytes(type);
    h->stride[axis] = elements;
    elements *= l->axis[axis].left;
  }
  if (elements > MAX_LOCAL_ELEMENTS) fail_lowering(l, "an intermediate value is too large to be kept in a thread");
  if (state->local[component] < 0)
    state->local[component] = (int32_t)loops_add_buffer(
        l->loops, (loops_buffer){.name = s->name, .type = type, .place = PLACE_LOCAL, .written = true});
  h->buffer = (uint32_t)state->local[component];
  loops_buffer *local = &l->loops->buffers[h->buffer];
  if (elements > local->elements) local->elements = elements;
}

static location home_location(lowering *l, uint32_t number, uint32_t component) {
  const stage *s = &l->kernel->stages[number];
  const home *h = &l->stages[number].home[component];
  location at = {0};
  if (h->is_output) return buffer_offset(l, h->buffer, s->index);
  for (uint32_t axis = 0; axis < l->kernel->n_axes; axis++) {
    affine index = l->axis[axis].at;
    if (!(s->free >> axis & 1)) continue;
    if (!affine_add(&index, &h->origin[axis], -1) || !affine_add(&at.form, &index, h->stride[axis]))
      fail_lowering(l, "an index has too many terms");
  }
  return at;
}

/* What is kept in memory changes: it is read where it is used. */
operand load_home(lowering *l, uint32_t number, uint32_t component) {
  location at = home_location(l, number, component);
  return load(l, l->stages[number].home[component].buffer, &at, l->depth - 1);
}

void store_home(lowering *l, uint32_t number, uint32_t component, operand v) {
  location at = home_location(l, number, component);
  store(l, l->stages[number].home[component].buffer, &at, v, false);
}
