#include "runtime/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/failure.h"

enum { MAX_TRANSFER = 1 << 30 }; /* of one call: Linux stops below 2^31 */

static bool write_all(int file, const void *bytes, size_t n) {
  for (const char *p = bytes; n;) {
    ssize_t done = write(file, p, n < MAX_TRANSFER ? n : MAX_TRANSFER);
    if (done < 0 && errno != EINTR) return false;
    if (done < 0) continue;
    p += done;
    n -= (size_t)done;
  }
  return true;
}

/* A rename is on the disk when the folder is. */
static bool sync_folder(const char *path) {
  char *folder = strdup(path);
  if (!folder) return false;
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder] = 0;
  int file = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool good = file >= 0 && (!fsync(file) || errno == EINVAL); /* EINVAL: this file system has no such thing */
  int number = errno;
  if (file >= 0) close(file);
  free(folder);
  errno = number;
  return good;
}

/* errno says what failed when it is false; `temporary` is then gone. */
static bool write_and_rename(const char *temporary, const char *path, const file_part *parts, uint32_t n) {
  int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return false;
  bool good = true;
  for (uint32_t i = 0; good && i < n; i++) good = write_all(file, parts[i].bytes, parts[i].n);
  good = good && !fsync(file);
  int number = errno;
  if (close(file) && good) {
    good = false;
    number = errno;
  }
  if (good && !rename(temporary, path)) return sync_folder(path);
  if (good) number = errno;
  unlink(temporary);
  errno = number;
  return false;
}

bool whole_file_write(const char *path, const file_part *parts, uint32_t n, char **error) {
  char *target = realpath(path, NULL); /* a link stays one: what it points to is replaced */
  if (!target) target = strdup(path);
  size_t room = target ? strlen(target) + 32 : 0;
  char *temporary = malloc(room);
  bool good = false;
  if (!room || !temporary) failure(error, "no memory to write %s", path);
  else {
    snprintf(temporary, room, "%s.%ld.partial", target, (long)getpid());
    good = write_and_rename(temporary, target, parts, n) || failure_of_system(error, "write", path, errno);
  }
  free(temporary);
  free(target);
  return good;
}
