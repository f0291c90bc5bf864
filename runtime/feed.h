/* Which field of a data set each data parameter of an instance reads. */
#ifndef SSLC_RUNTIME_FEED_H
#define SSLC_RUNTIME_FEED_H

#include "runtime/instance.h"
#include "runtime/kept.h"
#include "runtime/loader.h"

typedef struct {
  const char *input; /* name of the parameter */
  uint32_t field;    /* of the data set */
  kept_field kept;   /* rows: where a device holds the data itself, else NULL */
} fed_field;

typedef struct {
  fed_field *items;
  uint32_t n;
} feed_list;

/* What is smaller is copied sooner than exchanged. */
enum { LEAST_EXCHANGED = 64 << 10 };

static inline void feed_one(instance *to, const fed_field *f, const loader_batch *b) {
  void **from = &b->fields[f->field];
  const int64_t bytes = b->bytes[f->field];
  if (f->kept.rows) instance_gather(to, "data", f->input, f->kept.rows, b->index, f->kept.row_bytes);
  else if (bytes < LEAST_EXCHANGED || !instance_exchange(to, "data", f->input, from, bytes)) instance_set(to, "data", f->input, *from);
}

/* Hands a batch over to the instance: what its fields hold then is no longer that of the batch. */
static inline void feed(instance *to, const feed_list *list, const loader_batch *b) {
  for (uint32_t i = 0; i < list->n; i++) feed_one(to, &list->items[i], b);
}

/* The same of one that was sent ahead, if not to another instance. */
static inline void feed_sent(instance *to, const feed_list *list, const loader_batch *b) {
  for (uint32_t i = 0; i < list->n; i++)
    if (!instance_take(to, "data", list->items[i].input)) feed_one(to, &list->items[i], b);
}

/* While the instance runs: the batch that it is fed next. */
static inline void feed_ahead(instance *to, const feed_list *list, const loader_batch *b) {
  for (uint32_t i = 0; i < list->n; i++)
    if (!list->items[i].kept.rows) instance_send(to, "data", list->items[i].input, b->fields[list->items[i].field]);
}

#endif
