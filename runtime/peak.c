#include "runtime/peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ACCUMULATORS independent chains hide the latency: two units of latency 4 need 8, and 20 leave room
 * for a scheduler that is not perfect while staying within 32 registers. */
enum { ROUNDS = 400000, ACCUMULATORS_512 = 20, ACCUMULATORS_256 = 12 };

#if defined(__x86_64__)
/* The empty assembly keeps each accumulator in a register and the compiler from folding the chain. */
__attribute__((target("avx512f"))) static double run_512(void) {
  __m512 sum[ACCUMULATORS_512], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
#pragma GCC unroll 32
  for (int i = 0; i < ACCUMULATORS_512; i++) sum[i] = _mm512_set1_ps((float)i);
  double start = seconds();
  for (int round = 0; round < ROUNDS; round++) {
#pragma GCC unroll 32
    for (int i = 0; i < ACCUMULATORS_512; i++) {
      sum[i] = _mm512_fmadd_ps(sum[i], x, y);
      __asm__ volatile("" : "+v"(sum[i]));
    }
  }
  return 2.0 * 16 * ACCUMULATORS_512 * ROUNDS / (seconds() - start);
}

__attribute__((target("avx2,fma"))) static double run_256(void) {
  __m256 sum[ACCUMULATORS_256], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
#pragma GCC unroll 32
  for (int i = 0; i < ACCUMULATORS_256; i++) sum[i] = _mm256_set1_ps((float)i);
  double start = seconds();
  for (int round = 0; round < ROUNDS; round++) {
#pragma GCC unroll 32
    for (int i = 0; i < ACCUMULATORS_256; i++) {
      sum[i] = _mm256_fmadd_ps(sum[i], x, y);
      __asm__ volatile("" : "+x"(sum[i]));
    }
  }
  return 2.0 * 8 * ACCUMULATORS_256 * ROUNDS / (seconds() - start);
}
#endif

/* Without vector instructions of its own: scalar chains that the compiler may vectorise as it likes. */
static double run_portable(void) {
  float sum[64];
  for (int i = 0; i < 64; i++) sum[i] = (float)i;
  double start = seconds();
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < 64; i++) sum[i] = __builtin_fmaf(sum[i], 0.999f, 0.001f);
    __asm__ volatile("" : : "r"(sum) : "memory");
  }
  return 2.0 * 64 * ROUNDS / (seconds() - start);
}

typedef double measured_loop(void);

static measured_loop *best_loop(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return run_512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return run_256;
#endif
  return run_portable;
}

/* AMD up to Zen 4 carries a 512-bit operation out in halves; Zen 5 and Intel's servers have two full
 * units. With 256 bits everybody has two. */
double fma_flops_per_cycle(void) {
#if defined(__x86_64__)
  unsigned highest = 0, vendor[4] = {0}, signature = 0, b, c, d;
  if (best_loop() != run_512) return 32;
  __get_cpuid(0, &highest, &vendor[0], &vendor[2], &vendor[1]);
  __get_cpuid(1, &signature, &b, &c, &d);
  unsigned family = (signature >> 8 & 15) + (signature >> 20 & 255);
  return !memcmp(vendor, "AuthenticAMD", 12) && family <= 0x19 ? 32 : 64;
#else
  return 32;
#endif
}

/* A chain of additions of integers takes one cycle each on every processor of interest. What counts is the clock
 * while the vector units are busy, which some processors lower for the widest vectors: there a round of run_512,
 * which takes two units 10 cycles, runs beside each chain of 11. */
enum { CHAINS = 500000, CHAIN = 11, CLOCK_ATTEMPTS = 60 };

#define ADD_CHAIN(sum, step)                            \
  _Pragma("GCC unroll 11") for (int j = 0; j < CHAIN; j++) { \
    sum += step;                                        \
    __asm__ volatile("" : "+r"(sum), "+r"(step));       \
  }

static double clock_alone(void) {
  uint64_t sum = 1, step = 3;
  double start = seconds();
  for (int i = 0; i < CHAINS; i++) ADD_CHAIN(sum, step)
  return 1.0 * CHAINS * CHAIN / (seconds() - start);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static double clock_beside_512(void) {
  __m512 sums[ACCUMULATORS_512], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  uint64_t sum = 1, step = 3;
#pragma GCC unroll 32
  for (int i = 0; i < ACCUMULATORS_512; i++) sums[i] = _mm512_set1_ps((float)i);
  double start = seconds();
  for (int i = 0; i < CHAINS; i++) {
#pragma GCC unroll 32
    for (int j = 0; j < ACCUMULATORS_512; j++) {
      sums[j] = _mm512_fmadd_ps(sums[j], x, y);
      __asm__ volatile("" : "+v"(sums[j]));
    }
    ADD_CHAIN(sum, step)
  }
  return 1.0 * CHAINS * CHAIN / (seconds() - start);
}
#endif

double fma_clock_ghz(void) {
  double best = 0;
  measured_loop *loop = clock_alone;
#if defined(__x86_64__)
  if (fma_flops_per_cycle() == 64) loop = clock_beside_512;
#endif
  for (int attempt = 0; attempt < CLOCK_ATTEMPTS; attempt++) {
    double hertz = loop();
    if (hertz > best) best = hertz;
  }
  return 1e-9 * best;
}

/* Sums of integers, four at a time, since additions of reals would wait for each other. */
static double read_block(void) {
  enum { BYTES = 64 << 20, WORDS = BYTES / 8 };
  uint64_t *block = malloc(BYTES), sum[4] = {0};
  if (!block) return 0;
  for (size_t i = 0; i < WORDS; i++) block[i] = i; /* pages come into being */
  double start = seconds();
  for (size_t i = 0; i < WORDS; i += 4)
    for (size_t k = 0; k < 4; k++) sum[k] += block[i + k];
  double taken = seconds() - start;
  __asm__ volatile("" : : "r"(sum) : "memory");
  free(block);
  return BYTES / taken;
}

typedef struct {
  measured_loop *loop;
  atomic_bool *go; /* so that all begin together */
  pthread_t thread;
  double rate;
} participant;

static void *take_part(void *argument) {
  participant *p = argument;
  while (!atomic_load(p->go)) sched_yield();
  p->rate = p->loop();
  return NULL;
}

/* 0 when a thread cannot be made. */
static double run_together(measured_loop *loop, unsigned threads, participant *all) {
  atomic_bool go = false;
  unsigned made = 1;
  double sum = 0;
  for (unsigned i = 0; i < threads; i++) all[i] = (participant){loop, &go, 0, 0};
  while (made < threads && pthread_create(&all[made].thread, NULL, take_part, &all[made]) == 0) made++;
  atomic_store(&go, true);
  take_part(&all[0]);
  for (unsigned i = 1; i < made; i++) pthread_join(all[i].thread, NULL);
  for (unsigned i = 0; i < threads; i++) sum += all[i].rate;
  return made == threads ? sum : 0;
}

/* Billions a second, the best of some attempts. */
static double best_rate(measured_loop *loop, unsigned threads, int attempts) {
  participant *all = calloc(threads, sizeof *all);
  double best = 0;
  for (int attempt = 0; all && attempt < attempts; attempt++) {
    double rate = run_together(loop, threads, all);
    if (rate > best) best = rate;
  }
  free(all);
  return 1e-9 * best;
}

double fma_peak_gflops(unsigned threads) { return best_rate(best_loop(), threads, 200); }
double memory_peak_gbs(unsigned threads) { return best_rate(read_block, threads, 10); }
