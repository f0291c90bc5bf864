/* Memory of many pages: what is large lies on huge pages, where the system has them. */
#ifndef SSLC_IR_PAGES_H
#define SSLC_IR_PAGES_H

#include <stddef.h>

enum { HUGE_PAGE = 2 << 20 };

/* For as much of it as whole huge pages are. */
void use_huge_pages(void *memory, size_t bytes);
/* Aligned to a cache line at least, for free(); *size is what was taken. NULL when memory is short. */
void *pages_new(size_t bytes, size_t *size);

#endif
