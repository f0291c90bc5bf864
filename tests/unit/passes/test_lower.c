#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "passes/schedule_space.h"
#include "tests/random_schedule.h"
#include "tests/unit/passes/lower_testing.h"

static void maps_run_in_lanes_with_remainders(void **state) {
  (void)state;
  const char *const schedules[] = {
      "",
      "schedule { for i, j }\n",
      "schedule { for i parallel, j/8, j vector }\n",
      "schedule { for i/2 parallel, j/16, i unroll, j/4 unroll, j vector }\n",
      "schedule { for j/4 parallel peel, i unroll, j vector }\n",
  };
  for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
    char text[1000];
    snprintf(
        text, sizeof text,
        "kernel map {\n  in x : f32[5,19]\n  in b : f32[19]\n  in c : f32[5]\n  out y : f32[5,19]\n  axes i:5 j:19\n"
        "  t[i,j] : f32 = x[i, j] * b[j]\n  s[i,j] : f32 = max(t + c[i], 0) - t -> y[i, j]\n}\n%s",
        schedules[i]);
    check_kernel(text);
  }
}

static void products_use_tiles_of_registers(void **state) {
  (void)state;
  const char *const schedules[] = {
      "",
      "schedule { for i, j, k }\n",
      "schedule { for k, i, j }\n",
      "schedule { for i/4 parallel, j/16, k/4, k unroll, i unroll, j/8 unroll, j vector }\n",
      "schedule { for k/5, i/4, j/16, k, i unroll, j/8 unroll, j vector }\n",
      "schedule { for i, j, k/16, k/4 unroll, k vector }\n",
      "schedule { for j parallel, i/3, k/4, k vector, i unroll }\n",
  };
  for (size_t i = 0; i < sizeof schedules / sizeof *schedules - 1; i++) {
    char text[1000];
    snprintf(text, sizeof text,
             "kernel product {\n  in x : f32[7,13]\n  in w : f32[13,21]\n  in b : f32[21]\n  out y : f32[7,21]\n"
             "  axes i:7 j:21 k:13\n  acc[i,j] : f32 = sum k of x[i, k] * w[k, j]\n"
             "  z[i,j] : f32 = acc + b[j] -> y[i, j]\n}\n%s",
             schedules[i]);
    check_kernel(text);
  }
}

/* Rows of a softmax that see no later columns: loops over columns stop behind the last that a block of rows sees, if all that reads
 * what is hidden takes it for nothing. */
#define CAUSAL(extent, hidden, otherwise)                                                                                                    \
  "kernel causal {\n  in q : f32[%d,5]\n  in x : f32[" extent ",5]\n  out y : f32[%d,5]\n  out d : f32[" extent ",5]\n  axes i:%d j:" extent " r:5 s:5\n"       \
  "  c[i,j] : f32 = sum r of q[i, r] * x[j, r]\n  m[i] : f32 = max j of select(le(i32(j), i32(i)), c, " hidden ")\n"                     \
  "  p[i,j] : f32 = select(le(i32(j), i32(i)), exp(c - m), " otherwise ")\n  t[i] : f32 = sum j of p\n"                                  \
  "  z[i,s] : f32 = sum j of p * (1 / t) * x[j, s] -> y[i, s]\n  b[j,s] : f32 = sum i of p * q[i, s] -> d[j, s]\n}\n%s"

/* Loops that begin, or end, where other loops are. */
static uint32_t count_bounds(const char *lowered, bool begins) {
  uint32_t n = 0;
  for (const char *loop = strstr(lowered, "for r"); loop; loop = strstr(loop + 1, "for r")) n += strstr(loop, begins ? "= " : "to ")[begins ? 2 : 3] == 'r';
  return n;
}

