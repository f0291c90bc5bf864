/* What the printer and the parser of kernels agree on. */
#ifndef SSLC_IR_KERNEL_TEXT_H
#define SSLC_IR_KERNEL_TEXT_H

#include "ir/kernel.h"
#include "ir/scan.h"

static const char *const monoid_words[] = {
    [MONOID_NONE] = "", [MONOID_SUM] = "sum", [MONOID_MAX] = "max", [MONOID_ARGMAX] = "argmax"};
static const char *const loop_words[] = {
    [LOOP_SERIAL] = "", [LOOP_UNROLL] = "unroll", [LOOP_VECTOR] = "vector", [LOOP_PAIR] = "pair", [LOOP_TILE] = "tile", [LOOP_PARALLEL] = "parallel"};

#define BITCAST_PREFIX "bitcast."

/* Does the text around it give the type of argument i of an op? Literals elsewhere are written with
 * their type, as f32(1). Arguments behind the first have the type of the one before. */
static inline bool type_is_implied(type_rule rule, uint32_t i, bool result_is_implied) {
  switch (rule) {
  case RULE_RANDOM: return true;
  case RULE_SELECT: return i != 1 || result_is_implied;
  case RULE_COMPARE:
  case RULE_TEST:
  case RULE_CAST:
  case RULE_BITCAST: return i > 0;
  default: return i > 0 || result_is_implied;
  }
}

/* Has some axis, buffer, stage or keyword that name? */
bool kernel_has_name(const kernel *k, const char *name);
/* Appends and reads a kernel as part of a larger text. */
void kernel_print_to(text_buffer *t, const kernel *k);
kernel *kernel_parse_from(scanner *s, arena *a);
/* ` {0 2 3 1}`, where the layout is not row-major. */
bool scan_layout(scanner *s, const tensor_type *type, layout *out);

#endif
