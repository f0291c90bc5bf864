/* The CUDA execution model on a processor, as far as kernels of sslc use it: put in front of the text of kernels, which a C
 * compiler then takes. Threads of a block are run one after another; where they wait for each other or exchange values each is a
 * fibre, and goes on when all lanes of its warp have come there. Lanes take turns in an order that differs from block to block:
 * what one reads before it is written, or writes before it is read, shows. Memory on the chip begins with a pattern, not with 0. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __device__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define KERNEL static

enum { EMULATED_WARP = 32, EMULATED_THREADS = 1024, EMULATED_SHARED = 232448, EMULATED_STACK = 64 << 10 };

typedef struct {
  unsigned x, y, z;
} emulated_index;
static emulated_index threadIdx, blockIdx;
unsigned char shared[EMULATED_SHARED] __attribute__((aligned(128)));

static inline unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
static inline float __uint_as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
static inline long long __double_as_longlong(double x) {
  long long bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
static inline double __longlong_as_double(long long bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* -- accesses outside their buffers ------------------------------------------------------------------------- */

static long long emulated_violations;
static inline long long emulated_inside(long long offset, long long elements) {
  if (offset >= 0 && offset < elements) return offset;
  emulated_violations++;
  return 0;
}
#define INSIDE(offset, elements) emulated_inside(offset, elements)

static inline long long emulated_inside_wide(long long offset, long long width, long long elements) {
  if (offset >= 0 && offset + width <= elements) return offset;
  emulated_violations++;
  return 0;
}
#define INSIDE_WIDE(offset, width, elements) emulated_inside_wide(offset, width, elements)

/* Wide accesses lie at multiples of their size; others would be faults of a device. */
typedef struct {
  unsigned x, y;
} uint2;
typedef struct {
  unsigned x, y, z, w;
} uint4;
static inline const void *emulated_aligned(const void *at, unsigned long long bytes) {
  emulated_violations += (unsigned long long)at % bytes != 0;
  return at;
}
#define ALIGNED(pointer, T) emulated_aligned(pointer, sizeof(T))

/* -- warps -------------------------------------------------------------------------------------------------- */

typedef void emulated_call(void **arguments);

static struct {
  ucontext_t scheduler, lane[EMULATED_WARP];
  bool done[EMULATED_WARP];
  unsigned at; /* the lane that runs */
  unsigned char exchanged[EMULATED_WARP][8];
  emulated_call *kernel;
  void **arguments;
  bool fibres; /* lanes can wait for each other */
} warp;
static char emulated_stacks[EMULATED_WARP][EMULATED_STACK];

static void run_lane(void) {
  warp.kernel(warp.arguments);
  warp.done[warp.at] = true;
  swapcontext(&warp.lane[warp.at], &warp.scheduler);
}

static void emulated_wait(void) {
  const emulated_index thread = threadIdx;
  if (!warp.fibres) fputs("a kernel exchanges values that was not made to\n", stderr), abort();
  swapcontext(&warp.lane[warp.at], &warp.scheduler);
  threadIdx = thread;
}

#define __syncwarp() emulated_wait()
#define __shfl_sync(mask, value, from)                                             \
  ({                                                                               \
    __typeof__(value) shuffled_ = (value);                                         \
    memcpy(warp.exchanged[threadIdx.x % EMULATED_WARP], &shuffled_, sizeof shuffled_); \
    emulated_wait();                                                               \
    memcpy(&shuffled_, warp.exchanged[(unsigned)(from) % EMULATED_WARP], sizeof shuffled_); \
    emulated_wait();                                                               \
    shuffled_;                                                                     \
  })

/* Lanes go on in turn until all are done; all of them come to the same barriers. */
static void run_warp(unsigned first_thread) {
  const unsigned turn = blockIdx.x + first_thread / EMULATED_WARP;
  for (unsigned i = 0; i < EMULATED_WARP; i++) {
    getcontext(&warp.lane[i]);
    warp.lane[i].uc_stack.ss_sp = emulated_stacks[i];
    warp.lane[i].uc_stack.ss_size = EMULATED_STACK;
    warp.lane[i].uc_link = NULL;
    warp.done[i] = false;
    makecontext(&warp.lane[i], run_lane, 0);
  }
  for (unsigned done = 0; done < EMULATED_WARP;) {
    done = 0;
    for (unsigned i = 0; i < EMULATED_WARP; i++) {
      warp.at = turn % 2 ? EMULATED_WARP - 1 - i : (i + turn) % EMULATED_WARP;
      if (!warp.done[warp.at]) {
        threadIdx.x = first_thread + warp.at;
        swapcontext(&warp.scheduler, &warp.lane[warp.at]);
      }
      done += warp.done[warp.at];
    }
  }
}

/* Returns how many accesses lay outside. */
static long long emulate(emulated_call *k, void **arguments, long long blocks, unsigned threads, bool synchronises) {
  emulated_violations = 0;
  warp.kernel = k;
  warp.arguments = arguments;
  warp.fibres = synchronises;
  for (long long b = 0; b < blocks; b++) {
    blockIdx.x = (unsigned)b;
    memset(shared, 0xA5, synchronises ? sizeof shared : 0);
    for (unsigned t = 0; t < threads; t += synchronises ? EMULATED_WARP : 1) {
      threadIdx.x = t;
      if (synchronises) run_warp(t);
      else k(arguments);
    }
  }
  return emulated_violations;
}
