/* The eval blocks of a program, run. */
#ifndef SSLC_FRONTEND_SCORES_H
#define SSLC_FRONTEND_SCORES_H

#include "frontend/session.h"

/* The i-th eval block as a maker of features, holding the states as they are. */
sslc_status feature_maker_open(sslc_program *p, uint32_t i, feature_maker *out);
/* Runs the protocols that are due when `epoch` epochs are done, or `all` of them; the scores are then p->scores and, for
 * logs, p->score_metrics. False and *error (malloc'ed). */
bool scores_make(sslc_program *p, int64_t epoch, bool all, char **error);

#endif
