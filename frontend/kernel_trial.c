#include "frontend/kernel_trial.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "passes/passes.h"

const char *const trial_in_role = "data", *const trial_out_role = "output";

plan *trial_plan(kernel *k, const loops *lowered, arena *a) {
  plan *p = plan_new(a, k->name);
  uint32_t *places = ARENA_ARRAY(a, uint32_t, k->n_buffers);
  for (uint32_t i = 0; i < k->n_buffers; i++) {
    const kernel_buffer *b = &k->buffers[i];
    bool in = b->access == ACCESS_IN;
    places[i] = plan_add_buffer(p, (plan_buffer){.name = b->name, .role = in ? trial_in_role : trial_out_role, .type = b->type, .layout = b->layout,
                                                 .storage = in ? STORAGE_DATA : STORAGE_RESULT, .alias = -1,
                                                 .bytes = layout_bytes(&b->layout, &b->type)});
  }
  plan_add_launch(p, k, places);
  p->launches[0].loops = lowered;
  return p;
}

/* -- inputs ------------------------------------------------------------------------------------------------ */

static uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's generator of 64 bits */
  return *state >> 32;
}

static scalar plain_element(dtype t, uint64_t *seed) {
  uint64_t bits = next_random(seed);
  if (dtype_is_real(t)) return (scalar){.real = (double)bits / 4294967296.0 * 4 - 2};
  return (scalar){.integer = (int64_t)(bits % (t == DTYPE_BOOL ? 2 : 37))};
}

/* Zeros of both signs, equal values, the smallest, the largest and what is no number. */
static scalar odd_element(dtype t, bool finite, uint64_t *seed) {
  static const double reals[] = {0, -0.0, 1, 1, -1, 0.5, 1e-45, -1e-38, INFINITY, -INFINITY, NAN};
  static const int64_t integers[] = {0, 1, -1, INT32_MIN, INT32_MAX};
  uint64_t bits = next_random(seed);
  if (dtype_is_real(t)) return (scalar){.real = reals[bits % (sizeof reals / sizeof *reals - (finite ? 3 : 0))]};
  return (scalar){.integer = t == DTYPE_BOOL ? (int64_t)(bits % 2) : integers[bits % (sizeof integers / sizeof *integers)]};
}

void trial_fill(const tensor_type *t, void *data, uint64_t rarity, bool finite, uint64_t *seed) {
  for (int64_t i = 0; i < type_elements(t); i++) {
    bool odd = rarity && next_random(seed) % rarity == 0;
    element_store(t->dtype, data, i, odd ? odd_element(t->dtype, finite, seed) : plain_element(t->dtype, seed));
  }
}

/* -- comparing --------------------------------------------------------------------------------------------- */

double trial_points(const kernel *k, axis_set axes) {
  double n = 1;
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (axes >> i & 1) n *= (double)k->axes[i].extent;
  return n;
}

double trial_longest_reduction(const kernel *k) {
  double longest = 1;
  for (uint32_t i = 0; i < k->n_stages; i++) longest = fmax(longest, trial_points(k, k->stages[i].reduced));
  return longest;
}

double trial_tolerance(const kernel *k, dtype t) {
  if (t == DTYPE_BF16) return 4e-2; /* sums are kept in f32 */
  return sqrt(trial_longest_reduction(k)) * (t == DTYPE_F64 ? 1e-14 : 4e-6);
}

int64_t trial_difference(const tensor_type *t, const void *found, const void *expected, double tolerance) {
  int64_t n = type_elements(t), finite = 0;
  double square = 0;
  for (int64_t i = 0; dtype_is_real(t->dtype) && i < n; i++) {
    double y = element_load(t->dtype, expected, i).real;
    if (isfinite(y)) square += y * y, finite++;
  }
  double usual = finite ? sqrt(square / (double)finite) : 0;
  for (int64_t i = 0; i < n; i++) {
    scalar x = element_load(t->dtype, found, i), y = element_load(t->dtype, expected, i);
    bool same = x.integer == y.integer;
    if (dtype_is_real(t->dtype))
      same = x.real == y.real || (isnan(x.real) && isnan(y.real)) || fabs(x.real - y.real) <= tolerance * (fabs(y.real) + usual);
    if (!same) return i;
  }
  return -1;
}

