/* The C functions behind builtins.def, by subject; and what they share. */
#ifndef SSLC_FRONTEND_BUILTINS_H
#define SSLC_FRONTEND_BUILTINS_H

#include "frontend/elaborate.h"

#define BUILTIN(function, signature, doc) builtin_function builtin_##function;
#include "frontend/builtins.def"

/* Name, parameters and meaning of the i-th builtin, for the reference; NULL past the last. */
const char *builtin_signature(uint32_t i, const char **doc);

/* An argument as a tensor of the graph at hand; poison after an error. */
object tensor_argument(elaborator *e, const function *self, object o, span where);
/* Its value, with axes counted as the graph has them: behind the batch of an augmentation. */
object unary_result(elaborator *e, const object *like, value v, span where);

#endif
