#include "codegen/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned __int128 wide;

static const uint64_t offset_basis_high = 0x6c62272e07bb0142u, offset_basis_low = 0x62b821756295c58du;

static wide hash_bytes(wide h, const unsigned char *bytes, size_t n) {
  const wide prime = (wide)1 << 88 | 0x13b;
  for (size_t i = 0; i < n; i++) h = (h ^ bytes[i]) * prime;
  return h;
}

content_hash content_hash_start(void) { return (content_hash){offset_basis_high, offset_basis_low}; }

void content_hash_add(content_hash *h, const void *bytes, size_t n) {
  wide v = (wide)h->high << 64 | h->low;
  uint64_t length = n;
  v = hash_bytes(v, (const unsigned char *)&length, sizeof length);
  v = hash_bytes(v, bytes, n);
  *h = (content_hash){(uint64_t)(v >> 64), (uint64_t)v};
}

bool content_hash_equal(content_hash a, content_hash b) { return a.high == b.high && a.low == b.low; }

void content_hash_text(content_hash h, char out[33]) { snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, h.high, h.low); }

/* -- entries: <directory>/<two digits>/<key>.o ------------------------------------------------------------- */

typedef struct {
  char magic[8];
  content_hash key, checksum; /* of the contents that follow */
  uint64_t bytes;
} entry_head;

static const char entry_magic[8] = "sslc.o 1";

static entry_head head_of(content_hash key, const void *bytes, size_t n) {
  entry_head head = {.key = key, .checksum = content_hash_start(), .bytes = n};
  memcpy(head.magic, entry_magic, sizeof head.magic);
  content_hash_add(&head.checksum, bytes, n);
  return head;
}

static bool entry_folder(char path[PATH_MAX], const char *directory, content_hash key) {
  char text[33];
  content_hash_text(key, text);
  int n = snprintf(path, PATH_MAX, "%s/%.2s", directory, text);
  return n > 0 && n < PATH_MAX - 64; /* room for a file name */
}

static void append_name(char path[PATH_MAX], content_hash key, const char *ending) {
  char text[33];
  size_t length = strlen(path);
  content_hash_text(key, text);
  snprintf(path + length, PATH_MAX - length, "/%s%s", text, ending);
}

static bool transfer(int file, void *bytes, size_t n, bool writing) {
  for (size_t done = 0; done < n;) {
    char *at = (char *)bytes + done;
    ssize_t moved = writing ? write(file, at, n - done) : read(file, at, n - done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return false;
    done += (size_t)moved;
  }
  return true;
}

static void *read_entry(int file, content_hash key, size_t *n) {
  entry_head head;
  struct stat status;
  if (!transfer(file, &head, sizeof head, false) || memcmp(head.magic, entry_magic, sizeof head.magic)) return NULL;
  if (!content_hash_equal(head.key, key) || fstat(file, &status)) return NULL;
  if ((uint64_t)status.st_size != sizeof head + head.bytes) return NULL;
  void *bytes = malloc(head.bytes ? head.bytes : 1);
  if (bytes && transfer(file, bytes, head.bytes, false)) {
    entry_head found = head_of(key, bytes, head.bytes);
    if (content_hash_equal(found.checksum, head.checksum)) {
      *n = head.bytes;
      return bytes;
    }
  }
  free(bytes);
  return NULL;
}

cache_outcome cache_read(const char *directory, content_hash key, void **bytes, size_t *n) {
  char path[PATH_MAX];
  if (!entry_folder(path, directory, key)) return CACHE_MISSING;
  append_name(path, key, ".o");
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno == ENOENT || errno == ENOTDIR ? CACHE_MISSING : CACHE_DAMAGED;
  *bytes = read_entry(file, key, n);
  close(file);
  return *bytes ? CACHE_FOUND : CACHE_DAMAGED;
}

static bool make_folders(char *path) {
  for (char *at = path + 1; *at; at++)
    if (*at == '/') {
      *at = 0;
      bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
      *at = '/';
      if (!made) return false;
    }
  return mkdir(path, 0777) == 0 || errno == EEXIST;
}

bool cache_write(const char *directory, content_hash key, const void *bytes, size_t n) {
  char path[PATH_MAX], temporary[PATH_MAX];
  if (!entry_folder(path, directory, key) || !make_folders(path)) return false;
  memcpy(temporary, path, sizeof temporary);
  append_name(path, key, ".o");
  append_name(temporary, key, ".XXXXXX");
  int file = mkstemp(temporary);
  if (file < 0) return false;
  entry_head head = head_of(key, bytes, n);
  bool written = transfer(file, &head, sizeof head, true) && transfer(file, (void *)(uintptr_t)bytes, n, true);
  written = fchmod(file, 0644) == 0 && written;
  written = close(file) == 0 && written;
  if (written && rename(temporary, path) == 0) return true;
  unlink(temporary);
  return false;
}