/* -- timing schedules -------------------------------------------------------------------------------------- */

struct kernel_bench {
  uint32_t n;
  void **buffers;        /* of the kernel */
  void **expected;       /* of outputs: what the first schedule made; NULL before */
  tensor_type *elements; /* as they lie in memory, padding of layouts included */
};

void kernel_bench_free(kernel_bench *b) {
  if (!b) return;
  for (uint32_t i = 0; i < b->n; i++) {
    if (b->buffers) free(b->buffers[i]);
    if (b->expected) free(b->expected[i]);
  }
  free(b->buffers);
  free(b->expected);
  free(b->elements);
  free(b);
}

static bool make_buffers(kernel_bench *b, const kernel *k) {
  uint64_t seed = 1;
  b->buffers = calloc(b->n, sizeof *b->buffers);
  b->expected = calloc(b->n, sizeof *b->expected);
  b->elements = calloc(b->n, sizeof *b->elements);
  if (!b->buffers || !b->expected || !b->elements) return false;
  for (uint32_t i = 0; i < b->n; i++) {
    const kernel_buffer *of = &k->buffers[i];
    int64_t n = layout_elements(&of->layout, &of->type);
    size_t bytes = ((size_t)n * dtype_bytes(of->type.dtype) + 63) / 64 * 64;
    b->elements[i] = make_type(of->type.dtype, 1, &n);
    if (!(b->buffers[i] = aligned_alloc(64, bytes))) return false;
    memset(b->buffers[i], 0, bytes);
    if (of->access == ACCESS_IN) trial_fill(&b->elements[i], b->buffers[i], 0, true, &seed);
  }
  return true;
}

kernel_bench *kernel_bench_new(const kernel *k) {
  kernel_bench *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->n = k->n_buffers;
  if (make_buffers(b, k)) return b;
  kernel_bench_free(b);
  return NULL;
}

static double read_clock(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double kernel_bench_clock(void *context) {
  (void)context;
  return read_clock(CLOCK_MONOTONIC);
}

static double run_once(kernel_bench *b, const executable_launch *l) {
  double start = read_clock(CLOCK_THREAD_CPUTIME_ID);
  l->entry(b->buffers, 0, l->iterations);
  return read_clock(CLOCK_THREAD_CPUTIME_ID) - start;
}

static bool outputs_agree(kernel_bench *b, const kernel *k) {
  for (uint32_t i = 0; i < b->n; i++) {
    size_t bytes = (size_t)type_bytes(&b->elements[i]);
    if (k->buffers[i].access == ACCESS_IN) continue;
    if (b->expected[i]) {
      if (trial_difference(&b->elements[i], b->buffers[i], b->expected[i], trial_tolerance(k, k->buffers[i].type.dtype)) >= 0) return false;
    } else if ((b->expected[i] = malloc(bytes))) {
      memcpy(b->expected[i], b->buffers[i], bytes);
    }
    memset(b->buffers[i], 0, bytes);
  }
  return true;
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static double median_run(kernel_bench *b, const kernel *k, const executable_launch *l, double enough) {
  enum { LEAST = 3, MOST = 31 };
  const double most_seconds = 0.05;
  double times[MOST], all = 0, first = run_once(b, l);
  uint32_t n = 0;
  if (!outputs_agree(b, k)) return NAN;
  if (first > 2 * enough) return first; /* the first also brings the buffers in */
  while (n < MOST && (n < LEAST || all < most_seconds)) {
    all += times[n] = run_once(b, l);
    if (times[n++] > enough && n == 1) break;
  }
  qsort(times, n, sizeof *times, by_size);
  return times[n / 2];
}

double kernel_bench_measure(void *context, const kernel *k, double enough) {
  kernel_bench *b = context;
  const char *error = NULL;
  double seconds = NAN;
  arena *a = arena_new();
  if (!a) return NAN;
  kernel copy = *k;
  const loops *lowered = lower_kernel(k, a, &error);
  executable *code = lowered && !loops_verify(lowered, a) ? executable_compile_cpu(trial_plan(&copy, lowered, a), &(compile_options){.threads = 1}, NULL, &error) : NULL;
  uint32_t n;
  if (code) seconds = median_run(b, k, executable_launches(code, &n), enough);
  executable_free(code);
  arena_free(a);
  return seconds;
}
