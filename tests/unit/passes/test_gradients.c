/* Every primitive's derivative against central differences in f64: of the loss for the first order, of
 * the first order for the second. */
#include "graph_testing.h"

#define F(...) shaped(DTYPE_F64, __VA_ARGS__)

enum { MAX_INPUTS = 4 };

/* A function under test: real inputs, and how to build it. */
typedef struct {
  const char *name;
  uint32_t n_inputs;
  tensor_type input[MAX_INPUTS];
  const char *domain; /* as in ops.def */
  value (*build)(graph *g, bench *b, const value *x, const void *of);
  const void *of;
} subject;

static double random_in(bench *b, const char *domain) {
  const double u = bench_random(b), sign = bench_random(b) < 0.5 ? -1 : 1;
  if (strcmp(domain, "positive") == 0) return 0.4 + 2 * u;
  if (strcmp(domain, "nonzero") == 0) return sign * (0.4 + 2 * u);
  if (strcmp(domain, "unit") == 0) return 2 * u - 1;
  return 6 * u - 3;
}

static double *random_elements(bench *b, const tensor_type *t, const char *domain) {
  const int64_t n = type_elements(t);
  double *data = ARENA_ARRAY(b->arena, double, n);
  for (int64_t i = 0; i < n; i++) data[i] = random_in(b, domain);
  return data;
}

static const char *const input_names[MAX_INPUTS] = {"a", "b", "c", "d"};

/* sum(v * weight), with the weights drawn once. */
static value weighted(graph *g, bench *b, value v) {
  const tensor_type type = *graph_type(g, v);
  const value weight = graph_literal(g, type, random_elements(b, &type, "any"), place(3));
  return sum_all(g, graph_binary(g, OP_MUL, v, weight, place(3)), place(3));
}

/* Results: "loss" = sum(f * weights), "slope" = sum over the inputs of sum(d loss * weights), and the
 * derivatives of both by every input, "loss/a" and so on. */
static graph *derivatives_of(bench *b, const subject *s) {
  graph *g = graph_new(b->arena, s->name);
  value x[MAX_INPUTS];
  for (uint32_t i = 0; i < s->n_inputs; i++) x[i] = graph_parameter(g, "data", input_names[i], s->input[i], place(1));
  const value loss = weighted(g, b, s->build(g, b, x, s->of));
  const value first = graph_grad(g, loss, x, s->n_inputs, place(4));
  value slope = 0;
  for (uint32_t i = 0; i < s->n_inputs; i++) {
    const value part = weighted(g, b, first + i);
    slope = slope ? graph_binary(g, OP_ADD, slope, part, place(5)) : part;
  }
  const value second = graph_grad(g, slope, x, s->n_inputs, place(6));
  graph_add_result(g, "output", "loss", loss, place(7));
  graph_add_result(g, "output", "slope", slope, place(7));
  for (uint32_t i = 0; i < s->n_inputs; i++) {
    graph_add_result(g, "output", arena_printf(b->arena, "loss/%s", input_names[i]), first + i, place(7));
    graph_add_result(g, "output", arena_printf(b->arena, "slope/%s", input_names[i]), second + i, place(7));
  }
  return after(b, pass_autodiff, g);
}

static void compare(const subject *s, const char *what, int64_t element, double found, double expected) {
  if (fabs(found - expected) <= 1e-6 * (1 + fabs(expected))) return;
  fail_msg("%s by %s[%lld]: %.12g, by differences %.12g", s->name, what, (long long)element, found, expected);
}

