#include "runtime/collapse.h"

#include <math.h>
#include <string.h>

/* Collapsed is a spread below a twentieth (1: rows point everywhere) and below a fifth of what it was at its best, for 50 steps on
 * end. Absolute, because untrained networks may begin low and rise; relative, because features of some healthy models are always
 * low; sustained, because the first steps of a warm-up throw rows together for a while. docs/language.md has the runs that it was
 * chosen by. */
static const double low = 0.05, fallen = 0.2;
enum { SUSTAINED = 50 };

static int32_t find_metric(const metric *metrics, uint32_t n, const char *kind, const char *name) {
  size_t length = strlen(kind);
  for (uint32_t i = 0; i < n; i++)
    if (!strncmp(metrics[i].name, kind, length) && !strcmp(metrics[i].name + length, name)) return (int32_t)i;
  return -1;
}

collapse_watch collapse_watch_begin(const metric *metrics, uint32_t n) {
  collapse_watch w = {.metrics = metrics};
  for (uint32_t i = 0; i < n && w.n < MOST_WATCHED; i++) {
    if (strncmp(metrics[i].name, "std/", 4)) continue;
    const char *name = metrics[i].name + 4;
    w.items[w.n++] = (struct watched){.name = name, .std = i, .rank = find_metric(metrics, n, "rank/", name)};
  }
  return w;
}

bool collapse_watch_step(collapse_watch *w, collapse_finding *out) {
  for (uint32_t i = 0; i < w->n; i++) {
    struct watched *x = &w->items[i];
    double now = w->metrics[x->std].value;
    if (isnan(now)) continue; /* this step does not measure it */
    if (now > x->largest) x->largest = now;
    x->low = now < low && now < fallen * x->largest ? x->low + 1 : 0;
    if (w->told || x->low < SUSTAINED) continue;
    w->told = true;
    *out = (collapse_finding){x->name, now, x->largest, x->rank < 0 ? NAN : w->metrics[x->rank].value};
    return true;
  }
  return false;
}
