/* Loops as machine code, and as the text of a GPU's kernel on the emulation, against the interpreter of loops: the same bits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "codegen/cpu/dump.h"
#include "tests/emulation/gpu.h"
#include "tests/unit/codegen/launch.h"

enum { ELEMENTS = 192 };

static uint64_t next_random(uint64_t *state) { /* xorshift64* (Vigna, 2016) */
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545F4914F6CDD1Du;
}

static scalar random_scalar(dtype t, uint64_t *state) {
  static const double reals[] = {0,    -0.0,  1,        -1,        0.5, -0.5,  2.5,  -2.5,  3,
                                 255,  256.5, -128,     1e-40,     3e9, -3e9,  1e19, -1e19, 2e38,
                                 1e30, 1e-30, INFINITY, -INFINITY, NAN, 1e300, -7,   0.1};
  static const int64_t integers[] = {0,   1,   -1,  2,   -2,        7,         -7,         8,         100,
                                     127, 128, 255, 256, INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN};
  uint64_t r = next_random(state);
  bool special = (r & 3) == 0;
  r = next_random(state) >> 8;
  if (dtype_is_real(t)) {
    double v = special ? reals[r % (sizeof reals / sizeof *reals)] : ((double)(r % 2000001) - 1000000) / 3000;
    return scalar_round(t, (scalar){.real = v});
  }
  int64_t v = special ? integers[r % (sizeof integers / sizeof *integers)] : (int64_t)(r % 2001) - 1000;
  return t == DTYPE_BOOL ? (scalar){.integer = v & 1} : scalar_round(t, (scalar){.integer = v});
}

typedef struct {
  arena *arena;
  loops *loops;
  uint32_t lanes;
  void **buffers;
  uint64_t random;
  double near; /* what doubles of a GPU may differ by, of their value */
} bench;

static bench make_bench(arena *a, const char *name) {
  bench b = {.arena = a, .loops = loops_new(a, name), .random = 88172645463325252u, .lanes = 1};
  b.buffers = ARENA_ARRAY(a, void *, 4096);
  return b;
}

static uint32_t add_buffer(bench *b, const char *name, dtype t, int64_t elements, bool written) {
  uint32_t i =
      loops_add_buffer(b->loops, (loops_buffer){.name = name, .type = t, .elements = elements, .written = written});
  b->buffers[i] = arena_alloc(b->arena, (size_t)elements * dtype_bytes(t));
  for (int64_t e = 0; e < elements; e++) element_store(t, b->buffers[i], e, random_scalar(t, &b->random));
  return i;
}

static const loops_expr *load_at(bench *b, uint32_t buffer, const loops_expr *offset, uint32_t lanes, uint32_t active,
                                 int64_t stride) {
  return loops_node(b->loops, (loops_expr){.kind = LOOPS_LOAD,
                                           .type = b->loops->buffers[buffer].type,
                                           .lanes = lanes,
                                           .active = active,
                                           .number = buffer,
                                           .stride = stride,
                                           .n_args = 1,
                                           .args = (const loops_expr *[]){offset}});
}

static void store_at(bench *b, uint32_t buffer, const loops_expr *offset, const loops_expr *v, uint32_t active,
                     int64_t stride) {
  loops_append(
      b->loops, &b->loops->body,
      (statement){
          .kind = STATEMENT_STORE, .number = buffer, .value = v, .offset = offset, .active = active, .stride = stride});
}

/* The iteration's own lanes. */
static const loops_expr *here(bench *b) {
  const loops_expr *args[] = {loops_variable(b->loops, 0), loops_integer(b->loops, b->lanes)};
  return loops_apply(b->loops, OP_MUL, DTYPE_I64, args, 2);
}

static bool is_near(dtype t, const void *x, const void *y, int64_t i, double near) {
  const double a = element_load(t, x, i).real, b = element_load(t, y, i).real;
  return t == DTYPE_F64 && fabs(a - b) <= near * fabs(b);
}

