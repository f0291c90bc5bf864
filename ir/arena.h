/* Memory with one lifetime: everything a compilation makes lives in one arena and dies with it. */
#ifndef SSLC_IR_ARENA_H
#define SSLC_IR_ARENA_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct arena arena;

/* NULL when memory is short. */
arena *arena_new(void);
void arena_free(arena *a);
/* For what lives shorter than the owner: freed with it at the latest, and where memory runs out, the owner's escape is its own. */
arena *arena_beside(arena *owner);

/* Where to go when memory runs out: a compilation has thousands of allocations and one owner, so the
 * owner catches the failure once (setjmp) instead of every caller testing a pointer. Without it an
 * exhausted arena aborts. */
void arena_on_exhausted(arena *a, jmp_buf *escape);

/* Zeroed, aligned to 16 bytes, never NULL. */
void *arena_alloc(arena *a, size_t bytes);
void *arena_copy(arena *a, const void *from, size_t bytes);
char *arena_string(arena *a, const char *text);
char *arena_substring(arena *a, const char *text, size_t length);
char *arena_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t arena_bytes(const arena *a);

#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_alloc((a), sizeof(type) * (size_t)(n)))

/* Grows `items` (a pointer with a count and a capacity beside it) so that one more fits, and
 * evaluates to a pointer to the new, zeroed last element. */
#define ARENA_PUSH(a, items, count, capacity)                                                         \
  ((items) = arena_grow((a), (items), (size_t)(count), &(capacity), sizeof *(items)), &(items)[(count)++])
void *arena_grow(arena *a, void *items, size_t count, uint32_t *capacity, size_t item_bytes);

#endif
