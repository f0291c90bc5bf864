/* `sslc emit FILE --stage STAGE`: what a program, or a graph text, has become at a stage of the compiler. */
#include <stdlib.h>

#include "codegen/cpu/dump.h"
#include "codegen/cpu/host.h"
#include "codegen/cuda/architecture.h"
#include "codegen/cuda/module.h"
#include "frontend/ast.h"
#include "frontend/command_program.h"
#include "frontend/session.h"
#include "ir/scan.h"
#include "passes/passes.h"
#include "runtime/cuda_driver.h"

/* -- the pipeline up to some pass ---------------------------------------------------------------------------- */

/* What all stages are made for. */
typedef struct {
  product_precision products;
  target target;
  unsigned capability; /* of a GPU */
  const nvrtc *nvrtc;  /* where a stage wants it */
} purpose;

typedef struct {
  const pass_info *last;
  const graph *graph;
  const plan *plan;
} stop;

static bool stop_behind(void *context, const char *pass, const graph *g, const plan *p) {
  stop *s = context;
  s->graph = g;
  s->plan = p;
  return strcmp(pass, s->last->name) != 0;
}

/* False when a pass failed, which has been reported. */
static bool run_until(const command *c, const graph *g, const purpose *to, stop *s) {
  pass_context context = {.arena = c->arena, .diagnostics = c->diagnostics, .target = &to->target, .products = to->products};
  uint32_t before = c->diagnostics->errors;
  run_passes(g, &context, stop_behind, s);
  return c->diagnostics->errors == before;
}

/* -- stages ---------------------------------------------------------------------------------------------------- */

/* The text of a stage; NULL after reporting an error. */
typedef const char *stage_text(const command *c, const graph *g, const purpose *to);

static const char *text_of_graph(const command *c, const graph *g, const purpose *to) { return (void)to, graph_print(g, c->sources, c->arena); }
static const char *text_of_dot(const command *c, const graph *g, const purpose *to) { return (void)to, graph_dot(g, c->sources, c->arena); }

static const char *text_of_autodiff(const command *c, const graph *g, const purpose *to) {
  stop s = {.last = pass_table};
  while (s.last[1].graph) s.last++;
  return run_until(c, g, to, &s) ? graph_print(s.graph, c->sources, c->arena) : NULL;
}

static const char *text_of_fused(const command *c, const graph *g, const purpose *to) {
  stop s = {.last = pass_table};
  while (!s.last->fuse) s.last++;
  return run_until(c, g, to, &s) ? plan_print(s.plan, c->arena) : NULL;
}

static const plan *whole_plan(const command *c, const graph *g, const purpose *to) {
  stop s = {.last = pass_table};
  while (s.last[1].name) s.last++;
  return run_until(c, g, to, &s) ? s.plan : NULL;
}

/* A text for each distinct kernel, under a line that names it. A GPU's are those of bundles, `n` launches each. */
typedef char *launches_text(const plan_launch *l, uint32_t n, const purpose *to, arena *into, const char **error);

static char *print_loops(const plan_launch *l, uint32_t n, const purpose *to, arena *into, const char **error) { return (void)n, (void)to, (void)error, loops_print(l->loops, into); }
static char *print_llvm(const plan_launch *l, uint32_t n, const purpose *to, arena *into, const char **error) { return (void)n, (void)to, loops_llvm_text(l->loops, into, error); }
static char *print_assembly(const plan_launch *l, uint32_t n, const purpose *to, arena *into, const char **error) { return (void)n, (void)to, loops_assembly_text(l->loops, into, error); }
static char *print_cuda(const plan_launch *l, uint32_t n, const purpose *to, arena *into, const char **error) { return (void)to, launches_cuda_text(l, n, into, error); }
static char *print_ptx(const plan_launch *l, uint32_t n, const purpose *to, arena *into, const char **error) { return launches_ptx_text(l, n, to->nvrtc, to->capability, into, error); }
static char *print_sass(const plan_launch *l, uint32_t n, const purpose *to, arena *into, const char **error) { return launches_sass_text(l, n, to->nvrtc, to->capability, into, error); }

static bool add_kernels(const command *c, const plan *p, const purpose *to, const char *comment, launches_text *print, text_buffer *out) {
  for (uint32_t i = 0, end; i < p->n_launches; i = end) {
    const plan_launch *l = &p->launches[i];
    const char *error = NULL;
    end = print == print_loops ? i + 1 : plan_bundle_end(p, i);
    bool repeated = false;
    if (l->repeat) {
      if (!add_kernels(c, l->repeat->plan, to, comment, print, out)) return false;
      continue;
    }
    for (uint32_t k = 0; k < i && end == i + 1; k++) repeated |= p->launches[k].loops == l->loops && (print == print_loops || (!p->launches[k].beside && plan_bundle_end(p, k) == k + 1));
    if (repeated) continue;
    const char *text = print(l, end - i, to, c->arena, &error);
    if (!text) {
      diagnose(c->diagnostics, DIAG_PASS_FAILED, l->kernel->where, "no machine code for kernel %s: %s", l->kernel->name, error);
      return false;
    }
    const char *place = span_text(c->sources, l->kernel->where, c->arena);
    text_add(out, "%s kernel %s%s%s\n%s\n", comment, plan_bundle_name(l, end - i, c->arena), *place ? ", " : "", place, text);
  }
  return true;
}

