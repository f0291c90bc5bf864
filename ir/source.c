#include "ir/source.h"

#include <stdbool.h>

typedef struct {
  source_file file;
  uint32_t *lines; /* offset of each line's first byte */
  uint32_t n_lines, lines_capacity;
  bool only_name; /* offsets are line << 12 | column */
} entry;

struct sources {
  arena *arena;
  entry *entries;
  uint32_t n, capacity;
};

sources *sources_new(arena *a) {
  sources *s = ARENA_NEW(a, sources);
  s->arena = a;
  return s;
}

uint32_t sources_add(sources *s, const char *name, const char *text, size_t length) {
  entry *e = ARENA_PUSH(s->arena, s->entries, s->n, s->capacity);
  *e = (entry){.file = {arena_string(s->arena, name), arena_substring(s->arena, text, length), length}};
  *ARENA_PUSH(s->arena, e->lines, e->n_lines, e->lines_capacity) = 0;
  for (size_t i = 0; i < length; i++)
    if (text[i] == '\n') *ARENA_PUSH(s->arena, e->lines, e->n_lines, e->lines_capacity) = (uint32_t)i + 1;
  return s->n;
}

const source_file *sources_get(const sources *s, uint32_t file) {
  return file >= 1 && file <= s->n ? &s->entries[file - 1].file : NULL;
}

uint32_t sources_count(const sources *s) { return s->n; }

position source_position(const sources *s, uint32_t file, uint32_t offset) {
  if (!sources_get(s, file)) return (position){0, 0};
  const entry *e = &s->entries[file - 1];
  if (e->only_name) return (position){offset >> 12, offset & 0xfff};
  uint32_t low = 0, high = e->n_lines; /* lines[low] <= offset < lines[high] */
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (e->lines[middle] <= offset) low = middle;
    else high = middle;
  }
  return (position){low + 1, offset - e->lines[low] + 1};
}

uint32_t source_offset(const sources *s, uint32_t file, uint32_t line, uint32_t column) {
  if (!sources_get(s, file)) return 0;
  const entry *e = &s->entries[file - 1];
  uint32_t length = (uint32_t)e->file.length;
  if (line < 1 || line > e->n_lines || column < 1) return length;
  uint32_t end = line < e->n_lines ? e->lines[line] : length;
  uint32_t offset = e->lines[line - 1] + (column - 1);
  return offset < end ? offset : end;
}

span source_place(sources *s, const char *name, uint32_t line, uint32_t column) {
  uint32_t file = 1;
  while (file <= s->n && strcmp(s->entries[file - 1].file.name, name)) file++;
  if (file > s->n) {
    sources_add(s, name, "", 0);
    s->entries[file - 1].only_name = true;
  }
  uint32_t at = s->entries[file - 1].only_name ? line << 12 | (column < 0xfff ? column : 0xfff) : source_offset(s, file, line, column);
  return (span){file, at, at};
}

const char *span_text(const sources *s, span where, arena *a) {
  const source_file *f = sources_get(s, where.file);
  if (!f) return "";
  position p = source_position(s, where.file, where.start);
  return arena_printf(a, "%s:%u:%u", f->name, p.line, p.column);
}

span span_join(span first, span last) {
  if (!first.file) return last;
  if (last.file != first.file) return first;
  return (span){first.file, first.start < last.start ? first.start : last.start,
                first.end > last.end ? first.end : last.end};
}
