/* The eval blocks of a program, run. */
#ifndef SSLC_FRONTEND_SCORES_H
#define SSLC_FRONTEND_SCORES_H

#include "frontend/session.h"

/* The i-th eval as a maker of features, holding the states as they are. */
sslc_status feature_maker_open(sslc_program *p, uint32_t i, feature_maker *out);
/* The state that the i-th eval, an EVAL_STATE, computes of the data: given to the graph of first values. */
sslc_status scores_fill_state(sslc_program *p, uint32_t i, instance *init);
/* An error when a protocol of the program writes files. */
sslc_status scores_want_directory(sslc_program *p);
/* Runs the protocols that are due when `epoch` epochs are done, or `all` of them; the scores are then p->scores and, those that
 * are numbers, for logs p->score_metrics. False and *error (malloc'ed). */
bool scores_make(sslc_program *p, const char *directory, int64_t epoch, bool all, char **error);

#endif
