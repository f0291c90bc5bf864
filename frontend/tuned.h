/* Where records of schedules lie: in the cache directory, a file for each processor, and in the checkpoints of runs that used them. */
#ifndef SSLC_FRONTEND_TUNED_H
#define SSLC_FRONTEND_TUNED_H

#include "passes/records.h"

/* The records of a cache directory (NULL: none) for a processor; damaged ones are warnings. */
schedule_records *tuned_read(const char *cache, const char *processor, diagnostics *d, arena *a);
/* Those that a run had, by its checkpoint; none where a GPU's would go to a processor or the other way round. NULL and *error (malloc'ed) when
 * that cannot be read. */
schedule_records *tuned_of_run(const char *checkpoint, const char *processor, diagnostics *d, arena *a, char **error);
/* Adds the kernel with its schedule to the records on the disk; without a schedule its record goes. False and *error (malloc'ed) when they cannot
 * be written. */
bool tuned_write(const char *cache, const char *processor, const kernel *k, arena *a, char **error);
/* The path of the file. */
const char *tuned_path(const char *cache, const char *processor, arena *a);

#endif