static const char *text_of_kernels(const command *c, const plan *p, const purpose *to, const char *comment, launches_text *print) {
  text_buffer out = {.arena = c->arena};
  return p && add_kernels(c, p, to, comment, print, &out) ? text_done(&out) : NULL;
}

/* By NVIDIA's compiler. */
static const char *text_of_compiled(const command *c, const plan *p, const purpose *to, launches_text *print) {
  const char *error = NULL;
  nvrtc *opened = p ? nvrtc_open(c->arena, &error) : NULL;
  purpose with = *to;
  with.nvrtc = opened;
  if (p && !opened) diagnose(c->diagnostics, DIAG_PASS_FAILED, (span){0}, "no machine code: %s", error);
  const char *text = opened ? text_of_kernels(c, p, &with, "//", print) : NULL;
  nvrtc_close(opened);
  return text;
}

static const char *text_of_loops(const command *c, const graph *g, const purpose *to) {
  const plan *p = whole_plan(c, g, to);
  const char *lowered = text_of_kernels(c, p, to, "#", print_loops);
  return lowered ? arena_printf(c->arena, "%s\n%s", plan_print(p, c->arena), lowered) : NULL;
}

static const char *text_of_plan(const command *c, const graph *g, const purpose *to) {
  const plan *p = whole_plan(c, g, to);
  if (!p) return NULL;
  return arena_printf(c->arena, "# an arena of %lld bytes; %lld of them are in use at once\n%s", (long long)p->arena_bytes,
                      (long long)plan_live_bytes(p, c->arena), plan_print(p, c->arena));
}

static const char *text_of_llvm(const command *c, const graph *g, const purpose *to) { return text_of_kernels(c, whole_plan(c, g, to), to, ";", print_llvm); }
static const char *text_of_asm(const command *c, const graph *g, const purpose *to) { return text_of_kernels(c, whole_plan(c, g, to), to, "#", print_assembly); }
static const char *text_of_cuda(const command *c, const graph *g, const purpose *to) { return text_of_kernels(c, whole_plan(c, g, to), to, "//", print_cuda); }
static const char *text_of_ptx(const command *c, const graph *g, const purpose *to) { return text_of_compiled(c, whole_plan(c, g, to), to, print_ptx); }
static const char *text_of_sass(const command *c, const graph *g, const purpose *to) { return text_of_compiled(c, whole_plan(c, g, to), to, print_sass); }

/* Every choice of --stage. */
static const struct {
  const char *name;
  stage_text *text; /* NULL: of the syntax tree */
  bool of_gpu;
} stages[] = {
    {"ast", NULL},
    {"graph", text_of_graph},
    {"dot", text_of_dot},
    {"autodiff", text_of_autodiff},
    {"fused", text_of_fused},
    {"plan", text_of_plan},
    {"kernels", text_of_loops},
    {"llvm", text_of_llvm},
    {"asm", text_of_asm},
    {"cuda", text_of_cuda, true},
    {"ptx", text_of_ptx, true},
    {"sass", text_of_sass, true},
};

/* -- what it is a stage of ------------------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

static void show(const command *c, stage_text *text, const graph *g, const purpose *to) {
  const char *shown = text(c, g, to);
  if (shown) fputs(shown, stdout);
}

/* The experiment of a program; NULL after reporting, or saying, what is wrong. */
static experiment *lower(const command *c, uint32_t file, const program_arguments *a, open_data *data) {
  sslc_override *given = ARENA_ARRAY(c->arena, sslc_override, a->set.n + 1);
  option_override *overrides = ARENA_ARRAY(c->arena, option_override, a->set.n + 1);
  if (!program_overrides(c, a, given)) return command_fail("--set wants name=value"), NULL;
  for (uint32_t i = 0; i < a->set.n; i++) overrides[i] = (option_override){given[i].name, given[i].text};
  data_catalog catalog = {data, open_data_describe, open_data_read, open_data_weights};
  lower_options o = {program_precision(a) == SSLC_F64 ? DTYPE_F64 : DTYPE_F32, overrides, a->set.n, &catalog, session_read_text, NULL};
  return lower_program(file, &o, c->diagnostics, c->arena);
}

