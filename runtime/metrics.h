/* metrics.jsonl: one JSON object a line, for plots and scripts. */
#ifndef SSLC_RUNTIME_METRICS_H
#define SSLC_RUNTIME_METRICS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  const char *name;
  double value; /* what is not finite is written as null: JSON has no NaN */
} metric;

typedef struct metrics_log metrics_log;

/* Opens for appending, after cutting off what a run that is resumed after `step` steps will write again:
 * lines of later steps and an unfinished last line. Step 0 starts an empty file. A file of anything else
 * is left alone. NULL and *error (malloc'ed) on failure. */
metrics_log *metrics_open(const char *path, int64_t step, char **error);
/* {"step":1,"epoch":0,"loss":2.5}; the line is in the file when this returns, wholly or, on failure, not at all. */
bool metrics_write(metrics_log *m, int64_t step, int64_t epoch, const metric *values, uint32_t n, char **error);
/* False (with *error) when the last bytes did not reach the file; the handle is gone either way. */
bool metrics_close(metrics_log *m, char **error);

#endif
