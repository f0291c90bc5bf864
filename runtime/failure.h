/* How this room says that something went wrong: a text for the person, owned by the caller. */
#ifndef SSLC_RUNTIME_FAILURE_H
#define SSLC_RUNTIME_FAILURE_H

#include <stdarg.h>
#include <stdbool.h>

/* Puts a malloc'ed text (path, what was expected, found, what to do) in *error, freeing what is there;
 * false, to be returned. */
bool failure(char **error, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool failure_list(char **error, const char *format, va_list list) __attribute__((format(printf, 2, 0)));
/* The same for a call of the system that failed with `number` (errno): "cannot write x: No space left on
 * device; free some space or choose another disk". */
bool failure_of_system(char **error, const char *doing, const char *path, int number);

#endif
