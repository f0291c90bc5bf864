/* The process's own threads. A job is a range cut in pieces, of which each thread has the same share
 * in all jobs and claims them one by one, then those that others have not begun; which thread runs a piece changes nothing but time. */
#ifndef SSLC_RUNTIME_POOL_H
#define SSLC_RUNTIME_POOL_H

#include <stdint.h>

typedef struct thread_pool thread_pool;
typedef void pool_task(void *context, int64_t begin, int64_t end);

/* threads counts the caller too; 0: as many as the machine has. NULL when threads cannot be made. */
thread_pool *thread_pool_new(unsigned threads);
void thread_pool_free(thread_pool *p);
unsigned thread_pool_threads(const thread_pool *p);
/* Runs task over [0, n) in `pieces` parts of nearly equal size and returns when all are done. */
void thread_pool_run(thread_pool *p, pool_task *task, void *context, int64_t n, int64_t pieces);

#endif
