/* What programs are compiled for and run on: this processor, or a GPU with its driver and the compiler of its kernels. */
#ifndef SSLC_RUNTIME_HARDWARE_H
#define SSLC_RUNTIME_HARDWARE_H

#include "ir/target.h"
#include "runtime/instance.h"

enum { PROCESSOR = -1, BEST = -2 /* the first GPU, where there is one that can be used, else the processor */ };

/* What "auto", as NULL is too, stands for: what SSLC_DEVICE says, or "auto". Others stand for themselves. */
const char *hardware_meant(const char *text);
/* "cpu", "cuda" (the first GPU), "cuda:1" (the second), or "auto": BEST. False when it means none of these. */
bool hardware_parse(const char *text, int *number);

typedef struct hardware hardware;

/* What a GPU lacks: texts in the arena, or NULL of what is as it should be. */
typedef struct {
  const char *device, *compiler;
} hardware_lack;

/* PROCESSOR, BEST, or the number of a GPU. NULL and *lack when it cannot be used; of BEST there always is one, and a lack only of a GPU that
 * is there and was passed over. */
hardware *hardware_open(int number, arena *into, hardware_lack *lack);
void hardware_close(hardware *h);

typedef struct {
  const char *name;  /* "cpu" or "cuda:0" */
  const char *model; /* "znver4", "NVIDIA H200" */
  target target;     /* as schedules want to know it; its name is that of machine code and of records: "znver4", "sm_90" */
  bool is_gpu;
  /* Of a GPU, else 0. Free was what nobody had allocated when it was opened; peaks are what its clocks allow. */
  int64_t free_bytes, total_bytes;
  double peak_flops, peak_bytes;
} hardware_facts;

/* Until it is closed. */
const hardware_facts *hardware_describe(const hardware *h);

/* Machine code of a plan for it, as the executables of codegen are. A cache directory must outlive the hardware. */
typedef struct device_code device_code;
device_code *hardware_compile(hardware *h, const plan *p, const compile_options *o, compile_report *report, const char **error);
void device_code_free(device_code *c);
/* Where a GPU that has an instance holds data for all of them; NULL of a processor, and when it cannot. Closed with the hardware. */
device *hardware_store(hardware *h);
/* Plan, code and pool must outlive it, and the hardware too. NULL and *error (malloc'ed). */
instance *hardware_instance(hardware *h, const plan *p, device_code *c, thread_pool *pool, char **error);

#endif
