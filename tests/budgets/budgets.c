/* What NVIDIA's compiler says of every kernel of every example: registers, memory on the chip, what is spilled; none may take more than
 * its budget. Needs no GPU.
 *   budgets CAPABILITY f32|bf16 TABLE CACHE PROGRAM...
 * compiles for sm_CAPABILITY and writes a line for each kernel into TABLE. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/cuda/architecture.h"
#include "codegen/cuda/executable.h"
#include "ir/work.h"
#include "passes/passes.h"
#include "tests/invented_data.h"

typedef struct {
  const char *what; /* kernels */
  uint32_t registers, shared_bytes, spilled_bytes, local_bytes; /* at most */
} budget;

/* What a product keeps in registers it is made for: all that a thread can have, and nothing spilled. Other kernels wait for memory: with
 * 192 registers a multiprocessor still has 320 threads of them. Threads that work alone keep an array of a crop's ten tries. */
static const budget contractions = {"contraction", 255, 96 << 10, 0, 0}, by_groups = {"by groups", 255, 227 << 10, 0, 0}, others = {"other kernel", 192, 96 << 10, 0, 64};

typedef struct {
  unsigned capability;
  product_precision products;
  const nvrtc *nvrtc;
  const char *cache;
  FILE *table;
  uint32_t kernels, refused;
} inspection;

/* Of the example at hand. */
typedef struct {
  inspection *of;
  const char *name;
  uint32_t kernels, contractions, spilling;
  cuda_kernel most; /* each figure's largest */
} example;

static void raise(uint32_t *most, uint32_t to) { *most = to > *most ? to : *most; }

static const char *excess(const cuda_kernel *k, const budget *b) {
  return k->registers > b->registers         ? "registers"
         : k->shared_bytes > b->shared_bytes ? "bytes of shared memory"
         : k->spilled_bytes > b->spilled_bytes ? "spilled bytes"
         : k->local_bytes > b->local_bytes     ? "local bytes"
                                               : NULL;
}

static void inspect(example *e, const char *which, const cuda_kernel *k, const kernel *made_of, const diagnostics *d, arena *a) {
  const bool contracts = kernel_work_of(made_of).flops > 0;
  const budget *b = made_of->schedule.team.groups ? &by_groups : contracts ? &contractions : &others;
  const char *too_many = excess(k, b), *place = span_text(d->sources, made_of->where, a);
  fprintf(e->of->table, "%-16s %-8s %-40s %-12s %9" PRId64 " %7u %9u %6u %7u %5u  %s\n", e->name, which, k->name, b->what, k->blocks, k->threads, k->registers, k->shared_bytes,
          k->spilled_bytes, k->local_bytes, place);
  e->kernels++;
  e->contractions += contracts;
  e->spilling += k->spilled_bytes > 0;
  raise(&e->most.registers, k->registers);
  raise(&e->most.shared_bytes, k->shared_bytes);
  raise(&e->most.spilled_bytes, k->spilled_bytes);
  raise(&e->most.local_bytes, k->local_bytes);
  if (!too_many) return;
  e->of->refused++;
  fprintf(stderr, "%s, kernel %s (%s, %s): more %s than the budget of %ss: %u registers, %u bytes shared, %u spilled, %u local\n", e->name, k->name, which, place, too_many, b->what,
          k->registers, k->shared_bytes, k->spilled_bytes, k->local_bytes);
}

/* Kernels of launches in the order in which codegen counts them, of bundles the first, from `at` on; returns behind the last. */
static uint32_t collect_kernels(const plan *p, const kernel **out, uint32_t at) {
  for (uint32_t i = 0; i < p->n_launches; i = plan_bundle_end(p, i)) {
    if (p->launches[i].repeat) at = collect_kernels(p->launches[i].repeat->plan, out, at);
    else if (out) out[at++] = p->launches[i].kernel;
    else at++;
  }
  return at;
}

