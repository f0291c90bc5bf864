#include "runtime/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/figures.h"

enum { PART_BYTES = 64, MIN_BAR = 12, MAX_BAR = 42, MAX_WIDTH = 512 };

/* What a line says, from left to right; the bar has its place behind the epoch. */
typedef enum { PART_EPOCH, PART_STEPS, PART_LOSS, PART_RATE, PART_TIME, PART_COUNT } part;

static void describe(const progress *p, char parts[PART_COUNT][PART_BYTES]) {
  memset(parts, 0, PART_COUNT * PART_BYTES);
  snprintf(parts[PART_EPOCH], PART_BYTES, "epoch %" PRId64 "/%" PRId64, p->epoch + 1, p->epochs);
  snprintf(parts[PART_STEPS], PART_BYTES, "%" PRId64 "/%" PRId64, p->step, p->steps);
  bool usual = p->loss == 0 || (fabs(p->loss) >= 0.001 && fabs(p->loss) < 100000) || !isfinite(p->loss);
  if (!isnan(p->loss)) snprintf(parts[PART_LOSS], PART_BYTES, usual ? "loss %.4f" : "loss %.3e", p->loss);
  if (p->images_per_second > 0 && p->images_per_second < 1e15) {
    bool slow = p->images_per_second < 10;
    char few[32];
    snprintf(few, sizeof few, "%.1f", p->images_per_second);
    snprintf(parts[PART_RATE], PART_BYTES, "%s %.16s/s", slow ? few : figure_grouped((int64_t)(p->images_per_second + 0.5)).text,
             p->unit ? p->unit : "img");
  }
  if (p->seconds_left >= 0 && isfinite(p->seconds_left))
    snprintf(parts[PART_TIME], PART_BYTES, "%s left", figure_duration(p->seconds_left).text);
}

static size_t joined_length(char parts[PART_COUNT][PART_BYTES]) {
  size_t length = 0;
  for (int i = 0; i < PART_COUNT; i++) length += *parts[i] ? strlen(parts[i]) + (length > 0) : 0;
  return length;
}

/* Appends `text` behind a space; what does not fit is cut off. */
static void append(char *out, size_t bytes, const char *text) {
  size_t used = strlen(out);
  if (*text && used < bytes) snprintf(out + used, bytes - used, "%s%s", used ? " " : "", text);
}

static void draw_bar(char *bar, int columns, double done) {
  int inside = columns - 2, head = (int)(done * inside);
  bar[0] = '[';
  for (int i = 0; i < inside; i++) bar[1 + i] = i < head ? '=' : i == head ? '>' : ' ';
  bar[columns - 1] = ']';
  bar[columns] = 0;
}

size_t progress_bar(const progress *p, int width, char *out, size_t bytes) {
  static const part least_first[] = {PART_RATE, PART_TIME, PART_STEPS, PART_LOSS};
  char parts[PART_COUNT][PART_BYTES], line[MAX_WIDTH + 1] = "", bar[MAX_BAR + 1];
  size_t room = width < 0 ? 0 : width > MAX_WIDTH ? MAX_WIDTH : (size_t)width;
  describe(p, parts);
  for (size_t i = 0; i < sizeof least_first / sizeof *least_first && joined_length(parts) > room; i++) *parts[least_first[i]] = 0;
  size_t length = joined_length(parts), left = room > length ? room - length - 1 : 0;
  double done = p->steps > 0 ? (double)p->step / (double)p->steps : 0;
  for (int i = 0; i < PART_COUNT; i++) {
    append(line, room + 1, parts[i]);
    if (i != PART_EPOCH || left < MIN_BAR) continue;
    draw_bar(bar, left > MAX_BAR ? MAX_BAR : (int)left, done < 0 ? 0 : done > 1 ? 1 : done);
    append(line, room + 1, bar);
  }
  if (bytes) snprintf(out, bytes, "%s", line);
  return bytes ? strlen(out) : 0;
}

size_t progress_line(const progress *p, char *out, size_t bytes) {
  char parts[PART_COUNT][PART_BYTES];
  describe(p, parts);
  if (!bytes) return 0;
  *out = 0;
  for (int i = 0; i < PART_COUNT; i++) {
    if (i == PART_STEPS) append(out, bytes, "step");
    append(out, bytes, parts[i]);
  }
  return strlen(out);
}

bool progress_due(progress_pace *pace, double now) {
  if (pace->started && now - pace->last < pace->interval) return false;
  pace->started = true;
  pace->last = now;
  return true;
}
