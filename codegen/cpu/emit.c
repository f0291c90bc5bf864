#include "codegen/cpu/emit.h"

#include "codegen/cpu/near.h"
#include "codegen/cpu/turn.h"

/* A quarter of the stack that threads have by default. */
enum { MAX_LOCAL_BYTES = 2 << 20 };

/* Values of the expressions of one statement: an expression shared in it is computed once. Slots of
 * earlier statements count as free. */
typedef struct {
  struct known {
    const loops_expr *expr;
    LLVMValueRef value;
    uint64_t statement;
  } * slots;
  uint32_t n, capacity; /* a power of two */
  uint64_t statement;
} known_values;

typedef struct {
  value_builder values;
  const loops *loops;
  const emit_options *options;
  arena *scratch;
  const char **error;
  bool failed;
  LLVMValueRef function;
  LLVMValueRef *registers, *buffers;      /* addresses */
  LLVMValueRef *own_scope, *other_scopes; /* per buffer: !alias.scope and !noalias, or NULL */
  unsigned scope_kind, noalias_kind;
  bool streams; /* some stores go past the caches */
  known_values known;
} emitter;

static void fail(emitter *e, const char *message) {
  if (!e->failed) *e->error = message;
  e->failed = true;
}

/* -- known values ------------------------------------------------------------------------------------------ */

static struct known *known_slot(const known_values *k, const loops_expr *x) {
  uint64_t hash = (uint64_t)(uintptr_t)x * 0x9E3779B97F4A7C15u;
  uint32_t i = (uint32_t)(hash >> 32) & (k->capacity - 1);
  while (k->slots[i].statement == k->statement && k->slots[i].expr != x) i = (i + 1) & (k->capacity - 1);
  return &k->slots[i];
}

static LLVMValueRef known_value(const known_values *k, const loops_expr *x) {
  const struct known *slot = known_slot(k, x);
  return slot->statement == k->statement ? slot->value : NULL;
}

static void known_add(emitter *e, const loops_expr *x, LLVMValueRef value) {
  known_values *k = &e->known;
  if (2 * k->n >= k->capacity) {
    known_values larger = {ARENA_ARRAY(e->scratch, struct known, 2 * k->capacity), k->n, 2 * k->capacity, k->statement};
    for (uint32_t i = 0; i < k->capacity; i++)
      if (k->slots[i].statement == k->statement) *known_slot(&larger, k->slots[i].expr) = k->slots[i];
    *k = larger;
  }
  *known_slot(k, x) = (struct known){x, value, k->statement};
  k->n++;
}

static void known_forget(emitter *e) {
  e->known.statement++;
  e->known.n = 0;
}

/* -- access ------------------------------------------------------------------------------------------------ */

/* Elements that one load or store touches: `active` lanes from `offset` on, `stride` apart, or at a
 * vector of offsets. */
typedef struct {
  uint32_t buffer, lanes, active;
  int64_t stride;
  LLVMValueRef offset;
  bool gathers, streams;
  LLVMValueRef base, in_lanes; /* of a gather, where its offsets are their sum: a scalar and a vector; or NULL */
} access;

static dtype element_type(const emitter *e, const access *a) { return e->loops->buffers[a->buffer].type; }

static LLVMValueRef address(emitter *e, uint32_t buffer, LLVMValueRef offset) {
  LLVMTypeRef type = value_memory_type(&e->values, e->loops->buffers[buffer].type, 1);
  return LLVMBuildInBoundsGEP2(e->values.builder, type, e->buffers[buffer], &offset, 1, "");
}

static LLVMValueRef lane_numbers(emitter *e, uint32_t lanes, int64_t stride) {
  LLVMValueRef *all = ARENA_ARRAY(e->scratch, LLVMValueRef, lanes);
  for (uint32_t i = 0; i < lanes; i++) all[i] = value_integer(&e->values, i * stride);
  return LLVMConstVector(all, lanes);
}

static LLVMValueRef mark(emitter *e, uint32_t buffer, LLVMValueRef instruction) {
  if (e->own_scope[buffer]) LLVMSetMetadata(instruction, e->scope_kind, e->own_scope[buffer]);
  if (e->other_scopes[buffer]) LLVMSetMetadata(instruction, e->noalias_kind, e->other_scopes[buffer]);
  return instruction;
}

static void mark_streaming(emitter *e, LLVMValueRef instruction) {
  LLVMContextRef c = e->values.context;
  LLVMMetadataRef one = LLVMValueAsMetadata(LLVMConstInt(LLVMInt32TypeInContext(c), 1, 0));
  LLVMSetMetadata(instruction, LLVMGetMDKindIDInContext(c, "nontemporal", 11), LLVMMetadataAsValue(c, LLVMMDNodeInContext2(c, &one, 1)));
  e->streams = true;
}

static LLVMValueRef addresses(emitter *e, const access *a) {
  if (a->gathers) return address(e, a->buffer, a->offset);
  return LLVMBuildInBoundsGEP2(e->values.builder, value_memory_type(&e->values, element_type(e, a), 1),
                               address(e, a->buffer, a->offset), (LLVMValueRef[]){lane_numbers(e, a->lanes, a->stride)},
                               1, "");
}

