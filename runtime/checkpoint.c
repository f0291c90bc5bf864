#include "runtime/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>

#include "runtime/failure.h"
#include "runtime/safetensors.h"

enum { DIGITS = 24 }; /* of a 64-bit number, with its sign and its end */

bool checkpoint_write(const char *path, const states *s, const checkpoint_position *at, char **error) {
  char step[DIGITS], epoch[DIGITS], seed[DIGITS];
  snprintf(step, sizeof step, "%" PRId64, at->step);
  snprintf(epoch, sizeof epoch, "%" PRId64, at->epoch);
  snprintf(seed, sizeof seed, "%" PRIu64, at->seed);
  const run_origin *o = &at->origin;
  const stored_text known[] = {{"format", "sslc"}, {"program", o->program}, {"sums", o->sums}, {"device", o->device}, {"step", step}, {"epoch", epoch}, {"seed", seed},
                               {"definitions", o->definitions}, {"schedules", o->schedules}};
  stored_text metadata[sizeof known / sizeof *known];
  uint32_t n_metadata = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].value) metadata[n_metadata++] = known[i];
  stored_tensor *tensors = malloc((s->n + 1) * sizeof *tensors);
  if (!tensors) return failure(error, "cannot write %s: no memory", path);
  for (uint32_t i = 0; i < s->n; i++) tensors[i] = (stored_tensor){s->items[i].name, s->items[i].type, s->items[i].data};
  bool good = safetensors_write(path, tensors, s->n, metadata, n_metadata, error);
  free(tensors);
  return good;
}

static bool wrong_type(const char *path, const state_tensor *s, const stored_tensor *found, char **error) {
  arena *a = arena_new();
  if (!a) return failure(error, "no memory to read %s", path);
  failure(error, "%s: state %s is %s, the program has %s; was it saved by another program or with other options?", path, s->name,
          type_text(&found->type, a), type_text(&s->type, a));
  arena_free(a);
  return false;
}

static bool holds_all(const safetensors *file, const char *path, const states *s, char **error) {
  for (uint32_t i = 0; i < s->n; i++) {
    const stored_tensor *found = safetensors_find(file, s->items[i].name);
    if (!found) return failure(error, "%s has no state %s; was it saved by another program or with other options?", path, s->items[i].name);
    if (!type_equal(&found->type, &s->items[i].type)) return wrong_type(path, &s->items[i], found, error);
  }
  return true;
}

static bool read_position(const safetensors *file, const char *path, checkpoint_position *at, char **error) {
  const char *program = safetensors_metadata(file, "program"), *step = safetensors_metadata(file, "step");
  const char *epoch = safetensors_metadata(file, "epoch"), *seed = safetensors_metadata(file, "seed");
  if (!program || !step || !epoch || !seed) return failure(error, "%s is no checkpoint of sslc: it does not say where the run stood", path);
  uint64_t seeded = strtoull(seed, NULL, 10);
  if (at->origin.program && strcmp(program, at->origin.program))
    return failure(error, "%s belongs to another program, other options or another version; resume with the same, or start a new run", path);
  if (at->origin.program && seeded != at->seed)
    return failure(error, "%s belongs to a run with seed %" PRIu64 ", this one has %" PRIu64 "; resume with --seed %" PRIu64, path, seeded, at->seed, seeded);
  at->seed = seeded;
  const char *sums = safetensors_metadata(file, "sums");
  at->same_sums = sums && at->origin.sums && !strcmp(sums, at->origin.sums);
  at->step = strtoll(step, NULL, 10);
  at->epoch = strtoll(epoch, NULL, 10);
  return at->step >= 0 || failure(error, "%s: a step cannot be %s", path, step);
}

bool checkpoint_read(const char *path, states *s, checkpoint_position *at, char **error) {
  safetensors *file = safetensors_read(path, error);
  if (!file) return false;
  bool good = holds_all(file, path, s, error) && read_position(file, path, at, error);
  for (uint32_t i = 0; good && i < s->n; i++)
    memcpy(s->items[i].data, safetensors_find(file, s->items[i].name)->data, (size_t)type_bytes(&s->items[i].type));
  safetensors_free(file);
  return good;
}
