#include "runtime/states.h"

#include <stdlib.h>

bool states_allocate(states *s) {
  for (uint32_t i = 0; i < s->n; i++)
    if (!(s->items[i].data = calloc(1, (size_t)type_bytes(&s->items[i].type) + 1))) return false;
  return true;
}

void states_release(states *s) {
  for (uint32_t i = 0; i < s->n; i++) {
    free(s->items[i].data);
    s->items[i].data = NULL;
  }
}

state_tensor *states_find(const states *s, const char *name) {
  for (uint32_t i = 0; i < s->n; i++)
    if (!strcmp(s->items[i].name, name)) return &s->items[i];
  return NULL;
}

bool states_gather(states *s, const instance *from) {
  for (uint32_t i = 0; i < s->n; i++) instance_get(from, "state", s->items[i].name, s->items[i].data);
  return !instance_failure(from);
}

void states_scatter(const states *s, instance *to) {
  for (uint32_t i = 0; i < s->n; i++) instance_set(to, "state", s->items[i].name, s->items[i].data);
}
