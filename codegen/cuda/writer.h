/* What the files that write CUDA C share.
 *
 *   source.c      the function: storage, statements, barriers
 *   expression.c  values
 *   wide.c        neighbours that are read or written together
 *   range.c       which integers fit 32 bits: 64-bit arithmetic on indices takes a GPU several instructions */
#ifndef SSLC_CODEGEN_CUDA_WRITER_H
#define SSLC_CODEGEN_CUDA_WRITER_H

#include "codegen/cuda/source.h"
#include "ir/kernel.h"
#include "ir/scan.h"

enum { WARP = 32, MOST_TOGETHER = 128 /* iterations of a block */ };

typedef struct expr_uses expr_uses;
typedef struct wide_accesses wide_accesses;

typedef struct {
  const loops *loops;
  const source_options *options;
  arena *arena;
  const char *error;
  text_buffer out;
  int depth;
  uint32_t lanes;       /* the widest vector; 1: threads work alone */
  interval *ranges;     /* by register: of integers, wherever it is read */
  const loops_expr **definitions; /* by register that one statement sets */
  uint32_t *settings;   /* by register: how many statements set it */
  uint32_t *zeros;      /* by register: lowest bits that are 0 in all its values */
  wide_accesses *wide;     /* of the block at hand */
  expr_uses *uses;      /* of the statement at hand */
  uint32_t n_values;    /* names given to what is used twice */
  bool synchronises;
  bool groups;          /* of four warps multiply panels */
  bool written_panels;  /* some of these are written by threads, or copies that are theirs */
  /* Memory that lanes of a warp hand each other values through: buffers that are both read and written. */
  bool *exchanged;      /* by buffer */
  bool read, written;   /* such memory, since the last barrier */
} writer;

void write_error(writer *w, const char *message);
void write_line(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* -- range.c */
void find_ranges(writer *w);
interval range_of_value(const writer *w, const loops_expr *e);
/* An i64 whose values fit 32 bits. */
bool is_narrow(const writer *w, const loops_expr *e);
bool is_narrow_register(const writer *w, uint32_t number);

/* The memory that a buffer stands for, as a number; local ones have their own. */
uint32_t memory_of(const writer *w, uint32_t buffer);

/* -- wide.c */
/* Around the statements of a block, whose own accesses then may be made together. */
void begin_wide_accesses(writer *w, const block *b);
void end_wide_accesses(writer *w);
/* A load as a part of what one access has read; NULL where it stands alone. */
const char *wide_load_text(writer *w, const loops_expr *e);
/* A store that is made together with others: empty until the last of them, then what stores all. NULL where it stands alone. */
const char *wide_store_text(writer *w, const statement *s, const char *value);

/* -- expression.c */
const char *register_type(dtype t, bool narrow);
const char *memory_type(dtype t);
/* Writes what a statement's values share as lines of their own; then value_text may be called for these, until the next. */
void begin_values(writer *w, const loops_expr *const *roots, uint32_t n);
const char *value_text(writer *w, const loops_expr *e);
/* buffer[offset] for an access to `width` elements from there on, at a multiple of their size; where that is asked for, it is tested. */
typedef enum { USE_READS, USE_WRITES, USE_POINTS /* somewhere near */ } memory_use;
const char *element_text(writer *w, uint32_t buffer, const char *offset, uint32_t width, memory_use use);
/* offset + lane * stride */
const char *lane_offset(writer *w, const char *offset, uint32_t lanes, int64_t stride);
/* The condition under which a thread takes part in an access of `active` lanes; NULL: every one does. */
const char *active_text(writer *w, uint32_t active);
bool reads_exchanged(const writer *w, const loops_expr *e);

#endif