static int emit_program(const command *c, uint32_t file, const program_arguments *a, stage_text *text, const char *which, purpose *to) {
  open_data data = {.root = session_data_root(a->data_root, c->args[0], c->arena), .arena = c->arena};
  experiment *x = lower(c, file, a, &data);
  if (x) to->products = products_of(program_precision(a), x);
  if (x && !strcmp(which, "init")) show(c, text, x->init, to);
  for (uint32_t i = 0; x && i < x->n_phases && !strcmp(which, "step"); i++) show(c, text, x->phases[i].graph, to);
  for (uint32_t i = 0; x && i < x->n_evals && !strcmp(which, "eval"); i++) show(c, text, x->evals[i].graph, to);
  open_data_release(&data);
  int status = command_finish(c);
  return x ? status : EXIT_FAILED;
}

static int emit_graph(const command *c, uint32_t file, stage_text *text, const purpose *to) {
  graph *g = graph_parse(c->arena, file, c->diagnostics);
  if (g) show(c, text, g, to);
  return command_finish(c);
}

/* "sm_90" or "sm_90a": the letter goes without saying. 0: neither. */
static unsigned capability_of(const char *text) {
  unsigned number = 0;
  int read = 0;
  if (sscanf(text, "sm_%3u%n", &number, &read) != 1 || number < 50) return 0;
  return !text[read] || !strcmp(text + read, "a") ? number : 0;
}

/* Of a GPU of this machine; 0 after saying why not. */
static unsigned capability_here(int number) {
  cuda_driver d;
  cuda_facts found;
  char *error = NULL;
  const bool open = cuda_driver_open(&d, &error), good = open && cuda_describe(&d, number, &found, &error);
  if (!good) command_fail("%s", error);
  free(error);
  if (open) cuda_driver_close(&d);
  return good ? found.capability : 0;
}

/* Plans and loops are made for this processor, or for the GPU that is named. The exit code. */
static int make_purpose(const program_arguments *a, const char *architecture, bool of_gpu, const char *form, purpose *out) {
  int number;
  *out = (purpose){0};
  if (!program_device(a, form, &number)) return EXIT_USAGE;
  if (number == BEST) number = PROCESSOR; /* the same text wherever it is made */
  if (number != PROCESSOR && architecture) return command_usage(form, "--device %s has an architecture of its own; leave --arch or --device out", a->device);
  if (number == PROCESSOR && !architecture && !of_gpu) return host_target(&out->target), EXIT_GOOD;
  out->capability = number == PROCESSOR ? capability_of(architecture ? architecture : "sm_80") : capability_here(number);
  if (out->capability) return cuda_target(out->capability, &out->target), EXIT_GOOD;
  return number == PROCESSOR ? command_usage(form, "--arch takes a GPU such as sm_80 or sm_90, got %s", architecture) : EXIT_FAILED;
}

int command_emit(command *c) {
  const char *form = "emit --stage STAGE [options] FILE";
  const char *wanted = NULL, *which = "step", *architecture = NULL;
  purpose to;
  program_arguments a = PROGRAM_DEFAULTS;
  const command_option options[] = {{"--stage", OPTION_TEXT, &wanted, "ast|graph|dot|autodiff|fused|plan|kernels|llvm|asm|cuda|ptx|sass", "how far down"},
                                    {"--arch", OPTION_TEXT, &architecture, "sm_90", "for a GPU of that kind: cuda, ptx and sass (sm_80), and plan and kernels"},
                                    DEVICE_OPTION(a),
                                    {"--graph", OPTION_TEXT, &which, "init|step|eval", "of which part of the program (step)"},
                                    MEANING_OPTIONS(a),
                                    {NULL}};
  if (!command_options(c, options, 1, form)) return c->status;
  if (!wanted) return command_usage(form, "emit wants a stage");
  uint32_t file = command_load(c, c->args[0]), at = 0;
  if (!file) return EXIT_FAILED;
  while (strcmp(stages[at].name, wanted) != 0) at++;
  int status = make_purpose(&a, architecture, stages[at].of_gpu, form, &to);
  if (status) return status;
  if (to.capability && (!strcmp(wanted, "llvm") || !strcmp(wanted, "asm"))) return command_usage(form, "%s is of this processor: it takes no --arch and no --device", wanted);
  bool is_graph = ends_with(c->args[0], ".graph");
  if (is_graph && !stages[at].text) return command_usage(form, "a graph text has no syntax tree; its stages begin with graph");
  to.products = products_of(program_precision(&a), NULL);
  if (is_graph) return emit_graph(c, file, stages[at].text, &to);
  if (stages[at].text) return emit_program(c, file, &a, stages[at].text, which, &to);
  fputs(ast_print(parse_program(file, c->diagnostics, c->arena), c->arena), stdout);
  return command_finish(c);
}
