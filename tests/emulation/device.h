/* The CUDA execution model on a processor, as far as kernels of sslc use it: put in front of the text of kernels, which a C
 * compiler then takes. Threads of a block are run one after another; where they wait for each other or exchange values each is a
 * fibre, and goes on when all lanes of its warp, or all threads of its block, have come there. A warp runs as far as it may before
 * another one gets its turn, and warps and lanes take turns in an order that differs from block to block: what one reads before
 * it is written, or writes before it is read, shows. Memory on the chip begins with a pattern, not with 0; copies in the
 * background land when they are waited for, and not at all when they are not. What would go well only in some orders is found by
 * order.h, in whatever order it was run. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define EMULATED
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
unsigned char shared[EMULATED_SHARED] __attribute__((aligned(1024)));

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
static inline void *emulated_aligned(const void *at, unsigned long long bytes) {
  emulated_violations += (unsigned long long)at % bytes != 0;
  return (void *)(unsigned long long)at;
}
#define ALIGNED(pointer, T) emulated_aligned(pointer, sizeof(T))

/* -- memory on the chip --------------------------------------------------------------------------------------- */

#include "order.h"

static inline long long emulated_on_chip(const void *buffer, size_t size, long long offset, long long width, long long elements, bool writes) {
  const long long at = emulated_inside_wide(offset, width, elements);
  order_access((const char *)buffer + at * (long long)size, (size_t)width * size, writes);
  return at;
}
#define READS(buffer, offset, width, elements) emulated_on_chip(buffer, sizeof *(buffer), offset, width, elements, false)
#define WRITES(buffer, offset, width, elements) emulated_on_chip(buffer, sizeof *(buffer), offset, width, elements, true)
#define CALLED(name, buffer, elements) order_name(name, buffer, sizeof *(buffer), elements)

static inline void *emulated_written(void *at, size_t bytes) {
  order_access(at, bytes, true);
  return at;
}
#define WRITTEN(pointer, T) emulated_written(pointer, sizeof(T))

/* -- warps -------------------------------------------------------------------------------------------------- */

typedef void emulated_call(void **arguments);
typedef enum { FIBRE_RUNS, FIBRE_MEETS, FIBRE_AT_WARP, FIBRE_AT_BLOCK, FIBRE_AWAITS, FIBRE_DONE } fibre_state;
typedef struct emulated_arrival emulated_arrival;

enum { EMULATED_COPIES = 256 };

typedef struct {
  void *to;
  const void *from; /* NULL: zeros */
  unsigned group;
} emulated_copy;

typedef struct {
  ucontext_t context;
  fibre_state state;
  unsigned char exchanged[64];
  emulated_copy copies[EMULATED_COPIES]; /* that have not landed */
  unsigned n_copies, group;
  emulated_arrival *awaited; /* boxes.h */
  unsigned parity;
} emulated_fibre;

static struct {
  ucontext_t scheduler;
  emulated_fibre fibre[EMULATED_THREADS];
  unsigned at; /* the thread that runs */
  emulated_call *kernel;
  void **arguments;
  bool fibres; /* threads can wait for each other */
} block;
static char emulated_stacks[EMULATED_THREADS][EMULATED_STACK];

static void run_fibre(void) {
  block.kernel(block.arguments);
  block.fibre[block.at].state = FIBRE_DONE;
  swapcontext(&block.fibre[block.at].context, &block.scheduler);
}

static void emulated_wait(fibre_state for_what) {
  const emulated_index thread = threadIdx;
  if (!block.fibres) fputs("a kernel exchanges values that was not made to\n", stderr), abort();
  block.fibre[block.at].state = for_what;
  swapcontext(&block.fibre[block.at].context, &block.scheduler);
  threadIdx = thread;
}

static inline void emulated_await(emulated_arrival *a, unsigned parity) {
  block.fibre[block.at].awaited = a;
  block.fibre[block.at].parity = parity;
  emulated_wait(FIBRE_AWAITS);
}

#define __syncwarp() emulated_wait(FIBRE_AT_WARP)
/* Lanes come together without any order of what they did in memory. */
#define emulated_meet() emulated_wait(FIBRE_MEETS)
#define __syncthreads() emulated_wait(FIBRE_AT_BLOCK)

/* What the lane has put down; between two waits everyone may look. */
static inline unsigned char *emulated_of_lane(unsigned lane) { return block.fibre[threadIdx.x / EMULATED_WARP * EMULATED_WARP + lane % EMULATED_WARP].exchanged; }

#define __shfl_sync(mask, value, from)                                             \
  ({                                                                               \
    __typeof__(value) shuffled_ = (value);                                         \
    memcpy(emulated_of_lane(threadIdx.x), &shuffled_, sizeof shuffled_);           \
    emulated_meet();                                                                  \
    memcpy(&shuffled_, emulated_of_lane((unsigned)(from)), sizeof shuffled_);      \
    emulated_meet();                                                                  \
    shuffled_;                                                                     \
  })