static void check(bench *b, const subject *s) {
  const graph *g = derivatives_of(b, s);
  const graph *lean = after(b, pass_dce, g);
  /* The derivatives once more as the pipeline simplifies them; the differences are those of the plain graph. */
  const graph *small = after(b, pass_dce, after(b, pass_cse, after(b, pass_fold, after(b, pass_canonicalise, g))));
  double *data[MAX_INPUTS];
  graph_binding bindings[MAX_INPUTS];
  for (uint32_t i = 0; i < s->n_inputs; i++) {
    data[i] = random_elements(b, &s->input[i], s->domain);
    bindings[i] = (graph_binding){"data", input_names[i], data[i]};
  }
  const graph_run *exact = interpret(b, lean, bindings, s->n_inputs);
  const graph_run *simplified = interpret(b, small, bindings, s->n_inputs);
  for (uint32_t i = 0; i < s->n_inputs; i++) {
    const char *loss_name = arena_printf(b->arena, "loss/%s", input_names[i]);
    const char *slope_name = arena_printf(b->arena, "slope/%s", input_names[i]);
    const double *first = result_data(lean, exact, loss_name);
    const double *second = result_data(lean, exact, slope_name);
    const double *first_simplified = result_data(small, simplified, loss_name);
    const double *second_simplified = result_data(small, simplified, slope_name);
    for (int64_t k = 0; k < type_elements(&s->input[i]); k++) {
      const double middle = data[i][k], h = 2e-5 * (1 + fabs(middle));
      double loss[2], slope[2];
      for (int side = 0; side < 2; side++) {
        data[i][k] = side ? middle + h : middle - h;
        const graph_run *run = interpret(b, lean, bindings, s->n_inputs);
        loss[side] = *(double *)result_data(lean, run, "loss");
        slope[side] = *(double *)result_data(lean, run, "slope");
      }
      data[i][k] = middle;
      compare(s, loss_name, k, first_simplified[k], first[k]);
      compare(s, slope_name, k, second_simplified[k], second[k]);
      compare(s, loss_name, k, first[k], (loss[1] - loss[0]) / (2 * h));
      compare(s, slope_name, k, second[k], (slope[1] - slope[0]) / (2 * h));
    }
  }
}

/* -- elementwise: every row of the table that takes reals ------------------------------------------- */

static value build_elementwise(graph *g, bench *b, const value *x, const void *of) {
  const op_id op = *(const op_id *)of;
  const tensor_type type = *graph_type(g, x[0]);
  if (op == OP_SELECT) {
    tensor_type flags = type;
    flags.dtype = DTYPE_BOOL;
    uint8_t *elements = ARENA_ARRAY(b->arena, uint8_t, type_elements(&type));
    for (int64_t i = 0; i < type_elements(&type); i++) elements[i] = bench_random(b) < 0.5;
    return graph_select(g, graph_literal(g, flags, elements, place(2)), x[0], x[1], place(2));
  }
  const char *error = NULL;
  return graph_add(g, op, x, (uint32_t)op_table[op].arity, NULL, 0, &type, place(2), &error);
}

static bool takes_reals(op_id op) {
  static const bool real_rule[] = {[RULE_SAME] = true,   [RULE_REAL] = true, [RULE_NUMBER] = true,
                                   [RULE_SELECT] = true, [RULE_CAST] = true, [RULE_RANDOM] = false};
  return op_table[op].elementwise && real_rule[op_table[op].rule];
}

static void elementwise_derivatives(void **state) {
  bench *b = *state;
  const tensor_type shapes[] = {F(1, 1), F(1, 7), F(2, 3, 5), F(3, 1, 4, 1)};
  uint32_t checked = 0;
  for (op_id op = 0; op < OP_COUNT; op++) {
    /* What stop_grad gives is no derivative: that is its meaning, and test_autodiff has it. */
    if (!takes_reals(op) || op == OP_STOP_GRAD || op == OP_TF32) continue; /* nor is that of rounding */
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
      subject s = {op_table[op].name,
                   op == OP_SELECT ? 2 : (uint32_t)op_table[op].arity,
                   {{0}},
                   op_table[op].domain,
                   build_elementwise,
                   &op};
      for (uint32_t k = 0; k < s.n_inputs; k++) s.input[k] = shapes[i];
      check(b, &s);
    }
    checked++;
  }
  assert_true(checked >= 20);
}

/* -- views ------------------------------------------------------------------------------------------ */

