#include "runtime/failure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool failure_list(char **error, const char *format, va_list list) {
  va_list again;
  va_copy(again, list);
  int n = vsnprintf(NULL, 0, format, list);
  char *text = n < 0 ? NULL : malloc((size_t)n + 1);
  if (text) vsnprintf(text, (size_t)n + 1, format, again);
  va_end(again);
  free(*error);
  *error = text;
  return false;
}

bool failure(char **error, const char *format, ...) {
  va_list list;
  va_start(list, format);
  failure_list(error, format, list);
  va_end(list);
  return false;
}

static const char *remedy(int number) {
  static const struct {
    int number;
    const char *text;
  } remedies[] = {
      {ENOSPC, "; free some space or choose another disk"},    {EDQUOT, "; free some of your quota or choose another disk"},
      {EFBIG, "; choose a disk that takes files of that size"}, {EROFS, "; choose a disk that can be written"},
      {EACCES, "; choose a place that you have rights to"},     {EPERM, "; choose a place that you have rights to"},
      {ENOENT, "; check the path, and that its folder exists"}, {ENOTDIR, "; check the path: a part of it is no folder"},
      {EISDIR, "; choose the path of a file"},                  {EMFILE, "; close some files or raise the limit (ulimit -n)"},
  };
  for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++)
    if (remedies[i].number == number) return remedies[i].text;
  return "";
}

bool failure_of_system(char **error, const char *doing, const char *path, int number) {
  return failure(error, "cannot %s %s: %s%s", doing, path, strerror(number), remedy(number));
}
