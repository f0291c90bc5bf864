/* Schedules that measurements chose, as data: texts of kernels with the schedule that was fastest. The schedule pass takes
 * them where it would choose by itself; who reads and writes them is none of its business. */
#ifndef SSLC_PASSES_RECORDS_H
#define SSLC_PASSES_RECORDS_H

#include "ir/kernel.h"

typedef struct {
  const char *definition; /* canonical text of the kernel without a schedule */
  const kernel *kernel;   /* with the schedule */
} schedule_record;

typedef struct schedule_records {
  arena *arena;
  schedule_record *items;
  uint32_t n, capacity;
} schedule_records;

/* The kernels of a text, one behind the other. What is wrong with one is a warning, and that one is left out. */
schedule_records *schedule_records_parse(uint32_t file, diagnostics *d, arena *a);
/* The text that parses to the same records. */
char *schedule_records_print(const schedule_records *r, arena *into);
/* Gives a kernel the schedule of its record; false, and leaves it alone, when it has none or one that cannot be carried out any more. */
bool schedule_from_records(kernel *k, const schedule_records *r, arena *scratch);
/* Whether the schedule that a kernel has is the one of its record. */
bool schedule_is_recorded(const kernel *k, const schedule_records *r, arena *scratch);
/* The schedule that a kernel has, in the place of what is recorded for it; without a schedule the record goes. */
void schedule_records_put(schedule_records *r, const kernel *k);

#endif