static bool same_element(dtype t, const void *x, const void *y, int64_t i) {
  size_t bytes = dtype_bytes(t);
  if (!memcmp((const char *)x + (size_t)i * bytes, (const char *)y + (size_t)i * bytes, bytes)) return true;
  return dtype_is_real(t) && isnan(element_load(t, x, i).real) && isnan(element_load(t, y, i).real);
}

static void compare(const bench *b, void *const *found, void *const *expected) {
  for (uint32_t i = 0; i < b->loops->n_arguments; i++) {
    const loops_buffer *buffer = &b->loops->buffers[i];
    for (int64_t e = 0; e < buffer->elements; e++)
      if (!same_element(buffer->type, found[i], expected[i], e) && !is_near(buffer->type, found[i], expected[i], e, b->near)) {
        scalar f = element_load(buffer->type, found[i], e), x = element_load(buffer->type, expected[i], e);
        bool real = dtype_is_real(buffer->type);
        fail_msg("%s, %s of %u lanes, element %lld: found %.17g, expected %.17g", b->loops->name, buffer->name,
                 b->lanes, (long long)e, real ? f.real : (double)f.integer, real ? x.real : (double)x.integer);
      }
  }
}

static void check_on_gpu(bench *b, void *const *expected) {
  const loops *each[] = {b->loops};
  void **found = copy_buffers(b->arena, b->loops, b->buffers);
  const char *error = gpu_run(plan_of(b->arena, each, 1), found);
  if (error) fail_msg("%s: %s", b->loops->name, error);
  bench allowed = *b;
  allowed.near = gpu_is_real() ? b->near : 0;
  compare(&allowed, found, expected);
}

/* Compiles, runs in two parts, last part first, and compares every buffer with the interpreter's; then on the emulation. */
static void check(bench *b, bool checked) {
  const char *error = NULL;
  const loops *each[] = {b->loops};
  compile_options options = {.threads = 1, .checked = checked};
  executable *e = executable_compile_cpu(plan_of(b->arena, each, 1), &options, NULL, &error);
  if (!e) fail_msg("%s: %s", b->loops->name, error);
  void **found = copy_buffers(b->arena, b->loops, b->buffers),
       **expected = copy_buffers(b->arena, b->loops, b->buffers);
  uint32_t n;
  const executable_launch *launch = executable_launches(e, &n);
  assert_int_equal(n, 1);
  assert_int_equal(launch->iterations, b->loops->iterations);
  int64_t middle = b->loops->iterations / 3;
  launch->entry(found, middle, b->loops->iterations);
  launch->entry(found, 0, middle);
  loops_interpret(b->loops, expected, b->arena);
  bench exact = *b;
  exact.near = 0;
  compare(&exact, found, expected);
  assert_null(executable_violation(e));
  executable_free(e);
  if (!checked) check_on_gpu(b, expected);
}

static const uint32_t lane_counts[] = {1, 2, 4, 8, 16, 32};
#define FOR_EACH_LANES(lanes)                                                                                          \
  for (uint32_t which = 0, lanes; which < sizeof lane_counts / sizeof *lane_counts && (lanes = lane_counts[which]);    \
       which++)

/* -- elementwise ops ------------------------------------------------------------------------------------- */

typedef struct {
  uint32_t any[DTYPE_COUNT][3], shift[DTYPE_COUNT];
} operands;

static operands add_operands(bench *b) {
  operands o;
  for (dtype t = 0; t < DTYPE_COUNT; t++) {
    for (int i = 0; i < 3; i++)
      o.any[t][i] = add_buffer(b, arena_printf(b->arena, "%s_%c", dtype_name(t), "xyz"[i]), t, ELEMENTS, false);
    o.shift[t] = add_buffer(b, arena_printf(b->arena, "%s_shift", dtype_name(t)), t, ELEMENTS, false);
    for (int64_t i = 0, width = t == DTYPE_BOOL ? 1 : 8 * (int64_t)dtype_bytes(t); i < ELEMENTS && !dtype_is_real(t);
         i++)
      element_store(t, b->buffers[o.shift[t]], i, (scalar){.integer = i * 5 % width});
  }
  return o;
}