static void loops_stop_at_a_mask(void **state) {
  (void)state;
  static const struct {
    const char *schedule;
    bool stops, begins; /* with 48 rows and columns */
  } cases[] = {
      {"", true, false},  /* row by row: from the second on */
      {"schedule { for i/16, j/16, r, i unroll, s vector, j vector }\n", true, true}, /* a last sum over results in memory: its loops change places */
      {"schedule { for i/8, j/16, r, i unroll, s vector, j vector }\n", true, true},
      {"schedule { for i/16, j/4, i unroll, r, s, j unroll }\n", true, true},
      {"schedule { for i/5, j/3, i, r, s, j }\n", true, true},
      {"schedule { for j/16, i/16, r, i unroll, s vector, j vector }\n", true, true},
      {"schedule { for i/4, i unroll, j/8, r, s, j vector }\n", true, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int kind = 0; kind < 5; kind++) { /* as it should be; another extent; too little hidden; something behind what is hidden; columns with an odd end */
      static const char *const texts[] = {CAUSAL("48", "-1e+30", "0"), CAUSAL("48", "-1e+30", "0"), CAUSAL("48", "-1000", "0"), CAUSAL("48", "-1e+30", "1"), CAUSAL("37", "-1e+30", "0")};
      char text[2000];
      const int rows = kind == 1 ? 30 : kind == 4 ? 37 : 48;
      snprintf(text, sizeof text, texts[kind], rows, rows, rows, cases[i].schedule);
      check_kernel(text);
      arena *a = arena_new();
      const char *error, *lowered = loops_print(lower_kernel(kernel_of_text(a, text), a, &error), a);
      const bool stops = count_bounds(lowered, false), begins = count_bounds(lowered, true);
      if (kind < 4 && (stops != (!kind && cases[i].stops) || begins != (!kind && cases[i].begins))) fail_msg("stops %d begins %d\n%s\n%s", stops, begins, text, lowered);
      arena_free(a);
    }
}

#define CONVOLUTION                                                                                                    \
  "kernel conv {\n  in x : f32[2,5,9,7] {0 2 3 1}\n  in w : f32[20,5,3,3] {0/8 2 3 1 0%%8}\n  in b : f32[20]\n"        \
  "  out y : f32[2,20,9,7] {0 2 3 1}\n  axes n:2 k:20 p:9 q:7 c:5 r:3 s:3\n"                                           \
  "  acc[n,k,p,q] : f32 = sum c r s of x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 9, 0 <= q + s - 1 < 7 "    \
  "else 0 * w[k, c, r, s]\n"                                                                                           \
  "  z[n,k,p,q] : f32 = max(0, acc + b[k]) -> y[n, k, p, q]\n}\n%s"

static void convolutions_skip_padding(void **state) {
  (void)state;
  const char *const schedules[] = {
      "",
      "schedule { for n parallel, k/8, p, q/6, r, s unroll, c/4, c unroll, q unroll, k/4 unroll, k vector }\n",
      "schedule { for n parallel, k/8, p peel, q/3 peel, r unroll, s unroll, c/2, c unroll, q unroll, k/4 unroll, k "
      "vector }\n",
      "schedule { for n, p, q, r, s, c, k/8, k vector }\n",
  };
  for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
    char text[2000];
    snprintf(text, sizeof text, CONVOLUTION, schedules[i]);
    check_kernel(text);
  }
}

