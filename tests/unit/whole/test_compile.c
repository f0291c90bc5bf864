/* From a graph to machine code: what a compiled plan computes is what the interpreter says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/random_graph.h"
#include "tests/unit/whole/compiled.h"

static graph *parse(const char *text, arena *a, diagnostics *d) {
  graph *g = graph_parse(a, sources_add(d->sources, "t.ir", text, strlen(text)), d);
  if (!g) fail_msg("%s", diagnostics_render(d, a, false));
  return g;
}

/* Compiles the graph, runs it `runs` times on each of 1 and 2 threads, and compares every result of the first run with the
 * interpreter's, and the results of both thread counts bit by bit. */
static void check_for(const target *machine, const graph *g, const graph_binding *bindings, uint32_t n, double tolerance, int runs, arena *a,
                      diagnostics *d) {
  pass_context c = {.arena = a, .diagnostics = d, .target = machine};
  plan *p = run_passes(g, &c, NULL, NULL);
  if (!p) fail_msg("%s\n%s", diagnostics_render(d, a, false), graph_print(g, d->sources, a));
  const char *error = NULL;
  expectation e = {.graph = pass_autodiff(g, &c), .bindings = bindings, .n_bindings = n, .tolerance = tolerance, .runs = runs};
  e.run = graph_interpret(e.graph, bindings, n, a, &error);
  if (!e.run) fail_msg("%s", error);
  error = compiled_fault(p, &e, &(compile_options){.threads = 1}, a);
  if (error) fail_msg("%s\n%s\n%s", error, graph_print(g, d->sources, a), plan_print(p, a));
}

static void check(const graph *g, const graph_binding *bindings, uint32_t n, double tolerance, int runs, arena *a, diagnostics *d) {
  target host;
  host_target(&host);
  check_for(&host, g, bindings, n, tolerance, runs, a, d);
}

static void check_text(const char *text, double tolerance, int runs) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  graph *g = parse(text, a, d);
  random_source r = {17};
  uint32_t n;
  graph_binding *bindings = random_bindings(&r, g, a, &n);
  check(g, bindings, n, tolerance, runs, a, d);
  arena_free(a);
}

static void a_linear_encoder_trains(void **state) {
  (void)state;
  /* The thin thread: y = x w + b, squared error, gradients, SGD; state is replaced in place. */
  check_text("graph step {\n"
             "  %1 = parameter {role=state, name=\"w\"} : f32[5,19]\n"
             "  %2 = parameter {role=state, name=\"b\"} : f32[5]\n"
             "  %3 = parameter {role=data, name=\"x\"} : f32[33,19]\n"
             "  %4 = parameter {role=data, name=\"y\"} : f32[33,5]\n"
             "  %5 = contract(%3, %1) {spec=\"i,k; j,k -> i,j\"} : f32[33,5]\n"
             "  %6 = broadcast(%2) {axes=[1]} : f32[33,5]\n"
             "  %7 = add(%5, %6) : f32[33,5]\n"
             "  %8 = sub(%7, %4) : f32[33,5]\n"
             "  %9 = mul(%8, %8) : f32[33,5]\n"
             "  %10 = reduce_sum(%9) {axes=[0,1]} : f32[]\n"
             "  %11 = constant {value=0.006060606} : f32[]\n"
             "  %12 = mul(%10, %11) : f32[]\n"
             "  %13, %14 = grad(%12, %1, %2) : f32[5,19], f32[5]\n"
             "  %15 = constant {value=0.1} : f32[5,19]\n"
             "  %16 = mul(%13, %15) : f32[5,19]\n"
             "  %17 = sub(%1, %16) : f32[5,19]\n"
             "  %18 = constant {value=0.1} : f32[5]\n"
             "  %19 = mul(%14, %18) : f32[5]\n"
             "  %20 = sub(%2, %19) : f32[5]\n"
             "  result state \"w\" %17\n"
             "  result state \"b\" %20\n"
             "  result metric \"loss\" %12\n"
             "}\n", 1e-5, 5);
}

