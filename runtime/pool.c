#include "runtime/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* Each thread has a share of a job's pieces, the same share of every job with as many, so that it finds in its cache what it wrote in the job
 * before; whoever is done with its own takes from the others'. A claim is the number of a job in the high half and of the share's next piece
 * in the low half. Whoever raises the low half by one owns that piece; a worker that comes too late finds another job number and its
 * exchange fails, so nobody has to wait for workers that slept through a short job. */
typedef uint64_t claim;
typedef struct {
  _Alignas(64) _Atomic claim next;
} share;

/* Pauses before sleep, some ten microseconds in all: launches follow each other faster than a sleeper
 * wakes up. */
enum { SPINS = 1000, MAX_PIECES = 1 << 30, MAX_THREADS = 1024 };

/* The low half between two jobs: no share goes so far. */
static const claim nothing_to_claim = UINT32_MAX;

typedef struct {
  thread_pool *pool;
  unsigned number; /* of its share: from 1 */
  pthread_t thread;
} worker;

struct thread_pool {
  unsigned threads; /* with the caller */
  worker *workers;
  unsigned n_workers;
  pthread_mutex_t running; /* held for one job */

  /* The job. A late worker may read it while the next one is written: whoever sees a new value
   * (acquire) also sees that its shares were closed before (release), fails to claim and forgets it. */
  share *shares; /* per thread, the caller's first */
  _Atomic(pool_task *) task;
  _Atomic(void *) context;
  _Atomic int64_t n, pieces;
  _Alignas(64) _Atomic int64_t unfinished;

  _Alignas(64) atomic_uint announced; /* counts jobs, for those who sleep until it changes */
  atomic_uint sleeping;
  atomic_bool stopping;
  atomic_bool caller_waits;
  pthread_mutex_t sleep;
  pthread_cond_t wake, finished;
};

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* The first piece % n pieces get one more, so that sizes differ by one at most. */
static int64_t piece_begin(int64_t n, int64_t pieces, int64_t i) {
  int64_t size = n / pieces, larger = n % pieces;
  return i * size + (i < larger ? i : larger);
}

static void finish_pieces(thread_pool *p, int64_t n) {
  if (atomic_fetch_sub(&p->unfinished, n) != n) return;
  if (!atomic_load(&p->caller_waits)) return;
  pthread_mutex_lock(&p->sleep);
  pthread_cond_signal(&p->finished);
  pthread_mutex_unlock(&p->sleep);
}

/* The first piece of a thread's share; fewer pieces than threads begin with the caller. */
static int64_t share_begin(const thread_pool *p, int64_t pieces, unsigned thread) { return (thread * pieces + p->threads - 1) / p->threads; }

/* Runs a piece of a share of the present job; false when none is left. */
static bool run_piece_of(thread_pool *p, unsigned thread) {
  _Atomic claim *next = &p->shares[thread].next;
  claim at = atomic_load(next);
  for (;;) {
    pool_task *task = atomic_load_explicit(&p->task, memory_order_acquire);
    void *context = atomic_load_explicit(&p->context, memory_order_acquire);
    int64_t n = atomic_load_explicit(&p->n, memory_order_acquire);
    int64_t pieces = atomic_load_explicit(&p->pieces, memory_order_acquire);
    int64_t piece = (int64_t)(uint32_t)at;
    if (piece >= share_begin(p, pieces, thread + 1)) {
      claim now = atomic_load(next);
      if (now == at) return false;
      at = now; /* a new job came between the two readings */
      continue;
    }
    if (!atomic_compare_exchange_weak(next, &at, at + 1)) continue;
    task(context, piece_begin(n, pieces, piece), piece_begin(n, pieces, piece + 1));
    return true;
  }
}

/* Pieces of the present job until none is left, its own first. They are counted here and told once: threads that count together wait for
 * each other's line at every piece. */
static void run_pieces(thread_pool *p, unsigned thread) {
  int64_t done = 0;
  for (unsigned i = 0; i < p->threads; i++)
    while (run_piece_of(p, (thread + i) % p->threads)) done++, i = 0;
  if (done) finish_pieces(p, done);
}

static void sleep_until_announced(thread_pool *p, unsigned seen) {
  pthread_mutex_lock(&p->sleep);
  atomic_fetch_add(&p->sleeping, 1);
  while (atomic_load(&p->announced) == seen && !atomic_load(&p->stopping)) pthread_cond_wait(&p->wake, &p->sleep);
  atomic_fetch_sub(&p->sleeping, 1);
  pthread_mutex_unlock(&p->sleep);
}