/* Each of these runs under its own schedule, without any, and under many random ones. */
static const char *const kernels[] = {
    /* rows of softmax: maxima and sums in lanes, the exponentials kept */
    "kernel softmax {\n  in x : f32[6,37]\n  out y : f32[6,37]\n  axes i:6 j:37\n"
    "  m[i] : f32 = max j of x[i, j]\n  e[i,j] : f32 = exp(x[i, j] - m)\n  t[i] : f32 = sum j of e\n"
    "  y0[i,j] : f32 = e / t -> y[i, j]\n}\nschedule { for i parallel, j/32, j/8 unroll, j vector }\n",
    /* layer norm: three passes over a row, one of them writes */
    "kernel layer_norm {\n  in x : f32[5,24]\n  in g : f32[24]\n  out y : f32[5,24]\n  out r : f32[5]\n  axes i:5 "
    "j:24\n"
    "  s[i] : f32 = sum j of x[i, j]\n  m[i] : f32 = s * 0.041666668\n  v[i] : f32 = sum j of (x[i, j] - m) * (x[i, j] "
    "- m)\n"
    "  d[i] : f32 = rsqrt(v * 0.041666668 + 0.000001) -> r[i]\n  y0[i,j] : f32 = (x[i, j] - m) * d * g[j] -> y[i, "
    "j]\n}\n"
    "schedule { for i/2 parallel, i, j/16, j/8 unroll, j vector }\n",
    /* weight gradient: loops over free axes inside a loop over a reduced one */
    "kernel weights {\n  in x : f32[3,7,6,5]\n  in g : f32[3,12,6,5]\n  out w : f32[12,7,3,3] {2 3 1 0}\n"
    "  axes k:12 c:7 r:3 s:3 n:3 p:6 q:5\n"
    "  acc[k,c,r,s] : f32 = sum n p q of x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 6, 0 <= q + s - 1 < 5 "
    "else 0 * g[n, k, p, q] -> w[k, c, r, s]\n}\n"
    "schedule { for r parallel, s parallel, k/8, n, c/3, p, q, c unroll, k/4 unroll, k vector }\n",
    /* the same, with the sum read by a map: accumulators in memory of the thread's own */
    "kernel scaled_weights {\n  in x : f32[4,7]\n  in g : f32[4,12]\n  in a : f32[]\n  out w : f32[12,7]\n  axes k:12 "
    "c:7 n:4\n"
    "  acc[k,c] : f32 = sum n of x[n, c] * g[n, k]\n  z[k,c] : f32 = acc * a[] -> w[k, c]\n}\n"
    "schedule { for k/6 parallel, n/2, c/3, n, c unroll, k/2 unroll, k vector }\n",
    /* argmax and maximum in lanes */
    "kernel largest {\n  in x : f32[7,29]\n  out y : i32[7]\n  out z : f32[7]\n  axes i:7 j:29\n"
    "  a[i] : i32 = argmax j of x[i, j] -> y[i]\n  b[i] : f32 = max j of x[i, j] -> z[i]\n}\n"
    "schedule { for i, j/8, j vector }\n",
    /* indices read from memory */
    "kernel gather {\n  in x : f32[9,11]\n  in i : i32[31]\n  in f : f32[31]\n  out y : f32[31,11]\n  axes a:31 j:11\n"
    "  s[a,j] : f32 = x[min(max(i64(i[a]), 0), 8), j] + x[min(max(i64(f[a]), 0), 8), min(max(i64(i[a]) + j, 0), 10)] "
    "-> y[a, j]\n}\n"
    "schedule { for a/8, j, a vector }\n",
    /* reduction of everything, in f32, in integers and in bf16 */
    "kernel total {\n  in x : f32[13,17]\n  in n : i32[13,17]\n  in h : bf16[13,17]\n  out y : f32[]\n  out m : "
    "i32[]\n  out b : bf16[]\n"
    "  axes i:13 j:17\n  s[] : f32 = sum i j of x[i, j] -> y[]\n  t[] : i32 = sum i j of n[i, j] -> m[]\n"
    "  u[] : bf16 = sum i j of h[i, j] -> b[]\n}\n"
    "schedule { for i, j/16, j/4 unroll, j vector }\n",
    /* strided and dilated reads, as of the derivative of a strided convolution */
    "kernel transposed {\n  in g : f32[2,4,5]\n  in w : f32[4,3,3]\n  out x : f32[2,3,9]\n  axes n:2 c:3 h:9 k:4 r:3\n"
    "  acc[n,c,h] : f32 = sum k r of g[n, k, (h - r + 1) / 2] where 0 <= h - r + 1 < 10, (h - r + 1) % 2 == 0 else 0 * "
    "w[k, c, r] -> x[n, c, h]\n}\n"
    "schedule { for n parallel, h/2, c, k, r unroll, h unroll }\n",
    /* layouts in and out that do not follow the axes; a view by floor and modulo */
    "kernel views {\n  in x : f32[4,6,10] {1 2/4 0 2%4}\n  out y : f32[24,10] {1 0}\n  out z : f32[10,6,4] {0/4 2 1 "
    "0%4}\n  axes a:24 b:10\n"
    "  s[a,b] : f32 = x[a / 6, a % 6, b] * 2 -> y[a, b]\n  t[a,b] : f32 = s + x[a / 6, a % 6, 9 - b] -> z[b, a % 6, a "
    "/ 6]\n}\n"
    "schedule { for a/6, b/4, a, b vector }\n",
    /* padding that is a maximum's identity, and one that is not; windows that overlap */
    "kernel pool {\n  in x : f32[2,9,9]\n  out y : f32[2,5,5]\n  out z : f32[2,5,5]\n  axes n:2 p:5 q:5 r:3 s:3\n"
    "  a[n,p,q] : f32 = max r s of x[n, 2*p + r - 1, 2*q + s - 1] where 0 <= 2*p + r - 1 < 9, 0 <= 2*q + s - 1 < 9 "
    "else -inf -> y[n, p, q]\n"
    "  b[n,p,q] : f32 = sum r s of x[n, 2*p + r - 1, 2*q + s - 1] where 0 <= 2*p + r - 1 < 9, 0 <= 2*q + s - 1 < 9 "
    "else 0.5 -> z[n, p, q]\n}\n"
    "schedule { for n parallel, p peel, r, s, q/4 peel, q vector }\n",
    /* attention of one head: two products, a softmax between them */
    "kernel attention {\n  in q : f32[6,5]\n  in k : f32[7,5]\n  in v : f32[7,9]\n  out y : f32[6,9]\n  axes i:6 j:7 "
    "d:5 e:9\n"
    "  s[i,j] : f32 = sum d of q[i, d] * k[j, d]\n  m[i] : f32 = max j of s * 0.5\n  l[i] : f32 = sum j of exp(s * 0.5 "
    "- m)\n"
    "  o[i,e] : f32 = sum j of exp(s * 0.5 - m) * v[j, e]\n  z[i,e] : f32 = o / l -> y[i, e]\n}\n"
    "schedule { for i parallel, j/4, d, e/4, j vector, e vector }\n",
    /* two writers of one buffer, a comparison, and a select on an axis */
    "kernel joined {\n  in x : f32[5,8]\n  out y : f32[10,8]\n  axes i:5 j:8\n"
    "  a[i,j] : f32 = select(lt(j, 3), x[i, j], 1) -> y[i, j]\n  b[i,j] : f32 = f32(j) - x[i, 7 - j] -> y[i + 5, "
    "j]\n}\n"
    "schedule { for i parallel, j/4, j vector }\n",
    /* a sum of another axis that every row needs */
    "kernel shared_sum {\n  in x : f32[6]\n  out y : f32[4,6]\n  out t : f32[]\n  axes i:4 j:6 r:6\n"
    "  s[] : f32 = sum r of x[r] -> t[]\n  z[i,j] : f32 = x[j] / (s * s + 1) -> y[i, j]\n}\n"
    "schedule { for i, r, j }\n",
};

