/* Storage of kernels: axes, buffers and stages in growing arrays, under names that the text form can
 * tell apart. */
#include <ctype.h>

#include "ir/expr.h"
#include "ir/kernel_text.h"

/* A name that the text form takes: names of state hold other characters, parts may have none. */
static char *plain_name(arena *a, const char *wanted, const char *fallback) {
  char *name = arena_string(a, wanted && *wanted ? wanted : fallback);
  for (char *c = name; *c; c++)
    if (!isalnum((unsigned char)*c) && *c != '_' && (*c != '.' || c == name)) *c = '_';
  return isdigit((unsigned char)*name) ? arena_printf(a, "_%s", name) : name;
}

kernel *kernel_new(arena *a, const char *name, span where) {
  kernel *k = ARENA_NEW(a, kernel);
  k->arena = a;
  k->name = plain_name(a, name, "kernel");
  k->where = where;
  k->exprs = ARENA_NEW(a, struct expr_table);
  return k;
}

/* Words with a meaning of their own in the text form. */
static const char *const reserved[] = {"in",  "out", "axes", "of",   "where", "else", "kernel", "schedule", "again",
                                       "for", "inf", "nan",  "true", "sum",   "max",  "false",  "argmax"};

/* strcmp by hand: nearly all differ in their first characters. */
static bool same_name(const char *x, const char *y) {
  while (*x && *x == *y) x++, y++;
  return *x == *y;
}

bool kernel_has_name(const kernel *k, const char *name) {
  for (uint32_t i = 0; i < k->n_axes; i++)
    if (same_name(name, k->axes[i].name)) return true;
  for (uint32_t i = 0; i < k->n_buffers; i++)
    if (same_name(name, k->buffers[i].name)) return true;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (same_name(name, k->stages[i].name)) return true;
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if (same_name(name, reserved[i])) return true;
  return false;
}

/* Kernels are composed from parts whose names may repeat: one that is taken gets a number. */
static const char *unique_name(const kernel *k, const char *wanted, const char *fallback) {
  const char *name = plain_name(k->arena, wanted, fallback);
  if (!kernel_has_name(k, name)) return name;
  const size_t n = strlen(name);
  char *numbered = arena_alloc(k->arena, n + 1 + MOST_DIGITS), room[MOST_DIGITS];
  memcpy(numbered, name, n);
  numbered[n] = '_';
  for (uint32_t i = 2;; i++) {
    const char *digits = integer_digits(i, room);
    memcpy(numbered + n + 1, digits, strlen(digits) + 1);
    if (!kernel_has_name(k, numbered)) return numbered;
  }
}

uint32_t kernel_add_axis(kernel *k, const char *name, int64_t extent) {
  const char *unique = unique_name(k, name, "a");
  void *axes = k->axes; /* the element type has no name */
  axes = arena_grow(k->arena, axes, k->n_axes, &k->axes_capacity, sizeof *k->axes);
  k->axes = axes;
  k->axes[k->n_axes].name = unique;
  k->axes[k->n_axes].extent = extent;
  return k->n_axes++;
}

uint32_t kernel_add_buffer(kernel *k, const char *name, tensor_type type, buffer_access access) {
  const char *unique = unique_name(k, name, "b");
  kernel_buffer *b = ARENA_PUSH(k->arena, k->buffers, k->n_buffers, k->buffers_capacity);
  *b = (kernel_buffer){.name = unique, .type = type, .access = access};
  return k->n_buffers - 1;
}

uint32_t kernel_add_stage(kernel *k, stage s) {
  s.name = unique_name(k, s.name, "s");
  if (s.output >= 0) {
    uint32_t rank = k->buffers[s.output].type.rank;
    s.index = arena_copy(k->arena, s.index, rank * sizeof *s.index);
    if (s.monoid == MONOID_NONE && !s.free)
      for (uint32_t d = 0; d < rank; d++) s.free |= s.index[d]->axes;
  } else {
    s.index = NULL;
  }
  if (s.monoid == MONOID_NONE) s.free |= s.body->axes;
  *ARENA_PUSH(k->arena, k->stages, k->n_stages, k->stages_capacity) = s;
  return k->n_stages - 1;
}