static void add_application(bench *b, const operands *o, op_id op, dtype operand, dtype result) {
  const loops_expr *args[3];
  for (int i = 0; i < op_table[op].arity; i++) {
    dtype t = op == OP_SELECT && i == 0 ? DTYPE_BOOL : operand;
    bool amount = (op == OP_SHL || op == OP_SHR) && i == 1;
    args[i] = load_at(b, amount ? o->shift[t] : o->any[t][i], here(b), b->lanes, b->lanes, 1);
  }
  const char *name = arena_printf(b->arena, "%s %s to %s", op_table[op].name, dtype_name(operand), dtype_name(result));
  uint32_t out = add_buffer(b, name, result, ELEMENTS, true);
  store_at(b, out, here(b), loops_apply(b->loops, op, result, args, (uint32_t)op_table[op].arity), b->lanes, 1);
}

static bool is_native(op_id op) {
  return op_table[op].elementwise && (!strcmp(op_table[op].lowering, "native") || op == OP_MOD || op == OP_STOP_GRAD);
}

static void add_all_applications(bench *b, const operands *o, op_id op) {
  for (dtype operand = 0; operand < DTYPE_COUNT; operand++)
    for (dtype declared = 0; declared < DTYPE_COUNT; declared++) {
      dtype types[] = {op == OP_SELECT ? DTYPE_BOOL : operand, operand, operand}, result;
      if (!op_result_dtype(op, types, declared, &result) || (declared != result)) continue;
      add_application(b, o, op, operand, result);
    }
}

static void ops_mean_what_the_table_says(void **state) {
  (void)state;
  FOR_EACH_LANES(lanes) {
    arena *a = arena_new();
    bench b = make_bench(a, "ops");
    b.lanes = lanes;
    b.loops->iterations = ELEMENTS / lanes;
    operands o = add_operands(&b);
    for (op_id op = 0; op < OP_COUNT; op++)
      if (is_native(op)) add_all_applications(&b, &o, op);
    check(&b, false);
    arena_free(a);
  }
}

/* Division and remainder by constants take other ways: shifts and masks. */
static void division_by_constants(void **state) {
  static const int64_t divisors[] = {0, 1, -1, 2, 3, 4, -4, 5, 16, 100};
  (void)state;
  arena *a = arena_new();
  bench b = make_bench(a, "division");
  b.lanes = 8;
  b.loops->iterations = ELEMENTS / b.lanes;
  for (dtype t = 0; t < DTYPE_COUNT; t++) {
    if (!dtype_is_integer(t)) continue;
    uint32_t x = add_buffer(&b, dtype_name(t), t, ELEMENTS, false);
    for (size_t i = 0; i < sizeof divisors / sizeof *divisors; i++)
      for (int modulo = 0; modulo < 2; modulo++) {
        const loops_expr *args[] = {load_at(&b, x, here(&b), b.lanes, b.lanes, 1),
                                    loops_constant(b.loops, t, 1, (scalar){.integer = divisors[i]})};
        uint32_t out =
            add_buffer(&b, arena_printf(a, "%s %s %d", dtype_name(t), modulo ? "mod" : "div", (int)divisors[i]), t,
                       ELEMENTS, true);
        store_at(&b, out, here(&b), loops_apply(b.loops, modulo ? OP_MOD : OP_FLOOR_DIV, t, args, 2), b.lanes, 1);
      }
  }
  check(&b, false);
  arena_free(a);
}