enum { KERNELS = sizeof kernels / sizeof *kernels };

static void schedules_carry_out_definitions(void **state) {
  (void)state;
  for (int i = 0; i < KERNELS; i++) {
    check_kernel(kernels[i]);
    arena *a = arena_new();
    const char *scheduled = strstr(kernels[i], "schedule {");
    check_kernel(arena_substring(a, kernels[i], (size_t)(scheduled - kernels[i])));
    arena_free(a);
  }
}

static void random_schedules_carry_out_definitions(void **state) {
  (void)state;
  const char *asked = getenv("SCHEDULES");
  int rounds = asked ? atoi(asked) : 12;
  for (int round = 0; round < rounds; round++)
    for (int i = 0; i < KERNELS; i++) {
      arena *a = arena_new();
      kernel *k = kernel_of_text(a, kernels[i]);
      uint64_t seed = (uint64_t)round * 1000003 + (uint64_t)i * 7919 + 17;
      random_source random = {seed};
      schedule_at_random(k, &random, a);
      const char *wrong = kernel_verify(k, a);
      if (wrong) fail_msg("%s\n%s", kernel_print(k, a), wrong);
      loops *l = NULL;
      const char *fault = lowering_fault(k, a, seed, &l);
      if (fault) fail_msg("round %d: %s\n%s", round, fault, kernel_print(k, a));
      arena_free(a);
    }
}

/* What a tuner draws is legal and means the same. */
static void choices_of_the_space_carry_out_definitions(void **state) {
  (void)state;
  static const target narrow = {.name = "test", .vector_bytes = 16, .vector_registers = 16, .l1_bytes = 2048, .l2_bytes = 8192};
  const char *asked = getenv("SCHEDULES");
  int rounds = asked ? atoi(asked) : 12;
  for (int i = 0; i < KERNELS; i++) {
    arena *a = arena_new();
    kernel *k = kernel_of_text(a, kernels[i]);
    schedule_kernel(k, &narrow);
    schedule_space space = schedule_space_of(k, &narrow, a);
    uint64_t random = (uint64_t)i * 7919 + 17;
    schedule_choice choice = schedule_draw(&space, &random);
    for (int round = 0; round < rounds; round++) {
      choice = round % 4 ? schedule_vary(&space, &choice, &random) : schedule_draw(&space, &random);
      k->schedule = schedule_of_choice(&space, &choice, a);
      const char *wrong = kernel_verify(k, a);
      if (wrong) fail_msg("%s\n%s", kernel_print(k, a), wrong);
      loops *l = NULL;
      const char *fault = lowering_fault(k, a, random, &l);
      if (fault) fail_msg("round %d: %s\n%s", round, fault, kernel_print(k, a));
    }
    arena_free(a);
  }
}

