/* What the stand-ins for NVIDIA's libraries share: SSLC_STAND_IN_FAILS=NAME:N lets the Nth call of a function fail. */
#ifndef SSLC_TESTS_STAND_IN_H
#define SSLC_TESTS_STAND_IN_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL __attribute__((visibility("default")))

/* Whether this call of it does. */
static int fails(const char *name) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static char counted[64];
  static int calls;
  const char *asked = getenv("SSLC_STAND_IN_FAILS"), *colon = asked ? strchr(asked, ':') : NULL;
  if (!colon) return counted[0] = 0;
  pthread_mutex_lock(&lock);
  if (strcmp(counted, asked)) snprintf(counted, sizeof counted, "%s", asked), calls = 0;
  const int failed = strlen(name) == (size_t)(colon - asked) && !strncmp(name, asked, strlen(name)) && ++calls == atoi(colon + 1);
  pthread_mutex_unlock(&lock);
  return failed;
}

#endif