static void fused_multiplication_rounds_once(void **state) {
  (void)state;
  FOR_EACH_LANES(lanes) {
    arena *a = arena_new();
    bench b = make_bench(a, "fma");
    b.lanes = lanes;
    b.loops->iterations = ELEMENTS / lanes;
    operands o = add_operands(&b);
    for (dtype t = DTYPE_BF16; t <= DTYPE_F64; t++) {
      const loops_expr *args[3];
      for (int i = 0; i < 3; i++) args[i] = load_at(&b, o.any[t][i], here(&b), lanes, lanes, 1);
      const loops_expr *v =
          loops_node(b.loops, (loops_expr){.kind = LOOPS_FMA, .type = t, .lanes = lanes, .n_args = 3, .args = args});
      store_at(&b, add_buffer(&b, dtype_name(t), t, ELEMENTS, true), here(&b), v, lanes, 1);
    }
    check(&b, false);
    arena_free(a);
  }
}

/* Up to infinity and down to the denormal numbers, with one rounding. */
static void scales_by_powers_of_two(void **state) {
  (void)state;
  FOR_EACH_LANES(lanes) {
    arena *a = arena_new();
    bench b = make_bench(a, "scale");
    b.lanes = lanes;
    b.loops->iterations = ELEMENTS / lanes;
    operands o = add_operands(&b);
    static const int powers[] = {-250, -149, -133, -127, -1, 0, 1, 127, 128, 250};
    for (size_t i = 0; i < sizeof powers / sizeof *powers; i++) {
      const loops_expr *args[] = {load_at(&b, o.any[DTYPE_F32][0], here(&b), lanes, lanes, 1), loops_constant(b.loops, DTYPE_F32, lanes, (scalar){.real = powers[i]})};
      const loops_expr *v = loops_node(b.loops, (loops_expr){.kind = LOOPS_SCALE, .type = DTYPE_F32, .lanes = lanes, .n_args = 2, .args = args});
      store_at(&b, add_buffer(&b, arena_printf(a, "by %d", powers[i]), DTYPE_F32, ELEMENTS, true), here(&b), v, lanes, 1);
    }
    check(&b, false);
    arena_free(a);
  }
}

static void lanes_are_taken_in_turns(void **state) {
  (void)state;
  FOR_EACH_LANES(lanes) {
    for (uint32_t n = 2; n <= 4 && n <= lanes; n += 2) {
      arena *a = arena_new();
      bench b = make_bench(a, "interleave");
      b.lanes = lanes;
      b.loops->iterations = ELEMENTS / lanes;
      operands o = add_operands(&b);
      for (dtype t = 0; t < DTYPE_COUNT; t++) {
        const loops_expr *args[4];
        for (uint32_t i = 0; i < n; i++) args[i] = load_at(&b, o.any[t][i % 3], here(&b), lanes / n, lanes / n, 1);
        const loops_expr *v = loops_node(b.loops, (loops_expr){.kind = LOOPS_INTERLEAVE, .type = t, .lanes = lanes, .n_args = n, .args = args});
        store_at(&b, add_buffer(&b, dtype_name(t), t, ELEMENTS, true), here(&b), v, lanes, 1);
      }
      check(&b, false);
      arena_free(a);
    }
  }
}

static void scalar_library_calls(void **state) {
  static const op_id called[] = {OP_EXP, OP_LOG, OP_SIN, OP_COS, OP_TANH, OP_ERF, OP_POW};
  (void)state;
  for (uint32_t lanes = 1; lanes <= 8; lanes *= 2) {
    arena *a = arena_new();
    bench b = make_bench(a, "calls");
    b.near = 1e-14; /* its library rounds differently */
    b.lanes = lanes;
    b.loops->iterations = ELEMENTS / lanes;
    operands o = add_operands(&b);
    for (size_t i = 0; i < sizeof called / sizeof *called; i++) {
      const loops_expr *args[] = {load_at(&b, o.any[DTYPE_F64][0], here(&b), lanes, lanes, 1),
                                  load_at(&b, o.any[DTYPE_F64][1], here(&b), lanes, lanes, 1)};
      const loops_expr *v = loops_node(b.loops, (loops_expr){.kind = LOOPS_CALL,
                                                             .op = called[i],
                                                             .type = DTYPE_F64,
                                                             .lanes = lanes,
                                                             .n_args = (uint32_t)op_table[called[i]].arity,
                                                             .args = args});
      store_at(&b, add_buffer(&b, op_table[called[i]].name, DTYPE_F64, ELEMENTS, true), here(&b), v, lanes, 1);
    }
    check(&b, false);
    arena_free(a);
  }
}