/* Without a division where the inverse is seen to do; to the bit either way. */
static void bytes_are_divided_as_written(void **state) {
  (void)state;
  const double divisors[] = {255, 127.5, 3, 0.1, 1e-39, 77};
  for (size_t i = 0; i < sizeof divisors / sizeof *divisors; i++) {
    arena *a = arena_new();
    const char *error = NULL;
    kernel *k = kernel_of_text(a, arena_printf(a, "kernel k {\n  in x : u8[256]\n  out y : f32[256]\n  axes i:256\n"
                                                  "  z[i] : f32 = f32(x[i]) / %.9g -> y[i]\n}\nschedule { for i/16, i vector }\n", divisors[i]));
    loops *l = lower_kernel(k, a, &error);
    assert_non_null(l);
    assert_int_equal(strstr(loops_print(l, a), "div(") != NULL, divisors[i] == 1e-39); /* whose inverse is infinite */
    unsigned char x[256];
    float y[256];
    for (int v = 0; v < 256; v++) x[v] = (unsigned char)v;
    loops_interpret(l, (void *[]){x, y}, a);
    for (int v = 0; v < 256; v++) assert_true(y[v] == (float)v / (float)divisors[i]);
    arena_free(a);
  }
}

/* The quotient and the rest of one index, in dimensions that lie together, are one place: neighbours are one load. */
static void flattened_dimensions_are_walked_as_one(void **state) {
  (void)state;
  static const struct {
    const char *layout, *divisor;
    bool one;
  } cases[] = {{"", "7", true}, {" {0 2 1}", "7", false}, {"", "6", false}, {" {1 2 0}", "7", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const char *error = NULL, *text = arena_printf(a, "kernel flat {\n  in x : f32[3,5,7]%s\n  out y : f32[3,30]\n  axes i:3 j:30\n"
                                                      "  s[i,j] : f32 = x[i, j / %s, j %% %s] -> y[i, j]\n}\nschedule { for i, j/8, j vector }\n",
                                                   cases[i].layout, cases[i].divisor, cases[i].divisor);
    check_kernel(text);
    if (!strstr(loops_print(lower_kernel(kernel_of_text(a, text), a, &error), a), "gather") != cases[i].one) fail_msg("%s", text);
    arena_free(a);
  }
}

/* Sixteen neighbours of which all terms know that they lie in one panel: the panel is found once, not by a division for each. */
static void neighbours_in_a_panel_divide_once(void **state) {
  (void)state;
  arena *a = arena_new();
  const char *error = NULL, *text = "kernel turn {\n  in x : f32[80,64] {1/32 0 1%32}\n  out y : f32[80,64] {0/32 1 0%32}\n  axes i:80 j:64\n"
                                    "  c[i,j] : f32 = x[i, j] -> y[i, j]\n}\nschedule { for i/32 parallel, j/16 parallel, i/16, j unroll, i vector }\n";
  check_kernel(text);
  uint32_t divisions = 0;
  for (const char *at = loops_print(lower_kernel(kernel_of_text(a, text), a, &error), a); (at = strstr(at, "floor_div")); at++) divisions++;
  assert_in_range(divisions, 1, 4);
  arena_free(a);
}

/* Past the caches go whole aligned vectors of results that no cache holds. */
static void large_results_are_streamed(void **state) {
  (void)state;
  const struct {
    const char *text;
    bool streams;
  } cases[] = {
      {"kernel k {\n  in x : f32[4096]\n  out y : f32[192,4096]\n  axes i:192 j:4096\n  z[i,j] : f32 = x[j] -> y[i, j]\n}\nschedule { for i, j/16, j vector }\n", true},
      {"kernel k {\n  in x : f32[4096]\n  out y : f32[191,4096]\n  axes i:191 j:4096\n  z[i,j] : f32 = x[j] -> y[i, j]\n}\nschedule { for i, j/16, j vector }\n", false},
      {"kernel k {\n  in x : f32[4100]\n  out y : f32[1024,4100]\n  axes i:1024 j:4100\n  z[i,j] : f32 = x[j] -> y[i, j]\n}\nschedule { for i, j/16, j vector }\n", false}, /* rows begin anywhere */
      {"kernel k {\n  in x : f32[4096]\n  out y : f32[1024,4096]\n  axes i:1024 j:4096 k:3\n  z[i,j] : f32 = sum k of x[j] -> y[i, j]\n}\nschedule { for k, i, j/16, j vector }\n", false}, /* summed in place */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const char *error = NULL;
    loops *l = lower_kernel(kernel_of_text(a, cases[i].text), a, &error);
    if (!l) fail_msg("%s", error);
    assert_int_equal(strstr(loops_print(l, a), "= stream") != NULL, cases[i].streams);
    arena_free(a);
  }
}

/* From rows into panels, a piece of each row at a time: the next piece is told to memory. Not where rows are read whole, or little is read. */
static void next_pieces_are_fetched(void **state) {
  (void)state;
  static const struct {
    const char *rows, *loops, *fetch; /* NULL: none */
  } cases[] = {{"1000", "for i parallel, j/24, i_2, j/12, j vector", ", 24)"}, {"1000", "for i parallel, i_2, j/12, j vector", NULL}, {"40", "for i parallel, j/24, i_2, j/12, j vector", NULL}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    arena *a = arena_new();
    const char *text = arena_printf(a, "kernel k {\n  in x : f32[4,%s,36]\n  out y : f32[4,%s,36] {2/12 0 1 2%%12}\n  axes i:4 i_2:%s j:36\n  s[i,i_2,j] : f32 = x[i, i_2, j] * 2 -> y[i, i_2, j]\n}\nschedule { %s }\n", cases[c].rows, cases[c].rows, cases[c].rows, cases[c].loops);
    loops *l = NULL;
    const char *fault = lowering_fault(kernel_of_text(a, text), a, 1, &l);
    if (fault) fail_msg("%s", fault);
    const char *fetch = strstr(loops_print(l, a), "fetch x[");
    assert_int_equal(fetch != NULL, cases[c].fetch != NULL);
    if (fetch) assert_non_null(strstr(fetch, cases[c].fetch));
    arena_free(a);
  }
}

static void equal_kernels_are_lowered_once(void **state) {
  (void)state;
  arena *a = arena_new();
  kernel *k = kernel_of_text(a, kernels[0]);
  plan_launch launches[3] = {{.kernel = k}, {.kernel = kernel_of_text(a, kernels[1])}, {.kernel = k}};
  plan p = {.arena = a, .launches = launches, .n_launches = 3};
  pass_context c = {.arena = a, .diagnostics = diagnostics_new(a, sources_new(a))};
  assert_true(pass_lower(&p, &c));
  assert_ptr_equal(launches[0].loops, launches[2].loops);
  assert_ptr_not_equal(launches[0].loops, launches[1].loops);
  arena_free(a);
}

static void impossible_schedules_are_reported(void **state) {
  (void)state;
  arena *a = arena_new();
  kernel *k = kernel_of_text(a, "kernel sum {\n  in x : f32[4,4]\n  out y : f32[4]\n  axes i:4 j:4\n"
                                "  s[i] : f32 = sum j of x[i, j] -> y[i]\n}\nschedule { for i, j }\n");
  k->schedule.loops = (schedule_loop[]){{1, 1, LOOP_PARALLEL, false}, {0, 1, LOOP_SERIAL, false}};
  plan_launch launch = {.kernel = k};
  plan p = {.arena = a, .launches = &launch, .n_launches = 1};
  pass_context c = {.arena = a, .diagnostics = diagnostics_new(a, sources_new(a))};
  assert_false(pass_lower(&p, &c));
  assert_int_equal(c.diagnostics->errors, 1);
  arena_free(a);
}

/* Only the outermost of several pair loops takes two in at once. */
static void a_pair_inside_a_pair(void **state) {
  (void)state;
  check_kernel("kernel sum {\n  in x : f32[7,2,4]\n  out y : f32[]\n  axes r:7 s:2 t:4\n  a[] : f32 = sum r s t of x[r, s, t] -> y[]\n}\n"
               "schedule { for r, t/2, t pair, s pair }\n");
}

static uint32_t count_ifs(const block *b) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < b->n; i++) n += (b->items[i]->kind == STATEMENT_IF) + count_ifs(&b->items[i]->body);
  return n;
}