/* Squares what a view gives, so that there is a second order to check. */
static value squared(graph *g, value v) { return graph_binary(g, OP_MUL, v, v, place(2)); }

static value build_reshape(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  const tensor_type *to = of;
  return squared(g, graph_reshape(g, x[0], to->rank, to->dim, place(2)));
}

static void reshape_derivatives(void **state) {
  const tensor_type pairs[][2] = {{F(2, 3, 5), F(1, 15)}, {F(2, 1, 7), F(3, 7, 1, 1)}, {F(1, 1), F(0)}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    check(*state, &(subject){"reshape", 1, {pairs[i][0]}, "any", build_reshape, &pairs[i][1]});
}

static value build_transpose(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  return squared(g, graph_transpose(g, x[0], of, place(2)));
}

static void transpose_derivatives(void **state) {
  const int64_t turned[] = {2, 0, 1}, swapped[] = {1, 0};
  check(*state, &(subject){"transpose", 1, {F(3, 2, 3, 5)}, "any", build_transpose, turned});
  check(*state, &(subject){"transpose", 1, {F(3, 1, 7, 1)}, "any", build_transpose, turned});
  check(*state, &(subject){"transpose", 1, {F(2, 3, 5)}, "any", build_transpose, swapped});
}

typedef struct {
  tensor_type from, to;
  int64_t axes[MAX_RANK];
} broadcast_case;

static value build_broadcast(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  const broadcast_case *c = of;
  return squared(g, graph_broadcast(g, x[0], c->to, c->axes, place(2)));
}

static void broadcast_derivatives(void **state) {
  const broadcast_case cases[] = {
      {F(0), F(2, 3, 5), {0}},          {F(1, 5), F(2, 3, 5), {1}},       {F(2, 3, 1), F(3, 3, 2, 5), {0, 2}},
      {F(2, 1, 1), F(2, 7, 1), {0, 1}}, {F(2, 3, 2), F(2, 3, 2), {0, 1}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check(*state, &(subject){"broadcast", 1, {cases[i].from}, "any", build_broadcast, &cases[i]});
}

typedef struct {
  tensor_type from;
  int64_t start[MAX_RANK], stop[MAX_RANK], stride[MAX_RANK];
} slice_case;

static value build_slice(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  const slice_case *c = of;
  return squared(g, graph_slice(g, x[0], c->start, c->stop, c->stride, place(2)));
}

static void slice_derivatives(void **state) {
  const slice_case cases[] = {
      {F(1, 7), {1}, {6}, {2}},
      {F(1, 8), {0}, {8}, {3}},
      {F(2, 3, 5), {1, 0}, {2, 5}, {1, 4}},
      {F(3, 1, 4, 1), {0, 2, 0}, {1, 3, 1}, {1, 5, 1}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check(*state, &(subject){"slice", 1, {cases[i].from}, "any", build_slice, &cases[i]});
}

typedef struct {
  tensor_type from;
  int64_t low[MAX_RANK], high[MAX_RANK], interior[MAX_RANK];
} pad_case;

static value build_pad(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  const pad_case *c = of;
  return squared(g, graph_pad(g, x[0], c->low, c->high, c->interior, 0.5, place(2)));
}

static void pad_derivatives(void **state) {
  const pad_case cases[] = {
      {F(1, 5), {2}, {1}, {0}},
      {F(1, 5), {1}, {0}, {2}},
      {F(1, 5), {-1}, {-2}, {0}},
      {F(1, 5), {-2}, {-2}, {1}},
      {F(1, 5), {-1}, {-3}, {2}},
      {F(1, 3), {-3}, {2}, {0}},
      {F(1, 1), {1}, {2}, {3}},
      {F(1, 3), {4}, {-5}, {0}},
      {F(2, 3, 5), {1, -1}, {0, 2}, {1, 0}},
      {F(3, 1, 4, 1), {0, -2, 1}, {0, 1, 1}, {0, 2, 0}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check(*state, &(subject){"pad", 1, {cases[i].from}, "any", build_pad, &cases[i]});
}

static value build_reverse(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  const int64_t axes[] = {0, 1};
  return squared(g, graph_reverse(g, x[0], axes, *(const uint32_t *)of, place(2)));
}

static void reverse_derivatives(void **state) {
  for (uint32_t n = 0; n <= 2; n++) check(*state, &(subject){"reverse", 1, {F(2, 3, 5)}, "any", build_reverse, &n});
}

static value build_concat(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  return squared(g, graph_concat(g, x, 3, *(const int64_t *)of, place(2)));
}

static void concat_derivatives(void **state) {
  const int64_t first = 0, second = 1;
  const tensor_type column = F(2, 1, 2);
  const tensor_type wide = F(2, 3, 2);
  check(*state, &(subject){"concat", 3, {wide, column, wide}, "any", build_concat, &first});
  const tensor_type thin = F(2, 3, 1);
  check(*state, &(subject){"concat", 3, {wide, thin, wide}, "any", build_concat, &second});
}

/* -- indexed access --------------------------------------------------------------------------------- */

/* Indices into two axes with repeats and some out of range, which clamp. */
static void index_pair(graph *g, value index[2]) {
  static const int32_t rows[6] = {0, 2, 2, -1, 5, 1}, columns[6] = {1, 0, 0, 4, 9, 3};
  const tensor_type type = shaped(DTYPE_I32, 2, 2, 3);
  index[0] = graph_literal(g, type, rows, place(2));
  index[1] = graph_literal(g, type, columns, place(2));
}

static value build_gather(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  (void)of;
  value index[2];
  index_pair(g, index);
  return squared(g, graph_gather(g, x[0], index, place(2)));
}

static value build_scatter_add(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  value index[2];
  index_pair(g, index);
  return squared(g, graph_scatter_add(g, x[0], index, *(const tensor_type *)of, place(2)));
}

static void indexed_derivatives(void **state) {
  const tensor_type shapes[] = {F(2, 3, 5), F(2, 1, 1), F(2, 1, 7)};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    check(*state, &(subject){"gather", 1, {shapes[i]}, "any", build_gather, NULL});
    check(*state, &(subject){"scatter_add", 1, {F(2, 2, 3)}, "any", build_scatter_add, &shapes[i]});
  }
}

/* -- reductions ------------------------------------------------------------------------------------- */

typedef struct {
  op_id op;
  tensor_type from;
  uint32_t n;
  int64_t axes[MAX_RANK];
} reduce_case;

static value build_reduce(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  const reduce_case *c = of;
  return squared(g, graph_reduce(g, c->op, x[0], c->axes, c->n, place(2)));
}

static void reduction_derivatives(void **state) {
  const reduce_case cases[] = {
      {OP_REDUCE_SUM, F(1, 7), 1, {0}},          {OP_REDUCE_SUM, F(2, 3, 5), 1, {0}},
      {OP_REDUCE_SUM, F(3, 2, 3, 2), 2, {0, 2}}, {OP_REDUCE_SUM, F(3, 1, 4, 1), 2, {0, 1}},
      {OP_REDUCE_MAX, F(1, 7), 1, {0}},          {OP_REDUCE_MAX, F(2, 3, 5), 1, {0}},
      {OP_REDUCE_MAX, F(2, 3, 5), 1, {1}},       {OP_REDUCE_MAX, F(3, 2, 3, 2), 2, {0, 2}},
      {OP_REDUCE_MAX, F(3, 2, 3, 2), 2, {2, 1}}, {OP_REDUCE_MAX, F(3, 1, 4, 1), 2, {0, 1}},
      {OP_REDUCE_MAX, F(1, 1), 1, {0}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check(*state, &(subject){op_table[cases[i].op].name, 1, {cases[i].from}, "any", build_reduce, &cases[i]});
}

/* -- contraction ------------------------------------------------------------------------------------ */

typedef struct {
  const char *spec;
  tensor_type left, right, result;
} contract_case;

static value build_contract(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  const contract_case *c = of;
  return squared(g, graph_contract(g, x[0], x[1], c->spec, &c->result, place(2)));
}

static value build_contract_with_itself(graph *g, bench *b, const value *x, const void *of) {
  (void)b;
  return squared(g, graph_contract(g, x[0], x[0], of, NULL, place(2)));
}

static void contraction_derivatives(void **state) {

  const contract_case cases[] = {
      /* products: plain, batched, transposed, outer, inner, with a diagonal left over */
      {"i,k; k,j -> i,j", F(2, 3, 5), F(2, 5, 2), F(2, 3, 2)},
      {"i,k; k,j -> j,i", F(2, 1, 5), F(2, 5, 1), F(2, 1, 1)},
      {"b,i,k; b,j,k -> b,i,j", F(3, 2, 3, 2), F(3, 2, 1, 2), F(3, 2, 3, 1)},
      {"i; j -> i,j", F(1, 3), F(1, 2), F(2, 3, 2)},
      {"i; i -> ", F(1, 7), F(1, 7), F(0)},
      {"i,j; i -> i,j", F(2, 3, 2), F(1, 3), F(2, 3, 2)},
      {"i,j; k -> k", F(2, 3, 2), F(1, 2), F(1, 2)},
      /* convolutions: padding, stride, dilation, groups, stride above the window, even windows */
      {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", F(4, 1, 2, 3, 4), F(4, 2, 2, 3, 3), F(4, 1, 2, 3, 4)},
      {"n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", F(4, 2, 1, 5, 4), F(4, 2, 1, 3, 3), F(4, 2, 2, 3, 2)},
      {"n,c,2*p,2*q; k,c -> n,k,p,q", F(4, 1, 2, 5, 4), F(2, 3, 2), F(4, 1, 3, 3, 2)},
      {"n,c,p+2*r-2; k,c,r -> n,k,p", F(3, 1, 2, 6), F(3, 2, 2, 3), F(3, 1, 2, 6)},
      {"n,c,3*p+2*r-1; k,c,r -> n,k,p", F(3, 1, 1, 9), F(3, 1, 1, 3), F(3, 1, 1, 3)},
      {"n,g,c,p+r-1; g,k,c,r -> n,g,k,p", F(4, 1, 2, 2, 4), F(4, 2, 1, 2, 3), F(4, 1, 2, 1, 4)},
      {"n,c,p+r; k,c,r -> n,k,p", F(3, 2, 1, 5), F(3, 1, 1, 2), F(3, 2, 1, 4)},
      {"n,c,p+r-1; c,r -> n,c,p", F(3, 2, 3, 5), F(2, 3, 3), F(3, 2, 3, 5)},
      {"n,c,4*p+r; k,c,r -> n,k,p", F(3, 1, 1, 8), F(3, 2, 1, 4), F(3, 1, 2, 2)},
      /* transposed convolution, as the derivative of a strided one has it */
      {"n,k,(h-r+1)/2; k,c,r -> n,c,h", F(3, 1, 2, 3), F(3, 2, 1, 3), F(3, 1, 1, 5)},
      {"n,k,(h-2*r+1)/3; k,c,r -> n,c,h", F(3, 1, 1, 3), F(3, 1, 1, 3), F(3, 1, 1, 8)},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check(*state, &(subject){cases[i].spec, 2, {cases[i].left, cases[i].right}, "any", build_contract, &cases[i]});
  check(*state, &(subject){"x x'", 1, {F(2, 3, 2)}, "any", build_contract_with_itself, "i,k; j,k -> i,j"});
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)
  const struct CMUnitTest tests[] = {
      TEST(elementwise_derivatives), TEST(reshape_derivatives),     TEST(transpose_derivatives),
      TEST(broadcast_derivatives),   TEST(slice_derivatives),       TEST(pad_derivatives),
      TEST(reverse_derivatives),     TEST(concat_derivatives),      TEST(indexed_derivatives),
      TEST(reduction_derivatives),   TEST(contraction_derivatives),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