/* Offsets are arbitrary, so accesses are aligned to their elements only. */
static LLVMValueRef alignment(emitter *e, const access *a) {
  return LLVMConstInt(LLVMInt32TypeInContext(e->values.context), dtype_bytes(element_type(e, a)), 0);
}

static LLVMBasicBlockRef append_block(emitter *e) {
  return LLVMAppendBasicBlockInContext(e->values.context, e->function, "");
}

/* `lanes` elements from `offset` on. */
static LLVMValueRef load_contiguous(emitter *e, uint32_t buffer, LLVMValueRef offset, uint32_t lanes) {
  dtype t = e->loops->buffers[buffer].type;
  LLVMValueRef v = LLVMBuildLoad2(e->values.builder, value_memory_type(&e->values, t, lanes), address(e, buffer, offset), "");
  LLVMSetAlignment(v, (unsigned)dtype_bytes(t));
  return mark(e, buffer, v);
}

static LLVMValueRef load_reversed(emitter *e, const access *a) {
  const value_builder *b = &e->values;
  LLVMValueRef order[MAX_LANES], first = LLVMBuildAdd(b->builder, a->offset, value_integer(b, 1 - (int64_t)a->lanes), "");
  LLVMValueRef v = load_contiguous(e, a->buffer, first, a->lanes);
  for (uint32_t i = 0; i < a->lanes; i++) order[i] = LLVMConstInt(LLVMInt32TypeInContext(b->context), a->lanes - 1 - i, 0);
  return LLVMBuildShuffleVector(b->builder, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(order, a->lanes), "");
}

static LLVMValueRef load_scattered(emitter *e, const access *a) {
  const value_builder *b = &e->values;
  LLVMTypeRef type = value_memory_type(b, element_type(e, a), a->lanes);
  LLVMTypeRef types[] = {type, LLVMVectorType(LLVMPointerTypeInContext(b->context, 0), a->lanes)};
  LLVMValueRef args[] = {addresses(e, a), alignment(e, a), value_mask(b, a->lanes, a->active), LLVMConstNull(type)};
  return mark(e, a->buffer, value_intrinsic(b, "llvm.masked.gather", types, 2, args, 4));
}

/* The first way is nearly always taken: code of the other one lies out of the way. */
static void mark_likely(emitter *e, LLVMValueRef branch) {
  LLVMContextRef c = e->values.context;
  LLVMTypeRef i32 = LLVMInt32TypeInContext(c);
  LLVMMetadataRef parts[] = {LLVMMDStringInContext2(c, "branch_weights", 14), LLVMValueAsMetadata(LLVMConstInt(i32, 2000, 0)), LLVMValueAsMetadata(LLVMConstInt(i32, 1, 0))};
  LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(c, "prof", 4), LLVMMetadataAsValue(c, LLVMMDNodeInContext2(c, parts, 3)));
}

/* Lanes out of one window where all lie in it, else one by one. */
static LLVMValueRef load_near(emitter *e, const access *a) {
  const value_builder *b = &e->values;
  dtype t = element_type(e, a);
  near_window w = near_begin(b, a->base, a->base ? a->in_lanes : a->offset, e->loops->buffers[a->buffer].elements);
  LLVMBasicBlockRef from[] = {append_block(e), append_block(e)}, join = append_block(e);
  mark_likely(e, LLVMBuildCondBr(b->builder, w.holds, from[0], from[1]));
  LLVMPositionBuilderAtEnd(b->builder, from[0]);
  const bool bytes = dtype_bytes(t) == 1 && e->options->picks_bytes;
  LLVMValueRef window = load_contiguous(e, a->buffer, w.start, NEAR_WINDOW), values[2] = {bytes ? near_pick_bytes(b, &w, window) : near_pick(b, t, &w, window)};
  LLVMBuildBr(b->builder, join);
  LLVMPositionBuilderAtEnd(b->builder, from[1]);
  access far = *a;
  far.offset = near_offsets(b, &w);
  values[1] = load_scattered(e, &far);
  if (!bytes) values[1] = near_widen(b, t, values[1]);
  LLVMBuildBr(b->builder, join);
  LLVMPositionBuilderAtEnd(b->builder, join);
  LLVMValueRef v = LLVMBuildPhi(b->builder, LLVMTypeOf(values[0]), "");
  LLVMAddIncoming(v, values, from, 2);
  return bytes ? v : near_narrow(b, t, v);
}

static LLVMValueRef load_elements(emitter *e, const access *a) {
  const value_builder *b = &e->values;
  dtype t = element_type(e, a);
  LLVMTypeRef type = value_memory_type(b, t, a->lanes);
  const bool whole = a->active == a->lanes && !a->gathers;
  if (a->lanes == 1 || (whole && a->stride == 1)) return load_contiguous(e, a->buffer, a->offset, a->lanes);
  if (whole && a->stride == -1) return load_reversed(e, a);
  if (a->stride == 1 && !a->gathers) {
    LLVMTypeRef types[] = {type, LLVMPointerTypeInContext(b->context, 0)};
    LLVMValueRef args[] = {address(e, a->buffer, a->offset), alignment(e, a), value_mask(b, a->lanes, a->active),
                           LLVMConstNull(type)};
    return mark(e, a->buffer, value_intrinsic(b, "llvm.masked.load", types, 2, args, 4));
  }
  if (a->gathers && e->options->picks && near_suits(t, a->lanes, a->active, e->loops->buffers[a->buffer].elements)) return load_near(e, a);
  return load_scattered(e, a);
}

