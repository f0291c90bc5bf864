#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/pool.h"

typedef struct {
  int64_t n;
  atomic_int *visits;
  atomic_int pieces;
  _Atomic int64_t smallest, largest;
} tally;

static void lower(_Atomic int64_t *to, int64_t v) {
  int64_t seen = atomic_load(to);
  while (v < seen && !atomic_compare_exchange_weak(to, &seen, v)) continue;
}

static void count_visits(void *context, int64_t begin, int64_t end) {
  tally *t = context;
  for (int64_t i = begin; i < end; i++) atomic_fetch_add(&t->visits[i], 1);
  atomic_fetch_add(&t->pieces, 1);
  lower(&t->smallest, end - begin);
  lower(&t->largest, begin - end);
}

static void check_job(thread_pool *p, int64_t n, int64_t pieces) {
  tally t = {.n = n, .visits = calloc((size_t)n + 1, sizeof *t.visits), .smallest = INT64_MAX, .largest = INT64_MAX};
  int64_t expected = pieces < 1 ? 1 : pieces < n ? pieces : n;
  thread_pool_run(p, count_visits, &t, n, pieces);
  for (int64_t i = 0; i < n; i++) assert_int_equal(atomic_load(&t.visits[i]), 1);
  assert_int_equal(atomic_load(&t.pieces), expected);
  if (expected) assert_in_range(-atomic_load(&t.largest) - atomic_load(&t.smallest), 0, 1);
  free(t.visits);
}

static void every_index_is_visited_once(void **state) {
  (void)state;
  for (unsigned threads = 1; threads <= 4; threads++) {
    thread_pool *p = thread_pool_new(threads);
    assert_non_null(p);
    assert_int_equal(thread_pool_threads(p), threads);
    for (int64_t n = 1; n < 40; n += 3)
      for (int64_t pieces = 0; pieces < 50; pieces += 7) check_job(p, n, pieces);
    thread_pool_free(p);
  }
}

static void an_empty_job_runs_nothing(void **state) {
  (void)state;
  tally t = {.smallest = INT64_MAX, .largest = INT64_MAX};
  thread_pool *p = thread_pool_new(2);
  thread_pool_run(p, count_visits, &t, 0, 4);
  assert_int_equal(atomic_load(&t.pieces), 0);
  thread_pool_free(p);
}

typedef struct {
  int64_t job;
  _Atomic int64_t sum;
} numbered_job;

static void add_numbers(void *context, int64_t begin, int64_t end) {
  numbered_job *j = context;
  for (int64_t i = begin; i < end; i++) atomic_fetch_add(&j->sum, i + j->job);
}

/* Jobs of different sizes close behind each other: a worker that comes late must not take a piece of
 * the next job under the number of the last one, nor a piece twice. */
static void late_workers_disturb_no_later_job(void **state) {
  (void)state;
  thread_pool *p = thread_pool_new(3);
  for (int64_t job = 0; job < 200000; job++) {
    int64_t n = 20 + job * 7 % 23;
    numbered_job *j = calloc(1, sizeof *j); /* freed at once: whoever comes late would touch freed memory */
    j->job = job;
    thread_pool_run(p, add_numbers, j, n, job % 2 ? 2 : 20);
    assert_int_equal(atomic_load(&j->sum), n * (n - 1) / 2 + n * job);
    free(j);
  }
  thread_pool_free(p);
}

static void sleeping_workers_wake_up(void **state) {
  (void)state;
  thread_pool *p = thread_pool_new(2);
  for (int i = 0; i < 5; i++) {
    usleep(20000);
    check_job(p, 64, 8);
  }
  thread_pool_free(p);
}

typedef struct {
  atomic_int present, met;
} meeting;

/* Ends only when two threads are in it at once (or after two seconds). */
static void meet(void *context, int64_t begin, int64_t end) {
  meeting *m = context;
  (void)begin, (void)end;
  atomic_fetch_add(&m->present, 1);
  for (int i = 0; i < 20000 && atomic_load(&m->present) < 2; i++) usleep(100);
  if (atomic_load(&m->present) >= 2) atomic_fetch_add(&m->met, 1);
}

static void pieces_run_at_the_same_time(void **state) {
  (void)state;
  meeting m = {0};
  thread_pool *p = thread_pool_new(2);
  thread_pool_run(p, meet, &m, 2, 2);
  assert_int_equal(atomic_load(&m.met), 2);
  thread_pool_free(p);
}

typedef struct {
  meeting meeting;
  pthread_t caller;
  atomic_int kept; /* pieces that the thread runs which they belong to */
} home;

static void meet_at_home(void *context, int64_t begin, int64_t end) {
  home *h = context;
  meet(&h->meeting, begin, end);
  if (!pthread_equal(pthread_self(), h->caller) == (begin == 1)) atomic_fetch_add(&h->kept, 1);
}

/* Nobody is done with the own piece before the other has begun: what a thread finds in its cache is what it wrote in the job before. */
static void each_thread_begins_with_its_share(void **state) {
  (void)state;
  thread_pool *p = thread_pool_new(2);
  for (int i = 0; i < 500; i++) {
    home h = {.caller = pthread_self()};
    thread_pool_run(p, meet_at_home, &h, 2, 2);
    assert_int_equal(atomic_load(&h.kept), 2);
  }
  thread_pool_free(p);
}

static void *run_many(void *pool) {
  for (int i = 0; i < 500; i++) check_job(pool, 17, 5);
  return NULL;
}

static void several_callers_share_a_pool(void **state) {
  (void)state;
  thread_pool *p = thread_pool_new(2);
  pthread_t other;
  assert_int_equal(pthread_create(&other, NULL, run_many, p), 0);
  run_many(p);
  pthread_join(other, NULL);
  thread_pool_free(p);
}

static void the_machine_decides_for_zero_threads(void **state) {
  (void)state;
  thread_pool *p = thread_pool_new(0);
  assert_non_null(p);
  assert_int_equal(thread_pool_threads(p), sysconf(_SC_NPROCESSORS_ONLN));
  thread_pool_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_index_is_visited_once),          cmocka_unit_test(an_empty_job_runs_nothing),
      cmocka_unit_test(late_workers_disturb_no_later_job),    cmocka_unit_test(sleeping_workers_wake_up),
      cmocka_unit_test(pieces_run_at_the_same_time),          cmocka_unit_test(each_thread_begins_with_its_share),
      cmocka_unit_test(several_callers_share_a_pool),
      cmocka_unit_test(the_machine_decides_for_zero_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
