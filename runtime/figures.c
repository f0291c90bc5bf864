#include "runtime/figures.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static figure with_unit(double value, const char *unit, int decimals) {
  figure f;
  snprintf(f.text, sizeof f.text, "%.*f %s", decimals, value, unit);
  return f;
}

figure figure_bytes(int64_t bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = (double)bytes;
  int unit = 0;
  /* Compared as it will be printed: 1023.97 KiB is 1.0 MiB. */
  for (; fabs(value) >= (unit ? 1023.95 : 1024) && unit < 6; unit++) value /= 1024;
  return with_unit(value, units[unit], unit && fabs(value) < 99.95);
}

figure figure_count(int64_t count) {
  static const char *const units[] = {"", "k", "M", "B", "T"};
  double value = (double)count;
  int unit = 0;
  for (; fabs(value) >= (unit ? 999.5 : 1000) && unit < 4; unit++) value /= 1000;
  figure f;
  if (unit) return with_unit(value, units[unit], fabs(value) < 9.995 ? 2 : fabs(value) < 99.95);
  snprintf(f.text, sizeof f.text, "%" PRId64, count);
  return f;
}

figure figure_grouped(int64_t count) {
  figure f = {{0}};
  char digits[24];
  int n = snprintf(digits, sizeof digits, "%" PRIu64, count < 0 ? -(uint64_t)count : (uint64_t)count), at = 0;
  if (count < 0) f.text[at++] = '-';
  for (int i = 0; i < n; i++) {
    if (i && (n - i) % 3 == 0) f.text[at++] = ',';
    f.text[at++] = digits[i];
  }
  return f;
}

figure figure_duration(double seconds) {
  figure f = {"?"};
  if (!(seconds >= 0 && seconds < 1e14)) return f;
  int64_t s = (int64_t)(seconds + 0.5), days = s / 86400, hours = s / 3600 % 24, minutes = s / 60 % 60;
  if (days) snprintf(f.text, sizeof f.text, "%" PRId64 " d %d:%02d:%02d", days, (int)hours, (int)minutes, (int)(s % 60));
  else if (hours) snprintf(f.text, sizeof f.text, "%d:%02d:%02d", (int)hours, (int)minutes, (int)(s % 60));
  else snprintf(f.text, sizeof f.text, "%d:%02d", (int)minutes, (int)(s % 60));
  return f;
}
