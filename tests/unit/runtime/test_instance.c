/* A hand-made plan with every kind of buffer, run by an instance. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/instance.h"

enum { ROWS = 37, COLUMNS = 5, PADDED = 40, ELEMENTS = PADDED * COLUMNS };
enum { WEIGHT, DATA, SPLAT, LITERAL, TEMPORARY, NEXT_WEIGHT, TOTAL, BUFFERS };

static const loops_expr *load(loops *l, uint32_t buffer, const loops_expr *offset) {
  return loops_node(l, (loops_expr){.kind = LOOPS_LOAD,
                                    .type = DTYPE_F32,
                                    .lanes = 1,
                                    .number = buffer,
                                    .stride = 1,
                                    .n_args = 1,
                                    .args = (const loops_expr *[]){offset}});
}

static const loops_expr *two(loops *l, op_id op, const loops_expr *x, const loops_expr *y) {
  const loops_expr *args[] = {x, y};
  return loops_apply(l, op, x->type, args, 2);
}

static void store(loops *l, block *to, uint32_t buffer, const loops_expr *offset, const loops_expr *v) {
  loops_append(
      l, to,
      (statement){.kind = STATEMENT_STORE, .number = buffer, .value = v, .offset = offset, .active = 1, .stride = 1});
}

static loops *loops_of(arena *a, const char *name, uint32_t n_buffers, int64_t iterations) {
  loops *l = loops_new(a, name);
  for (uint32_t i = 0; i < n_buffers; i++)
    loops_add_buffer(l, (loops_buffer){.name = arena_printf(a, "b%u", i),
                                       .type = DTYPE_F32,
                                       .elements = ELEMENTS,
                                       .written = i + 1 == n_buffers});
  l->iterations = iterations;
  return l;
}

/* b2[i] = b0[i] op b1[i], whatever the layout: both lie alike. */
static const loops *elementwise(arena *a, op_id op) {
  loops *l = loops_of(a, op_table[op].name, 3, ELEMENTS);
  const loops_expr *i = loops_variable(l, 0);
  store(l, &l->body, 2, i, two(l, op, load(l, 0, i), load(l, 1, i)));
  return l;
}

/* b1[0] = sum of b0 */
static const loops *sum_all(arena *a) {
  loops *l = loops_of(a, "sum", 2, 1);
  uint32_t i = loops_add_register(l, DTYPE_I64, 1), sum = loops_add_register(l, DTYPE_F32, 1);
  loops_append(
      l, &l->body,
      (statement){.kind = STATEMENT_SET, .number = sum, .value = loops_constant(l, DTYPE_F32, 1, (scalar){.real = 0})});
  statement *all = loops_append(l, &l->body,
                                (statement){.kind = STATEMENT_FOR,
                                            .number = i,
                                            .begin = loops_integer(l, 0),
                                            .end = loops_integer(l, ELEMENTS),
                                            .step = 1});
  loops_append(l, &all->body,
               (statement){.kind = STATEMENT_SET,
                           .number = sum,
                           .value = two(l, OP_ADD, loops_variable(l, sum), load(l, 0, loops_variable(l, i)))});
  store(l, &l->body, 1, loops_integer(l, 0), loops_variable(l, sum));
  return l;
}

static void add_launch(plan *p, const loops *l, uint32_t b0, uint32_t b1, uint32_t b2) {
  plan_launch *launch = &p->launches[p->n_launches++];
  kernel *k = ARENA_NEW(p->arena, kernel);
  k->name = l->name;
  k->n_buffers = l->n_arguments;
  k->schedule.chunks = 7;
  *launch = (plan_launch){k, arena_copy(p->arena, (uint32_t[]){b0, b1, b2}, 3 * sizeof(uint32_t)), l};
}

/* weight = (weight + data * splat) + literal, in place; total = sum of it. All matrices lie in blocks of
 * eight rows, with padding. */
static plan *make_plan(arena *a) {
  static const char *const names[BUFFERS] = {"w", "x", "", "", "", "w", "total"};
  static const char *const roles[BUFFERS] = {"state", "data", "", "", "", "next", "metric"};
  static const storage places[BUFFERS] = {STORAGE_STATE,     STORAGE_DATA,  STORAGE_STATE, STORAGE_STATE,
                                          STORAGE_TEMPORARY, STORAGE_STATE, STORAGE_RESULT};
  plan *p = plan_new(a, "step");
  tensor_type type = make_type(DTYPE_F32, 2, (int64_t[]){ROWS, COLUMNS});
  float *literal = ARENA_ARRAY(a, float, ROWS *COLUMNS);
  for (int i = 0; i < ROWS * COLUMNS; i++) literal[i] = (float)(i % 3);
  for (int i = 0; i < BUFFERS; i++) {
    plan_buffer b = {
        .name = names[i], .role = roles[i], .type = type, .storage = places[i], .alias = -1, .bytes = 4 * ELEMENTS};
    b.layout = layout_blocked(&type, (uint32_t[]){0, 1}, 0, 8);
    if (i == NEXT_WEIGHT) b.alias = WEIGHT;
    if (i == SPLAT) b.is_splat = true, b.splat.real = 2;
    if (i == LITERAL) b.literal = literal;
    if (i == TOTAL) b.type = scalar_type(DTYPE_F32), b.layout = layout_row_major(&b.type), b.bytes = 4;
    plan_add_buffer(p, b);
  }
  p->arena_bytes = 4 * ELEMENTS + 64;
  p->buffers[TEMPORARY].offset = 64;
  p->launches = ARENA_ARRAY(a, plan_launch, 4);
  p->launches_capacity = 4;
  add_launch(p, elementwise(a, OP_MUL), DATA, SPLAT, TEMPORARY);
  add_launch(p, elementwise(a, OP_ADD), WEIGHT, TEMPORARY, NEXT_WEIGHT);
  add_launch(p, elementwise(a, OP_ADD), NEXT_WEIGHT, LITERAL, NEXT_WEIGHT);
  add_launch(p, sum_all(a), NEXT_WEIGHT, TOTAL, 0);
  return p;
}

