#include "ir/layout.h"

#include <stdio.h>
#include <stdlib.h>

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* A layout with n == 0 spelled out. */
static layout spelled(const layout *l, const tensor_type *t) { return l->n ? *l : layout_row_major(t); }

layout layout_row_major(const tensor_type *t) {
  uint32_t order[MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++) order[i] = i;
  return layout_permuted(t, order);
}

layout layout_permuted(const tensor_type *t, const uint32_t *order) {
  layout l = {.n = t->rank};
  for (uint32_t i = 0; i < t->rank; i++) {
    l.part[i].dim = order[i];
    l.part[i].divisor = 1;
    l.part[i].extent = t->dim[order[i]];
  }
  return l;
}

layout layout_blocked(const tensor_type *t, const uint32_t *order, uint32_t dim, int64_t block) {
  layout l = layout_permuted(t, order);
  for (uint32_t i = 0; i < l.n; i++)
    if (l.part[i].dim == dim) {
      l.part[i].divisor = block;
      l.part[i].extent = round_up(t->dim[dim], block) / block;
    }
  l.part[l.n].dim = dim;
  l.part[l.n].divisor = 1;
  l.part[l.n].extent = block;
  l.n++;
  return l;
}

bool layout_equal(const layout *a, const layout *b) {
  if (a->n != b->n) return false;
  for (uint32_t i = 0; i < a->n; i++)
    if (a->part[i].dim != b->part[i].dim || a->part[i].divisor != b->part[i].divisor || a->part[i].extent != b->part[i].extent)
      return false;
  return true;
}

bool layout_is_row_major(const layout *l, const tensor_type *t) {
  if (!l->n) return true;
  layout plain = layout_row_major(t);
  return layout_equal(l, &plain);
}

int64_t layout_elements(const layout *l, const tensor_type *t) {
  layout s = spelled(l, t);
  int64_t n = 1;
  for (uint32_t i = 0; i < s.n; i++) n *= s.part[i].extent;
  return n;
}

int64_t layout_bytes(const layout *l, const tensor_type *t) { return layout_elements(l, t) * (int64_t)dtype_bytes(t->dtype); }

int64_t layout_offset(const layout *l, const tensor_type *t, const int64_t *index) {
  layout s = spelled(l, t);
  int64_t offset = 0;
  for (uint32_t i = 0; i < s.n; i++)
    offset = offset * s.part[i].extent + index[s.part[i].dim] / s.part[i].divisor % s.part[i].extent;
  return offset;
}

const char *layout_text(const layout *l, const tensor_type *t, arena *a) {
  layout s = spelled(l, t);
  char text[MAX_LAYOUT * 32];
  int n = 0;
  text[0] = 0;
  for (uint32_t i = 0; i < s.n; i++) {
    n += snprintf(text + n, sizeof text - (size_t)n, "%s%u", i ? " " : "", s.part[i].dim);
    if (s.part[i].divisor != 1) n += snprintf(text + n, sizeof text - (size_t)n, "/%lld", (long long)s.part[i].divisor);
    else if (s.part[i].extent != t->dim[s.part[i].dim])
      n += snprintf(text + n, sizeof text - (size_t)n, "%%%lld", (long long)s.part[i].extent);
  }
  return arena_string(a, text);
}

bool layout_parse(const char *text, const tensor_type *t, layout *out) {
  layout l = {0};
  int64_t covered[MAX_RANK] = {0}; /* how many indices of each dimension the inner parts tell apart */
  while (*text) {
    char *end;
    while (*text == ' ') text++;
    if (!*text) break;
    if (*text < '0' || *text > '9') return false;
    unsigned long dim = strtoul(text, &end, 10);
    if (dim >= t->rank || l.n == MAX_LAYOUT) return false;
    int64_t divisor = 1, extent = t->dim[dim];
    if (*end == '/' || *end == '%') {
      char how = *end;
      if (end[1] < '1' || end[1] > '9') return false;
      int64_t by = strtoll(end + 1, &end, 10);
      if (by < 1 || by > (int64_t)1 << 20) return false;
      if (how == '/') divisor = by, extent = round_up(t->dim[dim], by) / by;
      else extent = by;
    }
    l.part[l.n].dim = (uint32_t)dim;
    l.part[l.n].divisor = divisor;
    l.part[l.n].extent = extent;
    l.n++;
    text = end;
    if (*text && *text != ' ') return false;
  }
  for (uint32_t d = 0; d < t->rank; d++) { /* each dimension whole, or one outer part and the inner part that fits it */
    int64_t outer = 0, inner = 0;
    uint32_t parts = 0;
    for (uint32_t i = 0; i < l.n; i++)
      if (l.part[i].dim == d) {
        parts++;
        if (l.part[i].divisor != 1) outer = l.part[i].divisor;
        else inner = l.part[i].extent;
      }
    covered[d] = parts == 1 ? inner == t->dim[d] && !outer : parts == 2 && outer && outer == inner;
    if (!covered[d]) return false;
  }
  *out = l;
  return true;
}

/* Walks all logical indices in row-major order. */
static bool next_index(const tensor_type *t, int64_t *index) {
  for (uint32_t d = t->rank; d-- > 0;) {
    if (++index[d] < t->dim[d]) return true;
    index[d] = 0;
  }
  return false;
}

static void copy_element(void *to, const void *from, size_t size) {
  if (size == 4) memcpy(to, from, 4);
  else if (size == 8) memcpy(to, from, 8);
  else memcpy(to, from, size);
}

/* The offset of an element is a sum of what each of its indices adds: what the last one adds is in a table. */
static void copy_rows(const layout *l, const tensor_type *t, const unsigned char *from, unsigned char *to, bool scatters) {
  enum { TABLE = 256 };
  const size_t size = dtype_bytes(t->dtype);
  const int64_t n = type_elements(t), length = t->rank ? t->dim[t->rank - 1] : 1;
  for (int64_t start = 0; start < length && n > 0; start += TABLE) {
    const int64_t width = length - start < TABLE ? length - start : TABLE;
    int64_t table[TABLE], index[MAX_RANK] = {0};
    for (int64_t i = 0; i < width; i++) {
      if (t->rank) index[t->rank - 1] = start + i;
      table[i] = layout_offset(l, t, index);
    }
    memset(index, 0, sizeof index);
    for (int64_t row = 0; row < n; row += length) {
      const int64_t base = layout_offset(l, t, index);
      for (int64_t i = 0; i < width; i++) {
        const size_t plain = (size_t)(row + start + i) * size, laid = (size_t)(base + table[i]) * size;
        copy_element(to + (scatters ? laid : plain), from + (scatters ? plain : laid), size);
      }
      if (t->rank) index[t->rank - 1] = length - 1; /* then the next index is the start of the next row */
      next_index(t, index);
    }
  }
}

void layout_scatter(const layout *l, const tensor_type *t, const void *row_major, void *buffer) {
  const int64_t n = type_elements(t);
  if (layout_is_row_major(l, t)) {
    if (n > 0) memcpy(buffer, row_major, (size_t)type_bytes(t));
    return;
  }
  if (layout_elements(l, t) != n) memset(buffer, 0, (size_t)layout_bytes(l, t));
  copy_rows(l, t, row_major, buffer, true);
}

void layout_gather(const layout *l, const tensor_type *t, const void *buffer, void *row_major) {
  if (!layout_is_row_major(l, t)) copy_rows(l, t, buffer, row_major, false);
  else if (type_elements(t) > 0) memcpy(row_major, buffer, (size_t)type_bytes(t));
}