/* -- access ---------------------------------------------------------------------------------------------- */

/* Each access with each number of active lanes, to a part of the output that no other writes. */
static void add_accesses(bench *b, dtype t) {
  enum { STRIDE = 3 };
  int64_t reach = (int64_t)b->lanes * STRIDE, of_iteration = 4 * reach * b->lanes;
  uint32_t x = add_buffer(b, arena_printf(b->arena, "%s in", dtype_name(t)), t, 2 * reach + 8, false);
  uint32_t index = add_buffer(b, "index", DTYPE_I64, 2 * b->lanes, false);
  uint32_t y = add_buffer(b, arena_printf(b->arena, "%s out", dtype_name(t)), t, 2 * of_iteration, true);
  for (int64_t i = 0; i < 2 * b->lanes; i++)
    element_store(DTYPE_I64, b->buffers[index], i,
                  (scalar){.integer = (int64_t)(next_random(&b->random) % (uint64_t)reach)});
  const loops_expr *iteration = loops_variable(b->loops, 0);
  for (uint32_t active = 1; active <= b->lanes; active++) {
    const loops_expr *at = load_at(b, index, here(b), b->lanes, b->lanes, 1);
    const loops_expr *gathered = loops_node(b->loops, (loops_expr){.kind = LOOPS_GATHER,
                                                                   .type = t,
                                                                   .lanes = b->lanes,
                                                                   .active = active,
                                                                   .number = x,
                                                                   .n_args = 1,
                                                                   .args = (const loops_expr *[]){at}});
    const loops_expr *values[] = {load_at(b, x, iteration, b->lanes, active, 1),
                                  load_at(b, x, iteration, b->lanes, active, STRIDE),
                                  load_at(b, x, iteration, b->lanes, active, 2), gathered};
    for (int i = 0; i < 4; i++) {
      const loops_expr *begin[] = {iteration, loops_integer(b->loops, of_iteration)};
      const loops_expr *sum[] = {loops_apply(b->loops, OP_MUL, DTYPE_I64, begin, 2),
                                 loops_integer(b->loops, (4 * (int64_t)(active - 1) + i) * reach)};
      const loops_expr *offset = loops_apply(b->loops, OP_ADD, DTYPE_I64, sum, 2);
      bool strided = (active + (uint32_t)i) % 2;
      store_at(b, y, offset, values[i], i < 2 ? b->lanes : active, strided ? STRIDE : 1);
    }
  }
}

/* Offsets that rise, fall, repeat, end with the buffer, and leave a window of 32 by one lane; as they are, and as a sum with what all
 * lanes have in common. */
