/* The rule language: the derivative and lowering columns of ops.def as expressions over elementwise
 * primitives. Infix + - * / and unary -, < and <=, calls by op name, numbers, the names x y z r g.
 * One reader, several builders: the tensor graph (autodiff) and kernel expressions (lowering). */
#ifndef SSLC_IR_RULE_H
#define SSLC_IR_RULE_H

#include "ir/op.h"

typedef struct rule_builder rule_builder;
struct rule_builder {
  void *context;
  /* Handles are whatever the builder uses, carried as 64 bits. */
  uint64_t (*name)(void *context, char name);    /* 'x' 'y' 'z' 'r' 'g' */
  uint64_t (*number)(void *context, double value); /* adapts to the operand type at hand */
  /* `cast` is given its one argument and converts to the type the builder has in mind (that of x). */
  uint64_t (*apply)(void *context, op_id op, uint32_t n, const uint64_t *args);
};

/* Reads the index-th of the ';'-separated expressions of `text`; false when that one is empty.
 * Texts come from ops.def, so a malformed one is a bug that a unit test over the table finds:
 * then *out is 0 and the result is false. */
bool rule_build(const char *text, uint32_t index, const rule_builder *b, uint64_t *out);

#endif
