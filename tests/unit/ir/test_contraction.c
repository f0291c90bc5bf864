/* Contractions: their text, their extents, and that they are closed under differentiation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

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

static const contraction *parse(const char *text) {
  const char *error = NULL;
  const contraction *c = contraction_parse(text, a, &error);
  if (!c) fail_msg("%s", error);
  return c;
}

static void contractions_print_what_they_read(void **state) {
  (void)state;
  static const char *const texts[] = {
      "n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q",
      "n,k,(h-r+1)/2; k,c,r -> n,c,h",
      "; k -> k",
      "i; i ->",
      "x-2*y+3; y -> x",
      "(-2*a+b-4)/3; a -> b",
      "0,i; i,-1 -> i",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_string_equal(contraction_text(parse(texts[i]), false, a), texts[i]);
}

static void equal_contractions_have_equal_canonical_texts(void **state) {
  (void)state;
  assert_string_equal(contraction_text(parse("n , c, p + r; k,c,r->n,k,p"), true, a), "a,b,c+d; e,b,d -> a,e,c");
  assert_string_equal(contraction_text(parse("batch,row ; col,row->batch,col"), true, a),
                      contraction_text(parse("i,k;j,k->i,j"), true, a));
  assert_string_equal(contraction_text(parse("p+r-p+2-1; r -> r"), true, a), "a+1; a -> a");
}

static void malformed_texts_are_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {
      "",
      "a,b",
      "a;b",
      "a,a; b -> b",
      "a; b -> c,c",
      "a,; b -> a",
      "a; b -> a b",
      "(a/2; b -> a",
      "a+b+c+d+e; a -> b",
      "(a)/0; a -> a",
      "a; b -> a,",
      "99999999999*a; a -> a",
      "1073741824*a+1073741824*a; a -> a",
      "a+1073741824+1073741824; a -> a",
      "a,b,c,d,e,f,g,h,i; a -> a",
      "averyveryverylongname; a -> a",
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    const char *error = NULL;
    if (contraction_parse(wrong[i], a, &error)) fail_msg("\"%s\" was read", wrong[i]);
    assert_non_null(error);
  }
}

#define SHAPE(...) \
  {.dtype = DTYPE_F64, .rank = sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t), .dim = {__VA_ARGS__}}
static const tensor_type number = {.dtype = DTYPE_F64};

static void extents_agree_or_say_why(void **state) {
  (void)state;
  int64_t extent[MAX_CONTRACTION_AXES];
  const char *error = NULL;
  const tensor_type good[2] = {SHAPE(3, 5), SHAPE(5, 2)}, bad[2] = {SHAPE(3, 5), SHAPE(4, 2)};
  const contraction *product = parse("i,k; k,j -> i,j");
  assert_true(contraction_extents(product, good, NULL, extent, a, &error));
  assert_int_equal(extent[0], 3);
  assert_int_equal(extent[1], 5);
  assert_int_equal(extent[2], 2);
  assert_false(contraction_extents(product, bad, NULL, extent, a, &error));
  assert_string_equal(error, "axis k has 5 elements in one place and 4 in another");

  const tensor_type signal[2] = {SHAPE(9), SHAPE(3)}, result = SHAPE(7), wrong_rank = SHAPE(7, 1);
  const contraction *window = parse("p+r; r -> p");
  assert_false(contraction_extents(window, signal, NULL, extent, a, &error));
  assert_string_equal(error, "the extent of axis p is unknown: it stands plain in no operand");
  assert_true(contraction_extents(window, signal, &result, extent, a, &error));
  assert_false(contraction_extents(window, signal, &wrong_rank, extent, a, &error));

  const tensor_type long_axes[2] = {SHAPE(4), SHAPE((int64_t)1 << 40)};
  assert_false(contraction_extents(parse("1073741824*r; r -> r"), long_axes, NULL, extent, a, &error));
}

/* -- derivatives ------------------------------------------------------------------------------------------- */

/* The definition of contraction.h, element by element: for every point of all axes, product of what the
 * operands hold there, added to the result. Written apart from the interpreter, which it judges too. */
static double read_at(const index_form *f, const tensor_type *t, const double *data, const int64_t *point) {
  int64_t at = 0;
  for (uint32_t d = 0; d < t->rank; d++) {
    int64_t sum = f[d].offset;
    for (uint32_t k = 0; k < f[d].n_terms; k++) sum += f[d].term[k].coefficient * point[f[d].term[k].axis];
    if (sum < 0 || sum % f[d].divisor || sum / f[d].divisor >= t->dim[d]) return 0;
    at = at * t->dim[d] + sum / f[d].divisor;
  }
  return data[at];
}

