/* How training tells a person where it stands: texts only, the caller writes them. */
#ifndef SSLC_RUNTIME_PROGRESS_H
#define SSLC_RUNTIME_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  int64_t epoch, epochs; /* the epoch counted from 0 */
  int64_t step, steps;   /* steps done within this epoch, of so many */
  double loss; /* NAN: none */
  double images_per_second; /* 0 or less: not known yet */
  const char *unit;         /* what is counted per second; NULL: "img" */
  double seconds_left;      /* of the whole run; negative: not known yet */
} progress;

/* One line for a terminal of `width` columns, no line feed:
 * "epoch 4/200 [=====>     ] 41/78 loss 5.1234 1,234 img/s 1:23:45 left".
 * Never wider than `width`: the bar goes first, then the rate, the time, the steps, the loss. Returns the length;
 * out is always ended by 0. */
size_t progress_bar(const progress *p, int width, char *out, size_t bytes);
/* The same for a file or a pipe, without bar: "epoch 4/200 step 41/78 loss 5.1234 1,234 img/s 1:23:45 left". */
size_t progress_line(const progress *p, char *out, size_t bytes);

/* At most one update each `interval` seconds (0.1 for a terminal, 30 for a file) by the caller's clock;
 * the first is due at once. Start from {.interval = seconds}. */
typedef struct {
  double interval, last;
  bool started;
} progress_pace;
bool progress_due(progress_pace *pace, double now);

#endif
