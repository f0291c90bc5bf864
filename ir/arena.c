#include "ir/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/pages.h"

/* Blocks double up to a limit, so that a small compilation stays small and a large one has few blocks, on huge pages. */
enum { FIRST_BLOCK = 1 << 14, LARGEST_BLOCK = 1 << 25, ALIGNMENT = 16 };

typedef struct arena_block {
  struct arena_block *next;
  size_t used, size;
  _Alignas(ALIGNMENT) unsigned char bytes[];
} arena_block;

struct arena {
  arena_block *blocks;
  jmp_buf *escape;
  size_t total, next_size;
  arena *owner, *beside, *next; /* of one beside another: that one; the latest beside this one; the one before it beside its owner */
};

arena *arena_new(void) {
  arena *a = calloc(1, sizeof *a);
  if (a) a->next_size = FIRST_BLOCK;
  return a;
}

void arena_free(arena *a) {
  if (!a) return;
  while (a->beside) arena_free(a->beside);
  for (arena **at = a->owner ? &a->owner->beside : NULL; at && *at; at = &(*at)->next)
    if (*at == a) {
      *at = a->next;
      break;
    }
  for (arena_block *b = a->blocks, *next; b; b = next) {
    next = b->next;
    free(b);
  }
  free(a);
}

void arena_on_exhausted(arena *a, jmp_buf *escape) { a->escape = escape; }

static _Noreturn void exhausted(arena *a) {
  while (!a->escape && a->owner) a = a->owner;
  if (a->escape) longjmp(*a->escape, 1);
  abort();
}

arena *arena_beside(arena *owner) {
  arena *a = arena_new();
  if (!a) exhausted(owner);
  a->owner = owner;
  a->next = owner->beside;
  return owner->beside = a;
}

void *arena_alloc(arena *a, size_t bytes) {
  if (bytes > SIZE_MAX / 2) exhausted(a);
  bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  arena_block *b = a->blocks;
  if (!b || b->size - b->used < bytes) {
    size_t size = bytes > a->next_size ? bytes : a->next_size;
    if (a->next_size < LARGEST_BLOCK) a->next_size *= 2;
    b = calloc(1, sizeof *b + size);
    if (!b) exhausted(a);
    use_huge_pages(b, sizeof *b + size);
    b->size = size;
    /* A block made for one large request goes behind the current one, whose room stays in use. */
    if (a->blocks && size == bytes && a->blocks->size - a->blocks->used > size / 2) {
      b->next = a->blocks->next;
      a->blocks->next = b;
    } else {
      b->next = a->blocks;
      a->blocks = b;
    }
  }
  void *p = b->bytes + b->used;
  b->used += bytes;
  a->total += bytes;
  return p;
}

void *arena_copy(arena *a, const void *from, size_t bytes) {
  void *p = arena_alloc(a, bytes);
  if (bytes) memcpy(p, from, bytes);
  return p;
}

char *arena_substring(arena *a, const char *text, size_t length) {
  char *p = arena_alloc(a, length + 1);
  memcpy(p, text, length);
  return p;
}

char *arena_string(arena *a, const char *text) { return arena_substring(a, text, strlen(text)); }

char *arena_printf(arena *a, const char *format, ...) {
  va_list list, again;
  va_start(list, format);
  va_copy(again, list);
  int n = vsnprintf(NULL, 0, format, list);
  va_end(list);
  char *p = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
  if (n >= 0) vsnprintf(p, (size_t)n + 1, format, again);
  va_end(again);
  return p;
}

size_t arena_bytes(const arena *a) { return a->total; }

void *arena_grow(arena *a, void *items, size_t count, uint32_t *capacity, size_t item_bytes) {
  if (count < *capacity) return items;
  uint32_t larger = *capacity ? *capacity * 2 : 8;
  if (larger <= *capacity) exhausted(a);
  void *p = arena_alloc(a, larger * item_bytes);
  if (count) memcpy(p, items, count * item_bytes);
  *capacity = larger;
  return p;
}
