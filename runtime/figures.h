/* Numbers as people read them. */
#ifndef SSLC_RUNTIME_FIGURES_H
#define SSLC_RUNTIME_FIGURES_H

#include <stdint.h>

typedef struct {
  char text[32];
} figure;

figure figure_bytes(int64_t bytes);     /* "512 B", "1.2 GiB" */
figure figure_count(int64_t count);     /* "512", "1.19 M" */
figure figure_grouped(int64_t count);   /* "1,234,567" */
figure figure_duration(double seconds); /* "0:42", "1:23:45", "2 d 3:04:05"; "?" when negative or not finite */

#endif
