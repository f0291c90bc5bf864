#include "passes/records.h"

#include "ir/scan.h"
#include "passes/passes.h"

/* Where its results are read (`cold`) is not what a kernel is. */
static const char *text_of(const kernel *k, const schedule *s, arena *a) {
  kernel bare = *k;
  bare.schedule = *s;
  bare.buffers = arena_copy(a, k->buffers, k->n_buffers * sizeof *k->buffers);
  for (uint32_t i = 0; i < k->n_buffers; i++) bare.buffers[i].cold = false;
  return kernel_canonical(&bare, a);
}

static const char *definition_of(const kernel *k, arena *a) { return text_of(k, &(schedule){0}, a); }

/* -- text ------------------------------------------------------------------------------------------------------ */

/* Where the next kernel begins: at the start of a line. */
static uint32_t next_kernel(const source_file *f, uint32_t from) {
  static const char begin[] = "\nkernel ";
  const char *at = from < f->length ? strstr(f->text + from, begin) : NULL;
  return at ? (uint32_t)(at - f->text) + 1 : (uint32_t)f->length;
}

schedule_records *schedule_records_parse(uint32_t file, diagnostics *d, arena *a) {
  schedule_records *r = ARENA_NEW(a, schedule_records);
  const source_file *f = sources_get(d->sources, file);
  r->arena = a;
  for (uint32_t at = strncmp(f->text, "kernel ", 7) ? next_kernel(f, 0) : 0; at < f->length; at = next_kernel(f, at)) {
    diagnostics *wrong = diagnostics_new(a, d->sources);
    uint32_t offset = at;
    kernel *k = kernel_parse(a, file, &offset, wrong);
    if (k && kernel_is_scheduled(k)) schedule_records_put(r, k);
    else
      diagnostic_set_help(d, diagnose_warning(d, DIAG_SCHEDULE_RECORD, k ? (span){file, at, at + 6} : wrong->items[0]->where, "this record of a schedule is left out: %s", k ? "it has none" : wrong->items[0]->message),
                          "sslc tune measures again; without a record the kernel has its default schedule");
  }
  return r;
}

char *schedule_records_print(const schedule_records *r, arena *into) {
  text_buffer t = {.arena = into};
  for (uint32_t i = 0; i < r->n; i++) text_add(&t, "%s", text_of(r->items[i].kernel, &r->items[i].kernel->schedule, into));
  return text_done(&t);
}

/* -- looking up ------------------------------------------------------------------------------------------------ */

static schedule_record *find(const schedule_records *r, const char *definition) {
  for (uint32_t i = 0; i < r->n; i++)
    if (!strcmp(r->items[i].definition, definition)) return &r->items[i];
  return NULL;
}

bool schedule_from_records(kernel *k, const schedule_records *r, arena *scratch) {
  const char *error;
  const schedule_record *found = r && r->n ? find(r, definition_of(k, scratch)) : NULL;
  if (!found) return false;
  schedule given = k->schedule, *s = &k->schedule;
  *s = found->kernel->schedule;
  s->loops = arena_copy(k->arena, s->loops, s->n * sizeof *s->loops);
  const loops *lowered = lower_kernel(k, scratch, &error);
  if (lowered && !loops_verify(lowered, scratch)) return true;
  *s = given;
  return false;
}

bool schedule_is_recorded(const kernel *k, const schedule_records *r, arena *scratch) {
  const schedule_record *found = r->n ? find(r, definition_of(k, scratch)) : NULL;
  return found && !strcmp(text_of(found->kernel, &found->kernel->schedule, scratch), text_of(k, &k->schedule, scratch));
}

void schedule_records_put(schedule_records *r, const kernel *k) {
  const char *definition = definition_of(k, r->arena);
  schedule_record *at = find(r, definition);
  if (!at && !kernel_is_scheduled(k)) return;
  if (!at) at = ARENA_PUSH(r->arena, r->items, r->n, r->capacity);
  *at = kernel_is_scheduled(k) ? (schedule_record){definition, k} : r->items[--r->n];
}
