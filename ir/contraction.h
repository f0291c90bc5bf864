/* The spec of `contract`: named axes, and for each operand dimension an index over them.
 *
 *   "n,c,2*p+r-1,2*q+s-1; k,c,r,s -> n,k,p,q"      3x3 convolution, stride 2, padding 1
 *   "n,k,(h-r+1)/2,(w-s+1)/2; k,c,r,s -> n,c,h,w"  its derivative by the first operand
 *   "b,i,k; b,k,j -> b,i,j"                        batched product
 *
 * An index is sum(coefficient * axis) + offset, divided by `divisor`; the term is 0 where the division
 * leaves a remainder or the index falls outside its dimension. Result dimensions are plain axes. Every
 * axis stands plain in some operand or in the result, from where its extent is known. The form is closed
 * under differentiation: the derivative by an operand is another contraction (contraction_derivative),
 * so strides, dilations and transposed convolutions need no further op. */
#ifndef SSLC_IR_CONTRACTION_H
#define SSLC_IR_CONTRACTION_H

#include "ir/type.h"

enum { MAX_CONTRACTION_AXES = 24, MAX_INDEX_TERMS = 4 };

typedef struct {
  uint32_t n_terms;
  struct {
    uint32_t axis;
    int64_t coefficient;
  } term[MAX_INDEX_TERMS];
  int64_t offset;
  int64_t divisor; /* >= 1 */
} index_form;

typedef struct {
  uint32_t n_axes;
  char name[MAX_CONTRACTION_AXES][12];
  uint32_t rank[2];
  index_form operand[2][MAX_RANK];
  uint32_t result_rank;
  uint32_t result[MAX_RANK]; /* axis numbers, all different */
} contraction;

/* NULL and a message (in the arena) when the text is malformed. */
const contraction *contraction_parse(const char *text, arena *a, const char **error);
/* The canonical text: spaces as above, axes named a, b, c, ... in order of first appearance in operands
 * when `rename`, so that equal contractions have equal texts. */
const char *contraction_text(const contraction *c, bool rename, arena *a);
/* A plain axis: one term, coefficient 1, no offset, no divisor. */
bool index_is_plain(const index_form *f);
/* Extents of all axes from operand types and, for axes that stand plain only in the result, `result`
 * (NULL when not known yet). False and a message when they disagree or one is unknown. */
bool contraction_extents(const contraction *c, const tensor_type operand[2], const tensor_type *result,
                         int64_t extent[MAX_CONTRACTION_AXES], arena *a, const char **error);
/* The spec whose operands are (cotangent of the result, the other operand) and whose result is operand
 * `which` (0 or 1): d operand = contract(g, other). */
const contraction *contraction_derivative(const contraction *c, uint32_t which, arena *a);

#endif
