#include "frontend/tuned.h"

#include <errno.h>
#include <sys/stat.h>

#include "frontend/session.h"
#include "runtime/failure.h"
#include "runtime/whole_file.h"

static const char *folder(const char *cache, arena *a) { return arena_printf(a, "%s/schedules", cache); }

const char *tuned_path(const char *cache, const char *processor, arena *a) { return arena_printf(a, "%s/%s.kernels", folder(cache, a), processor); }

static schedule_records *parse(const char *name, const char *text, size_t length, diagnostics *d, arena *a) {
  return schedule_records_parse(sources_add(d->sources, name, text, length), d, a);
}

schedule_records *tuned_read(const char *cache, const char *processor, diagnostics *d, arena *a) {
  size_t length = 0;
  const char *path = cache ? tuned_path(cache, processor, a) : NULL, *text = path ? session_read_text(NULL, path, &length, a) : NULL;
  return parse(path ? path : "", text ? text : "", text ? length : 0, d, a);
}

static bool is_gpu(const char *processor) { return processor && !strncmp(processor, "sm_", 3); }

schedule_records *tuned_of_run(const char *checkpoint, const char *processor, diagnostics *d, arena *a, char **error) {
  safetensors *file = safetensors_read(checkpoint, error);
  if (!file) return NULL;
  const bool fit = is_gpu(safetensors_metadata(file, "device")) == is_gpu(processor);
  const char *kept = fit ? safetensors_metadata(file, "schedules") : NULL, *text = arena_string(a, kept ? kept : "");
  safetensors_free(file);
  return parse(checkpoint, text, strlen(text), d, a);
}

bool tuned_write(const char *cache, const char *processor, const kernel *k, arena *a, char **error) {
  sources *s = sources_new(a);
  schedule_records *r = tuned_read(cache, processor, diagnostics_new(a, s), a);
  const char *path = tuned_path(cache, processor, a), *name = folder(cache, a);
  schedule_records_put(r, k);
  const char *text = schedule_records_print(r, a);
  if ((mkdir(cache, 0777) && errno != EEXIST) || (mkdir(name, 0777) && errno != EEXIST)) return failure_of_system(error, "make", name, errno);
  return whole_file_write(path, &(file_part){text, strlen(text)}, 1, error);
}
