/* Where the elements of a logical tensor lie in its buffer. Physical dimensions, outermost first; each
 * is a logical dimension, or a part of one: `(index / divisor) % extent`. Row-major: 0 1 2 3. Channels
 * last: 0 2 3 1. Convolution weights [K,C,R,S] in panels of 64 output channels: 0/64 2 3 1 0%64.
 * A blocked dimension that its block does not divide is padded with zeros (verified, since norms and
 * reductions over whole buffers read them). */
#ifndef SSLC_IR_LAYOUT_H
#define SSLC_IR_LAYOUT_H

#include "ir/type.h"

enum { MAX_LAYOUT = 12 };

typedef struct {
  uint32_t n; /* 0 stands for row-major of any rank */
  struct {
    uint32_t dim;
    int64_t divisor; /* 1 for a whole dimension or the inner part */
    int64_t extent;  /* of this physical dimension */
  } part[MAX_LAYOUT];
} layout;

layout layout_row_major(const tensor_type *t);
/* order[i] is the logical dimension of physical dimension i. */
layout layout_permuted(const tensor_type *t, const uint32_t *order);
/* As permuted, with logical dimension `dim` cut in blocks of `block`: its outer part stands where
 * `order` has it, its inner part last. */
layout layout_blocked(const tensor_type *t, const uint32_t *order, uint32_t dim, int64_t block);
bool layout_equal(const layout *a, const layout *b);
bool layout_is_row_major(const layout *l, const tensor_type *t);
int64_t layout_elements(const layout *l, const tensor_type *t); /* with padding */
int64_t layout_bytes(const layout *l, const tensor_type *t);    /* of these */
/* Element offset of a logical index. */
int64_t layout_offset(const layout *l, const tensor_type *t, const int64_t *index);
/* "0/64 2 3 1 0%64" */
const char *layout_text(const layout *l, const tensor_type *t, arena *a);
bool layout_parse(const char *text, const tensor_type *t, layout *out);
/* Copies between a packed row-major array and a buffer of this layout, filling padding with zeros. */
void layout_scatter(const layout *l, const tensor_type *t, const void *row_major, void *buffer);
void layout_gather(const layout *l, const tensor_type *t, const void *buffer, void *row_major);

#endif