/* What is done to some pictures and not to others, one condition for all channels: an IF for each of two steps, the second inside of
 * nothing. What only lanes decide stays a select, and so does what costs little. */
static void what_lanes_agree_on_is_skipped(void **state) {
  (void)state;
  static const struct {
    const char *bodies;
    uint32_t ifs;
  } cases[] = {
      {"  p[i,j] : f32 = select(c[i], exp(x[i, j]) + exp(z[i, j]), x[i, j])\n  q[i,j] : f32 = select(c[i], exp(x[i, j]) * exp(z[i, j]), z[i, j])\n"
       "  s[i,j] : f32 = select(d[i], exp(p * q) * p, p) -> y[i, j]\n  t[i,j] : f32 = select(d[i], exp(p * q) * q, q) -> u[i, j]\n", 2},
      {"  s[i,j] : f32 = select(c[i], select(d[i], exp(x[i, j]) * sqrt(z[i, j] * z[i, j] + 1) - 1, exp(z[i, j])), 0) -> y[i, j]\n  t[i,j] : f32 = x[i, j] -> u[i, j]\n", 2},
      {"  s[i,j] : f32 = select(c[i], x[i, j] * z[i, j], x[i, j]) -> y[i, j]\n  t[i,j] : f32 = select(d[i], z[i, j], x[i, j]) -> u[i, j]\n", 0},
      {"  s[i,j] : f32 = select(lt(x[i, j], z[i, j]), exp(x[i, j]), z[i, j]) -> y[i, j]\n  t[i,j] : f32 = select(and(c[i], d[i]), x[i, j], 1) -> u[i, j]\n", 0},
      {"  s[i,j] : f32 = select(c[i], x[i, j], exp(z[i, j])) -> y[i, j]\n  t[i,j] : f32 = select(d[i], 1, 2) -> u[i, j]\n", 2},
      {"  s[i,j] : f32 = select(c[i], 1, z[i, j]) -> y[i, j]\n  t[i,j] : f32 = select(d[i], x[i, j], 2) -> u[i, j]\n", 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena *a = arena_new();
    const char *text = arena_printf(a, "kernel k {\n  in c : bool[5]\n  in d : bool[5]\n  in x : f32[5,19]\n  in z : f32[5,19]\n  out y : f32[5,19]\n  out u : f32[5,19]\n"
                                       "  axes i:5 j:19\n%s}\nschedule { for i parallel, j/8, j vector }\n", cases[i].bodies);
    loops *l = NULL;
    const char *fault = lowering_fault(kernel_of_text(a, text), a, 1, &l);
    if (fault) fail_msg("%s\n%s%s", fault, text, l ? loops_print(l, a) : "");
    const uint32_t found = count_ifs(&l->body);
    if (cases[i].ifs ? found < cases[i].ifs : found) fail_msg("%u IFs\n%s", found, loops_print(l, a));
    arena_free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_pair_inside_a_pair),
      cmocka_unit_test(maps_run_in_lanes_with_remainders),
      cmocka_unit_test(what_lanes_agree_on_is_skipped),
      cmocka_unit_test(products_use_tiles_of_registers),
      cmocka_unit_test(loops_stop_at_a_mask),
      cmocka_unit_test(convolutions_skip_padding),
      cmocka_unit_test(schedules_carry_out_definitions),
      cmocka_unit_test(random_schedules_carry_out_definitions),
      cmocka_unit_test(choices_of_the_space_carry_out_definitions),
      cmocka_unit_test(bytes_are_divided_as_written),
      cmocka_unit_test(flattened_dimensions_are_walked_as_one),
      cmocka_unit_test(neighbours_in_a_panel_divide_once),
      cmocka_unit_test(large_results_are_streamed),
      cmocka_unit_test(next_pieces_are_fetched),
      cmocka_unit_test(equal_kernels_are_lowered_once),
      cmocka_unit_test(impossible_schedules_are_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