static void *work(void *argument) {
  const worker *self = argument;
  thread_pool *p = self->pool;
  while (!atomic_load_explicit(&p->stopping, memory_order_relaxed)) {
    const unsigned seen = atomic_load(&p->announced);
    run_pieces(p, self->number);
    for (int i = 0; i < SPINS && atomic_load_explicit(&p->announced, memory_order_relaxed) == seen; i++) relax();
    if (atomic_load(&p->announced) == seen) sleep_until_announced(p, seen);
  }
  return NULL;
}

static void wait_until_finished(thread_pool *p) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load(&p->unfinished) == 0) return;
    relax();
  }
  pthread_mutex_lock(&p->sleep);
  atomic_store(&p->caller_waits, true);
  while (atomic_load(&p->unfinished)) pthread_cond_wait(&p->finished, &p->sleep);
  atomic_store(&p->caller_waits, false);
  pthread_mutex_unlock(&p->sleep);
}

static void wake_sleepers(thread_pool *p) {
  if (!atomic_load(&p->sleeping)) return;
  pthread_mutex_lock(&p->sleep);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->sleep);
}

void thread_pool_run(thread_pool *p, pool_task *task, void *context, int64_t n, int64_t pieces) {
  if (n <= 0) return;
  if (pieces > n) pieces = n;
  if (pieces > MAX_PIECES) pieces = MAX_PIECES;
  if (pieces <= 1) {
    task(context, 0, n);
    return;
  }
  if (!p->n_workers) {
    for (int64_t i = 0; i < pieces; i++) task(context, piece_begin(n, pieces, i), piece_begin(n, pieces, i + 1));
    return;
  }
  pthread_mutex_lock(&p->running);
  const claim job = ((atomic_load(&p->shares[0].next) >> 32) + 1) << 32;
  for (unsigned t = 0; t < p->threads; t++) atomic_store(&p->shares[t].next, job | nothing_to_claim);
  atomic_store_explicit(&p->task, task, memory_order_release);
  atomic_store_explicit(&p->context, context, memory_order_release);
  atomic_store_explicit(&p->n, n, memory_order_release);
  atomic_store_explicit(&p->pieces, pieces, memory_order_release);
  atomic_store(&p->unfinished, pieces);
  for (unsigned t = 0; t < p->threads; t++) atomic_store(&p->shares[t].next, job | (claim)share_begin(p, pieces, t));
  atomic_fetch_add(&p->announced, 1);
  wake_sleepers(p);
  run_pieces(p, 0);
  wait_until_finished(p);
  pthread_mutex_unlock(&p->running);
}

thread_pool *thread_pool_new(unsigned threads) {
  if (!threads) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    threads = online > 0 ? (unsigned)online : 1;
  }
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  thread_pool *p = aligned_alloc(64, sizeof *p);
  if (!p) return NULL;
  *p = (thread_pool){.threads = threads, .workers = calloc(threads, sizeof *p->workers), .shares = aligned_alloc(_Alignof(share), threads * sizeof *p->shares)};
  for (unsigned t = 0; p->shares && t < threads; t++) atomic_init(&p->shares[t].next, nothing_to_claim);
  pthread_mutex_init(&p->running, NULL);
  pthread_mutex_init(&p->sleep, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->finished, NULL);
  while (p->workers && p->shares && p->n_workers + 1 < threads) {
    worker *w = &p->workers[p->n_workers];
    *w = (worker){.pool = p, .number = p->n_workers + 1};
    if (pthread_create(&w->thread, NULL, work, w)) break;
    p->n_workers++;
  }
  if (p->shares && p->workers && p->n_workers + 1 == threads) return p;
  thread_pool_free(p);
  return NULL;
}

void thread_pool_free(thread_pool *p) {
  if (!p) return;
  pthread_mutex_lock(&p->sleep);
  atomic_store(&p->stopping, true);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->sleep);
  for (unsigned i = 0; i < p->n_workers; i++) pthread_join(p->workers[i].thread, NULL);
  pthread_mutex_destroy(&p->running);
  pthread_mutex_destroy(&p->sleep);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->finished);
  free(p->workers);
  free(p->shares);
  free(p);
}

unsigned thread_pool_threads(const thread_pool *p) { return p->threads; }