static double *contract(const contraction *c, const tensor_type *x, const double *xs, const tensor_type *y,
                        const double *ys, const tensor_type *out) {
  int64_t extent[MAX_CONTRACTION_AXES], points = 1;
  const char *error = NULL;
  const tensor_type operands[2] = {*x, *y};
  double *result = ARENA_ARRAY(a, double, type_elements(out));
  if (!contraction_extents(c, operands, out, extent, a, &error))
    fail_msg("%s: %s", contraction_text(c, false, a), error);
  for (uint32_t i = 0; i < c->n_axes; i++) points *= extent[i];
  for (int64_t number_of_point = 0; number_of_point < points; number_of_point++) {
    int64_t point[MAX_CONTRACTION_AXES], rest = number_of_point, at = 0;
    for (uint32_t i = 0; i < c->n_axes; i++) {
      point[i] = rest % extent[i];
      rest /= extent[i];
    }
    for (uint32_t d = 0; d < c->result_rank; d++) at = at * out->dim[d] + point[c->result[d]];
    result[at] += read_at(c->operand[0], x, xs, point) * read_at(c->operand[1], y, ys, point);
  }
  return result;
}

static double *random_elements(random_source *r, const tensor_type *t) {
  double *data = ARENA_ARRAY(a, double, type_elements(t));
  for (int64_t e = 0; e < type_elements(t); e++) data[e] = random_real(r, -1, 1);
  return data;
}

static double inner_product(const double *x, const double *y, int64_t n) {
  double sum = 0;
  for (int64_t e = 0; e < n; e++) sum += x[e] * y[e];
  return sum;
}

static void interpreter_agrees(const char *text, const tensor_type *const *type, double *const *data,
                               const tensor_type *out, const double *want) {
  graph *g = graph_new(a, "g");
  value x = graph_parameter(g, "data", "x", *type[0], (span){0}), y = graph_parameter(g, "data", "y", *type[1], (span){0});
  value made = graph_contract(g, x, y, text, out, (span){0});
  if (!made) fail_msg("%s does not type", text);
  const char *error = NULL;
  graph_run *run = graph_interpret(g, (graph_binding[]){{"data", "x", data[0]}, {"data", "y", data[1]}}, 2, a, &error);
  for (int64_t e = 0; e < type_elements(out); e++)
    if (fabs(((double *)run->data[made])[e] - want[e]) > 1e-12) fail_msg("%s at element %d", text, (int)e);
}

/* contract is linear in each operand, so <g, contract(x, y)> changes by exactly the derivative when one
 * element grows by 1. Then the same for the derivative, as far as `order`. */
static void derivatives_hold(random_source *r, const char *text, const tensor_type *x, const tensor_type *y,
                             const tensor_type *out, int order) {
  const contraction *c = parse(text);
  const tensor_type *type[2] = {x, y};
  double *data[2] = {random_elements(r, x), random_elements(r, y)}, *g = random_elements(r, out);
  double *result = contract(c, x, data[0], y, data[1], out);
  double before = inner_product(g, result, type_elements(out));
  interpreter_agrees(text, type, data, out, result);
  for (uint32_t which = 0; order && which < 2; which++) {
    const contraction *by = contraction_derivative(c, which, a);
    if (!by) fail_msg("%s has no derivative by operand %u", text, which);
    const char *by_text = contraction_text(by, false, a);
    double *derivative = contract(by, out, g, type[1 - which], data[1 - which], type[which]);
    for (int64_t e = 0; e < type_elements(type[which]); e++) {
      data[which][e] += 1;
      double after = inner_product(g, contract(c, x, data[0], y, data[1], out), type_elements(out));
      data[which][e] -= 1;
      if (fabs(after - before - derivative[e]) > 1e-9) fail_msg("%s by %u is not %s: element %d", text, which, by_text, (int)e);
    }
    derivatives_hold(r, by_text, out, type[1 - which], type[which], order - 1);
  }
}