static void add_near_gathers(bench *b, dtype t) {
  enum { PATTERNS = 7, OF_ROW = 100, BASE = 5 };
  uint32_t x = add_buffer(b, arena_printf(b->arena, "%s row", dtype_name(t)), t, OF_ROW, false);
  uint32_t index = add_buffer(b, "near", DTYPE_I64, PATTERNS * b->lanes, false);
  uint32_t y = add_buffer(b, arena_printf(b->arena, "%s picked", dtype_name(t)), t, 4 * PATTERNS * b->lanes, true);
  const int64_t lanes = b->lanes, last = OF_ROW - BASE - 1;
  for (int64_t i = 0; i < lanes; i++) {
    const int64_t at[PATTERNS] = {3 + i * 9 / 8, last - i, last - lanes + 1 + i, i == 7 ? 90 : 20, 40, i ? 31 : 0, i ? 32 : 0};
    for (int64_t p = 0; p < PATTERNS; p++) element_store(DTYPE_I64, b->buffers[index], p * lanes + i, (scalar){.integer = at[p]});
  }
  const loops_expr *at = load_at(b, index, here(b), b->lanes, b->lanes, 1);
  const loops_expr *sums[][2] = {{loops_splat(b->loops, loops_integer(b->loops, BASE), b->lanes), at}, {at, loops_integer(b->loops, BASE)}};
  const loops_expr *from_end[] = {loops_variable(b->loops, 0), loops_integer(b->loops, lanes - 1)}, *of_row[] = {here(b), loops_integer(b->loops, 4)};
  const loops_expr *offsets[] = {at, loops_apply(b->loops, OP_ADD, DTYPE_I64, sums[0], 2), loops_apply(b->loops, OP_ADD, DTYPE_I64, sums[1], 2)};
  const loops_expr *first = loops_apply(b->loops, OP_MUL, DTYPE_I64, of_row, 2);
  for (int64_t i = 0; i < 4; i++) {
    const uint32_t active = t == DTYPE_I32 ? b->lanes / 2 : b->lanes;
    const loops_expr *v = i == 3 ? load_at(b, x, loops_apply(b->loops, OP_ADD, DTYPE_I64, from_end, 2), b->lanes, active, -1)
                                 : loops_node(b->loops, (loops_expr){.kind = LOOPS_GATHER, .type = t, .lanes = b->lanes, .active = b->lanes, .number = x, .n_args = 1, .args = &offsets[i]});
    const loops_expr *place[] = {first, loops_integer(b->loops, i * lanes)};
    store_at(b, y, loops_apply(b->loops, OP_ADD, DTYPE_I64, place, 2), v, b->lanes, 1);
  }
}

static void near_lanes_are_picked(void **state) {
  (void)state;
  for (int checked = 0; checked < 2; checked++)
    for (uint32_t lanes = 4; lanes <= 16; lanes *= 4) {
      arena *a = arena_new();
      bench b = make_bench(a, "near");
      b.lanes = lanes;
      b.loops->iterations = 7;
      for (dtype t = 0; t < DTYPE_COUNT; t++) add_near_gathers(&b, t);
      check(&b, checked);
      arena_free(a);
    }
}

static void accesses_touch_active_lanes_only(void **state) {
  (void)state;
  for (int checked = 0; checked < 2; checked++) FOR_EACH_LANES(lanes) {
      if (lanes > 16) break;
      arena *a = arena_new();
      bench b = make_bench(a, "access");
      b.lanes = lanes;
      b.loops->iterations = 2;
      for (dtype t = 0; t < DTYPE_COUNT; t++)
        if (lanes < 16 || t >= DTYPE_BF16) add_accesses(&b, t);
      check(&b, checked);
      arena_free(a);
    }
}

static void splats_and_ramps(void **state) {
  (void)state;
  FOR_EACH_LANES(lanes) {
    arena *a = arena_new();
    bench b = make_bench(a, "ramps");
    b.lanes = lanes;
    b.loops->iterations = 4;
    uint32_t x = add_buffer(&b, "x", DTYPE_F32, 4, false);
    uint32_t spread = add_buffer(&b, "spread", DTYPE_F32, 4 * lanes, true),
             ramp = add_buffer(&b, "ramp", DTYPE_I64, 4 * lanes, true);
    const loops_expr *iteration = loops_variable(b.loops, 0);
    const loops_expr *v = loops_node(b.loops, (loops_expr){.kind = LOOPS_RAMP,
                                                           .type = DTYPE_I64,
                                                           .lanes = lanes,
                                                           .stride = -5,
                                                           .n_args = 1,
                                                           .args = (const loops_expr *[]){iteration}});
    store_at(&b, spread, here(&b), loops_splat(b.loops, load_at(&b, x, iteration, 1, 1, 1), lanes), lanes, 1);
    store_at(&b, ramp, here(&b), v, lanes, 1);
    check(&b, false);
    arena_free(a);
  }
}