static void store_elements(emitter *e, const access *a, LLVMValueRef v) {
  const value_builder *b = &e->values;
  unsigned bytes = (unsigned)dtype_bytes(element_type(e, a));
  LLVMTypeRef type = LLVMTypeOf(v);
  if (a->active == 1 || (a->active == a->lanes && a->stride == 1)) {
    LLVMValueRef stored = a->active == 1 ? value_lanes(b, v, 0, 1) : v;
    LLVMValueRef s = LLVMBuildStore(b->builder, stored, address(e, a->buffer, a->offset));
    LLVMSetAlignment(s, a->streams ? bytes * a->lanes : bytes);
    mark(e, a->buffer, s);
    if (a->streams) mark_streaming(e, s);
  } else if (a->stride == 1) {
    LLVMTypeRef types[] = {type, LLVMPointerTypeInContext(b->context, 0)};
    LLVMValueRef args[] = {v, address(e, a->buffer, a->offset), alignment(e, a), value_mask(b, a->lanes, a->active)};
    mark(e, a->buffer, value_intrinsic(b, "llvm.masked.store", types, 2, args, 4));
  } else {
    LLVMTypeRef types[] = {type, LLVMVectorType(LLVMPointerTypeInContext(b->context, 0), a->lanes)};
    LLVMValueRef args[] = {v, addresses(e, a), alignment(e, a), value_mask(b, a->lanes, a->active)};
    mark(e, a->buffer, value_intrinsic(b, "llvm.masked.scatter", types, 2, args, 4));
  }
}

/* -- checked access ---------------------------------------------------------------------------------------- */

/* The offset of an access that lies farthest out, as unsigned: below 0 counts as huge. */
static LLVMValueRef outermost_offset(emitter *e, const access *a) {
  const value_builder *b = &e->values;
  LLVMTypeRef i64 = LLVMInt64TypeInContext(b->context);
  if (a->gathers && a->lanes > 1) {
    LLVMTypeRef type = LLVMTypeOf(a->offset);
    LLVMValueRef active =
        LLVMBuildSelect(b->builder, value_mask(b, a->lanes, a->active), a->offset, LLVMConstNull(type), "");
    return value_intrinsic(b, "llvm.vector.reduce.umax", &type, 1, &active, 1);
  }
  if (a->active == 1) return a->offset;
  LLVMValueRef last = LLVMBuildAdd(b->builder, a->offset, value_integer(b, (int64_t)(a->active - 1) * a->stride), "");
  LLVMValueRef ends[] = {a->offset, last};
  return value_intrinsic(b, "llvm.umax", &i64, 1, ends, 2);
}

static void report_violation(emitter *e, uint32_t buffer, LLVMValueRef offset) {
  const value_builder *b = &e->values;
  LLVMTypeRef pointer = LLVMPointerTypeInContext(b->context, 0), i64 = LLVMInt64TypeInContext(b->context);
  LLVMTypeRef params[] = {pointer, pointer, pointer, i64};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(b->context), params, 4, 0);
  LLVMValueRef reporter = LLVMGetNamedFunction(b->module, VIOLATION_REPORTER);
  LLVMValueRef record = LLVMGetNamedGlobal(b->module, VIOLATION_RECORD);
  if (!reporter) reporter = LLVMAddFunction(b->module, VIOLATION_REPORTER, type);
  if (!record) record = LLVMAddGlobal(b->module, LLVMInt8TypeInContext(b->context), VIOLATION_RECORD);
  LLVMValueRef args[] = {record, LLVMBuildGlobalString(b->builder, e->loops->name, ""),
                         LLVMBuildGlobalString(b->builder, e->loops->buffers[buffer].name, ""), offset};
  LLVMBuildCall2(b->builder, type, reporter, args, 4, "");
}

/* Puts the access under a test of its offsets; the builder is left where it is performed. Returns the
 * block to be joined with otherwise. */
typedef struct {
  LLVMBasicBlockRef violated, join;
} guard;

static guard open_guard(emitter *e, const access *a) {
  const value_builder *b = &e->values;
  LLVMBasicBlockRef sound = append_block(e);
  guard g = {append_block(e), append_block(e)};
  LLVMValueRef offset = outermost_offset(e, a);
  LLVMValueRef inside =
      LLVMBuildICmp(b->builder, LLVMIntULT, offset, value_integer(b, e->loops->buffers[a->buffer].elements), "");
  LLVMBuildCondBr(b->builder, inside, sound, g.violated);
  LLVMPositionBuilderAtEnd(b->builder, g.violated);
  report_violation(e, a->buffer, offset);
  LLVMBuildBr(b->builder, g.join);
  LLVMPositionBuilderAtEnd(b->builder, sound);
  return g;
}