static void check_run(unsigned threads) {
  arena *a = arena_new();
  plan *p = make_plan(a);
  const char *error = NULL;
  executable *e = executable_compile_cpu(p, &(compile_options){.threads = 1}, NULL, &error);
  assert_non_null(e);
  thread_pool *pool = thread_pool_new(threads);
  instance *i = instance_new(p, e, pool);
  assert_non_null(i);
  float w[ROWS * COLUMNS], x[ROWS * COLUMNS], found[ROWS * COLUMNS], total, expected = 0;
  for (int k = 0; k < ROWS * COLUMNS; k++) w[k] = (float)k, x[k] = (float)(k % 11);
  assert_true(instance_set(i, "state", "w", w));
  assert_true(instance_set(i, "data", "x", x));
  for (int run = 0; run < 3; run++) instance_run(i);
  assert_true(instance_get(i, "state", "w", found));
  for (int k = 0; k < ROWS * COLUMNS; k++) {
    assert_float_equal(found[k], w[k] + 3 * (2 * x[k] + (float)(k % 3)), 0);
    expected += found[k];
  }
  assert_true(instance_get(i, "next", "w", found));
  assert_float_equal(found[1], w[1] + 3 * (2 * x[1] + 1), 0);
  assert_true(instance_get(i, "metric", "total", &total));
  assert_float_equal(total, expected, 0); /* small integers: exact in any order; padding adds nothing */
  assert_false(instance_set(i, "state", "v", w));
  assert_false(instance_get(i, "metric", "w", found));
  assert_int_equal(instance_type(i, "state", "w")->dim[0], ROWS);
  assert_null(instance_type(i, "state", "v"));
  assert_in_range(instance_bytes(i), 5 * 4 * ELEMENTS, 5 * 4 * ELEMENTS + 16384);
  instance_free(i);
  thread_pool_free(pool);
  executable_free(e);
  arena_free(a);
}

static void a_plan_runs_alike_on_any_number_of_threads(void **state) {
  (void)state;
  for (unsigned threads = 1; threads <= 3; threads++) check_run(threads);
}

static void large_arenas_are_mapped(void **state) {
  (void)state;
  arena *a = arena_new();
  plan *p = make_plan(a);
  const char *error = NULL;
  p->arena_bytes = 5 << 20;
  p->buffers[TEMPORARY].offset = (5 << 20) - 4 * ELEMENTS;
  executable *e = executable_compile_cpu(p, &(compile_options){.threads = 1}, NULL, &error);
  thread_pool *pool = thread_pool_new(1);
  instance *i = instance_new(p, e, pool);
  assert_non_null(i);
  instance_run(i);
  assert_true(instance_bytes(i) >= 5 << 20);
  instance_free(i);
  thread_pool_free(pool);
  executable_free(e);
  arena_free(a);
}

/* A run reads what changed hands; what has another size or layout is not exchanged. */
static void memory_changes_hands(void **state) {
  (void)state;
  arena *a = arena_new();
  plan *p = make_plan(a);
  const char *error = NULL;
  const tensor_type type = p->buffers[DATA].type = make_type(DTYPE_F32, 2, (int64_t[]){PADDED, COLUMNS});
  p->buffers[DATA].layout = layout_row_major(&type);
  executable *e = executable_compile_cpu(p, &(compile_options){.threads = 1}, NULL, &error);
  thread_pool *pool = thread_pool_new(1);
  instance *i = instance_new(p, e, pool);
  assert_non_null(i);
  void *given = host_memory_new(4 * ELEMENTS);
  float *const x = given;
  float w[ROWS * COLUMNS] = {0}, zeros[ELEMENTS] = {0}, kept[ELEMENTS], expected, total;
  for (int k = 0; k < ELEMENTS; k++) x[k] = (float)k;
  instance_set(i, "state", "w", w);
  instance_set(i, "data", "x", x);
  instance_run(i);
  assert_true(instance_get(i, "metric", "total", &expected));
  instance_set(i, "state", "w", w);
  instance_set(i, "data", "x", zeros);
  assert_false(instance_exchange(i, "data", "x", &given, 4 * ELEMENTS - 4));
  assert_false(instance_exchange(i, "state", "w", &given, 4 * ELEMENTS));
  assert_false(instance_exchange(i, "data", "y", &given, 4 * ELEMENTS));
  assert_ptr_equal(given, x);
  assert_true(instance_exchange(i, "data", "x", &given, 4 * ELEMENTS));
  assert_memory_equal(given, zeros, 4 * ELEMENTS);
  instance_run(i);
  assert_true(instance_get(i, "metric", "total", &total));
  assert_float_equal(total, expected, 0);
  assert_true(instance_get(i, "data", "x", kept));
  assert_memory_equal(kept, x, 4 * ELEMENTS);
  host_memory_free(given, 4 * ELEMENTS);
  instance_free(i);
  thread_pool_free(pool);
  executable_free(e);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_plan_runs_alike_on_any_number_of_threads),
      cmocka_unit_test(large_arenas_are_mapped),
      cmocka_unit_test(memory_changes_hands),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
