/* What a kernel has to do, whatever its schedule: what speeds are measured against. */
#ifndef SSLC_IR_WORK_H
#define SSLC_IR_WORK_H

#include "ir/plan.h"

typedef struct {
  double flops; /* of contractions, two for each product that reads no padding; elementwise work is not counted, nor what is made again */
  double bytes; /* that must be read and written, each element once */
} kernel_work;

kernel_work kernel_work_of(const kernel *k);
/* What was asked for, where it is done in fewer products. */
kernel_work launch_work_of(const plan_launch *l);

#endif