static LLVMBasicBlockRef close_guard(emitter *e, const guard *g) {
  LLVMBasicBlockRef performed = LLVMGetInsertBlock(e->values.builder);
  LLVMBuildBr(e->values.builder, g->join);
  LLVMPositionBuilderAtEnd(e->values.builder, g->join);
  return performed;
}

static LLVMValueRef load(emitter *e, const access *a) {
  if (!e->options->checked) return load_elements(e, a);
  guard g = open_guard(e, a);
  LLVMValueRef v = load_elements(e, a);
  LLVMBasicBlockRef from[] = {close_guard(e, &g), g.violated};
  LLVMValueRef values[] = {v, LLVMConstNull(LLVMTypeOf(v))}, phi = LLVMBuildPhi(e->values.builder, LLVMTypeOf(v), "");
  LLVMAddIncoming(phi, values, from, 2);
  return phi;
}

static void store(emitter *e, const access *a, LLVMValueRef v) {
  if (!e->options->checked) {
    store_elements(e, a, v);
    return;
  }
  guard g = open_guard(e, a);
  store_elements(e, a, v);
  close_guard(e, &g);
}

/* -- expressions ------------------------------------------------------------------------------------------- */

static LLVMValueRef expression(emitter *e, const loops_expr *x);

/* Index values come as i64; the loops may also compute them narrower. */
static LLVMValueRef offset_of(emitter *e, const loops_expr *x) {
  return value_cast(&e->values, x->type, DTYPE_I64, x->lanes, expression(e, x));
}

static LLVMValueRef variable(emitter *e, const loops_expr *x) {
  LLVMTypeRef type = value_register_type(&e->values, x->type, x->lanes);
  return LLVMBuildLoad2(e->values.builder, type, e->registers[x->number], "");
}

static LLVMValueRef load_expression(emitter *e, const loops_expr *x) {
  const loops_expr *at = x->args[0];
  access a = {x->number, x->lanes, x->active, x->stride, offset_of(e, at), x->kind == LOOPS_GATHER && x->lanes > 1, false, NULL, NULL};
  if (a.gathers && at->kind == LOOPS_APPLY && at->op == OP_ADD && at->args[0]->kind == LOOPS_SPLAT && at->args[0]->type == DTYPE_I64) {
    a.base = offset_of(e, at->args[0]->args[0]);
    a.in_lanes = offset_of(e, at->args[1]);
  }
  return value_from_memory(&e->values, x->type, x->lanes, load(e, &a));
}

static LLVMValueRef ramp(emitter *e, const loops_expr *x) {
  LLVMValueRef base = expression(e, x->args[0]);
  if (x->lanes == 1) return base;
  return LLVMBuildAdd(e->values.builder, value_splat(&e->values, base, x->lanes), lane_numbers(e, x->lanes, x->stride),
                      "");
}

static LLVMValueRef apply(emitter *e, const loops_expr *x) {
  LLVMValueRef *args = ARENA_ARRAY(e->scratch, LLVMValueRef, x->n_args);
  for (uint32_t i = 0; i < x->n_args; i++) args[i] = expression(e, x->args[i]);
  if (e->failed) return NULL;
  LLVMValueRef v = x->kind == LOOPS_FMA ? value_fma(&e->values, x->type, x->lanes, args)
                                        : value_apply(&e->values, x->op, x->args[0]->type, x->type, x->lanes, args);
  if (!v) fail(e, arena_printf(e->scratch, "%s: `%s` is not a native operation", e->loops->name, op_table[x->op].name));
  return v;
}

/* The scalar library computes in double, one lane at a time. */
static LLVMValueRef call(emitter *e, const loops_expr *x) {
  const value_builder *b = &e->values;
  LLVMTypeRef real = LLVMDoubleTypeInContext(b->context), params[] = {real, real, real};
  LLVMTypeRef type = LLVMFunctionType(real, params, x->n_args, 0), i32 = LLVMInt32TypeInContext(b->context);
  const char *name = arena_printf(e->scratch, SCALAR_PREFIX "%s", op_table[x->op].name);
  LLVMValueRef function = LLVMGetNamedFunction(b->module, name), args[3];
  if (!function) function = LLVMAddFunction(b->module, name, type);
  for (uint32_t i = 0; i < x->n_args; i++)
    args[i] = value_cast(b, x->args[i]->type, DTYPE_F64, x->lanes, expression(e, x->args[i]));
  LLVMValueRef all = LLVMGetPoison(value_register_type(b, DTYPE_F64, x->lanes));
  for (uint32_t lane = 0; lane < x->lanes; lane++) {
    LLVMValueRef of_lane[3];
    for (uint32_t i = 0; i < x->n_args; i++) of_lane[i] = value_lanes(b, args[i], lane, 1);
    LLVMValueRef r = LLVMBuildCall2(b->builder, type, function, of_lane, x->n_args, "");
    all = x->lanes == 1 ? r : LLVMBuildInsertElement(b->builder, all, r, LLVMConstInt(i32, lane, 0), "");
  }
  return value_cast(b, DTYPE_F64, x->type, x->lanes, all);
}