static void a_convolution_trains(void **state) {
  (void)state;
  for (int wide = 0; wide < 2; wide++) {
    const char *t = wide ? "f64" : "f32";
    char text[4096];
    snprintf(text, sizeof text,
             "graph step {\n"
             "  %%1 = parameter {role=state, name=\"w\"} : %s[20,3,3,3]\n"
             "  %%2 = parameter {role=data, name=\"x\"} : %s[4,3,7,6]\n"
             "  %%3 = contract(%%2, %%1) {spec=\"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q\"} : %s[4,20,7,6]\n"
             "  %%4 = constant {value=0} : %s[4,20,7,6]\n"
             "  %%5 = max(%%4, %%3) : %s[4,20,7,6]\n"
             "  %%6 = slice(%%5) {start=[0,0,0,0], stop=[4,20,6,6], stride=[1,1,2,2]} : %s[4,20,3,3]\n"
             "  %%7 = slice(%%5) {start=[0,0,1,1], stop=[4,20,7,6], stride=[1,1,2,2]} : %s[4,20,3,3]\n"
             "  %%8 = max(%%6, %%7) : %s[4,20,3,3]\n"
             "  %%9 = reduce_sum(%%8) {axes=[2,3]} : %s[4,20]\n"
             "  %%10 = tanh(%%9) : %s[4,20]\n"
             "  %%11 = reduce_sum(%%10) {axes=[0,1]} : %s[]\n"
             "  %%12, %%13 = grad(%%11, %%1, %%2) : %s[20,3,3,3], %s[4,3,7,6]\n"
             "  %%14 = sub(%%1, %%12) : %s[20,3,3,3]\n"
             "  result state \"w\" %%14\n"
             "  result output \"dx\" %%13\n"
             "  result metric \"loss\" %%11\n"
             "}\n", t, t, t, t, t, t, t, t, t, t, t, t, t, t);
    check_text(text, wide ? 1e-12 : 1e-4, 2);
  }
}

/* Caches so small that sums over a few images are streamed through them, one image at a time and several, with
 * a rest; sizes that no tile divides. */
