/* The table of primitives, from ops.def. */
#ifndef SSLC_IR_OP_H
#define SSLC_IR_OP_H

#include "ir/type.h"

typedef enum {
#define ELEMENTWISE(id, ...) OP_##id,
#define STRUCTURAL(id, ...) OP_##id,
#include "ir/ops.def"
  OP_COUNT
} op_id;

typedef enum {
  RULE_NONE,    /* structural: infer_NAME decides */
  RULE_SAME,    /* any T -> T */
  RULE_REAL,    /* reals of one type -> the same */
  RULE_NUMBER,  /* reals or integers of one type -> the same */
  RULE_BITS,    /* integers or bool of one type -> the same */
  RULE_COMPARE, /* two of one type -> bool */
  RULE_TEST,    /* real -> bool */
  RULE_SELECT,  /* bool, T, T -> T */
  RULE_CAST,    /* any -> the declared type */
  RULE_BITCAST, /* any -> the declared type of the same width */
  RULE_RANDOM   /* six u32 -> u32 */
} type_rule;

/* Keys of attributes; ATTRIBUTE(id, name, kind). */
#define ATTRIBUTES(ATTRIBUTE)      \
  ATTRIBUTE(AXIS, "axis", INTEGER) \
  ATTRIBUTE(AXES, "axes", INTEGERS) \
  ATTRIBUTE(START, "start", INTEGERS) \
  ATTRIBUTE(STOP, "stop", INTEGERS) \
  ATTRIBUTE(STRIDE, "stride", INTEGERS) \
  ATTRIBUTE(LOW, "low", INTEGERS) \
  ATTRIBUTE(HIGH, "high", INTEGERS) \
  ATTRIBUTE(INTERIOR, "interior", INTEGERS) \
  ATTRIBUTE(VALUE, "value", SCALAR) \
  ATTRIBUTE(LITERAL, "literal", ELEMENTS) \
  ATTRIBUTE(ROLE, "role", WORD) \
  ATTRIBUTE(NAME, "name", TEXT) \
  ATTRIBUTE(SPEC, "spec", TEXT) \
  ATTRIBUTE(TIMES, "times", INTEGER) \
  ATTRIBUTE(CARRIES, "carries", INTEGER) \
  ATTRIBUTE(SLICES, "slices", INTEGER) \
  ATTRIBUTE(REVERSE, "reverse", INTEGER)

typedef enum {
#define ATTRIBUTE(id, name, kind) ATTR_##id,
  ATTRIBUTES(ATTRIBUTE)
#undef ATTRIBUTE
  ATTR_COUNT
} attribute_key;

typedef enum { ATTR_KIND_INTEGER, ATTR_KIND_INTEGERS, ATTR_KIND_SCALAR, ATTR_KIND_ELEMENTS, ATTR_KIND_WORD, ATTR_KIND_TEXT } attribute_kind;

typedef struct {
  const char *name;
  const char *doc;
  int arity; /* -1: any */
  bool elementwise;
  type_rule rule;
  const char *derivatives; /* elementwise only */
  const char *lowering;    /* elementwise only */
  const char *domain;      /* elementwise only */
  const char *attributes;  /* structural only: the schema */
} op_info;

extern const op_info op_table[OP_COUNT];
extern const char *const attribute_names[ATTR_COUNT];
extern const attribute_kind attribute_kinds[ATTR_COUNT];

/* OP_COUNT when there is none of that name. */
op_id op_from_name(const char *name, size_t length);

/* Applies an elementwise op to one element of each operand, all of type `operand` except where the
 * rule says otherwise (SELECT: x is bool; CAST, BITCAST: to `result`). The result is rounded to
 * `result`. This is the meaning of the op; interpreters and folding call it. */
scalar op_evaluate(op_id op, dtype operand, dtype result, const scalar *args);

/* Four words of random bits at a counter, which they replace: what OP_RANDOM_BITS draws one of. */
void random_words(uint32_t key0, uint32_t key1, uint32_t words[4]);

/* The result type of an elementwise op on these element types, or false (see `rule`); CAST and
 * BITCAST take theirs from `declared`. */
bool op_result_dtype(op_id op, const dtype *operands, dtype declared, dtype *out);

#endif