/* Halves of the active lanes folded on each other until one is left; an odd one out joins the first. */
static LLVMValueRef reduce(emitter *e, const loops_expr *x) {
  const value_builder *b = &e->values;
  LLVMTypeRef i32 = LLVMInt32TypeInContext(b->context);
  LLVMValueRef v = expression(e, x->args[0]);
  for (uint32_t n = x->active; n > 1 && v; n /= 2) {
    uint32_t half = n / 2, rest = n - half;
    LLVMValueRef halves[] = {value_lanes(b, v, 0, half), value_lanes(b, v, rest, half)};
    LLVMValueRef folded = value_apply(b, x->op, x->type, x->type, half, halves);
    if (folded && rest > half) {
      LLVMValueRef pair[] = {value_lanes(b, folded, 0, 1), value_lanes(b, v, half, 1)};
      LLVMValueRef first = value_apply(b, x->op, x->type, x->type, 1, pair);
      folded = half == 1 ? first : LLVMBuildInsertElement(b->builder, folded, first, LLVMConstInt(i32, 0, 0), "");
    }
    v = folded;
  }
  if (v) return value_lanes(b, v, 0, 1);
  fail(e, arena_printf(e->scratch, "%s: no reduction by `%s`", e->loops->name, op_table[x->op].name));
  return NULL;
}

static LLVMValueRef pairs(emitter *e, const loops_expr *x) {
  access a = {x->number, 2 * x->lanes, 2 * x->active, 1, offset_of(e, x->args[0]), false};
  return LLVMBuildBitCast(e->values.builder, load(e, &a), value_register_type(&e->values, DTYPE_U32, x->lanes), "");
}

static LLVMValueRef dot(emitter *e, const loops_expr *x) {
  LLVMValueRef args[3];
  for (uint32_t i = 0; i < 3; i++) args[i] = expression(e, x->args[i]);
  return value_dot(&e->values, x->lanes, args);
}

static LLVMValueRef scale(emitter *e, const loops_expr *x) {
  LLVMValueRef of = expression(e, x->args[0]), power = expression(e, x->args[1]);
  return value_scale(&e->values, x->lanes, of, power);
}

static LLVMValueRef interleave(emitter *e, const loops_expr *x) {
  LLVMValueRef args[4] = {NULL};
  for (uint32_t i = 0; i < x->n_args; i++) args[i] = expression(e, x->args[i]);
  return value_interleave(&e->values, args, x->n_args, x->args[0]->lanes);
}

typedef LLVMValueRef expression_rule(emitter *e, const loops_expr *x);

static LLVMValueRef constant(emitter *e, const loops_expr *x) {
  return value_constant(&e->values, x->type, x->lanes, x->constant);
}
static LLVMValueRef splat(emitter *e, const loops_expr *x) {
  return value_splat(&e->values, expression(e, x->args[0]), x->lanes);
}

static expression_rule *const expression_rules[] = {
    [LOOPS_CONSTANT] = constant,
    [LOOPS_VARIABLE] = variable,
    [LOOPS_LOAD] = load_expression,
    [LOOPS_GATHER] = load_expression,
    [LOOPS_SPLAT] = splat,
    [LOOPS_RAMP] = ramp,
    [LOOPS_APPLY] = apply,
    [LOOPS_FMA] = apply,
    [LOOPS_SCALE] = scale,
    [LOOPS_PAIRS] = pairs,
    [LOOPS_DOT] = dot,
    [LOOPS_INTERLEAVE] = interleave,
    [LOOPS_CALL] = call,
    [LOOPS_REDUCE] = reduce,
};

static LLVMValueRef expression(emitter *e, const loops_expr *x) {
  LLVMValueRef v = known_value(&e->known, x);
  if (v) return v;
  if (x->lanes > MAX_LANES) fail(e, arena_printf(e->scratch, "%s: vectors of %u lanes", e->loops->name, x->lanes));
  else v = expression_rules[x->kind](e, x);
  if (e->failed) return LLVMGetPoison(value_register_type(&e->values, x->type, x->lanes));
  known_add(e, x, v);
  return v;
}

/* -- statements -------------------------------------------------------------------------------------------- */

static void statements(emitter *e, const block *b);

static bool surely_less(LLVMValueRef x, LLVMValueRef y) {
  return LLVMIsAConstantInt(x) && LLVMIsAConstantInt(y) && LLVMConstIntGetSExtValue(x) < LLVMConstIntGetSExtValue(y);
}

/* for index = begin; index < end; index += step, tested behind each round, and before the first unless
 * constants decide that. */
typedef struct {
  LLVMValueRef index, end;
  int64_t step;
  LLVMBasicBlockRef body, behind;
} open_loop;