static void reductions_fold_halves(void **state) {
  static const op_id folds[] = {OP_ADD, OP_MAX, OP_MIN};
  (void)state;
  FOR_EACH_LANES(lanes) {
    arena *a = arena_new();
    bench b = make_bench(a, "reductions");
    b.lanes = lanes;
    b.loops->iterations = ELEMENTS / lanes;
    operands o = add_operands(&b);
    for (dtype t = DTYPE_U8; t < DTYPE_COUNT; t++)
      for (int i = 0; i < 3; i++)
        for (uint32_t active = 1; active <= lanes; active += 1 + active / 4) {
          const loops_expr *v = load_at(&b, o.any[t][i], here(&b), lanes, lanes, 1);
          const loops_expr *r = loops_node(b.loops, (loops_expr){.kind = LOOPS_REDUCE,
                                                                 .op = folds[i],
                                                                 .type = t,
                                                                 .lanes = 1,
                                                                 .active = active,
                                                                 .n_args = 1,
                                                                 .args = &v});
          uint32_t out = add_buffer(&b, arena_printf(a, "%s %s %u", op_table[folds[i]].name, dtype_name(t), active), t,
                                    ELEMENTS, true);
          store_at(&b, out, loops_variable(b.loops, 0), r, 1, 1);
        }
    check(&b, false);
    arena_free(a);
  }
}

/* -- control --------------------------------------------------------------------------------------------- */

static statement *add_for(bench *b, block *to, uint32_t index, int64_t begin, const loops_expr *end, int64_t step) {
  return loops_append(
      b->loops, to,
      (statement){
          .kind = STATEMENT_FOR, .number = index, .begin = loops_integer(b->loops, begin), .end = end, .step = step});
}

static void set(bench *b, block *to, uint32_t number, const loops_expr *v) {
  loops_append(b->loops, to, (statement){.kind = STATEMENT_SET, .number = number, .value = v});
}

static const loops_expr *apply_two(bench *b, op_id op, const loops_expr *x, const loops_expr *y) {
  const loops_expr *args[] = {x, y};
  return loops_apply(b->loops, op, op_table[op].rule == RULE_COMPARE ? DTYPE_BOOL : x->type, args, 2);
}

/* Sums over a ragged nest with a test inside, through registers and a local buffer; some loops are empty. */
static void loops_registers_tests_and_local_buffers(void **state) {
  (void)state;
  for (int checked = 0; checked < 2; checked++) {
    arena *a = arena_new();
    bench b = make_bench(a, "control");
    loops *l = b.loops;
    l->iterations = 7;
    uint32_t x = add_buffer(&b, "x", DTYPE_F32, 64, false), y = add_buffer(&b, "y", DTYPE_F32, 7, true);
    uint32_t local = loops_add_buffer(
        l, (loops_buffer){.name = "kept", .type = DTYPE_F32, .elements = 64, .place = PLACE_LOCAL, .written = true});
    l->n_arguments = 2;
    uint32_t i = loops_add_register(l, DTYPE_I64, 1), j = loops_add_register(l, DTYPE_I64, 1),
             sum = loops_add_register(l, DTYPE_F32, 1);
    const loops_expr *iteration = loops_variable(l, 0), *at_i = loops_variable(l, i), *at_j = loops_variable(l, j);
    for (int64_t e = 0; e < 64; e++) element_store(DTYPE_F32, b.buffers[x], e, (scalar){.real = (double)(e * e % 17)});
    set(&b, &l->body, sum, loops_constant(l, DTYPE_F32, 1, (scalar){.real = 0}));
    statement *fill = add_for(&b, &l->body, i, 0, loops_integer(l, 64), 3);
    loops_append(l, &fill->body,
                 (statement){.kind = STATEMENT_STORE,
                             .number = local,
                             .offset = at_i,
                             .active = 1,
                             .stride = 1,
                             .value = load_at(&b, x, at_i, 1, 1, 1)});
    statement *outer = add_for(&b, &l->body, i, 1, iteration, 2), *inner = add_for(&b, &outer->body, j, 0, at_i, 1);
    statement *test = loops_append(
        l, &inner->body,
        (statement){.kind = STATEMENT_IF,
                    .value = apply_two(&b, OP_LT, at_j, apply_two(&b, OP_SUB, iteration, loops_integer(l, 3)))});
    const loops_expr *kept = load_at(&b, local, apply_two(&b, OP_MUL, at_j, loops_integer(l, 9)), 1, 1, 1);
    set(&b, &test->body, sum, apply_two(&b, OP_ADD, loops_variable(l, sum), kept));
    store_at(&b, y, iteration, loops_variable(l, sum), 1, 1);
    check(&b, checked);
    arena_free(a);
  }
}