/* -- copies in the background --------------------------------------------------------------------------------- */

static inline unsigned on_chip(const void *at) { return (unsigned)((const unsigned char *)at - shared); }

static inline void copy_16(unsigned address, const void *from, bool inside) {
  emulated_fibre *f = &block.fibre[threadIdx.x];
  void *to = shared + address;
  if ((uintptr_t)to % 16 || (inside && (uintptr_t)from % 16) || f->n_copies == EMULATED_COPIES) emulated_violations++;
  else f->copies[f->n_copies++] = (emulated_copy){to, inside ? from : NULL, f->group};
  order_access_of(order_copier(threadIdx.x), f->group, to, 16, true);
}

/* Groups but the latest `open`. */
static inline void emulated_land(unsigned open) {
  emulated_fibre *f = &block.fibre[threadIdx.x];
  unsigned kept = 0;
  for (unsigned i = 0; i < f->n_copies; i++) {
    const emulated_copy *c = &f->copies[i];
    if (c->group + open >= f->group) f->copies[kept++] = *c;
    else if (c->from) memcpy(c->to, c->from, 16);
    else memset(c->to, 0, 16);
  }
  f->n_copies = kept;
  if (f->group > open) order_learn(order_copier(threadIdx.x), f->group - open);
}

#define COPIES_COMMIT() block.fibre[threadIdx.x].group++
#define COPIES_WAIT(n) emulated_land(n)

/* -- the matrix unit, by its definition: PTX ISA, ldmatrix and mma.m16n8k16 ------------------------------------- */

/* Both who says where a row is and who gets a part of it read it. */
static inline void emulated_squares(unsigned *r, unsigned address, bool across) {
  const unsigned lane = threadIdx.x % EMULATED_WARP;
  const uint16_t *at = (const uint16_t *)(shared + address);
  memcpy(emulated_of_lane(lane), &at, sizeof at);
  order_access(at, 16, false);
  emulated_meet();
  for (unsigned square = 0; square < 4; square++) {
    unsigned half[2];
    for (unsigned k = 0; k < 2; k++) {
      const unsigned row = across ? lane % 4 * 2 + k : lane / 4, column = across ? lane / 4 : lane % 4 * 2 + k;
      const uint16_t *from;
      memcpy(&from, emulated_of_lane(8 * square + row), sizeof from);
      if ((uintptr_t)from % 16) emulated_violations++;
      if (across || !k) order_access(from + column, across ? 2 : 4, false);
      half[k] = from[column];
    }
    r[square] = half[0] | half[1] << 16;
  }
  emulated_meet();
}

static inline void load_squares(unsigned *r, unsigned at) { emulated_squares(r, at, false); }
static inline void load_squares_across(unsigned *r, unsigned at) { emulated_squares(r, at, true); }

static inline float emulated_half(unsigned pair, unsigned k) { return __uint_as_float(k ? pair & 0xffff0000u : pair << 16); }

/* A sum takes in the product of two words. */
typedef float emulated_product(float sum, unsigned x, unsigned y);

/* Pairs of bf16, the odd one first: ir/loops.h. */
static inline float product_of_pairs(float sum, unsigned x, unsigned y) {
  for (int k = 1; k >= 0; k--) sum = fmaf(emulated_half(x, k), emulated_half(y, k), sum);
  return sum;
}
static inline float product_of_f32(float sum, unsigned x, unsigned y) { return fmaf(__uint_as_float(x), __uint_as_float(y), sum); }

/* Words in their order. The unit itself promises none. */
static inline void emulated_multiply(float *c, const unsigned *a, unsigned b0, unsigned b1, emulated_product *product) {
  const unsigned lane = threadIdx.x % EMULATED_WARP, own[6] = {a[0], a[1], a[2], a[3], b0, b1};
  memcpy(emulated_of_lane(lane), own, sizeof own);
  emulated_meet();
  for (unsigned i = 0; i < 4; i++) {
    const unsigned row = lane / 4, column = lane % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 8; k++) {
      unsigned left[6], right[6];
      memcpy(left, emulated_of_lane(row * 4 + k % 4), sizeof left);
      memcpy(right, emulated_of_lane(column * 4 + k % 4), sizeof right);
      c[i] = product(c[i], left[k / 4 * 2 + i / 2], right[4 + k / 4]);
    }
  }
  emulated_meet();
}