static open_loop begin_loop(emitter *e, LLVMValueRef begin, LLVMValueRef end, int64_t step, uint32_t into) {
  LLVMBuilderRef at = e->values.builder;
  open_loop l = {.end = end, .step = step, .body = append_block(e), .behind = append_block(e)};
  LLVMBasicBlockRef before = LLVMGetInsertBlock(at);
  if (surely_less(begin, end)) LLVMBuildBr(at, l.body);
  else LLVMBuildCondBr(at, LLVMBuildICmp(at, LLVMIntSLT, begin, end, ""), l.body, l.behind);
  LLVMPositionBuilderAtEnd(at, l.body);
  l.index = LLVMBuildPhi(at, LLVMInt64TypeInContext(e->values.context), "");
  LLVMAddIncoming(l.index, &begin, &before, 1);
  LLVMBuildStore(at, l.index, e->registers[into]);
  return l;
}

static void end_loop(emitter *e, const open_loop *l) {
  LLVMBuilderRef at = e->values.builder;
  LLVMValueRef next = LLVMBuildNSWAdd(at, l->index, value_integer(&e->values, l->step), "");
  LLVMBasicBlockRef last = LLVMGetInsertBlock(at);
  LLVMBuildCondBr(at, LLVMBuildICmp(at, LLVMIntSLT, next, l->end, ""), l->body, l->behind);
  LLVMAddIncoming(l->index, &next, &last, 1);
  LLVMMoveBasicBlockAfter(l->behind, last);
  LLVMPositionBuilderAtEnd(at, l->behind);
}

static void for_statement(emitter *e, const statement *s) {
  LLVMValueRef begin = expression(e, s->begin), end = expression(e, s->end);
  open_loop l = begin_loop(e, begin, end, s->step, s->number);
  statements(e, &s->body);
  end_loop(e, &l);
}

static void if_statement(emitter *e, const statement *s) {
  LLVMBuilderRef at = e->values.builder;
  LLVMBasicBlockRef then, behind;
  LLVMValueRef holds = expression(e, s->value);
  then = append_block(e);
  behind = append_block(e);
  LLVMBuildCondBr(at, holds, then, behind);
  LLVMPositionBuilderAtEnd(at, then);
  statements(e, &s->body);
  LLVMBuildBr(at, behind);
  LLVMMoveBasicBlockAfter(behind, LLVMGetInsertBlock(at));
  LLVMPositionBuilderAtEnd(at, behind);
}

static void set_statement(emitter *e, const statement *s) {
  LLVMValueRef v = expression(e, s->value);
  LLVMBuildStore(e->values.builder, v, e->registers[s->number]);
}

static void store_statement(emitter *e, const statement *s) {
  const loops_expr *x = s->value;
  LLVMValueRef v = value_to_memory(&e->values, x->type, x->lanes, expression(e, x));
  access a = {s->number, x->lanes, s->active, s->stride, offset_of(e, s->offset), false, s->streams, NULL, NULL};
  store(e, &a, v);
}

/* The vectors of a square are its rows, turned over. */
static void store_square(emitter *e, const block *b, uint32_t first, const square_column *columns, uint32_t n) {
  const loops_expr *x = columns[0].load;
  LLVMValueRef *v = ARENA_ARRAY(e->scratch, LLVMValueRef, n), from = offset_of(e, x->args[0]);
  for (uint32_t i = first; i < columns[n - 1].end; i++)
    if (b->items[i]->kind == STATEMENT_SET && b->items[i]->value->lanes == 1) set_statement(e, b->items[i]);
  for (uint32_t i = 0; i < n; i++) v[i] = load_contiguous(e, x->number, LLVMBuildAdd(e->values.builder, from, value_integer(&e->values, i * x->stride), ""), n);
  turn_square(&e->values, v, n);
  for (uint32_t i = 0; i < n; i++) {
    access a = {columns[i].store->number, n, n, 1, offset_of(e, columns[i].store->offset), false, columns[i].store->streams, NULL, NULL};
    store(e, &a, v[i]);
    if (columns[i].into >= 0) LLVMBuildStore(e->values.builder, v[i], e->registers[columns[i].into]);
  }
}

/* To read, into all caches; what lies outside of the buffer is not asked for. */
static void fetch_statement(emitter *e, const statement *s) {
  LLVMTypeRef i32 = LLVMInt32TypeInContext(e->values.context), pointer = LLVMPointerTypeInContext(e->values.context, 0);
  LLVMValueRef offset = offset_of(e, s->offset);
  LLVMValueRef place = LLVMBuildGEP2(e->values.builder, value_memory_type(&e->values, e->loops->buffers[s->number].type, 1), e->buffers[s->number], &offset, 1, "");
  LLVMValueRef args[] = {place, LLVMConstInt(i32, 0, 0), LLVMConstInt(i32, 3, 0), LLVMConstInt(i32, 1, 0)};
  mark(e, s->number, value_intrinsic(&e->values, "llvm.prefetch", &pointer, 1, args, 4));
}

/* -- tiles ------------------------------------------------------------------------------------------------- */

static LLVMValueRef tile_number(emitter *e, uint32_t tile) { return LLVMConstInt(LLVMInt8TypeInContext(e->values.context), tile, 0); }

