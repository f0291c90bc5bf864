/* Plans made for a GPU, run by the emulation of one, compute what the graphs' interpreter says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/random_graph.h"
#include "tests/unit/whole/compiled.h"

/* Products of narrow operands are for the matrix unit. */
static void check(const graph *g, random_source *r, double tolerance, product_precision how, arena *a, diagnostics *d) {
  target gpu;
  gpu_target(&gpu);
  pass_context c = {.arena = a, .diagnostics = d, .target = &gpu, .products = how};
  plan *p = run_passes(g, &c, NULL, NULL);
  bool by_teams = false;
  for (uint32_t i = 0; p && i < p->n_launches; i++) by_teams |= p->launches[i].kernel->schedule.team.rows;
  if (by_teams != (how != PRODUCTS_EXACT)) fail_msg("products are %smade by teams\n%s", how == PRODUCTS_EXACT ? "" : "not ", p ? plan_print(p, a) : "");
  if (!p) fail_msg("%s\n%s", diagnostics_render(d, a, false), graph_print(g, d->sources, a));
  const char *error = NULL;
  const graph *expected = pass_autodiff(g, &c);
  expectation e = {.graph = pass_precision(expected, &c), .tolerance = tolerance, .runs = 2};
  e.bindings = random_bindings(r, g, a, &e.n_bindings);
  e.run = graph_interpret(e.graph, e.bindings, e.n_bindings, a, &error);
  if (!e.run) fail_msg("%s", error);
  error = gpu_fault(p, &e, a);
  if (error) fail_msg("%s\n%s\n%s", error, graph_print(g, d->sources, a), plan_print(p, a));
}

static void random_graphs(void **state) {
  (void)state;
  const char *many = getenv("SSLC_RANDOM_GRAPHS");
  const int count = many ? atoi(many) : 24;
  for (int i = 0; i < count; i++) {
    arena *a = arena_new();
    diagnostics *d = diagnostics_new(a, sources_new(a));
    random_source r = {(uint64_t)i + 5000};
    check(random_graph(&r, 16, i % 3 ? DTYPE_F64 : DTYPE_F32, false, a), &r, i % 3 ? 1e-9 : 1e-3, PRODUCTS_EXACT, a, d);
    arena_free(a);
  }
}

typedef struct {
  const char *spec, *x, *y, *out;
} contraction_case;

static void check_contraction(const contraction_case *c, product_precision how) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  const char *text = arena_printf(a,
                                  "graph g {\n"
                                  "  %%1 = parameter {role=data, name=\"x\"} : f32[%s]\n"
                                  "  %%2 = parameter {role=state, name=\"y\"} : f32[%s]\n"
                                  "  %%3 = contract(%%1, %%2) {spec=\"%s\"} : f32[%s]\n"
                                  "  %%4 = tanh(%%3) : f32[%s]\n"
                                  "  result output \"out\" %%3\n"
                                  "  result output \"map\" %%4\n"
                                  "}\n",
                                  c->x, c->y, c->spec, c->out, c->out);
  graph *g = graph_parse(a, sources_add(d->sources, "t.ir", text, strlen(text)), d);
  if (!g) fail_msg("%s", diagnostics_render(d, a, false));
  random_source r = {17};
  check(g, &r, 1e-4, how, a, d);
  arena_free(a);
}

/* Sizes that no warp, tile or panel divides; long sums, which are split. */
static void contractions(void **state) {
  (void)state;
  static const contraction_case cases[] = {{"i,k; j,k -> i,j", "37,50", "45,50", "37,45"},
                                           {"i,k; k,j -> i,j", "130,67", "67,200", "130,200"},
                                           {"b,i,k; b,j,k -> b,i,j", "3,34,36", "3,40,36", "3,34,40"},
                                           {"i,k; j,k -> i,j", "3,20000", "5,20000", "3,5"},
                                           {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", "3,20,9,11", "37,20,3,3", "3,37,9,11"},
                                           {"n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", "3,3,9,11", "40,3,3,3", "3,40,5,6"},
                                           {"n,k,h-r+1,w-s+1; k,c,r,s -> n,c,h,w", "3,36,9,11", "36,40,3,3", "3,40,9,11"},
                                           {"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "7,37,5,7", "7,45,5,7", "37,45,3,3"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_contraction(&cases[i], PRODUCTS_EXACT);
}

static void contractions_by_teams(void **state) {
  (void)state;
  static const contraction_case cases[] = {{"i,k; j,k -> i,j", "70,90", "96,90", "70,96"},
                                           {"i,k; k,j -> i,j", "130,68", "68,200", "130,200"},
                                           {"b,i,k; b,j,k -> b,i,j", "3,64,32", "3,48,32", "3,64,48"},
                                           {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", "3,20,9,11", "37,20,3,3", "3,37,9,11"},
                                           {"n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", "3,32,9,11", "40,32,3,3", "3,40,5,6"},
                                           {"n,k,h-r+1,w-s+1; k,c,r,s -> n,c,h,w", "3,36,9,11", "36,40,3,3", "3,40,9,11"},
                                           {"n,k,(h-r+1)/2,(w-s+1)/2; k,c,r,s -> n,c,h,w", "3,32,5,6", "32,32,3,3", "3,32,9,11"},
                                           {"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "8,38,5,7", "8,64,5,7", "38,64,3,3"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    check_contraction(&cases[i], PRODUCTS_BF16);
    check_contraction(&cases[i], PRODUCTS_TF32);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(contractions), cmocka_unit_test(contractions_by_teams), cmocka_unit_test(random_graphs)};
  return cmocka_run_group_tests_name("whole/emulated", tests, NULL, NULL);
}
