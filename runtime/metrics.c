#include "runtime/metrics.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/failure.h"

struct metrics_log {
  int file;
  int64_t bytes; /* of whole lines */
  char *path;
};

static const char line_start[] = "{\"step\":";

/* Counts the bytes of lines up to `step`; false when a line is not ours. */
static bool find_end(FILE *f, int64_t step, int64_t *bytes) {
  char *line = NULL;
  size_t capacity = 0, start = strlen(line_start);
  bool ours = true;
  *bytes = 0;
  for (ssize_t n; ours && (n = getline(&line, &capacity, f)) > 0;) {
    ours = !strncmp(line, line_start, (size_t)n < start ? (size_t)n : start);
    if (!ours || line[n - 1] != '\n' || strtoll(line + start, NULL, 10) > step) break;
    *bytes += n;
  }
  free(line);
  return ours;
}

/* False with *error; the file is open in any case that it could be. */
static bool cut_back(metrics_log *m, int64_t step, char **error) {
  struct stat status;
  if (fstat(m->file, &status)) return failure_of_system(error, "read", m->path, errno);
  if (!S_ISREG(status.st_mode)) return failure(error, "%s is no regular file; metrics need one", m->path);
  int copy = dup(m->file);
  FILE *f = copy < 0 ? NULL : fdopen(copy, "r");
  if (!f) {
    failure_of_system(error, "read", m->path, errno);
    if (copy >= 0) close(copy);
    return false;
  }
  bool ours = find_end(f, step, &m->bytes), readable = !ferror(f);
  int number = errno;
  fclose(f);
  if (!readable) return failure_of_system(error, "read", m->path, number);
  if (!ours) return failure(error, "%s holds something other than metrics of a run; move it away or choose another folder", m->path);
  if (step <= 0) m->bytes = 0;
  return !ftruncate(m->file, m->bytes) || failure_of_system(error, "write", m->path, errno);
}

metrics_log *metrics_open(const char *path, int64_t step, char **error) {
  *error = NULL;
  metrics_log *m = malloc(sizeof *m);
  if (m) *m = (metrics_log){open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666), 0, strdup(path)};
  if (!m || !m->path) failure(error, "no memory to write %s", path);
  else if (m->file < 0) failure_of_system(error, "write", path, errno);
  else if (cut_back(m, step, error)) return m;
  if (m && m->file >= 0) close(m->file);
  if (m) free(m->path);
  free(m);
  return NULL;
}

/* Nine digits tell all single precision numbers apart. */
static double nine_digits(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.9g", value);
  return strtod(text, NULL);
}

/* With its line feed; malloc'ed, NULL when memory is short. */
static char *make_line(int64_t step, int64_t epoch, const metric *values, uint32_t n) {
  cJSON *object = cJSON_CreateObject();
  bool good = object && cJSON_AddNumberToObject(object, "step", (double)step) && cJSON_AddNumberToObject(object, "epoch", (double)epoch);
  for (uint32_t i = 0; good && i < n; i++) good = cJSON_AddNumberToObject(object, values[i].name, nine_digits(values[i].value));
  char *text = good ? cJSON_PrintUnformatted(object) : NULL;
  cJSON_Delete(object);
  size_t length = text ? strlen(text) : 0;
  char *line = text ? realloc(text, length + 2) : NULL;
  if (!line) free(text);
  else memcpy(line + length, "\n", 2);
  return line;
}

bool metrics_write(metrics_log *m, int64_t step, int64_t epoch, const metric *values, uint32_t n, char **error) {
  *error = NULL;
  char *line = make_line(step, epoch, values, n);
  if (!line) return failure(error, "no memory to write %s", m->path);
  size_t length = strlen(line), done = 0;
  int number = 0;
  while (done < length && !number) {
    ssize_t written = pwrite(m->file, line + done, length - done, m->bytes + (int64_t)done);
    if (written > 0) done += (size_t)written;
    else if (!written || errno != EINTR) number = written ? errno : ENOSPC;
  }
  free(line);
  if (!number) {
    m->bytes += (int64_t)length;
    return true;
  }
  (void)!ftruncate(m->file, m->bytes); /* a half line; where it stays, the next one goes over it */
  return failure_of_system(error, "write", m->path, number);
}

bool metrics_close(metrics_log *m, char **error) {
  *error = NULL;
  bool good = !close(m->file) || failure_of_system(error, "write", m->path, errno);
  free(m->path);
  free(m);
  return good;
}