static void tile_statement(emitter *e, const statement *s) {
  static const char *const names[] = {
      [TILE_ZERO] = "llvm.x86.tilezero", [TILE_LOAD] = "llvm.x86.tileloadd64", [TILE_STORE] = "llvm.x86.tilestored64", [TILE_DOT] = "llvm.x86.tdpbf16ps"};
  bool moves = s->action == TILE_LOAD || s->action == TILE_STORE;
  LLVMValueRef args[3];
  unsigned n = s->action == TILE_ZERO ? 1 : 3;
  for (unsigned i = 0; i < (moves ? 1 : n); i++) args[i] = tile_number(e, s->tile[i]);
  if (moves) {
    args[1] = address(e, s->number, offset_of(e, s->offset));
    args[2] = value_integer(&e->values, s->stride * (int64_t)dtype_bytes(e->loops->buffers[s->number].type));
  }
  LLVMValueRef done = value_intrinsic(&e->values, names[s->action], NULL, 0, args, n);
  if (moves) mark(e, s->number, done);
}

/* Palette 1: rows and bytes a row of each tile. */
static void configure_tiles(emitter *e) {
  enum { BYTES = 64, WIDTHS = 16, HEIGHTS = 48 };
  LLVMContextRef c = e->values.context;
  LLVMTypeRef byte = LLVMInt8TypeInContext(c);
  uint8_t configuration[BYTES] = {1};
  LLVMValueRef bytes[BYTES];
  for (uint32_t i = 0; i < N_TILES; i++) {
    uint32_t rows, columns;
    loops_tile_shape(e->loops, i, &rows, &columns);
    configuration[WIDTHS + 2 * i] = (uint8_t)(4 * columns);
    configuration[HEIGHTS + i] = (uint8_t)rows;
  }
  for (uint32_t i = 0; i < BYTES; i++) bytes[i] = LLVMConstInt(byte, configuration[i], 0);
  LLVMValueRef constant = LLVMAddGlobal(e->values.module, LLVMArrayType2(byte, BYTES), "tiles");
  LLVMSetInitializer(constant, LLVMConstArray2(byte, bytes, BYTES));
  LLVMSetGlobalConstant(constant, 1);
  LLVMSetLinkage(constant, LLVMPrivateLinkage);
  value_intrinsic(&e->values, "llvm.x86.ldtilecfg", NULL, 0, &constant, 1);
  if (!e->options->tiles) fail(e, arena_printf(e->scratch, "%s: this processor has no matrix unit", e->loops->name));
}

static void (*const statement_rules[])(emitter *e, const statement *s) = {
    [STATEMENT_FOR] = for_statement,
    [STATEMENT_IF] = if_statement,
    [STATEMENT_SET] = set_statement,
    [STATEMENT_STORE] = store_statement,
    [STATEMENT_TILE] = tile_statement,
    [STATEMENT_FETCH] = fetch_statement,
};

static void statements(emitter *e, const block *b) {
  for (uint32_t i = 0; i < b->n && !e->failed; i++) {
    known_forget(e);
    square_column columns[LARGEST_SQUARE];
    const uint32_t n = e->options->checked ? 0 : square_at(e->loops, b, i, columns);
    if (n) store_square(e, b, i, columns, n), i = columns[n - 1].end - 1;
    else statement_rules[b->items[i]->kind](e, b->items[i]);
  }
  known_forget(e);
}

/* -- the function ------------------------------------------------------------------------------------------ */

static void add_attribute(emitter *e, LLVMAttributeIndex where, const char *name) {
  unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
  LLVMAddAttributeAtIndex(e->function, where, LLVMCreateEnumAttribute(e->values.context, kind, 0));
}

static void add_text_attribute(emitter *e, const char *key, const char *text) {
  LLVMAttributeRef attribute =
      LLVMCreateStringAttribute(e->values.context, key, (unsigned)strlen(key), text, (unsigned)strlen(text));
  LLVMAddAttributeAtIndex(e->function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, attribute);
}

/* One alias scope per group of arguments; every access names its own and disclaims the others. Memory
 * on the stack needs none: LLVM sees that nothing else points there. */
static void make_scopes(emitter *e) {
  LLVMContextRef c = e->values.context;
  uint32_t n = e->loops->n_arguments;
  e->scope_kind = LLVMGetMDKindIDInContext(c, "alias.scope", 11);
  e->noalias_kind = LLVMGetMDKindIDInContext(c, "noalias", 7);
  e->own_scope = ARENA_ARRAY(e->scratch, LLVMValueRef, e->loops->n_buffers + 1);
  e->other_scopes = ARENA_ARRAY(e->scratch, LLVMValueRef, e->loops->n_buffers + 1);
  LLVMMetadataRef domain_name = LLVMMDStringInContext2(c, "arguments", 9),
                  domain = LLVMMDNodeInContext2(c, &domain_name, 1);
  LLVMMetadataRef *scope = ARENA_ARRAY(e->scratch, LLVMMetadataRef, n + 1),
                  *others = ARENA_ARRAY(e->scratch, LLVMMetadataRef, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    const char *name = arena_printf(e->scratch, "argument %u", e->options->groups[i]);
    LLVMMetadataRef parts[] = {LLVMMDStringInContext2(c, name, strlen(name)), domain};
    scope[i] = LLVMMDNodeInContext2(c, parts, 2);
  }
  for (uint32_t i = 0; i < n; i++) {
    uint32_t n_others = 0;
    for (uint32_t j = 0; j < n; j++)
      if (e->options->groups[j] != e->options->groups[i]) others[n_others++] = scope[j];
    e->own_scope[i] = LLVMMetadataAsValue(c, LLVMMDNodeInContext2(c, &scope[i], 1));
    if (n_others) e->other_scopes[i] = LLVMMetadataAsValue(c, LLVMMDNodeInContext2(c, others, n_others));
  }
}