/* mma.m16n8k16 of bf16, and mma.m16n8k8 of tf32: an element in the place of a pair. */
static inline void multiply_squares(float *c, const unsigned *a, unsigned b0, unsigned b1) { emulated_multiply(c, a, b0, b1, product_of_pairs); }
static inline void multiply_squares_f32(float *c, const unsigned *a, unsigned b0, unsigned b1) { emulated_multiply(c, a, b0, b1, product_of_f32); }

static inline unsigned load_word(unsigned address) {
  unsigned word;
  order_access(shared + address, sizeof word, false);
  memcpy(&word, shared + address, sizeof word);
  return word;
}

/* cvt.rna.tf32.f32 */
static inline unsigned tf32_word(unsigned x) { return __uint_as_float(x) != __uint_as_float(x) ? x : (x + 0x1000u) & 0xffffe000u; }

#include "groups.h"
#include "boxes.h"

/* -- blocks ------------------------------------------------------------------------------------------------------- */

static void start_fibre(unsigned thread) {
  emulated_fibre *f = &block.fibre[thread];
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = emulated_stacks[thread];
  f->context.uc_stack.ss_size = EMULATED_STACK;
  f->context.uc_link = NULL;
  f->state = FIBRE_RUNS;
  f->n_copies = f->group = 0;
  emulated_products_start(thread);
  makecontext(&f->context, run_fibre, 0);
}

static bool all_are(unsigned first, unsigned n, fibre_state state) {
  for (unsigned i = 0; i < n; i++)
    if (block.fibre[first + i].state != state) return false;
  return true;
}

static void release(unsigned first, unsigned n) {
  if (block.fibre[first].state != FIBRE_MEETS) order_barrier(first, n);
  for (unsigned i = 0; i < n; i++) block.fibre[first + i].state = FIBRE_RUNS;
}

/* Whether a thread has what it waited for. */
static bool goes_on(emulated_fibre *f) {
  if (f->state == FIBRE_AWAITS && emulated_has_arrived(f->awaited, f->parity)) f->state = FIBRE_RUNS;
  return f->state == FIBRE_RUNS;
}

static bool any_goes_on(unsigned threads) {
  for (unsigned t = 0; t < threads; t++)
    if (goes_on(&block.fibre[t])) return true;
  return false;
}

/* Until all its lanes are done, or wait for other warps. */
static void run_warp(unsigned first, unsigned turn) {
  for (;;) {
    bool went_on = false;
    for (unsigned i = 0; i < EMULATED_WARP; i++) {
      block.at = first + (turn % 2 ? EMULATED_WARP - 1 - i : (i + turn) % EMULATED_WARP);
      if (!goes_on(&block.fibre[block.at])) continue;
      threadIdx.x = block.at;
      swapcontext(&block.scheduler, &block.fibre[block.at].context);
      went_on = true;
    }
    if (all_are(first, EMULATED_WARP, FIBRE_AT_WARP) || all_are(first, EMULATED_WARP, FIBRE_MEETS)) release(first, EMULATED_WARP);
    else if (!went_on) return;
  }
}

/* False when threads wait for others that never come. */
static bool run_block(unsigned threads) {
  for (unsigned t = 0; t < threads; t++) start_fibre(t);
  emulated_arrivals_start();
  for (unsigned turn = blockIdx.x;; turn++) {
    const unsigned warps = threads / EMULATED_WARP;
    for (unsigned w = 0; w < warps; w++) run_warp((turn % 2 ? warps - 1 - w : (w + turn) % warps) * EMULATED_WARP, turn + w);
    if (all_are(0, threads, FIBRE_DONE)) return true;
    if (all_are(0, threads, FIBRE_AT_BLOCK)) release(0, threads);
    else if (!any_goes_on(threads)) return false;
  }
}

/* Blocks run forwards in one launch, backwards in the next: none may wait for another. Returns how many accesses lay outside or were races,
 * and waits were in vain. */
static unsigned emulated_launches;
static long long emulate(emulated_call *k, void **arguments, long long blocks, unsigned threads, bool synchronises) {
  emulated_violations = 0;
  *emulated_wrong = 0;
  block.kernel = k;
  block.arguments = arguments;
  block.fibres = synchronises;
  emulated_launches++;
  for (long long b = 0; b < blocks; b++) {
    blockIdx.x = (unsigned)(emulated_launches % 2 ? b : blocks - 1 - b);
    memset(shared, 0xA5, synchronises ? sizeof shared : 0);
    order_new_block(threads);
    for (unsigned t = 0; t < threads && !synchronises; t++) {
      threadIdx.x = t;
      k(arguments);
    }
    if (synchronises && !run_block(threads)) emulated_violations++;
  }
  if (emulated_violations && !*emulated_wrong) snprintf(emulated_wrong, sizeof emulated_wrong, "%lld accesses lie outside of buffers or askew, or waits are in vain", emulated_violations);
  return emulated_violations;
}
