/* Where the tensors of a plan lie, and what runs its launches. What goes wrong on a device may show later than where it went
 * wrong: `failure` has the first of it. */
#ifndef SSLC_RUNTIME_DEVICE_H
#define SSLC_RUNTIME_DEVICE_H

#include "codegen/executable.h"
#include "runtime/pool.h"

typedef struct device device;
struct device {
  bool is_host; /* its memory is the host's own: `write`, `read` and `copy` are not needed between launches */
  /* Zeroed, and aligned for every kernel; NULL when there is no more. */
  void *(*allocate)(device *d, int64_t bytes);
  void (*release)(device *d, void *memory, int64_t bytes);
  /* From the host, to the host, and inside the device: in the order of the launches around them. The host may use its own
   * memory again behind `write`, and has everything behind `read`. */
  void (*write)(device *d, void *to, const void *from, int64_t bytes);
  void (*read)(device *d, void *to, const void *from, int64_t bytes);
  void (*copy)(device *d, void *to, const void *from, int64_t bytes);
  /* Runs a launch of the executable that the device was made for, by its number there, on memory of the device. */
  void (*launch)(device *d, uint32_t number, void *const *buffers);
  /* What does not make the host wait; all NULL where `is_host`. As read, into memory that `allocate_host` gave, which has everything behind `wait`. */
  void *(*allocate_host)(device *d, int64_t bytes);
  void (*release_host)(device *d, void *memory);
  void (*fetch)(device *d, void *to, const void *from, int64_t bytes);
  /* As write, but beside launches and copies: into memory that only these two use. The second copies what came there to where launches behind it find it. */
  void (*write_ahead)(device *d, void *ahead, const void *from, int64_t bytes);
  void (*take_ahead)(device *d, void *to, const void *ahead, int64_t bytes);
  /* Rows of a table on the device, by their numbers on the host: `rows` of them, of whole words. */
  void (*gather)(device *d, void *to, const void *table, const int64_t *numbers, int64_t rows, int64_t row_bytes);
  /* Around the launches and copies of one run, which are the same in every run. False: the device has done the run from what it has kept
   * of an earlier one, and there is no end to it. Both may be NULL. */
  bool (*begin)(device *d);
  void (*end)(device *d);
  void (*wait)(device *d); /* until everything is done that was asked for; NULL: it always is */
  const char *(*failure)(device *d); /* NULL: nothing has gone wrong */
  void (*free)(device *d);
};

/* The processor, with the threads of a pool. What fails on it is an access outside of its array, where code tests that. Both must outlive it; NULL when there is no memory. */
device *device_cpu_new(executable *e, thread_pool *pool);
/* Memory as that device gives it, for what changes hands with it. */
void *host_memory_new(int64_t bytes);
void host_memory_free(void *memory, int64_t bytes);

#endif
