/* Names and what they are bound to. */
#include "frontend/objects.h"

uint32_t text_hash(const char *text) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
  return hash;
}

scope *scope_new(scope *parent, bool local, arena *a) {
  scope *s = ARENA_NEW(a, scope);
  s->parent = parent;
  s->local = local;
  return s;
}

static binding *find_hashed(const scope *s, const char *name, uint32_t hash) {
  for (uint32_t i = 0; i < s->n; i++)
    if (s->items[i]->hash == hash && !strcmp(s->items[i]->name, name)) return s->items[i];
  return NULL;
}

binding *scope_own(const scope *s, const char *name) { return find_hashed(s, name, text_hash(name)); }

binding *scope_find(const scope *s, const char *name) {
  uint32_t hash = text_hash(name);
  for (; s; s = s->parent) {
    binding *found = find_hashed(s, name, hash);
    if (found) return found;
  }
  return NULL;
}

binding *scope_bind(scope *s, const char *name, object v, arena *a) {
  binding *b = scope_own(s, name);
  if (!b) {
    b = ARENA_NEW(a, binding);
    *ARENA_PUSH(a, s->items, s->n, s->capacity) = b;
    b->name = name;
    b->hash = text_hash(name);
  }
  b->value = v;
  b->progress = BINDING_READY;
  return b;
}

/* -- what may have been meant ---------------------------------------------------------------------------- */

enum { LONGEST_NAME = 40 };

uint32_t edit_distance(const char *x, const char *y) {
  size_t n = strlen(x), m = strlen(y);
  if (n > LONGEST_NAME || m > LONGEST_NAME) return LONGEST_NAME;
  uint32_t row[LONGEST_NAME + 1][LONGEST_NAME + 1];
  for (size_t i = 0; i <= n; i++)
    for (size_t k = 0; k <= m; k++) {
      if (i == 0 || k == 0) {
        row[i][k] = (uint32_t)(i + k);
        continue;
      }
      uint32_t best = row[i - 1][k - 1] + (x[i - 1] != y[k - 1]);
      if (row[i - 1][k] + 1 < best) best = row[i - 1][k] + 1;
      if (row[i][k - 1] + 1 < best) best = row[i][k - 1] + 1;
      if (i > 1 && k > 1 && x[i - 1] == y[k - 2] && x[i - 2] == y[k - 1] && row[i - 2][k - 2] + 1 < best) best = row[i - 2][k - 2] + 1;
      row[i][k] = best;
    }
  return row[n][m];
}

/* Whether `candidate` is like `name`, and more so than what was found before. */
static bool is_nearer(const char *name, const char *candidate, uint32_t *best) {
  uint32_t distance = edit_distance(name, candidate), length = (uint32_t)strlen(name);
  if (distance >= *best || distance > (length + 1) / 3) return false;
  *best = distance;
  return true;
}

const char *nearest_text(const char *name, const char *const *candidates) {
  const char *nearest = habitual_name(name, candidates);
  if (nearest) return nearest;
  uint32_t best = LONGEST_NAME;
  for (; *candidates; candidates++)
    if (is_nearer(name, *candidates, &best)) nearest = *candidates;
  return nearest;
}

const char *scope_nearest(const scope *s, const char *name, arena *a) {
  const char *nearest = NULL;
  uint32_t best = LONGEST_NAME;
  for (; s; s = s->parent)
    for (uint32_t i = 0; i < s->n; i++)
      if (is_nearer(name, s->items[i]->name, &best)) nearest = s->items[i]->name;
  return nearest ? arena_string(a, nearest) : NULL;
}