static void weight_gradients_are_streamed(void **state) {
  (void)state;
  static const struct {
    const char *spec, *dy, *x, *dw;
    int64_t l1, l2;
  } cases[] = {{"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "7,37,5,7", "7,45,5,7", "37,45,3,3", 4 << 10, 96 << 10},
               {"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "7,37,5,7", "7,45,5,7", "37,45,3,3", 20 << 10, 96 << 10},
               {"n,k,p,q; n,c,p+r,q+s -> c,k,r,s", "7,37,5,7", "7,45,7,9", "45,37,3,3", 20 << 10, 96 << 10},
               {"n,k,p,q; n,c,2*p,2*q -> k,c", "7,200,3,5", "7,75,5,9", "200,75", 4 << 10, 32 << 10}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    diagnostics *d = diagnostics_new(a, sources_new(a));
    graph *g = parse(arena_printf(a,
                                  "graph g {\n"
                                  "  %%1 = parameter {role=state, name=\"dy\"} : f32[%s]\n"
                                  "  %%2 = parameter {role=state, name=\"x\"} : f32[%s]\n"
                                  "  %%3 = contract(%%1, %%2) {spec=\"%s\"} : f32[%s]\n"
                                  "  %%4 = sqrt(%%3) : f32[%s]\n"
                                  "  result output \"dw\" %%3\n"
                                  "  result output \"root\" %%4\n"
                                  "}\n",
                                  cases[i].dy, cases[i].x, cases[i].spec, cases[i].dw, cases[i].dw),
                     a, d);
    random_source r = {17};
    uint32_t n;
    graph_binding *bindings = random_bindings(&r, g, a, &n);
    target t;
    host_target(&t);
    t.l1_bytes = cases[i].l1;
    t.l2_bytes = cases[i].l2;
    check_for(&t, g, bindings, n, 1e-4, 1, a, d);
    arena_free(a);
  }
}

/* Products of bf16 in their default schedules: in pairs where a sum is even, along the batch in weight gradients; sizes that no
 * tile divides, sums that are streamed. */
static void products_of_bf16_come_in_pairs(void **state) {
  (void)state;
  static const struct {
    const char *spec, *x, *y, *out;
    int64_t l1;
    bool pairs;
  } cases[] = {{"i,k; j,k -> i,j", "37,50", "45,50", "37,45", 32 << 10, true},
               {"i,k; k,j -> i,j", "64,51", "51,48", "64,48", 32 << 10, false},
               {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", "6,20,9,11", "37,20,3,3", "6,37,9,11", 32 << 10, true},
               {"n,k,h-r+1,w-s+1; k,c,r,s -> n,c,h,w", "6,36,9,11", "36,40,3,3", "6,40,9,11", 32 << 10, true},
               {"n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", "6,20,9,11", "37,20,3,3", "6,37,5,6", 32 << 10, true},
               {"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "6,37,9,11", "6,45,9,11", "37,45,3,3", 32 << 10, true},
               {"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "10,37,9,11", "10,45,9,11", "37,45,3,3", 4 << 10, true},
               {"n,k; n,c -> k,c", "90,130", "90,70", "130,70", 4 << 10, true},
               {"b,i,k; b,j,k -> b,i,j", "3,34,36", "3,40,36", "3,34,40", 32 << 10, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    diagnostics *d = diagnostics_new(a, sources_new(a));
    graph *g = parse(arena_printf(a,
                                  "graph g {\n"
                                  "  %%1 = parameter {role=state, name=\"x\"} : bf16[%s]\n"
                                  "  %%2 = parameter {role=state, name=\"y\"} : bf16[%s]\n"
                                  "  %%3 = cast(%%1) : f32[%s]\n"
                                  "  %%4 = cast(%%2) : f32[%s]\n"
                                  "  %%5 = contract(%%3, %%4) {spec=\"%s\"} : f32[%s]\n"
                                  "  result output \"out\" %%5\n"
                                  "}\n",
                                  cases[i].x, cases[i].y, cases[i].x, cases[i].y, cases[i].spec, cases[i].out),
                     a, d);
    random_source r = {17};
    uint32_t n;
    graph_binding *bindings = random_bindings(&r, g, a, &n);
    target t;
    host_target(&t);
    t.tiles = false;
    t.l1_bytes = cases[i].l1;
    pass_context c = {.arena = a, .diagnostics = d, .target = &t};
    plan *p = run_passes(g, &c, NULL, NULL);
    assert_non_null(p);
    if (!strstr(plan_print(p, a), " pair") == cases[i].pairs) fail_msg("case %zu: %s", i, plan_print(p, a));
    check_for(&t, g, bindings, n, 1e-5, 1, a, d);
    arena_free(a);
  }
}

/* The same in tiles of a matrix unit, which machines without one interpret: whole tiles and short ones, taps that run over the ends of rows,
 * strides, sums that are kept in memory between pieces of a batch, and a map that reads them. */
static void products_of_bf16_come_in_tiles(void **state) {
  (void)state;
  static const struct {
    const char *spec, *x, *y, *out;
    int64_t l1, l2;
    bool refused; /* taps in a loop: rows end where it decides */
  } cases[] = {{"i,k; j,k -> i,j", "48,64", "96,64", "48,96", 32 << 10, 1 << 20},
               {"i,k; k,j -> i,j", "44,32", "32,16", "44,16", 32 << 10, 1 << 20},
               {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", "2,32,5,32", "64,32,3,3", "2,64,5,32", 32 << 10, 1 << 20},
               {"n,c,p+r-2,q+s-2; k,c,r,s -> n,k,p,q", "2,64,3,48", "32,64,5,5", "2,32,3,48", 32 << 10, 1 << 20, .refused = true},
               {"n,c,p+r-1,q+s-1; k,c,r,s -> n,k,p,q", "2,64,4,10", "16,64,3,3", "2,16,4,10", 32 << 10, 1 << 20},
               {"n,k,h-r+1,w-s+1; k,c,r,s -> n,c,h,w", "2,32,5,16", "32,64,3,3", "2,64,5,16", 32 << 10, 1 << 20},
               {"n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q", "2,32,9,17", "64,32,3,3", "2,64,5,9", 32 << 10, 1 << 20},
               {"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "32,48,3,5", "32,64,3,5", "48,64,3,3", 32 << 10, 1 << 20},
               {"n,k,p,q; n,c,p+r-1,q+s-1 -> k,c,r,s", "64,16,3,5", "64,32,3,5", "16,32,3,3", 4 << 10, 96 << 10},
               {"n,k; n,c -> k,c", "96,64", "96,32", "64,32", 4 << 10, 96 << 10},
               {"b,i,k; b,j,k -> b,i,j", "3,32,32", "3,64,32", "3,32,64", 32 << 10, 1 << 20}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    diagnostics *d = diagnostics_new(a, sources_new(a));
    graph *g = parse(arena_printf(a,
                                  "graph g {\n"
                                  "  %%1 = parameter {role=state, name=\"x\"} : bf16[%s]\n"
                                  "  %%2 = parameter {role=state, name=\"y\"} : bf16[%s]\n"
                                  "  %%3 = cast(%%1) : f32[%s]\n"
                                  "  %%4 = cast(%%2) : f32[%s]\n"
                                  "  %%5 = contract(%%3, %%4) {spec=\"%s\"} : f32[%s]\n"
                                  "  %%6 = abs(%%5) : f32[%s]\n"
                                  "  result output \"out\" %%5\n"
                                  "  result output \"abs\" %%6\n"
                                  "}\n",
                                  cases[i].x, cases[i].y, cases[i].x, cases[i].y, cases[i].spec, cases[i].out, cases[i].out),
                     a, d);
    random_source r = {17};
    expectation e = {.graph = g, .tolerance = 1e-5, .runs = 1};
    const char *error = NULL;
    e.bindings = random_bindings(&r, g, a, &e.n_bindings);
    e.run = graph_interpret(g, e.bindings, e.n_bindings, a, &error);
    target t;
    host_target(&t);
    bool runs = t.tiles;
    t = (target){.tiles = true, .vector_bytes = 64, .vector_registers = 32, .l1_bytes = cases[i].l1, .l2_bytes = cases[i].l2};
    pass_context c = {.arena = a, .diagnostics = d, .target = &t};
    plan *p = run_passes(g, &c, NULL, NULL);
    if (!p) fail_msg("case %zu: %s", i, diagnostics_render(d, a, false));
    if (!strstr(plan_print(p, a), " tile") != cases[i].refused) fail_msg("case %zu: %s", i, plan_print(p, a));
    error = interpreted_fault(p, &e, a);
    if (!error && runs) error = compiled_fault(p, &e, &(compile_options){.threads = 1}, a);
    if (error) fail_msg("case %zu: %s\n%s", i, error, plan_print(p, a));
    arena_free(a);
  }
}

static void rows_softmax(void **state) {
  (void)state;
  check_text("graph g {\n"
             "  %1 = parameter {role=data, name=\"x\"} : f32[37,45]\n"
             "  %2 = reduce_max(%1) {axes=[1]} : f32[37]\n"
             "  %3 = broadcast(%2) {axes=[0]} : f32[37,45]\n"
             "  %4 = sub(%1, %3) : f32[37,45]\n"
             "  %5 = exp(%4) : f32[37,45]\n"
             "  %6 = reduce_sum(%5) {axes=[1]} : f32[37]\n"
             "  %7 = broadcast(%6) {axes=[0]} : f32[37,45]\n"
             "  %8 = div(%5, %7) : f32[37,45]\n"
             "  %9 = argmax(%8) {axis=1} : i32[37]\n"
             "  result output \"p\" %8\n"
             "  result output \"best\" %9\n"
             "}\n", 1e-5, 1);
}

static void random_graphs_compile_to_what_they_mean(void **state) {
  (void)state;
  const char *many = getenv("SSLC_RANDOM_GRAPHS");
  int count = many ? atoi(many) : 40;
  for (int i = 0; i < count; i++) {
    arena *a = arena_new();
    diagnostics *d = diagnostics_new(a, sources_new(a));
    random_source r = {(uint64_t)i + 1000};
    graph *g = random_graph(&r, 16, DTYPE_F64, false, a);
    uint32_t n;
    graph_binding *bindings = random_bindings(&r, g, a, &n);
    target t;
    host_target(&t);
    if (i % 2) t.l1_bytes = 256, t.l2_bytes = 8 << 10; /* sums over a few elements are streamed */
    check_for(&t, g, bindings, n, 1e-9, 1, a, d);
    arena_free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_linear_encoder_trains),
      cmocka_unit_test(a_convolution_trains),
      cmocka_unit_test(weight_gradients_are_streamed),
      cmocka_unit_test(products_of_bf16_come_in_pairs),
      cmocka_unit_test(products_of_bf16_come_in_tiles),
      cmocka_unit_test(rows_softmax),
      cmocka_unit_test(random_graphs_compile_to_what_they_mean),
  };
  return cmocka_run_group_tests_name("whole/compile", tests, NULL, NULL);
}
