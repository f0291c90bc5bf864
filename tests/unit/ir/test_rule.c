/* The rule language, and that every rule of ops.def is the derivative or the meaning that it claims. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "ir/rule.h"
#include "tests/random_graph.h"

static arena *a;

static int set_up(void **state) {
  (void)state;
  a = arena_new();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  arena_free(a);
  return 0;
}

/* A builder that writes the tree down. */
static uint64_t note_name(void *context, char name) { return (uint64_t)(uintptr_t)arena_printf(context, "%c", name); }
static uint64_t note_number(void *context, double v) { return (uint64_t)(uintptr_t)arena_printf(context, "%g", v); }
static uint64_t note_apply(void *context, op_id op, uint32_t n, const uint64_t *args) {
  char *text = arena_printf(context, "%s(", op_table[op].name);
  for (uint32_t i = 0; i < n; i++)
    text = arena_printf(context, "%s%s%s", text, i ? "," : "", (char *)(uintptr_t)args[i]);
  return (uint64_t)(uintptr_t)arena_printf(context, "%s)", text);
}

static void rules_read_as_arithmetic(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint32_t index;
    const char *tree;
  } cases[] = {
      {"g; -(g * r / y)", 1, "neg(div(mul(g,r),y))"},
      {"select(x < 0, -g, 2 - x - y)", 0, "select(lt(x,0),neg(g),sub(sub(2,x),y))"},
      {"x - -y * z", 0, "sub(x,mul(neg(y),z))"},
      {"(x + y) / 0.5e1", 0, "div(add(x,y),5)"},
      {"x <= y + 1", 0, "le(x,add(y,1))"},
      {"; pow(x, y - 1)", 1, "pow(x,sub(y,1))"},
  };
  rule_builder b = {a, note_name, note_number, note_apply};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t out;
    assert_true(rule_build(cases[i].text, cases[i].index, &b, &out));
    assert_string_equal((char *)(uintptr_t)out, cases[i].tree);
  }
}

static void empty_and_malformed_rules_build_nothing(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint32_t index;
  } cases[] = {{"; g", 0}, {"g", 1}, {"", 0},   {"g +", 0},      {"frobnicate(x)", 0}, {"exp(x, y)", 0}, {"reduce_sum(x)", 0},
               {"w", 0},   {"(x", 0}, {"x y", 0}, {"add(x,y,z,g)", 0}, {"xy", 0}};
  rule_builder b = {a, note_name, note_number, note_apply};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t out = 1;
    if (rule_build(cases[i].text, cases[i].index, &b, &out)) fail_msg("\"%s\" was read", cases[i].text);
    assert_int_equal(out, 0);
  }
}

/* A builder that computes in f64; comparisons hold 0 or 1. */
typedef struct {
  double x, y, z, r, g;
} point;

static uint64_t to_bits(double v) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