static void derivatives_are_contractions(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    tensor_type x, y, out;
  } cases[] = {
      /* products */
      {"i,k; k,j -> i,j", SHAPE(3, 5), SHAPE(5, 2), SHAPE(3, 2)},
      {"i,k; j,k -> i,j", SHAPE(1, 3), SHAPE(2, 3), SHAPE(1, 2)},
      {"b,i,k; b,k,j -> b,i,j", SHAPE(2, 3, 2), SHAPE(2, 2, 1), SHAPE(2, 3, 1)},
      {"b,q,h,d; b,k,h,d -> b,h,q,k", SHAPE(1, 2, 2, 3), SHAPE(1, 3, 2, 3), SHAPE(1, 2, 2, 3)},
      {"i; j -> i,j", SHAPE(3), SHAPE(2), SHAPE(3, 2)},
      /* convolutions: padding, stride 2 and 3, dilation, both, even kernels, padding by more than the kernel */
      {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", SHAPE(1, 2, 3, 4), SHAPE(2, 2, 3, 3), SHAPE(1, 2, 3, 4)},
      {"n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", SHAPE(1, 2, 5, 4), SHAPE(2, 2, 3, 3), SHAPE(1, 2, 3, 2)},
      {"n,c,2*p+r-1; k,c,r -> n,k,p", SHAPE(1, 2, 7), SHAPE(3, 2, 3), SHAPE(1, 3, 4)},
      {"n,c,3*p+r; k,c,r -> n,k,p", SHAPE(2, 1, 8), SHAPE(2, 1, 2), SHAPE(2, 2, 3)},
      {"n,c,3*p+2*r-2; k,c,r -> n,k,p", SHAPE(1, 2, 9), SHAPE(2, 2, 3), SHAPE(1, 2, 3)},
      {"n,c,2*p+2*r-1; k,c,r -> n,k,p", SHAPE(1, 1, 8), SHAPE(1, 1, 2), SHAPE(1, 1, 4)},
      {"n,c,p+r-5; k,c,r -> n,k,p", SHAPE(1, 1, 4), SHAPE(1, 1, 3), SHAPE(1, 1, 9)},
      {"n,c,p-r; k,c,r -> n,k,p", SHAPE(1, 1, 5), SHAPE(2, 1, 3), SHAPE(1, 2, 7)},
      /* transposed; grouped in two dimensions; depthwise */
      {"n,k,(h-r+1)/2; k,c,r -> n,c,h", SHAPE(1, 3, 4), SHAPE(3, 2, 3), SHAPE(1, 2, 7)},
      {"n,k,(h-2*r+1)/3; k,c,r -> n,c,h", SHAPE(1, 2, 3), SHAPE(2, 1, 3), SHAPE(1, 1, 9)},
      {"n,g,c,p+r-1,q+s-1; g,k,c,r,s -> n,g,k,p,q", SHAPE(1, 2, 2, 3, 2), SHAPE(2, 1, 2, 3, 3), SHAPE(1, 2, 1, 3, 2)},
      {"n,g,p+r-1,q+s-1; g,r,s -> n,g,p,q", SHAPE(1, 3, 3, 2), SHAPE(3, 3, 3), SHAPE(1, 3, 3, 2)},
      {"n,c,2*p+r-1; n,k,p -> k,c,r", SHAPE(2, 2, 7), SHAPE(2, 3, 4), SHAPE(3, 2, 3)},
      /* sums: an axis of one operand alone, everything, empty operands, an axis of the result alone */
      {"i,j; i -> i", SHAPE(3, 4), SHAPE(3), SHAPE(3)},
      {"i,j; i,j ->", SHAPE(3, 2), SHAPE(3, 2), number},
      {"i; -> i", SHAPE(4), number, SHAPE(4)},
      {"; -> i,j", number, number, SHAPE(2, 3)},
      {"i; i -> i,j", SHAPE(3), SHAPE(3), SHAPE(3, 2)},
      /* one axis in several indices; a form that both operands share, with different bounds */
      {"p+r,p+s; r,s -> p", SHAPE(5, 4), SHAPE(2, 3), SHAPE(4)},
      {"2*p+r,p+s; r,s -> p", SHAPE(7, 4), SHAPE(2, 3), SHAPE(3)},
      {"2*p+2*r,p+s; r,s -> p", SHAPE(7, 4), SHAPE(2, 3), SHAPE(3)},
      {"2*p+2*r-2,2*p+s; r,s -> p", SHAPE(9, 8), SHAPE(3, 2), SHAPE(4)},
      {"2*p+3*r,2*p+5*r; r,p -> p", SHAPE(9, 9), SHAPE(3, 4), SHAPE(4)},
      {"p+r; p+r,r -> p", SHAPE(5), SHAPE(4, 2), SHAPE(4)},
      {"(p-r)/2,(p+r)/2; p,r -> p,r", SHAPE(3, 4), SHAPE(5, 3), SHAPE(5, 3)},
      {"-p+3; p -> p", SHAPE(4), SHAPE(4), SHAPE(4)},
      {"3*p+2*r; p,r ->", SHAPE(9), SHAPE(3, 2), number},
  };
  random_source r = {7};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    derivatives_hold(&r, cases[i].spec, &cases[i].x, &cases[i].y, &cases[i].out, 2);
}

static void a_derivative_on_a_diagonal_is_refused(void **state) {
  (void)state;
  assert_null(contraction_derivative(parse("2*p,p; r -> p,r"), 0, a));
  assert_null(contraction_derivative(parse("0,i; i -> i"), 0, a));
  assert_null(contraction_derivative(parse("p+s; r -> r"), 0, a)); /* nothing bounds p and s */
  assert_non_null(contraction_derivative(parse("2*p,p; r -> p,r"), 1, a));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(contractions_print_what_they_read),
      TEST(equal_contractions_have_equal_canonical_texts),
      TEST(malformed_texts_are_refused),
      TEST(extents_agree_or_say_why),
      TEST(derivatives_are_contractions),
      TEST(a_derivative_on_a_diagonal_is_refused),
  };
  return cmocka_run_group_tests_name("ir/contraction", tests, NULL, NULL);
}