/* The pointers of arguments are read once; local buffers and registers live on the stack, where the
 * optimiser turns registers into values. */
static void make_storage(emitter *e) {
  const loops *l = e->loops;
  LLVMBuilderRef at = e->values.builder;
  LLVMTypeRef pointer = LLVMPointerTypeInContext(e->values.context, 0);
  int64_t stack_bytes = 0;
  e->buffers = ARENA_ARRAY(e->scratch, LLVMValueRef, l->n_buffers + 1);
  e->registers = ARENA_ARRAY(e->scratch, LLVMValueRef, l->n_registers + 1);
  for (uint32_t i = 0; i < l->n_buffers; i++) {
    if (l->buffers[i].place == PLACE_LOCAL) {
      LLVMTypeRef element = value_memory_type(&e->values, l->buffers[i].type, 1);
      e->buffers[i] = LLVMBuildAlloca(at, LLVMArrayType2(element, (uint64_t)l->buffers[i].elements), "");
      LLVMSetAlignment(e->buffers[i], 64);
      stack_bytes += l->buffers[i].elements * (int64_t)dtype_bytes(l->buffers[i].type);
    } else {
      LLVMValueRef index = value_integer(&e->values, i);
      LLVMValueRef slot = LLVMBuildInBoundsGEP2(at, pointer, LLVMGetParam(e->function, 0), &index, 1, "");
      e->buffers[i] = LLVMBuildLoad2(at, pointer, slot, l->buffers[i].name);
    }
  }
  for (uint32_t i = 0; i < l->n_registers; i++)
    e->registers[i] =
        LLVMBuildAlloca(at, value_register_type(&e->values, l->registers[i].type, l->registers[i].lanes), "");
  if (stack_bytes > MAX_LOCAL_BYTES)
    fail(e, arena_printf(e->scratch, "%s: local buffers of %lld bytes do not fit on a stack", l->name,
                         (long long)stack_bytes));
}

static void emit_function(emitter *e) {
  LLVMContextRef c = e->values.context;
  LLVMTypeRef i64 = LLVMInt64TypeInContext(c), params[] = {LLVMPointerTypeInContext(c, 0), i64, i64};
  e->function =
      LLVMAddFunction(e->values.module, e->options->symbol, LLVMFunctionType(LLVMVoidTypeInContext(c), params, 3, 0));
  add_attribute(e, 1, "noalias");
  add_attribute(e, 1, "readonly");
  add_attribute(e, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, "nounwind");
  /* Vectors were chosen by the schedule: LLVM is not to halve them, nor to see library calls in loops. */
  add_text_attribute(e, "prefer-vector-width", "512");
  add_text_attribute(e, "min-legal-vector-width", "512");
  add_text_attribute(e, "no-builtins", "");
  LLVMPositionBuilderAtEnd(e->values.builder, append_block(e));
  make_storage(e);
  if (e->loops->tile_rows) configure_tiles(e);
  open_loop iterations = begin_loop(e, LLVMGetParam(e->function, 1), LLVMGetParam(e->function, 2), 1, 0);
  statements(e, &e->loops->body);
  end_loop(e, &iterations);
  if (e->loops->tile_rows) value_intrinsic(&e->values, "llvm.x86.tilerelease", NULL, 0, NULL, 0);
  /* Stores past the caches are ordered by nothing else: another thread may be told next that they are done. */
  if (e->streams) LLVMBuildFence(e->values.builder, LLVMAtomicOrderingSequentiallyConsistent, 0, "");
  LLVMBuildRetVoid(e->values.builder);
}

LLVMModuleRef emit_loops(LLVMContextRef context, const loops *l, const emit_options *o, arena *scratch,
                         const char **error) {
  enum { FIRST_KNOWN = 256 };
  emitter e = {.loops = l, .options = o, .scratch = scratch, .error = error};
  e.values.context = context;
  e.values.dots = o->dots;
  e.values.scales = o->scales;
  e.values.module = LLVMModuleCreateWithNameInContext(l->name, context);
  e.values.builder = LLVMCreateBuilderInContext(context);
  e.known = (known_values){ARENA_ARRAY(scratch, struct known, FIRST_KNOWN), 0, FIRST_KNOWN, 1};
  make_scopes(&e);
  emit_function(&e);
  LLVMDisposeBuilder(e.values.builder);
  if (!e.failed) return e.values.module;
  LLVMDisposeModule(e.values.module);
  return NULL;
}