static bool inspect_graph(example *e, const graph *g, const char *which, diagnostics *d, arena *a) {
  inspection *of = e->of;
  target gpu;
  const char *error = NULL;
  compile_report report;
  cuda_target(of->capability, &gpu);
  pass_context c = {.arena = a, .diagnostics = d, .target = &gpu, .products = of->products};
  const plan *p = run_passes(g, &c, NULL, NULL);
  if (!p) return fprintf(stderr, "%s, %s: %s\n", e->name, which, diagnostics_render(d, a, false)), false;
  const compile_options options = {.cache_directory = of->cache, .threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
  cuda_executable *code = executable_compile_cuda(p, of->nvrtc, of->capability, &options, &report, &error);
  if (!code) return fprintf(stderr, "%s, %s, %s: %s\n", e->name, which, span_text(d->sources, report.failed, a), error), false;
  const kernel **made_of = ARENA_ARRAY(a, const kernel *, collect_kernels(p, NULL, 0) + 1);
  collect_kernels(p, made_of, 0);
  uint32_t n, n_launches;
  const cuda_kernel *kernels = cuda_executable_kernels(code, &n);
  const cuda_launch *launches = cuda_executable_launches(code, &n_launches);
  for (uint32_t k = 0; k < n; k++) {
    uint32_t first = 0;
    while (launches[first].kernel != k) first++;
    inspect(e, which, &kernels[k], made_of[first], d, a);
  }
  cuda_executable_free(code);
  return true;
}

static bool inspect_program(inspection *of, const char *path) {
  arena *a = arena_new();
  diagnostics *d = diagnostics_new(a, sources_new(a));
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  example e = {.of = of, .name = name};
  size_t length;
  const char *text = session_read_text(NULL, path, &length, a);
  open_data files = {.root = "", .arena = a};
  invented_data invented = {&files, 20000, 5000, false};
  data_catalog catalog = {&invented, describe_invented};
  const lower_options o = {.real = DTYPE_F32, .catalog = &catalog, .read_file = session_read_text};
  const experiment *x = text ? lower_program(sources_add(d->sources, name, text, (uint32_t)length), &o, d, a) : NULL;
  open_data_release(&files);
  bool good = x && inspect_graph(&e, x->init, "init", d, a);
  if (!x) fprintf(stderr, "%s: %s\n", path, text ? diagnostics_render(d, a, false) : "cannot be read");
  for (uint32_t i = 0; good && i < x->n_phases; i++) good = inspect_graph(&e, x->phases[i].graph, "step", d, a);
  for (uint32_t i = 0; good && i < x->n_evals; i++) good = inspect_graph(&e, x->evals[i].graph, "eval", d, a);
  printf("%-18s %7u %12u %10u %8u %8u %7u\n", name, e.kernels, e.contractions, e.most.registers, e.most.shared_bytes, e.most.spilled_bytes, e.most.local_bytes);
  of->kernels += e.kernels;
  arena_free(a);
  return good;
}

int main(int argc, char **argv) {
  if (argc < 6) return fprintf(stderr, "usage: budgets CAPABILITY f32|bf16 TABLE CACHE PROGRAM...\n"), 2;
  arena *a = arena_new();
  const char *error = NULL;
  nvrtc *n = nvrtc_open(a, &error);
  inspection all = {.capability = (unsigned)atoi(argv[1]), .products = !strcmp(argv[2], "bf16") ? PRODUCTS_BF16 : !strcmp(argv[2], "tf32") ? PRODUCTS_TF32 : PRODUCTS_EXACT, .nvrtc = n, .cache = argv[4], .table = n ? fopen(argv[3], "w") : NULL};
  bool good = all.table;
  if (!good) fprintf(stderr, "%s\n", n ? argv[3] : error);
  if (good) {
    fprintf(all.table, "%-16s %-8s %-40s %-12s %9s %7s %9s %6s %7s %5s  %s\n", "program", "graph", "kernel", "kind", "blocks", "threads", "registers", "shared", "spilled", "local", "place");
    printf("sm_%-15u %7s %12s %10s %8s %8s %7s   the most of each\n", all.capability, "kernels", "contractions", "registers", "shared", "spilled", "local");
  }
  for (int i = 5; good && i < argc; i++) good = inspect_program(&all, argv[i]);
  printf("%u kernels of %s, %u beyond their budgets\n", all.kernels, argv[2], all.refused);
  if (all.table) good &= !fclose(all.table);
  nvrtc_close(n);
  arena_free(a);
  return !good || all.refused;
}
