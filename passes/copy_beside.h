/* Copies in panels that the product which makes a value can write itself. */
#ifndef SSLC_PASSES_COPY_BESIDE_H
#define SSLC_PASSES_COPY_BESIDE_H

#include "ir/plan.h"
#include "ir/target.h"

/* Whether a product makes this buffer, by a map behind its sum, in vectors along a dimension: then panels of that are as easily written. */
bool product_writes_along(const plan *p, const target *t, uint32_t buffer, uint32_t dim);

#endif
