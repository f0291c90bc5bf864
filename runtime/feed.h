/* Which field of a data set each data parameter of an instance reads. */
#ifndef SSLC_RUNTIME_FEED_H
#define SSLC_RUNTIME_FEED_H

#include "runtime/instance.h"

typedef struct {
  const char *input; /* name of the parameter */
  uint32_t field;    /* of the data set */
} fed_field;

typedef struct {
  const fed_field *items;
  uint32_t n;
} feed_list;

/* Copies a batch, by number of field, into the instance. */
static inline void feed(instance *to, const feed_list *list, const void *const *fields) {
  for (uint32_t i = 0; i < list->n; i++) instance_set(to, "data", list->items[i].input, fields[list->items[i].field]);
}

/* The same of one that was sent ahead, if not to another instance. */
static inline void feed_sent(instance *to, const feed_list *list, const void *const *fields) {
  for (uint32_t i = 0; i < list->n; i++)
    if (!instance_take(to, "data", list->items[i].input)) instance_set(to, "data", list->items[i].input, fields[list->items[i].field]);
}

/* While the instance runs: the batch that it is fed next. */
static inline void feed_ahead(instance *to, const feed_list *list, const void *const *fields) {
  for (uint32_t i = 0; i < list->n; i++) instance_send(to, "data", list->items[i].input, fields[list->items[i].field]);
}

#endif
