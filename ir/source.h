/* Source texts and places in them. A span is 12 bytes, so that every token, syntax node, graph node
 * and kernel carries one. */
#ifndef SSLC_IR_SOURCE_H
#define SSLC_IR_SOURCE_H

#include "ir/arena.h"

/* Bytes [start, end) of file number `file`; file 0 means "no place". */
typedef struct {
  uint32_t file, start, end;
} span;

typedef struct {
  const char *name; /* as the user gave it, or "<std>/layers.ssl" for the built-in library */
  const char *text; /* ends with a NUL beyond `length` */
  size_t length;
} source_file;

typedef struct sources sources;

sources *sources_new(arena *a);
/* Copies name and text; returns the file's number, from 1. */
uint32_t sources_add(sources *s, const char *name, const char *text, size_t length);
const source_file *sources_get(const sources *s, uint32_t file);
uint32_t sources_count(const sources *s);

typedef struct {
  uint32_t line, column; /* from 1; columns count bytes */
} position;
position source_position(const sources *s, uint32_t file, uint32_t offset);
/* Offset of the first byte of a line (from 1), for readers of text forms that name places by line. */
uint32_t source_offset(const sources *s, uint32_t file, uint32_t line, uint32_t column);
/* The place at a line and column of the file of that name, for texts that name places of other files.
 * A file that is not among the sources is remembered by name alone: the place then prints the same, and
 * has no line of text to show. */
span source_place(sources *s, const char *name, uint32_t line, uint32_t column);
/* "simclr.ssl:12:7", in the arena; "" for no place. */
const char *span_text(const sources *s, span where, arena *a);
span span_join(span first, span last);

#endif