static double from_bits(uint64_t bits) {
  double v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

static uint64_t look_up(void *context, char name) {
  const point *p = context;
  return to_bits(name == 'x' ? p->x : name == 'y' ? p->y : name == 'z' ? p->z : name == 'r' ? p->r : p->g);
}

static uint64_t as_number(void *context, double v) {
  (void)context;
  return to_bits(v);
}

static uint64_t compute(void *context, op_id op, uint32_t n, const uint64_t *args) {
  (void)context;
  scalar v[3] = {0};
  for (uint32_t i = 0; i < n; i++) v[i].real = from_bits(args[i]);
  if (op_table[op].rule == RULE_SELECT) v[0].integer = v[0].real != 0;
  scalar r = op_evaluate(op, DTYPE_F64, DTYPE_F64, v);
  bool holds = op_table[op].rule == RULE_COMPARE || op_table[op].rule == RULE_TEST;
  return to_bits(holds ? (double)r.integer : r.real);
}

static double random_in(random_source *r, const char *domain) {
  if (!strcmp(domain, "positive")) return random_real(r, 0.2, 3);
  if (!strcmp(domain, "nonzero")) return random_real(r, 0.2, 3) * (random_below(r, 2) ? 1 : -1);
  if (!strcmp(domain, "unit")) return random_real(r, -1, 1);
  return random_real(r, -3, 3);
}

static double apply_op(op_id op, const double *args) {
  uint64_t bits[3];
  for (int i = 0; i < 3; i++) bits[i] = to_bits(args[i]);
  return from_bits(compute(NULL, op, (uint32_t)op_table[op].arity, bits));
}

/* Ops with a derivative to find, or with another meaning than arithmetic on reals. */
static bool computes_on_reals(const op_info *info) {
  return info->elementwise && info->arity <= 3 && info->rule != RULE_BITS && info->rule != RULE_BITCAST && info->rule != RULE_CAST &&
         info->rule != RULE_RANDOM;
}

static void derivatives_are_those_of_finite_differences(void **state) {
  (void)state;
  const double step = 1e-5;
  random_source r = {5};
  for (int op = 0; op < OP_COUNT; op++) {
    const op_info *info = &op_table[op];
    if (!computes_on_reals(info) || op == OP_STOP_GRAD || op == OP_TF32) continue; /* by definition, as of what rounds in steps */
    for (int tries = 0; tries < 200; tries++) {
      double args[3] = {random_in(&r, info->domain), random_in(&r, info->domain), random_in(&r, info->domain)};
      if (info->rule == RULE_SELECT) args[0] = random_below(&r, 2);
      point p = {args[0], args[1], args[2], apply_op((op_id)op, args), random_in(&r, "nonzero")};
      rule_builder b = {&p, look_up, as_number, compute};
      for (int k = info->rule == RULE_SELECT; k < info->arity; k++) {
        double up[3], down[3];
        memcpy(up, args, sizeof up);
        memcpy(down, args, sizeof down);
        up[k] += step;
        down[k] -= step;
        double higher = apply_op((op_id)op, up), lower = apply_op((op_id)op, down), want = p.g * (higher - lower) / (2 * step);
        if (fabs(higher - lower) > 0.1) continue; /* a jump lies between */
        uint64_t bits;
        double got = rule_build(info->derivatives, (uint32_t)k, &b, &bits) ? from_bits(bits) : 0;
        /* Next to a kink the difference is that of neither side. */
        bool kink = fabs(p.x - p.y) < 2 * step || fabs(p.x) < 2 * step;
        if (!kink && fabs(got - want) > 1e-6 * (1 + fabs(want)))
          fail_msg("%s(%g, %g, %g) by operand %d: %g, not %g", info->name, p.x, p.y, p.z, k, got, want);
      }
    }
  }
}

static void lowerings_mean_their_op(void **state) {
  (void)state;
  random_source r = {6};
  for (int op = 0; op < OP_COUNT; op++) {
    const op_info *info = &op_table[op];
    if (!computes_on_reals(info) || !strcmp(info->lowering, "native") || !strcmp(info->lowering, "math")) continue;
    for (int tries = 0; tries < 50; tries++) {
      double args[3] = {random_in(&r, info->domain), random_in(&r, info->domain), random_in(&r, info->domain)};
      if (tries < 3) args[0] = (const double[]){INFINITY, -INFINITY, NAN}[tries];
      point p = {args[0], args[1], args[2], 0, 0};
      rule_builder b = {&p, look_up, as_number, compute};
      uint64_t bits;
      double want = apply_op((op_id)op, args);
      if (!rule_build(info->lowering, 0, &b, &bits)) fail_msg("lowering of %s", info->name);
      double got = from_bits(bits);
      if (got != want && !(isnan(got) && isnan(want))) fail_msg("%s(%g, %g): %g, not %g", info->name, p.x, p.y, got, want);
    }
  }
}

static void every_rule_of_the_table_reads(void **state) {
  (void)state;
  rule_builder b = {a, note_name, note_number, note_apply};
  uint64_t out;
  for (int op = 0; op < OP_COUNT; op++) {
    const op_info *info = &op_table[op];
    if (!info->elementwise) continue;
    int rows = 1;
    for (const char *p = info->derivatives; *p; p++) rows += *p == ';';
    if (rows != info->arity) fail_msg("%s takes %d operands and has %d derivatives", info->name, info->arity, rows);
    for (int k = 0; k < info->arity; k++) {
      const char *text = info->derivatives;
      for (int skip = k; skip; text++) skip -= *text == ';';
      text += strspn(text, " ");
      bool empty = !*text || *text == ';';
      if (rule_build(info->derivatives, (uint32_t)k, &b, &out) == empty) fail_msg("derivative %d of %s", k, info->name);
    }
    if (strcmp(info->lowering, "native") && strcmp(info->lowering, "math") && !rule_build(info->lowering, 0, &b, &out))
      fail_msg("lowering of %s", info->name);
  }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(rules_read_as_arithmetic),
      TEST(empty_and_malformed_rules_build_nothing),
      TEST(derivatives_are_those_of_finite_differences),
      TEST(lowerings_mean_their_op),
      TEST(every_rule_of_the_table_reads),
  };
  return cmocka_run_group_tests_name("ir/rule", tests, NULL, NULL);
}
