/* Compiled code on disk, found by what went into it. */
#ifndef SSLC_CODEGEN_CACHE_H
#define SSLC_CODEGEN_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* FNV-1a of 128 bits (Fowler, Noll, Vo): it tells programs apart, it does not keep forgers out. */
typedef struct {
  uint64_t high, low;
} content_hash;

content_hash content_hash_start(void);
/* Adds a part together with its length, so that neighbours cannot trade bytes. */
void content_hash_add(content_hash *h, const void *bytes, size_t n);
bool content_hash_equal(content_hash a, content_hash b);
/* 32 hexadecimal digits and a 0. */
void content_hash_text(content_hash h, char out[33]);

typedef enum { CACHE_FOUND, CACHE_MISSING, CACHE_DAMAGED } cache_outcome;

/* On FOUND, *bytes is malloc'ed. DAMAGED: there is an entry, but not what was written. */
cache_outcome cache_read(const char *directory, content_hash key, void **bytes, size_t *n);
/* Makes the directory where needed; processes that write the same entry at once leave one whole entry.
 * False when the disk refuses, which costs the next run time and nothing else. */
bool cache_write(const char *directory, content_hash key, const void *bytes, size_t n);

#endif