static void dumps_show_the_kernel(void **state) {
  (void)state;
  arena *a = arena_new();
  const char *error = NULL;
  bench b = make_bench(a, "dumped");
  b.lanes = 4;
  b.loops->iterations = 4;
  uint32_t x = add_buffer(&b, "x", DTYPE_F32, 16, false), y = add_buffer(&b, "y", DTYPE_F32, 16, true);
  const loops_expr *v = load_at(&b, x, here(&b), 4, 4, 1);
  store_at(&b, y, here(&b), apply_two(&b, OP_MUL, v, v), 4, 1);
  const char *text = loops_llvm_text(b.loops, a, &error);
  assert_non_null(text);
  assert_non_null(strstr(text, "define void @kernel("));
  assert_non_null(strstr(text, "fmul <4 x float>"));
  text = loops_assembly_text(b.loops, a, &error);
  assert_non_null(text);
  assert_non_null(strstr(text, "kernel:"));
  arena_free(a);
}

/* Lanes read what others wrote, and then write over what others read, with nothing but that to order them. */
static void lanes_exchange_values(void **state) {
  (void)state;
  arena *a = arena_new();
  bench b = make_bench(a, "exchange");
  loops *l = b.loops;
  b.lanes = 32;
  l->iterations = ELEMENTS / b.lanes;
  uint32_t x = add_buffer(&b, "x", DTYPE_F32, ELEMENTS, false), y = add_buffer(&b, "y", DTYPE_F32, 3 * ELEMENTS, true);
  uint32_t local = loops_add_buffer(l, (loops_buffer){.name = "kept", .type = DTYPE_F32, .elements = b.lanes, .place = PLACE_LOCAL, .written = true});
  l->n_arguments = 2;
  const loops_expr *zero = loops_integer(l, 0), *last = loops_integer(l, b.lanes - 1), *v = load_at(&b, x, here(&b), b.lanes, b.lanes, 1);
  for (int round = 0; round < 3; round++) {
    store_at(&b, local, zero, v, b.lanes, 1);
    v = load_at(&b, local, last, b.lanes, b.lanes, -1); /* reversed */
    v = apply_two(&b, OP_ADD, v, loops_splat(l, load_at(&b, local, loops_integer(l, 7 + round), 1, 1, 1), b.lanes));
    const uint32_t kept = loops_add_register(l, DTYPE_F32, b.lanes);
    set(&b, &l->body, kept, v);
    v = loops_node(l, (loops_expr){.kind = LOOPS_VARIABLE, .type = DTYPE_F32, .lanes = b.lanes, .number = kept});
    store_at(&b, y, apply_two(&b, OP_ADD, here(&b), loops_integer(l, round * ELEMENTS)), v, b.lanes, 1);
  }
  check(&b, false);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ops_mean_what_the_table_says),
      cmocka_unit_test(division_by_constants),
      cmocka_unit_test(fused_multiplication_rounds_once),
      cmocka_unit_test(scales_by_powers_of_two),
      cmocka_unit_test(lanes_are_taken_in_turns),
      cmocka_unit_test(scalar_library_calls),
      cmocka_unit_test(near_lanes_are_picked),
      cmocka_unit_test(accesses_touch_active_lanes_only),
      cmocka_unit_test(splats_and_ramps),
      cmocka_unit_test(reductions_fold_halves),
      cmocka_unit_test(loops_registers_tests_and_local_buffers),
      cmocka_unit_test(lanes_exchange_values),
      cmocka_unit_test(dumps_show_the_kernel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
